"""The branches that the options of `mmevent fit` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmevent._console import Session

PROBE, ZERO_SHOT = "clip-probe", "clip-zero-shot"
_NEED_ZERO_SHOT = {"event": "--event", "packs": "--packs"}


def trained(
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


def new_branches(options: dict[str, Any], session: Session) -> tuple[Any, Any]:
    """Return unfitted text and image branches, None for none.

    A model that is not found is refused here, before any work.
    """
    from mmevent import ImageClassifier, TextClassifier

    _check(options)
    settings = {"train": options["train_text"], "n_epochs": options["epochs"]}
    text = _branch(TextClassifier, options["text"], settings, options, session)
    kind = options["image_branch"]
    if kind != "classifier":
        return text, _clip_branch(kind, options, session)
    settings = {"train": options["train_image"], "n_epochs": options["epochs"]}
    return text, _branch(ImageClassifier, options["image"], settings, options, session)


def _check(options: dict[str, Any]) -> None:
    """Refuse options that would do nothing, and a missing one."""
    kind = options["image_branch"]
    for name, flag in _NEED_ZERO_SHOT.items():
        if options[name] is not None and kind != ZERO_SHOT:
            raise click.UsageError(f"{flag} needs --image-branch {ZERO_SHOT}.")
    if options["pretrained"] is not None and kind == "classifier":
        raise click.UsageError("--pretrained needs a CLIP branch, see --image-branch.")
    if kind != "classifier" and options["train_image"] != "head":
        raise click.UsageError("--train-image needs --image-branch classifier.")
    if kind != "classifier" and options["image"] == "none":
        raise click.UsageError(f"--image none leaves nothing for the branch {kind}.")
    for side in ("text", "image"):
        if options[side] == "none" and options[f"train_{side}"] != "head":
            raise click.UsageError(f"--train-{side} does nothing with --{side} none.")
    chosen = click.get_current_context().get_parameter_source("epochs")
    trains = {options["train_text"], options["train_image"]} != {"head"}
    if chosen is not click.core.ParameterSource.DEFAULT and not trains:
        raise click.UsageError("--epochs needs --train-text or --train-image.")
    if kind == ZERO_SHOT and options["event"] is None:
        raise click.UsageError(
            f"--image-branch {ZERO_SHOT} needs --event, the name of an event pack."
        )


def _clip_branch(kind: str, options: dict[str, Any], session: Session) -> Any:
    from mmevent import ClipProbeClassifier, ClipZeroShotClassifier

    settings: dict[str, Any] = {}
    if options["pretrained"] is not None:
        settings["pretrained"] = options["pretrained"]
    if kind == PROBE:
        return _branch(
            ClipProbeClassifier, options["image"], settings, options, session
        )
    settings |= {"event": options["event"], "packs": options["packs"]}
    # Branches are fitted on 0 and 1, of which 1 is an event.
    return _branch(ClipZeroShotClassifier, options["image"], settings, options, session)


def _branch(
    kind: Any,
    model: str | None,
    settings: dict[str, Any],
    options: dict[str, Any],
    session: Session,
) -> Any:
    from mmevent._hub import locate_model

    if model == "none":
        return None
    if model is not None:
        settings = {"model": model, **settings}
    branch = kind(
        **settings,
        local_files_only=options["local_files_only"],
        verbose=session.progress,
    )
    if "random_state" in branch.get_params():
        branch.set_params(random_state=options["seed"])
    branch._check_parameters()
    locate_model(
        branch._model(),
        files=branch._encoder_class.files,
        local_files_only=branch.local_files_only,
        verbose=session.progress,
    )
    return branch
