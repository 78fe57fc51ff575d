/* The law itself: seconds of a decode step and of a prompt from coefficients and a load.
 *
 * Decode, per step, summed over tiers t and types y:
 *   weight_bytes[t][y] * decode_s_per_byte[y] + n_layer[t] * layer_s
 *   + attention + hops + step_s
 *   attention = cells * (cache bytes of a position * cache_s_per_byte + FLOPs * s_per_flop)
 * Prefill, per ubatch of n tokens: the FLOPs of each type, but no less than reading its weights
 * once (a last ubatch of few tokens is bound by that); per layer and token; attention over the mean
 * depth of its tokens; and once per prompt what the last token alone passes. */
#include "snug/law.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <ggml.h>

#include "plan/law_fit.h"
#include "snug/stats.h"

/* Trials that weigh as much as the belief they are drawn to. */
static const double SHRINK_TRIALS = 3.0;
static const double ATTENTION_FLOPS = 4.0;
/* One query head over one cell takes a decode step the same time with 64 columns and with 128: some
 * 25 ns on two threads, of which most is the call (perf/plan_speed.py, smollm2-135m against
 * qwen3-0.6b behind 2048 tokens). */
static const double HEAD_COLUMNS = 64.0;
/* A figure that a type has from its relatives is taken to be right within this factor: a plan of
 * iq3_xxs and iq3_s, which no calibration times, ran 1.9 times as fast as they said. */
static const double RELATIVE_FACTOR = 2.0;

/* ---- loads ---- */

/* Only ggml's own numbers are indices of the tables. */
static bool is_type(int type)
{
    return type >= 0 && type < SNUG_MODEL_TYPES_MAX;
}

/* Of the last layer, what stands behind attention: libllama keeps only the rows with logits. */
static bool is_after_last_attention(const struct snug_model *model, const char *name)
{
    char prefix[32];
    const int n = snprintf(prefix, sizeof prefix, "blk.%lld.", (long long)(model->n_layer - 1));
    return strncmp(name, prefix, (size_t)n) == 0 && strncmp(name + n, "ffn_", 4) == 0;
}

void snug_law_load_add(struct snug_law_load *load, const struct snug_model *model, int tensor,
                       int type, int tier)
{
    const struct snug_tensor *t = &model->tensors[tensor];
    const bool is_embedding = strcmp(t->name, "token_embd.weight") == 0;
    const bool is_head = strcmp(t->name, "output.weight") == 0 || (is_embedding && model->is_tied);
    /* Vectors (norms, biases) are part of what a layer costs. */
    if (t->n_dims < 2 || !is_type(type) || tier < 0 || tier >= SNUG_TIERS_MAX ||
        (is_embedding && !is_head))
        return;
    uint64_t elements = t->n_elements;
    uint64_t bytes = type == t->type ? t->bytes : snug_model_tensor_bytes(t, type);
    if (strstr(t->name, "_exps.") && model->n_expert > 0 && model->n_expert_used > 0) {
        elements = elements / (uint64_t)model->n_expert * (uint64_t)model->n_expert_used;
        bytes = bytes / (uint64_t)model->n_expert * (uint64_t)model->n_expert_used;
    }
    load->weight_bytes[tier][type] += bytes;
    load->weight_elements[tier][type] += elements;
    if (is_head || is_after_last_attention(model, t->name)) {
        load->once_bytes[tier][type] += bytes;
        load->once_elements[tier][type] += elements;
    }
}

void snug_law_load_init(const struct snug_model *model, const int *types, int tier, int type_k,
                        int type_v, int64_t n_ubatch, struct snug_law_load *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < model->n_tensors; i++)
        snug_law_load_add(out, model, i, types ? types[i] : model->tensors[i].type, tier);
    if (tier >= 0 && tier < SNUG_TIERS_MAX) {
        out->n_layer[tier] = model->n_layer;
        out->cache_bytes_per_token[tier] = snug_model_cache_bytes(model, 1, type_k, type_v);
    }
    out->type_k = type_k;
    out->type_v = type_v;
    out->n_head = model->n_head;
    out->n_embd_head = (model->n_embd_head_k + model->n_embd_head_v) / 2;
    out->n_embd = model->n_embd;
    out->n_swa = model->n_swa;
    const int64_t n_windowed = snug__n_windowed(model);
    out->swa_frac = model->n_swa <= 0 ? 0.0
                    : n_windowed < 0  ? 1.0
                                      : (double)n_windowed / (double)model->n_layer;
    out->n_ubatch = n_ubatch;
}

