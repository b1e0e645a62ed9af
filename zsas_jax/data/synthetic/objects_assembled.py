"""Training objects made of several parts: caps, boards, cables, brushes, zips, bottles, gears."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.objects import finish, ground, layout, lit
from zsas_jax.data.synthetic.scene import Scene, Studio


def bottle_cap(s: Studio) -> Scene:
    """Crown caps seen from above: crimped rim, printed emblem."""
    scene = ground(s)
    colour, print_ = s.colour(value=(0.3, 0.9)), s.colour(value=(0.3, 0.95))
    teeth, emblem = int(s.rng.integers(16, 26)), int(s.rng.integers(3, 9))
    for x, y, r in layout(s, 3):
        st = scene.stamp(x, y, r, s.between(0, 6.3))
        radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
        wave = np.cos(teeth * theta)
        d = radius - 0.95 - 0.035 * wave
        height = 0.12 * noise.ease((0.86 - radius) / 0.12)
        height = height + 0.03 * wave * noise.ease((radius - 0.72) / 0.15)
        slope = scene.shade(st, height)
        tone = 0.85 + 0.45 * slope
        scene.paste(
            st, noise.step(d, 1.5 * st.pixel), lit(tone, colour, 0.1 * np.maximum(slope, 0))
        )
        star = radius - 0.5 * (0.75 + 0.25 * np.cos(emblem * theta))
        mark = np.minimum(star, np.abs(radius - 0.64) - 0.03)
        scene.paste(st, noise.step(mark, 1.5 * st.pixel), lit(tone, print_), part=True)
    return finish(s, scene)


def circuit_board(s: Studio) -> Scene:
    """A green, blue, red or dark board: traces, pads, chips, capacitors, drilled holes."""
    mask = s.colour(s.choose((120, 160), (180, 240), (0, 20), (60, 100)), (0.4, 0.9), (0.2, 0.5))
    t = 1 + 0.04 * s.fbm(30, 2)
    scene = Scene(s, mask * t[..., None])
    lines, grid = [], 1 / s.cells(20)
    for _ in range(int(s.rng.integers(10, 26))):
        point = np.round(s.rng.random(2) / grid) * grid
        path = [point]
        for _ in range(int(s.rng.integers(2, 5))):
            step = s.rng.integers(-1, 2, 2) * grid * s.rng.integers(2, 7)
            path.append(path[-1] + step)
        lines.append(("line", np.array(path), grid * 0.18))
    scene.rgb *= (1 + s.between(0.25, 0.6) * noise.draw(s.size, lines))[..., None]
    metal = s.grey(0.6, 0.9, 0.05) if s.chance(0.5) else s.colour((30, 60), (0.3, 0.6), (0.6, 0.9))
    for _ in range(int(s.rng.integers(8, 24))):
        cx, cy = np.round(s.rng.random(2) / grid) * grid
        st = scene.stamp(cx, cy, grid * 0.55)
        d = np.hypot(st.u, st.v)
        scene.paste(st, noise.step(d - 1, 1.5 * st.pixel), metal, segment=False)
        scene.paste(st, noise.step(d - 0.5, 1.5 * st.pixel), metal * 0.1, segment=False)
    for cx, cy, r in _slots(s, int(s.rng.integers(3, 9))):
        _component(s, scene, cx, cy, r, metal)
    return scene


def _slots(s: Studio, count: int) -> list[tuple[float, float, float]]:
    """Places of components that do not overlap."""
    found: list[tuple[float, float, float]] = []
    for _ in range(60):
        x, y, r = s.between(0.1, 0.9), s.between(0.1, 0.9), s.log_between(0.04, 0.14)
        if all(max(abs(x - a), abs(y - b)) > (r + c) * 1.15 for a, b, c in found):
            found.append((x, y, r))
        if len(found) == count:
            break
    return found


def _component(s: Studio, scene: Scene, x: Number, y: Number, r: Number, metal) -> None:
    """A chip with legs, a two-ended resistor or a round can."""
    st = scene.stamp(x, y, r, s.choose(0.0, np.pi / 2))
    kind = s.rng.integers(3)
    if kind == 2:
        body, d = s.grey(0.3, 0.8), np.hypot(st.u, st.v) - 0.8
        slope = scene.shade(st, noise.ease(-d / 0.2) * 0.15)
        look = lit(0.9 + 0.4 * slope, body)
    else:
        wide = s.between(0.35, 0.75)
        legs = np.abs(np.sin(st.u * s.between(5, 9))) - 0.5 if kind == 0 else -1.0
        foot = noise.box_distance(
            st.u, st.v, 0.85 if kind == 0 else 0.95, wide + 0.15 * (kind == 0)
        )
        ends = np.maximum(foot, -np.asarray(legs, np.float32) * 0.2 if kind == 0 else foot)
        scene.paste(st, noise.step(ends, 1.5 * st.pixel), metal, segment=False)
        d = noise.box_distance(st.u, st.v, 0.85 if kind == 0 else 0.65, wide * 0.95, 0.04)
        body = s.grey(0.05, 0.2) if s.chance(0.7) else s.colour(value=(0.2, 0.7))
        tone = 1 + 0.4 * scene.shade(st, noise.ease(-d / 0.1) * 0.05)
        mark = noise.box_distance(st.u + 0.1, st.v, 0.4, 0.06 + 0.1 * s.rng.random(), 0.0)
        look = lit(tone, body, 0.4 * noise.step(np.abs(mark) - 0.03, 0.05) * (kind == 0))
    scene.paste(st, noise.step(d, 1.5 * st.pixel), look, part=True)


def cable(s: Studio) -> Scene:
    """A cut cable: insulated cores with strands inside a round jacket, or wires side by side."""
    scene = ground(s)
    hues = [s.colour(saturation=(0.4, 0.9), value=(0.3, 0.95)) for _ in range(3)]
    copper = s.colour((15, 40), (0.4, 0.7), (0.6, 0.95))
    if s.chance(0.5):
        st = scene.stamp(0.5, 0.5, s.between(0.36, 0.45), s.between(0, 2))
        jacket = s.grey(0.1, 0.85, 0.05)
        radius = np.hypot(st.u, st.v)
        scene.paste(st, noise.step(radius - 1, 1.5 * st.pixel), jacket, segment=True)
        scene.paste(st, noise.step(radius - 0.9, 1.5 * st.pixel), jacket * 0.7, segment=False)
        for k, hue in enumerate(hues):
            angle = k * 2 * np.pi / 3
            du, dv = st.u - 0.46 * np.cos(angle), st.v - 0.46 * np.sin(angle)
            core = np.hypot(du, dv)
            scene.paste(st, noise.step(core - 0.4, 1.5 * st.pixel), hue, part=True)
            n = s.between(7, 11)
            first, _, _ = noise.cellular(s.rng, (du + 1) * n, (dv + 1) * n, 0.35)
            strands = lit(1.05 - 1.1 * first, copper)
            scene.paste(st, noise.step(core - 0.28, 1.5 * st.pixel), strands, part=True)
        return finish(s, scene)
    count = int(s.rng.integers(2, 7))
    pitch, bend = s.between(0.7, 0.9) / count, 0.04 * noise.profile(s.rng, s.size, 2)
    st = scene.stamp(0.5, 0.5, 0.5)
    for k in range(count):
        offset = (s.x - 0.5 - (k - (count - 1) / 2) * pitch - bend[:, None]) / (pitch * 0.45)
        alpha = noise.step(np.abs(offset) - 1, 3 / (pitch * s.size * 0.9)).astype(np.float32)
        tone = 0.35 + 0.7 * np.sqrt(np.clip(1 - (offset - 0.2) ** 2, 0, 1))
        scene.paste(st, alpha, lit(tone.astype("f4"), hues[k % 3]), part=True)
    return finish(s, scene)


def brush(s: Studio) -> Scene:
    """A brush head from above: tufts of bristles set in rows on a coloured head."""
    scene = ground(s)
    angle = s.between(0, np.pi)
    st = scene.stamp(0.5, 0.5, 0.46, angle)
    wide = s.between(0.35, 0.6)
    d = noise.box_distance(st.u, st.v, 0.95, wide, wide * s.between(0.3, 0.95))
    slope = scene.shade(st, noise.ease(-d / 0.15) * 0.1)
    scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(0.85 + 0.4 * slope, s.colour()))
    hues = [s.grey(0.7, 0.97), s.colour(value=(0.4, 0.95)), s.colour(value=(0.4, 0.95))]
    columns, rows = int(s.rng.integers(5, 9)), int(s.rng.integers(3, 5))
    c, q = np.cos(angle), np.sin(angle)
    for i in range(columns):
        for j in range(rows):
            u = ((i + 0.5) / columns * 2 - 1) * 0.78
            v = ((j + 0.5) / rows * 2 - 1) * wide * 0.78
            x, y = 0.5 + 0.46 * (c * u - q * v), 0.5 + 0.46 * (q * u + c * v)
            tuft = scene.stamp(x, y, 0.46 * min(0.75 / columns, wide * 0.75 / rows))
            radius = np.hypot(tuft.u, tuft.v)
            lattice = s.rng.standard_normal((21, 21), dtype=np.float32)
            bristle = noise.spread(lattice, s.size // 4, True)
            bristle = bristle[: tuft.u.shape[0], : tuft.u.shape[1]]
            tone = 0.95 - 0.35 * radius**2
            tone[: bristle.shape[0], : bristle.shape[1]] += 0.13 * bristle
            alpha = noise.step(radius - 0.95, 3 * tuft.pixel)
            scene.paste(tuft, alpha, lit(tone, hues[(i + j) % 3 if rows > 3 else i % 3]), part=True)
    return finish(s, scene)


def zip_fastener(s: Studio) -> Scene:
    """A zip: fabric tape, interlocking teeth and sometimes the slider."""
    n = s.cells(40)
    tape = s.colour(value=(0.1, 0.6)) if s.chance(0.6) else s.grey(0.05, 0.8)
    weave = (
        1 + 0.12 * np.sin(2 * np.pi * n * s.y + np.pi * np.floor(2 * n * s.x)) + 0.06 * s.grains()
    )
    scene = Scene(s, tape * weave[..., None])
    teeth, half = s.cells(22), s.between(0.05, 0.09)
    metal = s.grey(0.5, 0.85, 0.06) if s.chance(0.6) else s.colour(value=(0.4, 0.9))
    for k in range(teeth + 1):
        side = 1 if k % 2 else -1
        st = scene.stamp(0.5 + side * half * 0.35, (k + 0.5) / teeth, half * 1.2)
        thick = 0.42 / (teeth * half * 1.2)
        d = noise.box_distance(st.u, st.v, 0.75, thick, thick * 0.6)
        slope = scene.shade(st, np.sqrt(np.clip(-d / thick, 0, 1)) * thick * 0.6)
        tone = 0.8 + 0.45 * slope
        alpha = noise.step(d, 1.5 * st.pixel)
        scene.paste(st, alpha, lit(tone, metal), part=True)
    for edge in (-1, 1):
        seam = noise.step(np.abs(s.x - 0.5 - edge * half * 2.2) - 0.004, 0.004)
        stitch = seam * (np.sin(2 * np.pi * teeth * 0.7 * s.y) > -0.3)
        scene.rgb += stitch[..., None] * (tape * 1.5 - scene.rgb)
    if s.chance(0.35):
        st = scene.stamp(0.5, s.between(0.2, 0.8), half * 2.6)
        d = noise.box_distance(st.u, st.v, 0.55, 0.85, 0.3)
        slope = scene.shade(st, noise.ease(-d / 0.25) * 0.2)
        scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(0.85 + 0.4 * slope, metal), part=True)
    return scene


def bottle(s: Studio) -> Scene:
    """A glass bottle's mouth from above: concentric glass rings with reflections, dark inside."""
    scene = ground(s)
    glass = s.colour(s.choose((10, 40), (60, 160), (180, 220)), (0.3, 0.9), (0.2, 0.7))
    for x, y, r in layout(s, 2):
        st = scene.stamp(x, y, r)
        radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
        rings = np.cos(radius * s.between(14, 30) + s.between(0, 6))
        glow = np.clip(np.cos(theta - s.azimuth), 0, 1) ** 6
        tone = 0.7 + 0.25 * rings + 0.1 * np.cos(3 * theta + s.between(0, 6))
        alpha = noise.step(radius - 1, 1.5 * st.pixel)
        scene.paste(st, alpha, lit(tone, glass, 0.5 * glow * noise.ease(rings * 2)))
        lip = noise.step(np.abs(radius - 0.78) - 0.09, 1.5 * st.pixel)
        bright = np.clip(1.2 + 0.5 * np.cos(theta - s.azimuth), 0, 2)
        scene.paste(st, lip, lit(bright, np.minimum(glass * 1.5, 1), 0.15), part=True)
        inside = lit(0.25 + 0.15 * rings, glass)
        scene.paste(st, noise.step(radius - 0.6, 1.5 * st.pixel), inside, segment=True)
    return finish(s, scene)


