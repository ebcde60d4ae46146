"""Folders of recordings: every usual naming and format is understood, every bad file is skipped and named."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import soundfile

from neuralsynth.analysis.folder import SURE, contradicts, read_folder
from neuralsynth.analysis.pitch import Listening, PitchEstimate, measure_pitch
from neuralsynth.errors import RecordingError
from neuralsynth.units import hz_to_note, note_name, note_to_hz

RATE = 22_050


def tone(note, seconds=0.5, gain=0.2, rate=RATE, amplitudes=(1.0, 0.6, 0.4, 0.3, 0.2, 0.1)):
    """A synthetic note `[samples]`; partial k has amplitude `amplitudes[k - 1]`."""
    t = np.arange(int(seconds * rate)) / rate
    partials = [a * np.sin(2 * np.pi * k * note_to_hz(note) * t + k) for k, a in enumerate(amplitudes, 1)]
    return gain * np.sum(partials, axis=0) * np.minimum(t / 0.01, 1.0) * np.exp(-t)


def write(path, audio, rate=RATE, **how):
    """Write a file, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), audio, rate, **how)
    return path


def fill(folder, names):
    """Write a tone for every name -> note."""
    for name, note in names.items():
        write(folder / name, tone(note))
    return folder


def by_name(folder):
    """Recordings by name."""
    return {r.name: r for r in folder.recordings}


# ---- notes


def test_names_in_different_styles_are_believed(tmp_path):
    names = {"A#3.wav": 58, "Bb4.wav": 70, "c4.wav": 60, "Piano Ds5.flac": 75, "E2_v100.wav": 40}
    read = read_folder(fill(tmp_path, names))
    assert {r.name: (r.note, r.note_from) for r in read.used} == {n: (note, "name") for n, note in names.items()}
    assert read.octave_shift == 0


def test_folders_that_are_left_out_are_passed_over_at_the_top_alone(tmp_path):
    """A folder of everything holds a kit too, which is no instrument among others."""
    fill(tmp_path, {"reed/C4.wav": 60, "drums/C4.wav": 61, "cycles/C4.wav": 62, "reed/drums/D4.wav": 62})
    read = read_folder(tmp_path, without=("drums", "cycles"))
    assert sorted(r.path.relative_to(tmp_path).as_posix() for r in read.recordings) == [
        "reed/C4.wav",
        "reed/drums/D4.wav",
    ]


def test_midi_numbers_in_names_are_believed(tmp_path):
    names = {f"{note:03d}.wav": note for note in (48, 55, 60, 67)}
    assert {r.name: (r.note, r.note_from) for r in read_folder(fill(tmp_path, names)).used} == {
        n: (note, "name") for n, note in names.items()
    }


def test_notes_without_names_are_measured(tmp_path):
    names = {"first.wav": 45, "other.wav": 60, "some.wav": 76.3, "take 3.wav": 52}
    recordings = by_name(read_folder(fill(tmp_path, names)))
    assert {n: r.note for n, r in recordings.items()} == {n: round(note) for n, note in names.items()}
    assert {r.note_from for r in recordings.values()} == {"measured"}
    assert recordings["some.wav"].pitch_hz == pytest.approx(float(note_to_hz(76.3)), rel=3e-3)


@pytest.mark.parametrize("octaves", [-2, -1, 1])
def test_octave_convention_is_found_by_listening(tmp_path, octaves):
    names = {f"{note_name(note - 12 * octaves)}.wav": note for note in (48, 53, 60, 67, 72)}
    read = read_folder(fill(tmp_path, names))
    assert {r.name: r.note for r in read.used} == names
    assert {r.note_from for r in read.used} == {"name"}
    assert read.octave_shift == octaves
    assert "middle C" in read.warnings[0]


def test_midi_numbers_are_not_shifted_by_a_few_votes(tmp_path):
    names = {"m048.wav": 60, "m060.wav": 60.2, "m062.wav": 62, "m064.wav": 64}
    read = read_folder(fill(tmp_path, names))
    assert read.octave_shift == 0
    assert by_name(read)["m048.wav"].note == 60
    assert by_name(read)["m048.wav"].note_from == "measured"


