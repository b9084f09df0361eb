"""Checks on labels and groups, with their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import RandomState

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def check_labels(
    y: ArrayLike, n_posts: int, pos_label: Any = None
) -> tuple[NDArray[np.bool_], NDArray[Any], Any]:
    """Return which posts are events, the two classes sorted, and the positive one."""
    labels = as_labels(y, n_posts)
    missing = pd.isna(labels)
    if missing.any():
        raise InputError(
            f"y has missing labels: expected one for each post, got none in "
            f"{int(missing.sum())} of {n_posts}, first in rows "
            f"{np.flatnonzero(missing)[:5].tolist()}. Leave these posts out."
        )
    try:
        classes = np.unique(labels)
    except TypeError as error:
        raise InputError(
            f"y mixes labels that cannot be compared: expected two numbers or two "
            f"strings, got {error}. Convert the column."
        ) from error
    if len(classes) != 2:
        raise InputError(
            f"y has {len(classes)} classes: expected two, event and no event, got "
            f"{classes[:5].tolist()}. Turn the labels into two classes, as "
            f"y == 'protest' does."
        )
    positive = _positive(classes, pos_label)
    return np.asarray(labels == positive, dtype=bool), classes, positive


def check_known_labels(
    y: ArrayLike, n_posts: int, classes: NDArray[Any], positive: Any
) -> NDArray[np.bool_]:
    """Return which held-out posts are events; one class alone is fine."""
    labels = as_labels(y, n_posts)
    known = np.isin(labels, classes)
    if not known.all():
        raise InputError(
            f"y has other labels than the training: expected {classes.tolist()}, got "
            f"{labels[~known][:5].tolist()}. Code the held-out posts alike."
        )
    return np.asarray(labels == positive, dtype=bool)


def check_stage1(
    y_stage1: ArrayLike | None, event: NDArray[np.bool_], ids: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Return what the first stage learns, 1, 0 or NaN; None where nothing is given."""
    if y_stage1 is None:
        return None
    try:
        numbers = pd.to_numeric(
            pd.Series(as_labels(y_stage1, len(event)), dtype=object)
        )
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
        if not all(isinstance(c, (int, float, np.number, np.bool_)) for c in classes):
            raise InputError(
                f"the positive class cannot be told from y: expected two numbers or "
                f"booleans, of which the greater is positive, got {classes.tolist()}. "
                f"Pass pos_label={classes.tolist()[1]!r}, or the other one."
            )
        return classes[1]
    matches = np.flatnonzero(classes == pos_label)
    if len(matches) != 1:
        raise InputError(
            f"pos_label={pos_label!r} is no label of y: expected one of "
            f"{classes.tolist()}. Pass one of them."
        )
    return classes[matches[0]]


def as_labels(y: ArrayLike, n_posts: int) -> NDArray[Any]:
    """Return labels as an array of shape (n_posts,)."""
    labels = _array(y)
    if labels.shape != (n_posts,):
        raise InputError(
            f"y does not fit the posts: expected one label for each of {n_posts} "
            f"posts, got shape {labels.shape}. Pass the labels of these posts, in "
            f"their order."
        )
    if isinstance(y, (pd.Series, pd.Index)) and pd.api.types.is_bool_dtype(y.dtype):
        return labels if labels.dtype == object else labels.astype(bool)
    return labels


def _array(values: ArrayLike) -> NDArray[Any]:
    """Return values as an array; a missing one stays missing beside strings."""
    if isinstance(values, (np.ndarray, pd.Series, pd.Index)):
        return np.asarray(values)
    array = np.asarray(values)
    if array.dtype.kind == "U" and not all(isinstance(v, str) for v in values):  # type: ignore[union-attr]
        return np.asarray(values, dtype=object)
    return array


def check_groups(groups: ArrayLike | None, n_posts: int) -> NDArray[Any] | None:
    """Return the caller's groups as an array of shape (n_posts,), or None."""
    if groups is None:
        return None
    array = _array(groups).astype(object)
    if array.shape != (n_posts,):
        raise InputError(
            f"groups do not fit the posts: expected one for each of {n_posts} posts, "
            f"got shape {array.shape}. Pass the groups of these posts, in their order."
        )
    return array


def check_some(n_posts: int, what: str) -> None:
    """Refuse an empty table of posts."""
    if n_posts == 0:
        raise InputError(
            f"there are no posts to {what}: expected at least one, got 0. Check the "
            f"table or the filter that made it."
        )


def check_n_jobs(n_jobs: object) -> None:
    """Refuse what is no number of threads."""
    if n_jobs is not None and not (isinstance(n_jobs, (int, np.integer)) and n_jobs):
        raise InputError(
            f"n_jobs={n_jobs!r} is no number of threads: expected None or an integer "
            f"other than 0, where -1 is one for each core. Pass one of them."
        )


def check_seed(random_state: object) -> None:
    """Refuse what scikit-learn cannot take as a seed."""
    whole = isinstance(random_state, (int, np.integer)) and 0 <= random_state < 2**32
    if not (random_state is None or whole or isinstance(random_state, RandomState)):
        raise InputError(
            f"random_state={random_state!r} is no seed: expected None, an integer from "
            f"0 to 2**32 - 1, or a numpy RandomState. Pass an integer."
        )
