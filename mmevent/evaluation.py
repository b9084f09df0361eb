"""The estimate: how well a detector does on posts that chose none of its parameters."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mmevent._estimation import Run
from mmevent._folds import ForwardInTime
from mmevent._metrics import Interval, Resampling
from mmevent._systems import FUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from mmevent.detector import EventDetector

    IntArray = NDArray[np.intp]

__all__ = ["Estimate", "ForwardInTime", "evaluate"]

_KINDS = {
    "nested": "nested cross-validation",
    "cross-fit": "cross-fitted (slightly optimistic: the branches saw the fold that "
    "tests them when they gave the probabilities that chose alpha, beta and threshold)",
    "held out": "held-out posts, never seen in training",
}
_FIGURES = ("f1", "precision", "recall", "average_precision")


@dataclass(frozen=True)
class Estimate:
    """Out-of-sample figures of a detector, its baselines, and their differences.

    Parameters
    ----------
    kind : {"nested", "cross-fit", "held out"}
        How posts were kept out of what was chosen.
    table : DataFrame
        One row for each slice of the posts (``all``, ``with images``, ``without
        images``) and system: F1, precision, recall and average precision, each with
        the ends of its 95% interval (``_low``, ``_high``), means over the seeds.
    differences : DataFrame
        F1 of the fused rule minus that of each baseline, paired, with its interval.
    by_seed : DataFrame
        F1 and average precision of each system with each seed of the folds.
    false_positive_rates : DataFrame
        Share of the negatives that the fused rule flags, by number of images.
    parameters : DataFrame
        alpha, beta, pool and threshold that each fold chose.
    leakage : dict
        How many posts share a group, and how many would have had a twin in training
        had groups been ignored.
    notes : list of str
        What a reader must know beside the figures.

    See Also
    --------
    evaluate : Makes one for a fitted detector.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent._demo import demo_branches
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, cv=2, inner_cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> detector.estimate_.to_frame().loc["fused", "n_posts"]
    np.int64(300)
    """

    kind: str
    table: pd.DataFrame
    differences: pd.DataFrame
    by_seed: pd.DataFrame
    false_positive_rates: pd.DataFrame
    parameters: pd.DataFrame
    leakage: dict[str, int]
    notes: list[str] = field(default_factory=list)

    def to_frame(self, slice: str = "all") -> pd.DataFrame:
        """Return the rows of one slice, indexed by system.

        Parameters
        ----------
        slice : {"all", "with images", "without images"}, default="all"
            Which posts.

        Returns
        -------
        DataFrame
            One row a system, with the columns of `table`.
        """
        rows = self.table[self.table["slice"] == slice]
        return rows.drop(columns="slice").set_index("system")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists, dicts, strings and numbers.

        Returns
        -------
        dict
            What is undefined is None.
        """
        frames = {
            name: json.loads(value.to_json(orient="records", double_precision=15))
            for name, value in vars(self).items()
            if isinstance(value, pd.DataFrame)
        }
        return {
            "kind": self.kind,
            **frames,
            "leakage": self.leakage,
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """Return everything as JSON.

        Returns
        -------
        str
            What is undefined is null.
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Estimate:
        """Make an estimate from what `to_dict` returned.

        Parameters
        ----------
        values : dict
            From `to_dict`, or read from JSON.

        Returns
        -------
        Estimate
        """
        frames = {
            name: _frame(value)
            for name, value in values.items()
            if name not in ("kind", "leakage", "notes")
        }
        return cls(
            kind=values["kind"],
            leakage=values["leakage"],
            notes=values["notes"],
            **frames,
        )

    def _heading(self) -> str:
        first = self.to_frame().iloc[0]
        seeds = self.by_seed["seed"].nunique()
        folds = f"{seeds} seed{'s' if seeds > 1 else ''} of the folds; "
        return (
            f"Estimate by {_KINDS[self.kind]}\n"
            f"{int(first['n_posts']):,} posts, {int(first['n_events']):,} events, "
            f"{self.leakage['n_groups']:,} groups; {folds if seeds else ''}"
            f"95% intervals in brackets"
        )

    def _sections(self) -> list[tuple[str, pd.DataFrame]]:
        slices = [name for name in self.table["slice"].unique() if name != "all"]
        by_slice = self.table[
            (self.table["system"] == FUSED) & self.table["slice"].isin(slices)
        ]
        sections = [
            ("All posts", _readable(self.to_frame())),
            ("F1 of fused minus", _readable_differences(self.differences)),
            ("Fused, by slice", _readable(by_slice.set_index("slice"))),
        ]
        if len(self.false_positive_rates):
            title = "False-positive rate of fused, by number of images"
            sections.append((title, _readable_rates(self.false_positive_rates)))
        return [(title, frame) for title, frame in sections if len(frame)]

    def __str__(self) -> str:
        parts = [self._heading()]
        parts += [f"{title}\n{_to_text(frame)}" for title, frame in self._sections()]
        if self.notes:
            parts.append("Notes\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self._heading()).replace(chr(10), '<br>')}</p>"]
        for title, frame in self._sections():
            parts.append(f"<h4>{html.escape(title)}</h4>{frame.to_html()}")
        items = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "\n".join([*parts, f"<ul>{items}</ul>" if items else ""])


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a frame; a column without values is one of missing numbers."""
    frame = pd.DataFrame(records)
    empty = [name for name in frame if frame[name].isna().all()]
    return frame.astype(dict.fromkeys(empty, np.float64))


def _to_text(frame: pd.DataFrame) -> str:
    """Return the table with one space between columns: it fits 100 characters."""
    rows = [["", *frame.columns], *([name, *row] for name, *row in frame.itertuples())]
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        " ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    )


def _with_interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    if np.isnan(value):
        return "undefined"
    if np.isnan(low):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.{digits}f}, {high:.{digits}f}]"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "f1": "F1",
        "precision": "precision",
        "recall": "recall",
        "average_precision": "average precision",
    }
    columns = {
        title: [
            _with_interval(*row, digits=2)
            for row in table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
        for name, title in names.items()
    }
    columns["flagged"] = [f"{value:,.0f}" for value in table["n_flagged"]]
    return pd.DataFrame(columns, index=list(table.index))


def _readable_differences(differences: pd.DataFrame) -> pd.DataFrame:
    values = differences[["difference", "low", "high"]].to_numpy(dtype=float)
    text = [f"{v:+.3f} [{low:+.3f}, {high:+.3f}]" for v, low, high in values]
    return pd.DataFrame({"difference": text}, index=list(differences["baseline"]))


def _readable_rates(rates: pd.DataFrame) -> pd.DataFrame:
    values = rates[["rate", "low", "high"]].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "negatives": rates["n_negatives"].to_list(),
            "rate": [_with_interval(*row) for row in values],
        },
        index=list(rates["n_images"]),
    )


