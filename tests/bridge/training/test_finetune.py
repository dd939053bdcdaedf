"""The finetune end to end, on a small model: gradients, balance, what is frozen, resume, names."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import save_tiny_model
from support.stores import model_store

from expander_theory import InvalidArgument, InvalidFile
from expander_theory.masks import uniform_mask
from expander_theory.results import StepRecord, read_records
from sae_bridge.activations import StoredStream
from sae_bridge.evaluation import cosines_to
from sae_bridge.models import load_language_model
from sae_bridge.sae import ExpanderSAE, load_sae
from sae_bridge.training import Finetuning, Training, finetune, train
from sae_bridge.training._contexts import ContextStream
from sae_bridge.training.finetuning import balanced

HOW = {"steps": 6, "learning_rate": 4e-3, "contexts": 5, "progress": False}
RUNS = {
    "control": Finetuning(weight=0.0),
    "constant": Finetuning(codes="constant"),
    "exact": Finetuning(),
}


@pytest.fixture(scope="module")
def started(tmp_path_factory, tiny_store):
    """A trained SAE by OMP and a tied one."""
    model, store = tiny_store
    folder = tmp_path_factory.mktemp("started")
    small = Training(d=4, n=64, k=4, steps=30, dead_after=2000)
    runs = {"omp": replace(small, encoder="omp", supports="momentum"), "tied": small}
    train(runs, StoredStream(store, 128, 0), folder, progress=False)
    return model, store, folder


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, started):
    model, store, folder = started
    out = tmp_path_factory.mktemp("finetuned")
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    asked = [parameter.requires_grad for parameter in model.model.parameters()]
    saes = finetune(RUNS, folder / "omp", model, store, out, **HOW)
    after = model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.model.parameters())
    assert [parameter.requires_grad for parameter in model.model.parameters()] == asked
    return out, saes


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """A random model that computes in float64 throughout, which Llama's norms do not, and three contexts."""
    model = load_language_model(str(save_tiny_model(tmp_path_factory.mktemp("neox"), "gpt_neox")))
    generator = torch.Generator().manual_seed(0)
    tokens = {split: torch.randint(20, (3, 12), generator=generator) for split in ("train", "held_out")}
    kept = {split: torch.rand(3, 12, generator=generator) < 0.8 for split in tokens}
    store = model_store(model, tokens, 1, "resid_post", kept)
    model.model.double()
    return model, store


@pytest.mark.parametrize("encoder", ["omp", "omp_nonnegative", "tied"])
def test_the_gradient_of_the_kl_divergence_is_its_finite_difference(double, encoder):
    """Through the upper half of the model and the codes, for all that is trained; with constant codes it is another."""
    stream = ContextStream(*double, 3, 0)
    stream.batch(0)
    h = stream._hidden[stream._at]
    sae = ExpanderSAE(uniform_mask(32, 64, 5, seed=0), 4, seed=0, encoder=encoder).double()
    sae.fit_normalisation(h.mean(dim=0), float(h.square().sum(dim=1).mean()))

    def divergence(how):
        acts, indices = how.coded(sae, sae.centred(h))
        return stream.divergence((sae.combine(acts, indices) + sae.b_dec) / sae.scale)

    names, parameters = zip(*((name, p) for name, p in sae.named_parameters() if p.requires_grad), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(divergence(Finetuning()), parameters), strict=True))
    rng = np.random.default_rng(0)
    for name, parameter in zip(names, parameters, strict=True):
        direction = torch.from_numpy(rng.normal(size=parameter.shape))
        if name == "weight":  # unit columns, which pursuits expect, stay so to first order along the sphere
            direction -= (direction * parameter.data).sum(dim=1, keepdim=True) * parameter.data
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter += step * direction
                values.append(float(divergence(Finetuning())))
            parameter += 1e-6 * direction
        expected = (values[0] - values[1]) / 2e-6
        assert float((gradients[name] * direction).sum()) == pytest.approx(expected, rel=1e-4), name
        assert abs(expected) > 1e-6, name
    if encoder != "tied":
        (partial,) = torch.autograd.grad(divergence(Finetuning(codes="constant")), [sae.weight])
        assert float((partial - gradients["weight"]).norm()) > 0.05 * float(gradients["weight"].norm())


