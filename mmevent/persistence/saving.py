"""Save a fitted detector to a model folder, and load it, without pickle."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent import __version__
from mmevent._common import warn_user
from mmevent._settings import with_own_settings
from mmevent.detector.detector import EventDetector
from mmevent.detector.fitted import FitRecord, FittedDetector
from mmevent.encoders.hub import OPEN_CLIP, TRANSFORMERS
from mmevent.evaluation.estimate import Estimate
from mmevent.exceptions import MmeventError, MmeventWarning, ModelFolderError
from mmevent.persistence.card import model_card
from mmevent.persistence.facts import check_facts, kind_of_rule
from mmevent.persistence.folder import (
    FACTS,
    FORMAT_VERSION,
    describe_classes,
    from_parquet,
    new_folder,
    read_classes,
    read_cv_results,
    read_folder,
    scores_of,
    table_with_ids,
    to_json,
    to_parquet,
    written_whole,
)
from mmevent.persistence.objects import check_types, from_bytes, to_bytes
from mmevent.persistence.parameters import check_parameters
from mmevent.persistence.references import (
    check_folders,
    check_places,
    copy_encoders,
    encoders_of,
    only_local,
    point_to_folders,
    spell_out,
    use_this_machine,
)
from mmevent.posts.prepared import SECOND, TEXT
from mmevent.rule.calibration import Calibration
from mmevent.rule.policies import budget_of
from mmevent.rule.search import Search
from mmevent.rule.stacking import RULES
from mmevent.rule.two_stage import TwoStageRule

__all__ = ["load", "save"]

_CARD, _PARAMETERS = "README.md", "parameters.skops"
_OUT_OF_FOLD, _TRIALS = "out_of_fold.parquet", "trials.parquet"
_CV_RESULTS, _ESTIMATE = "cv_results.parquet", "estimate.json"
_KEYS = "training_keys.txt"
_ENCODERS = (OPEN_CLIP, TRANSFORMERS)
_LIBRARIES = (
    *("numpy", "open_clip_torch", "pandas", "scikit-learn", "skops", "torch"),
    "transformers",
)


@with_own_settings
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
        Copy the pretrained encoders into the folder. Otherwise the folder refers to
        them by name or folder, revision and weight hash. Fine-tuned encoders are always
        copied.

    Raises
    ------
    InputError
        If the folder exists and is not empty, or its parent does not exist.
    ModelFolderError
        If a part of the detector could not be loaded back, or the folder cannot be
        written.
    ModelUnavailableError
        If `standalone` and an encoder is no longer where it was.

    See Also
    --------
    load : The way back.

    Notes
    -----
    The folder holds ``README.md`` (a model card), ``detector.json`` (classes, rule,
    policy, calibration, plain parameters, versions of libraries, references to
    encoders), ``parameters.skops`` (parameters that are objects), the fitted branches
    as ``text/branch.skops``, ``image/branch-0.skops`` and
    ``second_stage/branch.skops``, ``out_of_fold.parquet``, ``trials.parquet``,
    ``cv_results.parquet``, ``training_keys.txt`` (hashes by which training posts are
    recognised), and ``manifest.json`` with the SHA-256 of every other file;
    ``estimate.json`` if an estimate was made, and ``encoders/`` if encoders are copied.
    No pickle is written.

    ``storage`` is not saved, since it may hold a password: it comes back as None, as
    does ``study_``. ``allow_outside_root`` comes back as False, with a warning: whoever
    loads the folder has to allow it. So it is with ``image_root``: it is written as it
    was given, for people to see, and `load` takes it from its caller alone. Words of a
    file of event packs are written in its place. Ids and an index that Parquet cannot
    hold come back as text.

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
    fitted = detector.fitted_
    encoders = encoders_of(fitted.branches, standalone=standalone)
    files = _files(fitted, _parameters(detector), encoders)
    with written_whole(target) as root:
        if any(encoder["folder"] for encoder in encoders):
            copy_encoders(fitted.branches, encoders, root)
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


@with_own_settings
def load(
    folder: str | Path,
    *,
    image_root: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> EventDetector:
    """Read a detector from a folder that `save` wrote, possibly on another machine.

    Before anything is built, all files are compared with the manifest, and the types
    that they name with a fixed list. No code in the folder is run. SECURITY.md says
    what is promised of a folder that someone else made.

    Parameters
    ----------
    folder : path
        A folder that :meth:`EventDetector.save` wrote; it may have been moved.
    image_root : path or None, default=None
        Folder of the images of the posts to come; None for the working folder. The one
        that the folder names is never used.
    local_files_only : bool, default=False
        Whether pretrained encoders are taken from this machine alone. Otherwise those
        that the folder names are looked for on the Hugging Face hub when they are
        first needed.

    Returns
    -------
    EventDetector
        It predicts as the saved one did. ``study_`` and ``storage`` are None. If the
        folder holds copies of the encoders, branches refer to these, and a branch that
        was "auto" is the `TextClassifier` or `ImageClassifier` that it stands for.

    Raises
    ------
    ModelFolderError
        If it is not a model folder of this version, is incomplete or altered, or names
        types that are not trusted.
    ModelUnavailableError
        If it refers to the folder of an encoder that does not exist. Models of the hub
        are looked for, and all weights are checked, when they are first needed.

    Warns
    -----
    MmeventWarning
        If the detector used a device that this machine lacks, was allowed to open
        images outside its image_root, or had an image_root and none is given.

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
        _set_image_root(detector, image_root)
    except MmeventError:
        raise
    except Exception as error:  # a folder that was made to deceive can hold anything
        raise ModelFolderError(
            f"the model folder {str(root)!r} does not fit together: expected what "
            f"EventDetector.save writes, got {type(error).__name__}: {error}. Save "
            f"the detector again."
        ) from error
    fitted = detector.fitted_
    check_places(fitted.branches, detector.text, detector.image, detector.second_stage)
    if local_files_only:
        only_local(detector)
    check_folders([fitted.text, fitted.image, fitted.second])
    use_this_machine(
        fitted.branches, detector.text, detector.image, detector.second_stage
    )
    return detector


