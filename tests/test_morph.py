"""Morphing: from one sound to another, of the same model or of another preset, while notes are held."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neuralsynth.errors import PresetError
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.patch import Patch
from neuralsynth.preset import Envelope, Filter, Lfo, Modulation, Sound, Voices, bare_preset, save_preset
from neuralsynth.preset_sections import Envelope2, Morph
from neuralsynth.routes import Route
from neuralsynth.spec import LatentAxis
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.units import gain_to_db, note_to_hz, ratio_to_cents
from tests.models import TINY_P, model_of, tiny_instrument, tiny_spec
from tests.test_engine import NOTE_OFF, RATE, at
from tests.test_knobs_live import nrpn
from tests.test_modulation import amplitudes, band, cc, cents_at, contour, difference, hear, level_db, model_bytes, note

#: A grid unlike that of the tiny model: other frames, more partials, other noise bands, another end.
OTHER_T, OTHER_P, OTHER_B = 20, 24, 5
OTHER_GRID = SpectrumGrid.warped(OTHER_T, 3.0, OTHER_P, OTHER_B)
OTHER_SHAPE = np.where(np.arange(OTHER_P) % 2 == 0, 0.03 / (1.0 + np.arange(OTHER_P)), 1e-4)  # hollow, as a clarinet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models side by side: the tiny one without noise, and a hollow one on another grid."""
    folder = tmp_path_factory.mktemp("morph")
    (folder / "rich.onnx").write_bytes(model_bytes("rich"))
    (folder / "whole.onnx").write_bytes(model_bytes("whole"))
    (folder / "hollow.onnx").write_bytes(hollow_bytes())
    return folder


def hollow_bytes():
    """A model that says the same whatever it is asked: odd partials, a little noise."""
    import onnx
    from onnx import helper

    spec = msgspec.structs.replace(
        tiny_spec(sustaining=True), name="hollow", n_partials=OTHER_P, frame_seconds=OTHER_GRID.frame_seconds.tolist(),
        band_edges_hz=OTHER_GRID.band_edges_hz.tolist(),
    )  # fmt: skip
    rising = np.minimum(OTHER_GRID.frame_seconds / 0.01, 1.0)[None, :, None]
    constants = {
        "none": np.float32(0.0),
        "columns": np.array([1, 2], np.int64),
        "column": np.array([1], np.int64),
        "shape": (rising * OTHER_SHAPE).astype(np.float32),
        "one_each": np.arange(1.0, OTHER_P + 1, dtype=np.float32)[None],
        "steady": np.zeros((1, OTHER_T), np.float32),
        "hiss": np.full((1, OTHER_T, OTHER_B), 1e-4, np.float32) * rising.astype(np.float32),
    }
    nodes = [
        helper.make_node(op, ins, [out])
        for op, ins, out in (
            ("Mul", ["velocity", "none"], "zero"),
            ("Unsqueeze", ["zero", "columns"], "zero_cube"),
            ("Unsqueeze", ["zero", "column"], "zero_column"),
            ("Add", ["shape", "zero_cube"], "partials"),
            ("Add", ["one_each", "zero_column"], "ratios"),
            ("Add", ["steady", "zero_column"], "cents"),
            ("Add", ["hiss", "zero_cube"], "noise"),
        )
    ]
    model = model_of(nodes, constants, spec)
    shapes = {"partials": [OTHER_T, OTHER_P], "ratios": [OTHER_P], "cents": [OTHER_T], "noise": [OTHER_T, OTHER_B]}
    for output in model.graph.output:
        for dim, size in zip(output.type.tensor_type.shape.dim[1:], shapes[output.name], strict=True):
            dim.dim_value = size
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def sound(folder):
    """Make an instrument of the folder: `sound(model, *routes, section=…)`."""
    models = {}

    def made(kind, *routes, **sections):
        path = folder / f"{kind}.onnx"
        if kind not in models:
            models[kind] = InstrumentModel.load(path)
        preset = msgspec.structs.replace(bare_preset(path), routes=tuple(Route(*r) for r in routes), **sections)
        return Instrument(preset, models[kind], path)

    return made


@pytest.fixture(scope="module")
def far(folder, sound):
    """Save a preset to morph to: `far(name, model, section=…)` gives its file name and it as an instrument."""

    def saved(name, kind, *routes, **sections):
        instrument = sound(kind, *routes, **sections)
        save_preset(instrument.preset, folder / f"{name}.toml")
        return f"{name}.toml", instrument

    return saved


