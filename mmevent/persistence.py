"""Save a fitted detector to a model folder, and load it, without pickle."""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent import EventDetector, __version__  # the detector itself calls `save`
from mmevent._branches import SECOND, SECOND_IMAGE, TEXT
from mmevent._card import model_card
from mmevent._folder import (
    FACTS,
    FORMAT_VERSION,
    new_folder,
    read_folder,
    to_json,
    written_whole,
)
from mmevent._hub import OPEN_CLIP, TRANSFORMERS
from mmevent._objects import check_types, from_bytes, to_bytes
from mmevent._plain import (
    describe_classes,
    from_parquet,
    read_classes,
    read_cv_results,
    scores_of,
    table_with_ids,
    to_parquet,
)
from mmevent._references import (
    check_folders,
    copy_encoders,
    encoders_of,
    point_to_folders,
    use_this_machine,
)
from mmevent.calibration import Calibration
from mmevent.decision import budget_of, plain_policy
from mmevent.evaluation import Estimate
from mmevent.exceptions import MmeventError, MmeventWarning, ModelFolderError
from mmevent.filter import Mix, TwoStageRule
from mmevent.image import ImageClassifier
from mmevent.text import TextClassifier
from mmevent.tuning import Rule

__all__ = ["load", "save"]

_CARD, _PARAMETERS = "README.md", "parameters.skops"
_OUT_OF_FOLD, _TRIALS = "out_of_fold.parquet", "trials.parquet"
_CV_RESULTS, _ESTIMATE = "cv_results.parquet", "estimate.json"
_KEYS = "training_keys.txt"
_ENCODERS = (OPEN_CLIP, TRANSFORMERS)
_PLAIN_FACTS = (
    "label_name",
    "alpha",
    "beta",
    "beta_identified",
    "pool",
    "image_name",
    "f1_threshold",
    "threshold",
    "policy",
    "data_hash",
    "groups_hash",
)
_LIBRARIES = (
    *("numpy", "open_clip_torch", "pandas", "scikit-learn", "skops", "torch"),
    "transformers",
)


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
        by name or folder, revision and weight hash. Those that were fine-tuned are
        always copied.

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
    ``estimate.json``, ``training_keys.txt`` (hashes by which training posts are known
    again), ``encoders/`` where `standalone`, and ``manifest.json`` with the SHA-256
    of every other file. No pickle is written.

    ``storage`` is not saved, since it may hold a password: it comes back as None, as
    does ``study_``. ``allow_outside_root`` comes back as False, with a warning: it is
    for whoever loads the folder to decide. ``image_root`` is saved as it was given;
    change it by ``set_params`` on a machine that has the images elsewhere. Ids, and an
    index, that Parquet cannot hold come back as text.

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
    target = new_folder(folder)
    if type(detector) is not EventDetector:
        raise ModelFolderError(
            f"a {type(detector).__name__} cannot be saved: expected an EventDetector "
            f"itself, which is what load returns. Save one of these."
        )
    encoders = encoders_of(detector.branches_, standalone=standalone)
    files = _files(detector, encoders)
    with written_whole(target) as root:
        if any(encoder["folder"] for encoder in encoders):
            copy_encoders(detector.branches_, encoders, root)
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


def load(folder: str | Path) -> EventDetector:
    """Read a detector from a folder that `save` wrote, possibly on another machine.

    All files are compared with the manifest, and the types that they ask for with a
    fixed list, before anything is built. No code in the folder is run.

    Parameters
    ----------
    folder : path
        A folder that :meth:`EventDetector.save` wrote; it may have been moved.

    Returns
    -------
    EventDetector
        It predicts as the saved one did. ``study_`` and ``storage`` are None. Where
        the folder holds copies of the encoders, branches name these, and a branch
        that was "auto" is the `TextClassifier` or `ImageClassifier` that it stands
        for.

    Raises
    ------
    ModelFolderError
        If the folder is none of ours, of an unknown version, incomplete or altered,
        or asks for types that are not trusted.
    ModelUnavailableError
        If it refers to the folder of an encoder that is not there. A model of the
        hub is looked for, and all weights are checked, when they are first needed.

    Warns
    -----
    MmeventWarning
        If a branch was to run on a device that this machine lacks, or the detector was
        to open images outside its image_root.

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
    root, files, names = read_folder(folder)
    for name, data in files.items():
        if name.endswith(".skops"):
            check_types(data, name)
    try:
        detector = _build(root, files, names)
    except MmeventError:
        raise
    except Exception as error:  # a folder that was made to deceive can hold anything
        raise ModelFolderError(
            f"the model folder {str(root)!r} does not fit together: expected what "
            f"EventDetector.save writes, got {type(error).__name__}: {error}. Save "
            f"the detector again."
        ) from error
    check_folders(
        [
            *(detector.text_, detector.image_),
            *(detector.second_stage_, detector.second_stage_image_),
        ]
    )
    use_this_machine(
        detector.branches_, detector.text, detector.image, detector.second_stage
    )
    return detector


def _files(detector: EventDetector, encoders: list[dict[str, Any]]) -> dict[str, bytes]:
    """All files but the copies of encoders; what cannot be loaded back is refused."""
    plain, others = _parameters(detector)
    paths = _branch_paths(detector)
    facts = {
        **_facts(detector),
        "branches": paths,
        "encoders": encoders,
        "parameters": plain,
        "other_parameters": {name: repr(value) for name, value in others.items()},
    }
    files = {
        _CARD: model_card(detector, encoders).encode("utf-8", "replace"),
        FACTS: to_json(facts),
        _PARAMETERS: to_bytes(others, "the detector's parameters"),
        _OUT_OF_FOLD: table_with_ids(detector.out_of_fold_),
        _TRIALS: to_parquet(detector.trials_),
        _CV_RESULTS: to_parquet(scores_of(detector.cv_results_)),
        _KEYS: "".join(f"{key}\n" for key in detector.training_keys_).encode(),
    }
    if detector.estimate_ is not None:
        files[_ESTIMATE] = to_json(detector.estimate_.to_dict())
    for name, path in paths.items():
        files[path] = to_bytes(detector.branches_[name], f"the {name} branch")
    return files


def _facts(detector: EventDetector) -> dict[str, Any]:
    budget = budget_of(detector.policy_) is not None
    return {
        "format_version": FORMAT_VERSION,
        "mmevent": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "label_name": detector.label_name_,
        "classes": describe_classes(detector.classes_),
        "positive": int(np.flatnonzero(detector.classes_ == detector.pos_label_)[0]),
        "alpha": float(detector.alpha_),
        "beta": float(detector.beta_),
        "beta_identified": bool(detector.beta_identified_),
        "pool": detector.pool_,
        "image_name": detector.image_name_,
        "calibration": detector.calibration_ and asdict(detector.calibration_),
        "stages": None if detector.stages_ is None else asdict(detector.stages_),
        "f1_threshold": float(detector.f1_threshold_),
        "threshold": None if budget else float(detector.threshold_),
        "policy": plain_policy(detector.policy_),
        "data_hash": detector.data_hash_,
        "groups_hash": detector.groups_hash_,
    }


def _parameters(detector: EventDetector) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters that JSON holds exactly, and the others."""
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
    return plain, {n: v for n, v in parameters.items() if n not in plain}


