"""EventDetector: the estimator that most users need."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mmevent._branches import TEXT, Labels, fit_branch, predict_branch, to_evidence
from mmevent._cache import shared_memo
from mmevent._estimation import CROSS_FITTED, NESTED, Job, Run, estimate
from mmevent._folds import Folds
from mmevent._prepared import Prepared
from mmevent._systems import FUSED, fit_systems
from mmevent._validation import as_labels, check_groups, check_labels, check_some
from mmevent.decision import check_policy, choose_threshold, threshold_chooser
from mmevent.evaluation import Estimate, summarise
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.fusion import POOLS, applied_rule
from mmevent.image import ImageClassifier
from mmevent.text import TextClassifier
from mmevent.tuning import Evidence, Rule, Search, cv_results, trials_frame, tune_rule

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

__all__ = ["EventDetector"]

AUTO = "auto"


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
    criterion : {"f1", "one-se"}, default="f1"
        What the search maximises, see :class:`mmevent.tuning.Search`.
    n_trials : int, default=200
        Trials of Optuna.
    alpha_bounds : tuple of float, default=(0, 99)
        Least and greatest alpha.
    beta_bounds : tuple of float, default=(0.5, 2)
        Least and greatest beta.
    storage : str, optuna storage or None, default=None
        Keeps the study of the final fit, and resumes it.
    policy : "f1" or float, default="f1"
        Decision policy, see :func:`mmevent.decision.choose_threshold`.
    estimate : {"auto", "nested", "cross-fit"} or None, default="auto"
        How the out-of-sample figures are made; ``"auto"`` is nested, None makes none.
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
    threshold_ : float
        A post is an event where its score reaches it.
    policy_ : "f1" or float
        The policy that chose it.
    study_ : optuna.Study or None
        The study of the final fit; None for the exact search, and after a load.
    trials_ : DataFrame
        One row a trial: alpha, beta, pool, threshold, image, f1.
    cv_results_ : dict of ndarray
        One entry a trial, in scikit-learn's layout.
    out_of_fold_ : DataFrame
        One row a post: id, event, fold, p_text, p_image, score.
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
        criterion: str = "f1",
        n_trials: int = 200,
        alpha_bounds: tuple[float, float] = (0, 99),
        beta_bounds: tuple[float, float] = (0.5, 2),
        storage: Any = None,
        policy: str | float = "f1",
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
        self.policy = policy
        self.estimate = estimate
        self.pos_label = pos_label
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self, posts: Any, y: ArrayLike, *, groups: ArrayLike | None = None
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

        Warns
        -----
        UnusableInputWarning
            If none of the images can be used, or a branch cannot be fitted.
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        self._check_parameters()
        prepared = self._read(posts)
        check_some(len(prepared), "fit")
        labels, caller = self._labels(prepared, y, groups)
        self.classes_, self.pos_label_ = self._classes(y, len(prepared))
        column = getattr(y, "name", None)
        self.label_name_ = None if column is None else str(column)
        seed = self._seed()
        folds = self._folds(prepared, labels, caller, seed, self._kind())
        folds.check()
        notes = self._notes(prepared)
        with shared_memo():
            self._fit_branches(prepared, labels, seed)
            job = self._job(prepared, labels, seed)
            evidence, fold, run = estimate(job, folds, self._kind())
        self._tune(evidence, labels, fold, seed)
        self._keep_out_of_fold(prepared, labels, evidence, fold)
        self.data_hash_ = prepared.data_hash(labels)
        self.training_keys_ = sorted(set().union(*prepared.keys))
        self.estimate_ = (
            None
            if run is None
            else self._summary([run], prepared, labels, caller, folds, notes)
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
        return margin if self.classes_[1] == self.pos_label_ else -margin

    def predict_proba(self, posts: Any) -> NDArray[np.float64]:
        """Return the score, clipped to [0, 1], in the layout of probabilities.

        It is no probability, and may disagree with `predict`, which compares the
        score with a threshold that is seldom 0.5. No Brier score or log loss should
        be computed from it.

        Parameters
        ----------
        posts : DataFrame, sequence of mappings or datasets.Dataset, n_posts rows

        Returns
        -------
        ndarray of shape (n_posts, 2)
            Columns in the order of ``classes_``.
        """
        p = np.clip(self.audit(posts)["score"].to_numpy(), 0.0, 1.0)
        columns = [1.0 - p, p] if self.classes_[1] == self.pos_label_ else [p, 1.0 - p]
        return np.column_stack(columns)

    def audit(self, posts: Any) -> pd.DataFrame:
        """Explain the prediction of each post.

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
            ``image_status`` (why images could not be used), ``text_truncated``.
        """
        check_is_fitted(self)
        prepared = self._read(posts)
        with shared_memo():
            evidence, p_image = self._predict(prepared)
        rule = self._rule()
        score = rule.score(evidence)
        pooled = evidence.pooled[rule.image, rule.pool]
        names = _source_names(prepared)
        best = _best_images(prepared, p_image, names)
        statuses, index = _statuses(prepared, names), prepared.posts.index
        negative, positive = self._coding()
        prediction = np.where(score >= self.threshold_, positive, negative).astype(
            self.classes_.dtype
        )
        return pd.DataFrame(
            {
                "id": prepared.posts["id"].to_numpy(),
                "prediction": prediction,
                "margin": score - self.threshold_,
                "score": score,
                "rule": applied_rule(evidence.p_text, pooled),
                "p_text": evidence.p_text,
                "p_image": pooled,
                "n_images": np.bincount(prepared.post, minlength=len(prepared)),
                "n_usable": prepared.n_usable,
                "best_image": pd.Series(best, index, dtype=object),
                "image_status": pd.Series(statuses, index, dtype=object),
                "text_truncated": self._truncated(prepared),
            },
            index=index,
        )

    def set_policy(self, policy: str | float) -> EventDetector:
        """Choose the threshold by another policy, without fitting again.

        Parameters
        ----------
        policy : "f1" or float
            See :func:`mmevent.decision.choose_threshold`.

        Returns
        -------
        EventDetector
            This object, with ``threshold_`` and ``policy_`` changed. ``estimate_``
            stays that of the fit's policy.
        """
        check_is_fitted(self)
        check_policy(policy)
        tested = self.out_of_fold_[self.out_of_fold_["fold"] >= 0]
        self.threshold_ = choose_threshold(policy, tested["score"], tested["event"])
        self.policy_ = policy
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

    def _check_parameters(self) -> None:
        self._search(None).check()
        check_policy(self.policy)
        if self.pool not in ("auto", *POOLS):
            raise InputError(
                f"pool={self.pool!r} is not a way to pool images: expected 'auto' or "
                f"one of {', '.join(POOLS)}. Choose one of them."
            )
        if self.estimate not in ("auto", NESTED, CROSS_FITTED, None):
            raise InputError(
                f"estimate={self.estimate!r} is not known: expected 'auto', 'nested', "
                f"'cross-fit' or None. Choose one of them."
            )
        self._check_branches()
        if self.text is None and self.image is None:
            raise InputError(
                "text=None and image=None leave nothing to learn from: expected at "
                "least one branch, got none. Leave one of them at 'auto'."
            )

    def _check_branches(self) -> None:
        names = [name for name, _ in _named(self.image)]
        if not names or TEXT in names or len(set(names)) < len(names):
            raise InputError(
                f"image={self.image!r} names no image branches: expected a list of "
                f"(name, classifier) with distinct names other than {TEXT!r}, got the "
                f"names {names}. Rename them, or pass image=None for no images."
            )
        for name, branch in ((TEXT, self.text), *_named(self.image)):
            usable = hasattr(branch, "fit") and hasattr(branch, "predict_proba")
            if branch is None or usable or (name in (TEXT, "image") and branch == AUTO):
                continue
            raise InputError(
                f"the {name} branch {branch!r} is no classifier: expected one with fit "
                f"and predict_proba, 'auto' or None, got {type(branch).__name__}. For "
                f"a model by its name pass TextClassifier(model=...) or "
                f"ImageClassifier(model=...)."
            )

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _kind(self) -> str | None:
        return NESTED if self.estimate == "auto" else self.estimate

    def _search(self, seed: int | None, *, storage: Any = None) -> Search:
        return Search(
            method=self.search,
            criterion=self.criterion,
            n_trials=self.n_trials,
            alpha_bounds=self.alpha_bounds,
            beta_bounds=self.beta_bounds,
            storage=storage,
            random_state=seed,
        )

    def _read(self, posts: Any) -> Prepared:
        return Prepared.of(
            posts,
            columns=self.columns,
            image_root=self.image_root,
            allow_outside_root=self.allow_outside_root,
            verbose=self.verbose,
        )

    def _classes(self, y: ArrayLike, n_posts: int) -> tuple[NDArray[Any], Any]:
        return check_labels(y, n_posts, self.pos_label)[1:]

    def _labels(
        self, prepared: Prepared, y: ArrayLike, groups: ArrayLike | None
    ) -> tuple[Labels, NDArray[Any] | None]:
        """Events, groups joined with duplicates, and the caller's groups alone."""
        event = check_labels(y, len(prepared), self.pos_label)[0]
        return self._grouped(prepared, event, groups)

    def _grouped(
        self,
        prepared: Prepared,
        event: NDArray[np.bool_],
        groups: ArrayLike | None,
    ) -> tuple[Labels, NDArray[Any] | None]:
        from mmevent.posts import connected_groups

        caller = prepared.caller_groups(check_groups(groups, len(prepared)))
        joined = prepared.duplicate
        if caller is not None:
            joined = connected_groups(caller, joined)
        return Labels(event, joined), caller

    def _folds(
        self,
        prepared: Prepared,
        labels: Labels,
        caller: NDArray[Any] | None,
        seed: int | None,
        kind: str | None,
    ) -> Folds:
        return Folds(
            self.cv,
            self.inner_cv if kind == NESTED else None,
            posts=prepared.posts,
            labels=labels,
            caller=caller,
            duplicate=prepared.duplicate,
            seed=seed,
        )

    def _branches(self, seed: int | None) -> dict[str, Any]:
        """Return the branches that are asked for, unfitted, by name."""
        branches: dict[str, Any] = {}
        if self.text is not None:
            branches[TEXT] = (
                TextClassifier(random_state=seed, verbose=self.verbose)
                if isinstance(self.text, str)
                else self.text
            )
        if isinstance(self.image, str):
            branches["image"] = ImageClassifier(random_state=seed, verbose=self.verbose)
        elif isinstance(self.image, list):
            branches |= dict(self.image)
        elif self.image is not None:
            branches["image"] = self.image
        return branches

    def _notes(self, prepared: Prepared) -> list[str]:
        """Return what the estimate must say; warn where no image is usable."""
        statuses = prepared.images.statuses
        broken = statuses[statuses != "ok"]
        notes = []
        if len(broken) and self.image is not None:
            counts = ", ".join(
                f"{count} {status}"
                for status, count in zip(
                    *np.unique(broken, return_counts=True), strict=True
                )
            )
            notes.append(f"{len(broken)} of {len(statuses)} images unusable: {counts}.")
            if len(broken) == len(statuses):
                warnings.warn(
                    f"none of the {len(statuses)} images can be used ({counts}): the "
                    f"detector works as text only. Check image_root and the paths.",
                    UnusableInputWarning,
                    stacklevel=3,
                )
        given = (self.text, *dict(_named(self.image)).values())
        if any(_is_frozen(branch) for branch in given):
            notes.append("assumes that the frozen branch never saw these posts.")
        return notes

    def _fit_branches(self, prepared: Prepared, labels: Labels, seed: int) -> None:
        """Fit each branch on all posts; the encoders see every item here, once."""
        everything = np.arange(len(prepared))
        self.branches_: dict[str, Any] = {}
        for name, branch in self._branches(seed).items():
            side = prepared.material.side(name)
            fitted = fit_branch(branch, side, everything, labels)
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

    def _job(self, prepared: Prepared, labels: Labels, seed: int | None) -> Job:
        unfitted = self._branches(seed)
        return Job(
            branches={name: unfitted[name] for name in self.branches_},
            material=prepared.material,
            labels=labels,
            search=self._search(seed),
            threshold_of=threshold_chooser(self.policy),
            pool=self.pool,
            classes=self._coding(),
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )

    def _tune(
        self, evidence: Evidence, labels: Labels, fold: NDArray[np.intp], seed: int
    ) -> None:
        tested = np.flatnonzero(fold >= 0)
        event = labels.event[tested]
        result = tune_rule(
            evidence.take(tested),
            event,
            groups=labels.group[tested],
            search=self._search(seed, storage=self.storage),
        )
        rule = result.rule
        self.alpha_, self.beta_, self.pool_ = rule.alpha, rule.beta, rule.pool
        self.image_name_, self.beta_identified_ = rule.image, result.beta_identified
        self.text_ = self.branches_.get(TEXT)
        self.image_ = self.branches_.get(rule.image)
        score = rule.score(evidence.take(tested))
        self.threshold_ = choose_threshold(self.policy, score, event)
        self.policy_ = self.policy
        self.study_ = result.study
        self.trials_ = trials_frame(result)
        self.cv_results_ = cv_results(
            result, evidence.take(tested), event, fold[tested]
        )

    def _coding(self) -> tuple[Any, Any]:
        """Return the labels of no event and of an event."""
        first, second = self.classes_
        return (first, second) if second == self.pos_label_ else (second, first)

    def _rule(self) -> Rule:
        return Rule(
            self.alpha_, self.beta_, self.pool_, self.threshold_, self.image_name_
        )

    def _keep_out_of_fold(
        self,
        prepared: Prepared,
        labels: Labels,
        evidence: Evidence,
        fold: NDArray[np.intp],
    ) -> None:
        rule = self._rule()
        score = rule.score(evidence)
        self.out_of_fold_ = pd.DataFrame(
            {
                "id": prepared.posts["id"].to_numpy(),
                "event": labels.event,
                "group": labels.group,
                "fold": fold,
                "p_text": evidence.p_text,
                "p_image": evidence.pooled[rule.image, rule.pool],
                "score": np.where(fold >= 0, score, np.nan),
            },
            index=prepared.posts.index,
        )

    def _summary(
        self,
        runs: Sequence[Run],
        prepared: Prepared,
        labels: Labels,
        caller: NDArray[Any] | None,
        folds: Folds,
        notes: Sequence[str],
    ) -> Estimate:
        by_event = folds.leaves_groups_out and caller is not None
        leakage = prepared.leakage(labels, len(np.unique(runs[0].fold)), runs[0].seed)
        leakage["training_rows_dropped_as_duplicates_of_test_rows"] = folds.dropped
        return summarise(
            runs,
            labels.event,
            caller if by_event and caller is not None else labels.group,
            prepared.n_usable,
            kind=self._kind() or NESTED,
            leakage=leakage,
            notes=notes,
            verbose=self.verbose,
        )

    def _predict(self, prepared: Prepared) -> tuple[Evidence, NDArray[np.float64]]:
        """Evidence of posts from the fitted branches, and p_image of each image."""
        material = prepared.material
        fitted = {TEXT: self.text_, self.image_name_: self.image_}
        probabilities = {}
        for name, branch in fitted.items():
            side = material.side(name)
            chosen = np.arange(len(side.post))
            probabilities[name] = predict_branch(
                branch, side, chosen, classes=self._coding()
            )
        evidence = to_evidence(probabilities, material, pool=self.pool_)
        return evidence, probabilities[self.image_name_]

    def _truncated(self, prepared: Prepared) -> NDArray[np.bool_]:
        truncated = np.zeros(len(prepared), dtype=bool)
        side = prepared.material.text
        if len(side.post):
            for branch in _text_classifiers(self.text_):
                truncated[side.post] |= branch.is_truncated(list(side.items))
        return truncated

    def _evaluate_again(
        self,
        posts: Any,
        y: ArrayLike,
        groups: ArrayLike | None,
        *,
        seeds: Sequence[int],
    ) -> Estimate:
        check_is_fitted(self)
        prepared = self._read(posts)
        check_some(len(prepared), "evaluate")
        labels, caller = self._labels(prepared, y, groups)
        if prepared.data_hash(labels) != self.data_hash_:
            raise InputError(
                f"these {len(prepared)} posts are not those of the training: expected "
                f"the same {len(self.out_of_fold_)} posts, labels and order. To "
                f"evaluate on other posts, pass held_out=True (--held-out on the "
                f"command line)."
            )
        kind = self._kind() or NESTED
        runs = []
        with shared_memo():
            self._encode(prepared)
            for seed in _checked_seeds(seeds):
                folds = self._folds(prepared, labels, caller, seed, kind)
                folds.check()
                job = self._job(prepared, labels, seed)
                run = estimate(job, folds, kind)[2]
                assert run is not None
                runs.append(run)
        return self._summary(
            runs, prepared, labels, caller, folds, self._notes(prepared)
        )

    def _encode(self, prepared: Prepared) -> None:
        """Let the encoders see every item before the folds do, under one bar."""
        for name, branch in self.branches_.items():
            side = prepared.material.side(name)
            everything = np.arange(len(side.post))
            predict_branch(branch, side, everything, classes=self._coding())

    def _evaluate_held_out(
        self,
        posts: Any,
        y: ArrayLike,
        groups: ArrayLike | None,
        *,
        drop_seen: bool,
    ) -> Estimate:
        check_is_fitted(self)
        prepared = self._read(posts)
        check_some(len(prepared), "evaluate")
        event = self._event(y, len(prepared))
        given = check_groups(groups, len(prepared))
        seen = self._seen(prepared)
        notes = []
        if seen.any():
            if not drop_seen:
                ids = prepared.posts["id"][seen][:5].tolist()
                raise InputError(
                    f"{int(seen.sum())} of {len(prepared)} held-out posts were "
                    f"training posts: expected posts that share no id, text or image "
                    f"with the training, got ids {ids}. Leave them out, or pass "
                    f"drop_seen=True (--drop-seen on the command line)."
                )
            keep = np.flatnonzero(~seen)
            check_some(len(keep), "evaluate, once training posts are dropped")
            notes.append(f"{int(seen.sum())} posts dropped: seen in training.")
            prepared = self._read(to_rows(posts, keep))
            event = event[keep]
            given = None if given is None else given[keep]
        labels, _ = self._grouped(prepared, event, given)
        return summarise(
            [self._held_out_run(prepared)],
            labels.event,
            labels.group,
            prepared.n_usable,
            kind="held out",
            leakage=prepared.leakage(labels, 0, None),
            notes=notes,
            verbose=self.verbose,
        )

    def _event(self, y: ArrayLike, n_posts: int) -> NDArray[np.bool_]:
        """Which held-out posts are events; one class alone is fine."""
        labels = as_labels(y, n_posts)
        known = np.isin(labels, self.classes_)
        if not known.all():
            raise InputError(
                f"y has other labels than the training: expected "
                f"{self.classes_.tolist()}, got {labels[~known][:5].tolist()}. Code "
                f"the held-out posts alike."
            )
        return np.asarray(labels == self.pos_label_, dtype=bool)

    def _seen(self, prepared: Prepared) -> NDArray[np.bool_]:
        training = set(self.training_keys_)
        return np.array([not training.isdisjoint(keys) for keys in prepared.keys])

    def _held_out_run(self, prepared: Prepared) -> Run:
        """Predict once; the baselines are tuned on the training's probabilities."""
        tested = self.out_of_fold_[self.out_of_fold_["fold"] >= 0]
        rule = self._rule()
        chosen_on = Evidence(
            tested["p_text"].to_numpy(),
            {(rule.image, rule.pool): tested["p_image"].to_numpy()},
        )
        systems, _ = fit_systems(
            chosen_on,
            tested["event"].to_numpy(),
            tested["group"].to_numpy(),
            self._search(0),
            threshold_chooser(self.policy_),
        )
        evidence, _ = self._predict(prepared)
        n = len(prepared)
        scores = {name: system.score(evidence) for name, system in systems.items()}
        thresholds = {
            name: np.full(n, system.threshold) for name, system in systems.items()
        }
        scores[FUSED] = rule.score(evidence)
        thresholds[FUSED] = np.full(n, self.threshold_)
        return Run(None, np.zeros(n, dtype=np.intp), scores, thresholds, [])


