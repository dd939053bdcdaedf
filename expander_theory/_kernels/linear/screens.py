"""Correlations of all columns with a tile of residuals in 16-bit integers: which columns may be the best of a lane.

Products of 16-bit integers of which the upper half is kept: half the bytes of single precision, twice the lanes of a
register, and an error that is known beforehand. Values are multiplied by :data:`FULL`, residuals by
:func:`room` / ||r||; then no sum of products overflows, and none is further than :func:`error` from the correlation in
its unit. A column whose score is more than twice that below the largest is not the best of its lane. The few that are
left have to be computed exactly.
"""

# An intrinsic is called without the typing context of its definition, and the JIT-off versions replace the others:
# pyright: reportCallIssue=false, reportRedeclaration=false

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from expander_theory._kernels.linear.vectors import TILE_BYTES
from expander_theory.base import njit

BLOCK = 8
"""Columns of which only the largest score is kept."""
FULL = 2**15 - 1

_WORD, _INDEX = ir.IntType(16), ir.IntType(32)


@njit(cache=True, nogil=True)
def room(d):
    """The norm of a residual in integers: it leaves room for its own rounding, and for those of d products in a sum.

    0 where d is so large that there is none: all scores are equal then.
    """
    return max(0.0, 0.99 * FULL - 4 * d)


@njit(cache=True, nogil=True)
def error(d):
    """By how much a score may be wrong: a product by 1/2 for its lower half and 1/4 for the rounding of each factor."""
    return d + 1


def words(values):
    """Values of unit columns as 16-bit integers."""
    return np.rint(np.clip(values, -1, 1) * FULL).astype(np.int16)


class _Arrays:
    """The arrays of an intrinsic by number, and vectors of their entries."""

    def __init__(self, context, builder, signature, arguments):
        self.builder = builder
        given = [pair for pair in zip(signature.args, arguments, strict=True) if isinstance(pair[0], types.Array)]
        self.all = [context.make_array(kind)(context, builder, value) for kind, value in given]
        self.sizes = [kind.dtype.bitwidth // 8 for kind, _ in given]

    def shape(self, i):
        return cgutils.unpack_tuple(self.builder, self.all[i].shape, 2)

    def place(self, i, offset, kind):
        return self.builder.bitcast(self.builder.gep(self.all[i].data, [offset]), kind.as_pointer())

    def load(self, i, offset, kind):
        return self.builder.load(self.place(i, offset, kind), align=self.sizes[i])

    def store(self, value, i, offset):
        self.builder.store(value, self.place(i, offset, value.type), align=self.sizes[i])

    def spread(self, scalar, count):
        kind = ir.VectorType(scalar.type, count)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INDEX, 0))
        zeros = ir.Constant(ir.VectorType(_INDEX, count), [0] * count)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def larger(self, a, b):
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)


def _lanes(kind):
    """Lanes of a tile of this type of entries: two cache lines, as in :mod:`vectors`."""
    return TILE_BYTES * 8 // kind.dtype.bitwidth


@intrinsic
def _to_words(_, tile, factors, out):
    lanes = _lanes(tile)

    def emit(context, builder, signature, arguments):
        a = _Arrays(context, builder, signature, arguments)
        scalar = ir.FloatType() if tile.dtype.bitwidth == 32 else ir.DoubleType()
        kind, name = ir.VectorType(scalar, lanes), f"llvm.rint.v{lanes}f{tile.dtype.bitwidth}"
        rint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        count = a.shape(0)[0]
        factor = a.load(1, count.type(0), kind)
        with cgutils.for_range(builder, count) as loop:
            first = builder.mul(loop.index, count.type(lanes))
            whole = builder.call(rint, [builder.fmul(a.load(0, first, kind), factor)])
            wide = builder.fptosi(whole, ir.VectorType(_INDEX, lanes))
            a.store(builder.trunc(wide, ir.VectorType(_WORD, lanes)), 2, first)
        return context.get_dummy_value()

    return types.void(tile, factors, out), emit


