"""The encoder of images by CLIP, whose space descriptions in words share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import keep_parameters, write_json
from mmevent._settings import undisturbed
from mmevent.encoders.hub import (
    OPEN_CLIP,
    ModelFiles,
    ModelSource,
    find_folder,
    locate_model,
    quiet_loading,
    unloadable,
    untouched_logging,
)
from mmevent.encoders.identity import clip_config
from mmevent.encoders.loading import (
    check_tokenizer_files,
    kept_generator,
    model_spec,
    tried,
)
from mmevent.encoders.model import Spec
from mmevent.encoders.preprocessing import checked, steps_of_transforms
from mmevent.encoders.runtime import cast, full_precision
from mmevent.encoders.views import CENTRE, VIEWS, ViewEncoder, ViewModel
from mmevent.exceptions import InputError, ModelNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

DEFAULT_CLIP_MODEL = "ViT-B-32"
"""Name of the CLIP model that is used where none is named."""
DEFAULT_CLIP_PRETRAINED = "laion2b_s34b_b79k"
"""Tag of the weights that go with it."""

_FOLDER, _HUB = "local-dir:", "hf-hub:"
_FEW = 5  # names that a message lists

# Where a folder has the configuration of a text tower that transformers runs.
_TEXT_MODEL = "text_model"
_TEXT_CONFIG = ModelFiles(
    library="transformers",
    config="config.json",
    weights=None,
    usual_weights="no weights",
    saved_by="save its configuration with `save_pretrained`",
)
_PROMPTS_A_BATCH = 64


class ClipModel(ViewModel):
    """Images to CLIP's image features, and prompts to its text features, of length 1.

    The image features of each view have length 1; views stand side by side.
    """

    kind = "clip-image"
    files = OPEN_CLIP

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        transform: Any,
        config: dict[str, Any],
        spec: Spec,
        *,
        device: str,
    ) -> None:
        width = config["model_cfg"]["embed_dim"]
        super().__init__(network, spec, device=device, width=width)
        self.tokenizer = tokenizer
        self.config = config
        self.transform = transform
        read = partial(steps_of_transforms, transform.transforms)
        self.steps = checked(read, self._preprocess, spec["model"])
        self.n_texts_encoded = 0
        self._texts: dict[str, Vectors] = {}

    @classmethod
    def from_source(
        cls,
        source: ModelSource,
        device: str,
        expected: Spec | None,
        *,
        dtype: str,
        views: Sequence[str] = (CENTRE,),
    ) -> ClipModel:
        """Load the model from its folder; with `expected`, by that spec."""
        from open_clip.transform import PreprocessCfg, image_transform_v2

        config = _read_config(source)
        tokenizer = _tokenizer(source, config["model_cfg"]["text_cfg"])
        network = cast(_network(source, config), dtype, device)
        try:
            preprocessing = _preprocessing(network, expected)
            settings = PreprocessCfg(**preprocessing)
            transform = image_transform_v2(settings, is_train=False)
        except Exception as error:  # whatever the library finds wrong with the settings
            raise unloadable(source, error) from error
        pooling: Spec = {"output": "image features", "normalize": True}
        pooling["views"] = list(views)
        if expected is not None:
            pooling = expected["pooling"]
        found = clip_config(source, config["model_cfg"], network, tokenizer)
        spec = model_spec(
            *(source, network, frozenset(), found, preprocessing, pooling),
            max_length=None,
            expected=expected,
        )
        model = cls(network, tokenizer, transform, config, spec, device=device)
        return tried(source, model)

    @property
    def scale(self) -> float:
        """What the model multiplies cosines by before a softmax."""
        return float(self.network.logit_scale.exp())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 a text; each text is encoded once."""
        import torch
        from torch.nn.functional import normalize

        with (
            self.lock,
            torch.inference_mode(),
            full_precision(),
            undisturbed(),
        ):
            new = [text for text in dict.fromkeys(texts) if text not in self._texts]
            for start in range(0, len(new), _PROMPTS_A_BATCH):
                some = new[start : start + _PROMPTS_A_BATCH]
                tokens = self.tokenizer(some).to(self.device)
                rows = normalize(self.network.encode_text(tokens).float())
                self._texts |= zip(some, rows.cpu().numpy(), strict=True)
            self.n_texts_encoded += len(new)
            return np.stack([self._texts[text] for text in texts])

    def _preprocess(self, image: Image) -> Any:
        return self.transform(image).unsqueeze(0)

    def _compute(self, *inputs: Any) -> Any:
        from torch.nn.functional import normalize

        return normalize(self.network.encode_image(*inputs).float())

    def n_tokens(self, text: str) -> int:
        """Count the tokens of a text, with those that mark its start and end."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is None:
            return len(self.tokenizer.encode(text)) + 2
        clean = self.tokenizer.clean_fn(text)
        if getattr(self.tokenizer, "tokenizer_mode", "") == "clips":
            plain = inner(clean, add_special_tokens=False, verbose=False)
            return len(plain["input_ids"]) + 3
        return len(inner(clean, verbose=False)["input_ids"])

    def save(self, folder: Path) -> None:
        """Write the model so that it loads again from `folder` with the same spec."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = self.network.state_dict()
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in state.items()},
            folder / OPEN_CLIP.usual_weights,
        )
        self._save_preprocessing(folder)

    def _save_preprocessing(self, folder: Path) -> None:
        settings = self.spec["preprocessing"]
        write_json(
            folder / OPEN_CLIP.config, self.config | {"preprocess_cfg": settings}
        )
        if "hf_model_name" in self.config["model_cfg"]["text_cfg"]:
            self.network.text.config.save_pretrained(folder / _TEXT_MODEL)
        if hasattr(self.tokenizer, "tokenizer"):
            self.tokenizer.save_pretrained(folder)


