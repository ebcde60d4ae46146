"""Instrument files: good ones decode, hostile ones are refused in one line, and the verdict is remembered by digest."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from neuralsynth import model_gate
from neuralsynth.errors import EnvironmentProblem, ModelError, UsageError
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.model_graph import OPERATORS, check_graph
from neuralsynth.model_trial import judge, replay
from neuralsynth.spec import METADATA_KEY, InstrumentSpec
from tests.effort import slowness
from tests.models import (
    TINY_B,
    TINY_GRID,
    TINY_P,
    TINY_T,
    model_of,
    pair_path,
    tiny_inputs,
    tiny_instrument,
    tiny_model,
    tiny_outputs,
    tiny_spec,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of the tests' own, kept over the session so that one file is tried once."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def tiny(tmp_path):
    return tiny_instrument(tmp_path / "tiny.onnx")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The tiny instrument, opened without the gate."""
    return InstrumentModel(VALID, tmp_path_factory.mktemp("opened") / "tiny.onnx")


def snr_db(reference, found) -> float:
    return 10 * np.log10(
        np.sum(np.square(reference, dtype=np.float64)) / (np.sum(np.square(reference - found)) + 1e-30)
    )


def node_named(model: onnx.ModelProto, output: str):
    return next(node for node in model.graph.node if node.output[0] == output)


def constant_named(model: onnx.ModelProto, name: str):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def set_constant(model: onnx.ModelProto, name: str, value) -> None:
    tensor = constant_named(model, name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, numpy_helper.to_array(tensor).dtype), name))


# Good files


def test_a_valid_file_decodes_to_what_its_graph_means(tiny):
    model = InstrumentModel.load(tiny)
    inputs = tiny_inputs(7, seed=5)
    decoded = model.decode(**inputs)
    for name, expected in tiny_outputs(**inputs).items():
        found = getattr(decoded, name)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert snr_db(expected, found) > 100.0, name
    assert model.spec == tiny_spec()
    assert model.path == tiny and len(model.digest) == 64
    assert decoded.note(3, model.spec.grid()).level_db().shape == (TINY_T,)


def test_the_tiny_instrument_is_louder_and_brighter_with_velocity_and_decays(tiny):
    decoded = InstrumentModel.load(tiny).decode(np.zeros((2, 2)), [60, 60], [0.2, 1.0])
    partials = decoded.partials
    peak = partials.max(axis=1)
    assert peak[1, 0] > 2 * peak[0, 0]
    assert peak[1, 8] / peak[1, 0] > 2 * peak[0, 8] / peak[0, 0]
    assert partials[1, -1, 0] < 0.01 * partials[1, :, 0].max()


