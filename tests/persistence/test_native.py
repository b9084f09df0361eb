"""Arrays that compiled code would read by the numbers of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import csc_matrix, csr_matrix, dia_matrix
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, NuSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch

from mmevent.exceptions import ModelFolderError
from mmevent.persistence.native import check_parts
from mmevent.persistence.objects import from_bytes, to_bytes

Table = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def table() -> Table:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    return X, (X[:, 0] + rng.normal(size=40) > 0).astype(int)


def with_nodes(fitted: Any, node: int = 0, **columns: int) -> Any:
    """Change a node of a tree."""
    state = fitted.tree_.__getstate__()
    nodes = state["nodes"].copy()
    for name, value in columns.items():
        nodes[name][node] = value
    fitted.tree_.__setstate__(state | {"nodes": nodes})
    return fitted


def refused(value: Any, words: str) -> None:
    with pytest.raises(ModelFolderError, match=words):
        from_bytes(skops.io.dumps(value), "part.skops")


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
    columns: dict[str, int], table: Table
) -> None:
    tree = with_nodes(DecisionTreeClassifier().fit(*table), **columns)
    refused(tree, "nodes that lead nowhere")


def test_nodes_that_share_a_child_are_refused(table: Table) -> None:
    tree = DecisionTreeClassifier().fit(*table)
    shared = with_nodes(tree, right_child=int(tree.tree_.children_left[0]))
    refused(shared, "several parents, or with none")


def test_a_tree_that_is_deeper_than_it_says_is_refused(table: Table) -> None:
    tree = DecisionTreeClassifier().fit(*table)
    state = tree.tree_.__getstate__()
    tree.tree_.__setstate__(state | {"max_depth": 1})
    refused(tree, "deeper than it says")


def test_a_tree_that_is_wider_than_its_input_is_refused(table: Table) -> None:
    tree = DecisionTreeClassifier().fit(*table)
    tree.n_features_in_ = 1
    refused(tree, "another size than it says")


def test_a_forest_of_trees_of_another_width_is_refused(table: Table) -> None:
    forest = RandomForestClassifier(2).fit(*table)
    forest.n_features_in_ = 3
    refused(forest, "other features than its ensemble")


@pytest.mark.parametrize("depth", [None, 2])
@pytest.mark.parametrize("leaves", [None, 6])
@pytest.mark.parametrize("pruned", [0.0, 0.02])
def test_every_way_to_grow_a_tree_passes(
    depth: int | None, leaves: int | None, pruned: float, table: Table
) -> None:
    ways: dict[str, Any] = {"max_leaf_nodes": leaves, "ccp_alpha": pruned}
    for kind in (DecisionTreeClassifier, ExtraTreesClassifier):
        more = {} if kind is DecisionTreeClassifier else {"n_estimators": 2}
        check_parts(kind(max_depth=depth, **ways, **more).fit(*table))


# Where a tree may stand


@pytest.mark.parametrize(
    "kind",
    [GradientBoostingClassifier, RandomForestClassifier],
    ids=lambda k: k.__name__,
)
def test_a_made_up_tree_in_an_ensemble_is_refused(kind: Any, table: Table) -> None:
    ensemble = kind(n_estimators=1).fit(*table)
    trees = np.ravel(ensemble.estimators_)
    hidden = Bunch(tree_=with_nodes(trees[0], left_child=10**8).tree_, n_features_in_=4)
    if isinstance(ensemble.estimators_, np.ndarray):
        ensemble.estimators_[0, 0] = hidden
    else:
        ensemble.estimators_[0] = hidden
    refused(ensemble, "in another place|holds something else")


def boosted_columns(ensemble: Any) -> None:
    ensemble.estimators_ = np.hstack([ensemble.estimators_] * 2)


def boosted_start(ensemble: Any) -> None:
    ensemble.init_ = LogisticRegression()


def boosted_outputs(ensemble: Any) -> None:
    ensemble.n_trees_per_iteration_ = 0


@pytest.mark.parametrize("change", [boosted_columns, boosted_start, boosted_outputs])
def test_boosting_that_would_write_beyond_its_result_is_refused(
    change: Callable[[Any], None], table: Table
) -> None:
    ensemble = GradientBoostingClassifier(n_estimators=2).fit(*table)
    check_parts(ensemble)
    change(ensemble)
    refused(ensemble, "is not one of two classes")


# Other compiled code


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("support_", lambda a: a[:-1], id="support"),
        pytest.param("support_", lambda a: a + 10**6, id="support-beyond"),
        pytest.param("support_vectors_", lambda a: a[:, :2], id="vectors-narrow"),
        pytest.param("support_vectors_", lambda a: a[:3], id="vectors-few"),
        pytest.param("_n_support", lambda a: a[:1], id="one-class"),
        pytest.param("_n_support", lambda a: a + [1, -1], id="counts-moved"),
        pytest.param("_n_support", lambda a: a * 1000, id="counts"),
        pytest.param("_dual_coef_", lambda a: a[:, :2], id="coefficients"),
        pytest.param("_intercept_", lambda a: a[:0], id="intercept"),
        pytest.param("_probA", lambda a: np.ones(3), id="probabilities"),
    ],
)
@pytest.mark.parametrize("kernel", ["rbf", "precomputed"])
def test_a_support_vector_machine_that_does_not_fit_together_is_refused(
    name: str, change: Callable[[Any], Any], kernel: str, table: Table
) -> None:
    X, y = table
    svm = SVC(kernel=kernel).fit(X @ X.T if kernel == "precomputed" else X, y)
    check_parts(svm)
    setattr(svm, name, np.ascontiguousarray(change(getattr(svm, name))))
    if (kernel, name) == ("precomputed", "support_vectors_") or "moved" in name:
        return  # not read
    if name == "_n_support" and svm._n_support.sum() == len(svm.support_):
        return  # another order of classes: wrong, and within its arrays
    refused(svm, "do not fit together")


def test_a_support_vector_machine_of_another_kind_is_refused(table: Table) -> None:
    svm = NuSVC().fit(*table)
    svm._impl = "one_class"
    refused(svm, "do not fit together")


@pytest.mark.parametrize("name", ["support_vectors_", "_dual_coef_"])
@pytest.mark.parametrize("change", [csc_matrix, lambda matrix: matrix.toarray()])
def test_a_support_vector_machine_by_columns_is_refused(
    name: str, change: Callable[[Any], Any], table: Table
) -> None:
    X, y = table
    svm = SVC().fit(csr_matrix(X), y)
    check_parts(svm)
    setattr(svm, name, change(getattr(svm, name)))
    refused(svm, "of another format|do not fit together")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"_y": np.full(40, 10**9)}, id="beyond"),
        pytest.param({"_y": np.full(40, 2)}, id="one-beyond"),
        pytest.param({"_y": np.full(40, -1)}, id="below"),
        pytest.param({"_y": np.zeros(40)}, id="floats"),
        pytest.param({"_y": np.zeros((40, 1), int)}, id="two-dimensions"),
        pytest.param({"_y": [0] * 40}, id="list"),
        pytest.param({"outputs_2d_": True}, id="several-outputs"),
        pytest.param({"classes_": np.array([0])}, id="fewer-classes"),
        pytest.param({"n_neighbors": 0}, id="no-neighbour"),
        pytest.param({"n_neighbors": 2.5}, id="half-a-neighbour"),
    ],
)
def test_neighbours_that_vote_for_no_class_are_refused(
    change: dict[str, Any], table: Table
) -> None:
    near = KNeighborsClassifier(algorithm="brute", metric="manhattan").fit(*table)
    check_parts(near)
    vars(near).update(change)
    refused(near, "other labels or features")


def test_a_tree_that_only_looks_like_one_is_refused(table: Table) -> None:
    tree = DecisionTreeClassifier().fit(*table)
    names = ("node_count", "capacity", "n_features", "max_depth", "feature")
    arrays = ("children_left", "children_right")
    tree.tree_ = Bunch(**{n: getattr(tree.tree_, n) for n in (*names, *arrays)})
    refused(tree, "holds a Bunch, not a tree")


def test_neighbours_without_labels_are_refused(table: Table) -> None:
    neighbours = KNeighborsClassifier(algorithm="brute").fit(*table)
    check_parts(neighbours)
    neighbours._y = neighbours._y[:3]
    refused(neighbours, "other labels or features")


def test_centres_of_another_width_are_refused(table: Table) -> None:
    means = KMeans(2, n_init=1).fit(table[0])
    check_parts(means)
    means.cluster_centers_ = means.cluster_centers_[:, :1]
    refused(means, "cluster centres")


@pytest.mark.parametrize("column", [10**8, -5, 0, 1.0])
def test_a_word_without_a_column_is_refused(column: Any) -> None:
    words = CountVectorizer().fit(["a quiet day", "a loud march"])
    check_parts(words)
    words.vocabulary_["march"] = column
    refused(words, "columns that its matrix lacks")


def test_a_random_generator_beyond_its_state_is_refused() -> None:
    state = np.random.RandomState(0)
    known: Any = state.get_state(legacy=False)
    known["state"]["pos"] = 10**9
    state.set_state(known)
    refused(LogisticRegression(random_state=state), "beyond its state")


def test_a_sparse_matrix_that_load_refuses_is_not_saved() -> None:
    with pytest.raises(ValueError, match="of the format dia"):
        check_parts([dia_matrix(np.eye(3))])


def test_a_sparse_matrix_that_points_beyond_itself_is_refused() -> None:
    matrix = csr_matrix(np.eye(3))
    matrix.indices[0] = 10**6
    with pytest.raises(ValueError, match="indices"):
        check_parts([matrix])


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=2),
        OneHotEncoder(),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_that_is_no_part_of_a_branch_is_refused(
    estimator: Any, table: Table
) -> None:
    fitted = make_pipeline(estimator).fit(table[0].round(), table[1])
    with pytest.raises(ModelFolderError, match="the head cannot be saved: .*not among"):
        to_bytes(fitted, "the head")
    refused(fitted, "not among the estimators")


def test_an_ensemble_that_checks_its_input_passes(table: Table) -> None:
    check_parts(AdaBoostClassifier(n_estimators=2).fit(*table))
