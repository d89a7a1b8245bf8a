/* The process-wide handler of SIGBUS.
 *
 * 1. A SIGBUS is ours if its address is in one of our regions: `mend_fault` decides, and makes the access
 *    possible. A signal that was sent has no address. But a handler in front of ours may get a fault of ours and
 *    raise the signal again (faulthandler does). So for a signal that a thread of this process sent by raise(3)
 *    or tgkill(2), the address of the thread's last fault is used. That may be an old one, which was mended when
 *    it happened: each thread notes the last address that was mended for it. A signal with that address is ours
 *    only if the region is live. (So a signal that is sent may count as a fault, if the thread had a fault at an address
 *    that another region has now.) On macOS, where every signal has the address of the thread's last fault, also only
 *    if the page is missing.
 *
 * 2. Any other SIGBUS is forwarded to the handler that was in front when we put ours there, under the rules of
 *    the kernel: SA_RESETHAND, SA_NODEFER and sa_mask count. What the handler does is its own business. It may
 *    leave by siglongjmp(), mend the same page any number of times, or return without mending, so that the
 *    instruction faults again for ever (Python's handler does). SIG_DFL ends the process. SIG_IGN drops a signal
 *    that was sent; a fault ends the process nevertheless.
 *
 * 3. A handler that is put in front of ours has ours as its previous one. When we go in front of it again, the
 *    two must not call each other for ever. So each time we install another function, an entry, which has a
 *    previous handler of its own: the entries are separate links of the chain, as if they were of different
 *    libraries. A handler that removes itself by restoring an older entry, or restores it and raises the signal
 *    again, is then really out. Where the handler that we find in front is one that we have found there before, the
 *    entry that has it as its previous handler is installed again.
 *
 * 4. Cycles remain possible: a library installs one function again and again, or we run out of entries and use
 *    one again. They are recognised by the order of installation. Each entry leads to what was installed before
 *    it, so an entry that is reached from the same entry or from an older one closes a cycle. It forwards to the
 *    first handler, the one that was there before all entries. If that leads back to us too, again and again,
 *    SIG_DFL is next. Which entry a signal has passed is noted in the signal itself: in the padding of siginfo_t,
 *    which the kernel clears for each signal that it delivers. Each copy of this package in the process has a
 *    mark of its own there.
 *    Rejected: comparing stack frames (siglongjmp() leaves stale ones, alternate stacks repeat them).
 *    Rejected: counting faults at one address (a handler may mend a page any number of times).
 *
 * 5. While a handler without SA_NODEFER runs, SIGBUS is blocked, so a fault within it ends the process. We cannot
 *    block SIGBUS, as the handler may touch a region of ours. We change the signal mask by SIGSTKFLT, which nobody
 *    sends: a fault of the same thread under this very mask is one within the handler. A handler that leaves by
 *    siglongjmp() restores the mask.
 *
 * Everything but sigbus_install() runs in a signal handler. */
#include "sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_sigbus(unsigned entry, int number, siginfo_t *info, void *context);

#define ENTRY(n)                                                                                           \
    static void entry_##n(int number, siginfo_t *info, void *context) { on_sigbus(n, number, info, context); }
ENTRY(0)
ENTRY(1)
ENTRY(2)
ENTRY(3)
ENTRY(4)
ENTRY(5)
ENTRY(6)
ENTRY(7)
static void (*const entries[])(int, siginfo_t *, void *) = {entry_0, entry_1, entry_2, entry_3,
                                                            entry_4, entry_5, entry_6, entry_7};

enum {
    ENTRIES = sizeof entries / sizeof *entries,
    MARKS = 3,       /* copies of this package: siginfo_t ends with 80 bytes of padding (macOS: 48) */
    MOST_CYCLES = 8, /* of one signal before SIG_DFL gets it; two copies that call each other need one */
    THREADS = 256,   /* hashes of threads */
};

struct handler {
    struct sigaction action;
    atomic_bool spent; /* it had SA_RESETHAND and was called */
    struct handler *next;
};

struct mark {
    const void *copy;  /* the address of `previous` in the copy of this package that marked */
    uint32_t oldest;   /* entry that the signal has passed: its sequence number, or 0 after a cycle */
    uint32_t cycles;
};

