"""The storage of an Optuna study, opened before any work."""

from __future__ import annotations

import re
from typing import Any

from mmevent.exceptions import InputError


def open_storage(storage: Any) -> Any:
    """Open the storage of a study; raise an InputError where that cannot be done.

    Parameters
    ----------
    storage : str, optuna storage or None
        As in :class:`Search`.

    Returns
    -------
    optuna.storages.BaseStorage or None
        None for None.
    """
    if storage is None:
        return None
    from optuna.storages import BaseStorage, get_storage

    try:
        if not isinstance(storage, (str, BaseStorage)):
            raise TypeError(type(storage).__name__)
        return get_storage(storage)
    except Exception as error:  # whatever SQLAlchemy or a driver raises
        # A URL may hold a password.
        shown = re.sub(r"//[^/@]*@", "//…@", str(storage))
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise InputError(
            f"storage={shown!r} cannot be opened: expected an optuna storage, or its "
            f"URL, such as 'sqlite:///study.db', got {type(error).__name__}: "
            f"{reason.replace(str(storage), shown)}. Correct it; its folder must exist."
        ) from error
