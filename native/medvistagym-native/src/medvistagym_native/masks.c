/* Masks: a byte a pixel, 0 or not. */

#include "kernels.h"

FOR_EACH_CPU static int any(const uint8_t *x, Py_ssize_t n) {
    uint8_t held = 0;
    for (Py_ssize_t k = 0; k < n; k++) held |= x[k];
    return held != 0;
}

/* Add rows to `column`, which has what is set in any of them. */
FOR_EACH_CPU static void merge(const uint8_t *restrict rows, Py_ssize_t stride, uint8_t *restrict column, Py_ssize_t w) {
    for (Py_ssize_t x = 0; x < w; x++)
        column[x] |= rows[x] | rows[x + stride] | rows[x + 2 * stride] | rows[x + 3 * stride];
}

#define SOME 8

/* Where the mask begins and ends along both axes; `column` is room for a row. */
static void box_of(const uint8_t *mask, Py_ssize_t stride, Py_ssize_t h, Py_ssize_t w, uint8_t *column, int64_t *box) {
    Py_ssize_t top = 0, bottom = h, left = 0, right = w;
    memset(box, 0, 4 * sizeof *box);
    const Py_ssize_t some = stride == w ? SOME : 1; /* rows that can be looked at as one */
    while (top + some <= h && !any(mask + top * stride, some * w)) top += some;
    while (top < h && !any(mask + top * stride, w)) top++;
    if (top == h) return;
    while (bottom - some > top && !any(mask + (bottom - some) * stride, some * w)) bottom -= some;
    while (bottom > top + 1 && !any(mask + (bottom - 1) * stride, w)) bottom--;
    memcpy(column, mask + top * stride, (size_t)w);
    Py_ssize_t y = top + 1;
    for (; y + 4 <= bottom; y += 4) merge(mask + y * stride, stride, column, w);
    for (; y < bottom; y++) merge(mask + y * stride, 0, column, w);
    while (left < w - 1 && !column[left]) left++;
    while (right > left + 1 && !column[right - 1]) right--;
    box[0] = left, box[1] = top, box[2] = right, box[3] = bottom;
}

PyObject *boxes(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer masks, out;
    PyObject *result = NULL;
    uint8_t *column = NULL;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "boxes takes masks and out");
    if (arrays_of(arguments, &masks, 3, &out, 2) < 0) return NULL;
    REQUIRE("masks are booleans", masks.itemsize == 1)
    REQUIRE("out is four numbers of 64 bits a mask", is_int64(&out)
         && out.shape[0] == masks.shape[0] && out.shape[1] == 4)
    column = PyMem_Malloc((size_t)masks.shape[2] + 1);
    if (column == NULL) { PyErr_NoMemory(); goto done; }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t k = 0; k < masks.shape[0]; k++)
        box_of(
            (const uint8_t *)masks.buf + k * masks.strides[0], masks.strides[1], masks.shape[1], masks.shape[2],
            column, (int64_t *)((char *)out.buf + k * out.strides[0]));
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyMem_Free(column);
    PyBuffer_Release(&masks);
    PyBuffer_Release(&out);
    return result;
}

/* A stretch of a row, [start, end), and the stretch it is known to be connected with (itself: none that comes before). */
typedef struct {
    int32_t start, end, before;
} Run;

/* The first place from `x` on that is set, or not. Eight at a time, where none of the eight is. */
static Py_ssize_t next(const uint8_t *row, Py_ssize_t x, Py_ssize_t w, int set) {
    uint64_t eight;
    for (; x + 8 <= w; x += 8) {
        memcpy(&eight, row + x, 8);
        if (set ? eight != 0 : ((eight - 0x0101010101010101u) & ~eight & 0x8080808080808080u) != 0) break;
    }
    while (x < w && (row[x] != 0) != set) x++;
    return x;
}

static int32_t root(Run *runs, int32_t k) {
    while (runs[k].before != k) k = runs[k].before = runs[runs[k].before].before;
    return k;
}

/* The runs of pixels that are set, or not, joined where they touch in neighbouring rows; `rows` has where each row's begin.
 * NULL where there is no memory. */
