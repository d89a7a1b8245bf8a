#include "overlay.h"
#include "platform.h"
#include "registry.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* ---- the barrier ---- */

static _Atomic bool fences_demanded; /* a region that is mapped now becomes LIVE_FENCED */
static _Atomic bool fences_in_force; /* every region is, and no access without a fence is under way any more */

uint8_t live_state(void) { return atomic_load(&fences_demanded) ? LIVE_FENCED : LIVE; }

static void demand_fence(struct region *region)
{
    uint8_t live = LIVE;
    atomic_compare_exchange_strong(&region->state, &live, LIVE_FENCED);
}

void make_live(struct region *region)
{
    atomic_store(&region->state, LIVE);
    /* After the store: where the fences are demanded later, the region is found LIVE. */
    if (live_state() == LIVE_FENCED)
        demand_fence(region);
}

/* A thread that has read LIVE just before needs no fence: its access and its load are a few instructions apart, which
 * a processor completes, and makes visible, within microseconds. Some million turns of this loop take longer. */
static void wait_for_accesses_under_way(void)
{
    for (int turn = 0; turn < 1 << 20; turn++)
        atomic_thread_fence(memory_order_seq_cst);
}

static void pass_barrier(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&fences_in_force) || memory_barrier_on_every_thread())
        return;
    atomic_store(&fences_demanded, true);
    registry_each(demand_fence);
    wait_for_accesses_under_way(); /* so does every thread that comes here before the first is through */
    atomic_store(&fences_in_force, true);
}

/* ---- zero pages ---- */

/* A process that has reached vm.max_map_count is refused every mapping, even one in place of another. So one is kept to
 * be given back then. It is shared, so that the kernel never merges it with its neighbours. */
static _Atomic(void *) spare;

static bool keep_spare(void)
{
    if (atomic_load(&spare) != NULL)
        return true;
    void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
    if (page == MAP_FAILED)
        return false;
    atomic_store(&spare, page);
    return true;
}

static bool give_back_spare(void)
{
    void *page = atomic_exchange(&spare, NULL);
    return page != NULL && munmap(page, 1) == 0; /* of the one page */
}

bool prepare_overlays(void)
{
    static bool registered;
    if (!registered) {
        registered = true;
        if (!register_memory_barrier()) {
            atomic_store(&fences_demanded, true);
            atomic_store(&fences_in_force, true);
        }
    }
    return keep_spare();
}

/* Private pages cost nothing until they are written; where their number is limited (RLIMIT_DATA) shared ones are not
 * counted. */
static bool replace(uintptr_t start, size_t size)
{
    const int flags = MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
    /* SAFETY: [start, start + size) was mapped by us and is in the registry, so no other mapping is replaced. */
    return mmap((void *)start, size, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE, -1, 0) != MAP_FAILED ||
           mmap((void *)start, size, PROT_READ | PROT_WRITE, flags | MAP_SHARED, -1, 0) != MAP_FAILED;
}

bool replace_by_zero_pages(uintptr_t start, size_t size)
{
    return size == 0 || replace(start, size) || (give_back_spare() && replace(start, size));
}

bool overlay(struct region *region)
{
    atomic_store(&region->limit, 0);
    pass_barrier();
    return replace_by_zero_pages(atomic_load(&region->start), atomic_load(&region->size));
}
