/* Perplexity and divergence from sums over positions.
 *
 * Means have the standard error of independent positions, sqrt(var / (n - 1)), as llama-perplexity
 * states it; neighbours in a text are not quite independent, so it is a little small. */
#include "engine/eval_stats.h"

#include <math.h>
#include <stdlib.h>

int32_t snug__log_softmax(const float *logits, int32_t n, float *out_log_p)
{
    int32_t top = 0;
    for (int32_t i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    const float max = logits[top];
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)expf(logits[i] - max);
    const float shift = max + (float)log(sum);
    for (int32_t i = 0; i < n; i++)
        out_log_p[i] = logits[i] - shift;
    return top;
}

void snug__position_score(const float *log_p, int32_t top, const float *reference, int32_t n,
                          int32_t token, struct snug__position *out)
{
    *out = (struct snug__position){.nll = -(double)log_p[token], .kld = NAN};
    if (!reference)
        return;
    int32_t reference_top = 0;
    double kld = 0.0;
    const float low = -16.0f; /* e^-16: what lies below adds nothing that is seen */
    for (int32_t i = 0; i < n; i++) {
        reference_top = reference[i] > reference[reference_top] ? i : reference_top;
        if (reference[i] > low)
            kld += (double)(expf(reference[i]) * (reference[i] - log_p[i]));
    }
    out->kld = kld;
    out->dp = exp((double)log_p[token]) - exp((double)reference[token]);
    out->same_top = top == reference_top;
}

void snug__sums_add(struct snug__sums *s, const struct snug__position *p)
{
    s->n += 1.0;
    s->nll += p->nll;
    s->nll2 += p->nll * p->nll;
    if (!s->has_reference)
        return;
    s->kld += p->kld;
    s->kld2 += p->kld * p->kld;
    s->dp2 += p->dp * p->dp;
    s->dp4 += p->dp * p->dp * p->dp * p->dp;
    s->n_same += p->same_top;
}

static struct snug_estimate mean_of(double sum, double sum2, double n)
{
    const double mean = sum / n, variance = sum2 / n - mean * mean;
    return (struct snug_estimate){mean, n > 1.0 ? sqrt(fmax(variance, 0.0) / (n - 1.0)) : NAN};
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const float *sorted, size_t n, double q)
{
    const double at = q * (double)(n - 1);
    const size_t i = (size_t)at;
    const double rest = at - (double)i;
    return i + 1 < n ? (double)sorted[i] * (1.0 - rest) + (double)sorted[i + 1] * rest
                     : (double)sorted[i];
}

static void finish_reference(const struct snug__sums *s, float *klds, struct snug_quality *out)
{
    const size_t n = (size_t)s->n;
    out->kld_mean = mean_of(s->kld, s->kld2, s->n);
    qsort(klds, n, sizeof *klds, compare_floats);
    out->kld_median = quantile(klds, n, 0.5);
    out->kld_p99 = quantile(klds, n, 0.99);
    out->kld_max = (double)klds[n - 1];
    const double same = s->n_same / s->n;
    out->same_top_frac =
        (struct snug_estimate){same, s->n > 1.0 ? sqrt(same * (1.0 - same) / (s->n - 1.0)) : NAN};
    /* Of a square root: half the relative error of the mean square. */
    const struct snug_estimate square = mean_of(s->dp2, s->dp4, s->n);
    const double rms = sqrt(square.value);
    out->dp_rms_frac = (struct snug_estimate){rms, rms > 0.0 ? square.se / (2.0 * rms) : 0.0};
}

void snug__sums_finish(const struct snug__sums *s, float *klds, struct snug_quality *out)
{
    out->n_tokens = (int64_t)s->n;
    if (s->n < 1.0)
        return;
    out->nll = mean_of(s->nll, s->nll2, s->n);
    const double ppl = exp(out->nll.value);
    out->perplexity = (struct snug_estimate){ppl, ppl * out->nll.se};
    if (s->n_bytes > 0.0) {
        const double per_byte = s->n / (s->n_bytes * log(2.0));
        out->bits_per_byte =
            (struct snug_estimate){out->nll.value * per_byte, out->nll.se * per_byte};
    }
    if (s->has_reference)
        finish_reference(s, klds, out);
}
