"""A saved detector comes back the same; a folder that was changed is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
import skops.io
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import mmevent
from mmevent import (
    EventDetector,
    ForwardInTime,
    ImageClassifier,
    TextClassifier,
    evaluate,
    load,
)
from mmevent._objects import same
from mmevent.exceptions import (
    InputError,
    MmeventWarning,
    ModelFolderError,
    ModelUnavailableError,
)
from mmevent.synthetic import demo_branches, make_posts

WRITTEN = (
    "README.md",
    "cv_results.parquet",
    "detector.json",
    "estimate.json",
    "image/branch-0.skops",
    "out_of_fold.parquet",
    "parameters.skops",
    "text/branch.skops",
    "training_keys.txt",
    "trials.parquet",
)
FAST = {"cv": 2, "inner_cv": 2, "n_trials": 3, "estimate": None, "random_state": 0}


def demo_detector(**parameters: Any) -> EventDetector:
    text, image = demo_branches()
    return EventDetector(**{"text": text, "image": image, **FAST, **parameters})


def words() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


@pytest.fixture(scope="session")
def coded() -> tuple[pd.DataFrame, np.ndarray]:
    posts, y, _ = make_posts(120, image_size=16, random_state=0)
    return posts, y


@pytest.fixture(scope="session")
def fitted(coded: tuple[pd.DataFrame, np.ndarray]) -> EventDetector:
    posts, y = coded
    labels = pd.Series(np.where(y == 1, "protest", "other"), name="code")
    detector = demo_detector(pos_label="protest", estimate="nested")
    return detector.fit(posts, labels)


@pytest.fixture(scope="session")
def original(fitted: EventDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of a saved detector, to be changed by a test."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def seal(folder: Path) -> None:
    """Write the manifest of a folder's files, as someone who changed them could."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    hashes = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in names
        if name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(hashes))


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def saved_and_loaded(detector: EventDetector, tmp_path: Path) -> EventDetector:
    detector.save(tmp_path / "round_trip")
    return load(tmp_path / "round_trip")


def assert_same_detector(loaded: EventDetector, detector: EventDetector) -> None:
    assert vars(loaded).keys() == vars(detector).keys()
    for name, value in vars(detector).items():
        found = getattr(loaded, name)
        if name == "study_":
            assert found is None
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(found, value)
        elif name == "estimate_":
            assert str(found) == str(value)
        else:
            assert same(found, value), name


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
            {"estimate": "cross-fit", "criterion": "f1", "search": "exact"},
            id="exact",
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
    coded: tuple[pd.DataFrame, np.ndarray],
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
    coded: tuple[pd.DataFrame, np.ndarray],
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


