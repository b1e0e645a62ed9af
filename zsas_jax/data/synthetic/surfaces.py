"""Training surfaces: each function draws one defect-free surface that fills the picture."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.scene import Scene, Studio, ramp


def brushed_metal(s: Studio) -> Scene:
    """Long fine streaks along one direction, with a few bright and dark drawing lines."""
    streaks = s.sheet(s.between(2, 6), s.cells(110)) * 0.5 + s.sheet(s.between(8, 30), 250) * 0.5
    lines = np.maximum(s.sheet(s.between(3, 12), 240) - s.between(1.6, 2.4), 0)
    t = 0.5 + s.between(0.05, 0.16) * streaks + s.between(0.0, 0.3) * lines
    t += s.between(0.02, 0.08) * s.fbm(3, 2) + s.between(0.0, 0.05) * s.grains()
    return Scene(s, ramp(t, s.grey(0.0, 0.2), s.grey(0.5, 1.0)))


def cast_metal(s: Studio) -> Scene:
    """Rough casting skin: relief of fine bumps, cloudy tone."""
    height = s.fbm(s.cells(40), 3, 0.8)
    t = 0.5 + s.between(0.003, 0.008) * s.relief(height) * s.between(0.4, 1.2)
    t += s.between(0.03, 0.1) * s.fbm(3, 3) + s.between(0.01, 0.05) * s.grains()
    return Scene(s, ramp(t, s.grey(0.02, 0.2), s.grey(0.5, 0.95)))


def wood(s: Studio) -> Scene:
    """Year rings around a distant pith, bent by knots, with pores along the grain."""
    x, y = s.x + s.between(0.01, 0.05) * s.sheet(1.5, 4), s.y
    bend = np.zeros((s.size, s.size), np.float32)
    for _ in range(int(s.rng.integers(0, 3))):
        kx, ky, r = s.between(0, 1), s.between(0, 1), s.between(0.02, 0.07)
        q = ((s.x - kx) ** 2 + ((y - ky) * 0.5) ** 2) / r**2
        bend += s.between(0.5, 1.5) * np.exp(-q)
    rings = (x + 0.05 * s.sheet(1, 6)) * s.cells(16) + bend * 2
    saw = rings - np.floor(rings)
    t = 0.35 + s.between(0.15, 0.4) * saw**2 - 0.25 * np.clip(bend, 0, 1.2)
    t += s.between(0.03, 0.08) * s.sheet(12, 250) - s.between(0.03, 0.15) * (s.sheet(16, 250) > 1.7)
    hue = (8, 40)
    dark = s.colour(hue, (0.4, 0.75), (0.15, 0.4))
    return Scene(s, ramp(t, dark, s.colour(hue, (0.2, 0.55), (0.6, 0.95))))


def leather(s: Studio) -> Scene:
    """Grain cells lit from one side, with soft creases."""
    n = s.cells(34)
    x, y = s.warped(0.01, 6)
    first, second, _ = noise.cellular(s.rng, x * n, y * n * s.between(0.7, 1.0), 0.95)
    height = noise.ease((second - first) * s.between(1.5, 3)) + 0.4 * s.fbm(6, 2)
    t = 0.5 + s.between(0.15, 0.4) * s.relief(height) / n + s.between(0.02, 0.08) * s.fbm(3, 2)
    t += 0.12 * (height - 0.7)
    colour = s.colour((0, 40), (0.2, 0.8), (0.2, 0.75)) if s.chance(0.7) else s.colour()
    return Scene(s, ramp(t, colour * 0.25, np.minimum(colour * 1.6, 1)))


def stone(s: Studio) -> Scene:
    """Speckled granite: grains of three minerals over a cloudy ground."""
    n = s.cells(60)
    t = 0.5 + 0.12 * s.fbm(4, 3) + s.between(0.08, 0.16) * s.sheet(n) + 0.06 * s.sheet(200)
    rgb = ramp(t, s.grey(0.1, 0.35, 0.1), s.grey(0.4, 0.6, 0.1), s.grey(0.6, 0.9, 0.1))
    dark = noise.ease((s.sheet(n * 0.8) - s.between(0.9, 1.4)) * 3)[..., None]
    rgb += dark * (s.grey(0.02, 0.25) - rgb)
    warm = noise.ease((s.sheet(n * 0.5) - 1.2) * 3)[..., None] * s.between(0, 0.8)
    return Scene(s, rgb + warm * (s.colour((0, 40), (0.1, 0.5), (0.4, 0.8)) - rgb))


def fabric(s: Studio) -> Scene:
    """Plain, twill or basket weave of threads that vary in tone along their length."""
    n = s.cells(26)
    x, y = s.warped(s.between(0.0, 0.006), 5)
    u, v = x * n, y * n
    iu, iv = np.floor(u), np.floor(v)
    kind = s.rng.integers(3)
    if kind == 0:
        warp_on_top = (iu + iv) % 2 < 1
    elif kind == 1:
        warp_on_top = (iu + iv) % 4 < 2
    else:
        warp_on_top = (iu // 2 + iv // 2) % 2 < 1
    fu, fv = u - iu - 0.5, v - iv - 0.5
    depth = s.between(0.5, 1.6)
    up = np.where(warp_on_top, 1 - depth * fu**2 * 2, 1 - depth * fv**2 * 2)
    up *= 1 - 0.8 * np.where(warp_on_top, fv**2, fu**2)
    fibres = np.where(warp_on_top, s.sheet(4 * n, n), s.sheet(n, 4 * n))
    fuzz = np.where(warp_on_top, s.sheet(n, 250), s.sheet(250, n))
    t = up * (0.7 + s.between(0.05, 0.22) * fibres + s.between(0.03, 0.1) * fuzz)
    first = s.colour(value=(0.3, 0.9)) if s.chance(0.6) else s.grey(0.3, 0.9)
    other = first if s.chance(0.5) else s.colour(value=(0.3, 0.9))
    rgb = np.where(warp_on_top[..., None], first, other) * np.clip(t, 0, 1.2)[..., None]
    return Scene(s, rgb + 0.03 * s.fbm(3, 2)[..., None])


def carpet(s: Studio) -> Scene:
    """Pile tufts: strong fine noise with shadows between, sometimes striped or melange."""
    n = s.cells(90)
    t = 0.5 + s.between(0.08, 0.16) * s.sheet(n) + 0.08 * s.sheet(200) + 0.05 * s.fbm(4, 2)
    if s.chance(0.5):
        t += s.between(0.04, 0.12) * np.sin(2 * np.pi * s.cells(30) * s.y + 0.4 * s.sheet(12))
    a = s.colour(saturation=(0.1, 0.7), value=(0.1, 0.3))
    rgb = ramp(t, a, s.colour(saturation=(0.05, 0.5), value=(0.6, 0.95)))
    if s.chance(0.4):
        rgb += (s.sheet(n * 0.7) > 1.2)[..., None] * 0.25 * (s.colour() - 0.5)
    return Scene(s, rgb)


def grid(s: Studio) -> Scene:
    """A wire mesh over a dark or light ground: its openings are normal structure."""
    n = s.cells(9)
    angle = s.choose(0.0, 0.0, np.pi / 4)
    x, y = s.rotated(angle)
    x, y = x + 0.004 * s.sheet(4), y + 0.004 * s.sheet(4)
    u, v = x * n, y * n * s.between(0.6, 1.0)
    du = np.abs(u - np.floor(u) - 0.5)
    dv = np.abs(v - np.floor(v) - 0.5)
    half, blur = s.between(0.08, 0.2), 1.5 * n / s.size
    a, b = noise.step(du - half, blur), noise.step(dv - half, blur)
    over = ((np.floor(u) + np.floor(v)) % 2 < 1).astype(np.float32)
    ground = ramp(0.5 + 0.2 * s.fbm(3, 3) + 0.05 * s.grains(), s.grey(0.0, 0.3), s.grey(0.1, 0.7))
    wire = s.grey(0.4, 0.95, 0.06) if s.chance(0.7) else s.colour(value=(0.5, 0.9))
    tone = 1 + 0.05 * s.sheet(100)
    rgb = ground * (1 - 0.5 * np.maximum(a, b))[..., None]
    for cover, d in ((a, du), (b * np.where(a > 0.5, over, 1), dv)):
        body = (tone * (1 - 0.7 * (d / half) ** 2))[..., None] * wire
        rgb += cover[..., None] * (body - rgb)
    return Scene(s, rgb)
