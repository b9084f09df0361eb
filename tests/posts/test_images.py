from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.utils import _safe_indexing

import mmevent.posts.decoding
from mmevent.exceptions import InputError
from mmevent.posts import sources as _sources
from mmevent.posts.images import Images, check_image_root, load_image


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
            return mmevent.posts.decoding.decode(source, *args)

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

    def test_what_is_known_is_not_decoded(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = Images(["red.png", b"", "red.png", "none.png"], image_root=root)
        assert images.digests[0] == images.digests[2]
        known = images.with_statuses(["ok", "", "", ""])
        assert known[[1]].statuses.tolist() == ["corrupt"]
        monkeypatch.setattr(_sources, "decode", None)
        expected = ["ok", "corrupt", "ok", "missing file"]
        assert known.statuses.tolist() == expected
        assert known.digests.tolist() == images.digests.tolist()
        part = known[[3, 1]].with_statuses(["", ""])
        assert part.statuses.tolist() == ["missing file", "corrupt"]

    def test_what_is_told_leaves_the_original_alone(self, root: Path) -> None:
        images = Images(["red.png"], image_root=root)
        told = images.with_statuses(["corrupt"])
        assert told.statuses.tolist() == ["corrupt"]
        assert images.statuses.tolist() == ["ok"]
        assert told.sources == images.sources

    @pytest.mark.parametrize(
        "statuses", [["ok"], ["ok", "fine"], [["ok", "ok"]], "ok"], ids=str
    )
    def test_statuses_that_do_not_fit_are_refused(self, statuses: Any) -> None:
        images = Images([b"", b"x"])
        with pytest.raises(InputError, match="statuses do not fit: expected 2, each"):
            images.with_statuses(statuses)

    def test_decoding_gives_a_picture_or_a_status(self, root: Path) -> None:
        images = Images(["red.png", b"", "none.png"], image_root=root)
        found = [images.decode(i) for i in range(3)]
        assert [image is None for image, _ in found] == [False, True, True]
        statuses = [status for _, status in found]
        assert statuses == ["ok", "corrupt", "missing file"]
        assert images[[2, 0]].decode(1)[1] == "ok"
        assert images.decode(-1)[1] == "missing file"

    def test_a_file_that_is_gone_says_nothing_of_its_copies(self, root: Path) -> None:
        (root / "copy.png").write_bytes((root / "red.png").read_bytes())
        images = Images(["red.png", "copy.png"], image_root=root)
        assert images.digests[0] == images.digests[1]
        (root / "red.png").unlink()
        told = images.with_statuses([images.decode(i)[1] for i in range(2)])
        assert told.statuses.tolist() == ["missing file", "ok"]
        assert told.digests.tolist() == ["", images.digests[1]]

    def test_a_jpeg_may_come_back_smaller(self) -> None:
        content = io.BytesIO()
        photo = Image.linear_gradient("L").resize((900, 600)).convert("RGB")
        photo.save(content, "JPEG")
        images = Images([content.getvalue(), png(size=(900, 600))])
        sizes = {side: small_picture(images, side).size for side in (150, 151)}
        assert sizes == {150: (225, 150), 151: (450, 300)}
        assert small_picture(images, None).size == images[0].size == (900, 600)
        assert small_picture(images[[1]], 10).size == (900, 600)
        small = small_picture(images, 150)
        close = np.asarray(photo.resize((225, 150)), float) - np.asarray(small)
        assert np.abs(close).mean() < 1

    def test_a_smaller_jpeg_has_the_statuses_of_a_whole_one(self) -> None:
        content = io.BytesIO()
        Image.effect_noise((400, 400), 90).convert("RGB").save(content, "JPEG")
        whole = content.getvalue()
        images = Images([whole, whole[: len(whole) // 2]])
        assert images.decode(1, least_side=50) == (None, "corrupt")
        assert small_picture(images, 50).size == (50, 50)
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


def small_picture(images: Images, least_side: int | None) -> Image.Image:
    image, status = images.decode(0, least_side=least_side)
    assert status == "ok"
    assert image is not None
    return image


def mean_color(images: Images) -> np.ndarray:
    return np.array([np.asarray(image).mean(axis=(0, 1)) / 255 for image in images])
