"""What an estimate says first: whether the detector and its parts are of use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation.helpers import NO_LEAKAGE

from mmevent import Estimate
from mmevent.evaluation.figures import summarise
from mmevent.evaluation.nested import Run
from mmevent.evaluation.slices import Slices
from mmevent.evaluation.verdicts import verdicts

N = 300
NOT_BETTER = "By F1, this detector is not shown to be better than flagging every post"


def estimate(
    system: Any,
    *,
    event: Any = None,
    group: Any = None,
    second: bool = False,
    prevalence: float | None = None,
    **baselines: Any,
) -> Estimate:
    """Return the estimate of a detector, given by which posts it flags."""
    event = events() if event is None else event
    n = len(event)
    flagged = {"flag all": np.ones(n, dtype=bool)}
    flagged |= {name.replace("_", " "): values for name, values in baselines.items()}
    flagged |= {"stage 1": system, "both stages": system} if second else {}
    flagged.setdefault("fused", system)
    scores = {name: np.asarray(values, dtype=float) for name, values in flagged.items()}
    thresholds = {name: np.full(n, 0.5) for name in scores}
    fold = np.arange(n) % 5
    chosen = [{"fold": k, **({"threshold_1": 0.5} if second else {})} for k in range(5)]
    return summarise(
        [Run(0, fold, scores, thresholds, chosen)],
        event,
        np.arange(n) if group is None else group,
        np.zeros(n, dtype=int),
        kind="nested",
        leakage=NO_LEAKAGE,
        slices=Slices({}, []),
        prevalence=prevalence,
    )


def events(share: float = 0.3, n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < share


def flags(event: np.ndarray, recall: float, false: float, seed: int = 1) -> np.ndarray:
    """Return flags that find this share of the events, and of the others."""
    draw = np.random.default_rng(seed).random(len(event))
    return draw < np.where(event, recall, false)


def groups(n: int = N) -> np.ndarray:
    return np.arange(n) // 4


def test_a_detector_that_flags_all_is_called_no_better() -> None:
    said = verdicts(estimate(np.ones(N, dtype=bool)))
    assert len(said) == 1
    assert said[0].startswith(NOT_BETTER)
    assert "it flags 100% of the" in said[0]


@pytest.mark.parametrize("share", [0.05, 0.6])
@pytest.mark.parametrize("group", [None, groups()], ids=["single", "grouped"])
@pytest.mark.parametrize("flagged", [0.2, 0.95])
def test_flags_at_random_are_called_no_better(
    share: float, group: Any, flagged: float
) -> None:
    event = events(share)
    (said,) = verdicts(
        estimate(flags(event, flagged, flagged), event=event, group=group)
    )
    assert said.startswith(NOT_BETTER)


@pytest.mark.parametrize("share", [0.05, 0.6])
@pytest.mark.parametrize("group", [None, groups()], ids=["single", "grouped"])
@pytest.mark.parametrize(("recall", "false"), [(0.85, 0.05), (1.0, 0.0)])
def test_nothing_is_said_of_a_good_detector(
    share: float, group: Any, recall: float, false: float
) -> None:
    event = events(share)
    found = estimate(flags(event, recall, false), event=event, group=group)
    assert verdicts(found) == []


def test_precise_flags_are_not_called_worthless() -> None:
    event = events(0.6)
    found = estimate(flags(event, 0.3, 0.01), event=event)
    (said,) = verdicts(found)
    assert said.startswith(NOT_BETTER)
    assert "of what it flags are events, and 5" in said
    assert "posts without an event" not in said


def test_nearly_all_posts_without_an_event_flagged_is_said() -> None:
    event = events(0.3, 1200)
    (said,) = verdicts(estimate(flags(event, 1.0, 0.92), event=event))
    assert said.startswith("This detector flags 9")
    assert said.endswith("posts without an event: it hardly tells them from events.")


@pytest.mark.parametrize(
    ("event", "words"),
    [(True, "posts is an event"), (False, "posts is without an event")],
)
def test_posts_of_one_kind_cannot_show_anything(event: bool, words: str) -> None:
    (said,) = verdicts(estimate(events(), event=np.full(N, event)))
    assert words in said
    assert "cannot show" in said


def test_a_detector_that_flags_nothing_finds_nothing() -> None:
    (said,) = verdicts(estimate(np.zeros(N, dtype=bool)))
    assert said == "This detector flags none of the 300 posts: it finds no event."


def test_one_group_shows_nothing() -> None:
    found = estimate(flags(events(), 0.9, 0.1), group=np.zeros(N, dtype=int))
    gain = found.differences.set_index("baseline").loc["flag all"]
    assert (gain["low"], gain["high"]) == (-1, 1)
    (said,) = verdicts(found)
    assert said.startswith(NOT_BETTER)
    assert "[-1.000, +1.000]" in said


def test_a_given_prevalence_counts() -> None:
    event = events(0.5)
    detector = flags(event, 0.95, 0.5)
    assert verdicts(estimate(detector, event=event)) == []
    (said,) = verdicts(estimate(detector, event=event, prevalence=0.9))
    assert said.startswith(NOT_BETTER)


def test_images_that_add_nothing_are_not_shown_to_add() -> None:
    event = events()
    text, fused = flags(event, 0.8, 0.1), flags(event, 0.8, 0.1, seed=2)
    images = flags(event, 0.3, 0.3)
    found = estimate(fused, text_only=text, image_only=images)
    (said,) = verdicts(found)
    assert said.startswith("The images are not shown to add to the texts: F1 minus ")
    assert "that of the texts alone is " in said


def test_only_parts_that_raise_f1_are_passed_over() -> None:
    event = events()
    good, poor = flags(event, 0.9, 0.05), flags(event, 0.7, 0.3)
    images = flags(event, 0.4, 0.3)
    assert verdicts(estimate(good, text_only=poor, image_only=images)) == []
    (said,) = verdicts(estimate(good, text_only=poor, image_only=good))
    assert said.startswith("The texts are not shown to add to the images: ")


def test_what_is_not_there_is_not_judged() -> None:
    good = flags(events(), 0.9, 0.05)
    assert verdicts(estimate(good, text_only=good)) == []
    assert verdicts(estimate(good, image_only=good)) == []


def test_a_second_stage_is_compared_with_the_first() -> None:
    event = events()
    good, poor = flags(event, 0.9, 0.05), flags(event, 0.8, 0.3)
    same = {"second": True, "text_only": poor, "image_only": poor}
    (said,) = verdicts(estimate(good, fused=good, **same))
    assert said.startswith("The second stage is not shown to add to the first stage: ")
    assert verdicts(estimate(good, fused=poor, **same)) == []
    said, _ = verdicts(estimate(good, fused=good, **(same | {"text_only": good})))
    assert said.startswith("The images and the second stage together are not shown")


def test_every_form_says_it_before_the_figures() -> None:
    found = estimate(np.ones(N, dtype=bool))
    for text in (str(found), found._repr_html_()):
        assert text.index(NOT_BETTER) < text.index("Estimate by")
    said = str(found).partition("Estimate by")[0]
    assert max(map(len, said.splitlines())) <= 100
    assert " ".join(said.split()) == verdicts(found)[0]
    again = Estimate.from_dict(found.to_dict())
    assert verdicts(again) == verdicts(found)
    without = replace(found, differences=found.differences.iloc[:0])
    assert verdicts(without) == []
