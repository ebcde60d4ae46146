"""Batches: the same sounds whoever makes them in whatever order, broken off and gone on with, chosen and taken away."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.audiofile import encoded, read_audio, write_audio
from neuralsynth.design import batch, crew
from neuralsynth.design.asking import Asked, asked_for, read_notes, read_sweep
from neuralsynth.design.batch import run_batch
from neuralsynth.design.changes import changed, full_name, knobs_of, values_of
from neuralsynth.design.crew import make_all
from neuralsynth.design.frames import n_sounding
from neuralsynth.design.journal import Journal
from neuralsynth.design.manifest import read_batch
from neuralsynth.design.plan import Output
from neuralsynth.design.selection import Selection, select
from neuralsynth.design.sound import finished, rendered
from neuralsynth.design.takeaway import preset_of, sound_again, work_of, write_bank, write_zip
from neuralsynth.design.work import Made
from neuralsynth.effect_table import EffectSettings
from neuralsynth.engine import Engine
from neuralsynth.errors import Interrupted, OutputError, PresetError, UsageError
from neuralsynth.events import Event
from neuralsynth.note_bank import NoteBank
from neuralsynth.patch import Patch
from neuralsynth.performance import load_performance
from neuralsynth.preset import load_preset
from neuralsynth.preset_sections import Envelope, Filter, Sound, Voices
from neuralsynth.routes import Route
from neuralsynth.sound.voices import VoicePool
from tests.dask_cluster import Cluster
from tests.players import NOTE_ON, Shelf, at, play

SHORT = Output(seconds=0.3, hold_seconds=0.15, sample_rate=22_050, depth="16")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    shelf = Shelf(tmp_path_factory.mktemp("design"))
    shelf.preset("held", envelope=Envelope(release_seconds=0.1))
    shelf.preset(
        "other",
        sound=Sound(point="bright"),
        filter=Filter(type="lowpass", cutoff_hz=2000.0),
        envelope=Envelope(attack_seconds=0.05, release_seconds=0.3),
    )
    shelf.preset("struck", "struck.onnx")
    shelf.preset("wet", effects=(EffectSettings("gain", {"gain_db": -6.0}),))
    return shelf


def path_of(shelf, name):
    return str(shelf.folder / f"{name}.toml")


def asked(shelf, name="held", **what):
    return asked_for(Asked(presets=(path_of(shelf, name),), **({"output": SHORT} | what)))


def files_of(folder):
    """What a batch left: digests of all files but the lock."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "job.json")
    }


@pytest.fixture(scope="module")
def calm(shelf, tmp_path_factory):
    """A batch of forty, made by one process without disturbance."""
    folder = tmp_path_factory.mktemp("calm") / "batch"
    run_batch(folder, asked(shelf, random=40, seed=5))
    return folder


# ---- a sound is a pure function


