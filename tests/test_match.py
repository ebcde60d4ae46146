"""From one recorded sound to a preset: what `match` promises."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from neuralsynth.analysis.phrase import find_note
from neuralsynth.audiofile import write_audio
from neuralsynth.cli import main
from neuralsynth.errors import PresetError, RecordingError, UsageError
from neuralsynth.instrument import Instrument
from neuralsynth.matching import base_preset, hear, match, save_match
from neuralsynth.preset import Preset, bare_preset, load_preset, save_preset
from neuralsynth.preset_sections import Envelope, Sound
from neuralsynth.units import note_to_hz
from tests.models import tiny_instrument
from tests.signals import synthetic_note

RATE = 44_100
LATENT = (1.0, 0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One decaying and one sustaining instrument."""
    folder = tmp_path_factory.mktemp("instruments")
    tiny_instrument(folder / "struck.onnx")
    tiny_instrument(folder / "blown.onnx", sustaining=True)
    return folder


def wav(path, audio):
    write_audio(path, np.atleast_2d(np.asarray(audio, np.float32)), RATE)
    return path


def played(folder, name, latent=LATENT, note=60, velocity=90, held=1.6, seconds=2.0, **sections):
    """The sound of an instrument at a latent, mono."""
    preset = bare_preset(folder / f"{name}.onnx")
    preset = msgspec.structs.replace(preset, sound=Sound(latent=latent), **sections)
    instrument = Instrument(preset, Instrument.load(folder / f"{name}.onnx").model, folder / f"{name}.onnx")
    strike, release = (bytes([0x90, note, velocity]), 0.0), (bytes([0x80, note, 0]), held)
    return instrument([strike, release], seconds, RATE, num_channels=1)[0]


def tone(note=60, falloff=0.8, seconds=1.5, **how):
    """A held tone whose partials fall off by a factor each."""
    return synthetic_note(float(note_to_hz(note)), 0.2 * falloff ** np.arange(14), seconds, RATE, **how)


def matched(path, folder, name="blown", velocity=90):
    return match(hear(path), base_preset(folder / f"{name}.onnx"), velocity)


@pytest.mark.parametrize("name", ["struck", "blown"])
def test_a_sound_of_the_instrument_gives_its_latent_back(folder, tmp_path, name):
    found = matched(wav(tmp_path / "own.wav", played(folder, name)), folder, name)
    assert found.note == 60 and abs(found.tuning_cents) < 3.0
    assert found.latent == pytest.approx(LATENT, abs=0.15)
    assert found.match_db < found.floor_db + 0.5
    assert found.match_db < found.nearest_db - 0.3


def test_with_an_unknown_velocity_it_comes_as_near(folder, tmp_path):
    path = wav(tmp_path / "own.wav", played(folder, "struck", velocity=50))
    found = match(hear(path), base_preset(folder / "struck.onnx"))
    assert 30 <= found.velocity <= 120
    assert found.match_db < found.floor_db + 0.5


def test_a_brighter_sound_gives_a_brighter_latent(folder, tmp_path):
    dull, bright = (matched(wav(tmp_path / f"{f}.wav", tone(falloff=f)), folder) for f in (0.5, 0.75))
    assert bright.latent[0] > dull.latent[0] + 0.5


def test_the_match_is_never_further_than_the_nearest_point(folder, tmp_path):
    for i, sound in enumerate((tone(falloff=0.3), tone(72, decay_per_second=6.0), tone(50, vibrato_cents=40.0))):
        found = matched(wav(tmp_path / f"{i}.wav", sound), folder, "struck")
        assert found.match_db <= found.nearest_db + 0.05


