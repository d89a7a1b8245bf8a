/* Atomic operations on an aligned word of a region, sequentially consistent, for threads and processes alike.
 *
 * On CPython an operation is one call: check the range, operate, check the state. Where it was not made, or may not
 * have reached the file, the result is no_value(). PyPy makes the same checks in Python, which its compiler inlines,
 * and calls the operations at an address, NAME_at_TYPE; with one call it could not tell a 0 from no value. */
#ifndef SHAREDMMAP_WORD_H
#define SHAREDMMAP_WORD_H

#include "access.h"
#include "waiting.h"

/* The address, if the word is within the limit now, or NULL. */
static inline char *word_to_load(struct word *word, int64_t size)
{
    return holds(word->region, word->offset, size) ? word->region->base + word->offset : NULL;
}

static inline char *word_to_write(struct word *word, int64_t size)
{
    return may_write(word->region, word->offset, size) ? word->region->base + word->offset : NULL;
}

/* SAFETY, of all that follows: in bounds, as word_to_load() or word_to_write() said just before (on PyPy the same check
 * in Python); alive, since who has the word has a reference to its region. */
#define DEFINE_FETCH(NAME, TYPE, OPERATION)                                                                \
    static inline TYPE OPERATION##_at_##NAME(char *at, TYPE operand)                                       \
    {                                                                                                      \
        return atomic_##OPERATION((_Atomic TYPE *)(void *)at, operand);                                            \
    }                                                                                                      \
    static inline TYPE OPERATION##_##NAME(struct word *word, TYPE operand)                                 \
    {                                                                                                      \
        char *at = word_to_write(word, sizeof(TYPE));                                                      \
        if (at == NULL)                                                                                    \
            return (TYPE)no_value();                                                                       \
        const TYPE before = OPERATION##_at_##NAME(at, operand);                                            \
        return mark_dirty_and_check(word->region) ? before : (TYPE)no_value();                             \
    }

#define DEFINE_WORD(NAME, TYPE)                                                                            \
    static inline TYPE load_at_##NAME(char *at) { return atomic_load((_Atomic TYPE *)(void *)at); }                \
    static inline TYPE load_word_##NAME(struct word *word)                                                 \
    {                                                                                                      \
        char *at = word_to_load(word, sizeof(TYPE));                                                       \
        if (at == NULL)                                                                                    \
            return (TYPE)no_value();                                                                       \
        const TYPE value = load_at_##NAME(at);                                                             \
        return is_live(word->region) ? value : (TYPE)no_value();                                           \
    }                                                                                                      \
    /* What was seen: `expected` where, and only where, the exchange was made. */                          \
    static inline TYPE compare_exchange_at_##NAME(char *at, TYPE expected, TYPE desired)                   \
    {                                                                                                      \
        atomic_compare_exchange_strong((_Atomic TYPE *)(void *)at, &expected, desired);                            \
        return expected;                                                                                   \
    }                                                                                                      \
    static inline TYPE compare_exchange_##NAME(struct word *word, TYPE expected, TYPE desired)             \
    {                                                                                                      \
        char *at = word_to_write(word, sizeof(TYPE));                                                      \
        if (at == NULL)                                                                                    \
            return (TYPE)no_value();                                                                       \
        const TYPE seen = compare_exchange_at_##NAME(at, expected, desired);                               \
        const bool live = seen == expected ? mark_dirty_and_check(word->region) : is_live(word->region);   \
        return live ? seen : (TYPE)no_value();                                                             \
    }                                                                                                      \
    DEFINE_FETCH(NAME, TYPE, exchange)                                                                     \
    DEFINE_FETCH(NAME, TYPE, fetch_add)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_sub)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_and)                                                                    \
    DEFINE_FETCH(NAME, TYPE, fetch_or)                                                                     \
    DEFINE_FETCH(NAME, TYPE, fetch_xor)

/* Waits until the word differs from `expected`, or somebody wakes those who wait for it. 1: that happened. 0: so many
 * `nanoseconds` have passed, or a signal handler has to run. Or NOT_ACCESSIBLE. The quick module, which keeps the GIL,
 * must not call it. */
static inline int word_wait(struct word *word, uint32_t expected, int64_t nanoseconds)
{
    _Atomic uint32_t *at = (void *)word_to_load(word, sizeof *at);
    if (at == NULL)
        return NOT_ACCESSIBLE;
    bool woken = atomic_load(at) != expected;
    if (!woken && nanoseconds > 0) {
        const int64_t end = now() + nanoseconds;
        woken = spin_for_change(word, at, expected, end) || sleep_for_change(word->region, at, expected, end);
    }
    (void)atomic_load(at); /* finds out whether the page has gone */
    return is_live(word->region) ? woken : NOT_ACCESSIBLE;
}

/* Wakes up to `count` of those who wait for the word, in any process. Returns how many, or NOT_ACCESSIBLE, which is also
 * what futex_wake() returns where the kernel has no page for the word. */
static inline int word_notify(struct word *word, int count)
{
    _Atomic uint32_t *at = (void *)word_to_load(word, sizeof *at);
    return at == NULL ? NOT_ACCESSIBLE : futex_wake(at, count);
}

#endif
