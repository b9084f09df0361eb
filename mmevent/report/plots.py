"""Plots of a fitted detector: each function returns a figure of matplotlib.

They need the extra ``plots``: ``pip install "mmevent[plots]"``. Lines differ in style
and in lightness, so that they can be read without colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent._common import require
from mmevent.evaluation.stability import chosen_on
from mmevent.exceptions import InputError
from mmevent.rule.fusion import Rule
from mmevent.rule.smoothing import BEST_THRESHOLD

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mmevent.detector.detector import EventDetector
    from mmevent.evaluation.estimate import Estimate

__all__ = [
    "plot_learning_curve",
    "plot_precision_recall",
    "plot_reliability",
    "plot_surface",
    "plot_threshold",
]

_LINES: tuple[dict[str, Any], ...] = (
    {"color": "black", "linestyle": "-", "linewidth": 2},
    {"color": "#0072b2", "linestyle": "--", "linewidth": 1.6},
    {"color": "#d98b00", "linestyle": "-.", "linewidth": 1.6},
)
_N_WEIGHTS, _N_BETAS = 45, 31
_WEIGHT = "weight of the images, alpha / (1 + alpha)"
_SIZE, _DPI = (4.8, 3.45), 200  # small: its letters can be read in one column of print


def plot_precision_recall(scored: pd.DataFrame) -> Figure:
    """Plot precision against recall of the rule and of each branch alone.

    Parameters
    ----------
    scored : DataFrame
        From :func:`mmevent.report.labelled_scores`.

    Returns
    -------
    Figure
        The cross is the threshold; the dotted line is the precision of flagging all.

    Raises
    ------
    InputError
        If there is no event.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.report import plot_precision_recall
    >>> scored = pd.DataFrame({"event": [True, False, True], "score": [0.9, 0.4, 0.3],
    ...                        "margin": [0.4, -0.1, -0.2], "p_text": [0.9, 0.4, 0.3],
    ...                        "p_image": float("nan")})
    >>> plot_precision_recall(scored).axes[0].get_xlabel()
    'recall'
    """
    from sklearn.metrics import precision_recall_curve

    figure, axes = _axes("recall", "precision")
    table = _tested(scored)
    event = table["event"].to_numpy(dtype=bool)
    columns = {"the rule": "score", "text alone": "p_text", "images alone": "p_image"}
    for (name, column), line in zip(columns.items(), _LINES, strict=True):
        if table[column].notna().any():
            precision, recall, at = precision_recall_curve(
                event, table[column].fillna(0.0)
            )
            kept = at > 0  # a post without text, or without image, is never flagged
            axes.plot(recall[:-1][kept], precision[:-1][kept], label=name, **line)
    flagged = table["margin"].to_numpy() >= 0
    if flagged.any():
        true = (flagged & event).sum()
        place = (true / event.sum(), true / flagged.sum())
        axes.plot(*place, "x", color="black", markersize=11, label="the threshold")
    axes.axhline(event.mean(), color="grey", linestyle=":", label="all flagged")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    _explain(figure)
    return figure


def plot_threshold(scored: pd.DataFrame, spread: pd.DataFrame | None = None) -> Figure:
    """Plot F1, precision and recall against the threshold.

    Parameters
    ----------
    scored : DataFrame
        From :func:`mmevent.report.labelled_scores`.
    spread : DataFrame or None, default=None
        ``Estimate.threshold``: the interval of the threshold.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is no event.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.report import plot_threshold
    >>> scored = pd.DataFrame({"event": [True, False, True], "score": [0.9, 0.4, 0.3],
    ...                        "margin": [0.4, -0.1, -0.2]})
    >>> plot_threshold(scored).axes[0].get_xlabel()
    'threshold on the score'
    """
    figure, axes = _axes("threshold on the score", "F1, precision, recall")
    table = _tested(scored)
    order = np.argsort(-table["score"].to_numpy(), kind="stable")
    score = table["score"].to_numpy()[order]
    event = table["event"].to_numpy(dtype=bool)[order]
    last = np.flatnonzero(np.diff(score, append=-np.inf))
    last = last[score[last] > 0]  # a score of 0 is never flagged
    flagged, true = last + 1, np.cumsum(event)[last]
    curves = {
        "F1": 2 * true / (flagged + event.sum()),
        "precision": true / flagged,
        "recall": true / event.sum(),
    }
    for (name, values), line in zip(curves.items(), _LINES, strict=True):
        axes.plot(score[last], values, label=name, drawstyle="steps-post", **line)
    threshold = float((table["score"] - table["margin"]).iloc[0])
    axes.axvline(threshold, color="black", linestyle=":", label="the threshold")
    if spread is not None and len(spread) and not spread["low"].isna().any():
        ends = (spread["low"].iloc[0], spread["high"].iloc[0])
        axes.axvspan(*ends, color="0.85", label="its 95% interval")
    axes.set(ylim=(0, 1.02))
    _explain(figure)
    return figure


def plot_surface(detector: EventDetector) -> Figure:
    """Plot F1 over alpha and beta, each pair with its best threshold.

    Where beta is fixed, it is F1 over alpha alone; likewise where alpha is fixed.

    Parameters
    ----------
    detector : EventDetector
        Fitted on posts of which some have text and images. With a second stage the plot
        is about that stage, for the posts that the first one flags.

    Returns
    -------
    Figure
        F1 is a little too high, on the out-of-fold probabilities that chose the rule.

    Raises
    ------
    InputError
        If no post has both a text and an image probability, there is no event,
        alpha and beta are both fixed, or the detector has another rule.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import plot_surface
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(200, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> plot_surface(detector).axes[0].get_ylabel()
    'beta'
    """
    check_is_fitted(detector)
    fitted = detector.fitted_
    search = fitted.record.search
    chosen = chosen_on(fitted.record.tested, fitted.rule, fitted.stages)
    evidence, rule = chosen.evidence, chosen.rule
    if not isinstance(rule, Rule):
        raise InputError(
            f"there is no alpha and beta to plot: expected a detector with "
            f"rule='alpha-beta', got rule={rule.kind!r}. Look at the other plots."
        )
    if not (evidence.has_text & evidence.has_image).any() or not chosen.event.any():
        raise InputError(
            "alpha and beta change nothing here: expected posts with text and images, "
            "events among them, got none. Look at the other plots."
        )
    low, high = (a / (1 + a) for a in search.alpha_bounds)
    at = (rule.alpha / (1 + rule.alpha), rule.beta)
    weights = np.linspace(low, high, _N_WEIGHTS) if low < high else np.array([at[0]])
    betas = np.array([rule.beta])
    if fitted.beta_identified and search.beta_bounds[0] < search.beta_bounds[1]:
        betas = np.geomspace(*search.beta_bounds, _N_BETAS)
    best = BEST_THRESHOLD[search.criterion]

    def f1(weight: float, beta: float) -> float:
        tried = Rule(weight / (1 - weight), beta, rule.pool, 1.0, rule.image)
        return best(tried.score(evidence), chosen.event)[1]

    values = np.array([[f1(w, b) for w in weights] for b in betas])
    name = "smoothed F1" if search.criterion == "smooth" else "F1"
    names = [
        f"alpha {rule.alpha:.3g}{'' if len(weights) > 1 else ' (fixed)'}",
        f"beta {rule.beta:.3g}{'' if len(betas) > 1 else ' (fixed)'}",
    ]
    if len(weights) > 1 and len(betas) > 1:
        figure, axes = _shades(weights, betas, values, f"{name} at its best threshold")
    elif len(weights) > 1 or len(betas) > 1:
        where, x = (weights, 0) if len(weights) > 1 else (betas, 1)
        figure, axes = _axes((_WEIGHT, "beta")[x], f"{name} at its best threshold")
        axes.plot(where, values.ravel(), **_LINES[0])
        at = (at[x], f1(*at))
    else:
        raise InputError(
            "alpha and beta are both fixed: expected bounds that leave one of them to "
            "the search, got none. Look at the other plots."
        )
    label = f"chosen: {', '.join(names)}"
    axes.plot(*at, "o", color="white", mec="black", markersize=9, label=label)
    _explain(figure)
    return figure


def _shades(
    weights: NDArray[np.float64],
    betas: NDArray[np.float64],
    values: NDArray[np.float64],
    name: str,
) -> tuple[Figure, Axes]:
    """Draw values over weights and betas, the lighter the higher."""
    figure, axes = _axes(_WEIGHT, "beta")
    shades = axes.contourf(weights, betas, values, levels=12, cmap="Greys_r")
    figure.colorbar(shades, ax=axes, label=name)
    axes.set_yscale("log")
    ticks = [b for b in (0.25, 0.5, 0.7, 1, 1.4, 2, 4) if betas[0] <= b <= betas[-1]]
    axes.set_yticks(ticks, [f"{b:g}" for b in ticks])
    axes.set_yticks([], minor=True)
    return figure, axes


def plot_reliability(estimate: Estimate) -> Figure:
    """Plot the share of events against the calibrated probability.

    Parameters
    ----------
    estimate : Estimate
        Of a detector with `calibration`.

    Returns
    -------
    Figure
        Tenths of the posts, with 95% intervals; correct probabilities lie on the line.

    Raises
    ------
    InputError
        If the detector has no calibration.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import plot_reliability
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(200, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate="cross-fit", cv=2,
    ...                          calibration="sigmoid", n_trials=20, random_state=0)
    >>> plot_reliability(detector.fit(posts, y).estimate_).axes[0].get_ylabel()
    'share of events'
    """
    table = estimate.reliability
    if not len(table):
        raise InputError(
            "there are no probabilities to judge: expected a detector with "
            "calibration='sigmoid' or another, got none. Fit it with one."
        )
    figure, axes = _axes("calibrated probability", "share of events")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="right probabilities")
    table = table.rename(columns={"low": "value_low", "high": "value_high"})
    _with_bars(axes, table["probability"], table, "value", label="tenths of the posts")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    _explain(figure)
    return figure


def plot_learning_curve(curve: pd.DataFrame) -> Figure:
    """Plot F1 and average precision against the number of labelled posts.

    Parameters
    ----------
    curve : DataFrame
        From :func:`mmevent.report.learning_curve`.

    Returns
    -------
    Figure
        With 95% intervals.

    Raises
    ------
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.report import plot_learning_curve
    >>> curve = pd.DataFrame({"n_posts": [100, 200]})
    >>> for name in ("f1", "average_precision"):
    ...     curve = curve.assign(**{name: [0.5, 0.6], f"{name}_low": [0.4, 0.5],
    ...                             f"{name}_high": [0.6, 0.7]})
    >>> plot_learning_curve(curve).axes[0].get_xlabel()
    'labelled posts that a fold learns from'
    """
    figure, axes = _axes(
        "labelled posts that a fold learns from", "F1, average precision"
    )
    names = {"f1": "F1", "average_precision": "average precision"}
    for (column, name), line in zip(names.items(), _LINES[:2], strict=True):
        shift = 1.0 if column == "f1" else 1.03  # bars side by side
        _with_bars(axes, curve["n_posts"] * shift, curve, column, label=name, **line)
    axes.set_xscale("log")
    places = curve["n_posts"].to_numpy()
    axes.set_xticks(places, [f"{n:,.0f}" for n in places])
    axes.set_xticks([], minor=True)
    axes.set(ylim=(0, 1.02))
    _explain(figure)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    require("matplotlib", extra="plots", purpose="a plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained", dpi=_DPI)
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _explain(figure: Figure) -> None:
    """Say above the axes, where nothing is hidden, what is drawn."""
    figure.legend(loc="outside upper center", ncols=3, frameon=False)


def _tested(scored: pd.DataFrame) -> pd.DataFrame:
    table = scored[scored["score"].notna()]
    if not table["event"].any():
        raise InputError(
            f"there is nothing to find: expected events among the posts, got none of "
            f"{len(table)}. Pass posts with some."
        )
    return table


def _with_bars(
    axes: Axes, x: pd.Series, table: pd.DataFrame, column: str, **style: Any
) -> None:
    """Plot points with their intervals."""
    low, high = f"{column}_low", f"{column}_high"
    line = {"color": "black"} | style
    axes.plot(x, table[column], marker="o", markersize=4, **line)
    axes.vlines(x, table[low], table[high], color=line["color"])