def _branch_paths(detector: EventDetector) -> dict[str, str]:
    """File of each fitted branch, in their order; a caller's name is no file name."""
    own = {TEXT: "text/branch.skops", SECOND: "second_stage/branch.skops"}
    images = [name for name in detector.branches_ if name not in own]
    own |= {name: f"image/branch-{i}.skops" for i, name in enumerate(images)}
    return {name: own[name] for name in detector.branches_}


def _build(root: Path, files: dict[str, bytes], names: set[str]) -> EventDetector:
    facts = json.loads(files[FACTS])
    parameters = facts["parameters"] | from_bytes(files[_PARAMETERS], _PARAMETERS)
    if parameters["allow_outside_root"]:
        warnings.warn(
            "the detector was to open images outside its image_root, which is not "
            "taken from a folder: allow_outside_root=False is used, and such images "
            "count as not there. Allow it by set_params(allow_outside_root=True).",
            MmeventWarning,
            stacklevel=3,
        )
    ours = {"storage": None, "allow_outside_root": False}
    detector = EventDetector(**(parameters | ours))
    detector.branches_ = {
        name: from_bytes(files[path], path) for name, path in facts["branches"].items()
    }
    detector.classes_ = read_classes(facts["classes"])
    detector.pos_label_ = detector.classes_[facts["positive"]]
    for name in _PLAIN_FACTS:
        setattr(detector, f"{name}_", facts[name])
    if facts["threshold"] is None:  # a budget's, which JSON cannot hold
        detector.threshold_ = np.nan
    detector.text_ = detector.branches_.get(TEXT)
    detector.image_ = detector.branches_.get(detector.image_name_)
    detector.second_stage_ = detector.branches_.get(SECOND)
    detector.second_stage_image_ = detector.branches_.get(SECOND_IMAGE)
    maps = facts["calibration"]
    detector.calibration_ = maps and Calibration(**maps)
    detector.stages_ = facts["stages"] and _read_stages(facts["stages"])
    detector.study_ = None
    detector.trials_ = from_parquet(files[_TRIALS])
    detector.cv_results_ = read_cv_results(
        detector.trials_, from_parquet(files[_CV_RESULTS])
    )
    detector.out_of_fold_ = from_parquet(files[_OUT_OF_FOLD])
    detector.training_keys_ = files[_KEYS].decode().split()
    detector.estimate_ = (
        Estimate.from_dict(json.loads(files[_ESTIMATE])) if _ESTIMATE in files else None
    )
    _find_encoders(detector, facts["encoders"], root, names)
    return detector


def _read_stages(stages: dict[str, Any]) -> TwoStageRule:
    mix = stages["mix"]
    if mix is not None:
        mix = Mix(tuple(mix["features"]), tuple(mix["weights"]))
    return TwoStageRule(Rule(**stages["first"]), Rule(**stages["second"]), mix)


def _find_encoders(
    detector: EventDetector,
    encoders: list[dict[str, Any]],
    root: Path,
    names: set[str],
) -> None:
    """Point every branch to the encoders that the folder holds, if any."""
    for encoder in encoders:
        configs = {f"{encoder['folder']}/{files.config}" for files in _ENCODERS}
        if encoder["folder"] and not configs & names:
            raise ModelFolderError(
                f"{FACTS} in {str(root)!r} names the encoder {encoder['folder']!r}: "
                f"expected a folder of the manifest. Copy the model folder again."
            )
    if any(encoder["folder"] for encoder in encoders):
        settings: dict[str, Any] = {"verbose": detector.verbose}
        if isinstance(detector.random_state, (int, np.integer)):
            settings["random_state"] = detector.random_state
        if isinstance(detector.text, str):
            detector.text = TextClassifier(**settings)
        if isinstance(detector.image, str):
            detector.image = ImageClassifier(**settings)
    parameters = [detector.text, detector.image, detector.second_stage]
    point_to_folders(detector.branches_, parameters, encoders, root)
