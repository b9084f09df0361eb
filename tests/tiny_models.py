"""Tiny models with random weights, the same every time.

Each function writes one to a folder, and most return the folder as a string.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = (
    "a after also and at by city crowd day dog flag for good great home in is it love "
    "march morning my near no not of on our people police protest rally sign square "
    "strike sunny the they this to today tree union very was we weather with workers"
).split()


def write_text_model(folder: Path) -> str:
    """Write a 2-layer BERT with 16 dimensions that reads 24 tokens."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = word_pieces()
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return str(folder)


def write_detection_model(folder: Path) -> str:
    """Write an object detector with random weights that sees people and cars."""
    import torch
    from transformers import (
        YolosConfig,
        YolosForObjectDetection,
        YolosImageProcessorPil,
    )

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        patch_size=16,
        num_detection_tokens=6,
        id2label={0: "person", 1: "car"},
        label2id={"person": 0, "car": 1},
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    YolosImageProcessorPil(size=size).save_pretrained(folder)
    return str(folder)


def write_image_model(folder: Path) -> str:
    """Write a 2-stage ResNet with 8 features that sees 16 x 16 pixels."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.convnext import ConvNextImageProcessorPil

    ConvNextImageProcessorPil(size={"shortest_edge": 16}).save_pretrained(folder)
    config = ResNetConfig(
        embedding_size=4,
        hidden_sizes=[4, 8],
        depths=[1, 1],
        layer_type="basic",
        num_labels=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ResNetForImageClassification(config).save_pretrained(folder)
    return str(folder)


def write_timm_model(folder: Path) -> str:
    """Write a 1-layer vision transformer of timm that sees 16 x 16 pixels."""
    import torch
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    config = TimmWrapperConfig.from_dict(
        {
            "architecture": "vit_tiny_patch16_224",
            "num_classes": 3,
            "label_names": ["calm", "crowd", "police"],
            "model_args": {
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": 8,
                "depth": 1,
                "num_heads": 2,
            },
            "pretrained_cfg": {
                "input_size": [3, 16, 16],
                "interpolation": "bicubic",
                "crop_pct": 0.9,
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
            },
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        TimmWrapperForImageClassification(config).save_pretrained(folder)
    return str(folder)


def write_clip_model(folder: Path) -> str:
    """Write a CLIP of two 1-layer transformers that sees 16 x 16 pixels."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 4, "heads": 1}
    write_clip_with(folder, text | {"layers": 1})
    return str(folder)


def write_clip_with(folder: Path, text: dict[str, Any]) -> None:
    """Write a CLIP with random weights, in open_clip's form, with this text tower."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision = {"image_size": 16, "patch_size": 4, "width": 32, "head_width": 16}
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": vision | {"layers": 1},
            "text_cfg": text,
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False
        )
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def word_pieces(**settings: Any) -> Any:
    """Return a tokenizer that knows `WORDS` and single ASCII characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **{"model_max_length": 24} | settings,
    )
