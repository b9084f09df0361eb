"""Tables of a search's trials."""

from __future__ import annotations

import numpy as np

from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, f1_of, tune_rule
from mmevent.rule.trials import cv_results, trials_frame
from mmevent.synthetic.scores import make_scores

SCORES = make_scores(600, random_state=0)
EVIDENCE = Evidence.from_images(SCORES.p_text, SCORES.p_image, SCORES.post)


def test_trials_are_a_table() -> None:
    search = Search(n_trials=6, random_state=0)
    found = tune_rule(EVIDENCE, SCORES.y, search=search)
    frame = trials_frame(found)
    columns = ["trial", "alpha", "beta", "pool", "threshold", "image", "value"]
    assert frame.columns.tolist() == columns
    assert frame["value"].tolist() == found.values
    assert frame["alpha"].tolist() == [rule.alpha for rule in found.rules]


def test_cv_results_have_the_layout_of_scikit_learn() -> None:
    evidence, y = EVIDENCE, SCORES.y
    found = tune_rule(evidence, y, search=Search(n_trials=6, random_state=0))
    fold = np.arange(len(y)) % 3 - 1  # the first fold is tested by none
    results = cv_results(found, evidence, y, fold)
    per_split = np.column_stack([results[f"split{j}_test_score"] for j in range(2)])
    assert "split2_test_score" not in results
    for i, rule in enumerate(found.rules):
        assert results["params"][i]["alpha"] == rule.alpha
        assert results["param_pool"][i] == rule.pool
        for j in range(2):
            rows = fold == j
            flagged = rule.score(evidence)[rows] >= rule.threshold
            assert per_split[i, j] == f1_of(flagged, y[rows] == 1)
    np.testing.assert_allclose(results["mean_test_score"], per_split.mean(axis=1))
    np.testing.assert_allclose(results["std_test_score"], per_split.std(axis=1))
    ranks = [
        1 + (results["mean_test_score"] > m).sum() for m in results["mean_test_score"]
    ]
    assert results["rank_test_score"].tolist() == ranks
