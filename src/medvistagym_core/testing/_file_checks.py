"""Checks of what reads, writes and segments images; what is checked is typed `Any`, since that is the question."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.imaging import Image, SegmentationPrompt
from medvistagym_core.testing._finding import Finding, several
from medvistagym_core.testing._sample_images import SAMPLE_IMAGES

_FOREIGN: Final = {
    "empty.bin": b"",
    "notes.txt": b"These are notes, and no image.\n",
    "noise.dat": bytes(range(256)) * 16,
    "zeros.raw": bytes(4096),
    "wrong-name.dcm": b"not what its name says",
}


def check_reader(reader: Any) -> Finding:
    """Leaves files of no kind to others, and says what is wrong with broken ones in a sentence."""
    faults = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in _FOREIGN.items():
            Path(folder, name).write_bytes(content)
        Path(folder, "folder").mkdir()
        for path in sorted(Path(folder).iterdir()):
            try:
                images: object = reader(path)
            except (ValueError, OSError) as error:
                if not str(error).strip():
                    faults.append(f"{path.name} is refused without a sentence")
                elif path.name == "notes.txt":
                    faults.append(f"it takes {path.name} for its own: {error}; it should return None")
                continue
            except BaseException as error:  # noqa: BLE001 the author's code, SystemExit too
                faults.append(f"for {path.name} it raises {type(error).__name__}: {error}")
                continue
            if images is not None and not (
                isinstance(images, Sequence) and all(isinstance(image, Image) for image in images)
            ):
                faults.append(f"for {path.name} it gives {type(images).__name__}, not images or None")
            elif images and path.name == "notes.txt":
                faults.append(f"it reads {path.name} as an image")
    return several(faults)


def check_writer(writer: Any) -> Finding:
    """Writes a file, or refuses with a sentence and leaves nothing behind."""
    suffixes: object = writer.suffixes
    if not isinstance(suffixes, tuple) or not suffixes or not all(_is_suffix(one) for one in suffixes):
        return Finding("FAIL", f"suffixes are {suffixes!r:.80}, not a tuple of endings such as '.nii'")
    faults = []
    written = 0
    for name, make in SAMPLE_IMAGES.items():
        for suffix in writer.suffixes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"image{suffix}")
                try:
                    writer.write(make(), path)
                except ValueError as error:
                    if not str(error).strip():
                        faults.append(f"{name} is refused without a sentence")
                except Exception as error:  # noqa: BLE001 the author's code
                    faults.append(f"for {name} it raises {type(error).__name__}: {error}")
                else:
                    written += 1
                    if not path.is_file() or not path.stat().st_size:
                        faults.append(f"for {name} it writes no image{suffix}")
                left = sorted(file.name for file in Path(folder).iterdir() if file != path)
                if left:
                    faults.append(f"for {name} it leaves {', '.join(left)} behind")
    if not written and not faults:
        return Finding("FAIL", "it refuses every image")
    return several(faults)


def _is_suffix(suffix: object) -> bool:
    return isinstance(suffix, str) and suffix.startswith(".") and suffix == suffix.lower()


def check_segmenter(segmenter: Any) -> Finding:
    """A mask of the image's own shape, or a sentence."""
    import numpy as np

    faults = []
    for name, make in SAMPLE_IMAGES.items():
        image = make()
        height, width = image.shape
        middle = (width // 2, height // 2)
        for prompt in (
            SegmentationPrompt(),
            SegmentationPrompt(point=middle),
            SegmentationPrompt(box=(0, 0, width, height)),
        ):
            try:
                mask = segmenter.segment(image, prompt)
            except ValueError as error:
                if not str(error).strip():
                    faults.append(f"{name} is refused without a sentence")
                continue
            except Exception as error:  # noqa: BLE001 the author's code
                faults.append(f"for {name} it raises {type(error).__name__}: {error}")
                continue
            want = (image.frames, height, width) if image.is_stack else (height, width)
            if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != want:
                description = f"{mask.dtype} of {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
                faults.append(f"for {name} it gives {description}, not booleans of {want}")
    return several(faults)
