/* snug load: load to measure beside, alone or under a command. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/load_under.h"
#include "machine/machine_json.h"
#include "snug/load.h"
#include "snug/units.h"

/* ---- what is asked ---- */

static snug_status read_trace(const struct cli_args *args, struct snug_load_trace *out,
                              struct snug_error *err)
{
    if (args->cpu > 0 || args->memory_bytes || args->bandwidth_bps || args->disk_load)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--profile %s is a trace and says all: leave --cpu, --memory, --bandwidth "
                         "and --disk away",
                         args->profile);
    snug_status status = snug_load_trace_read(args->profile, out, err);
    if (status == SNUG_NOT_FOUND)
        return snug_fail(err, status,
                         "--profile %s: no such file, and not one of low, mid and high",
                         args->profile);
    if (status != SNUG_OK || args->time_s <= 0)
        return status;
    if (out->steps[0].t_s >= args->time_s)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s begins at %g s, and --duration ends it before: nothing would run",
                         args->profile, out->steps[0].t_s);
    for (int i = 1; i < out->n; i++) {
        if (out->steps[i].t_s < args->time_s)
            continue;
        out->steps[i].t_s = args->time_s;
        out->n = i + 1;
    }
    return SNUG_OK;
}

/* The caps of load.h in the words of the options. */
static snug_status check_options(const struct cli_args *args, struct snug_error *err)
{
    char asked[SNUG_UNIT_TEXT_MAX], most[SNUG_UNIT_TEXT_MAX];
    if (args->cpu > SNUG_LOAD_CPUS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "--cpu %g: at most %d cores; ask for fewer",
                         args->cpu, SNUG_LOAD_CPUS_MAX);
    if ((double)args->bandwidth_bps > SNUG_LOAD_BPS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--bandwidth %gGB: at most %gGB of each second; ask for less",
                         (double)args->bandwidth_bps / 1e9, SNUG_LOAD_BPS_MAX / 1e9);
    if (args->time_s > SNUG_LOAD_SECONDS_MAX)
        return snug_fail(
            err, SNUG_BAD_INPUT, "--duration %s: at most %s; leave it away to run until Ctrl-C",
            snug_seconds_text(args->time_s, asked), snug_seconds_text(SNUG_LOAD_SECONDS_MAX, most));
    return SNUG_OK;
}

static snug_status make_trace(const struct cli_args *args, const struct snug_machine *machine,
                              struct snug_load_trace *out, struct snug_error *err)
{
    struct snug_load_level level = {0};
    snug_status status = SNUG_OK;
    if (args->profile)
        status = snug_load_profile(args->profile, machine, &level, err);
    if (status == SNUG_NOT_FOUND)
        return read_trace(args, out, err);
    if (!args->profile && args->cpu <= 0 && !args->memory_bytes && !args->bandwidth_bps &&
        !args->disk_load)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "no load was asked for: give --cpu, --memory, --bandwidth, --disk or "
                           "--profile");
    if (status != SNUG_OK)
        return status;
    level.cpu = args->cpu > 0 ? args->cpu : level.cpu;
    level.memory_bytes = args->memory_bytes ? args->memory_bytes : level.memory_bytes;
    level.bandwidth_bps = (double)args->bandwidth_bps;
    level.disk_frac = args->disk_load ? 1 : 0;
    return snug_load_trace_steady(&level, args->time_s, out, err);
}

/* "1.50 cores, 2.0 GiB of memory, 4.0 GB/s of traffic, disk" */
static const char *level_text(const struct snug_load_level *level, char out[160])
{
    char bytes[SNUG_UNIT_TEXT_MAX];
    size_t n = 0;
    out[0] = '\0';
    if (level->cpu > 0)
        n += (size_t)snprintf(out + n, 160 - n, ", %.2f cores", level->cpu);
    if (level->memory_bytes > 0)
        n += (size_t)snprintf(out + n, 160 - n, ", %s of memory",
                              snug_bytes_text(level->memory_bytes, bytes));
    if (level->bandwidth_bps > 0)
        n += (size_t)snprintf(out + n, 160 - n, ", %.2f GB/s of traffic",
                              level->bandwidth_bps / 1e9);
    if (level->disk_frac > 0)
        snprintf(out + n, 160 - n, ", disk %.0f %% of the time", 100 * level->disk_frac);
    if (!out[0])
        snprintf(out, 160, ", nothing");
    return out + 2;
}