@intrinsic
def _screen(_, rows, weights, tile, signed, peaks, top, like):
    lanes = _lanes(like)

    def emit(context, builder, signature, arguments):
        a = _Arrays(context, builder, signature, arguments)
        word, wide = ir.VectorType(_WORD, lanes), ir.VectorType(_INDEX, lanes)
        n, d = a.shape(0)
        block, step = cgutils.alloca_once(builder, word), n.type(BLOCK)
        best, total = cgutils.alloca_once(builder, word), cgutils.alloca_once(builder, word)
        lowest, zero = ir.Constant(word, [-FULL] * lanes), ir.Constant(word, [0] * lanes)
        half, shift = builder.trunc(builder.lshr(d, d.type(1)), _WORD), ir.Constant(wide, [16] * lanes)
        centre = a.spread(half, lanes)  # products are rounded down, by 1/2 on average
        builder.store(lowest, best)
        with cgutils.for_range_slice(builder, n.type(0), n, step, n.type) as (first, _):
            builder.store(lowest, block)
            rest = builder.sub(n, first)
            size = builder.select(builder.icmp_signed("<", rest, step), rest, step)
            with cgutils.for_range(builder, size) as column:
                begin = builder.mul(builder.add(first, column.index), d)
                builder.store(centre, total)
                with cgutils.for_range(builder, d) as entry:
                    place = builder.add(begin, entry.index)
                    row = builder.sext(a.load(0, place, _INDEX), n.type)
                    line = a.load(2, builder.mul(row, n.type(lanes)), word)
                    weight = a.spread(a.load(1, place, _WORD), lanes)
                    product = builder.mul(builder.sext(weight, wide), builder.sext(line, wide))
                    upper = builder.trunc(builder.ashr(product, shift), word)
                    builder.store(builder.add(builder.load(total), upper), total)
                value = builder.load(total)
                modulus = a.larger(value, builder.sub(zero, value))
                score = builder.select(arguments[3], value, modulus)
                builder.store(a.larger(score, builder.load(block)), block)
            a.store(builder.load(block), 3, builder.mul(builder.sdiv(first, step), n.type(lanes)))
            builder.store(a.larger(builder.load(block), builder.load(best)), best)
        a.store(builder.load(best), 4, n.type(0))
        return context.get_dummy_value()

    return types.void(rows, weights, tile, signed, peaks, top, like), emit


@intrinsic
def _reached(_, peaks, least, out, like):
    lanes = _lanes(like)

    def emit(context, builder, signature, arguments):
        a = _Arrays(context, builder, signature, arguments)
        word, count = ir.VectorType(_WORD, lanes), a.shape(0)[0]
        bound = a.load(1, count.type(0), word)
        with cgutils.for_range(builder, count) as loop:
            line = a.load(0, builder.mul(loop.index, count.type(lanes)), word)
            bits = builder.bitcast(builder.icmp_signed(">=", line, bound), ir.IntType(lanes))
            a.store(bits if lanes == 32 else builder.zext(bits, _INDEX), 2, loop.index)
        return context.get_dummy_value()

    return types.void(peaks, least, out, like), emit


@njit(cache=True, nogil=True)
def to_words(tile, factors, out):
    """``out = round(tile * factors)``, a factor for each lane; the integers must fit."""
    _to_words(tile, factors, out)


@njit(cache=True, nogil=True)
def screen(rows, weights, tile, signed, peaks, top, like):
    """Scores, of modulus unless signed: ``peaks[j // BLOCK, lane]`` the largest of a block, ``top[lane]`` of all.

    Args:
        rows, weights: of the columns, int32 and int16 (n, d); see :func:`words`.
        tile, peaks, top: int16, (m, lanes), (ceil(n / BLOCK), lanes), (lanes,).
        like: an array of the type of the residuals, which says how many lanes there are.
    """
    _screen(rows, weights, tile, signed, peaks, top, like)


@njit(cache=True, nogil=True)
def reached(peaks, least, out, like):
    """``out[block]``: as bits, uint32, the lanes in which the peak of a block is at least ``least[lane]``."""
    _reached(peaks, least, out, like)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def to_words(tile, factors, out):
        out[:] = np.rint(tile * factors)

    def screen(rows, weights, tile, signed, peaks, top, like):
        n, d = rows.shape
        products = (weights[:, :, None].astype(np.int32) * tile[rows]) >> 16
        scores = products.sum(axis=1) + d // 2
        scores = scores if signed else np.abs(scores)
        padded = np.full((len(peaks) * BLOCK, tile.shape[1]), -FULL)
        padded[:n] = scores
        peaks[:] = padded.reshape(len(peaks), BLOCK, -1).max(axis=1)
        top[:] = peaks.max(axis=0)

    def reached(peaks, least, out, like):
        out[:] = (peaks >= least) @ (1 << np.arange(peaks.shape[1], dtype=np.uint32))
