"""How alive held notes are: `python benchmarks/liveliness.py [INSTRUMENT ...]`.

For every sustaining instrument, held notes of ten seconds: the largest peak of the autocorrelation of the envelopes
of the loud partials (in dB) beyond half a second, which is what an audible loop would show; and how much the partials
move. Beside it the same with the texture off.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.instrument import Instrument
from neuralsynth.preset import shipped_folder, shipped_models
from neuralsynth.units import note_to_hz

RATE, SECONDS, STEP_SECONDS = 24_000, 10.0, 0.01
HEARD_DB = 40.0  # partials that far below the strongest are not looked at
FIRST_LAG_SECONDS, LAST_LAG_SECONDS = 0.5, 5.0


def partial_levels_db(audio: np.ndarray, pitch_hz: float) -> np.ndarray:
    """Envelopes of the partials that are heard, dB, `[C, T]`: each brought to 0 Hz and averaged over 50 ms."""
    seconds = np.arange(len(audio)) / RATE
    window = np.hanning(int(0.05 * RATE))
    window /= window.sum()
    n_partials = min(24, int(0.45 * RATE / pitch_hz))
    hop = int(STEP_SECONDS * RATE)
    rows = []
    for k in range(1, n_partials + 1):
        base = audio * np.exp(-2j * np.pi * k * pitch_hz * seconds)
        rows.append(20.0 * np.log10(np.abs(np.convolve(base, window, "valid")[::hop]) + 1e-9))
    levels = np.array(rows)
    return levels[levels.mean(axis=1) > levels.mean(axis=1).max() - HEARD_DB]


def loop_peak(levels_db: np.ndarray) -> float:
    """The largest local peak of the autocorrelation of the envelopes between the two lags, mean over partials."""
    first, last = int(FIRST_LAG_SECONDS / STEP_SECONDS), int(LAST_LAG_SECONDS / STEP_SECONDS)
    total = np.zeros(last)
    for row in levels_db:
        moves = row - row.mean()
        power = np.mean(moves**2)
        total += [np.mean(moves[lag:] * moves[: len(moves) - lag]) / max(power, 1e-9) for lag in range(last)]
    mean = total / len(levels_db)
    inner = mean[first:]
    is_peak = np.r_[False, (inner[1:-1] > inner[:-2]) & (inner[1:-1] >= inner[2:]), False]
    return float(inner[is_peak].max()) if is_peak.any() else 0.0


def measure(instrument: Instrument, texture: float) -> tuple[float, float]:
    """Largest loop peak over five notes, and how far the partials move from 10 ms to 10 ms (dB, root mean square)."""
    preset = instrument.preset
    still = msgspec.structs.replace(preset, sound=msgspec.structs.replace(preset.sound, texture=texture))
    patch = Instrument(still, instrument.model, instrument.path)
    spec, peaks, steps = instrument.spec, [], []
    for note in np.linspace(spec.note_low + 2, spec.note_high - 2, 5).round().astype(int).tolist():
        audio = patch([(bytes([0x90, note, 90]), 0.0)], SECONDS, RATE, num_channels=1)[0][int(0.5 * RATE) :]
        levels = partial_levels_db(audio, float(note_to_hz(note)))
        peaks.append(loop_peak(levels))
        steps.append(float(np.sqrt(np.mean(np.diff(levels, axis=1) ** 2))))
    return max(peaks), float(np.mean(steps))


def main() -> None:
    """Print the table."""
    names = sys.argv[1:] or [path.stem for path in shipped_models()]
    print("| instrument | loop peak | movement, dB | loop peak, texture off | movement, dB |")
    print("| --- | --: | --: | --: | --: |")
    for name in names:
        path = Path(name) if name.endswith(".onnx") else shipped_folder() / f"{name}.onnx"
        instrument = Instrument.load(path)
        if instrument.spec.sustain is not None:
            (peak, moves), (still_peak, still_moves) = measure(instrument, 1.0), measure(instrument, 0.0)
            print(f"| {path.stem} | {peak:.2f} | {moves:.2f} | {still_peak:.2f} | {still_moves:.2f} |")


if __name__ == "__main__":
    main()