def test_the_divergence_is_the_mean_over_positions_that_count(started):
    """Against the whole model, one context after another."""
    model, store, _ = started
    stream = ContextStream(model, store, 4, 1)
    h = stream.batch(2)
    reconstruction = h + 0.3 * torch.sin(40 * h)
    chosen = torch.from_numpy(stream.contexts(2))
    layer, hook = store.description["layer"], store.description["hook"]
    rows, found, first = store.kept("train")[chosen].sum(dim=1).tolist(), [], 0
    for ids, kept, count in zip(store.tokens("train")[chosen], store.kept("train")[chosen], rows, strict=True):

        def put(hidden, kept=kept, part=slice(first, first + count)):
            changed = hidden.clone()
            changed[0, kept] = reconstruction[part]
            return changed

        with torch.no_grad():
            clean = model.logits(ids[None])[0].log_softmax(dim=-1)
            with model.intervene(layer, hook, put):
                other = model.logits(ids[None])[0].log_softmax(dim=-1)
        found += (clean.exp() * (clean - other)).sum(dim=-1)[kept].tolist()
        first += count
    assert float(stream.divergence(reconstruction)) == pytest.approx(np.mean(found), rel=1e-4)
    assert float(stream.divergence(h)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(InvalidArgument, match="reconstruction"):
        stream.divergence(h[1:])


def test_every_pass_sees_every_context_once_in_another_order(started):
    model, store, _ = started
    stream = ContextStream(model, store, 7, 3)
    passes = [np.concatenate([stream.contexts(step) for step in range(12 * i, 12 * i + 12)]) for i in range(2)]
    for one in passes:
        assert len(set(one)) == 84  # 90 contexts are twelve batches of seven, and six that wait for another pass
    assert not np.array_equal(*passes)
    assert np.array_equal(ContextStream(model, store, 7, 3).contexts(5), passes[0][35:42])
    assert not np.array_equal(ContextStream(model, store, 7, 4).contexts(5), passes[0][35:42])


def test_both_terms_have_the_same_value_and_the_factor_no_gradient():
    error, kl = (torch.tensor(value, requires_grad=True) for value in (0.3, 5.0))
    loss = balanced(error, kl, 2.0)
    assert float(loss.detach()) == pytest.approx(0.9)
    loss.backward()
    assert error.grad == pytest.approx(1.0)
    assert kl.grad == pytest.approx(2 * 0.3 / 5)


def test_what_is_trained_and_what_stays(started, finetuned):
    _, _, folder = started
    before, _ = load_sae(folder / "omp")
    for name, sae in finetuned[1].items():
        assert torch.equal(sae.rows, before.rows)
        assert sae.scale == before.scale
        assert not torch.equal(sae.weight, before.weight)
        assert not torch.equal(sae.b_dec, before.b_dec)
        torch.testing.assert_close(sae.weight.norm(dim=1), torch.ones(64))
        cosines = cosines_to(sae, before)
        assert cosines.shape == (64,)
        assert 0.2 < cosines.min() < cosines.max() <= 1 + 1e-6, name
    weights = [sae.weight for sae in finetuned[1].values()]
    assert not torch.equal(weights[1], weights[2])


def test_the_divergence_is_lowered_more_than_by_the_control(started, finetuned):
    model, store, folder = started
    saes = {"before": load_sae(folder / "omp")[0], **finetuned[1]}
    more = finetune(
        {"exact": Finetuning(weight=4.0)}, folder / "omp", model, store, finetuned[0] / "more", **(HOW | {"steps": 40})
    )
    stream, found = ContextStream(model, store, 60, 9), {}
    h = stream.batch(0)
    with torch.no_grad():
        for name, sae in {**saes, "more": more["exact"]}.items():
            found[name] = float(stream.divergence(sae(h)[0]))
    assert found["more"] < 0.9 * found["before"]
    assert found["more"] < found["control"]


def test_its_files_say_what_it_is(started, finetuned):
    _, store, folder = started
    out = finetuned[0]
    for name, how in RUNS.items():
        cfg = json.loads((out / name / "cfg.json").read_text())
        assert cfg["training"]["finetuned"] == asdict(how)
        assert cfg["training"]["activations_sha256"] == store.sha256
        assert (cfg["n"], cfg["d"], cfg["k"], cfg["encoder"]) == (64, 4, 4, "omp")
        steps = read_records(out / name / "metrics.jsonl", StepRecord)
        assert [record.step for record in steps] == list(range(6))
        assert all((record.kl is None) == (how.weight == 0) for record in steps)
    assert "finetuned" not in json.loads((folder / "omp" / "cfg.json").read_text())["training"]


def test_a_run_goes_on_to_the_same_bits(tmp_path, started, finetuned):
    model, store, folder = started

    class Enough(Exception):
        pass

    def broken(*args):
        nonlocal calls
        calls += 1
        if calls > 5:
            raise Enough
        return original(*args)

    calls, original = 0, ContextStream.batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContextStream, "batch", broken)
        with pytest.raises(Enough):
            finetune({"exact": RUNS["exact"]}, folder / "omp", model, store, tmp_path, checkpoint_every=2, **HOW)
    assert (tmp_path / "exact" / "checkpoint.safetensors").is_file()
    again = finetune({"exact": RUNS["exact"]}, folder / "omp", model, store, tmp_path, checkpoint_every=2, **HOW)
    for name, value in again["exact"].state_dict().items():
        assert torch.equal(value, finetuned[1]["exact"].state_dict()[name]), name


