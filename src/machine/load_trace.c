/* What a load is asked to do: traces as CSV, profiles as shares of a machine, and the refusal of
 * what this machine cannot bear. Nothing runs here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "machine/load_internal.h"
#include "machine/measure.h"
#include "snug/budget.h"
#include "snug/units.h"

static const char HEADER[] = "t_s,cpu,memory_bytes,bandwidth_bps,disk";
#define N_FIELDS 5
#define FIELD_MAX 48 /* bytes; the longest number that means anything is shorter */
/* More busy threads than this on each CPU are no load but a stand-still. */
#define THREADS_PER_CPU 4.0
/* The load's own stacks and code, generously. */
#define OWN_BYTES (32ull << 20)

/* ---- CSV ---- */

/* Where a parse is, for its errors. */
struct place {
    const char *name;
    int line;
};

static snug_status fail_at(const struct place *at, struct snug_error *err, const char *field,
                           const char *text, const char *want)
{
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%d: %s is '%.40s'; expected %s", at->name, at->line,
                     field, text, want);
}

static bool parse_number(const char *text, double max, double *out)
{
    char *end = NULL;
    if (!*text) {
        *out = 0;
        return true;
    }
    if (strspn(text, "0123456789.eE+-") != strlen(text)) /* strtod also takes nan, inf and 0x */
        return false;
    const double value = strtod(text, &end);
    if (*end || !(value >= 0 && value <= max))
        return false;
    *out = value;
    return true;
}

static snug_status parse_bytes(const struct place *at, const char *field, const char *text,
                               uint64_t *out, struct snug_error *err)
{
    *out = 0;
    if (!*text || snug_bytes_parse(text, out, NULL) == SNUG_OK)
        return SNUG_OK;
    return fail_at(at, err, field, text, "bytes, such as 1048576 or 2GiB");
}

/* Cut a line into its fields, blanks around them off. Returns how many there are, also beyond the
 * array; -1: one is too long. */
static int split(const char *line, size_t n, char out[N_FIELDS][FIELD_MAX])
{
    int n_fields = 0;
    for (size_t i = 0; i <= n; n_fields++) {
        const char *comma = memchr(line + i, ',', n - i);
        const size_t end = comma ? (size_t)(comma - line) : n;
        size_t from = i, to = end;
        while (from < to && (line[from] == ' ' || line[from] == '\t'))
            from++;
        while (to > from && (line[to - 1] == ' ' || line[to - 1] == '\t'))
            to--;
        if (to - from >= FIELD_MAX)
            return -1;
        if (n_fields < N_FIELDS) {
            memcpy(out[n_fields], line + from, to - from);
            out[n_fields][to - from] = '\0';
        }
        i = end + 1;
    }
    return n_fields;
}

static snug_status parse_row(const struct place *at, const char *line, size_t n,
                             struct snug_load_step *out, struct snug_error *err)
{
    char fields[N_FIELDS][FIELD_MAX] = {{0}};
    struct snug_load_step step = {0};
    uint64_t bps = 0;
    const int n_fields = split(line, n, fields);
    if (n_fields != N_FIELDS)
        return snug_fail(err, SNUG_BAD_INPUT, "%s:%d: expected the %d fields %s", at->name,
                         at->line, N_FIELDS, HEADER);
    if (!fields[0][0] || !parse_number(fields[0], SNUG_LOAD_SECONDS_MAX, &step.t_s))
        return fail_at(at, err, "t_s", fields[0], "seconds from 0 to 604800");
    if (!parse_number(fields[1], SNUG_LOAD_CPUS_MAX, &step.level.cpu))
        return fail_at(at, err, "cpu", fields[1], "cores from 0 to 1024, such as 1.5");
    snug_status status = parse_bytes(at, "memory_bytes", fields[2], &step.level.memory_bytes, err);
    if (status == SNUG_OK)
        status = parse_bytes(at, "bandwidth_bps", fields[3], &bps, err);
    if (status != SNUG_OK)
        return status;
    if ((double)bps > SNUG_LOAD_BPS_MAX)
        return fail_at(at, err, "bandwidth_bps", fields[3], "at most 10TB a second");
    if (!parse_number(fields[4], 1, &step.level.disk_frac))
        return fail_at(at, err, "disk", fields[4], "a share of the time from 0 to 1");
    step.level.bandwidth_bps = (double)bps;
    *out = step;
    return SNUG_OK;
}

static snug_status add_step(const struct place *at, const struct snug_load_step *step, int *cap,
                            struct snug_load_trace *trace, struct snug_error *err)
{
    if (trace->n > 0 && step->t_s <= trace->steps[trace->n - 1].t_s)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s:%d: t_s is %g, not after the row before (%g): times must rise",
                         at->name, at->line, step->t_s, trace->steps[trace->n - 1].t_s);
    if (trace->n == SNUG_LOAD_STEPS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s:%d: more than %d rows", at->name, at->line,
                         SNUG_LOAD_STEPS_MAX);
    if (trace->n == *cap) {
        const int wanted = *cap ? 2 * *cap : 64;
        struct snug_load_step *steps = realloc(trace->steps, (size_t)wanted * sizeof *steps);
        if (!steps)
            return snug_fail(err, SNUG_NO_MEMORY, "%s: a trace of %d rows", at->name, wanted);
        trace->steps = steps;
        *cap = wanted;
    }
    trace->steps[trace->n++] = *step;
    return SNUG_OK;
}

