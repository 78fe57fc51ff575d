/* snug probe: what this machine is, what is free now, how fast it is. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "machine/machine_json.h"
#include "snug/budget.h"
#include "snug/engine.h"
#include "snug/machine.h"
#include "snug/units.h"

static void line(struct snug_buffer *out, const char *label, const char *format, ...)
    SNUG_PRINTF(3, 4);

static void line(struct snug_buffer *out, const char *label, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snug_buffer_printf(out, "%-12s %s\n", label, text);
}

static const char *fact_bytes(const struct snug_fact *fact, char out[160])
{
    char text[SNUG_UNIT_TEXT_MAX];
    if (fact->is_known)
        snprintf(out, 160, "%s", snug_bytes_text((uint64_t)fact->value, text));
    else
        snprintf(out, 160, "unknown (%s)", fact->source);
    return out;
}

static void put_cpu(struct snug_buffer *out, const struct snug_machine *m)
{
    char caches[256] = "", size[SNUG_UNIT_TEXT_MAX];
    size_t n = 0;
    line(out, "cpu", "%s (%s)", m->cpu_name[0] ? m->cpu_name : "unknown", m->arch);
    line(out, "cores", "%d cores, %d threads, %d memory node%s", m->n_cores, m->n_threads,
         m->n_numa, m->n_numa == 1 ? "" : "s");
    for (int i = 0; i < m->n_kinds && m->n_kinds > 1; i++)
        line(out, "", "%s: %d cores, %d threads", m->kinds[i].name, m->kinds[i].n_cores,
             m->kinds[i].n_threads);
    for (int i = 0; i < m->n_caches && n < sizeof caches; i++)
        n += (size_t)snprintf(caches + n, sizeof caches - n, "%sL%d %d x %s", i ? ", " : "",
                              m->caches[i].level, m->caches[i].n_instances,
                              snug_bytes_text(m->caches[i].size_bytes, size));
    line(out, "caches", "%s", caches[0] ? caches : "unknown");
    line(out, "isa", "%s", m->isa[0] ? m->isa : "unknown");
    if (m->quota_cpus.is_known)
        line(out, "quota", "%.2f CPUs (%s)", m->quota_cpus.value, m->quota_cpus.source);
    line(out, "usable", "%d threads on %d cores", m->n_threads_usable, m->n_cores_usable);
    if (m->clock_hz.is_known)
        line(out, "clock", "%.2f GHz now%s%s", m->clock_hz.value / 1e9,
             m->governor[0] ? ", governor " : "", m->governor);
    else
        line(out, "clock", "unknown (%s)", m->clock_hz.source);
}

static void put_memory(struct snug_buffer *out, const struct snug_machine *m)
{
    char a[160], b[160], total[SNUG_UNIT_TEXT_MAX];
    line(out, "memory", "%s in all, %s free now", snug_bytes_text(m->ram_bytes, total),
         fact_bytes(&m->available_bytes, a));
    if (m->memory_limit_bytes.is_known)
        line(out, "", "limit %s (%s)", fact_bytes(&m->memory_limit_bytes, a),
             m->memory_limit_bytes.source);
    line(out, "swap", "%s, free %s", fact_bytes(&m->swap_total_bytes, a),
         fact_bytes(&m->swap_free_bytes, b));
    if (m->load_average_1m.is_known)
        line(out, "load", "%.2f over the last minute", m->load_average_1m.value);
    if (m->pressure_cpu_frac.is_known)
        line(out, "pressure", "cpu %.0f %%, memory %.0f %%, io %.0f %% of the last 10 s",
             100.0 * m->pressure_cpu_frac.value,
             m->pressure_memory_frac.is_known ? 100.0 * m->pressure_memory_frac.value : 0.0,
             m->pressure_io_frac.is_known ? 100.0 * m->pressure_io_frac.value : 0.0);
    else
        line(out, "pressure", "unknown (%s)", m->pressure_cpu_frac.source);
}

static void put_devices(struct snug_buffer *out, const struct snug_machine *m)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    for (int i = 0; i < m->n_devices; i++)
        line(out, i ? "" : "devices", "%s (%s): %s, %s free of %s", m->devices[i].name,
             m->devices[i].kind, m->devices[i].description,
             snug_bytes_text(m->devices[i].bytes_free, a),
             snug_bytes_text(m->devices[i].bytes_total, b));
}

/* Free memory of the first device that is not the CPU. */
static void find_device(const struct snug_machine *m, struct snug_fact *out)
{
    *out = (struct snug_fact){.source = "ggml shows no device but the CPU"};
    for (int i = 0; i < m->n_devices && !out->is_known; i++) {
        if (strcmp(m->devices[i].kind, "gpu") != 0 && strcmp(m->devices[i].kind, "igpu") != 0)
            continue;
        out->is_known = true;
        out->value = (double)m->devices[i].bytes_free;
        snprintf(out->source, sizeof out->source, "ggml: %.80s", m->devices[i].name);
    }
}

