/* Exact expected hypervolume improvement of one to three gains.
 *
 * Cut what the front leaves open into disjoint boxes. A point y gains, in the box from l to u,
 *   product over dims of max(0, min(y_d, u_d) - l_d)
 * and for independent gains its expectation is the product of
 *   E[(Y_d - l_d)+] - E[(Y_d - u_d)+]
 * each a closed form, for a known gain the plain difference.
 *
 * The cut: members in order of falling third gain. What the members so far leave open below is a
 * staircase in the first two gains: strips along the first, each open in the second from a floor
 * up. A member raises the floors of the strips left of it that lie below it; each such strip ends
 * as a box, which reaches up to where the strip began. One member ends any number of strips, but
 * makes at most two, so that there are at most 2 n + 1 boxes. The area that a member adds to the
 * staircase reaches down to 0: its sum over members is the volume.
 * Source: Yang, Emmerich, Deutz, Baeck (2019), arXiv 1904.12672, for the idea of 2 n + 1 boxes. */
#include "tune/ehvi.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bounds by their owner: 0 is the reference, k is member k - 1, n + 1 is no bound at all. */
struct snug__ehvi_box {
    size_t lo[SNUG_EHVI_DIMS], hi[SNUG_EHVI_DIMS];
};

struct strip {
    size_t left, floor, top; /* owners of its bounds; its right is the next strip's left */
};

struct sweep {
    struct snug_ehvi_boxes *boxes;
    struct strip *strips; /* by rising left, so by falling floor */
    size_t n_strips;
};

/* Third gain falling, then the others, so that equal inputs are cut alike. */
static int compare_members(const void *a, const void *b)
{
    const double *p = a, *q = b;
    for (int d = SNUG_EHVI_DIMS - 1; d >= 0; d--)
        if (p[d] > q[d] || p[d] < q[d])
            return p[d] > q[d] ? -1 : 1;
    return 0;
}

static double bound(const struct snug_ehvi_boxes *b, size_t owner, int dim)
{
    return owner == 0 ? 0 : owner > b->n ? (double)INFINITY : b->gain[owner - 1][dim];
}

static void end_strip(struct sweep *sweep, const struct strip *strip, size_t right, size_t bottom)
{
    struct snug_ehvi_boxes *b = sweep->boxes;
    if (!(bound(b, strip->top, 2) > bound(b, bottom, 2)))
        return; /* of no height: members of the same third gain */
    b->box[b->n_boxes++] =
        (struct snug__ehvi_box){{strip->left, strip->floor, bottom}, {right, b->n + 1, strip->top}};
}

static void add_member(struct sweep *sweep, size_t owner)
{
    struct snug_ehvi_boxes *b = sweep->boxes;
    struct strip *strips = sweep->strips;
    const double x = bound(b, owner, 0), y = bound(b, owner, 1);
    size_t i = 0;
    while (i < sweep->n_strips && !(bound(b, strips[i].floor, 1) < y))
        i++;
    size_t end = i; /* strips i..end-1 are raised, the last of them perhaps in part */
    double area = 0;
    for (; end < sweep->n_strips && bound(b, strips[end].left, 0) < x; end++) {
        const bool is_last = end + 1 == sweep->n_strips;
        const size_t next = is_last ? b->n + 1 : strips[end + 1].left;
        const size_t right = bound(b, next, 0) > x ? owner : next;
        area += (bound(b, right, 0) - bound(b, strips[end].left, 0)) *
                (y - bound(b, strips[end].floor, 1));
        end_strip(sweep, &strips[end], right, owner);
    }
    if (end == i)
        return; /* dominated */
    b->volume += area * bound(b, owner, 2);
    const size_t next = end < sweep->n_strips ? strips[end].left : b->n + 1;
    struct strip put[2] = {{strips[i].left, owner, owner}, strips[end - 1]};
    put[1].left = owner;
    const size_t n_put = bound(b, next, 0) > x ? 2 : 1;
    memmove(strips + i + n_put, strips + end, (sweep->n_strips - end) * sizeof *strips);
    memcpy(strips + i, put, n_put * sizeof *put);
    sweep->n_strips += n_put;
    sweep->n_strips -= end - i;
}

static void cut(struct sweep *sweep)
{
    struct snug_ehvi_boxes *b = sweep->boxes;
    sweep->strips[0] = (struct strip){0, 0, b->n + 1};
    sweep->n_strips = 1;
    for (size_t k = 0; k < b->n; k++)
        add_member(sweep, k + 1);
    for (size_t i = 0; i < sweep->n_strips; i++)
        end_strip(sweep, &sweep->strips[i],
                  i + 1 < sweep->n_strips ? sweep->strips[i + 1].left : b->n + 1, 0);
}

snug_status snug_ehvi_boxes_init(struct snug_ehvi_boxes *out, const double (*gain)[SNUG_EHVI_DIMS],
                                 size_t n, struct snug_error *err)
{
    struct snug_ehvi_boxes b = {.gain = calloc(n + 1, sizeof *b.gain),
                                .box = calloc(2 * n + 1, sizeof *b.box)};
    struct sweep sweep = {.boxes = &b, .strips = calloc(n + 2, sizeof *sweep.strips)};
    if (!b.gain || !b.box || !sweep.strips) {
        free(sweep.strips);
        snug_ehvi_boxes_clear(&b);
        return snug_fail(err, SNUG_NO_MEMORY, "front of %zu points", n);
    }
    for (size_t i = 0; i < n; i++)
        if (gain[i][0] > 0 && gain[i][1] > 0 && gain[i][2] > 0)
            memcpy(b.gain[b.n++], gain[i], sizeof gain[i]);
    if (b.n > 1)
        qsort(b.gain, b.n, sizeof *b.gain, compare_members);
    cut(&sweep);
    free(sweep.strips);
    *out = b;
    return SNUG_OK;
}

void snug_ehvi_boxes_clear(struct snug_ehvi_boxes *boxes)
{
    free(boxes->gain);
    free(boxes->box);
    *boxes = (struct snug_ehvi_boxes){.n = 0};
}

#define TABLE_MAX 512 /* members whose excesses are kept; beyond, they are computed again */

/* E[(Y_d - bound)+] */
static double excess(const struct snug_ehvi_boxes *b, size_t owner, int dim, const double *mean,
                     const double *sd)
{
    return owner > b->n ? 0 : snug_ehvi_expected_excess(mean[dim], sd[dim], bound(b, owner, dim));
}

double snug_ehvi_boxes_gain(const struct snug_ehvi_boxes *b, const double mean[SNUG_EHVI_DIMS],
                            const double sd[SNUG_EHVI_DIMS])
{
    double table[SNUG_EHVI_DIMS][TABLE_MAX + 2], sum = 0;
    const bool is_kept = b->n <= TABLE_MAX;
    for (int d = 0; d < SNUG_EHVI_DIMS; d++) {
        if (!(mean[d] > 0) && !(sd[d] > 0))
            return 0; /* also what has no value */
        for (size_t owner = 0; is_kept && owner <= b->n + 1; owner++)
            table[d][owner] = excess(b, owner, d, mean, sd);
    }
    for (size_t i = 0; i < b->n_boxes; i++) {
        const struct snug__ehvi_box *box = &b->box[i];
        double part = 1;
        for (int d = 0; d < SNUG_EHVI_DIMS; d++)
            part *= is_kept
                        ? table[d][box->lo[d]] - table[d][box->hi[d]]
                        : excess(b, box->lo[d], d, mean, sd) - excess(b, box->hi[d], d, mean, sd);
        sum += part;
    }
    return sum;
}
