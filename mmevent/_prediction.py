"""What a fitted detector says of posts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.frozen import FrozenEstimator

from mmevent._audit import audit_table, decide
from mmevent._branches import TEXT, predict_branch, to_evidence
from mmevent._cache import shared_memo
from mmevent.calibration import cases_of
from mmevent.decision import budget_of, budget_threshold
from mmevent.exceptions import UnusableInputWarning
from mmevent.image import FrozenImageClassifier
from mmevent.tuning import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from mmevent._prepared import Prepared
    from mmevent.detector import EventDetector
    from mmevent.filter import TwoStageRule
    from mmevent.tuning import Evidence


def rule_of(detector: EventDetector) -> Rule:
    """Return the fused rule; with two stages the threshold is not its own."""
    return Rule(
        detector.alpha_,
        detector.beta_,
        detector.pool_,
        detector.threshold_,
        detector.image_name_,
    )


def whole_rule(detector: EventDetector) -> Rule | TwoStageRule:
    """Return the rule that gives posts their score."""
    return detector.stages_ or rule_of(detector)


def evidence_of(
    detector: EventDetector, prepared: Prepared
) -> tuple[Evidence, NDArray[np.float64]]:
    """Return the probabilities of posts, and p_image of each usable image."""
    material, classes = prepared.material, coding_of(detector)
    name = detector.image_name_
    fitted = {TEXT: detector.text_, name: detector.image_}
    probabilities = {}
    for kind, branch in fitted.items():
        side = material.side(kind)
        chosen = np.arange(len(side.post))
        probabilities[kind] = predict_branch(branch, side, chosen, classes=classes)
    evidence = to_evidence(probabilities, material, pool=detector.pool_)
    if detector.stages_ is not None:
        flagged = detector.stages_.flagged(evidence)
        fitted = {TEXT: detector.second_stage_, name: detector.second_stage_image_}
        p_2 = {}
        for kind, branch in fitted.items():
            side = material.side(kind)
            chosen = np.flatnonzero(flagged[side.post])
            p_2[kind] = np.full(len(side.post), np.nan)
            p_2[kind][chosen] = predict_branch(branch, side, chosen, classes=classes)
        second = to_evidence(p_2, material, pool=detector.pool_)
        evidence = evidence.with_second(
            second.p_text, second.pooled[name, detector.pool_]
        )
    return evidence, probabilities[name]


def coding_of(detector: EventDetector) -> list[Any]:
    """Return the labels of no event and of an event."""
    coding: list[Any] = detector.classes_.tolist()
    return coding if coding[1] == detector.pos_label_ else coding[::-1]


def seen_in_fit(detector: EventDetector, prepared: Prepared) -> NDArray[np.bool_]:
    """Which posts share an id, text or image with those of the fit.

    Or are duplicates of posts that do.
    """
    training = set(detector.training_keys_)
    direct = np.array([not training.isdisjoint(keys) for keys in prepared.keys])
    return np.isin(prepared.duplicate, prepared.duplicate[direct])


def score_posts(detector: EventDetector, prepared: Prepared) -> pd.DataFrame:
    """Return the audit of posts, without prediction and margin."""
    with shared_memo():
        look_at_images(prepared, [detector.image_], verbose=detector.verbose)
        evidence, p_image = evidence_of(detector, prepared)
    rule = whole_rule(detector)
    audit = audit_table(prepared, evidence, p_image, rule, text=detector.text_)
    training = set(detector.training_keys_)
    seen = [not training.isdisjoint(keys) for keys in prepared.content_keys]
    audit["seen_in_training"] = seen
    if detector.calibration_ is not None:
        cases = cases_of(evidence, rule)
        audit["probability"] = detector.calibration_.predict(audit["score"], cases)
    return audit


def decide_posts(detector: EventDetector, audit: pd.DataFrame) -> pd.DataFrame:
    """Put predictions and margins in the audit of all posts of a call."""
    n_images = int(audit["n_images"].sum())
    if detector.image_ is not None and n_images and not audit["n_usable"].any():
        warnings.warn(
            f"none of the {n_images} images can be used: these posts are judged by "
            f"their text alone. Check image_root (--image-root on the command line); "
            f"image_status says why.",
            UnusableInputWarning,
            stacklevel=3,
        )
    budget = budget_of(detector.policy_)
    threshold = detector.threshold_
    if budget is not None:
        threshold = budget_threshold(audit["score"], budget)
    return decide(audit, threshold, np.array(coding_of(detector)))


def look_at_images(
    prepared: Prepared, branches: Iterable[Any], *, verbose: bool
) -> None:
    """Read each image once: for its embedding, if a branch wants it, and its status."""
    for branch in branches:
        seeing = branch.estimator if isinstance(branch, FrozenEstimator) else branch
        if isinstance(seeing, FrozenImageClassifier):
            seeing._encode_ahead(prepared.images)
    prepared.images.scan(verbose=verbose)


def encode_posts(detector: EventDetector, prepared: Prepared) -> None:
    """Let the encoders see every item before folds do, under one bar."""
    for name, branch in detector.branches_.items():
        side = prepared.material.side(name)
        everything = np.arange(len(side.post))
        predict_branch(branch, side, everything, classes=coding_of(detector))
