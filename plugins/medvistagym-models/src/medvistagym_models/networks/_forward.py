"""Networks in a file of their own, ONNX or TorchScript: numbers in, numbers out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medvistagym_core.tools import first_line
from medvistagym_models._entry import InputSettings, ModelEntry
from medvistagym_models._models_file import ModelError

if TYPE_CHECKING:
    import numpy as np


class Forward(Protocol):
    """Runs a network."""

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name (numbers as text where they have none), float32, of float32 `(N, C, H, W)`."""
        ...


class OnnxForward:
    """A network in an ONNX file, run by ONNX Runtime.

    Args:
        entry: Its entry.
        device: Where it runs: "cpu" or "cuda".

    Raises:
        ModelError: It cannot be loaded, or does not take what the entry's `input` says.
    """

    def __init__(self, entry: ModelEntry, device: str) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ModelError(entry.name, "an ONNX file needs onnxruntime: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        kind, _, number = device.partition(":")
        gpu = [("CUDAExecutionProvider", {"device_id": int(number or 0)})] if kind == "cuda" else []
        if gpu and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ModelError(entry.name, "an ONNX file on a GPU needs onnxruntime-gpu: pip install onnxruntime-gpu")
        try:
            self._session = onnxruntime.InferenceSession(str(entry.path), options, [*gpu, "CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 its exceptions have no common class
            raise ModelError(entry.name, f"{entry.model}.onnx cannot be loaded: {first_line(error)}") from None
        (self._input, *others) = self._session.get_inputs()
        if others:
            raise ModelError(entry.name, f"the network takes {len(others) + 1} inputs; one picture is given")
        self._names = [output.name for output in self._session.get_outputs()]
        self._is_float16 = "float16" in self._input.type
        self.fixed_batch = self._input.shape[0] if isinstance(self._input.shape[0], int) else None
        check_input_shape(entry, self._input.shape)

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        import numpy as np

        size = self.fixed_batch or len(values)
        parts = []
        for first in range(0, len(values), size):
            part = values[first : first + size]
            missing = size - len(part)
            part = np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
            part = part.astype(np.float16) if self._is_float16 else part
            found = self._session.run(None, {self._input.name: part})
            parts.append([np.asarray(one)[: size - missing] for one in found])
        together = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return {name: np.asarray(one, np.float32) for name, one in zip(self._names, together, strict=True)}


class TorchScriptForward:
    """A network in a TorchScript file.

    Args:
        entry: Its entry.
        device: Where it runs.

    Raises:
        ModelError: It cannot be loaded.
    """

    fixed_batch: int | None = None

    def __init__(self, entry: ModelEntry, device: str) -> None:
        import torch

        load: Any = torch.jit.load
        try:
            self._module = load(str(entry.path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                entry.name, f"{entry.model} cannot be loaded as TorchScript: {first_line(error)}"
            ) from None
        self._entry, self._device = entry, device

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            try:
                found = self._module(torch.from_numpy(values).to(self._device))
            except RuntimeError as error:
                raise _explain(error, self._entry) from None
        return {name: tensor.float().cpu().numpy() for name, tensor in _flat(found).items()}


def required_settings(entry: ModelEntry) -> InputSettings:
    """What the entry says that the network is given.

    Raises:
        ModelError: It says nothing, and a file of this kind does not say it either.
    """
    if entry.input is None:
        raise ModelError(
            entry.name,
            f"input is missing: {entry.path.name if entry.path else 'the file'} does not say what it is given; add "
            "input = {size = 224, channels = 3, mean = 0.5, std = 0.25} with the values of its training",
        )
    return entry.input


def check_input_shape(entry: ModelEntry, shape: Sequence[Any]) -> None:
    """Refuse an entry whose `input` a network of this input shape cannot take; what is no number is free."""
    settings = required_settings(entry)
    if len(shape) != 4:
        raise ModelError(entry.name, f"the network takes {len(shape)} axes, and a picture is given as (N, C, H, W)")
    channels, *sides = shape[1:]
    if isinstance(channels, int) and channels != settings.channels:
        raise ModelError(
            entry.name,
            f"the model takes {channels} channel{'s' if channels > 1 else ''}, and input.channels is {settings.channels}",
        )
    if all(isinstance(side, int) for side in sides) and (settings.shape is None or tuple(sides) != settings.shape):
        raise ModelError(
            entry.name, f"the model takes {sides[0]} x {sides[1]} pixels, and input.size is {settings.size}"
        )


def _explain(error: RuntimeError, entry: ModelEntry) -> Exception:
    """What torch says of a picture with the wrong number of channels, as a sentence about the entry."""
    wrong = re.search(r"to have (\d+) channels, but got (\d+) channels", str(error))
    if wrong is None:
        return error
    taken, given = wrong.groups()
    return ModelError(
        entry.name, f"the model takes {taken} channel{'s' if taken != '1' else ''}, and input.channels is {given}"
    )


def _flat(output: Any) -> dict[str, Any]:
    """Tensors by name in what a module gives: one, several, a dict, or one dict for each image as torchvision's detectors."""
    if isinstance(output, dict):
        return {str(name): value for name, value in output.items() if hasattr(value, "cpu")}
    if hasattr(output, "cpu"):
        return {"0": output}
    if (
        isinstance(output, tuple)
        and len(output) == 2
        and isinstance(output[1], list)
        and output[1]
        and isinstance(output[1][0], dict)
    ):
        output = output[1]  # torchvision: losses, detections
    if isinstance(output, list) and output and isinstance(output[0], dict):
        import torch

        most = max(len(one["scores"]) for one in output)
        padded = {}
        for name in ("boxes", "scores", "labels"):
            rows = [
                torch.nn.functional.pad(one[name].float(), [0] * (2 * one[name].ndim - 1) + [most - len(one[name])])
                for one in output
            ]
            padded[name] = torch.stack(rows)
        return padded
    return {str(k): value for k, value in enumerate(output) if hasattr(value, "cpu")}