static snug_status parse_line(const struct place *at, const char *line, size_t n, bool *has_header,
                              struct snug_load_step *out, struct snug_error *err)
{
    if (*has_header)
        return parse_row(at, line, n, out, err);
    if (n != sizeof HEADER - 1 || memcmp(line, HEADER, n) != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s:%d: expected the header %s", at->name, at->line,
                         HEADER);
    *has_header = true;
    return SNUG_OK;
}

snug_status snug_load_trace_parse(const char *name, const char *text, size_t n,
                                  struct snug_load_trace *out, struct snug_error *err)
{
    struct snug_load_trace trace = {0};
    struct place at = {.name = name};
    snug_status status = SNUG_OK;
    bool has_header = false;
    int cap = 0;
    if (memchr(text, '\0', n))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: has a zero byte; expected text", name);
    for (size_t i = 0; i < n && status == SNUG_OK;) {
        const char *line = text + i, *end = memchr(line, '\n', n - i);
        size_t n_line = end ? (size_t)(end - line) : n - i;
        i += n_line + 1;
        at.line++;
        n_line -= n_line > 0 && line[n_line - 1] == '\r';
        if (n_line == 0 || line[0] == '#')
            continue;
        struct snug_load_step step;
        const bool is_row = has_header;
        status = parse_line(&at, line, n_line, &has_header, &step, err);
        if (status == SNUG_OK && is_row)
            status = add_step(&at, &step, &cap, &trace, err);
    }
    if (status == SNUG_OK && trace.n < 2)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: %s; expected the header %s and two rows or more, of which the last "
                           "says when it ends",
                           name, trace.n == 1 ? "only one row" : "no rows", HEADER);
    if (status == SNUG_OK)
        *out = trace;
    else
        free(trace.steps);
    return status;
}

snug_status snug_load_trace_read(const char *path, struct snug_load_trace *out,
                                 struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG_LOAD_TRACE_BYTES_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug_load_trace_parse(path, text, n, out, err);
    free(text);
    return status;
}

snug_status snug_load_trace_steady(const struct snug_load_level *level, double duration_s,
                                   struct snug_load_trace *out, struct snug_error *err)
{
    struct snug_load_step *steps = calloc(2, sizeof *steps);
    if (!steps)
        return snug_fail(err, SNUG_NO_MEMORY, "a trace of two steps");
    steps[0].level = *level;
    steps[1].t_s = duration_s > 0 ? duration_s : SNUG_LOAD_SECONDS_MAX;
    *out = (struct snug_load_trace){.steps = steps, .n = 2};
    return SNUG_OK;
}

void snug_load_trace_clear(struct snug_load_trace *trace)
{
    free(trace->steps);
    *trace = (struct snug_load_trace){0};
}

void snug__load_trace_print(const struct snug_load_trace *trace, struct snug_buffer *out)
{
    snug_buffer_printf(out, "%s\n", HEADER);
    for (int i = 0; i < trace->n; i++) {
        const struct snug_load_step *s = &trace->steps[i];
        snug_buffer_printf(out, "%.17g,%.17g,%llu,%.0f,%.17g\n", s->t_s, s->level.cpu,
                           (unsigned long long)s->level.memory_bytes, s->level.bandwidth_bps,
                           s->level.disk_frac);
    }
}

