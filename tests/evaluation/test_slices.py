"""Slices of posts: which there are, and their figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    f1_score,
    precision_score,
    recall_score,
)

from mmevent.evaluation.intervals import F1
from mmevent.evaluation.metrics import Resampling, Weights
from mmevent.evaluation.slices import (
    MISSING,
    MOST,
    OTHER,
    Slices,
    slice_figures,
    worse_served,
)
from mmevent.exceptions import InputError
from mmevent.posts.prepared import Prepared
from mmevent.synthetic.posts import make_posts

N = 900
RNG = np.random.default_rng(0)
EVENT = RNG.random(N) < 0.4
FLAGGED = np.where(EVENT, RNG.random(N) < 0.8, RNG.random(N) < 0.1)
PLACE = RNG.choice(["north", "south", "west"], N)
GROUP = np.arange(N) // 2


def figures(
    flagged: Any = FLAGGED,
    names: Any = None,
    *,
    group: Any = GROUP,
    weights: Any = None,
) -> pd.DataFrame:
    names = {"place": PLACE} if names is None else names
    table = slice_figures([flagged], EVENT, group, names, weights)
    return pd.DataFrame(table).set_index("slice")


# Figures of slices


def test_figures_are_those_of_scikit_learn() -> None:
    table = figures()
    assert table.index.tolist() == ["north", "south", "west"]
    for name, row in table.iterrows():
        inside = name == PLACE
        for figure, score in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            here = score(EVENT[inside], FLAGGED[inside])
            rest = score(EVENT[~inside], FLAGGED[~inside])
            assert row[figure] == pytest.approx(here)
            assert row[f"{figure}_low"] < here < row[f"{figure}_high"]
            assert row[f"{figure}_minus_rest"] == pytest.approx(here - rest)
        assert row["n_events"] == EVENT[inside].sum()
        assert row["n_flagged"] == FLAGGED[inside].sum()


def test_a_slice_that_is_served_worse_is_named() -> None:
    blind = FLAGGED & ~((PLACE == "north") & (RNG.random(N) < 0.5))
    assert worse_served(figures().reset_index().to_dict("records")) == []
    notes = worse_served(figures(blind).reset_index().to_dict("records"))
    assert notes
    assert all(note.startswith("place north: ") for note in notes)
    assert any("recall lower by 0." in note for note in notes)


def test_few_events_have_a_figure_and_no_difference() -> None:
    rare = np.where(np.cumsum(EVENT) * EVENT == 1, "one", "rest")
    rare[np.flatnonzero(~EVENT)[:100]] = "one"
    row = figures(names={"place": rare}).loc["one"]
    assert row["n_events"] == 1
    assert row["recall"] in (0, 1)
    assert np.isnan(row["recall_minus_rest_low"])


def test_what_does_not_tell_posts_apart_is_left_out() -> None:
    names = {"place": np.full(N, "north")}
    assert slice_figures([FLAGGED], EVENT, GROUP, names, None) == []


def test_all_or_none_are_no_certainty() -> None:
    few = EVENT & (np.cumsum(EVENT) <= 3)
    names = np.where(few | (RNG.random(N) < 0.2) & ~EVENT, "few", "rest")
    for flagged, value, low, high in (
        (few, 1.0, 0.05 ** (1 / 3), 1.0),
        (np.zeros(N, dtype=bool), 0.0, 0.0, 1 - 0.05 ** (1 / 3)),
    ):
        row = figures(flagged, {"place": names}, group=np.arange(N)).loc["few"]
        found = row[["recall", "recall_low", "recall_high"]].tolist()
        assert found == pytest.approx([value, low, high])


def test_a_post_may_be_in_no_slice() -> None:
    names = np.where(PLACE == "west", None, PLACE)
    table = figures(names={"place": names})
    assert table.index.tolist() == ["north", "south"]
    pd.testing.assert_frame_equal(
        table[["f1", "recall"]], figures().loc[["north", "south"], ["f1", "recall"]]
    )


def test_runs_are_averaged() -> None:
    other = EVENT ^ (RNG.random(N) < 0.3)
    both = pd.DataFrame(
        slice_figures([FLAGGED, other], EVENT, GROUP, {"place": PLACE}, None)
    )
    one, two = figures(), figures(other)
    mean = (one["f1"] + two["f1"]).to_numpy() / 2
    np.testing.assert_allclose(both["f1"], mean)


def test_a_slice_of_few_groups_has_an_interval_over_groups() -> None:
    group = np.where(PLACE == "north", np.arange(N) % 7, 100 + np.arange(N))
    row = figures(group=group).loc["north"]
    inside = PLACE == "north"
    own = Resampling(group[inside])
    flagged, event = FLAGGED[inside], EVENT[inside]
    basis = own.basis(flagged | event, flagged & event)
    expected = own.interval(own.ratios(flagged, event)["f1"], basis, F1)
    assert (row["f1_low"], row["f1_high"]) == pytest.approx(expected[1:])


@pytest.mark.parametrize("n_groups", [40, 100, 400])
def test_whole_groups_in_a_slice_are_no_proof(n_groups: int) -> None:
    named, n = 0, 40
    for seed in range(n):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(n_groups), 2000 // n_groups)
        place = rng.choice(["a", "b", "c", "d", "e", "f"], n_groups)[group]
        event = rng.random(len(group)) < 0.4
        shift = rng.normal(size=n_groups)[group] * 0.5
        p = 1 / (1 + np.exp(-(np.where(event, 1.2, -2) + shift)))
        flagged = rng.random(len(group)) < p
        table = slice_figures([flagged], event, group, {"place": place}, None)
        named += bool(worse_served(table))
    assert named <= n * 0.05 + 3 * np.sqrt(n * 0.05 * 0.95)


def test_the_share_of_events_in_a_slice_is_not_known() -> None:
    weights = Weights.at(float(EVENT.mean()), EVENT)
    everything = np.ones(N, dtype=bool)
    free = figures(everything).loc["north"]
    fixed = figures(everything, weights=weights).loc["north"]
    widths = [row["precision_high"] - row["precision_low"] for row in (free, fixed)]
    assert 0.7 * widths[0] < widths[1] <= widths[0]


# Which slices there are


def prepared(posts: pd.DataFrame) -> Prepared:
    return Prepared.of(posts, columns=None, image_root=None, allow_outside_root=False)


def texts(**columns: Any) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"text": [f"post {i}" for i in range(n)], **columns})


def test_images_periods_and_languages_are_found_without_being_asked_for() -> None:
    posts, _, _ = make_posts(60, random_state=0)
    posts["lang"] = ["en", "zh", None] * 20
    posts["created_at"] = ["2024-01-05", "2024-02-05"] * 30
    names = Slices.of(prepared(posts), posts).names
    assert list(names) == ["images", "number of images", "period", "lang"]
    assert set(names["images"]) == {"with", "without"}
    assert set(names["lang"]) == {"en", "zh", MISSING}
    assert set(names["number of images"]) == {None, "1", "2", "3"}
    assert set(names["period"]) == {"2024"}


@pytest.mark.parametrize(
    ("days", "first"),
    [
        (10, "2024-01-01"),
        (80, "week of 2024-01-01"),
        (300, "2024-01"),
        (900, "2024"),
    ],
)
def test_periods_are_not_too_many(days: int, first: str) -> None:
    times = pd.date_range("2024-01-01", periods=days).astype(str)
    posts = texts(created_at=np.repeat(times, 100))
    names = Slices.of(prepared(posts), posts).names["period"]
    assert names[0] == first
    assert len(np.unique(names)) <= MOST
    few = Slices.of(prepared(posts[:99]), posts[:99]).names["period"]
    assert set(few) == {"2024"}


def test_times_that_cannot_be_read_are_noted() -> None:
    posts = texts(created_at=["2024-01-05", "05/01/24"])
    slices = Slices.of(prepared(posts), posts)
    assert "period" not in slices.names
    (note,) = slices.notes
    assert note.startswith("no figures by period: created_at of 1 of 2 posts (first ")
    assert "--date-format '%d/%m/%y' for days first" in note


def test_rare_values_are_joined() -> None:
    posts = texts(author=np.repeat(np.arange(30), np.arange(1, 31)))
    names = Slices.of(prepared(posts), posts, ["author"]).names["author"]
    assert len(np.unique(names)) == MOST
    assert (names == OTHER).sum() == np.arange(1, 20).sum()
    n = len(names)
    table = slice_figures(
        [np.arange(n) % 2 == 0], np.arange(n) % 3 == 0, np.arange(n), {"a": names}, None
    )
    assert [row["slice"] for row in table] == [*map(str, range(19, 30)), OTHER]


def test_posts_may_be_a_list_of_mappings() -> None:
    posts = texts(city=["a", "b", "b"])
    names = Slices.of(prepared(posts), posts.to_dict("records"), ["city"]).names
    assert names["city"].tolist() == ["a", "b", "b"]


def test_a_column_does_not_hide_what_is_always_told_apart() -> None:
    posts = texts(city=["a", "b"], images=["", ""])
    posts["number of images"] = ["x", "y"]
    names = Slices.of(prepared(posts), posts, ["images", "number of images"]).names
    assert names["images"].tolist() == ["without", "without"]
    assert names["column number of images"].tolist() == ["x", "y"]


def test_two_columns_of_languages_are_not_guessed_between() -> None:
    posts = texts(lang=["a", "b"])
    twice = pd.concat([posts, posts[["lang"]]], axis=1)
    assert "lang" not in Slices.of(prepared(twice), twice).names


def test_a_column_that_is_not_there_is_named() -> None:
    posts = texts(city=["a", "b"])
    with pytest.raises(InputError, match=r"by=\['town'\] names columns.*'city'"):
        Slices.of(prepared(posts), posts, ["town"])


def test_a_slice_is_weighted_like_the_whole() -> None:
    weights = Weights.at(0.05, EVENT)
    row = np.where(EVENT, weights.event, weights.other)
    table = figures(weights=weights)
    inside = PLACE == "north"
    expected = precision_score(
        EVENT[inside], FLAGGED[inside], sample_weight=row[inside]
    )
    assert table.loc["north", "precision"] == pytest.approx(expected)


def test_periods_are_those_of_the_clock_of_each_post() -> None:
    posts, _, _ = make_posts(300, random_state=0)
    own = np.where(
        np.arange(300) < 150, "2024-03-31T23:30:00-05:00", "2024-04-01T06:00:00+09:00"
    )
    posts = posts[["id", "text"]].assign(created_at=own)
    prepared = Prepared.of(
        posts, columns=None, image_root=None, allow_outside_root=False
    )
    names = Slices.of(prepared, posts).names["period"]
    assert names.tolist() == ["2024-03-31"] * 150 + ["2024-04-01"] * 150


def test_values_are_slices_in_every_type_and_lists_are_none() -> None:
    posts, _, _ = make_posts(6, random_state=0)
    posts = posts[["id", "text"]].assign(
        place=pd.Series([1, "1", 1.0, None, MISSING, OTHER], dtype=object),
        lang=[["en"]] * 6,
    )
    prepared = Prepared.of(
        posts, columns=None, image_root=None, allow_outside_root=False
    )
    slices = Slices.of(prepared, posts, ["place"])
    named = slices.names["place"].tolist()
    assert named == ["1", "1", "1", f"({MISSING})", MISSING, OTHER]
    assert "lang" not in slices.names
    assert slices.notes == ["lists in the column 'lang': no figures by it."]
    with pytest.raises(InputError, match="column 'lang' cannot be compared"):
        Slices.of(prepared, posts, ["lang"])