def to_rows(posts: Any, rows: NDArray[np.intp]) -> Any:
    """Take some rows of posts in any form."""
    if hasattr(posts, "iloc"):
        return posts.iloc[rows]
    if hasattr(posts, "select"):
        return posts.select(rows)
    return [posts[i] for i in rows]


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


def _named(image: Any) -> list[tuple[str, Any]]:
    if not isinstance(image, list):
        return [("image", image)]
    pairs = [pair for pair in image if isinstance(pair, tuple) and len(pair) == 2]
    return pairs if len(pairs) == len(image) else []


def _is_frozen(branch: Any) -> bool:
    """Whether a branch, or a part of it, was fitted elsewhere."""
    parts = branch.get_params().values() if hasattr(branch, "get_params") else ()
    return any(isinstance(part, FrozenEstimator) for part in (branch, *parts))


def _text_classifiers(branch: Any) -> list[TextClassifier]:
    """Return the text classifiers within a branch: itself, or parts of an ensemble."""
    if isinstance(branch, TextClassifier):
        return [branch]
    parts = [
        *getattr(branch, "estimators_", []),
        *(step for _, step in getattr(branch, "steps", [])),
        *([branch.estimator] if isinstance(branch, FrozenEstimator) else []),
    ]
    return [found for part in parts for found in _text_classifiers(part)]


