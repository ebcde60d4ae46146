"""Turn recipes into trained, measured, exported and checked instruments.

::

    python export/build.py --recordings FOLDER                     every recipe beside this file, into presets/
    python export/build.py --recordings FOLDER cello --into /tmp   one of them, elsewhere
    python export/build.py --recordings FOLDER --only-quality      figures of measured.csv into finished instruments
    python export/build.py --recordings FOLDER --only-prior        the prior of finished instruments fitted anew

For each recipe: a *twin* is trained without every fifth pitch and scored on those (`neuralsynth score`), then the
instrument is trained on every recording, gets the twin's figures into its spec, and is checked: it loads through the
gate, agrees with torch, and its notes are in tune by an independent tracker. `export/README.md` says where the
recordings come from.

A folder of single-cycle waveforms gets no twin: nobody recorded its notes, and a waveform left out is another waveform.
How exactly the harmonics of each come back at its own point is printed instead. Nor does a drum kit, which has no
pitches to leave out or to be in tune with: `benchmarks/drums.py` trains its twin without every third hit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from neuralsynth.analysis.folder import Folder, read_folder
from neuralsynth.errors import NeuralSynthError, UsageError
from neuralsynth.spec import Quality, Texture
from neuralsynth.training.augment import APART, Batches
from neuralsynth.training.config import TrainConfig, VaeConfig

HERE = Path(__file__).parent
IN_TUNE_CENTS = 10.0
LEAST_IN_TUNE = 0.99
HEARD_RATE = 96_000  # Hz; at 44,100 a period of the highest keys is a handful of samples, and YIN is 12 cents off


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recipe file."""

    name: str
    folder: str
    licence: str
    origin: str
    steps: int
    without: tuple[str, ...] = ()
    family: str = "vae"
    seed: int = 0
    twin_leaves_out: int = 5
    batch_size: int = 24
    n_frames: int = 128
    n_bands: int = 44
    n_partials: int = 0
    duration_seconds: float = 0.0
    model: dict[str, float | int] = {}

    def recordings(self, root: Path) -> Folder:
        """What it learns from, below the folder of all recordings."""
        return read_folder(root / self.folder, without=self.without)

    def config(self, threads: int) -> TrainConfig:
        """The training it asks for."""
        words, training = ("family", "name", "licence", "origin"), ("steps", "seed", "batch_size")
        sizes = ("n_frames", "n_bands", "n_partials", "duration_seconds")
        chosen = {key: getattr(self, key) for key in (*words, *training, *sizes)}
        return TrainConfig(**chosen, threads=threads, model=VaeConfig(**self.model))


def main() -> int:
    """Build what the command line names; exit code 1 if a built instrument fails a check."""
    parser = argparse.ArgumentParser(description="train, measure, export and check the shipped instruments")
    parser.add_argument("recipes", nargs="*", help="names of recipes, such as cello  [default: all]")
    parser.add_argument("--recordings", type=Path, required=True, help="folder that holds the recipes' folders")
    parser.add_argument("--into", type=Path, default=HERE.parent / "presets", help="where instruments are written")
    parser.add_argument("--work", type=Path, help="where runs are kept  [default: a temporary folder]")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the shipped files were made with 1")
    parser.add_argument("--without-twin", action="store_true", help="do not measure quality on left-out pitches")
    parser.add_argument("--only-texture", action="store_true", help="measure the texture of finished instruments anew")
    parser.add_argument("--only-quality", action="store_true", help="put judge.py's figures into finished instruments")
    parser.add_argument("--only-axes", action="store_true", help="put the axes of finished instruments straight")
    parser.add_argument("--only-prior", action="store_true", help="fit the prior of finished instruments anew")
    options = parser.parse_args()
    names = options.recipes or sorted(path.stem for path in HERE.glob("*.toml"))
    make = retexture if options.only_texture else requality if options.only_quality else build
    make = reprior if options.only_prior else reaxis if options.only_axes else make
    try:
        checks = [make(name, options) for name in names]
    except NeuralSynthError as error:
        print(f"build: {error}", file=sys.stderr)
        return error.exit_code
    return 0 if all(checks) else 1