@pytest.mark.parametrize("velocity", [1, 30, 47, 48, 66, 119, 120, 127])
def test_layers_that_a_sound_does_not_reach_are_not_decoded_and_not_missed(shelf, velocity):
    """The model's layers lie at 30, 48, 66, 84, 102 and 120."""
    path = shelf.folder / "held.toml"
    whole = Patch.load(path)
    few = Patch(whole.preset, whole.model, path, softest=velocity)
    assert len(few.bank.velocities) == {1: 6, 30: 6, 47: 6, 48: 5, 66: 4, 119: 2, 120: 1, 127: 1}[velocity]
    heard = [play(patch, [at(0.0, NOTE_ON, 60, velocity)], 0.3) for patch in (whole, few)]
    np.testing.assert_allclose(heard[1], heard[0], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("kind", "depth"), [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")]
)
def test_a_file_in_memory_is_the_file_on_disk(tmp_path, kind, depth, channels):
    """Byte for byte as libsndfile writes it; 1,001 samples of three bytes need one to be even."""
    audio = np.random.default_rng(1).normal(0.0, 0.5, (channels, 1001)).astype(np.float32)  # some of it clips
    write_audio(tmp_path / f"a.{kind}", audio, 44_100, depth)
    assert encoded(audio, 44_100, kind, depth) == (tmp_path / f"a.{kind}").read_bytes()


def test_any_number_of_workers_gives_the_same_files_and_manifest(shelf, calm, tmp_path):
    for workers in (2, 4):
        run_batch(tmp_path / str(workers), asked(shelf, random=40, seed=5), workers=workers)
        assert files_of(tmp_path / str(workers)) == files_of(calm)


def test_order_does_not_matter(shelf, calm, monkeypatch, tmp_path):
    backwards = lambda work, indices, *_: [work.make(i) for i in reversed(list(indices))]  # noqa: E731
    monkeypatch.setattr(batch, "make_all", backwards)
    run_batch(tmp_path / "b", asked(shelf, random=40, seed=5))
    assert files_of(tmp_path / "b") == files_of(calm)


def test_another_seed_gives_other_sounds_and_more_sounds_begin_with_the_same_ones(shelf, calm, tmp_path):
    run_batch(tmp_path / "more", asked(shelf, random=60, seed=5))
    run_batch(tmp_path / "other", asked(shelf, random=40, seed=6))
    digests = {name: [row["digest"] for row in read_batch(folder)] for name, folder in
               (("calm", calm), ("more", tmp_path / "more"), ("other", tmp_path / "other"))}  # fmt: skip
    assert digests["more"][:40] == digests["calm"]
    assert not set(digests["other"]) & set(digests["calm"])
    assert len(set(digests["more"])) == 60


def test_every_row_is_rendered_again_to_the_last_bit_and_as_a_preset(calm, tmp_path):
    work = work_of(calm)
    for row in read_batch(calm)[::13]:
        assert sound_again(work, row, tmp_path / f"{row['name']}.wav")
        preset = preset_of(work, row)
        values = values_of(preset, work.models[0].spec)
        for name, value in row["changes"].items():
            assert values[name] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("velocity", [10, 40, 64, 90, 127])
@pytest.mark.parametrize("route", ["", "sound.dynamics"])
def test_a_sound_is_what_an_engine_plays_that_knows_all_velocities(shelf, velocity, route):
    """Only the layers that one note needs are decoded for it, and only as many voices made."""
    patch = Patch.load(path_of(shelf, "other"))
    routes = (Route(source="lfo_1", to=route, amount=0.5),) if route else ()
    preset = msgspec.structs.replace(patch.preset, routes=routes, voices=Voices(unison=3))
    engine = Engine(Patch(preset, patch.model, patch.path), 22_050)
    release = round(SHORT.hold_seconds * 22_050)
    events = [Event(0, bytes([0x90, 60, velocity])), Event(release, bytes([0x80, 60, 64]))]
    whole = finished(engine.process(events, round(SHORT.seconds * 22_050)).mean(axis=0, keepdims=True), SHORT)
    alone = rendered(preset, patch.model, 60, velocity, SHORT)
    peak = np.abs(whole).max()
    assert peak > 1e-4
    np.testing.assert_allclose(alone, whole, atol=1e-5 * peak)  # the network rounds by how much it is asked at once


# ---- memory


def test_voices_and_spectra_are_gone_when_their_sound_is_made(shelf):
    work, alive = asked(shelf, random=16), []
    gc.collect()
    for made in make_all(work, range(16)):
        assert isinstance(made, Made)
        alive.append(sum(type(thing) in (VoicePool, NoteBank) for thing in gc.get_objects()))
    assert max(alive) <= alive[0] + 2  # without care each sound leaves one or two more, until there are dozens


class Pebbles:
    """Items that cost nothing, as many as wanted."""

    digest, document = "pebbles", {}

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def make(self, index):
        row = {"index": index, "file": f"sounds/{index}.txt", "changes": {"knob": index / 7}, "words": "a" * 300}
        return Made(index, row, [float(index % 7)] * 128, b"pebble")


def test_a_large_batch_takes_no_more_memory_than_a_small_one(tmp_path):
    peaks = {}
    for count in (2100, 5000):
        tracemalloc.start()
        run_batch(tmp_path / str(count), Pebbles(count))
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows = read_batch(tmp_path / str(count))
        assert [row["index"] for row in rows] == list(range(count))
        assert all(row["fingerprint"] == [float(row["index"] % 7)] * 128 for row in rows)
    assert peaks[5000] - peaks[2100] < 1e6  # bytes; rows and fingerprints that were kept would be 14 MB


def test_a_journal_whose_lines_are_nonsense_is_no_reason_to_leave_an_item_out(tmp_path):
    (tmp_path / "b" / "sounds").mkdir(parents=True)
    (tmp_path / "b" / "sounds" / "x").write_bytes(b"pebble")
    wrong = [{"index": i, "file": "sounds/x", "bytes": 6} for i in (-1, 5, 10**30, "two", None)]
    lines = [*(json.dumps(row) for row in wrong), '{"index": 3, "fi', "[1]", "", "\x00"]
    (tmp_path / "b" / "journal.jsonl").write_text("\n".join(lines))
    journal = Journal(tmp_path / "b", 5)
    assert list(journal.missing()) == [0, 1, 2, 3, 4]
    assert list(journal) == []


@given(st.lists(st.sampled_from([0.0, 0.0, 1e-30, -0.5]), max_size=40))
def test_a_sound_ends_with_its_last_sample_that_is_not_zero(samples):
    heard = [i for i, x in enumerate(samples) if x != 0.0]
    assert n_sounding(np.array(samples, np.float32)) == (heard[-1] + 1 if heard else 0)


# ---- broken off


CHILD = """
import sys
from pathlib import Path
from neuralsynth.design.asking import Asked, asked_for
from neuralsynth.design.batch import run_batch
from neuralsynth.design.plan import Output
if __name__ == "__main__":
    output = Output(seconds=0.3, hold_seconds=0.15, sample_rate=22_050, depth="16")
    work = asked_for(Asked(presets=(sys.argv[1],), random=40, seed=5, output=output))
    run_batch(Path(sys.argv[2]), work, workers=int(sys.argv[3]))
"""


def child(tmp_path, shelf, folder, workers):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, script, path_of(shelf, "held"), folder, str(workers)], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_run_that_is_killed_again_and_again_ends_as_a_calm_one(shelf, calm, tmp_path):
    """Twenty times, each a little later than the last; no file is ever half."""
    folder = tmp_path / "killed"
    for number in range(20):
        process = child(tmp_path, shelf, folder, 1)
        journal = folder / "journal.jsonl"
        until = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b"\n") > 2 * number:
                break
            time.sleep(0.001)
        process.kill()
        process.communicate()
        for path in folder.glob("sounds/*.wav"):
            read_audio(path)
    (folder / "sounds" / "begun.wav.part-12345").write_bytes(b"half a file")
    run_batch(folder, asked(shelf, random=40, seed=5))
    assert files_of(folder) == files_of(calm)


