"""Texts: what can be seen, what is compared, and how long the longest ones take."""

from __future__ import annotations

import signal
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmevent.posts import texts as module
from mmevent.posts.texts import (
    LEAST_BEGINNING,
    cut_beginning,
    is_visible,
    normalise_text,
)

# All of Unicode but ideographs and private use.
EVERY = [
    chr(code) for part in (range(0x20000), range(0xE0000, 0xE1000)) for code in part
]
# Format characters that are drawn all the same, such as the Arabic number sign.
DRAWN = set("\u06dd\u070f\u08e2\u0890\u0891\U000110bd\U000110cd")
DRAWN.update(map(chr, range(0x600, 0x606)))
INVISIBLE = {
    "zero-width space": "\u200b",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "soft hyphen": "\xad",
    "Hangul filler": "\u3164",
    "half-width Hangul filler": "\uffa0",
    "initial filler": "\u115f",
    "Braille blank": "\u2800",
    "NUL": "\0",
    "grapheme joiner": "\u034f",
    "right-to-left mark": "\u200f",
    "variation selector": "\ufe0f",
    "tag": "\U000e0041",
    "no note head": "\U0001d159",
    "no character": "\uffff",
    "several": " \u200b\n\u2800\ufeff\t\u3164",
}
VISIBLE = ["a", ".", "\u0301", "\U0001f44d", "\ufffd", "\ue000", "\u4f60", "\u06dd"]


class TestIsVisible:
    @pytest.mark.parametrize("text", INVISIBLE.values(), ids=INVISIBLE)
    def test_blank_characters_are_no_text(self, text: str) -> None:
        assert not is_visible(text)
        assert is_visible(f"{text}a{text}")

    @pytest.mark.parametrize("text", VISIBLE, ids=ascii)
    def test_a_single_sign_is_text(self, text: str) -> None:
        assert is_visible(f"\u200b {text}")

    def test_unicode_says_the_same(self) -> None:
        found = {char for char in EVERY if not is_visible(char)}
        format_like = {c for c in EVERY if unicodedata.category(c) in ("Cc", "Cf")}
        assert format_like - DRAWN <= found
        assert {c for c in EVERY if unicodedata.category(c)[0] == "Z"} <= found
        blank = {c for c in found if unicodedata.category(c)[0] in "LNPS"}
        assert blank - set("\U00013441\U00013442") == set(
            "\u115f\u1160\u3164\uffa0\u2800\U0001d159"
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We  MARCH,\ttoday!!", "we march today"),
        ("see https://t.co/aB3?x=1 now", "see now"),
        ("see www.example.org/a now", "see now"),
        ("see pic.twitter.com/abc", "see"),
        ("cut https://t…", "cut"),
        ("看http://t.cn/abc我们", "看 我们"),
        ("RT @ana_1: hello", "hello"),
        ("rt: hello", "hello"),
        ("RT @ana: RT @bob: hello", "hello"),
        ("RTL news", "rtl news"),
        ("art @ana show", "art show"),
        ("toot @ana@social.example.org end", "toot end"),
        ("\uff26\uff35\uff2c\uff2c width", "full width"),
        ("Straße", "strasse"),
        ("हिन्दी भाषा!", "हिन्दी भाषा"),
        ("می\u200cخواهم", "میخواهم"),
        ("zero\u200bwidth", "zerowidth"),
        ("fil\u3164ler", "filler"),
        ("I \u2764\ufe0f it", "i it"),
        ("\u2764\ufe0f", ""),
        ("\U0001f44d\U0001f3fd", ""),
        ("3\ufe0f\u20e3 steps", "3 steps"),
        ("cut \ud83d", "cut"),
        ("naïve", "naïve"),
        ("nai\u0308ve", "naïve"),
        ("", ""),
        ("#Tag_one", "tag one"),
        ("bread &amp; roses", "bread roses"),
        ("bread &amp;amp; roses", "bread roses"),
        ("&lt;b&gt;bread&#39;s", "b bread s"),
        ("na&iuml;ve &#x41;", "naïve a"),
        ("R&B; AT&T", "r b at t"),
        (f"&#{'1' * 5000};", f"{'1' * 5000}"),
    ],
)
def test_normalised_texts(text: str, expected: str) -> None:
    assert normalise_text(text) == expected


@given(st.text())
def test_case_and_outer_punctuation_do_not_matter(text: str) -> None:
    normal = normalise_text(text)
    assert normalise_text(f"  {text} !") == normal
    assert normal == " ".join(normal.split())


