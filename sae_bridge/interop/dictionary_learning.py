"""Folders of saprmarks/dictionary_learning (``ae.pt``, ``config.json``), both ways and without that library.

What its classes mean (checked against its source of August 2025, release 0.1.0), D their decoder:

    AutoEncoder             ReLU(E (h - b) + b_enc), columns of D scaled to unit norm on loading, codes accordingly
    AutoEncoderNew          ReLU(E h + b_enc)
    AutoEncoderTopK         the k largest of ReLU(E (h - b) + b_enc); its threshold is not used
    BatchTopKSAE            what of ReLU(E (h - b) + b_enc) exceeds one threshold
    MatryoshkaBatchTopKSAE  the same; its groups matter in training alone
    JumpReluAutoEncoder     what of ReLU(E h + b_enc) exceeds its feature's threshold
    GatedAutoEncoder        H(z + gate_bias) ReLU(e^r_mag z + mag_bias), z = E (h - b)

and h_hat = D code + b. Normalised activations of its training are folded before it saves.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expander_theory.base import InvalidFile, require
from expander_theory.results import atomic_write
from sae_bridge.interop._folders import Part, mean_sparsity, positive, read_configuration
from sae_bridge.interop._metadata import fields_of_hookpoint, provenance
from sae_bridge.interop._parts import ImportedTensors
from sae_bridge.interop._pickled import read_pickled
from sae_bridge.interop._raw import RawSAE, in_raw_units
from sae_bridge.interop.imported import ImportedSAE, imported
from sae_bridge.sae import SparseAutoencoder

PICKLED, CONFIGURATION = "ae.pt", "config.json"

_EXTRA = "expander_theory"
_SUBMODULE = re.compile(r"(resid_pre|resid_post)_layer_(\d{1,9})")
_TOPK = ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")


def import_dictionary_learning(
    folder: str | os.PathLike[str], *, k: int | None = None
) -> tuple[SparseAutoencoder | ImportedSAE, dict[str, Any]]:
    """An SAE, ready for evaluation, and its training fields as far as the configuration tells.

    Codes and reconstructions are those of its ``load_dictionary``, up to rounding. Nothing in ``ae.pt`` is run: tensors
    alone are read.

    Args:
        k: for classes with thresholds or a gate, how many features other methods of inference get, if the folder does
            not tell.

    Raises:
        InvalidFile: missing, damaged, another class, or a threshold that training did not come to.
        InvalidArgument: k out of range.
    """
    folder = Path(folder)
    about, path = read_configuration(folder, CONFIGURATION), folder / CONFIGURATION
    trainer = about.get("trainer")
    if not isinstance(trainer, dict):
        raise InvalidFile(path, "is not the configuration of a dictionary_learning SAE (it has no trainer)")
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidFile(path, f"has the dict_class {kind!r}; those that can be read: {', '.join(_READERS)}")
    stored = read_pickled(folder / PICKLED)
    own_k, groups = _integer(folder, stored, "k"), _groups(folder, stored, kind)
    m, n = (_size(folder, trainer, stored, name) for name in ("activation_dim", "dict_size"))
    part = Part(folder / PICKLED, stored)
    parts = _READERS[kind](part, m, n)
    part.finish()
    if kind in _TOPK:
        if own_k is not None and trainer.get("k") not in (None, own_k):
            raise InvalidFile(path, f"has k = {trainer['k']!r}, and {PICKLED} holds k = {own_k}")
        own_k = positive(folder, trainer if own_k is None else {"k": own_k}, "k", CONFIGURATION)
        if own_k > n:
            raise InvalidFile(path, f"has k = {own_k}, more than its {n} features")
    else:
        own_k = mean_sparsity(trainer.get("target_l0"))
        own_k = None if own_k is None or own_k > n else own_k
    if kind == "AutoEncoderTopK" or k is None:
        k = own_k
    return imported(parts, k=k), _fields(path, about, trainer) | ({} if groups is None else {"groups": groups})


def _linear(part: Part, m: int, n: int, bias: str) -> ImportedTensors:
    """``encoder`` and ``decoder`` of class ``torch.nn.Linear``."""
    encoder, weight = part.take("encoder.weight", n, m), part.take("decoder.weight", m, n).T
    return ImportedTensors(encoder, weight, part.take("encoder.bias", n), part.take(bias, m))


def _matrices(part: Part, m: int, n: int) -> ImportedTensors:
    encoder, weight = part.take("W_enc", m, n).T, part.take("W_dec", n, m)
    return ImportedTensors(encoder, weight, part.take("b_enc", n), part.take("b_dec", m))


def _with(parts: ImportedTensors, threshold: Tensor) -> ImportedTensors:
    return ImportedTensors(parts.encoder, parts.weight, parts.b_enc, parts.b_dec, threshold)


def _relu(part: Part, m: int, n: int) -> ImportedTensors:
    parts = _with(_linear(part, m, n, "bias"), torch.zeros(n))
    if not bool((parts.norms > 0).all()):
        raise InvalidFile(part.path, "holds a zero decoder column, by whose norm dictionary_learning divides")
    return parts.with_unit_columns()


def _relu_new(part: Part, m: int, n: int) -> ImportedTensors:
    return _with(_linear(part, m, n, "decoder.bias"), torch.zeros(n)).coding_all_of_h()


def _topk(part: Part, m: int, n: int) -> ImportedTensors:
    if "threshold" in part:
        part.take("threshold")
    return _linear(part, m, n, "b_dec")


def _batch_topk(part: Part, m: int, n: int) -> ImportedTensors:
    return _with(_linear(part, m, n, "b_dec"), _one_threshold(part, n))


def _matryoshka(part: Part, m: int, n: int) -> ImportedTensors:
    return _with(_matrices(part, m, n), _one_threshold(part, n))


def _jumprelu(part: Part, m: int, n: int) -> ImportedTensors:
    return _with(_matrices(part, m, n), part.take("threshold", n)).coding_all_of_h()


def _gated(part: Part, m: int, n: int) -> ImportedTensors:
    encoder, weight = part.take("encoder.weight", n, m), part.take("decoder.weight", m, n).T
    gate, b_dec = part.take("gate_bias", n), part.take("decoder_bias", m)
    return ImportedTensors(encoder, weight, gate, b_dec, r_mag=part.take("r_mag", n), b_mag=part.take("mag_bias", n))


_READERS: dict[str, Callable[[Part, int, int], ImportedTensors]] = {
    "AutoEncoder": _relu,
    "AutoEncoderNew": _relu_new,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jumprelu,
    "GatedAutoEncoder": _gated,
}
"""By ``dict_class``."""


def _one_threshold(part: Part, n: int) -> Tensor:
    threshold = part.take("threshold")
    if bool(threshold < 0):
        how = "so that every positive feature would be active: training ended before one was learned"
        raise InvalidFile(part.path, f"holds the threshold {float(threshold):.6g}, {how}")
    return threshold.expand(n).clone()


def _size(folder: Path, trainer: Mapping[str, Any], stored: Mapping[str, Tensor], name: str) -> int:
    """m or n; trainers of early releases name neither."""
    if name in trainer:
        return positive(folder, trainer, name, CONFIGURATION)
    encoder = stored.get("encoder.weight", stored.get("W_enc"))
    if encoder is None or encoder.ndim != 2:
        raise InvalidFile(folder / PICKLED, "holds no matrix encoder.weight or W_enc")
    n, m = encoder.shape if "encoder.weight" in stored else reversed(encoder.shape)
    return m if name == "activation_dim" else n


def _integer(folder: Path, stored: dict[str, Tensor], name: str) -> int | None:
    """An integer among the tensors, which it leaves; None where there is none."""
    if name not in stored:
        return None
    value = stored.pop(name)
    if value.shape != () or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise InvalidFile(folder / PICKLED, f"holds {name} as {value.dtype} of shape {tuple(value.shape)}")
    return int(value)


def _groups(folder: Path, stored: dict[str, Tensor], kind: str) -> list[int] | None:
    """Sizes of a Matryoshka SAE's prefixes."""
    if kind != "MatryoshkaBatchTopKSAE":
        return None
    sizes = stored.pop("group_sizes", None)
    if sizes is None or sizes.ndim != 1 or sizes.is_floating_point() or not bool((sizes > 0).all()):
        raise InvalidFile(folder / PICKLED, "holds no group_sizes, expected positive integers")
    encoder = stored.get("W_enc")
    if encoder is not None and encoder.ndim == 2 and int(sizes.sum()) != encoder.shape[1]:
        total = f"that add to {int(sizes.sum())}, expected its {encoder.shape[1]} features"
        raise InvalidFile(folder / PICKLED, f"holds group_sizes {total}")
    return sizes.cumsum(0).tolist()


