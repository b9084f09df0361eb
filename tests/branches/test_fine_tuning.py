"""Fine-tuned branches: what they learn, how they come back, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from mmevent import ImageClassifier, ImageEncoder, TextClassifier, TextEncoder
from mmevent.encoders.cache import shared_memo
from mmevent.exceptions import InputError, MmeventWarning, StorageError

Y = np.arange(60) % 2
SHORT: dict[str, Any] = {"n_epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def text_model(tiny_text_model: str) -> TextClassifier:
    encoder = TextEncoder(tiny_text_model, cache=None)
    return TextClassifier(encoder, train="all", **SHORT)


@pytest.fixture(scope="module")
def image_model(tiny_image_model: str) -> ImageClassifier:
    encoder = ImageEncoder(tiny_image_model, cache=None)
    return ImageClassifier(encoder, train="all", **SHORT)


@pytest.fixture(scope="module")
def tuned(text_model: TextClassifier, texts: list[str]) -> TextClassifier:
    return clone(text_model).fit(texts, Y)


def test_a_text_branch_is_fine_tuned(
    tuned: TextClassifier, text_model: TextClassifier, texts: list[str]
) -> None:
    frozen = clone(text_model).set_params(train="head").fit(texts, Y)
    spec = tuned.encoder_.spec_
    assert spec != frozen.encoder_.spec_ == tuned.encoder_.pretrained_spec_
    p = tuned.predict_proba(texts)
    assert_allclose(p.sum(axis=1), 1)
    assert np.abs(p - frozen.predict_proba(texts)).max() > 1e-3


def test_training_again_gives_the_same(
    tuned: TextClassifier, text_model: TextClassifier, texts: list[str]
) -> None:
    again = clone(text_model).fit(texts, Y)
    assert_array_equal(again.predict_proba(texts), tuned.predict_proba(texts))


def test_an_image_branch_is_fine_tuned(
    image_model: ImageClassifier, pictures: list[Image.Image]
) -> None:
    tuned = clone(image_model).set_params(random_state=3).fit(pictures, Y[:40])
    p = tuned.predict_proba(pictures)
    again = clone(tuned).fit(pictures, Y[:40])
    assert_array_equal(again.predict_proba(pictures), p)
    assert tuned.head_.n_features_in_ == 16  # two views of eight features


def test_copies_predict_the_same(tuned: TextClassifier, texts: list[str]) -> None:
    expected = tuned.predict_proba(texts)
    for other in (copy.deepcopy(tuned), pickle.loads(pickle.dumps(tuned))):
        assert not hasattr(other.encoder_, "_loaded")
        assert_array_equal(other.predict_proba(texts), expected)


def test_a_label_may_be_of_any_type_and_number(
    text_model: TextClassifier, texts: list[str]
) -> None:
    y = np.array(["calm", "march", "strike"])[np.arange(60) % 3]
    branch = clone(text_model).fit(texts, y)
    assert branch.classes_.tolist() == ["calm", "march", "strike"]
    assert_allclose(branch.predict_proba(texts).sum(axis=1), 1)


def test_a_fit_on_the_head_alone_forgets_what_was_trained(
    tuned: TextClassifier, texts: list[str]
) -> None:
    branch = copy.deepcopy(tuned).set_params(train="head").fit(texts, Y)
    assert not hasattr(branch.encoder_, "_trained")
    assert not hasattr(branch.encoder_, "pretrained_spec_")
    assert not hasattr(branch, "n_epochs_")


def test_the_random_states_of_the_process_are_kept(
    text_model: TextClassifier, texts: list[str]
) -> None:
    import torch

    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    clone(text_model).fit(texts, Y)
    assert random.getstate() == states[0]
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_an_interrupted_fit_goes_on_where_it_stopped(
    text_model: TextClassifier,
    tuned: TextClassifier,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import network as _network

    forward, seen = _network.Network.forward, []

    def interrupted(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        seen.append(len(labels))
        if len(seen) == 7:  # four steps and a validation of two batches before
            raise KeyboardInterrupt
        return forward(self, inputs, labels, weight)

    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")
    monkeypatch.setattr(_network.Network, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        branch.fit(texts, Y)
    [kept] = (
        path for path in (tmp_path / "cache.sqlite-training").iterdir() if path.is_dir()
    )
    assert [path.name for path in kept.iterdir()] == ["checkpoint-4"]
    branch.fit(texts, Y)
    second_epoch, on_all_rows = 4 + 1, branch.n_epochs_ * 4 + 1
    assert len(seen) == 7 + second_epoch + on_all_rows
    assert_array_equal(branch.predict_proba(texts), tuned.predict_proba(texts))
    assert not (tmp_path / "cache.sqlite-training").exists()


def test_an_interruption_on_all_rows_repeats_no_choice_of_epochs(
    text_model: TextClassifier,
    tuned: TextClassifier,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import network as _network

    forward, seen = _network.Network.forward, []
    last = 2 * (4 + 1) + tuned.n_epochs_ * 4  # steps and validations before, and now

    def interrupted(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        seen.append(len(labels))
        if len(seen) == last:
            raise KeyboardInterrupt
        return forward(self, inputs, labels, weight)

    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")
    monkeypatch.setattr(_network.Network, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        branch.fit(texts, Y)
    branch.fit(texts, Y)
    assert len(seen) <= last + 4 + 1
    assert_array_equal(branch.predict_proba(texts), tuned.predict_proba(texts))


def test_what_folds_have_trained_is_kept_until_the_whole_fit_ends(
    text_model: TextClassifier,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import fine_tuning as _training

    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")

    def fit_and_be_interrupted() -> None:
        with shared_memo():
            branch.fit(texts, Y)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_and_be_interrupted()
    expected = branch.predict_proba(texts)
    files = (tmp_path / "cache.sqlite-training").glob("*/weights.safetensors")
    small, whole = sorted(path.stat().st_size for path in files)
    assert small < whole / 2  # the choice of epochs leaves no weights of the encoder
    monkeypatch.setattr(_training, "_train", None)  # it would fail
    assert_array_equal(clone(branch).fit(texts, Y).predict_proba(texts), expected)
    assert not (tmp_path / "cache.sqlite-training").exists()


@pytest.mark.filterwarnings("ignore:the device's memory")
def test_a_fit_goes_on_with_half_a_batch_where_memory_is_too_small(
    text_model: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.branches import network as _network

    forward, sizes = _network.Network.forward, set()

    def small(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        if len(labels) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        sizes.add(len(labels))
        return forward(self, inputs, labels, weight)

    monkeypatch.setattr(_network.Network, "forward", small)
    with pytest.warns(MmeventWarning, match="train_batch_size=8") as warned:
        clone(text_model).fit(texts, Y)
    assert "train_batch_size=4" in str(warned[-1].message)
    assert max(sizes) == 4


def test_a_loss_that_is_not_finite_ends_the_training(
    text_model: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.branches import network as _network

    forward, calls = _network.Network.forward, []

    def broken(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        calls.append(self.training)
        factor = float("nan") if self.training and sum(calls) > 4 else 1.0
        return forward(self, inputs, labels, weight * factor)

    branch = clone(text_model)
    best = clone(branch).set_params(n_epochs=8)
    monkeypatch.setattr(_network.Network, "forward", broken)
    with pytest.warns(MmeventWarning, match=r"of its best epoch. Lower learning_rate"):
        best.fit(texts, Y)
    assert sum(calls) == 5
    assert np.isfinite(best.predict_proba(texts)).all()
    with pytest.warns(MmeventWarning, match="those it began with"):
        branch.fit(texts, Y)  # none of its steps is finite
    assert branch.encoder_.spec_ == branch.encoder_.pretrained_spec_


def test_a_class_that_cannot_be_validated_is_said(
    text_model: TextClassifier, texts: list[str]
) -> None:
    y = np.zeros(60, dtype=int)
    y[:2] = 1
    groups = np.r_[0, 0, np.arange(1, 59)]
    branch = clone(text_model).set_params(n_epochs=1)
    with pytest.warns(MmeventWarning, match="no validation part") as caught:
        branch.fit(texts, y, groups=groups)
    assert caught[0].filename == __file__


def test_a_weight_that_breaks_in_the_last_step_is_noticed(
    text_model: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import Trainer

    train = Trainer.train

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = train(self, *args, **kwargs)
        table = self.model.network.get_input_embeddings().weight
        with torch.no_grad():
            table[-1] = float("nan")  # of a token that no text has
        return result

    monkeypatch.setattr(Trainer, "train", broken)
    branch = clone(text_model)
    with pytest.warns(MmeventWarning, match="those it began with"):
        branch.fit(texts, Y)
    assert branch.n_epochs_ == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"gradient_accumulation_steps": 2},
        {"train_batch_size": 64},
        {"gradient_accumulation_steps": 2, "n_epochs": 1},
    ],
    ids=str,
)
def test_weights_that_are_not_finite_are_never_kept(
    text_model: TextClassifier, texts: list[str], parameters: dict[str, Any]
) -> None:
    branch = clone(text_model).set_params(learning_rate=1e20, **parameters)
    with pytest.warns(MmeventWarning, match="is not finite: the encoder's weights are"):
        branch.fit(texts, Y)
    assert np.isfinite(branch.predict_proba(texts)).all()


def test_weights_that_break_without_a_validation_part_are_put_back(
    text_model: TextClassifier, texts: list[str]
) -> None:
    y = (np.arange(60) < 2).astype(int)
    groups = np.r_[0, 0, np.arange(1, 59)]
    branch = clone(text_model).set_params(learning_rate=1e20, n_epochs=1)
    branch.set_params(train_batch_size=32)
    with (
        pytest.warns(MmeventWarning, match="no validation part"),
        pytest.warns(MmeventWarning, match="those it began with"),
    ):
        branch.fit(texts, y, groups=groups)
    assert np.isfinite(branch.predict_proba(texts)).all()


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "optimizer.pt", "model.safetensors"]
)
def test_a_damaged_checkpoint_is_begun_anew(
    name: str,
    text_model: TextClassifier,
    tuned: TextClassifier,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import fine_tuning as _training

    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_training, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            branch.fit(texts, Y)
    checkpoints = list((tmp_path / "cache.sqlite-training").glob("*/checkpoint-*"))
    assert checkpoints
    for checkpoint in checkpoints:
        (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:20])
    with pytest.warns(MmeventWarning, match="cannot be read"):
        branch.fit(texts, Y)
    assert_array_equal(branch.predict_proba(texts), tuned.predict_proba(texts))


@pytest.mark.filterwarnings("ignore:the device's memory")
def test_a_checkpoint_stays_where_the_memory_is_too_small_to_go_on(
    text_model: TextClassifier,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmevent.branches import fine_tuning as _training
    from mmevent.branches import network as _network

    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")
    forward, calls = _network.Network.forward, []

    def small(self: Any, inputs: Any, labels: Any, weight: Any) -> Any:
        calls.append(len(labels))
        if len(calls) == 7:  # in the second epoch
            raise KeyboardInterrupt
        if len(calls) > 7 and len(labels) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return forward(self, inputs, labels, weight)

    def discarded(*arguments: Any) -> None:
        raise AssertionError("a good checkpoint was discarded")

    monkeypatch.setattr(_network.Network, "forward", small)
    monkeypatch.setattr(_training, "_discard", discarded)
    with pytest.raises(KeyboardInterrupt):
        branch.fit(texts, Y)
    branch.fit(texts, Y)
    assert np.isfinite(branch.predict_proba(texts)).all()


@pytest.mark.parametrize(
    ("saving", "error"),
    [
        ("transformers.Trainer._save", OSError(28, "No space left on device")),
        ("torch.save", RuntimeError("[enforce fail at inline_container.cc:672]")),
        ("torch.save", RuntimeError("PytorchStreamWriter failed writing file data/0")),
    ],
    ids=["safetensors", "torch", "torch, in its thread"],
)
def test_no_room_for_checkpoints_is_said(
    saving: str,
    error: Exception,
    text_model: TextClassifier,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(saving, full)
    with pytest.raises(StorageError, match=r"expected room in .*Free some"):
        clone(text_model).fit(texts, Y)


def test_what_a_training_depends_on_is_in_its_key(
    text_model: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.branches import fine_tuning as _training

    keys: list[str] = []
    key_of = _training.training_key

    def watched(*arguments: Any) -> str:
        keys.append(key_of(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(_training, "training_key", watched)
    fits: list[tuple[dict[str, Any], list[str], Any, dict[str, Any]]] = [
        ({}, texts, Y, {}),
        ({"n_epochs": 3}, texts, Y, {}),
        ({"encoder__max_length": 8}, texts, Y, {}),
        ({"random_state": 1}, texts, Y, {}),
        ({"class_weight": {0: 1.0, 1: 5.0}}, texts, Y, {}),
        ({}, texts[::-1], Y, {}),
        ({}, texts, 1 - Y, {}),
        ({}, texts, Y, {"groups": np.arange(60) // 2}),
        ({}, texts, Y, {"sample_weight": np.linspace(1, 2, 60)}),
    ]
    for parameters, items, y, arguments in fits:
        with pytest.raises(KeyboardInterrupt):
            clone(text_model).set_params(**parameters).fit(items, y, **arguments)
    assert len(set(keys)) == len(fits)


def test_pictures_of_many_shapes_are_refused(
    tiny_image_model: str, pictures: list[Image.Image], changed_copy: Any
) -> None:
    folder = changed_copy(tiny_image_model)
    whole = {
        "image_processor_type": "MobileNetV2ImageProcessor",
        "size": {"shortest_edge": 16},
        "do_center_crop": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(whole))
    branch = ImageClassifier(str(folder), train="all", **SHORT)
    with pytest.raises(InputError, match=r"pictures of many shapes.*train='head'"):
        branch.fit(pictures, Y[:40])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train": "some"}, "train='some' is not known: expected 'head', 'all'"),
        ({"train": True}, "train=True is not known"),
        ({"train": 0}, "train=0 is not known"),
        ({"train": 3}, r"train=3 is not a number of this model's last blocks: .* to 2"),
        ({"head": LogisticRegression()}, "cannot be trained with the encoder"),
        ({"learning_rate": 0}, "learning_rate=0 is not a number above 0"),
        ({"learning_rate": "fast"}, "learning_rate='fast' is not a number"),
        ({"n_epochs": 1.5}, r"n_epochs=1.5 is not a whole number"),
        ({"train_batch_size": 0}, "train_batch_size=0 is not a whole number"),
        ({"gradient_accumulation_steps": None}, "gradient_accumulation_steps=None is"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_trained_is_refused(
    text_model: TextClassifier,
    texts: list[str],
    parameters: dict[str, Any],
    message: str,
) -> None:
    branch = clone(text_model).set_params(**parameters)
    with pytest.raises(InputError, match=message):
        branch.fit(texts, Y)


def test_what_was_trained_is_part_of_the_fitted_encoder_alone(
    tuned: TextClassifier, texts: list[str]
) -> None:
    assert tuned.encoder_._trained
    assert not hasattr(tuned.encoder, "_trained")
    assert not hasattr(tuned.get_params()["encoder"], "spec_")
    free = clone(tuned.encoder_)
    assert not {"_trained", "spec_", "pretrained_spec_"} & vars(free).keys()
    rows = tuned.encoder_.transform(texts)
    assert np.abs(rows - free.transform(texts)).max() > 1e-3
    assert len(pickle.dumps(tuned)) > len(pickle.dumps(clone(tuned))) + 10_000


def test_a_fine_tuned_encoder_is_saved_and_used_elsewhere(
    tuned: TextClassifier, texts: list[str], tmp_path: Path
) -> None:
    tuned.encoder_.save(tmp_path / "tuned")
    rows = TextEncoder(tmp_path / "tuned").transform(texts)
    assert_allclose(rows, tuned.encoder_.transform(texts), atol=1e-6)


def test_the_success_of_one_fit_leaves_the_checkpoints_of_another(
    text_model: TextClassifier, texts: list[str], tmp_path: Path
) -> None:
    branch = clone(text_model).set_params(encoder__cache=tmp_path / "cache.sqlite")
    trained, finish = threading.Event(), threading.Event()

    def interrupted() -> None:
        with suppress(KeyboardInterrupt), shared_memo():
            branch.fit(texts, Y)
            trained.set()
            finish.wait(60)
            raise KeyboardInterrupt

    thread = threading.Thread(target=interrupted)
    with shared_memo():
        thread.start()
        trained.wait(60)
        finish.set()
        thread.join()
    assert list((tmp_path / "cache.sqlite-training").glob("*/weights.safetensors"))
