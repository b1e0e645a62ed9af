"""The compositional text prompt ensemble (WinCLIP; lists of ClipSAM, Figure 7).

category -> state phrases ("flawless {}") -> templates ("a photo of a {}.") -> sentences; the mean
of their normalised CLIP features is the category's normal, or abnormal, text embedding.
"""

import json
import os
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from zsas_jax.config import suggestion
from zsas_jax.data.phrases import ABNORMAL_STATES, NORMAL_STATES, TEMPLATES, words
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.networks.clip.model import Clip
from zsas_jax.networks.clip.model import encode_text as encode_token_ids
from zsas_jax.networks.clip.tokenizer import Tokenizer

# One program encodes this many sentences; their token columns are cut to a multiple of the second.
SENTENCES_PER_CHUNK = 64
COLUMNS_MULTIPLE = 16


class Prompts(NamedTuple):
    """A user's own wording; None means the defaults of this file."""

    normal_states: tuple[str, ...] | None = None
    abnormal_states: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    words: Mapping[str, str] | None = None  # category -> what the prompts call it


def compose(
    category: str,
    normal_states: Sequence[str] | None = None,
    abnormal_states: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> tuple[list[str], list[str]]:
    """All normal and all abnormal sentences of a category, as it is written.

    Raises:
        ConfigError: an empty list, or an entry that does not hold exactly one "{}".
    """
    templates = _checked("templates", templates, TEMPLATES)
    ensembles = []
    for field, given, default in (
        ("normal_states", normal_states, NORMAL_STATES),
        ("abnormal_states", abnormal_states, ABNORMAL_STATES),
    ):
        phrases = [state.replace("{}", category) for state in _checked(field, given, default)]
        ensembles.append(
            [template.replace("{}", phrase) for phrase in phrases for template in templates]
        )
    return ensembles[0], ensembles[1]


def encode_ensembles(
    clip: Clip | None,
    tokenizer: Tokenizer | None,
    categories: Sequence[str],
    prompts: Prompts = Prompts(),
    *,
    raw_names: bool = False,
) -> Float[Array, "categories 2 d"]:
    """float32 text embeddings of the normal and the abnormal state of each category.

    Each sentence's feature is L2-normalised, then the mean over sentences again (APRIL-GAN's rule;
    ClipSAM does not state one). Sentences call a category what `prompts.words` says, else its name
    in words, or the name itself with `raw_names` (as APRIL-GAN does).

    Raises:
        ConfigError: no category, or faulty states or templates.
        CheckpointError: no CLIP or no tokenizer, or a tokenizer of another model.
    """
    if clip is None:
        raise CheckpointError("prompts need a CLIP, and this checkpoint has none")
    if tokenizer is None:
        raise CheckpointError(
            "this checkpoint has no tokenizer, which prompts need: convert its weights again with "
            "--tokenizer (bpe_simple_vocab_16e6.txt.gz or a transformers directory)"
        )
    if isinstance(categories, str) or not categories:
        raise ConfigError(f"categories are {categories!r}: expected a list of at least one name")
    states = prompts.normal_states, prompts.abnormal_states, prompts.templates
    ensembles = []
    for category in categories:
        spoken = (prompts.words or {}).get(category, category if raw_names else words(category))
        ensembles.append(compose(spoken, *states))
    _require_fitting(clip, tokenizer)
    token_ids = [tuple(tokenizer(sentences) for sentences in pair) for pair in ensembles]
    return jnp.asarray(np.stack(_ensemble_features(clip, tokenizer, token_ids)), jnp.float32)


def load_prompts(path: str | os.PathLike) -> Prompts:
    """Reads a TOML or JSON file with any of `normal_states`, `abnormal_states`, `templates`
    (lists of texts with one "{}") and `words` (a table of category = "its name in prompts").

    Raises:
        ConfigError: an unreadable file, an unknown key or a value of a wrong form.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text("utf-8")
        table = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"prompt file {path} cannot be read ({error.strerror}): expected TOML or JSON"
        ) from error
    except ValueError as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise ConfigError(f"prompt file {path} is damaged ({error}): expected {kind}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"prompt file {path} holds no table: expected keys with lists of texts")
    unknown = sorted(set(table) - set(Prompts._fields))
    if unknown:
        near = suggestion(unknown[0], Prompts._fields)
        raise ConfigError(f"prompt file {path} has the key {unknown[0]!r}{near}")
    fields = {}
    for field, value in table.items():
        where = f"{field} of prompt file {path}"
        if field == "words":
            if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
                raise ConfigError(f'{where} is {value!r}: expected a table of category = "words"')
            fields[field] = value
        else:
            if not isinstance(value, list):
                raise ConfigError(f"{where} is {value!r}: expected a list of texts")
            fields[field] = _checked(where, value, ())
    return Prompts(**fields)


def _checked(field: str, given: Sequence | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """The list to use, each entry holding exactly one "{}"."""
    if given is None:
        return default
    if isinstance(given, str) or not given:
        raise ConfigError(f"{field} is {given!r}: expected a list of at least one text")
    for entry in given:
        if not isinstance(entry, str) or entry.count("{}") != 1:
            raise ConfigError(
                f'{field} has the entry {entry!r}: expected a text with exactly one "{{}}"'
            )
    return tuple(given)


@jax.jit
def _encode_chunk(clip: Clip, token_ids: Int[Array, "b n"]) -> Float[Array, "b d"]:
    features = encode_token_ids(clip, token_ids)
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


def _require_fitting(clip: Clip, tokenizer: Tokenizer) -> None:
    """Ids beyond the embedding table, or another end token, would give silent nonsense."""
    config, size = clip.config, tokenizer.vocab_size
    if size > config.vocab_size or tokenizer.context_length > config.context_length:
        raise CheckpointError(
            f"the tokenizer has {size} token ids and sentences of {tokenizer.context_length} "
            f"tokens: expected at most this CLIP's {config.vocab_size} and "
            f"{config.context_length}"
        )
    end = config.end_token_id if config.text_pooling == "eot" else size - 1
    if tokenizer.end_id != end:
        raise CheckpointError(
            f"the tokenizer's end token has the id {tokenizer.end_id}: expected {end}, which this "
            f"CLIP's text pooling ({config.text_pooling}) looks for"
        )


def _ensemble_features(
    clip: Clip, tokenizer: Tokenizer, token_ids: Sequence[tuple[np.ndarray, ...]]
) -> list[Float32[np.ndarray, "2 d"]]:
    """The features [normal, abnormal] of every pair of ensembles of token ids."""
    groups = [group for pair in token_ids for group in pair]
    features = _sentence_features(clip, tokenizer, np.concatenate(groups))
    ends = np.cumsum([len(group) for group in groups])
    means = [group.mean(0) for group in np.split(features.astype(np.float64), ends[:-1])]
    unit = np.array([mean / np.linalg.norm(mean) for mean in means], np.float32)
    return list(unit.reshape(len(token_ids), 2, -1))


def _sentence_features(
    clip: Clip, tokenizer: Tokenizer, token_ids: Int[np.ndarray, "n length"]
) -> Float[np.ndarray, "n d"]:
    """L2-normalised features, in chunks of one size so that there is one program.

    Columns of nothing but padding are cut off: causal attention makes that exact, and prompts use
    about a quarter of CLIP's context.
    """
    is_end = token_ids == tokenizer.end_id
    used = int(is_end.argmax(1).max()) + 1
    columns = min(-(-used // COLUMNS_MULTIPLE) * COLUMNS_MULTIPLE, token_ids.shape[1])
    chunks = -(-len(token_ids) // SENTENCES_PER_CHUNK)
    padded = np.zeros((chunks * SENTENCES_PER_CHUNK, columns), np.int32)
    padded[: len(token_ids)] = token_ids[:, :columns]
    parts = [_encode_chunk(clip, chunk) for chunk in np.split(padded, chunks)]
    return np.concatenate([np.asarray(part) for part in parts])[: len(token_ids)]
