"""Keys, pedals and voice modes: which voices start, move, end and stay."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralsynth.keyboard import MAX_CAUGHT, MAX_HELD, RELEASE_VELOCITY, Keyboard, KeyboardSettings

POLY = KeyboardSettings()
MONO = KeyboardSettings(mode="mono")
LEGATO = KeyboardSettings(mode="legato")


class _Pool:
    """Voices on paper. `log` says what was asked: `+1:60` start, `>1:62<60` move with glide, `-1` release, `^1` catch."""

    def __init__(self):
        self.log, self.key, self.sounding, self.in_release = [], {}, set(), set()
        self.velocities = []  # of starts, moves and releases, in order
        self.calls = 0

    def start(self, key, velocity, from_key):
        voice = len(self.key) + 1
        self.key[voice] = key
        self.sounding.add(voice)
        self._note(f"+{voice}:{key}", velocity, from_key)
        return voice

    def move(self, voice, key, velocity, from_key):
        assert voice in self.sounding, "only a voice that sounds and is not released can move"
        self.key[voice] = key
        self._note(f">{voice}:{key}", velocity, from_key)

    def release(self, voice, velocity):
        if voice in self.sounding:
            self.sounding.remove(voice)
            self.in_release.add(voice)
            self._note(f"-{voice}", velocity, None)

    def catch(self, voice):
        self.calls += 1
        if voice not in self.in_release:
            return False
        self.in_release.remove(voice)
        self.sounding.add(voice)
        self.log.append(f"^{voice}")
        return True

    def is_over(self, voice):
        return voice not in self.sounding and voice not in self.in_release

    def end(self, voice):
        """The voice fell silent by itself or was stolen."""
        self.sounding.discard(voice)
        self.in_release.discard(voice)

    def _note(self, what, velocity, from_key):
        self.log.append(what if from_key is None else f"{what}<{from_key:g}")
        self.velocities.append(velocity)


def obey(keyboard, pool, word):
    """One word of a script, see `play`."""
    kind, rest = word[0], word[1:]
    if kind in "+-":
        key, _, velocity = rest.partition(":")
        (keyboard.note_on if kind == "+" else keyboard.note_off)(int(key), int(velocity or 64))
    elif kind == "x":
        pool.end(int(rest))
    elif kind == "p" and rest.isdigit():
        keyboard.portamento_from(int(rest))
    else:
        calls = {
            "S": lambda: keyboard.sustain(True),
            "s": lambda: keyboard.sustain(False),
            "T": lambda: keyboard.sostenuto(True),
            "t": lambda: keyboard.sostenuto(False),
            "A": keyboard.all_notes_off,
            "F": keyboard.forget,
            "poly": lambda: keyboard.configure(replace(keyboard.settings, mode="poly")),
            "mono": lambda: keyboard.configure(replace(keyboard.settings, mode="mono")),
            "legato": lambda: keyboard.configure(replace(keyboard.settings, mode="legato")),
        }
        calls[word]()


def play(script, keyboard_settings=POLY):
    """What the pool was asked during a script.

    `+60` or `+60:velocity` note-on, `-60` note-off, `S` `s` sustain down and up, `T` `t` sostenuto, `A` all notes
    off, `F` forget, `p55` portamento from, `x1` voice 1 ends by itself, `poly` `mono` `legato` mode change.
    """
    pool = _Pool()
    keyboard = Keyboard(pool, keyboard_settings)
    for word in script.split():
        obey(keyboard, pool, word)
        assert sorted(voice for _, voice in keyboard.held()) == sorted(pool.sounding), word
    return " ".join(pool.log)


def table(*rows):
    """Rows of (promise, script, log) as parameters, the promise as name."""
    return pytest.mark.parametrize("script, log", [row[1:] for row in rows], ids=[row[0] for row in rows])


# Polyphonic


@table(
    ("a note ends with its key", "+60 +62 -60 -62", "+1:60 +2:62 -1 -2"),
    ("velocity 0 is a note-off", "+60:90 +60:0", "+1:60 -1"),
    ("a note-off without a note does nothing", "-60 +62 -60", "+1:62"),
    ("a re-struck key lets its old voice go", "+60 +60 -60", "+1:60 -1 +2:60 -2"),
    ("a re-struck key stacks under sustain", "S +60 +60 -60 s", "+1:60 +2:60 -1 -2"),
    ("sustain up keeps the key that is down", "S +60 +60 s -60", "+1:60 +2:60 -1 -2"),
    ("sustain holds a key let go", "+60 S -60 +62 -62 s", "+1:60 +2:62 -1 -2"),
    ("sustain twice is sustain once", "S S +60 -60 S s s", "+1:60 -1"),
    ("all notes off ends keys", "+60 +62 A", "+1:60 +2:62 -1 -2"),
    ("all notes off leaves what sustain holds", "S +60 -60 +62 A s", "+1:60 +2:62 -1 -2"),
    ("all notes off leaves what sostenuto holds", "+60 T +62 A t", "+1:60 +2:62 -2 -1"),
    ("a voice that ended is let be", "+60 x1 -60 +60", "+1:60 +2:60"),
    ("forget counts keys as up", "+60 x1 F -60 +60 -60", "+1:60 +2:60 -2"),
)
def test_polyphonic_keys_and_sustain(script, log):
    assert play(script) == log


@table(
    ("latches keys that are down", "+60 T -60 +62 -62 t", "+1:60 +2:62 -2 -1"),
    ("latches no key struck later", "T +60 -60 t", "+1:60 -1"),
    ("key still down at pedal up stays", "+60 T t -60", "+1:60 -1"),
    ("latches no voice that sustain alone holds", "S +60 -60 T s t", "+1:60 -1"),
    ("takes a sustained voice when its key is struck again", "S +60 -60 T +60 -60 s t", "+1:60 +2:60 -2 -1"),
    ("sustain up leaves latched voices", "+60 T S -60 s t", "+1:60 -1"),
    ("up hands voices to sustain", "+60 T -60 S t +62 -62 s", "+1:60 +2:62 -1 -2"),
    ("re-strike of a latched key that is down", "+60 T +60 -60 t", "+1:60 +2:60 -2 -1"),
    ("re-strike of a latched key that is up is latched too", "+60 T -60 +60 -60 t", "+1:60 +2:60 -1 -2"),
    ("a latched voice that ended passes no latch", "+60 T -60 x1 +60 -60", "+1:60 +2:60 -2"),
    ("each press latches anew", "+60 T +62 T -60 -62 t", "+1:60 +2:62 -1 -2"),
    ("a second press needs keys down then", "+60 T t -60 T +62 -62", "+1:60 -1 +2:62 -2"),
    ("a second note-off is nothing new", "S +60 -60 T -60 s", "+1:60 -1"),
    ("any latched voice of the key passes the latch", "+60 T -60 +60 -60 x2 +60 -60 t", "+1:60 +2:60 +3:60 -1 -3"),
)
def test_sostenuto(script, log):
    assert play(script) == log


@table(
    ("holds a voice in release", "+60 -60 S s", "+1:60 -1 ^1 -1"),
    ("holds both of a stack", "S +60 +60 -60 s S s", "+1:60 +2:60 -1 -2 ^2 ^1 -2 -1"),
    ("cannot hold a voice that is over", "+60 -60 x1 S s", "+1:60 -1"),
    ("leaves a voice whose key was struck again", "+60 -60 +60 S", "+1:60 -1 +2:60"),
    ("leaves the voice that a re-strike let go", "+60 +60 S", "+1:60 -1 +2:60"),
    ("only when the pedal moves", "S +60 S -60 s S S s", "+1:60 -1 ^1 -1"),
    ("again and again", "+60 -60 S s S s", "+1:60 -1 ^1 -1 ^1 -1"),
    ("not after forget", "+60 -60 x1 F S", "+1:60 -1"),
    ("holds a caught voice for sostenuto's next strike only", "T +60 -60 S +60 -60 s", "+1:60 -1 ^1 +2:60 -1 -2"),
)
def test_pedal_catch(script, log):
    assert play(script) == log


def test_without_pedal_catch_a_release_goes_on():
    assert play("+60 -60 S s S s", replace(POLY, pedal_catch=False)) == "+1:60 -1"


def test_only_the_newest_releases_are_caught():
    pool = _Pool()
    keyboard = Keyboard(pool)
    for key in range(MAX_CAUGHT + 10):
        keyboard.note_on(key, 64)
        keyboard.note_off(key)
    keyboard.sustain(True)
    assert pool.calls == MAX_CAUGHT
    assert pool.sounding == set(range(11, MAX_CAUGHT + 11))


class _Flat:
    """FluidSynth's bookkeeping: a flat list of voices, each with a status and an order number.

    The sostenuto pedal holds what has a lower order number than the pedal. A voice here is [key, status, order,
    struck again since]; statuses are on, sustained, sostenuto, released, over. With our differences: sostenuto up
    hands to sustain, a latch passes on from held voices only, sustain catches.
    """

    def __init__(self):
        self.voices, self.order, self.pedal_order = [], 0, -1
        self.sustained = self.latching = False

    def held(self):
        return {number for number, voice in enumerate(self.voices, 1) if voice[1] in {"on", "sustained", "sostenuto"}}

    def off(self, voice):
        if self.latching and voice[2] < self.pedal_order:
            voice[1] = "sostenuto"
        else:
            voice[1] = "sustained" if self.sustained else "released"

    def note_on(self, key):
        order = self.order
        for voice in self.voices:
            if voice[0] == key:
                if voice[1] == "sostenuto":
                    order = voice[2]
                if voice[1] in {"on", "sustained", "sostenuto"}:
                    self.off(voice)
                voice[3] = voice[1] == "released"
        self.voices.append([key, "on", order, False])
        self.order += 1

    def note_off(self, key):
        for voice in self.voices:
            if voice[:2] == [key, "on"]:
                self.off(voice)

    def all_notes_off(self):
        for voice in self.voices:
            if voice[1] in {"on", "sustained", "sostenuto"}:
                self.off(voice)

    def sustain(self, down):
        for voice in self.voices:
            if down and not self.sustained and voice[1] == "released" and not voice[3]:
                voice[1:3] = ["sustained", self.order]
            elif not down and voice[1] == "sustained":
                voice[1] = "released"
        self.order += 1
        self.sustained = down

    def sostenuto(self, down):
        self.latching = down
        if down:
            self.pedal_order = self.order
        else:
            for voice in self.voices:
                if voice[1] == "sostenuto":
                    voice[1] = "sustained" if self.sustained else "released"


KEYS = st.sampled_from([60, 62, 64])
EVENTS = st.one_of(
    st.tuples(st.just("note_on"), KEYS),
    st.tuples(st.just("note_on"), KEYS),
    st.tuples(st.just("note_off"), KEYS),
    st.tuples(st.just("sustain"), st.booleans()),
    st.tuples(st.just("sostenuto"), st.booleans()),
    st.tuples(st.just("end"), st.integers(0, 5)),
    st.tuples(st.just("all_notes_off"), st.none()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=60))
def test_polyphonic_voices_are_those_of_fluidsynths_rules(events):
    pool, flat = _Pool(), _Flat()
    keyboard = Keyboard(pool)
    for name, value in events:
        if name == "note_on":
            keyboard.note_on(value, 100)
            flat.note_on(value)
        elif name == "all_notes_off":
            keyboard.all_notes_off()
            flat.all_notes_off()
        elif name == "end":
            if value < len(flat.voices):
                pool.end(value + 1)
                flat.voices[value][1] = "over"
        else:
            getattr(keyboard, name)(value)
            getattr(flat, name)(value)
        assert {voice for _, voice in keyboard.held()} == flat.held() == pool.sounding
        assert keyboard.is_gated == bool(flat.held())
    assert all(pool.key[voice] == key for key, voice in keyboard.held())


# One voice


@table(
    ("a new key starts a new voice and ends the old", "+60 +62", "+1:60 -1 +2:62"),
    ("returns to the key still down", "+60 +62 -62 -60", "+1:60 -1 +2:62 -2 +3:60 -3"),
    ("a key let go under another is silent", "+60 +62 -60 -62", "+1:60 -1 +2:62 -2"),
    ("returns to the last of several", "+60 +62 +64 -64 -62", "+1:60 -1 +2:62 -2 +3:64 -3 +4:62 -4 +5:60"),
    ("a key struck again is the last", "+60 +62 +60 +64 -64", "+1:60 -1 +2:62 -2 +3:60 -3 +4:64 -4 +5:60"),
    ("re-strike of the sounding key", "+60 +60 -60", "+1:60 -1 +2:60 -2"),
    ("velocity 0 returns", "+60 +62 +62:0", "+1:60 -1 +2:62 -2 +3:60"),
    ("a note-off without a note does nothing", "+60 -62 -60 -60", "+1:60 -1"),
    ("sustain holds the last key", "+60 S -60 s", "+1:60 -1"),
    ("a new key replaces what sustain holds", "S +60 -60 +62 -62 s", "+1:60 -1 +2:62 -2"),
    ("returns under sustain", "S +60 +62 -62 -60 s", "+1:60 -1 +2:62 -2 +3:60 -3"),
    ("a new key replaces what sostenuto holds", "+60 T -60 +62 -62 t", "+1:60 -1 +2:62 -2"),
    ("sostenuto holds the last key", "+60 T -60 t", "+1:60 -1"),
    ("all notes off does not return", "+60 +62 A -60 +64 -64", "+1:60 -1 +2:62 -2 +3:64 -3"),
    ("forget does not return", "+60 +62 x2 F -62 +64 -64", "+1:60 -1 +2:62 +3:64 -3"),
    ("a voice that ended is no reason to wait", "+60 x1 +62 -62", "+1:60 +2:62 -2 +3:60"),
    ("a silent key let go starts nothing", "+60 +62 +64 -60 x3 -62", "+1:60 -1 +2:62 -2 +3:64"),
    ("catches the last voice only", "+60 -60 +62 -62 S s", "+1:60 -1 +2:62 -2 ^2 -2"),
    ("catches nothing under a key", "+60 -60 +62 S", "+1:60 -1 +2:62"),
    ("a caught voice goes with the next key", "+60 -60 S +62 s", "+1:60 -1 ^1 -1 +2:62"),
)
def test_mono(script, log):
    assert play(script, MONO) == log


@table(
    ("a new key moves the voice", "+60 +62 -62 -60", "+1:60 >1:62 >1:60 -1"),
    ("a key let go under another is silent", "+60 +62 -60 -62", "+1:60 >1:62 -1"),
    ("keys that do not overlap start anew", "+60 -60 +62", "+1:60 -1 +2:62"),
    ("re-strike of the only key starts anew", "+60 +60", "+1:60 -1 +2:60"),
    ("all keys up under sustain: the next starts anew", "S +60 +62 -60 -62 +64 -64 s", "+1:60 >1:62 -1 +2:64 -2"),
    ("sustain holds the moved voice", "+60 S +62 -60 -62 s", "+1:60 >1:62 -1"),
    ("a latch moves with the voice", "+60 T +62 -60 -62 t", "+1:60 >1:62 -1"),
    ("a voice that ended cannot move", "+60 x1 +62 -62", "+1:60 +2:62 >2:60"),
    ("a moved voice can be caught", "+60 +62 -60 -62 S s", "+1:60 >1:62 -1 ^1 -1"),
    ("all notes off ends the overlap", "+60 +62 A +64", "+1:60 >1:62 -1 +2:64"),
)
def test_legato(script, log):
    assert play(script, LEGATO) == log


@pytest.mark.parametrize(
    "priority, script, log",
    [
        ("low", "+60 +64", "+1:60"),
        ("low", "+60 +57", "+1:60 -1 +2:57"),
        ("low", "+60 +64 +62 -60", "+1:60 -1 +2:62"),
        ("low", "+60 +64 -64 -60", "+1:60 -1"),
        ("low", "+60 x1 +64 -60 -64", "+1:60 +2:64 -2"),
        ("low", "+60 x1 +64 -64", "+1:60 +2:64 -2 +3:60"),
        ("high", "+60 +57", "+1:60"),
        ("high", "+60 +64", "+1:60 -1 +2:64"),
        ("high", "+60 +57 +59 -60", "+1:60 -1 +2:59"),
        ("high", "S +60 -60 +57", "+1:60 -1 +2:57"),  # a pedal's voice keeps no key waiting
        ("high", "poly S +60 -60 +72 x2 mono +64", "+1:60 +2:72 -1 +3:64"),
        ("last", "+60 +57 +64 +59 -59", "+1:60 -1 +2:57 -2 +3:64 -3 +4:59 -4 +5:64"),
    ],
)
def test_priority_chooses_the_key_that_sounds(priority, script, log):
    assert play(script, replace(MONO, priority=priority)) == log


def test_returning_plays_the_velocity_of_the_key_returned_to():
    for keyboard_settings in (MONO, LEGATO):
        pool = _Pool()
        keyboard = Keyboard(pool, keyboard_settings)
        for word in ("+60:11", "+62:22", "-62"):
            obey(keyboard, pool, word)
        started_or_moved = [v for what, v in zip(pool.log, pool.velocities, strict=True) if what[0] in "+>"]
        assert started_or_moved == [11, 22, 11]


@pytest.mark.parametrize(
    "keyboard_settings, script, velocities",
    [
        (POLY, "+60:1 -60:90", [1, 90]),
        (POLY, "+60:1 S -60:90 s", [1, 90]),
        (POLY, "S +60:1 -60:90 +60:2 -60:30 s", [1, 2, 90, 30]),
        (POLY, "+60:1 T -60:90 S t s", [1, 90]),
        (POLY, "+60:1 +60:2 -60:30", [1, RELEASE_VELOCITY, 2, 30]),
        (POLY, "+60:1 -60:90 S s", [1, 90, 90]),
        (MONO, "+60:1 +62:2 -62:90 -60:30", [1, RELEASE_VELOCITY, 2, 90, 1, 30]),
    ],
)
def test_release_velocity_is_that_of_the_note_off(keyboard_settings, script, velocities):
    """Of starts and releases in order; a pedal that goes up later releases with the velocity of the key."""
    pool = _Pool()
    keyboard = Keyboard(pool, keyboard_settings)
    for word in script.split():
        obey(keyboard, pool, word)
    assert pool.velocities == velocities


# Glide


@pytest.mark.parametrize(
    "mode, glide, script, log",
    [
        ("poly", "off", "+60 +62", "+1:60 +2:62"),
        ("poly", "always", "+60 -60 +62 +65", "+1:60 -1 +2:62<60 +3:65<62"),
        ("poly", "legato", "+60 -60 +62 +65", "+1:60 -1 +2:62 +3:65<62"),
        ("poly", "always", "+60 +60", "+1:60 -1 +2:60"),
        ("mono", "off", "+60 +62 -62", "+1:60 -1 +2:62 -2 +3:60"),
        ("mono", "always", "+60 -60 +62", "+1:60 -1 +2:62<60"),
        ("mono", "legato", "+60 -60 +62 +64 -64", "+1:60 -1 +2:62 -2 +3:64<62 -3 +4:62<64"),
        ("legato", "off", "+60 +62 -62", "+1:60 >1:62 >1:60"),
        ("legato", "always", "+60 +62 -62 -60 +64", "+1:60 >1:62<60 >1:60<62 -1 +2:64<60"),
        ("legato", "legato", "+60 +62 -62 -60 +64", "+1:60 >1:62<60 >1:60<62 -1 +2:64"),
        ("poly", "always", "+60 x1 F +62", "+1:60 +2:62<60"),
    ],
)
def test_glide_starts_from_the_last_key_that_sounded(mode, glide, script, log):
    assert play(script, KeyboardSettings(mode=mode, glide=glide)) == log


def test_a_waiting_key_is_no_start_of_a_glide():
    keyboard_settings = KeyboardSettings(mode="mono", priority="low", glide="always")
    assert play("+60 +72 -72 +57", keyboard_settings) == "+1:60 -1 +2:57<60"


@pytest.mark.parametrize(
    "mode, script, log",
    [
        ("poly", "+60 p55 +62 +64", "+1:60 +2:62<55 +3:64"),
        ("poly", "p55 +55 +64", "+1:55 +2:64"),  # from its own key there is no way to go, and it is used up
        ("mono", "p55 +60 +62 -62", "+1:60<55 -1 +2:62 -2 +3:60"),
        ("legato", "+60 p55 +62 -62", "+1:60 >1:62<55 >1:60"),
        ("legato", "+60 +62 p55 -62 +64", "+1:60 >1:62 >1:60 >1:64<55"),  # a return is no note-on
    ],
)
def test_portamento_control_glides_once(mode, script, log):
    assert play(script, KeyboardSettings(mode=mode)) == log


def test_portamento_control_goes_before_the_last_key():
    assert play("+60 p55 +62 +64", replace(POLY, glide="always")) == "+1:60 +2:62<55 +3:64<62"


# Changes while playing


@table(
    ("poly to mono keeps the last key", "+60 +64 +62 mono -62", "+1:60 +2:64 +3:62 -1 -2 -3 +4:64"),
    ("poly to legato keeps the last key", "+60 +64 legato +67 -64 -67", "+1:60 +2:64 -1 >2:67 >2:60"),
    ("keys before pedals", "S +60 -60 +62 +64 -64 mono -62 s", "+1:60 +2:62 +3:64 -1 -3 -2"),
    ("pedals keep the newest", "S +60 +62 -60 -62 mono s", "+1:60 +2:62 -1 -2"),
    ("of a stack the newest stays", "S +60 +60 mono -60 s", "+1:60 +2:60 -1 -2"),
    ("what is over does not stay", "+60 +62 x2 mono -62 -60", "+1:60 +2:62 -1"),
    ("mono to poly: only what sounds ends with its key", "mono +60 +62 poly -60 -62", "+1:60 -1 +2:62 -2"),
    ("mono to poly starts nothing", "mono +60 +62 poly -62 +64 -60 -64", "+1:60 -1 +2:62 -2 +3:64 -3"),
    ("mono to legato goes on", "mono +60 legato +62 mono +64", "+1:60 >1:62 -1 +2:64"),
    ("poly to poly changes nothing", "+60 +62 poly -60 -62", "+1:60 +2:62 -1 -2"),
    ("mono catches one of poly's releases", "+60 +62 -60 -62 mono S s", "+1:60 +2:62 -1 -2 ^2 -2"),
    ("mono under a key catches none of poly's releases", "+60 +62 -60 mono S", "+1:60 +2:62 -1"),
    ("a pedal's voice does not move", "S +60 -60 +72 x2 legato +64", "+1:60 +2:72 -1 +3:64"),
    ("a pedal's voice stays at a second note-off", "S +60 -60 +72 x2 mono -60", "+1:60 +2:72"),
    ("poly catches nothing that mono replaced", "mono +60 +62 poly -62 S s", "+1:60 -1 +2:62 -2 ^2 -2"),
)
def test_mode_changes_leave_no_voice_behind(script, log):
    assert play(script) == log


@pytest.mark.parametrize("priority, log", [("low", "+1:60 +2:57 +3:64 -1 -3"), ("high", "+1:60 +2:57 +3:64 -1 -2")])
def test_priority_chooses_the_voice_that_mono_keeps(priority, log):
    assert play("+60 +57 +64 mono", replace(POLY, priority=priority)) == log


@pytest.mark.parametrize(
    "preset, switches, result",
    [
        (POLY, {}, POLY),
        (POLY, {"mode": "mono"}, MONO),
        (LEGATO, {"mode": "mono"}, LEGATO),
        (LEGATO, {"mode": "poly"}, POLY),
        (POLY, {"legato": True}, LEGATO),
        (MONO, {"mode": "poly", "legato": True}, LEGATO),
        (POLY, {"portamento": True}, replace(POLY, glide="always")),
        (replace(MONO, glide="legato"), {"portamento": True}, replace(MONO, glide="legato")),
    ],
)
def test_switches_change_the_settings(preset, switches, result):
    assert preset.switched(**switches) == result


@pytest.mark.parametrize("name, word", [("mode", "duo"), ("priority", "first"), ("glide", "on")])
def test_unknown_words_are_named_with_those_there_are(name, word):
    with pytest.raises(ValueError, match=f"{name} is '{word}'; use one of .*l"):
        KeyboardSettings(**{name: word})


SETTINGS = st.builds(
    KeyboardSettings,
    st.sampled_from(["poly", "mono", "legato"]),
    st.sampled_from(["last", "low", "high"]),
    st.sampled_from(["off", "always", "legato"]),
    st.booleans(),
)
ANYTHING = st.one_of(
    EVENTS,
    EVENTS,
    st.tuples(st.just("configure"), SETTINGS),
    st.tuples(st.just("portamento_from"), KEYS),
)


def do(keyboard, pool, name, value):
    if name == "note_on":
        keyboard.note_on(value, 100)
    elif name == "all_notes_off":
        keyboard.all_notes_off()
    elif name == "end":
        pool.end(value + 1)
    else:
        getattr(keyboard, name)(value)


@settings(max_examples=400, deadline=None)
@given(st.lists(ANYTHING, max_size=80), SETTINGS)
def test_no_voice_is_left_sounding_when_keys_and_pedals_are_up(events, keyboard_settings):
    pool = _Pool()
    keyboard = Keyboard(pool, keyboard_settings)
    for name, value in events:
        do(keyboard, pool, name, value)
        assert {voice for _, voice in keyboard.held()} == pool.sounding
        assert keyboard.settings.mode == "poly" or len(pool.sounding) <= 1
    keyboard.all_notes_off()
    keyboard.sustain(False)
    keyboard.sostenuto(False)
    assert not pool.sounding
    assert not keyboard.is_gated


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(60, 66)), max_size=40),
    st.sampled_from(["mono", "legato"]),
    st.sampled_from(["last", "low", "high"]),
)
def test_the_one_voice_sounds_the_key_of_priority(events, mode, priority):
    pool = _Pool()
    keyboard = Keyboard(pool, KeyboardSettings(mode=mode, priority=priority))
    down = []
    for strikes, key in events:
        down = [other for other in down if other != key]
        if strikes:
            keyboard.note_on(key, 100)
            down.append(key)
        else:
            keyboard.note_off(key)
        wanted = {"last": down[-1:], "low": sorted(down)[:1], "high": sorted(down)[-1:]}[priority]
        assert [pool.key[voice] for voice in pool.sounding] == wanted


# _Endless playing


class _Handle:
    """A voice that can tell whether anybody still remembers it."""


class _Endless:
    """A pool of 64 voices that steals the oldest, or one that never runs out."""

    def __init__(self, polyphony):
        self.polyphony, self.alive = polyphony, {}
        self.remembered = weakref.WeakSet()
        self.released = 0

    def start(self, key, velocity, from_key):
        handle = _Handle()
        self.remembered.add(handle)
        self.alive[handle] = None
        if len(self.alive) > self.polyphony:
            del self.alive[next(iter(self.alive))]
        return handle

    def move(self, voice, key, velocity, from_key):
        pass

    def release(self, voice, velocity):
        self.released += voice in self.alive
        self.alive.pop(voice, None)

    def catch(self, voice):
        return False

    def is_over(self, voice):
        return voice not in self.alive


@pytest.mark.parametrize("one_key", [False, True])
def test_stolen_voices_are_forgotten_under_a_pedal_that_never_goes_up(one_key):
    pool = _Endless(polyphony=64)
    keyboard = Keyboard(pool)
    keyboard.sustain(True)
    for i in range(50_000):
        keyboard.note_on(60 if one_key else i % 128, 100)
    gc.collect()
    assert len(pool.remembered) <= 64 + 3 * 64
    assert len(list(keyboard.held())) == 64
    assert pool.released == 0  # what sounds was left alone


def test_the_newest_voices_stay_when_more_are_held_than_anyone_can_play():
    pool = _Endless(polyphony=sys.maxsize)
    keyboard = Keyboard(pool)
    keyboard.sustain(True)
    for i in range(10_000):
        keyboard.note_on(i % 128, 100)
        assert len(pool.alive) <= MAX_HELD
    assert len(list(keyboard.held())) == len(pool.alive) >= MAX_HELD // 2
    gc.collect()
    assert len(pool.remembered) <= MAX_HELD + MAX_CAUGHT
