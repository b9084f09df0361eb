"""Made-up probabilities of a text and an image branch, to study the search alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit, logsumexp

from mmevent._common import as_whole
from mmevent._settings import with_own_settings
from mmevent.exceptions import InputError
from mmevent.synthetic.truth import SyntheticScores, Truth

BACKGROUND = (0.03, 0.05, 0.92)
"""Shares of event, look-alike and neutral words in a post about something else."""
LOOKALIKE = (0.15, 0.22, 0.63)
"""The same in a look-alike post, about the causes of events."""
EVENT = (0.32, 0.08, 0.60)
"""The same in a post about an event."""
PICTURE_SEPARATION = 3.0
"""Distance of the mean colours with and without the event, in standard deviations."""


class Draw(NamedTuple):
    """Probabilities and labels of posts, in the order of `SyntheticScores`."""

    p_text: np.ndarray
    p_image: np.ndarray
    post: np.ndarray
    y: np.ndarray


class Content(NamedTuple):
    """Content of posts, to be written and drawn; a broken picture has no p_image."""

    counts: np.ndarray
    """(n, 3) numbers of event, look-alike and neutral words; all 0 without text."""
    evidence: np.ndarray
    """(m,) evidence of each picture, including broken ones."""
    broken: np.ndarray
    """(m,) whether the picture's file cannot be read."""
    post: np.ndarray
    """(m,) row of each picture's post, including broken ones."""


@dataclass(frozen=True, kw_only=True)
class ScoreModel:
    """Probabilities from Gaussian evidence; fields as in `make_scores`."""

    share_images: float
    max_images: int
    share_showing: float
    share_no_text: float
    prevalence: float
    separation_text: float
    separation_image: float
    calibration_text: tuple[float, float]
    calibration_text_with_images: tuple[float, float]
    calibration_image: tuple[float, float]

    def draw(self, n_posts: int, rng: np.random.Generator) -> Draw:
        """Draw posts with their probabilities."""
        y = _labels(n_posts, self.prevalence, rng)
        post = _image_rows(n_posts, self.share_images, self.max_images, rng)
        prior = logit(self.prevalence)
        text = prior + _evidence(y == 1, self.separation_text, rng)
        with_images = np.isin(np.arange(n_posts), post)
        p_text = np.where(
            with_images,
            _calibrate(text, self.calibration_text_with_images),
            _calibrate(text, self.calibration_text),
        )
        p_text[rng.random(n_posts) < self.share_no_text] = np.nan
        shown = _some_of(y[post], self.share_showing, rng)
        evidence = _evidence(shown, self.separation_image, rng)
        image = prior + _diluted(evidence, self.share_showing)
        return Draw(p_text, _calibrate(image, self.calibration_image), post, y)


