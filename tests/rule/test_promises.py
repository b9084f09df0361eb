"""Promised precision and recall where posts come in groups."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.stats import binom

from mmevent.exceptions import PolicyError
from mmevent.rule.policies import choose_threshold
from mmevent.rule.promises import Evidence, Tally, assured_cut, p_value

Posts = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]


@pytest.mark.parametrize(("true", "total"), [(29, 29), (95, 100), (36, 40), (1, 3)])
def test_single_posts_are_tested_by_the_binomial_test(true: int, total: int) -> None:
    rows = np.arange(total)
    tally = Tally.of(rows < true, rows)
    assert_allclose(p_value(tally, 0.8), binom.sf(true - 1, total, 0.8), rtol=1e-9)


@pytest.mark.parametrize(("true", "total"), [(14, 14), (95, 100), (36, 40)])
def test_copies_are_no_more_evidence_than_one(true: int, total: int) -> None:
    group = np.repeat(np.arange(total), 20)
    tally = Tally.of(group < true, group)
    assert_allclose(p_value(tally, 0.8), binom.sf(true - 1, total, 0.8), rtol=1e-6)


def test_the_p_value_is_the_chance_that_weighted_groups_fall_short() -> None:
    rng = np.random.default_rng(0)
    total = rng.integers(1, 9, 25)
    true = rng.binomial(total, 0.93)
    group = np.repeat(np.arange(25), total)
    hit = np.concatenate([np.arange(n) < k for n, k in zip(total, true, strict=True)])
    extra = 0.8 * (total**3).sum() / (total**2).sum()
    drawn = rng.exponential(size=(200_000, 26)) @ np.r_[true - 0.8 * total, -extra]
    expected = (drawn <= 0).mean()
    assert 0.01 < expected < 0.5
    assert p_value(Tally.of(hit, group), 0.8) == pytest.approx(expected, abs=0.004)


def test_a_share_below_the_target_shows_nothing() -> None:
    group = np.repeat(np.arange(50), 4)
    assert p_value(Tally.of(np.arange(200) % 2 == 0, group), 0.8) == 1.0
    assert p_value(Tally.of(np.zeros(200, dtype=bool), group), 0.8) == 1.0
    assert p_value(Tally.of(np.ones(0, dtype=bool), group[:0]), 0.8) == 1.0


def test_one_more_group_that_is_right_is_more_evidence() -> None:
    group = np.repeat(np.arange(30), 5)
    found = [p_value(Tally.of(group[:n] > 0, group[:n]), 0.8) for n in (75, 100, 150)]
    assert found[0] > found[1] > found[2] > 0


def authors(rng: np.random.Generator, n: int, kind: str) -> Posts:
    """Draw posts of authors, whose label they all share."""
    if kind == "equal":
        size = np.full(n, 10)
    elif kind == "copies":
        size = np.full(n, 6)
    else:
        size = np.ceil(rng.lognormal(1.5, 1.0, n)).astype(int)
    group = np.repeat(np.arange(n), size)
    event = (rng.random(n) < 0.4)[group]
    noise = rng.normal(size=len(group))
    if kind == "copies":
        noise = rng.normal(size=n)[group]
    if kind == "look-alikes":  # large groups look like events
        noise = noise + 1.0 * (~event & (size > 8)[group])
    return 1 / (1 + np.exp(-2.2 * event - noise)), event, group


@pytest.mark.parametrize("kind", ["equal", "copies", "unequal", "look-alikes"])
@pytest.mark.parametrize("policy", ["precision", "recall"])
def test_a_promise_is_kept_with_groups(kind: str, policy: str) -> None:
    everyone, label, _ = authors(np.random.default_rng(10**6), 5000, kind)
    broken = attained = 0
    for seed in range(30):
        posts = Evidence.of(*authors(np.random.default_rng(seed), 120, kind))
        cut = assured_cut(policy, 0.8, posts)
        if cut is None:
            continue
        attained += 1
        flagged = everyone >= posts.side.threshold(cut)
        of = label if policy == "recall" else flagged
        broken += (flagged & label).sum() / of.sum() < 0.8
    assert attained >= 3
    assert broken <= 5  # 30 runs of a rate of 0.05: more in 1 of 300 cases


@pytest.mark.parametrize("size", [1, 4])
def test_too_few_groups_are_told_how_many_would_do(size: int) -> None:
    def posts(n: int) -> Posts:
        group = np.repeat(np.arange(n), size)
        score = np.linspace(1, 0.1, len(group))
        return score, np.ones(len(group), dtype=bool), group

    noun = "events" if size == 1 else "groups with events"
    message = f"these 12 {noun} show no such recall .* About 14 {noun} like these"
    score, event, group = posts(12)
    with pytest.raises(PolicyError, match=message):
        choose_threshold("recall>=0.8", score, event, groups=group)
    score, event, group = posts(14)
    assert choose_threshold("recall>=0.8", score, event, groups=group) < score.min()


def test_about_as_many_groups_as_were_named_would_do() -> None:
    score, event, group = authors(np.random.default_rng(3), 60, "copies")
    with pytest.raises(PolicyError, match="like these would show it") as caught:
        choose_threshold("recall>=0.95", score, event, groups=group)
    found = re.search(r"About ([\d,]+) groups with", str(caught.value))
    assert found is not None
    enough = int(found[1].replace(",", ""))
    n = len(np.unique(group[event]))
    assert n < enough < 60
    assert 0.95**enough < 0.05 < 0.95 ** (enough - 1)
    more = [np.tile(score, 3), np.tile(event, 3)]
    groups = np.concatenate([group + 60 * k for k in range(3)])
    assert choose_threshold("recall>=0.95", *more, groups=groups) > 0


def test_no_number_is_named_where_none_would_do() -> None:
    score, event, group = authors(np.random.default_rng(0), 60, "equal")
    never = np.where(event, 0.0, score)
    with pytest.raises(PolicyError, match="no recall at all"):
        choose_threshold("recall>=0.5", never, event, groups=group)
    half = np.where(group % 2, 0.0, score)
    with pytest.raises(PolicyError, match="Even 1,000 times as many groups"):
        choose_threshold("recall>=0.9", half, event, groups=group)


def test_neither_order_nor_names_of_groups_matter() -> None:
    rng = np.random.default_rng(1)
    score, event, group = authors(rng, 150, "unequal")
    order = rng.permutation(len(score))
    names = np.array([f"author {g}" for g in group])
    for policy in ("precision>=0.7", "recall>=0.7"):
        cut = choose_threshold(policy, score, event, groups=group)
        other = choose_threshold(
            policy, score[order], event[order], groups=names[order]
        )
        assert other == cut
