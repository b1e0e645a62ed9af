"""Materials, parts and flaws that nobody has a name for: training beyond the named classes.

Each picture draws a new kind of surface or object from an open family, so that what a network
learns of "does not belong here" does not hang on the looks of a few classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.defects import Drawn, blend, blob, sign_of, strength
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.objects import finish, ground, layout, lit
from zsas_jax.data.synthetic.scene import Scene, Stamp, Studio, ramp


def material(s: Studio) -> Scene:
    """A surface of one to three random layers in a random palette."""
    return Scene(s, _stuff(s))


def part(s: Studio) -> Scene:
    """Objects of one random outline and material, with random features in a regular layout and
    sometimes with limbs of other outlines and materials.
    """
    scene = Scene(s, _stuff(s, 0.6), is_object=True) if s.chance(0.35) else ground(s)
    body, features, limbs = _piece(s, _stuff(s, 0.4)), _features(s), _limbs(s)
    zones = _zones(s)
    free, first = s.chance(0.6), s.chance(0.85)
    size = 1 / max([1.0, *(0.5 * (1 + limb.extent) for limb in limbs)])
    for x, y, r in layout(s, 3):
        turn, r = s.between(0, 2 * np.pi) if free else 0.0, r * size
        if first:  # The body lies over its limbs, or under them.
            _attach(scene, limbs, x, y, r, turn)
        st = scene.stamp(x, y, r, turn, reach=1.3)
        d = body(scene, st)
        zones(scene, st, d)
        features(scene, st, d)
        if not first:
            _attach(scene, limbs, x, y, r, turn)
    return finish(s, scene)


class _Limb(NamedTuple):
    """A piece beside an object's middle; lengths in the object's radii, angles in radians."""

    draw: Callable[[Scene, Stamp], np.ndarray]
    along: Number
    across: Number
    radius: Number
    turn: Number

    @property
    def extent(self) -> float:
        return float(np.hypot(self.along, self.across) + self.radius)


def _limbs(s: Studio) -> list[_Limb]:
    """None, one or two pieces of their own, or a row of like ones on one side or on both."""
    kind = s.choose(0, 0, 0, 1, 1, 2, 3)
    if kind == 0:
        return []
    if kind < 3:
        return [
            _Limb(
                _piece(s, _stuff(s, 0.6) if s.chance(0.5) else None),
                s.between(0.3, 1.0) * side,
                s.between(-0.1, 0.1),
                s.between(0.35, 0.8),
                s.choose(0.0, np.pi / 2, s.between(0, np.pi)),
            )
            for side in (1, -1)[:kind]
        ]
    piece, count = _piece(s, None, 4), int(s.rng.integers(2, 7))
    length, pitch = s.between(0.25, 0.6), s.between(0.6, 1.5) / count
    sides, flat = (1, -1)[: s.choose(1, 2)], s.choose(0.0, 0.0, np.pi / 2)
    rows = [(k - (count - 1) / 2) * pitch for k in range(count)]
    return [
        _Limb(piece, side * (0.65 + 0.7 * length), row, length, flat)
        for side in sides
        for row in rows
    ]


def _attach(scene: Scene, limbs: list[_Limb], x: Number, y: Number, r: Number, turn: Number):
    c, q = np.cos(turn), np.sin(turn)
    for limb in limbs:
        cx = x + r * (c * limb.along - q * limb.across)
        cy = y + r * (q * limb.along + c * limb.across)
        limb.draw(scene, scene.stamp(cx, cy, r * limb.radius, turn + limb.turn, reach=1.3))


def _piece(s: Studio, look: np.ndarray | None, kind: int | None = None):
    """Draws one outline with a bevel in a material, or in a plain colour where `look` is None."""
    outline, colour = _outline(s, kind), s.grey(0.2, 0.9, 0.06) if s.chance(0.7) else s.colour()
    # A flat top with a bevelled edge, or round all over.
    bevel = s.between(0.03, 0.3) if s.chance(0.65) else s.between(0.4, 1.2)
    gloss = s.between(0.0, 0.5)

    def draw(scene: Scene, st: Stamp) -> np.ndarray:
        d = outline(st)
        slope = scene.shade(st, noise.ease(-d / bevel) * 0.5 * bevel)
        tone = 0.85 + 0.5 * slope
        shine = gloss * np.maximum(slope, 0) ** 2
        flat = colour if look is None else look[st.window]
        alpha = noise.step(d, 1.5 * st.pixel)
        scene.paste(st, alpha, lit(tone, flat, shine))
        return d

    return draw


def _zones(s: Studio):
    """Gives ends, a belt, a rim or the middle of every object a material of its own."""
    count = s.choose(0, 0, 0, 1, 1, 2)
    looks = [_stuff(s, 0.5) if s.chance(0.6) else _colour(s) for _ in range(count)]
    kinds, limits = s.rng.permutation(5)[:count], [s.between(0.25, 0.8) for _ in range(count)]
    turn, soft = s.choose(0.0, 0.0, np.pi / 2, s.between(0, np.pi)), s.log_between(1, 20)
    wave = noise.profile(s.rng, 256, s.between(2, 25)) * s.between(0.0, 0.06) * s.choose(0, 1)

    def draw(scene: Scene, st: Stamp, d: np.ndarray) -> None:
        along = np.cos(turn) * st.u + np.sin(turn) * st.v
        across = np.cos(turn) * st.v - np.sin(turn) * st.u
        ripple = np.interp(across.ravel(), np.linspace(-1.3, 1.3, 256), wave)
        along = along + ripple.reshape(along.shape)
        tone = 0.85 + 0.5 * scene.shade(st, noise.ease(-d / 0.15) * 0.075)
        for kind, limit, look in zip(kinds, limits, looks, strict=True):
            if kind == 0:  # One end.
                e = limit - along
            elif kind == 1:  # Both ends.
                e = limit - np.abs(along)
            elif kind == 2:  # A belt.
                e = np.abs(along - (limit - 0.5)) - 0.4 * limit
            elif kind == 3:  # The rim.
                e = -d - 0.4 * limit
            else:  # The middle.
                e = np.hypot(st.u, st.v) - 0.8 * limit
            cover = noise.step(e, soft * st.pixel) * noise.step(d + 0.02, 1.5 * st.pixel)
            flat = look if look.ndim == 1 else look[st.window]
            scene.paste(st, cover, lit(tone, flat))

    return draw


def _colour(s: Studio) -> np.ndarray:
    return s.grey(0.05, 0.95, 0.06) if s.chance(0.6) else s.colour(value=(0.1, 0.95))


def flaw(scene: Scene, rng, size, severity) -> Drawn:
    """Any local irregularity: other stuff, a piece from elsewhere, a slipped pattern, a change of
    tone or of detail; round, long or only an outline.
    """
    x, y = scene.spot(rng)
    cover, radius, wide = _place(scene, rng, x, y, size)
    change = np.float32(sign_of(scene, rng, x, y) * strength(scene, x, y, wide, severity))
    opacity = 0.55 + 0.45 * severity
    kind = rng.integers(7)
    if kind == 0 or (kind <= 3 and not _has_order(scene)):  # Other stuff.
        rough = noise.sheet(rng, scene.studio.size, *np.exp(rng.uniform(*np.log([6, 200]), 2)))
        tint = rng.uniform(0.1, 0.9, 3) if rng.random() < 0.5 else np.full(3, rng.random())
        other = tint.astype(np.float32) + np.float32(rng.uniform(0.02, 0.2)) * rough[..., None]
    elif kind == 1:  # A piece from elsewhere, turned or mirrored.
        side = scene.studio.size
        down, right = (rng.uniform(1 / 8, 7 / 8, 2) * side).astype(int)
        other = np.roll(scene.rgb, (down, right), (0, 1))
        other = np.rot90(other, int(rng.integers(1, 4)))
        other = other if rng.random() < 0.5 else other[:, ::-1]
        other = other + change * np.float32(rng.choice([0.0, 0.4]))
    elif kind <= 3:  # The pattern slipped, turned or at another scale.
        other, opacity = _slipped(scene, rng, x, y), 1.0
    elif kind == 4:  # Detail lost or exaggerated.
        smooth = ndimage.uniform_filter(scene.rgb, scene.studio.size // 24, axes=(0, 1))
        other = smooth + np.float32(rng.choice([0.1, 2.2])) * (scene.rgb - smooth)
        other = other + np.float32(0.5) * change
    elif kind == 5:  # One or two tones.
        other = scene.rgb + change
        if rng.random() < 0.5:
            other = other - change * noise.ease((0.8 - radius) * 5)[..., None] * np.float32(1.6)
    else:  # A filter of another colour.
        colour = 0.35 + 0.65 * rng.random(3)
        other = scene.rgb * (colour / colour.max()).astype(np.float32) + np.float32(0.5) * change
    return blend(scene, cover, other.astype(np.float32), opacity)


def _place(scene: Scene, rng, x, y, size) -> tuple[np.ndarray, np.ndarray, float]:
    """Cover of a flaw, its normalised radius and its length, as a fraction of the side."""
    angle, aspect = rng.random() * np.pi, float(0.08 ** (rng.random() ** 2))
    wide = float(np.clip(max(size, 0.02 / aspect), 0.03, 0.5))
    if rng.random() < 0.15:  # A streak that may leave the picture.
        wide = float(rng.uniform(0.6, 1.8))
        aspect = float(np.exp(rng.uniform(*np.log([0.03, 0.3]))))
    cover, radius = blob(scene, rng, x, y, wide, 1.2 * rng.random(), aspect, angle)
    if rng.random() < 0.15:
        cover = cover * noise.ease((radius - 1 + (0.2 + 0.4 * rng.random())) * 8)
    return cover, radius, wide


def _has_order(scene: Scene) -> bool:
    """Whether a slip would show: in speckle and grain without a pattern, nobody can see one."""
    if scene.is_object:
        return True
    step = max(1, scene.studio.size // 128)
    grey = noise.brightness(scene.rgb[::step, ::step])
    n = len(grey)
    fade = np.hanning(n)
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * fade * fade[:, None])) ** 2
    cycles = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]) * n
    # Of patterns, a few frequencies hold most of the power; clouds are not counted.
    power = np.sort(power[cycles >= 4])
    return bool(power[-60:].sum() > 0.3 * power.sum())


def _slipped(scene: Scene, rng, x, y) -> np.ndarray:
    """The scene as if shifted a little, turned or scaled about a place."""
    n = scene.studio.size
    rows, columns = np.mgrid[:n, :n].astype(np.float32)
    if rng.random() < 0.5:
        move = rng.standard_normal(2)
        move *= n * np.exp(rng.uniform(*np.log([0.01, 0.08]))) / np.linalg.norm(move)
        return noise.resample(scene.rgb, rows + move[0], columns + move[1])
    turn, scale = rng.uniform(-1, 1) * np.pi / 3, np.exp(rng.uniform(-0.5, 0.5))
    dy, dx = (rows - y * n) * scale, (columns - x * n) * scale
    c, q = np.cos(turn), np.sin(turn)
    return noise.resample(scene.rgb, y * n + c * dy + q * dx, x * n + c * dx - q * dy)


def _stuff(s: Studio, calm: Number = 0.0) -> np.ndarray:
    """Colours [size, size, 3] of a random material; `calm` is how often it is nearly plain."""
    t = _layer(s)
    for _ in range(int(s.rng.integers(0, 3))):
        other = _layer(s)
        how = s.rng.integers(3)
        if how == 0:
            t = t + s.between(0.2, 1.0) * other
        elif how == 1:
            # Many islands: a single one would be an anomaly.
            t = np.where(s.fbm(s.log_between(12, 60), 2) > s.between(-0.3, 0.8), t, other)
        else:
            t = t * (1 + s.between(0.2, 0.8) * other)
    t = (t - t.mean()) / max(float(t.std()), 1e-3)
    contrast = s.log_between(0.01, 0.06) if s.chance(calm) else s.log_between(0.04, 0.28)
    count = int(s.rng.integers(2, 5))
    if s.chance(0.5):
        base = s.grey(0.15, 0.85, 0.05)
        stops = [base * k for k in np.linspace(s.between(0.2, 0.6), s.between(1.2, 1.8), count)]
    else:
        stops = [s.colour(saturation=(0.05, 0.8), value=(0.1, 0.95)) for _ in range(count)]
    rgb = ramp(np.clip(0.5 + contrast * t, 0, 1), *np.clip(stops, 0, 1).astype("f4"))
    clouds = s.between(0.0, 0.06) * s.fbm(3, 2) + s.between(0.0, 0.03) * s.grains()
    return rgb * (1 + clouds)[..., None]


def _layer(s: Studio) -> np.ndarray:
    """One pattern [size, size] of about unit variance."""
    cells = s.log_between(3, 120)
    kind = s.rng.integers(6)
    if kind == 0:  # Grain, along a direction or not.
        across = np.clip(cells * s.log_between(0.05, 20), 2, 250) if s.chance(0.5) else cells
        return s.sheet(cells, across, s.chance(0.2))
    if kind == 1:  # Clouds and bumps, seen by their tone or by their slope.
        field = s.fbm(min(cells, 60), 4, s.between(0.4, 0.9), s.log_between(0.5, 2))
        return field if s.chance(0.5) else s.relief(field) / max(cells, 8)
    if kind == 2:  # Cells: by their borders, by their middle or each in its own tone.
        n = s.log_between(5, 45)
        x, y = s.warped(s.between(0.0, 0.02), 6)
        squeeze = s.log_between(0.4, 2.5)
        first, second, owner = noise.cellular(s.rng, x * n, y * n * squeeze, s.between(0.1, 1))
        if s.chance(0.4):
            return noise.ease((second - first) * s.between(1, 5))
        if s.chance(0.4):
            return first
        return s.rng.standard_normal(int(owner.max()) + 1).astype("f4")[owner]
    if kind == 3:  # Stripes.
        return _wave(s, s.log_between(3, 70), s.between(0, np.pi))
    if kind == 4:  # Two systems of stripes across each other.
        n, turn = s.log_between(4, 50), s.between(0, np.pi)
        a = _wave(s, n, turn)
        b = _wave(s, n * s.log_between(0.5, 2), turn + s.choose(np.pi / 2, np.pi / 2, np.pi / 3))
        return s.choose(np.minimum, np.maximum, np.multiply, np.add)(a, b)
    n = s.log_between(4, 30)  # One small mark, again and again.
    x, y = s.rotated(s.between(0, np.pi))
    u, v = x * n, y * n * s.log_between(0.6, 1.6)
    fu, fv = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    tile = noise.sheet(s.rng, 32, s.between(1, 4))
    index = np.clip(np.stack([fv, fu]) * 32 + 16, 0, 31).astype(np.int32)
    fade = np.clip(1.2 - 2.4 * np.maximum(np.abs(fu), np.abs(fv)), 0, 1)
    return ndimage.gaussian_filter(tile, 1)[index[0], index[1]] * fade


def _wave(s: Studio, n: Number, turn: Number) -> np.ndarray:
    """Stripes: round, sharp, saw-toothed or of unequal width and tone."""
    x, _ = s.rotated(turn)
    phase = x * n + s.between(0.0, 0.3) * s.sheet(4) * s.choose(0, 1)
    kind = s.rng.integers(4)
    if kind == 0:
        return np.sin(2 * np.pi * phase)
    if kind == 1:
        return np.clip(np.sin(2 * np.pi * phase) * s.between(2, 8) + s.between(-1, 1), -1, 1)
    if kind == 2:
        return 2 * (phase - np.floor(phase)) - 1
    tones = s.rng.standard_normal(int(s.rng.integers(2, 7))).astype("f4")
    return tones[np.floor(phase).astype(np.int32) % len(tones)]


def _outline(s: Studio, kind: int | None = None):
    """A random signed distance (about) of a stamp, negative inside, in object radii."""
    kind = int(s.rng.integers(5)) if kind is None else kind
    aspect = s.between(0.4, 1.0) if kind < 4 else 1.0
    sides, depth = int(s.rng.integers(3, 13)), s.between(0.0, 0.22)
    power, corner = s.log_between(1.2, 8), s.between(0.0, 0.9)
    arm, bore = s.between(0.25, 0.6), s.between(0.2, 0.7) if s.chance(0.3) else 0.0
    slim, ribs, smooth = s.log_between(0.08, 0.3), s.between(8, 50), s.between(-1.0, 0.6)
    taper, height = s.between(0.0, 0.6), s.between(0.0, 0.35) * s.choose(0, 1)
    bump = noise.profile(s.rng, 256, s.between(2, 7)) * s.between(0.0, 0.12)
    bump = bump - np.linspace(0, 1, 256) * (bump[-1] - bump[0])  # Closed.

    def distance(st: Stamp) -> np.ndarray:
        u, v = st.u, st.v / aspect
        radius, theta = np.hypot(u, v), np.arctan2(v, u)
        if kind == 0:  # Lobes.
            d = radius - (1 - depth + depth * np.cos(sides * theta))
        elif kind == 1:  # Between a rhomb, an ellipse and a box.
            d = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power) - 0.95
        elif kind == 2:  # A regular polygon.
            d = noise.polygon_distance(u, v, sides) * 0.9 + 0.1
        elif kind == 4:  # A slim bar that narrows to one end, ribbed along a part of it.
            rib = height * np.sin(ribs * u) * noise.ease((u - smooth) * 8)
            half = slim * (1 - taper * noise.ease(u) + rib)
            return np.maximum(np.abs(v) - half, np.abs(u) - 0.97).astype(np.float32)
        else:  # One bar, or two across each other.
            d = noise.box_distance(u, v, 0.95, arm, corner * arm)
            if sides % 2:
                d = np.minimum(d, noise.box_distance(u, v, arm, 0.95, corner * arm))
        d = d - np.interp(theta.ravel(), np.linspace(-np.pi, np.pi, 256), bump).reshape(d.shape)
        return np.maximum(d, bore * 0.6 - radius).astype(np.float32) if bore else d

    return distance


def _features(s: Studio):
    """Draws studs, rings, slots or openings on an object, in a circle, in a row or in several.

    Where some places of a block are empty anyway, none of its marks counts as a part that can go
    missing: one more gap is no defect.
    """
    count, kind = int(s.rng.integers(0, 9)), s.rng.integers(4)
    reach, r, turn = s.between(0.0, 0.65), s.log_between(0.06, 0.25), s.between(0, np.pi)
    colour = s.grey(0.05, 0.95, 0.1) if s.chance(0.5) else s.colour()
    places = _circle(count, reach, turn) if s.chance(0.5) else _row(count, r, reach)
    gaps = False
    if s.chance(0.3):  # Like print.
        gaps = s.chance(0.5)
        places, r = _rows(s, s.between(0.6, 0.9) if gaps else 1.0)

    def draw(scene: Scene, st: Stamp, d: np.ndarray) -> None:
        for cu, cv in places:
            u, v = st.u - np.float32(cu), st.v - np.float32(cv)
            radius = np.hypot(u, v)
            if kind == 2:
                e = noise.box_distance(u, v, r, 0.4 * r, 0.1 * r)
            else:
                e = np.abs(radius - r) - 0.2 * r if kind == 1 else radius - r
            slope = scene.shade(st, noise.ease(-e / (0.5 * r)) * 0.3 * r)
            alpha = noise.step(np.maximum(e, d + 0.04), 1.5 * st.pixel)
            if kind == 3:
                hole = scene.backdrop[st.window] * 0.6
                scene.paste(st, alpha, hole, segment=False, solid=False)
            else:
                scene.paste(st, alpha, lit(0.9 + 0.5 * slope, colour), part=not gaps)

    return draw


def _circle(count: int, reach: Number, turn: Number) -> list[tuple[float, float]]:
    angles = [turn + 2 * np.pi * k / count for k in range(count)]
    return [(reach * np.cos(a), reach * np.sin(a)) for a in angles]


def _row(count: int, r: Number, reach: Number) -> list[tuple[float, float]]:
    return [((k - (count - 1) / 2) * 2.4 * r, reach * 0.4) for k in range(count)]


def _rows(s: Studio, full: Number) -> tuple[list[tuple[float, float]], float]:
    """Places in a block of rows and columns, a share `full` of all, and the radius of a mark."""
    rows, columns = int(s.rng.integers(1, 6)), int(s.rng.integers(3, 11))
    pitch, lead = s.between(0.8, 1.5) / columns, s.between(0.9, 2.0)
    u0, v0 = s.between(-0.2, 0.2), s.between(-0.2, 0.2)
    places = [
        (u0 + (k - (columns - 1) / 2) * pitch, v0 + (j - (rows - 1) / 2) * lead * pitch)
        for j in range(rows)
        for k in range(columns)
        if s.chance(full)
    ]
    return places, pitch * s.between(0.2, 0.42)