def summarise(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    n_images: IntArray,
    *,
    kind: str,
    leakage: dict[str, int],
    notes: Sequence[str] = (),
    verbose: bool = False,
) -> Estimate:
    """Turn the scores of one or more runs into an estimate.

    Figures are means over the runs; intervals resample groups, the same groups in
    every run, so that they do not shrink with the number of seeds.
    """
    tested = runs[0].fold >= 0
    notes = list(notes)
    never = int((~tested).sum())
    if never:
        notes.append(
            f"{never} of {len(event)} posts are tested by no fold and count in no "
            f"figure."
        )
    slices = {
        "all": tested,
        "with images": tested & (n_images > 0),
        "without images": tested & (n_images == 0),
    }
    if not slices["with images"].any() or not slices["without images"].any():
        slices = {"all": tested}
    total = len(slices) * len(runs) * len(runs[0].scores)
    with tqdm(total=total, desc="Resampling groups", disable=not verbose) as bar:
        figures = {
            name: _Figures(runs, event, cluster, rows, bar.update)
            for name, rows in slices.items()
        }
    whole = figures["all"]
    if whole.resampling.small:
        notes.append(
            f"small number of clusters: {whole.resampling.n_groups} groups, so the "
            f"intervals are t-intervals over groups (jackknife), not a bootstrap."
        )
    table = [row for name, f in figures.items() for row in f.rows(name)]
    return Estimate(
        kind=kind,
        table=pd.DataFrame(table),
        differences=pd.DataFrame(
            whole.differences(), columns=["baseline", "difference", "low", "high"]
        ),
        by_seed=pd.DataFrame(whole.by_seed()),
        false_positive_rates=pd.DataFrame(
            _false_positive_rates(runs, event, cluster, n_images, tested)
        ),
        parameters=pd.DataFrame([row for run in runs for row in run.parameters]),
        leakage=leakage,
        notes=notes,
    )


