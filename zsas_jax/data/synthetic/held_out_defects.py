"""Evaluation defects: other drawing code than any training defect; same calling convention."""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.defects import Drawn, blend, sign_of, strength
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Scene


def blowholes(scene: Scene, rng, size, severity) -> Drawn:
    """A cluster of small round pits, each dark with a lit lower lip."""
    x, y = scene.spot(rng)
    s = scene.studio
    cover, tone = np.zeros_like(scene.solid), np.zeros_like(scene.solid)
    count = 1 + int(rng.integers(1, 9))
    for _ in range(count):
        px, py = np.array([x, y]) + rng.standard_normal(2) * size * 0.22
        r = float(np.clip(size * (0.08 + 0.16 * rng.random()), 0.011, 0.085))
        st = scene.stamp(px, py, r, reach=1.4)
        d = np.hypot(st.u, st.v)
        one = noise.step(d - 1, 1.5 * st.pixel)
        lip = (st.u * np.cos(s.azimuth) + st.v * np.sin(s.azimuth)) * np.clip(d, 0, 1) ** 2
        tone[st.window] = np.where(one > 0.2, 0.18 * lip, tone[st.window])
        cover[st.window] = np.maximum(cover[st.window], one)
    dark = scene.rgb * np.float32(0.7 - 0.45 * severity) - 0.05 + tone[..., None]
    return blend(scene, cover, dark - 0.3 * scene.contrast(x, y, size / 2))


def cut(scene: Scene, rng, size, severity) -> Drawn:
    """A straight slit with sharp ends: dark gap, one raised bright lip."""
    x, y = scene.spot(rng)
    heading, half = rng.random() * np.pi, max(size, 0.07) * 0.6
    along = np.array([np.cos(heading), np.sin(heading)])
    normal = np.array([-along[1], along[0]])
    width = (0.009 + 0.02 * severity) * (0.7 + 0.7 * rng.random())
    middle = np.array([x, y])

    def lens(offset, thick):
        t = np.linspace(-1, 1, 17)[:, None]
        bulge = (1 - t**2) * thick * normal
        spine = middle + t * half * along + offset * normal
        return ("polygon", np.concatenate([spine + bulge, (spine - bulge)[::-1]]))

    gap = noise.draw(scene.studio.size, [lens(0, width)])
    lip = noise.draw(scene.studio.size, [lens(width * 1.1, width * 0.9)])
    change = strength(scene, x, y, size, severity) * 0.7
    rgb, first = blend(scene, lip, scene.rgb + np.float32(change))
    rgb += (gap * scene.solid)[..., None] * (scene.rgb * np.float32(0.45) - change * 0.5 - rgb)
    return rgb, np.maximum(first, gap * scene.solid)


def uneven_band(scene: Scene, rng, size, severity) -> Drawn:
    """A strip across the picture where the surface is lighter or darker, with a wavy border."""
    s = scene.studio
    x, y = scene.spot(rng)
    wide = np.clip(size * 0.6, 0.04, 0.34)
    wave = 0.012 * noise.profile(rng, s.size, 5)
    if rng.random() < 0.5:
        offset = np.abs(s.y - (y + wave)[None, :].astype(np.float32))
    else:
        offset = np.abs(s.x - (x + wave)[:, None].astype(np.float32))
    cover = noise.step(offset - wide / 2, 3 / s.size)
    change = sign_of(scene, rng, x, y) * (0.06 + 0.12 * severity + 0.2 * scene.contrast(x, y, 0.1))
    return blend(scene, cover, scene.rgb + np.float32(change))


def corrosion(scene: Scene, rng, size, severity) -> Drawn:
    """Grainy rust or mould: a fractal patch of many small spots that grow together."""
    s = scene.studio
    x, y = scene.spot(rng)
    field = noise.fbm(rng, s.size, 1.2 / max(size, 0.05) + 4, 4, 0.75)
    reach = np.hypot(s.x - x, s.y - y) * (2 / max(size, 0.05))
    cover = noise.ease((0.55 * field + 1.0 - 1.15 * reach) * 3)
    base = np.array([[0.45, 0.22, 0.08], [0.25, 0.35, 0.2], [0.8, 0.82, 0.75], [0.12, 0.1, 0.1]])
    colour = base[int(rng.integers(4))] * (0.8 + 0.4 * rng.random())
    grain = 1 + 0.25 * noise.sheet(rng, s.size, 110)
    rust = (colour * grain[..., None]).astype(np.float32)
    return blend(scene, cover, rust, 0.4 + 0.45 * severity)


