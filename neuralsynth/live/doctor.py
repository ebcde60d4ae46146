"""`examine`: what this machine has for playing live, what it lacks, and how to get it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from neuralsynth.errors import one_line

PROBE_SECONDS = 20.0  # of all probes together; loading the libraries from a slow disk takes most of it
OK, MISSING, OPTIONAL = "ok", "missing", "optional"
ENOUGH_LOCKED_BYTES = 1 << 30
CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23
_LIMITS = (
    "join the group audio (usermod -aG audio NAME), in /etc/security/limits.d/audio.conf: @audio - {}, log in again"
)
_NO_ANSWER = {"problem": "the library crashed or did not answer in time"}
_ASK_AGAIN = "if a JACK server hangs, restart it; then ask again"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    state: str  # "ok", "missing" (one cannot play without), "optional" (one can)
    says: str
    how: str = ""  # to get it


@dataclass(frozen=True)
class Examination:
    """All of them, and whether one can play and hear it."""

    can_play: bool
    findings: tuple[Finding, ...]

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


def examine(seconds: float = PROBE_SECONDS) -> Examination:
    """Look at everything; takes at most about `seconds`."""
    answers = _ask_all(("engine", "jack", "portaudio", "midi"), seconds)
    audio = _audio(answers["jack"], answers["portaudio"])
    engine = [_python(), *_engine(answers["engine"])]
    findings = (*engine, *audio, *_midi(answers["midi"]), _memory_lock(), _real_time(), _kernels(), _training())
    can_play = all(f.state == OK for f in engine) and any(f.state == OK for f in audio if f.name in _HEARD)
    return Examination(can_play, findings)


def _ask_all(names: tuple[str, ...], seconds: float) -> dict[str, dict]:
    """The answers of all probes, which run side by side; what they print is thrown away."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(os.path.isabs, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    until = time.monotonic() + seconds
    children: dict[str, subprocess.Popen] = {}
    for name in names:
        with contextlib.suppress(OSError):
            children[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "neuralsynth.live.probes", name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
    answers = {name: _answer(child, until - time.monotonic()) for name, child in children.items()}
    return {name: answers.get(name, _NO_ANSWER) for name in names}


def _answer(child: subprocess.Popen, seconds: float) -> dict:
    try:
        output, _ = child.communicate(timeout=max(seconds, 0.1))
        return json.loads(output.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        child.kill()
        child.communicate()
        return _NO_ANSWER


def _python() -> Finding:
    return Finding("Python", OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}")


def _engine(answer: dict) -> list[Finding]:
    findings = []
    for name in ("onnxruntime", "pedalboard"):
        found = answer.get(name, _NO_ANSWER)
        if "version" in found:
            findings.append(Finding(name, OK, found["version"]))
        else:
            findings.append(Finding(name, MISSING, found["problem"], f"pip install --force-reinstall {name}"))
    n_presets = answer.get("presets", 0)
    how = "" if n_presets else "install neuralsynth again"
    findings.append(Finding("presets", OK if n_presets else MISSING, f"{n_presets} shipped", how))
    return findings


_JACK_LIBRARY, _JACK_SERVER, _PORTAUDIO, _OUTPUTS = "JACK library", "JACK server", "PortAudio", "audio outputs"
_HEARD = (_JACK_SERVER, _OUTPUTS)


def _audio(jack: dict, portaudio: dict) -> list[Finding]:
    """Either a JACK server or an output of PortAudio is needed; if there is neither, both are missing."""
    server, devices = jack.get("server"), portaudio.get("devices")
    lacking = OPTIONAL if server or devices else MISSING
    findings = []
    if jack.get("library"):
        findings.append(Finding(_JACK_LIBRARY, OK, "found"))
    else:
        problem, how = (
            ("not found", "Debian: apt install jackd2") if "library" in jack else (jack["problem"], _ASK_AGAIN)
        )
        findings.append(Finding(_JACK_LIBRARY, lacking, problem, how))
    if server:
        scheduling = "real-time" if server["is_realtime"] else "not real-time"
        says = f"{server['sample_rate']} Hz, blocks of {server['block_size']}, {scheduling}"
        findings.append(Finding(_JACK_SERVER, OK, says))
    else:
        hangs = jack.get("library") and "problem" in jack
        start = "start one: jackd -d alsa -r 48000 -p 128"
        problem, how = ("does not answer", "restart it") if hangs else ("none is running", start)
        findings.append(Finding(_JACK_SERVER, lacking, problem, how))
    if devices is None:
        install = "Debian: apt install libportaudio2"
        problem, how = ("not found", install) if "devices" in portaudio else (portaudio["problem"], _ASK_AGAIN)
        findings.append(Finding(_PORTAUDIO, lacking, problem, how))
        return findings
    findings.append(Finding(_PORTAUDIO, OK, "found"))
    if devices:
        names = "; ".join(one_line(d["full_name"], 60) + (" (default)" if d["is_default"] else "") for d in devices)
        findings.append(Finding(_OUTPUTS, OK, names))
    else:
        findings.append(Finding(_OUTPUTS, lacking, "PortAudio finds none", "plug in or switch on a sound card"))
    return findings


def _midi(answer: dict) -> list[Finding]:
    interfaces = answer.get("interfaces")
    if interfaces is None:
        how = "pip install python-rtmidi" if "interfaces" in answer else _ASK_AGAIN
        return [Finding("MIDI", OPTIONAL, one_line(answer["problem"], 120), how)]
    working = [i["name"] for i in interfaces if not i["problem"]]
    broken = [f"{i['name']} does not work here" for i in interfaces if i["problem"]]
    how = "" if working else "Linux: modprobe snd-seq; or start a JACK server"
    findings = [Finding("MIDI", OK if working else OPTIONAL, ", ".join(working + broken) or "no interface", how)]
    ports = [f"{one_line(port, 60)} ({i['name']})" for i in interfaces for port in i["ports"]]
    if working:
        how = "" if ports else "plug in a keyboard"
        findings.append(Finding("MIDI ports", OK if ports else OPTIONAL, "; ".join(ports) or "none", how))
    return findings


def _memory_lock() -> Finding:
    limit = _limit("RLIMIT_MEMLOCK")
    if limit is None:
        return Finding("memory lock", OPTIONAL, "this system has no such limit that we know of")
    if _may(CAP_IPC_LOCK) or limit < 0 or limit >= ENOUGH_LOCKED_BYTES:
        return Finding("memory lock", OK, "memory may be kept from the disk")
    how = _LIMITS.format("memlock unlimited")
    return Finding("memory lock", OPTIONAL, f"only {limit // 1024} KiB; blocks may be late when memory is short", how)


def _real_time() -> Finding:
    limit = _limit("RLIMIT_RTPRIO")
    if limit is None:
        return Finding("real-time priority", OPTIONAL, "this system has no such limit that we know of")
    if _may(CAP_SYS_NICE):
        return Finding("real-time priority", OK, "allowed by CAP_SYS_NICE")
    if limit != 0:
        return Finding("real-time priority", OK, "allowed" if limit < 0 else f"allowed up to {limit}")
    how = _LIMITS.format("rtprio 95")
    return Finding("real-time priority", OPTIONAL, "not allowed; other programs can make blocks late", how)


def _limit(name: str) -> int | None:
    """The soft limit of that name, -1 for none, None where the system has no such thing."""
    try:
        import resource

        number = resource.getrlimit(getattr(resource, name))[0]
    except (ImportError, AttributeError, OSError):
        return None
    return -1 if number == resource.RLIM_INFINITY else number


def _may(capability: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def _kernels() -> Finding:
    """Whether numba has compiled the voices before, which takes about a minute, and whether it can keep them."""
    beside = Path(__file__).resolve().parents[1] / "sound" / "__pycache__"
    folders = [Path(os.environ["NUMBA_CACHE_DIR"])] if os.environ.get("NUMBA_CACHE_DIR") else [beside, _numba_home()]
    if any(_holds(folder, "kernel.*.nbi") for folder in folders):
        return Finding("compiled voices", OK, "kept from an earlier start")
    if any(_writable(folder) for folder in folders):
        return Finding("compiled voices", OPTIONAL, "the first start takes a minute longer", "neuralsynth bench")
    how = "set NUMBA_CACHE_DIR to a folder that can be written"
    return Finding("compiled voices", OPTIONAL, "cannot be kept: each start takes a minute longer", how)


def _numba_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"


def _holds(folder: Path, pattern: str) -> bool:
    with contextlib.suppress(OSError):
        return next(folder.rglob(pattern), None) is not None
    return False


def _writable(folder: Path) -> bool:
    there: Callable[[Path], bool] = Path.is_dir
    nearest = next((path for path in (folder, *folder.parents) if there(path)), None)
    return nearest is not None and os.access(nearest, os.W_OK)


def _training() -> Finding:
    if find_spec("torch") is None:
        return Finding("training", OPTIONAL, "torch is not installed", "pip install 'neuralsynth[train]'")
    try:
        return Finding("training", OK, f"torch {version('torch')}")
    except PackageNotFoundError:
        return Finding("training", OK, "torch")
