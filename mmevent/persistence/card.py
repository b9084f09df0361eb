"""The model card: what a person must know about a saved detector, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent import __version__
from mmevent.evaluation.estimate import heading, sections
from mmevent.evaluation.verdicts import verdicts
from mmevent.rule.policies import budget_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from mmevent.detector.fitted import FittedDetector
    from mmevent.rule.two_stage import TwoStageRule

_POOLED = {
    "max": "the highest of the probabilities of the post's images",
    "mean": "the mean of the probabilities of the post's images",
    "noisy-or": "1 - the product of (1 - p) over the post's images (noisy-or)",
}


def model_card(
    fitted: FittedDetector,
    encoders: list[dict[str, Any]],
    *,
    made_with: str = __version__,
) -> str:
    """Return the card of a fitted detector whose encoders are described.

    `made_with` is the version of mmevent that fitted it.
    """
    sections = [
        ("Event detector", what_of(fitted, made_with)),
        ("Training posts", training_of(fitted)),
        ("The rule", rule_of(fitted)),
        ("How well it does", _estimate(fitted)),
        ("Branches", branches_of(fitted, encoders)),
        ("Limits", limits_of(fitted)),
        ("Use", _USE),
    ]
    (title, first), *others = sections
    parts = [f"# {title}", *cautions(fitted), first]
    for title, text in others:
        parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def cautions(fitted: FittedDetector) -> list[str]:
    """Return what is not shown to be of use, each as a paragraph in bold."""
    estimate = fitted.record.estimate
    found = [] if estimate is None else verdicts(estimate)
    if found and fitted.policy != fitted.record.policy:
        found.append(
            f"That is for the policy {fitted.record.policy!r} of the fit; another one, "
            f"{fitted.policy!r}, is set now."
        )
    return [f"**{sentence}**" for sentence in found]


def what_of(fitted: FittedDetector, made_with: str) -> str:
    """Say what a detector distinguishes."""
    named = f" of `{fitted.label_name}`" if fitted.label_name else ""
    sides = " and ".join(
        side
        for side, branch in (("texts", fitted.text), ("images", fitted.image))
        if branch is not None
    )
    negative, positive = (_code(label) for label in fitted.coding)
    return (
        f"It distinguishes posts labelled {positive}{named} from posts labelled "
        f"{negative}, by their {sides}. Made with mmevent {made_with}, by "
        f"{fitted.rule.title}."
    )


def _code(label: Any) -> str:
    return f"`{label.item()!r}`" if hasattr(label, "item") else f"`{label!r}`"


def training_of(fitted: FittedDetector) -> str:
    """List the numbers of training posts, and their fingerprint."""
    posts = fitted.record.out_of_fold
    tested = posts[posts["fold"] >= 0]
    lines = [
        f"{len(posts):,} posts, of them {int(posts['event'].sum()):,} events "
        f"({posts['event'].mean():.1%})",
        f"{posts['group'].nunique():,} groups of posts that belong together, "
        f"including duplicates",
        f"{len(tested):,} posts tested by a fold: "
        f"{int(tested['p_text'].notna().sum()):,} with a text probability, "
        f"{int(tested['p_image'].notna().sum()):,} with an image probability",
        f"SHA-256 of texts, images and labels: `{fitted.record.data_hash}`",
    ]
    return bullets(lines)


def rule_of(fitted: FittedDetector) -> str:
    """Say how a post gets its score, and when it is an event."""
    formulas, pooled = fitted.rule.formulas(), _POOLED[fitted.rule.pool]
    if fitted.image is None:
        rows = [("has text", formulas["text"]), ("has no text", "0, never an event")]
    elif fitted.text is None:
        rows = [
            ("has a usable image", formulas["image"]),
            ("has none", "0, never an event"),
        ]
    else:
        rows = [
            ("has text and a usable image", formulas["both"]),
            ("has text only", formulas["text"]),
            ("has a usable image only", formulas["image"]),
            ("has neither", "0, never an event"),
        ]
    reached = f"if its score reaches **{fitted.threshold:.4g}**"
    if budget := budget_of(fitted.policy):
        reached = f"if its score is among the {budget:,} highest of its table"
    lines = [
        f"A post is an event {reached} (policy: {fitted.policy!r}).",
        _table(("a post that", "score"), rows),
    ]
    if fitted.stages is not None:
        lines.append(_stages_in_words(fitted.stages))
    if fitted.image is not None:
        lines.append(f"p_image is {pooled}.")
    if fitted.image is not None and fitted.text is not None:
        lines.append(
            " ".join(f"{name} = {x}: {said}." for name, x, said in fitted.meanings())
        )
    return "\n\n".join(lines)


def _stages_in_words(stages: TwoStageRule) -> str:
    numbers = stages.second.meanings(beta_identified=True)
    said = ", ".join(f"{name} = {value}" for name, value, _ in numbers)
    return (
        f"That is the score of stage 1. If it reaches {stages.first.threshold:.4g}, "
        f"stage 2 judges the post: with a second text probability in place of p_text, "
        f"and {said}, it has a score s, and the score of the post is 1 + s / (1 + s). "
        f"Otherwise the score of the post is stage 1's score divided by that "
        f"threshold, which is below 1."
    )


def _estimate(fitted: FittedDetector) -> str:
    estimate = fitted.record.estimate
    if estimate is None:
        return "No estimate was made: it is not known how well the detector does."
    parts = [heading(estimate).replace("\n", ": ", 1) + "."]
    of_fit = fitted.record.policy
    if fitted.policy != of_fit:
        parts.append(
            f"These figures are for the policy {of_fit!r}; the threshold above "
            f"was chosen later, by {fitted.policy!r}."
        )
    for title, frame in sections(estimate):
        parts += [f"### {title}", _frame(frame)]
    if estimate.notes:
        parts += ["### Notes", bullets(estimate.notes)]
    return "\n\n".join(parts)


def branches_of(fitted: FittedDetector, encoders: list[dict[str, Any]]) -> str:
    """List the branches and their encoders."""
    used = (fitted.text, fitted.image, fitted.second)
    parts = [
        bullets(
            f"`{name}`: {type(branch).__name__}"
            + ("" if any(branch is one for one in used) else ", not chosen")
            for name, branch in fitted.branches.items()
        )
    ]
    if not encoders:
        return "\n\n".join([*parts, "They need no pretrained encoder."])
    copied = all(encoder["folder"] for encoder in encoders)
    parts.append(
        "All encoders are in this folder."
        if copied
        else "Encoders that are not in this folder are loaded by these names, and "
        "their weights are compared with the hash."
    )
    for encoder in encoders:
        lines = [
            f"{encoder['kind']} encoder `{encoder['model']}`"
            + (f", revision `{encoder['revision']}`" if encoder["revision"] else ""),
            f"SHA-256 of its weights: `{encoder['weights_sha256']}`",
        ]
        if encoder["max_length"]:
            lines.append(
                f"longer texts are cut off after {encoder['max_length']} tokens"
            )
        if encoder.get("prompt"):
            lines.append(f"before each text stands {encoder['prompt']!r}")
        if encoder["folder"]:
            lines.append(f"copied to `{encoder['folder']}`")
        parts.append("- " + "\n  - ".join(lines))
    return "\n\n".join(parts)


def limits_of(fitted: FittedDetector) -> str:
    """List what the figures and scores do not say."""
    lines = [
        "The figures above hold for posts that are drawn as the training posts were. "
        "For another period, place, platform, language or kind of event, code a sample "
        "by hand and evaluate on it.",
        "Precision and F1 are lower where events are rarer than among the training "
        "posts.",
        "A score is not a probability, and the share of flagged posts is not an "
        "estimate of the share of events.",
        "`out_of_fold.parquet` holds the ids and labels of the training posts, and "
        "`training_keys.txt` hashes of their ids, texts and images: consider this "
        "before you share the folder.",
    ]
    if fitted.text is not None and fitted.image is not None:
        lines.insert(
            2,
            "A post whose images cannot be read is judged by its text alone; the audit "
            "names these images.",
        )
    return bullets(lines)


_USE = """\
```python
import mmevent

detector = mmevent.load("path/to/this/folder")
detector.audit([{"text": "Thousands marched today", "images": ["photo.jpg"]}])
```

or, from the command line, `mmevent predict path/to/this/folder posts.csv -o out.csv`.

`manifest.json` holds the SHA-256 of every other file; if one was changed, the folder is
not loaded. No file here is a pickle, and loading runs no code from the folder."""


def bullets(lines: Iterable[str]) -> str:
    """Write a list."""
    return "\n".join(f"- {line}" for line in lines)


def _frame(frame: pd.DataFrame) -> str:
    rows = [
        (str(name), *map(str, values))
        for name, values in zip(frame.index, frame.to_numpy().tolist(), strict=True)
    ]
    return _table(("", *map(str, frame.columns)), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
