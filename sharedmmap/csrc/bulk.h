/* Searching, filling and moving within a region; included by both modules, as access.h is, where SAFETY is explained.
 * What writes goes in pieces and stops at the first fault; what reads goes on through zero pages, which take no
 * memory. */
#ifndef SHAREDMMAP_BULK_H
#define SHAREDMMAP_BULK_H

#include "access.h"

enum { NOT_FOUND = -1, SEARCH_FAILED = -2 }; /* the latter: what was searched is not accessible, or not live */

/* As memmem(3), but sooner where few places start like `sub`: sixteen starts at a time are compared with its
 * first word. Where that tells too little, or `sub` is so long that a vain try costs, memmem(3) does the rest. */
static inline const char *find_first(const char *text, size_t size, const char *sub, size_t n)
{
    typedef uint32_t words __attribute__((vector_size(16)));
    size_t at = 0, tries = 0;
    if (n >= sizeof(uint32_t) && n <= 256) {
        uint32_t head;
        memcpy(&head, sub, sizeof head);
        const words wanted = {head, head, head, head};
        for (; at + 15 + n <= size && tries <= 8 + at / 1024; at += 16) {
            words here, equal = {0};
            uint64_t any[2];
            for (size_t i = 0; i < sizeof head; i++) { /* ends 19 bytes from `at`, so within `size` */
                memcpy(&here, text + at + i, sizeof here);
                equal |= (words)(here == wanted);
            }
            memcpy(any, &equal, sizeof any);
            if ((any[0] | any[1]) == 0)
                continue;
            tries++;
            for (size_t i = 0; i < 16; i++)
                if (memcmp(text + at + i, sub, n) == 0)
                    return text + at + i;
        }
    }
    return memmem(text + at, size - at, sub, n);
}

/* The last of the starts in [low, high) where `sub` stands; halves what is left at each step. */
static inline int64_t find_last(const char *text, int64_t low, int64_t high, const void *sub, int64_t n)
{
    int64_t found = NOT_FOUND;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const char *at = memmem(text + middle, (size_t)(high - middle + n - 1), sub, (size_t)n);
        if (at != NULL) {
            found = at - text;
            low = found + 1;
        } else {
            high = middle;
        }
    }
    return found;
}

/* Where `sub` first stands in [start, end), NOT_FOUND or SEARCH_FAILED. n > 0. */
static inline int64_t region_find(struct region *region, int64_t start, int64_t end, const void *sub, int64_t n)
{
    if (end - start < n)
        return NOT_FOUND;
    if (!holds(region, start, end - start))
        return SEARCH_FAILED;
    /* SAFETY: in bounds, alive. */
    const char *at = find_first(region->base + start, (size_t)(end - start), sub, (size_t)n);
    const int64_t found = at == NULL ? NOT_FOUND : at - region->base;
    return is_live(region) ? found : SEARCH_FAILED;
}

/* The same, where it last stands: from the end in windows that double. */
static inline int64_t region_rfind(struct region *region, int64_t start, int64_t end, const void *sub, int64_t n)
{
    if (end - start < n)
        return NOT_FOUND;
    if (!holds(region, start, end - start))
        return SEARCH_FAILED;
    int64_t high = end - n + 1, window = 1 << 16, found = NOT_FOUND;
    while (found == NOT_FOUND && high > start) {
        const int64_t low = high - start > window ? high - window : start;
        /* SAFETY: in bounds, alive. */
        found = find_last(region->base, low, high, sub, n);
        high = low;
        window *= 2;
    }
    return is_live(region) ? found : SEARCH_FAILED;
}

static inline int region_fill(struct region *region, int64_t offset, int byte, int64_t n)
{
    if (!may_write(region, offset, n))
        return NOT_ACCESSIBLE;
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t piece = n - done < PIECE ? n - done : PIECE;
        /* SAFETY: in bounds, alive. */
        memset(region->base + offset + done, byte, (size_t)piece);
        if (!mark_dirty_and_check(region))
            return NOT_ACCESSIBLE;
    }
    return 0;
}

/* Byte i of `src` goes to offset + i * step, which may be negative. 0 or NOT_ACCESSIBLE. */
static inline int region_scatter(struct region *region, int64_t offset, int64_t step, const char *src, int64_t n)
{
    const int64_t last = offset + (n - 1) * step, low = last < offset ? last : offset;
    if (n > 0 && !may_write(region, low, (last < offset ? offset : last) - low + 1))
        return NOT_ACCESSIBLE;
    for (int64_t i = 0; i < n; i++) {
        /* SAFETY: in bounds, alive. */
        region->base[offset + i * step] = src[i];
        if (!mark_dirty_and_check(region)) /* each byte may be on a page of its own */
            return NOT_ACCESSIBLE;
    }
    return 0;
}

static inline int region_move(struct region *region, int64_t dest, int64_t src, int64_t n)
{
    const bool fits = may_write(region, dest, n) && holds(region, src, n);
    return fits ? copy_in_pieces(region, region->base + dest, region->base + src, n, true) : NOT_ACCESSIBLE;
}

#endif