def test_a_tied_encoder_is_finetuned_through_its_codes(tmp_path, started):
    model, store, folder = started
    found = finetune({".": Finetuning()}, folder / "tied", model, store, tmp_path, **HOW)["."]
    before = load_sae(folder / "tied")[0]
    assert found.encoding == "tied"
    assert not torch.equal(found.b_enc, before.b_enc)
    assert load_sae(tmp_path)[1]["finetuned"] == asdict(Finetuning())


def test_bad_input_is_named(tmp_path, started, finetuned):
    model, store, folder = started

    def run(runs=RUNS, start=folder / "omp", out=tmp_path, **changes):
        return finetune(runs, start, model, store, out, **(HOW | changes))

    for message, changes in {
        "runs = 0": {"runs": {}},
        "steps = 0": {"steps": 0},
        "learning_rate = 2": {"learning_rate": 2.0},
        "contexts = 91: must be between 1 and the 90": {"contexts": 91},
        "contexts = 0": {"contexts": 0},
        "seed = -1": {"seed": -1},
        "codes = 'constant'.*encoder 'tied'": {"start": folder / "tied", "runs": {"a": RUNS["constant"]}},
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            run(**changes)
    with pytest.raises(InvalidFile, match="finetuned already"):
        run(start=finetuned[0] / "exact")
    with pytest.raises(InvalidFile, match=r"finetuned.weight"):
        run(runs={"exact": Finetuning(weight=2.0)}, out=finetuned[0])
    for message, how in {"weight = -1": {"weight": -1.0}, "weight = nan": {"weight": float("nan")}}.items():
        with pytest.raises(InvalidArgument, match=message):
            Finetuning(**how)
    with pytest.raises(InvalidArgument, match="codes = 'both'"):
        Finetuning(codes="both")
    with pytest.raises(InvalidArgument, match="start = None"):
        Training(finetuned=Finetuning())
    with pytest.raises(InvalidArgument, match="precision = 'bfloat16'"):
        Training(start=folder / "omp", finetuned=Finetuning(), precision="bfloat16")
    recipe = Training(start=folder / "omp", encoder="omp", finetuned=Finetuning())
    with pytest.raises(InvalidArgument, match=r"finetuned = .*divergence"):
        train({".": recipe}, StoredStream(store, 128, 0), tmp_path)
    shutil.copytree(folder / "omp", tmp_path / "elsewhere")
    cfg = json.loads((tmp_path / "elsewhere" / "cfg.json").read_text())
    cfg["training"]["activations_sha256"] = "0"
    (tmp_path / "elsewhere" / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(InvalidFile, match="other activations"):
        run(start=tmp_path / "elsewhere")
    cfg["training"]["mean_degree"] = 3.0
    (tmp_path / "elsewhere" / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(InvalidFile, match=r"mean_degree = 3\.0, which a finetune would not keep"):
        run(start=tmp_path / "elsewhere")


def test_a_recipe_without_it_is_known_as_before(started):
    assert "finetuned" not in Training().identity()
