"""Posts prepared for fitting and prediction: items of each kind, groups, keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from mmevent.posts.duplicates import connected_groups, duplicates
from mmevent.posts.images import Images
from mmevent.posts.keys import as_keys
from mmevent.posts.labels import Labels
from mmevent.posts.posts import flatten_images, to_posts
from mmevent.posts.texts import normalise_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    IntArray = NDArray[np.intp]


TEXT, SECOND = "text", "second stage"


@dataclass(frozen=True)
class Side:
    """Items of one kind, texts or images, with the post and weight of each.

    There is one item for each post with text, or one for each usable image. The weight
    of an image is 1 / (number of usable images of its post); that of a text is 1.
    """

    items: Sequence[Any]
    post: IntArray
    weight: NDArray[np.float64]

    def of(self, rows: IntArray, n_posts: int) -> IntArray:
        """Return the positions of the items of some posts."""
        wanted = np.zeros(n_posts, dtype=bool)
        wanted[rows] = True
        return np.flatnonzero(wanted[self.post])


@dataclass(frozen=True)
class Material:
    """The texts and images of a table of posts, as branches get them."""

    n_posts: int
    text: Side
    image: Side

    @classmethod
    def of(cls, posts: pd.DataFrame, images: Images, post: IntArray) -> Material:
        """Return the texts and the usable images of posts from `to_posts`."""
        texts = posts["text"].to_numpy(dtype=object)
        has_text = np.array([text is not None for text in texts], dtype=bool)
        usable = images.usable
        count = np.bincount(post[usable], minlength=len(posts))
        return cls(
            len(posts),
            Side(
                texts[has_text], np.flatnonzero(has_text), np.ones(int(has_text.sum()))
            ),
            Side(images[usable], post[usable], 1.0 / count[post[usable]]),
        )

    def side(self, name: str) -> Side:
        """Return the items for the branch of this name."""
        return self.text if name in (TEXT, SECOND) else self.image


@dataclass(frozen=True)
class Prepared:
    """Posts from `to_posts`, with their images and the post of each image."""

    posts: pd.DataFrame
    images: Images
    post: IntArray

    @classmethod
    def of(
        cls,
        posts: Any,
        *,
        columns: Mapping[str, Any] | None,
        image_root: Any,
        allow_outside_root: bool,
    ) -> Prepared:
        """Return posts in any form prepared; images are read when they are needed."""
        table = to_posts(posts, columns=columns, image_root=image_root)
        return cls.of_table(
            table, image_root=image_root, allow_outside_root=allow_outside_root
        )

    @classmethod
    def of_table(
        cls, table: pd.DataFrame, *, image_root: Any, allow_outside_root: bool
    ) -> Prepared:
        """Return posts, or some of the posts, from `to_posts` prepared."""
        sources, post = flatten_images(table)
        images = Images(
            sources, image_root=image_root, allow_outside_root=allow_outside_root
        )
        return cls(table, images, post)

    def __len__(self) -> int:
        return len(self.posts)

    def with_images(self, images: Images) -> Prepared:
        """Return the same posts with pictures of which more is known."""
        return Prepared(self.posts, images, self.post)

    def take(self, rows: IntArray) -> Prepared:
        """Return some posts, given by row number; their images are not read again.

        Call `keys` before, not after: it recognises ids that are only row numbers by
        their values, and these no longer match the rows here.
        """
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        post = place[self.post]
        kept = post >= 0
        return Prepared(self.posts.iloc[rows], self.images[kept], post[kept])

    @cached_property
    def material(self) -> Material:
        """The texts and images for the branches."""
        return Material.of(self.posts, self.images, self.post)

    @cached_property
    def n_usable(self) -> IntArray:
        """Number of usable images of each post."""
        return np.bincount(self.post[self.images.usable], minlength=len(self))

    @cached_property
    def duplicate(self) -> IntArray:
        """Duplicate group of each post."""
        return duplicates(self.posts["text"].tolist(), self.images, self.post)

    def caller_groups(self, groups: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return the groups that were passed, joined with the column `group`."""
        column = self.posts.get("group")
        given = [as_keys(g, "groups") for g in (groups, column) if g is not None]
        return connected_groups(*given) if given else None

    @cached_property
    def content_keys(self) -> list[set[str]]:
        """Hashes of each post's normalised text and usable images."""
        keys: list[set[str]] = [set() for _ in range(len(self))]
        for row, text in enumerate(self.posts["text"]):
            if normal := normalise_text(text or ""):
                keys[row].add(_short_hash("text", normal))
        for row, digest, usable in zip(
            self.post, self.images.digests, self.images.usable, strict=True
        ):
            if usable:
                keys[row].add(_short_hash("image", digest))
        return keys

    @cached_property
    def keys(self) -> list[set[str]]:
        """Hashes of each post's id, normalised text and usable images.

        Two posts that share one are the same post, or duplicates.
        """
        if self._ids_are_row_numbers():
            return self.content_keys
        return [
            {*keys, _short_hash("id", identifier)}
            for keys, identifier in zip(self.content_keys, self._ids, strict=True)
        ]

    @cached_property
    def _ids(self) -> list[str]:
        """Each post's id as text that is the same for the same id."""
        ids: list[str] = as_keys(self.posts["id"], "ids").tolist()
        return ids

    def _ids_are_row_numbers(self) -> bool:
        return self._ids == [str(row) for row in range(len(self))]

    def data_hash(self, labels: Labels) -> str:
        """Fingerprint of the posts and labels."""
        digest = hashlib.sha256()
        for text in self.posts["text"]:
            digest.update(f"{text!r}\n".encode())
        for row, image in zip(self.post, self.images.digests, strict=True):
            digest.update(f"{row} {image}\n".encode())
        digest.update(labels.event.tobytes())
        if labels.stage1 is not None:
            digest.update(labels.stage1.tobytes())
        return digest.hexdigest()

    def leakage(self, labels: Labels, n_folds: int, seed: int | None) -> dict[str, int]:
        """Count the posts that would leak between `n_folds` folds without groups.

        The folds are stratified if each of them can have a post of both classes.
        """
        group = labels.group
        size = np.bincount(group)[group]
        twins = 0
        rarer = min(labels.event.sum(), (~labels.event).sum())
        if n_folds:
            n_folds = int(np.clip(n_folds, 2, len(group)))
            kind = StratifiedKFold if n_folds <= rarer else KFold
            ignoring = kind(n_folds, shuffle=True, random_state=seed)
            for train, test in ignoring.split(group, labels.event):
                twins += int(np.isin(group[test], group[train]).sum())
        return {
            "n_groups": len(np.unique(group)),
            "posts_that_share_a_group": int((size > 1).sum()),
            "posts_with_a_twin_had_groups_been_ignored": twins,
        }


def _short_hash(kind: str, value: str) -> str:
    return hashlib.sha256(f"{kind}\0{value}".encode()).hexdigest()[:24]
