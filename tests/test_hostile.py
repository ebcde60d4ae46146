"""Whatever comes over the wire: no exception, no stuck note, no growth, nothing printed, and a panic that is obeyed."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from benchmarks.hostile import PANICS, SILENCING, Storm, panic, run_storm, sizes, storm_engine
from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.held_voices import MAX_HELD
from neuralsynth.preset_sections import Envelope
from tests.players import CONTROL, NOTE_OFF, NOTE_ON, RATE, Shelf, at, cut, level_db, play


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return storm_engine(tmp_path_factory.mktemp("storm"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("plain")).patch("plain")


@pytest.mark.parametrize("name", PANICS)
def test_thousands_of_hostile_events_and_a_panic_leave_no_note_and_print_nothing(engine, capfd, name):
    engine.reset()
    storm = Storm(list(PANICS).index(name))
    for _ in range(5):
        run_storm(engine, storm, 1600)
        gated, peak = panic(engine, PANICS[name])
        assert not gated
        assert peak == 0.0 or name not in SILENCING
    assert engine.ignored > 100
    assert capfd.readouterr() == ("", "")


def test_a_storm_makes_nothing_grow(engine):
    engine.reset()
    engine.prepare(dict.fromkeys(range(16), range(128)))
    storm = Storm(7)
    run_storm(engine, storm, 1000)
    spectra = sizes(engine)["decoded spectra"]
    gc.collect()
    tracemalloc.start()
    run_storm(engine, storm, 300)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    run_storm(engine, storm, 2000)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    found = sizes(engine)
    n_keys = 128 * (1 + 5)
    assert found["held notes"] <= 16 * MAX_HELD
    assert found["changes to come"] < 100
    assert found["silences to come"] == 0
    assert found["decoded spectra"] <= spectra + len(engine.parts) * n_keys * 8
    assert after - before < 3_000_000, f"{(after - before) / 1e3:.0f} kB more"


@pytest.mark.parametrize("seed", [21, 22])
def test_a_storm_sounds_the_same_however_time_is_cut(engine, seed):
    storm, events, length = Storm(seed), [], 0
    while len(events) < 500:
        block, n_samples = storm.block()
        events += [Event(length + event.sample, event.message) for event in block]
        length += n_samples

    def render(sizes):
        engine.reset()
        rng, now, out = np.random.default_rng(seed), 0, []
        while now < length:
            n = min(int(rng.choice(sizes)), length - now)
            block = [Event(e.sample - now, e.message) for e in events if now <= e.sample < now + n]
            out.append(engine.process(block, n))
            now += n
        return np.concatenate(out, axis=1)

    whole = render([2048])
    assert np.abs(whole).max() > 0.01
    assert np.array_equal(render([1, 7, 64, 65, 500, 2048]), whole)
    assert np.array_equal(render([4096]), whole)


def test_what_means_nothing_is_counted_and_a_reset_of_the_engine_starts_anew(plain):
    engine = Engine(plain, RATE, 512)
    meaningless = [
        b"", b"\x05", b"\x90\x40", b"\xb0\x07", b"\xc0", b"\xe0\x00", b"\xf0\x01\xf7", b"\xf0", b"\xf1\x00", b"\xf4", b"\xf6",
        b"\xf7", b"\xf9", b"\xfd", b"\xff\x2f\x00", b"\xff\x51\x03\x01", b"\xf2\x01", b"\xc0\x05", b"\xb0\x06\x10",
    ]  # fmt: skip
    engine.process([Event(0, message) for message in meaningless], 64)
    assert engine.ignored == len(meaningless)
    engine.process([Event(0, b"\xff")], 64)
    assert engine.ignored == len(meaningless)
    engine.reset()
    assert engine.ignored == 0


def test_data_bytes_above_127_are_read_without_their_high_bit(plain):
    held = [Event(0, bytes((NOTE_ON, 60 | 128, 100 | 128))), at(0.1, NOTE_OFF, 60, 64)]
    proper = [at(0.0, NOTE_ON, 60, 100), at(0.1, NOTE_OFF, 60, 64)]
    assert np.array_equal(play(plain, held, 0.3), play(plain, proper, 0.3))


@pytest.mark.parametrize("block", [1000, 4096, 14_400, 24_000])
@pytest.mark.parametrize("pedal", [0, 127])
def test_active_sensing_that_falls_silent_lets_notes_go_at_exactly_300_ms(plain, block, pedal):
    start = [at(0.0, CONTROL, 64, pedal), at(0.0, NOTE_ON, 60, 100), Event(1000, b"\xfe")]
    lost = play(plain, start, 0.7, block=block)
    held = play(plain, start[:2], 0.7)
    changed = np.any(lost != held, axis=0)
    assert np.flatnonzero(changed)[0] in range(1000 + 14_400, 1000 + 14_400 + 3)
    assert level_db(cut(lost, 0.6)) < -80.0


def test_any_message_keeps_active_sensing_content(plain):
    start = [at(0.0, NOTE_ON, 60, 100), *(at(0.29 * i, 0xFE) for i in range(4))]
    assert np.array_equal(play(plain, start, 1.1), play(plain, start[:1], 1.1))


@pytest.mark.parametrize("block", [480, 14_400, 24_000])
def test_a_note_that_comes_as_active_sensing_runs_out_is_kept_however_time_is_cut(plain, block):
    audio = play(
        plain, [Event(0, b"\xfe"), at(0.1, NOTE_ON, 50, 100), Event(19_200, bytes((NOTE_ON, 60, 100)))], 0.6, block
    )
    whole = play(plain, [Event(0, b"\xfe"), at(0.1, NOTE_ON, 50, 100), Event(19_200, bytes((NOTE_ON, 60, 100)))], 0.6)
    assert np.array_equal(audio, whole)
    assert level_db(cut(audio, 0.55)) > -40.0


def test_all_sound_off_on_every_channel_ends_the_room_and_the_echoes_of_all(engine):
    engine.reset()
    events = [at(0.0, CONTROL | c, 91, 127) for c in range(4)]
    events += [at(0.0, CONTROL | c, 93, 127) for c in range(4)]
    events += [at(0.01, NOTE_ON | c, 60 + c, 110) for c in range(4)]
    audio = play(engine, [*events, *(at(0.3, *message) for message in PANICS["all sound off"])], 0.8, block=16_384)
    assert np.abs(cut(audio, 0.2, 0.3)).max() > 0.05
    assert np.abs(cut(audio, 0.31)).max() == 0.0


def test_all_sound_off_on_one_channel_spares_the_others(plain):
    other = at(0.0, NOTE_ON | 1, 67, 100)
    audio = play(plain, [at(0.0, NOTE_ON, 60, 100), other, at(0.2, CONTROL, 120, 0)], 0.5)
    alone = play(plain, [other], 0.5)
    assert level_db(cut(audio, 0.25) - cut(alone, 0.25)) < level_db(alone) - 20.0


def test_a_system_reset_makes_nothing_louder_that_was_turned_down(tmp_path):
    patch = Shelf(tmp_path).patch("slow", envelope=Envelope(release_seconds=1.0))
    audio = play(patch, [at(0.0, CONTROL, 11, 0), at(0.0, NOTE_ON, 60, 127), at(0.2, 0xFF)], 0.4)
    assert np.abs(audio).max() == 0.0


def test_keys_struck_by_the_thousand_under_a_pedal_are_forgotten_as_they_are_stolen(plain):
    engine = Engine(plain, RATE, 512)
    engine.process([Event(0, bytes((CONTROL, 64, 127)))], 64)
    for i in range(3000):
        engine.process([Event(0, bytes((NOTE_ON, 30 + i % 60, 100))), Event(8, bytes((NOTE_OFF, 30 + i % 60, 0)))], 16)
    assert sizes(engine)["held notes"] <= MAX_HELD
    engine.process([Event(0, bytes((CONTROL, 64, 0)))], 64)
    assert not engine.is_gated
