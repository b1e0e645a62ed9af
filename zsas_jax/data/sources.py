"""What every data set looks like to the rest: random access to records, as Grain and TFDS do it."""

import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypedDict, runtime_checkable

from zsas_jax.config import suggestion
from zsas_jax.data.phrases import words
from zsas_jax.errors import DatasetError


class Record(TypedDict):
    """One photo of a data set, not decoded yet."""

    image: Any
    """A path, the bytes of an image file, or an array as `decode_image` takes it."""
    mask: Any
    """What `decode_mask` takes: a path or bytes (above 127 of 255 is anomalous), a `MaskFile` with
    a threshold of its own, or a boolean [H, W] array; or None: nothing is anomalous, or nothing is
    known where the source's `has_masks` is False."""
    name: str
    """Relative path with the full file name, unique in the source."""
    category: str
    """In words, as prompts use it: "metal nut"."""
    defect: str
    """Type of the defect, "good" where there is none, "unlabeled" where nothing is known."""
    label: int
    """0 good, 1 anomalous, -1 unlabeled."""


@runtime_checkable
class RandomAccess(Protocol):
    """What Grain, `tfds.as_data_source` and a list share: length and items, from any thread."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@runtime_checkable
class AnomalySource(RandomAccess, Protocol):
    """Random access to the records of a data set."""

    has_masks: bool
    """Whether labels and masks are known."""

    @property
    def categories(self) -> Sequence[str]:
        """The categories in words, in order."""
        ...

    def __getitem__(self, index: int, /) -> Record: ...


def select_categories(
    available: Iterable[str],
    wanted: Sequence[str] | None,
    dataset: str,
    in_words: Callable[[str], str] = words,
) -> list[str]:
    """The folder names asked for (as names or words), in the data set's order; default all.

    `in_words` turns a folder's name into words.

    Raises:
        DatasetError: a category the data set does not have, with the nearest one.
    """
    available = list(available)
    if wanted is None:
        return available
    by_words = {in_words(name): name for name in available}
    chosen = set()
    for name in wanted:
        if in_words(name) not in by_words:
            raise DatasetError(f"{dataset} has no category {name!r}{suggestion(name, by_words)}")
        chosen.add(by_words[in_words(name)])
    return [name for name in available if name in chosen]


def existing_directory(path, what: str) -> pathlib.Path:
    """The path, if it is a directory.

    Raises:
        DatasetError: it is missing or not a directory; `what` says what it should hold.
    """
    directory = pathlib.Path(path)
    if not directory.exists():
        raise DatasetError(f"{directory} does not exist: expected a directory with {what}")
    if not directory.is_dir():
        raise DatasetError(f"{directory} is not a directory: expected a directory with {what}")
    return directory


def check_names(names: Iterable[str], where: str | os.PathLike[str]) -> None:
    """Refuses names that no table of results can hold; `where` is what they were found in.

    Raises:
        DatasetError: a name that is not UTF-8 or has a carriage return.
    """
    for name in names:
        if "\r" in name:
            raise DatasetError(
                f"{where} holds {name!r}, whose name has a carriage return: expected it to be "
                "renamed"
            )
        try:
            name.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            raise DatasetError(
                f"{where} holds {shown}, whose name is not UTF-8: expected it to be renamed"
            ) from error
