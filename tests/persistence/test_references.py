"""Which encoders fitted branches use, and where they are found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mmevent import EventDetector, TextClassifier, TextEncoder
from mmevent.exceptions import ModelFolderError, ModelUnavailableError
from mmevent.persistence.objects import from_bytes, to_bytes
from mmevent.persistence.references import (
    check_folders,
    check_places,
    copy_encoders,
    encoders_of,
    fitted_parts,
    only_local,
    point_to_folders,
    use_this_machine,
)

Y = np.arange(60) % 2


@pytest.fixture
def folder(tiny_text_model: str, changed_copy: Any) -> Path:
    found: Path = changed_copy(tiny_text_model)
    return found


@pytest.fixture
def branch(folder: Path, texts: list[str]) -> TextClassifier:
    return TextClassifier(str(folder)).fit(texts, Y)


def stored(value: Any) -> Any:
    return from_bytes(to_bytes(value, "the branch"), "branch.skops")


def test_each_distinct_encoder_is_described_once(
    branch: TextClassifier, folder: Path, texts: list[str]
) -> None:
    shorter = TextClassifier(TextEncoder(folder, max_length=9)).fit(texts, Y)
    branches = {"a": branch, "b": [shorter, clone(branch).fit(texts, Y)]}
    assert len(list(fitted_parts(branches))) == 3
    long, short = encoders_of(branches, standalone=False)
    assert (long["max_length"], short["max_length"]) == (24, 9)
    assert long["model"] == str(folder)
    assert long["folder"] is short["folder"] is None
    copied = encoders_of(branches, standalone=True)
    assert len({encoder["folder"] for encoder in copied}) == 2


def test_a_copied_encoder_is_used_where_the_original_is_gone(
    branch: TextClassifier, folder: Path, texts: list[str], tmp_path: Path
) -> None:
    expected = branch.predict_proba(texts)
    root = tmp_path / "model"
    root.mkdir()
    encoders = encoders_of(branch, standalone=True)
    copy_encoders(branch, encoders, root)
    loaded, parameter = stored(branch), stored(clone(branch))
    shutil.rmtree(folder)
    with pytest.raises(ModelUnavailableError, match="the text encoder .* is not here"):
        check_folders(loaded)
    point_to_folders(loaded, parameter, encoders, root)
    check_folders(loaded)
    assert_allclose(loaded.predict_proba(texts), expected, atol=1e-6)
    assert parameter.encoder == str(root / encoders[0]["folder"])
    assert_allclose(parameter.fit(texts, Y).predict_proba(texts), expected, atol=1e-6)


def test_an_encoder_that_is_a_parameter_is_pointed_to_its_copy(
    folder: Path, texts: list[str], tmp_path: Path
) -> None:
    branch = TextClassifier(TextEncoder(folder, max_length=9)).fit(texts, Y)
    other = TextClassifier(TextEncoder(folder, max_length=12))
    encoders = encoders_of(branch, standalone=True)
    point_to_folders([branch], [other], encoders, tmp_path)
    place = str(tmp_path / encoders[0]["folder"])
    assert branch.encoder.model == branch.encoder_.model == place
    assert branch.encoder_.spec_["model"] == place
    assert other.encoder.model == folder  # of another length, and not in the folder


def test_a_fine_tuned_encoder_is_always_copied(
    folder: Path, texts: list[str], tmp_path: Path
) -> None:
    encoder = TextEncoder(folder, cache=None)
    branch = TextClassifier(encoder, train=1, n_epochs=1, learning_rate=1e-3)
    expected = branch.fit(texts, Y).predict_proba(texts)
    encoders = encoders_of(branch, standalone=False)
    assert [encoder["folder"] is None for encoder in encoders] == [False, True]
    copy_encoders(branch, encoders, tmp_path)
    loaded = stored(branch)
    assert not hasattr(loaded.encoder_, "_trained")
    point_to_folders(loaded, None, encoders, tmp_path)
    assert_allclose(loaded.predict_proba(texts), expected, atol=1e-6)
    assert loaded.encoder.model == str(folder)


def test_an_encoder_in_a_pipeline_is_pinned_to_what_it_used(
    folder: Path, texts: list[str], tmp_path: Path
) -> None:
    pipeline = make_pipeline(TextEncoder(folder), LogisticRegression())
    ensemble = VotingClassifier([("a", pipeline)], voting="soft").fit(texts, Y)
    expected = ensemble.predict_proba(texts)
    encoders = encoders_of(ensemble, standalone=True)
    assert [encoder["model"] for encoder in encoders] == [str(folder)]
    copy_encoders(ensemble, encoders, tmp_path)
    loaded = stored(ensemble)
    shutil.rmtree(folder)
    point_to_folders(loaded, None, encoders, tmp_path)
    assert_allclose(loaded.predict_proba(texts), expected, atol=1e-6)


def test_the_parameter_of_a_classifier_is_never_pinned(
    folder: Path, texts: list[str]
) -> None:
    branch = TextClassifier(TextEncoder(folder))
    branch.encoder.transform(texts[:1])
    branch.fit(texts, Y)
    assert len(encoders_of(branch, standalone=False)) == 1
    assert not hasattr(branch.encoder, "spec_")


def test_this_machine_chooses_device_and_cache(
    branch: TextClassifier, folder: Path, recwarn: pytest.WarningsRecorder
) -> None:
    parameter = TextClassifier(TextEncoder(folder, device="cpu", cache=None))
    branch.encoder_.device = "cuda:7"
    use_this_machine(branch, parameter)
    assert (branch.encoder_.device, branch.encoder_.cache) == ("auto", "auto")
    assert (parameter.encoder.device, parameter.encoder.cache) == ("cpu", "auto")
    (warning,) = recwarn
    assert "was to run on 'cuda:7', which this machine lacks" in str(warning.message)


def test_an_encoder_of_ones_own_is_saved_where_its_types_are_trusted(
    texts: list[str],
) -> None:
    words = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    branch = TextClassifier(words, head=LogisticRegression()).fit(texts, Y)
    assert encoders_of(branch, standalone=True) == []
    loaded = stored(branch)
    assert_allclose(loaded.predict_proba(texts), branch.predict_proba(texts))


def test_an_encoder_that_cannot_be_saved_is_named(texts: list[str]) -> None:
    branch = TextClassifier(FunctionTransformer(lengths)).fit(texts, Y)
    with pytest.raises(ModelFolderError, match=r"the branch cannot be saved.*lengths"):
        to_bytes(branch, "the branch")


def lengths(texts: Any) -> Any:
    return np.array([[len(text)] for text in texts], dtype=float)


REMOTE = [
    *("//host/share/model", "\\\\host\\m", "https://x/y", "/\\host\\share", "file:x"),
    *("\\/host/share", "local-dir://host/share"),
]


@pytest.mark.parametrize("place", REMOTE)
@pytest.mark.parametrize("where", ["model", "spec", "name"])
def test_an_encoder_on_another_machine_is_not_looked_for(
    place: str, where: str, branch: TextClassifier
) -> None:
    check_places([branch])
    if where == "model":
        branch.encoder_.model = place
    elif where == "spec":
        branch.encoder_.spec_["model"] = place
    else:
        branch.encoder = place
    with pytest.raises(ModelFolderError, match=r"on another machine, .*Nothing was"):
        check_places({"text": branch})


@pytest.mark.parametrize(
    "place",
    ["a/b", "/models/a", "C:\\models\\a", "hf-hub:a/b", "local-dir:/models/a", "RN50"],
)
def test_an_encoder_on_this_machine_or_the_hub_is_looked_for(place: str) -> None:
    check_places([TextEncoder(place), TextClassifier(place)])


def test_only_local_files_are_used_by_every_part(branch: TextClassifier) -> None:
    ensemble = VotingClassifier([("a", TextClassifier()), ("b", make_pipeline(branch))])
    detector = EventDetector(text=ensemble, image="auto", random_state=3)
    detector.fitted_ = SimpleNamespace(branches={"text": branch})
    only_local(detector)
    assert detector.image.encoder.local_files_only
    assert detector.image.random_state == 3
    assert detector.text.estimators[0][1].encoder.local_files_only
    assert branch.encoder_.local_files_only
    assert branch.encoder.local_files_only
