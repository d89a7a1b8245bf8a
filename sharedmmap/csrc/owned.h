/* A descriptor that an object owns from the moment it is open.
 *
 * An int that os.open() returns is lost where a signal handler raises before it is stored, and the descriptor stays
 * open for good. So the owner exists first (cffi's new_allocator() calls owned_new(), and owned_free() when the
 * object goes), and the C call that opens the descriptor stores it there.
 */
#ifndef SHAREDMMAP_OWNED_H
#define SHAREDMMAP_OWNED_H

#include <stddef.h>

struct owned {
    int fd; /* or -1 */
};

/* One that is not open; NULL where there is no memory. */
void *owned_new(size_t size);

/* Closes the descriptor, if it is open. -1 with errno where close(2) reports an error; it is closed nevertheless. */
int owned_close(struct owned *owned);

/* The same, and frees the memory. */
void owned_free(void *owned);

/* openat(2) with O_CLOEXEC; `owned` must not be open. -1 with errno. */
int owned_open(struct owned *owned, int directory, const char *path, int flags, unsigned mode);

#endif
