/* Thresholds over all that a command measured. A figure that was not measured meets none. */
#include "cli/gate.h"

#include <math.h>

#include "snug/units.h"

snug_status cli_gate_open(const struct cli_args *args, struct cli_gate *gate,
                          struct snug_error *err)
{
    *gate = (struct cli_gate){.is_strict = args->strict};
    for (int i = 0; i < args->n_require; i++) {
        const snug_status status =
            snug_threshold_parse(args->require[i], &gate->thresholds[gate->n++], err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "--require");
    }
    return SNUG_OK;
}

static void take(struct cli_gate *gate, int i, double figure)
{
    const struct snug_threshold *t = &gate->thresholds[i];
    const bool is_worse = !gate->is_seen[i] || isnan(figure) ||
                          (t->is_at_least ? figure < gate->worst[i] : figure > gate->worst[i]);
    if (is_worse && !(gate->is_seen[i] && isnan(gate->worst[i])))
        gate->worst[i] = figure;
    gate->is_seen[i] = true;
}

void cli_gate_trial(struct cli_gate *gate, const struct snug_measurement *m,
                    const struct snug_workload *workload, double kld)
{
    for (int i = 0; i < gate->n; i++) {
        const enum snug_threshold_metric metric = gate->thresholds[i].metric;
        /* A model that stayed loaded has no load time: that trial says nothing of it. */
        if (metric == SNUG_METRIC_LOAD && m->outcome == SNUG_TRIAL_OK && m->load_s <= 0.0)
            continue;
        take(gate, i,
             metric == SNUG_METRIC_KLD ? kld
                                       : snug_threshold_figure(&gate->thresholds[i], m, workload));
    }
    if (m->outcome == SNUG_TRIAL_OK)
        cli_gate_verdict(gate, snug_verdict_of(m->warnings));
}

void cli_gate_figure(struct cli_gate *gate, enum snug_threshold_metric metric, double figure)
{
    for (int i = 0; i < gate->n; i++) {
        if (gate->thresholds[i].metric == metric)
            take(gate, i, figure);
    }
}

void cli_gate_verdict(struct cli_gate *gate, enum snug_verdict verdict)
{
    gate->is_invalid = gate->is_invalid || verdict == SNUG_INVALID;
}

static bool is_met(const struct cli_gate *gate, int i)
{
    return gate->is_seen[i] && snug_threshold_is_met(&gate->thresholds[i], gate->worst[i]);
}

static const char *figure_text(const struct cli_gate *gate, int i, char out[SNUG_UNIT_TEXT_MAX])
{
    const double figure = gate->worst[i];
    if (!gate->is_seen[i] || isnan(figure))
        snprintf(out, SNUG_UNIT_TEXT_MAX, "not measured");
    else if (gate->thresholds[i].metric == SNUG_METRIC_MEMORY)
        snug_bytes_text((uint64_t)figure, out);
    else
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.4g", figure);
    return out;
}

int cli_gate_close(const struct cli_gate *gate, int code)
{
    bool are_met = true;
    for (int i = 0; i < gate->n; i++) {
        char text[SNUG_UNIT_TEXT_MAX];
        cli_say("%s %s: %s", is_met(gate, i) ? "\xe2\x9c\x93" : "\xe2\x9c\x97",
                gate->thresholds[i].text, figure_text(gate, i, text));
        are_met = are_met && is_met(gate, i);
    }
    if (code != CLI_OK)
        return code;
    if (!are_met)
        return CLI_NOT_MET;
    if (gate->is_strict && gate->is_invalid)
        return cli_fail_text(CLI_FAILED, "a verdict is INVALID, and --strict was given");
    return CLI_OK;
}

void cli_gate_json(const struct cli_gate *gate, struct snug_json_writer *w, const char *key)
{
    snug_json_begin_array(w, key);
    for (int i = 0; i < gate->n; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "text", gate->thresholds[i].text);
        snug_json_put_bool(w, "ok", is_met(gate, i));
        snug_json_put_number(w, "value", gate->is_seen[i] ? gate->worst[i] : NAN);
        snug_json_end(w);
    }
    snug_json_end(w);
}
