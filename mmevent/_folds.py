"""Outer and inner folds: grouped, by whole events, or forward in time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmevent._branches import Labels, Task
from mmevent.exceptions import InputError
from mmevent.posts import connected_groups, parse_created_at, to_posts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    IntArray = NDArray[np.intp]


class ForwardInTime:
    """Splitter that trains on earlier posts and tests on later ones.

    The posts are cut into ``n_splits + 1`` blocks of about equal size by time. Split k
    trains on blocks 0 to k and tests on block k + 1; the first block is never tested.
    A group belongs to its earliest block: its members in later blocks are left out.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits, at least 1.

    See Also
    --------
    sklearn.model_selection.TimeSeriesSplit : The same by row order, without groups.

    Examples
    --------
    >>> from mmevent import ForwardInTime
    >>> posts = [{"text": "a", "created_at": f"2024-03-0{i}"} for i in range(1, 7)]
    >>> for train, test in ForwardInTime(n_splits=2).split(posts):
    ...     print(train, test)
    [0 1] [2 3]
    [0 1 2 3] [4 5]
    """

    def __init__(self, n_splits: int = 5) -> None:
        self.n_splits = n_splits

    def __repr__(self) -> str:
        return f"ForwardInTime(n_splits={self.n_splits})"

    def get_n_splits(
        self, X: object = None, y: object = None, groups: object = None
    ) -> int:
        """Return the number of splits.

        Parameters
        ----------
        X, y, groups : object, default=None
            Ignored.

        Returns
        -------
        int
        """
        return self.n_splits

    def split(
        self,
        X: pd.DataFrame | Any,
        y: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield the rows of each training and test part.

        Parameters
        ----------
        X : DataFrame or sequence of mappings
            Posts with `created_at`.
        y : object, default=None
            Ignored.
        groups : array-like of shape (n_posts,) or None, default=None
            Posts that belong together.

        Yields
        ------
        train, test : ndarray of int
            Row numbers.

        Raises
        ------
        InputError
            If a time is missing or does not parse, or there are too few distinct
            times for the blocks.
        """
        times = parse_created_at(to_posts(X)).to_numpy()
        if self.n_splits < 1:
            raise InputError(
                f"n_splits={self.n_splits} gives no test part: expected 1 or more. "
                f"The default is 5."
            )
        block = self._blocks(times)
        group = connected_groups(np.arange(len(times)) if groups is None else groups)
        earliest = np.full(group.max() + 1, self.n_splits + 1)
        np.minimum.at(earliest, group, block)
        kept = block == earliest[group]
        for k in range(self.n_splits):
            yield (
                np.flatnonzero(kept & (block <= k)),
                np.flatnonzero(kept & (block == k + 1)),
            )

    def _blocks(self, times: NDArray[Any]) -> IntArray:
        numbers = np.arange(1, self.n_splits + 1)
        starts = np.sort(times)[numbers * len(times) // (self.n_splits + 1)]
        block = np.searchsorted(starts, times, side="right")
        if len(np.unique(block)) < self.n_splits + 1:
            raise InputError(
                f"created_at has too few distinct times: expected {self.n_splits + 1} "
                f"blocks with posts in each, got {len(np.unique(block))}. Lower "
                f"n_splits."
            )
        return block


class _OwnFolds(StratifiedGroupKFold):
    """What an int makes: stratified folds of groups and duplicates together."""


class Folds:
    """Outer and inner folds of a table of posts.

    Parameters
    ----------
    cv, inner_cv : int or splitter
        An int makes stratified folds of whole groups, or, for `inner_cv` where `cv`
        is a `ForwardInTime`, folds that run forward in time.
    posts : DataFrame
        From `to_posts`.
    labels : Labels
        Events, and the connected components of the caller's groups and duplicates.
    caller : array-like or None
        The caller's groups.
    duplicate : ndarray of int
        Groups of duplicates.
    seed : int or None
        Seed of the folds that are made here.
    """

    def __init__(
        self,
        cv: Any,
        inner_cv: Any,
        *,
        posts: pd.DataFrame,
        labels: Labels,
        caller: NDArray[Any] | None,
        duplicate: IntArray,
        seed: int | None,
    ) -> None:
        self.posts, self.labels, self.seed = posts, labels, seed
        self.caller = None if caller is None else connected_groups(caller)
        self.duplicate = duplicate
        self.cv = self._splitter(cv, "cv")
        forward = isinstance(cv, ForwardInTime)
        if forward and isinstance(inner_cv, (int, np.integer)):
            inner_cv = ForwardInTime(int(inner_cv))
        self.inner_cv = (
            None if inner_cv is None else self._splitter(inner_cv, "inner_cv")
        )
        self.forward = forward
        self.dropped = 0

    def _splitter(self, cv: Any, name: str) -> Any:
        if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
            if cv < 2:
                raise InputError(
                    f"{name}={cv} makes no folds: expected 2 or more, or a splitter. "
                    f"The default is 5."
                )
            return _OwnFolds(int(cv), shuffle=True, random_state=self.seed)
        if isinstance(cv, str) or not hasattr(cv, "split"):
            raise InputError(
                f"{name}={cv!r} splits nothing: expected an integer, or a splitter "
                f"with a method split, as scikit-learn's. Pass one of them."
            )
        return cv

    @property
    def leaves_groups_out(self) -> bool:
        """Whether a caller's splitter leaves whole caller's groups out."""
        return not isinstance(self.cv, (_OwnFolds, ForwardInTime))

    def check(self) -> None:
        """Refuse folds that cannot be made, before any model is loaded."""
        for task in self.outer():
            if self.inner_cv is not None:
                self.inner(task.train)

    def outer(self) -> list[Task]:
        """Make the outer folds; `dropped` counts the training rows that they lost."""
        tasks, self.dropped = self._tasks(self.cv, np.arange(len(self.posts)), "cv")
        return tasks

    def inner(self, rows: IntArray) -> list[Task]:
        """Make the inner folds of a training part."""
        return self._tasks(self.inner_cv, rows, "inner_cv")[0]

    def _tasks(
        self, splitter: Any, rows: IntArray, name: str
    ) -> tuple[list[Task], int]:
        own = isinstance(splitter, (_OwnFolds, ForwardInTime))
        group = self.labels.group if own or self.caller is None else self.caller
        event = self.labels.event[rows]
        if isinstance(splitter, _OwnFolds):
            self._check_enough(rows, splitter.n_splits, name)
        posts = self.posts.iloc[rows]
        try:
            with warnings.catch_warnings():
                # Some ignore groups and say so: group-mates are dropped below.
                warnings.filterwarnings("ignore", "The groups parameter is ignored")
                split = list(splitter.split(posts, event.astype(int), group[rows]))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(
                f"{name}={splitter!r} cannot split these {len(rows)} posts: {error}. "
                f"Pass another splitter, or an integer for grouped folds."
            ) from error
        tasks = [
            self.without_twins(Task(rows[train], rows[test])) for train, test in split
        ]
        self._check_tasks(tasks, name)
        before = sum(len(train) for train, _ in split)
        return tasks, before - sum(len(task.train) for task in tasks)

    def without_twins(self, task: Task) -> Task:
        """Drop training rows with a duplicate, or a group-mate, in the test part."""
        twin = np.isin(self.duplicate[task.train], self.duplicate[task.test])
        if self.caller is not None:
            twin |= np.isin(self.caller[task.train], self.caller[task.test])
        return Task(task.train[~twin], task.test)

    def _check_enough(self, rows: IntArray, n_splits: int, name: str) -> None:
        event, group = self.labels.event[rows], self.labels.group[rows]
        fewest = min(len(np.unique(group[event == label])) for label in (True, False))
        if fewest < n_splits:
            raise InputError(
                f"{name}={n_splits} folds are too many: expected at least {n_splits} "
                f"groups of posts in each class, got {fewest} in the rarer one among "
                f"{len(rows)} posts. Lower {name}, or add posts of that class."
            )

    def _check_tasks(self, tasks: list[Task], name: str) -> None:
        tested = np.concatenate([np.empty(0, int), *(task.test for task in tasks)])
        if len(tested) == 0 or len(np.unique(tested)) < len(tested):
            raise InputError(
                f"{name} tests no post, or some post twice: expected folds whose test "
                f"parts do not overlap. Pass a splitter that partitions the posts."
            )
        for task in tasks:
            event = self.labels.event[task.train]
            if event.all() or not event.any():
                raise InputError(
                    f"{name} leaves one class to train on: expected both in each "
                    f"training part, got {int(event.sum())} positives among "
                    f"{len(event)} posts. Use fewer folds, or add posts."
                )


def fold_numbers(tasks: list[Task], n_posts: int) -> IntArray:
    """Return the number of the fold that tests each post; -1 where none does."""
    fold = np.full(n_posts, -1, dtype=np.intp)
    for k, task in enumerate(tasks):
        fold[task.test] = k
    return fold