static Run *joined(const Py_buffer *mask, int set, int32_t *rows) {
    const Py_ssize_t h = mask->shape[0], w = mask->shape[1];
    Py_ssize_t room = 4 * h + (w + 1) / 2;
    int32_t n = 0;
    Run *runs = malloc((size_t)room * sizeof *runs);
    if (runs == NULL) return NULL;
    for (Py_ssize_t y = 0; y < h; y++) {
        const uint8_t *row = (const uint8_t *)mask->buf + y * mask->strides[0];
        int32_t above = y ? rows[y - 1] : 0;
        rows[y] = n;
        if (room - n < (w + 1) / 2) {
            room = 2 * room + (w + 1) / 2;
            Run *more = realloc(runs, (size_t)room * sizeof *runs);
            if (more == NULL) {
                free(runs);
                return NULL;
            }
            runs = more;
        }
        for (Py_ssize_t x = next(row, 0, w, set); x < w; n++) {
            const Py_ssize_t end = next(row, x + 1, w, !set);
            runs[n] = (Run){(int32_t)x, (int32_t)end, n};
            while (above < rows[y] && runs[above].end <= x) above++;
            for (int32_t k = above; k < rows[y] && runs[k].start < end; k++) {
                const int32_t a = root(runs, k), b = root(runs, n);
                if (a < b) runs[b].before = a;
                else runs[a].before = b;
            }
            x = next(row, end + 1, w, set);
        }
    }
    rows[h] = n;
    return runs;
}

/* The largest part of a mask (`whole`), or the mask without holes: all but the background that reaches the border. */
static PyObject *part(PyObject *const *arguments, Py_ssize_t count, int whole) {
    Py_buffer mask, out;
    PyObject *result = NULL;
    int32_t *rows = NULL;
    Run *runs = NULL;
    int64_t *sizes = NULL;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "give a mask and out");
    if (arrays_of(arguments, &mask, 2, &out, 2) < 0) return NULL;
    const Py_ssize_t h = mask.shape[0], w = mask.shape[1];
    REQUIRE("the mask and out are booleans", mask.itemsize == 1 && out.itemsize == 1)
    REQUIRE("the mask and out have one shape", h == out.shape[0] && w == out.shape[1])
    REQUIRE("the mask has fewer than 2^31 pixels", h <= INT32_MAX && w <= INT32_MAX && h * w <= INT32_MAX)
    Py_BEGIN_ALLOW_THREADS
    rows = malloc((size_t)(h + 1) * sizeof *rows);
    runs = rows == NULL ? NULL : joined(&mask, whole, rows);
    const int32_t n = runs == NULL ? 0 : rows[h];
    sizes = runs == NULL ? NULL : calloc((size_t)n + 1, sizeof *sizes);
    if (sizes != NULL) {
        int32_t best = 0;
        for (Py_ssize_t y = 0; y < h; y++)
            for (int32_t k = rows[y]; k < rows[y + 1]; k++) {
                const int32_t first = root(runs, k);
                if (whole) sizes[first] += runs[k].end - runs[k].start;
                else if (y == 0 || y == h - 1 || runs[k].start == 0 || runs[k].end == w) sizes[first] = 1; /* outside */
            }
        for (int32_t k = 1; k < n; k++)
            if (sizes[k] > sizes[best]) best = k;
        for (Py_ssize_t y = 0; y < h; y++) {
            uint8_t *row = (uint8_t *)out.buf + y * out.strides[0];
            memset(row, !whole, (size_t)w);
            for (int32_t k = rows[y]; k < rows[y + 1]; k++) {
                const int32_t first = root(runs, k);
                if (whole ? first == best : sizes[first] == 1)
                    memset(row + runs[k].start, whole, (size_t)(runs[k].end - runs[k].start));
            }
        }
    }
    Py_END_ALLOW_THREADS
    result = sizes == NULL ? PyErr_NoMemory() : Py_NewRef(Py_None);
    free(sizes);
done:
    free(runs);
    free(rows);
    PyBuffer_Release(&mask);
    PyBuffer_Release(&out);
    return result;
}

PyObject *largest(PyObject *self, PyObject *const *arguments, Py_ssize_t count) { return part(arguments, count, 1); }

PyObject *filled(PyObject *self, PyObject *const *arguments, Py_ssize_t count) { return part(arguments, count, 0); }
