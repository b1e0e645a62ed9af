import numpy as np
import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.metrics.resolution import parse_resolution, resize_map, resize_mask


@pytest.mark.parametrize(("old", "new"), [((7, 5), (14, 11)), ((40, 31), (9, 8)), ((1, 6), (3, 6))])
def test_maps_are_resized_as_torch_interpolates(old, new):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random(old).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.tensor(values)[None, None], size=new, mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(resize_map(values, *new), expected, atol=1e-5)


def test_the_own_size_changes_nothing():
    values = np.random.default_rng(0).random((6, 9)).astype(np.float32)
    assert (resize_map(values, 6, 9) == values).all()
    assert (resize_mask(values > 0.5, 6, 9) == (values > 0.5)).all()


@pytest.mark.parametrize("new", [(12, 14), (4, 3), (5, 17)])
def test_masks_are_resized_as_pillow_does(new):
    from PIL import Image

    mask = np.random.default_rng(1).random((6, 7)) < 0.4
    expected = Image.fromarray(mask).resize(new[::-1], Image.Resampling.NEAREST)
    assert (resize_mask(mask, *new) == np.asarray(expected)).all()


def test_resolution_is_pixels_or_native():
    assert parse_resolution("native") == "native"
    assert parse_resolution("256") == parse_resolution(256) == 256
    for wrong in ("big", "0", -3):
        with pytest.raises(ConfigError, match="resolution"):
            parse_resolution(wrong)
