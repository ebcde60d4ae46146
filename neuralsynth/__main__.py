"""`python -m neuralsynth`."""

from neuralsynth.cli import entry

entry()
