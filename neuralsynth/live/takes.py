"""`TakeKeeper`: the session's half of recording: empties the rings, and writes takes."""

from __future__ import annotations

from pathlib import Path

from neuralsynth.errors import NeuralSynthError, one_line
from neuralsynth.live.messages import TakeBegins
from neuralsynth.live.shared import TAKE_BEGINS, TAKE_ENDS, Shared
from neuralsynth.live.take import Take


class TakeKeeper:
    """Takes of a session, one at a time. A take that cannot be written never stops the instrument."""

    def __init__(self, shared: Shared) -> None:
        """Nothing is recorded yet."""
        self._shared = shared
        self._number = 0
        self._path: Path | None = None
        self._take: Take | None = None
        self._begun: TakeBegins | None = None
        self._skip = 0  # frames that the effects delay the beginning
        self._n_frames = 0
        self._lost = 0
        self._news: list[str] = []

    @property
    def is_recording(self) -> bool:
        """Whether a take is recorded, or waits for its first message."""
        return self._path is not None

    @property
    def path(self) -> Path | None:
        """The audio file of the take that is recorded."""
        return self._path

    @property
    def seconds(self) -> float:
        """How much of the take is recorded."""
        return self._n_frames / max(self._shared.meters.sample_rate, 1)

    def news(self) -> list[str]:
        """What happened since this was asked last."""
        news, self._news = self._news, []
        return news

    def begin(self, path: Path) -> None:
        """Record from the next message on; nothing happens while a take is recorded."""
        if self.is_recording:
            return
        self._number += 1
        self._path, self._n_frames = path, 0
        self._lost = self._shared.meters.lost_frames
        self._shared.controls.take = self._number

    def end(self) -> None:
        """Record no further; the files are there once `follow` or `finish` has seen the end."""
        self._shared.controls.take = 0
        if self._path is not None and self._take is None and not self._begun:
            self._path = None  # the engine had not even heard of it

    def prepared(self, begun: TakeBegins) -> None:
        """The engine stands ready for a take."""
        if begun.number == self._number and self._path is not None:
            self._begun = begun

    def follow(self) -> list[tuple[int, bytes]]:
        """Empty the rings into the take; returns the messages that were played, with their samples."""
        played = []
        for time, message in self._shared.log.take():
            if message == TAKE_BEGINS:
                self._drain(time)
                self._start()
            elif message == TAKE_ENDS:
                self._drain(time)
                self._stop()
            else:
                played.append((time, message))
                if self._take is not None:
                    self._guarded(lambda take, time=time, message=message: take.add_event(time, message))
        self._drain(self._shared.audio.written)
        return played

    def engine_ended(self) -> None:
        """The engine is gone: keep what was recorded."""
        self.follow()
        self._shared.meters.take = 0
        self._stop()

    def finish(self) -> None:
        """The session ends, and the engine did: keep what was recorded."""
        self.follow()
        self._stop()

    def _start(self) -> None:
        begun = self._begun
        if begun is None or self._path is None:
            return
        self._skip = self._shared.meters.latency_samples
        try:
            self._take = Take(self._path, begun.sample_rate)
        except NeuralSynthError as error:
            self._give_up(error)
            return
        for message in begun.messages:
            self._guarded(lambda take, message=message: take.add_event(0, message))

    def _drain(self, until: int) -> None:
        """Move the audio that came before a frame of the ring into the take."""
        audio = self._shared.audio.take(max(0, until - self._shared.audio.read))
        if audio.shape[1] == 0 or self._take is None:
            return
        kept = audio[:, self._skip :]
        self._skip -= audio.shape[1] - kept.shape[1]
        self._n_frames += kept.shape[1]
        self._guarded(lambda take: take.add_audio(kept))
        if self._take is not None and self._take.is_full:
            self._news.append(f"{self._path}: is as long as a wav file can be; the take ends here")
            self.end()

    def _stop(self) -> None:
        take, path = self._take, self._path
        self._take = self._begun = self._path = None
        self._shared.controls.take = 0
        if take is None:
            return
        if self._n_frames == 0:
            take.abandon()
            self._news.append(f"{path}: nothing was played, so nothing was recorded")
            return
        try:
            paths = take.finish()
        except NeuralSynthError as error:
            self._news.append(f"the take could not be written: {one_line(error)}")
            return
        told = f"recorded {' and '.join(str(p) for p in paths)}, {self.seconds:.1f} s"
        lost = self._shared.meters.lost_frames - self._lost
        self._news.append(f"{told}; {lost} samples are missing, the disk was too slow" if lost else told)

    def _guarded(self, action) -> None:
        if self._take is None:
            return
        try:
            action(self._take)
        except NeuralSynthError as error:
            self._give_up(error)

    def _give_up(self, error: NeuralSynthError) -> None:
        if self._take is not None:
            self._take.abandon()
        self._take = self._begun = self._path = None
        self._shared.controls.take = 0
        self._news.append(f"the take could not be written: {one_line(error)}")
