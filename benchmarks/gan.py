"""Measures what instruments say at latents nobody chose: pitch and touch; and how soon a collapse is noticed.

::

    python benchmarks/gan.py latents presets/inventions.onnx presets/orchestra.onnx     pitch and touch
    python benchmarks/gan.py collapse --recordings FOLDER --kept KEPT                   trainings that go wrong

How varied the latents of a GAN are, `python benchmarks/prior.py ... inventions` says, beside those of VAEs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import parselmouth

from neuralsynth.model import InstrumentModel
from neuralsynth.scoring import play_spectrum
from neuralsynth.units import note_to_hz, ratio_to_cents

RATE = 96_000  # so that a period of the highest key is not a handful of samples
IN_TUNE_CENTS, PITCH_SECONDS, TRACKED_OCTAVES = 50.0, 0.6, (0.5, 1.5)
TOUCHES, TOUCH_SECONDS = np.linspace(0.1, 1.0, 8), 0.5
BATCH = 32


def drawn(model: InstrumentModel, n: int, rng: np.random.Generator) -> np.ndarray:
    """Latents from N(0, I), without detail, `[n, Z]`."""
    latent = np.zeros((n, model.spec.latent_size), np.float32)
    latent[:, : model.spec.character_size] = rng.standard_normal((n, model.spec.character_size))
    return latent


def sounds(model: InstrumentModel, latent: np.ndarray, note: np.ndarray, velocity: np.ndarray, seconds: float):
    """Each note played through the voice kernel: mono `[S]`."""
    for first in range(0, len(note), BATCH):
        part = slice(first, first + BATCH)
        notes = model.decode(latent[part], note[part], velocity[part])
        for i, pitch in enumerate(note[part]):
            yield play_spectrum(notes.note(i, model.spec.grid()), float(pitch), round(seconds * RATE), RATE, None)


def heard_cents(audio: np.ndarray, note: float, octaves: float) -> float:
    """Median deviation by Praat's autocorrelation, free to be so many octaves off; NaN where it hears none."""
    hz, wide = float(note_to_hz(note)), 2.0**octaves
    # A window must be shorter than the sound, so at the lowest notes the search cannot go as far down.
    floor = max(hz / wide, 3.2 / PITCH_SECONDS)
    track = parselmouth.Sound(audio.astype(np.float64) / max(float(np.abs(audio).max()), 1e-9), RATE).to_pitch_ac(
        pitch_floor=floor, pitch_ceiling=min(hz * wide, 0.45 * RATE), voicing_threshold=0.2
    )
    heard = track.selected_array["frequency"]
    return float(np.median(ratio_to_cents(heard[heard > 0] / hz))) if np.any(heard > 0) else float("nan")


def tell_pitch(model: InstrumentModel, n: int, rng: np.random.Generator) -> None:
    """How many notes at random latents are heard where they should be."""
    spec = model.spec
    note = rng.integers(spec.note_low, spec.note_high + 1, n).astype(np.float32)
    velocity = rng.uniform(0.3, 1.0, n).astype(np.float32)
    played = list(sounds(model, drawn(model, n, rng), note, velocity, PITCH_SECONDS))
    for octaves in TRACKED_OCTAVES:
        off = np.array([heard_cents(audio, pitch, octaves) for audio, pitch in zip(played, note, strict=True)])
        right = np.abs(off) <= IN_TUNE_CENTS
        wrong = ", ".join(f"{int(k)}: {c:+.0f}" for k, c in zip(note[~right], off[~right], strict=True))
        print(f"{model.path.name}: {right.mean():.1%} of {n} notes at random latents within {IN_TUNE_CENTS:g} cents, "
              f"searched {octaves:g} octaves either way; outside: {wrong or 'none'}")  # fmt: skip


def tell_touch(model: InstrumentModel, n: int, rng: np.random.Generator) -> None:
    """At how many random latents every harder touch is louder (RMS of what is played)."""
    note = np.repeat(rng.integers(model.spec.note_low, model.spec.note_high + 1, n), len(TOUCHES)).astype(np.float32)
    latent = np.repeat(drawn(model, n, rng), len(TOUCHES), axis=0)
    played = sounds(model, latent, note, np.tile(TOUCHES, n).astype(np.float32), TOUCH_SECONDS)
    level = np.array([10 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20) for audio in played])
    steps = np.diff(level.reshape(n, -1), axis=1)
    print(f"{model.path.name}: louder with each of {len(TOUCHES)} touches at {np.mean(np.all(steps > 0, axis=1)):.1%} "
          f"of {n} random latents, over {np.median(steps.sum(axis=1)):.0f} dB in the median")  # fmt: skip


def tell_collapse(folder: Path, kept: Path, steps: int) -> None:
    """Trainings with and without regularisation at several learning rates: when and how a collapse is named."""
    from neuralsynth.training.config import GanConfig, TrainConfig, VaeConfig
    from neuralsynth.training.run import train_folder

    base = TrainConfig(family="gan", steps=steps, threads=1, batch_size=16, n_frames=64, model=VaeConfig(width=32))
    for rate in (2e-3, 1.6e-2, 1.28e-1):
        for held, gan in (("regularised", GanConfig()), ("without", GanConfig(steepness=0.0, disguise=0.0))):
            started = time.monotonic()
            with tempfile.TemporaryDirectory() as work:
                config = replace(base, learning_rate=rate, gan=gan)
                run = Path(work) / "run"
                run.mkdir()
                (run / "analyses").symlink_to(kept.resolve())
                result = train_folder(folder, Path(work) / "a.onnx", config, run_dir=run, show_progress=False)
            named = [w.removeprefix("the training ") for w in result.warnings if "collapsed" in w]
            print(f"learning rate {rate:g}, {held}: {time.monotonic() - started:.0f} s; {len(named)} collapses named"
                  + (f", first: {named[0]}" if named else ""), flush=True)  # fmt: skip


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latents", "collapse"])
    parser.add_argument("models", nargs="*", type=Path, help="instrument files")
    parser.add_argument("--recordings", type=Path, help="folder of recordings")
    parser.add_argument("--kept", type=Path, default=Path("/tmp/gan-analyses"), help="where analyses are kept")  # noqa: S108
    parser.add_argument("--n", type=int, default=500, help="random latents")
    parser.add_argument("--steps", type=int, default=400, help="of each training that may collapse")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    models = [InstrumentModel.load(path) for path in options.models]
    if options.what == "collapse":
        tell_collapse(options.recordings, options.kept, options.steps)
    for model in models:
        made = model.spec.provenance
        print(f"{model.path.name}: {made.steps} steps, {made.minutes:.1f} min" if made else model.path.name)
        if options.what == "latents":
            tell_pitch(model, options.n, np.random.default_rng(0))
            tell_touch(model, options.n, np.random.default_rng(1))


if __name__ == "__main__":
    main()
