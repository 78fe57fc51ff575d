/* Descriptors of tasks: numbers of model, machine, workload and load on a log scale, compared part
 * by part, so that a part with many fields counts no more than one with few.
 *
 * Everything is a count or a size, and a ratio is what matters of either: 7 M parameters are as far
 * from 70 M as 100 B are from 1 T. What may be none (experts, devices, depth) has 1 added. */
#include "tune/descriptor.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "machine/machine_json.h"

enum part { MODEL, MACHINE, WORKLOAD, LOAD, N_PARTS };

static const struct {
    enum part part;
    double step;
} FIELDS[SNUG__N_DESCRIPTOR] = {
#define FIELD(name, part, step) {part, step},
    SNUG__DESCRIPTOR(FIELD)
#undef FIELD
};

#define AT(name) value[SNUG__DESCRIPTOR_##name]

/* Of what cannot be none: 0 is unknown. */
static double log_of(double x)
{
    return x > 0 && isfinite(x) ? log2(x) : (double)NAN;
}

/* Of what may be none. */
static double log_of_count(double x)
{
    return x >= 0 && isfinite(x) ? log2(1 + x) : (double)NAN;
}

static void describe_model(struct snug__descriptor *d, const struct snug_model *m)
{
    d->AT(n_layer) = log_of((double)m->n_layer);
    d->AT(n_embd) = log_of((double)m->n_embd);
    d->AT(n_ff) = log_of((double)m->n_ff);
    d->AT(n_head) = log_of((double)m->n_head);
    d->AT(n_params) = log_of((double)m->n_params);
    d->AT(bytes) = log_of((double)m->bytes_tensors);
    if (m->n_params > 0)
        d->AT(bits_per_weight) = log_of(8.0 * (double)m->bytes_tensors / (double)m->n_params);
    if (m->n_layer > 0) {
        d->AT(n_expert) = log_of_count((double)m->n_expert);
        d->AT(n_expert_used) = log_of_count((double)m->n_expert_used);
    }
}

static void describe_machine(struct snug__descriptor *d, const struct snug_machine *m)
{
    double last = 0, device_bytes = 0;
    int level = 0, n_devices = 0;
    for (int i = 0; i < m->n_caches; i++)
        if (m->caches[i].level > level) {
            level = m->caches[i].level;
            last = (double)m->caches[i].size_bytes * m->caches[i].n_instances;
        }
    for (int i = 0; i < m->n_devices; i++) {
        const bool is_cpu = strcmp(m->devices[i].kind, "cpu") == 0;
        n_devices += !is_cpu;
        device_bytes += is_cpu ? 0 : (double)m->devices[i].bytes_total;
    }
    d->AT(n_cores) = log_of(m->n_cores_usable);
    d->AT(n_threads) = log_of(m->n_threads_usable);
    d->AT(cache_bytes) = log_of(last);
    d->AT(ram_bytes) = log_of((double)m->ram_bytes);
    if (m->n_threads_usable > 0) {
        d->AT(n_devices) = log_of_count(n_devices);
        d->AT(device_bytes) = log_of_count(device_bytes / 1048576);
    }
}

/* The most that any number of threads read, and that any type computed. */
static void describe_speed(struct snug__descriptor *d, const struct snug_machine_speed *s)
{
    double bandwidth = 0, flops = 0;
    for (int i = 0; i < s->n_bandwidth; i++)
        bandwidth = fmax(bandwidth, s->bandwidth[i].bandwidth_bps.mid);
    for (int i = 0; i < s->n_mul_mat; i++)
        flops = fmax(flops, s->mul_mat[i].prefill_flops.mid);
    d->AT(bandwidth_bps) = log_of(bandwidth);
    d->AT(flops) = log_of(flops);
}

static void describe_workload(struct snug__descriptor *d, const struct snug_workload *w)
{
    d->AT(n_prompt) = log_of_count((double)w->n_prompt);
    d->AT(n_gen) = log_of_count((double)w->n_gen);
    d->AT(n_depth) = log_of_count((double)w->n_depth);
    d->AT(n_parallel) = log_of((double)w->n_parallel);
    d->AT(n_ctx) = log_of((double)w->n_ctx);
}

