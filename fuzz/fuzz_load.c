/* Any bytes as the trace of a load: refused with a place, or steps within the caps that load.h
 * states, which print to a trace that parses to the same. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "machine/load_internal.h"

static void check_steps(const struct snug_load_trace *trace)
{
    struct snug_load_level level;
    check(trace->n >= 2 && trace->n <= SNUG_LOAD_STEPS_MAX);
    for (int i = 0; i < trace->n; i++) {
        const struct snug_load_step *s = &trace->steps[i];
        check(s->t_s >= 0 && s->t_s <= SNUG_LOAD_SECONDS_MAX);
        check(i == 0 || s->t_s > trace->steps[i - 1].t_s);
        check(s->level.cpu >= 0 && s->level.cpu <= SNUG_LOAD_CPUS_MAX);
        check(s->level.bandwidth_bps >= 0 && s->level.bandwidth_bps <= SNUG_LOAD_BPS_MAX);
        check(s->level.disk_frac >= 0 && s->level.disk_frac <= 1);
        check(snug_load_trace_at(trace, s->t_s, &level) == (i + 1 < trace->n));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_load_trace trace = {.n = -7}, back = {.n = 0};
    struct snug_error err = {.status = SNUG_OK};
    struct snug_buffer text = {0};
    if (snug_load_trace_parse("fuzz", (const char *)data, n, &trace, &err) != SNUG_OK) {
        check(strncmp(err.text, "fuzz:", 5) == 0 && trace.n == -7);
        return 0;
    }
    check_steps(&trace);
    snug__load_trace_print(&trace, &text);
    if (!text.is_failed) {
        check(snug_load_trace_parse("again", text.data, text.len, &back, &err) == SNUG_OK);
        check(back.n == trace.n);
        check(memcmp(back.steps, trace.steps, (size_t)trace.n * sizeof *trace.steps) == 0);
    }
    snug_buffer_clear(&text);
    snug_load_trace_clear(&back);
    snug_load_trace_clear(&trace);
    return 0;
}
