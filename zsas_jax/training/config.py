"""Every knob of a training run, as one frozen dataclass that a file in `configs/` builds."""

import dataclasses
from typing import Literal

from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.umci.config import UmciConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Training pictures: a pool rendered once by the generator, cropped anew every time."""

    pictures: int = 28000
    """Size of the pool."""
    size: int = 256
    """Side of a rendered picture, pixels."""
    seed: int = 0
    """Seed of the generator."""
    cache_dir: str = "runs/pool"
    """Where rendered pools are kept; the same pool is rendered once for all networks."""
    crop_min: float = 0.4
    """Smallest side of a random crop, as a fraction of the picture's side."""
    stretch: float = 1.0
    """Largest ratio of a crop's sides; it is stretched to a square, as the pipeline does with long
    photos. 1 crops squares."""
    defect_crop: float = 0.5
    """Share of the crops of defective pictures that are placed over the defect."""
    foreign_patch: float = 0.0
    """Share of samples that get a patch of another picture, colour or brightness pasted in, as an
    anomaly with its exact mask."""
    foreign_ground: float = 0.0
    """Share of samples whose objects are laid on a good surface of another sample; that is no
    anomaly."""
    full_picture: float = 0.3
    """Share of samples that are not cropped."""
    grey: float = 0.2
    """Share of samples turned grey."""
    uneven_light: float = 0.0
    """Share of samples whose light falls off, or grows, towards borders, corners or along a wave;
    that is no anomaly."""
    glare: float = 0.0
    """Share of samples with smooth bright or dark spots at corners or borders; that is no
    anomaly."""
    noise: float = 0.0
    """Share of samples with added noise, of up to 20 levels of 255; that is no anomaly."""
    workers: int = 2
    """Processes that render the pool, threads that read it."""
    processes: int = 0
    """Processes that make the views, where a GPU takes more than the threads of one process can;
    0 makes them in this one, with `workers` threads. The batches are the same."""

    def __post_init__(self):
        if self.stretch < 1:
            raise ConfigError(f"data.stretch is {self.stretch}: expected at least 1")
        for name, least in (("pictures", 1), ("workers", 1), ("processes", 0)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"data.{name} is {value}: expected at least {least}")
        pasted = ("foreign_patch", "foreign_ground")
        looks = ("grey", "uneven_light", "glare", "noise")
        _check_shares("data", self, ("crop_min", "defect_crop", "full_picture", *pasted, *looks))


@dataclasses.dataclass(frozen=True)
class AuxiliaryConfig:
    """Training photos: a registered data set with masks, of which a part is held out.

    ClipSAM trains on MVTec AD to test VisA, MTD and KSDD2, and on VisA to test MVTec AD. It names
    no augmentation, so that all are off here. All probabilities are of one photo in one epoch.
    """

    name: str = ""
    """A data set of `zsas_jax.data.registry` ("mvtec", "visa"), or a FILE.py that describes your
    own; empty trains on the generator's pictures (`data`)."""
    data_dir: str = ""
    """Its directory as published (train.py: --data-dir)."""
    categories: tuple[str, ...] = ()
    """The categories to train on; none named means all."""
    split: Literal["test", "train"] = "test"
    """The published split: the test photos have the anomalies (APRIL-GAN, `train.py`)."""
    held_out: float = 0.1
    """Share of the photos of each defect type on which every epoch is validated; not specified by
    the paper. 0 validates nothing."""
    validation_size: int = 256
    """Side in pixels to which maps and masks are stretched for the validation metrics."""
    cache: bool = True
    """Compute the frozen CLIP's patch tokens once and read them from disk. Off with any random
    augmentation: the tokens of a changed photo serve only once."""
    cache_dir: str = "runs/features"
    """Where patch tokens are kept, by weights, preprocessing and content of the photo."""
    flip: float = 0.0
    """Probability of a flip, each of left-right and up-down."""
    rotate: float = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    colour: float = 0.0
    """Largest relative change of brightness, contrast and each colour."""
    mosaic: float = 0.0
    """Probability that four photos of the same category, pasted 2 x 2 at their own size, take the
    photo's place (APRIL-GAN: 0.2 on MVTec AD)."""
    workers: int = 4
    """Threads that decode photos or read tokens, each a batch ahead of the device."""

    def __post_init__(self):
        _check_shares("auxiliary", self, ("held_out", "flip", "rotate", "colour", "mosaic"))
        for name in ("validation_size", "workers"):
            if getattr(self, name) < 1:
                value = getattr(self, name)
                raise ConfigError(f"auxiliary.{name} is {value}: expected at least 1")

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
    accumulation: int = 1
    """Parts into which a batch is cut, one after the other, where it does not fit in memory; the
    gradient is their mean. Above 1 only where the loss is a mean over pictures: task "umci" with
    umci_task.loss "focal_dice" and umci_task.dice_over "image"."""
    ema_decay: float = 0.0
    """Decay of a moving average of the parameters, which then is what is validated and saved; 0
    keeps none."""

    def __post_init__(self):
        if self.accumulation < 1:
            raise ConfigError(f"optimizer.accumulation is {self.accumulation}: expected at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"optimizer.ema_decay is {self.ema_decay}: expected at least 0 and below 1"
            )


