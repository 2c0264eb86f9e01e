/* Rows of a PNG picture. */

#include "kernels.h"

/* The neighbour that is nearest to left + above - diagonal: of equal ones the left, then the one above (PNG specification, third
   edition, section 9.4).

   By choices that compilers make without a branch: which neighbour it is cannot be foreseen, and each byte waits for the one
   before. */
static inline uint8_t predicted(int left, int above, int diagonal) {
    const int by_left = abs(above - diagonal), by_above = abs(left - diagonal), by_both = abs(left + above - 2 * diagonal);
    const int nearer = by_above < by_left ? above : left, least = by_above < by_left ? by_above : by_left;
    return (uint8_t)(by_both < least ? diagonal : nearer);
}

/* A row without its filter. `above` is the row before, zeros for the first. 0, or -1 where there is no such filter. */
static int unfilter_row(
    uint8_t filter, const uint8_t *restrict x, const uint8_t *restrict above, uint8_t *restrict y, Py_ssize_t n, Py_ssize_t step
) {
    const Py_ssize_t head = step < n ? step : n; /* of the first pixel, which has nothing to its left */
    Py_ssize_t k = 0;
    switch (filter) {
    case 0: memcpy(y, x, (size_t)n); return 0;
    case 1:
        for (; k < head; k++) y[k] = x[k];
        for (; k < n; k++) y[k] = (uint8_t)(x[k] + y[k - step]);
        return 0;
    case 2:
        for (; k < n; k++) y[k] = (uint8_t)(x[k] + above[k]);
        return 0;
    case 3:
        for (; k < head; k++) y[k] = (uint8_t)(x[k] + above[k] / 2);
        for (; k < n; k++) y[k] = (uint8_t)(x[k] + (y[k - step] + above[k]) / 2);
        return 0;
    case 4:
        if (step == 1) { /* the byte before stays in a register: each waits for it */
            uint8_t left = 0, diagonal = 0;
            for (; k < n; k++) {
                y[k] = left = (uint8_t)(x[k] + predicted(left, above[k], diagonal));
                diagonal = above[k];
            }
            return 0;
        }
        for (; k < head; k++) y[k] = (uint8_t)(x[k] + above[k]);
        for (; k < n; k++) y[k] = (uint8_t)(x[k] + predicted(y[k - step], above[k], above[k - step]));
        return 0;
    default: return -1;
    }
}

PyObject *unfilter(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    if (count != 3) return PyErr_Format(PyExc_TypeError, "unfilter takes values, out, step");
    const Py_ssize_t step = PyLong_AsSsize_t(arguments[2]);
    if (PyErr_Occurred()) return NULL;
    if (arrays_of(arguments, &values, 2, &out, 2) < 0) return NULL;
    uint8_t *zeros = NULL;
    const Py_ssize_t height = values.shape[0], n = out.shape[1];
    REQUIRE("values and out are uint8", kind_of(&values) == 'B' && kind_of(&out) == 'B')
    REQUIRE("values have a byte more in each row than out", out.shape[0] == height && values.shape[1] == n + 1)
    REQUIRE("a pixel has 1 to 8 bytes", 1 <= step && step <= 8)
    zeros = calloc((size_t)n + 1, 1);
    if (zeros == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    int fits = 1;
    Py_BEGIN_ALLOW_THREADS
    const uint8_t *above = zeros;
    for (Py_ssize_t row = 0; fits && row < height; row++) {
        const uint8_t *x = (uint8_t *)values.buf + row * values.strides[0];
        uint8_t *y = (uint8_t *)out.buf + row * out.strides[0];
        fits = unfilter_row(x[0], x + 1, above, y, n, step) == 0;
        above = y;
    }
    Py_END_ALLOW_THREADS
    REQUIRE("the filter of a row is 0 to 4", fits)
    result = Py_NewRef(Py_None);
done:
    free(zeros);
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}
