/* The emitters, one row each, and what they all need: a plan that belongs to the model, paths that
 * can stand in a text, names that cannot break out of a comment. */
#include "snug/commands.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ggml.h>

#include "base/near.h"
#include "plan/emit.h"

#define STEM_CAP 256

static const struct snug_emitter EMITTERS[] = {
    {"llama-server", "serve the file over HTTP", "serve.sh", snug__emit_server},
    {"llama-cli", "chat with the file in a terminal", "chat.sh", snug__emit_cli},
    {"llama-bench", "measure the speeds that the plan predicts", "bench.sh", snug__emit_bench},
    {"llama-quantize", "make the file: a type per tensor", "quantize.sh", snug__emit_quantize},
    {"ollama", "a Modelfile, with what Ollama cannot follow", "Modelfile", snug__emit_ollama},
    {"transformers", "a Python snippet with bitsandbytes, nearest to the plan", "load.py",
     snug__emit_transformers},
    {"systemd", "a unit that runs llama-server within the plan's memory", "llama-server.service",
     snug__emit_systemd},
    {NULL, NULL, NULL, NULL},
};

enum { N_EMITTERS = sizeof EMITTERS / sizeof *EMITTERS - 1 };

const struct snug_emitter *snug_plan_emitters(void)
{
    return EMITTERS;
}

/* ---- parts ---- */

snug_status snug__emit_end(struct snug_buffer *out, char **out_text, struct snug_error *err)
{
    char *text = snug_buffer_take(out);
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the text of a command");
    *out_text = text;
    return SNUG_OK;
}

void snug__put_clean(struct snug_buffer *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        snug_buffer_append(out, c < 0x20 || c == 0x7f || c == '\\' ? "?" : p, 1);
    }
}

bool snug__is_matrix(const struct snug_tensor *tensor)
{
    return tensor->n_dims >= 2 && !strstr(tensor->name, "_norm.weight");
}

bool snug__tier_is_host(const struct snug_plan_tier *tier)
{
    return strcmp(tier->name, "CPU") == 0;
}

bool snug__tier_is_device(const struct snug_plan_tier *tier)
{
    return !snug__tier_is_host(tier) && strcmp(tier->name, "disk") != 0;
}

bool snug__split_name(const char *name, int64_t *out_layer, const char **out_rest)
{
    static const char prefix[] = "blk.";
    const char *digits = name + sizeof prefix - 1;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return false;
    const size_t n = strspn(digits, "0123456789");
    /* "blk.01" would come back as "blk.1". */
    if (n == 0 || n > 9 || (n > 1 && digits[0] == '0') || digits[n] != '.' || !digits[n + 1])
        return false;
    *out_layer = strtoll(digits, NULL, 10);
    *out_rest = digits + n + 1;
    return true;
}

/* ---- checks ---- */

static snug_status check_path(const char *what, const char *path, struct snug_error *err)
{
    if (!path)
        return SNUG_OK;
    if (strlen(path) > SNUG_COMMAND_PATH_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "path of the %s: %.40s... has %zu bytes, at most %d",
                         what, path, strlen(path), SNUG_COMMAND_PATH_MAX);
    if (path[0] == '\0')
        return snug_fail(err, SNUG_BAD_INPUT, "path of the %s: it is empty", what);
    const size_t at = strcspn(path, "\r\n");
    if (path[at] != '\0')
        return snug_fail(err, SNUG_BAD_INPUT,
                         "path of the %s: a line break after '%.*s' cannot stand in a command: "
                         "rename the file",
                         what, (int)(at < 80 ? at : 80), path);
    return SNUG_OK;
}

static snug_status check_options(const struct snug_command_options *o, struct snug_error *err)
{
    snug_status status = check_path("GGUF file", o->gguf_path, err);
    if (status == SNUG_OK)
        status = check_path("source", o->source_path, err);
    if (status == SNUG_OK)
        status = check_path("importance matrix", o->imatrix_path, err);
    if (status == SNUG_OK && (o->port < 0 || o->port > 65535))
        status =
            snug_fail(err, SNUG_BAD_INPUT, "port %d: 1 to 65535, or 0 for the default", o->port);
    return status;
}

