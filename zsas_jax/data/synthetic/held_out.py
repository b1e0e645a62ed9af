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


def cardboard(s: Studio) -> Scene:
    """Corrugated board: broad soft waves under a fibrous brown liner with flecks."""
    n = s.cells(18)
    bend = 0.15 * s.sheet(3)
    wave = np.cos(2 * np.pi * (s.y * n + bend))
    height = 0.5 + 0.5 * np.clip(wave * s.between(1.0, 2.0), -1, 1)
    t = 0.5 + s.between(0.05, 0.14) * np.clip(s.relief(height) / n, -2, 2) * 0.5
    t += s.between(0.04, 0.1) * wave + 0.03 * s.sheet(60, 12) + 0.03 * s.grains()
    flecks = np.clip(s.sheet(180, 60) - 2.0, 0, 1) * s.between(0.1, 0.4)
    kraft = np.array([0.72, 0.55, 0.36], np.float32) * s.between(0.7, 1.2)
    rgb = ramp(np.clip(t, 0, 1), kraft * 0.45, np.minimum(kraft * 1.4, 1))
    return Scene(s, rgb * (1 - flecks)[..., None])


def asphalt(s: Studio) -> Scene:
    """Stones of many sizes packed in bitumen, each with a lit and a dark side."""
    n = s.cells(26)
    x, y = s.warped(0.004, 12)
    first, second, owner = noise.cellular(s.rng, x * n, y * n, 1.0)
    size = (0.15 + 0.4 * s.rng.random(int(owner.max()) + 1)).astype(np.float32)[owner]
    tone = s.between(0.25, 0.5) + 0.13 * s.rng.standard_normal(int(owner.max()) + 1)
    d = np.maximum(first - size, 0.06 - (second - first))
    cover = noise.ease(-d / 0.12)
    slope = s.relief(cover) / n
    t = 0.16 + cover * (tone.astype("f4")[owner] - 0.1) + 0.08 * slope + 0.05 * s.sheet(200)
    rgb = np.clip(t, 0, 1)[..., None] * s.grey(0.9, 1.2, 0.04)
    scene = Scene(s, rgb)
    scene.name_segments(np.where(d < -0.03, owner + 1, 0))
    return scene


def marble(s: Studio) -> Scene:
    """Polished marble: thin veins where folded noise crosses zero, over clouds."""
    wx, wy = s.x + 0.12 * s.sheet(3), s.y + 0.12 * s.sheet(3)
    veins = np.zeros((s.size, s.size), np.float32)
    for cells, weight in ((2, 1.0), (4, 0.6), (9, 0.35)):
        phase = np.sin(
            2 * np.pi * cells * (wx * 0.6 + wy * s.between(-0.8, 0.8)) + 2.2 * s.fbm(4, 3)
        )
        veins += weight * np.exp(-np.abs(phase) * s.between(6, 14))
    base, vein = s.grey(0.65, 0.92, 0.06), s.grey(0.15, 0.5, 0.12)
    if s.chance(0.4):
        base, vein = s.colour(saturation=(0.1, 0.4), value=(0.15, 0.4)), s.grey(0.6, 0.9)
    rgb = base * (1 + 0.06 * s.fbm(3, 4))[..., None]
    return Scene(s, rgb + np.clip(veins * s.between(0.4, 0.9), 0, 1)[..., None] * (vein - rgb))


def rattan(s: Studio) -> Scene:
    """Cane work: six-sided openings between crossing strands."""
    n = s.cells(7)
    cover = np.zeros((s.size, s.size), np.float32)
    tone = np.zeros_like(cover)
    for k, angle in enumerate((0.0, np.pi / 3, -np.pi / 3)):
        across = (s.x * np.cos(angle) + s.y * np.sin(angle)) * n * 1.15 + 0.02 * s.sheet(4)
        along = (s.y * np.cos(angle) - s.x * np.sin(angle)) * n
        f = np.abs(across - np.floor(across) - 0.5)
        strand = noise.step(f - 0.17, 1.5 * n / s.size)
        turn = np.cos(np.pi * (2.3 * along + np.floor(across) + k))
        shade = (0.85 + 0.15 * turn) * (1 - 2.2 * f) + 0.06 * s.sheet(220)
        over = strand * ((turn > 0) | (cover < 0.5))
        tone += over * (shade - tone)
        cover = np.maximum(cover, strand)
    cane = s.colour((42, 58), (0.25, 0.55), (0.6, 0.95))
    below = s.grey(0.03, 0.25) * (1 + 0.2 * s.fbm(4, 3))[..., None]
    return Scene(s, below + cover[..., None] * (cane * tone[..., None] * 1.15 - below))


def solar_cell(s: Studio) -> Scene:
    """Blue-black crystalline silicon with printed silver fingers and bus bars."""
    n = s.cells(5)
    _, _, owner = noise.cellular(s.rng, s.x * n, s.y * n * 1.0, 1.0)
    facet = s.rng.random(int(owner.max()) + 1).astype(np.float32)[owner]
    t = 0.35 + s.between(0.1, 0.4) * (facet - 0.5) + 0.05 * s.sheet(3, 200) + 0.02 * s.grains()
    rgb = ramp(np.clip(t, 0, 1), s.grey(0.02, 0.1), s.colour((222, 238), (0.4, 0.8), (0.4, 0.8)))
    fingers = s.cells(36)
    f = np.abs(s.y * fingers % 1 - 0.5) - 0.1
    bars = np.abs(s.x * s.choose(2, 3, 4) % 1 - 0.5) - s.between(0.02, 0.04)
    silver = np.maximum(
        noise.step(f, 1.5 * fingers / s.size) * 0.5 + 0 * s.x,
        noise.step(bars, 4.5 / s.size) + 0 * s.y,
    )
    return Scene(s, rgb + (silver * 0.9)[..., None] * (s.grey(0.6, 0.85) - rgb))
