"""Correlations of all columns with a tile of residuals, in LLVM's vector types.

A tile holds several residuals side by side, ``tile[row, lane]``: a masked column's correlation with all of them is d
contiguous loads, added up in registers. Numba keeps small arrays in memory, which costs a factor of ten here; so these
two loops are emitted as vector code for whatever vectors the processor has. With the JIT off, NumPy does the same.

A pass over n columns of d entries costs n d vector multiply-adds, of a register's lanes each.
"""

# An intrinsic is called without the typing context of its definition, and the JIT-off versions replace the others:
# pyright: reportCallIssue=false, reportRedeclaration=false

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from expander_theory.base import njit

TILE_BYTES = 128
"""Bytes of one row of a tile: two cache lines."""
BLOCK_BYTES = 64
"""Columns that :func:`correlations` writes at a time, as bytes: one cache line."""

COMBINED = 256
"""Columns that :func:`combine` computes at a time."""

_INDEX = ir.IntType(32)


def lanes_of(dtype):
    """Residuals in a tile of this dtype: 32 in float32, 16 in float64."""
    return TILE_BYTES // np.dtype(dtype).itemsize


def aligned(shape, dtype):
    """An uninitialised array that begins on a cache line: rows of a tile then never straddle one line more."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.empty(size + BLOCK_BYTES, np.uint8)
    start = -buffer.ctypes.data % BLOCK_BYTES
    return buffer[start : start + size].view(dtype).reshape(shape)


class _Columns:
    """What both loops share: the arrays, and a column's correlation with the tile as one vector."""

    def __init__(self, context, builder, signature, arguments, width=None):
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
            if isinstance(kind, types.Array)
        ]
        self.builder, self.data = builder, [array.data for array in arrays]
        self.size = signature.args[1].dtype.bitwidth // 8
        self.scalar = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, width or TILE_BYTES // self.size)
        self.rows, _ = self.n, self.d = cgutils.unpack_tuple(builder, arrays[0].shape, 2)
        self.sum = cgutils.alloca_once(builder, self.vector)

    def load(self, pointer, offset, kind=None):
        """Element ``offset`` of an array, or the vector that begins there."""
        place = self.builder.gep(pointer, [offset])
        if kind is None:
            return self.builder.load(place)
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=self.size)

    def store(self, value, pointer, offset):
        place = self.builder.bitcast(self.builder.gep(pointer, [offset]), value.type.as_pointer())
        self.builder.store(value, place, align=self.size)

    def spread(self, scalar):
        """The vector whose lanes all hold ``scalar``."""
        kind = ir.VectorType(scalar.type, self.vector.count)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INDEX, 0))
        zeros = ir.Constant(ir.VectorType(_INDEX, self.vector.count), [0] * self.vector.count)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def call(self, name, *values):
        kind = ir.FunctionType(self.vector, [self.vector] * len(values))
        full = f"llvm.{name}.v{self.vector.count}f{8 * self.size}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, full), values)

    def correlation(self, j, lanes=None, lane=None):
        """<w_j, r> for every residual r of the tile, or for one lane of it."""
        b, (rows, values, tile) = self.builder, self.data[:3]
        b.store(ir.Constant(self.vector, [0.0] * self.vector.count), self.sum)
        first = b.mul(j, self.d)
        with cgutils.for_range(b, self.d) as loop:
            place = b.add(first, loop.index)
            row = b.sext(self.load(rows, place), place.type)
            residual = b.mul(row, lanes or ir.Constant(row.type, self.vector.count))
            if lane is not None:
                residual = b.add(residual, lane)
            # One value of the column times the residual of all lanes at its row, added in one rounding.
            weight = self.spread(self.load(values, place))
            b.store(self.call("fma", weight, self.load(tile, residual, self.vector), b.load(self.sum)), self.sum)
        return b.load(self.sum)


