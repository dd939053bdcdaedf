"""Scores of masked columns for a tile of tokens, in LLVM's vector types.

A tile holds several tokens side by side, ``tile[row, lane]``: the scores of a column for all of them are d contiguous
loads, added up in registers. Numba keeps small arrays in memory, which costs a factor of ten here; so these loops are
emitted as vector code for whatever vectors the processor has. With the JIT off, NumPy does the same.

A column costs d vector multiply-adds for all tokens of the tile, and a comparison of one vector with the thresholds.
"""

# An intrinsic is called without the typing context of its definition, and the JIT-off versions replace the others:
# pyright: reportCallIssue=false, reportRedeclaration=false

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from expander_theory._kernels.linear.vectors import transposed
from expander_theory.base import njit

ROW_BYTES = 64
"""Bytes of one row of a tile: a cache line; tiles must begin on one."""

_SQUARE = 8  # tokens and rows that are transposed at a time
_INDEX = ir.IntType(32)


def lanes_of(dtype):
    """Tokens in a tile of this dtype: 16 in float32, 8 in float64."""
    return ROW_BYTES // np.dtype(dtype).itemsize


def _arrays(context, builder, signature, arguments):
    return [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if isinstance(kind, types.Array)
    ]


def _vector(array, lanes=None):
    scalar = ir.FloatType() if array.dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(scalar, lanes or ROW_BYTES * 8 // array.dtype.bitwidth)


def _at(builder, array, offset, vector):
    return builder.bitcast(builder.gep(array.data, [offset]), vector.as_pointer())


def _spread(builder, scalar, vector):
    """The vector whose lanes all hold ``scalar``."""
    undefined = ir.Constant(vector, ir.Undefined)
    zeros = ir.Constant(ir.VectorType(_INDEX, vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, ir.Constant(_INDEX, 0)), undefined, zeros)


@intrinsic
def _find(_, rows, weight, bias, tile, least, magnitude, first, stop, scores, marks):
    def emit(context, builder, signature, arguments):
        rows, weight, bias, tile, least, scores, marks = _arrays(context, builder, signature, arguments)
        magnitude, first, stop = arguments[5:8]
        vector = _vector(signature.args[1])
        d = cgutils.unpack_tuple(builder, rows.shape, 2)[1]
        zero, one, lanes, shift = (ir.Constant(d.type, value) for value in (0, 1, vector.count, 32))

        def call(name, *values):
            name = f"llvm.{name}.v{vector.count}f{ROW_BYTES * 8 // vector.count}"
            kind = ir.FunctionType(vector, [vector] * len(values))
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

        threshold = builder.load(_at(builder, least, zero, vector), align=ROW_BYTES)
        found = cgutils.alloca_once_value(builder, zero)
        total = cgutils.alloca_once(builder, vector)
        with cgutils.for_range_slice(builder, first, stop, one, d.type) as (j, _):
            # Score: the bias, and each of the column's d entries times the row of the tile that it meets.
            builder.store(_spread(builder, builder.load(builder.gep(bias.data, [j])), vector), total)
            start = builder.mul(j, d)
            with cgutils.for_range(builder, d) as loop:
                place = builder.add(start, loop.index)
                row = builder.zext(builder.load(builder.gep(rows.data, [place])), d.type)
                line = builder.load(_at(builder, tile, builder.mul(row, lanes), vector), align=ROW_BYTES)
                value = _spread(builder, builder.load(builder.gep(weight.data, [place])), vector)
                builder.store(call("fma", value, line, builder.load(total)), total)
            # + 0.0 makes -0.0 a 0.0, which it must tie with.
            score = builder.fadd(builder.load(total), ir.Constant(vector, [0.0] * vector.count))
            # Compare: one bit a lane says whether the score is above that lane's threshold, or NaN.
            key = builder.select(magnitude, call("fabs", score), score)
            above = builder.bitcast(builder.fcmp_unordered(">", key, threshold), ir.IntType(vector.count))
            # Always stored, kept only if some lane is above: every other column or so is, beyond branch prediction.
            slot = builder.load(found)
            mark = builder.or_(builder.shl(j, shift), builder.zext(above, d.type))
            builder.store(score, _at(builder, scores, builder.mul(slot, lanes), vector), align=ROW_BYTES)
            builder.store(mark, builder.gep(marks.data, [slot]))
            some = builder.icmp_unsigned("!=", above, ir.Constant(above.type, 0))
            builder.store(builder.add(slot, builder.zext(some, d.type)), found)
        return builder.load(found)

    return types.int64(rows, weight, bias, tile, least, magnitude, first, stop, scores, marks), emit


@intrinsic
def _fill(_, x, first, tile):
    def emit(context, builder, signature, arguments):
        x, tile = _arrays(context, builder, signature, arguments)
        m = cgutils.unpack_tuple(builder, x.shape, 2)[1]
        vector, lanes = _vector(signature.args[0], _SQUARE), _vector(signature.args[0]).count
        zero, step, width = (ir.Constant(m.type, value) for value in (0, _SQUARE, lanes))
        whole = builder.sub(m, builder.urem(m, step))
        with cgutils.for_range_slice(builder, zero, whole, step, m.type) as (i, _):
            # A square of tokens by rows: loaded along the tokens, transposed in registers, stored along the rows.
            for lane in range(0, lanes, _SQUARE):
                tokens = [builder.add(arguments[1], ir.Constant(m.type, lane + c)) for c in range(_SQUARE)]
                places = [builder.add(builder.mul(token, m), i) for token in tokens]
                size = ROW_BYTES // lanes
                lines = [builder.load(_at(builder, x, place, vector), align=size) for place in places]
                for c, line in enumerate(transposed(builder, lines, vector)):
                    place = builder.mul(builder.add(i, ir.Constant(m.type, c)), width)
                    place = builder.add(place, ir.Constant(m.type, lane))
                    builder.store(line, _at(builder, tile, place, vector), align=size * _SQUARE)
        return whole

    return types.int64(x, first, tile), emit


@intrinsic
def _lowest(_, mask):
    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.int64), emit