void snug__descriptor_init(struct snug__descriptor *d, const struct snug__descriptor_parts *parts)
{
    for (int i = 0; i < SNUG__N_DESCRIPTOR; i++)
        d->value[i] = (double)NAN;
    if (parts->model)
        describe_model(d, parts->model);
    if (parts->machine)
        describe_machine(d, parts->machine);
    if (parts->speed)
        describe_speed(d, parts->speed);
    if (parts->workload)
        describe_workload(d, parts->workload);
    d->AT(load) = parts->load_level && strcmp(parts->load_level, "idle") != 0;
}

/* The numbers of a model that `snug inspect --json` wrote; what is no count is 0, not known. */
static void read_model(const struct snug_json_node *node, struct snug_model *out)
{
    const struct {
        const char *key;
        int64_t *value;
    } numbers[] = {
        {"n_layer", &out->n_layer},   {"n_embd", &out->n_embd},
        {"n_ff", &out->n_ff},         {"n_head", &out->n_head},
        {"n_expert", &out->n_expert}, {"n_expert_used", &out->n_expert_used},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const int64_t n = snug_json_get_int(node, numbers[i].key, 0);
        *numbers[i].value = n > 0 ? n : 0;
    }
    const int64_t n_params = snug_json_get_int(node, "n_params", 0);
    const int64_t bytes = snug_json_get_int(node, "bytes_tensors", 0);
    out->n_params = n_params > 0 ? (uint64_t)n_params : 0;
    out->bytes_tensors = bytes > 0 ? (uint64_t)bytes : 0;
}

static struct snug_json *parse(const char *name, const char *text)
{
    struct snug_json *doc = NULL;
    if (!text || snug_json_parse(name, text, strlen(text), &doc, NULL) != SNUG_OK)
        return NULL;
    return doc;
}

void snug__descriptor_of_task(struct snug__descriptor *d, const struct snug_task_view *task,
                              int64_t *out_n_layer, int *out_n_threads)
{
    struct snug_json *machine_doc = parse("stored machine", task->machine_json);
    struct snug_json *model_doc = parse("stored model", task->model_json);
    struct snug_machine machine = {.n_cores = 0};
    struct snug_model model = {.n_layer = 0};
    struct snug__descriptor_parts parts = {.workload = &task->workload,
                                           .load_level = task->load_level};
    if (machine_doc &&
        snug_machine_from_json(snug_json_root(machine_doc), &machine, NULL) == SNUG_OK)
        parts.machine = &machine;
    if (model_doc) {
        read_model(snug_json_root(model_doc), &model);
        parts.model = &model;
    }
    snug__descriptor_init(d, &parts);
    if (out_n_layer)
        *out_n_layer = model.n_layer;
    if (out_n_threads)
        *out_n_threads = parts.machine ? machine.n_threads_usable : 0;
    snug_json_free(machine_doc);
    snug_json_free(model_doc);
}

double snug__descriptor_distance(const struct snug__descriptor *a, const struct snug__descriptor *b)
{
    double sum[N_PARTS] = {0}, total = 0;
    int n[N_PARTS] = {0}, n_both[N_PARTS] = {0};
    for (int i = 0; i < SNUG__N_DESCRIPTOR; i++) {
        const enum part part = FIELDS[i].part;
        const bool has_a = isfinite(a->value[i]), has_b = isfinite(b->value[i]);
        const double steps = (a->value[i] - b->value[i]) / FIELDS[i].step;
        if (has_a || has_b) {
            sum[part] += has_a && has_b ? steps * steps : 0.25;
            n[part]++;
            n_both[part] += has_a && has_b;
        }
    }
    for (int part = 0; part < N_PARTS; part++)
        total += n_both[part] > 0 ? sum[part] / n[part] : 1;
    return sqrt(total);
}

double snug__descriptor_similarity(const struct snug__descriptor *a,
                                   const struct snug__descriptor *b)
{
    const double distance = snug__descriptor_distance(a, b);
    return 1 / (1 + distance * distance);
}
