"""Detectors with a second stage."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import mmevent
from mmevent import EventDetector, FalsePositiveFilter, ForwardInTime, evaluate
from mmevent.detector.second_stage import NO_SECOND_STAGE
from mmevent.exceptions import InputError, MmeventWarning
from mmevent.rule.policies import choose_threshold
from mmevent.synthetic.demo import demo_branches
from mmevent.synthetic.posts import make_posts

Labelled = tuple[pd.DataFrame, NDArray[np.intp], NDArray[np.float64]]


def words() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0))


class KnowsAll(ClassifierMixin, BaseEstimator):
    """A branch that leaves nothing to a second one: it reads the kind of a post."""

    def fit(self, texts: Any, y: Any) -> KnowsAll:
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, texts: Any) -> Any:
        p = np.array(
            [0.9 if "now" in t or "resc" in t or "risi" in t else 0.1 for t in texts]
        )
        return np.column_stack([1 - p, p])


def make(n: int = 240, seed: int = 0) -> Labelled:
    """Give posts of events, of look-alikes, and of background, a third each."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(n) % 3
    shared = ["flood", "water", "river", "rain", "street"]
    own = [
        ["now", "rescue", "rising"],
        ["pray", "movie", "joke"],
        ["cat", "tea", "bus"],
    ]
    texts = []
    for i, kind in enumerate(kinds):
        topic = rng.choice(shared if kind < 2 else own[2], 3)
        told = rng.choice(own[kind] if rng.random() < 0.85 else own[1 - kind % 2], 1)
        texts.append(" ".join([*topic, *told, f"w{i}"]))
    stage1 = np.where(kinds == 0, 1.0, np.where(kinds == 1, np.nan, 0.0))
    return pd.DataFrame({"text": texts}), (kinds == 0).astype(int), stage1


@pytest.fixture(scope="module")
def labelled() -> Labelled:
    return make()


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {
        "text": words(),
        "image": None,
        "cv": 3,
        "inner_cv": 2,
        "n_trials": 20,
        "second_stage": True,
        "random_state": 0,
    }


@pytest.fixture(scope="module")
def fitted(labelled: Labelled, settings: dict[str, Any]) -> EventDetector:
    posts, y, stage1 = labelled
    return EventDetector(**settings).fit(posts, y, y_stage1=stage1)


# A detector with two stages


def test_look_alikes_are_told_apart(fitted: EventDetector, labelled: Labelled) -> None:
    table = fitted.estimate_.to_frame()
    systems = ["fused", "stage 1", "both stages", "stage 2 given stage 1"]
    assert table.loc[systems, "f1"].notna().all()
    assert table.loc["both stages", "f1"] > table.loc["fused", "f1"] + 0.1
    assert table.loc["stage 1", "recall"] >= table.loc["both stages", "recall"]
    part = table.loc["stage 2 given stage 1"]
    assert part["precision"] == table.loc["both stages", "precision"]
    product = part["recall"] * table.loc["stage 1", "recall"]
    assert product == pytest.approx(table.loc["both stages", "recall"])
    differences = fitted.estimate_.differences.set_index("baseline")
    assert differences.loc["fused", "low"] > 0
    (note,) = (n for n in fitted.estimate_.notes if "the second stage removed" in n)
    assert "false positives" in note
    assert "F1 of both stages minus" in str(fitted.estimate_)


def test_the_audit_says_which_stage_decided(
    fitted: EventDetector, labelled: Labelled
) -> None:
    posts = labelled[0]
    audit = fitted.audit(posts)
    second = audit["stage"] == 2
    assert 0 < second.sum() < len(posts)
    assert audit.loc[second, ["p_text_2", "score_2"]].notna().all(axis=None)
    assert audit.loc[~second, ["p_text_2", "score_2"]].isna().all(axis=None)
    assert ((audit["score"] >= 1) == second).all()
    assert (audit["prediction"] == (audit["margin"] >= 0)).all()
    assert (audit.loc[~second, "prediction"] == 0).all()
    p = fitted.predict_proba(posts)[:, 1]
    np.testing.assert_allclose(p[second], audit.loc[second, "score_2"])
    np.testing.assert_allclose(p[~second], audit.loc[~second, "p_text"])


