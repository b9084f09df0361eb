"""Golden files: what small detectors say, to be compared after a change of the code.

``python tests/golden/renew.py`` computes all files anew and writes them;
``--check`` compares instead, digit for digit, and ends with 1 where anything differs.
``tests/test_golden.py`` does the same, but allows for rounding on other machines.

The section "Branches and detectors" is the only one that constructs any: where a
class gets another name or other parameters, change that section and the imports.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# As in conftest.py: one thread, and no cache between runs.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MMEVENT_CACHE"] = "off"

import numpy as np
import pandas as pd
import tiny_models
from PIL import Image
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

import mmevent
from mmevent import (
    ClipEncoder,
    ClipZeroShotClassifier,
    EventDetector,
    ForwardInTime,
    ImageClassifier,
    ImageEncoder,
    TextClassifier,
    TextEncoder,
    evaluate,
    load,
)
from mmevent.corpus import agreement, draw_sample, estimate_corpus, expected_widths
from mmevent.exceptions import MmeventWarning
from mmevent.report import find_errors, labelled_scores, learning_curve
from mmevent.synthetic import demo_branches, make_posts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# --------------------------------------------------------- Branches and detectors

SETTINGS: dict[str, Any] = {"device": "cpu", "dtype": "float32", "cache": None}


def plain_branches() -> dict[str, Any]:
    """Text and image branch of plain scikit-learn."""
    text, image = demo_branches()
    return {"text": text, "image": image}


def frozen_text(folder: str) -> Any:
    return TextClassifier(TextEncoder(folder, **SETTINGS), random_state=0)


def frozen_image(folder: str) -> Any:
    return ImageClassifier(ImageEncoder(folder, **SETTINGS), random_state=0)


def fine_tuned_text(folder: str) -> Any:
    return TextClassifier(
        TextEncoder(folder, **SETTINGS),
        train="all",
        n_epochs=2,
        train_batch_size=32,
        random_state=0,
    )


def fine_tuned_image(folder: str) -> Any:
    return ImageClassifier(
        ImageEncoder(folder, **SETTINGS),
        train=1,
        n_epochs=1,
        train_batch_size=32,
        augment=False,
        random_state=0,
    )


def clip_probe(folder: str) -> Any:
    return ImageClassifier(ClipEncoder(folder, **SETTINGS), random_state=0)


def clip_zero_shot(folder: str) -> Any:
    return ClipZeroShotClassifier(
        ["a march", "a crowd in a square"],
        negative=["a garden", "a bowl of soup"],
        templates=["a photo of {}.", "{}"],
        encoder=ClipEncoder(folder, **SETTINGS),
    )


def detector(**parameters: Any) -> EventDetector:
    """Small detector; of plain branches and without an estimate, if not told else."""
    usual = {"cv": 2, "inner_cv": 2, "n_trials": 20, "random_state": 0}
    return EventDetector(
        **{**plain_branches(), "estimate": None, **usual, **parameters}
    )


class Models(NamedTuple):
    """Folders of tiny pretrained models."""

    text: str
    image: str
    clip: str

    @classmethod
    def write(cls, folder: Path) -> Models:
        """Write all of them into a folder."""
        folders = {name: folder / name for name in cls._fields}
        for path in folders.values():
            path.mkdir()
        return cls(
            tiny_models.write_text_model(folders["text"]),
            tiny_models.write_image_model(folders["image"]),
            tiny_models.write_clip_model(folders["clip"]),
        )


# -------------------------------------------------------------------------- Posts


def draw(n_posts: int = 240, seed: int = 0, **parameters: Any) -> tuple[Any, Any]:
    """Posts with small pictures, some of them broken, and their labels."""
    usual = {"image_size": 16, "share_broken": 0.05, "random_state": seed}
    posts, y, _ = make_posts(n_posts, **{**usual, **parameters})
    return posts, y


def unseen(n_posts: int = 80, seed: int = 99, **parameters: Any) -> tuple[Any, Any]:
    """Posts for a fitted detector, with ids that no posts of a fit have."""
    posts, y = draw(n_posts, seed, **parameters)
    return posts.assign(id="new" + posts["id"]), y


def hide(posts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Take away a fifth of the texts and a third of the images."""
    rng = np.random.default_rng(seed)
    without = rng.random((len(posts), 2)) < (0.2, 0.33)
    texts = [
        None if gone else text
        for text, gone in zip(posts["text"], without[:, 0], strict=True)
    ]
    images = [
        [] if gone else listed
        for listed, gone in zip(posts["images"], without[:, 1], strict=True)
    ]
    return posts.assign(text=texts, images=images)


