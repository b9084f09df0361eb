"""What several commands share: options, the columns of a table, labels, devices."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd

    from mmevent.detector import EventDetector

PATH = click.Path(path_type=Path)

COLUMN_OPTIONS = {
    "text": "--text-column",
    "images": "--images-column",
    "id": "--id-column",
    "created_at": "--created-at-column",
    "group": "--group",
}
"""The option that names the caller's column, by our name of the column."""


_ENCODING = "mmevent.encoding"


def examples(*lines: str) -> str:
    """Return the end of a help text."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def takes(options: Iterable[Any]) -> Callable[[Any], Any]:
    """Give a command its arguments and options, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(list(options)):
            command = option(command)
        return command

    return add


def refuse(message: str) -> NoReturn:
    """Refuse options that do not go together, and name the command's help."""
    raise click.UsageError(message, click.get_current_context())


def within(
    least: float, most: float = math.inf
) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a check of an option's number, whose help does not repeat the bounds."""

    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and not least <= value <= most:
            upper = "or more" if most == math.inf else f"to {most}"
            raise click.BadParameter(
                f"expected {least} {upper}, got {value}.", context, parameter
            )
        return value

    return check


def whole_number(
    *flags: str, least: int = 1, most: float = math.inf, **given: Any
) -> Any:
    """Return an option that takes a whole number."""
    return click.option(
        *flags, type=int, callback=within(least, most), metavar="N", **given
    )


def column(our_name: str, meaning: str) -> Any:
    """Return the option that names the caller's column."""
    flag, destination = COLUMN_OPTIONS[our_name], f"column_{our_name}"
    return click.option(flag, destination, metavar="COLUMN", help=meaning)


def seed(meaning: str) -> Any:
    """Return the option --seed."""
    return whole_number("--seed", least=0, most=2**32 - 1, default=0, help=meaning)


def _keep_encoding(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> None:
    """Validate --encoding, and keep it for all tables that the command reads."""
    from mmevent.tables.encodings import check_encoding

    if value is not None:
        check_encoding(value)
        context.meta[_ENCODING] = value


def named_encoding() -> str | None:
    """Return what --encoding names, if it was given."""
    context = click.get_current_context(silent=True)
    return context.meta.get(_ENCODING) if context is not None else None


def parse_policy(context: click.Context, parameter: Any, value: str | None) -> Any:
    """Return a policy; a number or a matrix of costs is written as in JSON."""
    from mmevent.rule.policies import check_policy

    if value is None:
        return None
    try:
        policy = json.loads(value)
    except ValueError:
        policy = value
    try:
        check_policy(policy)
    except InputError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    return policy


def parse_columns(
    context: click.Context, parameter: click.Parameter, given: Iterable[str]
) -> dict[str, str]:
    """Return the columns that --columns names, by our name of them."""
    named: dict[str, str] = {}
    if not given:
        return named
    from mmevent.posts import POST_COLUMNS

    for part in ",".join(given).split(","):
        ours, equals, yours = (word.strip() for word in part.partition("="))
        if ours not in POST_COLUMNS or not yours:
            raise click.BadParameter(
                f"expected OURS=YOURS with ours among {', '.join(POST_COLUMNS)}, got "
                f"{part!r}. A name with a comma in it goes into an option of its own, "
                f"such as --text-column.",
                context,
                parameter,
            )
        if named.setdefault(ours, yours) != yours:
            raise click.BadParameter(
                f"{ours} is named twice, {named[ours]!r} and {yours!r}.",
                context,
                parameter,
            )
    return named


TEXT = column("text", "Column of the texts.  [default: text]")
IMAGES = column(
    "images",
    'Column of the image paths, "|", ";" or "," between several in one cell.  '
    "[default: images]",
)
ID = column("id", "Column of the ids, each once.  [default: id, else row numbers]")
GROUP = column(
    "group",
    "Column of what belongs together (an author, an event): posts of one group are "
    "never split between training and test. Duplicates are found without it.  "
    "[default: group, if there is one]",
)
COLUMNS = click.option(
    "--columns",
    multiple=True,
    callback=parse_columns,
    metavar="OURS=YOURS,...",
    help="Your columns by our names, such as text=body,images=media: the same as the "
    "single options, and also for place and author.",
)
DATE_FORMAT = click.option(
    "--date-format",
    metavar="FORMAT",
    help="How the times are written, where they are not in ISO 8601: codes such as "
    "%d/%m/%Y, or unix, unix-ms (since 1970) or excel (day numbers).",
)
IMAGE_ROOT = click.option(
    "--image-root",
    type=PATH,
    metavar="FOLDER",
    help="Folder, or zip, that image paths start from; nothing outside it is opened.  "
    "[default: the table's own folder]",
)
OUTSIDE = click.option(
    "--allow-outside-root", is_flag=True, help="Open images outside that folder too."
)
STAGE_1 = click.option(
    "--stage1-label",
    metavar="COLUMN",
    help="With --second-stage: column of what the first stage is to find, 1 or 0; "
    "empty for posts that it is not to learn from.",
)
DEVICE = click.option(
    "--device",
    metavar="NAME",
    help="Where encoders run: cpu, cuda, cuda:1, mps, or auto, the first there is of "
    "cuda, mps and cpu.  [default: auto; of a fitted model: as in fit]",
)
DTYPE = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Number format of encoders. bfloat16 is faster where the device computes in "
    "it, and moves scores a little; auto takes it there.  [default: auto]",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["torch", "openvino"]),
    help="Library that runs encoders. openvino is faster on a processor, and needs "
    "the extra of that name.  [default: torch]",
)
BATCH_SIZE = whole_number(
    "--batch-size",
    help="Number of texts or images that an encoder takes at a time.  [default: 32; "
    "of a fitted model: as in fit]",
)
LOCAL = click.option(
    "--local-files-only",
    is_flag=True,
    help="Use only models on this machine, and no network.",
)
CACHE = click.option(
    "--cache",
    "cache_file",
    metavar="FILE|off",
    help="File that keeps embeddings for later runs.  [default: MMEVENT_CACHE, else "
    "~/.cache/mmevent/embeddings.sqlite]",
)
JSON = click.option(
    "--json",
    "json_path",
    type=PATH,
    metavar="FILE",
    help="Write all figures to this file too.",
)
QUIET = click.option(
    "--quiet",
    is_flag=True,
    help="No progress bars and no messages; warnings and errors stay.",
)
ENCODING = click.option(
    "--encoding",
    metavar="NAME",
    callback=_keep_encoding,
    expose_value=False,
    help="Encoding of text tables that are not in UTF-8, such as cp1252 or latin-1.  "
    "[default: none, such a table is refused]",
)
OUTPUT_TABLE = click.option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    metavar="FILE",
    help="Table to write: .csv, .tsv, .csv.gz, .parquet, .jsonl, .json, .xlsx, .dta or "
    ".sav. A file of this name is replaced, once the new one is complete.",
)


