"""Methods by name: pairs, settings of a checkpoint, what a checkpoint runs by itself."""

import pytest
from small_pipeline import NETWORKS

from zsas_jax import methods
from zsas_jax.checkpoints import Config, Verdict
from zsas_jax.errors import ConfigError


def test_pairs_have_their_papers_names():
    assert methods.find_method("umci+cascade") is methods.METHODS["cascade"]
    assert methods.find_method("umci+mmr") is methods.METHODS["clipsam"]
    assert methods.find_method("similarity") is methods.METHODS["clip"]
    other = methods.find_method("similarity+mmr")
    assert other is methods.find_method("similarity+mmr")
    assert other.name == "similarity+mmr"
    assert other.networks(other.config()) == ("clip", "sam")
    for wrong, near in (("cascde", "cascade"), ("umci+mrm", "mmr"), ("umc+mmr", "umci")):
        with pytest.raises(ConfigError, match=near):
            methods.find_method(wrong)


def test_a_pair_takes_the_settings_of_its_parts():
    stored = {
        "cascade": {"head": {"stages": 1}, "refiner": {"regions": 2}},
        "umci": {"head": {"stages": 2}, "score": {"map_weight": 1.0}},
        "clip": {"head": {"views": {"turns": 2}}},
    }
    config = Config(NETWORKS, "cascade", stored)
    assert methods.settings(config, "cascade").refiner.regions == 2
    assert methods.settings(config, "cascade").score.map_weight == 0.5
    found = methods.settings(config, "similarity+cascade")
    assert (found.head.views.turns, found.refiner.regions) == (2, 2)
    # A head's own entry counts more than a pair's.
    assert methods.settings(config, "clipsam").head.stages == 2
    changed = methods.with_settings(config, "umci+cascade", methods.settings(config, "cascade"))
    assert changed.methods["cascade"]["refiner"]["regions"] == 2
    with pytest.raises(ConfigError, match=r"settings of clip\.head has no field 'view'"):
        methods.settings(Config(methods={"clip": {"head": {"view": {}}}}), "clip")


def test_a_checkpoint_without_a_method_runs_what_its_networks_allow():
    def best(*names):
        return methods.default_method(Config({name: NETWORKS[name] for name in names}))

    assert best("clip", "sam", "umci") == "cascade"
    assert best("clip", "sam") == "similarity+cascade"
    assert best("clip", "umci") == "umci"
    assert best("clip") == "clip"
    with pytest.raises(ConfigError, match="no method runs on the networks sam alone"):
        best("sam")
    assert methods.default_method(Config(NETWORKS, "umci+mmr")) == "clipsam"


def test_verdicts_belong_to_methods():
    config = Config(verdicts={"cascade": Verdict(0.1, 0.2)})
    assert methods.verdict(config, "umci+cascade") == Verdict(0.1, 0.2)
    assert methods.verdict(config, "umci") == Verdict()
