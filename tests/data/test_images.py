"""Decoding of every kind of photo, from files the tests write."""

import io
import warnings

import numpy as np
import PIL.Image
import pytest

from zsas_jax.data.images import decode_image, decode_mask, image_size
from zsas_jax.errors import ImageError

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image, format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo():
    return PIL.Image.fromarray(PIXELS)


# How a camera stores an upright picture for each EXIF orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, format):
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:12, :20], upright[:12, 20:], upright[12:, :20] = 250, 160, 80
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(format, {})
    data = encoded(stored, format, exif=exif, **options)
    decoded = decode_image(data)
    assert image_size(data) == decoded.shape[:2] == (24, 40)
    assert np.abs(decoded.astype(int) - upright).max() <= (12 if format == "JPEG" else 0)


def test_grey_and_bilevel():
    grey = PIXELS[..., 0]
    expected = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(decode_image(encoded(PIL.Image.fromarray(grey))), expected)
    bits = PIL.Image.fromarray(grey > 100)
    np.testing.assert_array_equal(decode_image(encoded(bits))[..., 0], np.where(grey > 100, 255, 0))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format):
    values = np.array([[0, 128, 129, 257], [32768, 40000, 65406, 65535]], np.uint16)
    expected = np.round(values / 257.0).astype(np.uint8)
    decoded = decode_image(encoded(PIL.Image.fromarray(values), format))
    np.testing.assert_array_equal(decoded[..., 1], expected)
    np.testing.assert_array_equal(decode_image(values)[..., 2], expected)


def test_thirty_two_bit_integers():
    values = np.array([[0, 257, 65535]], np.int32)
    data = encoded(PIL.Image.fromarray(values), "TIFF")
    np.testing.assert_array_equal(decode_image(data)[0, :, 0], [0, 1, 255])
    too_large = encoded(PIL.Image.fromarray(values + 10), "TIFF")
    with pytest.raises(ImageError, match="from 10 to 65545: expected 0 to 65535"):
        decode_image(too_large, "deep.tif")


def test_floating_point_file_is_refused(tmp_path):
    path = tmp_path / "float.tif"
    PIL.Image.fromarray(np.ones((2, 2), np.float32)).save(path)
    with pytest.raises(ImageError, match=r"float\.tif has floating-point pixels: expected"):
        decode_image(path)


def test_palette_with_and_without_transparency():
    image = PIL.Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    np.testing.assert_array_equal(decode_image(encoded(image)), [[[10, 20, 30], [200, 100, 50]]])
    transparent = decode_image(encoded(image, transparency=0))
    np.testing.assert_array_equal(transparent, [[[255, 255, 255], [200, 100, 50]]])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_composited_on_white(mode):
    levels, alpha = np.array([[0, 100, 100, 100]], np.uint8), np.array([[0, 0, 128, 255]], np.uint8)
    channels = [levels] * (len(mode) - 1) + [alpha]
    image = PIL.Image.merge(mode, [PIL.Image.fromarray(channel) for channel in channels])
    expected = 255 + (levels.astype(float) - 255) * alpha / 255
    decoded = decode_image(encoded(image))
    assert np.abs(decoded - expected[..., None]).max() <= 1
    assert decoded[0, 0, 0] == 255
    assert decoded[0, 3, 0] == 100
    if mode == "RGBA":
        np.testing.assert_allclose(decode_image(np.array(image)), decoded, atol=1)


def test_transparent_colour_of_rgb():
    image = PIL.Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (50, 60, 70))
    decoded = decode_image(encoded(image, transparency=(9, 9, 9)))
    np.testing.assert_array_equal(decoded, [[[255] * 3, [50, 60, 70]]])


def test_cmyk_jpeg():
    smooth = PIL.Image.new("RGB", (32, 32), (200, 60, 30))
    decoded = decode_image(encoded(smooth.convert("CMYK"), "JPEG", quality=95))
    assert decoded.shape == (32, 32, 3)
    assert np.abs(decoded.astype(int) - (200, 60, 30)).max() <= 8


def test_first_frame_of_an_animation():
    frames = [PIL.Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data)[0, 0], [255, 0, 0])


def test_one_pixel():
    data = encoded(PIL.Image.new("RGB", (1, 1), (1, 2, 3)))
    np.testing.assert_array_equal(decode_image(data), [[[1, 2, 3]]])


def test_sources_agree(tmp_path):
    path = tmp_path / "a b.PNG"
    photo().save(path)
    for source in (path, str(path), path.read_bytes(), photo(), PIL.Image.open(path), PIXELS):
        np.testing.assert_array_equal(decode_image(source), PIXELS)
        assert image_size(source) == (5, 7)
    grey = PIXELS[..., :1]
    np.testing.assert_array_equal(decode_image(grey), np.repeat(grey, 3, 2))


