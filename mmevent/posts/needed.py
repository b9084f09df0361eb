"""The columns that a detector needs, checked before posts are read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from mmevent._common import warn_user
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.naming import meant, near_columns
from mmevent.posts.records import check_columns, column, listed, to_frame

_LOOKED_AT = 1000  # cells that tell whether a column is nested


def check_needed(
    posts: Any,
    columns: Mapping[str, Hashable] | None,
    needed: Mapping[str, str],
    *,
    for_fit: bool = False,
) -> None:
    """Validate that posts have the columns that a detector needs.

    A column whose cells are all empty is there: it says that no post has any. Posts
    of which only some lack a key have it as well. Mappings to predict, such as
    ``[{"text": "They march"}]``, may all lack a key where they have another one that
    is needed, and none of theirs may be meant. A table to predict may lack images
    where it has texts, after a warning, since the rule of a detector provides for it.

    Parameters
    ----------
    posts : DataFrame, sequence of mappings or datasets.Dataset
        As the caller gave them.
    columns : mapping or None
        From our names to the caller's.
    needed : mapping of str to str
        The columns that are needed, by our names, with what to do where no post has
        any: the end of the message.
    for_fit : bool, default=False
        Whether a detector is to learn from the posts.
    """
    theirs = check_columns(columns)
    frame, came = to_frame(posts, [])
    if not came and not len(frame):
        return
    is_list = not for_fit and isinstance(posts, list | tuple)
    may_lack = is_list and any(theirs[name] in came for name in needed)
    has_text = "text" in needed and theirs["text"] in came
    for name, way_out in needed.items():
        if (wanted := theirs[name]) in came:
            continue
        near = near_columns(name, came) or near_columns(wanted, came)
        if not near and (may_lack or (name == "images" and has_text and not for_fit)):
            if not is_list:
                warn_user(
                    f"posts have no column {wanted!r}: they are judged by their text "
                    f"alone.",
                    UnusableInputWarning,
                )
            continue
        nested = [one for one in near if _is_nested(posts, one)]
        hint = meant(name, near)
        if nested and name == "images":
            hint += (
                f" {listed(nested)} holds nested values, not paths: mmevent "
                f"import-posts turns the export of a platform into a table."
            )
        raise InputError(
            f"posts have no column {wanted!r}, which the detector needs: expected it "
            f"among the columns that came, {listed(came)}.{hint} Name yours with "
            f'columns={{"{name}": ...}}; or, {way_out}.'
        )


def _is_nested(posts: Any, name: Hashable) -> bool:
    """Return whether cells of a column are mappings or lists of them."""
    frame, _ = to_frame(posts, [name])
    for cell in column(frame, name).head(_LOOKED_AT):
        one = cell[0] if isinstance(cell, list) and cell else cell
        if isinstance(one, Mapping) and not {"bytes", "path"} & set(one):
            return True
    return False
