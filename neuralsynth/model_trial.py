"""The child process that judges an instrument file: `python -m neuralsynth.model_trial SECONDS < head, model, pair`.

It takes its limits first, then checks the graph without running it, then runs it at the edges of what a player can
ask for, and replays the golden pair. It prints "ready", then one line of JSON: `{"complaint": null}` or a sentence.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np

from neuralsynth.errors import ModelError, one_line
from neuralsynth.model import (
    INPUTS,
    MAX_BATCH,
    MAX_CENTS,
    MAX_FILE_BYTES,
    MAX_GAIN,
    OUTPUTS,
    RATIOS,
    InstrumentModel,
    import_onnxruntime,
    latent_reach,
)
from neuralsynth.model_encoder import Encoder
from neuralsynth.model_gate import READY
from neuralsynth.model_graph import check_encoder_graph, check_graph, is_encoder
from neuralsynth.spec import InstrumentSpec

MEMORY_BYTES = 1 << 30  # on top of what the libraries take
MAX_WAVEFORM_SECONDS = 120.0
GOLDEN_SNR_DB = 80.0
NEGATIVE_ROUNDING = -1e-6  # a gain this far below zero is rounding; decode clips it

HERE = Path("trial")  # complaints start with this; the parent knows the real name


def main() -> None:
    """Read the job from standard input, print the verdict."""
    import onnx  # noqa: F401  both libraries are loaded before the limits count

    import_onnxruntime()
    print(READY.decode(), flush=True)
    verdict: str | None
    try:
        head = json.loads(sys.stdin.buffer.readline())
        data = sys.stdin.buffer.read(head["model"])
        pair = None if head["pair"] is None else sys.stdin.buffer.read(head["pair"])
        limit_this_process(int(sys.argv[1]))
        if is_encoder(data, str(HERE)):
            judge_encoder(data)
        else:
            judge(data, pair)
        verdict = None
    except ModelError as error:
        verdict = str(error).removeprefix(f"{HERE}: ")
    except MemoryError:
        verdict = f"needs more than {MEMORY_BYTES >> 20} MB"
    except Exception as error:  # noqa: BLE001  whatever a library says of hostile bytes is a refusal, not our crash
        verdict = f"cannot be understood ({type(error).__name__}: {one_line(error, 120)})"
    print(json.dumps({"complaint": verdict}), flush=True)


def limit_this_process(seconds: int) -> None:
    """End this process after `seconds`, and let it have no more than `MEMORY_BYTES` more memory (POSIX only)."""
    try:
        import resource
        import signal
    except ImportError:
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return  # no procfs: where the address space cannot be read, its limit does not work either
    ceiling = pages * resource.getpagesize() + MEMORY_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > ceiling:
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))


def judge(data: bytes, pair: bytes | None) -> None:
    """Static check, trial decodes, golden pair.

    Raises:
        ModelError: the first thing that is wrong.
    """
    spec = check_graph(data, str(HERE))
    model = InstrumentModel(data, HERE)
    if model.spec != spec:
        raise ModelError(f"{HERE}: its metadata can be read in two ways")
    for latent, note, velocity in ordinary_inputs(spec):
        check_outputs(spec, model.run(latent, note, velocity), len(note), MAX_GAIN, MAX_CENTS)
    for latent, note, velocity in extreme_inputs(spec):
        check_outputs(spec, model.run(latent, note, velocity), len(note), np.inf, np.inf)
    if pair is not None:
        replay(model, pair)


def judge_encoder(data: bytes) -> None:
    """Static check of an encoder, then silence, full scale and noise through it.

    Raises:
        ModelError: the first thing that is wrong.
    """
    spec, rng = check_encoder_graph(data, str(HERE)), np.random.default_rng(0)
    encoder = Encoder(data, HERE)
    for n in (1, 3):
        partials, noise = np.zeros((n, spec.n_frames, spec.n_partials)), np.zeros((n, spec.n_frames, spec.n_bands))
        for gain in (0.0, 1.0, 1e-3):
            heard = (gain * rng.random(x.shape) if gain < 1.0 else x + gain for x in (partials, noise))
            outputs = encoder.run(*heard, np.linspace(0.0, 127.0, n), np.linspace(0.0, 1.0, n))
            wanted = (n, spec.character_size)
            if any(value.shape != wanted or not np.isfinite(value).all() for value in outputs):
                raise ModelError(f"{HERE}: its outputs are not finite numbers of the shape {wanted}")


def ordinary_inputs(spec: InstrumentSpec):
    """Named points over the note and velocity range, as any player asks for them; batches of 1 and 12."""
    points = [spec.place(point) for point in spec.points.values()]
    chosen = [spec.place(spec.points[spec.default_point]), points[0], points[len(points) // 2], points[-1]]
    notes = np.array([spec.note_low, 0.5 * (spec.note_low + spec.note_high) + 0.25, spec.note_high], np.float32)
    latent = np.repeat(np.array(chosen, np.float32), len(notes), axis=0)
    note = np.tile(notes, len(chosen))
    for velocity in (0.0, 0.5, 1.0):
        yield latent, note, np.full(len(note), velocity, np.float32)
    yield latent[:1], note[:1], np.full(1, 0.7, np.float32)


def extreme_inputs(spec: InstrumentSpec):
    """The corners of what `decode` lets through: latents at their reach, notes 0 and 127, velocities 0 and 1.

    The batch is the largest that `decode` ever runs.
    """
    rng, z = np.random.default_rng(0), spec.latent_size
    corners = [np.ones((1, z)), -np.ones((1, z)), rng.choice([-1.0, 1.0], (MAX_BATCH // 2 - 2, z))]
    ordinary = rng.standard_normal((MAX_BATCH - MAX_BATCH // 2, z))
    latent = np.concatenate([latent_reach(spec) * np.concatenate(corners), ordinary]).astype(np.float32)
    note = np.resize(np.array([0.0, 127.0, 60.5], np.float32), len(latent))
    yield latent, note, np.resize(np.array([0.0, 1.0], np.float32), len(latent))
    yield latent, note[::-1].copy(), np.resize(np.array([1.0, 0.0], np.float32), len(latent))


def expected_shapes(spec: InstrumentSpec, n: int) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the outputs for `n` notes; None is left to the file."""
    if spec.kind == "waveform":
        return {"audio": (n, None, None)}
    t, p, b = len(spec.frame_seconds), spec.n_partials, len(spec.band_edges_hz) - 1
    return {"partials": (n, t, p), "ratios": (n, p), "cents": (n, t), "noise": (n, t, b)}


