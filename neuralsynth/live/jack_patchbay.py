"""`Patchbay`: which ports of other programs those of a JACK client are connected to.

A connection is written `"out_1>system:playback_1"` or `"a2j:keyboard (capture): midi>midi_in"`: from where the signal
comes, `>`, where it goes. Our own port stands without the client's name, which the server may change.
"""

from __future__ import annotations

from collections.abc import Iterable

OUTPUTS = ("out_1", "out_2")
MIDI_INPUT = "midi_in"


class Patchbay:
    """The ports of one client. Reading needs no answer from the server, connecting does."""

    def __init__(self, client, has_midi: bool, refusal: type[Exception]) -> None:
        """Register the ports.

        Args:
            client: of JACK-Client, active, so that its ports can be connected as soon as they are seen.
            has_midi: whether to have a MIDI input.
            refusal: what `client` raises where the server refuses.
        """
        self.outputs = [client.outports.register(name) for name in OUTPUTS]
        self.midi_in = client.midi_inports.register(MIDI_INPUT) if has_midi else None
        self._client, self._refusal = client, refusal

    def to_speakers(self) -> list[str]:
        """The outputs to the first two physical ones, both to the same one where there is no second."""
        ports = self._client.get_ports(is_audio=True, is_input=True, is_physical=True)
        if len(ports) == 1:
            ports = ports * 2
        return [f"{output}>{port.name}" for output, port in zip(OUTPUTS, ports, strict=False)]

    def from_keyboards(self) -> list[str]:
        """Every physical MIDI port to ours."""
        if self.midi_in is None:
            return []
        ports = self._client.get_ports(is_midi=True, is_output=True, is_physical=True)
        return [f"{port.name}>{MIDI_INPUT}" for port in ports]

    def connect(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Make these connections; gives those that do not stand yet.

        Their other end is not there, or the server (PipeWire) has not told yet that they stand.
        """
        return tuple(text for text in wanted if not self._connect(text))

    def _connect(self, text: str) -> bool:
        source, target = _ends(text)
        port, other = self._own(source), target
        if port is None:
            port, other = self._own(target), source
        if port is None:
            return True  # no port of ours: nothing to wait for
        try:
            if all(found.name != other for found in port.connections):
                self._client.connect(*((port, other) if port in self.outputs else (other, port)))
            return any(found.name == other for found in port.connections)
        except self._refusal:
            return False

    def is_there(self, text: str) -> bool:
        """Whether the other end of a connection exists."""
        try:
            self._client.get_port_by_name(other_end(text))
        except self._refusal:
            return False
        return True

    def _own(self, name: str):
        if name in OUTPUTS:
            return self.outputs[OUTPUTS.index(name)]
        return self.midi_in if name == MIDI_INPUT else None

    def connections(self) -> tuple[str, ...]:
        """Those that stand."""
        found = [f"{name}>{o.name}" for name, p in zip(OUTPUTS, self.outputs, strict=True) for o in p.connections]
        if self.midi_in is not None:
            found += [f"{other.name}>{MIDI_INPUT}" for other in self.midi_in.connections]
        return tuple(found)


def other_end(text: str) -> str:
    """The port of another program in a connection."""
    source, target = _ends(text)
    return target if source in OUTPUTS else source


def _ends(text: str) -> tuple[str, str]:
    """A connection's source and target. Names of other programs may contain a `>`, ours do not."""
    head, sign, tail = text.partition(">")
    if sign and head in OUTPUTS:
        return head, tail
    head, sign, tail = text.rpartition(">")
    return head, tail
