"""Errors: each is also a built-in type, and says whether to change what was given."""

from __future__ import annotations

import builtins

import pytest

from mmevent import exceptions
from mmevent.exceptions import InputError, MmeventError, MmeventWarning, RunError

KINDS = [getattr(exceptions, name) for name in exceptions.__all__]
ERRORS = [kind for kind in KINDS if issubclass(kind, MmeventError)]
BASES = (MmeventError, RunError)


@pytest.mark.parametrize("error", [e for e in ERRORS if e not in BASES])
def test_an_error_can_be_caught_as_a_built_in_type(error: type[Exception]) -> None:
    usual = {kind for kind in vars(builtins).values() if isinstance(kind, type)}
    assert (usual - {Exception, BaseException, object}) & set(error.__mro__)
    with pytest.raises(MmeventError, match="what is wrong"):
        raise error("what is wrong")


def test_warnings_have_one_base() -> None:
    warnings = [kind for kind in KINDS if issubclass(kind, Warning)]
    assert all(issubclass(kind, MmeventWarning) for kind in warnings)
    assert set(warnings) | set(ERRORS) == set(KINDS)


def test_a_wrong_name_of_a_model_is_input_though_others_are_not() -> None:
    both = {error for error in ERRORS if issubclass(error, (InputError, RunError))}
    names = {e for e in both if issubclass(e, InputError) and issubclass(e, RunError)}
    assert names == {exceptions.ModelNameError}


def test_all_that_the_module_defines_is_listed() -> None:
    defined = {
        name for name, value in vars(exceptions).items() if isinstance(value, type)
    }
    assert defined == set(exceptions.__all__)


@pytest.mark.parametrize("error", ERRORS)
def test_a_long_message_is_cut_in_its_middle(error: type[Exception]) -> None:
    picture = bytes(range(256)) * 1000
    text = str(error(f"the id is wrong: got {picture!r}. Give it another id."))
    assert len(text) < 2100
    assert text.startswith("the id is wrong: got b'")
    assert text.endswith(" Give it another id.")
    assert str(error("short")) == "short"
