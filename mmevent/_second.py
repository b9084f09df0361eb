"""The second stage of a detector: which one is asked for, and its fit."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from mmevent._branch_parameters import check_branches, unfitted_branches
from mmevent._branches import SECOND, SECOND_IMAGE, TEXT, fit_branch
from mmevent.exceptions import InputError, MmeventWarning
from mmevent.filter import (
    IMAGES,
    SCORES,
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


NO_SECOND_STAGE = (
    "the detector itself, fitted on all posts, has no second stage: it did not help."
)


def asked_for(
    second_stage: Any, text: Any, image: Any, *, seed: int | None, verbose: bool
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
    features = _checked_features(wanted.features, image)
    branch = unfitted_branches(own, None, seed=seed, verbose=verbose)[TEXT]
    return SecondStage(branch, bool(wanted.only_if_better), features)


def _checked_features(features: Any, image: Any) -> tuple[str, ...]:
    listed = isinstance(features, (list, tuple))
    if not listed or not all(name in (SCORES, IMAGES) for name in features):
        raise InputError(
            f"features={features!r} are not known: expected a list of {SCORES!r} and "
            f"{IMAGES!r}, or an empty one. Pass one of them."
        )
    if IMAGES in features and image is None:
        raise InputError(
            f"features={features!r} needs an image branch: expected one, got "
            f"image=None. Pass one, or leave {IMAGES!r} out."
        )
    return tuple(dict.fromkeys(features))


def fit_stages(
    second: SecondStage,
    evidence: Evidence,
    sample: Sample,
    tested: NDArray[np.intp],
    rule: Rule,
    search: Search,
    image: Any,
) -> tuple[dict[str, Any], TwoStageRule | None]:
    """Tune both stages and fit the second on its candidates.

    Return its fitted branches and both rules; none and None where it does not help.
    `image` is the unfitted image branch, if any.
    """
    labels, material = sample.labels, sample.prepared.material
    kept = candidates(evidence, labels, tested, rule)
    stages = choose_stages(
        evidence.take(tested), labels.take(tested), search, rule, second
    )
    branches = {}
    if stages is not None:
        text = fit_branch(second.branch, material.text, kept, labels.second)
        branches[SECOND] = text
        if IMAGES in second.features and image is not None:
            fitted = fit_branch(image, material.image, kept, labels.second)
            branches[SECOND_IMAGE] = fitted
    branches = {k: branch for k, branch in branches.items() if branch is not None}
    if SECOND in branches:
        return branches, stages
    if second.only_if_better:
        warnings.warn(
            "the second stage does not raise F1 on out-of-fold probabilities by more "
            "than its standard error: the detector works without it. Use "
            "second_stage=True (--second-stage on) to keep it.",
            MmeventWarning,
            stacklevel=4,
        )
        return {}, None
    n_events = int(labels.event[kept].sum())
    raise InputError(
        f"the second stage has nothing to tell apart: expected events and others among "
        f"the texts that stage 1 flags, in every fold, got {n_events} events of "
        f"{len(kept)} posts. Code more look-alikes, or use second_stage='auto', which "
        f"goes on with one stage."
    )
