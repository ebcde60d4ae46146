"""The static check of an instrument file: what may stand in it, read without running it. The only import of onnx.

Allowed is what computes a value from values: no control flow, no subgraphs, no functions, no randomness, no state,
no other files. No shape may depend on the values played, only on how many notes are decoded at once; so time and
memory of a trial are those of every later run. Inputs and outputs are those of contract version 1
(`presets/README.md`).
"""

from __future__ import annotations

import math
from functools import wraps

import numpy as np

from neuralsynth.errors import ModelError, one_line
from neuralsynth.spec import ENCODER_KEY, METADATA_KEY, EncoderSpec, InstrumentSpec

OPERATORS = frozenset(
    """
    Conv ConvTranspose Gemm MatMul
    Add Sub Mul Div Pow Mod Exp Log Sqrt Reciprocal Abs Neg Sign Floor Ceil Round Erf Sin Cos Tan Atan Sinh Cosh Tanh
    Sigmoid Softplus Softsign Relu LeakyRelu PRelu Elu Selu Celu Gelu HardSigmoid HardSwish Mish ThresholdedRelu
    Clip Min Max Mean Sum Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Not
    Reshape Transpose Concat Slice Gather Expand Unsqueeze Squeeze Flatten Tile Pad Split DepthToSpace SpaceToDepth
    Shape Cast Identity Constant ConstantOfShape Range Trilu CumSum Einsum
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp
    Softmax LogSoftmax BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LpNormalization
    Resize Upsample AveragePool GlobalAveragePool MaxPool GlobalMaxPool
    """.split()  # noqa: SIM905  a table is easier to read than ninety quoted words
)
#: Inputs (by position) that decide the shape of what an operator gives.
SHAPE_INPUTS = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Resize": (1, 2, 3),
    "Upsample": (1,), "Pad": (1, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "Unsqueeze": (1,), "Squeeze": (1,),
    **{name: (1,) for name in OPERATORS if name.startswith("Reduce")},
}  # fmt: skip
DEFAULT_DOMAINS = ("", "ai.onnx")
TENSOR_TYPES = ("FLOAT", "FLOAT16", "DOUBLE", "INT64", "INT32", "INT8", "UINT8", "BOOL")
MAX_NODES = 20_000
MAX_ELEMENTS = 32 << 20  # of all constants together
MAX_RANK = 8
INPUT_RANKS = {"latent": 2, "note": 1, "velocity": 1}
ENCODER_INPUT_RANKS = {"partials": 3, "noise": 3, "note": 1, "velocity": 1}
ENCODER_OUTPUT_RANKS = {"mean": 2, "deviation": 2}
OUTPUT_RANKS = {
    "spectral": {"partials": 3, "ratios": 2, "cents": 2, "noise": 3},
    "waveform": {"audio": 3},
}


def check_graph(data: bytes, where: str) -> InstrumentSpec:
    """Check the bytes of an `.onnx` file and return the spec inside.

    Raises:
        ModelError: not ONNX, or anything in it is not allowed; the text starts with `where`.
    """
    return _parsed(data, where).instrument()


def check_encoder_graph(data: bytes, where: str) -> EncoderSpec:
    """Check the bytes of an `.encoder.onnx` file and return the spec inside.

    Raises:
        ModelError: as in `check_graph`.
    """
    return _parsed(data, where).encoder()


def is_encoder(data: bytes, where: str) -> bool:
    """Whether the bytes say that they are an encoder, not an instrument.

    Raises:
        ModelError: not ONNX.
    """
    return any(entry.key == ENCODER_KEY for entry in _parsed(data, where).model.metadata_props)


def _parsed(data: bytes, where: str) -> _Check:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return _Check(onnx.ModelProto.FromString(data), where)
    except DecodeError as error:
        raise ModelError(f"{where}: is no ONNX file (or cut off)") from error


def _told(method):
    """Whatever a library says of a damaged file is a refusal by name."""

    @wraps(method)
    def told(self: _Check):
        try:
            return method(self)
        except ModelError:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise self.refuse(f"is damaged ({one_line(error, 120)})") from error

    return told


