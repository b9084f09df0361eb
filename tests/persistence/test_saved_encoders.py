"""Saved detectors whose encoders lie in their folder, or outside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from persistence.helpers import (
    Coded,
    Known,
    audit_in_new_process,
    demo_detector,
    ours_in,
    taken_away,
)
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    ImageClassifier,
    TextClassifier,
    TextEncoder,
    evaluate,
    load,
)
from mmevent.exceptions import (
    MmeventWarning,
    ModelFolderError,
    ModelUnavailableError,
)
from mmevent.persistence.objects import TRUSTED
from mmevent.synthetic.posts import make_posts


@pytest.fixture(autouse=True)
def in_the_folder_of_pictures(
    illustrated: Coded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let paths of pictures start where `load` looks for them."""
    monkeypatch.chdir(home / "pictures")


def test_a_referenced_encoder_is_found_and_checked(
    encoded: Known, illustrated: Coded, tmp_path: Path
) -> None:
    posts, y = illustrated
    encoded.detector.save(tmp_path / "model")
    assert not (tmp_path / "model" / "encoders").exists()
    assert not list((tmp_path / "model").rglob("*.safetensors"))
    card = (tmp_path / "model" / "README.md").read_text()
    for part in (encoded.detector.text_.estimators_[0], encoded.detector.image_):
        assert part.encoder_.spec_["model"] in card
        assert part.encoder_.spec_["weights_sha256"] in card
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(posts), encoded.audit)
    pd.testing.assert_frame_equal(
        evaluate(loaded, posts, y).table, encoded.estimate.table
    )


