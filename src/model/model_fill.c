/* Meaning of the metadata: keys of the architecture, vocabulary, file type, sums over tensors,
 * content hash. Key names after ggml's docs/gguf.md. */
#include "model/model_fill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#define COUNT_MAX (INT64_C(1) << 31) /* layers, widths, heads, tokens: far above any model */

/* general.file_type as llama.h's enum llama_ftype numbers it; "" for numbers that were dropped. */
static const char *const file_types[] = {
    "F32",   "F16",     "Q4_0",      "Q4_1",   "",       "",        "",       "Q8_0",   "Q5_0",
    "Q5_1",  "Q2_K",    "Q3_K_S",    "Q3_K_M", "Q3_K_L", "Q4_K_S",  "Q4_K_M", "Q5_K_S", "Q5_K_M",
    "Q6_K",  "IQ2_XXS", "IQ2_XS",    "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",
    "IQ3_M", "IQ2_S",   "IQ2_M",     "IQ4_XS", "IQ1_M",  "BF16",    "",       "",       "",
    "TQ1_0", "TQ2_0",   "MXFP4_MOE", "NVFP4",  "Q1_0",   "Q2_0"};

snug_status snug__model_count(const struct snug__gguf *gguf, const char *label, const char *key,
                              int64_t fallback, int64_t max, int64_t *out, struct snug_error *err)
{
    const struct snug__gguf_value *value = snug__gguf_find(gguf, key);
    if (!value) {
        *out = fallback;
        return SNUG_OK;
    }
    bool is_list = value->type == SNUG__GGUF_ARRAY && value->items;
    if (!is_list && !snug__gguf_is_integer(value->type))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: byte %" PRIu64 ": %s is not an integer", label,
                         value->at, key);
    const int64_t *items = is_list ? value->items : &value->integer;
    uint64_t n = is_list ? value->n : 1;
    int64_t largest = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (items[i] < 0 || items[i] > max)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: byte %" PRIu64 ": %s is %" PRId64 "; 0 to %" PRId64
                             " are accepted",
                             label, value->at, key, items[i], max);
        if (items[i] > largest)
            largest = items[i];
    }
    *out = largest;
    return SNUG_OK;
}

static void get_text(const struct snug__gguf *gguf, const char *key, char *out, size_t cap)
{
    const struct snug__gguf_value *value = snug__gguf_find(gguf, key);
    bool is_text = value && value->type == SNUG__GGUF_STRING;
    snprintf(out, cap, "%s", is_text ? value->text : "");
}

static snug_status fill_sizes(const struct snug__gguf *gguf, const char *label,
                              struct snug_model *m, struct snug_error *err)
{
    /* In this order: a fallback may be a field that an earlier row has set. */
    const struct {
        const char *suffix;
        int64_t *field;
        const int64_t *fallback;
    } rows[] = {
        {"block_count", &m->n_layer, NULL},
        {"embedding_length", &m->n_embd, NULL},
        {"feed_forward_length", &m->n_ff, NULL},
        {"attention.head_count", &m->n_head, NULL},
        {"attention.head_count_kv", &m->n_head_kv, &m->n_head},
        {"context_length", &m->n_ctx_train, NULL},
        {"expert_count", &m->n_expert, NULL},
        {"expert_used_count", &m->n_expert_used, NULL},
        {"attention.sliding_window", &m->n_swa, NULL},
    };
    char key[SNUG_MODEL_TEXT_MAX + 64];
    snug_status status = SNUG_OK;
    for (size_t i = 0; status == SNUG_OK && i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(key, sizeof key, "%s.%s", m->arch, rows[i].suffix);
        status = snug__model_count(gguf, label, key, rows[i].fallback ? *rows[i].fallback : 0,
                                   COUNT_MAX, rows[i].field, err);
    }
    int64_t n_embd_head = m->n_head > 0 ? m->n_embd / m->n_head : 0;
    snprintf(key, sizeof key, "%s.attention.key_length", m->arch);
    if (status == SNUG_OK)
        status =
            snug__model_count(gguf, label, key, n_embd_head, COUNT_MAX, &m->n_embd_head_k, err);
    snprintf(key, sizeof key, "%s.attention.value_length", m->arch);
    if (status == SNUG_OK)
        status =
            snug__model_count(gguf, label, key, n_embd_head, COUNT_MAX, &m->n_embd_head_v, err);
    return status;
}