BEGINNING = "thousands of people are marching to the main square"
assert len(BEGINNING) > LEAST_BEGINNING


class TestCutBeginning:
    @pytest.mark.parametrize(
        "end",
        [
            " tod…",
            " tod...",
            " tod ...",
            " today....",
            " ht…",
            " tod… https://t.co/abc https://t.co/def",
            " &am…",
            " @someb…",
            " tod&hellip;",
        ],
    )
    def test_the_word_at_the_cut_is_left_out(self, end: str) -> None:
        text = f"RT @ana: {BEGINNING.capitalize()}{end}"
        assert cut_beginning(text) == BEGINNING

    @pytest.mark.parametrize("end", ["…", "..."])
    def test_the_word_before_a_cut_link_is_left_out(self, end: str) -> None:
        text = f"RT @ana: {BEGINNING} http://t.co/ab{end}"
        assert cut_beginning(text) == BEGINNING.removesuffix(" square")

    def test_a_script_without_spaces_is_cut_between_letters(self) -> None:
        text = "今天有数千人在市中心的广场上游行" * 3
        assert cut_beginning(f"RT @ana: {text}…") == text

    @pytest.mark.parametrize(
        "text", ["", "…", BEGINNING, f"{BEGINNING}… and on", f"… {BEGINNING}"]
    )
    def test_other_texts_were_not_cut(self, text: str) -> None:
        assert cut_beginning(text) is None

    def test_a_short_beginning_says_nothing(self) -> None:
        beginning = f"{BEGINNING[: LEAST_BEGINNING - 1].strip()}s"
        beginning = "a" * (LEAST_BEGINNING - len(beginning)) + beginning
        assert cut_beginning(f"{beginning} x…") == beginning
        assert cut_beginning(f"{beginning[1:]} x…") is None


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Fail where a block takes more of the processor: quadratic work takes hours."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"more than {limit} seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


SHAPES = [
    *("a", "a.", "-1", "http", "://", "@", "@a", "rt ", "rt @a:", " ", "&", "&amp;"),
    *("&#", "...", "…", "…a", ". ", "www.", "é", "\u200d", "\u3164", "\ufe0f", "한"),
]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timer")
@pytest.mark.parametrize(
    ("shape", "length"),
    [*((shape, 10**5) for shape in SHAPES), *(("a", 10**n) for n in (3, 4, 6))],
    ids=ascii,
)
def test_the_longest_texts_are_read_in_linear_time(shape: str, length: int) -> None:
    with processor_seconds(20):
        for end in ("x", "…"):
            text = shape * (length // len(shape)) + end
            assert len(normalise_text(text)) <= len(text)
            cut_beginning(text)
            is_visible(text)


def longest_run_of_marks(text: str) -> int:
    """Count what normalising sorts at once; that takes quadratic time."""
    longest = run = 0
    for char in "".join(unicodedata.normalize("NFKD", char) for char in text):
        run = run + 1 if unicodedata.combining(char) else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize("length", [10**3, 10**4])
@pytest.mark.parametrize(
    "shape",
    [
        *("\u0300\u0323", "a\u0300\u0323", "\u0f73", "\u0344", "\uff9e\u0300"),
        *("\u3164\u0300\u115f\u0323", "&#768;&#803;", "\xad\u0300\xad\u0323"),
        *("\u034f\u0300\u034f\u0323", "\u1fb7", "\u200d\u0300\u200d\u0323"),
    ],
    ids=ascii,
)
def test_few_marks_are_sorted_at_once(
    shape: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    class Counting:
        category = staticmethod(unicodedata.category)

        @staticmethod
        def normalize(form: str, text: str) -> str:
            runs.append(longest_run_of_marks(text))
            return unicodedata.normalize(form, text)

    text = shape * (length // len(shape))
    monkeypatch.setattr(module, "unicodedata", Counting)
    normalise_text(f"x{text}")
    cut_beginning(f"x{text}…")
    assert max(runs) <= 300


def test_marks_are_no_letters_but_for_two() -> None:
    """Else a run of them would not be found by what is neither letter nor digit."""
    marks = {
        c for c in EVERY if unicodedata.combining(unicodedata.normalize("NFKD", c)[0])
    }
    assert {c for c in marks if c.isalnum()} == {"\uff9e", "\uff9f"}
