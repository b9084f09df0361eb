"""The two towers of a CLIP model: images and prompts to vectors of one space."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._encoding import Encoder, Spec, full_precision, json_hash, write_json
from mmevent._hub import (
    OPEN_CLIP,
    ModelFiles,
    ModelSource,
    locate_model,
    quiet_loading,
    unloadable,
    untouched_logging,
)
from mmevent._image_encoder import CENTRE, ViewEncoder
from mmevent._loading import (
    LOADERS,
    TOKENIZER_PROBES,
    check_same,
    check_tokenizer_files,
    encoder_spec,
    kept_generator,
    tried,
)
from mmevent._pixels import checked, steps_of_transforms
from mmevent._precision import cast

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Vectors = NDArray[np.float32]

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
_TOKENIZER = "tokenizer_sha256"


class _Tower(Encoder):
    """What both towers of a CLIP model share: the model, whole, and its tokenizer."""

    files = OPEN_CLIP
    tokenizer: Any
    config: dict[str, Any]

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
        state = self.model.state_dict()
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in state.items()},
            folder / OPEN_CLIP.usual_weights,
        )
        self._save_preprocessing(folder)

    def _save_preprocessing(self, folder: Path) -> None:
        settings = dict(self.spec["preprocessing"])
        settings.pop(_TOKENIZER, None)
        write_json(
            folder / OPEN_CLIP.config, self.config | {"preprocess_cfg": settings}
        )
        if "hf_model_name" in self.config["model_cfg"]["text_cfg"]:
            self.model.text.config.save_pretrained(folder / _TEXT_MODEL)
        if hasattr(self.tokenizer, "tokenizer"):
            self.tokenizer.save_pretrained(folder)


class ClipTextEncoder(_Tower):
    """Texts to CLIP's text features, of length 1."""

    kind, item, trial = "clip-text", "text", "a text"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: dict[str, Any],
        spec: Spec,
        *,
        device: str,
    ) -> None:
        width = config["model_cfg"]["embed_dim"]
        super().__init__(model, spec, device=device, width=width, missing=frozenset())
        self.tokenizer = tokenizer
        self.tokenizing = threading.Lock()
        self.config = config

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts have more tokens than the model reads."""
        longest = self.spec["max_length"]
        with self.lock:
            return np.array([self.n_tokens(text) > longest for text in texts], bool)

    def _forward(self, items: list[str]) -> Vectors:
        with self.tokenizing:
            tokens = self.tokenizer(items)
        with self.turn:
            rows: Vectors = self._run(tokens.to(self.device)).numpy()
        return rows

    def _compute(self, *inputs: Any) -> Any:
        from torch.nn.functional import normalize

        return normalize(self.model.encode_text(*inputs).float())

    def _example(self) -> tuple[Any, ...]:
        return (self.tokenizer(["a march", "a day"]),)


class ClipEncoder(_Tower, ViewEncoder):
    """Images to CLIP's image features, and prompts to its text features, of length 1.

    The image features of each view have length 1; views stand side by side.
    """

    kind = "clip-image"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        transform: Any,
        config: dict[str, Any],
        spec: Spec,
        *,
        device: str,
    ) -> None:
        width = config["model_cfg"]["embed_dim"]
        super().__init__(model, spec, device=device, width=width)
        self.tokenizer = tokenizer
        self.config = config
        self.transform = transform
        read = partial(steps_of_transforms, transform.transforms)
        self.steps = checked(read, self._preprocess)
        self.n_texts_encoded = 0
        self._texts: dict[str, Vectors] = {}

    @property
    def scale(self) -> float:
        """What the model multiplies cosines by before a softmax."""
        return float(self.model.logit_scale.exp())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 a text; each text is encoded once."""
        import torch
        from torch.nn.functional import normalize

        with self.lock, torch.inference_mode(), full_precision():
            new = [text for text in dict.fromkeys(texts) if text not in self._texts]
            for start in range(0, len(new), _PROMPTS_A_BATCH):
                some = new[start : start + _PROMPTS_A_BATCH]
                tokens = self.tokenizer(some).to(self.device)
                rows = normalize(self.model.encode_text(tokens).float())
                self._texts |= zip(some, rows.cpu().numpy(), strict=True)
            self.n_texts_encoded += len(new)
            return np.stack([self._texts[text] for text in texts])

    def _preprocess(self, image: Image) -> Any:
        return self.transform(image).unsqueeze(0)

    def _compute(self, *inputs: Any) -> Any:
        from torch.nn.functional import normalize

        return normalize(self.model.encode_image(*inputs).float())


def _load(
    source: ModelSource,
    device: str,
    expected: Spec | None,
    *,
    dtype: str,
    views: Sequence[str] = (CENTRE,),
) -> ClipEncoder:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    config = _read_config(source)
    tokenizer = _tokenizer(source, config["model_cfg"]["text_cfg"])
    model = cast(_model(source, config), dtype, device)
    try:
        preprocessing = _preprocessing(model, expected)
        transform = image_transform_v2(PreprocessCfg(**preprocessing), is_train=False)
    except Exception as error:  # whatever the library finds wrong with the settings
        raise unloadable(source, error) from error
    pooling: Spec = {"output": "image features", "normalize": True}
    pooling["views"] = list(views)
    if expected is not None:
        pooling = expected["pooling"]
    spec = encoder_spec(
        source, model, frozenset(), preprocessing, pooling, None, expected
    )
    encoder = ClipEncoder(model, tokenizer, transform, config, spec, device=device)
    return tried(source, encoder, Image.new("RGB", (32, 32)))


def _load_text(
    source: ModelSource, device: str, expected: Spec | None, *, dtype: str
) -> ClipTextEncoder:
    config = _read_config(source)
    tokenizer = _tokenizer(source, config["model_cfg"]["text_cfg"])
    model = cast(_model(source, config), dtype, device)
    pooling: Spec = {"output": "text features", "normalize": True}
    # What its own folder says of images is kept with it, and tokens stand for a text.
    preprocessing = _preprocessing(model, expected)
    found = json_hash(tokenizer(TOKENIZER_PROBES).tolist())
    expected_hash = preprocessing.setdefault(_TOKENIZER, found)
    check_same(source, "tokenizer is", expected_hash, found)
    length = int(tokenizer.context_length)
    spec = encoder_spec(
        source, model, frozenset(), preprocessing, pooling, length, expected
    )
    encoder = ClipTextEncoder(model, tokenizer, config, spec, device=device)
    return tried(source, encoder, "a text")


LOADERS[ClipEncoder] = _load
LOADERS[ClipTextEncoder] = _load_text


def _model(source: ModelSource, config: dict[str, Any]) -> Any:
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


def _preprocessing(model: Any, expected: Spec | None) -> Spec:
    """Return the settings of the preprocessing, as plain JSON."""
    from open_clip import get_model_preprocess_cfg

    if expected is not None:
        return dict(expected["preprocessing"])
    settings: Spec = json.loads(json.dumps(get_model_preprocess_cfg(model)))
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
