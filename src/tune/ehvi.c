/* Exact expected hypervolume improvement when one objective is known.
 *
 * Cut the bytes axis at the front's members. Over the strip between two members the best known log
 * speed is constant, `floor`. A candidate at bytes m with log speed y adds, on every strip to the
 * right of m, width * max(0, y - floor). Expectation is linear, so
 *   EHVI = sum over strips of width(max(left, m), right) * E[(Y - floor)+]
 * The general two-objective form is Yang, Emmerich, Deutz, Baeck (2019), arXiv 1904.12672; here the
 * factor of the second objective has sd 0 and becomes the width. */
#include "tune/ehvi.h"

#include <math.h>

#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794

double snug_ehvi_expected_excess(double mean, double sd, double floor)
{
    double gap = mean - floor;
    if (!(sd > 0) || gap > 9 * sd)
        return fmax(gap, 0);
    if (gap < -9 * sd) /* below 1e-20 sd, and the sum would cancel */
        return 0;
    double z = gap / sd;
    double excess = gap * 0.5 * erfc(-z * SQRT_HALF) + sd * INV_SQRT_2PI * exp(-0.5 * z * z);
    return fmax(excess, 0);
}

double snug_ehvi_area(const struct snug_ehvi_front *front)
{
    double area = 0;
    for (size_t k = 0; k < front->n; k++) {
        double right = k + 1 < front->n ? front->bytes_frac[k + 1] : 1;
        area += (right - front->bytes_frac[k]) * (front->log_speed[k] - front->log_ref);
    }
    return area;
}

double snug_ehvi(const struct snug_ehvi_front *front, double mean, double sd, double bytes_frac)
{
    double gain = 0, right = 1;
    /* From the right: strip k lies between member k - 1 and member k. */
    for (size_t k = front->n + 1; k-- > 0 && right > bytes_frac;) {
        double left = k ? front->bytes_frac[k - 1] : bytes_frac;
        double floor = k ? front->log_speed[k - 1] : front->log_ref;
        gain += (right - fmax(left, bytes_frac)) * snug_ehvi_expected_excess(mean, sd, floor);
        right = left;
    }
    return gain;
}
