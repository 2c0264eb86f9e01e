"""This program's connection to Ray: begun by whoever needs it first, shared, and ended with its last user."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from typing import Any, Final

from medvistagym_ray.cluster._errors import RayUnavailableError

NAMESPACE: Final = "medvistagym"
"""Ray's namespace of all named workers."""

_PROBE_S: Final = 5.0
_HTTP2_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME: Final = 4
_STORE_SHARE: Final = 0.25
_MAX_STORE_MIB: Final = 4096
_MAX_STORE_SHARE: Final = 0.9
_INSTALL: Final = "pip install 'medvistagym-core[ray]', or from a clone: pip install ./plugins/medvistagym-ray"

_lock = threading.Lock()
_users = 0
_owned = False  # whether it was this module that connected


def load_ray() -> Any:
    """Ray's module, told to be quiet: it sends no usage statistics, and prints nothing into the output of a command.

    Raises:
        RayUnavailableError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # Ray prints what befalls workers on stdout
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else 15: tools would wait for a trainer on the same cores
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RayUnavailableError(f"this needs Ray, which is not installed: {_INSTALL}") from error
    return ray


class Connection:
    """One user's hold on the connection.

    Args:
        address: `HOST:PORT` of a cluster, "auto" for the Ray that runs on this machine, or None for what the variable
            RAY_ADDRESS names and else for a Ray that is started here and ends with its last user.
        object_store_mib: Memory of the object store, if Ray is started here; a quarter of the machine's, 4 GiB at most, if
            None.

    Raises:
        RayUnavailableError: It cannot be had.
    """

    def __init__(self, address: str | None = None, object_store_mib: int | None = None) -> None:
        global _users, _owned
        ray = load_ray()
        address = address or os.environ.get("RAY_ADDRESS") or None
        with _lock:
            if ray.is_initialized():
                _check_same(ray, address)
            else:
                _connect(ray, address, object_store_mib)
                _owned = True
            _users += 1
        self._open = True
        self.address = str(ray.get_runtime_context().gcs_address)

    def close(self) -> None:
        """Let go of it; with the last user, a Ray that was started here ends."""
        global _users, _owned
        with _lock:
            if not self._open:
                return
            self._open = False
            _users -= 1
            if _users == 0 and _owned:
                _owned = False
                load_ray().shutdown()


def _check_same(ray: Any, address: str | None) -> None:
    """Refuse a second cluster: Ray connects a process to one."""
    here = str(ray.get_runtime_context().gcs_address)
    if address in (None, "auto", "local") or _port(address) == _port(here):
        return
    raise RayUnavailableError(
        f"this program is connected to the Ray at {here} already; use that, or another program for {address}"
    )


def _port(address: str | None) -> str:
    return str(address).rpartition(":")[2]


def _connect(ray: Any, address: str | None, object_store_mib: int | None) -> None:
    if address not in (None, "auto", "local"):
        _probe(str(address))
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": NAMESPACE}
    if address in (None, "local"):
        options |= {
            "address": "local",
            "num_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "include_dashboard": False,
            "object_store_memory": _store_mib(object_store_mib) << 20,
        }
    else:
        options["address"] = address
        _use_token()
    try:
        ray.init(**options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Ray ends the process (SystemExit) where it gets no answer
        with contextlib.suppress(Exception):  # what is said is why there is no connection
            ray.shutdown()
        raise RayUnavailableError(_sentence(address, error, ray.__version__)) from error


def _use_token() -> None:
    """Send this user's token, if there is one: Ray does so to a cluster that it found, not to one whose address it is given."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    logging.getLogger("ray").setLevel(logging.ERROR)  # it would say that it does
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _probe(address: str) -> None:
    """Ask whether a gRPC server listens, for Ray waits 40 s for one that does not."""
    host, _, port = address.rpartition(":")
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_S) as connection:
            connection.settimeout(_PROBE_S)
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except OSError as error:
        reason = "nothing answers" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        raise RayUnavailableError(f"no Ray listens at {address} ({reason}); {_START}") from error
    if len(answer) < 4 or answer[3] != _SETTINGS_FRAME:
        raise RayUnavailableError(f"what listens at {address} is not the head of a Ray cluster; {_START}")


_START: Final = "start one with `ray start --head`, or leave out the address for a Ray of this program's own"


def _store_mib(asked: int | None) -> int:
    """Memory of the object store, in MiB.

    Raises:
        RayUnavailableError: The machine has not so much.
    """
    import psutil

    total = int(psutil.virtual_memory().total) >> 20
    if asked is not None and asked > _MAX_STORE_SHARE * total:
        raise RayUnavailableError(
            f"an object store of {asked} MiB leaves this machine's workers none of its {total} MiB of memory: give it less "
            "(limits: {object_store_mib: ...} in the placement file)"
        )
    return asked or max(128, min(_MAX_STORE_MIB, int(total * _STORE_SHARE)))


def _sentence(address: str | None, error: BaseException, version: str) -> str:
    text = str(error)
    if "Version mismatch" in text:
        theirs = re.findall(r"(Ray|Python): (\S+)", text)
        there = " and ".join(f"{name} {number}" for name, number in theirs[:2])
        here = " and ".join(f"{name} {number}" for name, number in theirs[2:4])
        ours = here or f"Ray {version}"
        return f"the cluster at {address} has {there}, and this program has {ours}: install the same versions"
    if isinstance(error, SystemExit):
        return f"what listens at {address} does not answer as Ray does; {_START}"
    first = " ".join(text.split())[:300]
    if address in (None, "local"):
        return f"Ray cannot be started on this machine: {first}"
    if address == "auto":
        return f"no Ray runs on this machine; {_START}"
    return (
        f"the Ray at {address} cannot be joined ({first}): this machine must be a node of it "
        f"(`ray start --address {address}`), with its token (~/.ray/auth_token of the head node, or RAY_AUTH_TOKEN_PATH)"
    )
