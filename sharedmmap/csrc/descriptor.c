#include "descriptor.h"
#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct region *in_use; /* a list of those whose count of calls is not 0 */
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

static int status_of(const struct region *region, struct file_status *status)
{
    if (region->fd >= 0 && file_status(region->fd, status) != 0)
        return -1;
    if (region->fd >= 0 && status->device == region->device && status->inode == region->inode)
        return 0;
    errno = EBADF;
    return -1;
}

/* The lock of the registry is held. */
static void close_descriptor(struct region *region)
{
    struct file_status now;
    /* Where somebody closed it, and its number was given to another file, that is not ours to close. (The same file
     * opened again under the same number cannot be told from ours.) */
    if (status_of(region, &now) == 0 || errno != EBADF)
        close(region->fd);
    region->fd = -1;
    atomic_fetch_sub(&descriptors, 1);
}

void descriptor_begin(struct region *region)
{
    registry_lock();
    if (region->calls++ == 0) {
        region->link = &in_use;
        region->next = in_use;
        if (in_use != NULL)
            in_use->link = &region->next;
        in_use = region;
    }
    registry_unlock();
}

static void leave_list(struct region *region)
{
    *region->link = region->next;
    if (region->next != NULL)
        region->next->link = region->link;
    if (region->detached && region->fd >= 0)
        close_descriptor(region);
}

void descriptor_end(struct region *region)
{
    const int saved = errno;
    registry_lock();
    if (--region->calls == 0)
        leave_list(region);
    registry_unlock();
    errno = saved;
}

int descriptor_status(struct region *region, struct file_status *status) { return status_of(region, status); }

void descriptor_detach(struct region *region)
{
    registry_lock();
    region->detached = true;
    if (region->calls == 0 && region->fd >= 0)
        close_descriptor(region);
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
    while (in_use != NULL) {
        struct region *region = in_use;
        region->calls = 0;
        pthread_mutex_init(&region->asking, NULL);
        pthread_mutex_init(&region->flushing, NULL);
        /* Of the parent's flushes none goes on here, and what became of them is not known. */
        if (atomic_exchange(&region->flushes, 0) != 0)
            atomic_store(&region->dirty, 1);
        leave_list(region);
    }
    registry_unlock();
}

/* From the moment the module is loaded: a fork that comes while this is being arranged does not heed it yet. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(registry_lock, registry_unlock, put_right_in_child);
}
