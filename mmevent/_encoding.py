"""Distinct texts and images to embeddings, in batches, by frozen encoders."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling

from mmevent._cache import EmbeddingStore, active_store
from mmevent._hub import TRANSFORMERS, ModelFiles, quiet_loading

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

Spec = dict[str, Any]

# A longer side is cut to this many times the shorter one, about the centre: a picture
# of 1 x 5000 pixels would otherwise be enlarged to 256 x 1,280,000.
_MAX_ASPECT = 32
CENTRE, WHOLE = "centre", "whole"
VIEWS = (CENTRE, WHOLE)
# Activations of more pictures than this fall out of a processor's caches: a
# MobileNetV2 takes three times as long in batches of 32 as in batches of 4.
_CPU_BATCH = 4
# Batches after which new embeddings are kept; texts are sorted by length within them.
_BATCHES_KEPT = 64


class Encoder(ABC):
    """A frozen model on one device; `spec` says all that determines its output."""

    kind: str
    item: str  # what it encodes
    files: ModelFiles = TRANSFORMERS

    def __init__(
        self,
        model: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str],
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.spec = spec
        self.missing = missing  # parameters that the checkpoint does not have
        self.device = device
        self.width = width
        self.n_encoded = 0
        # One thread at a time: it also keeps two threads from encoding the same item.
        self.lock = threading.RLock()

    @property
    def identity(self) -> str:
        """SHA-256 over weights, preprocessing, pooling, length and dtype."""
        return spec_identity(self.kind, self.spec)

    def encode(
        self,
        items: Sequence[Any],
        *,
        batch_size: int = 32,
        progress: Callable[[int], object] = lambda n: None,
    ) -> Vectors:
        """Return one row an item; a row that cannot be computed is all NaN."""
        import torch

        rows = np.full((len(items), self.width), np.nan, dtype=np.float32)
        with self.lock, torch.inference_mode(), full_precision():
            order = self._order(items)
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                rows[batch] = self._forward([items[i] for i in batch])
                self.n_encoded += len(batch)
                progress(len(batch))
        rows[~finite_rows(rows)] = np.nan
        return rows

    def _order(self, items: Sequence[Any]) -> list[int]:
        return list(range(len(items)))

    @abstractmethod
    def _forward(self, items: list[Any]) -> Vectors:
        """Encode one batch."""

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        state = {
            name: tensor.contiguous()
            for name, tensor in self.model.state_dict().items()
            if name not in self.missing
        }
        with quiet_loading():
            self.model.save_pretrained(folder, state_dict=state)
            self._save_preprocessing(folder)

    @abstractmethod
    def _save_preprocessing(self, folder: Path) -> None:
        """Write the files beside the weights."""


class TextEncoder(Encoder):
    """Texts to pooled token embeddings."""

    kind = item = "text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: Spec,
        *,
        device: str,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        width = model.config.hidden_size
        super().__init__(model, spec, device=device, width=width, missing=missing)
        self.tokenizer = tokenizer

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts have more tokens than the encoder reads."""
        with self.lock:
            ids = self._tokenize(texts, verbose=False)["input_ids"] if texts else []
        longest = self.spec["max_length"]
        return np.fromiter((len(row) > longest for row in ids), bool, len(ids))

    def _save_preprocessing(self, folder: Path) -> None:
        """Write the tokenizer and sentence-transformers' own settings files."""
        self.tokenizer.save_pretrained(folder)
        pooling, preprocessing = self.spec["pooling"], self.spec["preprocessing"]
        modules = ["Transformer", "Pooling"] + ["Normalize"] * pooling["normalize"]
        paths = ["", "1_Pooling", "2_Normalize"]
        write_json(
            folder / "modules.json",
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": path,
                    "type": f"sentence_transformers.models.{name}",
                }
                for i, (name, path) in enumerate(zip(modules, paths, strict=False))
            ],
        )
        modes = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}
        write_json(
            folder / "1_Pooling" / "config.json",
            {"word_embedding_dimension": self.width}
            | {f"pooling_mode_{v}": k == pooling["mode"] for k, v in modes.items()},
        )
        write_json(
            folder / "sentence_bert_config.json",
            {
                "max_seq_length": self.spec["max_length"],
                "do_lower_case": preprocessing["lower_case"],
            },
        )
        if preprocessing["prompt"]:
            write_json(
                folder / "config_sentence_transformers.json",
                {
                    "prompts": {"default": preprocessing["prompt"]},
                    "default_prompt_name": "default",
                },
            )

    def _order(self, items: Sequence[str]) -> list[int]:
        return sorted(range(len(items)), key=lambda i: len(items[i]))

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        preprocessing = self.spec["preprocessing"]
        texts = [preprocessing["prompt"] + text for text in texts]
        if preprocessing["lower_case"]:
            texts = [text.lower() for text in texts]
        return self.tokenizer(texts, **options)

    def _forward(self, items: list[str]) -> Vectors:
        import torch

        inputs = self._tokenize(
            items,
            padding=True,
            truncation=True,
            max_length=self.spec["max_length"],
            return_tensors="pt",
        ).to(self.device)
        hidden = self.model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1).bool()
        mode = self.spec["pooling"]["mode"]
        if mode == "cls":
            pooled = hidden[:, 0]
        elif mode == "max":
            pooled = hidden.masked_fill(~mask, -torch.inf).amax(dim=1)
        else:
            pooled = hidden.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
        if self.spec["pooling"]["normalize"]:
            pooled = torch.nn.functional.normalize(pooled)
        rows: Vectors = pooled.cpu().numpy()
        return rows


