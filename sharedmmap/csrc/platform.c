#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#endif
#ifdef SYS_membarrier
#include <linux/membarrier.h>
#endif
#ifdef __APPLE__
#include <mach/mach.h>
#endif

int file_status(int fd, struct file_status *status)
{
#ifdef STATX_SIZE
    struct statx found;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_INO | STATX_TYPE, &found) == 0) {
        status->device = makedev(found.stx_dev_major, found.stx_dev_minor);
        status->inode = found.stx_ino;
        status->size = (int64_t)found.stx_size;
        status->block = found.stx_blksize;
        status->regular = S_ISREG(found.stx_mode);
        return 0;
    }
    if (errno != ENOSYS && errno != EPERM) /* a seccomp filter older than the call says either */
        return -1;
#endif
    struct stat plain;
    if (fstat(fd, &plain) != 0)
        return -1;
    status->device = (uint64_t)plain.st_dev;
    status->inode = (uint64_t)plain.st_ino;
    status->size = (int64_t)plain.st_size;
    status->block = (int64_t)plain.st_blksize;
    status->regular = S_ISREG(plain.st_mode);
    return 0;
}

#ifdef SYS_membarrier
bool register_memory_barrier(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool memory_barrier_on_every_thread(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}
#else
bool register_memory_barrier(void) { return false; }
bool memory_barrier_on_every_thread(void) { return false; }
#endif

#ifdef __APPLE__
bool page_is_there(uintptr_t address)
{
    char byte;
    vm_size_t read;
    return vm_read_overwrite(mach_task_self(), address, 1, (vm_address_t)&byte, &read) == KERN_SUCCESS;
}
#else
bool page_is_there(uintptr_t address) { return (void)address, false; }
#endif

size_t page_size_of(int fd, const struct file_status *status)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
#ifdef __linux__
    struct statfs system;
    if (status->block > (int64_t)page && fstatfs(fd, &system) == 0 && system.f_type == HUGETLBFS_MAGIC)
        return (size_t)system.f_bsize;
#else
    (void)fd;
    (void)status;
#endif
    return page;
}

/* Writes at the end of the file, wherever that is by now. On macOS fd has to be open for appending. */
static ssize_t append(int fd, const struct iovec *chunk)
{
#if defined(__APPLE__)
    return writev(fd, chunk, 1);
#elif defined(SYS_pwritev2) && defined(RWF_APPEND)
    return syscall(SYS_pwritev2, fd, chunk, 1, 0, 0, RWF_APPEND); /* older C libraries have no function for it */
#else
    (void)fd, (void)chunk;
    errno = EOPNOTSUPP; /* a plain write would go to the offset of the caller's descriptor, over what is there */
    return -1;
#endif
}

/* Where no call extends a file without the risk of shortening it: zeros are appended. An append never writes over
 * what another process has appended meanwhile; the file may come out longer than `end` then. */
static int append_zeros(int fd, int64_t end)
{
    enum { CHUNK = 1 << 18 };
    struct file_status now;
    int result = -1;
    char *zeros = calloc(1, CHUNK);
    if (zeros == NULL)
        return -1;
    while ((result = file_status(fd, &now)) == 0 && now.size < end) {
        const int64_t missing = end - now.size;
        const struct iovec chunk = {zeros, missing < CHUNK ? (size_t)missing : CHUNK};
        if (append(fd, &chunk) < 0) {
            result = -1;
            break;
        }
    }
    const int reason = errno;
    free(zeros);
    errno = reason;
    return result;
}

#ifdef __APPLE__

/* The same file through a description of its own, so that O_APPEND is set on nobody else's. */
static int open_for_appending(int fd)
{
    char path[MAXPATHLEN];
    struct file_status ours, found;
    if (file_status(fd, &ours) != 0 || fcntl(fd, F_GETPATH, path) == -1)
        return -1;
    const int own = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (own < 0)
        return -1;
    if (file_status(own, &found) == 0 && found.device == ours.device && found.inode == ours.inode)
        return own;
    close(own);
    errno = EOPNOTSUPP; /* unlinked, or another file has its name now */
    return -1;
}

