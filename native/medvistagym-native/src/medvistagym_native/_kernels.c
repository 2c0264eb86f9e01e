/* Kernels for pixels, each with the bits that the code beside its call in the tools gives: the order of operations is that of
 * numpy's and OpenCV's passes, and nothing is contracted or reassociated (-ffp-contract=off). Arrays come by the buffer
 * protocol; the interpreter's lock is given back while they are worked on. */

#include "kernels.h"

static int array_of(PyObject *object, Py_buffer *view, int ndim, int writable, const char *name) {
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0) return -1;
    int fits = view->ndim == ndim && view->itemsize > 0 && view->strides[ndim - 1] == view->itemsize;
    fits = fits && (uintptr_t)view->buf % (size_t)view->itemsize == 0;
    for (int axis = 0; fits && axis < ndim; axis++) fits = view->strides[axis] % view->itemsize == 0;
    if (fits) return 0;
    PyErr_Format(PyExc_ValueError, "%s is an aligned array of %d axes, the last of them contiguous", name, ndim);
    PyBuffer_Release(view);
    return -1;
}

int arrays_of(PyObject *const *arguments, Py_buffer *values, int ndim, Py_buffer *out, int out_ndim) {
    if (array_of(arguments[0], values, ndim, 0, "the first array") < 0) return -1;
    if (array_of(arguments[1], out, out_ndim, 1, "out") == 0) return 0;
    PyBuffer_Release(values);
    return -1;
}

int is_int64(const Py_buffer *view) {
    return view->itemsize == 8 && view->format != NULL && (*view->format == 'l' || *view->format == 'q');
}

char kind_of(const Py_buffer *view) {
    const char *format = view->format == NULL ? "B" : view->format;
    if (*format == '@' || *format == '=') format++;
    return strlen(format) == 1 && strchr("hHbBf?", *format) != NULL ? *format : 0;
}

#define FUNCTION(NAME, ARGUMENTS, TEXT) \
    {#NAME, (PyCFunction)(void (*)(void))NAME, METH_FASTCALL, PyDoc_STR(#NAME "(" ARGUMENTS ", /)\n--\n\n" TEXT)}
static PyMethodDef functions[] = {
    FUNCTION(
        levels, "values, out, low, scale, linear, inverted",
        "Grey levels of values (H, W), integers of 8 or 16 bits or float32, in `out`, uint8 (H, W).\n\n"
        "In float32: 255 * ((v - low) / scale + 0.5) if `linear`, else (v - low) * scale; from 0 to 255, rounded, ties to\n"
        "even; NaN is 0. The levels are taken from 255 if `inverted`."),
    FUNCTION(
        as_floats, "values, out, least",
        "Integers (H, W) of 8 or 16 bits in `out`, float32 of the same shape, none below `least`."),
    FUNCTION(
        enlarge, "values, out",
        "Integers (H, W) of 8 or 16 bits interpolated bilinearly in `out`, float32, as high and as wide or more.\n\n"
        "Pixel centres lie at halves; beyond those of the edges the edge goes on."),
    FUNCTION(
        clahe, "values, out, limit, down, across",
        "Contrast of grey levels, uint8 (H, W), evened out in `out`, uint8 (H, W), as OpenCV does it.\n\n"
        "`limit` is that of a bin of a tile's histogram, in means of its bins. `down` times `across` tiles, which divide\n"
        "H and W.\n"
        "Source: Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994."),
    FUNCTION(
        histogram, "values, out, low, factor",
        "How many values, float32 (H, W), fall in each of 256 classes, in `out`, int64 (256,).\n\n"
        "The class is the whole part of (v - low) * factor, from 0 to 255; NaN is in the first."),
    FUNCTION(
        boxes, "masks, out",
        "Boxes x0, y0, x1, y1 of masks (N, H, W), the last two exclusive, in `out`, int64 (N, 4); zeros for an empty one."),
    FUNCTION(
        largest, "mask, out",
        "The largest part of a mask (H, W) that is connected by sides, of equal ones the first, in `out`, a mask."),
    FUNCTION(
        unfilter, "values, out, step",
        "Rows of a PNG picture (H, 1 + W), each behind the byte that names its filter, without it in `out`, uint8 (H, W).\n\n"
        "`step` is the number of bytes of a pixel.\n"
        "Source: PNG specification (third edition), 9.2."),
    FUNCTION(filled, "mask, out", "A mask (H, W) and what it encloses, in `out`, a mask. Background is connected by sides."),
    {NULL, NULL, 0, NULL}};

PyDoc_STRVAR(
    about,
    "Kernels on one core. They take what has the buffer protocol, write into `out` and let other threads run meanwhile.\n\n"
    "Arrays may be parts of larger ones as long as their last axis is contiguous. ValueError: an array has another shape or\n"
    "type than is said here, or a number is out of its range. MemoryError.");
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "medvistagym_native._kernels", about, 0, functions, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&module); }
