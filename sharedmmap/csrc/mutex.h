/* A mutex in 4 aligned bytes of a region, for the threads and processes that map the file, which survives the death of
 * its owner.
 *
 *  1. The word is 0, or the owner id of the region that holds the mutex, and the bit WAITERS where somebody may be
 *     asleep. To take it is a compare-exchange of 0, to release it one to 0; then one sleeper is woken if WAITERS was
 *     set.
 *  2. A waiter spins for a while, and sets WAITERS before it sleeps on the word (waiting.h). Who takes the word
 *     after it has slept keeps the bit: others may be asleep yet. A waiter that gives up leaves it set in a word that
 *     is held, so a wake-up that it has used is not lost: the next release wakes another.
 *  3. An owner id is drawn at random for a region with its first mutex, and is alive while the byte at LIVENESS + id of
 *     the file is locked by an open file description that the region has for this purpose alone (descriptor.h). The
 *     kernel drops the lock however the process ends. It is given up when the region is unmapped, when a fault of it is
 *     noticed, and when another takes its place: what it holds then, it can never release. That is so in a child of
 *     fork(2) too, which draws an id of its own. Two regions that draw the same id do so one after the other, and with
 *     a probability of 2^-31; the first one's death goes unnoticed then.
 *  4. A waiter that has waited for a while asks whether the owner in the word lives. If not, and if the word is the
 *     same after asking, the owner died with the mutex held. The word may then be taken over, by a compare-exchange
 *     of exactly that word, so by one waiter alone.
 *  5. Who takes the word notes in struct mutex which call of Mutex.acquire() that is, and what the word was. Both are
 *     one step for signal handlers. Where one raises before the call has returned, mutex_undo() finds that the call
 *     holds the mutex, and puts the word back: a dead owner's word where what that one left half done is not mended.
 *
 * Rejected: pthread_mutexattr_setrobust(3). It keeps pointers in the shared memory, which another process could make
 * ours follow.
 *
 * SAFETY, of all that follows: in bounds, as word_to_write() said just before; alive, since who has the mutex has a
 * reference to its region. */
#ifndef SHAREDMMAP_MUTEX_H
#define SHAREDMMAP_MUTEX_H

#include "word.h"

#define WAITERS UINT32_C(0x80000000) /* the bit that is none of OWNER */

struct mutex {
    struct word *word;
    _Atomic uint32_t found;   /* what stood in the word when it was taken: 0, or a dead owner's and not mended yet */
    _Atomic int64_t call;     /* the number of the call that took it last, which is unique among those of a thread */
    _Atomic uintptr_t thread; /* and its thread */
};

/* Results of the calls below. Those of mutex_wait() are negative: it may return a word as well. */
enum { RELEASED, NOT_HELD, TAKEN = -2 };

/* The address of the word, or NULL where it is not accessible; and the owner id that takes it. 0 there: none is drawn
 * yet, or it has been given up. */
static inline _Atomic uint32_t *mutex_word(struct mutex *mutex, uint32_t *owner)
{
    *owner = atomic_load_explicit(&mutex->word->region->owner, memory_order_relaxed);
    return (void *)word_to_write(mutex->word, sizeof(uint32_t));
}

/* Replaces `seen` by `desired` and notes that; whether that was done, and has reached the file. */
static inline bool mutex_exchange(struct mutex *mutex, _Atomic uint32_t *at, uint32_t seen, uint32_t desired, int64_t call)
{
    const uint32_t found = seen & OWNER ? seen : 0;
    if (!atomic_compare_exchange_strong(at, &seen, desired))
        return false;
    atomic_store_explicit(&mutex->found, found, memory_order_relaxed);
    atomic_store_explicit(&mutex->thread, (uintptr_t)pthread_self(), memory_order_relaxed);
    atomic_store_explicit(&mutex->call, call, memory_order_relaxed);
    return mark_dirty_and_check(mutex->word->region);
}

/* Takes the mutex if it is free and nobody waits for it; whether that was done. */
static inline bool mutex_take(struct mutex *mutex, int64_t call)
{
    uint32_t owner;
    _Atomic uint32_t *at = mutex_word(mutex, &owner);
    return owner != 0 && at != NULL && mutex_exchange(mutex, at, 0, owner, call);
}

/* Takes the mutex over from the dead owner in `seen`; whether that was done. */
static inline bool mutex_take_over(struct mutex *mutex, int64_t call, uint32_t seen)
{
    uint32_t owner;
    _Atomic uint32_t *at = mutex_word(mutex, &owner);
    return owner != 0 && at != NULL && mutex_exchange(mutex, at, seen, owner | WAITERS, call);
}

/* Replaces the word of a mutex that the region holds. RELEASED, NOT_HELD or NOT_ACCESSIBLE. */
static inline int mutex_leave(struct mutex *mutex, uint32_t desired)
{
    uint32_t owner;
    _Atomic uint32_t *at = mutex_word(mutex, &owner);
    if (at == NULL)
        return NOT_ACCESSIBLE;
    uint32_t seen = owner;
    do {
        if (owner == 0 || (seen & OWNER) != owner)
            return is_live(mutex->word->region) ? NOT_HELD : NOT_ACCESSIBLE;
    } while (!atomic_compare_exchange_strong(at, &seen, desired));
    if (seen & WAITERS && desired == 0)
        futex_wake(at, 1);
    return mark_dirty_and_check(mutex->word->region) ? RELEASED : NOT_ACCESSIBLE;
}

static inline int mutex_release(struct mutex *mutex) { return mutex_leave(mutex, 0); }

/* Undoes what this call of this thread has taken, if it has. */
static inline void mutex_undo(struct mutex *mutex, int64_t call)
{
    if (atomic_load(&mutex->call) != call || atomic_load(&mutex->thread) != (uintptr_t)pthread_self())
        return;
    const uint32_t found = atomic_load(&mutex->found);
    atomic_store(&mutex->call, 0);
    mutex_leave(mutex, found == 0 ? 0 : found | WAITERS);
}

/* Waits until the mutex is free, and takes it: TAKEN. NOT_ACCESSIBLE where the word is not accessible, or there is no owner
 * id. Else the word as last seen, held: when `nanoseconds` have passed, or a signal handler has to run. */
int64_t mutex_wait(struct mutex *mutex, int64_t call, int64_t nanoseconds);

#endif
