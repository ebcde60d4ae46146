"""A real Dask cluster on this machine, whose workers can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.jack_server import until

ROOT = Path(__file__).parents[1]
READY_SECONDS = 60


class Cluster:
    """A scheduler that gives no errand out again by itself if its worker dies, and workers of one thread each."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        """Start them; `folder` is made."""
        folder.mkdir()
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._workers: list[subprocess.Popen] = []
        self._scheduler = self._started("scheduler", ROOT, "--port", "0", "--host", "127.0.0.1")
        if not until(lambda: self.address is not None, READY_SECONDS):
            self.__exit__()
            raise RuntimeError("the Dask scheduler does not start")
        for _ in range(n_workers):
            self.add_worker()

    @property
    def address(self) -> str | None:
        """Where the scheduler listens; None until it has written that down."""
        try:
            return json.loads(self._file.read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _started(self, what: str, path: Path, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(self._file)]
        environment = {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "0"
        return subprocess.Popen(
            [*command, "--no-dashboard", *arguments],
            env={**os.environ, **environment},
            cwd=path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def add_worker(self, path: Path = ROOT) -> None:
        """One worker more, which imports what lies in `path`."""
        once = ("--nthreads", "1", "--nworkers", "1", "--no-nanny", "--local-directory", str(self._folder))
        self._workers.append(self._started("worker", path, *once))

    def replace_worker(self) -> None:
        """Kill the oldest worker; another begins."""
        oldest = self._workers.pop(0)
        oldest.kill()
        oldest.wait()
        self.add_worker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        for process in (*self._workers, self._scheduler):
            process.kill()
            process.wait()
