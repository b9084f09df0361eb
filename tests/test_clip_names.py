from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmevent._clip_names import clip_reference, near
from mmevent.exceptions import InputError, ModelUnavailableError

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
