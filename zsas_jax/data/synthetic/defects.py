"""Training defects: each draws over a finished scene and says exactly which pixels it covers.

A drawing function takes (scene, rng, size, severity) and gives the new picture and its cover,
both on the whole canvas; `size` is the extent as a fraction of the side, `severity` 0 to 1.
"""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Part, Scene

Drawn = tuple[np.ndarray, np.ndarray]

_MANY = 4  # parts of a picture, from which one that is unlike the others stands out


def blob(scene: Scene, rng, x, y, size, roughness=0.35, aspect=1.0, angle=0.0, soft=1.5):
    """Cover of an irregular patch about `size` across, and its normalised radius."""
    s = scene.studio
    dx, dy = s.x - np.float32(x), s.y - np.float32(y)
    c, q = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (c * dx + q * dy) * (2 / size), (c * dy - q * dx) * (2 / (size * aspect))
    radius = np.hypot(u, v)
    lobes = rng.standard_normal((2, 7)) / np.arange(1, 8) ** 0.8
    theta = np.arctan2(v, u)
    bins = np.linspace(-np.pi, np.pi, 129)
    waves = np.arange(1, 8)[:, None] * bins
    outline = (lobes[0] @ np.cos(waves) + lobes[1] @ np.sin(waves)) * roughness * 0.2
    edge = np.interp(theta.ravel(), bins, np.clip(1 + outline, 0.5, 1.6)).reshape(theta.shape)
    radius = (radius / edge).astype(np.float32)
    ragged = noise.sheet(rng, s.size, np.clip(3 / size, 3, 60))
    radius += np.float32(0.28 * roughness) * ragged * np.clip(radius * 2 - 0.6, 0, 1)
    return noise.step(radius - 1, soft * 2 / (size * s.size * min(1, aspect))), radius


def blend(scene: Scene, cover: np.ndarray, colour: np.ndarray, opacity=1.0) -> Drawn:
    """Composites over the solid part of the scene."""
    cover = cover * scene.solid
    return scene.rgb + (cover * opacity)[..., None] * (colour - scene.rgb), cover


def strength(scene: Scene, x, y, size, severity: Number) -> float:
    """Change of luminance that is visible against the local texture, more where severe."""
    return (0.07 + 0.22 * severity) + 0.6 * scene.contrast(x, y, size / 2)


def sign_of(scene: Scene, rng, x, y) -> float:
    """Darker or lighter, whichever the local tone leaves room for."""
    n = scene.studio.size
    tone = float(scene.rgb[min(int(y * n), n - 1), min(int(x * n), n - 1)].mean())
    return -1.0 if rng.random() < np.clip(tone * 1.3, 0.1, 0.9) else 1.0


def scratch(scene: Scene, rng, size, severity) -> Drawn:
    """One to four thin, nearly straight lines, bright or dark, fading along their length."""
    x, y = scene.spot(rng)
    heading, shapes = rng.random() * np.pi, []
    for _ in range(1 + int(rng.integers(4)) * (rng.random() < 0.5)):
        start = np.array([x, y]) + rng.standard_normal(2) * 0.06 * size
        length = size * (0.6 + 0.8 * rng.random())
        path = noise.walk(rng, start, heading + 0.1 * rng.standard_normal(), length, 0.3)
        path -= (path[-1] - path[0]) / 2
        shapes.append(("line", path, (0.005 + 0.009 * rng.random()) * (0.6 + 0.8 * severity)))
    cover = noise.draw(scene.studio.size, shapes)
    change = sign_of(scene, rng, x, y) * (strength(scene, x, y, size, severity) + 0.05)
    return blend(scene, cover, scene.rgb + np.float32(change))


def crack(scene: Scene, rng, size, severity) -> Drawn:
    """A jagged dark line that branches and thins out."""
    x, y = scene.spot(rng)
    heading = rng.random() * 2 * np.pi
    width = (0.006 + 0.014 * severity) * (0.6 + 0.9 * rng.random())
    stack, shapes = [(np.array([x, y]), heading, size * 1.2, width, 0)], []
    while stack:
        start, angle, length, thick, depth = stack.pop()
        path = noise.walk(rng, start, angle, length, 2.0, 16)
        if depth == 0:
            path -= (path[-1] - path[0]) / 2
        shapes.append(("line", path, np.linspace(thick, thick * 0.3, 16)))
        if depth < 2:
            for _ in range(int(rng.integers(0, 3))):
                k = int(rng.integers(3, 14))
                turn = (0.5 + 0.6 * rng.random()) * (1 if rng.random() < 0.5 else -1)
                stack.append((path[k], angle + turn, length * 0.45, thick * 0.6, depth + 1))
    cover = noise.draw(scene.studio.size, shapes)
    dark = scene.rgb * np.float32(0.75 - 0.5 * severity) - 0.3 * strength(scene, x, y, size, 0)
    return blend(scene, cover, dark)


