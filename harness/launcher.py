"""Starts, stops, continues and ends worker processes, and classifies how they fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.backends import BACKENDS
from harness.errors import HarnessError
from harness.protocol import Message, receive, send
from harness.reserve import cores_for
from harness.schema import Status, Trial

Role = Literal["build", "measure"]
EXIT_TIMEOUT_S = 5.0
ISOLATED_NICE = -15  # of the scheduling group: about 28 times the weight of a neighbor's


class WorkerFailure(HarnessError):
    """A worker ended, hung or answered with an error; carries what the trial's record needs."""

    def __init__(self, status: Status, reason: str, stage: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.status = status
        self.reason = reason
        self.stage = stage


class WorkerHandle(Protocol):
    """What the coordinator asks of a worker. The tests have one without a process."""

    on_event: Callable[[Message], None]

    @property
    def pid(self) -> int:
        """Process id."""

    def call(self, command: str, timeout_s: float, **arguments: Any) -> Message:
        """Send a command and wait for its reply; raises WorkerFailure."""

    def pause(self) -> None:
        """Stop the process and return when the kernel says it is stopped; raises WorkerFailure if it ended."""

    def resume(self) -> None:
        """Let the process go on."""

    def close(self) -> None:
        """End the process."""


class Spawn(Protocol):
    """Starts a worker for a trial."""

    def __call__(self, trial: Trial, role: Role) -> WorkerHandle:
        """Return the running worker."""


class WorkerProcess:
    """A child process behind a private socket."""

    def __init__(
        self, process: subprocess.Popen[bytes], connection: Connection, log: Path, scratch: Path | None = None
    ) -> None:
        self._process = process
        self._scratch = scratch  # its temporary files, which a killed process cannot clear away
        self._connection = connection
        self._oom_kills = _oom_kills()
        self.log = log
        self.on_event: Callable[[Message], None] = lambda _: None

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._process.pid

    def call(self, command: str, timeout_s: float, **arguments: Any) -> Message:
        """Send a command and wait for its reply, handing events to ``on_event`` meanwhile.

        Raises WorkerFailure with status ``timeout`` (the worker is killed), ``crashed`` or ``oom`` (it ended),
        or what the worker answered.
        """
        try:
            send(self._connection, {"command": command, **arguments})
            while True:
                if not self._connection.poll(timeout_s):
                    self.close()
                    raise WorkerFailure(Status.TIMEOUT, f"no answer within {timeout_s:g} s; killed", command)
                reply = receive(self._connection)
                if "event" not in reply:
                    break
                self.on_event(reply)
        except (EOFError, OSError) as error:
            raise self._ended(command) from error
        if not reply["ok"]:
            raise WorkerFailure(Status(reply["status"]), reply["reason"], command)
        return reply

    def pause(self) -> None:
        """SIGSTOP, then wait until all threads are stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        # WNOWAIT first: an exit must stay for Popen to collect, a stop is consumed by the second call.
        state = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if state is None or state.si_code != os.CLD_STOPPED:
            raise self._ended("pause")
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill the whole process group at once, stopped or not, and collect the child.

        A worker has nothing to save: all it knew went through the socket, and its output is unbuffered.
        """
        with contextlib.suppress(ProcessLookupError):  # all gone already
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _ended(self, stage: str) -> WorkerFailure:
        try:
            code = self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerFailure(Status.CRASHED, "the worker closed its connection without ending; killed", stage)
        self.close()
        if code < 0:
            name = signal.Signals(-code).name
            if -code == signal.SIGKILL and _oom_kills() > self._oom_kills:
                return WorkerFailure(Status.OOM, "killed by the kernel, out of memory", stage)
            return WorkerFailure(Status.CRASHED, f"killed by {name}", stage)
        return WorkerFailure(Status.CRASHED, f"ended with exit code {code}", stage)


def log_name(trial: Trial, role: Role) -> str:
    """Return a log's place below the folder of logs; no two trials share one."""
    return f"{trial.experiment}/{trial.name}.{role}.log"


class Launcher:
    """Starts workers whose output goes to log files in ``log_dir``.

    With ``isolate`` each worker is a session, and so a scheduling group of its own, whose weight is raised: the
    kernel's autogroup makes nice powerless between sessions. It ends with the worker, so nothing is left changed.
    """

    def __init__(self, log_dir: Path, *, isolate: bool = False) -> None:
        self._log_dir = log_dir
        self._isolate = isolate
        self._cores = os.sched_getaffinity(0)  # before the coordinator moves out of the way

    def log_path(self, trial: Trial, role: Role) -> Path:
        """Return the log file of a trial's workers of one role."""
        return self._log_dir / log_name(trial, role)

    def __call__(self, trial: Trial, role: Role) -> WorkerProcess:
        """Start a worker. Raises WorkerFailure when the interpreter cannot be run."""
        ours, theirs = socket.socketpair()
        log = self.log_path(trial, role)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [trial.interpreter or sys.executable, "-m", "harness.worker", "--fd", str(theirs.fileno())]
        command += ["--parent", str(os.getpid()), "--role", role]
        command += ["--cores", ",".join(map(str, sorted(self._cores)))]
        scratch = Path(tempfile.mkdtemp(prefix="harness-worker-"))
        try:
            with theirs, log.open("ab") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno()],
                    env={**self._environment(trial, role), "TMPDIR": str(scratch)},
                    # Either way Ctrl-C reaches the coordinator only.
                    start_new_session=self._isolate,
                    process_group=None if self._isolate else 0,
                )
        except OSError as error:
            ours.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise WorkerFailure(Status.FAILED, f"cannot start {command[0]}: {error}", "spawn") from error
        if self._isolate:
            raise_weight(process.pid)
        return WorkerProcess(process, Connection(ours.detach()), log, scratch)

    def _environment(self, trial: Trial, role: Role) -> dict[str, str]:
        backend = BACKENDS.get(trial.backend)
        baked_in = role == "measure" or backend.static_threads
        threads = trial.threads if baked_in else (os.cpu_count() or 1)
        cores = sorted(cores_for(trial.threads) or self._cores) if role == "measure" else ()
        environment = {**os.environ, **backend.environment(threads, trial.options, cores)}
        if trial.interpreter:
            # That interpreter has the runtime; the harness itself comes from here.
            root = str(Path(__file__).resolve().parent.parent)
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        return environment


def raise_weight(pid: int) -> None:
    """Give the scheduling group of a session more weight (sched(7), autogroup); its session must be its own.

    Does nothing where the process has just ended. Raises HarnessError where it is not permitted.
    """
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(ISOLATED_NICE))
    except (FileNotFoundError, ProcessLookupError):
        return
    except OSError as error:
        raise HarnessError(f"the weight of a scheduling group cannot be raised: {error.strerror}") from error


def isolation_unavailable(root: Path = Path("/")) -> str | None:
    """Return why ``isolate`` can do nothing here, or None."""
    switch = root / "proc/sys/kernel/sched_autogroup_enabled"
    try:
        if switch.read_text().strip() != "1":
            return "autogroup is off on this host, so sessions are no scheduling groups; use nice"
    except OSError:
        return "this kernel has no autogroup"
    if os.geteuid() != 0:
        return "raising the weight of a scheduling group needs root"
    return None


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for memory since it started; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0
