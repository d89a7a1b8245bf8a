/* What another thread or process does at one chosen point of a call: interleaved SCENARIO FOLDER. Ends with 0.
 *
 * The sources of the package are included here, and their system calls are macros that first pass a point: there a
 * scenario can hold the thread, do in its place what another process might do, or have the call refused. So nothing
 * depends on how long anything takes. */
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- points ---- */

struct point {
    _Atomic(void (*)(void)) hook; /* called once, the next time a thread passes */
    _Atomic int error;            /* while it is not 0, the call fails with it */
};

static bool refused(struct point *point)
{
    void (*hook)(void) = atomic_exchange(&point->hook, NULL);
    if (hook != NULL)
        hook();
    const int error = atomic_load(&point->error);
    if (error != 0)
        errno = error;
    return error != 0;
}

static int passed(struct point *point, int result) { return refused(point) ? -1 : result; }

/* Where a variable of a region is stored, or looked at by the registry, or a lock is asked for. */
static struct point before_store, after_store, before_load;
static const volatile void *_Atomic watched;
static _Atomic int arrivals;

static void pass_store(struct point *point, const volatile void *object)
{
    if (object == atomic_load(&watched))
        refused(point);
}

static void pass_load(const volatile void *object)
{
    if (object == atomic_load(&watched))
        refused(&before_load);
}

static void arrive(const void *lock)
{
    if (lock == atomic_load(&watched))
        atomic_fetch_add(&arrivals, 1);
}

static struct point after_status, at_mmap, at_fcntl, at_handler, at_msync, at_fallocate, at_barrier, at_overlay;
static struct point at_demand, at_fence;
static _Thread_local int fences;
static int locks_made;

#define statx(...) passed(&after_status, statx(__VA_ARGS__))
#define fstat(...) passed(&after_status, fstat(__VA_ARGS__))
#define fallocate(...) (refused(&at_fallocate) ? -1 : fallocate(__VA_ARGS__))
#define syscall(number, ...)                                                                               \
    ((number) == SYS_membarrier && refused(&at_barrier) ? -1 : syscall(number, __VA_ARGS__))
#define fcntl(...) (refused(&at_fcntl) ? -1 : fcntl(__VA_ARGS__))
#define msync(...) (refused(&at_msync) ? -1 : msync(__VA_ARGS__))
#define pthread_mutex_lock(mutex) (arrive(mutex), pthread_mutex_lock(mutex))
#define pthread_mutex_init(...) (locks_made++, pthread_mutex_init(__VA_ARGS__))
#undef atomic_thread_fence
#define atomic_thread_fence(order) (refused(&at_fence), fences++, __atomic_thread_fence(order))
#undef atomic_store
#define atomic_store(object, value)                                                                        \
    do {                                                                                                   \
        __auto_type stored = (value);                                                                      \
        pass_store(&before_store, object);                                                                 \
        atomic_store_explicit(object, stored, memory_order_seq_cst);                                       \
        pass_store(&after_store, object);                                                                  \
    } while (0)

#include "platform.c"
#undef fstat

#include "descriptor.c"
#undef atomic_load
#define atomic_load(object) (pass_load(object), atomic_load_explicit(object, memory_order_seq_cst))
#include "registry.c"
#undef atomic_load
#define atomic_load(object) atomic_load_explicit(object, memory_order_seq_cst)
#include "sigbus.h"
#define mmap(...) (refused(&at_overlay) ? MAP_FAILED : mmap(__VA_ARGS__))
#define registry_each(...) (refused(&at_demand), registry_each(__VA_ARGS__))
#include "overlay.c"
#undef mmap
#define mmap(...) (refused(&at_mmap) ? MAP_FAILED : mmap(__VA_ARGS__))
#define sigbus_install(...) (!refused(&at_handler) && sigbus_install(__VA_ARGS__))
#include "region.c"
#undef mmap

#include "scalar.h"

DEFINE_INTEGER(uint64, uint64_t, 64)

/* ---- what the scenarios share ---- */

static int64_t page;
static int file;

static int64_t size_of_file(void)
{
    struct stat now;
    check(fstat(file, &now) == 0);
    return now.st_size;
}

