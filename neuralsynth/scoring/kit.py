"""How close the pieces of a drum kit come to their recorded hits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from neuralsynth.analysis import distance
from neuralsynth.analysis.note import sounding_part
from neuralsynth.analysis.recordings import Recording
from neuralsynth.model import Decoded, InstrumentModel
from neuralsynth.scoring.playback import play_hit
from neuralsynth.spec import point_name


def kit_distances(model: InstrumentModel, recordings: Sequence[Recording]) -> tuple[dict[str, float], bool]:
    """Mean distance in dB of each piece's point, played as hard, to its recordings; and whether these were unseen.

    Hits that the model has not learned from count alone, where there are such.

    Raises:
        RecordingError: a file can no longer be read.
    """
    spec = model.spec
    seen = set(spec.provenance.recordings if spec.provenance else ())
    unseen = [r for r in recordings if r.digest not in seen]
    apart = defaultdict(list)
    for recording in unseen or recordings:
        audio, rate = recording.load()
        whole, onset, end = sounding_part(audio.astype(np.float64), rate)
        hit, key = whole[round(onset * rate) : round(end * rate)], np.array([recording.note])
        point = point_name(recording.group)
        latent = spec.place(spec.points[point])
        decoded = model.decode(latent[None], key, np.array([(recording.velocity or 0) / 127.0]))
        assert isinstance(decoded, Decoded)  # kits are spectral instruments
        touch = (int(key[0]), recording.velocity or 1)
        played = play_hit(decoded, spec, point, touch, len(hit), rate)
        apart[recording.group].append(distance(hit, played, rate))
    return {piece: float(np.mean(values)) for piece, values in apart.items()}, bool(unseen)
