/* The wrappers that cffi generates for the quick module, made shorter for calls of a few nanoseconds. Included by that
 * module alone, after cffi's own definitions and ahead of the wrappers, whose steps are macros. PyPy has no such
 * wrappers; there this changes nothing.
 *
 *  1. They keep the GIL. So nothing in the module may block.
 *  2. They do not save and restore errno. So nothing in the module may report through it.
 *  3. For an integer they take an int and for a double a float, and refuse what is none, or does not fit.
 *  4. Where there is no value to return they raise the same exception, so that a 0 is a value.
 *  5. uintptr_t stands for a Python object (object.h).
 *
 * The macros are private to cffi. build_ffi.py checks that the wrappers use them as expected here. */
#ifndef SHAREDMMAP_QUICK_H
#define SHAREDMMAP_QUICK_H
#ifndef PYPY_VERSION

#include <stdbool.h>
#include <stdint.h>

#if !defined(_cffi_restore_errno) || !defined(_cffi_save_errno) || !defined(_cffi_to_c_int) ||                        \
    !defined(_cffi_to_c_double) || !defined(_cffi_from_c_int) || !defined(_cffi_from_c_double)
#error "This cffi does not define the macros that sharedmmap/csrc/quick.h redefines: build with an older cffi."
#endif

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#define Py_END_ALLOW_THREADS }

#undef _cffi_restore_errno
#undef _cffi_save_errno
#define _cffi_restore_errno() ((void)0)
#define _cffi_save_errno() ((void)0)

/* The exception of a call that cannot do what it is asked for: RefusedError in _errors.py. No other one would do, for a signal
 * handler may raise any between a call and the code that catches it. */
static PyObject *refused;

/* Returns the exception that these calls raise: the first one that this was called with. The package may be imported a
 * second time, by a subinterpreter or by who removed it from sys.modules; this module is one for the whole process. */
static inline uintptr_t refuse_with(uintptr_t exception)
{
    if (refused == NULL) {
        Py_INCREF((PyObject *)exception); /* for good */
        refused = (PyObject *)exception;
    }
    Py_INCREF(refused);
    return (uintptr_t)refused;
}

static inline int refuse(void)
{
    PyErr_SetNone(refused);
    return 0;
}

/* Defers the reference counts of an object that lives as long as the process. Without the GIL, threads that use an object
 * write to its reference count, and wait for each other's cache line. With deferred counts they do not write, and only the
 * garbage collector can free the object. CPython has this from 3.14 on. See PyUnstable_Object_EnableDeferredRefcount(). */
static inline int defer_counts(uintptr_t object)
{
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
    return PyUnstable_Object_EnableDeferredRefcount((PyObject *)object);
#else
    (void)object;
    return 0;
#endif
}

#define RAISES_NO_VALUE
#define no_value refuse

/* As with PyLong_AsLongLong() and its like, -1 may be an error: the wrapper asks PyErr_Occurred(). */
static inline int64_t exact_int(PyObject *number, unsigned bits, bool is_unsigned)
{
    const int64_t high = INT64_MAX >> (64 - bits - is_unsigned), low = is_unsigned ? 0 : -high - 1;
    int overflow = 0;
    const int64_t value = Py_TYPE(number) == &PyLong_Type ? PyLong_AsLongLongAndOverflow(number, &overflow) : -1;
    if (Py_TYPE(number) == &PyLong_Type && overflow == 0 && value >= low && value <= high)
        return value;
    return refuse() - 1;
}

static inline uint64_t exact_uint64(PyObject *number)
{
    if (Py_TYPE(number) != &PyLong_Type)
        return (uint64_t)(refuse() - 1);
    const uint64_t value = PyLong_AsUnsignedLongLong(number);
    return value == (uint64_t)-1 && PyErr_Occurred() ? (uint64_t)(refuse() - 1) : value;
}

static inline double exact_float(PyObject *number)
{
    return Py_TYPE(number) == &PyFloat_Type ? PyFloat_AsDouble(number) : refuse() - 1;
}

#define TO_int8_t(number) ((int8_t)exact_int(number, 8, false))
#define TO_uint8_t(number) ((uint8_t)exact_int(number, 8, true))
#define TO_int16_t(number) ((int16_t)exact_int(number, 16, false))
#define TO_uint16_t(number) ((uint16_t)exact_int(number, 16, true))
#define TO_int(number) ((int)exact_int(number, 32, false))
#define TO_int32_t(number) ((int32_t)exact_int(number, 32, false))
#define TO_uint32_t(number) ((uint32_t)exact_int(number, 32, true))
#define TO_int64_t(number) exact_int(number, 64, false)
#define TO_uint64_t(number) exact_uint64(number)
#define TO_uintptr_t(object) ((uintptr_t)(object))
#undef _cffi_to_c_int
#define _cffi_to_c_int(number, type) TO_##type(number)
#undef _cffi_to_c_double
#define _cffi_to_c_double(number) exact_float(number)

#define HAS_FAILED(value) ((value) == 0 && PyErr_Occurred() != NULL)
#define FROM_SIGNED(value) (HAS_FAILED(value) ? NULL : PyLong_FromLongLong((long long)(value)))
#define FROM_UNSIGNED(value) (HAS_FAILED(value) ? NULL : PyLong_FromUnsignedLongLong((unsigned long long)(value)))

#define FROM_int8_t(value) FROM_SIGNED(value)
#define FROM_uint8_t(value) FROM_UNSIGNED(value)
#define FROM_int16_t(value) FROM_SIGNED(value)
#define FROM_uint16_t(value) FROM_UNSIGNED(value)
#define FROM_int(value) FROM_SIGNED(value)
#define FROM_int32_t(value) FROM_SIGNED(value)
#define FROM_uint32_t(value) FROM_UNSIGNED(value)
#define FROM_int64_t(value) FROM_SIGNED(value)
#define FROM_uint64_t(value) FROM_UNSIGNED(value)
#define FROM_uintptr_t(value) ((PyObject *)(value))
#undef _cffi_from_c_int
#define _cffi_from_c_int(value, type) FROM_##type(value)

#undef _cffi_from_c_double
#define _cffi_from_c_double(value) (HAS_FAILED(value) ? NULL : PyFloat_FromDouble(value))

#endif
#endif
