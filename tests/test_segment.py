"""The whole program on a tiny random model: methods, frames, independence, compilation."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from small_pipeline import (
    ALL,
    CANVAS,
    NETWORKS,
    SIZES,
    WITH_SAM,
    inputs,
    method_config,
    photos,
    rough_map,
    run,
    small_model,
)

from zsas_jax.checkpoints import Compute
from zsas_jax.errors import ConfigError, ImageError
from zsas_jax.networks import sam as sam_api
from zsas_jax.ops.layers import Buffer, cast_parameters
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.parts.frames import frames_of
from zsas_jax.parts.sam_masks import embed_photos
from zsas_jax.segment import _segment, segment


def upscaled(logits, frame, size):
    """SAM's own order: to the frame of 64, cropped to the photo, to the photo's size."""

    def resize(x, height, width):
        rows, columns = (
            resampling_matrix(have, want, "bilinear")
            for have, want in zip(x.shape[-2:], (height, width), strict=True)
        )
        return rows @ x.astype(np.float64) @ columns.T

    return resize(resize(logits, 64, 64)[..., : frame[0], : frame[1]], *size)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.mark.parametrize("method", ALL)
def test_outputs_have_the_promised_shapes_and_ranges(model, method):
    out = run(model, photos(), method_config(method))
    for maps in (out.anomaly_map, rough_map(out)):
        assert maps.shape == (3, *CANVAS)
        assert maps.dtype == np.float32
        for values, (height, width) in zip(maps, SIZES, strict=True):
            outside = values.copy()
            outside[:height, :width] = 0
            assert not outside.any()
            assert values[:height, :width].min() >= 0
            assert values.max() <= 1
            assert np.ptp(values[:height, :width]) > 0.01
    assert out.image_score.shape == (3,)
    assert ((out.image_score > 0) & (out.image_score < 1)).all()
    if method not in WITH_SAM:
        np.testing.assert_array_equal(out.anomaly_map, rough_map(out))
        assert set(out.stages) == {"rough map"}
        return
    points_, boxes, found = (out.stages[name] for name in ("prompts", "boxes", "masks"))
    regions, points, masks = {"cascade": (3, 10, 1), "clipsam": (4, 5, 3)}[method]
    assert points_.points.shape == (3, regions, points, 2)
    assert points_.labels.shape == points_.valid.shape == (3, regions, points)
    assert boxes.boxes.shape == (3, regions, 4)
    assert boxes.valid.shape == found.valid.shape == (3, regions)
    assert found.logits.shape == (3, regions, masks, 16, 16)
    assert found.quality.shape == (3, regions, masks)
    assert found.valid[:, 0].all()
    assert not points_.valid[~found.valid].any()
    assert not found.quality[~found.valid].any()


@pytest.mark.parametrize("method", WITH_SAM)
def test_prompts_are_canvas_pixels_of_the_anomalous_part(model, method):
    config = method_config(method)
    out = run(model, photos(), config)
    for index, (height, width) in enumerate(SIZES):
        frame = sam_api.frame_size(int(height), int(width), 64)
        ratio = np.array([width / frame[1], height / frame[0]])
        prompts = out.stages["prompts"]
        points = prompts.points[index][prompts.valid[index]] / ratio
        labels = prompts.labels[index][prompts.valid[index]]
        np.testing.assert_allclose(points, np.round(points), atol=1e-3)
        x, y = np.round(points).astype(int).T
        assert (x < frame[1]).all()
        assert (y < frame[0]).all()
        rough = np.asarray(
            Image.fromarray(rough_map(out)[index, :height, :width]).resize(frame[::-1], 2)
        )
        inside = rough[y, x]
        assert inside[labels == 1].min() > 0.3 - 0.02
        if method == "cascade":
            assert (labels == 0).any()
            assert inside[labels == 0].max() < inside[labels == 1].min() + 0.02
        boxes = out.stages["boxes"].boxes[index][out.stages["boxes"].valid[index]]
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert boxes.min() >= 0
        assert (boxes[:, 2:] < [width, height]).all()


@pytest.mark.parametrize("method", WITH_SAM)
def test_fused_map_equals_the_formula_on_upscaled_masks(model, method):
    images, sizes, text, keys = photos()
    out = run(model, (images, sizes, text, keys), method_config(method))
    for index, (height, width) in enumerate(map(tuple, sizes.tolist())):
        frame = sam_api.frame_size(height, width, 64)
        found = out.stages["masks"]
        np.testing.assert_allclose(found.extent[index], np.array(frame) / 64)
        masks = upscaled(found.logits[index], frame, (height, width))
        iou = found.quality[index][..., None, None]
        rough = rough_map(out)[index, :height, :width]
        found = out.anomaly_map[index, :height, :width]
        if method == "cascade":
            expected = (rough + (iou / (1 + np.exp(-masks))).max(axis=(0, 1))) / 2
            np.testing.assert_allclose(found, expected, atol=1e-5)
        else:
            expected = np.minimum(1, (rough + (iou * (masks > 0)).sum(axis=(0, 1))) / 4)
            # A logit at zero may fall on either side.
            assert np.mean(np.abs(found - expected) > 1e-5) < 0.01


def test_embedding_of_sam_sees_the_photo_padded_after_normalising(model):
    encode = jax.jit(sam_api.encode_image)
    images, sizes, _, _ = photos()
    frames = frames_of(jnp.asarray(sizes), 64)
    found = jax.jit(embed_photos)(model.sam, jnp.asarray(images), jnp.asarray(sizes), frames)
    for index, (height, width) in enumerate(map(tuple, sizes.tolist())):
        frame = sam_api.frame_size(height, width, 64)
        np.testing.assert_array_equal(frames[index], frame)
        photo = Image.fromarray(images[index, :height, :width])
        levels = np.asarray(photo.resize(frame[::-1], Image.Resampling.BILINEAR), np.float32)
        pixels = np.zeros((64, 64, 3), np.float32)
        pixels[: frame[0], : frame[1]] = (levels - NETWORKS["sam"].pixel_mean) / NETWORKS[
            "sam"
        ].pixel_std
        expected = encode(model.sam, jnp.asarray(pixels)[None])[0]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[index], expected, atol=0.02 * scale)


@pytest.mark.parametrize("method", WITH_SAM)
def test_results_depend_on_nothing_but_the_photo(model, method):
    config = method_config(method)
    images, sizes, text, keys = photos()
    alone = run(model, (images, sizes, text, keys), config)
    # Other neighbours, another place in the batch, noise beyond the photo.
    order = [2, 0, 1]
    noisy, _, _, _ = photos(fill=None)
    others = photos(seed=7)
    moved = [noisy[order], sizes[order], text[order], keys[order]]
    for array, other in zip(moved, (others[0], sizes, others[2], others[3]), strict=True):
        array[0] = other[0]
    moved = run(model, moved, config)
    # A larger canvas: another program.
    larger, _, _, _ = photos(canvas=(64, 64), fill=None)
    padded = run(model, (larger, sizes, text, keys), config)
    for index in (0, 1):
        height, width = sizes[index]
        for other, place in ((moved, order.index(index)), (padded, index)):
            for a, b in (
                (other.anomaly_map, alone.anomaly_map),
                (rough_map(other), rough_map(alone)),
            ):
                np.testing.assert_allclose(
                    a[place, :height, :width], b[index, :height, :width], atol=1e-5
                )
            assert abs(other.image_score[place] - alone.image_score[index]) < 1e-5
            points = (out.stages["prompts"].points for out in (other, alone))
            np.testing.assert_allclose(next(points)[place], next(points)[index], atol=1e-4)


def test_random_points_follow_the_key(model):
    images, sizes, text, keys = photos()
    config = method_config("clipsam")
    first = run(model, (images, sizes, text, keys), config)
    second = run(model, (images, sizes, text, keys + np.uint32([0, 1, 0])), config)
    points = [out.stages["prompts"].points for out in (first, second)]
    changed = (points[0] != points[1]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, [False, True, False])


def test_an_image_without_prompts_has_half_the_rough_map(model):
    out = run(model, photos(), method_config("cascade", refiner__foreground__threshold=1.0))
    assert not out.stages["masks"].valid.any()
    assert not out.stages["prompts"].valid.any()
    np.testing.assert_allclose(out.anomaly_map, rough_map(out) / 2, atol=1e-7)


@pytest.mark.parametrize("method", WITH_SAM)
def test_sam_may_take_only_the_images_that_need_it(model, method):
    batch = photos()
    rough = rough_map(run(model, batch, method_config("umci")))
    # Between the highest values, so that one of three photos has no prompts.
    threshold = float(np.sort(rough.max(axis=(1, 2)))[:2].mean())
    field = {"cascade": "refiner__foreground__threshold", "clipsam": "refiner__threshold"}[method]
    more = {"refiner__foreground__quantile": 0.0} if method == "cascade" else {}
    config = method_config(method, **{field: threshold}, **more)
    whole = run(model, batch, config)
    assert whole.stages["masks"].valid.any(axis=1).sum() == 2
    for size in (1, 2):
        config = config._replace(compute=Compute(refine_at_a_time=size))
        some = run(model, batch, config)
        np.testing.assert_allclose(some.anomaly_map, whole.anomaly_map, atol=1e-5)
        np.testing.assert_allclose(some.image_score, whole.image_score, atol=1e-5)
        masks, expected = some.stages["masks"], whole.stages["masks"]
        np.testing.assert_array_equal(masks.valid, expected.valid)
        np.testing.assert_allclose(masks.quality, expected.quality, atol=1e-5)


def test_min_max_stretches_what_was_not_cut_before(model):
    batch = photos()
    config = method_config("clipsam", refiner__normalization="min_max")
    out = run(model, batch, config)
    for values, (height, width) in zip(out.anomaly_map, SIZES, strict=True):
        assert values[:height, :width].min() == 0
        assert abs(values.max() - 1) < 1e-6
    # Whatever the divisor.
    changes = {"refiner__normalization": "min_max", "refiner__divisor": 1.0}
    other = run(model, batch, method_config("clipsam", **changes))
    np.testing.assert_allclose(other.anomaly_map, out.anomaly_map, atol=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_one_program_without_host_callbacks(model, method):
    lowered = segment.lower(model, *inputs(photos()), **method_config(method)._asdict())
    text = lowered.as_text()
    assert "callback" not in text
    for operation in ("infeed", "outfeed", "stablehlo.send", "stablehlo.recv"):
        assert operation not in text
    assert not set(re.findall(r"custom_call\s*@(\w+)", text))


def test_photos_of_one_bucket_share_a_program(model):
    config = method_config("cascade")
    run(model, photos(), config)
    before = segment._cache_size()
    images, sizes, text, keys = photos(seed=11)
    run(model, (images, sizes[::-1] // 2 + 3, text, keys + np.uint32(1)), config)
    # An equal config is the same static argument.
    run(model, photos(seed=12), method_config("cascade"))
    assert segment._cache_size() == before


def test_bfloat16_casts_parameters_and_keeps_buffers(model):
    cast = cast_parameters(model, "bfloat16")
    for kernel in (
        cast.clip.visual.transformer.resblocks[0].attn.in_proj.kernel,
        cast.sam.image_encoder.blocks[0].attn.qkv.kernel,
        cast.umci.stages[0].proj.kernel,
    ):
        assert kernel.dtype == jnp.bfloat16
    buffers = jax.tree.leaves(nnx.state(cast, Buffer))
    assert buffers
    assert all(buffer.dtype == jnp.float32 for buffer in buffers)
    # CLIP's temperature would be another one.
    assert cast.clip.logit_scale[...] == model.clip.logit_scale[...]
    cast = cast_parameters(model, "bfloat16", platform="gpu")
    assert cast.clip.visual.proj[...].dtype == jnp.bfloat16
    assert cast.clip.logit_scale[...] == model.clip.logit_scale[...]
    config = method_config("cascade", Compute(dtype="bfloat16"))
    low, full = (run(model, photos(), c) for c in (config, method_config("cascade")))
    assert low.anomaly_map.dtype == np.float32
    assert np.abs(rough_map(low) - rough_map(full)).max() < 0.1


def test_images_are_levels(model):
    found, text = inputs(photos())
    found = found._replace(images=found.images.astype(np.float32))
    unchecked = inspect.unwrap(_segment)  # Outside of tests, nobody looks at the types.
    with pytest.raises(ImageError, match="images are float32: expected uint8"):
        unchecked(model, found, text, **method_config("clip")._asdict())


def test_missing_networks_are_named(model):
    batch = inputs(photos())
    partial = model.replace(sam=None)
    expected = run(model, photos(), method_config("umci"))
    out = run(partial, photos(), method_config("umci"))
    np.testing.assert_allclose(out.anomaly_map, expected.anomaly_map, atol=1e-6)
    for method in WITH_SAM:
        with pytest.raises(ConfigError, match=f"'{method}' needs the network 'sam'"):
            segment(partial, *batch, **method_config(method)._asdict())
    partial = partial.replace(umci=None)
    segment(partial, *batch, **method_config("clip")._asdict())
    with pytest.raises(ConfigError, match="'umci' needs the network 'umci'"):
        segment(partial, *batch, **method_config("umci")._asdict())


def test_padding_entries_of_a_batch_do_no_harm(model):
    images, sizes, text, keys = photos()
    config = method_config("cascade")
    whole = run(model, (images, sizes, text, keys), config)
    images, text = images.copy(), text.copy()
    images[2], text[2] = 0, 0
    sizes = np.concatenate([sizes[:2], np.zeros((1, 2), np.int32)])
    padded = run(model, (images, sizes, text, keys), config)
    np.testing.assert_allclose(padded.anomaly_map[:2], whole.anomaly_map[:2], atol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(padded))
