/* Tables below a plan: the menu, uniform recipes beside it, and what more of something would buy.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plan.h"
#include "report/table.h"
#include "snug/units.h"

enum { MENU = 64, N_UBATCH = 512, TYPE_F16 = 1, TYPE_Q8_0 = 8, TYPE_Q4_0 = 2 };

static void open_table(struct snug_table *table)
{
    snug_table_column(table, "plan", SNUG_COLUMN_TEXT);
    snug_table_column(table, "file", SNUG_COLUMN_TEXT);
    snug_table_column(table, "bits", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "KV", SNUG_COLUMN_TEXT);
    snug_table_column(table, "GPU layers", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "context", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "memory", SNUG_COLUMN_TEXT);
    snug_table_column(table, "decode t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "prefill t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "loss KLD", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "verdict", SNUG_COLUMN_TEXT);
}

static void put_row(struct snug_table *table, const char *name, const struct snug_plan *plan)
{
    char text[SNUG_UNIT_TEXT_MAX], kv[64];
    snprintf(kv, sizeof kv, "%s/%s", snug_model_type_name(plan->type_k),
             snug_model_type_name(plan->type_v));
    snug_table_cell_text(table, name);
    snug_table_cell_text(table, snug_bytes_text(plan->file_bytes, text));
    snug_table_cell_number(table, cli_plan_bits(plan), 2);
    snug_table_cell_text(table, kv);
    snug_table_cell_number(table, (double)plan->n_gpu_layers, 0);
    snug_table_cell_number(table, (double)(plan->n_ctx / plan->n_parallel), 0);
    snug_table_cell_text(table, snug_bytes_text(plan->total_bytes, text));
    snug_table_cell_number(table, snug_plan_mid_tps(plan), 1);
    snug_table_cell_number(table, plan->prefill_tps.value, 1);
    if (isfinite(plan->loss.value))
        snug_table_cell_number(table, plan->loss.value, 4);
    else
        snug_table_cell_empty(table);
    snug_table_cell_text(table, snug_plan_grade_name(plan->grade));
    snug_table_row_end(table);
}

static void finish(struct snug_table *table, struct snug_buffer *out)
{
    snug_table_render(table, SNUG_TABLE_MD, out);
    snug_table_clear(table);
}

/* ---- the menu ---- */

snug_status cli_plan_put_menu(struct snug_buffer *out, const struct cli_planning *p,
                              struct snug_error *err)
{
    struct snug_plan *plans = NULL;
    int n = 0;
    struct snug_table table = {.n_columns = 0};
    const snug_status status = snug_plan_menu(&p->request, MENU, &plans, &n, err);
    if (status != SNUG_OK)
        return status;
    snug_buffer_printf(out, "\nmenu: %d plans that no other beats in both speed and loss\n", n);
    open_table(&table);
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i + 1);
        put_row(&table, name, &plans[i]);
        snug_plan_clear(&plans[i]);
    }
    free(plans);
    finish(&table, out);
    return SNUG_OK;
}

/* ---- beside the recipes ---- */

enum { MID = 4, LOW = 5, N_RECIPES = 8 };
static const char *const recipes[N_RECIPES] = {"f16",    "q8_0", "q6_k",   "q5_k_m",
                                               "q4_k_m", "q4_0", "q3_k_m", "q2_k"};

static snug_status put_types(struct snug_table *table, const struct cli_planning *p,
                             const char *name, const int *types,
                             const struct snug_plan_shape *shape, struct snug_error *err)
{
    struct snug_plan plan;
    const snug_status status = snug_plan_place(&p->request, types, shape, &plan, err);
    if (status != SNUG_OK)
        return status;
    put_row(table, name, &plan);
    snug_plan_clear(&plan);
    return SNUG_OK;
}

/* The rule fills the memory; for a target it takes the most that meets it. */
static snug_status put_rule(struct snug_table *table, const struct cli_planning *p,
                            const int *types_mid, const int *types_low, int *types,
                            struct snug_error *err)
{
    struct snug_plan plan = {.n_tensors = 0};
    bool is_met = false;
    snug_status status = SNUG_OK;
    for (int percent = 100; percent >= 20 && status == SNUG_OK && !is_met; percent -= 4) {
        struct snug_plan_shape shape;
        snug_plan_clear(&plan);
        status = snug_plan_rule_ahmp(&p->request, types_mid, types_low, percent / 100.0, types,
                                     &shape, err);
        if (status == SNUG_OK)
            status = snug_plan_place(&p->request, types, &shape, &plan, err);
        is_met = status == SNUG_OK && snug_plan_mid_tps(&plan) >= p->request.target_tps;
    }
    if (status == SNUG_OK)
        put_row(table, is_met ? "AHMP-like" : "AHMP-like (target not met)", &plan);
    snug_plan_clear(&plan);
    return status == SNUG_INFEASIBLE ? SNUG_OK : status; /* it finds nothing that fits */
}