def _fields(path: Path, about: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Training fields in our names: the hook as far as the submodule's name tells."""
    buffer = about.get("buffer")
    buffer = buffer if isinstance(buffer, Mapping) else {}
    side = buffer.get("io", "out")
    if side == "in_and_out":
        raise InvalidFile(path, "was trained to give a submodule's outputs from its inputs: a transcoder, not an SAE")
    fields: dict[str, Any] = {}
    if isinstance(trainer.get("lm_name"), str):
        fields["language_model"] = trainer["lm_name"]
    for name, value in (("layer", trainer.get("layer")), ("context", buffer.get("ctx_len"))):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            fields[name] = value
    name = str(trainer.get("submodule_name"))
    known = _SUBMODULE.fullmatch(name)
    place = {"layer": int(known[2]), "hook": known[1]} if known else fields_of_hookpoint(name)
    if side != "out" or not place:
        return fields
    if fields.get("layer", place["layer"]) != place["layer"]:
        raise InvalidFile(path, f"has layer = {fields['layer']} and submodule_name = {name!r}, which is another layer")
    return fields | place


def export_dictionary_learning(
    sae: SparseAutoencoder, folder: str | os.PathLike[str], fields: dict[str, Any] | None = None
) -> None:
    """Write an SAE, densified, as a folder for ``load_dictionary``; its reconstructions are the same.

    Decoder columns are unit and codes are the SAE's own divided by its scale s. TopK becomes AutoEncoderTopK, BatchTopK
    BatchTopKSAE (with groups MatryoshkaBatchTopKSAE; the limit of 8 k features for one token is lost), JumpReLU
    JumpReluAutoEncoder, Gated GatedAutoEncoder.

    Args:
        fields: training fields, as ``load_sae`` gives them, for the configuration.

    Raises:
        InvalidArgument: selection by magnitude, which that library does not have; NaN values.
    """
    raw = in_raw_units(sae)
    require(
        not raw.magnitude, "sae.selection", repr(sae.selection), "must be 'signed': no class there has signed codes"
    )
    kind, tensors = _state(raw, sae.activation)
    fields = fields or {}
    trainer: dict[str, Any] = {"dict_class": kind, "activation_dim": raw.m, "dict_size": raw.n}
    trainer |= {"target_l0": raw.k} if kind == "JumpReluAutoEncoder" else {"k": raw.k}
    trainer |= {"layer": fields.get("layer"), "lm_name": fields.get("language_model")}
    if isinstance(fields.get("layer"), int) and fields.get("hook") in ("resid_pre", "resid_post"):
        trainer["submodule_name"] = f"{fields['hook']}_layer_{fields['layer']}"
    context = {} if fields.get("context") is None else {"buffer": {"ctx_len": fields["context"], "io": "out"}}
    about = {"trainer": trainer, **context, _EXTRA: provenance(raw)}
    content = io.BytesIO()
    torch.save({name: value.detach().clone().contiguous() for name, value in tensors.items()}, content)
    atomic_write(Path(folder) / PICKLED, content.getvalue())
    atomic_write(Path(folder) / CONFIGURATION, json.dumps(about, indent=4, allow_nan=False).encode() + b"\n")


def _state(raw: RawSAE, activation: str) -> tuple[str, dict[str, Tensor]]:
    """The class and its state."""
    encoder, weight = raw.dense(raw.encoder), raw.dense(raw.weight)
    if raw.r_mag is not None and raw.b_mag is not None:
        biases = {"decoder_bias": raw.b_dec, "r_mag": raw.r_mag, "gate_bias": raw.b_enc, "mag_bias": raw.b_mag}
        return "GatedAutoEncoder", {"encoder.weight": encoder, "decoder.weight": weight.T, **biases}
    matrices = {"W_enc": encoder.T, "W_dec": weight, "b_dec": raw.b_dec}
    if activation == "jumprelu":
        assert raw.threshold is not None
        uncentred = raw.b_enc.double() - encoder.double() @ raw.b_dec.double()  # that class does not subtract b_dec
        return "JumpReluAutoEncoder", {**matrices, "b_enc": uncentred.to(weight.dtype), "threshold": raw.threshold}
    sizes = {"k": torch.tensor(raw.k, dtype=torch.int)}
    sizes["threshold"] = raw.weight.new_tensor(-1.0) if raw.threshold is None else raw.threshold
    if activation == "batch_topk" and raw.groups is not None:
        groups = torch.tensor(raw.groups).diff(prepend=torch.zeros(1, dtype=torch.int64))
        return "MatryoshkaBatchTopKSAE", {**matrices, "b_enc": raw.b_enc, **sizes, "group_sizes": groups}
    linear = {"encoder.weight": encoder, "encoder.bias": raw.b_enc, "decoder.weight": weight.T, "b_dec": raw.b_dec}
    return "AutoEncoderTopK" if activation == "topk" else "BatchTopKSAE", {**linear, **sizes}
