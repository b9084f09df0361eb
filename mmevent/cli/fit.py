"""The command `mmevent fit`: from hand-coded posts to a model and its estimate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import pictures, shared
from mmevent.cli.branches import MODELS, RUNTIME, check_models, new_branches
from mmevent.cli.console import Session, show, start_session
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from mmevent.detector import EventDetector
    from mmevent.rule import TwoStageRule

_MEANT: dict[str, dict[str, Any]] = {
    "calibration": {"none": None},
    "estimate": {"none": None},
    "second_stage": {"off": False, "on": True, "auto": "auto"},
}
"""What words of an option mean to a detector, where they mean something else."""
_POOLS = {
    "max": "the image of the highest probability counts",
    "mean": "the mean of their probabilities counts",
    "noisy-or": "1 - the product of (1 - p) over the images counts (noisy-or)",
}

_POSTS = [
    click.argument("posts", type=shared.PATH),
    click.option(
        "--label",
        required=True,
        metavar="COLUMN",
        help="Column of the hand-coded labels, of two classes.",
    ),
    click.option(
        "--positive",
        metavar="VALUE",
        help="The label of an event.  [default: 1 of 0 and 1, or True]",
    ),
    shared.GROUP,
]
_COLUMNS = [
    shared.TEXT,
    shared.IMAGES,
    shared.ID,
    shared.column(
        "created_at",
        "Column of the times, in ISO 8601; for --forward-in-time.  "
        "[default: created_at]",
    ),
    shared.COLUMNS,
    shared.DATE_FORMAT,
    shared.IMAGE_ROOT,
    shared.OUTSIDE,
    shared.ENCODING,
    pictures.TEXT_ONLY,
]
_RULE = [
    shared.whole_number("--cv", default=5, help="Number of folds that test."),
    shared.whole_number(
        "--inner-cv",
        default=5,
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
        "--rule",
        type=click.Choice(["alpha-beta", "stacking"]),
        default="alpha-beta",
        help="How text and images become one score: by the rule of the paper, or by a "
        "logistic regression on both. The other one is among the baselines.",
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
    shared.STAGE_1,
    click.option(
        "--policy",
        callback=shared.parse_policy,
        default="f1",
        metavar="POLICY",
        help='How the threshold is chosen: f1, fbeta=2, "precision>=0.9", '
        '"recall>=0.8" (both with 95% confidence), budget=500 (the highest scores '
        "of a table), a number, or costs as [[0, 1], [5, 0]].",
    ),
    click.option(
        "--calibration",
        type=click.Choice(["none", "sigmoid", "isotonic"]),
        default="none",
        help="Add calibrated probabilities, which decide nothing; isotonic needs 1,000 "
        "posts.",
    ),
    shared.whole_number(
        "--n-trials",
        default=200,
        help="Number of weights of the image that the search tries.",
    ),
    shared.seed(
        "Seed of the folds and the search: the same seed gives the same result."
    ),
    shared.whole_number("--jobs", default=1, help="Number of folds fitted at a time."),
]
OPTIONS = [*_POSTS, *MODELS, *_COLUMNS, *_RULE, *RUNTIME]
"""What every command takes that fits a detector."""
_RESULT = [
    click.option(
        "--standalone",
        is_flag=True,
        help="Copy the encoders into the model, so that it needs no other files.",
    ),
    shared.CACHE,
    shared.QUIET,
    click.option(
        "-o",
        "--output",
        required=True,
        type=shared.PATH,
        metavar="FOLDER",
        help="Folder of the model: new, or empty.",
    ),
]


@click.command(
    epilog=shared.examples(
        "mmevent fit posts.csv --label protest --group author -o model",
        "mmevent fit posts.csv --label code --positive yes \\",
        "    --columns text=tweet,id=tweet_id --image none -o text-model",
    )
)
@shared.takes([*OPTIONS, *_RESULT])
def fit(
    posts: Path, output: Path, quiet: bool, cache_file: str | None, **options: Any
) -> None:
    """Learn a detector from the hand-coded table POSTS.

    It prints how well the detector does on posts that it did not learn from, beside
    simpler ways of doing the same, and what it learned; and writes a model.
    """
    from mmevent.persistence.folder import new_folder
    from mmevent.persistence.objects import check_can_be_saved

    check_models(options)
    new_folder(output)
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector, frame, labels, stage1 = prepare(posts, options, session)
        check_can_be_saved(detector.text, "the text branch")
        check_can_be_saved(detector.image, "the image branch")
        fit_and_save(
            detector,
            frame,
            labels,
            output,
            table=posts,
            y_stage1=stage1,
            standalone=options["standalone"],
        )
        session.say(f"Model written to {output}")
        if detector.image is not None and detector.image_root is None:
            session.say(
                "The images lie outside the folder of the table, and so their place is "
                "not remembered: give --image-root to evaluate and predict too."
            )


def prepare(
    posts: Path, options: dict[str, Any], session: Session
) -> tuple[EventDetector, pd.DataFrame, pd.Series, pd.Series | None]:
    """Return an unfitted detector with the posts and labels that it is to learn from.

    All that can be checked without a model is checked first. The labels of the first
    stage come last.
    """
    frame = session.read(posts)
    shared.check_column(posts, frame, options["label"], "--label")
    labels = frame[options["label"]]
    positive = _event_label(labels, options["positive"])
    columns = shared.name_columns(posts, frame, options)
    if options["forward_in_time"]:
        time = columns.get("created_at", "created_at")
        shared.check_column(posts, frame, time, "--created-at-column")
    shared.read_dates(posts, frame, columns, options["date_format"])
    _look_ahead(frame, posts, options, columns)
    stage1 = shared.stage1_labels(posts, frame, options)
    detector = _new_detector(posts, options, columns, positive, session)
    return detector, frame, labels, stage1


def _event_label(labels: pd.Series, wanted: str | None) -> Any:
    """Validate labels before any image is read; return that of an event, if named."""
    from mmevent.posts.labels import as_labels, check_labels

    try:
        as_labels(labels, len(labels))
        positive = shared.find_label(labels, wanted)
        check_labels(labels, len(labels), positive)
        return positive
    except InputError as error:
        raise InputError(f"in the column {labels.name!r}, {error}") from error


def _look_ahead(
    frame: pd.DataFrame, posts: Path, options: dict[str, Any], columns: dict[str, Any]
) -> None:
    """Validate columns and images before a model is looked for.

    With --allow-text-only, images of which none can be used are left out.
    """
    from mmevent.detector import Reading

    root, outside = _image_root(posts, options), options["allow_outside_root"]
    reading = Reading(columns, root, outside, verbose=False)
    if options["allow_text_only"] and options["image"] != "none":
        if pictures.warn_of_text_only(reading, frame):
            options["image"] = "none"
    texts, images = options["text"] != "none", options["image"] != "none"
    reading.read_for_fit(frame, texts=texts, images=images)


def _image_root(posts: Path, options: Mapping[str, Any]) -> Path:
    root: Path = options["image_root"] or posts.parent
    return root


def _new_detector(
    posts: Path,
    options: Mapping[str, Any],
    columns: dict[str, Any],
    positive: Any,
    session: Session,
) -> EventDetector:
    from mmevent import EventDetector, ForwardInTime

    cv = options["cv"]
    text, image = new_branches(options, verbose=session.progress)
    return EventDetector(
        text=text,
        image=image,
        columns=columns,
        image_root=_image_root(posts, options),
        allow_outside_root=options["allow_outside_root"],
        cv=ForwardInTime(cv) if options["forward_in_time"] else cv,
        inner_cv=options["inner_cv"],
        pool=options["pool"],
        rule=options["rule"],
        criterion=options["criterion"],
        n_trials=options["n_trials"],
        estimate=as_parameter("estimate", options["estimate"]),
        pos_label=positive,
        n_jobs=options["jobs"],
        second_stage=as_parameter("second_stage", options["second_stage"]),
        policy=options["policy"],
        calibration=as_parameter("calibration", options["calibration"]),
        random_state=options["seed"],
        verbose=session.progress,
    )


def as_parameter(name: str, value: Any) -> Any:
    """Return the value of an option as the parameter of the detector takes it."""
    return _MEANT[name].get(value, value) if name in _MEANT else value


def fit_and_save(
    detector: EventDetector,
    frame: pd.DataFrame,
    labels: pd.Series,
    folder: Path,
    *,
    table: Path,
    y_stage1: pd.Series | None = None,
    standalone: bool = False,
) -> None:
    """Fit a detector, write its model folder, and print its estimate and its rule.

    The model remembers the folder of the images as it is seen from that of the table.
    """
    detector.fit(frame, labels, y_stage1=y_stage1)
    shared.show_bars(detector, False)
    root = detector.image_root or table.parent
    detector.image_root = pictures.folder_below(table, root)
    try:
        detector.save(folder, standalone=standalone)
    finally:  # a model that cannot be saved was fitted all the same
        if detector.estimate_ is not None:
            show(f"{detector.estimate_}\n")
        show(rule_in_words(detector))


def rule_in_words(detector: EventDetector) -> str:
    """Say what the numbers, the pooling and the threshold of a detector do."""
    from mmevent.rule.policies import budget_of

    pool = _line("pool", detector.pool_, f"of several images {_POOLS[detector.pool_]}")
    if detector.image_ is None:
        lines = ["  Text only: a post without text is never an event."]
    elif detector.text_ is None:
        lines = [
            "  Images only: a post without a usable image is never an event.",
            pool,
        ]
    else:
        lines = [*(_line(*each) for each in detector.fitted_.meanings()), pool]
    if detector.stages_ is not None:
        lines += _stages(detector.stages_)
    if budget := budget_of(detector.policy_):
        flagged = "a post is an event if its score is among these of its table"
        lines.append(_line("highest", f"{budget:,}", flagged))
    else:
        reached = "a post is an event where its score reaches it"
        lines.append(_line("threshold", f"{detector.threshold_:.3g}", reached))
    return "\n".join(["The rule, fitted on all posts", *lines])


def _stages(stages: TwoStageRule) -> list[str]:
    judged = "from this score on stage 2 judges a post; its score is then 1 to 2"
    return [
        _line("stage 1", f"{stages.first.threshold:.3g}", judged),
        *(
            _line(f"{name} 2", value, meaning)
            for name, value, meaning in stages.second.meanings(beta_identified=True)
        ),
    ]


def _line(name: str, value: str, meaning: str) -> str:
    return f"  {name:<9} {value:<9} {meaning}"
