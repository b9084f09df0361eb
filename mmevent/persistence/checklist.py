"""A preregistration and a reporting checklist, filled in from a saved detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmevent.persistence.card import (
    branches_of,
    bullets,
    cautions,
    limits_of,
    rule_of,
    training_of,
    what_of,
)
from mmevent.persistence.preregistration import (
    BLANK,
    blank,
    figures_in_words,
    main_row,
    preregistration,
)
from mmevent.rule.stacking import StackedRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmevent.detector.detector import EventDetector
    from mmevent.detector.fitted import FittedDetector
    from mmevent.evaluation.estimate import Estimate
    from mmevent.rule.search import Search

_SOURCE = (
    "Kapoor et al. (2024), *REFORMS: Consensus-based Recommendations for "
    "Machine-learning-based Science*, Science Advances 10(18), eadk3452, "
    "https://doi.org/10.1126/sciadv.adk3452"
)
_OF_THE_MACHINE = ("allow_outside_root", "image_root", "n_jobs", "storage", "verbose")
_NO_ESTIMATE = "No estimate was made in the fit: `mmevent evaluate` makes one."
_KINDS = {
    "nested": "Nested cross-validation: in each outer fold, all parameters and the "
    "threshold are chosen by another cross-validation within the training part, the "
    "branches are fitted on that part, and the test part is predicted once.",
    "cross-fit": "Cross-fitting: the branches are fitted once for each fold. The "
    "rule and its threshold are chosen on the out-of-fold probabilities of the "
    "other folds. This is slightly optimistic, since the branches that gave these "
    "probabilities saw the fold that is tested.",
}


def checklist(
    detector: EventDetector, facts: Mapping[str, Any], fingerprint: str
) -> str:
    """Return a preregistration and the REFORMS checklist in Markdown.

    What the folder of the model says is filled in. Everything else is a blank that
    begins with ``[TO FILL IN:``.

    Parameters
    ----------
    detector : EventDetector
        A detector that was loaded from a folder.
    facts : dict
        What detector.json of the folder holds.
    fingerprint : str
        SHA-256 of the folder's manifest.json, which has the hashes of all other files.

    Returns
    -------
    str

    References
    ----------
    Kapoor et al. (2024), "REFORMS: Consensus-based Recommendations for
    Machine-learning-based Science", Science Advances 10(18), eadk3452. The wording of
    the items is ours.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import mmevent
    >>> from mmevent.persistence.checklist import checklist
    >>> from mmevent.synthetic import demo_branches, make_posts
    >>> posts, y, _ = make_posts(300, random_state=0)
    >>> text, image = demo_branches()
    >>> detector = mmevent.EventDetector(text=text, image=image, estimate=None, cv=3,
    ...                                  n_trials=20, random_state=0).fit(posts, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     detector.save(folder + "/model")
    ...     facts = json.loads(Path(folder, "model", "detector.json").read_text())
    >>> print(checklist(detector, facts, "0" * 64).splitlines()[0])
    # Preregistration and checklist
    """
    fitted = detector.fitted_
    modules = {
        "1. Study goals": _goals(),
        "2. Computational reproducibility": _reproducibility(detector, facts),
        "3. Data quality": _data(fitted, facts),
        "4. Data preprocessing": _preprocessing(fitted, facts),
        "5. Modelling": _modelling(detector, facts),
        "6. Data leakage": _leakage(fitted),
        "7. Metrics and uncertainty": _metrics(fitted),
        "8. Generalisability and limitations": _limitations(fitted),
    }
    parts = ["## Preregistration", preregistration(fitted, facts, fingerprint)]
    parts += ["## Checklist", f"The 32 items are those of {_SOURCE}, in our words."]
    for title, items in modules.items():
        parts.append(f"### {title}")
        for question, answers in items.items():
            parts += [f"**{question}**", *answers]
    text = "\n\n".join(parts)
    opening = (
        f"Made from the model folder whose manifest.json has the SHA-256 "
        f"`{fingerprint}`. {text.count(BLANK)} places begin with `{BLANK.strip()}`: "
        f"the folder does not know what belongs there."
    )
    top = ["# Preregistration and checklist", *cautions(fitted), opening]
    return "\n\n".join([*top, text]) + "\n"


Items = dict[str, list[str]]


def _goals() -> Items:
    return {
        "1a. Population or distribution that the claim is about": [
            blank("platform, period, places, languages, and which posts of these")
        ],
        "1b. Why this population": [blank("reason")],
        "1c. Why machine learning": [
            blank("why coding by hand, or a search by words, does not suffice")
        ],
    }


def _reproducibility(detector: EventDetector, facts: Mapping[str, Any]) -> Items:
    libraries = [f"{name} {version}" for name, version in facts["libraries"].items()]
    given = {**facts["parameters"], **facts["other_parameters"]}
    settings = [
        f"`{name}={_one_line(value)}`"
        for name, value in sorted(given.items())
        if name not in _OF_THE_MACHINE
    ]
    return {
        "2a. The data, with a link": [
            training_of(detector.fitted_),
            blank("link or DOI of the coded posts, or why they cannot be shared"),
        ],
        "2b. The code, with a link and its version": [
            f"mmevent {facts['mmevent']} fitted the model.",
            blank("link or DOI of the study's own code, and its version"),
        ],
        "2c. The computing environment": [
            f"Python {facts['python']}; {', '.join(libraries)}.",
            blank("processor, graphics card, memory, system, and time it took"),
        ],
        "2d. A README on how to repeat the results": [
            "The model folder has a README.md, which says what the model is.",
            blank("where the README of the study is"),
        ],
        "2e. A script that repeats all results": [
            "The model was fitted with these parameters:\n\n" + bullets(settings),
            blank("where the script is"),
        ],
    }


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return " ".join(text.split()).replace("`", "'")


def _data(fitted: FittedDetector, facts: Mapping[str, Any]) -> Items:
    estimate = fitted.record.estimate
    source = [blank("platform, query or archive, and dates of the collection")]
    periods = [] if estimate is None else _slices(estimate, "period")
    if periods:
        source.insert(0, f"The tested posts are from {', '.join(periods)}.")
    return {
        "3a. Sources of the data, and how labels were made": [
            *source,
            blank("number of coders, instructions, agreement (`mmevent agreement`)"),
        ],
        "3b. The set from which the coded posts were drawn, and how": [
            blank("sampling frame; at random, by words, by strata, or otherwise")
        ],
        "3c. Why these data suit the task": [blank("reason")],
        "3d. The outcome, its definition, and its distribution": [
            what_of(fitted, facts["mmevent"]),
            _classes(fitted),
            blank("definition of an event, in a sentence"),
        ],
        "3e. Sample size": [_size(fitted)],
        "3f. Missing data, by class": [_missing(fitted)],
        "3g. Why the coded posts represent the population of 1a": [blank("reason")],
    }


def _slices(estimate: Estimate, by: str) -> list[str]:
    slices = estimate.slices
    if not len(slices):
        return []
    return [str(name) for name in slices.loc[slices["by"] == by, "slice"]]


def _classes(fitted: FittedDetector) -> str:
    event = fitted.record.out_of_fold["event"]
    n = int(event.sum())
    return (
        f"{n:,} of {len(event):,} coded posts are events ({event.mean():.1%}), and "
        f"{len(event) - n:,} are not."
    )


def _size(fitted: FittedDetector) -> str:
    posts, tested = fitted.record.out_of_fold, fitted.record.tested
    return (
        f"{len(posts):,} coded posts in {posts['group'].nunique():,} groups. A fold "
        f"tests {len(tested):,} of them, in {tested['group'].nunique():,} groups."
    )


def _missing(fitted: FittedDetector) -> str:
    """Say which shares of the tested posts lack a text or a usable image."""
    tested = fitted.record.tested
    sides = {"p_text": fitted.text, "p_image": fitted.image}
    names = {"p_text": "text", "p_image": "usable image"}
    lines = []
    for column, branch in sides.items():
        if branch is None:
            lines.append(f"The model does not use a {names[column]}.")
            continue
        shares = [
            f"{tested.loc[tested['event'] == kind, column].isna().mean():.1%} of {of}"
            for kind, of in ((True, "the events"), (False, "the other posts"))
        ]
        lines.append(f"Without a {names[column]}: {' and '.join(shares)} tested.")
    return bullets(lines)


def _preprocessing(fitted: FittedDetector, facts: Mapping[str, Any]) -> Items:
    estimate = fitted.record.estimate
    unusable = [] if estimate is None else estimate.notes
    n_left = int((fitted.record.out_of_fold["fold"] < 0).sum())
    steps = ["Posts with the same text or image are joined to one group."]
    if fitted.image is not None:
        steps.append("Images are decoded to RGB, where they can be.")
    steps += [
        f"{encoder['kind']} encoder `{encoder['model']}`"
        + (
            f", which reads the first {encoder['max_length']} tokens of a text"
            if encoder["max_length"]
            else ""
        )
        + (f", after {encoder['prompt']!r}" if encoder.get("prompt") else "")
        for encoder in facts["encoders"]
    ]
    return {
        "4a. Posts that were left out, and why": [
            "The fit left out none of the posts that it was given."
            + (f" No fold tests {n_left:,}: they count in no figure." * (n_left > 0)),
            blank("posts that were left out before the fit, and why"),
        ],
        "4b. Impossible or corrupt data": [
            *(note for note in unusable if "images unusable" in note),
            "The rule in 5a says how a post is judged that lacks a text or an image.",
            blank("other checks of the data"),
        ],
        "4c. From raw data to what the model reads": [
            blank("cleaning, translation, joining before the fit"),
            bullets(steps),
        ],
    }


def _modelling(detector: EventDetector, facts: Mapping[str, Any]) -> Items:
    fitted = detector.fitted_
    search, estimate = fitted.record.search, fitted.record.estimate
    tuning = (
        f"{_search_in_words(search)} The criterion is "
        f"{search.criterion!r}, the pooling {detector.pool!r}, and the seed "
        f"{search.random_state}."
    )
    return {
        "5a. The models: inputs, types, loss": [
            branches_of(fitted, facts["encoders"]),
            "Their parameters are among those of 2e.",
            rule_of(fitted),
        ],
        "5b. Why models of these types": [blank("reason")],
        "5c. How the models were evaluated": [
            _NO_ESTIMATE if estimate is None else _evaluation(detector, estimate)
        ],
        "5d. How the model was selected": [
            f"All of the rule is chosen on out-of-fold probabilities of the coded "
            f"posts. The threshold follows the policy {fitted.policy!r}.",
            blank("other models that were tried, and how this one was chosen"),
        ],
        "5e. How parameters were tuned": [
            tuning,
            blank("parameters that you changed after you had seen figures"),
        ],
        "5f. Baselines": [
            _NO_ESTIMATE if estimate is None else _baselines(estimate),
            blank("another baseline, such as a search by words"),
        ],
    }


def _search_in_words(search: Search) -> str:
    if search.rule == StackedRule.kind:
        return (
            "The rule is a logistic regression (L2 penalty, C=1, no negative weights); "
            "image branch and pooling are those of the highest likelihood."
        )
    (least, most), (low, high) = search.alpha_bounds, search.beta_bounds
    return (
        f"The rule is searched by Optuna in {search.n_trials:,} trials, with alpha "
        f"from {least:g} to {most:g} and beta from {low:g} to {high:g}."
    )


def _evaluation(detector: EventDetector, estimate: Estimate) -> str:
    return (
        f"{_KINDS.get(estimate.kind, estimate.kind)} Folds: "
        f"`cv={_one_line(detector.cv)}`, and within the training part "
        f"`inner_cv={_one_line(detector.inner_cv)}`. No post is tested by branches "
        f"that learned from a copy of it."
    )


def _baselines(estimate: Estimate) -> str:
    rows = estimate.differences
    return "F1 of the model minus that of each baseline, paired:\n\n" + bullets(
        f"{row.baseline}: {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for row in rows.itertuples()
    )


def _leakage(fitted: FittedDetector) -> Items:
    estimate = fitted.record.estimate
    counts = {} if estimate is None else estimate.leakage
    read = {"texts": fitted.text, "images": fitted.image}
    sides = " and ".join(name for name, branch in read.items() if branch is not None)
    kept = [f"{name.replace('_', ' ')}: {n:,}" for name, n in counts.items()]
    return {
        "6a. Training and test posts are kept apart": [
            _NO_ESTIMATE
            if estimate is None
            else _KINDS.get(estimate.kind, estimate.kind)
        ],
        "6b. Posts that depend on each other": [
            "Copies are found by text and by image, and are in one group with what the "
            "caller grouped.",
            *([bullets(kept)] if kept else []),
            blank("what your groups are: authors, events, none"),
        ],
        "6c. Every input is legitimate": [
            f"The model reads the {sides} of a post, and nothing else of it.",
            blank(
                "whether the search that found the posts, or the label itself, rests "
                "on words that the model reads"
            ),
        ],
    }


def _metrics(fitted: FittedDetector) -> Items:
    estimate = fitted.record.estimate
    return {
        "7a. Metrics, and why they suit the task": [
            "F1, precision, recall, average precision, and the false-positive rate.",
            blank("what a missed event costs beside a false one, and so why these"),
        ],
        "7b. Uncertainty": list(_uncertainty(fitted, estimate)),
        "7c. Statistical tests, and their assumptions": [
            "Models are compared by intervals of paired differences, not by tests.",
            blank("tests of the study, and checks of what they assume"),
        ],
    }


def _uncertainty(fitted: FittedDetector, estimate: Estimate | None) -> Iterator[str]:
    if estimate is None:
        yield _NO_ESTIMATE
        return
    yield figures_in_words(fitted)
    yield (
        f"The brackets are 95% intervals, over "
        f"{int(main_row(estimate)['n_groups']):,} groups of posts, which mmevent's "
        f"page on the estimate describes."
    )
    if estimate.notes:
        yield bullets(estimate.notes)


def _limitations(fitted: FittedDetector) -> Items:
    return {
        "8a. Evidence of external validity": [
            blank(
                "figures on posts of another period or place: `mmevent evaluate "
                "--held-out`"
            )
        ],
        "8b. Where the findings are not expected to hold": [
            limits_of(fitted),
            blank("limits of the study itself"),
        ],
    }
