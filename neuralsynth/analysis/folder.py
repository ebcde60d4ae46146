"""A folder of single-note recordings, understood: which files are used, and which note and velocity each one is.

A note comes from an SFZ file beside the recordings, else from the file name, else from the sound. Names are checked
against the sound: the folder's octave convention (C4 = 60 or C3 = 60) is a vote of all recordings, and a name that
clearly contradicts what is heard loses. A file that cannot be used is skipped and named with its reason.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuralsynth.analysis.names import DYNAMICS, TOLERANCE, NameReading, octave_votes, read_names
from neuralsynth.analysis.pitch import NOTHING_HEARD, SHORTEST_SECONDS, Listening, listen, loud_part
from neuralsynth.analysis.sfz import SfzReading, read_sfz_files
from neuralsynth.audiofile import READABLE, read_audio
from neuralsynth.errors import RecordingError
from neuralsynth.units import gain_to_db, hz_to_note, note_name, note_to_hz

LONGEST_SECONDS = 60.0
LARGEST_BYTES = 200_000_000
SILENCE_DB = -60.0
DEFAULT_VELOCITY = 90
MAX_DEPTH, MAX_FILES = 8, 20_000
#: Endings of audio that libsndfile does not read; named as skipped, other endings are passed over in silence.
UNREADABLE = (".m4a", ".aac", ".mp4", ".wma", ".ape", ".wv", ".mpc", ".ac3", ".amr", ".dsf", ".ra", ".mka", ".webm")
#: Confidence below which a measured pitch says nothing, and above which it may vote and overrule a name.
HEARD, SURE = 0.05, 0.5
#: A name loses only if its evidence is below this share of the measured pitch's: by overtone relation, or any other.
_OVERTONE_SHARE, _OTHER_SHARE = 0.75, 0.9
_OVERTONE_SEMITONES = np.array([12.0, 19.0, 24.0, 28.0, 31.0, 36.0, 7.0])  # 2:1, 3:1, 4:1, 5:1, 6:1, 8:1, 3:2
_LAYER_STEP_DB = 3.0


@dataclass(frozen=True)
class Recording:
    """One file of the folder, used or not."""

    path: Path
    name: str  # relative to the folder, with forward slashes
    used: bool
    note: int | None = None  # MIDI, C4 = 60
    velocity: int | None = None  # 1..127
    note_from: str | None = None  # "name", "sfz" or "measured"
    velocity_from: str | None = None  # "name", "sfz", "level" or "default"
    pitch_hz: float | None = None  # measured
    reason: str | None = None  # why it is skipped; if used, what is odd about it
    digest: str = ""  # first 16 hex digits of the file's SHA-256
    group: str = ""  # sub-folder, that is instrument; "" at the top

    def load(self) -> tuple[np.ndarray, int]:
        """The audio, mono float32 `[samples]`, and its sample rate in Hz.

        Raises:
            RecordingError: the file can no longer be read.
        """
        audio, sample_rate = read_audio(self.path, LONGEST_SECONDS)
        return _mono(audio), sample_rate

    def to_json(self) -> dict:
        """The facts a user wants to see, as plain values."""
        keys = ("used", "note", "velocity", "note_from", "velocity_from", "reason", "group", "digest")
        pitch_hz = None if self.pitch_hz is None else round(self.pitch_hz, 2)
        return {"path": self.name, **{key: getattr(self, key) for key in keys}, "pitch_hz": pitch_hz}


@dataclass(frozen=True)
class Folder:
    """All recordings of a folder, sorted by name."""

    path: Path
    recordings: tuple[Recording, ...]
    octave_shift: int  # octaves added to the names; 1 in a folder that calls middle C "C3"
    warnings: tuple[str, ...]

    @property
    def used(self) -> tuple[Recording, ...]:
        """The recordings that can be trained on."""
        return tuple(r for r in self.recordings if r.used)

    def to_json(self) -> dict:
        """`{"files": [...], "octave_shift": 0, "warnings": [...]}`."""
        files = [r.to_json() for r in self.recordings]
        return {"files": files, "octave_shift": self.octave_shift, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class _Heard:
    """A recording with what was measured in it."""

    recording: Recording
    listening: Listening = NOTHING_HEARD
    level_db: float = -200.0

    @property
    def sure_note(self) -> float | None:
        """The sounding note with its fraction, None unless the ear is sure."""
        estimate = self.listening.estimate
        return float(hz_to_note(estimate.pitch_hz)) if estimate.confidence >= SURE else None


def read_folder(path: Path | str, progress: Callable[[int, int], None] | None = None) -> Folder:
    """Understand a folder of recordings; `progress(done, total)` is called after each file.

    Raises:
        RecordingError: the folder does not exist, is no folder, or holds no usable recording.
        MissingExtra: praat-parselmouth is not installed.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise RecordingError(f"{path}: {what}; give a folder of recordings ({_allowed()})")
    audio_files, sfz_files, warnings = _find(path)
    heard = []
    for done, file in enumerate(audio_files, 1):
        heard.append(_hear(path, file))
        if progress is not None:
            progress(done, len(audio_files))
    heard = _without_duplicates(heard)
    sfz, sfz_warnings = read_sfz_files(path, sfz_files)
    recordings, shifts, shift_warnings = _decide(heard, sfz)
    if not any(r.used for r in recordings):
        raise RecordingError(f"{path}: holds no usable recording{_why_none(recordings)}; give single notes ({_allowed()})")
    shift = shifts.most_common(1)[0][0] if shifts else 0
    return Folder(path, tuple(recordings), shift, tuple(warnings + sfz_warnings + shift_warnings))


