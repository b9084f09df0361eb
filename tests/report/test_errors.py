"""What a detector gets wrong, post by post."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.exceptions import NotFittedError

from mmevent import EventDetector, evaluate
from mmevent.detector.learning import learning_curve
from mmevent.exceptions import InputError
from mmevent.report import plots
from mmevent.report.errors import Errors, find_errors, labelled_scores
from mmevent.synthetic.posts import make_posts

Data = tuple[pd.DataFrame, NDArray[np.int64]]


def others(n: int = 60) -> Data:
    posts, y, _ = make_posts(n, random_state=5)
    return posts.assign(id="b" + posts["id"].astype(str)), y


def test_errors_are_the_surest_of_each_kind(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    table = find_errors(detector, posts, y, n=5).table
    oof = detector.out_of_fold_.set_index("id")
    for kind, wrong in (
        ("false positive", (oof["score"] >= detector.threshold_) & ~oof["event"]),
        ("missed event", (oof["score"] < detector.threshold_) & oof["event"]),
    ):
        shown = table[table["kind"] == kind]
        margin = (oof["score"] - detector.threshold_)[wrong].abs()
        assert len(shown) == 5
        assert set(shown["id"]) <= set(oof.index[wrong])
        assert shown["margin"].abs().max() == margin.max()
        assert shown["margin"].abs().is_monotonic_decreasing
    texts = posts.set_index("id")["text"]
    with_text = table[table["text"] != ""]
    assert with_text["text"].tolist() == texts[with_text["id"]].tolist()


def test_copies_are_shown_once(detector: EventDetector, data: Data) -> None:
    table = find_errors(detector, *data, n=100).table
    texts = table.loc[table["text"] != "", ["kind", "text"]]
    assert not texts.duplicated().any()


def test_errors_on_held_out_posts_are_those_of_the_detector(
    detector: EventDetector,
) -> None:
    posts, y = others()
    table = find_errors(detector, posts, y, held_out=True).table
    audit = detector.audit(posts).set_index("id")
    assert (audit.loc[table["id"], "margin"].to_numpy() == table["margin"]).all()
    assert "p_text_2" not in table


def test_training_posts_among_held_out_ones_are_no_evidence(
    detector: EventDetector, data: Data
) -> None:
    posts, y = others()
    mixed = pd.concat([data[0][:20], posts], ignore_index=True)
    labels = np.r_[data[1][:20], y]
    scored = labelled_scores(detector, mixed, labels, held_out=True)
    estimate = evaluate(detector, mixed, labels, held_out=True, drop_seen=True)
    n_open = estimate.to_frame().loc["fused", "n_posts"]
    assert scored["score"].notna().sum() == n_open
    errors = find_errors(detector, mixed, labels, held_out=True)
    assert f"among {n_open} held-out posts" in errors.note


def test_a_page_shows_posts_and_loads_nothing(
    settings: dict[str, Any], tmp_path: Any
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    Image.fromarray(rng.integers(0, 255, (400, 900, 3), dtype=np.uint8)).save(path)
    y = np.arange(40) % 2
    texts = [f"march <script>alert({i})</script> & w{i}" for i in range(40)]
    posts = pd.DataFrame({"text": texts, "images": [str(path)] + [None] * 39})
    detector = EventDetector(**settings | {"image": None}, image_root=tmp_path)
    errors = find_errors(detector.fit(posts, y), posts, y, n=40)
    page = errors.to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    row = errors.table.index[errors.table["images"] == str(path)]
    if len(row):
        thumbnail = Image.open(io.BytesIO(errors.pictures[row[0]][0]))
        assert thumbnail.size == (320, 142)
        assert page.count("<img ") == 1


def test_a_long_text_is_cut_and_no_error_is_said() -> None:
    empty = Errors(pd.DataFrame({"kind": []}), [], "none")
    assert empty.to_html().count("<p>None.</p>") == 2


def test_two_stages_name_the_stage(settings: dict[str, Any], data: Data) -> None:
    posts, y = data
    detector = EventDetector(**settings, second_stage=True).fit(posts, y)
    table = find_errors(detector, posts, y).table
    assert set(table["stage"]) <= {1, 2}
    assert "stage" in find_errors(detector, posts, y).to_html()
    assert plots.plot_surface(detector).axes


def test_a_budget_is_the_corpuss_share_of_these_posts(
    detector: EventDetector, data: Data
) -> None:
    other = copy.deepcopy(detector).set_policy("budget=100")
    scored = labelled_scores(other, *data, corpus_size=800)
    assert 15 <= (scored["margin"] >= 0).sum() <= 20
    with pytest.raises(InputError, match="expected corpus_size"):
        find_errors(other, *data)
    for function in (find_errors, learning_curve):
        with pytest.raises(InputError, match="corpus_size=800 is for a budget"):
            function(detector, *data, corpus_size=800)
    posts, y = others()
    mixed = pd.concat([data[0], posts], ignore_index=True)
    labels = np.r_[data[1], y]
    found = labelled_scores(other, mixed, labels, held_out=True, corpus_size=600)
    n_open = found["score"].notna().sum()
    assert 0 < (found["margin"] >= 0).sum() <= round(100 * n_open / 600)


def test_other_texts_with_the_same_labels_are_refused(
    detector: EventDetector, data: Data
) -> None:
    posts, y = data
    with pytest.raises(InputError, match="are not those of the training"):
        find_errors(detector, posts.assign(text="nonsense"), y)


@pytest.mark.parametrize("n", [0, -1, "5", True])
def test_what_is_no_number_of_posts(
    detector: EventDetector, data: Data, n: Any
) -> None:
    with pytest.raises(InputError, match="is no number of posts"):
        find_errors(detector, *data, n=n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p, y: (p[:-1], y[:-1]),
            "these 159 posts are not those of the training",
        ),
        (lambda p, y: (p[::-1], y[::-1]), "images, labels and order"),
        (lambda p, y: (p, 1 - y), "pass held_out=True"),
        (lambda p, y: (p[:0], y[:0]), "no posts to look at"),
        (lambda p, y: (p, y + 5), "other labels than the training"),
    ],
)
def test_other_posts_than_the_training_are_refused(
    detector: EventDetector, data: Data, change: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_errors(detector, *change(*data))


def test_an_unfitted_detector_has_nothing_to_show(data: Data) -> None:
    for function in (find_errors, labelled_scores, learning_curve):
        with pytest.raises(NotFittedError):
            function(EventDetector(), *data)
    with pytest.raises(NotFittedError):
        plots.plot_surface(EventDetector())


def test_posts_that_were_all_seen_show_no_errors(
    detector: EventDetector, data: Data
) -> None:
    with pytest.raises(InputError, match="no posts to look at, none of the training"):
        find_errors(detector, *data, held_out=True)


def test_looking_at_errors_draws_no_random_number(
    detector: EventDetector, data: Data
) -> None:
    state = np.random.RandomState(3)
    find_errors(copy.deepcopy(detector).set_params(random_state=state), *data)
    assert state.randint(2**31) == np.random.RandomState(3).randint(2**31)
