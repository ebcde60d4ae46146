"""Measures how far rendered notes of the shipped instruments are from their key, with two independent trackers.

    python benchmarks/pitch.py [PRESET …]

Trackers: YIN (librosa; de Cheveigné and Kawahara 2002) and Praat's autocorrelation (Boersma 1993). Every key of
the range is played bare (no effects, no vibrato) for a second; the median of the voiced frames counts.
"""

from __future__ import annotations

import argparse

import librosa
import numpy as np
import parselmouth
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfilt

from neuralsynth.instrument import Instrument
from neuralsynth.preset import load_preset, shipped_presets
from neuralsynth.units import note_to_hz, ratio_to_cents

RATE = 96_000  # so that a period of the highest key is not a handful of samples
SECONDS = 1.0
SEARCH = 2**0.5


def played(instrument: Instrument, key: int, velocity: int = 90) -> np.ndarray:
    """The loud part (within 30 dB of its maximum) of one held note past its first 50 ms, float64 mono.

    What lies more than half an octave below the key (the knock of hammer and case) is filtered out.
    """
    audio = instrument([(bytes([0x90, key, velocity]), 0.0)], SECONDS, RATE, num_channels=1)[0]
    return loud_part(audio, key, RATE)


def loud_part(audio: np.ndarray, key: int, rate: int) -> np.ndarray:
    """What of a note is listened to, see `played`."""
    sections = butter(4, 0.7 * float(note_to_hz(key)), "highpass", fs=rate, output="sos")
    audio = sosfilt(sections, audio.astype(np.float64))[rate // 20 :]
    level = np.sqrt(np.maximum(uniform_filter1d(audio**2, rate // 48, mode="constant"), 0.0))
    return audio[: max(np.flatnonzero(level >= level.max() * 10 ** (-30 / 20))[-1], rate // 10)]


def praat_cents(audio: np.ndarray, key: int, rate: int = RATE) -> float:
    """Median deviation heard by Praat, searching half an octave either way."""
    hz = float(note_to_hz(key))
    sound = parselmouth.Sound(audio / max(np.abs(audio).max(), 1e-9), rate)
    pitch = sound.to_pitch_ac(pitch_floor=hz / SEARCH, pitch_ceiling=hz * SEARCH, voicing_threshold=0.2)
    heard = pitch.selected_array["frequency"]
    return float(np.median(ratio_to_cents(heard[heard > 0] / hz))) if np.any(heard > 0) else float("nan")


def yin_cents(audio: np.ndarray, key: int) -> float:
    """Median deviation heard by YIN, searching half an octave either way."""
    hz = float(note_to_hz(key))
    length = min(int(2 ** np.ceil(np.log2(max(1024, 5 * RATE / hz)))), len(audio))
    heard = librosa.yin(audio, fmin=hz / SEARCH, fmax=hz * SEARCH, sr=RATE, frame_length=length, hop_length=length // 2)
    return float(np.median(ratio_to_cents(heard / hz)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=[path.stem for path in shipped_presets()])
    for name in parser.parse_args().presets:
        instrument = Instrument.load(load_preset_model(name))
        spec = instrument.spec
        keys = range(spec.note_low, spec.note_high + 1)
        for tracker, cents_of in (("Praat", praat_cents), ("YIN", yin_cents)):
            cents = np.array([cents_of(played(instrument, key), key) for key in keys])
            inside = np.abs(cents) <= 10.0
            worst = ", ".join(f"{k}: {c:+.1f}" for k, c in zip(keys, cents, strict=True) if not abs(c) <= 10.0)
            share = f"{inside.mean():.1%} of {len(cents)} keys within 10 cents"
            print(f"{name}, {tracker}: {share}; outside: {worst or 'none'}")


def load_preset_model(name: str):
    """The instrument file of a shipped preset."""
    path = next(path for path in shipped_presets() if path.stem == name)
    return load_preset(path).model_path


if __name__ == "__main__":
    main()
