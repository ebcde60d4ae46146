"""A preset as an SFZ multisample: the mapping, the loops, the files, and what an independent player makes of them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sfz_player import Player, cents_between, differences, without_effects
from neuralsynth.analysis.sfz import read_sfz_files
from neuralsynth.cli import main
from neuralsynth.design.loops import find_loop, sealed
from neuralsynth.design.mapping import Multisample, Sample, Zone, curve_points, key_ranges, sfz_text, velocity_ranges
from neuralsynth.design.multisample import SfzOptions, export_multisample
from neuralsynth.effect_table import checked_effect
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.preset_sections import Envelope, Layer, Modulation, Sound, Voices
from tests.models import tiny_instrument
from tests.players import Shelf
from tests.test_voices import strongest_hz

RATE = 44_100
FEW = SfzOptions(every=4, layers=2, keys=(58, 66), seconds=4.0, sample_rate=RATE)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.preset("bowed", envelope=Envelope(attack_seconds=0.03, release_seconds=0.25))
    shelf.preset("plucked", model="struck.onnx")
    tiny_instrument(shelf.folder / "narrow.onnx", sustaining=True, note_low=57, note_high=66)
    shelf.preset("narrow", model="narrow.onnx")
    shelf.preset("single", voices=Voices(mode="mono"))
    shelf.preset("off-key", sound=Sound(transpose_semitones=12, tune_cents=30.0))
    layers = (Layer("bowed.toml", key_high=61), Layer("plucked.toml", key_low=60, transpose_semitones=12))
    shelf.layered("split", *layers)
    return shelf


@pytest.fixture(scope="module")
def exported(shelf, tmp_path_factory):
    """Folders of exports by preset name, made once each."""
    made = {}

    def export(name, options=FEW):
        if (name, options) not in made:
            folder = tmp_path_factory.mktemp("sfz") / name
            made[name, options] = export_multisample(shelf.folder / f"{name}.toml", folder, options)
        return Path(made[name, options].output)

    return export


@pytest.fixture
def player():
    if importlib.util.find_spec("pysfizz") is None and not os.environ.get("CI"):
        pytest.skip("pysfizz is not installed")
    return Player


def regions(text):
    """Opcodes of every region, with those of its group: a reading of our own of the little that we write."""
    group, found = {}, []
    for header, body in re.findall(r"<(global|group|region)>([^<]*)", re.sub(r"//.*", "", text)):
        opcodes = dict(word.split("=", 1) for word in body.split())
        if header == "group":
            group = opcodes
        elif header == "region":
            found.append(group | opcodes)
    return found


# ---- the mapping


@settings(max_examples=60, deadline=None)
@given(
    keys=st.sets(st.integers(0, 127), min_size=1),
    every=st.integers(1, 24),
    struck=st.lists(st.floats(1.0, 127.0, allow_subnormal=False), min_size=1, max_size=16),
    data=st.data(),
)
def test_every_key_and_velocity_has_one_region(keys, every, struck, data):
    touches = velocity_ranges(struck)
    levels = st.integers(-40, 6)
    samples = [
        Sample(
            "samples/one.wav",
            some.centre,
            touch,
            {key: data.draw(levels) / 2 for key in range(some.low, some.high + 1)},
            dict.fromkeys(range(some.low, some.high + 1), 0.0),
            dict.fromkeys(curve_points(touch), 1.0),
            None,
        )
        for some in key_ranges(sorted(keys), every)
        for touch in touches
    ]
    count = np.zeros((128, 128), int)
    for region in regions(sfz_text(Multisample("any", [Zone(0.1, samples)]))):
        low, high = int(region["lokey"]), int(region["hikey"])
        soft, loud = int(region["lovel"]), int(region["hivel"])
        assert abs(int(region["pitch_keycenter"]) - low) < every and abs(int(region["pitch_keycenter"]) - high) < every
        count[low : high + 1, soft : loud + 1] += 1
        ends = {int(name.removeprefix("amp_velcurve_")) for name in region if name.startswith("amp_velcurve_")}
        assert {soft, loud} <= ends  # beyond its last point a player would draw a line of its own
    wanted = np.zeros_like(count)
    wanted[sorted(keys), 1:] = 1
    np.testing.assert_array_equal(count, wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1.0, 127.0, allow_subnormal=False), min_size=1, max_size=16),
    st.integers(1, 127),
    st.integers(1, 127),
)
def test_velocity_layers_meet_and_hold_the_velocity_they_are_sampled_at(struck, one, other):
    low, high = min(one, other), max(one, other)
    ranges = velocity_ranges(struck, low, high)
    assert [v for r in ranges for v in range(r.low, r.high + 1)] == list(range(low, high + 1))
    assert all(r.low <= r.struck <= r.high for r in ranges)


def test_names_and_text_are_plain_ascii(shelf, tmp_path):
    shelf.preset("Größe #1")
    path = export_multisample(
        shelf.folder / "Größe #1.toml", tmp_path / "out", SfzOptions(keys=(60, 60), layers=1)
    ).output
    assert Path(path).name == "Gr-e-1.sfz"
    assert Path(path).read_bytes().isascii()
    assert [p.name for p in Path(path).parent.glob("samples/*")] == ["Gr-e-1-060-C4-v100.wav"]


def test_our_own_reader_of_sfz_finds_every_sample(exported):
    sfz = exported("bowed")
    readings, warnings = read_sfz_files(sfz.parent, [sfz])
    assert warnings == []
    assert sorted(readings) == sorted(sfz.parent.glob("samples/*.wav"))
    for path, reading in readings.items():
        assert f"-{reading.note:03d}-" in path.name
    assert {reading.velocity for reading in readings.values()} == {75, 127}  # sampled at 30 and 120


def test_a_release_is_as_long_as_the_presets(exported):
    released = float(regions(exported("bowed").read_text())[0]["ampeg_release"])
    assert released == pytest.approx(0.25 * 78.17 / 60.0, abs=1e-3)  # players fall by 78 dB in it, a preset by 60


# ---- samples and loops


def held_in_a_loop(sfz, seconds):
    """Every looped sample, played by jumping alone: `(audio, where it first jumps, the loop's length)`."""
    for region in {r["sample"]: r for r in regions(sfz.read_text())}.values():
        audio, _ = soundfile.read(sfz.parent / region["sample"], always_2d=True)
        start, stop = int(region["loop_start"]), int(region["loop_end"]) + 1
        turns = int(seconds * RATE / (stop - start)) + 1
        yield np.concatenate([audio[:stop], *[audio[start:stop]] * turns])[:, 0], stop, stop - start


def change_db(audio, at, n=2048):
    """How much the spectrum changes at a place, RMS over frequency."""
    pieces = [np.abs(np.fft.rfft(audio[a : a + n] * np.hanning(n))) for a in (at - n, at)]
    a, b = (20.0 * np.log10(piece + 1e-3 * pieces[0].max()) for piece in pieces)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_a_loop_cannot_be_told_from_the_sound_around_it(exported):
    for audio, seam, length in held_in_a_loop(exported("bowed"), 10.0):
        elsewhere = [change_db(audio, at) for at in range(seam - length + 4096, seam - 12_000, 1777)]
        assert change_db(audio, seam) <= 1.5 * max(elsewhere) + 0.1
        bend = np.abs(np.diff(audio, 2))
        assert bend[seam - 8 : seam + 8].max() <= 1.1 * bend[seam - length : seam - 100].max()  # no click


def test_a_looped_note_stays_as_loud_for_ten_seconds(exported):
    for audio, seam, length in held_in_a_loop(exported("bowed"), 10.0):
        steady = audio[seam - length :][: 10 * RATE]
        levels = 10.0 * np.log10(np.mean(steady[: len(steady) // 2205 * 2205].reshape(-1, 2205) ** 2, axis=1))
        assert np.ptp(levels) < 0.5  # dB, in pieces of 50 ms


def test_a_loop_of_two_beating_tones_and_noise_keeps_their_power():
    rng, t = np.random.default_rng(1), np.arange(6 * RATE) / RATE
    audio = (
        0.3 * np.sin(2e3 * np.pi * t) + 0.2 * np.sin(2e3 * np.pi * 1.0037 * t) + 0.1 * rng.standard_normal(len(t))
    )[None]
    n_fade = RATE // 5
    loop = find_loop(audio, RATE // 2, n_fade, RATE)
    out = sealed(audio, loop, n_fade, RATE)
    assert loop.n_samples >= RATE and loop.start >= RATE // 2 + n_fade
    untouched = out[:, : loop.last + 1 - n_fade]
    np.testing.assert_allclose(untouched, audio[:, : untouched.shape[1]], atol=1e-7)
    power = [np.mean(sound[0, loop.last + 1 - n_fade : loop.last + 1] ** 2) for sound in (out, audio)]
    assert abs(10.0 * np.log10(power[0] / power[1])) < 0.5


def test_there_is_no_loop_in_too_short_a_note():
    assert find_loop(np.ones((1, RATE)), 0, RATE // 5, RATE) is None


def test_a_decaying_sound_has_no_loop_and_ends_in_silence(exported):
    sfz = exported("plucked")
    for region in regions(sfz.read_text()):
        assert region["loop_mode"] == "no_loop" and "loop_start" not in region
        audio, _ = soundfile.read(sfz.parent / region["sample"])
        assert np.max(np.abs(audio[-100:])) < 1e-4
        assert 2.0 < len(audio) / RATE < 4.0  # it falls by 26 dB per second: 80 dB take 3 s


def test_a_long_decay_is_faded_out_and_told(shelf, tmp_path):
    options = SfzOptions(keys=(60, 60), layers=1, seconds=2.0)
    report = export_multisample(shelf.folder / "plucked.toml", tmp_path / "out", options)
    assert report.warnings == ("1 notes ring for longer than 2 s and are faded out; use --seconds",)
    audio, rate = soundfile.read(next(Path(report.output).parent.glob("samples/*")))
    assert len(audio) == 2 * rate
    assert np.max(np.abs(audio[-200:])) < 1e-4


def test_wav_samples_carry_their_loop_and_note(exported):
    sfz = exported("bowed")
    region = regions(sfz.read_text())[0]
    with soundfile.SoundFile(sfz.parent / region["sample"]) as file:
        told = file.extra_info  # libsndfile's reading of the chunks
        assert file.channels == 1 and file.subtype == "PCM_24"
    numbers = dict(re.findall(r"(Midi Note|Start|End|Loop Count)\s*: (\d+)", told))
    expected = {"Midi Note": region["pitch_keycenter"], "Start": region["loop_start"], "End": region["loop_end"]}
    assert {name: numbers[name] for name in expected} == expected


def test_the_same_preset_gives_the_same_files(shelf, exported, tmp_path):
    first = exported("bowed")
    second = Path(export_multisample(shelf.folder / "bowed.toml", tmp_path / "again", FEW).output)
    for path in (first, *sorted(first.parent.glob("samples/*"))):
        assert path.read_bytes() == (second.parent / path.relative_to(first.parent)).read_bytes()


# ---- an independent player


def test_a_player_comes_out_where_we_do(shelf, exported, player):
    for name in ("bowed", "plucked", "off-key", "split"):
        played = player(exported(name))
        ours = without_effects(Instrument.load(shelf.folder / f"{name}.toml"))
        for d in differences(ours, played, [58, 59, 61, 64, 66], (5, 64, 127)):
            assert d.sounds, (name, d)
            assert abs(d.level_db) < 0.5, (name, d)
            assert abs(d.cents) < 2.0, (name, d)


def test_a_player_lets_go_as_we_do(shelf, exported, player):
    theirs = player(exported("bowed")).note(62, 100, 1.0, 1.5)
    messages = [(bytes([0x90, 62, 100]), 0.0), (bytes([0x80, 62, 64]), 1.0)]
    ours = Instrument.load(shelf.folder / "bowed.toml")(messages, 1.5, RATE)
    for at in (1.05, 1.1, 1.2):
        piece = slice(round(at * RATE), round((at + 0.02) * RATE))
        levels = [10.0 * np.log10(np.mean(audio[:, piece] ** 2)) for audio in (ours, theirs)]
        assert abs(levels[1] - levels[0]) < 1.5


def test_a_player_holds_a_looped_note(exported, player):
    audio = player(exported("bowed")).note(61, 100, 12.0, 12.0)[0]
    levels = 10.0 * np.log10(np.mean(audio[RATE : 11 * RATE].reshape(-1, RATE // 10) ** 2, axis=1))
    assert np.ptp(levels) < 0.5
    assert abs(cents_between(audio[None, RATE : 3 * RATE], audio[None, 8 * RATE : 10 * RATE], 277.18)) < 0.5


def test_the_wheel_brings_vibrato_in_a_player(shelf, tmp_path, player):
    shelf.preset("wheel", modulation=Modulation(vibrato_rate_hz=4.0, vibrato_depth_cents=80.0))
    report = export_multisample(shelf.folder / "wheel.toml", tmp_path / "out", SfzOptions(keys=(69, 69), layers=1))
    played = player(Path(report.output))
    widths = []
    for wheel in (0, 127):
        played.control(1, wheel)
        audio = played.note(69, 100, 2.0, 2.0)[0][RATE // 2 : 3 * RATE // 2]
        power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
        hertz = np.fft.rfftfreq(len(audio), 1.0 / RATE)
        near = np.abs(hertz - 440.0) < 60.0
        centre = np.sum(hertz[near] * power[near]) / np.sum(power[near])
        widths.append(np.sqrt(np.sum((hertz[near] - centre) ** 2 * power[near]) / np.sum(power[near])))
    assert widths[0] < 3.0
    assert widths[1] == pytest.approx(440.0 * (2.0 ** (80.0 / 1200.0) - 1.0) / np.sqrt(2.0), rel=0.2)


def test_a_mono_preset_stays_mono_in_a_player(exported, player):
    played = player(exported("single"))
    both = played.phrase([(0.0, 2.0, 60, 100), (0.5, 2.0, 64, 100)], 1.5)
    alone = played.phrase([(0.5, 2.0, 64, 100)], 1.5)
    late = slice(RATE, None)
    np.testing.assert_allclose(both[:, late], alone[:, late], atol=2e-3)


# ---- layers and splits


def test_layers_become_groups_of_their_own(exported):
    by_layer = {}
    for region in regions(exported("split").read_text()):
        layer = re.search(r"-layer(\d)\.wav", region["sample"]).group(1)
        by_layer.setdefault(layer, set()).update(range(int(region["lokey"]), int(region["hikey"]) + 1))
        assert region["loop_mode"] == ("loop_continuous" if layer == "1" else "no_loop")
    assert by_layer == {"1": set(range(58, 62)), "2": set(range(60, 67))}


def test_a_kit_keeps_its_fixed_keys_and_choke_groups(shelf, tmp_path, player):
    layers = (
        Layer("plucked.toml", key_low=60, key_high=61, fixed_key=72, choke_group=3, one_shot=True),
        Layer("plucked.toml", key_low=62, key_high=62, fixed_key=67, choke_group=3),
    )
    shelf.layered("kit", *layers)
    report = export_multisample(shelf.folder / "kit.toml", tmp_path / "kit", SfzOptions(layers=1, seconds=4.0))
    assert report.keys == (60, 62) and report.samples == 2
    first, second = regions(Path(report.output).read_text())
    assert first["loop_mode"] == "one_shot" and second["loop_mode"] == "no_loop"
    played = player(Path(report.output))
    for key, hertz in ((60, 523.25), (61, 523.25), (62, 392.0)):
        found = strongest_hz(played.note(key, 100, 1.0, 1.0)[0], RATE)
        assert abs(1200.0 * np.log2(found / hertz)) < 2.0
    choked = played.phrase([(0.0, 1.0, 60, 127), (0.5, 1.0, 62, 1)], 1.0)[:, round(0.6 * RATE) :]
    free = played.phrase([(0.0, 1.0, 60, 127)], 1.0)[:, round(0.6 * RATE) :]
    assert np.max(np.abs(choked)) < 0.1 * np.max(np.abs(free))


# ---- files


def test_effects_are_recorded_when_asked_for(shelf, tmp_path):
    reverb = checked_effect("reverb", {"room_size": 0.8, "wet_level": 0.3}, "test")
    shelf.preset("wet", model="struck.onnx", effects=(reverb,), envelope=Envelope(release_seconds=0.05))
    found = {}
    for effects in (False, True):
        options = SfzOptions(keys=(60, 60), layers=1, effects=effects, seconds=6.0)
        sfz = Path(export_multisample(shelf.folder / "wet.toml", tmp_path / str(effects), options).output)
        sample = next(sfz.parent.glob("samples/*"))
        found[effects] = soundfile.info(sample), float(regions(sfz.read_text())[0]["ampeg_release"])
    (dry, dry_release), (wet, wet_release) = found[False], found[True]
    assert (dry.channels, wet.channels) == (1, 2)
    assert wet.frames > dry.frames
    assert wet_release > 10 * dry_release  # so that the reverb is not cut off with the key


def test_a_folder_that_holds_something_is_refused(shelf, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="--force"):
        export_multisample(shelf.folder / "bowed.toml", tmp_path, FEW)
    options = SfzOptions(keys=(60, 61), layers=1, every=1)
    export_multisample(shelf.folder / "bowed.toml", tmp_path, options, overwrite=True)
    export_multisample(shelf.folder / "plucked.toml", tmp_path, options, overwrite=True)
    options = SfzOptions(keys=(60, 61), layers=1, every=2, file_format="flac")
    export_multisample(shelf.folder / "bowed.toml", tmp_path, options, overwrite=True)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert names == [
        "bowed.sfz", "mine.txt", "plucked.sfz", "samples/bowed-061-Cs4-v100.flac",
        "samples/plucked-060-C4-v100.wav", "samples/plucked-061-Cs4-v100.wav",
    ]  # fmt: skip


def test_a_full_disk_leaves_nothing(shelf, tmp_path):
    code = f"""
