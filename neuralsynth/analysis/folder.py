"""A folder of single-note recordings, understood: which files are used, and which note and velocity each one is.

A note comes from an SFZ file beside the recordings, else from the file name, else from the sound. Names are checked
against the sound: the folder's octave convention (C4 = 60 or C3 = 60) is a vote of all recordings, and a name that
clearly contradicts what is heard loses. A file that cannot be used is skipped and named with its reason.

A folder holds notes, single-cycle waveforms, or the hits of a drum kit, which is known by its names (`kit`). Where
cycles and others are found, the fewer are skipped.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuralsynth.analysis.cycles import LONGEST_SECONDS as LONGEST_CYCLE_SECONDS
from neuralsynth.analysis.cycles import cycle_names, read_cycle
from neuralsynth.analysis.files import checked_digest, find_files, read_checked, reason_without_file
from neuralsynth.analysis.kit import as_hits, is_kit
from neuralsynth.analysis.layers import DEFAULT_VELOCITY, with_velocities
from neuralsynth.analysis.names import DYNAMICS, TOLERANCE, NameReading, octave_votes, read_names
from neuralsynth.analysis.pitch import NOTHING_HEARD, Listening, listen, loud_part
from neuralsynth.analysis.recordings import Folder, Recording
from neuralsynth.analysis.sfz import SfzReading, read_sfz_files
from neuralsynth.errors import RecordingError, UsageError
from neuralsynth.units import gain_to_db, hz_to_note, note_name, note_to_hz

__all__ = ["Folder", "Recording", "contradicts", "read_folder"]

KINDS = ("auto", "notes", "drums")
#: Confidence below which a measured pitch says nothing, and above which it may vote and overrule a name.
HEARD, SURE = 0.05, 0.5
#: A name loses only if its evidence is below this share of the measured pitch's: by overtone relation, or any other.
_OVERTONE_SHARE, _OTHER_SHARE = 0.75, 0.9
_OVERTONE_SEMITONES = np.array([12.0, 19.0, 24.0, 28.0, 31.0, 36.0, 7.0])  # 2:1, 3:1, 4:1, 5:1, 6:1, 8:1, 3:2


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


def read_folder(
    path: Path | str,
    progress: Callable[[int, int], None] | None = None,
    kind: str = "auto",
    without: Collection[str] = (),
) -> Folder:
    """Understand a folder of recordings; `progress(done, total)` is called after each file.

    Args:
        kind: one of `KINDS`: what the folder holds, where its names would mislead.
        without: names of folders in it that are passed over.

    Raises:
        UsageError: another kind.
        RecordingError: the folder does not exist, is no folder, or holds no usable recording.
        MissingExtra: praat-parselmouth is not installed.
    """
    path = Path(path)
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; use {', '.join(KINDS)}")
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise RecordingError(f"{path}: {what}; give a folder of recordings ({_allowed()})")
    audio_files, sfz_files, warnings = find_files(path, without)
    heard = []
    for done, file in enumerate(audio_files, 1):
        heard.append(_hear(path, file))
        if progress is not None:
            progress(done, len(audio_files))
    heard, mixed_warnings = _of_one_kind(_without_duplicates(heard))
    sfz, sfz_warnings = read_sfz_files(path, sfz_files)
    cycles = any(one.recording.is_cycle for one in heard)
    if cycles:
        recordings, shifts, shift_warnings = _as_cycles(heard)
    elif kind == "drums" or (kind == "auto" and _sounds_like_kit(heard)):
        recordings, shifts, shift_warnings = _as_kit(heard, sfz)
    else:
        recordings, shifts, shift_warnings = _decide(heard, sfz)
    if not any(r.used for r in recordings):
        why = _why_none(recordings)
        raise RecordingError(f"{path}: holds no usable recording{why}; give single notes ({_allowed()})")
    shift = shifts.most_common(1)[0][0] if shifts else 0
    return Folder(path, tuple(recordings), shift, (*warnings, *mixed_warnings, *sfz_warnings, *shift_warnings))


def _allowed() -> str:
    return "wav, flac, aiff, mp3, ogg …, each 0.05 to 60 s long, or single-cycle waveforms of exactly one period"


def _why_none(recordings: list[Recording]) -> str:
    if not recordings:
        return ""
    return f" among {len(recordings)} audio files; the first, {recordings[0].name}, {recordings[0].reason}"


# ---- hearing the files


def _hear(folder: Path, file: Path) -> _Heard:
    """Read and measure one file; a file that cannot be used comes back with its reason."""
    relative = file.relative_to(folder)
    name = os.fsencode(relative.as_posix()).decode("utf-8", "replace")
    recording = Recording(file, name, used=False, group=_group(relative))
    try:
        recording = replace(recording, digest=checked_digest(file))
        mono, sample_rate = read_checked(file)
    except (RecordingError, OSError, UnicodeError) as error:
        return _Heard(replace(recording, reason=reason_without_file(error, file)))
    if len(mono) < LONGEST_CYCLE_SECONDS * sample_rate:
        return _Heard(replace(recording, used=True, pitch_hz=read_cycle(mono, sample_rate).pitch_hz, is_cycle=True))
    listening = listen(mono, sample_rate)
    level_db = float(gain_to_db(np.sqrt(np.mean(loud_part(mono.astype(np.float64), sample_rate) ** 2))))
    pitch_hz = listening.estimate.pitch_hz if listening.estimate.confidence >= HEARD else None
    return _Heard(replace(recording, used=True, pitch_hz=pitch_hz), listening, level_db)


def _group(relative: Path) -> str:
    """The sub-folder, without parts that only name a dynamic such as `ff`."""
    return "/".join(part for part in relative.parts[:-1] if part.lower() not in DYNAMICS)


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


def _of_one_kind(heard: list[_Heard]) -> tuple[list[_Heard], list[str]]:
    """The same list, where the fewer of notes and single cycles are skipped, and what to tell of it."""
    n_used = sum(one.recording.used for one in heard)
    n_cycles = sum(one.recording.used and one.recording.is_cycle for one in heard)
    if n_cycles in (0, n_used):
        return heard, []
    keep_cycles = n_cycles > n_used - n_cycles
    refused = "is a note among single cycles" if keep_cycles else "is a single cycle among notes"
    kept, left_out = (n_cycles, n_used - n_cycles) if keep_cycles else (n_used - n_cycles, n_cycles)
    advice = "put notes and single cycles into folders of their own"
    result = [
        one if one.recording.is_cycle == keep_cycles or not one.recording.used else _Heard(
            replace(one.recording, used=False, is_cycle=False, reason=f"{refused}; {advice}"))
        for one in heard
    ]  # fmt: skip
    kinds = ("single cycles", "notes") if keep_cycles else ("notes", "single cycles")
    return result, [f"{kept} {kinds[0]} are used, {left_out} {kinds[1]} are skipped: {advice}"]


# ---- deciding note and velocity


def _as_cycles(heard: list[_Heard]) -> tuple[list[Recording], Counter[int], list[str]]:
    """`_decide` for a pack of single cycles: each a group of its own, its note the pitch of the file."""
    used = [one.recording for one in heard if one.recording.used]
    names = dict(zip((r.path for r in used), cycle_names([r.name.rpartition(".")[0] for r in used]), strict=True))
    recordings = [
        replace(
            r, note=_nearest_note(r.pitch_hz), velocity=DEFAULT_VELOCITY, note_from="cycle", velocity_from="default",
            group=names[r.path],
        ) if r.used else r
        for r in (one.recording for one in heard)
    ]  # fmt: skip
    return recordings, Counter(), []


def _sounds_like_kit(heard: list[_Heard]) -> bool:
    """Whether the files are hits of drums by name, and not notes that sound as they are named."""
    used = [one for one in heard if one.recording.used]
    readings = read_names([Path(one.recording.name).stem for one in used], [one.sure_note for one in used])
    sounding = [
        r.note is not None and one.sure_note is not None and abs((one.sure_note - r.note + 6) % 12 - 6) < TOLERANCE
        for one, r in zip(used, readings, strict=True)
    ]
    return is_kit([one.recording.name for one in used], sounding)


def _as_kit(heard: list[_Heard], sfz: dict[Path, SfzReading]) -> tuple[list[Recording], Counter[int], list[str]]:
    """`_decide` for the hits of a drum kit."""
    used = [one.recording for one in heard if one.recording.used]
    hits = {r.path: r for r in as_hits(used, {one.recording.path: one.level_db for one in heard}, sfz)}
    return [hits.get(one.recording.path, one.recording) for one in heard], Counter(), []


def _decide(heard: list[_Heard], sfz: dict[Path, SfzReading]) -> tuple[list[Recording], Counter[int], list[str]]:
    """Every recording with its note and velocity, the octave shifts by number of files, and warnings."""
    groups: dict[str, list[_Heard]] = defaultdict(list)
    for one in heard:
        if one.recording.used:
            groups[one.recording.group].append(one)
    read = {group: list(zip(members, _readings(members), strict=True)) for group, members in groups.items()}
    overall = _shift_by_style([pair for pairs in read.values() for pair in pairs], least_votes=1)
    shifts: Counter[int] = Counter()
    decided, warnings = {}, []
    for group, members in groups.items():
        readings = read[group]
        own = {**overall, **_shift_by_style(readings, least_votes=3)}
        for as_number, octaves in own.items():
            n_files = sum(r.note is not None and r.as_number == as_number for _, r in readings)
            shifts[octaves] += n_files
            if octaves and n_files:
                warnings.append(_shift_warning(group, octaves, as_number))
        done = [_decided(one, r, own, sfz.get(one.recording.path.resolve())) for one, r in readings]
        decided.update({r.path: r for r in with_velocities(done, {m.recording.path: m.level_db for m in members})})
    return [decided.get(one.recording.path, one.recording) for one in heard], shifts, warnings


def _nearest_note(pitch_hz: float | None) -> int:
    assert pitch_hz is not None
    return min(max(round(float(hz_to_note(pitch_hz))), 0), 127)


def _readings(members: list[_Heard]) -> list[NameReading]:
    """What the names of one instrument's recordings say; dynamics folders count as part of the name."""
    stems = []
    for one in members:
        *folders, file = Path(one.recording.name).parts
        stems.append(" ".join([f for f in folders if f.lower() in DYNAMICS] + [Path(file).stem]))
    return read_names(stems, [one.sure_note for one in members])


