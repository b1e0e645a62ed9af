"""Photos and masks of every kind, decoded to upright 8-bit RGB and to booleans.

Rules: EXIF orientation is applied; the first frame of an animation counts; alpha and transparent
palette entries are composited on white; 16-bit values are scaled from 0..65535 to 0..255 (rounded,
never clipped; of files in 16-bit colours, which Pillow cannot hold, the high bytes are taken);
colour profiles are ignored, as in the reference pipelines of CLIP and SAM.
"""

import io
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Bool, UInt8

from zsas_jax.errors import ImageError

ImageSource = str | os.PathLike[str] | bytes | PIL.Image.Image | np.ndarray

MAX_PIXELS = 200_000_000
MAX_SIDE = 16384  # pixels: the largest canvas
MASK_THRESHOLD = 127  # of 255


class MaskFile(NamedTuple):
    """A mask that is cut at another threshold than `MASK_THRESHOLD`, not decoded yet."""

    file: str | os.PathLike[str] | bytes
    threshold: int
    """Of 255: above it a pixel is anomalous."""


_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_ARRAYS = "uint8 or uint16 of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
# Pillow's limit on pixels is a global, too low for large photos; ours replaces it while we open.
_opening = threading.Lock()


def decode_image(source: ImageSource, name: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a photo to upright RGB, uint8.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array: uint8 or uint16; grey, RGB
            or RGBA, channels last.
        name: what errors call it; default the path.

    Raises:
        ImageError: missing, empty, truncated, not an image, of unsupported values, or too large.
    """
    name = _name_of(source, name)
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source, name)
    return _guarded(lambda: _to_rgb(_loaded(source, name), name), name)


def decode_mask(
    source: ImageSource | MaskFile, threshold: int = MASK_THRESHOLD, name: str | None = None
) -> Bool[np.ndarray, "h w"]:
    """Decodes a mask: True (anomalous) where the brightest channel is above `threshold` of 255.

    Grey 16-bit masks are compared with `threshold` * 257, so that 0 means "not zero" for them too
    (of 16-bit colours only the high bytes are there);
    transparent pixels are not anomalous. Boolean arrays are returned as they are; a `MaskFile`
    has a threshold of its own.

    Raises:
        ImageError: as `decode_image`.
    """
    if isinstance(source, MaskFile):
        return decode_mask(source.file, source.threshold, name)
    if isinstance(source, np.ndarray) and source.dtype == np.bool_ and source.ndim == 2:
        return source
    values, highest = _brightest(source, name)
    return values > threshold * (highest // 255)


def mask_peak(source: ImageSource, name: str | None = None) -> tuple[int, int]:
    """The highest value that `decode_mask` compares, and the highest of its depth: 255 or 65535.

    Raises:
        ImageError: as `decode_image`.
    """
    values, highest = _brightest(source, name)
    return int(values.max()), highest


def _brightest(source: ImageSource, name: str | None) -> tuple[np.ndarray, int]:
    """The brightest channel of each pixel, and the highest value of its depth."""
    name = _name_of(source, name)
    if isinstance(source, np.ndarray):
        _check_array(source, name)
        values, deep = source, source.dtype == np.uint16
    else:
        values, deep = _guarded(lambda: _mask_values(_loaded(source, name), name), name)
    if values.ndim == 3:
        colours = values[..., :3].max(axis=2)
        transparent = values[..., 3] == 0 if values.shape[2] == 4 else False
        values = np.where(transparent, 0, colours)
    return values, 65535 if deep else 255


def image_size(source: ImageSource, name: str | None = None) -> tuple[int, int]:
    """Upright (height, width) of a photo or mask, pixels; only a file's header is read.

    Raises:
        ImageError: as `decode_image`, as far as the header shows it.
    """
    name = _name_of(source, name)
    if isinstance(source, np.ndarray):
        _check_shape(source, name)
        return source.shape[0], source.shape[1]
    if isinstance(source, PIL.Image.Image):
        return _upright_size(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return _guarded(lambda: _header_size(file, name), name)


def _header_size(file, name: str) -> tuple[int, int]:
    if not isinstance(file, io.BytesIO):
        _check_file(file, name)
    with _open(file, name) as image:
        return _upright_size(image)


def _upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    width, height = image.size
    # Pillow turns TIFFs itself: their size is upright from the start.
    turned = image.format != "TIFF" and _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def _name_of(source: ImageSource, name: str | None) -> str:
    if name is not None:
        return name
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return getattr(source, "filename", "") or "the image"


def _guarded(decode: Callable, name: str):
    """Runs `decode`; Pillow's plugins raise nearly every exception on damaged files."""
    try:
        return decode()
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(
            f"{name} is not an image in a known format: expected JPEG, PNG, TIFF, BMP, WebP, ..."
        ) from None
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(
            f"{name} is truncated or damaged ({reason}): expected a complete image file"
        ) from error


def _check_file(path, name: str) -> None:
    if not os.path.exists(path):
        raise ImageError(f"{name} does not exist: expected an image file")
    if not os.path.isfile(path):
        raise ImageError(f"{name} is not a file: expected an image file")
    if not os.access(path, os.R_OK):
        raise ImageError(f"{name} may not be read (permission denied): expected a readable file")
    if os.path.getsize(path) == 0:
        raise ImageError(f"{name} is empty (0 bytes): expected an image file")


def _open(file, name: str) -> PIL.Image.Image:
    with _opening:
        limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            image = PIL.Image.open(file)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit
    _check_size(image.height, image.width, name)
    return image


def _loaded(source, name: str) -> PIL.Image.Image:
    """The first frame as a PIL image of any mode, upright."""
    if isinstance(source, PIL.Image.Image):
        image = source
        _check_size(image.height, image.width, name)
    else:
        if isinstance(source, bytes):
            data = source
        else:
            _check_file(source, name)
            with open(source, "rb") as file:
                data = file.read()
        if not data:
            raise ImageError(f"{name} is empty (0 bytes): expected an image file")
        image = _open(io.BytesIO(data), name)
    image.load()
    operation = _UPRIGHT.get(_orientation(image))
    return image if operation is None else image.transpose(operation)


def _orientation(image: PIL.Image.Image) -> int:
    """EXIF orientation 1..8; 1 (upright) where the metadata is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Damaged metadata is no reason to refuse the pixels.
        return 1


def _check_size(height: int, width: int, name: str) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name} has {width} x {height} pixels: expected at least 1 x 1")
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels: expected at most {MAX_PIXELS // 10**6} "
            f"million pixels and {MAX_SIDE} a side"
        )


def _to_rgb(image: PIL.Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I"):
        return _array_to_rgb(_deep_values(image, name), name)
    _check_mode(image, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _mask_values(image: PIL.Image.Image, name: str) -> tuple[np.ndarray, bool]:
    if image.mode.startswith("I"):
        return _deep_values(image, name), True
    _check_mode(image, name)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.array(image if image.mode == "L" and mode == "RGB" else image.convert(mode)), False


def _check_mode(image: PIL.Image.Image, name: str) -> None:
    if image.mode == "F":
        raise ImageError(f"{name} has floating-point pixels: expected 8- or 16-bit integers")


def _deep_values(image: PIL.Image.Image, name: str) -> np.ndarray:
    values = np.array(image)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ImageError(
            f"{name} has values from {values.min()} to {values.max()}: expected 0 to 65535"
        )
    return values.astype(np.uint16)


def _check_shape(array: np.ndarray, name: str) -> None:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"{name} is an array of shape {list(array.shape)}: expected {_ARRAYS}")
    _check_size(array.shape[0], array.shape[1], name)


def _check_array(array: np.ndarray, name: str) -> None:
    _check_shape(array, name)
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name} is an array of {array.dtype}: expected {_ARRAYS}")


def _array_to_rgb(array: np.ndarray, name: str) -> np.ndarray:
    _check_array(array, name)
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint32)
        array = (array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)), np.uint8)
