"""Making instruments from recordings: the only home of torch. `pip install 'neuralsynth[train]'` brings what it needs.

::

    dataset     recordings -> analysed notes on one grid (parallel, cached)      config      what a person may choose
    augment     mixing neighbours, moving pitch, turning timbre                  baselines   what a model must beat
    blocks <- vae      the network                                               losses      dB apart, as an ear weighs it
    run         checkpoints that survive a kill                                  fit         the training itself
    points      named latent points and axes                                     export      torch -> one ONNX file
"""

from __future__ import annotations

from neuralsynth.training.config import TrainConfig, TrainResult

__all__ = ["TrainConfig", "TrainResult", "train_folder"]


def __getattr__(name: str):
    """Load torch only when training is really asked for."""
    if name == "train_folder":
        from neuralsynth.training.fit import train_folder

        return train_folder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
