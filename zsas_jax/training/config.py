"""What every training run has: pictures, an optimizer, a task; a file in `configs/` builds one."""

import dataclasses
from typing import Annotated, Literal

from zsas_jax.config import Between, check_fields
from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Where training pictures come from: `Generated` or `PhotoSet`."""


@dataclasses.dataclass(frozen=True)
class Generated(Pictures):
    """Training pictures: a pool rendered once by the generator, cropped anew every time."""

    pictures: Annotated[int, Between(1)] = 28000
    """Size of the pool."""
    size: int = 256
    """Side of a rendered picture, pixels."""
    seed: int = 0
    """Seed of the generator."""
    cache_dir: str = "runs/pool"
    """Where rendered pools are kept; the same pool is rendered once for all networks."""
    crop_min: Annotated[float, Between(0, 1)] = 0.4
    """Smallest side of a random crop, as a fraction of the picture's side."""
    stretch: Annotated[float, Between(1)] = 1.0
    """Largest ratio of a crop's sides; it is stretched to a square, as the pipeline does with long
    photos. 1 crops squares."""
    defect_crop: Annotated[float, Between(0, 1)] = 0.5
    """Share of the crops of defective pictures that are placed over the defect."""
    foreign_patch: Annotated[float, Between(0, 1)] = 0.0
    """Share of samples that get a patch of another picture, colour or brightness pasted in, as an
    anomaly with its exact mask."""
    foreign_ground: Annotated[float, Between(0, 1)] = 0.0
    """Share of samples whose objects are laid on a good surface of another sample; that is no
    anomaly."""
    full_picture: Annotated[float, Between(0, 1)] = 0.3
    """Share of samples that are not cropped."""
    grey: Annotated[float, Between(0, 1)] = 0.2
    """Share of samples turned grey."""
    uneven_light: Annotated[float, Between(0, 1)] = 0.0
    """Share of samples whose light falls off, or grows, towards borders, corners or along a wave;
    that is no anomaly."""
    glare: Annotated[float, Between(0, 1)] = 0.0
    """Share of samples with smooth bright or dark spots at corners or borders; that is no
    anomaly."""
    noise: Annotated[float, Between(0, 1)] = 0.0
    """Share of samples with added noise, of up to 20 levels of 255; that is no anomaly."""
    workers: Annotated[int, Between(1)] = 2
    """Processes that render the pool, threads that read it."""
    processes: Annotated[int, Between(0)] = 0
    """Processes that make the views, where a GPU takes more than the threads of one process can;
    0 makes them in this one, with `workers` threads. The batches are the same."""

    def __post_init__(self):
        check_fields(self, "data")


