/* The guard: every mapping this process has, and what happens when one of them cannot be backed.
 *
 *  1. region_open() enters a mapping in the registry and puts the SIGBUS handler (sigbus.h) in front.
 *  2. A page the kernel cannot supply raises SIGBUS. The handler finds the region by address, marks it
 *     FAULTED, lays zero pages over all of it and returns: the access completes, on memory that is ours.
 *  3. region_unmap() marks a region UNMAPPED and lays the same zero pages: the tombstone. The address range
 *     stays ours, so an access already under way in another thread lands on memory nobody else uses.
 *  4. region_close() gives the address range back, unless it is to be kept. Only the collector calls it, when
 *     nothing refers to the region any more.
 *
 * Whoever touches a region's memory reads `state` afterwards; anything but LIVE means that what was read is
 * not the file's and what was written did not reach it. In both 2 and 3 the mark comes before the pages,
 * so no access can land on the zero pages and still see LIVE; guard.c argues it.
 */
#ifndef SHAREDMMAP_GUARD_H
#define SHAREDMMAP_GUARD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LIVE, FAULTED, UNMAPPED };

struct region {
    char *base;                   /* byte 0 of the File: `start` plus what lies before it in its page */
    _Atomic int64_t limit;        /* bytes from base that the file backs, as last seen */
    _Atomic int64_t peak;         /* the greatest limit: up to there something may have been written */
    _Atomic uint8_t state;        /* this and the next two are also read together */
    _Atomic uint8_t dirty;        /* something was written since the last complete flush began */
    _Atomic uint16_t flushes;     /* that are under way, or wait for another */
    _Atomic int views;            /* writable ones, through which something may be written at any time */
    bool writable;

    /* What follows is for guard.c alone. */
    _Atomic uint64_t generation;  /* odd while the slot is in use */
    _Atomic uintptr_t start;
    _Atomic size_t size;
    _Atomic uintptr_t fault;      /* the address of the first fault */
    int64_t offset, length;       /* the mapped range of the file, in bytes */
    bool regular, kept;
    int fd;                       /* our own duplicate, or -1 */
    _Atomic bool left;            /* whether the region itself is no user of it any more */
    _Atomic int users;            /* of fd; it is closed when the last one leaves */
    dev_t device;                 /* what fd is open on: somebody may close it and reuse its number */
    ino_t inode;
    pthread_mutex_t flushing;     /* for msync(2) and what it said, in one step */
    _Atomic uint32_t losses;      /* how often msync(2) failed */
    int lost_by;                  /* the last errno of that; for who holds `flushing` */
    struct region *next_free;
};

_Static_assert(offsetof(struct region, state) % 4 == 0, "state, dirty and flushes are aligned as one");
_Static_assert(offsetof(struct region, dirty) == offsetof(struct region, state) + 1, "and adjacent");
_Static_assert(offsetof(struct region, flushes) == offsetof(struct region, state) + 2, "and adjacent");

/* Enters the mapping of `length` bytes of fd from `offset`, that mmap(2) put at `start`, `lead` bytes before
 * the first of them. Keeps a duplicate of fd if `track`. NULL with errno on failure: nothing is kept then. */
struct region *region_open(void *start, size_t lead, int64_t length, int fd, int64_t offset, bool writable,
                           bool track);

/* Takes the file out from under the region; 0, or -1 if somebody did so before. */
int region_unmap(struct region *region);

/* Gives the address range back, unless it is to be kept. No thread may know the region any more. */
void region_close(struct region *region);

/* Keeps the address range for good, under zero pages: somebody may know it still when the region is closed. */
void region_keep(struct region *region);

/* Asks how much of the mapping the file backs now, keeps that as the limit, and returns it; all of it where there
 * is no descriptor to ask. -1 with errno where asking fails: the limit stays. */
int64_t region_refresh(struct region *region);

/* For a region that another takes the place of. The first ends it as a fault would, where there was none; the second
 * closes its descriptor, once nobody uses that. */
void region_fail(struct region *region);
void region_leave(struct region *region);

/* msync(2) of `size` bytes from `start`; `complete` if that is all of the region. What is written while it runs stays
 * owed; so does everything where it fails. The kernel tells a loss once: so flushes take turns, and one that fails
 * fails for those that waited, too. Until it has ended the region is not clean: none is content with one that may
 * fail yet. With NOT_WRITTEN and NOT_ASKED comes errno, of msync(2) and fstat(2); SHORTER is a file that does not back
 * any more what could be written before. */
enum { FLUSHED, NOT_WRITTEN, NOT_ASKED, SHORTER };
int region_flush(struct region *region, void *start, size_t size, int flags, bool complete);

void region_add_view(struct region *region);
void region_drop_view(struct region *region);

/* Where the first fault was, in bytes from base. */
int64_t region_fault(struct region *region);

/* The region's descriptor, kept open until region_release(); -1 with EBADF where there is none, or none any
 * more, or where its number now belongs to another file, and with what fstat(2) says where that cannot be asked. */
int region_acquire(struct region *region);
void region_release(struct region *region);

/* How many of the process's descriptors the regions hold. */
int open_descriptors(void);

/* Allocates disk space for `length` bytes of fd from `offset`, extending the file; -1 with errno. */
int allocate(int fd, int64_t offset, int64_t length);

/* mlock2(MLOCK_ONFAULT); -1 with ENOSYS where the system has none. */
int lock_on_fault(void *start, size_t size);

#endif