def test_another_encoder_at_the_same_place_is_refused(
    tiny_text_model: str,
    illustrated: Coded,
    tmp_path: Path,
) -> None:
    from safetensors.numpy import load_file, save_file

    posts, y = illustrated
    folder = shutil.copytree(tiny_text_model, tmp_path / "text")
    branch = TextClassifier(TextEncoder(folder, device="cpu"))
    demo_detector(text=branch, image=None).fit(posts, y).save(tmp_path / "model")
    weights = folder / "model.safetensors"
    changed = {name: values + 1 for name, values in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    loaded = load(tmp_path / "model")
    with pytest.raises(ModelUnavailableError, match="weights are not the ones"):
        loaded.predict(posts)


@pytest.mark.parametrize("gone", ["text", "image"])
def test_the_folder_of_an_encoder_that_is_gone_is_named_at_load(
    gone: str, models: dict[str, str], encoded: Known, tmp_path: Path
) -> None:
    encoded.detector.save(tmp_path / "model")
    with taken_away(models[gone]):
        with pytest.raises(ModelUnavailableError, match="standalone=True") as raised:
            load(tmp_path / "model")
    assert str(models[gone]) in str(raised.value)


def test_a_standalone_folder_needs_nothing_else(
    encoded: Known, illustrated: Coded, home: Path, tmp_path: Path
) -> None:
    posts = illustrated[0]
    encoded.detector.save(tmp_path / "model", standalone=True)
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 2
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    with taken_away(home / "models"):
        loaded = load(moved)
        pd.testing.assert_frame_equal(loaded.audit(posts), encoded.audit)
        loaded.save(tmp_path / "again", standalone=True)
        shutil.rmtree(moved)
        pd.testing.assert_frame_equal(
            load(tmp_path / "again").audit(posts), encoded.audit
        )


def test_the_default_branches_of_a_standalone_folder_name_its_copies(
    models: dict[str, str],
    illustrated: Coded,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts, y = illustrated
    for branch, kind in ((TextClassifier, "text"), (ImageClassifier, "image")):
        monkeypatch.setattr(branch.__init__, "__defaults__", (models[kind],))
    detector = demo_detector(text="auto", image="auto", image_root=home / "pictures")
    detector.fit(posts, y).save(tmp_path / "model", standalone=True)
    with taken_away(home / "models"):
        loaded = load(tmp_path / "model")
        copies = sorted(map(str, (tmp_path / "model" / "encoders").iterdir()))
        assert [loaded.image.encoder, loaded.text.encoder] == copies
        assert loaded.text.random_state == 0
        assert evaluate(loaded, posts, y).to_frame().loc["fused", "n_posts"] == 50


def test_a_frozen_branch_stays_frozen(
    models: dict[str, str],
    illustrated: Coded,
    home: Path,
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    elsewhere, labels, _ = make_posts(60, image_size=16, random_state=5)
    chosen = elsewhere["text"].notna()
    branch = TextClassifier(TextEncoder(models["text"], device="cpu"))
    branch.fit(elsewhere["text"][chosen].tolist(), labels[chosen])
    detector = demo_detector(text=FrozenEstimator(branch), image=None).fit(posts, y)
    expected = detector.audit(posts)
    detector.save(tmp_path / "model", standalone=True)
    with taken_away(home / "models"):
        loaded = load(tmp_path / "model")
        assert isinstance(loaded.text, FrozenEstimator)
        assert isinstance(loaded.text_, FrozenEstimator)
        pd.testing.assert_frame_equal(loaded.audit(posts), expected)
        assert "never saw these posts" in str(evaluate(loaded, posts, y))


def test_a_relative_model_folder_is_found_from_elsewhere(
    models: dict[str, str],
    illustrated: Coded,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts, y = illustrated
    monkeypatch.chdir(home)
    branch = TextClassifier(TextEncoder(Path("models", "text"), device="cpu"))
    demo_detector(text=branch, image=None).fit(posts, y).save(tmp_path / "model")
    monkeypatch.chdir("/")
    loaded = load(tmp_path / "model")
    assert loaded.text.encoder.model == str(Path(models["text"]).resolve())
    evaluate(loaded, posts, y)


def test_a_device_that_is_not_here_is_replaced(
    models: dict[str, str],
    illustrated: Coded,
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    branch = TextClassifier(TextEncoder(models["text"], device="cpu"))
    detector = demo_detector(text=branch, image=None).fit(posts, y)
    detector.text_.encoder_.set_params(device="cuda:99")
    detector.save(tmp_path / "model")
    with pytest.warns(MmeventWarning, match="'cuda:99', which this machine lacks"):
        loaded = load(tmp_path / "model")
    assert loaded.text_.encoder_.device == "auto"


def test_an_encoder_that_is_gone_leaves_nothing_behind(
    encoded: Known, home: Path, tmp_path: Path
) -> None:
    encoded.detector.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    with taken_away(home / "models"):
        with pytest.raises(ModelUnavailableError, match="does not exist"):
            loaded.save(tmp_path / "copy", standalone=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_altered_encoder_is_named(
    models: dict[str, str],
    illustrated: Coded,
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    branch = TextClassifier(TextEncoder(models["text"], device="cpu"))
    detector = demo_detector(text=branch, image=None).fit(posts, y)
    detector.save(tmp_path / "model", standalone=True)
    (path,) = (tmp_path / "model").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFolderError, match="altered: .*/model.safetensors"):
        load(tmp_path / "model")


@pytest.mark.parametrize("standalone", [True, False], ids=["copied", "referenced"])
@pytest.mark.parametrize("branch", ["probe", "zero-shot"])
def test_clip_branches_come_back(
    branch: str, standalone: bool, tiny_clip_model: str, coded: Coded, tmp_path: Path
) -> None:
    posts, y = coded
    folder = shutil.copytree(tiny_clip_model, tmp_path / "clip")
    encoder = ClipEncoder(folder, device="cpu")
    image = ImageClassifier(encoder)
    if branch == "zero-shot":
        image = ClipZeroShotClassifier(["a march"], ["a dog"], encoder=encoder)
    detector = demo_detector(image=image).fit(posts, y)
    expected = detector.audit(posts)
    detector.save(tmp_path / "model", standalone=standalone)
    if standalone:
        shutil.rmtree(folder)
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(posts), expected)
    assert type(loaded.image) is type(image)
    place = tmp_path / ("model/encoders" if standalone else "clip")
    assert Path(loaded.image.encoder.model).is_relative_to(place)
    assert ours_in(tmp_path / "model") <= set(TRUSTED)


def test_an_encoder_by_its_folder_alone_is_found(
    models: dict[str, str], illustrated: Coded, home: Path, tmp_path: Path
) -> None:
    posts, y = illustrated
    detector = demo_detector(text=TextClassifier(models["text"]), image=None)
    expected = detector.fit(posts, y).audit(posts)
    detector.save(tmp_path / "model", standalone=True)
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    with taken_away(home / "models"):
        loaded = load(moved)
        assert Path(loaded.text.encoder).parent == moved / "encoders"
        pd.testing.assert_frame_equal(loaded.audit(posts), expected)
        again = clone(loaded).fit(posts, y)
        pd.testing.assert_frame_equal(again.audit(posts), expected)


# Fine-tuned encoders


def test_fine_tuned_encoders_are_in_the_folder(
    models: dict[str, str],
    tuned: Known,
    illustrated: Coded,
    home: Path,
    tmp_path: Path,
) -> None:
    posts = illustrated[0]
    assert tuned.estimate.kind == "cross-fit"
    tuned.detector.save(tmp_path / "model")
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 2
    assert (tmp_path / "model/text/branch.skops").stat().st_size < 30_000
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    loaded = load(moved)
    pd.testing.assert_frame_equal(loaded.audit(posts), tuned.audit)
    # Another fit begins with the pretrained encoders, not with what the posts taught.
    begins = [loaded.text.encoder.model, loaded.image.encoder.model]
    assert begins == [models["text"], models["image"]]
    with taken_away(home / "models"):
        loaded.save(tmp_path / "again")
        shutil.rmtree(moved)
        again = load(tmp_path / "again")
        pd.testing.assert_frame_equal(again.audit(posts), tuned.audit)


def test_a_standalone_folder_holds_what_fine_tuning_began_with(
    tuned: Known, illustrated: Coded, home: Path, tmp_path: Path
) -> None:
    posts, y = illustrated
    tuned.detector.save(tmp_path / "model", standalone=True)
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 4
    with taken_away(home / "models"):
        pd.testing.assert_frame_equal(
            audit_in_new_process(tmp_path / "model", posts, tmp_path, Path.cwd()),
            tuned.audit.drop(columns=["best_image", "image_status"]),
            check_dtype=False,
        )
        loaded = load(tmp_path / "model")
        pd.testing.assert_frame_equal(
            evaluate(loaded, posts, y).table, tuned.estimate.table
        )
