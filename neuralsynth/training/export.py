"""A trained decoder -> one ONNX instrument file with its golden pair, proven to say what torch says; and its encoder.

The graph is exported for any batch size in the default operator domain, normalisations folded into convolutions, the
spec inside as metadata. Nothing is written under the final name before torch and onnxruntime agree.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from msgspec.json import encode as json_encode
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from neuralsynth import model_encoder as encoder
from neuralsynth.errors import ModelError
from neuralsynth.model_encoder import encoder_path
from neuralsynth.model_graph import check_encoder_graph, check_graph
from neuralsynth.spec import ENCODER_KEY, METADATA_KEY, EncoderSpec, InstrumentSpec
from neuralsynth.storage import whole_file
from neuralsynth.training.blocks import DownConv, ModulatedConv
from neuralsynth.training.encoder import Coder, Listener

OPSET = 18
INPUTS = ("latent", "note", "velocity")
OUTPUTS = ("partials", "ratios", "cents", "noise")
LEAST_PARITY_DB = 90.0
PARITY_BATCHES = (1, 3, 32, 64)  # 100 random inputs together
MAX_FILE_BYTES = 4_000_000
GOLDEN_NOTES = 5


def export_instrument(decoder: nn.Module, spec: InstrumentSpec, output: Path) -> float:
    """Write `output` and its golden pair beside; returns the least agreement in dB of any output.

    Raises:
        ModelError: torch and the exported graph disagree, or the graph breaks the contract.
        OutputError: a file cannot be written.
    """
    output = Path(output)
    plain = folded(decoder)
    data = to_onnx(plain, spec)
    check_graph(data, str(output))
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(
            f"{output}: would have {len(data) / 1e6:.1f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB are allowed"
        )
    agreement_db = parity_db(decoder, data, spec)
    if not agreement_db >= LEAST_PARITY_DB:
        raise ModelError(
            f"{output}: torch and the exported graph agree to {agreement_db:.0f} dB; {LEAST_PARITY_DB:.0f} dB is needed"
        )
    golden = _golden(decoder, spec)
    check_path = output.with_suffix(".check.npz")
    with whole_file(check_path) as part, part.open("wb") as file:
        np.savez_compressed(file, **golden)  # type: ignore[arg-type]  # numpy's stub mixes its keywords in
    with whole_file(output) as part:
        part.write_bytes(data)
    return agreement_db


def export_encoder(coder: Coder, spec: InstrumentSpec, model_path: Path) -> float:
    """Write the encoder file of an instrument beside it; returns the least agreement with torch in dB.

    Raises:
        ModelError: torch and the exported graph disagree, or the graph breaks the contract.
        OutputError: the file cannot be written.
    """
    output, listener = encoder_path(Path(model_path)), Listener(coder).eval()
    own = EncoderSpec(
        n_frames=len(spec.frame_seconds),
        n_partials=spec.n_partials,
        n_bands=len(spec.band_edges_hz) - 1,
        character_size=spec.character_size,
    )
    plain = folded(listener)
    data = _graph(plain, _random_notes(own, 2, 0), encoder.INPUTS, encoder.OUTPUTS, _encoder_sizes(own))
    data = _with_document(data, ENCODER_KEY, json_encode(own).decode())
    check_encoder_graph(data, str(output))
    agreement_db = min(
        _parity(listener, data, _random_notes(own, n, n), encoder.INPUTS, encoder.OUTPUTS) for n in (1, 3, 16)
    )
    if not agreement_db >= LEAST_PARITY_DB:
        raise ModelError(
            f"{output}: torch and the exported graph agree to {agreement_db:.0f} dB; {LEAST_PARITY_DB:.0f} dB is needed"
        )
    with whole_file(output) as part:
        part.write_bytes(data)
    return agreement_db


def rewrite_spec(path: Path, spec: InstrumentSpec) -> None:
    """Put another spec into a finished instrument file; its graph, and so its golden pair, stays as it is.

    Raises:
        ModelError: the spec is wrong.
        OutputError: the file cannot be written.
    """
    document = spec.to_json()
    InstrumentSpec.from_json(document, str(path))
    data = _with_document(path.read_bytes(), METADATA_KEY, document)
    with whole_file(path) as part:
        part.write_bytes(data)


def folded(network: nn.Module) -> nn.Module:
    """A copy for inference: every normalisation folded into the convolution before it."""
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, ModulatedConv | DownConv):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
    return plain


def to_onnx(decoder: nn.Module, spec: InstrumentSpec) -> bytes:
    """The exported graph with the spec inside."""
    t, p, b = len(spec.frame_seconds), spec.n_partials, len(spec.band_edges_hz) - 1
    sizes = {"latent": [spec.latent_size], "note": [], "velocity": [], "partials": [t, p], "ratios": [p], "cents": [t]}
    sizes["noise"] = [t, b]
    inputs = _random_inputs(spec, 2, np.random.default_rng(0))
    return _with_document(_graph(decoder, inputs, INPUTS, OUTPUTS, sizes), METADATA_KEY, spec.to_json())


def _graph(
    network: nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    sizes: dict[str, list[int]],
) -> bytes:
    """A network as an ONNX graph for any batch size; `sizes` has the shape of each input and output after the batch."""
    free = {name: {0: "N"} for name in (*inputs, *outputs)}
    buffer: Any = io.BytesIO()
    with _quiet():
        # The TorchScript exporter needs a second where torch.export needs half a minute, for the same graph.
        torch.onnx.export(
            network, example, buffer, dynamo=False, opset_version=OPSET, input_names=list(inputs),
            output_names=list(outputs), dynamic_axes=free, do_constant_folding=True,
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.doc_string = "neuralsynth", ""
    for node in model.graph.node:
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape
        del dims.dim[:]
        dims.dim.add().dim_param = "N"
        for size in sizes[value.name]:
            dims.dim.add().dim_value = size
    return model.SerializeToString()


def _with_document(data: bytes, key: str, document: str) -> bytes:
    """A graph with one document as its metadata."""
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = key, document
    return model.SerializeToString()


def _encoder_sizes(own: EncoderSpec) -> dict[str, list[int]]:
    return {
        "partials": [own.n_frames, own.n_partials], "noise": [own.n_frames, own.n_bands], "note": [], "velocity": [],
        "mean": [own.character_size], "deviation": [own.character_size],
    }  # fmt: skip


def _random_notes(own: EncoderSpec, n: int, seed: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    partials = 10.0 ** rng.uniform(-5.0, -0.5, (n, own.n_frames, own.n_partials))
    noise = 10.0 ** rng.uniform(-5.0, -1.0, (n, own.n_frames, own.n_bands))
    arrays = partials, noise, rng.uniform(30.0, 90.0, n), rng.uniform(0.0, 1.0, n)
    return tuple(torch.tensor(x, dtype=torch.float32) for x in arrays)


@contextlib.contextmanager
def _quiet():
    """Without the exporter's remarks on itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def _random_inputs(spec: InstrumentSpec, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    latent = rng.standard_normal((n, spec.latent_size))
    note = rng.uniform(spec.note_low, spec.note_high + 1e-3, n)
    return tuple(torch.tensor(x, dtype=torch.float32) for x in (latent, note, rng.uniform(0.0, 1.0, n)))


