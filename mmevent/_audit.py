"""The audit: why each post was judged as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._branch_parameters import text_classifiers
from mmevent.filter import IMAGES, TwoStageRule, first_of
from mmevent.fusion import applied_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmevent._prepared import Prepared
    from mmevent.detector import EventDetector
    from mmevent.tuning import Evidence, Rule


_COLUMNS = (
    *("id", "prediction", "margin", "score", "rule", "p_text", "p_image", "n_images"),
    *("n_usable", "best_image", "image_status", "text_truncated", "seen_in_training"),
)


def column_names(detector: EventDetector) -> list[str]:
    """Name the columns of a fitted detector's audit."""
    names = list(_COLUMNS)
    if detector.stages_ is not None:
        mix = detector.stages_.mix
        images = ["p_image_2"] if mix is not None and IMAGES in mix.features else []
        names += ["stage", "p_text_2", *images, "score_2"]
    return names if detector.calibration_ is None else [*names, "probability"]


def audit_table(
    prepared: Prepared,
    evidence: Evidence,
    p_image: NDArray[np.float64],
    rule: Rule | TwoStageRule,
    *,
    text: Any,
) -> pd.DataFrame:
    """Tabulate posts, one row each, without what is decided of them.

    Parameters
    ----------
    prepared : Prepared
        The posts.
    evidence : Evidence
        Their probabilities.
    p_image : ndarray of shape (n_usable_images,)
        Probability of each usable image.
    rule : Rule or TwoStageRule
        What turns probabilities into scores.
    text : classifier or None
        The fitted text branch.
    """
    score = rule.score(evidence)
    first = first_of(rule)
    pooled = evidence.pooled[first.image, first.pool]
    names, index = source_names(prepared), prepared.posts.index
    best, statuses = _best_images(prepared, p_image, names), _statuses(prepared, names)
    table = pd.DataFrame(
        {
            "id": prepared.posts["id"].to_numpy(),
            "score": score,
            "rule": applied_rule(evidence.p_text, pooled),
            "p_text": evidence.p_text,
            "p_image": pooled,
            "n_images": np.bincount(prepared.post, minlength=len(prepared)),
            "n_usable": prepared.n_usable,
            "best_image": pd.Series(best, index, dtype=object),
            "image_status": pd.Series(statuses, index, dtype=object),
            "text_truncated": _truncated(prepared, text),
        },
        index=index,
    )
    if isinstance(rule, TwoStageRule):
        flagged = rule.flagged(evidence)
        second = rule.second.score(rule.judged(evidence))
        table["stage"] = np.where(flagged, 2, 1)
        for name, p in rule.columns(evidence).items():
            table[name] = p
        table["score_2"] = np.where(flagged, second, np.nan)
    return table


def decide(audit: pd.DataFrame, threshold: float, coding: NDArray[Any]) -> pd.DataFrame:
    """Put predictions, labels of no event and of an event, and margins in an audit."""
    score = audit["score"].to_numpy()
    audit = audit.copy()
    audit.insert(1, "prediction", coding[(score >= threshold).astype(int)])
    audit.insert(2, "margin", score - threshold)
    return audit


def _truncated(prepared: Prepared, text: Any) -> NDArray[np.bool_]:
    truncated = np.zeros(len(prepared), dtype=bool)
    side = prepared.material.text
    if len(side.post):
        for branch in text_classifiers(text):
            truncated[side.post] |= branch.is_truncated(list(side.items))
    return truncated


def source_names(prepared: Prepared) -> NDArray[Any]:
    """Return the path of each image, or its place in its post."""
    names = np.empty(len(prepared.post), dtype=object)
    place: dict[int, int] = {}
    for i, (source, row) in enumerate(
        zip(prepared.images.sources, prepared.post, strict=True)
    ):
        place[row] = place.get(row, 0) + 1
        path = source.get("path") if isinstance(source, dict) else source
        has_path = isinstance(path, str) or hasattr(path, "__fspath__")
        names[i] = str(path) if has_path else f"image {place[row]}"
    return names


def _best_images(
    prepared: Prepared, p_image: NDArray[np.float64], names: NDArray[Any]
) -> list[str | None]:
    best: list[str | None] = [None] * len(prepared)
    highest = np.full(len(prepared), -1.0)
    usable = np.flatnonzero(prepared.images.usable)
    for i, p in zip(usable, p_image, strict=True):
        row = prepared.post[i]
        if p > highest[row]:
            highest[row], best[row] = p, names[i]
    return best


def _statuses(prepared: Prepared, names: NDArray[Any]) -> list[str | None]:
    """Why images of a post could not be used; None where all could, or it has none."""
    reasons: list[list[str]] = [[] for _ in range(len(prepared))]
    statuses = prepared.images.statuses
    for i in np.flatnonzero(statuses != "ok"):
        reasons[prepared.post[i]].append(f"{names[i]}: {statuses[i]}")
    return ["; ".join(reason) or None for reason in reasons]