def widen(posts: pd.DataFrame) -> pd.DataFrame:
    """Cut the first picture of each post to two thirds of its height, if it opens."""

    def cut(encoded: bytes) -> bytes:
        try:
            picture = Image.open(BytesIO(encoded)).convert("RGB")
        except OSError:
            return encoded
        file = BytesIO()
        width, height = picture.size
        picture.crop((0, 0, width, 2 * height // 3)).save(file, "PNG")
        return file.getvalue()

    images = [[cut(item) for item in row[:1]] + row[1:] for row in posts["images"]]
    return posts.assign(images=images)


def readable_pictures(posts: pd.DataFrame, y: Any) -> tuple[list[Any], Any]:
    """Give the first picture of each post, where it opens, and the posts' labels."""
    pictures, labels = [], []
    for row, label in zip(posts["images"], y, strict=True):
        try:
            pictures += [Image.open(BytesIO(item)).convert("RGB") for item in row[:1]]
        except OSError:
            continue
        labels += [label] * len(row[:1])
    return pictures, np.array(labels)


def first_stage_labels(posts: pd.DataFrame, y: Any) -> Any:
    """Events and posts about their causes; missing for a seventh of the posts."""
    about = posts["text"].fillna("").str.contains("petition|debate|reform|election")
    labels = (about | (y == 1)).to_numpy().astype(float)
    labels[::7] = np.nan
    return labels


# ----------------------------------------------------------------- What is recorded

MOST = 40  # values of a long list that are written out
Value = Any  # what JSON holds


def plain(value: Any) -> Value:
    """Turn a value into what JSON holds; what is missing is None."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict(orient="records")]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray, pd.Series)):
        items = [plain(item) for item in value]
        if len(items) > MOST and not any(isinstance(i, (dict, list)) for i in items):
            return shortened(items)
        return items
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return str(value)


def shortened(items: list[Value]) -> dict[str, Value]:
    """Return the first values of a long list, and what changes if another does."""
    numbers = [item for item in items if isinstance(item, float)]
    digest = hashlib.sha256(repr(items).encode()).hexdigest()
    short: dict[str, Value] = {"n": len(items), "first": items[:MOST]}
    if not numbers:
        return {**short, "sha256": digest}
    return {
        **short,
        "n_missing": sum(item is None for item in items),
        "sum": math.fsum(numbers),
        "sha256_of_floats": digest,
    }


def columns(table: pd.DataFrame) -> dict[str, Value]:
    """Record a long table by columns."""
    return {str(name): plain(table[name].tolist()) for name in table}


def rule_of(fitted: EventDetector) -> dict[str, Value]:
    """Record what the search and the policy chose."""
    return plain(
        {
            "alpha": fitted.alpha_,
            "beta": fitted.beta_,
            "pool": fitted.pool_,
            "image_name": fitted.image_name_,
            "beta_identified": fitted.beta_identified_,
            "f1_threshold": fitted.f1_threshold_,
            "threshold": fitted.threshold_,
            "policy": fitted.policy_,
        }
    )


def stages_of(fitted: EventDetector) -> Value:
    """Record the rules of both stages."""
    if fitted.stages_ is None:
        return None
    rules = {
        name: {
            "alpha": rule.alpha,
            "beta": rule.beta,
            "pool": rule.pool,
            "threshold": rule.threshold,
            "image": rule.image,
        }
        for name, rule in (
            ("first", fitted.stages_.first),
            ("second", fitted.stages_.second),
        )
    }
    return plain({**rules, "mix": None, "threshold": fitted.stages_.threshold})


def said_of(fitted: EventDetector, posts: pd.DataFrame) -> dict[str, Value]:
    """Record what a fitted detector says of posts, and, of some, in each form."""
    few = posts.head(20)
    return {
        "audit": columns(fitted.audit(posts)),
        "predict": plain(fitted.predict(few)),
        "decision_function": plain(fitted.decision_function(few)),
        "predict_proba": plain(fitted.predict_proba(few)[:, 1]),
    }


def everything(
    fitted: EventDetector, posts: pd.DataFrame, *, saved: bool = False
) -> dict[str, Value]:
    """Record a fitted detector, what it says of posts, and whether it can be saved."""
    estimate = fitted.estimate_
    calibration = fitted.calibration_
    return {
        "rule": rule_of(fitted),
        "stages": stages_of(fitted),
        "fitted": {
            "classes": plain(fitted.classes_),
            "text": fitted.text_ is not None,
            "image": fitted.image_ is not None,
            "second_stage": fitted.second_stage_ is not None,
            "second_stage_image": False,
        },
        "calibration": None if calibration is None else plain(calibration.maps),
        "n_trials": len(fitted.trials_),
        "trials": plain(fitted.trials_.head(8)),
        "out_of_fold": columns(fitted.out_of_fold_),
        "new_posts": said_of(fitted, posts),
        "loaded_says_the_same": loaded_says_the_same(fitted, posts) if saved else None,
        "estimate": None if estimate is None else plain(estimate.to_dict()),
    }


def loaded_says_the_same(fitted: EventDetector, posts: pd.DataFrame) -> bool:
    """Save, load, and compare what both say of posts, to the last digit."""
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "detector")
        loaded = load(Path(folder) / "detector")
        return bool(loaded.audit(posts).equals(fitted.audit(posts)))


# -------------------------------------------------------------------------- Files


def plain_detector(models: Models) -> Value:
    posts, y = draw(300)
    new, _ = unseen()
    fitted = detector(estimate="nested").fit(posts, y, groups=posts["author"])
    return {
        **everything(fitted, new, saved=True),
        "posts_of_the_fit": said_of(fitted, posts.head(60)),
    }


def second_stage(models: Models) -> Value:
    posts, y = draw()
    new, _ = unseen()
    labels = first_stage_labels(posts, y)
    fitted = detector(second_stage=True, estimate="nested")
    return everything(fitted.fit(posts, y, y_stage1=labels), new)


def second_stage_auto(models: Models) -> Value:
    found = {}
    for name, share, given in (
        ("few_lookalikes", 0.1, False),
        ("many_lookalikes", 0.8, True),
    ):
        posts, y = draw(300, 5, share_lookalike=share)
        new, _ = unseen(share_lookalike=share)
        labels = first_stage_labels(posts, y) if given else None
        fitted = detector(second_stage="auto").fit(posts, y, y_stage1=labels)
        found[name] = everything(fitted, new)
    return found


def pools(models: Models) -> Value:
    posts, y = draw(200, 2, max_images=4)
    new, _ = unseen(max_images=4)
    found = {}
    for pool in ("max", "mean", "noisy-or", "auto"):
        fitted = detector(pool=pool).fit(posts, y)
        found[pool] = {
            "rule": rule_of(fitted),
            "trials": plain(fitted.trials_.head(8)),
            "out_of_fold": columns(fitted.out_of_fold_[["p_image", "score"]]),
            "audit": columns(fitted.audit(new)[["prediction", "score", "p_image"]]),
        }
    return found


def policies(models: Models) -> Value:
    posts, y = draw(240, 3, prevalence=0.5, max_images=1)
    new, _ = unseen(100)
    holdout, y_holdout = unseen(200, 98, prevalence=0.5, share_reposts=0)
    base = detector().fit(posts, y)
    found: dict[str, Value] = {}
    for policy in (
        *("f1", "fbeta=2", "precision>=0.6", "recall>=0.7"),
        *(0.55, [[0, 1], [4, 0]], "budget=30"),
    ):
        audit = base.set_policy(policy).audit(new)
        found[str(policy)] = {
            "rule": rule_of(base),
            "audit": columns(audit[["prediction", "margin"]]),
        }
    budget = evaluate(base, posts, y, corpus_size=1200)
    base.set_policy("precision>=0.6", holdout=(holdout, y_holdout))
    precise = detector(policy="precision>=0.6").fit(posts, y)
    return {
        "set_policy": found,
        "set_policy_with_holdout": rule_of(base),
        "fit_with_precision": rule_of(precise),
        "estimate_with_budget": plain(budget.to_dict()),
    }


def sigmoid(models: Models) -> Value:
    posts, y = draw(300, 4)
    new, _ = unseen()
    fitted = detector(calibration="sigmoid").fit(posts, y)
    return everything(fitted, new)


def isotonic(models: Models) -> Value:
    posts, y = draw(1000, 5, max_images=1, share_images=0.4)
    new, _ = unseen()
    fitted = detector(calibration="isotonic").fit(posts, y)
    return everything(fitted, new)


def criteria(models: Models) -> Value:
    posts, y = draw(200, 6)
    new, _ = unseen()
    found = {}
    for name, parameters in {
        "f1": {"criterion": "f1"},
        "smooth": {"criterion": "smooth"},
    }.items():
        fitted = detector(**parameters).fit(posts, y)
        found[name] = {
            "rule": rule_of(fitted),
            "n_trials": len(fitted.trials_),
            "trials": plain(fitted.trials_.head(8)),
            "score": plain(fitted.out_of_fold_["score"]),
            "audit": columns(fitted.audit(new)[["prediction", "margin"]]),
        }
    return found


def clip(models: Models) -> Value:
    posts, y = draw(200, 7)
    new, _ = unseen()
    branches = [
        ("probe", clip_probe(models.clip)),
        ("zero", clip_zero_shot(models.clip)),
    ]
    text = frozen_text(models.text)
    both = detector(text=text, image=branches).fit(posts, y)
    pictures, labels = readable_pictures(posts, y)
    alone = {
        name: plain(branch.fit(pictures, labels).predict_proba(pictures)[:, 1])
        for name, branch in branches
    }
    return {**everything(both, new, saved=True), "branches_alone": alone}


def frozen(models: Models) -> Value:
    posts, y = draw(240, 8, share_broken=0.15)
    new, _ = unseen(share_broken=0.15)
    fitted = detector(
        text=frozen_text(models.text),
        image=frozen_image(models.image),
        second_stage=True,
        estimate="cross-fit",
    ).fit(hide(widen(posts)), y)
    return everything(fitted, hide(widen(new), 1), saved=True)


def fine_tuned(models: Models) -> Value:
    posts, y = draw(200, 9, max_images=2)
    new, _ = unseen(50)
    fitted = detector(
        text=fine_tuned_text(models.text),
        image=fine_tuned_image(models.image),
        estimate="auto",
    ).fit(posts, y)
    return everything(fitted, new, saved=True)


def hidden(models: Models) -> Value:
    posts, y = draw(240, 10, share_broken=0.2)
    posts, new = hide(posts), hide(unseen(share_broken=0.2)[0], 1)
    found = everything(detector().fit(posts, y), new)
    for name, left_out in (("text_alone", "image"), ("image_alone", "text")):
        fitted = detector(**{left_out: None}).fit(posts, y)
        found[name] = {"rule": rule_of(fitted), "audit": columns(fitted.audit(new))}
    return found


def folds(models: Models) -> Value:
    posts, y = draw(300, 11, n_groups=12)
    groups, ungrouped = posts["group"], posts.drop(columns="group")
    found = {
        "forward_in_time": detector(cv=ForwardInTime(2), estimate="nested").fit(
            ungrouped, y
        ),
        "group_k_fold": detector(cv=GroupKFold(2), estimate="nested").fit(
            posts, y, groups=groups
        ),
        "leave_one_group_out": detector(
            cv=LeaveOneGroupOut(), estimate="cross-fit"
        ).fit(ungrouped, y, groups=groups // 4),
    }
    return {
        name: {
            "rule": rule_of(fitted),
            "out_of_fold": columns(
                fitted.out_of_fold_[["id", "group", "fold", "p_text", "score"]]
            ),
            "estimate": plain(fitted.estimate_.to_dict()),
        }
        for name, fitted in found.items()
    }


def evaluations(models: Models) -> Value:
    posts, y = draw(240, 13)
    new, y_new = unseen(150, 97)
    held_out = pd.concat([new, posts.head(20)], ignore_index=True)
    y_held_out = np.concatenate([y_new, y[:20]])
    groups = posts["author"]
    fitted = detector(calibration="sigmoid").fit(posts, y, groups=groups)
    again = evaluate(fitted, posts, y, groups=groups, seeds=(1, 2), by="place")
    others = evaluate(
        fitted, held_out, y_held_out, held_out=True, drop_seen=True, by=["place"]
    )
    elsewhere = evaluate(fitted, new, y_new, held_out=True, prevalence=0.1)
    return {
        "two_seeds_by_place": plain(again.to_dict()),
        "held_out": plain(others.to_dict()),
        "prevalence": plain(elsewhere.to_dict()),
    }


def corpus(models: Models) -> Value:
    posts, y = draw(240, 14)
    many, y_many = unseen(600, 96, max_images=1)
    fitted = detector(calibration="sigmoid").fit(posts, y)
    audit = fitted.audit(many).assign(
        place=many["place"], created_at=many["created_at"]
    )
    sample = draw_sample(audit, 150, random_state=3)
    label = pd.Series(y_many, index=many["id"]).loc[sample["id"]].to_numpy()
    coded = sample.assign(event=label)
    rng = np.random.default_rng(0)
    codings = pd.concat(
        [
            coded[["id"]].assign(
                coder=coder,
                event=np.where(rng.random(len(label)) < share, 1 - label, label),
            )[rng.random(len(label)) < 0.8]
            for coder, share in (("Ada", 0.05), ("Bo", 0.2))
        ]
    )
    agreed = agreement(codings, "event", coder="coder")
    return {
        "sample": columns(sample),
        "expected_widths": plain(expected_widths(audit, 150)),
        "all": json.loads(estimate_corpus(audit, coded, "event").to_json()),
        "by_place": plain(estimate_corpus(audit, coded, "event", by="place").table),
        "by_month": plain(estimate_corpus(audit, coded, "event", period="month").table),
        "agreement": plain(agreed.table),
        "disagreements": columns(agreed.disagreements),
    }


def reports(models: Models) -> Value:
    posts, y = draw(240, 15)
    new, y_new = unseen()
    fitted = detector(second_stage=True).fit(posts, y)
    errors = find_errors(fitted, posts, y, n=8)
    others = find_errors(fitted, new, y_new, n=5, held_out=True)
    held_out = labelled_scores(fitted, new, y_new, held_out=True)
    one_stage = detector().fit(posts, y)
    return {
        "errors": {
            "note": errors.note,
            "table": plain(errors.table),
            "n_pictures": [len(row) for row in errors.pictures],
        },
        "held_out_errors": {"note": others.note, "table": plain(others.table)},
        "labelled_scores": columns(labelled_scores(fitted, posts, y)),
        "held_out_scores": columns(held_out),
        "learning_curve": plain(learning_curve(one_stage, posts, y, shares=(0.5,))),
    }


FILES: dict[str, Callable[[Models], Value]] = {
    "plain": plain_detector,
    "second_stage": second_stage,
    "second_stage_auto": second_stage_auto,
    "pools": pools,
    "policies": policies,
    "sigmoid": sigmoid,
    "isotonic": isotonic,
    "criteria": criteria,
    "clip": clip,
    "frozen": frozen,
    "fine_tuned": fine_tuned,
    "hidden": hidden,
    "folds": folds,
    "evaluations": evaluations,
    "corpus": corpus,
    "reports": reports,
}


def compute(name: str, models: Models) -> Value:
    """Compute anew what a file holds."""
    gc.freeze()  # trainings collect garbage often: not that of all libraries too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MmeventWarning)
            return json.loads(json.dumps(FILES[name](models), allow_nan=False))
    finally:
        gc.unfreeze()


def path_of(name: str) -> Path:
    """Where a golden file lies."""
    return HERE / f"{name}.json"


def read(name: str) -> Value:
    """Return what a golden file holds."""
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def to_text(value: Value, indent: str = "") -> str:
    """Write JSON with each innermost list, and each short table's row, on one line."""
    nested = isinstance(value, (dict, list)) and any(
        isinstance(item, (dict, list))
        for item in (value.values() if isinstance(value, dict) else value)
    )
    if not nested:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = f"{indent} "
    if isinstance(value, list):
        lines = [f"{deeper}{to_text(item, deeper)}" for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    lines = [
        f"{deeper}{json.dumps(name)}: {to_text(item, deeper)}"
        for name, item in value.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


# --------------------------------------------------------------------- Comparison

EXACT_ONLY = "sha256_of_floats"


class Rounding(NamedTuple):
    """How far floats may be apart: relative to the greater of two, or in all."""

    relative: float
    absolute: float


# Pretrained encoders compute in float32. With the instructions of an older processor
# single values were found to move by 1e-6, and sums by 3e-5; all others by less.
ENCODED = ("clip", "frozen", "fine_tuned")


def rounding_of(name: str) -> Rounding:
    """Return how far the floats of a file may move on another processor."""
    return Rounding(1e-5, 2e-5) if name in ENCODED else Rounding(1e-6, 1e-9)


def differences(
    kept: Value, found: Value, rounding: Rounding | None = None, path: str = ""
) -> Iterator[str]:
    """Say where two values differ, floats by more than a rounding if one is given."""
    if type(kept) is not type(found):
        yield f"{path}: {kept!r} is now {found!r}"
    elif isinstance(kept, dict):
        for name in [*kept, *(name for name in found if name not in kept)]:
            place = f"{path}/{name}"
            if name not in kept or name not in found:
                yield f"{place}: only in {'the file' if name in kept else 'the result'}"
            elif rounding is None or name != EXACT_ONLY:
                yield from differences(kept[name], found[name], rounding, place)
    elif isinstance(kept, list):
        if len(kept) != len(found):
            yield f"{path}: {len(kept)} items are now {len(found)}"
        for i, (one, other) in enumerate(zip(kept, found, strict=False)):
            yield from differences(one, other, rounding, f"{path}/{i}")
    elif isinstance(kept, float) and rounding is not None:
        relative, absolute = rounding
        if not math.isclose(kept, found, rel_tol=relative, abs_tol=absolute):
            yield f"{path}: {kept!r} is now {found!r}"
    elif repr(kept) != repr(found):
        yield f"{path}: {kept!r} is now {found!r}"


def main() -> int:
    """Renew or check all golden files, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FILES))
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    if not Path(mmevent.__file__).is_relative_to(ROOT):
        parser.error(f"mmevent is imported from {mmevent.__file__}, not from {ROOT}")
    if unknown := set(arguments.names) - set(FILES):
        parser.error(f"no golden file has the name {', '.join(sorted(unknown))}")
    n_different = 0
    with tempfile.TemporaryDirectory() as folder:
        models = Models.write(Path(folder))
        for name in arguments.names or FILES:
            found = compute(name, models)
            if not arguments.check:
                path_of(name).write_text(f"{to_text(found)}\n", encoding="utf-8")
                continue
            for difference in differences(read(name), found):
                print(f"{name}.json{difference}")
                n_different += 1
    if arguments.check:
        print(f"{n_different} differences")
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
