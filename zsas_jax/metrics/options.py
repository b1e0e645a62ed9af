"""What is measured beside the seven metrics; all of it is off by default."""

import dataclasses
import math

from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class MetricOptions:
    """Further metrics of `StreamingMetrics` and `evaluate_maps`.

    Raises:
        ConfigError: a value out of its range.
    """

    # SAA's region F1 (`region_f1.py`); 200 labellings an image: slow.
    region_f1: bool = False
    # Scores between which region F1 has its 200 thresholds. SAA takes the lowest and the highest
    # of all maps, which one pass cannot know: None does so where `evaluate_maps` gets sequences.
    score_range: tuple[float, float] | None = (0.0, 1.0)
    # PRO as APRIL-GAN and AnomalyCLIP compute it, to compare with their tables.
    pro_200: bool = False
    # Maps are cut at each of these scores for boundary F1 (`boundary.py`), the best of which is
    # taken; none leaves it out.
    boundary_thresholds: tuple[float, ...] = ()
    # Distance at which boundaries agree, as a fraction of the picture's diagonal (DAVIS 2016).
    boundary_tolerance: float = 0.008
    # A row of metrics per defect type: its images and all normal ones.
    by_defect_type: bool = False
    # Resamples of the images for confidence intervals (`bootstrap.py`); 0 leaves them out.
    bootstrap: int = 0
    bootstrap_seed: int = 0
    confidence: float = 0.95

    def __post_init__(self):
        if self.score_range is not None:
            low, high = self.score_range
            if not -math.inf < low < high < math.inf:
                raise ConfigError(f"score_range is {self.score_range}: expected (lowest, highest)")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence is {self.confidence}: expected a fraction, like 0.95")
        if not 0 <= self.boundary_tolerance < 1:
            raise ConfigError(
                f"boundary_tolerance is {self.boundary_tolerance}: "
                "expected a fraction of the diagonal, like 0.008"
            )
        if self.bootstrap < 0:
            raise ConfigError(f"bootstrap is {self.bootstrap}: expected resamples, like 200, or 0")
