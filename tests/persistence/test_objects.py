"""Estimators through skops: what comes back, what is refused."""

from __future__ import annotations

import pickle
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io
from persistence.helpers import (
    Coded,
    demo_detector,
    named_in,
    ours_in,
    seal,
)
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    EventDetector,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
    load,
)
from mmevent.detector import FalsePositiveFilter
from mmevent.evaluation import ForwardInTime
from mmevent.exceptions import (
    MmeventWarning,
    ModelFolderError,
)
from mmevent.persistence.objects import (
    TRUSTED,
    check_can_be_saved,
    check_types,
    from_bytes,
    same,
    to_bytes,
)
from mmevent.synthetic import ImageStatistics

HEADS = [
    LogisticRegression(),
    CalibratedClassifierCV(LinearSVC(), cv=2, ensemble=False),
    CalibratedClassifierCV(LinearSVC(), cv=2, method="isotonic"),
    SGDClassifier(loss="log_loss", random_state=0),
    MLPClassifier(max_iter=3, random_state=0),
    GaussianProcessClassifier(RBF() + WhiteKernel()),
    KNeighborsClassifier(algorithm="brute"),
    KNeighborsClassifier(algorithm="kd_tree"),
    GradientBoostingClassifier(init="zero", n_estimators=2),
    VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
    StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], cv=2),
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    make_pipeline(StandardScaler(), LogisticRegression()),
    DecisionTreeClassifier(random_state=0),
    RandomForestClassifier(3, random_state=0),
    GradientBoostingClassifier(n_estimators=2, random_state=0),
    BaggingClassifier(DecisionTreeClassifier(), n_estimators=2, random_state=0),
]


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    return X, (X[:, 0] + rng.normal(size=40) > 0).astype(int)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_a_head_comes_back_the_same(
    head: Any, table: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = table
    head.fit(X, y)
    data = to_bytes(head, "the head")
    check_types(data, "head.skops")
    back = from_bytes(data, "head.skops")
    assert same(back.predict_proba(X), head.predict_proba(X))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        pytest.param(
            HistGradientBoostingClassifier(max_iter=1),
            "a HistGradientBoostingClassifier is not among",
            id="boosting",
        ),
        pytest.param(
            GradientBoostingClassifier(init=LogisticRegression(), n_estimators=1),
            r"has init=LogisticRegression\(\), .* Expected init=None",
            id="init",
        ),
        pytest.param(
            make_pipeline(SelectKBest(k=2), LogisticRegression()),
            "f_classif",
            id="function",
        ),
        pytest.param(
            make_pipeline(SelectFromModel(SVR(kernel="linear")), LogisticRegression()),
            "a SVR is not among",
            id="regression",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Pipeline instance is not fitted")
def test_a_head_that_no_folder_holds_is_refused_before_and_after_its_fit(
    head: Any, words: str, table: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ModelFolderError, match=rf"the head cannot be saved: .*{words}"):
        check_can_be_saved([("a", head)], "the head")
    with pytest.raises(ModelFolderError, match=rf"the head cannot be saved: .*{words}"):
        to_bytes(head.fit(*table), "the head")


@pytest.mark.parametrize("head", [None, "auto", *HEADS, [("a", GaussianNB())]])
def test_a_head_that_a_folder_holds_passes_before_its_fit(head: Any) -> None:
    check_can_be_saved(head, "the head")


def test_weights_of_boolean_labels_come_back() -> None:
    head = LogisticRegression(class_weight={True: 5, False: 1})
    data = to_bytes({"steps": [("head", head)]}, "the head")
    back = from_bytes(data, "head.skops")["steps"][0][1]
    assert back.class_weight == {True: 5, False: 1}
    assert head.class_weight == {True: 5, False: 1}
    assert all(isinstance(key, bool) for key in head.class_weight)


def test_what_changes_on_the_way_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="a mapping with both 1 and '1' as keys"):
        to_bytes({"weights": {1: 2, "1": 3}}, "the head")


def test_a_file_that_grows_is_refused_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = to_bytes(np.zeros(10**6), "the head")
    monkeypatch.setattr("mmevent.persistence.files._SMALL", 10**6)
    with pytest.raises(ModelFolderError, match=r"branch\.md would fill the memory"):
        from_bytes(data, "branch.md")


def test_metadata_requests_come_back(table: tuple[np.ndarray, np.ndarray]) -> None:
    with config_context(enable_metadata_routing=True):
        asking = LogisticRegression().set_fit_request(sample_weight="weight")
        pipeline = make_pipeline(StandardScaler(), asking).fit(*table)
        back = from_bytes(to_bytes(pipeline, "the pipeline"), "pipeline.skops")
        requests = back[-1].get_metadata_routing().fit.requests
    assert requests == {"sample_weight": "weight"}
    assert isinstance(
        vars(asking)["_metadata_request"], type(back[-1]._metadata_request)
    )


def test_a_vocabulary_of_numpy_numbers_is_written_as_plain_ones() -> None:
    texts = ["a march in the city", "a quiet day in the city"]
    vectorizer = TfidfVectorizer(max_features=3).fit(texts)
    back = from_bytes(to_bytes(vectorizer, "the words"), "words.skops")
    assert {type(column) for column in back.vocabulary_.values()} == {int}
    assert (back.transform(texts) != vectorizer.transform(texts)).nnz == 0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param(np.array([1.0, np.nan]), np.array([1.0, np.nan]), True, id="nan"),
        pytest.param(np.array([1]), np.array([1.0]), False, id="dtype"),
        pytest.param(np.array([1]), np.array([[1]]), False, id="shape"),
        pytest.param(float("nan"), float("nan"), True, id="scalar-nan"),
        pytest.param(1, True, False, id="type"),
        pytest.param({"a": [1, (2,)]}, {"a": [1, (2,)]}, True, id="nested"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, False, id="order"),
        pytest.param({1, 2}, {2, 1}, True, id="sets"),
        pytest.param(csr_matrix([[0, 1]]), csr_matrix([[0, 1]]), True, id="sparse"),
        pytest.param(
            csr_matrix([[0, 1]]), csr_matrix([[0, 2]]), False, id="sparse-not"
        ),
        pytest.param(
            np.array([None, "a"], dtype=object),
            np.array([None, "b"], dtype=object),
            False,
            id="objects",
        ),
        pytest.param(
            np.ma.MaskedArray([1, 2], [True, False]),
            np.ma.MaskedArray([1, 2], [False, False]),
            False,
            id="mask",
        ),
        pytest.param(LogisticRegression(C=1), LogisticRegression(C=1), True, id="same"),
        pytest.param(LogisticRegression(C=1), LogisticRegression(C=2), False, id="not"),
    ],
)
def test_same(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected


# What a detector refuses to save, and what load refuses to build


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
        pytest.param({"cv": Halves()}, r"Halves.*set_params\(cv=5\)", id="splitter"),
    ],
)
def test_what_cannot_be_loaded_back_is_refused_at_save_time(
    parameters: dict[str, Any],
    words: str,
    coded: Coded,
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


# Which types a file may name


OURS = [name for name in TRUSTED if name.startswith("mmevent.")]


@pytest.mark.parametrize("name", OURS)
def test_a_trusted_type_of_ours_is_public_by_the_path_that_is_recorded(
    name: str,
) -> None:
    module, _, kind = name.rpartition(".")
    found = getattr(import_module(module), kind)
    assert f"{found.__module__}.{found.__qualname__}" == name
    assert not any(part.startswith("_") for part in name.split("."))
    package = import_module(".".join(module.split(".")[:2]))
    assert kind in package.__all__
    assert getattr(package, kind) is found


def test_every_type_of_ours_that_can_be_a_parameter_is_trusted() -> None:
    branches, encoders = (
        import_module("mmevent.branches"),
        import_module("mmevent.encoders"),
    )
    kinds = [getattr(m, name) for m in (branches, encoders) for name in m.__all__]
    estimators = [
        k for k in kinds if isinstance(k, type) and issubclass(k, BaseEstimator)
    ]
    assert len(estimators) == 6
    for kind in (*estimators, FalsePositiveFilter, ForwardInTime, ImageStatistics):
        assert f"{kind.__module__}.{kind.__qualname__}" in TRUSTED


def test_a_saved_folder_names_public_paths(coded: Coded, tmp_path: Path) -> None:
    posts, y = coded
    detector = demo_detector(
        cv=ForwardInTime(2), second_stage=FalsePositiveFilter(only_if_better=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MmeventWarning)
        detector.fit(posts, y).save(tmp_path / "model")
    ours = ours_in(tmp_path / "model")
    assert {"ForwardInTime", "FalsePositiveFilter", "ImageStatistics"} == {
        name.rpartition(".")[2] for name in ours
    }
    assert ours <= set(TRUSTED)
    assert not any(part.startswith("_") for name in ours for part in name.split("."))


@pytest.mark.parametrize(
    "value",
    [
        TextClassifier(TextEncoder("a/b"), head=LogisticRegression()),
        ImageClassifier(ImageEncoder("a/b")),
        ImageClassifier(ClipEncoder("RN50", pretrained="openai")),
        ClipZeroShotClassifier("a march", ["a dog"]),
        TextClassifier(TextEncoder(Path("a", "b"), cache=Path("c"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_classifier_of_ours_comes_back_with_its_parameters(value: Any) -> None:
    data = to_bytes({"text": value}, "the parameters")
    assert {name for name in named_in(data) if name.startswith("mmevent")} <= set(OURS)
    back = from_bytes(data, "parameters.skops")["text"]
    assert type(back) is type(value)
    found, given = back.get_params(), value.get_params()
    assert found.keys() == given.keys()
    for name, parameter in given.items():
        if isinstance(parameter, (str, Path, int, float, tuple, list, type(None))):
            known = str(parameter) if isinstance(parameter, Path) else parameter
            assert found[name] == known, name
