"""Generators by other people become instruments that are played as all others; what cannot is told in a sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from neuralsynth.adoption import adopt, read_spec
from neuralsynth.analysis.distance import distance
from neuralsynth.cli import main
from neuralsynth.design.asking import Asked, asked_for
from neuralsynth.design.plan import Output
from neuralsynth.errors import ModelError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.patch import Patch
from neuralsynth.spec import Waveform
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.units import note_to_hz
from neuralsynth.waveform import NOTE_STEP, Listener, at_speed
from tests.players import at, cents_from, cut, level_db, play
from tests.test_voices import strongest_hz

RATE, N_SAMPLES = 16_000, 16_384
HEAD = f'name = "Theirs"\nlicence = "MIT"\norigin = "example.org/theirs"\nsample_rate = {RATE}\n'


class WaveGan(nn.Module):
    """The shape of WaveGAN (Donahue et al. 2019), small: a vector to a second of audio by transposed convolutions."""

    def __init__(self, size=8, width=8):
        super().__init__()
        self.dense = nn.Linear(size, 16 * 4 * width)
        widths = [4 * width, 2 * width, width, width, width, 1]
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 24, 4, 10) for a, b in zip(widths, widths[1:], strict=False)
        )  # fmt: skip
        self.width = width

    def forward(self, z):
        x = torch.relu(self.dense(z)).reshape(z.shape[0], 4 * self.width, 16)
        for layer in self.up[:-1]:
            x = torch.relu(layer(x))
        fade = torch.exp(-torch.arange(N_SAMPLES) / 3000.0)
        return torch.tanh(0.5 * self.up[-1](x)) * fade


class Organ(nn.Module):
    """Harmonics of a whole note number, louder and brighter with a velocity from 0 to 127: `[N, 1, 1]`, `[N, 1]`."""

    def forward(self, touch, key, style):
        pitch_hz = 440.0 * torch.exp((key.float() - 69.0) * (np.log(2.0) / 12.0))  # [N, 1]
        time = torch.arange(N_SAMPLES) / RATE
        share = touch[:, :, 0] / 127.0
        sound = torch.zeros(touch.shape[0], N_SAMPLES)
        for k in range(1, 6):
            weight = torch.exp(-(1.6 - share + 0.2 * torch.tanh(style[:, :1])) * k)
            sound = sound + weight * torch.sin(2.0 * np.pi * k * pitch_hz * time)
        return (0.1 + 0.4 * share) * sound, style


class Bell(nn.Module):
    """One tone of 660 Hz, whatever it is given; a little brighter with the latent."""

    def forward(self, z):
        time = torch.arange(N_SAMPLES) / RATE
        strength = torch.sigmoid(z[:, :1])
        tone = torch.sin(2 * np.pi * 660.0 * time) + 0.3 * strength * torch.sin(2 * np.pi * 1320.0 * time)
        return 0.3 * tone * torch.exp(-3.0 * time)


def exported(module, path, names, outputs, *example):
    free = {name: {0: "batch"} for name in (*names, *outputs)}
    torch.manual_seed(0)
    torch.onnx.export(
        module.eval(), example, str(path), input_names=list(names), output_names=list(outputs), dynamic_axes=free,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder of generators that know nothing of neuralsynth."""
    folder = tmp_path_factory.mktemp("theirs")
    torch.manual_seed(3)
    gan = WaveGan()
    for parameter in gan.parameters():
        nn.init.normal_(parameter, std=0.15)
    exported(gan, folder / "gan.onnx", ["z"], ["wav"], torch.randn(2, 8))
    names = ["vel", "pitch", "style"]
    example = torch.full((2, 1, 1), 64.0), torch.full((2, 1), 60), torch.randn(2, 3)
    exported(Organ(), folder / "organ.onnx", names, ["sound", "same"], *example)
    exported(Bell(), folder / "bell.onnx", ["z"], ["wav"], torch.randn(2, 2))
    return folder


def spec_file(folder, text, name="spec"):
    path = folder / f"{name}.toml"
    path.write_text(HEAD + text)
    return path


