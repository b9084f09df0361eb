"""Find posts about an event from their text and images.

The public names below are loaded on first use: ``import mmevent`` is quick and
loads no torch, transformers, pandas or scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmevent.clip import ClipProbeClassifier, ClipZeroShotClassifier
    from mmevent.clip_text import ClipTextClassifier
    from mmevent.detector import EventDetector
    from mmevent.evaluation import Estimate, ForwardInTime, evaluate
    from mmevent.filter import FalsePositiveFilter
    from mmevent.fusion import fuse, pool_images
    from mmevent.image import ImageClassifier
    from mmevent.packs import EventPack, event_packs
    from mmevent.persistence import load
    from mmevent.posts import duplicate_groups, to_posts
    from mmevent.tagging import count_objects, detect, tag
    from mmevent.text import TextClassifier
    from mmevent.tuning import tune_rule

__version__ = "0.1.0"

# A new public name is written here, in __all__ and under TYPE_CHECKING;
# tests/test_import.py compares the three.
_MODULE_OF = {
    "ClipProbeClassifier": "clip",
    "ClipTextClassifier": "clip_text",
    "ClipZeroShotClassifier": "clip",
    "Estimate": "evaluation",
    "EventDetector": "detector",
    "EventPack": "packs",
    "FalsePositiveFilter": "filter",
    "ForwardInTime": "evaluation",
    "ImageClassifier": "image",
    "TextClassifier": "text",
    "count_objects": "tagging",
    "detect": "tagging",
    "duplicate_groups": "posts",
    "evaluate": "evaluation",
    "event_packs": "packs",
    "fuse": "fusion",
    "load": "persistence",
    "pool_images": "fusion",
    "tag": "tagging",
    "to_posts": "posts",
    "tune_rule": "tuning",
}

__all__ = [
    "ClipProbeClassifier",
    "ClipTextClassifier",
    "ClipZeroShotClassifier",
    "Estimate",
    "EventDetector",
    "EventPack",
    "FalsePositiveFilter",
    "ForwardInTime",
    "ImageClassifier",
    "TextClassifier",
    "__version__",
    "count_objects",
    "detect",
    "duplicate_groups",
    "evaluate",
    "event_packs",
    "fuse",
    "load",
    "pool_images",
    "tag",
    "to_posts",
    "tune_rule",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mmevent' has no attribute {name!r}")
    value = getattr(import_module(f"mmevent.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
