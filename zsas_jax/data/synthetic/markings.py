"""Regular, intended marks on training surfaces: seams, stamped text, rivets, labels, stripes.

They are normal structure, never labelled, so that local contrast alone does not give defects away.
"""

import numpy as np

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Scene, Studio


def strokes(
    s: Studio, count: int, width: Number, height: Number, pitch: Number
) -> list[np.ndarray]:
    """Polylines of `count` made-up letters on a row that starts at the origin, unit coordinates."""
    alphabet = [s.rng.random((int(s.rng.integers(2, 5)), 2)) for _ in range(14)]
    letters = []
    for k in range(count):
        if s.chance(0.85):
            letter = alphabet[int(s.rng.integers(len(alphabet)))]
            letters.append(letter * (width, height) + (k * pitch, 0.0))
    return letters


def mark(s: Studio, scene: Scene, probability: Number) -> Scene:
    """Adds one kind of marking to some surfaces."""
    if s.chance(probability):
        s.choose(_seam, _text, _rivets, _label, _stripe)(s, scene)
    return scene


def _seam(s: Studio, scene: Scene) -> None:
    """One or two straight seams through the whole picture, stitched or grooved."""
    at, gap = s.between(0.15, 0.85), s.between(0.02, 0.06)
    for offset in (0.0, gap)[: int(s.rng.integers(1, 3))]:
        d = np.abs(s.x - at - offset + 0.002 * noise.profile(s.rng, s.size, 4)[:, None])
        groove = noise.step(d - s.between(0.002, 0.006), 0.004)
        if s.chance(0.5):
            groove = groove * (np.sin(2 * np.pi * s.between(18, 45) * s.y) > -0.2)
        tone = s.choose(0.35, 0.6, 1.5)
        scene.rgb *= (1 + (tone - 1) * groove).astype("f4")[..., None]


def _text(s: Studio, scene: Scene) -> None:
    """A line of stamped or printed characters."""
    height = s.between(0.03, 0.12)
    letters = strokes(s, int(s.rng.integers(3, 11)), 0.6 * height, height, 0.8 * height)
    origin = (s.between(0.05, 0.6), s.between(0.05, 0.85))
    cover = noise.draw(
        s.size, [("line", p + origin, height * s.between(0.06, 0.16)) for p in letters]
    )
    ink = s.grey(0.0, 1.0, 0.1)
    scene.rgb += (cover * s.between(0.3, 0.9))[..., None] * (ink - scene.rgb)


def _rivets(s: Studio, scene: Scene) -> None:
    """A row or a rectangle of equal rivets or drilled holes."""
    radius, hole = s.between(0.012, 0.04), s.chance(0.5)
    xs = np.linspace(s.between(0.06, 0.2), s.between(0.8, 0.94), int(s.rng.integers(2, 6)))
    ys = [s.between(0.08, 0.92)] if s.chance(0.5) else [s.between(0.06, 0.2), s.between(0.8, 0.94)]
    for y in ys:
        for x in xs:
            st = scene.stamp(x, y, radius)
            d = np.hypot(st.u, st.v)
            slope = scene.shade(st, np.sqrt(np.clip(1 - d**2, 0, 1)) * 0.5)
            look = scene.rgb[st.window] * (0.2 if hole else 1.0)
            look = look + (0.0 if hole else 0.12) * np.clip(slope, -2, 2)[..., None]
            scene.paste(st, noise.step(d - 1, 1.5 * st.pixel), look, part=True, solid=None)


def _label(s: Studio, scene: Scene) -> None:
    """A glued or printed rectangular label with a few bars."""
    st = scene.stamp(s.between(0.2, 0.8), s.between(0.2, 0.8), s.between(0.1, 0.28))
    high = s.between(0.3, 0.8)
    d = noise.box_distance(st.u, st.v, 0.95, high, s.between(0, 0.2))
    bars = (np.sin(st.u * s.between(10, 60)) > s.between(-0.5, 0.6)) & (np.abs(st.v) < 0.5 * high)
    bars &= np.abs(st.u) < 0.75
    field, ink = s.grey(0.5, 1.0, 0.1), s.grey(0.0, 0.4, 0.1)
    look = field + bars.astype("f4")[..., None] * (ink - field)
    scene.paste(
        st, noise.step(d, 1.5 * st.pixel) * s.between(0.8, 1.0), look, part=True, solid=None
    )


def _stripe(s: Studio, scene: Scene) -> None:
    """Painted stripes with straight borders through the whole picture, which hide the ground."""
    at, wide = s.between(0.0, 1.0), s.between(0.01, 0.15)
    repeat = s.chance(0.4)
    d = np.abs((s.x - at + 0.5) % (3 * wide) - 1.5 * wide if repeat else s.x - at) - wide / 2
    cover = noise.step(d, 1.5 / s.size) * s.between(0.75, 1.0) + 0 * s.y
    scene.rgb += cover[..., None] * (s.colour() * scene.rgb.mean() * 2 - scene.rgb)
