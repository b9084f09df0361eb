from __future__ import annotations

from pathlib import Path

import pytest

from mmevent import EventPack, event_packs
from mmevent.branches.prompts import DEFAULT_TEMPLATES, filled
from mmevent.encoders.clip import ClipModel
from mmevent.encoders.loading import load_model
from mmevent.exceptions import InputError

EXPECTED = {
    "protest": ["a parade", "a concert crowd", "a crowded market"],
    "flood": ["a river", "a swimming pool"],
    "fire": ["a sunset", "a barbecue"],
}


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "packs.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_our_packs_have_prompts_and_reasons(name: str, tiny_clip_model: str) -> None:
    pack = event_packs()[name]
    assert set(EXPECTED[name]) <= set(pack.contrast)
    assert not set(pack.positive) & set(pack.contrast)
    assert len(pack.positive) >= 4
    assert min(len(reason) for reason in pack.contrast.values()) > 20
    model = load_model(ClipModel, tiny_clip_model)
    for prompt in (*pack.positive, *pack.contrast):
        assert max(map(model.n_tokens, filled(prompt, pack.templates))) <= 20


def test_a_file_of_the_users_own_is_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        '["grève"]\npositive = ["une grève"]\ntemplates = ["une photo de {}"]\n'
        '["grève".contrast]\n"une file" = "des gens patients"\n'
        '[strike]\npositive = ["a strike"]\ncontrast = {"a queue" = "people wait"}',
    )
    assert event_packs(path) == {
        "grève": EventPack(
            ("une grève",), {"une file": "des gens patients"}, ("une photo de {}",)
        ),
        "strike": EventPack(
            ("a strike",), {"a queue": "people wait"}, DEFAULT_TEMPLATES
        ),
    }
    assert event_packs(str(path)).keys() == {"grève", "strike"}


def test_a_copy_of_our_file_is_the_same(tmp_path: Path) -> None:
    from mmevent.branches import packs

    own = Path(packs.__file__).with_name("event_packs.toml")
    assert event_packs(_write(tmp_path, own.read_text("utf-8"))) == event_packs()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file in the event packs .* expected at least one event, got none"),
        ("[a", "cannot be read: expected a file in TOML, got: "),
        ("a = 3", "a in the event packs .* expected a table with positive.* got 3"),
        ('[a]\npositive = ["x"]', "expected a table with positive.* got positive"),
        (
            '[a]\npositive = ["x"]\nnegative = ["y"]\ncontrast = {"y" = "z"}',
            "got contrast, negative, positive. See event_packs.toml",
        ),
        (
            '[a]\npositive = ["x"]\ncontrast = ["y"]',
            r"a\.contrast in .* expected a table of prompts, each with its reason, got",
        ),
        ('[a]\npositive = ["x"]\ncontrast = {"y" = " "}', "each with its reason, got"),
        ('[a]\npositive = ["x"]\ncontrast = {"y" = 3}', "each with its reason, got"),
        ('[a]\npositive = ["x"]\n[a.contrast]', r"a\.contrast=\[\] are no prompts"),
        ('[a]\npositive = []\ncontrast = {"y" = "z"}', r"a\.positive=\[\] are no pro"),
        (
            '[a]\npositive = ["x"]\ntemplates = ["x"]\ncontrast = {"y" = "z"}',
            r"templates=\['x'\] are no templates",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        event_packs(_write(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    words = "cannot be read: expected a file in TOML, got: .* Begin with a copy"
    with pytest.raises(InputError, match=f"No such file|{words}"):
        event_packs(tmp_path / "none.toml")
    path = tmp_path / "packs.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=words):
        event_packs(path)
