from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmevent.encoders.image import ImageModel
from mmevent.encoders.loading import load_model, with_weights
from mmevent.encoders.text import TextModel
from mmevent.exceptions import InputError, ModelUnavailableError


def _edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


def _drop_weights(folder: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {k: v for k, v in load_file(path).items() if not k.startswith(prefix)}
    save_file(tensors, path, metadata={"format": "pt"})


def _change_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_text_spec_says_all_that_determines_the_output(tiny_text_model: str) -> None:
    spec = load_model(TextModel, tiny_text_model).spec
    assert json.loads(json.dumps(spec)) == spec
    assert list(spec) == [
        "model",
        "revision",
        "weights_sha256",
        "config",
        "preprocessing",
        "pooling",
        "max_length",
        "dtype",
    ]
    assert spec["model"] == tiny_text_model
    assert spec["pooling"] == {"mode": "mean", "normalize": True}
    assert spec["max_length"] == 24
    assert spec["dtype"] == "float32"


def test_an_image_spec_keeps_the_preprocessing(tiny_image_model: str) -> None:
    spec = load_model(ImageModel, tiny_image_model).spec
    assert json.loads(json.dumps(spec)) == spec
    assert spec["preprocessing"]["class"] == "ConvNextImageProcessorPil"
    assert spec["preprocessing"]["size"] == {"shortest_edge": 16}
    assert spec["pooling"] == {"input_of": "classifier.1", "views": ["centre"]}


@pytest.mark.parametrize("kind", [TextModel, ImageModel])
def test_weights_in_half_precision_are_loaded_in_single(
    kind: Any, tiny_text_model: str, tiny_image_model: str, changed_copy: Any
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = changed_copy(tiny_text_model if kind is TextModel else tiny_image_model)
    path = folder / "model.safetensors"
    tensors = {
        k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    _edit(folder / "config.json", dtype="float16")
    model = load_model(kind, str(folder))
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("fixture", ["tiny_image_model", "tiny_timm_model"])
def test_preprocessing_is_rebuilt_from_the_spec_and_not_from_the_folder(
    request: pytest.FixtureRequest, pictures: Any, changed_copy: Any, fixture: str
) -> None:
    folder = changed_copy(request.getfixturevalue(fixture))
    model = load_model(ImageModel, str(folder))
    expected = model.encode(pictures[:3])
    if fixture == "tiny_image_model":
        _edit(folder / "preprocessor_config.json", image_mean=[0.1, 0.2, 0.3])
    else:
        settings = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
        _edit(folder / "config.json", pretrained_cfg=settings | {"mean": [0, 0, 0]})
    again = load_model(ImageModel, str(folder), expected=model.spec)
    assert again is not model
    assert again.spec == model.spec
    np.testing.assert_allclose(again.encode(pictures[:3]), expected, atol=1e-6)
    fresh = load_model(ImageModel, str(folder))
    assert fresh.identity != model.identity


def test_a_spec_that_names_no_image_processor_is_refused(tiny_image_model: str) -> None:
    spec = load_model(ImageModel, tiny_image_model).spec
    changed = {**spec, "preprocessing": {"class": "AutoModel"}}
    with pytest.raises(ModelUnavailableError, match="AutoModel is no image processor"):
        load_model(ImageModel, tiny_image_model, expected=changed)


@pytest.mark.parametrize("kind", [TextModel, ImageModel])
def test_other_weights_than_expected_are_refused(
    kind: Any, tiny_text_model: str, tiny_image_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model if kind is TextModel else tiny_image_model)
    spec = load_model(kind, str(folder)).spec
    _change_weights(folder)
    with pytest.raises(
        ModelUnavailableError,
        match="weights are not the ones the model was fitted with",
    ):
        load_model(kind, str(folder), expected=spec)


def test_another_tokenizer_than_expected_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    spec = load_model(TextModel, str(folder)).spec
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"police"', '"polite"'))
    with pytest.raises(ModelUnavailableError, match="tokenizer is not the ones? the"):
        load_model(TextModel, str(folder), expected=spec)


def test_a_folder_that_was_rewritten_is_loaded_again(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    model = load_model(TextModel, str(folder))
    _change_weights(folder)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    again = load_model(TextModel, str(folder))
    assert again.spec["weights_sha256"] != model.spec["weights_sha256"]


def test_an_encoder_is_found_by_its_own_spec(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model, max_length=12)
    again = load_model(TextModel, tiny_text_model, expected=model.spec)
    assert again is model


def test_a_missing_pooler_is_neither_used_nor_hashed(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    _drop_weights(folder, "pooler.")
    first = load_model(TextModel, str(folder))
    rows = first.encode(["a march"])
    identity = first.identity
    del first
    again = load_model(TextModel, str(folder))
    assert again.identity == identity
    np.testing.assert_array_equal(again.encode(["a march"]), rows)
    again.save(folder / "saved")
    assert load_model(TextModel, str(folder / "saved")).identity == identity


def test_loading_leaves_the_random_state_alone(
    tiny_text_model: str, changed_copy: Any
) -> None:
    import torch

    folder = changed_copy(tiny_text_model)
    _drop_weights(folder, "pooler.")
    before = torch.get_rng_state()
    load_model(TextModel, str(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_classifier_does_no_harm_to_an_image_encoder(
    tiny_image_model: str, changed_copy: Any, pictures: Any
) -> None:
    folder = changed_copy(tiny_image_model)
    _drop_weights(folder, "classifier.")
    model = load_model(ImageModel, str(folder))
    whole = load_model(ImageModel, tiny_image_model)
    np.testing.assert_allclose(
        model.encode(pictures[:2]), whole.encode(pictures[:2]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [(TextModel, "encoder.layer.0"), (ImageModel, "resnet.embedder")],
)
def test_a_checkpoint_that_lacks_weights_is_refused(
    kind: Any,
    prefix: str,
    tiny_text_model: str,
    tiny_image_model: str,
    changed_copy: Any,
) -> None:
    folder = changed_copy(tiny_text_model if kind is TextModel else tiny_image_model)
    _drop_weights(folder, prefix)
    with pytest.raises(ModelUnavailableError, match=r"lacks \d+ weights"):
        load_model(kind, str(folder))


def test_an_image_model_without_a_linear_classifier_is_refused(
    tiny_image_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_image_model)
    labels = {str(i): f"label {i}" for i in range(5)}
    _edit(folder / "config.json", id2label=labels)
    _drop_weights(folder, "classifier.")
    import torch
    from transformers import ResNetForImageClassification

    class Convolutional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(8, 5, 1)

    original = ResNetForImageClassification.__init__

    def without_linear(self: Any, config: Any) -> None:
        original(self, config)
        self.classifier = Convolutional()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResNetForImageClassification, "__init__", without_linear)
        with pytest.raises(
            ModelUnavailableError, match="no linear layer with 5 outputs"
        ):
            load_model(ImageModel, str(folder))


def test_broken_weights_are_refused(tiny_text_model: str, changed_copy: Any) -> None:
    folder = changed_copy(tiny_text_model)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded: .*header"):
        load_model(TextModel, str(folder))


def test_a_text_model_without_a_tokenizer_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelUnavailableError, match="tokenizer's file is missing"):
        load_model(TextModel, str(folder))


def test_a_tokenizer_that_cannot_pad_is_refused(
    tiny_text_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_text_model)
    _edit(folder / "tokenizer_config.json", pad_token=None)
    with pytest.raises(ModelUnavailableError, match="no padding token"):
        load_model(TextModel, str(folder))


def test_an_image_model_without_preprocessing_is_refused(
    tiny_image_model: str, changed_copy: Any
) -> None:
    folder = changed_copy(tiny_image_model)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelUnavailableError, match=r"preprocessor_config\.json"):
        load_model(ImageModel, str(folder))


def test_code_of_a_model_is_never_run(tiny_text_model: str, changed_copy: Any) -> None:
    folder = changed_copy(tiny_text_model)
    (folder / "own.py").write_text("raise SystemExit('was run')")
    _edit(
        folder / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"},
    )
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load_model(TextModel, str(folder))


def test_an_image_model_is_no_text_encoder(tiny_image_model: str) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        load_model(TextModel, tiny_image_model)


def test_a_model_that_needs_more_than_a_text_is_refused(
    tiny_text_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: TextModel, items: list[str]) -> None:
        raise ValueError("You have to specify decoder_input_ids")

    monkeypatch.setattr(TextModel, "_forward", fail)
    with pytest.raises(ModelUnavailableError, match="decoder_input_ids"):
        load_model(TextModel, tiny_text_model)


def test_loading_counts_nothing_and_shows_nothing(
    tiny_text_model: str, changed_copy: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load_model(TextModel, str(changed_copy(tiny_text_model))).n_encoded == 0
    assert capfd.readouterr() == ("", "")


def test_a_shorter_length_is_used(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model, max_length=5)
    assert model.spec["max_length"] == 5
    assert model.is_truncated(["a march", "a march in the city"]).tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize("length", [0, 2, 25, True, 5.5, "5"])
def test_an_impossible_length_is_refused(tiny_text_model: str, length: Any) -> None:
    with pytest.raises(
        InputError, match="`max_length` must be None or .* from 3 to 24"
    ):
        load_model(TextModel, tiny_text_model, max_length=length)


def test_positions_of_roberta_begin_after_its_padding(
    tiny_text_model: str, changed_copy: Any
) -> None:
    from transformers import RobertaConfig, RobertaModel

    folder = changed_copy(tiny_text_model)
    config = RobertaConfig(
        vocab_size=200,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=14,
        pad_token_id=0,
    )
    RobertaModel(config).save_pretrained(folder)
    model = load_model(TextModel, str(folder))
    assert model.spec["max_length"] == 13
    assert np.isfinite(model.encode(["march " * 30])).all()


def test_a_trained_model_has_all_of_its_own(tiny_text_model: str) -> None:
    model = load_model(TextModel, tiny_text_model)
    other = with_weights(model, {}, "float32")
    for part in ("tokenizer", "lock", "network"):
        assert getattr(other, part) is not getattr(model, part)
    assert other.identity == model.identity


def test_a_spec_of_an_earlier_version_is_refused(tiny_text_model: str) -> None:
    spec = dict(load_model(TextModel, tiny_text_model).spec)
    del spec["config"]
    with pytest.raises(ModelUnavailableError, match="earlier version .* Fit again"):
        load_model(TextModel, tiny_text_model, expected=spec)
