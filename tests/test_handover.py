"""A loaded patch travels to another process and sounds there as here, with no model; what it lacks follows."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from neuralsynth.engine import Engine
from neuralsynth.errors import ModelError
from neuralsynth.live.handover import link_pair
from neuralsynth.preset_sections import Layer, Morph, Sound
from tests.players import CONTROL, NOTE_ON, Shelf, at, play

BRIGHTNESS = 74
PHRASE = [at(0.0, NOTE_ON, 60, 90), at(0.1, NOTE_ON, 67, 30), at(0.3, CONTROL, 7, 60)]
TURNED = [at(0.0, NOTE_ON, 60, 90), at(0.1, CONTROL, BRIGHTNESS, 127)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("handover"))


def travelled(*objects):
    """What arrives at the other end of a link."""
    here, there = link_pair()
    sender = threading.Thread(target=lambda: [here.send(one) for one in objects])
    sender.start()
    arrived = [there.receive() for _ in objects]
    sender.join()
    here.close()
    there.close()
    return arrived


def prepared(patch):
    for _, zone in patch.zones:
        zone.bank.prepare(range(128), zone.panel.routed_directions)
    return patch


def test_a_patch_sounds_the_same_at_the_other_end(shelf):
    for patch in (
        shelf.patch("plain"),
        shelf.patch("turned", sound=Sound(axes={"brightness": 0.5}, transpose_semitones=5)),
        shelf.layered("two", Layer(preset="plain.toml"), Layer(preset="turned.toml", transpose_semitones=12)),
    ):
        (copy,) = travelled(prepared(patch))
        assert all(not zone.model.can_decode for _, zone in copy.zones)
        np.testing.assert_array_equal(play(patch, PHRASE, 0.5), play(copy, PHRASE, 0.5))


def test_a_patch_that_is_named_twice_arrives_once(shelf):
    patch = prepared(shelf.patch("plain"))
    (found,) = travelled({"start": patch, "programs": [patch]})
    assert found["start"] is found["programs"][0]


def test_a_copy_asks_for_directions_and_has_them_when_they_came(shelf):
    """Before that the knob does nothing, and nothing waits for it."""
    patch = prepared(shelf.patch("plain"))
    (copy,) = travelled(patch)
    n_before = len(patch.bank)
    wanted_sound = play(patch, TURNED, 0.5)
    np.testing.assert_allclose(play(copy, TURNED, 0.5), play(copy, PHRASE[:1], 0.5), atol=1e-6)
    assert copy.bank.wanted == {(60, direction) for direction in patch.bank.directions if direction in (1, 2)}
    (growth,) = travelled(patch.bank.growth(n_before))
    copy.bank.admit(growth)
    np.testing.assert_array_equal(play(copy, TURNED, 0.5), wanted_sound)


def test_a_preset_that_stands_on_its_way_to_another_sound_lacks_nothing(shelf):
    """Its direction is decoded ahead, as the session does it."""
    patch = shelf.patch("between", morph=Morph(position=0.5, point="bright"))
    patch.bank.prepare(range(128), patch.panel.own_directions)
    (copy,) = travelled(patch)
    np.testing.assert_allclose(play(patch, PHRASE, 0.5), play(copy, PHRASE, 0.5), atol=1e-6)
    assert not copy.bank.wanted


def test_notes_that_sound_take_up_directions_when_they_come(shelf):
    patch = prepared(shelf.patch("plain"))
    (copy,) = travelled(patch)
    n_before = len(patch.bank)
    original, engine = Engine(patch, 48_000, 64), Engine(copy, 48_000, 64)
    for each in (original, engine):
        play(each, TURNED, 0.2, 64)
    copy.bank.admit(patch.bank.growth(n_before))
    assert not np.allclose(play(engine, [], 0.1, 64), play(original, [], 0.1, 64), atol=1e-4)
    engine.renew_directions()
    original.renew_directions()
    play(engine, [], 0.1, 64)
    play(original, [], 0.1, 64)
    np.testing.assert_allclose(play(engine, [], 0.1, 64), play(original, [], 0.1, 64), atol=2e-3)


def test_growths_with_a_gap_are_refused(shelf):
    patch = prepared(shelf.patch("plain"))
    (copy,) = travelled(patch)
    patch.bank.prepare([60], [1])
    between = len(patch.bank)
    patch.bank.prepare([61], [1])
    with pytest.raises(ValueError, match="do not follow"):
        copy.bank.admit(patch.bank.growth(between))


def test_a_copy_says_that_it_cannot_decode(shelf):
    (copy,) = travelled(prepared(shelf.patch("plain")))
    with pytest.raises(ModelError, match="cannot be decoded"):
        copy.bank.layers_at(copy.latent, [60])


def test_large_arrays_arrive_whole_and_can_be_written_to():
    sent = np.random.default_rng(0).normal(size=(3, 1_000_003))
    (found,) = travelled(sent)
    np.testing.assert_array_equal(found, sent)
    found[0, 0] = 1.0


def test_the_end_of_the_other_side_is_told():
    here, there = link_pair()
    here.close()
    assert there.wait(1.0)
    with pytest.raises(EOFError):
        there.receive()
    there.close()


def test_a_pickled_patch_needs_neither_the_model_runtime_nor_the_gate(shelf, tmp_path):
    """The engine process loads neither onnxruntime nor onnx for it."""
    file = tmp_path / "patch.pickle"
    file.write_bytes(pickle.dumps(prepared(shelf.patch("plain"))))
    code = f"""
import pickle, sys
from neuralsynth.engine import Engine
patch = pickle.load(open({str(file)!r}, "rb"))
assert abs(Engine(patch, 48000).process([(0, b"\\x90\\x3c\\x60")] and [], 64)).max() == 0.0
print([m for m in ("onnxruntime", "torch") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
