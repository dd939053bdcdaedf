"""The files that the fuzz harness damages: one sound file or folder of each format, its changes, and its reader."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import torch
from fuzz_mutations import damaged, reshaped, restructured, retyped
from safetensors.numpy import load_file as load_numpy, save_file as save_numpy
from support.foreign import FIELDS, ours
from support.streams import MemoryStream
from support.suite_records import record, write_suite

from expander_theory import load_dictionary, load_mask, omp, polynomial_mask, save_mask, sign_dictionary, uniform_mask
from expander_theory.base.errors import ExpanderTheoryError
from expander_theory.certificates._check.fields import hash_of
from expander_theory.certificates.check import check_certificate
from expander_theory.certificates.prove import certify
from expander_theory.results.files import content_hash, read_arrays, read_npy, write_arrays
from expander_theory.results.ledger import Ledger
from expander_theory.results.ledger_format import read_contents, record_line
from expander_theory.results.ledger_merge import merge_ledgers
from expander_theory.results.ledger_status import ledger_status
from expander_theory.simulation.export import ledger_rows
from expander_theory.simulation.firing import load_firing_rates
from expander_theory.simulation.schedules.schedule import FixedTrials, Ladder
from expander_theory.simulation.sweep import run_certificates, run_sweep
from expander_theory.simulation.trials import Ensemble, Task
from sae_bridge.activations.description import write_description
from sae_bridge.activations.shards import Shard, Shards
from sae_bridge.activations.store import ActivationStore
from sae_bridge.activations.text import TextSource
from sae_bridge.evaluation.losses import BASELINES, Losses
from sae_bridge.interop.loading import load_any
from sae_bridge.interop.native_files import export_native
from sae_bridge.interop.saelens import export_saelens
from sae_bridge.interop.sparsify import export_sparsify
from sae_bridge.training.recipe import Training
from sae_bridge.training.training_run import CHECKPOINT, VERSION, TrainingRun


class Format:
    """One file in a folder of its own.

    Attributes:
        written: what :meth:`read` returns of the sound file; None where a change may go unnoticed by right.
    """

    name = "file"
    guarded = True  # by a hash or checksums: what is damaged and not made to fit must be refused or be the same

    def __init__(self, folder):
        self.sound, self.place = folder / "sound", folder / "changed"
        self.sound.mkdir()
        self.make(self.sound / self.name)
        shutil.copytree(self.sound, self.place)
        self.path = self.place / self.name
        self.written = self.read()

    def agrees(self, found, expected):
        """Whether accepted content is what was written, as far as its hashes promise."""
        return found == expected

    def change(self, rng):
        """Change the file; returns what a reader may give if it accepts it (None: anything)."""
        shutil.rmtree(self.place)
        shutil.copytree(self.sound, self.place)
        self.path = self.place / self.name
        if rng.random() < 0.4:
            files = sorted(path for path in self.place.rglob("*") if path.is_file())
            path = files[int(rng.integers(len(files)))]
            path.write_bytes(damaged(path.read_bytes(), rng))
            return self.written if self.guarded else None
        return self.forge(rng)

    def forge(self, rng):
        """A change of the structure, with hashes made to fit where there are any; what a reader may give."""
        self.path.write_text(restructured(json.loads(self.path.read_text()), rng), errors="surrogatepass")
        return None


class _Arrays(Format):
    """A file of :func:`write_arrays`."""

    kind, version = "", 1

    def forge(self, rng):
        if rng.random() < 0.2:
            self.path.write_bytes(retyped(self.path.read_bytes(), rng))
            return self.written
        fields, arrays = read_arrays(self.path, self.kind, self.version)
        if rng.random() < 0.5:
            arrays = reshaped(arrays, rng)
        else:
            try:
                fields = json.loads(restructured(fields, rng))
            except (ValueError, RecursionError):
                return self.written
            if not isinstance(fields, dict):
                return self.written
        try:
            write_arrays(self.path, self.kind, self.version, fields, arrays)
        except (ValueError, RecursionError):  # NaN: the writer has no such files
            return self.written
        return None


class MaskFile(_Arrays):
    name, kind = "mask.safetensors", "expander-mask"

    def make(self, path):
        save_mask(uniform_mask(16, 40, 3, seed=0), path)

    def read(self):
        mask = load_mask(self.path)
        mask.row_lists, mask.neighbours([0]), repr(mask)
        return mask.sha256, mask.recipe


class DictionaryFile(_Arrays):
    name, kind = "w.safetensors", "expander-dictionary"

    def make(self, path):
        sign_dictionary(uniform_mask(16, 40, 3, seed=0), seed=0).save(path)

    def read(self):
        dictionary = load_dictionary(self.path)
        omp(dictionary, np.ones((3, dictionary.m), dictionary.dtype), 1)
        return dictionary.sha256


SWEEP = {"kind": "sweep", "seed": 0}


class _Ledger(Format):
    name = "ledger.jsonl"

    def forge(self, rng):
        lines = self.path.read_bytes().split(b"\n")[:-1]
        at = int(rng.integers(len(lines)))
        text = restructured({k: v for k, v in json.loads(lines[at]).items() if k != "crc32"}, rng)
        try:
            forged = record_line(json.loads(text))[:-1] if rng.random() < 0.8 else text.encode(errors="surrogatepass")
        except (ValueError, RecursionError, AttributeError, TypeError):
            forged = text.encode(errors="surrogatepass")
        self.path.write_bytes(b"\n".join([*lines[:at], forged, *lines[at + 1 :], b""]))
        return None

    def agrees(self, found, expected):
        """A ledger that is cut short is one that was interrupted."""
        return expected[: len(found)] == found

    def used(self):
        """Everything that is done with any ledger."""
        ledger_status(self.path)
        contents = read_contents(self.path)
        for kind in ("records", "tasks", "blocks"):
            try:
                ledger_rows(self.path, contents, kind)
            except ExpanderTheoryError:
                continue
        return [record_line(record) for record in (contents.identity, *contents.records)]


class _OldLedger(_Ledger):
    """A ledger of format 2, without checksums."""

    guarded = False

    def __init__(self, folder):
        super().__init__(folder)
        path = self.sound / self.name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            del line["crc32"]
        lines[0]["ledger"] = 2
        path.write_text("".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines))

    def forge(self, rng):
        lines = self.path.read_bytes().split(b"\n")[:-1]
        at = int(rng.integers(len(lines)))
        forged = restructured(json.loads(lines[at]), rng).encode(errors="surrogatepass")
        self.path.write_bytes(b"\n".join([*lines[:at], forged, *lines[at + 1 :], b""]))
        return None


class Sweep(_Ledger):
    columns = (Ladder(Task(Ensemble("uniform", 8, 16, 2), 1), (1, 2)),)

    def make(self, path):
        with Ledger(path, SWEEP) as ledger:
            run_sweep(self.columns, FixedTrials(25), ledger, progress=False)
            run_certificates([self.columns[0].base.ensemble], 1, ledger, progress=False)

    def read(self):
        from expander_theory.plotting import figure_sources

        sha256 = self.used()
        merge_ledgers(self.place / "merged.jsonl", [self.path])
        figure_sources()["phase_diagram"].found(self.place)
        with Ledger(self.path, SWEEP) as ledger:
            run_sweep(self.columns, FixedTrials(25), ledger, progress=False)
        return sha256


class OldSweep(_OldLedger, Sweep):
    pass


class Suite(_Ledger):
    name = "saes/ledger.jsonl"

    def make(self, path):
        path.parent.mkdir()
        dense, some = record("dense", 0, 0.95), [record(f"d{d}", 0, 0.8 + d / 100, d=d) for d in (2, 8)]
        members = [(made["variant"], made) for made in (dense, *some)]
        write_suite(path, {"frontier": members, "small dense": members, "sparsity": members, "controls": members})

    def read(self):
        from expander_theory.plotting import figure_sources
        from paper_figures.claims import findings

        sha256 = self.used()
        for name in ("storage_frontier", "sparsity", "small_dense", "trained_geometry"):
            found = figure_sources()[name].found(self.place)
            if found is not None:
                found[1].data_files()
        findings(self.place)
        return sha256


class OldSuite(_OldLedger, Suite):
    pass


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


class CheckpointFile(_Arrays):
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


class Store(_Arrays):
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


class Certificate(Format):
    name = "certificate.json"

    def __init__(self, folder):
        self.dictionary = sign_dictionary(polynomial_mask(q=5, d=3), seed=0)
        super().__init__(folder)

    def make(self, path):
        path.write_text(json.dumps(certify(self.dictionary, progress=False)))

    def read(self):
        return check_certificate(self.path, self.dictionary, progress=False, most_candidates=10**6)

    def forge(self, rng):
        text = restructured(json.loads(self.path.read_text()), rng)
        try:
            content = json.loads(text)
            content["sha256"] = hash_of(content)
            text = json.dumps(content)
        except (ValueError, TypeError, RecursionError):
            pass
        self.path.write_text(text, errors="surrogatepass")
        return self.written  # it may only be accepted if it says the same


class Manifest(Format):
    name, guarded = "manifest.json", False

    def make(self, path):
        entry = {"inputs": {"a": "0" * 64}, "data": "0" * 64, "files": {"x.png": "0" * 64}, "matplotlib": "3"}
        path.write_text(json.dumps({"figures": {"sparsity": entry, "cost": entry}}))

    def read(self):
        from expander_theory.plotting import figure_sources
        from expander_theory.plotting.drawings.manifest import read, staleness

        entries = read(self.place)
        for name in ("sparsity", "cost", "controls"):
            list(staleness(figure_sources()[name], self.place, self.place, entries))
        return None


class Report(Format):
    """A certificate beside results, as the report shows it."""

    name, guarded = "certificate.json", False

    def make(self, path):
        path.write_text(json.dumps(certify(sign_dictionary(polynomial_mask(q=3, d=2), seed=0), progress=False)))

    def read(self):
        from paper_figures.report.report import _certificates

        _certificates(self.place)


class Npy(Format):
    name, guarded = "signals.npy", False

    def make(self, path):
        np.save(path, np.ones((3, 8)))

    def read(self):
        return read_npy(self.path).shape and None

    def forge(self, rng):
        header = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }\n"
        kinds = ["'<f8'", "'>f4'", "'O'", "'<U9'", "[('a','<f8')]", "5", "'M8'", "'<f16'"]
        shapes = ["(3, 8)", "(10**12,)", "(99999999999, 8)", "(-1,)", "()", "(0, 8)", "x", "(3, 8"]
        text = header % tuple(some[int(rng.integers(len(some)))] for some in (kinds, ["False", "True", "3"], shapes))
        version = bytes([int(rng.integers(0, 5)), 0])
        length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
        self.path.write_bytes(b"\x93NUMPY" + version + length + text.encode() + bytes(192))
        return None


class FiringRates(Format):
    name, guarded = "rates.json", False

    def make(self, path):
        path.write_text(json.dumps([0.1, 0.5, 0, 1.0]))

    def read(self):
        load_firing_rates(self.path)


class FiringTensors(Format):
    name, guarded = "rates.safetensors", False

    def make(self, path):
        save_numpy({"rates": np.linspace(0, 1, 9)}, path)

    def read(self):
        load_firing_rates(self.path)

    def forge(self, rng):
        if rng.random() < 0.5:
            self.path.write_bytes(retyped(self.path.read_bytes(), rng))
        else:
            save_numpy(reshaped(load_numpy(self.path), rng), self.path)
        return None


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


FORMATS = {
    "ledger of a sweep": Sweep,
    "old ledger of a sweep": OldSweep,
    "ledger of SAEs": Suite,
    "old ledger of SAEs": OldSuite,
    "mask": MaskFile,
    "dictionary": DictionaryFile,
    "SAE": SaeFolder,
    "SAELens": SaeLens,
    "SAELens with threshold": SaeLensThreshold,
    "SAELens with mask": SaeLensNative,
    "sparsify": Sparsify,
    "checkpoint": CheckpointFile,
    "activations": Store,
    "certificate": Certificate,
    "manifest": Manifest,
    "certificate in a report": Report,
    "npy": Npy,
    "firing rates": FiringRates,
    "firing tensors": FiringTensors,
    "losses": LossFields,
    "text": TextLines,
}
