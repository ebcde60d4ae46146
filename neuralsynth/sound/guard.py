"""The output guard: the last thing every sample passes, and no preset can turn it off.

What it promises for any input: every sample is finite and at most 0.99 of full scale, and a sound that
needs no guarding passes bit for bit. Four things act, all decided sample by sample or on a
grid of samples counted from power-on, so that the cut into blocks never matters:

- *Bad samples.* NaN and infinity are muted; the sound fades back in over `FADE_SECONDS` after the last one.
  `found_fault` tells the caller, who then resets what went wrong before the guard.
- *Peaks.* A limiter without look-ahead, hence without latency: the gain drops at once to what the louder
  channel needs, holds, then recovers exponentially. Both channels get the same gain, so the image stays.
- *Absurd level.* A sound that needs more than 20 dB of limiting for a second is no music: it is muted.
- *Full-scale noise.* A loud signal that two-tap linear prediction cannot foresee (a sine, a chord or a
  drum it can, white noise it cannot; Makhoul, "Linear prediction: a tutorial review", 1975) for a second is muted too.

The last two fade back in after the input has been harmless for as long as it was not.
"""

from __future__ import annotations

import numpy as np

from neuralsynth.sound.compiled import compiled, inlined

_CEILING = np.nextafter(np.float32(0.99), np.float32(0.0))  # the largest float32 that is at most 0.99
CEILING = float(_CEILING)
_CEILING_BITS, _ALL_BUT_SIGN = _CEILING.view(np.int32), np.int32(0x7FFFFFFF)
FADE_SECONDS = 0.010
HOLD_SECONDS = 0.005
RELEASE_SECONDS = 0.100
ABSURD_GAIN = 0.1  # -20 dB
AUDIBLY_LIMITED = 10.0 ** (-1.0 / 20.0)
PATIENCE_SECONDS = 1.0
NOISE_POWER = 0.04  # mean square per channel after limiting: -14 dB of full scale
NOISE_PREDICTION = 0.5  # share of the power that prediction leaves over: 1 is white, 0 is a sine
AVERAGE_SECONDS = 0.050

# Both channels in one sum: unequal weights, so that opposite channels do not cancel; squares add up to 1.
_FIRST, _OTHER = np.float32(0.8507), np.float32(0.5257)

#: Samples, counted from power-on, after which power, prediction and patience are worked out anew.
_GROUP = 32

# Places in the state vector of the kernel.
_GAIN, _HOLD, _FADE, _PATIENCE, _MUTED, _WAS_BAD, _R0, _R1, _R2, _FILLED, _N_ABSURD, _N_BAD = range(12)


