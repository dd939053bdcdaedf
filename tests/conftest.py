"""Shared fixtures: a small random language model of any architecture, and a small text."""

import os

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("project")

WORDS = [
    *("the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "small", "dog", "run"),
    *("over", "that", "hill", "while", "rain", "fell", "in", "grey", "town"),
]


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """Sixty documents in which each word is followed by one of two others, as a folder of .txt files."""
    import numpy as np

    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for i in range(60):
        places = (rng.integers(len(WORDS)) + np.cumsum(rng.choice([1, 5], 120))) % len(WORDS)
        (folder / f"doc{i:02d}.txt").write_text(" ".join(WORDS[place] for place in places))
    return folder


def save_tiny_model(folder, architecture="llama", seed=0):
    """A random 4-layer model of width 32, with a tokenizer of few words, saved as transformers saves."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

    added = 8 if architecture == "qwen2" else 0  # special tokens of the class
    if architecture == "qwen2":  # whatever was saved, transformers loads the bytes and merges of Qwen's own class
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
        tokenizer.train_from_iterator([f" {' '.join(WORDS)}"] * 2, trainer)
    else:
        vocabulary = {word: i for i, word in enumerate(["<unk>", *WORDS])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    sizes = {
        "vocab_size": tokenizer.get_vocab_size() + added, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 64,
    }  # fmt: skip
    config = {"llama": LlamaConfig, "gpt_neox": GPTNeoXConfig, "qwen2": Qwen2Config}[architecture](
        **sizes, **({} if architecture == "gpt_neox" else {"num_key_value_heads": 2})
    )
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory, text_folder):
    """The small Llama after a few seconds of training: it knows which words follow which."""
    import torch

    from sae_bridge.activations.text import TextSource
    from sae_bridge.models.language_models import load_language_model

    folder = save_tiny_model(tmp_path_factory.mktemp("model"))
    language_model = load_language_model(str(folder))
    source = TextSource([str(text_folder)])
    contexts = source.contexts(language_model.tokenizer, context=30, count=160, held_out=False)
    tokens, model = torch.from_numpy(contexts.tokens).long(), language_model.model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1.5
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory, tiny_model_folder, text_folder):
    """Activations of the small model: m = 32, 90 training and 10 held-out contexts of 16 tokens."""
    from sae_bridge.activations import Harvest, harvest
    from sae_bridge.activations.text import TextSource
    from sae_bridge.models.language_models import load_language_model

    model = load_language_model(str(tiny_model_folder))
    what = Harvest(layer=1, context=16, train_contexts=90, held_out_contexts=10)
    folder = tmp_path_factory.mktemp("activations") / "store"
    return model, harvest(model, TextSource([str(text_folder)]), what, folder, progress=False)


@pytest.fixture(scope="session")
def default_model():
    """The real embedded model. Where it was not fetched the test is skipped, except under CI, where it fails."""
    from expander_theory.base.errors import MissingResource
    from sae_bridge.models.language_models import load_language_model

    try:
        return load_language_model()
    except MissingResource as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