def test_workers_that_are_killed_are_replaced(shelf, calm, tmp_path):
    folder = tmp_path / "workers"
    process = child(tmp_path, shelf, folder, 2)
    killed, until = 0, time.monotonic() + 40
    while process.poll() is None and killed < 3 and time.monotonic() < until:
        for pid in children_of(process.pid):
            if "spawn_main" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
                killed += 1
                break
        time.sleep(0.7)
    assert process.wait(60) == 0, process.stderr.read().decode()
    process.communicate()
    assert killed
    assert files_of(folder) == files_of(calm)


def children_of(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(text) for text in task.read_text().split()]
        except OSError:
            continue
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_ctrl_c_leaves_a_valid_part_of_the_batch_and_the_same_command_goes_on(shelf, calm, monkeypatch, tmp_path):
    folder, work = tmp_path / "stopped", asked(shelf, random=40, seed=5)

    def interrupted(work, indices, *_):
        for index in list(indices)[:10]:
            yield work.make(index)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "make_all", interrupted)
        with pytest.raises(Interrupted, match="10 of 40"):
            run_batch(folder, work)
    assert [row["index"] for row in read_batch(folder)] == list(range(10))
    report = run_batch(folder, work)
    assert (report.made, report.kept) == (30, 10)
    assert files_of(folder) == files_of(calm)


