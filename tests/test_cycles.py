"""Single-cycle waveforms: told from notes, described exactly, the same at every pitch, and trained to an instrument."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from benchmarks.pitch import played, praat_cents, yin_cents
from neuralsynth.analysis.cycles import cycle_names, cycle_spectrum, read_cycle
from neuralsynth.analysis.folder import read_folder
from neuralsynth.errors import RecordingError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.units import gain_to_db, note_to_hz

warnings.filterwarnings("ignore")

from neuralsynth.training import cycles, run  # noqa: E402
from neuralsynth.training.config import TrainConfig, VaeConfig, enough  # noqa: E402

RATE, SAMPLES = 44_100, 600
GRID = SpectrumGrid.warped(4, 2.0, 64, 4)
NUMBER = np.arange(1, 65)
WAVES = {
    "saw": 1.0 / NUMBER,
    "square": (NUMBER % 2) / NUMBER,
    "sine": 1.0 * (NUMBER == 1),
    "thin": 1.0 * ((NUMBER > 7) & (NUMBER < 17)),
    "organ": np.where(np.isin(NUMBER, (1, 2, 3, 4, 6, 8)), 1.0, 0.0),
    "dull": 1.0 / NUMBER**2,
}


def one_period(harmonics, samples=SAMPLES, periods=1.0, peak=0.8):
    """A waveform of these harmonics with scattered phases, as many periods of it as asked for."""
    turns = periods * np.arange(samples) / samples
    k = np.arange(1, len(harmonics) + 1)
    wave = np.sin(2 * np.pi * turns[:, None] * k + 2.4 * k) @ harmonics
    return peak * wave / np.abs(wave).max()


def pack(folder, waves=WAVES):
    """A folder of single cycles, one file for each wave."""
    for name, harmonics in waves.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(folder / f"{name}.wav"), one_period(harmonics), RATE, subtype="FLOAT")
    return folder


def note(seconds=0.5):
    """A plain tone of middle C that fades."""
    t = np.arange(int(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * k * note_to_hz(60) * t) / k for k in range(1, 6)) * 0.2 * np.exp(-t)


def reasons(folder):
    """Why each file of a folder is skipped, None if it is used."""
    return {r.name: r.reason for r in read_folder(folder).recordings}


# ---- one cycle


@pytest.mark.parametrize("samples", [600, 601, 2048, 256])
def test_harmonics_of_a_sawtooth_fall_six_decibels_per_octave_exactly(samples):
    cycle = read_cycle(one_period(WAVES["saw"], samples), RATE)
    level_db = gain_to_db(cycle_spectrum(cycle, GRID).partials[0])
    octaves = level_db[[0, 1, 3, 7, 15, 31]]
    np.testing.assert_allclose(np.diff(octaves), -20 * np.log10(2), atol=1e-6)
    assert cycle.pitch_hz == pytest.approx(RATE / samples)


def test_a_cycle_stands_still_without_noise_and_without_its_offset():
    spectrum = cycle_spectrum(read_cycle(one_period(WAVES["organ"]) * 0.5 + 0.3, RATE), GRID)
    assert np.ptp(spectrum.partials, axis=0).max() == 0 and not spectrum.noise.any() and not spectrum.cents.any()
    np.testing.assert_array_equal(spectrum.ratios, NUMBER)
    np.testing.assert_array_equal(np.flatnonzero(spectrum.partials[0]) + 1, [1, 2, 3, 4, 6, 8])


# Frequencies in Hz and A-weighting in dB, from the table of IEC 61672-1.
A_HZ = (31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
A_DB = (-39.4, -26.2, -16.1, -8.6, -3.2, 0.0, 1.2, 1.0, -1.1, -6.6)


def loudness_db(partials, key):
    hz = note_to_hz(key) * NUMBER
    weights = np.interp(np.log2(hz), np.log2(A_HZ), A_DB)
    return 10 * np.log10(np.sum(0.5 * partials**2 * 10 ** (weights / 10)))


@pytest.mark.parametrize("key", [48, 60, 72])
def test_waveforms_are_about_equally_loud_whatever_the_level_of_their_files(key):
    heard = [
        loudness_db(cycle_spectrum(read_cycle(one_period(w, peak=peak), RATE), GRID).partials[0], key)
        for w in WAVES.values()
        for peak in (0.02, 1.0)
    ]
    plain = [np.sum((w / np.abs(one_period(w, peak=1.0)).max()) ** 2) for w in WAVES.values()]
    assert np.ptp(heard) < 9.0  # dB; a sine would have to be twice as strong in the bass
    assert np.ptp(10 * np.log10(plain)) > 3.0  # files of equal peak are not


def test_several_whole_periods_count_as_one():
    once, thrice = (read_cycle(one_period(WAVES["saw"], periods=n), RATE) for n in (1, 3))
    assert thrice.pitch_hz == pytest.approx(3 * once.pitch_hz)
    n = len(thrice.amplitudes)
    shape = thrice.amplitudes / thrice.amplitudes[0]
    np.testing.assert_allclose(shape[: min(n, 60)], (once.amplitudes / once.amplitudes[0])[: min(n, 60)], atol=1e-6)


@pytest.mark.parametrize("periods", [2.5, 4.3, 10.47])
@pytest.mark.parametrize("wave", ["saw", "sine", "organ"])
def test_a_piece_of_a_note_is_no_cycle(wave, periods):
    with pytest.raises(RecordingError, match=rf"holds {periods:.1f} periods.*exactly one period"):
        read_cycle(one_period(WAVES[wave][:12], periods=periods), RATE)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["aguitar/akwf_aguitar_m038_v100_r1", "bw_saw/akwf_bw_saw_m038_v100_r12"], ["aguitar-01", "bw-saw-12"]),
        (["AKWF_saw/AKWF_saw_0001", "AKWF_saw/AKWF_saw_0002"], ["saw-01", "saw-02"]),
        (["Saw", "Fat Pulse 1", "Fat Pulse 2"], ["saw", "fat-pulse-01", "fat-pulse-02"]),
        (["saw/1", "saw/2", "square/1"], ["saw-01", "saw-02", "square-01"]),
        (["a b", "a_b", "c"], ["a-b", "a-b-2", "c"]),
        (["0001/akwf_0001_r1", "bw/akwf_bw_r1"], ["akwf-0001-01", "bw-01"]),
        (["波", "形"], ["cycle", "cycle-2"]),
    ],
)
def test_a_waveform_is_called_by_what_tells_its_file_from_the_others(names, short):
    assert cycle_names(names) == short


# ---- a folder


def test_a_pack_is_understood_and_each_waveform_has_a_name_of_its_own(tmp_path):
    found = read_folder(pack(tmp_path))
    assert found.holds_cycles and not found.warnings
    assert [r.group for r in found.used] == sorted(WAVES)
    assert {(r.note, r.note_from) for r in found.used} == {(38, "cycle")}  # 44,100 / 600 = 73.5 Hz, a D2


@pytest.mark.parametrize(("bad", "says"), [
    (np.array([0.5]), "has 1 samples"),
    (np.zeros(SAMPLES), "is silent"),
    (np.full(SAMPLES, np.nan), "not finite"),
    (np.full(SAMPLES, 0.5), "only a constant"),
    (one_period(WAVES["saw"], periods=6.4), "holds 6.4 periods"),
])  # fmt: skip
def test_a_bad_cycle_is_skipped_by_name_and_the_others_are_used(tmp_path, bad, says):
    soundfile.write(str(pack(tmp_path) / "bad.wav"), bad, RATE, subtype="FLOAT")
    told = reasons(tmp_path)
    assert says in told.pop("bad.wav")
    assert set(told.values()) == {None} and len(told) == len(WAVES)


def test_the_fewer_of_a_mixed_folder_are_skipped_by_name_and_told(tmp_path):
    for name in ("C4", "D4"):
        soundfile.write(str(pack(tmp_path) / f"{name}.wav"), note(0.5 if name == "C4" else 0.6), RATE)
    found = read_folder(tmp_path)
    skipped = {r.name: r.reason for r in found.recordings if not r.used}
    assert found.holds_cycles and set(skipped) == {"C4.wav", "D4.wav"}
    assert all(reason.startswith("is a note among single cycles") for reason in skipped.values())
    assert found.warnings == (
        "6 single cycles are used, 2 notes are skipped: put notes and single cycles into folders of their own",
    )


def test_a_stray_cycle_among_notes_is_skipped_by_name_and_told(tmp_path):
    pack(tmp_path, {"saw": WAVES["saw"]})
    for index in range(2):
        soundfile.write(str(tmp_path / f"m06{index}.wav"), note(0.5 + 0.1 * index), RATE)
    found = read_folder(tmp_path)
    assert not found.holds_cycles and len(found.used) == 2
    assert reasons(tmp_path)["saw.wav"].startswith("is a single cycle among notes")
    assert "2 notes are used, 1 single cycles are skipped" in found.warnings[0]


def test_a_pack_with_more_waveforms_than_an_instrument_has_names_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("neuralsynth.training.config.MAX_NAMED", 5)
    with pytest.raises(RecordingError, match="holds 6 single cycles; an instrument has at most 5; give one of its sub"):
        enough(read_folder(pack(tmp_path)))


def test_the_dry_run_says_that_these_are_cycles(tmp_path):
    from neuralsynth.cli import app

    told = CliRunner().invoke(app, ["train", str(pack(tmp_path)), "--dry-run"])
    assert told.exit_code == 0
    assert "6 of 6 files can be used, as single-cycle waveforms" in told.output


# ---- trained

TINY = TrainConfig(
    steps=250, seed=1, threads=1, batch_size=24, n_partials=64,
    model=VaeConfig(width=48, latent_size=10, condition_size=48),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _hasty_prior(hasty_prior):
    """What these trainings are asked about is not the prior."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny instrument of six waveforms, and what was understood of their folder."""
    where = tmp_path_factory.mktemp("waves")
    found = read_folder(pack(where / "pack"))
    run.train_folder(found, where / "waves.onnx", TINY, show_progress=False)
    return Instrument.load(where / "waves.onnx"), found


