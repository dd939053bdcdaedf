"""Which SAEs a suite takes as its own: seeds, order of batches, recipes, and losses of other machines."""

from dataclasses import replace

import pytest
from support.suite_setting import tiny_setting

from expander_theory import InvalidFile
from expander_theory.results import BaselinesRecord, Ledger
from sae_bridge.evaluation import measure_losses
from sae_bridge.sae import load_sae
from sae_bridge.suites import SAESuite, architecture, longer


@pytest.fixture
def setting(text_folder, tiny_model_folder):
    return replace(tiny_setting(text_folder, tiny_model_folder, seeds=(0,)), rates=())


def weights(suite, variant, seed):
    return suite.sae(variant, seed).weight.detach()


def test_an_sae_of_a_seed_is_the_same_whatever_other_seeds_are_asked_for(tmp_path, setting):
    variant = architecture(setting.recipe, 4)
    found = []
    for name, seeds in {"alone": (1,), "beside": (0, 1)}.items():
        suite = SAESuite(setting.changed(seeds=seeds), tmp_path / name)
        suite.train([(variant, seed) for seed in seeds])
        found.append(weights(suite, variant, 1))
    assert found[0].equal(found[1])


def test_seeds_are_those_of_everything(setting):
    changed = setting.changed(seeds=(5, 6))
    assert changed.seeds == changed.control_seeds == changed.equal_inference.seeds == (5, 6)
    assert setting.changed(steps=7).equal_inference == setting.equal_inference


def test_a_folder_of_another_recipe_is_refused_by_field(tmp_path, setting):
    variant = architecture(setting.recipe, 4)
    SAESuite(setting, tmp_path).train([(variant, 0)])
    SAESuite(setting, tmp_path).train([(variant, 0)])
    other = replace(setting, recipe=replace(setting.recipe, steps=7))
    with pytest.raises(InvalidFile, match="was trained otherwise: steps is 12 there and 7 here; choose another folder"):
        SAESuite(other, tmp_path).train([(architecture(other.recipe, 4), 0)])
    assert load_sae(tmp_path / "sae" / "d4-seed0")[1]["steps"] == 12


def test_an_experiment_of_no_sae_measures_nothing(tmp_path, setting):
    """As the longer runs of a preset that has none."""
    none = replace(setting, equal_inference=replace(setting.equal_inference, longer=0))
    assert longer(none) == []
    assert SAESuite(none, tmp_path).compare("none", []) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", [True, False])
def test_losses_are_known_if_they_are_of_these_activations(tmp_path, setting, own):
    suite = SAESuite(setting, tmp_path)
    assert suite.known_losses() is None
    losses = measure_losses({}, suite.model, suite.store, progress=False).baselines()
    fields = {**losses.as_fields(), **({} if own else {"store_sha256": "e" * 64})}
    with Ledger(suite.ledger_path, suite._identity()) as ledger:
        ledger.append(BaselinesRecord(fields, "note"))
    assert suite.baselines() is not None
    assert (suite.known_losses() is not None) == own
