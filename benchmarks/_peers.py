"""Other ways to classify: transformers' pipelines, open_clip's loop."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
import transformers
from open_clip.tokenizer import default_bpe
from PIL import Image
from safetensors.torch import save_file

from mmevent._common import write_json

BATCHES = (8, 16)
_THINGS = (
    *("a march", "a parade", "a concert", "a market", "a flood", "a river", "a fire"),
    *("a sunset", "a street", "a crowd", "a car", "a dog", "a cat", "a house"),
    *("a tree", "a boat", "a train", "a meal", "a game", "a speech"),
)


class Peer(NamedTuple):
    """Another way: its default, and its variants by name, on some items."""

    number: int
    default: Callable[[Sequence[Any]], object]
    variants: dict[str, Callable[[Sequence[Any]], object]]

    def rates(self, items: Sequence[Any]) -> tuple[float, float, str]:
        """Give items a second by default, at its best, and what that is."""
        default = _rate(self.default, items)
        found = {name: _rate(run, items) for name, run in self.variants.items()}
        found["its default"] = default
        best = max(found, key=found.__getitem__)
        return default, found[best], best


def _rate(run: Callable[[Sequence[Any]], object], items: Sequence[Any]) -> float:
    run(items[:2])
    start = time.perf_counter()
    run(items)
    return len(items) / (time.perf_counter() - start)


class Clips(NamedTuple):
    """Folders of one architecture, for two libraries."""

    open_clip: Path
    transformers: Path


def labels(number: int) -> list[str]:
    """Give some things that pictures show."""
    return list(_THINGS[:number])


def clip_models(folder: Path) -> Clips:
    """Write a CLIP ViT-B/32 with random weights, for open_clip and transformers."""
    ours, theirs = folder / "open_clip", folder / "transformers"
    if ours.exists():
        return Clips(ours, theirs)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    ours.mkdir()
    save_file(model.state_dict(), ours / "open_clip_model.safetensors")
    write_json(
        ours / "open_clip_config.json",
        {
            "model_cfg": open_clip.get_model_config("ViT-B-32"),
            "preprocess_cfg": open_clip.get_model_preprocess_cfg(model),
        },
    )
    transformers.CLIPModel(transformers.CLIPConfig()).save_pretrained(theirs)
    transformers.CLIPImageProcessor().save_pretrained(theirs)
    _clip_tokenizer().save_pretrained(theirs)
    return Clips(ours, theirs)


def _clip_tokenizer() -> Any:
    """Make transformers' tokenizer from open_clip's copy of the same vocabulary."""
    lines = gzip.open(default_bpe(), "rt", encoding="utf-8").read().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = letters + [letter + "</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[tuple(merge.split()) for merge in merges],
        model_max_length=77,
    )


def _variants(
    make: Callable[..., Any], **options: Any
) -> tuple[
    Callable[[Sequence[Any]], object], dict[str, Callable[[Sequence[Any]], object]]
]:
    """Give a pipeline's default, and its batch sizes in both number formats."""
    default = make()

    def run(items: Sequence[Any], pipe: Any = default, **more: Any) -> object:
        return pipe(list(items), **options, **more)

    variants = {}
    for dtype in (torch.float32, torch.bfloat16):
        pipe = make(dtype=dtype)
        for size in BATCHES:
            name = f"batches of {size}, {str(dtype).removeprefix('torch.')}"
            variants[name] = lambda items, pipe=pipe, size=size: run(
                items, pipe, batch_size=size
            )
    return run, variants


def zero_shot_pipeline(model: Path, candidates: Sequence[str]) -> Peer:
    """Give transformers' zero-shot-image-classification."""

    def make(**options: Any) -> Any:
        task = "zero-shot-image-classification"
        return transformers.pipeline(task, model=str(model), **options)

    return Peer(16, *_variants(make, candidate_labels=list(candidates)))


def image_pipeline(model: str) -> Peer:
    """Give transformers' image-classification."""

    def make(**options: Any) -> Any:
        return transformers.pipeline("image-classification", model=model, **options)

    return Peer(64, *_variants(make))


def text_pipeline(model: str) -> Peer:
    """Give transformers' text-classification."""

    def make(**options: Any) -> Any:
        return transformers.pipeline("text-classification", model=model, **options)

    return Peer(256, *_variants(make, truncation=True))


def text_model(folder: Path, tokenizer: Path) -> str:
    """Write a classifier of DistilBERT's size with random weights."""
    config = transformers.DistilBertConfig()
    path = folder / "text"
    torch.manual_seed(0)
    transformers.DistilBertForSequenceClassification(config).save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(path)
    return str(path)


def open_clip_loop(folder: Path, candidates: Sequence[str]) -> Peer:
    """Give the loop of open_clip's README, with the texts encoded once."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    tokens = open_clip.get_tokenizer(name)(
        [f"This is a photo of {thing}." for thing in candidates]
    )

    def run(items: Sequence[str]) -> None:
        with torch.no_grad():
            texts = model.encode_text(tokens)
            texts /= texts.norm(dim=-1, keepdim=True)
            for path in items:
                features = model.encode_image(preprocess(Image.open(path))[None])
                features /= features.norm(dim=-1, keepdim=True)
                (100.0 * features @ texts.T).softmax(dim=-1)

    return Peer(32, run, {})
