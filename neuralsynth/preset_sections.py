"""What a preset can say about the way it plays: a frozen struct per section, its settings on its fields.

Reading, writing, the format page and whatever turns a knob while playing go by these structs; `SECTIONS` lists them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from neuralsynth.settings import NOTE_VALUES, FileName, NumberList, Numbers, PresetName, Text, choice, knob, switch

MAX_ROUTES = 32
MAX_LAYERS = 128
#: Numbers of a raw latent, and how far one may ever go; the model's own size and reach are checked when it is there.
MAX_LATENT, LARGEST_LATENT = 2048, 1000.0
MOST_RANDOM = 999_999_999

_SHAPES = ("sine", "triangle", "saw_up", "saw_down", "square", "sample_hold", "smooth_random")
_Attack = Annotated[float, knob(0.0, 20.0, "s", 0.35, "from key press to full level")]
_Decay = Annotated[float, knob(0.0, 20.0, "s", 0.35, "from full level to the sustain level (60 dB of the way)")]
_Sustain = Annotated[float, knob(0.0, 1.0, "", 1.0, "level while the key is held, as a gain")]
_Release = Annotated[float, knob(0.003, 20.0, "s", 0.35, "from key release to 60 dB below")]
_Pan = Annotated[float, knob(-1.0, 1.0, "", 1.0, "-1 is left, 1 is right")]


class Sound(msgspec.Struct, frozen=True):
    """What is decoded from the model, and its level and tuning. Without a place, the model's default point."""

    point: Annotated[str | None, Text("", says="a named point of the model")] = None
    axes: Annotated[dict[str, float], Numbers("", -1.0, 1.0, "positions along named axes of the model")] = {}
    gain_db: Annotated[float, knob(-60.0, 24.0, "dB", 1.0, "level of the whole preset")] = 0.0
    transpose_semitones: Annotated[int, knob(-48, 48, "semitones", 1.0, "every key sounds that much higher")] = 0
    tune_cents: Annotated[float, knob(-100.0, 100.0, "cents", 1.0, "fine tuning")] = 0.0
    velocity_sensitivity: Annotated[float, knob(0.0, 2.0, "", 1.0, "how far a soft touch lowers the level")] = 1.0
    velocity_curve: Annotated[
        float, knob(-1.0, 1.0, "", 1.0, "above 0 a light touch already plays loud, below 0 it takes a firm one")
    ] = 0.0
    noise_db: Annotated[float, knob(-60.0, 24.0, "dB", 1.0, "level of breath, bow and hammer noise")] = 0.0
    pan: _Pan = 0.0
    texture: Annotated[float, knob(0.0, 2.0, "", 1.0, "how much a held note lives; 0 stands still")] = 1.0
    dynamics: Annotated[float, knob(-1.0, 1.0, "", 1.0, "plays softer (-) or louder (+) layers than were struck")] = 0.0
    latent: Annotated[
        tuple[float, ...] | None,
        NumberList("", -LARGEST_LATENT, LARGEST_LATENT, MAX_LATENT, "instead of a point, a place of its own"),
    ] = None
    random: Annotated[
        int, knob(0, MOST_RANDOM, "", 1.0, "above 0, what `point` and `latent` leave open is drawn by this number")
    ] = 0
    variation: Annotated[
        float, knob(0.0, 2.0, "", 1.0, "how much two hits of a drum differ, where the model knows; 0 not at all")
    ] = 1.0

    def __post_init__(self) -> None:
        """Refuse two places."""
        if self.point and self.latent is not None:
            raise ValueError("point and latent both say where in the model the sound lies; give one of them")


class Envelope(msgspec.Struct, frozen=True):
    """The ADSR on top of the note's own evolution."""

    attack_seconds: _Attack = 0.0
    decay_seconds: _Decay = 0.0
    sustain_level: _Sustain = 1.0
    release_seconds: _Release = 0.08


class Envelope2(Envelope, frozen=True):
    """A second ADSR, heard only where the filter or a route takes it."""

    decay_seconds: _Decay = 0.3
    sustain_level: _Sustain = 0.0
    release_seconds: _Release = 0.3


