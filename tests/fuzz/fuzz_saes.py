"""SAEs of every format, and checkpoints of their training, to be damaged."""

from __future__ import annotations

import json

import torch
from fuzz_format import Arrays, Format
from fuzz_mutations import reshaped, restructured, retyped
from safetensors.numpy import load_file as load_numpy, save_file as save_numpy
from support.foreign import FIELDS, ours
from support.streams import MemoryStream

from expander_theory.base.errors import ExpanderTheoryError
from expander_theory.results.files import content_hash, read_arrays, write_arrays
from sae_bridge.interop.loading import load_any
from sae_bridge.interop.native_files import export_native
from sae_bridge.interop.saelens import export_saelens
from sae_bridge.interop.sparsify import export_sparsify
from sae_bridge.packing import PACKED_KIND, Packing
from sae_bridge.sae import pack_sae
from sae_bridge.training.recipe import Training
from sae_bridge.training.training_run import CHECKPOINT, VERSION, TrainingRun


class _Folder(Format):
    """A folder of a configuration and weights."""

    name = "."
    configuration, weights = "cfg.json", "sae_weights.safetensors"

    def forge(self, rng):
        path = self.path / self.weights
        if rng.random() < 0.5:
            file = self.path / self.configuration
            file.write_text(restructured(json.loads(file.read_text()), rng), errors="surrogatepass")
        elif rng.random() < 0.3:
            path.write_bytes(retyped(path.read_bytes(), rng))
        else:
            save_numpy(reshaped(load_numpy(path), rng), path)
        return None

    def read(self):
        sae, fields = load_any(self.path)
        h = torch.randn(3, sae.m, generator=torch.Generator().manual_seed(0)).to(sae.weight.dtype)
        acts, indices = sae.encode(h)
        assert bool((indices < sae.n).all())
        sae.decode(acts, indices)
        sae.dictionary()
        json.dumps(fields)
        values = {name: value.numpy() for name, value in getattr(sae, "state_dict", dict)().items()}
        return content_hash({"k": sae.k}, values)


class SaeFolder(_Folder):
    def make(self, path):
        ours().save(path, {"seed": 0, **FIELDS})

    def forge(self, rng):
        if rng.random() < 0.5:
            return super().forge(rng) if rng.random() < 0.5 else self._consistent(rng)
        return super().forge(rng)

    def _consistent(self, rng):
        """Weights and configuration changed together, all hashes right."""
        from expander_theory.results.files import stored_sha256

        fields, arrays = read_arrays(self.path / self.weights, "expander-sae", 2)
        about = json.loads((self.path / self.configuration).read_text())
        if rng.random() < 0.6:
            arrays = reshaped(arrays, rng)
        else:
            try:
                fields = json.loads(restructured(fields, rng))
                about |= fields
            except (ValueError, RecursionError, TypeError):
                return None
        try:
            write_arrays(self.path / self.weights, "expander-sae", 2, fields, arrays)
            about["weights_sha256"] = stored_sha256(self.path / self.weights)
            (self.path / self.configuration).write_text(json.dumps(about))
        except (ValueError, RecursionError, TypeError, ExpanderTheoryError):
            return None
        return None

    guarded = False  # training fields have no hash of their own


class PackedSae(Arrays):
    name, kind, version = "sae.safetensors", PACKED_KIND, 1
    packing = Packing("int4")

    def make(self, path):
        pack_sae(ours(), path, {"seed": 0, **FIELDS}, self.packing)

    read = _Folder.read


class PackedSupports(PackedSae):
    packing = Packing("bfloat16", "float32", "listed")


class SaeLens(_Folder):
    guarded = False

    def make(self, path):
        export_saelens(ours(), path, FIELDS)


class SaeLensThreshold(SaeLens):
    def make(self, path):
        export_saelens(ours(activation="batch_topk"), path, FIELDS)


class SaeLensNative(SaeLens):
    def make(self, path):
        export_native(ours(), path, FIELDS)


class Sparsify(_Folder):
    name, weights, guarded = "layers.3", "sae.safetensors", False

    def make(self, path):
        export_sparsify(ours(), path.parent, FIELDS)


class CheckpointFile(Arrays):
    name, kind, version = "checkpoint.safetensors", CHECKPOINT, VERSION

    def __init__(self, folder):
        self.how, self.stream = Training(d=4, n=64, k=4, steps=40, dead_after=1000), MemoryStream()
        super().__init__(folder)

    def training_run(self):
        from sae_bridge.training.parallel import World

        return TrainingRun(self.how, self.stream.sample(512), torch.device("cpu"), World(), self.how.identity())

    def make(self, path):
        one = self.training_run()
        for step in range(3):
            one.advance(self.stream.batch(step))
        one.save_checkpoint(path)

    def read(self):
        one = self.training_run()
        one.load_checkpoint(self.path)
        one.advance(self.stream.batch(one.step))
        return content_hash({"step": one.step}, {name: value.numpy() for name, value in one.sae.state_dict().items()})
