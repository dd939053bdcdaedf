"""A few dense columns and a tile of residuals (see :mod:`vectors`), in LLVM's vector types.

Each loop costs r m vector multiply-adds for r columns, of a register's lanes each.
"""

# As in vectors:
# pyright: reportCallIssue=false, reportRedeclaration=false

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from expander_theory._kernels.linear.vectors import TILE_BYTES
from expander_theory.base import njit

_INDEX = ir.IntType(32)


class _Dense:
    """The arrays columns (r, m), sums (r, lanes) and tile (m, lanes), and what both loops do with them."""

    def __init__(self, context, builder, signature, arguments):
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        self.builder = builder
        self.columns, self.sums, self.tile = (array.data for array in arrays)
        self.r, self.m = cgutils.unpack_tuple(builder, arrays[0].shape, 2)
        self.size = signature.args[0].dtype.bitwidth // 8
        self.scalar = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, TILE_BYTES // self.size)
        name = f"llvm.fma.v{self.vector.count}f{8 * self.size}"
        self.fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.vector, [self.vector] * 3), name)

    def line(self, pointer, index):
        """Where row ``index`` of an array of ``lanes`` columns begins."""
        offset = self.builder.mul(index, ir.Constant(index.type, self.vector.count))
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.vector.as_pointer())

    def load(self, pointer, index):
        return self.builder.load(self.line(pointer, index), align=self.size)

    def store(self, value, pointer, index):
        self.builder.store(value, self.line(pointer, index), align=self.size)

    def entry(self, l, i):
        """Entry i of column l, in all lanes."""
        b, none = self.builder, ir.Constant(self.vector, ir.Undefined)
        value = b.load(b.gep(self.columns, [b.add(b.mul(l, self.m), i)]))
        zeros = ir.Constant(ir.VectorType(_INDEX, self.vector.count), [0] * self.vector.count)
        return b.shuffle_vector(b.insert_element(none, value, ir.Constant(_INDEX, 0)), none, zeros)

    def variable(self):
        return cgutils.alloca_once(self.builder, self.vector)


@intrinsic
def _subtract(_, columns, moves, tile):
    def emit(context, builder, signature, arguments):
        dense = _Dense(context, builder, signature, arguments)
        line = dense.variable()
        with cgutils.for_range(builder, dense.m) as row:
            builder.store(dense.load(dense.tile, row.index), line)
            with cgutils.for_range(builder, dense.r) as column:
                weight = builder.fneg(dense.entry(column.index, row.index))
                move = dense.load(dense.sums, column.index)
                builder.store(builder.call(dense.fma, [weight, move, builder.load(line)]), line)
            dense.store(builder.load(line), dense.tile, row.index)
        return context.get_dummy_value()

    return types.void(columns, moves, tile), emit


@intrinsic
def _correlate(_, columns, scores, tile):
    def emit(context, builder, signature, arguments):
        dense = _Dense(context, builder, signature, arguments)
        sums = [dense.variable(), dense.variable()]
        zero, two = ir.Constant(dense.r.type, 0), ir.Constant(dense.r.type, 2)
        last = builder.sub(dense.r, ir.Constant(dense.r.type, 1))
        # Two columns at a time, so that their sums stay in registers and do not wait for each other; a last single
        # column is taken twice.
        with cgutils.for_range_slice(builder, zero, dense.r, two, dense.r.type) as (first, _):
            after = builder.add(first, ir.Constant(first.type, 1))
            pair = (first, builder.select(builder.icmp_signed("<", after, dense.r), after, last))
            for total in sums:
                builder.store(ir.Constant(dense.vector, [0.0] * dense.vector.count), total)
            with cgutils.for_range(builder, dense.m) as row:
                line = dense.load(dense.tile, row.index)
                for column, total in zip(pair, sums, strict=True):
                    entry = dense.entry(column, row.index)
                    builder.store(builder.call(dense.fma, [entry, line, builder.load(total)]), total)
            for column, total in zip(pair, sums, strict=True):
                dense.store(builder.load(total), dense.sums, column)
        return context.get_dummy_value()

    return types.void(columns, scores, tile), emit


@njit(cache=True, nogil=True)
def subtract_columns(columns, moves, tile):
    """``tile -= columns^T moves``: residual r of lane l loses sum_j moves[j, l] w_j."""
    _subtract(columns, moves, tile)


@njit(cache=True, nogil=True)
def correlate_columns(columns, scores, tile):
    """``scores[j, lane] = <w_j, r>`` for every residual r of the tile."""
    _correlate(columns, scores, tile)


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def subtract_columns(columns, moves, tile):
        tile -= columns.T @ moves

    def correlate_columns(columns, scores, tile):
        scores[:] = columns @ tile