/* Cache elements per token over all layers; head_count_kv may be one number or one per layer. */
static void fill_cache(const struct snug__gguf *gguf, struct snug_model *m)
{
    char key[SNUG_MODEL_TEXT_MAX + 64];
    snprintf(key, sizeof key, "%s.attention.head_count_kv", m->arch);
    const struct snug__gguf_value *value = snug__gguf_find(gguf, key);
    uint64_t n_heads = 0; /* kv heads of all layers */
    if (value && value->items) {
        for (uint64_t i = 0; i < value->n && i < (uint64_t)m->n_layer; i++)
            n_heads += (uint64_t)value->items[i];
    } else {
        n_heads = (uint64_t)m->n_layer * (uint64_t)m->n_head_kv;
    }
    if (__builtin_mul_overflow(n_heads, (uint64_t)m->n_embd_head_k, &m->n_embd_k_all))
        m->n_embd_k_all = UINT64_MAX;
    if (__builtin_mul_overflow(n_heads, (uint64_t)m->n_embd_head_v, &m->n_embd_v_all))
        m->n_embd_v_all = UINT64_MAX;
}

static const struct snug_tensor *find_tensor(const struct snug_model *m, const char *name)
{
    for (int i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    }
    return NULL;
}

static snug_status fill_vocabulary(const struct snug__gguf *gguf, const char *label,
                                   struct snug_model *m, struct snug_error *err)
{
    get_text(gguf, "tokenizer.ggml.model", m->tokenizer, sizeof m->tokenizer);
    const struct snug_tensor *embedding = find_tensor(m, "token_embd.weight");
    m->is_tied = embedding && !find_tensor(m, "output.weight");
    const struct snug__gguf_value *tokens = snug__gguf_find(gguf, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == SNUG__GGUF_ARRAY) {
        m->n_vocab = (int64_t)tokens->n;
        return SNUG_OK;
    }
    char key[SNUG_MODEL_TEXT_MAX + 64];
    snprintf(key, sizeof key, "%s.vocab_size", m->arch);
    return snug__model_count(gguf, label, key, embedding ? embedding->ne[1] : 0, COUNT_MAX,
                             &m->n_vocab, err);
}

static void fill_file_type(const struct snug__gguf *gguf, struct snug_model *m)
{
    const struct snug__gguf_value *value = snug__gguf_find(gguf, "general.file_type");
    const char *text = "";
    if (value && snug__gguf_is_integer(value->type) && value->integer >= 0 &&
        value->integer < (int64_t)(sizeof file_types / sizeof file_types[0]))
        text = file_types[value->integer];
    if (!text[0] && m->n_types > 0)
        text = ggml_type_name((enum ggml_type)m->types[0].type);
    snprintf(m->file_type, sizeof m->file_type, "%s", text);
}

static int compare_sums(const void *a, const void *b)
{
    const struct snug_model_type_sum *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->type - y->type;
}

void snug__model_sum(struct snug_model *m)
{
    struct snug_model_type_sum sums[GGML_TYPE_COUNT] = {0};
    _Static_assert(GGML_TYPE_COUNT <= SNUG_MODEL_TYPES_MAX, "types[] holds every ggml type");
    for (int i = 0; i < m->n_tensors; i++) {
        const struct snug_tensor *t = &m->tensors[i];
        m->n_params += t->n_elements;
        m->bytes_tensors += t->bytes;
        sums[t->type].n_tensors++;
        sums[t->type].n_elements += t->n_elements;
        sums[t->type].bytes += t->bytes;
    }
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        sums[type].type = type;
        if (sums[type].n_tensors > 0)
            m->types[m->n_types++] = sums[type];
    }
    qsort(m->types, (size_t)m->n_types, sizeof m->types[0], compare_sums);
}

/* ---- what a quantised copy keeps ---- */

/* Bytes of one key with its value; of an array of texts, whose lengths are not kept, none. */
static uint64_t key_bytes(const struct snug__gguf_value *v)
{
    static const uint8_t SIZES[SNUG__GGUF_N_TYPES] = {
        [SNUG__GGUF_U8] = 1,  [SNUG__GGUF_I8] = 1,  [SNUG__GGUF_U16] = 2, [SNUG__GGUF_I16] = 2,
        [SNUG__GGUF_U32] = 4, [SNUG__GGUF_I32] = 4, [SNUG__GGUF_F32] = 4, [SNUG__GGUF_BOOL] = 1,
        [SNUG__GGUF_U64] = 8, [SNUG__GGUF_I64] = 8, [SNUG__GGUF_F64] = 8,
    };
    uint64_t bytes = SIZES[v->type];
    if (v->type == SNUG__GGUF_STRING)
        bytes = 8 + v->n;
    else if (v->type == SNUG__GGUF_ARRAY)
        bytes = 4 + 8 + v->n * SIZES[v->item_type];
    return 8 + strlen(v->key) + 4 + bytes;
}

