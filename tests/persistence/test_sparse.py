"""Sparse matrices of fitted estimators, and search trees: kept, and checked."""

from __future__ import annotations

import io
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csc_array, csr_matrix, save_npz
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from mmevent.exceptions import ModelFolderError
from mmevent.persistence.objects import check_types, from_bytes, to_bytes

TEXTS = ["a march", "the protest march", "a dog", "a sunny day"] * 6
Y = [1, 1, 0, 0] * 6


@pytest.mark.parametrize(
    "branch",
    [
        make_pipeline(TfidfVectorizer(), KNeighborsClassifier(3)),
        make_pipeline(CountVectorizer(), SVC()),
        make_pipeline(
            CountVectorizer(),
            FunctionTransformer(csr_matrix.toarray),
            KNeighborsClassifier(3, algorithm="kd_tree"),
        ),
        make_pipeline(
            CountVectorizer(),
            FunctionTransformer(csr_matrix.toarray),
            KNeighborsClassifier(3, algorithm="ball_tree", p=1),
        ),
    ],
    ids=["sparse neighbours", "sparse SVC", "k-d tree", "ball tree"],
)
def test_what_a_branch_holds_comes_back(branch: Any) -> None:
    branch.fit(TEXTS, Y)
    head = branch[-1]
    back = from_bytes(to_bytes(head, "a branch"), "branch.skops")
    rows = branch[:-1].transform(TEXTS)
    np.testing.assert_array_equal(back.predict(rows), head.predict(rows))
    if hasattr(head, "kneighbors"):
        for one, other in zip(
            back.kneighbors(rows), head.kneighbors(rows), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def with_matrix(matrix: Any) -> bytes:
    """Return a saved estimator in whose file another sparse matrix lies."""
    head = KNeighborsClassifier(2).fit(csr_matrix(np.eye(4)), [0, 1, 0, 1])
    source, target = ZipFile(io.BytesIO(to_bytes(head, "a head"))), io.BytesIO()
    with ZipFile(target, "w") as written:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".npz"):
                made_up = io.BytesIO()
                save_npz(made_up, matrix)
                data = made_up.getvalue()
            written.writestr(name, data)
    return target.getvalue()


def broken(**arrays: Any) -> Any:
    matrix = csr_matrix(np.eye(4))
    for name, values in arrays.items():
        setattr(matrix, name, np.asarray(values))
    return matrix


BAD = {
    "column outside": broken(indices=np.array([0, 1, 2, 9], np.int32)),
    "column below 0": broken(indices=np.array([0, -1, 2, 3], np.int32)),
    "starts that fall": broken(indptr=np.array([0, 3, 1, 3, 4], np.int32)),
    "starts below 0": broken(indptr=np.array([0, -9, 2, 3, 4], np.int32)),
    "too few cells": broken(indptr=np.array([0, 1, 2, 3, 99], np.int32)),
    "texts": broken(data=np.array(["a", "b", "c", "d"])),
    "other format": coo_matrix(np.eye(4)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_made_up_matrix_is_refused(kind: str) -> None:
    data = with_matrix(BAD[kind])
    check_types(data, "branch.skops")
    with pytest.raises(ModelFolderError, match=r"^branch\.skops cannot be read"):
        from_bytes(data, "branch.skops")


def test_a_sparse_array_by_columns_is_kept() -> None:
    array = csc_array(np.eye(3))
    back = from_bytes(to_bytes({"array": array}, "an array"), "array.skops")
    assert type(back["array"]) is csc_array
    np.testing.assert_array_equal(back["array"].toarray(), np.eye(3))


def test_a_metric_that_is_no_name_is_refused() -> None:
    head = KNeighborsClassifier(2, algorithm="kd_tree").fit(np.eye(4), [0, 1, 0, 1])
    head.effective_metric_ = None
    with pytest.raises(ValueError, match="metric that is no name"):
        from_bytes(to_bytes(head, "a head"), "branch.skops")
