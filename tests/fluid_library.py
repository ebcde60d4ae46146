"""libfluidsynth through its C API for the tests, and a tiny SoundFont for it to play."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from collections import Counter
from pathlib import Path
from typing import Self

import numpy as np

from neuralsynth.events import CONTROL_CHANGE, NOTE_OFF, NOTE_ON, PITCH_BEND, PROGRAM_CHANGE

APT_LINE = "apt install libfluidsynth3"
RATE = 48_000
TONE_KEY, TONE_HZ = 69, 440.0
_PERIODS, _LOOP = 11, 1200  # 11 periods of 440 Hz fill 1200 samples at 48 kHz exactly
#: What the font's programs do to a key: semitones by bank MSB and program.
PROGRAM_SEMITONES = {(0, 0): 0, (0, 1): 12, (1, 0): -12, (1, 1): -24}
POLYPHONY = 256
RELEASE_SAMPLES = 1024  # the shortest release FluidSynth knows is 16 ms
SYSTEM_RESET = 0xFF


def is_installed() -> bool:
    """Whether libfluidsynth can be loaded."""
    return ctypes.util.find_library("fluidsynth") is not None


def write_soundfont(path: Path) -> Path:
    """Write a SoundFont whose programs are a flat, mono, endless sine, moved by `PROGRAM_SEMITONES`.

    A mono sample makes one voice per note: ids do not tell notes apart, since FluidSynth gives a key struck again
    while sostenuto holds it the id of the old note. Layout after the SoundFont 2.01 technical specification, section 7.
    """
    wave = np.round(16_000 * np.sin(2 * np.pi * _PERIODS / _LOOP * np.arange(3 * _LOOP))).astype("<i2")
    samples = wave.tobytes() + bytes(2 * 46)
    loops, root_key, release, coarse_tune, instrument, sample = 54, 58, 38, 51, 41, 53  # generators, section 8.1.2
    release_timecents = -12_000  # 1 ms; FluidSynth makes it 16 ms
    presets, preset_bags, preset_generators, instruments, bags, generators = b"", b"", b"", b"", b"", b""
    for index, ((bank, program), semitones) in enumerate(PROGRAM_SEMITONES.items()):
        presets += _named(f"sine {bank}:{program}") + struct.pack("<HHHIII", program, bank, index, 0, 0, 0)
        preset_bags += struct.pack("<HH", index, 0)
        preset_generators += struct.pack("<HH", instrument, index)
        instruments += _named(f"sine {index}") + struct.pack("<H", index)
        bags += struct.pack("<HH", 5 * index, 0)
        for operator, amount in (
            (loops, 1),
            (root_key, TONE_KEY),
            (release, release_timecents),
            (coarse_tune, semitones),
            (sample, 0),
        ):
            generators += struct.pack("<Hh", operator, amount)
    count = len(PROGRAM_SEMITONES)
    header = _named("sine") + struct.pack("<IIIIIBbHH", 0, 3 * _LOOP, _LOOP, 2 * _LOOP, RATE, TONE_KEY, 0, 0, 1)
    tables = (
        (b"phdr", presets + _named("EOP") + struct.pack("<HHHIII", 0, 0, count, 0, 0, 0)),
        (b"pbag", preset_bags + struct.pack("<HH", count, 0)),
        (b"pmod", bytes(10)),
        (b"pgen", preset_generators + bytes(4)),
        (b"inst", instruments + _named("EOI") + struct.pack("<H", count)),
        (b"ibag", bags + struct.pack("<HH", 5 * count, 0)),
        (b"imod", bytes(10)),
        (b"igen", generators + bytes(4)),
        (b"shdr", header + _named("EOS") + bytes(26)),
    )
    about = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"sine\0\0")
    body = _list(b"INFO", about) + _list(b"sdta", _chunk(b"smpl", samples))
    body += _list(b"pdta", b"".join(_chunk(name, data) for name, data in tables))
    path.write_bytes(_chunk(b"RIFF", b"sfbk" + body))
    return path


def _named(name: str) -> bytes:
    return name.encode().ljust(20, b"\0")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)


def _library() -> ctypes.CDLL:
    c = ctypes.CDLL(ctypes.util.find_library("fluidsynth"))
    pointer, whole, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_double, ctypes.c_char_p
    signatures = {
        "new_fluid_settings": (pointer,),
        "delete_fluid_settings": (None, pointer),
        "fluid_settings_setint": (whole, pointer, text, whole),
        "fluid_settings_setnum": (whole, pointer, text, number),
        "fluid_set_log_function": (pointer, whole, pointer, pointer),
        "new_fluid_synth": (pointer, pointer),
        "delete_fluid_synth": (None, pointer),
        "fluid_synth_sfload": (whole, pointer, text, whole),
        "fluid_synth_noteon": (whole, pointer, whole, whole, whole),
        "fluid_synth_noteoff": (whole, pointer, whole, whole),
        "fluid_synth_cc": (whole, pointer, whole, whole, whole),
        "fluid_synth_program_change": (whole, pointer, whole, whole),
        "fluid_synth_pitch_bend": (whole, pointer, whole, whole),
        "fluid_synth_system_reset": (whole, pointer),
        "fluid_synth_get_voicelist": (None, pointer, pointer, whole, whole),
        "fluid_voice_get_channel": (whole, pointer),
        "fluid_voice_get_key": (whole, pointer),
        "fluid_version_str": (text,),
        "fluid_synth_pitch_wheel_sens": (whole, pointer, whole, whole),
        "fluid_synth_get_pitch_wheel_sens": (whole, pointer, whole, pointer),
        "fluid_synth_write_float": (whole, pointer, whole, pointer, whole, whole, pointer, whole, whole),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(c, name)
        function.restype, function.argtypes = result, arguments
    for level in range(4):  # panic, error, warning, information: no chatter on stderr
        c.fluid_set_log_function(level, None, None)
    return c


class FluidSynth:
    """One synthesizer at 48 kHz without reverb and chorus: MIDI messages in, audio and held notes out."""

    def __init__(self, font: Path, gain: float = 0.5) -> None:
        """Load `font` into a synthesizer of its own."""
        self._c = _library()
        self._settings = self._c.new_fluid_settings()
        for key, number in (("synth.sample-rate", float(RATE)), ("synth.gain", gain)):
            self._c.fluid_settings_setnum(self._settings, key.encode(), number)
        for key, whole in (
            ("synth.polyphony", POLYPHONY),
            ("synth.reverb.active", 0),
            ("synth.chorus.active", 0),
            ("synth.cpu-cores", 1),
            ("synth.min-note-length", 0),
        ):
            self._c.fluid_settings_setint(self._settings, key.encode(), whole)
        self._synth = self._c.new_fluid_synth(self._settings)
        assert self._c.fluid_synth_sfload(self._synth, str(font).encode(), 1) >= 0, "FluidSynth refuses the font"
        self._list = (ctypes.c_void_p * (POLYPHONY + 1))()

    @property
    def version(self) -> str:
        """Such as `2.3.1`."""
        return self._c.fluid_version_str().decode()

    def send(self, message: bytes) -> None:
        """Obey one MIDI message."""
        kind, channel = message[0] & 0xF0, message[0] & 0x0F
        if message[0] == SYSTEM_RESET:
            self._c.fluid_synth_system_reset(self._synth)
        elif kind == NOTE_ON:
            self._c.fluid_synth_noteon(self._synth, channel, message[1], message[2])
        elif kind == NOTE_OFF:
            self._c.fluid_synth_noteoff(self._synth, channel, message[1])
        elif kind == CONTROL_CHANGE:
            self._c.fluid_synth_cc(self._synth, channel, message[1], message[2])
        elif kind == PROGRAM_CHANGE:
            self._c.fluid_synth_program_change(self._synth, channel, message[1])
        elif kind == PITCH_BEND:
            self._c.fluid_synth_pitch_bend(self._synth, channel, message[1] + 128 * message[2])
        else:
            raise AssertionError(f"no referee for {message.hex()}")

    def render(self, n_samples: int) -> np.ndarray:
        """The next samples, float32 `[2, n]`."""
        out = np.zeros((2, n_samples), np.float32)
        left, right = (channel.ctypes.data_as(ctypes.c_void_p) for channel in out)
        self._c.fluid_synth_write_float(self._synth, n_samples, left, 0, 1, right, 0, 1)
        return out

    def held(self) -> Counter[tuple[int, int]]:
        """`(channel, key)` of every note whose key is down or that a pedal holds, one per struck note.

        FluidSynth's own flags (`fluid_voice_is_sustained`) stay set while a note that its pedal let go fades, so time
        tells: what still plays after the font's release is held. This lets that time pass.
        """
        self.render(RELEASE_SAMPLES)
        self._c.fluid_synth_get_voicelist(self._synth, self._list, len(self._list), -1)
        held: Counter[tuple[int, int]] = Counter()
        for voice in self._list:
            if voice is None:
                break
            held[self._c.fluid_voice_get_channel(voice), self._c.fluid_voice_get_key(voice)] += 1
        return held

    def bend_range(self, channel: int) -> int:
        """Bend range of a channel in whole semitones."""
        semitones = ctypes.c_int()
        self._c.fluid_synth_get_pitch_wheel_sens(self._synth, channel, ctypes.byref(semitones))
        return semitones.value

    def set_bend_range(self, channel: int, semitones: int) -> None:
        """Set it behind MIDI's back."""
        self._c.fluid_synth_pitch_wheel_sens(self._synth, channel, semitones)

    def close(self) -> None:
        """Free it."""
        self._c.delete_fluid_synth(self._synth)
        self._c.delete_fluid_settings(self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()
