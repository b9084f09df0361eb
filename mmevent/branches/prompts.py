"""Prompts: checked, put into templates, and compared with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from mmevent.branches.head import fit_head
from mmevent.exceptions import InputError, ModelUnavailableError
from mmevent.posts.texts import is_visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmevent.encoders.clip import ClipModel

    Vectors = NDArray[np.float32]
    Floats = NDArray[np.float64]

DEFAULT_TEMPLATES = ("a photo of {}.", "a picture of {}.", "{}")
"""Sentences that prompts are put into where none are given."""


def check_prompts(name: str, prompts: object) -> tuple[str, ...]:
    """Return prompts as they came, if they are a list of some."""
    listed = isinstance(prompts, Sequence) and not isinstance(prompts, (str, bytes))
    some = tuple(prompts) if listed and isinstance(prompts, Sequence) else ()
    if not some or not all(isinstance(p, str) and is_visible(p) for p in some):
        raise InputError(
            f"{name}={prompts!r} are no prompts: expected a list of one description "
            f"of a picture or more, none of them empty. Write for example "
            f"{name}=['a protest in the street', 'people marching with signs']."
        )
    return some


def check_templates(templates: object) -> tuple[str, ...]:
    """Return templates as they came, if each has one place for a prompt."""
    listed = isinstance(templates, Sequence) and not isinstance(templates, str)
    some = tuple(templates) if listed and isinstance(templates, Sequence) else ()
    if not some or not all(map(_has_one_place, some)):
        raise InputError(
            f"templates={templates!r} are no templates: expected a list of sentences "
            f"with {{}} once in each, where a prompt goes. Write for example "
            f"templates=['a photo of {{}}.'], or ['{{}}'] for the prompts alone."
        )
    return some


def _has_one_place(template: object) -> bool:
    if not isinstance(template, str):
        return False
    try:
        fields = [field for _, field, *_ in Formatter().parse(template)]
    except ValueError:
        return False
    return [field for field in fields if field is not None] == [""]


def check_lengths(
    model: ClipModel, prompts: Sequence[str], templates: Sequence[str]
) -> None:
    """Refuse prompts that the model would not read to their end."""
    longest = int(model.tokenizer.context_length)
    counts = {
        text: model.n_tokens(text)
        for prompt in prompts
        for text in filled(prompt, templates)
    }
    too_long = {text: n for text, n in counts.items() if n > longest}
    if too_long:
        text, n = max(too_long.items(), key=lambda item: item[1])
        raise InputError(
            f"{len(too_long)} prompts are too long: expected at most {longest} tokens "
            f"with the template, all that the model reads, got {n} in {text[:60]!r}…. "
            f"Shorten them, or split them into several prompts."
        )


def filled(prompt: str, templates: Sequence[str]) -> list[str]:
    """Put a prompt into each template."""
    return [template.format(prompt) for template in templates]


def text_features(
    model: ClipModel, prompts: Sequence[str], templates: Sequence[str]
) -> Vectors:
    """Return one row of length 1 a prompt: the mean over templates, scaled again."""
    texts = [text for prompt in prompts for text in filled(prompt, templates)]
    rows = model.encode_texts(texts)
    if not np.isfinite(rows).all():
        bad = texts[int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])]
        raise ModelUnavailableError(
            f"the model {model.spec['model']!r} does not read every prompt: expected "
            f"finite text features, got others for {bad!r}. Choose another model, or "
            f"write this prompt in other words."
        )
    rows = rows.reshape(len(prompts), len(templates), -1)
    return unit(rows.mean(axis=1, dtype=np.float64)).astype(np.float32)


def unit(rows: Floats) -> Floats:
    """Scale rows to length 1."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


class PromptHead:
    """How much more an image looks like some prompts than like others.

    Parameters
    ----------
    positive, negative : ndarray of shape (n_prompts, n_features)
        Text features of length 1.
    scale : float
        What the model multiplies cosines by.
    """

    def __init__(self, positive: Vectors, negative: Vectors, scale: float) -> None:
        self.positive = positive
        self.negative = negative
        self.scale = scale
        self.calibration: Any = None
        self.classes_: NDArray[Any] = np.array([0, 1])

    def calibrate(
        self,
        rows: Vectors,
        labels: NDArray[Any],
        weights: Floats | None,
        groups: NDArray[np.intp],
    ) -> PromptHead:
        """Learn what share of the labelled images of a margin has which label."""
        self.calibration = fit_head(
            self.margin(rows)[:, None],
            labels,
            class_weight=None,
            sample_weight=weights,
            groups=groups,
        )
        self.classes_ = self.calibration.classes_
        return self

    @property
    def slope(self) -> float:
        """How the calibrated evidence for the second class rises with the margin."""
        return float(self.calibration.named_steps["logistic"].coef_[0, 0])

    def margin(self, rows: Vectors) -> Floats:
        """Return the logit of the score; views of an image are averaged."""
        width = self.positive.shape[1]
        views = rows.astype(np.float64).reshape(len(rows), -1, width)
        image = self.scale * unit(views.mean(axis=1))
        margin: Floats = _log_mean_exp(image @ self.positive.T)
        margin -= _log_mean_exp(image @ self.negative.T)
        return margin

    def predict_proba(self, rows: Vectors) -> Floats:
        """Return the score of each class."""
        margin = self.margin(rows)
        if self.calibration is not None:
            proba: Floats = self.calibration.predict_proba(margin[:, None])
            return proba
        # Both from the margin: 1 - p would be 0 where p is almost 1.
        score: Floats = np.exp(-np.logaddexp(0, np.column_stack([margin, -margin])))
        return score


def _log_mean_exp(values: Floats) -> Floats:
    total: Floats = np.logaddexp.reduce(values, axis=1)
    total -= np.log(values.shape[1])
    return total