def test_a_sustaining_tiny_instrument_stays(tmp_path):
    model = InstrumentModel.load(tiny_instrument(tmp_path / "held.onnx", sustaining=True))
    assert model.spec.sustain is not None
    partials = model.decode(np.zeros((1, 2)), [60], [0.8]).partials[0]
    assert partials[-1, 0] == pytest.approx(partials[TINY_T // 2, 0])


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_batch_size_does_not_change_a_note(tiny, n):
    model = InstrumentModel.load(tiny)
    inputs = tiny_inputs(n, seed=n)
    together = model.decode(**inputs)
    for i in (0, n // 2, n - 1):
        alone = model.decode(*(value[i : i + 1] for value in inputs.values()))
        for name in ("partials", "ratios", "cents", "noise"):
            assert snr_db(getattr(alone, name)[0], getattr(together, name)[i]) > 100.0


def test_inputs_are_clipped_to_where_the_file_was_tried(tiny):
    model = InstrumentModel.load(tiny)
    wild = model.decode([[np.nan, np.inf], [1e30, -1e30]], [-5.0, np.inf], [np.nan, 7.0])
    tame = model.decode([[0.0, 8.0], [8.0, -8.0]], [0.0, 127.0], [0.0, 1.0])
    assert np.array_equal(wild.partials, tame.partials) and np.array_equal(wild.cents, tame.cents)


@pytest.mark.parametrize(
    ("latent", "note", "velocity"),
    [(np.zeros((2, 3)), [60, 60], [1, 1]), (np.zeros(2), [60], [1]), (np.zeros((1, 2)), 60, 1),
     (np.zeros((2, 2)), [60, 61], [1]), (np.zeros((0, 2)), [], [])],
)  # fmt: skip
def test_wrong_shapes_are_told(tiny, latent, note, velocity):
    with pytest.raises(UsageError, match=r"give \[N, 2\]"):
        InstrumentModel.load(tiny).decode(latent, note, velocity)


def test_a_waveform_file_runs_but_must_say_how_it_is_heard(tmp_path):
    spec = msgspec.structs.replace(
        tiny_spec(), kind="waveform", frame_seconds=[], band_edges_hz=[], n_partials=0, family="gan"
    )
    model = waveform_model(spec)
    path = tmp_path / "wave.onnx"
    path.write_bytes(model.SerializeToString())
    inputs = np.zeros((3, 2), np.float32), np.array([60, 61, 62], np.float32), np.array([0.0, 0.5, 1.0], np.float32)
    audio = InstrumentModel.load(path).run(*inputs)["audio"]
    assert audio.shape == (3, 1, 100)
    assert np.allclose(audio[:, 0], np.array([[0.0], [0.5], [1.0]]) * np.sin(np.arange(100)), atol=1e-6)
    with pytest.raises(UsageError, match="neuralsynth adopt"):
        InstrumentModel.load(path).decode(*inputs)


def waveform_model(spec: InstrumentSpec) -> onnx.ModelProto:
    wave = np.sin(np.arange(100)).astype(np.float32)[None, None]
    axes = np.array([1, 2], np.int64)
    nodes = [
        helper.make_node("Unsqueeze", ["velocity", "axes"], ["gain"]),
        helper.make_node("Mul", ["gain", "wave"], ["audio"]),
    ]
    model = model_of(nodes, {"wave": wave, "axes": axes}, spec)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["N", "C", "S"]))
    return model


# Hostile files: what the static check refuses


def insert_node(model, op, inputs=("velocity",), **attributes):
    domain = attributes.pop("domain", "")
    model.graph.node.insert(0, helper.make_node(op, list(inputs), ["planted"], domain=domain, **attributes))


def subgraph():
    return helper.make_graph([], "inside", [], [helper.make_tensor_value_info("velocity", TensorProto.FLOAT, None)])


def add_loop(model):
    insert_node(model, "Loop", ["", "", "velocity"], body=subgraph())


def add_if(model):
    insert_node(model, "If", then_branch=subgraph(), else_branch=subgraph())


def hide_a_subgraph(model):
    node_named(model, "brightness").attribute.append(helper.make_attribute("body", subgraph()))


def disguise_a_subgraph(model):
    hide_a_subgraph(model)
    node_named(model, "brightness").attribute[0].type = onnx.AttributeProto.FLOAT


def add_function(model):
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))


def external_weight(model):
    tensor = constant_named(model, "envelope")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "/etc/passwd"), ("length", "128")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def external_constant_node(model):
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    tensor.data_location = TensorProto.EXTERNAL
    insert_node(model, "Constant", [], value=tensor)


def constant_node(model, value):
    insert_node(model, "Constant", [], value=numpy_helper.from_array(np.asarray(value, np.float32), "hidden"))


def lying_dims(model):
    constant_named(model, "envelope").dims[1] = 1 << 20


def giant_dims(model):
    constant_named(model, "envelope").dims[1] = 1 << 60


def negative_dims(model):
    constant_named(model, "envelope").dims[1] = -32


def string_weight(model):
    tensor = constant_named(model, "zero")
    tensor.CopyFrom(numpy_helper.from_array(np.array(["x"], dtype=object), "zero"))


def rename(values, old, new):
    next(value for value in values if value.name == old).name = new


def reshape_value(values, name, dims, kind=TensorProto.FLOAT):
    value = next(value for value in values if value.name == name)
    value.CopyFrom(helper.make_tensor_value_info(name, kind, dims))


