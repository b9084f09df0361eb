"""Texts of posts: whether one can be seen, and what of it is compared."""

from __future__ import annotations

import html
import re
import string
import unicodedata

# White space and controls; what Unicode calls default-ignorable or a format character;
# code points that are no character; and characters that are drawn as a blank.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufdd0-\ufdef\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U00013430-\U00013442"
    r"\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# Some tools escape again what was escaped.
_ENTITY = re.compile(r"&(?:amp;)*(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|\w{2,31});", re.A)
# To normalise a letter with many marks takes quadratic time. No language has 30. The
# table names letters that become marks, or nothing.
_MANY_MARKS = re.compile(r"([^\w\s!-~]{30})[^\w\s!-~]+")
_MARKS_AMONG_LETTERS = str.maketrans(
    {"\uff9e": "\u3099", "\uff9f": "\u309a"} | dict.fromkeys("\u115f\u1160\u3164\uffa0")
)
_FEW = 300  # characters; so many marks take no time worth mention

# ASCII only: in Chinese and Japanese the text follows a link without a space. Without
# a bound each letter of a long word would be tried as the first of a scheme.
_LINK = re.compile(r"(?:[a-z][a-z0-9+.\-]{0,30}://|www\.|pic\.twitter\.com/)[!-~]*")
_MENTION = re.compile(r"@\w+(?:@[\w.\-]+)?")
_RETWEET = re.compile(r"(?:\s*rt(?=[\s:@])\s*(?:@\w+)?\s*:?)+")

_ELLIPSIS, _DOTS = "\u2026", "..."
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation
LEAST_BEGINNING = 40
"""Characters of a normalised beginning; posts of other content share shorter ones."""


class _Categories(dict[int, str | int | None]):
    """Table for `str.translate`: the normalised form of each character."""

    def __missing__(self, code: int) -> str | int | None:
        category = unicodedata.category(chr(code))
        if category == "Cf":
            self[code] = None
        elif category[0] in "PSZC":
            self[code] = " "
        else:
            self[code] = code if is_visible(chr(code)) else None
        return self[code]


# The frame round a key only changes the look of a digit.
_CATEGORIES = _Categories({0x20E3: None})


def is_visible(text: str) -> bool:
    """Tell whether a reader sees any character of a text.

    White space, controls, format characters such as a zero-width space or a byte order
    mark, and fillers that are drawn as a blank cannot be seen.
    """
    return _VISIBLE.search(text) is not None


def normalise_text(text: str) -> str:
    """Return the text normalised as in `duplicate_groups`; it may be empty."""
    return _normalised(_unescaped(text))


def cut_beginning(text: str) -> str | None:
    """Return the normalised beginning of a text that was cut, None for any other.

    A cut text ends in an ellipsis, which links may follow. The last word before it can
    be half a word or half a link, and is left out. None is returned as well where fewer
    than `LEAST_BEGINNING` characters are left.
    """
    text = _unescaped(text)
    if _ELLIPSIS not in text and _DOTS not in text:
        return None
    # An ellipsis that touches a link must not go with it.
    text = _LINK.sub(" ", text.casefold().replace(_DOTS, _ELLIPSIS)).rstrip()
    if not text.rstrip(".").endswith(_ELLIPSIS):
        return None
    beginning = _normalised(text.rstrip(f"{_ELLIPSIS}. ").rstrip(_PRINTABLE))
    return beginning if len(beginning) >= LEAST_BEGINNING else None


def _unescaped(text: str) -> str:
    """Return a text with its HTML entities replaced by what they stand for."""
    if "&" not in text:
        return text
    return _ENTITY.sub(lambda found: html.unescape(f"&{found[1]};"), text)


def _normalised(text: str) -> str:
    if len(text) > _FEW and not text.isascii():
        text = _MANY_MARKS.sub(r"\1", text.translate(_MARKS_AMONG_LETTERS))
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _LINK.sub(" ", text)
    retweet = _RETWEET.match(text)
    if retweet:
        text = text[retweet.end() :]
    text = _MENTION.sub(" ", text).translate(_CATEGORIES)
    return " ".join(unicodedata.normalize("NFKC", text).split())
