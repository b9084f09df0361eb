"""The estimate: its figures, its forms, and which posts it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score, f1_score, precision_score
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, LeaveOneGroupOut

from mmevent import Estimate, EventDetector, ForwardInTime, evaluate
from mmevent._estimation import Run
from mmevent._figures import summarise
from mmevent._metrics import Resampling
from mmevent._slices import Slices
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.synthetic import make_posts

N = 120
RNG = np.random.default_rng(0)
EVENT = RNG.random(N) < 0.4
N_IMAGES = np.arange(N) // 3 % 6
NO_LEAKAGE = {"n_groups": N}
SLICES = Slices({"images": np.where(N_IMAGES > 0, "with", "without")}, [])


def make_run(
    seed: int = 0, *, fold: Any = None, threshold: float = 0.5, noise: float = 0.3
) -> Run:
    rng = np.random.default_rng(seed)
    fold = np.arange(N) % 3 if fold is None else np.asarray(fold)
    scores = {
        "text only": np.clip(rng.normal(0.4 + 0.2 * EVENT, noise), 0, 1),
        "fused": np.clip(rng.normal(0.3 + 0.4 * EVENT, noise), 0, 1),
    }
    for score in scores.values():
        score[fold < 0] = np.nan
    thresholds = {name: np.full(N, threshold) for name in scores}
    parameters = [{"seed": seed, "fold": k, "alpha": 1.0} for k in range(3)]
    return Run(seed, fold, scores, thresholds, parameters)


def summary(*runs: Run, cluster: Any = None, **settings: Any) -> Estimate:
    given: dict[str, Any] = {"kind": "nested", "leakage": NO_LEAKAGE, "slices": SLICES}
    cluster = np.arange(N) if cluster is None else cluster
    return summarise(runs, EVENT, cluster, N_IMAGES, **(given | settings))


# Figures


def test_figures_are_those_of_scikit_learn_in_every_slice() -> None:
    run = make_run()
    estimate = summary(run)
    slices = {
        "all": np.ones(N, dtype=bool),
        "with images": N_IMAGES > 0,
        "without images": N_IMAGES == 0,
    }
    for name, rows in slices.items():
        table = estimate.to_frame(name)
        for system in ("text only", "fused"):
            flagged, event = run.flagged(system)[rows], EVENT[rows]
            row = table.loc[system]
            assert row["n_posts"] == rows.sum()
            assert row["n_events"] == event.sum()
            assert row["n_flagged"] == flagged.sum()
            assert row["f1"] == pytest.approx(f1_score(event, flagged))
            assert row["precision"] == pytest.approx(precision_score(event, flagged))
            each = [
                average_precision_score(event[fold], run.scores[system][rows][fold])
                for fold in (run.fold[rows] == k for k in range(3))
            ]
            assert row["average_precision"] == pytest.approx(np.mean(each))
            for figure in ("f1", "precision", "recall", "average_precision"):
                assert row[f"{figure}_low"] <= row[figure] <= row[f"{figure}_high"]


def test_the_threshold_of_each_fold_is_used() -> None:
    run = make_run()
    run.thresholds["fused"][run.fold == 1] = 2.0
    flagged = (run.scores["fused"] >= 0.5) & (run.fold != 1)
    row = summary(run).to_frame().loc["fused"]
    assert row["f1"] == pytest.approx(f1_score(EVENT, flagged))


def test_posts_that_no_fold_tests_count_in_no_figure() -> None:
    fold = np.where(np.arange(N) < 30, -1, np.arange(N) % 3)
    estimate = summary(make_run(fold=fold))
    assert estimate.to_frame()["n_posts"].tolist() == [90, 90]
    run = make_run(fold=fold)
    tested = f1_score(EVENT[30:], run.flagged("fused")[30:])
    assert estimate.to_frame().loc["fused", "f1"] == pytest.approx(tested)
    assert estimate.notes == [
        "30 of 120 posts are tested by no fold and count in no figure."
    ]


def test_slices_are_left_out_where_all_or_no_posts_have_images() -> None:
    for n_images in (np.zeros(N, dtype=int), np.ones(N, dtype=int)):
        estimate = summarise(
            [make_run()],
            EVENT,
            np.arange(N),
            n_images,
            kind="nested",
            leakage=NO_LEAKAGE,
            slices=SLICES,
        )
        assert estimate.table["slice"].unique().tolist() == ["all"]


def test_differences_are_paired() -> None:
    run = make_run()
    estimate = summary(run)
    resampling = Resampling(np.arange(N))
    fused, text = (
        resampling.ratios(run.flagged(name), EVENT)["f1"]
        for name in ("fused", "text only")
    )
    expected = resampling.interval(fused - text)
    (row,) = estimate.differences.to_dict("records")
    assert row == {
        "baseline": "text only",
        "difference": pytest.approx(expected.value),
        "low": pytest.approx(expected.low),
        "high": pytest.approx(expected.high),
    }


def test_false_positive_rates_are_by_number_of_images() -> None:
    run = make_run()
    rates = summary(run).false_positive_rates.set_index("n_images")
    assert rates.index.tolist() == ["0", "1", "2", "3", "4 or more"]
    flagged = run.flagged("fused")
    for name, rows in zip(
        rates.index, [*(N_IMAGES == k for k in range(4)), N_IMAGES >= 4], strict=True
    ):
        negatives = rows & ~EVENT
        assert rates.loc[name, "n_negatives"] == negatives.sum()
        assert rates.loc[name, "rate"] == pytest.approx(flagged[negatives].mean())


def test_several_seeds_are_averaged_and_their_intervals_do_not_shrink() -> None:
    first, second = make_run(0), make_run(1)
    both = summary(first, second)
    f1 = [f1_score(EVENT, run.flagged("fused")) for run in (first, second)]
    assert both.to_frame().loc["fused", "f1"] == pytest.approx(np.mean(f1))
    by_seed = both.by_seed[both.by_seed["system"] == "fused"]
    assert by_seed["f1"].tolist() == pytest.approx(f1)
    assert by_seed["seed"].tolist() == [0, 1]
    same = summary(first, first).to_frame()
    pd.testing.assert_frame_equal(same, summary(first).to_frame())
    assert len(both.parameters) == 6


def test_groups_widen_the_intervals() -> None:
    cluster = np.repeat(np.arange(40), 3)
    event = np.repeat(np.arange(40) % 2 == 0, 3)
    run = make_run()
    run.scores["fused"] = np.repeat(run.scores["fused"][::3], 3)
    widths = []
    for groups in (np.arange(N), cluster):
        estimate = summarise(
            *([run], event, groups, N_IMAGES),
            kind="nested",
            leakage=NO_LEAKAGE,
            slices=SLICES,
        )
        row = estimate.to_frame().loc["fused"]
        widths.append(row["f1_high"] - row["f1_low"])
    assert widths[1] > 1.3 * widths[0]


def test_few_groups_are_labelled() -> None:
    estimate = summary(make_run(), cluster=np.arange(N) % 8)
    assert any(
        note.startswith("small number of clusters: 8 groups, so the intervals are t-")
        for note in estimate.notes
    )
    assert not summary(make_run()).notes


def test_precision_is_undefined_where_nothing_is_flagged() -> None:
    estimate = summary(make_run(threshold=9.0))
    row = estimate.to_frame().loc["fused"]
    assert np.isnan(row["precision"])
    assert row["f1"] == 0
    assert "undefined" in str(estimate)
    assert json.loads(estimate.to_json())["table"][0]["precision"] is None


# Forms


def assert_same(first: Estimate, second: Estimate) -> None:
    assert (first.kind, first.leakage, first.notes) == (
        second.kind,
        second.leakage,
        second.notes,
    )
    for name in (
        *("table", "differences", "by_seed", "false_positive_rates"),
        *("slices", "threshold"),
    ):
        one, other = (
            frame.astype(object).where(frame.notna(), None)
            for frame in (getattr(first, name), getattr(second, name))
        )
        pd.testing.assert_frame_equal(one, other, rtol=1e-12)
    assert str(first) == str(second)
    assert first._repr_html_() == second._repr_html_()


@pytest.mark.parametrize("threshold", [0.5, 9.0])
@pytest.mark.parametrize("n_groups", [N, 8, 1])
def test_an_estimate_survives_json(threshold: float, n_groups: int) -> None:
    estimate = summary(
        make_run(threshold=threshold),
        cluster=np.arange(N) % n_groups,
        notes=["a <note>"],
    )
    assert_same(estimate, Estimate.from_dict(json.loads(estimate.to_json())))


def test_an_estimate_without_negatives_survives_too() -> None:
    run = make_run()
    everything = np.ones(N, dtype=bool)
    estimate = summarise(
        [Run(None, run.fold, run.scores, run.thresholds, [])],
        everything,
        np.arange(N),
        N_IMAGES,
        kind="held out",
        leakage=NO_LEAKAGE,
        slices=SLICES,
    )
    assert "False-positive rate" not in str(estimate)
    assert_same(estimate, Estimate.from_dict(json.loads(estimate.to_json())))


def test_an_estimate_prints_what_a_reviewer_asks_for() -> None:
    text = str(summary(make_run(0), make_run(1), notes=["mind this"]))
    for words in (
        "Estimate by nested cross-validation",
        f"120 posts, {EVENT.sum()} events, 120 groups; 2 seeds of the folds",
        "95% intervals",
        "All posts",
        "F1 of fused minus",
        "Fused, by slice",
        "False-positive rate of fused, by number of images",
        "4 or more",
        "- mind this",
    ):
        assert words in text
    assert "1 seed of" in str(summary(make_run()))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nested", "nested cross-validation"),
        ("cross-fit", "cross-fitted (slightly optimistic: the branches saw the fold"),
        ("held out", "held-out posts, never seen in training"),
    ],
)
def test_every_form_says_how_posts_were_kept_apart(kind: str, words: str) -> None:
    estimate = summary(make_run(), kind=kind)
    assert f"Estimate by {words}" in str(estimate)
    assert words in estimate._repr_html_()


def test_held_out_posts_have_no_seeds() -> None:
    run = make_run()
    estimate = summary(Run(None, run.fold, run.scores, run.thresholds, []))
    assert "seed" not in str(estimate)


def test_html_is_escaped() -> None:
    page = summary(make_run(), notes=["<script>alert(1)</script>"])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<table") == page.count("</table>") == 4


# Of a detector


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, NDArray[np.int64]]:
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


def new_posts(n: int = 40, seed: int = 9) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    posts, y, _ = make_posts(n, image_size=8, share_reposts=0, random_state=seed)
    posts["id"] = "new " + posts["id"]
    posts["text"] = posts["text"] + " anew"
    return posts, y


def test_the_estimate_of_a_fit_is_the_evaluation_at_its_seed(
    detector: EventDetector, data: Any
) -> None:
    assert detector.estimate_ is not None
    assert_same(detector.estimate_, evaluate(detector, *data, seeds=[0]))
    assert not any("frozen" in note for note in detector.estimate_.notes)


def test_more_seeds_are_evaluated(detector: EventDetector, data: Any) -> None:
    estimate = evaluate(detector, *data, seeds=(1, 2))
    assert estimate.by_seed["seed"].unique().tolist() == [1, 2]
    assert sorted(set(estimate.parameters["seed"])) == [1, 2]
    f1 = estimate.by_seed.set_index(["system", "seed"])["f1"]
    mean = estimate.to_frame()["f1"]
    for system in mean.index:
        assert mean[system] == pytest.approx(f1[system].mean())


def test_a_fit_without_an_estimate_can_be_evaluated(
    data: Any, settings: dict[str, Any], detector: EventDetector
) -> None:
    quick = EventDetector(**settings, estimate=None).fit(*data)
    assert quick.estimate_ is None
    estimate = evaluate(quick, *data)
    assert detector.estimate_ is not None
    assert_same(estimate, detector.estimate_)


def test_cross_fitted_is_labelled(data: Any, settings: dict[str, Any]) -> None:
    detector = EventDetector(**settings, estimate="cross-fit").fit(*data)
    assert detector.estimate_ is not None
    assert detector.estimate_.kind == "cross-fit"
    assert evaluate(detector, *data).kind == "cross-fit"


@pytest.mark.parametrize("seeds", [(), 3, None, ["one"]], ids=repr)
def test_seeds_are_integers(detector: EventDetector, data: Any, seeds: Any) -> None:
    with pytest.raises(InputError, match="gives no seed of the folds: expected a"):
        evaluate(detector, *data, seeds=seeds)


def test_other_posts_than_the_training_are_refused(
    detector: EventDetector, data: Any
) -> None:
    posts, y = data
    message = "not those of the training: expected the same 90 .* pass held_out=True"
    for others, labels in (
        (posts[:50], y[:50]),
        (posts[::-1], y[::-1]),
        (posts, 1 - y),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(detector, others, labels)


def test_other_groups_than_the_fits_are_refused(
    data: Any, settings: dict[str, Any]
) -> None:
    posts, y = data
    groups = np.arange(len(y)) // 4
    fitted = EventDetector(**settings).fit(posts, y, groups=groups)
    for wrong in (None, np.arange(len(y)) // 5):
        message = r"not those of the fit: expected \d+ groups.*\(groups=, or --group"
        with pytest.raises(InputError, match=message):
            evaluate(fitted, posts, y, groups=wrong)
    assert evaluate(fitted, posts, y, groups=groups + 7).kind == "nested"


def test_the_fits_joined_groups_are_not_its_groups(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(120, image_size=8, share_reposts=0.1, random_state=0)
    event = np.arange(120) // 4
    parameters = settings | {"cv": GroupKFold(3), "estimate": None}
    fitted = EventDetector(**parameters).fit(posts, y, groups=event)
    joined = fitted.out_of_fold_["group"]
    assert joined.nunique() < 30
    with pytest.raises(InputError, match="groups are not those of the fit"):
        evaluate(fitted, posts, y, groups=joined)


def test_images_that_are_gone_are_named_as_a_reason(
    detector: EventDetector, data: Any
) -> None:
    posts, y = data
    gone = posts.assign(images=[["gone.png"]] * len(posts))
    with pytest.raises(InputError, match=f"{len(y)} images cannot be used: check imag"):
        evaluate(detector, gone, y)


def test_folds_that_test_other_posts_with_each_seed_are_refused(
    data: Any, settings: dict[str, Any]
) -> None:
    posts, y = data
    split = GroupShuffleSplit(n_splits=1, test_size=0.4)
    parameters = settings | {"cv": split, "estimate": "nested"}
    fitted = EventDetector(**parameters).fit(posts, y)
    with pytest.raises(InputError, match="cv tests other posts each time: .* 3 seeds"):
        evaluate(fitted, posts, y, seeds=range(3))


def test_folds_that_no_seed_changes_are_noted(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(120, image_size=8, random_state=0)
    event = np.arange(120) % 40
    parameters = settings | {"cv": GroupKFold(3), "estimate": None}
    fitted = EventDetector(**parameters).fit(posts, y, groups=event)
    estimate = evaluate(fitted, posts, y, groups=event, seeds=[0, 1])
    assert any("the same for every seed" in note for note in estimate.notes)
    once = evaluate(fitted, posts, y, groups=event)
    assert not any("every seed" in note for note in once.notes)


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
    from sklearn.exceptions import NotFittedError

    for held_out in (False, True):
        with pytest.raises(NotFittedError):
            evaluate(EventDetector(), *data, held_out=held_out)


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
    from mmevent.tuning import smooth_threshold

    posts, y = new_posts()
    estimate = evaluate(detector, posts, y, held_out=True)
    training = detector.out_of_fold_
    p_text = np.nan_to_num(training["p_text"])
    threshold = smooth_threshold(p_text, training["event"])[0]
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


def test_a_copy_of_a_post_that_shares_an_image_with_the_training_is_seen(
    detector: EventDetector, data: Any
) -> None:
    posts, _ = data
    image = next(cell[0] for cell in posts["images"] if len(cell) == 1)
    others, y = new_posts()
    chain = pd.DataFrame(
        {
            "id": ["first", "second"],
            "text": ["the very same words"] * 2,
            "images": [[], [image]],
        }
    )
    table = pd.concat([others, chain], ignore_index=True)
    labels = np.append(y, [0, 1])
    with pytest.raises(InputError, match=r"2 of \d+ held-out.*'first', 'second'"):
        evaluate(detector, table, labels, held_out=True)


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
        (np.full(40, np.nan), "other labels than the training"),
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


def test_forward_in_time_with_nothing_to_choose_from_is_refused(
    settings: dict[str, Any], data: Any
) -> None:
    detector = EventDetector(
        **settings | {"cv": ForwardInTime(1)}, estimate="cross-fit"
    )
    with pytest.raises(InputError, match="no fold has others to choose from"):
        detector.fit(*data)


# Notes


def test_a_frozen_branch_is_noted(data: Any, settings: dict[str, Any]) -> None:
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

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


def test_all_images_broken_is_noted(data: Any, settings: dict[str, Any]) -> None:
    posts, y = data
    posts = posts.assign(images=[[b"broken"]] * len(posts))
    with pytest.warns(UnusableInputWarning, match="none of the 90 images can be used"):
        detector = EventDetector(**settings).fit(posts, y)
    assert "90 of 90 images unusable: 90 unsupported." in detector.estimate_.notes
    assert detector.estimate_.table["slice"].unique().tolist() == ["all"]
