#include "descriptor.h"
#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct region *listed; /* what a child of fork(2) has to put right */
static _Atomic int descriptors;

int open_descriptors(void) { return atomic_load(&descriptors); }

int descriptor_keep(struct region *region, int fd, bool track, const struct file_status *status)
{
    region->device = status->device;
    region->inode = status->inode;
    region->regular = status->regular;
    region->detached = false;
    region->fd = track ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1; /* never one of the three standard streams */
    if (track && region->fd < 0)
        return -1;
    atomic_fetch_add(&descriptors, track);
    return 0;
}

/* The status of fd, which is one of the region's descriptors. */
static int status_of(const struct region *region, int fd, struct file_status *status)
{
    if (fd >= 0 && file_status(fd, status) != 0)
        return -1;
    if (fd >= 0 && status->device == region->device && status->inode == region->inode)
        return 0;
    errno = EBADF;
    return -1;
}

/* Closes one of the region's descriptors, if it is open. The lock of the registry is held. */
static void close_descriptor(const struct region *region, int *fd)
{
    struct file_status now;
    if (*fd < 0)
        return;
    /* Where somebody closed it, and its number was given to another file, that is not ours to close. (The same file
     * opened again under the same number cannot be told from ours.) */
    if (status_of(region, *fd, &now) == 0 || errno != EBADF)
        close(*fd);
    *fd = -1;
    atomic_fetch_sub(&descriptors, 1);
}

/* ---- the list ---- */

static bool is_listed(const struct region *region) { return region->calls != 0 || region->liveness >= 0; }

/* Called before `calls` is raised or `liveness` is set. */
static void enter_list(struct region *region)
{
    if (is_listed(region))
        return;
    region->link = &listed;
    region->next = listed;
    if (listed != NULL)
        listed->link = &region->next;
    listed = region;
}

/* Called after `calls` was lowered or `liveness` was closed. */
static void leave_list(struct region *region)
{
    if (is_listed(region))
        return;
    *region->link = region->next;
    if (region->next != NULL)
        region->next->link = region->link;
}

/* ---- the duplicate ---- */

void descriptor_begin(struct region *region)
{
    registry_lock();
    enter_list(region);
    region->calls++;
    registry_unlock();
}

static void end_call(struct region *region)
{
    if (region->calls == 0 && region->detached)
        close_descriptor(region, &region->fd);
    leave_list(region);
}

void descriptor_end(struct region *region)
{
    const int saved = errno;
    registry_lock();
    region->calls--;
    end_call(region);
    registry_unlock();
    errno = saved;
}

int descriptor_status(struct region *region, struct file_status *status)
{
    return status_of(region, region->fd, status);
}

/* ---- the liveness descriptor ---- */

enum { DRAWS = 100 };

/* The owner id whose byte fd holds the lock of now; 0 with errno. */
static uint32_t lock_random_id(int fd)
{
    for (int draw = 0; draw < DRAWS; draw++) {
        const uint32_t id = random_number() & OWNER;
        if (id != 0 && lock_byte(fd, LIVENESS + id) == 0)
            return id;
        if (id != 0 && errno != EAGAIN && errno != EACCES)
            return 0;
    }
    errno = EAGAIN;
    return 0;
}

/* The lock of the registry is held: a child that is forked meanwhile would keep the description, and its lock, alive. */
static const char *open_and_lock(struct region *region)
{
    struct file_status status;
    if (region->detached || atomic_load(&region->state) > LIVE_FENCED) {
        errno = EBADF;
        return "descriptor";
    }
    if (status_of(region, region->fd, &status) != 0)
        return "descriptor";
    const int fd = open_afresh(region->fd);
    if (fd < 0)
        return "open";
    const bool same = status_of(region, fd, &status) == 0;
    const uint32_t id = same ? lock_random_id(fd) : 0;
    if (id == 0) {
        const int reason = errno;
        close(fd);
        errno = reason;
        return same ? "fcntl" : "descriptor";
    }
    enter_list(region);
    region->liveness = fd;
    atomic_fetch_add(&descriptors, 1);
    atomic_store(&region->owner, id);
    return NULL;
}

const char *liveness_open(struct region *region)
{
    registry_lock();
    const char *failed = region->liveness >= 0 ? NULL : open_and_lock(region);
    registry_unlock();
    return failed;
}

void liveness_close(struct region *region)
{
    registry_lock();
    if (region->liveness >= 0) {
        atomic_store(&region->owner, 0);
        close_descriptor(region, &region->liveness);
        leave_list(region);
    }
    registry_unlock();
}

/* Through the duplicate: the liveness descriptor would not be told of its own lock. */
int liveness_of(struct region *region, uint32_t id)
{
    struct file_status status;
    descriptor_begin(region);
    const int found = descriptor_status(region, &status) == 0 ? byte_is_locked(region->fd, LIVENESS + id) : -1;
    descriptor_end(region);
    return found;
}

/* ---- the end ---- */

void descriptor_detach(struct region *region)
{
    registry_lock();
    region->detached = true;
    if (region->calls == 0)
        close_descriptor(region, &region->fd);
    registry_unlock();
}

const char *region_duplicate(struct region *region, struct owned *owned)
{
    struct file_status status;
    const char *failed = "descriptor";
    descriptor_begin(region);
    if (descriptor_status(region, &status) == 0) {
        registry_lock(); /* a child of fork(2) that has the duplicate has it in `owned`, too */
        owned->fd = fcntl(region->fd, F_DUPFD_CLOEXEC, 3);
        failed = owned->fd < 0 ? "fcntl" : NULL;
        registry_unlock();
    }
    descriptor_end(region);
    return failed;
}

/* ---- fork ---- */

static void put_right_in_child(void)
{
    while (listed != NULL) {
        struct region *region = listed;
        region->calls = 0;
        pthread_mutex_init(&region->asking, NULL);
        pthread_mutex_init(&region->flushing, NULL);
        /* Of the parent's flushes none goes on here, and what became of them is not known. */
        if (atomic_exchange(&region->flushes, 0) != 0)
            atomic_store(&region->dirty, 1);
        atomic_store(&region->owner, 0);
        close_descriptor(region, &region->liveness);
        end_call(region);
    }
    registry_unlock();
}

/* When the module is loaded: a fork that comes while pthread_atfork(3) runs does not call the handlers yet. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(registry_lock, registry_unlock, put_right_in_child);
}
