"""Documented names and defaults against the signatures, and examples for all."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc, NumpyDocString

import mmevent

PUBLIC = [name for name in mmevent.__all__ if not name.startswith("__")]
DEFAULT = re.compile(r"\bdefault(?:\s*[=:]\s*|\s+)(?P<value>.+)$")


def own_methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Give the public methods that are written in this package."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("mmevent"):
            yield name, method


def documented(name: str) -> Iterator[tuple[str, Any, NumpyDocString]]:
    """Give (label, callable, parsed docstring) of an object and its methods."""
    value = getattr(mmevent, name)
    if not inspect.isclass(value):
        yield name, value, FunctionDoc(value)
        return
    yield name, value, ClassDoc(value)
    for method_name, method in own_methods(value):
        yield f"{name}.{method_name}", method, FunctionDoc(method)


def documented_types(doc: NumpyDocString, sections: tuple[str, ...]) -> dict[str, str]:
    return {
        name.strip().lstrip("*"): entry.type
        for section in sections
        for entry in doc[section]
        for name in entry.name.split(",")
    }


def signature_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if name != "self"}


def stated_default(type_text: str) -> tuple[bool, object]:
    """Read "float, default=0.5, in [0, 1]": whether a default is stated, and it."""
    match = DEFAULT.search(type_text)
    if match is None:
        return False, None
    text = match["value"].strip()
    ends = [len(text), *(m.start() for m in re.finditer(r"[,;]", text))][::-1]
    for end in [len(text), *ends]:
        try:
            return True, ast.literal_eval(text[:end].strip("` "))
        except (SyntaxError, ValueError):
            continue
    return True, text


def default_problem(name: str, type_text: str, default: object) -> str | None:
    stated, value = stated_default(type_text)
    if default is inspect.Parameter.empty:
        return f"{name}: states a default, has none" if stated else None
    if repr(default) == "<factory>":  # dataclasses' stand-in, made anew each time
        return None
    if default is None and not stated and "optional" in type_text:
        return None
    if not stated:
        return f"{name}: default {default!r} is not stated"
    if type(value) is type(default) and value == default:
        return None
    return f"{name}: documented default {value!r}, in the signature {default!r}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("float, default=0.5", (True, 0.5), id="number"),
        pytest.param("float, default=0.5, in [0, 1]", (True, 0.5), id="then-range"),
        pytest.param("tuple, default=(0.5, 2)", (True, (0.5, 2)), id="tuple"),
        pytest.param('{"a", "b"}, default="a"', (True, "a"), id="string"),
        pytest.param("int or None, default: None", (True, None), id="none"),
        pytest.param("int, default 5", (True, 5), id="space"),
        pytest.param("array of shape (n,)", (False, None), id="no-default"),
    ],
)
def test_a_stated_default_is_read(text: str, expected: tuple[bool, object]) -> None:
    assert stated_default(text) == expected


@pytest.mark.parametrize("name", PUBLIC)
def test_documented_names_are_those_of_the_signature(name: str) -> None:
    problems = []
    for label, function, doc in documented(name):
        types = documented_types(doc, ("Parameters", "Other Parameters"))
        if dataclasses.is_dataclass(function) and not types:
            types = documented_types(doc, ("Attributes",))
            types = {n: t for n, t in types.items() if n in signature_of(function)}
        if list(types) != list(signature_of(function)):
            problems.append(
                f"{label}: documented {list(types)}, "
                f"in the signature {list(signature_of(function))}"
            )
    assert problems == []


@pytest.mark.parametrize("name", PUBLIC)
def test_documented_defaults_are_those_of_the_signature(name: str) -> None:
    problems = [
        f"{label}, {problem}"
        for label, function, doc in documented(name)
        for types in [documented_types(doc, ("Parameters", "Other Parameters"))]
        for parameter in signature_of(function).values()
        if parameter.name in types
        for problem in [
            default_problem(parameter.name, types[parameter.name], parameter.default)
        ]
        if problem is not None
    ]
    assert problems == []


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_returned_is_documented(name: str) -> None:
    problems = [
        label
        for label, function, doc in documented(name)
        if not inspect.isclass(function)
        and inspect.signature(function).return_annotation not in (None, "None")
        and not doc["Returns"]
        and not doc["Yields"]
    ]
    assert problems == []


@pytest.mark.parametrize("name", PUBLIC)
def test_public_object_has_a_summary_and_an_example(name: str) -> None:
    _, _, doc = next(documented(name))
    assert "".join(doc["Summary"]).strip().endswith(".")
    assert any(line.lstrip().startswith(">>>") for line in doc["Examples"])


@pytest.mark.parametrize("name", PUBLIC)
def test_no_example_is_skipped(name: str) -> None:
    skipped = [
        label
        for label, function, _ in documented(name)
        if "+SKIP" in (inspect.getdoc(function) or "")
    ]
    assert skipped == []
