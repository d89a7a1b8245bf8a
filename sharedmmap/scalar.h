/* Loads and stores of single values: one machine instruction each where the address is aligned. */
#ifndef SHAREDMMAP_SCALAR_H
#define SHAREDMMAP_SCALAR_H

#include "access.h"

#include <math.h>

/* The value as its bits; little-endian is the only byte order we build for. */
#define DEFINE_BITS(BITS)                                                                                  \
    static inline uint##BITS##_t get_bits##BITS(const char *from)                                          \
    {                                                                                                      \
        uint##BITS##_t bits;                                                                               \
        if ((uintptr_t)from % sizeof bits == 0)                                                            \
            return __atomic_load_n((const uint##BITS##_t *)(const void *)from, __ATOMIC_RELAXED);          \
        memcpy(&bits, from, sizeof bits);                                                                  \
        return bits;                                                                                       \
    }                                                                                                      \
    static inline void put_bits##BITS(char *to, uint##BITS##_t bits)                                       \
    {                                                                                                      \
        if ((uintptr_t)to % sizeof bits == 0)                                                              \
            __atomic_store_n((uint##BITS##_t *)(void *)to, bits, __ATOMIC_RELAXED);                        \
        else                                                                                               \
            memcpy(to, &bits, sizeof bits);                                                                \
    }

DEFINE_BITS(8)
DEFINE_BITS(16)
DEFINE_BITS(32)
DEFINE_BITS(64)

/* The processor's own conversions quiet a signalling NaN; these carry its bits over, as far as they fit. */
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

/* False if a finite value is too large for a float. */
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

/* load_NAME: the value, or no_value() where it is out of bounds or the region is not LIVE.
 * store_NAME: 0, or -1 where nothing was reported as written. */
#define DEFINE_INTEGER(NAME, TYPE, BITS)                                                                   \
    static inline TYPE load_##NAME(struct region *region, int64_t offset)                                  \
    {                                                                                                      \
        if (!holds(region, offset, BITS / 8))                                                              \
            return no_value();                                                                             \
        const TYPE value = (TYPE)get_bits##BITS(region->base + offset);                                    \
        return is_live(region) ? value : (TYPE)no_value();                                                 \
    }                                                                                                      \
    static inline int store_##NAME(struct region *region, int64_t offset, TYPE value)                      \
    {                                                                                                      \
        if (!may_write(region, offset, BITS / 8))                                                          \
            return -1;                                                                                     \
        put_bits##BITS(region->base + offset, (uint##BITS##_t)value);                                      \
        return has_written(region) ? 0 : -1;                                                               \
    }

static inline double load_float32(struct region *region, int64_t offset)
{
    if (!holds(region, offset, 4))
        return no_value();
    const double value = widen(get_bits32(region->base + offset));
    return is_live(region) ? value : no_value();
}

static inline int store_float32(struct region *region, int64_t offset, double value)
{
    uint32_t bits;
    if (!may_write(region, offset, 4) || !narrow(value, &bits))
        return -1;
    put_bits32(region->base + offset, bits);
    return has_written(region) ? 0 : -1;
}

static inline double load_float64(struct region *region, int64_t offset)
{
    double value;
    if (!holds(region, offset, 8))
        return no_value();
    const uint64_t bits = get_bits64(region->base + offset);
    memcpy(&value, &bits, sizeof value);
    return is_live(region) ? value : no_value();
}

static inline int store_float64(struct region *region, int64_t offset, double value)
{
    uint64_t bits;
    if (!may_write(region, offset, 8))
        return -1;
    memcpy(&bits, &value, sizeof bits);
    put_bits64(region->base + offset, bits);
    return has_written(region) ? 0 : -1;
}

#endif
