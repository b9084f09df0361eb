from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sentences
from tiny_sentences import QUERY

from mmevent.encoders.loading import load_model
from mmevent.encoders.text import TextEncoder, TextModel
from mmevent.exceptions import InputError, ModelUnavailableError

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
    (folder / "1_Pooling").mkdir(exist_ok=True)
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
        ("Transformer", "Pooling", "WeightedLayerPooling"),
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
        ModelUnavailableError, match=rf"modules\.json lists .*{modules[-1]}"
    ) as error:
        load_model(TextModel, folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_args": {"attn_implementation": "eager"}}, "model_args"),
        ({"transformer_task": "fill-mask"}, "transformer_task='fill-mask'"),
        ({"modality_config": {"text": {"method": "get_text"}}}, "modality_config"),
    ],
)
def test_settings_that_are_not_followed_are_refused(
    tiny_text_model: str, changed_copy: Any, settings: dict[str, Any], words: str
) -> None:
    copy = changed_copy(tiny_text_model)
    folder = _describe(copy, sentence_bert_config=settings)
    with pytest.raises(ModelUnavailableError, match=f"asks for {words}"):
        load_model(TextModel, folder)


@pytest.mark.parametrize("path", ["../other", "/etc"])
def test_modules_elsewhere_are_refused(
    tiny_text_model: str, changed_copy: Any, path: str
) -> None:
    folder = _describe(changed_copy(tiny_text_model), modules=("Transformer", path))
    with pytest.raises(ModelUnavailableError, match=r"modules\.json lists"):
        load_model(TextModel, folder)


def test_settings_that_are_not_json_are_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    (folder / "modules.json").write_text("[")
    with pytest.raises(ModelUnavailableError, match=r"modules\.json is not JSON"):
        load_model(TextModel, str(folder))


