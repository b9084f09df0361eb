"""Parts of the caller's own, in every place where one may stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from detector.helpers import Data, draw
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mmevent import EventDetector, ImageClassifier, TextClassifier, evaluate, load
from mmevent.exceptions import ModelFolderError
from mmevent.synthetic import ImageStatistics


class Words(ClassifierMixin, BaseEstimator):
    """A text branch: the share of a text's words that are of a list."""

    def __init__(self, words: Any = ("march", "protest", "police")) -> None:
        self.words = words

    def fit(self, X: Any, y: Any) -> Words:
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        p = [np.isin(text.lower().split(), list(self.words)).mean() for text in X]
        return np.column_stack([1 - np.array(p), p])


class Lengths(TransformerMixin, BaseEstimator):
    """An encoder of texts: numbers of letters and of some words."""

    def __init__(self, *, power: float = 1.0) -> None:
        self.power = power

    def fit(self, X: Any, y: Any = None) -> Lengths:
        self.n_seen_ = len(X)
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        words = ("march", "protest", "police", "sunny")
        rows = [[len(t), *(t.lower().count(w) for w in words)] for t in X]
        return np.array(rows, dtype=float).reshape(-1, 5) ** self.power


class Colours(TransformerMixin, BaseEstimator):
    """An encoder of pictures: their mean colour."""

    def __init__(self, *, scale: float = 255.0) -> None:
        self.scale = scale

    def fit(self, X: Any, y: Any = None) -> Colours:
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        rows = [np.asarray(X[i], dtype=float).mean(axis=(0, 1)) for i in range(len(X))]
        return np.array(rows).reshape(-1, 3) / self.scale


class Steep(LogisticRegression):
    """A head: a logistic regression with another default."""

    def __init__(self, *, C: float = 10.0) -> None:
        super().__init__(C=C)


class Careful(EventDetector):
    """A detector with a parameter of its own, that flags few posts."""

    def __init__(
        self,
        *,
        text: Any = "auto",
        image: Any = "auto",
        cv: Any = 5,
        n_trials: int = 200,
        estimate: str | None = "auto",
        random_state: Any = None,
        weight: float = 0.5,
    ) -> None:
        super().__init__(
            text=text,
            image=image,
            cv=cv,
            n_trials=n_trials,
            estimate=estimate,
            random_state=random_state,
        )
        self.weight = weight

    def fit(self, posts: Any, y: Any, **others: Any) -> Careful:
        super().fit(posts, y, **others)
        self.set_policy(f"fbeta={self.weight:g}")
        return self


class Worded(EventDetector):
    """A detector whose audit says in words what it found."""

    def audit(self, posts: Any, **options: Any) -> pd.DataFrame:
        audit = super().audit(posts, **options)
        return audit.assign(word=np.where(audit["margin"] >= 0, "event", "none"))


def words() -> Any:
    """Return an encoder of texts of scikit-learn's parts alone."""
    return make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0))


HEAD = LogisticRegression()
CHANGES = {
    "text branch": ({"text": Words()}, "text__words", ["march"]),
    "text encoder": (
        {"text": TextClassifier(Lengths(), head=HEAD)},
        "text__encoder__power",
        0.5,
    ),
    "encoder of scikit-learn": (
        {"text": TextClassifier(words(), head=HEAD)},
        "text__encoder__truncatedsvd__n_components",
        3,
    ),
    "text head": (
        {"text": TextClassifier(words(), head=Steep())},
        "text__head__C",
        0.1,
    ),
    "picture encoder": (
        {"image": ImageClassifier(Colours(), head=HEAD)},
        "image__encoder__scale",
        100.0,
    ),
    "picture encoder of ours": (
        {"image": ImageClassifier(ImageStatistics(), head=HEAD)},
        "image__encoder__side",
        2,
    ),
    "second stage": ({"second_stage": True, "text": Words()}, "text__words", ["march"]),
}
REFUSED = {
    "text branch": "Words",
    "text encoder": "Lengths",
    "text head": "Steep",
    "picture encoder": "Colours",
    "second stage": "Words",
}


