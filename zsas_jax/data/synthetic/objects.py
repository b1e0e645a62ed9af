"""Training objects: one or many per picture, with parts, on varied backgrounds."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.materials import stuff
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Scene, Studio


def ground(s: Studio) -> Scene:
    """An empty table: plain, cloudy, woven, brushed, dotted or of a random material."""
    if s.chance(0.35):
        return Scene(s, stuff(s, 0.4), is_object=True)
    base = s.grey(0.03, 0.9, 0.06) if s.chance(0.65) else s.colour(saturation=(0.1, 0.6))
    kind = s.rng.integers(5)
    if kind == 0:
        t = s.between(0.0, 0.03) * s.fbm(3, 2)
    elif kind == 1:
        t = s.between(0.02, 0.12) * s.fbm(4, 4)
    elif kind == 2:
        n = s.cells(50)
        t = s.between(0.02, 0.08) * (np.sin(np.pi * n * s.x) * np.sin(np.pi * n * s.y))
        t = t + 0.02 * s.grains()
    elif kind == 3:
        t = s.between(0.02, 0.08) * s.sheet(4, 200)
    else:
        t = s.between(0.01, 0.06) * s.grains() + 0.03 * s.fbm(3, 2)
    return Scene(s, base * (1 + 1.5 * t)[..., None] + 0.3 * t[..., None], is_object=True)


def finish(s: Studio, scene: Scene) -> Scene:
    """Adds the shadow."""
    if s.chance(0.8):
        scene.cast_shadow(s.between(0.2, 0.75), s.between(0.005, 0.05), s.between(0.01, 0.04))
    return scene


def layout(s: Studio, most: int, spread: Number = 0.12) -> list[tuple[float, float, float]]:
    """Places (x, y, radius): one large object or a loose lattice of up to most x most."""
    if s.chance(0.5) or most == 1:
        r = s.between(0.26, 0.42)
        return [(0.5 + s.between(-0.06, 0.06), 0.5 + s.between(-0.06, 0.06), r)]
    n = int(s.rng.integers(2, most + 1))
    r = s.between(0.3, 0.42) / n
    slots = [(i, j) for i in range(n) for j in range(n)]
    wobble = spread / n
    return [
        ((i + 0.5) / n + s.between(-wobble, wobble), (j + 0.5) / n + s.between(-wobble, wobble), r)
        for i, j in slots
        if n < 3 or s.chance(0.9)
    ]


def lit(tone: np.ndarray, colour: np.ndarray, shine: np.ndarray | float = 0.0) -> np.ndarray:
    """Colour under a tone of 1, with white highlights added."""
    return colour * tone[..., None] + np.asarray(shine, np.float32)[..., None]


def metal_nut(s: Studio) -> Scene:
    """Hexagonal nuts with a bevel and a threaded bore."""
    scene = ground(s)
    colour = s.grey(0.45, 0.85, 0.05) if s.chance(0.75) else s.colour((20, 60), (0.2, 0.5))
    bore, turn = s.between(0.4, 0.6), s.chance(0.6)
    rough = s.fbm(s.cells(50), 2)
    for x, y, r in layout(s, 3):
        st = scene.stamp(x, y, r, s.between(0, np.pi) if turn else 0.0)
        hexagon = noise.polygon_distance(st.u, st.v, 6) * 0.88 - 0.0
        radius = np.hypot(st.u, st.v)
        height = noise.ease(-hexagon / 0.22) * 0.12
        slope = scene.shade(st, height)
        tone = 0.75 + 0.55 * slope + 0.06 * rough[st.window]
        alpha = noise.step(hexagon, 1.5 * st.pixel)
        scene.paste(st, alpha, lit(tone, colour, 0.4 * np.maximum(slope, 0) ** 2))
        ring = noise.step(np.abs(radius - bore - 0.06) - 0.06, 1.5 * st.pixel)
        thread = 0.55 + 0.3 * np.sin(radius * 90) + 0.3 * slope
        scene.paste(st, ring, lit(thread, colour), part=True)
        hole = noise.step(radius - bore, 1.5 * st.pixel)
        dark = scene.backdrop[st.window] * 0.5
        scene.paste(st, hole, dark, segment=False, solid=False)
    return finish(s, scene)


def washer(s: Studio) -> Scene:
    """Flat rings, brushed or plain."""
    scene = ground(s)
    colour = s.grey(0.4, 0.9, 0.05) if s.chance(0.7) else s.colour(saturation=(0.2, 0.6))
    bore = s.between(0.3, 0.65)
    rough = s.sheet(6, 220) if s.chance(0.5) else s.fbm(60, 2)
    for x, y, r in layout(s, 4):
        st = scene.stamp(x, y, r)
        radius = np.hypot(st.u, st.v)
        d = np.maximum(radius - 1, bore - radius)
        slope = scene.shade(st, noise.ease(-d / 0.12) * 0.06)
        tone = 0.8 + 0.5 * slope + 0.07 * rough[st.window]
        scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(tone, colour))
    return finish(s, scene)


def pill(s: Studio) -> Scene:
    """Round or oval tablets, plain, scored or stamped with a mark, sometimes speckled."""
    scene = ground(s)
    colour = s.grey(0.7, 0.97, 0.03) if s.chance(0.5) else s.colour(saturation=(0.15, 0.7))
    colour = np.maximum(colour, 0.25)
    aspect, mark = s.between(0.5, 1.0), s.rng.integers(3)
    speckle = s.sheet(s.cells(90)) * s.between(0, 0.06) + 0.02 * s.fbm(4, 3)
    for x, y, r in layout(s, 4, 0.2):
        st = scene.stamp(x, y, r, s.between(0, np.pi))
        d = noise.box_distance(st.u, st.v, 0.97, 0.97 * aspect, 0.96 * aspect)
        height = np.sqrt(np.clip(-d / aspect, 0, 1)) * s.between(0.2, 0.3)
        if mark == 1:
            height = height - 0.06 * noise.step(np.abs(st.u) - 0.04, 0.04)
        if mark == 2:
            sign = np.minimum(
                np.abs(np.hypot(st.u + 0.25, st.v) - 0.15),
                np.abs(st.u - 0.25) + np.maximum(np.abs(st.v) - 0.15, 0),
            )
            height = height - 0.05 * noise.step(sign - 0.04, 0.04)
        slope = scene.shade(st, height)
        tone = 0.92 + 0.4 * slope + speckle[st.window]
        scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(tone, colour))
    return finish(s, scene)


def capsule(s: Studio) -> Scene:
    """Two-coloured capsules with a cap, a highlight and sometimes a clear shell."""
    scene = ground(s)
    body = s.colour(saturation=(0.1, 0.9), value=(0.4, 0.95))
    cap = body * s.between(0.4, 0.9) if s.chance(0.3) else s.colour(value=(0.3, 0.95))
    aspect, seam = s.between(0.32, 0.45), s.between(-0.2, 0.2)
    clear, free = s.chance(0.4), s.chance(0.6)
    for x, y, r in layout(s, 4, 0.2):
        st = scene.stamp(x, y, r, s.between(0, np.pi) if free else 0.3)
        wide = np.where(st.u > seam, aspect, aspect * 0.93)
        d = noise.box_distance(st.u, st.v, 0.98, aspect, aspect * 0.98) + (aspect - wide)
        height = np.sqrt(np.clip(1 - (st.v / wide) ** 2, 0, 1)) * aspect
        slope = scene.shade(st, height)
        tone = np.clip(0.85 + 0.25 * slope, 0.2, 1.3)
        if clear:
            tone = tone * (0.75 + 0.4 * np.abs(st.v) / aspect)
        shine = 0.7 * np.exp(-(((st.v + 0.4 * aspect) / 0.07) ** 2)) * (np.abs(st.u) < 0.7)
        alpha = noise.step(d, 1.5 * st.pixel)
        # The body ends a little inside the cap: without the cap, the table shows.
        scene.paste(
            st, alpha * noise.step(st.u - seam - 0.1, 1.5 * st.pixel), lit(tone, body, shine)
        )
        lid = alpha * noise.step(seam - st.u, 1.5 * st.pixel)
        scene.paste(st, lid, lit(tone, cap, shine), part=True)
    return finish(s, scene)