/* libllama copies the keys of the first part, drops those of the split, and puts two of its own.
 * It pads data to 32 bytes whatever general.alignment says, and so writes such files wrong. */
static void fill_keys_kept(const struct snug__gguf *gguf, struct snug_model *model)
{
    static const char *const REPLACED[] = {"general.file_type", "general.quantization_version",
                                           "split.no", "split.count", "split.tensors.count"};
    uint64_t taken = 4 + 4 + 8 + 8; /* magic, version, counts */
    for (int i = 0; i < gguf->n_tensors; i++)
        taken +=
            8 + strlen(gguf->tensors[i].name) + 4 + 8 * (uint64_t)gguf->tensors[i].n_dims + 4 + 8;
    for (size_t i = 0; i < sizeof REPLACED / sizeof *REPLACED; i++) {
        const struct snug__gguf_value *v = snug__gguf_find(gguf, REPLACED[i]);
        taken += v ? key_bytes(v) : 0;
    }
    const bool is_kept = gguf->alignment == SNUG__GGUF_ALIGNMENT && gguf->n_header > taken;
    model->bytes_keys_kept = is_kept ? gguf->n_header - taken : 0;
}

snug_status snug__model_fill(const struct snug__gguf *gguf, const char *label,
                             struct snug_model *model, struct snug_error *err)
{
    const struct snug__gguf_value *arch = snug__gguf_find(gguf, "general.architecture");
    if (!arch || arch->type != SNUG__GGUF_STRING || arch->n == 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: no general.architecture in the metadata; a name like \"llama\" is "
                         "expected",
                         label);
    if (arch->n >= sizeof model->arch)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: byte %" PRIu64 ": general.architecture has %" PRIu64
                         " bytes; up to %zu are accepted",
                         label, arch->at, arch->n, sizeof model->arch - 1);
    get_text(gguf, "general.architecture", model->arch, sizeof model->arch);
    get_text(gguf, "general.name", model->name, sizeof model->name);
    snug__model_sum(model);
    snug_status status = fill_sizes(gguf, label, model, err);
    if (status == SNUG_OK)
        status = fill_vocabulary(gguf, label, model, err);
    if (status != SNUG_OK)
        return status;
    fill_cache(gguf, model);
    fill_file_type(gguf, model);
    fill_keys_kept(gguf, model);
    return SNUG_OK;
}

static snug_status hash_range(struct snug_sha256 *hash, const struct snug__source *source,
                              uint64_t begin, uint64_t end, struct snug_error *err)
{
    uint8_t block[16 << 10];
    while (begin < end) {
        size_t n = end - begin < sizeof block ? (size_t)(end - begin) : sizeof block;
        snug_status status = snug__source_read(source, begin, block, n, err);
        if (status != SNUG_OK)
            return status;
        snug_sha256_update(hash, block, n);
        begin += n;
    }
    return SNUG_OK;
}

snug_status snug__model_hash(struct snug_sha256 *hash, const struct snug__source *source,
                             const struct snug__gguf *gguf, int n_windows, struct snug_error *err)
{
    snug_status status = hash_range(hash, source, 0, gguf->n_header, err);
    if (status != SNUG_OK || gguf->data_offset >= source->size)
        return status;
    uint64_t n_data = source->size - gguf->data_offset;
    if (n_data <= (uint64_t)n_windows * SNUG__HASH_WINDOW_BYTES)
        return hash_range(hash, source, gguf->data_offset, source->size, err);
    /* First window at the first byte, last at the last, evenly between, without overflow. */
    uint64_t span = n_data - SNUG__HASH_WINDOW_BYTES, n_gaps = (uint64_t)n_windows - 1;
    for (uint64_t i = 0; status == SNUG_OK && i <= n_gaps; i++) {
        uint64_t at = gguf->data_offset + span / n_gaps * i + span % n_gaps * i / n_gaps;
        status = hash_range(hash, source, at, at + SNUG__HASH_WINDOW_BYTES, err);
    }
    return status;
}
