/* The discipline of the SIGBUS handler: handler SCENARIO FOLDER. Ends with 0, or as the scenario says.
 *
 * A foreign region is a mapping of a file cut to nothing that is not in the registry; `mend`, installed before
 * our handler, is what the library that made it would do about it. */
#include "native.h"
#include "scalar.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

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

static void install(void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | flags};
    action.sa_sigaction = handler;
    sigemptyset(&action.sa_mask);
    check(sigaction(SIGBUS, &action, NULL) == 0);
}

/* ---- the other library ---- */

static _Thread_local volatile char *expected;
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
    volatile char *start = foreign_region();
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
        check(memcmp(&now, &mask, sizeof mask) == 0);
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
    for (int i = 0; i < 3; i++) {
        inner = lost_region();
        fault_abroad(8);
        region_close(inner);
    }
}

static void fault_abroad_again(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info, (void)context;
    *foreign_region() = 7;
}

/* Ends in SIGBUS. */
static void foreign_within(void)
{
    install(fault_abroad_again, 0);
    fault_in(lost_region(), 0);
    *foreign_region() = 7;
}

/* ---- a handler that leaves by a jump, as many do ---- */

static sigjmp_buf back;

static void jump(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info, (void)context;
    siglongjmp(back, 1);
}

static void jumps(void)
{
    install(jump, 0);
    fault_in(lost_region(), 0);
    volatile char *start = foreign_region();
    for (volatile int i = 0; i < 1000; i++)
        if (sigsetjmp(back, 1) == 0) {
            *start = 7;
            check(false);
        }
    fault_in(lost_region(), 0);
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
    } scenarios[] = {{"threads", threads},         {"ours within", ours_within}, {"foreign within", foreign_within},
                     {"jumps", jumps},             {"small stack", small_stack}, {"short of memory", short_of_memory},
                     {"once", once}};
    check(count == 3);
    alarm(60);
    page = sysconf(_SC_PAGESIZE);
    empty = make_file(arguments[2], 0);
    one_page = make_file(arguments[2], page);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(arguments[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 0;
        }
    return 2;
}
