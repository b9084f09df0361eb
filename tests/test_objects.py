"""Estimators through skops: what comes back, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import csr_matrix
from sklearn import config_context
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
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mmevent._objects import check_types, from_bytes, same, to_bytes, walk
from mmevent.exceptions import ModelFolderError

HEADS = [
    LogisticRegression(),
    CalibratedClassifierCV(LinearSVC(), cv=2, ensemble=False),
    CalibratedClassifierCV(LinearSVC(), cv=2, method="isotonic"),
    SGDClassifier(loss="log_loss", random_state=0),
    MLPClassifier(max_iter=3, random_state=0),
    GaussianProcessClassifier(RBF() + WhiteKernel()),
    KNeighborsClassifier(algorithm="brute"),
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
            HistGradientBoostingClassifier(max_iter=1), "TreePredictor", id="boosting"
        ),
        pytest.param(
            KNeighborsClassifier(algorithm="kd_tree"), "KDTree", id="neighbours"
        ),
    ],
)
def test_a_head_that_skops_holds_unsafe_is_refused(
    head: Any, words: str, table: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(ModelFolderError, match=rf"the head cannot be saved: .*{words}"):
        to_bytes(head.fit(*table), "the head")


def with_nodes(fitted: Any, **columns: int) -> Any:
    """Change the first node of a tree."""
    state = fitted.tree_.__getstate__()
    nodes = state["nodes"].copy()
    for name, value in columns.items():
        nodes[name][0] = value
    fitted.tree_.__setstate__(state | {"nodes": nodes})
    return fitted


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"left_child": 9999}, id="beyond-the-nodes"),
        pytest.param({"right_child": -7}, id="before-the-nodes"),
        pytest.param({"left_child": 0}, id="to-itself"),
        pytest.param({"feature": 9999}, id="absent-feature"),
        pytest.param({"feature": -3}, id="negative-feature"),
    ],
)
def test_a_tree_that_would_read_beyond_memory_is_refused(
    columns: dict[str, int], table: tuple[np.ndarray, np.ndarray]
) -> None:
    tree = with_nodes(DecisionTreeClassifier().fit(*table), **columns)
    with pytest.raises(ModelFolderError, match="nodes that lead nowhere"):
        from_bytes(skops.io.dumps(tree), "tree.skops")


def test_a_tree_that_is_wider_than_its_input_is_refused(
    table: tuple[np.ndarray, np.ndarray],
) -> None:
    tree = DecisionTreeClassifier().fit(*table)
    tree.n_features_in_ = 1
    with pytest.raises(ModelFolderError, match="another size than it says"):
        from_bytes(skops.io.dumps(tree), "tree.skops")


def test_a_forest_of_trees_of_another_width_is_refused(
    table: tuple[np.ndarray, np.ndarray],
) -> None:
    forest = RandomForestClassifier(2).fit(*table)
    forest.n_features_in_ = 3
    with pytest.raises(ModelFolderError, match="other features than its ensemble"):
        from_bytes(skops.io.dumps(forest), "forest.skops")


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


def test_walk_meets_each_part_once_however_deep() -> None:
    inner = LogisticRegression()
    parts = list(
        walk({"a": [inner, (inner,)], "b": np.array([inner, None], dtype=object)})
    )
    assert [part for part in parts if isinstance(part, LogisticRegression)] == [inner]
