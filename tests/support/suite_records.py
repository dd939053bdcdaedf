"""Made-up ledgers of the SAE suite, where every number is known."""

from operator import truediv

from expander_theory.results.ledger import Ledger

IDENTITY = {
    "kind": "sae suite",
    "setting": "quick",
    "activations_sha256": "0" * 64,
    "model": "default",
    "m": 512,
    "layer": 3,
    "hook": "resid_post",
    "batch": 100,
    "positions": "kept",
    "recipe": {"n": 1024, "k": 8, "steps": 50},
    "documents": {"train": 5, "held_out": 12},
    "contexts": {"train": 50, "held_out": 12},
    "context": 16,
    "reported": {},
}


def record(name, seed, recovered, *, d=None, n=1024, family="uniform", half=0.01, **changes):
    """An evaluation record with interval ``recovered`` +- ``half``."""
    dense = d is None
    values = 512 * n if dense else d * n
    made = {
        "name": f"{name}-seed{seed}",
        "variant": name,
        "seed": seed,
        "architecture": "dense" if dense else "expander",
        "family": "dense" if dense else family,
        "pruned": "",
        "m": 512,
        "n": n,
        "d": 512 if dense else d,
        "k": 8,
        "decoder_values": values,
        "parameters": values + n + 512,
        "bytes_float32": 8 * values,
        "bytes_packed": 2 * (values + n + 512) + (0 if dense else values * 9 // 8),
        "bytes_seeded": 2 * (values + n + 512),
        "learning_rate": 0.01,
        "steps": 50,
        "l0": 8.0,
        "dead": 10,
        "dense": 1,
        "tokens": 180,
        "omp_fvu": 0.2,
        "omp_fvu_interval": [0.19, 0.21],
        "curve": [[0, 1.0, 0], [49, 0.5, 10]],
        "firing": {"tokens": 180, "mean": 0.01, "silent": 0.1, "q50": 0.005},
        "geometry": {"flatness_median": 1.5, "flatness_largest": 2.0, "coherence": 0.8, "babel_k": 1},
        "collisions": None,
    }
    if not dense:
        made["geometry"] |= {"eps_2k_found": 0.4, "eps_2k_count": 0.1, "R_id": 3.2, "R_OMP": 20.0}
        made["collisions"] = {"deficit_median": 0.05, "deficit_95": 0.1}
    for measure, value in {"recovered_zero": recovered, "recovered_mean": recovered - 0.01, "fvu": 1 - recovered,
                           "relative_error": 0.5, "delta": 1.0, "kl": 1.0}.items():  # fmt: skip
        made[measure], made[f"{measure}_interval"] = value, [value - half, value + half]
    return made | changes


def write_suite(path, groups, null=0.5):
    """A ledger of groups: name -> list of (label, record); every two of a seed are a pair.

    Args:
        null: CE recovered by the coordinate null, which every record is paired with; None: it was not measured.
    """
    with Ledger(path, IDENTITY) as ledger:
        ledger.append({"baselines": {}, "note": "Held-out text only."})
        known = {}
        for members in groups.values():
            for _, made in members:
                if made["name"] not in known:
                    known[made["name"]] = made
                    ledger.append(made)
        for group, members in groups.items():
            for order, (label, made) in enumerate(members):
                about = {"member": made["name"], "variant": made["variant"], "label": label, "seed": made["seed"]}
                ledger.append({"group": group, **about, "order": order})
        for name, made in known.items():
            for other in known.values():
                if other is made or other["seed"] != made["seed"]:
                    continue
                ratio, above = (f(made["recovered_zero"], other["recovered_zero"]) for f in (truediv, _less))
                pair = {"ratio": ratio, "ratio_interval": [ratio - 0.01, ratio + 0.01]}
                pair |= {"ce_difference": above, "ce_difference_interval": [above - 0.01, above + 0.01]}
                ledger.append({"pair": name, "to": other["name"], **pair})
        if null is not None:
            _append_null(ledger, known, null)
    return path


def _append_null(ledger, known, recovered):
    made = record("null", 0, recovered, d=1, n=512)
    for key in (
        "name",
        "variant",
        "seed",
        "family",
        "pruned",
        "bytes_packed",
        "omp_fvu",
        "curve",
        "geometry",
        "firing",
    ):
        del made[key]
    about = {"null": "null-k8", "label": "coordinate null, k = 8", "architecture": "null", "decoder_values": 0}
    ledger.append(made | about)
    for name, own in known.items():
        above = _less(own["recovered_zero"], recovered)
        pair = {"ratio": None, "ratio_interval": None, "ce_difference": above}
        ledger.append({"pair": name, "to": "null-k8", **pair, "ce_difference_interval": [above - 0.01, above + 0.01]})


def _less(own, other):
    """CE above the other's, were one nat to recover."""
    return other - own


def frontier(low=0.8, high=0.9, dense=0.95):
    """A frontier over d = 2, 8, 64 and dense, two seeds."""
    members = []
    for seed in (0, 1):
        members.append(("dense", record("dense", seed, dense)))
        for d, value in ((64, high), (8, (low + high) / 2), (2, low)):
            members.append((f"d = {d}", record(f"d{d}", seed, value, d=d)))
    return members
