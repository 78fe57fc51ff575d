/* A plan in words and tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plan.h"
#include "plan/sensitivity.h"
#include "report/table.h"
#include "snug/units.h"

double cli_plan_bits(const struct snug_plan *plan)
{
    return plan->n_params ? 8.0 * (double)plan->file_bytes / (double)plan->n_params : 0.0;
}

static bool is_same_role(const char *a, const char *b)
{
    char role_a[SNUG__ROLE_MAX], role_b[SNUG__ROLE_MAX];
    int64_t layer_a, layer_b;
    snug__tensor_role(a, role_a, &layer_a);
    snug__tensor_role(b, role_b, &layer_b);
    return strcmp(role_a, role_b) == 0 && (layer_a < 0) == (layer_b < 0);
}

/* "0-3,9" of the layers of one role that have this type. */
static void put_layers(struct snug_buffer *out, const struct snug_plan *plan, int like, int type)
{
    int64_t begin = -1, last = -2;
    bool is_first = true;
    for (int t = 0; t <= plan->n_tensors; t++) {
        char role[SNUG__ROLE_MAX];
        int64_t layer = -1;
        const bool is_one = t < plan->n_tensors &&
                            is_same_role(plan->names[t], plan->names[like]) &&
                            plan->types[t] == type;
        if (is_one)
            snug__tensor_role(plan->names[t], role, &layer);
        if (is_one && layer == last + 1) {
            last = layer;
            continue;
        }
        if ((is_one || t == plan->n_tensors) && begin >= 0) {
            snug_buffer_printf(out, begin == last ? "%s%lld" : "%s%lld-%lld", is_first ? "" : ",",
                               (long long)begin, (long long)last);
            is_first = false;
        }
        if (is_one)
            begin = last = layer;
    }
}

static bool is_first_of_role(const struct snug_plan *plan, int t)
{
    for (int i = 0; i < t; i++) {
        if (is_same_role(plan->names[i], plan->names[t]))
            return false;
    }
    return true;
}

static bool is_seen_type(const struct snug_plan *plan, int like, int t)
{
    for (int i = 0; i < t; i++) {
        if (is_same_role(plan->names[i], plan->names[like]) && plan->types[i] == plan->types[t])
            return true;
    }
    return false;
}

/* Weights of one role: its types, and the layers that have each where there are several. */
static void put_role(struct snug_buffer *out, const struct cli_planning *p, int like)
{
    const struct snug_plan *plan = &p->plan;
    char role[SNUG__ROLE_MAX];
    int64_t layer;
    snug__tensor_role(plan->names[like], role, &layer);
    int n_types = 0;
    for (int t = like; t < plan->n_tensors; t++)
        n_types += is_same_role(plan->names[t], plan->names[like]) && !is_seen_type(plan, like, t);
    snug_buffer_printf(out, "  %-18s", role);
    for (int t = like; t < plan->n_tensors; t++) {
        if (!is_same_role(plan->names[t], plan->names[like]) || is_seen_type(plan, like, t))
            continue;
        snug_buffer_printf(out, " %s", snug_model_type_name(plan->types[t]));
        if (n_types > 1) {
            snug_buffer_puts(out, " (");
            put_layers(out, plan, like, plan->types[t]);
            snug_buffer_puts(out, ")");
        }
    }
    snug_buffer_puts(out, "\n");
}

static void put_weights(struct snug_buffer *out, const struct cli_planning *p)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    const struct snug_plan *plan = &p->plan;
    snug_buffer_printf(out, "%-11s %.2f bits per weight, %s of file (from %s of %s)\n", "weights",
                       cli_plan_bits(plan), snug_bytes_text(plan->file_bytes, a),
                       snug_bytes_text(p->model.bytes_file, b), p->model.file_type);
    for (int t = 0; t < plan->n_tensors; t++) {
        if (p->model.tensors[t].n_dims >= 2 && is_first_of_role(plan, t))
            put_role(out, p, t);
    }
}

