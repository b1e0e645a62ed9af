"""The tiny model's SAM, second part: views of the frame that the pipeline uses.

python train.py --config configs/sam_tiny_2.py

It took 55 minutes, beside other work on two CPU cores.
"""

from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

CONFIG = TrainConfig(
    task="sam",
    seed=1,  # Other pictures first than in the part before.
    steps=1000,
    batch_size=16,
    init=("runs/sam_tiny/model",),
    data=DataConfig(
        stretch=2.0, crop_min=0.4, full_picture=0.3, foreign_patch=0.3, uneven_light=0.2
    ),
    sam_task=SamTaskConfig(
        view_size=192,
        prompts=4,
        points=11,
        focal_weight=5.0,
        box_noise=0.2,
        box_shift=0.06,
        box_exact=0.3,
        defect_share=0.5,
    ),
    optimizer=OptimizerConfig(
        algorithm="muon",
        learning_rate=3e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
)