bool snug_load_trace_at(const struct snug_load_trace *trace, double t_s,
                        struct snug_load_level *out)
{
    int lo = 0, hi = trace->n; /* steps before lo have begun, those from hi on have not */
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (trace->steps[mid].t_s <= t_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    *out = (struct snug_load_level){0};
    if (lo > 0 && lo < trace->n)
        *out = trace->steps[lo - 1].level;
    return lo < trace->n;
}

/* ---- this machine ---- */

static double usable_cpus(const struct snug_machine *machine)
{
    const double n = machine->n_threads_usable;
    return machine->quota_cpus.is_known && machine->quota_cpus.value < n ? machine->quota_cpus.value
                                                                         : n;
}

snug_status snug_load_profile(const char *name, const struct snug_machine *machine,
                              struct snug_load_level *out, struct snug_error *err)
{
    static const struct {
        const char *name;
        double cpu_frac, memory_frac;
    } PROFILES[] = {{"low", 0.25, 0.25}, {"mid", 0.5, 0.5}, {"high", 1, 0.75}};
    for (size_t i = 0; i < sizeof PROFILES / sizeof PROFILES[0]; i++) {
        if (strcmp(PROFILES[i].name, name) != 0)
            continue;
        const struct snug_fact *available = &machine->available_bytes;
        const uint64_t usable =
            available->is_known ? snug_budget_usable_bytes((uint64_t)available->value) : 0;
        *out = (struct snug_load_level){
            .cpu = PROFILES[i].cpu_frac * usable_cpus(machine),
            .memory_bytes = (uint64_t)(PROFILES[i].memory_frac * (double)usable) >> 20 << 20,
        };
        return SNUG_OK;
    }
    return snug_fail(err, SNUG_NOT_FOUND, "no profile '%s': there are low, mid and high", name);
}

void snug_load_trace_peak(const struct snug_load_trace *trace, struct snug_load_level *out)
{
    struct snug_load_level peak = {0};
    for (int i = 0; i + 1 < trace->n; i++) {
        const struct snug_load_level *level = &trace->steps[i].level;
        peak.cpu = fmax(peak.cpu, level->cpu);
        peak.bandwidth_bps = fmax(peak.bandwidth_bps, level->bandwidth_bps);
        peak.disk_frac = fmax(peak.disk_frac, level->disk_frac);
        if (level->memory_bytes > peak.memory_bytes)
            peak.memory_bytes = level->memory_bytes;
    }
    *out = peak;
}

uint64_t snug__load_stream_bytes(const struct snug_machine *machine)
{
    return snug__cold_bytes(machine, SNUG__LOAD_STREAM_BYTES_MAX);
}

static snug_status check_memory(const struct snug_load_level *peak,
                                const struct snug_machine *machine, struct snug_error *err)
{
    char asked[SNUG_UNIT_TEXT_MAX], most[SNUG_UNIT_TEXT_MAX], free_now[SNUG_UNIT_TEXT_MAX],
        reserve[SNUG_UNIT_TEXT_MAX];
    const struct snug_fact *available = &machine->available_bytes;
    const uint64_t stream = peak->bandwidth_bps > 0 ? snug__load_stream_bytes(machine) : 0;
    const uint64_t own = OWN_BYTES + stream;
    if (!available->is_known)
        return snug_fail(err, SNUG_INFEASIBLE, "load: free memory is unknown (%s): nothing is run",
                         available->source);
    const uint64_t bytes = (uint64_t)available->value;
    const uint64_t usable = snug_budget_usable_bytes(bytes);
    const uint64_t room = usable > own ? usable - own : 0;
    if (peak->bandwidth_bps > 0 && (stream == 0 || usable <= own))
        return snug_fail(err, SNUG_INFEASIBLE,
                         "memory traffic needs a buffer larger than the caches, and only %s is "
                         "available, %s of it a reserve",
                         snug_bytes_text(bytes, free_now),
                         snug_bytes_text(bytes - usable, reserve));
    if (peak->memory_bytes > room || usable <= own)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "%s of memory asked for, and at most %s can be taken: %s is available, "
                         "%s of it a reserve (%s)",
                         snug_bytes_text(peak->memory_bytes, asked), snug_bytes_text(room, most),
                         snug_bytes_text(bytes, free_now), snug_bytes_text(bytes - usable, reserve),
                         available->source);
    return SNUG_OK;
}

/* A trace may be made by hand, or of options. */
static snug_status check_caps(const struct snug_load_trace *trace,
                              const struct snug_load_level *peak, struct snug_error *err)
{
    char asked[SNUG_UNIT_TEXT_MAX], most[SNUG_UNIT_TEXT_MAX];
    const double end_s = trace->n > 0 ? trace->steps[trace->n - 1].t_s : 0;
    if (!(end_s <= SNUG_LOAD_SECONDS_MAX))
        return snug_fail(err, SNUG_BAD_INPUT, "a load of %s asked for; at most %s",
                         snug_seconds_text(end_s, asked),
                         snug_seconds_text(SNUG_LOAD_SECONDS_MAX, most));
    if (!(peak->bandwidth_bps <= SNUG_LOAD_BPS_MAX))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%g GB/s of memory traffic asked for; at most %g GB/s",
                         peak->bandwidth_bps / 1e9, SNUG_LOAD_BPS_MAX / 1e9);
    if (!(peak->disk_frac <= 1))
        return snug_fail(err, SNUG_BAD_INPUT, "disk %g of the time asked for; at most 1",
                         peak->disk_frac);
    return SNUG_OK;
}

snug_status snug__load_check(const struct snug_load_trace *trace,
                             const struct snug_machine *machine, struct snug_error *err)
{
    struct snug_load_level peak;
    snug_load_trace_peak(trace, &peak);
    const snug_status status = check_caps(trace, &peak, err);
    if (status != SNUG_OK)
        return status;
    const double most = fmin(THREADS_PER_CPU * machine->n_threads_usable, SNUG_LOAD_CPUS_MAX);
    if (peak.cpu > most)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "%g busy cores asked for; at most %g here: %g threads on each of %d CPUs",
                         peak.cpu, most, THREADS_PER_CPU, machine->n_threads_usable);
    return check_memory(&peak, machine, err);
}
