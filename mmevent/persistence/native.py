"""Parts of estimators that compiled code uses without a check: trees, SVMs and others.

There, a wrong number in a file is an address in memory: it crashes the process, or does
worse. What skops builds from a file is therefore checked before it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClusterMixin, OutlierMixin, is_classifier
from sklearn.cluster._kmeans import _BaseKMeans
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import (
    BaseHistGradientBoosting,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.multiclass import (
    OneVsOneClassifier,
    OneVsRestClassifier,
    OutputCodeClassifier,
)
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import (
    KernelDensity,
    KNeighborsTransformer,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
    RadiusNeighborsTransformer,
)
from sklearn.neighbors._base import NeighborsBase
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.svm._base import BaseLibSVM
from sklearn.tree import BaseDecisionTree, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from mmevent._walk import walk
from mmevent.exceptions import ModelFolderError
from mmevent.persistence.sparse import check_sparse

# Not for two classes of texts or pictures. They make matrices by numbers of the file,
# or by results of parts of theirs, whatever shape these have.
_UNFIT = (
    *(ClassifierChain, MultiOutputClassifier, OneVsOneClassifier, OneVsRestClassifier),
    OutputCodeClassifier,
    *(OutlierMixin, ClusterMixin, DictVectorizer, KernelDensity),
    *(KNeighborsTransformer, OneHotEncoder, OrdinalEncoder, RandomTreesEmbedding),
    *(RadiusNeighborsClassifier, RadiusNeighborsRegressor, RadiusNeighborsTransformer),
    *(TargetEncoder, np.random.Generator, BaseHistGradientBoosting),
)
_BINARY_LOSSES = ("HalfBinomialLoss", "ExponentialLoss")
_STATE_OF_MT19937 = 624


def check_kinds(value: Any, what: str) -> None:
    """Validate that a value, fitted or not, holds no estimator that cannot be checked.

    Parameters
    ----------
    value : object
        An estimator, or what holds some.
    what : str
        Begins the message, such as "the text branch cannot be saved".

    Raises
    ------
    ModelFolderError
        For the first that could not come back from a folder.
    """
    for part in walk(value):
        name = type(part).__name__
        if _is_unfit(part):
            raise ModelFolderError(
                f"{what}: a {name} is not among the estimators that a model folder may "
                f"hold, since its fitted parts cannot be checked when they are loaded. "
                f"Use another estimator, and fit again."
            )
        if isinstance(part, BaseGradientBoosting) and not _is_known_start(part.init):
            raise ModelFolderError(
                f"{what}: {name} has init={part.init!r}, which no model folder may "
                f"hold. Expected init=None or init='zero'. Set it, and fit again."
            )


def _is_unfit(part: Any) -> bool:
    only_classifiers = isinstance(part, (BaseGradientBoosting, BaseLibSVM))
    return (isinstance(part, _UNFIT) and not isinstance(part, _BaseKMeans)) or (
        only_classifiers and not is_classifier(part)
    )


def _is_known_start(init: Any) -> bool:
    known = init is None or isinstance(init, DummyClassifier)
    return known or (isinstance(init, str) and init == "zero")


def check_parts(value: Any) -> None:
    """Validate all that compiled code will read within a value.

    Raises
    ------
    ValueError
        If something could not have come out of a fit.
    """
    parts = list(walk(value))
    owned = {
        id(getattr(part, "tree_", None))
        for part in parts
        if isinstance(part, BaseDecisionTree)
    }
    for part in parts:
        if isinstance(part, Tree) and id(part) not in owned:
            raise ValueError("a tree is in another place than a decision tree")
        if issparse(part):
            check_sparse(part)
        for kind, check in _CHECKS.items():
            if isinstance(part, kind):
                check(part)
        if isinstance(getattr(part, "vocabulary_", None), dict):
            _check_vocabulary(part.vocabulary_)


def _check_tree(estimator: Any) -> None:
    """Validate that a tree's nodes form one tree, and use existing features."""
    tree = getattr(estimator, "tree_", None)
    if tree is None:
        return
    if not isinstance(tree, Tree):
        raise ValueError(f"a decision tree holds a {type(tree).__name__}, not a tree")
    n, width = tree.node_count, estimator.n_features_in_
    if not 0 < n <= tree.capacity or tree.n_features != width:
        raise ValueError("a tree has another size than it says")
    node = np.arange(n)
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = (node < left) & (left < n) & (node < right) & (right < n)
    inner &= (feature >= 0) & (feature < width)
    if not ((left == -1) | inner).all():
        raise ValueError("a tree has nodes that lead nowhere")
    children = np.sort(np.concatenate([left[inner], right[inner]]))
    if not np.array_equal(children, node[1:]):
        raise ValueError("a tree has nodes with several parents, or with none")
    if _depth(left, right) > tree.max_depth:
        raise ValueError("a tree is deeper than it says")


def _depth(left: Any, right: Any) -> int:
    depth, level = -1, np.array([0])
    while level.size:
        depth += 1
        level = level[left[level] != -1]
        level = np.concatenate([left[level], right[level]])
    return depth