def test_a_full_disk_is_told_and_nothing_half_is_left(shelf, calm, tmp_path):
    folder, work = tmp_path / "full", asked(shelf, random=40, seed=5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
        with pytest.raises(OutputError, match="cannot be written"):
            run_batch(folder, work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert not list(folder.glob("sounds/*"))
    run_batch(folder, work)
    assert files_of(folder) == files_of(calm)


def test_a_file_that_was_damaged_or_taken_away_is_made_again(shelf, calm, tmp_path):
    folder, work = tmp_path / "damaged", asked(shelf, random=40, seed=5)
    run_batch(folder, work)
    files = sorted(folder.glob("sounds/*.wav"))
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:500])
    assert run_batch(folder, work).made == 2
    assert files_of(folder) == files_of(calm)


def test_two_runs_in_one_folder_are_refused(shelf, calm, tmp_path):
    from neuralsynth.design.lock import locked

    folder = tmp_path / "shared"
    folder.mkdir()
    with locked(folder / "lock"), pytest.raises(UsageError, match="another run works in it"):
        run_batch(folder, asked(shelf, random=4), force=True)


def test_folders_that_hold_something_else_are_left_alone(shelf, calm, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "song.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no batch"):
        run_batch(mine, asked(shelf, random=2))
    run_batch(tmp_path / "a", asked(shelf, random=2))
    with pytest.raises(UsageError, match="another batch"):
        run_batch(tmp_path / "a", asked(shelf, random=3))
    (tmp_path / "a" / "song.txt").write_text("mine")
    run_batch(tmp_path / "a", asked(shelf, random=3), force=True)
    assert (tmp_path / "a" / "song.txt").exists()
    assert len(list((tmp_path / "a" / "sounds").iterdir())) == 3
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        run_batch(tmp_path / "file", asked(shelf, random=2))


def test_a_manifest_that_names_files_outside_its_folder_removes_none(shelf, tmp_path):
    folder = tmp_path / "b"
    run_batch(folder, asked(shelf, random=2))
    outside = tmp_path / "precious.txt"
    outside.write_text("x")
    (folder / "manifest.jsonl").write_text(json.dumps({"index": 0, "file": "../precious.txt"}) + "\n")
    run_batch(folder, asked(shelf, random=3), force=True)
    assert outside.exists()


# ---- a Dask cluster


def test_a_cluster_whose_workers_die_gives_the_same_files(shelf, calm, tmp_path):
    """Two workers, one of which is killed every few seconds."""
    import threading

    is_over = threading.Event()

    def disturb(cluster):
        for _ in range(6):  # no more: on a busy machine a worker needs longer than that to begin
            if is_over.wait(2.5):
                return
            cluster.replace_worker()

    with Cluster(tmp_path / "dask", 2) as cluster:
        disturber = threading.Thread(target=disturb, args=[cluster])
        disturber.start()
        try:
            report = run_batch(tmp_path / "cluster", asked(shelf, random=40, seed=5), cluster=cluster.address)
        finally:
            is_over.set()
            disturber.join()
    assert report.is_complete
    assert files_of(tmp_path / "cluster") == files_of(calm)


def test_sounds_that_are_lost_with_the_worker_that_had_made_them_are_made_again(shelf, tmp_path, monkeypatch):
    """The only worker dies when it has told that it is done, and with it the sounds and what others would need."""
    taken = crew._result  # noqa: SLF001
    n_deaths = 0

    def killed_first(future):
        nonlocal n_deaths
        if n_deaths < 2 and future.status == "finished":
            n_deaths += 1
            cluster.replace_worker()
        return taken(future)

    monkeypatch.setattr(crew, "_result", killed_first)
    with Cluster(tmp_path / "dask", 1) as cluster:
        report = run_batch(tmp_path / "a", asked(shelf, random=20, seed=5), cluster=cluster.address)
    run_batch(tmp_path / "b", asked(shelf, random=20, seed=5))
    assert n_deaths == 2
    assert report.is_complete
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_worker_without_neuralsynth_is_told_of(shelf, tmp_path):
    from neuralsynth.errors import EnvironmentProblem

    older = tmp_path / "older"
    (older / "neuralsynth").mkdir(parents=True)
    (older / "neuralsynth" / "__init__.py").write_text("")
    with Cluster(tmp_path / "dask", 0) as cluster:
        cluster.add_worker(older)
        with pytest.raises(EnvironmentProblem, match="is neuralsynth .* installed"):
            run_batch(tmp_path / "a", asked(shelf, random=2), cluster=cluster.address)