def _shift_by_style(readings: list[tuple[_Heard, NameReading]], least_votes: int) -> dict[bool, int]:
    """Octaves to add, for note names (False) and MIDI numbers (True), where enough recordings vote."""
    shifts = {}
    for as_number in (False, True):
        mine = [(r.note, one.sure_note) for one, r in readings if r.note is not None and r.as_number == as_number]
        votes = octave_votes([n for n, _ in mine], [h for _, h in mine])
        n_votes = sum(votes.values())
        if n_votes < (5 if as_number else least_votes):
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
        sounding = _nearest_note(estimate.pitch_hz)
    if note is None:
        if sounding is None:
            reason = "has no clear pitch, and its name gives no note; name it such as C4 or m060"
            return replace(recording, used=False, velocity=None, velocity_from=None, reason=reason)
        return replace(recording, note=sounding, note_from="measured")
    if sounding is not None and contradicts(one.listening, note):
        reason = f"{note_from} says {note}, sounds like {sounding}"
        return replace(recording, note=sounding, note_from="measured", reason=reason)
    return replace(recording, note=note, note_from=note_from)


def contradicts(listening: Listening, note: int) -> bool:
    """Whether the sound surely is another note: a sure ear, and clearly less evidence for the named pitch.

    Where the two pitches share overtones (octaves, twelfths, fifths) the named one needs less to stand, since that is
    where pitch trackers slip.
    """
    estimate = listening.estimate
    if estimate.confidence < SURE:
        return False
    above = float(hz_to_note(estimate.pitch_hz)) - note
    away = abs(above)
    if away < TOLERANCE:
        return False
    if any(abs(above - 12.0 * np.log2(n)) < TOLERANCE for n in listening.undertones):
        return False
    related = bool(np.any(np.abs(away - _OVERTONE_SEMITONES) < TOLERANCE))
    share = _OVERTONE_SHARE if related else _OTHER_SHARE
    named = listening.evidence_for(float(note_to_hz(note)), 0.4)
    return named < share * listening.evidence_for(estimate.pitch_hz, 0.4)