def partials_of(instrument, *events, key=45, velocity=102, first=0.3, count=TINY_P):
    audio = hear(instrument, note(key, velocity), *events, seconds=0.9)[0][round(first * RATE) :]
    return gain_to_db(amplitudes(audio, note_to_hz(key), count))


def same(one, other, within_db=0.5, floor_db=60.0):
    heard = other > other.max() - floor_db
    assert heard.sum() >= 5
    assert np.abs(one - other)[heard].max() < within_db


ENDS = {
    "another point": lambda sound: (Morph(point="bright"), sound("rich", sound=Sound(point="bright"))),
    "a bare model on another grid": lambda sound: (Morph(to="hollow.onnx"), sound("hollow")),
}


# The two ends


@pytest.mark.parametrize("end", ENDS)
def test_a_morph_at_0_is_the_preset_itself(sound, end):
    morph, _ = ENDS[end](sound)
    assert np.array_equal(hear(sound("rich", morph=morph)), hear(sound("rich")))


@pytest.mark.parametrize("key", [33, 45, 60])
@pytest.mark.parametrize("end", ENDS)
def test_a_morph_at_1_is_the_other_sound(sound, end, key):
    morph, other = ENDS[end](sound)
    arrived = sound("rich", morph=msgspec.structs.replace(morph, position=1.0))
    same(partials_of(arrived, key=key), partials_of(other, key=key), floor_db=50.0)


@pytest.mark.parametrize("velocity", [30, 66, 84, 120])
def test_a_morph_at_1_is_as_loud_as_the_other_sound_at_every_touch(sound, velocity):
    morph, other = ENDS["another point"](sound)
    arrived = sound("rich", morph=msgspec.structs.replace(morph, position=1.0))
    same(partials_of(arrived, velocity=velocity), partials_of(other, velocity=velocity))


@pytest.mark.parametrize("end", ENDS)
def test_half_way_lies_half_way_in_decibels(sound, end):
    morph, other = ENDS[end](sound)
    here, there = partials_of(sound("rich")), partials_of(other)
    middle = partials_of(sound("rich", morph=msgspec.structs.replace(morph, position=0.5)))
    heard = np.minimum(here, there) > -90.0
    assert heard.sum() >= 6
    assert np.abs(middle - 0.5 * (here + there))[heard].max() < 0.5


