"""neuralsynth: a neural synthesizer you play from a MIDI keyboard.

Ground floor: `errors`, `units`, `events`, `knobs`, `spectrum`, `spec` (standard library, numpy, msgspec).
Playing: `sound` <- `model`, `effects`, `preset` <- `instrument` <- `engine` <- `hosts` <- `cli`.
Making: `analysis` <- `training` (torch; extra "train").
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["Engine", "Instrument", "render"]

_HOMES = {
    "Instrument": "neuralsynth.instrument",
    "Engine": "neuralsynth.engine",
    "render": "neuralsynth.hosts.render",
}


def __getattr__(name: str):
    """Import the public names when first used, so that `import neuralsynth` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neuralsynth' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