class _Check:
    """One walk over a parsed model."""

    def __init__(self, model, where: str) -> None:
        from onnx import AttributeProto, TensorProto

        self.model, self.graph, self.where = model, model.graph, where
        self.attribute, self.tensor_type = AttributeProto, TensorProto
        self.elements = 0

    def refuse(self, complaint: str) -> ModelError:
        return ModelError(one_line(f"{self.where}: {complaint}"))

    @_told
    def instrument(self) -> InstrumentSpec:
        """Everything about an instrument, cheapest first."""
        self.header()
        spec = InstrumentSpec.from_json(self.document(METADATA_KEY, "instrument"), self.where)
        t, p, b = len(spec.frame_seconds), spec.n_partials, len(spec.band_edges_hz) - 1
        sizes = {"latent": [spec.latent_size], "partials": [t, p], "ratios": [p], "cents": [t], "noise": [t, b]}
        self.values("inputs", self.graph.input, INPUT_RANKS, sizes)
        self.values("outputs", self.graph.output, OUTPUT_RANKS[spec.kind], sizes)
        self.body()
        return spec

    @_told
    def encoder(self) -> EncoderSpec:
        """Everything about an encoder."""
        self.header()
        spec = EncoderSpec.from_json(self.document(ENCODER_KEY, "encoder"), self.where)
        z = [spec.character_size]
        sizes = {"partials": [spec.n_frames, spec.n_partials], "noise": [spec.n_frames, spec.n_bands]}
        self.values("inputs", self.graph.input, ENCODER_INPUT_RANKS, sizes)
        self.values("outputs", self.graph.output, ENCODER_OUTPUT_RANKS, {"mean": z, "deviation": z})
        self.body()
        return spec

    def body(self) -> None:
        """Constants and nodes."""
        self.constants()
        for node in self.graph.node:
            self.node(node)
        self.shapes()

    def header(self) -> None:
        model = self.model
        if not model.HasField("graph") or not model.graph.node:
            raise self.refuse("is no ONNX file (no graph in it)")
        domains = [opset.domain for opset in model.opset_import]
        if len(domains) != 1 or domains[0] not in DEFAULT_DOMAINS:
            raise self.refuse(f"uses operator sets {domains[:5]}; only the default one is allowed")
        if model.functions or model.training_info:
            raise self.refuse("holds functions or training steps; only a plain graph is allowed")
        if self.graph.sparse_initializer or self.graph.quantization_annotation:
            raise self.refuse("holds sparse or quantised tensors; only plain ones are allowed")
        if len(self.graph.node) > MAX_NODES:
            raise self.refuse(f"has {len(self.graph.node)} nodes; at most {MAX_NODES} are allowed")

    def document(self, key: str, called: str) -> str:
        texts = [entry.value for entry in self.model.metadata_props if entry.key == key]
        if len(texts) != 1:
            found = "no" if not texts else "more than one"
            raise self.refuse(f"is no neuralsynth {called} (its metadata has {found} key {key!r})")
        return texts[0]

    # Inputs and outputs

    def values(self, what: str, values, ranks: dict[str, int], sizes: dict[str, list[int]]) -> None:
        names = [value.name for value in values]
        if sorted(names) != sorted(ranks):
            raise self.refuse(f"has {what} {names[:8]}; its kind has {list(ranks)}")
        for value in values:
            tensor = value.type.tensor_type
            if not value.type.HasField("tensor_type") or tensor.elem_type != self.tensor_type.FLOAT:
                raise self.refuse(f"its {value.name} is not float32")
            dims = tensor.shape.dim
            if not tensor.HasField("shape") or len(dims) != ranks[value.name]:
                raise self.refuse(f"its {value.name} has {len(dims)} dimensions; use {ranks[value.name]}")
            if dims[0].HasField("dim_value"):
                raise self.refuse(f"its {value.name} has a fixed batch of {dims[0].dim_value}; it must be free")
            for dim, wanted in zip(list(dims)[1:], sizes.get(value.name, []), strict=False):
                if dim.HasField("dim_value") and dim.dim_value != wanted:
                    raise self.refuse(f"its {value.name} has a size of {dim.dim_value} where its spec says {wanted}")

    # Constants

    def constants(self) -> None:
        for tensor in self.graph.initializer:
            self.tensor(tensor, f"constant {tensor.name!r}")

    def tensor(self, tensor, called: str) -> None:
        from onnx import numpy_helper

        if tensor.data_location == self.tensor_type.EXTERNAL or tensor.external_data:
            raise self.refuse(f"its {called} lies in another file; everything must be inside")
        if tensor.data_type not in [self.tensor_type.DataType.Value(name) for name in TENSOR_TYPES]:
            raise self.refuse(f"its {called} has type {tensor.data_type}, which is not allowed")
        if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
            raise self.refuse(f"its {called} has the shape {list(tensor.dims)[:10]}")
        self.elements += math.prod(tensor.dims)
        if self.elements > MAX_ELEMENTS:
            raise self.refuse(f"holds more than {MAX_ELEMENTS} numbers")
        try:
            array = numpy_helper.to_array(tensor)
        except Exception as error:  # onnx checks nothing here: whatever numpy says of a lying tensor
            raise self.refuse(f"its {called} is damaged ({error})") from error
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self.refuse(f"its {called} is not finite")

    # Nodes

    def node(self, node) -> None:
        if node.domain not in DEFAULT_DOMAINS or node.op_type not in OPERATORS:
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise self.refuse(f"uses the operator {name}, which is not allowed in an instrument")
        for attribute in node.attribute:
            self.check_attribute(attribute, node.op_type)

    def shapes(self) -> None:
        """Follow what depends on the played values, node by node, and keep it out of every shape."""
        known = {""} | {tensor.name for tensor in self.graph.initializer}
        played = {value.name for value in self.graph.input}
        for node in self.graph.node:
            if not all(name in known or name in played for name in node.input):
                raise self.refuse(f"its node {node.name or node.op_type!r} uses a value that is not computed before it")
            if any(node.input[i] in played for i in SHAPE_INPUTS.get(node.op_type, ()) if i < len(node.input)):
                raise self.refuse(f"its {node.op_type} has a shape that depends on the values played")
            depends = node.op_type != "Shape" and any(name in played for name in node.input)
            (played if depends else known).update(name for name in node.output if name)

    def check_attribute(self, attribute, op_type: str) -> None:
        kinds, called = self.attribute, f"attribute {attribute.name!r} of {op_type}"
        plain = (kinds.FLOAT, kinds.INT, kinds.STRING, kinds.FLOATS, kinds.INTS, kinds.STRINGS)
        graphs = attribute.HasField("g") or attribute.graphs
        others = attribute.HasField("sparse_tensor") or attribute.sparse_tensors or attribute.type_protos
        known = attribute.type in (*plain, kinds.TENSOR, kinds.TENSORS) and not attribute.ref_attr_name
        if graphs or others or not known:
            raise self.refuse(f"its {called} is a subgraph or of another kind that is not allowed")
        if not all(math.isfinite(number) for number in (attribute.f, *attribute.floats)):
            raise self.refuse(f"its {called} is not finite")
        tensors = [attribute.t] if attribute.HasField("t") else []
        for tensor in (*tensors, *attribute.tensors):
            self.tensor(tensor, called)
