"""A saved detector comes back the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from persistence.helpers import (
    Coded,
    assert_same_detector,
    change_json,
    demo_detector,
    saved_and_loaded,
    seal,
    words,
)
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold

from mmevent import (
    EventDetector,
    ForwardInTime,
    evaluate,
    load,
)
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    ModelFolderError,
)
from mmevent.persistence.objects import same
from mmevent.synthetic.demo import demo_branches
from mmevent.synthetic.posts import make_posts


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="both"),
        pytest.param({"image": None}, id="text-only"),
        pytest.param({"text": None}, id="image-only"),
        pytest.param(
            {
                "image": [
                    ("../a", demo_branches()[1]),
                    ("b", demo_branches()[1].set_params(logisticregression__C=1.0)),
                ]
            },
            id="two-image-branches",
        ),
        pytest.param(
            {"estimate": "cross-fit", "criterion": "f1"},
            id="raw-f1",
        ),
        pytest.param({"cv": GroupKFold(3), "columns": {"id": "id"}}, id="splitter"),
        pytest.param({"cv": ForwardInTime(2), "policy": 0.4}, id="forward-in-time"),
        pytest.param(
            {"random_state": np.random.RandomState(3), "n_jobs": 1}, id="random-state"
        ),
    ],
)
def test_what_comes_back_is_the_same(
    parameters: dict[str, Any],
    coded: Coded,
    tmp_path: Path,
) -> None:
    posts, y = coded
    detector = demo_detector(**parameters).fit(posts, y, groups=np.arange(120) // 2)
    loaded = saved_and_loaded(detector, tmp_path)
    assert_same_detector(loaded, detector)
    pd.testing.assert_frame_equal(loaded.audit(posts), detector.audit(posts))


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        pytest.param("no", "ja ☮", id="strings"),
        pytest.param(False, True, id="booleans"),
        pytest.param(np.int8(1), np.int8(2), id="int8"),
        pytest.param(np.uint64(0), np.uint64(2**63 + 1), id="uint64"),
        pytest.param(np.float32(0.1), np.float32(0.3), id="float32"),
        pytest.param(-1.5, 5e-324, id="float64"),
    ],
)
@pytest.mark.parametrize("dtype", [None, object], ids=["own-dtype", "object"])
def test_labels_come_back_with_their_dtype(
    negative: Any,
    positive: Any,
    dtype: Any,
    coded: Coded,
    tmp_path: Path,
) -> None:
    posts, y = coded
    if dtype is object and isinstance(negative, np.generic):
        negative, positive = negative.item(), positive.item()
    labels = np.array([negative, positive], dtype=dtype)[y]
    detector = demo_detector(image=None, pos_label=positive).fit(posts, labels)
    loaded = saved_and_loaded(detector, tmp_path)
    assert_same_detector(loaded, detector)
    assert same(loaded.predict(posts), detector.predict(posts))


def test_the_positive_class_may_be_the_first(coded: Coded, tmp_path: Path) -> None:
    posts, y = coded
    detector = demo_detector(pos_label=0).fit(posts, 1 - y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.pos_label_ == 0
    assert same(loaded.decision_function(posts), detector.decision_function(posts))


def test_evaluate_works_after_a_load(
    folder: Path, fitted: EventDetector, coded: Coded
) -> None:
    posts, y = coded
    labels = np.where(y == 1, "protest", "other")
    loaded = load(folder)
    again = evaluate(loaded, posts, labels)
    pd.testing.assert_frame_equal(again.table, fitted.estimate_.table)
    others, truth, _ = make_posts(60, image_size=16, random_state=9)
    others["id"] = [f"new {i}" for i in range(60)]
    named = np.where(truth == 1, "protest", "other")
    held_out = [
        evaluate(one, others, named, held_out=True, drop_seen=True)
        for one in (loaded, fitted)
    ]
    assert str(held_out[0]) == str(held_out[1])
    with pytest.raises(InputError, match="were training posts"):
        evaluate(loaded, posts, labels, held_out=True)


def test_a_loaded_detector_can_change_its_policy_and_be_saved_again(
    folder: Path, tmp_path: Path
) -> None:
    detector = load(folder).set_policy(0.25)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.threshold_ == loaded.policy_ == 0.25
    assert loaded.policy == loaded.fitted_.policy == 0.25
    assert loaded.fitted_.record.policy == "f1"
    card = (tmp_path / "round_trip" / "README.md").read_text()
    assert "figures are for the policy 'f1'" in card


@pytest.mark.parametrize("policy", ["budget=9", "fbeta=2", [[0.0, 1.0], [5.0, 0.0]]])
def test_every_policy_comes_back(folder: Path, tmp_path: Path, policy: Any) -> None:
    detector = load(folder).set_policy(policy)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.policy_ == policy
    np.testing.assert_equal(loaded.threshold_, detector.threshold_)


def test_a_detector_predicts_the_same_after_a_move(
    illustrated: Coded, home: Path, tmp_path: Path
) -> None:
    posts, y = illustrated
    root = home / "pictures"
    detector = demo_detector(image_root=root).fit(posts, y)
    detector.save(tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    found = load(moved, image_root=root).audit(posts)
    pd.testing.assert_frame_equal(found, detector.audit(posts))
    assert str(root) not in (moved / "README.md").read_text()


def test_pictures_in_memory_need_no_files(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), c) for c in ("red", "blue") for _ in range(9)]
    posts = [{"text": f"post {i}", "images": [p]} for i, p in enumerate(pictures)]
    posts = [
        {"text": f"{post['text']} {i}", "images": [picture.resize((8, 9 + i))]}
        for i, (post, picture) in enumerate(zip(posts, pictures, strict=True))
    ]
    y = [1] * 9 + [0] * 9
    detector = demo_detector().fit(posts, y)
    loaded = saved_and_loaded(detector, tmp_path)
    pd.testing.assert_frame_equal(loaded.audit(posts), detector.audit(posts))


# What is not saved, and what does not fit


def test_a_detector_that_is_not_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        EventDetector().save(tmp_path / "model")


def test_a_class_derived_from_the_detector_is_refused(
    fitted: EventDetector, tmp_path: Path
) -> None:
    class Derived(EventDetector):
        pass

    detector = Derived(**fitted.get_params(deep=False))
    detector.__dict__ |= vars(fitted)
    with pytest.raises(ModelFolderError, match="a Derived cannot be saved"):
        detector.save(tmp_path / "model")


def test_a_folder_cannot_open_what_lies_outside_the_image_root(
    coded: Coded, tmp_path: Path
) -> None:
    posts, y = coded
    detector = demo_detector(image=None, allow_outside_root=True).fit(posts, y)
    with pytest.warns(MmeventWarning, match="allow_outside_root=False is used"):
        assert saved_and_loaded(detector, tmp_path).allow_outside_root is False
    folder = tmp_path / "round_trip"
    facts = json.loads((folder / "detector.json").read_text())
    facts["parameters"] |= {"allow_outside_root": True, "storage": "sqlite:///x.db"}
    (folder / "detector.json").write_text(json.dumps(facts))
    seal(folder)
    with pytest.warns(MmeventWarning, match=r"set_params\(allow_outside_root=True\)"):
        loaded = load(folder)
    assert loaded.allow_outside_root is False
    assert loaded.storage is None


@pytest.mark.parametrize("named", ["/", "//host/share", "pictures"])
def test_the_folder_of_images_is_never_taken_from_a_model_folder(
    named: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    facts = json.loads((folder / "detector.json").read_text())
    facts["parameters"]["image_root"] = named
    (folder / "detector.json").write_text(json.dumps(facts))
    seal(folder)
    with pytest.warns(
        MmeventWarning, match=rf"images in '{named}'.*load\(folder, image"
    ):
        loaded = load(folder)
    assert loaded.image_root is None
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    paths = [str(tmp_path / "secret.png"), "../secret.png", "secret.png"]
    audit = loaded.audit([{"text": "a", "images": [path]} for path in paths])
    found = [status.rpartition(": ")[2] for status in audit["image_status"]]
    assert found == ["outside root", "outside root", "missing file"]
    given = load(folder, image_root=tmp_path)
    assert given.image_root == tmp_path


def test_a_pipeline_that_unpickles_is_refused_where_it_is_saved_and_loaded(
    coded: Coded, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    posts, y = coded
    text = words().set_params(memory="intermediate")
    detector = demo_detector(text=text, image=None).fit(posts, y)
    with pytest.raises(ModelFolderError, match="Pipeline has memory='intermediate'"):
        detector.save(tmp_path / "saved")
    for name in ("text/branch.skops", "parameters.skops"):
        there = (folder / name).read_bytes()
        (folder / name).write_bytes(skops.io.dumps({"text": text, "image": None}))
        seal(folder)
        with pytest.raises(ModelFolderError, match=f"{name} cannot be used: .*memory"):
            load(folder)
        (folder / name).write_bytes(there)


def test_plain_parameters_are_checked_as_others_are(
    folder: Path, fitted: EventDetector, tmp_path: Path
) -> None:
    path = folder / "detector.json"
    facts = json.loads(path.read_text())
    change_json(path, parameters=facts["parameters"] | {"n_jobs": 100_000})
    seal(folder)
    with pytest.raises(ModelFolderError, match="detector.json cannot .*n_jobs=100000"):
        load(folder)
    detector = clone(fitted).set_params(n_jobs=100_000)
    detector.fitted_ = fitted.fitted_
    with pytest.raises(ModelFolderError, match="detector cannot .*n_jobs=100000"):
        detector.save(tmp_path / "another")


def test_storage_and_its_password_are_not_saved(coded: Coded, tmp_path: Path) -> None:
    posts, y = coded
    storage = f"sqlite:///{tmp_path}/secret.db"
    detector = demo_detector(image=None, storage=storage).fit(posts, y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.storage is None
    files = [p for p in (tmp_path / "round_trip").rglob("*") if p.is_file()]
    assert not any(b"secret.db" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"branches": {"text": "README.md"}}, id="branch"),
        pytest.param({"branches": {"text": "../x.skops"}}, id="branch-outside"),
        pytest.param({"parameters": {"unknown": 1}}, id="parameter"),
        pytest.param({"positive": 7}, id="positive"),
        pytest.param({"classes": {"dtype": "x", "values": [0]}}, id="classes"),
        pytest.param({"encoders": [{"folder": "../x", "identity": ""}]}, id="encoder"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts: dict[str, Any], folder: Path) -> None:
    change_json(folder / "detector.json", **facts)
    seal(folder)
    words = "does not fit together|cannot be read|names the encoder|json gives"
    with pytest.raises(ModelFolderError, match=words):
        load(folder)
