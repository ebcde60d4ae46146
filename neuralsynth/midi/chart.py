"""The MIDI implementation chart as data: what each message and controller does, its default, and what resets it.

The channel state (`neuralsynth.midi.channel`), the tests and the page `docs/midi.md` all read these tables; the page
is printed by `python -m neuralsynth.midi.chart docs/midi.md`. Numbers after MIDI 1.0, General MIDI 2, RP-015 (reset
all controllers), RP-018 (increment and decrement) and RP-053 (MPE).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuralsynth.midi.parameters import DESTINATIONS, NRPN_AXES, NRPN_KNOBS, NRPN_LATENT, NULL, REGISTERED
from neuralsynth.storage import whole_file


@dataclass(frozen=True)
class Controller:
    """One controller number.

    `default` is its value at power-on, `resets` whether CC121 puts it back there. A "fine" controller is the LSB of
    `number - 32`. `target` is the destination that a controller relative to 64 turns, `span` how far its full
    deflection goes there: octaves for times, rates and cut-off, else the knob's own unit. `stand_in` is turned by
    `stand_in_span` instead while the filter is off.
    """

    number: int
    name: str
    kind: Literal["continuous", "switch", "fine", "parameter", "action"]
    default: int
    resets: bool
    does: str
    differs: str = ""
    target: str | None = None
    span: float = 0.0
    stand_in: str | None = None
    stand_in_span: float = 0.0


@dataclass(frozen=True)
class MessageRow:
    """One kind of message; `default` and `resets` as for controllers, where it leaves a value behind."""

    name: str
    range: str
    does: str
    differs: str = ""
    default: int | None = None
    resets: bool = False


_NO_LSB = "FluidSynth hears the MSB alone"


def _continuous(number: int, name: str, default: int, resets: bool, does: str, differs: str = "") -> list[Controller]:
    """A controller 0..31 and its LSB, 32 higher."""
    fine = f"LSB of CC{number}; a new MSB puts it to 0"
    return [
        Controller(number, name, "continuous", default, resets, does, differs),
        Controller(number + 32, f"{name}, fine", "fine", 0, resets, fine, _NO_LSB),
    ]


def _relative(number: int, name: str, target: str, span: float, does: str, **other) -> Controller:
    """A sound controller: 64 leaves the preset as it is."""
    return Controller(number, name, "continuous", 64, False, does, _SOUND, target, span, **other)


_SOUND = "FluidSynth leaves CC70-79 to the SoundFont's own modulators"
_MODE = "FluidSynth groups basic channels by these; ours stay 16 single channels"

_TABLE: tuple[Controller, ...] = (
    Controller(
        0, "bank select", "continuous", 0, False, "with CC32, taken up by the next program change",
        "FluidSynth's default style drops the LSB; ours looks up the pair, then bank 0/0",
    ),
    Controller(32, "bank select, fine", "fine", 0, False, "LSB of the bank; a new MSB leaves it"),
    *_continuous(1, "modulation wheel", 0, True, "vibrato depth, and the source `wheel`",
                 "the depth is the preset's; FluidSynth's is 50 cents"),
    *_continuous(2, "breath", 0, True, "the source `breath`", "FluidSynth can make it start notes"),
    *_continuous(4, "foot pedal", 0, True, "the source `foot`"),
    *_continuous(5, "portamento time", 0, False, "time or speed of the glide; 0 is the preset's own",
                 "FluidSynth's 0 is no glide"),
    Controller(6, "data entry", "parameter", 0, False, "value of the selected parameter, MSB; the LSB becomes 0",
               "FluidSynth keeps the LSB that came before"),
    Controller(38, "data entry, fine", "parameter", 0, False, "LSB of the same value, at once",
               "FluidSynth waits for the next MSB"),
    *_continuous(7, "volume", 100, False, "gain (v/127)², the 40·log10 law"),
    *_continuous(8, "balance", 64, False, "lowers one side by the volume's law: silent at 0 and 127",
                 "FluidSynth's 127 leaves the left side at -72 dB"),
    *_continuous(10, "pan", 64, False, "0 and 1 hard left, 64 centre, 127 hard right (General MIDI 2)",
                 "FluidSynth's 1 and 127 leave the far side at -35 dB"),
    *_continuous(11, "expression", 127, True, "gain (v/127)², times volume"),
    Controller(64, "sustain pedal", "switch", 0, True, "from 64 on holds released notes; below, half pedal lengthens "
               "the release (`voices.half_pedal`)", "FluidSynth knows up and down alone, and no re-pedal catch"),
    Controller(65, "portamento", "switch", 0, True, "glides from key to key, as if the preset said `glide = always`",
               "FluidSynth glides in legato alone by default"),
    Controller(66, "sostenuto pedal", "switch", 0, True, "holds the keys that are down when it is pressed",
               "FluidSynth lets its notes go even where the sustain pedal is down"),
    Controller(67, "soft pedal", "switch", 0, True, "new notes sound softer and darker", "FluidSynth ignores it"),
    Controller(68, "legato pedal", "switch", 0, True, "one voice that moves from key to key while it is down"),
    Controller(69, "hold 2", "switch", 0, True, "a second sustain pedal; the deeper of the two counts",
               "FluidSynth ignores it"),
    _relative(70, "variation", "morph.position", 1.0, "towards the other end of the morph"),
    _relative(71, "resonance", "filter.resonance", 0.5, "sharper or duller filter"),
    _relative(72, "release time", "envelope.release_seconds", 3.0, "longer or shorter release"),
    _relative(73, "attack time", "envelope.attack_seconds", 3.0, "slower or faster attack"),
    _relative(74, "brightness", "filter.cutoff_hz", 3.0, "brighter or darker; per note in MPE",
              stand_in="axes.brightness", stand_in_span=1.0),
    _relative(75, "decay time", "envelope.decay_seconds", 3.0, "longer or shorter decay"),
    _relative(76, "vibrato rate", "modulation.vibrato_rate_hz", 2.0, "faster or slower vibrato"),
    _relative(77, "vibrato depth", "modulation.vibrato_depth_cents", 50.0, "more or less vibrato"),
    _relative(78, "vibrato delay", "modulation.vibrato_delay_seconds", 3.0, "vibrato later or sooner"),
    _relative(79, "noisiness", "axes.noisiness", 1.0, "more or less noise in the sound"),
    Controller(84, "portamento control", "action", 0, False, "the next note glides once from this key"),
    Controller(91, "reverb send", "continuous", 0, False, "level to the reverb, v/127",
               "same default as FluidSynth; General MIDI 2 says 40"),
    Controller(93, "chorus send", "continuous", 0, False, "level to the chorus, v/127"),
    Controller(96, "data increment", "parameter", 0, False, "selected parameter up by one step (RP-018)",
               "FluidSynth ignores it"),
    Controller(97, "data decrement", "parameter", 0, False, "selected parameter down by one step",
               "FluidSynth ignores it"),
    Controller(98, "NRPN, LSB", "parameter", NULL, True, "selects a knob", "FluidSynth: SoundFont generators, MSB 120"),
    Controller(99, "NRPN, MSB", "parameter", NULL, True, "selects a group of knobs", "as CC98"),
    Controller(100, "RPN, LSB", "parameter", NULL, True, "selects a registered parameter"),
    Controller(101, "RPN, MSB", "parameter", NULL, True, "selects a registered parameter"),
    Controller(120, "all sound off", "action", 0, False, "silence within 10 ms, effect tails included",
               "FluidSynth's reverb rings on"),
    Controller(121, "reset all controllers", "action", 0, False, "RP-015: what the tables mark; pedals let go",
               "in FluidSynth new notes also lose fine and coarse tune, "
               "and CC5 and unassigned controllers go to 0"),
    Controller(122, "local control", "action", 0, False, "ignored: there is no keyboard to cut off"),
    Controller(123, "all notes off", "action", 0, False, "note-off for every key; pedals go on holding"),
    Controller(124, "omni off", "action", 0, False, "as CC123", _MODE),
    Controller(125, "omni on", "action", 0, False, "as CC123", _MODE),
    Controller(126, "mono on", "action", 0, False, "as CC123, then one voice at a time; any value", _MODE),
    Controller(127, "poly on", "action", 0, False, "as CC123, then many voices", _MODE),
)  # fmt: skip

#: Every controller that the instrument obeys, by number. The others are kept (0 at first) for routes and MIDI learn.
CONTROLLERS: dict[int, Controller] = {row.number: row for row in sorted(_TABLE, key=lambda row: row.number)}

#: Every message but control change, in the order of their status bytes.
MESSAGES: dict[str, MessageRow] = {
    row.name: row
    for row in (
        MessageRow("note off", "key 0-127, velocity 0-127", "lets the key go; its velocity is the source "
                   "`release_velocity`", "FluidSynth drops the velocity"),
        MessageRow("note on", "key 0-127, velocity 1-127", "strikes the key; the same key again lets its old voice "
                   "ring out, or stacks under a pedal; velocity 0 is a note-off of velocity 64"),
        MessageRow("key pressure", "key 0-127, 0-127", "the source `pressure` for one key; the larger of key and "
                   "channel counts", default=0, resets=True),
        MessageRow("program change", "0-127", "takes up the bank and its preset for the notes to come; sounding notes "
                   "keep theirs, though one voice alone stays where the new preset plays but one",
                   "FluidSynth: a program of the SoundFont", default=0),
        MessageRow("channel pressure", "0-127", "the source `pressure`", "routes say what it does; FluidSynth adds 50 "
                   "cents of vibrato", default=0, resets=True),
        MessageRow("bend", "0-16383", "8192 centre, 16383 exactly the range up, 0 exactly the range down",
                   "FluidSynth's 16383 stays 1/8192 below the range", default=8192, resets=True),
        MessageRow("GM, GM2, GS or XG on", "SysEx", "power-on state of all channels"),
        MessageRow("MIDI tuning", "SysEx 08", "bulk dumps, single notes and octave scales into tuning programs"),
        MessageRow("master volume", "SysEx 04 01", "gain over all channels, by the volume's law",
                   "FluidSynth 2.3 ignores it"),
        MessageRow("master tuning", "SysEx 04 03, 04 04", "fine ±100 cents and coarse semitones over all channels"),
        MessageRow("song position", "0-16383", "sixteenth notes from the start, for synced modulation",
                   "FluidSynth ignores clock messages"),
        MessageRow("clock", "24 a quarter", "tempo of synced LFOs and delays", "as song position"),
        MessageRow("start, continue, stop", "", "start puts the song position to 0", "as song position"),
        MessageRow("active sensing", "", "once heard, 300 ms without any message let all notes go",
                   "FluidSynth ignores it"),
        MessageRow("system reset", "", "silence, and the power-on state of all channels"),
    )
}  # fmt: skip


def default_of(number: int) -> int:
    """Value of a controller at power-on, on the chart or not."""
    row = CONTROLLERS.get(number)
    return row.default if row else 0


def chart_page() -> str:
    """The page `docs/midi.md`."""
    return "\n\n".join(
        (
            _INTRODUCTION,
            _table(("message", "range", "default", "reset by CC121", "does", "unlike FluidSynth"), _message_rows()),
            "## Controllers\n\n" + _ABOUT_CONTROLLERS,
            _table(("CC", "name", "kind", "default", "reset by CC121", "does", "unlike FluidSynth"), _control_rows()),
            "## Sound controllers\n\n" + _ABOUT_RELATIVE,
            _table(("CC", "turns", "by at most", "with the filter off"), _relative_rows()),
            "## Registered parameters\n\n" + _ABOUT_PARAMETERS,
            _table(("RPN", "name", "range", "default", "one step", "does", "unlike FluidSynth"), _parameter_rows()),
            "## Knobs by NRPN\n\n" + _ABOUT_NRPN,
            _table(("NRPN", "knob"), _nrpn_rows()) + "\n",
        )
    )


_INTRODUCTION = """# MIDI implementation chart

