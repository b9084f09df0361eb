"""What the parameters of a detector ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from mmevent._branch_parameters import check_branches, unfitted_branches
from mmevent._branches import TEXT, Labels
from mmevent._estimation import CROSS_FITTED, NESTED, Job
from mmevent._prediction import look_at_images
from mmevent._prepared import Prepared
from mmevent._sample import Sample
from mmevent._second import asked_for
from mmevent._trainable import is_fine_tuned
from mmevent._validation import (
    check_groups,
    check_labels,
    check_n_jobs,
    check_seed,
    check_stage1,
)
from mmevent.calibration import check_calibration
from mmevent.decision import budget_of, check_policy, plain_policy
from mmevent.exceptions import InputError
from mmevent.fusion import POOLS
from mmevent.tuning import Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from mmevent._folds import Folds
    from mmevent.detector import EventDetector
    from mmevent.filter import SecondStage


@dataclass(frozen=True)
class Setup:
    """The parameters of a detector, and the seed of one run.

    Parameters
    ----------
    detector : EventDetector
        Fitted or not.
    seed : int or None, default=None
        None where nothing is drawn.
    """

    detector: EventDetector
    seed: int | None = None

    @classmethod
    def drawn(cls, detector: EventDetector) -> Setup:
        """Check all parameters, and draw the seed of a fit."""
        cls(detector).check()
        state = detector.random_state
        if isinstance(state, (int, np.integer)):
            return cls(detector, int(state))
        return cls(detector, int(check_random_state(state).randint(2**31 - 1)))

    def check(self) -> None:
        """Refuse parameters that ask for nothing, with an InputError."""
        asked = self.detector
        self.search().check()
        check_policy(asked.policy)
        if asked.pool not in ("auto", *POOLS):
            raise InputError(
                f"pool={asked.pool!r} is not a way to pool images: expected 'auto' or "
                f"one of {', '.join(POOLS)}. Choose one of them."
            )
        if asked.estimate not in ("auto", NESTED, CROSS_FITTED, None):
            raise InputError(
                f"estimate={asked.estimate!r} is not known: expected 'auto', 'nested', "
                f"'cross-fit' or None. Choose one of them."
            )
        if asked.estimate in (NESTED, CROSS_FITTED) and budget_of(asked.policy):
            raise InputError(
                f"estimate={asked.estimate!r} cannot be made with "
                f"policy={asked.policy!r}: expected 'auto' or None, since its figures "
                f"depend on the size of the corpus. Fit, and call "
                f"evaluate(detector, posts, y, corpus_size=...)."
            )
        check_branches(asked.text, asked.image)
        self.second()
        if asked.calibration is not None:
            check_calibration(asked.calibration)
        check_n_jobs(asked.n_jobs)
        check_seed(asked.random_state)

    def kind(self) -> str | None:
        """Return how the estimate of a fit is made, if at all."""
        if self.detector.estimate != "auto":
            return self.detector.estimate
        return None if budget_of(self.detector.policy) else self.usual_kind()

    def usual_kind(self) -> str:
        """Nested, except where that would train encoders many times."""
        branches = list(self.branches().values())
        if second := self.second():
            branches.append(second.branch)
        return CROSS_FITTED if any(map(is_fine_tuned, branches)) else NESTED

    def search(self, *, storage: Any = None) -> Search:
        """Return how the rule is searched."""
        asked = self.detector
        return Search(
            method=asked.search,
            criterion=asked.criterion,
            n_trials=asked.n_trials,
            alpha_bounds=asked.alpha_bounds,
            beta_bounds=asked.beta_bounds,
            storage=storage,
            random_state=self.seed,
        )

    def calibration(self) -> str | None:
        """Return the method, for posts of which there are enough."""
        method = self.detector.calibration
        return "isotonic-forced" if method == "isotonic" else method

    def branches(self) -> dict[str, Any]:
        """Return the branches, unfitted."""
        asked = self.detector
        return unfitted_branches(
            asked.text, asked.image, seed=self.seed, verbose=asked.verbose
        )

    def second(self) -> SecondStage | None:
        """Return the second stage, unfitted, if one is asked for."""
        asked = self.detector
        return asked_for(
            asked.second_stage,
            asked.text,
            asked.image,
            seed=self.seed,
            verbose=asked.verbose,
        )

    def texts(self) -> list[Any]:
        """Return the text branches of both stages."""
        second = self.second()
        return [self.detector.text, *([] if second is None else [second.branch])]

    def read(self, posts: Any) -> Prepared:
        """Read posts; `look_at_images` is to come next."""
        asked = self.detector
        return Prepared.of(
            posts,
            columns=asked.columns,
            image_root=asked.image_root,
            allow_outside_root=asked.allow_outside_root,
        )

    def sample(
        self,
        prepared: Prepared,
        y: ArrayLike,
        groups: ArrayLike | None,
        y_stage1: ArrayLike | None,
        *,
        of_fit: bool = False,
        looking: bool = True,
    ) -> Sample:
        """Join posts with their labels and groups.

        Parameters
        ----------
        prepared, y, groups, y_stage1
            As `EventDetector.fit` is given them.
        of_fit : bool, default=False
            Whether they have to be those of the detector's fit.
        looking : bool, default=True
            Whether the image branches see all images, before any status is asked for:
            then each is decoded once.
        """
        event = check_labels(y, len(prepared), self.detector.pos_label)[0]
        if y_stage1 is not None and self.second() is None:
            raise InputError(
                f"y_stage1 is for two stages: expected second_stage=True, 'auto' or a "
                f"FalsePositiveFilter, got "
                f"second_stage={self.detector.second_stage!r}. Set it, or leave "
                f"y_stage1 out."
            )
        ids = prepared.posts["id"].to_numpy()
        stage1 = check_stage1(y_stage1, event, ids)
        check_groups(groups, len(prepared))
        if of_fit:
            nobody = np.zeros(len(prepared), dtype=np.intp)
            labels = Labels(event, nobody, stage1)
            self._check_same(prepared, labels, given=y_stage1 is not None)
        if looking:
            images = {k: b for k, b in self.branches().items() if k != TEXT}
            look_at_images(
                prepared, map(clone, images.values()), verbose=self.detector.verbose
            )
        return Sample.of(prepared, event, groups, stage1)

    def _check_same(self, prepared: Prepared, labels: Labels, *, given: bool) -> None:
        """Refuse posts and labels that are not those of the detector's fit."""
        if prepared.data_hash(labels) == self.detector.data_hash_:
            return
        broken = int((~prepared.images.usable).sum())
        hint = (
            f" {broken} images cannot be used: check image_root and allow_outside_root."
            if broken
            else ""
        )
        if self.second() is not None and not given:
            hint += (
                " If fit was given y_stage1, pass it here too (--stage1-label on the "
                "command line)."
            )
        raise InputError(
            f"these {len(prepared)} posts are not those of the training: "
            f"expected the same {len(self.detector.out_of_fold_)} posts, images, "
            f"labels and order.{hint} For other posts, pass held_out=True "
            f"(--held-out on the command line)."
        )

    def check_groups(self, sample: Sample) -> None:
        """Refuse groups that are not those of the detector's fit."""
        if sample.groups_hash != self.detector.groups_hash_:
            fitted = self.detector.out_of_fold_["group"].nunique()
            raise InputError(
                f"these groups are not those of the fit: expected {fitted} groups, "
                f"joined with duplicates, got {len(np.unique(sample.labels.group))} or "
                f"others. Pass the groups that fit was given (groups=, or --group on "
                f"the command line)."
            )

    def folds(self, sample: Sample, kind: str | None) -> Folds:
        """Make the folds of an estimate."""
        inner_cv = self.detector.inner_cv if kind == NESTED else None
        return sample.folds(self.detector.cv, inner_cv, self.seed)

    def job(self, sample: Sample, names: Sequence[str], classes: Sequence[Any]) -> Job:
        """Return what an estimate is made from, of the branches of these names."""
        asked, branches = self.detector, self.branches()
        return Job(
            branches={name: branches[name] for name in names if name in branches},
            material=sample.prepared.material,
            labels=sample.labels,
            second=self.second(),
            search=self.search(),
            policy=plain_policy(asked.policy),
            calibration=self.calibration(),
            pool=asked.pool,
            classes=classes,
            n_jobs=asked.n_jobs,
            verbose=asked.verbose,
        )
