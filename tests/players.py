"""Tiny patches with any settings, messages by name, and what is heard of them: for the tests of the MIDI instrument."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.engine import Engine, play_events
from neuralsynth.events import Event
from neuralsynth.patch import Patch
from neuralsynth.preset import Preset, bare_preset, save_preset
from neuralsynth.preset_sections import Layer
from neuralsynth.units import gain_to_db, ratio_to_cents
from tests.models import tiny_instrument
from tests.test_voices import strongest_hz

RATE = 48_000
NOTE_OFF, NOTE_ON, KEY_PRESSURE, CONTROL, PROGRAM, PRESSURE, BEND = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
RPN_MSB, RPN_LSB, DATA, DATA_FINE = 101, 100, 6, 38


class Shelf:
    """A folder with one sustaining and one decaying tiny model, and the presets that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny_instrument(folder / "held.onnx", sustaining=True)
        tiny_instrument(folder / "struck.onnx")

    def preset(self, name: str, model: str = "held.onnx", **sections) -> Path:
        """Write a preset of sections that differ from the neutral one."""
        path = self.folder / f"{name}.toml"
        save_preset(msgspec.structs.replace(bare_preset(self.folder / model, name), **sections), path)
        return path

    def patch(self, name: str, model: str = "held.onnx", **sections) -> Patch:
        """Write such a preset and load it."""
        return Patch.load(self.preset(name, model, **sections))

    def layered(self, name: str, *layers: Layer) -> Patch:
        """A preset made of layers, loaded."""
        path = self.folder / f"{name}.toml"
        save_preset(Preset(name=name, folder=self.folder, layers=layers), path)
        return Patch.load(path)


def at(seconds: float, *message: int) -> Event:
    """A message at a time."""
    return Event(round(seconds * RATE), bytes(message))


def rpn(seconds: float, channel: int, number: int, msb: int, lsb: int | None = None) -> list[Event]:
    """A registered parameter set on a channel."""
    entries = [(RPN_MSB, number >> 7), (RPN_LSB, number & 127), (DATA, msb)]
    entries += [] if lsb is None else [(DATA_FINE, lsb)]
    return [at(seconds, CONTROL | channel, controller, value) for controller, value in entries]


def play(patch, events, seconds: float, block: int = 4096) -> np.ndarray:
    """What a patch, patches by channel, or an engine makes of events, `[2, n]`."""
    engine = patch if isinstance(patch, Engine) else Engine(patch, RATE, max(block, 64))
    ordered = sorted(events, key=lambda event: event.sample)
    return np.concatenate(list(play_events(engine, ordered, round(seconds * RATE), block)), axis=1)


def cut(audio: np.ndarray, start: float, end: float | None = None) -> np.ndarray:
    """The piece between two times."""
    return audio[..., round(start * RATE) : None if end is None else round(end * RATE)]


def level_db(audio: np.ndarray) -> float:
    """RMS of both sides, dB of full scale."""
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio, dtype=np.float64)) + 1e-20)))


def cents_from(audio: np.ndarray, hertz: float) -> float:
    """How far the strongest partial lies from `hertz`."""
    return float(ratio_to_cents(strongest_hz(audio.mean(axis=0)) / hertz))


def brightness(audio: np.ndarray) -> float:
    """Centre of the power spectrum, Hz."""
    power = np.abs(np.fft.rfft(audio.mean(axis=0) * np.hanning(audio.shape[1]))) ** 2
    return float(np.sum(power * np.fft.rfftfreq(audio.shape[1], 1.0 / RATE)) / np.sum(power))


def strength_db(audio: np.ndarray, hertz: float) -> float:
    """Level of the sine at `hertz`, within a few Hz, dB of full scale."""
    window = np.hanning(audio.shape[1])
    spectrum = np.abs(np.fft.rfft(audio.mean(axis=0) * window)) * 2.0 / window.sum()
    place = np.fft.rfftfreq(audio.shape[1], 1.0 / RATE)
    return float(gain_to_db(np.max(spectrum[np.abs(place - hertz) < 2.5 * RATE / audio.shape[1]]) + 1e-12))
