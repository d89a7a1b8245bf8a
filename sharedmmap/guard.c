#include "guard.h"
#include "sigbus.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#endif
#ifdef SYS_membarrier
#include <linux/membarrier.h>
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* ---- why it is sound ----
 *
 * The registry. Slots are reused but never freed, so the handler may walk them at any time, without a lock.
 * `start` and `size` change only while the generation is even: odd and the same before and after they are read,
 * it says that they belong together. The region of the faulting thread is found, since whoever touches its
 * memory keeps it from being closed; and no other, as a region leaves the registry before its addresses can.
 *
 * The state leaves LIVE before the pages are replaced, and does not come back while the region is in use.
 * Between the two every thread passes a full barrier (membarrier). An access that ended before the barrier used
 * the file's pages; any other reads the state after the barrier, and sees the mark. Without it a core may read
 * the state ahead of its own store, x86 too: a store may wait while a younger load is done, and the interrupt
 * that comes with replaced pages goes only where pages were present. */

/* ---- the registry ---- */

enum { SLOTS = 256 };

struct chunk {
    struct region slots[SLOTS];
    _Atomic(struct chunk *) next;
};

static _Atomic(struct chunk *) chunks;
static struct region *free_slots;
static struct region *refused_slots; /* closed, but what they take was not to be given back yet */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* for the lists, chunks and the handler */
static uintptr_t page_size;

static void enter(void) { pthread_mutex_lock(&registry); }
static void leave(void) { pthread_mutex_unlock(&registry); }

static bool grow_registry(void)
{
    struct chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL)
        return false;
    for (int i = 0; i < SLOTS; i++) {
        pthread_mutex_init(&chunk->slots[i].flushing, NULL);
        chunk->slots[i].next_free = free_slots;
        free_slots = &chunk->slots[i];
    }
    atomic_store(&chunk->next, atomic_load(&chunks));
    atomic_store(&chunks, chunk);
    return true;
}

/* Of the flushes of other threads none goes on in a child; what became of them it cannot know. */
static void leave_in_child(void)
{
    for (struct chunk *chunk = atomic_load(&chunks); chunk != NULL; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < SLOTS; i++) {
            struct region *region = &chunk->slots[i];
            if (atomic_exchange(&region->flushes, 0) == 0)
                continue;
            atomic_store(&region->dirty, 1);
            pthread_mutex_init(&region->flushing, NULL);
        }
    }
    leave();
}

/* A child must not inherit the registry locked and half changed. So from the beginning: a fork that comes while this
 * is being arranged does not heed it yet. */
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(enter, leave, leave_in_child); }

/* Runs in the handler. */
static struct region *find_region(uintptr_t address)
{
    for (struct chunk *chunk = atomic_load(&chunks); chunk != NULL; chunk = atomic_load(&chunk->next)) {
        for (int i = 0; i < SLOTS; i++) {
            struct region *region = &chunk->slots[i];
            uint64_t generation = atomic_load(&region->generation);
            uintptr_t start = atomic_load(&region->start);
            size_t size = atomic_load(&region->size);
            if (generation % 2 == 1 && address - start < size && atomic_load(&region->generation) == generation)
                return region;
        }
    }
    return NULL;
}

/* ---- zero pages ---- */

/* Every thread of the process passes a full memory barrier before this returns, where the system can do so. */
static void synchronize_threads(void)
{
    atomic_thread_fence(memory_order_seq_cst);
#ifdef SYS_membarrier
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
#endif
}

/* A process that has reached vm.max_map_count is refused every mapping, even one in place of another. So one is
 * kept to be given back then; shared, so that it is never one with its neighbours. */
static _Atomic(void *) spare;

