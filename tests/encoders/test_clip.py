from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from mmevent.encoders.clip import ClipModel, clip_reference, near
from mmevent.encoders.loading import load_model
from mmevent.exceptions import InputError, ModelUnavailableError


@pytest.fixture
def model(tiny_clip_model: str) -> ClipModel:
    return load_model(ClipModel, tiny_clip_model)


def _edit(folder: Path, change: Any) -> Path:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return folder


def test_features_are_those_of_open_clip(
    model: ClipModel, tiny_clip_model: str, pictures: list[Image.Image]
) -> None:
    import open_clip

    name = f"local-dir:{tiny_clip_model}"
    network, _, transform = open_clip.create_model_and_transforms(name)
    network.eval()
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in pictures])
        images = network.encode_image(batch, normalize=True).numpy()
        tokens = open_clip.get_tokenizer(name)(["a dog", "a cat"])
        texts = network.encode_text(tokens, normalize=True).numpy()
    # Pillow resizes there and torch here, which round differently.
    assert_allclose(model.encode(pictures), images, atol=1e-3)
    assert_allclose(model.encode_texts(["a dog", "a cat"]), texts, atol=1e-5)
    assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    assert model.scale == pytest.approx(float(network.logit_scale.detach().exp()))


def test_a_text_is_encoded_once(model: ClipModel) -> None:
    before = model.n_texts_encoded
    rows = model.encode_texts(["once", "twice", "once"])
    assert model.n_texts_encoded == before + 2
    assert_array_equal(rows[0], rows[2])
    assert_array_equal(model.encode_texts(["twice"])[0], rows[1])
    assert model.n_texts_encoded == before + 2


def test_the_spec_holds_the_models_own_preprocessing(
    model: ClipModel, tiny_clip_model: str, changed_copy: Any
) -> None:
    spec = model.spec
    assert json.loads(json.dumps(spec)) == spec
    assert spec["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert spec["preprocessing"]["std"] == [0.25, 0.25, 0.25]
    assert spec["pooling"]["normalize"] is True
    assert (spec["dtype"], spec["max_length"]) == ("float32", None)
    folder = changed_copy(tiny_clip_model)
    _edit(folder, lambda config: config["preprocess_cfg"].update(std=[0.5] * 3))
    other = load_model(ClipModel, str(folder))
    assert other.spec["weights_sha256"] == spec["weights_sha256"]
    assert other.identity != model.identity
    again = load_model(ClipModel, str(folder), expected=spec)
    assert again.spec["preprocessing"] == spec["preprocessing"]


def test_an_image_that_gives_no_numbers_marks_its_own_row(
    model: ClipModel, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.encode(pictures[:5])
    original = model._floats

    def spoilt(batch: Any) -> Any:
        floats = original(batch)
        for place, pixels in enumerate(batch):
            if torch.equal(pixels, third):
                floats[place] = np.nan
        return floats

    (third,) = model._views(pictures[2])
    monkeypatch.setattr(model, "_floats", spoilt)
    monkeypatch.setattr(model, "_twins", [])
    rows = model.encode(pictures[:5])
    assert np.isnan(rows[2]).all()
    assert_allclose(np.delete(rows, 2, 0), np.delete(expected, 2, 0), atol=1e-6)


def test_a_saved_encoder_is_the_same(
    model: ClipModel, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model.save(tmp_path / "saved")
    again = load_model(ClipModel, str(tmp_path / "saved"))
    assert again.identity == model.identity
    assert_allclose(again.encode(pictures), model.encode(pictures), atol=1e-6)
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_loading_changes_no_random_state_and_no_logging(
    tiny_clip_model: str, changed_copy: Any
) -> None:
    import torch

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    state = torch.get_rng_state()
    try:
        load_model(ClipModel, str(changed_copy(tiny_clip_model)))
        assert root.handlers == []
    finally:
        for handler in handlers:
            root.addHandler(handler)
    assert root.level == level
    assert torch.equal(torch.get_rng_state(), state)


# Folders that do not serve


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    words = r"open_clip_config\.json is missing .* or write it from open_clip's model"
    with pytest.raises(ModelUnavailableError, match=words):
        load_model(ClipModel, str(tmp_path))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "weights.pth", "a.pt"])
def test_a_checkpoint_that_is_a_pickle_is_refused_with_the_way_to_convert_it(
    tiny_clip_model: str, changed_copy: Any, name: str
) -> None:
    folder = changed_copy(tiny_clip_model)
    (folder / "open_clip_model.safetensors").rename(folder / name)
    words = (
        r"open_clip_model\.safetensors is missing, and pickled weights .* are refused "
        r".* safetensors\.torch\.save_model"
    )
    with pytest.raises(ModelUnavailableError, match=words):
        load_model(ClipModel, str(folder))


def test_a_pickle_beside_safetensors_is_never_read(
    tiny_clip_model: str, changed_copy: Any, model: ClipModel
) -> None:
    folder = changed_copy(tiny_clip_model)
    for name in ("open_clip_pytorch_model.bin", "aaa.pth"):
        (folder / name).write_bytes(b"no pickle")
    assert load_model(ClipModel, str(folder)).identity == model.identity


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.pop("model_cfg"),
        lambda config: config["model_cfg"].pop("text_cfg"),
        lambda config: config["model_cfg"].update(text_cfg=[]),
        lambda config: config["model_cfg"].update(embed_dim="x"),
        lambda config: config["model_cfg"].update(vision_cfg=3),
    ],
)
def test_a_config_that_describes_no_model_is_refused(
    tiny_clip_model: str, changed_copy: Any, change: Any
) -> None:
    folder = _edit(changed_copy(tiny_clip_model), change)
    with pytest.raises(ModelUnavailableError, match="does not describe a model"):
        load_model(ClipModel, str(folder))


