"""Batches as `neuralsynth design` leaves them, made without it: files, rows, places on a map."""

from __future__ import annotations

import json
import os

import numpy as np
import soundfile

from neuralsynth.units import note_name

RATE = 22_050
DESCRIPTORS = (
    ("loudness_lufs", "LUFS", "integrated loudness"),
    ("attack_seconds", "s", "time to rise"),
    ("decay_seconds", "s", "time to fall by 60 dB"),
    ("pitch_hz", "Hz", "fundamental, where there is one"),
    ("centroid_hz", "Hz", "centre of the spectrum"),
    ("noise_db", "dB", "energy between the peaks of the spectrum"),
    ("roughness", "", "beating of partials"),
    ("stereo_width", "", "energy of the side signal, of all"),
    ("brightness", "", "position of centroid_hz"),
)


def tone(pitch_hz, brightness, decay_seconds, noise, seconds, rng):
    """A struck note, `[n]`."""
    t = np.arange(round(seconds * RATE)) / RATE
    audio = noise * rng.standard_normal(len(t)) * np.exp(-t * 9.0 / decay_seconds)
    for k in range(1, int(0.45 * RATE / pitch_hz) + 1):
        audio += (
            k ** -(2.6 - 2.0 * brightness)
            * np.sin(2 * np.pi * k * pitch_hz * t)
            * np.exp(-t * 6.9 * (1 + 0.05 * k) / decay_seconds)
        )
    return 0.4 * audio / np.abs(audio).max()


def made_batch(folder, n, n_files=40, seconds=0.8):
    """`n` rows over `n_files` different sounds (the others are links to them): rows and places on a map."""
    rng = np.random.default_rng(7)
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"digest": f"{n:064x}", "job": {}}))
    rows, originals = [], []
    for index in range(n):
        note, brightness = int(rng.integers(36, 85)), round(float(rng.random()), 4)
        decay, attack = float(np.exp(rng.uniform(-2, 1.5))), float(np.exp(rng.uniform(-5.5, -0.5)))
        name = f"{index:04d}-{'bright' if brightness > 0.5 else 'dark'}-{note_name(note).replace('#', 's')}"
        path = folder / "sounds" / f"{name}.wav"
        path.unlink(missing_ok=True)
        if index < n_files:
            noise = float(rng.random() ** 3)
            soundfile.write(path, tone(440 * 2 ** ((note - 69) / 12), brightness, decay, noise, seconds, rng), RATE)
            originals.append(path)
        else:
            os.link(originals[index % n_files], path)
        rows.append({
            "index": index, "name": name, "file": f"sounds/{name}.wav", "note": note, "velocity": 100, "preset": "upright-piano",
            "digest": f"{index:064x}",
            "changes": {"envelope.attack_seconds": attack, "filter.cutoff_hz": 200.0 * 90.0**brightness, "axes.brightness": 2 * brightness - 1},
            "loudness_lufs": round(float(rng.normal(-23, 4)), 2), "attack_seconds": round(attack, 4), "decay_seconds": round(decay, 3),
            "pitch_hz": None if index % 7 == 3 else round(440 * 2 ** ((note - 69) / 12), 2),
            "centroid_hz": round(100 * 100**brightness, 1), "noise_db": round(float(rng.uniform(-60, 0)), 2),
            "roughness": round(float(rng.random() ** 2), 3), "stereo_width": 0.0, "brightness": brightness,
        })  # fmt: skip
    places = np.array(
        [[0.5 + 0.4 * (r["brightness"] - 0.5) + 0.3 * (r["note"] - 60) / 48, np.log(r["decay_seconds"])] for r in rows]
    )
    places += 0.12 * rng.standard_normal(places.shape)
    return rows, (places - places.min(0)) / (places.max(0) - places.min(0))
