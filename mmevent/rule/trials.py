"""Tables of a search's trials."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent.rule.search import TuningResult, events_of, f1_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from mmevent.rule.fusion import Evidence


def trials_frame(result: TuningResult) -> pd.DataFrame:
    """Return a table of the trials, one row per trial."""
    import pandas as pd

    frame = pd.DataFrame([asdict(rule) for rule in result.rules])
    frame.insert(0, "trial", np.arange(len(frame)))
    return frame.assign(value=result.values)


def cv_results(
    result: TuningResult, evidence: Evidence, y: ArrayLike, fold: NDArray[np.intp]
) -> dict[str, Any]:
    """Return the trials in the layout of scikit-learn's ``cv_results_``.

    The score of a split is F1 of its posts at the trial's threshold, which is one for
    all splits.
    """
    event = events_of(evidence, y)
    names = result.rule.searched
    params = [{name: getattr(rule, name) for name in names} for rule in result.rules]
    splits = np.unique(fold[fold >= 0])
    per_split = np.empty((len(params), len(splits)))
    for i, rule in enumerate(result.rules):
        flagged = rule.score(evidence) >= rule.threshold
        for j, split in enumerate(splits):
            rows = fold == split
            per_split[i, j] = f1_of(flagged[rows], event[rows])
    results: dict[str, Any] = {"params": params}
    results |= {
        f"param_{name}": np.ma.MaskedArray([p[name] for p in params]) for name in names
    }
    results |= {f"split{j}_test_score": per_split[:, j] for j in range(len(splits))}
    results["mean_test_score"] = per_split.mean(axis=1)
    results["std_test_score"] = per_split.std(axis=1)
    order = np.unique(-results["mean_test_score"], return_inverse=True)[1]
    results["rank_test_score"] = (
        np.searchsorted(np.sort(order), order, side="left") + 1
    ).astype(np.int32)
    return results
