"""Connections stay open from request to request, and are made again when the server closed them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medvistagym_core.rollouts import ChatCompletionsClient, EndpointError

REPLY = b'{"choices": [{"message": {"role": "assistant", "content": "yes"}}]}'


class Server(ThreadingHTTPServer):
    """A server that keeps connections open, as model servers do, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections, self.requests, self.chunked, self.cut, self.hang_up_after = 0, 0, False, False, 10**9
        self.drips = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.served = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        self.served += 1
        self.send_response(200)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (REPLY[:20], REPLY[20:], b""):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        else:
            self.send_header("Content-Length", str(len(REPLY)))
            self.end_headers()
            if self.server.drips:
                with contextlib.suppress(OSError):  # the client has gone
                    for byte in REPLY:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.1)
                return
            self.wfile.write(REPLY[:30] if self.server.cut else REPLY)
        # A server may close an idle connection without a word.
        self.close_connection = self.server.cut or self.served >= self.server.hang_up_after

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


def ask(client: ChatCompletionsClient) -> str:
    return str(client.complete({"model": "m", "messages": []})["content"])


@pytest.mark.parametrize("chunked", [False, True])
def test_one_connection_serves_request_after_request(server: Server, chunked: bool) -> None:
    server.chunked = chunked
    client = ChatCompletionsClient(server.url, retries=0)
    assert [ask(client) for _ in range(5)] == ["yes"] * 5
    assert (server.connections, server.requests) == (1, 5)


def test_one_that_was_closed_while_idle_is_made_again(server: Server) -> None:
    server.hang_up_after = 1
    client = ChatCompletionsClient(server.url, retries=0)
    for _ in range(3):
        assert ask(client) == "yes"
        time.sleep(0.05)  # the server hangs up
    assert (server.connections, server.requests) == (3, 3)


def test_an_answer_that_breaks_off_is_no_answer(server: Server) -> None:
    server.cut = True
    client = ChatCompletionsClient(server.url, retries=1, backoff_s=0)
    with pytest.raises(EndpointError, match=r"the connection broke \(IncompleteRead\) \(given up after 2 tries\)"):
        ask(client)


def test_an_answer_that_drips_is_given_up_when_its_time_is_over(server: Server) -> None:
    server.drips = True
    client = ChatCompletionsClient(server.url, retries=0, timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(EndpointError, match=r"no answer within 0.5 s"):
        ask(client)
    assert time.monotonic() - began < 0.1 * len(REPLY) / 2


def test_threads_have_a_connection_each(server: Server) -> None:
    client = ChatCompletionsClient(server.url, retries=0, concurrency=4)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(ask(client) for _ in range(10)), daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == ["yes"] * 40
    assert server.connections <= 4
