"""Out-of-fold probabilities of posts, and the parameters of a rule that fuses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent.fusion import POOLS, fuse, pool_images

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

IMAGE = "image"


@dataclass(frozen=True)
class Evidence:
    """Probabilities of a set of posts, one row a post.

    Parameters
    ----------
    p_text : ndarray of shape (n_posts,)
        NaN where a post has no text.
    pooled : dict of (name, pool) to ndarray of shape (n_posts,)
        Pooled image probability for each image branch and way to pool; NaN where
        a post has no usable image.
    p_text_2, p_image_2 : ndarray of shape (n_posts,) or None, default=None
        The second stage's probabilities.

    Examples
    --------
    >>> from mmevent.tuning import Evidence
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9, 0.1], [0, 0], pool="max")
    >>> evidence.pooled["image", "max"]
    array([0.9, nan])
    """

    p_text: NDArray[np.float64]
    pooled: Mapping[tuple[str, str], NDArray[np.float64]]
    p_text_2: NDArray[np.float64] | None = None
    p_image_2: NDArray[np.float64] | None = None

    @classmethod
    def from_images(
        cls,
        p_text: ArrayLike,
        p_image: ArrayLike | Mapping[str, ArrayLike],
        post: ArrayLike,
        *,
        pool: str = "auto",
    ) -> Evidence:
        """Pool one probability per image, of one branch or of several by name.

        ``pool="auto"`` pools in every way where a post has two images, and by
        ``max`` where none has; else in the one way that is named.
        """
        text = np.asarray(p_text, dtype=np.float64)
        branches: Mapping[str, Any] = (
            p_image if isinstance(p_image, Mapping) else {IMAGE: p_image}
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
        """Keep some posts, by row number or mask."""
        pooled = {key: p[rows] for key, p in self.pooled.items()}
        second = [None if p is None else p[rows] for p in self._of_second]
        return Evidence(self.p_text[rows], pooled, *second)

    @property
    def _of_second(self) -> tuple[NDArray[np.float64] | None, ...]:
        return self.p_text_2, self.p_image_2

    def with_second(
        self,
        p_text_2: NDArray[np.float64] | None,
        p_image_2: NDArray[np.float64] | None = None,
    ) -> Evidence:
        """Return the same with the second stage's probabilities."""
        return Evidence(self.p_text, self.pooled, p_text_2, p_image_2)

    def second(self, first: Rule) -> Evidence:
        """Return what the second stage fuses: its texts, and the images as before."""
        assert self.p_text_2 is not None
        key = (first.image, first.pool)
        return Evidence(self.p_text_2, {key: self.pooled[key]})

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which posts have a text probability."""
        return ~np.isnan(self.p_text)

    @cached_property
    def has_image(self) -> NDArray[np.bool_]:
        """Which posts have an image probability, from any branch."""
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
    image : str
        Name of the image branch, where there are several.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.tuning import Evidence, Rule
    >>> evidence = Evidence.from_images([0.3, 0.4], [0.9], [0])
    >>> Rule(alpha=1.0, beta=1.0, pool="max", threshold=0.5).score(evidence)
    array([0.6, 0.4])
    """

    alpha: float
    beta: float
    pool: str
    threshold: float
    image: str = IMAGE

    def score(self, evidence: Evidence) -> NDArray[np.float64]:
        """Score of each post; compare it with the threshold."""
        p_image = evidence.pooled[self.image, self.pool]
        return fuse(evidence.p_text, p_image, alpha=self.alpha, beta=self.beta)

    @property
    def weight(self) -> float:
        """Weight of the image, alpha / (1 + alpha)."""
        return self.alpha / (1.0 + self.alpha)

    def preference(self) -> tuple[float, float, int]:
        """Order of preference between rules that do equally well: least first."""
        return (self.alpha, abs(np.log(self.beta)), POOLS.index(self.pool))
