"""JumpReLU and Gated codes on every decoder, against products with densified matrices and the papers' formulas."""

import json

import pytest
import torch

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from expander_theory.results.files import read_arrays, stored_sha256, write_arrays
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE, load_sae, pruned, storage
from sae_bridge.sae.thresholded import above, heaviside, joined_codes, jump

MASK, NARROW = uniform_mask(12, 30, 4, seed=0), uniform_mask(12, 25, 4, seed=0)
MADE = {
    "expander": lambda **how: ExpanderSAE(MASK, 5, seed=1, **how),
    "expander-warm": lambda **how: ExpanderSAE(MASK, 5, seed=1, encoder="random", **how),
    "dense": lambda **how: TopKSAE(12, 30, 5, seed=1, **how),
    "dense-warm": lambda **how: TopKSAE(12, 30, 5, seed=1, encoder="random", **how),
    "block": lambda **how: BlockSAE(NARROW, 5, 5, seed=1, **how),
}
every_decoder = pytest.mark.parametrize("make", MADE.values(), ids=MADE)
every_kind = pytest.mark.parametrize("activation", ["jumprelu", "gated"])


def seeded(shape, seed, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled(make, activation):
    sae = make(activation=activation).double()
    with torch.no_grad():
        sae.scale.fill_(0.7)
        sae.b_dec.copy_(seeded(12, 0, 0.3))
        sae.b_enc.copy_(seeded(30, 1, 0.2))
        if activation == "jumprelu":
            sae.log_threshold.copy_(seeded(30, 2, 0.5) - 0.5)
        else:
            sae.r_mag.copy_(seeded(30, 3, 0.3))
            sae.b_mag.copy_(seeded(30, 4, 0.3))
    return sae


def densified(sae, values):
    """(n, m), differentiable in the stored values."""
    if sae.rows is None:
        return values
    masked = values.new_zeros(len(sae.rows), sae.m).scatter(1, sae.rows.long(), values)
    return masked if sae.dense is None else torch.cat([sae.dense, masked])


def scattered(sae, acts, indices):
    """Codes as (B, n)."""
    return acts.new_zeros(len(acts), sae.n).scatter_add(1, indices, acts)


def formula(sae, x):
    """Codes (B, n) and gates (B, n) of x, in the papers' words."""
    products = x @ densified(sae, sae.encoder_weight).T
    if sae.activation == "jumprelu":
        z, theta = products + sae.b_enc, sae.thresholds
        return torch.where(z > theta, z, 0), (z > theta).double()
    gate = products + sae.b_enc
    magnitudes = (sae.r_mag.exp() * products + sae.b_mag).relu()
    return torch.where(gate > 0, magnitudes, 0), gate.relu()


@every_decoder
@every_kind
def test_codes_and_reconstructions_are_the_formula(make, activation):
    sae, h = filled(make, activation).eval(), seeded((9, 12), 5)
    expected, gates = formula(sae, 0.7 * h - sae.b_dec)
    reconstruction, acts, indices = sae(h)
    torch.testing.assert_close(scattered(sae, acts, indices), expected)
    torch.testing.assert_close(reconstruction, (expected @ densified(sae, sae.weight) + sae.b_dec) / 0.7)
    most = int((gates > 0).sum(dim=1).max())
    assert acts.shape[1] == most, "K is the largest number above the threshold, neither more nor fewer"
    assert (indices.sort(dim=1).values.diff(dim=1) > 0).all(), "no feature comes twice"


@every_decoder
@every_kind
def test_gradients_are_those_of_plain_products(make, activation):
    """Of every parameter, through codes, gates and the decoder; JumpReLU's thresholds have no derivative here."""
    sae, x = filled(make, activation), seeded((40, 12), 6).requires_grad_()
    weights, parameters = seeded((40, 30), 7), [x, *sae.parameters()]

    def loss(code, gates):
        gated = 0 if activation == "jumprelu" else (gates * weights).sum()
        return (code @ densified(sae, sae.weight)).square().sum() + gated

    acts, indices, gates = sae.thresholded(x)
    combined = sae.combine(acts, indices).square().sum()
    own = 0 if activation == "jumprelu" else (gates * weights.gather(1, indices)).sum()
    found = torch.autograd.grad(combined + own, parameters, allow_unused=True)
    expected = torch.autograd.grad(loss(*formula(sae, x)), parameters, allow_unused=True)
    for (name, parameter), *both in zip([("x", x), *sae.named_parameters()], found, expected, strict=True):
        a, b = (torch.zeros_like(parameter) if gradient is None else gradient for gradient in both)
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")
        assert b.any() == (name not in ("log_threshold", "b_dec"))


def test_jump_and_step_have_the_pseudo_derivatives_of_the_paper():
    theta = torch.tensor([2.0] * 5, requires_grad=True)
    margins = torch.tensor([-0.3, -0.2, 0.1, 0.24, 1.0], requires_grad=True)
    out = jump(margins, theta, 0.5)
    torch.testing.assert_close(out, torch.tensor([0, 0, 2.1, 2.24, 3.0]))
    out.backward(torch.tensor([1.0, 10.0, 100.0, -1.0, 7.0]))
    assert margins.grad.tolist() == [0, 0, 100, -1, 7]
    # -(theta / epsilon) K: -4 inside |z - theta| < .25, 0 outside, times what comes down
    assert theta.grad.tolist() == [0, -40, -400, 4, 0]
    theta.grad = None
    step = heaviside(margins, theta, 0.5)
    assert step.tolist() == [0, 0, 1, 1, 1]
    margins.grad = None
    step.backward(torch.tensor([1.0, 10.0, 100.0, -1.0, 7.0]))
    assert theta.grad.tolist() == [0, -20, -200, 2, 0]
    assert margins.grad is None
    theta.grad = None
    jump(margins, theta, 0.0).sum().backward()
    assert not theta.grad.any()


@every_decoder
def test_thresholds_get_the_pseudo_gradient_of_all_scores_in_the_window(make):
    """Features just below their threshold too, which have no code; summed over tokens, and times theta for its log."""
    sae, x, bandwidth = filled(make, "jumprelu"), seeded((60, 12), 8), 0.3
    acts, indices, gates = sae.thresholded(x, bandwidth)
    down = seeded((60, 12), 9)
    (found,) = torch.autograd.grad((sae.combine(acts, indices) * down).sum() + 3 * gates.sum(), sae.log_threshold)
    z = x @ densified(sae, sae.encoder_weight).T + sae.b_enc
    theta = sae.thresholds.detach()
    window = ((z - theta).abs() < bandwidth / 2).double()
    towards = down @ densified(sae, sae.weight).T  # of the loss in each code
    expected = (-(theta / bandwidth) * window * towards - 3 * window / bandwidth).sum(dim=0) * theta
    assert window.sum() > 30
    torch.testing.assert_close(found, expected.detach())
    code, _ = formula(sae, x)
    torch.testing.assert_close(scattered(sae, acts, indices), code)


@every_kind
def test_what_is_asked_for_first_changes_no_bit(activation):
    x, found = seeded((16, 12), 10), []
    for asked in (1, 7, 30):
        sae = filled(MADE["expander"], activation)
        sae.asked = asked
        acts, indices = sae.code(x)
        acts.square().sum().backward()
        found.append((acts, indices, sae.weight.grad))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@every_decoder
@every_kind
def test_no_feature_and_every_feature(make, activation):
    sae, x = filled(make, activation), seeded((3, 12), 11)
    for shift, count in ((-1e3, 0), (1e3, 30)):
        with torch.no_grad():
            sae.b_enc.fill_(shift)
        acts, indices, gates = sae.thresholded(x)
        assert acts.shape[1] == max(1, count)
        assert ((gates > 0).sum(dim=1) == count).all()
        assert sae.combine(acts, indices).isfinite().all()
    assert sae.code(x[:0])[0].shape == (0, 1)


def test_joined_codes_are_padded_to_the_widest():
    acts, indices = joined_codes([(torch.ones(2, 1), torch.full((2, 1), 7)), (torch.ones(1, 3), torch.full((1, 3), 8))])
    assert acts.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 1]]
    assert indices.tolist() == [[7, 0, 0], [7, 0, 0], [8, 8, 8]]
    assert joined_codes([(torch.ones(2, 1), torch.full((2, 1), 7))], 4)[0].shape == (2, 4)


