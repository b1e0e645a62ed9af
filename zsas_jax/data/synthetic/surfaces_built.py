"""Training surfaces made or coated by people: tiles, paper, plastic, prints, paint, concrete."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.markings import strokes
from zsas_jax.data.synthetic.scene import Scene, Studio, ramp


def tile(s: Studio) -> Scene:
    """Square or running-bond tiles, each with its own tone, and recessed grout."""
    n = s.cells(4)
    v = s.y * n * s.between(0.8, 1.6)
    u = s.x * n + s.choose(0.0, 0.5, 0.33) * np.floor(v)
    row, column = np.floor(v), np.floor(u)
    fu, fv = np.abs(u - column - 0.5), np.abs(v - row - 0.5) + np.zeros_like(u)
    gap = s.between(0.015, 0.05)
    d = np.maximum(fu, fv) - (0.5 - gap)
    body = s.grey(0.5, 0.9, 0.06) if s.chance(0.5) else s.colour(value=(0.3, 0.85))
    rows, columns = row.astype(int), column.astype(int)
    ids = rows * (int(columns.max()) + 1) + columns + 1
    own = 1 + s.between(0.0, 0.12) * s.rng.standard_normal(int(ids.max()) + 1).astype(np.float32)
    cloud = s.between(0.01, 0.1) * s.fbm(s.cells(8), 4) + s.between(0.0, 0.04) * s.sheet(150)
    height = noise.ease(-d / 0.06)
    slope = s.relief(height) / n
    rgb = body * (own[ids] * (0.9 + cloud) + 0.06 * slope)[..., None]
    grout = s.grey(0.15, 0.75, 0.05) * (1 + 0.08 * s.sheet(120))[..., None]
    cover = noise.step(d, 1.5 * n / s.size)
    scene = Scene(s, grout + cover[..., None] * (rgb - grout))
    scene.name_segments(np.where(cover > 0.5, ids, 0))
    return scene


def paper(s: Studio) -> Scene:
    """Paper with faint fibres; plain, ruled, or printed with lines of text."""
    base = (
        s.grey(0.65, 0.97, 0.04) if s.chance(0.7) else s.colour((0, 100), (0.1, 0.4), (0.6, 0.95))
    )
    t = 1 + 0.025 * s.fbm(40, 3) + s.between(0, 0.02) * s.grains() + 0.02 * s.fbm(3, 2)
    scene = Scene(s, base * t[..., None])
    ink, kind = s.grey(0.05, 0.45, 0.2), s.rng.integers(4)
    if kind == 1:
        n = s.cells(14)
        line = np.abs(s.y * n - np.floor(s.y * n) - 0.5) - 0.03
        cover = noise.step(line, 1.5 * n / s.size) * s.between(0.3, 0.8) + 0 * s.x
        scene.rgb += cover[..., None] * (ink - scene.rgb)
    elif kind >= 2:
        cover = noise.draw(s.size, text_lines(s, s.cells(11)))
        scene.rgb += (cover * s.between(0.5, 0.95))[..., None] * (ink - scene.rgb)
    return scene


def text_lines(s: Studio, lines: int) -> list:
    """Strokes of made-up letters in `lines` rows over the whole picture."""
    pitch = 1 / lines
    height, width = pitch * s.between(0.4, 0.6), pitch * s.between(0.3, 0.5)
    thick, shapes = pitch * s.between(0.04, 0.1), []
    for row in range(lines):
        count = int((s.between(0.3, 1.0) if s.chance(0.2) else 1.0) / width)
        origin = (pitch * 0.4, (row + 0.25) * pitch)
        letters = strokes(s, count, width * 0.8, height, width)
        shapes += [("line", letter + origin, thick) for letter in letters]
    return shapes


def plastic(s: Studio) -> Scene:
    """A moulded panel: smooth or finely textured, with ribs, a parting line or an embossed ring."""
    colour = s.colour(value=(0.1, 0.95)) if s.chance(0.6) else s.grey(0.05, 0.95)
    height = s.between(0.0, 0.02) * s.sheet(s.cells(110))
    for _ in range(int(s.rng.integers(0, 4))):
        kind = s.rng.integers(3)
        if kind == 0:
            d = np.abs(s.x - s.between(0.05, 0.95)) - s.between(0.002, 0.02) + 0 * s.y
        elif kind == 1:
            q = np.hypot(s.x - s.between(0, 1), s.y - s.between(0, 1))
            d = np.abs(q - s.between(0.08, 0.4)) - s.between(0.003, 0.015)
        else:
            d = noise.box_distance(
                s.x - s.between(0.2, 0.8), s.y - s.between(0.2, 0.8), 0.3, s.between(0.1, 0.3), 0.05
            )
        height = height + s.between(-1, 1) * noise.ease(-d / 0.012) * 0.5
    if s.chance(0.25):
        height = height + 0.15 * np.sin(2 * np.pi * s.cells(12) * s.x) + 0 * s.y
    tone = 0.85 + 0.004 * np.clip(s.relief(height), -60, 60) + 0.02 * s.fbm(2, 2)
    gloss = s.between(0, 0.25) * noise.ease(1 - np.abs(s.x + 0.3 * s.y - s.between(0.2, 1)) * 4)
    return Scene(s, colour * tone[..., None] + gloss[..., None])


def concrete(s: Studio) -> Scene:
    """Cloudy cement with sand grains, formwork lines and a few faint pores."""
    t = 0.5 + s.between(0.06, 0.16) * s.fbm(3, 5, 0.6) + s.between(0.02, 0.07) * s.grains()
    t += s.between(0.02, 0.06) * s.sheet(90)
    if s.chance(0.4):
        for _ in range(int(s.rng.integers(1, 4))):
            line = np.abs(s.y - s.between(0, 1) + 0.003 * s.sheet(6)) - 0.003
            t -= s.between(0.05, 0.2) * noise.step(line, 0.004)
    if s.chance(0.5):
        t -= 0.12 * noise.ease((s.sheet(s.cells(60)) - 2.3) * 4)
    return Scene(s, ramp(t, s.grey(0.05, 0.3, 0.05), s.grey(0.65, 0.95, 0.05)))


def ceramic(s: Studio) -> Scene:
    """Glaze: even colour, soft flow marks, mineral specks, a gloss reflection."""
    base = s.grey(0.6, 0.95, 0.05) if s.chance(0.5) else s.colour(value=(0.3, 0.9))
    rgb = base * (1 + s.between(0.01, 0.06) * s.fbm(3, 3))[..., None]
    specks = noise.ease((s.sheet(s.cells(80)) - s.between(1.7, 2.4)) * 4) * s.between(0.2, 0.9)
    rgb += specks[..., None] * (s.colour((0, 60), (0.1, 0.6), (0.1, 0.5)) - rgb)
    q = np.abs(s.x * np.cos(1.0) + s.y + 0.03 * s.sheet(3) - s.between(0.2, 1.4))
    return Scene(s, rgb + s.between(0.0, 0.3) * noise.ease(1 - q * s.between(4, 12))[..., None])


def printed_pattern(s: Studio) -> Scene:
    """A repeated two-colour motif: dots, rings, diamonds, stars, stripes or checks."""
    n = s.cells(7)
    x, y = s.rotated(s.choose(0.0, np.pi / 4, s.between(0, 1.5)))
    v = y * n
    u = x * n + s.choose(0.0, 0.5) * (np.floor(v) % 2)
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu - 0.5, v - iv - 0.5
    kind, r = s.rng.integers(6), s.between(0.2, 0.38)
    if kind == 0:
        d = np.hypot(fu, fv) - r
    elif kind == 1:
        d = np.abs(np.hypot(fu, fv) - r) - 0.3 * r
    elif kind == 2:
        d = (np.abs(fu) + np.abs(fv) - 1.3 * r) * 0.7
    elif kind == 3:
        d = np.hypot(fu, fv) - r * (0.75 + 0.3 * np.cos(5 * np.arctan2(fv, fu)))
    elif kind == 4:
        d = np.abs(fv + 0.15 * np.sin(2 * np.pi * u)) - 0.6 * r
    else:
        d = np.maximum(np.abs(fu), np.abs(fv)) - np.where((iu + iv) % 2 < 1, 0.5, 0.0)
    cover = noise.step(d, 1.5 * n / s.size) * s.between(0.7, 1.0)
    first, second = s.colour(value=(0.2, 0.95)), s.colour(value=(0.2, 0.95))
    if s.chance(0.3):
        first, second = s.grey(0.1, 0.95), s.grey(0.1, 0.95)
    t = 1 + s.between(0.0, 0.08) * s.fbm(30, 3) + s.between(0.0, 0.03) * s.grains()
    scene = Scene(s, ramp(cover, first, second) * t[..., None])
    if kind < 4:
        row, column = (iv - iv.min()).astype(int), (iu - iu.min()).astype(int)
        scene.name_segments(np.where(cover > 0.35, row * (int(column.max()) + 1) + column + 1, 0))
    return scene


def tread_plate(s: Studio) -> Scene:
    """Rubber or steel mat with raised studs: rounds, squares or crossed bars."""
    n = s.cells(8)
    u, v = s.x * n + 0 * s.y, s.y * n + 0 * s.x
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu - 0.5, v - iv - 0.5
    kind = s.rng.integers(3)
    if kind == 0:
        d = np.hypot(fu, fv) - s.between(0.2, 0.4)
    elif kind == 1:
        d = noise.box_distance(fu, fv, 0.33, 0.33, 0.1)
    else:
        flip = np.where((iu + iv) % 2 < 1, 1.0, -1.0).astype(np.float32)
        d = noise.box_distance((fu + flip * fv) * 0.7, (fv - flip * fu) * 0.7, 0.48, 0.13, 0.12)
    height = noise.ease(-d / s.between(0.08, 0.2)) + 0.05 * s.sheet(s.cells(80))
    slope = s.relief(height) / n
    base = s.grey(0.08, 0.7) if s.chance(0.7) else s.colour(value=(0.2, 0.7))
    tone = 0.9 + s.between(0.08, 0.2) * slope + 0.06 * s.fbm(4, 3) + 0.03 * s.grains()
    scene = Scene(s, base * tone[..., None] + 0.05 * np.maximum(slope, 0)[..., None])
    row, column = iv.astype(int), iu.astype(int)
    scene.name_segments(np.where(d < 0, row * (int(column.max()) + 1) + column + 1, 0))
    return scene


def painted_sheet(s: Studio) -> Scene:
    """Lacquer with orange peel or metallic flakes over a gradient."""
    colour = s.colour(saturation=(0.1, 0.9), value=(0.15, 0.95))
    slope = s.relief(s.fbm(s.cells(45), 2)) * s.between(0.0002, 0.0012)
    t = 0.85 + slope + s.between(0.0, 0.06) * s.grains() + s.between(0.0, 0.12) * s.sheet(1)
    return Scene(
        s, colour * t[..., None] + s.between(0, 0.15) * np.maximum(slope * 8, 0)[..., None]
    )


def composite(s: Studio) -> Scene:
    """Any mixture: layers of noise of random scale, stretch, hardness and colour, with lines."""
    x, y = s.warped(s.between(0.0, 0.03), s.between(2, 8))
    stops = [
        s.colour(saturation=(0.0, 0.5), value=(0.1, 0.95)) for _ in range(s.rng.integers(2, 5))
    ]
    if s.chance(0.4):
        stops = [np.full(3, c.mean(), np.float32) for c in stops]
    t = 0.5 + s.between(0.0, 0.12) * s.fbm(3, 2)
    for _ in range(int(s.rng.integers(1, 4))):
        kind, weight = s.rng.integers(5), s.between(0.05, 0.22)
        if kind == 0:
            layer = s.sheet(s.log_between(8, 200), s.log_between(8, 200))
        elif kind == 1:
            layer = np.sign(s.sheet(s.log_between(6, 60), s.log_between(6, 60)) - s.between(0, 1.5))
        elif kind == 2:
            angle, n = s.between(0, np.pi), s.cells(18)
            layer = np.sin(2 * np.pi * n * (x * np.cos(angle) + y * np.sin(angle)))
        elif kind == 3:
            n = s.cells(20)
            first, second, _ = noise.cellular(s.rng, x * n, y * n, 0.9)
            layer = 2 * np.clip((second - first) * 3, 0, 1) - 1.4
        else:
            layer = np.abs(s.fbm(s.log_between(4, 30), 3)) * 2 - 1.4
        t = t + weight * layer
    return Scene(s, ramp(np.clip(t, 0, 1), *stops))