def test_an_address_without_a_scheduler_is_told(shelf, tmp_path):
    from neuralsynth.errors import EnvironmentProblem

    with pytest.raises(EnvironmentProblem, match="no Dask scheduler"):
        run_batch(tmp_path / "c", asked(shelf, random=2), cluster="tcp://127.0.0.1:9")


# ---- what is planned


def plans(work):
    return [work.planner.planned(index) for index in range(len(work))]


def test_a_sweep_goes_over_the_grid_from_end_to_end(shelf):
    work = asked(shelf, sweeps=("envelope.attack_seconds=0:1:5", "cutoff=100:10000:3"))
    found = plans(work)
    assert len(found) == 15
    attacks = sorted({plan.changes["envelope.attack_seconds"] for plan in found})
    cutoffs = sorted({plan.changes["filter.cutoff_hz"] for plan in found})
    assert (attacks[0], attacks[-1], len(attacks)) == (0.0, 1.0, 5)
    assert (cutoffs[0], cutoffs[-1], len(cutoffs)) == (100.0, 10_000.0, 3)
    assert cutoffs[1] < 5000  # by the travel of the knob, not by its hertz
    assert len({plan.name for plan in found}) == 15


def test_a_latin_hypercube_has_one_sound_in_each_slice_of_every_knob(shelf):
    work = asked(shelf, sweeps=("sound.noise_db=-60:24", "sound.dynamics=-1:1"), latin=20)
    for knob, low, high in (("sound.noise_db", -60.0, 24.0), ("sound.dynamics", -1.0, 1.0)):
        places = sorted((plan.changes[knob] - low) / (high - low) * 20 for plan in plans(work))
        assert [int(place) for place in places] == list(range(20))


def test_the_way_between_two_presets_begins_and_ends_with_them(shelf):
    work = asked(shelf, between=(path_of(shelf, "held"), path_of(shelf, "other")), steps=7)
    ends = [values_of(work.planner.preset(plan), work.models[0].spec) for plan in (plans(work)[0], plans(work)[-1])]
    spec = work.models[0].spec
    for end, name in zip(ends, ("held", "other"), strict=True):
        expected = values_of(load_preset(path_of(shelf, name)), spec)
        assert end == pytest.approx(expected, abs=1e-6)
    brightness = [plan.changes["latent.1"] for plan in plans(work)]
    assert np.allclose(np.diff(brightness), brightness[-1] / 6)


def test_presets_of_different_models_are_morphed(shelf, tmp_path):
    work = asked(shelf, between=(path_of(shelf, "held"), path_of(shelf, "struck")), steps=3)
    assert [plan.changes["morph.position"] for plan in plans(work)] == [0.0, 0.5, 1.0]
    run_batch(tmp_path / "way", work)
    assert len({row["digest"] for row in read_batch(tmp_path / "way")}) == 3


def test_sounds_around_a_preset_begin_with_it_and_stay_near(shelf):
    near, far = (plans(asked(shelf, around=path_of(shelf, "other"), count=30, spread=s)) for s in (0.02, 0.3))
    assert near[0].changes == {}
    knob = "filter.cutoff_hz"
    deviations = [np.std([np.log(plan.changes.get(knob, 2000.0)) for plan in some]) for some in (near, far)]
    assert deviations[0] < 0.3 * deviations[1]


