"""The scene before the camera: a picture, its instances and parts, and where a defect may lie."""

import colorsys
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise, splits
from zsas_jax.data.synthetic.noise import Number

Colour = np.ndarray  # float32 [3] in [0, 1]


class Stamp(NamedTuple):
    """A window of the canvas with an object's own coordinates."""

    window: tuple[slice, slice]
    u: np.ndarray  # [h, w] in object radii
    v: np.ndarray
    pixel: float  # side of a pixel in object radii


class Part(NamedTuple):
    """Something drawn that can go missing or slip: its cover, its colours, what is below."""

    window: tuple[slice, slice]
    alpha: np.ndarray  # [h, w]
    over: np.ndarray  # [h, w, 3]
    under: np.ndarray  # [h, w, 3]


class Studio:
    """Random choices of one picture: every draw that must differ between splits goes through it."""

    def __init__(self, rng: np.random.Generator, split: str, size: int):
        self.rng, self.split, self.size = rng, split, size
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = centres[None, :], centres[:, None]
        self.azimuth = np.deg2rad(self.value("light_azimuth"))

    def value(self, name: str, low: Number = -np.inf, high: Number = np.inf) -> float:
        """A parameter from the split's own bands."""
        return splits.draw_value(self.rng, self.split, name, low, high)

    def between(self, low: Number, high: Number) -> float:
        return float(low + (high - low) * self.rng.random())

    def log_between(self, low: Number, high: Number) -> float:
        return float(low * (high / low) ** self.rng.random())

    def chance(self, probability: Number) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def cells(self, usual: Number) -> int:
        """A number of pattern repeats across the picture, about `usual`."""
        return max(1, round(usual * self.value("scale")))

    def colour(self, hue=(0, 360), saturation=(0.2, 0.7), value=(0.3, 0.8)) -> Colour:
        """A random colour whose hue comes from the split's bands."""
        h = self.value("hue", *hue) / 360
        return np.array(
            colorsys.hsv_to_rgb(h, self.between(*saturation), self.between(*value)), np.float32
        )

    def grey(self, low=0.2, high=0.8, tint=0.03) -> Colour:
        """A nearly neutral colour."""
        return (self.between(low, high) * (1 + tint * self.rng.standard_normal(3))).astype("f4")

    def sheet(self, cells, across=None, sharp=False) -> np.ndarray:
        return noise.sheet(self.rng, self.size, cells, across, sharp)

    def fbm(self, cells, octaves=4, gain=0.5, stretch=1.0) -> np.ndarray:
        return noise.fbm(self.rng, self.size, cells, octaves, gain, stretch)

    def grains(self) -> np.ndarray:
        return noise.grains(self.rng, self.size)

    def warped(self, amount: Number, cells: Number = 4) -> tuple[np.ndarray, np.ndarray]:
        """Unit coordinates bent by smooth noise of the given amplitude."""
        return (
            self.x + amount * self.sheet(cells),
            self.y + amount * self.sheet(cells),
        )

    def rotated(self, angle: Number) -> tuple[np.ndarray, np.ndarray]:
        """Unit coordinates turned by `angle` radians about the centre."""
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = self.x - 0.5, self.y - 0.5
        return c * dx + s * dy + 0.5, c * dy - s * dx + 0.5

    def relief(self, height: np.ndarray) -> np.ndarray:
        """Slope towards this picture's light of a full-canvas height field."""
        return noise.relief(height, self.azimuth, self.size)


def ramp(t: np.ndarray, *colours: Colour) -> np.ndarray:
    """Colours along t in [0, 1], piecewise linear between evenly spaced colours, [h, w, 3]."""
    if len(colours) == 2:
        return t[..., None] * (colours[1] - colours[0]) + colours[0]
    stops = np.linspace(0, 1, len(colours))
    table = np.stack([np.interp(np.linspace(0, 1, 256), stops, c) for c in np.array(colours).T], 1)
    index = np.clip(t * 255, 0, 255).astype(np.uint8)
    return table.astype(np.float32)[index]


def _tight(window, alpha: np.ndarray, over: np.ndarray, under: np.ndarray) -> Part:
    """A part cut down to the rows and columns that it covers."""
    rows, columns = np.flatnonzero(alpha.max(1) > 0), np.flatnonzero(alpha.max(0) > 0)
    inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    top, left = window[0].start, window[1].start
    outer = (
        slice(int(top + rows[0]), int(top + rows[-1] + 1)),
        slice(int(left + columns[0]), int(left + columns[-1] + 1)),
    )
    return Part(outer, alpha[inner], over[inner], under[inner])