def length_from_velocity(model):
    insert_node(model, "Cast", to=TensorProto.INT64)
    model.graph.node.insert(1, helper.make_node("ConstantOfShape", ["planted"], ["planted_too"]))


def unsorted_nodes(model):
    first = model.graph.node[0]
    model.graph.node.append(first)
    del model.graph.node[0]


STATIC = {
    "Loop": (add_loop, "operator Loop"),
    "If": (add_if, "operator If"),
    "Scan": (lambda m: insert_node(m, "Scan", body=subgraph(), num_scan_inputs=1), "operator Scan"),
    "RandomNormal": (lambda m: insert_node(m, "RandomNormal", [], shape=[1]), "operator RandomNormal"),
    "RandomUniformLike": (lambda m: insert_node(m, "RandomUniformLike"), "operator RandomUniformLike"),
    "Bernoulli": (lambda m: insert_node(m, "Bernoulli"), "operator Bernoulli"),
    "LSTM": (lambda m: insert_node(m, "LSTM"), "operator LSTM"),
    "custom domain of a node": (lambda m: insert_node(m, "Relu", domain="evil"), "operator evil::Relu"),
    "custom domain of the model": (lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)), "operator sets"),
    "no operator set": (lambda m: m.ClearField("opset_import"), "operator sets"),
    "function": (add_function, "functions"),
    "subgraph in a harmless operator": (hide_a_subgraph, "attribute 'body' of Sigmoid"),
    "subgraph that calls itself a number": (disguise_a_subgraph, "attribute 'body' of Sigmoid"),
    "external weight": (external_weight, "lies in another file"),
    "external data in a Constant": (external_constant_node, "lies in another file"),
    "NaN weight": (lambda m: set_constant(m, "slope_0", np.nan), "'slope_0' is not finite"),
    "infinite weight": (lambda m: set_constant(m, "harmonics", [[np.inf] * TINY_P]), "'harmonics' is not finite"),
    "NaN in a Constant": (lambda m: constant_node(m, np.nan), "of Constant is not finite"),
    "NaN attribute": (lambda m: insert_node(m, "LeakyRelu", alpha=float("nan")), "'alpha' of LeakyRelu is not finite"),
    "infinite attribute list": (lambda m: insert_node(m, "Constant", [], value_floats=[1.0, float("inf")]), "not finite"),
    "weight of other dims": (lying_dims, "'envelope' is damaged"),
    "weight of giant dims": (giant_dims, "more than"),
    "weight of negative dims": (negative_dims, "has the shape"),
    "weight of strings": (string_weight, "not allowed"),
    "sparse weight": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "no nodes": (lambda m: m.graph.ClearField("node"), "no graph"),
    "input renamed": (lambda m: rename(m.graph.input, "note", "pitch"), "has inputs"),
    "input missing": (lambda m: m.graph.input.pop(), "has inputs"),
    "output renamed": (lambda m: rename(m.graph.output, "noise", "hiss"), "has outputs"),
    "output twice": (lambda m: m.graph.output.append(m.graph.output[0]), "has outputs"),
    "input of other rank": (lambda m: reshape_value(m.graph.input, "note", ["N", 1]), "note has 2 dimensions"),
    "output of other rank": (lambda m: reshape_value(m.graph.output, "cents", ["N", TINY_T, 1]), "cents has 3"),
    "output without a shape": (lambda m: reshape_value(m.graph.output, "cents", None), "cents has 0"),
    "input of other type": (lambda m: reshape_value(m.graph.input, "note", ["N"], TensorProto.INT64), "note is not float32"),
    "output of other type": (lambda m: reshape_value(m.graph.output, "noise", ["N", 1, 1], TensorProto.DOUBLE), "noise is not"),
    "fixed batch": (lambda m: reshape_value(m.graph.input, "note", [4]), "fixed batch of 4"),
    "latent size of the graph": (lambda m: reshape_value(m.graph.input, "latent", ["N", 5]), "size of 5"),
    "metadata missing": (lambda m: m.ClearField("metadata_props"), "no key 'neuralsynth'"),
    "metadata twice": (lambda m: m.metadata_props.append(m.metadata_props[0]), "more than one key"),
    "metadata no JSON": (lambda m: helper.set_model_props(m, {METADATA_KEY: "{"}), "no JSON"),
    "metadata of deep nesting": (lambda m: helper.set_model_props(m, {METADATA_KEY: "[" * 100_000}), "no JSON"),
    "metadata empty": (lambda m: helper.set_model_props(m, {METADATA_KEY: "{}"}), "format_version None"),
    "shape from a played value": (length_from_velocity, "depends on the values played"),
    "nodes out of order": (unsorted_nodes, "not computed before"),
}  # fmt: skip


