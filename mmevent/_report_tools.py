"""What `mmevent evaluate` writes beside its figures: errors and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent._console import check_apart, write_text
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from mmevent._console import Session
    from mmevent._estimate_table import Estimate
    from mmevent.detector import EventDetector


def check_report(options: dict[str, Any], posts: Path) -> None:
    """Refuse files and folders that cannot be written, before any work."""
    from mmevent._folder import new_folder
    from mmevent._optional import require
    from mmevent._tables import check_table_path

    page = None
    if (table := options["errors"]) is not None:
        check_table_path(table)
        page = table.with_suffix(".html")
        if page.is_dir():
            raise InputError(
                f"{str(page)!r} is a folder: expected that --errors can write its "
                f"page there, beside the table. Choose another name."
            )
    check_apart([posts], [options["json_path"], table, page])
    if options["plots"] is not None:
        require("matplotlib", extra="plots", purpose="--plots")
        options["plots"] = new_folder(options["plots"])


def write_report(
    detector: EventDetector,
    frame: pd.DataFrame,
    y: pd.Series,
    figures: Estimate,
    options: dict[str, Any],
    session: Session,
    **known: Any,
) -> None:
    """Write what was asked for; `known` is what `find_errors` must know beside."""
    if options["errors"] is not None:
        from mmevent.posts import write_table
        from mmevent.report import find_errors

        found = find_errors(detector, frame, y, **known)
        page = options["errors"].with_suffix(".html")
        write_table(found.table, options["errors"])
        write_text(page, found.to_html())
        session.say(f"Errors written to {options['errors']} and {page}")
    if options["plots"] is not None:
        from mmevent._folder import put_in_place

        with put_in_place(options["plots"]) as folder:
            plots = _plots(detector, frame, y, figures, **known)
            for name, draw in plots.items():
                try:
                    draw().savefig(folder / f"{name}.png")
                except InputError as error:
                    session.say(f"No plot {name}: {error}")
        session.say(f"Plots written to {options['plots']}")


def _plots(
    detector: EventDetector,
    frame: pd.DataFrame,
    y: pd.Series,
    figures: Estimate,
    *,
    held_out: bool,
    **known: Any,
) -> dict[str, Callable[[], Figure]]:
    """Return what draws each plot, by name."""
    from mmevent import plots
    from mmevent._setup import Setup
    from mmevent._trainable import is_fine_tuned
    from mmevent.report import labelled_scores, learning_curve

    scored = labelled_scores(detector, frame, y, held_out=held_out, **known)

    def learning() -> Figure:
        if held_out:
            raise InputError("it is made from the posts of the fit.")
        if any(map(is_fine_tuned, Setup(detector).branches().values())):
            raise InputError(
                "it would train an encoder many times; mmevent.report.learning_curve "
                "does."
            )
        curve = learning_curve(detector, frame, y, **known)
        return plots.plot_learning_curve(curve)

    return {
        "precision-recall": lambda: plots.plot_precision_recall(scored),
        "threshold": lambda: plots.plot_threshold(scored, figures.threshold),
        "alpha-beta": lambda: plots.plot_surface(detector),
        "reliability": lambda: plots.plot_reliability(figures),
        "learning-curve": learning,
    }