@dataclasses.dataclass(frozen=True)
class ClipTaskConfig:
    """Contrastive training of CLIP with captions that name class and state."""

    state_weight: float = 1.0
    """Weight of the image against its own category's normal and abnormal sentences."""
    region_weight: float = 1.0
    """Weight of the same for every patch, against the mask (region-text contrast)."""
    auxiliary_weight: float = 1.0
    """Weight of the anomaly loss of a UMCI that is trained along, where the config has one."""
    balance: float = 1.0
    """How much more anomalous patches weigh in both losses of patches
    (`losses.balanced_cross_entropy`)."""
    focus: float = 0.0
    """How much less plainly right patches count there; 0 or at least 1."""
    unknown_word: float = 0.3
    """Share of sentences whose category is replaced by a generic or made-up word."""
    text_steps: int = 300
    """Steps in which the text tower first learns, alone, to tell classes and states apart: while
    both states have the same text feature, no picture can be told which one it shows."""
    view_size: int = 0
    """Side of the training views in pixels; 0 is the CLIP's own `image_size`. A second, short run
    at the size the pipeline uses teaches the image tower its longer reach."""
    vocab_captions: int = 4000
    """Captions on which the tokenizer is trained."""

    def __post_init__(self):
        _check_focus("clip_task.focus", self.focus)


@dataclasses.dataclass(frozen=True)
class SamTaskConfig:
    """Promptable segmentation as SAM is trained (SAM, appendix A): clicks, boxes, masks."""

    view_size: int = 0
    """Side of the training views in pixels, and of the saved SAM's input frame; 0 is that of the
    config or of `init`, whose learned positions are resampled for another."""
    from_clip: bool = False
    """Whether a fresh SAM's image encoder starts from the image tower of `init`'s CLIP."""
    prompts: int = 4
    """Targets (segments) per picture."""
    points: int = 8
    """Point slots of a prompt: first clicks, then one correction; at least 2."""
    single_click: float = 0.4
    """Share of targets with one click inside as their first prompt (half of SAM's, the others begin
    with a box). The others have up to half the slots inside and as many around them, as a rough
    map's prompts."""
    focal_weight: float = 20.0
    dice_weight: float = 1.0
    iou_weight: float = 1.0
    box_noise: float = 0.1
    """Standard deviation of a box corner, as a fraction of the box side (SAM: 10 %)."""
    box_shift: float = 20 / 1024
    """Greatest shift of a box corner, as a fraction of the picture's side (SAM: 20 of 1024 pixels).
    Boxes of a rough map are farther off."""
    box_exact: float = 0.0
    """Share of boxes without noise."""
    defect_share: float = 0.5
    """Share of targets that are defects where the picture has one."""

    def __post_init__(self):
        _check_shares("sam_task", self, ("single_click", "box_shift", "box_exact", "defect_share"))
        for name, least in (("prompts", 1), ("points", 2), ("box_noise", 0)):
            if getattr(self, name) < least:
                value = getattr(self, name)
                raise ConfigError(f"sam_task.{name} is {value}: expected at least {least}")


@dataclasses.dataclass(frozen=True)
class UmciTaskConfig:
    """ClipSAM Eqs. 10-12."""

    loss: Literal["focal_dice", "balanced"] = "focal_dice"
    """The paper's loss, or the cross-entropy with which a UMCI is trained along with its CLIP:
    patches weigh as `balance` says, all stages the same. After 400 steps of focal and Dice
    half of the tiny model's maps stayed below 0.3 everywhere, so that SAM was not asked."""
    balance: float = 1.0
    """How much more anomalous patches weigh with "balanced"; 1: together as much as normal ones."""
    focus: float = 0.0
    """How much less plainly right patches count with "balanced"; 0 or at least 1."""
    stage_weights: tuple[float, ...] = (0.1, 0.1, 0.1, 0.7)
    focal_gamma: float = 2.0
    dice_smooth: float = 1.0
    dice_over: Literal["image", "batch"] = "image"
    """Whether each picture or the whole batch is one Dice term. Not specified by the paper; with
    "image" a false alarm in a good picture costs so much that a network trained from nothing
    learns to find nothing."""
    loss_resolution: Literal["input", "grid"] = "input"
    """Where the loss is taken; not specified by the paper (its "N = H x W" suggests the grid)."""
    unknown_word: float = 0.3
    """Share of samples prompted with "object" instead of their category."""
    tuning_per_class: int = 0
    """Pictures of each training class on which the pipeline's settings for this checkpoint are
    chosen at the end (training/calibration.py); 0 keeps those of the config."""
    calibration_per_class: int = 0
    """Pictures of each training class on which the verdict thresholds are chosen at the end; 0
    keeps those of the config."""

    def __post_init__(self):
        for name in ("tuning_per_class", "calibration_per_class"):
            if (count := getattr(self, name)) != 0 and count < 2:
                raise ConfigError(f"umci_task.{name} is {count}: expected 0 or at least 2")
        _check_focus("umci_task.focus", self.focus)
        _check_focus("umci_task.focal_gamma", self.focal_gamma)