def parity_db(decoder: nn.Module, data: bytes, spec: InstrumentSpec) -> float:
    """Least agreement over 100 random inputs at several batch sizes, in dB of signal over difference."""
    rng = np.random.default_rng(1)
    return min(_parity(decoder, data, _random_inputs(spec, n, rng), INPUTS, OUTPUTS) for n in PARITY_BATCHES)


@torch.no_grad()
def _parity(
    network: nn.Module, data: bytes, inputs: tuple[torch.Tensor, ...], names: Sequence[str], outputs: Sequence[str]
) -> float:
    """Least agreement in dB of any output of a network and of its exported graph."""
    from neuralsynth.model import import_onnxruntime

    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = session.run(list(outputs), {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    wanted = network.eval()(*inputs)
    return min(_agreement_db(one.numpy(), other) for one, other in zip(wanted, found, strict=True))


def _agreement_db(wanted: np.ndarray, found: np.ndarray) -> float:
    """Signal over difference in dB, at most 200; different shapes agree not at all."""
    if wanted.shape != found.shape:
        return -np.inf
    signal = float(np.sum(wanted.astype(np.float64) ** 2))
    error = float(np.sum((wanted.astype(np.float64) - found) ** 2))
    return min(200.0, 10.0 * float(np.log10((signal + 1e-20) / (error + 1e-40))))


@torch.no_grad()
def _golden(decoder: nn.Module, spec: InstrumentSpec) -> dict[str, np.ndarray]:
    """Inputs over the range, first at the default point, and what torch gives for them."""
    latent, _, velocity = _random_inputs(spec, GOLDEN_NOTES, np.random.default_rng(2))
    latent[0] = torch.from_numpy(spec.place(spec.points[spec.default_point]))
    note = torch.linspace(spec.note_low, spec.note_high, GOLDEN_NOTES)
    decoder.eval()
    outputs = dict(zip(OUTPUTS, decoder(latent, note, velocity), strict=True))
    arrays = {"latent": latent, "note": note, "velocity": velocity, **outputs}
    return {name: value.numpy().astype(np.float32) for name, value in arrays.items()}
