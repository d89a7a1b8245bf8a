/* What Linux and macOS spell differently. */
#ifndef SHAREDMMAP_PLATFORM_H
#define SHAREDMMAP_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_status {
    uint64_t device, inode; /* which file it is */
    int64_t size;
    int64_t block; /* the preferred size of transfers: that of the pages on hugetlbfs */
    bool regular;
};

/* What fstat(2) says of fd; -1 with errno. Where there is statx(2) only these fields are asked for: since Linux 6.13
 * a plain fstat(2) marks the time stamps as seen, and the next write has to make new ones. */
int file_status(int fd, struct file_status *status);

/* Registers the process for memory_barrier_on_every_thread(). False where the system has no such call. */
bool register_memory_barrier(void);

/* Every thread of the process passes a full memory barrier before this returns. False where the system refuses.
 * Async-signal-safe. */
bool memory_barrier_on_every_thread(void);

/* Whether the system can supply the page at this address, for reading. Only on macOS, where a signal does not tell
 * whether it was sent (sigbus.c); false elsewhere. Async-signal-safe. */
bool page_is_there(uintptr_t address);

/* The size of the pages that mmap(2) uses for fd: huge ones on hugetlbfs. */
size_t page_size_of(int fd, const struct file_status *status);

/* Makes the file at least `end` bytes long, sparse where the file system can do that, and never shorter: another
 * process may grow it at the same time. -1 with errno. */
int extend(int fd, int64_t end);

/* Allocates disk space for `length` bytes of fd from `offset`, extending the file; never shortens it and never writes
 * over what it holds. -1 with errno: EOPNOTSUPP where the file system cannot allocate. */
int allocate(int fd, int64_t offset, int64_t length);

/* Whether a write to the range needs free space: it is a hole of the file, or the file system is btrfs, which writes
 * everything to a new place. False also where the file system does not tell its holes. */
bool needs_space(int fd, int64_t offset, int64_t length);

/* Opens the file of fd once more, for reading and writing: an open file description that nobody else has. -1 with
 * errno: ENOENT where there is no /proc, ENOSYS where the system has nothing like it. */
int open_afresh(int fd);

/* An open-file-description lock on one byte of the file (fcntl(2), F_OFD_SETLK); -1 with errno, EAGAIN where somebody
 * has a lock on it, ENOSYS where the system has no such locks. */
int lock_byte(int fd, int64_t offset);

/* Whether another open file description than that of fd holds exactly that lock: on this byte alone, and by no other
 * kind of lock. -1 with errno. */
int byte_is_locked(int fd, int64_t offset);

uint32_t random_number(void);

/* mlock2(2) with MLOCK_ONFAULT; -1 with ENOSYS where the system has none. */
int lock_on_fault(const void *start, size_t size);

#endif
