"""`mmevent choices`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmevent import load
from mmevent.posts import read_table

Command = Callable[..., Any]


@pytest.fixture
def words(coded: Path, models: list[str], quick: list[str]) -> list[str]:
    text = models[:2]
    quick = [*quick, "--estimate", "cross-fit", "--image", "none", "--criterion", "f1"]
    return ["choices", str(coded), "--label", "event", *text, *quick]


def test_a_row_is_what_a_fit_with_these_options_says(
    done: Command, words: list[str], coded: Path, tmp_path: Path
) -> None:
    out = tmp_path / "choices.csv"
    over = ["--over", "seed=0", "--over", "rule=alpha-beta,stacking"]
    said = done(*words, *over, "--policy", "0.6", "-o", out)
    table = read_table(out)
    assert table[["seed", "rule"]].iloc[1].tolist() == [0, "stacking"]
    assert len(table) == 2
    assert "2 fits, one for each combination" in said.stderr
    assert f"F1 from {table['f1'].min():.3f} to {table['f1'].max():.3f}" in said.stdout
    assert said.stdout.splitlines()[0].split()[:3] == ["seed", "rule", "F1"]
    options = ["--rule", "stacking", "--policy", "0.6", *words[2:]]
    done("fit", coded, *options, "-o", tmp_path / "model")
    one = (
        load(tmp_path / "model", image_root=".").estimate_.to_frame().loc["fused", "f1"]
    )
    row = table[(table["seed"] == 0) & (table["rule"] == "stacking")]
    assert row["f1"].tolist() == [pytest.approx(one)]
    assert not (tmp_path / "choices").exists()


def test_encoders_are_named_as_they_were_given(
    done: Command, words: list[str], tiny_text_model: str, tmp_path: Path
) -> None:
    out, place = tmp_path / "choices.csv", words.index("--text")
    other = tmp_path / "other"
    other.symlink_to(tiny_text_model)
    words = [*words[:place], *words[place + 2 :]]
    over = ["--over", f"encoder={tiny_text_model},{other}"]
    done(*words, *over, "--over", "calibration=none", "-o", out)
    table = read_table(out)
    assert table["encoder"].tolist() == [tiny_text_model, str(other)]
    assert table["calibration"].tolist() == ["none", "none"]
    assert table["f1"].nunique() == 1  # the same model


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Missing option '--over'"),
        (["--over", "seed"], "different values, such as rule=alpha-beta,stacking"),
        (["--over", "seed="], "different values"),
        (["--over", "seed=0,,1"], "different values"),
        (["--over", "seed=0,0"], "different values"),
        (["--over", "alpha=1"], "NAME among encoder, image-encoder, seed, rule"),
        (["--over", "seed=0", "--over", "seed=1"], "seed twice"),
        (["--over", "seed=one"], "'one' is not a valid integer"),
        (["--over", "seed=-1"], "expected 0 to 4294967295, got -1"),
        (
            ["--over", "rule=average"],
            "'average' is not one of 'alpha-beta', 'stacking'",
        ),
        (["--over", "policy=best"], "policy='best' is not known"),
        (["--over", "encoder=a,b"], "--text and --over encoder disagree"),
        (["--over", "image-encoder=a"], "--image and --over image-encoder disagree"),
        (["--over", "rule=stacking", "--rule", "stacking"], "--rule and --over rule"),
        (["--over", "seed=0", "--estimate", "none"], "no figures to compare"),
        (
            ["--over", "policy=f1,budget=5"],
            "{'policy': 'budget=5'} failed: --estimate cross",
        ),
        (["--over", "seed=0", "--label", "code"], "has no column 'code'"),
    ],
)
def test_wrong_use_is_one_error(
    refused: Command,
    words: list[str],
    given: list[str],
    message: str,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.csv"
    assert message in refused(*words, "--quiet", *given, "-o", out)
    assert not out.exists()


def test_an_encoder_that_is_not_there_is_named_before_any_fit(
    refused: Command, words: list[str], tmp_path: Path
) -> None:
    place, out = words.index("--text"), tmp_path / "out.csv"
    first, lost = words[place + 1], str(tmp_path / "lost")
    words = [*words[:place], *words[place + 2 :], "--over", f"encoder={first},{lost}"]
    assert "lost" in refused(*words, "--quiet", "-o", out)
    words[-1] = f"encoder={first},none"
    assert "none is not one" in refused(*words, "--quiet", "-o", out)


def test_the_table_is_not_replaced(
    refused: Command, words: list[str], coded: Path
) -> None:
    before = coded.read_bytes()
    refused(*words, "--over", "seed=0", "-o", coded)
    assert coded.read_bytes() == before
