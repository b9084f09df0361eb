from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from mmevent import ClipEncoder, ImageEncoder
from mmevent.branches.text import TextClassifier
from mmevent.encoders.cache import shared_memo
from mmevent.encoders.text import DEFAULT_TEXT_MODEL, TextEncoder, TextModel
from mmevent.exceptions import (
    InputError,
    ModelUnavailableError,
    UnusableInputWarning,
)

Y = np.arange(60) % 2


@pytest.fixture(scope="module")
def fitted_once(tiny_text_model: str, texts: list[str]) -> TextClassifier:
    return TextClassifier(tiny_text_model).fit(texts, Y)


@pytest.fixture
def fitted(fitted_once: TextClassifier) -> TextClassifier:
    """A copy, which a test may change."""
    return copy.deepcopy(fitted_once)


@pytest.fixture
def with_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the encoder's output for texts with "%" not finite."""
    forward = TextModel._forward

    def broken(self: TextModel, items: list[str]) -> Any:
        rows = forward(self, items).copy()
        rows[["%" in text for text in items], 1] = np.nan
        return rows

    monkeypatch.setattr(TextModel, "_forward", broken)


def test_it_learns_and_gives_probabilities(
    fitted: TextClassifier, texts: list[str]
) -> None:
    proba = fitted.predict_proba(texts)
    assert proba.shape == (60, 2)
    assert_allclose(proba.sum(axis=1), 1)
    assert_array_equal(fitted.predict(texts), proba.argmax(axis=1))
    assert fitted.score(texts, Y) > 0.65


def test_parameters_are_stored_untouched_and_nothing_is_checked_before_fit() -> None:
    wrong = {"encoder": 3, "head": "x", "train": -1, "n_epochs": "x"}
    branch = TextClassifier(**wrong)  # type: ignore[arg-type]
    assert {name: branch.get_params()[name] for name in wrong} == wrong
    assert TextClassifier().encoder == DEFAULT_TEXT_MODEL


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [False, True], [0.0, 1.0], [-1, 1]], ids=str
)
def test_labels_of_any_type_are_kept(
    tiny_text_model: str, texts: list[str], labels: list[Any]
) -> None:
    y = np.array(labels)[Y]
    branch = TextClassifier(tiny_text_model).fit(texts, y)
    assert branch.classes_.tolist() == labels
    assert branch.predict(texts).dtype == y.dtype


def test_three_classes_are_learned(tiny_text_model: str, texts: list[str]) -> None:
    branch = TextClassifier(tiny_text_model).fit(texts, np.arange(60) % 3)
    assert_allclose(branch.predict_proba(texts).sum(axis=1), 1)
    assert branch.predict_proba(texts).shape == (60, 3)


@pytest.mark.parametrize(
    "kind",
    [list, tuple, pd.Series, np.array, lambda x: np.array(x, dtype=object)],
    ids=["list", "tuple", "series", "array", "object array"],
)
def test_any_sequence_of_str_is_read(
    fitted: TextClassifier, texts: list[str], kind: Any
) -> None:
    assert_array_equal(fitted.predict_proba(kind(texts)), fitted.predict_proba(texts))


@pytest.mark.parametrize(
    "X", ["a text", b"bytes", {"a": "b"}, 3, None, np.array([["a"]]), pd.DataFrame()]
)
def test_what_is_no_sequence_of_texts_is_refused(tiny_text_model: str, X: Any) -> None:
    with pytest.raises(InputError, match="X must be a sequence of texts; got"):
        TextClassifier(tiny_text_model).fit(X, [0])