def test_every_waveform_is_a_point_and_comes_back_there(trained):
    instrument, found = trained
    assert set(instrument.model.spec.points) == set(WAVES)
    off = cycles.reconstruction_db(instrument.model, found.used)
    assert np.median(list(off.values())) < 1.5, off


def test_the_reconstruction_figure_can_tell_a_wrong_waveform(trained):
    instrument, found = trained
    swapped = [replace(r, group="saw" if r.group == "thin" else r.group) for r in found.used]
    assert cycles.reconstruction_db(instrument.model, swapped)["saw"] > 3.0


def test_a_waveform_is_the_same_at_every_pitch(trained):
    model = trained[0].model
    keys = np.array([24.0, 33.0, 48.0, 60.0])
    decoded = model.decode(np.tile(model.spec.points["saw"], (4, 1)), keys, np.full(4, 90 / 127))
    levels = gain_to_db(decoded.partials[:, 0, :32])
    assert np.abs(levels - levels[0]).mean() < 1.0
    assert not decoded.cents.any() and not decoded.noise.any()


def test_it_starts_as_a_sawtooth_and_has_only_the_axis_that_does_something(trained):
    spec = trained[0].model.spec
    assert spec.default_point == "saw"
    assert set(spec.axes) == {"brightness"}
    assert spec.axes["brightness"].high_value > 1.2 * spec.axes["brightness"].low_value


