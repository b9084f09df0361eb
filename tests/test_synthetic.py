"""Synthetic posts and scores: what is promised of them, and their truth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from PIL import Image
from scipy.special import logit
from sklearn.metrics import f1_score, roc_auc_score

from mmevent._demo import ImageStatistics
from mmevent._population import find_best
from mmevent.exceptions import InputError
from mmevent.fusion import POOLS, fuse, pool_images
from mmevent.posts import duplicate_groups, to_posts
from mmevent.synthetic import (
    SCENARIOS,
    SyntheticScores,
    Truth,
    demo_branches,
    make_posts,
    make_scores,
)
from mmevent.tuning import Evidence, Search, best_threshold, tune_rule

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


def usable(posts: pd.DataFrame) -> tuple[np.ndarray, list[Image.Image]]:
    """Give the row of each picture that can be read, and the pictures."""
    pairs = [
        (row, image)
        for row, files in enumerate(posts["images"])
        for image in map(decoded, files)
        if image is not None
    ]
    return np.array([row for row, _ in pairs]), [image for _, image in pairs]


def best_f1(scores: SyntheticScores, **rule: Any) -> float:
    return best_threshold(scores.fuse(**rule), scores.y)[1]


def tuned_population_f1(scores: SyntheticScores) -> float:
    evidence = Evidence.from_images(scores.p_text, scores.p_image, scores.post)
    rule = tune_rule(evidence, scores.y, search=Search(method="exact")).rule
    return scores.truth.population_f1(
        alpha=rule.alpha, beta=rule.beta, pool=rule.pool, threshold=rule.threshold
    )


# --- scores ---------------------------------------------------------------------


def test_scores_have_the_promised_shapes_and_shares() -> None:
    scores = make_scores(
        4000,
        share_images=0.25,
        max_images=4,
        share_no_text=0.1,
        prevalence=0.2,
        random_state=0,
    )
    assert scores.y.sum() == 800
    assert np.isnan(scores.p_text).mean() == pytest.approx(0.1, abs=0.02)
    assert scores.p_image.shape == scores.post.shape
    n_images = np.bincount(scores.post, minlength=4000)
    assert (n_images > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert set(n_images) == {0, 1, 2, 3, 4}
    assert (np.diff(scores.post) >= 0).all()


def test_scores_depend_on_the_seed_alone() -> None:
    first, again, other = (make_scores(50, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.p_text, again.p_text)
    np.testing.assert_array_equal(first.p_image, again.p_image)
    assert not np.array_equal(first.y, other.y)


def test_branches_without_distortion_are_calibrated() -> None:
    population = make_scores(10, prevalence=0.2, random_state=0).truth.population
    has_text = ~np.isnan(population.p_text)
    for p, y in (
        (population.p_text[has_text], population.y[has_text]),
        (population.p_image, population.y[population.post]),
    ):
        by_size = np.argsort(p)
        for rows in np.array_split(by_size, 10):
            assert p[rows].mean() == pytest.approx(y[rows].mean(), abs=0.015)


def test_calibration_is_a_line_on_the_log_odds_of_its_own_side() -> None:
    plain = make_scores(300, random_state=3)
    bent = make_scores(
        300,
        calibration_text_with_images=(2.0, -0.5),
        calibration_image=(0.5, 1.0),
        random_state=3,
    )
    with_images = np.isin(np.arange(300), plain.post)
    np.testing.assert_allclose(
        logit(bent.p_text[with_images]), 2 * logit(plain.p_text[with_images]) - 0.5
    )
    np.testing.assert_array_equal(bent.p_text[~with_images], plain.p_text[~with_images])
    np.testing.assert_allclose(logit(bent.p_image), 0.5 * logit(plain.p_image) + 1)


@pytest.mark.parametrize("n_posts", [1, 2])
def test_the_smallest_numbers_of_posts_work(n_posts: int) -> None:
    assert make_scores(n_posts, random_state=0).y.sum() == 1
    posts, y, _ = make_posts(n_posts, random_state=0)
    assert len(posts) == len(y) == n_posts


# --- the truth ------------------------------------------------------------------


def test_truth_reports_the_f1_of_its_own_rule() -> None:
    truth = make_scores(10, random_state=0).truth
    population = truth.population
    score = population.fuse(alpha=truth.alpha, beta=truth.beta, pool=truth.pool)
    expected = f1_score(population.y, score >= truth.threshold)
    assert truth.f1 == pytest.approx(expected, abs=1e-12)
    assert truth.population_f1() == pytest.approx(truth.f1, abs=1e-12)
    assert truth.population_f1(threshold=0.99) < truth.f1


def test_truth_belongs_to_the_parameters_not_to_the_sample() -> None:
    small, large = (make_scores(n, random_state=n).truth for n in (10, 1000))
    assert small.population is large.population
    assert (small.alpha, small.beta, small.f1) == (large.alpha, large.beta, large.f1)


def test_population_cannot_be_changed() -> None:
    population = make_scores(10, random_state=0).truth.population
    with pytest.raises(ValueError, match="read-only"):
        population.p_text[0] = 0.5


@pytest.mark.parametrize("name", ["small", "albums", "underconfident with images"])
def test_best_rule_is_not_beaten_on_a_plain_grid(name: str) -> None:
    scores = make_scores(**(SCENARIOS[name] | {"n_posts": 3000}), random_state=1)
    best = find_best(scores.p_text, scores.p_image, scores.post, scores.y)
    grid = [
        best_f1(scores, alpha=w / (1 - w), beta=beta, pool=pool)
        for w in np.linspace(0, 0.9, 16)
        for beta in np.exp2(np.linspace(-1, 1, 15))
        for pool in POOLS
    ]
    own = best_f1(scores, alpha=best.alpha, beta=best.beta, pool=best.pool)
    assert best.f1 == own
    assert best.f1 >= max(grid) - 0.002


def test_without_images_the_truth_is_the_text_alone() -> None:
    truth = make_scores(10, share_images=0.0, random_state=0).truth
    assert (truth.alpha, truth.beta, truth.pool) == (0.0, 1.0, "max")


def test_where_all_posts_have_images_beta_stays_1() -> None:
    truth = make_scores(10, **_without_size("all have images")).truth
    assert (truth.beta, truth.beta_unbounded, truth.pool) == (1.0, 1.0, "max")


def _without_size(name: str) -> dict[str, Any]:
    return {key: value for key, value in SCENARIOS[name].items() if key != "n_posts"}


def test_pooling_matters_and_which_is_best_depends_on_what_images_show() -> None:
    some, all_of_them = (
        make_scores(10, share_images=1.0, max_images=5, share_showing=share).truth
        for share in (0.35, 1.0)
    )
    f1 = {pool: best_f1(some.population, alpha=1, beta=1, pool=pool) for pool in POOLS}
    assert some.pool == "max"
    assert f1["max"] > f1["mean"] + 0.01
    assert all_of_them.pool == "mean"


def test_calibration_by_side_moves_the_best_beta() -> None:
    over = make_scores(**SCENARIOS["overconfident with images"]).truth
    under = make_scores(**SCENARIOS["underconfident with images"]).truth
    assert over.beta < 0.85
    assert under.beta > 1.1


def test_one_scenario_has_its_optimum_outside_the_bounds() -> None:
    truth = make_scores(**SCENARIOS["beta out of bounds"], random_state=0).truth
    assert truth.beta == pytest.approx(2.0)
    assert truth.beta_unbounded > 2.5


def test_scenarios_span_sizes_and_prevalence() -> None:
    sizes = [settings["n_posts"] for settings in SCENARIOS.values()]
    assert (min(sizes), max(sizes)) == (500, 20_000)
    assert min(s.get("prevalence", 0.3) for s in SCENARIOS.values()) < 0.05


@pytest.mark.parametrize("name", ["albums", "overconfident with images"])
def test_tuning_on_20000_scores_recovers_the_population_f1(name: str) -> None:
    scores = make_scores(**(SCENARIOS[name] | {"n_posts": 20_000}), random_state=4)
    assert tuned_population_f1(scores) == pytest.approx(scores.truth.f1, abs=0.01)


def test_tuning_on_20000_posts_recovers_the_population_f1() -> None:
    _, _, truth = make_posts(20_000, image_size=8, random_state=4)
    assert truth.ideal is not None
    assert tuned_population_f1(truth.ideal) == pytest.approx(truth.f1, abs=0.01)


def test_each_modality_tells_what_the_other_does_not() -> None:
    _, _, truth = make_posts(10, random_state=0)
    population = truth.population
    text = best_f1(population, alpha=0.0, beta=1.0, pool="max")
    image = best_f1(population, alpha=99.0, beta=1.0, pool=truth.pool)
    flag_all = 2 * 0.3 / 1.3
    assert min(text, image) > flag_all + 0.2
    assert truth.f1 > max(text, image) + 0.03


# --- posts ----------------------------------------------------------------------


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
    rows, _ = usable(posts)
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


# --- bad parameters -------------------------------------------------------------


@pytest.mark.parametrize("make", [make_scores, make_posts])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_posts": 0}, r"n_posts=0 is no usable number: expected an integer of 1"),
        ({"n_posts": 2.5}, r"n_posts=2.5 is no usable number"),
        ({"max_images": 0}, r"max_images=0 .* Change max_images"),
        ({"share_images": 1.1}, r"share_images=1.1 is out of range: .* from 0 to 1"),
        ({"share_showing": -1}, r"share_showing=-1 is out of range"),
        ({"share_no_text": np.nan}, r"share_no_text=nan is out of range"),
        ({"prevalence": 1.0}, r"prevalence=1.0 leaves one class empty: .* excluded"),
    ],
)
def test_common_parameters_out_of_range(
    make: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"separation_text": -1}, r"separation_text=-1 .* a number of 0 or more"),
        ({"separation_image": np.inf}, r"separation_image=inf is out of range"),
        ({"calibration_text": (0.0, 1.0)}, r"calibration_text=\(0.0, 1.0\) is no cal"),
        ({"calibration_image": (1.0,)}, r"calibration_image=.* \(slope, offset\)"),
        (
            {"calibration_text_with_images": ()},
            r"calibration_text_with_images=\(\) is no calibration",
        ),
    ],
)
def test_parameters_of_scores_out_of_range(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make_scores(10, **settings)


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


# --- the branches of the demo ---------------------------------------------------


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
    ours = ["mmevent._demo.ImageStatistics"]
    assert skops.io.get_untrusted_types(data=data) == ours
    loaded = skops.io.loads(data, trusted=ours)
    red = [Image.new("RGB", (9, 9), "red")]
    np.testing.assert_array_equal(loaded.predict_proba(red), image.predict_proba(red))
