"""What encoders of pictures share: each picture is seen in one view or more."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy, deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling
from PIL.Image import new as new_image

from mmevent._settings import undisturbed
from mmevent.encoders.base import Encoder
from mmevent.encoders.identity import OF_PICTURES
from mmevent.encoders.model import Encoded, Model, Spec
from mmevent.encoders.preprocessing import (
    Steps,
    resized,
    stacked,
    to_picture,
    to_tensor,
)
from mmevent.encoders.runtime import (
    FLOAT32,
    folded,
    full_precision,
    has_foldable,
)
from mmevent.exceptions import InputError
from mmevent.posts.images import Images
from mmevent.posts.pillow import decoders

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

# A longer side is cut to this many times the shorter one, about the centre: a picture
# of 1 x 5000 pixels would otherwise be enlarged to 256 x 1,280,000.
_MAX_ASPECT = 32
CENTRE, WHOLE = "centre", "whole"
VIEWS = (CENTRE, WHOLE)
# Pictures at a time on a processor. Of convolutions the activations of more would fall
# out of its caches: a MobileNetV2 takes three times as long in batches of 32 as in
# batches of 4. Transformers have less of them, and reuse weights better in more.
_CONVOLVED, _OTHERS = 4, 16
_SAME = 1e-4  # a difference of features, as a share of their length

_log = logging.getLogger(__name__)


class ViewModel(Model):
    """Images to the features of each of their views, side by side."""

    item = "image"
    libraries = OF_PICTURES
    trial = new_image("RGB", (32, 32))
    steps: Steps | None  # that preprocess; None where the model's own code has to

    def __init__(
        self,
        network: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        import torch

        self.n_views = len(spec["pooling"]["views"])
        super().__init__(
            network, spec, device=device, width=width * self.n_views, missing=missing
        )
        self.network.to(memory_format=torch.channels_last)

    @abstractmethod
    def _preprocess(self, image: Image) -> Any:
        """Return what the model's own code makes of an image, of shape (1, C, H, W)."""

    def _manner(self) -> Spec:
        read = None if self.steps is None else self.steps.least_side
        manner = super()._manner() | {"decoded to": read, "decoders": decoders()}
        return manner | {"batch norms": "folded"} if self._is_folded else manner

    def _lean(self) -> Self:
        twin = super()._lean()
        if self._is_folded:
            twin.network = folded(self.network)
        return twin

    @property
    def _is_folded(self) -> bool:
        return self.compiled is None and self._is_foldable

    @cached_property
    def _is_foldable(self) -> bool:
        """Whether a folded network gives the same features of a picture, in float32."""
        import torch

        if not has_foldable(self.network):
            return False
        plain, lean = copy(self), copy(self)
        try:
            example = [part.to(self.device) for part in self._example()]
            if self.dtype != FLOAT32:
                plain.network = deepcopy(self.network).float()
            lean.network = folded(plain.network)
            with torch.inference_mode(), full_precision(), undisturbed():
                expected, found = plain._compute(*example), lean._compute(*example)
        except Exception as error:  # whatever else a network does with its norms
            _log.info("batch norms of %s are not folded: %s", self.spec["model"], error)
            return False
        difference = (found - expected).norm(dim=1)
        same = bool((difference <= _SAME * expected.norm(dim=1)).all())
        if not same:
            name = self.spec["model"]
            _log.info("batch norms of %s are not folded: features differ", name)
        return same

    @cached_property
    def is_convolutional(self) -> bool:
        """Whether it has more convolutions than the one that cuts up a picture."""
        from torch.nn import Conv2d

        convolutions = (isinstance(m, Conv2d) for m in self.network.modules())
        return sum(convolutions) > 1

    def _batches(self, items: Sequence[Any], batch_size: int) -> list[list[int]]:
        most = self._most_at_once(batch_size)
        return super()._batches(items, min(batch_size, most))

    def _most_at_once(self, wanted: int) -> int:
        if self.device != "cpu":
            return wanted
        return _CONVOLVED if self.is_convolutional else _OTHERS

    def picture(self, items: Sequence[Any], i: int) -> Image | None:
        """Return an image, decoded no larger than needed; None where it cannot be."""
        with self._decoded(items, i) as (image, _):
            return image

    def _decoded(
        self, items: Sequence[Any], i: int
    ) -> AbstractContextManager[tuple[Image | None, str]]:
        if not isinstance(items, Images):
            return nullcontext((items[i], "ok"))
        least_side = None if self.steps is None else self.steps.least_side
        return items.decoded(i, least_side=least_side)

    def _fetch(self, items: Sequence[Any], i: int) -> tuple[list[Any], str]:
        """Return what the network sees of an image, which is not kept itself."""
        with self._decoded(items, i) as (image, status):
            return [] if image is None else self._views(image), status

    def _forward(self, items: list[list[Any]]) -> Vectors:
        # A square picture is its own squeezed one, and is encoded once.
        distinct = {id(view): view for views in items for view in views}
        found = self._encode_views(list(distinct.values()))
        place = {key: i for i, key in enumerate(distinct)}
        rows = np.full((len(items), self.width), np.nan, dtype=np.float32)
        for row, views in zip(rows, items, strict=True):
            if views:
                row[:] = found[[place[id(view)] for view in views]].ravel()
        return rows

    def _views(self, image: Image) -> list[Any]:
        """Return the cut views of an image; none where one cannot be made."""
        picture = bounded(to_tensor(image))
        views = [view_of(picture, name) for name in self.spec["pooling"]["views"]]
        cuts = {id(view): self._cut(view) for view in views}
        if any(cut is None for cut in cuts.values()):
            return []
        return [cuts[id(view)] for view in views]

    def _encode_views(self, views: list[Any]) -> Vectors:
        shape = len(views), self.width // self.n_views
        rows: Vectors = np.full(shape, np.nan, dtype=np.float32)
        by_shape: dict[Any, list[tuple[int, Any]]] = {}
        for i, view in enumerate(views):
            by_shape.setdefault(view.shape, []).append((i, view))
        step = self._most_at_once(len(views))
        for group in by_shape.values():
            for start in range(0, len(group), step):
                places, cuts = zip(*group[start : start + step], strict=True)
                with self.turn:
                    batch = self._floats(stacked(cuts).to(self.device))
                    rows[list(places)] = self._run(batch).numpy()
        return rows

    def _cut(self, view: Any) -> Any:
        """Return what the model sees of a view, or None where it cannot."""
        try:
            if self.steps is None:
                return self._preprocess(to_picture(view))[0]
            return self.steps.cut(view)
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError):
            return None

    def _floats(self, batch: Any) -> Any:
        """Return a batch of cut views as the model takes them."""
        import torch

        floats = batch if self.steps is None else self.steps.normalise(batch)
        wide = self.compiled is not None
        dtype = torch.float32 if wide else getattr(torch, self.dtype)
        return floats.to(dtype, memory_format=torch.channels_last)

    def _example(self) -> tuple[Any, ...]:
        import torch

        picture = (torch.arange(3 * 64 * 64) % 251).to(torch.uint8).view(3, 64, 64)
        return (self._floats(stacked([self._cut(picture)] * 2)).float(),)


