"""Evaluation defects: other drawing code than any training defect; same calling convention."""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.defects import Drawn, blend, sign_of, strength
from zsas_jax.data.synthetic.scene import Scene


def blowholes(scene: Scene, rng, size, severity) -> Drawn:
    """A cluster of small round pits, each dark with a lit lower lip."""
    x, y = scene.spot(rng)
    s = scene.studio
    cover, tone = np.zeros_like(scene.solid), np.zeros_like(scene.solid)
    count = 1 + int(rng.integers(1, 9))
    for _ in range(count):
        px, py = np.array([x, y]) + rng.standard_normal(2) * size * 0.22
        r = float(np.clip(size * (0.06 + 0.12 * rng.random()), 0.009, 0.06))
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
    width = (0.006 + 0.014 * severity) * (0.7 + 0.6 * rng.random())
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
    wide = np.clip(size * 0.6, 0.05, 0.34)
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
    cover = noise.ease((0.55 * field + 1.0 - 1.6 * reach) * 3)
    base = np.array([[0.45, 0.22, 0.08], [0.25, 0.35, 0.2], [0.8, 0.82, 0.75], [0.12, 0.1, 0.1]])
    colour = base[int(rng.integers(4))] * (0.8 + 0.4 * rng.random())
    grain = 1 + 0.25 * noise.sheet(rng, s.size, 110)
    rust = (colour * grain[..., None]).astype(np.float32)
    return blend(scene, cover, rust, 0.4 + 0.45 * severity)


def contamination(scene: Scene, rng, size, severity) -> Drawn:
    """Foreign matter lying on top: a curled fibre or a scatter of crumbs, with a shadow."""
    s = scene.studio
    x, y = scene.spot(rng)
    if rng.random() < 0.5:
        path = noise.walk(rng, (x, y), rng.random() * 6.3, size * 1.5, 2.5, 32)
        path += (x, y) - path.mean(0)
        shapes = [("line", path, 0.006 + 0.008 * rng.random())]
    else:
        shapes = []
        for _ in range(int(rng.integers(1, 8))):
            centre = np.array([x, y]) + rng.standard_normal(2) * size * 0.25
            angles = np.linspace(0, 2 * np.pi, 7)[:-1]
            r = np.clip(size * (0.06 + 0.14 * rng.random()), 0.01, 0.09)
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
    dx, dy = s.x - x, s.y - y
    fall = np.clip(1 - (dx**2 + dy**2) * (4 / size**2), 0, 1) ** 1.5
    if rng.random() < 0.5:
        angle = fall * np.float32((1 if rng.random() < 0.5 else -1) * (0.5 + 1.0 * severity))
        sx = x + dx * np.cos(angle) - dy * np.sin(angle)
        sy = y + dx * np.sin(angle) + dy * np.cos(angle)
    else:
        push = rng.standard_normal(2)
        push *= size * (0.12 + 0.18 * severity) / np.linalg.norm(push)
        sx, sy = s.x + fall * push[0], s.y + fall * push[1]
    coordinates = np.stack(np.broadcast_arrays(sy * s.size - 0.5, sx * s.size - 0.5))
    rgb = np.stack(
        [
            ndimage.map_coordinates(scene.rgb[..., c], coordinates, order=1, mode="reflect")
            for c in range(3)
        ],
        -1,
    )
    return rgb, changed(scene.rgb, rgb)


def displaced_part(scene: Scene, rng, size, severity) -> Drawn:
    """One of the object's parts has slipped aside and turned a little."""
    rgb = scene.rgb.copy()
    if not scene.parts:
        return rgb, np.zeros_like(scene.solid)
    part = scene.parts[int(rng.integers(len(scene.parts)))]
    rgb[part.window] += part.alpha[..., None] * (part.under - rgb[part.window])
    layer = np.zeros((*scene.solid.shape, 4), np.float32)
    layer[part.window] = np.concatenate([part.over, part.alpha[..., None]], -1)
    extent = max(part.alpha.shape)
    move = rng.standard_normal(2)
    move *= extent * (0.12 + 0.25 * severity) / np.linalg.norm(move)
    turn = rng.standard_normal() * 0.35
    centre = np.array([(w.start + w.stop) / 2 for w in part.window])
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = centre - matrix @ (centre + move)
    moved = np.stack(
        [ndimage.affine_transform(layer[..., c], matrix, offset, order=1) for c in range(4)], -1
    )
    alpha = moved[..., 3:]
    rgb += alpha * (moved[..., :3] - rgb)
    return rgb, changed(scene.rgb, rgb)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cover of the pixels that differ visibly, without pinholes."""
    differs = np.abs(after - before).max(-1) > 0.05
    return ndimage.binary_closing(differs, iterations=2).astype(np.float32)
