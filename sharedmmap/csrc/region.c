#include "region.h"
#include "access.h"
#include "descriptor.h"
#include "overlay.h"
#include "platform.h"
#include "registry.h"
#include "sigbus.h"
#include "waiting.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- the SIGBUS handler's question: everything down to supply_page() runs inside it ---- */

/* Marks a live region FAULTED and overlays all of it, so that its first fault is its last. */
static bool fail(struct region *region, uintptr_t address)
{
    uintptr_t none = 0;
    atomic_compare_exchange_strong(&region->fault, &none, address); /* before the mark: who sees that sees the address */
    uint8_t state = atomic_load(&region->state);
    while (state <= LIVE_FENCED && !atomic_compare_exchange_weak(&region->state, &state, FAULTED))
        ;
    wake_sleepers(region);
    return overlay(region);
}

/* Makes the access to `address` possible, if that is in one of our regions. Where the fault may be an old one
 * (`certain` is false) only in a live region: there it has not been noticed yet. */
static bool supply_page(uintptr_t address, bool certain)
{
    struct region *region = registry_find(address);
    if (region == NULL || (!certain && (atomic_load(&region->state) > LIVE_FENCED || page_is_there(address))))
        return false;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    /* One page, where there is no memory to replace them all. */
    return fail(region, address) || replace_by_zero_pages(address / page * page, page);
}

/* ---- mapping ---- */

/* Closed, but their addresses could not be given back: at vm.max_map_count the kernel does not take one tombstone out
 * of the middle of several that it has merged into one mapping. It may later. */
static struct region *not_given_back;

/* The region leaves the registry first, for its addresses may be another mapping's as soon as munmap(2) returns. One that
 * is kept stays in the registry until it has zero pages, on which no access can fault. The registry is locked. */
static bool give_back(struct region *region)
{
    const uintptr_t start = atomic_load(&region->start);
    const size_t size = atomic_load(&region->size);
    if (region->kept && !replace_by_zero_pages(start, size))
        return false;
    registry_remove(region);
    return region->kept || size == 0 || munmap((void *)start, size) == 0;
}

static void give_back_again(void)
{
    for (struct region **at = &not_given_back; *at != NULL;) {
        struct region *region = *at;
        if (!give_back(region)) {
            at = &region->next;
            continue;
        }
        *at = region->next;
        registry_put_slot(region);
    }
}

void *region_new(size_t size)
{
    (void)size; /* that of struct region */
    registry_lock();
    struct region *region = registry_take_slot();
    if (region != NULL) {
        atomic_store(&region->state, UNMAPPED);
        atomic_store(&region->limit, 0);
        atomic_store(&region->start, 0);
        atomic_store(&region->size, 0);
        region->kept = false;
        atomic_store(&region->owner, 0);
        region->fd = -1;
        region->liveness = -1;
        region->calls = 0;
    }
    registry_unlock();
    return region;
}

static int64_t store_limit(struct region *region, int64_t limit)
{
    int64_t peak = atomic_load(&region->peak); /* raised before anything may be written up to it */
    while (peak < limit && !atomic_compare_exchange_weak(&region->peak, &peak, limit))
        ;
    atomic_store(&region->limit, limit);
    /* After the store: whoever marks the region sets the limit to 0 next, and that must not be undone. */
    if (atomic_load(&region->state) > LIVE_FENCED)
        atomic_store(&region->limit, limit = 0);
    return limit;
}

static int64_t backed_length(const struct region *region, const struct file_status *status)
{
    const int64_t backed = status->size - region->offset;
    return backed < 0 ? 0 : backed < region->length ? backed : region->length;
}

