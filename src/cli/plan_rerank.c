/* snug plan --text: the top few plans made and measured, the best taken. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/plan.h"
#include "cli/task.h"
#include "report/table.h"
#include "snug/units.h"

enum { CHUNKS = 32 };

static void put_rows(struct snug_buffer *out, const struct snug_plan_rerank_row *rows, int n)
{
    struct snug_table table = {.n_columns = 0};
    snug_table_column(&table, "measured plan", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "file", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "KLD", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "+-", SNUG_COLUMN_NUMBER);
    for (int i = 0; i < n; i++) {
        char text[SNUG_UNIT_TEXT_MAX];
        snug_table_cell_text(&table, rows[i].name);
        snug_table_cell_text(&table, snug_bytes_text(rows[i].file_bytes, text));
        snug_table_cell_number(&table, rows[i].kld.value, 5);
        snug_table_cell_number(&table, rows[i].kld.se, 5);
        snug_table_row_end(&table);
    }
    snug_table_render(&table, SNUG_TABLE_MD, out);
    snug_table_clear(&table);
}

static snug_status rerank(struct cli_planning *p, struct cli_task *task, struct snug_buffer *out,
                          struct snug_error *err)
{
    const int64_t n_ctx = snug_quality_chunk(p->model.n_ctx_train);
    struct snug_plan_rerank_row rows[SNUG_PLAN_RERANK_MAX];
    char folder[4096];
    int n = 0;
    task->workload = (struct snug_workload){.n_prompt = n_ctx, .n_parallel = 1, .n_ctx = n_ctx};
    snug_status status = cli_task_open_engine(p->args, task, cli_live_phase, NULL, err);
    if (status == SNUG_OK)
        status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_plan_rerank_options options = {
        .request = &p->request,
        .space = snug_engine_space(task->engine),
        .text_path = p->args->text,
        .imatrix_path = p->args->imatrix,
        .n_ctx = n_ctx,
        .n_chunks = p->args->n_chunks ? p->args->n_chunks : CHUNKS,
        .bytes_max = p->args->disk_bytes ? p->args->disk_bytes : p->plan.file_bytes,
        .folder = folder,
        .stop = &cli_stop,
        .progress = cli_live_phase};
    status = snug_plan_rerank(&options, &p->plan, rows, &n, err);
    if (status == SNUG_OK)
        put_rows(out, rows, n);
    return status;
}

snug_status cli_plan_rerank(struct cli_planning *p, struct snug_buffer *out, struct snug_error *err)
{
    struct cli_task task = {0};
    if (p->plan.grade == SNUG_PLAN_INFEASIBLE)
        return SNUG_OK;
    snug_status status =
        p->model.has_data && p->sensitivity.n_types > 0
            ? cli_task_open_model(p->args, &task, err)
            : snug_fail(err, SNUG_BAD_INPUT,
                        "--text measures plans, and needs the F16, BF16 or F32 weights here");
    if (status == SNUG_OK)
        status = rerank(p, &task, out, err);
    cli_live_end();
    cli_task_close(&task);
    return status;
}