class ClipEncoder(ViewEncoder):
    """Images to the image features of a CLIP model.

    The features of each view have length 1; views stand side by side. Each distinct
    image is encoded once, in each of its views. A scikit-learn transformer that needs
    no fit.

    Parameters
    ----------
    model : str, default="ViT-B-32"
        A name that open_clip knows; ``"hf-hub:ORGANISATION/NAME"`` for a model of the
        Hugging Face hub in its form; or a folder that holds ``open_clip_config.json``
        and ``open_clip_model.safetensors``, with ``local-dir:`` before it or not. A
        folder is never looked for on the network. Weights must be safetensors.
    revision : str or None, default=None
        As in `TextEncoder`.
    views : tuple of {"centre", "whole"}, default=("centre", "whole")
        What the network sees of each image, see `ImageEncoder`.
    pretrained : str or None, default="laion2b_s34b_b79k"
        Tag of the weights of a name that open_clip knows; not looked at for others.
    device : str, default="auto"
        As in `TextEncoder`.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        As in `TextEncoder`; see Notes of `ImageEncoder`.
    backend : {"torch", "openvino"}, default="torch"
        As in `TextEncoder`.
    batch_size : int, default=32
        As in `ImageEncoder`.
    local_files_only : bool, default=False
        As in `TextEncoder`.
    cache : path, "auto" or None, default="auto"
        As in `TextEncoder`.
    verbose : bool, default=False
        As in `ImageEncoder`.

    Attributes
    ----------
    spec_ : dict
        As in `TextEncoder`; ``max_length`` is None.

    See Also
    --------
    ImageClassifier : A linear probe on CLIP, with ``encoder=ClipEncoder()``.
    ClipZeroShotClassifier : Scores images by descriptions of the event.
    ImageEncoder : The features of an image classification network.

    Notes
    -----
    The model is loaded when it is first needed, see `TextEncoder`. The
    preprocessing is that of the model's own configuration.

    References
    ----------
    Radford et al. (2021). Learning Transferable Visual Models From Natural Language
    Supervision. ICML.

    Examples
    --------
    >>> from mmevent import ClipEncoder
    >>> encoder = ClipEncoder("RN50", pretrained="openai")
    >>> encoder.get_params()["views"]
    ('centre', 'whole')
    """

    model_class = ClipModel

    views: Sequence[str]
    pretrained: str | None

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_CLIP_MODEL,
        *,
        revision: str | None = None,
        views: Sequence[str] = VIEWS,
        pretrained: str | None = DEFAULT_CLIP_PRETRAINED,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "torch",
        batch_size: int = 32,
        local_files_only: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool = False,
    ) -> None:
        keep_parameters(self, locals())

    @property
    def reference(self) -> str:
        """Return the folder or the hub name of the model."""
        return clip_reference(self.model, self.pretrained)


def _network(source: ModelSource, config: dict[str, Any]) -> Any:
    import open_clip

    changed = _text_tower(source, config["model_cfg"]["text_cfg"])
    try:
        with quiet_loading(), kept_generator(), untouched_logging():
            return open_clip.create_model(
                f"local-dir:{source.folder}",
                precision="fp32",
                require_pretrained=True,
                **changed,
            )
    except Exception as error:  # whatever the library finds wrong with the files
        raise unloadable(source, error) from error


def _preprocessing(network: Any, expected: Spec | None) -> Spec:
    """Return the settings of the preprocessing, as plain JSON."""
    from open_clip import get_model_preprocess_cfg

    if expected is not None:
        return dict(expected["preprocessing"])
    settings: Spec = json.loads(json.dumps(get_model_preprocess_cfg(network)))
    return settings


def _read_config(source: ModelSource) -> dict[str, Any]:
    """Return the model's configuration, if all that it names is in reach."""
    path = source.folder / OPEN_CLIP.config
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        towers = config["model_cfg"]
        text, vision = towers["text_cfg"], towers["vision_cfg"]
        trunk = vision.get("timm_model_name") or ""
        if not isinstance(text, dict) or not isinstance(towers["embed_dim"], int):
            raise TypeError("embed_dim or text_cfg is of another kind")
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        problem = f"its {OPEN_CLIP.config} does not describe a model ({error!r})"
        raise unloadable(source, ValueError(problem)) from error
    if ":" in trunk:
        problem = f"its image tower {trunk!r} would have to be fetched"
        raise unloadable(source, ValueError(problem))
    return config


