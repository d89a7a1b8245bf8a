/* Atomic operations on an aligned word of a region, sequentially consistent, for threads and processes alike.
 *
 * Where the operation did not happen, or went astray, the result is no_value(): the region is not LIVE then, or it is
 * read-only, or the word was past the limit. Then `lost` is set, for good: the limit may move back before anybody
 * asks. */
#ifndef SHAREDMMAP_WORD_H
#define SHAREDMMAP_WORD_H

#include "access.h"

struct word {
    struct region *region;
    int64_t offset;         /* its address, region->base + offset, is a multiple of its size */
    _Atomic uint8_t lost;
};

/* The address, if the word is within the limit now. */
static inline void *reach(struct word *word, int64_t size)
{
    if (!atomic_load(&word->lost) && holds(word->region, word->offset, size))
        return word->region->base + word->offset;
    atomic_store(&word->lost, 1);
    return NULL;
}

/* The same, to write to it; NULL, with nothing lost, where the mapping is read-only. */
static inline void *reach_to_write(struct word *word, int64_t size)
{
    return word->region->writable ? reach(word, size) : NULL;
}

#define DEFINE_FETCH(NAME, TYPE, OPERATION)                                                                \
    static inline TYPE OPERATION##_##NAME(struct word *word, TYPE operand)                                 \
    {                                                                                                      \
        _Atomic TYPE *at = reach_to_write(word, sizeof(TYPE));                                             \
        if (at == NULL)                                                                                    \
            return no_value();                                                                             \
        const TYPE before = atomic_##OPERATION(at, operand);                                               \
        return has_written(word->region) ? before : (TYPE)no_value();                                      \
    }

#define DEFINE_WORD(NAME, TYPE)                                                                            \
    static inline TYPE load_word_##NAME(struct word *word)                                                 \
    {                                                                                                      \
        _Atomic TYPE *at = reach(word, sizeof(TYPE));                                                      \
        if (at == NULL)                                                                                    \
            return no_value();                                                                             \
        const TYPE value = atomic_load(at);                                                                \
        return is_live(word->region) ? value : (TYPE)no_value();                                           \
    }                                                                                                      \
    /* What was seen: `expected` where, and only where, the exchange was made. */                          \
    static inline TYPE compare_exchange_##NAME(struct word *word, TYPE expected, TYPE desired)             \
    {                                                                                                      \
        _Atomic TYPE *at = reach_to_write(word, sizeof(TYPE));                                             \
        if (at == NULL)                                                                                    \
            return no_value();                                                                             \
        const bool made = atomic_compare_exchange_strong(at, &expected, desired);                          \
        const bool live = made ? has_written(word->region) : is_live(word->region);                        \
        return live ? expected : (TYPE)no_value();                                                         \
    }                                                                                                      \
    DEFINE_FETCH(NAME, TYPE, exchange)                                                                     \
    DEFINE_FETCH(NAME, TYPE, fetch_add)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_sub)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_and)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_or)                                                                     \
    DEFINE_FETCH(NAME, TYPE, fetch_xor)

/* Sleeps until woken or for `nanoseconds`, unless the word differs from `expected`. 0 where it was woken, or
 * -1 with EAGAIN (it differs), ETIMEDOUT, EINTR, or EFAULT (the word is out of reach: `lost` is set). */
int word_wait(struct word *word, uint32_t expected, int64_t nanoseconds);

/* Wakes up to `count` of those that wait for the word, in this process or another; how many. */
int word_notify(struct word *word, int count);

#endif