import resource, sys
from neuralsynth.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))  # a write past it fails, as on a full disk
sys.exit(main(["sfz", {str(shelf.folder / "narrow.toml")!r}, "-o", {str(tmp_path / "out")!r}, "--layers", "1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_mapping(shelf, tmp_path):
    code = f"""
import os, signal
from neuralsynth.design.multisample import SfzOptions, export_multisample
def progress(done, total):
    if done == total - 1:
        os.kill(os.getpid(), signal.SIGKILL)
options = SfzOptions(every=1, keys=(60, 61), layers=2)
export_multisample({str(shelf.folder / "bowed.toml")!r}, {str(tmp_path / "out")!r}, options, progress=progress)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(left) == 3 and all(name.endswith(".wav") for name in left)


def test_an_unwritable_folder_is_told(shelf, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        export_multisample(shelf.folder / "bowed.toml", "/proc/self/out", FEW)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export_multisample(shelf.folder / "bowed.toml", tmp_path / "file", FEW)


@pytest.mark.parametrize(
    "wrong",
    [{"every": 0}, {"layers": 17}, {"seconds": 1.0}, {"seconds": float("nan")}, {"sample_rate": 7}, {"keys": (60, 59)}],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="; use "):
        SfzOptions(**wrong)


def test_keys_without_sound_are_told(shelf, tmp_path):
    with pytest.raises(UsageError, match="no key in its range"):
        export_multisample(shelf.folder / "bowed.toml", tmp_path / "out", SfzOptions(keys=(0, 5)))
    assert list(tmp_path.iterdir()) == []


def test_the_command_reports_as_json(shelf, tmp_path, capsys):
    arguments = ["sfz", str(shelf.folder / "narrow.toml"), "-o", str(tmp_path / "out"), "--every", "5", "--json"]
    assert main([*arguments, "--depth", "16", "--format", "flac"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["keys"] == [57, 66] and report["layers"] == 3 and report["looped"] == report["samples"] == 6
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
