"""Labels and groups of posts, validated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.random import RandomState

from mmevent._common import as_whole
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    IntArray = NDArray[np.intp]


_NA_OF_R = ("NA", -(2**31))  # NA as R hands it on: in its CSV files, and as an integer


def check_labels(
    y: ArrayLike, n_posts: int, pos_label: Any = None
) -> tuple[NDArray[np.bool_], NDArray[Any], Any]:
    """Validate labels; return the events, the two sorted classes, and the positive."""
    labels = as_labels(y, n_posts)
    _check_present(labels)
    try:
        classes = np.unique(labels)
    except TypeError as error:
        raise InputError(
            f"y mixes labels that cannot be compared: expected two numbers or two "
            f"strings, got {error}. Convert the column."
        ) from error
    check_spelling(classes)
    if len(classes) != 2:
        noun = "class" if len(classes) == 1 else "classes"
        raise InputError(
            f"y has {len(classes)} {noun}: expected two, event and no event, got "
            f"{_counted(labels)}. Leave out the posts of other classes, or make two "
            f"classes of these."
        )
    positive = _positive(classes, pos_label)
    return np.asarray(labels == positive, dtype=bool), classes, positive


def _check_present(labels: NDArray[Any]) -> None:
    missing = pd.isna(labels) | pd.Series(labels, dtype=object).isin(_NA_OF_R)
    if missing.any():
        raise InputError(
            f"y has missing labels: expected one for each post, got none in "
            f"{int(missing.sum())} of {len(labels)}, first in rows "
            f"{np.flatnonzero(missing)[:5].tolist()}. Leave these posts out; a label "
            f"that is NA in R is missing too."
        )


def check_spelling(classes: NDArray[Any], what: str = "y") -> None:
    """Validate that no two distinct labels differ by case or spaces alone."""
    spellings: dict[str, list[str]] = {}
    for label in dict.fromkeys(classes.tolist()):
        if isinstance(label, str):
            spellings.setdefault(_plain(label), []).append(label)
    alike = [label for same in spellings.values() if len(same) > 1 for label in same]
    if alike:
        raise InputError(
            f"{what} has labels that differ by case or spaces alone: expected one "
            f"spelling of each, got {', '.join(map(repr, alike[:6]))}. Spell them "
            f"alike."
        )


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())


def _counted(labels: NDArray[Any]) -> str:
    """Return the five most frequent labels with the number of their posts."""
    counts = pd.Series(labels).value_counts().head(5).sort_index()
    listed = [f"{label!r} ({n:,})" for label, n in counts.to_dict().items()]
    return ", ".join(listed) or "none"


def check_known_labels(
    y: ArrayLike, n_posts: int, classes: NDArray[Any], positive: Any
) -> NDArray[np.bool_]:
    """Validate labels of held-out posts; return the events. One class is enough."""
    labels = as_labels(y, n_posts)
    _check_present(labels)
    names = classes.tolist()
    others = pd.unique(pd.Series([x for x in labels.tolist() if x not in names]))
    if len(others):
        alike = {_plain(name) for name in names if isinstance(name, str)}
        spelled = any(isinstance(x, str) and _plain(x) in alike for x in others)
        hint = " Some differ by case or spaces alone." if spelled else ""
        raise InputError(
            f"y has other labels than the training: expected {names}, got "
            f"{others[:5].tolist()}.{hint} Code the held-out posts with the same "
            f"labels."
        )
    return np.asarray(labels == positive, dtype=bool)


def check_stage1(
    y_stage1: ArrayLike | None, event: NDArray[np.bool_], ids: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Validate labels of the first stage; return 1, 0 or NaN, or None if not given."""
    if y_stage1 is None:
        return None
    labels = as_labels(y_stage1, len(event), name="y_stage1")
    try:
        numbers = pd.to_numeric(pd.Series(labels, dtype=object))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"y_stage1 holds other than numbers: expected 1 for posts that stage 1 is "
            f"to find, 0 for others, and nothing where it is unknown, got: {error}. "
            f"Convert the labels."
        ) from error
    stage1: NDArray[np.float64] = numbers.to_numpy(np.float64, na_value=np.nan)
    values = np.unique(stage1[~np.isnan(stage1)])
    if values.tolist() != [0.0, 1.0]:
        raise InputError(
            f"y_stage1 has the values {values[:5].tolist()}: expected both 0 and 1, "
            f"and nothing where it is unknown. Stage 1 learns from both."
        )
    wrong = event & (stage1 == 0)
    if wrong.any():
        raise InputError(
            f"y_stage1 contradicts y in {int(wrong.sum())} posts: expected every event "
            f"to be relevant to stage 1, or unknown, got 0 for the posts with ids "
            f"{ids[wrong][:5].tolist()}. Correct one of the labels."
        )
    return stage1