static uint64_t in_file(int64_t offset)
{
    uint64_t found;
    check(pread(file, &found, sizeof found, offset) == sizeof found);
    return found;
}

static uint8_t state_of(struct region *region) { return atomic_load(&region->state); }

static void *refresh(void *region) { return (void *)(intptr_t)region_refresh(region); }
static void *flush(void *region)
{
    check(region_flush(region, ((struct region *)region)->base, (size_t)page, MS_SYNC, true) == FLUSHED);
    return NULL;
}
static void *reserve(void *region)
{
    check(region_reserve(region, page) == NULL);
    return NULL;
}
static void *unmap(void *region)
{
    check(region_unmap(region) == 0);
    return NULL;
}
static void *store_past_the_end(void *region)
{
    atomic_store(&((struct region *)region)->limit, 2 * page);
    check(store_uint64(region, page, 7) == NOT_ACCESSIBLE);
    return NULL;
}

static _Atomic bool held, released;

static void hold(void)
{
    atomic_store(&held, true);
    while (!atomic_load(&released))
        sched_yield();
}

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

/* A thread that has come to a point and goes no further until let_go(). */
static pthread_t start_and_hold(void *(*run)(void *), void *argument, struct point *point)
{
    atomic_store(&held, false);
    atomic_store(&released, false);
    atomic_store(&point->hook, hold);
    const pthread_t thread = start(run, argument);
    while (!atomic_load(&held))
        sched_yield();
    return thread;
}

static void *join(pthread_t thread)
{
    void *result;
    check(pthread_join(thread, &result) == 0);
    return result;
}

static void *let_go(pthread_t thread)
{
    atomic_store(&released, true);
    return join(thread);
}

/* ---- the order "mark, barrier, overlay" ---- */

static struct region *marked;
static bool came_to_barrier;

/* Marked, but still on the file. */
static void look_at_the_barrier(void)
{
    check(state_of(marked) > LIVE_FENCED);
    *(volatile uint64_t *)(void *)marked->base = 7;
    check(in_file(0) == 7);
    came_to_barrier = true;
}

static void look_at_the_overlay(void) { check(came_to_barrier); }

static void watch_order(void)
{
    check(ftruncate(file, 0) == 0 && ftruncate(file, page) == 0);
    marked = map_region(file, 2 * page);
    check(state_of(marked) == LIVE);
    came_to_barrier = false;
    atomic_store(&at_barrier.hook, look_at_the_barrier);
    atomic_store(&at_overlay.hook, look_at_the_overlay);
}

/* On zero pages. */
static void is_overlaid(void)
{
    check(atomic_load(&at_overlay.hook) == NULL);
    *(volatile uint64_t *)(void *)marked->base = 9;
    check(in_file(0) == 7);
    region_close(marked);
}

static void order(void)
{
    watch_order();
    check(region_unmap(marked) == 0);
    is_overlaid();
    watch_order();
    store_past_the_end(marked);
    is_overlaid();
}

/* ---- without membarrier(2) ---- */

static void unmap_marked(void)
{
    check(in_file(0) == 8);
    check(region_unmap(marked) == 0);
}

/* The region is unmapped between an access and the look at the state. */
static void fenced(void)
{
    atomic_store(&at_barrier.error, EPERM);
    for (int i = 0; i < 3; i++) {
        uint64_t value = 8;
        marked = map_region(file, page);
        check(state_of(marked) == LIVE_FENCED && store_uint64(marked, 0, 8) == 0 && load_uint64(marked, 0) == 8);
        atomic_store(&at_fence.hook, unmap_marked);
        switch (i) {
        case 0: check(store_uint64(marked, 0, 8) == NOT_ACCESSIBLE); break;
        case 1: check(load_uint64(marked, 0) == 0); break;
        case 2: check(region_read(marked, 0, &value, sizeof value) == NOT_ACCESSIBLE); break;
        }
        check(atomic_load(&at_fence.hook) == NULL && state_of(marked) == UNMAPPED);
        region_close(marked);
    }
}

enum { MANY_FENCES = 1000 }; /* who waits for the accesses under way passes more */

