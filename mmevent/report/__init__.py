"""What a fitted detector gets wrong, as tables, pages and plots for people.

In go a fitted detector and labelled posts; out come the most certain errors, and
figures of matplotlib. Start reading at `errors.py`, then `plots.py`.
"""

from mmevent.detector.learning import learning_curve
from mmevent.report.choices import over_choices
from mmevent.report.drawing import draw_plots
from mmevent.report.errors import Errors, find_errors, labelled_scores
from mmevent.report.plots import (
    plot_learning_curve,
    plot_precision_recall,
    plot_reliability,
    plot_surface,
    plot_threshold,
)
from mmevent.report.series import plot_series

__all__ = [
    "Errors",
    "draw_plots",
    "find_errors",
    "labelled_scores",
    "learning_curve",
    "over_choices",
    "plot_learning_curve",
    "plot_precision_recall",
    "plot_reliability",
    "plot_series",
    "plot_surface",
    "plot_threshold",
]