@pytest.mark.parametrize("case", STATIC)
def test_the_static_check_refuses(case):
    change, words = STATIC[case]
    model = tiny_model(tiny_spec())
    check_graph(model.SerializeToString(), "x.onnx")
    change(model)
    with pytest.raises(ModelError) as caught:
        check_graph(model.SerializeToString(), "x.onnx")
    message = str(caught.value)
    assert message.startswith("x.onnx: ") and words in message and message.isprintable() and len(message) <= 300


@pytest.mark.parametrize(
    ("field", "value"),
    [("frame_seconds", [0.0, 1.0]), ("n_partials", TINY_P + 1), ("band_edges_hz", [20.0, 200.0]), ("latent_size", 3)],
)
def test_a_spec_that_lies_about_the_graph_is_refused(field, value):
    changes = {field: value}
    if field == "latent_size":
        changes |= {"points": {"tiny": [0.0] * 3}, "axes": {}}
    spec = msgspec.structs.replace(tiny_spec(), **changes)
    with pytest.raises(ModelError, match="where its spec says"):
        check_graph(tiny_model(spec).SerializeToString(), "x.onnx")


def test_no_operator_with_randomness_state_or_control_is_on_the_list():
    """A second, independent reading: what onnx itself says of each operator."""
    for name in OPERATORS:
        schema = onnx.defs.get_schema(
            name, 18 if name not in {"Upsample", "Gelu"} else {"Upsample": 9, "Gelu": 20}[name]
        )
        assert not any(
            attribute.type in (onnx.defs.OpSchema.AttrType.GRAPH,) for attribute in schema.attributes.values()
        )
        assert "seed" not in schema.attributes, name


VALID = tiny_model(tiny_spec()).SerializeToString()


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, len(VALID)),
    st.booleans(),
)
def test_mutated_bytes_never_raise_another_error(changes, cut, truncated):
    data = bytearray(VALID)
    for at, new in changes:
        data[at : at + len(new)] = new
    try:
        check_graph(bytes(data[:cut] if truncated else data), "x.onnx")
    except ModelError as error:
        assert str(error).startswith("x.onnx: ") and str(error).isprintable()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_instrument(data):
    with pytest.raises(ModelError, match=r"^x\.onnx: "):
        check_graph(data, "x.onnx")


# Hostile files: what the trial refuses


def scaled(model, output, factor):
    """Multiply an output of the graph by a constant."""
    node_named(model, output).output[0] = "unscaled"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["unscaled", "factor"], [output]))


def lying_output(model):
    """Declared sizes are free, and the sizes that come out are others than the spec's."""
    reshape_value(model.graph.output, "noise", ["N", "a", "b"])
    set_constant(model, "noise_shape", np.ones((1, TINY_T, TINY_B + 1)))


def infinite_far_out(model):
    """A gain that is 1 at the named points, whose second number is 0, and overflows where a player may still go."""
    scaled(model, "partials", 1.0)
    model.graph.node[-1].input[1] = "exploding"
    steps = [
        ("Mul", ["latent_1", "steep"], "wild"),
        ("Exp", ["wild"], "risen"),
        ("Unsqueeze", ["risen", "axis_1"], "exploding"),
    ]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(20.0), "steep"))
    for op, inputs, output in steps:
        model.graph.node.insert(len(model.graph.node) - 1, helper.make_node(op, inputs, [output]))


