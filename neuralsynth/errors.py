"""Everything neuralsynth raises on purpose, and the exit code each kind gives a command.

::

    NeuralSynthError                exit code
    ├── BadInputError               2   something a person gave us cannot be used
    │   ├── MidiFileError               a MIDI file
    │   ├── PresetError                 a preset or one of its values
    │   ├── ModelError                  an instrument file (.onnx) or its spec
    │   ├── RecordingError              a recording or a folder of them
    │   ├── CheckpointError             a training run that cannot be resumed
    │   └── UsageError                  a command line or call argument
    ├── EnvironmentProblem          3   this machine lacks something or refuses something
    │   ├── MissingExtra                a Python package of an extra is not installed
    │   ├── DeviceError                 an audio device or MIDI port that is not there or refuses
    │   └── OutputError                 a file cannot be written (disk full, no permission)
    ├── PartlyFailed                1   a batch went through, some of its items did not
    └── Interrupted               130   stopped by the person; the text says how to go on

A message is one sentence that starts in lower case: the file first, then what is wrong, what is
allowed, and what to do next. `one_line` makes any text safe to print on one terminal line.
"""

MAX_MESSAGE_LENGTH = 300


class NeuralSynthError(Exception):
    """Base of all our errors; `exit_code` is what a command ends with."""

    exit_code = 2


class BadInputError(NeuralSynthError, ValueError):
    """What was given cannot be used."""


class MidiFileError(BadInputError):
    """A MIDI file that cannot be played."""


class PresetError(BadInputError):
    """A preset with a wrong name, key or value."""


class ModelError(BadInputError):
    """An instrument file that breaks the contract."""


class RecordingError(BadInputError):
    """A recording, or a folder of recordings, that cannot be used."""


class CheckpointError(BadInputError):
    """A training run that cannot be resumed."""


class UsageError(BadInputError):
    """A command line or call argument out of range."""


class EnvironmentProblem(NeuralSynthError, RuntimeError):
    """The machine, not the input, is in the way."""

    exit_code = 3


class MissingExtra(EnvironmentProblem):
    """A package that belongs to an optional extra is not installed."""


class DeviceError(EnvironmentProblem):
    """An audio device or a MIDI port that is not there, or refuses."""


class OutputError(EnvironmentProblem):
    """A file that cannot be written."""


class PartlyFailed(NeuralSynthError):
    """Some items of a batch failed; the others are done."""

    exit_code = 1


class Interrupted(NeuralSynthError):
    """Stopped by Ctrl-C, with a way to go on."""

    exit_code = 130


def one_line(text: object, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """Return `text` on one printable line of at most `limit` characters, control characters escaped."""
    line = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in str(text)
    )
    return line if len(line) <= limit else line[: limit - 1] + "…"
