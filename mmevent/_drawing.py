"""Write texts and draw pictures that carry a chosen amount of evidence."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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
    """Write one text a row of `counts`, (n, 3) numbers of words by category.

    A row of zeros gives an empty text. Within a category all words are equally
    likely, and their order is random, so the counts hold all that the text says
    about the event.
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

    On a noisy grey ground stands a disc, a square or a diamond. How warm
    (positive evidence) or cold (negative) its colour is shows the number;
    shape, place, size and brightness say nothing.
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
    """Return ``folder/images``, made if absent; an error if anything is in it."""
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
    """Write each post's pictures, and return their relative paths joined by "|"."""
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
