"""Offline render: songs to files, with tempo, tails, channels, formats, and nothing half-written."""

from __future__ import annotations

import mido
import numpy as np
import pytest
import soundfile

from neuralsynth import Engine, render
from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import play_events
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.events import sample_at
from neuralsynth.hosts.midi_file import read_midi_file, tempo_message, write_midi_file
from neuralsynth.hosts.render import render_file, render_stems
from neuralsynth.units import gain_to_db
from tests.test_engine import strongest_hz, with_effects

RATE = 48_000


def note(start, length, key, channel=0, velocity=100):
    return [(start, bytes([0x90 | channel, key, velocity])), (start + length, bytes([0x80 | channel, key, 0]))]


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.mid"
    tempo = [(0, tempo_message(120)), (480, tempo_message(60))]
    write_midi_file(path, [tempo, note(0, 400, 60) + note(480, 400, 64), note(960, 480, 67, channel=2)])
    return path


def level_db_at(audio, seconds):
    """Level of the 20 ms from `seconds` on."""
    piece = audio[:, int(seconds * RATE) : int((seconds + 0.02) * RATE)]
    return float(gain_to_db(np.sqrt(np.mean(piece**2))))


def test_notes_start_when_the_tempo_map_says(song, decaying):
    audio = render(song, decaying)
    # 120 beats per minute for one beat, then 60: the notes start at 0, 0.5 and 1.5 seconds
    for start in (0.5, 1.5):
        assert level_db_at(audio, start) > level_db_at(audio, start - 0.03) + 10


def test_render_is_what_the_engine_plays_from_the_same_file(song, sustaining):
    rendered = render(song, sustaining)
    engine = Engine(sustaining, RATE, 8192)
    events = list(read_midi_file(song).events(RATE))
    for block in (64, 65, 8193):
        engine.reset()
        live = np.concatenate(list(play_events(engine, events, rendered.shape[1], block)), axis=1)
        assert np.array_equal(live, rendered)


def test_the_tail_is_whole_and_then_it_ends(song, sustaining):
    audio = render(song, sustaining)
    assert gain_to_db(np.abs(audio[:, -1000:]).max()) < -90
    assert audio.shape[1] / RATE < read_midi_file(song).duration_seconds + 1.0


@pytest.mark.parametrize(
    ("name", "depth", "subtype", "step"),
    [("a.wav", "16", "PCM_16", 2**-15), ("a.wav", "24", "PCM_24", 2**-23), ("a.wav", "32f", "FLOAT", 0.0),
     ("a.flac", "16", "PCM_16", 2**-15), ("a.flac", "24", "PCM_24", 2**-23)],
)  # fmt: skip
def test_the_file_holds_the_samples_in_the_depth_asked_for(song, sustaining, tmp_path, name, depth, subtype, step):
    report = render_file(song, tmp_path / name, sustaining, 44_100, depth=depth)
    audio, rate = soundfile.read(tmp_path / name, dtype="float32")
    assert rate == 44_100
    assert soundfile.info(tmp_path / name).subtype == subtype
    assert np.abs(audio.T - render(song, sustaining, 44_100)).max() <= step
    assert abs(report.peak_db - float(gain_to_db(np.abs(audio).max()))) < 0.02
    assert abs(report.seconds - len(audio) / rate) < 0.001


def test_channels_get_their_own_preset(song, sustaining, decaying):
    mixed = render(song, sustaining, channels={3: decaying})
    assert not np.array_equal(mixed, render(song, sustaining))
    assert np.array_equal(mixed[:, :RATE], render(song, sustaining)[:, :RATE])
    late = mixed[0][int(1.6 * RATE) : int(2.0 * RATE)]
    assert abs(strongest_hz(late) - 391.995) < 0.5


def test_stems_add_up_to_the_mix(song, sustaining, tmp_path):
    paths = render_stems(song, tmp_path / "stems", sustaining, depth="32f")
    assert [p.name for p in paths] == ["channel-01.wav", "channel-03.wav"]
    stems = [soundfile.read(p, dtype="float32")[0].T for p in paths]
    mix = render(song, sustaining)
    total = np.zeros((2, max(s.shape[1] for s in [*stems, mix])))
    for stem in stems:
        total[:, : stem.shape[1]] += stem
    # The shared noise stream is drawn per voice pool, so the noise (60 dB down) differs between mix and stems.
    assert np.abs(total[:, : mix.shape[1]] - mix).max() < 0.01 * np.abs(mix).max()


def test_an_existing_file_is_kept_unless_told(song, sustaining, tmp_path):
    out = tmp_path / "out.wav"
    out.write_bytes(b"precious")
    with pytest.raises(UsageError, match="force"):
        render_file(song, out, sustaining)
    assert out.read_bytes() == b"precious"
    render_file(song, out, sustaining, overwrite=True)
    assert soundfile.info(out).frames > RATE


@pytest.mark.parametrize("name", ["out.mp3", "out", "out.mid"])
def test_an_unknown_ending_is_told_before_any_work(song, sustaining, tmp_path, name):
    with pytest.raises(UsageError, match="ending"):
        render_file(song, tmp_path / name, sustaining)


def test_a_missing_folder_and_the_input_as_output_are_told(song, sustaining, tmp_path):
    with pytest.raises(OutputError, match="folder"):
        render_file(song, tmp_path / "no" / "out.wav", sustaining)
    with pytest.raises(UsageError, match="input"):
        render_file(song, song, sustaining, overwrite=True)


def test_a_render_that_fails_leaves_nothing_behind(song, sustaining, tmp_path, monkeypatch):
    calls = []

    def failing_process(engine, events, n):
        calls.append(n)
        if len(calls) > 3:
            raise MemoryError
        return np.zeros((2, n), np.float32)

    monkeypatch.setattr(Engine, "process", failing_process)
    with pytest.raises(MemoryError):
        render_file(song, tmp_path / "out.wav", sustaining)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["song.mid"]


@pytest.mark.parametrize("sample", [0.5, 31.5, 62.5, 1e6 + 0.5])
def test_a_time_between_two_samples_goes_to_the_later_one_however_it_was_rounded(sample):
    seconds = sample / RATE
    times = np.array([seconds - 1e-12, seconds, seconds + 1e-12])
    assert sample_at(times, RATE).tolist() == [int(sample + 0.5)] * 3


def test_what_effects_delay_is_moved_back_to_its_place(song, sustaining, tmp_path):
    slow = with_effects(sustaining, tmp_path, EffectSettings("pitch_shift", {"semitones": 0.0}))
    engine = Engine(slow, RATE, 4096)
    late = np.concatenate(list(play_events(engine, read_midi_file(song).events(RATE), 2 * RATE, 4096)), axis=1)
    rendered, n = render(song, slow), engine.latency_samples
    assert n > 100
    assert np.array_equal(rendered[:, : 2 * RATE - n], late[:, n:])


def test_mido_messages_of_a_file_give_the_same_samples_as_its_render(tmp_path, sustaining):
    path, ticks = tmp_path / "odd.mid", [7 * i + i * i % 5 for i in range(60)]
    events = [e for i, t in enumerate(ticks) for e in note(t, 5, 40 + i % 40)]
    write_midi_file(path, [[(0, tempo_message(117.3)), *events]], ticks_per_quarter=384)
    now, messages = 0.0, []
    for message in mido.MidiFile(path):
        now += message.time
        if not message.is_meta:
            messages.append(message.copy(time=now))
    rendered = render(path, sustaining)
    assert np.array_equal(sustaining(messages, rendered.shape[1] / RATE), rendered)
