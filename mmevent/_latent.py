"""Where synthetic evidence comes from: models to draw posts from, without files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, logsumexp

BACKGROUND = (0.03, 0.05, 0.92)
"""Shares of event, look-alike and neutral words in a post about something else."""
LOOKALIKE = (0.15, 0.22, 0.63)
"""The same in a post about the causes of events, not about an event."""
EVENT = (0.32, 0.08, 0.60)
"""The same in a post that tells of an event."""
PICTURE_SEPARATION = 3.0
"""Distance of the mean colours with and without the event, in their spread."""


class Draw(NamedTuple):
    """Posts as probabilities, in the order of `SyntheticScores`."""

    p_text: np.ndarray
    p_image: np.ndarray
    post: np.ndarray
    y: np.ndarray


class Content(NamedTuple):
    """What `PostModel` wants written and drawn; a broken picture has no p_image."""

    counts: np.ndarray
    """(n, 3) numbers of event, look-alike and neutral words; all 0: no text."""
    evidence: np.ndarray
    """(m,) what each picture shows, the broken ones too."""
    broken: np.ndarray
    """(m,) whether the picture's file cannot be read."""
    post: np.ndarray
    """(m,) row of each picture, the broken ones too."""


@dataclass(frozen=True, kw_only=True)
class ScoreModel:
    """Probabilities from Gaussian evidence; the fields are `make_scores`'s."""

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
    """Words and pictures, with ideal branches; the fields are `make_posts`'s."""

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
        """Draw the same, and what is to be written and drawn."""
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
    """Return the row that each post repeats: mostly itself."""
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
    """Draw labels whose share of ones is as near `prevalence` as n allows."""
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
    """Log likelihood ratio where only a `share` of the positives shows evidence."""
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
