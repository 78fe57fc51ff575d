/* snug knobs: which knobs matter, from the trials that are known. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/knobs_rank.h"
#include "snug/machine.h"
#include "snug/report.h"

static snug_status read_data(const struct cli_args *args, struct knobs_data *data,
                             struct snug_error *err)
{
    struct snug_machine machine = {0};
    struct snug_store *store = NULL;
    struct known *list = NULL;
    int n = 0;
    snug_status status = snug_machine_probe("", &machine, err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &store, err);
    if (status == SNUG_OK)
        status = known_list(args, store, machine.fingerprint, &list, &n, err);
    if (status == SNUG_OK)
        status = knobs_data_read(args, store, list, n, data, err);
    known_list_free(list, n);
    snug_store_close(store);
    return status;
}

/* ---- files ---- */

static snug_status write_text(const char *folder, const char *name, const char *text,
                              struct snug_error *err)
{
    char path[4160];
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %s", name);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return snug_fail(err, SNUG_BAD_INPUT, "%.40s...: the name of the folder is too long",
                         folder);
    return snug_file_write(path, text, strlen(text), err);
}

static snug_status write_page(const struct knobs_ranks *ranks, const char *folder,
                              struct snug_error *err)
{
    char *json = knobs_json(ranks, true), *html = NULL;
    size_t n = 0;
    snug_status status = json ? snug_report_knobs_html(json, strlen(json), &html, &n, err)
                              : snug_fail(err, SNUG_NO_MEMORY, "no memory for knobs.html");
    if (status == SNUG_OK)
        status = write_text(folder, "knobs.html", html, err);
    free(json);
    free(html);
    return status;
}

static snug_status write_files(const struct knobs_ranks *ranks, const char *folder,
                               struct snug_error *err)
{
    struct snug_buffer csv = {0};
    char *json = knobs_json(ranks, false), *bounds = knobs_bounds_json(ranks);
    knobs_csv(ranks->data, &csv);
    snug_status status = snug_file_make_folder(folder, err);
    if (status == SNUG_OK)
        status = write_text(folder, "observations.csv",
                            csv.is_failed ? NULL : snug_buffer_text(&csv), err);
    if (status == SNUG_OK)
        status = write_text(folder, "knobs.json", json, err);
    if (status == SNUG_OK)
        status = write_text(folder, "bounds.json", bounds, err);
    if (status == SNUG_OK)
        status = write_page(ranks, folder, err);
    snug_buffer_clear(&csv);
    free(json);
    free(bounds);
    return status;
}

/* ---- command ---- */

static void say_origin(const struct knobs_data *data)
{
    cli_say("%s on %s: %d trials of %d configs in %d task%s", data->model, data->machine,
            data->n_trials, data->n_rows, data->n_tasks, data->n_tasks == 1 ? "" : "s");
    if (data->n_disturbed > 0)
        cli_say("%d trials were disturbed (INVALID); their speeds are %s", data->n_disturbed,
                data->has_disturbed ? "taken all the same, for want of better ones" : "left out");
    if (data->unvaried[0])
        cli_say("not varied, so nothing is known of: %s", data->unvaried);
}

static void say_next(const struct cli_args *args, const struct knobs_ranks *ranks)
{
    int n_open = 0;
    for (int k = 0; k < ranks->data->n_knobs; k++)
        n_open += ranks->decision[k] == SNUG_KNOBS_OPEN;
    if (n_open > 0)
        cli_say("\n%d knob%s could still matter (open); more trials tell: snug tune %s --trials %d",
                n_open, n_open == 1 ? "" : "s", args->operand, 2 * SNUG_KNOBS_ROWS_MIN);
    if (args->output)
        cli_say("written to %s: observations.csv, knobs.json, bounds.json, knobs.html",
                args->output);
    else
        cli_say("\nnext: snug knobs %s -o knobs for the files and charts", args->operand);
}

static int show(const struct cli_args *args, const struct knobs_ranks *ranks)
{
    struct snug_buffer out = {0};
    if (args->json)
        cli_buffer_json(&out, knobs_json(ranks, false));
    else
        knobs_text(ranks, args->rank, &out);
    const int code = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    return code;
}

int cmd_knobs(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct knobs_data data = {.n_rows = 0};
    struct knobs_ranks ranks = {.data = NULL};
    int code = CLI_OK;
    snug_status status = read_data(args, &data, &err);
    if (status == SNUG_OK) {
        say_origin(&data);
        status = knobs_ranks_make(args, &data, &ranks, &err);
    }
    if (status == SNUG_OK)
        code = show(args, &ranks);
    if (status == SNUG_OK && args->output)
        status = write_files(&ranks, args->output, &err);
    if (status != SNUG_OK)
        code = cli_fail(&err);
    else if (code == CLI_OK)
        say_next(args, &ranks);
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
    return code;
}
