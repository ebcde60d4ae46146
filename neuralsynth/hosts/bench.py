"""`bench`: how fast this machine plays, one core, one thread, measured beside libfluidsynth in the same run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from neuralsynth.effect_table import EffectSettings
from neuralsynth.effects import EffectChain
from neuralsynth.hosts import fluidsynth
from neuralsynth.instrument import Instrument
from neuralsynth.midi.channel import Channel
from neuralsynth.midi.mpe import Expression
from neuralsynth.note_bank import NoteBank
from neuralsynth.panel import Panel
from neuralsynth.preset import Preset
from neuralsynth.preset_sections import Envelope2, Filter, Lfo
from neuralsynth.routes import Route
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.tone import FILTER_OFF, LOWPASS
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spectrum import SpectrumGrid

N_VOICES, N_PARTIALS, N_BANDS, SAMPLE_RATE, BLOCK_SIZE = 64, 64, 40, 48_000, 128
N_BLOCKS, REPEATS = 200, 8
SIX_EFFECTS = tuple(
    EffectSettings(name, {}) for name in ("highpass", "compressor", "chorus", "delay", "reverb", "limiter")
)
#: Modulation as a rich preset has it: everything moves.
_MODULATED = Preset(
    name="modulated",
    folder=Path(),
    filter=Filter("lowpass", cutoff_hz=2000.0, resonance=0.3, key_tracking=0.5, envelope_octaves=1.0),
    lfo_1=Lfo(rate_hz=5.0),
    lfo_2=Lfo("triangle", rate_hz=0.7),
    envelope_2=Envelope2(decay_seconds=1.0, sustain_level=0.5),
    routes=(
        Route("lfo_1", "sound.tune_cents", 8.0),
        Route("lfo_1", "axes.brightness", 0.4),
        Route("lfo_2", "filter.cutoff_hz", 0.5),
        Route("lfo_2", "sound.gain_db", 2.0),
        Route("random", "sound.pan", 0.5),
        Route("velocity", "filter.cutoff_hz", 1.0),
    ),
)


@dataclass(frozen=True)
class BenchReport:
    """Figures of one run. Microseconds are of CPU time; `best of` several repeats."""

    voices: int
    partials: int
    sample_rate: int
    block_size: int
    block_us: float  # for all voices
    voices_per_core: float
    fluidsynth_voices_per_core: float | None
    ratio_to_fluidsynth: float | None
    modulated_block_us: float  # the same voices with two LFOs, a second envelope, the filter and routes in use
    modulation_ratio: float  # of the two, measured by turns
    six_effects_us: float  # per block
    decode_one_note_ms: float | None
    decode_128_notes_ms: float | None
    bank_layers: int | None
    model: str | None

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


def bench(instrument: Instrument | None) -> BenchReport:
    """Measure the voice kernel, the effects and, with an instrument, decoding."""
    pool, modulated, now = _playing_pool(), _playing_pool(_MODULATED), 0
    ours, moved, theirs = [], [], []
    for _ in range(2):  # ours, theirs, ours, theirs: both see the same machine
        for _ in range(REPEATS):
            moved.append(_pool_seconds(modulated, now)[0])
            seconds, now = _pool_seconds(pool, now)
            ours.append(seconds)
        rate = fluidsynth.voices_per_core(N_VOICES, SAMPLE_RATE, BLOCK_SIZE, N_BLOCKS, REPEATS)
        if rate is not None:
            theirs.append(rate)
    block_seconds = min(ours) / N_BLOCKS
    our_rate = N_VOICES * BLOCK_SIZE / SAMPLE_RATE / block_seconds
    their_rate = max(theirs, default=None)
    one, bank, layers = _decode_milliseconds(instrument) if instrument else (None, None, None)
    return BenchReport(
        voices=N_VOICES,
        partials=N_PARTIALS,
        sample_rate=SAMPLE_RATE,
        block_size=BLOCK_SIZE,
        block_us=round(block_seconds * 1e6, 1),
        voices_per_core=round(our_rate),
        fluidsynth_voices_per_core=round(their_rate) if their_rate else None,
        ratio_to_fluidsynth=round(our_rate / their_rate, 2) if their_rate else None,
        modulated_block_us=round(min(moved) / N_BLOCKS * 1e6, 1),
        modulation_ratio=round(min(moved) / min(ours), 2),
        six_effects_us=round(_effects_seconds() * 1e6, 1),
        decode_one_note_ms=one,
        decode_128_notes_ms=bank,
        bank_layers=layers,
        model=instrument.model.path.name if instrument else None,
    )


def _playing_pool(preset: Preset | None = None) -> VoicePool:
    """64 sustained voices with 64 partials each, low enough that all partials sound, and noise.

    Args:
        preset: whose filter, oscillators and routes are in use; a latent axis is there for them to move.
    """
    grid = SpectrumGrid.warped(n_partials=N_PARTIALS, n_bands=N_BANDS)
    partials = np.tile(0.002 / np.arange(1, N_PARTIALS + 1) ** 0.3, (grid.n_frames, 1))
    wobble = 1.0 + 0.1 * np.sin(np.arange(grid.n_frames))[:, None]  # amplitudes move all the time
    sound = VoiceSound(
        (partials * wobble).astype(np.float32),
        np.arange(1.0, N_PARTIALS + 1),
        np.zeros(grid.n_frames),
        np.full((grid.n_frames, N_BANDS), 1e-4, np.float32),
    )
    rows = SpectrumRows(grid)
    note = rows.add([sound])
    settings = VoiceSettings(polyphony=N_VOICES, sustain=(0.5, 3.5), filter_kind=LOWPASS if preset else FILTER_OFF)
    panel = Panel(preset, ["brightness"], 0) if preset else None
    pool = VoicePool(rows, SAMPLE_RATE, settings, BLOCK_SIZE, panel.wiring.modulation if panel else None)
    away = rows.add_direction([sound], [sound])
    for row in pool.channels:
        if panel is not None:
            panel.row(Channel(), Expression(0.0, 0.0, 0.0), (1.0, 0.0), 120.0, row)
    for index in range(N_VOICES):
        pool.start(0, note, Strike(36.0 + 0.5 * index, index % 16, directions=(-1, away, away)))
    return pool


def _pool_seconds(pool: VoicePool, now: int) -> tuple[float, int]:
    began = time.process_time()
    for _ in range(N_BLOCKS):
        pool.render(now, BLOCK_SIZE)
        now += BLOCK_SIZE
    return time.process_time() - began, now


def _effects_seconds() -> float:
    chain = EffectChain(SIX_EFFECTS, SAMPLE_RATE, BLOCK_SIZE)
    audio = np.random.default_rng(0).normal(0.0, 0.1, (2, BLOCK_SIZE)).astype(np.float32)
    best = np.inf
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(N_BLOCKS):
            chain.process(audio.copy())
        best = min(best, (time.process_time() - began) / N_BLOCKS)
    return best


def _decode_milliseconds(instrument: Instrument) -> tuple[float, float, int]:
    """One note; 128 keys at one layer, as a bank is filled; and how many layers a bank has."""
    model, latent = instrument.model, instrument.latent[None]
    note, velocity = np.array([60.0]), np.array([0.8])
    model.decode(latent, note, velocity)
    one = min(_timed(lambda: model.decode(latent, note, velocity)) for _ in range(50))
    notes, velocities = np.arange(128.0), np.full(128, 0.8)
    batches = [slice(at, at + 16) for at in range(0, 128, 16)]
    latents = np.tile(latent, (16, 1))

    def whole_bank() -> None:
        for batch in batches:
            model.decode(latents, notes[batch], velocities[batch])

    whole_bank()
    bank = min(_timed(whole_bank) for _ in range(5))
    return round(one * 1e3, 3), round(bank * 1e3, 1), len(NoteBank(model, instrument.latent).velocities)


def _timed(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
