"""`Estimate`: out-of-sample figures as text, HTML, data frames and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from mmevent._common import as_html
from mmevent.evaluation.baselines import whole
from mmevent.evaluation.intervals import with_interval
from mmevent.evaluation.verdicts import verdicts
from mmevent.exceptions import InputError

_KINDS = {
    "nested": "nested cross-validation",
    "cross-fit": "cross-fitted (slightly optimistic: the branches saw the fold that "
    "tests them when they gave the probabilities that chose rule and threshold)",
    "held out": "held-out posts, never seen in training",
}


_TITLES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision",
}
_WIDTH = 100  # characters of a line
_WIDEST = 28  # characters of a slice's name


@dataclass(frozen=True)
class Estimate:
    """Out-of-sample figures of a detector, its baselines, and their differences.

    Parameters
    ----------
    kind : {"nested", "cross-fit", "held out"}
        How the figures were kept free of posts that chose parameters.
    table : DataFrame
        One row for each slice of the posts (``all``, ``with images``, ``without
        images``) and system: F1, precision, recall and average precision, each with
        the ends of its 95% interval (``_low``, ``_high``), means over the seeds.
    differences : DataFrame
        F1 of the fused rule, or of both stages, minus that of each baseline, paired,
        with its interval.
    by_seed : DataFrame
        F1 and average precision of each system with each seed of the folds.
    false_positive_rates : DataFrame
        Share of the posts without an event that are flagged, by number of images.
    parameters : DataFrame
        The rule's parameters, pool and threshold that each fold chose.
    leakage : dict
        How many posts share a group, and how many would have had another post of their
        group in training if groups had been ignored.
    notes : list of str
        What a reader must know besides the figures.
    brier : DataFrame
        Brier score of calibrated probabilities, and of the prevalence; empty without
        `calibration`.
    reliability : DataFrame
        By tenths of the calibrated probability: number of posts, mean probability, and
        the share of events with its interval.
    slices : DataFrame
        One row for each slice of the posts, by images, number of images, period,
        language, or a column of `by`: the detector's figures, and how far each is from
        that of all other posts (``f1_minus_rest``). The intervals of these differences
        hold for all slices and figures at once.
    prevalence : float or None, default=None
        Share of events that the figures are re-weighted to; None for that of the posts.
    threshold : DataFrame
        The threshold, and its 95% interval over resamples of groups; on ``n_unmet`` of
        ``n_resamples`` the policy cannot be met. Empty if the policy chooses no
        threshold, or chose it on held-out posts.

    See Also
    --------
    evaluate : Makes one for a fitted detector.

    Examples
    --------
    >>> from mmevent import EventDetector
    >>> from mmevent.synthetic import make_posts
    >>> from mmevent.synthetic import demo_branches
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = EventDetector(text=text, image=image, cv=2, inner_cv=2,
    ...                          n_trials=20, random_state=0).fit(posts, y)
    >>> detector.estimate_.to_frame().loc["fused", "n_posts"]
    np.int64(300)
    """

    kind: str
    table: pd.DataFrame
    differences: pd.DataFrame
    by_seed: pd.DataFrame
    false_positive_rates: pd.DataFrame
    parameters: pd.DataFrame
    leakage: dict[str, int]
    notes: list[str] = field(default_factory=list)
    brier: pd.DataFrame = field(default_factory=pd.DataFrame)
    reliability: pd.DataFrame = field(default_factory=pd.DataFrame)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    prevalence: float | None = None
    threshold: pd.DataFrame = field(default_factory=pd.DataFrame)

    def to_frame(self, slice: str = "all") -> pd.DataFrame:
        """Return the rows of one slice, indexed by system.

        Parameters
        ----------
        slice : {"all", "with images", "without images"}, default="all"
            Which posts.

        Returns
        -------
        DataFrame
            One row a system, with the columns of `table`.

        Raises
        ------
        InputError
            If there are no figures of this slice.
        """
        rows = self.table[self.table["slice"] == slice]
        if not len(rows):
            known = ", ".join(map(repr, self.table["slice"].unique()))
            raise InputError(
                f"slice={slice!r} has no figures: expected one of {known}. Choose one "
                f"of them; `slices` has those of other columns."
            )
        return rows.drop(columns="slice").set_index("system")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists, dicts, strings and numbers.

        Returns
        -------
        dict
            Undefined figures, and thresholds that are infinite, are None.
        """
        frames = {
            name: json.loads(value.to_json(orient="records", double_precision=15))
            for name, value in vars(self).items()
            if isinstance(value, pd.DataFrame)
        }
        return {
            "kind": self.kind,
            "prevalence": self.prevalence,
            **frames,
            "leakage": self.leakage,
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """Return everything as JSON.

        Returns
        -------
        str
            Undefined figures, and thresholds that are infinite, are null.
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Estimate:
        """Make an estimate from what `to_dict` returned.

        Parameters
        ----------
        values : dict
            From `to_dict`, or read from JSON.

        Returns
        -------
        Estimate
        """
        frames = {
            name: _frame(value)
            for name, value in values.items()
            if name not in ("kind", "prevalence", "leakage", "notes")
        }
        return cls(
            kind=values["kind"],
            prevalence=values["prevalence"],
            leakage=values["leakage"],
            notes=values["notes"],
            **frames,
        )

    def __str__(self) -> str:
        parts = [*(fill(said, _WIDTH) for said in verdicts(self)), heading(self)]
        parts += [f"{title}\n{_to_text(frame)}" for title, frame in sections(self)]
        if self.notes:
            parts.append("Notes\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        row = self.to_frame().loc[whole(set(self.table["system"]))]
        f1 = _with_interval(*row[["f1", "f1_low", "f1_high"]], digits=2)
        return (
            f"<Estimate, {self.kind}: {int(row['n_posts']):,} posts, "
            f"{int(row['n_events']):,} events, F1 {f1}>"
        )

    def _repr_html_(self) -> str:
        top = "\n\n".join([*verdicts(self), heading(self)])
        return as_html(top, sections(self), self.notes)


def heading(estimate: Estimate) -> str:
    """Return two lines: how an estimate was made, and on how many posts."""
    first = estimate.to_frame().iloc[0]
    seeds = estimate.by_seed["seed"].nunique()
    at = "" if estimate.prevalence is None else f"; prevalence {estimate.prevalence:g}"
    folds = f"{seeds} seed{'s' if seeds > 1 else ''} of the folds; "
    return (
        f"Estimate by {_KINDS[estimate.kind]}\n"
        f"{int(first['n_posts']):,} posts, {int(first['n_events']):,} events, "
        f"{int(first['n_groups']):,} groups; {folds if seeds else ''}"
        f"95% intervals in brackets{at}"
    )


def sections(estimate: Estimate) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables of an estimate for people to read, with their titles."""
    system = whole(set(estimate.table["system"]))
    sections = [
        ("All posts", _readable(estimate.to_frame())),
        (f"F1 of {system} minus", _readable_differences(estimate.differences)),
    ]
    if len(estimate.slices):
        title = f"{system.capitalize()}, by slice"
        sections.append((title, _readable_slices(estimate.slices)))
        title = "Minus all other posts; the 95% intervals hold for all slices at once"
        sections.append((title, _readable_minus_rest(estimate.slices)))
    if len(estimate.threshold):
        title = "Threshold, with its interval over resamples of the groups"
        sections.append((title, _readable_threshold(estimate.threshold)))
    if len(estimate.false_positive_rates):
        title = f"False-positive rate of {system}, by number of images"
        sections.append((title, _readable_rates(estimate.false_positive_rates)))
    if len(estimate.brier):
        sections.append(("Brier score", _readable_brier(estimate.brier)))
        title = "Events by calibrated probability"
        sections.append((title, _readable_reliability(estimate.reliability)))
    return [(title, frame) for title, frame in sections if len(frame)]


def _frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a frame; a column without values gets missing numbers."""
    frame = pd.DataFrame(records)
    empty = [name for name in frame if frame[name].isna().all()]
    return frame.astype(dict.fromkeys(empty, np.float64))


def _to_text(frame: pd.DataFrame) -> str:
    """Return a table with one space between columns, to fit 100 characters."""
    rows = [["", *frame.columns], *([name, *row] for name, *row in frame.itertuples())]
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        " ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    )


def _with_interval(value: float, low: float, high: float, *, digits: int = 3) -> str:
    if np.isnan(value):
        return "undefined"
    if np.isnan(low):
        return f"{value:.3f}"
    return with_interval(value, low, high, digits=digits)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    columns = {
        title: [
            _with_interval(*row, digits=2)
            for row in table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        ]
        for name, title in _TITLES.items()
    }
    columns["flagged"] = [f"{value:,.0f}" for value in table["n_flagged"]]
    return pd.DataFrame(columns, index=list(table.index))


def _readable_differences(differences: pd.DataFrame) -> pd.DataFrame:
    values = differences[["difference", "low", "high"]].to_numpy(dtype=float)
    text = [with_interval(*row, sign="+") for row in values]
    return pd.DataFrame({"difference": text}, index=list(differences["baseline"]))


def _readable_slices(slices: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, list[str]] = {
        "posts": [f"{n:,}" for n in slices["n_posts"]],
        "events": [f"{n:,}" for n in slices["n_events"]],
    }
    for name in ("f1", "precision", "recall"):
        values = slices[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
        columns[_TITLES[name]] = [
            "–" if np.isnan(row[0]) else _with_interval(*row, digits=2)
            for row in values
        ]
    return pd.DataFrame(columns, index=_slice_names(slices))


def _readable_minus_rest(slices: pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for name in ("f1", "precision", "recall"):
        difference = f"{name}_minus_rest"
        ends = [difference, f"{difference}_low", f"{difference}_high"]
        columns[_TITLES[name]] = [
            "–"
            if np.isnan(low)
            else with_interval(value, low, high, digits=2, sign="+")
            for value, low, high in slices[ends].to_numpy(dtype=float)
        ]
    frame = pd.DataFrame(columns, index=_slice_names(slices))
    return frame[(frame != "–").any(axis=1)]


def _slice_names(slices: pd.DataFrame) -> list[str]:
    names = [f"{row.by}: {row.slice}" for row in slices.itertuples()]
    return [f"{name[:_WIDEST]}…" if len(name) > _WIDEST else name for name in names]


def _readable_threshold(threshold: pd.DataFrame) -> pd.DataFrame:
    rows = threshold.to_numpy(dtype=float)
    text = [_with_interval(*row[:3]) for row in rows]
    unmet = [f"{row[4]:,.0f} of {row[3]:,.0f}" for row in rows]
    columns = {"threshold": text, "policy cannot be met": unmet}
    return pd.DataFrame(columns, index=[""] * len(rows))


def _readable_brier(brier: pd.DataFrame) -> pd.DataFrame:
    values = brier[["value", "low", "high"]].to_numpy(dtype=float)
    text = [_with_interval(*row) for row in values]
    return pd.DataFrame({"mean": text}, index=list(brier["probabilities"]))


def _readable_reliability(reliability: pd.DataFrame) -> pd.DataFrame:
    values = reliability[["value", "low", "high"]].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "posts": [f"{n:,.0f}" for n in reliability["n_posts"]],
            "share of events": [_with_interval(*row) for row in values],
        },
        index=[f"{p:.3f}" for p in reliability["probability"]],
    )


def _readable_rates(rates: pd.DataFrame) -> pd.DataFrame:
    values = rates[["rate", "low", "high"]].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "negatives": rates["n_negatives"].to_list(),
            "rate": [_with_interval(*row) for row in values],
        },
        index=list(rates["n_images"]),
    )
