/* sens.json: a sensitivity and the tensors that it is of. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "plan/sensitivity.h"

enum { FILE_BYTES_MAX = 256 << 20 }; /* 65536 tensors of 32 types need half of it */

/* ---- writing ---- */

static void put_tensor(const struct snug_sensitivity *s, const struct snug_model *model, int i,
                       struct snug_json_writer *w)
{
    const struct snug_loss *loss = s->loss + i * s->n_types;
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", model->tensors[i].name);
    snug_json_put_number(w, "factor", snug__tensor_factor(model, i, s->method));
    snug_json_begin_array(w, "loss"); /* null: it cannot have the type */
    for (int k = 0; k < s->n_types; k++)
        snug_json_put_number(w, NULL, (double)loss[k].value);
    snug_json_end(w);
    snug_json_begin_array(w, "se");
    for (int k = 0; k < s->n_types; k++)
        snug_json_put_number(w, NULL, (double)loss[k].se);
    snug_json_end(w);
    snug_json_end(w);
}

char *snug_sensitivity_to_json(const struct snug_sensitivity *s, const struct snug_model *model)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "snug_sensitivity", SNUG__SENSITIVITY_VERSION);
    snug_json_put_string(&w, "method", snug_sensitivity_method_name(s->method));
    snug_json_put_string(&w, "model", model->name);
    snug_json_put_string(&w, "model_hash", s->model_hash);
    snug_json_put_string(&w, "text_hash", s->text_hash);
    snug_json_put_string(&w, "build", s->build);
    snug_json_put_string(&w, "unit", "nats per token");
    snug_json_put_number(&w, "lo_frac", s->lo_frac);
    snug_json_put_number(&w, "hi_frac", s->hi_frac);
    snug_json_begin_array(&w, "types");
    for (int k = 0; k < s->n_types; k++)
        snug_json_put_string(&w, NULL, snug_model_type_name(s->types[k]));
    snug_json_end(&w);
    snug_json_begin_array(&w, "tensors");
    for (int i = 0; i < s->n_tensors; i++)
        put_tensor(s, model, i, &w);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

snug_status snug_sensitivity_write(const struct snug_sensitivity *s, const struct snug_model *model,
                                   const char *path, struct snug_error *err)
{
    char *json = snug_sensitivity_to_json(s, model);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for it", path);
    const snug_status status = snug_file_write(path, json, strlen(json), err);
    free(json);
    return status;
}

/* ---- reading ---- */

struct reading {
    const char *path;
    const struct snug_json_node *root;
    const struct snug_model *model;
};

static snug_status read_method(const struct reading *r, struct snug_sensitivity *s,
                               struct snug_error *err)
{
    const char *name = snug_json_get_string(r->root, "method", "");
    for (int i = 0; i < SNUG_N_SENSITIVITY_METHODS; i++) {
        s->method = (enum snug_sensitivity_method)i;
        if (strcmp(name, snug_sensitivity_method_name(s->method)) == 0)
            return SNUG_OK;
    }
    return snug_fail(err, SNUG_BAD_INPUT,
                     "%s: method '%.40s' is none of position, weights, imatrix, kld", r->path,
                     name);
}

static snug_status read_head(const struct reading *r, struct snug_sensitivity *s,
                             struct snug_error *err)
{
    const int64_t version = snug_json_get_int(r->root, "snug_sensitivity", 0);
    const char *hash = snug_json_get_string(r->root, "model_hash", "");
    if (version != SNUG__SENSITIVITY_VERSION)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: snug_sensitivity is %lld, %d is expected: make it with snug "
                         "sensitivity",
                         r->path, (long long)version, SNUG__SENSITIVITY_VERSION);
    if (strcmp(hash, r->model->hash) != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: of another model (%.12s), not of %s (%.12s): make one with snug "
                         "sensitivity %s",
                         r->path, hash, r->model->path, r->model->hash, r->model->path);
    snprintf(s->model_hash, sizeof s->model_hash, "%s", hash);
    snprintf(s->text_hash, sizeof s->text_hash, "%s",
             snug_json_get_string(r->root, "text_hash", ""));
    snprintf(s->build, sizeof s->build, "%s", snug_json_get_string(r->root, "build", ""));
    s->lo_frac = snug_json_get_number(r->root, "lo_frac", NAN);
    s->hi_frac = snug_json_get_number(r->root, "hi_frac", NAN);
    if (!(s->lo_frac > 0.0 && s->lo_frac <= 1.0 && s->hi_frac >= 1.0 && s->hi_frac <= 1e6))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: lo_frac in 0..1 and hi_frac from 1 on are expected", r->path);
    return read_method(r, s, err);
}

