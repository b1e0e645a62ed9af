"""A head's own network, trained on frozen others: UMCI on CLIP (ClipSAM 3.4 and 4.1), for example.

Knows heads through their `Training` alone.
"""

import dataclasses
import functools
import logging
from typing import Annotated, Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.checkpoints import Bundle
from zsas_jax.config import Between, check_fields, to_dict
from zsas_jax.errors import ConfigError
from zsas_jax.methods import HEADS
from zsas_jax.methods.base import Request, Training, rows_of
from zsas_jax.networks import NETWORKS, Networks
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.tasks import captions, starting
from zsas_jax.training.config import Generated, PhotoSet, Pictures, TaskConfig, TrainConfig
from zsas_jax.training.devices import local_batches
from zsas_jax.training.features import FeatureCache, Features, fill, make_encoder
from zsas_jax.training.generated import generated_batches, steps_per_epoch
from zsas_jax.training.loop import Batch, Scalars, Task
from zsas_jax.training.photos import (
    Auxiliary,
    open_auxiliary,
    random_view,
    read_mask,
    read_photo,
    sample_record,
    stretch,
    stretch_mask,
)
from zsas_jax.training.provenance import describe
from zsas_jax.training.validation import make_validation

logger = logging.getLogger(__name__)

# The prompt of a part whose category nobody told us.
UNKNOWN = "object"


@dataclasses.dataclass(frozen=True)
class HeadTask(TaskConfig):
    """Training of one head."""

    head: str = ""
    """Its name."""
    size: Annotated[int, Between(1)] = 518
    """Side of the training pictures, pixels; photos are stretched to it."""
    sizes: Any = None
    """Config of a fresh network of the head; None takes that of `init`."""
    settings: Any = None
    """The head's config, saved with it; None takes its defaults."""
    training: Any = None
    """The loss and its weights, as the head's training has them; None takes its defaults."""
    data: Pictures = Generated()
    unknown_word: Annotated[float, Between(0, 1)] = 0.3
    """Share of samples prompted with "object" instead of their category."""

    def __post_init__(self):
        check_fields(self, "task")
        head = HEADS.get(self.head)
        if head is None or head.training is None:
            known = ", ".join(name for name, one in HEADS.items() if one.training)
            raise ConfigError(f"task.head is {self.head!r}: expected one that is trained: {known}")
        for name, default in (("settings", head.config), ("training", head.training.config)):
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, default())
            elif type(value) is not default:
                raise ConfigError(
                    f"task.{name} is a {type(value).__name__}: expected {default.__name__}"
                )

    @property
    def mean_loss(self) -> bool:
        """As the head's training says of its own config."""
        return getattr(self.training, "mean_loss", False)

    @property
    def validated(self) -> bool:
        """Where photos are held out."""
        return isinstance(self.data, PhotoSet) and self.data.held_out > 0


