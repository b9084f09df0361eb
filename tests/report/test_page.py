"""The page of errors: what it says, and what it lets in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmevent import EventDetector
from mmevent.report import Errors, find_errors
from mmevent.report.page import errors_page

Data = tuple[pd.DataFrame, NDArray[np.int64]]
NASTY = "<script>alert(1)</script>"


def row(**changes: Any) -> pd.DataFrame:
    post = {"id": 7, "kind": "missed event", "margin": -0.3, "text": "They march"}
    return pd.DataFrame([post | {"images": "a.jpg", "rule": "text"} | changes])


@pytest.mark.parametrize("column", ["id", "rule", "text", "images"])
def test_what_a_post_holds_is_escaped(column: str) -> None:
    page = errors_page(row(**{column: NASTY}), [[]], NASTY, NASTY, {NASTY: NASTY})
    assert "<script" not in page


def test_a_page_says_the_task_and_what_its_words_mean(
    detector: EventDetector, data: Data, settings: dict[str, Any]
) -> None:
    page = find_errors(detector, *data).to_html()
    threshold = f"{detector.threshold_:.3f}"
    for words in (
        "find posts with the label “1”",
        f"Score minus threshold, which is {threshold} here",
        f"with text and images {detector.rule_.formulas()['both']}; with text alone",
        "What the post was judged by: both (text and images), text, image, or none",
        f"pooled by “{detector.pool_}”",
    ):
        assert words in page
    posts, y = data
    named = EventDetector(**settings | {"image": None}, pos_label="yes")
    labels = pd.Series(np.where(y, "yes", "no"), name="protest <3")
    page = find_errors(named.fit(posts, labels), posts, labels).to_html()
    assert "the label “yes” in the column “protest &lt;3”" in page
    assert "p_text; 0 for a post without text" in page


def test_the_posts_fill_the_window_and_fit_a_small_one() -> None:
    page = errors_page(row(), [[b"x"]], "")
    assert "auto-fill" in page
    assert "max-width: 60em" not in page
    assert "width=device-width" in page
    assert 'dir="auto"' in page  # Arabic and Hebrew run from the right


def test_errors_print_no_pictures() -> None:
    picture = bytes(range(256)) * 400
    table = pd.concat([row(text="long " * 100)] * 50, ignore_index=True)
    errors = Errors(table, [[picture]] * 50, "50 missed events", f"task {NASTY}")
    assert repr(errors) == "<Errors: 50 missed events>"
    shown = errors._repr_html_()
    assert len(shown) < 25_000
    assert "long" * 13 not in shown.replace(" ", "")  # texts are cut
    assert "base64" not in shown
    assert "<script" not in shown
    assert "to_html() gives a page with them" in shown
    assert "base64" in errors.to_html()