def gear(s: Studio) -> Scene:
    """Gear wheels: toothed rim, spokes or lightening holes, a keyed bore."""
    scene = ground(s)
    colour = s.grey(0.4, 0.85, 0.05) if s.chance(0.6) else s.colour(value=(0.3, 0.9))
    teeth, holes, bore = (
        int(s.rng.integers(10, 28)),
        int(s.rng.integers(0, 7)),
        s.between(0.14, 0.3),
    )
    rough = s.fbm(50, 2) if s.chance(0.5) else s.sheet(5, 220)
    for x, y, r in layout(s, 3):
        st = scene.stamp(x, y, r, s.between(0, 6.3))
        radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
        d = radius - 0.9 - 0.08 * np.clip(2.5 * np.cos(teeth * theta), -1, 1)
        groove = noise.ease(1 - np.abs(radius - 0.55) / 0.18)
        slope = scene.shade(st, noise.ease(-d / 0.06) * 0.05 - 0.05 * groove)
        tone = 0.8 + 0.6 * slope + 0.06 * rough[st.window]
        scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(tone, colour))
        below = scene.backdrop[st.window] * 0.8
        for k in range(holes):
            a = k * 2 * np.pi / holes
            spot = np.hypot(st.u - 0.55 * np.cos(a), st.v - 0.55 * np.sin(a)) - 0.12
            cover = noise.step(spot, 1.5 * st.pixel)
            scene.paste(st, cover, below, segment=False, solid=False, part=True)
        key = np.minimum(radius - bore, noise.box_distance(st.u - bore, st.v, 0.08, 0.06))
        scene.paste(st, noise.step(key, 1.5 * st.pixel), below, segment=False, solid=False)
    return finish(s, scene)


