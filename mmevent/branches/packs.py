"""Event packs: what pictures of an event look like, and what looks like it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmevent._common import expanded
from mmevent.branches.prompts import DEFAULT_TEMPLATES, check_prompts, check_templates
from mmevent.encoders.clip import near
from mmevent.exceptions import InputError

__all__ = ["EventPack", "event_packs"]

_OWN = Path(__file__).with_name("event_packs.toml")
_NEEDED, _OPTIONAL = {"positive", "contrast"}, {"templates"}


class Prompts(NamedTuple):
    """What pictures are compared with."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True)
class EventPack:
    """Prompts for one event.

    Attributes
    ----------
    positive : tuple of str
        Descriptions of pictures of the event.
    contrast : dict of str to str
        Descriptions of pictures that look like the event and are none, each with the
        reason for it: why it could be taken for the event, and what tells them apart.
    templates : tuple of str
        Sentences that each description is put into, in place of ``{}``.

    See Also
    --------
    event_packs : Reads them.

    Examples
    --------
    >>> from mmevent import event_packs
    >>> event_packs()["fire"].contrast["a barbecue"]
    'flames and smoke under a grill, wanted and under control'
    """

    positive: tuple[str, ...]
    contrast: dict[str, str]
    templates: tuple[str, ...]


def event_packs(path: str | os.PathLike[str] | None = None) -> dict[str, EventPack]:
    """Read event packs, ours or those of a file of your own.

    Parameters
    ----------
    path : path or None, default=None
        A file in TOML: one table an event, with the lists ``positive`` and, if you
        like, ``templates``, and the table ``contrast`` of prompts with their reasons.
        None for the file that comes with mmevent.

    Returns
    -------
    dict of str to EventPack
        By the name of the event.

    Raises
    ------
    InputError
        If the file is not there, or is not such a file.

    See Also
    --------
    ClipZeroShotClassifier : Scores pictures by a pack.

    Examples
    --------
    >>> from mmevent import event_packs
    >>> packs = event_packs()
    >>> sorted(packs)
    ['fire', 'flood', 'protest']
    >>> packs["flood"].positive[0]
    'a flooded street'
    """
    file = _OWN if path is None else expanded(path)
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the event packs {str(file)!r} cannot be read: expected a file in TOML, "
            f"got: {reason}. Begin with a copy of {_OWN.name}, which comes with "
            f"mmevent."
        ) from error
    if not tables:
        raise _unfit(file, "the file", "at least one event", "none")
    return {name: _pack(file, name, table) for name, table in tables.items()}


def choose_prompts(
    event: object, negative: object, templates: object, packs: Any
) -> Prompts:
    """Return what a classifier's parameters mean: of a pack, or the caller's own."""
    usual: object = DEFAULT_TEMPLATES
    if isinstance(event, str):
        known = event_packs(packs)
        if event not in known:
            raise InputError(
                f"event={event!r} is no event pack: expected one of its names, "
                f"{near(event, known)}, or a list of descriptions. Correct the name; "
                f"for a description of your own, write [{event!r}], and a contrast to "
                f"it in negative=."
            )
        pack = known[event]
        positive, usual = pack.positive, pack.templates
        negative = list(pack.contrast) if negative is None else negative
    else:
        positive = check_prompts("event", event)
    if negative is None:
        raise InputError(
            f"event={event!r} has no contrast: expected descriptions of what looks "
            f"like the event and is none, got negative=None. An image is always near "
            f"to the only description that there is, and no cosine says by itself "
            f"where an event begins. Write for example negative=['a parade', "
            f"'a concert crowd']."
        )
    return Prompts(
        positive,
        check_prompts("negative", negative),
        check_templates(usual if templates is None else templates),
    )


def _pack(file: Path, name: str, table: Any) -> EventPack:
    keys = set(table) if isinstance(table, Mapping) else set()
    if not _NEEDED <= keys <= _NEEDED | _OPTIONAL:
        wanted = "a table with positive, contrast and, if you like, templates"
        raise _unfit(file, name, wanted, ", ".join(sorted(keys)) or repr(table))
    contrast = table["contrast"]
    reasons: list[Any] = [None]
    if isinstance(contrast, Mapping):
        reasons = list(contrast.values())
    if not all(isinstance(reason, str) and reason.strip() for reason in reasons):
        wanted = "a table of prompts, each with its reason"
        raise _unfit(file, f"{name}.contrast", wanted, repr(contrast))
    return EventPack(
        positive=check_prompts(f"{name}.positive", table["positive"]),
        contrast=dict(
            zip(check_prompts(f"{name}.contrast", list(contrast)), reasons, strict=True)
        ),
        templates=check_templates(table.get("templates", DEFAULT_TEMPLATES)),
    )


def _unfit(file: Path, what: str, wanted: str, found: str) -> InputError:
    return InputError(
        f"{what} in the event packs {str(file)!r} does not fit: expected {wanted}, got "
        f"{found}. See {_OWN.name}, which comes with mmevent, for the form."
    )