@pytest.mark.parametrize(
    ("array", "finding"),
    [
        (np.zeros((2, 2, 3), np.float32), "float32"),
        (np.zeros((2, 2), bool), "bool"),
        (np.zeros((2, 2, 2), np.uint8), r"\[2, 2, 2\]"),
        (np.zeros(4, np.uint8), r"\[4\]"),
        (np.zeros((0, 5, 3), np.uint8), "5 x 0 pixels"),
        (np.zeros((1, 20000, 3), np.uint8), "20000 x 1 pixels"),
    ],
)
def test_arrays_of_other_kinds_are_refused(array, finding):
    with pytest.raises(ImageError, match=f"pixel soup .*{finding}.*: expected"):
        decode_image(array, "pixel soup")


def damaged(kind):
    jpeg = encoded(photo().resize((200, 150)), "JPEG")
    return {
        "zero bytes": b"",
        "text": b"this is not a photo at all\n" * 20,
        "truncated JPEG": jpeg[: len(jpeg) // 2],
        "truncated PNG": encoded(photo())[:-40],
        "header only": encoded(photo())[:20],
        "damaged PNG": encoded(photo())[:60] + b"\xff" * 40 + encoded(photo())[100:],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        ("zero bytes", "is empty"),
        ("text", "is not an image"),
        ("truncated JPEG", "is truncated or damaged"),
        ("truncated PNG", "is truncated or damaged"),
        ("header only", "is not an image|is truncated"),
        ("damaged PNG", "is truncated or damaged"),
    ],
)
def test_damaged_files(tmp_path, kind, finding):
    path = tmp_path / "bad.jpg"
    path.write_bytes(damaged(kind))
    for source, name in ((path, None), (path.read_bytes(), "bad.jpg")):
        with pytest.raises(ImageError, match=rf"bad\.jpg ({finding}).*: expected") as caught:
            decode_image(source, name)
        assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path):
    for decode in (decode_image, decode_mask, image_size):
        with pytest.raises(ImageError, match=r"nowhere\.png does not exist: expected"):
            decode(tmp_path / "nowhere.png")
        with pytest.raises(ImageError, match="is not a file: expected"):
            decode(tmp_path)


def test_pixel_limit_is_ours_and_clear(monkeypatch):
    monkeypatch.setattr("zsas_jax.data.images.MAX_PIXELS", 2_000_000)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_000)
    small = encoded(PIL.Image.new("L", (100, 100)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # No warning of Pillow's.
        assert decode_image(small).shape == (100, 100, 3)
    huge = encoded(PIL.Image.new("L", (1500, 1500)))
    with pytest.raises(ImageError, match="1500 x 1500 pixels: expected at most 2 million"):
        decode_image(huge, "huge.png")
    assert PIL.Image.MAX_IMAGE_PIXELS == 1_000


@pytest.mark.full
def test_very_large_photo(tmp_path):
    path = tmp_path / "large.png"
    image = PIL.Image.new("L", (12000, 9000), 77)
    image.putpixel((11999, 8999), 200)
    image.save(path, compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode_image(path)
    assert decoded.shape == (9000, 12000, 3)
    assert decoded[-1, -1].tolist() == [200] * 3
    assert decoded[0, 0].tolist() == [77] * 3


def test_masks():
    grey = np.array([[0, 1, 127, 128, 255]], np.uint8)
    above = [[False, False, False, True, True]]
    for source in (grey, encoded(PIL.Image.fromarray(grey)), grey[..., None].repeat(3, 2)):
        np.testing.assert_array_equal(decode_mask(source), above)
        np.testing.assert_array_equal(decode_mask(source, threshold=0), [[0, 1, 1, 1, 1]])
    deep = np.array([[0, 1, 32639, 32640, 65535]], np.uint16)
    np.testing.assert_array_equal(decode_mask(encoded(PIL.Image.fromarray(deep))), above)
    np.testing.assert_array_equal(decode_mask(deep, threshold=0), [[0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(decode_mask(np.array(above)), above)


def test_coloured_and_transparent_masks():
    red = PIL.Image.new("RGB", (2, 1))
    red.putpixel((1, 0), (255, 0, 0))
    np.testing.assert_array_equal(decode_mask(encoded(red)), [[False, True]])
    painted = PIL.Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    painted.putpixel((1, 0), (255, 255, 255, 255))
    np.testing.assert_array_equal(decode_mask(encoded(painted)), [[False, True]])


def test_real_photos(samples):
    for path in sorted((samples / "photos").iterdir()):
        decoded = decode_image(path)
        assert decoded.shape[:2] == image_size(path)
        assert decoded.std() > 5
