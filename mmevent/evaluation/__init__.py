"""Figures from posts that chose nothing of what is measured.

In go branches, posts, labels and folds; out comes an `Estimate` with intervals and
baselines. Start reading at `nested.py`, which runs the folds; `folds.py` makes them,
`baselines.py` tunes what is compared, and `figures.py` computes the table.
"""

from mmevent.evaluation.estimate import Estimate
from mmevent.evaluation.folds import ForwardInTime

__all__ = [
    "Estimate",
    "ForwardInTime",
]
