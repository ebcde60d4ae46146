"""Questions to libraries that may print, hang or crash: `python -m neuralsynth.live.probes NAME` answers in JSON.

A process of its own for each, so that the worst of them costs `doctor` one line.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.metadata import version

from neuralsynth.errors import DeviceError, MissingExtra, one_line
from neuralsynth.live.jack_client import import_jack, jack_server
from neuralsynth.live.portaudio_backend import portaudio_devices
from neuralsynth.live.rtmidi_ports import midi_interfaces


def _load_an_effect() -> None:
    from neuralsynth.effect_table import EffectSettings
    from neuralsynth.effects import EffectChain

    EffectChain((EffectSettings("chorus", {}),), 48_000, 128)


def _engine() -> dict:
    """Versions of what the engine cannot do without, each really loaded, and its shipped presets."""
    from neuralsynth.model import import_onnxruntime
    from neuralsynth.preset import shipped_presets

    found: dict = {"presets": len(shipped_presets())}
    for name, load in (
        ("onnxruntime", import_onnxruntime),
        ("pedalboard", _load_an_effect),
    ):
        try:
            load()
            found[name] = {"version": version(name)}
        except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
            found[name] = {"problem": one_line(error, 120)}
    return found


def _jack() -> dict:
    try:
        import_jack()
    except (DeviceError, MissingExtra) as error:
        return {"library": False, "problem": str(error)}
    try:
        server = jack_server()
    except (DeviceError, MissingExtra) as error:
        return {"library": True, "server": None, "problem": str(error)}
    return {"library": True, "server": server and asdict(server)}


def _portaudio() -> dict:
    try:
        return {"devices": [asdict(device) | {"full_name": device.full_name} for device in portaudio_devices()]}
    except (DeviceError, MissingExtra) as error:
        return {"devices": None, "problem": str(error)}


def _midi() -> dict:
    try:
        return {"interfaces": [asdict(interface) for interface in midi_interfaces()]}
    except (DeviceError, MissingExtra) as error:
        return {"interfaces": None, "problem": str(error)}


PROBES = {"engine": _engine, "jack": _jack, "portaudio": _portaudio, "midi": _midi}


if __name__ == "__main__":
    answer = json.dumps(PROBES[sys.argv[1]]())
    sys.stdout.write(f"\n{answer}\n")
    sys.stdout.flush()
