/* futex(2) on a word of a region. It is not a private futex: waiters in all processes are found by the page of the file.
 * Where the kernel cannot supply that page, it answers EFAULT and sends no signal. */
#ifndef SHAREDMMAP_FUTEX_H
#define SHAREDMMAP_FUTEX_H

#include <stdint.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

static inline struct timespec timespec_of(int64_t nanoseconds)
{
    return (struct timespec){(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
}

#ifdef __linux__
static inline int futex_wait(_Atomic uint32_t *at, uint32_t expected, int64_t nanoseconds)
{
    const struct timespec span = timespec_of(nanoseconds);
    return (int)syscall(SYS_futex, at, FUTEX_WAIT, expected, &span, NULL, 0);
}
#endif

/* Wakes up to `count`, and returns how many. It does not block. */
static inline int futex_wake(_Atomic uint32_t *at, int count)
{
#ifdef __linux__
    return (int)syscall(SYS_futex, at, FUTEX_WAKE, count, NULL, NULL, 0);
#else
    return (void)at, (void)count, 0;
#endif
}

#endif