static void say_plan(const struct cli_args *args, const struct snug_machine *machine,
                     const struct snug_load_trace *trace)
{
    char text[160], time[SNUG_UNIT_TEXT_MAX], free_now[SNUG_UNIT_TEXT_MAX];
    struct snug_load_level peak;
    snug_load_trace_peak(trace, &peak);
    const double end_s = trace->steps[trace->n - 1].t_s;
    cli_say("load: %s%s, of %d CPUs and %s free%s%s", trace->n > 2 ? "at most " : "",
            level_text(&peak, text), machine->n_threads_usable,
            snug_bytes_text((uint64_t)machine->available_bytes.value, free_now),
            end_s < SNUG_LOAD_SECONDS_MAX ? ", for "
            : args->n_rest                ? ""
                                          : ", until Ctrl-C",
            end_s < SNUG_LOAD_SECONDS_MAX ? snug_seconds_text(end_s, time) : "");
}

/* ---- what was reached ---- */

static void put_row(struct snug_buffer *out, const char *name, const char *asked,
                    const char *reached)
{
    snug_buffer_printf(out, "  %-10s %12s %12s\n", name, asked, reached);
}

/* Means over the whole time, by the load's own counters and the kernel's CPU time. */
static void put_summary(struct snug_buffer *out, const struct snug_load_report *r)
{
    const struct snug_load_level *a = &r->asked_mean, *b = &r->reached_mean;
    char x[64], y[64], time[SNUG_UNIT_TEXT_MAX];
    snug_buffer_printf(out, "load ran %s (means)\n", snug_seconds_text(r->t_s, time));
    put_row(out, "", "asked", "reached");
    snprintf(x, sizeof x, "%.2f cores", a->cpu);
    snprintf(y, sizeof y, "%.2f cores", b->cpu);
    put_row(out, "cpu", x, y);
    if (a->memory_bytes > 0)
        put_row(out, "memory", snug_bytes_text(a->memory_bytes, x),
                snug_bytes_text(b->memory_bytes, y));
    if (a->memory_bytes > 0)
        put_row(out, "", "peak", snug_bytes_text(r->memory_bytes_peak, y));
    snprintf(x, sizeof x, "%.2f GB/s", a->bandwidth_bps / 1e9);
    snprintf(y, sizeof y, "%.2f GB/s", b->bandwidth_bps / 1e9);
    if (a->bandwidth_bps > 0)
        put_row(out, "traffic", x, y);
    snprintf(x, sizeof x, "%.0f %%", 100 * a->disk_frac);
    snprintf(y, sizeof y, "%.0f MB/s", r->disk_bps_mean / 1e6);
    if (a->disk_frac > 0)
        put_row(out, "disk", x, y);
    if (r->given_back_bytes > 0)
        snug_buffer_printf(out, "  gave back %s: less than the reserve was available\n",
                           snug_bytes_text(r->given_back_bytes, x));
    if (r->note[0])
        snug_buffer_printf(out, "  %s\n", r->note);
}

static char *summary_json(const struct snug_load_report *report)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "snug", snug_version());
    snug_load_report_to_json(&w, "load", report);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

/* Data on stdout, but a command owns that: then it is talk. */
static int put_end(const struct cli_args *args, const struct snug_load_report *report)
{
    struct snug_buffer out = {0}, file = {0};
    struct snug_error err = {0};
    int code = CLI_OK;
    if (args->json && !args->n_rest)
        cli_buffer_json(&out, summary_json(report));
    else
        put_summary(&out, report);
    if (args->output) {
        cli_buffer_json(&file, summary_json(report));
        if (file.is_failed)
            code = cli_fail_text(CLI_FAILED, "%s: no memory for the output", args->output);
        else if (snug_file_write(args->output, file.data, file.len, &err) != SNUG_OK)
            code = cli_fail_text(CLI_FAILED, "%s", err.text);
    }
    if (!args->n_rest && code == CLI_OK)
        code = cli_put_buffer(&out);
    else if (args->n_rest && out.len > 0)
        cli_say("%.*s", (int)out.len - 1, out.data);
    snug_buffer_clear(&out);
    snug_buffer_clear(&file);
    return code;
}

