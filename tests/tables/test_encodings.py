from __future__ import annotations

from pathlib import Path

import pytest

from mmevent.exceptions import InputError
from mmevent.tables.encodings import check_encoding
from mmevent.tables.tables import read_table

TEXT = "id,text\n1,Málaga\n2,niño\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_what_can_be_told_is_read(path: Path, encoding: str) -> None:
    path.write_bytes(TEXT.encode(encoding))
    assert read_table(path)["text"].tolist() == ["Málaga", "niño"]
    assert read_table(path, encoding="latin-1")["text"].tolist() == ["Málaga", "niño"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman", "cp850"])
def test_others_are_refused_until_they_are_named(path: Path, encoding: str) -> None:
    path.write_bytes(TEXT.encode(encoding))
    words = "another encoding: expected UTF-8.* in line 2.*--encoding.*cp1252"
    with pytest.raises(InputError, match=words):
        read_table(path)
    assert read_table(path, encoding=encoding)["text"].tolist() == ["Málaga", "niño"]


def test_an_encoding_of_seven_bits_is_used_where_it_is_named(path: Path) -> None:
    path.write_bytes("id,text\n1,東京\n".encode("iso2022_jp"))
    assert read_table(path, encoding="iso2022_jp")["text"][0] == "東京"


def test_letters_that_latin_1_lacks_are_of_windows(path: Path) -> None:
    path.write_bytes("id,text\n1,“go”\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"not in Latin-1.* in line 2\..*'“'.*cp1252"):
        read_table(path, encoding="latin-1")
    assert read_table(path, encoding="cp1252")["text"][0] == "“go”"


def test_an_encoding_that_does_not_fit(path: Path) -> None:
    path.write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(InputError, match="not in the encoding shift_jis.* in line"):
        read_table(path, encoding="shift_jis")


@pytest.mark.parametrize("name", ["utf-9", "rot13", "hex", ""])
def test_an_encoding_that_is_not_known(name: str) -> None:
    with pytest.raises(InputError, match="is not known.*cp1252.*Correct --encoding"):
        check_encoding(name)
