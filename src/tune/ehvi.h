/* Expected hypervolume improvement of one candidate: of normal log speed at known bytes, or of one
 * to three gains (snug/goal.h) of which each is normal or known. */
#ifndef SNUG_TUNE_EHVI_H
#define SNUG_TUNE_EHVI_H

#include "snug/base.h"

/* A front as steps: member k has bytes_frac[k] (bytes / bytes_ref, ascending, < 1) and
 * log_speed[k] (ascending, > log_ref). Arrays are borrowed. */
struct snug_ehvi_front {
    const double *bytes_frac, *log_speed;
    size_t n;
    double log_ref;
};

/* E[(Y - floor)+] for Y normal. */
double snug_ehvi_expected_excess(double mean, double sd, double floor);
/* Area the front dominates. */
double snug_ehvi_area(const struct snug_ehvi_front *front);
/* Exact expectation of the area gained. sd = 0 is allowed; bytes_frac >= 1 gives 0. O(n). */
double snug_ehvi(const struct snug_ehvi_front *front, double mean, double sd, double bytes_frac);

/* ---- one to three gains ---- */

#define SNUG_EHVI_DIMS 3

struct snug__ehvi_box;

/* What a front of gains leaves open, in disjoint boxes. */
struct snug_ehvi_boxes {
    double (*gain)[SNUG_EHVI_DIMS]; /* members that count, [n] */
    size_t n;
    struct snug__ehvi_box *box; /* [n_boxes], at most 2 n + 1 */
    size_t n_boxes;
    double volume; /* between the front and 0 */
};

/* Points that are not above 0 in every gain count for nothing, dominated ones too. A front of fewer
 * dimensions has 1 in those it lacks. O(n^2) at worst. Errors  SNUG_NO_MEMORY */
snug_status snug_ehvi_boxes_init(struct snug_ehvi_boxes *out, const double (*gain)[SNUG_EHVI_DIMS],
                                 size_t n, struct snug_error *err) SNUG_CHECKED;
void snug_ehvi_boxes_clear(struct snug_ehvi_boxes *boxes);
/* Exact expectation of the volume gained by a point of independent normal gains; sd = 0: known.
 * O(n) */
double snug_ehvi_boxes_gain(const struct snug_ehvi_boxes *boxes, const double mean[SNUG_EHVI_DIMS],
                            const double sd[SNUG_EHVI_DIMS]);

#endif