static snug_status check_numbers(const struct snug_plan *plan, struct snug_error *err)
{
    if (plan->n_parallel < 1 || plan->n_ctx < plan->n_parallel)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan has a context of %lld tokens for %lld sequences: at least one "
                         "token each",
                         (long long)plan->n_ctx, (long long)plan->n_parallel);
    if (plan->n_ubatch < 1 || plan->n_batch < plan->n_ubatch)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan has n_batch %lld and n_ubatch %lld: at least 1, and n_ubatch "
                         "not above n_batch",
                         (long long)plan->n_batch, (long long)plan->n_ubatch);
    if (plan->n_gpu_layers < 0 || plan->n_threads < 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan has %lld layers on the GPU and %lld threads: no fewer than 0",
                         (long long)plan->n_gpu_layers, (long long)plan->n_threads);
    if (plan->type_v < 0 || plan->type_v >= GGML_TYPE_COUNT || plan->type_k < 0 ||
        plan->type_k >= GGML_TYPE_COUNT)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan has cache types %d and %d, which ggml has "
                         "not",
                         plan->type_k, plan->type_v);
    if (ggml_is_quantized((enum ggml_type)plan->type_v) && !plan->flash_attn)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan keeps V as %s without flash attention, which llama.cpp refuses",
                         snug_model_type_name(plan->type_v));
    return SNUG_OK;
}

/* Same tensors in the same order, each with a type that has blocks. */
static snug_status check_tensors(const struct snug_plan *plan, const struct snug_model *model,
                                 struct snug_error *err)
{
    if (plan->n_tensors != model->n_tensors || plan->n_tensors < 1 || !plan->names || !plan->types)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the plan has types for %d tensors, %s has %d: it is a plan of another "
                         "model",
                         plan->n_tensors, model->path, model->n_tensors);
    for (int i = 0; i < plan->n_tensors; i++) {
        const int type = plan->types[i];
        if (strcmp(plan->names[i], model->tensors[i].name) != 0)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "tensor %d of the plan is %s, of %s it is %s: it is a plan of another "
                             "model",
                             i, plan->names[i], model->path, model->tensors[i].name);
        /* ggml numbers types that it no longer has, with blocks of no elements. */
        if (type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size((enum ggml_type)type) < 1 ||
            ggml_type_size((enum ggml_type)type) < 1)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "tensor %s of the plan has type %d, which ggml has not",
                             plan->names[i], type);
    }
    return SNUG_OK;
}

/* ---- what is left out ---- */

static bool is_remote(const char *path)
{
    return strncmp(path, "hf:", 3) == 0 ||
           (path[0] != '/' && path[0] != '.' && strstr(path, "://"));
}

/* "llama3-8b" of "preset:llama3-8b:q4_0", "m" of "/a/m.gguf", of "http://h/m.gguf?x" and of the
 * folder "/a/m/", into out. */
static void stem_of(const char *path, bool is_preset, char out[STEM_CAP])
{
    static const char preset[] = "preset:", ending[] = ".gguf";
    const char *from = path;
    size_t n = is_remote(path) ? strcspn(path, "?#") : strlen(path);
    if (is_preset) {
        from += strncmp(path, preset, sizeof preset - 1) == 0 ? sizeof preset - 1 : 0;
        n = strcspn(from, ":");
    } else {
        while (n > 0 && path[n - 1] == '/')
            n--;
        const char *end = path + n;
        while (n > 0 && path[n - 1] != '/')
            n--;
        from = path + n;
        n = (size_t)(end - from);
        if (strncmp(path, "hf:", 3) == 0) { /* "hf:user/repo:quant" */
            const char *colon = memchr(from, ':', n);
            n = colon ? (size_t)(colon - from) : n;
        }
        if (n >= sizeof ending &&
            strncmp(from + n - (sizeof ending - 1), ending, sizeof ending - 1) == 0)
            n -= sizeof ending - 1;
    }
    if (n == 0)
        snprintf(out, STEM_CAP, "model");
    else
        snprintf(out, STEM_CAP, "%.*s", (int)(n < 200 ? n : 200), from);
}

/* A name that no program takes for an option or a type: llama-quantize reads "8b.gguf" as the type
 * of number 8. */
static void put_path(char out[SNUG__PATH_CAP], const char *path)
{
    const bool is_plain = path[0] == '/' || path[0] == '.';
    snprintf(out, SNUG__PATH_CAP, "%s%s", is_plain ? "" : "./", path);
}

