#include "mutex.h"

#include <errno.h>

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Returns when the word may have changed, or after `nanoseconds`; false if a signal handler has to run. This is the one
 * place in which a waiter waits. */
static bool wait_for_change(_Atomic uint32_t *at, uint32_t seen, int64_t nanoseconds)
{
#ifdef __linux__
    if (futex_wait(at, seen, nanoseconds) == 0 || errno == EAGAIN || errno == ETIMEDOUT)
        return true;
    if (errno == EINTR)
        return false;
#else
    (void)at;
    (void)seen;
#endif
    /* The kernel cannot wait for this word: the page has gone, as the next look tells, or is none of memory. */
    const struct timespec step = timespec_of(nanoseconds < 1000000 ? nanoseconds : 1000000);
    return nanosleep(&step, NULL) == 0;
}

int64_t mutex_wait(struct mutex *mutex, int64_t call, int64_t nanoseconds)
{
    const int64_t end = now() + nanoseconds;
    bool may_wait = nanoseconds > 0;
    for (;;) {
        uint32_t owner;
        _Atomic uint32_t *at = mutex_word(mutex, &owner);
        if (owner == 0 || at == NULL)
            return OUT_OF_REACH;
        uint32_t seen = atomic_load(at); /* SAFETY, here and below: in bounds, mutex_word() has just said so; alive */
        if ((seen & OWNER) == 0) {
            if (mutex_exchange(mutex, at, seen, owner | WAITERS, call))
                return TAKEN;
        } else if (seen & WAITERS || atomic_compare_exchange_strong(at, &seen, seen | WAITERS)) {
            seen |= WAITERS;
            if (!may_wait)
                return mark_dirty_and_check(mutex->word->region) ? (int64_t)seen : OUT_OF_REACH;
            const int64_t left = end - now();
            may_wait = left > 0 && wait_for_change(at, seen, left);
        }
        if (!is_live(mutex->word->region))
            return OUT_OF_REACH;
    }
}
