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
from mmevent.encoders.model import Model, Spec, cut
from mmevent.encoders.runtime import AUTO, FLOAT32, cast
from mmevent.encoders.sentence import (
    LIBRARY,
    WEIGHTS,
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
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOKENIZER = "tokenizer.json"
# Texts of a batch, whatever `batch_size`: each takes microseconds and no memory.
_BATCH = 512


class StaticModel(Model):
    """Texts to means of their tokens' vectors, through sentence-transformers."""

    kind = item = "text"
    trial = "a text"
    libraries = (*OF_TEXTS, LIBRARY)
    names: list[str]  # of the network's inputs, in their order

    def __init__(
        self, network: Any, tokenizer: Any, spec: Spec, *, device: str
    ) -> None:
        width = width_after(network, 0)
        super().__init__(network, spec, device=device, width=width, missing=frozenset())
        self.tokenizer = tokenizer

    @classmethod
    def from_source(
        cls,
        source: ModelSource,
        device: str,
        expected: Spec | None,
        *,
        sentence: Sentence,
        dtype: str,
        max_length: int | None = None,
        prompt: str | None = None,
    ) -> StaticModel:
        """Load the model from its folder; with `expected`, by that spec."""
        if max_length is not None:
            raise InputError(
                f"max_length={max_length!r} cannot be used with the model "
                f"{source.name!r}: it is static and reads texts of any length. Use "
                f"max_length=None."
            )
        network, tokenizer = _network(source, sentence)
        # A sum over few digits would save no time.
        network = cast(network.float(), FLOAT32 if dtype == AUTO else dtype, device)
        found = _tokenizer_hash(tokenizer)
        if expected is None:
            pooling, preprocessing = (
                sentence.pooling,
                {
                    "lower_case": False,
                    "prompt": choose_prompt(source, sentence, prompt),
                    "tokenizer_sha256": found,
                },
            )
        else:
            pooling, preprocessing = expected["pooling"], expected["preprocessing"]
            check_modules(source, sentence, pooling)
            wanted = preprocessing["tokenizer_sha256"]
            check_same(source, "tokenizer is", wanted, found)
        spec = model_spec(
            source,
            network,
            frozenset(),
            config_of(network[1:]),
            preprocessing,
            pooling,
            (tokenizer.truncation or {}).get("max_length"),
            expected,
        )
        return tried(source, cls(network, tokenizer, spec, device=device))

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

    def _forward(self, items: list[str]) -> NDArray[np.float32]:
        inputs = [tensor.to(self.device) for tensor in self._inputs(items)]
        with self.turn:
            rows: NDArray[np.float32] = self._run(*inputs).numpy()
        return rows

    def _inputs(self, texts: list[str]) -> tuple[Any, Any]:
        """Return the tokens of all texts in one row, and where each text begins."""
        import torch

        ids = [encoding.ids for encoding in self._encodings(texts)]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        tokens = np.fromiter((i for of in ids for i in of), np.int64, lengths.sum())
        offsets = np.concatenate([[0], lengths.cumsum()[:-1]])
        return torch.from_numpy(tokens), torch.from_numpy(offsets)

    def _compute(self, *inputs: Any) -> Any:
        tokens, offsets = inputs
        return run_modules(self.network, {"input_ids": tokens, "offsets": offsets})

    def _example(self) -> tuple[Any, ...]:
        return self._inputs(["a march through the city", "a day"])

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = self.network[0].state_dict()
        state = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(state, folder / WEIGHTS)
        self._save_preprocessing(folder)

    def _save_preprocessing(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / _TOKENIZER))
        write_sentence(folder, self.spec, self.width, self.network[1:])


def _network(source: ModelSource, sentence: Sentence) -> tuple[Any, Any]:
    """Return all modules, and the tokenizer, which is not copied with them."""
    from torch.nn import ModuleList

    table = _table(source, sentence.path)
    tokenizer, table.tokenizer = table.tokenizer, None
    return ModuleList([table, *load_modules(source, sentence)]), tokenizer


def _table(source: ModelSource, path: str) -> Any:
    """Return the table of vectors, which holds its tokenizer."""
    from sentence_transformers.sentence_transformer import modules

    require_safetensors(source, path)
    if not (source.folder / path / _TOKENIZER).is_file():
        raise unloadable(source, ValueError(f"{_TOKENIZER} is missing"))
    try:
        with quiet_loading():
            return getattr(modules, STATIC).load(
                str(source.folder), subfolder=path, local_files_only=True
            )
    except Exception as error:  # whatever the library finds wrong with the files
        raise unloadable(source, error) from error


def _tokenizer_hash(tokenizer: Any) -> str:
    """Hash all rules, and what they make of some texts."""
    encodings = tokenizer.encode_batch(TOKENIZER_PROBES, add_special_tokens=False)
    return json_hash([tokenizer.to_str(), [encoding.ids for encoding in encodings]])
