#include "owned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void *owned_new(size_t size)
{
    (void)size; /* that of struct owned */
    struct owned *owned = malloc(sizeof *owned);
    if (owned != NULL)
        owned->fd = -1;
    return owned;
}

int owned_close(struct owned *owned)
{
    const int fd = owned->fd;
    owned->fd = -1; /* first: also where close(2) fails the number may be another file's as soon as it returns */
    return fd >= 0 && close(fd) != 0 && errno != EINTR ? -1 : 0;
}

void owned_free(void *owned)
{
    const int saved = errno; /* the collector may run between a call and the look at its errno */
    owned_close(owned);
    free(owned);
    errno = saved;
}

int owned_open(struct owned *owned, int directory, const char *path, int flags, unsigned mode)
{
    owned->fd = openat(directory, path, flags | O_CLOEXEC, mode);
    return owned->fd < 0 ? -1 : 0;
}