@intrinsic
def _squared_norms(_, tile, out):
    def emit(context, builder, signature, arguments):
        c = _Columns(context, builder, signature, arguments)
        zero, lanes = ir.Constant(c.rows.type, 0), ir.Constant(c.rows.type, c.vector.count)
        builder.store(ir.Constant(c.vector, [0.0] * c.vector.count), c.sum)
        with cgutils.for_range(builder, c.rows) as loop:
            line = c.load(c.data[0], builder.mul(loop.index, lanes), c.vector)
            builder.store(c.call("fma", line, line, builder.load(c.sum)), c.sum)
        c.store(builder.load(c.sum), c.data[1], zero)
        return context.get_dummy_value()

    return types.void(tile, out), emit


@intrinsic
def _correlations(_, rows, values, tile, out):
    def emit(context, builder, signature, arguments):
        c = _Columns(context, builder, signature, arguments)
        out = context.make_array(signature.args[3])(context, builder, arguments[3])
        stride = cgutils.unpack_tuple(builder, out.shape, 2)[1]
        width = BLOCK_BYTES // c.size
        half = ir.VectorType(c.scalar, width)
        block = cgutils.alloca_once(builder, c.vector, width)
        step = ir.Constant(c.n.type, width)
        with cgutils.for_range_slice(builder, ir.Constant(c.n.type, 0), c.n, step, c.n.type) as (first, _):
            # The correlations of a block of columns, a vector of all lanes each.
            with cgutils.for_range(builder, step) as column:
                value = c.correlation(builder.add(first, column.index))
                builder.store(value, builder.gep(block, [column.index]))
            # Transposed square by square, so that each lane's row of ``out`` gets a whole cache line at a time.
            for part in range(c.vector.count // width):
                lanes = [part * width + l for l in range(width)]
                pick = ir.Constant(ir.VectorType(_INDEX, width), lanes)
                rows_of_block = [builder.load(builder.gep(block, [ir.Constant(_INDEX, i)])) for i in range(width)]
                square = [builder.shuffle_vector(v, ir.Constant(c.vector, ir.Undefined), pick) for v in rows_of_block]
                for lane, line in zip(lanes, transposed(builder, square, half), strict=True):
                    c.store(line, c.data[3], builder.add(first, builder.mul(stride, ir.Constant(c.n.type, lane))))
        return context.get_dummy_value()

    return types.void(rows, values, tile, out), emit


@intrinsic
def _correlations_one(_, rows, values, tile, lane, scores):
    def emit(context, builder, signature, arguments):
        c = _Columns(context, builder, signature, arguments, 1)
        out = context.make_array(signature.args[4])(context, builder, arguments[4])
        first = builder.mul(arguments[3], cgutils.unpack_tuple(builder, out.shape, 2)[1])
        lanes = ir.Constant(c.n.type, TILE_BYTES // c.size)
        with cgutils.for_range(builder, c.n) as loop:
            value = c.correlation(loop.index, lanes, arguments[3])
            c.store(value, c.data[3], builder.add(first, loop.index))
        return context.get_dummy_value()

    return types.void(rows, values, tile, lane, scores), emit


@intrinsic
def _correlations_of(_, rows, values, signal, out):
    def emit(context, builder, signature, arguments):
        c = _Columns(context, builder, signature, arguments, 1)
        with cgutils.for_range(builder, c.n) as loop:
            c.store(c.correlation(loop.index, ir.Constant(c.n.type, 1)), c.data[3], loop.index)
        return context.get_dummy_value()

    return types.void(rows, values, signal, out), emit


@intrinsic
def _combine(_, halves, rows, weights, count, start, out):
    def emit(context, builder, signature, arguments):
        arrays = {i: context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 2, 4, 5)}
        n = cgutils.unpack_tuple(builder, arrays[0].shape, 2)[1]
        width, parts = BLOCK_BYTES // 4, COMBINED // (BLOCK_BYTES // 4)
        single, half = (ir.VectorType(kind, width) for kind in (ir.FloatType(), ir.HalfType()))
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(single, [single] * 3), f"llvm.fma.v{width}f32"
        )

        def place(array, offset, kind):
            return builder.bitcast(builder.gep(arrays[array].data, [offset]), kind.as_pointer())

        # A block of columns stays in registers while all rows are subtracted from it: ``out`` is written once.
        sums = [cgutils.alloca_once(builder, single) for _ in range(parts)]
        step = ir.Constant(n.type, COMBINED)
        with cgutils.for_range_slice(builder, ir.Constant(n.type, 0), n, step, n.type) as (first, _):
            at = [builder.add(first, ir.Constant(n.type, part * width)) for part in range(parts)]
            for part in range(parts):
                builder.store(builder.load(place(4, at[part], single), align=4), sums[part])
            # Minus weight times the row: widened from half to single precision, multiplied and added in one rounding.
            with cgutils.for_range(builder, arguments[3]) as loop:
                row = builder.load(builder.gep(arrays[1].data, [loop.index]))
                weight = builder.fneg(builder.load(builder.gep(arrays[2].data, [loop.index])))
                one = builder.insert_element(ir.Constant(single, ir.Undefined), weight, ir.Constant(_INDEX, 0))
                zeros = ir.Constant(ir.VectorType(_INDEX, width), [0] * width)
                spread = builder.shuffle_vector(one, ir.Constant(single, ir.Undefined), zeros)
                for part in range(parts):
                    line = builder.load(place(0, builder.add(builder.mul(row, n), at[part]), half), align=2)
                    total = builder.call(fma, [spread, builder.fpext(line, single), builder.load(sums[part])])
                    builder.store(total, sums[part])
            for part in range(parts):
                builder.store(builder.load(sums[part]), place(5, at[part], single), align=4)
        return context.get_dummy_value()

    return types.void(halves, rows, weights, count, start, out), emit


