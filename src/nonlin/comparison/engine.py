"""Engines: they get stacks trained, in processes of this machine or by Ray, and give each result back once."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from nonlin import processes
from nonlin.comparison.data import Dataset
from nonlin.comparison.plan import Plan, PlanError, Stack
from nonlin.comparison.results import Ingredients, failed

MOST_ATTEMPTS = 3  # a stack that has taken so many workers with it has failed
_LOOK = 0.25  # seconds between two looks at whether the time is over, while nothing is finished


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Job:
    """What every worker needs to know once, and how to get what it needs for a stack.

    Attributes
    ----------
    datasets : Mapping of str to Dataset
    factories : Mapping of str to callable, or None
        What makes the model of each data set; None for the perceptron.
    ingredients : callable
        From a stack to its :class:`~nonlin.comparison.results.Ingredients`; None for a baseline.
    """

    datasets: Mapping[str, Dataset]
    factories: Mapping[str, Any] | None
    ingredients: Callable[[Stack], Ingredients | None]

    def setup(self) -> bytes:
        """Return what every worker needs to know, pickled; models from a script or notebook are pickled by value."""
        import cloudpickle

        content = {"datasets": dict(self.datasets), "factories": self.factories}
        return cloudpickle.dumps(content)  # type: ignore[no-any-return]


Task: TypeAlias = tuple[Stack, Plan]
Finished: TypeAlias = Iterator[tuple[Task, list[dict[str, Any]]]]


class Engine(Protocol):
    """Trains stacks."""

    def run(
        self, job: Job, tasks: deque[Task], started: Callable[[Task, str], None], is_over: Callable[[], bool] = _never
    ) -> Finished:
        """Yield each task with its results, in any order; ``started`` is called before each attempt.

        ``is_over`` is asked while nothing is finished: once it is true, what is under way is dropped.

        The tasks are taken off the queue from the left. Whoever takes the results may put others there: an engine is done when
        nothing waits and nothing is under way.
        """
        ...


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gave_up(stack: Stack, attempts: int) -> list[dict[str, Any]]:
    return [failed(f"its worker died {attempts} times") for _ in stack.members]


class InProcess:
    """Trains in this very process, one stack after the other: for tests, and for models that cannot be pickled."""

    def run(
        self, job: Job, tasks: deque[Task], started: Callable[[Task, str], None], is_over: Callable[[], bool] = _never
    ) -> Finished:
        """Yield each task with its results."""
        import torch

        from nonlin.comparison.training import train

        threads = torch.get_num_threads()
        try:
            while tasks and not is_over():
                stack, plan = task = tasks.popleft()
                made = job.ingredients(stack)
                started(task, str(os.getpid()))
                yield task, train(stack, plan, made, job.datasets, job.factories)
        finally:
            torch.set_num_threads(threads)


_ENVIRONMENT = {
    # Two threads each of two processes on two cores wait for one another most of the time.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc keeps freed memory: it would give it back after each step, and the system zero it again for the next one.
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    number: int
    task: tuple[Task, int] | None = None  # and which attempt it is


class Local:
    """Trains in processes of this machine. A worker that dies is replaced, and its stack is run again.

    Parameters
    ----------
    workers : int, optional
        How many; by default one for each core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()
        self._events: queue.Queue[tuple[int, Any]] = queue.Queue()
        self._alive: dict[int, _Worker] = {}
        self._made = 0

    def run(
        self, job: Job, tasks: deque[Task], started: Callable[[Task, str], None], is_over: Callable[[], bool] = _never
    ) -> Finished:
        """Yield each task with its results, in the order in which they are finished."""
        again: deque[tuple[Task, int]] = deque()  # of workers that died
        setup = job.setup()
        self._events, self._made = queue.Queue(), 0  # an earlier run's workers may still say that they ended
        try:
            while tasks or again or any(worker.task for worker in self._alive.values()):
                waiting = len(tasks) + len(again)
                idle = [worker for worker in self._alive.values() if worker.task is None]
                hired = max(0, min(self.workers - len(self._alive), waiting - len(idle)))
                idle += [self._hire(setup) for _ in range(hired)]
                for worker in idle[:waiting]:
                    task, attempt = again.popleft() if again else (tasks.popleft(), 1)
                    worker.task = task, attempt
                    stack, plan = task
                    made = job.ingredients(stack)
                    started(task, str(worker.process.pid))
                    self._send(worker, (stack, plan, made))
                try:
                    number, answer = self._events.get(timeout=_LOOK)
                except queue.Empty:
                    if is_over():
                        return
                    continue
                worker = self._alive[number]
                if answer is not None:
                    assert worker.task is not None
                    (task, _), worker.task = worker.task, None
                    yield task, answer
                    continue
                # It died: nothing else closes its output.
                self._dismiss(worker)
                if worker.task is not None:
                    task, attempt = worker.task
                    if attempt < MOST_ATTEMPTS:
                        again.append((task, attempt + 1))
                    else:
                        yield task, _gave_up(task[0], MOST_ATTEMPTS)
                elif self._made > 50 * self.workers:
                    raise RuntimeError("workers die before they get to work")
        finally:
            for worker in list(self._alive.values()):
                self._dismiss(worker)

    def _hire(self, setup: bytes) -> _Worker:
        process = subprocess.Popen(
            processes.command("nonlin.comparison.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=processes.environment(**_ENVIRONMENT),
        )
        worker = _Worker(process, self._made)
        self._made += 1
        self._alive[worker.number] = worker
        threading.Thread(target=_listen, args=(worker, self._events), daemon=True).start()
        self._send(worker, setup, pickled=True)
        return worker

    def _send(self, worker: _Worker, message: Any, *, pickled: bool = False) -> None:
        import cloudpickle

        content = message if pickled else cloudpickle.dumps(message)
        assert worker.process.stdin is not None
        try:
            pickle.dump(content, worker.process.stdin)
            worker.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # it died; its listener says so

    def _dismiss(self, worker: _Worker) -> None:
        self._alive.pop(worker.number, None)
        worker.process.kill()
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _listen(worker: _Worker, events: queue.Queue[tuple[int, Any]]) -> None:
    """Pass a worker's answers on, and None when it ends."""
    assert worker.process.stdout is not None
    try:
        while True:
            events.put((worker.number, pickle.load(worker.process.stdout)))
    except (EOFError, OSError, ValueError, pickle.UnpicklingError):
        events.put((worker.number, None))


class Ray:
    """Trains as tasks of a Ray cluster; the ledger stays with the driver. Ray runs the task of a dead worker again.

    Parameters
    ----------
    address : str, optional
        Of a running cluster; by default a new one on this machine.
    workers : int, optional
        CPUs of a new cluster.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address = address
        self.workers = workers or cores()

    def run(
        self, job: Job, tasks: deque[Task], started: Callable[[Task, str], None], is_over: Callable[[], bool] = _never
    ) -> Finished:
        """Yield each task with its results, in the order in which they are finished."""
        try:
            import ray
        except ImportError:
            raise PlanError('the Ray engine needs ray, which is missing: pip install "nonlin[ray]"') from None

        ours = not ray.is_initialized()
        if ours and self.address:
            _check_that_somebody_answers(self.address)
            try:
                ray.init(address=self.address, log_to_driver=False)
            except ConnectionError as error:
                sentence = str(error).partition(". ")[0].partition("\n")[0]
                raise PlanError(f"there is no Ray cluster at {self.address}: {sentence}") from None
        elif ours:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked
            ray.init(num_cpus=self.workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            remote = ray.remote(num_cpus=1, max_retries=MOST_ATTEMPTS - 1)(_train_by_ray)
            setup = [ray.put(job.setup())]  # in a list it is sent as a reference, which each worker follows once
            pending: dict[Any, Task] = {}
            while tasks or pending:
                # A few ahead of the workers: so that none waits, and so that the attempts noted are those of now.
                while tasks and len(pending) < 2 * int(ray.cluster_resources().get("CPU", 1)):
                    stack, plan = task = tasks.popleft()
                    made = job.ingredients(stack)
                    started(task, "ray")
                    pending[remote.remote(setup, stack, plan, made)] = task
                done, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOK)
                if not done and is_over():
                    return
                for reference in done:
                    task = pending.pop(reference)
                    try:
                        results = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        if not isinstance(error, ray.exceptions.WorkerCrashedError):
                            raise
                        results = _gave_up(task[0], MOST_ATTEMPTS)
                    yield task, results
        finally:
            if ours:
                ray.shutdown()


def _check_that_somebody_answers(address: str) -> None:
    """Say so within seconds if a host and port lead nowhere; Ray tries for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "//" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise PlanError(f"there is no Ray cluster at {address}: {error}") from None


_setups: dict[str, Any] = {}


def _train_by_ray(setup: list[Any], stack: Stack, plan: Plan, made: Any) -> list[dict[str, Any]]:
    import cloudpickle
    import ray

    from nonlin.comparison.training import train

    key = setup[0].hex()
    if key not in _setups:  # a worker process serves many stacks
        _setups.clear()
        _setups[key] = cloudpickle.loads(ray.get(setup[0]))
    known = _setups[key]
    return train(stack, plan, made, known["datasets"], known["factories"])
