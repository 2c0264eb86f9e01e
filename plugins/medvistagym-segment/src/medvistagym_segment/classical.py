"""Segmenters without training, on SimpleITK, and on OpenCV where a plane is all there is to do.

Values are in HU for `lung` and `bone`; `body` knows CT by it. Lengths are in mm through the spacing, and in pixels where that
is not known. A single frame is worked on in 2-D, a volume in 3-D, except that holes are filled slice by slice: in 3-D the
airways would leave them open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import SimpleITK

from medvistagym_core.imaging import Image, is_supported_array, native_kernels, pooled_empty
from medvistagym_segment.segmenters import Where

if TYPE_CHECKING:
    import numpy as np

sitk: Any = SimpleITK  # it has no types
# The executor runs calls side by side.
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
cv2.setNumThreads(1)

_LEAST_HU: Final = -1024.0
_BODY_HU: Final = -300.0
_AIR_HU: Final = -400.0
_BONE_HU: Final = 150.0
_SURE_BONE_HU: Final = 300.0
_VESSELS_MM: Final = 5.0
_TABLE_MM: Final = 3.0
_LARGE: Final = 0.1  # of the largest part: what is smaller is dropped
_SPECK_MM: Final = 6.0  # cube or square of this side: what is smaller is dropped
_FARTHEST: Final = 1e38  # float32 ends at 3e38
_LEAST_STEP: Final = 1 / _FARTHEST
_CONFIDENCE: Final = 2.5  # standard deviations


def body(image: Image, where: Where) -> np.ndarray:
    """The patient without air around and table: above -300 HU, or by the triangle threshold; opened, largest part, filled.

    Source of the threshold: Zack, Rogers and Latt, Automatic measurement of sister chromatid exchange frequency, J Histochem
    Cytochem 25(7), 1977.
    """
    values = grey(image)
    if image.unit == "HU":
        found = _itk(values > _BODY_HU, image)
    else:
        _refuse_constant(values)
        smooth = _itk(values, image)
        if min(image.shape) >= 8:
            if values.ndim == 3 and len(values) < 4:  # the recursive filter needs four slices
                smooth = sitk.DiscreteGaussian(smooth, [1.0] * 3, 32, [0.01] * 3, True)
            else:
                smooth = sitk.SmoothingRecursiveGaussian(smooth, 1.0)
        found = sitk.TriangleThreshold(smooth, 0, 1, 256)
    opened = sitk.BinaryMorphologicalOpening(found, _pixels(image, _TABLE_MM), sitk.sitkBall)
    return _filled(largest(_array(opened)))


def lung(image: Image, where: Where) -> np.ndarray:
    """Air within the body, below -400 HU, vessels closed over 5 mm; parts below a tenth of the largest are dropped.

    The airways are part of it, and in a single abdominal slice so may gas in the bowel be.
    """
    values = _hounsfield(image, "lung")
    whole = _filled(largest(values > _AIR_HU))
    air = (values < _AIR_HU) & whole
    kept = parts(air, image, _LARGE)
    closed = sitk.BinaryMorphologicalClosing(_padded(kept, image), _pixels(image, _VESSELS_MM), sitk.sitkBall)
    lungs: np.ndarray = _filled(_unpadded(closed, image)) & whole
    return lungs


def bone(image: Image, where: Where) -> np.ndarray:
    """Parts above 150 HU that reach 300 HU, within the body, without specks; contrast-filled vessels look the same."""
    import numpy as np

    values = _hounsfield(image, "bone")
    labels = _array(sitk.ConnectedComponent(_itk(values > _BONE_HU, image)))
    sure = np.unique(labels[values > _SURE_BONE_HU])
    return parts(np.isin(labels, sure[sure > 0]) & body(image, where), image, 0.0)


def otsu(image: Image, where: Where) -> np.ndarray:
    """What is brighter than Otsu's threshold: its largest part, filled.

    Source: Otsu, A threshold selection method from gray-level histograms, IEEE TSMC 9(1), 1979.
    """
    values = grey(image)
    _refuse_constant(values)
    if values.ndim == 2:
        return _filled(largest(_above_otsu(values)))
    smooth = sitk.DiscreteGaussian(_itk(values, image), [1.0] * values.ndim, 5, [0.05] * values.ndim, False)
    return _filled(largest(_array(sitk.OtsuThreshold(smooth, 0, 1, 256))))


def region(image: Image, where: Where) -> np.ndarray:
    """What is connected with a point and alike in value, on values smoothed by a median within the slices.

    With a tolerance: within it of the value at the point. Without: within 2.5 standard deviations of the mean of a region that
    is grown so five times over in the slice of the point (SimpleITK's confidence-connected filter). It leaks where a neighbour
    has the same values.
    """
    import numpy as np

    if where.point is None:
        raise ValueError('the method "region" needs a point inside the structure')
    values = grey(image)
    planes = values if image.is_stack else values[None]
    x, y = where.point
    z = (image.frames // 2 if image.frame is None else image.frame) if image.is_stack else 0
    smooth = _array(sitk.Median(sitk.GetImageFromArray(planes), [1, 1, 0]))
    if where.tolerance is not None:
        low, high = float(smooth[z, y, x]) - where.tolerance, float(smooth[z, y, x]) + where.tolerance
    else:
        grown = _array(sitk.ConfidenceConnected(sitk.GetImageFromArray(smooth[z]), [(x, y)], 5, _CONFIDENCE, 2, 1)) > 0
        if not grown[y, x]:  # its surroundings are unlike the point itself
            raise ValueError(
                "the point lies on an edge or a speck; choose one well inside the structure, or give a tolerance"
            )
        inside = smooth[z][grown].astype(np.float64)
        reach = _CONFIDENCE * float(inside.std()) + 1e-6 * float(np.abs(inside).max())
        low, high = float(inside.mean()) - reach, float(inside.mean()) + reach
        low, high = min(low, float(smooth[z, y, x])), max(high, float(smooth[z, y, x]))
    found = sitk.ConnectedThreshold(sitk.GetImageFromArray(smooth), [(x, y, z)], low, high)
    mask = _filled(_array(found).astype(bool))
    return mask if image.is_stack else mask[0]


def grey(image: Image) -> np.ndarray:
    """Float32 values of one channel, bright is high: luma of colours (ITU-R BT.601), the negative of MONOCHROME1.

    HU end at that of air, -1024: below lies what scanners write outside their field of view.

    Raises:
        ValueError: Some are NaN or infinite.
    """
    import numpy as np

    pixels = image.pixels
    values = pooled_empty(pixels.shape, np.float32)
    c = native_kernels()
    if c is not None and pixels.ndim == 2 and is_supported_array(pixels) and pixels.strides[1] == pixels.itemsize:
        c.as_floats(pixels, values, _LEAST_HU if image.unit == "HU" else -np.inf)
        return np.negative(values, out=values) if image.photometric == "MONOCHROME1" else values
    with np.errstate(over="ignore"):
        np.copyto(values, pixels, casting="unsafe")
    if image.photometric == "RGB":
        values = values @ np.array((0.299, 0.587, 0.114), np.float32)
    if image.pixels.dtype.kind == "f" and (bad := values.size - int(np.count_nonzero(np.isfinite(values)))):
        raise ValueError(f"{bad} of {values.size} pixels have no value (NaN or infinite); take a part without them")
    if image.unit == "HU":
        np.maximum(values, np.float32(_LEAST_HU), out=values)
    return np.negative(values, out=values) if image.photometric == "MONOCHROME1" else values


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part, by faces; of equal ones the first."""
    import numpy as np

    if mask.ndim == 2 and (c := native_kernels()) is not None:
        found = pooled_empty(mask.shape, bool)
        c.largest(np.ascontiguousarray(mask, bool), found)
        return found
    if mask.ndim == 2:
        plane = pooled_empty(mask.shape, np.int32)
        count, _ = cv2.connectedComponents(mask.astype(bool, copy=False).view(np.uint8), plane, 4, cv2.CV_32S)
        if count < 2:
            return np.zeros(mask.shape, bool)
        sizes = np.bincount(plane.ravel())[1:]
        best: np.ndarray = plane == 1 + int(sizes.argmax())
        return best
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype("uint8"))))
    first: np.ndarray = _array(labels) == 1
    return first


