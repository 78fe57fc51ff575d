/* Quality figures: empty, and as JSON. */
#include "trial/quality_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct snug_estimate UNKNOWN = {NAN, NAN};

int64_t snug_quality_chunk(int64_t n_ctx_train)
{
    return n_ctx_train > 4 && n_ctx_train < SNUG_EVAL_CHUNK_DEFAULT ? n_ctx_train
                                                                    : SNUG_EVAL_CHUNK_DEFAULT;
}

void snug_quality_init(struct snug_quality *out)
{
    *out = (struct snug_quality){
        .nll = UNKNOWN,
        .perplexity = UNKNOWN,
        .bits_per_byte = UNKNOWN,
        .kld_mean = UNKNOWN,
        .kld_median = NAN,
        .kld_p99 = NAN,
        .kld_max = NAN,
        .same_top_frac = UNKNOWN,
        .dp_rms_frac = UNKNOWN,
        .floor_kld = NAN,
        .floor_flip_frac = NAN,
        .wall_s = NAN,
        .tokens_per_s = NAN,
    };
}

/* One row per field of each kind: written and read by the same table. */
#define TEXTS(X) X(text_hash) X(reference_hash) X(reference_name) X(type_k) X(type_v)
#define COUNTS(X) X(n_ctx) X(n_chunks) X(n_tokens)
#define ESTIMATES(X)                                                                               \
    X(nll) X(perplexity) X(bits_per_byte) X(kld_mean) X(same_top_frac) X(dp_rms_frac)
#define NUMBERS(X)                                                                                 \
    X(kld_median)                                                                                  \
    X(kld_p99) X(kld_max) X(floor_kld) X(floor_flip_frac) X(wall_s) X(tokens_per_s)

static void put_estimate(struct snug_json_writer *w, const char *key, struct snug_estimate e)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "value", e.value);
    snug_json_put_number(w, "se", e.se);
    snug_json_end(w);
}

static struct snug_estimate get_estimate(const struct snug_json_node *node)
{
    return (struct snug_estimate){snug_json_get_number(node, "value", NAN),
                                  snug_json_get_number(node, "se", NAN)};
}

void snug_quality_to_json(struct snug_json_writer *w, const char *key, const struct snug_quality *q)
{
    snug_json_begin_object(w, key);
#define PUT(name) snug_json_put_string(w, #name, q->name);
    TEXTS(PUT)
#undef PUT
#define PUT(name) snug_json_put_int(w, #name, q->name);
    COUNTS(PUT)
#undef PUT
#define PUT(name) put_estimate(w, #name, q->name);
    ESTIMATES(PUT)
#undef PUT
#define PUT(name) snug_json_put_number(w, #name, q->name);
    NUMBERS(PUT)
#undef PUT
    snug_json_end(w);
}

void snug_quality_from_json(const struct snug_json_node *node, struct snug_quality *out)
{
    snug_quality_init(out);
#define GET(name)                                                                                  \
    snprintf(out->name, sizeof out->name, "%s", snug_json_get_string(node, #name, ""));
    TEXTS(GET)
#undef GET
#define GET(name) out->name = snug_json_get_int(node, #name, 0);
    COUNTS(GET)
#undef GET
#define GET(name) out->name = get_estimate(snug_json_get(node, #name));
    ESTIMATES(GET)
#undef GET
#define GET(name) out->name = snug_json_get_number(node, #name, NAN);
    NUMBERS(GET)
#undef GET
}

const char *snug_quality_text(const struct snug_quality *q, char *out, size_t cap)
{
    if (isfinite(q->kld_mean.value))
        snprintf(out, cap, "KLD %.5f +- %.5f", q->kld_mean.value, q->kld_mean.se);
    else if (isfinite(q->perplexity.value))
        snprintf(out, cap, "PPL %.4f +- %.4f", q->perplexity.value, q->perplexity.se);
    else
        snprintf(out, cap, "not measured");
    return out;
}
