"""What the other kinds of SAELens and dictionary_learning mean, in plain formulas, and ours to compare them with."""

import json

import torch
from support.foreign import MASK, K, M, N

from expander_theory import uniform_mask
from sae_bridge.sae import BlockSAE, ExpanderSAE, TopKSAE

GROUPS = (5, 20, N)
BLOCK = uniform_mask(M, N - 3, 4, seed=1)


def our_kind(activation, decoder="mask", scale=0.37, encoder="random", groups=None):
    """An SAE, float64, in evaluation mode, with nothing at its default."""
    how = {"seed": 1, "activation": activation, "encoder": encoder, "groups": groups}
    if decoder == "block":
        sae = BlockSAE(BLOCK, 3, K, **{**how, "encoder": "tied"})
    else:
        sae = TopKSAE(M, N, K, **how) if decoder == "dense" else ExpanderSAE(MASK, K, **how)
    sae, generator = sae.double(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.b_dec.normal_(generator=generator)
        sae.b_enc.normal_(std=0.3, generator=generator)
        sae.normalise_columns()
        sae.scale.fill_(scale)
        sae.threshold.fill_(1.1 if activation == "batch_topk" else 0)
        if activation == "jumprelu":
            sae.log_threshold.normal_(std=0.5, generator=generator)
        if activation == "gated":
            sae.r_mag.normal_(std=0.5, generator=generator)
            sae.b_mag.normal_(std=0.3, generator=generator)
    return sae.eval()


def gated_tensors(tensors, names=("b_gate", "r_mag", "b_mag")):
    """Those of another architecture with b_enc replaced by a gate's."""
    generator = torch.Generator().manual_seed(8)
    own = {name: 0.4 * torch.randn(N, dtype=torch.float64, generator=generator) for name in names}
    return {name: value for name, value in tensors.items() if name != "b_enc"} | own


def normalised(h, how):
    """(what is coded, the map of its reconstruction back), as SAELens computes them."""
    if how == "layer_norm":
        mean = h.mean(dim=-1, keepdim=True)
        centred = h - mean
        deviation = centred.std(dim=-1, keepdim=True)
        return centred / (deviation + 1e-5), lambda y: y * deviation + mean
    if how == "constant_norm_rescale":
        factor = h.shape[-1] ** 0.5 / h.norm(dim=-1, keepdim=True)
        return h * factor, lambda y: y / factor
    return h, lambda y: y


def lens_outputs(about, tensors, h):
    """Dense codes and reconstructions of SAELens's "standard", "jumprelu", "gated" and checkpoints of BatchTopK."""
    kind, w_dec, rescaled = about["architecture"], tensors["W_dec"], about.get("rescale_acts_by_decoder_norm", False)
    y, back = normalised(h, about["normalize_activations"])
    z = (y - tensors["b_dec"] * about["apply_b_dec_to_input"]) @ tensors["W_enc"]
    norms = w_dec.norm(dim=-1) if rescaled else torch.ones(len(w_dec), dtype=w_dec.dtype)
    if kind == "gated":
        codes = (z + tensors["b_gate"] > 0) * (z * tensors["r_mag"].exp() + tensors["b_mag"]).relu()
    elif kind == "topk":
        scores = (z + tensors["b_enc"]) * norms
        top = scores.topk(about["k"], dim=-1)
        codes = torch.zeros_like(scores).scatter(-1, top.indices, top.values.relu())
    else:
        scores = (z + tensors["b_enc"]) * norms
        least = tensors.get("threshold", tensors.get("topk_threshold", 0))
        codes = scores.relu() * (scores > least)
    return codes, back((codes / norms) @ w_dec + tensors["b_dec"])


def learned_state(kind, unit=True, dtype=torch.float64):
    """The state of a dictionary_learning class, with values drawn."""
    generator = torch.Generator().manual_seed(11)

    def draw(*shape, std=1.0):
        return (std * torch.randn(*shape, dtype=torch.float64, generator=generator)).to(dtype)

    encoder, decoder = draw(N, M), draw(M, N)
    decoder = decoder / decoder.norm(dim=0) * (1 if unit else torch.linspace(0.5, 2, N, dtype=dtype))
    k = torch.tensor(K, dtype=torch.int)
    linear = {"encoder.weight": encoder, "decoder.weight": decoder}
    matrices = {"W_enc": encoder.T, "W_dec": decoder.T, "b_enc": draw(N, std=0.3), "b_dec": draw(M)}
    one = {"k": k, "threshold": torch.tensor(2.5, dtype=dtype)}
    if kind == "AutoEncoder":
        return {**linear, "bias": draw(M), "encoder.bias": draw(N, std=0.3)}
    if kind == "AutoEncoderNew":
        return {**linear, "encoder.bias": draw(N, std=0.3), "decoder.bias": draw(M)}
    if kind in ("AutoEncoderTopK", "BatchTopKSAE"):
        threshold = -torch.ones((), dtype=dtype) if kind == "AutoEncoderTopK" else one["threshold"]
        return {**linear, "encoder.bias": draw(N, std=0.3), "b_dec": draw(M), "k": k, "threshold": threshold}
    if kind == "GatedAutoEncoder":
        biases = {name: draw(N, std=0.4) for name in ("r_mag", "gate_bias", "mag_bias")}
        return {**linear, **biases, "decoder_bias": draw(M)}
    if kind == "JumpReluAutoEncoder":
        return {**matrices, "threshold": torch.linspace(0.1, 6, N, dtype=dtype)}
    return {**matrices, **one, "group_sizes": torch.tensor(GROUPS).diff(prepend=torch.zeros(1, dtype=torch.long))}


def learned_outputs(kind, state, h):
    """Dense codes and reconstructions by dictionary_learning's formulas, as its ``load_dictionary`` gives them."""
    encoder = state["encoder.weight"] if "encoder.weight" in state else state["W_enc"].T
    decoder = state["decoder.weight"] if "decoder.weight" in state else state["W_dec"].T
    if kind == "GatedAutoEncoder":
        z = (h - state["decoder_bias"]) @ encoder.T
        codes = (z + state["gate_bias"] > 0) * (state["r_mag"].exp() * z + state["mag_bias"]).relu()
        return codes, codes @ decoder.T + state["decoder_bias"]
    bias = next(state[name] for name in ("bias", "decoder.bias", "b_dec") if name in state)
    b_enc = state["encoder.bias"] if "encoder.bias" in state else state["b_enc"]
    scores = (h if kind in ("AutoEncoderNew", "JumpReluAutoEncoder") else h - bias) @ encoder.T + b_enc
    codes = scores.relu()
    if kind == "AutoEncoder":
        norms = decoder.norm(dim=0)
        codes, decoder = codes * norms, decoder / norms
    elif kind == "AutoEncoderTopK":
        top = codes.topk(int(state["k"]), dim=1)
        codes = torch.zeros_like(codes).scatter(1, top.indices, top.values)
    elif kind != "AutoEncoderNew":
        codes = codes * (codes > state["threshold"])
    return codes, codes @ decoder.T + bias


def learned_configuration(kind, **more):
    trainer = {
        **{"dict_class": kind, "activation_dim": M, "dict_size": N, "lr": 1e-3},
        **{"layer": 5, "lm_name": "org/model", "submodule_name": "resid_post_layer_5"},
    }
    trainer |= {"k": K} if "TopK" in kind else {}
    return {"trainer": {**trainer, **more}, "buffer": {"ctx_len": 64, "io": "out", "d_submodule": M}}


def write_learned(folder, about, state):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps(about))
    return folder
