"""Arguments and options of the commands, with their help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent._console import within
from mmevent._new_branches import PROBE, ZERO_SHOT, trained

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = click.Path(path_type=Path)


def _column(our_name: str, meaning: str, flag: str | None = None) -> Any:
    flag = flag or f"--{our_name.replace('_', '-')}-column"
    destination = f"column_{our_name}"
    return click.option(flag, destination, metavar="COLUMN", help=meaning)


_TEXT = _column("text", "Column of the texts.  [default: text]")
_IMAGES = _column(
    "images",
    'Column of the image paths, "|" between several in one cell.  [default: images]',
)
_ID = _column("id", "Column of the ids, each once.  [default: id, else row numbers]")
_CREATED_AT = _column(
    "created_at",
    "Column of the times, in ISO 8601; for --forward-in-time.  [default: created_at]",
)
_GROUP = _column(
    "group",
    "Column of what belongs together (an author, an event): posts of one group are "
    "never split between training and test. Duplicates are found by themselves.  "
    "[default: group, if there is one]",
    "--group",
)
_IMAGE_ROOT = click.option(
    "--image-root",
    type=_PATH,
    metavar="FOLDER",
    help="Folder that image paths start from; nothing outside it is opened.  "
    "[default: the table's own folder]",
)
_OUTSIDE = click.option(
    "--allow-outside-root", is_flag=True, help="Open images outside that folder too."
)
_LOCAL = click.option(
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
_STAGE_1 = click.option(
    "--stage1-label",
    metavar="COLUMN",
    help="With --second-stage: column of what the first stage is to find, 1 or 0; "
    "empty for posts that it is not to learn from.",
)
_QUIET = click.option(
    "--quiet",
    is_flag=True,
    help="No progress bars and no messages; warnings and errors stay.",
)


_JSON = click.option(
    "--json",
    "json_path",
    type=_PATH,
    metavar="FILE",
    help="Write all figures to this file too.",
)
_OUTPUT_TABLE = click.option(
    "-o",
    "--output",
    required=True,
    type=_PATH,
    metavar="FILE",
    help="Table to write: .csv, .tsv, .parquet or .jsonl. A file of this name is "
    "replaced, once the new one is complete.",
)


def _policy(context: click.Context, parameter: Any, value: str | None) -> Any:
    """Return a policy; a number or a matrix of costs is written as in JSON."""
    from mmevent.decision import check_policy
    from mmevent.exceptions import InputError

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


def examples(*lines: str) -> str:
    """Return the end of a help text."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)])


