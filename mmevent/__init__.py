"""Find posts about an event from their text and images.

The public names below are loaded on first use: ``import mmevent`` is quick and
loads no torch, transformers, pandas or scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmevent.branches import (
        ClipZeroShotClassifier,
        EventPack,
        ImageClassifier,
        TextClassifier,
        event_packs,
    )
    from mmevent.detector import EventDetector, FalsePositiveFilter, evaluate
    from mmevent.encoders import (
        ClipEncoder,
        ImageEncoder,
        TextEncoder,
        count_objects,
        detect,
        tag,
    )
    from mmevent.evaluation import Estimate, ForwardInTime
    from mmevent.persistence import load
    from mmevent.posts import duplicate_groups, to_posts
    from mmevent.rule import fuse, pool_images, tune_rule

__version__ = "0.1.0"

# A new public name is written here, in __all__ and under TYPE_CHECKING;
# tests/test_import.py compares the three.
_PACKAGE_OF = {
    "ClipEncoder": "encoders",
    "ClipZeroShotClassifier": "branches",
    "Estimate": "evaluation",
    "EventDetector": "detector",
    "EventPack": "branches",
    "FalsePositiveFilter": "detector",
    "ForwardInTime": "evaluation",
    "ImageClassifier": "branches",
    "ImageEncoder": "encoders",
    "TextClassifier": "branches",
    "TextEncoder": "encoders",
    "count_objects": "encoders",
    "detect": "encoders",
    "duplicate_groups": "posts",
    "evaluate": "detector",
    "event_packs": "branches",
    "fuse": "rule",
    "load": "persistence",
    "pool_images": "rule",
    "tag": "encoders",
    "to_posts": "posts",
    "tune_rule": "rule",
}

__all__ = [
    "ClipEncoder",
    "ClipZeroShotClassifier",
    "Estimate",
    "EventDetector",
    "EventPack",
    "FalsePositiveFilter",
    "ForwardInTime",
    "ImageClassifier",
    "ImageEncoder",
    "TextClassifier",
    "TextEncoder",
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
    if name not in _PACKAGE_OF:
        raise AttributeError(f"module 'mmevent' has no attribute {name!r}")
    value = getattr(import_module(f"mmevent.{_PACKAGE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
