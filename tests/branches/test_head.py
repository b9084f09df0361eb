from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_info, threadpool_limits

from mmevent.branches.head import (
    C_GRID,
    balanced_weight,
    fit_head,
    grouped_folds,
    one_blas_thread,
)
from mmevent.exceptions import InputError


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        yield


def _data(
    n: int = 120, classes: int = 2, width: int = 8, seed: int = 0
) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, width)) * np.linspace(1, 50, width) + 3
    x[:, 0] += y
    return x.astype(np.float32), y


def _exact_losses(x: Any, y: Any, weight: Any, groups: Any) -> Any:
    """Return the log loss of each `C`, from fits at a tight tolerance."""
    from sklearn.metrics import log_loss

    scaled = StandardScaler().fit_transform(x.astype(float))
    losses = []
    for strength in C_GRID:
        proba = np.zeros((len(y), len(np.unique(y))))
        for train, test in grouped_folds(y, groups):
            head = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000)
            head.fit(scaled[train], y[train], sample_weight=weight[train])
            proba[test] = head.predict_proba(scaled[test])
        losses.append(log_loss(y, proba, sample_weight=weight))
    return np.array(losses)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_c_and_probabilities_are_those_of_exact_fits(classes: int, seed: int) -> None:
    x, y = _data(classes=classes, seed=seed)
    rng = np.random.default_rng(seed)
    sample_weight = rng.uniform(0.2, 2, len(y))
    groups = rng.integers(0, 60, len(y))
    head = fit_head(x, y, sample_weight=sample_weight, groups=groups)
    weight = balanced_weight(y, "balanced", sample_weight)
    losses = _exact_losses(x, y, weight, groups)
    assert head[-1].C == C_GRID[int(np.argmin(losses))]
    scaled = StandardScaler().fit_transform(x.astype(float))
    exact = LogisticRegression(C=head[-1].C, tol=1e-10, max_iter=10_000)
    exact.fit(scaled, y, sample_weight=weight)
    assert_allclose(head.predict_proba(x), exact.predict_proba(scaled), atol=1e-4)


def test_different_signals_choose_different_c() -> None:
    x, y = _data(n=600)
    x[:, 0] += 20 * y
    strong = fit_head(x, y)[-1].C
    noise = fit_head(np.random.default_rng(0).normal(size=(600, 300)), y)[-1].C
    assert noise == C_GRID[0] < strong == C_GRID[-1]


def test_a_tie_takes_the_smaller_c() -> None:
    y = np.array([0, 1] * 30)
    assert fit_head(np.zeros((60, 3)), y)[-1].C == C_GRID[0]


def test_the_default_head_is_a_plain_pipeline() -> None:
    x, y = _data()
    head = fit_head(x, y)
    assert [type(step).__name__ for _, step in head.steps] == [
        "StandardScaler",
        "LogisticRegression",
    ]
    check_is_fitted(head)


def test_the_default_head_is_the_same_every_time() -> None:
    x, y = _data()
    first, second = fit_head(x, y), fit_head(x, y)
    np.testing.assert_array_equal(first[-1].coef_, second[-1].coef_)


def test_rounding_is_no_feature() -> None:
    x, y = _data()
    noise = np.random.default_rng(0).normal(size=len(y)) * 1e-7
    with_noise = np.column_stack([x, 0.04 + noise]).astype(np.float32)
    head = fit_head(with_noise, y)
    elsewhere = with_noise.copy()
    elsewhere[:, -1] += 1e-5  # the last digits of another machine
    assert_allclose(head.predict_proba(elsewhere), head.predict_proba(with_noise))
    assert_allclose(head.predict_proba(with_noise), fit_head(x, y).predict_proba(x))


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1.0, 1.0], [7, 9]])
def test_labels_of_any_type_are_kept(labels: list[Any]) -> None:
    x, y = _data()
    head = fit_head(x, np.array(labels)[y])
    assert head.classes_.tolist() == labels
    assert set(head.predict(x).tolist()) <= set(labels)


def test_balanced_weights_give_each_class_the_same_total() -> None:
    _, y = _data(classes=3)
    sample_weight = np.random.default_rng(0).uniform(size=len(y))
    weight = balanced_weight(y, "balanced", sample_weight)
    assert_allclose(np.bincount(y, weights=weight), sample_weight.sum() / 3)


def test_class_weights_can_be_given_or_none() -> None:
    y = np.array(["a", "b", "b"])
    assert balanced_weight(y, None, None).tolist() == [1, 1, 1]
    assert balanced_weight(y, {"a": 3.0}, np.array([1.0, 2.0, 3.0])).tolist() == [
        3,
        2,
        3,
    ]


@pytest.mark.parametrize("class_weight", ["auto", 3])
def test_an_unknown_class_weight_is_refused(class_weight: Any) -> None:
    x, y = _data()
    with pytest.raises(InputError, match="`class_weight` must be 'balanced', None or"):
        fit_head(x, y, class_weight=class_weight)


@pytest.mark.parametrize("n_groups", [30, 500])
@pytest.mark.parametrize("seed", [None, 0])
def test_folds_leave_groups_whole_and_share_out_classes(
    n_groups: int, seed: int | None
) -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, n_groups, 1500)
    y = (rng.random(1500) < 0.2).astype(int)
    folds = grouped_folds(y, groups, seed)
    assert len(folds) == 3
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(1500))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == 1500
        assert 0.15 < y[test].mean() < 0.25


def test_folds_share_out_a_rare_class_among_many_groups() -> None:
    groups = np.repeat(np.arange(400), 3)
    y = np.zeros(1200, dtype=int)
    y[[0, 30, 60, 90, 120, 150]] = 1
    assert [y[test].sum() for _, test in grouped_folds(y, groups)] == [2, 2, 2]


