"""What a network is fed is what the README's function of Pillow and numpy makes of an image, whatever the image."""

from __future__ import annotations

import ast
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from proxyless import data
from proxyless.data import Preprocessing
from proxyless.errors import ProxylessError

README = (Path(__file__).parents[2] / "README.md").read_text()
SIZES = [(127, 300), (301, 64), (1, 40), (50, 1), (1, 1), (24, 24), (24, 25), (49, 24), (900, 7), (25, 23)]


def readme_function(preprocessing: Preprocessing) -> Callable[[Image.Image], np.ndarray]:
    """The README's ``prepared``, with what it reads of ``model.json``."""
    code = next(block for block in README.split("```python\n") if "def prepared" in block).split("```")[0]
    function = next(node for node in ast.parse(code).body if getattr(node, "name", "") == "prepared")
    names = {"how": preprocessing.to_dict(), "size": preprocessing.image_size}
    names |= {"np": np, "Image": Image, "ImageOps": ImageOps}
    exec(compile(ast.Module([function], []), "README.md", "exec"), names)
    return names["prepared"]


def kind(channels: int, grey_range: tuple[float, float] | None = None, size: int = 24) -> Preprocessing:
    # mean 0 and std 1, so that differences are in parts of the range of pixels
    return Preprocessing(size, channels, (0.0,) * channels, (1.0,) * channels, grey_range)


def check(image_or_path: Image.Image | Path, grey_range: tuple[float, float] | None = None) -> None:
    for channels in (1, 3):
        preprocessing = kind(channels, grey_range)
        image = image_or_path if isinstance(image_or_path, Image.Image) else Image.open(image_or_path)
        expected = readme_function(preprocessing)(image)
        found = preprocessing(image_or_path)
        assert found.shape == expected.shape == (channels, 24, 24)
        assert np.abs(found - expected).max() <= 1 / 255


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def in_mode(mode: str, size: tuple[int, int]) -> Image.Image:
    colours = Image.fromarray(noise(*size))
    if mode in ("RGBA", "RGBa"):
        return Image.fromarray(noise(*size, 4)).convert(mode)
    if mode == "LA":
        return Image.merge("LA", colours.split()[:2])
    if mode == "PA":
        return Image.fromarray(noise(*size, 4)).convert("PA")
    if mode in ("LAB", "YCbCr", "HSV"):
        return Image.merge(mode, colours.split())
    if mode.startswith("I"):
        values = noise(*size, 2).astype(np.int32) @ np.array([256, 1])
        image = Image.fromarray(values.astype(np.int32))
        return image if mode == "I" else image.convert("I;16").convert(mode)
    return colours.convert(mode)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16"]
)
def test_of_every_mode_and_shape(mode: str, size: tuple[int, int]) -> None:
    image = in_mode(mode, size)
    assert image.mode == mode
    check(image)
    if mode.startswith("I"):
        check(image, (1000.0, 40000.0))


