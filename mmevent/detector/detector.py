"""EventDetector: the estimator that most users need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from mmevent._settings import with_own_settings
from mmevent.detector.audit import audit_posts
from mmevent.detector.evaluating import held_out_scores
from mmevent.detector.fitted import FittedAttributes
from mmevent.detector.fitting import fit_detector, threshold_of_policy
from mmevent.detector.reading import Reading
from mmevent.detector.settings import Settings
from mmevent.exceptions import InputError
from mmevent.rule.policies import Policy, check_policy, choose_threshold

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from mmevent.detector.second_stage import FalsePositiveFilter

__all__ = ["EventDetector"]


class EventDetector(ClassifierMixin, FittedAttributes, BaseEstimator):
    """Detect events in posts from their text and their images.

    A text classifier and an image classifier give probabilities, which the
    alpha/beta rule of Zhang and Pan (2019) fuses into one score per post:
    ``beta * (p_text + alpha * p_image) / (1 + alpha)`` with text and images,
    ``p_text`` with text alone. alpha, beta, the pooling of several images and the
    threshold are found on out-of-fold probabilities. Stacking is another rule.

    Parameters
    ----------
    text : classifier, "auto" or None, default="auto"
        Text branch: a scikit-learn classifier over strings. ``"auto"`` is
        ``TextClassifier()``; None uses no text.
    image : classifier, list of (name, classifier), "auto" or None, default="auto"
        Image branch: a scikit-learn classifier over RGB images. ``"auto"`` is
        ``ImageClassifier()``; None uses no images. From a list, the search chooses one
        out of fold.
    columns : mapping or None, default=None
        From our column names to the caller's, see :func:`mmevent.to_posts`.
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
    rule : {"alpha-beta", "stacking"}, default="alpha-beta"
        How both probabilities become a score: by alpha and beta, or by a logistic
        regression on their log odds, see :class:`mmevent.rule.StackedRule`. The other
        rule is a baseline of the estimate, for which bounds and trials hold too.
    criterion : {"smooth", "f1"}, default="smooth"
        What the search maximises, see :class:`mmevent.rule.Search`.
    n_trials : int, default=200
        Trials of Optuna.
    alpha_bounds : tuple of float, default=(0, 99)
        Lowest and highest alpha.
    beta_bounds : tuple of float, default=(0.5, 2)
        Lowest and highest beta.
    storage : str, optuna storage or None, default=None
        Optuna storage that keeps the study of the final fit, and resumes it. Not with
        ``rule="stacking"``, which needs no study.
    second_stage : bool, "auto" or FalsePositiveFilter, default=False
        Whether a second classifier of texts judges what the first stage flags.
        ``"auto"`` keeps it only if it improves F1. See
        :class:`mmevent.FalsePositiveFilter`.
    policy : str, float or 2 x 2 sequence of float, default="f1"
        Decision policy: ``"f1"``, ``"fbeta=2"``, ``"precision>=0.9"``,
        ``"recall>=0.8"``, ``"budget=500"``, a threshold, or costs, see
        :func:`mmevent.rule.choose_threshold`.
    calibration : {"sigmoid", "isotonic"} or None, default=None
        How scores become probabilities, see
        :func:`mmevent.rule.fit_calibration`. `predict` never uses them.
    estimate : {"auto", "nested", "cross-fit"} or None, default="auto"
        How the out-of-sample figures are made; None makes none. ``"auto"`` is
        ``"nested"``; ``"cross-fit"`` if a branch fine-tunes its encoder; None with a
        budget, whose figures depend on the corpus, see :func:`mmevent.evaluate`.
    pos_label : label or None, default=None
        The class of events; None is 1 of 0 and 1, or True. Other labels need it.
    n_jobs : int or None, default=None
        Number of folds that are fitted at a time, in threads, as in scikit-learn.
    random_state : int, RandomState or None, default=None
        Seed of the folds and the search.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    fitted_ : FittedDetector
        All that a prediction needs, as one value that never changes. The attributes
        below are read from it and cannot be set; `set_policy` changes the threshold.
    classes_ : ndarray of shape (2,)
        The labels, sorted.
    pos_label_ : label
        The class of events.
    label_name_ : str or None
        Name of `y`, if it was a Series with a name.
    branches_ : dict of str to classifier
        All fitted branches by name, those that the search did not choose too.
    text_, image_ : classifier or None
        Branches fitted on all posts; None for a branch that could not be fitted.
    rule_ : Rule or StackedRule
        The rule, with the threshold of the best F1.
    alpha_, beta_, pool_, image_name_ : float, float, str, str
        Its parameters. ``rule="stacking"`` has no alpha and beta.
    beta_identified_ : bool
        False if beta was fixed at 1, for lack of posts with or without images.
    second_stage_ : classifier or None
        The second stage's text branch, fitted on all its candidates.
    stages_ : TwoStageRule or None
        The rules of both stages, see :class:`mmevent.rule.TwoStageRule`.
    f1_threshold_ : float
        What the policy ``"f1"`` gives.
    threshold_ : float
        A post is an event if its score reaches it. NaN with a budget, where it depends
        on the posts that are predicted.
    policy_ : str, float or 2 x 2 sequence of float
        The policy that chose it.
    study_ : optuna.Study or None
        The study of the final fit; None after a load, and for stacking.
    calibration_ : Calibration or None
        Maps of scores to probabilities.
    trials_ : DataFrame
        One row per trial: the parameters of the rule, and value, which chose it.
    cv_results_ : dict of ndarray
        One entry per trial, in scikit-learn's layout.
    out_of_fold_ : DataFrame
        One row per post: id, event, group, fold, p_text, p_image, with a second stage
        p_text_2, and score.
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
    >>> from mmevent.synthetic import demo_branches
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
        rule: str = "alpha-beta",
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
        self.rule = rule
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
            Posts that must not be split between training and test. They are joined with
            the column `group` and, unless `cv` is a splitter, with duplicates.
        y_stage1 : array-like of shape (n_posts,) or None, default=None
            With a second stage: what the first one learns to find, 1 or 0, such as
            posts about the topic. Where it is missing, only the second stage learns
            from the post: look-alikes, which random background does not contain. Every
            figure counts all posts by `y`.

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
            be reached. Embeddings and trained encoders stay in the cache.

        Warns
        -----
        UnusableInputWarning
            If none of the images can be used, or a branch cannot be fitted.
        """
        if "fitted_" in vars(self):
            del self.fitted_
        self.fitted_ = fit_detector(
            Settings.of(self), posts, y, groups=groups, y_stage1=y_stage1
        )
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
        return margin if self._events_second else -margin

    @with_own_settings
    def predict_proba(self, posts: Any) -> NDArray[np.float64]:
        """Return calibrated probabilities, or scores if there is no calibration.

        Without `calibration` it is the score, clipped to [0, 1]; with a second stage it
        is the second score of flagged posts and the first of others. That is not a
        probability, so do not compute a Brier score or log loss from it.

        Both may disagree with `predict`, which compares the score with a threshold.

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
        if self.fitted_.stages is not None:
            first = p * self.fitted_.stages.first.threshold
            p = np.where(audit["stage"] == 2, audit["score_2"], first)
        if self.fitted_.calibration is not None:
            p = audit["probability"].to_numpy()
        p = np.clip(p, 0.0, 1.0)
        columns = [1.0 - p, p] if self._events_second else [p, 1.0 - p]
        return np.column_stack(columns)

    def audit(self, posts: Any, *, batch_size: int | None = None) -> pd.DataFrame:
        """Explain the prediction of each post.

        A post's row depends on that post alone, except for rounding, which in bfloat16
        moves a probability by some thousandths or hundredths. With a budget, prediction
        and margin depend on all posts of the call.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows
        batch_size : int or None, default=None
            Number of posts whose pictures and vectors are in memory at a time; None
            for all. The rows are the same, except for rounding.

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
            ``p_text_2`` and ``score_2``; ``score`` is then below 1 if the first stage
            did not flag the post, and from 1 to 2 if it did. With `calibration`,
            ``probability``.
        """
        check_is_fitted(self)
        reading = Reading.of(self)
        return audit_posts(self.fitted_, posts, reading, batch_size=batch_size)

    def set_policy(
        self, policy: Policy, *, holdout: tuple[Any, ArrayLike] | None = None
    ) -> EventDetector:
        """Choose the threshold by another policy, without fitting again.

        Parameters
        ----------
        policy : str, float or 2 x 2 sequence of float
            See :func:`mmevent.rule.choose_threshold`. It is applied to the
            out-of-fold scores of the fit.
        holdout : tuple of (posts, y) or None, default=None
            Labelled posts to apply it to instead, with a column `group` if some belong
            together. The fit must not have seen them. The confidence of a precision or
            a recall is then exact where no posts belong together.

        Returns
        -------
        EventDetector
            This object, with ``threshold_``, ``policy_`` and the parameter `policy`
            changed. ``estimate_`` stays that of the fit's policy.

        Raises
        ------
        InputError
            If the policy is not known, or held-out posts were seen in training, or all
            have the same label.
        PolicyError
            If the posts do not show that the precision or the recall can be reached;
            nothing is changed then.
        """
        check_is_fitted(self)
        check_policy(policy)
        fitted = self.fitted_
        criterion = fitted.record.search.criterion
        if holdout is None:
            table, best = fitted.record.tested, fitted.f1_threshold
            score, event, group = (table[name] for name in ("score", "event", "group"))
        else:
            if not isinstance(holdout, (tuple, list)) or len(holdout) != 2:
                raise InputError(
                    f"`holdout` must be labelled posts and their labels; got "
                    f"{type(holdout).__name__}. Pass holdout=(posts, y)."
                )
            posts, y = holdout
            reading = Reading.of(self)
            score, event, group = held_out_scores(fitted, posts, y, reading=reading)
            best = choose_threshold("f1", score, event, criterion=criterion)
        threshold = threshold_of_policy(policy, best, score, event, group, criterion)
        self.fitted_ = fitted.with_policy(policy, threshold)
        self.policy = policy
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
        from mmevent.persistence.saving import save

        save(self, folder, standalone=standalone)

    def __sklearn_tags__(self) -> Any:
        """Declare that posts are no numeric table, and that the seed matters."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_class = False
        tags.non_deterministic = self.random_state is None
        return tags
