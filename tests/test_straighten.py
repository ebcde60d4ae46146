"""Axes put straight: each moves what it is called by, and what it did to the others is taken back where it does it."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import pytest

from neuralsynth.errors import ModelError
from neuralsynth.model import InstrumentModel, latent_reach
from neuralsynth.patch import Patch
from neuralsynth.preset import bare_preset, shipped_folder
from neuralsynth.preset_sections import Morph, Sound
from neuralsynth.spec import InstrumentSpec, LatentAxis
from neuralsynth.training.export import rewrite_spec
from neuralsynth.training.straighten import gains, straighten, taken_back
from tests.models import tiny_instrument, tiny_spec


@pytest.fixture(scope="module")
def slanted(tmp_path_factory):
    """The shipped cello, whose attack is planted to brighten by four tenths of a turn."""
    path = tmp_path_factory.mktemp("slanted") / "cello.onnx"
    for file in shipped_folder().glob("cello.*"):
        shutil.copy(file, path.parent)
    spec = InstrumentModel.load(path).spec
    attack, brightness = spec.axes["attack"], np.array(spec.axes["brightness"].high)
    ends = ((np.array(end) + way * 0.4 * brightness).tolist() for end, way in ((attack.low, -1), (attack.high, 1)))
    low, high = ends
    axes = spec.axes | {"attack": msgspec.structs.replace(attack, low=low, high=high)}
    rewrite_spec(path, msgspec.structs.replace(spec, axes=axes))
    return path


def test_what_an_axis_does_to_another_is_taken_back(slanted):
    def cross():
        model = InstrumentModel(slanted.read_bytes(), slanted)
        names = list(model.spec.axes)
        found = gains(model, model.spec.default_point)
        return found[names.index("attack"), names.index("brightness")], np.diag(found)

    planted, own = cross()
    assert planted == pytest.approx(0.4, abs=0.07)
    np.testing.assert_allclose(own, 1.0)
    before = InstrumentModel(slanted.read_bytes(), slanted).spec
    after = straighten(slanted)
    assert abs(cross()[0]) < 0.06
    assert after.own_axes == {}  # it has one point
    assert after.axes["noisiness"] == before.axes["noisiness"]  # what is straight is not touched
    assert after.axes["attack"].low_value < after.axes["attack"].high_value
    InstrumentModel.load(slanted)  # replays the golden pair


def test_mixes_undo_gains_but_not_what_is_small_and_never_more_than_half():
    gain = np.array([[1.0, 0.03, 0.0], [-0.3, 1.0, 0.0], [0.0, 2.0, 1.0]])
    mix = taken_back(gain)
    assert mix[0].tolist() == [1.0, 0.0, 0.0]
    assert mix[1] == pytest.approx([0.3, 1.0, 0.0], abs=0.01)
    assert mix[2] == pytest.approx([-0.5, -0.5, 1.0])
    np.testing.assert_array_equal(taken_back(np.eye(4)), np.eye(4))


def test_an_orchestra_has_axes_of_its_own_at_some_points():
    spec = InstrumentModel.load(shipped_folder() / "orchestra.onnx").spec
    assert "attack" in spec.own_axes["xylophone"]
    assert spec.around("xylophone").axes["attack"] != spec.axes["attack"]
    assert spec.around("xylophone").axes.keys() == spec.axes.keys()


@pytest.fixture
def turned(tmp_path):
    """An instrument of two points; at one of them the brightness goes the other way."""
    own = {"bright": {"brightness": LatentAxis([1.0, 0.0], [-1.0, 0.0], 0.0, 1.0, "octaves")}}
    return tiny_instrument(tmp_path / "turned.onnx", own_axes=own)


def latent(path, sound, **more):
    model = InstrumentModel.load(path)
    preset = msgspec.structs.replace(bare_preset(path), sound=sound, **more)
    return Patch(preset, model, path).latent


def test_a_point_plays_its_own_axes_and_other_points_those_of_the_file(turned):
    points = InstrumentModel.load(turned).spec.points
    others = [name for name in points if name != "bright"]
    moved = {name: latent(turned, Sound(point=name, axes={"brightness": 0.5})) - points[name] for name in points}
    assert moved["bright"].tolist() == [-0.5, 0.0]
    assert all(moved[name].tolist() == [1.0, 0.0] for name in others) and others


def test_a_nameless_place_has_the_axes_of_its_nearest_point(turned):
    bright = InstrumentModel.load(turned).spec.points["bright"]
    near = latent(turned, Sound(latent=(bright[0] + 0.1, bright[1]), axes={"brightness": 1.0}))
    assert near == pytest.approx([bright[0] + 0.1 - 1.0, bright[1]])


def test_a_knob_moves_along_the_axis_of_the_point_that_is_played(turned):
    """What a controller reaches live is what a preset that says the same plays."""
    model = InstrumentModel.load(turned)
    bare = bare_preset(turned)
    patch = Patch(msgspec.structs.replace(bare, sound=Sound(point="bright")), model, turned)
    there = Patch(msgspec.structs.replace(bare, sound=Sound(point="bright", axes={"brightness": 1.0})), model, turned)
    control = patch.panel.controls.index("axes.brightness")
    ends = [patch.bank.directions[1 + 2 * control + side]([60])[0] for side in (0, 1)]
    wanted = there.bank.layers_at(there.latent, [60])[0]
    assert any(all(np.array_equal(a.partials, b.partials) for a, b in zip(end, wanted, strict=True)) for end in ends)


def test_a_morph_arrives_at_the_other_point_turned_along_that_point_s_axes(turned):
    model = InstrumentModel.load(turned)
    start = next(name for name in model.spec.points if name != "bright")
    sound = Sound(point=start, axes={"brightness": 0.5})
    preset = msgspec.structs.replace(bare_preset(turned), sound=sound, morph=Morph(point="bright"))
    end = Patch(preset, model, turned).bank.directions[0]([60])[0]
    there = np.array(model.spec.points["bright"]) + np.array([-0.5, 0.0])
    wanted = Patch(preset, model, turned).bank.layers_at(there, [60])[0]
    for a, b in zip(end, wanted, strict=True):
        np.testing.assert_allclose(a.partials, b.partials, rtol=1e-5)


AXIS = LatentAxis([1.0, 0.0], [-1.0, 0.0], 0.0, 1.0, "octaves")


@pytest.mark.parametrize(
    "own,words",
    [
        ({"dull": {"brightness": AXIS}}, "own_axes has a name that is no point"),
        ({"bright": {"size": AXIS}}, "own_axes has a name that is no axis"),
        ({"bright": {"brightness": msgspec.structs.replace(AXIS, low=[1.0])}}, "does not have 2 numbers"),
        ({"bright": {"brightness": msgspec.structs.replace(AXIS, high=[1e9, 0.0])}}, "not finite or huge"),
    ],
)
def test_own_axes_that_do_not_fit_the_model_are_refused(own, words):
    document = msgspec.structs.replace(tiny_spec(), own_axes=own).to_json()
    with pytest.raises(ModelError, match=words):
        InstrumentSpec.from_json(document, "x.onnx")


def test_a_latent_may_go_as_far_as_any_point_s_own_axes():
    far = {"bright": {"brightness": msgspec.structs.replace(AXIS, low=[90.0, 0.0])}}
    assert latent_reach(msgspec.structs.replace(tiny_spec(), own_axes=far)) == 92.0
