/* Threads that map, use, fault, refresh, flush and unmap the same files at once: stress FOLDER [MEMBARRIER]. They go on
 * until enough of everything has happened. MEMBARRIER: "refused" from the beginning, or "refused later".
 *
 * Each thread reads and writes bytes of its own, so what a file holds there is what this thread wrote last, or
 * zeros where the file was cut since. Files are cut and grown under a lock and counted in `cuts`: where that
 * did not move while a thread looked, what an operation says about an access must agree with the file. */
#include <stdbool.h>

/* Tells no value from a value of 0, as the quick module does with an exception. */
#define RAISES_NO_VALUE
static _Thread_local bool refused;
static inline int no_value(void)
{
    refused = true;
    return 0;
}

#include "descriptor.c" /* these two are looked into at the end */
#include "registry.c"

#include "native.h"
#include "overlay.h"
#include "refuse.h"

#include "bulk.h"
#include "scalar.h"
#include "word.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

DEFINE_INTEGER(uint64, uint64_t, 64)
DEFINE_WORD(uint64, uint64_t)

enum { THREADS = 4, FILES = 2, MAPPINGS = 6, PAGES = 4, SHARE = 512, MAPPED = 4 << 20 };

static int64_t page;
static struct file {
    int fd;
    pthread_mutex_t lock;
    _Atomic uint64_t cuts; /* odd while it is cut */
} files[FILES];

/* ---- mappings that are shared; the one who drops the last reference closes ---- */

struct mapping {
    struct region *region;
    struct file *file;
    _Atomic int references;
};

static struct mapping *mappings[MAPPINGS];
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint64_t made, verified, faulted;

static struct mapping *new_mapping(struct file *file)
{
    struct mapping *mapping = malloc(sizeof *mapping);
    check(mapping != NULL);
    mapping->region = map_region(file->fd, MAPPED);
    mapping->file = file;
    atomic_init(&mapping->references, 1);
    atomic_fetch_add(&made, 1);
    return mapping;
}

static struct mapping *take(unsigned place)
{
    pthread_mutex_lock(&table);
    struct mapping *mapping = mappings[place];
    atomic_fetch_add(&mapping->references, 1);
    pthread_mutex_unlock(&table);
    return mapping;
}

static void drop(struct mapping *mapping)
{
    if (atomic_fetch_sub(&mapping->references, 1) != 1)
        return;
    region_close(mapping->region);
    free(mapping);
}

static void swap_in(unsigned place, struct mapping *mapping)
{
    pthread_mutex_lock(&table);
    struct mapping *old = mappings[place];
    mappings[place] = mapping;
    pthread_mutex_unlock(&table);
    drop(old);
}

/* ---- the files ---- */

/* Never to less than a page, so a fault is never in the first. */
static void cut(struct file *file, uint64_t *state)
{
    pthread_mutex_lock(&file->lock);
    atomic_fetch_add(&file->cuts, 1);
    check(ftruncate(file->fd, page * (1 + below(state, PAGES))) == 0);
    if (below(state, 2))
        check(ftruncate(file->fd, page * PAGES) == 0);
    atomic_fetch_add(&file->cuts, 1);
    pthread_mutex_unlock(&file->lock);
}

/* Whether the file holds these bytes. Only where nobody cut it since `cuts` was read can that be said. */
static void holds_bytes(struct file *file, uint64_t cuts, int64_t offset, const void *bytes, size_t n)
{
    char found[SHARE];
    const ssize_t got = pread(file->fd, found, n, offset);
    if (cuts % 2 == 1 || atomic_load(&file->cuts) != cuts)
        return;
    check(got == (ssize_t)n && memcmp(found, bytes, n) == 0);
    atomic_fetch_add(&verified, 1);
}

/* ---- accesses: whatever was reported as done is in the file, and was ---- */

