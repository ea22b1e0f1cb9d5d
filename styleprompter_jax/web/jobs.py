"""Jobs: work that takes longer than a request, shows progress, and can be cancelled.

One job runs at a time, in parallel with the requests. The other jobs wait.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterable

from styleprompter_jax.core.errors import StylePrompterError
from styleprompter_jax.web import answers
from styleprompter_jax.web.limits import Limits, Refused

log = logging.getLogger(__name__)
OVER = "done", "failed", "cancelled"
Work = Callable[["Job"], None]


class _Cancelled(Exception):
    pass


class Job:
    """A fit or an animation.

    Attributes:
        state: "waiting", "running", "done", "failed" or "cancelled".
        done: number of finished steps.
        total: number of steps.
        latents: the id of the latents that it made; "" without any.
        error: the reason of a failure.
        file: the id of a file for download; "" without one.
    """

    def __init__(self, total: int):
        self.state: answers.State = "waiting"
        self.done, self.total = 0, total
        self.latents = ""
        self.error = ""
        self.file = ""
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
    def report(self) -> answers.Report:
        """The state of the job, as a client gets it."""
        state = self.state  # another thread may change it
        report: answers.Report = {
            "state": state,
            "done": self.done,
            "total": self.total,
        }
        if state == "failed":
            report["error"] = self.error
        if state == "done" and self.latents:
            report["latents"] = self.latents
        return report

    def run(self, work: Work) -> None:
        """Does the work."""
        if self._cancelled.is_set():
            self.state = "cancelled"
            return
        self.state = "running"
        try:
            work(self)
            self.state = "done"
        except _Cancelled:
            self.state = "cancelled"
        except StylePrompterError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:
            number = secrets.token_hex(4)
            log.warning("Error %s in a job: %r", number, type(error).__name__)
            self.error = f"The server failed: error {number} in its log."
            self.state = "failed"


class Jobs:
    """The thread that runs all jobs.

    Args:
        limits: the limits of the server.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._works: dict[Job, Work] = {}
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="jobs")
        self._thread.start()

    def __len__(self) -> int:
        with self._changed:
            return len(self._open())

    def start(self, total: int, work: Work, own: Iterable[Job]) -> Job:
        """Returns a new job, which runs after all earlier jobs.

        Args:
            total: the number of its steps.
            work: does the job; calls `told` after each step.
            own: the jobs of the same client.

        Raises:
            Refused: if too many jobs run or wait.
        """
        mine = sum(job.state not in OVER for job in own)
        if mine >= self._limits.jobs_each:
            raise Refused(
                429, f"You have {mine} open jobs: wait for one, or cancel one."
            )
        with self._changed:
            if len(self._open()) >= self._limits.jobs:
                raise Refused(503, "Too many jobs wait: try again later.")
            job = Job(total)
            self._works[job] = work
            self._changed.notify_all()
        return job

    def stop(self) -> None:
        """Cancels all jobs, and waits for the running one."""
        with self._changed:
            self._stopped = True
            for job in self._open():
                job.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        while ready := self._next():
            job, work = ready
            job.run(work)
            del ready, job, work  # frees its memory while no job waits

    def _next(self) -> tuple[Job, Work] | None:
        """Returns the job that waited longest; None when the thread must end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._open())
            return None if self._stopped else next(iter(self._open().items()))

    def _open(self) -> dict[Job, Work]:
        """Returns the jobs that run or wait, and forgets the work of the others."""
        every = self._works.items()
        self._works = {job: work for job, work in every if job.state not in OVER}
        return self._works
