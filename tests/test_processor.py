"""One block of live play: when messages sound, what a take holds, and what may not happen in an audio callback."""

from __future__ import annotations

import gc
import time
import tracemalloc

import numpy as np
import pytest

from neuralsynth.engine import Engine, play_events
from neuralsynth.events import Event
from neuralsynth.live import processor as live
from neuralsynth.live.processor import MOST_EVENTS, Processor
from neuralsynth.live.shared import TAKE_BEGINS, TAKE_ENDS, Shared
from neuralsynth.preset_sections import Envelope
from tests.discipline import Discipline
from tests.players import CONTROL, NOTE_OFF, NOTE_ON, RATE, Shelf

BLOCK = 128
SECOND = 1_000_000_000
PERIOD_NS = BLOCK * SECOND // RATE


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("processor"))


@pytest.fixture(scope="module")
def patch(shelf):
    patch = shelf.patch("plain", envelope=Envelope(release_seconds=0.05))
    patch.bank.prepare(range(128))
    return patch


@pytest.fixture
def shared():
    shared = Shared.create()
    yield shared
    shared.close(remove=True)


class Device:
    """Asks a processor for blocks at ideal times."""

    def __init__(self, processor):
        self.processor, self.at = processor, 0
        self.began_ns = 1_000 * SECOND

    @property
    def now_ns(self):
        return self.began_ns + self.at * SECOND // RATE

    def block(self, *events, n=BLOCK):
        audio = self.processor.process(n, self.now_ns, [Event(s, bytes(m)) for s, m in events])
        self.at += n
        return audio

    def blocks(self, n_blocks, *events):
        return np.concatenate([self.block(*(events if i == 0 else ())) for i in range(n_blocks)], axis=1)


@pytest.fixture(autouse=True)
def _no_block_takes_time(monkeypatch):
    """A machine that is slow today must not end voices here: overload is tried with a clock of its own."""
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)


@pytest.fixture
def device(shared, patch):
    processor = Processor(shared, RATE, BLOCK)
    processor.install(Engine(patch, RATE, BLOCK))
    return Device(processor)


def offline(patch, events, n_samples):
    return np.concatenate(list(play_events(Engine(patch, RATE), events, n_samples)), axis=1)


def first_sound(audio):
    return int(np.flatnonzero(np.abs(audio).max(axis=0) > 0)[0])


def test_what_is_heard_is_what_render_gives_for_the_same_messages(device, patch):
    """Whenever the player begins: the instrument's time stands still until then."""
    device.blocks(77)
    heard = device.blocks(100, (5, (NOTE_ON, 60, 90)), (90, (NOTE_ON, 64, 50)))
    expected = offline(patch, [Event(5, bytes([NOTE_ON, 60, 90])), Event(90, bytes([NOTE_ON, 64, 50]))], 100 * BLOCK)
    np.testing.assert_array_equal(heard, expected)


def test_a_stamped_message_sounds_one_block_after_it_came_wherever_in_a_block_that_was(device, shared):
    """A constant delay instead of one between nothing and a block."""
    device.blocks(400)  # the clock has settled
    onset = first_sound(device.blocks(2, (0, (NOTE_ON, 60, 90))))
    for into_block in (0, 30, 64, 127):
        device.blocks(200, (0, (CONTROL, 120, 0)))
        stamp = device.now_ns + into_block * SECOND // RATE
        shared.midi.put(stamp, bytes([NOTE_ON, 60, 90]))
        at = first_sound(device.blocks(4))
        assert abs(at - (BLOCK + into_block + onset)) <= 1