/* ---- the formulas ---- */

/* Positions of the cache that a token at this depth attends to, mean over the layers. */
static double cells_at(const struct snug_law_load *load, double depth)
{
    if (load->n_swa <= 0)
        return depth;
    const double window = fmin(depth, (double)load->n_swa);
    return load->swa_frac * window + (1.0 - load->swa_frac) * depth;
}

static double of_cache(const double *by_type, const struct snug_law_load *load)
{
    const double k = is_type(load->type_k) ? by_type[load->type_k] : 0.0;
    const double v = is_type(load->type_v) ? by_type[load->type_v] : 0.0;
    return (k + v) / 2.0;
}

double snug__law_attention_flops(const struct snug_law_load *load, int t)
{
    return ATTENTION_FLOPS * (double)(load->n_head * load->n_embd_head) * (double)load->n_layer[t];
}

double snug__law_attention_step_flops(const struct snug_law_load *load, int t)
{
    return ATTENTION_FLOPS * (double)load->n_head * HEAD_COLUMNS * (double)load->n_layer[t];
}

static double hops_s(const struct snug_law *law, const struct snug_law_load *load)
{
    double hop_s = 0.0;
    for (int t = 0; t < law->n_tiers; t++)
        hop_s = fmax(hop_s, law->tiers[t].hop_s);
    return load->n_hops * hop_s;
}

/* One step of all sequences: weights are read once, or computed with for each of them. */
static double decode_step_s(const struct snug_law *law, const struct snug_law_load *load,
                            double depth)
{
    double s = law->step_s + hops_s(law, load);
    const double n_seq = load->n_parallel > 1 ? (double)load->n_parallel : 1.0;
    const double cells = cells_at(load, depth) * n_seq;
    for (int t = 0; t < law->n_tiers; t++) {
        const struct snug_law_tier *tier = &law->tiers[t];
        for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
            s += fmax((double)load->weight_bytes[t][y] * tier->decode_s_per_byte[y],
                      n_seq > 1.0 ? 2.0 * n_seq * (double)load->weight_elements[t][y] *
                                        tier->prefill_s_per_flop[y]
                                  : 0.0);
        s += (double)load->n_layer[t] * (tier->layer_s + (n_seq - 1.0) * tier->layer_token_s);
        s +=
            cells * (double)load->cache_bytes_per_token[t] * of_cache(tier->cache_s_per_byte, load);
        s += cells * snug__law_attention_step_flops(load, t) *
             of_cache(tier->attention_step_s_per_flop, load);
    }
    return s;
}

static double ubatch_tier_s(const struct snug_law_tier *tier, const struct snug_law_load *load,
                            int t, double n, double depth)
{
    double s = 0.0;
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        const double elements = (double)(load->weight_elements[t][y] - load->once_elements[t][y]);
        const double bytes = (double)(load->weight_bytes[t][y] - load->once_bytes[t][y]);
        s += fmax(2.0 * elements * n * tier->prefill_s_per_flop[y],
                  bytes * tier->decode_s_per_byte[y]);
    }
    const double layers = (double)load->n_layer[t];
    s += layers * tier->layer_s;
    s += layers * n * (tier->layer_token_s + (double)load->n_embd * tier->token_element_s);
    s += n * cells_at(load, depth + n / 2.0) * snug__law_attention_flops(load, t) *
         of_cache(tier->attention_s_per_flop, load);
    return s;
}

static double prompt_s(const struct snug_law *law, const struct snug_law_load *load,
                       int64_t n_prompt, int64_t depth)
{
    const int64_t n_ubatch = load->n_ubatch > 0 ? load->n_ubatch : n_prompt;
    double s = 0.0;
    for (int64_t done = 0; done < n_prompt; done += n_ubatch) {
        const int64_t n = n_prompt - done < n_ubatch ? n_prompt - done : n_ubatch;
        s += law->ubatch_s + hops_s(law, load);
        for (int t = 0; t < law->n_tiers; t++)
            s += ubatch_tier_s(&law->tiers[t], load, t, (double)n, (double)(depth + done));
    }
    for (int t = 0; t < law->n_tiers; t++)
        for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
            s += (double)load->once_bytes[t][y] * law->tiers[t].decode_s_per_byte[y];
    return s;
}

