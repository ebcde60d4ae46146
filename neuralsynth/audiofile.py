"""Audio files in and out: the only import of soundfile (libsndfile).

Arrays are float32 `[channels, samples]`, full scale 1.0.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from neuralsynth.errors import OutputError, RecordingError, UsageError
from neuralsynth.storage import whole_file

#: What can be read, by file name ending.
READABLE = (".wav", ".flac", ".aif", ".aiff", ".aifc", ".mp3", ".ogg", ".oga", ".opus", ".w64", ".caf", ".au", ".rf64")
#: Bit depth name -> libsndfile subtype, by format.
DEPTHS = {
    "wav": {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"},
    "flac": {"16": "PCM_16", "24": "PCM_24"},
}
MAX_SECONDS = 600.0
_OGG_BLOCK = 4096  # libsndfile's Vorbis encoder keeps what it is given at once on the stack


def read_audio(path: Path | str, max_seconds: float = MAX_SECONDS) -> tuple[np.ndarray, int]:
    """Read a recording: float32 `[channels, samples]` and its sample rate in Hz.

    Raises:
        RecordingError: no audio file, empty, longer than `max_seconds`, or not finite.
    """
    import soundfile

    path = Path(path)
    try:
        if not path.is_file():
            raise RecordingError(f"{path}: is not a regular file")
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            if file.frames > max_seconds * rate:
                raise RecordingError(f"{path}: lasts {file.frames / rate:.0f} s; at most {max_seconds:.0f} s are read")
            audio = file.read(dtype="float32", always_2d=True).T
    except soundfile.LibsndfileError as error:
        raise RecordingError(f"{path}: cannot be read as audio ({error.error_string})") from error
    except UnicodeError as error:
        raise RecordingError(f"{path}: has a name that is no text; rename it") from error
    except (OSError, TypeError, MemoryError) as error:
        raise RecordingError(
            f"{path}: cannot be read as audio ({getattr(error, 'strerror', None) or error})"
        ) from error
    if audio.shape[1] == 0:
        raise RecordingError(f"{path}: holds no samples")
    if not np.all(np.isfinite(audio)):
        raise RecordingError(f"{path}: holds samples that are not finite numbers")
    return np.ascontiguousarray(audio), rate


@contextlib.contextmanager
def audio_writer(path: Path | str, sample_rate: int, depth: str = "24", channels: int = 2):
    """Give a function that appends `[channels, n]` blocks to a wav or flac file; the file is whole or absent.

    Raises:
        UsageError: unknown ending or depth.
        OutputError: the file cannot be written.
    """
    import soundfile

    path = Path(path)
    subtype = subtype_for(path, depth)
    with whole_file(path) as part:
        try:
            with soundfile.SoundFile(
                str(part), "w", sample_rate, channels, subtype, format=path.suffix[1:].upper()
            ) as file:
                yield lambda block: file.write(_in_depth(block, subtype).T)
        except (soundfile.LibsndfileError, AssertionError) as error:
            # libsndfile reports a full disk by writing less than asked, which soundfile only asserts
            raise OutputError(f"{path}: cannot be written ({error or 'is the disk full?'})") from error


def _in_depth(block: np.ndarray, subtype: str) -> np.ndarray:
    """Samples as whole numbers of the file's depth, rounded and clipped; libsndfile takes three times as long."""
    if subtype == "FLOAT":
        return block
    largest = 2.0 ** (15 if subtype == "PCM_16" else 23) - 1.0
    whole = np.rint(np.clip(block, -1.0, 1.0) * np.float32(largest))
    return whole.astype(np.int16) if subtype == "PCM_16" else whole.astype(np.int32) << 8


def write_audio(path: Path | str, audio: np.ndarray, sample_rate: int, depth: str = "24") -> None:
    """Write `[channels, samples]` as wav or flac, chosen by the name's ending; whole or not at all.

    Raises:
        UsageError: unknown ending or depth.
        OutputError: the file cannot be written.
    """
    with audio_writer(path, sample_rate, depth, audio.shape[0]) as write:
        write(audio)


def encoded(audio: np.ndarray, sample_rate: int, kind: str, depth: str = "24") -> bytes:
    """`[channels, samples]` as the bytes of a file of this kind, "wav" or "flac".

    Raises:
        UsageError: unknown kind or depth.
    """
    import io

    import soundfile

    subtype, memory = subtype_for(Path(f"a.{kind}"), depth), io.BytesIO()
    with soundfile.SoundFile(memory, "w", sample_rate, audio.shape[0], subtype, format=kind.upper()) as file:
        file.write(_in_depth(audio, subtype).T)
    return memory.getvalue()


def encoded_small(audio: np.ndarray, sample_rate: int) -> tuple[str, bytes]:
    """The kind and bytes of a small file of `[channels, samples]`: "ogg" (Vorbis), or "flac" where that cannot be."""
    import io

    import soundfile

    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(memory, "w", sample_rate, audio.shape[0], "VORBIS", format="OGG") as file:
            for start in range(0, audio.shape[1], _OGG_BLOCK):
                file.write(audio[:, start : start + _OGG_BLOCK].T)
    except soundfile.LibsndfileError:
        return "flac", encoded(audio, sample_rate, "flac", "16")
    return "ogg", memory.getvalue()


def subtype_for(path: Path, depth: str) -> str:
    """Check ending and depth before any work is done; returns libsndfile's name of the depth."""
    kind = path.suffix[1:].lower()
    if kind not in DEPTHS:
        raise UsageError(f"{path}: unknown ending {path.suffix!r}; use .wav or .flac")
    if depth not in DEPTHS[kind]:
        raise UsageError(f"{path}: depth {depth!r} does not exist in {kind}; use {', '.join(DEPTHS[kind])}")
    return DEPTHS[kind][depth]
