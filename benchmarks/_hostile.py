"""Made-up attacks: pictures, tables and model folders that were changed by chance.

Each trial is a function of its kind and its number, so that it can be repeated.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import mmevent
from mmevent.posts import load_image, read_table
from mmevent.synthetic import ImageStatistics, make_posts

KINDS = ("pictures", "tables", "folders")
N_POSTS = 60
SECRET = "secret.jpg"
_HEADS: list[Any] = [
    LogisticRegression(),
    RandomForestClassifier(3, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
    KNeighborsClassifier(algorithm="brute"),
]
_FORMATS: list[tuple[str, dict[str, Any]]] = [
    *[("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {})],
    *[("WEBP", {}), ("BMP", {}), ("TIFF", {}), ("JPEG2000", {})],
    *[("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"})],
]


def make_material(folder: Path) -> None:
    """Write what the attacks begin with: posts, pictures and saved detectors."""
    posts, y, _ = make_posts(
        N_POSTS, image_size=16, folder=folder / "posts", random_state=0
    )
    posts = posts[["id", "text", "images"]]
    posts.to_json(folder / "posts.jsonl", orient="records", lines=True)
    (folder / SECRET).write_bytes(_picture("JPEG", {}))
    for i, head in enumerate(_HEADS):
        words = [TfidfVectorizer(max_features=30)]
        if type(head).__name__ in ("CalibratedClassifierCV", "KNeighborsClassifier"):
            words = []
        text = make_pipeline(*words, head) if words else None
        image = make_pipeline(ImageStatistics(side=4), head)
        detector = mmevent.EventDetector(
            text=text,
            image=image,
            image_root=folder / "posts",
            cv=2,
            inner_cv=2,
            n_trials=3,
            estimate=None,
            random_state=0,
        )
        detector.fit(posts, y).save(folder / f"model-{i}")
    np.save(folder / "labels.npy", y)


def _picture(form: str, options: dict[str, Any]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def changed_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes: flipped, cut, repeated, or set to an extreme."""
    content = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        # Headers lie at the beginning.
        reach = len(content) if rng.random() < 0.5 else min(200, len(content))
        at, n = int(rng.integers(reach or 1)), int(2 ** rng.integers(0, 5))
        way = int(rng.integers(5))
        if way == 0:
            content[at : at + n] = rng.bytes(n)
        elif way == 1:
            content[at : at + n] = bytes([rng.choice([0, 255, 127, 128])]) * n
        elif way == 2:
            del content[at : at + n * 8]
        elif way == 3:
            content[at:at] = content[at : at + n * 64] * int(rng.integers(1, 20))
        elif rng.random() < 0.2:
            del content[at:]
    return bytes(content)


# What a trial does. It returns "refused" or "used"; other errors are not expected.


def attack_with_picture(material: Path, work: Path, rng: np.random.Generator) -> str:
    """Decode a picture that was changed, or is made to take long."""
    form, options = _FORMATS[rng.integers(len(_FORMATS))]
    data = changed_bytes(_picture(form, options), rng)
    if rng.random() < 0.05:  # a progressive JPEG of hundreds of scans
        data = _many_scans(int(2 ** rng.integers(4, 14)))
    path = work / "picture.jpg"
    path.write_bytes(data)
    source = data if rng.random() < 0.5 else path.name
    image, _status = load_image(source, image_root=work)
    return "refused" if image is None else "used"


def _many_scans(n_scans: int) -> bytes:
    data = _picture("JPEG", {"progressive": True})
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * n_scans + data[-2:]


_PATHS = (
    *("/etc/passwd", "../secret.jpg", "../../secret.jpg", "link.jpg", "pipe.jpg"),
    *("//host/share/a.jpg", "\\\\host\\share\\a.jpg", "file:///etc/passwd"),
    *(
        "http://127.0.0.1:9/a.jpg",
        "/dev/zero",
        "/proc/self/mem",
        ".",
        "",
        "\0",
        "a" * 5000,
    ),
    *("|touch CODE_RAN", "$(touch CODE_RAN)", "`touch CODE_RAN`", "%s%n", "~/.bashrc"),
)
_TEXTS = (
    *("=cmd|' /C calc'!A0", "\x1b]0;x\x07", "\ufeff\u200b", "RT @a: " * 50, "\0"),
    *("http" * 5000, "a." * 5000, "@" * 5000, "e\u0301\u0302" * 3000, "&amp;" * 3000),
)