/* Of the seconds that weights take by these figures, the share of types that were not timed though
 * others of their tier were. A data sheet times none, and its interval knows. */
static double guessed_share(const struct snug_law *law, const struct snug_law_load *load,
                            bool is_prefill)
{
    double all = 0.0, guessed = 0.0;
    for (int t = 0; t < law->n_tiers; t++) {
        const struct snug_law_tier *tier = &law->tiers[t];
        bool is_timed = false;
        double of_tier = 0.0;
        for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
            const double s = is_prefill
                                 ? (double)load->weight_elements[t][y] * tier->prefill_s_per_flop[y]
                                 : (double)load->weight_bytes[t][y] * tier->decode_s_per_byte[y];
            is_timed = is_timed || tier->is_measured[y];
            of_tier += tier->is_measured[y] ? 0.0 : s;
            all += s;
        }
        guessed += is_timed ? of_tier : 0.0;
    }
    return all > 0.0 ? guessed / all : 0.0;
}

static struct snug_prediction predict(double tps, double correction, double lo, double hi)
{
    const double value = tps * (correction > 0.0 ? correction : 1.0);
    return (struct snug_prediction){.value = value, .lo = value * lo, .hi = value * hi};
}

struct snug_prediction snug_law_decode_tps(const struct snug_law *law,
                                           const struct snug_law_load *load, int64_t depth)
{
    const double s = decode_step_s(law, load, depth > 0 ? (double)depth : 0.0);
    const double widen = pow(RELATIVE_FACTOR, guessed_share(law, load, false));
    return predict(s > 0.0 ? 1.0 / s : 0.0, law->decode_correction, law->decode_lo_frac / widen,
                   law->decode_hi_frac * widen);
}

struct snug_prediction snug_law_prefill_tps(const struct snug_law *law,
                                            const struct snug_law_load *load, int64_t n_prompt,
                                            int64_t depth)
{
    const double s = n_prompt > 0 ? prompt_s(law, load, n_prompt, depth > 0 ? depth : 0) : 0.0;
    const double widen = pow(RELATIVE_FACTOR, guessed_share(law, load, true));
    return predict(s > 0.0 ? (double)n_prompt / s : 0.0, law->prefill_correction,
                   law->prefill_lo_frac / widen, law->prefill_hi_frac * widen);
}

/* ---- corrections ---- */

/* Median log ratio of the residuals of one phase, of one model or of all; *out_n of them. */
static double median_log(const struct snug_law_residual *r, int n, bool is_prefill, bool same_only,
                         int *out_n)
{
    /* The latest are enough: more of them do not move a median. */
    double logs[256];
    const int cap = (int)(sizeof logs / sizeof *logs);
    const double most = log(SNUG_LAW_CORRECTION_MAX);
    *out_n = 0;
    for (int i = n - 1; i >= 0 && *out_n < cap; i--) {
        const double x = log(r[i].measured / r[i].predicted);
        if (r[i].is_prefill != is_prefill || (same_only && !r[i].is_same_model) ||
            !(r[i].predicted > 0.0) || !(r[i].measured > 0.0) || !isfinite(x))
            continue;
        logs[(*out_n)++] = fmax(-most, fmin(most, x));
    }
    return *out_n > 0 ? snug_stats_median(logs, (size_t)*out_n) : 0.0;
}

static double correction_of(const struct snug_law_residual *r, int n, bool is_prefill)
{
    int n_all = 0, n_same = 0;
    const double all = median_log(r, n, is_prefill, false, &n_all);
    const double same = median_log(r, n, is_prefill, true, &n_same);
    const double general = all * n_all / (n_all + SHRINK_TRIALS);
    return exp((same * n_same + general * SHRINK_TRIALS) / (n_same + SHRINK_TRIALS));
}

void snug_law_correct(struct snug_law *law, const struct snug_law_residual *residuals, int n)
{
    law->decode_correction = correction_of(residuals, n, false);
    law->prefill_correction = correction_of(residuals, n, true);
}
