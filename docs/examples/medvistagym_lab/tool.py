"""A tool: something that a policy can do with an image.

medvistagym tools call brightest scan.png
"""

from medvistagym_core import Image, hookimpl, tool


@tool
def brightest(image: Image) -> tuple[str, dict]:
    """Find the brightest place of an image.

    Use it when the question is where an image is brightest.

    Args:
        image: The image to look at; of a stack, the frame that is shown.
    """
    shown = image.view()  # 8-bit, as a reader would see it
    grey = shown.max(axis=2) if shown.ndim == 3 else shown
    row, column = divmod(int(grey.argmax()), grey.shape[1])
    x, y = 1000 * column // grey.shape[1], 1000 * row // grey.shape[0]
    words = f"{'upper' if y < 500 else 'lower'} {'left' if x < 500 else 'right'}"
    return f"The brightest place is at [{x}, {y}], {words}.", {"x": x, "y": y, "quadrant": words}


@hookimpl
def medvistagym_tools():
    return [brightest]