def button(s: Studio) -> Scene:
    """Sewing buttons with two or four holes and a raised rim."""
    scene = ground(s)
    colour, count = s.colour(saturation=(0.05, 0.8), value=(0.2, 0.95)), s.choose(2, 4)
    swirl = s.fbm(5, 3, stretch=3) * s.between(0, 0.15)
    for x, y, r in layout(s, 4):
        st = scene.stamp(x, y, r, s.between(0, 3))
        radius = np.hypot(st.u, st.v)
        height = 0.1 * noise.ease((1 - radius) / 0.12) - 0.07 * noise.ease((0.75 - radius) / 0.15)
        slope = scene.shade(st, height)
        tone = 0.85 + 0.4 * slope + swirl[st.window]
        look = lit(tone, colour, 0.15 * np.maximum(slope, 0))
        scene.paste(st, noise.step(radius - 1, 1.5 * st.pixel), look)
        for k in range(count):
            a = (k + 0.5) * 2 * np.pi / count
            eye = np.hypot(st.u - 0.27 * np.cos(a), st.v - 0.27 * np.sin(a)) - 0.11
            dark = scene.backdrop[st.window] * 0.4
            scene.paste(st, noise.step(eye, 1.5 * st.pixel), dark, segment=False, part=True)
    return finish(s, scene)


