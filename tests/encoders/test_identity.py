"""What belongs to a model's identity, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmevent.encoders import identity
from mmevent.encoders.clip import ClipModel
from mmevent.encoders.identity import check_config, versions
from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model
from mmevent.encoders.model import Model
from mmevent.encoders.text import TextModel
from mmevent.exceptions import MmeventWarning, ModelUnavailableError

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
PROCESSOR, CLIP = "preprocessor_config.json", "open_clip_config.json"
KINDS: dict[str, type[Model]] = {
    "tiny_text_model": TextModel,
    "tiny_image_model": ImageModel,
    "tiny_timm_model": ImageModel,
    "tiny_clip_model": ClipModel,
}


def edit(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.exists() else {}
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = content
        for key in outer:
            place = place[key]
        place[last] = value
    # In another order too, which is no change.
    path.write_text(json.dumps(dict(reversed(content.items()))))


def describe(folder: Path, **pooling: Any) -> None:
    """Write the files of sentence-transformers."""
    kinds = ["Transformer", "Pooling"]
    listed = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in zip(["", "1_Pooling"], kinds, strict=True)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    edit(folder, "1_Pooling/config.json", **(pooling or {"pooling_mode": "mean"}))


DECISIVE: list[tuple[str, str, dict[str, Any]]] = [
    ("tiny_text_model", CONFIG, {"hidden_act": "relu"}),
    ("tiny_text_model", CONFIG, {"layer_norm_eps": 1.0}),
    ("tiny_text_model", CONFIG, {"attn_implementation": "eager"}),
    ("tiny_text_model", TOKENIZER, {"truncation_side": "left"}),
    ("tiny_text_model", TOKENIZER, {"padding_side": "left"}),
    ("tiny_text_model", TOKENIZER, {"model_max_length": 9}),
    ("tiny_text_model", "tokenizer.json", {"model__max_input_chars_per_word": 3}),
    ("tiny_image_model", CONFIG, {"hidden_act": "gelu"}),
    ("tiny_image_model", PROCESSOR, {"image_mean": [0.1, 0.2, 0.3]}),
    ("tiny_image_model", PROCESSOR, {"image_std": [0.1, 0.2, 0.3]}),
    ("tiny_image_model", PROCESSOR, {"resample": 0}),
    ("tiny_image_model", PROCESSOR, {"crop_pct": 0.5}),
    ("tiny_image_model", PROCESSOR, {"size": {"shortest_edge": 32}}),
    ("tiny_timm_model", CONFIG, {"pretrained_cfg__mean": [0, 0, 0]}),
    ("tiny_clip_model", CLIP, {"model_cfg__quick_gelu": True}),
    ("tiny_clip_model", CLIP, {"model_cfg__vision_cfg__pool_type": "avg"}),
    ("tiny_clip_model", CLIP, {"preprocess_cfg__interpolation": "bilinear"}),
    ("tiny_clip_model", CLIP, {"preprocess_cfg__resize_mode": "squash"}),
]
IDLE: list[tuple[str, str, dict[str, Any]]] = [
    (
        "tiny_text_model",
        CONFIG,
        {"_name_or_path": "x", "transformers_version": "4.0.0"},
    ),
    ("tiny_text_model", CONFIG, {"hidden_dropout_prob": 0.4, "architectures": ["X"]}),
    ("tiny_text_model", CONFIG, {"hidden_act": "gelu"}),
    ("tiny_text_model", TOKENIZER, {"name_or_path": "x", "chat_template": "x"}),
    ("tiny_text_model", "README.md", {}),
    ("tiny_image_model", CONFIG, {"_name_or_path": "x", "id2label": {"0": "a"}}),
    ("tiny_image_model", PROCESSOR, {}),
    ("tiny_timm_model", CONFIG, {"_name_or_path": "x"}),
    ("tiny_clip_model", CLIP, {"model_cfg__quick_gelu": False}),
    ("tiny_clip_model", CLIP, {"model_cfg__vision_cfg__ls_init_value": None}),
]


@pytest.mark.parametrize(("fixture", "file", "changes"), DECISIVE, ids=str)
def test_a_setting_that_moves_vectors_is_part_of_the_identity(
    request: pytest.FixtureRequest,
    changed_copy: Any,
    fixture: str,
    file: str,
    changes: dict[str, Any],
) -> None:
    folder = request.getfixturevalue(fixture)
    before = load_model(KINDS[fixture], folder).identity
    copy = changed_copy(folder)
    edit(copy, file, **changes)
    assert load_model(KINDS[fixture], str(copy)).identity != before


@pytest.mark.parametrize(("fixture", "file", "changes"), IDLE, ids=str)
def test_a_setting_that_moves_none_is_not(
    request: pytest.FixtureRequest,
    changed_copy: Any,
    fixture: str,
    file: str,
    changes: dict[str, Any],
) -> None:
    folder = request.getfixturevalue(fixture)
    before = load_model(KINDS[fixture], folder)
    copy = changed_copy(folder)
    if "id2label" in changes:  # as many labels, or the last layer is another
        names = before.network.config.id2label
        changes = changes | {"id2label": {str(i): f"label {i}" for i in names}}
    edit(copy, file, **changes)
    assert load_model(KINDS[fixture], str(copy)).identity == before.identity


@pytest.mark.parametrize(
    "change",
    [
        lambda f: edit(f, "1_Pooling/config.json", pooling_mode="cls"),
        lambda f: edit(f, "sentence_bert_config.json", max_seq_length=9),
        lambda f: edit(f, "sentence_bert_config.json", do_lower_case=True),
        lambda f: edit(
            f,
            "config_sentence_transformers.json",
            prompts={"q": "a: "},
            default_prompt_name="q",
        ),
    ],
    ids=["pooling", "length", "lower case", "prompt"],
)
def test_files_of_sentence_transformers_are_part_of_the_identity(
    tiny_text_model: str, changed_copy: Any, change: Callable[[Path], None]
) -> None:
    copy = changed_copy(tiny_text_model)
    describe(copy)
    before = load_model(TextModel, str(copy)).identity
    change(copy)
    assert load_model(TextModel, str(copy)).identity != before


@pytest.mark.parametrize("name", ["torch", "tokenizers", "pillow"])
def test_another_version_of_a_library_is_another_identity(
    tiny_text_model: str,
    tiny_image_model: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    text = load_model(TextModel, tiny_text_model)
    image = load_model(ImageModel, tiny_image_model)
    before, actual = (text.identity, image.identity), dict(versions(image.libraries))
    monkeypatch.setattr(
        "mmevent.encoders.model.versions",
        lambda names: {n: "0" if n == name else actual.get(n) for n in names},
    )
    after = text.identity, image.identity
    moved = [one != other for one, other in zip(before, after, strict=True)]
    assert moved == [name != "pillow", name != "tokenizers" or "tokenizers" in actual]


@pytest.mark.parametrize(
    ("fixture", "file", "changes"),
    [
        ("tiny_text_model", CONFIG, {"hidden_act": "relu"}),
        ("tiny_text_model", CONFIG, {"layer_norm_eps": 1.0}),
        ("tiny_text_model", TOKENIZER, {"truncation_side": "left"}),
        ("tiny_image_model", CONFIG, {"hidden_act": "gelu"}),
    ],
    ids=str,
)
def test_a_fitted_model_keeps_its_settings_and_says_so(
    request: pytest.FixtureRequest,
    changed_copy: Any,
    pictures: Any,
    fixture: str,
    file: str,
    changes: dict[str, Any],
) -> None:
    copy = changed_copy(request.getfixturevalue(fixture))
    model: Any = load_model(KINDS[fixture], str(copy))
    items = ["march " * 30 + "city " * 30] if model.kind == "text" else pictures[:2]
    expected = model.encode(items)
    edit(copy, file, **changes)
    assert not np.allclose(
        load_model(KINDS[fixture], str(copy)).encode(items), expected
    )
    with pytest.warns(MmeventWarning, match=rf"{next(iter(changes))} is .* and was "):
        again = load_model(KINDS[fixture], str(copy), expected=model.spec)
    np.testing.assert_array_equal(again.encode(items), expected)
    assert again.identity == model.identity


@pytest.mark.parametrize(
    ("fixture", "file", "changes"),
    [
        ("tiny_text_model", "tokenizer.json", {"model__max_input_chars_per_word": 3}),
        ("tiny_clip_model", CLIP, {"model_cfg__quick_gelu": True}),
    ],
    ids=str,
)
def test_settings_that_cannot_be_put_back_are_refused(
    request: pytest.FixtureRequest,
    changed_copy: Any,
    fixture: str,
    file: str,
    changes: dict[str, Any],
) -> None:
    copy = changed_copy(request.getfixturevalue(fixture))
    spec = load_model(KINDS[fixture], str(copy)).spec
    edit(copy, file, **changes)
    with pytest.raises(
        ModelUnavailableError, match="not the ones? the model was fitted"
    ):
        load_model(KINDS[fixture], str(copy), expected=spec)


def test_attention_that_would_be_fetched_is_not_put_back(tiny_text_model: str) -> None:
    spec = load_model(TextModel, tiny_text_model).spec
    config = spec["config"] | {"attention": "somebody/kernel"}
    with pytest.raises(ModelUnavailableError, match="attention is 'sdpa' and was"):
        load_model(TextModel, tiny_text_model, expected=spec | {"config": config})


def test_another_version_may_know_other_settings(tiny_text_model: str) -> None:
    source: Any = type("Source", (), {"name": "m", "folder": "f"})
    before = {"network": {"a": 1, "old": 2}, "versions": {"torch": "1"}}
    now = {"network": {"a": 1, "new": 3}, "versions": {"torch": "2"}}
    check_config(source, before, now)
    with pytest.raises(ModelUnavailableError, match="new is 3 and was None"):
        check_config(source, before, now | {"versions": before["versions"]})
    now["network"]["a"] = 5
    with pytest.raises(ModelUnavailableError, match=r"network\.a is 5 and was 1"):
        check_config(source, before, now)


class Slow:
    """A tokenizer that has no rules of the package tokenizers."""

    vocab_files_names = {"vocab_file": "vocab.txt", "other": "absent.txt"}

    def __init__(self, added: dict[str, int] | None = None, **arguments: Any) -> None:
        self.init_kwargs = {"normalization": False} | arguments
        self.added = added or {}

    def get_added_vocab(self) -> dict[str, int]:
        return self.added


def test_a_tokenizer_without_rules_is_known_by_its_files(tmp_path: Path) -> None:
    source: Any = type("Source", (), {"folder": tmp_path})
    (tmp_path / "vocab.txt").write_text("a")
    before = identity._rules_hash(source, Slow())
    (tmp_path / "vocab.txt").write_text("b")
    assert identity._rules_hash(source, Slow()) != before


def test_a_tokenizer_without_rules_is_known_by_its_arguments(tmp_path: Path) -> None:
    source: Any = type("Source", (), {"folder": tmp_path})
    before = identity._rules_hash(source, Slow())
    assert identity._rules_hash(source, Slow(normalization=True)) != before
    assert identity._rules_hash(source, Slow({"<tag>": 7})) != before
    moved = Slow(name_or_path="b", vocab_file="b/vocab.txt", is_local=True)
    assert identity._rules_hash(source, moved) == before


def test_arguments_of_a_tokenizer_are_the_same_once_it_is_saved(tmp_path: Path) -> None:
    from transformers import BertweetTokenizer

    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "vocab.txt").write_text("a 1\nb 1\n")
    (first / "bpe.codes").write_text("a b 1\n")
    (first / "tokenizer_config.json").write_text('{"normalization": true}')
    source: Any = type("Source", (), {"folder": first})
    found = []
    for folder in (first, second):
        tokenizer = BertweetTokenizer.from_pretrained(folder, local_files_only=True)
        found.append(identity._rules_hash(source, tokenizer))
        tokenizer.save_pretrained(second)
    assert found[0] == found[1]
