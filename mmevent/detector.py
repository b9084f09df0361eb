"""EventDetector: the estimator that most users need."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from mmevent._branch_parameters import check_frozen_parts
from mmevent._branches import SECOND, SECOND_IMAGE, TEXT, fit_branch
from mmevent._cache import shared_memo
from mmevent._estimation import estimate
from mmevent._prediction import (
    coding_of,
    decide_posts,
    rule_of,
    score_posts,
    whole_rule,
)
from mmevent._sample import Sample
from mmevent._second import NO_SECOND_STAGE, fit_stages
from mmevent._setup import Setup
from mmevent._slices import Slices
from mmevent._stability import threshold_spread
from mmevent._systems import tune_first
from mmevent._validation import check_known_labels, check_labels, check_some
from mmevent.calibration import cases_of, check_enough, fit_calibration
from mmevent.decision import (
    Policy,
    budget_of,
    check_policy,
    choose_threshold,
    plain_policy,
)
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.tuning import cv_results, trials_frame

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from mmevent.filter import FalsePositiveFilter
    from mmevent.tuning import Evidence

    IntArray = NDArray[np.intp]

__all__ = ["EventDetector"]

_CHOSEN_ON = ("score", "event", "group")  # columns of out_of_fold_ that a policy sees


class EventDetector(ClassifierMixin, BaseEstimator):
    """Detect events in posts from their text and their images.

    A text classifier and an image classifier give probabilities, which the
    alpha/beta rule of Zhang and Pan (2019) fuses into one score a post:
    ``beta * (p_text + alpha * p_image) / (1 + alpha)`` where a post has images, and
    ``p_text`` where it has none. alpha, beta, the pooling of several images and the
    threshold are found on out-of-fold probabilities.

    Parameters
    ----------
    text : classifier, "auto" or None, default="auto"
        Text branch: a scikit-learn classifier over strings. ``"auto"`` is
        ``TextClassifier()``; None uses no text.
    image : classifier, list of (name, classifier), "auto" or None, default="auto"
        Image branch: a scikit-learn classifier over RGB images. ``"auto"`` is
        ``ImageClassifier()``; None uses no images. Of a list, the search chooses one
        out of fold.
    columns : mapping or None, default=None
        Our column names to the caller's, see :func:`mmevent.to_posts`.
    image_root : path or None, default=None
        Folder of relative image paths; None is the working folder.
    allow_outside_root : bool, default=False
        Whether images outside `image_root` may be opened.
    cv : int or splitter, default=5
        Outer folds: an int makes stratified folds of whole groups. A splitter gets
        the caller's groups.
    inner_cv : int or splitter, default=5
        Folds within the training part of an outer fold.
    pool : {"auto", "max", "mean", "noisy-or"}, default="auto"
        How a post's images are pooled; ``"auto"`` lets the search choose.
    search : {"optuna", "exact"}, default="optuna"
        How alpha is searched, see :class:`mmevent.tuning.Search`.
    criterion : {"smooth", "f1"}, default="smooth"
        What the search maximises, see :class:`mmevent.tuning.Search`.
    n_trials : int, default=200
        Trials of Optuna.
    alpha_bounds : tuple of float, default=(0, 99)
        Least and greatest alpha.
    beta_bounds : tuple of float, default=(0.5, 2)
        Least and greatest beta.
    storage : str, optuna storage or None, default=None
        Keeps the study of the final fit, and resumes it.
    second_stage : bool, "auto" or FalsePositiveFilter, default=False
        Whether a second classifier of texts judges what the first stage flags.
        ``"auto"`` does without it where it does not help. See
        :class:`mmevent.FalsePositiveFilter`.
    policy : str, float or 2 x 2 sequence of float, default="f1"
        Decision policy: ``"f1"``, ``"fbeta=2"``, ``"precision>=0.9"``,
        ``"recall>=0.8"``, ``"budget=500"``, a threshold, or costs, see
        :func:`mmevent.decision.choose_threshold`.
    calibration : {"sigmoid", "isotonic", "isotonic-forced"} or None, default=None
        How scores become probabilities, see
        :func:`mmevent.calibration.fit_calibration`. `predict` never uses them.
    estimate : {"auto", "nested", "cross-fit"} or None, default="auto"
        How the out-of-sample figures are made; None makes none. ``"auto"`` is nested,
        and cross-fitted where a branch fine-tunes its encoder; with a budget, whose
        figures depend on the corpus, it is None, see :func:`mmevent.evaluate`.
    pos_label : label or None, default=None
        The class of events; None is the greater of two numbers or booleans.
    n_jobs : int or None, default=None
        Threads that fit folds, as in scikit-learn.
    random_state : int, RandomState or None, default=None
        Seed of the folds and the search.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels, sorted.
    pos_label_ : label
        The class of events.
    label_name_ : str or None
        Name of `y`, where it was a Series with one: the column of the labels.
    text_, image_ : classifier or None
        Branches refitted on all posts; None where a branch had nothing to learn from.
    alpha_, beta_, pool_, image_name_ : float, float, str, str
        The rule.
    beta_identified_ : bool
        False where beta was fixed at 1, for lack of posts with or without images.
    second_stage_ : classifier or None
        The second stage's text branch, refitted on all candidates; None without one.
    second_stage_image_ : classifier or None
        Its image branch, where its features ask for one.
    stages_ : TwoStageRule or None
        The rules of both stages, see :class:`mmevent.filter.TwoStageRule`.
    f1_threshold_ : float
        What the policy ``"f1"`` gives.
    threshold_ : float
        A post is an event where its score reaches it; NaN with a budget, where it
        depends on the posts that are predicted.
    policy_ : str, float or 2 x 2 sequence of float
        The policy that chose it.
    study_ : optuna.Study or None
        The study of the final fit; None for the exact search, and after a load.
    calibration_ : Calibration or None
        Maps of scores to probabilities.
    trials_ : DataFrame
        One row a trial: alpha, beta, pool, threshold, image, and value, what the
        criterion gives it.
    cv_results_ : dict of ndarray
        One entry a trial, in scikit-learn's layout.
    out_of_fold_ : DataFrame
        One row a post: id, event, group, fold, p_text, p_image, with a second stage
        p_text_2 (and p_image_2), and score.
    estimate_ : Estimate or None
        Out-of-sample figures.

    See Also
    --------
    evaluate : The estimate again, with other seeds, or on held-out posts.
    load : Read a detector that `save` wrote.

    References
    ----------
    Zhang and Pan (2019), "CASM: A Deep-Learning Approach for Identifying Collective
    Action Events with Text and Image Data from Social Media", Sociological
    Methodology 49.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent._demo import demo_branches
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=3,
    ...                          n_trials=20, random_state=0)
    >>> detector.fit(posts, y).predict(posts[:3]).shape
    (3,)
    """

    def __init__(
        self,
        *,
        text: Any = "auto",
        image: Any = "auto",
        columns: Mapping[str, Any] | None = None,
        image_root: str | os.PathLike[str] | None = None,
        allow_outside_root: bool = False,
        cv: Any = 5,
        inner_cv: Any = 5,
        pool: str = "auto",
        search: str = "optuna",
        criterion: str = "smooth",
        n_trials: int = 200,
        alpha_bounds: tuple[float, float] = (0, 99),
        beta_bounds: tuple[float, float] = (0.5, 2),
        storage: Any = None,
        second_stage: bool | str | FalsePositiveFilter = False,
        policy: Policy = "f1",
        calibration: str | None = None,
        estimate: str | None = "auto",
        pos_label: Any = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.text = text
        self.image = image
        self.columns = columns
        self.image_root = image_root
        self.allow_outside_root = allow_outside_root
        self.cv = cv
        self.inner_cv = inner_cv
        self.pool = pool
        self.search = search
        self.criterion = criterion
        self.n_trials = n_trials
        self.alpha_bounds = alpha_bounds
        self.beta_bounds = beta_bounds
        self.storage = storage
        self.second_stage = second_stage
        self.policy = policy
        self.calibration = calibration
        self.estimate = estimate
        self.pos_label = pos_label
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        posts: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        y_stage1: ArrayLike | None = None,
    ) -> EventDetector:
        """Fit the branches, the rule and the threshold, and estimate how well they do.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows
            See :func:`mmevent.to_posts`.
        y : array-like of shape (n_posts,)
            Labels, of two classes.
        groups : array-like of shape (n_posts,) or None, default=None
            Posts that must not be split between training and test; joined with the
            column `group`, and, except where `cv` is a splitter, with duplicates.
        y_stage1 : array-like of shape (n_posts,) or None, default=None
            With a second stage: what the first one learns to find instead, 1 or 0, such
            as posts about the event's causes. Where it is missing, the first stage does
            not learn from the post, and the second does: look-alikes, which random
            background does not hold. Every figure counts all posts by `y`.

        Returns
        -------
        EventDetector
            This object.

        Raises
        ------
        InputError
            If posts, labels, groups or a parameter are not what was expected.
        ModelUnavailableError
            If a pretrained model cannot be loaded.
        PolicyError
            If the posts do not show that the precision or the recall of the policy can
            be had. What encoders and trainings have found stays in the cache.

        Warns
        -----
        UnusableInputWarning
            If none of the images can be used, or a branch cannot be fitted.
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        setup = Setup.drawn(self)
        prepared = setup.read(posts)
        check_some(len(prepared), "fit")
        check_enough(self.calibration, len(prepared))
        _, self.classes_, self.pos_label_ = check_labels(
            y, len(prepared), self.pos_label
        )
        column = getattr(y, "name", None)
        self.label_name_ = None if column is None else str(column)
        with shared_memo():
            sample = setup.sample(prepared, y, groups, y_stage1)
            kind = setup.kind()
            folds = setup.folds(sample, kind)
            slices = Slices.of(prepared, posts)
            notes = sample.notes(setup.texts(), self.image)
            self._fit_branches(setup, sample)
            job = setup.job(sample, list(self.branches_), coding_of(self))
            evidence, fold, run = estimate(job, folds, kind)
            self._tune(setup, evidence, sample, fold)
        self._keep_out_of_fold(sample, evidence, fold)
        self._calibrate(setup, evidence)
        self.data_hash_, self.groups_hash_ = sample.data_hash, sample.groups_hash
        self.training_keys_ = sorted(set().union(*prepared.keys))
        self.estimate_ = None
        if setup.second() is not None and self.stages_ is None:
            notes.append(NO_SECOND_STAGE)
        if run is not None and kind is not None:
            figures = sample.summary(
                [run],
                folds,
                kind=kind,
                slices=slices,
                notes=notes,
                verbose=self.verbose,
            )
            self.estimate_ = replace(figures, threshold=threshold_spread(self))
        return self

    def predict(self, posts: Any) -> NDArray[Any]:
        """Say which posts are events: those whose margin is 0 or greater.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows

        Returns
        -------
        ndarray of shape (n_posts,)
            Labels, of ``classes_``.
        """
        labels: NDArray[Any] = self.audit(posts)["prediction"].to_numpy()
        return labels.astype(self.classes_.dtype)

    def decision_function(self, posts: Any) -> NDArray[np.float64]:
        """Evidence for ``classes_[1]``: the margin, or minus the margin.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows

        Returns
        -------
        ndarray of shape (n_posts,)
            Score minus threshold where the class of events is ``classes_[1]``, else
            threshold minus score.
        """
        margin: NDArray[np.float64] = self.audit(posts)["margin"].to_numpy()
        return margin if self.classes_[1] == self.pos_label_ else -margin

    def predict_proba(self, posts: Any) -> NDArray[np.float64]:
        """Return calibrated probabilities, or else scores in the layout of these.

        Without `calibration` it is the score, clipped to [0, 1]; with a second stage
        the second score of flagged posts, the first of others. That is no probability,
        and no Brier score or log loss should be computed from it.

        Either may disagree with `predict`, which compares the score with a threshold.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows

        Returns
        -------
        ndarray of shape (n_posts, 2)
            Columns in the order of ``classes_``.
        """
        audit = self.audit(posts)
        p = audit["score"].to_numpy()
        if self.stages_ is not None:
            first = p * self.stages_.first.threshold
            p = np.where(audit["stage"] == 2, audit["score_2"], first)
        if self.calibration_ is not None:
            p = audit["probability"].to_numpy()
        p = np.clip(p, 0.0, 1.0)
        columns = [1.0 - p, p] if self.classes_[1] == self.pos_label_ else [p, 1.0 - p]
        return np.column_stack(columns)

    def audit(self, posts: Any) -> pd.DataFrame:
        """Explain the prediction of each post.

        A post's row depends on that post alone, but for rounding, which in bfloat16
        moves a probability by some thousandths or hundredths, and except with a
        budget: then prediction and margin depend on all posts of the call.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows

        Returns
        -------
        DataFrame of n_posts rows
            In the order, and with the index, of the posts: ``id``, ``prediction``,
            ``margin`` (score - threshold), ``score``, ``rule`` (``both``, ``text``,
            ``image`` or ``none``), ``p_text``, ``p_image`` (pooled), ``n_images``,
            ``n_usable``, ``best_image`` (the one of the highest probability),
            ``image_status`` (why images could not be used), ``text_truncated``,
            ``seen_in_training`` (whether a post of the fit has its text or an image).
            With a second stage also ``stage`` (2 for posts that the first one flagged),
            ``p_text_2`` (and ``p_image_2``) and ``score_2``, and ``score`` is that of
            the whole: below 1 where the first stage did not flag, from 1 to 2 where it
            did. With `calibration`, ``probability``.
        """
        check_is_fitted(self)
        return decide_posts(self, score_posts(self, Setup(self).read(posts)))

    def set_policy(
        self, policy: Policy, *, holdout: tuple[Any, ArrayLike] | None = None
    ) -> EventDetector:
        """Choose the threshold by another policy, without fitting again.

        Parameters
        ----------
        policy : str, float or 2 x 2 sequence of float
            See :func:`mmevent.decision.choose_threshold`. It is applied to the
            out-of-fold scores of the fit.
        holdout : tuple of (posts, y) or None, default=None
            Labelled posts to apply it to instead; with a column `group` if some belong
            together. The detector has not seen them, so
            that the confidence of a precision or a recall is exact.

        Returns
        -------
        EventDetector
            This object, with ``threshold_`` and ``policy_`` changed. ``estimate_``
            stays that of the fit's policy.

        Raises
        ------
        InputError
            If the policy is not known, or held-out posts were seen in training.
        PolicyError
            If the posts do not show that the precision or the recall can be
            had; nothing is changed then.
        """
        check_is_fitted(self)
        check_policy(policy)
        if holdout is None:
            tested = self.out_of_fold_[self.out_of_fold_["fold"] >= 0]
            seen = [tested[column] for column in _CHOSEN_ON]
            self.threshold_ = self._choose(policy, self.f1_threshold_, *seen)
        else:
            seen = self._held_out(*holdout)
            best = choose_threshold("f1", *seen[:2], criterion=self.criterion)
            self.threshold_ = self._choose(policy, best, *seen)
        self.policy_ = plain_policy(policy)
        return self

    def save(self, folder: str | Path, *, standalone: bool = False) -> None:
        """Write the detector to a new folder, see :func:`mmevent.load`.

        Parameters
        ----------
        folder : path
            A folder that does not exist yet, or is empty.
        standalone : bool, default=False
            Copy the pretrained encoders into the folder, instead of referring to them
            by name, revision and weight hash.

        Raises
        ------
        InputError
            If the folder exists and is not empty.
        ModelFolderError
            If a part of the detector could not be loaded back.
        """
        from mmevent.persistence import save

        save(self, folder, standalone=standalone)

    def __sklearn_tags__(self) -> Any:
        """Say that posts are no numeric table, and that results vary with the seed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_class = False
        tags.non_deterministic = self.random_state is None
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a fit has come to its end: `estimate_` is what it sets last."""
        return "estimate_" in vars(self)

    # The rest is private.

    def _fit_branches(self, setup: Setup, sample: Sample) -> None:
        """Fit each branch on all posts; the encoders see every item here, once."""
        everything = np.arange(len(sample.prepared))
        self.branches_: dict[str, Any] = {}
        branches = setup.branches()
        for branch in (*setup.texts(), *branches.values()):
            check_frozen_parts(branch, coding_of(self))
        for name, branch in branches.items():
            side = sample.prepared.material.side(name)
            fitted = fit_branch(branch, side, everything, sample.labels)
            if fitted is not None:
                self.branches_[name] = fitted
            elif len(side.post):
                warnings.warn(
                    f"the {name} branch cannot be fitted: expected items of both "
                    f"classes, got {len(side.post)} of one. The detector works "
                    f"without it.",
                    UnusableInputWarning,
                    stacklevel=3,
                )
        if not self.branches_:
            raise InputError(
                "no branch can be fitted: expected posts of both classes with text, or "
                "with usable images, got none. Check the columns and image_root."
            )

    def _tune(
        self, setup: Setup, evidence: Evidence, sample: Sample, fold: IntArray
    ) -> None:
        tested = np.flatnonzero(fold >= 0)
        chosen_on, labels = evidence.take(tested), sample.labels.take(tested)
        search = setup.search(storage=self.storage)
        result = tune_first(chosen_on, labels, search)
        rule = result.rule
        fitted: dict[str, Any] = {}
        second, self.stages_ = setup.second(), None
        if second is not None:
            image = setup.branches().get(rule.image)
            fitted, self.stages_ = fit_stages(
                second, evidence, sample, tested, rule, search, image
            )
        self.branches_ |= fitted
        self.second_stage_ = fitted.get(SECOND)
        self.second_stage_image_ = fitted.get(SECOND_IMAGE)
        score, best = rule.score(chosen_on), rule.threshold
        if self.stages_ is not None:
            score, best = self.stages_.score(chosen_on), self.stages_.threshold
        elif labels.stage1 is not None:
            best = choose_threshold("f1", score, labels.event, criterion=self.criterion)
        threshold = self._choose(self.policy, best, score, labels.event, labels.group)
        self.alpha_, self.beta_, self.pool_ = rule.alpha, rule.beta, rule.pool
        self.image_name_, self.beta_identified_ = rule.image, result.beta_identified
        self.text_ = self.branches_.get(TEXT)
        self.image_ = self.branches_.get(rule.image)
        self.f1_threshold_ = best
        self.threshold_, self.policy_ = threshold, plain_policy(self.policy)
        self.study_ = result.study
        self.trials_ = trials_frame(result)
        self.cv_results_ = cv_results(
            result, chosen_on, labels.first.event, fold[tested]
        )

    def _choose(
        self, policy: Policy, of_rule: float, score: Any, event: Any, group: Any
    ) -> float:
        """Return a policy's threshold: the rule's own, a budget's NaN, or another."""
        if isinstance(policy, str) and policy == "f1":
            return of_rule
        if budget_of(policy):
            return np.nan
        return choose_threshold(
            policy, score, event, criterion=self.criterion, groups=group
        )

    def _keep_out_of_fold(
        self, sample: Sample, evidence: Evidence, fold: IntArray
    ) -> None:
        rule, posts = rule_of(self), sample.prepared.posts
        score = whole_rule(self).score(evidence)
        second = {} if self.stages_ is None else self.stages_.columns(evidence)
        self.out_of_fold_ = pd.DataFrame(
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

    def _calibrate(self, setup: Setup, evidence: Evidence) -> None:
        self.calibration_ = None
        if (method := setup.calibration()) is not None:
            table = self.out_of_fold_
            rows = np.flatnonzero(table["fold"] >= 0)
            self.calibration_ = fit_calibration(
                method,
                table["score"].iloc[rows],
                table["event"].iloc[rows],
                cases_of(evidence.take(rows), whole_rule(self)),
            )

    def _held_out(self, posts: Any, y: ArrayLike) -> list[Any]:
        """Score, event and group of posts that the detector has not seen."""
        prepared = Setup(self).read(posts)
        check_some(len(prepared), "choose a policy")
        event = check_known_labels(y, len(prepared), self.classes_, self.pos_label_)
        audit = score_posts(self, prepared)
        n_seen = int(audit["seen_in_training"].sum())
        if n_seen:
            raise InputError(
                f"{n_seen} of {len(audit)} held-out posts were training posts: "
                f"expected none that shares a text or an image with them. Leave them "
                f"out."
            )
        sample = Sample.of(prepared, event, None)
        return [audit["score"], event, sample.labels.group]