def test_the_positive_class_may_be_the_first(
    coded: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    posts, y = coded
    detector = demo_detector(pos_label=0).fit(posts, 1 - y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.pos_label_ == 0
    assert same(loaded.decision_function(posts), detector.decision_function(posts))


def test_evaluate_works_after_a_load(
    folder: Path, fitted: EventDetector, coded: tuple[pd.DataFrame, np.ndarray]
) -> None:
    posts, y = coded
    labels = np.where(y == 1, "protest", "other")
    loaded = load(folder)
    again = evaluate(loaded, posts, labels, seeds=[1])
    pd.testing.assert_frame_equal(
        again.table, evaluate(fitted, posts, labels, seeds=[1]).table
    )
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
    assert loaded.policy == "f1"
    card = (tmp_path / "round_trip" / "README.md").read_text()
    assert "figures are of the policy 'f1'" in card


@pytest.mark.parametrize("policy", ["budget=9", "fbeta=2", [[0.0, 1.0], [5.0, 0.0]]])
def test_every_policy_comes_back(folder: Path, tmp_path: Path, policy: Any) -> None:
    detector = load(folder).set_policy(policy)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.policy_ == policy
    np.testing.assert_equal(loaded.threshold_, detector.threshold_)


PREDICT = """
import sys
import mmevent, pandas as pd
posts = pd.read_json(sys.argv[2], lines=True, dtype=False)
audit = mmevent.load(sys.argv[1]).audit(posts)
audit.drop(columns=["best_image", "image_status"]).to_parquet(sys.argv[3])
"""


def audit_in_new_process(folder: Path, posts: pd.DataFrame, work: Path) -> pd.DataFrame:
    posts.to_json(work / "posts.jsonl", orient="records", lines=True)
    command = [sys.executable, "-c", PREDICT, folder, "posts.jsonl", "audit.parquet"]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(mmevent.__file__).parents[1]),
    }
    done = subprocess.run(
        list(map(str, command)),
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(work / "audit.parquet")


@pytest.fixture
def illustrated(tmp_path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Fifty posts whose pictures are files, some without any."""
    posts, y, _ = make_posts(
        50, image_size=16, folder=tmp_path / "pictures", random_state=1
    )
    return posts[["id", "text", "images"]], y


def test_a_new_process_predicts_the_same_after_a_move(
    illustrated: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    posts, y = illustrated
    root = tmp_path / "pictures"
    detector = demo_detector(image_root=root).fit(posts, y)
    detector.save(tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    found = audit_in_new_process(moved, posts, tmp_path)
    expected = detector.audit(posts)[list(found)]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert load(moved).image_root == str(root)
    assert str(root) not in (moved / "README.md").read_text()


# Encoders.


@pytest.fixture
def models(
    tiny_text_model: str, tiny_image_model: str, tmp_path: Path
) -> dict[str, str]:
    """Copies of the tiny models, which a test can take away."""
    return {
        "text": str(shutil.copytree(tiny_text_model, tmp_path / "models" / "text")),
        "image": str(shutil.copytree(tiny_image_model, tmp_path / "models" / "image")),
    }


def encoder_detector(
    models: dict[str, str], illustrated: tuple[pd.DataFrame, np.ndarray]
) -> EventDetector:
    posts, y = illustrated
    root = Path(models["text"]).parents[1] / "pictures"
    ensemble = VotingClassifier(
        [
            ("logistic", TextClassifier(model=models["text"], device="cpu")),
            ("svm", TextClassifier(model=models["text"], head=SVC(), device="cpu")),
            ("words", words()),
        ],
        voting="soft",
    )
    image = ImageClassifier(model=models["image"], device="cpu")
    return demo_detector(text=ensemble, image=image, image_root=root).fit(posts, y)


def test_a_referenced_encoder_is_found_and_checked(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    detector = encoder_detector(models, illustrated)
    detector.save(tmp_path / "model")
    assert not (tmp_path / "model" / "encoders").exists()
    assert not list((tmp_path / "model").rglob("*.safetensors"))
    card = (tmp_path / "model" / "README.md").read_text()
    for part in (detector.text_.estimators_[0], detector.image_):
        assert part.encoder_spec_["model"] in card
        assert part.encoder_spec_["weights_sha256"] in card
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(posts), detector.audit(posts))
    pd.testing.assert_frame_equal(
        evaluate(loaded, posts, y).table, evaluate(detector, posts, y).table
    )


def test_another_encoder_at_the_same_place_is_refused(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    from safetensors.numpy import load_file, save_file

    posts, y = illustrated
    branch = TextClassifier(model=models["text"], device="cpu")
    demo_detector(text=branch, image=None).fit(posts, y).save(tmp_path / "model")
    weights = Path(models["text"], "model.safetensors")
    changed = {name: values + 1 for name, values in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    loaded = load(tmp_path / "model")
    with pytest.raises(ModelUnavailableError, match="weights are not the ones"):
        loaded.predict(posts)


@pytest.mark.parametrize("gone", ["text", "image"])
def test_the_folder_of_an_encoder_that_is_gone_is_named_at_load(
    gone: str,
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    encoder_detector(models, illustrated).save(tmp_path / "model")
    shutil.rmtree(models[gone])
    with pytest.raises(ModelUnavailableError, match="standalone=True") as raised:
        load(tmp_path / "model")
    assert str(models[gone]) in str(raised.value)


def test_a_standalone_folder_needs_nothing_else(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    detector = encoder_detector(models, illustrated)
    expected, estimate = detector.audit(posts), evaluate(detector, posts, y)
    detector.save(tmp_path / "model", standalone=True)
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 2
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "models")
    loaded = load(moved)
    pd.testing.assert_frame_equal(loaded.audit(posts), expected)
    pd.testing.assert_frame_equal(evaluate(loaded, posts, y).table, estimate.table)
    loaded.save(tmp_path / "again", standalone=True)
    shutil.rmtree(moved)
    pd.testing.assert_frame_equal(load(tmp_path / "again").audit(posts), expected)


@pytest.mark.slow
def test_a_new_process_loads_copied_encoders(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, _ = illustrated
    detector = encoder_detector(models, illustrated)
    detector.save(tmp_path / "model", standalone=True)
    expected = detector.audit(posts)
    shutil.rmtree(tmp_path / "models")
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    found = audit_in_new_process(moved, posts, tmp_path)
    pd.testing.assert_frame_equal(found, expected[list(found)], check_dtype=False)


def test_the_default_branches_of_a_standalone_folder_name_its_copies(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts, y = illustrated
    for branch, kind in ((TextClassifier, "text"), (ImageClassifier, "image")):
        monkeypatch.setitem(branch.__init__.__kwdefaults__, "model", models[kind])
    detector = demo_detector(
        text="auto", image="auto", image_root=tmp_path / "pictures"
    ).fit(posts, y)
    detector.save(tmp_path / "model", standalone=True)
    loaded = load(tmp_path / "model")
    shutil.rmtree(tmp_path / "models")
    copies = sorted(str(path) for path in (tmp_path / "model" / "encoders").iterdir())
    assert [loaded.image.model, loaded.text.model] == copies
    assert loaded.text.random_state == 0
    assert evaluate(loaded, posts, y).to_frame().loc["fused", "n_posts"] == 50


def test_a_frozen_branch_stays_frozen(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    elsewhere, labels, _ = make_posts(60, image_size=16, random_state=5)
    chosen = elsewhere["text"].notna()
    branch = TextClassifier(model=models["text"], device="cpu")
    branch.fit(elsewhere["text"][chosen].tolist(), labels[chosen])
    detector = demo_detector(text=FrozenEstimator(branch), image=None).fit(posts, y)
    expected = detector.audit(posts)
    detector.save(tmp_path / "model", standalone=True)
    shutil.rmtree(tmp_path / "models")
    loaded = load(tmp_path / "model")
    assert isinstance(loaded.text, FrozenEstimator)
    assert isinstance(loaded.text_, FrozenEstimator)
    pd.testing.assert_frame_equal(loaded.audit(posts), expected)
    assert "never saw these posts" in str(evaluate(loaded, posts, y))


def test_a_relative_model_folder_is_found_from_elsewhere(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posts, y = illustrated
    monkeypatch.chdir(tmp_path)
    branch = TextClassifier(model=Path("models", "text"), device="cpu")
    demo_detector(text=branch, image=None).fit(posts, y).save("model")
    monkeypatch.chdir("/")
    loaded = load(tmp_path / "model")
    assert loaded.text.model == str(Path(models["text"]).resolve())
    evaluate(loaded, posts, y)


def test_a_device_that_is_not_here_is_replaced(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    branch = TextClassifier(model=models["text"], device="cpu")
    detector = demo_detector(text=branch, image=None).fit(posts, y)
    detector.text_.set_params(device="cuda:99")
    detector.save(tmp_path / "model")
    with pytest.warns(MmeventWarning, match="'cuda:99', which this machine lacks"):
        loaded = load(tmp_path / "model")
    assert loaded.text_.device == "auto"


# What is refused at save time.


class Odd(ClassifierMixin, BaseEstimator):
    """A classifier that no folder can bring back."""

    def __init__(self, *, odd: Any = None) -> None:
        self.odd = odd

    def fit(self, X: Any, y: Any) -> Odd:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        return np.tile([0.4, 0.6], (len(X), 1))


class Halves:
    """A splitter of a caller's own."""

    def split(self, X: Any, y: Any, groups: Any = None) -> Any:
        rows = np.arange(len(X))
        yield rows[::2], rows[1::2]
        yield rows[1::2], rows[::2]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param({"text": Odd()}, "text branch|parameters.*Odd", id="own-class"),
        pytest.param(
            {
                "text": make_pipeline(
                    TfidfVectorizer(tokenizer=str.split, token_pattern=None),
                    LogisticRegression(),
                )
            },
            "cannot be saved",
            id="method",
        ),
        pytest.param(
            {
                "text": make_pipeline(
                    TfidfVectorizer(preprocessor=lambda text: text),
                    LogisticRegression(),
                )
            },
            "<lambda>",
            id="function",
        ),
        pytest.param(
            {
                "text": make_pipeline(
                    TfidfVectorizer(),
                    LogisticRegression(class_weight={False: 1, True: 5}),
                )
            },
            "changes on the way, such as a mapping with True and False",
            id="changes",
        ),
        pytest.param({"cv": Halves()}, r"Halves.*set_params\(cv=5\)", id="splitter"),
    ],
)
def test_what_cannot_be_loaded_back_is_refused_at_save_time(
    parameters: dict[str, Any],
    words: str,
    coded: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = coded
    detector = demo_detector(image=None, **parameters).fit(posts, y)
    with pytest.raises(ModelFolderError, match=words):
        detector.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_refers_to_itself_is_refused(
    fitted: EventDetector, tmp_path: Path
) -> None:
    loop: list[Any] = []
    loop.append(loop)
    detector = clone(fitted)
    detector.__dict__ |= vars(fitted) | {"columns": {"id": loop}}
    with pytest.raises(ModelFolderError, match="got RecursionError"):
        detector.save(tmp_path / "model")


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(np.array(["2024-01-01", "2025-01-01"], dtype="M8[D]"), id="dates"),
        pytest.param(np.array([b"no", b"yes"]), id="bytes"),
        pytest.param(np.array([(0,), (1,)], dtype=[("a", int)]), id="structures"),
    ],
)
def test_labels_that_json_cannot_hold_are_refused(
    classes: np.ndarray, fitted: EventDetector, tmp_path: Path
) -> None:
    detector = clone(fitted)
    detector.__dict__ |= vars(fitted) | {"classes_": classes, "pos_label_": classes[1]}
    with pytest.raises(ModelFolderError, match="the classes .* cannot be saved"):
        detector.save(tmp_path / "model")


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
    coded: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
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


