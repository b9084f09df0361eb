"""Decision policies: from scores to a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._smooth import BEST_THRESHOLD
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_policy", "choose_threshold"]


def choose_threshold(
    policy: str | float, score: ArrayLike, y: ArrayLike, *, criterion: str = "smooth"
) -> float:
    """Choose the threshold that a policy asks for.

    Parameters
    ----------
    policy : "f1" or float
        ``"f1"`` maximises F1; a number above 0 is the threshold itself.
    score : array-like of shape (n_posts,)
        Out-of-fold scores.
    y : array-like of shape (n_posts,)
        1 or True for an event.
    criterion : {"smooth", "f1"}, default="smooth"
        Which F1 the policy ``"f1"`` maximises, see :class:`mmevent.tuning.Search`.

    Returns
    -------
    float
        A post is flagged where its score reaches the threshold; above 0.

    Raises
    ------
    InputError
        If the policy is not known, or a number that is not above 0.

    Examples
    --------
    >>> from mmevent.decision import choose_threshold
    >>> choose_threshold("f1", [0.9, 0.5, 0.1], [1, 1, 0], criterion="f1")
    0.3
    >>> choose_threshold(0.7, [0.9, 0.5, 0.1], [1, 1, 0])
    0.7
    """
    check_policy(policy)
    if policy == "f1":
        return BEST_THRESHOLD[criterion](score, y)[0]
    return float(policy)


def threshold_chooser(policy: str | float, criterion: str) -> Any:
    """Return the policy as a function of scores and labels."""

    def choose(score: NDArray[np.float64], event: NDArray[np.bool_]) -> float:
        return choose_threshold(policy, score, event, criterion=criterion)

    return choose


def check_policy(policy: object) -> None:
    """Refuse what is no policy with an InputError."""
    number = isinstance(policy, (int, float, np.number)) and not isinstance(
        policy, bool
    )
    named = isinstance(policy, str) and policy == "f1"
    if named or (number and np.isfinite(policy) and policy > 0):  # type: ignore[call-overload,operator]
        return
    raise InputError(
        f"policy={policy!r} is not known: expected 'f1', or a finite threshold above "
        f"0. Pass one of them."
    )
