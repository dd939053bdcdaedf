"""Recovery on trained decoders: supports of real tokens, ERC, and the commands ``sae recovery`` and ``sae gap``."""

import json
import math

import numpy as np
import pytest
import torch
from support import oracles
from support.stores import MemoryStore

from expander_theory import DenseDictionary, InvalidArgument, InvalidFile, uniform_mask
from expander_theory.solvers.coefficients import exact_recovery_coefficients
from sae_bridge.codes.coder import Coder
from sae_bridge.evaluation import recovery as module
from sae_bridge.evaluation.recovery import SupportRecovery, geometry, support_recovery, untrained
from sae_bridge.interop import export_saelens
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

M, N, K = 24, 60, 6


def make(dense=False, seed=3):
    sae = TopKSAE(M, N, K, seed=seed) if dense else ExpanderSAE(uniform_mask(M, N, 4, seed=0), K, seed=seed)
    sae = sae.double()
    with torch.no_grad():
        sae.normalise_columns()
        sae.scale.fill_(0.8)
        sae.b_dec.fill_(0.1)
    return sae.eval()


@pytest.fixture(scope="module")
def store():
    draw = torch.randn(2, 6, 10, M, generator=torch.Generator().manual_seed(0))
    return MemoryStore({"train": draw[0], "held_out": draw[1]})


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("source", ["encoder", "omp"])
def test_each_support_has_its_coefficient_and_what_textbook_omp_finds(store, dense, source):
    sae = make(dense)
    found = support_recovery(sae, store, supports=60, source=source, strongest=(1, 3), progress=False)
    acts, indices = Coder(sae)(store.rows("held_out"), source)
    w = sae.weight.detach().numpy()
    w = w.T if dense else oracles.dense(M, sae.rows.numpy(), w)
    expected = []
    for values, features in zip(acts.numpy(), indices.numpy(), strict=True):
        active = values != 0
        values, features = values[active], features[active]
        order = np.argsort(-np.abs(values), kind="stable")
        for size in sorted({s for s in (1, 3) if s < len(values)} | ({len(values)} - {0})):
            chosen = features[order[:size]]
            (erc,) = exact_recovery_coefficients(DenseDictionary(w.T.copy()), chosen[None])
            solved, _ = oracles.omp(w, w[:, chosen] @ values[order[:size]], size)
            expected.append((size, erc, set(solved) == set(chosen)))
    sizes, ercs, recovered = map(np.array, zip(*expected, strict=True))
    np.testing.assert_array_equal(found.sizes, sizes)
    np.testing.assert_allclose(found.erc, ercs, rtol=1e-6)
    np.testing.assert_array_equal(found.found["own"], recovered)
    assert 0 < recovered.mean() < 1
    assert found.contradictions() == 0
    assert ((found.erc < 1) & found.found["own"]).any()


def test_a_seed_decides_and_tokens_are_drawn_without_repetition(store):
    sae = make()
    first, again, other = (support_recovery(sae, store, supports=9, seed=s, progress=False) for s in (0, 0, 1))
    assert first.as_fields() == again.as_fields() != other.as_fields()
    everything = support_recovery(sae, store, supports=10_000, strongest=(), progress=False)
    assert len(everything.sizes) == 60


def test_tables_count_what_is_in_them():
    erc = np.array([0.5, 0.9, 1.1, 1.1, 7.0, np.inf])
    own = np.array([1, 1, 1, 0, 0, 0], bool)
    found = SupportRecovery(np.array([1, 2, 2, 2, 4, 4]), erc, {"own": own, "signs": own, "gaussian": ~own})
    rows = found.calibration()
    assert [(r.erc_from, r.erc_to, r.supports, r.own, r.gaussian) for r in rows] == [
        (0, 1, 2, 1.0, 0.0), (1, 1.25, 2, 0.5, 0.5), (5, None, 2, 0.0, 1.0)
    ]  # fmt: skip
    low, high = rows[0].own_interval
    assert math.isclose(low, 0.025**0.5)
    assert high == 1
    assert [(r.size, r.supports, r.guaranteed) for r in found.by_size()] == [
        (1, 1, 1),
        (2, 3, 1 / 3),
        (4, 2, 0),
    ]
    assert found.contradictions() == 2  # of the Gaussian codes
    assert SupportRecovery(np.array([1]), np.array([0.5]), {"own": np.array([False])}).contradictions() == 1
    assert json.loads(json.dumps(found.as_fields()))["erc"][-1] is None


