"""Exports of tools that people code with: one record for each post and coder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmevent.exceptions import InputError
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
_OURS = {"id", "post_id", "text", "images", "image", "annotator", "coder"}


def without_post_ids(what: str) -> InputError:
    """Return the error for an export of Label Studio that lost the posts' ids."""
    return InputError(
        f"{what} is an export of Label Studio without the posts' ids: expected "
        "'post_id' with each coding, which the tasks of mmevent sample have, and got "
        "none. The column 'id' has numbers of Label Studio's own tasks, and the labels "
        "would join to other posts. Export as JSON, where a task keeps what was "
        "imported, or make the tasks again."
    )


def check_questions(names: Iterable[str], data: Mapping[str, Any]) -> None:
    """Refuse questions whose answers would overwrite what the task has of the post.

    Parameters
    ----------
    names : iterable of str
        The names of the questions that were answered.
    data : mapping
        The columns of the task.

    Raises
    ------
    InputError
        If a question has the name of a column that is not empty, or of one of ours.
    """
    filled = {name for name, value in data.items() if value not in ("", None)}
    taken = [name for name in names if name in _OURS | filled]
    if taken:
        raise InputError(
            f"the question {taken[0]!r} of an export of Label Studio has the name of a "
            "column of the posts: expected another name, since the answers would "
            f"overwrite the column, which has {data.get(taken[0])!r}. Rename the "
            "question (name= in the labelling configuration, from_name in the export)."
        )


def from_label_studio(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the codings of Label Studio's JSON or JSON-MIN.

    The labels are in columns of the names that the labelling configuration gives them.
    """
    for task in mappings(items, seen):
        if "data" not in task:  # JSON-MIN, whose id is Label Studio's own
            if "post_id" not in task:
                raise without_post_ids("the file")
            flat = {
                name: _label(value) if isinstance(value, dict | list) else value
                for name, value in task.items()
                if name not in ("images", "image")
            }
            yield _coding(task | flat, task.get("annotator"))
            continue
        data = as_mapping(task["data"])
        if not {"post_id", "id"} & data.keys():
            raise without_post_ids("the file")
        done = [one for one in several(task.get("annotations")) if not _skipped(one)]
        for annotation in done or [{}]:
            labels = {
                str(one["from_name"]): _label(one.get("value"))
                for one in several(annotation.get("result"))
                if "from_name" in one
            }
            check_questions(labels, data)
            by = annotation.get("completed_by")
            coder = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
            yield _coding(data | labels, coder)


def from_doccano(items: Items, seen: Counter[str]) -> Iterator[Record]:
    """Yield the codings of doccano's JSON Lines, of texts or of pictures."""
    for item in mappings(items, seen):
        meta = as_mapping(item.get("meta"))
        label = item.get("label", item.get("labels"))
        found = item | meta | {"label": _label(label)}
        if "filename" in item:
            found["images"] = item["filename"]
        found["text"] = item.get("text") or item.get("data")
        seen[NO_POST_ID] += "post_id" not in found
        yield _coding(found, item.get("username") or item.get("annotator"))


TOOLS: dict[str, Callable[[Items, Counter[str]], Iterator[Record]]] = {
    "labelstudio": from_label_studio,
    "doccano": from_doccano,
}
"""What reads the JSON of a tool, by its name."""


def _skipped(annotation: Record) -> bool:
    return bool(annotation.get("was_cancelled"))


def _coding(found: Record, coder: Any) -> Record:
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
