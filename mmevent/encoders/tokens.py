"""Tokenizers of transformers: loaded, identified, and how much they may read."""

from __future__ import annotations

from typing import Any

from mmevent._common import as_whole, json_hash
from mmevent.encoders.hub import ModelSource, quiet_loading, unloadable
from mmevent.encoders.loading import TOKENIZER_PROBES, check_tokenizer_files
from mmevent.exceptions import InputError

# Tokens that are read of a text, at most, where `max_length` does not say.
_LONGEST = 8192


def load_tokenizer(source: ModelSource, auto: Any) -> Any:
    """Return the tokenizer of a folder, or refuse one without files or padding."""
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


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash the vocabulary, and what is made of some texts."""
    ids = tokenizer(TOKENIZER_PROBES, verbose=False)["input_ids"]
    return json_hash([tokenizer.get_vocab(), ids])


def longest_input(network: Any, tokenizer: Any) -> int:
    """Return the most tokens that network and tokenizer can take."""
    limits = [tokenizer.model_max_length]
    positions = getattr(network.config, "max_position_embeddings", None)
    if positions:
        table = getattr(
            getattr(network, "embeddings", None), "position_embeddings", None
        )
        # RoBERTa and its relatives number positions from padding_idx + 1.
        padding = getattr(table, "padding_idx", None)
        limits.append(positions - (0 if padding is None else padding + 1))
    return int(min(limits))


def chosen_length(wanted: object, of_folder: int | None, limit: int) -> int:
    """Return the tokens to read of a text: those asked for, or the model's own."""
    if wanted is None:
        return min(of_folder or limit, limit, _LONGEST)
    length = as_whole(wanted)
    if length is None or not 3 <= length <= limit:
        msg = (
            f"`max_length` must be None or a number of tokens from 3 to {limit}, the "
            f"most this model can read; got {wanted!r}. Use max_length=None for the "
            f"model's own length."
        )
        raise InputError(msg)
    return length
