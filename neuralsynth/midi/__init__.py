"""What MIDI means, without sound: the implementation chart, the state of a channel, MPE zones, clock, MIDI learn.

`chart` holds the tables that everything here reads and `docs/midi.md` prints; `parameters` adds those of RPNs and
NRPNs, `channel` keeps the state of one channel, `mpe` joins channels into zones, `clock` follows a tempo, `learn`
binds controllers to knobs, `stream` finds the messages in the bytes of a wire.
"""
