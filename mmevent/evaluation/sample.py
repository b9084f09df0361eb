"""Labelled posts with their groups; their folds, notes and estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import json_hash
from mmevent.evaluation.figures import summarise
from mmevent.evaluation.folds import FoldMaker, Folds
from mmevent.posts.duplicates import connected_groups
from mmevent.posts.labels import Labels, check_groups
from mmevent.posts.sources import HOW_TO_DOWNLOAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mmevent.evaluation.estimate import Estimate
    from mmevent.evaluation.nested import Run
    from mmevent.evaluation.slices import Slices
    from mmevent.posts.prepared import Prepared


def check_folds(
    prepared: Prepared,
    event: NDArray[np.bool_],
    groups: ArrayLike | None,
    cv: Any,
    inner_cv: Any,
) -> None:
    """Validate that the caller's groups allow the folds, without opening a picture.

    Copies are not known yet; where these leave too few groups, `Sample.fold_maker`
    says so.
    """
    caller = prepared.caller_groups(check_groups(groups, len(prepared)))
    alone = np.arange(len(prepared))
    group = alone if caller is None else connected_groups(caller)
    FoldMaker(
        cv,
        inner_cv,
        posts=prepared.posts,
        labels=Labels(event, group),
        caller=caller,
        duplicate=alone,
        seed=0,
    ).check()


SAME_FOLDS = "the folds are the same for every seed: a splitter has a seed of its own."


@dataclass(frozen=True)
class Sample:
    """Posts, their labels with all groups joined, and the caller's groups alone."""

    prepared: Prepared
    labels: Labels
    caller: NDArray[Any] | None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        event: NDArray[np.bool_],
        groups: ArrayLike | None,
        stage1: NDArray[np.float64] | None = None,
    ) -> Sample:
        """Join the caller's groups with the column `group` and with duplicates."""
        caller = prepared.caller_groups(check_groups(groups, len(prepared)))
        joined = prepared.duplicate
        if caller is not None:
            joined = connected_groups(caller, joined)
        return cls(prepared, Labels(event, joined, stage1), caller)

    @property
    def data_hash(self) -> str:
        """Fingerprint of the posts and labels."""
        return self.prepared.data_hash(self.labels)

    @property
    def groups_hash(self) -> str:
        """Fingerprint of the caller's groups and of all groups joined."""
        caller = None if self.caller is None else connected_groups(self.caller).tolist()
        return json_hash([caller, self.labels.group.tolist()])

    def fold_maker(self, cv: Any, inner_cv: Any, seed: int | None) -> FoldMaker:
        """Return what makes the folds of these posts."""
        return FoldMaker(
            cv,
            inner_cv,
            posts=self.prepared.posts,
            labels=self.labels,
            caller=self.caller,
            duplicate=self.prepared.duplicate,
            seed=seed,
        )

    def notes(self, *, uses_images: bool, has_frozen: bool = False) -> list[str]:
        """Return the notes of an estimate."""
        statuses = self.prepared.images.statuses
        broken = statuses[statuses != "ok"]
        notes = []
        if len(broken) and uses_images:
            counts = ", ".join(
                f"{count} {status}"
                for status, count in zip(
                    *np.unique(broken, return_counts=True), strict=True
                )
            )
            notes.append(f"{len(broken)} of {len(statuses)} images unusable: {counts}.")
            if "remote" in broken:
                notes.append(f"remote images are URLs: {HOW_TO_DOWNLOAD}.")
        if has_frozen:
            notes.append("assumes that the frozen branch never saw these posts.")
        return notes

    def summary(
        self,
        runs: Sequence[Run],
        folds: Sequence[Folds],
        *,
        kind: str,
        slices: Slices,
        notes: Sequence[str],
        verbose: bool,
        prevalence: float | None = None,
    ) -> Estimate:
        """Turn the scores of runs on these posts into an estimate.

        Intervals resample whole events if the folds leave events out, else groups. Each
        run has its folds; without folds the posts are held out.
        """
        n_folds, cluster = 0, self.labels.group
        if folds:
            n_folds = len(np.unique(runs[0].fold[runs[0].fold >= 0]))
            if len(runs) > 1 and all((r.fold == runs[0].fold).all() for r in runs):
                notes = [*notes, SAME_FOLDS]
            if folds[0].leaves_groups_out and self.caller is not None:
                cluster = self.caller
        leakage = self.prepared.leakage(self.labels, n_folds, runs[0].seed)
        if folds:
            n_dropped = round(float(np.mean([one.n_dropped for one in folds])))
            leakage["training_rows_dropped_as_duplicates_of_test_rows"] = n_dropped
        return summarise(
            runs,
            self.labels.event,
            cluster,
            self.prepared.n_usable,
            kind=kind,
            leakage=leakage,
            slices=slices,
            prevalence=prevalence,
            notes=notes,
            verbose=verbose,
        )