def transposed(builder, lines, kind):
    """The vectors ``lines``, a square, transposed: off-diagonal quarters change places, then theirs, and so on."""
    width, distance = kind.count, kind.count // 2
    while distance:
        for i in [i for i in range(width) if i & distance == 0]:
            a, b = lines[i], lines[i + distance]
            from_b = [l if l & distance == 0 else width + l - distance for l in range(width)]
            from_a = [l + distance if l & distance == 0 else width + l for l in range(width)]
            lines[i], lines[i + distance] = (
                builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, width), pick))
                for pick in (from_b, from_a)
            )
        distance //= 2
    return lines


@njit(cache=True, nogil=True)
def squared_norms(tile, out):
    """``out[lane] = ||r||^2``."""
    _squared_norms(tile, out)


@njit(cache=True, nogil=True)
def correlations(rows, values, tile, out):
    """``out[lane, j] = <w_j, r>``; the number of columns must be a multiple of :data:`BLOCK_BYTES` in elements.

    ``out`` may have more columns than there are.
    """
    _correlations(rows, values, tile, out)


@njit(cache=True, nogil=True)
def correlations_one(rows, values, tile, lane, out):
    """One lane of :func:`correlations`, to the same last bit, for any number of columns."""
    _correlations_one(rows, values, tile, lane, out)


@njit(cache=True, nogil=True)
def correlations_of(rows, values, signal, out):
    """``out[j] = <w_j, signal>``, to the same last bit as :func:`correlations`, for any number of columns."""
    _correlations_of(rows, values, signal, out)


@njit(cache=True, nogil=True)
def combine(halves, rows, weights, count, start, out):
    """``out = start - weights[:count] @ halves[rows[:count]]``, in float32.

    ``halves`` holds float16 numbers as their uint16 bits; its width must be a multiple of :data:`COMBINED`. Rows are
    int64, weights, start and out float32.
    """
    _combine(halves, rows, weights, count, start, out)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def squared_norms(tile, out):
        out[:] = (tile * tile).sum(axis=0)

    def correlations_one(rows, values, tile, lane, out):
        out[lane, : len(rows)] = np.einsum("ji,ji->j", values, tile[rows, lane])

    def correlations(rows, values, tile, out):
        for lane in range(tile.shape[1]):
            correlations_of(rows, values, tile[:, lane], out[lane, : len(rows)])

    def correlations_of(rows, values, signal, out):
        out[:] = np.einsum("ji,ji->j", values, signal[rows])

    def combine(halves, rows, weights, count, start, out):
        out[:] = start - weights[:count] @ halves[rows[:count]].view(np.float16).astype(np.float32)
