"""The branches of `mmevent fit`: its options about encoders, and what they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmevent.cli import shared

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSIFIER, PROBE, ZERO_SHOT = "classifier", "clip-probe", "clip-zero-shot"
_NEED_ZERO_SHOT = {"event": "--event", "packs": "--packs"}
_RUNTIME = ("device", "dtype", "backend", "batch_size")


def _trained(
    context: click.Context, parameter: click.Parameter, value: str
) -> str | int:
    """Return what of an encoder is trained as a branch takes it."""
    if value in ("head", "all"):
        return value
    if value.isdecimal() and int(value) > 0:
        return int(value)
    raise click.BadParameter(
        f"expected head, all or a number of blocks, got {value!r}.", context, parameter
    )


MODELS = [
    click.option(
        "--text",
        metavar="MODEL|none",
        help="Text encoder: a name on the Hugging Face hub, or a folder; none for no "
        "text.  [default: paraphrase-multilingual-MiniLM-L12-v2]",
    ),
    click.option(
        "--text-prompt",
        metavar="PROMPT",
        help="What stands before each text: the name of one of the text encoder's own "
        "prompts, or the words, such as 'query: ' for E5.  "
        "[default: the model's own, if it has one]",
    ),
    click.option(
        "--image",
        metavar="MODEL|none",
        help="Image encoder, likewise; none for no images.  "
        "[default: microsoft/resnet-50, or CLIP's ViT-B-32]",
    ),
    click.option(
        "--image-branch",
        type=click.Choice([CLASSIFIER, PROBE, ZERO_SHOT]),
        default=CLASSIFIER,
        help="What judges images. classifier: a classification network; clip-probe: "
        "CLIP's features, with a head that learns from the labels; clip-zero-shot: "
        "CLIP's score by the descriptions of --event, which labels only calibrate.",
    ),
    click.option(
        "--pretrained",
        metavar="TAG",
        help="With a CLIP branch: the weights of a name that open_clip knows.  "
        "[default: laion2b_s34b_b79k]",
    ),
    click.option(
        "--event",
        metavar="NAME",
        help="With clip-zero-shot: the event pack whose descriptions are compared, "
        "such as protest, flood or fire.",
    ),
    click.option(
        "--packs",
        type=shared.PATH,
        metavar="FILE",
        help="With --event: a file of your own packs, in TOML.",
    ),
    click.option(
        "--train-text",
        callback=_trained,
        metavar="head|all|N",
        default="head",
        help="What of the text encoder learns from the labels: head, a classifier on "
        "top of it; all of it; or its last N blocks. The last two take long without a "
        "GPU.",
    ),
    click.option(
        "--train-image",
        callback=_trained,
        metavar="head|all|N",
        default="head",
        help="What of the image encoder learns, likewise.",
    ),
    shared.whole_number(
        "--epochs",
        default=8,
        help="Passes over the posts where an encoder is trained, at most.",
    ),
]
RUNTIME = [shared.DEVICE, shared.DTYPE, shared.BACKEND, shared.BATCH_SIZE, shared.LOCAL]


def check_models(options: Mapping[str, Any]) -> None:
    """Refuse options that would do nothing, and a missing one."""
    kind = options["image_branch"]
    for name, flag in _NEED_ZERO_SHOT.items():
        if options[name] is not None and kind != ZERO_SHOT:
            shared.refuse(f"{flag} needs --image-branch {ZERO_SHOT}.")
    if options["pretrained"] is not None and kind == CLASSIFIER:
        shared.refuse("--pretrained needs a CLIP branch, see --image-branch.")
    if kind != CLASSIFIER and options["train_image"] != "head":
        shared.refuse("--train-image needs --image-branch classifier.")
    if kind != CLASSIFIER and options["image"] == "none":
        shared.refuse(f"--image none leaves nothing for the branch {kind}.")
    for side in ("text", "image"):
        if options[side] == "none" and options[f"train_{side}"] != "head":
            shared.refuse(f"--train-{side} does nothing with --{side} none.")
    if options["text"] == "none" and options["text_prompt"] is not None:
        shared.refuse("--text-prompt does nothing with --text none.")
    chosen = click.get_current_context().get_parameter_source("epochs")
    trains = {options["train_text"], options["train_image"]} != {"head"}
    if chosen is not click.core.ParameterSource.DEFAULT and not trains:
        shared.refuse("--epochs needs --train-text or --train-image.")
    if kind == ZERO_SHOT and options["event"] is None:
        shared.refuse(
            f"--image-branch {ZERO_SHOT} needs --event, the name of an event pack."
        )
    given = [name for name in _RUNTIME if options[name] is not None]
    if given and options["text"] == options["image"] == "none":
        flag = f"--{given[0].replace('_', '-')}"
        shared.refuse(f"{flag} does nothing with --text none --image none.")


def new_branches(options: Mapping[str, Any], *, verbose: bool) -> tuple[Any, Any]:
    """Return unfitted text and image branches, None for none.

    Parameters are checked and models are found here, before any work.
    """
    text, image = _text(options, verbose), _image(options, verbose)
    for branch in (text, image):
        if branch is not None:
            branch.find_model()
    return text, image


def _text(options: Mapping[str, Any], verbose: bool) -> Any:
    from mmevent import TextClassifier, TextEncoder

    if options["text"] == "none":
        return None
    encoder = _encoder(TextEncoder, options["text"], options, verbose)
    encoder.set_params(prompt=options["text_prompt"])
    return TextClassifier(
        encoder=encoder,
        train=options["train_text"],
        n_epochs=options["epochs"],
        random_state=options["seed"],
        verbose=verbose,
    )


def _image(options: Mapping[str, Any], verbose: bool) -> Any:
    from mmevent import (
        ClipEncoder,
        ClipZeroShotClassifier,
        ImageClassifier,
        ImageEncoder,
    )

    if options["image"] == "none":
        return None
    kind = options["image_branch"]
    encoder = _encoder(
        ImageEncoder if kind == CLASSIFIER else ClipEncoder,
        options["image"],
        options,
        verbose,
    )
    if kind == ZERO_SHOT:
        return ClipZeroShotClassifier(
            options["event"], packs=options["packs"], encoder=encoder, verbose=verbose
        )
    return ImageClassifier(
        encoder=encoder,
        train=options["train_image"],
        n_epochs=options["epochs"],
        random_state=options["seed"],
        verbose=verbose,
    )


def _encoder(
    kind: Any, model: str | None, options: Mapping[str, Any], verbose: bool
) -> Any:
    """Return an encoder; what no option gives is left to its own default."""
    named = () if model is None else (model,)
    settings = {
        name: options[name]
        for name in (*_RUNTIME, "pretrained")
        if options[name] is not None
    }
    local = options["local_files_only"]
    return kind(*named, **settings, local_files_only=local, verbose=verbose)
