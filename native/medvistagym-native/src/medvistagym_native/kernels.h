/* What the kernels share: how arrays come in, and for which processors loops are compiled. */

#ifndef MEDVISTAGYM_KERNELS_H
#define MEDVISTAGYM_KERNELS_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "the kernels promise the bits that numpy gives: compile without -ffast-math, and for a processor with float arithmetic"
#endif

/* A loop compiled twice, for AVX2 and for any processor; which runs is found out when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

#define BINS 256

/* Leaves a function by way of its `done` with a ValueError. */
#define REQUIRE(text, condition)                                                                                            \
    if (!(condition)) {                                                                                                     \
        PyErr_SetString(PyExc_ValueError, text);                                                                            \
        goto done;                                                                                                          \
    }

/* The first two arguments: arrays whose last axis is contiguous, the second to be written to. 0, or -1 and an exception. */
int arrays_of(PyObject *const *arguments, Py_buffer *values, int ndim, Py_buffer *out, int out_ndim);

/* Type of the values: h, H, b, B, f, ? as of `struct`; 0 for any other. */
char kind_of(const Py_buffer *view);

int is_int64(const Py_buffer *view);

/* A number as one from 0 to `most`, NaN as 0. Floats that are not negative are in the order of their bits, and minima of whole
 * numbers are something that compilers have vector instructions for. */
static inline float within(float v, float most) {
    int32_t bits, top;
    memcpy(&bits, &v, sizeof bits);
    memcpy(&top, &most, sizeof top);
    bits &= -(int32_t)(v == v);
    bits = bits > 0 ? bits : 0;
    bits = bits < top ? bits : top;
    memcpy(&v, &bits, sizeof v);
    return v;
}

PyObject *levels(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *as_floats(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *enlarge(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *clahe(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *histogram(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *boxes(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *largest(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *unfilter(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *filled(PyObject *self, PyObject *const *arguments, Py_ssize_t count);

#endif