static bool keep_spare(void)
{
    if (atomic_load(&spare) != NULL)
        return true;
    void *page = mmap(NULL, page_size, PROT_NONE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
    if (page == MAP_FAILED)
        return false;
    atomic_store(&spare, page);
    return true;
}

static bool give_back_spare(void)
{
    void *page = atomic_exchange(&spare, NULL);
    return page != NULL && munmap(page, page_size) == 0;
}

/* Replaces [start, start + size) in one step. Private pages cost nothing until they are written; where their
 * number is limited (RLIMIT_DATA) shared ones are not counted. */
static bool replace(uintptr_t start, size_t size)
{
    const int flags = MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
    /* Sound: [start, start + size) was mapped by us and is in the registry, so nobody else has it. */
    return mmap((void *)start, size, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE, -1, 0) != MAP_FAILED ||
           mmap((void *)start, size, PROT_READ | PROT_WRITE, flags | MAP_SHARED, -1, 0) != MAP_FAILED;
}

static bool lay_zero_pages(uintptr_t start, size_t size)
{
    return replace(start, size) || (give_back_spare() && replace(start, size));
}

static void retire(struct region *region)
{
    atomic_store(&region->limit, 0);
    synchronize_threads();
}

/* ---- what the SIGBUS handler asks for: like find_region() and what it calls, it must run inside one ---- */

/* Puts zero pages in place of all of the region, so that one fault is the last. */
static bool cut_off(struct region *region, uintptr_t address)
{
    uintptr_t none = 0;
    uint8_t live = LIVE;
    atomic_compare_exchange_strong(&region->fault, &none, address); /* whoever sees the mark sees the address */
    atomic_compare_exchange_strong(&region->state, &live, FAULTED);
    retire(region);
    return lay_zero_pages(atomic_load(&region->start), atomic_load(&region->size));
}

/* Supplies the page that is missing at `address`, if that is in one of our regions. Where the fault may be an
 * old one (`certain` is false), only in a LIVE region: there it has not been seen. */
static bool supply(uintptr_t address, bool certain)
{
    struct region *region = find_region(address);
    if (region == NULL || (!certain && atomic_load(&region->state) != LIVE))
        return false;
    /* A page where there is no memory for more. */
    return cut_off(region, address) || lay_zero_pages(address & ~(page_size - 1), page_size);
}

/* Called with the registry entered. */
static bool prepare(void)
{
    if (page_size == 0) {
        page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
#ifdef SYS_membarrier
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
#endif
    }
    return keep_spare() && sigbus_install(supply);
}

/* ---- the descriptor ---- */

static _Atomic int descriptors;

int open_descriptors(void) { return atomic_load(&descriptors); }

/* False with EBADF where the descriptor is closed or its number another file's now, and with what fstat(2) says
 * where the file cannot be asked: its server is gone, say. */
static bool ask(const struct region *region, struct stat *now)
{
    if (fstat(region->fd, now) != 0)
        return false;
    if (now->st_dev == region->device && now->st_ino == region->inode)
        return true;
    errno = EBADF;
    return false;
}

/* Counts one more user; false where there is no descriptor, or none any more. */
static bool join(struct region *region)
{
    int users = atomic_load(&region->users);
    while (users != 0)
        if (atomic_compare_exchange_weak(&region->users, &users, users + 1))
            return true;
    return false;
}

void region_release(struct region *region)
{
    struct stat now;
    if (atomic_fetch_sub(&region->users, 1) != 1)
        return;
    atomic_fetch_sub(&descriptors, 1);
    /* Closing a number that somebody else was given meanwhile closes their file. */
    if (ask(region, &now) || errno != EBADF)
        close(region->fd);
}

void region_leave(struct region *region)
{
    if (region->fd >= 0 && !atomic_exchange(&region->left, true))
        region_release(region);
}

int region_acquire(struct region *region)
{
    struct stat now;
    int reason = EBADF;
    if (join(region)) {
        if (ask(region, &now))
            return region->fd;
        reason = errno;
        region_release(region);
    }
    errno = reason;
    return -1;
}

static bool keep_descriptor(struct region *region, int fd, bool track, const struct stat *now)
{
    region->device = now->st_dev;
    region->inode = now->st_ino;
    region->regular = S_ISREG(now->st_mode);
    region->fd = track ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1; /* never one of the three standard streams */
    if (track && region->fd < 0)
        return false;
    atomic_store(&region->left, false);
    atomic_store(&region->users, track);
    atomic_fetch_add(&descriptors, track);
    return true;
}

/* ---- regions ---- */

static void put_slot(struct region *region, struct region **list)
{
    region->next_free = *list;
    *list = region;
}

/* Gives the addresses back, or where they are to be kept what is under them. Out of the registry first, since from
 * munmap() on they may be another mapping's; what is kept goes last, when no access can fault there any more. */
static bool give_back(struct region *region)
{
    if (region->kept && !lay_zero_pages(region->start, region->size))
        return false;
    if (atomic_load(&region->generation) % 2 == 1)
        atomic_fetch_add(&region->generation, 1);
    return region->kept || region->size == 0 || munmap((void *)region->start, region->size) == 0;
}

/* The kernel has made one mapping of adjacent tombstones. At vm.max_map_count it does not take one out of their
 * middle, but it may later. Called with the registry entered. */
static void give_back_refused(void)
{
    for (struct region **at = &refused_slots; *at != NULL;) {
        struct region *region = *at;
        if (!give_back(region)) {
            at = &region->next_free;
            continue;
        }
        *at = region->next_free;
        put_slot(region, &free_slots);
    }
}

static struct region *take_slot(void)
{
    struct region *region = NULL;
    enter();
    give_back_refused();
    if (prepare() && (free_slots != NULL || grow_registry())) {
        region = free_slots;
        free_slots = region->next_free;
    }
    leave();
    return region;
}

/* How much mmap(2) mapped: of huge pages whole ones. */
static size_t mapped_size(size_t size, int fd, const struct stat *now)
{
#ifdef __linux__
    struct statfs system;
    const size_t page = (size_t)now->st_blksize;
    if (page > page_size && fstatfs(fd, &system) == 0 && system.f_type == HUGETLBFS_MAGIC)
        return (size + page - 1) / page * page;
#else
    (void)fd;
    (void)now;
#endif
    return size;
}

/* Without a descriptor to ask everything counts as accessible: the guard does the rest. */
static int64_t set_limit(struct region *region, const struct stat *now)
{
    int64_t limit = region->length;
    if (region->users != 0 && region->regular && now != NULL) {
        const int64_t backed = (int64_t)now->st_size - region->offset;
        limit = backed < 0 ? 0 : backed < limit ? backed : limit;
    }
    if (atomic_load(&region->state) != LIVE)
        limit = 0;
    int64_t peak = atomic_load(&region->peak); /* raised before anything may be written up to it */
    while (peak < limit && !atomic_compare_exchange_weak(&region->peak, &peak, limit))
        ;
    atomic_store(&region->limit, limit);
    return limit;
}

struct region *region_open(void *start, size_t lead, int64_t length, int fd, int64_t offset, bool writable,
                           bool track)
{
    struct stat now;
    if (fstat(fd, &now) != 0)
        return NULL;
    struct region *region = take_slot();
    if (region == NULL)
        return NULL;
    if (!keep_descriptor(region, fd, track, &now)) {
        const int reason = errno;
        enter();
        put_slot(region, &free_slots);
        leave();
        errno = reason;
        return NULL;
    }
    region->base = (char *)start + lead;
    region->offset = offset;
    region->length = length;
    region->writable = writable;
    region->kept = false;
    atomic_store(&region->state, LIVE);
    atomic_store(&region->dirty, 0);
    atomic_store(&region->flushes, 0);
    atomic_store(&region->losses, 0);
    atomic_store(&region->peak, 0);
    atomic_store(&region->views, 0);
    atomic_store(&region->fault, 0);
    atomic_store(&region->start, (uintptr_t)start);
    atomic_store(&region->size, length == 0 ? 0 : mapped_size(lead + (size_t)length, fd, &now));
    atomic_fetch_add(&region->generation, 1);
    set_limit(region, &now);
    return region;
}

int region_unmap(struct region *region)
{
    if (atomic_exchange(&region->state, UNMAPPED) == UNMAPPED)
        return -1;
    retire(region);
    /* Where the system has no pages for a tombstone the file stays under the range until it is collected:
     * a late access is as safe there, and raises all the same. */
    if (region->size != 0)
        lay_zero_pages(region->start, region->size);
    region_leave(region);
    return 0;
}

void region_fail(struct region *region)
{
    /* Where that is refused the file stays under the range, as after region_unmap(). */
    if (atomic_load(&region->state) == LIVE)
        cut_off(region, (uintptr_t)region->base);
}

void region_close(struct region *region)
{
    atomic_store(&region->state, UNMAPPED);
    region_leave(region);
    const bool done = give_back(region);
    enter();
    put_slot(region, done ? &free_slots : &refused_slots);
    keep_spare(); /* what was given back may do, at vm.max_map_count */
    leave();
}

void region_keep(struct region *region) { region->kept = true; }

int64_t region_refresh(struct region *region)
{
    struct stat now;
    int reason = EBADF;
    if (join(region)) {
        reason = ask(region, &now) ? 0 : errno;
        region_release(region);
    }
    if (reason == 0 || reason == EBADF)
        return set_limit(region, reason == 0 ? &now : NULL);
    errno = reason;
    return -1;
}

int region_flush(struct region *region, void *start, size_t size, int flags, bool complete)
{
    const uint32_t losses = atomic_load(&region->losses);
    int outcome = FLUSHED, reason = 0;
    atomic_fetch_add(&region->flushes, 1);
    pthread_mutex_lock(&region->flushing);
    if (complete)
        atomic_store(&region->dirty, 0);
    if (atomic_load(&region->views) != 0) /* asked last: one may just have been made */
        atomic_store(&region->dirty, 1);
    const int64_t peak = atomic_load(&region->peak); /* later than `dirty`: no write it was set for reached further */
    if (size != 0 && msync(start, size, flags) != 0) {
        outcome = NOT_WRITTEN;
        reason = errno;
        /* Unless it is about the flags, or what is locked: of plain MS_SYNC nothing is. */
        if (flags == MS_SYNC || (reason != EINVAL && reason != EBUSY)) {
            region->lost_by = reason;
            atomic_fetch_add(&region->losses, 1);
        }
    } else if (atomic_load(&region->losses) != losses) {
        outcome = NOT_WRITTEN;
        reason = region->lost_by;
    } else {
        const int64_t limit = region_refresh(region);
        outcome = limit < 0 ? NOT_ASKED : limit < peak ? SHORTER : FLUSHED;
        reason = errno;
    }
    if (outcome != FLUSHED)
        atomic_store(&region->dirty, 1);
    pthread_mutex_unlock(&region->flushing);
    atomic_fetch_sub(&region->flushes, 1);
    errno = reason;
    return outcome;
}

void region_add_view(struct region *region)
{
    atomic_fetch_add(&region->views, 1);
    atomic_store(&region->dirty, 1);
}

void region_drop_view(struct region *region) { atomic_fetch_sub(&region->views, 1); }

int64_t region_fault(struct region *region)
{
    const int64_t distance = (int64_t)(atomic_load(&region->fault) - (uintptr_t)region->base);
    return distance < 0 ? 0 : distance;
}

/* ---- system calls that the platforms spell differently ---- */

int allocate(int fd, int64_t offset, int64_t length)
{
#ifdef __APPLE__
    struct stat now;
    if (fstat(fd, &now) != 0)
        return -1;
    const int64_t missing = offset + length - (int64_t)now.st_size;
    if (missing <= 0)
        return 0;
    fstore_t request = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = missing};
    if (fcntl(fd, F_PREALLOCATE, &request) == -1)
        return -1;
    return ftruncate(fd, offset + length);
#else
    /* Not posix_fallocate(): where the file system has no fallocate, the C library's stand-in writes to the
     * file, and would undo what others write to it meanwhile. */
    return fallocate(fd, 0, offset, length);
#endif
}

int lock_on_fault(void *start, size_t size)
{
#if defined(SYS_mlock2) && defined(MLOCK_ONFAULT)
    return (int)syscall(SYS_mlock2, start, size, MLOCK_ONFAULT);
#else
    (void)start;
    (void)size;
    errno = ENOSYS;
    return -1;
#endif
}
