/* A region: one shared mapping of a file, in a slot of the registry.
 *
 * Its life:
 *  1. region_new() takes a slot, and the Python object that will own it exists from then on. (cffi's new_allocator()
 *     calls it, and region_close() when that object goes. No Python code runs in between: a signal handler that raises
 *     can leak nothing.)
 *  2. region_map() maps the file, duplicates the descriptor and enters the region in the registry: all of it or
 *     nothing.
 *  3. Where the kernel cannot supply a page, it sends SIGBUS. The handler (sigbus.h) finds the region by the address,
 *     marks it FAULTED, overlays it with zero pages (overlay.h) and returns: the access completes, on memory that is
 *     ours, and is reported as failed.
 *  4. region_unmap() marks it UNMAPPED and overlays it likewise: the tombstone. The file is released at once. The
 *     address range stays ours, so an access that another thread has begun lands on memory that nobody else uses.
 *  5. region_close() gives the address range back. Only the collector calls it, when nothing refers to the region.
 *
 * The dirty flag says that something was written since the last complete flush began. A flush loses no write because:
 *
 *     who                  what                          in which order
 *     region_map()         clears it                     before the region is live
 *     a write in C         sets it                       after the access, before the state is checked (so do atomic
 *                                                        words, and mutexes that are taken or released)
 *     a write on PyPy      sets it                       before the access (a signal handler may raise after
 *                                                        it) and after it
 *     a writable view      sets it, counts in `views`    when it is made; while it lives every flush sets it again
 *     region_flush()       clears it (complete flushes)  before msync(2), so what is written meanwhile stays owed
 *     region_flush()       sets it                       after msync(2) failed, in this flush or in one that it waited
 *                                                        for, or fstat(2) did, or the file was found shorter
 *     restore              sets it on the new region     before anybody can see that one, if it is writable
 *     a child of fork(2)   sets it, clears `flushes`     if a thread of the parent was flushing at the fork
 *     mutex_wait()         sets it                       when it returns a word with WAITERS set
 *
 * While a flush is in progress `flushes` is not 0, and region_is_clean() is false: a concurrent flush() must not return
 * early, for the one in progress may still fail.
 *
 * A child of fork(2) inherits, as they are: the mappings, the duplicates of descriptors, the SIGBUS handler, the
 * registration for membarrier(2) and the spare page of overlay.c. Locks of mlock(2) it does not have. What only the
 * parent's other threads could finish is put right in the child by descriptor.c, whose header says how. A region that
 * one of them had marked UNMAPPED, and not overlaid yet, keeps its file mapped in the child until region_close().
 */
#ifndef SHAREDMMAP_REGION_H
#define SHAREDMMAP_REGION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* LIVE is 0, and a state up to LIVE_FENCED (overlay.h) is live: both are relied upon. */
enum { LIVE, LIVE_FENCED, FAULTED, UNMAPPED };

#define OWNER UINT32_C(0x7fffffff) /* the bits of a mutex that hold an owner id; it is the greatest id, too */

struct region {
    char *base;              /* byte 0 of the File: the start of the mapping, plus what lies before it in its page */
    _Atomic int64_t limit;   /* bytes from base that the file backs, as last seen; overlay() sets it to 0 */
    _Atomic int64_t peak;    /* the greatest limit there was: up to there something may have been written */
    union {                  /* loaded together by region_is_clean() */
        struct {
            _Atomic uint8_t state, dirty;
            _Atomic uint16_t flushes; /* in progress, or waiting for another */
        };
        _Atomic uint32_t state_dirty_flushes;
    };
    _Atomic int views;       /* writable ones, through which something may be written at any time */
    bool writable;
    int64_t offset, length;  /* the mapped range of the file, in bytes */
    _Atomic uint32_t ended;  /* 1 once the region is not live any more: who sleeps on a word sleeps on this one too */
    _Atomic uint32_t sleepers; /* threads that do; in a child of fork(2) perhaps those of the parent as well */
    _Atomic uint32_t owner;  /* what its mutexes are held by: an owner id (mutex.h), or 0 without `liveness` */