def _allowed() -> str:
    return "wav, flac, aiff, mp3, ogg …, each 0.05 to 60 s long"


def _why_none(recordings: list[Recording]) -> str:
    if not recordings:
        return ""
    return f" among {len(recordings)} audio files; the first, {recordings[0].name}, {recordings[0].reason}"


# ---- finding and hearing the files


def _find(folder: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Audio files and SFZ files under `folder`, sorted; hidden ones and link loops left out. And warnings."""
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
        folders[:] = sorted(f for f in folders if not f.startswith(".") and depth < MAX_DEPTH and f != "__MACOSX")
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


def _hear(folder: Path, file: Path) -> _Heard:
    """Read and measure one file; a file that cannot be used comes back with its reason."""
    relative = file.relative_to(folder)
    blank = Recording(file, relative.as_posix(), used=False, group=_group(relative))
    try:
        digest = _checked_digest(file)
    except (RecordingError, OSError) as error:
        return _Heard(replace(blank, reason=_reason(error, file)))
    blank = replace(blank, digest=digest)
    try:
        audio, sample_rate = read_audio(file, LONGEST_SECONDS)
        mono = _checked(_mono(audio), sample_rate)
    except RecordingError as error:
        return _Heard(replace(blank, reason=_reason(error, file)))
    if (missing := _missing_share(file, audio.shape[1])) is not None:
        return _Heard(replace(blank, reason=missing))
    listening = listen(mono, sample_rate)
    level_db = float(gain_to_db(np.sqrt(np.mean(loud_part(mono.astype(np.float64), sample_rate) ** 2))))
    pitch_hz = listening.estimate.pitch_hz if listening.estimate.confidence >= HEARD else None
    return _Heard(replace(blank, used=True, pitch_hz=pitch_hz), listening, level_db)


def _group(relative: Path) -> str:
    """The sub-folder, without parts that only name a dynamic such as `ff`."""
    return "/".join(part for part in relative.parts[:-1] if part.lower() not in DYNAMICS)


def _reason(error: Exception, file: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return str(error).removeprefix(f"{file}: ")


def _checked_digest(file: Path) -> str:
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


def _checked(mono: np.ndarray, sample_rate: int) -> np.ndarray:
    """The same audio, if it is long and loud enough to be a note."""
    seconds = len(mono) / sample_rate
    if seconds < SHORTEST_SECONDS:
        raise RecordingError(f"lasts {1000 * seconds:.1f} ms; a note lasts at least {1000 * SHORTEST_SECONDS:.0f} ms")
    peak_db = float(gain_to_db(np.max(np.abs(mono))))
    if peak_db < SILENCE_DB:
        raise RecordingError(f"is silent (peak {peak_db:.0f} dBFS; at least {SILENCE_DB:.0f} are heard)")
    if float(np.ptp(mono[int(0.01 * sample_rate) :])) < 10.0 ** (SILENCE_DB / 20.0):
        raise RecordingError("holds only a constant or a click")
    return mono


def _missing_share(file: Path, n_samples: int) -> str | None:
    """Why a file is cut off, judged by its header (RIFF size, FLAC length); None if whole or if it cannot be told."""
    with file.open("rb") as opened:
        head = opened.read(26)
    size = file.stat().st_size
    if head[:4] in (b"RIFF", b"FORM") and len(head) >= 12:
        promised = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big") + 8
        if size + 1 < promised < 0xFFFF_FF00:  # streamed files promise the largest number, some omit the pad byte
            return f"is cut off ({size} of {promised} bytes)"
    if head[:4] == b"fLaC" and len(head) == 26:
        promised = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF  # STREAMINFO, RFC 9639 section 8.2
        if n_samples < promised:
            return f"is cut off ({n_samples} of {promised} samples)"
    return None


def _without_duplicates(heard: list[_Heard]) -> list[_Heard]:
    """The same list, where every later copy of a used file is skipped."""
    first: dict[str, str] = {}
    result = []
    for one in heard:
        recording = one.recording
        if recording.used and recording.digest in first:
            one = _Heard(replace(recording, used=False, reason=f"is the same as {first[recording.digest]}"))
        elif recording.used:
            first[recording.digest] = recording.name
        result.append(one)
    return result


# ---- deciding note and velocity


def _decide(heard: list[_Heard], sfz: dict[Path, SfzReading]) -> tuple[list[Recording], Counter[int], list[str]]:
    """Every recording with its note and velocity, the octave shifts by number of files, and warnings."""
    groups: dict[str, list[_Heard]] = defaultdict(list)
    for one in heard:
        if one.recording.used:
            groups[one.recording.group].append(one)
    everyone = [(g, one, r) for g, members in groups.items() for one, r in zip(members, _readings(members), strict=True)]
    overall = _shift_by_style((one, r) for _, one, r in everyone)
    decided, shifts, warnings = {}, Counter(), []
    for group, members in groups.items():
        readings = [(one, r) for g, one, r in everyone if g == group]
        own = {**overall, **_shift_by_style(readings)}
        for as_number, octaves in own.items():
            n_files = sum(r.note is not None and r.as_number == as_number for _, r in readings)
            shifts[octaves] += n_files
            if octaves and n_files:
                warnings.append(_shift_warning(group, octaves, as_number))
        done = [_decided(one, r, own, sfz.get(one.recording.path.resolve())) for one, r in readings]
        decided.update({r.name: r for r in _levelled(done, {m.recording.name: m.level_db for m in members})})
    return [decided.get(one.recording.name, one.recording) for one in heard], shifts, warnings


def _readings(members: list[_Heard]) -> list[NameReading]:
    """What the names of one instrument's recordings say; dynamics folders count as part of the name."""
    stems = []
    for one in members:
        *folders, file = Path(one.recording.name).parts
        stems.append(" ".join([f for f in folders if f.lower() in DYNAMICS] + [Path(file).stem]))
    return read_names(stems, [one.sure_note for one in members])


def _shift_by_style(readings: Iterable[tuple[_Heard, NameReading]]) -> dict[bool, int]:
    """Octaves to add, for note names (False) and MIDI numbers (True), where enough recordings vote."""
    shifts = {}
    readings = list(readings)
    for as_number in (False, True):
        mine = [(r.note, one.sure_note) for one, r in readings if r.note is not None and r.as_number == as_number]
        votes = octave_votes([n for n, _ in mine], [h for _, h in mine])
        n_votes = sum(votes.values())
        if n_votes < (5 if as_number else 1):
            continue
        octaves, n_for = votes.most_common(1)[0]
        enough = n_for >= 0.9 * n_votes if as_number else n_for > 0.5 * n_votes
        if enough and (n_votes >= 3 or octaves == 0 or abs(octaves) == 1):
            shifts[as_number] = octaves
    return shifts


def _shift_warning(group: str, octaves: int, as_number: bool) -> str:
    where = f"{group}: " if group else ""
    middle = f"middle C (note 60) is called {60 - 12 * octaves if as_number else note_name(60 - 12 * octaves)} here"
    return f"{where}the names lie {abs(octaves)} octave(s) {'below' if octaves > 0 else 'above'} the sound; {middle}"


def _decided(one: _Heard, reading: NameReading, shifts: dict[bool, int], sfz: SfzReading | None) -> Recording:
    """One recording with its note, and its velocity if name or SFZ gives one."""
    recording = one.recording
    note, note_from = None, None
    if sfz is not None and sfz.note is not None:
        note, note_from = sfz.note, "sfz"
    elif reading.note is not None:
        shifted = reading.note + 12 * shifts.get(reading.as_number, 0)
        if 0 <= shifted <= 127:
            note, note_from = shifted, "name"
    velocity, velocity_from = reading.velocity, "name"
    if sfz is not None and sfz.velocity is not None:
        velocity, velocity_from = sfz.velocity, "sfz"
    recording = replace(recording, velocity=velocity, velocity_from=velocity_from if velocity is not None else None)
    return _with_note(one, recording, note, note_from)


def _with_note(one: _Heard, recording: Recording, note: int | None, note_from: str | None) -> Recording:
    """The recording with the said note, unless the sound clearly contradicts it or there is none."""
    estimate = one.listening.estimate
    sounding = None
    if estimate.confidence >= HEARD:
        sounding = min(max(round(float(hz_to_note(estimate.pitch_hz))), 0), 127)
    if note is None:
        if sounding is None:
            reason = "has no clear pitch, and its name gives no note; name it such as C4 or m060"
            return replace(recording, used=False, velocity=None, velocity_from=None, reason=reason)
        return replace(recording, note=sounding, note_from="measured")
    if sounding is not None and _contradicts(one.listening, note):
        reason = f"{note_from} says {note}, sounds like {sounding}"
        return replace(recording, note=sounding, note_from="measured", reason=reason)
    return replace(recording, note=note, note_from=note_from)


def _contradicts(listening: Listening, note: int) -> bool:
    """Whether the sound surely is another note: a sure ear, and clearly less evidence for the named pitch.

    Where the two pitches share overtones (octaves, twelfths, fifths) the named one needs less to stand, since that is
    where pitch trackers slip.
    """
    estimate = listening.estimate
    away = abs(float(hz_to_note(estimate.pitch_hz)) - note)
    if estimate.confidence < SURE or away < TOLERANCE:
        return False
    related = bool(np.any(np.abs(away - _OVERTONE_SEMITONES) < TOLERANCE))
    share = _OVERTONE_SHARE if related else _OTHER_SHARE
    named, measured = listening.evidence_for(float(note_to_hz(note)), 0.4), listening.evidence_for(estimate.pitch_hz, 0.4)
    return named < share * measured


def _levelled(recordings: list[Recording], level_db: dict[str, float]) -> list[Recording]:
    """The same recordings, those without velocity given one: by level where a note has layers, else the default."""
    by_note: dict[int, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.used and recording.velocity is None:
            by_note[recording.note].append(recording)
    chosen: dict[str, tuple[int, str]] = {}
    for members in by_note.values():
        members.sort(key=lambda r: (level_db[r.name], r.name))
        layers: list[list[Recording]] = []
        for recording in members:
            if layers and level_db[recording.name] - level_db[layers[-1][0].name] <= _LAYER_STEP_DB:
                layers[-1].append(recording)
            else:
                layers.append([recording])
        for k, layer in enumerate(layers, 1):
            by_level = (round(127 * k / len(layers)), "level")
            chosen.update({r.name: by_level if len(layers) > 1 else (DEFAULT_VELOCITY, "default") for r in layer})
    return [
        replace(r, velocity=chosen[r.name][0], velocity_from=chosen[r.name][1]) if r.name in chosen else r
        for r in recordings
    ]
