"""Text features on disk: found again, never mixed up, never harmful."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.clip import Clip, ClipConfig, train_tokenizer
from zsas_jax.prompting import text, text_cache
from zsas_jax.prompting.text import compose, encode_text

TEMPLATES = ["a photo of a {}."]


@pytest.fixture(scope="module")
def tokenizer():
    captions = [sentence for group in compose("metal nut") for sentence in group]
    return train_tokenizer(captions, vocab_size=600, context_length=16)


def make_clip(tokenizer, seed=0, heads=2):
    config = ClipConfig(
        image_size=16,
        patch_size=8,
        vision_width=8,
        vision_layers=1,
        vision_heads=1,
        context_length=16,
        vocab_size=tokenizer.vocab_size,
        text_width=16,
        text_layers=1,
        text_heads=heads,
        embed_dim=12,
        end_token_id=tokenizer.end_id,
    )
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype),
        nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0))),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache for towers of all sizes, and the number of sentences encoded so far."""
    place = tmp_path / "text"
    monkeypatch.setenv("ZSAS_JAX_TEXT_CACHE", str(place))
    monkeypatch.setattr(text_cache, "SMALLEST_TOWER", 0)
    encoded = []
    compute = text._sentence_features
    monkeypatch.setattr(
        text, "_sentence_features", lambda *given: encoded.append(len(given[2])) or compute(*given)
    )
    return place, encoded


def encode(clip, tokenizer, categories, templates=TEMPLATES):
    return np.asarray(encode_text(clip, tokenizer, categories, templates=templates))


def test_a_category_is_encoded_once(cache, tokenizer):
    place, encoded = cache
    clip = make_clip(tokenizer)
    first = encode(clip, tokenizer, ["nut", "metal"])
    assert encoded == [24]
    assert len(list(place.glob("*.npy"))) == 2
    assert (encode(clip, tokenizer, ["metal", "nut"]) == first[::-1]).all()
    assert encoded == [24]
    both = encode(clip, tokenizer, ["nut", "bad"])
    assert encoded == [24, 12]
    assert (both[0] == first[0]).all()


def test_another_precision_of_products_is_another_file(cache, tokenizer):
    _, encoded = cache
    clip = make_clip(tokenizer)
    encode(clip, tokenizer, ["nut"])
    with jax.default_matmul_precision("bfloat16"):
        encode(clip, tokenizer, ["nut"])
    assert len(encoded) == 2


def test_without_the_cache_the_result_is_the_same(cache, tokenizer, monkeypatch):
    _, encoded = cache
    clip = make_clip(tokenizer)
    first = encode(clip, tokenizer, ["nut"])
    monkeypatch.setenv("ZSAS_JAX_TEXT_CACHE", "")
    assert (encode(clip, tokenizer, ["nut"]) == first).all()
    assert encoded == [12, 12]


def test_other_weights_sizes_and_prompts_are_other_files(cache, tokenizer):
    place, encoded = cache
    encode(make_clip(tokenizer), tokenizer, ["nut"])
    encode(make_clip(tokenizer, seed=1), tokenizer, ["nut"])
    encode(make_clip(tokenizer, heads=4), tokenizer, ["nut"])
    encode(make_clip(tokenizer), tokenizer, ["nut"], ["a bad photo of a {}."])
    encode(make_clip(tokenizer), tokenizer, ["metal nut"])
    assert encoded == [12] * 5
    assert len(list(place.glob("*.npy"))) == 5


@pytest.mark.parametrize("damage", [b"", b"no array", "cut", "shape", "nan"])
def test_a_damaged_file_is_written_anew(cache, tokenizer, damage):
    place, encoded = cache
    clip = make_clip(tokenizer)
    first = encode(clip, tokenizer, ["nut"])
    (file,) = place.glob("*.npy")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "shape":
        np.save(file, np.zeros((3, 12), np.float32))
    elif damage == "nan":
        np.save(file, np.full((2, 12), np.nan, np.float32))
    else:
        file.write_bytes(damage)
    for _ in range(2):
        assert (encode(clip, tokenizer, ["nut"]) == first).all()
    assert encoded == [12, 12]
    assert [path.name for path in place.iterdir()] == [file.name]


def test_a_disk_that_refuses_only_costs_time(cache, tokenizer):
    place, encoded = cache
    place.write_text("a file in the way")
    clip = make_clip(tokenizer)
    assert np.isfinite(encode(clip, tokenizer, ["nut"])).all()
    encode(clip, tokenizer, ["nut"])
    assert encoded == [12, 12]


def test_small_towers_leave_no_files(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("ZSAS_JAX_TEXT_CACHE", str(tmp_path))
    encode(make_clip(tokenizer), tokenizer, ["nut"])
    assert not list(tmp_path.iterdir())


def test_the_place_is_beside_the_other_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("ZSAS_JAX_TEXT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert text_cache.directory() == tmp_path / "zsas_jax" / "text"
