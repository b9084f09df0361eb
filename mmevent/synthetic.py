"""Made-up posts, pictures and scores whose best fusion is known.

:func:`make_posts` writes texts and draws pictures, for the demo, the tests and
whoever wants to try the package without data. :func:`make_scores` stops earlier,
at the branches' probabilities, to study the search alone. Both come with a
:class:`Truth`: the best alpha, beta, pooling and threshold in the population that
the posts are drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmevent._demo import ImageStatistics, demo_branches
from mmevent._drawing import (
    damage,
    draw_images,
    empty_folder,
    write_pictures,
    write_texts,
)
from mmevent._latent import PostModel, ScoreModel, draw_originals, take_posts
from mmevent._population import Best, find_best
from mmevent.exceptions import InputError
from mmevent.fusion import fuse, pool_images

if TYPE_CHECKING:
    import os

    import pandas as pd

    FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
    IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

__all__ = [
    "SCENARIOS",
    "ImageStatistics",
    "SyntheticScores",
    "Truth",
    "demo_branches",
    "make_posts",
    "make_scores",
]

_POPULATION_SIZE = 200_000
_POPULATION_SEED = 2019_0801
_PLACES = ("Alderport", "Brickton", "Castlemere", "Dunford", "Elmsgate", "Fairhaven")


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

    def fuse(self, *, alpha: float, beta: float, pool: str) -> FloatArray:
        """Return the score of each post.

        Parameters
        ----------
        alpha, beta : float
            As in :func:`mmevent.fusion.fuse`.
        pool : {"max", "mean", "noisy-or"}
            As in :func:`mmevent.fusion.pool_images`.

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
    [0, 0.99], beta in [1/2, 2] and the ways to pool, with the best threshold of
    each. This takes about a second, on first use, once for each set of
    parameters. F1 is flat near its maximum: compare rules by
    :meth:`population_f1`, not alphas and betas.

    Attributes
    ----------
    alpha, beta : float
        The best weights.
    pool : {"max", "mean", "noisy-or"}
        The best way to pool; ``"max"`` where no post has two images.
    threshold : float
        The best threshold at those.
    f1 : float
        F1 of this rule in the population.
    beta_unbounded : float
        The best beta if it may lie anywhere in [1/8, 8], to within 2 percent.
    ideal : SyntheticScores or None
        From :func:`make_posts` only: the ideal branches' probabilities of the
        very posts that it returned, broken images left out.

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
        """Weight of the image against the text."""
        return _best(self._model).alpha

    @property
    def beta(self) -> float:
        """Weight of a post with images."""
        return _best(self._model).beta

    @property
    def pool(self) -> str:
        """The way to pool."""
        return _best(self._model).pool

    @property
    def threshold(self) -> float:
        """Threshold on the score."""
        return _best(self._model).threshold

    @property
    def f1(self) -> float:
        """F1 in the population."""
        return _best(self._model).f1

    @property
    def beta_unbounded(self) -> float:
        """Best beta in [1/8, 8]."""
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
        """Return the F1 that a rule has in the population.

        Parameters
        ----------
        alpha, beta, threshold : float, default=None
            The rule's; None for the best rule's.
        pool : {"max", "mean", "noisy-or"}, default=None
            The rule's; None for the best rule's.

        Returns
        -------
        float
            2 * true positives / (flagged + positives).
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


def make_scores(
    n_posts: int = 2000,
    *,
    share_images: float = 0.6,
    max_images: int = 3,
    share_showing: float = 0.5,
    share_no_text: float = 0.05,
    prevalence: float = 0.3,
    separation_text: float = 1.8,
    separation_image: float = 2.2,
    calibration_text: tuple[float, float] = (1.0, 0.0),
    calibration_text_with_images: tuple[float, float] | None = None,
    calibration_image: tuple[float, float] = (1.0, 0.0),
    random_state: int | np.random.Generator | None = None,
) -> SyntheticScores:
    r"""Draw the probabilities that two branches could give to posts.

    Each text, and each image, carries Gaussian evidence: unit variance, means
    `separation_text` or `separation_image` apart. Its log odds of an event, L,
    are exact; the branch says :math:`1 / (1 + e^{-(aL + b)})`, with (a, b) its
    calibration, so that (1, 0) is a perfectly calibrated branch.

    Parameters
    ----------
    n_posts : int, default=2000
        Number of posts, at least 1.
    share_images : float, default=0.6
        Share of posts with images, in [0, 1].
    max_images : int, default=3
        A post with images has 1 to `max_images` of them, equally likely.
    share_showing : float, default=0.5
        Share of an event post's images that show the event, in [0, 1]; the others
        look like those of other posts. Where this is 0.5 or less and posts have
        several images, ``max`` does better than ``mean``; near 1, worse.
    share_no_text : float, default=0.05
        Share of posts without text, in [0, 1]; some may lack both.
    prevalence : float, default=0.3
        Share of events, in (0, 1); met as nearly as `n_posts` allows.
    separation_text, separation_image : float, default=1.8 and 2.2
        How well each branch can do, 0 or greater.
    calibration_text : tuple of (slope, offset), default=(1.0, 0.0)
        On the log odds; a slope above 1 is overconfident, an offset above 0 says
        "event" too often.
    calibration_text_with_images : tuple of (slope, offset), default=None
        The same in posts with images; None for `calibration_text`. Where the two
        differ, so does the best beta from 1.
    calibration_image : tuple of (slope, offset), default=(1.0, 0.0)
        The same for images.
    random_state : int, numpy.random.Generator or None, default=None
        Seed.

    Returns
    -------
    SyntheticScores
        Probabilities, labels and the truth.

    Raises
    ------
    InputError
        If a parameter lies outside its range.

    See Also
    --------
    make_posts : Posts with texts and pictures.

    Examples
    --------
    >>> from mmevent.synthetic import make_scores
    >>> scores = make_scores(500, prevalence=0.2, random_state=0)
    >>> scores.p_text.shape, int(scores.y.sum())
    ((500,), 100)
    """
    _check_count("n_posts", n_posts)
    _check_common(share_images, max_images, share_showing, share_no_text, prevalence)
    _check_range("separation_text", separation_text, 0, np.inf)
    _check_range("separation_image", separation_image, 0, np.inf)
    model = ScoreModel(
        share_images=share_images,
        max_images=max_images,
        share_showing=share_showing,
        share_no_text=share_no_text,
        prevalence=prevalence,
        separation_text=separation_text,
        separation_image=separation_image,
        calibration_text=_check_line("calibration_text", calibration_text),
        calibration_text_with_images=_check_line(
            "calibration_text_with_images",
            calibration_text
            if calibration_text_with_images is None
            else calibration_text_with_images,
        ),
        calibration_image=_check_line("calibration_image", calibration_image),
    )
    draw = model.draw(n_posts, np.random.default_rng(random_state))
    return SyntheticScores(*draw, truth=Truth(model))


SCENARIOS: dict[str, dict[str, Any]] = {
    "small": {"n_posts": 500},
    "balanced classes": {"n_posts": 2000, "prevalence": 0.5, "share_images": 0.5},
    "rare event": {"n_posts": 20_000, "prevalence": 0.03, "separation_text": 2.2},
    "few images": {"n_posts": 3000, "share_images": 0.12, "max_images": 1},
    "all have images": {"n_posts": 5000, "share_images": 1.0, "max_images": 1},
    "albums": {
        "n_posts": 5000,
        "max_images": 6,
        "share_images": 0.8,
        "share_showing": 0.4,
        "separation_image": 3.0,
    },
    "overconfident with images": {
        "n_posts": 10_000,
        "calibration_text_with_images": (1.6, 0.8),
        "calibration_image": (1.4, 0.6),
    },
    "underconfident with images": {
        "n_posts": 10_000,
        "calibration_text_with_images": (0.6, -0.4),
        "calibration_image": (0.6, -0.4),
        "share_no_text": 0.15,
    },
    "beta out of bounds": {
        "n_posts": 20_000,
        "calibration_text_with_images": (0.8, -2.0),
        "calibration_image": (0.8, -2.0),
    },
}
"""Named parameters of :func:`make_scores` that cover what a search may meet."""


def make_posts(
    n_posts: int = 1000,
    *,
    image_size: int = 32,
    share_images: float = 0.6,
    max_images: int = 3,
    share_showing: float = 0.5,
    share_broken: float = 0.02,
    share_no_text: float = 0.05,
    share_telling: float = 0.95,
    share_lookalike: float = 0.3,
    share_reposts: float = 0.05,
    prevalence: float = 0.3,
    n_groups: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    random_state: int | np.random.Generator | None = None,
) -> tuple[pd.DataFrame, IntArray, Truth]:
    """Write posts with small pictures about a made-up protest.

    A text is a line of words: about the event, about its causes (a look-alike
    post has many of these, and event words too), and neutral ones. A picture is
    a shape on a noisy ground: the warmer its colour, the likelier an event. Each
    tells something that the other does not.

    Parameters
    ----------
    n_posts : int, default=1000
        Number of posts, at least 1.
    image_size : int, default=32
        Width and height of a picture in pixels, at least 8.
    share_images : float, default=0.6
        Share of posts with images, in [0, 1].
    max_images : int, default=3
        A post with images has 1 to `max_images` of them, equally likely.
    share_showing : float, default=0.5
        Share of an event post's images that show the event, in [0, 1].
    share_broken : float, default=0.02
        Share of the images whose file cannot be read, in [0, 1]: cut short, a web
        page, or empty.
    share_no_text : float, default=0.05
        Share of posts without text, in [0, 1]; some may lack both.
    share_telling : float, default=0.95
        Share of event posts whose text tells of the event, in [0, 1].
    share_lookalike : float, default=0.3
        Share of the other posts that are about the causes of events, in [0, 1].
    share_reposts : float, default=0.05
        Share of posts, in [0, 1], that repeat text, images and label of an earlier
        one (where there is one), with an id, author and time of their own.
    prevalence : float, default=0.3
        Share of events, in (0, 1); met as nearly as `n_posts` allows.
    n_groups : int, default=None
        Adds a column `group` with this many labels, at random; reposts are in the
        group of their original.
    folder : str or path, default=None
        Where given, the pictures are written to ``folder/images``, and the column
        `images` holds their paths relative to `folder`, joined by "|", so that the
        table can be saved as CSV there.
    random_state : int, numpy.random.Generator or None, default=None
        Seed.

    Returns
    -------
    posts : pandas.DataFrame of shape (n_posts, 6 or 7)
        Columns `id`, `text` (missing where there is none), `images` (a list of
        ``bytes``, or see `folder`), `created_at` (ascending), `place`, `author`,
        and `group` with `n_groups`.
    y : ndarray of int of shape (n_posts,)
        1 for an event, else 0.
    truth : Truth
        The best rule for *ideal* branches: those that know how texts are written
        and pictures drawn, and say the exact probability of an event where events
        are half of all posts, as branches with ``class_weight="balanced"`` aim to.
        ``truth.ideal`` holds their probabilities of these posts.

    Raises
    ------
    InputError
        If a parameter lies outside its range, or ``folder/images`` is not empty.

    See Also
    --------
    make_scores : Probabilities only, with more to vary.
    demo_branches : Branches that learn from these posts.

    Examples
    --------
    >>> from mmevent.synthetic import make_posts
    >>> posts, y, truth = make_posts(50, random_state=0)
    >>> posts.columns.tolist()
    ['id', 'text', 'images', 'created_at', 'place', 'author']
    >>> int(y.sum())
    15
    """
    _check_count("n_posts", n_posts)
    _check_count("image_size", image_size, least=8)
    if n_groups is not None:
        _check_count("n_groups", n_groups)
    _check_common(share_images, max_images, share_showing, share_no_text, prevalence)
    _check_range("share_broken", share_broken, 0, 1)
    _check_range("share_telling", share_telling, 0, 1)
    _check_range("share_lookalike", share_lookalike, 0, 1)
    _check_range("share_reposts", share_reposts, 0, 1)
    model = PostModel(
        share_images=share_images,
        max_images=max_images,
        share_showing=share_showing,
        share_broken=share_broken,
        share_no_text=share_no_text,
        share_telling=share_telling,
        share_lookalike=share_lookalike,
        prevalence=prevalence,
    )
    target = None if folder is None else empty_folder(Path(folder))
    rng = np.random.default_rng(random_state)
    draw, content = model.draw_with_content(n_posts, rng)
    original = draw_originals(draw.y, share_reposts, rng)
    files = draw_images(content.evidence, image_size, rng)
    images: list[list[bytes]] = [[] for _ in range(n_posts)]
    for i, row in enumerate(content.post):
        images[row].append(damage(files[i], i) if content.broken[i] else files[i])
    posts = _frame(write_texts(content.counts, rng), images, original, rng)
    if n_groups is not None:
        posts["group"] = rng.integers(n_groups, size=n_posts)[original]
    if target is not None:
        posts["images"] = write_pictures(posts["images"], target)
    ideal = SyntheticScores(*take_posts(draw, original), truth=Truth(model))
    return posts, draw.y, Truth(model, ideal)


def _frame(
    texts: list[str],
    images: list[list[bytes]],
    original: IntArray,
    rng: np.random.Generator,
) -> pd.DataFrame:
    import pandas as pd

    n = len(texts)
    seconds = np.sort(rng.integers(90 * 86_400, size=n))
    authors = rng.integers(max(n // 3, 1), size=n)
    return pd.DataFrame(
        {
            "id": [f"p{i:06d}" for i in range(n)],
            "text": [texts[i] or None for i in original],
            "images": [list(images[i]) for i in original],
            "created_at": pd.Timestamp("2024-03-01", tz="UTC")
            + pd.to_timedelta(seconds, unit="s"),
            "place": [_PLACES[i] for i in rng.integers(len(_PLACES), size=n)],
            "author": [f"user{i:05d}" for i in authors],
        }
    )


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


def _check_common(
    share_images: float,
    max_images: int,
    share_showing: float,
    share_no_text: float,
    prevalence: float,
) -> None:
    _check_range("share_images", share_images, 0, 1)
    _check_count("max_images", max_images)
    _check_range("share_showing", share_showing, 0, 1)
    _check_range("share_no_text", share_no_text, 0, 1)
    if not 0 < prevalence < 1:
        raise InputError(
            f"prevalence={prevalence!r} leaves one class empty: expected a share "
            f"between 0 and 1, both excluded, got {prevalence!r}. Pass the share of "
            f"events, for example prevalence=0.3."
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (np.isfinite(value) and low <= value <= high):
        wanted = f"from {low} to {high}" if np.isfinite(high) else f"of {low} or more"
        raise InputError(
            f"{name}={value!r} is out of range: expected a number {wanted}, got "
            f"{value!r}. Change {name}."
        )


def _check_count(name: str, value: int, least: int = 1) -> None:
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(
            f"{name}={value!r} is no usable number: expected an integer of {least} or "
            f"more, got {value!r}. Change {name}."
        )


def _check_line(name: str, line: tuple[float, float]) -> tuple[float, float]:
    if len(line) != 2 or not np.isfinite(line).all() or line[0] <= 0:
        raise InputError(
            f"{name}={line!r} is no calibration: expected (slope, offset), two finite "
            f"numbers with the slope above 0, got {line!r}. Pass (1.0, 0.0) for a "
            f"calibrated branch."
        )
    return (float(line[0]), float(line[1]))