Printed by `python -m neuralsynth.midi.chart docs/midi.md` from the tables that the instrument itself obeys; do not
edit it by hand. The last column of a table says where the instrument differs from FluidSynth 2, its referee in the
tests, and why or how. Channels are counted 1 to 16, programs 0 to 127 as on the wire.

## Messages"""
_ABOUT_CONTROLLERS = """A *fine* controller is the LSB of the one 32 below: the pair is MSB/127 plus LSB/16256, so that
an MSB of 127 alone is full. Switches are on from 64. A controller that is not listed is kept, 0 at first, for routes
(`cc0` to `cc119`) and MIDI learn, and CC121 leaves it: a knob stays where its hand left it."""
_ABOUT_RELATIVE = """They move the preset's own value: 64 leaves it, 0 and 127 move it by the span below. CC121 leaves
them (RP-015)."""
_ABOUT_PARAMETERS = """Select with CC101 and CC100, enter with CC6 and CC38, step with CC96 and CC97, whatever their
value. RPN 127/127 selects none; data entry without a selected, known parameter is ignored and counted. CC121 forgets
the selection and keeps the values. In an MPE zone, a bend range sent to one member channel holds for all of them."""
_ABOUT_NRPN = """Data entry sets a knob to a place along its travel: 0 is its low end, an MSB of 127 its high end, along
the knob's own curve. CC96 and CC97 move it by 1/127. The place stays through program changes and CC121 until the next
system reset. `n` is the LSB."""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *rows))


