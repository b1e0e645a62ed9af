"""SAM's names are Meta's; names, shapes and files beside the weights tell its config."""

import published_weights as published
import pytest
from flax import nnx

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.convert.rules import native_names
from zsas_jax.errors import ConfigError, WeightConversionError
from zsas_jax.networks.base import abstract_network
from zsas_jax.networks.sam import NETWORK, Sam, SamConfig
from zsas_jax.testing import random_weights

# 8 heads in the decoder: what Meta's layout implies.
CONFIG = SamConfig(
    image_size=96,
    patch_size=16,
    width=48,
    depth=3,
    heads=3,
    mlp_ratio=2.0,
    global_attn_indexes=(1,),
    window_size=4,
    out_chans=32,
    mask_channels=20,
    decoder_heads=8,
    decoder_mlp_dim=72,
    iou_head_depth=4,
    iou_head_hidden=24,
)
TRANSFORMERS = {
    "model_type": "sam",
    "vision_config": {
        "hidden_size": 48,
        "output_channels": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 96,
        "mlp_ratio": 2.0,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 96, "mask_input_channels": 20},
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 72,
        "iou_head_depth": 4,
        "iou_head_hidden_dim": 24,
    },
}
LAYOUTS = {layout.name: layout for layout in NETWORK.layouts}
COPY = "prompt_encoder.shared_embedding.positional_embedding"
MATRIX = "shared_image_embedding.positional_embedding"


@pytest.fixture(scope="module")
def states():
    sam = random_weights(lambda: Sam(CONFIG, rngs=nnx.Rngs(0)))
    return {
        name: published.state_dict(sam, layout.rules(CONFIG)) for name, layout in LAYOUTS.items()
    }


def meta_names(config: SamConfig) -> set[str]:
    """The names in Meta's checkpoints, written down from its modules."""

    def both(*names):
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    names = {"image_encoder.pos_embed"} | both("image_encoder.patch_embed.proj")
    for index in range(config.depth):
        block = f"image_encoder.blocks.{index}"
        layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.lin1", "mlp.lin2")
        names |= both(*(f"{block}.{layer}" for layer in layers))
        names |= {f"{block}.attn.rel_pos_h", f"{block}.attn.rel_pos_w"}
    names |= {"image_encoder.neck.0.weight", "image_encoder.neck.2.weight"}
    names |= both("image_encoder.neck.1", "image_encoder.neck.3")
    prompt = "prompt_encoder"
    names |= {f"{prompt}.pe_layer.positional_encoding_gaussian_matrix"}
    names |= {f"{prompt}.point_embeddings.{index}.weight" for index in range(4)}
    names |= {f"{prompt}.not_a_point_embed.weight", f"{prompt}.no_mask_embed.weight"}
    names |= both(*(f"{prompt}.mask_downscaling.{index}" for index in (0, 1, 3, 4, 6)))
    decoder = "mask_decoder"
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    for index in range(config.decoder_depth):
        layer = f"{decoder}.transformer.layers.{index}"
        for part in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            names |= both(*(f"{layer}.{part}.{projection}" for projection in projections))
        parts = ("norm1", "norm2", "norm3", "norm4", "mlp.lin1", "mlp.lin2")
        names |= both(*(f"{layer}.{part}" for part in parts))
    final = f"{decoder}.transformer.final_attn_token_to_image"
    names |= both(*(f"{final}.{projection}" for projection in projections))
    names |= both(f"{decoder}.transformer.norm_final_attn")
    names |= {f"{decoder}.iou_token.weight", f"{decoder}.mask_tokens.weight"}
    names |= both(*(f"{decoder}.output_upscaling.{index}" for index in (0, 1, 3)))
    for mask in range(config.num_multimask_outputs + 1):
        names |= both(*(f"{decoder}.output_hypernetworks_mlps.{mask}.layers.{i}" for i in range(3)))
    heads = range(config.iou_head_depth)
    return names | both(*(f"{decoder}.iou_prediction_head.layers.{index}" for index in heads))


def test_names_are_metas():
    config = SamConfig.vit_b()
    names = set(native_names(abstract_network(NETWORK, config)).values())
    assert names == meta_names(config)
    assert len(names) == 314  # tensors in sam_vit_b_01ec64.pth


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("described", [True, False])
def test_sizes_are_told_by_config_or_shapes(states, layout, described, tmp_path):
    published.write(states[layout], tmp_path / "model.safetensors")
    if described:
        published.write_json(tmp_path / "config.json", TRANSFORMERS)
    source = open_source(tmp_path, "sam")
    assert source.layout.name == layout
    assert source.config == CONFIG
    assert source.problems() == 0


def test_the_gaussian_matrix_agrees_with_its_copy(states, tmp_path):
    state = states["transformers"]
    path = published.write({**state, COPY: state[MATRIX]}, tmp_path / "equal")
    open_source(path).read()
    path = published.write({**state, COPY: state[MATRIX] + 1}, tmp_path / "different")
    with pytest.raises(WeightConversionError, match="differs from"):
        open_source(path).read()


def test_pixel_mean_and_std_are_those_of_its_own_file(states, tmp_path):
    published.write(states["transformers"], tmp_path / "model.safetensors")
    published.write_json(tmp_path / "config.json", TRANSFORMERS)
    preprocessor = tmp_path / "preprocessor_config.json"
    # As transformers writes it for SAM.
    usual = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    published.write_json(preprocessor, usual)
    assert open_source(tmp_path).config == CONFIG
    half = [0.5, 0.5, 0.5]
    published.write_json(preprocessor, {"image_mean": half, "image_std": half})
    found = open_source(tmp_path).config
    assert found.pixel_mean == found.pixel_std == (127.5, 127.5, 127.5)
    # Of another model, in the same directory.
    published.write_json(tmp_path / "config.json", {"model_type": "clip"})
    published.write(states["meta"], tmp_path / "sam.safetensors")
    assert open_source(tmp_path / "sam.safetensors").config == CONFIG


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 100},
        {"heads": 7},
        {"out_chans": 20},
        {"decoder_heads": 3},
        {"global_attn_indexes": (12,)},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError, match="SamConfig: expected"):
        SamConfig(**wrong)


def test_unsupported_transformers_variant_is_refused():
    with pytest.raises(ConfigError, match="use_rel_pos is False"):
        SamConfig.from_transformers_config({"vision_config": {"use_rel_pos": False}})
