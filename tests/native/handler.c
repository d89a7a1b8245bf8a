/* What the SIGBUS handler does: handler SCENARIO FOLDER [MEMBARRIER]. Ends with 0, or as the scenario says. MEMBARRIER:
 * "refused" from the beginning, or "refused later".
 *
 * A foreign region is a mapping of an empty file that is not in the registry. `mend`, installed before our
 * handler, is the handler of the library that made it. */
#include "native.h"
#include "overlay.h"
#include "platform.h"
#include "refuse.h"
#include "scalar.h"
#include "sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

DEFINE_INTEGER(uint64, uint64_t, 64)

enum { THREADS = 4, ROUNDS = 300 };

static int64_t page;
static int empty;    /* a file of no bytes */
static int one_page; /* a file of one page */

/* ---- regions ---- */

/* Four pages that are all lost; believed to be there. */
static struct region *lost_region(void)
{
    struct region *region = map_region(empty, 4 * page);
    atomic_store(&region->limit, 4 * page);
    return region;
}

static void fault_in(struct region *region, int64_t offset)
{
    check(store_uint64(region, offset, 7) == -1);
    check(atomic_load(&region->state) == FAULTED);
    check(load_uint64(region, offset) == 0);
}

static volatile char *foreign_region(void)
{
    char *start = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);
    check(start != MAP_FAILED);
    return start;
}

static sigset_t mask_of_handler;

static void install(void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | flags, .sa_mask = mask_of_handler};
    action.sa_sigaction = handler;
    check(sigaction(SIGBUS, &action, NULL) == 0);
}

/* ---- the other library ---- */

static _Thread_local volatile char *volatile expected;
static _Thread_local volatile int mended;

static void mend(int number, siginfo_t *info, void *context)
{
    check(number == SIGBUS && info->si_code > 0 && context != NULL);
    check(info->si_addr == (void *)expected);
    check(mmap((void *)((uintptr_t)info->si_addr & ~(uintptr_t)(page - 1)), (size_t)page, PROT_READ | PROT_WRITE,
               MAP_FIXED | MAP_PRIVATE | MAP_ANON, -1, 0) != MAP_FAILED);
    mended++;
}

static void fault_abroad(int64_t offset)
{
    volatile char *volatile start = foreign_region(); /* or the access may be moved before what it is to follow */
    const int before = mended;
    expected = start + offset;
    *expected = 7;
    check(*expected == 7 && mended == before + 1);
    munmap((void *)start, (size_t)page);
}

/* ---- threads ---- */

static void mask_of_thread(sigset_t *mask)
{
    sigemptyset(mask);
    check(pthread_sigmask(SIG_SETMASK, NULL, mask) == 0);
}

static bool same_mask(const sigset_t *a, const sigset_t *b)
{
    for (int number = 1; number < NSIG; number++)
        if (sigismember(a, number) != sigismember(b, number))
            return false;
    return true;
}

/* Faults in regions of ours and of others'; errno and the mask stay what they were. */
static void *fault(void *seed)
{
    uint64_t state = (uint64_t)(uintptr_t)seed;
    sigset_t mask, now;
    sigemptyset(&mask);
    sigaddset(&mask, below(&state, 2) ? SIGUSR1 : SIGUSR2);
    check(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    mask_of_thread(&mask);
    for (int i = 0; i < ROUNDS; i++) {
        struct region *region = lost_region();
        const int64_t at = below(&state, (unsigned)(4 * page - 8));
        errno = i;
        if (below(&state, 2))
            fault_in(region, at);
        else
            fault_abroad(at % page);
        check(errno == i);
        mask_of_thread(&now);
        check(same_mask(&now, &mask));
        region_close(region);
    }
    return NULL;
}

/* Keeps the registry moving under the handlers of the others, and takes slots beyond the first chunk. */
static void *map_and_unmap(void *seed)
{
    enum { MANY = 300 };
    struct region *regions[MANY] = {NULL};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < 10 * ROUNDS; i++) {
        struct region **region = &regions[below(&state, MANY)];
        if (*region == NULL) {
            *region = map_region(one_page, page);
            check(store_uint64(*region, 0, 7) == 0);
        } else {
            check(region_unmap(*region) == 0);
            region_close(*region);
            *region = NULL;
        }
    }
    for (int i = 0; i < MANY; i++)
        if (regions[i] != NULL)
            region_close(regions[i]);
    return NULL;
}

