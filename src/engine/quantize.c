/* Quantising a model file, parent side: a worker does it, since libllama ends its process on a
 * tensor it does not like, and since its memory goes back only with the process. */
#include "engine/quantize.h"

#include <string.h>
#include <strings.h>

#include <ggml.h>

#include "engine/llama_engine.h"
#include "engine/sensitivity.h"

/* In llama-quantize's order of size. */
static const struct {
    const char *name;
    enum llama_ftype type;
    bool needs_imatrix; /* some of its tensors get a type that libllama refuses without one */
} TYPES[] = {
    {"f32", LLAMA_FTYPE_ALL_F32, false},
    {"f16", LLAMA_FTYPE_MOSTLY_F16, false},
    {"bf16", LLAMA_FTYPE_MOSTLY_BF16, false},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, false},
    {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K, false},
    {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M, false},
    {"q5_k_s", LLAMA_FTYPE_MOSTLY_Q5_K_S, false},
    {"q5_1", LLAMA_FTYPE_MOSTLY_Q5_1, false},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, false},
    {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M, false},
    {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S, false},
    {"q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, false},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, false},
    {"iq4_nl", LLAMA_FTYPE_MOSTLY_IQ4_NL, false},
    {"iq4_xs", LLAMA_FTYPE_MOSTLY_IQ4_XS, false},
    {"mxfp4_moe", LLAMA_FTYPE_MOSTLY_MXFP4_MOE, false},
    {"q3_k_l", LLAMA_FTYPE_MOSTLY_Q3_K_L, false},
    {"q3_k_m", LLAMA_FTYPE_MOSTLY_Q3_K_M, false},
    {"q3_k_s", LLAMA_FTYPE_MOSTLY_Q3_K_S, false},
    {"iq3_m", LLAMA_FTYPE_MOSTLY_IQ3_M, false},
    {"iq3_s", LLAMA_FTYPE_MOSTLY_IQ3_S, false},
    {"iq3_xs", LLAMA_FTYPE_MOSTLY_IQ3_XS, true},
    {"iq3_xxs", LLAMA_FTYPE_MOSTLY_IQ3_XXS, true},
    {"q2_k", LLAMA_FTYPE_MOSTLY_Q2_K, false},
    {"q2_k_s", LLAMA_FTYPE_MOSTLY_Q2_K_S, true},
    {"iq2_m", LLAMA_FTYPE_MOSTLY_IQ2_M, true},
    {"iq2_s", LLAMA_FTYPE_MOSTLY_IQ2_S, true},
    {"iq2_xs", LLAMA_FTYPE_MOSTLY_IQ2_XS, true},
    {"iq2_xxs", LLAMA_FTYPE_MOSTLY_IQ2_XXS, true},
    {"q2_0", LLAMA_FTYPE_MOSTLY_Q2_0, false},
    {"tq2_0", LLAMA_FTYPE_MOSTLY_TQ2_0, false},
    {"tq1_0", LLAMA_FTYPE_MOSTLY_TQ1_0, false},
    {"iq1_m", LLAMA_FTYPE_MOSTLY_IQ1_M, true},
    {"iq1_s", LLAMA_FTYPE_MOSTLY_IQ1_S, true},
    {"q1_0", LLAMA_FTYPE_MOSTLY_Q1_0, false},
};

enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

