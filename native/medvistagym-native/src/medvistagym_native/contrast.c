/* Histograms, and what they are for. */

#include "kernels.h"

/* Add to the counts of grey levels; four of each, so that equal neighbours need not wait for each other. */
static void add_counts(const uint8_t *x, Py_ssize_t n, int32_t (*counts)[BINS]) {
    Py_ssize_t k = 0;
    for (; k + 4 <= n; k += 4) counts[0][x[k]]++, counts[1][x[k + 1]]++, counts[2][x[k + 2]]++, counts[3][x[k + 3]]++;
    for (; k < n; k++) counts[0][x[k]]++;
}

/* The level of each grey level of a tile: its cumulative histogram, no bin above `limit` and what was cut off shared out. */
static void tile_levels(const uint8_t *x, Py_ssize_t stride, Py_ssize_t h, Py_ssize_t w, int64_t limit, uint8_t *levels) {
    int32_t counts[4][BINS] = {{0}};
    int64_t bins[BINS], cut = 0, sum = 0;
    for (Py_ssize_t y = 0; y < h; y++) add_counts(x + y * stride, w, counts);
    for (int k = 0; k < BINS; k++) {
        bins[k] = (int64_t)counts[0][k] + counts[1][k] + counts[2][k] + counts[3][k];
        if (bins[k] > limit) cut += bins[k] - limit, bins[k] = limit;
    }
    const int64_t each = cut / BINS;
    int64_t rest = cut - each * BINS;
    const int64_t step = rest > 0 && BINS / rest > 1 ? BINS / rest : 1;
    for (int k = 0; k < BINS; k++) bins[k] += each;
    for (int64_t k = 0; k < BINS && rest > 0; k += step, rest--) bins[k]++;
    const float scale = (float)(BINS - 1) / (float)(h * w), whole = 8388608.0f;
    for (int k = 0; k < BINS; k++) {
        sum += bins[k];
        const float level = ((float)sum * scale + whole) - whole;
        levels[k] = level > 255.0f ? 255 : (uint8_t)level;
    }
}

/* Between the levels of four tiles, which `four` holds of each pixel in the bytes of a word. */
FOR_EACH_CPU static void mixed(
    const uint32_t *restrict four, const float *restrict share, float down, uint8_t *restrict y, Py_ssize_t n) {
    const float whole = 8388608.0f;
    for (Py_ssize_t k = 0; k < n; k++) {
        const float right = share[k], left = 1.0f - right;
        const float upper = (float)(int32_t)(four[k] & 255) * left + (float)(int32_t)(four[k] >> 8 & 255) * right;
        const float lower = (float)(int32_t)(four[k] >> 16 & 255) * left + (float)(int32_t)(four[k] >> 24) * right;
        y[k] = (uint8_t)(int32_t)((upper * (1.0f - down) + lower * down + whole) - whole);
    }
}

/* The tile before a place and how far it lies towards the next; the tile may be -1, which stands for 0. */
static Py_ssize_t tile_before(Py_ssize_t place, float per_pixel, float *share) {
    const float at = (float)place * per_pixel - 0.5f;
    const Py_ssize_t tile = at < 0.0f ? -1 : (Py_ssize_t)at;
    *share = at - (float)tile;
    return tile;
}