static void refused_later(void)
{
    struct region *ended = map_region(file, page), *other = map_region(file, page);
    check(state_of(ended) == LIVE && state_of(other) == LIVE);
    atomic_store(&at_barrier.error, EPERM);
    fences = 0;
    check(region_unmap(ended) == 0);
    check(fences > MANY_FENCES && state_of(ended) == UNMAPPED && state_of(other) == LIVE_FENCED);
    for (int i = 0; i < 2; i++) {
        struct region *fresh = map_region(file, page);
        check(state_of(fresh) == LIVE_FENCED);
        fences = 0;
        check(region_unmap(fresh) == 0);
        check(fences < MANY_FENCES && state_of(other) == LIVE_FENCED);
        atomic_store(&at_barrier.error, 0); /* it is asked no more */
    }
    check(store_uint64(other, 0, 7) == 0 && in_file(0) == 7);
}

static void fault_of_marked(void) { store_past_the_end(marked); }

/* A fault, by which the refusal is found out, comes between the choice of the state and its store. */
static void refused_while_mapping(void)
{
    marked = map_region(file, 2 * page);
    struct region *fresh = region_new(sizeof *fresh);
    check(fresh != NULL);
    atomic_store(&at_barrier.error, EPERM);
    atomic_store(&watched, &fresh->state);
    atomic_store(&before_store.hook, fault_of_marked);
    check(region_map(fresh, file, 0, page, true, true) == NULL);
    check(state_of(marked) == FAULTED && state_of(fresh) == LIVE_FENCED);
}

/* While one thread is about to demand fences, another must not take it for done. */
static void refused_to_two(void)
{
    struct region *one = map_region(file, page), *two = map_region(file, page), *other = map_region(file, page);
    atomic_store(&at_barrier.error, EPERM);
    const pthread_t thread = start_and_hold(unmap, one, &at_demand);
    fences = 0;
    check(region_unmap(two) == 0);
    check(fences > MANY_FENCES && state_of(other) == LIVE_FENCED);
    let_go(thread);
}

/* ---- the limit ---- */

static _Atomic bool second_done;

static void *refresh_and_tell(void *region)
{
    void *limit = refresh(region);
    atomic_store(&second_done, true);
    return limit;
}

/* The first thread has its answer when the file changes, and the second asks. */
static void two_refresh(int64_t before, int64_t after)
{
    check(ftruncate(file, before) == 0);
    struct region *region = map_region(file, 4 * page);
    atomic_store(&arrivals, 0);
    atomic_store(&second_done, false);
    atomic_store(&watched, &region->asking);
    const pthread_t first = start_and_hold(refresh, region, &after_status);
    check(ftruncate(file, after) == 0);
    const pthread_t second = start(refresh_and_tell, region);
    while (atomic_load(&arrivals) < 2 && !atomic_load(&second_done))
        sched_yield();
    let_go(first);
    check((intptr_t)join(second) == after && atomic_load(&region->limit) == after);
    region_close(region);
}

static void newer_answer(void)
{
    two_refresh(page, 3 * page);
    two_refresh(3 * page, page);
    two_refresh(0, 4 * page);
}

static _Atomic bool enough;

static void *refresh_until_enough(void *region)
{
    while (!atomic_load(&enough)) {
        refresh(region);
        sched_yield(); /* else the others may wait long for the lock */
    }
    return NULL;
}

/* The same with threads that are held nowhere. */
static void newest_answer(void)
{
    enum { SIZES = 3000 };
    uint64_t state = 1;
    struct region *region = map_region(file, 8 * page);
    const pthread_t threads[] = {start(refresh_until_enough, region), start(refresh_until_enough, region)};
    for (int i = 0; i < SIZES; i++) {
        const int64_t size = below(&state, 9) * page;
        check(ftruncate(file, size) == 0);
        check(region_refresh(region) == size);
        for (int looks = 0; looks < 10; looks++, sched_yield())
            check(atomic_load(&region->limit) == size);
    }
    atomic_store(&enough, true);
    join(threads[0]);
    join(threads[1]);
}

static void fault_here(void)
{
    check(ftruncate(file, 0) == 0);
    *(volatile char *)marked->base = 7;
    check(state_of(marked) == FAULTED && atomic_load(&marked->limit) == 0);
}

