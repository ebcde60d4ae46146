"""Texture: held notes move at random as far and as fast as the spec says, each note in its own way."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from benchmarks.liveliness import measure as liveliness
from neuralsynth.errors import ModelError
from neuralsynth.instrument import Instrument
from neuralsynth.preset import shipped_folder
from neuralsynth.spec import InstrumentSpec, Sustain, Texture
from neuralsynth.spectrum import SpectrumGrid
from tests.models import tiny_instrument, tiny_spec

RATE, SECONDS, PITCH_HZ = 24_000, 12.0, 220.0
LIVELY = Texture(partials_db=[0.5, 1.0, 2.0], level_db=0.8, cents=2.0, seconds=0.06)


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    return Instrument.load(
        tiny_instrument(tmp_path_factory.mktemp("t") / "lively.onnx", sustaining=True, texture=LIVELY)
    )


@pytest.fixture(scope="module")
def still(lively):
    preset = msgspec.structs.replace(lively.preset, sound=msgspec.structs.replace(lively.preset.sound, texture=0.0))
    return Instrument(preset, lively.model, lively.path)


def held(instrument, seconds=SECONDS, messages=None, buffer_size=8192):
    messages = messages or [(bytes([0x90, 57, 100]), 0.0)]
    return instrument(messages, seconds, RATE, num_channels=1, buffer_size=buffer_size)[0].astype(np.float64)


def partial(audio, number):
    """Level in dB and phase in turns of one partial every 5 ms, past the attack: demodulated, averaged over 20 ms."""
    at = np.arange(len(audio)) / RATE
    window = np.hanning(int(0.02 * RATE))
    base = np.convolve(audio * np.exp(-2j * np.pi * number * PITCH_HZ * at), window / window.sum(), "valid")
    base = base[int(0.6 * RATE) :: int(0.005 * RATE)]
    return 20.0 * np.log10(np.abs(base)), np.unwrap(np.angle(base)) / (2.0 * np.pi)


@pytest.mark.parametrize(("number", "alone_db"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 2.0)])
def test_partials_move_as_far_as_the_spec_says(lively, number, alone_db):
    expected_db = np.hypot(alone_db, LIVELY.level_db)
    found_db = np.mean([np.std(partial(held(lively, messages=strike), number)[0]) for strike in strikes(4)])
    assert found_db == pytest.approx(expected_db, rel=0.25)


def strikes(count):
    """The same note, struck a little later each time, so that each is drawn anew."""
    return [[(bytes([0x90, 80, 1]), 0.0), (bytes([0x80, 80, 0]), 0.01), (bytes([0x90, 57, 100]), 0.01 * (i + 2))]
            for i in range(count)]  # fmt: skip


def test_partials_forget_where_they_were_in_the_time_the_spec_says(lively):
    level_db, _ = partial(held(lively, 30.0), 3)
    moves = level_db - level_db.mean()
    lag = round(LIVELY.seconds / 0.005)
    likeness = np.mean(moves[lag:] * moves[:-lag]) / np.mean(moves**2)
    assert np.exp(-1.0) - 0.15 < likeness < np.exp(-1.0) + 0.2  # the 20 ms window adds some


def test_the_pitch_moves_as_far_as_the_spec_says(lively, still):
    def cents(instrument):
        _, turns = partial(held(instrument, 30.0), 3)
        hertz = np.diff(turns) / 0.005
        return np.std(1200.0 * np.log2((3 * PITCH_HZ + hertz) / (3 * PITCH_HZ)))

    by_noise = cents(still)
    assert np.sqrt(cents(lively) ** 2 - by_noise**2) == pytest.approx(LIVELY.cents, rel=0.2)


def test_a_note_with_the_texture_off_stands_still(still):
    level_db, _ = partial(held(still, 3.0), 3)
    assert np.std(level_db) < 0.2  # what the breath noise does


def test_no_two_notes_are_alike_and_every_render_is(lively):
    twice = [(bytes([0x90, 57, 100]), 0.0), (bytes([0x80, 57, 0]), 1.0), (bytes([0x90, 57, 100]), 2.0)]
    audio = held(lively, 4.0, twice)
    first, second = audio[: 2 * RATE], audio[2 * RATE :]
    assert np.std(partial(first[:RATE], 3)[0] - partial(second[:RATE], 3)[0]) > 0.5
    np.testing.assert_array_equal(audio, held(lively, 4.0, twice))


@pytest.mark.parametrize("buffer_size", [1, 65, 512])
def test_texture_does_not_depend_on_the_block_size(lively, buffer_size):
    messages = [(bytes([0x90, 57, 100]), 0.0), (bytes([0xE0, 0, 80]), 0.111), (bytes([0xB0, 7, 60]), 0.2)]
    np.testing.assert_array_equal(held(lively, 0.4, messages), held(lively, 0.4, messages, buffer_size))


def test_many_controllers_do_not_hurry_the_texture(lively):
    wheel = [(bytes([0xB0, 11, 126 + i % 2]), 0.5 + 0.001 * i) for i in range(8000)]
    calm, busy = (partial(held(lively, 8.5, [(bytes([0x90, 57, 100]), 0.0), *extra]), 3)[0] for extra in ([], wheel))

    def quickness(level_db):
        return np.std(np.diff(level_db)) / np.std(level_db)

    assert quickness(busy) == pytest.approx(quickness(calm), rel=0.3)


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"cents": -1.0}, {"level_db": 1e9}, {"partials_db": []}])
def test_a_texture_out_of_range_is_refused(wrong):
    spec = msgspec.structs.replace(tiny_spec(sustaining=True), texture=msgspec.structs.replace(LIVELY, **wrong))
    with pytest.raises(ModelError, match="texture"):
        InstrumentSpec.from_json(spec.to_json(), "tiny.onnx")


def test_training_measures_the_texture_of_its_recordings():
    from neuralsynth.training.texture import measure_texture

    table = wandering(np.array([0.4, 1.0, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5]))
    texture = measure_texture(table, Sustain(0.5, 5.0))
    assert texture.partials_db[0] == pytest.approx(0.4, abs=0.25)
    assert max(texture.partials_db) == pytest.approx(
        1.0, abs=0.3
    )  # the median over neighbours spares the one that is out
    assert texture.cents == pytest.approx(1.5, rel=0.3)
    assert 0.03 < texture.seconds < 0.08
    assert measure_texture(table, None) is None


def test_recordings_that_stand_still_get_a_movement_that_nobody_hears():
    from neuralsynth.training.texture import measure_texture

    texture = measure_texture(wandering(np.full(8, 0.01)), Sustain(0.5, 5.0))
    assert texture.partials_db == [0.12] * 8


def test_a_held_note_of_the_stillest_instrument_does_not_repeat_itself():
    """The bar is 0.5; the organ's recordings stand still, and its sustain region is gone through again and again."""
    peak, moves_db = liveliness(Instrument.load(shipped_folder() / "transistor-organ.onnx"), 1.0)
    assert peak < 0.5
    assert moves_db < 0.1  # from 10 ms to 10 ms: still an organ