def head_task(config: TrainConfig, task: HeadTask) -> Task:
    """A head's network on the generator's pictures, or on the photos of a data set.

    Raises:
        ConfigError: a network that the head needs is missing, or sizes that do not fit.
        DatasetError: see `open_auxiliary`.
    """
    head, training = HEADS[task.head], _training(task)
    name = training.network
    begun = starting.start(config, {name: task.sizes})
    sizes = starting.sizes_of(begun, name, "task.sizes")
    needed = [other for other in head.networks(task.settings) if other != name]
    for other in needed:
        begun.model.require(other, f"head {head.name!r} of `init`")
    head.check(begun.config.networks, task.settings)
    if begun.model.has(name):
        trained = getattr(begun.model, name)
    else:
        module = NETWORKS[name].module
        trained = starting.fresh(lambda: module(sizes, rngs=nnx.Rngs(config.seed)))
    graphdef, params, buffers = nnx.split(trained, nnx.Param, ...)
    networks = Networks(**{other: getattr(begun.model, other) for other in needed})
    networks = cast_parameters(networks, config.precision)
    data = task.data
    auxiliary = open_auxiliary(data, config.seed) if isinstance(data, PhotoSet) else None
    words = captions.class_words()
    classes = list(auxiliary.categories) if auxiliary else list(words.values())
    context = head.prepare(begun, [*classes, UNKNOWN], task.settings, Request())
    frozen = {"buffers": buffers, "context": context, "networks": networks}
    functions = _Functions(config, task, graphdef)
    functions.try_out(params, frozen)

    def export(params) -> Bundle:
        trained = nnx.merge(graphdef, params, buffers)
        bundle = starting.with_networks(begun, **{name: trained})
        methods = {**bundle.config.methods, head.name: {"head": to_dict(task.settings)}}
        return bundle._replace(config=dataclasses.replace(bundle.config, methods=methods))

    validate = None
    if auxiliary is None:
        assert isinstance(data, Generated)
        batches = _generated(config, task, data, list(words))
        steps = steps_per_epoch(config, data)
    else:
        assert isinstance(data, PhotoSet)
        photos = _Photos(config, task, auxiliary)
        if data.cache and not data.random:
            every = networks.replace(**{name: trained})
            functions.cache = photos.cache_features(Features(head, task.settings, every, task.size))
        else:
            reason = "--task.data.no-cache" if not data.cache else "random augmentation"
            logger.info("the feature cache is off (%s): frozen networks run in every step", reason)
        batches = photos.batches()
        steps = max(len(auxiliary.training) // config.batch_size, 1)
        held_out = [functools.partial(photos.validation, index) for index in auxiliary.validation]
        names = [auxiliary.source[index]["category"] for index in auxiliary.validation]
        if held_out:
            size = data.validation_size
            validate = make_validation(config, size, functions.measured, held_out, names)
    about = describe(config, data)
    return Task(params, frozen, functions.loss, batches, export, steps, validate, about)


def _training(task: HeadTask) -> Training:
    training = HEADS[task.head].training
    assert training is not None
    return training


class _Functions:
    """Loss and maps of a head as functions of parameters, frozen arrays and a batch."""

    cache: FeatureCache | None = None
    """Where batches have their features from; without one they have pixels."""

    def __init__(self, config: TrainConfig, task: HeadTask, graphdef: Any):
        self._config, self._task, self._graphdef = config, task, graphdef
        self._training = _training(task)

    def try_out(self, params: Any, frozen: Any) -> None:
        """Traces the loss: what would fail in the first step fails before data are prepared."""
        shape = (self._config.batch_size, self._task.size, self._task.size)
        rows = {
            "image": ((*shape, 3), np.uint8),
            "mask": (shape, bool),
            "category": (shape[:1], np.int32),
        }
        batch = {name: jax.ShapeDtypeStruct(*given) for name, given in rows.items()}
        jax.eval_shape(self.loss, params, frozen, batch, jax.random.key(0))

    def loss(self, params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        """The loss of a whole batch, and scalars to log."""
        del key
        masks = batch["mask"].astype(jnp.float32)
        return self._loss(*self._inputs(params, frozen, batch), masks)

    def measured(self, params, frozen, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Rough maps, and the loss of each photo by itself."""
        trained, networks, *read = self._inputs(params, frozen, batch)

        def alone(*rows: Any) -> jax.Array:
            one = jax.tree.map(lambda leaf: leaf[None], rows)
            return self._loss(trained, networks, *one)[0]

        each = jax.vmap(alone)(*read, batch["mask"].astype(jnp.float32))
        return self._training.maps(trained, networks, *read, self._task.settings), each

    def _loss(self, *given: Any) -> tuple[jax.Array, Scalars]:
        return self._training.loss(*given, self._task.settings, self._task.training)

    def _inputs(self, params, frozen, batch: Batch) -> tuple[Any, ...]:
        """The trained network, all networks, features and context rows of a batch."""
        trained = nnx.merge(self._graphdef, params, frozen["buffers"])
        trained = cast_parameters(trained, self._config.precision)
        networks = frozen["networks"].replace(**{self._training.network: trained})
        if self.cache is not None:
            features = self.cache.unpack(batch["features"])
        else:
            features = self._training.features(networks, batch["image"], self._task.settings)
        features = jax.lax.stop_gradient(features)
        return trained, networks, features, rows_of(frozen["context"], batch["category"])


def _generated(
    config: TrainConfig, task: HeadTask, data: Generated, classes: list[str]
) -> grain.IterDataset:
    """Batches of the generator's pictures."""
    index = {name: number for number, name in enumerate(classes)}

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        known = rng.random() >= task.unknown_word
        category = index[view["class_name"]] if known else len(index)
        return {"image": view["image"], "mask": view["mask"], "category": np.int32(category)}

    return generated_batches(config, data, task.size, sample)


class _Photos:
    """The samples of a data set: pixels, or features where they are cached."""

    def __init__(self, config: TrainConfig, task: HeadTask, auxiliary: Auxiliary):
        assert isinstance(task.data, PhotoSet)
        self._config, self._task, self._auxiliary = config, task, auxiliary
        self._data, self._size = task.data, task.size
        self._cache: FeatureCache | None = None
        self._digests: dict[int, str] = {}

    def cache_features(self, features: Features) -> FeatureCache:
        """Computes what is not there yet; samples have features from then on."""
        cache = FeatureCache(self._data.cache_dir, features)
        self._encode = make_encoder(features)
        self._digests = fill(
            cache,
            self._auxiliary.source,
            [*self._auxiliary.training, *self._auxiliary.validation],
            self._encode,
            size=self._size,
            batch_size=self._config.batch_size,
            workers=self._data.workers,
        )
        self._cache = cache
        logger.info("features are read from %s", cache.directory)
        return cache

    def batches(self) -> grain.IterDataset:
        """Endless batches of this process's rows, in an order that the seed fixes."""
        samples = (
            grain.MapDataset.source(self._auxiliary.training)
            .seed(self._config.seed)
            .shuffle()
            .repeat()
            .random_map(self._training)
        )
        batches = local_batches(samples, self._config.batch_size)
        workers = self._data.workers
        return batches.to_iter_dataset(grain.ReadOptions(workers, max(workers, 2)))

    def _training(self, index: int, rng: np.random.Generator) -> Batch:
        record, category = sample_record(self._auxiliary, int(index))
        if rng.random() < self._task.unknown_word:
            category = np.int32(len(self._auxiliary.categories))
        if self._cache is None:
            photo = random_view(self._auxiliary, record, rng, self._size, self._data)
            return {"image": photo.image, "mask": photo.mask, "category": category}
        mask = stretch_mask(read_mask(record), self._size)
        return {"features": self._features(int(index)), "mask": mask, "category": category}

    def validation(self, index: int) -> Batch:
        """One held-out photo, as `make_validation` takes it."""
        record, category = sample_record(self._auxiliary, index)
        photo = read_photo(record)
        small = stretch(photo, self._data.validation_size)
        image, mask = stretch(photo, self._size)
        sample = {"mask": mask, "category": category, "shown": small.image, "truth": small.mask}
        if self._cache is None:
            return {**sample, "image": image}
        return {**sample, "features": self._features(index)}

    def _features(self, index: int) -> np.ndarray:
        assert self._cache is not None
        found = self._cache.read(self._digests[index])
        if found is None:  # Removed or damaged since the run began.
            record = self._auxiliary.source[index]
            image = stretch(read_photo(record), self._size).image
            count = self._config.batch_size
            found = self._encode(np.repeat(image[None], count, axis=0))[0]
            self._cache.write(self._digests[index], found)
        return found