static void use_bytes(struct mapping *mapping, int64_t at, uint64_t *state)
{
    struct region *region = mapping->region;
    char bytes[SHARE];
    const int64_t skip = below(state, SHARE / 2), n = 1 + below(state, SHARE / 2);
    const int byte = 1 + (int)below(state, 255);
    const uint64_t cuts = atomic_load(&mapping->file->cuts);
    memset(bytes, byte, sizeof bytes);
    switch (below(state, 4)) {
    case 0:
        if (region_write(region, at + skip, bytes, n) != 0)
            return;
        break;
    case 1:
        if (region_fill(region, at + skip, byte, n) != 0)
            return;
        break;
    case 2: {
        const int64_t to = below(state, (unsigned)(SHARE - n));
        if (region_move(region, at + to, at + skip, n) != 0 || region_read(region, at, bytes, SHARE) != 0)
            return;
        holds_bytes(mapping->file, cuts, at, bytes, SHARE);
        return;
    }
    default:
        if (region_read(region, at + skip, bytes, n) != 0)
            return;
    }
    holds_bytes(mapping->file, cuts, at + skip, bytes, (size_t)n);
}

static void search(struct mapping *mapping, int64_t at, uint64_t *state)
{
    struct region *region = mapping->region;
    char bytes[SHARE];
    const char wanted[5] = "\1wor", byte = (char)(2 + below(state, 100));
    const int64_t where = below(state, SHARE - sizeof wanted);
    const uint64_t cuts = atomic_load(&mapping->file->cuts);
    memset(bytes, byte, sizeof bytes);
    memcpy(bytes + where, wanted, sizeof wanted);
    if (region_write(region, at, bytes, SHARE) != 0)
        return;
    const int64_t first = region_find(region, at, at + SHARE, wanted, sizeof wanted);
    const int64_t last = region_rfind(region, at, at + SHARE, wanted, sizeof wanted);
    if (atomic_load(&mapping->file->cuts) != cuts || cuts % 2 == 1)
        return;
    check(first == at + where || first == SEARCH_FAILED);
    check(last == at + where || last == SEARCH_FAILED);
}

static void use_words(struct mapping *mapping, int64_t at, uint64_t *state)
{
    struct region *region = mapping->region;
    struct word word = {.region = region, .offset = at};
    const int64_t off = at + 1 + below(state, 8);
    uint64_t value = 1 + below(state, 1 << 30), found;
    const uint64_t cuts = atomic_load(&mapping->file->cuts);
    refused = false;
    switch (below(state, 4)) {
    case 0:
        if (store_uint64(region, off, value) == 0)
            holds_bytes(mapping->file, cuts, off, &value, sizeof value);
        break;
    case 1:
        found = load_uint64(region, off);
        if (!refused)
            holds_bytes(mapping->file, cuts, off, &found, sizeof found);
        break;
    case 2:
        found = load_word_uint64(&word);
        if (!refused && compare_exchange_uint64(&word, found, value) == found && !refused)
            holds_bytes(mapping->file, cuts, at, &value, sizeof value);
        break;
    default:
        found = fetch_add_uint64(&word, value) + value;
        if (!refused)
            holds_bytes(mapping->file, cuts, at, &found, sizeof found);
    }
}

static void look_at(struct mapping *mapping)
{
    struct region *region = mapping->region;
    struct file_status status;
    struct stat now;
    const int64_t limit = region_refresh(region);
    check(limit == 0 || (limit >= page && limit <= page * PAGES));
    check(atomic_load(&region->peak) >= limit);
    descriptor_begin(region);
    if (descriptor_status(region, &status) == 0)
        check(fstat(region->fd, &now) == 0 && now.st_ino == region->inode);
    else
        check(errno == EBADF && atomic_load(&region->state) == UNMAPPED);
    descriptor_end(region);
    void *view = view_open(region, 0, true, SHARE);
    view_close(region, true, view);
    check(region_flush(region, region->base, MAPPED, MS_SYNC, true) != NOT_WRITTEN);
    const char *failed = region_reserve(region, PAGES * page);
    check(failed == NULL || (strcmp(failed, "descriptor") == 0 && atomic_load(&region->state) == UNMAPPED));
    if (atomic_load(&region->state) == FAULTED) {
        atomic_fetch_add(&faulted, 1);
        check(region_fault(region) >= page && region_fault(region) < page * PAGES);
    }
}

