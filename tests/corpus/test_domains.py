"""Groups and periods of a corpus: every post is in one of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import draw_sample
from mmevent.exceptions import InputError


def n_coded(audit: pd.DataFrame, **asked: Any) -> dict[str, int]:
    """Give the number of coded posts of each group, of 100."""
    sample = draw_sample(audit, 100)
    coded = sample.assign(event=(sample["id"] > 260).astype(int))
    table = estimate_corpus(audit, coded, "event", **asked).table
    rows = table[table["figure"] == "n_events"]
    return dict(zip(rows["group"], rows["n_coded"], strict=True))


def plain(n: int = 300) -> pd.DataFrame:
    score = np.arange(n) / n
    return pd.DataFrame({"id": np.arange(n), "score": score, "margin": score - 0.9})


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([1, "1"], {"party: 1"}),
        ([1.0, 1], {"party: 1"}),
        (["1", "01"], {"party: 1", "party: 01"}),
        ([True, 1], {"party: True", "party: 1"}),
        (["missing", None], {"party: missing", "party: (missing)"}),
        (["a", None], {"party: a", "party: missing"}),
        ([2**60, 2**60 + 1], {f"party: {2**60}", f"party: {2**60 + 1}"}),
    ],
    ids=lambda value: "-".join(sorted(map(str, value))),
)
def test_every_post_is_in_one_group(values: list[Any], groups: set[str]) -> None:
    audit = plain().assign(party=pd.Series(values * 150, dtype=object))
    found = n_coded(audit, by="party")
    assert found.pop("all") == 100
    assert set(found) == groups
    assert sum(found.values()) == 100


def test_lists_are_no_groups() -> None:
    audit = plain().assign(tags=[["a"]] * 300)
    with pytest.raises(InputError, match="column 'tags' cannot be compared"):
        n_coded(audit, by="tags")


def test_posts_are_counted_on_their_own_day_or_on_that_of_a_place() -> None:
    west, east = "2024-03-31T23:30:00-05:00", "2024-04-01T06:00:00+09:00"
    audit = plain().assign(created_at=[west] * 150 + [east] * 150)
    own = n_coded(audit, period="day")
    assert set(own) == {"all", "2024-03-31", "2024-04-01"}
    assert set(n_coded(audit, period="day", timezone="UTC")) == set(own)
    found = n_coded(audit, period="day", timezone="UTC")
    assert found["2024-03-31"] == own["2024-04-01"]
    japan = n_coded(audit, period="day", timezone="Asia/Tokyo")
    assert set(japan) == {"all", "2024-04-01"}
    assert set(n_coded(audit, period="week")) == {
        *("all", "2024-03-25/2024-03-31", "2024-04-01/2024-04-07")
    }
    with pytest.raises(InputError, match="timezone='Tokyo' is not known.*Asia/Tokyo"):
        n_coded(audit, timezone="Tokyo")
