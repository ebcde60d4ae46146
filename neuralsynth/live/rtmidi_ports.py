"""MIDI ports of the system: the only import of python-rtmidi.

One `MidiSystem` at a time: the ALSA sequencer, CoreMIDI or Windows, else JACK. JACK needs care. When its server dies,
rtmidi tells nobody and goes on listing the ports of before; and if a client is made while old ones are still there,
closing those crashes the process. So a JACK system sends itself a message now and then, and is closed whole when
none comes back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neuralsynth.errors import DeviceError, MissingExtra, one_line
from neuralsynth.live.careful import quietly

#: By this our own clients and ports are known; they are never listened to.
OWN_NAME = "neuralsynth"
_CLIENT = f"{OWN_NAME}-midi"  # JACK gives a name once, and the audio client is to have the short one
_LOST_BEATS = 3  # after so many questions in a row without an answer the server is gone
_ACTIVE_SENSING = 0xFE
#: For a callback under way to end: closing waits for its thread, which waits for the interpreter that closing holds.
_CALLBACK_SECONDS = 0.02
_REFUSED_SECONDS = 0.1
_REFUSALS = (OSError, SystemError, RuntimeError, ValueError)  # rtmidi's own errors are OSErrors

Listener = Callable[[Sequence[int]], None]


class MidiSystem:
    """One MIDI system, held open: which ports it has, and listening to them.

    `close` every port before the system.
    """

    def __init__(self, api: int) -> None:
        """Open the system that rtmidi knows by this number; `find_system` chooses one.

        Raises:
            DeviceError: it is not there.
        """
        self._api = api
        self.name = _rtmidi().get_api_display_name(api)
        self._watch_name = f"{OWN_NAME}-watch-{os.getpid()}"
        self._heart: Any = None
        self._heard, self._n_lost = True, 0
        self._watch = self._new_input(self._watch_name)
        if api == _rtmidi().API_UNIX_JACK:
            try:
                self._start_heart()
            except DeviceError:
                self.close()
                raise

    def names(self) -> list[str]:
        """The ports that can be listened to, all different."""
        return [name for name in _distinct(_port_names(self._watch)) if not name.casefold().startswith(OWN_NAME)]

    def listen(self, name: str, listener: Listener) -> MidiPort:
        """Open a port of `names`; `listener` gets each message, in a thread of the system's own.

        Raises:
            DeviceError: it is gone, or refuses.
        """
        port = self._new_input(_CLIENT)
        try:
            _connect(port, _distinct(_port_names(port)).index(name), listener)
        except _REFUSALS as error:
            _close(port)
            raise DeviceError(f"MIDI port {name!r} cannot be opened ({error}); is another program using it?") from error
        return MidiPort(port)

    def listen_virtual(self, listener: Listener) -> MidiPort:
        """Make a port of our own, to which other programs connect.

        Raises:
            DeviceError: this system has none.
        """
        port = self._new_input(_CLIENT)
        try:
            _connect(port, None, listener)
        except (*_REFUSALS, NotImplementedError) as error:
            _close(port)
            raise DeviceError(f"{self.name} makes no MIDI port {OWN_NAME!r} ({error}); connect a keyboard") from error
        return MidiPort(port)

    def is_alive(self) -> bool:
        """Whether the system still answers. For JACK each call asks a question, which the next ones look for."""
        if self._heart is None:
            return True
        self._n_lost = 0 if self._heard else self._n_lost + 1
        self._heard = False
        if self._n_lost >= _LOST_BEATS:
            return False
        try:
            self._heart.send_message([_ACTIVE_SENSING])
        except _REFUSALS:
            return False
        return True

    def close(self) -> None:
        """Let go of it."""
        _close(self._watch)
        if self._heart is not None:
            _close(self._heart)

    def _new_input(self, client: str) -> Any:
        """A client; a JACK server that another one leaves at this moment may refuse the first time."""
        for is_last in (False, False, True):
            try:
                return _rtmidi().MidiIn(self._api, client)
            except _REFUSALS as error:
                if is_last or self._api != _rtmidi().API_UNIX_JACK:
                    raise DeviceError(f"{self.name}: {error}") from error
                time.sleep(_REFUSED_SECONDS)
        raise AssertionError

    def _start_heart(self) -> None:
        try:
            self._heart = _rtmidi().MidiOut(self._api, self._watch_name + "-out")
            self._heart.open_virtual_port("beat")
            index = _port_names(self._watch).index(f"{self._watch_name}-out:beat")
            _connect(self._watch, index, self._hear)
        except _REFUSALS as error:
            raise DeviceError(f"{self.name}: {error}") from error

    def _hear(self, _message: Sequence[int]) -> None:
        self._heard = True


class MidiPort:
    """A port that is listened to."""

    def __init__(self, port: Any) -> None:
        """`MidiSystem` makes these."""
        self._port = port

    def close(self) -> None:
        """Stop listening."""
        _close(self._port)


def find_system() -> MidiSystem:
    """The first MIDI system that works here, JACK last.

    Raises:
        MissingExtra: python-rtmidi is not installed.
        DeviceError: there is none; the text says what each one answered.
    """
    rtmidi, answers = _rtmidi(), []
    for api in sorted(rtmidi.get_compiled_api(), key=lambda api: api == rtmidi.API_UNIX_JACK):
        if api == rtmidi.API_RTMIDI_DUMMY:
            continue
        try:
            return MidiSystem(api)
        except DeviceError as error:
            answers.append(str(error))
    raise DeviceError(f"no MIDI system works here ({'; '.join(answers)}); load the ALSA sequencer or start JACK")


@dataclass(frozen=True)
class MidiInterface:
    """One way of the system to speak MIDI, with the ports that a keyboard may be at."""

    name: str  # as rtmidi calls it: "ALSA", "Jack", "CoreMidi", "WinMM"
    ports: tuple[str, ...]
    problem: str = ""  # why it cannot be used


def midi_interfaces() -> list[MidiInterface]:
    """All interfaces that rtmidi knows on this system, and their input ports now.

    Raises:
        MissingExtra: python-rtmidi is not installed.
    """
    rtmidi = _rtmidi()
    return [_interface(api) for api in rtmidi.get_compiled_api() if api != rtmidi.API_RTMIDI_DUMMY]


def _interface(api: int) -> MidiInterface:
    rtmidi = _rtmidi()
    name = rtmidi.get_api_display_name(api)
    try:
        with quietly():
            port = rtmidi.MidiIn(api, f"{OWN_NAME}-probe")
            try:
                return MidiInterface(name, tuple(_port_names(port)))
            finally:
                port.delete()
    except Exception as error:  # noqa: BLE001 - rtmidi raises SystemError and kinds of its own
        return MidiInterface(name, (), one_line(error, 120))


def _rtmidi() -> Any:
    try:
        import rtmidi
    except (ImportError, OSError) as error:
        raise MissingExtra("MIDI ports need python-rtmidi: pip install python-rtmidi") from error
    return rtmidi


def _connect(port: Any, index: int | None, listener: Listener) -> None:
    port.ignore_types(sysex=False, timing=False, active_sense=False)
    port.set_callback(lambda event, _: listener(event[0]))
    if index is None:
        port.open_virtual_port(OWN_NAME)
    else:
        port.open_port(index, "in")


def _close(port: Any) -> None:
    with contextlib.suppress(*_REFUSALS):
        if hasattr(port, "cancel_callback"):
            port.cancel_callback()
            time.sleep(_CALLBACK_SECONDS)
        port.close_port()
    port.delete()


def _port_names(port: Any) -> list[str]:
    try:
        return port.get_ports()
    except UnicodeDecodeError:
        return port.get_ports(encoding="latin-1")


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names; of equal ones the second is followed by (2), and so on."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
