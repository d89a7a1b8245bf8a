/* The registry: the slots in which regions live, and which of them are mapped.
 *
 * Slots are reused and never freed, so the SIGBUS handler may walk them at any time without a lock. One lock serves
 * everything else. fork(2) takes it, so a child never sees a step half done: what is mapped or duplicated while the
 * lock is held is in the registry of the child as well, or was never there.
 */
#ifndef SHAREDMMAP_REGISTRY_H
#define SHAREDMMAP_REGISTRY_H

#include "region.h"

void registry_lock(void);
void registry_unlock(void);

/* An unused slot, or NULL with ENOMEM; and back. The lock is held. */
struct region *registry_take_slot(void);
void registry_put_slot(struct region *region);

/* From here on, or until here, the faults in [start, start + size) are the region's. The lock is held. */
void registry_add(struct region *region, uintptr_t start, size_t size);
void registry_remove(struct region *region);

/* The region that `address` lies in, or NULL. Async-signal-safe, without a lock. Takes time in proportion to the
 * number of slots, once for each region that faults. */
struct region *registry_find(uintptr_t address);

/* Calls `visit` for each region that is mapped. Async-signal-safe, without a lock. */
void registry_each(void (*visit)(struct region *region));

#endif