def test_noise_arrives_at_that_of_a_model_with_other_bands(sound):
    arrived = sound("whole", morph=Morph(to="hollow.onnx", position=1.0))
    found, expected = (hear(x, note(21), seconds=2.0)[0][RATE // 2 :] for x in (arrived, sound("hollow")))
    hz = np.fft.rfftfreq(len(found), 1.0 / RATE)
    for low, high in ((1000.0, 2000.0), (3000.0, 6000.0), (7000.0, 11_000.0), (12_000.0, 16_000.0)):
        inside = (hz > low) & (hz < high) & (np.abs((hz / note_to_hz(21) + 0.5) % 1.0 - 0.5) > 0.15)
        powers = [np.sum(np.abs(np.fft.rfft(x * np.hanning(len(x)))[inside]) ** 2) for x in (found, expected)]
        assert abs(10.0 * np.log10(powers[0] / powers[1])) < 1.0


def test_a_louder_and_a_softer_end_of_the_same_model_meet_at_their_levels(sound, far):
    name, other = far("soft", "rich", sound=Sound(gain_db=-15.0))
    arrived = sound("rich", sound=Sound(gain_db=3.0), morph=Morph(to=name, position=1.0))
    same(partials_of(arrived), partials_of(other))


# Held notes


CHORD = (45, 52, 61)


def chord(velocity=102):
    return [note(key, velocity) for key in CHORD]


def cc70_sweep(start=0.5, seconds=1.0):
    return [cc(70, 64 + i, start + seconds * i / 63) for i in range(64)]


def nrpn_sweep(start=0.5, seconds=1.0, steps=200):
    """The morph's NRPN from end to end, MSB and LSB."""
    events = []
    for i in range(steps + 1):
        coarse, fine = divmod(round(i * 127 * 128 / steps), 128)
        events += nrpn(1, 21, coarse, fine, start + seconds * i / steps)
    return events


SWEEPS = {"CC70": cc70_sweep, "NRPN": nrpn_sweep, "a jump of CC70": lambda: [cc(70, 127, 0.8)], "a jump by NRPN": lambda: nrpn(1, 21, 127, 0, 0.8)}  # fmt: skip


@pytest.fixture(scope="module", params=[(end, sweep) for end in ENDS for sweep in SWEEPS], ids=" by ".join)
def swept(request, sound):
    """A held chord on its way to the other end: what is heard, and both ends held."""
    end, sweep = request.param
    morph, other = ENDS[end](sound)
    heard = hear(sound("rich", morph=morph), *chord(), *SWEEPS[sweep](), seconds=2.2)[0]
    return heard, *(hear(x, *chord(), seconds=2.2)[0] for x in (sound("rich"), other))


def test_a_morphed_chord_is_never_silent(swept):
    heard, *ends = (10.0 * np.log10(np.mean(x[RATE // 10 :].reshape(-1, 480) ** 2, axis=1)) for x in swept)
    assert heard.min() > min(end.min() for end in ends) - 3.0


def test_a_morphed_chord_makes_no_larger_step_than_its_ends(swept):
    heard, *ends = (np.abs(np.diff(x[RATE // 10 :])).max() for x in swept)
    assert heard < max(ends) + 0.01


def test_a_morphed_chord_stays_in_tune(swept):
    heard = swept[0]
    for key in CHORD:
        assert np.abs(drift_cents(heard, note_to_hz(key))).max() < 2.0


def drift_cents(mono, hz, size=9600, step=2400):
    """How far a partial is off, by the way that its phase goes in 50 ms under a window that keeps the others out."""
    carrier = np.exp(-2j * np.pi * hz / RATE * np.arange(len(mono))) * mono
    frames = np.lib.stride_tricks.sliding_window_view(carrier, size)[::step] * np.blackman(size)
    turned = np.angle(frames.sum(axis=1))[2:]
    way = (np.diff(turned) + np.pi) % (2.0 * np.pi) - np.pi
    return ratio_to_cents(1.0 + way / (2.0 * np.pi) * RATE / step / hz)


def test_a_morphed_chord_arrives_at_the_other_sound(swept):
    heard, _, other = (x[RATE * 16 // 10 :] for x in swept)
    for key in CHORD:
        found, expected = (gain_to_db(amplitudes(x, note_to_hz(key), 5)) for x in (heard, other))
        strong = expected > expected.max() - 40.0
        assert np.abs(found - expected)[strong].max() < 0.5


def test_cc70_goes_there_and_back(sound):
    morph, _ = ENDS["a bare model on another grid"](sound)
    events = [note(45, 102), cc(70, 127, 0.2), cc(70, 64, 0.6), cc(70, 0, 0.8)]
    audio = hear(sound("rich", morph=morph), *events, seconds=1.6)[0][RATE:]
    same(gain_to_db(amplitudes(audio, 110.0)), partials_of(sound("rich")), within_db=0.05)


def test_notes_struck_at_any_moment_of_a_morph_sound_alike(sound):
    morph, _ = ENDS["a bare model on another grid"](sound)
    instrument = sound("rich", morph=morph)
    before = hear(instrument, note(45, 102), cc(70, 95, 0.3), seconds=1.2)[0][RATE * 6 // 10 :]
    after = hear(instrument, cc(70, 95), note(45, 102, 0.01), seconds=1.2)[0][RATE * 6 // 10 :]
    found, expected = (gain_to_db(amplitudes(x, 110.0)) for x in (before, after))
    same(found, expected, within_db=0.05)


@pytest.mark.parametrize("source", ["wheel", "cc20", "pressure", "envelope_2", "lfo_1"])
def test_a_route_morphs_as_the_knob_does(sound, far, source):
    events = {"wheel": [cc(1, 127)], "cc20": [cc(20, 127)], "pressure": [at(0.0, 0xD0, 127)]}.get(source, [])
    still = {"envelope_2": Envelope2(sustain_level=1.0), "lfo_1": Lfo(shape="square", rate_hz=0.01)}
    sections = {"modulation": Modulation(vibrato_depth_cents=0.0)} | still
    name, other = far(f"by-{source}", "hollow", **sections)
    found = partials_of(sound("rich", (source, "morph.position", 1.0), morph=Morph(to=name), **sections), *events)
    same(found, partials_of(other), floor_db=50.0)


# The other preset's knobs


NEAR = {
    "envelope": Envelope(0.0, 0.5, 0.9, 0.1), "envelope_2": Envelope2(0.01, 0.1, 0.2, 0.1),
    "filter": Filter("lowpass", 4, 900.0, 0.1, 0.2, 0.0, 0.5), "lfo_1": Lfo(rate_hz=2.0, depth=0.1), "lfo_2": Lfo(rate_hz=3.0),
    "modulation": Modulation(2.0, 4.0, 20.0), "sound": Sound(gain_db=-3.0, tune_cents=-10.0, pan=-0.3),
}  # fmt: skip
FAR = {
    "envelope": Envelope(0.15, 0.2, 0.4, 0.5), "envelope_2": Envelope2(0.1, 0.4, 0.8, 0.4),
    "filter": Filter("lowpass", 4, 400.0, 0.5, 0.8, 1.5, 2.0), "lfo_1": Lfo(rate_hz=6.0, depth=0.9), "lfo_2": Lfo(rate_hz=1.0),
    "modulation": Modulation(2.0, 7.0, 80.0), "sound": Sound(gain_db=-9.0, tune_cents=15.0, noise_db=-6.0, pan=0.5),
}  # fmt: skip
ROUTES = [("lfo_1", "sound.tune_cents", 60.0), ("envelope_2", "sound.gain_db", -6.0)]


@pytest.mark.parametrize("section", NEAR)
def test_a_morph_reaches_the_knobs_of_the_other_preset(sound, far, section):
    routes = ROUTES if section.startswith(("lfo", "envelope_2")) else []
    near, there = (
        {"filter": NEAR["filter"]} | {section: NEAR[section]},
        {"filter": NEAR["filter"]} | {section: FAR[section]},
    )
    name, other = far(f"far-{section}", "rich", *routes, **there)
    arrived = contour(sound("rich", *routes, morph=Morph(to=name, position=1.0), **near))
    expected, own = contour(other), contour(sound("rich", *routes, **near))
    assert section == "lfo_2" or difference(own, expected) > 0.05
    assert difference(arrived, expected) < 0.02


def test_a_morph_by_the_wheel_reaches_the_knobs_too(sound, far):
    still = {"modulation": Modulation(vibrato_depth_cents=0.0)}
    name, other = far("quiet", "rich", sound=Sound(gain_db=-12.0), filter=Filter("lowpass", 2, 300.0), **still)
    route = ("wheel", "morph.position", 1.0)
    moved = sound("rich", route, morph=Morph(to=name), filter=Filter("lowpass", 2, 3000.0), **still)
    same(partials_of(moved, cc(1, 127)), partials_of(other), floor_db=50.0)
    halfway = partials_of(moved, cc(1, 127), cc(70, 90))
    same(halfway, partials_of(other), floor_db=50.0)  # two that ask for more than the end get the end


def test_a_morph_turned_below_its_start_leaves_the_knobs(sound, far):
    name, _ = far("quieter", "rich", sound=Sound(gain_db=-12.0))
    instrument = sound("rich", morph=Morph(to=name))
    assert abs(level_db(hear(instrument, note(), cc(70, 0))) - level_db(hear(instrument, note()))) < 0.01


def test_a_morph_to_a_deep_vibrato_brings_none_while_the_wheel_is_down(sound, far):
    name, _ = far("deep", "rich", modulation=Modulation(vibrato_depth_cents=150.0))
    instrument = sound("rich", morph=Morph(to=name, position=1.0))
    times, hz = np.arange(0.2, 0.9, 0.005), note_to_hz(81)
    for wheel, depth in ((0, 0.0), (127, 150.0)):
        audio = hear(instrument, note(81), cc(1, wheel), seconds=1.2)[0]
        moved = cents_at(band(audio, hz), times, hz, width=384)
        assert abs(0.5 * np.ptp(moved) - depth) < 6.0


def test_a_morph_reaches_a_time_far_from_its_start(sound, far):
    name, other = far("slow", "rich", envelope=Envelope(attack_seconds=4.0))
    arrived, expected = (hear(x, seconds=2.0) for x in (sound("rich", morph=Morph(to=name, position=1.0)), other))
    for start in (0.1, 0.5, 1.5):
        cut = slice(round(start * RATE), round((start + 0.1) * RATE))
        assert abs(level_db(arrived[:, cut]) - level_db(expected[:, cut])) < 0.2


def test_controller_70_without_another_end_changes_nothing(sound):
    assert np.abs(hear(sound("rich"), note(), cc(70, 127)) - hear(sound("rich"))).max() < 1e-5


def test_a_legato_note_goes_on_in_the_morphed_sound(sound):
    morph, _ = ENDS["a bare model on another grid"](sound)
    legato = sound("rich", morph=morph, voices=Voices(mode="legato"))
    moved = hear(legato, note(57, 102), cc(70, 110, 0.1), note(45, 102, 0.3), seconds=1.2)[0][RATE * 6 // 10 :]
    struck = hear(sound("rich", morph=morph), cc(70, 110), note(45, 102, 0.01), seconds=1.2)[0][RATE * 6 // 10 :]
    same(gain_to_db(amplitudes(moved, 110.0)), gain_to_db(amplitudes(struck, 110.0)), within_db=0.1, floor_db=40.0)


def test_times_between_two_presets_lie_between_them_by_ratio(sound, far):
    name, _ = far("long", "rich", envelope=Envelope(release_seconds=0.8))
    instrument = sound("rich", envelope=Envelope(release_seconds=0.2), morph=Morph(to=name, position=0.5))
    audio = hear(instrument, note(), at(0.3, NOTE_OFF, 69, 0), seconds=0.8)[0]
    levels = [level_db(audio[round(s * RATE) : round((s + 0.02) * RATE)]) for s in (0.32, 0.5)]
    assert abs(60.0 * 0.18 / (levels[0] - levels[1]) / 0.4 - 1.0) < 0.05


def test_a_morph_leads_one_step_even_if_the_other_preset_morphs_back(sound, far, folder):
    far("circle-a", "rich", morph=Morph(to="hollow.onnx"))
    name, _ = far("circle-b", "rich", sound=Sound(point="bright"), morph=Morph(to="circle-a.toml", position=1.0))
    arrived = sound("rich", morph=Morph(to=name, position=1.0))
    same(partials_of(arrived), partials_of(sound("rich", sound=Sound(point="bright"))))


def test_a_preset_file_with_a_morph_plays_as_the_one_in_memory(sound, folder):
    made = sound("rich", morph=Morph(to="hollow.onnx", position=0.4))
    save_preset(made.preset, folder / "saved.toml")
    assert np.array_equal(hear(Instrument.load(folder / "saved.toml"), seconds=0.3), hear(made, seconds=0.3))


@pytest.mark.parametrize("block", [1, 64, 65, 512, 8193])
def test_block_size_does_not_change_a_sample_of_a_morph(sound, far, block):
    name, _ = far("cut", "hollow", **{k: FAR[k] for k in ("envelope", "filter", "sound", "lfo_1")})
    routes = [("lfo_1", "morph.position", 0.5), *ROUTES]
    instrument = sound("rich", *routes, morph=Morph(to=name), **NEAR)
    events = [*chord(), cc(70, 80, 0.02), *nrpn_sweep(0.05, 0.3, 40), note(69, 90, 0.07), at(0.3, NOTE_OFF, 45, 0)]
    seconds = 0.13 if block == 1 else 0.5
    whole = hear(instrument, *events, seconds=0.5, block=48_000)
    cut = hear(instrument, *events, seconds=seconds, block=block)
    assert np.abs(whole).max() > 0.01
    assert np.array_equal(cut, whole[:, : cut.shape[1]])


def test_a_route_to_a_latent_number_for_which_there_is_no_room_is_told(tmp_path):
    axis = LatentAxis([-1.0, 0.0], [1.0, 0.0], 0.0, 1.0, "", "")
    model = InstrumentModel.load(tiny_instrument(tmp_path / "axes.onnx", axes={f"axis {i}": axis for i in range(16)}))
    preset = bare_preset(model.path)
    Patch(msgspec.structs.replace(preset, routes=(Route("lfo_1", "axes.axis 15", 1.0),)), model, model.path)
    with pytest.raises(PresetError, match=r"leads to latent\.1.*at most 16"):
        Patch(msgspec.structs.replace(preset, routes=(Route("lfo_1", "latent.1", 1.0),)), model, model.path)
