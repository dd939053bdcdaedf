"""Text that a model writes itself: draws, resuming, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from expander_theory.base.errors import InvalidArgument, InvalidFile
from expander_theory.cli import main
from sae_bridge.activations.text import TextSource
from sae_bridge.models import sampling
from sae_bridge.models.language_models import load_language_model
from sae_bridge.models.sampling import sample_text


@pytest.fixture(scope="module")
def model_folder(tiny_model_folder, tmp_path_factory):
    """The small model, with a token that ends documents."""
    folder = tmp_path_factory.mktemp("ending") / "model"
    shutil.copytree(tiny_model_folder, folder)
    tokenizer = load_language_model(str(folder)).tokenizer
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(3)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(model_folder):
    return load_language_model(str(model_folder))


def texts(paths):
    return [json.loads(line)["text"] for path in paths for line in path.read_text().splitlines()]


def test_documents_are_the_same_however_many_are_sampled(model, tmp_path, monkeypatch):
    few = texts(sample_text(model, tmp_path / "a", documents=3, tokens=12, seed=5, progress=False))
    monkeypatch.setattr(sampling, "_AT_ONCE", 40)
    more = texts(sample_text(model, tmp_path / "b", documents=40, tokens=12, seed=5, progress=False))
    assert more[: len(few)] == few
    assert len(set(few)) > 20
    assert texts(sample_text(model, tmp_path / "c", documents=3, tokens=12, seed=6, progress=False)) != few


def test_tokens_follow_the_model_s_own_distribution(model):
    draws = np.random.default_rng(0).random((4000, 2))
    start = int(model.tokenizer.eos_token_id)
    ends = [start]
    first = np.array([row[0] if row else start for row in sampling._sample(model, draws, ends, 4.0)])
    shares = (model.logits(torch.tensor([[start]]))[0, 0].double() / 4.0).softmax(0).numpy()
    counts = np.bincount(first, minlength=len(shares))
    likely = shares > 5 / len(first)
    assert likely.sum() > 10
    error = np.abs(counts - len(first) * shares)[likely]
    assert (error < 5 * np.sqrt(len(first) * shares[likely])).all()


def test_it_resumes_and_refuses_other_settings(model, tmp_path, monkeypatch):
    whole = sample_text(model, tmp_path, documents=64, tokens=8, progress=False)
    content = [path.read_bytes() for path in whole]
    whole[1].unlink()
    asked = []
    sample = sampling._sample
    monkeypatch.setattr(sampling, "_sample", lambda *given: asked.append(len(given[1])) or sample(*given))
    assert [path.read_bytes() for path in sample_text(model, tmp_path, documents=64, tokens=8)] == content
    assert asked == [32]
    with pytest.raises(InvalidFile, match="another model, length, temperature or seed"):
        sample_text(model, tmp_path, documents=64, tokens=9)


def test_bad_numbers_are_refused(model, tmp_path):
    for given, message in (
        ({"documents": 0}, "documents = 0"),
        ({"documents": 1, "tokens": 1}, "tokens = 1"),
        ({"documents": 1, "tokens": 10**6}, "tokens = 1000000"),
        ({"documents": 1, "tokens": 8, "temperature": 0}, "temperature = 0"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            sample_text(model, tmp_path / "none", **given)
    assert not (tmp_path / "none").exists()


def test_a_model_without_a_token_to_begin_with(tiny_model_folder, tmp_path):
    with pytest.raises(InvalidArgument, match="neither BOS nor EOS"):
        sample_text(load_language_model(str(tiny_model_folder)), tmp_path, documents=1, tokens=8)


def test_a_harvest_reads_what_was_sampled(model_folder, tmp_path, capsys):
    main(["sae", "sample", str(tmp_path), "--model", str(model_folder), "--documents", "30", "--tokens", "10"])
    assert "32 documents of at most 10 tokens" in capsys.readouterr().out
    assert 20 < len(TextSource([str(tmp_path)]).documents) <= 32
