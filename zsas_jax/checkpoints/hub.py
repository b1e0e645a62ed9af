"""Known checkpoints of the Hugging Face hub: pinned revisions, hashes, and the cache on this disk.

    ~/.cache/zsas_jax/hub/openai--clip-vit-large-patch14-336/    files as published
    ~/.cache/zsas_jax/checkpoints/A+B/                           conversions, under hub names

`XDG_CACHE_HOME` moves both. Files that were fetched by hand into the first place are used as they
are; nothing is downloaded except by `zsas weights download`.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

from zsas_jax.config import suggestion
from zsas_jax.errors import CheckpointError
from zsas_jax.files import cache_root, sha256
from zsas_jax.networks import NETWORKS, Network
from zsas_jax.networks.base import HubModel


def known_models() -> dict[str, tuple[Network, HubModel]]:
    """Hub name -> its network and what is published there."""
    return {
        name: (network, model)
        for network in NETWORKS.values()
        for name, model in network.hub.items()
    }


def is_hub_name(name: str) -> bool:
    """Whether `name` is a known hub name, or several joined by +."""
    known = known_models()
    return all(part in known for part in name.split("+"))


def parse_name(name: str) -> dict[str, str]:
    """Network -> hub name, in the order of the registry.

    Raises:
        CheckpointError: a name that is not known, or two of one network.
    """
    known = known_models()
    found: dict[str, str] = {}
    for part in name.split("+"):
        if part not in known:
            raise CheckpointError(f"hub name {part!r} is not known{suggestion(part, known)}")
        network = known[part][0].name
        if network in found:
            raise CheckpointError(f"{name!r} names two of {network}: expected one of each network")
        found[network] = part
    return {network: found[network] for network in NETWORKS if network in found}


def files_directory(name: str) -> pathlib.Path:
    """Where the published files of a hub name are kept."""
    return cache_root() / "hub" / name.replace("/", "--")


def conversion_directory(name: str) -> pathlib.Path:
    """Where the conversion of hub names is kept, in whichever order they are given."""
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
            f"checkpoint {name!r} is not in {directory.parent}: run zsas weights download {name}"
        )
    return directory


def fetch(name: str) -> tuple[pathlib.Path, dict[str, Any]]:
    """Downloads the files of a known name, continuing where an earlier download ended.

    Returns their directory and what provenance.json says of them.

    Raises:
        CheckpointError: the hub cannot be reached and the files are not there, or a wrong hash.
    """
    (network, model), directory = known_models()[name], files_directory(name)
    origin: dict[str, Any] = {"hub": name, "revision": model.revision}
    published = model.sha256
    if not _complete(network, model, directory):
        revision, stated = _download(name, network, model, directory)
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


def _complete(network: Network, model: HubModel, directory: pathlib.Path) -> bool:
    names = {file.name for file in directory.iterdir()} if directory.is_dir() else set()
    tokenizers = network.tokenizer.names if network.tokenizer else ((),)
    return {model.weights, model.config} <= names and any({*each} <= names for each in tokenizers)


def _download(
    name: str, network: Network, model: HubModel, directory: pathlib.Path
) -> tuple[str, str | None]:
    """The commit that was fetched, and the weights' sha256 as the hub states it."""
    tokenizers = network.tokenizer.names if network.tokenizer else ()
    wanted = [model.weights, model.config, *(file for names in tokenizers for file in names)]
    choices = " or ".join(" and ".join(names) for names in tokenizers)
    by_hand = (
        f"fetch {model.weights} and {model.config}{choices and f', with {choices},'} from "
        f"https://huggingface.co/{name}/tree/{model.revision or 'main'} into {directory} and run "
        "this command again"
    )
    try:
        import huggingface_hub
    except ImportError as error:
        raise CheckpointError(
            f"downloading needs huggingface_hub: install zsas_jax[convert], or {by_hand}"
        ) from error
    try:
        info = huggingface_hub.HfApi().model_info(
            name, revision=model.revision, files_metadata=True
        )
        if model.config == "config.json":
            wanted.append("preprocessor_config.json")
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
