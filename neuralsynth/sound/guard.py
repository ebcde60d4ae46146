"""The output guard: the last thing every sample passes, and no preset can turn it off.

What it promises for any input: every sample is finite and at most 0.99 of full scale, and a sound that
needs no guarding passes bit for bit. Four things act, all decided sample by sample, so that the cut into
blocks never matters:

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

from neuralsynth.sound.compiled import compiled

CEILING = float(np.nextafter(np.float32(0.99), np.float32(0.0)))  # the largest float32 that is at most 0.99
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
_FIRST, _OTHER = 0.8507, 0.5257

# Places in the state vector of the kernel.
_GAIN, _HOLD, _FADE, _PATIENCE, _MUTED, _WAS_BAD, _R0, _R1, _R2, _X1, _X2 = range(11)


class OutputGuard:
    """Keeps `float32 [n_channels, n]` blocks harmless.

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
                1.0 - np.exp(-1.0 / (AVERAGE_SECONDS * sample_rate)),
            ]
        )
        self._state = np.zeros(11)
        self.reset()
        self.process(np.zeros((n_channels, 0), np.float32))  # compiles here, not on the audio thread

    def process(self, audio: np.ndarray) -> np.ndarray:
        """Make `audio` harmless in place and return it; `found_fault` then says whether it held a non-finite sample.

        [audio thread] Takes no lock, allocates nothing.
        """
        n_bad, n_stretches, n_limited = _guard(audio, self._state, self._settings)
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
def _guard(audio, state, settings):
    """Run the guard over `audio [C, n]` in place: how many samples were bad, in how many stretches, and limited."""
    n_channels, n_samples = audio.shape
    hold_samples, release, fade_step, patience, average = settings
    gain, hold, fade, muted = state[_GAIN], state[_HOLD], state[_FADE], state[_MUTED]
    was_bad, impatience = state[_WAS_BAD], state[_PATIENCE]
    r0, r1, r2, x1, x2 = state[_R0], state[_R1], state[_R2], state[_X1], state[_X2]
    n_bad = 0
    n_stretches = 0
    n_limited = 0
    for i in range(n_samples):
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
            continue
        was_bad = 0.0

        # The limiter: at once down, hold, exponentially up, and exactly 1 again at the end.
        needed = CEILING / peak if peak > CEILING else 1.0
        if needed < gain:
            gain, hold = needed, hold_samples
        elif hold > 0.0:
            hold -= 1.0
        elif gain < 1.0:
            gain += (1.0 - gain) * release
            gain = 1.0 if gain > 0.9999 else gain
            gain = min(gain, needed)

        n_limited += gain < AUDIBLY_LIMITED

        # Autocorrelation of the limited sound at lags 0, 1, 2, and what two-tap prediction leaves of it.
        x0 = 0.0
        for c in range(n_channels):
            x0 += float(audio[c, i]) * gain * (_FIRST if c == 0 else _OTHER)
        r0 += (x0 * x0 - r0) * average
        r1 += (x0 * x1 - r1) * average
        r2 += (x0 * x2 - r2) * average
        x2, x1 = x1, x0
        if r0 < 1e-30:  # no slow denormal numbers in long silences
            r0, r1, r2 = 0.0, 0.0, 0.0
        noisy = r0 > NOISE_POWER and _unpredicted(r0, r1, r2) > NOISE_PREDICTION

        # Patience: runs out after a second of harm, comes back in a second of peace.
        if noisy or gain < ABSURD_GAIN:
            impatience = min(impatience + 1.0, patience)
            muted = 1.0 if impatience >= patience else muted
        else:
            impatience = max(impatience - 1.0, 0.0)
            muted = 0.0 if impatience <= 0.0 else muted

        if muted != 0.0:
            fade = max(fade - fade_step, 0.0)
        elif fade < 1.0:
            fade = min(fade + fade_step, 1.0)
        total = gain * fade
        if total != 1.0:
            for c in range(n_channels):
                audio[c, i] = min(max(float(audio[c, i]) * total, -CEILING), CEILING)
    state[_GAIN], state[_HOLD], state[_FADE], state[_MUTED] = gain, hold, fade, muted
    state[_WAS_BAD], state[_PATIENCE] = was_bad, impatience
    state[_R0], state[_R1], state[_R2], state[_X1], state[_X2] = r0, r1, r2, x1, x2
    return n_bad, n_stretches, n_limited
