"""The commands; each calls the Python API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mmevent
from mmevent._console import (
    OneLineGroup,
    Session,
    check_apart,
    check_column,
    find_label,
    name_columns,
    named_columns,
    show_bars,
    start_session,
    write_text,
)
from mmevent._corpus_tools import agreement, estimate, sample
from mmevent._options import DEMO, EVALUATE, FIT, PREDICT, examples, takes
from mmevent._report_tools import check_report, write_report
from mmevent._tools import cache, tag
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.detector import EventDetector

__all__ = ["main"]

_CHUNK = 500  # posts audited at a time: what bounds memory, and moves the bar
_SECOND_STAGE: dict[str, Any] = {"off": False, "on": True, "auto": "auto"}


@click.group(
    "mmevent",
    cls=OneLineGroup,
    epilog=examples(
        "mmevent demo",
        "mmevent fit posts.csv --label protest -o model",
        "mmevent evaluate model posts.csv --seeds 5",
        "mmevent predict model uncoded.csv -o predictions.csv",
    ),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 90,
        "show_default": True,
    },
)
@click.version_option(mmevent.__version__, prog_name="mmevent")
def main() -> None:
    """Find posts about an event from their text and images.

    Hand-coded posts go in as a table; `fit` learns a detector from them and says how
    well it does on posts that it did not learn from; `predict` then says of every
    uncoded post whether it is about an event, and why.

    Tables are CSV, TSV, Parquet or JSON Lines, by the end of their name. Figures go to
    the standard output, messages and progress bars to the standard error. Exit code 0:
    done; 1: failed; 2: wrong use, or input that cannot be used.
    """


@main.command(
    epilog=examples(
        "mmevent fit posts.csv --label protest --group author -o model",
        "mmevent fit posts.csv --label code --positive yes --text-column tweet \\",
        "    --images-column pictures --image none -o text-model",
    )
)
@takes(FIT)
def fit(
    posts: Path, output: Path, quiet: bool, cache_file: str | None, **options: Any
) -> None:
    """Learn a detector from the hand-coded table POSTS.

    It prints how well the detector does on posts that it did not learn from, beside
    simpler ways of doing the same, and what it learned; and writes a model.
    """
    from mmevent._folder import new_folder

    new_folder(output)
    with start_session(quiet=quiet, cache=cache_file) as session:
        frame = session.read(posts)
        check_column(posts, frame, options["label"], "--label")
        labels = frame[options["label"]]
        positive = find_label(labels, "--label", options["positive"])
        _check_labels(labels, positive)
        columns = name_columns(posts, frame, named_columns(options))
        if options["forward_in_time"]:
            time = columns.get("created_at", "created_at")
            check_column(posts, frame, time, "--created-at-column")
        detector = _new_detector(posts, options, columns, positive, session)
        stage1 = _stage1_labels(posts, frame, options)
        _fit_and_save(
            detector, frame, labels, output, options["standalone"], y_stage1=stage1
        )
        session.say(f"Model written to {output}")


@main.command(
    epilog=examples(
        "mmevent evaluate model posts.csv --seeds 5",
        "mmevent evaluate model later.csv --held-out --json later.json",
        "mmevent evaluate model posts.csv --errors errors.csv --plots plots",
    )
)
@takes(EVALUATE)
def evaluate(
    folder: Path, posts: Path, quiet: bool, cache_file: str | None, **options: Any
) -> None:
    """Say how well the model in FOLDER does on the hand-coded table POSTS.

    On the posts of the fit, the whole fit is repeated with other folds, so that each
    post is predicted by a rule that it did not choose. On other posts, --held-out, the
    model predicts each once. Columns are those named in the fit, unless named anew.
    """
    _check_evaluate(options)
    check_report(options, posts)
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector = session.load(folder)
        frame = session.read(posts)
        label = options["label"] or detector.label_name_
        if label is None:
            raise InputError(
                "the model does not know the name of the label column: it was fitted "
                "from Python, without one. Name the column with --label."
            )
        check_column(posts, frame, label, "--label")
        for name in options["by"]:
            check_column(posts, frame, name, "--by")
        held_out = options["held_out"]
        detector.columns = name_columns(
            posts,
            frame,
            named_columns(options),
            detector.columns,
            optional=("group", "created_at") if held_out else (),
        )
        _place(detector, posts, options)
        stage1 = _stage1_labels(posts, frame, options)
        figures = mmevent.evaluate(
            detector,
            frame,
            frame[label],
            y_stage1=stage1,
            held_out=held_out,
            drop_seen=options["drop_seen"],
            seeds=range(options["seeds"]),
            corpus_size=options["corpus_size"],
            by=options["by"],
            prevalence=options["prevalence"],
        )
        click.echo(str(figures))
        if options["json_path"]:
            write_text(options["json_path"], figures.to_json() + "\n")
            session.say(f"Figures written to {options['json_path']}")
        write_report(
            *(detector, frame, frame[label], figures, options, session),
            y_stage1=None if held_out else stage1,
            held_out=held_out,
            corpus_size=options["corpus_size"],
        )


@main.command(
    epilog=examples(
        "mmevent predict model uncoded.csv -o predictions.csv",
        "mmevent predict model uncoded.parquet --image-root pictures \\",
        "    -o predictions.parquet",
    )
)
@takes(PREDICT)
def predict(
    folder: Path,
    posts: Path,
    output: Path,
    quiet: bool,
    cache_file: str | None,
    **options: Any,
) -> None:
    """Predict every post of the table POSTS with the model in FOLDER.

    One row is written for each post, in order: the prediction, its margin over the
    threshold, the score, the rule that decided (both, text, image or none), the
    probabilities, and what was wrong with which image. Columns are those named in the
    fit, unless named anew.
    """
    from mmevent._audit import column_names
    from mmevent._screen import audit_summary
    from mmevent._tables import check_table_path
    from mmevent.posts import write_table

    check_table_path(output)
    check_apart([posts], [output])
    with start_session(quiet=quiet, cache=cache_file) as session:
        detector = session.load(folder)
        if options["policy"] is not None:
            detector.set_policy(options["policy"])
        frame = session.read(posts)
        columns = name_columns(
            posts,
            frame,
            named_columns(options),
            detector.columns,
            optional=("group", "created_at", "place", "author"),
        )
        _place(detector, posts, options)
        taken = [name for name in column_names(detector) if name != "id"]
        for name in options["keep"]:
            check_column(posts, frame, name, "--keep")
            if name in taken:
                raise InputError(
                    f"--keep {name!r} cannot be kept: expected a name that the "
                    f"predictions do not have themselves, got one of "
                    f"{', '.join(taken)}. Rename the column."
                )
        audit = _audit(detector, frame, columns, session.progress)
        for name in options["keep"]:
            if name != "id":
                audit[name] = frame[name].to_numpy()
        write_table(audit, output)
        click.echo(audit_summary(audit, detector.pos_label_))
        session.say(f"Predictions written to {output}")


@main.command(
    epilog=examples(
        "mmevent demo",
        "mmevent demo --n-posts 500 -o trial",
    )
)
@takes(DEMO)
def demo(n_posts: int, output: Path, quiet: bool) -> None:
    """Show the whole way on made-up posts, without any download.

    It writes posts with small pictures, learns a detector from them with plain
    scikit-learn classifiers, prints what `fit` prints and some predictions, and says
    how to go on from there.
    """
    from mmevent._folder import new_folder, removed_on_failure
    from mmevent._screen import audit_sample, audit_summary, command_line

    new_folder(output)
    with start_session(quiet=quiet) as session, removed_on_failure(output):
        _write_demo_posts(output, n_posts)
        coded, model = output / "posts.csv", output / "model"
        uncoded, predictions = output / "uncoded.csv", output / "predictions.csv"
        session.say(f"{n_posts:,} coded posts, made up: {coded}")
        frame = session.read(coded)
        detector = _demo_detector(output, session.progress)
        _fit_and_save(detector, frame, frame["event"], model, standalone=False)
        detector.verbose = False
        audit = detector.audit(session.read(uncoded))
        click.echo(f"\nPredictions of new posts, {uncoded}")
        click.echo(audit_summary(audit, detector.pos_label_))
        click.echo(f"\nSome of them\n{audit_sample(audit)}")
        predict_line = command_line("mmevent", "predict", model, uncoded)
        click.echo(
            f"\nThe model is in {model}. To write all predictions to a table:\n\n"
            f"  {predict_line} -o {command_line(predictions)}"
        )


main.add_command(sample)
main.add_command(agreement)
main.add_command(estimate)
main.add_command(cache)
main.add_command(tag)


def _check_labels(labels: pd.Series, positive: Any) -> None:
    """Refuse labels before any image is read, and name their column."""
    from mmevent._validation import check_labels

    try:
        check_labels(labels, len(labels), positive)
    except InputError as error:
        raise InputError(f"in the column {labels.name!r}, {error}") from error


def _new_detector(
    posts: Path,
    options: dict[str, Any],
    columns: dict[str, Any],
    positive: Any,
    session: Session,
) -> EventDetector:
    from mmevent import EventDetector, ForwardInTime
    from mmevent._new_branches import new_branches

    cv = options["cv"]
    text, image = new_branches(options, session)
    return EventDetector(
        text=text,
        image=image,
        columns=columns,
        image_root=options["image_root"] or posts.parent,
        allow_outside_root=options["allow_outside_root"],
        cv=ForwardInTime(cv) if options["forward_in_time"] else cv,
        inner_cv=options["inner_cv"],
        pool=options["pool"],
        criterion=options["criterion"],
        n_trials=options["n_trials"],
        estimate=_unless_none(options["estimate"]),
        pos_label=positive,
        n_jobs=options["jobs"],
        second_stage=_SECOND_STAGE[options["second_stage"]],
        policy=options["policy"],
        calibration=_unless_none(options["calibration"]),
        random_state=options["seed"],
        verbose=session.progress,
    )


def _unless_none(choice: str) -> str | None:
    return None if choice == "none" else choice


def _fit_and_save(
    detector: EventDetector,
    frame: pd.DataFrame,
    labels: pd.Series,
    folder: Path,
    standalone: bool,
    *,
    y_stage1: pd.Series | None = None,
) -> None:
    from mmevent._screen import rule_in_words

    detector.fit(frame, labels, y_stage1=y_stage1)
    if detector.estimate_ is not None:
        click.echo(f"{detector.estimate_}\n")
    click.echo(rule_in_words(detector))
    show_bars(detector, False)
    detector.save(folder, standalone=standalone)


def _stage1_labels(
    posts: Path, frame: pd.DataFrame, options: dict[str, Any]
) -> pd.Series | None:
    column = options["stage1_label"]
    if column is None:
        return None
    check_column(posts, frame, column, "--stage1-label")
    return frame[column]


def _place(detector: EventDetector, posts: Path, options: dict[str, Any]) -> None:
    detector.image_root = options["image_root"] or posts.parent
    detector.allow_outside_root = options["allow_outside_root"]


def _check_evaluate(options: dict[str, Any]) -> None:
    context = click.get_current_context()
    if options["drop_seen"] and not options["held_out"]:
        raise click.UsageError("--drop-seen needs --held-out.", context)
    seeds = context.get_parameter_source("seeds")
    if options["held_out"] and seeds is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError(
            "--seeds does nothing with --held-out: the model predicts once.", context
        )
    path = options["json_path"]
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(
            f"{str(path)!r} cannot be written: expected the name of a file in an "
            f"existing folder. Correct --json."
        )


def _audit(
    detector: EventDetector, frame: pd.DataFrame, columns: dict[str, Any], bar: bool
) -> pd.DataFrame:
    """Audit in chunks, so that memory does not grow with the images."""
    import pandas as pd
    from tqdm import tqdm

    from mmevent._prediction import decide_posts, score_posts
    from mmevent._setup import Setup
    from mmevent.posts import to_posts

    posts = to_posts(frame, columns=columns)
    detector.columns = None
    show_bars(detector, False)
    setup = Setup(detector)
    parts = []
    with tqdm(
        total=len(posts), desc="Predicting", unit="post", disable=not bar
    ) as done:
        for start in range(0, len(posts), _CHUNK):
            chunk = setup.read(posts.iloc[start : start + _CHUNK])
            parts.append(score_posts(detector, chunk))
            done.update(len(parts[-1]))
    return decide_posts(detector, pd.concat(parts))


def _write_demo_posts(folder: Path, n_posts: int) -> None:
    from mmevent.posts import write_table
    from mmevent.synthetic import make_posts

    folder.mkdir(exist_ok=True)
    posts, y, _ = make_posts(n_posts + n_posts // 5, folder=folder, random_state=0)
    coded, uncoded = posts.iloc[:n_posts], posts.iloc[n_posts:]
    write_table(coded.assign(event=y[:n_posts]), folder / "posts.csv")
    write_table(uncoded, folder / "uncoded.csv")


def _demo_detector(folder: Path, progress: bool) -> EventDetector:
    from mmevent import EventDetector
    from mmevent.synthetic import demo_branches

    text, image = demo_branches()
    return EventDetector(
        text=text, image=image, image_root=folder, random_state=0, verbose=progress
    )


if __name__ == "__main__":
    main()
