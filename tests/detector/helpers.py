"""Posts, and what makes two detectors the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmevent import (
    EventDetector,
)
from mmevent.synthetic.posts import make_posts

Data = tuple[pd.DataFrame, NDArray[np.int64]]


def draw(n: int = 80, seed: int = 0, **settings: Any) -> Data:
    posts, y, _ = make_posts(n, image_size=8, random_state=seed, **settings)
    return posts, y


def new_posts(n: int = 40, seed: int = 9) -> Data:
    """Return posts that share nothing with those that `draw` gives."""
    posts, y, _ = make_posts(n, image_size=8, share_reposts=0, random_state=seed)
    posts["id"] = "new " + posts["id"]
    posts["text"] = posts["text"] + " anew"
    return posts, y


def assert_same_detector(first: EventDetector, second: EventDetector) -> None:
    for name in ("alpha_", "beta_", "pool_", "threshold_", "image_name_"):
        assert getattr(first, name) == getattr(second, name), name
    pd.testing.assert_frame_equal(first.out_of_fold_, second.out_of_fold_)
    pd.testing.assert_frame_equal(first.trials_, second.trials_)
    one, other = first.estimate_, second.estimate_
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.to_dict() == other.to_dict()
