"""Steering: what is added reaches the model as it should, and text is sampled by the same draws."""

import json

import numpy as np
import pytest
import torch

from expander_theory import InvalidArgument
from expander_theory.cli import main
from sae_bridge.evaluation import Nulls
from sae_bridge.features import directions
from sae_bridge.sae import TopKSAE, coordinate_null
from sae_bridge.steering import Place, added, next_tokens, removed, sampled


@pytest.fixture(scope="module")
def place(tiny_store):
    model, store = tiny_store
    return Place(model, store.description["layer"], store.description["hook"]), store


def coordinates(store):
    return coordinate_null(Nulls(store).mean, 4)


def test_a_feature_that_is_added_moves_all_positions_but_the_first(place):
    where, store = place
    sae, seen = coordinates(store), []
    tokens = torch.tensor([1, 2, 3, 4])
    plain = where.model.activations(tokens[None], where.layer, where.hook)

    def look(hidden):
        seen.append(hidden.clone())
        return hidden

    with where.changed(added(sae, 5, 2.5)), where.model.intervene(where.layer, where.hook, look):
        where.model.logits(tokens[None])
    moved = seen[-1] - plain
    assert torch.equal(moved[:, 0], torch.zeros_like(moved[:, 0]))
    np.testing.assert_allclose(moved[0, 1:, 5], 2.5, atol=1e-5)
    assert float(moved.abs().sum()) == pytest.approx(3 * 2.5, rel=1e-5)


def test_removing_takes_away_what_the_code_has_and_no_more(place):
    _, store = place
    sae = coordinates(store)
    h = store.rows("held_out")[:20]
    _, indices = sae.encode(h)
    feature = int(indices[0, 0])
    left = removed(sae, feature)(h)
    fires = (indices == feature).any(dim=1)
    assert fires.any()
    assert not fires.all()
    assert torch.equal(left[~fires], h[~fires])
    torch.testing.assert_close(left[fires][:, feature], sae.b_dec[feature].expand(int(fires.sum())).detach())


def test_what_is_added_and_what_is_taken_are_in_units_of_the_activation(place):
    _, store = place
    sae = TopKSAE(store.m, 40, 3)
    sae.fit_normalisation(Nulls(store).mean, float(store.rows("train").square().sum(dim=1).mean()))
    h = torch.zeros(2, store.m)
    moved = added(sae.eval(), 7, 3.0)(h)
    torch.testing.assert_close(moved[0], 3 * directions(sae, np.array([7]))[0])
    torch.testing.assert_close(moved[0] * sae.scale / 3, sae.weight[7].detach())


def test_nothing_added_changes_no_distribution_and_much_does(place):
    where, store = place
    sae, tokens = coordinates(store), torch.tensor([3, 1, 4, 1])
    assert next_tokens(where, tokens, added(sae, 0, 0.0)).kl == 0
    found = next_tokens(where, tokens, added(sae, 0, 50.0))
    assert found.kl > 0.01
    assert float(found.after.sum()) == pytest.approx(1, abs=1e-5)
    up, down = found.moved(3)
    change = found.after - found.before
    assert change[up[0]] == change.max()
    assert change[down[0]] == change.min()
    p, q = found.before.double(), found.after.double()
    assert found.kl == pytest.approx(float((p * (p / q).log()).sum()))


def test_without_temperature_each_token_is_the_most_likely_one_under_the_change(place):
    where, store = place
    change = added(coordinates(store), 2, 4.0)
    tokens = torch.tensor([5, 6, 7])
    found = sampled(where, tokens, change, 6, temperature=0, seed=0)
    slow = tokens
    for _ in range(6):
        with torch.no_grad(), where.changed(change):
            slow = torch.cat([slow, where.model.logits(slow[None])[0, -1].argmax()[None]])
    assert found.tolist() == slow[3:].tolist()


def test_the_same_seed_gives_the_same_draws_whatever_the_change(place):
    where, store = place
    sae, tokens = coordinates(store), torch.tensor([5, 6, 7])
    how = {"temperature": 1.0, "seed": 3}
    plain = sampled(where, tokens, None, 8, **how)
    assert torch.equal(plain, sampled(where, tokens, added(sae, 0, 0.0), 8, **how))
    assert not torch.equal(plain, sampled(where, tokens, None, 8, temperature=1.0, seed=4))
    longest = where.model.longest_context
    assert len(sampled(where, tokens, None, 2 * longest, **how)) == longest - 3


def test_bad_arguments_are_named(place):
    where, store = place
    sae = coordinates(store)
    for make, message in (
        (lambda: added(sae, store.m, 1.0), "feature = "),
        (lambda: added(sae, 0, float("nan")), "amount"),
        (lambda: removed(sae, -1), "feature = -1"),
        (lambda: sampled(where, torch.tensor([1, 2]), None, 0, temperature=1.0, seed=0), "count = 0"),
        (lambda: sampled(where, torch.tensor([1, 2]), None, 1, temperature=-1.0, seed=0), "temperature"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            make()


def test_the_command_shows_what_changes_and_says_what_it_needs(place, tmp_path, capsys):
    where, store = place
    sae = TopKSAE(store.m, 40, 3, seed=1)
    sae.fit_normalisation(Nulls(store).mean, float(store.rows("train").square().sum(dim=1).mean()))
    fields = {"language_model": where.model.name, "layer": where.layer, "hook": where.hook}
    sae.eval().save(tmp_path / "sae", fields)
    sae.save(tmp_path / "silent", {})
    base = ["sae", "steer", str(tmp_path / "sae"), "--feature", "3", "--prompt", "the cat sat", "--tokens", "5"]
    main([*base, "--add", "30", "--out", str(tmp_path / "found.json")])
    said = capsys.readouterr().out
    assert "KL divergence" in said
    assert said.count("without:") == 2
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["kl"] > 0
    assert len(found["texts"]) == 2
    for wrong, message in (
        (base, "give either --add or --remove"),
        ([*base, "--add", "1", "--remove"], "give either --add or --remove"),
        ([*base, "--remove", "--prompt", "cat"], "at least two tokens"),
        (["sae", "steer", str(tmp_path / "silent"), "--feature", "3", "--remove"], "does not say its layer"),
    ):
        with pytest.raises(SystemExit) as error:
            main(wrong)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
