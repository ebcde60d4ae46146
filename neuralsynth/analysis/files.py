"""The audio files of a folder: found, and checked to be whole, of a fit length, and audible."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from neuralsynth.analysis.cycles import LONGEST_SECONDS as LONGEST_CYCLE_SECONDS
from neuralsynth.analysis.cycles import SILENCE_DB, read_cycle
from neuralsynth.audiofile import READABLE, read_audio
from neuralsynth.errors import RecordingError
from neuralsynth.units import gain_to_db

LONGEST_SECONDS = 60.0
LARGEST_BYTES = 200_000_000
MAX_DEPTH, MAX_FILES = 8, 20_000
#: Endings of audio that libsndfile does not read; named as skipped, other endings are passed over in silence.
UNREADABLE = (".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv", ".mpc", ".ac3", ".amr", ".dsf", ".ra", ".mka", ".webm")


def find_files(folder: Path, without: Collection[str] = ()) -> tuple[list[Path], list[Path], list[str]]:
    """Audio files and SFZ files under `folder`, sorted; hidden ones and link loops left out. And warnings.

    Args:
        without: names of folders in it that are passed over.
    """
    audio, sfz, warnings, seen = [], [], [], set()

    def unreadable(error: OSError) -> None:
        warnings.append(f"{error.filename}: cannot be opened ({error.strerror})")

    for here, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        depth = len(Path(here).relative_to(folder).parts)
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        skipped = {"__MACOSX", *(without if depth == 0 else ())}
        folders[:] = sorted(f for f in folders if not f.startswith(".") and depth < MAX_DEPTH and f not in skipped)
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if ending in READABLE or ending in UNREADABLE:
                audio.append(Path(here) / name)
            elif ending == ".sfz":
                sfz.append(Path(here) / name)
    audio.sort(key=lambda p: p.relative_to(folder).as_posix())
    if len(audio) > MAX_FILES:
        warnings.append(f"{folder}: only the first {MAX_FILES} of {len(audio)} audio files are read")
    return audio[:MAX_FILES], sorted(sfz), warnings


def read_mono(file: Path) -> tuple[np.ndarray, int]:
    """One recording as mono float32 `[samples]`, and its sample rate in Hz.

    Raises:
        RecordingError: the file cannot be read.
    """
    audio, sample_rate = read_audio(file, LONGEST_SECONDS)
    return _mono(audio), sample_rate


def read_checked(file: Path) -> tuple[np.ndarray, int]:
    """One recording as `read_mono` gives it, once it is known to be a whole, audible file of a fit length.

    Raises:
        RecordingError: the file cannot be used.
    """
    mono, sample_rate = read_mono(file)
    _check(mono, sample_rate)
    _check_whole(file, len(mono))
    return mono, sample_rate


def reason_without_file(error: Exception, file: Path) -> str:
    """What an error says, without the file's name in front."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if isinstance(error, UnicodeError):
        return "has a name that is no text; rename it"
    return str(error).removeprefix(f"{file}: ").replace(f"Error opening {str(file)!r}: ", "")


def checked_digest(file: Path) -> str:
    """First 16 hex digits of the file's SHA-256, once its ending and size are fit."""
    if file.suffix.lower() in UNREADABLE:
        raise RecordingError(f"{file}: {file.suffix} cannot be read; convert it to wav or flac")
    if not file.is_file():
        raise RecordingError(f"{file}: is not a regular file")
    size = file.stat().st_size
    if size == 0:
        raise RecordingError(f"{file}: is empty")
    if size > LARGEST_BYTES:
        raise RecordingError(f"{file}: has {size / 1e6:.0f} MB; at most {LARGEST_BYTES // 1_000_000} MB are read")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _mono(audio: np.ndarray) -> np.ndarray:
    """`[channels, samples]` to `[samples]`: the mean, or the louder channel where the mean would cancel."""
    mean = audio.mean(axis=0, dtype=np.float64)
    energies = np.sum(audio.astype(np.float64) ** 2, axis=1)
    loudest = int(np.argmax(energies))
    if np.sum(mean**2) < 0.1 * energies[loudest]:
        return audio[loudest].copy()
    return mean.astype(np.float32)


def _check(mono: np.ndarray, sample_rate: int) -> None:
    """Refuse what is silent, no vibration at all, or too short for a note and no single cycle either."""
    if len(mono) < LONGEST_CYCLE_SECONDS * sample_rate:
        read_cycle(mono, sample_rate)
        return
    peak_db = float(gain_to_db(np.max(np.abs(mono))))
    if peak_db < SILENCE_DB:
        raise RecordingError(f"is silent (peak {peak_db:.0f} dBFS; at least {SILENCE_DB:.0f} are heard)")
    if float(np.ptp(mono[int(0.01 * sample_rate) :])) < 10.0 ** (SILENCE_DB / 20.0):
        raise RecordingError("holds only a constant or a click")


def _check_whole(file: Path, n_samples: int) -> None:
    """Refuse a file that is cut off, where its header tells (RIFF size, FLAC length)."""
    with file.open("rb") as opened:
        head = opened.read(26)
    size = file.stat().st_size
    if head[:4] in (b"RIFF", b"FORM") and len(head) >= 12:
        promised = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
        if size + 1 < promised < 0xFFFF_FF00:  # streamed files promise the largest number, some omit the pad byte
            raise RecordingError(f"is cut off ({size} of {promised} bytes)")
    if head[:4] == b"fLaC" and len(head) == 26:
        promised = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF  # STREAMINFO, RFC 9639 section 8.2
        if n_samples < promised:
            raise RecordingError(f"is cut off ({n_samples} of {promised} samples)")
