/* fork(2) while other threads map and unmap: fork FOLDER. A child that finds the registry locked is killed. */
#include "native.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 2, FORKS = 200 };

static int file;
static _Atomic bool enough;

static void map_and_unmap(void)
{
    struct region *region = map_region(file, 1);
    check(region_unmap(region) == 0);
    region_close(region);
}

static void *map_until_enough(void *unused)
{
    while (!atomic_load(&enough))
        map_and_unmap();
    return unused;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    check(count == 2);
    file = make_file(arguments[1], 1);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, map_until_enough, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        const pid_t child = fork();
        check(child >= 0);
        if (child == 0) {
            alarm(10);
            map_and_unmap();
            _exit(0);
        }
        int status;
        check(waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&enough, true);
    for (int i = 0; i < THREADS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    return 0;
}
