"""SAMs of the Hugging Face hub, with pinned revisions."""

from zsas_jax.networks.base import HubModel

HUB = {
    f"facebook/sam-vit-{size}": HubModel("model.safetensors", "config.json", revision)
    for size, revision in {
        "base": "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        "large": "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
        "huge": "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
    }.items()
}
