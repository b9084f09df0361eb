"""Fitted estimators to bytes and back, by skops: no pickle, and fixed trusted types."""

from __future__ import annotations

import os
from copy import deepcopy
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRequest

from mmevent._walk import LEAVES, TRAINED, walk
from mmevent.branches.packs import choose_prompts
from mmevent.branches.zero_shot import ClipZeroShotClassifier
from mmevent.exceptions import ModelFolderError
from mmevent.persistence.files import check_growth
from mmevent.persistence.native import check_kinds, check_parts
from mmevent.persistence.parameters import check_parameters
from mmevent.persistence.sparse import SPARSE_TYPES, drop_tree, restore

# Types that a folder may name besides the estimators, arrays and plain values that
# skops trusts itself. Building one runs no other code. A type is never trusted because
# a file names it.
TRUSTED = [
    "mmevent.synthetic.demo.ImageStatistics",
    "mmevent.evaluation.folds.ForwardInTime",
    "mmevent.branches.prompts.PromptHead",
    "mmevent.branches.zero_shot.ClipZeroShotClassifier",
    "mmevent.detector.second_stage.FalsePositiveFilter",
    "mmevent.branches.image.ImageClassifier",
    "mmevent.branches.text.TextClassifier",
    "mmevent.encoders.clip.ClipEncoder",
    "mmevent.encoders.image.ImageEncoder",
    "mmevent.encoders.text.TextEncoder",
    *(
        f"sklearn._loss.{name}"
        for name in (
            "link.Interval",
            "link.LogitLink",
            "link.MultinomialLogit",
            "loss.ExponentialLoss",
            "loss.HalfBinomialLoss",
            "loss.HalfMultinomialLoss",
        )
    ),
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    *SPARSE_TYPES,  # their arrays are checked, see sparse.py
    "sklearn.tree._tree.Tree",  # the places that it points to are checked, in native
    "sklearn.utils._bunch.Bunch",
    *(
        f"sklearn.gaussian_process.kernels.{name}"
        for name in (
            "CompoundKernel",
            "ConstantKernel",
            "DotProduct",
            "Exponentiation",
            "ExpSineSquared",
            "Matern",
            "Product",
            "RBF",
            "RationalQuadratic",
            "Sum",
            "WhiteKernel",
        )
    ),
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            "GroupKFold",
            "GroupShuffleSplit",
            "KFold",
            "LeaveOneGroupOut",
            "LeaveOneOut",
            "LeavePGroupsOut",
            "LeavePOut",
            "PredefinedSplit",
            "RepeatedKFold",
            "RepeatedStratifiedKFold",
            "ShuffleSplit",
            "StratifiedGroupKFold",
            "StratifiedKFold",
            "StratifiedShuffleSplit",
            "TimeSeriesSplit",
        )
    ),
]

_REQUESTS = "_metadata_request"
_METHODS = (
    "fit",
    "partial_fit",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score",
    "split",
    "transform",
    "inverse_transform",
)


def to_bytes(value: Any, what: str) -> bytes:
    """Return the skops file of a value; check that it loads back the same."""
    from skops.io import dumps, loads

    try:
        copied = deepcopy(value)
        check_kinds(copied, f"{what} cannot be saved")
        _simplify(copied)
        data: bytes = dumps(copied, compression=ZIP_DEFLATED)
        untrusted = untrusted_types(data)
        back = None if untrusted else loads(data, trusted=TRUSTED)
        check_parameters(back, f"{what} cannot be saved")
        check_parts(back)
        check_growth(data, what)
    except ModelFolderError:
        raise
    except Exception as error:  # whatever skops or a class of the caller's raises
        raise ModelFolderError(
            f"{what} cannot be saved: expected parts that a model folder can hold, got "
            f"{type(error).__name__}: {_first_line(error)}. {_WAY_OUT}"
        ) from error
    if untrusted:
        raise ModelFolderError(
            f"{what} cannot be saved: expected estimators of scikit-learn and mmevent "
            f"and plain values, got {', '.join(untrusted)}, which a model folder does "
            f"not load back. {_WAY_OUT}"
        )
    if not same(copied, back):
        raise ModelFolderError(
            f"{what} cannot be saved: expected parts that come back the same, got one "
            f"that changes on the way, such as a mapping with both 1 and '1' as keys. "
            f"{_WAY_OUT}"
        )
    return data


def check_can_be_saved(branch: Any, what: str) -> None:
    """Validate that an estimator can be saved once it is fitted, before it is.

    Parameters
    ----------
    branch : estimator, list or None
        What a detector is given as a branch; it is not changed.
    what : str
        Names it in messages, such as "the text branch".

    Raises
    ------
    ModelFolderError
        If it holds what `to_bytes` refuses of any fitted one.
    """
    to_bytes(clone(branch, safe=False), what)


_WAY_OUT = (
    "Build it from their classes, without functions of your own; for a parameter "
    "that only fitting needs, such as cv, call set_params(cv=5) before save."
)


