/* The quick module's calls that take or give Python objects, so that one call does what a method of File does. Only on
 * CPython. In the declarations of that module uintptr_t stands for an object (quick.h): as an argument borrowed, as a
 * result a new reference, or 0 with an exception.
 *
 * A call that cannot do the common case refuses: File takes the checked path then, which does it, or finds out what
 * is wrong and raises the right exception. Copies of PIECE bytes and more are refused as well: these calls keep the
 * GIL. */
#ifndef SHAREDMMAP_OBJECT_H
#define SHAREDMMAP_OBJECT_H
#ifndef PYPY_VERSION

#include "access.h"

enum { LARGEST_FOR_VIEW = 8192 };

/* The range that a slice selects, as in bytes; false with an exception where it has a step. */
static inline bool slice_range(struct region *region, PyObject *slice, int64_t *start, int64_t *size)
{
    Py_ssize_t first, stop, step;
    if (PySlice_Unpack(slice, &first, &stop, &step) != 0)
        return false;
    *size = PySlice_AdjustIndices((Py_ssize_t)region->length, &first, &stop, step);
    *start = first;
    return step == 1 || refuse();
}

/* The offset that an exact int selects; negative ones count from the end. -1 with an exception. */
static inline int64_t index_offset(struct region *region, PyObject *index)
{
    const int64_t offset = exact_int(index, 64, false);
    return offset < 0 && !PyErr_Occurred() ? offset + region->length : offset;
}

/* Between HOLD and LET_GO no other thread can resize a bytearray, so its memory stays where it is. With the GIL that is
 * so anyway. Without it these are the critical section of the object, which bytearray uses from CPython 3.14 on. */
#ifdef Py_GIL_DISABLED
#define HOLD(object) Py_BEGIN_CRITICAL_SECTION(object)
#define LET_GO() Py_END_CRITICAL_SECTION()
enum { CAN_HOLD = PY_VERSION_HEX >= 0x030E0000 };
#else
#define HOLD(object) {
#define LET_GO() }
enum { CAN_HOLD = true };
#endif

/* A bytes object whose memory is not set. It may go to nobody before all of it is. */
static inline uintptr_t unset_bytes(int64_t size)
{
    return (uintptr_t)PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
}

static inline uintptr_t region_bytes(struct region *region, int64_t offset, int64_t size)
{
    if (size < 0 || size >= PIECE || !holds(region, offset, size))
        return (uintptr_t)refuse();
    PyObject *bytes = (PyObject *)unset_bytes(size);
    if (bytes != NULL && (region_read(region, offset, PyBytes_AsString(bytes), size) != 0 || !is_live(region))) {
        Py_DECREF(bytes);
        return (uintptr_t)refuse();
    }
    return (uintptr_t)bytes;
}

static inline uintptr_t region_get_item(struct region *region, uintptr_t key)
{
    PyObject *object = (PyObject *)key;
    int64_t start, size;
    if (!PySlice_Check(object)) {
        uint8_t byte;
        const int64_t offset = index_offset(region, object);
        if (PyErr_Occurred() || region_read(region, offset, &byte, 1) != 0)
            return (uintptr_t)refuse();
        return (uintptr_t)PyLong_FromLong(byte);
    }
    return slice_range(region, object, &start, &size) ? region_bytes(region, start, size) : 0;
}

enum { ANY_SIZE = -1 };

static inline int64_t write_memory(struct region *region, int64_t offset, const char *src, int64_t size, int64_t wanted)
{
    if (size >= PIECE || (wanted != ANY_SIZE && wanted != size))
        return 0;
    return region_write(region, offset, src, size) == 0 ? size : 0;
}

/* Writes what a bytes object or a bytearray has, if that is as many bytes as wanted. The bytes written: all, or 0. */
static inline int64_t write_object(struct region *region, int64_t offset, PyObject *src, int64_t wanted)
{
    int64_t written = 0;
    if (PyBytes_CheckExact(src))
        return write_memory(region, offset, PyBytes_AsString(src), PyBytes_Size(src), wanted);
    if (CAN_HOLD && PyByteArray_CheckExact(src)) {
        HOLD(src);
        written = write_memory(region, offset, PyByteArray_AsString(src), PyByteArray_Size(src), wanted);
        LET_GO();
    }
    return written;
}

/* 0 or NOT_ACCESSIBLE. */
static inline int region_set_item(struct region *region, uintptr_t key, uintptr_t value)
{
    int64_t start, size;
    if (!PySlice_Check((PyObject *)key)) {
        const int64_t offset = index_offset(region, (PyObject *)key);
        const uint8_t byte = (uint8_t)exact_int((PyObject *)value, 8, true);
        return PyErr_Occurred() ? refuse() : region_write(region, offset, &byte, 1);
    }
    if (!slice_range(region, (PyObject *)key, &start, &size)) /* first: its __index__ may resize value */
        return 0;
    return write_object(region, start, (PyObject *)value, size) != 0 ? 0 : NOT_ACCESSIBLE;
}

/* The limited API of 3.9 gives nobody the address of a memoryview's memory. As long as it costs less than to ask cffi for
 * it, the bytes go through an object of their own. */
static inline int64_t read_into_view(struct region *region, PyObject *view, int64_t offset)
{
    PyObject *contiguous = PyObject_GetAttrString(view, "c_contiguous"), *bytes = NULL, *all = NULL;
    const Py_ssize_t size = PyObject_Size(view);
    int64_t copied = 0;
    if (contiguous == Py_True && size > 0 && size <= LARGEST_FOR_VIEW)
        bytes = (PyObject *)region_bytes(region, offset, size);
    if (bytes != NULL && (all = PySlice_New(NULL, NULL, NULL)) != NULL && PyObject_SetItem(view, all, bytes) == 0)
        copied = size;
    PyErr_Clear(); /* what is no row of bytes takes the checked path */
    Py_XDECREF(contiguous);
    Py_XDECREF(bytes);
    Py_XDECREF(all);
    return copied;
}

/* The bytes copied: all that dest holds, or that src has. 0 where that was not done. */
static inline int64_t region_read_at(struct region *region, uintptr_t dest, int64_t offset)
{
    PyObject *object = (PyObject *)dest;
    int64_t copied = 0;
    if (PyMemoryView_Check(object))
        return read_into_view(region, object, offset);
    if (CAN_HOLD && PyByteArray_CheckExact(object)) {
        HOLD(object);
        const int64_t size = PyByteArray_Size(object);
        if (size < PIECE && region_read(region, offset, PyByteArray_AsString(object), size) == 0)
            copied = size;
        LET_GO();
    }
    return copied;
}

static inline int64_t region_write_at(struct region *region, uintptr_t src, int64_t offset)
{
    return write_object(region, offset, (PyObject *)src, ANY_SIZE);
}

#endif
#endif
