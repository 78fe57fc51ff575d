/* A Modelfile. Ollama takes the file as it is, types per tensor included; cache types, the number
 * of sequences and the placement of single tensors are not its to set, which the text says. */
#include <math.h>
#include <string.h>

#include <ggml.h>

#include "plan/emit.h"

/* What its library offers, in bits per weight as files of 7 to 70 billion weights have them. */
static const struct {
    const char *name;
    double bits;
} OFFERED[] = {
    {"q2_K", 3.0},  {"q3_K_S", 3.5},  {"q3_K_M", 3.9}, {"q3_K_L", 4.3},
    {"q4_0", 4.6},  {"q4_K_M", 4.85}, {"q5_0", 5.55},  {"q5_K_M", 5.7},
    {"q6_K", 6.56}, {"q8_0", 8.5},    {"fp16", 16.0},
};

static const char *nearest(double bits)
{
    const char *best = OFFERED[0].name;
    double best_miss = INFINITY;
    for (size_t i = 0; i < sizeof OFFERED / sizeof *OFFERED; i++) {
        const double miss = fabs(OFFERED[i].bits - bits);
        if (miss < best_miss) {
            best_miss = miss;
            best = OFFERED[i].name;
        }
    }
    return best;
}

/* One type for K and V, of the three that it has: the smallest that is no worse than both. */
static const char *cache_type(const struct snug_plan *plan)
{
    const double k = snug_model_type_bits(plan->type_k), v = snug_model_type_bits(plan->type_v);
    const double bits = k > v ? k : v;
    if (bits <= snug_model_type_bits(GGML_TYPE_Q4_0))
        return "q4_0";
    return bits <= snug_model_type_bits(GGML_TYPE_Q8_0) ? "q8_0" : "f16";
}

static void put_cache(const struct snug_command *c, struct snug_buffer *out)
{
    const struct snug_plan *plan = c->plan;
    const char *type = cache_type(plan);
    const bool is_same = strcmp(type, snug_model_type_name(plan->type_k)) == 0 &&
                         strcmp(type, snug_model_type_name(plan->type_v)) == 0;
    snug_buffer_printf(out,
                       "# Cache types and sequences are the server's, for all its models alike; no "
                       "request sets them. Start it as:\n"
                       "#   OLLAMA_FLASH_ATTENTION=%d OLLAMA_KV_CACHE_TYPE=%s "
                       "OLLAMA_NUM_PARALLEL=%lld ollama serve\n",
                       plan->flash_attn || strcmp(type, "f16") != 0, type,
                       (long long)plan->n_parallel);
    if (!is_same)
        snug_buffer_printf(out,
                           "# The plan has K as %s and V as %s; Ollama has one type for both, "
                           "f16, q8_0 or q4_0: the cache may be larger.\n",
                           snug_model_type_name(plan->type_k), snug_model_type_name(plan->type_v));
}

snug_status snug__emit_ollama(const struct snug_command *c, char **out_text, struct snug_error *err)
{
    const struct snug_plan *plan = c->plan;
    struct snug_buffer out = {0};
    snug_buffer_puts(&out, "# ");
    snug__put_clean(&out, c->name[0] ? c->name : "model");
    snug_buffer_puts(&out, ", as planned by snug. Use: ollama create NAME -f Modelfile\n");
    snug_buffer_printf(&out,
                       "# The file has %.2f bits per weight, chosen tensor by tensor. The nearest "
                       "that Ollama's library offers is the uniform %s:\n"
                       "# pull that tag of the model instead where the file is not to be made.\n",
                       c->bits, nearest(c->bits));
    put_cache(c, &out);
    snug_buffer_puts(&out, "# Ollama decides about flash attention, memory mapping and the device "
                           "of each layer itself; num_gpu is only how many layers.\n");
    snug_buffer_printf(&out, "FROM %s\n", c->gguf_path);
    snug_buffer_printf(&out, "PARAMETER num_ctx %lld\n", (long long)c->n_ctx_seq);
    snug_buffer_printf(&out, "PARAMETER num_gpu %lld\n", (long long)plan->n_gpu_layers);
    if (plan->n_threads > 0)
        snug_buffer_printf(&out, "PARAMETER num_thread %lld\n", (long long)plan->n_threads);
    snug_buffer_puts(&out, "# What Ollama calls a batch is what is computed at once: n_ubatch.\n");
    snug_buffer_printf(&out, "PARAMETER num_batch %lld\n", (long long)plan->n_ubatch);
    const snug_status status = snug__emit_end(&out, out_text, err);
    snug_buffer_clear(&out);
    return status;
}
