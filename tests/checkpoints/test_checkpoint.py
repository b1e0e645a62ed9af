"""Checkpoint directories: round trip, dtype, and every way in which one can be broken."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_weights import random_weights

from zsas_jax.checkpoints import checkpoint
from zsas_jax.config import Config, PipelineConfig
from zsas_jax.errors import CheckpointError
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.clip.tokenizer import train_tokenizer
from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.umci.config import UmciConfig

CONFIG = Config(
    clip=ClipConfig(
        image_size=16,
        patch_size=8,
        vision_width=8,
        vision_layers=2,
        vision_heads=2,
        context_length=8,
        vocab_size=520,
        text_width=8,
        text_layers=1,
        text_heads=2,
        embed_dim=8,
    ),
    sam=SamConfig(
        image_size=32,
        patch_size=8,
        width=8,
        depth=2,
        heads=2,
        global_attn_indexes=(1,),
        window_size=3,
        out_chans=8,
        decoder_heads=2,
        decoder_mlp_dim=8,
        iou_head_hidden=8,
    ),
    umci=UmciConfig(width=8, text_dim=8, hidden_dim=8, layers=(1, 2)),
    pipeline=PipelineConfig(clip_image_size=16, mask_threshold=0.4),
)


@pytest.fixture(scope="module")
def bundle():
    tokenizer = train_tokenizer(["a photo of a nut."] * 4, 520, 8)
    model = random_weights(lambda: Model(CONFIG, rngs=nnx.Rngs(0)))
    return checkpoint.Bundle(model, tokenizer, CONFIG)


@pytest.fixture(scope="module")
def saved(bundle, tmp_path_factory):
    return checkpoint.save(tmp_path_factory.mktemp("checkpoints") / "model", bundle)


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def test_round_trip_keeps_every_array_and_setting(bundle, saved):
    loaded = checkpoint.load(saved)
    assert loaded.config == CONFIG
    old, new = jax.tree.leaves(bundle.model), jax.tree.leaves(loaded.model)
    assert jax.tree.structure(bundle.model) == jax.tree.structure(loaded.model)
    for before, after in zip(old, new, strict=True):
        np.testing.assert_array_equal(before, after)
    text = ["a photo of a nut."]
    np.testing.assert_array_equal(bundle.tokenizer(text), loaded.tokenizer(text))


def test_parameters_load_in_the_dtype_asked_for_and_buffers_stay(saved):
    model = checkpoint.load(saved, dtype=jnp.bfloat16).model
    assert model.umci.stages[0].proj.kernel.dtype == jnp.bfloat16
    matrix = model.sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    assert matrix.dtype == jnp.float32


def test_the_logit_scale_keeps_its_precision(bundle, saved, tmp_path):
    exact = bundle.model.clip.logit_scale[...]
    model = checkpoint.load(saved, dtype=jnp.bfloat16).model
    assert model.clip.logit_scale[...] == exact
    # Earlier versions stored it narrow.
    model.clip.logit_scale = nnx.Param(exact.astype(jnp.bfloat16))
    early = checkpoint.save(tmp_path / "early", checkpoint.Bundle(model, None, CONFIG))
    for dtype, expected in ((None, jnp.bfloat16), (jnp.bfloat16, jnp.float32)):
        scale = checkpoint.load(early, dtype=dtype).model.clip.logit_scale
        assert scale.dtype == expected
        assert scale[...] == exact.astype(jnp.bfloat16)


def test_an_existing_directory_is_kept_unless_overwritten(bundle, copy):
    with pytest.raises(CheckpointError, match="exists already"):
        checkpoint.save(copy, bundle)
    (copy / "README.md").write_text("written by hand")
    checkpoint.save(copy, bundle, overwrite=True)
    assert (copy / "README.md").read_text() == "written by hand"
    assert checkpoint.load(copy).config == CONFIG
    assert not list(copy.parent.glob("*.part")) + list(copy.parent.glob("*.old"))


def _largest(directory):
    return max((directory / "params").rglob("*"), key=lambda file: file.stat().st_size)


def _remove_config(directory):
    (directory / "config.json").unlink()


def _break_config(directory):
    (directory / "config.json").write_text('{"format": 1, "conf')


def _future_format(directory):
    stored = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**stored, "format": 99}))


def _no_format(directory):
    (directory / "config.json").write_text("[]")


def _remove_tokenizer(directory):
    (directory / "tokenizer.json").unlink()


def _truncate(directory):
    file = _largest(directory)
    file.write_bytes(file.read_bytes()[:-10])


def _flip_a_byte(directory):
    file = _largest(directory)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def _remove_params(directory):
    shutil.rmtree(directory / "params")


def _other_sizes(directory):
    """A config that describes other networks than params/ holds."""
    stored = json.loads((directory / "config.json").read_text())
    stored["config"]["umci"]["hidden_dim"] = 16
    (directory / "config.json").write_text(json.dumps(stored))
    checkpoint.write_manifest(directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove_config, "config.json is missing"),
        (_break_config, "config.json is damaged: expected JSON"),
        (_future_format, "format 99: this version of zsas_jax reads format 1"),
        (_no_format, "config.json is damaged"),
        (_remove_tokenizer, "tokenizer.json is missing"),
        (_truncate, "is damaged: it has"),
        (_flip_a_byte, "sha256"),
        (_remove_params, "is missing: expected a file"),
        (_other_sizes, "does not hold the parameters that its config.json describes"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(copy, damage, message):
    damage(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_says_what_is_expected():
    with pytest.raises(CheckpointError, match="'tyni' was not found: expected a directory"):
        checkpoint.load("tyni")
