"""Connections that do not behave: opened and left, half spoken, garbage. Run in a process of their own."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


SETTINGS = _frame(4, 0, 0)


def _header(name: bytes, value: bytes) -> bytes:
    """One header field, never indexed and not compressed."""
    assert len(name) < 127 and len(value) < 127
    return bytes((0x10, len(name))) + name + bytes((len(value),)) + value


HEADERS = b"".join(
    _header(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/attribution.v1.AttributionService/Attribute"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
)
OPEN_STREAM = _frame(1, 0x4, 1, HEADERS)  # END_HEADERS, not END_STREAM: the request never comes
OVERSIZED = _frame(0, 0, 1, b"\x00\xff\xff\xff\xff")  # a message that claims 4 GiB

# What each kind of connection says. None of them says more.
WORDS: dict[str, Callable[[random.Random], bytes]] = {
    "nothing": lambda draw: b"",
    "preface": lambda draw: PREFACE,
    "idle": lambda draw: PREFACE + SETTINGS,
    "half-open stream": lambda draw: PREFACE + SETTINGS + OPEN_STREAM,
    "oversized": lambda draw: PREFACE + SETTINGS + OPEN_STREAM + OVERSIZED,
    "text": lambda draw: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "garbage": lambda draw: draw.randbytes(4096),
    "garbage behind the preface": lambda draw: PREFACE + SETTINGS + draw.randbytes(4096),
}


def hold(address: str, counts: dict[str, int], pipe: Connection) -> None:
    """Opens connections, says so, holds them until told, then reports how many of each kind the server closed."""
    host, port = address.split(":")
    draw = random.Random(5)
    connections: list[tuple[str, socket.socket]] = []
    for kind, count in counts.items():
        for _ in range(count):
            connection = socket.create_connection((host, int(port)), timeout=60)
            with contextlib.suppress(OSError):  # it was closed already
                connection.sendall(WORDS[kind](draw))
            connections.append((kind, connection))
    pipe.send("open")
    pipe.recv()
    closed = dict.fromkeys(counts, 0)
    for kind, connection in connections:
        connection.setblocking(False)
        try:
            while connection.recv(1 << 16):
                pass
            closed[kind] += 1
        except BlockingIOError:
            pass
        except OSError:
            closed[kind] += 1
        connection.close()
    pipe.send(closed)


def wait_until_closed(address: str, kind: str, seconds: float) -> bytes:
    """Opens one connection and returns what the server says until it closes it."""
    host, port = address.split(":")
    said = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(WORDS[kind](random.Random(6)))
        while True:
            ready, _, _ = select.select([connection], [], [], seconds)
            if not ready:
                raise TimeoutError(f"{kind}: open after {seconds} s")
            try:
                data = connection.recv(1 << 16)
            except ConnectionResetError:
                return said
            if not data:
                return said
            said += data
