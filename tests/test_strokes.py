"""Strokes: drums that repeat each other's waveform keep it, from learned hits alone, and it plays like any voice."""

from __future__ import annotations

import base64
import json
import warnings

import msgspec
import numpy as np
import pytest
import soundfile

from neuralsynth.analysis import distance
from neuralsynth.analysis.recordings import Recording
from neuralsynth.engine import Engine, play_events
from neuralsynth.errors import ModelError
from neuralsynth.events import Event
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.preset import bare_preset, shipped_folder
from neuralsynth.sound import layout
from neuralsynth.sound.rows import SpectrumRows, VoiceSound
from neuralsynth.sound.voices import Strike, VoicePool, VoiceSettings
from neuralsynth.spec import InstrumentSpec
from neuralsynth.spectrum import SpectrumGrid
from neuralsynth.strokes import BODY_RATE_HZ, MAX_STROKES, Strokes, complaints
from neuralsynth.struck import Struck
from neuralsynth.units import gain_to_db, note_to_hz

warnings.filterwarnings("ignore")

from neuralsynth.training import kit  # noqa: E402
from neuralsynth.training import strokes as making  # noqa: E402

RATE = 44_100
GRID = SpectrumGrid.warped(96, 1.0, 32, 64, 0.001)
TOM, KEY = "tom", 47
VELOCITIES = (30, 60, 90, 120)


def skin(velocity, seed, rattle=0.0):
    """A stroke on a skin with many close modes, which beat; what it adds of noise differs from stroke to stroke.

    With `rattle` the low part is noise, too: another one each time.
    """
    rng, always = np.random.default_rng([seed, velocity]), np.random.default_rng(5)
    t = np.arange(round(0.8 * RATE)) / RATE
    audio = np.zeros(len(t))
    for _ in range(40):
        hz, turns, decay = always.uniform(90, 900), always.uniform(), always.uniform(5, 14)
        turns = rng.uniform() if rattle else turns
        hz *= 1.0 + rattle * rng.uniform(-0.1, 0.1)
        audio += always.uniform(0.2, 1.0) * np.sin(2 * np.pi * (hz * t + turns)) * np.exp(-decay * t)
    audio += 0.3 * rng.standard_normal(len(t)) * np.exp(-40.0 * t)
    return 0.05 * (velocity / 127.0) * audio * np.minimum(1.0, t / 0.001)


def recorded(folder, rattle=0.0):
    found = []
    for velocity in VELOCITIES:
        for take in (1, 2):
            path = folder / f"tom_v{velocity}_r{take}.wav"
            soundfile.write(str(path), skin(velocity, take, rattle), RATE, subtype="FLOAT")
            found.append(Recording(path, path.name, True, KEY, velocity, digest=path.name, group=TOM, is_hit=True))
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return kit.kit_table(recorded(tmp_path_factory.mktemp("tom")), GRID)


@pytest.fixture(scope="module")
def strokes(table):
    notes, hits, _ = table
    return making.named_strokes(hits, notes, ["tom"])["tom"]


@pytest.fixture(scope="module")
def shipped():
    return InstrumentModel.load(shipped_folder() / "drum-kit.onnx")


def patch_of(model, point, **sound):
    preset = bare_preset(model.path)
    return Instrument(
        msgspec.structs.replace(preset, sound=msgspec.structs.replace(preset.sound, point=point, **sound)),
        model, model.path,
    )  # fmt: skip


def played(patch, events, seconds, block=4096, rate=RATE):
    return np.concatenate(list(play_events(Engine(patch, rate, 8192), events, round(seconds * rate), block)), axis=1)


def hit_on(key, velocity=100, at=0):
    return Event(at, bytes([0x99, key, velocity]))


def level_db(audio):
    return float(gain_to_db(np.sqrt(np.mean(np.square(audio)) + 1e-20)))


def strongest_hz(audio, rate=RATE):
    power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 18))
    return np.argmax(power) * rate / (1 << 18)


