/* Grey levels of values. */

#include "kernels.h"

static int contiguous(const Py_buffer *view) {
    Py_ssize_t step = view->itemsize;
    for (int axis = view->ndim - 1; axis >= 0; axis--) {
        if (view->shape[axis] > 1 && view->strides[axis] != step) return 0;
        step *= view->shape[axis];
    }
    return 1;
}

typedef struct {
    float low, scale; /* linear: (value - low) / scale + 0.5, of 255; otherwise (value - low) * scale */
    int linear;
    uint8_t flip; /* 255 where low values are bright */
} Levels;

/* From 0 to 255, rounded, ties to even: in the sum with 2^23 there is no room for a fraction. */
static inline uint8_t rounded(float v) { return (uint8_t)(int32_t)((within(v, 255.0f) + 8388608.0f) - 8388608.0f); }

#define LEVELS(NAME, TYPE)                                                                                                  \
    FOR_EACH_CPU static void NAME(const TYPE *restrict x, uint8_t *restrict y, Py_ssize_t n, Levels how) {                  \
        const float low = how.low, scale = how.scale;                                                                       \
        if (how.linear)                                                                                                     \
            for (Py_ssize_t k = 0; k < n; k++)                                                                              \
                y[k] = rounded((((float)x[k] - low) / scale + 0.5f) * 255.0f) ^ how.flip;                                   \
        else                                                                                                                \
            for (Py_ssize_t k = 0; k < n; k++) y[k] = rounded(((float)x[k] - low) * scale) ^ how.flip;                      \
    }
LEVELS(levels_h, int16_t)
LEVELS(levels_H, uint16_t)
LEVELS(levels_b, int8_t)
LEVELS(levels_B, uint8_t)
LEVELS(levels_f, float)

PyObject *levels(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    if (count != 6) return PyErr_Format(PyExc_TypeError, "levels takes values, out, low, scale, linear, inverted");
    double low = PyFloat_AsDouble(arguments[2]), scale = PyFloat_AsDouble(arguments[3]);
    int linear = PyObject_IsTrue(arguments[4]), inverted = PyObject_IsTrue(arguments[5]);
    if (PyErr_Occurred() || linear < 0 || inverted < 0) return NULL;
    if (arrays_of(arguments, &values, 2, &out, 2) < 0) return NULL;
    const Levels how = {(float)low, (float)scale, linear, inverted ? 255 : 0};
    const char kind = kind_of(&values);
    REQUIRE("values are 8 or 16-bit integers or float32", kind && kind != '?')
    REQUIRE("out is uint8", kind_of(&out) == 'B')
    REQUIRE("values and out have one shape", values.shape[0] == out.shape[0] && values.shape[1] == out.shape[1])
    Py_BEGIN_ALLOW_THREADS
    const int whole = contiguous(&values) && contiguous(&out);
    const Py_ssize_t rows = whole ? 1 : values.shape[0], n = whole ? values.shape[0] * values.shape[1] : values.shape[1];
    for (Py_ssize_t row = 0; row < rows; row++) {
        const void *x = (char *)values.buf + row * values.strides[0];
        uint8_t *y = (uint8_t *)out.buf + row * out.strides[0];
        switch (kind) {
        case 'h': levels_h(x, y, n, how); break;
        case 'H': levels_H(x, y, n, how); break;
        case 'b': levels_b(x, y, n, how); break;
        case 'B': levels_B(x, y, n, how); break;
        default: levels_f(x, y, n, how);
        }
    }
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}