def hole(scene: Scene, rng, size, severity) -> Drawn:
    """A deep opening with a lit rim on one side."""
    size = min(size, 0.3)
    x, y = scene.spot(rng)
    cover, radius = blob(scene, rng, x, y, size, 0.3 + 0.5 * rng.random(), 0.6 + 0.4 * rng.random())
    inside = np.float32(0.02 + 0.2 * rng.random()) * (
        1 + 0.3 * noise.sheet(rng, scene.studio.size, 20)
    )
    deep = np.broadcast_to(inside[..., None], scene.rgb.shape)
    side = (scene.studio.x - x) * np.cos(scene.studio.azimuth)
    side = side + (scene.studio.y - y) * np.sin(scene.studio.azimuth)
    rim = noise.ease((radius - 0.72) * 6) * np.float32(0.25) * np.clip(side / size * 4, -1, 1)
    return blend(scene, cover, deep + rim[..., None], 0.55 + 0.45 * severity)


def stain(scene: Scene, rng, size, severity) -> Drawn:
    """A see-through spill with a darker rim, of any colour."""
    x, y = scene.spot(rng)
    cover, radius = blob(scene, rng, x, y, size, 0.9, 0.5 + 0.5 * rng.random(), rng.random() * 3)
    colour = rng.random(3).astype(np.float32) * 0.6 + 0.35
    colour /= colour.max()
    dark = 1 - strength(scene, x, y, size, severity)
    rim = 1 - 0.25 * rng.random() * np.exp(-(((radius - 0.93) / 0.06) ** 2))
    film = scene.rgb * colour * np.float32(dark) * rim[..., None].astype(np.float32)
    return blend(scene, cover, film, 0.9)


def discoloration(scene: Scene, rng, size, severity) -> Drawn:
    """A soft-edged patch of another tone and tint."""
    x, y = scene.spot(rng)
    _, radius = blob(scene, rng, x, y, size, 0.6, 0.5 + 0.5 * rng.random(), rng.random() * 3)
    tint = rng.standard_normal(3).astype(np.float32) * 0.06 * (0.4 + severity)
    change = sign_of(scene, rng, x, y) * strength(scene, x, y, size, severity) * 0.85
    soft = noise.ease((1.35 - radius) / 0.6)
    shifted = scene.rgb + tint + np.float32(change)
    rgb, _ = blend(scene, soft, shifted)
    return rgb, soft * scene.solid


def dent(scene: Scene, rng, size, severity) -> Drawn:
    """A hollow seen only by its shading: dark towards the light, bright away from it."""
    size = max(min(size, 0.35), 0.06)
    x, y = scene.spot(rng)
    cover, radius = blob(scene, rng, x, y, size, 0.25, 0.4 + 0.6 * rng.random(), rng.random() * 3)
    height = -(np.clip(1 - radius**2, 0, 1) ** 1.5)
    slope = noise.relief(height, scene.studio.azimuth, scene.studio.size) * np.float32(size / 4)
    gain = 1.6 * strength(scene, x, y, size, severity)
    return blend(scene, cover, scene.rgb + np.float32(gain) * slope[..., None])


def chip(scene: Scene, rng, size, severity) -> Drawn:
    """Material broken off at an edge: of an object, or at the border of the picture."""
    s, size = scene.studio, min(size, 0.3)
    if scene.is_object:
        solid = scene.solid > 0.5
        rim = solid & np.logical_not(ndimage.binary_erosion(solid, border_value=1))
        rows, columns = np.nonzero(rim)
        if not len(rows):
            return scene.rgb, np.zeros_like(scene.solid)
        # The nearest to a random place: the same at every resolution.
        x, y = scene.spot(rng)
        k = np.argmin((columns + 0.5 - x * s.size) ** 2 + (rows + 0.5 - y * s.size) ** 2)
        x, y = (columns[k] + 0.5) / s.size, (rows[k] + 0.5) / s.size
        fresh = scene.backdrop
    else:
        x, y = rng.random(), float(rng.integers(2))
        if rng.random() < 0.5:
            x, y = y, x
        fresh = np.float32(0.05 + 0.3 * rng.random()) * (
            1 + 0.3 * noise.fbm(rng, s.size, 12, 3)[..., None]
        )
    cover, radius = blob(scene, rng, x, y, size, 0.9, 0.4 + 0.6 * rng.random(), rng.random() * 3)
    if rng.random() < 0.5:
        facet = 0.12 * noise.fbm(rng, s.size, 25, 2) + 0.25 * (rng.random() - 0.4)
        broken = scene.rgb.mean((0, 1)) * 0.4 + scene.rgb * 0.6 + facet[..., None]
        inner = noise.ease((1.0 - radius) * 4)[..., None]
        fresh = broken * (1 - inner) + fresh * inner
    return blend(scene, cover, fresh, 0.6 + 0.4 * severity)


