"""From the scores of runs to the figures and intervals of an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mmevent.evaluation.baselines import BOTH, STAGE_1, whole
from mmevent.evaluation.estimate import Estimate
from mmevent.evaluation.intervals import F1, Interval
from mmevent.evaluation.metrics import Resampling, Weights, divide, scales
from mmevent.evaluation.nested import CROSS_FITTED, Run
from mmevent.evaluation.slices import Slices, slice_figures, worse_served
from mmevent.evaluation.spread import GIVEN_STAGE_1, Spread
from mmevent.exceptions import InputError
from mmevent.rule.cuts import has_both

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mmevent.evaluation.metrics import Factors

    IntArray = NDArray[np.intp]

_N_BINS = 10
_FIGURES = ("f1", "precision", "recall", "average_precision")


def summarise(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    n_images: IntArray,
    *,
    kind: str,
    leakage: dict[str, int],
    slices: Slices,
    prevalence: float | None = None,
    notes: Sequence[str] = (),
    verbose: bool = False,
) -> Estimate:
    """Turn the scores of one or more runs into an estimate.

    Figures are means over the runs. Intervals use the same resamples in every run, so
    they do not shrink with the number of seeds.
    """
    tested = runs[0].fold >= 0
    weights = None
    if prevalence is not None:
        weights = _weights(prevalence, event[tested])
    said = notes_of(runs, event, kind=kind, prevalence=prevalence)
    notes = [*notes, *slices.notes, *said]
    runs = kept_systems(runs)
    system = whole(runs[0].scores)
    parts = {
        "all": tested,
        "with images": tested & (n_images > 0),
        "without images": tested & (n_images == 0),
    }
    if not parts["with images"].any() or not parts["without images"].any():
        parts = {"all": tested}
    total = len(parts) * len(runs) * len(runs[0].scores)
    with tqdm(total=total, desc="Resampling groups", disable=not verbose) as bar:
        figures = {
            name: _Figures(
                *(runs, event, cluster, rows, weights, bar.update),
                of_all=name == "all",
            )
            for name, rows in parts.items()
        }
    of_all = figures["all"]
    if of_all.resampling.small:
        notes.append(
            f"small number of clusters: {of_all.resampling.n_groups} groups, so the "
            f"variances are those of the jackknife over groups, not of a bootstrap."
        )
    by_slice = slice_figures(
        [run.flagged(system)[tested] for run in runs],
        event[tested],
        cluster[tested],
        {by: names[tested] for by, names in slices.names.items()},
        weights,
    )
    notes += worse_served(by_slice)
    table = [row for name, f in figures.items() for row in f.rows(name)]
    return Estimate(
        kind=kind,
        table=pd.DataFrame(table),
        differences=pd.DataFrame(
            of_all.differences(), columns=["baseline", "difference", "low", "high"]
        ),
        by_seed=pd.DataFrame(of_all.by_seed()),
        false_positive_rates=pd.DataFrame(
            _false_positive_rates(runs, event, cluster, n_images, tested)
        ),
        slices=pd.DataFrame(by_slice),
        parameters=pd.DataFrame([row for run in runs for row in run.parameters]),
        brier=pd.DataFrame(_brier(runs, event, cluster, tested)),
        prevalence=prevalence,
        reliability=pd.DataFrame(_reliability(runs, event, cluster, tested)),
        leakage=leakage,
        notes=notes,
    )


def _weights(prevalence: float, event: NDArray[np.bool_]) -> Weights:
    if not has_both(event):
        raise InputError(
            f"prevalence={prevalence!r} needs events and others: expected both among "
            f"the {len(event)} posts that are tested, got {int(event.sum())} events. "
            f"Leave it out."
        )
    return Weights.at(prevalence, event)


class _Figures:
    """Figures of every system on some of the posts."""

    def __init__(
        self,
        runs: Sequence[Run],
        event: NDArray[np.bool_],
        cluster: IntArray,
        rows: NDArray[np.bool_],
        weights: Weights | None,
        progress: Callable[[], object],
        *,
        of_all: bool,
    ) -> None:
        self.runs, self.chosen, self.event = runs, rows, event[rows]
        self.progress = progress
        self.resampling = Resampling(cluster[rows])
        # The share of events within a slice is not known: its weights are constant.
        self.weights = weights
        self.factors: Factors = weights or (1.0, 1.0)
        if of_all:
            self.factors = self.resampling.factors(self.event, weights)
        self.systems = list(runs[0].scores)
        self.replicates = {name: self._replicates(name) for name in self.systems}
        if BOTH in self.systems:
            self.replicates[GIVEN_STAGE_1] = self._given_stage_1()
        self.spread = Spread(runs, rows, self.event, self.factors)

    def _replicates(self, system: str) -> dict[str, NDArray[np.float64]]:
        """Return each figure for each run: the sample, then its resamples."""
        per_run = []
        for run in self.runs:
            figures = self.resampling.ratios(
                run.flagged(system)[self.chosen], self.event, self.factors
            )
            figures["average_precision"] = self.resampling.average_precision(
                run.ranks(system)[self.chosen], self.event, self.factors
            )
            per_run.append(figures)
            self.progress()
        return {name: np.array([f[name] for f in per_run]) for name in _FIGURES}

    def _given_stage_1(self) -> dict[str, NDArray[np.float64]]:
        """Return figures of the second stage among the posts that the first flags."""
        per_run = []
        for run in self.runs:
            judged = run.flagged(STAGE_1)[self.chosen]
            flagged = run.flagged(BOTH)[self.chosen]
            counts = self.resampling.count(flagged, self.event, judged)
            per_run.append(counts.weighted(self.factors).ratios())
        missing = np.full_like(per_run[0]["f1"], np.nan)
        return {
            name: np.array([f.get(name, missing) for f in per_run]) for name in _FIGURES
        }

    def intervals(self, system: str) -> dict[str, Interval]:
        judged, flagged = self._judged(system)
        event = judged & self.event
        bases = self.resampling.bases(flagged, event)
        scale = scales(flagged, event, self.weights)
        found = {}
        for name, values in self.replicates[system].items():
            figures, basis = values.mean(axis=0), bases[name]
            added = self.spread.of_figure(system, name)
            df = added.degrees(self.resampling.variance(figures), basis.n_groups)
            found[name] = self.resampling.interval(
                figures, basis, scale[name], added=added.variance, df=df
            )
        return found

    def rows(self, slice_name: str) -> list[dict[str, Any]]:
        table = []
        for system in self.replicates:
            row = {
                "slice": slice_name,
                "system": system,
                **self._counts(system),
            }
            for name, interval in self.intervals(system).items():
                row |= interval.cells(name)
            table.append(row)
        return table

    def _counts(self, system: str) -> dict[str, float]:
        """Return mean numbers of posts, events and flagged posts over the runs."""
        judged, flagged = self._judged(system)
        return {
            "n_posts": round(judged.sum() / len(self.runs)),
            "n_events": round((judged & self.event).sum() / len(self.runs)),
            "n_groups": self.resampling.n_groups,
            "n_flagged": flagged.sum() / len(self.runs),
        }

    def _judged(self, system: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return what each run judges, and what of it it flags: (n_runs, n_posts)."""
        judged = np.ones((len(self.runs), len(self.event)), dtype=bool)
        if system == GIVEN_STAGE_1:
            judged, system = self._flagged(STAGE_1), BOTH
        return judged, judged & self._flagged(system)

    def _flagged(self, system: str) -> NDArray[np.bool_]:
        return np.array([run.flagged(system)[self.chosen] for run in self.runs])

    def differences(self) -> list[tuple[str, float, float, float]]:
        system = whole(self.systems)
        return [
            (name, *self._difference(system, name))
            for name in self.systems
            if name not in (system, STAGE_1)
        ]

    def _difference(self, one: str, other: str) -> Interval:
        f1 = self.replicates[one]["f1"] - self.replicates[other]["f1"]
        first, second = self._flagged(one), self._flagged(other)
        either = (first | second | self.event).mean(axis=0)
        basis = self.resampling.basis(either, (first != second).mean(axis=0))
        highest = max(self.replicates[s]["f1"][:, 0].mean() for s in (one, other))
        figures, added = f1.mean(axis=0), self.spread.of_difference(one, other)
        return self.resampling.difference(
            figures,
            basis,
            per_share=1.0 / F1.slope(highest),
            added=added.variance,
            df=added.degrees(self.resampling.variance(figures), basis.n_groups),
        )

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


