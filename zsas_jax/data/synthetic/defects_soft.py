"""Training defects of cloth-like and coated materials; same calling convention as `defects`."""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.defects import Drawn, blend, blob, sign_of, strength
from zsas_jax.data.synthetic.scene import Scene


def fray(scene: Scene, rng, size, severity) -> Drawn:
    """Pulled-out threads: a dishevelled tuft of short bent strands over a thinned patch."""
    x, y = scene.spot(rng)
    n = scene.studio.size
    heading, spread = rng.random() * 2 * np.pi, 0.3 + 0.9 * rng.random()
    shapes = []
    for _ in range(6 + int(30 * severity * min(1, size * 4))):
        start = np.array([x, y]) + rng.standard_normal(2) * size * 0.12
        angle = heading + spread * rng.standard_normal()
        length = size * (0.25 + 0.5 * rng.random())
        shapes.append(("line", noise.walk(rng, start, angle, length, 1.2, 10), 0.005))
    strands = noise.draw(n, shapes)
    halo = noise.draw(n, [(k, p, w * 2.6) for k, p, w in shapes])
    change = strength(scene, x, y, size, severity)
    tone = scene.rgb[int(min(y, 0.999) * n), int(min(x, 0.999) * n)]
    thread = tone + np.float32(sign_of(scene, rng, x, y) * change)
    shade = 1 + 0.15 * noise.sheet(rng, n, 120)[..., None]
    rgb = scene.rgb * (1 - (0.35 * halo * scene.solid)[..., None])
    rgb += (strands * scene.solid)[..., None] * (thread * shade - rgb)
    return rgb, halo * scene.solid


def fold(scene: Scene, rng, size, severity) -> Drawn:
    """A crease: a lit flank and a dark flank along a gently bent line."""
    s = scene.studio
    x, y = scene.spot(rng)
    size = max(size, 0.12)
    path = noise.walk(rng, (x, y), rng.random() * np.pi, size * 1.4, 0.8, 24)
    path += (x, y) - path.mean(0)
    width = (0.012 + 0.025 * rng.random()) * (0.6 + 0.6 * severity)
    taper = np.sin(np.linspace(0.25, np.pi - 0.25, 24))
    normal = np.gradient(path, axis=0)[:, ::-1] * (1, -1)
    normal *= width * 0.45 / np.linalg.norm(normal, axis=1, keepdims=True)
    lit = noise.draw(s.size, [("line", path + normal, width * taper)])
    dark = noise.draw(s.size, [("line", path - normal, width * taper)])
    soft = max(1.0, width * s.size * 0.15)
    tone = ndimage.gaussian_filter(lit - dark, soft)
    gain = np.float32(strength(scene, x, y, size, severity))
    cover = np.maximum(lit, dark)
    rgb, _ = blend(scene, np.clip(np.abs(tone) * 3, 0, 1), scene.rgb + gain * tone[..., None])
    return rgb, cover * scene.solid


def glue(scene: Scene, rng, size, severity) -> Drawn:
    """A clear smear: it flattens the texture, darkens a little and glints."""
    s = scene.studio
    x, y = scene.spot(rng)
    size = max(size, 0.05)
    cover, radius = blob(scene, rng, x, y, size, 1.0, 0.4 + 0.6 * rng.random(), rng.random() * 3)
    reach = max(3, s.size // 24)
    smooth = ndimage.uniform_filter(scene.rgb, reach, axes=(0, 1))
    height = np.sqrt(np.clip(1.05 - radius, 0, 1)) + 0.12 * noise.sheet(rng, s.size, 14)
    slope = noise.relief(height, s.azimuth, s.size) * np.float32(size / 2)
    shine = np.clip(slope - 0.35, 0, 0.8) * np.float32(0.25 + 0.5 * severity)
    tint = 1 - 0.25 * rng.random(3).astype(np.float32)
    change = strength(scene, x, y, size, severity) * 0.5
    film = (smooth * 0.6 + scene.rgb * 0.4) * tint - np.float32(change) + shine[..., None]
    return blend(scene, cover, film)


def rough_patch(scene: Scene, rng, size, severity) -> Drawn:
    """An area whose texture and tone are another material's, with a fractal outline."""
    s = scene.studio
    x, y = scene.spot(rng)
    size = max(size, 0.05)
    reach = np.hypot(s.x - x, s.y - y) * (2 / size)
    field = noise.fbm(rng, s.size, 1.5 / size + 2, 2)
    cover = noise.step(reach - 1 - 0.3 * field, 3 / (size * s.size))
    cells = 6 * (120 / 6) ** rng.random()
    across = cells * 8 ** rng.uniform(-1, 1)
    grain = noise.sheet(rng, s.size, cells, np.clip(across, 4, 250))
    if rng.random() < 0.3:
        grain = np.sign(grain) * 0.7
    change = strength(scene, x, y, size, severity)
    base = scene.rgb[int(min(y, 0.999) * s.size), int(min(x, 0.999) * s.size)]
    colour = base + np.float32(sign_of(scene, rng, x, y) * change * 0.7)
    colour = colour + 0.05 * rng.standard_normal(3).astype(np.float32)
    other = colour + np.float32(0.06 + 0.12 * rng.random()) * grain[..., None]
    return blend(scene, cover, other, 0.5 + 0.5 * severity)