def test_above_asks_until_the_smallest_is_below():
    scores = torch.tensor([[5.0, 4, 3, 2, 1, 0], [1.5, 1, 0, 0, 0, 0]])
    asked = []

    def strongest(k):
        asked.append(k)
        return scores[:, :k], torch.arange(6).expand(2, 6)[:, :k]

    found, indices = above(strongest, 1.25, 1, 6)
    assert found.tolist() == scores[:, :4].tolist()
    assert indices.shape == (2, 4)
    assert asked == [1, 2, 4, 6]
    assert above(strongest, 9.0, 3, 6)[0].shape == (2, 1)


@every_decoder
@every_kind
def test_first_thresholds_give_k_active_features_or_are_what_is_said(make, activation):
    sae, h = make(activation=activation), seeded((500, 12), 12).float()
    sae.fit_normalisation(h.mean(dim=0), float(h.double().square().sum(dim=1).mean()))
    sae.fit_thresholds(h)
    assert float((sae.encode(h)[0] > 0).sum(dim=1).double().mean()) == pytest.approx(5, abs=0.05)
    sae.fit_thresholds(h, 0.25)
    at = sae.thresholds if activation == "jumprelu" else -sae.b_enc
    torch.testing.assert_close(at.detach(), torch.full((30,), 0.25 * 12**0.5))
    for wrong in (-1.0, float("nan"), *([0.0] if activation == "jumprelu" else [])):
        with pytest.raises(InvalidArgument, match="first"):
            sae.fit_thresholds(h, wrong)


