"""ClipSAM's configs at full size: a random CLIP ViT-L/14@336 at 518 pixels, a few steps."""

import csv
import dataclasses

import pytest
from flax import nnx
from small_world import mvtec_tree, visa_tree

from zsas_jax.__main__ import main
from zsas_jax.checkpoints import Bundle, Config, load, save
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.networks import NETWORKS
from zsas_jax.networks.base import create_networks
from zsas_jax.networks.clip import train_tokenizer
from zsas_jax.testing import random_weights

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    preset = NETWORKS["clip"].presets["ViT-L-14-336"]
    words = ["a photo of a damaged bottle.", "flawless metal nut", "a dark photo of the object."]
    tokenizer = train_tokenizer(words * 20, 600, preset.context_length)
    # Pooling at this tokenizer's end token: OpenAI's vocabulary is not at hand.
    config = dataclasses.replace(preset, text_pooling="eot", end_token_id=tokenizer.end_id)
    sizes = {"clip": config}
    model = random_weights(lambda: create_networks(sizes, rngs=nnx.Rngs(0)), scale=0.02)
    folder = tmp_path_factory.mktemp("clip") / "clip"
    return save(folder, Bundle(model, {"clip": tokenizer}, Config(sizes)))


@pytest.mark.parametrize(
    ("name", "tree", "category", "steps"),
    [
        ("mvtec", lambda root: mvtec_tree(root, 1), "bottle", ("1", "2")),
        ("visa", visa_tree, "candle", ("1",)),
    ],
)
def test_the_config_runs_and_resumes(clip, tmp_path, name, tree, category, steps):
    arguments = ["train", "--config", f"umci_{name}"]
    arguments += ["--data-dir", str(tree(tmp_path / "data")), "--init", str(clip)]
    arguments += ["--output-dir", str(tmp_path / "run"), "--batch-size", "2"]
    arguments += ["--task.data.cache-dir", str(tmp_path / "cache"), "--log-every", "1"]
    arguments += ["--task.data.categories", category, "--task.data.held-out", "0"]
    for step in steps:
        resume = ["--resume"] if step != "1" else []
        assert main([*arguments, "--steps", step, *resume]) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == list(steps)
    model = tmp_path / "run" / "model"
    assert trained_on(model) == (name,)
    assert load(model, networks=("umci",)).model.has("umci")