/* The handler's 0 stays, wherever in region_refresh() the fault comes. */
static void fault_in_refresh(void)
{
    struct point *const points[] = {&after_status, &before_store, &after_store};
    for (int i = 0; i < 3; i++) {
        check(ftruncate(file, page) == 0);
        marked = map_region(file, page);
        atomic_store(&watched, &marked->limit);
        atomic_store(&points[i]->hook, fault_here);
        check(region_refresh(marked) == 0 && atomic_load(&marked->limit) == 0);
        check(atomic_load(&points[i]->hook) == NULL);
        region_close(marked);
    }
    check(ftruncate(file, page) == 0);
    marked = map_region(file, page);
    const pthread_t thread = start_and_hold(refresh, marked, &after_status);
    fault_here();
    check(let_go(thread) == NULL && atomic_load(&marked->limit) == 0);
}

/* ---- the registry ---- */

static void take_the_slot_again(void)
{
    struct region *const closed = marked;
    region_close(marked);
    marked = map_region(file, 4 * page);
    check(marked == closed);
}

/* Between the address and the size, as the handler reads them, the slot becomes that of a longer region. */
static void slot_taken_again(void)
{
    marked = map_region(file, page);
    const uintptr_t foreign = atomic_load(&marked->start) + (uintptr_t)page;
    atomic_store(&watched, &marked->size);
    atomic_store(&before_load.hook, take_the_slot_again);
    check(registry_find(foreign) == NULL);
    check(atomic_load(&before_load.hook) == NULL);
    region_close(marked);
}

/* ---- all or nothing ---- */

/* Bytes of address space; 0 where the system does not tell. */
static int64_t mapped_by_process(void)
{
    long long pages = 0;
    FILE *status = fopen("/proc/self/statm", "r");
    if (status != NULL) {
        check(fscanf(status, "%lld", &pages) == 1);
        fclose(status);
    }
    return pages * page;
}

static void nothing_kept(void)
{
    static const struct {
        struct point *point;
        const char *name;
    } calls[] = {{&after_status, "fstat"}, {&at_handler, "SIGBUS handler"}, {&at_mmap, "mmap"}, {&at_fcntl, "fcntl"}};
    const int64_t length = 256 << 20; /* so much that it shows if it is kept once */
    region_close(map_region(file, page)); /* the first also keeps what is for all of them */
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const int descriptors = descriptors_of_process();
        const int64_t mapped = mapped_by_process();
        struct region *region = region_new(sizeof *region);
        check(region != NULL);
        atomic_store(&calls[i].point->error, EMFILE);
        const char *failed = region_map(region, file, 0, length, true, true);
        check(failed != NULL && strcmp(failed, calls[i].name) == 0 && errno == EMFILE);
        check(open_descriptors() == 0 && descriptors_of_process() == descriptors);
        check(mapped_by_process() < mapped + length);
        check(state_of(region) == UNMAPPED && atomic_load(&region->limit) == 0);
        check(atomic_load(&region->generation) % 2 == 0 && store_uint64(region, 0, 7) == NOT_ACCESSIBLE);
        atomic_store(&calls[i].point->error, 0);
        check(region_map(region, file, 0, length, true, true) == NULL);
        check(store_uint64(region, 0, i) == 0 && in_file(0) == i);
        region_close(region);
        check(open_descriptors() == 0 && descriptors_of_process() == descriptors);
        check(mapped_by_process() < mapped + length);
    }
}

/* ---- growing never shrinks, and never writes over anything ---- */

#ifdef __linux__
static int64_t grown;

/* What another process does: it makes the file `grown` bytes long and writes to the end. */
static void grow(void)
{
    const uint64_t theirs = 77;
    check(ftruncate(file, grown) == 0);
    check(pwrite(file, &theirs, sizeof theirs, grown - (int64_t)sizeof theirs) == sizeof theirs);
}

/* After the second question of extend(). */
static void grow_next(void) { atomic_store(&after_status.hook, grow); }

static void start_small(void)
{
    const uint64_t ours = 66;
    check(ftruncate(file, 0) == 0 && ftruncate(file, page) == 0);
    check(pwrite(file, &ours, sizeof ours, 0) == sizeof ours && lseek(file, 0, SEEK_SET) == 0);
}

