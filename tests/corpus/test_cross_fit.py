"""Predictions of posts from the coded posts of other folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mmevent.corpus.cross_fit import cross_fitted


def corpus(n: int = 2000) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    event = rng.random(n) < 0.2
    score = rng.normal(2.0 * event)
    audit = pd.DataFrame({"id": np.arange(n), "score": score, "margin": score - 1})
    return audit, event.astype(float)


def test_predictions_are_calibrated() -> None:
    audit, event = corpus()
    rows = np.arange(0, 2000, 2)
    p = cross_fitted(audit, rows, event[rows], ())
    assert_allclose(p.mean(), event.mean(), atol=0.02)
    high = p > 0.5
    assert_allclose(p[high].mean(), event[high].mean(), atol=0.08)


def test_a_monotone_change_of_scores_changes_nothing() -> None:
    audit, event = corpus()
    rows = np.arange(0, 2000, 8)
    one = cross_fitted(audit, rows, event[rows], ())
    other = cross_fitted(
        audit.assign(score=np.exp(audit["score"])), rows, event[rows], ()
    )
    assert_allclose(one, other)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_class_give_a_share_that_is_not_certain(label: float) -> None:
    audit, _ = corpus()
    p = cross_fitted(audit, np.arange(100), np.full(100, label), ())
    assert (0 < p).all()
    assert (p < 1).all()
    assert_allclose(p, label, atol=0.01)


def test_half_a_label_counts_for_both_classes() -> None:
    audit, _ = corpus()
    p = cross_fitted(audit, np.arange(300), np.full(300, 0.5), ())
    assert_allclose(p, 0.5, atol=1e-6)


def test_calibrated_probabilities_are_used() -> None:
    audit, event = corpus()
    audit["probability"] = np.where(event == 1, 0.9, 0.1)
    rows = np.arange(0, 2000, 8)
    p = cross_fitted(audit, rows, event[rows], ())
    assert p[event == 1].min() > p[event == 0].max()
