/* What cffi's wrappers do around a call and a call of a few nanoseconds can do without. Included by the quick
 * module alone, ahead of the wrappers that cffi generates for it. (On PyPy, which has no such wrappers, this
 * changes nothing.)
 *
 * They keep the GIL, so nothing in that module may block; they leave errno alone, so nothing in it may report
 * through that; and they take an int for an integer, nothing else, so that the callers need not ask: what is
 * no int raises TypeError, and what does not fit OverflowError, as with cffi's own. And where there is no value
 * to return they raise LookupError, so that a 0 is a value: the callers need not ask that either. */
#ifndef SHAREDMMAP_QUICK_H
#define SHAREDMMAP_QUICK_H
#ifndef PYPY_VERSION

#include <stdbool.h>
#include <stdint.h>

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#define Py_END_ALLOW_THREADS }

#undef _cffi_restore_errno
#undef _cffi_save_errno
#define _cffi_restore_errno() ((void)0)
#define _cffi_save_errno() ((void)0)

static inline bool is_exact_int(PyObject *number)
{
    if (Py_TYPE(number) == &PyLong_Type)
        return true;
    PyErr_SetString(PyExc_TypeError, "an int is needed");
    return false;
}

/* As with PyLong_AsLongLong() and its like, -1 may be an error: the wrapper asks PyErr_Occurred(). */
static inline int64_t exact_int(PyObject *number, unsigned bits, bool is_unsigned)
{
    const int64_t high = INT64_MAX >> (64 - bits - is_unsigned), low = is_unsigned ? 0 : -high - 1;
    if (!is_exact_int(number))
        return -1;
    const int64_t value = PyLong_AsLongLong(number);
    if (value >= low && value <= high)
        return value;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_OverflowError, "the int is out of range");
    return -1;
}

static inline uint64_t exact_uint64(PyObject *number)
{
    return is_exact_int(number) ? PyLong_AsUnsignedLongLong(number) : (uint64_t)-1;
}

#define IS_UNSIGNED(type) ((type)-1 > 0)

#undef _cffi_to_c_int
#define _cffi_to_c_int(number, type)                                                                       \
    ((type)(IS_UNSIGNED(type) && sizeof(type) == 8                                                         \
                ? exact_uint64(number)                                                                     \
                : (uint64_t)exact_int(number, 8 * sizeof(type), IS_UNSIGNED(type))))

#define PY_NO_VALUE
static inline int no_value(void)
{
    PyErr_SetNone(PyExc_LookupError);
    return 0;
}

#define HAS_FAILED(value) ((value) == 0 && PyErr_Occurred() != NULL)

#undef _cffi_from_c_int
#define _cffi_from_c_int(value, type)                                                                      \
    (HAS_FAILED(value)   ? NULL                                                                            \
     : IS_UNSIGNED(type) ? PyLong_FromUnsignedLongLong((unsigned long long)(value))                        \
                         : PyLong_FromLongLong((long long)(value)))

#undef _cffi_from_c_double
#define _cffi_from_c_double(value) (HAS_FAILED(value) ? NULL : PyFloat_FromDouble(value))

#endif
#endif
