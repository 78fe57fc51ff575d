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

static const char *const FILES[] = {"observations.csv", "knobs.json", "bounds.json", "knobs.html"};
enum { N_FILES = sizeof FILES / sizeof *FILES };

/* Before the work, not after it. */
static snug_status try_folder(const char *folder, struct snug_error *err)
{
    char path[4096];
    snug_status status = snug_file_make_folder(folder, err);
    for (int i = 0; i < N_FILES && status == SNUG_OK; i++)
        status = (size_t)snprintf(path, sizeof path, "%s/%s", folder, FILES[i]) < sizeof path
                     ? snug_file_try_write(path, err)
                     : snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", folder);
    return status;
}

static snug_status make_page(const struct knobs_ranks *ranks, char **out_html,
                             struct snug_error *err)
{
    char *json = knobs_json(ranks, true);
    size_t n = 0;
    const snug_status status = json ? snug_report_knobs_html(json, strlen(json), out_html, &n, err)
                                    : snug_fail(err, SNUG_NO_MEMORY, "no memory for knobs.html");
    free(json);
    return status;
}

/* All are made before the first is written. */
static snug_status write_files(const struct knobs_ranks *ranks, const char *folder,
                               struct snug_error *err)
{
    struct snug_buffer csv = {0};
    knobs_csv(ranks->data, &csv);
    char *texts[N_FILES] = {snug_buffer_take(&csv), knobs_json(ranks, false),
                            knobs_bounds_json(ranks), NULL};
    snug_status status = make_page(ranks, &texts[N_FILES - 1], err);
    for (int i = 0; i < N_FILES && status == SNUG_OK; i++)
        if (!texts[i])
            status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %s", FILES[i]);
    for (int i = 0; i < N_FILES && status == SNUG_OK; i++)
        status = snug_file_write_in(folder, FILES[i], texts[i], strlen(texts[i]), err);
    for (int i = 0; i < N_FILES; i++)
        free(texts[i]);
    return status;
}

/* ---- command ---- */

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

static void say_origin(const struct knobs_data *data)
{
    cli_say("%s on %s: %d trial%s of %d config%s in %d task%s", data->model, data->machine,
            data->n_trials, plural(data->n_trials), data->n_configs, plural(data->n_configs),
            data->n_tasks, plural(data->n_tasks));
    if (data->n_disturbed > 0)
        cli_say("%d trial%s disturbed (INVALID): speeds are %s", data->n_disturbed,
                data->n_disturbed == 1 ? " was" : "s were",
                data->has_disturbed ? "taken all the same, for want of better ones" : "left out");
    if (data->unvaried[0])
        cli_say("not varied, so nothing is known of: %s", data->unvaried);
}

static void say_next(const struct cli_args *args, const struct knobs_ranks *ranks)
{
    struct snug_buffer more = {0}, scope = {0};
    int n_open = 0;
    for (int k = 0; k < ranks->data->n_knobs; k++)
        n_open += ranks->decision[k] == SNUG_KNOBS_OPEN;
    knobs_put_more(args, ranks, &more);
    knobs_put_scope(args, &scope);
    if (n_open > 0)
        cli_say("\n%d knob%s could still matter (open); more trials tell: %s", n_open,
                plural(n_open), snug_buffer_text(&more));
    if (args->output)
        cli_say("written to %s: observations.csv, knobs.json, bounds.json, knobs.html",
                args->output);
    else
        cli_say("\nnext: snug knobs %s -o knobs for the files and charts",
                snug_buffer_text(&scope));
    snug_buffer_clear(&more);
    snug_buffer_clear(&scope);
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
    snug_status status = args->output ? try_folder(args->output, &err) : SNUG_OK;
    if (status == SNUG_OK)
        status = read_data(args, &data, &err);
    if (status == SNUG_OK) {
        say_origin(&data);
        status = knobs_ranks_make(args, &data, &ranks, &err);
    }
    if (status == SNUG_OK && args->output)
        status = write_files(&ranks, args->output, &err);
    if (status != SNUG_OK)
        code = cli_fail(&err);
    else if ((code = show(args, &ranks)) == CLI_OK)
        say_next(args, &ranks);
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
    return code;
}
