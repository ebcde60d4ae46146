"""Sixteen float32 numbers as one value inside numba functions.

numba has no vector type of its own, and LLVM's automatic vectoriser gives up on the voice kernel (too many
arrays that might overlap). Here a vector is LLVM's `<16 x float>`, which every processor's back end splits
into the widths it has. Each operation is written once, so a sample is computed by the same instructions
whatever the block size: the reason why a cut never changes a sample.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from neuralsynth.sound import LANES
from neuralsynth.sound.compiled import inlined

_FLOATS = ir.VectorType(ir.FloatType(), LANES)


class _Float32x16(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Float32x16")


float32x16 = _Float32x16()


@register_model(_Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


def _pointer(context, builder, array_type, array, index):
    """Address of 16 floats from `index` on in a contiguous float32 array of one dimension."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


@intrinsic
def load(typing, array, index):
    """`array[index : index + 16]` of a 1-D float32 array."""

    def code(context, builder, signature, args):
        value = builder.load(_pointer(context, builder, signature.args[0], *args))
        value.align = 4
        return value

    return float32x16(array, types.intp), code


@intrinsic
def load_whole(typing, array, index):
    """`array[index : index + 16]` of a 1-D int16 array, as float32."""

    def code(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        whole = ir.VectorType(ir.IntType(16), LANES)
        value = builder.load(builder.bitcast(builder.gep(data, [args[1]]), whole.as_pointer()))
        value.align = 2
        return builder.sitofp(value, _FLOATS)

    return float32x16(array, types.intp), code


@intrinsic
def store(typing, array, index, value):
    """`array[index : index + 16] = value`."""

    def code(context, builder, signature, args):
        instruction = builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]))
        instruction.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, float32x16), code


@intrinsic
def splat(typing, scalar):
    """The same float32 in all lanes."""

    def code(context, builder, signature, args):
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, one, zeros)

    return float32x16(types.float32), code


def _binary(name: str, says: str):
    @intrinsic
    def operation(typing, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, name)(*args)

        return float32x16(float32x16, float32x16), code

    operation.__doc__ = says
    return operation


add = _binary("fadd", "a + b")
sub = _binary("fsub", "a - b")
mul = _binary("fmul", "a * b")
div = _binary("fdiv", "a / b")


def _function(builder, name: str, n_args: int):
    function_type = ir.FunctionType(_FLOATS, [_FLOATS] * n_args)
    return cgutils.get_or_insert_function(builder.module, function_type, name)


@intrinsic
def fma(typing, a, b, c):
    """a·b + c, rounded once where the processor can."""

    def code(context, builder, signature, args):
        return builder.call(_function(builder, "llvm.fmuladd.v16f32", 3), args)

    return float32x16(float32x16, float32x16, float32x16), code


def _unary(name: str, says: str):
    @intrinsic
    def operation(typing, a):
        def code(context, builder, signature, args):
            return builder.call(_function(builder, name, 1), args)

        return float32x16(float32x16), code

    operation.__doc__ = says
    return operation


round_even = _unary("llvm.rint.v16f32", "Nearest whole number.")
square_root = _unary("llvm.sqrt.v16f32", "√a")


def _choice(order: str, says: str):
    """Compare and select: what the processor's own min and max do, where `llvm.minnum` would add NaN checks."""

    @intrinsic
    def operation(typing, a, b):
        def code(context, builder, signature, args):
            return builder.select(builder.fcmp_ordered(order, *args), *args)

        return float32x16(float32x16, float32x16), code

    operation.__doc__ = says
    return operation


minimum = _choice("<", "Smaller of a and b, lane by lane; b where either is NaN.")
maximum = _choice(">", "Larger of a and b, lane by lane; b where either is NaN.")


@intrinsic
def add_pairs(typing, a, b):
    """Sums of neighbours: `(a0+a1, a2+a3, …, b0+b1, …)`. Four rounds of it sum 16 vectors into one."""

    def code(context, builder, signature, args):
        mask = ir.VectorType(ir.IntType(32), LANES)
        even = builder.shuffle_vector(*args, ir.Constant(mask, list(range(0, 2 * LANES, 2))))
        odd = builder.shuffle_vector(*args, ir.Constant(mask, list(range(1, 2 * LANES, 2))))
        return builder.fadd(even, odd)

    return float32x16(float32x16, float32x16), code


@intrinsic
def largest(typing, a):
    """Largest of the 16 lanes, as float32."""

    def code(context, builder, signature, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            mask = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width)))
            upper = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width, 2 * width)))
            low = builder.shuffle_vector(value, value, mask)
            high = builder.shuffle_vector(value, value, upper)
            value = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(float32x16), code


@intrinsic
def _scaled(typing, a, n):
    """a·2**n for whole numbers `n` from -126 to 126: `n` is added to the exponent bits."""

    def code(context, builder, signature, args):
        whole = ir.VectorType(ir.IntType(32), LANES)
        shift = ir.Constant(whole, [23] * LANES)
        bits = builder.shl(builder.fptosi(args[1], whole), shift)
        return builder.bitcast(builder.add(builder.bitcast(args[0], whole), bits), _FLOATS)

    return float32x16(float32x16, float32x16), code


#: 2**r for |r| <= 1/2: Taylor's terms, largest error 2e-7 of the value.
_E1, _E2, _E3, _E4, _E5, _E6 = (np.float32(math.log(2.0) ** k / math.factorial(k)) for k in range(1, 7))
_MOST, _LEAST, _UNIT = np.float32(100.0), np.float32(-100.0), np.float32(1.0)


@inlined
def power_of_two(x):
    """2**x of a vector, x held within ±100."""
    held = minimum(maximum(x, splat(_LEAST)), splat(_MOST))
    whole = round_even(held)
    rest = sub(held, whole)
    value = fma(rest, splat(_E6), splat(_E5))
    value = fma(value, rest, splat(_E4))
    value = fma(value, rest, splat(_E3))
    value = fma(value, rest, splat(_E2))
    value = fma(value, rest, splat(_E1))
    return _scaled(fma(value, rest, splat(_UNIT)), whole)
