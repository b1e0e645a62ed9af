"""The tiny model's SAM, third part: views of the frame that the pipeline uses.

python train.py --config configs/sam_tiny_192.py --output-dir runs/sam_tiny_192
"""

from zsas_jax.training.config import DataConfig, OptimizerConfig, SamTaskConfig, TrainConfig

CONFIG = TrainConfig(
    task="sam",
    seed=2,  # Other pictures first than in the parts before.
    steps=1100,
    batch_size=16,
    init=("runs/sam_tiny_128/model",),
    data=DataConfig(
        pictures=12000,
        seed=1,
        stretch=2.0,
        crop_min=0.4,
        full_picture=0.4,
        foreign_patch=0.4,
        uneven_light=0.2,
    ),
    sam_task=SamTaskConfig(
        view_size=192,
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
        learning_rate=2e-3,
        weight_decay=0.02,
        b2=0.98,
        warmup_steps=30,
        schedule="cosine",
    ),
)