static void holds_ours_and_theirs(int64_t least)
{
    check(size_of_file() >= least && size_of_file() >= grown);
    check(in_file(0) == 66 && in_file(grown - 8) == 77);
    for (int64_t at = 8; at < size_of_file(); at += 8)
        check(at == grown - 8 || in_file(at) == 0);
}

static void extend_grows(int error)
{
    void (*const hooks[])(void) = {NULL, grow, grow_next};
    const int64_t sizes[] = {2 * page, 150 * page, 200 * page, 300 * page}, end = 200 * page;
    atomic_store(&at_fallocate.error, error);
    start_small();
    check(extend(file, end) == 0 && size_of_file() == end && in_file(0) == 66 && in_file(end - 8) == 0);
    check(extend(file, page) == 0 && size_of_file() == end);
    for (int when = 1; when <= (error == 0 ? 1 : 2); when++)
        for (int i = 0; i < 4; i++) {
            start_small();
            grown = sizes[i];
            atomic_store(&after_status.hook, hooks[when]);
            check(extend(file, end) == 0);
            check(atomic_load(&after_status.hook) == NULL);
            holds_ours_and_theirs(end);
        }
}

static void growing(void)
{
    extend_grows(0);
    extend_grows(EOPNOTSUPP);
    extend_grows(ENOSYS);

    start_small();
    atomic_store(&at_fallocate.error, ENOSPC);
    check(extend(file, 2 * page) == -1 && errno == ENOSPC && size_of_file() == page);
    atomic_store(&at_fallocate.error, 0);

    /* region_reserve(): between the question for the size and the allocation, and after that */
    struct region *region = map_region(file, 300 * page);
    grown = 250 * page;
    atomic_store(&at_fallocate.hook, grow);
    check(region_reserve(region, 200 * page) == NULL && atomic_load(&region->limit) == grown);
    holds_ours_and_theirs(grown);
    start_small();
    atomic_store(&at_fallocate.error, EOPNOTSUPP);
    const char *failed = region_reserve(region, 200 * page);
    check(failed != NULL && strcmp(failed, "fallocate") == 0 && errno == EOPNOTSUPP && size_of_file() == page);
}
#endif

/* ---- fork(2) ---- */

static int descriptors_before; /* any region was mapped */