def test_a_device_that_wakes_us_at_ragged_times_does_not_make_notes_ragged(shared, patch):
    processor = Processor(shared, RATE, BLOCK)
    processor.install(Engine(patch, RATE, BLOCK))
    rng, at, sounds = np.random.default_rng(0), 0, []
    due = sorted(rng.integers(RATE, 5 * RATE, 60))
    log = []
    for _ in range(6 * RATE // BLOCK):
        ideal = 1_000 * SECOND + at * SECOND // RATE
        while due and due[0] < at + BLOCK:
            shared.midi.put(1_000 * SECOND + int(due[0]) * SECOND // RATE, bytes([NOTE_ON, 60, 90]))
            sounds.append(int(due.pop(0)))
        processor.process(BLOCK, ideal + int(rng.exponential(0.3e-3) * SECOND), [])
        log += [time for time, _ in shared.log.take()]
        at += BLOCK
    origin = log[0] - sounds[0]
    jitter = np.array(log) - np.array(sounds) - origin
    assert np.std(jitter) < BLOCK / 4


def test_messages_that_come_before_their_time_wait_and_late_ones_sound_at_once(device, shared):
    device.blocks(100)
    shared.midi.put(device.now_ns + 10 * PERIOD_NS, bytes([NOTE_ON, 60, 90]))
    assert not device.blocks(10).any()
    assert device.blocks(3).any()
    shared.midi.put(device.now_ns - 50 * PERIOD_NS, bytes([CONTROL, 7, 50]))
    before = shared.meters.late_events
    device.block()
    assert shared.meters.late_events == before + 1


def test_ten_thousand_messages_at_once_are_played_in_order_a_few_per_block(device, shared):
    device.processor.is_freewheeling = False
    sent = [bytes([CONTROL, i % 64, i // 64 % 128]) for i in range(10_000)]
    device.block(*((0, m) for m in sent))
    played = []
    for _ in range(10_000 // MOST_EVENTS + 2):
        got = [message for _, message in shared.log.take()]
        assert len(got) <= MOST_EVENTS
        played += got
        device.block()
    assert played == sent


def test_bytes_that_are_no_message_do_no_harm(device, shared):
    rng = np.random.default_rng(1)
    for _ in range(3000):
        device.block((0, bytes(rng.integers(0, 256, rng.integers(1, 9)).tolist())))
    assert shared.meters.faults == 0
    device.block(*((0, (CONTROL | c, n, 0)) for n in (64, 66, 120, 123) for c in range(11)))
    assert not device.processor.error


def recorded(shared):
    """The events and the audio of a take that is over, as the session reads them."""
    events, is_inside = [], False
    for time_, message in shared.log.take():
        if message in (TAKE_BEGINS, TAKE_ENDS):
            is_inside = message == TAKE_BEGINS
        elif is_inside:
            events.append(Event(time_, message))
    return events, shared.audio.take()


def test_a_take_holds_what_was_heard_and_renders_to_the_same_samples(shared, patch):
    processor = Processor(shared, RATE, BLOCK)
    shared.controls.take = 1
    processor.install(Engine(patch, RATE, BLOCK), take=1)
    device, rng, heard = Device(processor), np.random.default_rng(2), []
    device.blocks(20)
    for i in range(300):
        key = int(rng.integers(40, 80))
        heard.append(device.block((int(rng.integers(BLOCK)), (NOTE_ON if i % 3 else NOTE_OFF, key, 80))))
    shared.controls.take = 0
    device.blocks(3)
    events, audio = recorded(shared)
    np.testing.assert_array_equal(audio, np.concatenate(heard, axis=1))
    np.testing.assert_array_equal(audio, offline(patch, events, audio.shape[1]))


def test_a_take_that_begins_while_notes_sound_begins_in_silence_with_the_controllers_where_they_stood(shared, patch):
    """The engine fades out, is set back, and messages of that moment wait for it."""
    processor, engine = Processor(shared, RATE, BLOCK), Engine(patch, RATE, BLOCK)
    processor.install(engine)
    device = Device(processor)
    device.blocks(20, (0, (NOTE_ON, 60, 90)), (3, (CONTROL, 7, 40)))
    processor.fade_out()
    fading = device.blocks(3, (0, (NOTE_ON, 72, 90)))
    device.blocks(30)
    assert processor.retired == [engine]
    assert np.abs(np.diff(fading, axis=1)).max() < 0.05  # no click
    engine.reset()
    replayed = [Event(0, message) for message in shared.states.replay()]
    assert replayed == [Event(0, bytes([CONTROL, 7, 40]))]
    engine.process(replayed, 0)
    shared.controls.take = 1
    processor.install(engine, take=1)
    device.blocks(50)
    events, audio = recorded(shared)
    assert events == [Event(0, bytes([NOTE_ON, 72, 90]))]
    np.testing.assert_array_equal(audio, offline(patch, [*replayed, *events], audio.shape[1]))


def test_notes_that_sound_when_presets_are_swapped_end_on_their_own_preset(device, shelf, patch):
    old = Engine(patch, RATE, BLOCK)
    device.processor.install(old)
    device.blocks(50, (0, (NOTE_ON, 60, 90)))
    louder = shelf.patch("other", "struck.onnx")
    louder.bank.prepare(range(128))
    device.processor.install(Engine(louder, RATE, BLOCK))
    assert device.blocks(20).any()
    assert old.held_notes()[0, 60] == 1
    device.block((0, (NOTE_OFF, 60, 0)))
    device.blocks(400)
    assert device.processor.retired == [old]
    assert device.blocks(10, (0, (NOTE_ON, 60, 90))).any()


def test_of_many_presets_swapped_under_a_held_chord_only_the_last_few_sound_on(device, patch):
    engines = [Engine(patch, RATE, BLOCK) for _ in range(6)]
    for engine in engines:
        device.processor.install(engine)
        device.blocks(30, (0, (NOTE_ON, 60, 90)))
    assert [engine.n_sounding for engine in engines] == [0, 0, 0, 1, 1, 1]


class Slow(Engine):
    """Takes longer per voice than there is time, by a clock that only it moves."""

    clock_ns = 0

    def process(self, events, n_samples):
        n_voices = self.n_sounding
        audio = super().process(events, n_samples)
        Slow.clock_ns += 400_000 * n_voices
        return audio


def test_overload_ends_quiet_voices_until_blocks_are_in_time(shared, patch, monkeypatch):
    monkeypatch.setattr(time, "perf_counter_ns", lambda: Slow.clock_ns)
    processor = Processor(shared, RATE, BLOCK)
    processor.install(Slow(patch, RATE, BLOCK))
    device = Device(processor)
    device.blocks(5, *((0, (NOTE_ON, 40 + i, 30 if i else 120)) for i in range(16)))
    device.blocks(150)
    assert 1 <= shared.meters.voices <= 6
    assert shared.meters.shed_voices >= 10
    shed = shared.meters.shed_voices
    device.blocks(100)
    assert shared.meters.shed_voices - shed <= 2


class Broken(Engine):
    def process(self, events, n_samples):
        if events:
            raise RuntimeError("planted")
        return super().process(events, n_samples)


def test_an_error_in_a_block_gives_silence_and_is_told_and_another_engine_goes_on(shared, patch):
    processor = Processor(shared, RATE, BLOCK)
    processor.install(Broken(patch, RATE, BLOCK))
    device = Device(processor)
    assert not device.blocks(3, (0, (NOTE_ON, 60, 90))).any()
    assert processor.error == "RuntimeError: planted"
    assert shared.meters.faults == 1
    processor.install(Engine(patch, RATE, BLOCK))
    assert device.blocks(3, (0, (NOTE_ON, 60, 90))).any()


def busy(device, n_blocks):
    """Blocks of somebody who plays, pedals and turns knobs all the time."""
    for i in range(n_blocks):
        if i % 5:
            device.block()
            continue
        key = 36 + i * 7 % 60
        device.block(
            (i % BLOCK, (NOTE_ON if i % 2 else NOTE_OFF, key, 1 + i % 127)),
            (0, (CONTROL, (1, 7, 11, 64)[i // 5 % 4], i % 128)),
        )


def test_thirty_thousand_blocks_open_no_file_import_nothing_collect_nothing_and_do_not_grow(shared, patch):
    discipline = Discipline()
    processor = discipline.watching(Processor(shared, RATE, BLOCK))
    engine = Engine(patch, RATE, BLOCK)
    engine.warm()  # as the engine's process does before its first block
    processor.install(engine)
    device = Device(processor)
    gc.collect()
    gc.disable()  # as it does, too
    try:
        busy(device, 5000)
        shared.log.take()
        tracemalloc.start(1)
        busy(device, 3000)
        before = tracemalloc.get_traced_memory()[0]
        busy(device, 7000)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        busy(device, 15_000)
    finally:
        tracemalloc.stop()
        gc.enable()
    assert grown < 50_000
    assert not discipline.violations
    assert not processor.error


def test_that_test_can_fail(shared, patch, tmp_path):
    """A file, an import and a collection in the callback are seen."""

    class Sloppy(Engine):
        def process(self, events, n_samples):
            (tmp_path / "x").open("w").close()
            import wave  # noqa: F401

            gc.collect()
            return super().process(events, n_samples)

    discipline = Discipline()
    processor = discipline.watching(Processor(shared, RATE, BLOCK))
    processor.install(Sloppy(patch, RATE, BLOCK))
    Device(processor).block((0, (NOTE_ON, 60, 90)))
    assert {"open", "garbage collection"} <= set(discipline.violations)


def test_a_full_log_is_counted_and_stops_nothing(device, shared):
    for _ in range(live.MOST_EVENTS * 300):
        device.block(*((0, (CONTROL, 1, i)) for i in range(10)))
        if shared.meters.lost_events:
            break
    assert shared.meters.lost_events > 0
    assert device.blocks(3, (0, (NOTE_ON, 60, 90))).any()
