/* A thread that is busy for a share of its time. What it owes grows with the time; it works that
 * off in short turns and rests between them. Under contention it falls behind: of that only
 * CATCH_UP_S is made up for, since a program that wants half a core does not want a whole one
 * afterwards. */
#include <math.h>
#include <time.h>

#include "base/process.h"
#include "machine/load_internal.h"

#define TURN_S 0.02 /* a few slices of the scheduler */
#define CATCH_UP_S 0.1
#define N_STEPS 20000 /* between two looks at the clock: some 20 us of arithmetic */
#define REST_SLICE_S 0.02

void snug__load_rest(const atomic_bool *stop, double s)
{
    const double end_s = snug_clock_s() + s;
    for (double left_s = s; left_s > 0 && !atomic_load(stop); left_s = end_s - snug_clock_s())
        snug_sleep_s(left_s < REST_SLICE_S ? left_s : REST_SLICE_S);
}

static double thread_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Multiplications that wait for one another: nothing of it can be left out or foreseen. */
static uint64_t work(uint64_t sum)
{
    for (int i = 0; i < N_STEPS; i++)
        sum = sum * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return sum;
}

void *snug__load_spin_run(void *data)
{
    struct snug__load_spin *spin = data;
    double owed_s = 0, last_s = snug_clock_s();
    uint64_t sum = 1;
    while (!atomic_load(spin->stop)) {
        const double share = atomic_load(&spin->share);
        const double begin_s = snug_clock_s(), cpu_begin_s = thread_cpu_s();
        owed_s = fmin(owed_s + share * (begin_s - last_s), share * CATCH_UP_S);
        last_s = begin_s;
        double cpu_s = cpu_begin_s, now_s = begin_s;
        while ((share >= 1 || cpu_s - cpu_begin_s < owed_s) && now_s - begin_s < TURN_S) {
            sum = work(sum);
            cpu_s = thread_cpu_s();
            now_s = snug_clock_s();
        }
        owed_s -= cpu_s - cpu_begin_s;
        atomic_store(&spin->cpu_s, cpu_s);
        if (share < 1 && owed_s <= 0)
            snug__load_rest(spin->stop, TURN_S);
    }
    spin->sum = sum;
    return NULL;
}