def _check_shares(section: str, config: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"{section}.{name} is {value}: expected between 0 and 1")


def _check_focus(name: str, gamma: float) -> None:
    # Between, the gradient of a patch of probability 1 is infinite.
    if gamma != 0 and gamma < 1:
        raise ConfigError(f"{name} is {gamma}: expected 0 or at least 1")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run of one network."""

    task: Literal["clip", "sam", "umci"]
    steps: int = 0
    """Updates; 0 means as many as `epochs` take."""
    batch_size: int = 8
    """Pictures of one update, over all devices and parts (`optimizer.accumulation`)."""
    epochs: int = 0
    """Passes over the training pictures where `steps` is 0."""
    clip: ClipConfig | None = None
    sam: SamConfig | None = None
    umci: UmciConfig | None = None
    init: tuple[str, ...] = ()
    """Checkpoint directories whose networks are taken over (frozen, unless they are trained)."""
    data: DataConfig = DataConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    clip_task: ClipTaskConfig = ClipTaskConfig()
    sam_task: SamTaskConfig = SamTaskConfig()
    umci_task: UmciTaskConfig = UmciTaskConfig()
    pipeline: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)
    """Pipeline settings that are saved with the trained network."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in, frozen ones included; trained parameters, the optimizer, scores
    and losses stay float32."""
    shard_frozen: bool = False
    """Whether frozen weights are split over the devices instead of copied to each."""
    keep: Literal["last", "best"] = "last"
    """Which parameters the run saves at its end: the last, or those of the best validation, which
    is of held-out photos (`auxiliary`)."""
    seed: int = 0
    log_every: int = 20
    """Steps between lines of log.csv."""
    checkpoint_every: int = 200
    """Steps between resumable checkpoints, which the end of each validated epoch makes as well."""
    sample_maps: int = 4
    """Validation photos whose maps are drawn every epoch."""

    def __post_init__(self):
        if self.steps < 1 and not (self.steps == 0 and self.epochs > 0):
            raise ConfigError(f"steps is {self.steps}: expected at least 1, or 0 and some epochs")
        for name, least in (
            ("epochs", 0),
            ("batch_size", 1),
            ("log_every", 1),
            ("checkpoint_every", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least {least}")
        self._check_accumulation()
        self._check_unread()

    def _check_accumulation(self) -> None:
        parts, cause = self.optimizer.accumulation, ""
        if self.task != "umci":
            cause = f"task {self.task!r}"
        elif self.umci_task.loss == "balanced":
            cause = "umci_task.loss 'balanced'"
        elif self.umci_task.dice_over == "batch":
            cause = "umci_task.dice_over 'batch'"
        if parts > 1 and cause:
            raise ConfigError(
                f"optimizer.accumulation is {parts}, but with {cause} the loss of a batch is not "
                "the mean of its parts' losses: expected 1"
            )
        if self.batch_size % parts:
            raise ConfigError(
                f"batch_size is {self.batch_size}: expected a multiple of the {parts} parts of "
                "optimizer.accumulation"
            )

    def _check_unread(self) -> None:
        """Refuses settings that this run would pass over."""
        photos = self.task == "umci" and self.auxiliary.name
        for field in () if photos else dataclasses.fields(AuxiliaryConfig):
            if (value := getattr(self.auxiliary, field.name)) != field.default:
                why = "auxiliary.name is empty: expected a data set's name"
                if self.task != "umci":
                    why = f"task {self.task!r} trains on the generator's pictures: expected none"
                raise ConfigError(f"auxiliary.{field.name} is {value!r}, but {why}")
        task = self.umci_task
        unread = ("stage_weights", "focal_gamma", "dice_smooth", "dice_over", "loss_resolution")
        for name in unread if task.loss == "balanced" else ("balance", "focus"):
            if (value := getattr(task, name)) != getattr(UmciTaskConfig, name):
                raise ConfigError(
                    f"umci_task.{name} is {value!r}, which the loss {task.loss!r} does not have"
                )
        if self.keep == "best" and not (photos and self.auxiliary.held_out):
            raise ConfigError(
                "keep is 'best', but this run validates nothing: expected 'last', or task 'umci' "
                "with auxiliary.name and an auxiliary.held_out above 0"
            )
