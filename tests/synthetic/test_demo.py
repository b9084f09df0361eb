"""The branches of the demo."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import skops.io
from PIL import Image
from sklearn.metrics import roc_auc_score

from mmevent.rule.fusion import fuse, pool_images
from mmevent.synthetic.demo import ImageStatistics, demo_branches
from mmevent.synthetic.posts import make_posts


def decoded(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None


def usable(posts: pd.DataFrame) -> tuple[np.ndarray, list[Image.Image]]:
    """Give the row of each picture that can be read, and the pictures."""
    pairs = [
        (row, image)
        for row, files in enumerate(posts["images"])
        for image in map(decoded, files)
        if image is not None
    ]
    return np.array([row for row, _ in pairs]), [image for _, image in pairs]


def test_demo_branches_learn_from_the_posts() -> None:
    train, y, _ = make_posts(600, image_size=24, random_state=1)
    test, y_test, truth = make_posts(600, image_size=24, random_state=2)
    assert truth.ideal is not None
    text, image = demo_branches()
    told, told_test = train["text"].notna(), test["text"].notna()
    text.fit(train["text"][told].tolist(), y[told])
    p_text = text.predict_proba(test["text"][told_test].tolist())[:, 1]
    ideal = truth.ideal.p_text[told_test]
    assert roc_auc_score(y_test[told_test], p_text) > (
        roc_auc_score(y_test[told_test], ideal) - 0.08
    )
    (rows, images), (rows_test, images_test) = usable(train), usable(test)
    p_image = image.fit(images, y[rows]).predict_proba(images_test)[:, 1]
    assert roc_auc_score(y_test[rows_test], p_image) > (
        roc_auc_score(y_test[rows_test], truth.ideal.p_image) - 0.04
    )
    pooled = pool_images(p_image, rows_test, 600)
    assert fuse(truth.ideal.p_text, pooled, alpha=1.0).shape == (600,)


def test_image_statistics_of_an_image_do_not_depend_on_its_neighbours() -> None:
    images = [Image.new("RGB", (9 + i, 5), (40 * i, 9, 250)) for i in range(5)]
    statistics = ImageStatistics(side=4)
    together = statistics.transform(images)
    assert together.shape == (5, 3 * 16 + 24)
    assert (together >= 0).all()
    assert (together <= 1).all()
    for row, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(statistics.transform([image])[0], row)


def test_demo_branches_can_be_stored_without_pickle() -> None:
    text, image = demo_branches()
    text.fit(["a march", "cold soup"], [1, 0])
    image.fit([Image.new("RGB", (9, 9), c) for c in ("red", "blue")], [1, 0])
    assert skops.io.get_untrusted_types(data=skops.io.dumps(text)) == []
    data = skops.io.dumps(image)
    ours = ["mmevent.synthetic.demo.ImageStatistics"]
    assert skops.io.get_untrusted_types(data=data) == ours
    loaded = skops.io.loads(data, trusted=ours)
    red = [Image.new("RGB", (9, 9), "red")]
    np.testing.assert_array_equal(loaded.predict_proba(red), image.predict_proba(red))