def test_a_post_is_judged_by_itself(fitted: EventDetector, labelled: Labelled) -> None:
    posts = labelled[0]
    alone = pd.concat([fitted.audit(posts.iloc[[i]]) for i in range(6)])
    whole = fitted.audit(posts.iloc[:6])
    pd.testing.assert_series_equal(alone["score"], whole["score"])
    for policy in ("f1", "budget=10"):
        detector = copy.deepcopy(fitted).set_policy(policy)
        parts = detector.audit(posts, batch_size=37)
        pd.testing.assert_frame_equal(detector.audit(posts), parts)


def test_the_second_stage_learns_from_flagged_and_unknown_posts(
    labelled: Labelled, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    posts, y, stage1 = labelled
    seen: list[tuple[int, int]] = []

    class Watched(LogisticRegression):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            seen.append((X.shape[0], int(y.sum())))
            return super().fit(X, y, sample_weight)

    second = FalsePositiveFilter(text=make_pipeline(TfidfVectorizer(), Watched()))
    detector = EventDetector(**settings | {"second_stage": second, "estimate": None})
    detector.fit(posts, y, y_stage1=stage1)
    assert len(seen) == 3 + 1  # a fold each, and all posts
    n_known = np.isnan(stage1).sum() + (y == 1).sum()
    assert n_known * 0.97 <= seen[-1][0] < len(posts)
    assert seen[-1][1] >= 0.98 * y.sum()


def test_the_second_stage_is_measured_on_what_the_first_flags(
    fitted: EventDetector, labelled: Labelled
) -> None:
    posts, y, stage1 = labelled
    table = fitted.estimate_.to_frame()
    second, first = table.loc["stage 2 given stage 1"], table.loc["stage 1"]
    assert second["n_posts"] == first["n_flagged"] < first["n_posts"]
    assert second["n_events"] == round(first["recall"] * y.sum())
    detector = copy.deepcopy(fitted).set_policy(0.01)  # flags more than stage 1 does
    found = evaluate(detector, posts, y, y_stage1=stage1).to_frame()
    assert found.loc["both stages", "n_flagged"] > first["n_flagged"]
    assert found.loc["stage 2 given stage 1", "n_flagged"] == first["n_flagged"]


def test_the_first_stage_is_the_fitted_one_on_held_out_posts(
    fitted: EventDetector,
) -> None:
    posts, y, _ = make(60, seed=1)
    found = evaluate(fitted, posts, y, held_out=True, drop_seen=True)
    score = fitted.audit(posts)["score"] * fitted.stages_.first.threshold
    p = fitted.text_.predict_proba(posts["text"])[:, 1]
    below = fitted.audit(posts)["stage"] == 1
    np.testing.assert_allclose(score[below], p[below])
    oof = fitted.out_of_fold_
    alone = choose_threshold("f1", oof["p_text"], oof["event"])
    assert found.to_frame().loc["fused", "n_flagged"] == (p >= alone).sum()


def test_policies_apply_to_the_whole(fitted: EventDetector, labelled: Labelled) -> None:
    posts = labelled[0]
    loaded = EventDetector(**fitted.get_params(deep=False))
    vars(loaded).update(vars(fitted))
    assert 5 < loaded.set_policy("budget=10").predict(posts).sum() <= 10
    careful = loaded.set_policy("fbeta=0.5").threshold_
    assert careful >= loaded.set_policy("fbeta=2").threshold_
    assert loaded.set_policy("f1").threshold_ == fitted.stages_.threshold


def test_two_stages_come_back_from_a_folder(
    fitted: EventDetector, labelled: Labelled, tmp_path: Path
) -> None:
    posts, y, stage1 = labelled
    fitted.save(tmp_path / "model")
    loaded = mmevent.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(posts), fitted.audit(posts))
    assert loaded.stages_ == fitted.stages_
    again = evaluate(loaded, posts, y, y_stage1=stage1)
    assert again.table.equals(fitted.estimate_.table)
    assert "judges the post" in (tmp_path / "model" / "README.md").read_text()
    others, labels, _ = make(60, seed=1)
    held_out = evaluate(loaded, others, labels, held_out=True, drop_seen=True)
    assert held_out.to_frame().loc["both stages", "f1"] > 0.6
    with pytest.raises(InputError, match="If fit was given y_stage1, pass it here"):
        evaluate(loaded, posts, y)