def test_tokens_without_a_feature_are_left_out(store):
    sae = make()
    with torch.no_grad():
        sae.b_enc.fill_(-1e3)
        sae.b_enc[7] = 1e3
    found = support_recovery(sae, store, supports=20, progress=False)
    assert found.sizes.tolist() == [1] * 20
    with torch.no_grad():
        sae.b_enc[7] = -1e3
    assert len(support_recovery(sae, store, supports=20, progress=False).sizes) == 0


def test_the_decoder_before_training_and_its_geometry():
    for dense in (False, True):
        sae = make(dense, seed=5).float()
        start = untrained(sae, 5)
        np.testing.assert_allclose(start.values, sae.dictionary().values, atol=1e-6)
        assert not np.allclose(untrained(sae, 6).values, start.values)
    equal = ExpanderSAE(uniform_mask(M, N, 4, seed=0), K)
    with torch.no_grad():
        equal.weight.fill_(0.5)
    flat = geometry(equal.dictionary())
    assert flat["flatness_least"] == pytest.approx(1)
    assert flat["flatness_largest"] == pytest.approx(1)
    overlaps = (equal.rows[:, None, :, None] == equal.rows[None, :, None, :]).sum((2, 3)).fill_diagonal_(0)
    assert flat["coherence"] == pytest.approx(int(overlaps.max()) / 4)