static sigbus_mend *mend_fault;                     /* set before an entry is in front, never changed */
static _Atomic(struct handler *) previous[ENTRIES]; /* what they point to is never freed */
static _Atomic uint32_t sequence[ENTRIES];          /* of installations, the latest of each entry; from 1 */

/* Notes of threads: a value that is XORed with the thread, and lost where another one has the same hash.
 * Thread-local storage of a library is no way: it may be allocated when it is first used. */
typedef _Atomic uintptr_t thread_notes[THREADS];
static thread_notes mended_addresses;

static _Atomic uintptr_t *note_of_thread(thread_notes notes)
{
    return &notes[(uintptr_t)pthread_self() * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

/* ---- what the kernel tells ---- */

#ifdef __APPLE__
/* xnu gives every SIGBUS, sent or not, the code BUS_ADRALN and the address of the thread's last fault. So every
 * signal may be one that was sent: its end is not left to the instruction, which perhaps does not fault again. */
static bool is_fault(const siginfo_t *info) { return (void)info, false; }

static uintptr_t fault_address(const siginfo_t *info, const void *context)
{
    (void)context;
    return (uintptr_t)info->si_addr;
}

/* Of no use where a fault is not known as one. */
static void make_special(sigset_t *blocked) { (void)blocked; }
static void note_special_mask(const sigset_t *before, const sigset_t *blocked) { (void)before, (void)blocked; }
static bool has_special_mask(const void *context) { return (void)context, false; }
#else
static bool is_fault(const siginfo_t *info) { return info->si_code > 0 && info->si_code != BUS_MCEERR_AO; }

/* 0 where there is none. An unaligned access is the instruction's fault, not the page's. */
static uintptr_t fault_address(const siginfo_t *info, const void *context)
{
    if (info->si_code > 0)
        return info->si_code == BUS_ADRALN ? 0 : (uintptr_t)info->si_addr;
    if (info->si_code != SI_TKILL || info->si_pid != getpid())
        return 0;
    const mcontext_t *registers = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    return (uintptr_t)registers->gregs[REG_CR2];
#elif defined(__aarch64__)
    return (uintptr_t)registers->fault_address;
#else
    return (void)registers, 0;
#endif
}

static thread_notes special_masks;

/* The mask that tells that a handler runs (5): with SIGSTKFLT blocked, or with all blocked but that. */
static void make_special(sigset_t *blocked)
{
    if (sigismember(blocked, SIGSTKFLT) == 1)
        sigdelset(blocked, SIGSTKFLT);
    else
        sigaddset(blocked, SIGSTKFLT);
}

/* What the kernel stores of a set. */
static uint64_t bits(const sigset_t *set)
{
    uint64_t first;
    memcpy(&first, set, sizeof first);
    return first;
}

static void note_special_mask(const sigset_t *before, const sigset_t *blocked)
{
    const uint64_t now = bits(before) | bits(blocked);
    if (now != bits(before))
        atomic_store(note_of_thread(special_masks), (uintptr_t)pthread_self() ^ now);
}

static bool has_special_mask(const void *context)
{
    const uint64_t mask = bits(&((const ucontext_t *)context)->uc_sigmask);
    return atomic_load(note_of_thread(special_masks)) == ((uintptr_t)pthread_self() ^ mask);
}
#endif

/* Makes the access possible, if the address is ours (1). */
static bool mended(const siginfo_t *info, const void *context)
{
    const uintptr_t address = fault_address(info, context), note = (uintptr_t)pthread_self() ^ address;
    _Atomic uintptr_t *last = note_of_thread(mended_addresses);
    if (address == 0 || !mend_fault(address, is_fault(info) || atomic_load(last) != note))
        return false;
    atomic_store(last, note);
    return true;
}

/* ---- what is not ours ---- */

static void die(bool fault)
{
    sigset_t set;
    signal(SIGBUS, SIG_DFL);
    if (fault)
        return; /* the instruction runs again, and the kernel ends the process as it would have without us */
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(SIGBUS);
}

/* This copy's mark, or room for it, or NULL. */
static struct mark *mark_in(siginfo_t *info)
{
    struct mark *marks = (struct mark *)(info + 1) - MARKS;
    for (int i = 0; i < MARKS; i++)
        if (marks[i].copy == previous || marks[i].copy == NULL)
            return &marks[i];
    return NULL;
}

/* Calls a handler with the signals blocked that the kernel would block, but for SIGBUS. False if the kernel would
 * not call it, as the fault is within it. */
static bool call(const struct sigaction *action, int number, siginfo_t *info, void *context)
{
    const bool defers = !(action->sa_flags & SA_NODEFER);
    if (defers && is_fault(info) && has_special_mask(context))
        return false;
    sigset_t blocked = action->sa_mask, before;
    sigdelset(&blocked, SIGBUS);
    if (defers)
        make_special(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    if (defers)
        note_special_mask(&before, &blocked);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(number, info, context);
    else
        action->sa_handler(number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return true;
}

/* Notes that the signal passes this entry; returns the entry that forwards it (4). */
static unsigned pass(struct mark *mark, unsigned entry)
{
    const uint32_t installed = atomic_load(&sequence[entry]);
    if (mark == NULL)
        return 0; /* leads away from all cycles but one that the first handler closes */
    if (mark->copy == NULL) {
        *mark = (struct mark){previous, installed, 0};
        return entry;
    }
    if (installed < mark->oldest) {
        mark->oldest = installed;
        return entry;
    }
    mark->oldest = 0;
    mark->cycles++;
    return 0;
}

static void forward(unsigned entry, int number, siginfo_t *info, void *context)
{
    const bool fault = is_fault(info);
    struct mark *mark = mark_in(info), before = {NULL, 0, 0};
    if (mark != NULL)
        before = *mark;
    struct handler *next = atomic_load(&previous[pass(mark, entry)]);
    const struct sigaction *action = &next->action;
    const bool simple = !(action->sa_flags & SA_SIGINFO);

    bool done = false;
    if (simple && action->sa_handler == SIG_IGN)
        done = !fault;
    else if ((!simple || action->sa_handler != SIG_DFL) && (mark == NULL || mark->cycles <= MOST_CYCLES))
        done = !((action->sa_flags & SA_RESETHAND) && atomic_exchange(&next->spent, true)) &&
               call(action, number, info, context);
    if (!done)
        die(fault);
    if (mark != NULL)
        *mark = before;
}

static void on_sigbus(unsigned entry, int number, siginfo_t *info, void *context)
{
    const int saved = errno;
    if (!mended(info, context))
        forward(entry, number, info, context);
    errno = saved;
}

/* ---- installation ---- */

static bool is_entry(const struct sigaction *action)
{
    for (int i = 0; i < ENTRIES; i++)
        if ((action->sa_flags & SA_SIGINFO) && action->sa_sigaction == entries[i])
            return true;
    return false;
}

static bool is_same(const struct sigaction *one, const struct sigaction *other)
{
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&one->sa_mask, number) != sigismember(&other->sa_mask, number))
            return false;
    return one->sa_handler == other->sa_handler && one->sa_flags == other->sa_flags;
}

/* The one record of this handler, made when it is seen first. */
static struct handler *record(const struct sigaction *action)
{
    static struct handler *known;
    struct handler *handler = known;
    while (handler != NULL && !is_same(&handler->action, action))
        handler = handler->next;
    if (handler == NULL) {
        handler = malloc(sizeof *handler);
        if (handler == NULL)
            return NULL;
        handler->action = *action;
        handler->next = known;
        known = handler;
    }
    atomic_store(&handler->spent, false);
    return handler;
}

/* The entry that has this previous handler, else an unused one, else the one after the latest. Never the first
 * for another handler, and never the latest: what is in front now may have it as its previous handler. */
static int entry_before(const struct handler *handler)
{
    static int used, latest;
    int entry = 0;
    while (entry < used && atomic_load(&previous[entry]) != handler)
        entry++;
    if (entry == ENTRIES)
        entry = latest % (ENTRIES - 1) + 1;
    else if (entry == used)
        used++;
    return latest = entry;
}

bool sigbus_install(sigbus_mend *mend)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) != 0)
        return false;
    if (is_entry(&current))
        return true;

    struct handler *handler = record(&current);
    if (handler == NULL)
        return false;
    static uint32_t installations;
    const int entry = entry_before(handler);
    atomic_store(&previous[entry], handler);
    atomic_store(&sequence[entry], ++installations);
    mend_fault = mend;

    /* NODEFER: a handler that we forward to may end the process by raising SIGBUS again. */
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    ours.sa_sigaction = entries[entry];
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL) == 0;
}
