"""Every knob of a training run, as one frozen dataclass that a file in `configs/` builds."""

import dataclasses
from typing import Literal

from zsas_jax.clip.config import ClipConfig
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.sam.config import SamConfig
from zsas_jax.umci.config import UmciConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Training pictures: a pool rendered once by the generator, cropped anew every time."""

    pictures: int = 12000
    """Size of the pool."""
    size: int = 256
    """Side of a rendered picture, pixels."""
    seed: int = 0
    """Seed of the generator."""
    cache_dir: str = "runs/pool"
    """Where rendered pools are kept; the same pool is rendered once for all networks."""
    crop_min: float = 0.4
    """Smallest side of a random square crop, as a fraction of the picture's side."""
    defect_crop: float = 0.5
    """Share of the crops of defective pictures that are placed over the defect."""
    foreign_patch: float = 0.0
    """Share of samples that get a patch of another picture, colour or brightness pasted in, as an
    anomaly with its exact mask."""
    full_picture: float = 0.3
    """Share of samples that are not cropped."""
    grey: float = 0.2
    """Share of samples turned grey."""
    workers: int = 2
    """Processes that render the pool, threads that read it."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay (ClipSAM 4.1: AdamW, learning rate 1e-4, no schedule)."""

    algorithm: Literal["adamw", "muon"] = "adamw"
    """"muon" orthogonalises the updates of matrices (Jordan et al. 2024) and learns small networks
    from nothing in fewer steps."""
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    b2: float = 0.999
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0 turns clipping off."""


@dataclasses.dataclass(frozen=True)
class ClipTaskConfig:
    """Contrastive training of CLIP with captions that name class and state."""

    state_weight: float = 1.0
    """Weight of the image against its own category's normal and abnormal sentences."""
    region_weight: float = 1.0
    """Weight of the same for every patch, against the mask (region-text contrast)."""
    auxiliary_weight: float = 1.0
    """Weight of the anomaly loss of a UMCI that is trained along, where the config has one."""
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


@dataclasses.dataclass(frozen=True)
class SamTaskConfig:
    """Promptable segmentation as SAM is trained (SAM, appendix A): clicks, boxes, masks."""

    prompts: int = 4
    """Targets (segments) per picture."""
    points: int = 8
    """Point slots of a prompt: first clicks, then one correction per round."""
    focal_weight: float = 20.0
    dice_weight: float = 1.0
    iou_weight: float = 1.0
    box_noise: float = 0.1
    """Standard deviation of a box corner, as a fraction of the box side (SAM: 10 %)."""
    defect_share: float = 0.5
    """Share of targets that are defects where the picture has one."""


@dataclasses.dataclass(frozen=True)
class UmciTaskConfig:
    """ClipSAM Eqs. 10-12."""

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


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run of one network."""

    task: Literal["clip", "sam", "umci"]
    steps: int
    batch_size: int
    clip: ClipConfig | None = None
    sam: SamConfig | None = None
    umci: UmciConfig | None = None
    init: tuple[str, ...] = ()
    """Checkpoint directories whose networks are taken over (frozen, unless they are trained)."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    clip_task: ClipTaskConfig = ClipTaskConfig()
    sam_task: SamTaskConfig = SamTaskConfig()
    umci_task: UmciTaskConfig = UmciTaskConfig()
    pipeline: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)
    """Pipeline settings that are saved with the trained network."""
    seed: int = 0
    log_every: int = 20
    """Steps between lines of log.csv."""
    checkpoint_every: int = 200
    """Steps between resumable checkpoints."""

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least 1")
