/* Tensors by what they do: roles from names, and groups of role by band of layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sensitivity.h"
#include "plan/sensitivity.h"

const char *snug__tensor_role(const char *name, char out[SNUG__ROLE_MAX], int64_t *out_layer)
{
    const char *role = name;
    *out_layer = -1;
    if (strncmp(name, "blk.", 4) == 0 && name[4] >= '0' && name[4] <= '9') {
        char *end = NULL;
        const long layer = strtol(name + 4, &end, 10);
        if (*end == '.' && layer < SNUG_GGUF_TENSORS_MAX) {
            *out_layer = layer;
            role = end + 1;
        }
    }
    const size_t n = strlen(role);
    const bool is_weight = n > 7 && strcmp(role + n - 7, ".weight") == 0;
    snprintf(out, SNUG__ROLE_MAX, "%.*s", (int)(is_weight ? n - 7 : n), role);
    return out;
}

/* Band of a layer: begin and end, both 0..n_layer. */
static void band_of(int64_t layer, int64_t n_layer, int64_t *out_begin, int64_t *out_end)
{
    const int64_t n = n_layer > layer ? n_layer : layer + 1;
    const int64_t n_bands = n < SNUG__BANDS ? n : SNUG__BANDS;
    int64_t band = 0;
    while (layer >= (band + 1) * n / n_bands)
        band++;
    *out_begin = band * n / n_bands;
    *out_end = (band + 1) * n / n_bands;
}

static void name_group(struct snug__tensor_group *g)
{
    if (g->layer_begin < 0)
        snprintf(g->name, sizeof g->name, "%s", g->role);
    else if (g->layer_end == g->layer_begin + 1)
        snprintf(g->name, sizeof g->name, "%s %lld", g->role, (long long)g->layer_begin);
    else
        snprintf(g->name, sizeof g->name, "%s %lld-%lld", g->role, (long long)g->layer_begin,
                 (long long)g->layer_end - 1);
}

static struct snug__tensor_group *find_group(struct snug__tensor_groups *groups,
                                             const struct snug__tensor_group *like)
{
    for (int i = 0; i < groups->n; i++) {
        struct snug__tensor_group *g = &groups->groups[i];
        if (g->layer_begin == like->layer_begin && strcmp(g->role, like->role) == 0)
            return g;
    }
    groups->groups[groups->n] = *like;
    return &groups->groups[groups->n++];
}

static snug_status add(struct snug__tensor_group *g, int i_tensor, struct snug_error *err)
{
    if ((g->n & (g->n - 1)) == 0) { /* full at each power of two */
        const size_t cap = g->n ? 2 * (size_t)g->n : 1;
        int *more = realloc(g->tensors, cap * sizeof *more);
        if (!more)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for groups of tensors");
        g->tensors = more;
    }
    g->tensors[g->n++] = i_tensor;
    return SNUG_OK;
}

snug_status snug__tensor_groups(const struct snug_model *model, bool is_per_tensor,
                                struct snug__tensor_groups *out, struct snug_error *err)
{
    struct snug__tensor_groups groups = {
        .groups = calloc((size_t)model->n_tensors + 1, sizeof *groups.groups)};
    if (!groups.groups)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for groups of tensors");
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < model->n_tensors; i++) {
        const struct snug_tensor *t = &model->tensors[i];
        struct snug__tensor_group like = {.layer_begin = -1, .layer_end = -1};
        int64_t layer = -1;
        if (!snug__tensor_is_quantisable(t))
            continue;
        snug__tensor_role(t->name, like.role, &layer);
        struct snug__tensor_group *g = NULL;
        if (is_per_tensor) {
            g = &groups.groups[groups.n++];
            *g = like;
            g->layer_begin = layer;
            g->layer_end = layer < 0 ? -1 : layer + 1;
            snprintf(g->name, sizeof g->name, "%s", t->name);
        } else {
            if (layer >= 0)
                band_of(layer, model->n_layer, &like.layer_begin, &like.layer_end);
            g = find_group(&groups, &like);
            name_group(g);
        }
        status = add(g, i, err);
    }
    if (status == SNUG_OK)
        *out = groups;
    else
        snug__tensor_groups_clear(&groups);
    return status;
}

void snug__tensor_groups_clear(struct snug__tensor_groups *groups)
{
    for (int i = 0; i < groups->n; i++)
        free(groups->groups[i].tensors);
    free(groups->groups);
    *groups = (struct snug__tensor_groups){.n = 0};
}
