"""Samples that join others, as they come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus.estimate import estimate_corpus
from mmevent.corpus.sampling import SamplePlan, draw_sample
from mmevent.exceptions import InputError

RNG = np.random.default_rng(0)
EVENT = RNG.random(3000) < 0.03
SCORE = 1 / (1 + np.exp(3 - RNG.normal(2.5 * EVENT)))
AUDIT = pd.DataFrame({"id": np.arange(3000), "score": SCORE})
AUDIT["margin"] = SCORE - np.quantile(SCORE, 0.97)


def code(sample: pd.DataFrame) -> pd.DataFrame:
    return sample.assign(event=EVENT[sample["id"]].astype(int))


FIRST = code(draw_sample(AUDIT, 60))
MORE = code(draw_sample(AUDIT, 140, add_to=FIRST, random_state=1))


def test_an_estimate_takes_all_draws() -> None:
    found = estimate_corpus(AUDIT, [FIRST, MORE], "event")
    assert found.n_coded == 200
    for together in (
        pd.concat([FIRST, MORE]),
        pd.concat([MORE, FIRST], ignore_index=True),
        pd.concat([FIRST, MORE]).astype({"draw_number": "string"}),
    ):
        again = estimate_corpus(AUDIT, together, "event")
        assert again.table.equals(found.table)
    labels = [part[["id", "event"]] for part in (FIRST, MORE)]
    drawn = [part.drop(columns="event") for part in (FIRST, MORE)]
    again = estimate_corpus(AUDIT, labels, "event", sample=drawn)
    assert again.table.equals(found.table)


def test_two_draws_are_unbiased_and_cover() -> None:
    values, covered = [], []
    plan = SamplePlan(AUDIT)
    for seed in range(12):
        first = code(plan.draw(40, seed))
        more = code(draw_sample(AUDIT, 110, add_to=first, random_state=1000 + seed))
        table = estimate_corpus(AUDIT, [first, more], "event").table
        row = table.iloc[0]
        values.append(row["value"])
        covered.append(row["low"] <= EVENT.sum() <= row["high"])
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - EVENT.sum()) < 3 * error
    assert np.mean(covered) >= 0.9


def spoil(row: int, column: str, value: Any) -> pd.DataFrame:
    cells = FIRST[column].astype(object).tolist()
    cells[row] = value
    return FIRST.assign(**{column: pd.Series(cells, dtype=object)})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([MORE], r"joins an earlier one that is not here: expected the draws 1 to 2"),
        ([FIRST, MORE[5:]], "not whole.*of draw 2 that inclusion_probability states"),
        ([FIRST[5:], MORE], "not whole: expected the number of posts"),
        ([FIRST, MORE, MORE.assign(draw_number=3)], "140 posts .* contradict themse"),
        ([FIRST, FIRST.assign(stratum=1)], "contradict themselves: expected the same"),
        ([spoil(3, "inclusion_probability", 0)], "inclusion_probability of 0 in 1 row"),
        ([FIRST, MORE.drop(columns="event")], "coded sample has no column 'event'"),
        ([], "there is no coded sample: expected one table or more"),
    ],
    ids=["first", "part", "lost", "twice", "other", "weight", "label", "none"],
)
def test_draws_that_do_not_fit(tables: list[pd.DataFrame], message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate_corpus(AUDIT, tables, "event")


def test_a_draw_number_that_is_none() -> None:
    coded = pd.concat([FIRST, MORE], ignore_index=True)
    numbers = coded["draw_number"].astype(object)
    numbers[2] = "second"
    coded = coded.assign(draw_number=numbers)
    with pytest.raises(InputError, match="no usable draw_number in 1 of 200 rows"):
        estimate_corpus(AUDIT, coded, "event")
