"""Where the pictures of a table lie, and what to do if none can be used."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import click

from mmevent.exceptions import UnusableInputWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from mmevent.detector import EventDetector, Reading

TEXT_ONLY = click.option(
    "--allow-text-only",
    is_flag=True,
    help="Go on by text alone, instead of refusing the table, where it has no column "
    "of images, or none of its images can be used.",
)


def place_images(
    detector: EventDetector, model: Path, posts: Path, options: Mapping[str, Any]
) -> None:
    """Let image paths start from --image-root, else from where the fit had them.

    That is the folder of the table, or one below it. A model that someone else made
    can name no other.
    """
    from mmevent.persistence.folder import saved_image_root

    root = options["image_root"]
    if root is None:
        kept = saved_image_root(model)
        root = posts.parent
        if kept and _is_below(kept) and _is_folder_in(root / kept, root):
            root /= kept
    detector.image_root = root
    detector.allow_outside_root = options["allow_outside_root"]


def folder_below(posts: Path, root: str | os.PathLike[str]) -> str | None:
    """Return the folder of images as seen from that of the table; None if elsewhere."""
    start, end = os.path.realpath(posts.parent), os.path.realpath(root)
    try:
        path = Path(os.path.relpath(end, start)).as_posix()
    except ValueError:  # another drive
        return None
    return path if _is_below(path) else None


def _is_below(path: str) -> bool:
    """Whether a path leads down from where it starts, on any system."""
    return not any(
        pure.drive or pure.root or ".." in pure.parts
        for pure in (PurePosixPath(path), PureWindowsPath(path))
    )


def _is_folder_in(path: Path, folder: Path) -> bool:
    """Whether a path is a folder within another, links followed."""
    return path.is_dir() and path.resolve().is_relative_to(folder.resolve())


def not_needed(detector: EventDetector, options: Mapping[str, Any]) -> set[str]:
    """Return our names of columns that a table to predict need not have."""
    needed = set(detector.fitted_.needed())
    if options["allow_text_only"]:
        needed.discard("images")
    return {"text", "images", "group", "created_at", "place", "author"} - needed


def warn_of_text_only(reading: Reading, frame: pd.DataFrame) -> bool:
    """Warn where a table has no column of images, or none can be used; say whether."""
    from mmevent._common import warn_user
    from mmevent.posts.usable import why_unusable

    name = (reading.columns or {}).get("images", "images")
    reason: str | None = f"the table has no column {name!r}"
    if name in frame:
        reason = why_unusable([reading.read(frame, {}).images])
    if reason is not None:
        warn_user(f"{reason}: posts are judged by text alone.", UnusableInputWarning)
    return reason is not None


def without_images(detector: EventDetector, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an empty column of images where none can be used."""
    from mmevent.detector import Reading

    reading = Reading.of(detector)
    if detector.image_ is None or not warn_of_text_only(reading, frame):
        return frame
    name = (reading.columns or {}).get("images", "images")
    return frame.assign(**{name: None})
