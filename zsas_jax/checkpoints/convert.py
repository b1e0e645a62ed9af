"""From the files of a user to one checkpoint directory."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zsas_jax.checkpoints.checkpoint import (
    Bundle,
    checkpoint_path,
    load,
    read_config,
    require_space,
    save,
    sha256,
    version,
)
from zsas_jax.checkpoints.identify import Source, abstract_network, identify
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.config import Config, PipelineConfig, suggestion
from zsas_jax.convert.files import open_weights, read_folder
from zsas_jax.convert.rules import Track, silent
from zsas_jax.errors import CheckpointError, ConfigError, WeightConversionError
from zsas_jax.networks.base import abstract_model
from zsas_jax.networks.clip.config import ACTIVATIONS, ClipConfig
from zsas_jax.networks.clip.tokenizer import Tokenizer
from zsas_jax.networks.clip.vocabulary import find_tokenizer
from zsas_jax.networks.sam.config import SamConfig

DTYPES = ("float32", "bfloat16")
PathLike = str | os.PathLike[str]


def convert_checkpoint(
    output: PathLike,
    *,
    clip: PathLike | None = None,
    sam: PathLike | None = None,
    umci: PathLike | None = None,
    tokenizer: PathLike | None = None,
    dtype: str = "float32",
    activation: str | None = None,
    overwrite: bool = False,
    origin: Mapping[str, Any] | None = None,
    track: Track = silent,
) -> pathlib.Path:
    """Writes a checkpoint directory from weights in any published layout.

    Args:
        output: the new directory.
        clip: file or directory of a CLIP.
        sam: file or directory of a SAM.
        umci: checkpoint directory whose UMCI, and settings of the pipeline, are taken over.
        tokenizer: the CLIP's tokenizer where it does not lie beside the weights.
        dtype: float32 or bfloat16, of the stored parameters.
        activation: the CLIP's, where the files do not tell it.
        overwrite: replace `output`.
        origin: network -> what provenance.json says beside its files (hub name, revision).
        track: wraps sequences of work, to show progress.

    Raises:
        WeightConversionError: a source that is not what it should be, with all that is wrong.
        CheckpointError: the output or the UMCI's checkpoint cannot be written or read.
        ConfigError: networks that do not fit each other, or an unknown dtype.
    """
    output = pathlib.Path(output)
    for name, value, known in (("dtype", dtype, DTYPES), ("activation", activation, ACTIVATIONS)):
        if value is not None and value not in known:
            raise ConfigError(f"{name} is {value!r}{suggestion(value, known)}")
    if clip is None and sam is None and umci is None:
        raise ConfigError("nothing to convert: expected a CLIP, a SAM or a UMCI")
    if output.exists() and not overwrite:
        raise CheckpointError(f"{output} exists already: expected a new directory")
    sources = {
        network: open_source(path, network, activation=activation)
        for network, path in (("clip", clip), ("sam", sam))
        if path is not None
    }
    config = _config(sources, umci)
    words = _tokenizer(sources.get("clip"), tokenizer)
    needed = jnp.dtype(dtype).itemsize * sum(
        leaf.size
        for source in sources.values()
        for leaf in jax.tree.leaves(abstract_network(source.config))
    )
    existing = next(place for place in output.absolute().parents if place.is_dir())
    require_space(existing, needed)
    model = abstract_model(Config())  # no network yet, hence no array
    provenance: dict[str, Any] = {"converter": version(), "dtype": dtype, "sources": {}}
    for network, source in sources.items():
        provenance["sources"][network] = describe(source, track) | dict(
            (origin or {}).get(network, {})
        )
        setattr(model, network, source.read(jnp.dtype(dtype), track))
    if umci is not None:
        model.umci = load(umci, dtype=jnp.dtype(dtype), networks=("umci",)).model.umci
        provenance["sources"]["umci"] = {
            "checkpoint": checkpoint_path(umci).name,
            "trained_on": list(trained_on(umci)),
        }
    bundle = Bundle(model, words, config)
    return save(output, bundle, overwrite=overwrite, provenance=provenance)


def open_source(path: PathLike, network: str | None = None, *, activation=None) -> Source:
    """Opens a file or directory of weights and tells what it is; no numbers are read.

    Raises:
        WeightConversionError: it is no CLIP or SAM, or not the `network` asked for.
    """
    path = pathlib.Path(path)
    if (path / "manifest.json").is_file() and (path / "params").is_dir():
        raise WeightConversionError(
            f"{path} is a checkpoint of zsas_jax already: expected weights of PyTorch"
        )
    source = identify(open_weights(path), read_folder(path), activation=activation)
    if network is not None and source.network != network:
        raise WeightConversionError(
            f"{path} holds a {source.network.upper()} (layout {source.layout.name}), not a "
            f"{network.upper()}: give it as --{source.network}"
        )
    return source


def describe(source: Source, track: Track = silent) -> dict[str, Any]:
    """What provenance.json says of a source: files with hashes, container and layout."""
    files = list(source.weights.files)
    return {
        "container": source.weights.container,
        "layout": source.layout.name,
        "files": [
            {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in track(files, "hashing")
        ],
    }


def _config(sources: Mapping[str, Source], umci: PathLike | None) -> Config:
    clip = sources["clip"].config if "clip" in sources else None
    sam = sources["sam"].config if "sam" in sources else None
    assert not isinstance(clip, SamConfig)
    assert not isinstance(sam, ClipConfig)
    if umci is None:
        return Config(clip=clip, sam=sam, pipeline=default_pipeline(clip, has_sam=sam is not None))
    trained = read_config(umci)
    if trained.umci is None:
        raise CheckpointError(
            f"{checkpoint_path(umci)} has no UMCI: expected a checkpoint with one"
        )
    return Config(clip=clip, sam=sam, umci=trained.umci, pipeline=trained.pipeline)


def default_pipeline(clip: ClipConfig | None, *, has_sam: bool) -> PipelineConfig:
    """Settings with which a checkpoint without a UMCI works as it is.

    The rough map is CLIP's similarity. Inputs are 518 for /14 models, as in APRIL-GAN and
    AnomalyCLIP, and the size they were trained on for the others.
    """
    if clip is None:
        return PipelineConfig()
    return PipelineConfig(
        method="cascade" if has_sam else "clip",
        rough="similarity",
        clip_image_size=518 if clip.patch_size == 14 else clip.image_size,
    )


def _tokenizer(source: Source | None, given: PathLike | None) -> Tokenizer | None:
    if source is None:
        return None
    assert isinstance(source.config, ClipConfig)
    place = source.folder.path if given is None else pathlib.Path(given)
    words = find_tokenizer(place, source.config)
    if words is None and given is not None:
        raise CheckpointError(
            f"{place} has no tokenizer: expected tokenizer.json, or vocab.json "
            "and merges.txt, or bpe_simple_vocab_16e6.txt.gz"
        )
    return words
