"""A network, a head and a method that only this file knows go through everything there is.

CONTRIBUTING.md shows the three pieces below as they stand here.
"""

import dataclasses
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image
from safetensors.numpy import save_file

import zsas_jax
from zsas_jax import methods
from zsas_jax.__main__ import main
from zsas_jax.convert.rules import Rule
from zsas_jax.methods.base import Head, Heat, Maps, Method, Rough, Training
from zsas_jax.networks import NETWORKS, base
from zsas_jax.networks.base import Layout, Network
from zsas_jax.ops.resize import resize_pillow
from zsas_jax.parts.scores import inside_photo
from zsas_jax.parts.upsampling import Upsampling, upsample_map
from zsas_jax.testing import dummy_bundle


# A network: sizes, module, and how its published weights are named.
@dataclasses.dataclass(frozen=True)
class ColorConfig:
    """Sizes of the network."""

    width: int = 4


class Color(nnx.Module):
    """Levels uint8 [b, h, w, 3] -> logits [b, h, w]."""

    def __init__(self, config, *, rngs, param_dtype=jnp.float32):
        self.config = config
        self.into = nnx.Linear(3, config.width, rngs=rngs, param_dtype=param_dtype)
        self.out = nnx.Linear(config.width, 1, rngs=rngs, param_dtype=param_dtype)

    def __call__(self, images):
        return self.out(nnx.relu(self.into(images / 255)))[..., 0]


PUBLISHED = Layout(
    "published",
    prefixes=("encoder.",),
    rules=lambda config: [Rule(r"^into\.", "encoder."), Rule(r"^out\.", "decoder.")],
    config=lambda weights, folder, options: ColorConfig(weights.shapes["encoder.bias"][0]),
)
COLOR = Network("color", ColorConfig, Color, (PUBLISHED,), small=ColorConfig())


# A head: photo and networks -> rough map.
@dataclasses.dataclass(frozen=True)
class Blot:
    """Settings of the head."""

    side: int = 32
    """Side of the network's input, pixels; our choice, where a paper is silent."""
    upsampling: Upsampling = Upsampling()


def rough(networks, photos, context, config):
    """The network's opinion of every pixel of the stretched photo."""
    side = (config.side, config.side)
    levels = resize_pillow(photos.images, photos.sizes, side, side, "bilinear")
    grid = nnx.sigmoid(networks.color(levels))
    canvas = upsample_map(grid, photos.images, photos.sizes, config.upsampling)
    return Rough(grid, canvas, grid.max((1, 2)))


# How its network is trained by `zsas train`.
@dataclasses.dataclass(frozen=True)
class BlotTraining:
    """Settings of the loss."""

    weight: float = 1.0


def loss(color, networks, images, context, masks, config, training):
    """Cross-entropy of every pixel, and nothing further to log."""
    errors = optax.sigmoid_binary_cross_entropy(color(images), masks)
    return training.weight * errors.mean(), {}


BLOT = Head(
    "blot",
    "Nobody et al. 2026",
    Blot,
    networks=lambda config: ("color",),
    prepare=lambda bundle, categories, config, request: np.zeros(len(categories)),
    rough=rough,
    training=Training(
        "color",
        BlotTraining,
        features=lambda networks, images, config: images,
        loss=loss,
        maps=lambda color, networks, images, context, config: nnx.sigmoid(color(images)),
    ),
)


# A method that is no pair of head and refiner.
@dataclasses.dataclass(frozen=True)
class Deviation:
    """Settings of the method."""

    scale: float = 0.5
    """Distance from the photo's mean colour that is surely anomalous, levels of 1."""


def segment(networks, photos, context, config, compute):
    """How far every pixel is from the mean colour of its photo; pure and traced."""
    levels = photos.images.astype(jnp.float32) / 255
    _, inside = inside_photo(levels[..., 0], photos.sizes)
    mean = levels.mean((1, 2), where=inside[..., None], keepdims=True)
    distance = jnp.abs(levels - mean).max(-1)
    found, _ = inside_photo(distance / config.scale, photos.sizes)
    return Maps(found, found.max((1, 2)), {"distance": Heat(found**2)})


DEVIATION = Method(
    "deviation",
    "Nobody et al. 2026",
    Deviation,
    networks=lambda config: (),
    prepare=lambda bundle, categories, config, request: np.zeros(len(categories)),
    segment=segment,
)
# End of the pieces.


