/* The process-wide handler of SIGBUS. */
#ifndef SHAREDMMAP_SIGBUS_H
#define SHAREDMMAP_SIGBUS_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the access to `address` possible, if it is in one of our regions, and returns whether it is. If not
 * `certain`, the address is that of a fault which may have been mended already. Runs in the handler, in the thread
 * that faulted. */
typedef bool sigbus_mend(uintptr_t address, bool certain);

/* Puts the handler in front, unless it is there. Signals that are not ours are forwarded to the handler that was in
 * front until now. False with errno if it fails. One call at a time, always with the same function. */
bool sigbus_install(sigbus_mend *mend);

#endif
