/* The handler of SIGBUS for the whole process, and what it does with a signal that is not ours. */
#ifndef SHAREDMMAP_SIGBUS_H
#define SHAREDMMAP_SIGBUS_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the access to `address` possible, if it is ours, and says whether it is. Not `certain`: a fault that
 * was there lately, and perhaps has been mended since. Runs in the handler, in the thread that faulted. */
typedef bool sigbus_mend(uintptr_t address, bool certain);

/* Puts the handler in front, unless it is there; what is there now gets the signals that are not ours. False
 * with errno if it cannot be. One call at a time, always with the same function. */
bool sigbus_install(sigbus_mend *mend);

#endif
