"""What a reader must know beside the figures of an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmevent._estimation import CROSS_FITTED
from mmevent._systems import BOTH, STAGE_1, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mmevent._estimation import Run


def kept_systems(runs: Sequence[Run]) -> Sequence[Run]:
    """Leave out the rows of a second stage that no fold kept."""
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
    """Say what the runs do, and what they rest on."""
    tested = runs[0].fold >= 0
    if prevalence is not None:
        yield (
            f"figures are re-weighted from a prevalence of {event[tested].mean():.3f} "
            f"to {prevalence:g}. They hold if the scores of events, and those of other "
            f"posts, are distributed there as in these posts, and slices of either as "
            f"frequent. Numbers of posts, rates of false positives and calibrated "
            f"probabilities are those of these posts."
        )
    never = int((~tested).sum())
    if never:
        yield (
            f"{never} of {len(event)} posts are tested by no fold and count in no "
            f"figure."
        )
    system = whole(runs[0].scores)
    unmet = sum(int(np.isinf(run.thresholds[system]).sum()) for run in runs)
    if unmet:
        yield (
            f"{unmet / len(runs):.0f} of {int(tested.sum())} posts are tested by rules "
            f"for which other posts did not show that the policy can be met: none of "
            f"them is flagged."
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
    """Count the folds, and those that did without a second stage."""
    chosen = [row for run in runs for row in run.parameters]
    return len(chosen), sum("threshold_1" not in row for row in chosen)
