"""The detector: branches, rule and estimate in one scikit-learn estimator.

In go labelled posts; out comes an `EventDetector`, whose ``fitted_`` is a
`FittedDetector`: all that a prediction needs, as one value that never changes. Start
reading at `fitting.py`, the fit step by step, then `fitted.py` and `audit.py`.
"""

from mmevent.detector.audit import AUDIT_COLUMNS
from mmevent.detector.detector import EventDetector
from mmevent.detector.evaluating import evaluate
from mmevent.detector.fitted import FittedDetector
from mmevent.detector.learning import learning_curve
from mmevent.detector.reading import Reading
from mmevent.detector.second_stage import FalsePositiveFilter

__all__ = [
    "AUDIT_COLUMNS",
    "EventDetector",
    "FalsePositiveFilter",
    "FittedDetector",
    "Reading",
    "evaluate",
    "learning_curve",
]
