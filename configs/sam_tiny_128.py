"""The tiny model's SAM, second part: larger views, for finer outlines.

python train.py --config configs/sam_tiny_128.py --output-dir runs/sam_tiny_128
"""

from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

CONFIG = TrainConfig(
    task="sam",
    seed=1,  # Other pictures first than in the part before.
    steps=1950,
    batch_size=16,
    init=("runs/sam_tiny/model",),
    data=DataConfig(
        pictures=12000,
        seed=1,
        stretch=2.0,
        crop_min=0.4,
        full_picture=0.2,
        foreign_patch=0.4,
        uneven_light=0.2,
    ),
    sam_task=SamTaskConfig(
        view_size=128,
        prompts=4,
        points=11,
        focal_weight=5.0,
        box_noise=0.2,
        box_shift=0.06,
        box_exact=0.3,
        defect_share=0.6,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=3e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=50,
        schedule="cosine",
    ),
)
