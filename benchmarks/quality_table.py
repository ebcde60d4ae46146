"""Prints the quality of the shipped instruments, as their files carry it, as a Markdown table.

python benchmarks/quality_table.py
"""

from __future__ import annotations

from neuralsynth.model import InstrumentModel
from neuralsynth.preset import shipped_folder

HEADER = ("instrument", "floor", "reconstruct", "play", "interpolated", "sampler", "play / sampler")


def rows() -> list[tuple[str, ...]]:
    """One row per shipped instrument."""
    table = []
    for path in sorted(shipped_folder().glob("*.onnx")):
        quality = InstrumentModel.load(path).spec.quality
        if quality is not None:
            q = quality
            numbers = (q.floor_db, q.reconstruct_db, q.play_db, q.interpolated_db, q.sampler_db)
            table.append((path.stem, *(f"{n:.2f}" for n in numbers), f"{q.play_db / q.sampler_db:.2f}"))
    return table


def markdown() -> str:
    """The table."""
    lines = [" | ".join(HEADER), " | ".join(["---"] + ["--:"] * (len(HEADER) - 1)), *(" | ".join(r) for r in rows())]
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    print(markdown())
