"""Messages between a process and its workers: pickles whose arrays travel beside them, as they lie in memory."""

from __future__ import annotations

import pickle
import struct
from multiprocessing.connection import Connection
from typing import Any, Final

TOOL_LOADED: Final = "begun"
_COUNT: Final = struct.Struct("<I")
_SIZE: Final = struct.Struct("<Q")


class UnpicklableMessageError(ValueError):
    """A message that came whole and cannot be made of what this process has; `str` says why."""


def send(connection: Connection, message: Any) -> None:
    """Send a message.

    Raises:
        OSError: The other side is gone.
        Exception: Whatever its parts raise when they cannot be pickled; then nothing was sent.
    """
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    connection.send_bytes(_COUNT.pack(len(views)) + b"".join(_SIZE.pack(view.nbytes) for view in views) + body)
    for view in views:
        connection.send_bytes(view)


def receive(connection: Connection) -> Any:
    """The next message; its arrays are read-only.

    Raises:
        EOFError: The other side is gone.
        OSError: The other side is gone.
        UnpicklableMessageError: It holds what cannot be restored here; the next message can be read.
    """
    head = memoryview(connection.recv_bytes())
    (count,) = _COUNT.unpack_from(head)
    body = _COUNT.size + count * _SIZE.size
    buffers = []
    for k in range(count):
        (size,) = _SIZE.unpack_from(head, _COUNT.size + k * _SIZE.size)
        buffer = bytearray(size)
        connection.recv_bytes_into(buffer)
        buffers.append(memoryview(buffer).toreadonly())
    try:
        return pickle.loads(head[body:], buffers=buffers)
    except Exception as error:  # noqa: BLE001 of whatever the message is made of
        raise UnpicklableMessageError(f"{type(error).__name__}: {error}") from None
