"""Evaluation objects: other shapes, other tables and other drawing code than the training ones."""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.objects import lit
from zsas_jax.data.synthetic.scene import Scene, Studio, ramp


def table(s: Studio) -> Scene:
    """A backdrop no training picture has: slate, felt, squared laminate or a light box."""
    kind = s.rng.integers(4)
    if kind == 0:
        t = 0.5 + 0.1 * np.abs(s.fbm(5, 4, 0.6)) - 0.1
        rgb = ramp(t, s.grey(0.0, 0.1), s.grey(0.3, 0.5))
    elif kind == 1:
        base = s.colour(saturation=(0.15, 0.5), value=(0.15, 0.6))
        rgb = base * (1 + 0.12 * s.sheet(200) + 0.05 * s.sheet(25))[..., None]
    elif kind == 2:
        n = s.cells(9)
        lines = np.minimum(np.abs(s.x * n % 1 - 0.5), np.abs(s.y * n % 1 - 0.5))
        mark = noise.step(lines - 0.015, 1.5 * n / s.size)
        rgb = ramp(mark * 0.35, s.grey(0.4, 0.8), s.grey(0.1, 0.3))
    else:
        rgb = s.grey(0.75, 0.97, 0.02) * (1 + 0.01 * s.fbm(3, 2))[..., None]
    return Scene(s, rgb, is_object=True)


def shadowed(s: Studio, scene: Scene) -> Scene:
    """A contact shadow."""
    scene.cast_shadow(s.between(0.25, 0.6), s.between(0.01, 0.03), s.between(0.015, 0.03))
    return scene


def places(s: Studio, most: int) -> list[tuple[float, float, float]]:
    """A single object, or up to `most` dropped at random without touching."""
    if s.chance(0.45):
        return [(s.between(0.46, 0.54), s.between(0.46, 0.54), s.between(0.3, 0.42))]
    r, found = s.between(0.24, 0.3) / np.sqrt(most) * 1.5, []
    for _ in range(40 * most):
        x, y = s.between(r, 1 - r), s.between(r, 1 - r)
        if all(np.hypot(x - a, y - b) > 2.05 * r for a, b, _ in found):
            found.append((x, y, r))
        if len(found) == most:
            break
    return found


def hazelnut(s: Studio) -> Scene:
    """Round nuts: ribbed brown shell that narrows to a tip, with a pale matt base."""
    scene = table(s)
    shell = s.colour((42, 58), (0.5, 0.7), (0.35, 0.6)) * np.array([1.1, 0.75, 0.55], "f4")
    base = np.array([0.78, 0.68, 0.52], np.float32) * s.between(0.8, 1.1)
    rough = s.sheet(120)
    for x, y, r in places(s, 5):
        angle = s.between(0, 6.3)
        st = scene.stamp(x, y, r, angle)
        radius, theta = np.hypot(st.u, st.v * 1.08), np.arctan2(st.v, st.u)
        d = radius - 0.95 - 0.12 * np.clip(np.cos(theta), 0, 1) ** 6
        dome = np.sqrt(np.clip(1 - radius**2, 0, 1)) * 0.35
        slope = scene.shade(st, dome)
        ribs = np.sin(theta * 26 + 3 * radius + 2 * rough[st.window]) * np.clip(radius, 0, 1)
        tone = 0.9 + 0.4 * slope + 0.08 * ribs + 0.05 * rough[st.window]
        scene.paste(
            st, noise.step(d, 1.5 * st.pixel), lit(tone, shell, 0.06 * np.maximum(slope, 0))
        )
        seat = np.hypot((st.u + 0.62) * 1.9, st.v * 1.1) - 0.55 - 0.03 * np.sin(theta * 17)
        speck = 0.95 + 0.3 * slope + 0.12 * rough[st.window]
        cover = noise.step(np.maximum(seat, d), 3 * st.pixel)
        scene.paste(st, cover, lit(speck, base), part=True)
    return shadowed(s, scene)


