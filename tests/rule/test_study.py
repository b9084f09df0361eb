"""The study of Optuna: it leaves Optuna's log as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from mmevent.rule.fusion import Evidence
from mmevent.rule.search import Search, tune_rule
from mmevent.synthetic.scores import make_scores

SCORES = make_scores(300, random_state=0)
EVIDENCE = Evidence.from_images(SCORES.p_text, SCORES.p_image, SCORES.post)


@pytest.mark.parametrize("level", [optuna.logging.INFO, optuna.logging.ERROR])
def test_the_verbosity_of_optuna_is_put_back(
    level: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        tune_rule(EVIDENCE, SCORES.y, search=Search(n_trials=2))
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_verbosity_of_optuna_is_put_back_after_an_error() -> None:
    before = optuna.logging.get_verbosity()
    with pytest.raises(Exception, match="dialect|URL|url|parse"):
        tune_rule(EVIDENCE, SCORES.y, search=Search(storage="nonsense"))
    assert optuna.logging.get_verbosity() == before


def test_searches_side_by_side_leave_the_log_as_it_was() -> None:
    before = optuna.logging.get_verbosity()
    evidence = Evidence.from_images([0.9, 0.7, 0.2, 0.1], [0.9, 0.1], [0, 2])

    def run(n_trials: int) -> None:
        tune_rule(evidence, [1, 0, 1, 0], search=Search(n_trials=n_trials))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, [5, 40]))
    assert optuna.logging.get_verbosity() == before
