/* Expected hypervolume improvement of one candidate: normal log speed, known bytes. */
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

#endif