@dataclass(frozen=True, kw_only=True)
class PostModel:
    """Words and pictures, with ideal branches; fields as in `make_posts`."""

    share_images: float
    max_images: int
    share_showing: float
    share_broken: float
    share_no_text: float
    share_telling: float
    share_lookalike: float
    prevalence: float

    def draw(self, n_posts: int, rng: np.random.Generator) -> Draw:
        """Draw posts with the probabilities of the ideal branches."""
        return self.draw_with_content(n_posts, rng)[0]

    def draw_with_content(
        self, n_posts: int, rng: np.random.Generator
    ) -> tuple[Draw, Content]:
        """Draw posts with the same probabilities, and their content."""
        y = _labels(n_posts, self.prevalence, rng)
        post = _image_rows(n_posts, self.share_images, self.max_images, rng)
        counts = self._count_words(y, rng)
        p_text = expit(self._text_evidence(counts))
        no_text = rng.random(n_posts) < self.share_no_text
        p_text[no_text], counts[no_text] = np.nan, 0
        shown = _some_of(y[post], self.share_showing, rng)
        evidence = _evidence(shown, PICTURE_SEPARATION, rng)
        broken = rng.random(len(post)) < self.share_broken
        p_image = expit(_diluted(evidence, self.share_showing))
        return (
            Draw(p_text, p_image[~broken], post[~broken], y),
            Content(counts, evidence / PICTURE_SEPARATION, broken, post),
        )

    def _count_words(self, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        lookalike = rng.random(len(y)) < self.share_lookalike
        kind = np.where(_some_of(y, self.share_telling, rng), 2, lookalike)
        shares = np.array((BACKGROUND, LOOKALIKE, EVENT))
        return rng.multinomial(rng.integers(6, 15, len(y)), shares[kind])

    def _text_evidence(self, counts: np.ndarray) -> np.ndarray:
        by_kind = counts @ np.log((BACKGROUND, LOOKALIKE, EVENT)).T
        weights = (1 - self.share_lookalike, self.share_lookalike)
        other = logsumexp(by_kind[:, :2], axis=1, b=weights)
        return _diluted(by_kind[:, 2] - other, self.share_telling)


def draw_originals(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return the row that each post repeats, which is itself for most posts."""
    original = np.arange(len(y))
    repeats = rng.random(len(y)) < share
    for label in (0, 1):
        first = np.flatnonzero((y == label) & ~repeats)
        copies = np.flatnonzero((y == label) & repeats)
        n_before = np.searchsorted(first, copies)
        copies, n_before = copies[n_before > 0], n_before[n_before > 0]
        original[copies] = first[rng.integers(n_before)]
    return original


def take_posts(draw: Draw, rows: np.ndarray) -> Draw:
    """Return the posts in `rows`, in that order, with their images."""
    first, stop = np.searchsorted(draw.post, (rows, rows + 1))
    picked = np.repeat(first, stop - first) + _count_up(stop - first)
    post = np.repeat(np.arange(len(rows)), stop - first)
    return Draw(draw.p_text[rows], draw.p_image[picked], post, draw.y[rows])


def _labels(n: int, prevalence: float, rng: np.random.Generator) -> np.ndarray:
    """Draw labels with a share of ones as near `prevalence` as n allows."""
    positives = int(np.clip(round(prevalence * n), 1, max(n - 1, 1)))
    return rng.permutation((np.arange(n) < positives).astype(np.int64))


def _image_rows(
    n: int, share: float, most: int, rng: np.random.Generator
) -> np.ndarray:
    n_images = rng.integers(1, most, n, endpoint=True)
    n_images[rng.random(n) >= share] = 0
    return np.repeat(np.arange(n), n_images)


def _some_of(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.asarray((y == 1) & (rng.random(len(y)) < share))


def _evidence(
    shown: np.ndarray, separation: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw log likelihood ratios of two unit Gaussians `separation` apart."""
    mean = np.where(shown, separation / 2, -separation / 2)
    return np.asarray(separation * rng.normal(mean))


def _diluted(evidence: np.ndarray, share: float) -> np.ndarray:
    """Return log likelihood ratios if only a `share` of events shows evidence."""
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp(np.log1p(-share), np.log(share) + evidence)
    return np.asarray(mixed)


def _calibrate(log_odds: np.ndarray, line: tuple[float, float]) -> np.ndarray:
    slope, offset = line
    return np.asarray(expit(slope * log_odds + offset))


def _count_up(sizes: np.ndarray) -> np.ndarray:
    """Return 0, 1, ..., size - 1 for each size, one after another."""
    before = np.repeat(sizes.cumsum() - sizes, sizes)
    return np.asarray(np.arange(len(before)) - before)


__all__ = ["SCENARIOS", "make_scores"]


@with_own_settings
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

    Each text, and each image, carries Gaussian evidence of unit variance. The means of
    events and other posts are `separation_text` or `separation_image` apart. With L the
    exact log odds of an event, the branch gives the probability
    :math:`1 / (1 + e^{-(aL + b)})`, where (a, b) is its calibration; (1, 0) is a
    perfectly calibrated branch.

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
        Share of events, in (0, 1), as near as `n_posts` allows.
    separation_text, separation_image : float, default=1.8 and 2.2
        How well each branch can tell events from other posts, 0 or greater.
    calibration_text : tuple of (slope, offset), default=(1.0, 0.0)
        Line on the log odds. A branch with a slope above 1 is overconfident; one with
        an offset above 0 gives too high probabilities.
    calibration_text_with_images : tuple of (slope, offset), default=None
        The same in posts with images; None for `calibration_text`. Where the two
        differ, the best beta is not 1.
    calibration_image : tuple of (slope, offset), default=(1.0, 0.0)
        The same for images.
    random_state : int, numpy.random.Generator or None, default=None
        Seed.

    Returns
    -------
    SyntheticScores
        Probabilities, labels and the best rule.

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
    n_posts = check_count("n_posts", n_posts)
    max_images = check_count("max_images", max_images)
    check_common(share_images, share_showing, share_no_text, prevalence)
    check_range("separation_text", separation_text, 0, np.inf)
    check_range("separation_image", separation_image, 0, np.inf)
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
    draw = model.draw(n_posts, generator(random_state))
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
"""Parameters of :func:`make_scores` for cases that a search may meet, by name."""


def check_common(
    share_images: float,
    share_showing: float,
    share_no_text: float,
    prevalence: float,
) -> None:
    """Validate the parameters that `make_scores` and `make_posts` share."""
    check_range("share_images", share_images, 0, 1)
    check_range("share_showing", share_showing, 0, 1)
    check_range("share_no_text", share_no_text, 0, 1)
    if not 0 < prevalence < 1:
        raise InputError(
            f"prevalence={prevalence!r} leaves one class empty: expected a share "
            f"between 0 and 1, both excluded, got {prevalence!r}. Pass the share of "
            f"events, for example prevalence=0.3."
        )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Validate a number that must lie in [low, high]."""
    if not (np.isfinite(value) and low <= value <= high):
        wanted = f"from {low} to {high}" if np.isfinite(high) else f"of {low} or more"
        raise InputError(
            f"{name}={value!r} is out of range: expected a number {wanted}, got "
            f"{value!r}. Change {name}."
        )


def check_count(name: str, value: int, least: int = 1) -> int:
    """Validate an integer of `least` or more, and return it."""
    count = as_whole(value)
    if count is None or count < least:
        raise InputError(
            f"{name}={value!r} is no usable number: expected an integer of {least} or "
            f"more, got {value!r}. Change {name}."
        )
    return count


def generator(
    random_state: int | np.random.Generator | None,
) -> np.random.Generator:
    """Return the generator of a seed."""
    seed = as_whole(random_state)
    return np.random.default_rng(random_state if seed is None else seed)


def _check_line(name: str, line: tuple[float, float]) -> tuple[float, float]:
    if len(line) != 2 or not np.isfinite(line).all() or line[0] <= 0:
        raise InputError(
            f"{name}={line!r} is no calibration: expected (slope, offset), two finite "
            f"numbers with the slope above 0, got {line!r}. Pass (1.0, 0.0) for a "
            f"calibrated branch."
        )
    return (float(line[0]), float(line[1]))
