"""Miniature published trees, small networks and runs, for the tests of training and tasks."""

import dataclasses
import pathlib

import numpy as np
import PIL.Image

from zsas_jax.checkpoints import save
from zsas_jax.methods.heads.umci import UmciHead
from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.networks import NETWORKS
from zsas_jax.parts.views import Views
from zsas_jax.tasks import HeadTask
from zsas_jax.testing import dummy_bundle
from zsas_jax.training.config import Generated, PhotoSet, TaskConfig, TrainConfig

CLIP, SAM = NETWORKS["clip"].small, NETWORKS["sam"].small
UMCI = dataclasses.replace(NETWORKS["umci"].small, layers=(2,))


@dataclasses.dataclass(frozen=True)
class MeanTask(TaskConfig):
    """A task of tests, whose batches can be cut and whose epochs can be validated."""

    @property
    def mean_loss(self):
        return True

    @property
    def validated(self):
        return True


def save_clip(directory: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """A checkpoint of a random CLIP alone."""
    return save(directory, dummy_bundle(["clip"], seed))


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


def small_pool(directory: pathlib.Path, **changes) -> Generated:
    """Six pictures of the generator."""
    settings = {"pictures": 6, "size": 64, "cache_dir": str(directory), "workers": 1}
    return Generated(**settings | changes)


def umci_task(**changes) -> HeadTask:
    """A UMCI of one stage, at 32 pixels."""
    settings = {
        "head": "umci",
        "size": 32,
        "sizes": UMCI,
        "settings": UmciHead(Views(32)),
        "training": UmciTraining(stage_weights=(1.0,)),
    }
    return HeadTask(**settings | changes)


def photo_run(clip: pathlib.Path, data: pathlib.Path, cache: pathlib.Path, **changes):
    """A run of two epochs on the miniature MVTec AD; `photos` changes its `PhotoSet`."""
    photos = {
        "name": "mvtec",
        "data_dir": str(data),
        "held_out": 0.3,
        "validation_size": 16,
        "cache_dir": str(cache),
        "workers": 1,
        **changes.pop("photos", {}),
    }
    settings = {
        "task": umci_task(data=PhotoSet(**photos)),
        "epochs": 2,
        "batch_size": 4,
        "init": (str(clip),),
        "log_every": 1,
        "sample_maps": 1,
        **changes,
    }
    return TrainConfig(**settings)


class StopAt:
    """Asks a run to stop after some steps, of all phases of a recipe, as SIGTERM does."""

    def __init__(self, steps):
        self.left = steps

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def asked(self):
        self.left -= 1  # Read once a step, and at the end of a run.
        return self.left == 0
