/* Comparisons without a run. Trials that were not measured alternately may differ by what changed
 * on the machine in between: their verdict is a NOTE at best. Rounds of one lab were interleaved.
 */
#include "cli/compare_known.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/gate.h"
#include "lab/compare.h"
#include "snug/store.h"
#include "snug/units.h"

static const size_t RESULTS_BYTES_MAX = 512u << 20;

static bool is_number(const char *text)
{
    return text[0] && text[strspn(text, "0123456789")] == '\0';
}

/* FILE.json:ROUND; the colon behind ".json". */
static const char *round_of(const char *text)
{
    const char *at = strstr(text, ".json:");
    return at ? at + 6 : NULL;
}

bool cli_compare_is_known(const struct cli_args *args)
{
    return (is_number(args->operand) && is_number(args->operand2)) ||
           (round_of(args->operand) && round_of(args->operand2));
}

/* ---- what both forms end in ---- */

struct known_pair {
    double speed[2][SNUG_COMPARE_N_METRICS][SNUG_COMPARE_PAIRS_MAX];
    int n[2][SNUG_COMPARE_N_METRICS];
    uint32_t warnings;
    bool is_interleaved;
    char name[2][256];
};

static struct snug_interval ratio_of(const struct known_pair *p, int k)
{
    if (p->is_interleaved)
        return snug_stats_ratio_pairs(p->speed[0][k], p->speed[1][k], (size_t)p->n[0][k], 0.95,
                                      2000, 1);
    return snug_stats_ratio(p->speed[0][k], (size_t)p->n[0][k], p->speed[1][k], (size_t)p->n[1][k],
                            0.95, 2000, 1);
}

static void put_json(struct snug_json_writer *w, const struct known_pair *p, int k)
{
    const struct snug_interval ratio = ratio_of(p, k);
    snug_json_begin_object(w, snug_compare_metric_name((enum snug_compare_metric)k));
    snug_json_put_number(w, "lo", ratio.lo);
    snug_json_put_number(w, "mid", ratio.mid);
    snug_json_put_number(w, "hi", ratio.hi);
    snug_json_put_int(w, "n_a", p->n[0][k]);
    snug_json_put_int(w, "n_b", p->n[1][k]);
    snug_json_end(w);
}

static int show(const struct cli_args *args, const struct known_pair *p, struct cli_gate *gate)
{
    const enum snug_verdict own = p->is_interleaved ? SNUG_VALID : SNUG_NOTE;
    const enum snug_verdict found = snug_verdict_of(p->warnings);
    const enum snug_verdict verdict = found > own ? found : own;
    struct snug_buffer out = {0};
    struct snug_json_writer w = {0};
    char text[512];
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "verdict", snug_verdict_name(verdict));
    snug_json_put_string(&w, "rules", snug_warnings_text(p->warnings, " ", text, sizeof text));
    snug_json_put_bool(&w, "is_interleaved", p->is_interleaved);
    snug_json_begin_object(&w, "ratio");
    snug_buffer_printf(&out, "A: %s\nB: %s\n", p->name[0], p->name[1]);
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        if (p->n[0][k] < 2 || p->n[1][k] < 2)
            continue;
        const struct snug_interval ratio = ratio_of(p, k);
        cli_gate_figure(gate, SNUG_METRIC_RATIO, ratio.mid);
        put_json(&w, p, k);
        snug_buffer_printf(&out, "%-8s %s\n", snug_compare_metric_name((enum snug_compare_metric)k),
                           snug_compare_words(&ratio, "A", "B", text, sizeof text));
    }
    snug_json_end(&w);
    snug_json_end(&w);
    snug_buffer_printf(&out, "%s: %s\n", snug_verdict_name(verdict),
                       p->is_interleaved ? "measured alternately"
                                         : "not measured alternately: what changed on the machine "
                                           "in between is part of the ratio");
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (p->warnings >> bit & 1u)
            snug_buffer_printf(&out, "  %s: %s\n", snug_warning_name((enum snug_warning_bit)bit),
                               snug_warning_meaning((enum snug_warning_bit)bit));
    }
    cli_gate_verdict(gate, verdict);
    const int code = cli_gate_close(gate, CLI_OK);
    char *json = snug_json_finish(&w, true);
    int put = CLI_FAILED;
    if (args->json && json)
        put = cli_put(json);
    else if (!args->json)
        put = cli_put_buffer(&out);
    if (args->json && put == CLI_OK)
        put = cli_put("\n");
    free(json);
    snug_buffer_clear(&out);
    return put == CLI_OK ? code : put;
}

