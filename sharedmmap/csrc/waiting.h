/* Waiting until an aligned 32-bit word of a region changes, for threads and processes alike.
 *
 *  1. A waiter first looks at the word for a while. To wake a sleeper and to switch to it takes some 50 microseconds
 *     on a virtual machine; another core sees a store within a tenth of one. Looking longer than a wake-up takes
 *     cannot pay off: that is LONGEST_SPIN. Where a waiter looked in vain, the next one looks half as long, down to
 *     nothing; then every 32nd tries again, and a success gives back all of it. With one core to run on nobody looks:
 *     who is to change the word could not run meanwhile.
 *  2. Then it sleeps, by futex(2), which finds the waiters in all processes by the page of the file. Where the kernel
 *     cannot supply that page, it answers EFAULT and sends no signal.
 *  3. What ends the region has to wake those who sleep on a word of it. So they sleep on two words at once, the other
 *     being `ended` of the region (futex_waitv(2)). Where the kernel has no such call, they look 20 times a second.
 *
 * Rejected: to let the region's end wake the word itself. That would wake other processes' waiters too. */
#ifndef SHAREDMMAP_WAITING_H
#define SHAREDMMAP_WAITING_H

#include "region.h"

#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

struct word {
    struct region *region;
    int64_t offset;            /* its address, region->base + offset, is a multiple of its size */
    _Atomic int64_t spin;      /* nanoseconds for which a waiter looks before it sleeps */
    _Atomic uint32_t skipped;  /* how many waiters have not looked, since `spin` is too short */
};

/* Nanoseconds of a clock that only goes forward. */
int64_t now(void);

/* The two steps of a waiter, with its word at `at`, where `seen` was found. Each returns whether the word may differ
 * by now, or the region has ended. False: nothing came of it, or it is past `end` as now() tells, or a signal handler
 * has to run. */
bool spin_for_change(struct word *word, _Atomic uint32_t *at, uint32_t seen, int64_t end);
bool sleep_for_change(struct region *region, _Atomic uint32_t *at, uint32_t seen, int64_t end);

/* Wakes all that sleep on a word of a region which is not live any more. May be called in a signal handler. */
void wake_sleepers(struct region *region);

/* Wakes up to `count` that sleep on the word in any process; how many, or -1. It does not block. */
static inline int futex_wake(_Atomic uint32_t *at, int count)
{
#ifdef __linux__
    return (int)syscall(SYS_futex, at, FUTEX_WAKE, count, NULL, NULL, 0);
#else
    return (void)at, (void)count, 0;
#endif
}

#endif
