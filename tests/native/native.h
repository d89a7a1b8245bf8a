/* What the programs share: a check that ends the process, a mapping entered in the registry, random numbers. */
#ifndef NATIVE_H
#define NATIVE_H

#include "descriptor.h" /* region.h, and open_descriptors() */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define check(condition)                                                                                   \
    do {                                                                                                   \
        if (!(condition)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
            _exit(1);                                                                                      \
        }                                                                                                  \
    } while (0)

static inline struct region *map_region(int fd, int64_t size)
{
    struct region *region = region_new(sizeof *region);
    check(region != NULL && region_map(region, fd, 0, size, true, true) == NULL);
    return region;
}

/* A file without a name. */
static inline int make_file(const char *folder, int64_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/XXXXXX", folder);
    const int fd = mkstemp(path);
    check(fd >= 0 && unlink(path) == 0 && ftruncate(fd, size) == 0);
    return fd;
}

static inline int descriptors_of_process(void)
{
    int count = 0;
    DIR *folder = opendir("/dev/fd");
    check(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* Below `bound`; xorshift, with a state for each thread. */
static inline unsigned below(uint64_t *state, unsigned bound)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (unsigned)((*state >> 32) % bound);
}

#endif
