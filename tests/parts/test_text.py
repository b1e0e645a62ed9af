"""The compositional prompt ensemble."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.networks.clip import encode_text as encode_token_ids
from zsas_jax.networks.clip import train_tokenizer
from zsas_jax.parts import text
from zsas_jax.parts.text import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    TEMPLATES,
    Prompts,
    compose,
    encode_ensembles,
    load_prompts,
    words,
)
from zsas_jax.testing import dummy_bundle

SHORT = Prompts(("{}",), ("bad {}",), ("a {}",))


@pytest.fixture(scope="module")
def bundle():
    return dummy_bundle(["clip"])


@pytest.fixture(scope="module")
def clip(bundle):
    return bundle.model.clip


@pytest.fixture(scope="module")
def tokenizer(bundle):
    return bundle.tokenizers["clip"]


def test_lists_of_the_paper():
    assert (len(NORMAL_STATES), len(ABNORMAL_STATES), len(TEMPLATES)) == (7, 5, 29)
    assert len(set(TEMPLATES)) == 29
    assert all(entry.count("{}") == 1 for entry in NORMAL_STATES + ABNORMAL_STATES + TEMPLATES)
    for sentence in ("a photo of the cool {}.", "there is a {} in the scene."):
        assert sentence in TEMPLATES


def test_composition():
    normal, abnormal = compose("bottle")
    assert (len(normal), len(abnormal)) == (7 * 29, 5 * 29)
    assert normal[0] == "a bad photo of a bottle."
    assert "this is one flawless bottle in the scene." in normal
    assert "a photo of a broken bottle." in abnormal
    assert compose("{} tile", ["new {}"], ["old {}"], ["{}!"]) == (
        ["new {} tile!"],
        ["old {} tile!"],
    )


def test_words():
    assert words("metal_nut") == "metal nut"
    assert words(" MT__Blowhole ") == "MT Blowhole"
    assert words("pcb1") == "pcb1"


def test_embeddings_are_means_of_normalised_sentences(clip, tokenizer):
    ours = encode_ensembles(clip, tokenizer, ["metal_nut", "bottle"])
    assert ours.shape == (2, 2, 12)
    assert ours.dtype == jnp.float32
    for category, row in zip(("metal nut", "bottle"), ours, strict=True):
        for sentences, embedding in zip(compose(category), row, strict=True):
            # At full length and in one batch, unlike the function's chunks of cut sentences.
            features = np.asarray(encode_token_ids(clip, jnp.asarray(tokenizer(sentences))))
            mean = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(0)
            np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-6)


def test_own_states_templates_and_words(clip, tokenizer):
    def encode(category, prompts=SHORT, **options):
        return encode_ensembles(clip, tokenizer, [category], prompts, **options)

    plain = encode("metal_nut")
    np.testing.assert_array_equal(plain, encode("metal nut"))
    np.testing.assert_array_equal(plain, encode("x", SHORT._replace(words={"x": "metal nut"})))
    assert np.abs(plain - encode("metal_nut", raw_names=True)).max() > 1e-3
    assert np.abs(plain - encode("metal_nut", Prompts())).max() > 1e-3


def test_compiles_once_for_any_number_of_sentences(clip, tokenizer):
    encode_ensembles(clip, tokenizer, ["nut"], SHORT)
    compiled = text._encode_chunk._cache_size()
    encode_ensembles(clip, tokenizer, ["nut", "metal", "photo"], SHORT)
    encode_ensembles(clip, tokenizer, ["nut"], SHORT._replace(templates=("a {}", "b {}")))
    assert text._encode_chunk._cache_size() == compiled


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"normal_states": ["good"]}, "normal_states has the entry 'good'"),
        ({"abnormal_states": ["{} and {}"]}, "abnormal_states has the entry"),
        ({"templates": []}, "templates is \\[\\]"),
        ({"templates": "a {}"}, "templates is 'a {}'"),
        ({"templates": ["a {o}"]}, "exactly one"),
    ],
)
def test_faulty_lists_are_refused(clip, tokenizer, options, named):
    with pytest.raises(ConfigError, match=named):
        encode_ensembles(clip, tokenizer, ["nut"], Prompts(**options))


def test_no_category_and_a_foreign_tokenizer_are_refused(clip, tokenizer, monkeypatch):
    with pytest.raises(ConfigError, match="at least one name"):
        encode_ensembles(clip, tokenizer, [])
    foreign = train_tokenizer([" ".join(TEMPLATES)] * 2, 560, 32)
    with pytest.raises(CheckpointError, match="at most this CLIP"):
        encode_ensembles(clip, train_tokenizer(["a"], 514, 77), ["nut"])
    ends_at_one_id = dataclasses.replace(clip.config, text_pooling="eot", end_token_id=5)
    monkeypatch.setattr(clip, "config", ends_at_one_id)
    with pytest.raises(CheckpointError, match="end token has the id"):
        encode_ensembles(clip, foreign, ["nut"])
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        encode_ensembles(clip, None, ["nut"])


def test_prompt_files(tmp_path):
    path = tmp_path / "prompts.toml"
    path.write_text('templates = ["an X-ray of {}"]\n[words]\nmt = "magnetic tile"\n')
    prompts = load_prompts(path)
    assert prompts.templates == ("an X-ray of {}",)
    assert prompts.words == {"mt": "magnetic tile"}
    assert prompts.normal_states is None
    other = tmp_path / "prompts.json"
    other.write_text(json.dumps({"normal_states": ["clean {}"], "abnormal_states": ["dirty {}"]}))
    assert load_prompts(other).abnormal_states == ("dirty {}",)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("p.toml", "templates = [", "expected TOML"),
        ("p.json", "{", "expected JSON"),
        ("p.json", "[1]", "holds no table"),
        ("p.toml", 'template = ["{}"]', "has the key 'template'"),
        ("p.toml", 'templates = "{}"', "expected a list"),
        ("p.toml", "templates = [3]", "exactly one"),
        ("p.toml", 'words = ["a"]', "expected a table"),
        ("p.toml", b"\xff\xfe", "expected TOML"),
        ("missing.toml", None, "cannot be read"),
    ],
)
def test_faulty_prompt_files_are_named(tmp_path, name, content, named):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        load_prompts(path)
    assert named in str(caught.value)
    assert name in str(caught.value)
