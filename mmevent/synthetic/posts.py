"""Made-up posts with texts and pictures, for the demo, the tests and first trials."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from mmevent._settings import with_own_settings
from mmevent.exceptions import InputError
from mmevent.synthetic.scores import (
    PostModel,
    check_common,
    check_count,
    check_range,
    draw_originals,
    generator,
    take_posts,
)
from mmevent.synthetic.truth import SyntheticScores, Truth

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import pandas as pd

    IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

EVENT_WORDS = """
march marching banner banners crowd crowds chanting slogans megaphone rally
demonstrators protest protesters placards barricade uprising assembly occupied
gathered square blocked thousands drums solidarity
""".split()

LOOKALIKE_WORDS = """
petition wages rent debate minister opinion column statement inquiry reform
budget election parliament interview editorial lawsuit compensation pollution
demolition layoffs unions survey ruling anniversary
""".split()

NEUTRAL_WORDS = """
morning evening today yesterday weekend monday friday sunday winter summer rain
sunny cloudy windy coffee tea bread soup noodles dinner lunch breakfast kitchen
recipe garden tomato apple lemon flowers roses tree river bridge harbour beach
hill park bench street corner market shop bakery library museum station train
bus tram bicycle ticket traffic airport holiday hotel suitcase map photo camera
film series song concert guitar piano dance theatre novel poem chapter teacher
school exam homework student lecture office meeting email deadline colleague
project report salary phone charger laptop screen keyboard update password game
football goal match team coach season runner marathon swimming yoga doctor
dentist medicine sleep dream tired happy lucky quiet slow early late again
finally almost maybe really always never still another little great nice new old
blue green yellow warm cold fresh sweet dog cat puppy kitten bird horse sister
brother cousin grandma neighbour friend baby birthday wedding present party cake
candle music jacket shoes scarf umbrella window door lamp sofa paint hammer
laundry rubbish elevator stairs balcony moon stars snow fog
""".split()

CATEGORIES = (EVENT_WORDS, LOOKALIKE_WORDS, NEUTRAL_WORDS)

_BATCH = 1024
_WARMTH = 24.0
"""Red minus half, in grey levels, for one unit of evidence; 5 units still fit."""


def write_texts(counts: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Write one text per row of `counts`, (n, 3) numbers of words by category.

    A row of zeros gives an empty text. Within a category all words are equally likely,
    and their order is random, so that a text has no other evidence than its counts.
    """
    n_posts = len(counts)
    flat = counts.ravel()
    category = np.repeat(np.tile(np.arange(3), n_posts), flat)
    post = np.repeat(np.arange(n_posts), counts.sum(axis=1))
    offsets = np.cumsum([0, *(len(words) for words in CATEGORIES)])
    vocabulary = np.array([word for words in CATEGORIES for word in words])
    chosen = rng.integers(offsets[category], offsets[category + 1])
    shuffled = np.lexsort((rng.random(len(post)), post))
    pieces = np.split(vocabulary[chosen[shuffled]], counts.sum(axis=1).cumsum()[:-1])
    return [
        f"{' '.join(words).capitalize()}." if len(words) else "" for words in pieces
    ]


def draw_images(
    evidence: np.ndarray, size: int, rng: np.random.Generator
) -> list[bytes]:
    """Draw one small picture for each number, as PNG and JPEG files in turn.

    Each shows a disc, a square or a diamond on a noisy grey ground. Its colour is
    warmer for positive evidence and colder for negative evidence; shape, place, size
    and brightness do not depend on the evidence.
    """
    files: list[bytes] = []
    for start in range(0, len(evidence), _BATCH):
        pixels = _draw(evidence[start : start + _BATCH], size, rng)
        files += [_encode(picture, start + i) for i, picture in enumerate(pixels)]
    return files


