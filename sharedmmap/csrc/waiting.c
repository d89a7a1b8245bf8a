#include "waiting.h"
#include "access.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <time.h>

enum {
    LONGEST_SPIN = 50000, /* nanoseconds, as are the others */
    SHORTEST_SPIN = 1000,
    LONGEST_SLEEP = 50000000, /* without futex_waitv(2): then the end of the region wakes nobody */
    POLL = 1000000,           /* between two loads, where the kernel cannot wait for the word at all */
    RETRY = 32,               /* waiters, of whom one spins although that was in vain before */
};

int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static struct timespec timespec_of(int64_t nanoseconds)
{
    return (struct timespec){(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
}

/* ---- spinning ---- */

static bool has_other_cores(void)
{
#ifdef __linux__
    cpu_set_t cores;
    /* It fails with EINVAL where there are more cores than the set holds. */
    return sched_getaffinity(0, sizeof cores, &cores) != 0 || CPU_COUNT(&cores) > 1;
#else
    return sysconf(_SC_NPROCESSORS_ONLN) > 1;
#endif
}

static void pause_core(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

bool spin_for_change(struct word *word, _Atomic uint32_t *at, uint32_t seen, int64_t end)
{
    int64_t spin = atomic_load_explicit(&word->spin, memory_order_relaxed);
    if (spin < SHORTEST_SPIN) {
        if (atomic_fetch_add_explicit(&word->skipped, 1, memory_order_relaxed) % RETRY != 0)
            return false;
        spin = LONGEST_SPIN;
    }
    if (!has_other_cores())
        return false;
    if (end > now() + spin)
        end = now() + spin;
    do {
        for (int i = 0; i < 16; i++) {
            pause_core();
            if (atomic_load(at) != seen) { /* SAFETY: as the caller says; where the page has gone, this is 0 */
                atomic_store_explicit(&word->spin, LONGEST_SPIN, memory_order_relaxed);
                return true;
            }
        }
    } while (now() < end);
    atomic_store_explicit(&word->spin, spin / 2, memory_order_relaxed);
    return false;
}

/* ---- sleeping ---- */

/* 0 or more: woken. -1 with errno. */
#ifdef __linux__
static long futex_wait(struct region *region, _Atomic uint32_t *at, uint32_t seen, int64_t end)
{
#if defined(SYS_futex_waitv) && defined(FUTEX_WAITV_MAX)
    const struct timespec until = timespec_of(end);
    struct futex_waitv words[] = {
        {.val = seen, .uaddr = (uintptr_t)at, .flags = FUTEX_32},
        {.val = 0, .uaddr = (uintptr_t)&region->ended, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG},
    };
    const long woken = syscall(SYS_futex_waitv, words, 2, 0, &until, CLOCK_MONOTONIC);
    if (woken >= 0 || errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR)
        return woken; /* any other error: the kernel has no such call, or a seccomp filter refuses it */
#endif
    (void)region;
    const int64_t latest = now() + LONGEST_SLEEP;
    const struct timespec soon = timespec_of(end < latest ? end : latest);
    return syscall(SYS_futex, at, FUTEX_WAIT_BITSET, seen, &soon, NULL, FUTEX_BITSET_MATCH_ANY);
}
#else
static long futex_wait(struct region *region, _Atomic uint32_t *at, uint32_t seen, int64_t end)
{
    (void)region;
    const int64_t left = end - now();
    if (os_sync_wait_on_address_with_timeout == NULL)
        return errno = ENOSYS, -1;
    if (left <= 0)
        return errno = ETIMEDOUT, -1; /* the call takes no time of 0 */
    return os_sync_wait_on_address_with_timeout(at, seen, sizeof *at, OS_SYNC_SHARED, OS_CLOCK_MACH_ABSOLUTE_TIME,
                                                (uint64_t)(left < LONGEST_SLEEP ? left : LONGEST_SLEEP));
}
#endif

bool sleep_for_change(struct region *region, _Atomic uint32_t *at, uint32_t seen, int64_t end)
{
    /* A sleeper is counted before the kernel compares `ended`, and wake_sleepers() sets `ended` before it loads the
     * count. So either the kernel sees that the region has ended, or wake_sleepers() sees the sleeper. */
    atomic_fetch_add(&region->sleepers, 1);
    const long woken = futex_wait(region, at, seen, end);
    const int reason = errno;
    atomic_fetch_sub(&region->sleepers, 1);
    if (woken >= 0 || reason == EAGAIN)
        return true;
    if (reason == ETIMEDOUT || reason == EINTR)
        return false;
    /* The kernel cannot wait for this word: the page has gone, which the next load finds out, it is a device's, or there
     * is no such call. */
    for (int64_t left; (left = end - now()) > 0;) {
        const struct timespec step = timespec_of(left < POLL ? left : POLL);
        if (nanosleep(&step, NULL) != 0)
            return false;
        if (atomic_load(at) != seen || !is_live(region)) /* SAFETY: as the caller says */
            return true;
    }
    return false;
}

void wake_sleepers(struct region *region)
{
    atomic_store(&region->ended, 1);
#ifdef __linux__
    if (atomic_load(&region->sleepers) != 0)
        syscall(SYS_futex, &region->ended, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#endif
}
