"""The head: the classifier of an encoder's features."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import shared_context
from mmevent.exceptions import InputError
from mmevent.posts.labels import check_seed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FALLBACK_C = 1e-2
_N_FOLDS = 3
# StratifiedGroupKFold weighs every group against every fold in Python: above some
# hundreds of groups that lasts as long as all the fits do.
_MANY_GROUPS = 200


def fit_head(
    embeddings: NDArray[Any],
    y: ArrayLike,
    *,
    head: Any = None,
    class_weight: Mapping[Any, float] | str | None = "balanced",
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    """Fit a head on embeddings and return it, a plain scikit-learn classifier.

    Rows of one group are never split. The default is a logistic regression on
    standardised embeddings, its `C` chosen from `C_GRID` by log loss in grouped folds
    of these rows; a `head` of the caller's is cloned, and calibrated by a sigmoid on
    the same folds where it gives no probabilities.
    """
    from sklearn import config_context
    from sklearn.utils import check_random_state

    check_head(head, class_weight)
    labels = np.asarray(y)
    group = np.arange(len(labels)) if groups is None else np.asarray(groups)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
    seed = None
    if random_state is not None:
        seed = int(check_random_state(check_seed(random_state)).randint(2**31 - 1))
    with config_context(enable_metadata_routing=False), one_blas_thread():
        if head is not None:
            return _fit_custom(head, embeddings, labels, weight, group, seed)
        weight = balanced_weight(labels, class_weight, weight)
        return _fit_logistic(embeddings, labels, weight, group, seed)


def check_head(
    head: object, class_weight: Mapping[Any, float] | str | None = None
) -> None:
    """Validate `head` and `class_weight`, before anything is encoded."""
    from sklearn.base import is_classifier

    instance = hasattr(head, "fit") and not isinstance(head, type)
    if head is not None and not (instance and is_classifier(head)):
        msg = (
            f"`head` must be None or a scikit-learn classifier; got {head!r}. Pass for "
            f"example head=LinearSVC()."
        )
        raise InputError(msg)
    known = class_weight is None or isinstance(class_weight, Mapping)
    if not known and class_weight != "balanced":
        msg = (
            f"`class_weight` must be 'balanced', None or a mapping from label to "
            f"weight; got {class_weight!r}. Use class_weight='balanced'."
        )
        raise InputError(msg)


def balanced_weight(
    y: NDArray[Any],
    class_weight: Mapping[Any, float] | str | None,
    sample_weight: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return sample weights times class weights.

    Balanced ones give every class the same total under the sample weights.
    """
    classes, codes = np.unique(y, return_inverse=True)
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    if class_weight is None:
        return weight
    if isinstance(class_weight, Mapping):
        factors = _factors(class_weight, classes)
    else:
        factors = weight.sum() / (len(classes) * np.bincount(codes, weights=weight))
    return np.asarray(weight * factors[codes], dtype=np.float64)


def _factors(weights: Mapping[Any, float], classes: NDArray[Any]) -> NDArray[Any]:
    """Return the weight of each class, 1 where none is given for it."""
    known = classes.tolist()
    factors = np.array([weights.get(label, 1.0) for label in known], dtype=object)
    usable = all(
        isinstance(factor, (int, float, np.number)) and 0 <= factor < np.inf
        for factor in factors
    )
    strangers = [label for label in weights if label not in known]
    if not usable or (strangers and not set(known) <= set(weights)):
        raise InputError(
            f"`class_weight` must map labels to finite weights of 0 or more; got "
            f"{dict(weights)!r} for the labels {known}. Name these labels."
        )
    return factors.astype(np.float64)