def test_cross_fitted_two_stages(labelled: Labelled, settings: dict[str, Any]) -> None:
    posts, y, stage1 = labelled
    detector = EventDetector(**settings | {"estimate": "cross-fit"})
    detector.fit(posts, y, y_stage1=stage1)
    table = detector.estimate_.to_frame()
    assert table.loc["both stages", "f1"] > table.loc["fused", "f1"]


def test_auto_does_without_what_does_not_help(settings: dict[str, Any]) -> None:
    posts, y, stage1 = make(150)
    kept = stage1 == stage1  # no look-alikes
    posts, y = posts[kept].reset_index(drop=True), y[kept]
    one = EventDetector(**settings | {"second_stage": "auto", "estimate": None})
    with pytest.warns(MmeventWarning, match="does not raise F1"):
        one.fit(posts, y)
    assert one.second_stage_ is None
    assert "stage" not in one.audit(posts)
    one.set_params(estimate="nested")
    with pytest.warns(MmeventWarning, match="does not raise F1"):
        one.fit(posts, y)
    estimate = one.estimate_
    assert NO_SECOND_STAGE in estimate.notes
    without = re.search(r"in (\d) of 3 folds the second stage", str(estimate))
    assert without
    named = "both stages" in set(estimate.table["system"])
    assert named == (without[1] != "3")
    assert evaluate(one, posts, y, seeds=[0]).table.equals(estimate.table)


def test_a_second_stage_that_no_fold_keeps_has_no_rows(
    fitted: EventDetector, labelled: Labelled
) -> None:
    posts, y, stage1 = labelled
    other = copy.deepcopy(fitted)
    other.set_params(second_stage="auto", text=KnowsAll())
    found = evaluate(other, posts, y, y_stage1=stage1)
    assert "both stages" not in set(found.table["system"])
    assert "in 3 of 3 folds the second stage" in str(found)
    assert not any("removed" in note for note in found.notes)


def test_auto_keeps_what_helps(labelled: Labelled, settings: dict[str, Any]) -> None:
    posts, y, stage1 = labelled
    detector = EventDetector(**settings | {"second_stage": "auto", "estimate": None})
    assert detector.fit(posts, y, y_stage1=stage1).second_stage_ is not None


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second_stage": "yes"}, "second_stage='yes' is not known"),
        ({"second_stage": 2}, "second_stage=2 is not known"),
        (
            {"second_stage": FalsePositiveFilter(text=3)},
            "text branch 3 is no classifier",
        ),
        ({"second_stage": False}, "y_stage1 is for two stages"),
    ],
)
def test_what_is_no_second_stage(
    changes: dict[str, Any], message: str, labelled: Labelled, settings: dict[str, Any]
) -> None:
    posts, y, stage1 = labelled
    with pytest.raises(InputError, match=message):
        EventDetector(**settings | changes).fit(posts, y, y_stage1=stage1)