class Filter(msgspec.Struct, frozen=True):
    """A filter in each voice, as a response on its partials and noise bands."""

    type: Annotated[str, choice(("off", "lowpass", "bandpass", "highpass"), "what it lets through")] = "off"
    poles: Annotated[int, choice((2, 4), "how steep: 2 is gentle, 4 is steep")] = 2
    cutoff_hz: Annotated[float, knob(20.0, 20_000.0, "Hz", 0.2, "where it acts, at middle C")] = 1000.0
    resonance: Annotated[float, knob(0.0, 1.0, "", 1.0, "emphasis at the cutoff")] = 0.0
    key_tracking: Annotated[float, knob(0.0, 1.0, "", 1.0, "how far the cutoff follows the key; 1 is wholly")] = 0.0
    velocity_octaves: Annotated[float, knob(-8.0, 8.0, "octaves", 1.0, "how far the firmest touch opens it")] = 0.0
    envelope_octaves: Annotated[float, knob(-8.0, 8.0, "octaves", 1.0, "how far `envelope_2` opens it")] = 0.0


class Lfo(msgspec.Struct, frozen=True):
    """A slow oscillator; it moves what a route takes it to."""

    shape: Annotated[str, choice(_SHAPES, "its waveform")] = "sine"
    rate_hz: Annotated[float, knob(0.01, 40.0, "Hz", 0.2, "its speed, unless it follows the tempo")] = 5.0
    sync: Annotated[
        str, choice(NOTE_VALUES, "length of one turn as a note value; d is dotted, t a triplet, off takes `rate_hz`")
    ] = "off"
    depth: Annotated[float, knob(0.0, 1.0, "", 1.0, "scales all it moves")] = 1.0
    delay_seconds: Annotated[float, knob(0.0, 20.0, "s", 0.35, "rest after the key press")] = 0.0
    fade_seconds: Annotated[float, knob(0.0, 20.0, "s", 0.35, "from rest to full depth")] = 0.0
    phase: Annotated[float, knob(0.0, 1.0, "turns", 1.0, "where in its turn it starts")] = 0.0
    per_voice: Annotated[bool, switch("each note starts its own; else all share one that never stops")] = True


class Modulation(msgspec.Struct, frozen=True):
    """What the wheels do."""

    bend_range_semitones: Annotated[float, knob(0.0, 96.0, "semitones", 0.5, "what the pitch wheel reaches")] = 2.0
    vibrato_rate_hz: Annotated[float, knob(0.1, 12.0, "Hz", 0.5, "speed of the vibrato")] = 5.5
    vibrato_depth_cents: Annotated[
        float, knob(0.0, 200.0, "cents", 0.5, "depth of the vibrato at full modulation wheel")
    ] = 35.0
    vibrato_delay_seconds: Annotated[float, knob(0.0, 5.0, "s", 0.5, "rest after the key press")] = 0.0


class Voices(msgspec.Struct, frozen=True):
    """How keys become notes, and how many sound at once."""

    polyphony: Annotated[int, knob(1, 256, "voices", 0.5, "how many may sound at once; each of a unison counts")] = 64
    mode: Annotated[
        str,
        choice(
            ("poly", "mono", "legato"), "many notes; one, struck anew each time; one that moves on while keys are held"
        ),
    ] = "poly"
    priority: Annotated[str, choice(("last", "low", "high"), "which of several held keys a single note takes")] = "last"
    unison: Annotated[int, knob(1, 8, "voices", 1.0, "voices for each note")] = 1
    detune_cents: Annotated[float, knob(0.0, 100.0, "cents", 0.5, "between the outermost voices of a unison")] = 12.0
    spread: Annotated[float, knob(0.0, 1.0, "", 1.0, "how far a unison reaches to the sides")] = 0.5
    onset_spread_seconds: Annotated[
        float, knob(0.0, 0.25, "s", 0.5, "how far apart the voices of a unison begin, drawn for each note")
    ] = 0.0
    lfo_spread: Annotated[
        float, knob(0.0, 1.0, "turns", 1.0, "how far apart their vibrato and LFOs stand, drawn for each note")
    ] = 0.0
    glide_seconds: Annotated[
        float, knob(0.0, 10.0, "s", 0.35, "from one pitch to the next; by rate, for an octave")
    ] = 0.0
    glide: Annotated[
        str, choice(("off", "always", "legato"), "which notes glide; off: only while controller 65 asks for it")
    ] = "off"
    glide_mode: Annotated[str, choice(("time", "rate"), "every interval in one time, or at one speed")] = "time"
    half_pedal: Annotated[bool, switch("a sustain pedal half down lets notes ring for less long")] = True
    pedal_catch: Annotated[bool, switch("a sustain pedal pressed again catches notes that are dying away")] = True


