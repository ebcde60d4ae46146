"""Fixtures that several rooms share."""

from __future__ import annotations

import pytest

from neuralsynth.instrument import Instrument
from tests.models import tiny_instrument


@pytest.fixture(scope="session")
def decaying(tmp_path_factory):
    """A small struck instrument."""
    return Instrument.load(tiny_instrument(tmp_path_factory.mktemp("decaying") / "tiny.onnx"))


@pytest.fixture(scope="session")
def sustaining(tmp_path_factory):
    """A small blown instrument."""
    return Instrument.load(tiny_instrument(tmp_path_factory.mktemp("sustaining") / "tiny.onnx", sustaining=True))


@pytest.fixture(autouse=True, scope="session")
def private_home(tmp_path_factory):
    """Keep the user's own cache and settings out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(scope="module")
def hasty_prior():
    """Trainings end with a prior fitted to few places in few steps: `test_prior` fits one as users get it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neuralsynth.training.flow.STEPS", 40)
        patch.setattr("neuralsynth.training.posterior.N_HEARD", 64)
        yield