def check_outputs(
    spec: InstrumentSpec, outputs: dict[str, np.ndarray], n: int, max_gain: float, max_cents: float
) -> None:
    """Hold shapes, types and ranges of a decoded batch."""
    for name, shape in expected_shapes(spec, n).items():
        value = outputs[name]
        fits = value.ndim == len(shape) and all(w in (None, h) for w, h in zip(shape, value.shape, strict=True))
        if not fits or value.dtype != np.float32:
            raise ModelError(f"{HERE}: its output {name} is {value.dtype} {value.shape}; its spec says float32 {shape}")
        if not np.isfinite(value).all():
            raise ModelError(f"{HERE}: its output {name} is not finite")
    if spec.kind == "waveform":
        _, channels, length = outputs["audio"].shape
        if not (1 <= channels <= 2 and 1 <= length <= MAX_WAVEFORM_SECONDS * spec.sample_rate):
            raise ModelError(f"{HERE}: its audio has {channels} channels and {length} samples; use 1 or 2, up to 120 s")
        ranges = {"audio": (-max_gain, max_gain)}
    else:
        gains, bend = (NEGATIVE_ROUNDING, max_gain), (-max_cents, max_cents)
        ranges = {"partials": gains, "noise": gains, "cents": bend, "ratios": RATIOS}
    for name, (low, high) in ranges.items():
        least, most = float(outputs[name].min()), float(outputs[name].max())
        if least < low or most > high:
            raise ModelError(f"{HERE}: its output {name} runs from {least:.3g} to {most:.3g}; use {low:g} to {high:g}")


def replay(model: InstrumentModel, pair: bytes) -> None:
    """Compare the file with the outputs it had when it was made.

    Raises:
        ModelError: the pair is damaged, does not fit the file, or agrees to less than 80 dB.
    """
    names = INPUTS + OUTPUTS[model.spec.kind]
    try:
        with np.load(io.BytesIO(pair), allow_pickle=False) as archive:
            if any(info.file_size > MAX_FILE_BYTES for info in archive.zip.infolist()):
                raise ModelError(f"{HERE}: its golden pair (.check.npz) is too large")
            golden = {name: np.asarray(archive[name], np.float32) for name in names}
    except ModelError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have their own ways to say "damaged"
        raise ModelError(f"{HERE}: its golden pair (.check.npz) is damaged ({one_line(error, 100)})") from error
    n = golden["note"].size
    shapes = {"latent": (n, model.spec.latent_size), "note": (n,), "velocity": (n,)}
    if n == 0 or any(golden[name].shape != shape for name, shape in shapes.items()):
        raise ModelError(f"{HERE}: its golden pair (.check.npz) has inputs of other shapes than its spec")
    outputs = model.run(*(golden[name] for name in INPUTS))
    for name in OUTPUTS[model.spec.kind]:
        snr_db = agreement_db(golden[name], outputs[name])
        if not snr_db >= GOLDEN_SNR_DB:
            raise ModelError(
                f"{HERE}: its output {name} agrees with the golden pair (.check.npz) to {snr_db:.0f} dB; "
                f"at least {GOLDEN_SNR_DB:.0f} dB is needed"
            )


def agreement_db(reference: np.ndarray, found: np.ndarray) -> float:
    """Signal-to-difference ratio in dB; other shapes agree not at all."""
    if reference.shape != found.shape:
        return -np.inf
    wanted = reference.astype(np.float64)
    error = float(np.sum((wanted - found) ** 2))
    return 10.0 * float(np.log10((np.sum(wanted**2) + 1e-12) / (error + 1e-300)))


if __name__ == "__main__":
    main()
