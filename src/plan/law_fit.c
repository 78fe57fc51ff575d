/* Coefficients from timed trials. Both phases are linear in them, so each is one least squares fit
 * of relative errors under x >= 0; which figure of the law a column is, the table below says. */
#include "plan/law_fit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SWEEPS_MAX 20000
#define ROBUST_ROUNDS 4
static const double CONVERGED = 1e-10;
/* Pulls what the trials cannot tell apart to the smallest that fits; far below timing noise. */
static const double RIDGE = 1e-7;

/* A triangle of trials is far smaller than this; the arrays are static in size, not in place. */
struct normal {
    double g[SNUG__FIT_COLUMNS_MAX][SNUG__FIT_COLUMNS_MAX]; /* scaled A^T A */
    double h[SNUG__FIT_COLUMNS_MAX];                        /* scaled A^T 1 */
    double scale[SNUG__FIT_COLUMNS_MAX];
};

static double weight_of(const struct snug__fit *fit, int row)
{
    return fit->weight[row] > 0.0 ? fit->weight[row] : 1.0;
}

static void make_normal(const struct snug__fit *fit, struct normal *n)
{
    for (int j = 0; j < fit->n_columns; j++) {
        double sum = 0.0;
        for (int i = 0; i < fit->n_rows; i++)
            sum += weight_of(fit, i) * pow(fit->a[i][j] / fit->seconds[i], 2.0);
        n->scale[j] = sum > 0.0 ? 1.0 / sqrt(sum) : 0.0;
    }
    for (int j = 0; j < fit->n_columns; j++) {
        n->h[j] = 0.0;
        for (int i = 0; i < fit->n_rows; i++)
            n->h[j] += weight_of(fit, i) * fit->a[i][j] / fit->seconds[i] * n->scale[j];
        for (int k = 0; k < fit->n_columns; k++) {
            double dot = 0.0;
            for (int i = 0; i < fit->n_rows; i++)
                dot += weight_of(fit, i) * fit->a[i][j] * fit->a[i][k] /
                       (fit->seconds[i] * fit->seconds[i]);
            n->g[j][k] = dot * n->scale[j] * n->scale[k];
        }
    }
}

void snug__fit_solve(const struct snug__fit *fit, double *out_x)
{
    struct normal *n = calloc(1, sizeof *n);
    memset(out_x, 0, (size_t)fit->n_columns * sizeof *out_x);
    if (!n)
        return;
    make_normal(fit, n);
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        double moved = 0.0;
        for (int j = 0; j < fit->n_columns; j++) {
            if (n->scale[j] == 0.0)
                continue;
            double gradient = -n->h[j] + RIDGE * out_x[j];
            for (int k = 0; k < fit->n_columns; k++)
                gradient += n->g[j][k] * out_x[k];
            const double x = fmax(0.0, out_x[j] - gradient / (n->g[j][j] + RIDGE));
            moved = fmax(moved, fabs(x - out_x[j]));
            out_x[j] = x;
        }
        if (moved < CONVERGED)
            break;
    }
    for (int j = 0; j < fit->n_columns; j++)
        out_x[j] *= n->scale[j];
    free(n);
}

void snug__fit_solve_robust(struct snug__fit *fit, double *out_x)
{
    memset(fit->weight, 0, sizeof fit->weight);
    snug__fit_solve(fit, out_x);
    for (int round = 0; round < ROBUST_ROUNDS; round++) {
        for (int i = 0; i < fit->n_rows; i++) {
            double sum = 0.0;
            for (int j = 0; j < fit->n_columns; j++)
                sum += fit->a[i][j] * out_x[j];
            const double error = fabs(sum / fit->seconds[i] - 1.0);
            fit->weight[i] = error > SNUG__FIT_HUBER ? SNUG__FIT_HUBER / error : 1.0;
        }
        snug__fit_solve(fit, out_x);
    }
}

/* ---- columns ---- */

/* Decode: weights by type, then attention by type, then these. Prefill alike. */
enum { WEIGHTS = 0, ATTENTION = SNUG_MODEL_TYPES_MAX, REST = 2 * SNUG_MODEL_TYPES_MAX };
enum { DECODE_LAYER = REST, DECODE_STEP, DECODE_CACHE, DECODE_COLUMNS };
enum { PREFILL_LAYER_TOKEN = REST, PREFILL_ELEMENT, PREFILL_UBATCH, PREFILL_COLUMNS };

static bool add_row(struct snug__fit *fit, double seconds)
{
    if (!(seconds > 0.0) || !isfinite(seconds) || fit->n_rows == SNUG__FIT_ROWS_MAX)
        return false;
    fit->seconds[fit->n_rows++] = seconds;
    return true;
}

