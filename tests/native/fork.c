/* fork(2) while other threads are anywhere in our calls: fork FOLDER. A child that finds a lock taken is killed.
 *
 * One thread maps region after region, three refresh, flush and reserve the latest, which the first may be about to
 * unmap. Nobody closes these but the children and, at the end, the parent: so a child knows what there is. */
#include "native.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { CALLERS = 3, FORKS = 150, FOR_EACH = 4, REGIONS = FORKS * FOR_EACH + 1, PAGES = 4 };

static int64_t size;
static int file;
static struct region *regions[REGIONS];
static _Atomic int mapped, forks;
static _Atomic bool enough;

static void map(struct region *region, bool track)
{
    check(region_map(region, file, 0, size, true, track) == NULL);
}

static void *map_and_unmap_the_last(void *unused)
{
    while (!atomic_load(&enough)) {
        const int next = atomic_load(&mapped);
        if (next == REGIONS || next > FOR_EACH * (atomic_load(&forks) + 1)) {
            sched_yield();
            continue;
        }
        map(regions[next], true);
        atomic_store(&mapped, next + 1);
        check(region_unmap(regions[next - 1]) == 0);
    }
    return unused;
}

static void call(struct region *region, int what)
{
    switch (what) {
    case 0: check(region_refresh(region) >= 0); break;
    case 1: check(region_flush(region, region->base, (size_t)size, MS_SYNC, true) != NOT_WRITTEN); break;
    case 2: region_reserve(region, size); break;
    }
}

static void *call_until_enough(void *number)
{
    while (!atomic_load(&enough))
        call(regions[atomic_load(&mapped) - 1], (int)(intptr_t)number);
    return NULL;
}

/* Without a descriptor, so that none of a region that only this thread knows is left in the child. */
static void *map_and_close(void *unused)
{
    while (!atomic_load(&enough)) {
        struct region *region = region_new(sizeof *region);
        check(region != NULL);
        map(region, false);
        check(region_unmap(region) == 0);
        region_close(region);
    }
    return unused;
}

static void use_and_close_all(int descriptors)
{
    for (int i = 0; i < REGIONS; i++) {
        check(atomic_load(&regions[i]->flushes) == 0);
        if (atomic_load(&regions[i]->state) <= LIVE_FENCED)
            for (int what = 0; what < CALLERS; what++)
                call(regions[i], what);
        region_close(regions[i]);
    }
    check(open_descriptors() == 0 && descriptors_of_process() == descriptors);
    region_close(map_region(file, size));
}

int main(int count, char **arguments)
{
    pthread_t threads[CALLERS + 2];
    check(count == 2);
    size = PAGES * sysconf(_SC_PAGESIZE);
    file = make_file(arguments[1], size);
    const int descriptors = descriptors_of_process();
    for (int i = 0; i < REGIONS; i++)
        check((regions[i] = region_new(sizeof **regions)) != NULL);
    map(regions[0], true);
    atomic_store(&mapped, 1);
    for (int i = 0; i < CALLERS; i++)
        check(pthread_create(&threads[i], NULL, call_until_enough, (void *)(intptr_t)i) == 0);
    check(pthread_create(&threads[CALLERS], NULL, map_and_unmap_the_last, NULL) == 0);
    check(pthread_create(&threads[CALLERS + 1], NULL, map_and_close, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        while (atomic_load(&mapped) <= FOR_EACH * i)
            sched_yield();
        const pid_t child = fork();
        check(child >= 0);
        if (child == 0) {
            alarm(30);
            use_and_close_all(descriptors);
            _exit(0);
        }
        int status;
        atomic_store(&forks, i);
        check(waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < CALLERS + 2; i++)
        check(pthread_join(threads[i], NULL) == 0);
    use_and_close_all(descriptors);
    return 0;
}
