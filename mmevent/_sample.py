"""Labelled posts: their groups and folds, and the estimate that runs on them give."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._branch_parameters import is_frozen, named_images
from mmevent._branches import Labels
from mmevent._encoding import json_hash
from mmevent._figures import summarise
from mmevent._folds import Folds
from mmevent._validation import check_groups
from mmevent.exceptions import UnusableInputWarning
from mmevent.posts import connected_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mmevent._estimate_table import Estimate
    from mmevent._estimation import Run
    from mmevent._prepared import Prepared
    from mmevent._slices import Slices

SAME_FOLDS = "the folds are the same for every seed: a splitter has a seed of its own."


@dataclass(frozen=True)
class Sample:
    """Posts with their events and groups.

    Parameters
    ----------
    prepared : Prepared
        The posts.
    labels : Labels
        Events, and the caller's groups joined with duplicates.
    caller : ndarray of shape (n_posts,) or None
        The caller's groups alone.
    """

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
        """Hash by which these posts and labels are known again."""
        return self.prepared.data_hash(self.labels)

    @property
    def groups_hash(self) -> str:
        """Hash of which posts belong together, to the caller and with duplicates."""
        caller = None if self.caller is None else connected_groups(self.caller).tolist()
        return json_hash([caller, self.labels.group.tolist()])

    def folds(self, cv: Any, inner_cv: Any, seed: int | None) -> Folds:
        """Make outer and inner folds, or refuse where the posts allow none."""
        folds = Folds(
            cv,
            inner_cv,
            posts=self.prepared.posts,
            labels=self.labels,
            caller=self.caller,
            duplicate=self.prepared.duplicate,
            seed=seed,
        )
        folds.check()
        return folds

    def notes(self, texts: Sequence[Any], image: Any) -> list[str]:
        """Return what an estimate must say; warn where no image is usable."""
        statuses = self.prepared.images.statuses
        broken = statuses[statuses != "ok"]
        notes = []
        if len(broken) and image is not None:
            counts = ", ".join(
                f"{count} {status}"
                for status, count in zip(
                    *np.unique(broken, return_counts=True), strict=True
                )
            )
            notes.append(f"{len(broken)} of {len(statuses)} images unusable: {counts}.")
            if len(broken) == len(statuses):
                warnings.warn(
                    f"none of the {len(statuses)} images can be used ({counts}): the "
                    f"detector works as text only. Check image_root and the paths.",
                    UnusableInputWarning,
                    stacklevel=3,
                )
        if any(
            is_frozen(branch)
            for branch in (*texts, *dict(named_images(image)).values())
        ):
            notes.append("assumes that the frozen branch never saw these posts.")
        return notes

    def summary(
        self,
        runs: Sequence[Run],
        folds: Folds | None,
        *,
        kind: str,
        slices: Slices,
        notes: Sequence[str],
        verbose: bool,
        prevalence: float | None = None,
    ) -> Estimate:
        """Turn the scores of runs on these posts into an estimate.

        Intervals resample whole events where the folds leave events out, else groups.
        Without folds the posts are held out.
        """
        n_folds, cluster = 0, self.labels.group
        if folds is not None:
            n_folds = len(np.unique(runs[0].fold[runs[0].fold >= 0]))
            if len(runs) > 1 and all((r.fold == runs[0].fold).all() for r in runs):
                notes = [*notes, SAME_FOLDS]
            if folds.leaves_groups_out and self.caller is not None:
                cluster = self.caller
        leakage = self.prepared.leakage(self.labels, n_folds, runs[0].seed)
        if folds is not None:
            leakage["training_rows_dropped_as_duplicates_of_test_rows"] = folds.dropped
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
