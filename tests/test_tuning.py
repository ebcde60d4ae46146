"""Tuning: tables, Scala files, MIDI Tuning Standard messages, resets, piano stretch."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import os
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.errors import PresetError, UsageError
from neuralsynth.tuning import Tuning, TuningStore, read_scala, read_sysex, stretched
from neuralsynth.tuning.mts import OctaveTuning, ProgramTuning, read_tuning
from neuralsynth.tuning.store import ALL_KEYS
from neuralsynth.tuning.stretch import A0, C8, stretch_cents, typical_inharmonicity
from neuralsynth.tuning.sysex import MasterCoarseTuning, MasterFineTuning, MasterVolume, Reset
from tests.effort import at_most

KEYS = np.arange(128.0)
EQUAL = Tuning.equal()
WHITE_KEYS = "! white keys\n12\n0\n127\n60\n69\n440.0\n7\n0\nx\n1\nx\n2\n3\nx\n4\nx\n5\nx\n6\n"
JUST_MAJOR = "! ji.scl\n!\nJust major\n 7\n!\n 9/8\n 5/4\n 4/3\n 3/2\n 5/3\n 15/8\n 2/1\n"


@pytest.fixture
def scala(tmp_path):
    """Read texts or bytes as Scala files."""

    def read(scl, kbm=None):
        for name, content in (("a.scl", scl), ("a.kbm", kbm)):
            if content is not None:
                (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_scala(tmp_path / "a.scl", None if kbm is None else tmp_path / "a.kbm")

    return read


def cents_between(tuning, low_key, high_key):
    return 100.0 * (tuning.notes[high_key] - tuning.notes[low_key])


def cents(ratio):
    return 1200.0 * math.log2(ratio)


# --- the table ---


def test_equal_temperament_gives_every_key_its_own_number():
    assert np.array_equal(EQUAL.notes, KEYS)
    assert EQUAL.hz()[[69, 60, 81]] == pytest.approx([440.0, 261.6255653, 880.0])


def test_equal_temperament_at_another_a4_moves_every_key_alike():
    baroque = Tuning.equal(415.0)
    assert baroque.hz()[69] == pytest.approx(415.0)
    assert baroque.hz()[57] == pytest.approx(207.5)


@pytest.mark.parametrize("a4_hz", [0.0, -440.0, math.nan, math.inf, 1e9])
def test_an_impossible_a4_is_refused(a4_hz):
    with pytest.raises(UsageError, match="1 to 20000"):
        Tuning.equal(a4_hz)


def test_a_shift_moves_every_mapped_key_and_leaves_silent_keys_silent():
    shifted = EQUAL.with_keys({3: math.nan}).shifted(-25.0)
    assert shifted.notes[60] == 59.75 and shifted.notes[0] == -0.25
    assert not shifted.is_mapped(3) and shifted.is_mapped(4)


def test_single_keys_can_be_retuned_without_touching_the_tuning_they_come_from():
    changed = EQUAL.with_keys({60: 60.5, 61: math.nan})
    assert changed.notes[60] == 60.5 and not changed.is_mapped(61) and changed.notes[62] == 62.0
    assert EQUAL.notes[60] == 60.0


def test_a_tuning_cannot_be_written_to_and_keeps_no_foreign_array():
    mine = KEYS.copy()
    tuning = Tuning(mine)
    mine[60] = 0.0
    assert tuning.notes[60] == 60.0
    with pytest.raises(ValueError, match="read-only"):
        tuning.notes[60] = 1.0


def test_tunings_are_equal_when_their_notes_are_whatever_the_name():
    silent = {5: math.nan}
    assert Tuning.equal().with_keys(silent) == Tuning(EQUAL.with_keys(silent).notes, "other")
    assert hash(EQUAL.with_keys(silent)) == hash(Tuning(EQUAL.with_keys(silent).notes, "other"))
    assert EQUAL.with_keys({5: 5.001}) != EQUAL


@pytest.mark.parametrize("note", [1e300, -1e300, math.inf, -math.inf, 157.0, -37.0])
def test_a_pitch_nobody_hears_is_silence_and_no_overflow(note):
    tuning = EQUAL.with_keys({60: note})
    assert not tuning.is_mapped(60)
    assert np.isfinite(np.delete(tuning.hz(), 60)).all()


def test_a_tuning_of_wrong_length_key_or_shift_is_refused():
    for wrong in (
        lambda: Tuning(np.zeros(127)),
        lambda: EQUAL.with_keys({128: 60.0}),
        lambda: EQUAL.with_keys({-1: 60.0}),
        lambda: EQUAL.shifted(math.nan),
        lambda: Tuning.of_octave([0.0] * 11),
    ):
        with pytest.raises(UsageError):
            wrong()


# --- Scala ---


def test_a_scale_without_a_key_map_starts_on_middle_c_at_its_usual_pitch(scala):
    tuning = scala(JUST_MAJOR)
    assert tuning.name == "Just major"
    assert tuning.hz()[60] == pytest.approx(261.6255653, abs=1e-6)
    assert tuning.hz()[60:68] / tuning.hz()[60] == pytest.approx([1, 9 / 8, 5 / 4, 4 / 3, 3 / 2, 5 / 3, 15 / 8, 2])
    assert tuning.hz()[59] / tuning.hz()[60] == pytest.approx(15 / 16)  # the degree below 1/1, an octave down


def test_quarter_comma_meantone_has_pure_thirds_and_narrow_fifths(scala):
    # Scala's meanquar.scl; fifths are 5**(1/4), so that four of them less two octaves make a 5/4
    scl = (
        "! meanquar.scl\n1/4-comma meantone scale. Pietro Aaron's temperament (1523)\n 12\n!\n 76.04900\n 193.15686\n"
        " 310.26471\n 5/4\n 503.42157\n 579.47057\n 696.57843\n 25/16\n 889.73529\n 1006.84314\n 1082.89214\n 2/1\n"
    )
    tuning = scala(scl)
    fifth = cents(5**0.25)
    assert fifth == pytest.approx(696.578428)
    for low, high in ((60, 67), (67, 74), (62, 69), (65, 72), (58, 65)):
        assert cents_between(tuning, low, high) == pytest.approx(fifth, abs=1e-4)
    for low in (60, 65, 67, 62):
        assert cents_between(tuning, low, low + 4) == pytest.approx(cents(5 / 4), abs=1e-4)
    assert cents_between(tuning, 68, 75) == pytest.approx(737.637, abs=1e-3)  # the wolf, G# to Eb


def test_pythagorean_ratios_give_pure_fifths(scala):
    scale = sorted(Fraction(3**n, 2 ** math.floor(n * math.log2(3))) for n in range(12))
    lines = [f"{ratio.numerator}/{ratio.denominator}" for ratio in scale[1:]] + ["2"]
    tuning = scala("Pythagorean\n12\n" + "\n".join(lines) + "\n")
    assert cents_between(tuning, 60, 67) == pytest.approx(701.955001, abs=1e-6)
    assert cents_between(tuning, 60, 66) == pytest.approx(611.730005, abs=1e-6)  # 729/512
    assert cents_between(tuning, 60, 72) == pytest.approx(1200.0)


def test_nineteen_equal_steps_repeat_after_nineteen_keys(scala):
    steps = "\n".join(f"{1200 * n / 19:.6f}" for n in range(1, 20))
    tuning = scala(f"19 equal\n19\n{steps}\n")
    assert np.diff(tuning.notes) == pytest.approx(12 / 19, abs=1e-7)
    assert cents_between(tuning, 60, 79) == pytest.approx(1200.0)


def test_bohlen_pierce_repeats_at_the_twelfth(scala):
    steps = "".join(f" {cents(3) * n / 13:.9f}\n" for n in range(1, 13))
    tuning = scala(f"Bohlen-Pierce, equal\n13\n{steps} 3/1\n")
    assert tuning.hz()[73] / tuning.hz()[60] == pytest.approx(3.0)
    assert tuning.hz()[34] / tuning.hz()[60] == pytest.approx(1 / 9)
    assert tuning.notes[86] - tuning.notes[60] == pytest.approx(24 * math.log2(3))
    assert tuning.is_mapped(125) and not tuning.is_mapped(127)  # step 67 of 146.3 cents would be 75 kHz


def test_a_key_map_lays_seven_degrees_on_the_white_keys_and_silences_the_black(scala):
    tuning = scala(JUST_MAJOR, WHITE_KEYS)
    assert tuning.hz()[69] == pytest.approx(440.0)  # the reference, which is degree 5
    assert tuning.hz()[60] == pytest.approx(440.0 * 3 / 5)
    assert tuning.hz()[[62, 64, 65, 67, 71, 72]] / tuning.hz()[60] == pytest.approx(
        [9 / 8, 5 / 4, 4 / 3, 3 / 2, 15 / 8, 2]
    )
    assert tuning.hz()[[48, 59, 83]] / tuning.hz()[60] == pytest.approx([1 / 2, 15 / 16, 15 / 4])
    silent = [key for key in range(128) if key % 12 in {1, 3, 6, 8, 10}]
    assert [key for key in range(128) if not tuning.is_mapped(key)] == silent


def test_map_entries_left_out_at_the_end_are_silent(scala):
    kbm = "12\n0\n127\n60\n60\n264\n7\n0\nx\n1\n"
    tuning = scala(JUST_MAJOR, kbm)
    assert [key % 12 for key in range(60, 84) if tuning.is_mapped(key)] == [0, 2, 0, 2]
    assert tuning.hz()[62] == pytest.approx(297.0)


def test_lines_after_the_map_are_ignored(scala):
    assert scala(JUST_MAJOR, WHITE_KEYS + "x\nanything\n") == scala(JUST_MAJOR, WHITE_KEYS)


def test_formal_octave_zero_is_the_last_degree_and_a_lower_one_narrows_the_repeat(scala):
    whole = scala(JUST_MAJOR, "2\n0\n127\n60\n60\n264\n0\n0\n4\n")
    assert whole.hz()[60:65] == pytest.approx([264, 396, 528, 792, 1056])
    fifths = scala(JUST_MAJOR, "2\n0\n127\n60\n60\n264\n4\n0\n2\n")  # repeats at degree 4, the fifth
    assert fifths.hz()[60:65] == pytest.approx([264, 330, 396, 495, 594])
    assert fifths.hz()[58] == pytest.approx(176)


def test_degrees_above_the_scale_go_on_into_the_next_period(scala):
    tuning = scala(JUST_MAJOR, "2\n0\n127\n60\n60\n264\n14\n0\n8\n")
    assert tuning.hz()[60:63] == pytest.approx([264, 594, 1056])


def test_a_linear_map_moves_the_start_and_reference_of_the_scale(scala):
    tuning = scala(JUST_MAJOR, "! linear\n0\n0\n127\n69\n71\n500\n0\n")
    assert tuning.hz()[[69, 71, 76]] == pytest.approx([400, 500, 800])


def test_keys_outside_the_retuned_range_keep_equal_temperament(scala):
    tuning = scala(JUST_MAJOR, "0\n48\n72\n60\n60\n300\n0\n")
    assert tuning.hz()[60] == pytest.approx(300.0)
    assert np.array_equal(tuning.notes[:48], KEYS[:48]) and np.array_equal(tuning.notes[73:], KEYS[73:])
    assert not np.any(np.isclose(tuning.notes[48:73], KEYS[48:73], atol=0.01))


def test_the_map_repeats_the_same_way_wherever_its_middle_key_is_put(scala):
    at_60 = scala(JUST_MAJOR, WHITE_KEYS)
    for middle in (0, 24, 84, 120):
        moved = scala(JUST_MAJOR, WHITE_KEYS.replace("\n60\n", f"\n{middle}\n"))
        assert moved.notes == pytest.approx(at_60.notes, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("81/64", cents(81 / 64)),
        ("408.0", 408.0),
        ("408.", 408.0),
        (".5", 0.5),
        ("5", cents(5)),
        ("-5.0", -5.0),
        ("10/20", -1200.0),
        ("100.0 cents", 100.0),
        ("100.0 C#", 100.0),
        ("\t 5/4   E\\", cents(5 / 4)),
        ("5/4 ! 386.3 cents", cents(5 / 4)),
        ("3 / 2", cents(3 / 2)),
        ("701.955! a fifth", 701.955),
        (f"{3**500}/{2**792}", cents(Fraction(3**500, 2**792))),
    ],
)
def test_pitches_are_read_as_scala_reads_them(scala, written, meant):
    tuning = scala(f"one pitch\n 1\n{written}\n")
    assert cents_between(tuning, 60, 61) == pytest.approx(meant)


@pytest.mark.parametrize(
    "written",
    [
        "-3/2",
        "0",
        "3/0",
        "0/3",
        "x",
        "",
        "1e3",
        "701,955",
        "3/2/4",
        "3/-2",
        "3 / -2",
        "1.2.3",
        "1.0e9",
        "9" * 1001,
        "1e999",
        "nan",
        "99999999.0",
    ],
)
def test_a_wrong_pitch_is_refused_with_file_line_and_what_is_allowed(scala, written):
    with pytest.raises(PresetError) as caught:
        scala(f"! c\nbad\n 2\n 9/8\n{written}\n")
    if written:
        assert "a.scl: line 5: pitch is" in str(caught.value) and "701.955" in str(caught.value)
    else:
        assert "promises 2 pitches and holds 1" in str(caught.value)


def test_a_scale_of_no_pitches_sounds_its_one_degree_on_every_key(scala):
    tuning = scala("only 1/1\n0\n")
    assert np.array_equal(tuning.notes, np.full(128, 60.0))


def test_line_ends_blank_lines_byte_order_marks_and_old_encodings_do_not_matter(scala):
    plain = scala(JUST_MAJOR)
    for end in ("\r\n", "\r"):
        assert scala(JUST_MAJOR.replace("\n", end)) == plain
    assert scala(b"\xef\xbb\xbf" + JUST_MAJOR.encode()) == plain
    assert scala(JUST_MAJOR.replace(" 5/4\n", "\n 5/4\n\n") + "\nanything\n") == plain
    latin = scala(JUST_MAJOR.replace("Just major", "Stéphane").encode("latin-1"))
    assert latin == plain and latin.name == "Stéphane"


def test_an_empty_description_gives_the_file_name_and_an_odd_one_is_made_printable(scala):
    assert scala(JUST_MAJOR.replace("Just major", "")).name == "a"
    odd = scala(JUST_MAJOR.replace("Just major", "\x1b[31m" + "long " * 100)).name
    assert odd.isprintable() and len(odd) <= 80


@pytest.mark.parametrize(
    ("scl", "says"),
    [
        ("", "is empty"),
        ("! a\n! b\n", "comments only"),
        ("name\n", "ends before the number of pitches"),
        ("name\nseven\n9/8\n", "line 2: number of pitches is 'seven'; use a whole number from 0 to"),
        ("name\n9/8\n", "line 2: number of pitches"),
        ("name\n-1\n", "line 2: number of pitches"),
        ("name\n999999999\n", "line 2: number of pitches"),
        ("name\n3\n9/8\n2/1\n", "promises 3 pitches and holds 2"),
    ],
)
def test_a_broken_scale_file_is_refused_and_says_why(scala, scl, says):
    with pytest.raises(PresetError, match="a.scl: ") as caught:
        scala(scl)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("kbm", "says"),
    [
        ("12\n0\n127\n60\n", "ends before the reference key"),
        ("-1\n0\n127\n60\n60\n264\n7\n", "line 1: map size is '-1'; use a whole number from 0"),
        ("0\n0\n128\n60\n60\n264\n7\n", "line 3: last key is '128'; use a whole number from 0 to 127"),
        ("0\n70\n60\n60\n60\n264\n7\n", "line 3: the last key 60 is below the first key 70"),
        ("0\n0\n127\n60.5\n60\n264\n7\n", "line 4: middle key is '60.5'"),
        ("0\n0\n127\n60\n200\n264\n7\n", "line 5: reference key is '200'"),
        ("! c\n0\n0\n127\n60\n60\n0\n7\n", "line 7: reference frequency is '0'; use a number from 1 to 20000 Hz"),
        ("0\n0\n127\n60\n60\n1e99\n7\n", "reference frequency is '1e99'"),
        ("0\n0\n127\n60\n60\nnan\n7\n", "reference frequency is 'nan'"),
        ("0\n0\n127\n60\n60\n264\noctave\n", "line 7: formal octave is 'octave'"),
        ("2\n0\n127\n60\n60\n264\n7\n0\ny\n", "line 9: map entry is 'y'; use a scale degree from 0 to 65536, or x"),
        ("2\n0\n127\n60\n60\n264\n7\n0\n-1\n", "line 9: map entry is '-1'"),
        ("2\n0\n127\n60\n61\n264\n7\n0\nx\n", "the reference key 61 is unmapped"),
    ],
)
def test_a_broken_key_map_is_refused_and_says_why(scala, kbm, says):
    with pytest.raises(PresetError, match="a.kbm: ") as caught:
        scala(JUST_MAJOR, kbm)
    assert says in str(caught.value)


def test_a_folder_a_pipe_a_missing_and_a_huge_file_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.scl")
    (tmp_path / "huge.scl").write_bytes(b"a\n1\n2/1\n" + bytes(1 << 20))
    for name, says in (
        ("", "regular file"),
        ("pipe.scl", "regular file"),
        ("no.scl", "cannot be opened"),
        ("huge.scl", "larger"),
    ):
        with at_most(0.25), pytest.raises(PresetError, match=says):
            read_scala(tmp_path / name)


@pytest.mark.parametrize(
    "line", ["1" * 1_000_000, " " * 1_000_000, "3" + " " * 1_000_000 + "x", "3/" * 500_000, "." * 1_000_000]
)
def test_a_hostile_line_takes_no_time(scala, line):
    for scl, kbm in ((f"n\n1\n{line}", None), (f"n\n{line}", None), (JUST_MAJOR, f"1\n0\n127\n60\n60\n{line}\n0\n0")):
        with at_most(1.0):
            try:
                scala(scl, kbm)
            except PresetError as error:
                assert len(str(error)) < 400


@settings(max_examples=300, deadline=None)
@given(
    scl=st.one_of(
        st.binary(max_size=200), st.text("0123456789./-x! \n\te,", max_size=80).map(lambda t: f"n\n2\n{t}".encode())
    ),
    kbm=st.one_of(
        st.none(), st.text("0123456789.x! \n-", max_size=80).map(lambda t: f"2\n0\n127\n60\n60\n{t}".encode())
    ),
)
def test_any_bytes_give_a_usable_tuning_or_our_error(tmp_path_factory, scl, kbm):
    folder = tmp_path_factory.getbasetemp()
    (folder / "f.scl").write_bytes(scl)
    (folder / "f.kbm").write_bytes(kbm or b"")
    try:
        tuning = read_scala(folder / "f.scl", None if kbm is None else folder / "f.kbm")
    except PresetError:
        return
    assert tuning.notes.shape == (128,) and not np.isinf(tuning.notes).any()


# --- MIDI Tuning Standard ---


def sysex(*parts):
    """F0, numbers and byte strings, F7."""
    return b"\xf0" + b"".join(bytes([part]) if isinstance(part, int) else bytes(part) for part in parts) + b"\xf7"


def dump(*parts, wrong=0):
    """A dump with its checksum: XOR of all bytes after F0."""
    body = sysex(*parts)[1:-1]
    checksum = 0
    for byte in body:
        checksum ^= byte
    return sysex(body, checksum ^ wrong)


def three_bytes(note):
    """A note number as `xx yy zz`."""
    units = round(note * 16384)
    return bytes([units >> 14, units >> 7 & 0x7F, units & 0x7F])


NAME = b"Werckmeister III"
QUARTER_UP = b"".join(three_bytes(min(key + 0.25, 127.9)) for key in range(128))


def test_a_real_time_note_change_moves_a_key_of_a_playing_program():
    store = TuningStore()
    change = store.apply(sysex(0x7F, 0x7F, 8, 2, 0, 2, 69, 70, 0x40, 0, 60, 60, 0, 1))
    assert change.channels == tuple(range(16)) and change.keys == (60, 69)
    assert change.real_time and change.program == (0, 0)
    tuning = store.tuning(3, EQUAL)
    assert tuning.notes[69] == 70.5
    assert tuning.notes[60] == pytest.approx(60.0 + 0.000061, abs=1e-6)  # one unit is 0.0061 cents
    assert tuning.notes[61] == 61.0


def test_a_note_change_with_bank_goes_to_that_bank_in_both_headers():
    for header, real_time in ((0x7F, True), (0x7E, False)):
        store = TuningStore()
        change = store.apply(sysex(header, 0, 8, 7, 5, 9, 1, 60, 61, 0, 0))
        assert change.program == (5, 9) and change.real_time is real_time and change.channels == ()
        assert store.tuning(0, EQUAL) is EQUAL
        store.choose_bank(0, 5)
        assert store.tuning(0, EQUAL) is EQUAL  # a bank waits for its program
        chosen = store.choose_program(0, 9)
        assert chosen.channels == (0,) and chosen.real_time and chosen.program is None
        assert store.tuning(0, EQUAL).notes[60] == 61.0 and store.tuning(1, EQUAL) is EQUAL


def test_only_channels_that_play_the_written_program_are_reported():
    store = TuningStore()
    store.choose_program(4, 7)
    store.choose_program(9, 7)
    assert store.apply(sysex(0x7F, 0, 8, 2, 7, 1, 60, 61, 0, 0)).channels == (4, 9)


def test_a_key_marked_no_change_keeps_its_pitch():
    store = TuningStore()
    store.apply(sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0))
    change = store.apply(sysex(0x7F, 0, 8, 2, 0, 2, 60, 0x7F, 0x7F, 0x7F, 62, 50, 0, 0))
    assert change.keys == (62,)
    assert store.tuning(0, EQUAL).notes[[60, 62]] == pytest.approx([61.0, 50.0])
    nothing = store.apply(sysex(0x7F, 0, 8, 2, 0, 1, 60, 0x7F, 0x7F, 0x7F))
    assert nothing.keys == () and nothing.channels == ()


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (dump(0x7E, 0, 8, 1, 3, NAME, QUARTER_UP), (0, 3)),
        (dump(0x7E, 0, 8, 4, 2, 3, NAME, QUARTER_UP), (2, 3)),
    ],
)
def test_a_bulk_dump_fills_a_program_and_leaves_sounding_notes(message, place):
    assert len(message) == (408 if place[0] == 0 else 409)
    store = TuningStore()
    change = store.apply(message)
    assert change.program == place and change.keys == ALL_KEYS and not change.real_time
    tuning = store.program(*place, EQUAL)
    assert tuning.name == "Werckmeister III"
    assert tuning.notes[:127] == pytest.approx(KEYS[:127] + 0.25)


def test_no_change_entries_of_a_bulk_dump_keep_the_programs_old_pitches():
    store = TuningStore()
    store.apply(sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0))
    store.apply(dump(0x7E, 0, 8, 1, 0, NAME, b"\x7f\x7f\x7f" * 127, three_bytes(100.5)))
    assert store.tuning(0, EQUAL).notes[[59, 60, 127]] == pytest.approx([59.0, 61.0, 100.5])


def test_a_wrong_checksum_is_reported_and_the_notes_are_taken():
    right, wrong = dump(0x7E, 0, 8, 1, 3, NAME, QUARTER_UP), dump(0x7E, 0, 8, 1, 3, NAME, QUARTER_UP, wrong=0x11)
    assert read_tuning(right).checksum_ok and not read_tuning(wrong).checksum_ok
    assert read_tuning(right).notes == read_tuning(wrong).notes
    assert TuningStore().apply(wrong).keys == ALL_KEYS


def test_octave_dumps_tune_a_program_from_equal_temperament():
    one = dump(0x7E, 0, 8, 5, 1, 2, NAME, bytes([64, 0, 127] + [64] * 9))
    two = dump(0x7E, 0, 8, 6, 1, 2, NAME, bytes([0x40, 0, 0, 0, 0x7F, 0x7F] + [0x40, 0] * 9))
    for message, offsets in ((one, (0.0, -64.0, 63.0)), (two, (0.0, -100.0, 99.98779))):
        store = TuningStore()
        assert read_tuning(message).checksum_ok
        assert store.apply(message).program == (1, 2)
        tuning = store.program(1, 2, EQUAL)
        for octave in (0, 60, 120):
            assert 100 * (tuning.notes - KEYS)[octave : octave + 3] == pytest.approx(offsets, abs=1e-5)
        assert tuning.notes[3:12] == pytest.approx(KEYS[3:12])


def test_octave_tunings_reach_exactly_the_channels_of_their_mask():
    for mask, channels in (
        ((0, 0, 1), (0,)),
        ((0, 0, 0x40), (6,)),
        ((0, 1, 0), (7,)),
        ((0, 0x40, 0), (13,)),
        ((1, 0, 0), (14,)),
        ((2, 0, 0), (15,)),
        ((0x7C, 0, 0), ()),
        ((3, 0x7F, 0x7F), tuple(range(16))),
    ):
        store = TuningStore()
        change = store.apply(sysex(0x7F, 0x7F, 8, 8, *mask, bytes([0x40 + 10] * 12)))
        assert change.channels == channels and change.real_time and change.program is None
        moved = tuple(c for c in range(16) if store.tuning(c, EQUAL).notes[60] == 60.1)
        assert moved == channels


def test_octave_tunings_have_one_and_two_byte_values_and_both_headers():
    one = read_tuning(sysex(0x7E, 0, 8, 8, 3, 0x7F, 0x7F, bytes([0, 64, 127] + [64] * 9)))
    two = read_tuning(sysex(0x7F, 0, 8, 9, 0, 0, 1, bytes([0, 0, 0x40, 0, 0x7F, 0x7F] + [0x40, 0] * 9)))
    assert one.cents[:4] == (-64.0, 0.0, 63.0, 0.0) and not one.real_time
    assert two.cents[:4] == pytest.approx((-100.0, 0.0, 100.0 * 8191 / 8192, 0.0)) and two.real_time


def test_the_later_of_octave_tuning_and_tuning_program_wins():
    store = TuningStore()
    store.apply(sysex(0x7F, 0, 8, 2, 1, 1, 60, 61, 0, 0))
    store.choose_program(0, 1)
    store.apply(sysex(0x7F, 0, 8, 8, 0, 0, 1, bytes([0x40 + 50] * 12)))
    assert store.tuning(0, EQUAL).notes[60] == 60.5
    assert store.apply(sysex(0x7F, 0, 8, 2, 1, 1, 60, 62, 0, 0)).channels == ()  # hidden: nothing audible
    store.choose_program(0, 1)
    assert store.tuning(0, EQUAL).notes[60] == 62.0


def test_untouched_keys_of_a_program_follow_the_tuning_of_the_sound():
    store = TuningStore()
    own = Tuning.equal(415.0).with_keys({10: math.nan, 11: math.nan})
    assert store.tuning(0, own) is own
    store.apply(sysex(0x7F, 0, 8, 2, 0, 2, 60, 61, 0, 0, 11, 12, 0, 0))
    tuning = store.tuning(0, own)
    assert tuning.notes[60] == 61.0 and tuning.notes[11] == 12.0
    assert tuning.notes[69] == own.notes[69] and not tuning.is_mapped(10)


def test_reset_forgets_programs_choices_and_octave_tunings():
    store = TuningStore()
    store.apply(sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0))
    store.apply(sysex(0x7F, 0, 8, 8, 0, 0, 2, bytes([0x50] * 12)))
    store.choose_bank(2, 3)
    store.choose_program(2, 4)
    store.reset()
    assert all(store.tuning(channel, EQUAL) is EQUAL for channel in range(16))
    assert store.chosen(2) == (0, 0) and store.choose_program(2, 1) and store.chosen(2) == (0, 1)


def test_a_device_id_narrows_what_is_obeyed():
    to_five, to_all = (sysex(0x7F, device, 8, 2, 0, 1, 60, 61, 0, 0) for device in (5, 0x7F))
    assert TuningStore(5).apply(to_five) and TuningStore(5).apply(to_all)
    assert TuningStore(6).apply(to_five) is None and TuningStore(6).apply(to_all)
    assert TuningStore().apply(to_five)
    assert read_sysex(sysex(0x7F, 5, 4, 1, 0, 64), device_id=6) is None


@pytest.mark.parametrize(
    "message",
    [
        sysex(0x7F, 0, 8, 2, 0, 2, 60, 61, 0, 0),  # fewer entries than counted
        sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0, 0),
        sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0),
        sysex(0x7F, 0, 8, 2, 0, 1, 60, 0x80, 0, 0),  # eight bits
        sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0)[:-1],  # no F7
        sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0)[:-1] + b"\x00",
        sysex(0x7F, 0, 8, 2),
        sysex(0x7F, 0, 8, 7),
        sysex(0x7F, 0, 8),
        sysex(0x7F, 0),
        sysex(0x7F, 0, 8, 8, 0, 0, 1, bytes(11)),
        sysex(0x7F, 0, 8, 9, 0, 0, 1, bytes(12)),
        dump(0x7E, 0, 8, 1, 3, NAME, QUARTER_UP[:-1]),
        dump(0x7F, 0, 8, 1, 3, NAME, QUARTER_UP),  # no dump is real time
        sysex(0x7E, 0, 8, 0, 3),  # a request
        sysex(0x7E, 0, 8, 0x0A, 3),
        b"",
        b"\xf0",
        b"\xf0\xf7",
        b"\x90\x40\x40",
    ],
)
def test_broken_and_foreign_messages_change_nothing(message):
    store = TuningStore()
    assert store.apply(message) is None and read_sysex(message) is None
    assert store.tuning(0, EQUAL) is EQUAL


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=450),
        st.builds(
            lambda header, kind, data: bytes([0xF0, header, 0x7F, 8, kind]) + data + b"\xf7",
            st.sampled_from([0x7E, 0x7F]),
            st.integers(0, 10),
            st.one_of(
                st.lists(st.integers(0, 127), max_size=40).map(bytes),
                st.sampled_from([15, 27, 31, 43, 402, 403]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
            ),
        ),
    )
)
def test_any_bytes_leave_the_store_in_order(message):
    store = TuningStore()
    change = store.apply(message)
    meaning = read_sysex(message)
    assert (change is not None) == isinstance(meaning, (ProgramTuning, OctaveTuning))
    for channel in range(16):
        notes = store.tuning(channel, EQUAL).notes
        assert np.all((notes >= -1.0) & (notes <= 129.0))
        if change is None or channel not in change.channels:
            assert np.array_equal(notes, KEYS)


def test_writing_the_same_programs_again_takes_no_more_memory():
    store = TuningStore()

    def write_all(note):
        for bank in range(0, 128, 32):
            for program in range(128):
                store.apply(sysex(0x7E, 0, 8, 7, bank, program, 1, 60, note, 0, program))

    write_all(50)
    tracemalloc.start()
    try:
        write_all(51)
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            write_all(52)
        assert tracemalloc.get_traced_memory()[0] < 1.1 * first
    finally:
        tracemalloc.stop()
    kept = [store.program(32, program, EQUAL).notes[60] for program in range(128)]
    assert kept == pytest.approx([52.0 + program / 16384 for program in range(128)])


# --- FluidSynth reads the same messages ---


class Fluid:
    """A FluidSynth that is sent SysEx and tells its tuning tables."""

    def __init__(self):
        self.c = ctypes.CDLL(ctypes.util.find_library("fluidsynth"))
        self.c.new_fluid_settings.restype = self.c.new_fluid_synth.restype = ctypes.c_void_p
        self.settings = ctypes.c_void_p(self.c.new_fluid_settings())
        self.synth = ctypes.c_void_p(self.c.new_fluid_synth(self.settings))

    def send(self, message):
        """Send a message; what it answers, F0 and F7 added."""
        answer, length, handled = ctypes.create_string_buffer(500), ctypes.c_int(500), ctypes.c_int()
        arguments = (message[1:-1], len(message) - 2, answer, ctypes.byref(length), ctypes.byref(handled), 0)
        assert self.c.fluid_synth_sysex(self.synth, *arguments) == 0 and handled.value
        return b"\xf0" + answer.raw[: length.value] + b"\xf7"

    def notes(self, bank, program):
        """A tuning program as note numbers."""
        pitches, name = (ctypes.c_double * 128)(), ctypes.create_string_buffer(32)
        assert self.c.fluid_synth_tuning_dump(self.synth, bank, program, name, 32, pitches) == 0
        return np.array(pitches) / 100.0

    def close(self):
        """Free it."""
        self.c.delete_fluid_synth(self.synth)
        self.c.delete_fluid_settings(self.settings)


@pytest.fixture
def fluid():
    if ctypes.util.find_library("fluidsynth") is None:
        assert "CI" not in os.environ, "libfluidsynth is required where CI is set"
        pytest.skip("libfluidsynth is not installed: apt install libfluidsynth3")
    fluid = Fluid()
    yield fluid
    fluid.close()


def test_note_changes_tune_as_in_fluidsynth(fluid):
    rng = np.random.default_rng(3)
    store = TuningStore()
    for _ in range(50):
        bank, program, count = (int(rng.integers(*span)) for span in ((0, 2), (0, 3), (1, 20)))
        entries = rng.integers(0, 127, (count, 4)).astype(np.uint8).tobytes()
        message = sysex(0x7F, 0x7F, 8, 7, bank, program, count, entries)
        fluid.send(message)
        store.apply(message)
        ours, theirs = store.program(bank, program, EQUAL), fluid.notes(bank, program)
        assert ours.notes == pytest.approx(theirs, abs=1e-9)


def test_octave_tunings_tune_as_in_fluidsynth(fluid):
    rng = np.random.default_rng(4)
    for kind, count in ((8, 12), (9, 24)) * 20:
        message = sysex(0x7F, 0x7F, 8, kind, 0, 0, 1, rng.integers(0, 128, count).astype(np.uint8).tobytes())
        store = TuningStore()
        store.apply(message)
        fluid.send(message)
        assert store.tuning(0, EQUAL).notes == pytest.approx(fluid.notes(0, 0), abs=1e-9)


def test_dumps_that_fluidsynth_sends_are_read(fluid):
    for request, place in (((0x7E, 0x7F, 8, 0, 2), (0, 2)), ((0x7E, 0x7F, 8, 3, 1, 2), (1, 2))):
        fluid.send(sysex(0x7F, 0x7F, 8, 7, *place, 2, 60, 61, 5, 6, 10, 0, 0, 9))
        store = TuningStore()
        assert store.apply(fluid.send(sysex(*request))).program == place
        assert store.program(*place, EQUAL).notes == pytest.approx(fluid.notes(*place), abs=1e-4)


# --- other SysEx ---


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("F0 7F 7F 04 01 00 00 F7", MasterVolume(0.0)),
        ("F0 7F 7F 04 01 7F 7F F7", MasterVolume(1.0)),
        ("F0 7F 10 04 01 00 40 F7", MasterVolume(8192 / 16383)),
        ("F0 7F 7F 04 03 00 40 F7", MasterFineTuning(0.0)),
        ("F0 7F 7F 04 03 00 00 F7", MasterFineTuning(-100.0)),
        ("F0 7F 7F 04 03 7F 7F F7", MasterFineTuning(100.0 * 8191 / 8192)),
        ("F0 7F 7F 04 03 00 60 F7", MasterFineTuning(50.0)),
        ("F0 7F 7F 04 04 00 40 F7", MasterCoarseTuning(0)),
        ("F0 7F 7F 04 04 33 34 F7", MasterCoarseTuning(-12)),
        ("F0 7E 7F 09 01 F7", Reset("gm")),
        ("F0 7E 7F 09 02 F7", Reset("gm off")),
        ("F0 7E 7F 09 03 F7", Reset("gm2")),
        ("F0 41 10 42 12 40 00 7F 00 41 F7", Reset("gs")),
        ("F0 41 1F 42 12 40 00 7F 7F 42 F7", Reset("gs off")),
        ("F0 41 10 42 12 00 00 7F 00 01 F7", Reset("gs")),
        ("F0 41 10 42 12 00 00 7F 01 00 F7", Reset("gs")),
        ("F0 43 10 4C 00 00 7E 00 F7", Reset("xg")),
        ("F0 43 1F 4C 00 00 7F 00 F7", Reset("xg")),
        ("F0 41 10 42 12 40 00 7F 00 40 F7", None),  # checksum
        ("F0 41 10 42 12 40 00 00 00 04 04 0F 29 F7", None),  # another Roland message
        ("F0 43 20 4C 00 00 7E 00 F7", None),  # a dump request
        ("F0 43 10 4C 00 00 7E 00 00 F7", None),
        ("F0 43 10 4C 00 00 7E 00 F7 F7", None),
        ("F0 7F 7F 04 02 00 40 F7", None),
        ("F0 7E 7F 04 01 00 40 F7", None),
        ("F0 7F 7F 09 01 F7", None),
        ("F0 7E 7F 09 04 F7", None),
        ("F0 7F 7F 04 01 00 F7", None),
        ("F0 7E 7F 06 01 F7", None),
    ],
)
def test_master_controls_and_resets_are_understood_and_nothing_else(message, meaning):
    assert read_sysex(bytes.fromhex(message)) == meaning


def test_tuning_messages_come_through_the_same_door():
    message = sysex(0x7F, 0, 8, 2, 0, 1, 60, 61, 0, 0)
    meaning = read_sysex(message)
    assert meaning == ProgramTuning(0, 0, ((60, 61.0),), real_time=True)
    one, other = TuningStore(), TuningStore()
    assert one.apply(meaning) == other.apply(message)
    assert one.tuning(0, EQUAL) == other.tuning(0, EQUAL) != EQUAL


# --- stretch ---


def test_full_stretch_is_the_usual_railsback_curve():
    curve = stretch_cents()
    assert curve[[A0, 69, C8]] == pytest.approx([-30.0, 0.0, 30.0], abs=0.1)
    assert np.all(np.diff(curve) > 0.0)
    assert np.abs(curve[48:73]).max() < 5.0  # hardly any in the middle
    assert np.all(np.diff(curve, 2)[A0 + 6 : 45] < 0.0) and np.all(np.diff(curve, 2)[75:100] > 0.0)  # an S


def test_octaves_make_the_tuners_partials_coincide():
    # at A3-A4 the rule sits between the 4:2 and the 6:3 octave: the partials of those two must straddle unison
    b = typical_inharmonicity(np.array([57, 69]))
    octave = 2.0 * 2.0 ** ((stretch_cents()[69] - stretch_cents()[57]) / 1200.0)

    def beat(n):
        return cents(octave * math.sqrt((1 + b[1] * n**2) / (1 + b[0] * 4 * n**2)) / 2.0)

    assert beat(2) > 0.0 > beat(3)
    assert abs(beat(2)) < 2.0 and abs(beat(3)) < 2.0


def test_no_stretch_is_the_tuning_itself_and_half_is_half():
    assert stretched(EQUAL, 0.0) == EQUAL
    half, full = stretched(EQUAL, 0.5), stretched(EQUAL, 1.0)
    assert 2.0 * (half.notes - KEYS) == pytest.approx(full.notes - KEYS)
    assert full.notes[C8] == pytest.approx(108.3, abs=1e-3)


def test_stretch_follows_the_pitch_and_leaves_silent_keys_silent():
    tuning = EQUAL.with_keys({60: 108.0, 61: math.nan, 62: 21.5})
    full = stretched(tuning, 1.0)
    assert full.notes[60] == pytest.approx(108.3, abs=1e-3)
    assert not full.is_mapped(61)
    assert 100 * (full.notes[62] - 21.5) == pytest.approx(stretch_cents()[[21, 22]].mean())


def test_stiffer_strings_stretch_more_and_perfect_ones_not_at_all():
    table = np.column_stack([np.arange(A0, C8 + 1), typical_inharmonicity(np.arange(A0, C8 + 1))])
    same = stretch_cents(table)
    assert same == pytest.approx(stretch_cents(), abs=1e-6)
    double = stretch_cents(table * [1.0, 2.0])
    assert double[A0] < 1.8 * same[A0] and double[C8] > 1.8 * same[C8]
    assert stretch_cents([[60, 0.0]]) == pytest.approx(0.0, abs=1e-6)
    assert stretch_cents(table[::-1]) == pytest.approx(same, abs=1e-12)  # in any order


def test_a_sparse_inharmonicity_table_is_interpolated_along_the_keyboard():
    curve = stretch_cents([[30, 2e-4], [90, 6e-3]])
    dense = [[key, 2e-4 * 30.0 ** ((key - 30) / 60)] for key in range(30, 91)]
    assert curve == pytest.approx(stretch_cents(dense), abs=1e-9)


@pytest.mark.parametrize("amount", [-0.1, 1.1, math.nan, "1", None])
def test_a_stretch_outside_nothing_to_full_is_refused(amount):
    with pytest.raises(UsageError, match="stretch is .*; use a number from 0 to 1"):
        stretched(EQUAL, amount)


@pytest.mark.parametrize(
    "table",
    [[], [[1, 2, 3]], [60, 1e-4], [[60, -1e-4]], [[128, 1e-4]], [[60, math.nan]], [[60, 1.0]], "x", [[1], [2, 3]]],
)
def test_a_wrong_inharmonicity_table_is_refused(table):
    with pytest.raises(UsageError, match="inharmonicity"):
        stretch_cents(table)
