"""The camera: view, light, borders, blur, tone, noise and JPEG. None of it is ever labelled."""

import io

import numpy as np
from PIL import Image, ImageFilter

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Studio


def _homography(source: np.ndarray) -> tuple[float, ...]:
    """Coefficients that send the unit square's corners to `source` [4, 2], as Pillow wants them."""
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows), np.array(values)))


def mostly_covered(values: np.ndarray) -> np.ndarray:
    """Pixels of a cover (uint8) of more than half; of what is thinner everywhere, the thickest."""
    return values > max(0, min(127, int(values.max()) - 1))


class Camera:
    """One photo's way of being taken; the same for the picture with and without its defect."""

    def __init__(self, studio: Studio, size: int, grey: Number, border: Number, is_object: bool):
        s = self.studio = studio
        self.size = size
        self.coefficients = self._view(is_object)
        self.grey = s.chance(grey)
        self.gain = self._light(border)
        self.blur = s.log_between(0.0008, 0.0045) if s.chance(0.5) else 0.0
        self.gamma = s.between(0.8, 1.25)
        self.target = s.log_between(0.28, 0.75)
        self.exposure = 1.0
        self.balance = (1 + 0.05 * s.rng.standard_normal(3)).astype(np.float32)
        self.noise = s.log_between(0.002, 0.025)
        self.grains = noise.grains(s.rng, s.size)
        self.dust = self._dust()
        self.low_resolution = s.between(0.4, 0.8) if s.chance(0.12) else 1.0
        self.jpeg = int(s.value("jpeg_quality")) if s.chance(0.75) else None

    def _view(self, is_object: bool) -> tuple[float, ...]:
        """A quarter turn, a mirror image, a small roll and an off-axis view inside the canvas."""
        s = self.studio
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        if s.chance(0.5):
            corners = corners[[1, 0, 3, 2]]
        corners = np.roll(corners, int(s.rng.integers(4)), axis=0)
        if s.chance(0.6):
            roll = np.deg2rad(s.value("roll"))
            shrink = 1 / (abs(np.cos(roll)) + abs(np.sin(roll)))
            if not is_object:
                shrink *= s.between(0.85, 1.0)
            c, q = np.cos(roll), np.sin(roll)
            corners = (corners - 0.5) @ np.array([[c, q], [-q, c]]) * shrink + 0.5
        if s.chance(0.5):
            tilt = s.value("tilt")
            corners += (0.5 - corners) * 2 * tilt * s.rng.random((4, 2))
        return _homography(corners)

    def _light(self, border: Number) -> np.ndarray:
        """Light [size, size]: a gradient, a vignette, a soft hot spot, marks along the border."""
        s = self.studio
        angle = s.rng.random() * 2 * np.pi
        slope = s.between(0, 0.35) if s.chance(0.6) else 0.0
        dx, dy = s.x - 0.5, s.y - 0.5
        gain = 1 + slope * (dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle)))
        gain = gain - s.value("vignette") * 2 * (dx**2 + dy**2)
        if s.chance(0.3):
            gain = gain + s.between(0.03, 0.15) * s.sheet(2)
        if s.chance(0.2):
            q = ((s.x - s.between(0, 1)) ** 2 + (s.y - s.between(0, 1)) ** 2) / s.between(0.05, 0.3)
            gain = gain + s.between(0.1, 0.3) * np.exp(-q)
        if s.chance(border):
            for side in range(4):
                if s.chance(0.5):
                    gain = gain * self._border(side)
        return gain.astype(np.float32)

    def _border(self, side: int) -> np.ndarray:
        """A dark or bright strip along one side with a wavy, soft inner limit."""
        s = self.studio
        across = s.x if side < 2 else s.y
        across = across if side % 2 else 1 - across
        wave = s.between(0.0, 0.015) * noise.profile(s.rng, s.size, s.between(2, 9))
        wave = (wave[:, None] if side < 2 else wave[None, :]).astype(np.float32)
        depth = s.log_between(0.008, 0.09)
        level = s.between(0.12, 0.7) if s.chance(0.8) else s.between(1.15, 1.5)
        edge = noise.step(across + wave - depth, s.log_between(0.006, 0.05))
        return 1 + (level - 1) * edge

    def _dust(self) -> np.ndarray | None:
        """Faint specks and hairs, too weak and small to count as a defect."""
        s = self.studio
        if not s.chance(0.4):
            return None
        shapes = []
        for _ in range(int(s.rng.integers(1, 12))):
            x, y = s.rng.random(2)
            if s.chance(0.8):
                path = np.array([[x, y], [x + 0.003, y + 0.002]])
            else:
                path = noise.walk(s.rng, (x, y), s.rng.random() * 6, 0.05, 1.5, 8)
            shapes.append(("line", path, s.between(0.002, 0.006)))
        return noise.draw(s.size, shapes) * np.float32(s.between(-0.08, 0.08))

    def view(self, image: Image.Image, resample=Image.Resampling.BILINEAR) -> Image.Image:
        """Warps a canvas picture into the photo's frame, still at the canvas's resolution."""
        n = image.size[0]
        a, b, c, d, e, f, g, h = self.coefficients
        pixels = (a, b, c * n, d, e, f * n, g / n, h / n)
        # Pillow maps pixel centres (x + 0.5, y + 0.5), which is the unit frame times n.
        return image.transform((n, n), Image.Transform.PERSPECTIVE, pixels, resample)

    def expose(self, rgb: np.ndarray) -> None:
        """Sets the exposure for a scene: a mean brightness to aim at, hardly any clipping."""
        coarse = noise.largest(rgb[::4, ::4])
        bright = float(np.quantile(coarse, 0.97) * np.quantile(self.gain[::4, ::4], 0.9))
        wanted = self.target / max(float(coarse.mean()), 0.02)
        self.exposure = float(np.clip(min(wanted, 1.0 / max(bright, 0.05)), 0.45, 3.0))

    def photo(self, rgb: np.ndarray) -> np.ndarray:
        """The photo uint8 [size, size, 3] of a scene float32 [canvas, canvas, 3]."""
        image = self.view(Image.fromarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)))
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur * image.size[0]))
        values = np.asarray(image, np.float32) / 255
        if self.grey:
            values = values @ np.array([0.299, 0.587, 0.114], np.float32)
            values = np.repeat(values[..., None], 3, -1)
        else:
            values = values * self.balance
        values = values * (self.gain * self.exposure)[..., None]
        if self.dust is not None:
            values = values + self.dust[..., None]
        if self.gamma != 1:
            values = np.clip(values, 0, 1) ** np.float32(self.gamma)
        values = values + (self.noise * self.grains)[..., None]
        image = Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))
        if self.low_resolution < 1:
            small = max(16, round(self.low_resolution * image.size[0]))
            image = image.resize((small, small), Image.Resampling.BILINEAR)
        if image.size[0] != self.size:
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if self.jpeg is not None:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=self.jpeg)
            image = Image.open(buffer)
        return np.asarray(image.convert("RGB"))

    def mask(self, cover: np.ndarray) -> np.ndarray:
        """A cover float32 [canvas, canvas] seen in the photo, bool [size, size]: more than half."""
        image = self.view(Image.fromarray((np.clip(cover, 0, 1) * 255 + 0.5).astype(np.uint8)))
        if image.size[0] != self.size:
            image = image.resize((self.size, self.size), Image.Resampling.BOX)
        return mostly_covered(np.asarray(image))

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """An id map int32 [canvas, canvas] seen in the photo, [size, size]."""
        nearest = Image.Resampling.NEAREST
        image = self.view(Image.fromarray(ids.astype(np.int32)), nearest)
        return np.asarray(image.resize((self.size, self.size), nearest), np.int32)
