"""Messages for the command line: options in place of Python's parameters."""

from __future__ import annotations

import re

_OPTIONS = {
    "allow_outside_root": "--allow-outside-root",
    "backend": "--backend",
    "batch_size": "--batch-size",
    "by": "--by",
    "calibration": "--calibration",
    "corpus_size": "--corpus-size",
    "criterion": "--criterion",
    "cv": "--cv",
    "device": "--device",
    "drop_seen": "--drop-seen",
    "dtype": "--dtype",
    "estimate": "--estimate",
    "groups": "--group",
    "held_out": "--held-out",
    "image": "--image",
    "image_root": "--image-root",
    "inner_cv": "--inner-cv",
    "local_files_only": "--local-files-only",
    "n_epochs": "--epochs",
    "n_jobs": "--jobs",
    "n_posts": "--n-posts",
    "n_trials": "--n-trials",
    "period": "--period",
    "policy": "--policy",
    "pool": "--pool",
    "pos_label": "--positive",
    "prevalence": "--prevalence",
    "prompt": "--text-prompt",
    "random_state": "--seed",
    "rule": "--rule",
    "sample": "--sample",
    "second_stage": "--second-stage",
    "seeds": "--seeds",
    "text": "--text",
    "y_stage1": "--stage1-label",
}
"""The option for each parameter of Python."""

_COLUMNS = {
    "text": "--text-column",
    "images": "--images-column",
    "id": "--id-column",
    "created_at": "--created-at-column",
    "group": "--group",
}

# Compiled at first use: a help text needs none of these.
_VALUE = r"""(?:'[^']*'|"[^"]*"|\[[^\]]*\]|[\w./+-]*[\w/+-])?"""
_NAMES = "|".join(_OPTIONS)
_PLAIN = "|".join(name for name in _OPTIONS if "_" in name)
_WORDS = (
    rf"""(?<![\w-])(?P<name>{_NAMES})=(?!\.\.\.)(?P<value>{_VALUE})(?!\w)"""
    # What a table or a folder is called stays as it is.
    r"""|(?<!\w)'[^']*'(?!\w)|(?<!\w)"[^"]*"(?!\w)"""
    rf"""|(?<![\w-])(?P<plain>{_PLAIN})(?![\w=])"""
    r"""|(?P<labels>\by(?= (?:has|mixes|does))|(?<=(?: of| in|rom) )y\b)"""
)
_OWN_COLUMNS = r"columns=\{([^}]*)\}"
_OPTION = r"--[\w-]+(?: [\w-]+)?"
_TWICE = rf"({_OPTION})(?: \(|, or )\1(?: on the command line)?(\)?)"


def in_words(message: str) -> str:
    """Return a message with options where it names parameters of Python.

    Examples
    --------
    >>> from mmevent.cli.words import in_words
    >>> in_words("Pass pos_label='yes', or set image_root; image=None leaves them out.")
    'Pass --positive yes, or set --image-root; --image none leaves them out.'
    >>> in_words("pass held_out=True (--held-out on the command line).")
    'pass --held-out.'
    """
    message = re.sub(_OWN_COLUMNS, _columns, message)
    message = re.sub(_WORDS, _option, message)
    message = re.sub(_TWICE, lambda found: _without_end(found[0], found[1]), message)
    return message.replace(" on the command line)", ")")


def _without_end(whole: str, option: str) -> str:
    """Return what is said twice once; a bracket that opened before it stays."""
    return option if " (" in whole else option + whole[-1:] * whole.endswith(")")


def _option(found: re.Match[str]) -> str:
    if found["labels"]:
        return "--label"
    if found["plain"]:
        return _OPTIONS[found["plain"]]
    if not found["name"]:
        return found[0]
    option, value = _OPTIONS[found["name"]], found["value"]
    if value in ("", "True"):
        return f"{option} on" if option == "--second-stage" else option
    value = "none" if value == "None" else value
    plain = re.fullmatch(r"['\"]([\w./+=-]+)['\"]", value)
    return f"{option} {plain[1] if plain else value}"


def _columns(found: re.Match[str]) -> str:
    """Write columns={"text": "tweet"} as --text-column tweet, and ... as it is."""
    pairs = re.findall(r"""["'](\w+)["']: (\.\.\.|"[^"]*"|'[^']*')""", found[1])
    named = [
        f"{_COLUMNS.get(ours, ours)} {theirs.strip(chr(34) + chr(39))}"
        for ours, theirs in pairs
    ]
    return " and ".join(named).replace(" ...", "") or "the options for columns"
