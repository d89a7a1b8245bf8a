/* A region's own file descriptors: a duplicate of the caller's, and from its first mutex on a second one, the liveness
 * descriptor: another open file description of the same file, whose lock tells other processes that the region lives
 * (mutex.h).
 *
 * Any call may be using the duplicate while another thread unmaps, and another may fork. So:
 *  1. Each call that uses it, or holds one of the region's locks, stands between descriptor_begin() and
 *     descriptor_end(), which count such calls. (Or it holds the lock of the registry all the time, as liveness_open()
 *     does: then nobody can close it, nor fork.)
 *  2. descriptor_detach() closes it, or where the count is not 0 leaves that to the last descriptor_end(). So it is
 *     closed exactly once.
 *  3. The liveness descriptor is opened, locked and closed while the lock of the registry is held, and is used for
 *     nothing else. So it is closed at once, and exactly once.
 *  4. A child of fork(2) has none of the threads that were counted, and what the parent holds is the parent's. The
 *     regions where the count is not 0, or that have a liveness descriptor, form a list. The child walks it, and puts
 *     each region right.
 * Everything here takes the lock of the registry, which fork(2) takes too.
 */
#ifndef SHAREDMMAP_DESCRIPTOR_H
#define SHAREDMMAP_DESCRIPTOR_H

#include "owned.h"
#include "platform.h"
#include "region.h"

/* Duplicates fd, whose status is given, if `track`; -1 with errno. The lock of the registry is held. */
int descriptor_keep(struct region *region, int fd, bool track, const struct file_status *status);

void descriptor_begin(struct region *region);
void descriptor_end(struct region *region);

/* What the file is now; -1 with EBADF where there is no descriptor, or none any more, or where its number belongs to
 * another file by now, and with what fstat(2) says where the file cannot be asked. After descriptor_begin(). */
int descriptor_status(struct region *region, struct file_status *status);

/* Closes the duplicate, or leaves that to the last descriptor_end(). */
void descriptor_detach(struct region *region);

/* Duplicates it into `owned`, which must not be open. NULL, or with errno the name of what failed, "descriptor" where
 * there is none. */
const char *region_duplicate(struct region *region, struct owned *owned);

/* The byte that stands for an owner id, counted from here: past every byte that a file can have. */
#define LIVENESS (INT64_C(1) << 62)

/* Opens the file afresh, draws an owner id and locks the byte that stands for it, unless that has been done. NULL, or
 * with errno the name of what failed: "open", "fcntl" (EAGAIN: every byte that was tried is locked by others), or
 * "descriptor" where there is none to open through, and where the region is not live. */
const char *liveness_open(struct region *region);

/* Closes it, and gives the owner id up: what the region holds counts as held by a dead owner from here on. Only where no
 * access of this process can reach the file any more: see region_disown(). */
void liveness_close(struct region *region);

/* Whether some region, in any process, lives as the owner `id`; -1 with errno where the file cannot be asked, EBADF as
 * above. */
int liveness_of(struct region *region, uint32_t id);

/* How many of the process's descriptors the regions hold. */
int open_descriptors(void);

#endif