const char *region_map(struct region *region, int fd, int64_t offset, int64_t length, bool writable, bool track)
{
    struct file_status status;
    if (file_status(fd, &status) != 0)
        return "fstat";
    const int64_t lead = length == 0 ? 0 : offset % sysconf(_SC_PAGESIZE); /* mmap(2) wants whole pages */
    const size_t page = page_size_of(fd, &status), size = ((size_t)(lead + length) + page - 1) / page * page;
    const int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    const char *failed = NULL;
    void *start = NULL;

    registry_lock();
    give_back_again();
    if (!prepare_overlays() || !sigbus_install(supply_page))
        failed = "SIGBUS handler";
    else if (size != 0 && (start = mmap(NULL, size, prot, MAP_SHARED, fd, offset - lead)) == MAP_FAILED)
        failed = "mmap";
    else if (descriptor_keep(region, fd, track, &status) != 0) {
        const int reason = errno;
        failed = "fcntl";
        if (size != 0)
            munmap(start, size);
        errno = reason;
    }
    if (failed == NULL) {
        region->base = (char *)start + lead;
        region->offset = offset;
        region->length = length;
        region->writable = writable;
        atomic_store(&region->dirty, 0);
        atomic_store(&region->flushes, 0);
        atomic_store(&region->losses, 0);
        atomic_store(&region->peak, 0);
        atomic_store(&region->views, 0);
        atomic_store(&region->fault, 0);
        atomic_store(&region->ended, 0);
        atomic_store(&region->sleepers, 0);
        pthread_mutex_init(&region->asking, NULL);
        pthread_mutex_init(&region->flushing, NULL);
        registry_add(region, (uintptr_t)start, size);
        make_live(region);
        store_limit(region, track && status.regular ? backed_length(region, &status) : length);
    }
    registry_unlock();
    return failed;
}

const char *region_map_again(struct region *region, struct region *old)
{
    struct file_status status;
    descriptor_begin(old);
    const char *failed = descriptor_status(old, &status) != 0
                             ? "descriptor"
                             : region_map(region, old->fd, old->offset, old->length, old->writable, true);
    descriptor_end(old);
    return failed;
}

/* ---- the end ---- */

int region_unmap(struct region *region)
{
    const bool first = atomic_exchange(&region->state, UNMAPPED) != UNMAPPED;
    wake_sleepers(region);
    if (first)
        overlay(region); /* where that is refused, the file stays under the range until region_close() */
    region_disown(region);
    /* By every call: where the first one was made by a thread that a child of fork(2) does not have, it may have come no
     * further. */
    descriptor_detach(region);
    return first ? 0 : -1;
}

void region_end(struct region *region)
{
    if (atomic_load(&region->state) <= LIVE_FENCED)
        fail(region, (uintptr_t)region->base);
    region_disown(region);
}

/* The overlay comes first, which another thread, that has marked the region, may not have got to yet. Else a write that
 * is under way in a third one could reach the file, while another process takes the dead owner's mutexes over. Where it
 * is refused, the owner stays alive until region_close(). */
void region_disown(struct region *region)
{
    if (atomic_load(&region->owner) != 0 && overlay(region))
        liveness_close(region);
}

void region_close(void *closed)
{
    struct region *region = closed;
    const int saved = errno; /* the collector may run between a call and the look at its errno */
    region_unmap(region);
    liveness_close(region);
    registry_lock();
    if (give_back(region)) {
        registry_put_slot(region);
    } else {
        region->next = not_given_back;
        not_given_back = region;
    }
    prepare_overlays(); /* at vm.max_map_count the spare page had to go; now there may be room for one */
    registry_unlock();
    errno = saved;
}

void region_keep(struct region *region) { region->kept = true; }

/* ---- the state and the limit ---- */

int64_t region_fault(struct region *region)
{
    const int64_t distance = (int64_t)(atomic_load(&region->fault) - (uintptr_t)region->base);
    return distance < 0 ? 0 : distance;
}

int64_t region_refresh(struct region *region)
{
    struct file_status status;
    int64_t limit = region->length;
    descriptor_begin(region);
    pthread_mutex_lock(&region->asking);
    if (region->regular) {
        if (descriptor_status(region, &status) == 0)
            limit = backed_length(region, &status);
        else if (errno != EBADF)
            limit = -1;
    }
    if (limit >= 0)
        limit = store_limit(region, limit);
    pthread_mutex_unlock(&region->asking);
    descriptor_end(region);
    return limit;
}

