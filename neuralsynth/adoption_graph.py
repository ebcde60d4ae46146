"""Wraps the graph of somebody else's generator so that it takes and gives what an instrument file promises.

Its inputs and outputs keep what they compute; a few operators in front and behind turn our numbers into the shapes,
types and units that it wants. What may not stand in an instrument file is refused afterwards by `model_graph`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.errors import ModelError
from neuralsynth.spec_checks import MAX_LATENT_SIZE

INPUTS = ("latent", "note", "velocity")
_INNER = "adopted/"  # before every name of the graph, so that none is one of ours
LAYOUTS = ("NS", "NCS", "NSC")


@dataclass(frozen=True)
class Mapping:
    """Which inputs and output of a graph are ours, and in what units it takes them; "" is what it does not take."""

    latent: str
    note: str = ""
    velocity: str = ""
    note_unit: str = "midi"
    velocity_unit: str = "0..1"
    audio: str = ""  # "" is its only output
    layout: str = ""  # "" goes by the rank: NS or NCS
    latent_size: int = 0  # 0 is what the graph says


class Wrapped:
    """A third-party graph with our inputs and output around it."""

    def __init__(self, data: bytes, mapping: Mapping, where: Path) -> None:
        """Parse and wrap.

        Raises:
            ModelError: no ONNX file, or inputs and outputs that cannot be mapped; the text starts with `where`.
        """
        import onnx
        from google.protobuf.message import DecodeError

        try:
            self._model = onnx.load_from_string(data)
        except DecodeError as error:
            raise ModelError(f"{where}: is no ONNX file (or cut off)") from error
        self._graph, self._where, self._mapping = self._model.graph, where, mapping
        self._before: list = []
        constants = {tensor.name for tensor in self._graph.initializer}
        self._values = {value.name: value for value in self._graph.input if value.name not in constants}
        self.latent_size = 0
        self._check_names()
        audio = self._audio()
        for node in self._graph.node:
            node.input[:] = [_inner(name) for name in node.input]
            node.output[:] = [_inner(name) for name in node.output]
            node.doc_string = ""
        for tensor in self._graph.initializer:
            tensor.name = _inner(tensor.name)
        self._lead_in()
        after = self._lead_out(audio)
        nodes = [*self._before, *self._graph.node, *after]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        self._declare()

    def with_document(self, key: str, document: str) -> bytes:
        """The wrapped file, with one document as its metadata."""
        del self._model.metadata_props[:]
        entry = self._model.metadata_props.add()
        entry.key, entry.value = key, document
        return self._model.SerializeToString()

    def _refuse(self, complaint: str) -> ModelError:
        return ModelError(f"{self._where}: {complaint}")

    def _check_names(self) -> None:
        """Every input of the graph must be mapped, and every mapped one be there."""
        mapped = {ours: name for ours in INPUTS if (name := getattr(self._mapping, ours))}
        has = ", ".join(map(repr, list(self._values)[:8])) or "none"
        for ours, name in mapped.items():
            if name not in self._values:
                raise self._refuse(f"[inputs] {ours} is {name!r}; its inputs are {has}")
        for name in self._values:
            if name not in mapped.values():
                raise self._refuse(f"its input {name!r} is not mapped; name it under [inputs], or export without it")

    def _audio(self):
        """The output that is the sound."""
        outputs = {value.name: value for value in self._graph.output}
        name = self._mapping.audio or (next(iter(outputs)) if len(outputs) == 1 else "")
        if name not in outputs:
            has = ", ".join(map(repr, list(outputs)[:8])) or "none"
            raise self._refuse(f"[output] audio is {name!r}; name one of its outputs: {has}")
        return outputs[name]

    def _shape(self, value) -> list[int | None]:
        """Sizes of an input or output; None where they are free."""
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise self._refuse(f"its {value.name!r} has no shape; export it with one")
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if not sizes or sizes[0] is not None:
            raise self._refuse(
                f"its {value.name!r} has the shape {sizes}; the first size, the batch, must be free: "
                "export it with dynamic_axes"
            )
        return sizes

    def _add(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        from onnx import helper

        self._before.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: float | np.ndarray) -> str:
        from onnx import numpy_helper

        array = np.array(value, np.float32) if isinstance(value, float) else value
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    # ---- in front

    def _lead_in(self) -> None:
        """From our inputs to the graph's."""
        for ours in INPUTS:
            name = getattr(self._mapping, ours)
            if not name:
                continue
            value = self._values[name]
            sizes = self._shape(value)
            current = self._latent_like(sizes, name) if ours == "latent" else self._number_like(sizes, name, ours)
            self._typed(current, value.type.tensor_type.elem_type, _inner(name))
        self.latent_size = self.latent_size or 1

    def _latent_like(self, sizes: list[int | None], name: str) -> str:
        """`[N, Z]` in the shape of a latent input, such as `[N, Z, 1]`."""
        size = self._mapping.latent_size or (sizes[1] if len(sizes) > 1 else None)
        others = sizes[2:]
        if size is None or len(sizes) < 2 or any(other not in (1, None) for other in others):
            raise self._refuse(f"its {name!r} has the shape {sizes}; a latent is [N, Z], or [N, Z, 1]; a free Z is "
                               "said by [inputs] latent_size")  # fmt: skip
        if sizes[1] not in (None, size):
            raise self._refuse(f"[inputs] latent_size is {size}, but its {name!r} has the shape {sizes}")
        if not 1 <= size <= MAX_LATENT_SIZE:
            raise self._refuse(f"its latent has {size} numbers; use 1 to {MAX_LATENT_SIZE}")
        self.latent_size = size
        if not others:
            return "latent"
        shape = self._constant("shape of latent", np.array([0, size, *[1] * len(others)], np.int64))
        return self._add("Reshape", ["latent", shape], "shaped latent")

    def _number_like(self, sizes: list[int | None], name: str, ours: str) -> str:
        """`[N]`, in the graph's own unit, in the shape of its input, `[N]` or `[N, 1]`."""
        if len(sizes) > 3 or any(other not in (1, None) for other in sizes[1:]):
            raise self._refuse(f"its {name!r} has the shape {sizes}; a {ours} is [N] or [N, 1]")
        current = self._in_unit(ours)
        if len(sizes) == 1:
            return current
        shape = self._constant(f"shape of {ours}", np.array([0, *[1] * (len(sizes) - 1)], np.int64))
        return self._add("Reshape", [current, shape], f"shaped {ours}")

    def _in_unit(self, ours: str) -> str:
        """A note or velocity in the unit that the graph takes."""
        unit = self._mapping.note_unit if ours == "note" else self._mapping.velocity_unit
        if (ours, unit) == ("note", "hz"):
            away = self._add("Sub", ["note", self._constant("a4", 69.0)], "semitones from a4")
            logarithm = self._add(
                "Mul", [away, self._constant("log of a semitone", math.log(2.0) / 12.0)], "log of note"
            )
            factor = self._add("Exp", [logarithm], "note over a4")
            return self._add("Mul", [factor, self._constant("a4 in hz", 440.0)], "note in hz")
        factors = {("note", "0..1"): 1.0 / 127.0, ("velocity", "midi"): 127.0}
        if (ours, unit) not in factors:
            return ours
        factor = self._constant(f"unit of {ours}", factors[ours, unit])
        return self._add("Mul", [ours, factor], f"{ours} in {unit}")

    def _typed(self, current: str, wanted: int, output: str) -> None:
        """The value in the type of the input; whole numbers are rounded."""
        from onnx import TensorProto

        if wanted in (TensorProto.INT64, TensorProto.INT32):
            current = self._add("Round", [current], f"rounded {output}")
        same = wanted == TensorProto.FLOAT
        self._add("Identity" if same else "Cast", [current], output, **({} if same else {"to": wanted}))

    # ---- behind

    def _lead_out(self, audio) -> list:
        """From the graph's output to `audio` `[N, C, S]`."""
        from onnx import TensorProto, helper

        rank, layout = len(self._shape(audio)), self._mapping.layout
        layout = layout or {2: "NS", 3: "NCS"}.get(rank, "")
        if len(layout) != rank:
            wanted = layout or " or ".join(LAYOUTS)
            raise self._refuse(f"its output {audio.name!r} has {rank} sizes, which is no {wanted}")
        current, nodes = _inner(audio.name), []
        if audio.type.tensor_type.elem_type != TensorProto.FLOAT:
            nodes.append(helper.make_node("Cast", [current], ["cast audio"], to=TensorProto.FLOAT))
            current = "cast audio"
        if layout == "NS":
            shape = self._constant("shape of audio", np.array([0, 1, -1], np.int64))
            return [*nodes, helper.make_node("Reshape", [current, shape], ["audio"])]
        if layout == "NSC":
            return [*nodes, helper.make_node("Transpose", [current], ["audio"], perm=[0, 2, 1])]
        return [*nodes, helper.make_node("Identity", [current], ["audio"])]

    def _declare(self) -> None:
        """Our inputs and our output in place of the graph's."""
        from onnx import TensorProto, helper

        for list_ in (self._graph.input, self._graph.output, self._graph.value_info):
            del list_[:]
        sizes: dict[str, list] = {"latent": ["N", self.latent_size], "note": ["N"], "velocity": ["N"]}
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name]) for name in INPUTS]
        self._graph.input.extend(inputs)
        self._graph.output.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["N", "C", "S"]))
        self._model.producer_name, self._model.doc_string, self._graph.doc_string = "neuralsynth adopt", "", ""


def _inner(name: str) -> str:
    return _INNER + name if name else ""
