"""One contract for every public estimator, and for all else that takes posts."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import mmevent
from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    EventDetector,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
)
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.images import Images
from mmevent.synthetic.posts import make_posts

ESTIMATORS = sorted(
    name
    for name in mmevent.__all__
    if isinstance(getattr(mmevent, name), type)
    and issubclass(getattr(mmevent, name), BaseEstimator)
    and hasattr(getattr(mmevent, name), "fit")  # FalsePositiveFilter is a setting
)
# The encoders are transformers; tests/encoders/test_base.py has their contract.
CLASSIFIERS = [
    name for name in ESTIMATORS if hasattr(getattr(mmevent, name), "predict")
]
# The checks of scikit-learn that pass no numbers as X.
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@dataclass
class Case:
    """An estimator with small parameters, and what it is fitted on."""

    estimator: Any
    X: Any
    y: NDArray[Any]
    corrupt: Callable[[int], Any] | None

    def take(self, rows: Any) -> Any:
        if isinstance(self.X, pd.DataFrame):
            return self.X.iloc[rows]
        if isinstance(self.X, Images):
            return self.X[np.asarray(rows, dtype=np.intp)]
        return [self.X[i] for i in rows]


def text_case(tiny_text_model: str, texts: list[str], **other: Any) -> Case:
    y = np.arange(len(texts)) % 2
    return Case(TextClassifier(tiny_text_model), texts, y, None)


def image_case(
    tiny_image_model: str, pictures: list[Image.Image], **other: Any
) -> Case:
    return pictures_case(ImageClassifier(tiny_image_model), pictures)


def probe_case(tiny_clip_model: str, pictures: list[Image.Image], **other: Any) -> Case:
    return pictures_case(ImageClassifier(ClipEncoder(tiny_clip_model)), pictures)


def zero_shot_case(
    tiny_clip_model: str, pictures: list[Image.Image], **other: Any
) -> Case:
    sides = ["a blue picture"], ["a red picture", "noise"]
    branch = ClipZeroShotClassifier(*sides, encoder=tiny_clip_model)
    return pictures_case(branch, pictures)


def pictures_case(branch: Any, pictures: list[Image.Image]) -> Case:
    def corrupt(row: int) -> Images:
        return Images([b"" if i == row else p for i, p in enumerate(pictures)])

    y = np.arange(len(pictures)) % 2
    return Case(branch, Images(pictures), y, corrupt)


def detector_case(tiny_text_model: str, tiny_image_model: str, **other: Any) -> Case:
    posts, y, _ = make_posts(
        60, image_size=16, max_images=2, share_broken=0, random_state=0
    )
    posts = posts.set_axis([f"row {i % 50}" for i in range(60)])

    def corrupt(row: int) -> pd.DataFrame:
        images = [list(sources) for sources in posts["images"]]
        images[row] = [b"broken", "gone.png"]
        return posts.assign(images=images)

    detector = EventDetector(
        text=TextClassifier(
            TextEncoder(tiny_text_model, batch_size=7), head=LogisticRegression()
        ),
        image=ImageClassifier(
            ImageEncoder(tiny_image_model, batch_size=5), head=LogisticRegression()
        ),
        cv=2,
        estimate=None,
        n_trials=10,
        random_state=0,
    )
    return Case(detector, posts, y, corrupt)


# Small parameters of each estimator; one that is not here fails.
CASES: dict[str, Callable[..., Case]] = {
    "ClipZeroShotClassifier": zero_shot_case,
    "EventDetector": detector_case,
    "ImageClassifier": image_case,
    "ImageClassifier on CLIP": probe_case,
    "TextClassifier": text_case,
}
# What an estimator cannot do without may come by position: the model or the encoder,
# and ClipZeroShotClassifier's prompts and their contrast. It is the only one that needs
# no labels.
BY_POSITION = {
    "ClipEncoder": 1,
    "ClipZeroShotClassifier": 2,
    "ImageClassifier": 1,
    "ImageEncoder": 1,
    "TextClassifier": 1,
    "TextEncoder": 1,
}
WITHOUT_LABELS = (ClipZeroShotClassifier,)


@pytest.fixture(scope="module", params=sorted(CASES))
def case(
    request: pytest.FixtureRequest,
    tiny_text_model: str,
    tiny_image_model: str,
    tiny_clip_model: str,
    texts: list[str],
    pictures: list[Image.Image],
) -> Case:
    return CASES[request.param](
        tiny_text_model=tiny_text_model,
        tiny_image_model=tiny_image_model,
        tiny_clip_model=tiny_clip_model,
        texts=texts,
        pictures=pictures,
    )


@pytest.fixture(scope="module")
def fitted(case: Case) -> Any:
    return clone(case.estimator).fit(case.X, case.y)


def outputs(estimator: Any, X: Any) -> dict[str, NDArray[Any]]:
    """Give all that an estimator says of some rows, as arrays of a row each."""
    found = {"predict": estimator.predict(X), "proba": estimator.predict_proba(X)}
    if hasattr(estimator, "decision_function"):
        found["decision"] = estimator.decision_function(X)
    if hasattr(estimator, "audit"):
        audit = estimator.audit(X).reset_index(drop=True)
        found |= {f"audit {name}": audit[name].to_numpy() for name in audit}
    return found


def assert_alike(
    first: dict[str, NDArray[Any]], second: dict[str, NDArray[Any]], atol: float = 1e-5
) -> None:
    assert first.keys() == second.keys()
    for name, one in first.items():
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, second[name], atol=atol, err_msg=name)
        else:
            pd.testing.assert_series_equal(
                pd.Series(one, dtype=object), pd.Series(second[name], dtype=object)
            )


def test_every_public_estimator_has_small_parameters() -> None:
    found = sorted({name.partition(" ")[0] for name in CASES})
    assert found == CLASSIFIERS, "add the new estimator to CASES"
    encoders = [name for name in ESTIMATORS if name not in CLASSIFIERS]
    assert encoders == ["ClipEncoder", "ImageEncoder", "TextEncoder"]


# What scikit-learn asks of every estimator


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_check_of_scikit_learn(name: str, check: str) -> None:
    names = [check, f"{check}s"]  # one was renamed
    (run,) = (
        getattr(estimator_checks, found)
        for found in names
        if hasattr(estimator_checks, found)
    )
    run(name, getattr(mmevent, name)())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_optional_parameter_is_keyword_only(name: str) -> None:
    too_many = ["auto"] * (BY_POSITION.get(name, 0) + 1)
    with pytest.raises(TypeError, match="positional"):
        getattr(mmevent, name)(*too_many)


def test_tags_say_that_the_input_is_no_table_of_numbers(case: Case) -> None:
    tags = case.estimator.__sklearn_tags__()
    assert not tags.input_tags.two_d_array
    needs_none = isinstance(case.estimator, WITHOUT_LABELS)
    assert tags.target_tags.required != needs_none
    assert tags.estimator_type == "classifier"


def test_fit_returns_self_and_changes_no_parameter(case: Case) -> None:
    estimator = clone(case.estimator)
    before = copy.deepcopy(estimator.get_params(deep=False))
    assert estimator.fit(case.X, case.y) is estimator
    after = estimator.get_params(deep=False)
    assert {k: repr(v) for k, v in before.items()} == {
        k: repr(v) for k, v in after.items()
    }
    added = set(vars(estimator)) - set(vars(case.estimator))
    assert all(name.endswith("_") or name.startswith("_") for name in added)
    assert case.estimator.get_params(deep=False).keys() == before.keys()
    check_is_fitted(estimator)


def test_predicting_changes_nothing(case: Case, fitted: Any) -> None:
    def state() -> dict[str, str]:
        return {name: repr(value) for name, value in vars(fitted).items()}

    before = state()
    outputs(fitted, case.X)
    assert state() == before


def test_an_unfitted_estimator_says_so(case: Case) -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(clone(case.estimator), method)(case.X)


def test_labels_and_probabilities_agree_in_their_layout(
    case: Case, fitted: Any
) -> None:
    assert fitted.classes_.tolist() == [0, 1]
    proba = fitted.predict_proba(case.X)
    assert proba.shape == (len(case.y), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert ((proba >= 0) & (proba <= 1)).all()
    assert set(fitted.predict(case.X)) <= {0, 1}


def test_a_pipeline_says_the_same(case: Case, fitted: Any) -> None:
    pipeline = make_pipeline(clone(case.estimator)).fit(case.X, case.y)
    np.testing.assert_allclose(
        pipeline.predict_proba(case.X), fitted.predict_proba(case.X), atol=1e-5
    )


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y[:-1], "shape"),
        (lambda y: y[:, None], "shape"),
        (lambda y: np.zeros(len(y)), "class"),
        (lambda y: np.where(y == 1, np.nan, 0.0), "missing"),
    ],
    ids=["too short", "a column", "one class", "missing"],
)
def test_labels_that_do_not_fit_are_refused(
    case: Case, y: Callable[[Any], Any], message: str
) -> None:
    estimator = clone(case.estimator)
    with pytest.raises(InputError, match=message):
        estimator.fit(case.X, y(case.y))
    with pytest.raises(NotFittedError):
        estimator.predict(case.X)


# What we ask of everything that takes posts


def test_a_permuted_input_gives_the_permuted_output(case: Case, fitted: Any) -> None:
    order = np.random.default_rng(0).permutation(len(case.y))
    whole = outputs(fitted, case.X)
    permuted = outputs(fitted, case.take(order))
    assert_alike({name: rows[order] for name, rows in whole.items()}, permuted)


@pytest.mark.parametrize("size", [1, 7])
def test_a_row_does_not_depend_on_its_batch(case: Case, fitted: Any, size: int) -> None:
    whole = outputs(fitted, case.X)
    for start in range(0, 21, size):
        rows = np.arange(start, start + size)
        part = outputs(fitted, case.take(rows))
        assert_alike({name: values[rows] for name, values in whole.items()}, part)


def test_a_row_is_the_same_twice(case: Case, fitted: Any) -> None:
    rows = case.take(np.array([3, 3, 0, 3]))
    if isinstance(rows, pd.DataFrame):
        rows = rows.drop(columns="id")  # which may not occur twice
    proba = fitted.predict_proba(rows)
    np.testing.assert_allclose(proba[[0, 1, 3]], proba[[3, 0, 1]], atol=1e-6)


def test_two_fits_are_equal(case: Case, fitted: Any) -> None:
    again = clone(case.estimator).fit(case.X, case.y)
    assert_alike(outputs(fitted, case.X), outputs(again, case.X), atol=0)


def test_an_empty_input_has_an_empty_output(case: Case, fitted: Any) -> None:
    empty = outputs(fitted, case.take(np.array([], dtype=np.intp)))
    assert {len(values) for values in empty.values()} == {0}
    assert empty["proba"].shape == (0, 2)
    assert empty["predict"].dtype == fitted.classes_.dtype


def test_nothing_can_be_learnt_from_an_empty_input(case: Case) -> None:
    with pytest.raises(InputError, match="no posts|at least 2 classes"):
        clone(case.estimator).fit(case.take([]), np.array([]))


def test_a_corrupt_image_changes_its_own_row_only(case: Case, fitted: Any) -> None:
    if case.corrupt is None:
        assert isinstance(case.estimator, TextClassifier)
        return
    row = 2
    whole = outputs(fitted, case.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusableInputWarning)
        broken = outputs(fitted, case.corrupt(row))
    others = np.delete(np.arange(len(case.y)), row)
    assert_alike(
        {name: values[others] for name, values in whole.items()},
        {name: values[others] for name, values in broken.items()},
    )
    assert any(str(broken[name][row]) != str(whole[name][row]) for name in whole)


def test_duplicate_groups_follow_their_posts() -> None:
    posts, _, _ = make_posts(60, image_size=8, share_reposts=0.4, random_state=0)
    groups = mmevent.duplicate_groups(posts)
    assert len(set(groups)) < 60
    order = np.random.default_rng(0).permutation(60)
    permuted = mmevent.duplicate_groups(posts.iloc[order])
    pairs = set(zip(groups[order].tolist(), permuted.tolist(), strict=True))
    assert len(pairs) == len(set(groups))


def test_to_posts_follows_its_rows() -> None:
    posts, _, _ = make_posts(30, image_size=8, random_state=0)
    order = np.random.default_rng(0).permutation(30)
    pd.testing.assert_frame_equal(
        mmevent.to_posts(posts).iloc[order], mmevent.to_posts(posts.iloc[order])
    )
