"""Errors of coders, estimated and corrected."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus import coder_error
from mmevent.corpus.coder_error import Correction, checked_rates, correct, likeliest
from mmevent.corpus.codings import Codings, read_codings
from mmevent.exceptions import InputError


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder_error, "N_DRAWS", 200)


SIZE = np.array([500.0, 2000.0])
FLAGGED = np.array([True, False])


def codings(
    rates: list[tuple[float, float]],
    *,
    shares: tuple[float, float] = (0.6, 0.05),
    n: int = 400,
    seed: int = 0,
    named: bool = True,
    adjudicated: int = 0,
) -> tuple[Codings, np.ndarray, np.ndarray]:
    """Code n posts of each of two strata; give codings, strata and what is true."""
    rng = np.random.default_rng(seed)
    stratum = np.repeat([0, 1], n)
    event = rng.random(2 * n) < np.array(shares)[stratum]
    tables = [
        pd.DataFrame(
            {
                "id": np.arange(2 * n),
                "who": f"c{j}",
                "event": np.where(
                    event, rng.random(2 * n) < se, rng.random(2 * n) > sp
                ),
            }
        )
        for j, (se, sp) in enumerate(rates)
    ]
    true = pd.DataFrame({"id": np.arange(2 * n), "event": event})
    known = true.sample(adjudicated, random_state=0) if adjudicated else None
    found = read_codings(
        *(true["id"], tables, "event"),
        coder="who" if named else None,
        adjudicated=known,
    )
    return found, stratum, event


def total(found: Correction | None) -> tuple[float, float, float]:
    assert found is not None
    inside = np.ones(len(found.stratum), dtype=bool)
    figure = found.figures(SIZE, FLAGGED, inside)[0]
    return figure.value, figure.low, figure.high


def test_two_coders_and_two_strata_show_each_coders_rates() -> None:
    rates = [(0.9, 0.98), (0.7, 0.9)]
    data, stratum, _ = codings(rates, n=4000)
    found = correct(data, stratum, 2)
    assert found is not None
    table = found.table
    assert_allclose(table[["sensitivity", "specificity"]], rates, atol=0.04)
    for name in ("sensitivity", "specificity"):
        assert (table[f"{name}_low"] < table[name]).all()
        assert (table[name] < table[f"{name}_high"]).all()
    assert_allclose(found.share, [0.6, 0.05], atol=0.03)
    assert table["n_posts"].tolist() == [8000, 8000]


def test_one_population_is_that_of_hui_and_walter() -> None:
    # With as many numbers as cells of the table, the likeliest rates fit it exactly.
    data, stratum, _ = codings([(0.9, 0.95), (0.8, 0.9)], n=1000)
    found = correct(data, stratum, 2)
    assert found is not None
    se, fp = found.value.sensitivity[0], found.value.false_positive[0]
    for h in (0, 1):
        p = found.share[h]
        both = (data.positive[data.pattern] == 1).all(axis=1)[stratum == h].mean()
        assert p * se.prod() + (1 - p) * fp.prod() == pytest.approx(both, abs=1e-3)


def test_given_rates_are_those_of_rogan_and_gladen() -> None:
    data, stratum, _ = codings([(0.85, 0.9)], named=False)
    found = correct(data, stratum, 2, (0.85, 0.9))
    assert found is not None
    said = data.positive[data.pattern].ravel()
    apparent = np.array([said[stratum == h].mean() for h in (0, 1)])
    assert_allclose(found.share, np.maximum((apparent - 0.1) / 0.75, 0), atol=1e-4)
    assert "taken as exact" in found.notes[0]


def test_corrected_intervals_hold_the_truth_and_nothing_impossible() -> None:
    for seed in range(2):
        data, stratum, event = codings([(0.8, 0.9)] * 2, n=150, seed=seed)
        _, low, high = total(correct(data, stratum, 2))
        share = np.array([event[stratum == h].mean() for h in (0, 1)])
        assert 0 <= low <= SIZE @ share <= high <= SIZE.sum()


def test_perfect_agreement_leaves_an_interval_with_width() -> None:
    data, stratum, event = codings([(1.0, 1.0)] * 2, n=60)
    found = correct(data, stratum, 2)
    value, low, high = total(found)
    share = np.array([event[stratum == h].mean() for h in (0, 1)])
    assert value == pytest.approx(SIZE @ share, rel=1e-3)
    assert low < value < high
    assert found is not None
    assert (found.table["sensitivity"] > 0.999).all()
    assert (found.table["sensitivity_low"] < 0.99).all()


def test_a_whole_stratum_that_never_errs_is_known() -> None:
    data, stratum, event = codings([(1.0, 1.0)], n=50)
    found = correct(data, stratum, 2, (1.0, 1.0))
    assert found is not None
    figure = found.figures(np.array([50.0, 50.0]), FLAGGED, np.full(100, True))[0]
    assert_allclose([figure.value, figure.low, figure.high], event.sum(), atol=1e-3)


def test_one_coder_needs_adjudicated_posts_or_rates() -> None:
    data, stratum, _ = codings([(0.8, 0.9)])
    assert correct(data, stratum, 2) is None
    data, stratum, event = codings([(0.8, 0.9)], adjudicated=300)
    value, low, high = total(correct(data, stratum, 2))
    share = np.array([event[stratum == h].mean() for h in (0, 1)])
    assert low <= SIZE @ share <= high
    assert value == pytest.approx(SIZE @ share, rel=0.2)


def test_all_posts_adjudicated_are_the_truth() -> None:
    data, stratum, event = codings([(0.6, 0.7)], n=50, adjudicated=100)
    found = correct(data, stratum, 2)
    assert found is not None
    figure = found.figures(np.array([50.0, 50.0]), FLAGGED, np.full(100, True))[0]
    assert_allclose([figure.value, figure.low, figure.high], event.sum(), atol=1e-3)


def test_no_coding_as_an_event_does_not_leave_everything_open() -> None:
    data, stratum, _ = codings([(0.0, 1.0)] * 2, n=150)
    value, low, high = total(correct(data, stratum, 2))
    assert (value, low) == (0, 0)
    assert 0 < high < 0.1 * SIZE.sum()


def test_the_same_codings_give_the_same_draws() -> None:
    data, stratum, _ = codings([(0.9, 0.95)] * 2, n=60)
    assert total(correct(data, stratum, 2)) == total(correct(data, stratum, 2))


def test_rates_that_do_not_fit_are_said() -> None:
    data, stratum, _ = codings([(1.0, 1.0)], shares=(0.05, 0.0))
    found = correct(data, stratum, 2, (0.9, 0.8))
    assert found is not None
    assert "do not fit the codings" in found.notes[1]
    assert total(found)[0] == 0


def test_codings_by_chance_are_said() -> None:
    data, stratum, _ = codings([(0.5, 0.5)] * 2, n=60)
    found = correct(data, stratum, 2)
    assert found is not None
    assert "do not rely on the correction" in found.notes[-1]


def test_many_coders_are_not_all_in_the_notes() -> None:
    data, stratum, _ = codings([(0.9, 0.95)] * 7, n=40)
    found = correct(data, stratum, 2)
    assert found is not None
    assert "2 more coders" in found.notes[-1]
    assert len(found.table) == 7


def test_coders_who_never_err_do_not_differ() -> None:
    data, stratum, _ = codings([(0.9, 0.9)] * 2)
    with pytest.raises(InputError, match="say that no coder errs, but"):
        correct(data, stratum, 2, (1.0, 1.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.9, None), "specificity=None .* Give both"),
        ((None, 0.9), "sensitivity=None"),
        ((1.2, 0.9), "sensitivity=1.2 is not usable"),
        ((0.9, 0), "specificity=0 is not usable"),
        ((0.9, True), "specificity=True"),
        (("0.9", 0.9), "sensitivity='0.9'"),
        ((0.5, 0.5), "no better than chance: expected more than 1 in sum, got 1"),
        ((float("nan"), 0.9), "sensitivity=nan"),
    ],
)
def test_rates_that_cannot_be(given: tuple[object, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_rates(*given)


def test_the_note_without_double_codings_has_both_errors() -> None:
    data, stratum, _ = codings([(1.0, 1.0)], shares=(0.5, 0.02))
    note = coder_error.blind_note(data, stratum, SIZE)
    said = data.positive[data.pattern].ravel()
    apparent = np.array([said[stratum == h].mean() for h in (0, 1)])
    assert f"{SIZE @ apparent:,.0f};" in note
    assert f"(sensitivity 0.9), {SIZE @ apparent / 0.9:,.0f}." in note


def test_a_stratum_without_coded_posts_has_the_share_of_none() -> None:
    data, stratum, _ = codings([(0.9, 0.95)] * 2, n=60)
    cells = coder_error.Cells.of(data, np.arange(60), stratum[:60])
    share, _ = likeliest(cells, 2)
    assert share[1] == 0
