"""Making instruments from recordings: the only home of torch. `pip install 'neuralsynth[train]'` brings what it needs.

::

    analyses    recordings -> analysed notes (parallel, kept by content)         config      what a person may choose
    dataset     analysed notes -> one table                                      losses      dB apart, as an ear hears
    augment     mixing neighbours                     turns   moving one quality of a note and no other
    blocks <- vae      the network
    fit         one step after the other     watch   what a person sees          checkpoints that survive a kill
    points, tuning  named points, axes; in tune                                  export      torch -> one ONNX file
    straighten  axes that move one quality alone
    prepare     before the first step                                            run         all of it, in order
"""

from __future__ import annotations

from neuralsynth.training.config import TrainConfig, TrainResult

__all__ = ["TrainConfig", "TrainResult", "train_folder"]


def __getattr__(name: str):
    """Load torch only when training is really asked for."""
    if name == "train_folder":
        from neuralsynth.training.run import train_folder

        return train_folder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
