"""Writes one PyTorch model's weights in every layout in which CLIP and SAM are published.

The renamings go from transformers' names to the originals', written down from OpenAI's, open_clip's
and Meta's public modules: the opposite direction of the converter's own tables.
"""

import json
import re

import safetensors.torch
import torch


def openai_names(state):
    """OpenAI's names and matrices from those of transformers' CLIPModel."""
    renamed = {}
    fused = {}
    for name, tensor in state.items():
        vision = name.startswith("vision_model.") or name.startswith("visual_")
        prefix = "visual." if vision else ""
        layer = re.match(r".*_model\.encoder\.layers\.(\d+)\.(.*)", name)
        if layer:
            block, rest = f"{prefix}transformer.resblocks.{layer[1]}.", layer[2]
            part = re.match(r"self_attn\.([qkv])_proj\.(weight|bias)", rest)
            if part:
                fused.setdefault(f"{block}attn.in_proj_{part[2]}", {})[part[1]] = tensor
                continue
            for theirs, ours in (
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                rest = rest.replace(theirs, ours)
            renamed[block + rest] = tensor
            continue
        renamed[OPENAI[name][0]] = tensor.T.contiguous() if OPENAI[name][1] else tensor
    for name, parts in fused.items():
        renamed[name] = torch.cat([parts[key] for key in "qkv"])
    return renamed


OPENAI = {
    "logit_scale": ("logit_scale", False),
    "visual_projection.weight": ("visual.proj", True),
    "text_projection.weight": ("text_projection", True),
    "vision_model.embeddings.class_embedding": ("visual.class_embedding", False),
    "vision_model.embeddings.patch_embedding.weight": ("visual.conv1.weight", False),
    "vision_model.embeddings.position_embedding.weight": ("visual.positional_embedding", False),
    "text_model.embeddings.token_embedding.weight": ("token_embedding.weight", False),
    "text_model.embeddings.position_embedding.weight": ("positional_embedding", False),
    **{
        f"{theirs}.{kind}": (f"{ours}.{kind}", False)
        for theirs, ours in (
            ("vision_model.pre_layrnorm", "visual.ln_pre"),
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("text_model.final_layer_norm", "ln_final"),
        )
        for kind in ("weight", "bias")
    },
}


def custom_text_names(openai_state):
    """open_clip's names where the text tower is a module of its own."""
    ours = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.")
    return {
        (f"text.{name}" if name.startswith((*ours, "text_projection")) else name): tensor
        for name, tensor in openai_state.items()
    }


META = (
    (r"^shared_image_embedding\.positional_embedding$",
     "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^image_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^image_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"transformer\.layer_norm_final_attn", "transformer.norm_final_attn"),
)  # fmt: skip
HEAD = re.compile(
    r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))"
    r"\.(proj_in|proj_out|layers\.(\d+))\.(weight|bias)"
)


def meta_names(state):
    """Meta's names from those of transformers' SamModel."""
    inner = {}
    for name in state:
        if (match := HEAD.fullmatch(name)) and match[3]:
            inner[match[1]] = max(inner.get(match[1], 0), int(match[3]) + 1)
    renamed = {}
    for name, tensor in state.items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            continue
        if match := HEAD.fullmatch(name):
            last = inner.get(match[1], 0) + 1
            number = {"proj_in": 0, "proj_out": last}.get(match[2])
            number = int(match[3]) + 1 if number is None else number
            name = f"{match[1]}.layers.{number}.{match[4]}"
        for pattern, replacement in META:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def state_of(model):
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}


def write_config(model, directory):
    """Transformers' config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(model.config.to_json_string())
    return directory


def write_safetensors(state, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    return path


def write_pickle(state, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path, **options)
    return path


def write_shards(state, directory, stem="model", suffix=".safetensors", count=3):
    """An index and `count` shards."""
    directory.mkdir(parents=True, exist_ok=True)
    names, places = list(state), {}
    for number in range(count):
        file = f"{stem}-{number + 1:05}-of-{count:05}{suffix}"
        part = {name: state[name] for name in names[number::count]}
        places |= dict.fromkeys(part, file)
        write = write_safetensors if suffix == ".safetensors" else write_pickle
        write(part, directory / file)
    index = directory / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return directory


class Container(torch.nn.Module):
    """A module with the parameters and children that names with dots ask for."""

    def __init__(self, state):
        super().__init__()
        children = {}
        for name, tensor in state.items():
            head, _, rest = name.partition(".")
            if rest:
                children.setdefault(head, {})[rest] = tensor
            elif tensor.is_floating_point():
                self.register_parameter(head, torch.nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(head, tensor)
        for head, part in children.items():
            self.add_module(head, Container(part))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def write_torchscript(state, path):
    """A TorchScript archive with these names in its module tree, and OpenAI's three sizes."""
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    tensors = {name: torch.tensor(size) for name, size in sizes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(Container({**state, **tensors})).save(str(path))
    return path