def test_what_is_refused(store):
    with pytest.raises(InvalidArgument, match="m = 24"):
        support_recovery(make(), MemoryStore({"train": torch.zeros(1, 2, 5), "held_out": torch.zeros(1, 2, 5)}))
    with pytest.raises(InvalidArgument, match="supports = 0"):
        support_recovery(make(), store, supports=0)
    with pytest.raises(InvalidArgument, match="source = 'mp'"):
        support_recovery(make(), store, source="mp")
    with pytest.raises(InvalidArgument, match="strongest"):
        support_recovery(make(), store, strongest=(0, 1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_store):
    """An SAE of the tiny model's activations (untrained) and the same for SAELens, beside a link to the activations."""
    folder, (_, store) = tmp_path_factory.mktemp("recovery"), tiny_store
    (folder / "activations").symlink_to(store.folder)
    sae = ExpanderSAE(uniform_mask(store.m, 2 * store.m, 4, seed=0), K, seed=0).eval()
    sae.save(folder / "sae", {"activations_sha256": store.sha256, "seed": 0})
    export_saelens(sae, folder / "lens", {})
    return folder


def test_the_recovery_command(trained, capsys):
    from sae_bridge.commands.recovery import Recovery

    out = trained / "recovery.json"
    Recovery(trained / "sae", trained / "activations", supports=20, ks=(1, 2, 4), trials=10, out=out).run()
    text = capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["geometry"]["before training"] == pytest.approx(record["geometry"]["after training"])
    assert any(line.startswith("OMP: k = ") for line in record["certified"])
    assert [rate["k"] for rate in record["planted"]] == [1, 2, 4]
    assert len(record["supports"]["erc"]) >= 20
    for word in ("before training", "Planted", "ERC < 1", "predicted against observed"):
        assert word in text
    with pytest.raises(InvalidFile, match="exists already"):
        Recovery(trained / "sae", trained / "activations", out=out).run()
    with pytest.raises(InvalidFile, match="trained on other activations"):
        Recovery(trained / "lens", trained / "activations").run()
    quick = {"supports": 5, "ks": (1,), "trials": 5}
    Recovery(trained / "lens", trained / "activations", other_activations=True, **quick).run()
    assert "before training" not in capsys.readouterr().out


def test_a_contradiction_is_an_error(trained, monkeypatch):
    from sae_bridge.commands.recovery import Recovery

    monkeypatch.setattr(module, "_found", lambda prepared, chosen, planted: np.zeros(len(chosen), bool))
    with pytest.raises(SystemExit, match="contradicts OMP-1"):
        Recovery(trained / "sae", trained / "activations", supports=10, ks=(1,), trials=5).run()


def test_the_gap_command_takes_saes_of_any_library(trained, capsys):
    from sae_bridge.commands.gap import Gap

    out = trained / "gap.json"
    saes, methods = (trained / "sae", trained / "lens"), ("omp", "least_squares")
    Gap(trained / "activations", saes, methods=methods, other_activations=True, out=out).run()
    rows = json.loads(out.read_text())
    assert [row["method"] for row in rows] == ["encoder", "omp", "least_squares"] * 2
    for ours, theirs in zip(rows[:3], rows[3:], strict=True):
        assert theirs["fvu"] == pytest.approx(ours["fvu"], rel=1e-3)
        assert theirs["delta"] == pytest.approx(ours["delta"], abs=1e-3)
    assert rows[1]["fvu"] < rows[0]["fvu"]
    assert "CE recovered" in capsys.readouterr().out
    with pytest.raises(InvalidFile, match="--other-activations"):
        Gap(trained / "activations", saes, no_model=True).run()
    Gap(trained / "activations", saes[:1], no_model=True).run()
    text = capsys.readouterr().out
    assert "CE recovered" not in text
    assert "omp_nonnegative" in text
    with pytest.raises(InvalidArgument, match="methods"):
        Gap(trained / "activations", saes[:1], methods=("magic",), no_model=True).run()
    with pytest.raises(InvalidArgument, match="must be different folders"):
        Gap(trained / "activations", (saes[0], saes[0]), no_model=True).run()


def test_the_codes_command_writes_what_sweeps_and_certificates_take(trained, tiny_store, capsys):
    from expander_theory import CodeLaw, planted_codes
    from expander_theory.certificates import certify_supports, check_sampled_certificate
    from expander_theory.simulation import load_codes
    from sae_bridge.commands.codes import Codes
    from sae_bridge.sae import load_sae

    (_, store), out = tiny_store, trained / "codes.npz"
    Codes(trained / "sae", trained / "activations", out=out, tokens=50).run()
    codes = load_codes(out)
    sae, _ = load_sae(trained / "sae")
    assert codes.shape == (min(50, store.count("held_out")), 2 * store.m)
    assert 1 <= np.diff(codes.indptr).max() <= K
    assert "nonzeros" in capsys.readouterr().out
    acts, indices = Coder(sae)(store.rows("held_out")[:50], "encoder")
    dense = torch.zeros(len(acts), 2 * store.m).scatter_add_(1, indices, acts.detach().float())
    np.testing.assert_allclose(codes.toarray(), dense.numpy(), atol=1e-6)
    planted = planted_codes(CodeLaw("file", file=str(out)), 2 * store.m, 2, 20, seed=0)
    rows = codes.toarray()
    for support, values in zip(planted.supports, planted.values, strict=True):
        like = (rows[:, support] == values).all(axis=1)
        assert any(np.sort(np.abs(rows[b]))[-2:].min() >= np.abs(values).min() for b in np.flatnonzero(like))
    w = sae.dictionary().normalised()
    certificate = certify_supports(w, "OMP", [1, 2], samples=40, codes=out, progress=False)
    found = check_sampled_certificate(certificate, w, out, progress=False)
    assert [line.k for line in found] == [1, 2]
    Codes(trained / "sae", trained / "activations", out=out, method="omp", split="train", tokens=10, force=True).run()
    assert load_codes(out).shape[0] == 10
    with pytest.raises(InvalidFile, match="exists already"):
        Codes(trained / "sae", trained / "activations", out=out).run()
    with pytest.raises(InvalidArgument, match=r"must end in \.npz"):
        Codes(trained / "sae", trained / "activations", out=trained / "codes.csv").run()
