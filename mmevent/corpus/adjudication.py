"""Which coded posts to adjudicate first: those that move the estimate most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmevent._settings import with_own_settings
from mmevent.corpus.coder_error import correct
from mmevent.corpus.codings import read_codings
from mmevent.corpus.columns import need_columns, number_column, truth
from mmevent.corpus.strata import PROBABILITY, STRATUM
from mmevent.exceptions import InputError
from mmevent.posts.keys import as_keys, free_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["to_adjudicate"]

CHANCE, MOVES = "chance", "moves"


@with_own_settings
def to_adjudicate(
    coded: pd.DataFrame,
    label: str,
    *,
    coder: str,
    sample: pd.DataFrame | None = None,
    pos_label: Any = None,
) -> pd.DataFrame:
    """List coded posts for adjudication, first what moves the number of events most.

    Parameters
    ----------
    coded : DataFrame
        One row per coding: ``id``, ``stratum`` and ``inclusion_probability`` from
        `draw_sample`, the label and the coder.
    label : str
        Column of the labels: 1 or True for an event, 0 or False for others.
    coder : str
        Column that names the coder.
    sample : DataFrame or None, default=None
        From `draw_sample`, where `coded` has only ids, labels and coders.
    pos_label : default=None
        The label of an event, where labels are two others than 1 and 0.

    Returns
    -------
    DataFrame
        One row for each post that a coder called an event: ``id``, a column for each
        coder, ``chance`` (that it is an event, from 0 to 1), and ``moves``, by how many
        events the estimate moves when the truth is known (a standard deviation).
        Posts that all coders call none are left out.

    Raises
    ------
    InputError
        If a column is missing, a coded post is not in the sample, a coder coded a post
        twice, or no post was coded twice.

    See Also
    --------
    estimate_corpus : Takes what was adjudicated.

    Notes
    -----
    A post that stands for w = 1 / ``inclusion_probability`` posts, and is an event with
    the chance q, moves the number of events by w sqrt(q (1 - q)). The chance follows
    from the codings and the stratum, as in `estimate_corpus`. A post that all coders
    call an event may come before one that they disagree on, where events are rare.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmevent.corpus import to_adjudicate
    >>> coded = pd.DataFrame({"id": [1, 2, 3, 4] * 2, "coder": ["A"] * 4 + ["B"] * 4,
    ...                       "event": [1, 1, 0, 0, 1, 0, 0, 1], "stratum": 0,
    ...                       "inclusion_probability": [0.5, 0.5, 0.5, 0.1] * 2})
    >>> to_adjudicate(coded, "event", coder="coder")["id"].tolist()
    [4, 2, 1]
    """
    drawn = coded if sample is None else sample
    stratum, weight, ids = _drawn(coded, drawn)
    need_columns(coded, ["id", label, coder], "coded sample", "Correct the names.")
    if pos_label is None and not np.isfinite(truth(coded[label].dropna(), label)).all():
        raise InputError(
            f"the column {label!r} has other labels than 0 and 1: expected 1 for an "
            f"event, got {coded[label].dropna().unique()[:5].tolist()}. Say which "
            f"label is an event (pos_label=, or --positive on the command line)."
        )
    codings = read_codings(ids, coded, label, coder=coder, pos_label=pos_label)
    found = correct(codings, stratum, int(stratum.max(initial=0)) + 1)
    if found is None:
        raise InputError(
            f"no post was coded twice: expected posts with codings of two coders, got "
            f"{len(ids)} posts with one each. Let another person code some of them."
        )
    moves = weight * np.sqrt(found.chance * (1 - found.chance))
    called = codings.positive[codings.pattern].sum(axis=1) > 0
    order = np.flatnonzero(called)[np.argsort(-moves[called], kind="stable")]
    beside = _by_coder(coded, label, coder, ids).iloc[order].reset_index(drop=True)
    beside.columns = [free_name(n, {"id", CHANCE, MOVES}) for n in beside.columns]
    beside.insert(0, "id", ids.iloc[order].to_numpy())
    return beside.assign(**{CHANCE: found.chance[order], MOVES: moves[order]})


def _drawn(
    coded: pd.DataFrame, sample: pd.DataFrame
) -> tuple[NDArray[np.intp], FloatArray, pd.Series]:
    """Return stratum, weight and id of each coded post, in the order of the codings."""
    advice = (
        "Pass the codings of what mmevent sample drew; where they lack its columns, "
        "pass the table that was drawn as well (sample=, or --sample on the command "
        "line)."
    )
    need_columns(sample, ["id", STRATUM, PROBABILITY], "coded sample", advice)
    need_columns(coded, ["id"], "coded sample", advice)
    keys = pd.Series(as_keys(coded["id"], "the ids of codings"), dtype=object)
    of_sample = pd.Index(as_keys(sample["id"], "the ids of the sample"))
    first = ~of_sample.duplicated()
    row = of_sample[first].get_indexer(pd.Index(keys))
    unknown = (row < 0) | keys.isna().to_numpy()
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum())} codings are of posts that are not in the sample: "
            f"expected its ids, got {coded['id'][unknown][:5].tolist()}. Pass the "
            f"sample that was coded."
        )
    new = ~keys.duplicated().to_numpy()
    posts = sample[first].iloc[row[new]].reset_index(drop=True)
    probability = number_column(posts, PROBABILITY, "coded sample", least=0, most=1)
    stratum = pd.factorize(number_column(posts, STRATUM, "coded sample"))[0]
    weight = 1 / np.maximum(probability, np.finfo(float).tiny)
    return stratum, weight, coded["id"][new].reset_index(drop=True)


def _by_coder(
    coded: pd.DataFrame, label: str, coder: str, ids: pd.Series
) -> pd.DataFrame:
    """Return the labels as they were given, with a row per post, a column per coder."""
    table = pd.DataFrame(
        {
            "id": as_keys(coded["id"], "ids"),
            "coder": as_keys(coded[coder], "coders"),
            "label": coded[label].astype(object).to_numpy(),
        }
    ).dropna()
    wide = table.pivot(index="id", columns="coder", values="label")
    return wide.reindex(as_keys(ids, "ids"))