def parts(mask: np.ndarray, image: Image, share: float) -> np.ndarray:
    """The connected parts that are at least `share` of the largest, and no specks."""
    import numpy as np

    labels = _array(sitk.RelabelComponent(sitk.ConnectedComponent(_itk(mask, image))))
    sizes = np.bincount(labels.ravel())
    if len(sizes) < 2:
        return np.zeros(mask.shape, bool)
    spacing = np.array(_spacing(image))
    speck = _SPECK_MM**mask.ndim / float(spacing.prod())
    least = max(share * int(sizes[1]), min(speck, int(sizes[1])))
    kept = np.flatnonzero(sizes >= least)
    return np.isin(labels, kept[kept > 0])


def _hounsfield(image: Image, method: str) -> np.ndarray:
    if image.unit != "HU":
        raise ValueError(f'the method "{method}" needs a CT in HU, and this image is in {image.unit}; "otsu" takes any')
    return grey(image)


def _refuse_constant(values: np.ndarray) -> None:
    if values.min() == values.max():
        raise ValueError("all pixels of the image have the same value; there is nothing to find")


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes closed, slice by slice."""
    import numpy as np

    if mask.ndim == 3:
        return np.stack([_filled(piece) for piece in mask])
    if (c := native_kernels()) is not None:
        whole = pooled_empty(mask.shape, bool)
        c.filled(np.ascontiguousarray(mask, bool), whole)
        return whole
    rimmed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    rimmed[1:-1, 1:-1] = mask
    cv2.floodFill(rimmed, None, (0, 0), 2)
    solid: np.ndarray = rimmed[1:-1, 1:-1] != 2
    return solid


def _above_otsu(values: np.ndarray) -> np.ndarray:
    """What SimpleITK's DiscreteGaussian (variance 1, 5 taps) and OtsuThreshold (256 classes) give of a plane, much faster."""
    import numpy as np

    taps = np.array([0.05088224, 0.21183832, 0.47455888, 0.21183832, 0.05088224])
    smooth = pooled_empty(values.shape, np.float32)
    cv2.sepFilter2D(values, cv2.CV_32F, taps, taps, smooth, borderType=cv2.BORDER_REPLICATE)
    low, high = float(smooth.min()), float(smooth.max())
    if not high - low < _FARTHEST:
        raise ValueError(f"the values of the image are more than {_FARTHEST:g} apart; there is no threshold to find")
    step = (high - low) * (1 + 1 / 25600) / 256  # ITK widens the last class by a hundredth of one
    if not step > _LEAST_STEP:
        return np.zeros(values.shape, bool)
    counts = _counts(smooth, low, 1 / step)
    below, total = counts.cumsum()[:-1], (counts * np.arange(256)).cumsum()
    above = counts.sum() - below
    between = (
        below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    )  # the first class is not empty
    return smooth > np.float32(low + (int(between.argmax()) + 1) * step)


