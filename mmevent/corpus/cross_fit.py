"""The probability of an event for each post, learned from coded posts of other folds.

A detector's score is no probability, and it may be off in one part of a corpus more
than in another. The coded posts of a random sample show by how much. No post helps to
predict itself, so that the prediction of a coded post is as good as that of any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression

from mmevent.corpus.columns import PREDICTIONS, need_columns
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.intp]

N_FOLDS = 5
_RIDGE = 30.0
_MOST_VALUES = 30  # of a feature that is no number
_HASH_KEY = "mmevent-crossfit"  # another order than that of equal scores in strata


def cross_fitted(
    audit: pd.DataFrame, rows: IntArray, share: FloatArray, features: Sequence[str]
) -> FloatArray:
    """Return the probability that each post is an event, from posts of other folds.

    Parameters
    ----------
    audit : DataFrame, n_posts rows
        Checked predictions.
    rows : array of shape (n_coded,)
        Rows of the coded posts.
    share : array of shape (n_coded,)
        Their labels, from 0 to 1.
    features : sequence of str
        Further columns to predict from: numbers, or up to 30 categories.

    Returns
    -------
    array of shape (n_posts,)

    Notes
    -----
    A logistic regression with a weak ridge penalty (C=30; a strong one would predict
    too many events where there are few) on the normal score of the rank of the score,
    on whether the post is flagged, on the logit of a column ``probability`` where there
    is one, and on the features, also as interactions with the flag. Ids are hashed into
    five folds, so that the order of rows does not matter.

    References
    ----------
    Egami, Hinck, Stewart and Wei (2023), "Using Imperfect Surrogates for Downstream
    Inference: Design-based Supervised Learning for Social Science Applications of
    Large Language Models", NeurIPS 36, algorithm 1.
    """
    keys = as_keys(audit["id"], "the ids of the predictions")
    fold = pd.util.hash_array(keys, hash_key=_HASH_KEY) % N_FOLDS
    evidence = _evidence(audit, features)
    found = np.empty(len(audit))
    for k in range(N_FOLDS):
        inside, train = fold == k, fold[rows] != k
        found[inside] = _predict(evidence[rows[train]], share[train], evidence[inside])
    return found


def _predict(known: FloatArray, share: FloatArray, unknown: FloatArray) -> FloatArray:
    """Fit on coded posts, each as an event and as none by its share of codes."""
    n, k = len(share), share.sum()
    if not 0 < k < n or len(unknown) == 0:
        return np.full(len(unknown), (k + 0.5) / (n + 1))
    model = LogisticRegression(C=_RIDGE, solver="newton-cholesky").fit(
        np.vstack([known, known]),
        np.repeat([1, 0], n),
        sample_weight=np.concatenate([share, 1 - share]),
    )
    return np.asarray(model.predict_proba(unknown)[:, 1], dtype=np.float64)


def _evidence(audit: pd.DataFrame, features: Sequence[str]) -> FloatArray:
    flagged = (audit["margin"].to_numpy() >= 0).astype(np.float64)
    rank = rankdata(audit["score"].to_numpy()) - 0.5
    columns = [norm.ppf(rank / len(audit))[:, None], flagged[:, None]]
    if "probability" in audit:
        p = np.clip(audit["probability"].to_numpy(), 1e-4, 1 - 1e-4)
        columns.append(np.log(p / (1 - p))[:, None])
    for name in features:
        values = _feature(audit, name)
        columns += [values, values * flagged[:, None]]
    found = np.hstack(columns)
    spread = found.std(axis=0)
    return np.asarray((found - found.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _feature(audit: pd.DataFrame, name: str) -> FloatArray:
    """Return a column as numbers, or as one column for each of its categories."""
    need_columns(audit, [name], *PREDICTIONS)
    values = audit[name]
    missing = int(values.isna().sum())
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(numbers).all():
            return np.asarray(numbers[:, None])
        missing = int((~np.isfinite(numbers)).sum())
    n_values = values.nunique()
    if missing or n_values > _MOST_VALUES:
        raise InputError(
            f"the feature {name!r} cannot help to predict: expected a number in each "
            f"row, or at most {_MOST_VALUES} categories, got {missing:,} rows without "
            f"a value and {n_values:,} categories. Fill it in, or leave it out of "
            f"features=."
        )
    return np.asarray(pd.get_dummies(values), dtype=np.float64)
