"""Detected events as a table for a regression, corrected by the coded sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._common import warn_user
from mmevent._settings import with_own_settings
from mmevent.corpus.coded import checked_codes
from mmevent.corpus.columns import PREDICTIONS, need_columns, number_column
from mmevent.corpus.cross_fit import cross_fitted
from mmevent.corpus.domains import periods
from mmevent.corpus.sampling import checked_predictions
from mmevent.corpus.strata import PROBABILITY, STRATUM, Strata, stratify
from mmevent.detector import AUDIT_COLUMNS
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.keys import as_keys
from mmevent.posts.local_times import check_timezone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

__all__ = ["regression_table"]

EVENT, PSEUDO = "event", "pseudo_outcome"
COUNTS = ["n_posts", "n_coded", "flagged", "predicted", PSEUDO, "coded_events"]
COUNTS += ["coded_weight", "extra_variance", "extra_square"]
"""Columns that are sums over the posts of a row."""

_OF_POSTS = [EVENT, STRATUM, PROBABILITY, *COUNTS, "cluster"]
_MOST_CELLS = 5_000_000


@with_own_settings
def regression_table(
    audit: pd.DataFrame,
    coded: pd.DataFrame | Sequence[pd.DataFrame],
    label: str,
    *,
    sample: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    pos_label: Any = None,
    prediction: str = "cross-fit",
    features: str | Sequence[str] = (),
    cluster: str | None = None,
    unit: str | None = None,
    period: str | None = None,
    timezone: str | None = None,
) -> pd.DataFrame:
    """Return a table for regressions in which the errors of the detector cancel.

    Each post has a pseudo-outcome, whose expected value over samples is the label that
    coders would give to the post. The coefficients of a regression on it are those of a
    regression on hand-coded posts, however the detector errs.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        Predictions for the whole corpus, as for `draw_sample`, and any columns that the
        regression needs.
    coded : DataFrame or sequence of DataFrame
        The coded sample, with its top-ups, as for `estimate_corpus`.
    label : str
        Column of the label.
    sample : DataFrame, sequence of DataFrame or None, default=None
        From `draw_sample`, where `coded` has only ids and labels.
    pos_label : default=None
        The label of an event, where labels are two others than 1 and 0.
    prediction : str, default="cross-fit"
        The prediction that the coded posts correct. ``"cross-fit"`` learns it from
        score, flag and `features` on the coded posts of other folds. ``"flagged"``
        takes 1 for flagged posts and 0 for others. Any other name is a column of the
        audit with numbers from 0 to 1, such as ``"probability"``. The last two are
        valid as long as nothing of the detector was chosen on the coded sample.
    features : str or sequence of str, default=()
        Columns that the cross-fitted prediction uses too: the covariates of the
        regression to come, since the detector may err more for some of their values.
    cluster : str or None, default=None
        Column whose equal values are one cluster, such as the author. None for a
        cluster of its own for each post.
    unit : str or None, default=None
        Column of the unit, such as a country. Rows are then units, or units by
        `period`, with sums over their posts, and a unit is one cluster.
    period : {"day", "week", "month", "year"} or None, default=None
        Rows are periods of ``created_at``, or units by period.
    timezone : str or None, default=None
        Time zone of the periods, as for `estimate_corpus`.

    Returns
    -------
    DataFrame
        One row for each post that was not seen in training, in the order of the audit:
        ``id``, ``score``, the columns of the audit that a detector did not write, and

        - ``event``: mean label of a coded post, missing for others;
        - ``stratum``, ``inclusion_probability``: of all posts;
        - ``n_posts``, ``n_coded``: 1, and whether the post is coded;
        - ``flagged``: whether the detector flags it, 1 or 0;
        - ``predicted``: the prediction, from 0 to 1;
        - ``pseudo_outcome``: predicted + n_coded (event - predicted) / probability;
        - ``coded_events``, ``coded_weight``: event and 1 over the probability, as a
          sum over coded posts that stands for all; 0 for other posts;
        - ``extra_variance``, ``extra_square``: see Notes;
        - ``cluster``.

        With `unit` or `period`: one row for each unit, ``period`` (its first day), or
        both, from the first period of the corpus to the last, with the sums of the
        columns from ``n_posts`` to ``extra_square``, and ``cluster``. A cell without
        posts has sums of 0.

    Raises
    ------
    InputError
        If the sample does not fit the corpus, or a column is missing or not usable.

    Warns
    -----
    UnusableInputWarning
        If posts were seen in training, and so are left out; if no post is coded in
        some units.

    Notes
    -----
    The inclusion probability is n_h / N_h in stratum h. The squared errors of the
    coded posts give the variance of the correction. Where errors are few, a sample may
    by chance have none of those that matter, and would then seem exact. The variance of
    each stratum is therefore raised to the one that the cross-fitted predictions p
    imply, if that is greater: the mean over its posts of p (1 - p), or of
    p (1 - q)² + (1 - p) q² with another prediction q. The sample as a whole counts at
    least one error. ``extra_variance`` is what is added to each post, the more, the
    less certain its prediction is; ``extra_square`` is its part in the variance of that
    variance, as of errors that are either made or not.

    References
    ----------
    Egami, Hinck, Stewart and Wei (2023), "Using Imperfect Surrogates for Downstream
    Inference: Design-based Supervised Learning for Social Science Applications of
    Large Language Models", NeurIPS 36, equation 3.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import draw_sample, regression_table
    >>> audit = pd.DataFrame({"id": range(1000)})
    >>> audit["score"] = audit["id"] / 1000
    >>> audit["margin"] = audit["score"] - 0.9
    >>> coded = draw_sample(audit, 200)
    >>> coded["event"] = coded["id"] > 880
    >>> table = regression_table(audit, coded, "event")
    >>> len(table), int(table["n_coded"].sum())
    (1000, 200)
    >>> bool(abs(table["pseudo_outcome"].sum() - 119) < 30)
    True
    """
    audit = checked_predictions(audit)
    rows, share, strata = checked_codes(
        audit, coded, label, stratify(audit), sample, pos_label
    )
    names = [features] if isinstance(features, str) else list(features)
    likely = cross_fitted(audit, rows, share, names)
    predicted = _predicted(audit, likely, prediction, names)
    posts = _posts(audit, strata, rows, share, predicted, likely)
    kept = strata.stratum >= 0
    if not kept.all():
        warn_user(
            f"{int((~kept).sum()):,} posts that share a text or an image with training "
            f"posts are left out of the table, and of its counts.",
            UnusableInputWarning,
        )
    if unit is None and period is None:
        if timezone is not None:
            check_timezone(timezone)
        table = pd.concat([_others(audit), posts], axis=1)
        return table.assign(cluster=_clusters(audit, cluster))[kept]
    if cluster is not None:
        raise InputError(
            f"cluster={cluster!r} has no meaning with unit= or period=: expected none, "
            f"since a unit is one cluster. Leave it out, or pass another column of the "
            f"table to fit_regression."
        )
    return _by_cell(audit[kept], posts[kept], unit, period, timezone)


def _predicted(
    audit: pd.DataFrame, likely: FloatArray, prediction: str, features: Sequence[str]
) -> FloatArray:
    if prediction == "cross-fit":
        return likely
    if features:
        raise InputError(
            f"features={list(features)} do nothing with prediction={prediction!r}: "
            f'expected prediction="cross-fit". Leave one of them out.'
        )
    if prediction == "flagged":
        return np.asarray(audit["margin"].to_numpy() >= 0, dtype=np.float64)
    need_columns(audit, [prediction], *PREDICTIONS)
    return number_column(audit, prediction, PREDICTIONS[0], least=0, most=1)


def _posts(
    audit: pd.DataFrame,
    strata: Strata,
    rows: IntArray,
    share: FloatArray,
    predicted: FloatArray,
    likely: FloatArray,
) -> pd.DataFrame:
    """Return the columns of the table that the sample and the detector give."""
    n, n_strata = len(audit), len(strata.size)
    stratum = strata.stratum[rows]
    count = np.bincount(stratum, minlength=n_strata)
    probability = np.append(count / strata.size, np.nan)[strata.stratum]
    weight = 1 / probability[rows]
    error = share - predicted[rows]
    found = {name: np.zeros(n) for name in COUNTS}
    found["n_posts"][:] = 1
    found["flagged"][:] = audit["margin"].to_numpy() >= 0
    found["predicted"][:] = predicted
    found[PSEUDO][:] = predicted
    found[PSEUDO][rows] += weight * error
    found["n_coded"][rows] = 1
    found["coded_events"][rows] = weight * share
    found["coded_weight"][rows] = weight
    seen = np.bincount(stratum, error**2, minlength=n_strata).astype(np.float64)
    p, q = likely, predicted
    likely_error = p * (1 - q) ** 2 + (1 - p) * q**2
    missed = _missed_errors(strata, likely_error, seen, count)
    factor = (1 - probability) / probability**2
    found["extra_variance"][:] = np.nan_to_num(factor * missed)
    found["extra_square"][:] = np.nan_to_num(factor**2 * missed)
    event = np.full(n, np.nan)
    event[rows] = share
    whole = {name: found[name].astype(np.int64) for name in ("n_posts", "n_coded")}
    whole["flagged"] = found["flagged"].astype(np.int64)
    number = np.append(strata.first, -1)[strata.stratum]  # as in the sample
    columns = {EVENT: event, STRATUM: number, PROBABILITY: probability}
    return pd.DataFrame(columns | found | whole, index=audit.index)


def _missed_errors(
    strata: Strata, likely_error: FloatArray, seen: FloatArray, count: IntArray
) -> FloatArray:
    """Return how many errors of each post the sample should have shown, and has not.

    They are squared errors, times the chance to be coded; `seen` has those that were
    found in each stratum. A stratum whose every post is coded misses none.
    """
    n_strata = len(strata.size)
    kept = strata.stratum >= 0
    of = strata.stratum[kept]
    total = np.bincount(of, likely_error[kept], minlength=n_strata)
    expected = np.where(count < strata.size, count * total / strata.size, seen)
    counted = np.maximum(expected, seen)
    open_ = count * (count < strata.size)
    if open_.any():
        counted += max(1.0 - counted.sum(), 0.0) * open_ / open_.sum()
    even = total <= 0  # where no error is thought likely, none is likelier than others
    shape = np.where(even[of], 1.0, likely_error[kept])
    total = np.where(even, strata.size, total)
    found = np.zeros(len(likely_error))
    found[kept] = ((counted - seen) / total)[of] * shape
    return found


def _others(audit: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the audit that are for the regression."""
    kept = [n for n in audit if n not in AUDIT_COLUMNS or n in ("id", "score")]
    taken = [name for name in kept if name in _OF_POSTS]
    if taken:
        raise InputError(
            f"the predictions have the columns {', '.join(map(repr, taken))}, which "
            f"the table needs for itself: expected other names than "
            f"{', '.join(map(repr, _OF_POSTS))}. Rename or drop them."
        )
    return audit[kept]


