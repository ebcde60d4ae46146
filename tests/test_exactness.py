"""Every event is obeyed at its own sample, neither before nor much later, and however time is cut into blocks."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.midi.chart import CONTROLLERS, MESSAGES
from neuralsynth.midi.learn import ControllerMap, Entry
from neuralsynth.midi.parameters import DESTINATIONS, REGISTERED
from neuralsynth.preset_sections import Envelope, Filter, Lfo, Morph, Voices
from neuralsynth.programs import Programs
from neuralsynth.routes import Route
from neuralsynth.spec import LatentAxis
from tests.models import tiny_instrument
from tests.players import BEND, CONTROL, KEY_PRESSURE, NOTE_OFF, NOTE_ON, PRESSURE, PROGRAM, RATE, Shelf, at, rpn

SAMPLE = 7001  # no multiple of anything
LENGTH = 14_400
SOON = RATE // 100

#: What puts an instrument into a state where each thing that may happen is heard.
_HELD = [at(0.0, CONTROL, 91, 60), at(0.0, NOTE_ON, 60, 100), at(0.02, NOTE_ON, 67, 90)]
_BENT = [at(0.0, BEND, 0, 100)]
_WHEEL = [at(0.0, CONTROL, 1, 100)]
_OFF = [at(0.13, NOTE_OFF, 60, 64), at(0.13, NOTE_OFF, 67, 64)]


def _now(*messages):
    return [Event(SAMPLE, bytes(message)) for message in messages]


def _control(number, value, *before, after=()):
    return (list(before), _now((CONTROL, number, value)), list(after))


def _parameter(msb, lsb, value, *before, registered=True, fine=None):
    first, second = (101, 100) if registered else (99, 98)
    chosen = [at(0.0, CONTROL, first, msb), at(0.0, CONTROL, second, lsb)]
    entries = [(CONTROL, 6, value)] + ([] if fine is None else [(CONTROL, 38, fine)])
    return ([*before, *chosen], _now(*entries), [])


_RPN_0 = [at(0.0, CONTROL, 101, 0), at(0.0, CONTROL, 100, 0), *_BENT]
_LATER = (Event(SAMPLE + 200, bytes((NOTE_ON, 72, 100))),)  # where only the next note tells
_AFTER_OFF = (Event(SAMPLE + 100, bytes((NOTE_OFF, 60, 64))), Event(SAMPLE + 100, bytes((NOTE_OFF, 67, 64))))
_PROGRAM_LATER = (Event(SAMPLE + 100, bytes((PROGRAM, 1))), Event(SAMPLE + 200, bytes((NOTE_ON, 72, 100))))
_PORTAMENTO_LATER = (Event(SAMPLE + 100, bytes((CONTROL, 65, 127))), Event(SAMPLE + 200, bytes((NOTE_ON, 84, 100))))
_ENTRY_LATER = (Event(SAMPLE + 100, bytes((CONTROL, 6, 12))),)

#: What is heard of every controller on the chart: (events before, the event, events after).
HEARD_CONTROLLERS = {
    0: _control(0, 1, after=_PROGRAM_LATER),
    32: _control(32, 1, after=_PROGRAM_LATER),
    1: _control(1, 127),
    33: _control(33, 127, *_WHEEL),
    2: _control(2, 127),
    34: _control(34, 127),
    4: _control(4, 127),
    36: _control(36, 127),
    5: _control(5, 60, after=_PORTAMENTO_LATER),
    37: _control(37, 127, at(0.0, CONTROL, 5, 30), after=_PORTAMENTO_LATER),
    6: _control(6, 12, *_RPN_0),
    38: _control(38, 90, *_RPN_0),
    7: _control(7, 60),
    39: _control(39, 127),
    8: _control(8, 20),
    40: _control(40, 127),
    10: _control(10, 20),
    42: _control(42, 127),
    11: _control(11, 60),
    43: _control(43, 127, at(0.0, CONTROL, 11, 60)),
    64: _control(64, 127, after=_AFTER_OFF),
    65: _control(65, 127, at(0.0, CONTROL, 5, 60), after=_LATER),
    66: _control(66, 127, after=_AFTER_OFF),
    67: _control(67, 127, after=_LATER),
    68: _control(68, 127),
    69: _control(69, 127, after=_AFTER_OFF),
    70: _control(70, 127),
    71: _control(71, 127),
    72: _control(72, 127, *_OFF),
    73: _control(73, 127, after=_LATER),
    74: _control(74, 127),
    75: _control(75, 127, at(0.14, NOTE_ON, 72, 100)),
    76: _control(76, 127, *_WHEEL),
    77: _control(77, 127),
    78: _control(78, 127, *_WHEEL),
    79: _control(79, 127),
    84: _control(84, 48, at(0.0, CONTROL, 5, 60), after=_LATER),
    91: _control(91, 127),
    93: _control(93, 127),
    96: _control(96, 0, *_RPN_0),
    97: _control(97, 0, *_RPN_0),
    98: _control(98, 2, at(0.0, CONTROL, 99, 1), after=_ENTRY_LATER),
    99: _control(99, 1, at(0.0, CONTROL, 98, 2), after=_ENTRY_LATER),
    100: _control(100, 2, at(0.0, CONTROL, 101, 0), after=_ENTRY_LATER),
    101: _control(101, 0, at(0.0, CONTROL, 100, 2), after=_ENTRY_LATER),
    120: _control(120, 0),
    121: _control(121, 0, *_BENT),
    122: None,  # ignored: there is no keyboard to cut off
    123: _control(123, 0),
    124: _control(124, 0),
    125: _control(125, 0),
    126: _control(126, 0),
    127: _control(127, 0),
}

_CLOCKS = [Event(SAMPLE - 700 * i, b"\xf8") for i in range(5, 0, -1)]  # with the sixth a tempo is known
_SYSEX_TUNING = (0xF0, 0x7F, 0x7F, 8, 2, 0, 1, 60, 62, 0, 0, 0xF7)
_BULK = (0xF0, 0x7E, 0x7F, 8, 1, 0, *b"sixteen letters.", *(b for key in range(128) for b in (key, 40, 0)), 0, 0xF7)

#: The same for every message of the chart.
HEARD_MESSAGES = {
    "note off": ([], _now((NOTE_OFF, 60, 64)), []),
    "note on": ([], _now((NOTE_ON, 72, 100)), []),
    "key pressure": ([], _now((KEY_PRESSURE, 60, 127)), []),
    "program change": ([], _now((PROGRAM, 1)), list(_LATER)),
    "channel pressure": ([], _now((PRESSURE, 127)), []),
    "bend": ([], _now((BEND, 0, 100)), []),
    "GM, GM2, GS or XG on": ([], _now((0xF0, 0x7E, 0x7F, 9, 1, 0xF7)), []),
    "MIDI tuning": ([], _now(_SYSEX_TUNING), []),
    "master volume": ([], _now((0xF0, 0x7F, 0x7F, 4, 1, 0, 60, 0xF7)), []),
    "master tuning": ([], _now((0xF0, 0x7F, 0x7F, 4, 3, 0, 90, 0xF7)), []),
    "song position": ([], _now((0xF2, 5, 0)), list(_LATER)),
    "clock": (_CLOCKS, _now((0xF8,)), []),
    "start, continue, stop": ([], _now((0xFC,)), [Event(SAMPLE + 300, bytes((NOTE_ON, 72, 100)))]),
    "active sensing": ([Event(100, b"\xfe")], [], []),  # see test_hostile: what is heard is that nothing came
    "system reset": ([], _now((0xFF,)), []),
}

_MEMBER_NOTE = [at(0.0, NOTE_ON | 1, 64, 100)]
_ZONE = [at(0.0, CONTROL, 101, 0), at(0.0, CONTROL, 100, 6), at(0.0, CONTROL, 6, 4)]
OTHERS = {
    "bank dump": ([], _now(_BULK), list(_LATER)),
    "octave tuning": ([], _now((0xF0, 0x7F, 0x7F, 8, 8, 3, 127, 127, *[90] * 12, 0xF7)), []),
    "coarse master tuning": ([], _now((0xF0, 0x7F, 0x7F, 4, 4, 0, 66, 0xF7)), []),
    "tempo of a file": ([], _now((0xFF, 0x51, 3, 4, 0, 0)), []),
    "zone begins": ([*_MEMBER_NOTE, *_ZONE[:2]], _now((CONTROL, 6, 4)), []),
    "zone ends": ([*_ZONE, *_MEMBER_NOTE, *_ZONE[:2]], _now((CONTROL, 6, 0)), []),
    "member bends": ([*_ZONE, *_MEMBER_NOTE], _now((BEND | 1, 0, 70)), []),
    "member is pressed": ([*_ZONE, *_MEMBER_NOTE], _now((PRESSURE | 1, 127)), []),
    "member's timbre": ([*_ZONE, *_MEMBER_NOTE], _now((CONTROL | 1, 74, 127)), []),
    "master bends": ([*_ZONE, *_MEMBER_NOTE], _now((BEND, 0, 100)), []),
    "velocity 0": ([], _now((NOTE_ON, 60, 0)), []),
    "a learned controller": ([], _now((CONTROL, 20, 100)), []),
    "a learned effect": ([], _now((CONTROL, 21, 10)), []),
    "a mapped bank select": ([], _now((CONTROL | 0, 22, 127)), []),
    **{
        f"RPN {row.number}": _parameter(0, row.number, value, *before)
        for row, value, before in (
            (REGISTERED[0], 12, _BENT), (REGISTERED[1], 100, ()), (REGISTERED[2], 66, ()), (REGISTERED[5], 10, _WHEEL),
            (REGISTERED[3], 5, (at(0.0, 0xF0, 0x7F, 0x7F, 8, 7, 0, 5, 1, 60, 62, 0, 0, 0xF7),)),
        )
    },
    **{f"NRPN {name}": _parameter(1, n, 110, *_WHEEL, registered=False) for n, name in enumerate(DESTINATIONS)},
    "RPN 4": (
        [at(0.0, 0xF0, 0x7F, 0x7F, 8, 7, 3, 0, 1, 60, 62, 0, 0, 0xF7), *rpn(0.0, 0, 4, 0)],
        _now((CONTROL, 6, 3)),
        [Event(SAMPLE + 100 + i, e.message) for i, e in enumerate(rpn(0.0, 0, 3, 0))],
    ),
    "NRPN axis": _parameter(2, 0, 110, registered=False),
    "NRPN latent number": _parameter(3, 1, 110, registered=False),
}  # fmt: skip
#: Knobs that a note hears when it starts or ends, or that nothing follows at the moment.
_LATER_KNOBS = {
    "envelope.attack_seconds", "envelope.decay_seconds", "envelope.release_seconds", "envelope_2.attack_seconds",
    "envelope_2.decay_seconds", "envelope_2.release_seconds", "lfo_1.rate_hz",
}  # fmt: skip
CASES = {
    **{f"CC{number}": case for number, case in HEARD_CONTROLLERS.items()},
    **HEARD_MESSAGES,
    **OTHERS,
}
SILENT = {"CC122", "active sensing", *(f"NRPN {name}" for name in _LATER_KNOBS)}
#: Fine halves, steps of a cent, a room that takes its time: they begin at once, but little is heard of them so soon.
SLIGHT = {"CC33", "CC34", "CC36", "CC42", "CC43", "CC75", "CC91", "CC96", "CC97", "NRPN envelope_2.sustain_level"}


def _axis(*high):
    return LatentAxis([-place for place in high], list(high), 300.0, 3000.0, "Hz", "as the test has it")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A preset in which everything is used, and a second one."""
    shelf = Shelf(tmp_path_factory.mktemp("exact"))
    axes = {"brightness": _axis(2.0, 0.0), "noisiness": _axis(0.0, 2.0)}
    tiny_instrument(shelf.folder / "axes.onnx", sustaining=True, axes=axes)
    shelf.preset(
        "full",
        model="axes.onnx",
        envelope=Envelope(attack_seconds=0.02, decay_seconds=0.2, sustain_level=0.6),
        filter=Filter(type="lowpass", cutoff_hz=2000.0, envelope_octaves=1.0),
        lfo_1=Lfo(sync="1/8", per_voice=False),
        lfo_2=Lfo(rate_hz=7.0),
        morph=Morph(point="bright"),
        voices=Voices(glide_seconds=0.1),
        routes=(
            Route("lfo_1", "sound.gain_db", 3.0),
            Route("lfo_2", "sound.pan", 0.3),
            Route("pressure", "filter.cutoff_hz", -2.0),
            Route("breath", "sound.gain_db", -6.0),
            Route("foot", "sound.gain_db", -6.0),
        ),
        effects=(EffectSettings("chorus", {}), EffectSettings("delay", {"delay_seconds": 0.03, "feedback": 0.3})),
    )
    shelf.preset("other")
    path = shelf.folder / "two.performance.toml"
    table = '\n[[programs]]\nprogram = 2\npreset = "other.toml"\n'
    banks = "".join(f'\n[[programs]]\nprogram = 2\nbank_{half} = 1\npreset = "full.toml"\n' for half in ("msb", "lsb"))
    path.write_text(f'format_version = 1\nname = "Two"\n[channels]\ndefault = "full.toml"\n{table}{banks}')
    return Programs.load(path)


