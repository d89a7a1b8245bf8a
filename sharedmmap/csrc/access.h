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

/* Copies between the region and any memory, also its own: as memmove(3), but in pieces, so that a fault stops it before
 * it fills memory with zero pages. No piece is written over before it is read. 0 or NOT_ACCESSIBLE. */
enum { PIECE = 1 << 20 };

static inline int copy_in_pieces(struct region *region, char *dest, const char *src, int64_t n, bool writing)
{
    const bool backwards = (uintptr_t)dest - (uintptr_t)src < (uintptr_t)n;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        const int64_t from = backwards ? n - done - piece : done;
        /* SAFETY: in bounds, alive. */
        memmove(dest + from, src + from, (size_t)piece);
        if (!(writing ? mark_dirty_and_check(region) : is_live(region)))
            return NOT_ACCESSIBLE;
    }
    return 0;
}

static inline int region_read(struct region *region, int64_t offset, void *dest, int64_t n)
{
    return holds(region, offset, n) ? copy_in_pieces(region, dest, region->base + offset, n, false) : NOT_ACCESSIBLE;
}

static inline int region_write(struct region *region, int64_t offset, const void *src, int64_t n)
{
    return may_write(region, offset, n) ? copy_in_pieces(region, region->base + offset, src, n, true) : NOT_ACCESSIBLE;
}

#endif
