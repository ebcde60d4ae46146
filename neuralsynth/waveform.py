"""Audio that a graph of kind `waveform` gives, heard as the spectra that voices play.

So an adopted generator is bent, filtered, morphed and sustained as every other instrument is. Each sound is analysed
once and kept: a pitched one as a note (`analysis.note`), any other, and one whose pitch is not found, as a hit with
modes at free ratios and bands of noise (`analysis.hit`). Both channels of stereo audio are heard as their mean.

A graph that takes no note gives one sound; other keys play it faster or slower, as a sampler does: partials, noise and
time move together. That is done on the spectrum, so there is neither aliasing nor an interpolation filter to hear. A
graph that takes a note is asked for every third one: the keys beside it play the same partials at their own pitch.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from neuralsynth.analysis import NoteAnalysis, analyse_note
from neuralsynth.analysis.hit import analyse_piece
from neuralsynth.errors import RecordingError
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid

NOTE_STEP = 3.0  # semitones between the notes that a graph is asked for
_KEPT = 512  # spectra; some 60 kB each
_FADE_FRAMES = 4

#: Latents `[N, Z]`, notes `[N]`, velocities `[N]` -> audio `[N, C, S]`.
Run = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Listener:
    """Hears what a graph gives; safe to use from several threads."""

    def __init__(self, spec: InstrumentSpec) -> None:
        """The spec must have a `waveform`."""
        assert spec.waveform is not None
        self._spec, self._how, self._grid = spec, spec.waveform, spec.grid()
        self._kept: OrderedDict[bytes, NoteSpectrum] = OrderedDict()
        self._lock = threading.Lock()

    def spectra(self, run: Run, latent: np.ndarray, note: np.ndarray, velocity: np.ndarray) -> list[NoteSpectrum]:
        """What voices play for latents `[N, Z]`, notes `[N]` and velocities `[N]`."""
        asked = self._asked(note)
        velocity = velocity if self._how.takes_velocity else np.ones_like(velocity)
        inputs = np.column_stack([latent, asked, velocity]).astype(np.float32)
        keys = [row.tobytes() for row in inputs]
        with self._lock:
            missing = {key: i for i, key in enumerate(keys) if key not in self._kept}
            if missing:
                rows = list(missing.values())
                audio = run(latent[rows], asked[rows], velocity[rows])
                for key, sound, at in zip(missing, audio, asked[rows], strict=True):
                    self._kept[key] = self._heard(sound.mean(axis=0), float(at))
            found = [self._kept[key] for key in keys]
            for key in keys:
                self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return [self._moved(spectrum, float(n)) for spectrum, n in zip(found, note, strict=True)]

    def _asked(self, note: np.ndarray) -> np.ndarray:
        """The notes that the graph is asked for, `[N]`."""
        if not self._how.takes_note:
            return np.full_like(note, self._how.sounds_at)
        low, high = self._spec.note_low, self._spec.note_high
        steps = np.round((np.clip(note, low, high) - low) / NOTE_STEP)
        return np.minimum(low + NOTE_STEP * steps, high).astype(np.float32)

    def _heard(self, audio: np.ndarray, note: float) -> NoteSpectrum:
        """One sound `[S]`, whose pitch lies near `note` if it has one; silence is a spectrum of zeros."""
        rate, grid = self._spec.sample_rate, self._grid
        found: NoteAnalysis | RecordingError | None = None
        if self._how.is_pitched:
            with contextlib.suppress(RecordingError):
                found = analyse_note(audio, rate, note, grid)
        if found is None:
            found = analyse_piece([(audio, rate)], note, grid)[0]
        if isinstance(found, RecordingError):
            return silence(grid)
        return _ended(found.spectrum, found.n_valid_frames)

    def _moved(self, spectrum: NoteSpectrum, note: float) -> NoteSpectrum:
        """The sound as another key plays it."""
        if self._how.takes_note:
            return spectrum
        return at_speed(spectrum, 2.0 ** ((note - self._how.sounds_at) / 12.0))


def silence(grid: SpectrumGrid) -> NoteSpectrum:
    """A spectrum in which nothing sounds."""
    partials, noise = np.zeros((grid.n_frames, grid.n_partials)), np.zeros((grid.n_frames, grid.n_bands))
    return NoteSpectrum(grid, partials, np.arange(1.0, grid.n_partials + 1), np.zeros(grid.n_frames), noise)


def at_speed(spectrum: NoteSpectrum, speed: float) -> NoteSpectrum:
    """A sound played `speed` times as fast: shorter, its noise higher; its partials follow the key by themselves."""
    grid = spectrum.grid
    times, edges = grid.frame_seconds, grid.band_edges_hz
    at = np.minimum(times * speed, times[-1])
    # Where the sound is over, nothing is left.
    over = (times * speed > times[-1])[:, None]
    partials, noise = (
        np.where(over, 0.0, np.stack([np.interp(at, times, row) for row in levels.T], axis=1))
        for levels in (spectrum.partials, spectrum.noise)
    )
    low, high = speed * edges[:-1], speed * edges[1:]  # where each band lies now
    shared = np.minimum.outer(high, edges[1:]) - np.maximum.outer(low, edges[:-1])
    shares = np.maximum(shared, 0.0) / (high - low)[:, None]
    noise = np.sqrt(noise**2 @ shares)
    return NoteSpectrum(grid, partials, spectrum.ratios, np.interp(at, times, spectrum.cents), noise)


def _ended(spectrum: NoteSpectrum, n_valid: int) -> NoteSpectrum:
    """The spectrum, silent from its last valid frame on: audio that is over is no held note."""
    n = spectrum.grid.n_frames
    gain = np.clip((n_valid - np.arange(n)) / _FADE_FRAMES, 0.0, 1.0)[:, None] if n_valid < n else 1.0
    partials, noise = spectrum.partials * gain, spectrum.noise * gain
    return NoteSpectrum(spectrum.grid, partials, spectrum.ratios, spectrum.cents, noise)
