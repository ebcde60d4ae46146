"""The second opinion says what its units say, and hears damage; without librosa a score simply lacks it."""

from __future__ import annotations

import json
import math
import re
import sys

import numpy as np
import pytest
import soundfile

from neuralsynth.cli import main
from neuralsynth.hosts.report_second import second_opinion_section
from neuralsynth.scoring import RIVALS, score
from neuralsynth.scoring.second_opinion import second_opinion
from tests.signals import synthetic_note
from tests.test_scoring import record

RATE = 44_100
STRING = 0.2 / np.arange(1, 13)


def tone(pitch_hz=440.0, amplitudes=STRING, **changes):
    return synthetic_note(pitch_hz, np.asarray(amplitudes), sample_rate=RATE, **changes)


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
def test_equal_sounds_are_nowhere_apart_whatever_their_level_and_delay(rate):
    note = synthetic_note(220.0, STRING[:6], sample_rate=rate)
    late = 0.25 * np.concatenate([np.zeros(rate // 5), note])
    same, moved = second_opinion(note, note, rate), second_opinion(note, late, rate)
    assert (same.constant_q_db, same.centroid_semitones, same.envelope_db) == (0.0, 0.0, 0.0)
    assert moved.constant_q_db < 0.5 and moved.centroid_semitones < 0.05 and moved.envelope_db < 0.1


@pytest.mark.parametrize("semitones", [-5, -1, 1, 2, 12])
def test_a_tone_moved_by_semitones_has_its_centroid_moved_by_as_many(semitones):
    moved = second_opinion(tone(1000.0, [0.3]), tone(1000.0 * 2 ** (semitones / 12), [0.3]), RATE)
    assert moved.centroid_semitones == pytest.approx(abs(semitones), abs=0.05 * abs(semitones))
    assert moved.envelope_db < 0.1  # as loud as before


def test_a_known_fade_has_its_size_in_decibels():
    note = synthetic_note(440.0, STRING, 2.0, RATE, lead_seconds=0.0)
    fade = np.where(np.arange(len(note)) < len(note) // 2, 1.0, 0.5)
    # Matched in RMS, the halves lie 10 log10(1 / 0.625) = 2.04 dB above and 6.02 - 2.04 = 3.98 dB below: 3.01 on average.
    assert second_opinion(note, note * fade, RATE).envelope_db == pytest.approx(3.01, abs=0.1)


def test_a_duller_spectrum_is_heard_by_spectrum_and_centroid_but_not_by_the_envelope():
    note, dull = tone(), tone(amplitudes=STRING * 0.7 ** np.arange(12))
    duller, dullest = (second_opinion(note, other, RATE) for other in (dull, tone(amplitudes=[0.2, 0.02])))
    assert 0.3 < duller.constant_q_db < dullest.constant_q_db
    assert 1.0 < duller.centroid_semitones < dullest.centroid_semitones
    assert duller.envelope_db < 0.2


def test_planted_damage_is_heard_and_more_of_it_more():
    note, hiss = tone(), np.random.default_rng(3).standard_normal(len(tone()))
    errors = [second_opinion(note, note + gain * hiss, RATE) for gain in (0.0, 0.003, 0.03)]
    assert errors[0].constant_q_db < 1e-9
    assert 1.0 < errors[1].constant_q_db < errors[2].constant_q_db
    assert errors[1].centroid_semitones < errors[2].centroid_semitones
    gap = note.copy()
    gap[RATE // 2 : RATE] = 0.0
    assert second_opinion(note, gap, RATE).envelope_db > 10.0
    assert second_opinion(note, np.zeros(len(note)), RATE).envelope_db > 30.0


def test_what_is_hardly_heard_hardly_counts():
    note, lead = tone(), round(0.02 * RATE)

    def disturbed(pitch_hz):
        sine = 0.02 * np.sin(2 * np.pi * pitch_hz * (np.arange(len(note)) - lead) / RATE)
        return second_opinion(note, note + np.where(note != 0.0, sine, 0.0), RATE).constant_q_db

    assert disturbed(35.0) < 0.5 * disturbed(3700.0)  # A-weighting: 42 dB apart


def test_silence_is_not_judged():
    opinion = second_opinion(np.zeros(RATE), tone(), RATE)
    assert math.isnan(opinion.constant_q_db) and math.isnan(opinion.envelope_db)


def test_every_rival_gets_an_opinion_and_the_model_beats_a_resampled_neighbour_on_its_own_notes(decaying, tmp_path):
    record(decaying, tmp_path, [48, 60])
    result = score(decaying, tmp_path)
    means = result.second_opinions()
    assert tuple(means) == RIVALS
    assert means["play"].constant_q_db < means["sampler"].constant_q_db
    assert means["play"].centroid_semitones < 1.0 and means["play"].envelope_db < 1.0
    told = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert told["second_opinion"]["play"]["envelope_db"] == pytest.approx(means["play"].envelope_db, abs=1e-3)
    assert set(told["recordings"][0]["second_opinion"]) == set(RIVALS)


def test_a_note_without_neighbour_has_no_opinion_on_the_sampler_only(decaying, tmp_path):
    record(decaying, tmp_path, [60])
    (row,) = score(decaying, tmp_path).to_json()["recordings"]
    assert row["second_opinion"]["sampler"]["constant_q_db"] is None
    assert row["second_opinion"]["play"]["constant_q_db"] < 5.0


def test_the_page_shows_one_row_for_each_rival(decaying, tmp_path):
    record(decaying, tmp_path, [48, 60])
    means = score(decaying, tmp_path).second_opinions()
    rows = dict(re.findall(r'<tr data-second="(\w+)">(.*?)</tr>', second_opinion_section(means)))
    assert tuple(rows) == RIVALS
    assert f"{means['play'].centroid_semitones:.2f} semitones" in rows["play"]


def test_without_librosa_the_score_says_how_to_get_a_second_opinion(tmp_path, monkeypatch, capsys):
    t = np.arange(RATE) / RATE
    for note, hz in ((57, 220.0), (69, 440.0)):
        soundfile.write(tmp_path / f"sine_m{note}_v90.wav", 0.3 * np.sin(2 * np.pi * hz * t) * np.exp(-3 * t), RATE)
    monkeypatch.delitem(sys.modules, "neuralsynth.scoring.second_opinion", raising=False)
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert main(["score", "xylophone", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "second opinion" not in told.out and "play / sampler" in told.out
    assert "pip install 'neuralsynth[train]'" in told.err
    assert main(["score", "xylophone", str(tmp_path), "--json"]) == 0
    assert "second_opinion" not in json.loads(capsys.readouterr().out)
    assert second_opinion_section({}) == ""