class ViewEncoder(Encoder):
    """Images to the features of each of their views, side by side."""

    item = "image"

    def __init__(
        self,
        model: Any,
        spec: Spec,
        *,
        device: str,
        width: int,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        import torch

        views = spec["pooling"]["views"]
        super().__init__(
            model, spec, device=device, width=width * len(views), missing=missing
        )
        self.model.to(memory_format=torch.channels_last)

    @abstractmethod
    def _preprocess(self, image: Image) -> Any:
        """Return one image's tensor of shape (1, channels, height, width)."""

    @abstractmethod
    def _features(self, batch: Any) -> Any:
        """Return a tensor of one row a preprocessed image."""

    def _pixels(self, image: Image) -> Any:
        """Return one image's tensor, or None where it cannot be preprocessed."""
        try:
            return self._preprocess(image)
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError):
            return None

    def _forward(self, items: list[Image]) -> Vectors:
        names = self.spec["pooling"]["views"]
        bounded = [_bounded(image) for image in items]
        views = [[_view(image, name) for name in names] for image in bounded]
        # A square picture is its own squeezed one, and is encoded once.
        distinct = list({id(view): view for row in views for view in row}.values())
        place = {id(view): i for i, view in enumerate(distinct)}
        chosen = [[place[id(view)] for view in row] for row in views]
        return self._encode_views(distinct, len(items))[chosen].reshape(
            len(items), self.width
        )

    def _encode_views(self, items: list[Image], batch_size: int) -> Vectors:
        import torch

        width = self.width // len(self.spec["pooling"]["views"])
        rows = np.full((len(items), width), np.nan, dtype=np.float32)
        by_shape: dict[Any, list[tuple[int, Any]]] = {}
        for i, image in enumerate(items):
            pixels = self._pixels(image)
            if pixels is not None:
                by_shape.setdefault(pixels.shape, []).append((i, pixels))
        step = _CPU_BATCH if self.device == "cpu" else batch_size
        for group in by_shape.values():
            for start in range(0, len(group), step):
                places, pixels = zip(*group[start : start + step], strict=True)
                batch = torch.cat(pixels).to(self.device, torch.float32)
                rows[list(places)] = self._features(batch).float().cpu().numpy()
        return rows


