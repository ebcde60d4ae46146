"""The command line: `neuralsynth COMMAND`. Each command's work is done by a host or by the making half.

Commands load their libraries when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys

import click

from neuralsynth import __version__
from neuralsynth.errors import NeuralSynthError, one_line

EXIT_BAD_INPUT, EXIT_ENVIRONMENT, EXIT_INTERRUPTED = 2, 3, 130

#: Command name -> module of this package that defines it, in the order `--help` shows.
_COMMANDS = {
    "presets": "reports",
    "info": "reports",
    "render": "playing",
    "play": "playing",
    "sfz": "designing",
    "train": "making",
    "adopt": "adopting",
    "score": "reports",
    "match": "matching",
    "design": "batching",
    "pick": "batching",
    "again": "batching",
    "process": "batching",
    "bench": "reports",
    "doctor": "live",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when that command is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        from importlib import import_module

        return getattr(import_module(f"neuralsynth.cli.{_COMMANDS[name]}"), name)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neuralsynth")
def app() -> None:
    """A neural synthesizer you play: train an instrument on your recordings, render MIDI through it.

    \b
    Hear something now:     neuralsynth render SONG.mid -o song.wav -p upright-piano
    Make your own:          neuralsynth train FOLDER -o mine.onnx --minutes 10
    """


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 (part of a batch failed), 2 (bad input) or 3 (environment).

    Whatever goes wrong is told in one line on stderr, never as a traceback (set NEURALSYNTH_DEBUG=1 to see it).
    """
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        with app.make_context("neuralsynth", list(arguments)) as context:
            app.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_BAD_INPUT
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _tell("stopped; nothing unfinished was kept under a final name", EXIT_INTERRUPTED)
    except click.ClickException as error:
        return _tell(error.format_message(), EXIT_BAD_INPUT)
    except NeuralSynthError as error:
        return _tell(error, error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away; keep Python from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ENVIRONMENT
    except MemoryError:
        return _tell("not enough memory for this", EXIT_ENVIRONMENT)
    except OSError as error:
        return _tell(f"{error.filename or 'the system'}: {error.strerror or error}", EXIT_ENVIRONMENT)
    except Exception as error:
        if os.environ.get("NEURALSYNTH_DEBUG"):
            raise
        kind = type(error).__name__
        return _tell(f"internal error: {kind}: {error} (NEURALSYNTH_DEBUG=1 shows where)", EXIT_ENVIRONMENT)


def _tell(message: object, exit_code: int) -> int:
    try:
        print(one_line(f"neuralsynth: {message}"), file=sys.stderr)
    except OSError:
        pass  # stderr is closed: the exit code has to do
    return exit_code


def entry() -> None:
    """The console script."""
    sys.exit(main())
