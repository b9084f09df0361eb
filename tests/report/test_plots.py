"""Plots of a detector: what is drawn is what was computed."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmevent import EventDetector, evaluate
from mmevent.detector.learning import learning_curve
from mmevent.exceptions import InputError, MissingPackageError
from mmevent.report import plots
from mmevent.report.errors import labelled_scores
from mmevent.synthetic import make_posts

Data = tuple[pd.DataFrame, NDArray[np.int64]]


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


def test_the_surface_has_the_chosen_point(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(300, random_state=0)
    detector = EventDetector(**settings).fit(posts, y)
    assert detector.beta_identified_
    figure = plots.plot_surface(detector)
    (point,) = figure.axes[0].lines
    weight = detector.alpha_ / (1 + detector.alpha_)
    assert point.get_xdata()[0] == pytest.approx(weight)
    assert point.get_ydata()[0] == pytest.approx(detector.beta_)
    assert "fixed" not in point.get_label()
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


def test_a_fixed_beta_has_no_axis(detector: EventDetector) -> None:
    assert not detector.beta_identified_
    (axes,) = plots.plot_surface(detector).axes
    assert axes.get_xlabel().startswith("weight of the images")
    assert axes.get_ylabel().endswith("F1 at its best threshold")
    _, point = axes.lines
    assert point.get_xdata()[0] == detector.alpha_ / (1 + detector.alpha_)
    assert "beta 1 (fixed)" in point.get_label()


def test_what_the_search_cannot_change_has_no_axis(
    settings: dict[str, Any], data: Data
) -> None:
    detector = EventDetector(**settings | {"alpha_bounds": (1, 1)}).fit(*data)
    assert not detector.beta_identified_
    with pytest.raises(InputError, match="alpha and beta are both fixed"):
        plots.plot_surface(detector)


def test_lines_differ_without_colours() -> None:
    from matplotlib.colors import to_rgb

    greys = [np.dot(to_rgb(v["color"]), [0.299, 0.587, 0.114]) for v in plots._LINES]
    assert np.diff(greys).min() > 0.2
    assert len({v["linestyle"] for v in plots._LINES}) == len(greys)
