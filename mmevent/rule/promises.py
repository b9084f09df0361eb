"""Thresholds with a promise: a precision or a recall with 95% confidence."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import betainc, expit

from mmevent.exceptions import PolicyError
from mmevent.rule.cuts import Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    IntArray = NDArray[np.intp]

CONFIDENCE = 0.95
_LEVEL = 1.0 - CONFIDENCE
_GROWTH = 1.1  # of the number of flagged posts between two tested thresholds
_MOST_TIMES = 1000  # as many groups as there are: more are not worth naming
_ROUNDING = 1.0 + 1e-9
_LINES = expit(np.linspace(-8.0, 8.0, 33))  # where to look for the saddle point
_T = np.linspace(0.0, 6.0, 41)  # the trapezoidal rule, in steps of the sinh
_SINH = np.sinh(_T)
_WEIGHTS = np.cosh(_T) * _T[1] / np.pi
_WEIGHTS[0] /= 2.0


class Tally(NamedTuple):
    """Posts counted by group: what a share is made of.

    Groups with the same counts are one entry. `total` are the posts of a group that
    count, all flagged ones for a precision and all events for a recall; `true` are the
    flagged events among them; `groups` says how many groups have these counts.
    """

    true: IntArray
    total: IntArray
    groups: IntArray

    @classmethod
    def of(cls, true: BoolArray, group: IntArray) -> Tally:
        """Count rows by group; `true` says which rows are flagged events."""
        total = np.bincount(group)
        base = int(total.max(initial=0)) + 1
        hits = np.bincount(group, weights=true).astype(np.intp)
        kinds, groups = np.unique((total * base + hits)[total > 0], return_counts=True)
        return cls(kinds % base, kinds // base, groups)

    @property
    def share(self) -> float:
        """Share of all rows that are true; NaN without rows."""
        total = int(self.total @ self.groups)
        return int(self.true @ self.groups) / total if total else math.nan

    @property
    def n_groups(self) -> int:
        """Number of groups that have a row."""
        return int(self.groups.sum())


def p_value(tally: Tally, target: float, *, times: float = 1.0) -> float:
    """Test that a share is below a target, for posts that come in groups.

    Parameters
    ----------
    tally : Tally
        Counts of groups that are drawn independently. Posts of one group need not be
        independent.
    target : float
        The share, between 0 and 1.
    times : float, default=1
        How often each group is taken, to plan for more groups like these.

    Returns
    -------
    float
        The p-value.

    Notes
    -----
    The share is that of a random post: the expected number of true posts of a group,
    divided by the expected number of posts. With groups of one post each this is the
    exact binomial test. Otherwise group g has a surplus x_g = true_g - target * total_g
    over what the target asks for, which is 0 on average where the share is the target.
    The p-value is the probability that sum(x_g E_g) - x_0 E_0 <= 0, where all E are
    independent standard exponential numbers. That is a Bayesian bootstrap of the groups
    (Rubin 1981), with one more group whose posts are all wrong (Gaffke 2005). In a
    group of one, it is the binomial test again. The test is conjectured, not proven, to
    hold for every distribution, if the added group is as large as a group can be
    (Learned-Miller and Thomas 2019); that is far too strict where sizes differ. Here it
    has sum(total**3) / sum(total**2) posts: the skewness of a sum of groups that are
    right or wrong as a whole, on which the error of a test on group sums depends
    (Johnson 1978), is the skewness of groups of this size. For groups of equal size
    both are the same. That the promise is kept is shown by simulation
    (``benchmarks/policies.py``).

    References
    ----------
    Gaffke (2005), "Three Test Statistics for a Nonparametric One-Sided Hypothesis on
    the Mean of a Nonnegative Variable", Mathematical Methods of Statistics 14.
    Learned-Miller and Thomas (2019), "A New Confidence Interval for the Mean of a
    Bounded Random Variable", arXiv:1905.06208. Rubin (1981), "The Bayesian Bootstrap",
    Annals of Statistics 9. Johnson (1978), "Modified t Tests and Confidence Intervals
    for Asymmetrical Populations", Journal of the American Statistical Association 73.

    Examples
    --------
    >>> import numpy as np
    >>> from mmevent.rule.promises import Tally, p_value
    >>> true = np.array([True] * 14)
    >>> round(p_value(Tally.of(true, np.arange(14)), 0.8), 3)  # 14 posts: 0.8 ** 14
    0.044
    >>> round(p_value(Tally.of(true, np.arange(14) // 2), 0.8), 3)  # 7 pairs: 0.8 ** 7
    0.21
    """
    count = tally.groups * times
    if not tally.true.any():
        return 1.0
    if tally.total.max() == 1:
        true = float(tally.true @ count)
        return float(betainc(true, count.sum() - true + 1, target))
    surplus = tally.true - target * tally.total
    surplus = np.append(surplus, -_extra_deficit(tally, target))
    return _chance_of_loss(surplus, np.append(count, 1.0))


def _extra_deficit(tally: Tally, target: float) -> float:
    """Return what the added group of wrong posts falls short of the target."""
    total = tally.total.astype(np.float64)
    return float(target * (total**3 @ tally.groups) / (total**2 @ tally.groups))


def _chance_of_loss(x: FloatArray, n: FloatArray) -> float:
    """Return P(sum of x_j G_j <= 0) for Gamma numbers of shapes n_j; 1 if about even.

    The moment generating function exp(K(s)) is inverted along a vertical line near the
    saddle point of exp(K(s)) / s (Daniels 1987, "Tail Probability Approximations",
    International Statistical Review 55, section 2), where a sum over few points is
    precise to many digits. One of the x_j must be below 0.
    """
    x = x / -x.min()
    if n @ x <= 0:
        return 1.0
    size = np.log(1.0 - np.multiply.outer(-_LINES, x)) @ n + np.log(_LINES)
    line = -_LINES[np.argmax(size)]
    width = 2.0 / math.sqrt(n @ (x / (1.0 - line * x)) ** 2 + line**-2)
    s = line + 1j * width * _SINH
    value = np.exp(-np.log(1.0 - np.multiply.outer(s, x)) @ n) / -s
    return float(np.clip(value.real @ _WEIGHTS * width, 0.0, 1.0))


class Evidence(NamedTuple):
    """Labelled posts by descending score; only scores above 0 can be flagged."""

    score: FloatArray
    event: BoolArray
    group: IntArray
    side: Ranking

    @classmethod
    def of(cls, score: FloatArray, event: BoolArray, group: IntArray) -> Evidence:
        """Sort the posts."""
        order = np.argsort(-score, kind="stable")
        side = Ranking.of(score, event)
        return cls(score[order], event[order], group[order], side)

    def flagged(self, cut: int) -> Tally:
        """Count the posts that a cut flags."""
        n = int(self.side.flagged[cut])
        return Tally.of(self.event[:n], self.group[:n])

    def events(self, cut: int) -> Tally:
        """Count the events, and those that a cut flags."""
        found = np.arange(len(self.score)) < self.side.flagged[cut]
        return Tally.of(found[self.event], self.group[self.event])


def assured_threshold(
    kind: str, target: float, score: FloatArray, event: BoolArray, group: IntArray
) -> float:
    """Return the threshold that assures a precision or a recall.

    Parameters
    ----------
    kind : {"precision", "recall"}
    target : float
        Between 0 and 1.
    score, event, group : ndarray of shape (n_posts,)
        Scores of 0 or more, labels, and group numbers from 0.

    Returns
    -------
    float
        The lowest threshold that assures the precision, or the highest that assures
        the recall.

    Raises
    ------
    PolicyError
        If there is none; the message says which share can be assured, and how many
        groups like these would do.
    """
    posts = Evidence.of(score, event, group)
    cut = assured_cut(kind, target, posts)
    if cut is None:
        raise PolicyError(_why_not(kind, target, posts))
    return posts.side.threshold(cut)


def assured_cut(kind: str, target: float, posts: Evidence) -> int | None:
    """Return the cut that assures a precision or a recall; None if there is none."""
    find = _recalling_cut if kind == "recall" else _precise_cut
    return find(posts, target)


def _precise_cut(posts: Evidence, target: float) -> int | None:
    """Return the largest cut that the fallback procedure accepts (Wiens 2003)."""
    cuts, shares = _tested_cuts(posts, target)
    found, carried = None, 0.0
    for cut in cuts:
        carried += shares.get(cut, 0.0)
        if carried and p_value(posts.flagged(cut), target) <= carried * _ROUNDING:
            found = cut
        else:
            carried = 0.0
    return found


def _tested_cuts(posts: Evidence, target: float) -> tuple[list[int], dict[int, float]]:
    """Return the cuts to test, in order, and the level that begins at some of them.

    They depend on scores and groups, not on labels. The first cut is one that would be
    accepted if all posts that it flags were events. Most of the level is for it, the
    rest for those at which the number of flagged posts has doubled.
    """
    flagged = posts.side.flagged
    fewest = math.ceil(math.log(_LEVEL) / math.log(target))  # groups, if all are right
    first = target ** (fewest + 1)  # leaves a little for the later starts
    if flagged[-1] <= fewest:
        first = _LEVEL
    else:
        fewest += 1
    cuts = _growing(flagged, fewest)
    while cuts and not _could_show(posts.flagged(cuts[0]), target, first):
        cuts.pop(0)
    starts = cuts[:1]
    for cut in cuts:
        if flagged[cut] >= 2 * flagged[starts[-1]]:
            starts.append(cut)
    if len(starts) < 2:
        return cuts, dict.fromkeys(starts, _LEVEL)
    rest = (_LEVEL - first) / (len(starts) - 1)
    return cuts, {**dict.fromkeys(starts, rest), starts[0]: first}


def _growing(flagged: IntArray | FloatArray, n: int) -> list[int]:
    """Return cuts that flag at least n posts, each a tenth more than the one before."""
    cuts = []
    while n <= flagged[-1]:
        cuts.append(int(np.searchsorted(flagged, n)))
        n = max(int(flagged[cuts[-1]]) + 1, int(n * _GROWTH))
    return cuts


def _could_show(tally: Tally, target: float, level: float) -> bool:
    """Whether these groups would be enough if all their posts were events."""
    surplus = (1.0 - target) * tally.total / _extra_deficit(tally, target)
    return math.exp(-tally.groups @ np.log1p(surplus)) <= level * _ROUNDING


def _recalling_cut(posts: Evidence, target: float) -> int | None:
    """Return the smallest cut that assures the recall; one test is enough.

    The recall can only fall as the threshold rises, in the posts and in the corpus.
    """

    def is_enough(cut: int) -> bool:
        return p_value(posts.events(cut), target) <= _LEVEL

    cuts = range(1, len(posts.side.flagged))
    place = bisect_left(cuts, True, key=is_enough)
    return cuts[place] if place < len(cuts) else None


def _why_not(kind: str, target: float, posts: Evidence) -> str:
    """Say which share these posts assure, and how many groups like these would do."""
    of_events = kind == "recall"
    rows = posts.group[posts.event] if of_events else posts.group
    sizes = np.unique(rows, return_counts=True)[1]
    noun = "posts" if sizes.max(initial=1) == 1 else "groups"
    noun = f"{noun} with events" if of_events and noun == "groups" else noun
    noun = "events" if of_events and noun == "posts" else noun
    said = (
        f"policy='{kind}>={target:g}' cannot be met: these {len(sizes)} {noun} show no"
    )
    sure = f"with {CONFIDENCE:.0%} confidence"
    # A lower share is nearly always easier to show, so that halving finds the highest.
    percents = range(1, math.ceil(target * 100 - 1e-9))[::-1]
    place = bisect_left(
        percents, True, key=lambda p: assured_cut(kind, p / 100, posts) is not None
    )
    if place == len(percents):
        return f"{said} {kind} at all {sure}. Code more posts, or use another policy."
    lower = percents[place] / 100
    cut = assured_cut(kind, lower, posts) or 0
    other = posts.flagged(cut) if of_events else posts.events(cut)
    enough = _enough(kind, target, posts, len(sizes))
    return (
        f"{said} such {kind} at any threshold, {sure}. The highest that they show is "
        f"{lower:.2f}, at a {'precision' if of_events else 'recall'} of "
        f"{other.share:.2f}. {_plan(enough, noun)} Use '{kind}>={lower:.2f}' or less, "
        f"or code more posts."
    )


def _plan(enough: int | None, noun: str) -> str:
    if enough is None:
        return f"Even {_MOST_TIMES:,} times as many {noun} like these would not do."
    return f"About {enough:,} {noun} like these would show it."


def _enough(kind: str, target: float, posts: Evidence, n_groups: int) -> int | None:
    """Return how many groups like these would assure a share; None if too many."""
    side = posts.side
    last = len(side.flagged) - 1
    if kind == "recall":
        tallies = [posts.events(last)]
    else:
        tallies = [posts.flagged(cut) for cut in _growing(side.flagged, 1)[::4]]
    most = n_groups * _MOST_TIMES

    def shows(n: int, tally: Tally) -> bool:
        return p_value(tally, target, times=n / n_groups) <= _LEVEL

    for tally in tallies:
        if tally.share > target and shows(most, tally):
            numbers = range(n_groups, most + 1)
            most = numbers[bisect_left(numbers, True, key=lambda n: shows(n, tally))]
    return most if most < n_groups * _MOST_TIMES else None