def _tokenizer(source: ModelSource, text: dict[str, Any]) -> Any:
    import open_clip

    name = text.get("hf_tokenizer_name")
    options = {"local_files_only": True, "trust_remote_code": False} if name else {}
    try:
        with quiet_loading(), untouched_logging():
            tokenizer = open_clip.get_tokenizer(f"local-dir:{source.folder}", **options)
    except Exception as error:  # whatever transformers finds wrong with the files
        problem = (
            f"its tokenizer {name!r} is not in its folder, or does not load; on a "
            f"machine with a network AutoTokenizer.from_pretrained({name!r})"
            f".save_pretrained(FOLDER) writes it there"
        )
        raise unloadable(source, ValueError(problem)) from error
    if name:
        check_tokenizer_files(source, tokenizer.tokenizer)
    return tokenizer


def _text_tower(source: ModelSource, text: dict[str, Any]) -> dict[str, Any]:
    """Return what to change for a text tower of transformers: where its config is."""
    name = text.get("hf_model_name")
    if not name:
        return {}
    folder = source.folder / _TEXT_MODEL
    if not (folder / _TEXT_CONFIG.config).is_file():
        if source.revision is None:
            problem = (
                f"the configuration of its text model {name!r} is not in its folder "
                f"{_TEXT_MODEL!r}; on a machine with a network AutoConfig."
                f"from_pretrained({name!r}).save_pretrained('{_TEXT_MODEL}') writes it"
            )
            raise unloadable(source, ValueError(problem))
        folder = locate_model(
            name, files=_TEXT_CONFIG, local_files_only=not source.may_fetch
        ).folder
    if "auto_map" in json.loads((folder / _TEXT_CONFIG.config).read_bytes()):
        problem = f"its text model {name!r} brings Python code of its own"
        raise unloadable(source, ValueError(problem))
    return {"text_cfg": text | {"hf_model_name": str(folder)}}


def clip_reference(model: object, pretrained: object) -> str:
    """Return the folder or the hub name that a model and the tag of its weights mean.

    `pretrained` is looked at for a built-in name alone, as in open_clip.
    """
    text = os.fspath(model) if isinstance(model, (str, os.PathLike)) else ""
    if not text.removeprefix(_FOLDER).removeprefix(_HUB):
        msg = (
            f"`model` must be a folder, 'hf-hub:ORGANISATION/NAME' or a name that "
            f"open_clip knows; got {model!r}. Pass for example "
            f"model={DEFAULT_CLIP_MODEL!r} with pretrained={DEFAULT_CLIP_PRETRAINED!r}."
        )
        raise InputError(msg)
    if text.startswith(_HUB):
        return text.removeprefix(_HUB)
    is_path = text.startswith(_FOLDER) or not isinstance(model, str)
    folder = find_folder(
        Path(text.removeprefix(_FOLDER)) if is_path else text, OPEN_CLIP
    )
    return str(folder) if folder is not None else _built_in(text, pretrained)


def _built_in(model: str, pretrained: object) -> str:
    """Return the hub name of a model of open_clip's own list."""
    from open_clip import pretrained as lists

    name = model.replace("/", "-")  # open_clip takes ViT-B/32 for ViT-B-32
    known = list(dict.fromkeys(known for known, _ in lists.list_pretrained()))
    if name not in known:
        msg = (
            f"model={model!r} is neither a folder here nor a model that open_clip has "
            f"pretrained weights for; expected one of its {len(known)} names, "
            f"{near(name, known)}. Correct `model`, or write "
            f"'hf-hub:ORGANISATION/NAME' for a model of the Hugging Face hub."
        )
        raise ModelNameError(msg)
    tags = lists.list_pretrained_tags_by_model(name)
    config: dict[str, str] = {}
    if isinstance(pretrained, str):
        config = lists.get_pretrained_cfg(name, pretrained)
    if not config:
        msg = (
            f"pretrained={pretrained!r} names no weights of {name!r}; expected one of "
            f"its {len(tags)} tags, {near(str(pretrained), tags)}. Correct "
            f"`pretrained`."
        )
        raise ModelNameError(msg)
    repository, file = os.path.split(config.get("hf_hub", ""))
    if not repository or (file and not file.endswith(".safetensors")):
        msg = (
            f"The weights {pretrained!r} of {name!r} are published as a pickle only "
            f"({file or config.get('url')}); expected safetensors, since loading a "
            f"pickle can run code. On a machine where you trust that file, load it "
            f"with model = open_clip.create_model({name!r}, {pretrained!r}), "
            f"{OPEN_CLIP.saved_by}; then pass that folder as `model`."
        )
        raise ModelNameError(msg)
    return repository


def near(name: str, known: Iterable[str]) -> str:
    """Say which of the known names look like one that is not known."""
    by_lower = {one.lower(): one for one in known}
    some = get_close_matches(name.lower(), by_lower, n=_FEW, cutoff=0.5)
    if some:
        return f"such as {', '.join(repr(by_lower[one]) for one in some)}"
    names = [repr(one) for one in by_lower.values()]
    return f"from {', '.join(names[:_FEW])}{', …' * (len(names) > _FEW)}"
