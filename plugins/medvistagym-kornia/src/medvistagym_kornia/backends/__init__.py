"""The filters behind the tools, in two backends with one result, and which of them serves a device.

May use the core. OpenCV, kornia and torch are imported by `select_backend`, when a tool is set up.
"""

from __future__ import annotations

from medvistagym_kornia.backends._base import FilterBackend, MorphologyOperation

__all__ = ["FilterBackend", "MorphologyOperation", "select_backend"]


def select_backend(device: str) -> FilterBackend:
    """OpenCV for "cpu"; kornia for any other device that torch knows.

    Raises:
        RuntimeError: kornia is not installed, or torch has no such device.
    """
    if device == "cpu":
        from medvistagym_kornia.backends._opencv import OpenCVBackend

        return OpenCVBackend()
    try:
        import kornia  # noqa: F401
    except ImportError as error:
        raise RuntimeError(f"the device {device} needs kornia: pip install 'medvistagym-kornia[gpu]'") from error
    from medvistagym_kornia.backends._kornia import KorniaBackend

    return KorniaBackend(device)