def _clusters(audit: pd.DataFrame, name: str | None) -> NDArray[Any]:
    """Return the cluster of each post; a missing value is a cluster of its own."""
    if name is None:
        return np.arange(len(audit))
    need_columns(audit, [name], *PREDICTIONS)
    keys = as_keys(audit[name], f"the values of the column {name!r}")
    alone = [f"(row {row})" for row in range(len(audit))]
    return np.where(pd.isna(keys), alone, keys)


def _by_cell(
    audit: pd.DataFrame,
    posts: pd.DataFrame,
    unit: str | None,
    period: str | None,
    timezone: str | None,
) -> pd.DataFrame:
    """Return sums over the posts of each unit, period, or both."""
    keys: dict[str, Any] = {}
    if unit is not None:
        if unit in COUNTS or unit in ("period", "cluster"):
            raise InputError(
                f"unit={unit!r} has the name of a column of the table: expected "
                f"another name than {', '.join(map(repr, COUNTS))}. Rename it."
            )
        need_columns(audit, [unit], *PREDICTIONS)
        found = as_keys(audit[unit], f"the values of the column {unit!r}")
        missing = pd.isna(found)
        if missing.any():
            raise InputError(
                f"{int(missing.sum()):,} posts have no {unit!r}: expected a unit for "
                f"each, got none for the ids {audit['id'][missing][:5].tolist()}. Fill "
                f"it in, or leave these posts out of the corpus before the sample is "
                f"drawn."
            )
        keys[unit] = found
    if period is not None:
        keys["period"] = periods(audit, period, timezone).to_numpy()
    elif timezone is not None:
        check_timezone(timezone)
    by = [pd.Series(values, audit.index, name=name) for name, values in keys.items()]
    table = posts[COUNTS].groupby(by).sum()
    if period is not None:
        table = _every_period(table, unit)
    table = table.reset_index()
    if period is not None:
        start = pd.PeriodIndex(table["period"]).start_time
        table["period"] = start.strftime("%Y-%m-%d")
    table["cluster"] = table[unit] if unit else np.arange(len(table))
    _say_uncoded(table, unit)
    return table