PyObject *clahe(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    uint8_t *levels = NULL;
    if (count != 5) return PyErr_Format(PyExc_TypeError, "clahe takes values, out, limit, down, across");
    const double limit = PyFloat_AsDouble(arguments[2]);
    const Py_ssize_t down = PyLong_AsSsize_t(arguments[3]), across = PyLong_AsSsize_t(arguments[4]);
    if (PyErr_Occurred()) return NULL;
    if (arrays_of(arguments, &values, 2, &out, 2) < 0) return NULL;
    const Py_ssize_t h = values.shape[0], w = values.shape[1];
    REQUIRE("values and out are uint8", kind_of(&values) == 'B' && kind_of(&out) == 'B')
    REQUIRE("values and out have one shape", h == out.shape[0] && w == out.shape[1])
    REQUIRE("there is a whole number of tiles, at most 4096", down > 0 && across > 0 && down <= 4096 && across <= 4096
         && h > 0 && w > 0 && w < INT32_MAX && h % down == 0 && w % across == 0)
    REQUIRE("a tile has fewer than 2^24 pixels", (h / down) * (w / across) < 1 << 24)
    REQUIRE("the limit is positive", limit > 0 && limit < 1e6)
    const Py_ssize_t high = h / down, wide = w / across;
    const int64_t most = (int64_t)(limit * (double)(high * wide) / BINS);
    levels = PyMem_Malloc((size_t)(down * across + 4 * (across + 1)) * BINS + (size_t)w * 8 + (size_t)(across + 1) * 4);
    if (levels == NULL) { PyErr_NoMemory(); goto done; }
    Py_BEGIN_ALLOW_THREADS
    uint32_t *words = (uint32_t *)(levels + down * across * BINS); /* the bytes of four tiles, for each gap between tiles */
    uint32_t *four = words + (across + 1) * BINS;
    float *share = (float *)(four + w);
    int32_t *ends = (int32_t *)(share + w); /* the column at which each gap between tiles ends */
    for (Py_ssize_t y = 0; y < down; y++)
        for (Py_ssize_t x = 0; x < across; x++)
            tile_levels(
                (const uint8_t *)values.buf + y * high * values.strides[0] + x * wide, values.strides[0], high, wide,
                most > 1 ? most : 1, levels + (y * across + x) * BINS);
    const float per_column = 1.0f / (float)wide, per_row = 1.0f / (float)high;
    memset(ends, 0, (size_t)(across + 1) * sizeof *ends);
    for (Py_ssize_t x = 0; x < w; x++) ends[tile_before(x, per_column, share + x) + 1] = (int32_t)x + 1;
    Py_ssize_t made = -2; /* the row of tiles before the words */
    for (Py_ssize_t y = 0; y < h; y++) {
        float lower;
        const Py_ssize_t tile = tile_before(y, per_row, &lower);
        if (tile != made) {
            const uint8_t *a = levels + (tile < 0 ? 0 : tile) * across * BINS;
            const uint8_t *b = levels + (tile + 1 < down ? tile + 1 : down - 1) * across * BINS;
            for (Py_ssize_t x = 0; x <= across; x++) {
                const Py_ssize_t left = (x > 0 ? x - 1 : 0) * BINS, right = (x < across ? x : across - 1) * BINS;
                for (int k = 0; k < BINS; k++)
                    words[x * BINS + k] = (uint32_t)a[left + k] | (uint32_t)a[right + k] << 8 | (uint32_t)b[left + k] << 16
                                          | (uint32_t)b[right + k] << 24;
            }
            made = tile;
        }
        const uint8_t *row = (const uint8_t *)values.buf + y * values.strides[0];
        for (Py_ssize_t gap = 0, x = 0; gap <= across; gap++)
            for (const uint32_t *of = words + gap * BINS; x < ends[gap]; x++) four[x] = of[row[x]];
        mixed(four, share, lower, (uint8_t *)out.buf + y * out.strides[0], w);
    }
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyMem_Free(levels);
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}

#define STEP 1024

FOR_EACH_CPU static void classes(const float *restrict x, uint8_t *restrict y, Py_ssize_t n, float low, float factor) {
    for (Py_ssize_t k = 0; k < n; k++) y[k] = (uint8_t)(int32_t)within((x[k] - low) * factor, 255.0f);
}

PyObject *histogram(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "histogram takes values, out, low and factor");
    const float low = (float)PyFloat_AsDouble(arguments[2]), factor = (float)PyFloat_AsDouble(arguments[3]);
    if (PyErr_Occurred()) return NULL;
    if (arrays_of(arguments, &values, 2, &out, 1) < 0) return NULL;
    REQUIRE("values are float32", kind_of(&values) == 'f')
    REQUIRE("values are fewer than 2^31", values.shape[0] * values.shape[1] <= INT32_MAX)
    REQUIRE("out is 256 numbers of 64 bits", is_int64(&out) && out.shape[0] == BINS)
    Py_BEGIN_ALLOW_THREADS
    int32_t counts[4][BINS] = {{0}};
    int64_t *bins = out.buf;
    uint8_t some[STEP];
    for (Py_ssize_t y = 0; y < values.shape[0]; y++) {
        const float *x = (const float *)((const char *)values.buf + y * values.strides[0]);
        for (Py_ssize_t k = 0; k < values.shape[1]; k += STEP) {
            const Py_ssize_t n = values.shape[1] - k < STEP ? values.shape[1] - k : STEP;
            classes(x + k, some, n, low, factor);
            add_counts(some, n, counts);
        }
    }
    for (int k = 0; k < BINS; k++) bins[k] = (int64_t)counts[0][k] + counts[1][k] + counts[2][k] + counts[3][k];
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}
