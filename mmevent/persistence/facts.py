"""What detector.json says, checked: numbers, names and maps that a fit can give."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from mmevent.exceptions import InputError, ModelFolderError
from mmevent.posts.prepared import SECOND, TEXT
from mmevent.rule.fusion import POOLS, Rule
from mmevent.rule.policies import budget_of, check_policy
from mmevent.rule.stacking import RULES

_GREATEST_WEIGHT = 1e6
_ABOVE_0 = float(np.nextafter(0, 1))
_LEAST = {
    "beta": _ABOVE_0,
    **dict.fromkeys(
        ("intercept_both", "intercept_text", "intercept_image"), -_GREATEST_WEIGHT
    ),
}
"""The least value of a parameter of a rule, where it is not 0."""
_LONGEST_LABEL = 10_000
_CURVES = ({"slope", "intercept"}, {"score", "probability"})


def check_facts(facts: Mapping[str, Any], files: Collection[str]) -> None:
    """Validate all of detector.json that decides what a post is.

    Parameters
    ----------
    facts : dict
        What the file holds.
    files : collection of str
        The files of the folder.

    Raises
    ------
    ModelFolderError
        For the first value that no fit can give.
    """
    _check_classes(facts["classes"], facts["positive"])
    for name in ("policy", "policy_of_fit"):
        _check_policy(name, facts[name])
    _check_number("f1_threshold", facts["f1_threshold"], greatest=np.inf)
    if facts["threshold"] is not None or budget_of(facts["policy"]) is None:
        _check_number("threshold", facts["threshold"], greatest=np.inf)
    branches, stages = facts["branches"], facts["stages"]
    stored = {name for name in files if name.endswith(".skops")}
    if not set(branches.values()) <= stored or set(branches) <= {SECOND}:
        raise _wrong("branches", "skops files of this folder", branches)
    images, kind = set(branches) - {TEXT, SECOND}, kind_of_rule(facts)
    _check_rule("rule", facts["rule"], images, kind)
    if stages is not None:
        _check_rule("stages, first", stages["first"], images, kind)
        _check_rule("stages, second", stages["second"], images, kind)
    if facts["calibration"] is not None:
        _check_maps(facts["calibration"]["maps"])
    if type(facts["beta_identified"]) is not bool:
        raise _wrong("beta_identified", "true or false", facts["beta_identified"])
    for name in ("label_name", "data_hash", "groups_hash"):
        if not isinstance(facts[name], (str, type(None))):
            raise _wrong(name, "a text", facts[name])


def kind_of_rule(facts: Mapping[str, Any]) -> str:
    """Return the name of the rule; folders from before there were two do not say it."""
    kind = facts["search"].get("rule", Rule.kind)
    if kind not in RULES:
        raise _wrong("rule", f"one of {', '.join(RULES)}", kind)
    return str(kind)


def _check_classes(described: Mapping[str, Any], positive: Any) -> None:
    values = described["values"]
    if not isinstance(values, list) or len(values) != 2 or values[0] == values[1]:
        raise _wrong("classes", "two different labels", values)
    longest = max(len(str(value)) for value in values)
    if longest > _LONGEST_LABEL or np.dtype(described["dtype"]).itemsize > max(
        32, 4 * longest
    ):
        raise _wrong("classes", "labels and their type", described)
    if positive not in (0, 1) or type(positive) is not int:
        raise _wrong("positive", "0 or 1", positive)


def _check_policy(name: str, policy: Any) -> None:
    try:
        check_policy(policy)
    except InputError as error:
        raise _wrong(name, "a decision policy", policy) from error


def _check_rule(
    what: str, rule: Mapping[str, Any], images: Collection[str], kind: str
) -> None:
    names = [field.name for field in fields(RULES[kind])]
    if set(rule) != set(names):
        raise _wrong(what, f"{', '.join(names)} of the rule {kind}", dict(rule))
    for name in set(names) - {"threshold", "pool", "image"}:
        least = _LEAST.get(name, 0.0)
        _check_number(f"{what}, {name}", rule[name], least=least)
    _check_number(f"{what}, threshold", rule["threshold"], greatest=np.inf)
    if rule["pool"] not in POOLS:
        raise _wrong(f"{what}, pool", f"one of {', '.join(POOLS)}", rule["pool"])
    if not isinstance(rule["image"], str) or (images and rule["image"] not in images):
        raise _wrong(f"{what}, image", "an image branch of this folder", rule["image"])


def _check_number(
    what: str,
    value: Any,
    *,
    least: float = _ABOVE_0,
    greatest: float = _GREATEST_WEIGHT,
) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= greatest or not np.isfinite(value):
        bound = "above 0" if least == _ABOVE_0 else f"{least:g} or above"
        raise _wrong(what, f"a finite number {bound}", value)


def _check_maps(maps: Any) -> None:
    """Validate maps from scores to probabilities: rising, and within their range."""
    if not isinstance(maps, dict) or "all" not in maps:
        raise _wrong("calibration", "a map for each rule, and one for all", maps)
    for name, curve in maps.items():
        columns = [np.asarray(values) for values in curve.values()]
        fits = (
            set(curve) in _CURVES
            and columns[0].shape == columns[1].shape
            and columns[0].ndim == 1
            and columns[0].size > 0
            and all(column.dtype.kind in "if" for column in columns)
            and all(np.isfinite(column).all() for column in columns)
        )
        if fits and "score" in curve:
            score, probability = np.asarray(curve["score"]), curve["probability"]
            fits = bool(
                (np.diff(score) >= 0).all() and (np.diff(probability) >= 0).all()
            )
            fits &= 0 <= probability[0] <= probability[-1] <= 1
        if not fits:
            raise _wrong(f"calibration, {name}", "a rising map to probabilities", curve)


def _wrong(what: str, expected: str, found: Any) -> ModelFolderError:
    shown = repr(found)
    shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
    return ModelFolderError(
        f"detector.json gives {what} as {shown}: expected {expected}, which is what "
        f"EventDetector.save writes. Do not use this folder unless you know who made "
        f"it; if you did, save the detector again."
    )
