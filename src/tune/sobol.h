/* Sobol points with Owen's nested scramble: even coverage of a cube from any prefix. */
#ifndef SNUG_TUNE_SOBOL_H
#define SNUG_TUNE_SOBOL_H

#include "snug/base.h"

#define SNUG_SOBOL_DIMS_MAX 32
#define SNUG_SOBOL_BITS 32

struct snug_sobol {
    int n_dims;
    uint64_t seed;
    uint32_t direction[SNUG_SOBOL_DIMS_MAX][SNUG_SOBOL_BITS]; /* column k of dimension d */
};

/* n_dims in 0..SNUG_SOBOL_DIMS_MAX. */
void snug_sobol_init(struct snug_sobol *sobol, int n_dims, uint64_t seed);
/* Coordinate `dim` of point `index` as a 32-bit fraction, before scrambling. */
uint32_t snug_sobol_bits(const struct snug_sobol *sobol, int dim, uint32_t index);
/* Point `index` of the scrambled sequence, n_dims numbers in [0, 1). Any index, any order. */
void snug_sobol_point(const struct snug_sobol *sobol, uint32_t index, double *out);

#endif
