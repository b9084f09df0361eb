"""What a detector gets wrong, post by post, as a table and a page.

Figures say how often a detector is wrong, not why. The wrong posts with the largest
margins show what it takes for an event, and often a wrong label.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from mmevent._common import as_html, as_whole
from mmevent._settings import with_own_settings
from mmevent.detector.audit import score_posts, source_names
from mmevent.detector.reading import Reading
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.exceptions import InputError
from mmevent.posts.alignment import aligned
from mmevent.posts.labels import check_known_labels, check_some
from mmevent.report.page import FALSE, MISSED, SIDE, errors_page, task_of, words_of
from mmevent.rule.fusion import applied_rule
from mmevent.rule.policies import (
    budget_of,
    budget_threshold,
    check_corpus_size,
    share_of_budget,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmevent.detector.detector import EventDetector
    from mmevent.detector.fitted import FittedDetector
    from mmevent.posts.prepared import Prepared

__all__ = ["Errors", "find_errors", "labelled_scores"]

_LETTERS = 500  # of a text
_MOST = 4  # thumbnails of a post


@dataclass(frozen=True)
class Errors:
    """The wrong posts with the largest margins.

    Parameters
    ----------
    table : DataFrame
        One row per post, the largest margins of each kind first: ``id``, ``kind``
        (``false positive`` or ``missed event``), ``margin`` (score - threshold),
        ``score``, ``rule``, ``p_text``, ``p_image``, with a second stage ``stage`` and
        ``p_text_2``, ``n_images``, ``text`` (its first 500 letters) and ``images``.
    pictures : list of list of bytes
        For each row, small JPEGs of the first four usable images.
    note : str
        How many errors there are, and where the scores come from.
    task : str, default=""
        What the detector was fitted to find.
    words : dict of str to str, optional
        What the words on the page mean.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.report import Errors
    >>> row = {"id": 7, "kind": "missed event", "margin": -0.3, "text": "They march"}
    >>> page = Errors(pd.DataFrame([row]), [[]], "One error.").to_html()
    >>> "They march" in page
    True
    """

    table: pd.DataFrame
    pictures: list[list[bytes]] = field(repr=False)
    note: str
    task: str = ""
    words: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Errors: {self.note}>"

    def _repr_html_(self) -> str:
        note = "Without pictures here; to_html() gives a page with them."
        return as_html(f"{self.task}\n{self.note}".strip(), [("", self.table)], [note])

    def to_html(self) -> str:
        """Return one page with the posts and their pictures, which loads no files.

        Returns
        -------
        str
            HTML.
        """
        return errors_page(self.table, self.pictures, self.note, self.task, self.words)


@with_own_settings
def find_errors(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    *,
    n: int = 25,
    y_stage1: ArrayLike | None = None,
    held_out: bool = False,
    corpus_size: int | None = None,
) -> Errors:
    """Find the false positives and missed events with the largest margins.

    Of posts with the same text or image, only the first is shown.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows
        The training posts, in the order of `fit`, or, with `held_out`, others.
    y : array-like of shape (n_posts,)
        Labels.
    n : int, default=25
        Largest number of posts of each kind, 1 or more.
    y_stage1 : array-like of shape (n_posts,) or None, default=None
        As given to `fit`; not used with `held_out`.
    held_out : bool, default=False
        Whether the posts are not the training posts. Training posts have their
        out-of-fold scores.
    corpus_size : int or None, default=None
        With the policy ``"budget=N"``: number of posts of the corpus that it is for, as
        for :func:`mmevent.evaluate`.

    Returns
    -------
    Errors

    Raises
    ------
    InputError
        If the posts or labels are not those of the training and `held_out` is False,
        or if there are no posts.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import find_errors
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(200, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> errors = find_errors(detector, posts, y, n=3).table
    >>> errors["kind"].value_counts().to_dict()
    {'false positive': 3, 'missed event': 3}
    """
    size = as_whole(n)
    if size is None or size < 1:
        raise InputError(
            f"n={n!r} is no number of posts: expected an integer of 1 or more. The "
            f"default is 25."
        )
    check_is_fitted(detector)
    prepared, scored = _labelled_scores(
        *(detector, posts, y, y_stage1),
        held_out=held_out,
        corpus_size=corpus_size,
    )
    flagged = (scored["margin"] >= 0).to_numpy()
    event = scored["event"].to_numpy(dtype=bool)
    rows, n_wrong = [], []
    for kind in (flagged & ~event, ~flagged & event):
        wrong = np.flatnonzero(kind & scored["score"].notna())
        margin = scored["margin"].to_numpy()[wrong]
        n_wrong.append(len(wrong))
        wrong = wrong[np.argsort(-np.abs(margin), kind="stable")]
        copy = pd.Series(prepared.duplicate[wrong]).duplicated().to_numpy()
        rows.append(wrong[~copy][:size])
    chosen = np.concatenate(rows)
    table = scored.iloc[chosen].drop(columns=["event"])
    table.insert(1, "kind", np.where(event[chosen], MISSED, FALSE))
    texts = prepared.posts["text"].iloc[chosen]
    table["text"] = [_excerpt(text) for text in texts]
    names = source_names(prepared)
    table["images"] = ["|".join(names[prepared.post == row]) for row in chosen]
    pictures = [_thumbnails(prepared, row) for row in chosen]
    of = "held-out posts" if held_out else "posts of the fit, by out-of-fold scores"
    note = (
        f"{n_wrong[0]:,} false positives and {n_wrong[1]:,} missed events among "
        f"{int(scored['score'].notna().sum()):,} {of}; {len(rows[0])} and "
        f"{len(rows[1])} of them are shown."
    )
    threshold = float((scored["score"] - scored["margin"]).dropna().iloc[0])
    fitted = detector.fitted_
    return Errors(
        *(table.reset_index(drop=True), pictures, note),
        task=task_of(fitted),
        words=words_of(fitted, threshold),
    )


def labelled_scores(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    *,
    y_stage1: ArrayLike | None = None,
    held_out: bool = False,
    corpus_size: int | None = None,
) -> pd.DataFrame:
    """Return scores of labelled posts, from branches that did not see them.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows
        As for :func:`find_errors`.
    y : array-like of shape (n_posts,)
        Labels.
    y_stage1 : array-like of shape (n_posts,) or None, default=None
        As given to `fit`; not used with `held_out`.
    held_out : bool, default=False
        Whether the posts are not the training posts.
    corpus_size : int or None, default=None
        As for :func:`find_errors`.

    Returns
    -------
    DataFrame of n_posts rows
        ``id``, ``event``, ``margin``, ``score``, ``rule``, ``p_text``, ``p_image``,
        with a second stage ``stage`` and ``p_text_2``, and ``n_images``. Scores are
        NaN for posts that no fold tests, and held-out posts seen in training.

    Raises
    ------
    InputError
        As for :func:`find_errors`.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import labelled_scores
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(200, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> scored = labelled_scores(detector, posts, y)
    >>> bool(((scored["margin"] >= 0) & ~scored["event"]).any())
    True
    """
    check_is_fitted(detector)
    return _labelled_scores(
        *(detector, posts, y, y_stage1),
        held_out=held_out,
        corpus_size=corpus_size,
    )[1]


def _labelled_scores(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    y_stage1: ArrayLike | None,
    *,
    held_out: bool,
    corpus_size: int | None,
) -> tuple[Prepared, pd.DataFrame]:
    """Return the posts, and the table of their scores."""
    fitted, reading = detector.fitted_, Reading.of(detector)
    y, y_stage1 = aligned(y, posts, "y"), aligned(y_stage1, posts, "y_stage1")
    prepared = reading.read(posts, fitted.needed())
    check_some(len(prepared), "look at")
    check_corpus_size(fitted.policy, corpus_size)
    event = check_known_labels(y, len(prepared), fitted.classes, fitted.pos_label)
    if held_out:
        fitted.check_images([prepared])
        with shared_memo():
            prepared = fitted.examine(prepared, verbose=reading.verbose)
            fitted.check_images([prepared], decoding=True)
            scored = score_posts(fitted, prepared)
        scored["score"] = scored["score"].mask(fitted.seen(prepared))
        check_some(int(scored["score"].notna().sum()), "look at, none of the training")
    else:
        labels = Settings.of(detector, seed=0).check_labels(prepared, y, y_stage1)
        fitted.check_posts(prepared, *labels)
        scored = _out_of_fold(fitted)
    known = scored["score"].dropna()
    threshold = fitted.threshold
    if budget_of(fitted.policy):
        share = share_of_budget(fitted.policy, len(known), corpus_size)
        threshold = budget_threshold(known, share)
    scored = scored.assign(
        event=event,
        margin=scored["score"] - threshold,
        n_images=np.bincount(prepared.post, minlength=len(prepared)),
    )
    columns = ["id", "event", "margin", "score", "rule", "p_text", "p_image"]
    stages = [name for name in ("stage", "p_text_2") if name in scored]
    return prepared, scored[[*columns, *stages, "n_images"]]


def _out_of_fold(fitted: FittedDetector) -> pd.DataFrame:
    """Return the out-of-fold table with the columns of an audit."""
    table = fitted.record.out_of_fold
    scored = table.assign(rule=applied_rule(table["p_text"], table["p_image"]))
    if fitted.stages is not None:
        scored["stage"] = np.where(table["score"] >= 1, 2, 1)
    return scored


def _excerpt(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"


def _thumbnails(prepared: Prepared, row: int) -> list[bytes]:
    """Return small JPEGs of a post's first usable images."""
    usable = np.flatnonzero((prepared.post == row) & prepared.images.usable)
    pictures = []
    for i in usable[:_MOST]:
        image = prepared.images[i]
        image.thumbnail((2 * SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        pictures.append(file.getvalue())
    return pictures
