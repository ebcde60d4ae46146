"""Whether an instrument file may be opened here: a verdict by a child process, remembered by digest.

A model is only data, but a hostile one can crash, hang or fill the memory of whoever parses it. So the bytes are
first judged in a child process with limits on time and memory (`model_trial`: the static check of `model_graph`, then
trial decodes and the golden pair). The parent parses nothing until the child has approved those very bytes. An
approval is kept in the user's cache folder under a digest of everything it depends on, so later starts skip the trial.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from neuralsynth.errors import EnvironmentProblem, ModelError, NeuralSynthError, one_line
from neuralsynth.storage import whole_file

GATE_VERSION = "1"  # raise it with every change of the gate that could turn a yes into a no
TRIAL_SECONDS = 10  # of the trial itself, counted by the child after its imports
CHILD_SECONDS = 40.0  # the child altogether: the last line of defence, and the only one without POSIX signals
ENDED_BY_ALARM = (-14, -24)  # SIGALRM, SIGXCPU
READY = b"ready"  # the child's first line, once its libraries are loaded


def approve(path: Path, data: bytes, pair: bytes | None) -> None:
    """Return if `data`, the bytes of `path`, keep the contract and agree with the golden `pair`.

    Raises:
        ModelError: they do not; the text says what is wrong.
        EnvironmentProblem: no child process can be started.
    """
    mark = _cache_folder() / approval_key(data, pair)
    with contextlib.suppress(OSError):
        if mark.read_text() == _mark_text(mark.name):
            return
    complaint = _judge(data, pair)
    if complaint is not None:
        raise ModelError(one_line(f"{path}: {complaint}"))
    with contextlib.suppress(OSError, NeuralSynthError):  # a cache that cannot be written only costs time
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole_file(mark) as part:
            part.write_text(_mark_text(mark.name))


def approval_key(data: bytes, pair: bytes | None) -> str:
    """Digest of what a verdict depends on: the gate, the inference library, the model, the golden pair."""
    from importlib.metadata import version

    parts = [GATE_VERSION, version("onnxruntime"), hashlib.sha256(data).hexdigest()]
    parts.append("no pair" if pair is None else hashlib.sha256(pair).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _mark_text(key: str) -> str:
    return f"neuralsynth approved {key}\n"


def _cache_folder() -> Path:
    """Where approvals lie: the user's cache folder of this platform."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        usual = {"win32": os.environ.get("LOCALAPPDATA", ""), "darwin": "~/Library/Caches"}
        base = usual.get(sys.platform) or "~/.cache"
    return Path(os.path.expanduser(base)) / "neuralsynth" / "approved"


def _judge(data: bytes, pair: bytes | None) -> str | None:
    """Run the child on the bytes; returns its complaint, or None for an approval."""
    head = json.dumps({"model": len(data), "pair": None if pair is None else len(pair)}).encode() + b"\n"
    try:
        child = subprocess.run(
            # -P keeps the current folder off the child's search path
            [sys.executable, "-P", "-m", "neuralsynth.model_trial", str(TRIAL_SECONDS)],
            input=head + data + (pair or b""),
            capture_output=True,
            timeout=CHILD_SECONDS,
            env=_child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its trial did not end within {CHILD_SECONDS:.0f} s"
    except OSError as error:
        raise EnvironmentProblem(f"no process can be started to try an instrument file ({error})") from error
    lines = child.stdout.splitlines()
    if lines[:1] != [READY]:
        reason = (child.stderr.decode(errors="replace").splitlines() or [f"exit status {child.returncode}"])[-1]
        raise EnvironmentProblem(one_line(f"the process that tries instrument files does not start ({reason})"))
    return _verdict(child.returncode, lines[1:])


def _child_environment() -> dict[str, str]:
    """The child finds what this process finds, in the same order, and starts no more threads than it needs."""
    home = str(Path(__file__).resolve().parents[1])
    paths = [home, *(entry for entry in sys.path if os.path.isabs(entry) and entry != home)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _verdict(code: int, lines: list[bytes]) -> str | None:
    if code in ENDED_BY_ALARM:
        return f"its trial did not end within {TRIAL_SECONDS} s"
    try:
        complaint = json.loads(lines[-1])["complaint"]
    except (ValueError, KeyError, TypeError, IndexError):
        return f"its trial crashed or ran out of memory (exit status {code})"
    if code != 0 or not (complaint is None or isinstance(complaint, str)):
        return f"its trial ended badly (exit status {code})"
    return complaint