@pytest.mark.parametrize("wrong_by", [4, -3, 12, -12, 1])
def test_name_that_contradicts_the_sound_loses(tmp_path, wrong_by):
    names = {f"m{note:03d}.wav": note for note in (50, 55, 60, 65, 70, 75)}
    names[f"m{62 + wrong_by:03d}_b.wav"] = 62
    recordings = by_name(read_folder(fill(tmp_path, names)))
    odd = recordings.pop(f"m{62 + wrong_by:03d}_b.wav")
    assert (odd.used, odd.note, odd.note_from) == (True, 62, "measured")
    assert odd.reason == f"name says {62 + wrong_by}, sounds like 62"
    assert all(r.note_from == "name" and r.reason is None for r in recordings.values())


def test_mistuned_note_keeps_its_name(tmp_path):
    read = read_folder(fill(tmp_path, {"C4.wav": 60.6, "E4.wav": 64, "G4.wav": 67}))
    assert by_name(read)["C4.wav"].note == 60


def test_octave_slip_of_the_ear_does_not_overrule_a_name(tmp_path):
    fill(tmp_path, {f"m{note:03d}.wav": note for note in (50, 55, 65, 70)})
    # An organ: a whole sawtooth an octave up, 23 dB above the fundamental and its odd partials.
    octave_up = [0.07, 1.0, 0.07, 0.5, 0.07, 0.33, 0.0, 0.25, 0.0, 0.2, 0.0, 0.17, 0.0, 0.14, 0.0, 0.12]
    for note in (57, 62):
        audio = tone(note, seconds=1.0, amplitudes=octave_up, rate=44_100)
        assert round(float(hz_to_note(measure_pitch(audio, 44_100).pitch_hz))) == note + 12
        assert measure_pitch(audio, 44_100).confidence >= SURE
        write(tmp_path / f"m{note:03d}.wav", audio, rate=44_100)
    assert {r.note_from for r in read_folder(tmp_path).used} == {"name"}


@pytest.mark.parametrize(
    ("confidence", "named_evidence", "loses"), [(0.9, 0.1, True), (0.9, 0.6, False), (0.3, 0.1, False)]
)
def test_name_loses_only_to_a_sure_ear_and_clearly_more_evidence(confidence, named_evidence, loses):
    candidates_hz = note_to_hz(np.arange(40, 90))
    evidence = np.full(50, 0.0)
    evidence[72 - 40], evidence[60 - 40] = 0.7, named_evidence
    heard = Listening(PitchEstimate(float(note_to_hz(72)), confidence), candidates_hz, evidence)
    assert contradicts(heard, 60) == loses
    with_partials_between = Listening(heard.estimate, candidates_hz, evidence, frozenset({2}))
    assert not contradicts(with_partials_between, 60)
    assert contradicts(with_partials_between, 53) == contradicts(heard, 53)  # they speak for 60 only


