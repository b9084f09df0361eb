"""Figures against scikit-learn, and their intervals against plain loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
)

from mmevent.evaluation.intervals import LEVEL
from mmevent.evaluation.metrics import (
    N_RANKED,
    N_RESAMPLES,
    Resampling,
    Weights,
    scales,
)

NAN = float("nan")


class Sample(NamedTuple):
    score: NDArray[np.float64]
    event: NDArray[np.bool_]
    group: NDArray[np.intp]
    fold: NDArray[np.intp]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        return self.score >= 0.5


def sample(n_posts: int, n_groups: int, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    event = rng.random(n_posts) < 0.4
    # One decimal, so that many scores are tied.
    score = np.round(np.clip(rng.normal(0.4 + 0.2 * event, 0.25), 0, 1), 1)
    group = np.append(np.arange(n_groups), rng.integers(n_groups, size=n_posts))
    return Sample(score, event, group[:n_posts], rng.integers(3, size=n_posts))


posts = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.booleans()),
    min_size=1,
    max_size=15,
)


@settings(max_examples=40)
@given(posts=posts)
def test_the_sample_itself_is_as_scikit_learn_says(
    posts: list[tuple[float, bool]],
) -> None:
    score, event = (np.array(column) for column in zip(*posts, strict=True))
    assume(event.any())
    flagged = score >= 0.5
    assume(flagged.any())
    resampling = Resampling(np.arange(len(score)))
    figures = resampling.ratios(flagged, event)
    assert figures["f1"][0] == pytest.approx(f1_score(event, flagged))
    assert figures["precision"][0] == pytest.approx(precision_score(event, flagged))
    assert figures["recall"][0] == pytest.approx(recall_score(event, flagged))
    ap = resampling.average_precision(score, event)
    assert ap[0] == pytest.approx(average_precision_score(event, score))


def test_without_events_there_is_no_average_precision() -> None:
    score = np.array([0.2, 0.9, 0.5, 0.4])
    none = Resampling(np.arange(4)).average_precision(score, np.zeros(4, dtype=bool))
    assert np.isnan(none).all()


def test_precision_is_undefined_where_nothing_is_flagged() -> None:
    event = np.array([True, False])
    figures = Resampling(np.arange(2)).ratios(np.zeros(2, dtype=bool), event)
    assert np.isnan(figures["precision"][0])
    assert figures["recall"][0] == 0
    assert figures["f1"][0] == 0


def test_recall_is_undefined_where_there_are_no_events() -> None:
    figures = Resampling(np.arange(2)).ratios(
        np.array([True, False]), np.zeros(2, dtype=bool)
    )
    assert np.isnan(figures["recall"][0])
    assert figures["precision"][0] == 0


def test_each_resample_is_that_of_repeated_rows() -> None:
    s = sample(70, 40)
    resampling = Resampling(s.group)
    assert resampling.counts.shape == (1 + N_RESAMPLES, 40)
    ratios = resampling.ratios(s.flagged, s.event)
    ap = resampling.average_precision(s.score, s.event)
    for i in (0, 1, 2, 777, N_RESAMPLES):
        times = resampling.counts[i].astype(int)[s.group]
        rows = np.repeat(np.arange(70), times)
        event, flagged = s.event[rows], s.flagged[rows]
        assert ratios["f1"][i] == pytest.approx(f1_score(event, flagged))
        assert ratios["recall"][i] == pytest.approx(recall_score(event, flagged))
        if i <= N_RANKED:
            expected = average_precision_score(event, s.score[rows])
            assert ap[i] == pytest.approx(expected)
    assert len(ap) == 1 + N_RANKED


def test_resamples_draw_whole_groups_with_replacement() -> None:
    counts = Resampling(sample(70, 40).group).counts
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 40).all()
    assert counts[1:].mean() == 1
    assert counts[1:].var() == pytest.approx(1 - 1 / 40, abs=0.02)


def test_groups_widen_the_interval() -> None:
    event = np.tile([True, False, True, False], 100)
    flagged = np.repeat(np.arange(40) % 2 == 0, 10)
    alone = Resampling(np.arange(400))
    grouped = Resampling(np.repeat(np.arange(40), 10))
    widths = [
        r.interval(r.ratios(flagged, event)["recall"], r.basis(event, event & flagged))
        for r in (alone, grouped)
    ]
    narrow, wide = (interval.high - interval.low for interval in widths)
    assert wide > 2 * narrow


@pytest.mark.parametrize(("n_groups", "small"), [(29, True), (30, False)])
def test_fewer_than_30_groups_are_few(n_groups: int, small: bool) -> None:
    assert Resampling(np.arange(n_groups)).small is small


def test_few_groups_have_the_variance_of_the_jackknife() -> None:
    s = sample(60, 8)
    resampling = Resampling(s.group)
    figures = resampling.ratios(s.flagged, s.event)["f1"]
    without = [
        f1_score(s.event[s.group != g], s.flagged[s.group != g]) for g in range(8)
    ]
    np.testing.assert_allclose(figures[1:], without)
    variance = 7 / 8 * np.sum((np.array(without) - np.mean(without)) ** 2)
    assert resampling.variance(figures) == pytest.approx(variance)


def test_the_variance_is_that_of_a_plain_bootstrap() -> None:
    s = sample(200, 60)
    resampling = Resampling(s.group)
    rng = np.random.default_rng(1)
    by_group = [np.flatnonzero(s.group == g) for g in range(60)]
    figures = []
    for _ in range(1500):
        rows = np.concatenate([by_group[g] for g in rng.integers(60, size=60)])
        true = (s.flagged & s.event)[rows].sum()
        figures.append(2 * true / (s.flagged[rows].sum() + s.event[rows].sum()))
    found = resampling.variance(resampling.ratios(s.flagged, s.event)["f1"])
    assert found == pytest.approx(np.var(figures), rel=0.15)


def test_the_standard_error_is_that_of_the_resamples() -> None:
    figures = np.random.default_rng(0).normal(size=N_RESAMPLES + 1)
    many = Resampling(np.arange(40))
    assert many.standard_error(figures) == pytest.approx(figures[1:].std())
    values = np.random.default_rng(0).normal(size=12)
    few = Resampling(np.arange(12))
    means = few.sums(values) / few.sums(np.ones(12))
    assert few.standard_error(means) == pytest.approx(stats.sem(values), rel=1e-5)


def test_a_paired_difference_has_the_variance_of_the_differences() -> None:
    s = sample(300, 100)
    resampling = Resampling(s.group)
    first = resampling.ratios(s.flagged, s.event)["f1"]
    second = resampling.ratios(s.score >= 0.6, s.event)["f1"]
    basis = resampling.basis(np.ones(300), s.flagged != (s.score >= 0.6))
    paired = resampling.difference(first - second, basis)
    assert paired.value == pytest.approx(first[0] - second[0])
    apart = resampling.variance(first) + resampling.variance(second)
    assert paired.high - paired.low < 0.8 * 2 * 1.96 * np.sqrt(apart)


@pytest.mark.parametrize("figures", [[0.5, NAN, NAN], [0.5]])
def test_a_figure_without_resamples_has_the_interval_of_its_groups(
    figures: list[float],
) -> None:
    resampling = Resampling(np.zeros(2, dtype=int))
    basis = resampling.basis(np.ones(2), np.array([True, False]))
    interval = resampling.interval(np.array(figures), basis)
    assert interval.low < 0.05
    assert interval.high > 0.95


def test_an_undefined_figure_has_an_undefined_interval() -> None:
    resampling = Resampling(np.arange(2))
    basis = resampling.basis(np.zeros(2), np.zeros(2))
    figures = np.array([NAN, 0.5, 0.5])
    assert np.isnan(resampling.interval(figures, basis)).all()
    assert np.isnan(resampling.difference(figures, basis)).all()


def test_resamples_without_a_figure_are_left_out_of_the_variance() -> None:
    figures = np.array([0.5, 0.4, NAN, 0.6])
    assert Resampling(np.arange(40)).variance(figures) == pytest.approx(0.01)


def test_the_same_groups_are_drawn_for_every_figure() -> None:
    first, second = (Resampling(np.arange(50)) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)


def test_intervals_at_the_joint_level_hold_all_at_once() -> None:
    k, n, missed, pointwise = 40, 200, 0, 0
    rng = np.random.default_rng(0)
    resampling = Resampling(np.arange(400))
    size = resampling.sums(np.ones(400))[:, None]
    for _ in range(n):
        total = resampling.sums(rng.normal(size=(400, k))) / size
        error = total[1:].std(axis=0)
        level = resampling.joint_level(total)
        reach, single = (stats.norm.isf((1 - x) / 2) for x in (level, LEVEL))
        missed += bool((np.abs(total[0]) > reach * error).any())
        pointwise += bool((np.abs(total[0]) > single * error).any())
    assert missed <= n * 0.05 + 3 * np.sqrt(n * 0.05 * 0.95)
    assert pointwise > 3 * missed


def test_the_joint_level_is_at_most_that_of_independent_figures() -> None:
    resampling = Resampling(np.arange(400))
    figures = np.random.default_rng(0).standard_t(2, size=(N_RESAMPLES + 1, 3))
    assert LEVEL < resampling.joint_level(figures) <= LEVEL ** (1 / 3)
    assert resampling.joint_level(np.zeros((N_RESAMPLES + 1, 2))) == LEVEL


# At another prevalence

N = 900
RNG = np.random.default_rng(0)
EVENT = RNG.random(N) < 0.4
FLAGGED = np.where(EVENT, RNG.random(N) < 0.8, RNG.random(N) < 0.1)
GROUP = np.arange(N) // 2


def test_at_another_prevalence_posts_are_weighted() -> None:
    weights = Weights.at(0.05, EVENT)
    row = np.where(EVENT, weights.event, weights.other)
    assert row[EVENT].sum() / row.sum() == pytest.approx(0.05)
    resampling = Resampling(GROUP)
    factors = resampling.factors(EVENT, weights)
    found = resampling.ratios(FLAGGED, EVENT, factors)
    for name, score in (
        ("f1", f1_score),
        ("precision", precision_score),
        ("recall", recall_score),
    ):
        expected = score(EVENT, FLAGGED, sample_weight=row)
        assert found[name][0] == pytest.approx(expected)
    score = np.round(RNG.random(N) + EVENT, 1)
    area = resampling.average_precision(score, EVENT, factors)
    expected = average_precision_score(EVENT, score, sample_weight=row)
    assert area[0] == pytest.approx(expected)


@pytest.mark.parametrize("n_others", [0, 1])
def test_a_precision_of_few_posts_is_uncertain_where_events_are_rare(
    n_others: int,
) -> None:
    event = np.arange(60) < 12
    flagged = np.arange(60) < 12 + n_others
    weights = Weights.at(0.01, event)
    resampling = Resampling(np.arange(60))
    figures = resampling.ratios(flagged, event, resampling.factors(event, weights))
    bases = resampling.bases(flagged[None], event[None])
    scale = scales(flagged[None], event[None], weights)
    found = {
        name: resampling.interval(values, bases[name], scale[name])
        for name, values in figures.items()
    }
    # At most 5.9% of the 48 others are flagged, if none of them is.
    assert found["precision"].low < 0.17
    assert found["f1"].low < found["f1"].value - 0.1
    assert found["recall"] == (1.0, pytest.approx(0.05 ** (1 / 12)), 1.0)
    for interval in found.values():
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_the_prevalence_is_that_of_every_resample() -> None:
    resampling = Resampling(GROUP)
    everything = np.ones(N, dtype=bool)
    factors = resampling.factors(EVENT, Weights.at(0.05, EVENT))
    found = resampling.ratios(everything, EVENT, factors)
    np.testing.assert_allclose(found["precision"], 0.05, rtol=1e-5)
