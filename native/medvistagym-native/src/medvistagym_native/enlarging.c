/* Float32 of integers, as they are and enlarged. */

#include "kernels.h"

#define FLOATS(NAME, TYPE)                                                                                                  \
    FOR_EACH_CPU static void NAME(const TYPE *restrict x, float *restrict y, Py_ssize_t n, float least) {                   \
        for (Py_ssize_t k = 0; k < n; k++) {                                                                                \
            float v = (float)x[k];                                                                                          \
            y[k] = v > least ? v : least;                                                                                   \
        }                                                                                                                   \
    }
FLOATS(floats_h, int16_t)
FLOATS(floats_H, uint16_t)
FLOATS(floats_b, int8_t)
FLOATS(floats_B, uint8_t)

static void floats_of(char kind, const void *x, float *y, Py_ssize_t n, float least) {
    switch (kind) {
    case 'h': floats_h(x, y, n, least); break;
    case 'H': floats_H(x, y, n, least); break;
    case 'b': floats_b(x, y, n, least); break;
    default: floats_B(x, y, n, least);
    }
}

/* Where each place of a longer line lies on a shorter one: the place before it, and how far beyond. */
FOR_EACH_CPU static void places(int32_t *restrict before, float *restrict share, Py_ssize_t from, Py_ssize_t to) {
    const double step = 1.0 / ((double)to / (double)from), last = (double)(from - 1);
    for (int32_t k = 0; k < (int32_t)to; k++) {
        double at = ((double)k + 0.5) * step - 0.5;
        at = at > 0.0 ? at : 0.0;
        at = at < last ? at : last;
        const int32_t whole = (int32_t)at;
        before[k] = whole;
        share[k] = (float)(at - (double)whole);
    }
}

/* A line `x` with eight zeros behind it, made longer. */
static void across_any(const float *x, float *y, const int32_t *before, const float *share, Py_ssize_t first, Py_ssize_t n) {
    for (Py_ssize_t k = first; k < n; k++) y[k] = x[before[k]] * (1.0f - share[k]) + x[before[k] + 1] * share[k];
}

#ifdef AVX2
/* Eight places of a longer line lie within eight of the shorter one: two loads and two permutations take the place of sixteen
 * loads. */
AVX2 static void across_avx2(const float *x, float *y, const int32_t *before, const float *share, Py_ssize_t n) {
    const __m256 one = _mm256_set1_ps(1.0f);
    Py_ssize_t k = 0;
    for (; k + 8 <= n; k += 8) {
        const __m256i at = _mm256_sub_epi32(_mm256_loadu_si256((const void *)(before + k)), _mm256_set1_epi32(before[k]));
        const __m256 left = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + before[k]), at);
        const __m256 right = _mm256_permutevar8x32_ps(_mm256_loadu_ps(x + before[k] + 1), at);
        const __m256 part = _mm256_loadu_ps(share + k);
        const __m256 kept = _mm256_mul_ps(left, _mm256_sub_ps(one, part));
        _mm256_storeu_ps(y + k, _mm256_add_ps(kept, _mm256_mul_ps(right, part)));
    }
    across_any(x, y, before, share, k, n);
}
#endif

static void across(const float *x, float *y, const int32_t *before, const float *share, Py_ssize_t n) {
#ifdef AVX2
    if (__builtin_cpu_supports("avx2")) {
        across_avx2(x, y, before, share, n);
        return;
    }
#endif
    across_any(x, y, before, share, 0, n);
}

FOR_EACH_CPU static void between(
    const float *restrict a, const float *restrict b, float *restrict y, Py_ssize_t n, float share) {
    for (Py_ssize_t k = 0; k < n; k++) y[k] = a[k] * (1.0f - share) + b[k] * share;
}

#define AHEAD 8
#define CACHE_LINE 16 /* numbers of four bytes; rows that begin elsewhere make the whole a fifth slower */

/* Room for a row of numbers and sixteen more, after which the next row begins with a cache line, as this one does. */
static Py_ssize_t padded(Py_ssize_t n) { return (n / CACHE_LINE + 2) * CACHE_LINE; }

/* The page of memory behind the row that is written now: memory that was not used lately is found in time, and many images
 * in a row take a sixth less. */
