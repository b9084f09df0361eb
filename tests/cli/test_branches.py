"""The encoders and classifiers that the options of `mmevent fit` ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.parametrize("kind", ["clip-probe", "clip-zero-shot"])
def test_a_clip_branch_judges_images(
    done: Command,
    quick: list[str],
    kind: str,
    coded: Path,
    models: list[str],
    tiny_clip_model: str,
    tmp_path: Path,
) -> None:
    event = ["--event", "fire"] if kind == "clip-zero-shot" else []
    image = ["--image", tiny_clip_model, "--image-branch", kind, *event]
    out = ["-o", tmp_path / "model", "--text", models[1]]
    fitted = done("fit", coded, "--label", "event", *image, *quick, *out)
    assert "image only" in fitted.stdout
    done("predict", tmp_path / "model", coded, "-o", tmp_path / "out.csv")


def test_an_encoder_is_trained(
    done: Command, quick: list[str], coded: Path, models: list[str], tmp_path: Path
) -> None:
    words = ["--train-text", "1", "--epochs", "1", *quick, "-o", tmp_path / "model"]
    fitted = done("fit", coded, "--label", "event", *models, *words)
    assert "cross-fitted" in fitted.stdout
    done("predict", tmp_path / "model", coded, "-o", tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--event fire", "--event needs --image-branch clip-zero-shot"),
        ("--image-branch clip-probe --packs x.toml", "--packs needs --image-branch"),
        ("--image-branch clip-zero-shot", "needs --event"),
        ("--epochs 3", "--epochs needs --train-text or --train-image"),
        ("--image none --train-image 1", "--train-image does nothing with"),
        ("--pretrained openai", "--pretrained needs a CLIP branch"),
        ("--image-branch clip-probe --train-image all", "--train-image needs"),
        ("--image-branch clip-probe --image none", "leaves nothing for the branch"),
        (
            "--text none --text-prompt query",
            "--text-prompt does nothing with --text none",
        ),
        ("--train-text some", "expected head, all or a number of blocks, got 'some'"),
        ("--image-branch clip-zero-shot --event riot", "'riot'"),
        ("--text none --image none --device cpu", "--device does nothing with --text"),
        ("--text none --image none --batch-size 8", "--batch-size does nothing with"),
        ("--dtype float16", "'float16' is not one of"),
        ("--batch-size 0", "expected 1 or more, got 0"),
        (
            "--image none --device abacus",
            "`device` must be 'auto' or one that this machine has",
        ),
    ],
)
def test_branches_that_cannot_be_are_refused(
    run: Command, words: str, said: str, coded: Path, models: list[str], tmp_path: Path
) -> None:
    out = ["--text", models[1], "-o", tmp_path / "model"]
    result = run("fit", coded, "--label", "event", *out, *words.split())
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "model").exists()
