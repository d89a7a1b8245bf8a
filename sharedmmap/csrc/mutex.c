#include "mutex.h"

int64_t mutex_wait(struct mutex *mutex, int64_t call, int64_t nanoseconds)
{
    struct word *word = mutex->word;
    const int64_t end = now() + nanoseconds;
    bool may_wait = true, has_spun = false;
    uint32_t waiters = 0; /* WAITERS as soon as this waiter has slept */
    for (;;) {
        uint32_t owner;
        _Atomic uint32_t *at = mutex_word(mutex, &owner);
        if (owner == 0 || at == NULL)
            return NOT_ACCESSIBLE;
        uint32_t seen = atomic_load(at); /* SAFETY, here and below: in bounds, mutex_word() has just said so; alive */
        if ((seen & OWNER) == 0) {
            if (mutex_exchange(mutex, at, seen, owner | waiters | (seen & WAITERS), call))
                return TAKEN;
        } else if (nanoseconds <= 0) {
            return is_live(word->region) ? (int64_t)seen : NOT_ACCESSIBLE;
        } else if (!has_spun) {
            has_spun = true;
            spin_for_change(word, at, seen, end);
        } else if (seen & WAITERS || atomic_compare_exchange_strong(at, &seen, seen | WAITERS)) {
            seen |= WAITERS;
            if (!may_wait)
                return mark_dirty_and_check(word->region) ? (int64_t)seen : NOT_ACCESSIBLE;
            waiters = WAITERS;
            may_wait = sleep_for_change(word->region, at, seen, end);
        }
        if (!is_live(word->region))
            return NOT_ACCESSIBLE;
    }
}