def grouped_folds(
    y: NDArray[Any],
    groups: NDArray[Any],
    seed: int | None = None,
    *,
    n_folds: int = _N_FOLDS,
) -> list[Fold]:
    """Split rows into stratified folds that leave groups whole.

    There are fewer where the rarest class has fewer groups, and none below two.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    classes, codes = np.unique(y, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    spread = np.array([len(np.unique(group[codes == c])) for c in range(len(classes))])
    n_folds = min(n_folds, int(spread.min()))
    if n_folds < 2:
        return []
    shuffle: dict[str, Any] = {"shuffle": seed is not None, "random_state": seed}
    with warnings.catch_warnings():
        # The splitters count rows; the number of groups was dealt with above.
        warnings.filterwarnings("ignore", "The least populated class")
        if len(names) <= _MANY_GROUPS:
            splitter = StratifiedGroupKFold(n_folds, **shuffle)
            folds = list(splitter.split(codes, codes, group))
        else:
            # A group counts as the rarest of its classes.
            rank = np.argsort(np.argsort(spread, kind="stable"))
            rarest = np.full(len(names), len(classes))
            np.minimum.at(rarest, group, rank[codes])
            part = np.empty(len(names), dtype=int)
            parts = StratifiedKFold(n_folds, **shuffle).split(rarest, rarest)
            for k, (_, test) in enumerate(parts):
                part[test] = k
            fold = part[group]
            folds = [
                (np.flatnonzero(fold != k), np.flatnonzero(fold == k))
                for k in range(n_folds)
            ]
    # Groups that hold several classes can still leave one out of a training part.
    return [f for f in folds if len(np.unique(codes[f[0]])) == len(classes)]


def _fit_logistic(
    embeddings: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[np.float64],
    groups: NDArray[Any],
    seed: int | None,
) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    exact = np.asarray(embeddings, dtype=np.float64)
    scaler = StandardScaler().fit(exact)
    # What varies by rounding alone would else become noise as large as any feature.
    rounding = np.finfo(np.float32).eps * np.linalg.norm(exact, axis=1).mean()
    scaler.scale_[scaler.scale_ < rounding] = 1.0
    scaled = scaler.transform(exact)
    folds = grouped_folds(y, groups, seed)
    strength = _best_c(scaled, y, weight, folds) if folds else _FALLBACK_C
    logistic = LogisticRegression(C=strength, tol=1e-6, max_iter=10_000)
    logistic.fit(scaled, y, sample_weight=weight)
    return Pipeline([("scale", scaler), ("logistic", logistic)])


def _best_c(
    scaled: NDArray[np.float64],
    y: NDArray[Any],
    weight: NDArray[np.float64],
    folds: list[Fold],
) -> float:
    """Return the `C` of least weighted log loss over all folds' test rows.

    Warm-started fits in single precision rank the grid as exact ones do, in a fifth
    of the time; LogisticRegressionCV would stop path and final fit at one tolerance.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    single = scaled.astype(np.float32)
    losses = np.zeros(len(C_GRID))
    for train, test in folds:
        x = single[train]
        logistic = LogisticRegression(tol=1e-4, max_iter=2000, warm_start=True)
        for i, strength in enumerate(C_GRID):
            logistic.set_params(C=strength)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                logistic.fit(x, y[train], sample_weight=weight[train])
            evidence = logistic.decision_function(single[test]).astype(np.float64)
            losses[i] += weight[test] @ _log_loss(evidence, y[test], logistic.classes_)
    return C_GRID[int(np.argmin(losses))]


def _log_loss(
    evidence: NDArray[np.float64], y: NDArray[Any], classes: NDArray[Any]
) -> NDArray[np.float64]:
    """Return each row's log loss from its linear evidence, safe from overflow."""
    if evidence.ndim == 1:
        evidence = np.column_stack([np.zeros(len(evidence)), evidence])
    true = evidence[np.arange(len(y)), np.searchsorted(classes, y)]
    total: NDArray[np.float64] = np.logaddexp.reduce(evidence, axis=1)
    return total - true


def _fit_custom(
    head: Any,
    embeddings: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[np.float64] | None,
    groups: NDArray[Any],
    seed: int | None,
) -> Any:
    from sklearn.base import clone
    from sklearn.calibration import CalibratedClassifierCV

    fitted = seeded(clone(head), seed)
    weights = _weight_arguments(fitted, weight)
    if hasattr(fitted, "predict_proba"):
        return fitted.fit(embeddings, y, **weights)
    folds = grouped_folds(y, groups, seed)
    if not hasattr(fitted, "decision_function") or not folds:
        msg = (
            f"`head` must give probabilities, or a decision_function to calibrate on "
            f"at least 2 groups of each class; got {head!r} with {len(folds)} folds. "
            f"Use a head with predict_proba, such as LogisticRegression()."
        )
        raise InputError(msg)
    calibrated = CalibratedClassifierCV(fitted, cv=folds, ensemble=False)
    with warnings.catch_warnings():
        # The weights of a pipeline's last step reach it all the same.
        warnings.filterwarnings("ignore", ".*does not appear to accept sample_weight")
        weights.pop("sample_weight", None)
        return calibrated.fit(embeddings, y, sample_weight=weight, **weights)


def seeded(head: Any, seed: int | None) -> Any:
    """Set every random state that the caller left at None, in place."""
    if seed is not None:
        for name, value in sorted(head.get_params().items()):
            if value is None and name.split("__")[-1] == "random_state":
                head.set_params(**{name: seed})
    return head


def _weight_arguments(head: Any, weight: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return `fit`'s keyword for the sample weights, where the head takes them."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if weight is None:
        return {}
    prefix, last = "", head
    while isinstance(last, Pipeline):
        name, last = last.steps[-1]
        prefix += f"{name}__"
    if not has_fit_parameter(last, "sample_weight"):
        return {}
    return {f"{prefix}sample_weight": weight}


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@shared_context
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread until the last of those who asked for it is done.

    The products of small models are too small to share: with two threads, and any
    other work on the machine, they take up to fifty times as long. Where threads fit,
    the thread that starts them asks too: some BLAS keep the number for each thread.
    """
    with _blas().limit(limits=1):
        yield
