"""libfluidsynth through its C API, the yardstick of `bench`: what a conventional synthesizer needs per voice."""

from __future__ import annotations

import ctypes
import ctypes.util
import time
from pathlib import Path

SOUND_FONTS = (
    Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    Path("/usr/share/soundfonts/FluidR3_GM.sf2"),
    Path("/opt/homebrew/share/fluid-synth/sf2/FluidR3_GM.sf2"),
)
_ORGAN_PROGRAM = 19  # church organ: sustains, so no voice ends while time is taken


def voices_per_core(n_voices: int, sample_rate: float, block_size: int, n_blocks: int, repeats: int) -> float | None:
    """Voices one core can play, measured with `n_voices` sustained ones and effects off; None if not installed."""
    name = ctypes.util.find_library("fluidsynth")
    font = next((path for path in SOUND_FONTS if path.is_file()), None)
    if name is None or font is None:
        return None
    synth = _Synth(ctypes.CDLL(name), sample_rate, font)
    try:
        sounding = synth.hold(n_voices)
        best = min(synth.seconds_for(block_size, n_blocks) for _ in range(repeats))
        return sounding * n_blocks * block_size / sample_rate / best
    finally:
        synth.close()


class _Synth:
    def __init__(self, library: ctypes.CDLL, sample_rate: float, font: Path) -> None:
        self._c = library
        for function in ("new_fluid_settings", "new_fluid_synth"):
            getattr(library, function).restype = ctypes.c_void_p
        self._settings = ctypes.c_void_p(library.new_fluid_settings())
        for key, number in (("synth.sample-rate", sample_rate), ("synth.gain", 0.2)):
            library.fluid_settings_setnum(self._settings, key.encode(), ctypes.c_double(number))
        for key, whole in (
            ("synth.polyphony", 1024),
            ("synth.reverb.active", 0),
            ("synth.chorus.active", 0),
            ("synth.cpu-cores", 1),
        ):
            library.fluid_settings_setint(self._settings, key.encode(), whole)
        self._synth = ctypes.c_void_p(library.new_fluid_synth(self._settings))
        library.fluid_synth_sfload(self._synth, str(font).encode(), 1)

    def hold(self, n_voices: int) -> int:
        """Strike keys until at least `n_voices` sound; returns how many do."""
        for channel in range(16):
            self._c.fluid_synth_program_change(self._synth, channel, _ORGAN_PROGRAM)
        for index in range(n_voices):
            if self._c.fluid_synth_get_active_voice_count(self._synth) >= n_voices:
                break
            self._c.fluid_synth_noteon(self._synth, index // 48, 40 + index % 48, 90)
        self.seconds_for(64, 100)
        return self._c.fluid_synth_get_active_voice_count(self._synth)

    def seconds_for(self, block_size: int, n_blocks: int) -> float:
        """CPU time for `n_blocks` blocks."""
        left, right = (ctypes.c_float * block_size)(), (ctypes.c_float * block_size)()
        began = time.process_time()
        for _ in range(n_blocks):
            self._c.fluid_synth_write_float(self._synth, block_size, left, 0, 1, right, 0, 1)
        return time.process_time() - began

    def close(self) -> None:
        """Free the synth."""
        self._c.delete_fluid_synth(self._synth)
        self._c.delete_fluid_settings(self._settings)
