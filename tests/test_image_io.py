from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.utils import _safe_indexing

import mmevent._decoding
from mmevent import _sources
from mmevent.exceptions import InputError
from mmevent.image_io import STATUSES, Images, check_image_root, load_image


def png(color: str = "red", size: tuple[int, int] = (4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "red.png").write_bytes(png())
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>Not found</html>")
    (tmp_path / "outside.png").write_bytes(png("blue"))
    return folder


def status_of(source: Any, root: Path, **options: Any) -> str:
    image, status = load_image(source, image_root=root, **options)
    assert status in STATUSES
    assert (image is None) == (status != "ok")
    return status


@pytest.mark.parametrize(
    "make",
    [
        str,
        Path,
        lambda name: {"bytes": None, "path": name},
        lambda name: {"path": name},
        lambda name: {"bytes": png(), "path": "elsewhere.png"},
        lambda name: png(),
        lambda name: bytearray(png()),
        lambda name: memoryview(png()),
        lambda name: Image.new("L", (4, 3)),
    ],
    ids=[
        "str",
        "Path",
        "datasets path",
        "only path",
        "datasets bytes",
        "bytes",
        "bytearray",
        "memoryview",
        "PIL",
    ],
)
def test_every_kind_of_source_is_read(root: Path, make: Any) -> None:
    image, status = load_image(make("red.png"), image_root=root)
    assert status == "ok"
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (4, 3))


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("none.png", "missing file"),
        ("", "missing file"),
        ("  ", "missing file"),
        (None, "missing file"),
        ({"bytes": None, "path": None}, "missing file"),
        ("red.png/below.png", "missing file"),
        ("nul\0.png", "missing file"),
        ("lone\ud800.png", "missing file"),
        ("x" * 5000, "missing file"),
        ("empty.png", "corrupt"),
        (b"", "corrupt"),
        ("page.jpg", "unsupported"),
        (".", "unsupported"),
        (5, "unsupported"),
        ({"url": "red.png"}, "unsupported"),
        ("../outside.png", "outside root"),
        ("../none.png", "outside root"),
        ("/etc/hostname", "outside root"),
    ],
)
def test_each_broken_source_has_its_status(
    root: Path, source: Any, status: str
) -> None:
    assert status_of(source, root) == status


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.jpg",
        "HTTPS://example.org/a.jpg",
        " https://example.org/a.jpg",
        "ftp://example.org/a.jpg",
        "s3://bucket/a.jpg",
        "gs://bucket/a.jpg",
        "file:///etc/hostname",
        "file:red.png",
        "data:image/png;base64,AAAA",
        "zip://a.jpg::https://example.org/a.zip",
        "//example.org/a.jpg",
        "\\\\host\\share\\a.jpg",
    ],
)
def test_urls_are_remote_and_nothing_is_opened(
    root: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise AssertionError("was opened")

    monkeypatch.setattr(os, "open", refuse)
    assert status_of(url, root) == "remote"
    assert status_of({"bytes": None, "path": url}, root) == "remote"
    assert status_of(url, root, allow_outside_root=True) == "remote"


def test_path_object_of_a_url_is_remote(root: Path) -> None:
    assert status_of(Path("https://example.org/a.jpg"), root) == "remote"


def test_link_out_of_the_root_is_outside(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "outside.png")
    (root / "folder").symlink_to(root.parent)
    assert status_of("link.png", root) == "outside root"
    assert status_of("folder/outside.png", root) == "outside root"
    assert status_of("link.png", root, allow_outside_root=True) == "ok"
    assert status_of("../outside.png", root, allow_outside_root=True) == "ok"


def test_link_within_the_root_is_followed(root: Path) -> None:
    (root / "link.png").symlink_to("red.png")
    assert status_of("link.png", root) == "ok"


def test_root_that_is_a_link_holds_its_files(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert status_of("red.png", link) == "ok"
    assert status_of(str(link / "red.png"), root) == "ok"


def test_link_that_loops_is_missing(root: Path) -> None:
    (root / "a.png").symlink_to("b.png")
    (root / "b.png").symlink_to("a.png")
    assert status_of("a.png", root) == "missing file"


def test_absolute_path_within_the_root_is_read(root: Path) -> None:
    assert status_of(str(root / "red.png"), root) == "ok"


def test_folder_with_the_roots_name_as_prefix_is_outside(root: Path) -> None:
    other = root.parent / "root2"
    other.mkdir()
    (other / "red.png").write_bytes(png())
    assert status_of("../root2/red.png", root) == "outside root"


def test_fifo_and_device_do_not_hang(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    assert status_of("pipe.png", root) == "unsupported"
    assert status_of("/dev/zero", root, allow_outside_root=True) == "unsupported"


@pytest.mark.parametrize("swapped", ["fifo", "link"])
def test_file_that_is_swapped_after_the_check_is_not_read(
    root: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = root / "red.png"
    real_open = os.open

    def swap(path: Any, flags: int) -> int:
        target.unlink()
        if swapped == "fifo":
            os.mkfifo(target)
        else:
            target.symlink_to(root.parent / "outside.png")
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", swap)
    expected = "unsupported" if swapped == "fifo" else "missing file"
    assert status_of("red.png", root) == expected


def test_file_that_may_not_be_read_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert status_of("red.png", root) == "missing file"


def test_too_many_bytes_are_too_large(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sources, "MAX_BYTES", 20)
    assert status_of("red.png", root) == "too large"
    assert status_of(png(), root) == "too large"
    assert status_of("empty.png", root) == "corrupt"


def test_too_many_pixels_are_too_large(root: Path) -> None:
    assert status_of("red.png", root, max_pixels=11) == "too large"
    assert status_of("red.png", root, max_pixels=12) == "ok"
    assert status_of(Image.new("L", (4, 3)), root, max_pixels=11) == "too large"


@pytest.mark.parametrize("max_pixels", [0, -1, float("nan")])
def test_bad_max_pixels_is_named(max_pixels: Any) -> None:
    with pytest.raises(InputError, match=r"max_pixels=.* expected an integer above 0"):
        load_image(b"", max_pixels=max_pixels)


def test_root_is_the_working_folder_by_default(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert load_image("red.png")[1] == "ok"
    images = Images(["red.png"])
    monkeypatch.chdir(root.parent)
    assert images.statuses.tolist() == ["ok"]


@pytest.mark.parametrize("use", [load_image, Images], ids=["load_image", "Images"])
def test_image_root_that_does_not_exist_is_named(root: Path, use: Any) -> None:
    with pytest.raises(InputError, match=r"nowhere' is not an existing .* nothing"):
        use([] if use is Images else b"", image_root=root / "nowhere")


def test_image_root_that_is_a_file_is_named(root: Path) -> None:
    with pytest.raises(InputError, match="found a file there"):
        check_image_root(root / "red.png")


def test_image_root_of_another_type_is_named() -> None:
    with pytest.raises(InputError, match="image_root=5 is not a path.*got int"):
        check_image_root(5)  # type: ignore[arg-type]


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.recursive(
        st.none() | st.text() | st.binary() | st.integers() | st.floats(),
        lambda inner: (
            st.lists(inner) | st.fixed_dictionaries({"bytes": inner, "path": inner})
        ),
        max_leaves=3,
    )
)
def test_no_source_raises(root: Path, source: Any) -> None:
    status_of(source, root)


class TestImages:
    def test_behaves_as_a_one_dimensional_array(self, root: Path) -> None:
        images = Images(["red.png", png("blue"), "none.png"], image_root=root)
        assert len(images) == 3
        assert images.shape == (3,)
        assert images[1].getpixel((0, 0)) == (0, 0, 255)
        assert images[-2].getpixel((0, 0)) == (0, 0, 255)
        assert images[np.int64(0), ...].getpixel((0, 0)) == (255, 0, 0)
        assert "3 sources" in repr(images)

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            (slice(1, None), [1, 2]),
            (np.array([2, 0]), [2, 0]),
            ([2, 0], [2, 0]),
            ([], []),
            (np.array([True, False, True]), [0, 2]),
            ([False, False, True], [2]),
            ((np.array([2, 1]), ...), [2, 1]),
            ((slice(None), ...), [0, 1, 2]),
        ],
        ids=str,
    )
    def test_selection_decodes_nothing(
        self, key: Any, expected: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_sources, "decode", None)
        chosen = Images(["a", "b", "c"])[key]
        assert isinstance(chosen, Images)
        assert chosen.sources == [["a", "b", "c"][place] for place in expected]

    @pytest.mark.parametrize("key", [3, -4, [5], "a", (0, 1), 0.5, [[0, 1]]])
    def test_index_that_does_not_exist(self, key: Any) -> None:
        with pytest.raises(IndexError):
            Images(["a", "b", "c"])[key]

    @pytest.mark.parametrize("key", [np.array([[0, 1]]), (0, 1)], ids=["array", "pair"])
    def test_index_of_two_axes_is_refused(self, key: Any) -> None:
        with pytest.raises(IndexError, match="one axis, and got an index of 2"):
            Images(["a", "b"])[key]

    def test_iteration_stops(self) -> None:
        assert [image.size for image in Images([png(), png(size=(1, 1))])] == [
            (4, 3),
            (1, 1),
        ]

    def test_unusable_image_is_named_when_asked_for(self, root: Path) -> None:
        images = Images(["none.png", b""], image_root=root)
        with pytest.raises(InputError, match=r"'none.png'.*'missing file'.*usable"):
            images[0]
        with pytest.raises(InputError, match="of 0 bytes.*'corrupt'"):
            images[1]

    def test_statuses_and_digests(self, root: Path) -> None:
        sources = ["red.png", b"", "none.png", png(), Image.new("L", (2, 2))]
        images = Images(sources, image_root=root)
        assert images.statuses.tolist() == ["ok", "corrupt", "missing file", "ok", "ok"]
        assert images.usable.tolist() == [True, False, False, True, True]
        digests = images.digests.tolist()
        assert digests[0] == digests[3] == hashlib.sha256(png()).hexdigest()
        assert digests[1] == hashlib.sha256(b"").hexdigest()
        assert digests[2] == ""
        assert len(digests[4]) == 64

    def test_equal_pictures_have_equal_digests(self) -> None:
        images = Images(
            [
                Image.new("RGB", (2, 3)),
                Image.new("L", (2, 3)),
                Image.new("RGB", (3, 2)),
            ]
        )
        first, second, third = images.digests
        assert first == second != third

    def test_empty(self) -> None:
        images = Images([])
        assert images.statuses.shape == images.digests.shape == (0,)
        assert images.usable.dtype == bool

    def test_each_distinct_source_is_read_once_and_shared(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[Any] = []
        decodings: list[Any] = []

        def read(source: Any, *args: Any) -> bytes | str:
            reads.append(source)
            return real_read(source, *args)

        def decode(source: Any, *args: Any) -> Any:
            decodings.append(source)
            return mmevent._decoding.decode(source, *args)

        real_read = _sources._read
        monkeypatch.setattr(_sources, "_read", read)
        monkeypatch.setattr(_sources, "decode", decode)
        (root / "copy.png").write_bytes(png())
        sources = ["red.png", "copy.png", "red.png", Path("red.png"), "none.png"]
        images = Images(sources, image_root=root)
        part = images[[0, 2]]
        assert part.statuses.tolist() == ["ok", "ok"]
        assert [str(source) for source in reads] == ["red.png"]
        assert images.digests[0] == images.digests[1]
        assert part[[1]].usable.tolist() == [True]
        assert images.statuses[3] == "ok"
        assert sorted(map(str, reads)) == ["copy.png", "none.png", "red.png"]
        assert len(decodings) == 1

    def test_digests_decode_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_sources, "decode", None)
        images = Images(["red.png", b"", "none.png"], image_root=root)
        assert [len(digest) for digest in images.digests] == [64, 64, 0]

    def test_what_is_known_to_be_usable_is_not_decoded(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = Images(["red.png", b"", "red.png"], image_root=root)
        assert images.digests[0] == images.digests[2]
        images._confirm(np.array([True, False, False]))
        assert images[[1]].statuses.tolist() == ["corrupt"]
        monkeypatch.setattr(_sources, "decode", None)
        assert images.statuses.tolist() == ["ok", "corrupt", "ok"]

    def test_a_picture_that_is_asked_for_shows_its_status(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = Images(["red.png", b"", "none.png"], image_root=root)
        assert [images._picture(i) is None for i in range(3)] == [False, True, True]
        monkeypatch.setattr(_sources, "decode", None)
        assert images.statuses.tolist() == ["ok", "corrupt", "missing file"]

    def test_a_file_that_is_gone_says_nothing_of_its_copies(self, root: Path) -> None:
        (root / "copy.png").write_bytes((root / "red.png").read_bytes())
        images = Images(["red.png", "copy.png"], image_root=root)
        assert images.digests[0] == images.digests[1]
        (root / "red.png").unlink()
        assert images._picture(0) is None
        assert images._picture(1) is not None
        assert images.statuses.tolist() == ["missing file", "ok"]

    def test_a_jpeg_may_come_back_smaller(self) -> None:
        content = io.BytesIO()
        photo = Image.linear_gradient("L").resize((900, 600)).convert("RGB")
        photo.save(content, "JPEG")
        images = Images([content.getvalue(), png(size=(900, 600))])
        sizes = {side: images._picture(0, least_side=side).size for side in (150, 151)}
        assert sizes == {150: (225, 150), 151: (450, 300)}
        assert images._picture(0).size == images[0].size == (900, 600)
        assert images._picture(1, least_side=10).size == (900, 600)
        small = images._picture(0, least_side=150)
        close = np.asarray(photo.resize((225, 150)), float) - np.asarray(small)
        assert np.abs(close).mean() < 1

    def test_a_smaller_jpeg_has_the_statuses_of_a_whole_one(self) -> None:
        content = io.BytesIO()
        Image.effect_noise((400, 400), 90).convert("RGB").save(content, "JPEG")
        whole = content.getvalue()
        images = Images([whole, whole[: len(whole) // 2]])
        assert images._picture(1, least_side=50) is None
        assert images._picture(0, least_side=50).size == (50, 50)
        assert images.statuses.tolist() == ["ok", "corrupt"]

    def test_progress_is_shown_on_demand_only(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Images([png()]).scan()
        assert capsys.readouterr().err == ""
        assert Images([png()]).scan(verbose=True).usable.all()
        assert "Reading images" in capsys.readouterr().err

    def test_it_can_be_sent_to_another_process(self, root: Path) -> None:
        images = pickle.loads(pickle.dumps(Images(["red.png"], image_root=root)))
        assert images.statuses.tolist() == ["ok"]

    def test_scikit_learn_selects_rows_without_decoding(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_sources, "decode", None)
        chosen = _safe_indexing(Images(["a", "b", "c"]), np.array([2, 0]))
        assert isinstance(chosen, Images)
        assert chosen.sources == ["c", "a"]

    def test_scikit_learn_cross_validates_over_it(self) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        images = Images([png(color) for color in ("red", "blue") * 6])
        model = make_pipeline(FunctionTransformer(mean_color), LogisticRegression())
        assert cross_val_score(model, images, [0, 1] * 6, cv=3).mean() == 1.0


def mean_color(images: Images) -> np.ndarray:
    return np.array([np.asarray(image).mean(axis=(0, 1)) / 255 for image in images])