def pool_with(body, note=KEY, rate=RATE):
    """A voice pool and the rows of a sound that is a body and nothing else."""
    rows = SpectrumRows(GRID, len(body), float(note_to_hz(note)))
    shape = (GRID.n_frames, GRID.n_partials), (GRID.n_frames, GRID.n_bands)
    sound = VoiceSound(
        np.zeros(shape[0]), np.arange(1.0, GRID.n_partials + 1), np.zeros(GRID.n_frames), np.zeros(shape[1]), body=body
    )
    pool = VoicePool(rows, rate, VoiceSettings(polyphony=4), 8192)
    return pool, rows.add([sound])


def rendered(pool, n_samples, block=1000):
    parts = [pool.render(at, min(block, n_samples - at))[0].copy() for at in range(0, n_samples, block)]
    return np.concatenate(parts)


# ---- learning


def test_a_drum_that_repeats_itself_keeps_strokes_and_one_that_does_not_keeps_none(table, tmp_path):
    notes, hits, _ = table
    assert list(making.named_strokes(hits, notes, ["tom"])) == ["tom"]
    rattling, others, _ = kit.kit_table(recorded(tmp_path, rattle=1.0), GRID)
    assert making.named_strokes(others, rattling, ["tom"]) == {}


def test_too_few_hits_notes_and_cycles_keep_none(table):
    notes, hits, _ = table
    few = np.arange(len(hits)) < making.FEWEST - 1
    assert making.named_strokes(hits[: making.FEWEST - 1], notes.only(few), ["tom"]) == {}
    assert making.named_strokes((), notes, ["tom"]) == {}


def test_strokes_come_from_the_learned_hits_alone(table):
    notes, hits, _ = table
    learned = np.array([r.velocity != 90 for r in hits])
    kept = making.named_strokes(
        [h for h, is_in in zip(hits, learned, strict=True) if is_in], notes.only(learned), [TOM]
    )
    assert 90 not in kept[TOM].velocities
    assert sorted(set(kept[TOM].velocities)) == [30, 60, 120]


def test_all_kits_together_keep_no_more_than_their_share_of_a_file(table, monkeypatch):
    notes, hits, _ = table
    monkeypatch.setattr(making, "MOST_BYTES", 1000)
    assert making.named_strokes(hits, notes, ["tom"]) == {}


def test_strokes_are_aligned_between_samples_too():
    rate, t = 6000, np.arange(3000) / 6000.0
    late = (0.0, 0.00035, 0.0012, -0.0007)
    waves = np.stack(
        [np.sin(2 * np.pi * 170 * (t - d)) * np.exp(-(((t - d - 0.07) / 0.02) ** 2)) for d in late]
    )  # nothing at either end
    before, after = (np.abs(w - w[0]).max() for w in (waves, making.aligned(waves, rate)))
    assert before > 0.5
    assert after < 0.01


def test_strokes_begin_and_end_softly(strokes):
    """Recordings of several lengths: none stops at once where another goes on."""
    longer, shorter = np.ones(44_100), np.ones(22_050)
    kept = making.strokes_of([shorter, longer], [60, 90], 47.0)
    waves = np.frombuffer(kept.samples, "<i2").reshape(2, -1) / 32_767.0
    assert np.abs(np.diff(waves[:, 6:], axis=1)).max() < 0.05
    assert np.abs(waves[:, [0, -1]]).max() < 0.15


def test_a_mixture_of_strokes_is_nearer_to_an_unheard_hit_than_the_analysis_of_a_heard_one(table, strokes):
    """The promise that strokes are for: modes and noise, which have no phases, cannot do this."""
    notes, hits, _ = table
    unheard = skin(90, seed=9)
    index = next(i for i, r in enumerate(hits) if r.velocity == 90)
    partials, noise = (10.0 ** (levels[index].T / 20.0) for levels in (notes.partials_db, notes.noise_db))
    sound = VoiceSound(partials, notes.ratios[0], notes.cents[index], noise)
    struck = Struck(strokes, np.ones((1, len(strokes.velocities))))
    apart = []
    for rows, one in ((SpectrumRows(GRID), sound), (struck.rows(GRID), struck.sound(sound, GRID, 90, 0))):
        pool = VoicePool(rows, RATE, VoiceSettings(polyphony=1), 8192)
        pool.start(0, rows.add([one]), Strike(float(KEY)))
        apart.append(distance(unheard, rendered(pool, len(unheard)), RATE))
    assert apart[1] < 0.7 * apart[0]