/* ggml's type, and the file type whose default it is (libllama's llama_ftype_get_default_type). */
static const struct {
    int type;
    enum llama_ftype file_type;
} DEFAULTS[] = {
    {GGML_TYPE_F32, LLAMA_FTYPE_ALL_F32},
    {GGML_TYPE_F16, LLAMA_FTYPE_MOSTLY_F16},
    {GGML_TYPE_BF16, LLAMA_FTYPE_MOSTLY_BF16},
    {GGML_TYPE_Q8_0, LLAMA_FTYPE_MOSTLY_Q8_0},
    {GGML_TYPE_Q6_K, LLAMA_FTYPE_MOSTLY_Q6_K},
    {GGML_TYPE_Q5_K, LLAMA_FTYPE_MOSTLY_Q5_K_S},
    {GGML_TYPE_Q5_1, LLAMA_FTYPE_MOSTLY_Q5_1},
    {GGML_TYPE_Q5_0, LLAMA_FTYPE_MOSTLY_Q5_0},
    {GGML_TYPE_Q4_K, LLAMA_FTYPE_MOSTLY_Q4_K_S},
    {GGML_TYPE_Q4_1, LLAMA_FTYPE_MOSTLY_Q4_1},
    {GGML_TYPE_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_0},
    {GGML_TYPE_IQ4_NL, LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {GGML_TYPE_IQ4_XS, LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {GGML_TYPE_MXFP4, LLAMA_FTYPE_MOSTLY_MXFP4_MOE},
    {GGML_TYPE_Q3_K, LLAMA_FTYPE_MOSTLY_Q3_K_S},
    {GGML_TYPE_IQ3_S, LLAMA_FTYPE_MOSTLY_IQ3_S},
    {GGML_TYPE_IQ3_XXS, LLAMA_FTYPE_MOSTLY_IQ3_XXS},
    {GGML_TYPE_Q2_K, LLAMA_FTYPE_MOSTLY_Q2_K},
    {GGML_TYPE_IQ2_S, LLAMA_FTYPE_MOSTLY_IQ2_M},
    {GGML_TYPE_IQ2_XS, LLAMA_FTYPE_MOSTLY_IQ2_XS},
    {GGML_TYPE_IQ2_XXS, LLAMA_FTYPE_MOSTLY_IQ2_XXS},
    {GGML_TYPE_Q2_0, LLAMA_FTYPE_MOSTLY_Q2_0},
    {GGML_TYPE_TQ2_0, LLAMA_FTYPE_MOSTLY_TQ2_0},
    {GGML_TYPE_TQ1_0, LLAMA_FTYPE_MOSTLY_TQ1_0},
    {GGML_TYPE_IQ1_M, LLAMA_FTYPE_MOSTLY_IQ1_M},
    {GGML_TYPE_IQ1_S, LLAMA_FTYPE_MOSTLY_IQ1_S},
    {GGML_TYPE_Q1_0, LLAMA_FTYPE_MOSTLY_Q1_0},
};

enum llama_ftype snug__weight_type(const char *name)
{
    for (int i = 0; i < N_TYPES; i++) {
        if (strcasecmp(TYPES[i].name, name) == 0) /* llama-quantize writes them in capitals */
            return TYPES[i].type;
    }
    return LLAMA_FTYPE_GUESSED;
}

enum llama_ftype snug__file_type_of(int type)
{
    for (size_t i = 0; i < sizeof DEFAULTS / sizeof *DEFAULTS; i++) {
        if (DEFAULTS[i].type == type)
            return DEFAULTS[i].file_type;
    }
    return LLAMA_FTYPE_GUESSED;
}

bool snug__needs_imatrix(const char *tensor, int type)
{
    if (strcmp(tensor, "output.weight") == 0 || strcmp(tensor, "token_embd.weight") == 0 ||
        strcmp(tensor, "per_layer_token_embd.weight") == 0)
        return false;
    return snug__type_needs_imatrix(type);
}

const char *const *snug_engine_weight_types(void)
{
    static const char *names[N_TYPES + 1]; /* written alike by every thread */
    int n = 0;
    for (int i = 0; i < N_TYPES; i++) {
        if (!TYPES[i].needs_imatrix)
            names[n++] = TYPES[i].name;
    }
    return names;
}

const char *const *snug_engine_recipe_names(void)
{
    static const char *names[N_TYPES + 1]; /* written alike by every thread */
    for (int i = 0; i < N_TYPES; i++)
        names[i] = TYPES[i].name;
    return names;
}

/* ---- calling the worker ---- */

static void put_request(struct snug_json_writer *w, const struct snug__quantize_ask *ask)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "quantize");
    snug_json_put_string(w, "model", ask->from);
    snug_json_put_string(w, "to", ask->to);
    snug_json_put_int(w, "file_type", ask->file_type);
    snug_json_put_bool(w, "dry", ask->is_dry);
    snug_json_put_bool(w, "pure", ask->is_pure);
    snug_json_put_bool(w, "has_imatrix", ask->has_imatrix);
    snug_json_put_bool(w, "requantize", ask->may_requantize);
    snug_json_put_string(w, "imatrix", ask->imatrix_path ? ask->imatrix_path : "");
    snug_json_put_int(w, "n_threads", ask->n_threads);
    snug_json_begin_array(w, "overrides");
    for (int i = 0; ask->types && i < ask->model->n_tensors; i++) {
        const struct snug_tensor *t = &ask->model->tensors[i];
        /* Tensors of one dimension keep their type, and each pattern costs a search per tensor. */
        if (t->n_dims < 2 || snug__file_type_of(ask->types[i]) == ask->file_type)
            continue;
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", t->name);
        snug_json_put_string(w, "type", snug_model_type_name(ask->types[i]));
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_end(w);
}

snug_status snug__quantize_call(struct snug__link *link, const struct snug_engine_options *options,
                                const struct snug__quantize_ask *ask, double deadline_s,
                                struct snug_json **out_doc, struct snug_error *err)
{
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    struct snug_json_writer request = {0};
    put_request(&request, ask);
    snug_status status = snug__link_call(link, options, &request, deadline_s, &doc, &end, err);
    const struct snug_json_node *root = snug_json_root(doc);
    if (status == SNUG_CRASHED && end.outcome == SNUG_TRIAL_TIMEOUT)
        status = snug_fail(err, SNUG_TIMEOUT, "%s: %s", ask->from, end.reason);
    else if (status == SNUG_CRASHED)
        status = snug_fail(err, SNUG_CRASHED, "%s: %s", ask->from, end.reason);
    else if (status == SNUG_OK && strcmp(snug_json_get_string(root, "event", ""), "quantized") != 0)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: %s", ask->from,
                           snug_json_get_string(root, "reason", "no reason given"));
    if (status == SNUG_OK && out_doc)
        *out_doc = doc;
    else
        snug_json_free(doc);
    return status;
}
