"""The fit of a detector, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mmevent._common import warn_user
from mmevent._settings import with_own_settings
from mmevent.branches.fitting import fit_branch
from mmevent.detector.fitted import FitRecord, FittedDetector
from mmevent.detector.second_stage import NO_SECOND_STAGE, fit_stages
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import tune_first
from mmevent.evaluation.nested import NESTED, estimate
from mmevent.evaluation.sample import check_folds
from mmevent.evaluation.slices import Slices
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.alignment import aligned
from mmevent.posts.labels import check_labels, check_some
from mmevent.posts.prepared import SECOND
from mmevent.rule.calibration import cases_of, check_enough, fit_maps
from mmevent.rule.policies import Policy, budget_of, choose_threshold
from mmevent.rule.trials import cv_results, trials_frame

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmevent.detector.settings import Settings
    from mmevent.evaluation.sample import Sample
    from mmevent.rule.calibration import Calibration
    from mmevent.rule.fusion import Evidence
    from mmevent.rule.search import TuningResult
    from mmevent.rule.stacking import FusionRule
    from mmevent.rule.two_stage import TwoStageRule

    IntArray = NDArray[np.intp]


@with_own_settings
def fit_detector(
    settings: Settings,
    posts: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y_stage1: ArrayLike | None = None,
) -> FittedDetector:
    """Fit the branches, tune the rule out of fold, and estimate how well both do.

    The data are those of :meth:`mmevent.EventDetector.fit`.
    """
    kind = settings.kind_of_fit()
    y, groups = aligned(y, posts, "y"), aligned(groups, posts, "groups")
    y_stage1 = aligned(y_stage1, posts, "y_stage1")
    prepared = settings.read(posts)
    check_some(len(prepared), "fit")
    check_enough(settings.calibration, len(prepared))
    event, classes, positive = check_labels(y, len(prepared), settings.pos_label)
    labels = classes.tolist()
    coding = labels if labels[1] == positive else labels[::-1]
    settings = settings.with_labels(coding).with_open_storage()
    inner_cv = settings.inner_cv if kind == NESTED else None
    check_folds(prepared, event, groups, settings.cv, inner_cv)
    with shared_memo():
        sample = settings.sample(prepared, y, groups, y_stage1)
        settings.check_images(sample.prepared)
        folds = settings.fold_maker(sample, kind).make()
        slices = Slices.of(sample.prepared, posts)
        notes = settings.notes(sample)
        settings.check_frozen_parts(coding)
        branches = _fit_branches(settings.branches, sample)
        job = settings.job(sample, list(branches), coding)
        evidence, fold, run = estimate(job, folds, kind)
        tuned = _tune(settings, evidence, sample, fold)
    if tuned.second is not None:
        branches[SECOND] = tuned.second
    out_of_fold = _out_of_fold(sample, evidence, fold, tuned)
    figures = None
    if settings.second is not None and tuned.stages is None:
        notes.append(NO_SECOND_STAGE)
    if run is not None and kind is not None:
        figures = sample.summary(
            [run],
            [folds],
            kind=kind,
            slices=slices,
            notes=notes,
            verbose=settings.verbose,
        )
    result = tuned.result
    record = FitRecord(
        policy=settings.policy,
        search=settings.search,
        out_of_fold=out_of_fold,
        trials=trials_frame(result),
        cv_results=tuned.cv_results,
        study=result.study,
        estimate=figures,
        data_hash=sample.data_hash,
        groups_hash=sample.groups_hash,
    )
    name = getattr(y, "name", None)
    fitted = FittedDetector(
        branches=branches,
        rule=result.rule,
        stages=tuned.stages,
        beta_identified=result.beta_identified,
        f1_threshold=tuned.f1_threshold,
        policy=settings.policy,
        threshold=tuned.threshold,
        calibration=_calibrate(settings.calibration, out_of_fold, evidence, tuned),
        classes=classes,
        pos_label=positive,
        label_name=None if name is None else str(name),
        training_keys=frozenset().union(*sample.prepared.keys),
        record=record,
    )
    if figures is not None:
        figures = replace(figures, threshold=fitted.threshold_spread())
    return replace(fitted, record=replace(record, estimate=figures))


def _fit_branches(branches: dict[str, Any], sample: Sample) -> dict[str, Any]:
    """Fit each branch on all posts, which encodes every item once."""
    everything = np.arange(len(sample.prepared))
    found: dict[str, Any] = {}
    for name, branch in branches.items():
        side = sample.prepared.material.side(name)
        fitted = fit_branch(branch, side, everything, sample.labels)
        if fitted is not None:
            found[name] = fitted
        elif len(side.post):
            warn_user(
                f"the {name} branch cannot be fitted: expected items of both classes, "
                f"got {len(side.post)} of one. The detector works without it.",
                UnusableInputWarning,
            )
    if not found:
        raise InputError(
            "no branch can be fitted: expected posts of both classes with text, or "
            "with usable images, got none. Check the columns and image_root."
        )
    return found


class _Tuned(NamedTuple):
    """What was chosen on out-of-fold probabilities."""

    result: TuningResult
    second: Any | None
    stages: TwoStageRule | None
    f1_threshold: float
    threshold: float
    cv_results: dict[str, Any]

    @property
    def whole(self) -> FusionRule | TwoStageRule:
        return self.stages or self.result.rule


def _tune(
    settings: Settings, evidence: Evidence, sample: Sample, fold: IntArray
) -> _Tuned:
    """Choose the rule, the second stage and the threshold on out-of-fold scores."""
    tested = np.flatnonzero(fold >= 0)
    chosen_on, labels = evidence.take(tested), sample.labels.take(tested)
    search = replace(settings.search, storage=settings.storage)
    result = tune_first(chosen_on, labels, search)
    rule, second, stages = result.rule, None, None
    if settings.second is not None:
        second, stages = fit_stages(
            settings.second, evidence, sample, tested, rule, search
        )
    score, best = rule.score(chosen_on), rule.threshold
    if stages is not None:
        score, best = stages.score(chosen_on), stages.threshold
    elif labels.stage1 is not None:
        best = choose_threshold("f1", score, labels.event, criterion=search.criterion)
    threshold = threshold_of_policy(
        settings.policy, best, score, labels.event, labels.group, search.criterion
    )
    tried = cv_results(result, chosen_on, labels.first.event, fold[tested])
    return _Tuned(result, second, stages, best, threshold, tried)


def threshold_of_policy(
    policy: Policy, best: float, score: Any, event: Any, group: Any, criterion: str
) -> float:
    """Return the threshold of a policy: `best` for F1, NaN for a budget."""
    if isinstance(policy, str) and policy == "f1":
        return best
    if budget_of(policy):
        return np.nan
    return choose_threshold(policy, score, event, criterion=criterion, groups=group)


def _out_of_fold(
    sample: Sample, evidence: Evidence, fold: IntArray, tuned: _Tuned
) -> pd.DataFrame:
    rule, posts = tuned.result.rule, sample.prepared.posts
    score = tuned.whole.score(evidence)
    second = {} if tuned.stages is None else {"p_text_2": evidence.p_text_2}
    return pd.DataFrame(
        {
            "id": posts["id"].to_numpy(),
            "event": sample.labels.event,
            "group": sample.labels.group,
            "fold": fold,
            "p_text": evidence.p_text,
            "p_image": evidence.pooled[rule.image, rule.pool],
            **second,
            "score": np.where(fold >= 0, score, np.nan),
        },
        index=posts.index,
    )


def _calibrate(
    method: str | None, table: pd.DataFrame, evidence: Evidence, tuned: _Tuned
) -> Calibration | None:
    if method is None:
        return None
    rows = np.flatnonzero(table["fold"] >= 0)
    return fit_maps(
        method,
        table["score"].to_numpy()[rows],
        table["event"].to_numpy()[rows],
        cases_of(evidence.take(rows), tuned.whole),
    )