class ImageEncoder(ViewEncoder):
    """Images to what an image classifier's last linear layer is given.

    Each view of an image gives as many numbers as that layer has inputs.
    """

    kind = "image"

    def __init__(
        self,
        model: Any,
        processor: Any,
        spec: Spec,
        *,
        device: str,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        self.layer = model.get_submodule(spec["pooling"]["input_of"])
        width = self.layer.in_features
        super().__init__(model, spec, device=device, width=width, missing=missing)
        self.processor = processor

    def _save_preprocessing(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)

    def _preprocess(self, image: Image) -> Any:
        return self.processor(image, return_tensors="pt")["pixel_values"]

    def _features(self, batch: Any) -> Any:
        seen: list[Any] = []
        hook = self.layer.register_forward_pre_hook(
            lambda layer, args: seen.append(args[0])
        )
        try:
            self.model(pixel_values=batch)
        finally:
            hook.remove()
        return seen[0].flatten(1)


def embed(
    encoder: Encoder,
    items: Sequence[Any],
    keys: Sequence[str],
    *,
    batch_size: int = 32,
    verbose: bool = False,
    cache: EmbeddingStore | None = None,
) -> Vectors:
    """Return one embedding an item, encoding each distinct key once.

    Embeddings that the open memo or the cache has are taken from it; new ones are added
    as they come, so that an interruption loses little.
    """
    from tqdm.auto import tqdm

    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    memo, identity = active_store(), encoder.identity
    stores = [store for store in (memo, cache) if store is not None]
    known: dict[str, np.ndarray] = {}
    with encoder.lock:
        for store in stores:
            missing = [key for key in first if key not in known]
            known |= store.get_many(identity, missing)
        if memo is not None:
            memo.put_many(identity, known)
        new = [key for key in first if key not in known]
        with tqdm(
            total=len(new),
            desc=f"Encoding {encoder.item}s",
            unit=encoder.item,
            file=sys.stderr,
            disable=not verbose or not new,
        ) as bar:
            for start in range(0, len(new), _BATCHES_KEPT * batch_size):
                chunk = new[start : start + _BATCHES_KEPT * batch_size]
                rows = encoder.encode(
                    Selected(items, [first[key] for key in chunk]),
                    batch_size=batch_size,
                    progress=bar.update,
                )
                computed = dict(zip(chunk, rows, strict=True))
                for store in stores:
                    store.put_many(identity, computed)
                known |= computed
    out = np.empty((len(keys), encoder.width), dtype=np.float32)
    for i, key in enumerate(keys):
        out[i] = known[key]
    return out


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep cuDNN from rounding to TF32, which would make rows depend on their batch."""
    from torch.backends import cudnn

    allowed = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = allowed


def finite_rows(rows: Vectors) -> NDArray[np.bool_]:
    """Tell which rows are numbers throughout."""
    return np.asarray(np.isfinite(rows).all(axis=1))


class Selected(Sequence[Any]):
    """Some of a sequence's items, each fetched when asked for."""

    def __init__(self, items: Sequence[Any], rows: list[int]) -> None:
        self.items = items
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of selected items."""
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        """Return the `i`-th selected item."""
        return self.items[self.rows[i]]


def _view(image: Image, name: str) -> Image:
    """Return what the model's own preprocessing is given of an image.

    It usually crops the centre of a picture, which loses the ends of a long one; of one
    that is squeezed to a square it crops a margin.
    """
    side = min(image.size)
    if name == CENTRE or image.size == (side, side):
        return image
    return image.resize((side, side), Resampling.BICUBIC)


def _bounded(image: Image) -> Image:
    width, height = image.size
    longest = _MAX_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    cut = min(width, longest), min(height, longest)
    left, top = (width - cut[0]) // 2, (height - cut[1]) // 2
    return image.crop((left, top, left + cut[0], top + cut[1]))


def spec_identity(kind: str, spec: Spec) -> str:
    """Hash all that determines an encoder's output: not its name or its place.

    Embeddings on the disk stand under it: a change of what is done to an item before
    the model sees it must show in the spec.
    """
    facts = {k: v for k, v in spec.items() if k not in ("model", "revision")}
    return json_hash({"kind": kind, **facts})


def json_hash(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