/* ---- system calls ---- */

int region_explain(struct region *region, struct explanation *explanation)
{
    struct file_status status;
    struct statvfs space;
    int result = -1;
    descriptor_begin(region);
    if (descriptor_status(region, &status) == 0 && fstatvfs(region->fd, &space) == 0) {
        const int64_t page = sysconf(_SC_PAGESIZE), at = (region->offset + region_fault(region)) / page * page;
        explanation->size = status.regular ? status.size : -1;
        explanation->free = (int64_t)space.f_bavail * (int64_t)space.f_frsize;
        explanation->needs_space = needs_space(region->fd, at, page);
        result = 0;
    }
    descriptor_end(region);
    return result;
}

const char *region_reserve(struct region *region, int64_t length)
{
    struct file_status status;
    const char *failed = NULL;
    descriptor_begin(region);
    if (descriptor_status(region, &status) != 0)
        failed = "descriptor";
    else if (length != 0 && allocate(region->fd, region->offset, length) != 0)
        failed = "fallocate";
    else if (region_refresh(region) < 0)
        failed = "fstat";
    descriptor_end(region);
    return failed;
}

int region_lock(struct region *region, void *start, size_t size, bool on_fault)
{
    const int result = on_fault ? lock_on_fault(start, size) : mlock(start, size), reason = errno;
    if (result != 0 || !is_live(region)) /* a part of it may be locked, or zero pages are */
        munlock(start, size);
    errno = reason;
    return result;
}

int region_flush(struct region *region, void *start, size_t size, int flags, bool complete)
{
    const uint32_t losses = atomic_load(&region->losses);
    int outcome = FLUSHED, reason = 0;
    descriptor_begin(region);
    atomic_fetch_add(&region->flushes, 1);
    pthread_mutex_lock(&region->flushing);
    if (complete)
        atomic_store(&region->dirty, 0);
    if (atomic_load(&region->views) != 0) /* asked last: one may just have been made */
        atomic_store(&region->dirty, 1);
    /* Loaded after `dirty` was cleared: a write that this flush is responsible for did not reach further. */
    const int64_t peak = atomic_load(&region->peak);
    if (size != 0 && msync(start, size, flags) != 0) {
        outcome = NOT_WRITTEN;
        reason = errno;
        /* EINVAL and EBUSY are about the flags and the locked pages. With plain MS_SYNC they are not. */
        if (flags == MS_SYNC || (reason != EINVAL && reason != EBUSY)) {
            region->lost_errno = reason;
            atomic_fetch_add(&region->losses, 1);
        }
    } else if (atomic_load(&region->losses) != losses) {
        outcome = NOT_WRITTEN;
        reason = region->lost_errno;
    } else {
        const int64_t limit = region_refresh(region);
        outcome = limit < 0 ? NOT_ASKED : limit < peak ? SHORTER : FLUSHED;
        reason = errno;
    }
    if (outcome != FLUSHED)
        atomic_store(&region->dirty, 1);
    pthread_mutex_unlock(&region->flushing);
    atomic_fetch_sub(&region->flushes, 1);
    descriptor_end(region);
    errno = reason;
    return outcome;
}

/* ---- views ---- */

void *view_open(struct region *region, int64_t offset, bool writable, size_t size)
{
    (void)size; /* the caller has seen to it that so many bytes are accessible */
    if (writable) {
        atomic_fetch_add(&region->views, 1);
        atomic_store(&region->dirty, 1);
    }
    return region->base + offset; /* SAFETY: alive, as long as view_close() has not been called: it refers to the region */
}

void view_close(struct region *region, bool writable, void *first)
{
    (void)first;
    if (writable)
        atomic_fetch_sub(&region->views, 1);
}
