/* Rounds of members of a front, and what they say of rivals: a t interval of the log ratio over the
 * rounds that have both. Few rounds are the rule, and there a bootstrap is too narrow. */
#include "tune/front_order.h"

#include <math.h>
#include <string.h>

#define ROUNDS_MIN 3    /* before an interval is believed */
#define SD_MIN 0.003    /* of log speed: two runs that agree better do so by chance */
#define EQUAL_LOG 0.01  /* rivals within 1 % may stand in either order: it makes no difference */
#define N_RESAMPLES 500 /* for the interval of one member */

/* 97.5 % quantile of Student's t at n - 1 degrees of freedom, n = 2 ..; the last for all more. */
static const double T_975[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262};

struct pair {
    int a, b;   /* a needs less memory */
    double gap; /* |log ratio| of what is known of them */
};

void snug__order_init(struct snug__order *order, const struct snug_point *points, int n)
{
    const int skipped = n > SNUG__ORDER_MEMBERS_MAX ? n - SNUG__ORDER_MEMBERS_MAX : 0;
    memset(order, 0, sizeof *order);
    order->n_members = n - skipped;
    memcpy(order->point, points + skipped, (size_t)order->n_members * sizeof *points);
}

void snug__order_add(struct snug__order *order, int member, double speed)
{
    if (order->n_rounds == 0 || fabs(order->speed[member][order->n_rounds - 1]) > 0) {
        if (order->n_rounds == SNUG__ORDER_ROUNDS_MAX)
            return;
        order->n_rounds++;
    }
    order->speed[member][order->n_rounds - 1] = speed > 0 ? speed : -1;
}

static bool has_failed(const struct snug__order *order, int member)
{
    bool is_any = false;
    for (int k = 0; k < order->n_rounds; k++)
        is_any |= order->speed[member][k] < 0;
    return is_any;
}

/* What a member is thought to do now; 0 once it failed. */
static double speed_now(const struct snug__order *order, int member)
{
    double speeds[SNUG__ORDER_ROUNDS_MAX];
    size_t n = 0;
    if (has_failed(order, member))
        return 0;
    for (int k = 0; k < order->n_rounds; k++)
        if (order->speed[member][k] > 0)
            speeds[n++] = order->speed[member][k];
    return n ? snug_stats_median(speeds, n) : order->point[member].speed;
}

/* The interval of log(b / a) over rounds with both excludes 0, or lies within EQUAL_LOG of it. */
static bool is_settled(const struct snug__order *order, int a, int b)
{
    double gaps[SNUG__ORDER_ROUNDS_MAX];
    size_t n = 0;
    for (int k = 0; k < order->n_rounds; k++)
        if (order->speed[a][k] > 0 && order->speed[b][k] > 0)
            gaps[n++] = log(order->speed[b][k] / order->speed[a][k]);
    if (n < ROUNDS_MIN)
        return false;
    const size_t last = sizeof T_975 / sizeof *T_975 - 1, at = n - 2 < last ? n - 2 : last;
    const double mean = snug_stats_mean(gaps, n);
    const double half = T_975[at] * fmax(snug_stats_sd(gaps, n), SD_MIN) / sqrt((double)n);
    return fabs(mean) > half || fabs(mean) + half < EQUAL_LOG;
}

/* Pairs of rivals whose order is open, the closest first. */
static int open_pairs(const struct snug__order *order, struct pair *out)
{
    int n = 0, rival = -1;
    double fastest = 0;
    for (int b = 0; b < order->n_members; b++) {
        const double speed = speed_now(order, b);
        if (!(speed > 0))
            continue;
        if (rival >= 0 && !is_settled(order, rival, b)) {
            const struct pair pair = {rival, b, fabs(log(speed / fastest))};
            int at = n++;
            for (; at > 0 && out[at - 1].gap > pair.gap; at--)
                out[at] = out[at - 1];
            out[at] = pair;
        }
        if (speed > fastest) {
            fastest = speed;
            rival = b;
        }
    }
    return n;
}

static void list(int member, int *members, int *n)
{
    for (int i = 0; i < *n; i++)
        if (members[i] == member)
            return;
    members[(*n)++] = member;
}

int snug__order_next(const struct snug__order *order, int *out_members)
{
    struct pair pairs[SNUG__ORDER_MEMBERS_MAX];
    const int n_pairs = order->n_rounds < SNUG__ORDER_ROUNDS_MAX ? open_pairs(order, pairs) : 0;
    int n = 0;
    for (int i = 0; i < n_pairs; i++) { /* who goes first changes from round to round */
        const bool is_odd = order->n_rounds % 2 == 1;
        list(is_odd ? pairs[i].b : pairs[i].a, out_members, &n);
        list(is_odd ? pairs[i].a : pairs[i].b, out_members, &n);
    }
    return n;
}

bool snug__order_is_known(const struct snug__order *order)
{
    struct pair pairs[SNUG__ORDER_MEMBERS_MAX];
    return open_pairs(order, pairs) == 0;
}

struct snug_interval snug__order_speed(const struct snug__order *order, int member, int *out_n)
{
    double speeds[SNUG__ORDER_ROUNDS_MAX];
    size_t n = 0;
    for (int k = 0; k < order->n_rounds; k++)
        if (order->speed[member][k] > 0)
            speeds[n++] = order->speed[member][k];
    const double now = speed_now(order, member);
    *out_n = (int)n;
    if (n < 2 || !(now > 0))
        return (struct snug_interval){now, now, now};
    return snug_stats_median_interval(speeds, n, 0.95, N_RESAMPLES, 1);
}
