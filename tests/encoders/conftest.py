"""Torch's threads, for tests that change their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture
def threads() -> Iterator[Any]:
    """What sets torch's threads, which are put back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
