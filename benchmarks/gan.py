"""Measures what instruments say at latents nobody chose: pitch and touch; and how soon a collapse is noticed.

::

    python benchmarks/gan.py latents presets/inventions.onnx presets/orchestra.onnx     pitch and touch
    python benchmarks/gan.py recordings --recordings FOLDER                             the same tracker on recordings
    python benchmarks/gan.py collapse --recordings FOLDER --kept KEPT [--recipe inventions]   trainings that go wrong

A collapse is dated by what is seen afterwards: a training that nobody rescues is looked at every fiftieth of it, and
it was lost from the look on after which coverage stays under half of what the regularised training at the usual rate
comes to. When it would have been named is told by the same looks, of which only those count that a training takes.

How varied the latents of a GAN are, `python benchmarks/prior.py ... inventions` says, beside those of VAEs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import parselmouth
import pytest

from neuralsynth.model import InstrumentModel
from neuralsynth.scoring import play_spectrum
from neuralsynth.training.collapse import Health
from neuralsynth.training.config import TrainConfig
from neuralsynth.training.watch import MOST_STEPS_LOST, SCORES
from neuralsynth.units import note_to_hz, ratio_to_cents

RATE = 96_000  # so that a period of the highest key is not a handful of samples
IN_TUNE_CENTS, PITCH_SECONDS, TRACKED_OCTAVES = 50.0, 0.6, (0.5, 1.5)
TOUCHES, TOUCH_SECONDS = np.linspace(0.1, 1.0, 8), 0.5
HIGH_NOTE = 84  # above which a note is little more than one partial
BATCH = 32
RATES, USUAL_RATE, LOOKS = (1, 2, 4, 8, 16), 2e-3, 50


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
        _tell_heard(f"{model.path.name}, random latents", note, off, octaves)


def _tell_heard(what: str, note: np.ndarray, off: np.ndarray, octaves: float) -> None:
    right, high = np.abs(off) <= IN_TUNE_CENTS, note > HIGH_NOTE
    wrong = ", ".join(f"{int(k)}: {c:+.0f}" for k, c in zip(note[~right], off[~right], strict=True))
    print(f"{what}: {right.mean():.1%} of {len(note)} notes within {IN_TUNE_CENTS:g} cents, searched {octaves:g} "
          f"octaves either way; {right[~high].mean():.1%} up to note {HIGH_NOTE}, {right[high].mean():.1%} of "
          f"{high.sum()} above; outside: {wrong or 'none'}")  # fmt: skip


def tell_recordings(folder: Path) -> None:
    """How many recordings are heard where their labels say."""
    from neuralsynth.analysis.folder import read_folder
    from neuralsynth.analysis.signal import find_onset_seconds

    used = read_folder(folder).used
    note = np.array([float(recording.note) for recording in used])
    for octaves in TRACKED_OCTAVES:
        off = []
        for recording in used:
            audio, rate = recording.load()
            first = round(find_onset_seconds(audio, rate) * rate)
            played = resampled(audio[first : first + round(PITCH_SECONDS * rate)], rate)
            off.append(heard_cents(played, recording.note, octaves))
        _tell_heard("recordings", note, np.array(off), octaves)


def resampled(audio: np.ndarray, rate: int) -> np.ndarray:
    """A sound at `RATE`."""
    from scipy.signal import resample_poly

    common = np.gcd(rate, RATE)
    return resample_poly(audio, RATE // common, rate // common)


def tell_touch(model: InstrumentModel, n: int, rng: np.random.Generator) -> None:
    """At how many random latents every harder touch is louder (RMS of what is played)."""
    note = np.repeat(rng.integers(model.spec.note_low, model.spec.note_high + 1, n), len(TOUCHES)).astype(np.float32)
    latent = np.repeat(drawn(model, n, rng), len(TOUCHES), axis=0)
    played = sounds(model, latent, note, np.tile(TOUCHES, n).astype(np.float32), TOUCH_SECONDS)
    level = np.array([10 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20) for audio in played])
    steps = np.diff(level.reshape(n, -1), axis=1)
    print(f"{model.path.name}: louder with each of {len(TOUCHES)} touches at {np.mean(np.all(steps > 0, axis=1)):.1%} "
          f"of {n} random latents, over {np.median(steps.sum(axis=1)):.0f} dB in the median")  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """What one look at a training found."""

    step: int
    counts: bool  # whether a training takes this look by itself
    health: Health
    complaint: str | None


def tell_collapse(folder: Path, kept: Path, recipe: str, rates: list[int]) -> None:
    """Trainings with and without regularisation at several rates: when they are lost, and when that is named."""
    usual, wanted = _chosen(recipe), 0.0
    for rate in rates:
        for held, gan in (("regularised", usual.gan), ("without", replace(usual.gan, steepness=0.0, disguise=0.0))):
            started = time.monotonic()
            looks = watched(folder, kept, replace(usual, learning_rate=rate * USUAL_RATE, gan=gan))
            wanted = wanted or 0.5 * looks[-1].health.coverage
            steps, end = looks[-1].step, looks[-1].health
            well = [look.step for look in looks if look.health.coverage >= wanted]
            lost = next((look.step for look in looks if look.step > max(well, default=0)), None)
            named = next((look for look in looks if look.counts and look.complaint), None)
            print(f"rate x {rate}, {held}: {steps} steps, {time.monotonic() - started:.0f} s; at its end coverage "
                  f"{end.coverage:.2f} density {end.density:.2f} spread {end.spread:.2f} margin {end.margin:.1f}; "
                  + ("never lost" if lost is None else f"lost from {lost / steps:.0%} on")
                  + (f"; named at {named.step / steps:.0%}: {named.complaint}" if named else "; not named"),
                  flush=True)  # fmt: skip


def _chosen(recipe: str) -> TrainConfig:
    """The training of a recipe of `export/`; the usual one of the command if none is named."""
    if not recipe:
        return TrainConfig(family="gan", threads=1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
    from build import read_recipe

    return read_recipe(recipe).config(1)


def watched(folder: Path, kept: Path, config: TrainConfig) -> list[Looked]:
    """All looks at one training that nobody rescues."""
    from neuralsynth.training.gan_fit import GanTraining
    from neuralsynth.training.run import train_folder

    looks: list[Looked] = []
    best, wary = 0.0, GanTraining.wary

    def often(self: GanTraining) -> bool:
        return wary(self) or self.step % max(1, self.schedule.steps // LOOKS) == 0

    def noting(self: GanTraining, run: object) -> None:  # noqa: ARG001 - as the others
        nonlocal best
        steps = self.schedule.steps
        counts = self.step % max(1, min(steps // SCORES, MOST_STEPS_LOST)) == 0 or wary(self) or self.step >= steps
        looks.append(Looked(self.step, counts, self.health, self.health.complaint(self.step, steps, best)))
        best = max(best, self.health.coverage)

    with tempfile.TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patch:
        patch.setattr(GanTraining, "wary", often)
        patch.setattr(GanTraining, "rescue", noting)
        run = Path(work) / "run"
        run.mkdir()
        (run / "analyses").symlink_to(kept.resolve())
        train_folder(folder, Path(work) / "a.onnx", config, run_dir=run, show_progress=False)
    return looks


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latents", "recordings", "collapse"])
    parser.add_argument("models", nargs="*", type=Path, help="instrument files")
    parser.add_argument("--recordings", type=Path, help="folder of recordings")
    parser.add_argument("--kept", type=Path, default=Path("/tmp/gan-analyses"), help="where analyses are kept")  # noqa: S108
    parser.add_argument("--n", type=int, default=500, help="random latents")
    parser.add_argument("--recipe", default="", help="whose training may collapse  [default: the usual one]")
    parser.add_argument("--rates", type=int, nargs="*", default=RATES, help="times the usual learning rate")
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    models = [InstrumentModel.load(path) for path in options.models]
    if options.what == "collapse":
        tell_collapse(options.recordings, options.kept, options.recipe, options.rates)
    if options.what == "recordings":
        tell_recordings(options.recordings)
    for model in models:
        made = model.spec.provenance
        print(f"{model.path.name}: {made.steps} steps, {made.minutes:.1f} min" if made else model.path.name)
        if options.what == "latents":
            tell_pitch(model, options.n, np.random.default_rng(0))
            tell_touch(model, options.n, np.random.default_rng(1))


if __name__ == "__main__":
    main()
