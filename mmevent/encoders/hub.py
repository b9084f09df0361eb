"""Names and folders of models to files on this machine; loading without output."""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmevent._common import expanded, shared_context
from mmevent.exceptions import InputError, ModelNameError, ModelUnavailableError

# The first modules of sentence-transformers that are loaded.
TRANSFORMER, STATIC = "Transformer", "StaticEmbedding"

# Beside the weights; no ONNX or OpenVINO copies of them.
_SETTINGS = ("*.json", "*.txt", "*.model", "*.codes")
# The modules of a sentence-transformers model lie in folders such as 2_Dense.
_UNWANTED = ["onnx/*", "openvino/*", "[!0-9]*/*.safetensors"]
_HUB_TIMEOUT = 8.0  # seconds until a hub that does not answer counts as unreachable


class ModelFiles(NamedTuple):
    """What the folder of one kind of model must hold: no pickle, for instance."""

    library: str  # that loads it
    config: str
    weights: str | None  # pattern of the names of safetensors files
    usual_weights: str
    saved_by: str


TRANSFORMERS = ModelFiles(
    library="transformers",
    config="config.json",
    weights="*.safetensors",
    usual_weights="model.safetensors",
    saved_by="save it again with `save_pretrained`, which writes safetensors",
)

OPEN_CLIP = ModelFiles(
    library="open_clip",
    config="open_clip_config.json",
    weights="open_clip_*.safetensors",
    usual_weights="open_clip_model.safetensors",
    saved_by="write it from open_clip's model: the dictionary {'model_cfg': "
    "open_clip.get_model_config(NAME), 'preprocess_cfg': "
    "open_clip.get_model_preprocess_cfg(model)} as open_clip_config.json, and "
    "safetensors.torch.save_model(model, 'open_clip_model.safetensors')",
)


class ModelSource(NamedTuple):
    """Where a model was found: its folder here, its name, and its hub commit.

    What else it names may be fetched from the hub only if `may_fetch`.
    """

    folder: Path
    name: str
    revision: str | None
    files: ModelFiles = TRANSFORMERS
    may_fetch: bool = False


def find_folder(model: object, files: ModelFiles = TRANSFORMERS) -> Path | None:
    """Return the absolute folder that `model` names, or None for a hub name."""
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        msg = (
            f"`model` must be the name of a model on the Hugging Face hub or a folder; "
            f"got {model!r}. Pass a string such as "
            f"'sentence-transformers/all-MiniLM-L6-v2' or '/models/minilm'."
        )
        raise InputError(msg)
    text = os.fspath(model)
    path = expanded(text)
    if path.is_dir():
        return path.resolve()
    looks_like_path = (
        not isinstance(model, str)
        or path.is_absolute()
        or text.startswith((".", "~"))
        or text.count("/") > 1
        or "\\" in text
    )
    if looks_like_path or path.exists():
        what = "is a file" if path.exists() else "does not exist"
        msg = (
            f"The model folder {text!r} {what}; expected a folder with {files.config} "
            f"and {files.usual_weights}. Correct `model`, or copy the folder there."
        )
        raise ModelNameError(msg)
    return None


def locate_model(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    files: ModelFiles = TRANSFORMERS,
    local_files_only: bool = False,
    verbose: bool = False,
) -> ModelSource:
    """Find a model's folder: the given one, or the hub's copy on this machine.

    A folder, and any name with `local_files_only` or in offline mode, is found
    without touching the network. A hub that cannot be reached falls back to the
    local copy.
    """
    folder = find_folder(model, files)
    if folder is not None:
        source = ModelSource(folder, str(folder), None, files)
    else:
        model = str(model)
        found, commit = _from_hub(model, revision, files, local_files_only, verbose)
        source = ModelSource(found, model, commit, files, not local_files_only)
    _require_files(source)
    return source


