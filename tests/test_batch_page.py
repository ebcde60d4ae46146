"""The page of a batch, in a real browser and from disk: it opens fast, plays, filters, sorts, keeps and exports."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import shlex
import time

import matplotlib.image
import numpy as np
import pytest
import soundfile

from neuralsynth.design.page import PAGE, write_page
from neuralsynth.design.thumbnails import HEIGHT, WIDTH, packed, thumbnail, thumbnail_of_file
from tests.batches import DESCRIPTORS, made_batch
from tests.browser import Browser
from tests.effort import slowness

COUNT, N_FILES = 1000, 40
MOST_SECONDS = 6.0  # to open 1,000 sounds, on a machine that does other things as well
HOSTILE = [
    "</script><img src=x onerror=\"document.documentElement.dataset.error='broke out'\">",
    "<!--<script>\"'&amp;\u2028\u2029\x07",
    "🎹 pad №5 #1 100% ?a=b&c",
    "\u05e9\u05dc\u05d5\u05dd-\u202egnp.\u202c-\u0633\u0644\u0627\u0645",
    "$(touch planted) `touch planted` ';touch planted;'",
    "javascript:document.documentElement.dataset.error='ran'//",
    "constructor", "12", "  spaces  ", "two\nlines",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """1,000 sounds in a folder, with their page; their rows, and the bytes of the page."""
    folder = tmp_path_factory.mktemp("batch")
    rows, places = made_batch(folder, COUNT, N_FILES)
    own = [thumbnail_of_file(folder / row["file"]) for row in rows[:N_FILES]]
    thumbnails = [own[i % N_FILES] for i in range(COUNT)]
    return folder, rows, write_page(folder, rows, places, "Night shift", DESCRIPTORS, thumbnails=thumbnails)


@pytest.fixture
def page(browser, batch):
    """The page of the 1,000, as a new visitor finds it; nothing may have gone wrong at the end."""
    one = browser.page()
    one.open(f"file://{batch[0]}/index.html")
    one.ask("document.querySelector('#player').loop = true")  # it plays for as long as a slow machine needs
    yield one
    one.ask("localStorage.clear()")
    asked = {re.sub(r"[^/]*\.wav$", "*.wav", address) for address in one.requests()}
    assert asked <= {f"file://{batch[0]}/{name}" for name in ("index.html", "sounds/*.wav")}
    assert one.complaints() == []
    one.close()


def shown(page):
    """How many sounds the page says that it shows, and how many its list has room for."""
    page.frame()
    return int(page.ask("document.querySelector('#count').textContent").replace(",", ""))


def listed(page):
    """Names in the list, as far as it is filled, in their order."""
    page.frame()
    return page.ask("[...document.querySelectorAll('.sound')].map((card) => card.dataset.name)")


def narrow(page, name, low=None, high=None):
    """Type a range into a filter."""
    for end, value in ((1, low), (2, high)):
        if value is not None:
            page.choose(f".filter[data-name={name}] input[type=number]:nth-of-type({end})", value)


def test_a_thousand_sounds_are_open_and_in_use_within_seconds(browser, batch):
    one = browser.page()
    began = time.monotonic()
    one.open(f"file://{batch[0]}/index.html")
    opened = time.monotonic() - began
    one.click(".sound .hear")
    one.wait("document.querySelector('#player').currentTime > 0.02")
    used = time.monotonic() - began
    told = float(one.ask("document.documentElement.dataset.milliseconds")) / 1000.0
    one.close()
    print(f"\n{COUNT} sounds, {batch[2] / 1e6:.2f} MB: ready {told:.2f} s, seen {opened:.2f} s, heard {used:.2f} s")
    assert max(told, opened, used) < MOST_SECONDS * slowness()


def test_ten_thousand_sounds_are_only_as_many_elements_as_can_be_seen(browser, tmp_path, monkeypatch):
    rows = [
        {"index": i, "name": f"sound-{i:05d}", "file": f"sounds/{i}.wav", "brightness": (i * 7919 % 10_000) / 1e4}
        for i in range(10_000)
    ]
    head, rest = packed([np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)])
    monkeypatch.setattr("neuralsynth.design.page.packed", lambda given: (head, rest * len(list(given))))
    pixels = [np.zeros((HEIGHT, WIDTH), np.uint8)] * len(rows)
    places = np.random.default_rng(0).random((len(rows), 2))
    write_page(tmp_path, rows, places, "Many", DESCRIPTORS, thumbnails=pixels)
    one = browser.page()
    one.open(f"file://{tmp_path}/index.html")
    assert shown(one) == 10_000
    assert len(listed(one)) < 100
    one.choose("#sort", "brightness")
    one.press("End")
    last = max(rows, key=lambda row: (row["brightness"], row["index"]))["name"]
    assert last in listed(one) and len(listed(one)) < 100
    spent = one.ask(
        "(() => { const start = performance.now(); const e = document.querySelector('#search'); e.value = '77';"
        "e.dispatchEvent(new Event('input')); return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame("
        "() => done(performance.now() - start)))); })()"
    )
    assert shown(one) == sum("77" in row["name"] for row in rows)
    assert spent < 1000.0
    assert one.complaints() == []
    one.close()


def test_a_click_plays_and_another_one_stops(page, batch):
    name = batch[1][1]["name"]
    page.click(f".sound[data-name='{name}'] .hear")
    page.wait("document.querySelector('#player').currentTime > 0.05")
    assert page.ask("document.documentElement.dataset.playing") == name
    assert page.ask("decodeURIComponent(document.querySelector('#player').src)").endswith(f"/sounds/{name}.wav")
    assert page.ask("document.querySelector('.sound.playing.selected').dataset.name") == name
    page.click(f".sound[data-name='{name}'] .hear")
    assert page.ask("document.querySelector('#player').paused")
    assert page.ask("document.querySelectorAll('.playing').length") == 0


def test_only_one_sound_is_heard_and_escape_stops_it(page, batch):
    rows = batch[1]
    page.click(f".sound[data-name='{rows[0]['name']}'] .hear")
    page.click(f".sound[data-name='{rows[2]['name']}'] .hear")
    page.wait(f"document.documentElement.dataset.playing === '{rows[2]['name']}'")
    assert page.ask("document.querySelectorAll('audio').length") == 1
    assert page.ask("[...document.querySelectorAll('.sound.playing')].map((c) => c.dataset.name)") == [rows[2]["name"]]
    page.press("Escape")
    assert page.ask("document.querySelector('#player').paused")


def test_a_sound_that_has_ended_is_no_longer_playing(page):
    page.ask("document.querySelector('#player').loop = false")
    page.click(".sound .hear")
    page.wait("document.documentElement.dataset.playing")
    page.wait("!document.documentElement.dataset.playing && !document.querySelector('.playing')")


def test_the_map_shows_what_lies_under_the_pointer_and_plays_it(page, batch):
    folder, rows, _ = batch
    data = json.loads(re.search(r'id="data">(.*?)</script>', (folder / "index.html").read_text())[1])
    # A sound that lies by itself: far from all others, in the pixels of the map.
    x0, y0, width, height = page.ask(
        "(() => { const b = document.querySelector('#map').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
    )
    at = np.stack([18 + np.array(data["x"]) * (width - 36), height - 18 - np.array(data["y"]) * (height - 36)], axis=1)
    away = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) + 1e9 * np.eye(COUNT)
    lonely = int(np.argmax(np.where((at[:, 1] > 60) & (at[:, 1] < height - 20), away.min(axis=1), 0.0)))
    x, y = at[lonely] + (x0, y0)
    page.point_at(x, y)
    page.frame()
    assert page.ask("document.querySelector('#tip .name').textContent") == rows[lonely]["name"]
    assert page.ask("document.querySelector('#tip img').naturalWidth") == WIDTH
    page.click_at(x, y)
    page.wait("document.querySelector('#player').currentTime > 0.02")
    assert page.ask("document.querySelector('#detail-name').textContent") == rows[lonely]["name"]
    assert rows[lonely]["name"] in listed(page)  # the list follows
    for _ in range(3):
        page.click("#zoom-in")
    page.click("#zoom-all")
    page.click_at(x, y)
    assert page.ask("document.querySelector('#player').paused")


def test_pointing_plays_when_it_is_asked_to(page):
    box = page.ask(
        "(() => { const b = document.querySelector('#map').getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.point_at(*box)
    page.frame()
    assert not page.ask("document.documentElement.dataset.playing")
    page.click("#audition")
    page.point_at(box[0] + 20, box[1] + 12)
    page.wait("document.documentElement.dataset.playing")


def test_keys_move_play_and_mark(page, batch):
    rows = batch[1]
    across = page.ask(
        "new Set([...document.querySelectorAll('.sound')].map((c) => Math.round(c.getBoundingClientRect().x))).size"
    )
    assert across >= 2

    def selected():
        return page.ask("document.querySelector('#detail-name').textContent")

    assert selected() == rows[0]["name"]
    for key, index in (
        ("ArrowDown", across),
        ("ArrowRight", across + 1),
        ("ArrowUp", 1),
        ("ArrowLeft", 0),
        ("End", COUNT - 1),
    ):
        page.press(key)
        assert selected() == rows[index]["name"], key
    assert rows[-1]["name"] in listed(page)
    page.press(" ")
    page.wait(f"document.documentElement.dataset.playing === '{rows[-1]['name']}'")
    page.press(" ")
    assert page.ask("document.querySelector('#player').paused")
    page.press("f")
    assert page.ask("document.querySelector('#starred').textContent") == "1"
    assert page.ask("document.querySelector('#star').ariaPressed") == "true"
    page.press("/")
    page.write("f ")  # what is typed is text
    assert page.ask("document.querySelector('#starred').textContent") == "1"
    assert page.ask("document.querySelector('#search').value") == "f "


RANGES = [
    {"brightness": (0.25, 0.5)},
    {"decay_seconds": (0.3, None)},
    {"centroid_hz": (None, 1234.5), "noise_db": (-30, -3)},
    {"pitch_hz": (None, 500)},  # sounds without a pitch do not pass
    {"note": (48, 60), "roughness": (0.9, None), "loudness_lufs": (-25, -20)},
]


@pytest.mark.parametrize("ranges", RANGES)
def test_filters_keep_exactly_the_sounds_in_their_ranges(page, batch, ranges):
    for name, (low, high) in ranges.items():
        narrow(page, name, low, high)

    def passes(row):
        return all(
            row[name] is not None and (low is None or row[name] >= low) and (high is None or row[name] <= high)
            for name, (low, high) in ranges.items()
        )

    wanted = [row["name"] for row in batch[1] if passes(row)]
    assert shown(page) == len(wanted) < COUNT
    assert listed(page)[:12] == wanted[:12]
    page.click("#reset")
    assert shown(page) == COUNT


def test_a_handle_applies_the_number_that_it_shows(page, batch):
    page.choose(".filter[data-name=decay_seconds] input[type=range]:last-of-type", 400)
    high = float(
        page.ask("document.querySelector('.filter[data-name=decay_seconds] input[type=number]:nth-of-type(2)').value")
    )
    assert shown(page) == sum(row["decay_seconds"] <= high for row in batch[1])
    assert 0.2 < shown(page) / COUNT < 0.6  # made evenly over the logarithm, and so the handle moves
    page.choose(".filter[data-name=decay_seconds] input[type=range]:last-of-type", 1000)
    assert shown(page) == COUNT


def test_search_keeps_names_with_all_words_in_whatever_case(page, batch):
    page.click("#search")
    page.write("BRIGHT 7")
    assert shown(page) == sum("bright" in row["name"] and "7" in row["name"] for row in batch[1])
    narrow(page, "note", 60, 60)
    assert shown(page) == sum("bright" in r["name"] and "7" in r["name"] and r["note"] == 60 for r in batch[1])
    assert page.ask("document.querySelector('#none').hidden")
    page.write(" zzz")
    assert shown(page) == 0 and listed(page) == [] and not page.ask("document.querySelector('#none').hidden")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", ["pitch_hz", "roughness", "name", "index"])
def test_the_list_is_in_the_order_that_is_asked_for(page, batch, name, descending):
    page.choose("#sort", name)
    if descending:
        page.click("#direction")
    known = [row for row in batch[1] if row[name] is not None]
    sign = -1 if descending else 1
    if isinstance(known[0][name], str):
        wanted = sorted(known, key=lambda row: row[name], reverse=descending)
    else:
        wanted = sorted(known, key=lambda row: (sign * row[name], row["index"]))
    wanted += [row for row in batch[1] if row[name] is None]  # last, up or down
    assert listed(page)[:12] == [row["name"] for row in wanted[:12]]
    page.press("ArrowRight")
    page.press("End")
    assert page.ask("document.querySelector('#detail-name').textContent") == wanted[-1]["name"]


def star(page, names):
    for name in names:
        page.click(f".sound[data-name='{name}'] .star")


def test_favourites_are_there_again_after_a_reload_and_only_in_their_batch(page, batch, browser, tmp_path):
    names = [batch[1][i]["name"] for i in (5, 1, 7)]
    star(page, names)
    page.open(f"file://{batch[0]}/index.html")
    assert page.ask("document.querySelector('#starred').textContent") == "3"
    page.click("#only")
    assert listed(page) == sorted(names) and shown(page) == 3
    star(page, names[:1])  # and no longer
    assert listed(page) == sorted(names[1:])
    rows, places = made_batch(tmp_path, 12, 2, 0.1)
    write_page(tmp_path, rows, places, "Another", DESCRIPTORS)
    one = browser.page()
    one.open(f"file://{tmp_path}/index.html")
    assert one.ask("document.querySelector('#starred').textContent") == "0"
    assert one.ask("document.querySelector('#save').disabled")
    one.close()


def test_the_saved_list_is_what_was_marked_one_name_on_each_line(page, batch, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    names = [batch[1][i]["name"] for i in (8, 0, 3)]
    star(page, names)
    page.click("#save")
    path = tmp_path / "favourites.txt"
    end = time.monotonic() + 10.0
    while not (path.exists() and path.stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    assert path.read_text() == "".join(f"{name}\n" for name in sorted(names))
    page.ask(
        "navigator.clipboard.writeText = (text) => { document.body.dataset.copied = text; return Promise.resolve(); }"
    )
    page.click("#copy")
    assert page.ask("document.body.dataset.copied") == path.read_text()
    # The list of another visit is marked again.
    node = page.call("DOM.getDocument")["root"]["nodeId"]
    field = page.call("DOM.querySelector", nodeId=node, selector="#list-file")["nodeId"]
    path.write_text(f"{batch[1][9]['name']}\r\nno such sound\r\n\r\n")
    page.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])
    page.wait("document.querySelector('#starred').textContent === '4'")


def test_a_selected_sound_tells_its_numbers_knobs_and_how_to_render_it_again(page, batch):
    folder, rows, _ = batch
    page.click(f".sound[data-name='{rows[3]['name']}'] .hear")
    told = page.ask(
        "Object.fromEntries([...document.querySelectorAll('#detail-values dt')].map((e) => [e.textContent, e.nextSibling.textContent]))"
    )
    assert told["pitch"] == "\N{EN DASH}"  # it has none
    assert float(told["noise"].removesuffix(" dB")) == pytest.approx(rows[3]["noise_db"], rel=0.01)
    assert float(told["centroid"].removesuffix(" Hz")) == pytest.approx(rows[3]["centroid_hz"], rel=0.01)
    assert set(told) == {
        "loudness",
        "attack",
        "decay",
        "pitch",
        "centroid",
        "noise",
        "roughness",
        "stereo width",
        "brightness",
        "note",
    }
    knobs = page.ask(
        "Object.fromEntries([...document.querySelectorAll('#detail-changes dt')].map((e) => [e.textContent, Number(e.nextSibling.textContent)]))"
    )
    assert knobs == pytest.approx(rows[3]["changes"], rel=0.01)
    command = page.ask("document.querySelector('#command').textContent")
    assert command == f"neuralsynth again {folder} 3 -o {rows[3]['name']}.wav"


def test_hostile_names_do_no_harm(browser, tmp_path):
    rows, places = made_batch(tmp_path, len(HOSTILE), 2, 0.3)
    for row, name in zip(rows, HOSTILE, strict=True):
        file = "sounds/" + re.sub(r"[/\x00]", "_", name)[:60] + ".wav"
        (tmp_path / row["file"]).rename(tmp_path / file)
        row |= {"name": name, "file": file, "preset": name, "changes": {name: 0.5}}
    write_page(tmp_path, rows, places, HOSTILE[0], [(HOSTILE[0], HOSTILE[1], HOSTILE[2]), *DESCRIPTORS])
    one = browser.page()
    one.open(f"file://{tmp_path}/index.html")
    assert one.ask("document.querySelector('h1').textContent") == HOSTILE[0]
    assert listed(one) == HOSTILE
    assert one.ask("document.querySelectorAll('script').length") == 1  # the data went when it was read
    assert one.ask("document.querySelectorAll('[onerror], iframe, object').length") == 0
    for index, name in enumerate(HOSTILE):
        assert one.ask("document.querySelector('#detail-name').textContent") == name
        one.press(" ")
        one.wait("document.querySelector('#player').currentTime > 0.01")  # whatever it is called, it is found
        one.press("Escape")
        one.press("f")
        shown_command = one.ask("document.querySelector('#command').textContent")
        one.press("ArrowRight")
        words = shlex.split(shown_command)
        assert words == ["neuralsynth", "again", str(tmp_path), str(index), "-o", f"{name}.wav"]
    one.ask(
        "navigator.clipboard.writeText = (text) => { document.body.dataset.copied = text; return Promise.resolve(); }"
    )
    one.click("#copy")
    lines = one.ask("document.body.dataset.copied").splitlines()
    numbered = (1, 7, 8, 9)  # control characters, digits, spaces and lines are no name on a line
    assert lines == [str(i) if i in numbered else name for i, name in enumerate(HOSTILE)]
    assert one.complaints() == []
    one.close()


def test_what_was_not_measured_and_what_is_not_there_break_nothing(browser, tmp_path):
    rows = [
        {"index": 4, "name": "bare", "file": "sounds/bare.wav"},
        {
            "index": 9,
            "name": "nothing",
            "file": "sounds/nothing.wav",
            "pitch_hz": math.nan,
            "decay_seconds": None,
            "note": None,
            "changes": None,
        },
        {
            "index": 11,
            "name": "some",
            "file": "sounds/some.wav",
            "brightness": 0.5,
            "roughness": np.float32(0.25),
            "note": 60,
        },
        {"index": 12, "name": "more", "file": "sounds/more.wav", "brightness": math.inf, "roughness": 0.75},
    ]
    write_page(tmp_path, rows, np.array([[0.5, 0.5], [math.nan, 0.2], [0, 1], [1, 0]]), "Bare", DESCRIPTORS)
    one = browser.page()
    one.open(f"file://{tmp_path}/index.html")
    assert one.ask("[...document.querySelectorAll('.filter')].map((f) => f.dataset.name)") == ["roughness"]
    assert listed(one) == ["bare", "nothing", "some", "more"]
    narrow(one, "roughness", 0.5)
    assert listed(one) == ["more"]
    one.click("#reset")
    for _ in rows:
        one.press("ArrowRight")
    assert one.ask("document.querySelector('#command-line').hidden")  # nothing says how they were made
    one.press(" ")
    one.wait("document.querySelector('#message').textContent.includes('sounds/more.wav cannot be played')")
    assert not one.ask("document.documentElement.dataset.error")
    one.close()
    write_page(tmp_path, [], np.zeros((0, 2)), "Empty", DESCRIPTORS)
    one = browser.page()
    one.open(f"file://{tmp_path}/index.html")
    one.press("ArrowRight")
    one.press(" ")
    assert shown(one) == 0 and one.complaints() == []
    one.close()


def test_with_its_sounds_inside_the_page_can_be_sent_alone(browser, tmp_path):
    rows, places = made_batch(tmp_path, 3, 3, 0.5)
    (tmp_path / "alone").mkdir()
    write_page(tmp_path, rows, places, "Small", DESCRIPTORS, embed=True)
    (tmp_path / PAGE).rename(tmp_path / "alone" / PAGE)
    one = browser.page()
    one.open(f"file://{tmp_path}/alone/index.html")
    one.click(".sound .hear")
    one.wait("document.querySelector('#player').currentTime > 0.05")
    assert one.ask("document.querySelector('#player').duration") == pytest.approx(0.5, abs=0.05)
    assert one.requests() == [f"file://{tmp_path}/alone/index.html"]
    assert one.complaints() == []
    one.close()


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(browser, batch, dark):
    one = browser.page(width=390, height=844, dark=dark, touch=True)
    one.open(f"file://{batch[0]}/index.html")
    assert one.ask("document.documentElement.scrollWidth") <= 390
    assert not one.ask("document.querySelector('#filters').open")
    one.click("#filters summary")
    narrow(one, "brightness", 0.5)
    assert shown(one) == sum(row["brightness"] >= 0.5 for row in batch[1])
    one.ask("document.querySelector('#grid').scrollIntoView()")
    assert 4 <= len(listed(one)) < 60
    one.click(".sound .hear")
    one.wait("document.querySelector('#player').currentTime > 0.02")
    assert one.ask(
        "!document.querySelector('#now').hidden && document.querySelector('#now').getBoundingClientRect().bottom <= 844.5"
    )
    assert one.ask("document.documentElement.scrollWidth") <= 390
    ground, ink = one.ask(
        "['backgroundColor', 'color'].map((n) => getComputedStyle(document.body)[n].match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
    )
    assert (ground < ink) is dark and abs(ground - ink) > 400
    assert one.complaints() == []
    one.close()


def test_everything_that_can_be_pressed_has_a_name(page):
    page.click(".sound .hear")
    nameless = page.ask(
        "[...document.querySelectorAll('button, input:not([hidden]), select, a')].filter((e) => !(e.ariaLabel || e.textContent.trim()"
        " || e.labels?.length)).map((e) => e.outerHTML)"
    )
    assert nameless == []
    ids = page.ask("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_a_planted_script_does_not_run_and_an_error_would_be_seen(browser, batch, tmp_path):
    text = (batch[0] / "index.html").read_text()
    planted = text.replace("</main>", "<script>document.documentElement.dataset.planted = '1';</script></main>")
    (tmp_path / "planted.html").write_text(planted)
    one = browser.page()
    one.open(f"file://{tmp_path}/planted.html")
    assert not one.ask("document.documentElement.dataset.planted")
    assert one.complaints()  # the browser says that it was refused
    one.close()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)[0]
    (tmp_path / "broken.html").write_text(
        text.replace(policy, "").replace("fillChoices();\nfind", "fillNothing();\nfind")
    )
    one = browser.page()
    one.open(f"file://{tmp_path}/broken.html", until="document.documentElement?.dataset.error")
    assert "fillNothing" in str(one.complaints())
    one.close()


def test_the_page_refers_to_nothing_but_its_sounds(batch):
    text = (batch[0] / "index.html").read_text()
    markup = re.sub(r"<(script|style)[ >].*?</\1>", "", text, flags=re.DOTALL)
    for attribute in re.findall(r'(?:src|href|srcset|action|data|poster)="([^"]*)"', markup):
        assert html.unescape(attribute) == "data:,", attribute
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text


def test_the_same_batch_gives_the_same_page(batch, tmp_path):
    rows, places = made_batch(tmp_path, 5, 5, 0.2)
    size = write_page(tmp_path, rows, places, "Same", DESCRIPTORS)
    first = (tmp_path / "index.html").read_bytes()
    own = [thumbnail_of_file(tmp_path / row["file"]) for row in rows]
    assert write_page(tmp_path, rows, places, "Same", DESCRIPTORS, thumbnails=own) == size == len(first)
    assert (tmp_path / "index.html").read_bytes() == first
    with pytest.raises(ValueError, match="5 rows, 4 positions"):
        write_page(tmp_path, rows, places[:4], "Same", DESCRIPTORS)


def test_a_thumbnail_shows_pitch_time_and_level():
    rate = 44_100
    t = np.arange(2 * rate) / rate
    tone = np.where(t < 1.0, np.sin(2 * np.pi * 800.0 * t), 0.01 * np.sin(2 * np.pi * 3200.0 * t))
    stereo = np.stack([tone, tone]).astype(np.float32)
    pixels = thumbnail(stereo, rate)
    assert pixels.shape == (HEIGHT, WIDTH) and pixels.dtype == np.uint8

    def row(pitch_hz):
        return HEIGHT * (1 - math.log(pitch_hz / 40) / math.log(16_000 / 40))

    assert abs(np.argmax(pixels[:, WIDTH // 4]) + 0.5 - row(800)) <= 1.5
    assert abs(np.argmax(pixels[:, 3 * WIDTH // 4]) + 0.5 - row(3200)) <= 1.5
    below_db = (255 - int(pixels[:, 3 * WIDTH // 4].max())) * 90 / 255
    assert below_db == pytest.approx(40.0, abs=4.0)  # a step of the scale
    assert pixels.max() == 255
    assert np.array_equal(thumbnail(0.1 * stereo, rate), pixels)  # the level of the whole is no matter
    assert not thumbnail(np.zeros((1, 100), np.float32), rate).any()


def test_thumbnails_are_whole_pictures(tmp_path):
    pixels = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    head, (rest,) = packed([pixels])
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(head + rest)))
    assert picture.shape[:2] == (HEIGHT, WIDTH)
    assert picture[0, 0, :3].sum() < 0.1 and picture[-1, -1, :3].sum() > 2.0
    with pytest.raises(ValueError, match="thumbnail is"):
        packed([pixels.T])
    (tmp_path / "no.wav").write_bytes(b"no sound")
    assert not thumbnail_of_file(tmp_path / "no.wav").any()
    soundfile.write(tmp_path / "yes.wav", np.sin(np.arange(4000) / 5), 22_050)
    assert thumbnail_of_file(tmp_path / "yes.wav").any()
