"""Pretrained models, frozen: texts and pictures to vectors.

In go texts or pictures; out comes one row of features per item, NaN where it cannot be
used. `TextEncoder`, `ImageEncoder` and `ClipEncoder` are scikit-learn transformers.
Start reading at `base.py`, what all of them share; `model.py` is what they load, and
`text.py`, `image.py` and `clip.py` are the three kinds.
"""

from mmevent.encoders.clip import ClipEncoder
from mmevent.encoders.image import ImageEncoder
from mmevent.encoders.tagging import count_objects, detect, tag
from mmevent.encoders.text import TextEncoder

__all__ = [
    "ClipEncoder",
    "ImageEncoder",
    "TextEncoder",
    "count_objects",
    "detect",
    "tag",
]