def test_a_struck_hit_is_as_loud_below_the_crossing_as_it_was_decoded(table, strokes):
    notes, _, _ = table
    partials, noise = (10.0 ** (levels[5].T / 20.0) for levels in (notes.partials_db, notes.noise_db))
    sound = VoiceSound(partials, notes.ratios[0], notes.cents[5], noise)
    struck = Struck.drawn(strokes, np.random.default_rng(0), 4)
    levels = []
    for rows, one in (
        (SpectrumRows(GRID), sound),
        *((struck.rows(GRID), struck.sound(sound, GRID, 90, v)) for v in range(4)),
    ):
        pool = VoicePool(rows, RATE, VoiceSettings(polyphony=1), 8192)
        pool.start(0, rows.add([one]), Strike(float(KEY)))
        audio = rendered(pool, RATE).astype(np.float64)
        levels.append(level_db(making.below_crossing(audio, RATE, RATE)))
    np.testing.assert_allclose(levels[1:], levels[0], atol=1.0)


# ---- the file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"velocities": []}, "0 velocities"),
        ({"velocities": [60] * (MAX_STROKES + 1)}, f"use 1 to {MAX_STROKES}"),
        ({"velocities": [0, 60]}, "a velocity is not in 1..127"),
        ({"note": 128.0}, "note is 128"),
        ({"note": float("nan")}, "note is"),
        ({"rate_hz": 0}, "rate_hz is 0"),
        ({"rate_hz": 10**9}, "rate_hz is"),
        ({"low_hz": 2000.0}, "low_hz is 2000"),
        ({"low_hz": float("nan")}, "low_hz is"),
        ({"high_hz": 4000.0}, "high_hz 4000"),
        ({"samples": b""}, "0 bytes of samples"),
        ({"samples": bytes(4 * 1000 + 2)}, "4002 bytes"),
        ({"samples": bytes(2 * 2 * 24_001)}, "96004 bytes"),
    ],
)  # fmt: skip
def test_strokes_that_break_a_limit_are_refused_by_name(shipped, change, says):
    good = Strokes(47.0, 6000, 1300.0, 1900.0, [60, 90], bytes(4 * 1000))
    assert list(complaints(good)) == []
    bad = msgspec.structs.replace(good, **change)
    assert any(says in complaint for complaint in complaints(bad))
    if not any(isinstance(x, float) and np.isnan(x) for x in change.values()):
        text = msgspec.structs.replace(shipped.spec, strokes={"tom-low": bad}).to_json()
        with pytest.raises(ModelError, match="strokes of tom-low"):
            InstrumentSpec.from_json(text, "kit.onnx")


def test_strokes_of_no_point_with_unknown_keys_or_no_base64_are_refused(shipped):
    document = json.loads(shipped.spec.to_json())
    own = document["strokes"].pop("tom-low")
    for strokes in ({"gong": own}, {"tom-low": own | {"pan": 1}}, {"tom-low": own | {"samples": "§"}}):
        with pytest.raises(ModelError, match="no point|unknown field|base64"):
            InstrumentSpec.from_json(json.dumps(document | {"strokes": strokes}), "kit.onnx")
    assert base64.b64decode(own["samples"]) == shipped.spec.strokes["tom-low"].samples


def test_silent_and_hostile_strokes_play_finite_and_bounded(shipped):
    click = np.zeros((1, 1000), "<i2")
    click[0, 500] = 32_767
    for samples in (bytes(2000), click.tobytes(), (32_767 - 2 * click).tobytes()):
        bad = Strokes(43.0, 6000, 1300.0, 1900.0, [90], samples)
        struck = Struck(bad, np.ones((1, 1)))
        rows, shape = struck.rows(GRID), (GRID.n_frames, GRID.n_partials)
        loud = VoiceSound(
            np.ones(shape), np.arange(1.0, shape[1] + 1), np.zeros(shape[0]), np.ones((shape[0], GRID.n_bands))
        )
        pool = VoicePool(rows, RATE, VoiceSettings(), 8192)
        pool.start(0, rows.add([struck.sound(loud, GRID, 90, 0)]), Strike(43.0))
        assert np.isfinite(rendered(pool, RATE)).all()


