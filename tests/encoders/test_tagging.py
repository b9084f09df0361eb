"""Labels and objects that pretrained networks see in images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmevent.encoders.tagging import count_objects, detect, tag
from mmevent.exceptions import InputError, ModelUnavailableError, UnusableInputWarning


@pytest.fixture
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [(40, 30), (30, 30), (20, 60)]
    return [
        Image.fromarray(rng.integers(0, 256, (h, w, 3)).astype(np.uint8))
        for w, h in shapes
    ]


def test_the_networks_own_labels_come_best_first(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    table = tag(pictures, tiny_image_model, top=2)
    assert table.columns.tolist() == ["image", "rank", "label", "score"]
    assert table["image"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table["rank"].tolist() == [1, 2] * 3
    for _, rows in table.groupby("image"):
        assert rows["score"].is_monotonic_decreasing
        assert rows["label"].is_unique
    assert table["score"].between(0, 1).all()


def test_fewer_labels_than_asked_for_are_fine(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    everything = tag(pictures[:1], tiny_image_model, top=1000)
    assert everything["score"].sum() == pytest.approx(1.0, abs=1e-5)


def test_an_image_is_seen_alike_whatever_its_neighbours(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    together = tag(pictures, tiny_image_model)
    alone = tag(pictures[2:], tiny_image_model)
    np.testing.assert_allclose(
        together.loc[together["image"] == 2, "score"], alone["score"], atol=1e-6
    )


@pytest.mark.parametrize("look", [tag, detect])
def test_images_that_cannot_be_used_have_no_row_and_are_counted(
    look: Any,
    tiny_image_model: str,
    tiny_detection_model: str,
    pictures: list[Image.Image],
    tmp_path: Path,
) -> None:
    model = tiny_image_model if look is tag else tiny_detection_model
    pictures[1].save(tmp_path / "here.png")
    sources = ["gone.png", b"no picture", "here.png"]
    options = {} if look is tag else {"threshold": 0.0}
    with pytest.warns(UnusableInputWarning, match="2 of 3 images cannot be used"):
        table = look(sources, model, image_root=tmp_path, **options)
    assert set(table["image"]) == {2}


def test_objects_have_labels_scores_and_boxes(
    tiny_detection_model: str, pictures: list[Image.Image]
) -> None:
    objects = detect(pictures, tiny_detection_model, threshold=0.0)
    assert set(objects["label"]) <= {"person", "car"}
    assert objects["score"].between(0, 1).all()
    assert {"left", "top", "right", "bottom"} <= set(objects.columns)
    middle = objects["score"].median()
    fewer = detect(pictures, tiny_detection_model, threshold=float(middle))
    assert 0 < len(fewer) < len(objects)
    assert (fewer["score"] > middle).all()


def test_no_objects_and_no_images_are_empty_tables(
    tiny_detection_model: str, pictures: list[Image.Image]
) -> None:
    assert len(detect(pictures, tiny_detection_model, threshold=0.999999)) == 0
    assert len(detect([], tiny_detection_model)) == 0


def test_objects_are_counted_by_kind() -> None:
    objects = pd.DataFrame({"image": [0, 0, 2, 2], "label": ["b", "a", "b", "b"]})
    counts = count_objects(objects, 4)
    assert counts.columns.tolist() == ["a", "b"]
    assert counts.to_numpy().tolist() == [[1, 1], [0, 0], [0, 2], [0, 0]]
    nothing = count_objects(objects.iloc[:0], 2)
    assert nothing.shape == (2, 0)


@pytest.mark.parametrize("top", [0, -1, 2.5, None])
def test_a_number_of_labels_is_checked(top: Any) -> None:
    with pytest.raises(InputError, match="is no number of labels: expected 1 or more"):
        tag([], "model", top=top)


@pytest.mark.parametrize("threshold", [-0.1, 1, 7, float("nan")])
def test_a_threshold_of_objects_is_checked(threshold: float) -> None:
    with pytest.raises(InputError, match="is no score: expected a number from 0"):
        detect([], "model", threshold=threshold)


@pytest.mark.parametrize("images", ["photo.jpg", b"content"], ids=["path", "bytes"])
def test_one_image_is_no_sequence(tiny_image_model: str, images: Any) -> None:
    with pytest.raises(InputError, match="expected a sequence of images.*into a list"):
        tag(images, tiny_image_model)


def test_a_model_of_another_kind_is_refused(
    tiny_image_model: str, pictures: list[Image.Image]
) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        detect(pictures, tiny_image_model)


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match="does not exist"):
        tag([], "/no/such/folder")


@pytest.mark.parametrize("one", [Path("a.jpg"), Image.new("RGB", (2, 2))])
def test_one_image_that_is_no_list_is_refused(tiny_image_model: str, one: Any) -> None:
    with pytest.raises(InputError, match="Put it into a list"):
        tag(one, tiny_image_model)
