"""Expander SAEs inside SAELens: importing this module registers the architecture "expander" (needs ``sae-lens``).

    import sae_bridge.interop.native
    sae = sae_lens.SAE.load_from_disk(folder)  # written by export_native, or by its own save_model

Encoding and decoding run the kernels: O(d n) a token. Codes are dense (..., n), as SAELens has them, and ``W_enc``
and ``W_dec`` are built when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sae_lens import SAE, SAEConfig, register_sae_class  # pyright: ignore[reportMissingImports]
from sae_lens.registry import SAE_CLASS_REGISTRY  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from expander_theory.masks import Mask
from sae_bridge.interop.native_files import ARCHITECTURE, DIGITS, FREE, checked_mask, digits_of, rows_of
from sae_bridge.sae import BATCH_TOPK_SHARE, PURSUITS, Pursuit, ops

_UNIT = 1e-2  # 16-bit columns are that far from unit norm


@dataclass
class ExpanderLensConfig(SAEConfig):
    """``cfg.json`` of an expander SAE.

    Attributes:
        k, activation, selection: see :class:`sae_bridge.sae.SparseAutoencoder`.
        d: nonzeros per column.
        encoder: "free" (values of its own), "omp" or "omp_nonnegative": a pursuit on the decoder.
        mask_recipe, mask_sha256: how the mask was made, and its hash, checked on loading.
    """

    k: int = 32
    d: int = 8
    encoder: str = FREE
    activation: str = "topk"
    selection: str = "signed"
    mask_recipe: str = ""
    mask_sha256: str = ""

    @classmethod
    def architecture(cls) -> str:
        return ARCHITECTURE


class ExpanderLensSAE(SAE[ExpanderLensConfig]):
    """An expander SAE as SAELens's tools take it.

    Parameters ``weight`` (n, d), ``encoder`` (n, d) where it is no pursuit, ``b_enc`` (n,), ``b_dec`` (m,); buffers
    ``rows`` (n, d) int32 and ``threshold`` (). A pursuit has no scores before its codes: hooks on
    ``hook_sae_acts_pre`` are not called.
    """

    rows: Tensor
    threshold: Tensor
    _known_mask: Mask | None = None

    def initialize_weights(self) -> None:
        n, d, here = self.cfg.d_sae, self.cfg.d, {"dtype": self.dtype, "device": self.device}
        self.weight = nn.Parameter(torch.full((n, d), d**-0.5, **here))
        self.pursuit = Pursuit(PURSUITS[self.cfg.encoder][0]) if self.cfg.encoder in PURSUITS else None
        if self.pursuit is None:
            self.encoder = nn.Parameter(torch.full((n, d), d**-0.5, **here))
        self.b_enc = nn.Parameter(torch.zeros(n, **here))
        self.b_dec = nn.Parameter(torch.zeros(self.cfg.d_in, **here))
        self.register_buffer("threshold", torch.zeros((), **here))
        self.register_buffer("rows", torch.arange(d, dtype=torch.int32, device=self.device).repeat(n, 1))

    def encode(self, x: Tensor) -> Tensor:
        """Activations (..., m) to codes (..., n)."""
        sae_in = self.process_sae_in(x)
        tokens = sae_in.reshape(-1, self.cfg.d_in)
        by_magnitude = self.cfg.selection == "magnitude"
        most = min(self.cfg.d_sae, BATCH_TOPK_SHARE * self.cfg.k) if self.cfg.activation == "batch_topk" else self.cfg.k
        if self.pursuit is not None:
            acts, indices = self.pursuit(tokens, self.weight, self.rows, self._mask(), self.cfg.k)
        elif self.hook_sae_acts_pre.has_hooks():
            scores = self.hook_sae_acts_pre(self._scores(tokens).reshape(*sae_in.shape[:-1], self.cfg.d_sae))
            scores = scores.reshape(len(tokens), self.cfg.d_sae)
            indices = (scores.abs() if by_magnitude else scores).topk(most, dim=1).indices
            acts = scores.gather(1, indices)
        else:
            acts, indices = ops.encode(tokens, self.encoder, self.b_enc, self.rows, most, by_magnitude)
        if not by_magnitude:
            acts = acts.relu()
        if self.cfg.activation == "batch_topk":
            acts = torch.where(acts > self.threshold, acts, 0)
        code = acts.new_zeros(len(tokens), self.cfg.d_sae).scatter(1, indices, acts)
        return self.hook_sae_acts_post(code.reshape(*sae_in.shape[:-1], self.cfg.d_sae))

    def decode(self, feature_acts: Tensor) -> Tensor:
        """Codes (..., n), with any number of nonzeros, to reconstructions (..., m)."""
        codes = feature_acts.reshape(-1, self.cfg.d_sae)
        most = max(1, int((codes != 0).sum(dim=1).max())) if len(codes) else 1
        indices = codes.abs().topk(most, dim=1).indices
        flat = ops.decode(codes.gather(1, indices), indices, self.weight, self.rows, self.cfg.d_in, trusted=True)
        out = self.hook_sae_recons(flat.reshape(*feature_acts.shape[:-1], self.cfg.d_in) + self.b_dec)
        return self.reshape_fn_out(self.run_time_activation_norm_fn_out(out), self.d_head)

    @property
    def W_enc(self) -> Tensor:
        """E^T, (m, n), built from the stored values (the decoder's for a pursuit); changes to it are lost."""
        return self._dense(self.weight if self.pursuit is not None else self.encoder).T

    @property
    def W_dec(self) -> Tensor:
        """The decoder, (n, m), built from the stored values; changes to it are lost."""
        return self._dense(self.weight)

    def _mask(self) -> Mask:
        rows = self.rows.cpu().numpy()
        if self._known_mask is None or not np.array_equal(rows, self._known_mask.rows):
            self._known_mask = Mask(self.cfg.d_in, rows)
        return self._known_mask

    def _dense(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.cfg.d_sae, self.cfg.d_in).scatter(1, self.rows.long(), values)

    def _scores(self, tokens: Tensor) -> Tensor:
        """E x + b_enc of every feature, (B, n): what a hook on ``hook_sae_acts_pre`` sees."""
        scores = self.b_enc.expand(len(tokens), -1)
        for i in range(self.cfg.d):
            scores = torch.addcmul(scores, tokens[:, self.rows[:, i]], self.encoder[:, i])
        return scores

    @torch.no_grad()
    def get_W_dec_norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.weight, dim=1).clamp_min(1e-8)

    @torch.no_grad()
    def fold_W_dec_norm(self) -> None:
        """Nothing to do for unit columns; others would change which features TopK chooses."""
        if float((self.get_W_dec_norm().float() - 1).abs().max()) > _UNIT:
            raise NotImplementedError("decoder columns are not of unit norm: folding that changes TopK's choice")

    @torch.no_grad()
    def fold_activation_norm_scaling_factor(self, scaling_factor: float) -> None:
        if self.pursuit is None:
            self.encoder *= scaling_factor
        self.weight /= scaling_factor
        self.b_dec /= scaling_factor
        self.cfg.normalize_activations = "none"

    def fold_activation_whitening(self, mean: Tensor, whitening_matrix: Tensor, unwhitening_matrix: Tensor) -> None:
        raise NotImplementedError("whitening would fill the columns of an expander SAE")

    def process_state_dict_for_saving(self, state_dict: dict[str, Any]) -> None:
        rows = state_dict.pop("rows").cpu().numpy()
        state_dict[DIGITS] = digits_of(rows, self.cfg.d_in)

    def process_state_dict_for_loading(self, state_dict: dict[str, Any]) -> None:
        """Rebuild the supports, which came cast to the SAE's dtype, and check them against the hash.

        Raises:
            InvalidFile: another mask than the configuration's.
        """
        rows = rows_of(state_dict.pop(DIGITS))
        about = self.cfg
        checked_mask("the SAE's weights", about.d_in, rows.cpu().numpy(), about.mask_recipe, about.mask_sha256)
        state_dict["rows"] = rows


if ARCHITECTURE not in SAE_CLASS_REGISTRY:
    register_sae_class(ARCHITECTURE, ExpanderLensSAE, ExpanderLensConfig)
