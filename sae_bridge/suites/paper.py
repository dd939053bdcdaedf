"""The paper's four models as presets: its settings, its recipe, and the figures it reports.

Source: the code and results published with *Expander Sparse Autoencoders*, R. Mendoza-Smith, arXiv 2607.01799
(github.com/rodrgo/expander-sae, MIT). Model configurations: the ``config.json`` that each model's authors publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from expander_theory.base import require

SOURCE = "arXiv 2607.01799, published code and results"
"""What a figure of :func:`reported` is quoted from."""


@dataclass(frozen=True)
class PaperRecipe:
    """How every SAE of the paper is trained and judged.

    Attributes:
        tokens: activations in the training pool, drawn with replacement; every position of a context counts, the first
            and BOS too.
        context: tokens per context: the first ones of each document.
        text: where the documents come from, as a text source is named here.
        steps, batch: optimiser steps, and activations in each.
        learning_rate, final_learning_rate: Adam's rate, from the one to the other along a cosine, without warm-up.
        clip: largest l2 norm of the gradient.
        resample_every, dead_below: every so many steps, a feature with fewer firings than ``dead_below`` since the last
            time is aimed at the residual of a token drawn in proportion to its squared error.
        selection: the k largest scores, signed; no ReLU follows in the paper's code.
        ce_contexts: contexts on which CE recovered is measured.
        ablation: what CE recovered is relative to: a zero activation at every position.
    """

    tokens: int = 200_000
    context: int = 128
    text: str = "hf:monology/pile-uncopyrighted:train:text"
    steps: int = 5_000
    batch: int = 256
    learning_rate: float = 3e-4
    final_learning_rate: float = 1e-5
    clip: float = 1.0
    resample_every: int = 1_000
    dead_below: int = 5
    selection: Literal["signed"] = "signed"
    ce_contexts: int = 100
    ablation: Literal["zero"] = "zero"


@dataclass(frozen=True)
class PaperRun:
    """One of the paper's models, with the SAEs that it trains there.

    Attributes:
        name: what the preset is called.
        model: name on the hub.
        dtype: of the language model's parameters in the paper's runs.
        bos: whether its tokenizer puts a BOS token in front.
        layers: decoder blocks whose output is reconstructed. The paper's code hooks what block i returns, which here is
            ``hook`` of layer i.
        m, n, k: width of the stream, features, active features per token.
        other_k: further k that the paper sweeps.
        degrees: nonzeros per column of its expander SAEs.
        parameters: of the language model, tied embeddings counted once.
        config: arguments of ``transformers.AutoConfig.for_model`` for the full-size architecture.
        reported: CE recovered by layer and label, see :func:`reported`.
        recipe: how the SAEs are trained.
    """

    name: str
    model: str
    dtype: Literal["float32", "bfloat16"]
    bos: bool
    layers: tuple[int, ...]
    m: int
    n: int
    degrees: tuple[int, ...]
    parameters: int
    config: Mapping[str, Any]
    reported: Mapping[int, Mapping[str, float]]
    k: int = 64
    other_k: tuple[int, ...] = ()
    hook: Literal["resid_post"] = "resid_post"
    recipe: PaperRecipe = field(default_factory=PaperRecipe)

    def decoder_values(self, d: int | None) -> int:
        """Values of a decoder: d n for an expander of degree d, m n for the dense reference (None).

        Raises:
            InvalidArgument: d outside 1..m.
        """
        if d is None:
            return self.m * self.n
        require(1 <= d <= self.m, "d", d, f"must be between 1 and m = {self.m}")
        return d * self.n


def _gpt_neox(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "vocab_size": 50304,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
    }


_QWEN = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
_LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e5,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": True,
}
_WIDE: dict[str, Any] = {"m": 2048, "n": 16_384, "degrees": (7, 30, 102), "dtype": "bfloat16"}

_RUNS = (
    PaperRun(
        name="pythia-70m",
        model="EleutherAI/pythia-70m-deduped",
        dtype="float32",
        bos=False,
        layers=(3,),
        m=512,
        n=4096,
        degrees=(7, 30, 50, 100, 200),
        other_k=(16, 32, 128),
        parameters=70_426_624,
        config=_gpt_neox(512, 6, 8),
        reported={
            3: {
                "dense warm": 0.947,
                "dense tied": 0.937,
                "d=200": 0.902,
                "d=100": 0.882,
                "d=50": 0.859,
                "d=30": 0.851,
                "d=7": 0.817,
                "clustered d=7": 0.810,
                "pruned and retuned d=7": 0.829,
            }
        },
    ),
    PaperRun(
        name="pythia-160m",
        model="EleutherAI/pythia-160m-deduped",
        dtype="float32",
        bos=False,
        layers=(4, 8),
        m=768,
        n=6144,
        degrees=(10, 75, 300),
        parameters=162_322_944,
        config=_gpt_neox(768, 12, 12),
        reported={
            4: {"dense warm": 0.949, "d=300": 0.901, "d=75": 0.836, "d=10": 0.742},
            8: {"dense warm": 0.946, "d=300": 0.889, "d=75": 0.836, "d=10": 0.767},
        },
    ),
    PaperRun(
        name="qwen2.5-3b",
        model="Qwen/Qwen2.5-3B",
        bos=False,
        layers=(12, 24),
        parameters=3_085_938_688,
        config=_QWEN,
        reported={
            12: {
                "dense warm": 0.983,
                "dense warm n=816": 0.946,
                "dense warm n=240": 0.906,
                "d=102": 0.919,
                "d=30": 0.895,
                "d=7": 0.828,
            },
            24: {"dense warm": 0.936, "d=102": 0.884, "d=30": 0.821, "d=7": 0.875},
        },
        **_WIDE,
    ),
    PaperRun(
        name="llama-3.2-1b",
        model="meta-llama/Llama-3.2-1B",
        bos=True,
        layers=(6, 12),
        parameters=1_235_814_400,
        config=_LLAMA,
        reported={
            6: {"dense warm": 0.952, "d=102": 0.816, "d=30": 0.743, "d=7": 0.576},
            12: {"dense warm": 0.958, "d=102": 0.758, "d=30": 0.707, "d=7": 0.608},
        },
        **_WIDE,
    ),
)


def paper_runs() -> dict[str, PaperRun]:
    """The presets by name, smallest model first."""
    return {run.name: run for run in _RUNS}


def reported(run: PaperRun, layer: int) -> Mapping[str, float]:
    """CE recovered that the paper reports for a layer: k = 64, mean of three seeds, zero ablation at all positions.

    Labels: "d=7" is the expander of that degree; "dense tied"; "dense warm" the dense SAE whose untied encoder starts
    at W^T, with "n=240" where it is one of few features (so many values as an expander); "clustered" and "pruned and
    retuned" the paper's controls. Their source is :data:`SOURCE`.

    Raises:
        InvalidArgument: a layer that the paper does not have for this model.
    """
    require(layer in run.reported, "layer", layer, f"must be one of {', '.join(map(str, run.layers))} for {run.name}")
    return MappingProxyType(dict(run.reported[layer]))
