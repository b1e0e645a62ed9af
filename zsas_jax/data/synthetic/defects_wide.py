"""Training defects that take in much of a picture; same calling convention as `defects`."""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.defects import Drawn, blend, blob, sign_of, strength
from zsas_jax.data.synthetic.scene import Scene


def uncoated(scene: Scene, rng, size, severity) -> Drawn:
    """One side or corner that a coating or a process step did not reach: another tone, tint,
    gloss or grain, up to a straight, bent or ragged border.
    """
    s = scene.studio
    x, y = scene.spot(rng)
    turn = rng.random() * 2 * np.pi
    c, q = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    dx, dy = s.x - np.float32(x), s.y - np.float32(y)
    depth, along = c * dx + q * dy, c * dy - q * dx
    kind = rng.integers(3)
    if kind == 1:  # A corner.
        depth = np.maximum(depth, along)
    elif kind == 2:  # An arc, hollow or full.
        radius = np.float32(rng.uniform(0.4, 1.2) * rng.choice([-1.0, 1.0]))
        depth = np.sign(radius) * (np.hypot(depth + radius, along) - abs(radius))
    if rng.random() < 0.6:
        depth = depth + np.float32(rng.uniform(0.0, 0.03)) * noise.sheet(
            rng, s.size, np.exp(rng.uniform(*np.log([3, 40])))
        )
    solid = scene.solid > 0.5
    share = np.clip(0.9 * size, 0.03, 0.34 if scene.is_object else 0.43)
    border = np.quantile(depth[solid], share) if solid.any() else 0.0
    soft = max(1.5 / s.size, float(np.exp(rng.uniform(*np.log([0.003, 0.03])))))
    cover = noise.step(depth - np.float32(border), soft)
    change = np.float32(sign_of(scene, rng, x, y) * strength(scene, x, y, 0.3, severity) * 0.75)
    other = scene.rgb + change
    look = rng.integers(4)
    if look == 1:  # A film of another colour.
        colour = 0.45 + 0.55 * rng.random(3).astype(np.float32)
        other = scene.rgb * (colour / colour.max()) + np.float32(0.5) * change
    elif look == 2:  # Duller or glossier.
        smooth = ndimage.uniform_filter(scene.rgb, s.size // 24, axes=(0, 1))
        other = smooth + np.float32(rng.choice([0.3, 1.7])) * (scene.rgb - smooth) + change
    elif look == 3:  # Bare ground of another grain.
        grain = noise.sheet(rng, s.size, np.exp(rng.uniform(*np.log([20, 120]))))
        other = scene.rgb * np.float32(0.5) + scene.rgb.mean((0, 1)) * np.float32(0.5) + change
        other = other + np.float32(0.05) * grain[..., None]
    return blend(scene, cover, other.astype(np.float32))


def burn(scene: Scene, rng, size, severity) -> Drawn:
    """Scorching or tempering colours that fade outwards from where it was hottest."""
    x, y = scene.spot(rng, 0.0)
    size = min(max(1.3 * size, 0.15), 0.7)
    _, radius = blob(scene, rng, x, y, size, 0.7, 0.4 + 0.6 * rng.random(), rng.random() * 3)
    if rng.random() < 0.5:  # Charred, then brown.
        stops = [[0.12, 0.1, 0.09], [0.35, 0.22, 0.12], [0.8, 0.66, 0.45], [1.0, 0.95, 0.85]]
    else:  # Tempering colours of metal.
        stops = [[0.45, 0.55, 0.75], [0.5, 0.35, 0.65], [0.75, 0.5, 0.3], [1.0, 0.9, 0.6]]
    table = np.array(stops, np.float32) * rng.uniform(0.85, 1.1, (4, 3)).astype(np.float32)
    t = np.clip(radius, 0, 1) * 3
    film = np.stack([np.interp(t, np.arange(4), table[:, k]) for k in range(3)], -1)
    soft = noise.ease((1.3 - radius) / np.float32(rng.uniform(0.3, 0.7)))
    opacity = 0.4 + 0.6 * severity
    dark = np.float32(strength(scene, x, y, size, severity)) * noise.ease(1.2 - radius)
    burnt = scene.rgb * film.astype(np.float32) - np.float32(0.4) * dark[..., None]
    rgb, _ = blend(scene, soft * np.float32(opacity), burnt)
    return rgb, soft * scene.solid


def ripple(scene: Scene, rng, size, severity) -> Drawn:
    """A buckled area: parallel waves that shift the pattern to and fro and catch the light."""
    s = scene.studio
    x, y = scene.spot(rng)
    size = min(max(1.2 * size, 0.16), 0.6)
    cover, radius = blob(scene, rng, x, y, size, 0.5, 0.5 + 0.5 * rng.random(), rng.random() * 3)
    turn, length = rng.random() * np.pi, float(np.exp(rng.uniform(*np.log([0.03, 0.12]))))
    c, q = np.cos(turn), np.sin(turn)
    bend = 0.3 * length * noise.sheet(rng, s.size, 4)
    phase = (c * (s.x - x) + q * (s.y - y) + bend) * (2 * np.pi / length)
    fade = noise.ease((1.02 - radius) * 3)
    wave = np.sin(phase.astype(np.float32)) * fade
    push = np.float32(s.size * length * (0.15 + 0.2 * severity)) * wave
    rows, columns = np.mgrid[: s.size, : s.size].astype(np.float32)
    aside = turn + rng.choice([0.0, np.pi / 2])  # Squeezed, or shifted sideways.
    moved = noise.resample(
        scene.rgb,
        rows + push * np.float32(np.sin(aside)),
        columns + push * np.float32(np.cos(aside)),
    )
    gain = np.float32(strength(scene, x, y, size, severity) * rng.uniform(0.1, 0.6))
    lit = np.cos(phase.astype(np.float32)) * fade * gain
    return blend(scene, cover, moved + lit[..., None])