# ---- playing


def test_a_body_plays_as_it_is_at_its_own_key_and_pool_rate():
    t = np.arange(6000) / BODY_RATE_HZ
    body = np.sin(2 * np.pi * 1500.0 * t).astype(np.float32)
    for rate in (22_050, 44_100, 96_000):
        pool, rows = pool_with(body, rate=rate)
        pool.start(0, rows, Strike(float(KEY)))
        audio = rendered(pool, rate // 4)
        wanted = np.sin(2 * np.pi * 1500.0 * np.arange(rate // 4) / rate)
        error_db = level_db(audio[100:] - wanted[100:]) - level_db(wanted)
        assert error_db < -35.0, (rate, error_db)


@pytest.mark.parametrize("semitones", [-12, -1, 7])
def test_a_body_follows_key_and_bend(semitones):
    body = np.sin(2 * np.pi * 400.0 * np.arange(12_000) / BODY_RATE_HZ).astype(np.float32)
    pool, rows = pool_with(body)
    pool.start(0, rows, Strike(KEY + float(semitones)))
    by_key = strongest_hz(rendered(pool, RATE // 2))
    pool.reset()
    pool.channels[:, layout.CHANNEL_CENTS] = 100.0 * semitones
    pool.start(0, rows, Strike(float(KEY)))
    by_bend = strongest_hz(rendered(pool, RATE // 2))
    np.testing.assert_allclose([by_key, by_bend], 400.0 * 2.0 ** (semitones / 12.0), rtol=0.002)


def test_a_body_has_the_fall_of_the_pitch_in_it_and_does_not_fall_twice():
    body = np.sin(2 * np.pi * 400.0 * np.arange(12_000) / BODY_RATE_HZ).astype(np.float32)
    pool, rows = pool_with(body)
    (layer,) = pool.rows.layers(rows)
    falling = VoiceSound(layer.partials, layer.ratios, np.full(GRID.n_frames, 1200.0), layer.noise, body=body)
    pool.start(0, pool.rows.add([falling]), Strike(float(KEY)))
    np.testing.assert_allclose(strongest_hz(rendered(pool, RATE // 2)), 400.0, rtol=0.002)


def test_a_struck_voice_that_goes_on_as_another_note_keeps_its_body_and_does_not_click():
    body = np.sin(2 * np.pi * 400.0 * np.arange(12_000) / BODY_RATE_HZ).astype(np.float32)
    pool, rows = pool_with(body)
    other = pool.rows.add([VoiceSound(np.zeros((96, 32)), np.arange(1.0, 33.0), np.zeros(96), np.zeros((96, 64)))])
    voice = pool.start(0, rows, Strike(float(KEY)))
    before = pool.render(0, 5000)[0].copy()
    pool.move(5000, voice, other, Strike(KEY + 12.0))
    after = pool.render(5000, 8000)[0].copy()
    assert np.abs(np.diff(np.concatenate([before, after]))).max() < 1.2 * 2 * np.pi * 800.0 / RATE
    np.testing.assert_allclose(strongest_hz(after[200:]), 800.0, rtol=0.005)


def test_a_voice_whose_body_has_ended_is_over():
    pool, rows = pool_with(np.ones(BODY_RATE_HZ // 4, np.float32))
    pool.start(0, rows, Strike(float(KEY)))
    rendered(pool, RATE // 5)
    assert pool.n_sounding == 1
    pool.render(RATE // 5, 8000)
    assert pool.n_sounding == 0


def test_a_body_ends_in_a_fade_when_its_voice_is_silenced():
    pool, rows = pool_with(np.ones(BODY_RATE_HZ, np.float32))
    voice = pool.start(0, rows, Strike(float(KEY)))
    before = pool.render(0, 4000)[0].copy()
    pool.kill(voice)
    after = pool.render(4000, 4000)[0].copy()
    assert abs(before[-1] - 1.0) < 1e-3
    assert np.abs(np.diff(np.concatenate([before[-1:], after]))).max() < 0.02
    assert not after[2000:].any()


def test_a_voice_without_body_has_none():
    pool, _ = pool_with(np.ones(100, np.float32))
    rows = pool.rows.add([VoiceSound(np.zeros((96, 32)), np.arange(1.0, 33.0), np.zeros(96), np.zeros((96, 64)))])
    pool.start(0, rows, Strike(float(KEY)))
    assert not rendered(pool, 1000).any()
    assert SpectrumRows(GRID).arrays.bodies.size == len(SpectrumRows(GRID).arrays.cents)


def test_bodies_stay_with_their_rows_as_the_table_grows():
    pool, rows = pool_with(np.full(12_000, 0.5, np.float32))
    layers = pool.rows.layers(rows)
    for _ in range(40):
        pool.rows.add(layers)
    copy = SpectrumRows(GRID, 12_000, pool.rows.body_hz)
    copy.extend(0, pool.rows.since(0))
    for table in (pool.rows, copy):
        bodies = table.arrays.bodies.reshape(len(table.arrays.cents), -1)
        assert bodies[0, 0] == 0.0
        assert np.all(bodies[0, 1:] == 0.5)
        assert not bodies[1:41].any()


@pytest.mark.parametrize("point", ["snare", "tom-low"])
def test_struck_drums_of_the_shipped_kit_sound_the_same_however_time_is_cut(shipped, point):
    patch, key = patch_of(shipped, point), shipped.spec.traits[point].note_low
    events = [hit_on(key, 90), Event(3001, bytes([0xE9, 0, 90])), hit_on(key, 40, 7777), hit_on(key, 127, 9000)]
    whole = played(patch, events, 0.5)
    for block in (1, 63, 64, 8192):
        n = 0.05 if block == 1 else 0.5
        assert np.array_equal(played(patch, events, n, block), whole[:, : round(n * RATE)]), block


def test_no_two_variants_of_a_struck_drum_are_alike(shipped):
    """Told from the waveforms alone, by what no gain explains: levels and pitches of strokes differ besides."""
    for point, strokes in shipped.spec.strokes.items():
        patch, key = patch_of(shipped, point), shipped.spec.traits[point].note_low
        firsts = [patch.bank.note(key, variant).row for variant in range(8)]
        assert len(set(firsts)) == 8
        bodies = patch.bank.rows.arrays.bodies.reshape(-1, strokes.waves.shape[1] + 1)
        for layer in range(len(patch.bank.velocities)):
            some = bodies[[first + layer for first in firsts]].astype(np.float64)
            apart = [level_db(a - b * (a @ b) / (b @ b)) - level_db(a) for i, a in enumerate(some) for b in some[:i]]
            assert np.median(apart) > -40.0, (point, layer, np.round(apart))
            assert min(apart) > -90.0, (point, layer, np.round(apart))


def test_without_variation_every_stroke_has_the_same_low_part(shipped):
    patch = patch_of(shipped, "tom-low", variation=0.0)
    audio = played(patch, [hit_on(43, 100, i * 44_096) for i in range(3)], 3.0)[0][: 3 * 44_096].reshape(3, -1)
    low = [making.below_crossing(one.astype(np.float64), RATE, RATE) for one in audio]
    assert level_db(low[1] - low[2]) - level_db(low[1]) < -40.0


def test_a_filter_a_morph_and_moved_timbre_play_modes_and_noise(shipped):
    preset = bare_preset(shipped.path)
    sound = msgspec.structs.replace(preset.sound, point="tom-low")
    struck = Instrument(msgspec.structs.replace(preset, sound=sound), shipped, shipped.path)
    low_pass = msgspec.structs.replace(preset.filter, type="lowpass", cutoff_hz=100.0)
    morph = msgspec.structs.replace(preset.morph, point="kick")
    dull = Instrument(msgspec.structs.replace(preset, sound=sound, filter=low_pass), shipped, shipped.path)
    led = Instrument(msgspec.structs.replace(preset, sound=sound, morph=morph), shipped, shipped.path)
    assert struck.bank.struck is not None
    assert dull.bank.struck is None
    assert led.bank.struck is None
    open_, closed = (played(patch, [hit_on(43)], 0.5)[0] for patch in (struck, dull))
    high = [np.abs(np.fft.rfft(audio))[int(300 * 0.5) : int(1200 * 0.5)].sum() for audio in (open_, closed)]
    assert high[1] < 0.3 * high[0]
