"""Noise, signed distances and small vector drawings on a square canvas in unit coordinates.

All randomness is drawn on lattices whose size does not depend on the canvas, then interpolated,
so that one seed gives the same picture at every resolution.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw

Number = float | int
BASE = 256  # pixels per side at which per-pixel noise is drawn


@functools.lru_cache(maxsize=512)
def _weights(cells: int, size: int, sharp: bool) -> np.ndarray:
    """Interpolation matrix [size, cells + 3]: cubic B-spline, or linear where `sharp`."""
    position = (np.arange(size) + 0.5) / size * cells
    if sharp:
        position = position + 0.5
    index = np.floor(position).astype(int)
    t = position - index
    if sharp:
        taps = [1 - t, t]
    else:
        taps = [
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        ]
    matrix = np.zeros((size, cells + 3), np.float32)
    for k, tap in enumerate(taps):
        np.add.at(matrix, (np.arange(size), np.minimum(index + k, cells + 2)), tap)
    # Interpolation averages the lattice: scale back to unit variance on average.
    matrix /= np.sqrt(np.mean(np.sum(matrix**2, axis=1)))
    return matrix


def spread(lattice: np.ndarray, size: int, sharp: bool = False) -> np.ndarray:
    """Interpolates a lattice [cy + 3, cx + 3] to [size, size]."""
    rows = _weights(lattice.shape[0] - 3, size, sharp)
    columns = _weights(lattice.shape[1] - 3, size, sharp)
    return rows @ lattice.astype(np.float32, copy=False) @ columns.T


def sheet(
    rng: np.random.Generator, size: int, cells: Number, across: Number | None = None, sharp=False
) -> np.ndarray:
    """Smooth noise [size, size] of unit variance with `cells` rows and `across` columns."""
    rows = max(1, round(cells))
    columns = rows if across is None else max(1, round(across))
    lattice = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32)
    return spread(lattice, size, sharp)


def grains(rng: np.random.Generator, size: int) -> np.ndarray:
    """Per-pixel noise at `BASE` resolution, interpolated to [size, size]."""
    if size == BASE:
        rng_noise = rng.standard_normal((BASE + 3, BASE + 3), dtype=np.float32)
        return rng_noise[1:-2, 1:-2]
    return sheet(rng, size, BASE, sharp=True)


def fbm(
    rng: np.random.Generator,
    size: int,
    cells: Number,
    octaves: int = 4,
    gain: Number = 0.5,
    stretch: Number = 1.0,
) -> np.ndarray:
    """Fractal noise [size, size] of about unit variance; `stretch` multiplies the columns."""
    total = np.zeros((size, size), np.float32)
    power = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        rows = min(cells * 2**octave, BASE)
        total += amplitude * sheet(rng, size, rows, min(rows * stretch, BASE))
        power += amplitude**2
    total /= np.float32(np.sqrt(power))
    return total


def profile(rng: np.random.Generator, size: int, cells: Number) -> np.ndarray:
    """Smooth noise on a line, [size], unit variance."""
    cells = max(1, round(cells))
    return _weights(cells, size, False) @ rng.standard_normal(cells + 3, dtype=np.float32)


def cellular(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, jitter: Number = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Worley noise at (u, v) in cells: nearest and second nearest distance, and the cell's id."""
    iu, iv = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    u0, v0 = int(iu.min()) - 1, int(iv.min()) - 1
    shape = (int(iv.max()) - v0 + 2, int(iu.max()) - u0 + 2)
    px = (np.arange(shape[1])[None] + 0.5 + jitter * (rng.random(shape) - 0.5)).astype(np.float32)
    py = (np.arange(shape[0])[:, None] + 0.5 + jitter * (rng.random(shape) - 0.5)).astype(
        np.float32
    )
    px, py = px.ravel(), py.ravel()
    iu, iv, u, v = np.broadcast_arrays(iu - u0, iv - v0, u - u0, v - v0)
    corner = iv * shape[1] + iu
    first = np.full(u.shape, 9.0, np.float32)
    second, owner = first.copy(), np.zeros(u.shape, np.int32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            index = corner + (dy * shape[1] + dx)
            d = (px[index] - u) ** 2
            d += (py[index] - v) ** 2
            nearer = d < first
            np.minimum(second, np.maximum(first, d), out=second)
            np.copyto(owner, index, where=nearer)
            np.minimum(first, d, out=first)
    return np.sqrt(first), np.sqrt(second), owner


def step(distance: np.ndarray, width: Number) -> np.ndarray:
    """Antialiased inside-ness of a signed distance: 1 inside, 0 outside, `width` wide."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def ease(t: np.ndarray) -> np.ndarray:
    """Smoothstep of t clipped to [0, 1]."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def relief(height: np.ndarray, azimuth: Number, pixels_per_unit: Number) -> np.ndarray:
    """Slope of a height field towards the light, in height per unit; positive is lit."""
    gy, gx = np.gradient(height)
    scale = np.float32(pixels_per_unit)
    return -(gx * np.float32(np.cos(azimuth)) + gy * np.float32(np.sin(azimuth))) * scale


def resample(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of [H, W, C] at fractional pixel positions, clamped at the border."""
    height, width = picture.shape[:2]
    rows = np.clip(rows, 0, height - 1.001).astype(np.float32)
    columns = np.clip(columns, 0, width - 1.001).astype(np.float32)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    a = (rows - top).astype(np.float32)[..., None]
    b = (columns - left).astype(np.float32)[..., None]
    flat, index = picture.reshape(-1, picture.shape[-1]), top * width + left
    upper = flat[index] * (1 - b) + flat[index + 1] * b
    lower = flat[index + width] * (1 - b) + flat[index + width + 1] * b
    return upper * (1 - a) + lower * a


_THIRDS = np.full(3, 1 / 3, np.float32)


def brightness(rgb: np.ndarray) -> np.ndarray:
    """Mean over the channels; much faster than `rgb.mean(-1)`."""
    return rgb @ _THIRDS


def largest(rgb: np.ndarray) -> np.ndarray:
    """Largest channel; much faster than `rgb.max(-1)`."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def polygon_distance(u: np.ndarray, v: np.ndarray, sides: int) -> np.ndarray:
    """Signed distance to a regular polygon of apothem 1."""
    sector = 2 * np.pi / sides
    angle = np.arctan2(v, u)
    folded = angle - sector * np.round(angle / sector)
    return np.hypot(u, v) * np.cos(folded) - 1


def box_distance(u, v, half_width: Number, half_height: Number, corner: Number = 0.0) -> np.ndarray:
    """Signed distance to a rounded box."""
    du = np.abs(u) - (half_width - corner)
    dv = np.abs(v) - (half_height - corner)
    outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
    return outside + np.minimum(np.maximum(du, dv), 0) - corner


def draw(size: int, shapes, supersample: int = 2) -> np.ndarray:
    """Antialiased union of vector shapes, [size, size] in [0, 1].

    `shapes` holds ("line", points [n, 2], width) and ("polygon", points [n, 2]) in unit
    coordinates (x, y); a width may also be an array with one value per segment.
    """
    scale = size * supersample
    image = Image.new("L", (scale, scale))
    pen = ImageDraw.Draw(image)
    for kind, points, *rest in shapes:
        pixels = np.asarray(points, float) * scale
        if kind == "polygon":
            pen.polygon([tuple(p) for p in pixels], fill=255)
            continue
        widths = np.broadcast_to(np.asarray(rest[0], float) * scale, len(pixels) - 1)
        for start, stop, width in zip(pixels[:-1], pixels[1:], widths, strict=True):
            thick = max(1, round(width))
            pen.line([tuple(start), tuple(stop)], fill=255, width=thick)
            if thick > 2:
                r = width / 2
                pen.ellipse([stop[0] - r, stop[1] - r, stop[0] + r, stop[1] + r], fill=255)
    if supersample > 1:
        image = image.reduce(supersample)
    return np.asarray(image, np.float32) / 255


def draw_ids(size: int, polygons) -> np.ndarray:
    """Index of the last polygon over each pixel (1-based), 0 where there is none."""
    image = Image.new("I", (size, size))
    pen = ImageDraw.Draw(image)
    for index, points in enumerate(polygons):
        pen.polygon([tuple(p) for p in np.asarray(points) * size], fill=index + 1)
    return np.asarray(image, np.int32)


def walk(
    rng: np.random.Generator,
    start,
    heading: Number,
    length: Number,
    bend: Number,
    steps: int = 24,
) -> np.ndarray:
    """Points [steps + 1, 2] of a wandering path; `bend` is the turning per path in radians."""
    turns = rng.standard_normal(steps) * bend / np.sqrt(steps)
    angles = heading + np.cumsum(turns)
    moves = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (length / steps)
    return np.concatenate([[np.asarray(start, float)], np.asarray(start) + np.cumsum(moves, 0)])
