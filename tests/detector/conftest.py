"""A detector that is fitted in a moment, and its posts."""

from __future__ import annotations

from typing import Any

import pytest
from detector.helpers import Data, draw

from mmevent import (
    EventDetector,
)


@pytest.fixture(scope="session")
def data() -> Data:
    return draw()


@pytest.fixture(scope="session")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    """Parameters of a detector that is fitted in a moment, without an estimate."""
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 2,
        "inner_cv": 2,
        "n_trials": 5,
        "estimate": None,
        "random_state": 0,
    }


@pytest.fixture(scope="session")
def fitted(data: Data, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings).fit(*data)
