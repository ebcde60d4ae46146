"""An instrument file, opened: the only import of onnxruntime.

A file is read once; the same bytes are approved (`model_gate`) and then run, on one thread and without spinning,
so that inference never steals time from the audio thread.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuralsynth.errors import ModelError, UsageError, one_line
from neuralsynth.model_gate import approve
from neuralsynth.regular_file import read_regular_file
from neuralsynth.spec import METADATA_KEY, InstrumentSpec
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid

MAX_FILE_BYTES = 64 << 20
MAX_BATCH = 64  # notes in one run of the graph, which bounds its memory
MAX_GAIN = 16.0  # of one partial, band or sample: +24 dB over full scale
MAX_CENTS = 2400.0
RATIOS = (1e-3, 1e3)
LEAST_LATENT_REACH = 8.0  # latent numbers are clipped here: eight deviations of the standard normal prior

INPUTS = ("latent", "note", "velocity")
OUTPUTS = {"spectral": ("partials", "ratios", "cents", "noise"), "waveform": ("audio",)}


@dataclass(frozen=True)
class Decoded:
    """`N` notes, all float32."""

    partials: np.ndarray  # [N, T, P] linear amplitude
    ratios: np.ndarray  # [N, P]
    cents: np.ndarray  # [N, T]
    noise: np.ndarray  # [N, T, B] linear RMS

    def note(self, index: int, grid: SpectrumGrid) -> NoteSpectrum:
        """One of the notes."""
        return NoteSpectrum(grid, self.partials[index], self.ratios[index], self.cents[index], self.noise[index])


class InstrumentModel:
    """An approved instrument file, ready to decode notes. Safe to use from several threads."""

    def __init__(self, data: bytes, path: Path) -> None:
        """Open approved bytes; everybody else calls `load`."""
        self.path = path
        self.digest = hashlib.sha256(data).hexdigest()
        self._session = open_session(data, path)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise ModelError(f"{path}: is no neuralsynth instrument (its metadata has no key {METADATA_KEY!r})")
        self.spec = InstrumentSpec.from_json(metadata[METADATA_KEY], str(path))
        self.latent_reach = latent_reach(self.spec)
        self._listener = _listener(self.spec)

    @classmethod
    def load(cls, path: Path | str) -> InstrumentModel:
        """Read, approve and open an instrument file; its golden pair `NAME.check.npz` is replayed if it lies beside.

        Raises:
            ModelError: missing, not a regular file, too large, or it breaks the contract; see `model_gate`.
        """
        path = Path(path)
        data = read_regular_file(path, MAX_FILE_BYTES, ModelError)
        approve(path, data, _golden_pair(path))
        return cls(data, path)

    def __getstate__(self) -> dict:
        """What travels to another process: all that the file says, but not the graph; a copy cannot decode."""
        return self.__dict__ | {"_session": None, "_listener": None}

    @property
    def can_decode(self) -> bool:
        """Whether the graph is here."""
        return self._session is not None

    def decode(self, latent: np.ndarray, note: np.ndarray, velocity: np.ndarray) -> Decoded:
        """Decode a batch: latent `[N, Z]` (or its character), MIDI note `[N]` with fractions, velocity `[N]` 0..1.

        Inputs are clipped to where the file was tried: velocity to 0..1, note to 0..127, latent to `latent_reach`.
        What a graph of kind `waveform` gives is heard as spectra (`waveform`).

        Raises:
            UsageError: shapes that do not fit, or audio of which the file does not say how to hear it.
            ModelError: the graph fails or gives numbers that are not finite.
        """
        if not self.can_decode:
            raise ModelError(f"{self.path}: cannot be decoded in this process")
        inputs = self._clipped(latent, note, velocity)
        outputs = self._finite(*inputs) if self.spec.kind == "spectral" else self._heard(*inputs)
        return Decoded(
            partials=np.clip(outputs["partials"], 0.0, MAX_GAIN),
            ratios=np.clip(outputs["ratios"], *RATIOS),
            cents=np.clip(outputs["cents"], -MAX_CENTS, MAX_CENTS),
            noise=np.clip(outputs["noise"], 0.0, MAX_GAIN),
        )

    def _finite(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a batch by name, if all is finite."""
        outputs = self.run(*inputs)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise ModelError(f"{self.path}: decodes to {name} that are not finite")
        return outputs

    def _heard(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Spectra of the audio of a batch, as the outputs that a spectral graph has."""
        if self._listener is None:
            raise UsageError(f"{self.path}: does not say how its audio is heard; wrap it with: neuralsynth adopt")

        def audio(*some: np.ndarray) -> np.ndarray:
            return np.clip(self._finite(*some)["audio"], -MAX_GAIN, MAX_GAIN)

        spectra = self._listener.spectra(audio, *inputs)
        names = OUTPUTS["spectral"]
        return {name: np.stack([getattr(s, name) for s in spectra]).astype(np.float32) for name in names}

    def run(self, latent: np.ndarray, note: np.ndarray, velocity: np.ndarray) -> dict[str, np.ndarray]:
        """The graph's own outputs by name, nothing clipped: for the trial and for the golden pair."""
        names, batches = OUTPUTS[self.spec.kind], []
        for start in range(0, len(note), MAX_BATCH):
            stop = start + MAX_BATCH
            feed = dict(zip(INPUTS, (latent[start:stop], note[start:stop], velocity[start:stop]), strict=True))
            try:
                batches.append(self._session.run(names, feed))
            except Exception as error:  # onnxruntime's errors share no base class of their own
                raise ModelError(f"{self.path}: its graph cannot be run ({reason(error)})") from error
        if len(batches) == 1:
            return dict(zip(names, batches[0], strict=True))
        return {name: np.concatenate([batch[i] for batch in batches]) for i, name in enumerate(names)}

    def _clipped(self, latent, note, velocity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        latent, note, velocity = (np.asarray(value, np.float32) for value in (latent, note, velocity))
        n, z = len(note) if note.ndim == 1 else 0, self.spec.latent_size
        if latent.shape == (n, self.spec.character_size):
            latent = np.pad(latent, ((0, 0), (0, z - latent.shape[1])))
        if n == 0 or latent.shape != (n, z) or velocity.shape != (n,):
            raise UsageError(
                f"decode got latent {latent.shape}, note {note.shape}, velocity {velocity.shape}; "
                f"give [N, {z}], [N] and [N], N at least 1"
            )
        reach = self.latent_reach
        latent = np.clip(np.nan_to_num(latent), -reach, reach)
        return latent, np.clip(np.nan_to_num(note), 0.0, 127.0), np.clip(np.nan_to_num(velocity), 0.0, 1.0)


def _listener(spec: InstrumentSpec):
    """What hears the audio of a spec; None where there is none. Others need not load the analysis."""
    if spec.waveform is None:
        return None
    from neuralsynth.waveform import Listener

    return Listener(spec)


def latent_reach(spec: InstrumentSpec) -> float:
    """How far a latent number may go: 8, or further if the named points with their axes lie further out."""
    points = np.abs(list(spec.points.values())).max()
    axes = [axis for some in (spec.axes, *spec.own_axes.values()) for axis in some.values()]
    ends = [abs(x) for axis in axes for x in (*axis.low, *axis.high)]
    return max(LEAST_LATENT_REACH, float(points + max(ends, default=0.0)))


def _golden_pair(path: Path) -> bytes | None:
    pair = path.with_name(f"{path.stem}.check.npz")
    return read_regular_file(pair, MAX_FILE_BYTES, ModelError) if pair.exists() else None


def import_onnxruntime():
    """Import onnxruntime with its telemetry off.

    From version 1.29 on the official Linux builds count and report usage over the network, from threads of their
    own, and leave a device number in the user's cache, unless this variable is set before the import.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def open_session(data: bytes, path: Path):
    """An inference session of approved bytes: one thread, no spinning.

    Raises:
        ModelError: onnxruntime refuses them.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # batch sizes vary; an arena would only grow
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise ModelError(f"{path}: cannot be opened by onnxruntime ({reason(error)})") from error


def reason(error: Exception) -> str:
    """The part of one of onnxruntime's messages that says something."""
    text = str(error)
    return one_line(text.rpartition("Status Message: ")[2] or text.rpartition(" : ")[2], 120)
