"""What is registered before the corpus is predicted."""

from __future__ import annotations

from pathlib import Path

from mmevent import load
from mmevent.persistence.folder import facts_of
from mmevent.persistence.preregistration import blank, preregistration


def test_the_folder_is_named_by_its_manifest(original: Path) -> None:
    facts, fingerprint = facts_of(original)
    fitted = load(original).fitted_
    text = preregistration(fitted, facts, fingerprint)
    assert fingerprint in text
    assert facts["data_hash"] in text
    assert f"{len(fitted.record.out_of_fold)} coded posts" in text


def test_a_blank_says_what_belongs_there() -> None:
    assert blank("number of coders") == "[TO FILL IN: number of coders]"
