"""UMCI against an independent PyTorch writing of ClipSAM's Algorithms 1 and 2."""

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_umci import CONFIG, create, example

from zsas_jax.networks.umci import UmciConfig


def to_torch(variable):
    return torch.from_numpy(np.array(variable[...]))


def linear(module, x):
    return x @ to_torch(module.kernel) + to_torch(module.bias)


def conv2d(module, x):
    weight = to_torch(module.kernel).permute(3, 2, 0, 1)
    return F.conv2d(x, weight, to_torch(module.bias), padding=[k // 2 for k in weight.shape[2:]])


def strip_conv(module, x, horizontal):
    """The paper's conv1x3 / conv3x1 as a 2-D convolution on a map one patch wide."""
    weight = to_torch(module.kernel).permute(2, 1, 0)
    weight = weight[:, :, None, :] if horizontal else weight[:, :, :, None]
    padding = (0, 1) if horizontal else (1, 0)
    return F.conv2d(x, weight, to_torch(module.bias), padding=padding)


def torch_attention(q, k, v):
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


def torch_gru(module, x, h):
    size = h.shape[-1]
    cell = torch.nn.GRUCell(size, size, dtype=x.dtype)
    with torch.no_grad():
        cell.weight_ih.copy_(to_torch(module.input.kernel).T)
        cell.bias_ih.copy_(to_torch(module.input.bias))
        cell.weight_hh.copy_(to_torch(module.hidden.kernel).T)
        cell.bias_hh.copy_(to_torch(module.hidden.bias))
        return cell(x.reshape(-1, size), h.reshape(-1, size)).reshape(h.shape)


def torch_stage(stage, tokens, grid, text):
    b = tokens.shape[0]
    height, width = grid
    p_hat = linear(stage.proj, tokens)
    image = p_hat.transpose(1, 2).reshape(b, -1, height, width)
    parts = [conv2d(stage.conv_ori, image)]
    if stage.strip is not None:
        total = 0
        for branch, kernel in ((stage.strip.row, (1, width)), (stage.strip.col, (height, 1))):
            v = strip_conv(branch.conv, F.avg_pool2d(image, kernel), horizontal=kernel[0] > 1)
            shape = v.shape
            v = v.flatten(2).transpose(1, 2)
            t1, t2 = linear(branch.text1, text), linear(branch.text2, text)
            t_new = torch_gru(branch.gru, torch_attention(t1, v, v), t1)
            m = F.normalize(torch_attention(v, t_new, t2) + v, dim=-1)
            m = m.transpose(1, 2).reshape(shape)
            total = total + F.interpolate(m, grid, mode="bilinear", align_corners=False)
        parts.append(conv2d(stage.strip.conv, total))
    if stage.scale is not None:
        total = 0
        for branch in stage.scale.scales:
            k = branch.kernel
            pooled = F.avg_pool2d(image, k, k, ceil_mode=True, count_include_pad=False)
            v = conv2d(branch.conv, pooled)
            shape = v.shape
            v = v.flatten(2).transpose(1, 2)
            tk, tv = linear(branch.text_key, text), linear(branch.text_value, text)
            m = F.normalize(torch_attention(v, tk, tv) + v, dim=-1).transpose(1, 2).reshape(shape)
            total = total + F.interpolate(m, grid, mode="bilinear", align_corners=False)
        parts.append(conv2d(stage.scale.conv, total))
    fused = F.relu(conv2d(stage.conv_all, torch.cat(parts, dim=1)) + image).permute(0, 2, 3, 1)
    return linear(stage.head2, F.relu(linear(stage.head1, fused)))


def worst_difference(config, grid, dtype):
    umci = create(config, dtype=dtype)
    tokens, text = example(grid, config, dtype)
    ours = np.asarray(jax.jit(lambda m, t, x: m(t, grid, x))(umci, tokens, text))
    theirs = torch.stack(
        [
            torch_stage(stage, torch.from_numpy(x), grid, torch.from_numpy(text))
            for stage, x in zip(umci.stages, tokens, strict=True)
        ],
        dim=1,
    ).numpy()
    assert ours.dtype == dtype
    assert ours.shape == theirs.shape == (2, len(config.layers), *grid, 2)
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("grid", [(10, 13), (9, 9), (2, 5), (1, 1), (4, 19)])
def test_equals_pytorch(grid):
    assert worst_difference(CONFIG, grid, np.float32) < 1e-5


def test_equals_pytorch_in_float64():
    with jax.enable_x64(True):
        assert worst_difference(CONFIG, (7, 11), np.float64) < 1e-9


@pytest.mark.parametrize(("strip", "scale"), [(True, False), (False, True)])
def test_ablations_equal_pytorch(strip, scale):
    config = UmciConfig(12, 10, 8, (2, 4), (1, 2, 3), use_strip=strip, use_scale=scale)
    assert worst_difference(config, (6, 5), np.float32) < 1e-5
