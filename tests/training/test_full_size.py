"""The recipes at full size: CLIP ViT-L/14@336 of random weights at 518 pixels, a few steps."""

import csv
import dataclasses
import pathlib
import runpy

import pytest
from flax import nnx
from random_weights import random_weights
from small_world import mvtec_tree, visa_tree

from zsas_jax.checkpoints.checkpoint import Bundle, load, save
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.config import Config
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.clip.tokenizer import train_tokenizer

pytestmark = pytest.mark.full

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    preset = ClipConfig.preset("ViT-L-14-336")
    words = ["a photo of a damaged bottle.", "flawless metal nut", "a dark photo of the object."]
    tokenizer = train_tokenizer(words * 20, 600, preset.context_length)
    # Pooling at this tokenizer's end token: OpenAI's vocabulary is not at hand.
    config = dataclasses.replace(preset, text_pooling="eot", end_token_id=tokenizer.end_id)
    parts = Config(clip=config)
    model = random_weights(lambda: Model(parts, rngs=nnx.Rngs(0)), scale=0.02)
    folder = tmp_path_factory.mktemp("clip") / "clip"
    return save(folder, Bundle(model, tokenizer, parts))


@pytest.mark.parametrize(
    ("name", "tree", "category", "steps"),
    [
        ("mvtec", lambda root: mvtec_tree(root, 1), "bottle", ("1", "2")),
        ("visa", visa_tree, "candle", ("1",)),
    ],
)
def test_the_recipe_runs_and_resumes(clip, tmp_path, name, tree, category, steps):
    main = runpy.run_path(str(ROOT / "train.py"))["main"]
    arguments = ["--config", str(ROOT / "configs" / f"umci_{name}.py")]
    arguments += ["--data-dir", str(tree(tmp_path / "data")), "--init", str(clip)]
    arguments += ["--output-dir", str(tmp_path / "run"), "--batch-size", "2"]
    arguments += ["--auxiliary.cache-dir", str(tmp_path / "cache"), "--log-every", "1"]
    arguments += ["--auxiliary.categories", category, "--auxiliary.held-out", "0"]
    for step in steps:
        resume = ["--resume"] if step != "1" else []
        assert main([*arguments, "--steps", step, *resume]) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == list(steps)
    model = tmp_path / "run" / "model"
    assert trained_on(model) == (name,)
    assert load(model, networks=("umci",)).config.umci is not None