    /* What follows is for region.c, registry.c, descriptor.c and overlay.c alone. (For an audit event, _region.py reads
     * fd.) */
    _Atomic uint64_t generation; /* odd while the region is in the registry */
    _Atomic uintptr_t start;     /* what is mapped, in whole pages */
    _Atomic size_t size;
    _Atomic uintptr_t fault;     /* the address of the first fault */
    bool kept;                   /* by region_keep() */

    uint64_t device, inode;      /* which file it is */
    bool regular;                /* whether that is a regular file */
    int fd;                      /* a duplicate of the caller's descriptor, or -1 */
    int liveness;                /* an open file description of its own, which holds the lock of `owner`; or -1 */
    bool detached;               /* fd is to be closed as soon as `calls` is 0 */
    int calls;                   /* calls under way that use fd, or hold `asking` or `flushing` */
    pthread_mutex_t asking;      /* asking how long the file is and storing the limit are one step */
    pthread_mutex_t flushing;    /* msync(2) and learning what became of it are one step */
    _Atomic uint32_t losses;     /* how often msync(2) failed */
    int lost_errno;              /* the last time; protected by `flushing` */

    struct region *next, **link; /* in one of three lists: unused slots, descriptor.h's, not given back yet */
};

/* A slot for a region that is not mapped, for cffi's new_allocator(); NULL where there is no memory. */
void *region_new(size_t size);

/* Maps `length` bytes of fd from `offset` and keeps a duplicate of fd if `track`. NULL, or with errno the name of the
 * system call that failed: nothing is kept then. */
const char *region_map(struct region *region, int fd, int64_t offset, int64_t length, bool writable, bool track);

/* The same with what `old` maps, through its descriptor. "descriptor" is what failed where it has none. */
const char *region_map_again(struct region *region, struct region *old);

/* Unmaps: releases the file, its pages and its descriptor. 0, or -1 if that has been done before. */
int region_unmap(struct region *region);

/* Ends a region that another is to take the place of: it faults, unless it has faulted. */
void region_end(struct region *region);

/* Closes the liveness descriptor of a region that is not live, if it has one: the mutexes that it holds it can never
 * release. */
void region_disown(struct region *region);

/* Unmaps, and gives the slot and the address range back. Nothing may refer to the region any more. */
void region_close(void *region);

/* Keeps the address range for good, under zero pages: somebody may know an address in it when the region is closed. */
void region_keep(struct region *region);

/* Where the first fault was, in bytes from base. */
int64_t region_fault(struct region *region);

/* Asks how much of the mapping the file backs now, keeps that as the limit, and returns it; all of the mapping where
 * there is no descriptor to ask. -1 with errno where asking fails: the limit stays. */
int64_t region_refresh(struct region *region);

/* What a fault is explained with: the file's size (-1 where it is no regular file), the bytes free on its file system,
 * and whether a write to the page needs free space. -1 with errno; EBADF where there is no descriptor. */
struct explanation {
    int64_t size, free;
    bool needs_space;
};
int region_explain(struct region *region, struct explanation *explanation);

/* Allocates disk space for the first `length` bytes of the mapping, and asks for the limit. NULL, or with errno the
 * name of what failed, "descriptor" where there is none. */
const char *region_reserve(struct region *region, int64_t length);

/* mlock(2) of `size` bytes from `start`, or mlock2(2) with MLOCK_ONFAULT. -1 with errno: nothing of it is locked then,
 * as there is not where the region is found not to be live. */
int region_lock(struct region *region, void *start, size_t size, bool on_fault);

/* msync(2) of `size` bytes from `start`; `complete` if that is all of the region and MS_SYNC. The kernel reports a
 * lost write once: so flushes take turns, and one that fails fails for those that waited, too.
 *   NOT_WRITTEN: msync(2) failed, with errno. NOT_ASKED: fstat(2) failed, with errno.
 *   SHORTER: the file does not back any more what could be written before. */
enum { FLUSHED, NOT_WRITTEN, NOT_ASKED, SHORTER };
int region_flush(struct region *region, void *start, size_t size, int flags, bool complete);

/* A view: what cffi's new_allocator() makes of the memory from `offset` on, and the end of it. */
struct view {
    char first, rest[];
};
void *view_open(struct region *region, int64_t offset, bool writable, size_t size);
void view_close(struct region *region, bool writable, void *first);

#endif