def _files(
    fitted: FittedDetector,
    parameters: tuple[dict[str, Any], dict[str, Any]],
    encoders: list[dict[str, Any]],
) -> dict[str, bytes]:
    """Return all files except copies of encoders; check that they can be loaded."""
    (plain, others), record = parameters, fitted.record
    paths = _branch_paths(fitted.branches)
    facts = {
        **_facts(fitted),
        "branches": paths,
        "encoders": encoders,
        "parameters": plain,
        "other_parameters": {name: repr(value) for name, value in others.items()},
    }
    files = {
        _CARD: model_card(fitted, encoders).encode("utf-8", "replace"),
        FACTS: to_json(facts),
        _PARAMETERS: to_bytes(others, "the detector's parameters"),
        _OUT_OF_FOLD: table_with_ids(record.out_of_fold),
        _TRIALS: to_parquet(record.trials),
        _CV_RESULTS: to_parquet(scores_of(record.cv_results)),
        _KEYS: "".join(f"{key}\n" for key in sorted(fitted.training_keys)).encode(),
    }
    if record.estimate is not None:
        files[_ESTIMATE] = to_json(record.estimate.to_dict())
    for name, path in paths.items():
        files[path] = to_bytes(fitted.branches[name], f"the {name} branch")
    return files


def _facts(fitted: FittedDetector) -> dict[str, Any]:
    budget = budget_of(fitted.policy) is not None
    record, search = fitted.record, fitted.record.search
    return {
        "format_version": FORMAT_VERSION,
        "mmevent": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "label_name": fitted.label_name,
        "classes": describe_classes(fitted.classes),
        "positive": int(np.flatnonzero(fitted.classes == fitted.pos_label)[0]),
        "rule": asdict(fitted.rule),
        "beta_identified": bool(fitted.beta_identified),
        "stages": None if fitted.stages is None else asdict(fitted.stages),
        "calibration": fitted.calibration and asdict(fitted.calibration),
        "f1_threshold": float(fitted.f1_threshold),
        "threshold": None if budget else float(fitted.threshold),
        "policy": fitted.policy,
        "policy_of_fit": record.policy,
        "search": asdict(search),
        "data_hash": record.data_hash,
        "groups_hash": record.groups_hash,
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
    check_parameters(EventDetector(**plain), "the detector cannot be saved")
    return plain, {n: v for n, v in parameters.items() if n not in plain}


def _branch_paths(branches: Mapping[str, Any]) -> dict[str, str]:
    """Return the file of each branch; names that a caller chose are not used."""
    own = {TEXT: "text/branch.skops", SECOND: "second_stage/branch.skops"}
    images = [name for name in branches if name not in own]
    own |= {name: f"image/branch-{i}.skops" for i, name in enumerate(images)}
    return {name: own[name] for name in branches}


def _build(root: Path, files: dict[str, bytes], names: set[str]) -> EventDetector:
    facts = json.loads(files[FACTS])
    check_facts(facts, files)
    parameters = facts["parameters"] | from_bytes(files[_PARAMETERS], _PARAMETERS)
    if parameters["allow_outside_root"]:
        warn_user(
            "the saved detector was allowed to open images outside its image_root. "
            "This is not taken from a folder: allow_outside_root=False is used, and "
            "such images are not opened. Allow it by "
            "set_params(allow_outside_root=True).",
            MmeventWarning,
        )
    ours = {"storage": None, "allow_outside_root": False}
    detector = EventDetector(**(parameters | ours))
    check_parameters(detector, f"{FACTS} cannot be used")
    detector.fitted_ = _fitted(facts, files)
    _find_encoders(detector, facts["encoders"], root, names)
    return detector


def _set_image_root(
    detector: EventDetector, image_root: str | os.PathLike[str] | None
) -> None:
    """Use the caller's folder of images, never the one that a model folder names."""
    named, detector.image_root = detector.image_root, image_root
    if named is not None and image_root is None:
        warn_user(
            f"the saved detector looked for images in {named!r}. This is not taken "
            f"from a folder: relative paths start at the working folder. Name another "
            f"one by load(folder, image_root=...).",
            MmeventWarning,
        )


def _fitted(facts: dict[str, Any], files: dict[str, bytes]) -> FittedDetector:
    classes = read_classes(facts["classes"])
    stages, maps = facts["stages"], facts["calibration"]
    threshold, rule = facts["threshold"], RULES[kind_of_rule(facts)]
    return FittedDetector(
        branches={
            name: from_bytes(files[path], path)
            for name, path in facts["branches"].items()
        },
        rule=rule(**facts["rule"]),
        stages=stages
        and TwoStageRule(*(rule(**stages[k]) for k in ("first", "second"))),
        beta_identified=facts["beta_identified"],
        f1_threshold=facts["f1_threshold"],
        policy=facts["policy"],
        # JSON cannot hold the NaN of a budget.
        threshold=np.nan if threshold is None else threshold,
        calibration=maps and Calibration(**maps),
        classes=classes,
        pos_label=classes[facts["positive"]],
        label_name=facts["label_name"],
        training_keys=frozenset(files[_KEYS].decode().split()),
        record=_record(facts, files),
    )


def _record(facts: dict[str, Any], files: dict[str, bytes]) -> FitRecord:
    trials = from_parquet(files[_TRIALS], _TRIALS)
    estimate = None
    if _ESTIMATE in files:
        estimate = Estimate.from_dict(json.loads(files[_ESTIMATE]))
    search = facts["search"]
    bounds = {k: tuple(search[k]) for k in ("alpha_bounds", "beta_bounds")}
    settings = Search(**(search | bounds | {"storage": None}))
    settings.check()
    return FitRecord(
        policy=facts["policy_of_fit"],
        search=settings,
        out_of_fold=from_parquet(files[_OUT_OF_FOLD], _OUT_OF_FOLD),
        trials=trials,
        cv_results=read_cv_results(
            trials, from_parquet(files[_CV_RESULTS], _CV_RESULTS)
        ),
        study=None,
        estimate=estimate,
        data_hash=facts["data_hash"],
        groups_hash=facts["groups_hash"],
    )


def _find_encoders(
    detector: EventDetector,
    encoders: list[dict[str, Any]],
    root: Path,
    names: set[str],
) -> None:
    """Make branches refer to the copies of encoders in the folder, if any."""
    for encoder in encoders:
        configs = {f"{encoder['folder']}/{files.config}" for files in _ENCODERS}
        if encoder["folder"] and not configs & names:
            raise ModelFolderError(
                f"{FACTS} in {str(root)!r} names the encoder {encoder['folder']!r}: "
                f"expected a folder of the manifest. Copy the model folder again."
            )
    if any(encoder["folder"] for encoder in encoders):
        spell_out(detector)
    parameters = [detector.text, detector.image, detector.second_stage]
    point_to_folders(detector.fitted_.branches, parameters, encoders, root)
