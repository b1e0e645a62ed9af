"""UMCI and its loss as a PyTorch user writes them, to compare speed with."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsas_jax.benchmarks.torch_weights import device, state_dict
from zsas_jax.convert.rules import Rule
from zsas_jax.networks.umci import Umci, UmciConfig

_RULES = (
    Rule(r"\.input\.(weight|bias)$", r".\1_ih"),
    Rule(r"\.hidden\.(weight|bias)$", r".\1_hh"),
)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]


class StripBranch(nn.Module):
    def __init__(self, text_dim: int, hidden: int):
        super().__init__()
        self.conv = nn.Conv1d(text_dim, hidden, 3, padding=1)
        self.text1 = nn.Linear(text_dim, hidden)
        self.text2 = nn.Linear(text_dim, hidden)
        self.gru = nn.GRUCell(hidden, hidden)

    def forward(self, strip: Tensor, text: Tensor) -> Tensor:
        visual = self.conv(strip).transpose(1, 2)
        text1 = self.text1(text)
        attended = attention(text1, visual, visual)
        new = self.gru(attended.flatten(0, 1), text1.flatten(0, 1)).view_as(text1)
        mixed = attention(visual, new, self.text2(text)) + visual
        return F.normalize(mixed, dim=-1).transpose(1, 2)


class StripPath(nn.Module):
    def __init__(self, text_dim: int, hidden: int):
        super().__init__()
        self.row = StripBranch(text_dim, hidden)
        self.col = StripBranch(text_dim, hidden)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1)

    def forward(self, patches: Tensor, text: Tensor) -> Tensor:
        rows, columns = self.row(patches.mean(3), text), self.col(patches.mean(2), text)
        return self.conv(rows[..., None] + columns[:, :, None])


class ScaleBranch(nn.Module):
    def __init__(self, text_dim: int, hidden: int, kernel: int):
        super().__init__()
        self.kernel = kernel
        self.conv = nn.Conv2d(text_dim, hidden, 3, padding=1)
        self.text_key = nn.Linear(text_dim, hidden)
        self.text_value = nn.Linear(text_dim, hidden)

    def forward(self, patches: Tensor, text: Tensor) -> Tensor:
        pooled = F.avg_pool2d(patches, self.kernel, ceil_mode=True, count_include_pad=False)
        visual = self.conv(pooled)
        queries = visual.flatten(2).transpose(1, 2)
        mixed = attention(queries, self.text_key(text), self.text_value(text)) + queries
        mixed = F.normalize(mixed, dim=-1).transpose(1, 2).reshape(visual.shape)
        return F.interpolate(mixed, patches.shape[2:], mode="bilinear")


class ScalePath(nn.Module):
    def __init__(self, text_dim: int, hidden: int, kernels: Sequence[int]):
        super().__init__()
        self.scales = nn.ModuleList(ScaleBranch(text_dim, hidden, k) for k in kernels)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1)

    def forward(self, patches: Tensor, text: Tensor) -> Tensor:
        return self.conv(torch.stack([scale(patches, text) for scale in self.scales]).sum(0))


class Stage(nn.Module):
    def __init__(self, config: UmciConfig):
        super().__init__()
        text_dim, hidden = config.text_dim, config.hidden_dim
        self.proj = nn.Linear(config.width, text_dim)
        self.strip = StripPath(text_dim, hidden)
        self.scale = ScalePath(text_dim, hidden, config.scale_kernels)
        self.conv_ori = nn.Conv2d(text_dim, hidden, 3, padding=1)
        self.conv_all = nn.Conv2d(3 * hidden, text_dim, 3, padding=1)
        self.head1 = nn.Linear(text_dim, hidden)
        self.head2 = nn.Linear(hidden, 2)

    def forward(self, tokens: Tensor, text: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = self.proj(tokens).transpose(1, 2).unflatten(2, grid)
        parts = [self.conv_ori(patches), self.strip(patches, text), self.scale(patches, text)]
        fused = F.relu(self.conv_all(torch.cat(parts, 1)) + patches)
        return self.head2(F.relu(self.head1(fused.flatten(2).transpose(1, 2)))).unflatten(1, grid)


class TorchUmci(nn.Module):
    """All stages; logits [b, stages, h, w, 2]."""

    def __init__(self, config: UmciConfig):
        super().__init__()
        self.stages = nn.ModuleList(Stage(config) for _ in config.layers)

    def forward(self, tokens: Sequence[Tensor], text: Tensor, grid: tuple[int, int]) -> Tensor:
        logits = [stage(rows, text, grid) for stage, rows in zip(self.stages, tokens, strict=True)]
        return torch.stack(logits, 1)


def torch_umci(umci: Umci) -> TorchUmci:
    """The same module with the same weights."""
    module = TorchUmci(umci.config)
    module.load_state_dict(state_dict(umci, _RULES))
    return module


def umci_loss(logits: Tensor, masks: Tensor, weights: Sequence[float]) -> Tensor:
    """Focal and Dice of every stage at the masks' resolution (APRIL-GAN's, ClipSAM's weights)."""
    total = torch.zeros((), device=logits.device)
    for stage, weight in enumerate(weights):
        rows = logits[:, stage].permute(0, 3, 1, 2)
        log_p = F.interpolate(rows, masks.shape[-2:], mode="bilinear").log_softmax(1)
        truth = torch.where(masks > 0.5, log_p[:, 1], log_p[:, 0])
        focal = -((1 - truth.exp()) ** 2 * truth).mean((1, 2))
        p = log_p[:, 1].exp()
        overlap, area = (p * masks).sum((1, 2)), p.sum((1, 2)) + masks.sum((1, 2))
        total = total + weight * (focal + 1 - (2 * overlap + 1) / (area + 1)).mean()
    return total


def torch_step(
    umci: Umci, batch: Mapping[str, np.ndarray], weights: Sequence[float]
) -> Callable[[], float]:
    """A training step, which returns the loss before it; as `training.our_step`."""
    place = device()
    module = torch_umci(umci).to(place)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=0.01)
    tokens = np.moveaxis(batch["tokens"].astype(np.float32), 1, 0)
    stages = [torch.from_numpy(rows.copy()).to(place) for rows in tokens]
    truth, words = (torch.from_numpy(batch[name]).to(place) for name in ("masks", "text"))
    grid = (math.isqrt(stages[0].shape[1]),) * 2

    def run() -> float:
        optimizer.zero_grad()
        value = umci_loss(module(stages, words, grid), truth, weights)
        value.backward()
        optimizer.step()
        return value.item()

    return run
