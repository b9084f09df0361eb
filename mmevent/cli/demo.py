"""The command `mmevent demo`: the whole way on made-up posts, without a download."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmevent._common import expanded
from mmevent.cli import shared
from mmevent.cli.console import show, start_session
from mmevent.cli.fit import fit_and_save
from mmevent.cli.predict import audit_summary

if TYPE_CHECKING:
    import pandas as pd

    from mmevent.detector import EventDetector

_SHOWN = {
    "id": "{}",
    "prediction": "{}",
    "margin": "{:+.3f}",
    "rule": "{}",
    "p_text": "{:.3f}",
    "p_image": "{:.3f}",
    "image_status": "{}",
}
"""The columns of an audit that are printed, and how."""


@click.command(
    epilog=shared.examples(
        "mmevent demo",
        "mmevent demo --n-posts 500 -o trial",
    )
)
@shared.takes(
    [
        shared.whole_number(
            "--n-posts", least=200, default=800, help="Number of coded posts to make."
        ),
        shared.QUIET,
        click.option(
            "-o",
            "--output",
            type=shared.PATH,
            default=Path("mmevent-demo"),
            metavar="FOLDER",
            help="Folder for the posts and the model: new, or empty.",
        ),
    ]
)
def demo(n_posts: int, output: Path, quiet: bool) -> None:
    """Show the whole way on made-up posts, without any download.

    It writes posts with small pictures, learns a detector from them with plain
    scikit-learn classifiers, prints what `fit` prints and some predictions, and says
    how to go on from there.
    """
    from mmevent.persistence.folder import new_folder, removed_on_failure

    output = expanded(output)
    new_folder(output)
    with start_session(quiet=quiet) as session, removed_on_failure(output):
        _write_posts(output, n_posts)
        coded, model = output / "posts.csv", output / "model"
        uncoded, predictions = output / "uncoded.csv", output / "predictions.csv"
        session.say(f"{n_posts:,} coded posts, made up: {coded}")
        frame = session.read(coded)
        detector = _new_detector(output, session.progress)
        fit_and_save(detector, frame, frame["event"], model, table=coded)
        detector.image_root = output
        audit = detector.audit(session.read(uncoded))
        show(f"\nPredictions of new posts, {uncoded}")
        show(audit_summary(audit, detector.pos_label_))
        show(f"\nSome of them\n{_some_rows(audit)}")
        line = shlex.join(["mmevent", "predict", str(model), str(uncoded)])
        show(
            f"\nThe model is in {model}. To write all predictions to a table:\n\n"
            f"  {line} -o {shlex.quote(str(predictions))}"
        )


def _write_posts(folder: Path, n_posts: int) -> None:
    from mmevent.posts import write_table
    from mmevent.synthetic import make_posts

    folder.mkdir(exist_ok=True)
    posts, y, _ = make_posts(n_posts + n_posts // 5, folder=folder, random_state=0)
    coded, uncoded = posts.iloc[:n_posts], posts.iloc[n_posts:]
    write_table(coded.assign(event=y[:n_posts]), folder / "posts.csv")
    write_table(uncoded, folder / "uncoded.csv")


def _new_detector(folder: Path, progress: bool) -> EventDetector:
    from mmevent import EventDetector
    from mmevent.synthetic import demo_branches

    text, image = demo_branches()
    return EventDetector(
        text=text, image=image, image_root=folder, random_state=0, verbose=progress
    )


def _some_rows(audit: pd.DataFrame) -> str:
    """Show some posts of each rule and prediction, and some with a broken image."""
    import pandas as pd

    alike = audit.groupby(["rule", "prediction"], sort=False)
    broken = audit[audit["image_status"].notna()]
    rows = pd.concat([alike.head(2), broken.head(2)]).drop_duplicates("id")
    texts = [
        [name, *("" if pd.isna(v) else form.format(v) for v in rows.sort_index()[name])]
        for name, form in _SHOWN.items()
    ]
    widths = [max(map(len, cells)) for cells in texts]
    return "\n".join(
        "  ".join(map(str.ljust, line, widths)).rstrip()
        for line in zip(*texts, strict=True)
    )
