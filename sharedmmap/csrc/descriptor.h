/* A region's own duplicate of the caller's file descriptor.
 *
 * Any call may be using it while another thread unmaps, and another may fork. So:
 *  1. Each call that uses it, or holds one of the region's locks, stands between descriptor_begin() and
 *     descriptor_end(), which count such calls. The regions where the count is not 0 form a list.
 *  2. descriptor_detach() closes it, or where the count is not 0 leaves that to the last descriptor_end(). So it is
 *     closed exactly once.
 *  3. A child of fork(2) has none of the threads that were counted. It walks the list, which is as long as calls were
 *     under way, and puts each region right.
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

void descriptor_detach(struct region *region);

/* Duplicates it into `owned`, which must not be open. NULL, or with errno the name of what failed, "descriptor" where
 * there is none. */
const char *region_duplicate(struct region *region, struct owned *owned);

/* How many of the process's descriptors the regions hold. */
int open_descriptors(void);

#endif
