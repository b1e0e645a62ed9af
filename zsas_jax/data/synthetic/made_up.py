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
from zsas_jax.data.synthetic.materials import stuff
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.objects import finish, ground, layout, lit
from zsas_jax.data.synthetic.scene import Scene, Stamp, Studio


def material(s: Studio) -> Scene:
    """A surface of one to three random layers in a random palette."""
    return Scene(s, stuff(s))


def part(s: Studio) -> Scene:
    """Objects of one random outline and material, with random features in a regular layout and
    sometimes with limbs of other outlines and materials.
    """
    scene = ground(s)
    body, zones, limbs = _piece(s, stuff(s, 0.4)), _zones(s), _limbs(s)
    features = [_features(s) for _ in range(s.choose(0, 1, 1, 1, 2, 3))]
    free, first = s.chance(0.6), s.chance(0.85)
    size = 1 / max([1.0, *(0.5 * (1 + limb.extent) for limb in limbs)])
    for x, y, r in layout(s, 3):
        turn, r = s.between(0, 2 * np.pi) if free else 0.0, r * size
        if first:  # The body lies over its limbs, or under them.
            _attach(scene, limbs, x, y, r, turn)
        st = scene.stamp(x, y, r, turn, reach=1.3)
        d = body(scene, st)
        zones(scene, st, d)
        for draw in features:
            draw(scene, st, d)
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
    """On each of an object's four sides nothing, a piece or a row of like ones; often the side
    across has the same.
    """
    if s.chance(0.35):
        return []
    limbs: list[_Limb] = []
    for direction in (0.0, np.pi / 2):
        group = _group(s)
        across = group if s.chance(0.5) else _group(s)
        limbs += [_turned(limb, direction) for limb in group]
        limbs += [_turned(limb, direction + np.pi) for limb in across]
    return limbs


def _group(s: Studio) -> list[_Limb]:
    """What is on one side, drawn for the side of the first axis."""
    kind = s.choose(0, 0, 0, 1, 1, 2)
    if kind == 0:
        return []
    if kind == 1:
        piece = _piece(s, stuff(s, 0.6) if s.chance(0.5) else None)
        turn = s.choose(0.0, np.pi / 2, s.between(0, np.pi))
        return [_Limb(piece, s.between(0.3, 1.0), s.between(-0.1, 0.1), s.between(0.35, 0.8), turn)]
    piece, count = _piece(s, None, 4), int(s.rng.integers(2, 7))
    length, pitch = s.between(0.25, 0.6), s.between(0.6, 1.5) / count
    flat = s.choose(0.0, 0.0, np.pi / 2)
    rows = [(k - (count - 1) / 2) * pitch for k in range(count)]
    return [_Limb(piece, 0.65 + 0.7 * length, row, length, flat) for row in rows]


def _turned(limb: _Limb, angle: Number) -> _Limb:
    c, q = np.cos(angle), np.sin(angle)
    return limb._replace(
        along=c * limb.along - q * limb.across,
        across=q * limb.along + c * limb.across,
        turn=limb.turn + angle,
    )


def _attach(scene: Scene, limbs: list[_Limb], x: Number, y: Number, r: Number, turn: Number):
    for limb in (_turned(limb, turn) for limb in limbs):
        cx, cy = x + r * limb.along, y + r * limb.across
        limb.draw(scene, scene.stamp(cx, cy, r * limb.radius, limb.turn, reach=1.3))


def _piece(s: Studio, look: np.ndarray | None, kind: int | None = None):
    """Draws one outline with a bevel in a material, or in a plain colour where `look` is None."""
    outline, colour = _outline(s, kind), s.grey(0.2, 0.9, 0.06) if s.chance(0.7) else s.colour()
    # A flat top with a bevelled edge, or round all over.
    bevel = s.between(0.03, 0.3) if s.chance(0.65) else s.between(0.4, 1.2)
    gloss, relief = s.between(0.0, 0.5), _relief(s)

    def draw(scene: Scene, st: Stamp) -> np.ndarray:
        d = outline(st)
        height = noise.ease(-d / bevel) * 0.5 * bevel + relief(st) * noise.ease(-d / 0.15)
        slope = scene.shade(st, height)
        tone = 0.85 + 0.5 * slope
        shine = gloss * np.maximum(slope, 0) ** 2
        flat = colour if look is None else look[st.window]
        alpha = noise.step(d, 1.5 * st.pixel)
        scene.paste(st, alpha, lit(tone, flat, shine))
        return d

    return draw


def _relief(s: Studio):
    """The height of an object's own ribs, in object radii: across it, in rings, spokes or a spiral;
    mostly none.
    """
    kind, n, sharp = s.choose(0, 0, 0, 0, 1, 1, 2, 3, 4), s.log_between(3, 30), s.between(1, 4)
    turn, steep = s.between(0, np.pi), s.log_between(0.15, 1.0)

    def height(st: Stamp) -> np.ndarray | float:
        if kind == 0:
            return 0.0
        radius, theta = np.hypot(st.u, st.v), np.arctan2(st.v, st.u)
        if kind == 1:
            phase = n * (np.cos(turn) * st.u + np.sin(turn) * st.v)
        elif kind == 2:
            phase = n * radius
        else:
            phase = (n * radius if kind == 4 else 0.0) + round(n) * theta / (2 * np.pi)
        wave = np.clip(sharp * np.sin(2 * np.pi * phase), -1, 1)
        return (steep / (2 * np.pi * n)) * wave.astype(np.float32)

    return height


def _zones(s: Studio):
    """Gives ends, a belt, a rim or the middle of every object a material of its own."""
    count = s.choose(0, 0, 0, 1, 1, 2)
    looks = [stuff(s, 0.5) if s.chance(0.6) else _colour(s) for _ in range(count)]
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