def test_children_have_each_knob_from_one_of_their_parents(shelf, tmp_path):
    run_batch(tmp_path / "first", asked(shelf, around=path_of(shelf, "other"), count=8, spread=0.3))
    work = asked_for(Asked(evolve=tmp_path / "first", picks=("2", "5"), count=12, spread=0.0, output=SHORT))
    rows = read_batch(tmp_path / "first")
    found = plans(work)
    assert len(found) == 12
    own = values_of(work.presets[0], work.models[0].spec)
    parents = [own | rows[i]["changes"] for i in (2, 5)]
    for knob in ("filter.cutoff_hz", "envelope.release_seconds"):
        wanted = {f"{parent[knob]:.5g}" for parent in parents}
        assert {f"{(own | plan.changes)[knob]:.5g}" for plan in found} == wanted


def test_notes_and_velocities_multiply_the_places(shelf):
    output = msgspec.structs.replace(SHORT, notes=read_notes("C3,60-61"), velocities=(40, 110))
    work = asked(shelf, random=3, output=output)
    assert len(work) == 18
    assert {(plan.note, plan.velocity) for plan in plans(work)} == {(n, v) for n in (48, 60, 61) for v in (40, 110)}


def test_the_recording_of_a_preset_finds_that_preset(shelf, tmp_path):
    """--like: what plays the sound comes first; each preset is heard with three touches."""
    output = msgspec.structs.replace(SHORT, seconds=1.2, hold_seconds=0.9, sample_rate=44_100)
    names = ("held", "other", "struck")
    for index, name in enumerate(names):
        path = tmp_path / f"{name}.wav"
        write_audio(path, played(shelf, name), 44_100)
        asked_now = Asked(presets=tuple(path_of(shelf, n) for n in names), like=path, output=output)
        folder = tmp_path / f"like-{name}"
        run_batch(folder, asked_for(asked_now))
        found = select(read_batch(folder), Selection(like=path))
        assert found[0]["index"] // 3 == index, [(row["name"], row["distance_db"]) for row in found]


def played(shelf, name):
    from neuralsynth.instrument import Instrument

    events = [(bytes([0x90, 57, 100]), 0.0), (bytes([0x80, 57, 64]), 0.9)]
    return Instrument.load(path_of(shelf, name))(events, 1.4, 44_100, num_channels=1)


# ---- knobs


def test_every_knob_can_be_set_to_both_of_its_ends_and_is_heard_there(shelf):
    patch = Patch.load(path_of(shelf, "wet"))
    preset, spec = patch.preset, patch.model.spec
    for name, knob in knobs_of(preset, spec).items():
        for value in (knob.low, knob.high):
            turned = changed(preset, spec, {name: value})
            assert values_of(turned, spec)[name] == pytest.approx(value)
            Patch(turned, patch.model, patch.path)


def test_a_knob_is_found_by_the_end_of_its_name_and_ambiguity_is_told(shelf):
    patch = Patch.load(path_of(shelf, "held"))
    knobs = knobs_of(patch.preset, patch.model.spec)
    assert full_name("cutoff_hz", knobs) == "filter.cutoff_hz"
    assert full_name("cutoff", knobs) == "filter.cutoff_hz"
    assert full_name("axes.brightness", knobs) == "axes.brightness"
    with pytest.raises(UsageError, match="can be"):
        full_name("attack_seconds", knobs)
    with pytest.raises(UsageError, match="unknown"):
        full_name("nonsense", knobs)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_as_sweep_or_notes_is_read_or_refused_in_our_words(text):
    for read in (read_sweep, read_notes):
        try:
            read(text)
        except UsageError as error:
            assert str(error)


# ---- taking away


def test_a_bank_plays_the_sounds_that_were_picked(calm, tmp_path):
    rows = select(read_batch(calm), Selection(varied=3))
    paths = write_bank(work_of(calm), rows, tmp_path / "bank")
    performance = load_performance(paths[-1])
    assert [performance.preset_for(0, (0, 0), program) for program in range(4)] == [*(p.name for p in paths[:3]), None]
    for path in paths[:3]:
        Patch.load(path)