TEXTS = ["a march in the city", "a dog", "our people at the square " * 5, "", "A Day!"]
FORMS = [
    ("e5", "query: "),
    ("gemma", None),
    ("gemma", "document"),
    ("qwen", "query"),
    ("modern", None),
    ("bge", None),
    ("static", "a day: "),
    ("model2vec", None),
]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What writes a tiny model of a form, once, and returns its folder."""

    @cache
    def write(form: str) -> Path:
        folder = tmp_path_factory.mktemp(form)
        getattr(tiny_sentences, f"write_{form}")(folder)
        return folder

    return write


def _by_the_library(folder: Path, texts: list[str], prompt: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    named = prompt in model.prompts
    given: dict[str, Any] = {"prompt_name" if named else "prompt": prompt}
    return model.encode(texts, show_progress_bar=False, **given)


@pytest.mark.parametrize(("form", "prompt"), FORMS)
def test_vectors_are_those_of_the_library_and_of_a_saved_copy(
    folder_of: Any, tmp_path: Path, form: str, prompt: str | None
) -> None:
    folder = folder_of(form)
    model = load_model(TextModel, str(folder), prompt=prompt)
    rows = model.encode(TEXTS)
    expected = _by_the_library(folder, TEXTS, prompt)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    model.save(tmp_path / "copy")
    again = load_model(TextModel, str(tmp_path / "copy"))
    assert again.identity == model.identity
    np.testing.assert_array_equal(again.encode(TEXTS), rows)
    pinned = load_model(TextModel, str(folder), expected=model.spec)
    np.testing.assert_array_equal(pinned.encode(TEXTS), rows)


@pytest.mark.parametrize(
    "mode",
    ["mean_sqrt_len_tokens", "weightedmean", "lasttoken", "max", ("cls", "mean")],
    ids=str,
)
def test_pooling_of_every_kind_is_that_of_the_library(
    tmp_path: Path, mode: Any
) -> None:
    tiny_sentences.write_pooled(tmp_path, mode)
    rows = load_model(TextModel, str(tmp_path)).encode(TEXTS)
    expected = _by_the_library(tmp_path, TEXTS, None)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_pooling_may_leave_the_prompt_out(tmp_path: Path) -> None:
    tiny_sentences.write_pooled(tmp_path, "mean", include_prompt=False)
    rows = load_model(TextModel, str(tmp_path), prompt="a day: ").encode(TEXTS[:2])
    expected = _by_the_library(tmp_path, TEXTS[:2], "a day: ")
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_plain_folder_is_averaged_and_normalised(tiny_text_model: str) -> None:
    rows = load_model(TextModel, tiny_text_model).encode(TEXTS)
    expected = _by_the_library(Path(tiny_text_model), TEXTS, None)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_transformer_may_lie_in_a_folder_of_its_own(
    tiny_text_model: str, tmp_path: Path
) -> None:
    shutil.copytree(tiny_text_model, tmp_path / "0_Transformer")
    folder = _describe(tmp_path, path="0_Transformer")
    np.testing.assert_array_equal(
        load_model(TextModel, folder).encode(TEXTS),
        load_model(TextModel, tiny_text_model).encode(TEXTS),
    )


def test_a_prompt_is_named_given_or_left_out(folder_of: Any) -> None:
    def said(prompt: str | None) -> Any:
        model = load_model(TextModel, str(folder_of("qwen")), prompt=prompt)
        return model.spec["preprocessing"]["prompt"]

    assert said("query") == said(QUERY) == QUERY
    assert said(None) == said("") == said("document") == ""
    assert said("Instruct: other\nQuery:") == "Instruct: other\nQuery:"


@pytest.mark.parametrize(
    ("form", "known"), [("qwen", r"'document', 'query'"), ("e5", "none")]
)
def test_a_prompt_that_the_model_does_not_have_is_refused(
    folder_of: Any, form: str, known: str
) -> None:
    encoder = TextEncoder(str(folder_of(form)), prompt="Query")
    with pytest.raises(InputError, match=rf"prompt='Query'.*\({known}\)"):
        encoder.transform(["a march"])
    with pytest.raises(InputError, match="`prompt` must be None or a text; got 3"):
        TextEncoder(str(folder_of(form)), prompt=3).find()  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["e5", "static"])
def test_another_prompt_has_other_vectors_in_the_cache(
    folder_of: Any, tmp_path: Path, form: str
) -> None:
    cache = tmp_path / "embeddings.sqlite"
    prompts = [None, "query: ", "passage: "]
    made = [
        TextEncoder(str(folder_of(form)), prompt=prompt, cache=cache)
        for prompt in prompts
    ]
    rows = [encoder.transform(["a march"]) for encoder in made]
    assert len({encoder.load().identity for encoder in made}) == 3
    assert not np.allclose(rows[0], rows[1])
    assert not np.allclose(rows[1], rows[2])
    again = TextEncoder(str(folder_of(form)), prompt="query: ", cache=cache)
    np.testing.assert_array_equal(again.transform(["a march"]), rows[1])


@pytest.mark.parametrize(
    "change",
    [
        {"2_Dense/config.json": {"activation_function": "torch.nn.modules.Tanh"}},
        {"1_Pooling/config.json": {"pooling_mode": "lasttoken"}},
    ],
    ids=["dense", "pooling"],
)
def test_settings_of_modules_are_part_of_the_identity(
    folder_of: Any, changed_copy: Any, change: dict[str, dict[str, Any]]
) -> None:
    copy = changed_copy(str(folder_of("gemma")))
    before = load_model(TextModel, str(copy))
    for name, settings in change.items():
        content = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps(content | settings))
    assert load_model(TextModel, str(copy)).identity != before.identity
    with pytest.raises(ModelUnavailableError, match="modules.* was "):
        load_model(TextModel, str(copy), expected=before.spec)


def test_weights_of_modules_are_part_of_the_identity(
    folder_of: Any, changed_copy: Any
) -> None:
    from safetensors.numpy import load_file, save_file

    copy = changed_copy(str(folder_of("gemma")))
    before = load_model(TextModel, str(copy))
    path = copy / "2_Dense" / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(path).items()}, path)
    assert load_model(TextModel, str(copy)).identity != before.identity
    with pytest.raises(ModelUnavailableError, match="weights are not the ones"):
        load_model(TextModel, str(copy), expected=before.spec)


def test_the_version_of_the_library_counts_where_it_computes(
    folder_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [load_model(TextModel, str(folder_of(f))) for f in ("e5", "gemma")]
    before = [model.identity for model in models]
    monkeypatch.setattr("mmevent.encoders.model.versions", _other_version)
    after = [model.identity for model in models]
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        True,
        False,
    ]


def _other_version(names: tuple[str, ...]) -> dict[str, str]:
    from mmevent.encoders.identity import versions

    known = versions(names)
    return known | {n: "0" for n in known if n == "sentence-transformers"}


@pytest.mark.parametrize(
    ("form", "path"),
    [("gemma", "2_Dense"), ("static", "0_StaticEmbedding"), ("model2vec", "")],
)
def test_pickled_weights_are_refused(
    folder_of: Any, changed_copy: Any, form: str, path: str
) -> None:
    copy = changed_copy(str(folder_of(form))) / path
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError, match="pickled weights") as error:
        load_model(TextModel, str(copy.parent if path else copy))
    assert "\n" not in str(error.value)


def test_an_activation_from_elsewhere_is_refused(
    folder_of: Any, changed_copy: Any
) -> None:
    copy = changed_copy(str(folder_of("gemma")))
    config = copy / "2_Dense" / "config.json"
    changed = json.loads(config.read_text()) | {"activation_function": "os.system"}
    config.write_text(json.dumps(changed))
    with pytest.raises(ModelUnavailableError, match=r"the activation os\.system"):
        load_model(TextModel, str(copy))


def test_code_of_the_models_own_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    copy = changed_copy(tiny_text_model)
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}
    (copy / "config.json").write_text(json.dumps(own))
    (copy / "own.py").write_text("raise SystemExit")
    with pytest.raises(ModelUnavailableError, match="code of its own") as error:
        load_model(TextModel, str(copy))
    assert "multilingual-e5-small" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_long_model_reads_8192_tokens(folder_of: Any, changed_copy: Any) -> None:
    copy = changed_copy(str(folder_of("modern")))
    for name, key, value in [
        ("tokenizer_config.json", "model_max_length", 100_000),
        ("config.json", "max_position_embeddings", 20_000),
    ]:
        content = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps(content | {key: value}))
    model = load_model(TextModel, str(copy))
    assert model.spec["max_length"] == 8192
    texts = [" ".join(["march"] * n) for n in (8190, 8191)]
    assert model.is_truncated(texts).tolist() == [False, True]
