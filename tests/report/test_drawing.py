"""All plots at once, and the formats of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmevent import EventDetector
from mmevent.report import draw_plots, plot_surface
from mmevent.report.drawing import save_plot

Data = tuple[pd.DataFrame, NDArray[np.int64]]


def test_the_learning_curve_takes_the_groups_of_the_fit(
    settings: dict[str, Any], data: Data
) -> None:
    posts, y = data
    groups = np.arange(len(y)) // 2
    detector = EventDetector(**settings | {"image": None, "estimate": "cross-fit"})
    detector.fit(posts, y, groups=groups)
    drawn = draw_plots(detector, posts, y, detector.estimate_, groups=groups)
    assert not isinstance(drawn["learning-curve"], str), drawn["learning-curve"]
    drawn = draw_plots(detector, posts, y, detector.estimate_)
    assert "not those of the fit" in str(drawn["learning-curve"])


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_plot_is_written_in_the_format_of_its_suffix(
    detector: EventDetector, tmp_path: Path, suffix: str, start: bytes
) -> None:
    path = tmp_path / f"plot.{suffix}"
    save_plot(plot_surface(detector), path)
    assert path.read_bytes().startswith(start)
    assert b"/Type3" not in path.read_bytes()  # fonts that some journals refuse