TRIAL = {
    "gain of 3e38": (lambda m: scaled(m, "partials", 3e38), "partials is not finite|partials runs"),
    "gain of 1000": (lambda m: scaled(m, "partials", 1000.0), "partials runs from"),
    "loud noise": (lambda m: scaled(m, "noise", 1e5), "noise runs from"),
    "negative gain": (lambda m: scaled(m, "partials", -1.0), "partials runs from"),
    "negative ratios": (lambda m: scaled(m, "ratios", -1.0), "ratios runs from"),
    "ratios of zero": (lambda m: scaled(m, "ratios", 0.0), "ratios runs from"),
    "other sizes than the spec": (lying_output, "noise is float32"),
    "infinite far out in the latent space": (infinite_far_out, "partials is not finite"),
    "an operator onnxruntime does not know so": (lambda m: insert_node(m, "Gelu"), "cannot be opened by onnxruntime"),
}  # fmt: skip


@pytest.mark.parametrize("case", TRIAL)
def test_the_trial_refuses(case):
    change, words = TRIAL[case]
    model = tiny_model(tiny_spec())
    judge(model.SerializeToString(), None)
    change(model)
    with pytest.raises(ModelError, match=words):
        judge(model.SerializeToString(), None)


def test_what_a_player_hears_is_clipped_even_where_the_graph_goes_far(opened):
    """At named points the trial holds the range; further out `decode` does."""
    far = opened.decode([[0.0, 8.0]], [60], [1.0])
    assert np.abs(far.cents).max() == pytest.approx(40.0, rel=0.05)
    model = tiny_model(tiny_spec())
    set_constant(model, "vibrato", np.full((1, TINY_T), 2000.0))
    data = model.SerializeToString()
    judge(data, None)
    far = InstrumentModel(data, opened.path).decode([[0.0, 8.0], [0.0, -8.0]], [60, 60], [1.0, 1.0])
    assert far.cents[0].tolist() == [2400.0] * TINY_T and far.cents[1].tolist() == [-2400.0] * TINY_T


def huge(op: str):
    """A graph whose one planted node asks for 3 or 4 GB, though the file is small."""
    shape = numpy_helper.from_array(
        np.array([1 << 15, 1 << 15] if op != "Tile" else [1 << 15, 1 << 11], np.int64), "giant"
    )
    model = tiny_model(tiny_spec())
    model.graph.initializer.append(shape)
    if op == "Range":
        limits = [numpy_helper.from_array(np.float32(v), f"range_{i}") for i, v in enumerate((0.0, 1 << 24, 1.0 / 64))]
        model.graph.initializer.extend(limits)
        inputs = [tensor.name for tensor in limits]
    else:
        inputs = {"Expand": ["slope_0", "giant"], "Tile": ["slope", "giant"], "ConstantOfShape": ["giant"]}[op]
    model.graph.node.insert(9, helper.make_node(op, inputs, ["gigabytes"]))
    model.graph.node.insert(10, helper.make_node("ReduceMax", ["gigabytes"], ["most"], keepdims=0))
    node_named(model, "ratios").input[1] = "spread"
    model.graph.node.insert(len(model.graph.node) - 4, helper.make_node("Mul", ["nothing", "most"], ["spread"]))
    return model


@pytest.mark.parametrize("op", ["Expand", "Tile", "ConstantOfShape", "Range"])
def test_a_graph_that_asks_for_gigabytes_is_refused(tmp_path, op):
    path = tmp_path / "huge.onnx"
    path.write_bytes(huge(op).SerializeToString())
    check_graph(path.read_bytes(), "x.onnx")  # nothing static is wrong with it
    with pytest.raises(ModelError, match=r"huge\.onnx: .*(bad_alloc|[Ff]ailed to allocate|needs more)"):
        InstrumentModel.load(path)


