"""CLIPs of the Hugging Face hub, with pinned revisions."""

from zsas_jax.networks.base import HubModel

HUB = {
    "openai/clip-vit-base-patch32": HubModel(
        "pytorch_model.bin",
        "config.json",
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    ),
    "openai/clip-vit-base-patch16": HubModel(
        "pytorch_model.bin",
        "config.json",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
    ),
    "openai/clip-vit-large-patch14": HubModel(
        "model.safetensors",
        "config.json",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    ),
    "openai/clip-vit-large-patch14-336": HubModel(
        "pytorch_model.bin",
        "config.json",
        "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
    ),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": HubModel(
        "open_clip_model.safetensors",
        "open_clip_config.json",
        "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        "0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
    ),
    "timm/vit_base_patch16_plus_clip_240.laion400m_e32": HubModel(
        "open_clip_model.safetensors", "open_clip_config.json"
    ),
}
