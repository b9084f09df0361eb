"""How well a fitted detector does on posts that chose none of its parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mmevent._branches import Labels
from mmevent._cache import shared_memo
from mmevent._estimate_table import Estimate
from mmevent._estimation import Run, estimate
from mmevent._folds import ForwardInTime
from mmevent._prediction import (
    coding_of,
    encode_posts,
    evidence_of,
    look_at_images,
    rule_of,
    seen_in_fit,
)
from mmevent._sample import Sample
from mmevent._second import NO_SECOND_STAGE
from mmevent._setup import Setup
from mmevent._slices import Slices, check_by
from mmevent._stability import threshold_spread
from mmevent._systems import BOTH, FUSED, STAGE_1, System, cut, fit_systems
from mmevent._validation import check_groups, check_known_labels, check_some
from mmevent.calibration import cases_of
from mmevent.decision import budget_of, check_corpus_size, choose_threshold
from mmevent.exceptions import InputError
from mmevent.tuning import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from mmevent._folds import Folds
    from mmevent._prepared import Prepared
    from mmevent.detector import EventDetector

__all__ = ["Estimate", "ForwardInTime", "evaluate"]


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

    On the posts that it was fitted on, the whole of the fit is repeated with folds
    of other seeds, under the policy that is set now. On other posts, the fitted
    detector predicts them once.

    Parameters
    ----------
    detector : EventDetector
        A fitted detector.
    posts : DataFrame or sequence of mappings, n_posts rows
        The training posts, in the order of `fit`, or, with `held_out`, others.
    y : array-like of shape (n_posts,)
        Labels, of the classes that `fit` was given.
    groups : array-like of shape (n_posts,) or None, default=None
        Posts that belong together; as given to `fit`.
    y_stage1 : array-like of shape (n_posts,) or None, default=None
        As given to `fit`; not used with `held_out`.
    held_out : bool, default=False
        Whether the posts are not those of the training.
    drop_seen : bool, default=False
        Leave out held-out posts that share an id or a duplicate group with the
        training posts, instead of refusing them.
    seeds : sequence of int, default=(0,)
        Seeds of the folds; without `held_out` only.
    corpus_size : int or None, default=None
        With the policy ``"budget=N"`` only: number of posts of the corpus that the
        budget is for. Of n tested posts the share n / corpus_size of it is flagged.
    by : str or sequence of str, default=()
        Columns of the posts whose values are slices in ``Estimate.slices``, beside
        those by images, number of images, period (`created_at`) and ``language`` or
        ``lang``. Of more than 12 values of one column the rarest are joined.
    prevalence : float or None, default=None
        Share of events, between 0 and 1, in the corpus that the figures are to be for:
        events and others are weighted so that it is theirs. This assumes that within
        either, scores are distributed as in these posts. None leaves them as they are.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If the posts are not those of the training and `held_out` is False, if
        held-out posts were training posts, or labels and groups do not fit.

    Examples
    --------
    >>> from mmevent import EventDetector, evaluate
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent._demo import demo_branches
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
    check_corpus_size(detector.policy_, corpus_size)
    _check_prevalence(prevalence, detector.policy_)
    prepared = Setup(detector).read(posts)
    check_some(len(prepared), "evaluate")
    columns = [by] if isinstance(by, str) else list(by)
    check_by(posts, columns)
    asked = _Asked(posts, columns, prevalence, corpus_size)
    with shared_memo():
        if held_out:
            figures = _held_out(
                detector, prepared, y, groups, asked, drop_seen=drop_seen
            )
        else:
            figures = _again(
                detector, prepared, y, groups, y_stage1, asked, _checked_seeds(seeds)
            )
    return replace(figures, threshold=threshold_spread(detector))


class _Asked(NamedTuple):
    """What the figures are to be given for."""

    posts: Any
    columns: list[str]
    prevalence: float | None
    corpus_size: int | None

    def slices(self, prepared: Prepared) -> Slices:
        """Return the slices of all posts, whose images were looked at before."""
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
    detector: EventDetector,
    prepared: Prepared,
    y: ArrayLike,
    groups: ArrayLike | None,
    y_stage1: ArrayLike | None,
    asked: _Asked,
    seeds: Sequence[int],
) -> Estimate:
    """Repeat the estimate of the fit with other folds."""
    setup = Setup(detector)
    sample = setup.sample(prepared, y, groups, y_stage1, of_fit=True)
    setup.check_groups(sample)
    slices = asked.slices(prepared)
    kind = setup.kind() or setup.usual_kind()
    by_seed = [Setup(detector, seed).folds(sample, kind) for seed in seeds]
    _check_test_parts(by_seed)
    names, classes = list(detector.branches_), coding_of(detector)
    runs = []
    encode_posts(detector, prepared)
    for seed, folds in zip(seeds, by_seed, strict=True):
        job = Setup(detector, seed).job(sample, names, classes)
        job = replace(job, policy=detector.policy_, corpus_size=asked.corpus_size)
        run = estimate(job, folds, kind)[2]
        assert run is not None
        runs.append(run)
    notes = sample.notes(setup.texts(), detector.image)
    if setup.second() is not None and detector.stages_ is None:
        notes.append(NO_SECOND_STAGE)
    return sample.summary(
        runs,
        folds,
        kind=kind,
        slices=slices,
        prevalence=asked.prevalence,
        notes=notes,
        verbose=detector.verbose,
    )


def _check_test_parts(by_seed: Sequence[Folds]) -> None:
    """Refuse folds that test other posts with each seed: their mean means nothing."""
    tested = [
        np.sort(np.concatenate([task.test for task in folds.outer()]))
        for folds in by_seed
    ]
    if any(not np.array_equal(rows, tested[0]) for rows in tested[1:]):
        raise InputError(
            f"cv tests other posts each time: expected the same ones for all "
            f"{len(by_seed)} seeds, got {sorted({len(rows) for rows in tested})} "
            f"posts. Pass one seed, or a splitter that tests every post once."
        )


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    try:
        checked = [int(seed) for seed in seeds]
    except (TypeError, ValueError):
        checked = []
    if not checked:
        raise InputError(
            f"seeds={seeds!r} gives no seed of the folds: expected a sequence of one "
            f"integer or more. The default is (0,); five seeds are range(5)."
        )
    return checked


def _held_out(
    detector: EventDetector,
    prepared: Prepared,
    y: ArrayLike,
    groups: ArrayLike | None,
    asked: _Asked,
    *,
    drop_seen: bool,
) -> Estimate:
    """Predict posts that the fit never saw, once."""
    event = check_known_labels(y, len(prepared), detector.classes_, detector.pos_label_)
    given = check_groups(groups, len(prepared))
    look_at_images(prepared, [detector.image_], verbose=detector.verbose)
    slices = asked.slices(prepared)
    seen = seen_in_fit(detector, prepared)
    notes = []
    if seen.any():
        if not drop_seen:
            ids = prepared.posts["id"][seen][:5].tolist()
            raise InputError(
                f"{int(seen.sum())} of {len(prepared)} held-out posts were "
                f"training posts: expected posts that share no id, text or image "
                f"with the training, nor a copy that does, got ids {ids}. Leave "
                f"them out, or pass drop_seen=True (--drop-seen on the command line)."
            )
        kept = np.flatnonzero(~seen)
        check_some(len(kept), "evaluate, once training posts are dropped")
        notes.append(f"{int(seen.sum())} posts dropped: seen in training.")
        prepared, event = prepared.take(kept), event[kept]
        slices = slices.take(kept)
        given = None if given is None else given[kept]
    sample = Sample.of(prepared, event, given)
    notes += sample.notes([], detector.image_)
    return sample.summary(
        [_held_out_run(detector, prepared, asked.corpus_size)],
        None,
        kind="held out",
        slices=slices,
        prevalence=asked.prevalence,
        notes=notes,
        verbose=detector.verbose,
    )


def _held_out_run(
    detector: EventDetector, prepared: Prepared, corpus_size: int | None
) -> Run:
    """Predict once; the baselines are tuned on the training's probabilities."""
    tested = detector.out_of_fold_[detector.out_of_fold_["fold"] >= 0]
    rule, stages = rule_of(detector), detector.stages_
    chosen_on = Evidence(
        tested["p_text"].to_numpy(),
        {(rule.image, rule.pool): tested["p_image"].to_numpy()},
    )
    event = tested["event"].to_numpy()
    if stages is not None:  # the detector's threshold is that of both
        alone = choose_threshold(
            "f1", rule.score(chosen_on), event, criterion=detector.criterion
        )
        rule = replace(rule, threshold=alone)
    systems = fit_systems(
        chosen_on,
        Labels(event, tested["group"].to_numpy()),
        Setup(detector, 0).search(),
        detector.policy_,
        rule,
    )
    if stages is None:
        systems[FUSED] = System(rule.score, detector.threshold_)
    else:
        systems[STAGE_1] = System(stages.first.score, stages.first.threshold)
        systems[BOTH] = System(stages.score, detector.threshold_)
    evidence, _ = evidence_of(detector, prepared)
    n = len(prepared)
    scores = {name: system.score(evidence) for name, system in systems.items()}
    thresholds = {
        name: np.full(n, cut(system, scores[name], detector.policy_, corpus_size))
        for name, system in systems.items()
    }
    probability = None
    if detector.calibration_ is not None:
        whole = stages or rule
        cases = cases_of(evidence, whole)
        probability = detector.calibration_.predict(whole.score(evidence), cases)
    fold = np.zeros(n, dtype=np.intp)
    return Run(None, fold, scores, thresholds, [], probability)