def _brier(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    tested: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """Return Brier scores of calibrated probabilities and of the prevalence alone."""
    p = [run.probability[tested] for run in runs if run.probability is not None]
    if not p:
        return []
    y, resampling = event[tested], Resampling(cluster[tested])
    errors = {
        "calibrated": np.mean([(one - y) ** 2 for one in p], axis=0),
        "prevalence for all": (y.mean() - y) ** 2,
    }
    return [
        {"probabilities": name, **_mean(resampling, error)._asdict()}
        for name, error in errors.items()
    ]


def _reliability(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    tested: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """Return the share of events in each tenth of the posts by probability."""
    if runs[0].probability is None:
        return []
    p = np.concatenate(
        [r.probability[tested] for r in runs if r.probability is not None]
    )
    y, group = np.tile(event[tested], len(runs)), np.tile(cluster[tested], len(runs))
    edges = np.unique(np.quantile(p, np.linspace(0, 1, _N_BINS + 1)[1:-1]))
    place = np.searchsorted(edges, p, side="right")
    table = []
    for k in np.unique(place):
        rows = place == k
        share = _share(Resampling(group[rows]), y[rows].astype(float))
        table.append(
            {
                "n_posts": rows.sum() / len(runs),
                "probability": float(p[rows].mean()),
                **share._asdict(),
            }
        )
    return table


def _mean(resampling: Resampling, values: NDArray[Any]) -> Interval:
    """Return the mean over posts of a value in [0, 1], with its interval."""
    total = np.ones(len(values))
    figures = divide(resampling.sums(values), resampling.sums(total))
    return resampling.interval(figures, resampling.basis(total))


def _share(resampling: Resampling, hits: NDArray[np.float64]) -> Interval:
    """Return the share of the posts that are hits, with its interval."""
    total = np.ones(len(hits))
    figures = divide(resampling.sums(hits), resampling.sums(total))
    return resampling.interval(figures, resampling.basis(total, hits))


def _false_positive_rates(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    cluster: IntArray,
    n_images: IntArray,
    tested: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    capped = np.minimum(n_images, 4)
    system = whole(runs[0].scores)
    table = []
    for number in np.unique(capped[tested]):
        rows = tested & (capped == number) & ~event
        if not rows.any():
            continue
        flagged = np.mean([run.flagged(system)[rows] for run in runs], axis=0)
        rate, low, high = _share(Resampling(cluster[rows]), flagged)
        table.append(
            {
                "n_images": f"{number}" if number < 4 else "4 or more",
                "n_negatives": int(rows.sum()),
                "rate": rate,
                "low": low,
                "high": high,
            }
        )
    return table


def kept_systems(runs: Sequence[Run]) -> Sequence[Run]:
    """Leave out the rows of the second stage if no fold kept it."""
    n_folds, n_without = _without_second(runs)
    if n_folds and n_without == n_folds:
        return [run.without(STAGE_1, BOTH) for run in runs]
    return runs


def notes_of(
    runs: Sequence[Run],
    event: NDArray[np.bool_],
    *,
    kind: str,
    prevalence: float | None,
) -> Iterator[str]:
    """Yield the notes of an estimate from its runs."""
    tested = runs[0].fold >= 0
    if prevalence is not None:
        yield (
            f"figures are re-weighted from a prevalence of {event[tested].mean():.3f} "
            f"to {prevalence:g}. This assumes that events there have the same "
            f"distribution of scores, and of slices, as the events here, and that "
            f"other posts do too. Numbers of posts, false-positive rates and "
            f"calibrated probabilities are not re-weighted."
        )
    never = int((~tested).sum())
    if never:
        yield (
            f"{never} of {len(event)} posts are tested by no fold, or by one that no "
            f"earlier posts can tune, and count in no figure."
        )
    system = whole(runs[0].scores)
    unmet = sum(int(np.isinf(run.thresholds[system]).sum()) for run in runs)
    if unmet:
        yield (
            f"{unmet / len(runs):.0f} of {int(tested.sum())} posts are in folds whose "
            f"other posts did not show that the policy can be met: none of these posts "
            f"is flagged."
        )
    if system == BOTH:
        yield from _of_second_stage(runs, event, kind)


def _of_second_stage(
    runs: Sequence[Run], event: NDArray[np.bool_], kind: str
) -> Iterator[str]:
    n_folds, n_without = _without_second(runs)
    if n_without:
        yield (
            f"in {n_without} of {n_folds} folds the second stage did not help and was "
            f"left out."
        )
    if n_folds and n_without == n_folds:
        return
    flagged = np.array([run.flagged(STAGE_1) for run in runs])
    gone = flagged & ~np.array([run.flagged(BOTH) for run in runs])
    counts = [
        values.sum() / len(runs)
        for values in (gone & ~event, flagged & ~event, gone & event, flagged & event)
    ]
    yield (
        "the second stage removed {:,.0f} of {:,.0f} false positives, and {:,.0f} of "
        "{:,.0f} events, that the first one had flagged for it.".format(*counts)
    )
    if kind == CROSS_FITTED:
        yield (
            "the posts that trained the second stage were flagged by a rule that saw "
            "every fold."
        )


def _without_second(runs: Sequence[Run]) -> tuple[int, int]:
    """Count all folds, and those without a second stage."""
    chosen = [row for run in runs for row in run.parameters]
    return len(chosen), sum("threshold_1" not in row for row in chosen)
