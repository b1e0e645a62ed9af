"""Known hub names: the cache, hashes, and what is said without a network."""

import hashlib
import sys
import types

import published_weights as published
import pytest

import zsas_jax
from zsas_jax.__main__ import main
from zsas_jax.checkpoints import hub
from zsas_jax.errors import CheckpointError
from zsas_jax.networks import NETWORKS, clip, sam
from zsas_jax.testing import dummy_bundle

SAM, CLIP = "facebook/sam-vit-base", "openai/clip-vit-large-patch14-336"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zsas_jax"


@pytest.fixture(scope="module")
def network():
    return dummy_bundle(["sam"]).model.sam


def put_by_hand(network, name=SAM):
    """Meta's names are told by themselves; the hub's file of config has to be there."""
    directory = hub.files_directory(name)
    published.write_json(directory / "config.json", {"architectures": []})
    return published.write(published.state_dict(network), directory / "model.safetensors")


def known(monkeypatch, name, **fields):
    """Publishes something else under a hub name."""
    table = {SAM: sam.NETWORK, CLIP: clip.NETWORK}[name].hub
    monkeypatch.setitem(table, name, table[name]._replace(**fields))
    return table[name]


def error(capsys, *arguments):
    assert main(["weights", *arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", NETWORKS)
def test_every_known_name_is_pinned_where_its_commit_is_known(name):
    models = NETWORKS[name].hub
    for model in models.values():
        for value, length in ((model.revision, 40), (model.sha256, 64)):
            assert value is None or (len(value) == length and int(value, 16))
    assert sum(model.revision is None for model in models.values()) <= 1


def test_names_are_joined_in_either_order():
    expected = {"clip": CLIP, "sam": SAM}
    assert hub.parse_name(f"{CLIP}+{SAM}") == hub.parse_name(f"{SAM}+{CLIP}") == expected
    first, second = (hub.conversion_directory(n) for n in (f"{CLIP}+{SAM}", f"{SAM}+{CLIP}"))
    assert first == second
    with pytest.raises(CheckpointError, match="did you mean 'facebook/sam-vit-huge'"):
        hub.parse_name("facebook/sam-vit-hug")
    with pytest.raises(CheckpointError, match="names two of sam"):
        hub.parse_name(f"{SAM}+facebook/sam-vit-huge")


def test_a_name_that_was_not_downloaded_says_how(capsys):
    with pytest.raises(CheckpointError, match=f"zsas weights download {SAM}"):
        zsas_jax.load(SAM)


def test_without_a_network_one_sentence_says_what_to_fetch(capsys, cache, monkeypatch):
    class Offline:
        def model_info(self, *_, **__):
            raise ConnectionError("no route to host\nand much more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=Offline))
    message = error(capsys, "download", CLIP)
    assert "(no route to host)" in message
    assert f"https://huggingface.co/{CLIP}/tree/{clip.NETWORK.hub[CLIP].revision}" in message
    assert str(hub.files_directory(CLIP)) in message
    assert message.count("\n") == 1
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "install zsas_jax[convert]" in error(capsys, "download", CLIP)


def test_files_put_there_by_hand_are_converted_and_found_by_name(network, capsys, monkeypatch):
    weights = put_by_hand(network)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    known(monkeypatch, SAM, sha256=digest)
    assert main(["weights", "download", SAM]) == 0
    assert "holds sam" in capsys.readouterr().out
    bundle = zsas_jax.load(SAM)
    assert published.arrays(bundle.model.sam) == published.arrays(network)


def test_a_wrong_hash_is_refused(network, capsys, monkeypatch, cache):
    put_by_hand(network)
    known(monkeypatch, SAM, sha256="0" * 64)
    assert "expected 0000" in error(capsys, "download", SAM)
    assert not (cache / "checkpoints").exists()


def test_a_clip_without_its_tokenizer_is_not_all_there(monkeypatch, cache):
    model = known(monkeypatch, CLIP, sha256=None)
    asked = []

    class Api:
        def model_info(self, name, **_):
            return types.SimpleNamespace(sha="f" * 40, siblings=[])

    fake = types.SimpleNamespace(HfApi=Api, snapshot_download=lambda name, **_: asked.append(name))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    directory = hub.files_directory(CLIP)
    directory.mkdir(parents=True)
    for name in (model.weights, model.config, "vocab.json"):
        (directory / name).write_text("")
    assert hub.fetch(CLIP)[1]["revision"] == "f" * 40
    assert asked == [CLIP]
    (directory / "merges.txt").write_text("")
    assert hub.fetch(CLIP)[1] == {"hub": CLIP, "revision": model.revision, "sha256_checked": False}
    assert asked == [CLIP]


def test_downloads_are_pinned_and_compared_with_the_hubs_own_hash(network, capsys, monkeypatch):
    seen = {}

    class Api:
        def model_info(self, name, *, revision, files_metadata):
            seen.update(name=name, revision=revision)
            file = types.SimpleNamespace(rfilename="model.safetensors", lfs={"sha256": "1" * 64})
            return types.SimpleNamespace(sha="f" * 40, siblings=[file])

    def snapshot_download(name, *, revision, allow_patterns, local_dir):
        seen.update(fetched=revision, patterns=allow_patterns)
        put_by_hand(network)

    fake = types.SimpleNamespace(HfApi=Api, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert "expected 1111" in error(capsys, "download", SAM)
    assert seen["revision"] == sam.NETWORK.hub[SAM].revision
    assert seen["fetched"] == "f" * 40
    assert seen["patterns"] == ["model.safetensors", "config.json", "preprocessor_config.json"]