@dataclasses.dataclass(frozen=True)
class PhotoSet(Pictures):
    """Training photos: a registered data set with masks, of which a part is held out.

    ClipSAM trains on MVTec AD to test VisA, MTD and KSDD2, and on VisA to test MVTec AD. It names
    no augmentation, so that all are off here. All probabilities are of one photo in one epoch.
    """

    name: str = ""
    """A data set of `zsas_jax.data.registry` ("mvtec", "visa"), or a FILE.py that describes your
    own."""
    data_dir: str = ""
    """Its directory as published (train.py: --data-dir)."""
    categories: tuple[str, ...] = ()
    """The categories to train on; none named means all."""
    split: Literal["test", "train"] = "test"
    """The published split: the test photos have the anomalies (APRIL-GAN, `train.py`)."""
    held_out: Annotated[float, Between(0, 1)] = 0.1
    """Share of the photos of each defect type on which every epoch is validated; not specified by
    the paper. 0 validates nothing."""
    validation_size: Annotated[int, Between(1)] = 256
    """Side in pixels to which maps and masks are stretched for the validation metrics."""
    cache: bool = True
    """Compute the frozen CLIP's patch tokens once and read them from disk. Off with any random
    augmentation: the tokens of a changed photo serve only once."""
    cache_dir: str = "runs/features"
    """Where patch tokens are kept, by weights, preprocessing and content of the photo."""
    flip: Annotated[float, Between(0, 1)] = 0.0
    """Probability of a flip, each of left-right and up-down."""
    rotate: Annotated[float, Between(0, 1)] = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    colour: Annotated[float, Between(0, 1)] = 0.0
    """Largest relative change of brightness, contrast and each colour."""
    mosaic: Annotated[float, Between(0, 1)] = 0.0
    """Probability that four photos of the same category, pasted 2 x 2 at their own size, take the
    photo's place (APRIL-GAN: 0.2 on MVTec AD)."""
    workers: Annotated[int, Between(1)] = 4
    """Threads that decode photos or read tokens, each a batch ahead of the device."""

    def __post_init__(self):
        check_fields(self, "data")

    @property
    def random(self) -> bool:
        """Whether a photo looks different in every epoch."""
        return max(self.flip, self.rotate, self.colour, self.mosaic) > 0


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay (ClipSAM 4.1: AdamW, learning rate 1e-4, no schedule)."""

    algorithm: Literal["adamw", "muon"] = "adamw"
    """"muon" orthogonalises the updates of matrices (Jordan et al. 2024) and learns small networks
    from nothing in fewer steps."""
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0 turns clipping off."""
    accumulation: Annotated[int, Between(1)] = 1
    """Parts into which a batch is cut, one after the other, where it does not fit in memory; the
    gradient is their mean. Above 1 only where the loss of a batch is the mean of theirs."""
    ema_decay: float = 0.0
    """Decay of a moving average of the parameters, which then is what is validated and saved; 0
    keeps none."""

    def __post_init__(self):
        check_fields(self, "optimizer")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"optimizer.ema_decay is {self.ema_decay}: expected at least 0 and below 1"
            )


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What is trained; the tasks of `zsas_jax.tasks` derive theirs from it."""

    @property
    def mean_loss(self) -> bool:
        """Whether the loss of a batch is the mean of its parts' losses, so that it can be cut."""
        return False

    @property
    def validated(self) -> bool:
        """Whether epochs are validated on held-out pictures."""
        return False


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run of one task."""

    task: TaskConfig
    steps: Annotated[int, Between(0)] = 0
    """Updates; 0 means as many as `epochs` take."""
    batch_size: Annotated[int, Between(1)] = 8
    """Pictures of one update, over all devices and parts (`optimizer.accumulation`)."""
    epochs: Annotated[int, Between(0)] = 0
    """Passes over the training pictures where `steps` is 0."""
    init: tuple[str, ...] = ()
    """Checkpoint directories whose networks are taken over (frozen, unless they are trained)."""
    method: str = ""
    """The method that the saved checkpoint calls its own; empty: that of `init`."""
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in, frozen ones included; trained parameters, the optimizer, scores
    and losses stay float32."""
    shard_frozen: bool = False
    """Whether frozen weights are split over the devices instead of copied to each."""
    keep: Literal["last", "best"] = "last"
    """Which parameters the run saves at its end: the last, or those of the best validation, which
    is of held-out photos."""
    seed: int = 0
    log_every: Annotated[int, Between(1)] = 20
    """Steps between lines of log.csv."""
    checkpoint_every: Annotated[int, Between(1)] = 200
    """Steps between resumable checkpoints, which the end of each validated epoch makes as well."""
    sample_maps: Annotated[int, Between(0)] = 4
    """Validation photos whose maps are drawn every epoch."""

    def __post_init__(self):
        check_fields(self, "training")
        if not self.steps and not self.epochs:
            raise ConfigError("steps is 0: expected at least 1, or 0 and some epochs")
        parts = self.optimizer.accumulation
        if parts > 1 and not self.task.mean_loss:
            raise ConfigError(
                f"optimizer.accumulation is {parts}, but the loss of a batch of this task is not "
                "the mean of its parts' losses: expected 1"
            )
        if self.batch_size % parts:
            raise ConfigError(
                f"batch_size is {self.batch_size}: expected a multiple of the {parts} parts of "
                "optimizer.accumulation"
            )
        if self.keep == "best" and not self.task.validated:
            raise ConfigError(
                "keep is 'best', but this run validates nothing: expected 'last', or a task on "
                "photos of which some are held out"
            )
