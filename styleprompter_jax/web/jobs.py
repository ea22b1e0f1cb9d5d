"""Jobs: work that takes longer than a request, shows progress, and can be cancelled.

One job runs at a time, in parallel with the requests. The other jobs wait.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web.limits import Limits, Refused

log = logging.getLogger(__name__)
OVER = "done", "failed", "cancelled"


class _Cancelled(Exception):
    pass


class Job:
    """A fit or an animation.

    Attributes:
        state: "waiting", "running", "done", "failed" or "cancelled".
        done: number of finished steps.
        total: number of steps.
        result: fields of the report of a finished job.
        error: the reason of a failure.
        file: a result for download: its bytes and media type.
    """

    def __init__(self, total: int):
        self.state, self.done, self.total = "waiting", 0, total
        self.result: dict[str, Any] = {}
        self.error = ""
        self.file: tuple[bytes, str] | None = None
        self._cancelled = threading.Event()

    def told(self, done: int) -> None:
        """Notes the finished steps; ends the work if the job was cancelled."""
        self.done = done
        if self._cancelled.is_set():
            raise _Cancelled

    def cancel(self) -> None:
        """Ends the job after its current step."""
        self._cancelled.set()
        if self.state == "waiting":
            self.state = "cancelled"

    @property
    def report(self) -> dict[str, Any]:
        """The state of the job, as a client gets it."""
        report = {"state": self.state, "done": self.done, "total": self.total}
        if self.state == "failed":
            report["error"] = self.error
        return report | (self.result if self.state == "done" else {})

    def run(self, work: Callable[["Job"], dict[str, Any]]) -> None:
        """Does the work and keeps its result."""
        if self._cancelled.is_set():
            self.state = "cancelled"
            return
        self.state = "running"
        try:
            self.result = work(self)
            self.state = "done"
        except _Cancelled:
            self.state = "cancelled"
        except StylePrompterError as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:
            number = secrets.token_hex(4)
            log.warning("Error %s in a job: %r", number, type(error).__name__)
            self.state, self.error = (
                "failed",
                f"The server failed: error {number} in its log.",
            )


class Jobs:
    """The thread that runs all jobs.

    Args:
        limits: the limits of the server.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._known: list[Job] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open())

    def start(
        self, total: int, work: Callable[[Job], dict[str, Any]], own: list[Job]
    ) -> Job:
        """Returns a new job, which runs after all earlier jobs.

        Args:
            total: the number of its steps.
            work: does the job and returns its result; calls `told` after each step.
            own: the jobs of the same client.

        Raises:
            Refused: if too many jobs run or wait.
        """
        with self._lock:
            mine = sum(job.state not in OVER for job in own)
            if mine >= self._limits.jobs_each:
                raise Refused(
                    429, f"You have {mine} open jobs: wait for one, or cancel one."
                )
            if len(self._open()) >= self._limits.jobs:
                raise Refused(503, "Too many jobs wait: try again later.")
            job = Job(total)
            self._known = [*self._open(), job]
            self._pool.submit(job.run, work)
            return job

    def stop(self) -> None:
        """Cancels all jobs, and waits for the running one."""
        for job in self._open():
            job.cancel()
        self._pool.shutdown(cancel_futures=True)

    def _open(self) -> list[Job]:
        return [job for job in self._known if job.state not in OVER]
