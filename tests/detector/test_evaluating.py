"""How well a detector does: on the posts of its fit, and on others."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, new_posts
from evaluation.helpers import assert_same_estimate
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    average_precision_score,
    f1_score,
)
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
)
from sklearn.pipeline import make_pipeline

from mmevent import (
    Estimate,
    EventDetector,
    ForwardInTime,
    evaluate,
)
from mmevent.exceptions import (
    InputError,
)
from mmevent.rule.policies import choose_threshold
from mmevent.synthetic.posts import make_posts


@pytest.fixture(scope="module")
def data() -> Data:
    posts, y, _ = make_posts(90, image_size=8, share_broken=0, random_state=0)
    return posts, y


@pytest.fixture(scope="module")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 3,
        "inner_cv": 2,
        "n_trials": 5,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def detector(data: Any, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings).fit(*data)


# On the posts of the fit


def test_more_seeds_are_evaluated(detector: EventDetector, data: Any) -> None:
    estimate = evaluate(detector, *data, seeds=(1, 2))
    assert estimate.by_seed["seed"].unique().tolist() == [1, 2]
    assert sorted(set(estimate.parameters["seed"])) == [1, 2]
    f1 = estimate.by_seed.set_index(["system", "seed"])["f1"]
    mean = estimate.to_frame()["f1"]
    for system in mean.index:
        assert mean[system] == pytest.approx(f1[system].mean())


def test_the_estimate_of_a_fit_is_the_evaluation_of_one_without(
    data: Any, settings: dict[str, Any], detector: EventDetector
) -> None:
    quick = EventDetector(**settings, estimate=None).fit(*data)
    assert quick.estimate_ is None
    estimate = evaluate(quick, *data)
    assert detector.estimate_ is not None
    assert_same_estimate(estimate, detector.estimate_)
    assert not any("frozen" in note for note in estimate.notes)


def test_cross_fitted_is_labelled(data: Any, settings: dict[str, Any]) -> None:
    detector = EventDetector(**settings, estimate="cross-fit").fit(*data)
    assert detector.estimate_ is not None
    assert detector.estimate_.kind == "cross-fit"
    assert evaluate(detector, *data).kind == "cross-fit"


@pytest.mark.parametrize(
    "seeds", [(), 3, None, ["one"], "01", [1.7], [True], [-1], [2**32]], ids=repr
)
def test_seeds_are_integers(detector: EventDetector, data: Any, seeds: Any) -> None:
    with pytest.raises(InputError, match="gives no seed of the folds: expected a"):
        evaluate(detector, *data, seeds=seeds)


def test_folds_that_test_other_posts_with_each_seed_are_refused(
    data: Any, settings: dict[str, Any]
) -> None:
    posts, y = data
    split = GroupShuffleSplit(n_splits=1, test_size=0.4)
    parameters = settings | {"cv": split, "estimate": "nested"}
    fitted = EventDetector(**parameters).fit(posts, y)
    with pytest.raises(InputError, match="different posts with each seed: .* 3 seeds"):
        evaluate(fitted, posts, y, seeds=range(3))


def test_folds_that_no_seed_changes_are_noted(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(120, image_size=8, random_state=0)
    event = np.arange(120) % 40
    changed = {"cv": GroupKFold(3), "estimate": "cross-fit", "image": None}
    parameters = settings | changed
    fitted = EventDetector(**parameters).fit(posts, y, groups=event)
    estimate = evaluate(fitted, posts, y, groups=event, seeds=[0, 1])
    assert any("the same for every seed" in note for note in estimate.notes)
    assert not any("every seed" in note for note in fitted.estimate_.notes)


def test_posts_tested_by_none_are_in_no_heading(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(120, image_size=8, random_state=0)
    parameters = settings | {"cv": ForwardInTime(3), "estimate": "cross-fit"}
    estimate = EventDetector(**parameters).fit(posts, y).estimate_
    assert estimate is not None
    row = estimate.to_frame().iloc[0]
    assert row["n_groups"] <= row["n_posts"] < 120
    assert f"{int(row['n_groups'])} groups" in str(estimate)


def test_no_posts_cannot_be_evaluated(detector: EventDetector) -> None:
    for held_out in (False, True):
        with pytest.raises(InputError, match="there are no posts to evaluate"):
            evaluate(detector, [], [], held_out=held_out)


def test_an_unfitted_detector_cannot_be_evaluated(data: Any) -> None:

    for held_out in (False, True):
        with pytest.raises(NotFittedError):
            evaluate(EventDetector(), *data, held_out=held_out)


def test_a_budget_has_an_estimate_where_the_corpus_is_known(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    detector = EventDetector(**settings | {"policy": "budget=800"}).fit(posts, y)
    with pytest.raises(InputError, match="expected corpus_size"):
        evaluate(detector, posts, y)
    flagged = evaluate(detector, posts, y, corpus_size=8000).to_frame()["n_flagged"]
    assert flagged["flag all"] == 90
    assert flagged.drop("flag all").between(1, 9).all()
    detector.set_policy("f1")
    assert evaluate(detector, posts, y).to_frame().loc["fused", "n_flagged"] > 10
    with pytest.raises(InputError, match="corpus_size=8000 is for a budget"):
        evaluate(detector, posts, y, corpus_size=8000)
    with pytest.raises(InputError, match=r"cannot be made with policy='budget=800'"):
        detector.set_params(estimate="nested", policy="budget=800").fit(posts, y)


# Held-out posts


def test_held_out_posts_are_predicted_once(detector: EventDetector) -> None:
    posts, y = new_posts()
    estimate = evaluate(detector, posts, y, held_out=True)
    row = estimate.to_frame().loc["fused"]
    assert estimate.kind == "held out"
    assert row["f1"] == pytest.approx(f1_score(y, detector.predict(posts)))
    ap = average_precision_score(y, detector.decision_function(posts))
    assert row["average_precision"] == pytest.approx(ap)
    assert row["n_posts"] == 40
    assert estimate.parameters.empty
    assert set(estimate.differences["baseline"]) >= {"flag all", "text only"}


def test_held_out_baselines_are_tuned_on_the_training(detector: EventDetector) -> None:

    posts, y = new_posts()
    estimate = evaluate(detector, posts, y, held_out=True)
    training = detector.out_of_fold_
    p_text = np.nan_to_num(training["p_text"])
    groups = training["group"]
    threshold = choose_threshold("f1", p_text, training["event"], groups=groups)
    flagged = np.nan_to_num(detector.audit(posts)["p_text"]) >= threshold
    f1 = estimate.to_frame().loc["text only", "f1"]
    assert f1 == pytest.approx(f1_score(y, flagged))


@pytest.mark.parametrize("kind", ["id", "text", "image"])
def test_posts_that_were_training_data_are_refused_or_dropped(
    detector: EventDetector, data: Any, kind: str
) -> None:
    posts, y = new_posts()
    seen, _ = data
    with_image = np.flatnonzero(seen["text"].notna() & seen["images"].map(len).gt(0))
    for row, other in ((3, with_image[0]), (7, with_image[1])):
        if kind == "id":
            posts.at[row, "id"] = seen.at[other, "id"]
        elif kind == "text":
            posts.at[row, "text"] = f"RT @someone {seen.at[other, 'text']}".upper()
        else:
            posts.at[row, "images"] = [seen.at[other, "images"][0]]
    message = "2 of 40 held-out posts were training posts.*drop_seen=True"
    with pytest.raises(InputError, match=message):
        evaluate(detector, posts, y, held_out=True)
    dropped = evaluate(detector, posts, y, held_out=True, drop_seen=True)
    kept = np.delete(np.arange(40), [3, 7])
    alone = evaluate(detector, posts.iloc[kept], y[kept], held_out=True)
    assert dropped.notes[0] == "2 posts dropped: seen in training."
    pd.testing.assert_frame_equal(dropped.table, alone.table)


def test_all_posts_seen_leave_nothing(detector: EventDetector, data: Any) -> None:
    with pytest.raises(InputError, match="no posts to evaluate, once training posts"):
        evaluate(detector, *data, held_out=True, drop_seen=True)


def test_held_out_posts_may_be_a_list_and_have_groups(
    detector: EventDetector, data: Any
) -> None:
    posts, y = new_posts()
    records = [*posts.to_dict("records"), {"id": "x", "text": data[0].at[0, "text"]}]
    groups = np.arange(41) // 2
    estimate = evaluate(
        detector, records, [*y, 1], groups=groups, held_out=True, drop_seen=True
    )
    assert estimate.leakage["n_groups"] == 20
    assert any("small number of clusters: 20" in note for note in estimate.notes)


def test_held_out_posts_of_one_class_are_fine(detector: EventDetector) -> None:
    posts, y = new_posts()
    events = evaluate(detector, posts[y == 1], y[y == 1], held_out=True)
    assert events.to_frame().loc["fused", "precision"] == 1
    assert str(events)
    others = evaluate(detector, posts[y == 0], y[y == 0], held_out=True)
    assert np.isnan(others.to_frame().loc["fused", "recall"])
    assert str(others)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(40, 2), r"other labels than the training: expected \[0, 1\], got \[2"),
        (np.full(40, np.nan), "missing labels: .* none in 40 of 40"),
        (np.zeros(39), "one label for each of 40 posts"),
    ],
    ids=["other", "missing", "length"],
)
def test_held_out_labels_are_checked(
    detector: EventDetector, labels: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(detector, new_posts()[0], labels, held_out=True)


# By events and forward in time


def test_whole_events_left_out_have_intervals_over_events(
    settings: dict[str, Any],
) -> None:
    posts, y, _ = make_posts(120, image_size=8, n_groups=5, random_state=0)
    detector = EventDetector(**settings | {"cv": LeaveOneGroupOut(), "image": None})
    estimate = detector.fit(posts, y).estimate_
    assert estimate is not None
    assert any("small number of clusters: 5 groups" in note for note in estimate.notes)
    # Each fold tests one event.
    fold = detector.out_of_fold_["fold"]
    assert (posts.groupby("group")["id"].count().sort_values().tolist()) == (
        fold.value_counts().sort_values().tolist()
    )
    assert posts["group"].groupby(fold.to_numpy()).nunique().tolist() == [1] * 5


def test_groups_may_be_passed_instead_of_a_column(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(100, image_size=8, n_groups=6, random_state=0)
    groups = posts.pop("group")
    detector = EventDetector(**settings | {"cv": GroupKFold(3)})
    detector.fit(posts, y, groups=groups)
    fold = pd.Series(detector.out_of_fold_["fold"].to_numpy())
    assert (fold.groupby(groups).nunique() == 1).all()


def test_rows_with_a_twin_in_the_test_are_counted(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(60, image_size=8, share_reposts=0, random_state=0)
    posts["group"] = np.arange(60) % 4
    posts.loc[[0, 1], "text"] = "one and the same"
    posts.loc[[0, 1], "images"] = pd.Series([[], []])
    settings = settings | {"image": None}
    detector = EventDetector(**settings | {"cv": LeaveOneGroupOut()})
    leakage = detector.fit(posts, y).estimate_.leakage
    assert leakage["training_rows_dropped_as_duplicates_of_test_rows"] == 2
    plain = EventDetector(**settings).fit(posts.drop(columns="group"), y)
    leakage = plain.estimate_.leakage
    assert leakage["training_rows_dropped_as_duplicates_of_test_rows"] == 0
    assert leakage["posts_that_share_a_group"] == 2
    assert leakage["n_groups"] == 59


def test_forward_in_time_counts_what_it_does_not_test(
    settings: dict[str, Any], data: Any
) -> None:
    posts, y = data
    detector = EventDetector(**settings | {"cv": ForwardInTime(3), "inner_cv": 2}).fit(
        posts, y
    )
    fold = detector.out_of_fold_["fold"]
    untested = int((fold == -1).sum())
    assert untested >= 22
    assert detector.out_of_fold_["score"].isna().sum() == untested
    estimate = detector.estimate_
    assert estimate is not None
    assert estimate.to_frame()["n_posts"].iloc[0] == 90 - untested
    assert f"{untested} of 90 posts are tested by no fold" in estimate.notes[-1]


def test_forward_in_time_with_nothing_to_choose_from_is_refused(
    settings: dict[str, Any], data: Any
) -> None:
    detector = EventDetector(
        **settings | {"cv": ForwardInTime(1)}, estimate="cross-fit"
    )
    with pytest.raises(InputError, match="no fold has earlier posts to tune"):
        detector.fit(*data)


# Notes


def test_a_frozen_branch_is_noted(data: Any, settings: dict[str, Any]) -> None:

    posts, y = new_posts()
    fitted = clone(settings["text"]).fit(
        posts["text"].dropna(), y[posts["text"].notna()]
    )
    frozen = FrozenEstimator(fitted)
    note = "assumes that the frozen branch never saw these posts."
    for branch in (frozen, make_pipeline(frozen)):
        detector = EventDetector(**settings | {"text": branch, "image": None})
        assert note in detector.fit(*data).estimate_.notes
    assert note in evaluate(detector, *data).notes


def test_unusable_images_are_noted_by_reason(
    data: Any, settings: dict[str, Any]
) -> None:
    posts, y = data
    posts = posts.copy()
    posts["images"] = [
        [b""] if i < 2 else images for i, images in enumerate(posts["images"])
    ]
    posts.at[2, "images"] = ["no-such-file.png"]
    estimate = EventDetector(**settings).fit(posts, y).estimate_
    (note,) = [note for note in estimate.notes if "unusable" in note]
    assert "1 missing file" in note
    assert "corrupt" in note


def test_held_out_posts_without_a_usable_image_are_refused(
    detector: EventDetector,
) -> None:
    posts, y = new_posts()
    for source, reason in ((b"broken", "unsupported"), ("gone.png", "missing file")):
        broken = posts.assign(images=[[source]] * len(posts))
        message = rf"none of the 40 images can be used \(40 {reason}\): expected one"
        with pytest.raises(InputError, match=message):
            evaluate(detector, broken, y, held_out=True)


# Slices, and another prevalence


@pytest.fixture(scope="module")
def cities() -> Data:
    posts, y, _ = make_posts(160, random_state=0)
    city = np.random.default_rng(0).choice(["a", "b"], 160)
    return posts.assign(city=city), y


@pytest.fixture(scope="module")
def sliced(cities: Data, settings: dict[str, Any]) -> EventDetector:
    changed = {"n_trials": 20, "estimate": "cross-fit"}
    return EventDetector(**settings | changed).fit(*cities)


def test_slices_and_the_threshold_are_in_the_estimate(
    sliced: EventDetector, cities: Data
) -> None:
    posts, y = cities
    assert "city" not in set(sliced.estimate_.slices["by"])
    estimate = evaluate(sliced, posts, y, by="city")
    assert {"images", "city"} <= set(estimate.slices["by"])
    assert "city: a" in str(estimate)
    spread = estimate.threshold.iloc[0]
    assert spread["threshold"] == sliced.threshold_
    assert spread["low"] < spread["threshold"] < spread["high"]
    again = Estimate.from_dict(json.loads(estimate.to_json()))
    assert str(again) == str(estimate)


def test_figures_at_another_prevalence_say_what_they_assume(
    sliced: EventDetector, cities: Data
) -> None:
    posts, y = cities
    here = sliced.estimate_.to_frame()
    found = evaluate(sliced, posts, y, prevalence=0.02)
    there = found.to_frame()
    np.testing.assert_allclose(there["recall"], here["recall"])
    assert there.loc["flag all", "precision"] == pytest.approx(0.02)
    assert there.loc["fused", "precision"] < here.loc["fused", "precision"]
    assert any(
        "to 0.02. This assumes that events there" in note for note in found.notes
    )
    assert found.to_dict()["prevalence"] == 0.02
    assert "95% intervals in brackets; prevalence 0.02" in str(found)
    same = evaluate(sliced, posts, y, prevalence=float(np.mean(y))).to_frame()
    np.testing.assert_allclose(same["f1"], here["f1"])


def test_held_out_slices_are_those_of_the_posts_that_stay(
    sliced: EventDetector, cities: Data
) -> None:
    posts, y = cities
    others, labels, _ = make_posts(60, random_state=5)
    others = others.assign(id="b" + others["id"].astype(str), city="c")
    mixed = pd.concat([posts[:20], others.assign(city=["c", "d"] * 30)])
    found = evaluate(
        *(sliced, mixed, np.r_[y[:20], labels]),
        held_out=True,
        drop_seen=True,
        by=["city"],
        prevalence=0.1,
    )
    table = found.slices.set_index("by").loc["city"]
    assert table["slice"].tolist() == ["c", "d"]
    assert table["n_posts"].sum() == found.to_frame().loc["fused", "n_posts"]


@pytest.mark.parametrize("prevalence", [0, 1, 2.0, "0.1", True])
def test_what_is_no_prevalence(
    sliced: EventDetector, cities: Data, prevalence: Any
) -> None:
    with pytest.raises(InputError, match="is no share of events"):
        evaluate(sliced, *cities, prevalence=prevalence)


def test_a_prevalence_needs_both_classes(sliced: EventDetector) -> None:
    others, _, _ = make_posts(30, random_state=5)
    others = others.assign(id="b" + others["id"].astype(str))
    with pytest.raises(InputError, match="needs events and others"):
        evaluate(
            *(sliced, others, np.ones(30, dtype=int)),
            held_out=True,
            drop_seen=True,
            prevalence=0.1,
        )


def test_a_prevalence_needs_both_classes_among_what_is_tested(
    settings: dict[str, Any],
) -> None:
    posts, y, _ = make_posts(90, random_state=0)
    order = np.argsort(-y, kind="stable")
    posts, y = posts.iloc[order].reset_index(drop=True), y[order]
    times = pd.date_range("2024-01-01", periods=90).astype(str)
    y[:45:2] = 0  # the last blocks have no event
    posts = posts.assign(created_at=times).drop(columns="group", errors="ignore")
    changed = {"cv": ForwardInTime(1), "inner_cv": 2, "estimate": None}
    detector = EventDetector(**settings | changed).fit(posts, y)
    with pytest.raises(InputError, match=r"expected both among the \d+ posts that are"):
        evaluate(detector, posts, y, prevalence=0.1)


def test_a_budget_has_no_other_prevalence(sliced: EventDetector, cities: Data) -> None:
    other = copy.deepcopy(sliced).set_policy("budget=20")
    with pytest.raises(InputError, match="prevalence=0.1 cannot be used with policy"):
        evaluate(other, *cities, corpus_size=1000, prevalence=0.1)


# What a splitter drops, and what a policy is chosen on


class Turning:
    """Two halves; the first two posts are in one of them at the third time."""

    n_asked = 0

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        self.n_asked += 1
        place = np.arange(len(X))
        if self.n_asked % 3 == 0:
            place[1], place[2] = 2, 1
        halves = [np.flatnonzero(place % 2 == k) for k in (0, 1)]
        return [(halves[0], halves[1]), (halves[1], halves[0])]


def test_dropped_training_rows_are_counted_as_the_mean_over_seeds(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y, _ = make_posts(90, image_size=8, share_reposts=0, random_state=0)
    posts.loc[[0, 1], "text"] = "one and the same"
    posts["images"] = [[] if i < 3 else cell for i, cell in enumerate(posts["images"])]
    changed = {"cv": Turning(), "estimate": "cross-fit", "image": None}
    detector = EventDetector(**settings | changed).fit(posts, y)
    name = "training_rows_dropped_as_duplicates_of_test_rows"
    assert detector.estimate_.leakage[name] == 2
    detector.cv.n_asked = 0
    assert evaluate(detector, posts, y, seeds=range(3)).leakage[name] == 1
    detector.cv.n_asked = 0
    assert evaluate(detector, posts, y, seeds=range(2)).leakage[name] == 2


@pytest.mark.parametrize("seen", ["id", "text", "image", "a copy's image"])
def test_a_policy_is_not_chosen_on_posts_that_evaluate_refuses(
    detector: EventDetector, data: Data, seen: str
) -> None:
    known, (posts, y) = data[0], new_posts()
    assert known["id"].iloc[0] not in set(posts["id"])
    texts, images = known["text"].notna(), known["images"].map(len) > 0
    other = int(np.flatnonzero(texts & images)[0])
    if seen == "id":
        posts.at[3, "id"] = known.at[other, "id"]
    elif seen == "text":
        posts.at[3, "text"] = f"RT @someone {known.at[other, 'text']}".upper()
    else:
        posts.at[3, "images"] = [known.at[other, "images"][0]]
    if seen == "a copy's image":
        posts.loc[[3, 5], "text"] = "the very same words"
    changed = copy.deepcopy(detector)
    said = []
    for refusing in (
        lambda: evaluate(detector, posts, y, held_out=True),
        lambda: changed.set_policy("f1", holdout=(posts, y)),
    ):
        with pytest.raises(InputError, match="of 40 held-out posts were") as raised:
            refusing()
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{2 if seen.startswith('a copy') else 1} of 40")
    assert changed.threshold_ == detector.threshold_


def test_the_spread_of_the_threshold_is_of_the_policy_that_is_set(
    detector: EventDetector, data: Data
) -> None:
    changed = copy.deepcopy(detector)
    for policy in ("f1", "fbeta=2"):
        row = changed.set_policy(policy).fitted_.threshold_spread().iloc[0]
        assert row["threshold"] == changed.threshold_
        assert row["low"] <= row["threshold"] <= row["high"]
    posts, y = new_posts()
    changed.set_policy("fbeta=2", holdout=(posts, y))
    assert changed.fitted_.threshold_spread().empty
    assert evaluate(changed, *data).threshold.empty


def test_a_prevalence_of_any_precision_is_written(
    detector: EventDetector, data: Any
) -> None:
    estimate = evaluate(detector, *data, prevalence=np.float32(0.25))
    assert '"prevalence": 0.25' in estimate.to_json()