def _counts(values: np.ndarray, low: float, factor: float) -> np.ndarray:
    """How many values of a plane fall in each of 256 classes: `(v - low) * factor`, which is at least 0 and below 256."""
    import numpy as np

    if (c := native_kernels()) is not None:
        counts = np.empty(256, np.int64)
        c.histogram(values, counts, low, factor)
        return counts.astype(np.float64)
    scaled, classes = pooled_empty(values.shape, np.float32), pooled_empty(values.shape, np.uint8)
    np.subtract(values, np.float32(low), out=scaled)
    np.multiply(scaled, np.float32(factor), out=scaled)
    np.copyto(classes, scaled, casting="unsafe")
    return np.bincount(classes.ravel(), minlength=256).astype(np.float64)


def _spacing(image: Image) -> tuple[float, ...]:
    count = 3 if image.is_stack else 2
    return (1.0,) * count if image.spacing is None else tuple(image.spacing[-count:])


def _pixels(image: Image, mm: float) -> list[int]:
    """A radius of `mm` in pixels of each axis, in ITK's order."""
    shape = image.pixels.shape
    radii = [round(mm / step) for step in _spacing(image)]
    return [min(radius, max(0, n // 8)) for radius, n in zip(radii, shape, strict=False)][::-1]


def _itk(array: np.ndarray, image: Image) -> Any:
    import numpy as np

    made = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    made.SetSpacing([float(step) for step in reversed(_spacing(image))])
    return made


def _padded(mask: np.ndarray, image: Image) -> Any:
    """With a rim of zeros as wide as the closing reaches, so that it treats the border as it does the inside."""
    radius = _pixels(image, _VESSELS_MM)
    return sitk.ConstantPad(_itk(mask, image), radius, radius, 0)


def _unpadded(padded: Any, image: Image) -> np.ndarray:
    radius = _pixels(image, _VESSELS_MM)
    return _array(sitk.Crop(padded, radius, radius))


def _array(made: Any) -> np.ndarray:
    array: np.ndarray = sitk.GetArrayFromImage(made)
    return array
