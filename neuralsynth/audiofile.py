"""Audio files in and out: the only import of soundfile (libsndfile).

Arrays are float32 `[channels, samples]`, full scale 1.0.
"""

from __future__ import annotations

import contextlib
import struct
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
def audio_writer(path: Path | str, sample_rate: int, depth: str = "24", channels: int = 2, chunk: bytes = b""):
    """Give a function that appends `[channels, n]` blocks to a wav or flac file; the file is whole or absent.

    Args:
        chunk: what is put behind the sound of a wav file.

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
            if chunk:
                _append_chunk(part, chunk)
        except (soundfile.LibsndfileError, AssertionError) as error:
            # libsndfile reports a full disk by writing less than asked, which soundfile only asserts
            raise OutputError(f"{path}: cannot be written ({error or 'is the disk full?'})") from error


def _in_depth(block: np.ndarray, subtype: str) -> np.ndarray:
    """Samples as whole numbers of the file's depth, rounded and clipped; libsndfile takes three times as long."""
    if subtype == "FLOAT":
        return block
    largest = 2.0 ** (15 if subtype == "PCM_16" else 23) - 1.0
    whole = np.clip(block, -1.0, 1.0)
    whole *= np.float32(largest)
    np.rint(whole, out=whole)
    if subtype == "PCM_16":
        return whole.astype(np.int16)
    shifted = whole.astype(np.int32)
    shifted <<= 8
    return shifted


def write_audio(
    path: Path | str,
    audio: np.ndarray,
    sample_rate: int,
    depth: str = "24",
    loop: tuple[int, int] | None = None,
    note: int = 60,
) -> None:
    """Write `[channels, samples]` as wav or flac, chosen by the name's ending; whole or not at all.

    Args:
        loop: first and last sample of a loop, which a wav file tells to samplers (chunk `smpl`).
        note: the MIDI note that is heard, for the same.

    Raises:
        UsageError: unknown ending or depth.
        OutputError: the file cannot be written.
    """
    tell = sampler_chunk(loop, note, sample_rate) if loop and Path(path).suffix.lower() == ".wav" else b""
    with audio_writer(path, sample_rate, depth, audio.shape[0], tell) as write:
        write(audio)


def encoded(audio: np.ndarray, sample_rate: int, kind: str, depth: str = "24") -> bytes:
    """`[channels, samples]` as the bytes of a file of this kind, "wav" or "flac".

    Raises:
        UsageError: unknown kind or depth.
    """
    import io

    import soundfile

    subtype, memory = subtype_for(Path(f"a.{kind}"), depth), io.BytesIO()
    if kind == "wav" and subtype != "FLOAT":
        return _wav(_in_depth(audio, subtype).T, sample_rate)
    with soundfile.SoundFile(memory, "w", sample_rate, audio.shape[0], subtype, format=kind.upper()) as file:
        file.write(_in_depth(audio, subtype).T)
    return memory.getvalue()


def _wav(whole: np.ndarray, sample_rate: int) -> bytes:
    """Whole numbers `[n, channels]` as a wav file, byte for byte as by libsndfile, which takes three times as long."""
    n_channels, n_bytes = whole.shape[1], 2 if whole.dtype == np.int16 else 3
    packed = np.ascontiguousarray(whole, f"<i{whole.itemsize}").view(np.uint8)
    if n_bytes == 3:  # of four, without the lowest
        four, packed = packed.reshape(-1, 4), np.empty((whole.size, 3), np.uint8)
        for place in range(3):
            packed[:, place] = four[:, place + 1]
    pad = packed.nbytes % 2
    frame = n_channels * n_bytes
    form = (1, n_channels, sample_rate, sample_rate * frame, frame, 8 * n_bytes)
    head = struct.pack("<4sI8sI2H2I2H", b"RIFF", 36 + packed.nbytes + pad, b"WAVEfmt ", 16, *form)
    return b"".join((head, struct.pack("<4sI", b"data", packed.nbytes), packed.data, bytes(pad)))


def sampler_chunk(loop: tuple[int, int], note: int, sample_rate: int) -> bytes:
    """The chunk of a wav file that tells samplers its note and one loop (MMA RP-016)."""
    loops = struct.pack("<6I", 0, 0, *loop, 0, 0)
    return struct.pack("<4s10I", b"smpl", 60, 0, 0, round(1e9 / sample_rate), note, 0, 0, 0, 1, 0) + loops


def _append_chunk(path: Path, chunk: bytes) -> None:
    """Put a chunk at the end of a wav file, whose header counts it."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.write(b"\0" * (size % 2) + chunk)
        file.seek(4)
        file.write(struct.pack("<I", size + size % 2 + len(chunk) - 8))


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
