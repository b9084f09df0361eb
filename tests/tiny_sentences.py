"""Tiny models of texts in the forms of sentence-transformers and model2vec.

The weights are random and the same every time. Each function writes to a folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_models import word_pieces

QUERY = "Instruct: find the protest\nQuery:"
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZES |= {"intermediate_size": 32, "initializer_range": 0.3}
_DECODER = _SIZES | {"num_key_value_heads": 1, "head_dim": 8}


def write_e5(folder: Path) -> None:
    """Write a BERT whose tokens are averaged; its files name no prompt."""
    _write(folder, "Bert", _pooled("mean"), max_position_embeddings=64, **_SIZES)


def write_gemma(folder: Path) -> None:
    """Write a Gemma that sees both ways, with two dense layers and prompts."""
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize
    from torch.nn import Identity

    identity: dict[str, Any] = {"bias": False, "activation_function": Identity()}
    modules = _pooled("mean")[:1]
    modules += [Dense(16, 24, **identity), Dense(24, 12, **identity), Normalize()]
    own = {"use_bidirectional_attention": True, "sliding_window": 8}
    _write(folder, "Gemma3Text", modules, "Gemma3TextModel", **_DECODER, **own)
    prompts = {"query": "task: search | query: ", "document": "title: none | text: "}
    _describe(folder, prompts=prompts, default_prompt_name=None)


def write_qwen(folder: Path) -> None:
    """Write a Qwen3 whose last token counts, padded on the left, with a prompt."""
    _write(folder, "Qwen3", _pooled("lasttoken"), padding_side="left", **_DECODER)
    _describe(folder, prompts={"query": QUERY, "document": ""})


def write_modern(folder: Path) -> None:
    """Write a ModernBERT whose first token counts, not normalised."""
    own = {"cls_token_id": 2, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    own |= {"max_position_embeddings": 8192, "local_attention": 8}
    _write(folder, "ModernBert", _pooled("cls")[:1], **_SIZES, **own)


def write_bge(folder: Path) -> None:
    """Write an XLM-RoBERTa whose first token counts."""
    _write(folder, "XLMRoberta", _pooled("cls"), max_position_embeddings=64, **_SIZES)


def write_pooled(folder: Path, mode: Any, **settings: Any) -> None:
    """Write a BERT with a pooling of some kind."""
    modules = _pooled(mode, **settings)
    _write(folder, "Bert", modules, max_position_embeddings=64, **_SIZES)


def write_static(folder: Path) -> None:
    """Write a table of embeddings as sentence-transformers saves it, in a folder."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = word_pieces()
    table = StaticEmbedding(tokenizer, embedding_weights=_random(len(tokenizer), 12))
    (folder / "0_StaticEmbedding").mkdir()
    table.save(str(folder / "0_StaticEmbedding"))
    _list(folder, [table], ["0_StaticEmbedding"])


def write_model2vec(folder: Path) -> None:
    """Write a table of embeddings as model2vec saves it, with a mapping and weights."""
    from safetensors.torch import save_file
    from sentence_transformers.sentence_transformer.modules import Normalize

    tokenizer = word_pieces()
    n = len(tokenizer)
    tensors = {"embeddings": _random(n // 2, 12), "weights": _random(n, 1)[:, 0].abs()}
    import torch

    save_file(tensors | {"mapping": torch.arange(n) // 2}, folder / "model.safetensors")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "model2vec", "normalize": True, "hidden_dim": 12}
    (folder / "config.json").write_text(json.dumps(config))
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    table = StaticEmbedding.load(str(folder))
    _list(folder, [table, Normalize()], [".", "1_Normalize"])


def _pooled(mode: Any, **settings: Any) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    return [Pooling(16, pooling_mode=mode, **settings), Normalize()]


def _random(*sizes: int) -> Any:
    import torch

    return torch.randn(*sizes, generator=torch.Generator().manual_seed(0))


def _write(
    folder: Path,
    kind: str,
    modules: list[Any],
    network: str | None = None,
    padding_side: str = "right",
    **sizes: Any,
) -> None:
    import torch
    import transformers

    tokenizer = word_pieces(padding_side=padding_side)
    tokenizer.save_pretrained(folder)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, network or f"{kind}Model")(config).save_pretrained(folder)
        for module in modules:
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter)
    paths = [f"{i}_{type(m).__name__}" for i, m in enumerate(modules, 1)]
    for path, module in zip(paths, modules, strict=True):
        (folder / path).mkdir()
        module.save(str(folder / path))
    _list(folder, [None, *modules], ["", *paths])


def _list(folder: Path, modules: list[Any], paths: list[str]) -> None:
    names = ["Transformer" if m is None else type(m).__name__ for m in modules]
    listed = [
        {
            "idx": i,
            "name": str(i),
            "path": path,
            "type": f"sentence_transformers.models.{name}",
        }
        for i, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))


def _describe(folder: Path, **settings: Any) -> None:
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(settings))