void load_draw(const struct snug_load_report *r)
{
    char time[SNUG_UNIT_TEXT_MAX], a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX], text[160];
    const struct snug_load_level *asked = &r->asked, *reached = &r->reached;
    size_t n = (size_t)snprintf(text, sizeof text, "%.2f of %.2f cores", reached->cpu, asked->cpu);
    if (asked->memory_bytes > 0)
        n += (size_t)snprintf(text + n, sizeof text - n, ", %s of %s",
                              snug_bytes_text(reached->memory_bytes, a),
                              snug_bytes_text(asked->memory_bytes, b));
    if (asked->bandwidth_bps > 0)
        n += (size_t)snprintf(text + n, sizeof text - n, ", %.2f of %.2f GB/s",
                              reached->bandwidth_bps / 1e9, asked->bandwidth_bps / 1e9);
    if (asked->disk_frac > 0)
        snprintf(text + n, sizeof text - n, ", disk %.0f MB/s", r->disk_bps / 1e6);
    cli_live("load %s: %s", snug_seconds_text(r->t_s, time), text);
}

/* ---- alone ---- */

static snug_status watch(struct snug_load *load, struct snug_error *err)
{
    struct snug_load_report report = {.is_over = false};
    snug_status status = SNUG_OK;
    while (status == SNUG_OK && !report.is_over) {
        status = snug_load_poll(load, LOAD_REPORT_S, &cli_stop, &report, err);
        if (status == SNUG_OK && !report.is_over)
            load_draw(&report);
    }
    cli_live_end();
    return status == SNUG_INTERRUPTED ? SNUG_OK : status;
}

/* ---- the command itself ---- */

static snug_status start(const struct cli_args *args, struct snug_load **out,
                         struct snug_error *err)
{
    char folder[4096];
    struct snug_machine machine;
    struct snug_load_trace trace = {0};
    struct snug_load_level peak = {0};
    snug_status status = check_options(args, err);
    if (status == SNUG_OK)
        status = snug_machine_probe("", &machine, err);
    if (status == SNUG_OK)
        status = make_trace(args, &machine, &trace, err);
    if (status == SNUG_OK)
        snug_load_trace_peak(&trace, &peak);
    if (peak.disk_frac > 0 && !args->folder)
        status = snug_file_cache_folder(folder, sizeof folder, err);
    const struct snug_load_options options = {
        .trace = &trace,
        .machine = &machine,
        .folder = args->folder || peak.disk_frac <= 0 ? args->folder : folder,
    };
    if (status == SNUG_OK)
        status = snug_load_start(&options, out, err);
    if (status == SNUG_OK)
        say_plan(args, &machine, &trace);
    snug_load_trace_clear(&trace);
    return status;
}

int cmd_load(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_load *load = NULL;
    struct snug_load_report report;
    int code = CLI_OK;
    if (args->json && args->n_rest)
        return cli_fail_text(CLI_MISUSE, "stdout belongs to the command: use -o FILE for the JSON");
    if (args->rest && args->n_rest == 0)
        return cli_fail_text(CLI_MISUSE, "no command behind --");
    cli_catch_signals();
    if (args->output && snug_file_try_write(args->output, &err) != SNUG_OK)
        return cli_fail(&err);
    if (start(args, &load, &err) != SNUG_OK)
        return cli_fail(&err);
    if (args->n_rest)
        code = load_under_run(args, load);
    else if (watch(load, &err) != SNUG_OK)
        code = cli_fail(&err);
    const snug_status status = snug_load_stop(&load, &report, &err);
    if (status == SNUG_OK) {
        const int put = put_end(args, &report);
        return code == CLI_OK ? put : code;
    }
    return code == CLI_OK ? cli_fail(&err) : code;
}