def contamination(scene: Scene, rng, size, severity) -> Drawn:
    """Foreign matter lying on top: a curled fibre or a scatter of crumbs."""
    s = scene.studio
    x, y = scene.spot(rng)
    if rng.random() < 0.5:
        path = noise.walk(rng, (x, y), rng.random() * 6.3, size * 1.5, 2.5, 32)
        path += (x, y) - path.mean(0)
        shapes = [("line", path, 0.008 + 0.012 * rng.random())]
    else:
        shapes = []
        for _ in range(int(rng.integers(1, 8))):
            centre = np.array([x, y]) + rng.standard_normal(2) * size * 0.25
            angles = np.linspace(0, 2 * np.pi, 7)[:-1]
            r = np.clip(size * (0.1 + 0.2 * rng.random()), 0.014, 0.14)
            points = r * (0.6 + 0.7 * rng.random((6, 1)))
            shapes.append(
                ("polygon", centre + points * np.stack([np.cos(angles), np.sin(angles)], 1))
            )
    cover = noise.draw(s.size, shapes)
    tone = sign_of(scene, rng, x, y) * strength(scene, x, y, size, severity)
    local = scene.rgb[int(min(y, 0.999) * s.size), int(min(x, 0.999) * s.size)]
    colour = np.clip(local + tone + 0.1 * rng.standard_normal(3), 0, 1).astype(np.float32)
    texture = 1 + 0.08 * noise.sheet(rng, s.size, 90)[..., None]
    return blend(scene, cover, colour * texture)


def distortion(scene: Scene, rng, size, severity) -> Drawn:
    """A region of the surface pulled or twisted out of place."""
    s = scene.studio
    x, y = scene.spot(rng)
    size = max(size, 0.1)
    st = scene.stamp(x, y, size / 2, reach=1.0)
    fall = np.clip(1 - st.u**2 - st.v**2, 0, 1) ** 1.5
    if rng.random() < 0.5:
        angle = fall * np.float32((1 if rng.random() < 0.5 else -1) * (0.8 + 1.2 * severity))
        su = st.u * np.cos(angle) - st.v * np.sin(angle)
        sv = st.u * np.sin(angle) + st.v * np.cos(angle)
    else:
        push = rng.standard_normal(2)
        push *= (0.32 + 0.4 * severity) / np.linalg.norm(push)
        su, sv = st.u + fall * np.float32(push[0]), st.v + fall * np.float32(push[1])
    columns, rows = (x + su * size / 2) * s.size - 0.5, (y + sv * size / 2) * s.size - 0.5
    moved = noise.resample(scene.rgb, rows, columns)
    rgb = scene.rgb.copy()
    rgb[st.window] += scene.solid[st.window][..., None] * (moved - rgb[st.window])
    return rgb, changed(scene.rgb, rgb, size * s.size * 0.04)


def displaced_part(scene: Scene, rng, size, severity) -> Drawn:
    """One of the object's parts has slipped aside and turned a little, and left a print.

    Without the print nobody could tell: on the next object the part might sit there.
    """
    rgb = scene.rgb.copy()
    if not scene.parts:
        return rgb, np.zeros_like(scene.solid)
    part = scene.parts[int(rng.integers(len(scene.parts)))]
    height, width = part.alpha.shape
    n = len(rgb)
    y, x = ((edge.start + edge.stop) / 2 / n for edge in part.window)
    tone = sign_of(scene, rng, x, y) * strength(scene, x, y, max(height, width) / n, severity)
    bare = part.under + np.float32(0.7 * tone)
    rgb[part.window] += part.alpha[..., None] * (bare - rgb[part.window])
    # A large part slips by a small share of itself, or the picture would be another one.
    extent = min(max(height, width), 0.25 * n)
    move = rng.standard_normal(2)
    move *= extent * (0.2 + 0.25 * severity) / np.linalg.norm(move)
    turn = rng.standard_normal() * 0.2
    margin = 2 + int(extent * 0.4 + 0.1 * max(height, width))
    layer = np.concatenate([part.over, part.alpha[..., None]], -1)
    layer = np.pad(layer, ((margin, margin), (margin, margin), (0, 0)))
    v = np.arange(height + 2 * margin, dtype=np.float32)[:, None] - (height / 2 + margin) - move[0]
    u = np.arange(width + 2 * margin, dtype=np.float32)[None, :] - (width / 2 + margin) - move[1]
    rows = v * np.cos(turn) + u * np.sin(turn) + height / 2 + margin
    columns = u * np.cos(turn) - v * np.sin(turn) + width / 2 + margin
    moved = noise.resample(layer, rows, columns)
    window, inner = [], []
    for axis, length in enumerate(rgb.shape[:2]):
        start = part.window[axis].start - margin
        stop = start + moved.shape[axis]
        window.append(slice(max(start, 0), min(stop, length)))
        inner.append(slice(max(-start, 0), moved.shape[axis] - max(stop - length, 0)))
    moved = moved[tuple(inner)]
    place = tuple(window)
    rgb[place] += moved[..., 3:] * (moved[..., :3] - rgb[place])
    return rgb, changed(scene.rgb, rgb, 2, fill=False)


def changed(before: np.ndarray, after: np.ndarray, gap: Number, fill: bool = True) -> np.ndarray:
    """Cover of the pixels that differ visibly, closed over gaps of about `gap` pixels.

    `fill` closes what the change surrounds too.
    """
    differs = noise.largest(np.abs(after - before)) > 0.05
    if not differs.any():
        return differs.astype(np.float32)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    margin = int(gap) + 2
    inside = np.pad(differs[window], margin)
    closed = ndimage.binary_closing(inside, iterations=max(2, round(gap)))
    cover = np.zeros(differs.shape, np.float32)
    if fill:
        closed = np.asarray(ndimage.binary_fill_holes(closed))
    cover[window] = closed[margin:-margin, margin:-margin]
    return cover
