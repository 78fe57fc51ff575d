/* The cache: bytes by formula, and what its types lose. */
#include <math.h>
#include <string.h>

#include <ggml.h>

#include "plan/law_fit.h"
#include "snug/plan.h"

static const int64_t CELLS_PAD = 256; /* libllama rounds contexts up to this many cells */

/* The first `windowed` layers of every `of` have a sliding window, as libllama's set_swa_pattern
 * has it for each architecture. */
static const struct {
    const char *arch;
    int windowed, of;
} WINDOWS[] = {
    {"gemma2", 1, 2},  {"gemma3", 5, 6},  {"gemma3n", 4, 5},
    {"gpt-oss", 1, 2}, {"cohere2", 3, 4}, {"llama4", 3, 4},
};

int64_t snug__n_windowed(const struct snug_model *model)
{
    for (size_t i = 0; model->n_swa > 0 && i < sizeof WINDOWS / sizeof *WINDOWS; i++) {
        int64_t n = 0;
        if (strcmp(WINDOWS[i].arch, model->arch) != 0)
            continue;
        for (int64_t l = 0; l < model->n_layer; l++)
            n += l % WINDOWS[i].of < WINDOWS[i].windowed;
        return n;
    }
    return -1;
}

static int64_t pad(int64_t n)
{
    return (n + CELLS_PAD - 1) / CELLS_PAD * CELLS_PAD;
}

static uint64_t cells_bytes(const struct snug_model *m, int64_t n_cells, int64_t n_layer,
                            const struct snug_plan_shape *s)
{
    const uint64_t all = snug_model_cache_bytes(m, (uint64_t)n_cells, s->type_k, s->type_v);
    return m->n_layer > 0 ? all / (uint64_t)m->n_layer * (uint64_t)n_layer : 0;
}

snug_status snug_plan_bytes_formula(const struct snug_plan_shape *s, struct snug_plan_bytes *out,
                                    void *model, struct snug_error *err)
{
    const struct snug_model *m = model;
    const int64_t n_seq = s->n_parallel > 0 ? s->n_parallel : 1;
    const int64_t n_cells = pad((s->n_ctx + n_seq - 1) / n_seq);
    const int64_t n_known = snug__n_windowed(m), n_narrow = n_known > 0 ? n_known : 0;
    int64_t n_cells_narrow = pad(m->n_swa + s->n_ubatch);
    n_cells_narrow = n_cells_narrow < n_cells ? n_cells_narrow : n_cells;
    if (!s->flash_attn && ggml_is_quantized((enum ggml_type)s->type_v))
        return snug_fail(err, SNUG_INFEASIBLE, "a quantised V cache needs flash attention");
    /* Activations of one ubatch, the logits of one row, and inputs; within some 10 % of libllama.
     */
    const uint64_t per_token =
        4u * (uint64_t)(4 * m->n_embd + 3 * m->n_ff) + 4u * (uint64_t)m->n_vocab;
    *out = (struct snug_plan_bytes){.cache = (uint64_t)n_seq *
                                             (cells_bytes(m, n_cells, m->n_layer - n_narrow, s) +
                                              cells_bytes(m, n_cells_narrow, n_narrow, s)),
                                    .compute = (uint64_t)s->n_ubatch * per_token + (1u << 20),
                                    .base = 48u << 20};
    return SNUG_OK;
}

/* Mean KL divergence of F16 weights with K or V alone in this type against an F16 cache, measured
 * with snug eval on one small trained model (docs/RESULTS.md, "What cache types lose"). Other
 * models lose more or less; the interval of a plan says so. */
static const struct {
    int type;
    double k, v;
} losses[] = {
    {GGML_TYPE_F32, 0.0, 0.0},          {GGML_TYPE_F16, 0.0, 0.0},
    {GGML_TYPE_BF16, 5.0e-6, 7.8e-7},   {GGML_TYPE_Q8_0, 4.5e-5, 5.1e-6},
    {GGML_TYPE_Q5_1, 1.3e-3, 2.4e-4},   {GGML_TYPE_Q5_0, 2.3e-3, 3.0e-4},
    {GGML_TYPE_Q4_1, 5.7e-3, 1.05e-3},  {GGML_TYPE_Q4_0, 8.1e-3, 1.26e-3},
    {GGML_TYPE_IQ4_NL, 6.3e-3, 9.7e-4},
};

double snug_plan_cache_loss(int type_k, int type_v)
{
    double sum = NAN, k = NAN, v = NAN;
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        k = losses[i].type == type_k ? losses[i].k : k;
        v = losses[i].type == type_v ? losses[i].v : v;
    }
    sum = k + v;
    return sum;
}