def test_a_phrase_is_matched_by_its_one_steady_note(folder, tmp_path):
    silence = np.zeros(RATE // 2)
    notes = [tone(note, seconds=s, lead_seconds=0.0) for note, s in ((55, 0.35), (62, 1.4), (67, 0.35))]
    path = wav(tmp_path / "phrase.wav", np.concatenate([silence, *notes, silence]))
    heard = hear(path)
    assert heard.place.n_notes == 3 and heard.place.note == 62
    assert heard.place.start_seconds == pytest.approx(0.85, abs=0.08)
    assert heard.place.end_seconds == pytest.approx(2.25, abs=0.08)
    alone = matched(wav(tmp_path / "alone.wav", notes[1]), folder)
    in_phrase = match(heard, base_preset(folder / "blown.onnx"), 90)
    assert in_phrase.note == 62
    assert in_phrase.latent == pytest.approx(alone.latent, abs=0.15)


def test_a_note_can_be_asked_for_in_a_phrase():
    phrase = np.concatenate([tone(note, seconds=s, lead_seconds=0.0) for note, s in ((55, 0.8), (62, 1.4))])
    assert find_note(phrase, RATE).note == 62
    place = find_note(phrase, RATE, 55)
    assert place.note == 55 and place.end_seconds < 1.0


def test_a_note_struck_again_is_another_note():
    struck = [tone(60, seconds=1.0, decay_per_second=5.0, lead_seconds=0.0) for _ in range(2)]
    place = find_note(np.concatenate([0.5 * struck[0], struck[1]]), RATE)
    assert place.n_notes == 2
    assert place.start_seconds == pytest.approx(1.0, abs=0.03)


def test_one_note_keeps_its_whole_recording():
    sound = np.concatenate([np.zeros(RATE), tone(), np.zeros(RATE // 3)])
    place = find_note(sound, RATE)
    assert (place.start_seconds, place.end_seconds, place.n_notes) == (0.0, len(sound) / RATE, 1)


def test_the_written_preset_plays_at_the_level_of_the_recording(folder, tmp_path):
    sound = 0.3 * tone(64)
    found = matched(wav(tmp_path / "tone.wav", sound), folder, velocity=70)
    save_match(found, folder / "level.toml")
    instrument = Instrument.load(folder / "level.toml")
    audio = instrument([(bytes([0x90, 64, 70]), 0.0)], 1.4, RATE, num_channels=1)[0]
    body = slice(RATE // 5, RATE)
    own, theirs = (np.sqrt(np.mean(x[body] ** 2)) for x in (sound, audio))
    assert abs(20.0 * np.log10(theirs / own)) < 1.0
    assert instrument.latent == pytest.approx(found.latent, abs=1e-6)


def test_a_level_out_of_reach_is_told(folder, tmp_path):
    sound = tone(64)
    found = matched(wav(tmp_path / "tone.wav", sound), folder, velocity=1)
    save_match(found, folder / "soft.toml")
    audio = Instrument.load(folder / "soft.toml")([(bytes([0x90, 64, 1]), 0.0)], 1.4, RATE, num_channels=1)[0]
    body = slice(RATE // 5, RATE)
    own, theirs = (np.sqrt(np.mean(x[body] ** 2)) for x in (sound, audio))
    assert found.preset.sound.gain_db == 24.0
    (remark,) = found.remarks
    assert float(remark.split(" dB")[0]) == pytest.approx(20.0 * np.log10(own / theirs), abs=1.0)


def test_the_written_preset_reads_back_as_it_was(folder, tmp_path):
    found = matched(wav(tmp_path / "tone.wav", tone()), folder)
    save_match(found, folder / "back.toml")
    assert load_preset(folder / "back.toml") == found.preset


def test_a_slow_attack_and_a_release_are_taken_over(folder, tmp_path):
    envelope = Envelope(attack_seconds=0.32, release_seconds=0.6)
    sound = played(folder, "blown", held=1.6, seconds=2.4, envelope=envelope)
    found = matched(wav(tmp_path / "slow.wav", sound), folder)
    assert found.preset.envelope.attack_seconds == pytest.approx(0.32, rel=0.3)
    assert found.preset.envelope.release_seconds == pytest.approx(0.6, rel=0.3)
    assert found.match_db < found.floor_db + 0.5
    assert found.preset.envelope.sustain_level == 1.0


def test_a_sound_that_decays_faster_than_the_model_gets_a_decay(folder, tmp_path):
    found = matched(wav(tmp_path / "short.wav", tone(decay_per_second=8.0)), folder)
    envelope = found.preset.envelope
    assert envelope.sustain_level < 0.3
    assert envelope.decay_seconds == pytest.approx(np.log(1000.0) / 8.0, rel=0.5)
    assert found.match_db < found.nearest_db - 2.0


def test_the_model_is_copied_beside_a_preset_that_lies_elsewhere(folder, tmp_path):
    found = matched(wav(tmp_path / "tone.wav", tone()), folder)
    assert save_match(found, folder / "beside.toml") == []
    away = tmp_path / "away"
    away.mkdir()
    copies = save_match(found, away / "tone.toml")
    assert [copy.name for copy in copies] == ["blown.onnx", "blown.check.npz"]
    assert save_match(found, away / "again.toml") == []
    assert Instrument.load(away / "tone.toml").model.path.parent == away
    (away / "blown.onnx").write_bytes(b"somebody else's")
    with pytest.raises(UsageError, match=r"blown\.onnx: exists already"):
        save_match(found, away / "third.toml")
    assert (away / "blown.onnx").read_bytes() == b"somebody else's" and not (away / "third.toml").exists()


def test_without_a_preset_the_closest_instrument_is_taken(folder, tmp_path, monkeypatch, capsys):
    for name in ("struck", "blown"):
        save_preset(bare_preset(folder / f"{name}.onnx"), folder / f"{name}.toml")
    monkeypatch.setattr("neuralsynth.matching.shipped_presets", lambda: [folder / "struck.toml", folder / "blown.toml"])
    path = wav(tmp_path / "own.wav", played(folder, "blown", seconds=1.6))
    assert main(["match", str(path), "-o", str(tmp_path / "m.toml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["instrument"] == "blown" and [one["instrument"] for one in told["tried"]] == ["blown", "struck"]
    assert told["match_db"] < told["tried"][1]["match_db"]
    assert load_preset(tmp_path / "m.toml").sound.latent == tuple(told["latent"])


def test_the_command_says_what_came_out(folder, tmp_path, capsys):
    path, model = wav(tmp_path / "own.wav", played(folder, "blown")), str(folder / "blown.onnx")
    assert main(["match", str(path), "-o", str(tmp_path / "own.toml"), "-p", model, "--velocity", "90"]) == 0
    told = capsys.readouterr().out
    for word in ("note 60 (C4)", "floor", "nearest point", "blown.onnx and blown.check.npz copied", "velocity 90"):
        assert word in told


def refusal(capsys, *arguments):
    """What a command says as it refuses, a line."""
    assert main(["match", *map(str, arguments)]) in (2, 3)
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


SOUNDS = {
    "silent": (np.zeros(RATE), "is silent"),
    "short": (0.3 * np.sin(np.arange(0.0, 37.0, 0.05)), "a note lasts at least 50 ms"),
    "noise": (0.1 * np.random.default_rng(3).standard_normal(RATE), "has no clear pitch"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_that_cannot_be_matched_is_refused_in_a_line(folder, tmp_path, capsys, name):
    sound, reason = SOUNDS[name]
    path = wav(tmp_path / f"{name}.wav", sound)
    said = refusal(capsys, path, "-o", tmp_path / "m.toml", "-p", folder / "blown.onnx")
    assert said.startswith(f"neuralsynth: {path}: ") and reason in said
    assert not (tmp_path / "m.toml").exists()


def test_a_note_that_is_not_in_the_recording_is_refused(folder, tmp_path):
    with pytest.raises(RecordingError, match=r"tone\.wav: no tone of about"):
        match(hear(wav(tmp_path / "tone.wav", tone(60)), 66), base_preset(folder / "blown.onnx"))


def test_wrong_arguments_are_refused_in_a_line(folder, tmp_path, capsys):
    path = wav(tmp_path / "tone.wav", tone())
    model = folder / "blown.onnx"
    assert "use .toml" in refusal(capsys, path, "-o", tmp_path / "m.wav", "-p", model)
    assert "no folder" in refusal(capsys, path, "-o", tmp_path / "no" / "m.toml", "-p", model)
    assert "is not a regular file" in refusal(capsys, tmp_path / "no.wav", "-o", tmp_path / "m.toml", "-p", model)
    assert "no such preset" in refusal(capsys, path, "-o", tmp_path / "m.toml", "-p", "nosuch")
    (tmp_path / "there.toml").write_text("mine")
    assert "add --force" in refusal(capsys, path, "-o", tmp_path / "there.toml", "-p", model)
    assert (tmp_path / "there.toml").read_text() == "mine"


def test_a_preset_of_layers_is_refused(folder, tmp_path):
    save_preset(bare_preset(folder / "blown.onnx"), folder / "one.toml")
    text = 'format_version = 1\nname = "Two"\n[[layers]]\npreset = "one.toml"\n'
    (folder / "layered.toml").write_text(text)
    with pytest.raises(PresetError, match="is made of layers"):
        base_preset(folder / "layered.toml")


# ---- the raw latent of a preset


WRONG_LATENTS = {
    "latent = 1": "latent is 1; use a list",
    "latent = []": "use a list of 1 to 2048 numbers",
    'latent = [0.0, "a"]': "latent.2 is 'a'",
    "latent = [0.0, nan]": "latent.2",
    "latent = [0.0]": "latent has 1 numbers; this model takes 2",
    "latent = [0.0, 0.0, 0.0]": "latent has 3 numbers; this model takes 2",
    "latent = [0.0, 8.5]": "latent.2 is 8.5; use a number from -8 to 8",
    'latent = [0.0, 1.0]\npoint = "bright"': "point and latent both",
}


@pytest.mark.parametrize("line", WRONG_LATENTS)
def test_a_latent_that_does_not_fit_the_model_is_refused(folder, line):
    path = folder / "wrong.toml"
    path.write_text(f'format_version = 1\nname = "Wrong"\nmodel = "blown.onnx"\n[sound]\n{line}\n')
    with pytest.raises(PresetError) as caught:
        Instrument.load(path)
    assert str(caught.value).startswith(f"{path}: [sound]: ") and WRONG_LATENTS[line] in str(caught.value)


def test_axes_move_away_from_a_latent(folder):
    path = folder / "moved.toml"
    path.write_text(
        'format_version = 1\nname = "Moved"\nmodel = "blown.onnx"\n'
        "[sound]\nlatent = [0.5, -1]\naxes = { brightness = 0.5 }\n"
    )
    assert Instrument.load(path).latent == pytest.approx([1.5, -1.0])


def test_a_latent_of_many_numbers_reads_back(folder):
    latent = tuple(float(x) for x in np.round(np.random.default_rng(1).standard_normal(64), 4))
    preset = Preset(name="Many", model="blown.onnx", folder=folder, sound=Sound(latent=latent))
    save_preset(preset, folder / "many.toml")
    assert load_preset(folder / "many.toml").sound.latent == latent