MAP = ControllerMap([Entry(20, "sound.pan"), Entry(21, "effects.2.mix"), Entry(22, "sound.pan")])


@pytest.fixture(scope="module")
def engine(programs):
    return Engine(programs.start(), RATE, 8192, programs=programs, controls=MAP)


def render(engine, events, length=LENGTH, sizes=(8192,)):
    """Play events in blocks of these sizes, over and over."""
    engine.reset()
    events = sorted(events, key=lambda event: event.sample)
    out, now, turn = [], 0, 0
    while now < length:
        n = min(sizes[turn % len(sizes)], length - now)
        block = [Event(e.sample - now, e.message) for e in events if now <= e.sample < now + n]
        out.append(engine.process(block, n))
        now, turn = now + n, turn + 1
    return np.concatenate(out, axis=1)


@pytest.fixture(scope="module")
def rest(engine):
    """What sounds where the event is left out."""
    return functools.cache(lambda before, after: render(engine, [*_HELD, *before, *after]))


def test_every_controller_and_every_message_of_the_chart_has_its_case():
    assert HEARD_CONTROLLERS.keys() == CONTROLLERS.keys()
    assert HEARD_MESSAGES.keys() == MESSAGES.keys()
    assert {f"RPN {number}" for number in REGISTERED if number != 6} <= OTHERS.keys()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case and case[1]])