/* ---- stored trials ---- */

struct finding {
    int64_t id[2];
    int64_t task_id[2];
    bool is_found[2], is_ok[2];
    struct known_pair *pair;
};

static bool take_trial(const struct snug_trial_view *view, void *data)
{
    struct finding *f = data;
    for (int s = 0; s < 2; s++) {
        if (view->id != f->id[s])
            continue;
        const struct snug_measurement *m = view->measurement;
        f->is_found[s] = true;
        f->is_ok[s] = m->outcome == SNUG_TRIAL_OK;
        f->task_id[s] = view->task_id;
        f->pair->warnings |= m->warnings;
        f->pair->n[s][SNUG_COMPARE_PREFILL] = m->n_prefill_blocks;
        f->pair->n[s][SNUG_COMPARE_DECODE] = m->n_decode_blocks;
        memcpy(f->pair->speed[s][SNUG_COMPARE_PREFILL], m->prefill_block_tps,
               sizeof m->prefill_block_tps);
        memcpy(f->pair->speed[s][SNUG_COMPARE_DECODE], m->decode_block_tps,
               sizeof m->decode_block_tps);
        snprintf(f->pair->name[s], sizeof f->pair->name[s], "trial %lld, %s", (long long)view->id,
                 view->role);
    }
    return !(f->is_found[0] && f->is_found[1]);
}

static snug_status read_trials(const struct cli_args *args, struct known_pair *pair,
                               struct snug_error *err)
{
    struct snug_store *store = NULL;
    struct finding f = {.pair = pair};
    snug_status status = snug_int_parse("trial", args->operand, 1, INT64_MAX, &f.id[0], err);
    if (status == SNUG_OK)
        status = snug_int_parse("trial", args->operand2, 1, INT64_MAX, &f.id[1], err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &store, err);
    if (status == SNUG_OK)
        status = snug_store_trials(store, NULL, take_trial, &f, err);
    for (int s = 0; s < 2 && status == SNUG_OK; s++) {
        if (!f.is_found[s])
            status = snug_fail(err, SNUG_NOT_FOUND, "no trial %lld in %s; see snug history MODEL",
                               (long long)f.id[s], snug_store_path(store));
        else if (!f.is_ok[s])
            status = snug_fail(err, SNUG_INFEASIBLE,
                               "trial %lld did not end ok, so it has no speed to compare",
                               (long long)f.id[s]);
    }
    if (status == SNUG_OK && f.task_id[0] != f.task_id[1])
        cli_say("note: the trials are of different tasks (model, workload or machine)");
    snug_store_close(store);
    return status;
}

/* ---- rounds of a lab ---- */

static bool is_same_place(const struct snug_json_node *a, const struct snug_json_node *b)
{
    static const char *const keys[] = {"model", "workload"};
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(snug_json_get_string(a, keys[i], ""), snug_json_get_string(b, keys[i], "")) != 0)
            return false;
    }
    return snug_json_get_int(a, "repetition", -1) == snug_json_get_int(b, "repetition", -1);
}

static bool row_speeds(const struct snug_json_node *row, double out[2], uint32_t *warnings)
{
    const struct snug_json_node *m = snug_json_get(row, "measurement");
    if (strcmp(snug_json_get_string(m, "outcome", ""), "ok") != 0)
        return false;
    const struct snug_json_node *names = snug_json_get(m, "warnings");
    for (size_t i = 0; i < snug_json_count(names); i++)
        *warnings |= snug_warnings_from_text(snug_json_string(snug_json_at(names, i), ""));
    out[0] = snug_json_get_number(m, "prefill_tps", 0.0);
    out[1] = snug_json_get_number(m, "decode_tps", 0.0);
    return true;
}

