"""The best rule in a population, by counting on a grid.

It shares the rule with the search in `tuning`, but not the way to search, so that
each can check the other. Scores are put in bins of equal ratio: a change of beta
then only shifts the bins of the posts with images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmevent.fusion import POOLS, fuse, pool_images
from mmevent.tuning import best_threshold

LOG_2 = float(np.log(2))
MOST_W = 0.99
_LEAST_SCORE = 1e-4
_COARSE_STEP, _FINE_STEP = LOG_2 / 35, LOG_2 / 70
_COARSE_WEIGHTS = np.linspace(0, MOST_W, 12)
_FINE_OFFSETS = np.linspace(-1, 1, 13) * _COARSE_WEIGHTS[1]


class Best(NamedTuple):
    """The best rule, its F1, and the best beta in [1/8, 8]."""

    alpha: float
    beta: float
    pool: str
    threshold: float
    f1: float
    beta_unbounded: float


class _Posts(NamedTuple):
    p_text: np.ndarray
    pooled: dict[str, np.ndarray]
    y: np.ndarray


class _Peak(NamedTuple):
    f1: float
    w: float
    log_beta: float
    pool: str


def find_best(
    p_text: np.ndarray, p_image: np.ndarray, post: np.ndarray, y: np.ndarray
) -> Best:
    """Search coarsely in [1/8, 8] for beta, then finely in [1/2, 2]."""
    several = (np.diff(post) == 0).any()
    pools = POOLS if several else POOLS[:1]
    posts = _Posts(
        p_text, {p: pool_images(p_image, post, len(y), pool=p) for p in pools}, y
    )
    weights = _COARSE_WEIGHTS if len(p_image) else np.zeros(1)
    unbounded, bounded = _peaks(posts, weights, _COARSE_STEP, (3 * LOG_2, LOG_2))
    if len(p_image):
        weights = np.unique(np.clip(bounded.w + _FINE_OFFSETS, 0, MOST_W))
    (peak,) = _peaks(posts, weights, _FINE_STEP, (LOG_2,))
    alpha, beta = float(peak.w / (1 - peak.w)), float(np.exp(peak.log_beta))
    score = fuse(p_text, posts.pooled[peak.pool], alpha=alpha, beta=beta)
    threshold, f1 = best_threshold(score, y)
    return Best(
        alpha, beta, peak.pool, threshold, f1, float(np.exp(unbounded.log_beta))
    )


def _peaks(
    posts: _Posts, weights: np.ndarray, step: float, bounds: tuple[float, ...]
) -> list[_Peak]:
    """Return the best point for each bound on abs(log(beta)), the widest first.

    Of equals it takes the smaller w, then the earlier pool, then beta nearest 1.
    """
    best = [_Peak(-1.0, 0.0, 0.0, POOLS[0])] * len(bounds)
    for w in weights:
        for pool in posts.pooled:
            shifts, f1 = _f1_by_shift(posts, w, pool, step, bounds[0])
            for i, bound in enumerate(bounds):
                # rounded: the bound itself is a multiple of the step
                inside = np.flatnonzero(np.abs(shifts) <= round(bound / step))
                top = inside[np.argmax(f1[inside])]
                if f1[top] > best[i].f1:
                    best[i] = _Peak(f1[top], w, shifts[top] * step, pool)
    return best


def _f1_by_shift(
    posts: _Posts, w: float, pool: str, step: float, bound: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return log(beta) in steps, nearest 0 first, and the best F1 of each."""
    pooled = posts.pooled[pool]
    score = fuse(posts.p_text, pooled, alpha=w / (1 - w), beta=1.0)
    n_bins = int(np.ceil(-np.log(_LEAST_SCORE) / step)) + 1
    with np.errstate(divide="ignore"):
        bins = np.maximum(np.log(score / _LEAST_SCORE) / step, 0).astype(np.intp)
    with_images = ~np.isnan(pooled)
    alone = ~with_images & ~np.isnan(posts.p_text)
    tp, flagged = _counts_above(bins[alone], posts.y[alone], n_bins)
    tp_image, flagged_image = _counts_above(
        bins[with_images], posts.y[with_images], n_bins
    )
    most = round(bound / step)
    shifts = np.array(sorted(range(-most, most + 1), key=abs))
    cut = np.arange(-most, n_bins + most + 1)
    cut_image = np.clip(cut - shifts[:, None], 0, n_bins)
    cut = np.clip(cut, 0, n_bins)
    found = tp[cut] + tp_image[cut_image]
    all_flagged = flagged[cut] + flagged_image[cut_image]
    return shifts, (2 * found / (all_flagged + posts.y.sum())).max(axis=1)


def _counts_above(
    bins: np.ndarray, y: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives and the posts in each bin or above it."""
    flagged = np.bincount(bins, minlength=n_bins + 1)[::-1].cumsum()[::-1]
    found = np.bincount(bins[y == 1], minlength=n_bins + 1)[::-1].cumsum()[::-1]
    return found, flagged