/* ---- the threads ---- */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
enum { WORD_PAGES = 1 }; /* never lost: its runtime makes the exchanges, under a lock its atomics need again */
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#else
enum { WORD_PAGES = PAGES };
#define AnnotateIgnoreReadsBegin(file, line)
#define AnnotateIgnoreReadsEnd(file, line)
#endif

/* To ThreadSanitizer an mmap() writes to all of its range, so laying zero pages races with every access that is
 * under way: that is the point of it. What else the threads share is atomic, and is looked at here too. */
static void access_memory(struct mapping *mapping, int64_t at, uint64_t *state)
{
    const unsigned what = below(state, 48);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    if (what < 6)
        search(mapping, at, state);
    else if (what < 26)
        use_bytes(mapping, at, state);
    else
        use_words(mapping, at % (WORD_PAGES * page), state);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

enum { MADE = 4000, VERIFIED = 20000, FAULTS = 1000 };

static bool was_enough(void)
{
    return atomic_load(&made) >= MADE && atomic_load(&verified) >= VERIFIED && atomic_load(&faulted) >= FAULTS;
}

static void *work(void *argument)
{
    const int64_t share = (int64_t)(uintptr_t)argument;
    uint64_t state = (uint64_t)share * 77 + 1;
    while (!was_enough())
        for (int i = 0; i < 100; i++) {
            const unsigned place = below(&state, MAPPINGS), what = below(&state, 64);
            struct mapping *mapping = take(place);
            const int64_t at = below(&state, PAGES) * page + share * SHARE;
            if (what < 2)
                region_unmap(mapping->region);
            else if (what < 6)
                swap_in(place, new_mapping(mapping->file));
            else if (what < 8)
                cut(mapping->file, &state);
            else if (what < 16)
                look_at(mapping);
            else
                access_memory(mapping, at, &state);
            drop(mapping);
        }
    return NULL;
}

/* ---- what is left at the end ---- */

/* Bytes of address space, where the system tells. */
static uint64_t mapped_by_process(void)
{
    unsigned long long pages = 0;
    FILE *status = fopen("/proc/self/statm", "r");
    if (status != NULL) {
        check(fscanf(status, "%llu", &pages) == 1);
        fclose(status);
    }
    return pages * (uint64_t)page;
}

static void registry_is_empty(void)
{
    int slots = 0, free_slots = 0;
    for (struct chunk *chunk = atomic_load(&chunks); chunk != NULL; chunk = atomic_load(&chunk->next))
        for (int i = 0; i < SLOTS; i++, slots++)
            check(atomic_load(&chunk->slots[i].generation) % 2 == 0 && chunk->slots[i].calls == 0);
    for (struct region *region = unused; region != NULL; region = region->next)
        free_slots++;
    check(listed == NULL);
    check(slots == SLOTS && free_slots == SLOTS); /* there were never more regions at once than fit into one chunk */
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    check(count == 2 || count == 3);
    const char *membarrier = count == 3 ? arguments[2] : "";
    alarm(300);
    if (strcmp(membarrier, "refused") == 0)
        refuse_membarrier();
    page = sysconf(_SC_PAGESIZE);
    for (int i = 0; i < FILES; i++) {
        files[i].fd = make_file(arguments[1], page * PAGES);
        check(pthread_mutex_init(&files[i].lock, NULL) == 0);
    }
    const int descriptors_before = descriptors_of_process();
    const uint64_t mapped_before = mapped_by_process();
    for (int i = 0; i < MAPPINGS; i++)
        mappings[i] = new_mapping(&files[i % FILES]);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
    if (strcmp(membarrier, "refused later") == 0) {
        while (atomic_load(&made) < MADE / 3)
            sched_yield();
        refuse_membarrier();
    }
    for (int i = 0; i < THREADS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < MAPPINGS; i++)
        drop(mappings[i]);

    check(live_state() == (memory_barrier_on_every_thread() ? LIVE : LIVE_FENCED));
    check(open_descriptors() == 0 && descriptors_of_process() == descriptors_before);
    check(mapped_by_process() < mapped_before + made * MAPPED / 2);
    registry_is_empty();
    return 0;
}
