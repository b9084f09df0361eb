"""Outer and inner folds: grouped, by whole events, or forward in time."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from mmevent._common import as_whole
from mmevent.exceptions import InputError
from mmevent.posts.duplicates import connected_groups
from mmevent.posts.labels import Labels
from mmevent.posts.posts import parse_created_at, to_posts
from mmevent.rule.cuts import has_both

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    IntArray = NDArray[np.intp]


class Task(NamedTuple):
    """Fit on some posts, predict others."""

    train: IntArray
    test: IntArray


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
        n_splits = as_whole(self.n_splits)
        if n_splits is None or n_splits < 1:
            raise InputError(
                f"n_splits={self.n_splits!r} gives no test part: expected a whole "
                f"number of 1 or more. The default is 5."
            )
        return n_splits

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
        n_splits = self.get_n_splits()
        block = self._blocks(times, n_splits)
        group = connected_groups(np.arange(len(times)) if groups is None else groups)
        earliest = np.full(group.max() + 1, n_splits + 1)
        np.minimum.at(earliest, group, block)
        kept = block == earliest[group]
        for k in range(n_splits):
            yield (
                np.flatnonzero(kept & (block <= k)),
                np.flatnonzero(kept & (block == k + 1)),
            )

    def _blocks(self, times: NDArray[Any], n_splits: int) -> IntArray:
        numbers = np.arange(1, n_splits + 1)
        starts = np.sort(times)[numbers * len(times) // (n_splits + 1)]
        block = np.searchsorted(starts, times, side="right")
        if len(np.unique(block)) < n_splits + 1:
            raise InputError(
                f"created_at has too few distinct times: expected {n_splits + 1} "
                f"blocks with posts in each, got {len(np.unique(block))}. Lower "
                f"n_splits."
            )
        return block


class _OwnFolds(StratifiedGroupKFold):
    """What an int makes: stratified folds of groups and duplicates together."""


@dataclass(frozen=True)
class Folds:
    """Outer folds of a table of posts, and the inner folds of each training part.

    Parameters
    ----------
    outer : list of Task
        Training and test rows of each fold.
    inner : list of list of Task
        The inner folds of each outer training part; empty if there are none.
    seed : int or None
        Seed of the folds.
    forward : bool
        Whether the folds run forward in time.
    leaves_groups_out : bool
        Whether a splitter of the caller's made them.
    n_dropped : int
        Number of training rows dropped because a duplicate is in the test part.
    apart : tuple of ndarray of int of shape (n_posts,)
        Groups that training and test parts must not share, one array per kind.
    """

    outer: list[Task]
    inner: list[list[Task]]
    seed: int | None
    forward: bool
    leaves_groups_out: bool
    n_dropped: int
    apart: tuple[IntArray, ...]

    def without_twins(self, task: Task) -> Task:
        """Drop training rows that share a group or a duplicate with the test part."""
        return _without_twins(task, self.apart)


class FoldMaker:
    """Makes the folds of a table of posts; each `make` asks a splitter once.

    Parameters
    ----------
    cv : int or splitter
        An int makes stratified folds of whole groups.
    inner_cv : int, splitter or None
        Likewise; with `ForwardInTime` as `cv`, an int makes folds that run forward in
        time. None makes no inner folds.
    posts : DataFrame
        From `to_posts`.
    labels : Labels
        Events, and all groups joined.
    caller : array-like or None
        The caller's groups alone.
    duplicate : ndarray of int
        Groups of duplicates.
    seed : int or None
        Seed of the folds that an int makes.
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
        self.apart = (duplicate, *([] if self.caller is None else [self.caller]))
        self.cv = self._splitter(cv, "cv")
        self.forward = isinstance(cv, ForwardInTime)
        if self.forward and (n_splits := as_whole(inner_cv)) is not None:
            inner_cv = ForwardInTime(n_splits)
        self.inner_cv = (
            None if inner_cv is None else self._splitter(inner_cv, "inner_cv")
        )

    def make(self) -> Folds:
        """Make all folds; raise an InputError if these posts cannot be split so."""
        outer, n_dropped = self._tasks(self.cv, np.arange(len(self.posts)), "cv")
        return Folds(
            outer=outer,
            inner=self._inner(outer),
            seed=self.seed,
            forward=self.forward,
            leaves_groups_out=not isinstance(self.cv, (_OwnFolds, ForwardInTime)),
            n_dropped=n_dropped,
            apart=self.apart,
        )

    def check(self) -> None:
        """Validate that these groups allow such folds, before duplicates are known.

        Duplicates join groups, which only makes fewer of them: what is refused here is
        refused by `make` as well. A splitter of the caller's is copied, since it may
        split otherwise the second time; one that cannot be copied is not asked.
        """
        rows = np.arange(len(self.posts))
        if not isinstance(self.cv, _OwnFolds):
            if self.forward or self.caller is not None:
                copied = _copy_of(self.cv)
                if copied is not None:
                    self._tasks(copied, rows, "cv")
            return
        outer = self.cv.n_splits
        self._check_enough(self._fewest(rows), outer, "cv", len(rows))
        if isinstance(self.inner_cv, _OwnFolds):
            # Some training part has at most this many groups of the rarer class.
            left = self._fewest(rows) - -(-self._fewest(rows) // outer)
            self._check_enough(left, self.inner_cv.n_splits, "inner_cv", len(rows))

    def reduce(self, folds: Folds, share: float) -> Folds:
        """Keep a share of the groups of each training part; test parts stay whole.

        Raise an InputError if a training part has one class then, or cannot be split
        into inner folds.
        """
        outer = [Task(self._kept(task.train, share), task.test) for task in folds.outer]
        if not all(has_both(self.labels.event[task.train]) for task in outer):
            raise InputError("a training part has one class.")
        return replace(folds, outer=outer, inner=self._inner(outer))

    def _inner(self, outer: list[Task]) -> list[list[Task]]:
        if self.inner_cv is None:
            return []
        return [self._tasks(self.inner_cv, task.train, "inner_cv")[0] for task in outer]

    def _kept(self, rows: IntArray, share: float) -> IntArray:
        """Return the first groups of each class, in the same order for all shares."""
        labels, rng = self.labels, np.random.default_rng(self.seed)
        place = rng.permutation(labels.group.max() + 1)
        group = labels.group[rows]
        with_event = np.isin(group, group[labels.event[rows]])
        kept = np.zeros(len(rows), dtype=bool)
        for inside in (with_event, ~with_event):
            found = np.unique(group[inside])
            first = found[np.argsort(place[found])]
            kept |= np.isin(group, first[: int(np.ceil(share * len(found)))])
        return rows[kept]

    def _splitter(self, cv: Any, name: str) -> Any:
        if (n_splits := as_whole(cv)) is not None:
            if n_splits < 2:
                raise InputError(
                    f"{name}={cv} makes no folds: expected 2 or more, or a splitter. "
                    f"The default is 5."
                )
            return _OwnFolds(n_splits, shuffle=True, random_state=self.seed)
        if isinstance(cv, str) or not hasattr(cv, "split"):
            raise InputError(
                f"{name}={cv!r} splits nothing: expected an integer, or a splitter "
                f"with a method split, as scikit-learn's. Pass one of them."
            )
        return cv

    def _tasks(
        self, splitter: Any, rows: IntArray, name: str
    ) -> tuple[list[Task], int]:
        """Split some rows; return the folds, and how many rows they dropped."""
        own = isinstance(splitter, (_OwnFolds, ForwardInTime))
        group = self.labels.group if own or self.caller is None else self.caller
        event = self.labels.event[rows]
        if isinstance(splitter, _OwnFolds):
            self._check_enough(self._fewest(rows), splitter.n_splits, name, len(rows))
        posts = self.posts.iloc[rows]
        try:
            with warnings.catch_warnings():
                # Some splitters ignore groups and warn: see _without_twins below.
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
            _without_twins(Task(rows[train], rows[test]), self.apart)
            for train, test in split
        ]
        self._check_tasks(tasks, name)
        before = sum(len(train) for train, _ in split)
        return tasks, before - sum(len(task.train) for task in tasks)

    def _fewest(self, rows: IntArray) -> int:
        """Return the number of groups of the class that has fewer of them."""
        event, group = self.labels.event[rows], self.labels.group[rows]
        return min(len(np.unique(group[event == label])) for label in (True, False))

    def _check_enough(self, fewest: int, n_splits: int, name: str, n: int) -> None:
        if fewest < n_splits:
            raise InputError(
                f"{name}={n_splits} folds are too many: expected at least {n_splits} "
                f"groups of posts in each class, got {fewest} in the rarer one among "
                f"{n} posts. Lower {name}, or add posts of that class."
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


def _copy_of(splitter: Any) -> Any | None:
    """Return a copy of a splitter, or None where it cannot be copied."""
    try:
        return deepcopy(splitter)
    except Exception:  # whatever a splitter of the caller's holds
        return None


def _without_twins(task: Task, apart: Sequence[IntArray]) -> Task:
    twin = np.zeros(len(task.train), dtype=bool)
    for group in apart:
        twin |= np.isin(group[task.train], group[task.test])
    return Task(task.train[~twin], task.test)


def fold_numbers(tasks: list[Task], n_posts: int) -> IntArray:
    """Return the number of the fold that tests each post; -1 where none does."""
    fold = np.full(n_posts, -1, dtype=np.intp)
    for k, task in enumerate(tasks):
        fold[task.test] = k
    return fold