def read_recipe(name: str) -> Recipe:
    """Read `NAME.toml` beside this file.

    Raises:
        UsageError: missing, no TOML, an unknown key or a wrong type.
    """
    path = HERE / f"{name}.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Recipe)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is no recipe ({error})") from error


def build(name: str, options: argparse.Namespace) -> bool:
    """Make one instrument; returns whether it passed its checks."""
    from neuralsynth.training.run import train_folder

    recipe = read_recipe(name)
    folder, config = recipe.recordings(options.recordings), recipe.config(options.threads)
    without_twin = options.without_twin or folder.holds_cycles or folder.holds_kit
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="build-")) if options.work is None else options.work
    work.mkdir(parents=True, exist_ok=True)
    try:
        quality = None if without_twin else measure(name, folder.path, config, recipe.twin_leaves_out, work)
        result = train_folder(folder, work / f"{name}.onnx", config, run_dir=fresh(work / f"{name}.run"))
        publish(result.model_path, options.into, quality)
    finally:
        if options.work is None:
            shutil.rmtree(work)
    passed = tell_kit(options.into / f"{name}.onnx", folder) if folder.holds_kit else check(
        options.into / f"{name}.onnx", quality)  # fmt: skip
    if folder.holds_cycles:
        tell_reconstruction(options.into / f"{name}.onnx", folder)
    print(
        f"{name}: parity {result.parity_db:.0f} dB, {result.steps} steps, {(time.monotonic() - started) / 60:.1f} min"
    )
    return passed


def retexture(name: str, options: argparse.Namespace) -> bool:
    """Measure the texture of a finished instrument anew, from its recordings, and put it into its spec."""
    from neuralsynth.training.points import sustain_region
    from neuralsynth.training.texture import measure_texture

    model, table = options.into / f"{name}.onnx", trained_on(name, options).table
    texture = measure_texture(table, sustain_region(table))
    publish(model, options.into, texture=texture)
    print(f"{model.name}: {texture}")
    return True


def reaxis(name: str, options: argparse.Namespace) -> bool:
    """Put the axes of a finished instrument straight; nothing is asked of its recordings."""
    from neuralsynth.model import InstrumentModel
    from neuralsynth.training.straighten import straighten

    model = options.into / f"{name}.onnx"
    before = InstrumentModel.load(model).spec
    after = straighten(model)
    own = [f"{axis} at {point}" for point, axes in after.own_axes.items() for axis in axes]
    own += [axis for axis in after.axes if after.axes[axis] != before.axes[axis]]
    print(f"{model.name}: {', '.join(own) or 'nothing'} goes another way", flush=True)
    return True


def reprior(name: str, options: argparse.Namespace) -> bool:
    """Fit the prior of a finished instrument anew, from its recordings; its encoder lies beside it."""
    from neuralsynth.training.posterior import add_prior

    model = options.into / f"{name}.onnx"
    prior = add_prior(model, trained_on(name, options)).prior
    assert prior is not None  # it was added just now
    print(f"{model.name}: {len(prior.couplings)} couplings, {prior.size} numbers draw a sound", flush=True)
    return True


def trained_on(name: str, options: argparse.Namespace) -> Batches:
    """The recordings of a recipe as its training drew them."""
    from neuralsynth.training.checkpoints import Run
    from neuralsynth.training.cycles import suited
    from neuralsynth.training.prepare import prepare

    recipe = read_recipe(name)
    folder, config = recipe.recordings(options.recordings), recipe.config(options.threads)
    with tempfile.TemporaryDirectory(prefix="analyses-") as work:
        run = Run((options.work or Path(work)) / f"{name}.run")
        run.create()
        config = suited(config) if folder.holds_cycles else config
        data = prepare(folder, config, run, None, options.threads, lambda _: None)
    return Batches(data.train, config.seed, config.batch_size, APART if folder.holds_cycles else None)


