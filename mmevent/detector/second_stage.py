"""The second stage: its parameters, and its fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator

from mmevent._common import warn_user
from mmevent.branches.fitting import fit_branch
from mmevent.evaluation.baselines import SecondStage, choose_stages
from mmevent.exceptions import InputError, MmeventWarning
from mmevent.rule.two_stage import TwoStageRule, candidates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmevent.evaluation.sample import Sample
    from mmevent.rule.fusion import Evidence
    from mmevent.rule.search import Search
    from mmevent.rule.stacking import FusionRule

NO_SECOND_STAGE = (
    "the detector itself, fitted on all posts, has no second stage: it did not help."
)


class FalsePositiveFilter(BaseEstimator):
    """A second classifier of texts, for posts that a detector's first stage flags.

    Pass it as ``second_stage=`` of :class:`mmevent.EventDetector`. It is trained on
    posts that are flagged out of fold at a recall of 0.99, and on posts that the first
    stage does not learn from.

    Parameters
    ----------
    text : classifier or "auto", default="auto"
        A scikit-learn classifier over strings. ``"auto"`` is a clone of the detector's
        text branch.
    only_if_better : bool, default=False
        Keep the second stage only if it raises F1 on out-of-fold probabilities by more
        than the standard error of the difference.

    References
    ----------
    Zhang and Pan (2019), "CASM: A Deep-Learning Approach for Identifying Collective
    Action Events with Text and Image Data from Social Media", Sociological
    Methodology 49.

    Examples
    --------
    >>> from mmevent import EventDetector, FalsePositiveFilter
    >>> from mmevent.synthetic import demo_branches
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image,
    ...                          second_stage=FalsePositiveFilter(text=text))
    >>> detector.second_stage.get_params()["text"] is text
    True
    """

    def __init__(self, *, text: Any = "auto", only_if_better: bool = False) -> None:
        self.text = text
        self.only_if_better = only_if_better


def fit_stages(
    second: SecondStage,
    evidence: Evidence,
    sample: Sample,
    tested: NDArray[np.intp],
    rule: FusionRule,
    search: Search,
) -> tuple[Any | None, TwoStageRule | None]:
    """Tune both stages and fit the second one on its candidates.

    Return its text branch and both rules, or None and None if it is not kept.
    """
    labels, material = sample.labels, sample.prepared.material
    kept = candidates(evidence, labels.event, labels.known, tested, rule)
    stages = choose_stages(
        evidence.take(tested), labels.take(tested), search, rule, second
    )
    if stages is not None:
        text = fit_branch(second.branch, material.text, kept, labels.second)
        if text is not None:
            return text, stages
    if second.only_if_better:
        warn_user(
            "the second stage does not raise F1 on out-of-fold probabilities by more "
            "than its standard error: the detector works without it. Use "
            "second_stage=True (--second-stage on) to keep it.",
            MmeventWarning,
        )
        return None, None
    n_events = int(labels.event[kept].sum())
    raise InputError(
        f"the second stage has nothing to tell apart: expected events and others among "
        f"the texts that stage 1 flags, in every fold, got {n_events} events of "
        f"{len(kept)} posts. Code more look-alikes, or use second_stage='auto', which "
        f"goes on with one stage."
    )
