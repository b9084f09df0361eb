"""The audit: what a fitted detector decides for each post, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mmevent._common import as_whole, warn_user
from mmevent._settings import with_own_settings
from mmevent._walk import walk
from mmevent.branches.text import TextClassifier
from mmevent.detector.fitted import FEWEST, NO_IMAGES
from mmevent.encoders.cache import shared_memo
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.needed import check_needed
from mmevent.posts.posts import to_posts
from mmevent.rule.calibration import cases_of
from mmevent.rule.fusion import applied_rule
from mmevent.rule.policies import budget_of, budget_threshold
from mmevent.rule.two_stage import TwoStageRule, first_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mmevent.detector.fitted import FittedDetector
    from mmevent.detector.reading import Reading
    from mmevent.posts.prepared import Prepared
    from mmevent.rule.fusion import Evidence

_LINK = 60  # letters of a link that are shown

AUDIT_COLUMNS = (
    *("id", "prediction", "margin", "score", "rule", "p_text", "p_image", "n_images"),
    *("n_usable", "best_image", "image_status", "text_truncated"),
    *("stage", "p_text_2", "score_2", "seen_in_training", "probability"),
)
"""All columns that an audit can have: those of a second stage, and ``probability``,
are there where the detector has a second stage, and a calibration."""


@with_own_settings
def audit_posts(
    fitted: FittedDetector,
    posts: Any,
    reading: Reading,
    *,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Return the audit of posts, see :meth:`mmevent.EventDetector.audit`."""
    needed = fitted.needed()
    if batch_size is None:
        prepared = reading.read(posts, needed)
        fitted.check_images([prepared])
        audit = _score(fitted, prepared, verbose=reading.verbose)
    else:
        size = _checked_size(batch_size)
        check_needed(posts, reading.columns, needed)
        audit = _score_batches(fitted, posts, reading, size)
    if fitted.image is not None:
        _check_some_usable(audit)
    threshold, budget = fitted.threshold, budget_of(fitted.policy)
    if budget is not None:
        threshold = budget_threshold(audit["score"], budget)
    return decide(audit, threshold, np.array(fitted.coding))


@with_own_settings
def audit_part(
    fitted: FittedDetector, posts: Any, reading: Reading, *, first: bool
) -> pd.DataFrame:
    """Return the audit of some posts of a corpus.

    Only of the `first` posts a picture at least must be usable. Of a budget, which is
    one for the whole corpus, prediction and margin are missing.
    """
    prepared = reading.read(posts, fitted.needed())
    if first:
        fitted.check_images([prepared])
    audit = _score(fitted, prepared, verbose=False)
    if first and fitted.image is not None:
        _check_some_usable(audit)
    if budget_of(fitted.policy) is not None:
        return audit
    return decide(audit, fitted.threshold, np.array(fitted.coding))


def _check_some_usable(audit: pd.DataFrame) -> None:
    """Refuse posts of which no picture can be used; warn where there are few."""
    n_images = int(audit["n_images"].sum())
    if not n_images or audit["n_usable"].any():
        return
    first = audit["image_status"].dropna().iloc[0]
    reason = f"none of the {n_images:,} images can be used, such as {first!r:.200}"
    if n_images >= FEWEST:
        raise InputError(
            f"{reason}: expected one or more. Correct the paths or image_root; or, "
            f"{NO_IMAGES}."
        )
    warn_user(
        f"{reason}: these posts are judged by their text alone. Check image_root; "
        f"image_status says why.",
        UnusableInputWarning,
    )


def _score_batches(
    fitted: FittedDetector, posts: Any, reading: Reading, size: int
) -> pd.DataFrame:
    table = to_posts(posts, columns=reading.columns, image_root=reading.image_root)

    def batches() -> Iterator[Prepared]:
        for start in range(0, max(len(table), 1), size):
            yield reading.read_own(table.iloc[start : start + size])

    if table["images"].str.len().any():
        fitted.check_images(batches())
    parts = []
    hidden = not reading.verbose
    with tqdm(total=len(table), desc="Predicting", unit="post", disable=hidden) as bar:
        for batch in batches():
            parts.append(_score(fitted, batch, verbose=False))
            bar.update(len(batch))
    return pd.concat(parts)


def _score(
    fitted: FittedDetector, prepared: Prepared, *, verbose: bool
) -> pd.DataFrame:
    with shared_memo():
        return score_posts(fitted, fitted.examine(prepared, verbose=verbose))