def damage(data: bytes, kind: int) -> bytes:
    """Return a file that no decoder can read: cut short, a web page, or empty."""
    page = b"<!DOCTYPE html><html><body>Not found</body></html>"
    return (data[: len(data) // 3], page, b"")[kind % 3]


def empty_folder(folder: Path) -> Path:
    """Create ``folder/images`` and return it; raise InputError if it is not empty."""
    target = folder / "images"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"folder={str(folder)!r} cannot take the pictures: expected "
            f"{str(target)!r} to be absent or an empty folder, found something there. "
            f"Name another folder, or remove it."
        )
    target.mkdir(parents=True, exist_ok=True)
    return target


def write_pictures(images: Iterable[list[bytes]], target: Path) -> list[str | None]:
    """Write the pictures of each post; return their relative paths joined by "|"."""
    cells = []
    for i, files in enumerate(images):
        names = [f"{i:06d}-{j}{_suffix(data)}" for j, data in enumerate(files)]
        for name, data in zip(names, files, strict=True):
            (target / name).write_bytes(data)
        cells.append("|".join(f"{target.name}/{name}" for name in names) or None)
    return cells


def _draw(evidence: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    n = len(evidence)
    down, across = np.mgrid[0:size, 0:size][:, None] / size
    centre = rng.uniform(0.32, 0.68, (2, n, 1, 1))
    radius = rng.uniform(0.24, 0.32, (n, 1, 1))
    dy, dx = np.abs(down - centre[0]), np.abs(across - centre[1])
    distance = np.stack((np.hypot(dy, dx), np.maximum(dy, dx) * 1.13, (dy + dx) * 0.8))
    inside = distance[rng.integers(3, size=n), np.arange(n)] <= radius
    shade = np.round(_WARMTH * np.clip(evidence, -5, 5))[:, None, None]
    ground = rng.uniform(90, 165, (n, 1, 1)) + rng.normal(0, 10, (n, size, size))
    pixels = np.repeat(ground[..., None], 3, axis=3)
    colour = np.stack((128 + shade, np.full_like(shade, 110), 128 - shade), axis=3)
    pixels = np.where(inside[..., None], colour + (pixels - 128) * 0.05, pixels)
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _encode(pixels: np.ndarray, number: int) -> bytes:
    target = io.BytesIO()
    picture = Image.fromarray(pixels)
    if number % 2:
        picture.save(target, "JPEG", quality=90, subsampling=0)
    else:
        picture.save(target, "PNG", compress_level=1)
    return target.getvalue()


def _suffix(data: bytes) -> str:
    """Return ".png" for PNG data and ".jpg" for everything else."""
    return ".png" if data.startswith(b"\x89PNG") else ".jpg"


__all__ = ["make_posts"]

_PLACES = ("Alderport", "Brickton", "Castlemere", "Dunford", "Elmsgate", "Fairhaven")


@with_own_settings
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
    """Make posts with small pictures about an invented protest.

    A text is a line of words: words about the event, words about its causes (a
    look-alike post has many of these, and event words too), and neutral words. A
    picture is a shape on a noisy ground: the warmer its colour, the more likely is an
    event. Text and pictures carry independent evidence.

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
        Share of images whose file cannot be read, in [0, 1]: it is cut short, a web
        page, or empty.
    share_no_text : float, default=0.05
        Share of posts without text, in [0, 1]; some may lack both.
    share_telling : float, default=0.95
        Share of event posts whose text is about the event, in [0, 1].
    share_lookalike : float, default=0.3
        Share of the other posts that are about the causes of events, in [0, 1].
    share_reposts : float, default=0.05
        Share of posts, in [0, 1], that repeat the text, images and label of an earlier
        post, with their own id, author and time.
    prevalence : float, default=0.3
        Share of events, in (0, 1), as near as `n_posts` allows.
    n_groups : int, default=None
        Adds a column `group` with this many labels at random; a repost has the group
        of its original.
    folder : str or path, default=None
        If given, the pictures are written to ``folder/images``, and the column
        `images` has their paths relative to `folder`, joined by "|", so that the table
        can be saved there as CSV.
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
        The best rule for *ideal* branches, which know how texts are written and
        pictures drawn. Their probability is exact for posts of which half are events,
        which branches with ``class_weight="balanced"`` approximate. ``truth.ideal`` has
        their probabilities for these posts.

    Raises
    ------
    InputError
        If a parameter lies outside its range, or ``folder/images`` is not empty.

    See Also
    --------
    make_scores : Probabilities only, with more parameters.
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
    n_posts = check_count("n_posts", n_posts)
    image_size = check_count("image_size", image_size, least=8)
    if n_groups is not None:
        n_groups = check_count("n_groups", n_groups)
    max_images = check_count("max_images", max_images)
    check_common(share_images, share_showing, share_no_text, prevalence)
    check_range("share_broken", share_broken, 0, 1)
    check_range("share_telling", share_telling, 0, 1)
    check_range("share_lookalike", share_lookalike, 0, 1)
    check_range("share_reposts", share_reposts, 0, 1)
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
    rng = generator(random_state)
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