static void put_memory(struct snug_buffer *out, const struct snug_plan *plan)
{
    struct snug_table table = {.n_columns = 0};
    const char *const names[] = {"tier",    "layers", "weights", "cache",
                                 "compute", "base",   "sum",     "of"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        snug_table_column(&table, names[i], i == 0 ? SNUG_COLUMN_TEXT : SNUG_COLUMN_NUMBER);
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &plan->tiers[i];
        const uint64_t kinds[] = {t->weights, t->cache, t->compute, t->reserve};
        uint64_t sum = 0;
        char text[SNUG_UNIT_TEXT_MAX];
        snug_table_cell_text(&table, t->name);
        snug_table_cell_number(&table, (double)t->n_layer, 0);
        for (size_t k = 0; k < 4; k++) {
            sum += kinds[k];
            snug_table_cell_text(&table, snug_bytes_text(kinds[k], text));
        }
        snug_table_cell_text(&table, snug_bytes_text(sum, text));
        snug_table_cell_text(&table, t->bytes_usable ? snug_bytes_text(t->bytes_usable, text) : "");
        snug_table_row_end(&table);
    }
    snug_table_render(&table, SNUG_TABLE_MD, out);
    snug_table_clear(&table);
    char text[SNUG_UNIT_TEXT_MAX], lo[SNUG_UNIT_TEXT_MAX], hi[SNUG_UNIT_TEXT_MAX];
    snug_buffer_printf(out, "\n%-11s %s of this process (%s to %s)\n", "peak",
                       snug_bytes_text((uint64_t)plan->host_bytes.value, text),
                       snug_bytes_text((uint64_t)plan->host_bytes.lo, lo),
                       snug_bytes_text((uint64_t)plan->host_bytes.hi, hi));
}

static void put_range(struct snug_buffer *out, const char *name, const struct snug_prediction *x,
                      const char *unit)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX], c[SNUG_UNIT_TEXT_MAX];
    snug_buffer_printf(out, "%-11s %s %s (%s to %s)\n", name, snug_rate_text(x->value, a), unit,
                       snug_rate_text(x->lo, b), snug_rate_text(x->hi, c));
}

static void put_speed(struct snug_buffer *out, const struct snug_plan *plan)
{
    char name[64], a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX], c[SNUG_UNIT_TEXT_MAX];
    for (int i = 0; i < plan->n_depths; i++) {
        snprintf(name, sizeof name, "tokens/s%s behind %lld",
                 plan->n_parallel > 1 ? " of each sequence" : "", (long long)plan->depths[i]);
        put_range(out, i == 0 ? "decode" : "", &plan->decode_tps[i], name);
    }
    put_range(out, "prefill", &plan->prefill_tps, "tokens/s");
    snug_buffer_printf(out, "%-11s %s for %lld tokens of prompt (%s to %s)\n", "first token",
                       snug_seconds_text(plan->ttft_s.value, a), (long long)plan->n_prompt,
                       snug_seconds_text(plan->ttft_s.lo, b),
                       snug_seconds_text(plan->ttft_s.hi, c));
}

void cli_plan_put(struct snug_buffer *out, const struct cli_planning *p)
{
    const struct snug_plan *plan = &p->plan;
    snug_buffer_printf(out, "%-11s %s: %s\n", "verdict", snug_plan_grade_name(plan->grade),
                       plan->reason);
    snug_buffer_printf(out, "%-11s %s, %.2f B parameters\n", "model",
                       plan->model_name[0] ? plan->model_name : p->args->operand,
                       (double)plan->n_params / 1e9);
    snug_buffer_printf(out, "%-11s %s (%s), %lld threads\n\n", "machine", plan->machine,
                       plan->law_source, (long long)plan->n_threads);
    put_weights(out, p);
    snug_buffer_printf(out, "%-11s K %s, V %s; context %lld", "cache",
                       snug_model_type_name(plan->type_k), snug_model_type_name(plan->type_v),
                       (long long)(plan->n_ctx / plan->n_parallel));
    if (plan->n_parallel > 1)
        snug_buffer_printf(out, " for each of %lld sequences", (long long)plan->n_parallel);
    snug_buffer_printf(out, "\n%-11s %lld layers on the GPU, batch %lld, ubatch %lld, %s\n\n",
                       "runs with", (long long)plan->n_gpu_layers, (long long)plan->n_batch,
                       (long long)plan->n_ubatch,
                       plan->use_mmap ? "weights mapped as they are" : "weights read into memory");
    put_memory(out, plan);
    put_speed(out, plan);
    snug_buffer_printf(
        out, "%-11s KLD %.4f nats per token (%.4f to %.4f), by %s%s\n", "loss", plan->loss.value,
        plan->loss.lo, plan->loss.hi, snug_sensitivity_method_name(plan->method),
        plan->gap_frac > 0.0                      ? ""
        : plan->loss.value <= SNUG_PLAN_LOSS_NONE ? "; less than shows, so the fastest such choice"
                                                  : "; no other choice loses less");
    for (int i = 0; i < plan->n_notes; i++)
        snug_buffer_printf(out, "%-11s %s\n", i == 0 ? "notes" : "", plan->notes[i]);
}