def attack_with_table(material: Path, work: Path, rng: np.random.Generator) -> str:
    """Read and judge a table with hostile cells, or of changed bytes."""
    posts = _posts(material).sample(20, random_state=int(rng.integers(2**31)))
    shutil.copytree(material / "posts", work / "posts")
    root = work / "posts"
    (root / "link.jpg").symlink_to(material / SECRET)
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe.jpg")
    for column, values in (("images", _PATHS), ("text", _TEXTS)):
        for row in rng.integers(len(posts), size=3):
            chosen = values[rng.integers(len(values))]
            posts.iloc[row, posts.columns.get_loc(column)] = chosen
    suffix = str(rng.choice(["csv", "tsv", "jsonl", "parquet"]))
    path = root / f"posts.{suffix}"
    if suffix == "parquet":
        posts.to_parquet(path)
    elif suffix == "jsonl":
        posts.to_json(path, orient="records", lines=True)
    else:
        posts.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    if rng.random() < 0.5:
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    detector = mmevent.load(material / "model-0", image_root=root)
    frame = read_table(path)
    detector.audit(frame)
    return "used"


def attack_with_folder(material: Path, work: Path, rng: np.random.Generator) -> str:
    """Load a model folder that was changed, and let it judge and be evaluated."""
    folder = work / "model"
    shutil.copytree(material / f"model-{rng.integers(len(_HEADS))}", folder)
    way = _WAYS[rng.integers(len(_WAYS))]
    for _ in range(int(rng.integers(1, 4))):
        files = _files(folder)
        way(files[rng.integers(len(files))], rng)
    if rng.random() < 0.95:
        _seal(folder)
    os.chdir(work)
    (work / "good.jpg").write_bytes(_picture("JPEG", {}))
    detector = mmevent.load(folder)
    posts = _posts(material)
    # Without one good picture, a table of unusable ones is refused as a whole.
    hostile = posts.head(len(_PATHS)).assign(
        text=[*_PATHS], images=[[path, "good.jpg"] for path in _PATHS]
    )
    detector.audit(hostile)
    detector.set_params(image_root=material / "posts")
    detector.audit(posts)
    if rng.random() < 0.1:
        mmevent.evaluate(detector, posts, np.load(material / "labels.npy"))
    return "used"


def _posts(material: Path) -> pd.DataFrame:
    path = material / "posts.jsonl"
    posts: pd.DataFrame = pd.read_json(path, lines=True, dtype=False)
    return posts


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder; what a link leads to is not opened here."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )


def _secret_above(path: Path) -> Path:
    """Return the file beside the attacks that nothing of mmevent may open."""
    places = (above / SECRET for above in path.parents)
    return next(place for place in places if place.is_file())


def _seal(folder: Path) -> None:
    """Write the hashes anew; a manifest that was replaced stays as it is."""
    manifest = folder / "manifest.json"
    if manifest.is_symlink() or (manifest.exists() and not manifest.is_file()):
        return
    hashes = {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes() if path.stat().st_size < 10**8 else b""
        ).hexdigest()
        for path in _files(folder)
        if path != manifest
    }
    manifest.write_text(json.dumps(hashes))


