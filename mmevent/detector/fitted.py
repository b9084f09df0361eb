"""What a fitted detector is: all that a prediction needs, and a record of the fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import as_html
from mmevent.branches.fitting import examine, predict_branch
from mmevent.evaluation.nested import to_evidence
from mmevent.evaluation.stability import threshold_spread
from mmevent.exceptions import InputError
from mmevent.posts.labels import Labels
from mmevent.posts.prepared import SECOND, TEXT
from mmevent.posts.usable import check_any_usable
from mmevent.rule.policies import Policy, plain_policy

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from mmevent.evaluation.estimate import Estimate
    from mmevent.evaluation.sample import Sample
    from mmevent.posts.prepared import Prepared
    from mmevent.rule.calibration import Calibration
    from mmevent.rule.fusion import Evidence
    from mmevent.rule.search import Search
    from mmevent.rule.stacking import FusionRule
    from mmevent.rule.two_stage import TwoStageRule

FEWEST = 10  # of fewer pictures all may be broken by chance, as of a single post
NO_IMAGES = (
    "to judge posts by their text alone, pass an empty column of images "
    "(--allow-text-only on the command line)"
)


@dataclass(frozen=True)
class FitRecord:
    """What a fit records besides the detector: out-of-fold table, trials, estimate.

    Parameters
    ----------
    policy : str, float or list of list of float
        The policy of the fit, which the estimate is for.
    search : Search
        Settings of the search.
    out_of_fold, trials, cv_results, study, estimate
        As in :class:`mmevent.EventDetector`, where their names end in ``_``.
    data_hash, groups_hash : str
        Fingerprints of the training posts with their labels, and of their groups.
    """

    policy: Policy
    search: Search
    out_of_fold: pd.DataFrame
    trials: pd.DataFrame
    cv_results: dict[str, Any]
    study: Any
    estimate: Estimate | None
    data_hash: str
    groups_hash: str

    def __repr__(self) -> str:
        n_posts, n_trials = len(self.out_of_fold), len(self.trials)
        return f"<FitRecord: {n_posts:,} posts, {n_trials:,} trials>"

    @property
    def tested(self) -> pd.DataFrame:
        """The rows of `out_of_fold` that a fold tests."""
        return self.out_of_fold[self.out_of_fold["fold"] >= 0]


@dataclass(frozen=True)
class FittedDetector:
    """All that a prediction needs, and the record of the fit; it never changes.

    `EventDetector.fit` makes one and keeps it as ``fitted_``. Saving, the audit, the
    model card, reports and plots use it.

    Parameters
    ----------
    branches : dict of str to classifier
        The fitted branches: ``"text"``, the image branches by their names, and
        ``"second stage"``.
    rule : Rule or StackedRule
        Its parameters, pool and image branch, with the threshold of the best F1.
    stages : TwoStageRule or None
        The rules of both stages; None if there is one stage.
    beta_identified : bool
        False where beta was fixed at 1, and for a `StackedRule`.
    f1_threshold : float
        The threshold that the policy ``"f1"`` gives.
    policy : str, float or list of list of float
        The decision policy.
    threshold : float
        A post is an event if its score reaches it; NaN with a budget.
    calibration : Calibration or None
        Maps of scores to probabilities.
    classes : ndarray of shape (2,)
        The labels, sorted.
    pos_label : label
        The label of an event.
    label_name : str or None
        Name of the column of labels.
    training_keys : frozenset of str
        Hashes of ids, texts and images of the training posts.
    record : FitRecord
        What else the fit found.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, estimate=None, cv=3,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> detector.fitted_.rule.alpha == detector.alpha_
    True
    """

    branches: Mapping[str, Any]
    rule: FusionRule
    stages: TwoStageRule | None
    beta_identified: bool
    f1_threshold: float
    policy: Policy
    threshold: float
    calibration: Calibration | None
    classes: NDArray[Any]
    pos_label: Any
    label_name: str | None
    training_keys: frozenset[str]
    record: FitRecord

    def __repr__(self) -> str:
        facts = "; ".join(f"{name}: {value}" for name, value in self._facts().items())
        return f"<FittedDetector, {facts}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        facts = self._facts()
        for name, branch in self.branches.items():
            facts[f"branch {name}"] = type(branch).__name__
        table = pd.DataFrame({"": facts})
        estimate = self.record.estimate
        notes = [] if estimate is None else [repr(estimate)[1:-1]]
        return as_html("Fitted detector", [("", table)], notes)

    def _facts(self) -> dict[str, str]:
        numbers = {name: value for name, value, _ in self.meanings()}
        if "beta" in numbers and not self.beta_identified:
            numbers["beta"] += " (fixed)"
        return {
            **numbers,
            "pool": self.rule.pool,
            "threshold": f"{self.threshold:.3g}",
            "policy": str(self.policy),
            "label of an event": repr(self.coding[1]),
            "posts of the fit": f"{len(self.record.out_of_fold):,}",
        }

    @property
    def text(self) -> Any | None:
        """The fitted text branch, or None."""
        return self.branches.get(TEXT)

    @property
    def image(self) -> Any | None:
        """The fitted image branch that the rule uses, or None."""
        return self.branches.get(self.rule.image)

    @property
    def second(self) -> Any | None:
        """The fitted text branch of the second stage, or None."""
        return self.branches.get(SECOND)

    @property
    def whole(self) -> FusionRule | TwoStageRule:
        """The rule that gives posts their score: of both stages if there are two."""
        return self.stages or self.rule

    def meanings(self) -> list[tuple[str, str, str]]:
        """Return the name, the value and the meaning of each number of the rule."""
        return self.rule.meanings(beta_identified=self.beta_identified)

    @property
    def coding(self) -> list[Any]:
        """The labels of no event and of an event."""
        labels: list[Any] = self.classes.tolist()
        return labels if labels[1] == self.pos_label else labels[::-1]

    def with_policy(self, policy: Policy, threshold: float) -> FittedDetector:
        """Return a copy with another policy and its threshold."""
        return replace(self, policy=plain_policy(policy), threshold=threshold)

    def needed(self) -> dict[str, str]:
        """Return the columns that a prediction needs, each with how to do without."""
        needed = {}
        if self.text is not None or self.second is not None:
            needed["text"] = (
                "where no post has a text, add an empty column of this name"
            )
        if self.image is not None:
            needed["images"] = NO_IMAGES
        return needed

    def check_images(
        self, parts: Iterable[Prepared], *, decoding: bool = False
    ) -> None:
        """Validate that a picture of the posts can be used, see `check_any_usable`."""
        if self.image is not None:
            images = (prepared.images for prepared in parts)
            check_any_usable(images, NO_IMAGES, fewest=FEWEST, decoding=decoding)

    def evidence(self, prepared: Prepared) -> tuple[Evidence, NDArray[np.float64]]:
        """Return the probabilities of posts, and p_image of each usable image."""
        material, rule = prepared.material, self.rule
        fitted = {TEXT: self.text, rule.image: self.image}
        probabilities = {}
        for name, branch in fitted.items():
            side = material.side(name)
            everything = np.arange(len(side.post))
            probabilities[name] = self._predict(branch, side, everything)
        evidence = to_evidence(probabilities, material, pool=rule.pool)
        if self.stages is not None:
            side = material.text
            chosen = np.flatnonzero(self.stages.flagged(evidence)[side.post])
            p_text_2 = np.full(material.n_posts, np.nan)
            p_text_2[side.post[chosen]] = self._predict(self.second, side, chosen)
            evidence = evidence.with_second(p_text_2)
        return evidence, probabilities[rule.image]

    def examine(self, prepared: Prepared, *, verbose: bool) -> Prepared:
        """Return posts whose pictures' statuses are known, each decoded once."""
        images = examine(prepared.images, [self.image], verbose=verbose)
        return prepared.with_images(images)

    def encode(self, prepared: Prepared) -> None:
        """Encode every item once, so that folds find its vector in memory."""
        for name, branch in self.branches.items():
            side = prepared.material.side(name)
            self._predict(branch, side, np.arange(len(side.post)))

    def _predict(self, branch: Any, side: Any, chosen: Any) -> NDArray[np.float64]:
        return predict_branch(branch, side, chosen, classes=self.coding)

    def seen(self, prepared: Prepared) -> NDArray[np.bool_]:
        """Return which posts share an id, text or image with the training posts.

        Duplicates of such posts count as well.
        """
        direct = np.array(
            [not self.training_keys.isdisjoint(keys) for keys in prepared.keys]
        )
        return np.isin(prepared.duplicate, prepared.duplicate[direct])

    def check_posts(self, prepared: Prepared, event: Any, stage1: Any) -> None:
        """Validate that posts and labels are those of the fit."""
        labels = Labels(event, np.zeros(len(prepared), dtype=np.intp), stage1)
        if prepared.data_hash(labels) == self.record.data_hash:
            return
        broken = int((~prepared.images.usable).sum())
        hint = (
            f" {broken} images cannot be used: check image_root and allow_outside_root."
            if broken
            else ""
        )
        if self.stages is not None and stage1 is None:
            hint += (
                " If fit was given y_stage1, pass it here too (--stage1-label on the "
                "command line)."
            )
        raise InputError(
            f"these {len(prepared)} posts are not those of the training: expected the "
            f"same {len(self.record.out_of_fold)} posts, images, labels and "
            f"order.{hint} For other posts, pass held_out=True (--held-out on the "
            f"command line)."
        )

    def check_groups(self, sample: Sample) -> None:
        """Validate that groups are those of the fit."""
        if sample.groups_hash != self.record.groups_hash:
            n_fitted = self.record.out_of_fold["group"].nunique()
            raise InputError(
                f"these groups are not those of the fit: expected {n_fitted} groups, "
                f"joined with duplicates, got {len(np.unique(sample.labels.group))} or "
                f"others. Pass the groups that fit was given (groups=, or --group on "
                f"the command line)."
            )

    def threshold_spread(self) -> pd.DataFrame:
        """Return the threshold with its interval over resamples of groups."""
        return threshold_spread(
            self.record.tested,
            self.rule,
            self.stages,
            policy=self.policy,
            threshold=self.threshold,
            search=self.record.search,
        )


