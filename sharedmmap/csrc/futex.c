#include "futex.h"
#include "word.h"

#include <errno.h>

int word_wait(struct word *word, uint32_t expected, int64_t nanoseconds)
{
    _Atomic uint32_t *at = (void *)word_to_load(word, sizeof *at);
    if (at == NULL) {
        errno = EFAULT;
        return -1;
    }
#ifdef __linux__
    return futex_wait(at, expected, nanoseconds); /* SAFETY: in bounds, alive; the kernel looks, and answers EFAULT */
#else
    /* No futex: look again every millisecond. */
    struct timespec left = timespec_of(nanoseconds);
    const struct timespec step = {0, 1000000};
    for (;;) {
        if (atomic_load(at) != expected) { /* SAFETY: in bounds when the wait began, alive */
            errno = EAGAIN;
            return -1;
        }
        if (left.tv_sec == 0 && left.tv_nsec < step.tv_nsec) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (nanosleep(&step, NULL) != 0)
            return -1;
        left.tv_nsec -= step.tv_nsec;
        if (left.tv_nsec < 0) {
            left.tv_nsec += 1000000000;
            left.tv_sec -= 1;
        }
    }
#endif
}

int word_notify(struct word *word, int count)
{
    _Atomic uint32_t *at = (void *)word_to_load(word, sizeof *at);
    if (at == NULL) {
        errno = EFAULT;
        return -1;
    }
    return futex_wake(at, count); /* SAFETY: the kernel takes the address, and does not look */
}