def _message_rows() -> list[tuple[str, ...]]:
    return [
        (m.name, m.range, "" if m.default is None else str(m.default), _yes(m.resets), m.does, m.differs)
        for m in MESSAGES.values()
    ]


def _control_rows() -> list[tuple[str, ...]]:
    return [
        (str(c.number), c.name, c.kind, "" if c.kind == "action" else str(c.default), _yes(c.resets), c.does, c.differs)
        for c in CONTROLLERS.values()
    ]


def _relative_rows() -> list[tuple[str, ...]]:
    rows = [c for c in CONTROLLERS.values() if c.target]
    return [(str(c.number), f"`{c.target}`", _span(c.target, c.span), _stand_in(c)) for c in rows]


def _stand_in(row: Controller) -> str:
    return f"`{row.stand_in}`, {_span(row.stand_in, row.stand_in_span)}" if row.stand_in else ""


def _span(target: str | None, span: float) -> str:
    """`span` with its unit: octaves where the knob is a time, a rate or the cut-off."""
    unit = " octaves" if str(target).endswith(("_seconds", "_hz")) else " cents" if "cents" in str(target) else ""
    return f"±{span:g}{unit}"


def _parameter_rows() -> list[tuple[str, ...]]:
    rows = [
        (
            f"{p.number // 128}/{p.number % 128}", p.name, p.range, "" if p.default is None else f"{p.default:g}",
            f"{p.step:.4g} {p.unit}".strip() if p.step else "none", p.does, p.differs,
        )
        for p in REGISTERED.values()
    ]  # fmt: skip
    return [*rows, (f"{NULL}/{NULL}", "null", "", "selected", "", "selects no parameter", "")]


def _nrpn_rows() -> list[tuple[str, ...]]:
    rows = [(f"{NRPN_KNOBS}/{n}", f"`{name}`") for n, name in enumerate(DESTINATIONS)]
    rows.append((f"{NRPN_AXES}/n", "`axes.NAME`: the model's axes in the order of its file, from 0"))
    return [*rows, (f"{NRPN_LATENT}/n", "`latent.n`: one latent number, from 1")]


def _yes(value: bool) -> str:
    return "yes" if value else ""


def main(path: Path) -> None:
    """Write the page to `path`."""
    with whole_file(path) as part:
        part.write_text(chart_page(), "utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