/* Runs in a child, which then closes the region: nothing is left there, but `others`, descriptors of other regions. */
static void in_child_of_many(void (*run)(struct region *region), struct region *region, int others)
{
    const pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(30);
        run(region);
        region_close(region);
        check(listed == NULL && open_descriptors() == others);
        check(descriptors_of_process() == descriptors_before + others);
        region_close(map_region(file, page));
        _exit(0);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

static void in_child(void (*run)(struct region *region), struct region *region) { in_child_of_many(run, region, 0); }

static void just_close(struct region *region) { (void)region; }

static void use(struct region *region)
{
    check(region_refresh(region) == page);
    check(store_uint64(region, 0, 7) == 0 && in_file(0) == 7);
    check(!region_is_clean(region));
    flush(region);
    check(region_is_clean(region));
    reserve(region);
}

static void use_dirty(struct region *region)
{
    check(atomic_load(&region->flushes) == 0 && atomic_load(&region->dirty) == 1);
    use(region);
}

static struct region *region_before_fork(void)
{
    check(ftruncate(file, page) == 0);
    descriptors_before = descriptors_of_process();
    struct region *region = map_region(file, page);
    return region;
}

/* Both locks that a thread may hold, and both counts. */
static void fork_in_call(void)
{
    struct {
        void *(*run)(void *);
        struct point *point;
    } const calls[] = {{refresh, &after_status}, {reserve, &at_fallocate}, {refresh, &after_store}};
    for (int i = 0; i < 3; i++) {
        struct region *region = region_before_fork();
        atomic_store(&watched, &region->limit);
#ifndef __linux__
        if (calls[i].point == &at_fallocate)
            continue;
#endif
        const pthread_t thread = start_and_hold(calls[i].run, region, calls[i].point);
        in_child(use, region);
        in_child(just_close, region);
        let_go(thread);
        check(listed == NULL);
        region_close(region);
    }
}

/* One thread in msync(2), another waits for its turn. */
static void fork_in_flush(void)
{
    struct region *region = region_before_fork();
    check(store_uint64(region, 0, 7) == 0);
    atomic_store(&arrivals, 0);
    atomic_store(&watched, &region->flushing);
    const pthread_t first = start_and_hold(flush, region, &at_msync);
    in_child(use_dirty, region);
    const pthread_t second = start(flush, region);
    while (atomic_load(&arrivals) < 2)
        sched_yield();
    in_child(use_dirty, region);
    let_go(first);
    join(second);
    check(region_is_clean(region) && listed == NULL);
}

/* The descriptor is closed by whoever ends last: in the child that is nobody. */
static void fork_before_last(void)
{
    struct region *region = region_before_fork();
    const pthread_t thread = start_and_hold(refresh, region, &after_status);
    check(region_unmap(region) == 0 && open_descriptors() == 1);
    in_child(just_close, region);
    let_go(thread);
    check(open_descriptors() == 0 && descriptors_of_process() == descriptors_before);
}

static void unmap_again(struct region *region) { check(region_unmap(region) == -1 && open_descriptors() == 0); }

/* Marked, not yet overlaid, and the descriptor still there. */
static void fork_in_unmap(void)
{
    struct region *region = region_before_fork();
    const pthread_t thread = start_and_hold(unmap, region, &at_overlay);
    in_child(just_close, region);
    in_child(unmap_again, region);
    let_go(thread);
    check(open_descriptors() == 0 && descriptors_of_process() == descriptors_before);
}

static void fault_again(struct region *region)
{
    check(state_of(region) == FAULTED && store_uint64(region, 0, 7) == NOT_ACCESSIBLE);
    *(volatile char *)(region->base + page) = 7;
}

/* In the SIGBUS handler. */
static void fork_in_fault(void)
{
    check(ftruncate(file, page) == 0);
    descriptors_before = descriptors_of_process();
    struct region *region = map_region(file, 2 * page);
    const pthread_t thread = start_and_hold(store_past_the_end, region, &at_overlay);
    in_child(fault_again, region);
    let_go(thread);
}

static int locks_to_make;

static void made_locks(struct region *region)
{
    (void)region;
    check(listed == NULL && locks_made == locks_to_make);
}

/* What fork(2) costs: the child puts right the regions with calls under way, and no others. */
static void fork_with_many(void)
{
    enum { MANY = 400 };
    struct region *region = region_before_fork();
    for (int i = 0; i < MANY; i++) {
        struct region *other = region_new(sizeof *other);
        check(other != NULL && region_map(other, file, 0, page, true, i % 8 == 0) == NULL);
        check(region_refresh(other) == page);
        flush(other);
    }
    check(listed == NULL);
    locks_made = locks_to_make = 0;
    in_child_of_many(made_locks, region, MANY / 8);
    const pthread_t thread = start_and_hold(refresh, region, &after_status);
    locks_made = 0;
    locks_to_make = 2;
    in_child_of_many(made_locks, region, MANY / 8);
    let_go(thread);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {{"fenced", fenced},
                     {"newer answer", newer_answer},
                     {"newest answer", newest_answer},
                     {"fault in refresh", fault_in_refresh},
                     {"slot taken again", slot_taken_again},
                     {"nothing kept", nothing_kept},
#ifdef __linux__
                     {"order", order},
                     {"refused later", refused_later},
                     {"refused while mapping", refused_while_mapping},
                     {"refused to two", refused_to_two},
                     {"growing", growing},
#endif
                     {"fork in call", fork_in_call},
                     {"fork in flush", fork_in_flush},
                     {"fork before last", fork_before_last},
                     {"fork in unmap", fork_in_unmap},
                     {"fork in fault", fork_in_fault},
                     {"fork with many", fork_with_many}};
    check(count == 3);
    alarm(60);
    page = sysconf(_SC_PAGESIZE);
    file = make_file(arguments[2], page);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        if (strcmp(arguments[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 0;
        }
    return 2;
}
