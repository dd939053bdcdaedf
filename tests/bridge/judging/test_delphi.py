"""The cache that delphi reads: its format, and with delphi itself where that is installed."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file

from expander_theory import InvalidArgument, InvalidFile
from sae_bridge.evaluation import Nulls
from sae_bridge.judging import export_delphi
from sae_bridge.sae import coordinate_null


def test_every_firing_is_in_one_part_at_its_place(tiny_store, tmp_path):
    _, store = tiny_store
    sae = coordinate_null(Nulls(store).mean, 3)
    module = export_delphi(sae, store, tmp_path, contexts=20, parts=3, progress=False)
    assert module.name == f"layers.{store.description['layer']}.{store.description['hook']}"
    assert json.loads((module / "config.json").read_text())["model_name"] == store.description["model"]
    dense = np.zeros((20, 16, store.m), np.float32)
    kept = store.kept("train")[:20].numpy()
    rows = store.context_rows("train", np.arange(20))
    acts, indices = (part.detach().numpy() for part in sae.encode(rows))
    flat = np.zeros((len(rows), store.m), np.float32)
    np.put_along_axis(flat, indices, np.abs(acts), axis=1)
    dense[kept] = flat
    found, ends = np.zeros_like(dense), []
    for path in sorted(module.glob("*.safetensors"), key=lambda p: int(p.stem.split("_")[0])):
        start, end = map(int, path.stem.split("_"))
        ends.append((start, end))
        part = load_file(path)
        assert part["locations"].dtype == np.uint16
        assert part["activations"].dtype == np.float16
        np.testing.assert_array_equal(part["tokens"], store.tokens("train")[:20].numpy())
        row, place, feature = part["locations"].astype(int).T
        assert (np.lexsort((place, row)) == np.arange(len(row))).all() or len(set(feature)) > 1
        found[row, place, feature + start] = part["activations"]
    assert ends == [(0, 9), (10, 20), (21, 31)]
    np.testing.assert_allclose(found, dense, rtol=1e-3, atol=1e-5)


def test_a_folder_that_is_in_use_and_wrong_parts_are_refused(tiny_store, tmp_path):
    _, store = tiny_store
    sae = coordinate_null(Nulls(store).mean, 3)
    with pytest.raises(InvalidArgument, match="parts = 0"):
        export_delphi(sae, store, tmp_path, parts=0)
    export_delphi(sae, store, tmp_path, contexts=2, progress=False)
    with pytest.raises(InvalidFile, match="is not empty"):
        export_delphi(sae, store, tmp_path, contexts=2, progress=False)


def test_delphi_reads_it(tiny_store, tmp_path, monkeypatch):
    stub = ModuleType("sentence_transformers")  # imported for what is not asked for here
    stub.SentenceTransformer, stub.__spec__ = object, ModuleSpec(stub.__name__, None)
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    latents = pytest.importorskip("delphi.latents", reason="eai-delphi is not installed")
    config = pytest.importorskip("delphi.config")
    model, store = tiny_store
    module = export_delphi(coordinate_null(Nulls(store).mean, 3), store, tmp_path, progress=False)
    found = latents.LatentDataset(
        raw_dir=tmp_path,
        sampler_cfg=config.SamplerConfig(n_examples_train=4, n_examples_test=4, n_quantiles=2),
        constructor_cfg=config.ConstructorConfig(example_ctx_len=8, min_examples=8, n_non_activating=4),
        tokenizer=model.tokenizer,
        modules=[module.name],
    )
    assert len(list(found)) > 0
