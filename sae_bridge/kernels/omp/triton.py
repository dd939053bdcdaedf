"""Selection step of OMP on a mask as one Triton kernel. Meaning and shapes: :mod:`sae_bridge.kernels.reference`.

A program takes a block of signals and a block of atoms, gathers d contiguous pieces of residual per atom, and keeps
the running maximum in registers; only one (score, atom) a program and signal is written, and reduced in torch. It costs
n d gathered multiply-adds a signal, and t comparisons for every 32 atoms, with t of them chosen already.
"""

# Triton's decorated functions and launch options are unknown to a type checker:
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

import torch
import triton  # type: ignore[import-not-found]
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

_GROUP = tl.constexpr(32)  # atoms whose "chosen already" marks fit one int32
_LANE_BYTES = 512  # of signals in a program: a warp loads 16 bytes a thread
_PROGRAMS = 128  # blocks of atoms wanted: then all that run at once share few signals, whose residuals stay in L2
_MAX_GROUPS = 16


@triton.jit(do_not_specialize=["count"])
def _partial_argmax(
    residual,
    rows,
    values,
    chosen,
    best_out,
    atom_out,
    n,
    batch,
    count,
    D: tl.constexpr,
    GROUPS: tl.constexpr,
    LANES: tl.constexpr,
    MAGNITUDE: tl.constexpr,
):
    block = tl.program_id(0)
    lanes = tl.program_id(1) * LANES + tl.arange(0, LANES)
    inside = lanes < batch
    best = tl.full((LANES,), float("-inf"), residual.dtype.element_ty)
    atom = tl.zeros((LANES,), tl.int32)
    for group in range(GROUPS):
        first = (block * GROUPS + group) * _GROUP
        # Which atoms of the group are in the support: one bit each, a lane a signal.
        taken = tl.zeros((LANES,), tl.int32)
        mark = chosen + lanes
        for _ in range(count):
            place = (tl.load(mark, mask=inside, other=-1) - first).to(tl.int32)
            within = (place >= 0) & (place < _GROUP)
            taken |= tl.where(within, 1 << tl.where(within, place, 0), 0)
            mark += batch
        # Correlate the atoms one by one with all signals of the block, and keep each signal's best.
        entry = first.to(tl.int64) * D
        for j in range(first, min(first + _GROUP, n)):
            total = tl.zeros((LANES,), residual.dtype.element_ty)
            for i in tl.static_range(D):
                piece = residual + tl.load(rows + entry + i).to(tl.int64) * batch
                total += tl.load(values + entry + i) * tl.load(piece + lanes, mask=inside, other=0.0)
            if MAGNITUDE:
                total = tl.abs(total)
            # Atoms come in increasing order, so a later equal score does not win.
            better = (total > best) & (((taken >> (j - first)) & 1) == 0)
            best = tl.where(better, total, best)
            atom = tl.where(better, j, atom)
            entry += D
    # The best of this block of atoms.
    place = block.to(tl.int64) * batch + lanes
    tl.store(best_out + place, best, mask=inside)
    tl.store(atom_out + place, atom, mask=inside)


def by_gather(rows: Tensor, values: Tensor, residual: Tensor, chosen: Tensor, magnitude: bool) -> tuple[Tensor, Tensor]:
    """See :func:`sae_bridge.kernels.omp.reference.by_gather`; ``residual`` and ``chosen`` contiguous."""
    (n, d), batch = rows.shape, residual.shape[1]
    groups = min(_MAX_GROUPS, max(1, triton.cdiv(n, _GROUP.value * _PROGRAMS)))
    blocks = triton.cdiv(n, _GROUP.value * groups)
    lanes = _LANE_BYTES // residual.element_size()
    best = residual.new_empty(blocks, batch)
    atom = torch.empty(blocks, batch, dtype=torch.int32, device=residual.device)
    with torch.cuda.device_of(residual):  # Triton launches on the current device
        _partial_argmax[(blocks, triton.cdiv(batch, lanes))](  # type: ignore[index]
            residual,
            rows,
            values,
            chosen,
            best,
            atom,
            n,
            batch,
            len(chosen),
            D=d,
            GROUPS=groups,
            LANES=lanes,
            MAGNITUDE=magnitude,
            num_warps=1,
            enable_fp_fusion=True,  # one rounding a term, as in the compiled loops of expander_theory
        )
    # Of the blocks with the largest score the lowest atom.
    top = best.amax(0)
    return top, torch.where(best == top, atom, n).amin(0).long()