def test_weights_that_do_not_fit_are_refused(
    tiny_clip_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_clip_model)
    _edit(folder, lambda config: config["model_cfg"]["vision_cfg"].update(layers=2))
    with pytest.raises(ModelUnavailableError, match="that open_clip loads without cod"):
        load_model(ClipModel, str(folder))


@pytest.mark.parametrize(
    "change", [{"interpolation": "nearest"}, {"resize_mode": "x"}, {"mode": "L"}]
)
def test_a_preprocessing_that_is_not_known_is_refused(
    tiny_clip_model: str, changed_copy: Any, change: dict[str, str]
) -> None:
    folder = changed_copy(tiny_clip_model)
    _edit(folder, lambda config: config["preprocess_cfg"].update(change))
    with pytest.raises(ModelUnavailableError, match="cannot be loaded: AssertionErr"):
        load_model(ClipModel, str(folder))
    spec = load_model(ClipModel, tiny_clip_model).spec
    other = spec | {"preprocessing": spec["preprocessing"] | change}
    with pytest.raises(ModelUnavailableError, match="cannot be loaded: AssertionErr"):
        load_model(ClipModel, tiny_clip_model, expected=other)


def test_an_image_tower_from_elsewhere_is_refused(
    tiny_clip_model: str, changed_copy: Any
) -> None:
    tower = {"timm_model_name": "hf-hub:someone/tower", "image_size": 16}
    folder = _edit(
        changed_copy(tiny_clip_model),
        lambda config: config["model_cfg"].update(vision_cfg=tower),
    )
    with pytest.raises(
        ModelUnavailableError, match="tower .* would have to be fetched"
    ):
        load_model(ClipModel, str(folder))


# Text towers and tokenizers of transformers


@pytest.fixture
def multilingual(tiny_text_model: str, write_clip: Any, tmp_path: Path) -> Path:
    """Folder of a CLIP whose text tower and tokenizer are those of transformers."""
    from transformers import AutoConfig, AutoTokenizer

    folder = tmp_path / "multilingual"
    AutoTokenizer.from_pretrained(tiny_text_model).save_pretrained(folder)
    AutoConfig.from_pretrained(tiny_text_model).save_pretrained(folder / "text_model")
    text = {"hf_tokenizer_name": "us/words", "hf_proj_type": "linear"}
    write_clip(
        folder,
        text
        | {"hf_model_name": str(folder / "text_model"), "context_length": 12}
        | {"hf_model_pretrained": False, "hf_pooler_type": "mean_pooler"},
    )
    _edit(
        folder,
        lambda config: config["model_cfg"]["text_cfg"].update(hf_model_name="us/text"),
    )
    return folder


def test_a_text_tower_of_transformers_is_read_from_the_folder(
    multilingual: Path, tmp_path: Path
) -> None:
    model = load_model(ClipModel, str(multilingual))
    rows = model.encode_texts(["protest in the city", "a dog"])
    assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert model.n_tokens("protest in the city") == 6
    model.save(tmp_path / "saved")
    again = load_model(ClipModel, str(tmp_path / "saved"))
    assert again.identity == model.identity
    assert_allclose(again.encode_texts(["a dog"])[0], rows[1], atol=1e-6)


def test_tokens_of_another_mode_are_counted(multilingual: Path) -> None:
    model = load_model(ClipModel, str(multilingual))
    model.tokenizer.tokenizer_mode = "clips"
    assert model.n_tokens("protest in the city") == 7


def test_a_folder_without_its_tokenizer_is_refused(multilingual: Path) -> None:
    for path in multilingual.glob("*tok*"):
        path.unlink()
    words = r"its tokenizer('s file is missing| 'us/words' is not in its folder)"
    with pytest.raises(ModelUnavailableError, match=words):
        load_model(ClipModel, str(multilingual))


def test_a_tokenizer_that_does_not_load_is_refused(multilingual: Path) -> None:
    (multilingual / "tokenizer.json").write_text("{")
    words = r"'us/words' is not in its folder.*AutoTokenizer\.from_pretrained"
    with pytest.raises(ModelUnavailableError, match=words):
        load_model(ClipModel, str(multilingual))


def test_a_folder_without_the_config_of_its_text_tower_is_refused(
    multilingual: Path,
) -> None:
    (multilingual / "text_model" / "config.json").unlink()
    words = r"configuration of its text model 'us/text' is not .*AutoConfig\.from_pre"
    with pytest.raises(ModelUnavailableError, match=words):
        load_model(ClipModel, str(multilingual))


def test_a_text_tower_with_code_of_its_own_is_refused(multilingual: Path) -> None:
    path = multilingual / "text_model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {}}))
    with pytest.raises(ModelUnavailableError, match="brings Python code of its own"):
        load_model(ClipModel, str(multilingual))


def test_the_config_of_a_text_tower_is_found_in_the_hubs_cache(
    multilingual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "text").mkdir()
    (multilingual / "text_model").rename(tmp_path / "text" / "moved")
    for name, folder in (("clip", multilingual), ("text", tmp_path / "text" / "moved")):
        repository = tmp_path / f"models--us--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("a" * 40)
        (repository / "snapshots").mkdir()
        folder.rename(repository / "snapshots" / ("a" * 40))
    model = load_model(ClipModel, "us/clip", local_files_only=True)
    assert model.encode_texts(["a dog"]).shape == (1, 16)


# Names

TAG = "laion2b_s34b_b79k"
REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B/32"])
def test_a_built_in_name_becomes_the_hub_name_of_its_weights(name: str) -> None:
    assert clip_reference(name, TAG) == REPOSITORY
    assert clip_reference(name, "LAION2B-s34b-b79k") == REPOSITORY


def test_other_weights_are_in_another_repository() -> None:
    names = {clip_reference("ViT-B-32", tag) for tag in (TAG, "openai", "laion2b_e16")}
    assert len(names) == 3


@pytest.mark.parametrize("tag", [TAG, None, "no such tag"])
def test_a_tag_is_not_looked_at_for_other_models(
    tiny_clip_model: str, tag: str | None
) -> None:
    assert clip_reference(f"hf-hub:{REPOSITORY}", tag) == REPOSITORY
    for model in (
        tiny_clip_model,
        Path(tiny_clip_model),
        f"local-dir:{tiny_clip_model}",
    ):
        assert clip_reference(model, tag) == tiny_clip_model


def test_a_relative_folder_is_never_taken_for_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailableError, match="'RN50' does not exist"):
        clip_reference("local-dir:RN50", "openai")
    (tmp_path / "RN50").mkdir()
    assert clip_reference("local-dir:RN50", "openai") == str(tmp_path / "RN50")


@pytest.mark.parametrize("model", ["", None, 3, "local-dir:", "hf-hub:", b"ViT-B-32"])
def test_what_is_no_name_is_refused(model: Any) -> None:
    words = "`model` must be a folder, 'hf-hub:ORGANISATION/NAME' or a name.*got"
    with pytest.raises(InputError, match=words):
        clip_reference(model, TAG)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("ViT-B32", "model='ViT-B32' is neither.*such as.*'ViT-B-32'.*Correct"),
        ("vit-b-32", "such as 'ViT-B-32'"),
        ("coca", "one of its [0-9]+ names, (such as|from)"),
        ("laion/CLIP-x", "'hf-hub:ORGANISATION/NAME' for a model of the Hugging"),
        ("/models/clip", r"does not exist; .* open_clip_config\.json and open_clip_mo"),
    ],
)
def test_an_unknown_model_is_refused_with_those_that_are_near(
    model: str, words: str
) -> None:
    with pytest.raises(ModelUnavailableError, match=words):
        clip_reference(model, TAG)


@pytest.mark.parametrize("tag", ["laion2b_s34b_b79", None, 3, ""])
def test_an_unknown_tag_is_refused_with_those_that_are_near(tag: Any) -> None:
    words = rf"pretrained={tag!r} names no weights of 'ViT-B-32'.*(such as|from) '"
    with pytest.raises(ModelUnavailableError, match=words) as caught:
        clip_reference("ViT-B-32", tag)
    if tag == "laion2b_s34b_b79":
        assert f"such as {TAG!r}" in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"url": "https://example.org/weights.pt", "hf_hub": ""},
        {"url": "https://example.org/weights.pt"},
        {"url": "", "hf_hub": "someone/model/weights.pt"},
    ],
)
def test_weights_that_are_a_pickle_are_refused_with_the_way_to_convert_them(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, str]
) -> None:
    from open_clip import pretrained

    monkeypatch.setitem(pretrained._PRETRAINED["RN50"], "old", config)
    words = (
        r"published as a pickle only \(.*weights\.pt\).*expected safetensors.*"
        r"open_clip\.create_model\('RN50', 'old'\).*save_model"
    )
    with pytest.raises(ModelUnavailableError, match=words):
        clip_reference("RN50", "old")


def test_a_safetensors_file_of_a_repository_is_no_pickle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from open_clip import pretrained

    config = {"hf_hub": "someone/model/open_clip_model.safetensors"}
    monkeypatch.setitem(pretrained._PRETRAINED["RN50"], "new", config)
    assert clip_reference("RN50", "new") == "someone/model"


def test_near_names_are_few_and_there_are_always_some() -> None:
    assert near("b", ["aaa", "ccc"]) == "from 'aaa', 'ccc'"
    assert near("AAB", ["aaa", "ccc"]) == "such as 'aaa'"
    assert near("x", [f"{i}{i}{i}" for i in range(9)]).endswith("'444', …")
