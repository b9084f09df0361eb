"""Classifiers of texts and of single pictures.

In go items with labels; out comes a probability of each class per item. A classifier is
an encoder, a head on its features, and a way to train them. Start reading at `base.py`;
`text.py`, `image.py` and `zero_shot.py` are the three kinds, and `fitting.py` is what a
detector asks of them and of any other scikit-learn classifier.
"""

from mmevent.branches.image import ImageClassifier
from mmevent.branches.packs import EventPack, event_packs
from mmevent.branches.prompts import PromptHead
from mmevent.branches.text import TextClassifier
from mmevent.branches.zero_shot import ClipZeroShotClassifier

__all__ = [
    "ClipZeroShotClassifier",
    "EventPack",
    "ImageClassifier",
    "PromptHead",
    "TextClassifier",
    "event_packs",
]
