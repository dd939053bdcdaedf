"""The transcoder against its formulas, and its folders."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pairs import M_IN, M_OUT, PairedStream

from expander_theory import InvalidArgument, InvalidFile, uniform_mask
from expander_theory.results.files import read_arrays, write_arrays
from sae_bridge.sae.loading import load_sae
from sae_bridge.transcoders import (
    BlockTranscoder,
    DenseTranscoder,
    ExpanderTranscoder,
    TranscoderTraining,
    load_transcoder,
    transcoder,
    transcoder_storage,
)

N, K = 40, 5
OUT, IN = uniform_mask(M_OUT, N, 4, seed=1), uniform_mask(M_IN, N, 3, seed=2)
SHAPES = {
    "dense": {},
    "expander": {"mask": OUT},
    "both": {"mask": OUT, "mask_in": IN},
    "block": {"mask": uniform_mask(M_OUT, N - 6, 4, seed=1), "dense_columns": 6},
    "skip": {"mask": OUT, "skip": True},
    "magnitude": {"mask": OUT, "selection": "magnitude"},
    "batch": {"mask_in": IN, "activation": "batch_topk"},
}


def filled(**how):
    """A transcoder, float64, in evaluation mode, nothing of which is trivial."""
    made = transcoder(M_IN, M_OUT, N, K, seed=3, **how).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name in ("b_enc", "b_dec", "b_in", *(("skip",) if how.get("skip") else ())):
            getattr(made, name).normal_(std=0.5, generator=generator)
        made.normalise_columns()
        made.scale.fill_(0.4)
        made.scale_in.fill_(1.7)
        made.threshold.fill_(1.2 if how.get("activation") == "batch_topk" else 0)
    return made.eval()


def spread(values, rows, width):
    """Stored values as (n, width)."""
    if rows is None:
        return values.detach().numpy()
    dense = np.zeros((len(values), width))
    np.put_along_axis(dense, rows.numpy().astype(np.int64), values.detach().numpy(), axis=1)
    return dense


def by_hand(made, h):
    """Dense codes and outputs in NumPy, token by token."""
    e, w = spread(made.encoder, made.rows_in, M_IN), spread(made.weight, made.rows, M_OUT)
    if made.dense is not None:
        w = np.concatenate([made.dense.detach().numpy(), w])
    b_enc, b_dec, b_in = (p.detach().numpy() for p in (made.b_enc, made.b_dec, made.b_in))
    x = float(made.scale_in) * h.numpy() - b_in
    scores = x @ e.T + b_enc
    codes = np.zeros_like(scores)
    for token, row in enumerate(scores):
        if made.activation == "batch_topk":
            codes[token] = np.where(row > float(made.threshold), row, 0)
            continue
        chosen = np.argsort(-(np.abs(row) if made.selection == "magnitude" else row))[:K]
        codes[token, chosen] = row[chosen] if made.selection == "magnitude" else np.maximum(row[chosen], 0)
    skip = 0 if made.skip is None else x @ made.skip.detach().numpy().T
    return codes, (codes @ w + b_dec + skip) / float(made.scale)


def inputs(count=30):
    return PairedStream().data[:count].double()


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_and_outputs_by_hand(shape):
    made, h = filled(**SHAPES[shape]), inputs()
    codes, outputs = by_hand(made, h[:, :M_IN])
    with torch.no_grad():
        y, acts, indices = made(h[:, :M_IN])
    found = torch.zeros(len(h), N, dtype=torch.float64).scatter_add(1, indices, acts)
    np.testing.assert_allclose(found.numpy(), codes, atol=1e-12)
    np.testing.assert_allclose(y.detach().numpy(), outputs, atol=1e-12)
    assert (codes != 0).any(axis=0).sum() > N / 3
    with torch.no_grad():
        assert torch.equal(made(h)[0], y)  # of a whole batch, the inputs are read alone


@pytest.mark.parametrize("shape", SHAPES)
def test_the_target_of_training_is_the_output_less_what_is_added_to_the_features(shape):
    made, h = filled(**SHAPES[shape]), inputs()
    with torch.no_grad():
        x = made.centred(h)
        acts, indices = made.code(x)
        missed = made.target(h, x) - made.combine(acts, indices)
        y, _, _ = made(h)
    torch.testing.assert_close(missed / made.scale, h[:, M_IN:] - y, atol=1e-12, rtol=1e-10)


def test_dead_features_alone_decode_what_they_have():
    made, h = filled(**SHAPES["both"]), inputs()
    dead = torch.tensor([1, 4, 5, 17, 30])
    x = made.centred(h)
    scores = x @ torch.from_numpy(spread(made.encoder, made.rows_in, M_IN))[dead].T + made.b_enc[dead]
    best = scores.topk(2, dim=1)
    columns = torch.from_numpy(spread(made.weight, made.rows, M_OUT))[dead]
    expected = torch.zeros_like(scores).scatter(1, best.indices, best.values.relu()) @ columns
    torch.testing.assert_close(made.reconstruction_by(dead, x, 2), expected)


def test_normalisation_of_both_sides():
    made, sample = transcoder(M_IN, M_OUT, N, K), PairedStream().data
    made.fit_input(sample)
    x = made.centred(sample)
    assert x.mean(dim=0).abs().max() < 1e-4
    assert float((made.scale_in * sample[:, :M_IN]).square().sum(dim=1).mean()) == pytest.approx(M_IN, rel=1e-4)
    with pytest.raises(InvalidArgument, match="inputs of mean square norm 0"):
        made.fit_input(torch.zeros(8, M_IN + M_OUT))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_saved_transcoder_is_the_same_to_the_bit(tmp_path, shape):
    made, h = filled(**SHAPES[shape]), inputs()
    made.save(tmp_path / "t", {"layer": 3})
    loaded, fields = load_transcoder(tmp_path / "t")
    assert fields == {"layer": 3}
    assert type(loaded) is type(made)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(made(h), loaded(h), strict=True))
    for name in ("mask", "mask_in"):
        own, theirs = getattr(made, name), getattr(loaded, name)
        assert (own is None) == (theirs is None)
        assert own is None or (own.sha256, own.recipe) == (theirs.sha256, theirs.recipe)
    with pytest.raises(InvalidFile, match="expander-transcoder"):
        load_sae(tmp_path / "t")


def rewritten(folder, **changes):
    """The folder with other arrays or configuration, hashes made right again: a damage that no hash tells."""
    weights, configuration = folder / "sae_weights.safetensors", folder / "cfg.json"
    fields, arrays = read_arrays(weights, "expander-transcoder", 1)
    about = json.loads(configuration.read_text())
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif value is None:
            del arrays[name]
        else:
            about[name] = fields[name] = value
    write_arrays(weights, "expander-transcoder", 1, fields, arrays)
    about["weights_sha256"] = json.loads(_header(weights))["sha256"]
    configuration.write_text(json.dumps(about))


def _header(path):
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return next(iter(file.metadata().values()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows_in": None}, "lacks or adds rows_in"),
        ({"extra": np.zeros(3)}, "lacks or adds extra"),
        ({"rows_in": np.full((N, 3), -1, np.int32)}, "rows_in are no mask"),
        ({"rows": np.sort(uniform_mask(M_OUT, N, 4, seed=9).rows)}, "altered: its mask is not the one"),
        ({"b_in": np.full(M_IN, np.nan)}, "NaN or infinity in b_in"),
        ({"scale_in": np.array(-1.0)}, "scale_in = -1.0, which must be positive"),
        ({"encoder": np.zeros((N, 3), np.float32)}, "encoder of float32"),
        ({"b_enc": np.zeros(N - 1)}, r"b_enc of float64 and shape \(39,\)"),
        ({"k": N + 1}, "more than its n"),
        ({"dense_columns": 2}, "2 dense columns of 40"),
        ({"encoder": "dense"}, "has d_in = 3, expected 24"),
        ({"skip": True}, "lacks or adds skip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_folders_are_refused(tmp_path, changes, message):
    filled(**SHAPES["both"]).save(tmp_path, {})
    rewritten(tmp_path, **changes)
    with pytest.raises(InvalidFile, match=message):
        load_transcoder(tmp_path)


def test_files_that_are_altered_missing_or_newer_are_refused(tmp_path):
    with pytest.raises(InvalidFile, match="holds no transcoder"):
        load_transcoder(tmp_path)
    filled(**SHAPES["skip"]).save(tmp_path, {})
    path = tmp_path / "cfg.json"
    about = json.loads(path.read_text())
    for change, message in (
        ({"kind": "expander-sae"}, "not the configuration of a transcoder"),
        ({"version": 2}, "newer than 1"),
        ({"k": K - 1}, "altered: k differ"),
        ({"weights_sha256": "0" * 64}, "is not the file that cfg.json was written with"),
        ({"m_in": "24"}, "m_in"),
    ):
        path.write_text(json.dumps({**about, **change}))
        with pytest.raises(InvalidFile, match=message):
            load_transcoder(tmp_path)
    path.write_text(json.dumps(about))
    weights = tmp_path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InvalidFile):
        load_transcoder(tmp_path)


def test_what_is_stored():
    made = filled(**SHAPES["both"])
    counted = transcoder_storage(made)
    assert counted.values == sum(p.numel() for p in made.parameters()) + M_IN
    assert counted.decoder_values == 4 * N
    assert counted.bytes_float32 == 4 * (counted.values + 7 * N)
    assert counted.bytes_packed == 2 * counted.values + (5 * 4 * N + 5 * 3 * N) // 8
    assert counted.operations == 3 * N + 4 * K
    square = transcoder(M_OUT, M_OUT, N, K, mask=OUT, mask_in=OUT)
    assert transcoder_storage(square).bytes_float32 == 4 * (transcoder_storage(square).values + 4 * N)
    skip = transcoder_storage(filled(skip=True))
    assert skip.values == transcoder_storage(filled()).values + M_IN * M_OUT
    assert skip.operations == N * M_IN + K * M_OUT + M_IN * M_OUT


def test_the_recipe_builds_what_it_says():
    how = TranscoderTraining(d=4, n=N, k=K, m_in=M_IN)
    width = M_IN + M_OUT
    assert isinstance(how.build(width), ExpanderTranscoder)
    assert isinstance(replace(how, d=None).build(width), DenseTranscoder)
    assert isinstance(replace(how, dense_columns=3).build(width), BlockTranscoder)
    own = replace(how, m_in=M_OUT, d_in=4).build(2 * M_OUT)
    assert own.mask_in.sha256 != own.mask.sha256
    same = replace(how, m_in=M_OUT, same_mask=True).build(2 * M_OUT)
    assert same.mask_in.sha256 == same.mask.sha256
    assert replace(how, skip=True).build(width).skip.count_nonzero() == 0
    assert replace(how, skip=True).identity() != how.identity()
    assert how.identity()["kind"] == "transcoder training"
    factors = replace(how, d_in=6).build(width).rate_factors()
    assert factors == {"weight": pytest.approx(8**0.5), "encoder": 2.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "omp"}, "encoder"),
        ({"supports": "random"}, "supports"),
        ({"revival": "resample"}, "revival"),
        ({"rank": 2, "d": None}, "rank"),
        ({"pursuit_steps": 5}, "pursuit_steps"),
        ({"d_in": 0}, "d_in"),
        ({"same_mask": True, "d_in": 4}, "same_mask"),
        ({"same_mask": True, "d": None}, "same_mask"),
        ({"m_in": 0}, "m_in"),
    ],
    ids=str,
)
def test_recipes_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InvalidArgument, match=message):
        TranscoderTraining(**{"d": 4, "n": N, "k": K, "m_in": M_IN, **options})


def test_sizes_and_inputs_that_do_not_fit_are_refused():
    with pytest.raises(InvalidArgument, match="m_in"):
        TranscoderTraining(d=4, n=N, k=K).build(M_IN + M_OUT)
    with pytest.raises(InvalidArgument, match="needs equal widths"):
        TranscoderTraining(d=4, n=N, k=K, m_in=M_IN, same_mask=True).build(M_IN + M_OUT)
    for how, message in (
        ({"mask": IN}, "mask"),
        ({"mask_in": OUT}, "mask_in"),
        ({"dense_columns": 2}, "dense_columns"),
        ({"activation": "jumprelu"}, "activation"),
        ({"activation": "batch_topk", "selection": "magnitude"}, "selection"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            transcoder(M_IN, M_OUT, N, K, **how)
    made = filled(skip=True)
    with pytest.raises(InvalidArgument, match="inputs and outputs"):
        made.encode(inputs()[:, : M_IN - 1])
    with pytest.raises(InvalidArgument, match="skip reads the inputs"):
        made.decode(*made.encode(inputs()))
    with pytest.raises(InvalidArgument, match="inputs, then outputs"):
        made.reconstructed_part(inputs()[:, :M_IN])
