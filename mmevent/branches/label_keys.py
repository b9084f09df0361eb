"""Parameters of branches that name labels: a detector tells its branches 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from mmevent.branches.base import EncodedClassifier
from mmevent.exceptions import InputError

_WEIGHTS, _EVENT = "class_weight", "pos_label"
_GRIDS = ("param_grid", "param_distributions")


def with_coded_labels(branch: Any, coding: Sequence[Any]) -> Any:
    """Return a branch whose parameters name 0 and 1 instead of the caller's labels.

    A detector tells its branches 1 for an event and 0 for another post, whatever the
    labels are. So ``class_weight`` and ``pos_label`` are translated, in the branch
    itself, in its head, in the steps of a pipeline, in the members of an ensemble, and
    in the grid of a search. What was fitted elsewhere stays as it is.

    Parameters
    ----------
    branch : classifier
        An unfitted branch; it is not changed.
    coding : sequence of two labels
        The labels of no event and of an event.

    Returns
    -------
    classifier
        The branch itself where it names no labels, else a clone.

    Raises
    ------
    InputError
        If a parameter names a label that there is not.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from mmevent.branches.label_keys import with_coded_labels
    >>> branch = LogisticRegression(class_weight={"yes": 20})
    >>> with_coded_labels(branch, ["no", "yes"]).class_weight
    {1: 20}
    """
    changes = {
        name: _translated(name, value, branch, coding)
        for name, value in _parameters(branch)
    }
    return clone(branch).set_params(**changes) if changes else branch


def _parameters(branch: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that name labels, of a branch and of its parts."""
    if not hasattr(branch, "get_params") or isinstance(branch, FrozenEstimator):
        return
    parameters = branch.get_params()
    frozen = [
        f"{name}__"
        for name, value in parameters.items()
        if isinstance(value, FrozenEstimator)
    ]
    for name, value in parameters.items():
        last = name.split("__")[-1]
        names_labels = (
            (last == _WEIGHTS and isinstance(value, Mapping))
            or (
                last == _EVENT
                and value is not None
                and _is_ours(name, parameters, branch)
            )
            or last in _GRIDS
        )
        if names_labels and not name.startswith(tuple(frozen)):
            yield name, value


def _is_ours(name: str, parameters: Mapping[str, Any], branch: Any) -> bool:
    """Return whether a parameter is one of a classifier of this package."""
    owner = name.rpartition("__")[0]
    return isinstance(parameters[owner] if owner else branch, EncodedClassifier)


def _translated(name: str, value: Any, branch: Any, coding: Sequence[Any]) -> Any:
    last = name.split("__")[-1]
    if last == _EVENT:
        return list(_codes(name, {value: 1}, branch, coding))[0]
    if last == _WEIGHTS:
        return _codes(name, value, branch, coding)
    if not isinstance(value, Mapping):  # a search takes several grids
        return [_translated(name, grid, branch, coding) for grid in value]
    translated = {}
    for parameter, choices in value.items():
        is_weights = parameter.split("__")[-1] == _WEIGHTS
        if isinstance(choices, list | tuple | np.ndarray):  # a distribution stays
            choices = [
                _codes(name, choice, branch, coding)
                if is_weights and isinstance(choice, Mapping)
                else with_coded_labels(choice, coding)
                for choice in choices
            ]
        translated[parameter] = choices
    return translated


def _codes(
    name: str, weights: Mapping[Any, Any], branch: Any, coding: Sequence[Any]
) -> dict[int, Any]:
    labels = np.asarray(coding, dtype=object).tolist()
    strangers = [label for label in weights if label not in labels]
    if strangers:
        raise InputError(
            f"{name}={dict(weights)!r} of the branch {type(branch).__name__} names "
            f"other labels than y has: expected some of {labels}, got {strangers}. "
            f"Name the labels as they are in y."
        )
    return {labels.index(label): weight for label, weight in weights.items()}
