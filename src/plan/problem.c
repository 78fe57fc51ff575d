/* From model, law and sensitivity to options: which types each tensor may have, where it lies, and
 * how much of it a step reads. */
#include "plan/problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "model/gguf_read.h"
#include "plan/sensitivity.h"

static const int64_t N_CTX_DEFAULT = 8192;
static const int64_t N_PROMPT_DEFAULT = 512;
static const int64_t N_PARALLEL_BATCH = 8;
static const uint64_t NEVER_BYTES = UINT64_C(1) << 50; /* of an option that is left out */

void snug_plan_request_init(struct snug_plan_request *out)
{
    *out = (struct snug_plan_request){.type_floor = -1};
}

/* "blk.12.attn_q.weight" is of layer 12; the output of layer n_layer, as libllama counts. */
static int64_t layer_of(const struct snug_model *m, const char *name)
{
    char role[SNUG__ROLE_MAX];
    int64_t layer = -1;
    snug__tensor_role(name, role, &layer);
    return layer < 0 && strncmp(name, "output", 6) == 0 ? m->n_layer : layer;
}

/* An embedding is looked up by rows, unless it makes the logits too; of experts only some work. */
static void set_shares(struct snug__problem *p, int t)
{
    const struct snug_model *m = p->model;
    const char *name = m->tensors[t].name;
    p->layer[t] = layer_of(m, name);
    p->read_frac[t] = p->prompt_frac[t] = 1.0;
    if (strcmp(name, "token_embd.weight") == 0 && m->is_tied) {
        p->tied = t;
        p->layer[t] = m->n_layer; /* the product lies where the output does */
        p->prompt_frac[t] = 0.0;
    } else if (strcmp(name, "token_embd.weight") == 0) {
        p->read_frac[t] = p->prompt_frac[t] = 0.0;
    } else if (strcmp(name, "output.weight") == 0) {
        p->prompt_frac[t] = 0.0; /* of a prompt only the last token's logits are made */
    } else if (p->layer[t] < 0) {
        p->read_frac[t] = p->prompt_frac[t] = 0.0; /* position embeddings, rope factors */
    } else if (strstr(name, "_exps.") && m->n_expert > 0 && m->n_expert_used > 0) {
        p->read_frac[t] = p->prompt_frac[t] = (double)m->n_expert_used / (double)m->n_expert;
    }
    if (m->tensors[t].n_dims < 2) /* part of what a layer costs */
        p->read_frac[t] = p->prompt_frac[t] = 0.0;
}

static void add_options(struct snug__problem *p, int t)
{
    const struct snug_sensitivity *s = p->request->sensitivity;
    const struct snug_tensor *tensor = &p->model->tensors[t];
    const int floor = p->request->type_floor;
    struct snug__plan_option *out = p->options + p->begin[t];
    int n = 0;
    bool has_source = false;
    for (int k = 0; k < s->n_types; k++) {
        const struct snug_loss *loss = &s->loss[(size_t)t * (size_t)s->n_types + (size_t)k];
        if (!isfinite(loss->value) || tensor->n_dims < 2 ||
            tensor->ne[0] % ggml_blck_size((enum ggml_type)s->types[k]) != 0)
            continue;
        if (floor >= 0 && snug_model_type_bits(s->types[k]) < snug_model_type_bits(floor) &&
            s->types[k] != tensor->type)
            continue;
        has_source = has_source || s->types[k] == tensor->type;
        out[n++] =
            (struct snug__plan_option){s->types[k], snug_model_tensor_bytes(tensor, s->types[k]),
                                       fmax((double)loss->value, 0.0)};
    }
    if (!has_source)
        out[n++] = (struct snug__plan_option){tensor->type, tensor->bytes, 0.0};
    p->begin[t + 1] = p->begin[t] + n;
}

