"""The tiny model's UMCI, on its frozen CLIP; saves the whole tiny model (CLIP, SAM, UMCI).

python train.py --config configs/umci_tiny.py

UMCI comes trained along with its CLIP. This run lets it settle on the frozen tower and chooses the
pipeline's settings on training classes, one after the other, from those of the weights before. It
took 15 minutes on two CPU cores.
"""

from zsas_jax.config import PipelineConfig
from zsas_jax.training.config import DataConfig, OptimizerConfig, TrainConfig, UmciTaskConfig

CONFIG = TrainConfig(
    task="umci",
    steps=10,
    batch_size=8,
    # CLIP last: a SAM that began from a whole model has that model's CLIP beside it.
    init=("runs/sam_tiny_2/model", "runs/clip_tiny_average_2/model"),
    umci_task=UmciTaskConfig(
        loss="balanced", balance=0.5, focus=1.0, tuning_per_class=3, calibration_per_class=12
    ),
    data=DataConfig(stretch=2.0, crop_min=0.5, full_picture=0.5, foreign_patch=0.2),
    optimizer=OptimizerConfig(
        learning_rate=1e-5, weight_decay=0.01, warmup_steps=2, schedule="cosine"
    ),
    pipeline=PipelineConfig(
        rough="both",
        umci_stages=1,
        rough_upsampling="guided",
        clip_image_size=448,
        clip_turns=2,
        clip_more_sizes=(320,),
        rough_threshold=0.8,
        regions=1,
        cps_stages=2,
        cascade_rough_weight=0.7,
        cascade_mask_confidence="iou_times_rough",
        score_top_fraction=0.001,
        score_map_weight=0.5,
    ),
)