def screw(s: Studio) -> Scene:
    """Wood screws lying flat: cone head, shank and pitched thread to the tip."""
    scene = table(s)
    steel = s.grey(0.5, 0.8, 0.05) if s.chance(0.6) else s.colour((42, 58), (0.3, 0.6), (0.6, 0.9))
    pitch, thin = s.between(26, 36), s.between(0.09, 0.13)
    for x, y, r in places(s, 4):
        st = scene.stamp(x, y, r, s.between(0, 6.3))
        shank = np.where(st.u < -0.2, thin * 0.95, thin * 0.75)
        shank = shank * np.clip((0.97 - st.u) / 0.25, 0, 1) ** 0.7
        thread = (st.u > -0.15) & (st.u < 0.9)
        phase = st.u * pitch + st.v * 3.5
        ridge = np.where(thread, 0.05 * np.clip(np.cos(phase), -0.3, 1), 0)
        head = np.clip(1 - (st.u + 0.95) / 0.2, 0, 1) * 0.2
        half = np.maximum(shank + ridge, thin * 0.6 * (st.u < -0.6) + head)
        half = np.where((st.u < -0.96) | (st.u > 0.97), -0.05, half)
        d = np.abs(st.v) - half
        body = np.sqrt(np.clip(1 - (st.v / np.maximum(half, 0.02)) ** 2, 0, 1)) * half
        slope = np.clip(scene.shade(st, body), -1.2, 1.2)
        turns = np.where(thread, 0.25 * np.cos(phase + 0.8), 0)
        look = lit(0.75 + 0.3 * slope + turns, steel, 0.1 * np.maximum(slope, 0) ** 2)
        bare = scene.rgb[st.window].copy()
        scene.paste(st, noise.step(d, 1.5 * st.pixel), look)
        tip = noise.step(np.maximum(d, 0.5 - st.u), 1.5 * st.pixel)
        scene.paste(st, tip, look, part=True, segment=False, under=bare)
        crown = noise.step(np.maximum(d, st.u + 0.72), 1.5 * st.pixel)
        scene.paste(st, crown, look, part=True, under=bare)
    return shadowed(s, scene)


def transistor(s: Studio) -> Scene:
    """A black package with a metal tab and three legs over a perforated board."""
    n = s.cells(16)
    u, v = s.x * n % 1 - 0.5, s.y * n % 1 - 0.5
    board = s.colour((42, 58), (0.3, 0.6), (0.35, 0.7)) if s.chance(0.6) else s.grey(0.3, 0.7)
    rgb = board * (1 + 0.05 * s.fbm(20, 3))[..., None]
    ring = np.hypot(u, v)
    rgb += noise.step(ring - 0.3, 1.5 * n / s.size)[..., None] * (s.grey(0.6, 0.8) - rgb)
    rgb -= noise.step(ring - 0.16, 1.5 * n / s.size)[..., None] * rgb * 0.9
    scene = Scene(s, rgb, is_object=True)
    st = scene.stamp(
        s.between(0.45, 0.55), s.between(0.45, 0.55), s.between(0.36, 0.44), s.between(-0.1, 0.1)
    )
    steel, black = s.grey(0.55, 0.85, 0.03), s.grey(0.05, 0.16)
    for k in (-1, 0, 1):
        leg = noise.box_distance(st.u - 0.26 * k, st.v - 0.62, 0.045, 0.36, 0.02)
        tone = 0.9 - 5 * (st.u - 0.26 * k + 0.01) ** 2 * 60
        scene.paste(
            st, noise.step(leg, 1.5 * st.pixel), lit(np.clip(tone, 0.3, 1), steel), part=True
        )
    tab = noise.box_distance(st.u, st.v + 0.6, 0.46, 0.35, 0.05)
    tab = np.maximum(tab, 0.13 - np.hypot(st.u, st.v + 0.68))
    brushed = 1 + 0.05 * s.sheet(4, 220)[st.window]
    scene.paste(st, noise.step(tab, 1.5 * st.pixel), lit(brushed, steel), part=True)
    body = noise.box_distance(st.u, st.v - 0.02, 0.48, 0.36, 0.03)
    slope = scene.shade(st, noise.ease(-body / 0.08) * 0.05)
    rows = np.abs(st.v % 0.16 - 0.08) - 0.03
    print_ = noise.step(np.maximum(rows, np.abs(st.u) - 0.3), 0.03) * (np.sin(st.u * 70) > -0.2)
    look = lit(1 + 0.6 * slope + 0.08 * s.sheet(200)[st.window], black, 0.25 * print_)
    scene.paste(st, noise.step(body, 1.5 * st.pixel), look, part=True)
    return shadowed(s, scene)


def biscuit(s: Studio) -> Scene:
    """Baked biscuits: wavy rim, browned edge, docking holes, crumb texture."""
    scene = table(s)
    dough = np.array([0.85, 0.66, 0.4], np.float32) * s.between(0.75, 1.1)
    waves, square, holes = int(s.rng.integers(14, 30)), s.chance(0.5), int(s.rng.integers(2, 5))
    crumb = s.fbm(60, 3, 0.8)
    for x, y, r in places(s, 4):
        st = scene.stamp(x, y, r, s.between(0, 3))
        theta = np.arctan2(st.v, st.u)
        round_ = (
            noise.box_distance(st.u, st.v, 0.85, 0.85, 0.12)
            if square
            else np.hypot(st.u, st.v) - 0.93
        )
        d = round_ - 0.03 * np.cos(waves * theta)
        pattern = np.hypot((st.u * holes + 0.5) % 1 - 0.5, (st.v * holes + 0.5) % 1 - 0.5)
        dock = noise.step(pattern - 0.1, 0.05) * (d < -0.2)
        height = 0.12 * noise.ease(-d / 0.2) + 0.012 * crumb[st.window] - 0.05 * dock
        slope = scene.shade(st, height)
        brown = noise.ease(1 + d / 0.25)[..., None] * np.array([0.1, 0.2, 0.2], "f4")
        look = lit(0.9 + 0.45 * slope - 0.35 * dock, dough) - brown
        scene.paste(st, noise.step(d, 1.5 * st.pixel), look)
    return shadowed(s, scene)


