"""How well a fitted detector does on posts that chose none of its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent._common import as_whole
from mmevent._settings import with_own_settings
from mmevent.detector.audit import score_posts
from mmevent.detector.reading import Reading
from mmevent.detector.second_stage import NO_SECOND_STAGE
from mmevent.detector.settings import Settings
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.baselines import (
    BOTH,
    FUSED,
    STAGE_1,
    System,
    fit_systems,
    threshold_on,
)
from mmevent.evaluation.nested import Run, estimate
from mmevent.evaluation.sample import Sample
from mmevent.evaluation.slices import Slices, check_by
from mmevent.exceptions import InputError
from mmevent.posts.alignment import aligned
from mmevent.posts.labels import Labels, check_groups, check_known_labels, check_some
from mmevent.rule.calibration import cases_of
from mmevent.rule.cuts import has_both
from mmevent.rule.fusion import Evidence
from mmevent.rule.policies import budget_of, check_corpus_size, choose_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from mmevent.detector.detector import EventDetector
    from mmevent.detector.fitted import FittedDetector
    from mmevent.evaluation.estimate import Estimate
    from mmevent.evaluation.folds import Folds
    from mmevent.posts.prepared import Prepared


@with_own_settings
def evaluate(
    detector: EventDetector,
    posts: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    y_stage1: ArrayLike | None = None,
    held_out: bool = False,
    drop_seen: bool = False,
    seeds: Sequence[int] = (0,),
    corpus_size: int | None = None,
    by: str | Sequence[str] = (),
    prevalence: float | None = None,
) -> Estimate:
    """Estimate how well a fitted detector does, out of sample.

    On the training posts, the whole fit is repeated with folds of other seeds, under
    the policy that is set now. Other posts are predicted once by the fitted detector.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame or sequence of mappings, n_posts rows
        The training posts, in the order of `fit`, or, with `held_out`, others.
    y : array-like of shape (n_posts,)
        Labels, of the classes that `fit` was given.
    groups : array-like of shape (n_posts,) or None, default=None
        Posts that belong together. For training posts those that `fit` was given.
    y_stage1 : array-like of shape (n_posts,) or None, default=None
        As given to `fit`; not used with `held_out`.
    held_out : bool, default=False
        Whether the posts are not the training posts.
    drop_seen : bool, default=False
        Leave out held-out posts that share an id or a duplicate group with the
        training posts, instead of raising an error.
    seeds : sequence of int, default=(0,)
        Seeds of the folds; without `held_out` only.
    corpus_size : int or None, default=None
        With the policy ``"budget=N"`` only: number of posts of the corpus that the
        budget is for. Of n tested posts, N * n / corpus_size are flagged.
    by : str or sequence of str, default=()
        Columns of the posts whose values are slices in ``Estimate.slices``, beside
        those by images, number of images, period (`created_at`) and ``language`` or
        ``lang``. Of more than 12 values of one column the rarest are joined.
    prevalence : float or None, default=None
        Share of events in a corpus, between 0 and 1. Events and other posts are
        weighted to give this share, which assumes that both have the same distribution
        of scores in the corpus as here. None for no weights.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If the posts are not the training posts and `held_out` is False, if held-out
        posts were training posts, or if labels or groups do not match the fit.

    Examples
    --------
    >>> from mmevent import EventDetector, evaluate
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent.synthetic import demo_branches
    >>> text, image = demo_branches()
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> others, labels, _ = make_posts(100, random_state=1)
    >>> others["id"] = "new" + others["id"].astype(str)
    >>> evaluate(detector, others, labels, held_out=True, drop_seen=True).kind
    'held out'
    """
    check_is_fitted(detector)
    fitted, reading = detector.fitted_, Reading.of(detector)
    check_corpus_size(fitted.policy, corpus_size)
    _check_prevalence(prevalence, fitted.policy)
    y, groups = aligned(y, posts, "y"), aligned(groups, posts, "groups")
    y_stage1 = aligned(y_stage1, posts, "y_stage1")
    prepared = reading.read(posts, fitted.needed())
    check_some(len(prepared), "evaluate")
    columns = [by] if isinstance(by, str) else list(by)
    check_by(posts, columns)
    share = None if prevalence is None else float(prevalence)
    asked = _Asked(posts, columns, share, corpus_size)
    with shared_memo():
        if held_out:
            figures = _held_out(
                fitted,
                prepared,
                y,
                groups,
                asked,
                drop_seen=drop_seen,
                verbose=reading.verbose,
            )
        else:
            by_seed = [
                Settings.of(detector, seed=k).with_labels(fitted.coding)
                for k in _checked_seeds(seeds)
            ]
            figures = _again(fitted, by_seed, prepared, (y, groups, y_stage1), asked)
    return replace(figures, threshold=fitted.threshold_spread())


class _Asked(NamedTuple):
    """What a call of `evaluate` asks for."""

    posts: Any
    columns: list[str]
    prevalence: float | None
    corpus_size: int | None

    def slices(self, prepared: Prepared) -> Slices:
        """Return the slices of all posts, whose images were examined before."""
        return Slices.of(prepared, self.posts, self.columns)


def _check_prevalence(prevalence: object, policy: object) -> None:
    if prevalence is None:
        return
    if budget_of(policy) is not None:
        raise InputError(
            f"prevalence={prevalence!r} cannot be used with policy={policy!r}: "
            f"expected a policy whose threshold does not depend on which posts are "
            f"predicted. Set another policy, or leave prevalence out."
        )
    if isinstance(prevalence, (float, np.floating)) and 0 < prevalence < 1:
        return
    raise InputError(
        f"prevalence={prevalence!r} is no share of events: expected None or a number "
        f"between 0 and 1, such as 0.02 for two in a hundred. Correct it."
    )


def _again(
    fitted: FittedDetector,
    by_seed: Sequence[Settings],
    prepared: Prepared,
    labels: tuple[ArrayLike, ArrayLike | None, ArrayLike | None],
    asked: _Asked,
) -> Estimate:
    """Repeat the estimate of the fit with the folds of each seed."""
    settings = by_seed[0]
    sample = settings.sample(prepared, *labels, fitted=fitted)
    slices = asked.slices(sample.prepared)
    kind = settings.usual_kind()
    folds = [one.fold_maker(sample, kind).make() for one in by_seed]
    _check_test_parts(folds)
    fitted.encode(sample.prepared)
    runs = []
    for one, of_seed in zip(by_seed, folds, strict=True):
        job = one.job(sample, list(fitted.branches), fitted.coding)
        job = replace(job, policy=fitted.policy, corpus_size=asked.corpus_size)
        run = estimate(job, of_seed, kind)[2]
        assert run is not None
        runs.append(run)
    notes = settings.notes(sample)
    if settings.second is not None and fitted.stages is None:
        notes.append(NO_SECOND_STAGE)
    return sample.summary(
        runs,
        folds,
        kind=kind,
        slices=slices,
        prevalence=asked.prevalence,
        notes=notes,
        verbose=settings.verbose,
    )


def _check_test_parts(by_seed: Sequence[Folds]) -> None:
    """Validate that all seeds test the same posts: else a mean has no meaning."""
    tested = [
        np.sort(np.concatenate([task.test for task in folds.outer]))
        for folds in by_seed
    ]
    if any(not np.array_equal(rows, tested[0]) for rows in tested[1:]):
        raise InputError(
            f"cv tests different posts with each seed: expected the same ones for all "
            f"{len(by_seed)} seeds, got {sorted({len(rows) for rows in tested})} "
            f"posts. Pass one seed, or a splitter that tests every post once."
        )


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    wanted = list(seeds) if isinstance(seeds, Iterable) else []
    checked = [seed for seed in map(as_whole, wanted) if seed is not None]
    usable = len(checked) == len(wanted) and all(0 <= s < 2**32 for s in checked)
    if not checked or not usable:
        raise InputError(
            f"seeds={seeds!r} gives no seed of the folds: expected a sequence of one "
            f"integer or more, from 0 to 2**32 - 1. The default is (0,); five seeds "
            f"are range(5)."
        )
    return checked


def _held_out(
    fitted: FittedDetector,
    prepared: Prepared,
    y: ArrayLike,
    groups: ArrayLike | None,
    asked: _Asked,
    *,
    drop_seen: bool,
    verbose: bool,
) -> Estimate:
    """Estimate on posts that the fit did not see."""
    event = check_known_labels(y, len(prepared), fitted.classes, fitted.pos_label)
    given = check_groups(groups, len(prepared))
    fitted.check_images([prepared])
    prepared = fitted.examine(prepared, verbose=verbose)
    fitted.check_images([prepared], decoding=True)
    slices = asked.slices(prepared)
    notes = []
    if drop_seen and (seen := fitted.seen(prepared)).any():
        kept = np.flatnonzero(~seen)
        check_some(len(kept), "evaluate, once training posts are dropped")
        notes.append(f"{int(seen.sum())} posts dropped: seen in training.")
        prepared, event = prepared.take(kept), event[kept]
        slices = slices.take(kept)
        given = None if given is None else given[kept]
    elif not drop_seen:
        _check_unseen(fitted, prepared)
    sample = Sample.of(prepared, event, given)
    notes += sample.notes(uses_images=fitted.image is not None)
    return sample.summary(
        [_held_out_run(fitted, prepared, asked.corpus_size)],
        [],
        kind="held out",
        slices=slices,
        prevalence=asked.prevalence,
        notes=notes,
        verbose=verbose,
    )


def _check_unseen(fitted: FittedDetector, prepared: Prepared) -> None:
    seen = fitted.seen(prepared)
    if seen.any():
        ids = prepared.posts["id"][seen][:5].tolist()
        raise InputError(
            f"{int(seen.sum())} of {len(prepared)} held-out posts were training posts: "
            f"expected posts that share no id, text or image with the training, nor a "
            f"copy that does, got ids {ids}. Leave them out, or, in evaluate, pass "
            f"drop_seen=True (--drop-seen on the command line)."
        )


def _held_out_run(
    fitted: FittedDetector, prepared: Prepared, corpus_size: int | None
) -> Run:
    """Predict once, with baselines tuned on the training's out-of-fold table."""
    record, rule, stages = fitted.record, fitted.rule, fitted.stages
    tested, policy = record.tested, fitted.policy
    p_image = tested["p_image"].to_numpy()
    chosen_on = Evidence(
        tested["p_text"].to_numpy(), {(rule.image, rule.pool): p_image}
    )
    event = tested["event"].to_numpy()
    if stages is not None:  # the detector's threshold is for both stages
        alone = choose_threshold(
            "f1", rule.score(chosen_on), event, criterion=record.search.criterion
        )
        rule = replace(rule, threshold=alone)
    labels = Labels(event, tested["group"].to_numpy())
    systems = fit_systems(chosen_on, labels, record.search, policy, rule)
    if stages is None:
        systems[FUSED] = System(rule.score, fitted.threshold)
    else:
        systems[STAGE_1] = System(stages.first.score, stages.first.threshold)
        systems[BOTH] = System(stages.score, fitted.threshold)
    evidence, _ = fitted.evidence(prepared)
    n = len(prepared)
    scores = {name: system.score(evidence) for name, system in systems.items()}
    thresholds = {
        name: np.full(n, threshold_on(system, scores[name], policy, corpus_size))
        for name, system in systems.items()
    }
    probability = None
    if fitted.calibration is not None:
        score = fitted.whole.score(evidence)
        cases = cases_of(evidence, fitted.whole)
        probability = fitted.calibration.predict(score, cases)
    fold = np.zeros(n, dtype=np.intp)
    return Run(None, fold, scores, thresholds, [], probability)


@with_own_settings
def held_out_scores(
    fitted: FittedDetector, posts: Any, y: ArrayLike, *, reading: Reading
) -> list[Any]:
    """Return score, event and group of labelled posts that the fit did not see."""
    y = aligned(y, posts, "y")
    prepared = reading.read(posts, fitted.needed())
    check_some(len(prepared), "choose a policy")
    event = check_known_labels(y, len(prepared), fitted.classes, fitted.pos_label)
    if not has_both(event):
        raise InputError(
            f"the held-out posts have one class only: expected events and other posts "
            f"to choose a policy on, got {int(event.sum())} events among {len(event)} "
            f"posts. Hold out posts of both classes, drawn as the corpus is."
        )
    fitted.check_images([prepared])
    with shared_memo():
        prepared = fitted.examine(prepared, verbose=reading.verbose)
        fitted.check_images([prepared], decoding=True)
        _check_unseen(fitted, prepared)
        audit = score_posts(fitted, prepared)
    return [audit["score"], event, Sample.of(prepared, event, None).labels.group]
