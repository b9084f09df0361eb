"""Static models of texts: one vector a token, and no network above them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import json_hash
from mmevent.encoders.hub import STATIC, ModelSource, quiet_loading, unloadable
from mmevent.encoders.identity import OF_TEXTS
from mmevent.encoders.loading import (
    TOKENIZER_PROBES,
    check_same,
    model_spec,
    tried,
)
from mmevent.encoders.model import Spec, cut
from mmevent.encoders.runtime import AUTO, FLOAT32, cast
from mmevent.encoders.sentence import (
    LIBRARY,
    Sentence,
    check_modules,
    choose_prompt,
    config_of,
    load_modules,
    require_safetensors,
    run_modules,
    width_after,
    write_sentence,
)
from mmevent.encoders.text import TextModel
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Texts of a batch, whatever `batch_size`: each takes microseconds and no memory.
_BATCH = 512


class StaticModel(TextModel):
    """Texts to means of their tokens' vectors, through sentence-transformers."""

    trainable = False
    varying = (0,)
    libraries = (*OF_TEXTS, LIBRARY)

    def __init__(
        self, network: Any, tokenizer: Any, spec: Spec, *, device: str
    ) -> None:
        super(TextModel, self).__init__(
            network,
            spec,
            device=device,
            width=width_after(network, 0),
            missing=frozenset(),
        )
        self.tokenizer = tokenizer

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts have more tokens than the model reads, if it has a limit."""
        encodings = self._encodings(texts)
        return np.array([bool(e.overflowing) for e in encodings], dtype=np.bool_)

    def _encodings(self, texts: Sequence[str]) -> list[Any]:
        prompt = self.spec["preprocessing"]["prompt"]
        texts = [prompt + text for text in texts]
        encodings: list[Any] = self.tokenizer.encode_batch(
            texts, add_special_tokens=False
        )
        return encodings

    def _batches(self, items: Sequence[str], batch_size: int) -> list[list[int]]:
        return cut(range(len(items)), max(batch_size, _BATCH))

    def _inputs(self, texts: list[str]) -> Any:
        inputs = self.collate(texts)
        self.names = list(inputs)
        return inputs

    def collate(self, examples: list[str]) -> Any:
        """Return the tokens of all texts in one row, and where each text begins."""
        import torch
        from transformers import BatchEncoding

        ids = [encoding.ids for encoding in self._encodings(examples)]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        tokens = np.fromiter((i for of in ids for i in of), np.int64, lengths.sum())
        offsets = np.concatenate([[0], lengths.cumsum()[:-1]])
        return BatchEncoding(
            {
                "input_ids": torch.from_numpy(tokens),
                "offsets": torch.from_numpy(offsets),
            }
        )

    def features(self, inputs: Any) -> Any:
        """Return a tensor of one row a text."""
        return run_modules(self.network, dict(inputs))

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = self.network[0].state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, folder / _WEIGHTS)
        self.tokenizer.save(str(folder / _TOKENIZER))
        write_sentence(folder, self.spec, self.width, self.network[1:])


_WEIGHTS, _TOKENIZER = "model.safetensors", "tokenizer.json"


def load_static(
    source: ModelSource,
    sentence: Sentence,
    device: str,
    expected: Spec | None,
    *,
    dtype: str,
    max_length: int | None,
    prompt: str | None,
) -> StaticModel:
    """Load a static model from its folder; with `expected`, by that spec."""
    from torch.nn import ModuleList

    if max_length is not None:
        raise InputError(
            f"max_length={max_length!r} cannot be used with the model {source.name!r}: "
            f"it is static and reads texts of any length. Use max_length=None."
        )
    table, tokenizer = _table(source, sentence.path)
    network = ModuleList([table, *load_modules(source, sentence)])
    # A sum over few digits would save no time.
    network = cast(network.float(), FLOAT32 if dtype == AUTO else dtype, device)
    truncation = tokenizer.truncation or {}
    preprocessing: Spec = {
        "lower_case": False,
        "prompt": "",
        "tokenizer_sha256": _tokenizer_hash(tokenizer),
    }
    pooling = sentence.pooling
    if expected is None:
        preprocessing["prompt"] = choose_prompt(source, sentence, prompt)
    else:
        check_modules(source, sentence, expected["pooling"])
        wanted = expected["preprocessing"]["tokenizer_sha256"]
        found = preprocessing["tokenizer_sha256"]
        check_same(source, "tokenizer is", wanted, found)
        preprocessing, pooling = expected["preprocessing"], expected["pooling"]
    spec = model_spec(
        source,
        network,
        frozenset(),
        config_of(network[1:]),
        preprocessing,
        pooling,
        truncation.get("max_length"),
        expected,
    )
    return tried(source, StaticModel(network, tokenizer, spec, device=device))


def _table(source: ModelSource, path: str) -> tuple[Any, Any]:
    """Return the table of vectors and its tokenizer, which is not copied with it."""
    from sentence_transformers.sentence_transformer import modules

    require_safetensors(source, path)
    if not (source.folder / path / _TOKENIZER).is_file():
        raise unloadable(source, ValueError(f"{_TOKENIZER} is missing"))
    try:
        with quiet_loading():
            table = getattr(modules, STATIC).load(
                str(source.folder), subfolder=path, local_files_only=True
            )
    except Exception as error:  # whatever the library finds wrong with the files
        raise unloadable(source, error) from error
    tokenizer, table.tokenizer = table.tokenizer, None
    return table, tokenizer


def _tokenizer_hash(tokenizer: Any) -> str:
    """Hash all rules, and what they make of some texts."""
    encodings = tokenizer.encode_batch(TOKENIZER_PROBES, add_special_tokens=False)
    return json_hash([tokenizer.to_str(), [encoding.ids for encoding in encodings]])
