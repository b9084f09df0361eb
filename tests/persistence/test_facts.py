"""What detector.json may say of the rule, the labels and the decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from persistence.helpers import seal

from mmevent import load
from mmevent.exceptions import ModelFolderError

NAN, INF = float("nan"), float("inf")
RISING = {"score": [0.1, 0.5], "probability": [0.2, 0.9]}
WRONG = [
    *[("threshold", value) for value in (NAN, INF, "0.5", None, 0, -1.0, True, [0.5])],
    *[("f1_threshold", value) for value in (NAN, "high", 0.0)],
    *[("rule.alpha", value) for value in (NAN, -0.1, "1", 1e300)],
    *[("rule.beta", value) for value in (NAN, 0, None, INF)],
    *[("rule.threshold", value) for value in (NAN, "x")],
    *[("rule.pool", value) for value in ("median", None)],
    *[("rule.image", value) for value in ("other", 3)],
    *[("policy", value) for value in ("best", NAN, [[1]])],
    *[("policy_of_fit", value) for value in (None, "precision>=2")],
    *[("positive", value) for value in (2, -1, True, "1")],
    ("beta_identified", "yes"),
    ("label_name", ["a"]),
    ("branches", {"text": "../other/branch.skops"}),
    ("branches", {}),
    ("branches", {"text": "README.md", "image": "image/branch-0.skops"}),
    ("stages", {"first": {"alpha": NAN}, "second": {}}),
    ("classes", {"dtype": "<U7", "values": ["a"]}),
    ("classes", {"dtype": "<U7", "values": ["a", "a"]}),
    ("classes", {"dtype": "<U200000000", "values": ["a", "b"]}),
    *[
        ("calibration", {"maps": maps})
        for maps in (
            {},
            {"all": {}},
            {"all": {"slope": [NAN], "intercept": [0.0]}},
            {"all": {"slope": ["1"], "intercept": [0.0]}},
            {"all": {"slope": [1.0, 2.0], "intercept": [0.0]}},
            {"all": RISING, "text": RISING | {"probability": [0.9, 0.2]}},
            {"all": RISING | {"probability": [0.2, 1.2]}},
            {"all": RISING | {"score": [0.5, 0.1]}},
            {"all": RISING | {"score": []}},
        )
    ],
    ("search", {"storage": "sqlite:///x"}),
]


def change(folder: Path, name: str, value: Any) -> None:
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    outer, _, inner = name.partition(".")
    if inner:
        facts[outer][inner] = value
    else:
        facts[outer] = value
    path.write_text(json.dumps(facts))
    seal(folder)


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_a_value_that_no_fit_gives_is_refused(
    name: str, value: Any, folder: Path
) -> None:
    change(folder, name, value)
    words = name.split(".")[-1] if name != "search" else "does not fit together"
    with pytest.raises(ModelFolderError, match=words):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 5e-324),
        ("rule.alpha", 0),
        ("calibration", {"maps": {"all": RISING}}),
        ("calibration", {"maps": {"all": {"slope": [-1.0], "intercept": [0]}}}),
        ("policy", "precision>=0.9"),
    ],
    ids=str,
)
def test_a_value_that_a_fit_gives_is_read(name: str, value: Any, folder: Path) -> None:
    change(folder, name, value)
    load(folder)


def test_the_storage_of_a_study_is_not_taken(folder: Path, tmp_path: Path) -> None:
    facts = json.loads((folder / "detector.json").read_text())
    change(folder, "search", facts["search"] | {"storage": f"sqlite:///{tmp_path}/x"})
    assert load(folder).fitted_.record.search.storage is None


def test_a_folder_from_before_there_were_two_rules_is_read(folder: Path) -> None:
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    assert facts["search"].pop("rule") == facts["parameters"].pop("rule")
    path.write_text(json.dumps(facts))
    seal(folder)
    loaded = load(folder)
    assert loaded.rule == loaded.rule_.kind == "alpha-beta"


@pytest.mark.parametrize("kind", ["average", "stacking", None, ["stacking"]])
def test_another_rule_than_that_of_the_numbers_is_refused(
    kind: Any, folder: Path
) -> None:
    change(folder, "search.rule", kind)
    with pytest.raises(ModelFolderError, match="rule|does not fit together"):
        load(folder)
