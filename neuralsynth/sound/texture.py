"""Texture: what makes a held note live. Each partial, the level and the pitch wander at random around their course.

Each is an Ornstein-Uhlenbeck process of unit variance, ``x' = a·x + sqrt(1 - a²)·draw`` with ``a = exp(-t / T)``, taken
from the end of one plan to the end of the next. Draws come from one table of normal numbers; a voice's seed says where
it begins, so that no two notes are alike and every render is.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from neuralsynth.sound import LANES, padded
from neuralsynth.sound.compiled import inlined
from neuralsynth.sound.layout import (
    DRAW,
    DRAW_STEP,
    N_DRAWS,
    TEXTURE_CENTS,
    TEXTURE_FORGETTING,
    TEXTURE_LEVEL,
    TEXTURED_TO,
    TextureArrays,
)
from neuralsynth.sound.simd import fma, load, mul, splat, store
from neuralsynth.spec import Texture

_OCTAVES_PER_DB = 1.0 / (20.0 * math.log10(2.0))


def texture_arrays(texture: Texture | None, n_partials: int, sample_rate: float, amount: float) -> TextureArrays:
    """The texture of an instrument for voices of `n_partials`; `amount` scales its deviations, 0 switches it off."""
    octaves = np.zeros(padded(n_partials), np.float32)
    numbers = np.zeros(4)
    if texture is not None and amount > 0.0:
        deviations = np.array(texture.partials_db)
        octaves[:] = amount * _OCTAVES_PER_DB * deviations[np.minimum(np.arange(len(octaves)), len(deviations) - 1)]
        forgetting = 1.0 / (texture.seconds * sample_rate)
        numbers[:] = 1.0, amount * texture.level_db * _OCTAVES_PER_DB, amount * texture.cents, forgetting
    return TextureArrays(octaves, numbers, _draws(N_DRAWS + len(octaves)))


@lru_cache(maxsize=8)
def _draws(n: int) -> np.ndarray:
    """Normal numbers, nothing rarer than one in eighty; the voices of all pools read the same."""
    draws = np.random.default_rng(30).standard_normal(n).astype(np.float32)
    return np.clip(draws, -2.5, 2.5)


@inlined
def move_texture(voice, end, voices, texture):
    """Move the texture of a voice on to sample `end`."""
    numbers, states = voices.numbers, voices.states
    elapsed = end - states[voice, TEXTURED_TO]
    if elapsed > 0:
        keep = math.exp(-elapsed * texture.numbers[TEXTURE_FORGETTING])
        fresh = math.sqrt(1.0 - keep * keep)
        place = states[voice, DRAW]
        n_partials = texture.octaves.shape[0]
        for tile in range(0, n_partials, LANES):
            at = voice * n_partials + tile
            kept = mul(load(voices.texture, at), splat(np.float32(keep)))
            store(voices.texture, at, fma(load(texture.draws, place + tile), splat(np.float32(fresh)), kept))
        level, cents = texture.draws[(place + 977) % N_DRAWS], texture.draws[(place + 5309) % N_DRAWS]
        numbers[voice, TEXTURE_LEVEL] = keep * numbers[voice, TEXTURE_LEVEL] + fresh * level
        numbers[voice, TEXTURE_CENTS] = keep * numbers[voice, TEXTURE_CENTS] + fresh * cents
        states[voice, DRAW] = (place + DRAW_STEP) % N_DRAWS
        states[voice, TEXTURED_TO] = end