@pytest.mark.parametrize(
    ("stage1", "message"),
    [
        (lambda y, s: np.where(np.cumsum(y) % 2, s, 0.0), "contradicts y in 40 posts"),
        (lambda y, s: np.ones(len(y)), r"has the values \[1.0\]"),
        (lambda y, s: np.where(y == 1, 2.0, 0.0), r"has the values \[0.0, 2.0\]"),
        (lambda y, s: np.where(y == 1, "yes", "no"), "holds other than numbers"),
        (lambda y, s: s[:-1], "240"),
    ],
    ids=["contradiction", "one class", "another number", "words", "too short"],
)
def test_labels_of_stage_1_that_cannot_be_used(
    stage1: Any, message: str, labelled: Labelled, settings: dict[str, Any]
) -> None:
    posts, y, known = labelled
    with pytest.raises(InputError, match=message):
        EventDetector(**settings).fit(posts, y, y_stage1=stage1(y, known))


def test_labels_of_stage_1_may_be_a_column_with_gaps(labelled: Labelled) -> None:
    from mmevent.posts.labels import check_stage1

    _, y, stage1 = labelled
    column = pd.Series(stage1).astype("Int64")
    found = check_stage1(column, y == 1, np.arange(len(y)))
    np.testing.assert_array_equal(found, stage1)


def test_nothing_to_tell_apart_is_said(settings: dict[str, Any]) -> None:
    posts = pd.DataFrame({"text": [f"flood w{i}" for i in range(20)]})
    posts = pd.concat([posts, pd.DataFrame({"text": [f"tea v{i}" for i in range(20)]})])
    y = np.repeat([1, 0], 20)
    detector = EventDetector(**settings | {"estimate": None})
    with pytest.raises(InputError, match="nothing to tell apart in some fold"):
        detector.fit(posts, y)
    with pytest.warns(MmeventWarning, match="works without it"):
        detector.set_params(second_stage="auto").fit(posts, y)


def test_flagged_posts_that_are_all_events_leave_nothing_to_tell_apart(
    settings: dict[str, Any],
) -> None:
    rng = np.random.default_rng(0)
    words = np.repeat(["flood", "tea", "zoo"], 40)  # the last are unknown to stage 1
    posts = pd.DataFrame({"text": [f"{w} {rng.integers(1e9)}" for w in words]})
    y, stage1 = (words == "flood").astype(int), np.repeat([1, 0, np.nan], 40)
    detector = EventDetector(**settings | {"estimate": None})
    with pytest.raises(InputError, match="in every fold, got 40 events of 80 posts"):
        detector.fit(posts, y, y_stage1=stage1)
    with pytest.warns(MmeventWarning, match="works without it"):
        detector.set_params(second_stage="auto").fit(posts, y, y_stage1=stage1)
    assert detector.second_stage_ is None


def test_folds_that_leave_posts_untested_are_refused(
    labelled: Labelled, settings: dict[str, Any]
) -> None:
    posts, y, stage1 = labelled
    times = pd.date_range("2024-01-01", periods=len(posts)).astype(str)
    dated = posts.assign(created_at=times)
    detector = EventDetector(**settings | {"cv": ForwardInTime(2)})
    with pytest.raises(InputError, match="With ForwardInTime the earliest posts"):
        detector.fit(dated, y, y_stage1=stage1)


def test_a_frozen_second_stage_is_noted(
    labelled: Labelled, settings: dict[str, Any]
) -> None:
    posts, y, stage1 = labelled
    frozen = FrozenEstimator(words().fit(posts["text"], y))
    second = FalsePositiveFilter(text=frozen)
    detector = EventDetector(**settings | {"second_stage": second})
    notes = detector.fit(posts, y, y_stage1=stage1).estimate_.notes
    assert any("assumes that the frozen branch" in note for note in notes)


def test_a_second_stage_needs_texts(settings: dict[str, Any]) -> None:
    posts, y, _ = make_posts(60, random_state=0)
    image = demo_branches()[1]
    detector = EventDetector(**settings | {"text": None, "image": image})
    with pytest.raises(InputError, match="second_stage judges texts"):
        detector.fit(posts, y)
