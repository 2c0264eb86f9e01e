"""What a program is told that cannot have Ray."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from medvistagym_ray.cluster import Connection, RayUnavailableError, load_ray


@pytest.fixture
def other_server() -> Iterator[str]:
    """The address of a server that speaks HTTP/1.1, once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.fixture
def not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no test before had connected."""
    monkeypatch.setattr(load_ray(), "is_initialized", lambda: False)


@pytest.mark.usefixtures("not_connected")
def test_where_nothing_listens() -> None:
    with pytest.raises(
        RayUnavailableError, match=r"^no Ray listens at 127\.0\.0\.1:1 \(connection refused\); start one"
    ):
        Connection("127.0.0.1:1")


@pytest.mark.usefixtures("not_connected")
def test_where_something_else_listens(other_server: str) -> None:
    with pytest.raises(
        RayUnavailableError, match=r"is not the head of a Ray cluster; start one with `ray start --head`"
    ):
        Connection(other_server)


@pytest.mark.usefixtures("not_connected")
def test_another_version_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = load_ray()

    def refuse(**options: object) -> None:
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"
            "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n"
        )

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("medvistagym_ray.cluster._connection._probe", lambda address: None)
    with pytest.raises(RayUnavailableError) as refused:
        Connection("10.0.0.1:6379")
    assert str(refused.value) == (
        "the cluster at 10.0.0.1:6379 has Ray 2.9.0 and Python 3.10.1, and this program has Ray 2.60.0 and Python 3.11.9: "
        "install the same versions"
    )


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayUnavailableError, match=r"not installed: pip install 'medvistagym-core\[ray\]'"):
        load_ray()


@pytest.mark.usefixtures("not_connected")
def test_an_object_store_that_the_machine_cannot_hold() -> None:
    with pytest.raises(
        RayUnavailableError,
        match=r"^an object store of 100000000 MiB leaves this machine's workers none of its \d+ MiB of memory: give it less",
    ):
        Connection("local", object_store_mib=100_000_000)
