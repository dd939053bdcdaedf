"""Commands on features that are no pages: scores beside an evaluation, and the cache for delphi."""

import json

import pytest

from expander_theory.cli import main
from sae_bridge.evaluation import Nulls
from sae_bridge.features import feature_scores
from sae_bridge.sae import TopKSAE, load_sae


@pytest.fixture(scope="module")
def saved(tiny_store, tmp_path_factory):
    """An untrained SAE of the tiny store, saved."""
    model, store = tiny_store
    sae = TopKSAE(store.m, 48, 4, seed=1)
    sae.fit_normalisation(Nulls(store).mean, float(store.rows("train").square().sum(dim=1).mean()))
    folder = tmp_path_factory.mktemp("sae") / "sae"
    about = {key: store.description[key] for key in ("model_fingerprint", "layer", "hook")}
    sae.eval().save(folder, {"language_model": model.name, "activations_sha256": store.sha256, **about})
    return folder


def test_eval_scores_features_beside_those_of_the_nulls(tiny_store, saved, tmp_path, capsys):
    store = tiny_store[1]
    out = tmp_path / "eval.json"
    base = ["sae", "eval", str(store.folder), str(saved), "--nulls", "coordinates"]
    main([*base, "--features", "--contexts", "60", "--out", str(out)])
    said = capsys.readouterr().out
    assert "token AUC" in said
    assert "identified" in said
    rows = {row["name"]: row for row in json.loads(out.read_text())}
    assert set(rows) == {str(saved), "coordinate null, k = 4"}
    found = feature_scores(load_sae(saved)[0], store, contexts=60, progress=False).summary()
    assert rows[str(saved)]["features"] == found
    assert rows["coordinate null, k = 4"]["features"]["units"] > 0
    main([*base, "--out", str(tmp_path / "plain.json")])
    assert "token AUC" not in capsys.readouterr().out
    assert "features" not in json.loads((tmp_path / "plain.json").read_text())[0]


def test_export_writes_the_cache_of_delphi_and_asks_for_activations(tiny_store, saved, tmp_path, capsys):
    store = tiny_store[1]
    words = ["sae", "export", str(saved), str(tmp_path / "cache"), "--format", "delphi"]
    with pytest.raises(SystemExit):
        main(words)
    assert "goes with the format delphi" in capsys.readouterr().err
    main([*words, "--activations", str(store.folder), "--contexts", "10"])
    (module,) = (tmp_path / "cache").iterdir()
    assert (module / "config.json").is_file()
    assert len(list(module.glob("*.safetensors"))) == 5
