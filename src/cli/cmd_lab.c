/* snug lab: a rounds file from its first row to its report. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/gate.h"
#include "cli/task.h"
#include "lab/noise.h"
#include "lab/results.h"
#include "snug/report.h"
#include "snug/units.h"

struct lab {
    struct snug_lab_plan plan;
    struct snug_machine machine;
    char *machine_json;
    struct snug_store *store;
    struct snug_lab_run_result run;
    struct snug_lab_results results;
    struct cli_gate gate;
    struct snug_lab_threshold thresholds[SNUG_THRESHOLDS_MAX];
    char folder[4096];
};

/* ---- before ---- */

/* Thresholds of the file and of the command line are one list. */
static snug_status open_gate(const struct cli_args *args, struct lab *lab, struct snug_error *err)
{
    struct cli_args all = *args;
    for (int i = 0; i < lab->plan.n_require; i++) {
        if (all.n_require == CLI_LIST_MAX || all.n_require == SNUG_THRESHOLDS_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %d thresholds", args->operand,
                             CLI_LIST_MAX);
        all.require[all.n_require++] = lab->plan.require[i];
    }
    return cli_gate_open(&all, &lab->gate, err);
}

/* ./snug-lab-TITLE, with what is no letter or digit as dashes. */
static snug_status name_folder(const struct cli_args *args, struct lab *lab, struct snug_error *err)
{
    const int n = args->output
                      ? snprintf(lab->folder, sizeof lab->folder, "%s", args->output)
                      : snprintf(lab->folder, sizeof lab->folder, "snug-lab-%s", lab->plan.title);
    if ((size_t)n >= sizeof lab->folder)
        return snug_fail(err, SNUG_BAD_INPUT, "--output: the path is too long");
    for (char *p = lab->folder; !args->output && *p; p++)
        *p = isalnum((unsigned char)*p) || strchr("-_.", *p) ? *p : '-';
    return SNUG_OK;
}

static int show_plan(const struct cli_args *args, const struct lab *lab)
{
    struct snug_buffer text = {0};
    snug_lab_plan_write(&lab->plan, args->json, &text);
    const int code = cli_put_buffer(&text);
    snug_buffer_clear(&text);
    return code;
}

/* ---- during ---- */

static void say_row(const struct snug_lab_event *e)
{
    const struct snug_measurement *m = e->measurement;
    char left[SNUG_UNIT_TEXT_MAX], pp[SNUG_UNIT_TEXT_MAX], tg[SNUG_UNIT_TEXT_MAX], rules[200];
    const struct snug_lab_plan *plan = e->plan;
    char place[256];
    snprintf(place, sizeof place, "%d/%d  %d  %.60s  %.60s  %.100s", e->n_done, e->n_rows,
             e->row->repetition + 1, plan->models[e->row->i_model].name,
             plan->workloads[e->row->i_workload].name, plan->rounds[e->row->i_round].name);
    if (m->outcome != SNUG_TRIAL_OK) {
        cli_say("%s: FAILED %s: %s", place, snug_outcome_name(m->outcome), m->reason);
        return;
    }
    snug_warnings_text(m->warnings, ", ", rules, sizeof rules);
    cli_say("%s: pp %s tg %s t/s  %s%s%s  (%s left)", place, snug_rate_text(m->prefill_tps, pp),
            snug_rate_text(m->decode_tps, tg), snug_verdict_name(snug_verdict_of(m->warnings)),
            rules[0] ? ": " : "", rules, snug_seconds_text(e->remaining_s, left));
}

static void on_event(const struct snug_lab_event *e, void *data)
{
    (void)data;
    if (e->kind == SNUG_LAB_MAKE)
        cli_say("making %s", e->what);
    else if (e->kind == SNUG_LAB_END)
        say_row(e);
    else if (e->row)
        cli_live("%d/%d  %s  %s ...", e->n_done + 1, e->n_rows,
                 e->plan->rounds[e->row->i_round].name, e->what ? e->what : "");
}

static snug_status run(const struct cli_args *args, struct lab *lab, struct snug_error *err)
{
    snug_status status = snug_machine_probe("", &lab->machine, err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &lab->store, err);
    if (status != SNUG_OK)
        return status;
    lab->machine_json = cli_machine_json(&lab->machine);
    if (!lab->machine_json)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the machine");
    const struct snug_lab_run_options options = {
        .plan = &lab->plan,
        .file_path = args->operand,
        .output = lab->folder,
        .store = lab->store,
        .machine = &lab->machine,
        .machine_json = lab->machine_json,
        .memory_limit_bytes = cli_memory_limit(args, &lab->machine),
        .noise_frac = cli_noise_frac(args, &lab->machine),
        .is_resumed = args->resume,
        .stop = &cli_stop,
        .on_event = on_event,
    };
    cli_say("%s: %d rows, plan %.12s", lab->plan.title, lab->plan.n_rows, lab->plan.hash);
    return snug_lab_run(&options, &lab->run, err);
}

/* ---- after ---- */

