"""Measures how far rendered notes of the shipped instruments are from their key, with two independent trackers.

    python benchmarks/pitch.py [PRESET …]

Trackers: probabilistic YIN (librosa; Mauch and Dixon 2014) and Praat's autocorrelation (Boersma 1993). Every key of
the range is played bare (no effects, no vibrato) for a second and a half; the median of the voiced frames counts.
"""

from __future__ import annotations

import argparse

import librosa
import numpy as np
import parselmouth

from neuralsynth.instrument import Instrument
from neuralsynth.preset import load_preset, shipped_presets
from neuralsynth.units import note_to_hz, ratio_to_cents

RATE = 44_100
SECONDS = 1.5


def played(instrument: Instrument, key: int, velocity: int = 90) -> np.ndarray:
    """One held note without its first tenth of a second, float64 mono."""
    audio = instrument([(bytes([0x90, key, velocity]), 0.0)], SECONDS, RATE, num_channels=1)
    return audio[0, RATE // 10 :].astype(np.float64)


def praat_cents(audio: np.ndarray, key: int) -> float:
    """Median deviation heard by Praat, searching two octaves around the key."""
    hz = float(note_to_hz(key))
    sound = parselmouth.Sound(audio / max(np.abs(audio).max(), 1e-9), RATE)
    pitch = sound.to_pitch_ac(pitch_floor=max(hz / 2, 18.0), pitch_ceiling=min(hz * 2, 9000.0))
    heard = pitch.selected_array["frequency"]
    return float(np.median(ratio_to_cents(heard[heard > 0] / hz))) if np.any(heard > 0) else float("nan")


def pyin_cents(audio: np.ndarray, key: int) -> float:
    """Median deviation heard by probabilistic YIN, searching an octave around the key."""
    hz = float(note_to_hz(key))
    length = int(2 ** np.ceil(np.log2(4 * RATE / hz)))
    heard, voiced, _ = librosa.pyin(
        audio, fmin=hz / 1.4, fmax=min(hz * 1.4, RATE / 2.1), sr=RATE, frame_length=max(length, 1024), resolution=0.02
    )
    return float(np.median(ratio_to_cents(heard[voiced] / hz))) if voiced.any() else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=[path.stem for path in shipped_presets()])
    for name in parser.parse_args().presets:
        instrument = Instrument.load(load_preset_model(name))
        spec = instrument.model.spec
        keys = range(spec.note_low, spec.note_high + 1)
        for tracker, cents_of in (("Praat", praat_cents), ("pYIN", pyin_cents)):
            cents = np.array([cents_of(played(instrument, key), key) for key in keys])
            inside = np.abs(cents) <= 10.0
            worst = ", ".join(f"{k}: {c:+.1f}" for k, c in zip(keys, cents, strict=True) if not abs(c) <= 10.0)
            print(f"{name}, {tracker}: {inside.mean():.1%} of {len(cents)} keys within 10 cents; outside: {worst or 'none'}")


def load_preset_model(name: str):
    """The instrument file of a shipped preset."""
    path = next(path for path in shipped_presets() if path.stem == name)
    return load_preset(path).model_path


if __name__ == "__main__":
    main()
