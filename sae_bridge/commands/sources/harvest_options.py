"""Which activations of which text: the options that harvests and training without a store share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sae_bridge.activations import Harvest, Place
    from sae_bridge.models import LanguageModel

Hook = Literal["resid_pre", "resid_post", "mlp_in", "mlp_out", "attn_out", "attn_z"]


@dataclass(frozen=True, kw_only=True)
class HarvestOptions:
    """Text, places in the model, and the tokens that count."""

    text: tuple[str, ...] = ("enwik8",)
    """"enwik8" (see `expander fetch`), or .txt files (one document each), .jsonl files (one document a line,
    field "text"), folders of both, or hf:NAME[:SPLIT[:FIELD]] for a data set of the package `datasets` (split
    "train", or a slice such as "train[:10000]"; field "text"). One document in ten is held out."""
    layer: tuple[int, ...] | Literal["all"] = ()
    """Decoder blocks, or "all"; default: the one at half depth. Every layer is taken with every hook."""
    hook: tuple[Hook, ...] = ("resid_post",)
    """Residual stream before (resid_pre) or after the block (resid_post), what its MLP reads (mlp_in) and adds to the
    stream (mlp_out), what its attention adds (attn_out), or the attention's heads before their projection (attn_z)."""
    context: int = 128
    """Tokens per context."""
    tokens: int = 100_000
    """Training tokens, rounded up to whole contexts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What activations are rounded to; "bfloat16" halves the space and keeps 8 bits of precision."""
    bos: bool = False
    """Put the tokenizer's BOS token in front of every context; default: only if the tokenizer does so by itself."""
    no_bos: bool = False
    """Put no BOS token in front of contexts, whatever the tokenizer does by itself."""
    keep_first: bool = False
    """Let the first position of every context count in training and metrics."""
    keep_special: bool = False
    """Let the tokenizer's special tokens count in training and metrics."""
    outlier_ratio: float | None = 6.0
    """Tokens whose norm exceeds this many medians do not count; "None": no such limit."""

    def what(self, *, batch: int, held_out_tokens: int | None = None) -> "Harvest":
        """The harvest that is asked for, without its places.

        Args:
            batch: contexts per forward pass.
            held_out_tokens: None where no held-out text is used.

        Raises:
            InvalidArgument: an option out of range, or --bos with --no-bos.
        """
        from expander_theory.base import require
        from sae_bridge.activations import Harvest, TokenPolicy

        require(self.tokens >= 1, "tokens", self.tokens, "must be at least 1")
        held_out = 1 if held_out_tokens is None else held_out_tokens
        require(held_out >= 1, "held-out-tokens", held_out_tokens, "must be at least 1")
        require(self.context >= 3, "context", self.context, "must be at least 3 tokens")
        require(not (self.bos and self.no_bos), "bos", True, "contradicts --no-bos")
        return Harvest(
            context=self.context,
            train_contexts=-(-self.tokens // self.context),
            held_out_contexts=-(-held_out // self.context),
            batch=batch,
            dtype=self.dtype,
            policy=TokenPolicy(
                bos=True if self.bos else False if self.no_bos else None,
                drop_first=not self.keep_first,
                drop_special=not self.keep_special,
                outlier_ratio=self.outlier_ratio,
            ),
        )

    def places(self, model: "LanguageModel") -> "list[Place]":
        """Layers and hooks, layer by layer.

        Raises:
            InvalidArgument: a layer or a hook that repeats, or no hook.
        """
        from expander_theory.base import require

        count = len(model.layers)
        layers = range(count) if self.layer == "all" else self.layer or (count // 2 - 1,)
        for name, values in (("layer", layers), ("hook", self.hook)):
            require(len(set(values)) == len(values), name, list(values), "must not repeat")
        require(len(self.hook) > 0, "hook", "none", "must name at least one")
        return [(layer, hook) for layer in layers for hook in self.hook]