def test_a_graph_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(model_gate, "TRIAL_SECONDS", 2)
    model = tiny_model(tiny_spec())
    model.graph.initializer.append(numpy_helper.from_array(np.array([1500, 1500], np.int64), "square"))
    model.graph.node.insert(9, helper.make_node("Expand", ["slope_0", "square"], ["m0"]))
    for i in range(5000):
        model.graph.node.insert(10 + i, helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]))
    model.graph.node.insert(5010, helper.make_node("ReduceMax", ["m5000"], ["most"], keepdims=0))
    node_named(model, "ratios").input[1] = "spread"
    model.graph.node.insert(len(model.graph.node) - 4, helper.make_node("Mul", ["nothing", "most"], ["spread"]))
    path = tmp_path / "endless.onnx"
    path.write_bytes(model.SerializeToString())
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"endless\.onnx: its trial did not end within 2 s"):
        InstrumentModel.load(path)
    assert time.monotonic() - started < 12.0 * slowness()


# Loading


def test_what_is_no_instrument_file_is_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "pickle.onnx").write_bytes(pickle.dumps({"weights": list(range(1000))}))
    (tmp_path / "cut.onnx").write_bytes(VALID[: len(VALID) // 2])
    for name, words in (
        ("", "not a regular file"),
        ("pipe.onnx", "not a regular file"),
        ("empty.onnx", "is empty"),
        ("absent.onnx", "No such file"),
        ("pickle.onnx", "is no ONNX file|is damaged"),
        ("cut.onnx", "is no ONNX file|is damaged|no key"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            InstrumentModel.load(tmp_path / name)
        message = str(caught.value)
        assert message.startswith(str(tmp_path / name)) and message.isprintable() and len(message) <= 300


def test_a_file_over_the_size_limit_is_refused(tmp_path):
    path = tmp_path / "big.onnx"
    path.touch()
    os.truncate(path, (64 << 20) + 1)
    with pytest.raises(ModelError, match="larger than 64 MB"):
        InstrumentModel.load(path)


def test_loading_passes_every_file_through_the_gate(tmp_path):
    model = tiny_model(tiny_spec())
    add_loop(model)
    path = tmp_path / "loop.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"loop\.onnx: uses the operator Loop"):
        InstrumentModel.load(path)


def test_an_approved_file_is_not_tried_again(tiny, monkeypatch):
    InstrumentModel.load(tiny)
    monkeypatch.setattr(model_gate, "_judge", lambda *_: "was tried again")
    InstrumentModel.load(tiny)


@pytest.mark.parametrize("change", ["model", "pair", "no pair", "mark", "gate"])
def test_an_approval_holds_for_these_bytes_alone(tiny, cache, monkeypatch, change):
    InstrumentModel.load(tiny)
    mark = cache / "neuralsynth" / "approved" / model_gate.approval_key(tiny.read_bytes(), pair_path(tiny).read_bytes())
    before = mark.read_text()
    if change == "model":
        model = onnx.load_from_string(tiny.read_bytes())
        set_constant(model, "level_0", 0.021)
        tiny.write_bytes(model.SerializeToString())
    elif change == "pair":
        pair_path(tiny).write_bytes(pair_path(tiny).read_bytes() + b"\0")
    elif change == "no pair":
        pair_path(tiny).unlink()
    elif change == "mark":
        mark.write_text(before[:-5])
    else:
        monkeypatch.setattr(model_gate, "GATE_VERSION", "0")
    monkeypatch.setattr(model_gate, "_judge", lambda *_: "was tried again")
    with pytest.raises(ModelError, match="was tried again"):
        InstrumentModel.load(tiny)
    mark.write_text(before)


def test_a_refusal_is_never_remembered_as_approval(tmp_path, cache):
    path = tiny_instrument(tmp_path / "lies.onnx")
    golden = dict(np.load(pair_path(path)))
    golden["partials"] = golden["partials"] * 1.001
    np.savez(pair_path(path), **golden)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"lies\.onnx: its output partials agrees .* to 60 dB"):
            InstrumentModel.load(path)


def test_a_cache_that_cannot_be_written_costs_only_time(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(InstrumentModel.load(tiny).decode(np.zeros((1, 2)), [60], [1.0]), Decoded)


def test_a_known_file_opens_within_60_ms_and_without_onnx(tiny, cache):
    InstrumentModel.load(tiny)
    program = (
        "import sys\nimport neuralsynth.model as m\nfrom tests.effort import at_most\nm.import_onnxruntime()\n"
        f"with at_most(0.060):\n    m.InstrumentModel.load({str(tiny)!r})\n"
        "print('onnx' in sys.modules, 'torch' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert run.stdout.split() == ["False", "False"], run.stderr


def test_onnxruntime_reports_to_nobody(tiny, tmp_path):
    """Its telemetry would leave a device number in the cache folder and start threads beside the audio."""
    program = f"import neuralsynth.model as m\nm.InstrumentModel(open({str(tiny)!r}, 'rb').read(), m.Path('x'))"
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "fresh")
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert not (tmp_path / "fresh").exists()


def test_a_trial_that_cannot_start_is_no_verdict_on_the_file(tiny, monkeypatch):
    model = onnx.load_from_string(tiny.read_bytes())
    model.producer_name = "never seen"
    tiny.write_bytes(model.SerializeToString())
    for executable, words in ((sys.executable + "-absent", "no process"), ("/bin/false", "does not start")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(EnvironmentProblem, match=words):
            InstrumentModel.load(tiny)


# Golden pair


def golden_bytes(**changes) -> bytes:
    inputs = tiny_inputs()
    file = io.BytesIO()
    np.savez(file, **{**inputs, **tiny_outputs(**inputs), **changes})
    return file.getvalue()


def test_the_golden_pair_of_the_tiny_instrument_agrees(opened):
    replay(opened, golden_bytes())


WRONG_PAIRS = {
    "other output": ({"noise": np.zeros((3, TINY_T, TINY_B), np.float32)}, "output noise agrees"),
    "off by -70 dB": ({"cents": tiny_outputs(**tiny_inputs())["cents"] * (1 + 10 ** (-70 / 20))}, "to 70 dB"),
    "NaN": ({"partials": np.full((3, TINY_T, TINY_P), np.nan, np.float32)}, "output partials agrees"),
    "other shape": ({"ratios": np.ones((3, 1), np.float32)}, "output ratios agrees"),
    "inputs of other shapes": ({"latent": np.zeros((3, 5), np.float32)}, "inputs of other shapes"),
    "scalar note": ({"note": np.float32(60)}, "inputs of other shapes"),
    "no notes": ({"note": np.zeros(0, np.float32)}, "inputs of other shapes"),
    "objects": ({"note": np.array([{}, {}, {}], dtype=object)}, "is damaged"),
    "text": ({"velocity": np.array(["a", "b", "c"])}, "is damaged"),
}


@pytest.mark.parametrize("case", WRONG_PAIRS)
def test_a_wrong_golden_pair_is_caught(opened, case):
    changes, words = WRONG_PAIRS[case]
    with pytest.raises(ModelError, match=words):
        replay(opened, golden_bytes(**changes))


@pytest.mark.parametrize("data", [b"", b"x", golden_bytes()[:700], pickle.dumps(1), golden_bytes()[:-30]])
def test_a_damaged_golden_pair_is_caught(opened, data):
    with pytest.raises(ModelError, match=r"golden pair \(\.check\.npz\)"):
        replay(opened, data)


def test_a_golden_pair_without_an_output_is_caught(opened):
    file = io.BytesIO()
    np.savez(file, **tiny_inputs())
    with pytest.raises(ModelError, match="is damaged"):
        replay(opened, file.getvalue())


def test_tiny_grid_fits_the_spec():
    grid = tiny_spec().grid()
    assert (grid.n_frames, grid.n_partials, grid.n_bands) == (TINY_T, TINY_P, TINY_B)
    assert np.array_equal(grid.frame_seconds, TINY_GRID.frame_seconds)