class Tuning(msgspec.Struct, frozen=True):
    """Which pitch a key has."""

    scale: Annotated[str, FileName("", says="a Scala scale (.scl) beside the preset", suffixes=(".scl",))] = ""
    keyboard: Annotated[
        str, FileName("", says="a Scala keyboard mapping (.kbm) beside the preset, for the scale", suffixes=(".kbm",))
    ] = ""
    a4_hz: Annotated[float, knob(380.0, 500.0, "Hz", 1.0, "concert pitch")] = 440.0
    stretch: Annotated[float, knob(0.0, 1.0, "", 1.0, "stretched octaves, 1 as a piano is tuned")] = 0.0

    def __post_init__(self) -> None:
        """Refuse a mapping of nothing."""
        if self.keyboard and not self.scale:
            raise ValueError("keyboard is given without a scale; name the .scl file that it maps")


class Morph(msgspec.Struct, frozen=True):
    """A second sound, and how far the preset has moved to it."""

    to: Annotated[
        str, PresetName("", says="the other end: a shipped preset, or a .toml or .onnx file beside this one")
    ] = ""
    point: Annotated[str, Text("", says="the other end: a named point of this preset's own model")] = ""
    position: Annotated[float, knob(0.0, 1.0, "", 1.0, "0 is this preset, 1 the other end")] = 0.0

    def __post_init__(self) -> None:
        """Refuse two ends."""
        if self.to and self.point:
            raise ValueError("to and point both name the other end; give one of them")


class Layer(msgspec.Struct, frozen=True):
    """Another preset on a range of keys and velocities: splits, layers and kits are lists of them."""

    preset: Annotated[str, PresetName("", says="a shipped preset, or a .toml or .onnx file beside this one")]
    key_low: Annotated[int, knob(0, 127, "", 1.0, "lowest key")] = 0
    key_high: Annotated[int, knob(0, 127, "", 1.0, "highest key")] = 127
    velocity_low: Annotated[int, knob(1, 127, "", 1.0, "softest touch")] = 1
    velocity_high: Annotated[int, knob(1, 127, "", 1.0, "firmest touch")] = 127
    transpose_semitones: Annotated[int, knob(-48, 48, "semitones", 1.0, "the layer sounds that much higher")] = 0
    gain_db: Annotated[float, knob(-60.0, 24.0, "dB", 1.0, "level of the layer")] = 0.0
    pan: _Pan = 0.0
    fixed_key: Annotated[int, knob(-1, 127, "", 1.0, "every key sounds as this one, for drums; -1 is off")] = -1
    choke_group: Annotated[int, knob(0, 16, "", 1.0, "a note ends those of the same group; 0 is none")] = 0
    one_shot: Annotated[
        bool, switch("sounds to its end whenever the key is released, unless it is a sound that can be held")
    ] = False
    point: Annotated[str | None, Text("", says="a named point of its model, instead of the preset's own")] = None

    def __post_init__(self) -> None:
        """Refuse ranges that hold nothing."""
        if self.key_low > self.key_high:
            raise ValueError(f"key_low {self.key_low} is above key_high {self.key_high}; swap them")
        if self.velocity_low > self.velocity_high:
            raise ValueError(f"velocity_low {self.velocity_low} is above velocity_high {self.velocity_high}; swap them")


#: The sections of a preset by name, in the order they are written.
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "sound": Sound,
    "envelope": Envelope,
    "envelope_2": Envelope2,
    "filter": Filter,
    "lfo_1": Lfo,
    "lfo_2": Lfo,
    "modulation": Modulation,
    "voices": Voices,
    "tuning": Tuning,
    "morph": Morph,
}
