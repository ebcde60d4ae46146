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
from neuralsynth.hosts.cast import Cast
from neuralsynth.hosts.midi_file import read_midi_file, tempo_message, write_midi_file
from neuralsynth.hosts.render import render_file, render_stems
from neuralsynth.instrument import Instrument
from neuralsynth.units import gain_to_db
from tests.effort import at_most
from tests.models import tiny_instrument
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
    rendered = render(song, sustaining, gain_db=0.0)
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


def test_a_last_note_that_ends_between_two_samples_is_let_go(sustaining, tmp_path):
    # Tick 200 is sample 800.49995 at 8 kHz: whoever rounds that to 800 and the event to 801 never hears the release.
    tempo = b"\xff\x51\x03" + (16_009_999).to_bytes(3, "big")
    write_midi_file(tmp_path / "odd.mid", [[(0, tempo), *note(0, 200, 60)]], ticks_per_quarter=32_000)
    assert render(tmp_path / "odd.mid", sustaining, 8_000).shape[1] < 5 * 8_000


def test_what_effects_delay_is_moved_back_to_its_place(song, sustaining, tmp_path):
    slow = with_effects(sustaining, tmp_path, EffectSettings("pitch_shift", {"semitones": 0.0}))
    engine = Engine(slow, RATE, 4096)
    late = np.concatenate(list(play_events(engine, read_midi_file(song).events(RATE), 2 * RATE, 4096)), axis=1)
    rendered, n = render(song, slow, gain_db=0.0), engine.latency_samples
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


# Banks

TWO = """
format_version = 1
name = "Two"
[channels]
default = "held.onnx"
3 = "struck.onnx"
10 = "kit.toml"
[[programs]]
program = "1-10"
preset = "held.onnx"
[[programs]]
program = "11-20"
preset = "struck.onnx"
[[programs]]
program = 1
bank_msb = 5
bank_lsb = 6
preset = "bright.toml"
"""
KIT = """
format_version = 1
name = "Kit"
[[layers]]
preset = "struck.onnx"
key_high = 59
fixed_key = 40
one_shot = true
[[layers]]
preset = "held.onnx"
key_low = 60
transpose_semitones = 12
gain_db = -6.0
"""
GM_ON, GS_ON = b"\xf0\x7e\x7f\x09\x01\xf7", b"\xf0\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7"
XG_ON = b"\xf0\x43\x10\x4c\x00\x00\x7e\x00\xf7"


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    """A folder with instruments and the performance `two.toml`."""
    folder = tmp_path_factory.mktemp("band")
    tiny_instrument(folder / "held.onnx", sustaining=True)
    tiny_instrument(folder / "struck.onnx")
    bright = 'format_version = 1\nname = "Bright"\nmodel = "held.onnx"\n[sound]\npoint = "bright"\n'
    (folder / "bright.toml").write_text(bright)
    (folder / "kit.toml").write_text(KIT)
    (folder / "two.toml").write_text(TWO)
    return folder


def written(tmp_path, *tracks):
    write_midi_file(tmp_path / "band.mid", tracks)
    return tmp_path / "band.mid"


