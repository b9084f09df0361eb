"""Made-up posts: what is promised of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmevent.exceptions import InputError
from mmevent.posts.posts import duplicate_groups, to_posts
from mmevent.synthetic.posts import (
    CATEGORIES,
    damage,
    draw_images,
    empty_folder,
    make_posts,
    write_pictures,
    write_texts,
)
from mmevent.synthetic.truth import Truth

FEATURES: dict[str, Any] = {
    "share_images": 0.5,
    "share_broken": 0.1,
    "share_no_text": 0.1,
    "share_reposts": 0.1,
    "n_groups": 7,
}


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, np.ndarray, Truth]:
    return make_posts(2000, image_size=16, random_state=5, **FEATURES)


def decoded(data: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError:
        return None


@pytest.mark.parametrize("n_posts", [1, 2])
def test_the_smallest_numbers_of_posts_work(n_posts: int) -> None:
    posts, y, _ = make_posts(n_posts, random_state=0)
    assert len(posts) == len(y) == n_posts


def test_posts_have_the_columns_of_a_table_of_posts(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    posts, y, _ = made
    names = ["id", "text", "images", "created_at", "place", "author", "group"]
    assert posts.columns.tolist() == names
    assert posts["id"].is_unique
    assert posts["created_at"].is_monotonic_increasing
    assert posts["group"].nunique() == 7
    assert to_posts(posts)["text"].isna().equals(posts["text"].isna())
    assert set(y) == {0, 1}


def test_posts_have_the_promised_shares(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    posts, y, _ = made
    n_images = posts["images"].map(len)
    readable = [decoded(d) is not None for files in posts["images"] for d in files]
    assert y.mean() == pytest.approx(0.3)
    assert posts["text"].isna().mean() == pytest.approx(0.1, abs=0.025)
    assert (n_images > 0).mean() == pytest.approx(0.5, abs=0.04)
    assert set(n_images) == {0, 1, 2, 3}
    assert np.mean(readable) == pytest.approx(0.9, abs=0.03)


def test_broken_pictures_are_cut_short_or_web_pages_or_empty(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    files = [d for cell in made[0]["images"] for d in cell if decoded(d) is None]
    empty = [d for d in files if not d]
    pages = [d for d in files if d.startswith(b"<!DOCTYPE")]
    assert min(len(empty), len(pages), len(files) - len(empty) - len(pages)) > 10


def test_pictures_are_rgb_of_the_size_in_two_formats(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    files = [d for cell in made[0]["images"] for d in cell if decoded(d) is not None]
    opened = [Image.open(io.BytesIO(data)) for data in files[:50]]
    assert {(image.mode, image.size) for image in opened} == {("RGB", (16, 16))}
    assert {image.format for image in opened} == {"PNG", "JPEG"}


def test_reposts_share_text_images_label_and_group(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    posts, y, _ = made
    posts = posts.assign(y=y, twin=duplicate_groups(posts))
    repeated = posts[posts["text"].notna() & posts.duplicated("text")]
    assert len(repeated) / len(posts) == pytest.approx(0.09, abs=0.02)
    for _, twins in posts[posts["text"].isin(repeated["text"])].groupby("text"):
        assert len({tuple(files) for files in twins["images"]}) == 1
        assert twins[["y", "group", "twin"]].nunique().eq(1).all()


def test_without_reposts_no_two_texts_or_pictures_are_the_same() -> None:
    posts, _, _ = make_posts(
        3000, image_size=8, share_reposts=0, share_broken=0, random_state=0
    )
    assert not posts["text"].dropna().duplicated().any()
    files = [data for cell in posts["images"] for data in cell]
    assert len(set(files)) == len(files)


def test_posts_depend_on_the_seed_alone() -> None:
    first, again, other = (
        make_posts(60, image_size=8, n_groups=3, random_state=seed)[0]
        for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert first["text"].tolist() != other["text"].tolist()


def test_ideal_probabilities_belong_to_the_posts(
    made: tuple[pd.DataFrame, np.ndarray, Truth],
) -> None:
    posts, y, truth = made
    assert truth.ideal is not None
    files = posts["images"].explode().dropna()
    rows = files[[decoded(data) is not None for data in files]].index
    np.testing.assert_array_equal(truth.ideal.y, y)
    np.testing.assert_array_equal(truth.ideal.post, rows)
    np.testing.assert_array_equal(np.isnan(truth.ideal.p_text), posts["text"].isna())
    assert truth.ideal.truth.f1 == truth.f1


def test_ideal_probabilities_are_exact_at_even_classes() -> None:
    population = make_posts(10, prevalence=0.5, random_state=0)[2].population
    has_text = ~np.isnan(population.p_text)
    for p, y in (
        (population.p_text[has_text], population.y[has_text]),
        (population.p_image, population.y[population.post]),
    ):
        for rows in np.array_split(np.argsort(p), 10):
            assert p[rows].mean() == pytest.approx(y[rows].mean(), abs=0.015)


def test_posts_whose_texts_and_pictures_tell_nothing() -> None:
    _, _, truth = make_posts(200, share_telling=0, share_showing=0, random_state=0)
    assert truth.ideal is not None
    np.testing.assert_allclose(truth.ideal.p_image, 0.5)
    assert set(truth.ideal.p_text[~np.isnan(truth.ideal.p_text)].round(9)) == {0.5}


def test_pictures_in_a_folder_and_the_table_as_csv(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"image_size": 8, "share_broken": 0.2, "random_state": 9}
    in_memory, labels, _ = make_posts(80, **settings)
    posts, y, _ = make_posts(80, folder=tmp_path / "demo", **settings)
    posts.to_csv(tmp_path / "demo" / "posts.csv", index=False)
    read = pd.read_csv(tmp_path / "demo" / "posts.csv")
    np.testing.assert_array_equal(y, labels)
    for cell, files in zip(read["images"], in_memory["images"], strict=True):
        paths = [] if pd.isna(cell) else cell.split("|")
        assert [(tmp_path / "demo" / path).read_bytes() for path in paths] == files


def test_a_folder_with_pictures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"absent or an empty folder.*Name another"):
        make_posts(5, folder=tmp_path)
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["mine.jpg"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 4}, r"image_size=4 .* an integer of 8 or more"),
        ({"n_groups": 0}, r"n_groups=0 is no usable number"),
        ({"share_broken": 2}, r"share_broken=2 is out of range"),
        ({"share_telling": 2}, r"share_telling=2 is out of range"),
        ({"share_lookalike": 2}, r"share_lookalike=2 is out of range"),
        ({"share_reposts": 2}, r"share_reposts=2 is out of range"),
    ],
)
def test_parameters_of_posts_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_posts(10, **settings)


def test_a_text_has_as_many_words_of_each_category_as_asked_for() -> None:
    counts = np.array([[3, 0, 2], [0, 0, 0], [1, 4, 5]])
    texts = write_texts(counts, np.random.default_rng(0))
    assert texts[1] == ""
    for text, wanted in zip(texts, counts, strict=True):
        words = text.lower().rstrip(".").split()
        found = [sum(word in category for word in words) for category in CATEGORIES]
        assert found == wanted.tolist()


def test_a_picture_is_the_warmer_the_stronger_its_evidence() -> None:
    evidence = np.linspace(-5, 5, 9)
    files = draw_images(evidence, 32, np.random.default_rng(0))
    warmth = []
    for data in files:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)
        warmth.append(pixels[12:20, 12:20, 0].mean() - pixels[12:20, 12:20, 2].mean())
    assert (np.diff(warmth) > 0).all()


@pytest.mark.parametrize("kind", range(3))
def test_a_damaged_file_cannot_be_opened(kind: int) -> None:
    (data,) = draw_images(np.zeros(1), 16, np.random.default_rng(0))
    with pytest.raises(OSError, match="."):
        Image.open(io.BytesIO(damage(data, kind))).convert("RGB")


def test_pictures_are_written_beside_each_other(tmp_path: Path) -> None:
    files = draw_images(np.zeros(3), 16, np.random.default_rng(0))
    target = empty_folder(tmp_path)
    cells = write_pictures([files[:2], [], files[2:]], target)
    assert cells == ["images/000000-0.png|images/000000-1.jpg", None, cells[2]]
    for cell, held in zip(cells, [files[:2], [], files[2:]], strict=True):
        paths = cell.split("|") if cell else []
        assert [(tmp_path / path).read_bytes() for path in paths] == held
    with pytest.raises(InputError, match="absent or an empty folder"):
        empty_folder(tmp_path)
