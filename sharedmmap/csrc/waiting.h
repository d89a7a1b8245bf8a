/* Waiting until an aligned 32-bit word of a region changes, for threads and processes alike.
 *
 *  1. A waiter spins first: it loads the word again and again. Another core sees a store within a microsecond; to
 *     wake a sleeper and to switch to it takes some 50 microseconds on a virtual machine. To spin longer than a
 *     wake-up takes gains nothing: that is LONGEST_SPIN. If a waiter spins in vain, the next one on this word spins
 *     half as long. Below SHORTEST_SPIN only every 32nd waiter spins. A spin that succeeds sets the time to
 *     LONGEST_SPIN again. A thread that may run on one core only does not spin: the thread that is to change the word
 *     could not run meanwhile.
 *  2. Then it sleeps in futex(2). It is no private futex: the kernel finds the waiters of all processes by the page
 *     of the file. Where the kernel cannot supply that page, futex(2) fails with EFAULT, and there is no signal.
 *  3. When the region ends, its sleepers must wake. So a waiter sleeps on two words at once, with futex_waitv(2): its
 *     own, and `ended` of the region. Where the kernel has no futex_waitv(2), a waiter wakes up 20 times a second
 *     instead.
 *  4. On macOS it sleeps in os_sync_wait_on_address_with_timeout(), and wakes up as often. Before macOS 14.4 there is
 *     no such call: there it looks at the word once a millisecond.
 *
 * Rejected: to wake the waiter's own word when the region ends. That would wake the waiters of other processes too. */
#ifndef SHAREDMMAP_WAITING_H
#define SHAREDMMAP_WAITING_H

#include "region.h"

#include <errno.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#else
/* What <os/os_sync_wait_on_address.h> declares, which an older SDK does not have. NULL on an older system. */
extern int os_sync_wait_on_address_with_timeout(void *at, uint64_t seen, size_t size, uint32_t flags, uint32_t clock,
                                                uint64_t nanoseconds) __attribute__((weak_import));
extern int os_sync_wake_by_address_any(void *at, size_t size, uint32_t flags) __attribute__((weak_import));
enum { OS_SYNC_SHARED = 1, OS_CLOCK_MACH_ABSOLUTE_TIME = 32 };
#endif

struct word {
    struct region *region;
    int64_t offset;            /* its address, region->base + offset, is a multiple of its size */
    _Atomic int64_t spin;      /* nanoseconds for which the next waiter spins */
    _Atomic uint32_t skipped;  /* how many waiters came while `spin` was below SHORTEST_SPIN */
};

/* Nanoseconds of a clock that only goes forward. */
int64_t now(void);

/* The two steps of a waiter. `at` is the address of its word, and `seen` the value that it found there. True: the
 * word may have another value now, or the region has ended. False: now() has reached `end`, or a signal handler has
 * to run, or the spin was in vain. */
bool spin_for_change(struct word *word, _Atomic uint32_t *at, uint32_t seen, int64_t end);
bool sleep_for_change(struct region *region, _Atomic uint32_t *at, uint32_t seen, int64_t end);

/* Wakes all who sleep on a word of the region, which is not live any more. Async-signal-safe. */
void wake_sleepers(struct region *region);

/* Wakes up to `count` of those who sleep on the word, in any process. Returns how many, or -1 with errno. It does not
 * block. */
static inline int futex_wake(_Atomic uint32_t *at, int count)
{
#ifdef __linux__
    return (int)syscall(SYS_futex, at, FUTEX_WAKE, count, NULL, NULL, 0);
#else
    int woken = 0;
    if (os_sync_wake_by_address_any == NULL)
        return 0; /* nobody sleeps: they look */
    while (woken < count && os_sync_wake_by_address_any(at, sizeof *at, OS_SYNC_SHARED) >= 0)
        woken++;
    return woken > 0 || errno == ENOENT ? woken : -1;
#endif
}

#endif