/* Every row of A's round with the row of B's round in the same block. */
static void pair_rows(const struct snug_json_node *rows_a, const struct snug_json_node *rows_b,
                      const char *round_a, const char *round_b, struct known_pair *pair)
{
    const size_t n_a = snug_json_count(rows_a), n_b = snug_json_count(rows_b);
    for (size_t i = 0; i < n_a; i++) {
        const struct snug_json_node *a = snug_json_at(rows_a, i);
        double x[2], y[2];
        if (strcmp(snug_json_get_string(a, "round", ""), round_a) != 0)
            continue;
        for (size_t j = 0; j < n_b; j++) {
            const struct snug_json_node *b = snug_json_at(rows_b, j);
            if (strcmp(snug_json_get_string(b, "round", ""), round_b) != 0 ||
                !is_same_place(a, b) || !row_speeds(a, x, &pair->warnings) ||
                !row_speeds(b, y, &pair->warnings))
                continue;
            for (int k = 0; k < 2; k++) {
                int *n = &pair->n[0][k];
                if (x[k] <= 0.0 || y[k] <= 0.0 || *n == SNUG_COMPARE_PAIRS_MAX)
                    continue;
                pair->speed[0][k][*n] = x[k];
                pair->speed[1][k][(*n)++] = y[k];
                pair->n[1][k] = *n;
            }
            break;
        }
    }
}

static bool has_round(const struct snug_json_node *rows, const char *round)
{
    for (size_t i = 0; i < snug_json_count(rows); i++) {
        if (strcmp(snug_json_get_string(snug_json_at(rows, i), "round", ""), round) == 0)
            return true;
    }
    return false;
}

static snug_status read_rounds(const struct cli_args *args, struct known_pair *pair,
                               struct snug_error *err)
{
    const char *const operands[2] = {args->operand, args->operand2};
    struct snug_json *docs[2] = {NULL, NULL};
    snug_status status = SNUG_OK;
    for (int s = 0; s < 2 && status == SNUG_OK; s++) {
        const char *round = round_of(operands[s]);
        char path[4096], *text = NULL;
        size_t n = 0;
        snprintf(path, sizeof path, "%.*s", (int)(round - 1 - operands[s]), operands[s]);
        snprintf(pair->name[s], sizeof pair->name[s], "round %.60s of %.150s", round, path);
        status = snug_file_read(path, RESULTS_BYTES_MAX, &text, &n, err);
        if (status == SNUG_OK)
            status = snug_json_parse(path, text, n, &docs[s], err);
        free(text);
        if (status == SNUG_OK && !has_round(snug_json_get(snug_json_root(docs[s]), "rows"), round))
            status = snug_fail(err, SNUG_NOT_FOUND, "%s: no round '%s'", path, round);
    }
    if (status == SNUG_OK) {
        const char *a = snug_json_get_string(snug_json_root(docs[0]), "plan_hash", "a");
        const char *b = snug_json_get_string(snug_json_root(docs[1]), "plan_hash", "b");
        const double t_a = snug_json_get_number(snug_json_root(docs[0]), "generated_unix_s", 0.0);
        const double t_b = snug_json_get_number(snug_json_root(docs[1]), "generated_unix_s", 1.0);
        pair->is_interleaved = strcmp(a, b) == 0 && t_a == t_b; /* the same run of one plan */
        pair_rows(snug_json_get(snug_json_root(docs[0]), "rows"),
                  snug_json_get(snug_json_root(docs[1]), "rows"), round_of(operands[0]),
                  round_of(operands[1]), pair);
        if (pair->n[0][0] + pair->n[0][1] == 0)
            status = snug_fail(err, SNUG_INFEASIBLE,
                               "the rounds have no model and workload in common that both ran");
    }
    snug_json_free(docs[0]);
    snug_json_free(docs[1]);
    return status;
}

int cli_compare_known(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct cli_gate gate;
    struct known_pair *pair = calloc(1, sizeof *pair);
    if (!pair)
        return cli_fail_text(CLI_FAILED, "no memory for a comparison");
    snug_status status = cli_gate_open(args, &gate, &err);
    if (status == SNUG_OK)
        status = is_number(args->operand) ? read_trials(args, pair, &err)
                                          : read_rounds(args, pair, &err);
    const int code = status == SNUG_OK ? show(args, pair, &gate) : cli_fail(&err);
    free(pair);
    return code;
}
