/* Touching a region's memory. Included by both extension modules: the ordinary one, whose calls release the GIL, and
 * the quick one, whose calls keep it. Nothing here relies on the GIL: the limit, the state and the dirty flag are
 * atomic, and the memory is shared with other processes anyway.
 *
 * Every operation has three steps: check the range against the limit, touch the memory, check the state. The checks are
 * what the comments SAFETY refer to:
 *   in bounds: holds() or may_write() said so just before; the file may shrink now, that is the SIGBUS handler's case.
 *   alive: the caller has a reference to the region, so the addresses are the region's own whatever unmap() does. */
#ifndef SHAREDMMAP_ACCESS_H
#define SHAREDMMAP_ACCESS_H

#include "region.h"

#include <string.h>

enum { NOT_ACCESSIBLE = -1 }; /* out of bounds, read-only, or not live: a part may be copied or written then */

/* What is returned where there is no value. The quick module raises an exception as well: 0 may be a value. */
#ifndef RAISES_NO_VALUE
static inline int no_value(void) { return 0; }
#endif

/* Whether the region is neither faulted nor unmapped: then the accesses that were made before this call reached the file
 * (overlay.h). The compiler may not move them past the load of the state. */
static inline bool is_live(struct region *region)
{
    atomic_signal_fence(memory_order_seq_cst);
    const uint8_t state = atomic_load_explicit(&region->state, memory_order_relaxed);
    if (state != LIVE_FENCED)
        return state == LIVE;
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&region->state, memory_order_relaxed) == LIVE_FENCED;
}

static inline bool mark_dirty_and_check(struct region *region)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&region->dirty, 1, memory_order_release); /* not visible before what was written */
    return is_live(region);
}

/* Whether nothing was written since the last complete flush began, and that has ended without an error. It is one load,
 * since between two loads a flush could begin, fail and end. */
static inline bool region_is_clean(struct region *region)
{
    return atomic_load(&region->state_dirty_flushes) >> 8 == 0; /* the lowest byte is the state */
}

/* The range check of everything in C. `n` is not negative, so nothing overflows. (PyPy makes the same comparison in
 * _pypy.py; Region.require() makes it on the checked path, and raises.) */
static inline bool holds(struct region *region, int64_t offset, int64_t n)
{
    return offset >= 0 && offset <= atomic_load_explicit(&region->limit, memory_order_relaxed) - n;
}

static inline bool may_write(struct region *region, int64_t offset, int64_t n)
{
    return region->writable && holds(region, offset, n);
}

/* Whole copies: 0 or NOT_ACCESSIBLE. In pieces, so that a fault stops them before it fills memory with zero pages. */
enum { PIECE = 1 << 20 };

static inline int region_read(struct region *region, int64_t offset, void *dest, int64_t n)
{
    if (!holds(region, offset, n))
        return NOT_ACCESSIBLE;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        /* SAFETY: in bounds, alive. */
        memmove((char *)dest + done, region->base + offset + done, (size_t)piece);
        if (!is_live(region))
            return NOT_ACCESSIBLE;
    }
    return 0;
}

static inline int region_write(struct region *region, int64_t offset, const void *src, int64_t n)
{
    if (!may_write(region, offset, n))
        return NOT_ACCESSIBLE;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        /* SAFETY: in bounds, alive. */
        memmove(region->base + offset + done, (const char *)src + done, (size_t)piece);
        if (!mark_dirty_and_check(region))
            return NOT_ACCESSIBLE;
    }
    return 0;
}

#endif
