/* Zero pages in place of a mapping: the overlay of a region that faulted, and the tombstone of one that was unmapped.
 *
 * The order "mark, barrier, overlay". An access that lands on zero pages must never be taken for one that reached the
 * file, and no thread can be stopped between its access and its look at the state. So:
 *  1. The state becomes FAULTED or UNMAPPED. It never becomes live again while anybody refers to the region.
 *  2. Every thread of the process passes a full memory barrier.
 *  3. The zero pages replace the mapping, all of it in one mmap(2) call. (Where there is no memory for that, the
 *     handler replaces the one page of the fault.)
 * Every operation touches the memory first and loads the state afterwards. An access that was done before the barrier
 * used the pages of the file. Any other loads the state after the barrier, and sees the mark of step 1.
 *
 * Why a barrier: a processor may load the state before its own earlier store to the memory is done, x86 too. The
 * interrupt that comes with replaced pages is no help: it goes only where pages were present.
 *
 * The barrier of step 2 is membarrier(2). Where the system has none (macOS), or refuses it, the state of a live
 * region is LIVE_FENCED in place of LIVE, and who reads it passes a full fence between the access and the load. If it
 * is refused later (by a seccomp filter installed since), every region becomes LIVE_FENCED, for good; accesses under
 * way at that moment are waited for.
 */
#ifndef SHAREDMMAP_OVERLAY_H
#define SHAREDMMAP_OVERLAY_H

#include "region.h"

/* Registers the process for the barrier, and sets a page aside for overlay() at vm.max_map_count. False with errno. The
 * lock of the registry is held. */
bool prepare_overlays(void);

/* LIVE or LIVE_FENCED: the state of live regions. */
uint8_t live_state(void);

/* Gives that state to a region which is in the registry and which no other thread uses yet. */
void make_live(struct region *region);

/* Steps 2 and 3 for a region that has been marked. False where the kernel refuses: the mapping stays then, and a late
 * access is as safe on it. Async-signal-safe. */
bool overlay(struct region *region);

/* Step 3 for one range alone, of a region whose state no thread can find LIVE. Async-signal-safe. */
bool replace_by_zero_pages(uintptr_t start, size_t size);

#endif