static void add_decode(struct snug__fit *fit, const struct snug__law_trial *trial, int t)
{
    const struct snug_law_load *load = &trial->load;
    if (!(trial->decode_tps > 0.0) || !add_row(fit, 1.0 / trial->decode_tps))
        return;
    double *row = fit->a[fit->n_rows - 1];
    const double cells = (double)trial->depth + (double)(trial->n_gen - 1) / 2.0;
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        row[WEIGHTS + y] = (double)load->weight_bytes[t][y];
    row[ATTENTION + load->type_k] += cells * snug__law_attention_step_flops(load, t) / 2.0;
    row[ATTENTION + load->type_v] += cells * snug__law_attention_step_flops(load, t) / 2.0;
    row[DECODE_LAYER] = (double)load->n_layer[t];
    row[DECODE_STEP] = 1.0;
    row[DECODE_CACHE] = cells * (double)load->cache_bytes_per_token[t];
}

/* A prompt of one ubatch; what decode's fit tells already (layer_s, the head) is taken off. */
static void add_prefill(struct snug__fit *fit, const struct snug__law_trial *trial, int t,
                        const struct snug_law *law)
{
    const struct snug_law_load *load = &trial->load;
    const struct snug_law_tier *tier = &law->tiers[t];
    if (!(trial->prefill_tps > 0.0) || trial->n_prompt < 1)
        return;
    const double n = (double)trial->n_prompt;
    double known = (double)load->n_layer[t] * tier->layer_s;
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        known += (double)load->once_bytes[t][y] * tier->decode_s_per_byte[y];
    if (!add_row(fit, n / trial->prefill_tps - known))
        return;
    double *row = fit->a[fit->n_rows - 1];
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        row[WEIGHTS + y] =
            2.0 * n * (double)(load->weight_elements[t][y] - load->once_elements[t][y]);
    const double cells = ((double)trial->depth + n / 2.0) * n * snug__law_attention_flops(load, t);
    row[ATTENTION + load->type_k] += cells / 2.0;
    row[ATTENTION + load->type_v] += cells / 2.0;
    row[PREFILL_LAYER_TOKEN] = n * (double)load->n_layer[t];
    row[PREFILL_ELEMENT] = n * (double)(load->n_layer[t] * load->n_embd);
    row[PREFILL_UBATCH] = 1.0;
}

/* A cache type that trials had but the fit found free: not to be filled from its relatives. */
static void mark_free(const struct snug__law_trial *trials, int n_trials,
                      struct snug_law_tier *tier)
{
    for (int i = 0; i < n_trials; i++) {
        double *step = &tier->attention_step_s_per_flop[trials[i].load.type_k];
        double *prefill = &tier->attention_s_per_flop[trials[i].load.type_k];
        *step = fmax(*step, DBL_MIN);
        *prefill = fmax(*prefill, DBL_MIN);
    }
}

bool snug__law_fit(const struct snug__law_trial *trials, int n_trials, int t, struct snug_law *law)
{
    struct snug_law_tier *tier = &law->tiers[t];
    double x[SNUG__FIT_COLUMNS_MAX];
    struct snug__fit *decode = calloc(1, sizeof *decode);
    struct snug__fit *prefill = calloc(1, sizeof *prefill);
    bool is_done = false;
    if (!decode || !prefill)
        goto done;
    decode->n_columns = DECODE_COLUMNS;
    for (int i = 0; i < n_trials; i++)
        add_decode(decode, &trials[i], t);
    snug__fit_solve_robust(decode, x);
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        tier->decode_s_per_byte[y] = x[WEIGHTS + y];
        tier->attention_step_s_per_flop[y] = x[ATTENTION + y];
        /* Bytes cost the same whatever they mean. */
        tier->cache_s_per_byte[y] = x[DECODE_CACHE];
    }
    tier->layer_s = x[DECODE_LAYER];
    law->step_s = x[DECODE_STEP];
    prefill->n_columns = PREFILL_COLUMNS;
    for (int i = 0; i < n_trials; i++)
        add_prefill(prefill, &trials[i], t, law);
    snug__fit_solve_robust(prefill, x);
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        tier->prefill_s_per_flop[y] = x[WEIGHTS + y];
        tier->attention_s_per_flop[y] = x[ATTENTION + y];
        tier->is_measured[y] = x[WEIGHTS + y] > 0.0 && tier->decode_s_per_byte[y] > 0.0;
    }
    tier->layer_token_s = x[PREFILL_LAYER_TOKEN];
    tier->token_element_s = x[PREFILL_ELEMENT];
    law->ubatch_s = x[PREFILL_UBATCH];
    is_done = decode->n_rows > 0 && prefill->n_rows > 0;
    mark_free(trials, n_trials, tier);
    snug__law_fill_types(tier);
done:
    free(decode);
    free(prefill);
    return is_done;
}