static void threads(void)
{
    pthread_t running[THREADS + 1];
    install(mend, 0);
    for (int i = 0; i <= THREADS; i++)
        check(pthread_create(&running[i], NULL, i < THREADS ? fault : map_and_unmap, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i <= THREADS; i++)
        check(pthread_join(running[i], NULL) == 0);
}

/* ---- faults during a fault ---- */

static struct region *inner;

static void fault_in_ours_and_mend(int number, siginfo_t *info, void *context)
{
    fault_in(inner, 2 * page);
    mend(number, info, context);
}

static void ours_within(void)
{
    install(fault_in_ours_and_mend, 0);
    for (int i = 0; i < 6; i++) {
        if (i == 3) {
            sigfillset(&mask_of_handler); /* SIGBUS too */
            install(fault_in_ours_and_mend, 0);
        }
        inner = lost_region();
        fault_abroad(8);
        region_close(inner);
    }
}

static void fault_abroad_again(int number, siginfo_t *info, void *context)
{
    static int calls;
    (void)number, (void)info, (void)context;
    check(++calls == 1);
    *foreign_region() = 7;
}

/* Ends in SIGBUS. */
static void foreign_within(void)
{
    install(fault_abroad_again, 0);
    fault_in(lost_region(), 0);
    *foreign_region() = 7;
}

/* Ends in SIGBUS. */
static void foreign_within_uninterrupted(void)
{
    sigfillset(&mask_of_handler);
    foreign_within();
}

/* ---- a handler that leaves by a jump, as many do ---- */

static _Thread_local sigjmp_buf *volatile back;

static void jump(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info, (void)context;
    siglongjmp(*back, 1);
}

/* A foreign fault, recovered from right here. */
static void recover(void)
{
    volatile char *volatile start = foreign_region();
    sigjmp_buf here;
    back = &here;
    if (sigsetjmp(here, 1) == 0) {
        *start = 7;
        check(false);
    }
    munmap((void *)start, (size_t)page);
}

static void recover_at_depth(int depth)
{
    volatile char used[200];
    used[0] = (char)depth;
    recover();
    if (depth > 0)
        recover_at_depth(depth - 1);
    check(used[0] == (char)depth);
    recover();
}

/* As code does that must not be interrupted. */
static void recover_with_all_else_blocked(void)
{
    sigset_t mask, before;
    sigfillset(&mask);
    sigdelset(&mask, SIGBUS);
    check(pthread_sigmask(SIG_SETMASK, &mask, &before) == 0);
    recover();
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

static void jump_about(void)
{
    fault_in(lost_region(), 0);
    for (int i = 0; i < 100; i++) {
        recover();
        recover_with_all_else_blocked();
    }
    recover_at_depth(100);
    fault_in(lost_region(), 0);
}

static void jumps(void)
{
    install(jump, 0);
    jump_about();
    sigfillset(&mask_of_handler);
    install(jump, 0);
    jump_about();
}

static void *jump_in_thread(void *alternate)
{
    if (alternate != NULL) {
        const stack_t stack = {.ss_sp = alternate, .ss_size = 1 << 16};
        check(sigaltstack(&stack, NULL) == 0);
    }
    jump_about();
    const stack_t none = {.ss_flags = SS_DISABLE};
    check(sigaltstack(&none, NULL) == 0);
    return NULL;
}

static void jumps_in_threads(void)
{
    static char alternate[THREADS / 2][1 << 16];
    pthread_t running[THREADS];
    install(jump, SA_ONSTACK);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&running[i], NULL, jump_in_thread, i < THREADS / 2 ? alternate[i] : NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        check(pthread_join(running[i], NULL) == 0);
}

/* ---- a handler that is called many times for one page ---- */

enum { OFTEN = 40000 };

static void same_page(void)
{
    install(mend, 0);
    fault_in(lost_region(), 0);
    volatile char *volatile start = foreign_region();
    expected = start;
    for (int i = 1; i <= OFTEN; i++) {
        *start = 7;
        check(mended == i);
        check(mmap((void *)start, (size_t)page, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, empty, 0) == start);
    }
}

static void mend_in_the_end(int number, siginfo_t *info, void *context)
{
    static int calls;
    if (++calls == OFTEN)
        mend(number, info, context);
}

static void waits(void)
{
    install(mend_in_the_end, 0);
    fault_in(lost_region(), 0);
    fault_abroad(8);
}

/* ---- what the kernel does for a handler ---- */

static void return_at_once(int number, siginfo_t *info, void *context) { (void)number, (void)info, (void)context; }

static void return_once(int number, siginfo_t *info, void *context)
{
    static int calls;
    (void)number, (void)info, (void)context;
    check(++calls == 1);
}

/* Ends in SIGBUS. */
static void one_shot(void)
{
    install(return_once, (int)SA_RESETHAND);
    fault_in(lost_region(), 0);
    *foreign_region() = 7;
}

/* A handler for one signal, installed again for another. */
static void one_shot_again(void)
{
    for (int i = 0; i < 3; i++) {
        install(mend, (int)SA_RESETHAND);
        fault_in(lost_region(), 0);
        fault_abroad(8);
    }
}

static void mend_unless_interrupted(int number, siginfo_t *info, void *context)
{
    sigset_t mask;
    check(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1) == 1);
    mend(number, info, context);
}

static void mask(void)
{
    sigaddset(&mask_of_handler, SIGUSR1);
    install(mend_unless_interrupted, 0);
    sigset_t before, after;
    mask_of_thread(&before);
    fault_in(lost_region(), 0);
    fault_abroad(8);
    mask_of_thread(&after);
    check(same_mask(&before, &after));
}

/* ---- other libraries in front ---- */

static bool marks_taken;
enum { MARKS = 48 }; /* bytes at the end of siginfo_t, where copies of this package note what a signal has passed */

/* Keeps the handler that was there, and forwards every signal to it: the mask is the same afterwards. */
#define LIBRARY(name)                                                                                      \
    static struct sigaction before_##name;                                                                 \
    static volatile int calls_of_##name;                                                                   \
    static void forward_from_##name(int number, siginfo_t *info, void *context)                            \
    {                                                                                                      \
        sigset_t mask, now;                                                                                \
        calls_of_##name = calls_of_##name + 1;                                                             \
        mask_of_thread(&mask);                                                                             \
        if (marks_taken)                                                                                   \
            memset((char *)(info + 1) - MARKS, 1, MARKS);                                                  \
        before_##name.sa_sigaction(number, info, context);                                                 \
        mask_of_thread(&now);                                                                              \
        check(same_mask(&now, &mask));                                                                     \
    }                                                                                                      \
    static void put_##name##_in_front(void)                                                                \
    {                                                                                                      \
        check(sigaction(SIGBUS, NULL, &before_##name) == 0);                                               \
        check(before_##name.sa_sigaction != forward_from_##name);                                          \
        install(forward_from_##name, SA_NODEFER);                                                          \
    }

LIBRARY(first)
LIBRARY(second)

static void put_ours_in_front(void) { region_close(map_region(one_page, page)); }

/* Each overwrites what it had before: they and we call each other. */
static void in_turns(void)
{
    install(mend, 0);
    for (int i = 0; i < 20; i++) {
        put_ours_in_front();
        put_first_in_front();
        put_ours_in_front();
        put_second_in_front();
    }
    for (int i = 0; i < 2; i++) {
        calls_of_first = calls_of_second = 0;
        fault_abroad(8);
        check(calls_of_first > 0 && calls_of_second > 0);
        fault_in(lost_region(), 0); /* ours in front again */
    }
}

/* The signal comes from so many other copies of this package that there is no room for a mark. */
static void no_room(void)
{
    marks_taken = true;
    install(mend, 0);
    for (int i = 0; i < 3; i++) {
        put_ours_in_front();
        put_first_in_front();
    }
    fault_abroad(8);
    check(calls_of_first > 0);
}

enum { FORWARDED = 20 };

static void forward_often(int number, siginfo_t *info, void *context)
{
    for (int i = 0; i < FORWARDED; i++)
        before_first.sa_sigaction(number, info, context);
}

/* That is no cycle: each time we have returned. */
static void forwarded_often(void)
{
    install(mend, 0);
    put_ours_in_front();
    check(sigaction(SIGBUS, NULL, &before_first) == 0);
    install(forward_often, SA_NODEFER);
    volatile char *volatile start = foreign_region();
    expected = start;
    *start = 7;
    check(mended == FORWARDED);
}

static void forward_and_exit(int number, siginfo_t *info, void *context)
{
    before_first.sa_sigaction(number, info, context);
    _exit(3);
}

/* A signal that was sent ends the process where it is forwarded, though the handler in front blocks SIGBUS. Ends in
 * SIGBUS. */
static void ends_at_once(void)
{
    put_ours_in_front();
    check(sigaction(SIGBUS, NULL, &before_first) == 0);
    install(forward_and_exit, 0);
    raise(SIGBUS);
}

/* The first handler leads back to us: there is no other. Ends in SIGBUS. */
static void leads_back(void)
{
    install(forward_from_first, SA_NODEFER);
    put_ours_in_front();
    check(sigaction(SIGBUS, NULL, &before_first) == 0);
    *foreign_region() = 7;
}

/* The handler in front restores the one that it had found, and does nothing any more. Ends in SIGBUS. */
static void restored(void)
{
    put_ours_in_front();
    struct sigaction before;
    check(sigaction(SIGBUS, NULL, &before) == 0);
    install(return_at_once, 0);
    put_ours_in_front();
    check(sigaction(SIGBUS, &before, NULL) == 0);
    put_ours_in_front();
    *foreign_region() = 7;
}

/* ---- a second copy of this package in the process ---- */

extern int allocations_of_second_copy;
extern bool second_copy_install(sigbus_mend *mend);

static uintptr_t of_second_copy;

static bool mend_for_second_copy(uintptr_t address, bool certain)
{
    (void)certain;
    const bool its = of_second_copy != 0 && (address & ~(uintptr_t)(page - 1)) == of_second_copy;
    return its && mmap((void *)of_second_copy, (size_t)page, PROT_READ | PROT_WRITE,
                       MAP_FIXED | MAP_PRIVATE | MAP_ANON, -1, 0) != MAP_FAILED;
}

static void put_second_copy_in_front(void) { check(second_copy_install(mend_for_second_copy)); }

static void fault_everywhere(void)
{
    struct region *region = lost_region(); /* ours in front, if it is not */
    for (int i = 0; i < 2; i++) {
        fault_abroad(8);
        volatile char *volatile start = foreign_region();
        of_second_copy = (uintptr_t)start;
        *start = 7;
        check(*start == 7);
        munmap((void *)start, (size_t)page);
        of_second_copy = 0;
        if (i == 0) {
            fault_in(region, 8);
            put_second_copy_in_front();
        }
    }
    region_close(region);
    region = lost_region();
    put_second_copy_in_front();
    fault_in(region, 8);
    region_close(region);
}

static void two_copies(void)
{
    install(mend, 0);
    for (int i = 0; i < 100; i++) {
        put_ours_in_front();
        put_second_copy_in_front();
        if (i < 20)
            fault_everywhere();
    }
    const int before = allocations_of_second_copy;
    for (int i = 0; i < 1000; i++) {
        put_ours_in_front();
        put_second_copy_in_front();
    }
    check(allocations_of_second_copy == before);
    fault_everywhere();
}

/* As faulthandler does: restores what it found, a copy of ours, and raises the signal again. Ends in SIGBUS. */
static struct sigaction before_report;

static void restore_and_raise(int number, siginfo_t *info, void *context)
{
    static int calls;
    (void)info, (void)context;
    check(++calls == 1);
    check(sigaction(SIGBUS, &before_report, NULL) == 0);
    raise(number);
}

static void raised_again(void)
{
    signal(SIGBUS, SIG_DFL);
    for (int i = 0; i < 21; i++) {
        put_ours_in_front();
        put_second_copy_in_front();
    }
    check(sigaction(SIGBUS, NULL, &before_report) == 0);
    install(restore_and_raise, SA_NODEFER);
    put_ours_in_front();
    put_second_copy_in_front();
    put_ours_in_front();
    *foreign_region() = 7;
}

/* ---- an alternate stack, as small as the system allows ---- */

static void *on_small_stack(void *unused)
{
    (void)unused;
    long least = MINSIGSTKSZ;
#ifdef _SC_MINSIGSTKSZ
    if (sysconf(_SC_MINSIGSTKSZ) > least)
        least = sysconf(_SC_MINSIGSTKSZ);
#endif
    /* What the kernel needs and one page for the handler; what is below cannot be touched. */
    const size_t size = ((size_t)least + (size_t)page + (size_t)page - 1) & ~((size_t)page - 1);
    char *stack = mmap(NULL, (size_t)page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    check(stack != MAP_FAILED && mprotect(stack, (size_t)page, PROT_NONE) == 0);
    const stack_t alternate = {.ss_sp = stack + page, .ss_size = size};
    check(sigaltstack(&alternate, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        struct region *region = lost_region();
        fault_in(region, 8 * i);
        region_close(region);
    }
    bool used = false;
    for (size_t i = (size_t)page; i < (size_t)page + size; i++)
        used |= stack[i] != 0;
    check(used);
    const stack_t none = {.ss_flags = SS_DISABLE};
    check(sigaltstack(&none, NULL) == 0);
    munmap(stack, (size_t)page + size);
    return NULL;
}

static void small_stack(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, on_small_stack, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

/* ---- the end of a mapping ---- */

/* The bytes from the end of the mapping to the end of its last page are part of what the kernel has mapped. */
static void last_page(void)
{
    const int64_t lengths[] = {1, 100, page - 1, page, page + 1, 3 * page + 100};
    const int64_t offsets[] = {0, 1, page - 1, page + 7};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++) {
            struct region *region = region_new(sizeof *region);
            check(region != NULL && region_map(region, empty, offsets[j], lengths[i], true, true) == NULL);
            const uintptr_t end = (uintptr_t)region->base + (uintptr_t)lengths[i];
            const uintptr_t last = (end + (uintptr_t)page - 1) / (uintptr_t)page * (uintptr_t)page - 1;
            *(volatile char *)last = 7;
            check(atomic_load(&region->state) == FAULTED);
            check(region_fault(region) == (int64_t)(last - (uintptr_t)region->base));
            check(*(volatile char *)last == 7);
            region_close(region);
        }
}

/* ---- signals that are no fault ---- */

#ifdef __linux__
/* The kernel tells of memory that failed, though no access has run into it: who ignores SIGBUS goes on. */
static void memory_failure(void)
{
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
    signal(SIGBUS, SIG_IGN);
    struct region *region = lost_region();
    info.si_addr = (void *)foreign_region();
    check(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info) == 0);
    fault_in(region, 8);
}

/* The thread's last fault was where another region is now, which has lost nothing. */
static void sent_from_outside(void)
{
    enum { TRIES = 100 };
    signal(SIGBUS, SIG_IGN);
    struct region *region = lost_region();
    const char *const base = region->base;
    fault_in(region, 8);
    region_close(region);
    int tries = 0;
    do
        region = map_region(one_page, 4 * page);
    while (region->base != base && ++tries < TRIES);
    check(region->base == base);

    const pid_t process = getpid(), child = fork();
    check(child >= 0);
    if (child == 0)
        _exit(syscall(SYS_tgkill, process, process, SIGBUS) != 0);
    int status;
    while (waitpid(child, &status, 0) != child)
        check(errno == EINTR);
    check(status == 0 && atomic_load(&region->state) <= LIVE_FENCED);
}
#endif

/* ---- one fault, to be looked at from outside ---- */

/* With less allowed than is in use the kernel refuses private pages, and the handler tries again. */
static void short_of_memory(void)
{
    struct region *region = lost_region();
    const struct rlimit less = {.rlim_cur = (rlim_t)page, .rlim_max = RLIM_INFINITY};
    check(setrlimit(RLIMIT_DATA, &less) == 0);
    check(mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0) == MAP_FAILED);
    errno = 77;
    const int stored = store_uint64(region, page, 7);
    check(errno == 77 && stored == -1);
}

static void once(void) { check(store_uint64(lost_region(), page, 7) == -1); }

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {{"threads", threads},
                     {"ours within", ours_within},
                     {"foreign within", foreign_within},
                     {"foreign within, uninterrupted", foreign_within_uninterrupted},
                     {"jumps", jumps},
                     {"jumps in threads", jumps_in_threads},
                     {"same page", same_page},
                     {"waits", waits},
                     {"one shot", one_shot},
                     {"one shot again", one_shot_again},
                     {"mask", mask},
                     {"in turns", in_turns},
                     {"no room", no_room},
                     {"forwarded often", forwarded_often},
                     {"ends at once", ends_at_once},
                     {"leads back", leads_back},
                     {"restored", restored},
                     {"two copies", two_copies},
                     {"raised again", raised_again},
                     {"small stack", small_stack},
                     {"last page", last_page},
                     {"short of memory", short_of_memory},
#ifdef __linux__
                     {"memory failure", memory_failure},
                     {"sent from outside", sent_from_outside},
#endif
                     {"once", once}};
    check(count == 3 || count == 4);
    const char *membarrier = count == 4 ? arguments[3] : "";
    alarm(60);
    sigemptyset(&mask_of_handler);
    page = sysconf(_SC_PAGESIZE);
    empty = make_file(arguments[2], 0);
    one_page = make_file(arguments[2], page);
    if (strcmp(membarrier, "refused later") == 0)
        region_close(map_region(one_page, page)); /* with all that comes with the first */
    if (strcmp(membarrier, "") != 0)
        refuse_membarrier();
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(arguments[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            check(strcmp(membarrier, "") == 0 || live_state() == LIVE_FENCED);
            return 0;
        }
    return 2;
}