@pytest.mark.parametrize("text", [None, float("nan"), 3, b"a", ["a"]])
def test_a_row_that_is_no_text_is_named(
    fitted: TextClassifier, texts: list[str], text: Any
) -> None:
    with pytest.raises(InputError, match="X must hold one str a row; row 2 is"):
        fitted.predict([*texts[:2], text])


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("encoder__batch_size", 0),
        ("encoder__batch_size", 2.5),
        ("encoder__batch_size", True),
        ("head", "svm"),
        ("class_weight", "auto"),
        ("encoder__max_length", 1000),
        ("encoder__device", "gpu"),
        ("encoder__model", None),
        ("encoder", None),
        ("encoder", ""),
        ("encoder", 3),
        ("encoder", TextEncoder),
        ("encoder", LinearSVC()),
        ("encoder", ImageEncoder()),
        ("encoder", ClipEncoder()),
    ],
)
def test_a_wrong_parameter_is_named_before_anything_is_encoded(
    tiny_text_model: str,
    texts: list[str],
    encoded_texts: list[str],
    parameter: str,
    value: Any,
) -> None:
    branch = TextClassifier(TextEncoder(tiny_text_model))
    branch.set_params(**{parameter: value})
    name = parameter.removeprefix("encoder__")
    with pytest.raises(InputError, match=f"`{name}` must be"):
        branch.fit(texts, Y)
    assert encoded_texts == []


def test_an_unknown_model_is_refused(texts: list[str]) -> None:
    with pytest.raises(ModelUnavailableError, match="only local files are allowed"):
        TextClassifier(TextEncoder("us/unknown", local_files_only=True)).fit(texts, Y)


def test_the_default_model_is_not_looked_for_with_local_files_only(
    texts: list[str],
) -> None:
    with pytest.raises(ModelUnavailableError, match="paraphrase-multilingual"):
        TextClassifier(TextEncoder(local_files_only=True)).fit(texts, Y)


def test_nothing_is_predicted_before_fit(texts: list[str]) -> None:
    for method in ("predict", "predict_proba", "is_truncated"):
        with pytest.raises(NotFittedError):
            getattr(TextClassifier(), method)(texts)


def test_a_fit_that_fails_leaves_nothing_of_the_last_one(
    fitted: TextClassifier, texts: list[str]
) -> None:
    with pytest.raises(ModelUnavailableError):
        fitted.set_params(encoder="./nowhere").fit(texts, Y)
    with pytest.raises(NotFittedError):
        fitted.predict(texts)


def test_refits_are_equal(fitted: TextClassifier, texts: list[str]) -> None:
    before = fitted.predict_proba(texts)
    assert_array_equal(fitted.fit(texts, Y).predict_proba(texts), before)


