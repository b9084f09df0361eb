"""Sparse matrices and search trees of neighbours, which compiled code reads unchecked.

Nearest neighbours and support vector machines on word counts hold sparse matrices.
"""

from __future__ import annotations

from typing import Any

from sklearn.neighbors import BallTree, KDTree
from sklearn.neighbors._base import NeighborsBase

# A type that a file names is loaded as what the file holds: see `check_sparse`.
SPARSE_TYPES = [
    f"scipy.sparse._{kind}.{kind}_{form}"
    for kind in ("csr", "csc")
    for form in ("matrix", "array")
]
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}


def check_sparse(matrix: Any) -> None:
    """Validate that a sparse matrix has one shape and leads to no place outside it.

    Compiled code uses its row starts and column numbers as addresses in memory.
    """
    if matrix.format not in ("csr", "csc") or matrix.ndim != 2:
        raise ValueError(f"a sparse matrix is of the format {matrix.format}")
    parts = (matrix.data, matrix.indices, matrix.indptr)
    kinds = "".join(part.dtype.kind for part in parts)
    if kinds[0] not in "biuf" or kinds[1:] != "ii" or min(matrix.shape) < 0:
        raise ValueError("a sparse matrix holds something else than numbers")
    matrix.check_format(full_check=True)


def drop_tree(part: Any) -> None:
    """Take the search tree out of fitted neighbours: it is made again from their rows.

    A tree cannot be checked, since its numbers are addresses in memory.
    """
    if isinstance(part, NeighborsBase) and getattr(part, "_tree", None) is not None:
        part._tree = None


def restore(part: Any) -> None:
    """Make the search tree of neighbours again."""
    if not isinstance(part, NeighborsBase):
        return
    kind = _TREES.get(getattr(part, "_fit_method", ""))
    if kind is not None:
        metric, settings = part.effective_metric_, part.effective_metric_params_
        if not isinstance(metric, str):
            raise ValueError("neighbours have a metric that is no name")
        part._tree = kind(part._fit_X, part.leaf_size, metric=metric, **settings)
