"""The whole program on a tiny random model: methods, frames, independence, compilation."""

import dataclasses
import functools
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
    CONFIG,
    PIPELINE,
    SIZES,
    WITH_SAM,
    method_config,
    photos,
    run,
    small_model,
)

from zsas_jax.errors import ConfigError, ImageError
from zsas_jax.networks import sam as sam_api
from zsas_jax.ops.layers import Buffer, cast_parameters
from zsas_jax.segment import _segment, embed_for_sam, frames_of, segment


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.mark.parametrize("method", ALL)
def test_outputs_have_the_promised_shapes_and_ranges(model, method):
    out = run(model, photos(), method_config(method))
    for maps in (out.anomaly_map, out.rough_map):
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
        np.testing.assert_array_equal(out.anomaly_map, out.rough_map)
        assert out.points is out.boxes is out.mask_logits is out.region_valid is None
        return
    regions, points, masks = {"cascade": (3, 10, 1), "clipsam": (4, 5, 3)}[method]
    assert out.points.shape == (3, regions, points, 2)
    assert out.point_labels.shape == out.point_valid.shape == (3, regions, points)
    assert out.boxes.shape == (3, regions, 4)
    assert out.region_valid.shape == (3, regions)
    assert out.mask_logits.shape == (3, regions, masks, 16, 16)
    assert out.iou.shape == (3, regions, masks)
    assert out.region_valid[:, 0].all()
    assert not out.point_valid[~out.region_valid].any()
    assert not out.iou[~out.region_valid].any()


@pytest.mark.parametrize("method", WITH_SAM)
def test_prompts_are_canvas_pixels_of_the_anomalous_part(model, method):
    config = method_config(method)
    out = run(model, photos(), config)
    for index, (height, width) in enumerate(SIZES):
        frame = sam_api.frame_size(int(height), int(width), 64)
        ratio = np.array([width / frame[1], height / frame[0]])
        points = out.points[index][out.point_valid[index]] / ratio
        labels = out.point_labels[index][out.point_valid[index]]
        np.testing.assert_allclose(points, np.round(points), atol=1e-3)
        x, y = np.round(points).astype(int).T
        assert (x < frame[1]).all()
        assert (y < frame[0]).all()
        rough = np.asarray(
            Image.fromarray(out.rough_map[index, :height, :width]).resize(frame[::-1], 2)
        )
        inside = rough[y, x]
        assert inside[labels == 1].min() > 0.3 - 0.02
        if method == "cascade":
            assert (labels == 0).any()
            assert inside[labels == 0].max() < inside[labels == 1].min() + 0.02
        boxes = out.boxes[index][out.region_valid[index]]
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert boxes.min() >= 0
        assert (boxes[:, 2:] < [width, height]).all()


@pytest.mark.parametrize("method", WITH_SAM)
def test_fused_map_equals_the_formula_on_upscaled_masks(model, method):
    images, sizes, text, keys = photos()
    out = run(model, (images, sizes, text, keys), method_config(method))
    for index, (height, width) in enumerate(map(tuple, sizes.tolist())):
        frame = sam_api.frame_size(height, width, 64)
        masks = sam_api.upscale_logits(
            jnp.asarray(out.mask_logits[index]), frame, (height, width), 64
        )
        masks, iou = np.asarray(masks, np.float64), out.iou[index][..., None, None]
        rough = out.rough_map[index, :height, :width]
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
    found = jax.jit(embed_for_sam)(model.sam, jnp.asarray(images), jnp.asarray(sizes), frames)
    for index, (height, width) in enumerate(map(tuple, sizes.tolist())):
        frame = sam_api.frame_size(height, width, 64)
        np.testing.assert_array_equal(frames[index], frame)
        photo = Image.fromarray(images[index, :height, :width])
        levels = np.asarray(photo.resize(frame[::-1], Image.Resampling.BILINEAR), np.float32)
        pixels = np.zeros((64, 64, 3), np.float32)
        pixels[: frame[0], : frame[1]] = (levels - CONFIG.sam.pixel_mean) / CONFIG.sam.pixel_std
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
            for name in ("anomaly_map", "rough_map"):
                np.testing.assert_allclose(
                    getattr(other, name)[place, :height, :width],
                    getattr(alone, name)[index, :height, :width],
                    atol=1e-5,
                )
            assert abs(other.image_score[place] - alone.image_score[index]) < 1e-5
            np.testing.assert_allclose(other.points[place], alone.points[index], atol=1e-4)


def test_random_points_follow_the_key(model):
    images, sizes, text, keys = photos()
    config = method_config("clipsam")
    first = run(model, (images, sizes, text, keys), config)
    second = run(model, (images, sizes, text, keys + np.uint32([0, 1, 0])), config)
    changed = (first.points != second.points).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, [False, True, False])