def test_an_event_leaves_every_sample_before_it_and_is_heard_within_ten_milliseconds(engine, rest, name):
    before, event, after = CASES[name]
    without = rest(tuple(before), tuple(after))
    difference = np.abs(render(engine, [*_HELD, *before, *event, *after]) - without).max(axis=0)
    assert not difference[:SAMPLE].any()
    if name not in SILENT:
        begin = max([SAMPLE, *(e.sample for e in after)])
        assert difference[SAMPLE : begin + SOON].max() > (0.0 if name in SLIGHT else 5e-4)
        assert difference.max() > 3e-4, "nothing that could be heard"


def _everything():
    """All that can happen, in one list, close together; resets and what silences last."""
    late = {"system reset", "GM, GM2, GS or XG on", "CC120", "zone begins", "zone ends"}
    cases = [*(c for n, c in CASES.items() if n not in late), *(CASES[n] for n in sorted(late))]
    events, now = list(_HELD), 500
    for before, event, after in filter(None, cases):
        for message in (*before, *event, *after):
            events.append(Event(now, message.message))
            now += 17
        if now % 5 == 0:
            events.append(Event(now, bytes((NOTE_ON, 40 + now % 50, 90))))
    return events, now + 2000


EVERYTHING, LONG = _everything()


@pytest.fixture(scope="module")
def whole(engine):
    audio = render(engine, EVERYTHING, LONG)
    assert np.abs(audio).max() > 0.05
    return audio


