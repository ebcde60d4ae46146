"""The designed presets: enough of them, at a playable level, and they do what their sentences say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from neuralsynth.engine import Engine
from neuralsynth.events import Event
from neuralsynth.gallery_page import family_of, page
from neuralsynth.patch import Patch
from neuralsynth.preset import load_preset, shipped_presets
from neuralsynth.units import gain_to_db

ROOT = Path(__file__).parents[1]
RATE = 44_100
DESIGNED = {
    path.stem: preset
    for path in shipped_presets()
    for preset in [load_preset(path)]
    if family_of(path.stem, preset) != "Instruments"
}
#: Between two points of one latent space, and not moving fast by themselves.
HYBRIDS = [name for name, preset in DESIGNED.items() if preset.morph.point and "hybrid" in preset.tags]
ENSEMBLES = [name for name, preset in DESIGNED.items() if family_of(name, preset) == "Ensembles"]
#: What a sentence may promise, and the messages that ask for it once a note sounds.
PROMISES = {
    "wheel": bytes([0xB0, 1, 127]),
    "pressure": bytes([0xD0, 127]),
    "breath": bytes([0xB0, 2, 127]),
    "expression": bytes([0xB0, 11, 40]),
    "controller 74": bytes([0xB0, 74, 127]),
}


class Played:
    """One preset on an engine of its own, and the keys that suit it."""

    def __init__(self, name):
        self.name, self.preset = name, DESIGNED[name]
        patch = Patch.load(ROOT / "presets" / f"{name}.toml")
        zones = [zone.preset for _, zone in patch.zones]
        self.keys = [31, 36, 40, 43] if "bass" in self.preset.tags else [55, 60, 64, 67]
        self.attack_seconds = max(zone.envelope.attack_seconds for zone in zones)
        self.is_solo = any(zone.voices.mode != "poly" for zone in zones)
        self.sustains = patch.spec.sustain is not None
        self.engine = Engine(patch, RATE, 4096)

    def chord(self, velocity=100, message=None, seconds=None):
        """The start of a chord (of one note where only one can sound), with a message as it begins, `[2, n]`."""
        keys = self.keys[:1] if self.is_solo else self.keys
        return self.notes(keys, velocity, message, seconds or 0.7 + self.attack_seconds)

    def notes(self, keys, velocity=100, message=None, seconds=0.5):
        """From power-on, so that what is drawn is drawn alike."""
        self.engine.reset()
        events = [Event(0, bytes([0x90, key, velocity])) for key in keys]
        return self.engine.process(events + ([Event(1, message)] if message else []), round(seconds * RATE))


@pytest.fixture(scope="module", params=DESIGNED)
def played(request):
    return Played(request.param)


@pytest.fixture(scope="module", params=HYBRIDS)
def hybrid(request):
    return Played(request.param)


@pytest.fixture(scope="module", params=ENSEMBLES)
def ensemble(request):
    return Played(request.param)


def test_there_are_at_least_twenty_designed_presets_in_every_family_a_player_asks_for():
    families = [family_of(name, preset) for name, preset in DESIGNED.items()]
    assert len(DESIGNED) >= 20
    for family, least in {
        "Ensembles": 4,
        "Pads": 4,
        "Keys": 4,
        "Plucks and mallets": 3,
        "Basses": 3,
        "Leads": 3,
    }.items():
        assert families.count(family) >= least, family


def test_designed_presets_have_names_sentences_tags_and_a_licence_of_their_own():
    assert len({preset.name for preset in DESIGNED.values()}) == len(DESIGNED)
    assert len({preset.says for preset in DESIGNED.values()}) == len(DESIGNED)
    for name, preset in DESIGNED.items():
        assert len(preset.tags) >= 2, name
        assert (preset.licence, preset.author) == ("CC0-1.0", "neuralsynth"), name
        assert len(preset.says) > 30, name


def test_a_chord_is_loud_and_stays_below_the_guard(played):
    peak_db = gain_to_db(np.abs(played.chord()).max())
    assert -18.0 < peak_db < -1.0, peak_db
    assert played.engine.limited_seconds == 0.0


def test_a_lighter_touch_is_never_louder(played):
    firm, light = (np.sqrt(np.mean(played.chord(velocity) ** 2)) for velocity in (110, 40))
    assert light <= 1.02 * firm


def test_a_released_note_ends_without_a_click(played):
    audio = played.chord()
    end = played.engine.process([Event(17, bytes([0x80, key, 64])) for key in played.keys], RATE // 10)
    steps = [float(np.abs(np.diff(part)).max()) for part in (audio[:, RATE // 20 :], end)]
    assert steps[1] < 1.3 * steps[0] + 0.005


def test_what_its_sentence_promises_is_heard(played):
    words = [word for word in PROMISES if re.search(rf"\b{word}\b", played.preset.says)]
    seconds = 1.2 + played.attack_seconds
    plain = np.diff(played.chord(seconds=seconds))  # so that what is high and soft counts as well
    for word in words:
        moved = np.diff(played.chord(message=PROMISES[word], seconds=seconds))
        assert np.sqrt(np.mean((moved - plain) ** 2)) > 0.2 * np.sqrt(np.mean(plain**2)), word


def test_a_touch_that_its_sentence_speaks_of_changes_the_tone(played):
    if not re.search(r"\btouch", played.preset.says) or played.preset.layers:
        return
    tones = []
    for velocity in (30, 120):
        tone = np.abs(np.fft.rfft(np.diff(played.notes(played.keys[1:2], velocity, seconds=0.7).mean(axis=0), 2)))
        tones.append(tone / np.linalg.norm(tone))
    assert np.linalg.norm(tones[1] - tones[0]) > 0.15


def test_a_held_hybrid_does_not_pump_though_one_of_the_two_may_decay(hybrid):
    if not hybrid.sustains:
        return
    audio = hybrid.notes(hybrid.keys[1:2], seconds=6.0 + hybrid.attack_seconds)
    half = RATE // 2
    held = audio[:, int((1.0 + hybrid.attack_seconds) * RATE) :].mean(axis=0)
    levels_db = [gain_to_db(np.sqrt(np.mean(held[i : i + half] ** 2))) for i in range(0, len(held) - half, half)]
    assert max(levels_db) - min(levels_db) < 5.0, levels_db


def test_no_two_strikes_of_an_ensemble_are_alike_and_neither_are_its_sides(ensemble):
    engine, key = ensemble.engine, ensemble.keys[1]
    engine.reset()
    strikes = []
    for _ in range(2):
        strikes.append(engine.process([Event(0, bytes([0x90, key, 100]))], RATE))
        engine.process([Event(0, bytes([0x80, key, 0]))], 3 * RATE)
    first, second = (np.abs(np.fft.rfft(strike[0, RATE // 4 :])) for strike in strikes)
    assert np.sqrt(np.mean((first - second) ** 2)) > 0.2 * np.sqrt(np.mean(first**2))
    assert np.corrcoef(strikes[0])[0, 1] < 0.9


def test_sections_begin_spread_over_ten_to_a_hundred_milliseconds():
    for name in ENSEMBLES:
        for _, zone in Patch.load(ROOT / "presets" / f"{name}.toml").zones:
            voices = zone.preset.voices
            assert voices.unison >= 3, name
            assert 0.01 <= voices.onset_spread_seconds <= 0.1, name
            assert voices.lfo_spread > 0.0, name


def test_the_page_of_presets_is_current():
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    assert "| orchestra: alto-flute → violin |" in text
    assert text == page(), "run: python -m neuralsynth.gallery_page docs/presets.md"
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", text, re.MULTILINE)) == {path.stem for path in shipped_presets()}
