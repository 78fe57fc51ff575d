/* The parent's side of a load: checks, starts the process, reads its reports, ends it. */
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "machine/load_internal.h"
#include "machine/machine_json.h"
#include "snug/budget.h"

static const double START_S =
    60;                         /* the buffer of traffic and the scratch file are made meanwhile */
static const double END_S = 30; /* unmapping takes some 0.1 s per GiB; a disk may hang a write */
static const double WRITE_S = 10;
static const double STALE_S = 1; /* reports wait in the pipe when nobody reads */

struct snug_load {
    struct snug_process process;
    double begin_s;
    struct snug_load_report report; /* the newest */
    bool has_report;
};

static snug_status send_order(struct snug_load *load, const struct snug_load_options *options,
                              struct snug_error *err)
{
    const struct snug_machine *machine = options->machine;
    const uint64_t available = (uint64_t)machine->available_bytes.value;
    struct snug_load_level peak;
    struct snug_buffer trace = {0}, order = {0};
    struct snug_json_writer w = {0};
    snug_load_trace_peak(options->trace, &peak);
    snug__load_trace_print(options->trace, &trace);
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "n_bytes", (int64_t)trace.len);
    snug_json_put_int(&w, "reserve_bytes",
                      (int64_t)(available - snug_budget_usable_bytes(available)));
    snug_json_put_int(&w, "stream_bytes",
                      peak.bandwidth_bps > 0 ? (int64_t)snug__load_stream_bytes(machine) : 0);
    snug_json_put_int(&w, "n_threads",
                      machine->n_threads_usable < SNUG_LOAD_CPUS_MAX ? machine->n_threads_usable
                                                                     : SNUG_LOAD_CPUS_MAX);
    snug_json_put_string(&w, "folder", peak.disk_frac > 0 ? options->folder : NULL);
    snug_json_end(&w);
    char *header = snug_json_finish(&w, false);
    snug_buffer_printf(&order, "%s\n%s", header ? header : "", snug_buffer_text(&trace));
    snug_status status = SNUG_OK;
    if (!header || trace.is_failed || order.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "the order of a load");
    else
        status = snug_process_write(&load->process, order.data, order.len, WRITE_S, err);
    free(header);
    snug_buffer_clear(&trace);
    snug_buffer_clear(&order);
    return status;
}

/* The answer to the order: ready, or why not. */
static snug_status read_answer(struct snug_load *load, struct snug_error *err)
{
    const char *line = NULL;
    struct snug_json *doc = NULL;
    snug_status status = snug_process_read_line(&load->process, START_S, NULL, &line, err);
    if (status == SNUG_OK)
        status = snug_json_parse("load", line, strlen(line), &doc, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "load: its process did not come up");
    const struct snug_json_node *root = snug_json_root(doc);
    const int64_t code = snug_json_get_int(root, "status", SNUG_CRASHED);
    if (strcmp(snug_json_get_string(root, "event", ""), "ready") != 0)
        status =
            snug_fail(err, code > 0 && code < SNUG_N_STATUSES ? (snug_status)code : SNUG_CRASHED,
                      "%s", snug_json_get_string(root, "reason", "load: an unknown answer"));
    snug_json_free(doc);
    return status;
}

static snug_status check_folder(const struct snug_load_options *options, struct snug_error *err)
{
    struct snug_load_level peak;
    snug_load_trace_peak(options->trace, &peak);
    if (peak.disk_frac <= 0)
        return SNUG_OK;
    if (!options->folder)
        return snug_fail(err, SNUG_BAD_INPUT, "load: disk traffic needs a folder");
    if (strlen(options->folder) > SNUG__LOAD_FOLDER_BYTES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "the folder '%.40s...' has a path of %zu bytes; at most %d: give a "
                         "shorter --folder",
                         options->folder, strlen(options->folder), SNUG__LOAD_FOLDER_BYTES_MAX);
    return SNUG_OK;
}