def _every_period(table: pd.DataFrame, unit: str | None) -> pd.DataFrame:
    """Add the periods in which a unit has no post, and so no event."""
    of = pd.PeriodIndex(table.index.get_level_values("period"))
    every = pd.period_range(of.min(), of.max(), freq=of.freq, name="period")
    if unit is None:
        return table.reindex(every, fill_value=0)
    units = table.index.unique(unit)
    if len(units) * len(every) > _MOST_CELLS:
        raise InputError(
            f"{len(units):,} units by {len(every):,} periods are too many rows: "
            f"expected at most {_MOST_CELLS:,}. Choose a longer period, or larger "
            f"units; an author is a cluster, not a unit."
        )
    cells = pd.MultiIndex.from_product([units, every])
    return table.reindex(cells, fill_value=0)


def _say_uncoded(table: pd.DataFrame, unit: str | None) -> None:
    """Warn of units without a coded post."""
    if unit is None:
        return
    coded = table.groupby(unit)["n_coded"].sum()
    without = coded.index[coded == 0]
    if len(without):
        warn_user(
            f"no post was coded in {len(without):,} of {len(coded):,} units, such as "
            f"{without[:5].tolist()}: their counts rest on the prediction alone. "
            f"Coefficients of covariates stay valid, since these posts could have been "
            f"drawn; say nothing of such a unit by itself.",
            UnusableInputWarning,
        )
