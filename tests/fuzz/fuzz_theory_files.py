"""Masks, dictionaries, certificates, signals, firing rates and manifests, to be damaged."""

from __future__ import annotations

import json

import numpy as np
from fuzz_format import Arrays, Format
from fuzz_mutations import reshaped, restructured, retyped
from safetensors.numpy import load_file as load_numpy, save_file as save_numpy

from expander_theory import load_dictionary, load_mask, omp, polynomial_mask, save_mask, sign_dictionary, uniform_mask
from expander_theory.certificates._check.fields import hash_of
from expander_theory.certificates.check import check_certificate
from expander_theory.certificates.prove import certify
from expander_theory.results.files import read_npy
from expander_theory.simulation._firing import load_firing_rates


class MaskFile(Arrays):
    name, kind = "mask.safetensors", "expander-mask"

    def make(self, path):
        save_mask(uniform_mask(16, 40, 3, seed=0), path)

    def read(self):
        mask = load_mask(self.path)
        mask.row_lists, mask.neighbours([0]), repr(mask)
        return mask.sha256, mask.recipe


class DictionaryFile(Arrays):
    name, kind = "w.safetensors", "expander-dictionary"

    def make(self, path):
        sign_dictionary(uniform_mask(16, 40, 3, seed=0), seed=0).save(path)

    def read(self):
        dictionary = load_dictionary(self.path)
        omp(dictionary, np.ones((3, dictionary.m), dictionary.dtype), 1)
        return dictionary.sha256


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


class Report(Format):
    """A certificate beside results, as the report shows it."""

    name, guarded = "certificate.json", False

    def make(self, path):
        path.write_text(json.dumps(certify(sign_dictionary(polynomial_mask(q=3, d=2), seed=0), progress=False)))

    def read(self):
        from paper_figures.report.page import _certificates

        _certificates(self.place)


class Manifest(Format):
    name, guarded = "manifest.json", False

    def make(self, path):
        entry = {"inputs": {"a": "0" * 64}, "data": "0" * 64, "files": {"x.png": "0" * 64}, "matplotlib": "3"}
        path.write_text(json.dumps({"figures": {"sparsity": entry, "cost": entry}}))

    def read(self):
        from expander_theory.plotting import figure_sources
        from expander_theory.plotting.drawings._manifest import read, staleness

        entries = read(self.place)
        for name in ("sparsity", "cost", "controls"):
            list(staleness(figure_sources()[name], self.place, self.place, entries))
        return None


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
