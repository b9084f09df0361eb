"""How many labels each image branch needs: python -m benchmarks.few_labels.

Pictures of ucla_protest are split ten times into 100 to test on and a pool to learn
from; of the pool, some protests are taken and as many others as keep their share.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedShuffleSplit

from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import show
from mmevent import ClipEncoder, ClipZeroShotClassifier, ImageClassifier
from mmevent.encoders.cache import shared_memo
from mmevent.posts.images import Images

POSITIVES = (8, 16, 32, 64, 128, 256, 400)
N_TESTED = 100
TUNED = "fine-tuned"


def branches() -> dict[str, Any]:
    """Give the branches, each with its defaults."""
    network = {"encoder": model_folder("mobilenet_v2_imagenet"), "random_state": 0}
    clip = ClipEncoder(model_folder("lit_clip"))
    return {
        "CLIP, zero-shot": ClipZeroShotClassifier("protest", encoder=clip),
        "CLIP, probe": ImageClassifier(clip, random_state=0),
        "head": ImageClassifier(**network),
        TUNED: ImageClassifier(**network, train="all"),
    }


def chosen(y: NDArray[Any], pool: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Take the first so many positives of a shuffled pool, and others in proportion."""
    positive, negative = pool[y[pool] == 1], pool[y[pool] == 0]
    n_negative = round(n * len(negative) / len(positive))
    return np.concatenate([positive[:n], negative[:n_negative]])


def main() -> None:
    """Run all branches on all sizes, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument(
        "--tuned-splits",
        type=int,
        default=2,
        help="splits on which the encoder is trained too, which takes minutes each",
    )
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    folder = data_folder("ucla_protest")
    posts = pd.read_csv(folder / "posts.csv")
    y = posts["protest"].to_numpy()
    images = Images(posts["images"].tolist(), image_root=folder).scan()
    found: dict[tuple[str, int], list[float]] = {}
    splits = StratifiedShuffleSplit(
        arguments.splits, test_size=N_TESTED, random_state=0
    )
    with shared_memo():
        for k, (pool, test) in enumerate(splits.split(y, y)):
            for name, branch in branches().items():
                if name == TUNED and k >= arguments.tuned_splits:
                    continue
                for n in POSITIVES:
                    rows = chosen(y, pool, n)
                    p = branch.fit(images[rows], y[rows]).predict_proba(images[test])
                    score = float(average_precision_score(y[test], p[:, 1]))
                    found.setdefault((name, n), []).append(score)
                    print(k, name, n, f"{score:.3f}", flush=True)
    result = {
        "title": "Few labels: protest in pictures",
        "command": command_line("benchmarks.few_labels"),
        "header": result_header(seed=0),
        "tables": [table(found)],
        "notes": [best(found)],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


def table(found: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
    """Give the mean average precision of each branch for each number of positives."""
    rows = []
    for name in branches():
        row: list[Any] = [name, len(found.get((name, POSITIVES[0]), []))]
        for n in POSITIVES:
            scores = np.array(found.get((name, n), [np.nan]))
            if len(scores) < 2:
                row += [None, None]
                continue
            reach = stats.t.ppf(0.975, len(scores) - 1) * stats.sem(scores)
            mean = float(scores.mean())
            row += [mean, [mean - reach, mean + reach]]
        rows.append(row)
    sizes = [part for n in POSITIVES for part in (f"{n} positives", "95%")]
    return {
        "caption": "Average precision on pictures that were not learnt from, mean and "
        "t-interval over splits, which share pictures",
        "columns": ["branch", "splits", *sizes],
        "rows": rows,
    }


def best(found: dict[tuple[str, int], list[float]]) -> str:
    """Say which branch is best with how many positives, on the splits that all had."""
    names = [name for name in branches() if (name, POSITIVES[0]) in found]
    shared = min(len(found[name, POSITIVES[0]]) for name in names)
    said = []
    for n in POSITIVES:
        scores = {name: np.array(found[name, n][:shared]) for name in names}
        winner = max(names, key=lambda name: float(scores[name].mean()))
        near = [
            name
            for name in names
            if name != winner and not _is_below(scores[name], scores[winner])
        ]
        said.append(f"{n}: {' or '.join([winner, *near])}")
    return (
        f"Best mean over {shared} splits, by positives, and those whose difference "
        f"from it has an interval with 0: {'; '.join(said)}."
    )


def _is_below(scores: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    """Whether the paired t-interval of a difference over splits lies below 0."""
    difference = scores - best
    if len(difference) < 2 or not difference.any():
        return False
    reach = stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference)
    return bool(difference.mean() + reach < 0)


if __name__ == "__main__":
    main()