def _checked_size(size: object) -> int:
    n_posts = as_whole(size)
    if n_posts is None or n_posts < 1:
        raise InputError(
            f"batch_size={size!r} is no number of posts: expected None or a whole "
            f"number of 1 or more. Use batch_size=500."
        )
    return n_posts


def score_posts(fitted: FittedDetector, prepared: Prepared) -> pd.DataFrame:
    """Return the audit of examined posts, without prediction and margin."""
    evidence, p_image = fitted.evidence(prepared)
    audit = _tabulate(fitted, prepared, evidence, p_image)
    keys = fitted.training_keys
    seen = [not keys.isdisjoint(of_post) for of_post in prepared.content_keys]
    audit["seen_in_training"] = seen
    if fitted.calibration is not None:
        cases = cases_of(evidence, fitted.whole)
        audit["probability"] = fitted.calibration.predict(audit["score"], cases)
    return audit


def _tabulate(
    fitted: FittedDetector,
    prepared: Prepared,
    evidence: Evidence,
    p_image: NDArray[np.float64],
) -> pd.DataFrame:
    """Return one row per post, without what the threshold decides."""
    rule = fitted.whole
    first = first_of(rule)
    pooled = evidence.pooled[first.image, first.pool]
    names, index = source_names(prepared), prepared.posts.index
    best, statuses = _best_images(prepared, p_image, names), _statuses(prepared, names)
    table = pd.DataFrame(
        {
            "id": prepared.posts["id"].to_numpy(),
            "score": rule.score(evidence),
            "rule": applied_rule(evidence.p_text, pooled),
            "p_text": evidence.p_text,
            "p_image": pooled,
            "n_images": np.bincount(prepared.post, minlength=len(prepared)),
            "n_usable": prepared.n_usable,
            "best_image": pd.Series(best, index, dtype=object),
            "image_status": pd.Series(statuses, index, dtype=object),
            "text_truncated": _truncated(prepared, fitted.text),
        },
        index=index,
    )
    if isinstance(rule, TwoStageRule):
        flagged = rule.flagged(evidence)
        second = rule.second.score(rule.judged(evidence))
        table["stage"] = np.where(flagged, 2, 1)
        table["p_text_2"] = evidence.p_text_2
        table["score_2"] = np.where(flagged, second, np.nan)
    return table


def decide(audit: pd.DataFrame, threshold: float, coding: NDArray[Any]) -> pd.DataFrame:
    """Insert predictions and margins; `coding` has the labels of both classes."""
    score = audit["score"].to_numpy()
    audit = audit.copy()
    audit.insert(1, "prediction", coding[(score >= threshold).astype(int)])
    audit.insert(2, "margin", score - threshold)
    return audit


def _text_classifiers(branch: Any) -> list[TextClassifier]:
    """Return the fitted `TextClassifier` parts of a branch, itself included."""
    return [
        part
        for part in walk(branch)
        if isinstance(part, TextClassifier) and hasattr(part, "classes_")
    ]


def _truncated(prepared: Prepared, text: Any) -> NDArray[np.bool_]:
    truncated = np.zeros(len(prepared), dtype=bool)
    side = prepared.material.text
    if len(side.post):
        for branch in _text_classifiers(text):
            truncated[side.post] |= branch.is_truncated(list(side.items))
    return truncated


def source_names(prepared: Prepared) -> NDArray[Any]:
    """Return the path of each image, or its place in the post, such as "image 1"."""
    names = np.empty(len(prepared.post), dtype=object)
    place: dict[int, int] = {}
    for i, (source, row) in enumerate(
        zip(prepared.images.sources, prepared.post, strict=True)
    ):
        place[row] = place.get(row, 0) + 1
        path = source.get("path") if isinstance(source, dict) else source
        has_path = isinstance(path, str) or hasattr(path, "__fspath__")
        if has_path and str(path).lstrip()[:5].lower() == "data:":
            path = f"{str(path)[:_LINK]}…"  # a link that holds a whole picture
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
    """Return why images of each post could not be used; None if all could."""
    reasons: list[list[str]] = [[] for _ in range(len(prepared))]
    statuses = prepared.images.statuses
    for i in np.flatnonzero(statuses != "ok"):
        reasons[prepared.post[i]].append(f"{names[i]}: {statuses[i]}")
    return ["; ".join(reason) or None for reason in reasons]
