#include "word.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

/* The futex is not a private one: waiters in all processes are found by the page of the file. Where the kernel cannot
 * supply that page, it answers EFAULT and sends no signal. */

int word_wait(struct word *word, uint32_t expected, int64_t nanoseconds)
{
    _Atomic uint32_t *at = (void *)word_to_load(word, sizeof *at);
    if (at == NULL) {
        errno = EFAULT;
        return -1;
    }
    const struct timespec span = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
#ifdef __linux__
    return (int)syscall(SYS_futex, at, FUTEX_WAIT, expected, &span, NULL, 0);
#else
    /* No futex: look again every millisecond. */
    struct timespec left = span;
    const struct timespec step = {0, 1000000};
    for (;;) {
        if (atomic_load(at) != expected) {
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
#ifdef __linux__
    return (int)syscall(SYS_futex, at, FUTEX_WAKE, count, NULL, NULL, 0);
#else
    (void)count;
    return 0;
#endif
}
