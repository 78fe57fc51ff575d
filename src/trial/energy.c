/* Joules per token: the energy of a phase's timed blocks less what idling would have taken. */
#include <math.h>

#include "snug/trial.h"

static double per_token(const struct snug_energy *e, double joules, double seconds, double n_tokens,
                        double *out_error)
{
    const bool is_known = e->is_known && n_tokens > 0.0;
    if (out_error)
        *out_error = is_known ? e->uncertainty_j / n_tokens : NAN;
    if (!is_known)
        return NAN;
    return (joules - (isfinite(e->idle_w) ? e->idle_w * seconds : 0.0)) / n_tokens;
}

double snug_measurement_prefill_j(const struct snug_measurement *m,
                                  const struct snug_workload *workload, double *out_error)
{
    const struct snug_energy *e = &m->conditions.energy;
    const double n = (double)(workload->n_prompt * workload->n_parallel * m->n_prefill_blocks);
    return per_token(e, e->prefill_j, e->prefill_s, n, out_error);
}

double snug_measurement_decode_j(const struct snug_measurement *m,
                                 const struct snug_workload *workload, double *out_error)
{
    const struct snug_energy *e = &m->conditions.energy;
    const double n = (double)(workload->n_gen * workload->n_parallel * m->n_decode_blocks);
    return per_token(e, e->decode_j, e->decode_s, n, out_error);
}
