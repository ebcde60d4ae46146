"""Tiny instrument files for tests, built with onnx.helper alone: one that plays, and what it should decode to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neuralsynth.spec import METADATA_KEY, InstrumentSpec, LatentAxis, Sustain
from neuralsynth.spectrum import SpectrumGrid

TINY_T, TINY_P, TINY_B, TINY_Z = 32, 16, 8, 2
TINY_SECONDS = 2.0
TINY_GRID = SpectrumGrid.warped(TINY_T, TINY_SECONDS, TINY_P, TINY_B)


def tiny_instrument(path: Path | str, *, pair: bool = True, sustaining: bool = False, **changes) -> Path:
    """Write a small valid spectral instrument to `path`, its golden pair beside it; `changes` replace spec fields.

    A harmonic tone that decays (or, `sustaining`, stays), louder with velocity and brighter with velocity and the
    first latent number; the second latent number is the depth of a vibrato in units of 5 cents.
    """
    path = Path(path)
    spec = msgspec.structs.replace(tiny_spec(sustaining), **changes)
    path.write_bytes(tiny_model(spec).SerializeToString())
    if pair:
        inputs = tiny_inputs()
        np.savez(pair_path(path), **inputs, **tiny_outputs(**inputs, sustaining=sustaining))
    return path


def pair_path(path: Path) -> Path:
    """Where the golden pair of an instrument file lies."""
    return path.with_name(f"{path.stem}.check.npz")


def tiny_spec(sustaining: bool = False) -> InstrumentSpec:
    """The spec of `tiny_instrument`."""
    return InstrumentSpec(
        family="vae",
        name="tiny",
        sample_rate=48_000,
        frame_seconds=TINY_GRID.frame_seconds.tolist(),
        band_edges_hz=TINY_GRID.band_edges_hz.tolist(),
        n_partials=TINY_P,
        latent_size=TINY_Z,
        points={"tiny": [0.0, 0.0], "bright": [2.0, 0.0]},
        default_point="tiny",
        axes={"brightness": LatentAxis([-2.0, 0.0], [2.0, 0.0], 300.0, 3000.0, "Hz", "spectral centroid")},
        note_low=21,
        note_high=108,
        velocity_low=30,
        velocity_high=120,
        sustain=Sustain(0.5, 1.5) if sustaining else None,
        licence="CC0-1.0",
        origin="made for the tests",
    )


def tiny_inputs(n: int = 3, seed: int = 1) -> dict[str, np.ndarray]:
    """Random inputs of a batch of `n` notes."""
    rng = np.random.default_rng(seed)
    return {
        "latent": rng.standard_normal((n, TINY_Z)).astype(np.float32),
        "note": rng.uniform(21, 108, n).astype(np.float32),
        "velocity": rng.uniform(0, 1, n).astype(np.float32),
    }


def tiny_envelope(sustaining: bool) -> np.ndarray:
    """Gain over the frames, `[T]`: a 5 ms attack, then a decay with a time constant of a third of a second, or none."""
    times = TINY_GRID.frame_seconds
    return np.minimum(times / 0.005, 1.0) * (1.0 if sustaining else np.exp(-3.0 * times))


def tiny_outputs(
    latent: np.ndarray, note: np.ndarray, velocity: np.ndarray, sustaining: bool = False
) -> dict[str, np.ndarray]:
    """What the graph of `tiny_model` computes, written a second time in numpy."""
    envelope = tiny_envelope(sustaining)
    level, brightness = 0.02 + 0.2 * velocity, 1.0 / (1.0 + np.exp(-(2.0 * velocity - 1.0 + latent[:, 0])))
    slope = 1.3 - brightness
    spectrum = level[:, None] * np.exp(-slope[:, None] * np.arange(TINY_P))
    vibrato = 5.0 * np.sin(2.0 * np.pi * 5.0 * TINY_GRID.frame_seconds)
    outputs = {
        "partials": envelope[None, :, None] * spectrum[:, None, :],
        "ratios": np.tile(np.arange(1.0, TINY_P + 1), (len(note), 1)),
        "cents": latent[:, 1:2] * vibrato,
        "noise": 0.01 * level[:, None, None] * envelope[None, :, None] * np.ones(TINY_B),
    }
    return {name: value.astype(np.float32) for name, value in outputs.items()}


def tiny_model(spec: InstrumentSpec | None, sustaining: bool | None = None) -> onnx.ModelProto:
    """The graph of `tiny_instrument`; `spec` None leaves the metadata out."""
    if sustaining is None:
        sustaining = spec is not None and spec.sustain is not None
    envelope = tiny_envelope(sustaining)
    constants = {
        "one_two": np.float32(2.0),
        "minus_one": np.float32(-1.0),
        "slope_0": np.float32(1.3),
        "level_0": np.float32(0.02),
        "level_1": np.float32(0.2),
        "index": -np.arange(TINY_P, dtype=np.float32)[None],
        "harmonics": np.arange(1, TINY_P + 1, dtype=np.float32)[None],
        "zero": np.float32(0.0),
        "envelope": envelope.astype(np.float32)[None, :, None],
        "noise_shape": (0.01 * envelope[None, :, None] * np.ones(TINY_B)).astype(np.float32),
        "vibrato": (5.0 * np.sin(2.0 * np.pi * 5.0 * TINY_GRID.frame_seconds)).astype(np.float32)[None],
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "axis_1": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
    }
    steps = [
        ("Unsqueeze", ["velocity", "axis_1"], "velocity_column"),
        ("Gather", ["latent", "first"], "latent_0"),
        ("Gather", ["latent", "second"], "latent_1"),
        ("Mul", ["velocity_column", "one_two"], "doubled"),
        ("Add", ["doubled", "minus_one"], "centred"),
        ("Add", ["centred", "latent_0"], "push"),
        ("Sigmoid", ["push"], "brightness"),
        ("Sub", ["slope_0", "brightness"], "slope"),
        ("Mul", ["slope", "index"], "exponent"),
        ("Exp", ["exponent"], "shape"),
        ("Mul", ["velocity_column", "level_1"], "level_part"),
        ("Add", ["level_part", "level_0"], "level"),
        ("Mul", ["level", "shape"], "spectrum"),
        ("Unsqueeze", ["spectrum", "axis_1"], "spectrum_row"),
        ("Mul", ["spectrum_row", "envelope"], "partials"),
        ("Unsqueeze", ["note", "axis_1"], "note_column"),
        ("Mul", ["note_column", "zero"], "nothing"),
        ("Add", ["harmonics", "nothing"], "ratios"),
        ("Mul", ["latent_1", "vibrato"], "cents"),
        ("Unsqueeze", ["level", "axis_2"], "level_cube"),
        ("Mul", ["level_cube", "noise_shape"], "noise"),
    ]
    nodes = [helper.make_node(op, ins, [out], **({"axis": 1} if op == "Gather" else {})) for op, ins, out in steps]
    return model_of(nodes, constants, spec)


def model_of(nodes: list, constants: dict[str, np.ndarray], spec: InstrumentSpec | None) -> onnx.ModelProto:
    """A model with the inputs and outputs of contract 1 around any nodes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["N", TINY_Z]),
            helper.make_tensor_value_info("note", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("velocity", TensorProto.FLOAT, ["N"]),
        ],
        [
            helper.make_tensor_value_info("partials", TensorProto.FLOAT, ["N", TINY_T, TINY_P]),
            helper.make_tensor_value_info("ratios", TensorProto.FLOAT, ["N", TINY_P]),
            helper.make_tensor_value_info("cents", TensorProto.FLOAT, ["N", TINY_T]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", TINY_T, TINY_B]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return model
