"""A detector whose errors are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmevent import EventDetector
from mmevent.synthetic.posts import make_posts

Data = tuple[pd.DataFrame, NDArray[np.int64]]


@pytest.fixture(scope="session")
def data() -> Data:
    posts, y, _ = make_posts(160, random_state=0)
    return posts, y


@pytest.fixture(scope="session")
def settings(text_branch: Any, image_branch: Any) -> dict[str, Any]:
    return {
        "text": text_branch,
        "image": image_branch,
        "cv": 3,
        "inner_cv": 2,
        "n_trials": 20,
        "estimate": None,
        "random_state": 0,
    }


@pytest.fixture(scope="session")
def detector(data: Data, settings: dict[str, Any]) -> EventDetector:
    return EventDetector(**settings, calibration="sigmoid").fit(*data)