def _source_names(prepared: Prepared) -> NDArray[Any]:
    """Return the path of each image, or its place in its post."""
    names = np.empty(len(prepared.post), dtype=object)
    place: dict[int, int] = {}
    for i, (source, row) in enumerate(
        zip(prepared.images.sources, prepared.post, strict=True)
    ):
        place[row] = place.get(row, 0) + 1
        path = source.get("path") if isinstance(source, dict) else source
        has_path = isinstance(path, str) or hasattr(path, "__fspath__")
        names[i] = str(path) if has_path else f"image {place[row]}"
    return names


def _best_images(
    prepared: Prepared, p_image: NDArray[np.float64], names: NDArray[Any]
) -> list[str | None]:
    best: list[str | None] = [None] * len(prepared)
    highest = np.full(len(prepared), -1.0)
    usable = np.flatnonzero(prepared.images.usable)
    for i, p in zip(usable, p_image, strict=True):
        row = prepared.post[i]
        if p > highest[row]:
            highest[row], best[row] = p, names[i]
    return best


def _statuses(prepared: Prepared, names: NDArray[Any]) -> list[str | None]:
    """Why images of a post could not be used; None where all could, or it has none."""
    reasons: list[list[str]] = [[] for _ in range(len(prepared))]
    statuses = prepared.images.statuses
    for i in np.flatnonzero(statuses != "ok"):
        reasons[prepared.post[i]].append(f"{names[i]}: {statuses[i]}")
    return ["; ".join(reason) or None for reason in reasons]
