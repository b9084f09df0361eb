"""All plots of a detector at once, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent._settings import with_own_settings
from mmevent.detector.learning import learning_curve
from mmevent.detector.settings import Settings
from mmevent.exceptions import InputError
from mmevent.report.errors import labelled_scores
from mmevent.report.plots import (
    plot_learning_curve,
    plot_precision_recall,
    plot_reliability,
    plot_surface,
    plot_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from mmevent.detector.detector import EventDetector
    from mmevent.evaluation.estimate import Estimate

__all__ = ["draw_plots", "save_plot"]


@with_own_settings
def draw_plots(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    estimate: Estimate,
    *,
    held_out: bool = False,
    groups: ArrayLike | None = None,
    y_stage1: ArrayLike | None = None,
    corpus_size: int | None = None,
) -> dict[str, Figure | str]:
    """Draw all plots of a fitted detector.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts, y, held_out, y_stage1, corpus_size
        As for :func:`mmevent.report.labelled_scores`.
    estimate : Estimate
        Its figures on these posts, from :func:`mmevent.evaluate`.
    groups : array-like or None, default=None
        What `fit` was given as `groups`; the learning curve needs it.

    Returns
    -------
    dict of str to Figure or str
        ``precision-recall``, ``threshold``, ``alpha-beta``, ``reliability`` and
        ``learning-curve``; a string says why a plot was not drawn.

    Raises
    ------
    InputError
        If the posts or labels are not those of the training and `held_out` is False.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import draw_plots
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(200, random_state=0)
    >>> text, _ = demo_branches()
    >>> detector = EventDetector(text=text, image=None, estimate="cross-fit", cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> plots = draw_plots(detector, posts, y, detector.estimate_)
    >>> plots["reliability"]
    "there are no probabilities to judge: ..."
    """
    known: dict[str, Any] = {"y_stage1": y_stage1, "corpus_size": corpus_size}
    scored = labelled_scores(detector, posts, y, held_out=held_out, **known)

    def learning() -> Figure:
        if held_out:
            raise InputError("it needs the posts of the fit, not held-out posts.")
        if Settings.of(detector, seed=0).trains_encoders:
            raise InputError(
                "it would train an encoder many times; mmevent.report.learning_curve "
                "does."
            )
        curve = learning_curve(detector, posts, y, groups=groups, **known)
        return plot_learning_curve(curve)

    drawn: dict[str, Figure | str] = {}
    draws: dict[str, Callable[[], Figure]] = {
        "precision-recall": lambda: plot_precision_recall(scored),
        "threshold": lambda: plot_threshold(scored, estimate.threshold),
        "alpha-beta": lambda: plot_surface(detector),
        "reliability": lambda: plot_reliability(estimate),
        "learning-curve": learning,
    }
    for name, draw in draws.items():
        try:
            drawn[name] = draw()
        except InputError as error:
            drawn[name] = str(error)
    return drawn


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix names: .png, .svg or .pdf.

    A PDF has fonts whose letters can be selected, as journals ask for.
    """
    from matplotlib import rc_context

    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(path)
