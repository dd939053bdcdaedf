"""SAEs of ours with everything set, and what SAELens's and sparsify's folders mean in plain formulas."""

import json

import torch
from safetensors.torch import load_file, save_file

from expander_theory import uniform_mask
from sae_bridge.sae.sae import ExpanderSAE, TopKSAE

M, N, K = 20, 50, 6
MASK = uniform_mask(M, N, 4, seed=0)
FIELDS = {"language_model": "some/model", "layer": 3, "hook": "resid_post", "context": 64, "policy": {"bos_id": 1}}


def ours(mask=MASK, activation="topk", selection="signed", encoder="random", scale=0.37, k=K):
    """An SAE, float64, in evaluation mode, whose biases, scale and threshold are not trivial."""
    how = {"seed": 1, "activation": activation, "selection": selection, "encoder": encoder}
    sae = (TopKSAE(M, N, k, **how) if mask is None else ExpanderSAE(mask, k, **how)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sae.b_dec.normal_(generator=generator)
        sae.b_enc.normal_(std=0.3, generator=generator)
        sae.normalise_columns()  # in float64
        sae.scale.fill_(scale)
        sae.threshold.fill_(1.1 if activation == "batch_topk" else 0)
    return sae.eval()


def activations(count=40, m=M, seed=5):
    return 4 * torch.randn(count, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 1


def dense(acts, indices, n=N):
    """CodeLaw as (B, n)."""
    return acts.new_zeros(len(acts), n).scatter_add(1, indices, acts)


def outputs(sae, h):
    """Dense codes and reconstructions of an object of ours."""
    with torch.no_grad():
        acts, indices = sae.encode(h)
        return dense(acts, indices, sae.n), sae.decode(acts, indices)


def saelens_tensors(m=M, n=N, seed=0, unit=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = {name: torch.randn(*shape, dtype=torch.float64, generator=generator) for name, shape in (
        ("W_enc", (m, n)), ("W_dec", (n, m)), ("b_enc", (n,)), ("b_dec", (m,)),
    )}  # fmt: skip
    norms = draw["W_dec"].norm(dim=1, keepdim=True)
    draw["W_dec"] /= norms if unit else norms / (0.5 + torch.arange(n, dtype=torch.float64)[:, None] / n)
    draw["b_enc"] *= 0.3
    return {name: value.to(dtype) for name, value in draw.items()}


def saelens_configuration(architecture="topk", m=M, n=N, **more):
    return {
        "architecture": architecture, "d_in": m, "d_sae": n, "dtype": "float64", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.0", "model_name": "gpt2", "hook_name": "blocks.5.hook_resid_pre"},
        **more,
    }  # fmt: skip


def write(folder, about, tensors, weights="sae_weights.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / weights)
    (folder / "cfg.json").write_text(json.dumps(about))
    return folder


def read(folder, weights="sae_weights.safetensors"):
    return json.loads((folder / "cfg.json").read_text()), load_file(folder / weights)


def saelens_outputs(about, tensors, h):
    """Dense codes and reconstructions by SAELens's formulas."""
    kind, w_dec = about["architecture"], tensors["W_dec"]
    x = h - tensors["b_dec"] if about["apply_b_dec_to_input"] else h
    scores = x @ tensors["W_enc"] + tensors["b_enc"]
    norms = w_dec.norm(dim=1)
    rescaled = about.get("rescale_acts_by_decoder_norm", False)
    if rescaled:
        scores = scores * norms
    if kind in ("topk", "abstopk"):
        size = scores.abs() if kind == "abstopk" else scores
        chosen = torch.zeros_like(scores).scatter(1, size.topk(about["k"], dim=1).indices, 1)
        codes = chosen * (scores if kind == "abstopk" else scores.clamp_min(0))
    else:
        least = {"standard": 0, "jumprelu": tensors.get("threshold"), "batchtopk": tensors.get("topk_threshold")}[kind]
        codes = scores.clamp_min(0) * (scores > least)
    return codes, (codes / norms if rescaled else codes) @ w_dec + tensors["b_dec"]