/* What may be used now: the answer first, then where it comes from. */
static void put_budget(struct snug_buffer *out, const struct snug_budget *b)
{
    char a[160], c[160];
    if (b->memory_usable_bytes.is_known)
        line(out, "free now", "%s of memory: a reserve of %s stays (%s)",
             fact_bytes(&b->memory_usable_bytes, a), fact_bytes(&b->memory_reserve_bytes, c),
             b->memory_usable_bytes.source);
    else
        line(out, "free now", "memory unknown (%s)", b->memory_usable_bytes.source);
    if (b->cpus_free.is_known)
        line(out, "", "%.1f of %.4g CPUs: others keep %.1f busy (%s)", b->cpus_free.value,
             b->cpus_allowed.value, b->cpus_others.value, b->cpus_free.source);
    else
        line(out, "", "CPUs unknown (%s)", b->cpus_free.source);
    if (b->device_usable_bytes.is_known)
        line(out, "", "%s of the device (%s)", fact_bytes(&b->device_usable_bytes, a),
             b->device_usable_bytes.source);
}

static void put_speed(struct snug_buffer *out, const struct snug_machine_speed *s)
{
    for (int i = 0; i < s->n_bandwidth; i++)
        line(out, i ? "" : "bandwidth", "%2d threads  %6.1f GB/s  [%.1f, %.1f]",
             s->bandwidth[i].n_threads, s->bandwidth[i].bandwidth_bps.mid / 1e9,
             s->bandwidth[i].bandwidth_bps.lo / 1e9, s->bandwidth[i].bandwidth_bps.hi / 1e9);
    for (int i = 0; i < s->n_mul_mat; i++) {
        const struct snug_mul_mat_speed *m = &s->mul_mat[i];
        line(out, i ? "" : "mul_mat",
             "%-7s decode %6.1f GB/s [%.1f, %.1f]   prefill %7.1f GFLOP/s [%.1f, %.1f]", m->type,
             m->decode_bps.mid / 1e9, m->decode_bps.lo / 1e9, m->decode_bps.hi / 1e9,
             m->prefill_flops.mid / 1e9, m->prefill_flops.lo / 1e9, m->prefill_flops.hi / 1e9);
    }
    if (s->disk_bps.is_known)
        line(out, "disk", "%.2f GB/s (%s)", s->disk_bps.value / 1e9, s->disk_bps.source);
    if (s->n_mul_mat > 0)
        line(out, "", "measured with %d threads, %s, in %.1f s", s->n_threads, s->build, s->wall_s);
}

/* Measured speeds: from the cache of this fingerprint, else measured now and kept. */
static snug_status find_speed(const struct cli_args *args, struct snug_machine *machine,
                              struct snug_machine_speed *speed, struct snug_error *err)
{
    char folder[4096];
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    if (!args->refresh &&
        snug_machine_speed_load(folder, machine->fingerprint, speed, NULL) == SNUG_OK)
        return SNUG_OK;
    if (!args->measure && !args->refresh) {
        *speed = (struct snug_machine_speed){.n_threads = 0};
        return SNUG_OK;
    }
    cli_say("measuring memory and matrix products, about 15 s ...");
    status = snug_engine_probe(machine, speed, &cli_stop, err);
    if (status == SNUG_OK)
        status = snug_machine_speed_save(folder, speed, err);
    return status;
}

static void read_budget(const struct snug_machine *machine, struct snug_budget *out)
{
    struct snug_fact device;
    find_device(machine, &device);
    const struct snug_budget_options options = {.device_free_bytes = &device};
    snug_budget_read(&options, out, NULL);
}

static char *probe_json(const struct snug_machine *machine, const struct snug_budget *budget,
                        const struct snug_machine_speed *speed)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "snug", snug_version());
    snug_machine_to_json(&w, "machine", machine);
    snug_budget_to_json(&w, "budget", budget);
    if (speed->n_bandwidth > 0 || speed->disk_bps.is_known)
        snug_machine_speed_to_json(&w, "speed", speed);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

int cmd_probe(const struct cli_args *args)
{
    struct snug_machine machine;
    struct snug_machine_speed speed = {.n_threads = 0};
    struct snug_budget budget;
    struct snug_error err = {0};
    struct snug_buffer out = {0};
    cli_catch_signals();
    snug_status status = snug_machine_probe("", &machine, &err);
    struct snug_error why = {0};
    if (status == SNUG_OK && snug_engine_probe(&machine, NULL, &cli_stop, &why) != SNUG_OK)
        cli_say("devices unknown: %s", why.text);
    if (status == SNUG_OK)
        status = find_speed(args, &machine, &speed, &err);
    if (status == SNUG_OK && args->disk)
        status = snug_machine_measure_disk(args->disk, &speed.disk_bps, &err);
    if (status != SNUG_OK)
        return cli_fail(&err);
    read_budget(&machine, &budget);
    if (args->json) {
        cli_buffer_json(&out, probe_json(&machine, &budget, &speed));
    } else {
        line(&out, "os", "%s", machine.os);
        put_cpu(&out, &machine);
        put_memory(&out, &machine);
        put_budget(&out, &budget);
        put_devices(&out, &machine);
        put_speed(&out, &speed);
        line(&out, "fingerprint", "%.16s", machine.fingerprint);
    }
    const int result = cli_put_buffer(&out);
    if (result == CLI_OK && !args->json && speed.n_bandwidth == 0)
        cli_say("\nnext: snug probe --measure, or snug tune model.gguf");
    snug_buffer_clear(&out);
    return result;
}
