"""What is calculated must not depend on how many threads a library takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def said_with_threads(code: str, n_threads: int) -> str:
    """What a program prints in a process whose libraries calculate on so many threads."""
    root, n = Path(__file__).parents[1], str(n_threads)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "PYTHONPATH": str(root)},
    ).stdout  # fmt: skip