static double average_bits(const struct snug_plan *plan, const struct snug_model *model)
{
    double bits = 0, n = 0;
    for (int i = 0; i < plan->n_tensors; i++) {
        if (!snug__is_matrix(&model->tensors[i]))
            continue;
        bits += snug_model_type_bits(plan->types[i]) * (double)model->tensors[i].n_elements;
        n += (double)model->tensors[i].n_elements;
    }
    return n > 0 ? bits / n : 0;
}

/* Where llama-quantize finds the weights: a GGUF that is here, or is still to come. */
static void fill_source(struct snug_command *c, const char *given)
{
    struct stat info;
    char stem[STEM_CAP], path[STEM_CAP + 16];
    if (given && !is_remote(given)) {
        put_path(c->source_path, given);
        c->origin = stat(given, &info) == 0 && S_ISDIR(info.st_mode) ? SNUG__ORIGIN_FOLDER
                                                                     : SNUG__ORIGIN_GGUF;
        if (c->origin == SNUG__ORIGIN_GGUF) {
            put_path(c->source_gguf, given);
            return;
        }
    } else if (given) {
        snprintf(c->source_path, sizeof c->source_path, "%s", given);
        c->origin = SNUG__ORIGIN_REMOTE;
    }
    const bool is_preset = !given && c->model->is_preset;
    stem_of(given ? given : c->model->path, is_preset, stem);
    snprintf(path, sizeof path, "%s%s.gguf", stem, c->origin == SNUG__ORIGIN_REMOTE ? "" : "-f16");
    put_path(c->source_gguf, path);
}

static void fill(struct snug_command *c, const struct snug_command_options *o)
{
    char stem[STEM_CAP], path[STEM_CAP + 16];
    stem_of(c->model->path, c->model->is_preset, stem);
    snprintf(path, sizeof path, "%s-plan.gguf", stem);
    put_path(c->gguf_path, o->gguf_path ? o->gguf_path : path);
    fill_source(c, o->source_path ? o->source_path : c->model->is_preset ? NULL : c->model->path);
    if (o->imatrix_path)
        put_path(c->imatrix_path, o->imatrix_path);
    c->name = c->plan->model_name[0] ? c->plan->model_name : c->model->name;
    c->port = o->port;
    c->n_ctx_seq = c->plan->n_ctx / c->plan->n_parallel;
    c->bits = average_bits(c->plan, c->model);
}

static const struct snug_emitter *find(const char *name, struct snug_error *err)
{
    const char *names[N_EMITTERS];
    char listed[256];
    size_t n = 0;
    for (int i = 0; i < N_EMITTERS; i++) {
        names[i] = EMITTERS[i].name;
        if (strcmp(names[i], name) == 0)
            return &EMITTERS[i];
        n += (size_t)snprintf(listed + n, n < sizeof listed ? sizeof listed - n : 0, "%s%s",
                              i ? ", " : "", names[i]);
        n = n < sizeof listed ? n : sizeof listed;
    }
    const char *near = snug__near_word(name, names, N_EMITTERS);
    (void)snug_fail(err, SNUG_NOT_FOUND, "no emitter '%.60s'%s%s%s; there are: %s", name,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "", listed);
    return NULL;
}

snug_status snug_plan_command(const struct snug_plan *plan, const struct snug_model *model,
                              const char *emitter, const struct snug_command_options *options,
                              char **out_text, struct snug_error *err)
{
    static const struct snug_command_options none;
    const struct snug_command_options *o = options ? options : &none;
    const struct snug_emitter *row = find(emitter, err);
    if (!row)
        return SNUG_NOT_FOUND;
    snug_status status = check_options(o, err);
    if (status == SNUG_OK && !model->is_preset && !o->source_path)
        status = check_path("model", model->path, err);
    if (status == SNUG_OK)
        status = check_numbers(plan, err);
    if (status == SNUG_OK)
        status = check_tensors(plan, model, err);
    if (status != SNUG_OK)
        return status;
    struct snug_command *c = calloc(1, sizeof *c); /* three paths are much for a stack */
    if (!c)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the command of %s", emitter);
    c->plan = plan;
    c->model = model;
    fill(c, o);
    status = row->emit(c, out_text, err);
    free(c);
    return status;
}
