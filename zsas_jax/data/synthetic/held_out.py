"""Evaluation surfaces: drawn by other generators than any training surface."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.scene import Scene, Studio, ramp


def terrazzo(s: Studio) -> Scene:
    """Polygonal stone chips of several colours set in cement."""
    cement = ramp(0.5 + 0.12 * s.fbm(30, 3), s.grey(0.35, 0.5), s.grey(0.65, 0.9))
    scene = Scene(s, cement + 0.02 * s.grains()[..., None])
    n = s.cells(11)
    polygons = []
    for k in s.rng.permutation(n * n * 2):
        centre = np.array([(k % n) + s.between(0, 1), (k // n) / 2 + s.between(0, 1)]) / n
        sides = int(s.rng.integers(4, 8))
        angles = np.sort(s.rng.random(sides)) * 2 * np.pi
        radius = s.log_between(0.12, 0.55) / n * (0.7 + 0.5 * s.rng.random(sides))
        polygons.append(centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1))
    ids = noise.draw_ids(s.size, polygons)
    palette = [s.grey(0.1, 0.9, 0.08) for _ in range(3)]
    palette += [s.colour(saturation=(0.1, 0.45), value=(0.25, 0.9)) for _ in range(3)]
    table = np.array(palette, np.float32)[s.rng.integers(6, size=len(polygons) + 1)]
    chips = table[ids] * (1 + 0.06 * s.sheet(60))[..., None]
    np.copyto(scene.rgb, chips, where=(ids > 0)[..., None])
    scene.name_segments(ids)
    return scene


def perforated_sheet(s: Studio) -> Scene:
    """A painted metal sheet with a staggered pattern of punched round holes."""
    n = s.cells(9)
    v = s.y * n
    u = s.x * n * 0.9 + 0.5 * (np.floor(v) % 2) + np.zeros_like(v)
    radius = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    r, blur = s.between(0.22, 0.34), 1.5 * n / s.size
    paint = s.grey(0.4, 0.85, 0.06) if s.chance(0.6) else s.colour(value=(0.4, 0.85))
    behind = ramp(0.5 + 0.3 * s.fbm(3, 2), s.grey(0.0, 0.15), s.grey(0.1, 0.35))
    rim = noise.step(np.abs(radius - r - 0.03) - 0.02, blur)
    side = (u - np.floor(u) - 0.5) * np.cos(s.azimuth) + (v - np.floor(v) - 0.5) * np.sin(s.azimuth)
    tone = 0.85 + 0.03 * s.sheet(120) + 0.05 * s.fbm(3, 2) + 0.5 * rim * side / r
    rgb = paint * tone[..., None]
    hole = noise.step(radius - r, blur)[..., None]
    return Scene(s, rgb + hole * (behind - rgb))


def knitted_wool(s: Studio) -> Scene:
    """Stocking stitch: columns of V-shaped loops of fuzzy yarn."""
    n = s.cells(14)
    x, y = s.warped(0.004, 5)
    u, v = x * n, y * n * s.between(1.0, 1.3)
    fu = u - np.floor(u) - 0.5
    w = v + 1.1 * np.abs(fu)
    fw = w - np.floor(w) - 0.5
    loop = np.clip(1 - 3.2 * fw**2, 0, 1) * (1 - 1.6 * (np.abs(fu) - 0.25) ** 2)
    loop *= 0.55 + 0.45 * noise.ease(np.abs(fu) * 7)
    twist = np.sin(2 * np.pi * (w * 2 + np.sign(fu) * u * 3))
    t = loop * (0.75 + 0.07 * twist + 0.08 * s.sheet(200) + 0.05 * s.sheet(40))
    yarn = s.colour(saturation=(0.1, 0.7), value=(0.4, 0.95))
    rgb = np.clip(t, 0, 1.1)[..., None] * yarn
    if s.chance(0.4):
        stripe = np.sin(np.floor(v) * s.between(0.5, 1.2)) > 0.3
        rgb = np.where(stripe[..., None], rgb, rgb * s.colour(value=(0.7, 1.0)) * 1.3)
    return Scene(s, rgb)
