"""Parameters that name files, programs or functions are neither saved nor loaded."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.utils import all_estimators
from sklearn.utils._param_validation import HasMethods

from mmevent import ClipZeroShotClassifier, TextClassifier, TextEncoder
from mmevent.exceptions import ModelFolderError
from mmevent.persistence.objects import from_bytes, to_bytes
from mmevent.persistence.parameters import check_parameters


def steps(**parameters: Any) -> Pipeline:
    return Pipeline([("words", TfidfVectorizer())], **parameters)


def searched(**grid: Any) -> GridSearchCV:
    return GridSearchCV(TextClassifier(), grid)


REFUSED = [
    pytest.param(steps(memory="cache"), "memory='cache'", id="pipeline"),
    pytest.param(
        FeatureUnion([("a", steps(memory="cache"))]), "memory='cache'", id="union"
    ),
    pytest.param(
        ColumnTransformer([("a", steps(memory="cache"), [0])]), "memory", id="columns"
    ),
    pytest.param(
        VotingClassifier([("a", make_pipeline(steps(memory="c")))]), "memory", id="deep"
    ),
    pytest.param(TextClassifier(head=steps(memory="c")), "memory", id="ours"),
    pytest.param(GridSearchCV(steps(), {"memory": ["c"]}), "memory", id="grid"),
    pytest.param(
        GridSearchCV(steps(), [{"a__memory": ["c"]}]), "a__memory", id="nested-grid"
    ),
    pytest.param(
        RandomizedSearchCV(steps(), {"words__input": ["content", "file"]}),
        "words__input",
        id="random-grid",
    ),
    pytest.param(
        GridSearchCV(steps(), {"a__cache": ["/x/y.sqlite"]}), "a__cache", id="cache"
    ),
    *(
        pytest.param(grid, words, id=f"place-{i}")
        for i, (grid, words) in enumerate(
            [
                (searched(encoder=["//host/share/x"]), "encoder="),
                (searched(encoder__model=["//host/share/x"]), "encoder__model="),
                (searched(a__encoder__revision=["x"]), "a__encoder__revision="),
                (GridSearchCV(TextClassifier(), [{"encoder": ["x"]}]), "encoder="),
                (RandomizedSearchCV(TextEncoder("a/b"), {"model": ["x"]}), "model="),
                (searched(param_grid=[[{"encoder": ["x"]}]]), "encoder="),
                (searched(cache=["x.sqlite"]), "cache="),
            ]
        )
    ),
    pytest.param(CountVectorizer(input="filename"), "input='filename'", id="filename"),
    pytest.param(HashingVectorizer(input="file"), "input='file'", id="file"),
    pytest.param(
        GridSearchCV(steps(), {}, pre_dispatch="9**9**9"),
        "pre_dispatch",
        id="evaluated",
    ),
    pytest.param(
        SelectFromModel(LogisticRegression(), importance_getter="__class__.mro"),
        "importance_getter",
        id="attribute",
    ),
    pytest.param(RandomForestClassifier(n_jobs=10**6), "n_jobs", id="threads"),
    pytest.param(
        KernelPCA(kernel_params={"n_jobs": 10**6}), "n_jobs", id="inner-threads"
    ),
    pytest.param(FunctionTransformer(np.add), "func=", id="two-inputs"),
    pytest.param(SVC(kernel=np.multiply), "kernel=", id="kernel"),
    pytest.param(CountVectorizer(tokenizer=str), "tokenizer=", id="class"),
    pytest.param(LogisticRegression(class_weight=[list]), "an item=", id="in-a-list"),
]


@pytest.mark.parametrize(("estimator", "words"), REFUSED)
def test_what_opens_or_runs_is_refused_at_save_and_at_load(
    estimator: Any, words: str
) -> None:
    with pytest.raises(ModelFolderError, match=rf"the head cannot be saved: .*{words}"):
        to_bytes([estimator], "the head")
    data = skops.io.dumps({"text": estimator})
    with pytest.raises(
        ModelFolderError, match=rf"head.skops cannot be used: .*{words}"
    ):
        from_bytes(data, "head.skops")


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(CountVectorizer(dtype=np.float32), id="number"),
        pytest.param(FunctionTransformer(np.log1p, inverse_func=np.expm1), id="ufunc"),
        pytest.param(
            CountVectorizer().fit(["memory input n_jobs packs"]), id="words-as-names"
        ),
        pytest.param(
            GridSearchCV(steps(), {"words__min_df": [1, 2]}, pre_dispatch="2*n_jobs"),
            id="usual",
        ),
        pytest.param(VotingClassifier([("memory", steps())]), id="name-of-a-step"),
        pytest.param(
            GridSearchCV(steps(), {"model": [SVC(), "passthrough"]}), id="step-in-grid"
        ),
        pytest.param(searched(encoder=[TextEncoder("a/b")]), id="encoder-in-grid"),
        pytest.param(TextEncoder("a/b", cache="kept.sqlite"), id="own-cache"),
    ],
)
def test_what_only_looks_alike_is_kept(estimator: Any) -> None:
    from_bytes(to_bytes(estimator, "the head"), "head.skops")


def test_a_file_of_packs_is_written_out(tmp_path: Any) -> None:
    path = tmp_path / "packs.toml"
    path.write_text(
        '[strike]\npositive = ["a strike"]\ncontrast = {"a queue" = "why"}\n'
    )
    named = ClipZeroShotClassifier("strike", packs=path)
    back = from_bytes(to_bytes(named, "the branch"), "branch.skops")
    assert (back.event, back.negative) == (["a strike"], ["a queue"])
    assert back.packs is None
    assert named.packs == path
    with pytest.raises(ModelFolderError, match="packs="):
        check_parameters(ClipZeroShotClassifier("strike", packs="/x"), "the branch")


# Gone through: what takes any text, any object or a function.
GONE_THROUGH = {
    *("affinity", "alpha", "analyzer", "beta_loss", "callback", "code_init"),
    *("connectivity", "constant", "covariance_estimator", "dict_init", "dtype"),
    *("encoded_missing_value", "encoding", "epsilon", "error_score", "estimator"),
    *("feature_name_combiner", "feature_names_out", "fill_value", "final_estimator"),
    *("fun", "func", "importance_getter", "init", "inverse_func", "is_data_valid"),
    *("is_model_valid", "kernel", "loss", "max_features", "memory", "metric"),
    *("n_clusters", "n_jobs", "n_subsamples", "neg_label", "oob_score", "optimizer"),
    *("outlier_label", "pooling_func", "pos_label", "pre_dispatch", "precompute"),
    *("preprocessor", "refit", "regressor", "remainder", "resource", "score_func"),
    *(
        "scoring",
        "separator",
        "strategy",
        "strip_accents",
        "threshold",
        "token_pattern",
    ),
    *("tokenizer", "transformer", "transformer_list", "transformer_weights"),
    *("U_init", "V_init", "unknown_value", "verbose", "verbose_feature_names_out"),
    *("vocabulary", "weights", "base_estimator", "stop_words", "steps"),
}


def is_open(constraint: Any) -> bool:
    """Whether a constraint of scikit-learn lets more through than words and numbers."""
    known = (int, float, dict, list, tuple, type(None))
    return (
        constraint is callable
        or constraint == "no_validation"
        or isinstance(constraint, HasMethods)
        or (isinstance(constraint, type) and constraint not in known)
    )


def test_every_open_parameter_of_scikit_learn_was_gone_through() -> None:
    found = set()
    for _, kind in all_estimators():
        if not kind.__module__.startswith("sklearn."):
            continue
        constraints = getattr(kind, "_parameter_constraints", {})
        for name in inspect.signature(kind).parameters:
            allowed = constraints.get(name, "no_validation")
            each = [allowed] if isinstance(allowed, str) else allowed
            if any(map(is_open, each)):
                found.add(name)
    assert found - GONE_THROUGH == set()