def test_a_seed_gives_the_same_result_twice(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(tiny_text_model, random_state=3)
    first = branch.fit(texts, Y).predict_proba(texts)
    assert_array_equal(clone(branch).fit(texts, Y).predict_proba(texts), first)


def test_a_text_does_not_depend_on_its_neighbours(
    fitted: TextClassifier, texts: list[str]
) -> None:
    order = np.random.default_rng(0).permutation(60)
    together = fitted.predict_proba(texts)
    assert_allclose(
        fitted.predict_proba([texts[i] for i in order]), together[order], atol=1e-5
    )
    assert_allclose(fitted.predict_proba(texts[7:8]), together[7:8], atol=1e-5)


def test_batch_size_does_not_change_the_result(
    fitted: TextClassifier, texts: list[str]
) -> None:
    before = fitted.predict_proba(texts)
    fitted.encoder_.set_params(batch_size=7)
    assert_allclose(fitted.predict_proba(texts), before, atol=1e-5)


def test_no_texts_give_no_rows(fitted: TextClassifier) -> None:
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.predict([]).shape == (0,)
    assert fitted.is_truncated([]).shape == (0,)


def test_truncated_texts_are_known(fitted: TextClassifier) -> None:
    texts = ["a march", " ".join(["march"] * 40)]
    assert fitted.is_truncated(texts).tolist() == [False, True]


def test_max_length_shortens_what_is_read(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(TextEncoder(tiny_text_model, max_length=4)).fit(texts, Y)
    assert branch.encoder_.spec_["max_length"] == 4
    assert branch.is_truncated(["a march", "a march in"]).tolist() == [False, True]
    rows = branch.predict_proba(["a march in the city", "a march by police"])
    assert_allclose(rows[0], rows[1], atol=1e-6)


def test_texts_without_a_finite_embedding_are_left_out_of_the_fit(
    tiny_text_model: str, texts: list[str], with_nan: None
) -> None:
    bad = [f"{i} % of the people" for i in range(3)]
    branch = TextClassifier(tiny_text_model)
    words = "3 texts cannot be used and are left out of the fit"
    with pytest.warns(UnusableInputWarning, match=words) as caught:
        branch.fit([*bad, *texts], [0, 0, 1, *Y])
    assert caught[0].filename == __file__
    proba = branch.predict_proba(texts)
    assert_array_equal(clone(branch).fit(texts, Y).predict_proba(texts), proba)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_texts_without_a_finite_embedding_are_nan_and_the_first_class(
    tiny_text_model: str, texts: list[str], with_nan: None, method: str
) -> None:
    branch = TextClassifier(tiny_text_model).fit(texts, Y)
    words = "1 texts cannot be used and are given NaN as their probabilities"
    with pytest.warns(UnusableInputWarning, match=words) as caught:
        found = getattr(branch, method)([texts[0], "a %", texts[1]])
    assert caught[0].filename == __file__
    expected = getattr(branch, method)(texts[:2])
    assert_allclose(found[[0, 2]], expected, atol=1e-5)
    assert found[1] == 0 if method == "predict" else np.isnan(found[1]).all()


def test_a_fit_without_any_usable_text_is_refused(
    tiny_text_model: str, with_nan: None
) -> None:
    branch = TextClassifier(tiny_text_model)
    with (
        pytest.warns(UnusableInputWarning),
        pytest.raises(InputError, match="got 0 of 2 rows"),
    ):
        branch.fit(["%", "% %"], [0, 1])


def test_a_row_of_weight_zero_is_as_good_as_absent(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(tiny_text_model)
    weight = np.r_[np.zeros(10), np.ones(50)]
    branch.fit(texts, 1 - Y * (weight > 0), sample_weight=weight)
    expected = clone(branch).fit(texts[10:], 1 - Y[10:]).predict_proba(texts)
    assert_allclose(branch.predict_proba(texts), expected, atol=1e-5)


def test_weights_and_class_weights_reach_the_head(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(tiny_text_model, class_weight=None)
    plain = branch.fit(texts, Y).predict_proba(texts)[:, 1]
    weighted = branch.fit(texts, Y, sample_weight=1 + 9 * Y).predict_proba(texts)[:, 1]
    assert (weighted > plain).all()
    branch.set_params(class_weight={1: 10.0})
    assert_allclose(
        branch.fit(texts, Y).predict_proba(texts)[:, 1], weighted, atol=1e-4
    )


@pytest.mark.parametrize("given", [True, False])
def test_equal_texts_and_groups_are_not_split(
    tiny_text_model: str,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    given: bool,
) -> None:
    from mmevent.branches import base as _frozen

    seen = {}

    def watched(rows: Any, y: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return original(rows, y, **kwargs)

    original = _frozen.fit_head
    monkeypatch.setattr(_frozen, "fit_head", watched)
    groups = np.arange(60) // 2 if given else None
    some = [*texts[:58], texts[0], texts[10]]
    TextClassifier(tiny_text_model).fit(some, Y, groups=groups)
    found = seen["groups"].tolist()
    assert found[0] == found[58]
    assert found[10] == found[59]
    assert (found[0] == found[59]) is given
    assert (found[2] == found[3]) is given
    assert found[2] != found[4]


@pytest.mark.parametrize(
    "head", [LinearSVC(), make_pipeline(LogisticRegression(C=0.1))], ids=["svm", "pipe"]
)
def test_a_head_of_ones_own_gives_probabilities(
    tiny_text_model: str, texts: list[str], head: Any
) -> None:
    branch = TextClassifier(tiny_text_model, head=head).fit(texts, Y)
    assert_allclose(branch.predict_proba(texts).sum(axis=1), 1)
    assert not hasattr(head, "classes_")


def test_each_distinct_text_is_encoded_once_by_a_fit(
    tiny_text_model: str, texts: list[str], encoded_texts: list[str]
) -> None:
    TextClassifier(tiny_text_model).fit(texts + texts[:20], [*Y, *Y[:20]])
    assert sorted(encoded_texts) == sorted(texts)


def test_a_memo_is_shared_by_clones_ensembles_and_threads(
    tiny_text_model: str, texts: list[str], encoded_texts: list[str]
) -> None:
    branch = TextClassifier(tiny_text_model)
    ensemble = VotingClassifier(
        [
            ("frozen", branch),
            ("svm", clone(branch).set_params(head=LinearSVC())),
            ("words", make_pipeline(TfidfVectorizer(), LogisticRegression())),
        ],
        voting="soft",
    )
    with shared_memo():
        for estimator in (branch, ensemble):
            cross_validate(estimator, texts, Y, cv=3)
        jobs = (delayed(clone(branch).fit)(texts[i:], Y[i:]) for i in range(4))
        Parallel(n_jobs=2, backend="threading")(jobs)
        copy.deepcopy(branch).fit(texts, Y).predict(texts)
    assert sorted(encoded_texts) == sorted(texts)


def test_a_prediction_outside_a_memo_is_forgotten(
    fitted: TextClassifier, encoded_texts: list[str]
) -> None:
    fitted.predict(["a march"])
    fitted.predict(["a march"])
    assert encoded_texts == ["a march"] * 2


def test_a_prediction_after_fit_loads_nothing(
    fitted: TextClassifier, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmevent.encoders import text as _text_encoder

    monkeypatch.setattr(_text_encoder, "from_pretrained", None)
    expected = fitted.predict_proba(texts)
    assert_array_equal(copy.deepcopy(fitted).predict_proba(texts), expected)
    clone(fitted).fit(texts, Y)


def test_the_encoder_is_no_part_of_the_state(
    fitted: TextClassifier, texts: list[str]
) -> None:
    stored = pickle.dumps(fitted)
    assert len(stored) < 20_000
    assert not hasattr(clone(fitted), "encoder_")
    assert not hasattr(clone(fitted.encoder_), "_loaded")
    assert not hasattr(clone(fitted.encoder_), "spec_")
    assert fitted.encoder_ is not fitted.encoder
    expected = fitted.predict_proba(texts)
    assert_array_equal(pickle.loads(stored).predict_proba(texts), expected)
    assert hasattr(fitted.encoder_, "_loaded")


def test_skops_stores_a_fitted_branch(
    fitted: TextClassifier, texts: list[str], tmp_path: Path
) -> None:
    skops.io.dump(fitted, tmp_path / "branch.skops")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "branch.skops")
    assert set(trusted) == {
        "mmevent.branches.text.TextClassifier",
        "mmevent.encoders.text.TextEncoder",
    }
    loaded = skops.io.load(tmp_path / "branch.skops", trusted=trusted)
    assert loaded.encoder_.spec_ == fitted.encoder_.spec_
    expected = fitted.predict_proba(texts)
    del fitted.encoder_._loaded
    assert_allclose(loaded.predict_proba(texts), expected, atol=1e-6)


def test_the_spec_is_plain_json(fitted: TextClassifier) -> None:
    assert json.loads(json.dumps(fitted.encoder_.spec_)) == fitted.encoder_.spec_


def test_a_stored_branch_works_with_a_saved_encoder(
    tiny_text_model: str, texts: list[str], tmp_path: Path, changed_copy: Any
) -> None:
    original = changed_copy(tiny_text_model)
    branch = TextClassifier(TextEncoder(original, max_length=9)).fit(texts, Y)
    expected = branch.predict_proba(texts)
    branch.encoder_.save(tmp_path / "encoder")
    loaded = pickle.loads(pickle.dumps(branch))
    del branch
    shutil.rmtree(original)
    with pytest.raises(ModelUnavailableError, match="does not exist"):
        loaded.predict(texts)
    loaded.encoder_.spec_["model"] = str(tmp_path / "encoder")
    assert_allclose(loaded.predict_proba(texts), expected, atol=1e-6)


def test_an_encoder_is_not_saved_over_something(
    fitted: TextClassifier, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="`folder` must be new or empty"):
            fitted.encoder_.save(folder)


def test_weights_that_changed_since_the_fit_are_refused(
    tiny_text_model: str, texts: list[str], changed_copy: Any
) -> None:
    from safetensors.torch import load_file, save_file

    folder = changed_copy(tiny_text_model)
    branch = TextClassifier(str(folder)).fit(texts, Y)
    del branch.encoder_._loaded
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    words = "weights are not the ones the model was fitted with"
    with pytest.raises(ModelUnavailableError, match=words):
        branch.predict(texts)


def test_the_text_branch_works_in_a_grid_search(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(TextEncoder(tiny_text_model), head=LogisticRegression())
    grid = {"head__C": [0.01, 1.0], "encoder__max_length": [5, 24]}
    search = GridSearchCV(branch, grid, cv=2, error_score="raise")
    search.fit(texts, Y)
    assert set(search.best_params_) == set(grid)
    length = search.best_params_["encoder__max_length"]
    assert search.best_estimator_.encoder_.spec_["max_length"] == length
    assert search.best_estimator_.head_.C == search.best_params_["head__C"]


def test_groups_and_weights_are_routed_by_default(
    tiny_text_model: str, texts: list[str]
) -> None:
    branch = TextClassifier(tiny_text_model)
    requests = branch.get_metadata_routing().fit.requests
    assert requests == {"groups": True, "sample_weight": True}
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        result = cross_validate(
            make_pipeline(branch),
            texts,
            Y,
            params={"groups": np.arange(60) // 2, "sample_weight": np.ones(60)},
            cv=GroupKFold(3),
            scoring=scorer,
            error_score="raise",
        )
    assert len(result["test_score"]) == 3


def test_a_frozen_branch_is_not_refitted(
    fitted: TextClassifier, texts: list[str]
) -> None:
    expected = fitted.predict_proba(texts)
    frozen = FrozenEstimator(fitted).fit(texts, 1 - Y)
    assert_array_equal(clone(frozen).predict_proba(texts), expected)


def test_tags_say_what_goes_in_and_out() -> None:
    tags = get_tags(TextClassifier())
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert tags.target_tags.required
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class


def test_nothing_is_shown_unless_verbose(
    tiny_text_model: str,
    texts: list[str],
    changed_copy: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    branch = TextClassifier(str(changed_copy(tiny_text_model)))
    branch.fit(texts, Y).predict(texts)
    assert capfd.readouterr() == ("", "")
    branch.set_params(verbose=True).predict(texts)
    out, err = capfd.readouterr()
    assert out == ""
    assert "60/60" in err
    branch.fit(texts, Y).set_params(verbose=False)
    capfd.readouterr()
    branch.predict(texts)
    assert capfd.readouterr() == ("", "")


# An encoder of one's own


def test_a_name_may_be_a_path(tiny_text_model: str, texts: list[str]) -> None:
    branch = TextClassifier(Path(tiny_text_model), verbose=False).fit(texts, Y)
    assert branch.encoder_.model == Path(tiny_text_model)
    assert branch.encoder_.spec_["model"] == tiny_text_model
