"""Decision policies: from scores to a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmevent._smooth import BEST_THRESHOLD
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

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
        If the policy or the criterion is not known, or a number is not above 0.

    Examples
    --------
    >>> from mmevent.decision import choose_threshold
    >>> choose_threshold("f1", [0.9, 0.5, 0.1], [1, 1, 0], criterion="f1")
    0.3
    >>> choose_threshold(0.7, [0.9, 0.5, 0.1], [1, 1, 0])
    0.7
    """
    check_policy(policy)
    if criterion not in BEST_THRESHOLD:
        raise InputError(
            f"criterion={criterion!r} is not known: expected one of "
            f"{', '.join(map(repr, BEST_THRESHOLD))}. Choose one of them."
        )
    if policy == "f1":
        return BEST_THRESHOLD[criterion](score, y)[0]
    return float(policy)


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
