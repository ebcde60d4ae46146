"""Drives Chromium by its own protocol through a pipe: pages are opened, clicked, typed into and asked."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --autoplay-policy=no-user-gesture-required --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --mute-audio --remote-debugging-pipe"
).split()
#: Chromium reads commands from file 3 and answers on file 4.
_LAUNCH = """
import os, sys
high = [os.dup2(int(fd), 50 + i) for i, fd in enumerate(sys.argv[1:3])]  # out of the way of 3 and 4
os.dup2(high[0], 3), os.dup2(high[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def chromium():
    """The browser's program; skips the test where there is none, unless CI is set."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed")
    assert program, "chromium is required where CI is set"
    return program


class Browser:
    """A running Chromium."""

    def __init__(self, profile, program=None):
        command_read, self._commands = os.pipe()
        self._answers, answer_write = os.pipe()
        self._buffer, self._numbers, self.events = b"", itertools.count(1), []
        launch = [sys.executable, "-c", _LAUNCH, str(command_read), str(answer_write), program or chromium()]
        self._process = subprocess.Popen(
            [*launch, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(command_read, answer_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(command_read)
        os.close(answer_write)

    def call(self, method, session=None, timeout=60.0, **parameters):
        """Ask the browser something and give its answer; what happens meanwhile is kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for answer in self._received(end - time.monotonic()):
                if answer.get("id") == number:
                    assert "error" not in answer, f"{method}: {answer['error']}"
                    return answer["result"]
        raise AssertionError(f"{method}: no answer in {timeout} s")

    def _received(self, seconds):
        """Answers that have arrived; events among them are put aside."""
        if b"\0" not in self._buffer and select.select([self._answers], [], [], max(seconds, 0.0))[0]:
            data = os.read(self._answers, 1 << 20)
            assert data, "chromium ended"
            self._buffer += data
        *whole, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(one) for one in whole]
        self.events += [one for one in messages if "method" in one]
        return [one for one in messages if "id" in one]

    def page(self, width=1400, height=900, dark=False, touch=False):
        """A new empty page."""
        return BrowserPage(self, width, height, dark, touch)

    def close(self):
        """End it."""
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close", timeout=5.0)
        os.close(self._commands)
        os.close(self._answers)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class BrowserPage:
    """One page of it."""

    def __init__(self, browser, width, height, dark, touch):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._target = target
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method, **parameters):
        """Ask for something of this page."""
        return self.browser.call(method, self.session, **parameters)

    def open(self, address, until="document.documentElement?.dataset.ready", seconds=60.0):
        """Open an address and wait until the page says that it is ready."""
        self.ask("window.isLeft = true")
        self.call("Page.navigate", url=address)
        self.wait(f"!window.isLeft && ({until})", seconds)

    def wait(self, expression, seconds=10.0):
        """Wait until an expression is true, and give its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.ask(expression):
                return value
            time.sleep(0.02)
        raise AssertionError(f"{expression} did not come true in {seconds} s")

    def ask(self, expression):
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def frame(self):
        """Wait for the next two pictures."""
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def click(self, selector):
        """Click in the middle of an element, scrolled to if it is out of sight."""
        where = f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoViewIfNeeded();"
        where += "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        self.click_at(*self.ask(where))

    def click_at(self, x, y):
        """Click somewhere."""
        self.point_at(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.frame()

    def point_at(self, x, y):
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key):
        """Press a key: a letter, or a name such as ArrowRight."""
        codes = {
            "Enter": 13,
            "Escape": 27,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
            " ": 32,
            "Home": 36,
            "End": 35,
        }
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = codes.get(key, ord(key[0].upper()))
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self.frame()

    def write(self, text):
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)
        self.frame()

    def choose(self, selector, value):
        """Set a control to a value, as its user would."""
        told = json.dumps([selector, str(value)])
        self.ask(
            f"(([selector, value]) => {{ const e = document.querySelector(selector); e.value = value;"
            f"e.dispatchEvent(new Event('input', {{bubbles: true}})); e.dispatchEvent(new Event('change', {{bubbles: true}})); }})({told})"
        )
        self.frame()

    def screenshot(self, path):
        """Write a picture of what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def own(self, *methods):
        """Events of this page."""
        return [
            e["params"] for e in self.browser.events if e["method"] in methods and e.get("sessionId") == self.session
        ]

    def complaints(self):
        """Errors of scripts, and what the browser or the page wrote on its console."""
        thrown = [str(e["exceptionDetails"]) for e in self.own("Runtime.exceptionThrown")]
        logged = [str(e) for e in self.own("Runtime.consoleAPICalled", "Log.entryAdded")]
        told = self.ask("document.documentElement.dataset.error")
        return thrown + logged + ([told] if told else [])

    def requests(self):
        """Addresses that the page asked for, data of its own left out."""
        asked = [e["request"]["url"] for e in self.own("Network.requestWillBeSent")]
        return [address for address in asked if not address.startswith(("data:", "blob:"))]

    def close(self):
        """Close it."""
        self.browser.call("Target.closeTarget", targetId=self._target)
