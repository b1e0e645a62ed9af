"""Resampling against Pillow, with traced sizes on padded canvases."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st

from zsas_jax.ops import resize

CANVAS = 64
OUT = 48
side = st.integers(1, CANVAS)
out_side = st.integers(1, OUT)
filters = {
    "bilinear": PIL.Image.Resampling.BILINEAR,
    "bicubic": PIL.Image.Resampling.BICUBIC,
}


@functools.partial(jax.jit, static_argnames=("out_max", "filter"))
def resize_jitted(images, sizes, out_sizes, out_max, filter):
    return resize.resize_pillow(images, sizes, out_sizes, out_max, filter)


def on_canvas(images, canvas=CANVAS):
    batch = np.full((len(images), canvas, canvas, 3), 200, np.uint8)  # Junk in the padding.
    for target, image in zip(batch, images, strict=True):
        target[: image.shape[0], : image.shape[1]] = image
    return batch, np.array([image.shape[:2] for image in images], np.int32)


def pillow(image, size, filter):
    # One pass at a time: since version 13 Pillow turns the order round for some tall images.
    narrowed = PIL.Image.fromarray(image).resize((size[1], image.shape[0]), filters[filter])
    resized = narrowed.resize((size[1], size[0]), filters[filter])
    return np.asarray(resized).astype(np.float32)


def noise(seed, height, width, binary=False):
    generator = np.random.default_rng(seed)
    if binary:  # The largest overshoot of the cubic kernel.
        return generator.integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def from_ties(photo, size, filter):
    """Which results depend on a sum of the first pass that is half a level from the next."""
    rows, columns = (
        np.asarray(resize.pillow_matrix(have, int(want), have, int(want), filter), np.float64)
        for have, want in zip(photo.shape, size, strict=False)
    )
    sums = np.einsum("ow,hwc->hoc", columns, photo)
    ties = np.abs(sums - np.floor(sums) - 0.5) < 1e-3
    return np.einsum("oh,hwc->owc", rows != 0, ties) > 0


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.tuples(side, side), st.tuples(out_side, out_side), st.integers(0, 99), st.booleans()
)
@hypothesis.example((1, 1), (OUT, OUT), 0, False)
@hypothesis.example((CANVAS, CANVAS), (1, 1), 0, False)
@hypothesis.example((63, 31), (17, 47), 0, True)
@hypothesis.example((2, 24), (9, 20), 0, True)  # Ties in both passes.
@hypothesis.example((2, 2), (6, 38), 11, False)  # A tie in the first.
def test_equals_pillow_for_any_size(filter, size, out_size, seed, binary):
    image = noise(seed, *size, binary)
    other = noise(seed + 1, 20, 30)
    canvas, sizes = on_canvas([image, other])
    out_sizes = np.array([out_size, (7, 9)], np.int32)
    result = np.asarray(resize_jitted(canvas, sizes, out_sizes, (OUT, OUT), filter))
    for index, (photo, (height, width)) in enumerate(zip([image, other], out_sizes, strict=True)):
        expected = pillow(photo, (height, width), filter)
        difference = np.abs(result[index, :height, :width] - expected)
        # One level of the first pass, where its sum lies on a tie, counts more than once in the
        # second: the cubic kernel has weights above 1, beside negative ones.
        two = difference > 1
        assert filter == "bicubic" or not two.any()
        assert two.sum() <= 1 + 0.002 * difference.size
        assert not two.any() or not (two & ~from_ties(photo, (height, width), filter)).any()
        assert difference.max() <= 2
        assert (result[index, height:] == 0).all()
        assert (result[index, :, width:] == 0).all()
    assert (result == np.round(result)).all()


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_large_canvas_in_chunks(filter, monkeypatch):
    monkeypatch.setattr(resize, "CHUNK_BYTES", 100_000)
    image = noise(0, 700, 1001)
    canvas, sizes = on_canvas([image], 1024)
    function = jax.jit(lambda a, b: resize.resize_pillow(a, b, (119, 170), (170, 170), filter))
    result = np.asarray(function(canvas, sizes))[0]
    assert np.abs(result[:119, :170] - pillow(image, (119, 170), filter)).max() <= 1
    assert (result[119:] == 0).all()
    text = function.lower(canvas, sizes).as_text()
    assert "while" in text
    # No float copy of the whole canvas.
    assert "1024x1024x3xf32" not in text


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 401), (222, 632)])
def test_smooth_photo_equals_pillow_in_one_call(filter, size):
    generator = np.random.default_rng(0)
    small = PIL.Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    photo = small.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)
    canvas, sizes = on_canvas([np.asarray(photo)], 768)
    result = resize_jitted(canvas, sizes, np.array([[160, 130]], np.int32), (160, 160), filter)
    expected = np.asarray(photo.resize((130, 160), filters[filter])).astype(np.float32)
    assert np.abs(np.asarray(result)[0, :, :130] - expected).max() <= 1


def test_narrow_products_of_accelerators_are_exact_enough(monkeypatch):
    photo, size = jnp.asarray(noise(3, 61, 83)[None]), jnp.array([[61, 83]])
    arguments = photo, size, (47, 101), (47, 101), "bicubic"
    expected = resize.resize_pillow(*arguments)
    taken = []

    def narrow(*given):
        taken.append(given)
        return resize.narrow_products(*given)

    monkeypatch.setattr(resize, "wide_products", narrow)
    np.testing.assert_array_equal(resize.resize_pillow(*arguments), expected)
    assert taken


def test_identity_is_exact():
    image = noise(3, 33, 21)
    canvas, sizes = on_canvas([image])
    result = resize_jitted(canvas, sizes, sizes, (CANVAS, CANVAS), "bicubic")
    np.testing.assert_array_equal(np.asarray(result)[0, :33, :21], image)


def test_weights_of_large_sizes_follow_float64():
    in_size, out_size, scale = 12000, 518, 12000 / 518
    matrix = np.asarray(
        jax.jit(lambda i: resize.pillow_matrix(i, 518, 12288, 518, "bicubic"))(12000)
    )
    for row in (0, 1, 259, 516, 517):
        centre = (row + 0.5) * scale
        distance = np.abs((np.arange(in_size) + 0.5 - centre) / scale)
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
        np.testing.assert_allclose(matrix[row, :in_size], weights / weights.sum(), atol=1e-7)
    assert (matrix[:, in_size:] == 0).all()
    assert out_size == matrix.shape[0]


def test_one_program_for_all_sizes():
    function = jax.jit(lambda a, b: resize.resize_pillow(a, b, (16, 16), (16, 16)))
    for size in ((5, 9), (31, 2), (64, 64)):
        function(*on_canvas([noise(0, *size)]))
    assert function._cache_size() == 1


def test_bilinear_vmaps_over_sizes_and_is_differentiable():
    maps = jnp.ones((3, 1, 8, 8), jnp.float32)
    sizes = jnp.array([[8, 8], [3, 5], [1, 1]], jnp.int32)
    outs = jnp.array([[5, 6], [6, 6], [2, 3]], jnp.int32)
    function = jax.vmap(lambda m, i, o: resize.resize_bilinear(m, i, o, (6, 6)))
    sums = np.asarray(function(maps, sizes, outs).sum((1, 2, 3)))
    np.testing.assert_allclose(sums, [30, 36, 6], rtol=1e-6)
    gradient = jax.grad(lambda m: function(m, sizes, outs).sum())(maps)
    # Each output pixel hands out a weight of one, and only to pixels inside the valid part.
    np.testing.assert_allclose(np.asarray(gradient.sum((1, 2, 3))), [30, 36, 6], rtol=1e-5)
    assert float(jnp.abs(gradient[1, 0, 3:]).max()) == 0


@pytest.mark.full
def test_largest_canvas():
    image = noise(0, 9000, 12000)
    canvas, sizes = on_canvas([image], 12288)
    result = np.asarray(
        resize_jitted(canvas, sizes, np.array([[384, 512]]), (512, 512), "bilinear")
    )
    assert np.abs(result[0, :384] - pillow(image, (384, 512), "bilinear")).max() <= 1
