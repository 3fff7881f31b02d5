"""Messages between the coordinator and a worker: length-prefixed JSON over a private socket.

The worker's stdout and stderr go to a log file, so a library that prints cannot corrupt anything. Standard
library only: the measured process imports this.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

from harness.errors import HarnessError, InvalidOutputError, OutOfMemoryError, UnsupportedError
from harness.schema import InputSpec, ModelSource, PassSpec, Status, Trial, Unmeasured

Message = dict[str, Any]


def send(connection: Connection, message: Message) -> None:
    """Send one message; raises OSError when the other side is gone."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> Message:
    """Wait for one message; raises EOFError when the other side is gone."""
    message = json.loads(connection.recv_bytes())
    if not isinstance(message, dict):
        raise HarnessError(f"a worker sent {type(message).__name__} instead of an object")
    return message


def status_of(error: BaseException) -> Status:
    """Classify an exception raised inside a worker."""
    if isinstance(error, UnsupportedError):
        return Status.UNSUPPORTED
    if isinstance(error, InvalidOutputError):
        return Status.INVALID
    if isinstance(error, (MemoryError, OutOfMemoryError)):
        return Status.OOM
    return Status.FAILED


def sentence_of(error: BaseException) -> str:
    """Return one line for a record's reason; the traceback is in the log."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, HarnessError):
        return text[:500]
    return f"{type(error).__name__}: {text}"[:500]


def value_to_message(value: float | Unmeasured) -> float | Message:
    """Return a number, or an object with the reason why there is none."""
    return {"reason": value.reason} if isinstance(value, Unmeasured) else value


def value_from_message(value: Any) -> Any:
    """Undo ``value_to_message``."""
    return Unmeasured(value["reason"]) if isinstance(value, dict) else value


def trial_from_message(message: Message) -> Trial:
    """Rebuild a trial from ``dataclasses.asdict`` data, without pydantic."""
    passes = tuple(PassSpec(**p) for p in message["passes"])
    source = message.get("source")
    return Trial(**{**message, "passes": passes, "source": source_from_message(source) if source else None})


def source_from_message(message: Message) -> ModelSource:
    """Rebuild a model source from ``dataclasses.asdict`` data."""
    inputs = tuple(InputSpec(**{**item, "shape": tuple(item["shape"])}) for item in message["inputs"])
    return ModelSource(**{**message, "inputs": inputs})