@pytest.mark.parametrize("size", [1, 64, 65, 127, 512, 8193])
def test_no_block_size_changes_a_sample_whatever_happens(engine, whole, size):
    length = 3000 if size == 1 else LONG
    assert np.array_equal(render(engine, EVERYTHING, length, (size,)), whole[:, :length])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12))
def test_no_cut_into_blocks_changes_a_sample_whatever_happens(engine, whole, sizes):
    if sum(sizes) < 300 * len(sizes):
        sizes = [*sizes, 4000]
    assert np.array_equal(render(engine, EVERYTHING, LONG, sizes), whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_cut_changes_a_sample_of_any_few_events(engine, data):
    cases = [case for case in CASES.values() if case and case[1]]
    events = list(_HELD)
    for before, event, after in data.draw(st.lists(st.sampled_from(cases), min_size=1, max_size=6)):
        sample = data.draw(st.integers(0, 4000))
        events += [Event(sample, e.message) for e in (*before, *event)]
        events += [Event(sample + data.draw(st.integers(0, 300)), e.message) for e in after]
    sizes = data.draw(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
    whole = render(engine, events, 6000)
    assert np.array_equal(render(engine, events, 6000, [*sizes, 300]), whole)


def test_events_of_an_empty_block_and_past_the_end_of_one_are_not_lost(engine):
    engine.reset()
    engine.process([Event(0, bytes((NOTE_ON, 60, 100)))], 0)
    assert engine.is_gated
    engine.process([Event(500, bytes((NOTE_OFF, 60, 64)))], 100)
    assert not engine.is_gated
