"""The rough map: against the networks run step by step, its settings and its looks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from small_pipeline import (
    CANVAS,
    NETWORKS,
    inputs,
    method_config,
    photos,
    rough_map,
    run,
    run_rough,
    small_model,
)

from zsas_jax.checkpoints import Config
from zsas_jax.errors import ConfigError
from zsas_jax.methods import check_method
from zsas_jax.networks import clip as clip_api
from zsas_jax.networks.umci import anomaly_probability
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.ops.resize import resize_bilinear
from zsas_jax.segment import segment


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_rough_map_equals_the_networks_run_step_by_step(model):
    encode = jax.jit(clip_api.encode_image, static_argnums=2)
    rough = jax.jit(anomaly_probability, static_argnums=2)
    images, sizes, text, keys = photos()
    for method in ("umci", "clip"):
        out = run(model, (images, sizes, text, keys), method_config(method))
        for index, (height, width) in enumerate(sizes):
            photo = Image.fromarray(images[index, :height, :width])
            levels = np.asarray(photo.resize((40, 32), Image.Resampling.BICUBIC), np.float32)
            pixels = (levels / 255 - NETWORKS["clip"].pixel_mean) / NETWORKS["clip"].pixel_std
            pixels = jnp.asarray(pixels, jnp.float32)[None]
            own_text = jnp.asarray(text[index : index + 1])
            encoding = encode(model.clip, pixels, (1, 2))
            scale = float(jnp.exp(model.clip.logit_scale[...]))

            def verdict(features, own_text=own_text, scale=scale):
                features = features / np.linalg.norm(features, axis=-1, keepdims=True)
                odds = np.exp(scale * np.asarray(features, np.float64) @ np.asarray(own_text[0]).T)
                return odds[..., 1] / odds.sum(axis=-1)

            if method == "umci":
                grid = rough(model.umci, encoding.patch_tokens, (4, 5), own_text)
                grid = np.asarray(grid)
            else:
                patches = clip_api.project_patches(model.clip, encoding.patch_tokens[1])
                grid = verdict(np.asarray(patches)).reshape(1, 4, 5)
            rows, columns = (
                resampling_matrix(have, want, "bilinear")
                for have, want in zip(grid.shape[1:], (int(height), int(width)), strict=True)
            )
            expected = rows @ np.asarray(grid[0], np.float64) @ columns.T
            found = out.anomaly_map[index, :height, :width]
            # Our resampling may differ from Pillow's by one level of 256 here and there.
            np.testing.assert_allclose(found, expected, atol=5e-3)
            top = np.sort(found.ravel())[-int(np.ceil(0.02 * found.size)) :].mean()
            own = verdict(np.asarray(encoding.class_embedding))[0]
            assert abs(out.image_score[index] - (top + own) / 2) < 5e-3


def test_similarity_umci_and_a_mean_of_both_can_be_the_rough_map(model):
    batch = photos()
    similarity = run_rough(model, batch, method_config("similarity")).canvas
    umci = run_rough(model, batch, method_config("umci")).canvas
    assert np.abs(umci - similarity).max() > 0.01
    for weight in (0.5, 0.25):
        config = method_config("clipsam", head__similarity_weight=weight)
        found = run_rough(model, batch, config)
        expected = weight * similarity + (1 - weight) * umci
        np.testing.assert_allclose(found.canvas, expected, atol=1e-6)


def test_an_input_off_the_patch_grid_is_refused(model):
    for size, expected in ((36, "8, like 32 or 40"), ((32, 44), r"\(32, 44\)")):
        with pytest.raises(ConfigError, match=expected):
            run(model, photos(), method_config("clip", head__views__image_size=size))
    with pytest.raises(ConfigError, match=r"views.* 8, like 32 or 40"):
        run(model, photos(), method_config("clip", head__views__more_sizes=(36,)))


def test_only_the_last_stages_of_umci_count(model):
    def umci(**changes):
        return run_rough(model, photos(), method_config("umci", **changes)).canvas

    count = len(model.umci.config.layers)
    np.testing.assert_array_equal(umci(head__stages=count), umci())
    last = umci(head__stages=1)
    assert np.abs(last - umci()).max() > 0.01
    config = method_config("umci", head__stages=count + 1).config
    with pytest.raises(ConfigError, match=rf"stages is {count + 1}: .* {count} stages"):
        check_method(Config(NETWORKS), "umci", config)


@pytest.mark.parametrize("method", ["umci", "cascade"])
def test_guided_upsampling_sees_the_photo_alone(model, method):
    config = method_config(method, head__upsampling__rule="guided")
    out = run(model, photos(), config)
    plain = run(model, photos(), method_config(method))
    found = rough_map(out)
    assert np.abs(found - rough_map(plain)).max() > 0.01
    assert 0 <= found.min() < found.max() <= 1
    for other in (photos(fill=255), photos(fill=None)):  # Whatever lies beside the photo.
        again = run(model, other, config)
        np.testing.assert_allclose(again.anomaly_map, out.anomaly_map, atol=1e-5)
    if method == "cascade":
        prompts = (result.stages["prompts"].points for result in (out, plain))
        np.testing.assert_array_equal(*prompts)


@pytest.mark.parametrize(("method", "turns"), [("umci", (0, 1, 2, 3)), ("clip", (0, 2))])
def test_turned_photos_are_averaged_upright(model, method, turns):
    _, _, text, keys = photos()
    # CLIP's input size: nothing is resized.
    images = np.random.default_rng(4).integers(0, 256, (3, 32, 32, 3), np.uint8)
    sizes = np.full((3, 2), 32, np.int32)
    settings = {"head__views__image_size": 32, "score__map_weight": 0.0}
    config = method_config(method, **settings)
    parts = [run(model, (np.rot90(images, k, (1, 2)), sizes, text, keys), config) for k in turns]
    config = method_config(method, **settings, head__views__turns=len(turns))
    found = run(model, (images, sizes, text, keys), config)
    upright = [np.rot90(rough_map(part), -k, (1, 2)) for part, k in zip(parts, turns, strict=True)]
    assert np.ptp(upright, axis=0).max() > 0.01
    np.testing.assert_allclose(rough_map(found), np.mean(upright, axis=0), atol=1e-5)
    scores = np.mean([part.image_score for part in parts], axis=0)
    np.testing.assert_allclose(found.image_score, scores, atol=1e-5)


def test_photos_are_looked_at_in_every_size(model):
    _, _, text, keys = photos()
    images = np.random.default_rng(4).integers(0, 256, (3, 32, 32, 3), np.uint8)
    sizes = np.full((3, 2), 32, np.int32)

    def look(images, **changes):
        changes = {f"head__views__{name}": value for name, value in changes.items()}
        config = method_config("umci", head__similarity_weight=0.5, **changes)
        return run_rough(model, (images, sizes, text, keys), config)

    upside_down = np.rot90(images, 2, (1, 2))
    parts = [
        look(images, image_size=32),
        look(upside_down, image_size=24),
        look(images, image_size=40),
    ]
    found = look(images, image_size=32, turns=2, more_sizes=(24, 40))
    grids = [parts[0].grid, np.rot90(parts[1].grid, 2, (1, 2)), parts[2].grid]
    assert [grid.shape[1:] for grid in grids] == [(4, 4), (3, 3), (5, 5)]
    grids = [resize_bilinear(jnp.asarray(grid), grid.shape[1:], (4, 4), (4, 4)) for grid in grids]
    assert np.ptp(np.stack(grids), axis=0).max() > 0.01
    np.testing.assert_allclose(found.grid, np.mean(np.stack(grids), axis=0), atol=1e-5)
    expected = np.mean([part.probability for part in parts], axis=0)
    np.testing.assert_allclose(found.probability, expected, atol=1e-5)


def test_the_rough_map_is_differentiable_in_umci(model):
    batch = inputs(photos())
    static = method_config("cascade")._asdict() | {"keep": ("rough map",)}
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(3, *CANVAS)), jnp.float32)
    graphdef, state = nnx.split(model.umci)

    def loss(state):
        changed = model.replace(umci=nnx.merge(graphdef, state))
        return (rough_map(segment(changed, *batch, **static)) * weights).sum()

    gradient = jax.grad(loss)(state)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        # A key's bias shifts all scores of a softmax alike.
        if "['text_key']['bias']" not in jax.tree_util.keystr(path):
            assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
