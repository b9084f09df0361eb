"""The alpha/beta rule: one score per post from its text and its images.

Source: Zhang and Pan (2019), "CASM: A Deep-Learning Approach for Identifying
Collective Action Events with Text and Image Data from Social Media",
Sociological Methodology 49.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["POOLS", "Evidence", "Rule", "applied_rule", "fuse", "pool_images"]

POOLS = ("max", "mean", "noisy-or")
IMAGE = "image"  # name of the image branch where there is one


@np.errstate(under="ignore")
def fuse(
    p_text: ArrayLike, p_image: ArrayLike, *, alpha: float, beta: float = 1.0
) -> FloatArray:
    r"""Fuse the two probabilities of each post into one score.

    ====  =============  =========  =========================================
    text  usable images  rule       score
    ====  =============  =========  =========================================
    yes   yes            ``both``   beta * (p_text + alpha * p_image) / (1 + alpha)
    yes   no             ``text``   p_text
    no    yes            ``image``  beta * p_image (the limit of a large alpha)
    no    no             ``none``   0, never an event
    ====  =============  =========  =========================================

    Parameters
    ----------
    p_text : array-like of shape (n_posts,)
        Probability of an event from the text, in [0, 1]; NaN if missing.
    p_image : array-like of shape (n_posts,)
        Pooled probability from the images, in [0, 1]; NaN if missing.
    alpha : float
        Weight of the image against the text, in [0, inf).
    beta : float, default=1.0
        Factor on the score of posts with images, in (0, inf).

    Returns
    -------
    ndarray of shape (n_posts,)
        Score in [0, max(1, beta)], to be compared with a threshold. It is not a
        probability.

    Raises
    ------
    InputError
        If alpha or beta is negative or not finite, beta is 0, the lengths
        differ, or a probability lies outside [0, 1].

    See Also
    --------
    pool_images : From one probability per image to one per post.

    References
    ----------
    Zhang and Pan (2019), Sociological Methodology 49: the combination of the text and
    image classifiers.

    Examples
    --------
    >>> from mmevent import fuse
    >>> nan = float("nan")
    >>> fuse([0.8, 0.8, nan, nan], [0.2, nan, 0.2, nan], alpha=1.0, beta=1.5)
    array([0.75, 0.8 , 0.3 , 0.  ])
    """
    _check_weight("alpha", alpha, minimum=0.0)
    _check_weight("beta", beta, minimum=math.ulp(0.0))
    text, image = probabilities("p_text", p_text), probabilities("p_image", p_image)
    if text.shape != image.shape:
        raise InputError(
            f"p_text and p_image differ in length: expected one value for each post, "
            f"got {len(text)} and {len(image)}. Pool the images of each post first "
            f"(pool_images)."
        )
    weight = alpha / (1.0 + alpha)
    both = beta * ((1.0 - weight) * text + weight * image)
    has_text, has_image = ~np.isnan(text), ~np.isnan(image)
    return np.select(
        [has_text & has_image, has_text, has_image], [both, text, beta * image], 0.0
    )


def applied_rule(p_text: ArrayLike, p_image: ArrayLike) -> NDArray[Any]:
    """Name the case of the rule that applies to each post.

    Parameters
    ----------
    p_text, p_image : array-like of shape (n_posts,)
        As in :func:`fuse`; NaN if missing.

    Returns
    -------
    ndarray of shape (n_posts,)
        ``"both"``, ``"text"``, ``"image"`` or ``"none"``.

    Examples
    --------
    >>> from mmevent.rule import applied_rule
    >>> applied_rule([0.8, float("nan")], [0.2, float("nan")]).tolist()
    ['both', 'none']
    """
    has_text = ~np.isnan(np.asarray(p_text, dtype=float))
    has_image = ~np.isnan(np.asarray(p_image, dtype=float))
    return np.select(
        [has_text & has_image, has_text, has_image], ["both", "text", "image"], "none"
    ).astype(object)


@np.errstate(under="ignore")
def pool_images(
    p_image: ArrayLike, post: ArrayLike, n_posts: int, *, pool: str = "max"
) -> FloatArray:
    """Pool the probabilities of each post's images into one.

    Parameters
    ----------
    p_image : array-like of shape (n_images,)
        Probability of an event from each image, in [0, 1]; NaN for an image that is
        left out.
    post : array-like of int of shape (n_images,)
        Row number of the post that each image belongs to, in [0, n_posts).
    n_posts : int
        Number of posts.
    pool : {"max", "mean", "noisy-or"}, default="max"
        ``noisy-or`` is 1 minus the product of (1 - p).

    Returns
    -------
    ndarray of shape (n_posts,)
        One probability per post, in [0, 1]; NaN where it has no usable image.

    Raises
    ------
    InputError
        If `pool` is unknown, a probability lies outside [0, 1], the lengths differ,
        or `post` names a row that is not there.

    Examples
    --------
    >>> from mmevent import pool_images
    >>> pool_images([0.2, 0.6, 0.5], [0, 0, 2], 3, pool="mean")
    array([0.4, nan, 0.5])
    """
    p, row = probabilities("p_image", p_image), np.asarray(post, dtype=np.intp)
    if p.shape != row.shape:
        raise InputError(
            f"p_image and post differ in length: expected one post for each image, "
            f"got {len(p)} and {len(row)}. Pass the row number of each image's post."
        )
    if len(row) and (row.min() < 0 or row.max() >= n_posts):
        raise InputError(
            f"post names posts that are not there: expected row numbers from 0 to "
            f"{n_posts - 1}, got {row.min()} to {row.max()}. Pass the number of posts "
            f"as n_posts, and row numbers, not ids."
        )
    present = ~np.isnan(p)
    p, row = p[present], row[present]
    count = np.bincount(row, minlength=n_posts)
    if pool == "max":
        pooled = np.zeros(n_posts)
        np.maximum.at(pooled, row, p)
    elif pool == "mean":
        total = np.bincount(row, weights=p, minlength=n_posts)
        pooled = np.minimum(total / np.maximum(count, 1), 1.0)
    elif pool == "noisy-or":
        remaining = np.ones(n_posts)
        np.multiply.at(remaining, row, 1.0 - p)
        pooled = 1.0 - remaining
    else:
        raise InputError(
            f"pool={pool!r} is not a way to pool images: expected one of "
            f"{', '.join(POOLS)}. Choose one of them."
        )
    return np.where(count > 0, pooled, np.nan)


def _check_weight(name: str, value: float, *, minimum: float) -> None:
    number = isinstance(value, (int, float, np.number))
    if not number or not np.isfinite(value) or value < minimum:
        bound = "0 or greater" if minimum == 0.0 else "greater than 0"
        raise InputError(
            f"{name}={value!r} cannot weigh a post: expected a finite number, {bound}, "
            f"got {value!r}. Pass another {name}, or let EventDetector find it."
        )


def probabilities(name: str, values: ArrayLike) -> FloatArray:
    """Return probabilities as an array, or raise InputError; NaN means missing."""
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        raise InputError(
            f"{name} holds no probabilities: expected a sequence of numbers in "
            f"[0, 1], NaN where missing, got shape {p.shape} with values from "
            f"{np.nanmin(p) if p.size else 'nothing'} to "
            f"{np.nanmax(p) if p.size else 'nothing'}. "
            f"Take the column of the positive class of predict_proba."
        )
    return p


@dataclass(frozen=True)
class Evidence:
    """Probabilities of a set of posts, one row per post.

    Parameters
    ----------
    p_text : ndarray of shape (n_posts,)
        Probability from the text; NaN where a post has none.
    pooled : dict of (name, pool) to ndarray of shape (n_posts,)
        Pooled image probability for each image branch and pooling; NaN where a post
        has no usable image.
    p_text_2 : ndarray of shape (n_posts,) or None, default=None
        Probability from the second stage's text classifier, if there is one.

    Examples
    --------
    >>> from mmevent.rule import Evidence
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9, 0.1], [0, 0], pool="max")
    >>> evidence.pooled["image", "max"]
    array([0.9, nan])
    """

    p_text: NDArray[np.float64]
    pooled: Mapping[tuple[str, str], NDArray[np.float64]]
    p_text_2: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        return (
            f"<Evidence: {len(self.p_text):,} posts, {int(self.has_text.sum()):,} with "
            f"text, {int(self.has_image.sum()):,} with images>"
        )

    @classmethod
    def from_images(
        cls,
        p_text: ArrayLike,
        p_image: ArrayLike | Mapping[str, ArrayLike],
        post: ArrayLike,
        *,
        pool: str = "auto",
    ) -> Evidence:
        """Make evidence from one probability per image.

        Parameters
        ----------
        p_text : array-like of shape (n_posts,)
            Probability from the text; NaN where a post has none.
        p_image : array-like of shape (n_images,), or mapping of str to such
            Probability from each image, for one branch or several branches by name.
        post : array-like of int of shape (n_images,)
            Row number of each image's post.
        pool : {"auto", "max", "mean", "noisy-or"}, default="auto"
            ``"auto"`` computes every pooling if a post has two images, else ``"max"``.

        Returns
        -------
        Evidence

        Raises
        ------
        InputError
            If probabilities or rows are not as described, or a mapping is empty.
        """
        text = probabilities("p_text", p_text)
        branches: Mapping[str, Any] = (
            p_image if isinstance(p_image, Mapping) else {IMAGE: p_image}
        )
        if not branches:
            raise InputError(
                "p_image has no branch: expected probabilities from one branch or "
                "more, got an empty mapping. Pass [] for both p_image and post where "
                "no post has an image."
            )
        several = len(np.unique(post)) < len(np.asarray(post))
        pools = (POOLS if several else POOLS[:1]) if pool == "auto" else (pool,)
        pooled = {
            (name, how): pool_images(p, post, len(text), pool=how)
            for name, p in branches.items()
            for how in pools
        }
        return cls(text, pooled)

    def __len__(self) -> int:
        return len(self.p_text)

    def take(self, rows: NDArray[Any]) -> Evidence:
        """Return some of the posts, given by row number or mask."""
        pooled = {key: p[rows] for key, p in self.pooled.items()}
        second = None if self.p_text_2 is None else self.p_text_2[rows]
        return Evidence(self.p_text[rows], pooled, second)

    def with_second(self, p_text_2: ArrayLike) -> Evidence:
        """Return the same posts with the second stage's text probabilities."""
        second = probabilities("p_text_2", p_text_2)
        if second.shape != self.p_text.shape:
            raise InputError(
                f"p_text_2 does not fit p_text: expected one probability for each of "
                f"{len(self)} posts, got {len(second)}. Pass both of the same posts."
            )
        return Evidence(self.p_text, self.pooled, second)

    def second(self, image: str, pool: str) -> Evidence:
        """Return what the second stage fuses: ``p_text_2``, and images as before."""
        assert self.p_text_2 is not None
        return Evidence(self.p_text_2, {(image, pool): self.pooled[image, pool]})

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which posts have a text probability."""
        return ~np.isnan(self.p_text)

    @cached_property
    def has_image(self) -> NDArray[np.bool_]:
        """Which posts have an image probability from at least one branch."""
        has = np.zeros(len(self), dtype=bool)
        for p in self.pooled.values():
            has |= ~np.isnan(p)
        return has


@dataclass(frozen=True)
class Rule:
    """The parameters of the alpha/beta rule, and the threshold on its score.

    Parameters
    ----------
    alpha, beta : float
        As in :func:`mmevent.fuse`.
    pool : str
        As in :func:`mmevent.pool_images`.
    threshold : float
        A post is an event where its score reaches the threshold; above 0.
    image : str, default="image"
        Name of the image branch.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.rule import Evidence, Rule
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9], [0])
    >>> Rule(alpha=1.0, beta=1.0, pool="max", threshold=0.5).score(evidence)
    array([0.6, 0.4])
    """

    alpha: float
    beta: float
    pool: str
    threshold: float
    image: str = IMAGE

    kind: ClassVar[str] = "alpha-beta"
    title: ClassVar[str] = "the alpha/beta rule of Zhang and Pan (2019)"
    searched: ClassVar[tuple[str, ...]] = ("alpha", "beta", "pool", "image")

    def score(self, evidence: Evidence) -> NDArray[np.float64]:
        """Score of each post, to be compared with the threshold."""
        p_image = evidence.pooled[self.image, self.pool]
        return fuse(evidence.p_text, p_image, alpha=self.alpha, beta=self.beta)

    @property
    def weight(self) -> float:
        """Weight of the image, alpha / (1 + alpha)."""
        return self.alpha / (1.0 + self.alpha)

    def formulas(self) -> dict[str, str]:
        """Write the score of a post by the case of the rule, for people to read."""
        alpha, beta = self.alpha, self.beta
        both = f"{beta:.4g} × (p_text + {alpha:.4g} × p_image) / {1 + alpha:.4g}"
        return {"both": both, "text": "p_text", "image": f"{beta:.4g} × p_image"}

    def meanings(self, *, beta_identified: bool) -> list[tuple[str, str, str]]:
        """Return the name, the value and the meaning of each number."""
        weight, beta = self.weight, f"{self.beta:.3g}"
        shares = f"text counts {1 - weight:.0%}, images {weight:.0%}, where both are"
        factor = f"the score of a post with images is multiplied by {beta}"
        if not beta_identified:
            factor = "fixed: too few posts with images, or without, to learn it from"
        elif self.beta == 1:
            factor = "a score counts the same with images as without"
        return [("alpha", f"{self.alpha:.3g}", shares), ("beta", beta, factor)]

    def preference(self) -> tuple[float, float, int]:
        """Sort key for equally good rules: the smallest is preferred."""
        return (self.alpha, abs(np.log(self.beta)), POOLS.index(self.pool))
