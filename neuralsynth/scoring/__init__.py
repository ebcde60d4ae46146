"""Score: how close an instrument comes to recordings, beside what else a player could have.

For each recording, the distance (`analysis.distance`) between it and

- *floor*: its own analysis, played back. What the description can do at best.
- *reconstruct*: the model at the latent that fits this recording best.
- *play*: the model at its default point (or that of the recording's sub-folder), given only note and velocity. What
  a player hears.
- *sampler*: the nearest other recording of the same layer, resampled to pitch.
- *interpolated*: the spectra of the nearest lower and upper recording mixed in dB. A model that does not beat
  this has learned nothing.

All are played at the recording's own tuning and compared at equal level: tuning and level are judged apart.
Recordings the model has seen are recognised by their digests; if the folder holds others, only those are
scored, as far as they lie between the pitches it has seen, and the seen ones serve as neighbours. Where librosa is
installed, measures that training never saw are a second opinion on all five (`second_opinion`).
"""

from __future__ import annotations

from neuralsynth.scoring.kit import kit_distances
from neuralsynth.scoring.measure import score
from neuralsynth.scoring.playback import play_hit, play_spectrum
from neuralsynth.scoring.results import RIVALS, RecordingScore, Score, SecondOpinion, Sounds
from neuralsynth.scoring.rivals import interpolated_spectrum

__all__ = [
    "RIVALS",
    "RecordingScore",
    "Score",
    "SecondOpinion",
    "Sounds",
    "interpolated_spectrum",
    "kit_distances",
    "play_hit",
    "play_spectrum",
    "score",
]
