/* config.json of a Hugging Face folder: one table of numbers, each with its bounds and what
 * transformers assumes where it is absent; then what has to hold between them. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "model/hf.h"

#define NEEDED INT64_MIN /* as fallback: an error where it is absent */
#define NOT_THERE (-1)   /* as fallback: settle() derives it */

struct number {
    unsigned archs;
    const char *key, *key_2; /* the second where the first is absent */
    size_t at;
    int64_t min, max, fallback;
};

#define AT(field) offsetof(struct snug__hf_config, field)
#define NAMED (HF_ALL & ~(unsigned)HF_GPT2)         /* speak of hidden_size, not n_embd */
#define ATTENTION (HF_ROPE)                         /* and of num_attention_heads */
#define DENSE_FF (HF_ROPE & ~(unsigned)HF_QWEN3MOE) /* have an intermediate_size */
#define QWENMOE (HF_QWEN2MOE | HF_QWEN3MOE)
#define WINDOWED (HF_PHI3 | HF_GEMMA2 | HF_GEMMA3)

/* clang-format off */
static const struct number numbers[] = {
    {NAMED, "num_hidden_layers", "n_layer", AT(n_layer), 1, SNUG__HF_LAYERS_MAX, NEEDED},
    {HF_GPT2, "n_layer", "num_hidden_layers", AT(n_layer), 1, SNUG__HF_LAYERS_MAX, NEEDED},
    {NAMED, "hidden_size", "d_model", AT(n_embd), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {HF_GPT2, "n_embd", "hidden_size", AT(n_embd), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {DENSE_FF, "intermediate_size", NULL, AT(n_ff), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {HF_QWEN3MOE, "intermediate_size", NULL, AT(n_ff), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {HF_GPT2, "n_inner", NULL, AT(n_ff), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {ATTENTION, "num_attention_heads", NULL, AT(n_head), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {HF_GPT2, "n_head", "num_attention_heads", AT(n_head), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {ATTENTION, "num_key_value_heads", NULL, AT(n_head_kv), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {HF_GEMMAS, "head_dim", NULL, AT(n_embd_head), 1, SNUG__HF_WIDTH_MAX, 256},
    {HF_QWEN3 | HF_QWEN3MOE, "head_dim", NULL, AT(n_embd_head), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {HF_LLAMA | HF_MIXTRAL, "head_dim", NULL, AT(n_embd_head), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {HF_ALL, "vocab_size", NULL, AT(n_vocab), 1, SNUG__HF_VOCAB_MAX, NEEDED},
    {HF_ROPE, "max_position_embeddings", NULL, AT(n_ctx), 1, INT32_MAX, NEEDED},
    {HF_GPT2, "n_positions", "n_ctx", AT(n_ctx), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {HF_MIXTRAL, "num_local_experts", NULL, AT(n_expert), 1, SNUG__HF_EXPERTS_MAX, NEEDED},
    {QWENMOE, "num_experts", NULL, AT(n_expert), 1, SNUG__HF_EXPERTS_MAX, NEEDED},
    {HF_MOE, "num_experts_per_tok", NULL, AT(n_expert_used), 1, SNUG__HF_EXPERTS_MAX, NEEDED},
    {QWENMOE, "moe_intermediate_size", NULL, AT(n_ff_expert), 1, SNUG__HF_WIDTH_MAX, NEEDED},
    {HF_QWEN2MOE, "shared_expert_intermediate_size", NULL, AT(n_ff_shared), 1, SNUG__HF_WIDTH_MAX,
     NEEDED},
    {WINDOWED, "sliding_window", NULL, AT(n_swa), 0, INT32_MAX, 0},
    {HF_PHI3, "original_max_position_embeddings", NULL, AT(n_ctx_original), 1, INT32_MAX,
     NOT_THERE},
    {HF_MAMBA, "intermediate_size", "d_inner", AT(n_inner), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
    {HF_MAMBA, "state_size", NULL, AT(n_state), 1, SNUG__HF_WIDTH_MAX, 16},
    {HF_MAMBA, "conv_kernel", NULL, AT(n_conv), 1, SNUG__HF_WIDTH_MAX, 4},
    {HF_MAMBA, "time_step_rank", NULL, AT(n_dt_rank), 1, SNUG__HF_WIDTH_MAX, NOT_THERE},
};
/* clang-format on */

/* ---- reading ---- */

static snug_status read_number(const char *label, const struct snug_json_node *root,
                               const struct number *row, struct snug__hf_config *c,
                               struct snug_error *err)
{
    int64_t *out = (int64_t *)((char *)c + row->at);
    const char *key = row->key;
    const struct snug_json_node *node = snug_json_get(root, key);
    if (!snug_json_is_number(node) && row->key_2 && snug_json_get(root, row->key_2)) {
        key = row->key_2;
        node = snug_json_get(root, key);
    }
    /* null and "auto" stand for what is derived */
    bool is_derived = !snug_json_is_number(node) && row->fallback != NEEDED;
    if (is_derived && !snug_json_is_array(node) && !snug_json_is_object(node)) {
        *out = row->fallback;
        return SNUG_OK;
    }
    if (!node)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %s is missing; a %s has one", label, key,
                         c->arch->name);
    int64_t value = snug_json_int(node, INT64_MIN);
    if (!snug_json_is_number(node))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %s is no number; %" PRId64 " to %" PRId64 " is accepted", label, key,
                         row->min, row->max);
    if (value < row->min || value > row->max)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %s is %.17g; whole numbers from %" PRId64 " to %" PRId64
                         " are accepted",
                         label, key, snug_json_number(node, 0), row->min, row->max);
    *out = value;
    return SNUG_OK;
}

/* A positive finite number that fits the GGUF's f32. */
static snug_status read_real(const char *label, const struct snug_json_node *root, const char *key,
                             double fallback, double *out, struct snug_error *err)
{
    double value = snug_json_get_number(root, key, fallback);
    if (!isfinite(value) || value < 0.0 || value > 1e30)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %s is %g; 0 to 1e30 is accepted", label, key,
                         value);
    *out = value;
    return SNUG_OK;
}

static snug_status read_reals(const char *label, const struct snug_json_node *root,
                              struct snug__hf_config *c, struct snug_error *err)
{
    /* transformers 5 moved the keys of rope into an object */
    const struct snug_json_node *rope = snug_json_get(root, "rope_parameters");
    const struct snug_json_node *scaling = rope ? rope : snug_json_get(root, "rope_scaling");
    const struct snug_json_node *base = snug_json_get(rope, "rope_theta") ? rope : root;
    const char *epsilon = c->arch->bit & HF_STARCODER2          ? "norm_epsilon"
                          : c->arch->bit & (HF_GPT2 | HF_MAMBA) ? "layer_norm_epsilon"
                                                                : "rms_norm_eps";
    const char *type =
        snug_json_get_string(scaling, "rope_type", snug_json_get_string(scaling, "type", ""));
    if (strcmp(type, "linear") == 0 || strcmp(type, "yarn") == 0)
        snprintf(c->rope_scaling, sizeof c->rope_scaling, "%s", type);
    snug_status status = read_real(label, root, epsilon, 1e-5, &c->norm_epsilon, err);
    if (status == SNUG_OK)
        status = read_real(label, base, "rope_theta", 1e4, &c->rope_base, err);
    if (status == SNUG_OK)
        status = read_real(label, root, "rope_local_base_freq", 1e4, &c->rope_base_swa, err);
    if (status == SNUG_OK)
        status = read_real(label, scaling, "factor", 1.0, &c->rope_factor, err);
    if (status == SNUG_OK)
        status = read_real(label, root, "attn_logit_softcapping", 0, &c->attn_softcap, err);
    if (status == SNUG_OK)
        status = read_real(label, root, "final_logit_softcapping", 0, &c->logit_softcap, err);
    return status;
}

/* ---- what follows ---- */

static void derive(const struct snug_json_node *root, struct snug__hf_config *c)
{
    unsigned bit = c->arch->bit;
    if (c->n_head_kv <= 0)
        c->n_head_kv = c->n_head;
    if (c->n_embd_head <= 0 && c->n_head > 0 && c->n_embd % c->n_head == 0)
        c->n_embd_head = c->n_embd / c->n_head;
    if (c->n_ff == NOT_THERE)
        c->n_ff = bit & HF_GPT2 ? 4 * c->n_embd : c->n_ff_expert;
    if (bit & HF_MAMBA) {
        int64_t expand = snug_json_get_int(root, "expand", 2);
        if (c->n_inner == NOT_THERE && expand > 0 && expand <= 64)
            c->n_inner = expand * c->n_embd;
        if (c->n_dt_rank == NOT_THERE)
            c->n_dt_rank = (c->n_embd + 15) / 16;
        c->n_ctx = 1 << 20; /* as llama.cpp's converter says: there is no limit */
    }
    if (c->n_ctx_original <= 0)
        c->n_ctx_original = c->n_ctx;
    double rotary = snug_json_get_number(root, "partial_rotary_factor", 1.0);
    c->n_rot =
        rotary > 0.0 && rotary <= 1.0 ? (int64_t)(rotary * (double)c->n_embd_head) : c->n_embd_head;
    bool is_tied = bit & (HF_GEMMAS | HF_GPT2 | HF_MAMBA);
    c->is_tied = snug_json_bool(snug_json_get(root, "tie_word_embeddings"), is_tied);
}

static snug_status check(const char *label, const struct snug__hf_config *c, struct snug_error *err)
{
    unsigned bit = c->arch->bit;
    if (bit & HF_MAMBA)
        return c->n_inner > 0
                   ? SNUG_OK
                   : snug_fail(err, SNUG_BAD_INPUT,
                               "%s: expand gives no inner width; 1 to 64 are accepted", label);
    if (c->n_embd_head <= 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: hidden_size %" PRId64 " is no multiple of %" PRId64
                         " heads, and head_dim is missing",
                         label, c->n_embd, c->n_head);
    if (c->n_head % c->n_head_kv != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: num_attention_heads %" PRId64
                         " is no multiple of num_key_value_heads %" PRId64,
                         label, c->n_head, c->n_head_kv);
    if ((c->n_head + 2 * c->n_head_kv) * c->n_embd_head > SNUG__HF_WIDTH_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %" PRId64 " heads of %" PRId64 "; up to %d of queries, keys and "
                         "values together are accepted",
                         label, c->n_head, c->n_embd_head, SNUG__HF_WIDTH_MAX);
    if (c->n_expert_used > c->n_expert)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: num_experts_per_tok is %" PRId64 " of %" PRId64 " experts", label,
                         c->n_expert_used, c->n_expert);
    return SNUG_OK;
}

/* Varieties of a known architecture whose tensors are others. */
static snug_status check_variety(const char *label, const struct snug_json_node *root,
                                 const struct snug__hf_config *c, struct snug_error *err)
{
    const struct snug_json_node *quantised = snug_json_get(root, "quantization_config");
    if (snug_json_is_object(quantised))
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s: the weights are quantised (%.30s); a folder of F32, F16 or BF16 "
                         "weights, or a GGUF, is accepted",
                         label, snug_json_get_string(quantised, "quant_method", "unknown"));
    bool has_dense = snug_json_get_int(root, "decoder_sparse_step", 1) != 1 ||
                     snug_json_count(snug_json_get(root, "mlp_only_layers")) > 0;
    if ((c->arch->bit & QWENMOE) && has_dense)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s: some layers have no experts (decoder_sparse_step, mlp_only_layers); "
                         "experts in every layer are accepted",
                         label);
    return SNUG_OK;
}

static snug_status find_arch(const char *label, const struct snug_json_node *root,
                             const struct snug__hf_arch **out, struct snug_error *err)
{
    const char *name =
        snug_json_string(snug_json_at(snug_json_get(root, "architectures"), 0), NULL);
    char list[SNUG_ERROR_TEXT_MAX];
    size_t n = 0;
    if (!name)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: no \"architectures\"; a list like [\"LlamaForCausalLM\"] is expected",
                         label);
    for (int i = 0; i < snug__n_hf_archs; i++) {
        if (strcmp(snug__hf_archs[i].name, name) == 0) {
            *out = &snug__hf_archs[i];
            return SNUG_OK;
        }
        int n_stem = (int)strcspn(snug__hf_archs[i].name, "F"); /* of ...ForCausalLM */
        if (n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, " %.*s", n_stem,
                                  snug__hf_archs[i].name);
    }
    return snug_fail(err, SNUG_UNSUPPORTED,
                     "%s: architecture %.60s is not known; known are, as ...ForCausalLM:%s", label,
                     name, list);
}

snug_status snug__hf_config_read(const char *label, const char *text, size_t n,
                                 struct snug__hf_config *out, struct snug_error *err)
{
    struct snug_json *json = NULL;
    struct snug__hf_config c = {0};
    snug_status status = snug_json_parse(label, text, n, &json, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(json);
    status = find_arch(label, root, &c.arch, err);
    if (status == SNUG_OK)
        status = check_variety(label, root, &c, err);
    for (size_t i = 0; status == SNUG_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].archs & c.arch->bit)
            status = read_number(label, root, &numbers[i], &c, err);
    }
    if (status == SNUG_OK)
        status = read_reals(label, root, &c, err);
    if (status == SNUG_OK) {
        derive(root, &c);
        status = check(label, &c, err);
    }
    snug_json_free(json);
    if (status == SNUG_OK)
        *out = c;
    return status;
}
