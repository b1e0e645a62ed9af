"""What a trained head reads of photos, on disk: computed once, read in every epoch.

    CACHE_DIR/<key>/key.json            weights, sizes, settings: what makes features these
    CACHE_DIR/<key>/<ab>/<photo>.npy    bfloat16, the leaves stacked, by the photo's content

A file appears by renaming, complete and flushed, so that runs may share a directory and be killed
at any time. Files of another length are computed anew.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, BFloat16, UInt8
from tqdm import tqdm

from zsas_jax.data.sources import AnomalySource, Record
from zsas_jax.errors import ConfigError
from zsas_jax.files import atomic_path
from zsas_jax.methods.base import Head
from zsas_jax.networks import Networks
from zsas_jax.training.devices import wait_for_all
from zsas_jax.training.photos import read_photo, stretch

FORMAT = 2
Tokens = BFloat16[np.ndarray, "..."]

logger = logging.getLogger(__name__)


class Features(NamedTuple):
    """A head's features of photos, as a function of frozen networks."""

    head: Head
    config: Any
    """The head's."""
    networks: Networks
    """All that the head needs, the trained one included, whose sizes alone may be looked at."""
    size: int
    """Side of the photos, pixels."""

    def __call__(self, networks: Networks, images: UInt8[Array, "b h w 3"]) -> Any:
        """The pytree that the head's training reads."""
        assert self.head.training is not None
        return self.head.training.features(networks, images, self.config)

    @property
    def frozen(self) -> Networks:
        """The networks that the features come from."""
        assert self.head.training is not None
        return self.networks.replace(**{self.head.training.network: None})

    @property
    def abstract(self) -> Any:
        """Shapes of the features of one photo."""
        image = jax.ShapeDtypeStruct((1, self.size, self.size, 3), jnp.uint8)
        return jax.eval_shape(self.__call__, self.networks, image)


class FeatureCache:
    """The features of one head's frozen networks at one input size.

    Raises:
        ConfigError: a directory that cannot be written, or whose key was changed; features that
            are not arrays of one shape.
    """

    def __init__(self, root: str | os.PathLike[str], features: Features):
        leaves, self._tree = jax.tree.flatten(features.abstract)
        shapes = {leaf.shape[1:] for leaf in leaves}
        if len(shapes) != 1:
            raise ConfigError(
                f"features of head {features.head.name!r} have the shapes {sorted(shapes)}, which "
                "the cache cannot hold: expected --task.data.no-cache"
            )
        self.shape = (len(leaves), *shapes.pop())
        key = {
            "format": FORMAT,
            "weights": weights_digest(features.frozen),
            "networks": {
                name: dataclasses.asdict(getattr(features.networks, name).config)
                for name in features.networks.names
            },
            "head": features.head.name,
            "shape": list(self.shape),
            "size": features.size,
            "resampling": "Pillow bicubic, stretched",
            "computed_in": sorted({str(leaf.dtype) for leaf in leaves}),
        }
        text = json.dumps(key, indent=1, sort_keys=True) + "\n"
        root = pathlib.Path(root)
        self.directory = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        file = self.directory / "key.json"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                _write_whole(file, text.encode())
            found = file.read_text()
        except OSError as error:
            raise ConfigError(f"{root} cannot hold features: {error.strerror or error}") from error
        if found != text:
            raise ConfigError(
                f"{self.directory} holds the features of other weights or settings than its name "
                "says: expected it as it was written, or removed"
            )
        others = [path.name for path in root.iterdir() if path != self.directory and path.is_dir()]
        if others:
            logger.info(
                "%s also holds features of other weights or settings (%s), which are not used",
                root,
                ", ".join(sorted(others)),
            )

    def unpack(self, stored: Any) -> Any:
        """Stacked features [b, leaves, ...] as the pytree that the head reads."""
        return jax.tree.unflatten(self._tree, [stored[:, k] for k in range(self.shape[0])])

    @property
    def nbytes(self) -> int:
        """Bytes of one photo's tokens."""
        return 2 * int(np.prod(self.shape))

    def read(self, photo: str) -> Tokens | None:
        """The tokens of a photo, memory-mapped; None where they are not there, or damaged."""
        path = self._path(photo)
        try:
            if path.stat().st_size != self._file_size:
                return None
            stored = np.load(path, mmap_mode="r")
        except (OSError, ValueError):
            return None
        if stored.shape != self.shape or stored.dtype != np.uint16:
            return None
        return stored.view(ml_dtypes.bfloat16)

    def write(self, photo: str, tokens: Tokens) -> None:
        """Keeps the tokens of a photo.

        Raises:
            ConfigError: no room.
        """
        path = self._path(photo)
        try:
            path.parent.mkdir(exist_ok=True)
            _write_whole(path, _npy(tokens))
        except OSError as error:
            raise ConfigError(
                f"features cannot be written to {self.directory} ({error.strerror}): expected "
                f"{self.nbytes / 1e6:.1f} MB for each photo, another --task.data.cache-dir, or "
                "--task.data.no-cache; what was written is kept"
            ) from error

    def require_space(self, photos: int) -> None:
        """Checks the room for so many photos before anything is computed.

        Raises:
            ConfigError: with both numbers.
        """
        free = shutil.disk_usage(self.directory).free
        if free < photos * self.nbytes:
            raise ConfigError(
                f"the features of {photos} photos need {photos * self.nbytes / 1e9:.1f} GB in "
                f"{self.directory}, where {free / 1e9:.1f} GB are free: expected another "
                "--task.data.cache-dir, or --task.data.no-cache"
            )

    def _path(self, photo: str) -> pathlib.Path:
        return self.directory / photo[:2] / f"{photo}.npy"

    @functools.cached_property
    def _file_size(self) -> int:
        return len(_npy(np.zeros(self.shape, ml_dtypes.bfloat16)))


