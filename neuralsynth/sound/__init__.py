"""Sound parts: arrays in, arrays out. Nothing here knows of files, MIDI or models."""

#: Width of the vectors the voice kernel works with; partials and bands are padded to multiples of it.
LANES = 16


def padded(count: int) -> int:
    """The next multiple of `LANES`."""
    return -(-count // LANES) * LANES