def wandering(deviations_db):
    """A table of held notes whose partials wander by these deviations, and their pitch by 1.5 cents."""
    from neuralsynth.training.dataset import NoteTable

    rng, grid = np.random.default_rng(5), SpectrumGrid.warped(400, 6.0, 8, 4)
    step = np.diff(grid.frame_seconds, prepend=-1.0)
    n_notes = 12

    def wander(count):
        keep, out = np.exp(-step / 0.05), np.zeros((count, len(step)))
        for i in range(1, len(step)):
            out[:, i] = keep[i] * out[:, i - 1] + np.sqrt(1.0 - keep[i] ** 2) * rng.standard_normal(count)
        return out

    levels = -20.0 - 4.0 * np.arange(8)[:, None] - 3.0 * grid.frame_seconds[None]
    partials = np.stack([levels + deviations_db[:, None] * wander(8) for _ in range(n_notes)])
    return NoteTable(
        grid, partials.astype(np.float32), np.full((n_notes, 4, 400), -80.0, np.float32),
        1.5 * np.concatenate([wander(1) for _ in range(n_notes)]).astype(np.float32), np.zeros(n_notes),
        np.full(n_notes, 400), np.full(n_notes, 60.0, np.float32), np.ones(n_notes, np.float32),
        np.zeros(n_notes, int), ("one",), True, tuple("x" * n_notes),
    )  # fmt: skip
