"""Model names and folders to a folder on this machine; devices; quiet loading."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mmevent.exceptions import InputError, ModelUnavailableError

# Only what an encoder needs: no pickles, no ONNX or OpenVINO copies of the weights.
_WANTED = ["*.json", "*.txt", "*.model", "*.codes", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "*/*.safetensors"]
_HUB_TIMEOUT = 8.0  # seconds until a hub that does not answer counts as unreachable


class ModelSource(NamedTuple):
    """Where a model was found: its folder here, its name, and its hub commit."""

    folder: Path
    name: str
    revision: str | None


def find_folder(model: object) -> Path | None:
    """Return the absolute folder that `model` names, or None for a hub name."""
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
        msg = (
            f"`model` must be the name of a model on the Hugging Face hub or a folder; "
            f"got {model!r}. Pass a string such as "
            f"'sentence-transformers/all-MiniLM-L6-v2' or '/models/minilm'."
        )
        raise InputError(msg)
    text = os.fspath(model)
    path = Path(text).expanduser()
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
            f"The model folder {text!r} {what}; expected a folder with config.json "
            f"and model.safetensors. Correct `model`, or copy the folder there."
        )
        raise ModelUnavailableError(msg)
    return None


def locate_model(
    model: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    verbose: bool = False,
) -> ModelSource:
    """Find a model's folder: the given one, or the hub's copy on this machine.

    A folder, and any name with `local_files_only` or in offline mode, is found
    without touching the network. A hub that cannot be reached falls back to the
    local copy.
    """
    folder = find_folder(model)
    if folder is not None:
        source = ModelSource(folder, str(folder), None)
    else:
        source = _from_hub(model, revision, local_files_only, verbose)
    _require_files(source)
    return source


def _from_hub(
    model: str, revision: str | None, local_files_only: bool, verbose: bool
) -> ModelSource:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError as error:
        msg = (
            f"The model {model!r} is neither a folder nor a valid hub name; expected "
            f"'name' or 'organisation/name'. Correct `model`."
        )
        raise ModelUnavailableError(msg) from error
    patterns: dict[str, Any] = {
        "allow_patterns": _WANTED,
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
            return ModelSource(Path(folder), model, info.sha)
        except Exception as error:  # whatever the network does, the copy may be here
            problem = error
    try:
        folder = snapshot_download(
            model, revision=revision, local_files_only=True, **patterns
        )
    except Exception as error:
        raise _unavailable(model, revision, problem, error) from (problem or error)
    return ModelSource(Path(folder), model, Path(folder).name)


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
        else "config.json and the other files are not in the local hub cache"
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
    folder = source.folder
    if not (folder / "config.json").is_file():
        found = "config.json is missing"
    elif not any(folder.glob("*.safetensors")):
        found = "model.safetensors is missing"
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            found += (
                ", and pickled weights (.bin, .pt) are refused because loading them "
                "can run code"
            )
    else:
        return
    msg = (
        f"The model {source.name!r} cannot be loaded: {found} in {folder}; expected "
        f"config.json and safetensors weights. Fetch the whole model, or save it again "
        f"with `save_pretrained`, which writes safetensors."
    )
    raise ModelUnavailableError(msg)


def unloadable(source: ModelSource, error: Exception) -> ModelUnavailableError:
    """Return the error of a model whose files are there but do not serve."""
    msg = (
        f"The model {source.name!r} cannot be loaded: {_first_line(error)}; expected a "
        f"complete encoder that transformers loads without code of its own, in "
        f"{source.folder}. Fetch or save it again, or choose another model."
    )
    return ModelUnavailableError(msg)


def resolve_device(device: object) -> str:
    """Return the torch device to use: `"auto"` is cuda, else mps, else cpu."""
    import torch

    usable = ["cpu"]
    if torch.backends.mps.is_available():
        usable.insert(0, "mps")
    if torch.cuda.is_available():
        usable[:0] = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if device == "auto":
        return usable[0]
    if device not in usable:
        msg = (
            f"`device` must be 'auto' or one that this machine has "
            f"({', '.join(usable)}); got {device!r}. Use device='auto'."
        )
        raise InputError(msg)
    return str(device)


@contextmanager
def quiet_loading(*, bars: bool = False) -> Iterator[None]:
    """Silence transformers' and the hub's messages and bars, then restore them."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled()
    hub_had_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    # A bar switched by HF_HUB_DISABLE_PROGRESS_BARS warns when it is switched again.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not bars:
            logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if had_bars:
                logging.enable_progress_bar()
            if not hub_had_bars:
                disable_progress_bars()
