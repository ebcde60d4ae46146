"""A small normalizing flow, fitted to places in a latent space; `neuralsynth.prior` runs it without torch.

Fitted by maximum likelihood (RealNVP, see there).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from neuralsynth.prior import MAX_LOG_SCALE, Coupling, halves

N_COUPLINGS, HIDDEN = 8, 32
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 400, 256, 8e-3, 1e-3
_DIGITS = 5  # of a weight in the file


class Flow(nn.Module):
    """Affine couplings; `forward` goes the way of training, from places to standard normal numbers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = [[len(range(size)[half]) for half in halves(layer)] for layer in range(N_COUPLINGS)]
        self.hidden = nn.ModuleList(nn.Linear(kept, HIDDEN) for kept, _ in sizes)
        self.scale = nn.ModuleList(nn.Linear(HIDDEN, moved) for _, moved in sizes)
        self.shift = nn.ModuleList(nn.Linear(HIDDEN, moved) for _, moved in sizes)
        for parameter in (*self.scale.parameters(), *self.shift.parameters()):
            nn.init.zeros_(parameter)  # the flow begins as none

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Places `[N, C]` -> numbers `[N, C]`, and the logarithm of how much the way stretches, `[N]`."""
        x, log_volume = places, torch.zeros(len(places))
        for layer in reversed(range(N_COUPLINGS)):
            kept, moved = halves(layer)
            h = torch.tanh(self.hidden[layer](x[:, kept]))
            log_scale = MAX_LOG_SCALE * torch.tanh(self.scale[layer](h) / MAX_LOG_SCALE)
            turned = x.clone()
            turned[:, moved] = (x[:, moved] - self.shift[layer](h)) * torch.exp(-log_scale)
            x, log_volume = turned, log_volume - log_scale.sum(1)
        return x, log_volume

    def couplings(self) -> list[Coupling]:
        """The flow as the instrument file keeps it."""
        return [
            Coupling(*(_rounded(x) for layer in layers for x in layer.parameters()))
            for layers in zip(self.hidden, self.scale, self.shift, strict=True)
        ]


def fit_flow(places: np.ndarray, low: np.ndarray, high: np.ndarray, seed: int) -> list[Coupling]:
    """Fit a flow to places `[M, C]` inside the box `low`..`high` `[C]`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = Flow(places.shape[1])
        share = (torch.tensor((places - low) / (high - low), dtype=torch.float32)).clamp(1e-3, 1.0 - 1e-3)
        wanted = torch.logit(share)
        optimizer = torch.optim.AdamW(flow.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
        for _ in range(STEPS):
            numbers, log_volume = flow(wanted[torch.randint(len(wanted), (BATCH,))])
            loss = (0.5 * (numbers**2).sum(1) - log_volume).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()
    return flow.couplings()


def _rounded(numbers: Tensor) -> list:
    """Nested lists with the digits that a file keeps."""
    values = numbers.detach().numpy().astype(np.float64)
    return np.vectorize(lambda x: float(f"{x:.{_DIGITS}g}"))(values).tolist()