class OutputGuard:
    """Keeps `float32 [n_channels, n]` blocks of one or two channels harmless.

    `faults` counts stretches of non-finite input, `limited_samples` samples that the limiter lowered by 1 dB or more.
    """

    def __init__(self, sample_rate: float, n_channels: int = 2):
        self.faults = self.limited_samples = 0
        self.found_fault = False
        self._settings = np.array(
            [
                HOLD_SECONDS * sample_rate,
                1.0 - np.exp(-1.0 / (RELEASE_SECONDS * sample_rate)),
                1.0 / max(FADE_SECONDS * sample_rate, 1.0),
                PATIENCE_SECONDS * sample_rate,
                1.0 - np.exp(-_GROUP / (AVERAGE_SECONDS * sample_rate)),
            ]
        )
        self._state = np.zeros(12)
        self._recent = np.zeros(_GROUP + 2, np.float32)  # both channels in one, the group of now after two samples
        self.reset()
        self.process(np.zeros((n_channels, 0), np.float32))  # compiles here, not on the audio thread

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Make `audio` harmless in place and return it; `found_fault` then says whether it held a non-finite sample.

        [audio thread] Takes no lock, allocates nothing.
        """
        n_bad, n_stretches, n_limited = _guard(audio, audio.view(np.int32), self._state, self._recent, self._settings)
        self.limited_samples += n_limited
        self.found_fault = n_bad > 0
        self.faults += n_stretches
        return audio

    @property
    def muted(self) -> bool:
        """Whether the sound is switched off at this moment because it was absurdly loud or full-scale noise."""
        return self._state[_MUTED] != 0.0

    def reset(self) -> None:
        """Forget all earlier sound; the counts stay."""
        self._state[:] = 0.0
        self._recent[:] = 0.0
        self._state[_GAIN] = self._state[_FADE] = 1.0
        self.found_fault = False


@compiled
def _unpredicted(r0, r1, r2):
    """Share of the power that two-tap prediction leaves over, from the autocorrelation (Levinson-Durbin)."""
    k1 = r1 / r0
    left = 1.0 - k1 * k1
    if left <= 0.0:
        return 0.0
    k2 = (r2 / r0 - k1 * k1) / left
    return left * (1.0 - k2 * k2)


@compiled
def _judge(state, recent, patience, average):
    """Work out power, prediction and patience at the end of a group."""
    lag_0 = lag_1 = lag_2 = 0.0
    for first in range(2, _GROUP + 2, 4):  # four sums each, side by side
        a, b, c, d = recent[first], recent[first + 1], recent[first + 2], recent[first + 3]
        before, earlier = recent[first - 1], recent[first - 2]
        lag_0 += (a * a + b * b) + (c * c + d * d)
        lag_1 += (a * before + b * a) + (c * b + d * c)
        lag_2 += (a * earlier + b * before) + (c * a + d * b)
    recent[0], recent[1] = recent[_GROUP], recent[_GROUP + 1]
    r0 = state[_R0] + (lag_0 / _GROUP - state[_R0]) * average
    r1 = state[_R1] + (lag_1 / _GROUP - state[_R1]) * average
    r2 = state[_R2] + (lag_2 / _GROUP - state[_R2]) * average
    if r0 < 1e-30:  # no slow denormal numbers in long silences
        r0, r1, r2 = 0.0, 0.0, 0.0
    state[_R0], state[_R1], state[_R2] = r0, r1, r2
    n_good = _GROUP - state[_N_BAD]
    is_noisy = r0 > NOISE_POWER and _unpredicted(r0, r1, r2) > NOISE_PREDICTION
    n_harmful = n_good if is_noisy else state[_N_ABSURD]
    state[_N_BAD] = state[_N_ABSURD] = 0.0

    # Patience: runs out after a second of harm, comes back in a second of peace.
    impatience = min(max(state[_PATIENCE] + 2.0 * n_harmful - n_good, 0.0), patience)
    if impatience >= patience:
        state[_MUTED] = 1.0
    elif impatience <= 0.0:
        state[_MUTED] = 0.0
    state[_PATIENCE] = impatience


@inlined
def _passes(audio, bits, first, recent):
    """Whether a group needs no guarding; if so, it is put into `recent`. `bits` are those of `audio`."""
    largest = np.int32(0)
    for c in range(audio.shape[0]):
        row = bits[c, first : first + _GROUP]
        for i in range(_GROUP):
            largest = max(largest, row[i] & _ALL_BUT_SIGN)  # whose order is that of sizes, with NaN above infinity
    if largest > _CEILING_BITS:
        return False
    one = audio[0, first : first + _GROUP]
    if audio.shape[0] == 2:
        other = audio[1, first : first + _GROUP]
        for i in range(_GROUP):
            recent[2 + i] = _FIRST * one[i] + _OTHER * other[i]
    else:
        for i in range(_GROUP):
            recent[2 + i] = _FIRST * one[i]
    return True


@compiled
def _guard(audio, bits, state, recent, settings):
    """Run the guard over `audio [C, n]` in place: how many samples were bad, in how many stretches, and limited."""
    n_samples = audio.shape[1]
    hold_samples, release, fade_step, patience, average = settings
    n_bad = 0
    n_stretches = 0
    n_limited = 0
    i = 0
    while i < n_samples:
        rests = state[_GAIN] == 1.0 and state[_FADE] == 1.0 and state[_MUTED] == 0.0 and state[_WAS_BAD] == 0.0
        is_whole = state[_HOLD] == 0.0 and state[_FILLED] == 0.0 and i + _GROUP <= n_samples
        if rests and is_whole and _passes(audio, bits, i, recent):
            _judge(state, recent, patience, average)
            i += _GROUP
            continue
        n = min(n_samples - i, _GROUP - int(state[_FILLED]))
        bad, stretches, limited = _guard_samples(audio, i, n, state, recent, hold_samples, release, fade_step)
        n_bad += bad
        n_stretches += stretches
        n_limited += limited
        i += n
        state[_FILLED] += n
        if state[_FILLED] == _GROUP:
            state[_FILLED] = 0.0
            _judge(state, recent, patience, average)
    return n_bad, n_stretches, n_limited


@compiled
def _guard_samples(audio, first, n, state, recent, hold_samples, release, fade_step):
    """Guard `n` samples from `first` on, which lie in one group; counts as `_guard` gives them."""
    n_channels = audio.shape[0]
    gain, hold, fade, muted = state[_GAIN], state[_HOLD], state[_FADE], state[_MUTED]
    was_bad, n_absurd = state[_WAS_BAD], state[_N_ABSURD]
    n_bad = 0
    n_stretches = 0
    n_limited = 0
    for k in range(n):
        i = first + k
        place = 2 + int(state[_FILLED]) + k
        peak = 0.0
        bad = False
        for c in range(n_channels):
            size = abs(float(audio[c, i]))
            bad = bad or not np.isfinite(size)
            peak = max(peak, size)
        if bad:
            n_bad += 1
            n_stretches += was_bad == 0.0
            was_bad, fade = 1.0, 0.0
            audio[:, i] = 0.0
            recent[place] = 0.0
            continue
        was_bad = 0.0

        # The limiter: at once down, hold, exponentially up, and exactly 1 again at the end.
        needed = CEILING / peak if peak > CEILING else 1.0
        if needed < gain:
            gain, hold = needed, hold_samples
        elif hold > 0.0:
            hold = max(hold - 1.0, 0.0)
        elif gain < 1.0:
            gain += (1.0 - gain) * release
            gain = 1.0 if gain > 0.9999 else gain
            gain = min(gain, needed)
        n_limited += gain < AUDIBLY_LIMITED
        n_absurd += gain < ABSURD_GAIN

        limited = np.float32(gain)
        mixed = _FIRST * (limited * audio[0, i])
        if n_channels == 2:
            mixed += _OTHER * (limited * audio[1, i])
        recent[place] = mixed

        if muted != 0.0:
            fade = max(fade - fade_step, 0.0)
        elif fade < 1.0:
            fade = min(fade + fade_step, 1.0)
        total = gain * fade
        if total != 1.0:
            for c in range(n_channels):
                audio[c, i] = min(max(float(audio[c, i]) * total, -CEILING), CEILING)
    state[_GAIN], state[_HOLD], state[_FADE] = gain, hold, fade
    state[_WAS_BAD], state[_N_ABSURD] = was_bad, n_absurd
    state[_N_BAD] += n_bad
    return n_bad, n_stretches, n_limited
