"""The best rule for made-up posts, found by counting in a large population.

It uses the same rule as the search in `mmevent.rule.search`, but another way to find
its parameters, so that each can check the other. Scores are put into bins of equal
ratio: a change of beta then only shifts the bins of the posts with images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mmevent.rule.cuts import best_threshold
from mmevent.rule.fusion import POOLS, fuse, pool_images

if TYPE_CHECKING:
    from mmevent.synthetic.scores import PostModel, ScoreModel

    FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
    IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["SyntheticScores", "Truth", "find_best"]

_POPULATION_SIZE = 200_000
_POPULATION_SEED = 2019_0801
LOG_2 = float(np.log(2))
MOST_W = 0.99
_LEAST_SCORE = 1e-4
_COARSE_STEP, _FINE_STEP = LOG_2 / 35, LOG_2 / 70
_COARSE_WEIGHTS = np.linspace(0, MOST_W, 12)
_FINE_OFFSETS = np.linspace(-1, 1, 13) * _COARSE_WEIGHTS[1]


@dataclass(frozen=True, eq=False)
class SyntheticScores:
    """Probabilities of a text and an image branch, and the labels.

    Attributes
    ----------
    p_text : ndarray of shape (n_posts,)
        Probability from the text; NaN where a post has none.
    p_image : ndarray of shape (n_images,)
        Probability from each image.
    post : ndarray of int of shape (n_images,)
        Row number of each image's post, ascending.
    y : ndarray of int of shape (n_posts,)
        1 for an event, else 0.
    truth : Truth
        The best rule in the population that the posts come from.

    Examples
    --------
    >>> from mmevent.synthetic import make_scores
    >>> scores = make_scores(100, random_state=0)
    >>> scores.fuse(alpha=0.5, beta=1.0, pool="max").shape
    (100,)
    """

    p_text: FloatArray
    p_image: FloatArray
    post: IntArray
    y: IntArray
    truth: Truth = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"<SyntheticScores: {len(self.y):,} posts, {int(self.y.sum()):,} events, "
            f"{len(self.post):,} images>"
        )

    def fuse(self, *, alpha: float, beta: float, pool: str) -> FloatArray:
        """Return the score of each post.

        Parameters
        ----------
        alpha, beta : float
            As in :func:`mmevent.rule.fuse`.
        pool : {"max", "mean", "noisy-or"}
            As in :func:`mmevent.rule.pool_images`.

        Returns
        -------
        ndarray of shape (n_posts,)
            The scores.
        """
        pooled = pool_images(self.p_image, self.post, len(self.y), pool=pool)
        return fuse(self.p_text, pooled, alpha=alpha, beta=beta)


@dataclass(frozen=True, eq=False)
class Truth:
    """The best rule in the population of synthetic posts.

    It is found in 200,000 posts from a fixed seed, over w = alpha/(1+alpha) in
    [0, 0.99], beta in [1/2, 2] and the poolings, with the best threshold for each.
    This takes about a second, on first use, once for each set of parameters. F1 is
    flat near its maximum: compare rules by :meth:`population_f1`, not by their
    alphas and betas.

    Attributes
    ----------
    ideal : SyntheticScores or None
        From :func:`make_posts` only: the probabilities of ideal branches for the posts
        that it returned, without broken images.

    Examples
    --------
    >>> from mmevent.synthetic import make_scores
    >>> truth = make_scores(100, share_images=0.0, random_state=0).truth
    >>> truth.alpha, truth.beta, truth.pool
    (0.0, 1.0, 'max')
    >>> bool(truth.population_f1(threshold=0.9) < truth.f1)
    True
    """

    _model: ScoreModel | PostModel = field(repr=False)
    ideal: SyntheticScores | None = field(default=None, repr=False)

    @property
    def alpha(self) -> float:
        """Best weight of the image against the text."""
        return _best(self._model).alpha

    @property
    def beta(self) -> float:
        """Best factor on the score of posts with images."""
        return _best(self._model).beta

    @property
    def pool(self) -> str:
        """Best pooling; ``"max"`` where no post has two images."""
        return _best(self._model).pool

    @property
    def threshold(self) -> float:
        """Best threshold on the score of this rule."""
        return _best(self._model).threshold

    @property
    def f1(self) -> float:
        """F1 of this rule in the population."""
        return _best(self._model).f1

    @property
    def beta_unbounded(self) -> float:
        """Best beta in [1/8, 8], to within 2 percent."""
        return _best(self._model).beta_unbounded

    @property
    def population(self) -> SyntheticScores:
        """The 200,000 posts; their arrays are read-only."""
        return _population(self._model)

    def population_f1(
        self,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        pool: str | None = None,
        threshold: float | None = None,
    ) -> float:
        """Return the F1 of a rule in the population.

        Parameters
        ----------
        alpha, beta, threshold : float, default=None
            Parameters of the rule; None for those of the best rule.
        pool : {"max", "mean", "noisy-or"}, default=None
            Pooling of the rule; None for that of the best rule.

        Returns
        -------
        float
            F1 = 2 * true positives / (flagged + events).
        """
        best = _best(self._model)
        y = self.population.y
        score = self.population.fuse(
            alpha=best.alpha if alpha is None else alpha,
            beta=best.beta if beta is None else beta,
            pool=best.pool if pool is None else pool,
        )
        flagged = score >= (best.threshold if threshold is None else threshold)
        return float(2 * y[flagged].sum() / (flagged.sum() + y.sum()))


@lru_cache(maxsize=16)
def _population(model: ScoreModel | PostModel) -> SyntheticScores:
    draw = model.draw(_POPULATION_SIZE, np.random.default_rng(_POPULATION_SEED))
    for values in draw:
        values.setflags(write=False)
    return SyntheticScores(*draw, truth=Truth(model))


@lru_cache(maxsize=256)
def _best(model: ScoreModel | PostModel) -> Best:
    scores = _population(model)
    return find_best(scores.p_text, scores.p_image, scores.post, scores.y)


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
    """Return the best point for each bound on abs(log(beta)), the widest bound first.

    Of equally good points, it takes the one with the smallest w, then the first
    pooling, then beta nearest 1.
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
    """Return log(beta) in steps, nearest 0 first, and the best F1 for each."""
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
    """Return the numbers of events and of posts in each bin and above it."""
    flagged = np.bincount(bins, minlength=n_bins + 1)[::-1].cumsum()[::-1]
    found = np.bincount(bins[y == 1], minlength=n_bins + 1)[::-1].cumsum()[::-1]
    return found, flagged
