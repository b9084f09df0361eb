"""Labels and tables of a detector to JSON and Parquet, and back as they were."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._objects import same
from mmevent._tables import without_surrogates
from mmevent.exceptions import ModelFolderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIED = ("alpha", "beta", "pool", "image")


def describe_classes(classes: NDArray[Any]) -> dict[str, Any]:
    """Return the labels and their dtype, if JSON brings them back."""
    described = {"dtype": classes.dtype.str, "values": classes.tolist()}
    try:
        kept = same(read_classes(json.loads(json.dumps(described))), classes)
    except (TypeError, ValueError):
        kept = False
    if not kept:
        raise ModelFolderError(
            f"the classes {classes.tolist()} cannot be saved: expected strings, "
            f"booleans or numbers, got {type(classes[0]).__name__}. Fit with such "
            f"labels, as y.astype(str) makes them."
        )
    return described


def read_classes(described: dict[str, Any]) -> NDArray[Any]:
    """Return the labels that `describe_classes` described."""
    return np.array(described["values"], dtype=described["dtype"])


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Return a table as Parquet, its index included."""
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue()


def from_parquet(data: bytes) -> pd.DataFrame:
    """Return the table of a Parquet file."""
    return pd.read_parquet(io.BytesIO(data))


def table_with_ids(frame: pd.DataFrame) -> bytes:
    """Return Parquet of a table; ids and an index that it cannot hold become text."""
    try:
        return to_parquet(frame)
    except (TypeError, ValueError, ArithmeticError, NotImplementedError):
        # What pyarrow raises for mixed types, numbers beyond 64 bits and the like.
        ids, index = (
            [without_surrogates(str(value)) for value in part]
            for part in (frame["id"], frame.index)
        )
        return to_parquet(frame.assign(id=ids).set_axis(index))


def scores_of(results: dict[str, Any]) -> pd.DataFrame:
    """Return the columns of ``cv_results_`` that the trials do not hold."""
    return pd.DataFrame({k: v for k, v in results.items() if "param" not in k})


def read_cv_results(trials: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any]:
    """Return ``cv_results_`` from the trials and what `scores_of` took."""
    columns = {name: trials[name].tolist() for name in _TRIED}
    return {
        "params": [
            dict(zip(_TRIED, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ],
        **{f"param_{name}": np.ma.MaskedArray(v) for name, v in columns.items()},
        **{name: scores[name].to_numpy() for name in scores},
    }
