"""Paragraphs to register before the corpus is predicted, from a fitted detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent.evaluation.baselines import whole
from mmevent.rule.policies import budget_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from mmevent.detector.fitted import FittedDetector
    from mmevent.evaluation.estimate import Estimate

BLANK = "[TO FILL IN: "


def blank(what: str) -> str:
    """Return a mark for what the model folder does not know."""
    return f"{BLANK}{what}]"


def preregistration(
    fitted: FittedDetector, facts: Mapping[str, Any], fingerprint: str
) -> str:
    """Return paragraphs to register before the corpus is predicted."""
    posts = fitted.record.out_of_fold
    reached = f"its score reaches {fitted.threshold:.6g}"
    if budget := budget_of(fitted.policy):
        reached = f"its score is among the {budget:,} highest of the corpus"
    return "\n\n".join(
        [
            f"We study {blank('question, and hypotheses with their direction')} in "
            f"{blank('corpus: platform, period, places, languages, query, size')}.",
            f"An event is {blank('definition, as in the instructions for coders')}. "
            f"We detect events by a model that was fitted by mmevent "
            f"{facts['mmevent']} on {len(posts):,} coded posts, of them "
            f"{int(posts['event'].sum()):,} events, in {posts['group'].nunique():,} "
            f"groups of posts that belong together. Its folder has a manifest with the "
            f"SHA-256 {fingerprint}; the coded posts have the fingerprint "
            f"{fitted.record.data_hash}. It scores posts by {fitted.rule.title}. A "
            f"post is flagged if {reached} (policy {fitted.policy!r}). We will change "
            f"neither the model nor the threshold once the corpus has been predicted.",
            f"{figures_in_words(fitted)} These figures hold for posts like the coded "
            f"ones. We do not assume that they hold for the corpus, and do not count "
            f"flagged posts as events.",
            f"We will draw {blank('number')} posts of the corpus at random with known "
            f"probabilities (`mmevent sample`, seed {blank('number')}). "
            f"{blank('number of coders, their training')} will code them without "
            f"seeing predictions or scores, and each other's labels "
            f"{blank('never, or when')}; {blank('how many')} posts are coded twice, "
            f"and disagreements are resolved by {blank('rule')}. If Krippendorff's "
            f"alpha is below {blank('number')}, we will {blank('what then')}.",
            f"From the coded sample we estimate the number of events, precision and "
            f"recall with 95% intervals (`mmevent estimate`), for "
            f"{blank('the whole, and which periods, places or other units')}. The main "
            f"analysis is {blank('model, outcome, predictors, clusters')}, and "
            f"{blank('result that would count against the hypothesis')} would count "
            f"against the hypothesis. We will report every deviation from this plan.",
        ]
    )


def figures_in_words(fitted: FittedDetector) -> str:
    """Say which F1, precision and recall the estimate of the fit found."""
    estimate = fitted.record.estimate
    if estimate is None:
        figures = blank("F1, precision and recall with intervals, by mmevent evaluate")
        return f"Out of sample, the model has {figures}."
    row = main_row(estimate)
    said = ", ".join(
        f"{title} {_interval(row, name)}"
        for name, title in (
            ("f1", "F1"),
            ("precision", "precision"),
            ("recall", "recall"),
        )
    )
    policy = ""
    if fitted.policy != fitted.record.policy:
        policy = f", under the policy {fitted.record.policy!r} of the fit"
    return (
        f"On {int(row['n_posts']):,} coded posts that chose none of its parameters "
        f"({estimate.kind} estimate{policy}), the model has {said}."
    )


def main_row(estimate: Estimate) -> pd.Series[Any]:
    """Return the row of the detector itself, over all posts."""
    table = estimate.to_frame()
    row: pd.Series[Any] = table.loc[whole(set(table.index))]
    return row


def _interval(row: pd.Series[Any], name: str) -> str:
    value, low, high = row[[name, f"{name}_low", f"{name}_high"]].astype(float)
    if value != value:
        return "undefined"
    if low != low:
        return f"{value:.3f} without an interval"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