@pytest.fixture(scope="module", params=list(CHANGES))
def own(
    request: pytest.FixtureRequest, settings: dict[str, Any], data: Data
) -> tuple[str, EventDetector]:
    """A fitted detector with one part of the caller's own, and which it is."""
    plain = {"text": make_pipeline(TfidfVectorizer(), LogisticRegression())}
    plain |= {"image": make_pipeline(ImageStatistics(), LogisticRegression())}
    detector = EventDetector(**settings | plain | CHANGES[request.param][0])
    return request.param, detector.fit(*data)


def test_a_part_of_ones_own_is_used(own: tuple[str, EventDetector], data: Data) -> None:
    detector = own[1]
    audit = detector.audit(data[0])
    assert {"both", "text"} <= set(audit["rule"])
    for name in ("p_text", "p_image"):
        assert audit[name].dropna().between(0, 1).all()
        assert audit[name].nunique() > 3
    assert evaluate(detector, *data).to_frame().loc["fused", "n_posts"] == 80


def test_a_clone_fits_alike(own: tuple[str, EventDetector], data: Data) -> None:
    other = clone(own[1])
    with pytest.raises(NotFittedError):
        other.predict(data[0])
    other.fit(*data)
    pd.testing.assert_frame_equal(other.audit(data[0]), own[1].audit(data[0]))


def test_a_search_reaches_its_parameters(
    own: tuple[str, EventDetector], data: Data
) -> None:
    part, detector = own
    _, name, value = CHANGES[part]
    before = detector.get_params()[name]
    grid = GridSearchCV(
        clone(detector), {name: [value]}, cv=2, refit=False, error_score="raise"
    ).fit(*data)
    assert grid.best_params_ == {name: value}
    assert 0 < grid.best_score_ <= 1
    assert detector.get_params()[name] == before != value


def test_it_is_saved_or_refused_by_its_name(
    own: tuple[str, EventDetector], tmp_path: Path
) -> None:
    part, detector = own
    posts, _ = draw(20, seed=3)
    if part in REFUSED:
        with pytest.raises(
            ModelFolderError, match=rf"cannot be saved.*{REFUSED[part]}"
        ):
            detector.save(tmp_path / "model")
        assert list(tmp_path.iterdir()) == []
        return
    detector.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.audit(posts), detector.audit(posts))


# Classes derived from the detector


@pytest.fixture(scope="module", params=[Careful, Worded])
def derived(
    request: pytest.FixtureRequest, settings: dict[str, Any], data: Data
) -> EventDetector:
    given = {k: v for k, v in settings.items() if k != "inner_cv"}
    return request.param(**given).fit(*data)


def test_a_derived_detector_is_cloned_and_searched(
    derived: EventDetector, data: Data
) -> None:
    other = clone(derived)
    assert type(other) is type(derived)
    assert other.get_params(deep=False).keys() == derived.get_params(deep=False).keys()
    assert not hasattr(other, "threshold_")
    pd.testing.assert_frame_equal(
        other.fit(*data).audit(data[0]), derived.audit(data[0])
    )
    grid = GridSearchCV(
        other, {"text__smoothing": [0.5, 2.0]}, cv=2, error_score="raise"
    )
    assert type(grid.fit(*data).best_estimator_) is type(derived)


def test_a_derived_detector_does_what_its_class_says(
    settings: dict[str, Any], data: Data
) -> None:
    given = {k: v for k, v in settings.items() if k != "inner_cv"}
    plain = EventDetector(**settings).fit(*data)
    careful = Careful(**given).fit(*data)
    assert careful.policy_ == "fbeta=0.5"
    assert careful.threshold_ == plain.set_policy("fbeta=0.5").threshold_
    assert Careful(**given, weight=2).fit(*data).policy_ == "fbeta=2"
    worded = Worded(**settings).fit(*data)
    audit = worded.audit(data[0], batch_size=30)
    assert set(audit["word"]) == {"event", "none"}
    np.testing.assert_array_equal(worded.predict(data[0]), audit["prediction"])
    assert evaluate(worded, *data).kind == "nested"


def test_a_derived_detector_is_not_saved(
    derived: EventDetector, tmp_path: Path
) -> None:
    name = type(derived).__name__
    with pytest.raises(
        ModelFolderError, match=f"a {name} cannot be saved: expected an"
    ):
        derived.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