class Scene:
    """A picture under construction, float32 [size, size, 3], 0 to 1, before light and camera.

    `solid` is 1 where defects may lie (all of a surface, an object's pixels); `backdrop` is the
    picture below the objects, or the surface itself.
    """

    def __init__(self, studio: Studio, rgb: np.ndarray, is_object: bool = False):
        self.studio = studio
        self.rgb = np.array(np.broadcast_to(rgb, (studio.size, studio.size, 3)), np.float32)
        self.is_object = is_object
        self.backdrop = self.rgb.copy() if is_object else self.rgb
        shape = (studio.size, studio.size)
        self.solid = np.zeros(shape, np.float32) if is_object else np.ones(shape, np.float32)
        self.segments = np.zeros(shape, np.int32)
        self.parts: list[Part] = []
        self.count = 0

    def stamp(
        self, cx: Number, cy: Number, radius: Number, angle: Number = 0.0, reach=1.15
    ) -> Stamp:
        """The window around (cx, cy) in unit coordinates, `reach` radii to each side."""
        size = self.studio.size
        low = np.clip(np.floor((np.array([cy, cx]) - reach * radius) * size), 0, size - 2)
        high = np.clip(np.ceil((np.array([cy, cx]) + reach * radius) * size), low + 2, size)
        window = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
        dx = (self.studio.x[:, window[1]] - np.float32(cx)) / np.float32(radius)
        dy = (self.studio.y[window[0]] - np.float32(cy)) / np.float32(radius)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return Stamp(window, c * dx + s * dy, c * dy - s * dx, 1 / (radius * size))

    def shade(self, stamp: Stamp, height: np.ndarray) -> np.ndarray:
        """Slope towards the light of a height in object radii, for a stamp turned by any angle."""
        return noise.relief(height, self.studio.azimuth, 1 / stamp.pixel)

    def paste(
        self,
        stamp: Stamp,
        alpha: np.ndarray,
        colour: np.ndarray,
        *,
        segment: bool = True,
        part: bool = False,
        solid: bool | None = True,
        under: np.ndarray | None = None,
    ) -> None:
        """Composites `colour` [3] or [h, w, 3] through `alpha`; parts can go missing later.

        `solid`: whether defects may lie on it; None leaves that as it was. `under` [h, w, 3]: what
        shows where a part is gone, if it is not what lies there now.
        """
        w = stamp.window
        if not alpha.size or alpha.max() <= 0.5:
            return
        under = self.rgb[w].copy() if under is None else under
        cover = alpha[..., None]
        self.rgb[w] += cover * (colour - self.rgb[w])
        if part:
            self.parts.append(_tight(w, alpha, self.rgb[w].copy(), under))
        if solid is not None:
            self.solid[w] += alpha * (float(solid) - self.solid[w])
        if segment:
            self.count += 1
            self.segments[w][alpha > 0.5] = self.count
        elif solid is False:  # A hole shows what is behind.
            self.segments[w][alpha > 0.5] = 0

    def name_segments(self, ids: np.ndarray) -> None:
        """Takes a map of instances over the whole canvas; 0 leaves what is there."""
        self.segments = np.where(ids > 0, ids + self.count, self.segments).astype(np.int32)
        self.count += int(ids.max())

    def cast_shadow(self, strength: Number, length: Number, softness: Number) -> None:
        """Darkens the backdrop beside the objects, away from the light."""
        size, studio = self.studio.size, self.studio
        low = (
            self.solid.reshape(64, size // 64, 64, size // 64).mean((1, 3))
            if (size % 64 == 0)
            else ndimage.zoom(self.solid, 64 / size, order=1)
        )
        shift = (length * 64 * np.sin(studio.azimuth), length * 64 * np.cos(studio.azimuth))
        low = ndimage.gaussian_filter(ndimage.shift(low, shift, order=1), softness * 64)
        lattice = np.pad(low, ((1, 2), (1, 2)), mode="edge")
        # `spread` aims at unit variance; here the values themselves matter.
        shadow = noise.spread(lattice, size, True) / noise.spread(np.ones_like(lattice), size, True)
        shadow = np.clip(shadow * strength, 0, 0.95)[..., None]
        dark = self.backdrop * shadow
        self.rgb -= dark * (1 - self.solid[..., None])
        self.backdrop -= dark

    def spot(self, rng: np.random.Generator, margin: Number = 0.08) -> tuple[float, float]:
        """A random place (x, y) where a defect may lie."""
        size = self.studio.size
        for _ in range(60):
            x, y = margin + (1 - 2 * margin) * rng.random(2)
            if self.solid[int(y * size), int(x * size)] > 0.5:
                return float(x), float(y)
        rows, columns = np.nonzero(self.solid > 0.5)
        if not len(rows):
            return 0.5, 0.5
        k = rng.integers(len(rows))
        return (columns[k] + 0.5) / size, (rows[k] + 0.5) / size

    def contrast(self, x: Number, y: Number, radius: Number) -> float:
        """Standard deviation of the luminance around a place: how strong a defect must be."""
        size = self.studio.size
        r = max(radius, 0.04)
        rows = slice(max(0, int((y - r) * size)), int((y + r) * size) + 1)
        columns = slice(max(0, int((x - r) * size)), int((x + r) * size) + 1)
        return float(noise.brightness(self.rgb[rows, columns]).std())
