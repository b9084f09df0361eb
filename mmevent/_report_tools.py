"""What `mmevent evaluate` writes beside its figures: errors and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent._console import write_text
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from mmevent._console import Session
    from mmevent._estimate_table import Estimate
    from mmevent.detector import EventDetector


def check_report(options: dict[str, Any]) -> None:
    """Refuse files and folders that cannot be written, before any work."""
    from mmevent._folder import new_folder
    from mmevent._optional import require
    from mmevent._tables import check_table_path

    if options["errors"] is not None:
        check_table_path(options["errors"])
    if options["plots"] is not None:
        require("matplotlib", extra="plots", purpose="--plots")
        new_folder(options["plots"])


def write_report(
    detector: EventDetector,
    frame: pd.DataFrame,
    label: str,
    y_stage1: pd.Series | None,
    figures: Estimate,
    options: dict[str, Any],
    session: Session,
) -> None:
    """Write what was asked for."""
    if options["errors"] is not None:
        from mmevent.posts import write_table
        from mmevent.report import find_errors

        found = find_errors(detector, frame, frame[label], held_out=options["held_out"])
        write_table(found.table, options["errors"])
        page = options["errors"].with_suffix(".html")
        write_text(page, found.to_html())
        session.say(f"Errors written to {options['errors']} and {page}")
    if options["plots"] is not None:
        from mmevent._folder import removed_on_failure

        folder: Path = options["plots"]
        with removed_on_failure(folder):
            folder.mkdir(exist_ok=True)
            for name, draw in _plots(
                detector, frame, label, y_stage1, figures, held_out=options["held_out"]
            ).items():
                try:
                    draw().savefig(folder / f"{name}.png")
                except InputError as error:
                    session.say(f"No plot {name}: {error}")
        session.say(f"Plots written to {folder}")


def _plots(
    detector: EventDetector,
    frame: pd.DataFrame,
    label: str,
    y_stage1: pd.Series | None,
    figures: Estimate,
    *,
    held_out: bool,
) -> dict[str, Callable[[], Figure]]:
    """Return what draws each plot, by name."""
    from mmevent import plots
    from mmevent._estimation import CROSS_FITTED
    from mmevent._setup import Setup
    from mmevent.report import labelled_scores, learning_curve

    y = frame[label]
    scored = labelled_scores(detector, frame, y, held_out=held_out)

    def learning() -> Figure:
        if held_out or Setup(detector).usual_kind() == CROSS_FITTED:
            raise InputError(
                "it needs the posts of the fit, and many trainings where an encoder is "
                "trained: see mmevent.report.learning_curve."
            )
        curve = learning_curve(detector, frame, y, y_stage1=y_stage1)
        return plots.plot_learning_curve(curve)

    return {
        "precision-recall": lambda: plots.plot_precision_recall(scored),
        "threshold": lambda: plots.plot_threshold(scored, figures.threshold),
        "alpha-beta": lambda: plots.plot_surface(detector),
        "reliability": lambda: plots.plot_reliability(figures),
        "learning-curve": learning,
    }
