"""The page of errors: what its words mean, and each post with its pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from string import Template
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.detector.fitted import FittedDetector

__all__ = ["FALSE", "MISSED", "SIDE", "errors_page", "task_of", "words_of"]

MISSED, FALSE = "missed event", "false positive"
SIDE = 160  # pixels of a thumbnail
_APART = ("kind", "text", "images", "id")  # what a card shows elsewhere, or not at all

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Errors of a detector</title>
<style>
body { font: 16px/1.45 system-ui, sans-serif; margin: 1.5em; color: #111; }
h1 { margin: 0 0 .4em; font-size: 1.6em; }
h2 { margin: 1.6em 0 .6em; font-size: 1.25em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3em 1em;
 max-width: 70em; margin: 1em 0; }
dt { font-weight: 600; }
dd { margin: 0; }
.posts { display: grid; gap: 1em; align-items: start;
 grid-template-columns: repeat(auto-fill, minmax(min(100%, 24em), 1fr)); }
article { border: 1px solid #bbb; border-radius: 4px; padding: .7em .9em;
 break-inside: avoid; }
article p { margin: 0 0 .5em; white-space: pre-wrap; overflow-wrap: anywhere; }
article .scores { margin: .5em 0 0; color: #333; font-size: .875em; }
.scores span { margin-right: .6em; white-space: nowrap; }
img { margin: 0 .4em 0 0; vertical-align: bottom; max-width: 100%;
 max-height: ${side}px; }
@media (max-width: 40em) {
 body { margin: .8em; }
 dl { grid-template-columns: 1fr; gap: 0; }
 dd { margin-bottom: .5em; }
}
</style>
<h1>Errors of a detector</h1>
$top
$body
</html>
""")


def task_of(fitted: FittedDetector) -> str:
    """Say in one sentence what the detector was fitted to find."""
    label, name = str(fitted.pos_label), fitted.label_name
    of = "" if name is None else f" in the column “{name}”"
    return f"The task: find posts with the label “{label}”{of}; they are called events."


def words_of(fitted: FittedDetector, threshold: float) -> dict[str, str]:
    """Say what the words of the page mean for this detector."""
    rule, by_case = fitted.rule, fitted.rule.formulas()
    text, image = by_case["text"], by_case["image"]
    score = {
        (True, True): f"For a post with text and images {by_case['both']}; with text "
        f"alone {text}; with images alone {image}; with neither 0.",
        (True, False): f"{text}; 0 for a post without text.",
        (False, True): f"{image}; 0 for a post without a usable image.",
    }[fitted.text is not None, fitted.image is not None]
    words = {
        FALSE: "The detector flags the post, and its label says that it is no event.",
        MISSED: "The label says that it is an event, and the detector does not flag "
        "it.",
        "p_text, p_image": f"Probability of an event from the text, and from the "
        f"images: several are pooled by “{rule.pool}”.",
        "score": score,
        "margin": f"Score minus threshold, which is {threshold:.3f} here. A post is "
        f"flagged if its margin is 0 or more; the further it is from 0, the surer the "
        f"detector.",
        "rule": "What the post was judged by: both (text and images), text, image, or "
        "none.",
    }
    if fitted.stages is not None:
        words["score"] = (
            "Below 1 if the first stage did not flag the post; from 1 to 2 if it did, "
            "and the second stage judged it."
        )
        words["stage"] = "The last stage that judged the post."
        words["p_text_2"] = "Probability from the text classifier of the second stage."
    return words


def errors_page(
    table: pd.DataFrame,
    pictures: Sequence[Sequence[bytes]],
    note: str,
    task: str = "",
    words: Mapping[str, str] | None = None,
) -> str:
    """Return a page of posts, which loads no files, with all content escaped."""
    meanings = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>"
        for word, meaning in (words or {}).items()
    )
    top = [f"<p>{html.escape(text)}</p>" for text in (task, note) if text]
    if meanings:
        top.append(f"<dl>{meanings}</dl>")
    body = []
    for kind in (FALSE, MISSED):
        body.append(f"<h2>{kind.capitalize()}s, largest margins first</h2>")
        cards = [
            _card(table.iloc[i], pictures[i])
            for i in np.flatnonzero(table["kind"] == kind).tolist()
        ]
        body.append(
            f'<div class="posts">{"".join(cards)}</div>' if cards else "<p>None.</p>"
        )
    return _PAGE.substitute(top="\n".join(top), body="\n".join(body), side=SIDE)


def _card(row: pd.Series, pictures: Sequence[bytes]) -> str:
    """Return a post as HTML."""
    shown = [
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
        if name not in _APART and value == value
    ]
    scores = " ".join(f"<span>{html.escape(text)}</span>" for text in shown)
    tags = "".join(
        f'<img alt="picture {place} of the post" '
        f'src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
        for place, picture in enumerate(pictures, start=1)
    )
    identity = html.escape(f"id {row['id']}")
    return (
        f'<article><p dir="auto">{html.escape(str(row["text"])) or "(no text)"}</p>'
        f'{tags}<p class="scores">{identity}<br>{scores}</p></article>'
    )