class _Fitted:
    """A read-only attribute of a detector, read from ``fitted_`` by a path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, detector: Any, owner: type) -> Any:
        if detector is None:
            return self
        if "fitted_" not in vars(detector):
            raise AttributeError(f"{self.name} is not set yet: call fit first")
        try:
            return attrgetter(self.path)(detector.fitted_)
        except AttributeError as error:
            if not self.path.startswith("rule."):
                raise
            raise AttributeError(
                f"{self.name} is a parameter of the alpha/beta rule, and this detector "
                f"was fitted with rule={detector.fitted_.rule.kind!r}. Look at rule_."
            ) from error

    def __set__(self, detector: Any, value: Any) -> None:
        raise AttributeError(
            f"{self.name} cannot be set: expected to be read only, got {value!r}. Use "
            f"set_policy for another threshold, or fit with other parameters."
        )


class FittedAttributes:
    """The fitted attributes of a detector, in scikit-learn's form."""

    fitted_: FittedDetector

    alpha_ = _Fitted("rule.alpha")
    beta_ = _Fitted("rule.beta")
    beta_identified_ = _Fitted("beta_identified")
    branches_ = _Fitted("branches")
    calibration_ = _Fitted("calibration")
    classes_ = _Fitted("classes")
    cv_results_ = _Fitted("record.cv_results")
    estimate_ = _Fitted("record.estimate")
    f1_threshold_ = _Fitted("f1_threshold")
    image_ = _Fitted("image")
    image_name_ = _Fitted("rule.image")
    label_name_ = _Fitted("label_name")
    out_of_fold_ = _Fitted("record.out_of_fold")
    policy_ = _Fitted("policy")
    pool_ = _Fitted("rule.pool")
    pos_label_ = _Fitted("pos_label")
    rule_ = _Fitted("rule")
    second_stage_ = _Fitted("second")
    stages_ = _Fitted("stages")
    study_ = _Fitted("record.study")
    text_ = _Fitted("text")
    threshold_ = _Fitted("threshold")
    trials_ = _Fitted("record.trials")

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the detector is fitted: a fit sets `fitted_` at its end."""
        return "fitted_" in vars(self)

    @property
    def _events_second(self) -> bool:
        """Whether the label of an event is ``classes_[1]``."""
        return bool(self.fitted_.classes[1] == self.fitted_.pos_label)
