"""Who makes the items of a batch: this process, processes beside it, or a Dask cluster. The result is the same.

The only import of dask.distributed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool

from neuralsynth import __version__
from neuralsynth.design.work import Failed, Made, Work
from neuralsynth.errors import EnvironmentProblem, MissingExtra, NeuralSynthError, one_line

AT_ONCE = 8  # items in one errand of a worker
MOST_TRIES = 20  # of an errand whose worker died
_PAUSE_SECONDS = 0.5
_AHEAD = 3  # errands waiting for each worker

_work: Work | None = None  # of a worker process


def make_all(
    work: Work, indices: Iterable[int], workers: int = 1, cluster: str | None = None
) -> Iterator[Made | Failed]:
    """Make items in any order; an item that cannot be made is told, the others go on.

    Args:
        workers: processes on this machine; 1 is this one.
        cluster: address of a Dask scheduler instead, such as tcp://host:8786.

    Raises:
        MissingExtra: dask.distributed is not installed.
        EnvironmentProblem: no scheduler answers, or workers die again and again.
    """
    if cluster is not None:
        yield from _on_cluster(work, indices, cluster)
    elif workers == 1:
        for index in indices:
            yield _made(work, index)
    else:
        yield from _by_processes(work, list(indices), workers)


def _made(work: Work, index: int) -> Made | Failed:
    try:
        return work.make(index)
    except NeuralSynthError as error:
        return Failed(index, one_line(error))
    finally:
        gc.collect(1)  # an engine and its players hold each other: megabytes that serve the next sound while still warm


def _errands(indices: Iterable[int]) -> Iterator[tuple[int, ...]]:
    ordered = iter(indices)
    while errand := tuple(itertools.islice(ordered, AT_ONCE)):
        yield errand


def _begin(work: Work) -> None:
    """What a worker process keeps."""
    global _work  # noqa: PLW0603 - a process of a pool has no other place
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the errands
    _work = work


def _run(errand: tuple[int, ...]) -> list[Made | Failed]:
    assert _work is not None
    return [_made(_work, index) for index in errand]


def _by_processes(work: Work, indices: list[int], workers: int) -> Iterator[Made | Failed]:
    """By this process and a pool of others; if one of them dies, by a new pool."""
    n_deaths, open_ones = 0, set(indices)
    while open_ones:
        errands = _errands([index for index in indices if index in open_ones])
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(workers - 1, context, _begin, (work,))
        try:
            with _one_thread():
                for made in _together(work, pool, errands, _AHEAD * (workers - 1)):
                    open_ones.discard(made.index)
                    yield made
        except BrokenProcessPool as error:
            n_deaths += 1
            if n_deaths > MOST_TRIES:
                raise EnvironmentProblem(
                    f"worker processes died {MOST_TRIES} times; is there enough memory? try fewer --workers"
                ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _together(work: Work, pool, errands: Iterator[tuple[int, ...]], n_ahead: int) -> Iterator[Made | Failed]:
    """What the others finish is passed on at once; while there is nothing to pass on, this process makes some too."""
    waiting = {pool.submit(_run, errand) for errand in itertools.islice(errands, n_ahead)}
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, 0.0)
        if not done and (own := next(errands, None)) is not None:
            yield from (_made(work, index) for index in own)
        elif not done:
            done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            yield from future.result()
        waiting |= {pool.submit(_run, errand) for errand in itertools.islice(errands, len(done))}


class _one_thread:  # noqa: N801 - used as a function is
    """Processes that are started meanwhile calculate on one thread each: there is one for every core."""

    _NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._NAMES}
        os.environ.update(dict.fromkeys(self._NAMES, "1"))

    def __exit__(self, *problem: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _on_cluster(work: Work, indices: Iterable[int], address: str) -> Iterator[Made | Failed]:
    """By an existing Dask cluster; errands whose workers die are given out again."""
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra("a cluster needs Dask: pip install 'neuralsynth[cluster]'") from error
    _look_for(address)
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise EnvironmentProblem(f"{one_line(address, 80)}: no Dask scheduler answers there ({error})") from error
    with client:
        shared = _on_a_worker(client, work, address)
        tries: Counter[tuple[int, ...]] = Counter()
        errands = _errands(indices)
        n_workers = max(1, len(client.scheduler_info()["workers"]))

        def submit(errand: tuple[int, ...]):
            return client.submit(_run_for, shared, errand, key=("sounds", work.digest, errand, tries[errand]))

        waiting = {submit(errand): errand for errand in itertools.islice(errands, _AHEAD * n_workers)}
        while waiting:
            with contextlib.suppress(distributed.CancelledError):  # whose worker had the only copy of the work
                distributed.wait(list(waiting), return_when="FIRST_COMPLETED")
            for future in [future for future in waiting if future.status != "pending"]:
                errand = waiting.pop(future)
                found = _result(future)
                if found is not None:
                    yield from found
                    more = next(errands, None)
                else:
                    tries[errand] += 1
                    if tries[errand] > MOST_TRIES:
                        raise EnvironmentProblem(f"{address}: its workers died {MOST_TRIES} times at the same sounds")
                    shared = _on_a_worker(client, work, address)
                    more = errand
                if more is not None:
                    waiting[submit(more)] = more


def _on_a_worker(client, work: Work, address: str):
    """The work as a future that a worker holds; one that dies meanwhile makes way for another."""
    for _ in range(MOST_TRIES):
        try:
            [shared] = client.scatter([work], broadcast=False, hash=False)
        except (OSError, TimeoutError):  # of Dask: the connection was closed, or there is no worker just now
            time.sleep(_PAUSE_SECONDS)
        except Exception as error:  # Dask has no other for what a worker raised when it read this
            raise EnvironmentProblem(
                f"{address}: a worker there cannot take the work ({one_line(error)}); "
                f"is neuralsynth {__version__} installed on all of them?"
            ) from error
        else:
            return shared
    raise EnvironmentProblem(f"{address}: no worker of that cluster could be given the work; are there any?")


def _result(future) -> list[Made | Failed] | None:
    """What an errand brought; None if its worker died: before it was done, or with the result."""
    import distributed

    if future.status in {"cancelled", "lost"}:
        return None
    try:
        return future.result()
    except (OSError, distributed.CancelledError, distributed.KilledWorker):
        return None


def _look_for(address: str) -> None:
    """Refuse an address at which nobody is, before Dask tries for long."""
    import socket
    from urllib.parse import urlsplit

    try:
        found = urlsplit(address)
        if not found.hostname or not found.port:
            raise ValueError("an address is tcp://HOST:PORT")
        socket.create_connection((found.hostname, found.port), timeout=5.0).close()
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(f"{one_line(address, 80)}: no Dask scheduler answers there ({error})") from error


def _run_for(work: Work, errand: tuple[int, ...]) -> list[Made | Failed]:
    return [_made(work, index) for index in errand]