def takes(options: list[Any]) -> Callable[[Any], Any]:
    """Give a command its arguments and options, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


FIT = [
    click.argument("posts", type=_PATH),
    click.option(
        "--label",
        required=True,
        metavar="COLUMN",
        help="Column of the hand-coded labels, of two classes.",
    ),
    click.option(
        "--positive",
        metavar="VALUE",
        help="The label of an event.  [default: the greater of two numbers, or True]",
    ),
    _GROUP,
    click.option(
        "--text",
        metavar="MODEL|none",
        help="Text encoder: a name on the Hugging Face hub, or a folder; none for no "
        "text.  [default: paraphrase-multilingual-MiniLM-L12-v2]",
    ),
    click.option(
        "--image",
        metavar="MODEL|none",
        help="Image encoder, likewise; none for no images.  "
        "[default: microsoft/resnet-50, or CLIP's ViT-B-32]",
    ),
    click.option(
        "--image-branch",
        type=click.Choice(["classifier", PROBE, ZERO_SHOT]),
        default="classifier",
        help="What judges images. classifier: a classification network; clip-probe: "
        "CLIP's features, with a head that learns from the labels; clip-zero-shot: "
        "CLIP's score by the descriptions of --event, which labels only calibrate.",
    ),
    click.option(
        "--pretrained",
        metavar="TAG",
        help="With a CLIP branch: the weights of a name that open_clip knows.  "
        "[default: laion2b_s34b_b79k]",
    ),
    click.option(
        "--event",
        metavar="NAME",
        help="With clip-zero-shot: the event pack whose descriptions are compared, "
        "such as protest, flood or fire.",
    ),
    click.option(
        "--packs",
        type=_PATH,
        metavar="FILE",
        help="With --event: a file of your own packs, in TOML.",
    ),
    click.option(
        "--train-text",
        callback=trained,
        metavar="head|all|N",
        default="head",
        help="What of the text encoder learns from the labels: head, a classifier on "
        "top of it; all of it; or its last N blocks. The last two take long without a "
        "GPU.",
    ),
    click.option(
        "--train-image",
        callback=trained,
        metavar="head|all|N",
        default="head",
        help="What of the image encoder learns, likewise.",
    ),
    click.option(
        "--epochs",
        type=int,
        callback=within(1),
        default=8,
        metavar="N",
        help="Passes over the posts where an encoder is trained, at most.",
    ),
    _TEXT,
    _IMAGES,
    _ID,
    _CREATED_AT,
    _IMAGE_ROOT,
    _OUTSIDE,
    click.option(
        "--cv",
        type=int,
        callback=within(1),
        default=5,
        metavar="N",
        help="Number of folds that test.",
    ),
    click.option(
        "--inner-cv",
        type=int,
        callback=within(1),
        default=5,
        metavar="N",
        help="Number of folds within a training part, which choose the rule to test.",
    ),
    click.option(
        "--forward-in-time",
        is_flag=True,
        help="Test every fold on posts that are later than those it was trained on.",
    ),
    click.option(
        "--estimate",
        type=click.Choice(["auto", "nested", "cross-fit", "none"]),
        default="auto",
        help="How the out-of-sample figures are made. nested: the rule is chosen "
        "within each training part; cross-fit: quicker, slightly optimistic; auto: "
        "nested, or cross-fit where an encoder is trained; none: no figures.",
    ),
    click.option(
        "--pool",
        type=click.Choice(["auto", "max", "mean", "noisy-or"]),
        default="auto",
        help="How several images of a post become one probability; auto: by search.",
    ),
    click.option(
        "--criterion",
        type=click.Choice(["smooth", "f1"]),
        default="smooth",
        help="What the search maximises: F1 itself, or F1 by a smoothed ROC curve, "
        "which follows single posts less.",
    ),
    click.option(
        "--second-stage",
        type=click.Choice(["off", "on", "auto"]),
        default="off",
        help="Whether a second classifier of texts judges what the first one flags; "
        "auto: where it raises F1.",
    ),
    _STAGE_1,
    click.option(
        "--policy",
        callback=_policy,
        default="f1",
        metavar="POLICY",
        help='How the threshold is chosen: f1, fbeta=2, "precision>=0.9", '
        '"recall>=0.8" (both with 95% confidence), budget=500 (the highest scores '
        "of a table), a number, or costs as [[0, 1], [5, 0]].",
    ),
    click.option(
        "--calibration",
        type=click.Choice(["none", "sigmoid", "isotonic", "isotonic-forced"]),
        default="none",
        help="Add calibrated probabilities, which decide nothing; isotonic needs 1,000 "
        "posts unless it is forced.",
    ),
    click.option(
        "--n-trials",
        type=int,
        callback=within(1),
        default=200,
        metavar="N",
        help="Number of weights of the image that the search tries.",
    ),
    click.option(
        "--seed",
        type=int,
        callback=within(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="Seed of the folds and the search: the same seed gives the same result.",
    ),
    click.option(
        "--jobs",
        type=int,
        callback=within(1),
        default=1,
        metavar="N",
        help="Folds fitted at a time.",
    ),
    _LOCAL,
    click.option(
        "--standalone",
        is_flag=True,
        help="Copy the encoders into the model, so that it needs no other files.",
    ),
    CACHE,
    _QUIET,
    click.option(
        "-o",
        "--output",
        required=True,
        type=_PATH,
        metavar="FOLDER",
        help="Folder of the model: new, or empty.",
    ),
]

EVALUATE = [
    click.argument("folder", type=_PATH),
    click.argument("posts", type=_PATH),
    click.option(
        "--held-out",
        is_flag=True,
        help="POSTS are others than those of the fit: predict them once.",
    ),
    click.option(
        "--drop-seen",
        is_flag=True,
        help="With --held-out: leave out posts that share an id, a text or an image "
        "with those of the fit, instead of refusing the table.",
    ),
    click.option(
        "--seeds",
        type=int,
        callback=within(1),
        default=1,
        metavar="N",
        help="Without --held-out: repeat with the folds of the seeds 0 to N-1.",
    ),
    click.option(
        "--corpus-size",
        type=int,
        callback=within(1),
        metavar="N",
        help="Of a model that flags a budget: number of posts of the corpus that it is "
        "for.",
    ),
    click.option(
        "--by",
        multiple=True,
        metavar="COLUMN",
        help="Figures for each value of this column too; can be given again.",
    ),
    click.option(
        "--prevalence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Share of events in the corpus that the figures are to be for, such as "
        "0.02.",
    ),
    click.option(
        "--label",
        metavar="COLUMN",
        help="Column of the hand-coded labels.  [default: as in fit]",
    ),
    _STAGE_1,
    _GROUP,
    _TEXT,
    _IMAGES,
    _ID,
    _IMAGE_ROOT,
    _OUTSIDE,
    _JSON,
    click.option(
        "--errors",
        type=_PATH,
        metavar="FILE",
        help="Table to write of the posts on which the model is most surely wrong; "
        "beside it a page with their pictures, whose name ends in .html. Both are "
        "replaced if they are there.",
    ),
    click.option(
        "--plots",
        type=_PATH,
        metavar="FOLDER",
        help="New folder for pictures: precision and recall, the threshold, alpha and "
        "beta, calibration, and how F1 grows with the labelled posts.",
    ),
    CACHE,
    _QUIET,
]

PREDICT = [
    click.argument("folder", type=_PATH),
    click.argument("posts", type=_PATH),
    _TEXT,
    _IMAGES,
    _ID,
    _IMAGE_ROOT,
    _OUTSIDE,
    click.option(
        "--policy",
        callback=_policy,
        metavar="POLICY",
        help="Choose the threshold anew, see fit; a number is the threshold.  "
        "[default: the model's own]",
    ),
    click.option(
        "--keep",
        multiple=True,
        metavar="COLUMN",
        help="Copy this column of POSTS into the predictions; can be given again.",
    ),
    CACHE,
    _QUIET,
    _OUTPUT_TABLE,
]

SAMPLE = [
    click.argument("predictions", type=_PATH),
    click.option(
        "-n",
        "--n-posts",
        type=int,
        callback=within(1),
        required=True,
        metavar="N",
        help="Number of posts to draw.",
    ),
    click.option(
        "--seed",
        type=int,
        callback=within(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="Seed: the same one draws the same posts.",
    ),
    click.option(
        "--posts",
        type=_PATH,
        metavar="TABLE",
        help="Table of the posts, whose other columns are written beside the ids.",
    ),
    _column("id", "Column of the ids in --posts.  [default: id, else row numbers]"),
    click.option(
        "--label-studio",
        type=_PATH,
        metavar="FILE",
        help="Write tasks for Label Studio too, in JSON.",
    ),
    _QUIET,
    _OUTPUT_TABLE,
]

AGREEMENT = [
    click.argument("labelled", type=_PATH),
    click.option(
        "--label", required=True, metavar="COLUMN", help="Column of the labels."
    ),
    click.option(
        "--coder",
        required=True,
        metavar="COLUMN",
        help="Column that says who coded; one row a post and coder.",
    ),
    click.option(
        "--scheme",
        metavar="LABELS",
        help='All labels that there are, "|" between them; others are refused.  '
        "[default: those that occur]",
    ),
    click.option(
        "--disagreements",
        type=_PATH,
        metavar="FILE",
        help="Table to write of the posts to adjudicate, with a column for each coder.",
    ),
    _QUIET,
]

ESTIMATE = [
    click.argument("predictions", type=_PATH),
    click.argument("labelled", type=_PATH),
    click.option(
        "--label",
        required=True,
        metavar="COLUMN",
        help="Column of LABELLED: 1 for an event, 0 for others.",
    ),
    click.option(
        "--by", metavar="COLUMN", help="Figures for each value of this column too."
    ),
    click.option(
        "--period",
        type=click.Choice(["day", "week", "month", "year"]),
        help="Figures for each of these too, by the column created_at.",
    ),
    _JSON,
    _QUIET,
]

DEMO = [
    click.option(
        "--n-posts",
        type=int,
        callback=within(200),
        default=800,
        metavar="N",
        help="Number of coded posts to make.",
    ),
    _QUIET,
    click.option(
        "-o",
        "--output",
        type=_PATH,
        default=Path("mmevent-demo"),
        metavar="FOLDER",
        help="Folder for the posts and the model: new, or empty.",
    ),
]

TAG = [
    click.argument("posts", type=_PATH),
    click.option(
        "--image",
        required=True,
        metavar="MODEL",
        help="Image classification model: a name on the Hugging Face hub, or a folder.",
    ),
    click.option(
        "--top",
        type=int,
        callback=within(1),
        default=5,
        metavar="N",
        help="Number of labels an image.",
    ),
    _IMAGES,
    _ID,
    _IMAGE_ROOT,
    _OUTSIDE,
    _LOCAL,
    _QUIET,
    click.option(
        "-o",
        "--output",
        type=_PATH,
        metavar="FILE",
        help="Table to write, a row for each image and label: .csv, .tsv, .parquet or "
        ".jsonl.  [default: none]",
    ),
]
