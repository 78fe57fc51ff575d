/* Machine, measured speeds, model and workload as lists and small tables. */
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROWS_MAX 64 /* of any list below; the rest is counted in one line */

/* How many elements of a list are shown. */
static size_t n_shown(const struct snug_json_node *array)
{
    size_t n = snug_json_is_array(array) ? snug_json_count(array) : 0;
    return n < ROWS_MAX ? n : ROWS_MAX;
}

static void left_out(struct snug_buffer *out, const struct snug_json_node *array)
{
    if (snug_json_is_array(array) && snug_json_count(array) > ROWS_MAX)
        snug_buffer_printf(out, "<p>%zu more are not shown.</p>\n",
                           snug_json_count(array) - ROWS_MAX);
}

/* ---- machine ---- */

/* A fact's value, written plainly or as {"value", "source"}. */
static double fact_number(const struct snug_json_node *object, const char *key)
{
    const struct snug_json_node *node = snug_json_get(object, key);
    return snug_json_is_object(node) ? snug__number(node, "value") : snug__number(object, key);
}

static void count_fact(struct snug_buffer *out, const struct snug_json_node *object,
                       const char *key, const char *name)
{
    char text[SNUG_UNIT_TEXT_MAX];
    snug__html_fact(out, name, snug__count_text(snug__number(object, key), text));
}

static void bytes_fact(struct snug_buffer *out, const struct snug_json_node *object,
                       const char *key, const char *name, const char *when_missing)
{
    char text[SNUG_UNIT_TEXT_MAX];
    double bytes = fact_number(object, key);
    snug__html_fact(out, name, bytes >= 0 ? snug__bytes_text(bytes, text) : when_missing);
}

static void text_fact(struct snug_buffer *out, const struct snug_json_node *object, const char *key,
                      const char *name)
{
    snug__html_fact(out, name, snug_json_get_string(object, key, ""));
}

static const char *plural(long long n)
{
    return n == 1 ? "" : "s";
}

/* "2 cores, 4 threads; 2 threads usable" */
static void cores_fact(struct snug_buffer *out, const struct snug_json_node *machine)
{
    char text[128];
    long long n_cores = snug_json_get_int(machine, "n_cores", 0);
    long long n_threads = snug_json_get_int(machine, "n_threads", 0);
    long long n_cores_usable = snug_json_get_int(machine, "n_cores_usable", 0);
    long long n_usable = snug_json_get_int(machine, "n_threads_usable", 0);
    text[0] = '\0';
    if (n_cores > 0 && n_threads > 0)
        snprintf(text, sizeof text, "%lld core%s, %lld thread%s", n_cores, plural(n_cores),
                 n_threads, plural(n_threads));
    snug__html_fact(out, "Processor cores", text);
    text[0] = '\0';
    if (n_usable > 0 && n_cores_usable > 0)
        snprintf(text, sizeof text, "%lld thread%s on %lld core%s", n_usable, plural(n_usable),
                 n_cores_usable, plural(n_cores_usable));
    snug__html_fact(out, "Usable by snug", text);
    double quota = fact_number(machine, "quota_cpus");
    text[0] = '\0';
    if (quota >= 0 && quota < 1e6)
        snprintf(text, sizeof text, "%.3g CPUs", quota);
    snug__html_fact(out, "CPU quota", text[0] ? text : "none found");
}

/* "L1 32.0 KiB x 2, L2 ..." */
static void caches_fact(struct snug_buffer *out, const struct snug_json_node *machine)
{
    const struct snug_json_node *caches = snug_json_get(machine, "caches");
    struct snug_buffer text = {0};
    char size[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < n_shown(caches); i++) {
        const struct snug_json_node *cache = snug_json_at(caches, i);
        snug_buffer_printf(&text, "%sL%lld %s x %lld", i ? ", " : "",
                           (long long)snug_json_get_int(cache, "level", 0),
                           snug__bytes_text(snug__number(cache, "size_bytes"), size),
                           (long long)snug_json_get_int(cache, "n_instances", 1));
    }
    snug__html_fact(out, "Caches", snug_buffer_text(&text));
    out->is_failed |= text.is_failed;
    snug_buffer_clear(&text);
}

static void clock_facts(struct snug_buffer *out, const struct snug_json_node *machine)
{
    char text[64] = "";
    double now = fact_number(machine, "clock_hz"), most = fact_number(machine, "clock_max_hz");
    if (now > 0 && now < 1e12)
        snprintf(text, sizeof text, "%.2f GHz", now / 1e9);
    if (most > 0 && most < 1e12)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%sup to %.2f GHz",
                 text[0] ? ", " : "", most / 1e9);
    snug__html_fact(out, "Clock", text);
    double load = fact_number(machine, "load_average_1m");
    text[0] = '\0';
    if (load >= 0 && load < 1e6)
        snprintf(text, sizeof text, "%.2f", load);
    snug__html_fact(out, "Load average (1 min)", text);
}