def test_of_floats_with_a_range() -> None:
    temperatures = Image.fromarray(np.random.default_rng(0).uniform(-20, 90, (50, 31)).astype(np.float32))
    check(temperatures, (-12.5, 60.25))
    with pytest.raises(ValueError, match="no known range"):
        kind(1)(temperatures)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_of_files_that_say_how_they_are_turned(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(noise(61, 30)).save(path, exif=exif)
    check(path)
    check(Image.open(path))


def written(path: Path, image: Image.Image, **how: object) -> Path:
    image.save(path, **how)
    return path


def test_of_files_of_many_kinds(tmp_path: Path) -> None:
    colours = Image.fromarray(noise(61, 40))
    grey, deep = colours.convert("L"), Image.fromarray(noise(61, 40, 1)[..., 0].astype(np.uint16) * 16)
    palette = colours.quantize(16)
    first = np.asarray(colours)[0, 0].tolist()
    for path in (
        written(tmp_path / "cmyk.jpg", colours.convert("CMYK")),
        written(tmp_path / "progressive.jpg", colours, progressive=True, subsampling=2),
        written(tmp_path / "grey.jpg", grey),
        written(tmp_path / "palette.png", palette),
        written(tmp_path / "palette-alpha.png", palette, transparency=bytes(range(0, 256, 16))),
        written(tmp_path / "palette-key.gif", palette, transparency=3),
        written(tmp_path / "key.png", colours, transparency=tuple(first)),
        written(tmp_path / "grey-key.png", grey, transparency=int(np.asarray(grey)[0, 0])),
        written(tmp_path / "bits-key.png", colours.convert("1"), transparency=1),
        written(tmp_path / "deep-key.png", deep, transparency=int(np.asarray(deep)[0, 0])),
        written(tmp_path / "deep.tiff", deep),
        written(tmp_path / "deep-big-endian.tiff", in_mode("I;16B", (61, 40))),
        written(tmp_path / "32-bits.tiff", in_mode("I", (61, 40))),
        written(tmp_path / "alpha.webp", Image.fromarray(noise(61, 40, 4)), lossless=True, exact=True),
        written(tmp_path / "alpha.tiff", Image.fromarray(noise(61, 40, 4))),
        written(tmp_path / "moving.gif", palette, save_all=True, append_images=[palette.rotate(90)], transparency=3),
        written(tmp_path / "moving.png", Image.fromarray(noise(61, 40, 4)), save_all=True, append_images=[colours]),
        written(tmp_path / "pages.tiff", grey, save_all=True, append_images=[colours.rotate(90)]),
        written(tmp_path / "lab.tiff", in_mode("LAB", (61, 40))),
    ):
        check(path, (100.0, 4000.0))


@pytest.mark.parametrize("alpha", ["RGBA", "LA", "PA", "palette", "key"])
def test_what_is_hidden_below_transparent_areas_changes_nothing(tmp_path: Path, alpha: str) -> None:
    """Two images that look alike on white, whatever says which pixels are transparent."""
    left = np.zeros((30, 30), bool)
    left[:, :15] = True
    found = []
    for hidden in (10, 240):
        grey = np.where(left, hidden, 77).astype(np.uint8)
        opacity = np.where(left, 0, 255).astype(np.uint8)
        image = Image.fromarray(np.dstack([grey, grey, grey, opacity]))
        how = {}
        if alpha in ("LA", "PA"):
            image = image.convert(alpha)
        if alpha == "palette":
            image = Image.fromarray(np.where(left, 0, 1).astype(np.uint8)).convert("P")
            image.putpalette([hidden] * 3 + [77] * 3)
            how = {"transparency": 0}
        if alpha == "key":
            image, how = Image.fromarray(grey), {"transparency": hidden}
        path = tmp_path / f"{hidden}.{'tiff' if alpha == 'PA' else 'png'}"
        image.save(path, **how)
        seen = [kind(channels).pixels(path) for channels in (1, 3)]
        assert all((pixels[:, :, :11] == 255).all() and (pixels[:, :, 13:] == 77).all() for pixels in seen)
        found.append(seen)
    for first, second in zip(*found, strict=True):
        assert np.array_equal(first, second)


def test_arrays_with_opacity_are_the_same_as_files(tmp_path: Path) -> None:
    pixels = noise(40, 30, 4)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    expected = 255 + (pixels[..., :3].astype(float) - 255) * pixels[..., 3:] / 255
    whole = kind(3, size=30).pixels(pixels[:, 5:35])
    assert np.abs(whole - expected[:, 5:35].transpose(2, 0, 1)).max() <= 1
    assert np.array_equal(kind(3).pixels(pixels), kind(3).pixels(tmp_path / "alpha.png"))


def deep_folder(root: Path, dtype: type, factor: float, suffix: str) -> None:
    """Two classes of greys with levels of 0 to 4,095 times ``factor``, and one hot pixel."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("valid", 2), ("test", 2)):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                values = (rng.integers(0, 4096, (40, 50)) * factor).astype(dtype)
                values[3, 3] = 65535 * factor
                Image.fromarray(values).save(root / split / name / f"{number}.{suffix}")


@pytest.mark.parametrize(
    ("dtype", "factor", "suffix"), [(np.uint16, 1, "png"), (np.int32, 100, "tiff"), (np.float32, 0.01, "tiff")]
)
def test_a_folder_of_deep_greys_keeps_its_levels(tmp_path: Path, dtype: type, factor: float, suffix: str) -> None:
    deep_folder(tmp_path, dtype, factor, suffix)
    images = data.load(tmp_path, image_size=40)
    assert images.channels == 1
    low, high = images.preprocessing.grey_range
    assert f"greys of 16 or 32 bits become 8 bits: {low:g} black, {high:g} white" in images.remarks()[-1]
    assert low == pytest.approx(0, abs=50 * factor)
    assert high == pytest.approx(4095 * factor, abs=50 * factor)
    pixels = images.test.images().numpy()
    assert len(np.unique(pixels)) > 200
    by_readme = readme_function(images.preprocessing)
    for path, square in zip(sorted((tmp_path / "test").rglob(f"*.{suffix}")), pixels, strict=True):
        expected = by_readme(Image.open(path))
        assert np.abs(images.preprocessing.normalise(square) - expected).max() * min(images.std) <= 1 / 255
    again = data.load(tmp_path, record=images.describe())
    assert again.preprocessing == images.preprocessing
    assert np.array_equal(again.test.images().numpy(), pixels)


def test_the_range_of_deep_greys_can_be_given(tmp_path: Path) -> None:
    deep_folder(tmp_path, np.uint16, 1, "png")
    assert data.load(tmp_path, grey_range=(0, 1023)).preprocessing.grey_range == (0, 1023)
    with pytest.raises(ProxylessError, match="grey_range"):
        data.load(tmp_path, grey_range=(9, 9))


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """Pillow writes greys of 16 bits only. ``pixels``: uint16 (height, width, 3)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def test_of_colours_of_16_bits_the_upper_8_are_read_and_it_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = rng.integers(0, 65536, (30, 40, 3), dtype=np.uint16)
            (tmp_path / name / f"{number}.png").write_bytes(png_of_16_bits(pixels))
    check(tmp_path / "b" / "3.png")
    assert np.array_equal(kind(3, size=30).pixels(tmp_path / "b" / "3.png")[0], pixels[:, 5:35, 0] >> 8)
    images = data.load(tmp_path)
    assert images.preprocessing.grey_range is None
    assert sum("colours of 16 bits only the upper 8" in line for line in images.remarks()) == 1


def test_plain_images_have_no_range_of_deep_greys(tmp_path: Path, write_images) -> None:
    write_images(tmp_path / "a", 4)
    write_images(tmp_path / "b", 4)
    images = data.load(tmp_path)
    assert images.preprocessing.to_dict()["grey_range"] is None
    assert not any(" bits" in line for line in images.remarks())


def test_a_folder_is_evaluated_by_the_rule_that_its_record_names(tmp_path: Path, write_images) -> None:
    """A run of version 0.1: transparency dropped, the shorter side resized first."""
    for name in ("a", "b"):
        write_images(tmp_path / name, 8, size=(41, 30), mode="RGBA")
    record = data.load(tmp_path, image_size=16).describe()
    for limit in (2**30, 0):
        now = data.load(tmp_path, record=record, memory_limit_bytes=limit)
        del record["preprocessing"]["transparency"]
        record["preprocessing"]["resize"] = "shorter side to image_size"
        before = data.load(tmp_path, record=record, memory_limit_bytes=limit)
        path = sorted(tmp_path.rglob("*.png"))
        expected = {before.preprocessing.pixels(p).tobytes() for p in path}
        assert all(pixels.numpy().tobytes() in expected for pixels in before.test.images())
        assert not np.array_equal(before.test.images(), now.test.images())
        record["preprocessing"] = now.preprocessing.to_dict()