def requality(name: str, options: argparse.Namespace) -> bool:
    """Put what `judge.py` measured, every fifth pitch left out, into a finished instrument."""
    from measured import HERE as FIGURES
    from measured import read_rows

    recipe, model = read_recipe(name), options.into / f"{name}.onnx"
    rows = {row.key: row for row in read_rows(FIGURES / "measured.csv")}
    row = rows.get((name, "left-out", recipe.seed))
    if row is None:
        print(f"{name}: is not in measured.csv; measure it with judge.py, or build it with its twin")
        return True
    names = [field for field in Quality.__struct_fields__ if field.endswith("_db")]
    quality = Quality(**{field: getattr(row, field) for field in names}, n_recordings=row.n_judged)
    publish(model, options.into, quality)
    print(f"{model.name}: {quality}")
    return True


def fresh(run_dir: Path) -> Path:
    """The run folder, without checkpoints of an earlier build (kept analyses stay)."""
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    return run_dir


def measure(name: str, folder: Path, config: TrainConfig, leave_out: int, work: Path) -> Quality:
    """Train a twin without every `leave_out`-th pitch and score it on those."""
    from neuralsynth.instrument import Instrument
    from neuralsynth.scoring import score
    from neuralsynth.training.run import train_folder

    twin = work / f"{name}-twin.onnx"
    train_folder(folder, twin, replace(config, hold_out=leave_out), run_dir=fresh(work / f"{name}-twin.run"))
    scored = score(Instrument.load(twin), folder)
    for row in scored.recordings:
        print(
            f"  note {row.note:3d} velocity {row.velocity:3d}: floor {row.floor_db:5.2f}  reconstruct "
            f"{row.reconstruct_db:5.2f}  play {row.play_db:5.2f}  interpolated {row.interpolated_db:5.2f}  sampler "
            f"{row.sampler_db:5.2f}"
        )
    return scored.quality()


def tell_kit(model: Path, folder: Folder) -> bool:
    """Print how far each piece of a kit is from its hits; the file loads through the gate."""
    from neuralsynth.model import InstrumentModel
    from neuralsynth.scoring import kit_distances

    apart, _ = kit_distances(InstrumentModel.load(model), folder.used)
    told = ", ".join(f"{piece} {value:.2f}" for piece, value in apart.items())
    print(f"{model.name}: {model.stat().st_size / 1e6:.2f} MB, dB from the hits it was trained on: {told}")
    return True


def tell_reconstruction(model: Path, folder: Folder) -> None:
    """Print how far the harmonics of each single cycle are off at its own point."""
    from neuralsynth.model import InstrumentModel
    from neuralsynth.training.cycles import HEARD_DB, reconstruction_db

    off = reconstruction_db(InstrumentModel.load(model), folder.used)
    values, worst = np.array(list(off.values())), sorted(off, key=lambda name: -off[name])[:3]
    print(
        f"{model.name}: harmonics within {HEARD_DB:g} dB of the loudest are off by {np.median(values):.2f} dB in the "
        f"median of {len(off)} waveforms, by up to {np.quantile(values, 0.9):.2f} dB in nine of ten, worst "
        f"{', '.join(f'{name} {off[name]:.2f}' for name in worst)}"
    )


