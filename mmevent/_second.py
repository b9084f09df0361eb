"""The second stage of a detector: which one is asked for, and its fit."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from mmevent._branch_parameters import check_branches, unfitted_branches
from mmevent._branches import TEXT, fit_branch
from mmevent.exceptions import InputError, MmeventWarning
from mmevent.filter import (
    FalsePositiveFilter,
    SecondStage,
    TwoStageRule,
    candidates,
    choose_stages,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmevent._sample import Sample
    from mmevent.tuning import Evidence, Rule, Search


def asked_for(
    second_stage: Any, text: Any, *, seed: int | None, verbose: bool
) -> SecondStage | None:
    """Return the second stage that the parameters of a detector ask for."""
    wanted = second_stage
    if wanted is None or wanted is False:
        return None
    if wanted is True or (isinstance(wanted, str) and wanted == "auto"):
        wanted = FalsePositiveFilter(only_if_better=wanted == "auto")
    if not isinstance(wanted, FalsePositiveFilter):
        raise InputError(
            f"second_stage={wanted!r} is not known: expected True, False, 'auto' or a "
            f"FalsePositiveFilter. Pass one of them."
        )
    own = (
        text if isinstance(wanted.text, str) and wanted.text == "auto" else wanted.text
    )
    if own is None:
        raise InputError(
            "second_stage judges texts: expected a text branch, got text=None. Pass "
            "one, or FalsePositiveFilter(text=...)."
        )
    check_branches(own, None)
    branch = unfitted_branches(own, None, seed=seed, verbose=verbose)[TEXT]
    return SecondStage(branch, bool(wanted.only_if_better))


def fit_stages(
    second: SecondStage,
    evidence: Evidence,
    sample: Sample,
    tested: NDArray[np.intp],
    rule: Rule,
    search: Search,
) -> tuple[Any, TwoStageRule] | tuple[None, None]:
    """Tune both stages and fit the second on its candidates.

    Return its branch and both rules, None twice where it does not help.
    """
    labels = sample.labels
    kept = candidates(evidence, labels, tested, rule)
    stages = choose_stages(
        evidence.take(tested), labels.take(tested), search, rule, second
    )
    branch = None
    if stages is not None:
        text = sample.prepared.material.text
        branch = fit_branch(second.branch, text, kept, labels.second)
    if stages is not None and branch is not None:
        return branch, stages
    if second.only_if_better:
        warnings.warn(
            "the second stage does not raise F1 on out-of-fold probabilities by more "
            "than its standard error: the detector works without it. Use "
            "second_stage=True to keep it.",
            MmeventWarning,
            stacklevel=4,
        )
        return None, None
    n_events = int(labels.event[kept].sum())
    raise InputError(
        f"the second stage has nothing to tell apart: expected events and others among "
        f"the texts that stage 1 flags, in every fold, got {n_events} events of "
        f"{len(kept)} posts. Code more look-alikes, or use second_stage='auto', which "
        f"goes on with one stage."
    )