/* What llama.cpp does by itself with the file as it is. Only this machine can be asked. */
static snug_status put_fit(struct snug_table *table, const struct cli_planning *p,
                           const struct snug_plan_shape *shape, struct snug_error *err)
{
    struct snug_plan plan;
    struct snug_plan_shape fit = *shape;
    snug_status status =
        snug_plan_oracle_fit(p->oracle, shape->n_ctx, shape->n_parallel, &fit.n_gpu_layers, err);
    if (status == SNUG_OK)
        status = snug_plan_evaluate(&p->request, NULL, &fit, &plan, err);
    if (status != SNUG_OK)
        return status;
    put_row(table, "llama.cpp --fit, file as it is", &plan);
    snug_plan_clear(&plan);
    return SNUG_OK;
}

/* Rows of one table: what libllama refuses for this model is left out. */
static snug_status put_recipes(struct snug_table *table, const struct cli_planning *p,
                               const struct snug_plan_shape *shape, struct snug_error *err)
{
    const size_t n = (size_t)p->model.n_tensors;
    uint64_t bytes[N_RECIPES] = {0};
    int *types = malloc((N_RECIPES + 1) * n * sizeof *types);
    snug_status status = types ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for recipes");
    if (status == SNUG_OK)
        status = snug_engine_recipes(&p->model, recipes, N_RECIPES, false, types, bytes, err);
    for (size_t i = 0; i < N_RECIPES && status == SNUG_OK; i++) {
        if (bytes[i] > 0)
            status = put_types(table, p, recipes[i], types + i * n, shape, err);
        else
            cli_say("%s is left out: libllama refuses it for this model", recipes[i]);
    }
    if (status == SNUG_OK && bytes[MID] > 0 && bytes[LOW] > 0)
        status = put_rule(table, p, types + MID * n, types + LOW * n, types + N_RECIPES * n, err);
    free(types);
    return status;
}

snug_status cli_plan_put_compare(struct snug_buffer *out, const struct cli_planning *p,
                                 struct snug_error *err)
{
    struct snug_plan_shape shape = snug_plan_shape_of(&p->plan);
    struct snug_table table = {.n_columns = 0};
    struct snug_error why = {0};
    shape.n_gpu_layers = 0;
    shape.n_ubatch = N_UBATCH;
    shape.type_k = shape.type_v = TYPE_F16;
    shape.flash_attn = true;
    shape.use_mmap = false;
    open_table(&table);
    put_row(&table, "snug", &p->plan);
    const snug_status status = put_recipes(&table, p, &shape, err);
    if (status == SNUG_OK && strcmp(p->args->machine ? p->args->machine : "this", "this") == 0 &&
        put_fit(&table, p, &shape, &why) != SNUG_OK)
        cli_say("llama.cpp --fit is left out: %s", why.text);
    snug_buffer_puts(out, "\nrecipes of llama-quantize with an f16 cache, placed where each is "
                          "fastest, and the rules of others\n");
    finish(&table, out);
    return status;
}

/* ---- shadow prices ---- */

static snug_status put_variant(struct snug_table *table, const char *name,
                               const struct snug_plan_request *request, struct snug_error *err)
{
    struct snug_plan plan;
    const snug_status status = snug_plan_solve(request, &plan, err);
    if (status != SNUG_OK)
        return status;
    put_row(table, name, &plan);
    snug_plan_clear(&plan);
    return SNUG_OK;
}

snug_status cli_plan_put_shadow(struct snug_buffer *out, const struct cli_planning *p,
                                struct snug_error *err)
{
    const int64_t n_ctx = p->plan.n_ctx / p->plan.n_parallel;
    struct snug_table table = {.n_columns = 0};
    struct snug_law law = p->law;
    struct snug_plan_request more = p->request;
    snug_status status = SNUG_OK;
    open_table(&table);
    put_row(&table, "as planned", &p->plan);
    more.law = &law;
    for (int i = 0; i < law.n_tiers && status == SNUG_OK; i++) {
        char name[96];
        if (law.tiers[i].kind == SNUG_TIER_DISK)
            continue;
        law = p->law;
        law.tiers[i].bytes += 1ull << 30;
        snprintf(name, sizeof name, "1 GiB more of %s", law.tiers[i].name);
        status = put_variant(&table, name, &more, err);
    }
    law = p->law;
    if (status == SNUG_OK && n_ctx > 4096 + 16) {
        more.n_ctx = n_ctx - 4096;
        status = put_variant(&table, "4096 less context", &more, err);
    }
    /* A step of the cache's type, with the same weights. */
    const int step = p->plan.type_k == TYPE_F16 ? TYPE_Q8_0 : TYPE_Q4_0;
    struct snug_plan_shape shape = snug_plan_shape_of(&p->plan);
    shape.type_k = shape.type_v = step;
    shape.flash_attn = true;
    struct snug_plan plan;
    if (status == SNUG_OK)
        status = snug_plan_evaluate(&p->request, p->plan.types, &shape, &plan, err);
    if (status == SNUG_OK) {
        put_row(&table, "one cache step down", &plan);
        snug_plan_clear(&plan);
    }
    snug_buffer_puts(out, "\nwhat a little more or less would buy, each solved again\n");
    finish(&table, out);
    return status;
}