def _npy(tokens: np.ndarray) -> bytes:
    """The file's bytes; NumPy's format knows no bfloat16, so its bits are stored."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(tokens).view(np.uint16))
    return file.getvalue()


def _write_whole(path: pathlib.Path, content: bytes) -> None:
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def weights_digest(networks: Networks) -> str:
    """Hash of all arrays of frozen networks."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(networks)[0]:
        values = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).view(np.uint8).data)
    return digest.hexdigest()


def photo_digest(record: Record) -> str:
    """Hash of a photo's content: of the file's bytes where there is a file."""
    image: Any = record["image"]
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(image, str | os.PathLike):
        with open(image, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    elif isinstance(image, bytes):
        digest.update(image)
    else:
        values = read_photo({**record, "mask": None}).image
        digest.update(str(values.shape).encode())
        digest.update(values.data)
    return digest.hexdigest()


def fill(
    cache: FeatureCache,
    source: AnomalySource,
    indices: Iterable[int],
    encode: Callable[[np.ndarray], np.ndarray],
    *,
    size: int,
    batch_size: int,
    workers: int,
) -> dict[int, str]:
    """Computes what the cache lacks; returns the key of each photo by its position.

    Of several processes each computes its share, and all return when all is there.

    Raises:
        ConfigError: no room. ImageError: a photo that cannot be read.
    """
    indices = list(indices)
    with concurrent.futures.ThreadPoolExecutor(workers) as executor:
        digests = dict(
            zip(indices, executor.map(lambda i: photo_digest(source[i]), indices), strict=True)
        )
    missing = [i for i in indices if cache.read(digests[i]) is None]
    wait_for_all("looked at the features")
    missing = missing[jax.process_index() :: jax.process_count()]
    if missing:
        cache.require_space(len(missing))
        logger.info("computing the features of %d photos into %s", len(missing), cache.directory)
        photos = (
            grain.MapDataset.source(missing)
            .map(lambda i: (i, stretch(read_photo(source[int(i)]), size).image))
            .to_iter_dataset(grain.ReadOptions(workers, max(workers, 2 * batch_size)))
        )
        batch: list[tuple[int, np.ndarray]] = []
        for item in tqdm(photos, total=len(missing), desc="features", unit="photo"):
            batch.append(item)
            if len(batch) == batch_size:
                _compute(cache, batch, digests, encode, batch_size)
                batch = []
        _compute(cache, batch, digests, encode, batch_size)
    wait_for_all("computed the features")
    return digests


def _compute(cache, batch, digests: dict[int, str], encode: Callable, batch_size: int) -> None:
    if not batch:
        return
    images = np.stack([image for _, image in batch])
    # One program for the last, smaller batch too.
    padding = [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)]
    tokens = np.asarray(encode(np.pad(images, padding)))
    for (index, _), rows in zip(batch, tokens, strict=False):
        cache.write(digests[int(index)], rows)


def make_encoder(features: Features) -> Callable[[np.ndarray], np.ndarray]:
    """Photos uint8 [b, size, size, 3] -> their features, stacked, over this process's devices."""
    devices = jax.local_devices()
    mesh = Mesh(np.array(devices), ("data",))
    everywhere = jax.device_put(features.networks, NamedSharding(mesh, PartitionSpec()))
    shared = NamedSharding(mesh, PartitionSpec("data"))

    @jax.jit
    def stacked(networks, images):
        return jnp.stack(jax.tree.leaves(features(networks, images)), axis=1).astype(jnp.bfloat16)

    def encode(images: np.ndarray) -> np.ndarray:
        rest = -len(images) % len(devices)
        padded = np.pad(images, [(0, rest), (0, 0), (0, 0), (0, 0)])
        return np.asarray(stacked(everywhere, jax.device_put(padded, shared)))[: len(images)]

    return encode