def named_columns(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that options name, by our name of them."""
    named = dict(options.get("columns") or {})
    for name, flag in COLUMN_OPTIONS.items():
        single = options.get(f"column_{name}")
        if single is not None and named.setdefault(name, single) != single:
            refuse(f"{flag} {single} and --columns {name}={named[name]} disagree.")
    return named


def name_columns(
    path: Path,
    frame: pd.DataFrame,
    options: Mapping[str, Any],
    remembered: Mapping[str, Any] | None = None,
    *,
    optional: Iterable[str] = (),
) -> dict[str, Any]:
    """Return our names to the table's columns, from options and an earlier fit.

    Columns that are `optional` are left out where the table does not have them.
    """
    given = named_columns(options)
    kept = {
        name: value
        for name, value in (remembered or {}).items()
        if value in frame or name not in optional
    }
    columns = kept | given
    for name, value in columns.items():
        single = f"column_{name}" in options
        option = COLUMN_OPTIONS[name] if single else f"--columns {name}={value}"
        check_column(path, frame, value, option)
    return columns


def check_column(path: Path, frame: pd.DataFrame, column: str, option: str) -> None:
    """Validate that the table has a column."""
    from mmevent.posts.naming import meant

    if column not in frame:
        raise InputError(
            f"{str(path)!r} has no column {column!r}: expected it among "
            f"{_listed(frame.columns)}.{meant(column, frame)} Correct {option}."
        )


def read_dates(
    path: Path,
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    date_format: str | None,
) -> None:
    """Write the times of the table in ISO 8601, if --date-format says how to read."""
    from mmevent.posts.times import to_iso

    if date_format is None:
        return
    name = columns.get("created_at", "created_at")
    check_column(path, frame, name, "--date-format, which reads that column")
    ids = frame.get(columns.get("id", "id"), range(len(frame)))
    frame[name] = to_iso(frame[name], date_format, ids)


def stage1_labels(
    path: Path, frame: pd.DataFrame, options: Mapping[str, Any]
) -> pd.Series | None:
    """Return the labels of the first stage, if --stage1-label names them."""
    name = options["stage1_label"]
    if name is None:
        return None
    check_column(path, frame, name, "--stage1-label")
    return frame[name]


def find_label(labels: pd.Series, wanted: str | None) -> Any:
    """Return the label that stands for an event, in the type of the column.

    It is None where the labels say it themselves, as 0 and 1 do.
    """
    if wanted is None:
        return None
    known = list(dict.fromkeys(labels.dropna().tolist()))
    for value in known:
        if str(value) == wanted or _same_number(value, wanted):
            return value
    raise InputError(
        f"--positive {wanted} is no label of the column {labels.name!r}: expected one "
        f"of {_listed(known[:5])}. Name one of them."
    )


def _same_number(value: Any, wanted: str) -> bool:
    try:
        return not isinstance(value, str) and float(value) == float(wanted)
    except ValueError:
        return False


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(repr, values)) or "none"


def show_bars(detector: EventDetector, shown: bool) -> None:
    """Switch the progress bars of a detector, of its branches and encoders."""
    detector.verbose = shown
    for part in _parts(detector):
        if type(part).__module__.startswith("mmevent.") and hasattr(part, "verbose"):
            part.verbose = shown


def set_runtime(detector: EventDetector, options: Mapping[str, Any]) -> None:
    """Let --device and --batch-size replace what a model was fitted with."""
    names = ("device", "batch_size")
    given = {name: options[name] for name in names if options[name] is not None}
    if not given:
        return
    from mmevent import ClipEncoder, ImageEncoder, TextEncoder
    from mmevent.branches.base import EncodedClassifier

    for part in list(_parts(detector)):
        if isinstance(part, EncodedClassifier) and isinstance(part.encoder, str):
            part.encoder = part.named_encoder(part.encoder)  # for a fit to come
    kinds = (TextEncoder, ImageEncoder, ClipEncoder)
    encoders = [part for part in _parts(detector) if isinstance(part, kinds)]
    if not encoders:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(
            f"{flags} would change nothing: expected a model with a pretrained "
            f"encoder, got one without. Leave it out."
        )
    for encoder in encoders:
        encoder.set_params(**given)


def _parts(detector: EventDetector) -> Iterator[Any]:
    """Yield all that the branches of a detector are made of, fitted and unfitted."""
    from mmevent._walk import walk

    branches = getattr(detector, "branches_", {})
    return walk([detector.text, detector.image, detector.second_stage, branches])
