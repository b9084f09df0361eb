"""The encoder of texts: token embeddings of a transformer or a table, pooled."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent._common import keep_parameters
from mmevent.encoders.base import Encoder
from mmevent.encoders.hub import STATIC, ModelSource
from mmevent.encoders.identity import OF_TEXTS, restore_tokenizer, text_config
from mmevent.encoders.loading import (
    check_same,
    from_pretrained,
    incomplete,
    model_spec,
    tried,
)
from mmevent.encoders.model import Encoded, Model, Spec, cut
from mmevent.encoders.runtime import MODULES
from mmevent.encoders.sentence import (
    LIBRARY,
    attach_modules,
    choose_prompt,
    read_sentence,
    run_modules,
    width_after,
    write_sentence,
)
from mmevent.encoders.static import StaticModel
from mmevent.encoders.tokens import (
    chosen_length,
    load_tokenizer,
    longest_input,
    tokenizer_hash,
)
from mmevent.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

DEFAULT_TEXT_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""Name of the text model that is used where none is named."""

# Tokens of a batch on a processor: the activations of more fall out of its caches.
_CPU_TOKENS = 512


class TextModel(Model):
    """Texts to pooled token embeddings."""

    kind = item = "text"
    trial = "a text"
    trainable = True
    varying: tuple[int, ...] = (0, 1)
    libraries: tuple[str, ...] = OF_TEXTS
    names: list[str]  # of the network's inputs, in their order

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        spec: Spec,
        *,
        device: str,
        missing: frozenset[str] = frozenset(),
    ) -> None:
        width = width_after(getattr(network, MODULES, ()), network.config.hidden_size)
        super().__init__(network, spec, device=device, width=width, missing=missing)
        self.tokenizer = tokenizer
        self.tokenizing = threading.Lock()  # its padding is a state of its own
        self.prompt_length: dict[str, int] = {}
        if len(self.modules):
            self.libraries = (*OF_TEXTS, LIBRARY)
            self.prompt_length = self._prompt_length()

    @classmethod
    def from_source(
        cls,
        source: ModelSource,
        device: str,
        expected: Spec | None,
        *,
        dtype: str,
        max_length: int | None = None,
        prompt: str | None = None,
    ) -> Any:
        """Load the model from its folder; with `expected`, by that spec."""
        from transformers import AutoModel, AutoTokenizer

        sentence = read_sentence(source)
        if sentence.first == STATIC:
            return StaticModel.from_source(
                source,
                device,
                expected,
                sentence=sentence,
                dtype=dtype,
                max_length=max_length,
                prompt=prompt,
            )
        place = source._replace(folder=source.folder / sentence.path)
        network, missing = from_pretrained(place, AutoModel, dtype, device, expected)
        surplus = {name for name in missing if not name.startswith("pooler.")}
        if surplus:
            raise incomplete(source, surplus)
        if getattr(network.config, "use_cache", False):
            network.config.use_cache = False  # of a decoder, which is to write no more
        pooling = sentence.pooling if expected is None else expected["pooling"]
        tokenizer = load_tokenizer(place, AutoTokenizer)
        if "modules" in pooling:
            # Their poolings find a text's tokens on either side, and these have the
            # same places in every batch.
            tokenizer.padding_side = "right"
        if expected is not None:
            restore_tokenizer(place, tokenizer, expected["config"]["tokenizer"])
        config = text_config(place, network, tokenizer)
        if "modules" in pooling:
            config |= attach_modules(source, sentence, network, pooling)
        preprocessing: Spec = {
            "lower_case": sentence.lower_case,
            "prompt": "",
            "tokenizer_sha256": tokenizer_hash(tokenizer),
        }
        if expected is None:
            limit = longest_input(network, tokenizer)
            length = chosen_length(max_length, sentence.max_length, limit)
            preprocessing["prompt"] = choose_prompt(source, sentence, prompt)
        else:
            wanted = expected["preprocessing"]["tokenizer_sha256"]
            found = preprocessing["tokenizer_sha256"]
            check_same(source, "tokenizer is", wanted, found)
            preprocessing, length = expected["preprocessing"], expected["max_length"]
        spec = model_spec(
            source, network, missing, config, preprocessing, pooling, length, expected
        )
        model = cls(network, tokenizer, spec, device=device, missing=missing)
        return tried(source, model)

    def is_truncated(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts have more tokens than the model reads."""
        longest = self.spec["max_length"]
        with self.lock:
            return np.greater(self._n_tokens(texts), longest)

    def _save_preprocessing(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        write_sentence(folder, self.spec, self.width, self.modules)

    def _batches(self, items: Sequence[str], batch_size: int) -> list[list[int]]:
        """Put texts of as many tokens together, so that little is padded."""
        counts = np.minimum(self._n_tokens(items), self.spec["max_length"])
        order = np.argsort(counts, kind="stable")
        if self.device != "cpu":
            return cut(order.tolist(), batch_size)
        batches: list[list[int]] = []
        for i in order.tolist():
            n = len(batches[-1]) + 1 if batches else 0
            if batches and n <= batch_size and n * counts[i] <= _CPU_TOKENS:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _n_tokens(self, texts: Sequence[str]) -> NDArray[np.intp]:
        ids = self._tokenize(list(texts), verbose=False)["input_ids"] if texts else []
        return np.fromiter(map(len, ids), np.intp, len(ids))

    @property
    def modules(self) -> Any:
        """Return the modules of sentence-transformers that follow the network."""
        return getattr(self.network, MODULES, ())

    def _prompt_length(self) -> dict[str, int]:
        """Return what a pooling that leaves the prompt out has to know."""
        if not self.spec["preprocessing"]["prompt"]:
            return {}
        ids = self._tokenize([""], verbose=False)["input_ids"][0]
        ends = bool(ids) and ids[-1] in self.tokenizer.all_special_ids
        return {"prompt_length": len(ids) - ends}

    def _tokenize(self, texts: Sequence[str], **options: Any) -> Any:
        preprocessing = self.spec["preprocessing"]
        texts = [preprocessing["prompt"] + text for text in texts]
        if preprocessing["lower_case"]:
            texts = [text.lower() for text in texts]
        return self.tokenizer(texts, **options)

    def _forward(self, items: list[str]) -> Vectors:
        inputs = self._inputs(items).to(self.device)
        with self.turn:
            rows: Vectors = self._run(*inputs.values()).numpy()
        return rows

    def _inputs(self, texts: list[str]) -> Any:
        with self.tokenizing:
            inputs = self.collate(texts)
        self.names = list(inputs)
        return inputs

    def _compute(self, *inputs: Any) -> Any:
        return self.features(dict(zip(self.names, inputs, strict=True)))

    def _example(self) -> tuple[Any, ...]:
        # Without a prompt, which could be all that is read: one text is to be padded.
        bare = copy(self)
        bare.spec = self.spec | {
            "preprocessing": self.spec["preprocessing"] | {"prompt": ""}
        }
        inputs = bare._inputs(["a march through the city", "a day"])
        self.names = bare.names
        return tuple(inputs.values())

    def picture(self, items: Sequence[str], i: int) -> str:
        """Return a text; there is nothing to decode."""
        return items[i]

    def example(self, text: str, *, augment: bool) -> str:
        """Return what `collate` takes of a text; there is no other way to say it."""
        return text

    def collate(self, examples: list[str]) -> Any:
        """Return the network's inputs for some texts."""
        return self._tokenize(
            examples,
            padding=True,
            truncation=True,
            max_length=self.spec["max_length"],
            return_tensors="pt",
        )

    def features(self, inputs: Any) -> Any:
        """Return a tensor of one pooled row a text."""
        import torch

        hidden = self.network(**inputs).last_hidden_state.float()
        if len(self.modules):
            given = {**inputs, "token_embeddings": hidden, **self.prompt_length}
            return run_modules(self.modules, given)
        mask = inputs["attention_mask"].unsqueeze(-1).bool()
        mode = self.spec["pooling"]["mode"]
        if mode == "cls":
            pooled = hidden[:, 0]
        elif mode == "max":
            pooled = hidden.masked_fill(~mask, -torch.inf).amax(dim=1)
        else:
            pooled = hidden.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
        if self.spec["pooling"]["normalize"]:
            pooled = torch.nn.functional.normalize(pooled)
        return pooled


class TextEncoder(Encoder):
    """Texts to the pooled embeddings of a pretrained transformer.

    Token embeddings are averaged and L2-normalised, unless the model's own
    sentence-transformers files say otherwise: pooling of any kind, dense layers, and
    static models (model2vec), which have one vector a token and no network. Each
    distinct text is encoded once. A scikit-learn transformer that needs no fit.

    Parameters
    ----------
    model : str, default="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
        Name on the Hugging Face hub, or folder, of a transformers encoder or a
        sentence-transformers model with safetensors weights. A folder is never looked
        for on the network.
    revision : str or None, default=None
        Branch, tag or commit of a hub model; None for its newest.
    max_length : int or None, default=None
        Number of tokens that are read of a text, the special ones included; the rest
        is cut off. None for the model's own, of 8,192 at most.
    prompt : str or None, default=None
        What stands before each text: the name of one of the model's own prompts, such
        as "query"; or the words themselves, which hold a space or a colon, such as
        "query: " for E5. "" is no prompt. None is the model's own default, which most
        models do not have; ``spec_["preprocessing"]["prompt"]`` says what was used.
    device : str, default="auto"
        Torch device. "auto" takes the first there is of cuda, mps and cpu.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Number format of the model. "auto" is bfloat16 where the device computes in it
        and the model has a million weights or more, which is faster and moves scores a
        little; the guide on speed says how much.
    backend : {"torch", "openvino"}, default="torch"
        What runs the model on a processor. "openvino" needs the extra of that name,
        takes some seconds to compile the model, and is then faster.
    batch_size : int, default=32
        Number of texts encoded at a time; it changes the result by no more than
        rounding.
    local_files_only : bool, default=False
        Whether to use only what is on this machine, and no network.
    cache : path, "auto" or None, default="auto"
        File that keeps embeddings for later calls and other processes. "auto" is what
        the environment variable MMEVENT_CACHE names ("off" for none), else
        ``~/.cache/mmevent/embeddings.sqlite``; None keeps none.
    verbose : bool, default=False
        Whether to show progress bars on the standard error.

    Attributes
    ----------
    spec_ : dict
        Only of an encoder that a classifier has fitted: what identifies the model,
        ``model``, ``revision``, ``weights_sha256``, ``preprocessing``, ``pooling``,
        ``max_length`` and ``dtype``. The encoder loads this model and no other.
    pretrained_spec_ : dict
        The same of the model before it was fine-tuned; only then is it there.

    See Also
    --------
    TextClassifier : A classifier of texts on such an encoder.
    ImageEncoder : The same for images.

    Notes
    -----
    The model is loaded when it is first needed: downloaded, or found in the folder that
    ``model`` names. Its weights are no part of the encoder: a copy, a pickle or a saved
    detector refers to them by name and SHA-256.

    Examples
    --------
    >>> from mmevent import TextEncoder
    >>> encoder = TextEncoder("intfloat/multilingual-e5-small", prompt="query: ")
    >>> encoder.get_params()["prompt"]
    'query: '
    """

    model_class = TextModel

    max_length: int | None
    prompt: str | None = None  # of an encoder that an earlier version saved

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_TEXT_MODEL,
        *,
        revision: str | None = None,
        max_length: int | None = None,
        prompt: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "torch",
        batch_size: int = 32,
        local_files_only: bool = False,
        cache: str | os.PathLike[str] | None = "auto",
        verbose: bool = False,
    ) -> None:
        keep_parameters(self, locals())

    def encode(self, X: Sequence[str], *, verbose: bool = False) -> Encoded:
        """Return the features of each text, as `transform` does, and a status.

        Parameters
        ----------
        X : sequence of str
            Texts.
        verbose : bool, default=False
            Whether to show a progress bar, whatever the encoder's own parameter says.

        Returns
        -------
        rows : ndarray of shape (n_texts, width), float32
            Features; NaN where the model's output is not finite.
        statuses : ndarray of shape (n_texts,)
            "ok" for each text.
        """
        texts = read_texts(X)
        rows = self._embed(texts, texts, verbose=verbose).rows
        return Encoded(rows, np.full(len(texts), "ok"))

    def is_truncated(self, X: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are longer than the model reads.

        Parameters
        ----------
        X : sequence of str
            Texts.

        Returns
        -------
        ndarray of shape (n_texts,)
            True where tokens are cut off.
        """
        truncated: NDArray[np.bool_] = self.load().is_truncated(read_texts(X))
        return truncated

    @property
    def settings(self) -> dict[str, Any]:
        """Return the parameters of this kind of encoder that shape its features."""
        if not (self.prompt is None or isinstance(self.prompt, str)):
            raise InputError(
                f"`prompt` must be None or a text; got {self.prompt!r}. Use the name "
                f"of one of the model's prompts, or the words, such as 'query: '."
            )
        return {"max_length": self.max_length, "prompt": self.prompt}

    def __sklearn_tags__(self) -> Any:
        """Say that `X` holds strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


def read_texts(X: Any) -> list[str]:
    """Return texts as a list; validate that they are texts."""
    one = isinstance(X, (str, bytes, Mapping)) or getattr(X, "ndim", 1) != 1
    try:
        texts = [] if one else list(X)
    except TypeError:
        one = True
    if one:
        msg = (
            f"X must be a sequence of texts; got {type(X).__name__}. Pass a list of "
            f"str, such as posts['text']."
        )
        raise InputError(msg)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            msg = (
                f"X must hold one str a row; row {row} is {text!r}, of type "
                f"{type(text).__name__}. Leave rows without text out."
            )
            raise InputError(msg)
    return [str(text) for text in texts]
