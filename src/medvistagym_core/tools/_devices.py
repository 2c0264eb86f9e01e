"""Where tools run: which device each tool of a toolbox is set up on, and whether this machine has it.

A placement is a mapping of tool names, ids or patterns of either to devices in torch's spelling:
`{"segment": "cuda:0", "*": "cpu"}`. A name or id holds before any pattern, else the first pattern that fits; a tool that
none fits is set up on "cpu". Only a tool that is a class has a device, which its `setup(device)` is given; a function runs
where its arrays are. The device is no part of what a policy sees, so neither the schema nor the lock of a toolbox knows it.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Final

CPU: Final = "cpu"
_DEVICE: Final = re.compile(r"(cpu|cuda|xpu|mps)(?::(\d{1,4}))?")


def parse_device_map(text: str) -> dict[str, str]:
    """The placement that a text such as "cuda", "cuda:1" or "segment=cuda:0,*=cpu" says.

    Raises:
        ValueError: It is none.
    """
    devices: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, device = part.rpartition("=")
        pattern, device = pattern.strip() or "*", device.strip()
        if not _DEVICE.fullmatch(device) or (equals and part.startswith("=")):
            raise ValueError(
                f"{part!r} places nothing: write a device (cpu, cuda, cuda:1, mps), or tool=device, separated by commas"
            )
        if pattern in devices:
            raise ValueError(f"{pattern!r} is placed twice, on {devices[pattern]} and on {device}")
        devices[pattern] = device
    return devices


def parse_available_device_map(text: str) -> dict[str, str]:
    """The placement that a text says, on devices of this machine.

    Raises:
        ValueError: It is none, or names a device that is not here.
    """
    devices = parse_device_map(text)
    for device in devices.values():
        if missing := unavailable_reason(device):
            raise ValueError(missing)
    return devices


def device_for_tool(name: str, tool_id: str, devices: Mapping[str, str]) -> str:
    """The device of a tool by its name in the toolbox or its canonical id.

    Args:
        name: Its name in the toolbox.
        tool_id: Its canonical id.
        devices: Devices by name, id or pattern of either.
    """
    for exact in (name, tool_id):
        if exact in devices:
            return devices[exact]
    for pattern, device in devices.items():
        if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(tool_id, pattern):
            return device
    return CPU


@functools.cache
def unavailable_reason(device: str) -> str:
    """Why this machine has no such device, in a few words; nothing when it has it. All but "cpu" imports torch."""
    match = _DEVICE.fullmatch(device)
    if match is None:
        return f"{device!r} is no device; devices are cpu, cuda, cuda:1, mps"
    kind, number = match[1], int(match[2] or 0)
    if kind == CPU:
        return "" if number == 0 else f"there is no device {device}; the processor is cpu"
    try:
        import torch
    except ModuleNotFoundError:
        return f"{device} needs torch, which is not installed"
    if kind == "mps":
        return "" if number == 0 and torch.backends.mps.is_available() else f"there is no device {device} here; use cpu"
    count = torch.cuda.device_count() if kind == "cuda" else torch.xpu.device_count()
    if number < count:
        return ""
    there = "; use cpu" if count == 0 else f"; there is {kind}:0" + (f" to {kind}:{count - 1}" if count > 1 else "")
    return f"there is no device {device} here{there}"
