/* Threads that store while their region is unmapped or faults: unmapping FOLDER [MEMBARRIER]. What was reported as stored
 * must be in the file. MEMBARRIER: "refused" from the beginning, or "refused later". */
#include "native.h"
#include "overlay.h"
#include "platform.h"
#include "refuse.h"
#include "scalar.h"

#include <sched.h>
#include <signal.h>
#include <string.h>

DEFINE_INTEGER(uint64, uint64_t, 64)

enum { THREADS = 2, ROUNDS = 300 };

/* One page for each thread: a store to a page that nobody touched before takes longest. */
static struct writer {
    struct region *region;
    int64_t offset;
    _Atomic uint64_t done; /* reported as stored */
} writers[THREADS];

static void *store_until_refused(void *argument)
{
    struct writer *writer = argument;
    for (uint64_t value = 1; store_uint64(writer->region, writer->offset, value) == 0; value++)
        atomic_store_explicit(&writer->done, value, memory_order_relaxed);
    return NULL;
}

int main(int count, char **arguments)
{
    check(count == 2 || count == 3);
    const char *membarrier = count == 3 ? arguments[2] : "";
    const int64_t page = sysconf(_SC_PAGESIZE), size = (THREADS + 1) * page;
    uint64_t state = 1;
    alarm(120);
    if (strcmp(membarrier, "refused") == 0)
        refuse_membarrier();
    const int file = make_file(arguments[1], size);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        struct region *region = map_region(file, size);
        if (strcmp(membarrier, "refused") == 0)
            check(atomic_load(&region->state) == LIVE_FENCED);
        check(ftruncate(file, size - page) == 0); /* the last page is lost */
        for (int i = 0; i < THREADS; i++) {
            writers[i] = (struct writer){.region = region, .offset = i * page};
            check(pthread_create(&threads[i], NULL, store_until_refused, &writers[i]) == 0);
        }
        if (round == ROUNDS / 2 && strcmp(membarrier, "refused later") == 0)
            refuse_membarrier();
        const uint64_t enough = below(&state, 300);
        while (atomic_load(&writers[0].done) < enough)
            sched_yield();
        if (round % 2 == 0)
            check(region_unmap(region) == 0);
        else
            check(store_uint64(region, size - page, 7) == NOT_ACCESSIBLE);
        for (int i = 0; i < THREADS; i++) {
            uint64_t found;
            check(pthread_join(threads[i], NULL) == 0);
            check(pread(file, &found, sizeof found, i * page) == sizeof found);
            const uint64_t done = atomic_load(&writers[i].done);
            check(done == 0 || found == done || found == done + 1); /* the one refused may have got there */
        }
        region_close(region);
        check(ftruncate(file, size) == 0);
    }
    check(live_state() == (memory_barrier_on_every_thread() ? LIVE : LIVE_FENCED));
    return 0;
}
