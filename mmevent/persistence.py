"""Save a fitted detector to a model folder, and load it, without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from mmevent import __version__
from mmevent._branches import TEXT
from mmevent._card import model_card
from mmevent._encoding import json_hash
from mmevent._frozen import FrozenClassifier
from mmevent._hub import find_folder, resolve_device
from mmevent._objects import check_types, from_bytes, to_bytes, walk
from mmevent.detector import EventDetector
from mmevent.evaluation import Estimate
from mmevent.exceptions import (
    InputError,
    MmeventError,
    MmeventWarning,
    ModelFolderError,
    ModelUnavailableError,
)
from mmevent.image import ImageClassifier
from mmevent.text import TextClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_new_folder", "load", "save"]

FORMAT_VERSION = 1
_FACTS, _MANIFEST, _PARAMETERS = "detector.json", "manifest.json", "parameters.skops"
_TRIALS, _CV_RESULTS = "trials.parquet", "cv_results.parquet"
_OUT_OF_FOLD, _ESTIMATE, _KEYS = (
    "out_of_fold.parquet",
    "estimate.json",
    "training_keys.txt",
)
_LIBRARIES = ("numpy", "pandas", "scikit-learn", "skops", "torch", "transformers")
_LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")


def save(
    detector: EventDetector, folder: str | Path, *, standalone: bool = False
) -> None:
    """Write a fitted detector to a new folder, whole or not at all.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    folder : path
        A folder that does not exist yet, or is empty; its parent exists.
    standalone : bool, default=False
        Copy the pretrained encoders into the folder. Otherwise they are referred to
        by name or folder, revision and weight hash.

    Raises
    ------
    InputError
        If the folder exists and is not empty, or its parent does not exist.
    ModelFolderError
        If a part of the detector could not be loaded back, or the disk refuses.
    ModelUnavailableError
        If `standalone` and an encoder is no longer where it was.

    See Also
    --------
    load : The way back.

    Notes
    -----
    The folder holds ``README.md`` (a model card), ``detector.json`` (the rule and the
    settings), the fitted branches and the settings that are objects as skops files,
    ``out_of_fold.parquet``, ``trials.parquet``, ``cv_results.parquet``,
    ``estimate.json``, and ``manifest.json`` with the SHA-256 of every file. No pickle
    is written.

    ``storage`` is not saved, since it may hold a password: it comes back as None, as
    does ``study_``. ``image_root`` is saved as it was given. Ids and an index that
    Parquet cannot hold come back as text.

    Examples
    --------
    >>> import tempfile
    >>> import mmevent
    >>> from mmevent.persistence import save
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = mmevent.EventDetector(text=text, image=image, estimate=None, cv=3,
    ...                                  n_trials=20, random_state=0).fit(posts, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(detector, folder + "/model")
    ...     loaded = mmevent.load(folder + "/model")
    >>> loaded.alpha_ == detector.alpha_
    True
    """
    check_is_fitted(detector)
    target = check_new_folder(folder)
    if type(detector) is not EventDetector:
        raise ModelFolderError(
            f"a {type(detector).__name__} cannot be saved: expected an EventDetector "
            f"itself, since that is what load returns. Save one of those."
        )
    files = _files(detector)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir()
        encoders = _encoders(detector)
        if standalone:
            for encoder in encoders.values():
                _copy_encoder(encoder, temporary)
        described = [encoder.facts(standalone) for encoder in encoders.values()]
        facts = _facts(detector) | {"encoders": described}
        files[_FACTS] = _json(facts)
        files["README.md"] = model_card(detector, described).encode()
        for name, data in files.items():
            path = temporary / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        (temporary / _MANIFEST).write_bytes(_json(_hashes(temporary)))
        _put_in_place(temporary, target)
    except MmeventError:
        raise
    except OSError as error:
        raise ModelFolderError(
            f"the model folder {str(target)!r} cannot be written: expected a place "
            f"with room that you may write to, got {error.strerror or error}. Nothing "
            f"was left behind; free some room, or choose another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: str | Path) -> EventDetector:
    """Read a detector from a folder that `save` wrote, possibly on another machine.

    All files are compared with the manifest, and the types that they ask for with a
    fixed list, before anything is built. Nothing in the folder is run.

    Parameters
    ----------
    folder : path
        A folder that :meth:`EventDetector.save` wrote; it may have been moved.

    Returns
    -------
    EventDetector
        It predicts as the saved one did. ``study_`` and ``storage`` are None. A text
        or image branch that was "auto" comes back as a `TextClassifier` or
        `ImageClassifier` on the copied encoder where the folder holds one.

    Raises
    ------
    ModelFolderError
        If the folder is none of ours, of an unknown version, incomplete or altered,
        or asks for types that are not trusted.
    ModelUnavailableError
        If it refers to the folder of an encoder that is not there. A model of the
        hub is looked for, and its weights are checked, when it is first needed.

    Warns
    -----
    MmeventWarning
        If a branch was to run on a device that this machine lacks.

    See Also
    --------
    EventDetector.save : Writes the folder.

    Examples
    --------
    >>> import tempfile
    >>> import mmevent
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = mmevent.EventDetector(text=text, image=image, estimate=None, cv=3,
    ...                                  n_trials=20, random_state=0).fit(posts, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     detector.save(folder + "/model")
    ...     loaded = mmevent.load(folder + "/model")
    >>> bool((loaded.predict(posts) == detector.predict(posts)).all())
    True
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ModelFolderError(
            f"the model folder {str(folder)!r} {what}: expected a folder that "
            f"EventDetector.save wrote. Correct the path."
        )
    root = root.resolve()
    _check_version(root)
    files = _verified(root)
    skops_files = [name for name in files if name.endswith(".skops")]
    for name in skops_files:
        check_types(files[name], name)
    try:
        detector = _build(root, files)
    except MmeventError:
        raise
    except Exception as error:  # a folder made to deceive can hold anything
        raise ModelFolderError(
            f"the model folder {str(root)!r} does not fit together: expected what "
            f"EventDetector.save writes, got {type(error).__name__}: {error}. Save "
            f"the detector again."
        ) from error
    return detector


def check_new_folder(folder: str | Path) -> Path:
    """Return where a model folder can be written; call it before long work.

    Parameters
    ----------
    folder : path
        A folder that does not exist yet, or is empty; its parent exists.

    Returns
    -------
    Path
        The folder, absolute, links followed.

    Raises
    ------
    InputError
        If the folder exists and is not empty, is a file, or its parent does not
        exist.

    Examples
    --------
    >>> import tempfile
    >>> from mmevent.persistence import check_new_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_new_folder(folder + "/model").name
    'model'
    """
    path = Path(folder).expanduser().resolve()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise InputError(
            f"the folder {str(folder)!r} {what}: expected a new or an empty folder to "
            f"save to. Choose another one; nothing was overwritten."
        )
    if not path.parent.is_dir():
        raise InputError(
            f"the folder {str(path.parent)!r} does not exist: expected an existing "
            f"folder for {path.name!r}. Create it, or save elsewhere."
        )
    return path


def _put_in_place(temporary: Path, target: Path) -> None:
    if target.exists():
        target.rmdir()
    temporary.rename(target)


# What is written.


def _files(detector: EventDetector) -> dict[str, bytes]:
    """All files but those that depend on where the encoders are."""
    results = detector.cv_results_
    rows = {name: values for name, values in results.items() if "param" not in name}
    files = {
        _OUT_OF_FOLD: _table_with_ids(detector.out_of_fold_),
        _TRIALS: _to_parquet(detector.trials_),
        _CV_RESULTS: _to_parquet(pd.DataFrame(rows)),
        _KEYS: "".join(f"{key}\n" for key in detector.training_keys_).encode(),
        _PARAMETERS: to_bytes(_parameters(detector)[1], "the detector's parameters"),
    }
    if detector.estimate_ is not None:
        files[_ESTIMATE] = _json(detector.estimate_.to_dict())
    for name, path in _branch_paths(detector).items():
        files[path] = to_bytes(detector.branches_[name], f"the {name} branch")
    return files


def _branch_paths(detector: EventDetector) -> dict[str, str]:
    """File of each fitted branch; a caller's names are no file names."""
    images = [name for name in detector.branches_ if name != TEXT]
    paths = {name: f"image/branch-{i}.skops" for i, name in enumerate(images)}
    if TEXT in detector.branches_:
        paths[TEXT] = "text/branch.skops"
    return {name: paths[name] for name in detector.branches_}


def _parameters(detector: EventDetector) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters that JSON holds exactly, and the others."""
    parameters = detector.get_params(deep=False) | {"storage": None}
    if isinstance(parameters["image_root"], os.PathLike):
        parameters["image_root"] = os.fspath(parameters["image_root"])
    if isinstance(parameters["columns"], Mapping):
        parameters["columns"] = dict(parameters["columns"])
    plain = {
        name: value
        for name, value in parameters.items()
        if value is None or type(value) in (bool, int, float, str)
    }
    return plain, {k: v for k, v in parameters.items() if k not in plain}


def _facts(detector: EventDetector) -> dict[str, Any]:
    plain, others = _parameters(detector)
    classes = detector.classes_
    described = {"dtype": classes.dtype.str, "values": classes.tolist()}
    back = _classes(json.loads(json.dumps(described, default=str)))
    if back.dtype != classes.dtype or [
        (type(a), a) for a in back.tolist()
    ] != [(type(a), a) for a in classes.tolist()]:
        raise ModelFolderError(
            f"the classes {classes.tolist()} cannot be saved: expected strings, "
            f"booleans or numbers, got {classes.dtype} of "
            f"{type(classes.tolist()[0]).__name__}. Fit with such labels, as "
            f"y.astype(str) makes them."
        )
    return {
        "format_version": FORMAT_VERSION,
        "mmevent": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "parameters": plain,
        "other_parameters": {name: repr(value) for name, value in others.items()},
        "classes": described,
        "positive": int(np.flatnonzero(classes == detector.pos_label_)[0]),
        "alpha": float(detector.alpha_),
        "beta": float(detector.beta_),
        "beta_identified": bool(detector.beta_identified_),
        "pool": detector.pool_,
        "image_name": detector.image_name_,
        "threshold": float(detector.threshold_),
        "policy": (
            detector.policy_
            if isinstance(detector.policy_, str)
            else float(detector.policy_)
        ),
        "data_hash": detector.data_hash_,
        "branches": _branch_paths(detector),
    }


def _classes(described: dict[str, Any]) -> NDArray[Any]:
    """Labels from JSON, with their dtype."""
    dtype = np.dtype(described["dtype"])
    if dtype.kind not in "biufUO":
        dtype = np.dtype("O")
    return np.array(described["values"], dtype=dtype)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _to_parquet(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue()


def _table_with_ids(frame: pd.DataFrame) -> bytes:
    """Parquet of a table; ids or an index that it cannot hold become text."""
    try:
        return _to_parquet(frame)
    except (TypeError, ValueError, NotImplementedError):  # as pyarrow's errors are
        as_text = frame.assign(id=frame["id"].map(str))
        as_text.index = as_text.index.map(str)
        return _to_parquet(as_text)


def _hashes(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# Encoders.


class _EncoderRecord:
    """An encoder that fitted branches use, and where a standalone folder has it."""

    def __init__(self, branch: FrozenClassifier) -> None:
        self.branch = branch
        self.identity = _identity(branch)
        self.folder = f"encoders/{branch._encoder_class.kind}-{self.identity[:12]}"

    def facts(self, standalone: bool) -> dict[str, Any]:
        """What the model folder says about it."""
        spec = self.branch.encoder_spec_
        names = ("model", "revision", "weights_sha256", "max_length")
        return {
            "kind": self.branch._encoder_class.kind,
            **{name: spec[name] for name in names},
            "identity": self.identity,
            "folder": self.folder if standalone else None,
        }


def _identity(branch: FrozenClassifier) -> str:
    """Hash of all that determines an encoder's output."""
    facts = {
        name: value
        for name, value in branch.encoder_spec_.items()
        if name not in ("model", "revision")
    }
    return json_hash({"kind": branch._encoder_class.kind, **facts})


def _frozen_parts(value: Any) -> Iterator[FrozenClassifier]:
    """Our branches within a value, however deep in ensembles and pipelines."""
    return (part for part in walk(value) if isinstance(part, FrozenClassifier))


def _encoders(detector: EventDetector) -> dict[str, _EncoderRecord]:
    """The distinct encoders of the fitted branches."""
    records: dict[str, _EncoderRecord] = {}
    for part in _frozen_parts(detector.branches_):
        if hasattr(part, "encoder_spec_"):
            record = _EncoderRecord(part)
            records.setdefault(record.identity, record)
    return records


def _copy_encoder(record: _EncoderRecord, root: Path) -> None:
    """Write an encoder, and load it back from there."""
    folder = root / record.folder
    folder.parent.mkdir(exist_ok=True)
    record.branch.save_encoder(folder)
