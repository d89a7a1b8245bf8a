/* Makes system calls and allocations of one loaded module fail: its entries in the global offset table are led
 * here, so nobody else's calls are touched and none of its own escape. Runs in a signal handler as well. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FUNCTIONS(DO)                                                                                      \
    DO(mmap, -1) DO(munmap, -1) DO(msync, -1) DO(madvise, -1) DO(mlock, -1) DO(munlock, -1) DO(mincore, -1) \
    DO(fstat, -1) DO(statx, -1) DO(fstatvfs, -1) DO(fcntl, -1) DO(close, -1) DO(fallocate, -1) DO(sigaction, -1) DO(syscall, -1)           \
    DO(malloc, 0) DO(calloc, 0)

/* Integers and pointers all go in registers of the same kind; what a function does not take it ignores. */
typedef long function(long, long, long, long, long, long, long);

struct call {
    const char *name;
    long failure;               /* what it returns when it fails */
    function *real;
    _Atomic long made;          /* since it was armed */
    _Atomic long first, last;   /* those that fail */
    _Atomic int error;
    _Atomic int held;           /* ARMED: the next one waits; WAITS: it does, until this is something else */
};
enum { ARMED = 1, WAITS, ARMED_AFTER, UNDER_WAY }; /* ARMED_AFTER: it is made, UNDER_WAY then, and waits afterwards */

#define INDEX(NAME, FAILURE) CALL_##NAME,
#define ENTRY(NAME, FAILURE) {.name = #NAME, .failure = FAILURE},
#define BY_NUMBER(DO) DO(mlock2, -1) DO(membarrier, -1) DO(futex, -1) DO(futex_waitv, -1) DO(pwritev2, -1) /* made through syscall(2) */
enum { FUNCTIONS(INDEX) BY_NUMBER(INDEX) CALLS };
static struct call calls[CALLS] = {FUNCTIONS(ENTRY) BY_NUMBER(ENTRY)};

static void wait(struct call *call)
{
    while (atomic_load(&call->held) == WAITS)
        sched_yield();
}

static long make(struct call *call, function *real, long a, long b, long c, long d, long e, long f, long g)
{
    const long number = atomic_fetch_add(&call->made, 1) + 1;
    int armed = ARMED, armed_after = ARMED_AFTER;
    if (atomic_compare_exchange_strong(&call->held, &armed, WAITS))
        wait(call);
    const int stays = atomic_compare_exchange_strong(&call->held, &armed_after, UNDER_WAY);
    const int fails = number >= atomic_load(&call->first) && number <= atomic_load(&call->last);
    long result = call->failure;
    if (!fails || call == &calls[CALL_close]) { /* a close(2) that fails has closed all the same */
        const long real_result = real(a, b, c, d, e, f, g);
        if (!fails)
            result = real_result;
    }
    if (fails)
        errno = atomic_load(&call->error);
    if (stays) {
        const int reason = errno;
        atomic_store(&call->held, WAITS);
        wait(call);
        errno = reason;
    }
    return result;
}

static struct call *meant(int function, long number)
{
    if (function != CALL_syscall)
        return &calls[function];
    switch (number) {
    case SYS_mlock2: return &calls[CALL_mlock2];
    case SYS_membarrier: return &calls[CALL_membarrier];
    case SYS_futex: return &calls[CALL_futex];
    case SYS_futex_waitv: return &calls[CALL_futex_waitv];
    case SYS_pwritev2: return &calls[CALL_pwritev2];
    default: return &calls[CALL_syscall];
    }
}

#define STAND_IN(NAME, FAILURE)                                                                            \
    static long injected_##NAME(long a, long b, long c, long d, long e, long f, long g)                    \
    {                                                                                                      \
        return make(meant(CALL_##NAME, a), calls[CALL_##NAME].real, a, b, c, d, e, f, g);                  \
    }
FUNCTIONS(STAND_IN)

#define ADDRESS(NAME, FAILURE) injected_##NAME,
static function *const stand_ins[] = {FUNCTIONS(ADDRESS)};

/* mmap64 and fstat64 are the same calls. */
static int is_called(const char *name, const struct call *call)
{
    const size_t length = strlen(call->name);
    return strncmp(name, call->name, length) == 0 && (name[length] == 0 || strcmp(name + length, "64") == 0);
}

static int redirect(ElfW(Addr) base, const ElfW(Rela) *entries, size_t size, const ElfW(Sym) *symbols,
                    const char *names)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int redirected = 0;
    for (size_t i = 0; i < size / sizeof *entries; i++) {
        const char *name = names + symbols[ELF64_R_SYM(entries[i].r_info)].st_name;
        void **slot = (void **)(base + entries[i].r_offset);
        for (size_t f = 0; f < sizeof stand_ins / sizeof *stand_ins; f++)
            if (is_called(name, &calls[f])) {
                calls[f].real = (function *)dlsym(RTLD_DEFAULT, name);
                mprotect((void *)((uintptr_t)slot & ~(page - 1)), page, PROT_READ | PROT_WRITE);
                *slot = (void *)stand_ins[f];
                redirected++;
            }
    }
    return redirected;
}

static int visit(struct dl_phdr_info *info, size_t size, void *module)
{
    (void)size;
    if (strcmp(info->dlpi_name, module) != 0)
        return 0;
    ElfW(Addr) found[DT_NUM] = {0};
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
            for (; entry->d_tag != DT_NULL; entry++)
                if (entry->d_tag < DT_NUM)
                    found[entry->d_tag] = entry->d_un.d_ptr;
        }
    const int tables[] = {DT_SYMTAB, DT_STRTAB, DT_JMPREL, DT_RELA};
    for (int i = 0; i < 4; i++)
        if (found[tables[i]] < info->dlpi_addr) /* musl leaves them relative to the module */
            found[tables[i]] += info->dlpi_addr;
    const void *symbols = (const void *)found[DT_SYMTAB];
    const char *names = (const char *)found[DT_STRTAB];
    return redirect(info->dlpi_addr, (const void *)found[DT_JMPREL], found[DT_PLTRELSZ], symbols, names) +
           redirect(info->dlpi_addr, (const void *)found[DT_RELA], found[DT_RELASZ], symbols, names);
}

/* How many entries of the module, given by its path, lead here now. */
int inject_into(char *module) { return dl_iterate_phdr(visit, module); }

static struct call *by_name(const char *name)
{
    for (int i = 0; i < CALLS; i++)
        if (strcmp(calls[i].name, name) == 0)
            return &calls[i];
    return NULL;
}

/* From now on the calls from the first-th to the last-th fail, and are counted anew. */
void inject(const char *name, long first, long last, int error)
{
    struct call *call = by_name(name);
    atomic_store(&call->first, first);
    atomic_store(&call->last, last);
    atomic_store(&call->error, error);
    atomic_store(&call->made, 0);
}

void hold(const char *name) { atomic_store(&by_name(name)->held, ARMED); }
void hold_after(const char *name) { atomic_store(&by_name(name)->held, ARMED_AFTER); }
int is_under_way(const char *name) { return atomic_load(&by_name(name)->held) == UNDER_WAY; }
int is_held(const char *name) { return atomic_load(&by_name(name)->held) == WAITS; }
void release(const char *name) { atomic_store(&by_name(name)->held, 0); }

long calls_made(const char *name) { return atomic_load(&by_name(name)->made); }
