"""`medvistagym doctor`: whether what is installed works here, and what to do where it does not."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.cli._console import Color, print_json, print_status, print_text
from medvistagym_core.cli._options import add_common

if TYPE_CHECKING:
    from medvistagym_core.plugins import PluginReport, Registry

__all__ = ["configure"]

_EXAMPLE: Final = """\
medvistagym doctor
medvistagym doctor --model checkpoints/my-vlm
medvistagym doctor --endpoint http://127.0.0.1:8000/v1 --json"""
_COLORS: Final[dict[str, Color]] = {"ok": "green", "note": "yellow", "fault": "red"}
_IMPORT_LIMIT_S: Final = 120
_ASK_TORCH: Final = """
import json, torch
gpus = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
found = [[gpu.name, gpu.total_memory] for gpu in gpus]
if found:
    torch.ones(8, device="cuda").sum().item()
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": found}))
"""


@dataclasses.dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Attributes:
        state: "ok", "note" for what may be wanted and is not there, "fault" for what is broken.
        what: What was looked at.
        found: What was found.
        todo: What to do about it; empty where there is nothing to do.
    """

    state: Literal["ok", "note", "fault"]
    what: str
    found: str
    todo: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("--model", metavar="PATH", type=Path, help="also check the chat template of a checkpoint")
    parser.add_argument("--endpoint", metavar="URL", help="also ask an OpenAI-compatible endpoint for its models")
    parser.set_defaults(execute=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from medvistagym_core.plugins import Registry

    with warnings.catch_warnings(record=True) as warned:  # a plugin's, which are reported with its name below
        warnings.simplefilter("always")
        registry = Registry.discover(options.plugins)
    checks = [
        *_installation(),
        *(check for report in registry.reports for check in _plugin(report)),
        *(Check("note", "plugins", str(one.message)) for one in warned),
        *_tools(registry),
        *_formats(registry),
        *_kept_listings(),
        *_kernels(),
        *_gpu(),
    ]
    if options.model is not None:
        checks += _chat_template(registry, options.model)
    if options.endpoint is not None:
        checks += _endpoint(options.endpoint)
    faults = [check for check in checks if check.state == "fault"]
    if options.json:
        print_json({"ok": not faults, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        for check in checks:
            _print(check)
        notes = sum(check.state == "note" for check in checks)
        print_text(f"\n{len(checks)} checks: {_count(len(faults), 'fault')}, {_count(notes, 'note')}")
    return 1 if faults else 0


def _print(check: Check) -> None:
    print_status(check.state, _COLORS[check.state], f"{check.what}: {check.found}")
    if check.todo:
        print_text(f"       to do: {check.todo}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _installation() -> Iterator[Check]:
    from medvistagym_core.plugins import scan_environment
    from medvistagym_core.tools import core_version

    python = platform.python_version()
    yield Check(
        "ok", "medvistagym-core", f"{core_version()} on Python {python}, {platform.system()} {platform.machine()}"
    )
    yield from _program()
    for fault in scan_environment().faults:
        yield Check("note", "another distribution", f"is broken: {fault}", "install it again, or take it out")


def _program() -> Iterator[Check]:
    """Whether the shell starts the program of this Python."""
    here, script = Path(sys.executable).parent, shutil.which("medvistagym")
    if script is None:
        todo = f"add {here} to PATH, or activate the environment"
        yield Check("note", "the program", "`medvistagym` is not on the path", todo)
    elif here.resolve() not in (Path(script).parent.resolve(), Path(script).resolve().parent):
        problem = f"`medvistagym` is {script}, of another Python than {sys.executable}"
        yield Check("note", "the program", problem, "activate one environment")


def _plugin(report: PluginReport) -> Iterator[Check]:
    name = f"plugin {report.name}"
    if report.state in ("failed", "incompatible"):
        yield Check("fault", name, f"{report.state}: {report.reason}", report.fix)
        return
    state = "disabled" if report.state == "disabled" else f"{report.distribution} {report.version}"
    yield Check("ok", name, state)
    for fault in report.faults:
        yield Check(
            "fault", name, f"offers what is left out: {fault}", f"medvistagym plugins check {report.distribution}"
        )
    for note in report.notes:
        yield Check("note", name, note)


def _tools(registry: Registry) -> Iterator[Check]:
    from medvistagym_core.plugins import SelectionError

    try:
        count = len(registry.toolbox())
    except SelectionError as error:
        yield Check("note", "tools", str(error), "select tools by id with --tools, or give one an alias")
        return
    if count:
        yield Check("ok", "tools", f"{count}, each of a name of its own")
    else:
        todo = "install a plugin; `medvistagym plugins search` says how"
        yield Check("note", "tools", "no plugin offers one", todo)


def _formats(registry: Registry) -> Iterator[Check]:
    from medvistagym_core.plugins import load_catalog

    readers = {report.distribution for report in registry.reports if report.readers}
    for kind in ("DICOM", "NIfTI"):
        entry = load_catalog().entry_for_format(kind)
        if entry is None:
            continue
        if entry.distribution in readers:
            yield Check("ok", f"{kind} files", f"read by {entry.distribution}")
        else:
            yield Check("note", f"{kind} files", "no loaded plugin reads them", entry.install)


def _kept_listings() -> Iterator[Check]:
    """Where names of what is installed are kept, so that lists need not load it."""
    from medvistagym_core.plugins import CACHE_VARIABLE, listing_folder

    what, folder = "names of tools", listing_folder()
    if os.environ.get(CACHE_VARIABLE) == "0":
        yield Check("note", what, "not kept, since it is turned off", f"unset {CACHE_VARIABLE}")
    elif folder is None:
        yield Check(
            "note", what, "not kept: there is no home folder; lists take longer", "set XDG_CACHE_HOME to a folder"
        )
    elif not os.access(next(place for place in (folder, *folder.parents) if place.exists()), os.W_OK):
        yield Check("note", what, f"not kept: {folder} cannot be written; lists take longer")
    else:
        yield Check("ok", what, f"kept in {folder} while nothing changes; {CACHE_VARIABLE}=0 turns it off")


def _kernels() -> Iterator[Check]:
    from medvistagym_core.imaging import NATIVE_ENV_VAR, native_kernels

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loaded = native_kernels() is not None
    if loaded:
        yield Check("ok", "compiled kernels", "loaded")
    elif warned:
        yield Check("fault", "compiled kernels", str(warned[0].message))
    elif os.environ.get(NATIVE_ENV_VAR) == "0":
        yield Check("note", "compiled kernels", f"not used, since {NATIVE_ENV_VAR}=0")
    elif importlib.util.find_spec("medvistagym_native") is None:
        yield Check(
            "note", "compiled kernels", "not installed; results are the same, slower", "pip install medvistagym-native"
        )
    else:
        todo = "install a C compiler, then: pip install --force-reinstall --no-cache-dir medvistagym-native"
        yield Check("note", "compiled kernels", "installed and not compiled; results are the same, slower", todo)


def _gpu() -> Iterator[Check]:
    """What PyTorch finds. It is asked in a process of its own, which a broken driver may end."""
    driver = shutil.which("nvidia-smi") is not None
    if importlib.util.find_spec("torch") is None:
        yield Check("note", "PyTorch", "not installed; it is needed to train, and by some tools", "pip install torch")
        return
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_IMPORT_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Check(
            "fault", "PyTorch", f"did not answer within {_IMPORT_LIMIT_S} s", "look at the driver with nvidia-smi"
        )
        return
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"])[-1]
        yield Check("fault", "PyTorch", f"does not work: {last}", "install it again for this driver (pytorch.org)")
        return
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    yield Check("ok", "PyTorch", found["version"])
    if found["gpus"]:
        listed = ", ".join(
            f"cuda:{k} {name} ({memory / 2**30:.0f} GiB)" for k, (name, memory) in enumerate(found["gpus"])
        )
        yield Check("ok", "GPU", listed)
    elif driver:
        cpu = found["cuda"] is None
        problem = (
            "this PyTorch is a build for CPUs" if cpu else f"PyTorch, built for CUDA {found['cuda']}, finds no GPU"
        )
        todo = "install a CUDA build (pytorch.org)" if cpu else "compare with the CUDA version that nvidia-smi shows"
        yield Check("fault", "GPU", f"there is a driver, and {problem}", todo)
    else:
        yield Check("note", "GPU", "none; everything runs on the CPU")


def _chat_template(registry: Registry, path: Path) -> Iterator[Check]:
    from medvistagym_core.plugins import SelectionError
    from medvistagym_core.protocol import inspect_chat_template, load_template

    try:
        template = load_template(path)
        schemas = registry.toolbox().schemas()
    except (ValueError, SelectionError) as error:
        yield Check("fault", "chat template", str(error))
        return
    report = inspect_chat_template(template, schemas)
    if not report.problems:
        yield Check("ok", "chat template", "shows tools, calls, results and images")
    for problem in report.problems:
        todo = "train and sample with --style text" if "tool" in problem else ""
        if report.tools_not_rendered and "schemas" in problem:
            todo = "none: the schemas are written into the system prompt instead"
        yield Check("note", "chat template", problem, todo)


def _endpoint(url: str) -> Iterator[Check]:
    from medvistagym_core.rollouts import ChatCompletionsClient, EndpointError

    try:
        names = ChatCompletionsClient(url, retries=0, timeout_s=10).list_models()
    except (ValueError, EndpointError) as error:
        yield Check("fault", "endpoint", str(error), "start the server, or give its address with /v1 at the end")
        return
    yield Check("ok" if names else "note", "endpoint", f"{url} serves {', '.join(names) or 'no model'}")
