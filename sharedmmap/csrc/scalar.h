/* Loads and stores of single values: one machine instruction each where the address is aligned. */
#ifndef SHAREDMMAP_SCALAR_H
#define SHAREDMMAP_SCALAR_H

#include "access.h"

#include <math.h>

/* The value as its bits; little-endian is the only byte order we build for. False and NOT_ACCESSIBLE where it is not
 * accessible. */
#define DEFINE_BITS(BITS)                                                                                  \
    static inline bool load_bits##BITS(struct region *region, int64_t offset, uint##BITS##_t *bits)        \
    {                                                                                                      \
        if (!holds(region, offset, BITS / 8))                                                              \
            return false;                                                                                  \
        const char *from = region->base + offset;                                                          \
        /* SAFETY: in bounds, alive. */                                                                    \
        if ((uintptr_t)from % (BITS / 8) == 0)                                                             \
            *bits = __atomic_load_n((const uint##BITS##_t *)(const void *)from, __ATOMIC_RELAXED);         \
        else                                                                                               \
            memcpy(bits, from, BITS / 8);                                                                  \
        return is_live(region);                                                                            \
    }                                                                                                      \
    static inline int store_bits##BITS(struct region *region, int64_t offset, uint##BITS##_t bits)         \
    {                                                                                                      \
        if (!may_write(region, offset, BITS / 8))                                                          \
            return NOT_ACCESSIBLE;                                                                         \
        char *to = region->base + offset;                                                                  \
        /* SAFETY: in bounds, alive. */                                                                    \
        if ((uintptr_t)to % (BITS / 8) == 0)                                                               \
            __atomic_store_n((uint##BITS##_t *)(void *)to, bits, __ATOMIC_RELAXED);                        \
        else                                                                                               \
            memcpy(to, &bits, BITS / 8);                                                                   \
        return mark_dirty_and_check(region) ? 0 : NOT_ACCESSIBLE;                                          \
    }

DEFINE_BITS(8)
DEFINE_BITS(16)
DEFINE_BITS(32)
DEFINE_BITS(64)

/* The processor's conversions between float and double quiet a signalling NaN; these two carry its bits over as far as
 * they fit. */
static inline double widen(uint32_t bits)
{
    float narrow;
    double wide;
    memcpy(&narrow, &bits, sizeof narrow);
    if (!isnan(narrow))
        return narrow;
    const uint64_t nan = (uint64_t)(bits >> 31) << 63 | UINT64_C(0x7ff) << 52 | (uint64_t)(bits & 0x7fffff) << 29;
    memcpy(&wide, &nan, sizeof wide);
    return wide;
}

/* False if a finite value is too large for a float, as the processor rounds now. */
static inline bool narrow(double wide, uint32_t *bits)
{
    const float value = (float)wide;
    memcpy(bits, &value, sizeof *bits);
    if (isnan(wide)) {
        uint64_t nan;
        memcpy(&nan, &wide, sizeof nan);
        const uint32_t payload = (uint32_t)(nan >> 29) & 0x7fffff;
        if (payload != 0) /* else it would read as infinity: keep the quiet NaN of the conversion */
            *bits = (uint32_t)(nan >> 63) << 31 | 0x7f800000 | payload;
    }
    return !isinf(value) || isinf(wide);
}

/* load_NAME: the value, or no_value() where it is not accessible.
 * store_NAME: 0, NOT_ACCESSIBLE, or TOO_LARGE for the type. */
enum { TOO_LARGE = -2 };

#define DEFINE_INTEGER(NAME, TYPE, BITS)                                                                   \
    static inline TYPE load_##NAME(struct region *region, int64_t offset)                                  \
    {                                                                                                      \
        uint##BITS##_t bits;                                                                               \
        return load_bits##BITS(region, offset, &bits) ? (TYPE)bits : (TYPE)no_value();                     \
    }                                                                                                      \
    static inline int store_##NAME(struct region *region, int64_t offset, TYPE value)                      \
    {                                                                                                      \
        return store_bits##BITS(region, offset, (uint##BITS##_t)value);                                    \
    }

static inline double load_float32(struct region *region, int64_t offset)
{
    uint32_t bits;
    return load_bits32(region, offset, &bits) ? widen(bits) : no_value();
}

static inline int store_float32(struct region *region, int64_t offset, double value)
{
    uint32_t bits;
    return narrow(value, &bits) ? store_bits32(region, offset, bits) : TOO_LARGE;
}

static inline double load_float64(struct region *region, int64_t offset)
{
    uint64_t bits;
    double value;
    if (!load_bits64(region, offset, &bits))
        return no_value();
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int store_float64(struct region *region, int64_t offset, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return store_bits64(region, offset, bits);
}

#endif
