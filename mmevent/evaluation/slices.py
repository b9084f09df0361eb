"""Slices of posts: their figures, and how far these are from all other posts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent.evaluation.intervals import LEVEL, UNDEFINED, Interval
from mmevent.evaluation.metrics import SMALL, Counts, Resampling, scales
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys, free_name
from mmevent.posts.local_times import local_times
from mmevent.posts.naming import meant
from mmevent.posts.records import column, listed, to_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mmevent.evaluation.metrics import Factors, Weights
    from mmevent.posts.prepared import Prepared

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

MOST = 12  # slices of one kind; the rarest are joined
FIGURES = ("f1", "precision", "recall")
OTHER, MISSING = "(other)", "(missing)"
IMAGES, NUMBER, PERIOD = "images", "number of images", "period"
_LANGUAGES = ("language", "lang")
_UNITS = ("D", "W", "M", "Y")
_POSTS_A_PERIOD = 100


@dataclass(frozen=True)
class Slices:
    """The slices of posts: for each way to slice, the name of each post's slice.

    A name is None for a post that is in none of these slices.
    """

    names: dict[str, NDArray[Any]]
    notes: list[str]

    @classmethod
    def of(cls, prepared: Prepared, posts: Any, by: Sequence[str] = ()) -> Slices:
        """Slice posts by their images, period and language, and by the columns `by`.

        `posts` is what the caller gave, which has these columns.
        """
        check_by(posts, by)
        frame, came = to_frame(posts, [*_LANGUAGES, *by])
        number, notes = prepared.n_usable, []
        names = {
            IMAGES: np.where(number > 0, "with", "without"),
            NUMBER: _numbers(number),
        }
        if "created_at" in prepared.posts:
            try:
                names[PERIOD] = _periods(prepared.posts)
            except InputError as error:
                notes.append(f"no figures by period: {error}")
        for name in _LANGUAGES:
            if came.count(name) == 1:
                try:
                    names[name] = _frequent(column(frame, name))
                except InputError:
                    notes.append(f"lists in the column {name!r}: no figures by it.")
        for name in by:
            taken = name in (IMAGES, NUMBER, PERIOD)
            title = f"column {name}" if taken else str(name)
            names[title] = _frequent(column(frame, name))
        return cls(names, notes)

    def take(self, rows: IntArray) -> Slices:
        """Keep some posts, by row number."""
        return Slices({k: names[rows] for k, names in self.names.items()}, self.notes)


def check_by(posts: Any, by: Sequence[str]) -> None:
    """Validate `by`: the posts must have these columns, and no lists in them."""
    frame, came = to_frame(posts, list(by))
    missing = [name for name in by if name not in came]
    if missing:
        raise InputError(
            f"by={list(by)!r} names columns that posts do not have: expected some "
            f"of {listed(came)}, got {listed(missing)}.{meant(missing[0], came)} "
            f"Correct the names."
        )
    for name in by:
        _frequent(column(frame, name))


def _numbers(n_images: IntArray) -> NDArray[Any]:
    """Return the number of images of each post as a name; None without images."""
    names = np.where(n_images < 4, n_images.astype(str), "4 or more").astype(object)
    names[n_images == 0] = None
    return names


def _periods(posts: pd.DataFrame) -> NDArray[Any]:
    """Name the day, week, month or year of each post, the shortest with few periods."""
    times = local_times(posts)
    for unit in _UNITS:
        periods = times.dt.to_period(unit)
        if periods.nunique() <= min(MOST, len(posts) / _POSTS_A_PERIOD):
            break
    if unit == "W":
        return _frequent("week of " + periods.dt.start_time.dt.date.astype(str))
    return _frequent(periods)


def _frequent(values: pd.Series) -> NDArray[Any]:
    """Name the value of each post; the rarest values are joined."""
    keys = as_keys(values, f"the values of the column {values.name!r}")
    names = pd.Series(keys, dtype=object)
    names = names.fillna(free_name(MISSING, set(keys)))
    kept = names.value_counts().index
    if len(kept) > MOST:
        other = free_name(OTHER, set(kept))
        names = names.where(names.isin(kept[: MOST - 1]).to_numpy(), other)
    found: NDArray[Any] = names.to_numpy(dtype=object)
    return found


def slice_figures(
    flagged: Sequence[NDArray[np.bool_]],
    event: NDArray[np.bool_],
    cluster: IntArray,
    names: Mapping[str, NDArray[Any]],
    weights: Weights | None,
) -> list[dict[str, Any]]:
    """Compute figures of each slice, and how far they are from all other posts.

    Parameters
    ----------
    flagged : sequence of ndarray of bool of shape (n_posts,)
        What each run flags; figures are means over the runs.
    event : ndarray of bool of shape (n_posts,)
        Which posts are events.
    cluster : ndarray of int of shape (n_posts,)
        Posts that are resampled together.
    names : mapping of str to ndarray of shape (n_posts,)
        The slice of each post; a way to slice with one slice is left out.
    weights : Weights or None
        Of events and of others.

    Returns
    -------
    list of dict
        One per slice. The intervals of the differences (``f1_minus_rest`` and so on)
        hold for all slices and figures at once. They are NaN where a figure rests on
        fewer than 30 groups, within the slice or outside: too few for a bootstrap.
    """
    sample = _Sample(np.array(flagged), event, cluster, weights)
    parts = [part for by, values in names.items() for part in sample.parts(by, values)]
    if not parts:
        return []
    level = sample.joint_level(parts)
    return [sample.row(part, level) for part in parts]


class _Part(NamedTuple):
    """A slice: its posts, and figures of these and of all others in each resample."""

    by: str
    name: str
    posts: NDArray[np.bool_]
    here: dict[str, FloatArray]
    rest: dict[str, FloatArray]


class _Sample:
    """What runs flag, of shape (n_runs, n_posts), and the resamples of the posts."""

    def __init__(
        self,
        flagged: NDArray[np.bool_],
        event: NDArray[np.bool_],
        cluster: IntArray,
        weights: Weights | None,
    ) -> None:
        self.flagged, self.event, self.cluster = flagged, event, cluster
        self.weights, self.resampling = weights, Resampling(cluster)
        self.factors = self.resampling.factors(event, weights)

    def parts(self, by: str, values: NDArray[Any]) -> Iterator[_Part]:
        """Yield the slices by one column, if there are two."""
        found = sorted({name for name in values if name is not None}, key=_place)
        if len(found) < 2:
            return
        inside = values[:, None] == np.array(found, dtype=object)
        of_slices = _of_slices(
            self.resampling, self.flagged, self.event, inside, self.factors
        )
        for k, name in enumerate(found):
            here, rest = ({f: v[:, k] for f, v in of.items()} for of in of_slices)
            yield _Part(by, name, inside[:, k], here, rest)

    def joint_level(self, parts: Sequence[_Part]) -> float:
        """Return the level at which the intervals of all differences hold at once."""
        differences = [
            part.here[figure] - part.rest[figure]
            for part in parts
            for figure in self.compared(part)
        ]
        if not differences:
            return LEVEL
        return self.resampling.joint_level(np.column_stack(differences))

    def compared(self, part: _Part) -> list[str]:
        """Return the figures that rest on enough groups in the slice and outside."""
        if not self.event[part.posts].any():
            return []
        here, rest = (
            _n_groups(self.flagged, self.event, self.cluster, posts)
            for posts in (part.posts, ~part.posts)
        )
        return [f for f in FIGURES if min(here[f], rest[f]) >= SMALL]

    def row(self, part: _Part, level: float) -> dict[str, Any]:
        """Return the row of a slice in the table."""
        flagged, event = self.flagged[:, part.posts], self.event[part.posts]
        cluster = self.cluster[part.posts]
        row: dict[str, Any] = {
            "by": part.by,
            "slice": part.name,
            "n_posts": len(event),
            "n_events": int(event.sum()),
            "n_groups": len(np.unique(cluster)),
            "n_flagged": float(flagged.sum(axis=1).mean()),
        }
        if not event.any():  # no figure is defined
            found = dict.fromkeys(FIGURES, UNDEFINED)
        elif row["n_groups"] >= SMALL:
            found = self.intervals(part.here, part.posts)
        else:
            own = _Sample(flagged, event, cluster, self.weights)
            constant: Factors = self.weights or (1.0, 1.0)
            ratios = [own.resampling.ratios(run, event, constant) for run in flagged]
            found = own.intervals(_mean(ratios), np.ones(len(event), dtype=bool))
        for name, interval in found.items():
            row |= interval.cells(name)
        for name, interval in self.minus_rest(part, level).items():
            row |= interval.cells(f"{name}_minus_rest")
        return row

    def intervals(
        self,
        figures: dict[str, FloatArray],
        posts: NDArray[np.bool_],
        level: float = LEVEL,
    ) -> dict[str, Interval]:
        """Return the intervals of the figures of some posts."""
        flagged = self.flagged & posts
        event = np.broadcast_to(self.event & posts, flagged.shape)
        bases = self.resampling.bases(flagged, event)
        scale = scales(flagged, event, self.weights)
        return {
            f: self.resampling.interval(figures[f], bases[f], scale[f], level=level)
            for f in FIGURES
        }

    def minus_rest(self, part: _Part, level: float) -> dict[str, Interval]:
        """Return how far the figures of a slice are from those of all other posts.

        The interval combines those of both (Zou and Donner 2008, "Construction of
        confidence limits about effect measures", Statistics in Medicine 27).
        """
        found = dict.fromkeys(FIGURES, UNDEFINED)
        compared = self.compared(part)
        if compared:
            here = self.intervals(part.here, part.posts, level)
            rest = self.intervals(part.rest, ~part.posts, level)
        for figure in compared:
            (a, low, high), (b, least, most) = here[figure], rest[figure]
            down, up = np.hypot(a - low, most - b), np.hypot(high - a, b - least)
            found[figure] = Interval(a - b, a - b - float(down), a - b + float(up))
        return found


def _place(name: str) -> tuple[bool, int, str]:
    """Return the sort key of a slice: numbers by size, joined values last."""
    number = re.match(r"\d+", name)
    return name == OTHER, len(number[0]) if number else 0, name


def _of_slices(
    resampling: Resampling,
    flagged: NDArray[np.bool_],
    event: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    factors: Factors,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return figures of k slices, and outside each: (n_resamples + 1, k)."""
    here, rest = [], []
    everything = np.ones((len(event), 1), dtype=bool)
    for one in flagged:
        counts = resampling.count(one, event, inside)
        total = resampling.count(one, event, everything)
        others = Counts(*(a - b for a, b in zip(total, counts, strict=True)))
        scale = [np.reshape(f, (-1, 1)) for f in factors]
        here.append(counts.weighted((scale[0], scale[1])).ratios())
        rest.append(others.weighted((scale[0], scale[1])).ratios())
    return _mean(here), _mean(rest)


def _n_groups(
    flagged: NDArray[np.bool_],
    event: NDArray[np.bool_],
    cluster: IntArray,
    posts: NDArray[np.bool_],
) -> dict[str, int]:
    """Count the groups that each figure rests on."""
    n_flagged = min(len(np.unique(cluster[posts & one])) for one in flagged)
    n_events = len(np.unique(cluster[posts & event]))
    f1 = min(n_flagged, n_events)
    return {"f1": f1, "precision": n_flagged, "recall": n_events}


def _mean(runs: Sequence[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.mean([run[name] for run in runs], axis=0) for name in FIGURES}


def worse_served(table: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note for each slice with lower figures than the rest, beyond chance."""
    return [
        f"{row['by']} {row['slice']}: {figure.replace('f1', 'F1')} lower by "
        f"{-row[f'{figure}_minus_rest']:.3f} than in other posts, beyond chance."
        for row in table
        for figure in FIGURES
        if row[f"{figure}_minus_rest_high"] < 0
    ]