def _flip(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(changed_bytes(path.read_bytes(), rng))


def _replace(path: Path, rng: np.random.Generator) -> None:
    """Put something else in the place of a file."""
    way = int(rng.integers(5))
    if way == 4:
        (path.parent / "more.pkl").write_bytes(_PICKLE)
        return
    path.unlink()
    if way == 0 and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    elif way == 1:
        # Never a file of the machine: what is written later would go through the link.
        path.symlink_to(_secret_above(path))
    elif way == 2:
        path.touch()
        os.truncate(path, 40 * 2**30)
    else:
        path.write_bytes(_PICKLE)


_PICKLE = b"cos\nsystem\n(S'touch CODE_RAN'\ntR."
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**12, float("nan"), float("inf"), 1e308, "", "/", "..", []),
    *("../../secret.jpg", "//host/share", "filename", "file", "intermediate", {}, "x"),
    *("9**9**9", "os.system", "__class__", ["memory"], "a" * 10_000),
)
_NAMES = (
    *("eval", "exec", "system", "Popen", "Tree", "Bunch", "TextClassifier", "dict"),
    *("builtins", "os", "posix", "subprocess", "sklearn.tree._tree", "numpy", "pickle"),
    *("sklearn.utils._bunch", "NdArrayNode", "TreeNode", "LossNode", "FunctionNode"),
    *(
        "ObjectNode",
        "TypeNode",
        "ConstructorFromReduceNode",
        "MethodNode",
        "CachedNode",
    ),
)


def _json(path: Path, rng: np.random.Generator) -> None:
    """Change values of a JSON file, or of detector.json in place of another file."""
    if path.suffix != ".json" or path.name == "manifest.json":
        path = next(
            above for above in path.parents if (above / "detector.json").exists()
        )
        path /= "detector.json"
    value = json.loads(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        _change_leaf(value, rng, lambda old: _VALUES[rng.integers(len(_VALUES))])
    path.write_text(json.dumps(value))


def _change_leaf(
    value: Any, rng: np.random.Generator, new: Callable[[Any], Any]
) -> None:
    """Change a value somewhere within lists and mappings."""
    while isinstance(value, (dict, list)) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[rng.integers(len(keys))]
        inner = value[key]
        if not (isinstance(inner, (dict, list)) and inner) or rng.random() < 0.02:
            value[key] = new(inner)
            return
        value = inner


def _skops(path: Path, rng: np.random.Generator) -> None:
    """Change the types, parameters or arrays within a skops file."""
    if path.suffix != ".skops":
        found = [
            p for above in path.parents[:2] for p in sorted(above.rglob("*.skops"))
        ]
        path = found[rng.integers(len(found))]
    with ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    arrays = [name for name in files if name.endswith(".npy")]
    if arrays and rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            name = arrays[rng.integers(len(arrays))]
            files[name] = _array(files[name], rng)
    else:
        schema = json.loads(files["schema.json"])
        for _ in range(int(rng.integers(1, 4))):
            _change_leaf(schema, rng, lambda old: _schema_value(old, rng))
        files["schema.json"] = json.dumps(schema).encode()
    with ZipFile(path, "w", compression=ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _schema_value(old: Any, rng: np.random.Generator) -> Any:
    if isinstance(old, str) and rng.random() < 0.4:
        return str(rng.choice(_NAMES))
    value = _VALUES[rng.integers(len(_VALUES))]
    return json.dumps(value) if isinstance(old, str) else value


def _array(data: bytes, rng: np.random.Generator) -> bytes:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except ValueError:
        return data
    way = int(rng.integers(4))
    if way == 0:
        return changed_bytes(data, rng)
    if way == 1:
        array = np.resize(array, int(rng.integers(0, 2 * array.size + 2)))
    elif way == 2 and array.dtype.names and array.size:
        name = array.dtype.names[rng.integers(len(array.dtype.names))]
        array[name][rng.integers(array.size)] = rng.choice([0, 1, 10**6])
    elif array.dtype.kind in "iuf" and array.size:
        value = rng.choice(
            [0, -1, 10**6, 2**31 - 1] if array.dtype.kind != "u" else [0, 255]
        )
        array = array.copy()
        array.flat[rng.integers(array.size)] = value
    else:
        array = array.T if array.ndim > 1 else array[::-1]
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


_WAYS = (_flip, _replace, _json, _json, _skops, _skops, _skops)
ATTACKS: dict[str, Callable[[Path, Path, np.random.Generator], str]] = {
    "pictures": attack_with_picture,
    "tables": attack_with_table,
    "folders": attack_with_folder,
}
