"""The page of a score: what it says, that nothing in it is taken from elsewhere, and that a browser shows it."""

from __future__ import annotations

import base64
import io
import math
import re
import subprocess
from collections import Counter
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
import soundfile

from neuralsynth.cli import main
from neuralsynth.hosts.picture import spectrogram_thumbnails
from neuralsynth.hosts.report_page import MAX_BYTES, report_page, write_report
from neuralsynth.hosts.report_sounds import CLIP_RATE, VELOCITIES, Gallery, axis_clips, level_curves, spread
from neuralsynth.instrument import Instrument
from neuralsynth.model import InstrumentModel
from neuralsynth.scoring import RecordingScore, Score, Sounds, score
from neuralsynth.spec import LatentAxis, Provenance, Quality
from neuralsynth.units import note_name
from tests.browser import chromium
from tests.models import tiny_instrument

RATE = 44_100
VOID = {"meta", "img", "input", "br", "hr", "link"}
FIGURES = ("floor", "reconstruct", "play", "interpolated", "sampler")
HOSTILE = "<script>alert(1)</script>\"' onload=x &amp; \u2028\x07"


class Page(HTMLParser):
    """A page read strictly: every tag closed in order; its elements, texts, and what they refer to."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        """Keep it; an attribute stands once."""
        self.elements.append((tag, dict(attributes)))
        assert len(attributes) == len(dict(attributes)), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Only drawings have `<tag/>`."""
        assert "svg" in self.open, f"<{tag}/> outside of svg"
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        """It closes what was opened last."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        """What a reader sees."""
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        """All that a reader sees."""
        return " ".join(self.texts)

    def of(self, tag, css_class=""):
        """Attributes of all such elements."""
        return [a for t, a in self.elements if t == tag and css_class in [*(a.get("class") or "").split(), ""]]


def record(instrument, folder, keys, velocities=(50, 110), seconds=0.8):
    for key in keys:
        for velocity in velocities:
            audio = instrument([(bytes([0x90, key, velocity]), 0.02)], seconds, RATE, num_channels=1)
            soundfile.write(folder / f"tiny_m{key:03d}_v{velocity:03d}.wav", audio[0] * 2.0, RATE, subtype="PCM_24")


def renamed(instrument, **changes):
    """The instrument, its spec and preset saying something else."""
    spec_changes = {k: v for k, v in changes.items() if k in ("licence", "origin", "provenance", "quality", "axes")}
    model = object.__new__(InstrumentModel)  # a copy that can decode
    vars(model).update(vars(instrument.model))
    model.spec = msgspec.structs.replace(model.spec, **spec_changes)
    preset = msgspec.structs.replace(instrument.preset, **{k: v for k, v in changes.items() if k in ("name", "says")})
    return Instrument(preset, model, instrument.path)


@pytest.fixture(scope="module")
def scored(decaying, tmp_path_factory):
    """A score of ten recordings, two layers of five pitches, and what was heard meanwhile."""
    folder = tmp_path_factory.mktemp("recordings")
    record(decaying, folder, [45, 50, 57, 64, 72])
    gallery = Gallery()
    return score(decaying, folder, listen=gallery), gallery


@pytest.fixture(scope="module")
def text(decaying, scored):
    return report_page(decaying, *scored)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def fake_row(note=60, velocity=100, path="", **changes):
    row = RecordingScore(path or f"m{note}_v{velocity}.wav", note, velocity, 1.0, 2.0, 3.0, 4.0, 5.0)
    return RecordingScore(**{**row.__dict__, **changes})


def fake_score(*rows, name="tiny", skipped=()):
    return Score(name, True, rows, skipped)


def heard(*rows, seconds=0.3, noise=False, rate=RATE):
    """A gallery that listened to these rows: a tone, or (what packs worst) white noise."""
    gallery, rng = Gallery(), np.random.default_rng(0)
    for row in rows:
        n = round(seconds * rate)
        tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(n) / rate)
        sounds = [(0.2 * rng.standard_normal(n) if noise else tone).astype(np.float32) for _ in range(4)]
        gallery(row, Sounds(rate, *sounds))
    return gallery


def test_every_scored_note_has_a_row_with_its_own_numbers(text, scored):
    result, _ = scored
    found = dict(re.findall(r'<tr data-path="([^"]+)">(.*?)</tr>', text, re.DOTALL))
    assert set(found) == {row.path for row in result.recordings}
    assert len(result.recordings) == 10
    for row in result.recordings:
        numbers = re.findall(r'<td class="db (\w+)"><b>([\d.]+)</b>', found[row.path])
        assert numbers == [(name, f"{getattr(row, name + '_db'):.2f}") for name in FIGURES]
        assert f">{note_name(row.note)}<" in found[row.path] and f">{row.velocity}<" in found[row.path]


def test_the_figures_are_the_means_of_the_score(text, scored):
    mean = scored[0].quality()
    shown = dict(re.findall(r'data-figure="(\w+)">([\d.]+)', text))
    assert {name: shown[name] for name in FIGURES} == {n: f"{getattr(mean, n + '_db'):.2f}" for n in FIGURES}
    assert shown["play_over_sampler"] == f"{mean.play_db / mean.sampler_db:.2f}"


def test_bars_are_as_long_as_their_numbers(text):
    cells = re.findall(r'<td class="db \w+"><b>([\d.]+)</b><span class="bar"><i style="--w:([\d.]+)%">', text)
    values, widths = np.array(cells, float).T
    assert len(cells) == 5 * 11  # ten rows and the mean
    assert np.allclose(widths, 100.0 * values / values.max(), atol=1.0)


def test_nothing_is_taken_from_elsewhere(text, page):
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), f"<{tag} {name}={target[:60]!r}>"
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in {"iframe", "object", "embed", "link", "base", "form"}
    assert "http:" not in text and "https:" not in text
    assert not re.search(r"@import|url\(", text)
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_links_lead_to_the_rows_that_can_be_heard(page):
    anchors = [a["href"][1:] for a in page.of("a")]
    assert len(anchors) == 8
    assert set(anchors) <= {a["id"] for a in page.of("article", "listen")}


def test_a_row_holds_four_versions_of_one_length_at_equal_level(text, page):
    rows = re.findall(r'<article class="card listen" id="note-\d".*?</article>', text, re.DOTALL)
    assert len(rows) == 8
    for row in rows:
        sounds = [
            soundfile.read(io.BytesIO(base64.b64decode(d))) for d in re.findall(r"audio/flac;base64,([^\"]+)", row)
        ]
        assert [rate for _, rate in sounds] == [CLIP_RATE] * 4
        assert len({len(audio) for audio, _ in sounds}) == 1
        seconds = float(re.search(r'data-seconds="([\d.]+)"', row)[1])
        assert seconds == pytest.approx(len(sounds[0][0]) / CLIP_RATE, abs=1e-3)
        levels = [20 * np.log10(np.sqrt(np.mean(audio**2))) for audio, _ in sounds]
        assert np.ptp(levels) < 1.5 and max(np.abs(audio).max() for audio, _ in sounds) < 0.75
    labels = re.findall(r"<kbd>(\d)</kbd>(\w+)</button>", rows[0])
    assert labels == [("1", "Recording"), ("2", "Floor"), ("3", "Play"), ("4", "Sampler")]


def test_the_versions_heard_are_the_ones_that_were_scored(scored):
    _, gallery = scored
    note = gallery.notes()[0]
    flac = {clip.label: soundfile.read(io.BytesIO(clip.flac))[0] for clip in note.clips}
    for name in ("floor", "play", "sampler"):
        # The sampler was recorded at another pitch and moved: its clip must sound at the recording's pitch, too.
        peaks = [
            np.argmax(np.abs(np.fft.rfft(flac[which] * np.hanning(len(flac[which]))))) for which in ("recording", name)
        ]
        assert abs(1200 * np.log2(peaks[0] / peaks[1])) < 30
        assert not np.array_equal(flac[name], flac["recording"])


def test_without_neighbours_there_is_no_sampler_to_hear_and_no_number():
    row = fake_row(sampler_db=math.nan, interpolated_db=math.nan)
    gallery = Gallery()
    tone = np.sin(np.arange(20_000) / 10).astype(np.float32)
    gallery(row, Sounds(RATE, tone, tone, tone, None))
    assert [clip.label for clip in gallery.notes()[0].clips] == ["recording", "floor", "play"]


def test_a_page_without_any_neighbour_still_tells_the_rest(decaying):
    row = fake_row(sampler_db=math.nan, interpolated_db=math.nan)
    page = Page(report_page(decaying, fake_score(row), heard(row)))
    assert "no other pitch" in page.text and not re.search(r"\bnan\b", page.text.lower())


def test_names_from_files_cannot_become_html(decaying):
    hostile = renamed(
        decaying,
        name=HOSTILE,
        says=HOSTILE,
        licence=HOSTILE,
        origin=HOSTILE,
        provenance=Provenance(HOSTILE, [HOSTILE], 1, 2, 0.5, {HOSTILE: HOSTILE}),
        axes={HOSTILE: LatentAxis([-2.0, 0.0], [2.0, 0.0], 1.0, 2.0, HOSTILE, HOSTILE)},
    )
    row = fake_row(path=HOSTILE)
    text = report_page(hostile, fake_score(row, name=HOSTILE, skipped=(HOSTILE,)), heard(row))
    page = Page(text)
    assert Counter(tag for tag, _ in page.elements)["script"] == 1
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert text.count("&lt;script&gt;alert(1)") >= 12 and "<script>alert" not in text
    assert "\x07" not in text and "\u2028" not in text
    assert page.text.count("<script>alert(1)</script>\"' onload=x &amp;") >= 9


def test_the_page_stays_below_its_bound_however_badly_the_sounds_pack(decaying):
    rows = [fake_row(note, velocity) for note in range(40, 60) for velocity in (40, 100)]
    text = report_page(decaying, fake_score(*rows), heard(*rows[::4], seconds=3.5, noise=True))
    assert MAX_BYTES * 0.8 < len(text.encode()) <= MAX_BYTES == 8_000_000
    assert text.count("audio/flac") == 8 * 4 + 3


def test_the_same_input_gives_the_same_bytes(decaying, scored, text, tmp_path):
    assert report_page(decaying, *scored) == text
    size = write_report(tmp_path / "page.html", decaying, *scored)
    assert (tmp_path / "page.html").read_bytes() == text.encode() and size == len(text.encode())


def test_listeners_notes_are_spread_over_the_range_and_its_layers():
    rows = [fake_row(note, velocity) for note in range(40, 80) for velocity in (30, 60, 120)]
    chosen = spread(rows[::-1], 8)
    assert [chosen[0].note, chosen[-1].note] == [40, 79]
    assert max(np.diff([row.note for row in chosen])) <= 6
    assert {row.velocity for row in chosen} == {30, 60, 120}
    assert spread(rows[:5], 8) == rows[:5]
    assert len(spread([fake_row(60, v) for v in range(1, 20)], 8)) == 8


def test_a_gallery_of_a_large_folder_keeps_few_sounds_and_all_levels():
    rows = [fake_row(note, velocity) for note in range(20, 120) for velocity in (50, 100)]
    gallery = heard(*rows, seconds=0.01)
    assert len(gallery) == 64 and len(gallery.levels_db) == 200
    notes = [clips.score.note for clips in gallery.notes()]
    assert notes[0] < 35 and notes[-1] > 105 and max(np.diff(notes)) < 22
    assert {clips.score.velocity for clips in gallery.notes()} == {50, 100}


def test_an_axis_is_measured_at_its_ends_and_in_the_middle(decaying):
    (brightness,) = axis_clips(decaying, fake_score(fake_row(48), fake_row(60), fake_row(72)))
    low, middle, high = brightness.measured
    assert low < middle < high
    loudest = []
    for clip in brightness.clips:
        audio, rate = soundfile.read(io.BytesIO(clip.flac))
        power = np.abs(np.fft.rfft(audio)) ** 2
        loudest.append((power * np.fft.rfftfreq(len(audio), 1 / rate)).sum() / power.sum())
    assert loudest[0] < loudest[1] < loudest[2]  # what is heard does what the numbers say


def test_an_axis_of_an_unknown_kind_is_heard_without_a_number(decaying):
    axes = {"colour": decaying.model.spec.axes["brightness"]}
    (colour,) = axis_clips(renamed(decaying, axes=axes), fake_score(fake_row()))
    assert colour.measured == (None, None, None) and len(colour.clips) == 3


def test_levels_rise_with_velocity_and_recordings_lie_on_the_curve(decaying, scored):
    result, gallery = scored
    curves = level_curves(decaying, result, gallery.levels_db)
    assert len(curves) == 3
    for curve in curves:
        assert np.all(np.diff(curve.played_db) > 0)
        assert [velocity for velocity, _ in curve.recorded] == [50, 110]
        for velocity, level_db in curve.recorded:  # made by the instrument itself
            assert level_db == pytest.approx(np.interp(velocity, VELOCITIES, curve.played_db), abs=1.0)


def test_training_facts_come_from_the_provenance(decaying):
    told = Provenance("ab" * 32, ["0" * 16] * 52, 7, 700, 1.25, {"torch": "2.13.0"})
    quality = Quality(1.5, 2.5, 3.25, 4.75, 4.0, 9)
    row = fake_row()
    text = Page(report_page(renamed(decaying, provenance=told, quality=quality), fake_score(row), heard(row))).text
    training = text.split("Training")[-1]
    for fact in ("52", "abababababab…", "Seed 7", "700 in 1.2 minutes", "torch 2.13.0", "play 3.25, sampler 4.75"):
        assert fact in training, fact


def test_thumbnails_share_a_scale_and_show_the_frequency_that_sounds():
    import matplotlib.image

    t = np.arange(CLIP_RATE) / CLIP_RATE
    tone = 0.5 * np.sin(2 * np.pi * 800.0 * t)
    loud, soft = (
        matplotlib.image.imread(io.BytesIO(png))[..., :3].sum(-1)
        for png in spectrogram_thumbnails([tone, 0.01 * tone], CLIP_RATE)
    )
    assert loud.shape == soft.shape == (160, 320)
    row = 160 * (1 - np.log(800 / 40) / np.log(16_000 / 40))  # log frequency from 40 Hz to 16 kHz
    assert abs(np.argmax(loud[:, 160]) - row) <= 2
    assert loud[:, 160].max() > soft[:, 160].max() + 0.5  # 40 dB below


@pytest.fixture
def work(tmp_path, monkeypatch, decaying):
    monkeypatch.chdir(tmp_path)
    tiny_instrument(tmp_path / "tiny.onnx")
    (tmp_path / "notes").mkdir()
    record(decaying, tmp_path / "notes", [50, 57, 64], velocities=(100,))
    return tmp_path


def test_score_writes_the_page_and_replaces_one_only_when_told(work, capsys):
    command = ["score", "tiny.onnx", "notes", "--most", "2", "--html", "page.html"]
    assert main(command) == 0
    assert "page.html: " in capsys.readouterr().out
    first = (work / "page.html").read_bytes()
    assert first.count(b"<tr data-path=") == 2
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    (work / "page.html").write_text("mine")
    assert main([*command, "--force", "--json"]) == 0
    assert (work / "page.html").read_bytes() == first
    assert capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize("name, complaint", [("page.txt", ".html"), ("no/page.html", "folder"), ("notes", ".html")])
def test_a_page_that_cannot_be_written_is_refused_before_the_work(work, capsys, monkeypatch, name, complaint):
    monkeypatch.setattr("neuralsynth.scoring.score", lambda *_: pytest.fail("it was scored first"))
    assert main(["score", "tiny.onnx", "notes", "--html", name]) == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Opens a page and gives the document as it is after its scripts ran."""
    program = chromium()
    profile = tmp_path_factory.mktemp("profile")
    flags = "--headless=new --no-sandbox --disable-gpu --autoplay-policy=no-user-gesture-required --dump-dom".split()

    def show(path):
        command = [program, *flags, f"--user-data-dir={profile}", "--virtual-time-budget=2500", f"file://{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout

    return show


def test_a_browser_shows_the_page_without_an_error(browser, text, tmp_path):
    (tmp_path / "page.html").write_text(text)
    root = dict(Page(browser(tmp_path / "page.html")).elements)["html"]
    assert root["data-ready"] == "9" and root["class"] == "scripted"
    assert "data-error" not in root


def test_this_test_can_see_an_error_of_the_script(browser, text, tmp_path):
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)[0]
    broken = text.replace(policy, "").replace('classList.add("scripted")', "classList.no.add()")
    (tmp_path / "page.html").write_text(broken)
    assert "data-error" in dict(Page(browser(tmp_path / "page.html")).elements)["html"]


