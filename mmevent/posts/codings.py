"""Exports of tools that people code with: one record for each post and coder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from mmevent.posts.exports import (
    Items,
    Record,
    as_mapping,
    mappings,
    new_record,
    several,
)

NO_POST_ID = "codings without post_id: their ids may be the tool's own numbers"
"""What is counted where an id may not be that of a post."""


def from_label_studio(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the codings of Label Studio's JSON or JSON-MIN.

    The labels are in columns of the names that the labelling configuration gives them.
    """
    for task in mappings(items, seen):
        if "data" not in task:  # JSON-MIN
            flat = {
                name: _label(value) if isinstance(value, dict | list) else value
                for name, value in task.items()
                if name not in ("images", "image")
            }
            yield _coding(task | flat, task.get("annotator"), seen)
            continue
        data = as_mapping(task["data"])
        done = [one for one in several(task.get("annotations")) if not _skipped(one)]
        for annotation in done or [{}]:
            labels = {
                one["from_name"]: _label(one.get("value"))
                for one in several(annotation.get("result"))
                if "from_name" in one
            }
            by = annotation.get("completed_by")
            coder = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
            yield _coding({"id": task.get("id")} | data | labels, coder, seen)


def from_doccano(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the codings of doccano's JSON Lines, of texts or of pictures."""
    for item in mappings(items, seen):
        meta = as_mapping(item.get("meta"))
        label = item.get("label", item.get("labels"))
        found = item | meta | {"label": _label(label)}
        if "filename" in item:
            found["images"] = item["filename"]
        found["text"] = item.get("text") or item.get("data")
        yield _coding(found, item.get("username") or item.get("annotator"), seen)


TOOLS: dict[str, Callable[[Items, Counter[str]], Iterator[Record]]] = {
    "labelstudio": from_label_studio,
    "doccano": from_doccano,
}
"""What reads the JSON of a tool, by its name."""


def _skipped(annotation: Record) -> bool:
    return bool(annotation.get("was_cancelled"))


def _coding(found: Record, coder: Any, seen: Counter[str]) -> Record:
    seen[NO_POST_ID] += "post_id" not in found
    images = found.get("images", found.get("image"))
    return new_record(
        found,
        id=found.get("post_id", found.get("id")),
        images=images if isinstance(images, list) else [images],
        coder=None if coder is None else str(coder),
    )


def _label(value: Any) -> Any:
    """Return what was chosen: one label, or several with "|" between them."""
    if isinstance(value, dict):
        names = ("choices", "rating", "number", "text", "labels", "taxonomy")
        value = next((value[name] for name in names if name in value), None)
    if not isinstance(value, list):
        return value
    return "|".join(map(str, value)) or None