static snug_status check(const struct snug_plan_request *r, struct snug_error *err)
{
    const struct snug_sensitivity *s = r->sensitivity;
    if (s->n_tensors != r->model->n_tensors || s->n_types < 0 || s->n_types > SNUG_PLAN_TYPES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the sensitivity is of a model of %d tensors, this one has %d: make it "
                         "anew with snug sensitivity",
                         s->n_tensors, r->model->n_tensors);
    if (s->model_hash[0] && r->model->hash[0] && strcmp(s->model_hash, r->model->hash) != 0)
        return snug_fail(
            err, SNUG_BAD_INPUT,
            "the sensitivity is of another model (hash %.12s, not %.12s): make it anew "
            "with snug sensitivity",
            s->model_hash, r->model->hash);
    if (r->law->n_tiers < 1 || r->law->n_tiers > SNUG_TIERS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a machine of %d tiers", r->law->n_tiers);
    if (r->n_ctx < 0 || r->n_parallel < 0 || r->n_prompt < 0 || r->target_tps < 0.0 ||
        r->target_ttft_s < 0.0 || r->loss_max < 0.0)
        return snug_fail(err, SNUG_BAD_INPUT, "lengths and targets cannot be below 0");
    if (r->model->n_layer < 1 || r->model->n_tensors < 1)
        return snug_fail(err, SNUG_BAD_INPUT, "%.200s: no layers of a known architecture to plan",
                         r->model->path);
    return SNUG_OK;
}

static void set_lengths(struct snug__problem *p)
{
    const struct snug_plan_request *r = p->request;
    const int64_t trained = p->model->n_ctx_train > 0 ? p->model->n_ctx_train : N_CTX_DEFAULT;
    int64_t n_ctx = trained < N_CTX_DEFAULT ? trained : N_CTX_DEFAULT;
    if (r->goal == SNUG_PLAN_LONG)
        n_ctx = trained;
    p->n_ctx = r->n_ctx > 0 ? r->n_ctx : n_ctx;
    p->n_parallel = r->goal == SNUG_PLAN_BATCH ? N_PARALLEL_BATCH : 1;
    p->n_parallel = r->n_parallel > 0 ? r->n_parallel : p->n_parallel;
    p->n_prompt = r->goal == SNUG_PLAN_LONG ? p->n_ctx / 2 : N_PROMPT_DEFAULT;
    p->n_prompt = r->n_prompt > 0 ? r->n_prompt : p->n_prompt;
    p->n_prompt = p->n_prompt < p->n_ctx ? p->n_prompt : p->n_ctx - 1;
    p->n_prompt = p->n_prompt > 0 ? p->n_prompt : 1;
}

static void set_tiers(struct snug__problem *p)
{
    p->device = p->host = p->disk = -1;
    for (int i = 0; i < p->law->n_tiers; i++) {
        const enum snug_tier_kind kind = p->law->tiers[i].kind;
        int *index = kind == SNUG_TIER_DEVICE ? &p->device
                     : kind == SNUG_TIER_HOST ? &p->host
                                              : &p->disk;
        *index = i;
    }
}

snug_status snug__problem_init(struct snug__problem *p, const struct snug_plan_request *request,
                               struct snug_error *err)
{
    const snug_status status = check(request, err);
    if (status != SNUG_OK)
        return status;
    *p = (struct snug__problem){.request = request,
                                .model = request->model,
                                .law = request->law,
                                .tied = -1,
                                .n_tensors = request->model->n_tensors,
                                .n_layer = request->model->n_layer};
    const size_t n = (size_t)p->n_tensors;
    const size_t n_options = n * ((size_t)request->sensitivity->n_types + 1);
    p->layer = malloc(n * sizeof *p->layer);
    p->read_frac = malloc(n * sizeof *p->read_frac);
    p->prompt_frac = malloc(n * sizeof *p->prompt_frac);
    p->begin = calloc(n + 1, sizeof *p->begin);
    p->options = malloc(n_options * sizeof *p->options);
    if (!p->layer || !p->read_frac || !p->prompt_frac || !p->begin || !p->options) {
        snug__problem_clear(p);
        return snug_fail(err, SNUG_NO_MEMORY, "a plan of %zu tensors", n);
    }
    for (int t = 0; t < p->n_tensors; t++) {
        set_shares(p, t);
        add_options(p, t);
    }
    set_lengths(p);
    set_tiers(p);
    if (p->host < 0) {
        snug__problem_clear(p);
        return snug_fail(err, SNUG_BAD_INPUT, "a machine without memory of its own");
    }
    /* Header, and what alignment may add to each tensor, whatever its type. */
    const uint64_t file_bytes = snug_engine_file_bytes(request->model, NULL);
    if (file_bytes > request->model->bytes_tensors)
        p->header_bytes = file_bytes - request->model->bytes_tensors +
                          (uint64_t)p->n_tensors * SNUG__GGUF_ALIGNMENT;
    else if (request->model->bytes_file > request->model->bytes_tensors)
        p->header_bytes = request->model->bytes_file - request->model->bytes_tensors;
    return SNUG_OK;
}

void snug__problem_clear(struct snug__problem *p)
{
    free(p->layer);
    free(p->read_frac);
    free(p->prompt_frac);
    free(p->begin);
    free(p->options);
    *p = (struct snug__problem){.model = NULL};
}

int snug__problem_side(const struct snug__problem *p, const struct snug__candidate *c, int tensor)
{
    const int64_t first = p->n_layer + 1 - c->shape.n_gpu_layers;
    return p->device >= 0 && c->shape.n_gpu_layers > 0 && p->layer[tensor] >= 0 &&
                   p->layer[tensor] >= first
               ? 0
               : 1;
}

uint64_t snug__tied_copy_bytes(const struct snug__problem *p, const struct snug__candidate *c,
                               int type)
{
    const bool is_copied =
        p->tied >= 0 && (snug__problem_side(p, c, p->tied) == 0 ||
                         (c->bytes.tied_repacked >> type & 1 && !c->shape.use_mmap));
    return is_copied ? snug_model_tensor_bytes(&p->model->tensors[p->tied], type) : 0;
}

const struct snug__plan_option *snug__option_least(const struct snug__problem *p, int tensor)
{
    const struct snug__plan_option *least = &p->options[p->begin[tensor]];
    for (int o = p->begin[tensor]; o < p->begin[tensor + 1]; o++)
        least = p->options[o].bytes < least->bytes ? &p->options[o] : least;
    return least;
}

void snug__least_bytes(const struct snug__problem *p, const struct snug__candidate *c,
                       uint64_t out[2])
{
    out[0] = out[1] = 0;
    for (int t = 0; t < p->n_tensors; t++)
        out[snug__problem_side(p, c, t)] += snug__option_least(p, t)->bytes;
}

uint64_t snug__above(uint64_t bytes, uint64_t limit)
{
    return bytes > limit ? bytes - limit : 0;
}

/* ---- types under prices ---- */

static double option_decode_s(const struct snug__problem *p, int side, int t,
                              const struct snug__plan_option *o)
{
    const struct snug_law_tier *tier = &p->law->tiers[side == 0 ? p->device : p->host];
    return (double)o->bytes * p->read_frac[t] * tier->decode_s_per_byte[o->type];
}

static double option_prompt_s(const struct snug__problem *p, int side, int t,
                              const struct snug__plan_option *o)
{
    const struct snug_law_tier *tier = &p->law->tiers[side == 0 ? p->device : p->host];
    return 2.0 * (double)p->model->tensors[t].n_elements * p->prompt_frac[t] * (double)p->n_prompt *
           tier->prefill_s_per_flop[o->type];
}

static const struct snug__plan_option *option_of(const struct snug__problem *p, int t, int type)
{
    for (int o = p->begin[t]; o < p->begin[t + 1]; o++) {
        if (p->options[o].type == type)
            return &p->options[o];
    }
    return NULL;
}

typedef double (*seconds_fn)(const struct snug__problem *p, int side, int t,
                             const struct snug__plan_option *o);

static double sum_seconds(const struct snug__problem *p, const struct snug__candidate *c,
                          const int *types, seconds_fn seconds)
{
    double sum = 0.0;
    for (int t = 0; t < p->n_tensors; t++) {
        const struct snug__plan_option *o = option_of(p, t, types[t]);
        const struct snug__plan_option own = {
            types[t], snug_model_tensor_bytes(&p->model->tensors[t], types[t]), NAN};
        sum += seconds(p, snug__problem_side(p, c, t), t, o ? o : &own);
    }
    return sum;
}

double snug__types_decode_s(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types)
{
    return sum_seconds(p, c, types, option_decode_s);
}

double snug__types_prompt_s(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types)
{
    return sum_seconds(p, c, types, option_prompt_s);
}

struct side_work {
    const struct snug__problem *p;
    const struct snug__candidate *c;
    const struct snug__prices *prices;
    bool is_exact;
    struct snug__knapsack_item *items;
    struct snug__knapsack_option *options;
    int *tensor, *choice;
};

/* Is the host's memory what limits it, and not the size of the file, so that the copy of a tied
 * embedding counts? */
static bool counts_copy(const struct snug__problem *p, const struct snug__candidate *c)
{
    uint64_t most = 0;
    if (p->tied < 0)
        return false;
    for (int o = p->begin[p->tied]; o < p->begin[p->tied + 1]; o++)
        most = p->options[o].bytes > most ? p->options[o].bytes : most;
    return snug__above(c->host_room, c->budget[1]) < most;
}

/* The items of one side. Of a tied embedding on the device only types whose copy leaves the host's
 * smallest types room. */
static int add_items(struct side_work *w, int side)
{
    const struct snug__problem *p = w->p;
    const struct snug__candidate *c = w->c;
    const struct snug__prices *prices = w->prices;
    const bool has_copy = counts_copy(p, c);
    uint64_t least[2];
    snug__least_bytes(p, c, least);
    const uint64_t copy_max = snug__above(c->budget[1], least[1]);
    int n = 0;
    size_t at = 0;
    for (int t = 0; t < p->n_tensors; t++) {
        if (snug__problem_side(p, c, t) != side)
            continue;
        const size_t first = at;
        const bool is_tied = has_copy && t == p->tied;
        for (int o = p->begin[t]; o < p->begin[t + 1]; o++) {
            const struct snug__plan_option *option = &p->options[o];
            const uint64_t copy = is_tied ? snug__tied_copy_bytes(p, c, option->type) : 0;
            const bool is_left_out = side == 0 && copy > copy_max && !c->is_over_disk;
            w->options[at++] = (struct snug__knapsack_option){
                is_left_out ? NEVER_BYTES : option->bytes + (side == 1 ? copy : 0),
                prices->loss * option->loss + prices->decode * option_decode_s(p, side, t, option) +
                    prices->prompt * option_prompt_s(p, side, t, option)};
        }
        w->tensor[n] = t;
        w->items[n++] = (struct snug__knapsack_item){w->options + first, (int)(at - first)};
    }
    return n;
}

static snug_status solve_within(const struct side_work *w, const struct snug__knapsack *k,
                                uint64_t budget, struct snug__knapsack_answer *out,
                                struct snug_error *err)
{
    if (w->is_exact || k->bytes_min > budget)
        return snug__knapsack_solve(k, budget, w->choice, out, err);
    snug__knapsack_bound(k, budget, w->choice, out);
    return SNUG_OK;
}

/* Host memory that the copy takes whatever type the embedding has, and with the type it has. */
static void copy_bytes(const struct side_work *w, const int *types, uint64_t *out_least,
                       uint64_t *out_bytes)
{
    const struct snug__problem *p = w->p;
    *out_least = *out_bytes = 0;
    if (!counts_copy(p, w->c) || snug__problem_side(p, w->c, p->tied) != 0)
        return;
    *out_bytes = snug__tied_copy_bytes(p, w->c, types[p->tied]);
    *out_least = snug__option_least(p, p->tied)->bytes;
}

/* The host after the device: the copy of an embedding that lies there takes room here. The bound
 * holds for whatever type it could have had; what is chosen fits beside the one that it has. */
static snug_status solve_side(struct side_work *w, int side, int *out_types,
                              struct snug__types_answer *out, struct snug_error *err)
{
    const struct snug__problem *p = w->p;
    struct snug__knapsack k;
    struct snug__knapsack_answer answer = {0};
    const int n = add_items(w, side);
    snug_status status = snug__knapsack_init(&k, w->items, n, err);
    if (status != SNUG_OK)
        return status;
    uint64_t least = 0, copy = 0, budget = w->c->budget[side];
    if (side == 1)
        copy_bytes(w, out_types, &least, &copy);
    if (side == 1 && w->c->is_over_disk && k.bytes_min > snug__above(budget, copy))
        budget = k.bytes_min + copy; /* what does not fit is read again and again: the least */
    status = solve_within(w, &k, snug__above(budget, least), &answer, err);
    const double bound = answer.bound;
    if (status == SNUG_OK && answer.bytes > snug__above(budget, copy)) {
        status = solve_within(w, &k, snug__above(budget, copy), &answer, err);
        answer.is_proved = false;
    }
    snug__knapsack_clear(&k);
    if (status != SNUG_OK)
        return status;
    out->bound += bound;
    out->bytes += answer.bytes;
    out->is_proved = out->is_proved && answer.is_proved;
    for (int i = 0; i < n; i++) {
        const struct snug__plan_option *o = &p->options[p->begin[w->tensor[i]] + w->choice[i]];
        out_types[w->tensor[i]] = o->type;
        out->loss += o->loss;
    }
    return SNUG_OK;
}

snug_status snug__types_solve(const struct snug__problem *p, const struct snug__candidate *c,
                              const struct snug__prices *prices, bool is_exact, int *out_types,
                              struct snug__types_answer *out, struct snug_error *err)
{
    const size_t n = (size_t)p->n_tensors, n_options = (size_t)p->begin[n];
    struct side_work w = {.p = p,
                          .c = c,
                          .prices = prices,
                          .is_exact = is_exact,
                          .items = malloc(n * sizeof *w.items),
                          .options = malloc(n_options * sizeof *w.options),
                          .tensor = malloc(n * sizeof *w.tensor),
                          .choice = malloc(n * sizeof *w.choice)};
    snug_status status = SNUG_OK;
    *out = (struct snug__types_answer){.is_proved = is_exact};
    if (!w.items || !w.options || !w.tensor || !w.choice)
        status = snug_fail(err, SNUG_NO_MEMORY, "a plan of %zu tensors", n);
    for (int side = 0; side < 2 && status == SNUG_OK; side++)
        status = solve_side(&w, side, out_types, out, err);
    free(w.items);
    free(w.options);
    free(w.tensor);
    free(w.choice);
    return status;
}
