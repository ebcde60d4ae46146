"""Recordings -> analysed notes on one grid, in parallel worker processes, and kept by content.

No torch here: every worker process would have to load it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np

from neuralsynth.analysis import NoteAnalysis, analyse_note
from neuralsynth.errors import RecordingError
from neuralsynth.spectrum import NoteSpectrum, SpectrumGrid
from neuralsynth.storage import whole_file

#: Raised when the analysis changes, so that kept analyses of an older one are not used.
ANALYSIS_VERSION = 1


class Recording(Protocol):
    """What is read of a recording (`neuralsynth.analysis.folder.Recording`)."""

    path: Path
    note: float
    velocity: int
    digest: str
    group: str

    def load(self) -> tuple[np.ndarray, int]:
        """Mono audio `[S]` and its sample rate."""


def analyse_recordings(
    recordings: Sequence[Recording],
    grid: SpectrumGrid,
    cache_dir: Path,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[Recording, NoteAnalysis]], list[str]]:
    """Analyse recordings in parallel; returns the usable ones and a sentence for each that is not.

    Raises:
        RecordingError: none is usable.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    jobs = [(recording, grid, _cache_path(cache_dir, recording, grid)) for recording in recordings]
    good, bad = [], []
    for done, (recording, answer) in enumerate(zip(recordings, _analyses(jobs, workers), strict=True), 1):
        if isinstance(answer, str):
            bad.append(answer)
        else:
            good.append((recording, answer))
        if progress is not None:
            progress(done, len(jobs))
    if not good:
        raise RecordingError(
            f"none of {len(jobs)} recordings can be analysed; the first says: {bad[0] if bad else '-'}"
        )
    return good, bad


def _analyses(jobs: list, workers: int) -> Iterator[NoteAnalysis | str]:
    missing = [job for job in jobs if not job[2].is_file()]
    if workers <= 1 or len(missing) < 4:
        yield from map(_analyse_one, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(_analyse_one, jobs, chunksize=max(1, len(jobs) // (8 * workers)))


def _one_thread() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _analyse_one(job: tuple[Recording, SpectrumGrid, Path]) -> NoteAnalysis | str:
    recording, grid, path = job
    kept = _read_analysis(path, grid)
    if kept is not None:
        return kept
    try:
        audio, rate = recording.load()
        analysis = analyse_note(audio, rate, recording.note, grid)
    except RecordingError as error:
        text = str(error)
        return text if text.startswith(str(recording.path)) else f"{recording.path}: {text}"
    _write_analysis(path, analysis)
    return analysis


def _cache_path(cache_dir: Path, recording: Recording, grid: SpectrumGrid) -> Path:
    size = f"{grid.n_frames}-{grid.n_partials}-{grid.n_bands}-{grid.frame_seconds[-1]:.4f}"
    return cache_dir / f"{recording.digest[:32]}-{float(recording.note):g}-{size}-v{ANALYSIS_VERSION}.npz"


def _write_analysis(path: Path, analysis: NoteAnalysis) -> None:
    s = analysis.spectrum
    facts = [analysis.pitch_hz, analysis.inharmonicity, analysis.n_valid_frames, analysis.onset_seconds]
    facts.append(float(analysis.sustains))
    with whole_file(path) as part, part.open("wb") as file:
        np.savez(file, partials=s.partials, ratios=s.ratios, cents=s.cents, noise=s.noise, facts=np.array(facts))


def _read_analysis(path: Path, grid: SpectrumGrid) -> NoteAnalysis | None:
    """A kept analysis, or None where there is none or it is damaged (then it is made again)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            spectrum = NoteSpectrum(grid, kept["partials"], kept["ratios"], kept["cents"], kept["noise"])
            pitch_hz, inharmonicity, n_valid, onset, sustains = kept["facts"]
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # zipfile raises its own BadZipFile, zlib its own error
        if type(error).__name__ in ("BadZipFile", "error"):
            return None
        raise
    return NoteAnalysis(spectrum, float(pitch_hz), float(inharmonicity), int(n_valid), float(onset), bool(sustains))
