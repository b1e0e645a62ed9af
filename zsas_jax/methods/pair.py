"""Methods made of a head and a refiner, or of a head alone."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, Float

from zsas_jax.checkpoints.bundle import Compute
from zsas_jax.methods.base import Head, Heat, Maps, Method, Photos, Refiner, Stage
from zsas_jax.networks import Networks
from zsas_jax.parts.scores import Score, finish, inside_photo


def pair(head: Head, refiner: Refiner | None = None, name: str = "") -> Method:
    """The method whose config has the parts `head`, `refiner` (if there is one) and `score`."""
    name = name or (head.name if refiner is None else f"{head.name}+{refiner.name}")
    parts = {"head": head.config, **({"refiner": refiner.config} if refiner else {})}
    config = dataclasses.make_dataclass(
        "".join(word.capitalize() for word in name.replace("+", "_").split("_")),
        [
            (part, kind, dataclasses.field(default_factory=kind))
            for part, kind in {**parts, "score": Score}.items()
        ],
        frozen=True,
        namespace={"__doc__": f"Settings of {name}."},
    )

    def networks(config: Any) -> tuple[str, ...]:
        more = () if refiner is None else refiner.networks(config.refiner)
        return tuple(dict.fromkeys([*head.networks(config.head), *more]))

    return Method(
        name,
        head.paper if refiner is None else f"{head.paper}; {refiner.paper}",
        config,
        networks,
        lambda bundle, categories, config, request: head.prepare(
            bundle, categories, config.head, request
        ),
        _segment(head, refiner),
        head,
        refiner,
        lambda networks, config: head.check(networks, config.head),
    )


def _segment(head: Head, refiner: Refiner | None) -> Callable[..., Maps]:
    def segment(
        networks: Networks, photos: Photos, context: Any, config: Any, compute: Compute
    ) -> Maps:
        rough = head.rough(networks, photos, context, config.head)
        fused: Float[Array, "b h w"] = rough.canvas
        stages: Mapping[str, Stage] = {}
        if refiner is not None:
            fused, stages = refiner.refine(networks, photos, rough, config.refiner, compute)
        anomaly_map, score = finish(fused, photos.sizes, rough.probability, config.score)
        rough_map, _ = inside_photo(rough.canvas, photos.sizes)
        return Maps(anomaly_map, score, {"rough map": Heat(rough_map), **stages})

    return segment
