"""Plain sentences at the top of an estimate: what is not shown to be of use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmevent.evaluation.baselines import BOTH, FUSED, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mmevent.evaluation.estimate import Estimate

    Gains = Mapping[str, Sequence[float]]

NEARLY_ALL = 0.9  # share of the posts without an event that a detector flags
_PARTS = {
    "text only": ("The images", "are", "the texts"),
    "image only": ("The texts", "are", "the images"),
    FUSED: ("The second stage", "is", "the first stage"),
}
"""What stands against a baseline: what the detector has besides, and what is left."""


def verdicts(estimate: Estimate) -> list[str]:
    """Return a sentence for the detector and each part that is not shown to be of use.

    The detector is compared with flagging every post, and its parts with the detector
    without them, by the paired 95% interval of the difference in F1. An interval that
    reaches 0 or below shows no gain. That is not the same as no gain: the interval may
    be wide. Of a detector that is not better than flagging every post, the parts are
    not judged.

    Parameters
    ----------
    estimate : Estimate
        Figures of the detector, and of its baselines.

    Returns
    -------
    list of str
        Empty if the detector and all of its parts are shown to be of use.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.evaluation.verdicts import verdicts
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, cv=2, inner_cv=2,
    ...                          n_trials=10, random_state=0)
    >>> for sentence in verdicts(detector.fit(posts, y).estimate_):
    ...     print(sentence)
    The images are not shown to add to the texts: F1 minus that of the texts alone ...
    """
    rows = estimate.differences[["difference", "low", "high"]].to_numpy(dtype=float)
    gains = dict(zip(estimate.differences["baseline"], rows, strict=True))
    if "flag all" not in gains:
        return []
    said = list(_of_detector(estimate, gains["flag all"]))
    if gains["flag all"][1] > 0:
        said += _of_parts(estimate, gains)
    return said


def _of_detector(estimate: Estimate, gain: Sequence[float]) -> Iterator[str]:
    """Yield a sentence if the detector is not shown to be better than flagging all."""
    table = estimate.to_frame()
    row, everything = table.loc[whole(set(table.index))], table.loc["flag all"]
    n_posts, n_events = int(row["n_posts"]), int(row["n_events"])
    if n_events in (0, n_posts):
        kind = "is an event" if n_events else "is without an event"
        yield (
            f"Each of the {n_posts:,} posts {kind}: they cannot show whether this "
            f"detector is better than flagging every post."
        )
        return
    if row["n_flagged"] == 0:
        yield f"This detector flags none of the {n_posts:,} posts: it finds no event."
        return
    n_others = n_posts - n_events
    rate = (row["n_flagged"] - row["recall"] * n_events) / n_others
    flags = f"flags {rate:.0%} of the {n_others:,} posts without an event"
    if gain[1] > 0:
        if rate >= NEARLY_ALL:
            yield f"This detector {flags}: it hardly tells them from events."
        return
    but = f"it {flags}"
    if row["precision_low"] > everything["precision"]:
        but = (
            f"but {row['precision']:.0%} of what it flags are events, and "
            f"{everything['precision']:.0%} of all posts"
        )
    yield (
        f"By F1, this detector is not shown to be better than flagging every post: "
        f"{row['f1']:.3f} against {everything['f1']:.3f}, difference {_signed(gain)}; "
        f"{but}."
    )


def _of_parts(estimate: Estimate, gains: Gains) -> Iterator[str]:
    """Yield a sentence for each part that adds nothing that could be shown."""
    has_both = {"text only", "image only"} <= gains.keys()
    two_stages = BOTH in set(estimate.table["system"])
    for baseline, (part, verb, rest) in _PARTS.items():
        if baseline not in gains or not (has_both or baseline == FUSED):
            continue
        gain = gains[baseline]
        if gain[1] > 0:
            continue
        if two_stages and baseline != FUSED:
            part, verb = f"{part} and the second stage together", "are"
        yield (
            f"{part} {verb} not shown to add to {rest}: F1 minus that of {rest} alone "
            f"is {_signed(gain)}."
        )


def _signed(gain: Sequence[float]) -> str:
    value, low, high = gain
    if np.isnan(low):
        return f"{value:+.3f}, without an interval"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