def check_types(data: bytes, name: str) -> None:
    """Validate a skops file: not damaged, and with trusted types only."""
    try:
        check_growth(data, name)
        untrusted = untrusted_types(data)
    except ModelFolderError:
        raise
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise _unreadable(name, error) from error
    if untrusted:
        raise ModelFolderError(
            f"{name} asks for types that are not trusted: expected estimators of "
            f"scikit-learn and mmevent, got {', '.join(untrusted)}. Nothing was "
            f"loaded. Do not use this folder unless you know who made it; if you did, "
            f"save it again with this version of mmevent."
        )


def from_bytes(data: bytes, name: str) -> Any:
    """Build the value of a skops file."""
    from skops.io import loads

    try:
        check_growth(data, name)
        value = loads(data, trusted=TRUSTED)
        check_kinds(value, f"{name} cannot be used")
        check_parameters(value, f"{name} cannot be used")
        check_parts(value)
        _restore(value)
    except ModelFolderError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error
    return value


def untrusted_types(data: bytes) -> list[str]:
    """Return the types in a skops file that are not trusted."""
    from skops.io import get_untrusted_types

    return sorted(set(get_untrusted_types(data=data)) - set(TRUSTED))


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal in type and content."""
    if type(a) is not type(b):
        return False
    if isinstance(a, MetadataRequest):  # each refers to the estimator that holds it
        return all(
            getattr(a, method).requests == getattr(b, method).requests
            for method in _METHODS
        )
    if isinstance(a, np.ma.MaskedArray):
        return same(a.data, b.data) and same(np.array(a.mask), np.array(b.mask))
    if isinstance(a, np.ndarray):
        return _same_array(a, b)
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return bool(a == b)
    if isinstance(a, LEAVES):
        return bool(a == b) or (a != a and b != b)
    if issparse(a):
        x, y = a.tocoo(), b.tocoo()
        return a.shape == b.shape and same([x.data, *x.coords], [y.data, *y.coords])
    return same(a.__getstate__(), b.__getstate__())


def _same_array(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype == object:
        return same(a.ravel().tolist(), b.ravel().tolist())
    if a.dtype.names:  # the bytes between the columns of a tree's nodes are arbitrary
        return all(same(a[name], b[name]) for name in a.dtype.names)
    return a.tobytes() == b.tobytes()


def _simplify(value: Any) -> None:
    """Change, in a copy, what skops cannot write or writes slowly."""
    for part in walk(value):
        if type(part) is dict:
            _write_keys_as_numbers(part)
        attributes = getattr(part, "__dict__", {})
        attributes.pop(TRAINED, None)  # the encoder is saved by itself
        drop_tree(part)
        for name, attribute in attributes.items():
            if isinstance(attribute, os.PathLike):
                attributes[name] = os.fspath(attribute)
        if _REQUESTS in attributes:  # they refer to the estimator that holds them
            attributes[_REQUESTS] = {
                method: dict(getattr(attributes[_REQUESTS], method).requests)
                for method in _METHODS
            }
        if isinstance(attributes.get("vocabulary_"), dict):
            # A number of NumPy's would become a file of its own within the file.
            words = attributes["vocabulary_"].items()
            attributes["vocabulary_"] = {word: int(column) for word, column in words}
        if isinstance(part, ClipZeroShotClassifier) and part.packs is not None:
            _write_out(part)


def _write_keys_as_numbers(mapping: dict[Any, Any]) -> None:
    """Put 1 and 0 in place of True and False: they find the same, and come back."""
    items = list(mapping.items())
    if any(isinstance(key, bool) for key, _ in items):
        mapping.clear()
        mapping |= {int(k) if isinstance(k, bool) else k: held for k, held in items}


def _write_out(classifier: ClipZeroShotClassifier) -> None:
    """Put the words of an event pack in place of the file that holds them."""
    given = classifier.event, classifier.negative, classifier.templates
    words = choose_prompts(*given, classifier.packs)
    classifier.event, classifier.negative = list(words.positive), list(words.negative)
    classifier.templates, classifier.packs = list(words.templates), None


def _restore(value: Any) -> None:
    """Put metadata requests back."""
    for part in walk(value):
        attributes = getattr(part, "__dict__", {})
        if _REQUESTS in attributes:
            request = MetadataRequest(owner=type(part).__name__)
            for method in _METHODS:
                for name, alias in attributes[_REQUESTS][method].items():
                    getattr(request, method).add_request(param=name, alias=alias)
            attributes[_REQUESTS] = request
        restore(part)


def _unreadable(name: str, error: Exception) -> ModelFolderError:
    return ModelFolderError(
        f"{name} cannot be read: expected a skops file of mmevent, got "
        f"{type(error).__name__}: {_first_line(error)}. Copy the folder again, or "
        f"save the detector again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no more is known"
