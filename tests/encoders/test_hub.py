from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from mmevent.encoders import hub as _hub
from mmevent.encoders.hub import (
    find_folder,
    locate_model,
    quiet_loading,
)
from mmevent.exceptions import InputError, ModelUnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def cached_model(hub_cache: Path, tiny_text_model: str) -> str:
    """Name of a hub model whose files are in the local cache."""
    repository = hub_cache / "models--us--tiny"
    shutil.copytree(tiny_text_model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return "us/tiny"


def test_a_folder_is_found_by_an_absolute_path(tiny_text_model: str) -> None:
    source = locate_model(tiny_text_model)
    assert source.folder == Path(tiny_text_model)
    assert source.name == tiny_text_model
    assert source.revision is None


@pytest.mark.parametrize("name", ["./models/tiny", "models/tiny", "tiny"])
def test_a_relative_folder_becomes_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_text_model: str, name: str
) -> None:
    shutil.copytree(tiny_text_model, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert locate_model(name).name == str((tmp_path / name).resolve())


def test_a_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_text_model: str
) -> None:
    shutil.copytree(tiny_text_model, tmp_path / "tiny")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_folder("~/tiny") == (tmp_path / "tiny").resolve()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "a/b/nowhere"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ModelUnavailableError, match="does not exist; expected a"):
        locate_model(name)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelUnavailableError, match="is a file; expected a folder"):
        locate_model(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("model", [None, "", 3, ["a"]])
def test_a_model_must_be_a_name(model: Any) -> None:
    with pytest.raises(InputError, match="must be the name of a model"):
        locate_model(model)


def test_an_impossible_name_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match="nor a valid hub name"):
        locate_model("no such name")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"config\.json is missing"):
        locate_model(str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(ModelUnavailableError, match=r"model\.safetensors is missing"):
        locate_model(str(tmp_path))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / name).touch()
    with pytest.raises(ModelUnavailableError, match=r"pickled weights .* are refused"):
        locate_model(str(tmp_path))


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_name_is_found_without_a_socket(
    cached_model: str, hub_cache: Path, revision: str | None
) -> None:
    source = locate_model(cached_model, revision=revision, local_files_only=True)
    assert source[:3] == (
        hub_cache / "models--us--tiny" / "snapshots" / COMMIT,
        cached_model,
        COMMIT,
    )


def test_offline_mode_opens_no_socket(
    cached_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate_model(cached_model).revision == COMMIT


def test_an_unreachable_hub_falls_back_to_the_cache(
    cached_model: str, network_attempts: list[str]
) -> None:
    assert locate_model(cached_model).revision == COMMIT
    assert network_attempts
    network_attempts.clear()


def test_an_unreachable_hub_says_how_to_work_offline(
    hub_cache: Path, network_attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    asked, model_info = [], HfApi.model_info

    def watched(self: HfApi, model: str, **settings: Any) -> Any:
        asked.append(model)
        return model_info(self, model, **settings)

    monkeypatch.setattr(HfApi, "model_info", watched)
    with pytest.raises(ModelUnavailableError) as caught:
        locate_model("us/unknown", revision="v2")
    message = str(caught.value)
    for part in (
        "'us/unknown' at revision 'v2' is not available",
        "the hub cannot be reached (no network in tests",
        "config.json and the other files are not in the local hub cache",
        "hf download us/unknown --revision v2 --local-dir FOLDER",
        "local_files_only=True",
        "HF_HUB_OFFLINE=1",
    ):
        assert part in message
    assert asked == ["us/unknown"]  # not again and again
    assert network_attempts
    network_attempts.clear()


def test_a_name_that_is_not_cached_is_refused_without_a_socket(hub_cache: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="only local files are allowed"):
        locate_model("us/unknown", local_files_only=True)


def test_a_cached_name_without_its_weights_says_which_file_is_missing(
    cached_model: str, hub_cache: Path
) -> None:
    snapshot = hub_cache / "models--us--tiny" / "snapshots" / COMMIT
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match=r"model\.safetensors is missing"):
        locate_model(cached_model, local_files_only=True)


def test_a_hub_that_does_not_answer_is_given_up(
    cached_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(_hub, "_HUB_TIMEOUT", 0.01)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *args, **kwargs: time.sleep(2)
    )
    with pytest.raises(ModelUnavailableError, match="no answer within 0 seconds"):
        locate_model("us/unknown")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RepositoryNotFoundError", "no public model of this name"),
        ("RevisionNotFoundError", "not this revision"),
    ],
)
def test_what_the_hub_does_not_have_is_said(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, name)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ModelUnavailableError, match=words):
        locate_model("us/unknown", revision="v2")


def test_a_hub_model_is_downloaded_at_one_commit(
    tiny_text_model: str, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **kwargs: Any) -> str:
        asked.update(kwargs, name=name)
        return tiny_text_model

    info = type("Info", (), {"sha": COMMIT})()
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = locate_model("us/tiny", revision="v1")
    assert source[:3] == (Path(tiny_text_model), "us/tiny", COMMIT)
    assert asked["revision"] == COMMIT
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("on", [True, False])
def test_loading_quietly_puts_logs_and_bars_back(on: bool) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    before = logging.get_verbosity()
    if not on:
        logging.disable_progress_bar()
    logging.set_verbosity_info()
    try:
        with quiet_loading():
            assert not logging.is_progress_bar_enabled()
            assert logging.get_verbosity() == logging.ERROR
        assert logging.is_progress_bar_enabled() is on
        assert are_progress_bars_disabled() is not on
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.enable_progress_bar()
        logging.set_verbosity(before)


def test_loads_that_overlap_put_logs_and_bars_back() -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with quiet_loading():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(10)
    with quiet_loading():
        second_in.set()
        first_out.wait(10)
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    thread.join()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_load_that_shows_bars_silences_messages_alone() -> None:
    from transformers.utils import logging

    with quiet_loading(bars=True):
        assert logging.get_verbosity() == logging.ERROR
        assert logging.is_progress_bar_enabled()


def test_bars_of_the_hub_stay_on() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    enable_progress_bars()
    try:
        with quiet_loading():
            pass
        assert not are_progress_bars_disabled()
    finally:
        logging.enable_progress_bar()
