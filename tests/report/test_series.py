"""The plot of numbers of events by period or group."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from mmevent.corpus import DifferentialErrors
from mmevent.exceptions import InputError, MissingPackageError
from mmevent.report.series import plot_series


def errors(n_months: int = 3) -> DifferentialErrors:
    months = pd.period_range("2024-01", periods=n_months, freq="M").astype(str)
    names = ["place: A", "place: B", *months]
    series = pd.DataFrame(
        {"by": ["place"] * 2 + ["month"] * n_months, "group": names, "n_flagged": 9}
    )
    series["n_events"] = np.arange(len(names)) + 1.0
    series["low"], series["high"] = series["n_events"] / 2, series["n_events"] * 2
    return DifferentialErrors(pd.DataFrame(), pd.DataFrame(), series, [])


def test_periods_are_drawn_with_their_intervals() -> None:
    figure = plot_series(errors())
    (axes,) = figure.axes
    assert axes.get_xlabel() == "month"
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        *("2024-01", "2024-02", "2024-03")
    ]
    events, flagged = axes.lines
    assert np.asarray(events.get_ydata()).tolist() == [3, 4, 5]
    assert np.asarray(flagged.get_ydata()).tolist() == [9, 9, 9]
    bars = axes.collections[0].get_segments()
    assert [bar[:, 1].tolist() for bar in bars] == [[1.5, 6], [2, 8], [2.5, 10]]
    assert axes.get_ylim()[0] == 0


def test_groups_are_drawn_on_demand() -> None:
    axes = plot_series(errors(), "place").axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["A", "B"]


def test_many_periods_have_some_names_and_a_wider_picture() -> None:
    figure = plot_series(errors(40))
    assert len(figure.axes[0].get_xticklabels()) == 10
    assert figure.get_figwidth() == 9.6


def test_a_grouping_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"'city' is no grouping.*'place', 'month'"):
        plot_series(errors(), "city")


def test_without_matplotlib_its_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r'pip install "mmevent\[plots\]"'):
        plot_series(errors())