def test_program_changes_and_bank_selects_bring_the_presets_of_the_bank(band, tmp_path):
    changes = [(0, b"\xc0\x0c"), (480, b"\xb0\x00\x05"), (480, b"\xb0\x20\x06"), (480, b"\xc0\x00"), (960, b"\xc0\x7f")]
    song = written(tmp_path, changes + note(0, 400, 60) + note(480, 400, 64) + note(960, 400, 67))
    audio = render(song, programs=band / "two.toml")
    struck, bright = render(song, band / "struck.onnx"), render(song, band / "bright.toml")
    first, rest = slice(0, RATE // 2), slice(round(0.52 * RATE), RATE)
    assert np.array_equal(audio[:, first], struck[:, first])
    # What rings on of the first note is 20 dB down; the rest is the bright preset, which program 128 leaves alone.
    for bar in (rest, slice(round(1.02 * RATE), round(1.4 * RATE))):
        assert np.abs(audio[:, bar] - bright[:, bar]).max() < 0.1 * np.abs(bright[:, bar]).max()
        assert np.abs(audio[:, bar] - struck[:, bar]).max() > 0.1 * np.abs(bright[:, bar]).max()


def test_channels_start_as_the_bank_says(band, tmp_path):
    song = written(tmp_path, note(0, 480, 60, channel=0), note(480, 480, 60, channel=2))
    audio = render(song, programs=band / "two.toml")
    expected = render(song, band / "held.onnx", channels={3: band / "struck.onnx"})
    assert np.array_equal(audio, expected)


def test_a_reset_inside_the_song_brings_back_what_channels_start_with(band, tmp_path):
    song = written(tmp_path, [(0, b"\xc0\x0c"), (480, GM_ON), *note(0, 240, 60), *note(960, 240, 60)])
    audio, held = render(song, programs=band / "two.toml"), render(song, band / "held.onnx")
    assert np.abs(audio[:, RATE:] - held[:, RATE:]).max() < 1e-3 * np.abs(held).max()


def test_a_channel_with_a_preset_of_its_own_ignores_program_changes_for_good(band, tmp_path):
    changes = [(0, b"\xc0\x0c"), (240, b"\xc0\x00"), (480, GM_ON), (720, b"\xc0\x0c")]
    song = written(tmp_path, changes + note(0, 200, 60) + note(480, 200, 64) + note(960, 200, 67))
    plain = written(tmp_path, [(480, GM_ON), *note(0, 200, 60), *note(480, 200, 64), *note(960, 200, 67)])
    expected = render(plain, band / "held.onnx")
    written(tmp_path, changes + note(0, 200, 60) + note(480, 200, 64) + note(960, 200, 67))
    assert np.array_equal(render(song, channels={1: band / "held.onnx"}, programs=band / "two.toml"), expected)


def test_only_what_is_heard_is_loaded_and_its_keys_are_decoded_ahead(band, tmp_path, monkeypatch):
    changes = [
        (0, b"\xc0\x0c"),
        (0, b"\xc5\x00"),
        (470, b"\xc0\x00"),
        (475, b"\xb0\x00\x05"),
        (475, b"\xb0\x20\x06"),
        (480, b"\xc0\x00"),
    ]
    song = read_midi_file(written(tmp_path, changes + note(0, 400, 60) + note(480, 400, 64)))
    engine = Cast(song, programs=band / "two.toml").engine(RATE)
    assert sorted(part.patch.path.name for part in engine.parts) == ["bright.toml", "struck.onnx"]
    rows = {part.patch.path.name: len(part.patch.bank) for part in engine.parts}
    events = list(song.events(RATE))
    for _ in play_events(engine, events, RATE):
        pass
    assert {part.patch.path.name: len(part.patch.bank) for part in engine.parts} == rows
    assert set(rows.values()) == {6}  # one key each, in six layers


def test_stems_of_a_bank_add_up_to_the_mix(band, tmp_path):
    changes = [(0, b"\xc1\x0c"), (0, b"\xc0\x00"), (300, b"\xb3\x00\x05"), (300, b"\xb3\x20\x06"), (300, b"\xc3\x00")]
    song = written(
        tmp_path, changes + note(0, 480, 60) + note(0, 480, 64, channel=1) + note(480, 480, 67, channel=3, velocity=60)
    )
    paths = render_stems(song, tmp_path / "stems", programs=band / "two.toml", depth="32f")
    assert [path.name for path in paths] == ["channel-01.wav", "channel-02.wav", "channel-04.wav"]
    mix = render(song, programs=band / "two.toml")
    total = np.zeros_like(mix)
    for path in paths:
        stem = soundfile.read(path, dtype="float32")[0].T
        assert np.abs(stem).max() > 0.01
        total[:, : stem.shape[1]] += stem[:, : mix.shape[1]]
    assert np.abs(mix).max() < 0.9  # below the guard's limit
    assert np.abs(total - mix).max() < 1e-6


def test_a_layered_preset_plays_channel_10_as_a_kit(band, tmp_path):
    song = written(tmp_path, note(0, 240, 50, channel=9), note(480, 480, 60, channel=9))
    audio = render(song, programs=band / "two.toml")
    assert strongest_hz(audio[0][: RATE // 4]) == pytest.approx(82.41, abs=2.0)  # key 50 sounds as key 40
    assert strongest_hz(audio[0][round(0.6 * RATE) : RATE]) == pytest.approx(523.25, abs=2.0)  # an octave up
    assert np.array_equal(audio, render(song, band / "kit.toml"))


def test_an_mpe_zone_plays_the_preset_of_its_master(band, tmp_path):
    zone = [(0, b"\xb0\x65\x00"), (0, b"\xb0\x64\x06"), (0, b"\xb0\x06\x05"), (1, b"\xc0\x0c")]
    bend = [(10, b"\xe1\x00\x60")]  # half of 48 semitones up
    song = written(tmp_path, zone + bend + note(2, 480, 45, channel=1) + note(960, 480, 57, channel=2))
    audio = render(song, programs=band / "two.toml")
    assert level_db_at(audio, 0.4) < level_db_at(audio, 0.05) - 6  # it decays: the struck instrument
    assert strongest_hz(audio[0][RATE // 10 : RATE // 2]) == pytest.approx(440.0, abs=3.0)
    assert strongest_hz(audio[0][round(1.1 * RATE) : round(1.5 * RATE)]) == pytest.approx(220.0, abs=3.0)
    paths = render_stems(song, tmp_path / "stems", programs=band / "two.toml", depth="32f")
    assert [path.name for path in paths] == ["channel-01.wav"]
    assert np.array_equal(soundfile.read(paths[0], dtype="float32")[0].T, audio)


@pytest.mark.parametrize("resets", [[GM_ON], [GS_ON], [XG_ON], [GM_ON, GS_ON, XG_ON]])
def test_a_reset_at_the_beginning_changes_nothing(sustaining, tmp_path, resets):
    wet = with_effects(sustaining, tmp_path, EffectSettings("reverb", {"wet_level": 0.3}))
    music = [(0, b"\xb0\x07\x50"), *note(0, 200, 60), *note(480, 480, 64)]
    plain = render(written(tmp_path, [(0, tempo_message(90))], music), wet)
    reset = render(written(tmp_path, [(0, tempo_message(90)), *((0, message) for message in resets)], music), wet)
    assert np.array_equal(plain, reset)


def test_a_reset_inside_the_song_is_obeyed(sustaining, tmp_path):
    quiet = [(0, b"\xb0\x07\x10"), *note(0, 200, 60), *note(960, 200, 60)]
    audio, reset = (
        render(written(tmp_path, quiet), sustaining),
        render(written(tmp_path, [(480, GM_ON), *quiet]), sustaining),
    )
    assert np.abs(reset[:, RATE:]).max() > 10 * np.abs(audio[:, RATE:]).max()


def test_echoes_that_follow_the_song_follow_its_tempo(sustaining, tmp_path):
    folder = sustaining.path.parent
    (folder / "echo.toml").write_text(
        f'format_version = 1\nname = "Echo"\nmodel = "{sustaining.path.name}"\n[envelope]\nrelease_seconds = 0.01\n'
        '[[effects]]\ntype = "delay"\nsync = "1/4"\nmix = 0.5\nfeedback = 0.0\n'
    )
    for tempo in (60, 150):
        song = written(tmp_path, [(0, tempo_message(tempo))], note(0, 60, 60))
        audio, beat = render(song, folder / "echo.toml"), 60 / tempo
        loud = [level_db_at(audio, seconds) for seconds in (0.25 * beat, 0.75 * beat, beat + 0.02)]
        assert loud[2] > loud[1] + 20


def test_a_controller_map_turns_knobs(sustaining, tmp_path):
    (tmp_path / "map.toml").write_text('format_version = 1\n[[map]]\ncontroller = 20\nto = "sound.gain_db"\n')
    song = written(tmp_path, [(0, b"\xb0\x14\x00"), *note(0, 480, 60)])
    plain, turned = render(song, sustaining), render(song, sustaining, controls=tmp_path / "map.toml")
    assert np.abs(turned).max() < 0.01 * np.abs(plain).max()


def test_a_flood_of_program_changes_is_cast_within_a_second_per_megabyte(band, tmp_path):
    flood = [(0, bytes([0xC0, i % 128])) for i in range(100_000)]
    song = read_midi_file(written(tmp_path, note(0, 480, 60) + flood))
    Cast(song, programs=band / "two.toml").engine(RATE)  # loads what is slow to load
    with at_most(1.0):
        cast = Cast(song, programs=band / "two.toml")
        cast.engine(RATE)
        n_unknown = sum(message[1] >= 20 for _, message in flood)
        assert f"no preset for {n_unknown} program changes" in cast.warnings()[0]


# What is told


def report_of(song, tmp_path, *arguments, **options):
    return render_file(song, tmp_path / "out.wav", *arguments, overwrite=True, **options)


def test_program_changes_without_a_bank_are_told_in_one_line(band, tmp_path):
    changes = [(100 * i, bytes([0xC0, i])) for i in range(5)]
    song = written(tmp_path, changes + note(0, 480, 60))
    report = report_of(song, tmp_path, band / "held.onnx")
    assert report.warnings == ("the song changes programs 5 times; use --bank general-midi to hear them",)
    assert report.ignored_messages == 5
    report = report_of(song, tmp_path, programs=band / "two.toml")
    assert report.warnings == () and report.ignored_messages == 0
    assert (
        report_of(written(tmp_path, [(0, b"\xc7\x05"), *note(0, 480, 60)]), tmp_path, band / "held.onnx").warnings == ()
    )


def test_programs_that_the_bank_does_not_have_are_told(band, tmp_path):
    song = written(tmp_path, [(0, b"\xc0\x60"), (9, b"\xc0\x61"), (20, b"\xc0\x01"), *note(0, 480, 60)])
    report = report_of(song, tmp_path, programs=band / "two.toml")
    assert report.warnings == ("the bank has no preset for 2 program changes of the song; they change nothing",)


def test_a_channel_that_the_bank_leaves_silent_is_told(band, tmp_path):
    (band / "few.toml").write_text('format_version = 1\nname = "Few"\n[channels]\n1 = "held.onnx"\n')
    song = written(tmp_path, note(0, 480, 60), note(0, 480, 60, channel=4))
    report = report_of(song, tmp_path, programs=band / "few.toml")
    assert report.warnings == ("the bank says nothing of what channel 5 starts with; its first notes are silent",)


def test_drums_without_a_kit_are_told(band, tmp_path):
    song = written(tmp_path, note(0, 480, 40, channel=9))
    (words,) = report_of(song, tmp_path, band / "held.onnx").warnings
    assert words.startswith("channel 10 holds drums and tiny is no kit")
    for options in (
        {"preset": band / "kit.toml"},
        {"programs": band / "two.toml"},
        {"channels": {10: band / "held.onnx"}},
    ):
        assert report_of(song, tmp_path, **options).warnings == ()


def test_ignored_messages_are_counted_not_told_one_by_one(sustaining, tmp_path):
    unknown = [(i, b"\xf0\x7d\x01\xf7") for i in range(300)]
    report = report_of(written(tmp_path, unknown + note(0, 480, 60)), tmp_path, sustaining)
    assert report.ignored_messages == 300
    assert report.warnings == ()


def test_a_preset_for_all_channels_and_a_bank_exclude_each_other(band, tmp_path):
    with pytest.raises(UsageError, match="leaves nothing to the bank"):
        render(written(tmp_path, note(0, 480, 60)), band / "held.onnx", programs=band / "two.toml")


# An instrument by itself


def test_an_instrument_made_of_layers_plays_all_of_them(band):
    kit, rate = Instrument.load(band / "kit.toml"), RATE
    low, high = (kit([(bytes([0x90, key, 100]), 0.0)], 0.5, rate) for key in (50, 60))
    assert strongest_hz(low[0]) == pytest.approx(82.41, abs=2.0)
    assert strongest_hz(high[0]) == pytest.approx(523.25, abs=2.0)


def test_an_instrument_takes_what_mido_reads_from_a_file(sustaining):
    down = mido.Message("note_on", note=60, velocity=100, time=0.0)
    volume = mido.Message("sysex", data=(0x7F, 0x7F, 0x04, 0x01, 0x00, 0x20), time=0.0)
    others = [
        mido.Message("program_change", program=5, time=0.0),
        mido.MetaMessage("set_tempo", tempo=400_000, time=0.0),
        mido.MetaMessage("end_of_track", time=0.4),
        mido.MetaMessage("track_name", name="x", time=0.4),
    ]
    loud, quiet = sustaining([down], 0.5), sustaining([volume, down], 0.5)
    assert np.abs(quiet).max() == pytest.approx(np.abs(loud).max() / 16.0, rel=0.1)  # (32 / 128) squared
    assert np.array_equal(sustaining([*others, down], 0.5), loud)
    bare = sustaining([([0x90, 60, 100], 0.0), (b"\xc0\x05", 0.1), (b"\xff\x51\x03\x06\x1a\x80", 0.2)], 0.5)
    assert np.array_equal(bare, loud)


def test_a_mix_of_several_channels_leaves_headroom_and_gain_overrides_it(tmp_path, sustaining):
    path = tmp_path / "four.mid"
    write_midi_file(path, [note(0, 480, 60 + channel, channel, velocity=60) for channel in range(4)])
    alone = render(path, sustaining, RATE, gain_db=0.0)
    assert np.allclose(render(path, sustaining, RATE), alone / 2.0, atol=1e-6)  # 10·log10(4) = 6.02 dB
    assert np.allclose(render(path, sustaining, RATE, gain_db=-20.0), alone / 10.0, atol=1e-6)


def test_a_mix_that_is_limited_says_so(tmp_path, sustaining):
    path = tmp_path / "loud.mid"
    write_midi_file(path, [note(0, 1920, key, velocity=127) for key in range(40, 80)])
    report = render_file(path, tmp_path / "loud.wav", sustaining, RATE, gain_db=24.0)
    assert report.limited_seconds > 0.5
    assert any("lower --gain" in warning for warning in report.warnings)