snug_status snug_load_start(const struct snug_load_options *options, struct snug_load **out,
                            struct snug_error *err)
{
    char self[4096];
    snug_status status = snug__load_check(options->trace, options->machine, err);
    if (status == SNUG_OK)
        status = check_folder(options, err);
    if (status == SNUG_OK && !options->program)
        status = snug_process_self(self, sizeof self, err);
    if (status != SNUG_OK)
        return status;
    struct snug_load *load = calloc(1, sizeof *load);
    if (!load)
        return snug_fail(err, SNUG_NO_MEMORY, "a load");
    load->process = (struct snug_process)SNUG_PROCESS_INIT;
    const char *const argv[] = {options->program ? options->program : self, "__load", NULL};
    status = snug_process_start(&load->process, argv, NULL, err);
    if (status == SNUG_OK)
        status = send_order(load, options, err);
    if (status == SNUG_OK)
        status = read_answer(load, err);
    load->begin_s = snug_clock_s();
    if (status == SNUG_OK) {
        *out = load;
        load = NULL;
    }
    if (load)
        snug_process_clear(&load->process);
    free(load);
    return status;
}

static snug_status take_line(struct snug_load *load, const char *line, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("load", line, strlen(line), &doc, err);
    if (status == SNUG_OK)
        status = snug_load_report_from_json(snug_json_get(snug_json_root(doc), "report"),
                                            &load->report, err);
    load->has_report = load->has_report || status == SNUG_OK;
    snug_json_free(doc);
    return status;
}

static bool is_fresh(const struct snug_load *load)
{
    const struct snug_load_report *report = &load->report;
    return load->has_report &&
           (report->is_over || snug_clock_s() - load->begin_s - report->t_s < STALE_S);
}

static snug_status fail_died(struct snug_error *err)
{
    return snug_fail_prefix(err, SNUG_CRASHED,
                            "the load's process died (when memory runs out the kernel takes it "
                            "first)");
}

/* Read reports until there is no newer one and the newest is fresh. */
static snug_status read_reports(struct snug_load *load, double timeout_s, const volatile int *stop,
                                struct snug_error *err)
{
    const double deadline_s = snug_clock_s() + timeout_s;
    bool is_new = false;
    while (!load->report.is_over) {
        const double left_s = deadline_s - snug_clock_s();
        const double wait_s = is_new && is_fresh(load) ? 0 : left_s > 0 ? left_s : 0;
        const char *line = NULL;
        snug_status status = snug_process_read_line(&load->process, wait_s, stop, &line, err);
        if (status == SNUG_TIMEOUT && is_new && is_fresh(load))
            return SNUG_OK;
        if (status == SNUG_CRASHED)
            return fail_died(err);
        if (status == SNUG_OK)
            status = take_line(load, line, err);
        if (status != SNUG_OK)
            return status;
        is_new = true;
    }
    return SNUG_OK;
}

snug_status snug_load_poll(struct snug_load *load, double timeout_s, const volatile int *stop,
                           struct snug_load_report *out, struct snug_error *err)
{
    snug_status status = read_reports(load, timeout_s, stop, err);
    if (status == SNUG_OK)
        *out = load->report;
    return status;
}

snug_status snug_load_stop(struct snug_load **load, struct snug_load_report *out,
                           struct snug_error *err)
{
    struct snug_load *l = *load;
    snug_status status = SNUG_OK;
    *load = NULL;
    if (!l)
        return SNUG_OK;
    snug_process_close_in(&l->process);
    const double deadline_s = snug_clock_s() + END_S;
    while (status == SNUG_OK && !l->report.is_over) {
        const char *line = NULL;
        status = snug_process_read_line(&l->process, deadline_s - snug_clock_s(), NULL, &line, err);
        if (status == SNUG_OK)
            status = take_line(l, line, err);
        else if (status == SNUG_CRASHED)
            status = fail_died(err);
    }
    if (status == SNUG_OK && out)
        *out = l->report;
    snug_process_clear(&l->process);
    free(l);
    return status;
}

int snug__load_pid(const struct snug_load *load)
{
    return (int)load->process.pid;
}
