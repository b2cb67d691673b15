"""Reading image files, and the preprocessing of evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import functional

from proxyless.data import Preprocessing
from proxyless.data.decoding import Rule, read_image, to_array, to_image
from proxyless.data.preprocessing import shrink, square
from proxyless.errors import ProxylessError

COLOUR = Preprocessing(16, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def random_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(width + height).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(40, 40), (61, 40), (40, 61), (300, 33), (10, 10), (9, 14), (16, 16), (17, 16)])
def test_the_square_of_version_0_1_is_torchvisions_resize_and_centre_crop(size: tuple[int, int], mode: str) -> None:
    image = random_image(*size, mode)
    resized = functional.resize(image, [16], interpolation=functional.InterpolationMode.BILINEAR)
    expected = np.asarray(functional.center_crop(resized, [16, 16]))
    expected = expected[None] if mode == "L" else expected.transpose(2, 0, 1)
    difference = np.abs(square(image, 16, Rule.TORCHVISION).astype(int) - expected.astype(int))
    assert difference.max() <= 1  # rounding of the last bit
    assert (difference > 0).mean() < 0.02


@pytest.mark.parametrize("rule", Rule)
def test_a_very_long_image_takes_no_memory_to_speak_of(rule: Rule) -> None:
    image = Image.new("RGB", (60_000, 1), (10, 20, 30))
    pixels = square(image, 224, rule)  # resized as a whole, this would be 9 GB
    assert pixels.shape == (3, 224, 224)
    assert (pixels[:, 5, 5] == (10, 20, 30)).all()


@pytest.mark.parametrize("rule", Rule)
def test_an_image_of_the_right_size_stays_as_it_is(rule: Rule) -> None:
    image = random_image(16, 16)
    assert np.array_equal(square(image, 16, rule), to_array(image))


def test_shrink_keeps_the_aspect_and_never_enlarges() -> None:
    assert shrink(random_image(100, 50), 20).shape == (3, 20, 40)
    assert shrink(random_image(10, 15), 20).shape == (3, 15, 10)


def test_an_image_becomes_normalised_floats() -> None:
    image = random_image(16, 16)
    result = COLOUR(image)
    expected = (np.asarray(image).transpose(2, 0, 1) / 255 - np.reshape([0.5, 0.4, 0.3], (3, 1, 1))) / np.reshape(
        [0.2, 0.3, 0.4], (3, 1, 1)
    )
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_files_images_and_arrays_give_the_same(tmp_path: Path) -> None:
    image = random_image(40, 30)
    image.save(tmp_path / "image.png")
    expected = COLOUR(image)
    assert np.array_equal(COLOUR(tmp_path / "image.png"), expected)
    assert np.array_equal(COLOUR(str(tmp_path / "image.png")), expected)
    assert np.array_equal(COLOUR(np.asarray(image)), expected)


def test_grey_arrays_become_colour_and_colour_becomes_grey() -> None:
    grey = np.full((16, 16), 7, np.uint8)
    assert (COLOUR.pixels(grey) == 7).all()
    assert (COLOUR.pixels(grey[:, :, None]) == 7).all()
    one_channel = Preprocessing(16, 1, (0.5,), (0.2,))
    assert one_channel.pixels(random_image(16, 16)).shape == (1, 16, 16)


def test_sixteen_bit_arrays_are_scaled_by_the_range() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    deep = Preprocessing(16, 1, (0.5,), (0.2,), (0.0, 4080.0))
    assert deep.pixels(values).ravel().tolist() == list(range(256))


@pytest.mark.parametrize(
    "array",
    [np.zeros((16, 16, 3)), np.zeros((16, 16, 3), np.uint16), np.zeros((3, 16, 16), np.uint8), np.zeros(16, np.uint8)],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ProxylessError, match="uint8"):
        COLOUR(array)


def test_the_record_survives_json_and_explains_itself() -> None:
    record = json.loads(json.dumps(COLOUR.to_dict()))
    assert record["resize"] == "central square to image_size, as by Pillow's ImageOps.fit"
    assert record["transparency"] == "composited on white"
    assert Preprocessing.from_dict(record) == COLOUR
    deep = Preprocessing(16, 1, (0.5,), (0.2,), (12.0, 4095.0))
    assert Preprocessing.from_dict(json.loads(json.dumps(deep.to_dict()))) == deep


def test_a_record_of_version_0_1_gives_the_pixels_of_that_version() -> None:
    """As version 0.1 wrote it and, without transparency, as it computed it: by torchvision's functions."""
    record = {
        "image_size": 16,
        "channels": 3,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "resize": "shorter side to image_size",
        "interpolation": "bilinear, antialiased",
        "crop": "central square",
        "range": "0 to 1 before mean and std",
        "layout": "NCHW float32",
    }
    before = Preprocessing.from_dict(record)
    assert before.to_dict() == record
    pixels = np.random.default_rng(0).integers(0, 256, (30, 127, 4), dtype=np.uint8)
    resized = functional.resize(Image.fromarray(pixels[..., :3].copy()), [16])
    expected = np.asarray(functional.center_crop(resized, [16, 16])).transpose(2, 0, 1)
    assert np.abs(before.pixels(pixels).astype(int) - expected).max() <= 1
    assert np.abs(COLOUR.pixels(pixels).astype(int) - expected).max() > 60


def test_a_record_of_another_rule_or_a_damaged_one_is_refused() -> None:
    with pytest.raises(ProxylessError, match="interpolation"):
        Preprocessing.from_dict({**COLOUR.to_dict(), "interpolation": "bicubic"})
    with pytest.raises(ProxylessError, match="not a valid record"):
        Preprocessing.from_dict({"image_size": 16})
    with pytest.raises(ProxylessError, match="std"):
        Preprocessing(16, 3, (0.5,) * 3, (0.0,) * 3)
    with pytest.raises(ProxylessError, match="transparency"):
        Preprocessing.from_dict({**COLOUR.to_dict(), "transparency": "composited on black"})
    for wrong in ([5, 5], [7, 3], [0, float("nan")], 3, "ab", [1, 2, 3]):
        with pytest.raises(ProxylessError, match=r"grey_range|not a valid record"):
            Preprocessing.from_dict({**COLOUR.to_dict(), "grey_range": wrong})


def test_pixels_survive_the_way_to_an_array_and_back() -> None:
    for mode in ("RGB", "L"):
        image = random_image(9, 5, mode)
        assert to_array(image).shape == (len(image.getbands()), 5, 9)
        assert np.array_equal(np.asarray(to_image(to_array(image))), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    random_image(9, 5).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(np.asarray(read_image(path, 3)), expected)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 1000, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(np.asarray(read_image(tmp_path / "deep.png", 1)), expected)
    assert np.array_equal(np.asarray(read_image(tmp_path / "deep.png", 3))[..., 2], expected)


def test_print_colours_and_bits_become_plain_ones(tmp_path: Path) -> None:
    random_image(6, 6).convert("CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg", 3).mode == "RGB"
    Image.new("1", (6, 6), 1).save(tmp_path / "bits.png")
    assert (np.asarray(read_image(tmp_path / "bits.png", 1)) == 255).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_file_is_found_and_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    random_image(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ProxylessError, match=f"cut{suffix}: unreadable image"):
        read_image(path, 3)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tiff")
    for name in ("text.jpg", "empty.jpg", "float.tiff", "missing.jpg"):
        with pytest.raises(ProxylessError, match=name) as caught:
            read_image(tmp_path / name, 3)
        assert "\n" not in str(caught.value)
