"""Materials that nobody has a name for: one to three random layers in a random palette."""

import numpy as np
from scipy import ndimage

from zsas_jax.data.synthetic import noise
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.scene import Studio, ramp


def stuff(s: Studio, calm: Number = 0.0) -> np.ndarray:
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
    kind = s.rng.integers(7)
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
    if kind == 5:  # Ridges: lines without order, by themselves or as folds.
        fold = np.abs(s.fbm(s.log_between(2, 20), int(s.rng.integers(1, 5)), s.between(0.3, 0.7)))
        return np.exp(-fold * s.log_between(3, 25)) if s.chance(0.6) else fold
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
