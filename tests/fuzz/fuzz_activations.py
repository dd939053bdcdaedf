"""Stores of activations, the text that they come from, and the losses measured with them, to be damaged."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from fuzz_format import Arrays, Format
from fuzz_mutations import restructured

from expander_theory.results.files import content_hash
from sae_bridge.activations._shards import Shard, Shards
from sae_bridge.activations.description import write_description
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.text import TextSource
from sae_bridge.evaluation.losses import BASELINES, Losses


class Store(Arrays):
    """A store of two shards; the description is damaged like a configuration."""

    name, kind, version = "train-00000.safetensors", "expander-activations", 2

    def make(self, path):
        rng = np.random.default_rng(0)
        counts = {"train": 5, "held_out": 3}
        tokens = {split: rng.integers(0, 50, (count, 6)).astype(np.int32) for split, count in counts.items()}
        description = {
            "kind": "expander-activations", "version": 2, "model": "x", "model_fingerprint": "ab", "layer": 1,
            "hook": "resid_post", "m": 4, "dtype": "float32", "context": 6,
            "policy": {"bos_id": None, "drop_first": True, "special_ids": [0], "outlier_ratio": 6.0},
            "tokenizer": "T", "vocabulary_sha256": "0" * 64, "text": ["x"], "text_sha256": "0" * 64,
            "contexts": {"train": 5, "held_out": 3}, "documents": {"train": 2, "held_out": 2},
            "tokens_sha256": {split: hashlib.sha256(t.tobytes()).hexdigest() for split, t in tokens.items()},
            "contexts_per_shard": 4,
        }  # fmt: skip
        write_description(path.parent, description)
        shards = Shards(path.parent, description)
        for split, index in shards.all():
            part = shards.contexts(split, index)
            kept = np.ones((part.stop - part.start, 6), bool)
            kept[:, 0] = False
            rows = torch.from_numpy(rng.standard_normal((int(kept.sum()), 4)).astype(np.float32))
            documents = np.zeros(part.stop - part.start, np.int32)
            shards.write(split, index, Shard(tokens[split][part], documents, kept, rows, 9.0))

    def read(self):
        store = ActivationStore(self.place)
        rows = [store.rows(split) for split in ("train", "held_out")]
        store.context_rows("train", np.array([0, 3])), store.norm_limit, list(store.batches("train", 7))
        store.description["model"], store.policy.candidates(store.tokens("train").numpy())
        return content_hash({}, {f"{i}": part.numpy() for i, part in enumerate(rows)})

    def forge(self, rng):
        if rng.random() < 0.5:
            return super().forge(rng)
        path = self.place / "activations.json"
        path.write_text(restructured(json.loads(path.read_text()), rng), errors="surrogatepass")
        return None

    guarded = False  # names in the description are no part of the hash


class LossFields(Format):
    name, guarded = "losses.json", False

    def make(self, path):
        some = {name: [3.0, 4.0, 5.0] for name in (*BASELINES, "sae")}
        fields = {"store_sha256": "x", "model_fingerprint": "y", "positions": "kept", "baseline": "all"}
        counts = {"documents": [0, 1, 1], "predictions": [3, 3, 2], "distributions": [4, 4, 3]}
        path.write_text(json.dumps({**fields, **counts, "ce": some, "kl": some}))

    def read(self):
        from expander_theory.results.typed import read_json

        losses = Losses.from_fields(read_json(self.path, dict))
        if "sae" in losses.ce and "sae" in losses.kl and losses.predictions.any() and losses.distributions.any():
            losses.fidelity("sae")


class TextLines(Format):
    name, guarded = "text.jsonl", False

    def make(self, path):
        path.write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(30)))

    def read(self):
        for document in TextSource([str(self.path)]).documents:
            assert isinstance(document.text, str)

    def forge(self, rng):
        lines = self.path.read_text().splitlines()
        at = int(rng.integers(len(lines)))
        lines[at] = restructured(json.loads(lines[at]), rng)
        self.path.write_text("\n".join(lines), errors="surrogatepass")
        return None