class ViewEncoder(Encoder):
    """Base of the encoders of images."""

    views: Sequence[str]

    def encode(self, X: Any, *, verbose: bool = False) -> Encoded:
        """Return the features of each image, as `transform` does, and a status.

        Each distinct image is decoded once for both.

        Parameters
        ----------
        X : sequence of PIL.Image.Image, or Images
            Images; they are treated as RGB.
        verbose : bool, default=False
            Whether to show a progress bar, whatever the encoder's own parameter says.

        Returns
        -------
        rows : ndarray of shape (n_images, width), float32
            Features; NaN where an image cannot be used.
        statuses : ndarray of shape (n_images,)
            "ok", or why an image cannot be decoded: see ``mmevent.posts.STATUSES``.
        """
        images = read_images(X)
        readable = images.digests != ""
        chosen = images[readable]
        found = self._embed(chosen, chosen.digests.tolist(), verbose=verbose)
        rows = np.full((len(images), found.rows.shape[1]), np.nan, dtype=np.float32)
        rows[readable] = found.rows
        statuses = np.full(len(images), "", dtype=object)
        statuses[readable] = found.statuses
        unknown = statuses == ""
        statuses[unknown] = images[unknown].statuses
        return Encoded(rows, statuses.astype(np.str_))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the parameters of this kind of encoder that shape its features."""
        views = self.views
        listed = isinstance(views, (list, tuple)) and len(views) > 0
        known = listed and all(view in VIEWS for view in views)
        if not known or len(set(views)) < len(views):
            msg = (
                f"`views` must be distinct names, one or more, from "
                f"{', '.join(map(repr, VIEWS))}; got {views!r}. Use "
                f"views=('centre', 'whole')."
            )
            raise InputError(msg)
        return {"views": tuple(views)}


def view_of(picture: Any, name: str) -> Any:
    """Return what the model's own preprocessing is given of a picture.

    It usually crops the centre of a picture, which loses the ends of a long one; of one
    that is squeezed to a square it crops a margin.
    """
    side = min(picture.shape[-2:])
    if name == CENTRE or picture.shape[-2:] == (side, side):
        return picture
    return resized(picture, (side, side), Resampling.BICUBIC)


def bounded(picture: Any) -> Any:
    """Cut a very long picture about its centre."""
    height, width = picture.shape[-2:]
    longest = _MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return picture
    cut = min(width, longest), min(height, longest)
    left, top = (width - cut[0]) // 2, (height - cut[1]) // 2
    return picture[:, top : top + cut[1], left : left + cut[0]]


def read_images(X: Any) -> Images:
    """Return images as a lazy sequence; validate that they are images."""
    from PIL.Image import Image

    if isinstance(X, Images):
        return X
    one = isinstance(X, (str, bytes, Mapping, Image))
    try:
        images = [] if one else list(X)
    except TypeError:
        one = True
    if one:
        msg = (
            f"X must be a sequence of images; got {type(X).__name__}. Pass a list of "
            f"PIL images, or Images(paths)."
        )
        raise InputError(msg)
    for row, image in enumerate(images):
        if not isinstance(image, Image):
            msg = (
                f"X must hold one PIL image a row; row {row} is of type "
                f"{type(image).__name__}. Pass paths and bytes as Images(paths)."
            )
            raise InputError(msg)
    return Images(images)