def publish(model: Path, into: Path, quality: Quality | None = None, texture: Texture | None = None) -> None:
    """Copy an instrument and its golden pair, with the quality figures or the texture in its spec."""
    import onnx

    from neuralsynth.model_encoder import encoder_path
    from neuralsynth.spec import METADATA_KEY, InstrumentSpec
    from neuralsynth.storage import whole_file

    graph = onnx.load(model)
    for entry in graph.metadata_props:
        if entry.key == METADATA_KEY:
            spec = InstrumentSpec.from_json(entry.value, str(model))
            if quality is not None:
                rounded = {f: round(getattr(quality, f), 3) for f in quality.__struct_fields__}
                spec = msgspec.structs.replace(spec, quality=Quality(**rounded))
            if texture is not None:
                spec = msgspec.structs.replace(spec, texture=texture)
            entry.value = spec.to_json()
    if model.parent != into:
        for beside in (model.with_suffix(".check.npz"), encoder_path(model)):
            if beside.exists():
                with whole_file(into / beside.name) as part:
                    part.write_bytes(beside.read_bytes())
    with whole_file(into / model.name) as part:
        part.write_bytes(graph.SerializeToString())


def check(path: Path, quality: Quality | None) -> bool:
    """Load the finished file as a player would, and listen whether its notes are in tune."""
    from neuralsynth.instrument import Instrument

    instrument = Instrument.load(path)
    off = {key: cents for one in at_each_instrument(instrument) for key, cents in tuning_errors(one).items()}
    share = float(np.mean(np.abs(list(off.values())) <= IN_TUNE_CENTS))
    worst = max(off, key=lambda note: abs(off[note]))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {share:.1%} of {len(off)} notes within "
          f"{IN_TUNE_CENTS:g} cents, worst note {worst} {off[worst]:+.1f}")  # fmt: skip
    if quality is not None:
        ratio = quality.play_db / quality.sampler_db
        print(f"{path.name}: {quality}\n{path.name}: play / sampler {ratio:.3f}")
    return share >= LEAST_IN_TUNE


def at_each_instrument(instrument) -> list:
    """The instrument at its default point, or at each point that has a range of its own."""
    from neuralsynth.instrument import Instrument

    sound = instrument.preset.sound
    presets = [
        msgspec.structs.replace(instrument.preset, sound=msgspec.structs.replace(sound, point=point))
        for point in instrument.model.spec.traits or [None]
    ]
    return [Instrument(preset, instrument.model, instrument.path) for preset in presets]


def tuning_errors(instrument) -> dict[tuple[str | None, int, int], float]:
    """Cents by which each note of the range, at three velocities, is heard off its pitch; by point, note, velocity."""
    from neuralsynth.scoring import play_spectrum
    from neuralsynth.units import note_to_hz

    spec, model = instrument.spec, instrument.model
    point = instrument.preset.sound.point
    sustain = (spec.sustain.start_seconds, spec.sustain.end_seconds) if spec.sustain else None
    off = {}
    for note in range(spec.note_low, spec.note_high + 1):
        for velocity in (spec.velocity_low, (spec.velocity_low + spec.velocity_high) // 2, spec.velocity_high):
            batch = model.decode(instrument.latent[None], np.array([note]), np.array([velocity / 127.0]))
            audio = play_spectrum(batch.note(0, spec.grid()), float(note), HEARD_RATE, HEARD_RATE, sustain)
            off[point, note, velocity] = 1200.0 * np.log2(
                heard_pitch_hz(audio, HEARD_RATE, note) / float(note_to_hz(note))
            )
    return off


def heard_pitch_hz(audio: np.ndarray, sample_rate: int, note: int) -> float:
    """Median pitch by YIN (librosa), a tracker that shares nothing with ours."""
    import librosa
    from scipy.signal import butter, sosfiltfilt

    pitch_hz = float(librosa.midi_to_hz(note))
    # The knock of the highest piano keys lies below their pitch and is louder than it.
    above = sosfiltfilt(
        butter(4, 0.6 * pitch_hz, "highpass", fs=sample_rate, output="sos"), audio[: int(0.8 * sample_rate)]
    )
    frame = int(2 ** np.ceil(np.log2(max(2048, 5 * sample_rate / pitch_hz))))
    heard = librosa.yin(
        above, fmin=pitch_hz / 1.5, fmax=min(1.5 * pitch_hz, 20_000), sr=sample_rate, frame_length=frame
    )
    return float(np.median(heard))


if __name__ == "__main__":
    sys.exit(main())
