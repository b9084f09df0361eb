"""Whether any picture of a table can be used, found out before any work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mmevent.exceptions import InputError
from mmevent.posts.images import Images
from mmevent.posts.sources import HOW_TO_DOWNLOAD, unwrap


def check_any_usable(
    parts: Iterable[Images], way_out: str, *, fewest: int = 1, decoding: bool = False
) -> None:
    """Validate that one picture or more can be used, if there are any.

    Parameters
    ----------
    parts : iterable of Images
        The pictures of a table, in one part or in several.
    way_out : str
        How to go on without pictures: the end of the message.
    fewest : int, default=1
        Of fewer pictures than this, all may be unusable.
    decoding : bool, default=False
        Whether a picture must decode. Otherwise it must only be there, which costs
        nothing: what is read here is not read again.

    Raises
    ------
    InputError
        If there are pictures, and none can be used. It shows the first one.
    """
    if reason := why_unusable(parts, fewest=fewest, decoding=decoding):
        raise InputError(f"{reason}. Correct the paths or image_root; or, {way_out}.")


def why_unusable(
    parts: Iterable[Images], *, fewest: int = 1, decoding: bool = True
) -> str | None:
    """Say why no picture can be used; None if one can, or if there are none.

    Pictures are looked at in order until one can be used. That is nearly always the
    first, so that this costs next to nothing.
    """
    counts: Counter[str] = Counter()
    first: Images | None = None
    for images in parts:
        start, size = 0, 1
        while start < len(images):
            some = images[start : start + size]
            if (some.usable if decoding else some.digests != "").any():
                return None
            first = first or some[:1]
            counts.update(some.statuses.tolist())
            start, size = start + size, min(2 * size, 1024)
    if first is None or counts.total() < fewest:
        return None
    reasons = ", ".join(f"{n:,} {status}" for status, n in counts.most_common())
    return (
        f"none of the {counts.total():,} images can be used ({reasons}): expected one "
        f"or more, got {_shown(first)}"
    )


def _shown(image: Images) -> str:
    """Say which picture cannot be used, where it was looked for, and why."""
    source, status = image.sources[0], image.statuses[0]
    path: Any = source.get("path") if isinstance(source, Mapping) else source
    if not isinstance(path, (str, os.PathLike)) or unwrap(source) is not path:
        return f"one without a path, whose status is {str(status)!r}, as the first"
    shown = f"{os.fsdecode(path)!r} as the first, whose status is {str(status)!r}"
    if status == "remote":
        return f"{shown}: {HOW_TO_DOWNLOAD}"
    place = os.path.join(image.root, os.fsdecode(path))
    if status == "outside root" and not place.startswith(("//", "\\\\")):
        return (
            f"{shown}: {place!r} leads to {os.path.realpath(place)!r}, and only "
            f"pictures in {str(image.root)!r} are opened, unless allow_outside_root "
            "is set"
        )
    return f"{shown}: it was looked for as {place!r}"