@njit(cache=True, nogil=True)
def find(rows, weight, bias, tile, least, magnitude, first, stop, scores, marks):
    """Columns of first .. stop - 1 whose score (its magnitude) is above ``least[lane]``, or NaN, in some lane.

    How many; ``scores[i, lane]`` holds the i-th one's scores, ``marks[i]`` its index in the upper half and a bit for
    every lane above in the lower. A threshold of NaN is below everything. ``scores`` and ``marks`` need one entry
    more than there are columns; rows are uint32.
    """
    return _find(rows, weight, bias, tile, least, magnitude, first, stop, scores, marks)


@njit(cache=True, nogil=True)
def fill(x, first, tile):
    """Tokens ``x[first:]`` to the lanes of the tile, as many as there are; 0 in the other lanes."""
    width = min(tile.shape[1], x.shape[0] - first)
    done = 0
    if width == tile.shape[1]:
        done = _fill(x, first, tile)
    else:
        tile[:, width:] = 0
    for i in range(done, x.shape[1]):
        for lane in range(width):
            tile[i, lane] = x[first + lane, i]


@njit(cache=True, nogil=True)
def lowest(mask):
    """Position of the lowest bit set; one must be."""
    return _lowest(mask)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def find(rows, weight, bias, tile, least, magnitude, first, stop, scores, marks):
        total = np.einsum("ji,jil->jl", weight[first:stop], tile[rows[first:stop]]) + bias[first:stop, None] + 0.0
        above = ~((np.abs(total) if magnitude else total) <= least)
        columns = np.flatnonzero(above.any(axis=1))
        scores[: columns.size] = total[columns]
        marks[: columns.size] = (first + columns << 32) | (above[columns] << np.arange(least.size)).sum(axis=1)
        return columns.size

    def fill(x, first, tile):
        tokens = x[first : first + tile.shape[1]]
        tile[:] = 0
        tile[:, : len(tokens)] = tokens.T

    def lowest(mask):
        return (int(mask) & -int(mask)).bit_length() - 1