static void devices_table(struct snug_buffer *out, const struct snug_json_node *machine)
{
    static const char *const names[] = {"Device", "Kind", "Free", "Total"};
    const struct snug_json_node *devices = snug_json_get(machine, "devices");
    char text[SNUG_UNIT_TEXT_MAX];
    if (n_shown(devices) == 0)
        return;
    snug__table_begin(out, names, 4, "Compute devices");
    for (size_t i = 0; i < n_shown(devices); i++) {
        const struct snug_json_node *device = snug_json_at(devices, i);
        snug_buffer_puts(out, "<tr><th scope=\"row\">");
        snug__html_quantity(out, snug_json_get_string(device, "name", ""));
        snug_buffer_puts(out, " <small>");
        snug__html_text(out, snug_json_get_string(device, "description", ""));
        snug_buffer_puts(out, "</small></th>");
        snug__cell(out, snug_json_get_string(device, "kind", ""));
        snug__cell(out, snug__bytes_text(snug__number(device, "bytes_free"), text));
        snug__cell(out, snug__bytes_text(snug__number(device, "bytes_total"), text));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
    left_out(out, devices);
}

/* "12.3 GB/s (12.0 to 12.5)" in scale units of SI; *_bps and *_flops alike. */
static const char *interval_text(const struct snug_json_node *interval, double scale,
                                 const char *unit, char out[96])
{
    char mid[SNUG_UNIT_TEXT_MAX], lo[SNUG_UNIT_TEXT_MAX], hi[SNUG_UNIT_TEXT_MAX];
    double m = snug__positive(interval, "mid");
    out[0] = '\0';
    if (m > 0)
        snprintf(out, 96, "%s %s (%s to %s)", snug__rate_text(m / scale, mid), unit,
                 snug__rate_text(snug__positive(interval, "lo") / scale, lo),
                 snug__rate_text(snug__positive(interval, "hi") / scale, hi));
    return out;
}

static void bandwidth_table(struct snug_buffer *out, const struct snug_json_node *speed)
{
    static const char *const names[] = {"Threads", "Read bandwidth (interval)"};
    const struct snug_json_node *points = snug_json_get(speed, "bandwidth");
    char text[96];
    if (n_shown(points) == 0)
        return;
    snug__table_begin(out, names, 2, "Memory bandwidth per thread count");
    for (size_t i = 0; i < n_shown(points); i++) {
        const struct snug_json_node *point = snug_json_at(points, i);
        snug__row_head(out, snug__count_text(snug__number(point, "n_threads"), text));
        snug__cell(out, interval_text(snug_json_get(point, "bandwidth_bps"), 1e9, "GB/s", text));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
}

static void mul_mat_table(struct snug_buffer *out, const struct snug_json_node *speed)
{
    static const char *const names[] = {"Weight type", "Decode, batch 1", "Prefill, batch 512"};
    const struct snug_json_node *rows = snug_json_get(speed, "mul_mat");
    char text[96];
    if (n_shown(rows) == 0)
        return;
    snug__table_begin(out, names, 3, "Matrix product speed per weight type");
    for (size_t i = 0; i < n_shown(rows); i++) {
        const struct snug_json_node *row = snug_json_at(rows, i);
        snug__row_head(out, snug_json_get_string(row, "type", ""));
        snug__cell(out, interval_text(snug_json_get(row, "decode_bps"), 1e9, "GB/s", text));
        snug__cell(out, interval_text(snug_json_get(row, "prefill_flops"), 1e9, "GFLOP/s", text));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
    snug_buffer_puts(out, "<p class=\"formula\">Decode = bytes of weights read per second. Prefill "
                          "= 2 x rows x columns x 512 / seconds.</p>\n");
}

static void speeds(struct snug_buffer *out, const struct snug_json_node *speed)
{
    char rate[SNUG_UNIT_TEXT_MAX];
    snug_buffer_puts(out, "<h3>Measured speed</h3>\n");
    if (!snug_json_is_object(speed)) {
        snug_buffer_puts(out, "<p><span class=\"none\">not measured</span></p>\n");
        return;
    }
    snug_buffer_puts(out, "<div class=\"pair\"><div>\n");
    bandwidth_table(out, speed);
    snug_buffer_puts(out, "</div><div>\n");
    mul_mat_table(out, speed);
    snug_buffer_puts(out, "</div></div>\n");
    double disk = fact_number(speed, "disk_bps");
    if (disk > 0)
        snug_buffer_printf(out, "<p>Disk, sequential read: %s MB/s.</p>\n",
                           snug__rate_text(disk / 1e6, rate));
}

void snug__html_machine(struct snug_buffer *out, const struct snug_json_node *root)
{
    const struct snug_json_node *machine = snug_json_get(root, "machine");
    snug_buffer_puts(out, "<section aria-labelledby=\"machine\"><h2 id=\"machine\">Machine</h2>\n"
                          "<dl class=\"facts\">\n");
    text_fact(out, machine, "cpu_name", "Processor");
    text_fact(out, machine, "os", "System");
    cores_fact(out, machine);
    caches_fact(out, machine);
    bytes_fact(out, machine, "ram_bytes", "Memory", "");
    bytes_fact(out, machine, "available_bytes", "Memory free when probed", "");
    bytes_fact(out, machine, "memory_limit_bytes", "Memory limit (cgroup)", "none found");
    clock_facts(out, machine);
    text_fact(out, machine, "governor", "Frequency governor");
    text_fact(out, machine, "isa", "Instruction sets");
    snug_buffer_puts(out, "</dl>\n");
    devices_table(out, machine);
    speeds(out, snug_json_get(root, "speed"));
    snug_buffer_puts(out, "</section>\n");
}

/* ---- model and workload ---- */

static void types_table(struct snug_buffer *out, const struct snug_json_node *model)
{
    static const char *const names[] = {"Tensor type", "Tensors", "Elements",
                                        "Size",        "Share",   "Bits per weight"};
    const struct snug_json_node *types = snug_json_get(model, "types");
    double total = snug__positive(model, "bytes_tensors");
    char text[SNUG_UNIT_TEXT_MAX];
    if (n_shown(types) == 0)
        return;
    snug__table_begin(out, names, 6, "Tensors by type");
    for (size_t i = 0; i < n_shown(types); i++) {
        const struct snug_json_node *type = snug_json_at(types, i);
        double bytes = snug__number(type, "bytes"), n = snug__positive(type, "n_elements");
        snug__row_head(out, snug_json_get_string(type, "type", ""));
        snug__cell(out, snug__count_text(snug__number(type, "n_tensors"), text));
        snug__cell(out, snug__count_text(n, text));
        snug__cell(out, snug__bytes_text(bytes, text));
        snug__cell(out, snug__percent_text(bytes / total, text));
        text[0] = '\0';
        if (bytes * 8 / n < 1e3)
            snprintf(text, sizeof text, "%.2f", bytes * 8 / n);
        snug__cell(out, text);
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
    left_out(out, types);
}

static void workload_facts(struct snug_buffer *out, const struct snug_json_node *workload)
{
    snug_buffer_puts(out, "<h3>Workload</h3>\n<dl class=\"facts\">\n");
    count_fact(out, workload, "n_prompt", "Prompt tokens (n_prompt)");
    count_fact(out, workload, "n_gen", "Generated tokens (n_gen)");
    count_fact(out, workload, "n_depth", "Already in the cache (n_depth)");
    count_fact(out, workload, "n_parallel", "Sequences at once (n_parallel)");
    count_fact(out, workload, "n_ctx", "Context per sequence (n_ctx)");
    snug_buffer_puts(out, "</dl>\n");
}

void snug__html_model(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *model = snug_json_get(report->root, "model");
    char heads[96] = "";
    snug_buffer_puts(out, "<section aria-labelledby=\"model\"><h2 id=\"model\">Model and "
                          "workload</h2>\n<dl class=\"facts\">\n");
    text_fact(out, model, "name", "Name");
    text_fact(out, model, "arch", "Architecture");
    count_fact(out, model, "n_params", "Parameters");
    bytes_fact(out, model, "bytes_tensors", "Size of tensors", "");
    count_fact(out, model, "n_layer", "Layers");
    count_fact(out, model, "n_embd", "Embedding width");
    count_fact(out, model, "n_ff", "Feed-forward width");
    if (snug_json_get_int(model, "n_head", 0) > 0)
        snprintf(heads, sizeof heads, "%lld, %lld for keys and values",
                 (long long)snug_json_get_int(model, "n_head", 0),
                 (long long)snug_json_get_int(model, "n_head_kv", 0));
    snug__html_fact(out, "Attention heads", heads);
    count_fact(out, model, "n_vocab", "Vocabulary");
    count_fact(out, model, "n_ctx_train", "Context trained on");
    text_fact(out, model, "path", "File");
    snug_buffer_puts(out, "</dl>\n");
    types_table(out, model);
    workload_facts(out, snug_json_get(report->root, "workload"));
    snug_buffer_puts(out, "</section>\n");
}
