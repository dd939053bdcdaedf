"""Folders both ways against the real dictionary_learning."""

import pytest
import torch
from support import foreign, foreign_kinds
from support.foreign import FIELDS, K

from sae_bridge.interop import export_dictionary_learning, load_any

utils = pytest.importorskip("dictionary_learning.utils", exc_type=ImportError)
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
KINDS = [
    *("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
    *("JumpReluAutoEncoder", "GatedAutoEncoder"),
]


def loaded(folder):
    """What it loads, whose parameters are float32."""
    dictionary, _ = utils.load_dictionary(str(folder), "cpu")
    return dictionary


def theirs(dictionary, h):
    with torch.no_grad():
        codes = dictionary.encode(h)
        return codes, dictionary.decode(codes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [True, False], ids=["unit", "any norm"])
def test_we_load_theirs(tmp_path, kind, unit):
    if kind == "MatryoshkaBatchTopKSAE":
        pytest.importorskip("dictionary_learning.trainers.matryoshka_batch_top_k", exc_type=ImportError)
    state = foreign_kinds.learned_state(kind, unit=unit, dtype=torch.float32)
    folder = foreign_kinds.write_learned(tmp_path / "x", foreign_kinds.learned_configuration(kind), state)
    h = foreign.activations().float()
    expected, found = theirs(loaded(folder), h), foreign.outputs(load_any(folder, k=K)[0], h)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert expected[0].count_nonzero() > 0


@pytest.mark.parametrize(
    ("activation", "groups"),
    [("topk", None), ("batch_topk", None), ("batch_topk", foreign_kinds.GROUPS), ("jumprelu", None), ("gated", None)],
)
def test_it_loads_ours(tmp_path, activation, groups):
    sae, h = foreign_kinds.our_kind(activation, groups=groups), foreign.activations()
    export_dictionary_learning(sae, tmp_path / "x", FIELDS)
    codes, h_hat = foreign.outputs(sae, h)
    for a, b in zip(theirs(loaded(tmp_path / "x"), h.float()), (codes / sae.scale, h_hat), strict=True):
        torch.testing.assert_close(a, b.float(), **CLOSE)
