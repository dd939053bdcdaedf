"""MLP and attention of many architectures: random blocks that transformers builds, against their own modules."""

import logging
import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from expander_theory import InvalidArgument
from sae_bridge.models import HOOKS, LanguageModel

SIZES = {"vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
ROTARY = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = {**ROTARY, "num_key_value_heads": 2}
WIDE = {**GROUPED, "head_dim": 16}
LOCAL = {**WIDE, "sliding_window": 4}
EXPERTS = {**GROUPED, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
OPT = {**SIZES, "ffn_dim": 48, "max_position_embeddings": 64}
OLD = {"vocab_size": 24, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}

ARCHITECTURES = {
    # name: configuration, then the modules of a block whose outputs are added: attention, MLP
    "llama": (GROUPED, "self_attn", "mlp"),
    "qwen2": (GROUPED, "self_attn", "mlp"),
    "qwen3": (WIDE, "self_attn", "mlp"),
    "granite": ({**GROUPED, "residual_multiplier": 0.25}, "self_attn", "mlp"),
    "gemma2": (LOCAL, "post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3_text": ({**LOCAL, "sliding_window_pattern": 2}, "post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": (GROUPED, "post_attention_layernorm", "post_feedforward_layernorm"),  # whose MLP reads the stream itself
    "gpt2": (OLD, "attn", "mlp"),
    "gptj": ({**OLD, "rotary_dim": 4}, "attn", "mlp"),
    "gpt_neox": (ROTARY, "attention", "mlp"),
    "phi": (ROTARY, "self_attn", "mlp"),
    "stablelm": (GROUPED, "self_attn", "mlp"),
    "falcon": (SIZES, "self_attention", "mlp"),  # which adds the attention in place to what its MLP returned
    "opt": ({**OPT, "word_embed_proj_dim": 32}, "self_attn", "fc2"),  # fc1 reads (batch * context, m)
    "bloom": (SIZES, "self_attention.dense", "mlp.dense_4h_to_h"),  # the stream is added inside both
    "mixtral": (EXPERTS, "self_attn", "mlp"),
    "qwen3_moe": (EXPERTS, "self_attn", "mlp"),
}
POST_NORM = {"opt": {**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}, "openai-gpt": OLD}
TOKENS = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [3, 1, 4, 1, 5, 9, 2]])
LAYER = 1
PLACES = [(layer, hook) for layer in (0, 1) for hook in HOOKS]


def build(architecture, sizes, seed=0, spread=4.0):
    """Random weights, spread so that what blocks add is of the size of the stream; biases and norms are random too."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, bos_token_id=1, eos_token_id=2, pad_token_id=0, **sizes)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.mul_(spread)
    return LanguageModel(f"tiny {architecture}", network, None)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def built(request):
    sizes, attention, mlp = ARCHITECTURES[request.param]
    return build(request.param, sizes), attention, mlp


def spied(model, layer, name):
    """Arguments and output of the only call of a module of a block."""
    calls = []
    handle = (
        model.layers[layer]
        .get_submodule(name)
        .register_forward_hook(lambda _, args, kwargs, output: calls.append((args, kwargs, output)), with_kwargs=True)
    )
    model.logits(TOKENS)
    handle.remove()
    (call,) = calls
    return call


def rows(value):
    value = value[0] if isinstance(value, tuple) else value
    return value.reshape(2, 7, -1)


def test_what_blocks_add_is_what_attention_and_mlp_add(built):
    model, attention, mlp = built
    factor = getattr(model.model.config, "residual_multiplier", 1)
    for layer in range(3):
        before, after, attn, out = model.activations_at(
            TOKENS, [(layer, hook) for hook in ("resid_pre", "resid_post", "attn_out", "mlp_out")]
        )
        torch.testing.assert_close(before + factor * (attn + out), after, atol=1e-5, rtol=1e-5)
        for part in (attn, out):
            assert part.abs().amax() > 0.05  # neither is lost in the tolerance
    torch.testing.assert_close(model.activations(TOKENS, LAYER, "attn_out"), rows(spied(model, LAYER, attention)[2]))
    if not model.name.endswith("falcon"):  # whose output is no longer what it was
        torch.testing.assert_close(model.activations(TOKENS, LAYER, "mlp_out"), rows(spied(model, LAYER, mlp)[2]))


def test_heads_and_mlp_lead_to_the_outputs(built):
    """attn_z through the output projection, and mlp_in through the MLP, with the modules themselves."""
    model, _, mlp = built
    block = model.layers[LAYER]
    point = model._point(LAYER, "attn_z")
    z, read = model.activations_at(TOKENS, [(LAYER, "attn_z"), (LAYER, "mlp_in")])
    name = next(name for name, module in block.named_modules() if module is point.module)
    assert re.fullmatch(r".*\.(o_proj|out_proj|dense|c_proj)", name)
    module, weight = point.module, point.module.weight
    wanted = z @ (weight if type(module).__name__ == "Conv1D" else weight.T)
    wanted = wanted if getattr(module, "bias", None) is None else wanted + module.bias
    after_norm = model.activations(TOKENS, LAYER, "attn_out")
    if "layernorm" in ARCHITECTURES[model.name.split()[1]][1]:
        wanted = block.get_submodule("post_attention_layernorm")(wanted)
    torch.testing.assert_close(wanted, after_norm, atol=1e-5, rtol=1e-4)

    reader = model._point(LAYER, "mlp_in").module
    out = model.activations(TOKENS, LAYER, "mlp_out")
    if mlp == "fc2":
        found = block.fc2(block.activation_fn(block.fc1(read)))
    elif mlp == "mlp.dense_4h_to_h":
        found = block.mlp(read, torch.zeros_like(read))
    else:
        found = rows(reader(read))
        if "layernorm" in mlp:
            found = block.get_submodule(mlp)(found)
    torch.testing.assert_close(found, out, atol=1e-5, rtol=1e-4)


def test_the_residual_stream_is_that_of_transformers(built):
    model, *_ = built
    with torch.no_grad():
        hidden = model.model(TOKENS, output_hidden_states=True).hidden_states
    for layer in range(3):
        assert torch.equal(model.activations(TOKENS, layer, "resid_pre"), hidden[layer])
    for layer in range(2):
        assert torch.equal(model.activations(TOKENS, layer, "resid_post"), hidden[layer + 1])


def test_widths(built):
    model, *_ = built
    config = model.model.config
    heads = config.num_attention_heads * (getattr(config, "head_dim", None) or 8)
    for layer, hook in PLACES:
        assert model.width(layer, hook) == (heads if hook == "attn_z" else 32)
    assert (heads == 64) == (model.name.split()[1] in ("qwen3", "gemma2", "gemma3_text"))


@pytest.mark.parametrize("hook", HOOKS)
def test_what_is_put_back_changes_nothing_and_all_else_does(built, hook):
    model, *_ = built
    clean = model.logits(TOKENS)
    stored = model.activations(TOKENS, LAYER, hook)
    kept = stored.clone()
    with model.intervene(LAYER, hook, lambda _: stored):
        assert torch.equal(model.logits(TOKENS), clean)
    assert torch.equal(stored, kept)  # Falcon's blocks go on in place
    with model.intervene(LAYER, hook, lambda h: h):
        assert torch.equal(model.logits(TOKENS), clean)
    model.require_steerable(LAYER, hook)
    other = stored + torch.randn(stored.shape, generator=torch.manual_seed(1))
    with model.intervene(LAYER, hook, lambda _: other):
        wanted = model.logits(TOKENS)
        assert torch.equal(model.activations(TOKENS, LAYER, hook), other)
    assert not torch.allclose(wanted, clean, atol=1e-3)
    torch.testing.assert_close(model.logits_from(TOKENS, LAYER, hook, other), wanted)
    torch.testing.assert_close(model.logits_from(TOKENS, LAYER, hook, stored), clean)
    assert torch.equal(model.logits(TOKENS), clean)


def test_one_run_gives_several_places_and_ends_with_the_last(built):
    model, *_ = built
    alone = [model.activations(TOKENS, *place) for place in PLACES]
    runs = [0, 0, 0]

    def count(i):
        return lambda *_: runs.__setitem__(i, runs[i] + 1)

    handles = [next(iter(model.layers[i].children())).register_forward_pre_hook(count(i)) for i in range(3)]
    together = model.activations_at(TOKENS, [*reversed(PLACES), PLACES[3]])
    for handle in handles:
        handle.remove()
    assert runs == [1, 1, 0]
    for found, wanted in zip(together, [*reversed(alone), alone[3]], strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("hook", ["mlp_in", "mlp_out", "attn_out", "attn_z"])
@pytest.mark.parametrize("architecture", ["gpt_neox", "falcon", "opt"])  # whose norms work in float64
def test_the_gradient_is_that_of_finite_differences(architecture, hook):
    model = build(architecture, ARCHITECTURES[architecture][0])
    model.model.double()
    hidden = model.activations(TOKENS, LAYER, hook).requires_grad_()
    weights = torch.randn(2, 7, 24, generator=torch.manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * model.logits_from(TOKENS, LAYER, hook, hidden)).sum(), hidden)
    step = 1e-6 * torch.randn(hidden.shape, generator=torch.manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        ends = [(weights * model.logits_from(TOKENS, LAYER, hook, hidden + sign * step)).sum() for sign in (1, -1)]
    torch.testing.assert_close((gradient * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-4, atol=0)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.model.parameters())


def test_hook_points_are_found_in_half_precision_and_within_interventions():
    """Where the stream is so large that bfloat16 does not show what is added, and where a change is made for a batch
    of other shape than that of the run that finds them."""
    sizes = ARCHITECTURES["gemma2"][0]
    model = build("gemma2", sizes)
    wide = {hook: model._point(LAYER, hook) for hook in HOOKS}
    names = {id(module): name for name, module in model.model.named_modules()}
    half = build("gemma2", sizes)
    half.model.bfloat16()
    fixed = half.activations(TOKENS, 0, "resid_post") * 1000
    with half.intervene(0, "resid_post", lambda _: fixed), half.intervene(1, "resid_pre", lambda _: fixed):
        found = {hook: half._point(LAYER, hook) for hook in HOOKS}
    own = {id(module): name for name, module in half.model.named_modules()}
    for hook in HOOKS:
        assert own[id(found[hook].module)] == names[id(wide[hook].module)]
        assert (found[hook].side, found[hook].width) == (wide[hook].side, wide[hook].width)
        assert half.activations(TOKENS, LAYER, hook).dtype == torch.bfloat16
    assert all(parameter.dtype == torch.bfloat16 for parameter in half.model.parameters())


@pytest.mark.parametrize("architecture", POST_NORM)
def test_post_norm_models_have_no_outputs_that_are_added(architecture):
    model = build(architecture, POST_NORM[architecture])
    block = type(model.layers[0]).__name__
    for hook in ("mlp_out", "attn_out"):
        message = (
            rf"hook = {hook} of layer 1 of tiny {architecture}: does not exist: its block \({block}\) does not add"
        )
        with pytest.raises(InvalidArgument, match=message) as error:
            model.activations(TOKENS, 1, hook)
        assert str(error.value).endswith("there are resid_pre, resid_post, mlp_in, attn_z")
    clean = model.logits(TOKENS)
    for hook in ("resid_pre", "resid_post", "mlp_in", "attn_z"):  # these are what they are all the same
        found = model.activations(TOKENS, 1, hook)
        torch.testing.assert_close(model.logits_from(TOKENS, 1, hook, found), clean)


def test_layers_without_attention_are_named():
    sizes = {**GROUPED, "layer_types": ["conv", "full_attention", "conv"]}
    model = build("lfm2", sizes)
    for hook in ("attn_out", "attn_z"):
        assert model.width(1, hook) == 32
        with pytest.raises(InvalidArgument, match=rf"{hook} of layer 2 .*has no attention; there are .*, mlp_out$"):
            model.width(2, hook)
    before, after, out = model.activations_at(TOKENS, [(0, "resid_pre"), (0, "resid_post"), (0, "mlp_out")])
    other = rows(spied(model, 0, "conv")[2])
    torch.testing.assert_close(before + other + out, after)


def test_attention_beside_a_state_space_is_found():
    """Falcon-H1: three parts add to the stream."""
    sizes = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
    model = build("falcon_h1", {**GROUPED, **sizes, "attention_out_multiplier": 0.5})
    before, after, attn, out = model.activations_at(
        TOKENS, [(1, hook) for hook in ("resid_pre", "resid_post", "attn_out", "mlp_out")]
    )
    other = model.model.config.ssm_out_multiplier * rows(spied(model, 1, "mamba")[2])
    torch.testing.assert_close(before + 0.5 * attn + other + out, after, atol=1e-5, rtol=1e-4)


def test_two_mlps_are_named():
    model = build("granitemoeshared", {**EXPERTS, "shared_intermediate_size": 16})
    with pytest.raises(InvalidArgument, match="has more than one MLP: block_sparse_moe, shared_mlp; there are"):
        model.width(0, "mlp_out")
    assert model.width(0, "attn_out") == 32


def test_bad_places_are_named():
    model = build("qwen3", WIDE)
    with pytest.raises(InvalidArgument, match=r"places = \[\]: must name at least one"):
        model.activations_at(TOKENS, [])
    with pytest.raises(InvalidArgument, match="hook = 'mlp_mid': must be one of resid_pre, resid_post, mlp_in"):
        model.width(0, "mlp_mid")
    with pytest.raises(InvalidArgument, match="layer = 3: must be between 0 and 2"):
        model.activations_at(TOKENS, [(0, "mlp_in"), (3, "mlp_in")])
    with pytest.raises(InvalidArgument, match=r"hidden = \(2, 7, 32\): must have the shape \(2, 7, 64\)"):
        model.logits_from(TOKENS, 0, "attn_z", torch.zeros(2, 7, 32))
    for parameter in model.layers[2].mlp.parameters():
        torch.nn.init.zeros_(parameter)
    model.require_steerable(2, "attn_z")
    with pytest.raises(InvalidArgument, match=r"mlp_in of layer 2 of .* changes nothing"):
        model.require_steerable(2, "mlp_in")


def test_the_default_model_has_all_hook_points(default_model):
    ids = default_model.tokenizer("Rain fell on the old town all day long.", return_tensors="pt")["input_ids"]
    for layer in (0, 14, 29):
        widths = [default_model.width(layer, hook) for hook in HOOKS]
        assert widths == [576] * 6
        before, after, attn, out = default_model.activations_at(
            ids, [(layer, hook) for hook in ("resid_pre", "resid_post", "attn_out", "mlp_out")]
        )
        assert float((after - before - attn - out).abs().amax()) <= 1e-6 * float(after.abs().amax())