def _from_hub(
    model: str,
    revision: str | None,
    files: ModelFiles,
    local_files_only: bool,
    verbose: bool,
) -> tuple[Path, str]:
    """Return the folder of the hub's copy on this machine, and its commit."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError as error:
        msg = (
            f"The model {model!r} is neither a folder nor a valid hub name; expected "
            f"'name' or 'organisation/name'. Correct `model`."
        )
        raise ModelNameError(msg) from error
    patterns: dict[str, Any] = {
        "allow_patterns": [*_SETTINGS, *([files.weights] if files.weights else [])],
        "ignore_patterns": _UNWANTED,
    }
    problem: BaseException | None = None
    if not local_files_only and not constants.HF_HUB_OFFLINE:
        api = HfApi()
        try:
            info = _with_deadline(
                lambda: api.model_info(model, revision=revision, timeout=_HUB_TIMEOUT)
            )
            with quiet_loading(bars=verbose):
                folder = snapshot_download(
                    model,
                    revision=info.sha,
                    etag_timeout=_HUB_TIMEOUT,
                    **patterns,
                )
            return Path(folder), info.sha
        except Exception as error:  # whatever the network does, the copy may be here
            problem = error
    try:
        folder = snapshot_download(
            model, revision=revision, local_files_only=True, **patterns
        )
    except Exception as error:
        cause = problem or error
        raise _unavailable(model, revision, files, problem, error) from cause
    return Path(folder), Path(folder).name


def _with_deadline(call: Callable[[], Any]) -> Any:
    """Call in a thread and give up in time.

    A name look-up has no timeout of its own, and where packets are swallowed each of
    the hub's addresses is tried for the whole timeout.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_HUB_TIMEOUT)
    if thread.is_alive():
        msg = f"no answer within {_HUB_TIMEOUT:.0f} seconds"
        raise TimeoutError(msg)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def _unavailable(
    model: str,
    revision: str | None,
    files: ModelFiles,
    problem: BaseException | None,
    local: BaseException,
) -> ModelUnavailableError:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    at = f" at revision {revision!r}" if revision else ""
    if isinstance(problem, RevisionNotFoundError):
        why = "the hub has the model, but not this revision"
    elif isinstance(problem, RepositoryNotFoundError):
        why = "the hub has no public model of this name (or asks for a login)"
    elif problem is not None:
        why = f"the hub cannot be reached ({_first_line(problem)})"
    else:
        why = "only local files are allowed"
    missing = (
        _first_line(local)
        if type(local).__name__ == "IncompleteSnapshotError"
        else f"{files.config} and the other files are not in the local hub cache"
    )
    msg = (
        f"The model {model!r}{at} is not available: {why}, and {missing}. "
        f"Expected the hub's copy here, or a folder. On a machine with a network run "
        f"`hf download {model}{f' --revision {revision}' if revision else ''} "
        f"--local-dir FOLDER`, copy FOLDER here and pass its path as `model`. "
        f"With a folder, `local_files_only=True` or HF_HUB_OFFLINE=1 nothing needs "
        f"the network. Check the name too."
    )
    return ModelUnavailableError(msg)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _require_files(source: ModelSource) -> None:
    files, (kind, path) = source.files, _first_module(source)
    folder = source.folder / path
    if kind != STATIC and not (folder / files.config).is_file():
        found = f"{files.config} is missing"
    elif files.weights is not None and not any(folder.glob(files.weights)):
        found = f"{files.usual_weights} is missing"
        if any(any(folder.glob(f"*.{end}")) for end in ("bin", "pt", "pth")):
            found += (
                ", and pickled weights (.bin, .pt) are refused because loading them "
                "can run code"
            )
    else:
        return
    msg = (
        f"The model {source.name!r} cannot be loaded: {found} in {folder}; expected "
        f"{files.config} and safetensors weights. Fetch the whole model, or "
        f"{files.saved_by}."
    )
    raise ModelUnavailableError(msg)


def _first_module(source: ModelSource) -> tuple[str, str]:
    """Return kind and place of what a sentence-transformers folder begins with."""
    kind, path = TRANSFORMER, ""
    if source.files is TRANSFORMERS:
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            text = (source.folder / "modules.json").read_text(encoding="utf-8")
            first = json.loads(text)[0]
            kind, path = str(first["type"]).rsplit(".", 1)[-1], str(first["path"])
    # Another kind is refused where the list is read.
    return (kind, path) if kind in (TRANSFORMER, STATIC) else (TRANSFORMER, "")


def unloadable(source: ModelSource, error: Exception) -> ModelUnavailableError:
    """Return the error of a model whose files are there but do not serve."""
    if "trust_remote_code" in str(error):
        error = ValueError("it needs code of its own, which is never run")
        other = "another model, such as 'intfloat/multilingual-e5-small'"
    else:
        other = "another model"
    msg = (
        f"The model {source.name!r} cannot be loaded: {_first_line(error)}; expected a "
        f"complete encoder that {source.files.library} loads without code of its own, "
        f"in {source.folder}. Fetch or save it again, or choose {other}."
    )
    return ModelUnavailableError(msg)


@contextmanager
def quiet_loading(*, bars: bool = False) -> Iterator[None]:
    """Silence transformers' and the hub's messages and bars, then restore them."""
    with _no_messages(), nullcontext() if bars else _no_bars():
        yield


@shared_context
def _no_messages() -> Iterator[None]:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@shared_context
def _no_bars() -> Iterator[None]:
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    had_bars = logging.is_progress_bar_enabled()
    hub_had_bars = not are_progress_bars_disabled()
    # A bar switched by HF_HUB_DISABLE_PROGRESS_BARS warns when it is switched again.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable_progress_bar()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if had_bars:
                logging.enable_progress_bar()
            (enable_progress_bars if hub_had_bars else disable_progress_bars)()


@contextmanager
def untouched_logging() -> Iterator[None]:
    """Keep a library that logs through the root logger from giving it a handler."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