def _positive(classes: NDArray[Any], pos_label: Any) -> Any:
    if pos_label is None:
        if classes.tolist() != [0, 1]:  # True and False are equal to them
            raise InputError(
                f"the positive class cannot be told from y: expected 0 and 1, or False "
                f"and True, got {classes.tolist()}. Say which label is an event: pass "
                f"pos_label={classes.tolist()[1]!r}, or the other one."
            )
        return classes[1]
    matches = np.flatnonzero(classes == pos_label)
    if len(matches) != 1:
        raise InputError(
            f"pos_label={pos_label!r} is no label of y: expected one of "
            f"{classes.tolist()}. Pass one of them."
        )
    return classes[matches[0]]


def as_labels(y: ArrayLike, n_posts: int, *, name: str = "y") -> NDArray[Any]:
    """Validate the shape of labels; return them as an array of shape (n_posts,)."""
    labels = to_array(y)
    check_scalars(labels, name)
    if labels.shape != (n_posts,):
        raise InputError(
            f"{name} does not fit the posts: expected one label for each of {n_posts} "
            f"posts, got shape {labels.shape}. Pass the labels of these posts, in "
            f"their order."
        )
    if isinstance(y, (pd.Series, pd.Index)) and pd.api.types.is_bool_dtype(y.dtype):
        return labels if labels.dtype == object else labels.astype(bool)
    return labels


def check_scalars(labels: NDArray[Any], name: str) -> None:
    """Validate that no label is a list, as annotation tools write several labels."""
    if labels.dtype != object:
        return
    several = [x for x in labels.ravel() if isinstance(x, _SEVERAL)]
    if several:
        raise InputError(
            f"{name} has labels that are of type {type(several[0]).__name__}: expected "
            f"one number, text or boolean for each post, got {several[0]!r:.100} in "
            f"the first of {len(several)} such posts. Make one label of each."
        )


_SEVERAL = (list, tuple, set, dict, np.ndarray)


def to_array(values: ArrayLike) -> NDArray[Any]:
    """Return values as an array, in which a missing value beside strings stays so."""
    if isinstance(values, (np.ndarray, pd.Series, pd.Index)):
        return np.asarray(values)
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return np.fromiter(values, dtype=object)  # type: ignore[arg-type]
    if array.dtype.kind == "U" and not all(isinstance(v, str) for v in values):  # type: ignore[union-attr]
        return np.asarray(values, dtype=object)
    return array


def check_groups(groups: ArrayLike | None, n_posts: int) -> NDArray[Any] | None:
    """Validate groups; return an array of shape (n_posts,), or None."""
    if groups is None:
        return None
    array = _exact(groups)
    if array.shape != (n_posts,):
        raise InputError(
            f"groups do not fit the posts: expected one for each of {n_posts} posts, "
            f"got shape {array.shape}. Pass the groups of these posts, in their order."
        )
    return array


def _exact(values: ArrayLike) -> NDArray[Any]:
    """Return values as objects; long integers beside a gap do not become floats."""
    if isinstance(values, pd.Series | pd.Index):
        values = values.astype(object).to_numpy()
    kept = isinstance(values, np.ndarray)
    array: NDArray[Any] = np.asarray(values, dtype=None if kept else object)
    return array


def check_some(n_posts: int, what: str) -> None:
    """Validate that there is at least one post."""
    if n_posts == 0:
        raise InputError(
            f"there are no posts to {what}: expected at least one, got 0. Check the "
            f"table or the filter that made it."
        )


def check_n_jobs(n_jobs: object) -> int | None:
    """Validate `n_jobs`, and return it."""
    if n_jobs is not None and not as_whole(n_jobs):
        raise InputError(
            f"n_jobs={n_jobs!r} is no number of threads: expected None or an integer "
            f"other than 0, where -1 is one for each core. Pass one of them."
        )
    return as_whole(n_jobs)


def check_seed(random_state: object) -> int | RandomState | None:
    """Validate `random_state`, and return it."""
    if random_state is None or isinstance(random_state, RandomState):
        return random_state
    seed = as_whole(random_state)
    if seed is None or not 0 <= seed < 2**32:
        raise InputError(
            f"random_state={random_state!r} is no seed: expected None, an integer from "
            f"0 to 2**32 - 1, or a numpy RandomState. Pass an integer."
        )
    return seed


class Labels(NamedTuple):
    """Labels for fitting: which posts are events, and their groups.

    `stage1`, if given, has the labels of the first of two stages: 1, 0, or NaN for
    posts that the first stage does not learn from.
    """

    event: NDArray[np.bool_]
    group: IntArray
    stage1: NDArray[np.float64] | None = None

    def take(self, rows: IntArray) -> Labels:
        """Return the labels of some posts."""
        stage1 = None if self.stage1 is None else self.stage1[rows]
        return Labels(self.event[rows], self.group[rows], stage1)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which posts the first stage learns from."""
        if self.stage1 is None:
            return np.ones(len(self.event), dtype=bool)
        return ~np.isnan(self.stage1)

    @property
    def first(self) -> Labels:
        """Labels of the first stage; valid for the `known` posts only."""
        if self.stage1 is None:
            return self
        return Labels(self.stage1 == 1, self.group)

    @property
    def second(self) -> Labels:
        """Labels of the second stage."""
        return Labels(self.event, self.group)