def test_the_policy_keeps_a_foreign_script_from_running(browser, text, tmp_path):
    planted = text.replace("</main>", "<script>document.documentElement.dataset.planted = '1';</script></main>")
    (tmp_path / "page.html").write_text(planted)
    root = dict(Page(browser(tmp_path / "page.html")).elements)["html"]
    assert root["data-ready"] == "9" and "data-planted" not in root


CLICKS = """
const root = document.documentElement;
const row = document.querySelector("#note-2");
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const on = () => [...row.querySelectorAll(".version")].findIndex((v) => v.classList.contains("on")) + 1;
(async () => {
  row.querySelector(".toggle").click();
  await wait(700);
  root.dataset.playing = row.classList.contains("playing") + " " + row.classList.contains("plain");
  press("3");
  root.dataset.chosen = on() + " " + row.classList.contains("playing");
  row.querySelector(".toggle").click();
  root.dataset.stopped = row.classList.contains("playing");
})();
"""


def test_playing_decodes_the_sounds_and_a_key_switches_the_version_while_they_play(browser, text, tmp_path):
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)[0]
    clicked = text.replace(policy, "").replace("</body>", f"<script>{CLICKS}</script></body>")
    (tmp_path / "page.html").write_text(clicked)
    root = dict(Page(browser(tmp_path / "page.html")).elements)["html"]
    assert "data-error" not in root
    assert (root["data-playing"], root["data-chosen"], root["data-stopped"]) == ("true false", "3 true", "false")
