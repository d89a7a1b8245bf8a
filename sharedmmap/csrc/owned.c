#include "owned.h"

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

void owned_close(struct owned *owned)
{
    const int fd = owned->fd;
    owned->fd = -1; /* first: where close(2) fails the descriptor is closed nevertheless, and its number reused */
    if (fd >= 0)
        close(fd);
}

void owned_free(void *owned)
{
    owned_close(owned);
    free(owned);
}

int owned_open(struct owned *owned, int directory, const char *path, int flags, unsigned mode)
{
    owned->fd = openat(directory, path, flags | O_CLOEXEC, mode);
    return owned->fd < 0 ? -1 : 0;
}