class _Figures:
    """Figures of every system on some of the posts."""

    def __init__(
        self,
        runs: Sequence[Run],
        event: NDArray[np.bool_],
        cluster: IntArray,
        rows: NDArray[np.bool_],
        progress: Callable[[], object],
    ) -> None:
        self.runs, self.chosen, self.event = runs, rows, event[rows]
        self.progress = progress
        self.resampling = Resampling(cluster[rows])
        self.systems = list(runs[0].scores)
        self.replicates = {name: self._replicates(name) for name in self.systems}

    def _replicates(self, system: str) -> dict[str, NDArray[np.float64]]:
        """Each figure for each run, the sample first and then its resamples."""
        per_run = []
        for run in self.runs:
            figures = self.resampling.ratios(
                run.flagged(system)[self.chosen], self.event
            )
            figures["average_precision"] = self.resampling.average_precision(
                run.scores[system][self.chosen], self.event, run.fold[self.chosen]
            )
            per_run.append(figures)
            self.progress()
        return {name: np.array([f[name] for f in per_run]) for name in _FIGURES}

    def intervals(self, system: str) -> dict[str, Interval]:
        return {
            name: self.resampling.interval(values.mean(axis=0))
            for name, values in self.replicates[system].items()
        }

    def rows(self, slice_name: str) -> list[dict[str, Any]]:
        table = []
        for system in self.systems:
            flagged = [int(run.flagged(system)[self.chosen].sum()) for run in self.runs]
            row: dict[str, Any] = {
                "slice": slice_name,
                "system": system,
                "n_posts": int(self.chosen.sum()),
                "n_events": int(self.event.sum()),
                "n_flagged": float(np.mean(flagged)),
            }
            for name, interval in self.intervals(system).items():
                row |= {
                    name: interval.value,
                    f"{name}_low": interval.low,
                    f"{name}_high": interval.high,
                }
            table.append(row)
        return table

    def differences(self) -> list[tuple[str, float, float, float]]:
        fused = self.replicates[FUSED]["f1"]
        return [
            (
                name,
                *self.resampling.interval(
                    (fused - self.replicates[name]["f1"]).mean(axis=0)
                ),
            )
            for name in self.systems
            if name != FUSED
        ]

    def by_seed(self) -> list[dict[str, Any]]:
        return [
            {
                "seed": run.seed,
                "system": name,
                "f1": float(self.replicates[name]["f1"][i, 0]),
                "average_precision": float(
                    self.replicates[name]["average_precision"][i, 0]
                ),
            }
            for i, run in enumerate(self.runs)
            for name in self.systems
        ]


def _false_positive_rates(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    n_images: IntArray,
    tested: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    capped = np.minimum(n_images, 4)
    table = []
    for number in np.unique(capped[tested]):
        rows = tested & (capped == number) & ~event
        if not rows.any():
            continue
        resampling = Resampling(cluster[rows])
        total = resampling.sums(np.ones(int(rows.sum())))
        rates = [resampling.sums(run.flagged(FUSED)[rows]) for run in runs]
        with np.errstate(invalid="ignore"):
            mean = np.mean(rates, axis=0) / total
        interval = resampling.interval(mean)
        table.append(
            {
                "n_images": f"{number}" if number < 4 else "4 or more",
                "n_negatives": int(rows.sum()),
                "rate": interval.value,
                "low": interval.low,
                "high": interval.high,
            }
        )
    return table


def evaluate(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    held_out: bool = False,
    drop_seen: bool = False,
    seeds: Sequence[int] = (0,),
) -> Estimate:
    """Estimate how well a fitted detector does, out of sample.

    On the posts that it was fitted on, the whole of the fit is repeated with folds
    of other seeds. On other posts, the fitted detector predicts them once.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame or sequence of mappings, n_posts rows
        The training posts, in the order of `fit`, or, with `held_out`, others.
    y : array-like of shape (n_posts,)
        Labels, of the classes that `fit` was given.
    groups : array-like of shape (n_posts,) or None, default=None
        Posts that belong together; as given to `fit`.
    held_out : bool, default=False
        Whether the posts are not those of the training.
    drop_seen : bool, default=False
        Leave out held-out posts that share an id or a duplicate group with the
        training posts, instead of refusing them.
    seeds : sequence of int, default=(0,)
        Seeds of the folds; without `held_out` only.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If the posts are not those of the training and `held_out` is False, if
        held-out posts were training posts, or labels and groups do not fit.

    Examples
    --------
    >>> from mmevent import EventDetector, evaluate
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent._demo import demo_branches
    >>> text, image = demo_branches()
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> others, labels, _ = make_posts(100, random_state=1)
    >>> others["id"] = "new" + others["id"].astype(str)
    >>> evaluate(detector, others, labels, held_out=True, drop_seen=True).kind
    'held out'
    """
    if held_out:
        return detector._evaluate_held_out(posts, y, groups, drop_seen=drop_seen)
    return detector._evaluate_again(posts, y, groups, seeds=seeds)
