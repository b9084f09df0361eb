"""The model card: what a person must know of a saved detector, in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent import __version__
from mmevent._prediction import coding_of
from mmevent.decision import budget_of, plain_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from mmevent.detector import EventDetector
    from mmevent.filter import TwoStageRule

_POOLED = {
    "max": "the highest of the probabilities of the post's images",
    "mean": "the mean of the probabilities of the post's images",
    "noisy-or": "1 - the product of (1 - p) over the post's images (noisy-or)",
}


def model_card(detector: EventDetector, encoders: list[dict[str, Any]]) -> str:
    """Return the card of a fitted detector whose encoders are described."""
    sections = [
        ("Event detector", _what(detector)),
        ("Training posts", _training(detector)),
        ("The rule", _rule(detector)),
        ("How well it does", _estimate(detector)),
        ("Branches", _branches(detector, encoders)),
        ("Limits", _limits(detector)),
        ("Use", _USE),
    ]
    (title, first), *others = sections
    parts = [f"# {title}", first]
    for title, text in others:
        parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def _what(detector: EventDetector) -> str:
    named = f" of `{detector.label_name_}`" if detector.label_name_ else ""
    sides = " and ".join(
        side
        for side, branch in (("texts", detector.text_), ("images", detector.image_))
        if branch is not None
    )
    negative, positive = (_code(label) for label in coding_of(detector))
    return (
        f"It tells posts labelled {positive}{named} from posts labelled {negative}, by "
        f"their {sides}. Made with mmevent {__version__}, by the alpha/beta rule of "
        f"Zhang and Pan (2019)."
    )


def _code(label: Any) -> str:
    return f"`{label.item()!r}`" if hasattr(label, "item") else f"`{label!r}`"


def _training(detector: EventDetector) -> str:
    posts = detector.out_of_fold_
    tested = posts[posts["fold"] >= 0]
    lines = [
        f"{len(posts):,} posts, of them {int(posts['event'].sum()):,} events "
        f"({posts['event'].mean():.1%})",
        f"{posts['group'].nunique():,} groups of posts that belong together, "
        f"duplicates among them",
        f"{len(tested):,} posts tested by a fold: "
        f"{int(tested['p_text'].notna().sum()):,} with a text probability, "
        f"{int(tested['p_image'].notna().sum()):,} with one of an image",
        f"SHA-256 of texts, images and labels: `{detector.data_hash_}`",
    ]
    return _bullets(lines)


def _rule(detector: EventDetector) -> str:
    alpha, beta = detector.alpha_, detector.beta_
    pooled = _POOLED[detector.pool_]
    if detector.image_ is None:
        rows = [("has text", "p_text"), ("has no text", "0, never an event")]
    elif detector.text_ is None:
        rows = [
            ("has a usable image", f"{beta:.4g} × p_image"),
            ("has none", "0, never an event"),
        ]
    else:
        both = f"{beta:.4g} × (p_text + {alpha:.4g} × p_image) / {1 + alpha:.4g}"
        rows = [
            ("has text and a usable image", both),
            ("has text only", "p_text"),
            ("has a usable image only", f"{beta:.4g} × p_image"),
            ("has neither", "0, never an event"),
        ]
    reached = f"where its score reaches **{detector.threshold_:.4g}**"
    if budget := budget_of(detector.policy_):
        reached = f"if its score is among the {budget:,} highest of its table"
    lines = [
        f"A post is an event {reached} (policy: {detector.policy_!r}).",
        _table(("a post that", "score"), rows),
    ]
    if detector.stages_ is not None:
        lines.append(_stages_in_words(detector.stages_))
    if detector.image_ is not None:
        lines.append(f"p_image is {pooled}.")
    if detector.image_ is not None and detector.text_ is not None:
        lines.append(
            f"alpha = {alpha:.4g}: where a post has both, its images count "
            f"{alpha / (1 + alpha):.0%} and its text {1 / (1 + alpha):.0%}. "
            + _beta_in_words(detector)
        )
    return "\n\n".join(lines)


def _stages_in_words(stages: TwoStageRule) -> str:
    first, second, text = stages.first, stages.second, "a second text probability"
    if stages.mix is not None:
        text += f" (by logistic regression with: {', '.join(stages.mix.features)})"
    return (
        f"That is the score of stage 1. Where it reaches {first.threshold:.4g}, stage "
        f"2 judges the post: with {text} in the place of p_text, "
        f"alpha = {second.alpha:.4g} and beta = {second.beta:.4g} its score s is "
        f"counted as 1 + s / (1 + s). Elsewhere stage 1's score is divided by that "
        f"threshold, and is below 1."
    )


def _beta_in_words(detector: EventDetector) -> str:
    if not detector.beta_identified_:
        return "beta = 1, fixed: too few posts have images, or none, to learn it from."
    return (
        f"beta = {detector.beta_:.4g}: what a score with images is multiplied by, to "
        f"be compared with one of text alone."
    )


def _estimate(detector: EventDetector) -> str:
    estimate = detector.estimate_
    if estimate is None:
        return "No estimate was made: how well it does on other posts is not known."
    parts = [estimate._heading().replace("\n", ": ", 1) + "."]
    of_fit = plain_policy(detector.policy)
    if detector.policy_ != of_fit:
        parts.append(
            f"These figures are of the policy {of_fit!r}; the threshold above "
            f"was chosen later, by {detector.policy_!r}."
        )
    for title, frame in estimate._sections():
        parts += [f"### {title}", _frame(frame)]
    if estimate.notes:
        parts += ["### Notes", _bullets(estimate.notes)]
    return "\n\n".join(parts)


def _branches(detector: EventDetector, encoders: list[dict[str, Any]]) -> str:
    used = (
        *(detector.text_, detector.image_),
        *(detector.second_stage_, detector.second_stage_image_),
    )
    parts = [
        _bullets(
            f"`{name}`: {type(branch).__name__}"
            + ("" if any(branch is one for one in used) else ", not chosen")
            for name, branch in detector.branches_.items()
        )
    ]
    if not encoders:
        return "\n\n".join([*parts, "They need no pretrained encoder."])
    copied = all(encoder["folder"] for encoder in encoders)
    parts.append(
        "All encoders are in this folder."
        if copied
        else "Encoders that are not copied to this folder are looked for under these "
        "names, and their weights are compared with the hash."
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
        if encoder["folder"]:
            lines.append(f"copied to `{encoder['folder']}`")
        parts.append("- " + "\n  - ".join(lines))
    return "\n\n".join(parts)


def _limits(detector: EventDetector) -> str:
    lines = [
        "The figures above hold for posts that are drawn as the training posts were. "
        "For another period, place, platform, language or kind of event, code a sample "
        "by hand and evaluate on it.",
        "Precision and F1 fall where events are rarer than among the training posts.",
        "A score is no probability, and the share of flagged posts no estimate of the "
        "share of events.",
        "`out_of_fold.parquet` holds the ids and labels of the training posts, and "
        "`training_keys.txt` hashes of their ids, texts and images: think of it before "
        "you share the folder.",
    ]
    if detector.text_ is not None and detector.image_ is not None:
        lines.insert(
            2,
            "A post whose images cannot be read is judged by its text alone; the audit "
            "says so.",
        )
    return _bullets(lines)


_USE = """\
```python
import mmevent

detector = mmevent.load("path/to/this/folder")
detector.audit([{"text": "Thousands marched today", "images": ["photo.jpg"]}])
```

or, from the command line, `mmevent predict path/to/this/folder posts.csv -o out.csv`.

`manifest.json` holds the SHA-256 of every other file, and a folder in which one was
changed is not loaded. No file here is a pickle, and loading runs no code from here."""


def _bullets(lines: Iterable[str]) -> str:
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