int extend(int fd, int64_t end)
{
    struct file_status now;
    if (file_status(fd, &now) != 0)
        return -1;
    if (now.size >= end)
        return 0;
    const int own = open_for_appending(fd);
    if (own < 0)
        return -1;
    const int result = append_zeros(own, end), reason = errno;
    close(own);
    errno = reason;
    return result;
}

/* F_PREALLOCATE sets space aside behind the end of the file, or tells that there is none. It neither extends the file nor
 * fills its holes: so what is missing at the end is written as zeros, and a hole within the file stays one. */
int allocate(int fd, int64_t offset, int64_t length)
{
    struct file_status now;
    if (file_status(fd, &now) != 0)
        return -1;
    fstore_t missing = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = offset + length - now.size};
    if (missing.fst_length > 0 && fcntl(fd, F_PREALLOCATE, &missing) == -1 && errno == ENOSPC)
        return -1;
    return extend(fd, offset + length);
}

#else

/* fallocate(2) of the last byte alone leaves the rest sparse, and a file that is longer as it is. */
int extend(int fd, int64_t end)
{
    struct file_status now;
    if (file_status(fd, &now) != 0)
        return -1;
    if (now.size >= end || fallocate(fd, 0, end - 1, 1) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? append_zeros(fd, end) : -1;
}

/* Not posix_fallocate(3): where the file system cannot allocate, the C library writes to the file instead, and would
 * undo what others write to it meanwhile. */
int allocate(int fd, int64_t offset, int64_t length) { return fallocate(fd, 0, offset, length); }

#endif

/* Not by SEEK_DATA, which would move the file offset of the caller's descriptor. */
bool needs_space(int fd, int64_t offset, int64_t length)
{
#ifdef FS_IOC_FIEMAP
    struct statfs system;
    if (fstatfs(fd, &system) == 0 && system.f_type == BTRFS_SUPER_MAGIC)
        return true;
    struct fiemap extents = {.fm_start = (uint64_t)offset, .fm_length = (uint64_t)length}; /* only their number */
    return ioctl(fd, FS_IOC_FIEMAP, &extents) == 0 && extents.fm_mapped_extents == 0;
#else
    return (void)fd, (void)offset, (void)length, false;
#endif
}

#if defined(__linux__) && defined(F_OFD_SETLK)

int open_afresh(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const int fresh = open(path, O_RDWR | O_CLOEXEC);
    if (fresh < 0 || fresh > 2)
        return fresh;
    const int moved = fcntl(fresh, F_DUPFD_CLOEXEC, 3), reason = errno; /* never one of the three standard streams */
    close(fresh);
    errno = reason;
    return moved;
}

static struct flock byte_at(int64_t offset)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)offset, .l_len = 1};
}

int lock_byte(int fd, int64_t offset)
{
    struct flock lock = byte_at(offset);
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int byte_is_locked(int fd, int64_t offset)
{
    struct flock lock = byte_at(offset);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return -1;
    return lock.l_type == F_WRLCK && lock.l_start == (off_t)offset && lock.l_len == 1 && lock.l_pid == -1;
}

#else

int open_afresh(int fd) { return (void)fd, errno = ENOSYS, -1; }
int lock_byte(int fd, int64_t offset) { return (void)fd, (void)offset, errno = ENOSYS, -1; }
int byte_is_locked(int fd, int64_t offset) { return (void)fd, (void)offset, errno = ENOSYS, -1; }

#endif

uint32_t random_number(void)
{
#ifdef __APPLE__
    return arc4random();
#else
    uint32_t number;
#ifdef SYS_getrandom
    if (syscall(SYS_getrandom, &number, sizeof number, 0) == sizeof number)
        return number;
#endif
    /* An old kernel, or a seccomp filter: what no two processes have in common at the same moment. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t mixed = ((uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 22 ^ (uint64_t)getpid()) *
                           UINT64_C(0x9e3779b97f4a7c15);
    number = (uint32_t)(mixed >> 32);
    return number;
#endif
}

int lock_on_fault(const void *start, size_t size)
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
