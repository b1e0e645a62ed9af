"""TFDS builders of the published data sets, which need no TensorFlow.

After `import zsas_jax.data.builders`, `tfds.builder("mvtec", data_dir=...)` knows them by name. As
with TFDS's own, `manual_dir` holds the unpacked data set. Photos and masks are stored as the bytes
of their files, in array_record.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from zsas_jax.data.description import GOOD, SPLITS, Dataset, Item
from zsas_jax.data.published import PUBLISHED
from zsas_jax.data.trees import find_root, read_items, usable_items

# TFDS keeps one shard in memory.
_SHARD_BYTES = 2**27


class AnomalyBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes one data set from its tree: a subclass only names its `dataset`.

    Features: `image` and `mask` (bytes of the files; an empty mask: nothing is anomalous), `name`,
    `category` (the folder), `defect` (type, or "good"), `label` (0 good, 1 anomalous). The
    metadata repeat all but the bytes, so that categories can be chosen without reading photos.
    Records keep the tree's order, and are written shard by shard: TFDS's shuffling writer needs
    TensorFlow for more than a gigabyte.
    """

    dataset: ClassVar[Dataset]

    def __init_subclass__(cls, **kwargs: Any):
        dataset = cls.dataset
        cls.name = dataset.name
        cls.VERSION = tfds.core.Version(dataset.version)
        cls.RELEASE_NOTES = {dataset.version: f"{dataset.title} as published."}
        cls.MANUAL_DOWNLOAD_INSTRUCTIONS = (
            f"manual_dir holds {dataset.title} unpacked: {dataset.layout}."
        )
        super().__init_subclass__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(), dtype=np.object_),
                "mask": tfds.features.Tensor(shape=(), dtype=np.object_),
                "name": tfds.features.Text(),
                "category": tfds.features.Text(),
                "defect": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=[GOOD, "anomalous"]),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.dataset.title}: {self.dataset.layout}.",
            features=features,
            citation=self.dataset.citation,
            metadata=tfds.core.MetadataDict(),
            # The order of the records is that of the tree.
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[Any]]]]:
        root = find_root(self.dataset, dl_manager.manual_dir)
        items = read_items(self.dataset, root)
        folders = sorted({item.category for item in items})
        splits = {
            split: usable_items(self.dataset, root, items, split, folders)
            for split in SPLITS
            if any(item.split == split for item in items)
        }
        metadata = self.info.metadata
        assert metadata is not None
        metadata["mask_threshold"] = self.dataset.mask_threshold
        metadata["records"] = {
            split: [list(item) for item in chosen] for split, chosen in splits.items()
        }
        bar = tqdm(total=sum(map(len, splits.values())), unit="photo", disable=None)
        return {
            split: [functools.partial(_examples, root, part, bar) for part in _shards(root, chosen)]
            for split, chosen in splits.items()
        }


def _examples(
    root: pathlib.Path, items: list[tuple[int, Item]], bar: tqdm
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The keys and examples of one shard."""
    for index, item in items:
        yield (
            index,
            {
                "image": (root / item.image).read_bytes(),
                "mask": b"" if item.mask is None else (root / item.mask).read_bytes(),
                "name": item.image,
                "category": item.category,
                "defect": item.defect,
                "label": int(item.defect != GOOD),
            },
        )
        bar.update()
    if bar.n == bar.total:
        bar.close()


def _shards(root: pathlib.Path, items: list[Item]) -> list[list[tuple[int, Item]]]:
    """The numbered items in parts of at most `_SHARD_BYTES`, or of one photo that is larger."""
    shards: list[list[tuple[int, Item]]] = []
    size = 0
    for index, item in enumerate(items):
        paths = [item.image] if item.mask is None else [item.image, item.mask]
        added = sum((root / path).stat().st_size for path in paths)
        if not shards or size + added > _SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((index, item))
        size += added
    return shards


def builder_class(dataset: Dataset, register: bool = False) -> type[AnomalyBuilder]:
    """The builder of a data set; `register` makes it known to `tfds.builder` by name."""
    kind: Any = type(AnomalyBuilder)
    title = "".join(part.title() for part in dataset.name.split("_"))
    content = {"dataset": dataset, "__doc__": f"{dataset.title}.", "__module__": __name__}
    return kind(title, (AnomalyBuilder,), content, skip_registration=not register)


BUILDERS = {name: builder_class(dataset, register=True) for name, dataset in PUBLISHED.items()}