def test_storage_and_its_password_are_not_saved(
    coded: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    posts, y = coded
    storage = f"sqlite:///{tmp_path}/secret.db"
    detector = demo_detector(image=None, storage=storage).fit(posts, y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.storage is None
    files = [p for p in (tmp_path / "round_trip").rglob("*") if p.is_file()]
    assert not any(b"secret.db" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1, "one", *range(2, 120)], id="mixed"),
        pytest.param([2**70 + i for i in range(120)], id="beyond-64-bits"),
    ],
)
def test_ids_that_parquet_cannot_hold_become_text(
    values: list[Any], coded: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    posts, y = coded
    named = posts.assign(id=pd.Series(values, dtype=object))
    detector = demo_detector(image=None).fit(named, y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.out_of_fold_["id"].tolist() == [str(value) for value in values]
    numbers = ["event", "group", "fold", "p_text", "score"]
    found, expected = (d.out_of_fold_[numbers].to_numpy() for d in (loaded, detector))
    assert same(found, expected)


def test_an_index_that_parquet_cannot_hold_becomes_text(
    coded: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    posts, y = coded
    index = pd.Index(["\ud83d", *range(1, 120)], dtype=object)
    detector = demo_detector(image=None).fit(posts.set_axis(index), y)
    loaded = saved_and_loaded(detector, tmp_path)
    assert loaded.out_of_fold_.index[:2].tolist() == ["\ufffd", "1"]


# Where it is written.


def test_an_empty_folder_is_taken_with_its_permissions(
    fitted: EventDetector, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    target.mkdir(mode=0o750)
    fitted.save(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load(target)


def test_permissions_are_those_of_any_new_folder(original: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(original.stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((original / "detector.json").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("target", "words"),
    [
        pytest.param("full", "is not empty", id="not-empty"),
        pytest.param("full/file", "is a file", id="file"),
        pytest.param("no/model", "does not exist", id="no-parent"),
    ],
)
def test_a_place_that_does_not_serve_is_refused_before_any_work(
    target: str,
    words: str,
    fitted: EventDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    monkeypatch.setattr("mmevent.persistence.to_bytes", None)
    with pytest.raises(InputError, match=words):
        fitted.save(tmp_path / target)
    assert (tmp_path / "full" / "file").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_fills_meanwhile_is_left_alone(
    fitted: EventDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def write_and_interfere(self: Path, data: bytes) -> int:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "other").touch()
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_and_interfere)
    with pytest.raises(ModelFolderError, match="cannot be written"):
        fitted.save(tmp_path / "model")
    names = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert names == ["model", "model/other"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(
            OSError(28, "No space left on device"),
            ModelFolderError,
            id="disk-full",
        ),
        pytest.param(
            PermissionError(13, "Permission denied"), ModelFolderError, id="no"
        ),
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="interrupted"),
    ],
)
@pytest.mark.parametrize("at", ["mkdir", "write_bytes", "rename"])
def test_a_failure_leaves_nothing_behind(
    at: str,
    error: BaseException,
    raised: type[BaseException],
    fitted: EventDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    real = getattr(Path, at)

    def fail(self: Path, *args: Any, **kwargs: Any) -> Any:
        calls.append(self)
        if at == "write_bytes" and len(calls) < 4:
            return real(self, *args, **kwargs)
        raise error

    monkeypatch.setattr(Path, at, fail)
    with pytest.raises(raised, match=getattr(error, "strerror", None)):
        fitted.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_gone_leaves_nothing_behind(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    encoder_detector(models, illustrated).save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(ModelUnavailableError, match="does not exist"):
        loaded.save(tmp_path / "copy", standalone=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "pictures"]


# What is refused at load.


def test_all_that_is_written_is_in_the_manifest(original: Path) -> None:
    names = sorted(
        path.relative_to(original).as_posix()
        for path in original.rglob("*")
        if path.is_file()
    )
    assert names == sorted([*WRITTEN, "manifest.json"])
    assert sorted(json.loads((original / "manifest.json").read_text())) == list(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_altered_file_is_named(name: str, folder: Path) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    if name == "detector.json":
        data = (folder / name).read_bytes().replace(b'"max"', b'"mean"')
        data += b" "
    (folder / name).write_bytes(data)
    with pytest.raises(ModelFolderError, match=f"was altered: .*{name}"):
        load(folder)


def test_an_altered_encoder_is_named(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    branch = TextClassifier(model=models["text"], device="cpu")
    detector = demo_detector(text=branch, image=None).fit(posts, y)
    detector.save(tmp_path / "model", standalone=True)
    (path,) = (tmp_path / "model").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFolderError, match="altered: .*/model.safetensors"):
        load(tmp_path / "model")


@pytest.mark.parametrize("name", [*WRITTEN, "manifest.json"])
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"incomplete: .*{name}"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["code.py", "text/branch.pkl", "encoders/a/config.json"]
)
def test_a_file_that_was_added_is_named(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("import os")
    with pytest.raises(ModelFolderError, match=f"did not write: .*{name}"):
        load(folder)


def test_what_systems_leave_in_folders_is_ignored(folder: Path) -> None:
    (folder / ".DS_Store").touch()
    (folder / "._README.md").touch()
    (folder / "text" / "Thumbs.db").touch()
    load(folder)


def test_a_link_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    card = folder / "README.md"
    card.rename(tmp_path / "card")
    card.symlink_to(tmp_path / "card")
    with pytest.raises(ModelFolderError, match="holds a link, README.md"):
        load(folder)


def test_a_link_to_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    load(tmp_path / "link")


@pytest.mark.parametrize(
    "version",
    [2, 0, "1", True, 1.0, None],
    ids=["newer", "older", "text", "boolean", "float", "none"],
)
def test_another_format_version_is_refused_first(version: object, folder: Path) -> None:
    change_json(folder / "detector.json", format_version=version)
    (folder / "manifest.json").unlink()
    with pytest.raises(
        ModelFolderError, match=f"format version {version!r}: expected 1"
    ):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret", id="above"),
        pytest.param("text/../../secret", id="hidden-above"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("C:/secret", id="drive"),
        pytest.param("..\\secret", id="backslash"),
        pytest.param("./README.md", id="dot"),
        pytest.param("", id="empty"),
    ],
)
def test_a_manifest_that_leads_outside_is_refused(
    name: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("")
    change_json(folder / "manifest.json", **{name: hashlib.sha256(b"").hexdigest()})
    with pytest.raises(ModelFolderError, match=r"names .*: expected files within"):
        load(folder)


@pytest.mark.parametrize("name", ["detector.json", "manifest.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_json_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=f"{name} in .* is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, "does not exist", id="nothing"),
        pytest.param(lambda path: path.touch(), "is a file", id="file"),
        pytest.param(lambda path: path.mkdir(), "is no model folder", id="empty"),
    ],
)
def test_what_is_no_model_folder_is_refused(
    make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    with pytest.raises(ModelFolderError, match=words):
        load(tmp_path / "model")


def test_a_file_that_may_not_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelFolderError, match="cannot be read: .*Permission denied"):
        load(folder)


class Planted:
    """Something whose construction shows."""

    built = 0

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        Planted.built += 1


@pytest.mark.parametrize("name", ["text/branch.skops", "parameters.skops"])
def test_a_type_that_is_not_trusted_is_never_built(name: str, folder: Path) -> None:
    planted = {"text": LogisticRegression(), "columns": Planted()}
    (folder / name).write_bytes(skops.io.dumps(planted))
    seal(folder)
    with pytest.raises(ModelFolderError, match=r"not trusted: .*Planted"):
        load(folder)
    assert Planted.built == 0


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no archive", id="no-archive"),
        pytest.param(pickle.dumps(1), id="pickle"),
    ],
)
def test_a_file_that_is_no_skops_file_is_refused(content: bytes, folder: Path) -> None:
    (folder / "text" / "branch.skops").write_bytes(content)
    seal(folder)
    with pytest.raises(ModelFolderError, match="branch.skops cannot be read"):
        load(folder)


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
    words = "does not fit together|cannot be read|names the encoder"
    with pytest.raises(ModelFolderError, match=words):
        load(folder)


def test_pickle_is_neither_written_nor_read(
    fitted: EventDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    fitted.save(tmp_path / "model")
    load(tmp_path / "model")
    suffixes = {path.suffix for path in (tmp_path / "model").rglob("*.*")}
    assert suffixes == {".json", ".md", ".parquet", ".skops", ".txt"}
    with ZipFile(tmp_path / "model" / "text" / "branch.skops") as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".json", ".npy"}


# The card.


def test_the_card_tells_a_person_what_to_know(original: Path, folder: Path) -> None:
    card = (original / "README.md").read_text()
    detector = load(folder)
    for stated in (
        "posts labelled `'protest'` of `code` from posts labelled `'other'`",
        "120 posts, of them",
        f"score reaches **{detector.threshold_:.4g}**",
        f"(p_text + {detector.alpha_:.4g} × p_image)",
        "nested cross-validation: 120 posts",
        "| fused | ",
        "### Notes",
        "images unusable",
        "another period, place",
        "mmevent.load(",
        "mmevent predict",
    ):
        assert stated in card
    assert str(original.parent) not in card


@pytest.mark.parametrize(
    ("parameters", "stated"),
    [
        pytest.param({"image": None}, "| has text | p_text |", id="text-only"),
        pytest.param({"text": None}, "has a usable image |", id="image-only"),
        pytest.param({}, "No estimate was made", id="no-estimate"),
    ],
)
def test_the_card_leaves_out_what_there_is_not(
    parameters: dict[str, Any],
    stated: str,
    coded: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = coded
    demo_detector(**parameters).fit(posts, y).save(tmp_path / "model")
    assert stated in (tmp_path / "model" / "README.md").read_text()


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


def tuned_detector(
    models: dict[str, str], illustrated: tuple[pd.DataFrame, np.ndarray], root: Path
) -> EventDetector:
    short: dict[str, Any] = {"n_epochs": 1, "learning_rate": 1e-3, "device": "cpu"}
    posts, y = illustrated
    return demo_detector(
        text=TextClassifier(model=models["text"], train=1, **short),
        image=ImageClassifier(model=models["image"], train="all", **short),
        image_root=root,
    ).fit(posts, y)


def test_fine_tuned_encoders_are_in_the_folder(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    detector = tuned_detector(models, illustrated, tmp_path / "pictures")
    expected, estimate = detector.audit(posts), evaluate(detector, posts, y)
    assert estimate.kind == "cross-fit"
    detector.save(tmp_path / "model")
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 2
    assert (tmp_path / "model/text/branch.skops").stat().st_size < 30_000
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    loaded = load(moved)
    pd.testing.assert_frame_equal(loaded.audit(posts), expected)
    # Another fit begins with the pretrained encoders, not with what the posts taught.
    assert [loaded.text.model, loaded.image.model] == [models["text"], models["image"]]
    pd.testing.assert_frame_equal(evaluate(loaded, posts, y).table, estimate.table)
    shutil.rmtree(tmp_path / "models")
    loaded.save(tmp_path / "again")
    shutil.rmtree(moved)
    pd.testing.assert_frame_equal(load(tmp_path / "again").audit(posts), expected)


def test_a_standalone_folder_holds_what_fine_tuning_began_with(
    models: dict[str, str],
    illustrated: tuple[pd.DataFrame, np.ndarray],
    tmp_path: Path,
) -> None:
    posts, y = illustrated
    detector = tuned_detector(models, illustrated, tmp_path / "pictures")
    expected = detector.audit(posts)
    estimate = evaluate(detector, posts, y)
    detector.save(tmp_path / "model", standalone=True)
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 4
    shutil.rmtree(tmp_path / "models")
    pd.testing.assert_frame_equal(
        audit_in_new_process(tmp_path / "model", posts, tmp_path),
        expected.drop(columns=["best_image", "image_status"]),
        check_dtype=False,
    )
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(evaluate(loaded, posts, y).table, estimate.table)
