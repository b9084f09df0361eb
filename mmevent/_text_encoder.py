"""The encoder of texts: a transformer whose token embeddings are pooled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._encoding import Encoder, Spec, cut, json_hash, write_json
from mmevent._hub import ModelSource, quiet_loading, unloadable
from mmevent._loading import (
    LOADERS,
    TOKENIZER_PROBES,
    check_same,
    check_tokenizer_files,
    encoder_spec,
    from_pretrained,
    incomplete,
    tried,
)
from mmevent._sentence import sentence_settings
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


# Tokens of a batch on a processor: the activations of more fall out of its caches.
_CPU_TOKENS = 512


class TextEncoder(Encoder):
    """Texts to pooled token embeddings."""

    kind = item = "text"
    trial = "a text"
    varying = (0, 1)
    names: list[str]  # of the model's inputs, in their order

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
        self.tokenizing = threading.Lock()  # its padding is a state of its own

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts have more tokens than the encoder reads."""
        longest = self.spec["max_length"]
        with self.lock:
            return np.greater(self._n_tokens(texts), longest)

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

    def _batches(self, items: Sequence[str], batch_size: int) -> list[list[int]]:
        """Put texts of as many tokens together, so that little is padded."""
        counts = np.minimum(self._n_tokens(items), self.spec["max_length"])
        order = np.argsort(counts, kind="stable")
        if self.device != "cpu":
            return cut(order.tolist(), batch_size)
        batches: list[list[int]] = []
        for i in order.tolist():
            n = len(batches[-1]) + 1 if batches else 0
            if batches and n <= batch_size and n * counts[i] <= _CPU_TOKENS:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _n_tokens(self, texts: Sequence[str]) -> NDArray[np.intp]:
        ids = self._tokenize(list(texts), verbose=False)["input_ids"] if texts else []
        return np.fromiter(map(len, ids), np.intp, len(ids))

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        preprocessing = self.spec["preprocessing"]
        texts = [preprocessing["prompt"] + text for text in texts]
        if preprocessing["lower_case"]:
            texts = [text.lower() for text in texts]
        return self.tokenizer(texts, **options)

    def _forward(self, items: list[str]) -> Vectors:
        inputs = self._inputs(items).to(self.device)
        with self.turn:
            rows: Vectors = self._run(*inputs.values()).numpy()
        return rows

    def _inputs(self, texts: list[str]) -> Any:
        with self.tokenizing:
            inputs = self.collate(texts)
        self.names = list(inputs)
        return inputs

    def _compute(self, *inputs: Any) -> Any:
        return self.features(dict(zip(self.names, inputs, strict=True)))

    def _example(self) -> tuple[Any, ...]:
        return tuple(self._inputs(["a march through the city", "a day"]).values())

    def picture(self, items: Sequence[str], i: int) -> str:
        """Return a text; there is nothing to decode."""
        return items[i]

    def example(self, text: str, *, augment: bool) -> str:
        """Return what `collate` takes of a text; there is no other way to say it."""
        return text

    def collate(self, examples: list[str]) -> Any:
        """Return the model's inputs for some texts."""
        return self._tokenize(
            examples,
            padding=True,
            truncation=True,
            max_length=self.spec["max_length"],
            return_tensors="pt",
        )

    def features(self, inputs: Any) -> Any:
        """Return a tensor of one pooled row a text."""
        import torch

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
        return pooled


def _load(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    dtype: str,
    max_length: int | None = None,
) -> TextEncoder:
    from transformers import AutoModel, AutoTokenizer

    settings = sentence_settings(source)
    model, missing = from_pretrained(source, AutoModel, dtype, device)
    surplus = {name for name in missing if not name.startswith("pooler.")}
    if surplus:
        raise incomplete(source, surplus)
    tokenizer = _tokenizer(source, AutoTokenizer)
    preprocessing = {
        "lower_case": settings["lower_case"],
        "prompt": settings["prompt"],
        "tokenizer_sha256": _tokenizer_hash(tokenizer),
    }
    pooling = {"mode": settings["mode"], "normalize": settings["normalize"]}
    if expected is None:
        limit = _longest_input(model, tokenizer)
        length = _max_length(max_length, settings["max_length"], limit)
    else:
        found = preprocessing["tokenizer_sha256"]
        check_same(
            source,
            "tokenizer is",
            expected["preprocessing"]["tokenizer_sha256"],
            found,
        )
        preprocessing, pooling = expected["preprocessing"], expected["pooling"]
        length = expected["max_length"]
    spec = encoder_spec(
        source, model, missing, preprocessing, pooling, length, expected
    )
    encoder = TextEncoder(model, tokenizer, spec, device=device, missing=missing)
    return tried(source, encoder, "a text")


LOADERS[TextEncoder] = _load


def _tokenizer(source: ModelSource, auto: Any) -> Any:
    try:
        with quiet_loading():
            tokenizer = auto.from_pretrained(
                source.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise unloadable(source, error) from error
    check_tokenizer_files(source, tokenizer)
    if tokenizer.pad_token is None:
        raise unloadable(source, ValueError("its tokenizer has no padding token"))
    return tokenizer


def _tokenizer_hash(tokenizer: Any) -> str:
    ids = tokenizer(TOKENIZER_PROBES, verbose=False)["input_ids"]
    return json_hash([tokenizer.get_vocab(), ids])


def _longest_input(model: Any, tokenizer: Any) -> int:
    """Return the most tokens that model and tokenizer can take."""
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
        # RoBERTa and its relatives number positions from padding_idx + 1.
        padding = getattr(table, "padding_idx", None)
        limits.append(positions - (0 if padding is None else padding + 1))
    return int(min(limits))


def _max_length(wanted: object, of_folder: int | None, limit: int) -> int:
    if wanted is None:
        return min(of_folder or limit, limit)
    if (
        isinstance(wanted, bool)
        or not isinstance(wanted, (int, np.integer))
        or not 3 <= wanted <= limit
    ):
        msg = (
            f"`max_length` must be None or a number of tokens from 3 to {limit}, the "
            f"most this model can read; got {wanted!r}. Use max_length=None for the "
            f"model's own length."
        )
        raise InputError(msg)
    return int(wanted)
