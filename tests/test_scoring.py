"""Scoring: the numbers say what they claim, on recordings made from the instrument itself."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import soundfile

from neuralsynth import scoring
from neuralsynth.analysis import NoteAnalysis
from neuralsynth.analysis.folder import read_folder
from neuralsynth.errors import RecordingError
from neuralsynth.instrument import Instrument
from neuralsynth.latent_search import LatentSearch
from neuralsynth.note_bank import NoteBank
from neuralsynth.scoring import score
from neuralsynth.spec import Provenance
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.units import note_to_hz

RATE = 44_100


def record(instrument, folder, keys, velocity=100, seconds=1.2, latent=None):
    """Recordings of an instrument: files named by note and velocity."""
    for key in keys:
        audio = instrument([(bytes([0x90, key, velocity]), 0.02)], seconds, RATE, num_channels=1)
        soundfile.write(folder / f"tiny_m{key:03d}_v{velocity}.wav", audio[0] * 2.0, RATE, subtype="PCM_24")


def knowing(instrument, digests):
    """The instrument, its spec saying that it was trained on these recordings."""
    known = Instrument(instrument.preset, instrument.model, instrument.path)
    provenance = Provenance("0" * 64, digests, 0, 1, 0.1, {})
    spec = msgspec.structs.replace(instrument.model.spec, provenance=provenance)
    known.model = SimpleNamespace(
        spec=spec, decode=instrument.model.decode, path=instrument.path, latent_reach=instrument.model.latent_reach
    )
    return known


def test_an_instrument_plays_its_own_recordings_close_to_the_floor(decaying, tmp_path):
    record(decaying, tmp_path, [48, 55, 60, 67])
    result = score(decaying, tmp_path)
    mean = result.quality()
    assert len(result.recordings) == 4
    assert not result.held_out or decaying.model.spec.provenance is None
    assert mean.floor_db < 2.5  # what is left is the randomness of noise
    assert mean.play_db < 2.5
    assert mean.reconstruct_db < mean.play_db + 0.5
    assert all(np.isfinite(r.sampler_db) for r in result.recordings)


def test_an_instrument_of_another_timbre_scores_worse(decaying, tmp_path):
    t = np.arange(RATE) / RATE
    for key in (48, 55, 60):
        hz = float(note_to_hz(key))
        square = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 40, 2) if hz * k < 20_000)
        soundfile.write(tmp_path / f"square_m{key:03d}_v100.wav", 0.3 * square * np.minimum(1, t / 0.01), RATE)
    mean = score(decaying, tmp_path).quality()
    assert mean.play_db > mean.floor_db + 3.0
    assert mean.sampler_db < mean.play_db


def test_the_latent_of_a_decoded_note_is_found_again(decaying):
    model, velocity = decaying.model, 89
    truth = np.array([1.3, 0.0], np.float32)
    spectrum = model.decode(truth[None], np.array([60.0]), np.array([velocity / 127.0])).note(0, model.spec.grid())
    analysis = NoteAnalysis(spectrum, float(note_to_hz(60)), 0.0, model.spec.grid().n_frames, 0.0, sustains=False)
    found = LatentSearch(model, analysis, 60, RATE).best(velocity)
    assert abs(found.latent[0] - truth[0]) < 0.1


def test_interpolation_at_the_ends_is_the_recording_and_between_is_the_mean_in_db():
    grid = SpectrumGrid.warped(4, 0.1, 2, 3)

    def flat(note, gain):
        spectrum = NoteSpectrum(grid, np.full((4, 2), gain), np.array([1.0, 2.0]), np.zeros(4), np.full((4, 3), gain))
        return SimpleNamespace(note=note, analysis=SimpleNamespace(spectrum=spectrum))

    low, high = flat(60, 0.1), flat(64, 0.001)
    assert np.allclose(scoring.interpolated_spectrum(low, high, 60).partials, 0.1)
    assert np.allclose(scoring.interpolated_spectrum(low, high, 62).noise, 0.01)
    assert np.allclose(scoring.interpolated_spectrum(low, high, 64).partials, 0.001)


def test_only_recordings_the_model_never_saw_are_scored_and_the_others_are_neighbours(decaying, tmp_path):
    record(decaying, tmp_path, [48, 52, 56, 60])
    seen = [r.digest for r in read_folder(tmp_path).used if r.note != 52]
    result = score(knowing(decaying, seen), tmp_path)
    assert result.held_out
    assert [r.note for r in result.recordings] == [52]
    assert np.isfinite(result.recordings[0].interpolated_db)


def test_what_a_recording_holds_after_a_sustained_note_was_let_go_counts_for_nothing(sustaining, tmp_path):
    means = []
    for name, rest in (("short", 0.0), ("long", 1.0)):
        (tmp_path / name).mkdir()
        for key in (48, 55, 60):
            note = [(bytes([0x90, key, 100]), 0.02), (bytes([0x80, key, 0]), 2.0)]
            audio = 2.0 * sustaining(note, 2.3 + rest, RATE, num_channels=1)[0]
            soundfile.write(tmp_path / name / f"tiny_m{key:03d}_v100.wav", audio, RATE, subtype="PCM_24")
        means.append(score(sustaining, tmp_path / name).quality())
    short, long = means
    assert long.floor_db < 2.5 and long.play_db < 2.5
    assert abs(long.sampler_db - short.sampler_db) < 0.2 and abs(long.play_db - short.play_db) < 0.2


def test_a_folder_without_recordings_is_told(decaying, tmp_path):
    with pytest.raises(RecordingError):
        score(decaying, tmp_path)


def test_each_instrument_of_a_folder_is_played_at_its_own_point_and_sampled_from_its_own_notes(decaying, tmp_path):
    spec = decaying.model.spec
    bright = Instrument(decaying.preset, decaying.model, decaying.path)
    bright.latent = np.array(spec.points["bright"], np.float32)
    bright.bank = NoteBank(bright.model, bright.latent)
    for name, instrument in (("tiny", decaying), ("bright", bright)):
        (tmp_path / name).mkdir()
        record(instrument, tmp_path / name, [48, 55, 60])
    result = score(decaying, tmp_path)
    assert len(result.recordings) == 6
    assert all(row.play_db < 2.5 for row in result.recordings)
    assert all(row.interpolated_db < row.sampler_db + 1.0 for row in result.recordings)


def test_a_model_of_one_layer_is_judged_on_the_others_against_the_same_pitch_of_its_own(decaying, tmp_path):
    record(decaying, tmp_path, [48, 55, 60], velocity=110)
    record(decaying, tmp_path, [48, 55, 60, 72], velocity=40)
    seen = [r.digest for r in read_folder(tmp_path).used if r.velocity == 110]
    result = score(knowing(decaying, seen), tmp_path)
    assert {(r.note, r.velocity) for r in result.recordings} == {(48, 40), (55, 40), (60, 40)}
    # The loud recording of the same key is brighter, but nothing has to be resampled: sampler and mix are one note.
    assert all(abs(r.sampler_db - r.interpolated_db) < 1.5 for r in result.recordings)


def test_only_pitches_between_those_it_knows_are_judged_and_the_others_are_named(decaying, tmp_path):
    record(decaying, tmp_path, [46, 48, 52, 60, 64])
    seen = [r.digest for r in read_folder(tmp_path).used if r.note in {48, 60}]
    result = score(knowing(decaying, seen), tmp_path)
    assert [r.note for r in result.recordings] == [52]
    assert [words.split(":")[0] for words in result.skipped] == ["tiny_m046_v100.wav", "tiny_m064_v100.wav"]


def test_a_sampler_that_has_the_very_same_sound_in_another_layer_is_told_and_divides_nothing(decaying, tmp_path):
    t = np.arange(RATE) / RATE
    for velocity in (40, 100):
        tone = 0.005 * velocity * np.sin(2 * np.pi * 261.63 * t) * np.exp(-3 * t)
        soundfile.write(tmp_path / f"copy_m060_v{velocity}.wav", tone, RATE, subtype="FLOAT")
    seen = [r.digest for r in read_folder(tmp_path).used if r.velocity == 100]
    result = score(knowing(decaying, seen), tmp_path)
    assert result.quality().sampler_db < 1e-3
    assert result.to_json()["play_over_sampler"] is None or result.play_over_sampler > 1000.0