def bracket(s: Studio) -> Scene:
    """Stamped or moulded plates of random outline with holes, slots and bosses."""
    scene = ground(s)
    colour = s.grey(0.3, 0.9, 0.05) if s.chance(0.6) else s.colour(value=(0.2, 0.9))
    rough = s.sheet(4, 220) if s.chance(0.5) else s.fbm(60, 2)
    w, h, corner = s.between(0.6, 0.95), s.between(0.4, 0.9), s.between(0.02, 0.3)
    boxes = [(s.between(-0.4, 0.4), s.between(-0.4, 0.4), s.between(0.2, 0.6)) for _ in range(2)]
    fittings = [
        (s.between(-0.6, 0.6) * w, s.between(-0.6, 0.6) * h, s.between(0.06, 0.16), s.chance(0.6))
        for _ in range(int(s.rng.integers(1, 6)))
    ]
    for x, y, r in layout(s, 2):
        st = scene.stamp(x, y, r, s.choose(0.0, s.between(-0.3, 0.3)))
        d = noise.box_distance(st.u, st.v, w, h, corner * h)
        for bx, by, size in boxes:
            d = np.minimum(d, noise.box_distance(st.u - bx, st.v - by, size, 0.9 * size, 0.05))
        slope = scene.shade(st, noise.ease(-d / 0.08) * 0.06)
        tone = 0.8 + 0.5 * slope + 0.06 * rough[st.window]
        scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(tone, colour))
        for fx, fy, size, hollow in fittings:
            spot = np.hypot(st.u - fx, st.v - fy) - size
            cover = noise.step(spot, 1.5 * st.pixel)
            if hollow:
                below = scene.backdrop[st.window] * 0.7
                scene.paste(st, cover, below, segment=False, solid=False, part=True)
            else:
                boss = 0.9 + 0.5 * scene.shade(st, noise.ease(-spot / 0.08) * 0.08)
                scene.paste(st, cover, lit(boss, colour), part=True)
    return finish(s, scene)
