"""The storage of a study is opened before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from mmevent.exceptions import InputError
from mmevent.rule.storage import open_storage


@pytest.mark.parametrize(
    "storage",
    [
        "sqlite:////no/such/folder/s.db",
        "s.db",
        "nodriver://user:secret@host/db",
        5,
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(storage: Any) -> None:
    with pytest.raises(InputError, match="cannot be opened: expected an optuna") as e:
        open_storage(storage)
    assert "secret" not in str(e.value)
    assert "\n" not in str(e.value)


def test_what_can_be_opened_is_kept(tmp_path: Path) -> None:
    assert open_storage(None) is None
    memory = optuna.storages.InMemoryStorage()
    assert open_storage(memory) is memory
    opened = open_storage(f"sqlite:///{tmp_path}/s.db")
    assert optuna.create_study(storage=opened).trials == []
