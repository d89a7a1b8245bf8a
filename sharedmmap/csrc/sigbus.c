#include "sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_REPEATS = 1 << 14, VISITS = 64 };

/* Everything but sigbus_install() runs in a signal handler. */

static sigbus_mend *mend_fault;                    /* set before the handler is in front, never changed */
static _Atomic(const struct sigaction *) previous; /* what to hand on to; never freed, never changed */
static struct {
    _Atomic uintptr_t thread, frame; /* that is inside `previous` now, and where on its stack it left us */
} visits[VISITS];                    /* by a hash of the thread: one that takes another's place only hides it */
static _Atomic uintptr_t last_foreign;             /* the address of the last fault that was not ours */
static _Atomic int repeats;

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

/* A handler that returns without mending the fault would be called for ever. Python's own is of that kind. */
static bool goes_in_circles(uintptr_t address)
{
    if (atomic_exchange(&last_foreign, address) == address)
        return atomic_fetch_add(&repeats, 1) >= MOST_REPEATS;
    atomic_store(&repeats, 0);
    return false;
}

static void hand_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *next = atomic_load(&previous);
    const bool fault = info->si_code > 0;
    const uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    uintptr_t self = (uintptr_t)pthread_self();
    const size_t place = (size_t)(self * UINT64_C(0x9e3779b97f4a7c15) >> 58); /* the top bits: below VISITS */

    /* The one we handed on to has led back to us: handlers that keep each other as their previous. (One that
     * left by siglongjmp() did not: there the stack is unwound.) */
    if (atomic_load(&visits[place].thread) == self && frame < atomic_load(&visits[place].frame)) {
        die(fault);
        return;
    }
    if (!(next->sa_flags & SA_SIGINFO) && next->sa_handler == SIG_IGN && !fault)
        return;
    if (!(next->sa_flags & SA_SIGINFO) && (next->sa_handler == SIG_DFL || next->sa_handler == SIG_IGN)) {
        die(fault);
        return;
    }
    atomic_store(&visits[place].frame, frame);
    atomic_store(&visits[place].thread, self);
    if (next->sa_flags & SA_SIGINFO)
        next->sa_sigaction(number, info, context);
    else
        next->sa_handler(number);
    atomic_compare_exchange_strong(&visits[place].thread, &self, 0);
    if (fault && goes_in_circles((uintptr_t)info->si_addr))
        die(fault);
}

/* The address of the last fault of this thread that ended in a signal, or 0. */
static uintptr_t last_fault(const ucontext_t *context)
{
#if defined(__linux__) && defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_CR2];
#elif defined(__linux__) && defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.fault_address;
#elif defined(__APPLE__) && defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext->__es.__faultvaddr;
#elif defined(__APPLE__) && defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext->__es.__far;
#else
    (void)context;
    return 0;
#endif
}

/* Sent, it is no fault. But a handler put in front of ours that steps aside and raises the signal anew
 * (faulthandler does so) hides a fault of ours. */
static bool raised_anew(const siginfo_t *info)
{
#ifdef SI_TKILL
    return info->si_code == SI_TKILL && info->si_pid == getpid();
#else
    return info->si_code <= 0;
#endif
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    const int saved = errno;
    const bool certain = info->si_code > 0;
    if (!(certain ? mend_fault((uintptr_t)info->si_addr, true)
                  : raised_anew(info) && mend_fault(last_fault(context), false)))
        hand_on(number, info, context);
    errno = saved;
}

bool sigbus_install(sigbus_mend *mend)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) != 0)
        return false;
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_sigbus)
        return true;

    struct sigaction *saved = malloc(sizeof *saved);
    if (saved == NULL)
        return false;
    *saved = current;
    atomic_store(&previous, saved); /* the old one may be in use by a handler under way: it is never freed */
    mend_fault = mend;

    /* NODEFER: a handler that we hand on to may end the process by raising SIGBUS again. */
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    ours.sa_sigaction = on_sigbus;
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL) == 0;
}