static void fetch_next_page(const char *row) {
#ifdef __GNUC__
    __builtin_prefetch(row + 4096, 1);
#else
    (void)row;
#endif
}

/* A row that is needed soon, on its way from memory: the rows of a part are too far apart for the processor to foresee. */
static void fetch(const char *row, Py_ssize_t bytes) {
#ifdef __GNUC__
    for (Py_ssize_t k = 0; k < bytes + 63; k += 64) __builtin_prefetch(row + (k < bytes ? k : bytes - 1));
#else
    (void)row, (void)bytes;
#endif
}

PyObject *enlarge(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    void *scratch = NULL;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "enlarge takes values and out");
    if (arrays_of(arguments, &values, 2, &out, 2) < 0) return NULL;
    const char kind = kind_of(&values);
    const Py_ssize_t h = values.shape[0], w = values.shape[1], height = out.shape[0], width = out.shape[1];
    REQUIRE("values are 8 or 16-bit integers", kind && strchr("hHbB", kind) != NULL)
    REQUIRE("out is float32", kind_of(&out) == 'f')
    REQUIRE("values have a pixel, and out is no smaller than they are", h > 0 && w > 0 && height >= h && width >= w)
    REQUIRE("out is of a size that fits 32 bits", height < INT32_MAX / 2 && width < INT32_MAX / 2)
    const Py_ssize_t short_line = padded(w), long_line = padded(width), column = padded(height);
    scratch = PyMem_Malloc(sizeof(float) * (size_t)(short_line + 4 * long_line + 2 * column + CACHE_LINE));
    if (scratch == NULL) { PyErr_NoMemory(); goto done; }
    Py_BEGIN_ALLOW_THREADS
    float *line = (float *)scratch + CACHE_LINE - (uintptr_t)scratch / sizeof(float) % CACHE_LINE;
    float *rows[2] = {line + short_line, line + short_line + long_line};
    float *right = rows[1] + long_line, *down = right + long_line;
    int32_t *left = (int32_t *)(down + column), *up = left + long_line;
    Py_ssize_t next = 0; /* the row of the source that is read next */
    places(left, right, w, width);
    places(up, down, h, height);
    memset(line + w, 0, 16 * sizeof(float));
    for (Py_ssize_t row = 0; row < h && row < AHEAD; row++)
        fetch((const char *)values.buf + row * values.strides[0], w * values.itemsize);
    for (Py_ssize_t y = 0; y < height; y++) {
        const Py_ssize_t above = up[y], below = above + 1 < h ? above + 1 : above;
        for (; next <= below; next++) {
            const char *source = (const char *)values.buf + next * values.strides[0];
            if (next + AHEAD < h) fetch(source + AHEAD * values.strides[0], w * values.itemsize);
            floats_of(kind, source, line, w, -FLT_MAX);
            across(line, rows[next % 2], left, right, width);
        }
        float *target = (float *)((char *)out.buf + y * out.strides[0]);
        fetch_next_page((const char *)target);
        between(rows[above % 2], rows[below % 2], target, width, down[y]);
    }
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyMem_Free(scratch);
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}

PyObject *as_floats(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_buffer values, out;
    PyObject *result = NULL;
    if (count != 3) return PyErr_Format(PyExc_TypeError, "as_floats takes values, out and least");
    const double least = PyFloat_AsDouble(arguments[2]);
    if (PyErr_Occurred()) return NULL;
    if (arrays_of(arguments, &values, 2, &out, 2) < 0) return NULL;
    const char kind = kind_of(&values);
    REQUIRE("values are 8 or 16-bit integers", kind && strchr("hHbB", kind) != NULL)
    REQUIRE("out is float32", kind_of(&out) == 'f')
    REQUIRE("values and out have one shape", values.shape[0] == out.shape[0] && values.shape[1] == out.shape[1])
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t row = 0; row < values.shape[0]; row++)
        floats_of(
            kind, (const char *)values.buf + row * values.strides[0], (float *)((char *)out.buf + row * out.strides[0]),
            values.shape[1], (float)least);
    Py_END_ALLOW_THREADS
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    return result;
}
