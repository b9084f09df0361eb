"""The parameters of a detector as one value, checked once at the start of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from mmevent.branches.fitting import (
    examine,
    gives_probabilities,
    is_fine_tuned,
    is_frozen_whole,
)
from mmevent.branches.image import ImageClassifier
from mmevent.branches.label_keys import with_coded_labels
from mmevent.branches.text import TextClassifier
from mmevent.detector.reading import WITHOUT, Reading
from mmevent.detector.second_stage import FalsePositiveFilter
from mmevent.evaluation.baselines import SecondStage
from mmevent.evaluation.nested import CROSS_FITTED, NESTED, Job
from mmevent.evaluation.sample import Sample
from mmevent.exceptions import InputError
from mmevent.posts.labels import (
    check_groups,
    check_labels,
    check_n_jobs,
    check_seed,
    check_stage1,
)
from mmevent.posts.prepared import SECOND, TEXT, Prepared
from mmevent.posts.usable import check_any_usable
from mmevent.rule.calibration import check_calibration
from mmevent.rule.fusion import POOLS
from mmevent.rule.policies import Policy, budget_of, check_policy, plain_policy
from mmevent.rule.search import Search
from mmevent.rule.storage import open_storage

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmevent.detector.detector import EventDetector
    from mmevent.detector.fitted import FittedDetector
    from mmevent.evaluation.folds import FoldMaker

AUTO, IMAGE = "auto", "image"


@dataclass(frozen=True)
class Settings:
    """The checked parameters of an `EventDetector`, with its unfitted branches.

    Parameters
    ----------
    branches : dict of str to classifier
        The unfitted branches by name: the text branch, then those of images.
    second : SecondStage or None
        The unfitted second stage, if there is one.
    search : Search
        Settings of the search, without `storage`, which is for the final fit only.
    seed : int
        Seed of the folds and of the search.
    reading : Reading
        How posts are read.
    storage, cv, inner_cv, pool, policy, calibration, estimate, pos_label, n_jobs
        As in :class:`mmevent.EventDetector`.
    """

    branches: dict[str, Any]
    second: SecondStage | None
    search: Search
    storage: Any
    cv: Any
    inner_cv: Any
    pool: str
    policy: Policy
    calibration: str | None
    estimate: str | None
    pos_label: Any
    n_jobs: int | None
    seed: int
    reading: Reading

    @classmethod
    def of(cls, detector: EventDetector, *, seed: int | None = None) -> Settings:
        """Check all parameters of a detector, and draw a seed where none is given."""
        _check_choices(detector)
        check_branches(detector.text, detector.image)
        state = check_seed(detector.random_state)
        if seed is None:
            seed = _seed(state)
        search = Search(
            rule=detector.rule,
            criterion=detector.criterion,
            n_trials=detector.n_trials,
            alpha_bounds=detector.alpha_bounds,
            beta_bounds=detector.beta_bounds,
            random_state=seed,
        )
        replace(search, storage=detector.storage).check()
        verbose = detector.verbose
        return cls(
            branches=_branches(
                detector.text, detector.image, seed=seed, verbose=verbose
            ),
            second=_second_stage(
                detector.second_stage, detector.text, seed=seed, verbose=verbose
            ),
            search=search,
            storage=detector.storage,
            cv=detector.cv,
            inner_cv=detector.inner_cv,
            pool=detector.pool,
            policy=plain_policy(detector.policy),
            calibration=detector.calibration,
            estimate=detector.estimate,
            pos_label=detector.pos_label,
            n_jobs=check_n_jobs(detector.n_jobs),
            seed=seed,
            reading=Reading.of(detector),
        )

    @property
    def verbose(self) -> bool:
        """Whether to show progress bars."""
        return self.reading.verbose

    @property
    def image_branches(self) -> dict[str, Any]:
        """The unfitted image branches by name."""
        return {name: one for name, one in self.branches.items() if name != TEXT}

    @property
    def all_branches(self) -> list[Any]:
        """The unfitted branches of both stages."""
        second = [] if self.second is None else [self.second.branch]
        return [*self.branches.values(), *second]

    def with_labels(self, coding: Sequence[Any]) -> Settings:
        """Return settings whose branches name 0 and 1 instead of the caller's labels.

        `coding` has the labels of no event and of an event.
        """
        second = self.second
        if second is not None:
            branch = with_coded_labels(second.branch, coding)
            second = second._replace(branch=branch)
        branches = {
            name: with_coded_labels(branch, coding)
            for name, branch in self.branches.items()
        }
        return replace(self, branches=branches, second=second)

    def with_open_storage(self) -> Settings:
        """Return settings whose storage was opened: here, before any work."""
        return replace(self, storage=open_storage(self.storage))

    def read(self, posts: Any) -> Prepared:
        """Read the posts of a fit, which must have what the branches need."""
        texts = TEXT in self.branches or self.second is not None
        images = bool(self.image_branches)
        return self.reading.read_for_fit(posts, texts=texts, images=images)

    def check_images(self, prepared: Prepared) -> None:
        """Validate that a picture can be used, once their statuses are known."""
        if self.image_branches:
            check_any_usable([prepared.images], WITHOUT["images"], decoding=True)

    def usual_kind(self) -> str:
        """Return the kind of estimate: nested, or cross-fitted if encoders train."""
        if self.estimate in (NESTED, CROSS_FITTED):
            return str(self.estimate)
        return CROSS_FITTED if self.trains_encoders else NESTED

    @property
    def trains_encoders(self) -> bool:
        """Whether the fit of some branch trains its encoder."""
        return any(map(is_fine_tuned, self.all_branches))

    def kind_of_fit(self) -> str | None:
        """Return the kind of the estimate that a fit makes; None for no estimate."""
        if self.estimate is None:
            return None
        if budget_of(self.policy) is None:
            return self.usual_kind()
        if self.estimate == AUTO:
            return None
        raise InputError(
            f"estimate={self.estimate!r} cannot be made with policy={self.policy!r}: "
            f"expected 'auto' or None, since its figures depend on the size of the "
            f"corpus. Fit, and call evaluate(detector, posts, y, corpus_size=...)."
        )

    def sample(
        self,
        prepared: Prepared,
        y: ArrayLike,
        groups: ArrayLike | None,
        y_stage1: ArrayLike | None,
        *,
        fitted: FittedDetector | None = None,
    ) -> Sample:
        """Join posts with their labels and groups; each picture is decoded once.

        With `fitted`, an InputError is raised if they are not those of its fit.
        """
        event, stage1 = self.check_labels(prepared, y, y_stage1)
        check_groups(groups, len(prepared))
        if fitted is not None:
            fitted.check_posts(prepared, event, stage1)
        images = examine(
            prepared.images, self.image_branches.values(), verbose=self.verbose
        )
        sample = Sample.of(prepared.with_images(images), event, groups, stage1)
        if fitted is not None:
            fitted.check_groups(sample)
        return sample

    def check_labels(
        self, prepared: Prepared, y: ArrayLike, y_stage1: ArrayLike | None
    ) -> tuple[Any, Any]:
        """Return which posts are events, and what the first stage is to learn."""
        event = check_labels(y, len(prepared), self.pos_label)[0]
        if y_stage1 is not None and self.second is None:
            raise InputError(
                "y_stage1 is for two stages: expected second_stage=True, 'auto' or a "
                "FalsePositiveFilter, got a detector with one stage. Set second_stage, "
                "or leave y_stage1 out."
            )
        ids = prepared.posts["id"].to_numpy()
        return event, check_stage1(y_stage1, event, ids)

    def fold_maker(self, sample: Sample, kind: str | None) -> FoldMaker:
        """Return what makes the folds of an estimate."""
        inner_cv = self.inner_cv if kind == NESTED else None
        return sample.fold_maker(self.cv, inner_cv, self.seed)

    def notes(self, sample: Sample) -> list[str]:
        """Return the notes of an estimate on these posts."""
        return sample.notes(
            uses_images=bool(self.image_branches),
            has_frozen=any(map(_frozen_parts, self.all_branches)),
        )

    def job(self, sample: Sample, names: Sequence[str], classes: Sequence[Any]) -> Job:
        """Return the job of an estimate with the branches of these names."""
        return Job(
            branches={n: self.branches[n] for n in names if n in self.branches},
            material=sample.prepared.material,
            labels=sample.labels,
            second=self.second,
            search=self.search,
            policy=self.policy,
            calibration=self.calibration,
            pool=self.pool,
            classes=classes,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )

    def check_frozen_parts(self, coding: Sequence[Any]) -> None:
        """Validate that frozen parts of ensembles have learned 0 and 1, as these do.

        `coding` has the caller's labels of no event and of an event. A branch that is
        frozen as a whole may know those instead.
        """
        for branch in self.all_branches:
            if is_frozen_whole(branch):
                continue
            for part in _frozen_parts(branch):
                if hasattr(part, "classes_"):
                    _check_frozen_part(branch, part, coding)


def check_branches(text: Any, image: Any) -> None:
    """Validate the parameters `text` and `image` of a detector."""
    names = [name for name, _ in _named_images(image)]
    taken = {TEXT, SECOND} & set(names)
    if not names or taken or len(set(names)) < len(names):
        raise InputError(
            f"image={image!r} names no image branches: expected a list of "
            f"(name, classifier) with distinct names other than {TEXT!r} and "
            f"{SECOND!r}, got the names {names}. Rename them, or pass image=None for "
            f"no images."
        )
    listed = [branch for _, branch in image] if isinstance(image, list) else []
    for name, branch in ((TEXT, text), *_named_images(image)):
        usable = not isinstance(branch, type) and gives_probabilities(branch)
        alone = not any(branch is one for one in listed)
        if usable or (alone and (branch is None or branch == AUTO)):
            continue
        raise InputError(
            f"the {name} branch {branch!r} is no classifier: expected one with fit "
            f"and predict_proba, 'auto' or None, got {type(branch).__name__}. For "
            f"a model by its name pass TextClassifier(name) or ImageClassifier(name)."
        )
    if text is None and image is None:
        raise InputError(
            "text=None and image=None leave nothing to learn from: expected at "
            "least one branch, got none. Leave one of them at 'auto'."
        )


def _check_choices(detector: EventDetector) -> None:
    check_policy(detector.policy)
    if detector.calibration is not None:
        check_calibration(detector.calibration)
    if detector.pool not in (AUTO, *POOLS):
        raise InputError(
            f"pool={detector.pool!r} is not a way to pool images: expected 'auto' or "
            f"one of {', '.join(POOLS)}. Choose one of them."
        )
    if detector.estimate not in (AUTO, NESTED, CROSS_FITTED, None):
        raise InputError(
            f"estimate={detector.estimate!r} is not known: expected 'auto', 'nested', "
            f"'cross-fit' or None. Choose one of them."
        )


def _seed(state: Any) -> int:
    if isinstance(state, int):
        return state
    return int(check_random_state(state).randint(2**31 - 1))


def _branches(text: Any, image: Any, *, seed: int, verbose: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"random_state": seed, "verbose": verbose}
    branches: dict[str, Any] = {}
    if text is not None:
        branches[TEXT] = TextClassifier(**settings) if isinstance(text, str) else text
    if isinstance(image, str):
        branches[IMAGE] = ImageClassifier(**settings)
    elif image is not None:
        branches |= dict(_named_images(image))
    if verbose:
        branches = {name: _with_bars(branch) for name, branch in branches.items()}
    return branches


def _with_bars(branch: Any) -> Any:
    """Return a branch whose parts of this package show progress: a clone, if changed.

    What was fitted elsewhere stays as it is.
    """
    if isinstance(branch, FrozenEstimator) or not hasattr(branch, "get_params"):
        return branch
    parameters = branch.get_params()
    parts = {"": branch} | {f"{name}__": part for name, part in parameters.items()}
    frozen = tuple(n for n, part in parts.items() if isinstance(part, FrozenEstimator))
    silent = {
        f"{name}verbose": True
        for name, part in parts.items()
        if type(part).__module__.startswith("mmevent.")
        and parameters.get(f"{name}verbose") is False
        and not name.startswith(frozen)
    }
    return clone(branch).set_params(**silent) if silent else branch


def _named_images(image: Any) -> list[tuple[str, Any]]:
    """Return the image branches with their names; none where the list is malformed."""
    if not isinstance(image, list):
        return [(IMAGE, image)]
    pairs = [pair for pair in image if isinstance(pair, tuple) and len(pair) == 2]
    return pairs if len(pairs) == len(image) else []


def _second_stage(
    wanted: Any, text: Any, *, seed: int, verbose: bool
) -> SecondStage | None:
    if wanted is None or wanted is False:
        return None
    automatic = isinstance(wanted, str) and wanted == AUTO
    if wanted is True or automatic:
        wanted = FalsePositiveFilter(only_if_better=automatic)
    if not isinstance(wanted, FalsePositiveFilter):
        raise InputError(
            f"second_stage={wanted!r} is not known: expected True, False, 'auto' or a "
            f"FalsePositiveFilter. Pass one of them."
        )
    same = isinstance(wanted.text, str) and wanted.text == AUTO
    own = text if same else wanted.text
    if own is None:
        raise InputError(
            "second_stage judges texts: expected a text branch, got text=None. Pass "
            "one, or FalsePositiveFilter(text=...)."
        )
    check_branches(own, None)
    branch = _branches(own, None, seed=seed, verbose=verbose)[TEXT]
    return SecondStage(branch, bool(wanted.only_if_better))


def _frozen_parts(branch: Any) -> list[FrozenEstimator]:
    """Return the parts of a branch that were fitted elsewhere."""
    if isinstance(branch, FrozenEstimator):
        return [branch]
    parts = branch.get_params().values() if hasattr(branch, "get_params") else ()
    return [part for part in parts if isinstance(part, FrozenEstimator)]


def _check_frozen_part(branch: Any, part: Any, coding: Sequence[Any]) -> None:
    known = np.asarray(part.classes_).tolist()
    if known != [0, 1] or list(coding) == [1, 0]:
        raise InputError(
            f"a frozen part of {type(branch).__name__} learned other classes than the "
            f"ensemble learns: expected 0 for no event and 1 for an event, got {known} "
            f"where the labels are {list(coding)}. Fit it on 0 and 1, or pass it as a "
            f"branch of its own."
        )