@pytest.fixture(autouse=True, scope="module")
def registered():
    """In the package, a line of `networks/__init__` or of `methods/__init__` does this."""
    base.register(COLOR)
    methods.register(BLOT)
    methods.register(DEVIATION)
    yield
    NETWORKS.pop("color")
    methods.HEADS.pop("blot")
    methods.METHODS.pop("deviation")


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as its authors would publish it."""
    rng = np.random.default_rng(0)
    shapes = {"encoder.weight": (6, 3), "encoder.bias": (6,), "decoder.weight": (1, 6)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("published") / "color.safetensors"
    save_file({**tensors, "decoder.bias": np.zeros(1, np.float32)}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(published, tmp_path_factory):
    """`zsas weights convert` with the flag of the new network, beside a small SAM."""
    folder = tmp_path_factory.mktemp("converted")
    zsas_jax.save(folder / "sam", dummy_bundle(["sam"]))
    words = ["--color", str(published), "--sam", str(folder / "sam")]
    assert main(["weights", "convert", *words, "--output", str(folder / "both")]) == 0
    return folder / "both"


def photo(path):
    levels = np.full((40, 56, 3), 90, np.uint8)
    levels[10:20, 12:30] = (250, 10, 10)
    Image.fromarray(levels).save(path)
    return str(path)


def test_contributing_shows_these_pieces():
    root = pathlib.Path(__file__).resolve().parents[1]
    source = pathlib.Path(__file__).read_text("utf-8")
    text = (root / "CONTRIBUTING.md").read_text("utf-8")
    shown = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pieces = [piece for piece in shown if "class" in piece]
    assert len(pieces) == 3
    for piece in pieces:
        assert piece.strip() in source


def test_weights(published, checkpoint, capsys):
    bundle = zsas_jax.load(checkpoint)
    assert bundle.config.networks["color"] == ColorConfig(6)
    stored = bundle.model.color.into.kernel.get_value()
    assert stored.shape == (3, 6)
    zsas_jax.save("again", bundle)
    again = zsas_jax.load("again").model
    for a, b in zip(jax.tree.leaves(bundle.model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert main(["weights", "verify", "again"]) == 0
    for path in (published, checkpoint):
        assert main(["weights", "inspect", str(path)]) == 0
        assert "color" in capsys.readouterr().out
    assert main(["weights", "average", "again", str(checkpoint), "--output", "mean"]) == 0
    mean = zsas_jax.load("mean").model.color.into.kernel.get_value()
    np.testing.assert_allclose(mean, stored, rtol=1e-6)


def test_predict_and_compile(checkpoint, tmp_path, capsys):
    path = photo(tmp_path / "part.png")
    bundle = zsas_jax.load(checkpoint)
    for method in ("deviation", "blot", "blot+mmr"):
        (found,) = zsas_jax.predict(bundle, [path], method=method)
        assert found.anomaly_map.shape == (40, 56)
        assert np.isfinite(found.anomaly_map).all()
    (found,) = zsas_jax.predict(bundle, [path], method="deviation")
    assert found.anomaly_map[15, 20] > 0.9 > 0.2 > found.anomaly_map[35, 50]
    program = zsas_jax.compile(bundle, (40, 56), method="blot", keep=("*",))
    photos = zsas_jax.Photos(
        np.asarray(Image.open(path))[None], np.array([[40, 56]], np.int32), np.uint32([0])
    )
    maps = program(photos, np.zeros(1))
    (alone,) = zsas_jax.predict(bundle, [path], method="blot")
    np.testing.assert_allclose(maps.anomaly_map[0], alone.anomaly_map, atol=1e-6)
    words = ["--checkpoint", str(checkpoint), "--method", "blot", "--head.side", "16"]
    assert main(["predict", path, *words]) == 0
    assert main(["predict", path, *words[:4], "--head.sied", "16"]) == 2
    assert "--head.side" in capsys.readouterr().err


def test_evaluate_report_and_compare(checkpoint, capsys):
    asked = ["--limit", "4", "--checkpoint", str(checkpoint)]
    words = ["evaluate", "--methods", "deviation", "blot", *asked, "--pictures", "1"]
    assert main(words) == 0
    pages = list(pathlib.Path("results").rglob("report.html"))
    assert pages
    assert "deviation" in pages[0].read_text("utf-8")
    runs = [str(path.parent) for path in sorted(pathlib.Path("results").rglob("metrics.json"))]
    assert len(runs) == 2
    assert main(["evaluate", "--compare", *runs]) == 0
    for name, field in (("deviation", "--scale"), ("blot", "--head.side")):
        with pytest.raises(SystemExit):
            main(["evaluate", "--method", name, "--help"])
        assert field in capsys.readouterr().out


def test_train(checkpoint, capsys):
    pathlib.Path("mine.py").write_text(
        "from zsas_jax.tasks import HeadTask\n"
        "from zsas_jax.training.config import Generated, OptimizerConfig, TrainConfig\n"
        "CONFIG = TrainConfig(\n"
        "    HeadTask(head='blot', size=32, data=Generated(pictures=8, size=32, workers=1)),\n"
        f"    steps=3, batch_size=2, init=({str(checkpoint)!r},), method='blot', log_every=1,\n"
        "    optimizer=OptimizerConfig(learning_rate=0.01, ema_decay=0.5),\n"
        ")\n"
    )
    assert main(["train", "--config", "mine.py", "--task.training.weight", "2.0"]) == 0
    saved = capsys.readouterr().out.split()[-1]
    begun, trained = zsas_jax.load(checkpoint), zsas_jax.load(saved)
    assert trained.config.method == "blot"
    assert json.loads(pathlib.Path(saved, "config.json").read_text())["methods"]["blot"]
    before, after = (b.model.color.into.kernel.get_value() for b in (begun, trained))
    assert np.abs(before - after).max() > 1e-4
    assert main(["weights", "verify", saved]) == 0
