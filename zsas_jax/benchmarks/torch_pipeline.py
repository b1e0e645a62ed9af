# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
"""The cascade as a competent PyTorch user writes it, on transformers' models: the peer to beat.

The networks run on whole batches, all regions of all images go through SAM's decoder at once and
regions that are not there are left out. Components and distances are SciPy's, one image after the
other, as is usual. Images are resized in floating point with antialiasing, so that levels differ
from Pillow's by less than one and prompts now and then by a pixel. Regions with fewer points than
others are padded as transformers pads them, with zero tokens that its decoder attends to; ours
does not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from zsas_jax.benchmarks.setups import Setup
from zsas_jax.benchmarks.torch_umci import torch_umci
from zsas_jax.benchmarks.torch_weights import device, transformers_clip, transformers_sam
from zsas_jax.config import get_path
from zsas_jax.errors import ConfigError
from zsas_jax.methods.heads.umci import UmciHead
from zsas_jax.methods.refiners.cascade import Cascade
from zsas_jax.networks import Networks
from zsas_jax.networks.sam import frame_size

_COVERED = {
    "points.rule": "distance",
    "points.negative_rule": "least_similar_in_ring",
    "normalization": "none",
}


def run_torch(
    setup: Setup, images: np.ndarray, dtype: str, *, compiled: bool
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """One run from host arrays to host arrays: maps and scores."""
    pipeline = TorchPipeline(setup.bundle.model, setup.config, compiled=compiled, dtype=dtype)
    words = np.array(setup.inputs(images)[1])
    return lambda: pipeline(images, words)


class TorchPipeline:
    """Maps and scores of equally sized photos, by the same steps as `zsas_jax.segment`.

    Raises:
        ConfigError: a method or a setting other than what this writing covers.
    """

    def __init__(
        self, model: Networks, config: Any, *, compiled: bool = False, dtype: str = "float32"
    ):
        refiner = getattr(config, "refiner", None)
        if not isinstance(config.head, UmciHead) or not isinstance(refiner, Cascade):
            raise ConfigError(
                f"the PyTorch pipeline has no {type(config).__name__}: expected a method of "
                f"{UmciHead.__name__} and {Cascade.__name__}"
            )
        for path, known in _COVERED.items():
            if get_path(refiner, path) != known:
                raise ConfigError(
                    f"refiner.{path} is {get_path(refiner, path)!r}: expected {known!r}, all that "
                    "the PyTorch pipeline has"
                )
        self.head, self.refiner, self.score = config.head, refiner, config.score
        self.device, self.dtype = device(), getattr(torch, dtype)
        self.layers = model.umci.config.layers[-config.head.stages :]
        self.looks = config.head.views.looks(model.clip.config)
        self.sizes = model.sam.config
        self.patch = model.clip.config.patch_size
        clip = transformers_clip(model.clip)
        self.scale = clip.logit_scale.exp().to(self.device)
        self.projection = self._placed(clip.visual_projection)
        self.clip = self._placed(clip.vision_model)
        self.sam = self._placed(transformers_sam(model.sam))
        umci = torch_umci(model.umci)
        umci.stages = umci.stages[-config.head.stages :]
        self.umci = self._placed(umci.eval().requires_grad_(False))
        self.encode_sam = self.sam.vision_encoder
        if compiled:
            self.clip, self.umci = torch.compile(self.clip), torch.compile(self.umci)
            self.encode_sam = torch.compile(self.encode_sam)
        self.mean, self.std = (
            self._column(values)
            for values in (model.clip.config.pixel_mean, model.clip.config.pixel_std)
        )
        self.sam_mean, self.sam_std = (
            self._column(values) for values in (self.sizes.pixel_mean, self.sizes.pixel_std)
        )

    @torch.inference_mode()
    def __call__(self, images: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps [B, H, W] and image scores [B] of photos [B, H, W, 3] and text [B, 2, D]."""
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        words = torch.from_numpy(text).to(self.device)
        rough, probability = self.rough(pixels, words)
        canvas = self.upsample(rough, pixels)
        side = self.sizes.image_size
        frame = frame_size(images.shape[1], images.shape[2], side)
        embedding = self.embed(pixels, frame)
        found = [self.prompt(_resize(rough[i], frame), embedding[i]) for i in range(len(images))]
        best = [torch.zeros_like(canvas[0]) for _ in range(len(images))]
        if any(len(prompts.points) for prompts in found):
            owner, logits, confidence = self.decode(embedding, found, frame)
            shown = F.interpolate(logits[:, None], (side, side), mode="bilinear")
            shown = shown[:, :, : frame[0], : frame[1]]
            shown = F.interpolate(shown, images.shape[1:3], mode="bilinear")[:, 0].sigmoid()
            for index, mask, score in zip(owner.tolist(), shown, confidence, strict=True):
                best[index] = torch.maximum(best[index], score * mask)
        weight = self.refiner.rough_weight
        maps = (weight * canvas + (1 - weight) * torch.stack(best)).clamp(0, 1)
        count = max(1, int(np.ceil(maps[0].numel() * self.score.top_fraction)))
        top = maps.flatten(1).topk(count, dim=1).values.mean(1)
        share = self.score.map_weight
        scores = share * top + (1 - share) * probability
        return maps.cpu().numpy(), scores.cpu().numpy()

    def rough(self, pixels: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The map on the patch grid, and the class token's abnormal probability."""
        grid = tuple(side // self.patch for side in next(iter(self.looks)))
        maps, probabilities = [], []
        for size, turns in self.looks.items():
            rough, probability = self.look(pixels, text, size, turns)
            maps += [_resize(part, grid) for part in rough]
            probabilities.append(probability)
        return torch.stack(maps).mean(0), torch.cat(probabilities).mean(0)

    def look(
        self, pixels: Tensor, text: Tensor, size: tuple[int, int], turns: tuple[int, ...]
    ) -> tuple[list[Tensor], Tensor]:
        """What `rough` gives, for each quarter turn of the photos at one size."""
        resized = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 255)
        inputs = ((resized / 255 - self.mean) / self.std).to(self.dtype)
        inputs = torch.cat([torch.rot90(inputs, k, (2, 3)) for k in turns])
        text = text.repeat(len(turns), 1, 1)
        output = self.clip(inputs, output_hidden_states=True, interpolate_pos_encoding=True)
        grid = (size[0] // self.patch, size[1] // self.patch)
        tokens = [output.hidden_states[layer][:, 1:] for layer in self.layers]
        logits = self.umci(tokens, text.to(self.dtype), grid)
        rough = logits.float().softmax(-1)[..., 1].mean(1)
        if self.head.similarity_weight:
            patches = self.clip.post_layernorm(output.last_hidden_state[:, 1:])
            similarity = self.abnormal(patches, text).unflatten(1, grid)
            rough = torch.lerp(rough, similarity, self.head.similarity_weight)
        probability = self.abnormal(output.pooler_output[:, None], text)[:, 0]
        parts = zip(rough.chunk(len(turns)), turns, strict=True)
        upright = [torch.rot90(part, -k, (1, 2)) for part, k in parts]
        return upright, probability.reshape(len(turns), -1)

    def upsample(self, rough: Tensor, pixels: Tensor) -> Tensor:
        """The rough map at the photos' size."""
        if self.head.upsampling.rule == "bilinear":
            return _resize(rough, pixels.shape[2:])
        frame = (2 * rough.shape[1], 2 * rough.shape[2])
        reach = [max(1, round(self.head.upsampling.radius * side)) for side in frame]
        window = [2 * length + 1 for length in reach]

        def mean(x: Tensor) -> Tensor:
            return F.avg_pool2d(x, window, 1, reach, count_include_pad=False)

        guide = F.interpolate(pixels, frame, mode="bilinear", antialias=True).round() / 255
        target = _resize(rough, frame)[:, None]
        colour, level = mean(guide), mean(target)
        joint = mean(guide * target) - colour * level
        products = mean((guide[:, :, None] * guide[:, None]).flatten(1, 2)).unflatten(1, (3, 3))
        variance = products - colour[:, :, None] * colour[:, None]
        variance = variance.movedim((1, 2), (3, 4))
        variance = variance + self.head.upsampling.epsilon * torch.eye(3, device=rough.device)
        slope = torch.linalg.solve(variance, joint.movedim(1, 3)).movedim(3, 1)
        lines = mean(torch.cat([slope, level - (slope * colour).sum(1, keepdim=True)], 1))
        lines = F.interpolate(lines, pixels.shape[2:], mode="bilinear")
        return ((lines[:, :3] * pixels / 255).sum(1) + lines[:, 3]).clamp(0, 1)

    def abnormal(self, tokens: Tensor, text: Tensor) -> Tensor:
        """Abnormal probability of normed tokens by their similarity with the text."""
        feature = F.normalize(self.projection(tokens).float(), dim=-1)
        return (self.scale * torch.einsum("bnd,btd->bnt", feature, text)).softmax(-1)[..., 1]

    def embed(self, pixels: Tensor, frame: tuple[int, int]) -> Tensor:
        """SAM's image embeddings."""
        side = self.sizes.image_size
        resized = F.interpolate(pixels, frame, mode="bilinear", antialias=True)
        normal = (resized - self.sam_mean) / self.sam_std
        padded = F.pad(normal, (0, side - frame[1], 0, side - frame[0]))
        return self.encode_sam(padded.to(self.dtype)).last_hidden_state

    def prompt(self, rough: Tensor, embedding: Tensor) -> "Prompts":
        """PPG's points of one image's regions; `rough` covers the photo's part of the frame."""
        config, side = self.refiner, self.sizes.image_size
        level, rules = config.foreground, config.points
        rank = max(1, int(np.ceil(rough.numel() * level.quantile)))
        quantile = rough.flatten().kthvalue(rank).values
        foreground = rough >= torch.clamp(quantile, min=level.threshold)
        mask = foreground.cpu().numpy()
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        order = np.argsort(-areas, kind="stable")[: config.regions]
        boxes, points, kinds, highest = [], [], [], []
        unit = F.normalize(embedding.float(), dim=0)
        for index in (index for index in order if areas[index]):
            region = labels == index
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            boxes.append([int(end) for end in (columns[0], rows[0], columns[-1], rows[-1])])
            distance = rules.distance * side
            inside = torch.from_numpy(region).to(rough.device)
            positive = greedy(rough.masked_fill(~inside, -torch.inf), rules.top_k, distance)
            ring = _dilated(region, boxes[-1], rules.ring_radius * side)
            ring = torch.from_numpy(ring & ~mask).to(rough.device)
            alike = self.similarity(unit, embedding, positive)[: rough.shape[0], : rough.shape[1]]
            scores = (-alike).masked_fill(~ring, -torch.inf)
            negative = greedy(scores, rules.negatives, distance)
            points.append(positive + negative)
            kinds.append([1] * len(positive) + [0] * len(negative))
            highest.append(float(rough[inside].max()))
        return Prompts(points, kinds, boxes, highest)

    def similarity(self, unit: Tensor, embedding: Tensor, points: list[list[int]]) -> Tensor:
        """Cosine of the embedding with the mean at the points, on the frame."""
        side = self.sizes.image_size
        at = torch.tensor(points, device=embedding.device, dtype=torch.float32)
        at = (2 * at + 1) / side - 1
        sampled = F.grid_sample(
            embedding.float()[None], at[None, None], padding_mode="border", align_corners=False
        )
        prototype = F.normalize(sampled[0, :, 0].mean(1), dim=0)
        cosine = torch.einsum("c,chw->hw", prototype, unit)
        return _resize(cosine, (side, side))

    def decode(
        self, embedding: Tensor, found: list["Prompts"], frame: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """CPS on all regions of all images at once: image of each, logits, confidence."""
        device = embedding.device
        owner = [i for i, prompts in enumerate(found) for _ in prompts.points]
        owner = torch.tensor(owner, device=device)
        longest = max(len(row) for prompts in found for row in prompts.points)
        points = torch.zeros(len(owner), 1, longest, 2, device=device)
        labels = torch.full((len(owner), 1, longest), -10, device=device)
        rows = [pair for p in found for pair in zip(p.points, p.labels, strict=True)]
        for row, (places, kinds) in enumerate(rows):
            points[row, 0, : len(places)] = torch.tensor(places, dtype=torch.float32)
            labels[row, 0, : len(kinds)] = torch.tensor(kinds)
        given = {
            "image_embeddings": embedding[owner],
            "input_points": points.to(self.dtype),
            "input_labels": labels,
        }
        logits, iou = self.best(self.sam(**given))
        if self.refiner.stages >= 2:
            logits, iou = self.best(self.sam(**given, input_masks=logits[:, None]))
        if self.refiner.stages >= 3:
            boxes = torch.tensor([box for prompts in found for box in prompts.boxes], device=device)
            boxes = self.boxes(logits, boxes.float(), frame)
            logits, iou = self.best(
                self.sam(**given, input_masks=logits[:, None], input_boxes=boxes[:, None])
            )
        confidence = iou.float().clamp(0, 1)
        if self.refiner.mask_confidence == "iou_times_rough":
            highest = [value for prompts in found for value in prompts.highest]
            confidence = confidence * torch.tensor(highest, device=device)
        return owner, logits.float(), confidence

    @staticmethod
    def best(output: Any) -> tuple[Tensor, Tensor]:
        """Of each region's three masks the one of the highest predicted IoU."""
        iou, index = output.iou_scores[:, 0].max(1)
        return output.pred_masks[torch.arange(len(iou)), 0, index], iou

    def boxes(self, logits: Tensor, fallback: Tensor, frame: tuple[int, int]) -> Tensor:
        """Boxes around masks with the margin, inside the photo; an empty one has its region's."""
        side, boxes = self.sizes.image_size, fallback.clone()
        cell = side / logits.shape[-1]
        inside = [int(np.ceil(length / cell)) for length in frame]
        margin = self.refiner.box_margin * side
        limit = torch.tensor([frame[1], frame[0]] * 2, device=boxes.device) - 1
        for row, mask in enumerate(logits[:, : inside[0], : inside[1]] > 0):
            if mask.any():
                ys, xs = mask.any(1).nonzero(), mask.any(0).nonzero()
                low = torch.stack([xs[0, 0], ys[0, 0]]) * cell - margin
                high = (torch.stack([xs[-1, 0], ys[-1, 0]]) + 1) * cell - 1 + margin
                boxes[row] = torch.cat([low, high])
        return boxes.clamp(min=0).minimum(limit).to(self.dtype)

    def _placed(self, module: torch.nn.Module) -> Any:
        return module.to(self.device, self.dtype)

    def _column(self, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, device=self.device).view(1, 3, 1, 1)


class Prompts(NamedTuple):
    """Points, their labels, box and highest rough value of each region of one image."""

    points: list[list[list[int]]]
    labels: list[list[int]]
    boxes: list[list[int]]
    highest: list[float]


def greedy(scores: Tensor, count: int, distance: float) -> list[list[int]]:
    """Up to `count` (x, y) of the highest scores, at least `distance` pixels apart."""
    rows = torch.arange(scores.shape[0], device=scores.device)[:, None]
    columns = torch.arange(scores.shape[1], device=scores.device)
    points: list[list[int]] = []
    for _ in range(count):
        y, x = divmod(int(scores.argmax()), scores.shape[1])
        if scores[y, x] == -torch.inf:
            break
        points.append([x, y])
        near = (rows - y) ** 2 + (columns - x) ** 2 < distance**2
        near[y, x] = True
        scores = scores.masked_fill(near, -torch.inf)
    return points


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear, for one map or a batch."""
    batch = maps if maps.ndim == 3 else maps[None]
    resized = F.interpolate(batch[:, None], tuple(size), mode="bilinear")[:, 0]
    return resized if maps.ndim == 3 else resized[0]


def _dilated(region: np.ndarray, box: list[int], radius: float) -> np.ndarray:
    """Pixels within `radius` of a region; distances are taken around its box (x0, y0, x1, y1)."""
    reach = int(radius)
    x0, y0, x1, y1 = box
    near = np.s_[max(y0 - reach, 0) : y1 + reach + 1, max(x0 - reach, 0) : x1 + reach + 1]
    ring = np.zeros_like(region)
    ring[near] = ndimage.distance_transform_edt(~region[near]) <= radius
    return ring
