#include "registry.h"

#include <errno.h>
#include <stdlib.h>

/* Why the handler may read slots that others change: `start` and `size` change only while the generation is even.
 * Odd, and the same before and after they are read, it says that they belong together. The region of the faulting
 * thread is found, since whoever touches its memory keeps it from being closed; and no other is found, since a region
 * leaves the registry before its addresses can become another mapping's. */

enum { SLOTS = 256 };

struct chunk {
    struct region slots[SLOTS];
    _Atomic(struct chunk *) next;
};

static _Atomic(struct chunk *) chunks;
static struct region *unused;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void registry_lock(void) { pthread_mutex_lock(&lock); }
void registry_unlock(void) { pthread_mutex_unlock(&lock); }

struct region *registry_take_slot(void)
{
    if (unused == NULL) {
        struct chunk *chunk = calloc(1, sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        for (int i = 0; i < SLOTS; i++)
            registry_put_slot(&chunk->slots[i]);
        atomic_store(&chunk->next, atomic_load(&chunks));
        atomic_store(&chunks, chunk);
    }
    struct region *region = unused;
    unused = region->next;
    return region;
}

void registry_put_slot(struct region *region)
{
    region->next = unused;
    unused = region;
}

void registry_add(struct region *region, uintptr_t start, size_t size)
{
    atomic_store(&region->start, start);
    atomic_store(&region->size, size);
    atomic_fetch_add(&region->generation, 1);
}

void registry_remove(struct region *region)
{
    if (atomic_load(&region->generation) % 2 == 1)
        atomic_fetch_add(&region->generation, 1);
}

struct region *registry_find(uintptr_t address)
{
    for (struct chunk *chunk = atomic_load(&chunks); chunk != NULL; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < SLOTS; i++) {
            struct region *region = &chunk->slots[i];
            const uint64_t generation = atomic_load(&region->generation);
            const uintptr_t start = atomic_load(&region->start);
            const size_t size = atomic_load(&region->size);
            if (generation % 2 == 1 && address - start < size && atomic_load(&region->generation) == generation)
                return region;
        }
    }
    return NULL;
}

void registry_each(void (*visit)(struct region *region))
{
    for (struct chunk *chunk = atomic_load(&chunks); chunk != NULL; chunk = atomic_load(&chunk->next))
        for (int i = 0; i < SLOTS; i++)
            if (atomic_load(&chunk->slots[i].generation) % 2 == 1)
                visit(&chunk->slots[i]);
}