def test_an_image_without_prompts_has_half_the_rough_map(model):
    out = run(model, photos(), method_config("cascade", rough_threshold=1.0))
    assert not out.region_valid.any()
    assert not out.point_valid.any()
    np.testing.assert_allclose(out.anomaly_map, out.rough_map / 2, atol=1e-7)


@pytest.mark.parametrize("method", WITH_SAM)
def test_sam_may_take_only_the_images_that_need_it(model, method):
    batch = photos()
    rough = run(model, batch, method_config("umci")).rough_map
    # Between the highest values, so that one of three photos has no prompts.
    threshold = float(np.sort(rough.max(axis=(1, 2)))[:2].mean())
    config = method_config(method, rough_threshold=threshold, quantile=0.0)
    whole = run(model, batch, config)
    assert whole.region_valid.any(axis=1).sum() == 2
    for size in (1, 2):
        config = dataclasses.replace(config, refine_at_a_time=size)
        some = run(model, batch, config)
        np.testing.assert_allclose(some.anomaly_map, whole.anomaly_map, atol=1e-5)
        np.testing.assert_allclose(some.image_score, whole.image_score, atol=1e-5)
        np.testing.assert_array_equal(some.region_valid, whole.region_valid)
        np.testing.assert_allclose(some.iou, whole.iou, atol=1e-5)


def test_min_max_stretches_what_was_not_cut_before(model):
    batch = photos()
    config = method_config("clipsam", normalization="min_max")
    out = run(model, batch, config)
    for values, (height, width) in zip(out.anomaly_map, SIZES, strict=True):
        assert values[:height, :width].min() == 0
        assert abs(values.max() - 1) < 1e-6
    # Whatever the divisor.
    other = run(model, batch, dataclasses.replace(config, clipsam_divisor=1.0))
    np.testing.assert_allclose(other.anomaly_map, out.anomaly_map, atol=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_one_program_without_host_callbacks(model, method):
    lowered = segment.lower(model, *map(jnp.asarray, photos()), config=method_config(method))
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


def test_bfloat16_casts_parameters_and_keeps_buffers(model, monkeypatch):
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
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    cast = cast_parameters(model, "bfloat16")
    assert cast.clip.visual.proj[...].dtype == jnp.bfloat16
    assert cast.clip.logit_scale[...] == model.clip.logit_scale[...]
    monkeypatch.undo()
    config = method_config("cascade", compute_dtype="bfloat16")
    low, full = (run(model, photos(), c) for c in (config, method_config("cascade")))
    assert low.anomaly_map.dtype == np.float32
    assert np.abs(low.rough_map - full.rough_map).max() < 0.1


def test_images_are_levels(model):
    images, *others = photos()
    unchecked = inspect.unwrap(_segment)  # Outside of tests, nobody looks at the types.
    with pytest.raises(ImageError, match="images are float32: expected uint8"):
        unchecked(model, images.astype(np.float32), *others, method_config("clip"))


def test_missing_networks_are_named(model):
    graphdef, state = nnx.split(model)
    batch = tuple(map(jnp.asarray, photos()))
    partial = nnx.merge(graphdef, state)
    partial.sam = None
    expected = run(model, photos(), method_config("umci"))
    out = run(partial, photos(), method_config("umci"))
    np.testing.assert_allclose(out.anomaly_map, expected.anomaly_map, atol=1e-6)
    for method in WITH_SAM:
        with pytest.raises(ConfigError, match=f"'{method}' needs the network 'sam'"):
            segment(partial, *batch, config=method_config(method))
    partial.umci = None
    segment(partial, *batch, config=method_config("clip"))
    with pytest.raises(ConfigError, match="'umci' needs the network 'umci'"):
        segment(partial, *batch, config=method_config("umci"))


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


def test_the_program_of_accelerators_gives_the_maps_of_cpus(model, monkeypatch):
    # Sizes of its own: blocks of the same shapes would not be traced again.
    sizes = {"clip_image_size": (48, 64), "rough": "similarity", "cps_stages": 1}
    config = dataclasses.replace(PIPELINE, method="cascade", **sizes)
    arguments = model, *photos(canvas=(50, 58))
    expected = segment(*arguments, config=config)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = jax.jit(functools.partial(_segment, config=config))(*arguments)
    assert expected.region_valid.any()
    np.testing.assert_array_equal(found.region_valid, expected.region_valid)
    # A level of a photo on a tie may be rounded the other way.
    assert np.abs(found.anomaly_map - expected.anomaly_map).mean() < 1e-3
    np.testing.assert_allclose(found.image_score, expected.image_score, atol=1e-2)