def test_a_zip_has_every_sound_on_its_key(calm, tmp_path):
    rows = read_batch(calm)[:5]
    write_zip(calm, rows, tmp_path / "kit.zip")
    write_zip(calm, rows, tmp_path / "same.zip")
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        assert archive.testzip() is None
        mapping = archive.read("kit.sfz").decode()
        for key, row in enumerate(rows, 36):
            name = f"kit/{Path(row['file']).name}"
            assert f"sample={name} key={key} " in mapping
            assert archive.read(name) == (calm / row["file"]).read_bytes()
    with pytest.raises(UsageError, match="pick fewer"):
        write_zip(calm, rows * 30, tmp_path / "big.zip")


def test_selection_steps_follow_each_other(calm):
    rows = read_batch(calm)
    bright = select(rows, Selection(where="brightness > 0.3", sort="-brightness", most=4))
    values = [row["brightness"] for row in bright]
    assert values == sorted(values, reverse=True)
    assert min(values) > 0.3
    assert [row["index"] for row in select(rows, Selection(names=("7", rows[2]["name"])))] == [7, 2]
    with pytest.raises(UsageError, match="no sound is called"):
        select(rows, Selection(names=("99",)))
    assert len(select([rows[0], rows[1], {**rows[0], "index": 9}], Selection(unlike_db=0.5))) == 2


# ---- the commands


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "neuralsynth", *map(str, arguments)], capture_output=True, text=True, timeout=120,
        check=False, **options,
    )  # fmt: skip


def test_sounds_that_are_not_described_are_the_same_and_chosen_by_what_was_asked_for_alone(shelf, calm, tmp_path):
    bare = tmp_path / "bare"
    arguments = ["design", path_of(shelf, "held"), "--random", "6", "--seed", "5", "--seconds", "0.3", "--hold", "0.15"]
    arguments += ["--sample-rate", "22050", "--depth", "16", "--workers", "1", "--no-describe", "-o", str(bare)]
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert not (bare / "index.html").exists()
    rows = read_batch(bare)
    assert [row["digest"] for row in rows] == [row["digest"] for row in read_batch(calm)[:6]]
    assert "brightness" not in rows[0]
    assert len(select(rows, Selection(where="filter.cutoff_hz > 0", sort="-filter.cutoff_hz"))) == 6
    for selection in (Selection(where="brightness > 0"), Selection(unlike_db=1.0), Selection(varied=2),
                      Selection(sort="-centroid_hz"), Selection(like=bare / rows[0]["file"])):  # fmt: skip
        with pytest.raises(UsageError, match="--no-describe"):
            select(rows, selection)
    refused = command(*arguments, "--varied", "2")
    assert refused.returncode == 2 and "--no-describe" in refused.stderr


def test_design_pick_and_again_from_the_command_line(shelf, tmp_path):
    short = ("--seconds", 0.3, "--hold", 0.15, "--sample-rate", 22_050, "--workers", 1)
    done = command("design", path_of(shelf, "held"), "--random", 6, "-o", tmp_path / "b", *short, "--json",
                   "--sort=-brightness", "--most", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["made"], len(told["picked"])) == (6, 2)
    done = command("pick", tmp_path / "b", "--where", "brightness >= 0", "--to", tmp_path / "to", "--json")
    assert len(json.loads(done.stdout)["picked"]) == len(list((tmp_path / "to").iterdir())) > 0
    done = command("again", tmp_path / "b", 3, "-o", tmp_path / "x.wav")
    assert (done.returncode, "the same to the last bit" in done.stdout) == (0, True)
    heard, again = (read_audio(path)[0] for path in (next((tmp_path / "b/sounds").glob("3-*")), tmp_path / "x.wav"))
    np.testing.assert_array_equal(heard, again)
    assert command("again", tmp_path / "b", 3, "-o", tmp_path / "x.toml").returncode == 0
    Patch.load(tmp_path / "x.toml")