static snug_status read_types(const struct reading *r, struct snug_sensitivity *s,
                              struct snug_error *err)
{
    const struct snug_json_node *types = snug_json_get(r->root, "types");
    const size_t n = snug_json_count(types);
    if (!snug_json_is_array(types) || n < 1 || n > SNUG_PLAN_TYPES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: types: a list of 1 to %d is expected", r->path,
                         SNUG_PLAN_TYPES_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *name = snug_json_string(snug_json_at(types, i), "");
        const int type = snug_model_type_from_name(name);
        if (type < 0)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: types[%zu]: '%.40s' is no tensor type",
                             r->path, i, name);
        for (int k = 0; k < s->n_types; k++) {
            if (s->types[k] == type)
                return snug_fail(err, SNUG_BAD_INPUT, "%s: types[%zu]: %.40s is there twice",
                                 r->path, i, name);
        }
        s->types[s->n_types++] = type;
    }
    return SNUG_OK;
}

static snug_status read_tensor(const struct reading *r, const struct snug_json_node *node, int i,
                               struct snug_sensitivity *s, struct snug_error *err)
{
    const struct snug_json_node *loss[SNUG_PLAN_TYPES_MAX], *se[SNUG_PLAN_TYPES_MAX];
    const struct snug_json_node *losses = snug_json_get(node, "loss"),
                                *ses = snug_json_get(node, "se");
    const size_t n = (size_t)s->n_types;
    bool is_any = false;
    if (strcmp(snug_json_get_string(node, "name", ""), r->model->tensors[i].name) != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: tensors[%d]: %s is expected", r->path, i,
                         r->model->tensors[i].name);
    if (snug_json_count(losses) != n || snug_json_count(ses) != n ||
        snug_json_elements(losses, loss, n) != n || snug_json_elements(ses, se, n) != n)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensors[%d]: loss and se of %zu numbers each are expected", r->path,
                         i, n);
    for (size_t k = 0; k < n; k++) {
        const struct snug_loss found = {(float)snug_json_number(loss[k], NAN),
                                        (float)snug_json_number(se[k], 0.0)};
        if (snug_json_is_number(loss[k]) &&
            !(found.value >= 0.0f && found.value <= 1e9f && found.se >= 0.0f && found.se <= 1e9f))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: tensors[%d]: losses and errors of 0 to 1e9 nats are expected",
                             r->path, i);
        is_any = is_any || snug_json_is_number(loss[k]);
        s->loss[i * s->n_types + (int)k] = found;
    }
    return is_any ? SNUG_OK
                  : snug_fail(err, SNUG_BAD_INPUT, "%s: tensors[%d]: no type that it can have",
                              r->path, i);
}

static snug_status read_tensors(const struct reading *r, struct snug_sensitivity *s,
                                struct snug_error *err)
{
    const struct snug_json_node *tensors = snug_json_get(r->root, "tensors");
    const size_t n = (size_t)r->model->n_tensors;
    if (!snug_json_is_array(tensors) || snug_json_count(tensors) != n || n == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: tensors: a list of %zu is expected", r->path, n);
    const struct snug_json_node **nodes = malloc(n * sizeof *nodes);
    s->n_tensors = r->model->n_tensors;
    s->loss = calloc(n * (size_t)s->n_types, sizeof *s->loss);
    snug_status status = nodes && s->loss && snug_json_elements(tensors, nodes, n) == n
                             ? SNUG_OK
                             : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for it", r->path);
    for (int i = 0; status == SNUG_OK && i < s->n_tensors; i++)
        status = read_tensor(r, nodes[i], i, s, err);
    free(nodes);
    return status;
}

snug_status snug_sensitivity_read(const char *path, const struct snug_model *model,
                                  struct snug_sensitivity *out, struct snug_error *err)
{
    struct snug_sensitivity s = {.n_types = 0};
    struct snug_json *doc = NULL;
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, FILE_BYTES_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug_json_parse(path, text, n, &doc, err);
    const struct reading r = {.path = path, .root = snug_json_root(doc), .model = model};
    if (status == SNUG_OK)
        status = read_head(&r, &s, err);
    if (status == SNUG_OK)
        status = read_types(&r, &s, err);
    if (status == SNUG_OK)
        status = read_tensors(&r, &s, err);
    if (status == SNUG_OK) {
        *out = s;
        s.loss = NULL; /* the caller owns it now */
    }
    snug_sensitivity_clear(&s);
    snug_json_free(doc);
    free(text);
    return status;
}