def test_folds_change_with_the_seed() -> None:
    _, y = _data()
    groups = np.arange(len(y))
    plain, one, two = (grouped_folds(y, groups, seed) for seed in (None, 1, 2))
    assert plain[0][1].tolist() != one[0][1].tolist() != two[0][1].tolist()


@pytest.mark.parametrize(("positives", "n_folds"), [(1, 0), (2, 2), (3, 3), (9, 3)])
def test_there_are_no_more_folds_than_groups_of_the_rarer_class(
    positives: int, n_folds: int
) -> None:
    y = np.zeros(60, dtype=int)
    y[: 2 * positives] = 1
    groups = np.arange(60) // 2
    assert len(grouped_folds(y, groups)) == n_folds


def test_c_is_fixed_where_there_are_no_folds() -> None:
    x, y = _data()
    assert fit_head(x, y, groups=y)[-1].C == 0.01


def test_a_fold_whose_training_part_lacks_a_class_is_not_used() -> None:
    y = np.array([0] * 20 + [1, 2, 1, 2])
    groups = np.array([*range(20), 20, 20, 21, 21])
    for train, _ in grouped_folds(y, groups):
        assert set(y[train]) == {0, 1, 2}


def test_a_head_of_the_callers_is_cloned_and_seeded() -> None:
    x, y = _data()
    mine = RandomForestClassifier(n_estimators=3)
    first = fit_head(x, y, head=mine, random_state=3)
    second = fit_head(x, y, head=mine, random_state=3)
    assert first is not mine
    with pytest.raises(NotFittedError):
        check_is_fitted(mine)
    np.testing.assert_array_equal(first.predict_proba(x), second.predict_proba(x))


def test_a_random_state_of_the_head_is_kept() -> None:
    x, y = _data()
    mine = RandomForestClassifier(n_estimators=2, random_state=7)
    assert fit_head(x, y, head=mine, random_state=3).random_state == 7


@pytest.mark.parametrize(
    "head",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), make_pipeline(LogisticRegression())),
        make_pipeline(StandardScaler(), LinearSVC()),
        LinearSVC(),
    ],
    ids=["plain", "pipeline", "nested", "calibrated-pipeline", "calibrated"],
)
@pytest.mark.parametrize("routing", [False, True])
def test_a_head_is_given_the_sample_weights(head: Any, routing: bool) -> None:
    x, y = _data(n=90)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    weight = np.where(y == 1, 20.0, 1.0)
    with config_context(enable_metadata_routing=routing):
        plain = fit_head(x, y, head=head)
        weighted = fit_head(x, y, head=head, sample_weight=weight)
    assert weighted.predict(x).sum() > plain.predict(x).sum() + 5


def test_a_head_that_takes_no_weights_is_fitted_without() -> None:
    x, y = _data()
    head = fit_head(x, y, head=KNeighborsClassifier(), sample_weight=np.ones(len(y)))
    assert head.predict_proba(x).shape == (len(y), 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_without_probabilities_is_calibrated(classes: int) -> None:
    x, y = _data(classes=classes)
    head = fit_head(x, y, head=make_pipeline(StandardScaler(), LinearSVC()))
    assert isinstance(head, CalibratedClassifierCV)
    assert_allclose(head.predict_proba(x).sum(axis=1), 1)


def test_calibration_uses_the_grouped_folds() -> None:
    x, y = _data()
    groups = np.arange(len(y)) // 4
    head = fit_head(x, y, head=LinearSVC(), groups=groups)
    for (train, test), (again, part) in zip(
        head.cv, grouped_folds(y, groups), strict=True
    ):
        np.testing.assert_array_equal(train, again)
        np.testing.assert_array_equal(test, part)


@pytest.mark.parametrize(
    ("head", "groups"),
    [
        (VotingClassifier([("a", LinearSVC())], voting="hard"), None),
        (LinearSVC(), "y"),
    ],
    ids=["nothing to calibrate", "no folds"],
)
def test_a_head_that_cannot_be_calibrated_is_refused(head: Any, groups: Any) -> None:
    x, y = _data()
    with pytest.raises(InputError, match="`head` must give probabilities, or a"):
        fit_head(x, y, head=head, groups=y if groups else None)


@pytest.mark.parametrize("head", [Ridge(), StandardScaler(), "logistic", LinearSVC])
def test_a_head_must_be_a_classifier(head: Any) -> None:
    x, y = _data()
    with pytest.raises(InputError, match="`head` must be None or a scikit-learn class"):
        fit_head(x, y, head=head)


def test_blas_threads_are_put_back() -> None:
    x, y = _data()
    with threadpool_limits(2, user_api="blas"):
        before = [pool["num_threads"] for pool in threadpool_info()]
        fit_head(x, y)
        with pytest.raises(InputError):
            fit_head(x, y, head=LinearSVC(), groups=y)
        assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_blas_gets_its_threads_back_when_users_overlap() -> None:
    def threads() -> set[int]:
        pools = threadpool_info()
        return {p["num_threads"] for p in pools if p["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == {2}


@pytest.mark.parametrize(
    "class_weight", [{"protest": 50.0}, {"1": 5}, {1: -2.0}, {1: np.nan}, {1: "much"}]
)
def test_weights_of_other_classes_or_below_0_are_refused(class_weight: Any) -> None:
    x, y = np.arange(40.0)[:, None], np.arange(40) % 2
    with pytest.raises(InputError, match=r"map labels to finite .*labels \[0, 1\]"):
        fit_head(x, y, class_weight=class_weight)


def test_a_class_that_these_rows_lack_may_have_a_weight() -> None:
    weight = balanced_weight(np.array(["a", "b"]), {"a": 2, "b": 3, "c": 4}, None)
    assert weight.tolist() == [2, 3]
