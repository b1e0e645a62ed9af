"""Miniature published trees and a CLIP of a few thousand parameters, for the tests of training."""

import pathlib

import numpy as np
import PIL.Image
from flax import nnx
from random_weights import random_weights

from zsas_jax.checkpoints.checkpoint import Bundle, save
from zsas_jax.config import Config, PipelineConfig
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.clip.tokenizer import train_tokenizer
from zsas_jax.networks.umci.config import UmciConfig
from zsas_jax.training.config import AuxiliaryConfig, TrainConfig, UmciTaskConfig

CLIP = ClipConfig(
    image_size=32,
    patch_size=8,
    vision_width=8,
    vision_layers=2,
    vision_heads=2,
    context_length=32,
    vocab_size=600,
    text_width=8,
    text_layers=1,
    text_heads=2,
    embed_dim=8,
)


def save_clip(directory: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """A checkpoint of a random CLIP alone."""
    parts = Config(clip=CLIP)
    words = ["a photo of a damaged bottle.", "flawless metal nut", "a dark photo of the object."]
    tokenizer = train_tokenizer(words * 20, CLIP.vocab_size, CLIP.context_length)
    model = random_weights(lambda: Model(parts, rngs=nnx.Rngs(0)), seed)
    return save(directory, Bundle(model, tokenizer, parts))


def picture(path: pathlib.Path, rng: np.random.Generator, defect: bool = False) -> None:
    """A photo of 40 x 32 noise, with a bright square where it is defective."""
    levels = rng.integers(60, 120, (32, 40, 3), dtype=np.uint8)
    if defect:
        levels[8:20, 10:24] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(levels).save(path)


def mask(path: pathlib.Path, value: int = 255, *, empty: bool = False) -> None:
    """The mask of such a defect."""
    levels = np.zeros((32, 40), np.uint8)
    if not empty:
        levels[8:20, 10:24] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(levels).save(path)


def mvtec_tree(root: pathlib.Path, count: int = 3, *, empty: bool = False) -> pathlib.Path:
    """MVTec AD with two categories, `count` photos good and `count` of each of two defects."""
    rng = np.random.default_rng(0)
    for category in ("bottle", "metal_nut"):
        picture(root / category / "train/good/000.png", rng)
        for number in range(count):
            name = f"{number:03}"
            picture(root / category / f"test/good/{name}.png", rng)
            for kind in ("bent", "scratch"):
                picture(root / category / f"test/{kind}/{name}.png", rng, defect=True)
                mask(root / category / f"ground_truth/{kind}/{name}_mask.png", empty=empty)
    return root


def visa_tree(root: pathlib.Path) -> pathlib.Path:
    """VisA as released, with two categories and its list of photos."""
    rng = np.random.default_rng(1)
    rows = ["object,split,label,image,mask"]
    for category in ("candle", "pcb1"):
        images, masks = f"{category}/Data/Images", f"{category}/Data/Masks/Anomaly"
        for number in range(3):
            picture(root / images / f"Normal/{number:03}.JPG", rng)
            rows.append(f"{category},test,normal,{images}/Normal/{number:03}.JPG,")
            picture(root / images / f"Anomaly/{number:03}.JPG", rng, defect=True)
            mask(root / masks / f"{number:03}.png", value=2)
            rows.append(
                f"{category},test,anomaly,{images}/Anomaly/{number:03}.JPG,{masks}/{number:03}.png"
            )
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
    return root


def umci_config(clip: pathlib.Path, data: pathlib.Path, cache: pathlib.Path, **changes):
    """A run of two epochs on the miniature MVTec AD."""
    auxiliary = {
        "name": "mvtec",
        "data_dir": str(data),
        "held_out": 0.3,
        "validation_size": 16,
        "cache_dir": str(cache),
        "workers": 1,
        **changes.pop("auxiliary", {}),
    }
    settings = {
        "task": "umci",
        "epochs": 2,
        "batch_size": 4,
        "init": (str(clip),),
        "umci": UmciConfig(width=8, text_dim=8, hidden_dim=8, scale_kernels=(3,), layers=(2,)),
        "umci_task": UmciTaskConfig(stage_weights=(1.0,)),
        "auxiliary": AuxiliaryConfig(**auxiliary),
        "pipeline": PipelineConfig(method="umci", clip_image_size=32),
        "log_every": 1,
        "sample_maps": 1,
        **changes,
    }
    return TrainConfig(**settings)
