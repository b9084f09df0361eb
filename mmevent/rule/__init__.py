"""From two probabilities to one decision.

In go the probabilities of each post's text and pictures; out comes one score per post
by the alpha/beta rule of Zhang and Pan (2019), or by stacking, and a threshold.
Nothing here knows of models. Start reading at `fusion.py`, which is the rule itself;
`stacking.py` is the other one, `search.py` finds the parameters of both, and
`policies.py` the threshold.
"""

from mmevent.rule.calibration import Calibration, fit_calibration
from mmevent.rule.cuts import best_threshold
from mmevent.rule.fusion import Evidence, Rule, applied_rule, fuse, pool_images
from mmevent.rule.policies import budget_threshold, choose_threshold
from mmevent.rule.search import Search, TuningResult, rethreshold, tune_rule
from mmevent.rule.smoothing import smooth_threshold
from mmevent.rule.stacking import StackedRule
from mmevent.rule.two_stage import TwoStageRule, tune_two_stages

__all__ = [
    "Calibration",
    "Evidence",
    "Rule",
    "Search",
    "StackedRule",
    "TuningResult",
    "TwoStageRule",
    "applied_rule",
    "best_threshold",
    "budget_threshold",
    "choose_threshold",
    "fit_calibration",
    "fuse",
    "pool_images",
    "rethreshold",
    "smooth_threshold",
    "tune_rule",
    "tune_two_stages",
]