ORGAN = """
[inputs]
latent = "style"
note = "pitch"
velocity = "vel"
velocity_unit = "midi"
[output]
audio = "sound"
[sound]
note_low = 48
note_high = 84
"""


@pytest.fixture(scope="module")
def adopted(theirs, tmp_path_factory):
    """The three of them as instruments."""
    folder = tmp_path_factory.mktemp("adopted")
    latent = '[inputs]\nlatent = "z"\n'
    adopt(theirs / "gan.onnx", spec_file(folder, latent + "[sound]\npitched = false\n"), folder / "gan.onnx")
    adopt(theirs / "organ.onnx", spec_file(folder, ORGAN), folder / "organ.onnx")
    adopt(
        theirs / "bell.onnx", spec_file(folder, latent + "[points]\ndull = [-2, 0]\nlucky = 7\n"), folder / "bell.onnx"
    )
    return folder


def note(instrument, key, velocity=100, seconds=0.8, rate=48_000):
    return instrument([(bytes([0x90, key, velocity]), 0.0)], seconds, rate)


def theirs_play(path, latent):
    """What the generator itself gives."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path)).run(None, {"z": np.float32(latent)[None]})[0].reshape(-1)


# ---- adopted


def test_the_file_keeps_what_the_generator_computes(theirs, adopted):
    model = InstrumentModel.load(adopted / "gan.onnx")  # through the gate, with its golden pair
    point = model.spec.points["sound-3"]
    latent, ones = np.float32([point]), np.ones(1, np.float32)
    np.testing.assert_allclose(
        model.run(latent, 60 * ones, ones)["audio"][0, 0], theirs_play(theirs / "gan.onnx", point), atol=1e-5
    )
    np.testing.assert_allclose(point, np.random.default_rng(3).standard_normal(8), atol=1e-4)
    assert not [entry.key for entry in onnx.load(adopted / "gan.onnx").metadata_props if entry.key != "neuralsynth"]


def test_names_order_units_and_shapes_are_mapped(adopted):
    model = InstrumentModel.load(adopted / "organ.onnx")
    style, notes, velocities = np.float32([[0.5, 0, 0], [0, 0, 0]]), np.float32([60.0, 68.6]), np.float32([1.0, 0.5])
    audio = model.run(style, notes, velocities)["audio"]
    wanted, _ = Organ()(torch.tensor([[[127.0]], [[63.5]]]), torch.tensor([[60], [69]]), torch.tensor(style))
    np.testing.assert_allclose(audio[:, 0], wanted.numpy(), atol=2e-3)


def test_what_the_sound_is_like_is_measured_where_nobody_says(adopted):
    how = {name: InstrumentModel.load(adopted / f"{name}.onnx").spec.waveform for name in ("gan", "organ", "bell")}
    assert how["gan"] == Waveform(False, False, False, 60.0)
    assert how["organ"] == Waveform(True, True, True, 60.0)
    assert how["bell"].is_pitched
    assert note_to_hz(how["bell"].sounds_at) == pytest.approx(660.0, rel=2e-3)


@pytest.mark.parametrize(("name", "keys"), [("bell", (60, 76, 88)), ("organ", (48, 61, 69, 84))])
def test_every_key_is_in_tune(adopted, name, keys):
    instrument = Instrument.load(adopted / f"{name}.onnx")
    for key in keys:
        assert abs(cents_from(cut(note(instrument, key), 0.1, 0.5), float(note_to_hz(key)))) < 8.0


@pytest.mark.parametrize("name", ["gan", "bell"])
def test_the_key_at_which_it_sounds_plays_what_the_generator_gives(theirs, adopted, name):
    instrument = Instrument.load(adopted / f"{name}.onnx")
    spec = instrument.spec
    own = theirs_play(theirs / f"{name}.onnx", spec.points[spec.default_point])
    key = round(spec.waveform.sounds_at)
    heard, other = (note(instrument, k, 127, N_SAMPLES / RATE, RATE)[0] for k in (key, key - 5))
    assert distance(own, heard, RATE) < min(4.0, 0.5 * distance(own, other, RATE))


def test_a_sound_without_note_is_played_faster_on_higher_keys(adopted):
    gan = Instrument.load(adopted / "gan.onnx")
    last = [np.flatnonzero(np.abs(note(gan, key, seconds=3.0)[0]) > 1e-4)[-1] for key in (48, 60, 72)]
    assert last[0] > 1.5 * last[1] > 1.5 * 1.5 * last[2]


def test_velocity_is_loudness_with_and_without_such_an_input(adopted):
    for name in ("gan", "organ", "bell"):
        instrument = Instrument.load(adopted / f"{name}.onnx")
        levels = [level_db(note(instrument, 60, velocity)) for velocity in (20, 50, 80, 110, 127)]
        assert np.diff(levels).min() > 1.0
    organ, bright = Instrument.load(adopted / "organ.onnx"), []
    for velocity in (30, 120):
        audio = cut(note(organ, 60, velocity), 0.1, 0.5)[0]
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        hz = np.fft.rfftfreq(len(audio), 1.0 / 48_000)
        bright.append(spectrum[hz > 700].sum() / spectrum[hz < 700].sum())
    assert bright[1] > 1.2 * bright[0]


def test_it_bends_and_plays_chords_and_points_differ(adopted):
    bell = Instrument.load(adopted / "bell.onnx")
    bent = bell([(bytes([0x90, 69, 100]), 0.0), (bytes([0xE0, 127, 127]), 0.0)], 0.6, 48_000)
    assert abs(cents_from(cut(bent, 0.1, 0.5), 440.0) - 200.0) < 8.0
    chord = bell([(bytes([0x90, key, 100]), 0.0) for key in (60, 64, 67)], 0.6, 48_000)[0]
    alone = np.sum([note(bell, key, seconds=0.6)[0] for key in (60, 64, 67)], axis=0)
    assert distance(alone, chord, 48_000) < 1.0
    spec = bell.preset.sound
    lucky = Instrument(
        msgspec.structs.replace(bell.preset, sound=msgspec.structs.replace(spec, point="lucky")), bell.model, bell.path
    )
    assert distance(note(bell, 76)[0], note(lucky, 76)[0], 48_000) > 0.3


def test_rates_do_not_change_the_pitch_and_a_held_note_ends_with_its_sound(adopted):
    bell = Instrument.load(adopted / "bell.onnx")
    for rate in (22_050, 96_000):
        audio = note(bell, 69, rate=rate, seconds=0.6)[0]
        hz = strongest_hz(audio[rate // 10 : rate // 2], rate)
        assert hz == pytest.approx(440.0, rel=5e-3)
    gan = Instrument.load(adopted / "gan.onnx")
    assert level_db(cut(note(gan, 60, seconds=4.0), 3.0)) < -80.0


def test_a_held_note_goes_on_only_where_the_author_says_so(theirs, adopted, tmp_path):
    adopt(theirs / "organ.onnx", spec_file(tmp_path, ORGAN + "sustain_seconds = [0.3, 0.9]\n"), tmp_path / "on.onnx")
    levels = [level_db(cut(note(Instrument.load(folder / name), 60, seconds=3.0), 2.0))
              for folder, name in ((adopted, "organ.onnx"), (tmp_path, "on.onnx"))]  # fmt: skip
    assert levels[0] < -80.0
    assert levels[1] > -30.0


def test_the_engine_process_plays_a_copy_that_cannot_decode(adopted):
    patch = Patch.load(adopted / "organ.onnx")
    patch.bank.prepare([60])
    copied = pickle.loads(pickle.dumps(patch))  # noqa: S301 - our own
    assert not copied.model.can_decode
    heard = [play(one, [at(0.0, 0x90, 60, 100)], 0.5) for one in (patch, copied)]
    np.testing.assert_array_equal(*heard)
    assert level_db(heard[0]) > -40.0


def test_a_batch_is_designed_from_it_and_the_commands_know_it(adopted, tmp_path, capsys):
    output = Output(seconds=0.2, hold_seconds=0.1, sample_rate=22_050)
    work = asked_for(Asked(presets=(str(adopted / "gan.onnx"),), random=3, seed=1, output=output))
    sounds = [work.planner.planned(i) for i in range(3)]
    latents = np.array([work.planner.preset(sound).sound.latent for sound in sounds])
    assert 0.5 < latents.std() < 1.5  # of N(0, I), not between the few points
    assert np.abs(latents[0] - latents[1]).max() > 0.5
    assert main(["design", str(adopted / "gan.onnx"), "--random", "2", "-o", str(tmp_path / "b"), "--seconds", "0.2",
                 "--hold", "0.1", "--workers", "1"]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["info", str(adopted / "organ.onnx")]) == 0
    assert "follows the note; follows the velocity" in capsys.readouterr().out


# ---- hearing


GRID = SpectrumGrid.warped(64, 1.0, 16, 32)


def listener(run_count, **how):
    spec = msgspec.structs.replace(
        read_made(), waveform=Waveform(**({"takes_note": False, "takes_velocity": False, "is_pitched": False} | how)),
        frame_seconds=GRID.frame_seconds.tolist(), band_edges_hz=GRID.band_edges_hz.tolist(), n_partials=16,
    )  # fmt: skip

    def run(latent, asked, velocity):
        run_count.append((len(latent), tuple(asked), tuple(velocity)))
        time = np.arange(RATE) / RATE
        tones = [np.sin(2 * np.pi * note_to_hz(n) * time) * np.exp(-4 * time) for n in asked]
        return (0.3 * np.stack(tones))[:, None].astype(np.float32)

    return Listener(spec), run


def read_made():
    from tests.models import tiny_spec

    return msgspec.structs.replace(tiny_spec(), kind="waveform", sample_rate=RATE)


def test_the_graph_is_asked_once_for_each_sound():
    asked = []
    one, run = listener(asked)
    latent = np.zeros((4, 2), np.float32)
    first = one.spectra(run, latent, np.float32([50, 60, 70, 80]), np.float32([0.1, 0.2, 0.3, 1.0]))
    again = one.spectra(run, latent[:1], np.float32([60]), np.float32([1.0]))
    assert asked == [(1, (60.0,), (1.0,))]
    np.testing.assert_array_equal(first[1].noise, again[0].noise)
    one.spectra(run, latent[:1] + 1.0, np.float32([60]), np.float32([1.0]))
    assert len(asked) == 2


def test_a_graph_that_takes_a_note_is_asked_near_every_key():
    asked = []
    one, run = listener(asked, takes_note=True, takes_velocity=True, is_pitched=True)
    notes = np.arange(21, 45, dtype=np.float32)
    spectra = one.spectra(run, np.zeros((24, 2), np.float32), notes, np.full(24, 0.5, np.float32))
    given = np.array(asked[0][1])
    assert np.abs(given[:, None] - notes).min(axis=0).max() <= NOTE_STEP / 2
    assert len(given) <= 24 / NOTE_STEP + 1
    for spectrum in spectra:  # a pure tone is the first partial, whatever the key
        assert spectrum.partials[5, 0] > 20 * spectrum.partials[5, 1:].max()


def test_twice_the_speed_is_half_the_time_and_an_octave_for_noise():
    noise = np.zeros((64, 32))
    noise[GRID.frame_seconds < 0.5, 10] = 0.2
    spectrum = NoteSpectrum(GRID, np.ones((64, 16)), np.arange(1.0, 17), np.zeros(64), noise)
    fast = at_speed(spectrum, 2.0)
    centres = GRID.band_centres_hz
    power = fast.noise[0] ** 2
    assert power @ centres / power.sum() == pytest.approx(2.0 * centres[10], rel=0.05)
    assert power.sum() == pytest.approx(0.04, rel=1e-6)
    assert fast.noise[GRID.frame_seconds > 0.27].max() < 1e-6
    assert fast.partials[GRID.frame_seconds > 0.51].max() == 0.0
    np.testing.assert_allclose(at_speed(spectrum, 1.0).noise, noise, atol=1e-9)


# ---- what cannot be adopted


def refused(theirs, tmp_path, capsys, text, model="gan.onnx", says=""):
    code = main(
        ["adopt", str(theirs / model), "--spec", str(spec_file(tmp_path, text)), "-o", str(tmp_path / "x.onnx")]
    )
    told = capsys.readouterr()
    assert code == 2
    assert len(told.err.strip().splitlines()) == 1
    assert len(told.err) < 320
    assert says in told.err
    assert not list(tmp_path.glob("x*"))
    return told.err


@pytest.mark.parametrize(
    ("text", "model", "says"),
    [
        ('[inputs]\nlatent = "w"\n', "gan.onnx", "its inputs are 'z'"),
        ("", "gan.onnx", "its input 'z' is not mapped"),
        ('[inputs]\nlatent = "z"\nlatent_size = 9\n', "gan.onnx", "latent_size is 9"),
        ('[inputs]\nlatent = "z"\n[sound]\nsustain_seconds = [0.5, 7]\n', "gan.onnx", "sustain 0.5..7"),
        ('[inputs]\nlatent = "z"\n[sound]\nnote_low = -1000\n', "gan.onnx", "note_low"),
        ('[inputs]\nlatent = "z"\n[output]\naudio = "sound"\n', "gan.onnx", "one of its outputs: 'wav'"),
        ('[inputs]\nlatent = "z"\n[output]\nlayout = "NS"\n', "gan.onnx", "has 3 sizes"),
        ('[inputs]\nlatent = "z"\n[points]\nmine = [1, 2]\n', "gan.onnx", "does not have 8 numbers"),
        ('[inputs]\nlatent = "z"\n[points]\nmine = -1\n', "gan.onnx", "use a seed from 0 up"),
        ('[inputs]\nlatent = "z"\n[sound]\nnote_low = 90\nnote_high = 20\n', "gan.onnx", "note_low"),
        ('[inputs]\nlatent = "z"\n[sound]\nsounds_at = nan\n', "gan.onnx", "sounds_at"),
        ('[inputs]\nlatent = "z"\nlatnt = "z"\n', "gan.onnx", "latnt"),
        ("[inputs]\nlatent = 3\n", "gan.onnx", "latent"),
        ('[inputs]\nlatent = "style"\nnote = "pitch"\nvelocity = "vel"\n', "organ.onnx", "'sound', 'same'"),
        (ORGAN.replace('latent = "style"\nnote = "pitch"', 'latent = "pitch"\nnote = "style"'), "organ.onnx", "a note is"),
        (ORGAN + "sounds_at = 60\n", "organ.onnx", "leave one out"),
        ("[inputs\n", "gan.onnx", "no TOML"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_told(theirs, tmp_path, capsys, text, model, says):
    refused(theirs, tmp_path, capsys, text, model, says)


def graph_of(tmp_path, nodes, constants=(), batch="N", output=("N", 400)):
    graph = helper.make_graph(
        nodes, "theirs", [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 400])],
        [helper.make_tensor_value_info("wav", TensorProto.FLOAT, list(output))],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def hostile_graphs(tmp_path):
    node, one = helper.make_node, ("one", np.ones(1, np.float32))
    yield "its wav is unknown", graph_of(tmp_path, [node("Bark", ["z"], ["wav"])]), "Bark"
    yield "another domain", graph_of(tmp_path, [node("Gelu", ["z"], ["wav"], domain="com.microsoft")]), "com.microsoft"
    yield "random", graph_of(tmp_path, [node("RandomNormalLike", ["z"], ["wav"])]), "RandomNormalLike"
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("one", TensorProto.FLOAT, [1])])
    branch = node("If", ["yes"], ["wav"], then_branch=inner, else_branch=inner)
    yield "branches", graph_of(tmp_path, [branch], [one, ("yes", np.array(True))]), "If"
    yield "a fixed batch", graph_of(tmp_path, [node("Tanh", ["z"], ["wav"])], batch=1), "dynamic_axes"
    yield "no numbers", graph_of(tmp_path, [node("Log", ["minus"], ["n"]), node("Add", ["z", "n"], ["wav"])],
                                 [("minus", -np.ones(1, np.float32))]), "not finite"  # fmt: skip
    yield "far too loud", graph_of(tmp_path, [node("Mul", ["z", "much"], ["wav"])],
                                   [("much", np.full(1, 1e6, np.float32))]), "audio runs from"  # fmt: skip
    yield (
        "silence",
        graph_of(tmp_path, [node("Mul", ["z", "zero"], ["wav"])], [("zero", np.zeros(1, np.float32))]),
        "silent",
    )
    chain = [node("Tanh", ["z" if i == 0 else f"t{i}"], [f"t{i + 1}" if i < 20_100 else "wav"]) for i in range(20_101)]
    yield "a huge graph", graph_of(tmp_path, chain), "nodes"
    outside = graph_of(tmp_path, [node("Mul", ["z", "one"], ["wav"])], [one])
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    yield "weights elsewhere", outside, "lies in another file"


def test_hostile_generators_are_refused_by_name(tmp_path, capsys):
    for what, model, says in hostile_graphs(tmp_path):
        (tmp_path / "theirs.onnx").write_bytes(model.SerializeToString())
        told = refused(tmp_path, tmp_path, capsys, '[inputs]\nlatent = "z"\n', "theirs.onnx")
        assert says in told, what


@pytest.mark.parametrize("data", [b"", b"no model", b"\x80\x02}q\x00.", bytes(range(256)) * 40])
def test_what_is_no_onnx_file_is_told(tmp_path, capsys, data):
    (tmp_path / "theirs.onnx").write_bytes(data)
    refused(tmp_path, tmp_path, capsys, '[inputs]\nlatent = "z"\n', "theirs.onnx", "theirs.onnx")


def test_missing_files_and_an_existing_one_are_told(theirs, tmp_path, capsys):
    spec = spec_file(tmp_path, '[inputs]\nlatent = "z"\n')
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    for arguments in (
        [tmp_path / "none.onnx", "--spec", spec, "-o", tmp_path / "x.onnx"],
        [theirs / "gan.onnx", "--spec", tmp_path / "none.toml", "-o", tmp_path / "x.onnx"],
        [theirs / "gan.onnx", "--spec", spec, "-o", there],
        [theirs / "gan.onnx", "--spec", spec, "-o", tmp_path / "x.wav"],
        [theirs / "gan.onnx", "--spec", spec, "-o", theirs / "gan.onnx", "--force"],
    ):
        assert main(["adopt", *map(str, arguments)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert there.read_bytes() == b"mine"


def test_nothing_of_a_generator_runs_before_the_gate_has_let_it_pass(theirs, tmp_path, monkeypatch):
    def never(path, data, pair):
        raise ModelError(f"{path}: not today")

    monkeypatch.setattr("neuralsynth.adoption.approve", never)
    monkeypatch.setattr("neuralsynth.adoption.InstrumentModel", None)  # whoever opens it fails otherwise
    monkeypatch.setattr("neuralsynth.adoption_pair.open_session", None)
    with pytest.raises(ModelError, match="not today"):
        adopt(theirs / "gan.onnx", spec_file(tmp_path, '[inputs]\nlatent = "z"\n'), tmp_path / "x.onnx")


def test_a_wrong_mapping_inside_does_not_pass_the_golden_pair(theirs, tmp_path, monkeypatch):
    monkeypatch.setattr("neuralsynth.adoption_graph.Wrapped._in_unit", lambda self, ours: ours)  # no unit is turned
    with pytest.raises(ModelError, match="agrees with the golden pair"):
        adopt(theirs / "organ.onnx", spec_file(tmp_path, ORGAN), tmp_path / "organ.onnx")
    assert not (tmp_path / "organ.onnx").exists()


def test_the_complete_example_of_the_page_can_be_read(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "adopt.md").read_text()
    example = page.split("```toml\n")[1].split("```")[0]
    (tmp_path / "example.toml").write_text(example)
    asked = read_spec(tmp_path / "example.toml")
    assert asked.inputs.latent
    (tmp_path / "example.toml").write_text("wrong = 1\n" + example)
    with pytest.raises(UsageError):
        read_spec(tmp_path / "example.toml")
