"""Measures what an adopted generator loses by being heard: `python benchmarks/adopted.py SOUNDS …`.

SOUNDS is a folder of sounds, one generator each: a graph that takes no note gives just that sound. It is heard as
`neuralsynth.waveform` does it and played at its own key, and 5 semitones below and above. For each, the distance
(`neuralsynth.analysis.distance`) to what a sampler plays there: the sound itself, resampled. Sub-folders are rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from neuralsynth.adoption import MOST_PARTIALS, N_BANDS, N_FRAMES, N_MODES, SURE
from neuralsynth.analysis.distance import distance
from neuralsynth.analysis.files import read_mono
from neuralsynth.analysis.pitch import measure_pitch
from neuralsynth.scoring import play_spectrum
from neuralsynth.spec import InstrumentSpec, Waveform
from neuralsynth.spectrum import mel_band_edges_hz, warped_frame_seconds
from neuralsynth.units import hz_to_note
from neuralsynth.waveform import Listener

MOST_SECONDS = 3.0
SHIFTS = (-5, 0, 5)


def spec_of(seconds: float, rate: int, pitched: bool, note: float) -> InstrumentSpec:
    """The spec of a generator of one sound."""
    return InstrumentSpec(
        kind="waveform", family="adopted", name="one", sample_rate=rate,
        waveform=Waveform(takes_note=False, takes_velocity=False, is_pitched=pitched, sounds_at=note),
        frame_seconds=warped_frame_seconds(N_FRAMES, seconds).tolist(),
        band_edges_hz=mel_band_edges_hz(N_BANDS).tolist(), n_partials=MOST_PARTIALS if pitched else N_MODES,
        latent_size=1, points={"one": [0.0]}, default_point="one", note_low=0, note_high=127, velocity_low=127,
        velocity_high=127, licence="", origin="",
    )  # fmt: skip


def measured(audio: np.ndarray, rate: int) -> tuple[bool, list[float], float]:
    """Whether a sound was heard as pitched, its distance at each of `SHIFTS`, and the seconds that hearing took."""
    found = measure_pitch(audio, rate)
    pitched = found.confidence >= SURE
    note = float(hz_to_note(found.pitch_hz)) if pitched else 60.0
    listener = Listener(spec_of(len(audio) / rate, rate, pitched, note))
    latent, one = np.zeros((1, 1), np.float32), np.ones(1, np.float32)
    begun = time.perf_counter()
    listener.spectra(lambda *_: audio[None, None], latent, one * note, one)
    spent, distances = time.perf_counter() - begun, []
    for shift in SHIFTS:
        spectrum = listener.spectra(lambda *_: audio[None, None], latent, one * (note + shift), one)[0]
        ratio = Fraction(2.0 ** (-shift / 12.0)).limit_denominator(200)
        wanted = resample_poly(audio.astype(np.float64), ratio.numerator, ratio.denominator)[: len(audio)]
        played = play_spectrum(spectrum, note + shift, len(wanted), rate, None)
        distances.append(distance(wanted, played, rate))
    return pitched, distances, spent


def rows(folder: Path, most: int) -> Iterator[tuple[str, list[tuple[bool, list[float], float]]]]:
    """Each sub-folder with what was measured of a few of its sounds."""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in part.rglob("*") if path.suffix in (".wav", ".flac"))
        results = []
        for path in [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int))]:
            audio, rate = read_mono(path)
            results.append(measured(audio[: round(MOST_SECONDS * rate)].astype(np.float32), rate))
        yield part.name, results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=4, help="sounds of each sub-folder")
    options = parser.parse_args()
    head = ("sounds", "heard as notes", "own key, dB", "5 below", "5 above", "ms to hear")
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for folder in options.sounds:
        for name, results in rows(folder, options.most):
            at = np.mean([distances for _, distances, _ in results], axis=0)
            n = sum(pitched for pitched, _, _ in results)
            spent = 1000.0 * np.median([seconds for _, _, seconds in results])
            print(
                f"| {name} | {n} of {len(results)} | {at[1]:.1f} | {at[0]:.1f} | {at[2]:.1f} | {spent:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
