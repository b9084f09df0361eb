"""Errors, learning curves and pictures of a detector."""

from __future__ import annotations

import copy
import io
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.exceptions import NotFittedError

from mmevent import EventDetector, evaluate, plots
from mmevent.exceptions import InputError, MissingPackageError
from mmevent.report import Errors, find_errors, labelled_scores, learning_curve
from mmevent.synthetic import make_posts

Data = tuple[pd.DataFrame, NDArray[np.int64]]


@pytest.fixture(scope="module")
def data() -> Data:
    posts, y, _ = make_posts(160, random_state=0)
    return posts, y


@pytest.fixture(scope="module")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 3,
        "inner_cv": 2,
        "n_trials": 20,
        "estimate": None,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def detector(data: Data, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings, calibration="sigmoid").fit(*data)


def others(n: int = 60) -> Data:
    posts, y, _ = make_posts(n, random_state=5)
    return posts.assign(id="b" + posts["id"].astype(str)), y


# Errors


def test_errors_are_the_surest_of_each_kind(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    table = find_errors(detector, posts, y, n=5).table
    oof = detector.out_of_fold_.set_index("id")
    for kind, wrong in (
        ("false positive", (oof["score"] >= detector.threshold_) & ~oof["event"]),
        ("missed event", (oof["score"] < detector.threshold_) & oof["event"]),
    ):
        shown = table[table["kind"] == kind]
        margin = (oof["score"] - detector.threshold_)[wrong].abs()
        assert len(shown) == 5
        assert set(shown["id"]) <= set(oof.index[wrong])
        assert shown["margin"].abs().max() == margin.max()
        assert shown["margin"].abs().is_monotonic_decreasing
    texts = posts.set_index("id")["text"]
    with_text = table[table["text"] != ""]
    assert with_text["text"].tolist() == texts[with_text["id"]].tolist()


def test_copies_are_shown_once(detector: EventDetector, data: Data) -> None:
    table = find_errors(detector, *data, n=100).table
    texts = table.loc[table["text"] != "", ["kind", "text"]]
    assert not texts.duplicated().any()


def test_errors_on_held_out_posts_are_those_of_the_detector(
    detector: EventDetector,
) -> None:
    posts, y = others()
    table = find_errors(detector, posts, y, held_out=True).table
    audit = detector.audit(posts).set_index("id")
    assert (audit.loc[table["id"], "margin"].to_numpy() == table["margin"]).all()
    assert "p_text_2" not in table


def test_training_posts_among_held_out_ones_are_no_evidence(
    detector: EventDetector, data: Data
) -> None:
    posts, y = others()
    mixed = pd.concat([data[0][:20], posts], ignore_index=True)
    labels = np.r_[data[1][:20], y]
    scored = labelled_scores(detector, mixed, labels, held_out=True)
    estimate = evaluate(detector, mixed, labels, held_out=True, drop_seen=True)
    n_open = estimate.to_frame().loc["fused", "n_posts"]
    assert scored["score"].notna().sum() == n_open
    errors = find_errors(detector, mixed, labels, held_out=True)
    assert f"among {n_open} held-out posts" in errors.note


def test_a_page_shows_posts_and_loads_nothing(
    settings: dict[str, Any], tmp_path: Any
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    Image.fromarray(rng.integers(0, 255, (400, 900, 3), dtype=np.uint8)).save(path)
    y = np.arange(40) % 2
    texts = [f"march <script>alert({i})</script> & w{i}" for i in range(40)]
    posts = pd.DataFrame({"text": texts, "images": [str(path)] + [None] * 39})
    detector = EventDetector(**settings | {"image": None}, image_root=tmp_path)
    errors = find_errors(detector.fit(posts, y), posts, y, n=40)
    page = errors.to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    row = errors.table.index[errors.table["images"] == str(path)]
    if len(row):
        thumbnail = Image.open(io.BytesIO(errors.pictures[row[0]][0]))
        assert thumbnail.size == (320, 142)
        assert page.count("<img ") == 1


def test_a_long_text_is_cut_and_no_error_is_said() -> None:
    empty = Errors(pd.DataFrame({"kind": []}), [], "none")
    assert empty.to_html().count("<p>None.</p>") == 2


def test_two_stages_name_the_stage(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    detector = EventDetector(**settings, second_stage=True).fit(posts, y)
    table = find_errors(detector, posts, y).table
    assert set(table["stage"]) <= {1, 2}
    assert "stage" in find_errors(detector, posts, y).to_html()
    assert plots.plot_surface(detector).axes


def test_a_budget_is_the_corpuss_share_of_these_posts(
    detector: EventDetector, data: Data
) -> None:
    other = copy.deepcopy(detector).set_policy("budget=100")
    scored = labelled_scores(other, *data, corpus_size=800)
    assert 15 <= (scored["margin"] >= 0).sum() <= 20
    with pytest.raises(InputError, match="expected corpus_size"):
        find_errors(other, *data)
    for function in (find_errors, learning_curve):
        with pytest.raises(InputError, match="corpus_size=800 is for a budget"):
            function(detector, *data, corpus_size=800)
    posts, y = others()
    mixed = pd.concat([data[0], posts], ignore_index=True)
    labels = np.r_[data[1], y]
    found = labelled_scores(other, mixed, labels, held_out=True, corpus_size=600)
    n_open = found["score"].notna().sum()
    assert 0 < (found["margin"] >= 0).sum() <= round(100 * n_open / 600)


def test_other_texts_with_the_same_labels_are_refused(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    with pytest.raises(InputError, match="are not those of the training"):
        find_errors(detector, posts.assign(text="nonsense"), y)


@pytest.mark.parametrize("n", [0, -1, "5", True])
def test_what_is_no_number_of_posts(
    detector: EventDetector, data: Data, n: Any
) -> None:
    with pytest.raises(InputError, match="is no number of posts"):
        find_errors(detector, *data, n=n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p, y: (p[:-1], y[:-1]),
            "these 159 posts are not those of the training",
        ),
        (lambda p, y: (p[::-1], y[::-1]), "images, labels and order"),
        (lambda p, y: (p, 1 - y), "pass held_out=True"),
        (lambda p, y: (p[:0], y[:0]), "no posts to look at"),
        (lambda p, y: (p, y + 5), "other labels than the training"),
    ],
)
def test_other_posts_than_the_training_are_refused(
    detector: EventDetector, data: Data, change: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_errors(detector, *change(*data))


def test_an_unfitted_detector_has_nothing_to_show(data: Data) -> None:
    for function in (find_errors, labelled_scores, learning_curve):
        with pytest.raises(NotFittedError):
            function(EventDetector(), *data)
    with pytest.raises(NotFittedError):
        plots.plot_surface(EventDetector())


# Learning curve


def test_a_learning_curve_keeps_the_test_parts(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    curve = learning_curve(detector, posts, y, shares=[0.25, 0.5, 1])
    assert curve["share"].tolist() == [0.25, 0.5, 1]
    assert curve["n_posts"].is_monotonic_increasing
    assert curve["n_posts"].iloc[0] == pytest.approx(
        curve["n_posts"].iloc[2] / 4, abs=3
    )
    whole = evaluate(detector, posts, y).to_frame().loc["fused"]
    assert curve["f1"].iloc[2] == pytest.approx(whole["f1"])
    assert curve["average_precision"].iloc[2] == pytest.approx(
        whole["average_precision"]
    )


def test_a_learning_curve_is_of_the_detectors_estimate_and_policy(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    changed = {"estimate": "cross-fit", "policy": "fbeta=2"}
    detector = EventDetector(**settings | changed).fit(posts, y)
    curve = learning_curve(detector, posts, y, shares=[1])
    assert curve["f1"][0] == detector.estimate_.to_frame().loc["fused", "f1"]
    with pytest.raises(InputError, match="are not those of the training"):
        learning_curve(detector, posts[:-1], y[:-1])
    with pytest.raises(InputError, match="these groups are not those of the fit"):
        learning_curve(detector, posts, y, groups=np.arange(len(y)) // 4)
    detector.set_policy("budget=20")
    with pytest.raises(InputError, match="^policy='budget=20' is for a whole corpus"):
        learning_curve(detector, posts, y)


def test_a_share_that_leaves_too_few_posts_is_left_out(
    detector: EventDetector, data: Data
) -> None:
    curve = learning_curve(detector, *data, shares=[0.001, 1])
    assert curve["share"].tolist() == [1]
    with pytest.raises(InputError, match="no share leaves posts enough"):
        learning_curve(detector, *data, shares=[0.001])


@pytest.mark.parametrize("shares", [[], [0], [1.5], [0.5, -1], 0.5, ["a"]])
def test_what_are_no_shares(detector: EventDetector, data: Data, shares: Any) -> None:
    with pytest.raises(InputError, match="are no shares of the training posts"):
        learning_curve(detector, *data, shares=shares)


# Plots


def test_precision_and_recall_at_the_threshold(
    detector: EventDetector, data: Data
) -> None:
    scored = labelled_scores(detector, *data)
    axes = plots.plot_precision_recall(scored).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {
        *("the rule", "text alone", "images alone", "the threshold", "all flagged")
    }
    flagged, event = scored["margin"] >= 0, scored["event"]
    recall, precision = (float(v[0]) for v in lines["the threshold"].get_data())
    assert recall == pytest.approx((flagged & event).sum() / event.sum())
    assert precision == pytest.approx((flagged & event).sum() / flagged.sum())
    x, _ = lines["images alone"].get_data()
    assert max(x) <= scored.loc[event, "p_image"].notna().mean() + 1e-9


def test_figures_against_the_threshold(detector: EventDetector, data: Data) -> None:
    scored = labelled_scores(detector, *data)
    spread = evaluate(detector, *data).threshold
    axes = plots.plot_threshold(scored, spread).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    x, f1 = lines["F1"].get_data()
    k = int(np.argmax(f1))
    flagged, event = scored["score"] >= x[k], scored["event"]
    expected = 2 * (flagged & event).sum() / (flagged.sum() + event.sum())
    assert f1[k] == pytest.approx(expected)
    assert lines["the threshold"].get_xdata()[0] == pytest.approx(detector.threshold_)
    assert lines["F1"].get_drawstyle() == "steps-post"  # from a score to the next below
    at = np.flatnonzero(np.asarray(x) >= detector.threshold_)[-1]
    now = scored["margin"] >= 0
    drawn = 2 * (now & event).sum() / (now.sum() + event.sum())
    assert f1[at] == pytest.approx(drawn)
    assert len(axes.patches) == 1
    assert len(plots.plot_threshold(scored, pd.DataFrame()).axes[0].patches) == 0


def test_the_surface_is_highest_at_the_chosen_point(detector: EventDetector) -> None:
    figure = plots.plot_surface(detector)
    point = next(line for line in figure.axes[0].lines)
    weight = detector.alpha_ / (1 + detector.alpha_)
    assert point.get_xdata()[0] == pytest.approx(weight)
    assert point.get_ydata()[0] == pytest.approx(detector.beta_)
    assert "smoothed F1" in figure.axes[1].get_ylabel()


def test_reliability_has_the_estimates_points(
    detector: EventDetector, data: Data
) -> None:
    estimate = evaluate(detector, *data)
    axes = plots.plot_reliability(estimate).axes[0]
    x, y = (list(map(float, v)) for v in axes.lines[1].get_data())
    assert x == estimate.reliability["probability"].tolist()
    assert y == estimate.reliability["value"].tolist()


def test_plots_are_pictures_whatever_their_size(
    detector: EventDetector, data: Data
) -> None:
    curve = learning_curve(detector, *data, shares=[0.5, 1])
    file = io.BytesIO()
    plots.plot_learning_curve(curve).savefig(file)
    assert Image.open(file).size == (960, 690)


def test_plots_that_have_nothing_to_show(
    settings: dict[str, Any], detector: EventDetector, data: Data
) -> None:
    posts, y = data
    scored = labelled_scores(detector, posts, y)
    for plot in (plots.plot_precision_recall, plots.plot_threshold):
        with pytest.raises(InputError, match="there is nothing to find"):
            plot(scored.assign(event=False))
    text_only = EventDetector(**settings | {"image": None}).fit(posts, y)
    with pytest.raises(InputError, match="alpha and beta change nothing"):
        plots.plot_surface(text_only)
    with pytest.raises(InputError, match="expected a detector with calibration"):
        plots.plot_reliability(evaluate(text_only, posts, y))


def test_without_matplotlib_its_extra_is_named(
    detector: EventDetector, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r'pip install "mmevent\[plots\]"'):
        plots.plot_threshold(labelled_scores(detector, *data))
