"""A segmenter: finds a structure in an image; its name becomes a choice of the segmenting tools.

medvistagym tools call segment scan.png --method lab_half
"""

from medvistagym_core import hookimpl


class HalfMaximum:
    """What is at least half as bright as the brightest pixel, within the box if one is given."""

    def segment(self, image, prompt):
        import numpy as np

        if image.photometric == "RGB":
            raise ValueError("it works on grey images")
        values = np.nan_to_num(image.pixels.astype(np.float64), posinf=0.0, neginf=0.0)
        mask = values >= (values.min() + values.max()) / 2
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            inside = np.zeros(mask.shape, bool)
            inside[..., y0:y1, x0:x1] = True
            mask &= inside
        return mask


@hookimpl
def medvistagym_segmenters():
    return {"lab_half": HalfMaximum()}
