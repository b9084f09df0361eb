"""How tables of posts are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mmevent.detector.reading import Reading
from mmevent.exceptions import InputError

TABLE = pd.DataFrame({"body": ["They march"], "images": ["gone.jpg"]})


def test_a_fit_needs_the_columns_of_its_branches(tmp_path: Path) -> None:
    reading = Reading({"text": "body"}, tmp_path, False, verbose=False)
    assert len(reading.read_for_fit(TABLE, texts=True, images=False)) == 1
    with pytest.raises(InputError, match="pass image=None"):
        reading.read_for_fit(TABLE[["body"]], texts=True, images=True)
    with pytest.raises(InputError, match="none of the 1 images can be used"):
        reading.read_for_fit(TABLE, texts=True, images=True)
