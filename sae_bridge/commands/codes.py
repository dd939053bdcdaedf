"""``expander sae codes``."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Codes:
    """Write the sparse codes of activations, for sweeps and certificates."""

    sae: tyro.conf.Positional[Path]
    """Folder written by `expander sae train`, SAELens or sparsify."""
    activations: tyro.conf.Positional[Path]
    """Folder written by `expander sae harvest`."""
    out: Path
    """File for the codes: a .npz of scipy.sparse, (tokens, n), float32. Columns are those of the decoder as stored."""
    method: str = "encoder"
    """How they are found: encoder, or another of `expander sae gap`, such as omp."""
    split: Literal["held_out", "train"] = "held_out"
    """Which tokens."""
    tokens: int = 20_000
    """The first so many of them."""
    other_activations: bool = False
    """Accept SAEs that were trained on other text, or that do not say on which activations."""
    other_place: bool = False
    """Accept also SAEs of another layer, hook or language model than these activations'."""
    force: bool = False
    """Overwrite an existing file."""
    device: str = "cpu"
    """Torch device."""

    def run(self) -> None:
        import scipy.sparse

        from expander_theory.base import progress_bar, require
        from expander_theory.results import atomic_write, require_new
        from sae_bridge.activations import ActivationStore
        from sae_bridge.codes import Coder
        from sae_bridge.commands.loading import load_saes

        require(self.out.suffix == ".npz", "out", self.out, "must end in .npz for codes")
        require(self.tokens >= 1, "tokens", self.tokens, "must be at least 1")
        require_new(self.out, self.force)
        store = ActivationStore(self.activations)
        ((sae, _),) = load_saes(
            [self.sae], store, self.device, other_activations=self.other_activations, other_place=self.other_place
        ).values()
        coder, parts, left = Coder(sae), [], min(self.tokens, store.count(self.split))
        with progress_bar(total=left, unit="token", desc="codes") as bar:
            for batch in store.batches(self.split, 1024):
                acts, indices = coder(batch[:left].to(self.device), self.method)
                parts.append(_sparse(acts.float().cpu().numpy(), indices.cpu().numpy(), coder.dictionary.n))
                left -= len(acts)
                bar.update(len(acts))
                if left == 0:
                    break
        codes: Any = scipy.sparse.csr_array(scipy.sparse.vstack(parts))
        data = io.BytesIO()
        scipy.sparse.save_npz(data, codes)
        atomic_write(self.out, data.getvalue())
        counts = codes.indptr[1:] - codes.indptr[:-1]
        sizes = f"{counts.min()} to {counts.max()} nonzeros, {counts.mean():.4g} on average"
        print(f"wrote {self.out}: {codes.shape[0]} codes of length {codes.shape[1]}, {sizes}")
        print(f"a sweep over them: expander sweep real --codes {self.out} --n {codes.shape[1]} --family uniform")


def _sparse(acts: Any, indices: Any, n: int) -> Any:
    """A batch of codes (B, K) as a scipy.sparse array; an index that repeats adds up, zeros are padding."""
    import numpy as np
    import scipy.sparse

    rows = np.repeat(np.arange(len(acts)), acts.shape[1])
    matrix: Any = scipy.sparse.csr_array((acts.ravel(), (rows, indices.ravel())), shape=(len(acts), n))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix
