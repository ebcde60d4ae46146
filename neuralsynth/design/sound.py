"""One sound of a batch, from its plan to samples: the same on every machine of a kind, whatever else is rendered."""

from __future__ import annotations

import hashlib

import numpy as np

from neuralsynth.design.loudness import SOFTEST_LUFS, integrated_lufs
from neuralsynth.design.plan import Output
from neuralsynth.engine import Engine
from neuralsynth.events import NOTE_OFF, NOTE_ON, Event
from neuralsynth.model import InstrumentModel
from neuralsynth.patch import Patch
from neuralsynth.preset import Preset
from neuralsynth.units import db_to_gain

BLOCK_SIZE = 16_384
HIGHEST_PEAK = 0.98  # after a gain for loudness


def rendered(preset: Preset, model: InstrumentModel, note: int, velocity: int, output: Output) -> np.ndarray:
    """One note of a preset, `[channels, n]` float32 of exactly `output.seconds`.

    A fresh engine plays it: nothing of another sound is in it.
    """
    import msgspec

    if not output.effects:
        preset = msgspec.structs.replace(preset, effects=())
    voices = msgspec.structs.replace(preset.voices, polyphony=preset.voices.unison)  # one note is all that sounds
    patch = Patch(msgspec.structs.replace(preset, voices=voices), model, preset.model_path, softest=velocity)
    engine = Engine({0: patch}, output.sample_rate, BLOCK_SIZE)
    n, release = round(output.seconds * output.sample_rate), round(output.hold_seconds * output.sample_rate)
    waiting = [Event(0, bytes([NOTE_ON, note, velocity])), Event(release, bytes([NOTE_OFF, note, 64]))]
    skip, at = engine.latency_samples, 0
    audio = np.zeros((output.channels, n + skip), np.float32)
    while at < n + skip and (waiting or not engine.rests):
        size = min(BLOCK_SIZE, n + skip - at)
        due = [event for event in waiting if event.sample < at + size]
        waiting = waiting[len(due) :]
        events = [Event(event.sample - at, event.message) for event in due]
        block = engine.process(events, size)
        audio[:, at : at + size] = block if output.channels == 2 else np.float32(0.5) * (block[:1] + block[1:])
        at += size
    return finished(audio[:, skip:], output)


def finished(audio: np.ndarray, output: Output) -> np.ndarray:
    """The sound at the loudness that is asked for (never clipped), faded out at its end."""
    if output.loudness_lufs is not None:
        loudness, peak = integrated_lufs(audio, output.sample_rate), float(np.abs(audio).max(initial=0.0))
        if loudness > SOFTEST_LUFS and peak > 0.0:
            gain = min(float(db_to_gain(output.loudness_lufs - loudness)), HIGHEST_PEAK / peak)
            audio = audio * np.float32(gain)
    n_fade = min(round(output.fade_seconds * output.sample_rate), audio.shape[1])
    if n_fade:
        audio = audio.copy()
        audio[:, -n_fade:] *= (0.5 + 0.5 * np.cos(np.pi * np.arange(1, n_fade + 1) / n_fade)).astype(np.float32)
    return np.ascontiguousarray(audio, np.float32)


def digest_of(audio: np.ndarray) -> str:
    """By which two renders of the same sound are known to be the same."""
    return hashlib.sha256(np.ascontiguousarray(audio, "<f4").data).hexdigest()
