"""Made-up ledgers of the SAE suite, where every number is known."""

from operator import truediv

from expander_theory.results import (
    BaselinesRecord,
    Collisions,
    DecoderGeometry,
    EvaluationRecord,
    FiringRates,
    Ledger,
    MembershipRecord,
    NullRecord,
    PairRecord,
)

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
    """An evaluation with interval ``recovered`` +- ``half``."""
    dense = d is None
    values = 512 * n if dense else d * n
    made = {
        **_measured(recovered, half),
        "name": f"{name}-seed{seed}",
        "variant": name,
        "seed": seed,
        "architecture": "dense" if dense else "expander",
        "family": "dense" if dense else family,
        "pruned": "",
        "n": n,
        "d": 512 if dense else d,
        "decoder_values": values,
        "parameters": values + n + 512,
        "bytes_float32": 8 * values,
        "bytes_packed": 2 * (values + n + 512) + (0 if dense else values * 9 // 8),
        "bytes_seeded": 2 * (values + n + 512),
        "ce_by_context": (),
        "learning_rate": 0.01,
        "steps": 50,
        "train_seconds": 1.0,
        "omp_fvu": 0.2,
        "omp_fvu_interval": (0.19, 0.21),
        "curve": ((0, 1.0, 0), (49, 0.5, 10)),
        "firing": FiringRates(tokens=180, mean=0.01, silent=0.1, q50=0.005),
        "geometry": DecoderGeometry(**_GEOMETRY, **({} if dense else _RATIOS)),
        "collisions": None if dense else Collisions(tokens=180, **_COLLISIONS),
    }
    return EvaluationRecord(**made | changes)


_GEOMETRY = {"flatness_least": 1.0, "flatness_median": 1.5, "flatness_95": 1.9, "flatness_largest": 2.0}
_GEOMETRY |= {"coherence": 0.8, "babel_k": 1}
_RATIOS = {"eps_2k_found": 0.4, "eps_2k_count": 0.1, "R_id": 3.2, "R_OMP": 20.0}
_COLLISIONS = {
    f"{name}_{end}": value
    for name in ("deficit", "duplicates")
    for end, value in (("mean", 0.05), ("median", 0.05), ("95", 0.1), ("largest", 0.2))
}


def _measured(recovered, half):
    """What every SAE and null has: all of one width and sparsity."""
    measures = {"recovered_zero": recovered, "recovered_mean": recovered - 0.01, "fvu": 1 - recovered}
    measures |= {"relative_error": 0.5, "delta": 1.0, "kl": 1.0, "l0": 8.0, "ce": 4.0, "ce_clean": 3.0, "ce_zero": 9.0}
    measures |= {"ce_mean": 8.0, "kl_zero": 6.0, "kl_mean": 5.0}
    intervals = {f"{name}_interval": (value - half, value + half) for name, value in measures.items()}
    how = {"encoder": "tied", "activation": "topk", "selection": "magnitude", "resample": "documents"}
    how |= {"positions": "kept", "baseline": "kept"}
    counts = {"m": 512, "k": 8, "dead": 10, "dense": 1, "tokens": 180, "seen_tokens": 900, "predictions": 170}
    return {**measures, **intervals, **how, **counts, "documents": 12, "contexts": 12}


def write_suite(path, groups, null=0.5, untrained=None):
    """A ledger of groups: name -> list of (label, record); every two of a seed are a pair.

    Args:
        null: CE recovered by the coordinate null, which every record is paired with; None: it was not measured.
        untrained: the same by OMP on an untrained mask, which every record is paired with.
    """
    with Ledger(path, IDENTITY) as ledger:
        ledger.append(BaselinesRecord({}, "Held-out text only."))
        known = {}
        for members in groups.values():
            for _, made in members:
                if made.name not in known:
                    known[made.name] = made
                    ledger.append(made)
        for group, members in groups.items():
            for order, (label, made) in enumerate(members):
                ledger.append(MembershipRecord(group, made.name, made.variant, label, made.seed, order))
        for name, made in known.items():
            for other in known.values():
                if other is made or other.seed != made.seed:
                    continue
                ratio, above = (f(made.recovered_zero, other.recovered_zero) for f in (truediv, _less))
                ends = (ratio - 0.01, ratio + 0.01), (above - 0.01, above + 0.01)
                ledger.append(PairRecord(name, other.name, ratio, ends[0], above, ends[1]))
        if null is not None:
            about = {"name": "null-k8", "label": "coordinate null, k = 8", "n": 512, "d": 1}
            _append_null(ledger, known, null, about)
        if untrained is not None:
            about = {"name": "null-untrained-d2-n1024-k8", "label": "untrained mask", "n": 1024, "d": 2}
            _append_null(ledger, known, untrained, {**about, "code": "untrained"})
    return path


def _append_null(ledger, known, recovered, about):
    about = {**about, "architecture": "null", "decoder_values": 0, "activations_sha256": "0" * 64, "ce_by_context": ()}
    ledger.append(NullRecord(**_measured(recovered, 0.01), **about))
    for name, own in known.items():
        above = _less(own.recovered_zero, recovered)
        ledger.append(PairRecord(name, about["name"], None, None, above, (above - 0.01, above + 0.01)))


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
