"""What the commands print for a person to read."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from mmevent.decision import budget_of

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.detector import EventDetector
    from mmevent.filter import TwoStageRule

_POOLS = {
    "max": "the image of the highest probability counts",
    "mean": "the mean of their probabilities counts",
    "noisy-or": "1 - the product of (1 - p) over the images counts (noisy-or)",
}


def rule_in_words(detector: EventDetector) -> str:
    """Say what alpha, beta, the pooling and the threshold of a detector do."""
    pool = _line("pool", detector.pool_, f"of several images {_POOLS[detector.pool_]}")
    if detector.image_ is None:
        lines = ["  Text only: a post without text is never an event."]
    elif detector.text_ is None:
        lines = [
            "  Images only: a post without a usable image is never an event.",
            pool,
        ]
    else:
        weight = detector.alpha_ / (1 + detector.alpha_)
        meaning = f"text counts {1 - weight:.0%}, images {weight:.0%}, where both are"
        lines = [
            _line("alpha", f"{detector.alpha_:.3g}", meaning),
            _line("beta", f"{detector.beta_:.3g}", _beta_in_words(detector)),
            pool,
        ]
    if detector.stages_ is not None:
        lines += _stages(detector.stages_)
    if budget := budget_of(detector.policy_):
        flagged = "a post is an event if its score is among these of its table"
        lines.append(_line("highest", f"{budget:,}", flagged))
    else:
        reached = "a post is an event where its score reaches it"
        lines.append(_line("threshold", f"{detector.threshold_:.3g}", reached))
    return "\n".join(["The rule, fitted on all posts", *lines])


def _stages(stages: TwoStageRule) -> list[str]:
    weight = stages.second.weight
    return [
        _line(
            "stage 1",
            f"{stages.first.threshold:.3g}",
            "from this score on stage 2 judges a post; its score is then 1 to 2",
        ),
        _line(
            "alpha 2",
            f"{stages.second.alpha:.3g}",
            f"there the second text counts {1 - weight:.0%}, images {weight:.0%}",
        ),
        _line("beta 2", f"{stages.second.beta:.3g}", "and that is multiplied by this"),
    ]


def _line(name: str, value: str, meaning: str) -> str:
    return f"  {name:<10}{value:<9} {meaning}"


def _beta_in_words(detector: EventDetector) -> str:
    if not detector.beta_identified_:
        return "fixed: too few posts with images, or without, to learn it from"
    if detector.beta_ == 1:
        return "a score counts the same with images as without"
    return f"the score of a post with images is multiplied by {detector.beta_:.3g}"


def audit_summary(audit: pd.DataFrame, positive: Any) -> str:
    """Count posts, flagged posts, rules and unusable images of an audit."""
    flagged = audit["prediction"] == positive
    n_posts, n_flagged = len(audit), int(flagged.sum())
    lines = [
        f"{_count(n_posts, 'post')}, {n_flagged:,} flagged as events "
        f"({n_flagged / n_posts:.1%})",
        "",
        f"  {'decided by':<12}{'posts':>9}{'flagged':>9}",
    ]
    for rule in ("both", "text", "image", "none"):
        rows = audit["rule"] == rule
        if rows.any():
            lines.append(
                f"  {rule:<12}{int(rows.sum()):>9,}{int((rows & flagged).sum()):>9,}"
            )
    lines += ["", _images_in_words(audit)]
    truncated = int(audit["text_truncated"].sum())
    if truncated:
        lines.append(f"{_count(truncated, 'text')} longer than the encoder reads")
    return "\n".join(lines)


def _images_in_words(audit: pd.DataFrame) -> str:
    from mmevent.image_io import STATUSES

    n_images = int(audit["n_images"].sum())
    n_unusable = n_images - int(audit["n_usable"].sum())
    if not n_unusable:
        return f"{_count(n_images, 'image')}, all usable"
    # A path may hold "; " and ": " itself.
    each = re.compile(rf": ({'|'.join(STATUSES)})(?=; |$)")
    counts = Counter(
        status
        for cell in audit["image_status"].dropna()
        for status in each.findall(cell)
    )
    reasons = ", ".join(f"{n:,} {status}" for status, n in counts.most_common())
    return f"{_count(n_images, 'image')}, {n_unusable:,} of them unusable: {reasons}"


def audit_sample(audit: pd.DataFrame) -> str:
    """Show some posts of each rule and prediction, and some with a broken image."""
    import pandas as pd

    alike = audit.groupby(["rule", "prediction"], sort=False)
    broken = audit[audit["image_status"].notna()]
    rows = pd.concat([alike.head(2), broken.head(2)]).drop_duplicates("id")
    columns = {
        "id": "{}",
        "prediction": "{}",
        "margin": "{:+.3f}",
        "rule": "{}",
        "p_text": "{:.3f}",
        "p_image": "{:.3f}",
        "image_status": "{}",
    }
    texts = [
        [name, *("" if pd.isna(v) else form.format(v) for v in rows.sort_index()[name])]
        for name, form in columns.items()
    ]
    widths = [max(map(len, column)) for column in texts]
    return "\n".join(
        "  ".join(map(str.ljust, line, widths)).rstrip()
        for line in zip(*texts, strict=True)
    )


def command_line(*words: object) -> str:
    """Return words as a shell takes them."""
    return shlex.join(str(word) for word in words)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
