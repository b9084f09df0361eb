from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextModel
from mmevent.exceptions import ModelUnavailableError

NAMES = ("Transformer", "Pooling", "Normalize")


def _describe(
    folder: Path,
    *,
    modules: tuple[str, ...] = NAMES,
    pooling: dict[str, Any] | None = None,
    path: str = "",
    **files: dict[str, Any],
) -> str:
    paths = [
        path,
        *(f"{i}_{name.split('.')[-1]}" for i, name in enumerate(modules) if i),
    ]
    types = [
        name if "." in name else f"sentence_transformers.models.{name}"
        for name in modules
    ]
    listed = [
        {"idx": i, "name": str(i), "path": where, "type": kind}
        for i, (where, kind) in enumerate(zip(paths, types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    given = {"pooling_mode_mean_tokens": True} if pooling is None else pooling
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(given))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_follows_the_models_own_files(
    tiny_text_model: str,
    changed_copy: Any,
    pooling: dict[str, Any],
    mode: str,
    normalize: bool,
) -> None:
    modules = NAMES if normalize else NAMES[:2]
    folder = _describe(changed_copy(tiny_text_model), modules=modules, pooling=pooling)
    model = load_model(TextModel, folder)
    assert model.spec["pooling"] == {"mode": mode, "normalize": normalize}
    text = "a march in the city"
    inputs = model.tokenizer(text, return_tensors="pt")
    states = model.network(**inputs).last_hidden_state[0].numpy()
    pooled = {"cls": states[0], "mean": states.mean(0), "max": states.max(0)}[mode]
    if normalize:
        pooled = pooled / np.linalg.norm(pooled)
    rows = model.encode([text, text + " with our people"])
    np.testing.assert_allclose(rows[0], pooled, atol=1e-5)


def test_newer_names_of_modules_are_known(
    tiny_text_model: str, changed_copy: Any
) -> None:
    modules = (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    )
    folder = _describe(changed_copy(tiny_text_model), modules=modules)
    assert not load_model(TextModel, folder).spec["pooling"]["normalize"]


def test_the_length_of_the_models_own_files_is_used(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = _describe(
        changed_copy(tiny_text_model), sentence_bert_config={"max_seq_length": 10}
    )
    assert load_model(TextModel, folder).spec["max_length"] == 10
    assert load_model(TextModel, folder, max_length=20).spec["max_length"] == 20


def test_texts_are_lower_cased_where_the_files_say_so(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = _describe(
        changed_copy(tiny_text_model), sentence_bert_config={"do_lower_case": True}
    )
    model = load_model(TextModel, folder)
    assert model._tokenize(["MARCH"]) == model._tokenize(["march"])
    assert model.spec["preprocessing"]["lower_case"] is True


def test_a_default_prompt_is_put_before_each_text(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = _describe(
        changed_copy(tiny_text_model),
        config_sentence_transformers={
            "prompts": {"query": "a protest: "},
            "default_prompt_name": "query",
        },
    )
    plain = load_model(TextModel, tiny_text_model)
    np.testing.assert_allclose(
        load_model(TextModel, folder).encode(["in the city"]),
        plain.encode(["a protest: in the city"]),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "modules",
    [
        ("Transformer", "Pooling", "Dense", "Normalize"),
        ("Transformer",),
        ("custom_st.Transformer", "Pooling"),
        ("CLIPModel",),
    ],
)
def test_modules_that_are_not_known_are_refused(
    tiny_text_model: str, changed_copy: Any, modules: tuple[str, ...]
) -> None:
    folder = _describe(changed_copy(tiny_text_model), modules=modules)
    with pytest.raises(
        ModelUnavailableError, match=rf"modules\.json lists .*{modules[0]}"
    ):
        load_model(TextModel, folder)


def test_a_transformer_in_a_folder_of_its_own_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = _describe(changed_copy(tiny_text_model), path="0_Transformer")
    with pytest.raises(ModelUnavailableError, match="Transformer in the folder itself"):
        load_model(TextModel, folder)


@pytest.mark.parametrize(
    ("pooling", "words"),
    [
        ({"pooling_mode_lasttoken": True}, "pooling_mode_lasttoken"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "cls and mean",
        ),
        ({}, "of no kind"),
    ],
)
def test_pooling_that_is_not_known_is_refused(
    tiny_text_model: str, changed_copy: Any, pooling: dict[str, Any], words: str
) -> None:
    folder = _describe(changed_copy(tiny_text_model), pooling=pooling)
    with pytest.raises(ModelUnavailableError, match=f"asks for pooling {words} where"):
        load_model(TextModel, folder)


def test_pooling_that_leaves_out_a_prompt_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = _describe(
        changed_copy(tiny_text_model),
        pooling={"pooling_mode_mean_tokens": True, "include_prompt": False},
        config_sentence_transformers={
            "prompts": {"query": "q: "},
            "default_prompt_name": "query",
        },
    )
    with pytest.raises(ModelUnavailableError, match="leaves out the prompt"):
        load_model(TextModel, folder)


def test_settings_that_are_not_json_are_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    (folder / "modules.json").write_text("[")
    with pytest.raises(ModelUnavailableError, match=r"modules\.json is not JSON"):
        load_model(TextModel, str(folder))
