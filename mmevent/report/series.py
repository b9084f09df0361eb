"""Plot of the numbers of events of a corpus over time, or by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmevent._common import require
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmevent.corpus.differential import DifferentialErrors

__all__ = ["plot_series"]

_HEIGHT, _DPI, _MOST_NAMES = 3.45, 200, 13
_BESIDE = 0.15  # so that a cross does not hide a point
_WIDTHS = 4.8, 9.6, 0.3  # at least, at most, and for each group


def plot_series(errors: DifferentialErrors, by: str | None = None) -> Figure:
    """Plot corrected numbers of events with joint intervals, and of flagged posts.

    Parameters
    ----------
    errors : DifferentialErrors
        From :func:`mmevent.corpus.differential_errors`.
    by : str or None, default=None
        Which grouping to plot: a value of the column ``by``. None for the last one,
        that of the periods if there are any.

    Returns
    -------
    Figure
        Points are corrected numbers of events, bars their joint 95% intervals, and
        crosses the numbers of flagged posts.

    Raises
    ------
    InputError
        If there is no such grouping.
    MissingPackageError
        If matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import differential_errors, draw_sample
    >>> from mmevent.report import plot_series
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> audit["place"] = ["A", "B"] * 500
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> found = differential_errors(audit, coded, "event", by="place")
    >>> plot_series(found).axes[0].get_ylabel()
    'number of events'
    """
    known = errors.series["by"].unique().tolist()
    chosen = known[-1] if by is None else by
    if chosen not in known:
        raise InputError(
            f"by={by!r} is no grouping of these errors: expected one of "
            f"{', '.join(map(repr, known))}. Name one of them."
        )
    require("matplotlib", extra="plots", purpose="a plot")
    from matplotlib.figure import Figure

    table = errors.series[errors.series["by"] == chosen]
    place = np.arange(len(table))
    least, most, each = _WIDTHS
    width = min(max(least, each * len(table) + 1), most)
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained", dpi=_DPI)
    axes = figure.add_subplot()
    axes.vlines(
        *(place, table["low"], table["high"]),
        color="black",
        linewidth=1.2,
        label="joint 95% interval",
    )
    axes.plot(place, table["n_events"], "o", color="black", ms=4, label="events")
    axes.plot(
        *(place + _BESIDE, table["n_flagged"], "x"),
        color="#0072b2",
        ms=5,
        label="flagged posts",
    )
    step = -(-len(table) // _MOST_NAMES)
    names = [str(name).removeprefix(f"{chosen}: ") for name in table["group"]]
    long = max(map(len, names)) * min(len(names), _MOST_NAMES) > 45
    axes.set_xticks(place[::step], names[::step], rotation=60 if long else 0)
    if long:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel=chosen, ylabel="number of events", xlim=(-0.5, len(table) - 0.5))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
