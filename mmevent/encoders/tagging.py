"""What pretrained networks see in images: labels, and objects with boxes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmevent._common import as_whole, warn_user
from mmevent._settings import undisturbed, with_own_settings
from mmevent.encoders.hub import locate_model, quiet_loading
from mmevent.encoders.image import image_processor
from mmevent.encoders.loading import from_pretrained, incomplete
from mmevent.encoders.runtime import full_precision, resolve_device
from mmevent.exceptions import InputError, UnusableInputWarning
from mmevent.posts.images import Images
from mmevent.posts.sources import Source

if TYPE_CHECKING:
    import os

    import pandas as pd

__all__ = ["count_objects", "detect", "tag"]


@with_own_settings
def tag(
    images: Sequence[Source],
    model: str,
    *,
    top: int = 5,
    image_root: str | os.PathLike[str] | None = None,
    allow_outside_root: bool = False,
    revision: str | None = None,
    device: str = "auto",
    local_files_only: bool = False,
    verbose: bool = False,
) -> pd.DataFrame:
    """Name what an image classification network sees in each image.

    It is for a first look at a corpus: the labels are those that the network was
    trained with, such as ImageNet's thousand, whatever your question is.

    Parameters
    ----------
    images : sequence of path, bytes, PIL.Image.Image or mapping
        As in the column `images` of a post.
    model : str
        Name on the Hugging Face hub, or folder, of an image classification model.
    top : int, default=5
        Number of labels an image.
    image_root : path or None, default=None
        Folder of relative image paths; None is the working folder.
    allow_outside_root : bool, default=False
        Whether images outside `image_root` may be opened.
    revision : str or None, default=None
        Branch, tag or commit of a hub model.
    device : str, default="auto"
        Torch device.
    local_files_only : bool, default=False
        Whether to use only what is on this machine, and no network.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    DataFrame
        One row for each image and label, the best first: ``image`` (position in
        `images`), ``rank`` (from 1), ``label``, ``score`` (in [0, 1], of the network's
        own labels). An image that cannot be used has no row.

    Raises
    ------
    InputError
        If `top` is not 1 or more.
    ModelUnavailableError
        If the model cannot be found or loaded.

    Warns
    -----
    UnusableInputWarning
        If some images cannot be used.

    See Also
    --------
    detect : Objects, with boxes.

    Examples
    --------
    A network with random weights stands for one of the hub:

    >>> import tempfile
    >>> from PIL import Image
    >>> from transformers import ViTConfig, ViTForImageClassification
    >>> from transformers import ViTImageProcessorPil
    >>> from mmevent import tag
    >>> config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
    ...                    intermediate_size=8, image_size=16, patch_size=8,
    ...                    id2label={0: "cat", 1: "dog", 2: "bus"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ViTForImageClassification(config).save_pretrained(folder)
    ...     _ = ViTImageProcessorPil(size=16).save_pretrained(folder)
    ...     table = tag([Image.new("RGB", (30, 20))], folder, top=2)
    >>> table["rank"].tolist(), set(table["label"]) <= {"cat", "dog", "bus"}
    ([1, 2], True)
    """
    import pandas as pd

    if (as_whole(top) or 0) < 1:
        raise InputError(
            f"top={top!r} is no number of labels: expected 1 or more. The default is 5."
        )
    network = _pipeline(
        "image-classification",
        "AutoModelForImageClassification",
        *(model, revision, device, local_files_only, verbose),
    )
    rows = [
        (position, rank, found["label"], found["score"])
        for position, labels in _run(
            network, images, image_root, allow_outside_root, verbose, top_k=int(top)
        )
        for rank, found in enumerate(labels, start=1)
    ]
    return pd.DataFrame(rows, columns=["image", "rank", "label", "score"])


@with_own_settings
def detect(
    images: Sequence[Source],
    model: str,
    *,
    threshold: float = 0.5,
    image_root: str | os.PathLike[str] | None = None,
    allow_outside_root: bool = False,
    revision: str | None = None,
    device: str = "auto",
    local_files_only: bool = False,
    verbose: bool = False,
) -> pd.DataFrame:
    """Find objects, such as people and vehicles, in each image.

    Parameters
    ----------
    images : sequence of path, bytes, PIL.Image.Image or mapping
        As in the column `images` of a post.
    model : str
        Name on the Hugging Face hub, or folder, of an object detection model.
    threshold : float, default=0.5
        Least score of an object, in [0, 1).
    image_root : path or None, default=None
        As in `tag`.
    allow_outside_root : bool, default=False
        As in `tag`.
    revision : str or None, default=None
        As in `tag`.
    device : str, default="auto"
        As in `tag`.
    local_files_only : bool, default=False
        As in `tag`.
    verbose : bool, default=False
        As in `tag`.

    Returns
    -------
    DataFrame
        One row for each object: ``image`` (position in `images`), ``label``,
        ``score``, and its box in pixels, ``left``, ``top``, ``right``, ``bottom``.

    Raises
    ------
    InputError
        If `threshold` lies outside [0, 1).
    ModelUnavailableError
        If the model cannot be found or loaded.

    Warns
    -----
    UnusableInputWarning
        If some images cannot be used.

    See Also
    --------
    count_objects : From objects to numbers of each kind.

    Examples
    --------
    A network with random weights stands for one of the hub:

    >>> import tempfile
    >>> from PIL import Image
    >>> from transformers import YolosConfig, YolosForObjectDetection
    >>> from transformers import YolosImageProcessorPil
    >>> from mmevent import detect
    >>> config = YolosConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
    ...                      intermediate_size=8, image_size=[16, 16], patch_size=8,
    ...                      num_detection_tokens=3, id2label={0: "person"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     YolosForObjectDetection(config).save_pretrained(folder)
    ...     size = {"height": 16, "width": 16}
    ...     _ = YolosImageProcessorPil(size=size).save_pretrained(folder)
    ...     objects = detect([Image.new("RGB", (30, 20))], folder, threshold=0.0)
    >>> set(objects["label"]) <= {"person"}
    True
    """
    import pandas as pd

    if not 0 <= threshold < 1:
        raise InputError(
            f"threshold={threshold!r} is no score: expected a number from 0 to below "
            f"1. The default is 0.5."
        )
    network = _pipeline(
        "object-detection",
        "AutoModelForObjectDetection",
        *(model, revision, device, local_files_only, verbose),
    )
    sides = ("xmin", "ymin", "xmax", "ymax")
    rows = [
        (position, found["label"], found["score"], *(found["box"][s] for s in sides))
        for position, objects in _run(
            network,
            images,
            image_root,
            allow_outside_root,
            verbose,
            threshold=float(threshold),
        )
        for found in objects
    ]
    columns = ["image", "label", "score", "left", "top", "right", "bottom"]
    return pd.DataFrame(rows, columns=columns)


def count_objects(objects: pd.DataFrame, n_images: int) -> pd.DataFrame:
    """Count the objects of each kind in each image.

    Parameters
    ----------
    objects : DataFrame
        From :func:`detect`.
    n_images : int
        Number of images that `detect` was given.

    Returns
    -------
    DataFrame of n_images rows
        One column of counts for each label that occurs, sorted; 0 where there is none.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.encoders import count_objects
    >>> objects = pd.DataFrame({"image": [0, 0, 2], "label": ["person", "car", "car"]})
    >>> count_objects(objects, 3)
    label  car  person
    image
    0        1       1
    1        0       0
    2        1       0
    """
    import pandas as pd

    counts = pd.crosstab(objects["image"], objects["label"])
    return counts.reindex(pd.RangeIndex(n_images, name="image"), fill_value=0)


def _pipeline(
    task: Any,
    auto: str,
    model: str,
    revision: str | None,
    device: str,
    local_files_only: bool,
    verbose: bool,
) -> Any:
    """Load a pipeline of transformers from a folder here, and none of its code."""
    import torch
    import transformers

    place = resolve_device(device)
    source = locate_model(
        model, revision=revision, local_files_only=local_files_only, verbose=verbose
    )
    with full_precision(), undisturbed():
        network, missing = from_pretrained(source, getattr(transformers, auto))
    if missing:
        raise incomplete(source, set(missing))
    network.to(memory_format=torch.channels_last)  # quicker on a processor
    with quiet_loading():
        return transformers.pipeline(
            task,
            model=network,
            image_processor=image_processor(source, None),
            device=place,
        )


def _run(
    network: Any,
    sources: Sequence[Source],
    image_root: Any,
    allow_outside_root: bool,
    verbose: bool,
    **options: Any,
) -> list[tuple[int, list[dict[str, Any]]]]:
    """Return the position of each usable image, and what the network says of it."""
    from tqdm import tqdm

    if isinstance(sources, (str, bytes, os.PathLike, Mapping, Image.Image)):
        raise InputError(
            f"images is one {type(sources).__name__}: expected a sequence of images, "
            f"got {str(sources)[:40]}. Put it into a list."
        )
    images = Images(
        list(sources), image_root=image_root, allow_outside_root=allow_outside_root
    ).scan(verbose=verbose)
    usable = np.flatnonzero(images.usable)
    if len(usable) < len(images):
        warn_user(
            f"{len(images) - len(usable)} of {len(images)} images cannot be used, and "
            f"have no row. mmevent.posts.load_image says why of each.",
            UnusableInputWarning,
        )
    bar = tqdm(usable, desc="Looking", unit="image", disable=not verbose)
    with quiet_loading(), full_precision(), undisturbed():
        return [(int(i), network(images[int(i)], **options)) for i in bar]
