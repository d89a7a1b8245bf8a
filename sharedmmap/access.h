/* Touching a region's memory. Included by both extension modules: the ordinary one, whose calls release the
 * GIL, and the quick one, whose calls keep it. Nothing here relies on the GIL: the limit, the state and the
 * dirty flag are atomic, and the memory is shared with other processes anyway.
 *
 * Every function checks its range against the limit before the access (in bounds), and the caller holds a
 * reference to the region, so the addresses are the region's own (alive) whatever unmap() and the kernel do
 * meanwhile. The state is read after the access, and the dirty flag set between the two: a flush that came
 * before the flag cannot lose the write, and a write that is reported as done has the flag set. */
#ifndef SHAREDMMAP_ACCESS_H
#define SHAREDMMAP_ACCESS_H

#include "guard.h"

#include <string.h>

/* What is returned where there is no value. The quick module raises an exception as well: 0 may be a value. */
#ifndef PY_NO_VALUE
static inline int no_value(void) { return 0; }
#endif

/* The compiler may not move the memory access past the reading of the state. */
static inline bool is_live(struct region *region)
{
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&region->state, memory_order_relaxed) == LIVE;
}

static inline bool has_written(struct region *region)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&region->dirty, 1, memory_order_release); /* not visible before the data */
    return is_live(region);
}

/* Whether nothing is owed: nothing was written since the last complete flush, and that has ended well. Asked in one
 * load: `flushes` is raised before `dirty` is cleared, and lowered after it is set again. */
static inline bool region_is_clean(struct region *region)
{
    typedef uint32_t __attribute__((may_alias)) together;
    return __atomic_load_n((together *)&region->state, __ATOMIC_SEQ_CST) >> 8 == 0;
}

/* `n` is not negative, so nothing overflows. */
static inline bool holds(struct region *region, int64_t offset, int64_t n)
{
    return offset >= 0 && offset <= atomic_load_explicit(&region->limit, memory_order_relaxed) - n;
}

static inline bool may_write(struct region *region, int64_t offset, int64_t n)
{
    return region->writable && holds(region, offset, n);
}

/* Whole copies. They go in pieces and stop at the first fault, so that one never fills memory with zero
 * pages. 0, or -1 if the range is out of bounds or the region is not LIVE: some of it may be copied then. */
enum { PIECE = 1 << 20 };

static inline int region_read(struct region *region, int64_t offset, void *dest, int64_t n)
{
    if (!holds(region, offset, n))
        return -1;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        memmove((char *)dest + done, region->base + offset + done, (size_t)piece);
        if (!is_live(region))
            return -1;
    }
    return 0;
}

static inline int region_write(struct region *region, int64_t offset, const void *src, int64_t n)
{
    if (!may_write(region, offset, n))
        return -1;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        memmove(region->base + offset + done, (const char *)src + done, (size_t)piece);
        if (!has_written(region))
            return -1;
    }
    return 0;
}

#endif
