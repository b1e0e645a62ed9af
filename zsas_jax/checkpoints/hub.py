"""Known checkpoints of the Hugging Face hub: pinned revisions, hashes, and the cache on this disk.

    ~/.cache/zsas_jax/hub/openai--clip-vit-large-patch14-336/    files as published
    ~/.cache/zsas_jax/checkpoints/A+B/                           conversions, under hub names

`XDG_CACHE_HOME` moves both. Files that were fetched by hand into the first place are used as they
are; nothing is downloaded except by `python -m zsas_jax.weights download`.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from zsas_jax.config import suggestion
from zsas_jax.errors import CheckpointError

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


class HubModel(NamedTuple):
    """One published checkpoint."""

    network: str
    weights: str  # file
    config: str  # file
    revision: str | None = None  # commit; None: the newest, recorded in provenance.json
    sha256: str | None = None  # of the weights; None: compared with what the hub states


KNOWN: dict[str, HubModel] = {
    "openai/clip-vit-base-patch32": HubModel(
        "clip",
        "pytorch_model.bin",
        "config.json",
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    ),
    "openai/clip-vit-base-patch16": HubModel(
        "clip",
        "pytorch_model.bin",
        "config.json",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
    ),
    "openai/clip-vit-large-patch14": HubModel(
        "clip",
        "model.safetensors",
        "config.json",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    ),
    "openai/clip-vit-large-patch14-336": HubModel(
        "clip",
        "pytorch_model.bin",
        "config.json",
        "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
    ),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": HubModel(
        "clip",
        "open_clip_model.safetensors",
        "open_clip_config.json",
        "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        "0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
    ),
    "timm/vit_base_patch16_plus_clip_240.laion400m_e32": HubModel(
        "clip", "open_clip_model.safetensors", "open_clip_config.json"
    ),
    "facebook/sam-vit-base": HubModel(
        "sam",
        "model.safetensors",
        "config.json",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
    ),
    "facebook/sam-vit-large": HubModel(
        "sam",
        "model.safetensors",
        "config.json",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
    ),
    "facebook/sam-vit-huge": HubModel(
        "sam",
        "model.safetensors",
        "config.json",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
    ),
}


def is_hub_name(name: str) -> bool:
    """Whether `name` is one of `KNOWN`, or a CLIP and a SAM of it joined by +."""
    return all(part in KNOWN for part in name.split("+"))


def parse_name(name: str) -> dict[str, str]:
    """Network -> hub name, CLIP first.

    Raises:
        CheckpointError: a name that is not known, or two of one network.
    """
    found: dict[str, str] = {}
    for part in name.split("+"):
        if part not in KNOWN:
            raise CheckpointError(f"hub name {part!r} is not known{suggestion(part, KNOWN)}")
        network = KNOWN[part].network
        if network in found:
            raise CheckpointError(
                f"{name!r} names two of {network}: expected one CLIP, one SAM or both"
            )
        found[network] = part
    return dict(sorted(found.items()))


def cache_root() -> pathlib.Path:
    """`$XDG_CACHE_HOME/zsas_jax`, by default `~/.cache/zsas_jax`."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "zsas_jax"


def files_directory(name: str) -> pathlib.Path:
    """Where the published files of a hub name are kept."""
    return cache_root() / "hub" / name.replace("/", "--")


def conversion_directory(name: str) -> pathlib.Path:
    """Where the conversion of one or two hub names is kept, in whichever order they are given."""
    parts = parse_name(name).values()
    return cache_root() / "checkpoints" / "+".join(part.replace("/", "--") for part in parts)


def require_conversion(name: str) -> pathlib.Path:
    """The cached conversion of hub names.

    Raises:
        CheckpointError: it was not made yet; says with which command.
    """
    directory = conversion_directory(name)
    if not directory.is_dir():
        raise CheckpointError(
            f"checkpoint {name!r} is not in {directory.parent}: run "
            f"python -m zsas_jax.weights download {name}"
        )
    return directory


def fetch(name: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """Downloads the files of a known name, continuing where an earlier download ended.

    Returns their directory and what provenance.json says of them.

    Raises:
        CheckpointError: the hub cannot be reached and the files are not there, or a wrong hash.
    """
    from zsas_jax.checkpoints.checkpoint import sha256

    model, directory = KNOWN[name], files_directory(name)
    origin: dict[str, Any] = {"hub": name, "revision": model.revision}
    published = model.sha256
    there = all((directory / file).is_file() for file in (model.weights, model.config))
    if model.network == "clip":
        there = there and _has_tokenizer(directory)
    if not there:
        revision, stated = _download(name, model, directory)
        origin["revision"] = revision
        published = published or stated
    if published:
        found = sha256(directory / model.weights)
        if found != published:
            raise CheckpointError(
                f"{directory / model.weights} has the sha256 {found}: expected {published}; delete "
                "it and download again"
            )
    origin["sha256_checked"] = bool(published)
    return directory, origin


def _has_tokenizer(directory: pathlib.Path) -> bool:
    from zsas_jax.networks.clip.vocabulary import MERGES_NAMES

    names = {file.name for file in directory.iterdir()}
    whole, *halves = TOKENIZER_FILES
    return whole in names or {*halves} <= names or bool({*MERGES_NAMES} & names)


def _download(name: str, model: HubModel, directory: pathlib.Path) -> tuple[str, str | None]:
    """The commit that was fetched, and the weights' sha256 as the hub states it."""
    by_hand = (
        f"fetch {model.weights}, {model.config} and, for a CLIP, {' or '.join(TOKENIZER_FILES)} "
        f"from https://huggingface.co/{name}/tree/{model.revision or 'main'} into {directory} "
        "and run this command again"
    )
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            f"downloading needs huggingface_hub: install zsas_jax[convert], or {by_hand}"
        ) from error
    try:
        wanted = [model.weights, model.config]
        if model.config == "config.json":
            wanted.append("preprocessor_config.json")
        if model.network == "clip":
            wanted += TOKENIZER_FILES
        info = huggingface_hub.HfApi().model_info(
            name, revision=model.revision, files_metadata=True
        )
        huggingface_hub.snapshot_download(
            name, revision=info.sha, allow_patterns=wanted, local_dir=directory
        )
    # Its errors have many bases: of its own, of the HTTP library and of the system.
    except Exception as error:
        raise CheckpointError(
            f"{name} cannot be downloaded ({_first_line(error)}): {by_hand}"
        ) from error
    stated = {file.rfilename: _lfs_sha256(file.lfs) for file in info.siblings or ()}
    return str(info.sha), stated.get(model.weights)


def _lfs_sha256(lfs: Any) -> str | None:
    value = lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)
    return value if value and re.fullmatch("[0-9a-f]{64}", value) else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]