def test_unclear_pitch_keeps_its_name(tmp_path):
    rng = np.random.default_rng(0)
    fill(tmp_path, {f"m{note:03d}.wav": note for note in (50, 55, 65, 70)})
    write(tmp_path / "m061.wav", 0.1 * rng.standard_normal(RATE // 2))
    assert by_name(read_folder(tmp_path))["m061.wav"].note == 61


def test_sound_without_pitch_and_name_is_skipped(tmp_path):
    fill(tmp_path, {"C4.wav": 60})
    write(tmp_path / "hiss.wav", 0.05 * np.random.default_rng(0).standard_normal(RATE))
    hiss = by_name(read_folder(tmp_path))["hiss.wav"]
    assert not hiss.used
    assert "name it such as C4" in hiss.reason


# ---- velocities


def test_velocity_comes_from_the_name(tmp_path):
    read = read_folder(fill(tmp_path, {"m060_v100.wav": 60, "m062_v40.wav": 62, "m064_v127.wav": 64}))
    assert [(r.velocity, r.velocity_from) for r in read.used] == [(100, "name"), (40, "name"), (127, "name")]


def test_velocity_comes_from_the_level_where_a_note_has_layers(tmp_path):
    for i, gain in enumerate((0.2, 0.02, 0.06)):
        write(tmp_path / f"C4 x{'abc'[i]}.wav", tone(60, gain=gain))
    write(tmp_path / "D4.wav", tone(62))
    read = by_name(read_folder(tmp_path))
    assert [read[f"C4 x{c}.wav"].velocity for c in "abc"] == [127, 42, 85]
    assert read["C4 xa.wav"].velocity_from == "level"
    assert (read["D4.wav"].velocity, read["D4.wav"].velocity_from) == (90, "default")


def test_dynamics_folders_are_velocities_and_other_folders_are_instruments(tmp_path):
    fill(tmp_path, {"sax/pp/C4.wav": 60, "sax/ff/C4.wav": 60.1, "horn/D4.wav": 62})
    read = by_name(read_folder(tmp_path))
    assert {n: (r.group, r.velocity) for n, r in read.items()} == {
        "sax/pp/C4.wav": ("sax", 24), "sax/ff/C4.wav": ("sax", 118), "horn/D4.wav": ("horn", 90),
    }  # fmt: skip


# ---- SFZ


def test_sfz_beside_wins_over_names(tmp_path):
    fill(tmp_path, {"samples/a 1.wav": 60, "samples/m064.wav": 65, "samples/x.wav": 67})
    (tmp_path / "piano.sfz").write_text("""
        // comment with sample=wrong.wav
        #define $LOUD 127
        <control> default_path=samples\\
        <global> lovel=1 hivel=64
        <group> key=c4
        <region> sample=a 1.wav
        <region> sample=M064.WAV pitch_keycenter=65 lovel=65 hivel=$LOUD
        <group>
        <region> sample=x.wav lokey=g4 hikey=67 lovel=1 hivel=127 /* full range */
    """)
    read = by_name(read_folder(tmp_path))
    assert {n: (r.note, r.note_from, r.velocity, r.velocity_from) for n, r in read.items()} == {
        "samples/a 1.wav": (60, "sfz", 64, "sfz"),
        "samples/m064.wav": (65, "sfz", 127, "sfz"),
        "samples/x.wav": (67, "sfz", 90, "default"),
    }


def test_sfz_that_contradicts_the_sound_loses(tmp_path):
    fill(tmp_path, {"a.wav": 60})
    (tmp_path / "a.sfz").write_text("<region> sample=a.wav key=65\n")
    (found,) = read_folder(tmp_path).used
    assert (found.note, found.note_from, found.reason) == (60, "measured", "sfz says 65, sounds like 60")


def test_sfz_paths_stay_inside_the_folder(tmp_path):
    outside = write(tmp_path / "outside.wav", tone(50))
    inside = fill(tmp_path / "in", {"C4.wav": 60})
    (inside / "bad.sfz").write_text(
        f'#include "../other.sfz"\n<region> sample=../outside.wav key=50\n<region> sample={outside} key=50\n'
    )
    (tmp_path / "other.sfz").write_text("<region> sample=C4.wav key=62\n")
    read = read_folder(inside)
    assert [(r.name, r.note, r.note_from) for r in read.recordings] == [("C4.wav", 60, "name")]


@pytest.mark.parametrize("text", [
    b"\x00\xff\xfe<region>", b"<region> sample=", b"<region> sample=\x00 key=c4", b"<region> key=999 sample=C4.wav",
    b"<region sample=C4.wav", b'#include "x.sfz"\n' * 50, b"#define $A $A$A$A$A\n" * 9 + b"<region> sample=$A",
    b"/*" * 500_000, b" " * 1_000_000, b"<region> sample=" + b" a" * 400_000, b"a" * 1_000_000, b"\n" * 1_000_000,
])  # fmt: skip
def test_broken_sfz_does_no_harm(tmp_path, text):
    fill(tmp_path, {"C4.wav": 60})
    (tmp_path / "x.sfz").write_bytes(text)
    (found,) = read_folder(tmp_path).used
    assert found.note == 60


# ---- formats


@pytest.mark.parametrize(("name", "how"), [
    ("C4.wav", {"subtype": "PCM_U8"}), ("C4.wav", {"subtype": "PCM_24"}), ("C4.wav", {"subtype": "FLOAT"}),
    ("C4.flac", {"subtype": "PCM_24"}), ("C4.aiff", {}), ("C4.mp3", {}), ("C4.ogg", {}), ("C4.WAV", {"format": "WAV"}),
])  # fmt: skip
def test_every_usual_format_is_read(tmp_path, name, how):
    write(tmp_path / name, tone(60), **how)
    (found,) = read_folder(tmp_path).used
    assert (found.note, found.note_from) == (60, "name")
    assert found.pitch_hz == pytest.approx(float(note_to_hz(60)), rel=3e-3)


def test_96_khz_stereo_is_read_and_loads_as_mono(tmp_path):
    left = tone(60, rate=96_000)
    write(tmp_path / "x.wav", np.stack([left, 0.5 * left], axis=1), rate=96_000, subtype="PCM_24")
    (found,) = read_folder(tmp_path).used
    audio, rate = found.load()
    assert (found.note, rate, audio.dtype, audio.shape) == (60, 96_000, np.float32, left.shape)
    assert np.max(np.abs(audio - 0.75 * left)) < 1e-5


def test_channels_in_opposite_phase_do_not_cancel(tmp_path):
    left = tone(60)
    write(tmp_path / "x.wav", np.stack([left, -0.9 * left], axis=1))
    (found,) = read_folder(tmp_path).used
    assert np.max(np.abs(found.load()[0] - left)) < 1e-3


# ---- bad files


def cut(path, share):
    """Keep only the first part of a file, as a full disk does."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


BAD = {
    "text renamed": (lambda p: p.write_text("this is no audio\n" * 100), "cannot be read as audio"),
    "empty file": (lambda p: p.write_bytes(b""), "is empty"),
    "no frames": (lambda p: write(p, np.zeros(0)), "holds no samples"),
    "one frame": (lambda p: write(p, np.ones(1)), "a note lasts at least 50 ms"),
    "too short": (lambda p: write(p, tone(60, 0.04)), "a note lasts at least 50 ms"),
    "too long": (lambda p: write(p, np.zeros(8_000 * 61), rate=8_000), "at most 60 s"),
    "silent": (lambda p: write(p, np.zeros(RATE)), "is silent"),
    "nearly silent": (lambda p: write(p, tone(60, gain=1e-4)), "is silent"),
    "constant": (lambda p: write(p, np.full(RATE, 0.5)), "holds only a constant"),
    "not a number": (lambda p: write(p, np.append(tone(60), np.nan), subtype="FLOAT"), "finite"),
    "infinite": (lambda p: write(p, np.append(tone(60), np.inf), subtype="FLOAT"), "finite"),
    "cut off": (lambda p: (write(p, tone(60)), cut(p, 0.6)), "is cut off"),
    "header only": (lambda p: (write(p, tone(60)), cut(p, 0.0005)), "cannot be read"),
    "folder": (lambda p: p.mkdir(), None),
    "pipe": (lambda p: os.mkfifo(p), "not a regular file"),
    "dangling link": (lambda p: p.symlink_to("nowhere.wav"), "not a regular file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_file_is_skipped_with_its_reason_and_nothing_is_lost(tmp_path, kind):
    make, reason = BAD[kind]
    fill(tmp_path, {"C4.wav": 60, "E4.wav": 64})
    make(tmp_path / "D4.wav")
    read = read_folder(tmp_path)
    assert [r.name for r in read.used] == ["C4.wav", "E4.wav"]
    bad = by_name(read).get("D4.wav")
    if reason is None:
        assert bad is None
    else:
        assert reason in bad.reason
        assert str(tmp_path) not in bad.reason
        assert bad.note is None


def test_flac_cut_off_is_skipped(tmp_path):
    fill(tmp_path, {"C4.flac": 60, "E4.flac": 64})
    cut(tmp_path / "E4.flac", 0.5)
    read = by_name(read_folder(tmp_path))
    assert read["C4.flac"].used
    assert not read["E4.flac"].used
    assert read["E4.flac"].reason


def test_identical_files_are_used_once(tmp_path):
    for name in ("C4.wav", "copy of it.wav", "E4.wav"):
        write(tmp_path / name, tone(60))
    read = read_folder(tmp_path)
    assert [r.name for r in read.used] == ["C4.wav"]
    assert by_name(read)["copy of it.wav"].reason == "is the same as C4.wav"


def test_other_files_are_passed_over_but_unreadable_audio_is_named(tmp_path):
    fill(tmp_path, {"C4.wav": 60, ".hidden.wav": 62})
    for name in ("notes.txt", "cover.jpg", "._C4.wav", ".DS_Store", "song.mid", "D4.m4a"):
        (tmp_path / name).write_bytes(b"x" * 100)
    read = read_folder(tmp_path)
    assert [r.name for r in read.recordings] == ["C4.wav", "D4.m4a"]
    assert "convert it to wav or flac" in by_name(read)["D4.m4a"].reason


def test_link_loops_and_deep_folders_end(tmp_path):
    fill(tmp_path, {"a/C4.wav": 60})
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    deep = tmp_path.joinpath(*["d"] * 30)
    deep.mkdir(parents=True)
    write(deep / "D4.wav", tone(62))
    assert [r.name for r in read_folder(tmp_path).recordings] == ["a/C4.wav"]


def test_file_whose_name_is_no_text_does_no_harm(tmp_path):
    fill(tmp_path, {"C4.wav": 60, "D4.wav": 62})
    os.rename(tmp_path / "D4.wav", os.fsencode(tmp_path) + b"/D4 \xff\n.wav")
    read = read_folder(tmp_path)
    odd = next(r for r in read.recordings if r.name != "C4.wav")
    assert odd.note == 62 if odd.used else odd.reason == "has a name that is no text; rename it"
    assert by_name(read)["C4.wav"].used
    json.dumps(read.to_json(), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(("make", "says"), [
    (lambda p: p / "nothing", "does not exist"),
    (lambda p: write(p / "C4.wav", tone(60)), "is not a folder"),
    (lambda p: p, "holds no usable recording"),
    (lambda p: write(p / "x" / "C4.wav", np.zeros(RATE)).parent, "C4.wav, is silent"),
])  # fmt: skip
def test_folder_without_recordings_says_what_is_allowed(tmp_path, make, says):
    with pytest.raises(RecordingError, match=says) as caught:
        read_folder(make(tmp_path))
    assert "wav, flac, aiff, mp3, ogg" in str(caught.value)


# ---- the whole


def test_one_recording_is_enough(tmp_path):
    (only,) = read_folder(fill(tmp_path, {"A4.wav": 69})).used
    assert (only.note, only.velocity) == (69, 90)


def test_json_shows_what_was_understood(tmp_path):
    fill(tmp_path, {"C4_v100.wav": 60})
    (tmp_path / "D4.wav").write_text("no audio")
    shown = json.loads(json.dumps(read_folder(tmp_path).to_json()))
    good, bad = shown["files"]
    assert {k: good[k] for k in ("path", "used", "note", "velocity", "note_from", "reason")} == {
        "path": "C4_v100.wav", "used": True, "note": 60, "velocity": 100, "note_from": "name", "reason": None,
    }  # fmt: skip
    assert (bad["path"], bad["used"], bad["note"], bad["note_from"]) == ("D4.wav", False, None, None)
    assert (shown["octave_shift"], shown["warnings"]) == (0, [])


def test_reading_twice_gives_the_same_and_tells_its_progress(tmp_path):
    fill(tmp_path, {"b.wav": 60, "a.wav": 64, "c/D4.wav": 62})
    steps = []
    first = read_folder(tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [r.name for r in first.recordings] == ["a.wav", "b.wav", "c/D4.wav"]
    assert first == read_folder(tmp_path)
    assert all(len(r.digest) == 16 for r in first.recordings)
