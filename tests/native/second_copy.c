/* The handler of a second copy of this package in the process; it counts what it allocates. */
#include <stdlib.h>

int allocations_of_second_copy;

static void *count_and_allocate(size_t size)
{
    allocations_of_second_copy++;
    return malloc(size);
}

#define sigbus_install second_copy_install
#define malloc count_and_allocate
#include "sigbus.c"
