"""A part works out its channels' numbers when a note needs them; what sounds is as if it had done so at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from neuralsynth.engine import Engine
from neuralsynth.part import Part
from neuralsynth.preset_sections import Envelope, Layer, Lfo, Modulation, Morph, Sound
from neuralsynth.routes import Route
from tests.players import BEND, CONTROL, NOTE_OFF, NOTE_ON, PRESSURE, RATE, Shelf, at, play, rpn

SECONDS = 1.2
#: Level, vibrato, pan, brightness and attack, reverb, the LFO's and the vibrato's speed, and what resets them all.
CONTROLLERS = (1, 7, 10, 11, 64, 71, 73, 74, 76, 91, 121)
moments = st.floats(0.0, SECONDS - 0.05, allow_subnormal=False)
values = st.integers(0, 127)
channels = st.sampled_from((0, 1))
messages = st.one_of(
    st.builds(lambda t, n, c, v: [at(t, CONTROL | n, c, v)], moments, channels, st.sampled_from(CONTROLLERS), values),
    st.builds(lambda t, n, lsb, msb: [at(t, BEND | n, lsb, msb)], moments, channels, values, values),
    st.builds(lambda t, n, v: [at(t, PRESSURE | n, v)], moments, channels, values),
    st.builds(lambda t, n, v: rpn(t, n, 0, v % 25), moments, channels, values),
    st.builds(lambda t, v: [at(t, 0xFF, 0x51, 3, 4 + v // 16, v, v)], moments, values),
)
notes = st.builds(
    lambda t, n, key, v, held: [at(t, NOTE_ON | n, key, 1 + v % 127), at(t + held, NOTE_OFF | n, key, 64)],
    st.floats(0.0, SECONDS - 0.25, allow_subnormal=False),
    channels,
    st.sampled_from((48, 60, 72)),
    values,
    st.floats(0.01, 0.2, allow_subnormal=False),
)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Three sounds on one channel, each with keys of its own: most of them rest most of the time."""
    shelf = Shelf(tmp_path_factory.mktemp("kit"))
    short = Envelope(release_seconds=0.02)
    shelf.preset(
        "wobbling", envelope=short, lfo_1=Lfo(rate_hz=5.0, per_voice=False), lfo_2=Lfo(sync="1/8", per_voice=False),
        routes=(Route("lfo_1", "axes.brightness", 0.5), Route("lfo_2", "sound.tune_cents", 40.0)),
    )  # fmt: skip
    shelf.preset("bending", envelope=short, routes=(Route("bend", "axes.brightness", 1.0),))
    shelf.preset("struck", "struck.onnx", sound=Sound(pan=0.3), modulation=Modulation(vibrato_depth_cents=80.0))
    ranges = {"wobbling.toml": (0, 53), "bending.toml": (54, 65), "struck.toml": (66, 127)}
    return shelf.layered("kit", *(Layer(name, key_low=low, key_high=high) for name, (low, high) in ranges.items()))


_refresh, _settle = Part.refresh, Part._settle  # noqa: SLF001


def refresh_at_once(part, now, number, *rest):
    _refresh(part, now, number, *rest)
    _settle(part, number)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(  # numbers of a channel wait, another channel sounds, the first is bent and plays
    told=[[at(0.0, CONTROL, 7, 90)], [at(0.2, BEND, 0, 127)]],
    played=[[at(0.1, NOTE_ON | 1, 72, 90), at(0.9, NOTE_OFF | 1, 72, 64)], [at(0.3, NOTE_ON, 72, 90)]],
    block=1000,
)
@example(  # the vibrato runs faster for a while
    told=[[at(0.0, CONTROL, 1, 127)], [at(0.1, CONTROL, 76, 127)], [at(0.7, CONTROL, 76, 20)]],
    played=[[at(0.8, NOTE_ON, 72, 90)]],
    block=1000,
)
@given(
    told=st.lists(messages, min_size=2, max_size=20),
    played=st.lists(notes, min_size=1, max_size=5),
    block=st.sampled_from((64, 1000, 4096)),
)
def test_numbers_that_waited_sound_as_if_they_had_not(kit, told, played, block):
    events = [event for group in (*told, *played) for event in group]
    waited = play(kit, events, SECONDS, block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "refresh", refresh_at_once)
        at_once = play(kit, events, SECONDS, block)
    np.testing.assert_array_equal(waited, at_once)


def test_a_resting_part_works_nothing_out(kit, monkeypatch):
    """Which is why a kit of many drums follows a song full of controllers."""
    settled = []

    def settle(part, number):
        settled.append(part.patch.preset.name)
        _settle(part, number)

    monkeypatch.setattr(Part, "_settle", settle)
    note = [at(0.5, NOTE_ON, 60, 100), at(0.6, NOTE_OFF, 60, 64)]
    play(kit, [*(at(0.001 * i, CONTROL, 7, i % 128) for i in range(400)), *note], SECONDS)
    assert settled == ["bending"]


def test_what_is_prepared_is_decoded_whole_also_where_numbers_wait(tmp_path):
    """A preset halfway to another point needs both ends of the way with every note."""
    engine = Engine(Shelf(tmp_path).patch("between", morph=Morph(position=0.5, point="bright")), RATE, 512)
    engine.prepare({channel: [60] for channel in range(16)})
    bank = engine.parts[0].patch.bank
    n_rows = len(bank)
    play(engine, [at(0.0, NOTE_ON, 60, 100)], 0.1)
    assert len(bank) == n_rows
