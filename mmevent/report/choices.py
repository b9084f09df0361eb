"""How the answer moves over choices that nobody can defend as the only right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from numbers import Real
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.base import clone

from mmevent._settings import with_own_settings
from mmevent.branches import TextClassifier
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import whole
from mmevent.exceptions import InputError, MmeventError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmevent.detector import EventDetector

    Answer = Callable[[EventDetector], Mapping[str, float]]

__all__ = ["over_choices"]

_PARAMETER = {"encoder": "text__encoder", "seed": "random_state"}
_FIGURES = [*("f1", "f1_low", "f1_high", "precision", "recall", "n_flagged")]


@with_own_settings
def over_choices(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    over: Mapping[str, Sequence[Any]],
    *,
    groups: ArrayLike | None = None,
    y_stage1: ArrayLike | None = None,
    answer: Answer | None = None,
) -> pd.DataFrame:
    """Fit a detector with every combination of choices, and list what comes out.

    One analysis takes one encoder, one seed and one criterion. This shows how far its
    answer depends on them. The best row is not to be picked: its figures were not
    estimated for the best of several.

    Parameters
    ----------
    detector : EventDetector
        With the settings that all fits share; it is cloned, and need not be fitted.
    posts : DataFrame or sequence of mappings, n_posts rows
        Labelled posts.
    y : array-like of shape (n_posts,)
        Labels.
    over : mapping of str to sequence
        Values of each choice: ``"encoder"``, that of the text branch; ``"seed"``; and
        any parameter of the detector, such as ``"rule"``, ``"criterion"``,
        ``"policy"`` or ``"image__encoder"``.
    groups, y_stage1 : array-like of shape (n_posts,) or None, default=None
        As for `fit`.
    answer : callable or None, default=None
        Takes a fitted detector and returns numbers by name: what the study reports,
        such as the number of events of a corpus or the slope of a regression.

    Returns
    -------
    DataFrame
        One row for each combination: the choices; ``f1`` with the ends of its interval,
        ``precision``, ``recall`` and ``n_flagged`` of the estimate; the fitted
        ``threshold``; and the numbers of `answer`. The spread of a column is that over
        choices; the interval of F1 is that over posts.

    Raises
    ------
    InputError
        If a choice is not known or has no values, if a fit fails or makes no estimate,
        which is named, or if `answer` does not return numbers of the same names each
        time.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.report import over_choices
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> text, image = demo_branches()
    >>> posts, y, _ = make_posts(100, random_state=0)
    >>> detector = EventDetector(text=text, image=image, cv=2, inner_cv=2, n_trials=10)
    >>> found = over_choices(detector, posts, y, {"seed": [0, 1]})
    >>> found["seed"].tolist()
    [0, 1]
    """
    base = _checked(detector, over)
    rows: list[dict[str, Any]] = []
    combinations = [
        dict(zip(over, values, strict=True)) for values in product(*over.values())
    ]
    for chosen in combinations:
        with _naming(chosen):
            _check_estimate(_chosen(base, chosen))
    with shared_memo():  # each encoder sees each post once
        for chosen in combinations:
            with _naming(chosen):
                one = _chosen(base, chosen)
                one.fit(posts, y, groups=groups, y_stage1=y_stage1)
            rows.append(
                {
                    **{name: _shown(value) for name, value in chosen.items()},
                    **_figures(one),
                    **_answered(answer, one, rows, chosen),
                }
            )
    return pd.DataFrame(rows)


@contextmanager
def _naming(chosen: Mapping[str, Any]) -> Iterator[None]:
    """Name the choices of a fit that fails."""
    try:
        yield
    except (MmeventError, TypeError, ValueError) as error:
        raise InputError(
            f"the fit with {dict(chosen)} failed: {error} Leave this choice out, or "
            f"correct it."
        ) from error


def _chosen(base: Any, chosen: Mapping[str, Any]) -> Any:
    """Return a detector of these choices, unfitted."""
    return clone(base).set_params(**{_PARAMETER.get(k, k): chosen[k] for k in chosen})


def _check_estimate(detector: EventDetector) -> None:
    """Validate the parameters, before any fit, and that there will be figures."""
    if Settings.of(detector).kind_of_fit() is None:
        raise InputError(
            f"there is no estimate with policy={detector.policy!r}: expected a policy "
            f"whose figures do not depend on the corpus."
        )


def _checked(detector: EventDetector, over: Mapping[str, Sequence[Any]]) -> Any:
    """Return a clone whose parameters can be set, after a check of the choices."""
    base = clone(detector)
    if base.estimate is None:
        raise InputError(
            "estimate=None gives no F1 to compare: expected a detector with an "
            "estimate. Set estimate='auto'."
        )
    if "encoder" in over and isinstance(base.text, str):
        base.text = TextClassifier()
    known = base.get_params(deep=True)
    for name, values in over.items():
        if _PARAMETER.get(name, name) not in known:
            raise InputError(
                f"over has the choice {name!r}, which the detector does not know: "
                f"expected 'encoder', 'seed' or one of its parameters, such as "
                f"'criterion' or 'policy'. Correct it."
            )
        listed = isinstance(values, Sequence) and not isinstance(values, str)
        if not listed or len(values) == 0:
            raise InputError(
                f"over has no values for {name!r}: expected a list of at least one, "
                f"got {values!r}. Write it in brackets."
            )
    if not over:
        raise InputError(
            'over is empty: expected choices such as {"seed": [0, 1, 2]}. Name some.'
        )
    return base


def _shown(value: Any) -> Any:
    """Return a value that a table can hold: an estimator as it prints."""
    plain = value is None or isinstance(value, (str, bool, Real))
    return value if plain else repr(value)


def _figures(detector: EventDetector) -> dict[str, float]:
    table = detector.estimate_.to_frame()
    row = table.loc[whole(set(table.index))]
    figures = {name: float(row[name]) for name in _FIGURES}
    return figures | {"threshold": float(detector.threshold_)}


def _answered(
    answer: Answer | None,
    detector: EventDetector,
    before: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, Any],
) -> dict[str, float]:
    """Return the numbers of the study, which have the same names each time."""
    if answer is None:
        return {}
    found = answer(detector)
    numbers = isinstance(found, Mapping) and all(
        isinstance(value, Real) for value in found.values()
    )
    taken = {*chosen, *_FIGURES, "threshold"}
    if not numbers or taken & set(found):
        raise InputError(
            f"answer returned {found!r}: expected numbers by name, such as "
            f'{{"n_events": 120.0}}, with other names than {sorted(taken)}. Change it.'
        )
    names = {name for row in before for name in row} - taken
    if before and names != set(found):
        raise InputError(
            f"answer returned {sorted(found)} with {dict(chosen)}, and {sorted(names)} "
            f"before: expected the same names each time. Change it."
        )
    return {name: float(value) for name, value in found.items()}