/* Rows that failed are a result of a round, not a figure of it; verdicts are those of rounds. */
static void pass_gate(struct lab *lab)
{
    for (int i = 0; i < lab->plan.n_rows; i++) {
        const struct snug_lab_row *row = &lab->plan.rows[i];
        const struct snug_measurement *m = lab->results.rows[i];
        if (m && m->outcome == SNUG_TRIAL_OK)
            cli_gate_trial(
                &lab->gate, m,
                &lab->run.workloads[row->i_model * lab->plan.n_workloads + row->i_workload],
                lab->run.qualities
                    ? lab->run.qualities[row->i_round * lab->plan.n_models + row->i_model]
                          .kld_mean.value
                    : NAN);
    }
    lab->gate.is_invalid = false;
    for (int i = 0; i < lab->results.analysis.n_summaries; i++)
        cli_gate_verdict(&lab->gate, snug_verdict_of(lab->results.analysis.summaries[i].warnings));
    for (int i = 0; i < lab->gate.n; i++)
        lab->thresholds[i] = (struct snug_lab_threshold){
            .text = lab->gate.thresholds[i].text,
            .is_met = lab->gate.is_seen[i] &&
                      snug_threshold_is_met(&lab->gate.thresholds[i], lab->gate.worst[i]),
            .value = lab->gate.is_seen[i] ? lab->gate.worst[i] : NAN,
        };
}

static int show_results(const struct cli_args *args, struct lab *lab, struct snug_error *err)
{
    struct snug_buffer text = {0};
    int code = CLI_OK;
    if (args->json) {
        char *json = NULL;
        if (snug_lab_results_json(&lab->results, &json, err) != SNUG_OK)
            return cli_fail(err);
        code = cli_put(json);
        if (code == CLI_OK)
            code = cli_put("\n");
        free(json);
        return code;
    }
    snug_lab_results_summary(&lab->results, &text);
    code = cli_put_buffer(&text);
    snug_buffer_clear(&text);
    return code;
}

/* report.html beside the tables. */
static snug_status write_page(struct lab *lab, struct snug_error *err)
{
    char *json = NULL, *html = NULL, path[4160];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/report.html", lab->folder);
    snug_status status = snug_lab_results_json(&lab->results, &json, err);
    if (status == SNUG_OK)
        status = snug_report_lab_html(json, strlen(json), &html, &n, err);
    if (status == SNUG_OK)
        status = snug_file_write(path, html, n, err);
    free(json);
    free(html);
    return status;
}

static snug_status write_results(const struct cli_args *args, struct lab *lab,
                                 struct snug_error *err)
{
    lab->results = (struct snug_lab_results){
        .plan = &lab->plan,
        .file_path = args->operand,
        .machine = &lab->machine,
        .run = &lab->run,
        .store = lab->store,
        .thresholds = lab->thresholds,
    };
    snug_status status = snug_lab_results_read(&lab->results, err);
    if (status != SNUG_OK)
        return status;
    pass_gate(lab);
    lab->results.n_thresholds = lab->gate.n;
    status = snug_lab_results_write(&lab->results, lab->folder, err);
    return status == SNUG_OK ? write_page(lab, err) : status;
}

/* The baseline is one config repeated: when that suffices, its spread is what later verdicts go by.
 */
static snug_status keep_noise(struct lab *lab, struct snug_error *err)
{
    double frac = 0.0;
    int n = 0;
    if (!snug_lab_noise(&lab->plan, lab->results.rows, &lab->results.analysis, &frac, &n))
        return SNUG_OK;
    return snug_store_noise_set(lab->store, lab->machine.fingerprint, lab->run.build, frac, n, err);
}

static int finish(const struct cli_args *args, struct lab *lab)
{
    struct snug_error err = {0};
    int n_ok = 0;
    if (lab->run.n_done > 0 && lab->run.workloads) {
        if (write_results(args, lab, &err) != SNUG_OK)
            return cli_fail(&err);
        for (int i = 0; i < lab->results.analysis.n_summaries; i++)
            n_ok += lab->results.analysis.summaries[i].n_ok;
    }
    if (lab->run.is_stopped) {
        const bool has_rows = lab->run.n_done == lab->plan.n_rows;
        cli_say("interrupted after %d of %d rows%s; go on with: snug lab %s --resume",
                lab->run.n_done, lab->plan.n_rows,
                has_rows ? ", while their quality was measured" : "", args->operand);
        return CLI_FAILED;
    }
    if (keep_noise(lab, &err) != SNUG_OK)
        return cli_fail(&err);
    int code = show_results(args, lab, &err);
    if (code == CLI_OK && n_ok == 0)
        code = cli_fail_text(CLI_FAILED, "no row ran: %s",
                             lab->results.analysis.n_summaries > 0
                                 ? lab->results.analysis.summaries[0].reason
                                 : "there is none");
    code = cli_gate_close(&lab->gate, code);
    cli_say("written to %s: report.html, report.md, report.tex, results.json, results.csv, "
            "results.jsonl",
            lab->folder);
    return code;
}

int cmd_lab(const struct cli_args *args)
{
    struct snug_error err = {0};
    int code = CLI_OK;
    struct lab *lab = calloc(1, sizeof *lab);
    if (!lab)
        return cli_fail_text(CLI_FAILED, "no memory for rounds");
    cli_catch_signals();
    snug_status status = snug_lab_plan_read(args->operand, &lab->plan, &err);
    if (status == SNUG_OK)
        status = open_gate(args, lab, &err);
    if (status == SNUG_OK)
        status = name_folder(args, lab, &err);
    if (status == SNUG_OK && args->dry_run) {
        code = show_plan(args, lab);
    } else {
        if (status == SNUG_OK)
            status = run(args, lab, &err);
        code = status == SNUG_OK ? finish(args, lab) : cli_fail(&err);
    }
    snug_lab_results_clear(&lab->results);
    snug_lab_run_result_clear(&lab->run);
    snug_store_close(lab->store);
    free(lab->machine_json);
    snug_lab_plan_clear(&lab->plan);
    free(lab);
    return code;
}