def _check_ensemble(ensemble: Any) -> None:
    """Validate that trees have the width of the ensemble, which checks inputs."""
    trees = np.ravel(getattr(ensemble, "estimators_", [])).tolist()
    if not all(isinstance(tree, BaseDecisionTree) for tree in trees):
        raise ValueError("an ensemble of trees holds something else")
    if any(tree.n_features_in_ != ensemble.n_features_in_ for tree in trees):
        raise ValueError("a tree looks at other features than its ensemble")


def _check_boosting(ensemble: Any) -> None:
    """Validate that the trees of a binary classifier add to one number a row."""
    _check_ensemble(ensemble)
    trees = getattr(ensemble, "estimators_", None)
    if trees is None:
        return
    first = getattr(ensemble, "init_", None)
    fits = (
        is_classifier(ensemble)
        and np.shape(trees) == (len(trees), 1)
        and ensemble.n_trees_per_iteration_ == 1
        and type(ensemble._loss).__name__ in _BINARY_LOSSES
        and (isinstance(first, DummyClassifier) or first == "zero")
    )
    if not fits:
        raise ValueError("a boosted ensemble is not one of two classes")
    for tree in np.ravel(trees).tolist():
        regressor = isinstance(tree, DecisionTreeRegressor)
        if not regressor or tree.tree_.value.shape[1:] != (1, 1):
            raise ValueError("a boosted tree gives something else than one number")


def _check_svm(svm: Any) -> None:
    """Validate that the arrays of a support vector machine fit to each other."""
    if not hasattr(svm, "support_"):
        return
    n, vectors, dual = len(svm.support_), svm.support_vectors_, svm._dual_coef_
    counts = svm._n_support
    k = len(counts)
    pairs, precomputed = k * (k - 1) // 2, svm.kernel == "precomputed"
    if sparse := issparse(vectors):  # rows are read, whatever the format
        by_rows = issparse(dual) and dual.format == vectors.format == "csr"
        if precomputed or not by_rows:
            raise ValueError("a support vector machine has matrices of another format")
        dual = dual.data.reshape(-1, n)
    fits = (
        is_classifier(svm)
        and svm._impl == type(svm)._impl
        and isinstance(svm.kernel, str)
        and bool(svm._sparse) == sparse
        and k == len(svm.classes_) > 1
        and (np.asarray(counts) >= 0).all()
        and np.sum(counts) == n > 0
        and dual.shape == (k - 1, n)
        and np.shape(svm._intercept_) == (pairs,)
        and np.shape(svm._probA) == np.shape(svm._probB)
        and np.shape(svm._probA) in ((0,), (pairs,))
        and (precomputed or vectors.shape == (n, svm.n_features_in_))
        and np.min(svm.support_) >= 0
        and np.max(svm.support_) < svm.shape_fit_[0]
    )
    if not fits:
        raise ValueError("the arrays of a support vector machine do not fit together")


def _check_neighbours(estimator: Any) -> None:
    """Validate that there is one label for each row that neighbours are found in."""
    if not hasattr(estimator, "_fit_X"):
        return
    rows, labels = estimator._fit_X.shape[0], getattr(estimator, "_y", None)
    fits = (
        estimator._fit_X.shape == (estimator.n_samples_fit_, estimator.n_features_in_)
        and (labels is None or np.shape(labels)[:1] == (rows,))
        and isinstance(estimator.n_neighbors, (int, np.integer))
        and 1 <= estimator.n_neighbors <= rows
        and (not is_classifier(estimator) or _are_codes(labels, estimator))
    )
    if not fits:
        raise ValueError("neighbours have other labels or features than they say")


def _are_codes(labels: Any, classifier: Any) -> bool:
    """Whether each label is the number of a class: a place in an array of votes."""
    return (
        isinstance(labels, np.ndarray)
        and labels.dtype.kind == "i"
        and labels.ndim == 1
        and not classifier.outputs_2d_
        and bool(((labels >= 0) & (labels < len(classifier.classes_))).all())
    )


def _check_centres(estimator: Any) -> None:
    centres = getattr(estimator, "cluster_centers_", None)
    if centres is not None and np.shape(centres)[1:] != (estimator.n_features_in_,):
        raise ValueError("cluster centres have other features than they say")


def _check_random_state(state: np.random.RandomState) -> None:
    known: Any = state.get_state(legacy=False)
    if not 0 <= known["state"]["pos"] <= _STATE_OF_MT19937:
        raise ValueError("a random generator reads beyond its state")


def _check_vocabulary(vocabulary: dict[Any, Any]) -> None:
    """Validate that each word has a column of its own, of the matrix that is made."""
    columns = list(vocabulary.values())
    whole = all(type(column) is int for column in columns)
    if not whole or sorted(columns) != list(range(len(columns))):
        raise ValueError("a vocabulary has columns that its matrix lacks")


_CHECKS: dict[type, Any] = {
    BaseDecisionTree: _check_tree,
    BaseForest: _check_ensemble,
    BaseGradientBoosting: _check_boosting,
    BaseLibSVM: _check_svm,
    NeighborsBase: _check_neighbours,
    _BaseKMeans: _check_centres,
    np.random.RandomState: _check_random_state,
}
