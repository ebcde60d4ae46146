"""`export_multisample`: a preset as an SFZ instrument, for any sampler. `docs/sfz.md` says what comes along."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from neuralsynth import __version__
from neuralsynth.design.mapping import Multisample, is_sample_of, sfz_text
from neuralsynth.design.sampled_zone import Job, Progress, SfzOptions, ZoneWork
from neuralsynth.design.sampling import NoteSource
from neuralsynth.errors import OutputError, UsageError
from neuralsynth.patch import Patch
from neuralsynth.storage import whole_file

__all__ = ["SfzOptions", "SfzReport", "check_folder", "export_multisample"]


@dataclass(frozen=True)
class SfzReport:
    """What was exported."""

    output: str
    samples: int
    regions: int
    looped: int
    keys: tuple[int, int]
    layers: int
    seconds: float  # of sound in the samples
    megabytes: float
    took_seconds: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        """Plain values for `--json`."""
        return asdict(self)


def export_multisample(
    preset: str | Path | Patch,
    folder: str | Path,
    options: SfzOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SfzReport:
    """Write `NAME.sfz` and `samples/` into a folder: the notes of a preset over its range, mapped and looped.

    The .sfz is written last: as long as it is not there, nothing is.

    Args:
        preset: preset name, path, or a loaded patch.
        overwrite: write into a folder that holds something already.
        progress: called with (notes played, notes to play).

    Raises:
        NeuralSynthError: as `Patch.load`; also when the folder holds something, cannot be written, or no key sounds.
    """
    began, options, folder = time.perf_counter(), options or SfzOptions(), Path(folder)
    check_folder(folder, overwrite)
    patch = preset if isinstance(preset, Patch) else Patch.load(preset)
    name = _plain_name(patch.path.stem)
    sfz = folder / f"{name}.sfz"
    zones = _planned(patch, options)
    job = Job(options, folder, sum(zone.n_notes for zone in zones), progress)
    with _none_left(folder, sfz, job.written):
        for zone in zones:
            zone.measure(job)
        is_stereo = any(zone.is_stereo for zone in zones)
        numbers = range(1, len(zones) + 1) if len(zones) > 1 else [None]
        built = [zone.build(job, is_stereo, name, number) for zone, number in zip(zones, numbers, strict=True)]
        title = (
            f"{patch.name}, sampled by neuralsynth {__version__}; licence {patch.preset.licence or patch.spec.licence}"
        )
        instrument = Multisample(title, built)
        with whole_file(sfz) as part:
            part.write_text(sfz_text(instrument), encoding="ascii")
    _drop_stale(folder / "samples", name, job.written)
    found = [sample for zone in built for sample in zone.samples]
    keys = [key for sample in found for key in sample.volume_db]
    return SfzReport(
        output=str(sfz),
        samples=len(found),
        regions=instrument.n_regions,
        looped=sum(sample.loop is not None for sample in found),
        keys=(min(keys), max(keys)),
        layers=max(len(zone.touches) for zone in zones),
        seconds=round(job.seconds, 1),
        megabytes=round(sum(path.stat().st_size for path in job.written) / 1e6, 1),
        took_seconds=round(time.perf_counter() - began, 1),
        warnings=job.warnings(),
    )


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot be used, before any work is done.

    Raises:
        UsageError: it is a file, or it holds something and `overwrite` is off.
        OutputError: the folder that it is to lie in does not exist, or it cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder to write")
    if not folder.resolve().parent.is_dir():
        raise OutputError(f"{folder}: the folder it is to lie in does not exist; make it first")
    try:
        is_used = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror})") from error
    if is_used and not overwrite:
        raise UsageError(f"{folder}: holds something already; add --force to write into it")


def _planned(patch: Patch, options: SfzOptions) -> list[ZoneWork]:
    """A zone for each layer of the preset, over all keys that lie in the range of any of its instruments."""
    low, high = options.keys or (0, 127)
    sources = [NoteSource(patch, *zone, options.sample_rate, options.effects) for zone in patch.zones]
    wanted = {key for source in sources for key in source.keys_in_range() if low <= key <= high}
    if not wanted:
        raise UsageError(f"{patch.path}: no key in its range sounds between {low} and {high}")
    keys = [[key for key in source.playable_keys() if key in wanted] for source in sources]
    return [ZoneWork(source, own, options) for source, own in zip(sources, keys, strict=True) if own]


@contextlib.contextmanager
def _none_left(folder: Path, sfz: Path, written: list[Path]) -> Iterator[None]:
    """Make the folders; where the work fails, take back what was written."""
    made = [path for path in (folder, folder / "samples") if not path.exists()]
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        sfz.unlink(missing_ok=True)  # it must not name samples of two exports
        yield
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        if not sfz.is_file():
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink()
            for path in reversed(made):
                with contextlib.suppress(OSError):
                    path.rmdir()


def _drop_stale(folder: Path, name: str, written: list[Path]) -> None:
    """Remove the samples of an earlier export of the same instrument that this one has not."""
    for path in folder.iterdir():
        if path not in written and is_sample_of(name, path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def _plain_name(name: str) -> str:
    """A file name in plain ASCII."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "instrument"