def gasket(s: Studio) -> Scene:
    """Flat rubber or fibre seals: several openings inside one lobed outline."""
    scene = table(s)
    colour = (
        s.grey(0.06, 0.35) if s.chance(0.6) else s.colour(saturation=(0.3, 0.7), value=(0.3, 0.7))
    )
    lobes, depth = int(s.rng.integers(2, 6)), s.between(0.12, 0.25)
    fine = s.sheet(160)
    for x, y, r in places(s, 3):
        st = scene.stamp(x, y, r, s.between(0, 6.3))
        radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
        d = radius - 0.98 + depth * (0.5 - 0.5 * np.cos(lobes * theta))
        d = np.maximum(d, 0.42 - radius)
        for k in range(lobes):
            a = k * 2 * np.pi / lobes
            d = np.maximum(d, 0.1 - np.hypot(st.u - 0.8 * np.cos(a), st.v - 0.8 * np.sin(a)))
        slope = scene.shade(st, noise.ease(-d / 0.06) * 0.04)
        look = lit(0.95 + 0.6 * slope + 0.08 * fine[st.window], colour, 0.04 * np.maximum(slope, 0))
        scene.paste(st, noise.step(d, 1.5 * st.pixel), look)
        bead = noise.step(np.abs(radius - 0.54) - 0.035, 1.5 * st.pixel)
        scene.paste(st, bead, look + 0.12, part=True)
    return shadowed(s, scene)


def rope_coil(s: Studio) -> Scene:
    """A laid rope wound into a flat spiral."""
    scene = table(s)
    st = scene.stamp(0.5, 0.5, s.between(0.42, 0.47))
    colour = s.colour(saturation=(0.15, 0.6), value=(0.5, 0.95))
    radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
    turns = s.cells(5)
    w = radius * turns - theta / (2 * np.pi)
    lap, fw = np.floor(w), w - np.floor(w) - 0.5
    along = (theta + 2 * np.pi * lap) * (lap + 1) * s.between(1.5, 2.2)
    twist = np.abs(np.sin(along + 3.0 * fw))
    tone = (0.35 + 0.75 * np.sqrt(np.clip(1 - 3.4 * fw**2, 0, 1))) * (0.6 + 0.4 * twist)
    tone = tone * (1 + 0.1 * s.sheet(200)[st.window])
    d = radius - 0.97
    scene.paste(st, noise.step(d, 1.5 * st.pixel), lit(tone, colour))
    return shadowed(s, scene)


def candle(s: Studio) -> Scene:
    """Tea lights from above: wax disc in a thin metal cup with a leaning wick."""
    scene = table(s)
    wax = (
        s.grey(0.7, 0.95, 0.05)
        if s.chance(0.6)
        else s.colour(saturation=(0.1, 0.4), value=(0.7, 0.95))
    )
    cloud = s.fbm(5, 3)
    for x, y, r in places(s, 4):
        st = scene.stamp(x, y, r)
        radius = np.hypot(st.u, st.v)
        scene.paste(st, noise.step(radius - 1, 1.5 * st.pixel), s.grey(0.55, 0.8))
        slope = scene.shade(st, 0.05 * noise.ease((0.95 - radius) / 0.1))
        look = lit(0.97 + 0.3 * slope + 0.02 * cloud[st.window], wax)
        scene.paste(st, noise.step(radius - 0.94, 1.5 * st.pixel), look, part=False)
        a, length = s.between(0, 6.3), s.between(0.15, 0.5)
        t = np.clip(st.u * np.cos(a) + st.v * np.sin(a), 0, length)
        d = np.hypot(st.u - t * np.cos(a), st.v - t * np.sin(a)) - 0.035
        wick = (
            s.grey(0.75, 0.9)
            * (0.9 + 0.3 * scene.shade(st, noise.ease(-d / 0.04) * 0.03))[..., None]
        )
        scene.paste(st, noise.step(d, 1.5 * st.pixel), wick, part=True)
    return shadowed(s, scene)
