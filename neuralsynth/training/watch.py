"""What a person sees while training: a progress bar, and a TensorBoard log with spectrograms and sounds."""

# ruff: noqa: ARG002 - Lightning fixes the arguments of its hooks.

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from neuralsynth.training.checkpoints import Run
from neuralsynth.training.dataset import NoteTable
from neuralsynth.units import note_name, note_to_hz

SCORES = 20  # how often a training is scored and kept
MOST_STEPS_LOST = 250  # by a kill
PICTURES = 4  # how often pictures and sounds are logged
SCALAR_STEPS = 10
SOUND_RATE, SOUND_SECONDS, SOUND_PARTIALS = 22_050, 1.5, 40


class Keeper(Callback):
    """Scores the running average, keeps checkpoints, and ends a training that would outrun its budget."""

    def __init__(self, run: Run, watched: NoteTable, steps: int, deadline: float, best: float = np.inf) -> None:
        self.run, self.watched, self.deadline, self.best = run, watched, deadline, best
        self.every = max(1, min(steps // SCORES, MOST_STEPS_LOST))
        self.steps = steps
        self.score = np.inf
        self.rescued: list[str] = []  # why a training that was lost went back, each time
        self.cut_short = False

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep a checkpoint now and then."""
        late = time.monotonic() > self.deadline
        if late and module.step < self.steps:
            trainer.should_stop = self.cut_short = True
        if module.step % self.every == 0 or module.step >= self.steps or self.cut_short or module.wary():
            self.score = module.score(self.watched)
            trouble = module.rescue(self.run)
            self.rescued += [trouble] if trouble else []
            self.run.save(module.state(self.score), self.score < self.best)
            self.best = min(self.best, self.score)


class Bar(Callback):
    """One line: steps, time left, loss, and the score in dB."""

    def __init__(self, keeper: Keeper, steps: int, visible: bool) -> None:
        self.keeper, self.steps = keeper, steps
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}  loss {task.fields[loss]}  {task.fields[score]}"),
            console=Console(stderr=True),
            disable=not visible,
        )
        self.started, self.told = 0.0, 0

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        """Begin the line."""
        self.started = time.monotonic()
        self.task = self.progress.add_task("", total=self.steps, completed=module.step, left="", loss="-", score="")
        self.first = module.step
        self.progress.start()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Renew the line."""
        if module.step % 5 and module.step < self.steps:
            return
        spent = time.monotonic() - self.started
        left = spent / max(1, module.step - self.first) * (self.steps - module.step)
        for trouble in self.keeper.rescued[self.told :]:
            self.progress.console.print(f"warning: {trouble}", soft_wrap=True)
        self.told = len(self.keeper.rescued)
        score = "" if np.isinf(self.keeper.score) else module.told(self.keeper.score)
        loss = f"{module.last_losses.get('loss', 0.0):.2f}"
        self.progress.update(self.task, completed=module.step, left=_clock(left) + " left", loss=loss, score=score)

    def teardown(self, trainer: Trainer, module: Any, stage: str) -> None:
        """End the line, also after an error."""
        self.progress.stop()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Log(Callback):
    """TensorBoard: losses, the score, and what a few notes look and sound like beside their recordings."""

    def __init__(self, run: Run, keeper: Keeper, table: NoteTable, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.tensorboard))
        self.keeper, self.table = keeper, table
        self.every = max(1, steps // PICTURES)
        order = np.argsort(table.note, kind="stable")
        self.shown = order[[len(order) // 6, len(order) // 2, (5 * len(order)) // 6]]

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write what is due."""
        step = module.step
        if step % SCALAR_STEPS == 0:
            for name, value in module.last_losses.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
            if np.isfinite(self.keeper.score):
                self.writer.add_scalar(module.score_name, self.keeper.score, step)
        if step % self.every == 0:
            self._show(module, step)

    @torch.no_grad()
    def _show(self, module: Any, step: int) -> None:
        table, coder = self.table, module.average.eval()
        note, velocity = torch.from_numpy(table.note[self.shown]), torch.from_numpy(table.velocity[self.shown])
        latent = coder.at_points(torch.from_numpy(table.group[self.shown]))
        decoded = coder.decoder.decode(latent, note, velocity)
        hz = decoded.ratios * torch.exp2((note - 69.0) / 12.0)[:, None] * 440.0
        played = module.ear(decoded.partials_db, decoded.noise_db, hz).numpy()
        recorded = (torch.from_numpy(table.partials_db[self.shown]), torch.from_numpy(table.noise_db[self.shown]))
        heard = module.ear(*recorded, hz).numpy()
        outputs = [value.numpy() for value in coder.decoder(latent, note, velocity)]
        for i, value in enumerate(note.tolist()):
            name = note_name(round(value))
            self.writer.add_image(f"{name} recorded above played", _picture(heard[i], played[i]), step)
            sound = rough_sound(outputs[0][i], outputs[1][i], outputs[3][i], value, table)
            self.writer.add_audio(name, torch.from_numpy(sound)[None], step, SOUND_RATE)

    def teardown(self, trainer: Trainer, module: Any, stage: str) -> None:
        """Write what is left."""
        self.writer.close()


def _picture(recorded: np.ndarray, played: np.ndarray) -> np.ndarray:
    """Two mel spectrograms in dB above each other as a grey picture `[1, H, W]`, 0..1 over 80 dB."""
    top = recorded.max()
    both = np.concatenate([recorded[::-1], np.full((4, recorded.shape[1]), top), played[::-1]])
    return np.clip((both - top + 80.0) / 80.0, 0.0, 1.0)[None].astype(np.float32)


def rough_sound(
    partials: np.ndarray, ratios: np.ndarray, noise: np.ndarray, note: float, table: NoteTable
) -> np.ndarray:
    """A quick listen to `[T, P]`, `[P]`, `[T, B]`: the first partials and the noise bands, float32 mono."""
    n = int(SOUND_RATE * SOUND_SECONDS)
    seconds = np.arange(n) / SOUND_RATE
    row = np.interp(seconds, table.grid.frame_seconds, np.arange(table.grid.n_frames))
    sound = np.zeros(n)
    for k in range(min(SOUND_PARTIALS, len(ratios))):
        hz = float(note_to_hz(note)) * ratios[k]
        if hz < 0.45 * SOUND_RATE:
            gain = np.interp(row, np.arange(len(partials)), partials[:, k])
            sound += gain * np.sin(2.0 * np.pi * (hz * seconds + 0.618 * k))
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n))
    bin_hz = np.fft.rfftfreq(n, 1.0 / SOUND_RATE)
    for b, (low, high) in enumerate(zip(table.grid.band_edges_hz[:-1], table.grid.band_edges_hz[1:], strict=True)):
        if low < 0.5 * SOUND_RATE:
            band = np.fft.irfft(np.where((bin_hz >= low) & (bin_hz < high), spectrum, 0.0), n)
            level = np.interp(row, np.arange(len(noise)), noise[:, b])
            sound += level * band / max(float(np.sqrt(np.mean(band**2))), 1e-9)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)
