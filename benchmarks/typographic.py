"""What writing in a picture does to image branches: python -m benchmarks.typographic.

A word of the event is drawn onto pictures without it, and a neutral word onto pictures
of it. The branches have learnt from pictures as they are, and never saw these.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks._common import (
    command_line,
    data_folder,
    model_folder,
    result_header,
    write_result,
)
from benchmarks._estimates import plain, show
from mmevent import ClipEncoder, ClipZeroShotClassifier, ImageClassifier
from mmevent.encoders.cache import shared_memo
from mmevent.evaluation.metrics import Resampling
from mmevent.posts.images import Images
from mmevent.rule.cuts import best_threshold

EVENT_WORDS = ("PROTEST", "STRIKE", "RESIST", "JUSTICE NOW")
NEUTRAL_WORDS = ("SALE", "HELLO", "OPEN DAILY", "SUMMER")


def branches() -> dict[str, Any]:
    """Give the branches, each with its default head."""
    clip = ClipEncoder(model_folder("lit_clip"))
    network = model_folder("mobilenet_v2_imagenet")
    return {
        "head on the frozen network": ImageClassifier(network, random_state=0),
        "CLIP, probe": ImageClassifier(clip, random_state=0),
        "CLIP, zero-shot": ClipZeroShotClassifier("protest", encoder=clip),
    }


def written(image: Image.Image, word: str) -> Image.Image:
    """Draw a sign with a word across the lower part of a picture."""
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    width, height = drawn.size
    size = max(8, width // 7)
    font = ImageFont.load_default(size=size)
    while pen.textlength(word, font=font) > 0.8 * width and size > 8:
        size -= 1
        font = ImageFont.load_default(size=size)
    middle = width / 2, 0.75 * height
    left, top, right, bottom = pen.textbbox(middle, word, font=font, anchor="mm")
    margin = size / 3
    sign = (left - margin, top - margin, right + margin, bottom + margin)
    pen.rectangle(sign, fill="white", outline="black", width=max(1, size // 10))
    pen.text(middle, word, fill="black", font=font, anchor="mm")
    return drawn


def probabilities(
    branch: Any,
    plain_images: list[Image.Image],
    drawn: list[Image.Image],
    y: NDArray[np.int_],
    group: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Out-of-fold probabilities of pictures as they are, and as drawn on."""
    p = np.full((2, len(y)), np.nan)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(y, y, group):
        fitted = branch.fit([plain_images[i] for i in train], y[train])
        for row, images in enumerate((plain_images, drawn)):
            p[row, test] = fitted.predict_proba([images[i] for i in test])[:, 1]
    return p[0], p[1]


def main() -> None:
    """Run the branches, print the page, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    folder = data_folder("ucla_protest")
    posts = pd.read_csv(folder / "posts.csv")
    images = list(Images(posts["images"].tolist(), image_root=folder))
    y, group = posts["protest"].to_numpy(), posts["group"].to_numpy()
    rng = np.random.default_rng(0)
    words = [rng.choice(NEUTRAL_WORDS if event else EVENT_WORDS) for event in y]
    drawn = [
        written(image, str(word)) for image, word in zip(images, words, strict=True)
    ]
    resampling = Resampling(group)
    rows = []
    with shared_memo():
        for name, branch in branches().items():
            before, after = probabilities(branch, images, drawn, y, group)
            threshold = best_threshold(before, y == 1)[0]
            for kind, chosen in (("event word on others", y == 0), ("neutral", y == 1)):
                found = changes(before, after, threshold, chosen, resampling)
                rows.append([name, kind, *found])
    result = {
        "title": "Writing in pictures",
        "command": command_line("benchmarks.typographic"),
        "header": result_header(seed=0),
        "tables": [
            {
                "caption": "ucla_protest, five folds: a word drawn onto each picture",
                "columns": [
                    *("branch", "word", "pictures", "flagged before", "after"),
                    *("change", "95%", "mean p before", "after"),
                ],
                "rows": rows,
            }
        ],
        "notes": [
            f"Words of the event: {', '.join(EVENT_WORDS)}. Neutral: "
            f"{', '.join(NEUTRAL_WORDS)}. Each branch's threshold is the best on the "
            f"pictures as they are, so only the changes mean something."
        ],
    }
    show(result)
    if arguments.json:
        write_result(arguments.json, result)


def changes(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    threshold: float,
    chosen: NDArray[np.bool_],
    resampling: Resampling,
) -> list[Any]:
    """Give how many of some pictures are flagged before and after, and mean p."""
    total = resampling.sums(chosen)
    flagged = [chosen & (p >= threshold) for p in (before, after)]
    share = [resampling.sums(one) / total for one in flagged]
    basis = resampling.basis(chosen, flagged[0] != flagged[1])
    change = resampling.difference(share[1] - share[0], basis)
    return [
        int(chosen.sum()),
        *(float(s[0]) for s in share),
        *(plain(change.value), [plain(change.low), plain(change.high)]),
        *(float(p[chosen].mean()) for p in (before, after)),
    ]


if __name__ == "__main__":
    main()
