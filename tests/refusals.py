"""What a user is told when a file is refused: one printable line that begins with the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuralsynth.errors import PresetError


def refused(load: Callable[[Path], Any], path: Path, text: str | bytes, *words: str) -> str:
    """Loading a file of this text raises a PresetError with these words; returns what it says."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PresetError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    for word in words:
        assert word in message
    return message
