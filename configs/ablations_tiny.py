"""The tables of the papers, redone with the tiny model on the generator's held-out classes.

python -m zsas_jax.ablations --config configs/ablations_tiny.py
"""

from zsas_jax.ablations import Ablations, Study, Variant
from zsas_jax.data.synthetic.disturbed import DISTURBANCES
from zsas_jax.training.config import DataConfig, OptimizerConfig, TrainConfig, UmciTaskConfig

CASCADE = {"method": "cascade"}
MMR = {"method": "clipsam", "rough": "umci"}
RULES = (
    "least_similar_in_ring",
    "most_similar_in_ring",
    "lowest_score_in_ring",
    "least_similar_in_image",
    "none",
)

CONFIG = Ablations(
    training=TrainConfig(
        task="umci",
        steps=400,
        batch_size=8,
        umci_task=UmciTaskConfig(loss="balanced"),
        data=DataConfig(crop_min=0.5, full_picture=0.5, foreign_patch=0.2),
        optimizer=OptimizerConfig(
            algorithm="muon",
            learning_rate=1e-3,
            weight_decay=0.01,
            warmup_steps=40,
            schedule="cosine",
        ),
    ),
    studies=(
        Study(
            "methods",
            "Methods",
            (
                Variant("cascade", CASCADE),
                Variant("umci", {"method": "umci"}),
                Variant("clipsam", MMR),
                Variant("clip", {"method": "clip"}),
            ),
        ),
        Study(
            "umci",
            "ClipSAM, Table 2: parts of UMCI and MMR (UMCI trained anew for 400 steps)",
            (
                Variant("full", MMR, umci={}),
                Variant("strip only", MMR, umci={"use_scale": False}),
                Variant("scale only", MMR, umci={"use_strip": False}),
                Variant("w/o UMCI", {**MMR, "rough": "similarity"}),
                Variant("w/o MMR", {"method": "umci"}, umci={}),
            ),
        ),
        Study(
            "sizes",
            "ClipSAM, Table 3: hidden size, kernels, threshold (the paper: 384, 3 and 9, 0.47)",
            (
                *(Variant(f"hidden {n}", MMR, umci={"hidden_dim": n}) for n in (16, 64, 128)),
                Variant("hidden 32, kernels 3 and 9", MMR, umci={}),
                *(
                    Variant(f"kernels {a} and {b}", MMR, umci={"scale_kernels": (a, b)})
                    for a, b in ((3, 5), (5, 9))
                ),
                *(
                    Variant(f"threshold {x}", {**MMR, "rough_threshold": x}, umci={})
                    for x in (0.27, 0.47, 0.67)
                ),
            ),
        ),
        Study(
            "negatives",
            "PPG: which pixels become negative points",
            tuple(Variant(rule, {**CASCADE, "negative_rule": rule}) for rule in RULES),
        ),
        Study(
            "stages",
            "CPS: stages of the cascade",
            tuple(
                Variant(name, {**CASCADE, "cps_stages": stages})
                for stages, name in enumerate(("1", "1 and 2", "1, 2 and 3"), 1)
            ),
        ),
        Study(
            "robustness",
            "The same pictures from a worse or another camera (noise: 10 of 255; JPEG: quality 50)",
            (
                Variant("as they are", CASCADE),
                *(Variant(how, CASCADE, photos=how) for how in DISTURBANCES),
            ),
        ),
    ),
)