def test_recordings_go_through_a_chain_with_their_tails(shelf, tmp_path):
    rate = 22_050
    click = np.zeros((1, rate // 4), np.float32)
    click[0, 100] = 0.5
    for name in ("a.wav", "sub/b.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(tmp_path / "in" / name, click, rate)
    (tmp_path / "in" / "broken.wav").write_text("no audio")
    chain = tmp_path / "chain.toml"
    chain.write_text('[[effects]]\ntype = "delay"\ndelay_seconds = 0.5\nfeedback = 0.0\nmix = 0.5\n')
    done = command("process", tmp_path / "in", "--chain", chain, "-o", tmp_path / "out", "--fade", 0, "--workers", 1)
    assert done.returncode == 1
    assert "broken.wav" in done.stderr
    for name in ("a.wav", "sub/b.wav"):
        wet, _ = read_audio(tmp_path / "out" / "sounds" / name)
        assert np.flatnonzero(np.abs(wet[0]) > 0.1).tolist() == [100, 100 + rate // 2]


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["held"], 2, "--random"),
        (["held", "--random", "0"], 2, "1 to"),
        (["held", "--random", "nan"], 2, "nan"),
        (["held", "--random", "3", "--sweep", "cutoff=1:2:3"], 2, "both"),
        (["held", "--sweep", "cutoff=1:2:3"], 2, "cutoff_hz"),
        (["held", "--sweep", "nonsense=1:2:3"], 2, "nonsense"),
        (["held", "--sweep", "cutoff"], 2, "KNOB=LOW:HIGH:STEPS"),
        (["held", "--random", "3", "--notes", "H9"], 2, "H9"),
        (["held", "--random", "3", "--where", "brightness >"], 2, "column"),
        (["held", "--random", "3", "--where", "__import__('os')"], 2, "column"),
        (["held", "--random", "3", "--velocities", "0"], 2, "1 to 127"),
        (["held", "--random", "3", "--format", "flac", "--depth", "32f"], 2, "flac"),
        (["no-such-preset", "--random", "3"], 2, "no-such-preset"),
        (["held", "--random", "3", "--cluster", "nonsense"], 3, "scheduler"),
        (["--evolve", "nowhere", "--picks", "1"], 2, "nowhere"),
        (["held", "--like", "nowhere.wav"], 2, "nowhere.wav"),
        (["held", "--random", "2000000"], 2, "2000000"),
    ],
)
def test_what_cannot_be_designed_is_told_in_a_line_and_nothing_is_written(shelf, tmp_path, arguments, code, says):
    arguments = [path_of(shelf, a) if a == "held" else a for a in arguments]
    done = command("design", *arguments, "-o", tmp_path / "out", "--workers", 1)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out/sounds/*"))


def test_a_preset_made_of_layers_cannot_be_turned(shelf, tmp_path):
    from neuralsynth.preset_sections import Layer

    shelf.layered("two", Layer(preset="held.toml"), Layer(preset="other.toml"))
    with pytest.raises(UsageError, match="made of layers"):
        asked(shelf, "two", random=2)


def test_a_model_that_was_exchanged_is_noticed(shelf, tmp_path):
    from neuralsynth.errors import ModelError

    mine = Shelf(tmp_path)
    mine.preset("held")
    work = asked_for(Asked(presets=(str(tmp_path / "held.toml"),), random=2, output=SHORT))
    run_batch(tmp_path / "b", work)
    for suffix in (".onnx", ".check.npz"):
        (tmp_path / f"held{suffix}").write_bytes((tmp_path / f"struck{suffix}").read_bytes())
    with pytest.raises((ModelError, PresetError), match="another file"):
        work_of(tmp_path / "b")


def test_the_page_names_every_descriptor_and_every_option():
    from neuralsynth.cli.batching import design, pick
    from neuralsynth.design.descriptors import DESCRIPTORS

    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    for one in DESCRIPTORS:
        assert f"| `{one.name}` | {one.unit} | {one.says} |" in page
    options = {
        name for command in (design, pick) for option in command.params for name in option.opts if name[:2] == "--"
    }
    told = {name for name in options if name in page or f"--no-{name[2:]}" in page}
    assert options - told <= {
        "--json",
        "--force",
        "--workers",
        "--cluster",
        "--output",
        "--sample-rate",
        "--mono",
        "--no-effects",
        "--effects",
        "--stereo",
        "--seed",
    }
