"""Encoders of one's own, in a classifier of texts."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mmevent import TextClassifier, TextEncoder
from mmevent.exceptions import InputError, UnusableInputWarning

Y = np.arange(60) % 2


def words(n_features: int = 4) -> Any:
    return make_pipeline(TfidfVectorizer(), TruncatedSVD(n_features, random_state=0))


def test_it_is_fitted_on_the_rows_of_the_fit_alone(texts: list[str]) -> None:
    weight = np.r_[np.zeros(20), np.ones(40)]
    branch = TextClassifier(words()).fit(texts, Y, sample_weight=weight)
    expected = TextClassifier(words()).fit(texts[20:], Y[20:])
    assert branch.encoder_[0].vocabulary_ == expected.encoder_[0].vocabulary_
    assert_array_equal(branch.predict_proba(texts), expected.predict_proba(texts))


def test_it_is_given_labels_and_a_seed(texts: list[str]) -> None:
    best = make_pipeline(TfidfVectorizer(), SelectKBest(k=20), TruncatedSVD(3))
    first, second = (
        TextClassifier(best, random_state=5).fit(texts, Y) for _ in range(2)
    )
    assert_array_equal(first.predict_proba(texts), second.predict_proba(texts))
    assert isinstance(first.encoder_[-1].random_state, int)
    assert best[-1].random_state is None


def test_encoder_and_head_of_ones_own_are_searched(texts: list[str]) -> None:
    branch = TextClassifier(words(), head=LogisticRegression())
    grid = {"encoder__truncatedsvd__n_components": [2, 5], "head__C": [0.1, 1.0]}
    search = GridSearchCV(branch, grid, cv=2, error_score="raise").fit(texts, Y)
    best = search.best_estimator_
    assert best.encoder_[1].n_components in (2, 5)
    assert best.head_.C == search.best_params_["head__C"]
    assert clone(best).get_params()["head__C"] == best.head_.C


def test_our_encoder_within_a_pipeline_is_one_of_ones_own(
    tiny_text_model: str, texts: list[str]
) -> None:
    encoder = make_pipeline(TextEncoder(tiny_text_model), PCA(3, random_state=0))
    branch = TextClassifier(encoder).fit(texts, Y)
    assert branch.head_.n_features_in_ == 3


class Kind(TransformerMixin, BaseEstimator):
    """Gives back what it is made with, however many texts there are."""

    def __init__(self, found: Any = None) -> None:
        self.found = found

    def fit(self, X: Any, y: Any = None) -> Kind:
        return self

    def transform(self, X: Any) -> Any:
        return np.array([[self.found[text]] for text in X])


def test_rows_that_it_cannot_encode_are_left_out(texts: list[str]) -> None:
    encoder = Kind({text: i % 2 + 0.1 for i, text in enumerate(texts)} | {"%": np.nan})
    branch = TextClassifier(encoder)
    with pytest.warns(UnusableInputWarning, match="1 texts cannot be used"):
        branch.fit(["%", *texts], [0, *Y])
    with pytest.warns(UnusableInputWarning, match="given NaN"):
        proba = branch.predict_proba(["%", texts[1]])
    assert np.isnan(proba[0]).all()
    assert np.isfinite(proba[1]).all()


def test_an_encoder_of_ones_own_is_not_fine_tuned(texts: list[str]) -> None:
    message = r"(?s)cannot train the encoder .*train='head'"
    with pytest.raises(InputError, match=message):
        TextClassifier(words(), train="all").fit(texts, Y)


def test_any_transformer_of_texts_is_an_encoder(texts: list[str]) -> None:
    encoder = words()
    branch = TextClassifier(encoder).fit(texts, Y)
    assert not hasattr(encoder[0], "vocabulary_")
    assert branch.encoder_[1].components_.shape[0] == 4
    expected = clone(encoder).fit(texts)
    assert_allclose(
        branch.predict_proba(texts),
        branch.head_.predict_proba(expected.transform(texts)),
    )
    assert branch.predict_proba([]).shape == (0, 2)
    assert branch.is_truncated(["a " * 900]).tolist() == [False]
    again = pickle.loads(pickle.dumps(branch))
    assert_array_equal(again.predict_proba(texts), branch.predict_proba(texts))


def test_a_random_state_seeds_an_encoder_of_ones_own(texts: list[str]) -> None:
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(3))
    seeds = [
        TextClassifier(encoder, random_state=np.random.RandomState(3))
        .fit(texts, Y)
        .encoder_[-1]
        .random_state
        for _ in range(2)
    ]
    assert seeds[0] == seeds[1]
    assert isinstance(seeds[0], int)