@every_decoder
@every_kind
def test_saved_and_loaded_it_is_the_same(make, activation, tmp_path):
    sae = filled(make, activation).eval()
    sae.save(tmp_path, {})
    loaded, _ = load_sae(tmp_path)
    assert loaded.activation == activation
    h = seeded((7, 12), 13)
    for a, b in zip(sae(h), loaded(h), strict=True):
        assert torch.equal(a, b)
    own = {"jumprelu": {"log_threshold"}, "gated": {"r_mag", "b_mag"}}[activation]
    plain = {name for name, _ in make().named_parameters()}
    assert {name for name, _ in loaded.named_parameters()} == plain | own
    extra = storage(sae)["parameters"] - storage(make())["parameters"]
    assert extra == 30 * len(own)


@pytest.mark.parametrize(
    ("activation", "name", "value", "match"),
    [
        ("jumprelu", "log_threshold", None, "lacks or adds log_threshold"),
        ("gated", "r_mag", None, "lacks or adds r_mag"),
        ("jumprelu", "log_threshold", 1e4, "log_threshold whose exponential is no positive number"),
        ("jumprelu", "log_threshold", -1e4, "log_threshold whose exponential"),
        ("gated", "r_mag", 1e4, "r_mag whose exponential"),
        ("gated", "b_mag", float("nan"), "NaN or infinity in b_mag"),
        ("topk", "log_threshold", 0.0, "lacks or adds log_threshold"),
    ],
)
def test_damaged_files_are_refused(activation, name, value, match, tmp_path):
    MADE["expander"](activation=activation).save(tmp_path, {})
    path = tmp_path / "sae_weights.safetensors"
    fields, arrays = read_arrays(path, "expander-sae", 2)
    if value is None:
        del arrays[name]
    else:
        arrays[name] = 0 * arrays["b_enc"] + arrays["b_enc"].dtype.type(value)
    write_arrays(path, "expander-sae", 2, fields, arrays)
    about = json.loads((tmp_path / "cfg.json").read_text()) | {"weights_sha256": stored_sha256(path)}
    (tmp_path / "cfg.json").write_text(json.dumps(about))
    with pytest.raises(InvalidFile, match=match):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"activation": "relu"}, "activation"),
        ({"activation": "jumprelu", "selection": "magnitude"}, "must be 'signed' for jumprelu"),
        ({"activation": "gated", "pursuit_steps": 5}, "be 1 for gated"),
        ({"activation": "jumprelu", "encoder": "omp"}, "must be 'topk' for the encoder 'omp'"),
        ({"activation": "jumprelu", "groups": (10, 30)}, "must be 'topk' or 'batch_topk' with groups"),
        ({"encoder": "omp", "groups": (10, 30)}, "must be no pursuit with groups"),
        ({"groups": (10, 10, 30)}, "groups"),
        ({"groups": (10, 29)}, "the last n = 30"),
        ({"groups": (0, 30)}, "groups"),
        ({"groups": ()}, "groups"),
    ],
)
def test_options_that_do_not_go_together_are_refused(how, match):
    with pytest.raises(InvalidArgument, match=match):
        MADE["expander"](**how)


def test_only_jumprelu_has_thresholds():
    with pytest.raises(InvalidArgument, match="must be 'jumprelu' to have thresholds"):
        MADE["dense"]().thresholds  # noqa: B018
    with pytest.raises(InvalidArgument, match="activation = 'topk'"):
        MADE["dense"]().thresholded(torch.zeros(2, 12))


@every_decoder
@every_kind
def test_the_auxiliary_reconstruction_passes_over_thresholds_and_gates(make, activation):
    sae, x, features = filled(make, activation), seeded((8, 12), 15), torch.tensor([0, 3, 4, 11, 29])
    e, w = (densified(sae, values)[features] for values in (sae.encoder_weight, sae.weight))
    if activation == "gated":
        with torch.no_grad():
            sae.b_enc.fill_(-1e3)  # no gate is open
        magnitudes = (sae.r_mag.exp()[features] * (x @ e.T) + sae.b_mag[features]).relu()
    else:
        magnitudes = (x @ e.T + sae.b_enc[features]).relu()
    values, places = magnitudes.topk(3, dim=1)
    expected = torch.zeros_like(magnitudes).scatter(1, places, values) @ w
    torch.testing.assert_close(sae.reconstruction_by(features, x, 3), expected)


@every_kind
def test_pruned_keeps_thresholds(activation):
    sae = filled(MADE["dense"], activation).float()
    kept = pruned(sae, 12)  # all entries: nothing is lost
    h = seeded((6, 12), 14).float()
    torch.testing.assert_close(scattered(kept, *kept.encode(h)), scattered(sae, *sae.encode(h)))
    assert pruned(sae, 3).activation == activation


def test_groups_are_kept_in_files(tmp_path):
    sae = ExpanderSAE(MASK, 5, activation="batch_topk", groups=(8, 20, 30))
    sae.save(tmp_path, {})
    assert json.loads((tmp_path / "cfg.json").read_text())["groups"] == [8, 20, 30]
    assert load_sae(tmp_path)[0].groups == (8, 20, 30)
    about = json.loads((tmp_path / "cfg.json").read_text()) | {"groups": [8, 30]}
    (tmp_path / "cfg.json").write_text(json.dumps(about))
    with pytest.raises(InvalidFile, match="altered: groups"):
        load_sae(tmp_path)