def wear(scene: Scene, rng, size, severity) -> Drawn:
    """A rubbed patch: the texture is blurred away and paler."""
    size = max(size, 0.08)
    x, y = scene.spot(rng)
    cover, _ = blob(scene, rng, x, y, size, 0.8, 0.4 + 0.6 * rng.random(), rng.random() * 3)
    smooth = ndimage.uniform_filter(scene.rgb, scene.studio.size // 20, axes=(0, 1))
    change = sign_of(scene, rng, x, y) * strength(scene, x, y, size, severity) * 0.6
    worn = smooth + np.float32(change) + 0.03 * noise.sheet(rng, scene.studio.size, 120)[..., None]
    return blend(scene, cover, worn, 0.55 + 0.4 * severity)


def missing_part(scene: Scene, rng, size, severity) -> Drawn:
    """One of the object's parts is gone; what lies below it shows, mostly with the part's seat.

    Without a seat, only a place that is empty among many says that something is missing: nobody can
    tell a cap that lost its emblem from a plain one.
    """
    cover, rgb = np.zeros_like(scene.solid), scene.rgb.copy()
    if not scene.parts:
        return rgb, cover
    part = scene.parts[int(rng.integers(len(scene.parts)))]
    below = part.under
    if len(scene.parts) < _MANY or rng.random() < 0.7:
        below = below + _seat(scene, part, rng, severity)
    rgb[part.window] += part.alpha[..., None] * (below - rgb[part.window])
    cover[part.window] = part.alpha
    return rgb, cover


def _seat(scene: Scene, part: Part, rng, severity: Number) -> np.ndarray:
    """What a part leaves where it sat, [h, w, 1]: a hollow with lit and dark sides, dull, rough."""
    n = scene.studio.size
    margin = max(2, n // 64)
    plain = np.pad(part.alpha, margin)
    depth = ndimage.gaussian_filter(plain, n * rng.uniform(0.003, 0.008))
    slope = noise.relief(-depth, scene.studio.azimuth, n / noise.BASE)
    slope = slope[margin:-margin, margin:-margin] * rng.uniform(1.0, 2.5) * (0.4 + severity)
    rough = noise.sheet(rng, n, np.exp(rng.uniform(*np.log([15, 120]))))[part.window]
    dull = rng.uniform(-0.05, 0.12) * severity
    return (slope + np.float32(rng.uniform(0.01, 0.06)) * rough - np.float32(dull))[..., None]


def wrong_part(scene: Scene, rng, size, severity) -> Drawn:
    """A part too many, lying where none belongs; or, among several, one in another colour."""
    rgb, cover = scene.rgb.copy(), np.zeros_like(scene.solid)
    if not scene.parts:
        return rgb, cover
    part = scene.parts[int(rng.integers(len(scene.parts)))]
    if len(scene.parts) >= _MANY and rng.random() < 0.5:
        x, y = ((edge.start + edge.stop) / 2 / len(rgb) for edge in part.window[::-1])
        tint = 0.1 * rng.standard_normal(3).astype(np.float32)
        change = sign_of(scene, rng, x, y) * strength(scene, x, y, size, severity)
        rgb[part.window] += part.alpha[..., None] * (tint + np.float32(change))
        cover[part.window] = part.alpha
        return rgb, cover
    x, y = scene.spot(rng)
    angle, scale = rng.random() * 2 * np.pi, np.exp(rng.uniform(-0.3, 0.3))
    n, (height, width) = scene.studio.size, part.alpha.shape
    dx, dy = (scene.studio.x - x) * n / scale, (scene.studio.y - y) * n / scale
    columns = np.cos(angle) * dx + np.sin(angle) * dy + width / 2
    rows = np.cos(angle) * dy - np.sin(angle) * dx + height / 2
    layer = np.concatenate([part.over, part.alpha[..., None]], -1)
    layer = noise.resample(np.pad(layer, ((1, 1), (1, 1), (0, 0))), rows + 0.5, columns + 0.5)
    cover = layer[..., 3] * scene.solid
    shadow = ndimage.shift(cover, 0.012 * n * np.array([-1, 1]), order=1)
    rgb *= 1 - np.float32(0.3) * (shadow * scene.solid)[..., None]
    rgb += cover[..., None] * (layer[..., :3] - rgb)
    return rgb, cover