def test_it_sustains_without_texture_and_plays_in_tune_without_noise(trained):
    instrument = trained[0]
    spec = instrument.model.spec
    assert spec.sustain is not None and spec.texture is None
    for key in (36, 60, 84):
        audio = played(instrument, key)
        assert abs(praat_cents(audio, key)) < 3 and abs(yin_cents(audio, key)) < 3
    held = instrument([(bytes([0x90, 60, 90]), 0.0)], 4.0, RATE, num_channels=1)[0]
    early, late = (np.sqrt(np.mean(held[int(s * RATE) :][: RATE // 2] ** 2)) for s in (0.5, 3.4))
    assert abs(gain_to_db(late) - gain_to_db(early)) < 0.5
    window = held[RATE : 2 * RATE] * np.hanning(RATE)
    spectrum = gain_to_db(np.abs(np.fft.rfft(window)))
    between = [round(note_to_hz(60) * (k + 0.5)) for k in range(1, 20)]
    assert spectrum[between].max() < spectrum.max() - 70


def test_a_training_of_cycles_resumes_with_what_it_had_chosen(trained, tmp_path):
    instrument, found = trained
    run_dir = instrument.model.path.with_name("waves.run")
    again = run.train_folder(found, tmp_path / "again.onnx", resume=run_dir, show_progress=False)
    assert again.steps == TINY.steps
    assert again.spec.points == instrument.model.spec.points
    assert again.spec.frame_seconds == instrument.model.spec.frame_seconds


def test_leaving_pitches_out_of_cycles_is_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="a single cycle has every pitch"):
        run.train_folder(trained[1], tmp_path / "x.onnx", replace(TINY, hold_out=3), show_progress=False)
