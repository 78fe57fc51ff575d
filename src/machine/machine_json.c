/* A machine and its speeds as JSON. A fact is {"value": 1.5, "source": "..."}; unknown ones have
 * value null and the reason as source. Reading checks types, ranges and counts: the text may come
 * from a file that somebody else wrote. */
#include "machine/machine_json.h"

#include <float.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "machine/probe.h"

/* Field tables: one row writes and reads a field. */
enum field_kind { FIELD_TEXT, FIELD_INT, FIELD_BYTES, FIELD_NUMBER, FIELD_FACT, FIELD_INTERVAL };

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset, size;
};

#define FIELD(type, member, field_kind)                                                            \
    {                                                                                              \
#member, field_kind, offsetof(struct type, member), sizeof(((struct type *)0)->member)     \
    }

#define MACHINE(member, kind) FIELD(snug_machine, member, kind)
#define N_FIELDS(table) (sizeof(table) / sizeof(table)[0])

static const struct field machine_fields[] = {
    MACHINE(cpu_name, FIELD_TEXT),
    MACHINE(arch, FIELD_TEXT),
    MACHINE(os, FIELD_TEXT),
    MACHINE(isa, FIELD_TEXT),
    MACHINE(n_cores, FIELD_INT),
    MACHINE(n_threads, FIELD_INT),
    MACHINE(n_numa, FIELD_INT),
    MACHINE(ram_bytes, FIELD_BYTES),
    MACHINE(fingerprint, FIELD_TEXT),
    MACHINE(n_cpus_allowed, FIELD_INT),
    MACHINE(quota_cpus, FIELD_FACT),
    MACHINE(n_threads_usable, FIELD_INT),
    MACHINE(n_cores_usable, FIELD_INT),
    MACHINE(mask_cores, FIELD_TEXT),
    MACHINE(mask_performance, FIELD_TEXT),
    MACHINE(memory_limit_bytes, FIELD_FACT),
    MACHINE(available_bytes, FIELD_FACT),
    MACHINE(swap_total_bytes, FIELD_FACT),
    MACHINE(swap_free_bytes, FIELD_FACT),
    MACHINE(load_average_1m, FIELD_FACT),
    MACHINE(pressure_cpu_frac, FIELD_FACT),
    MACHINE(pressure_memory_frac, FIELD_FACT),
    MACHINE(pressure_io_frac, FIELD_FACT),
    MACHINE(governor, FIELD_TEXT),
    MACHINE(governor_source, FIELD_TEXT),
    MACHINE(clock_hz, FIELD_FACT),
    MACHINE(clock_max_hz, FIELD_FACT),
    MACHINE(throttled_s, FIELD_FACT),
};

static const struct field cache_fields[] = {
    FIELD(snug_cache, level, FIELD_INT),
    FIELD(snug_cache, size_bytes, FIELD_BYTES),
    FIELD(snug_cache, n_instances, FIELD_INT),
};

static const struct field kind_fields[] = {
    FIELD(snug_core_kind, name, FIELD_TEXT),
    FIELD(snug_core_kind, n_cores, FIELD_INT),
    FIELD(snug_core_kind, n_threads, FIELD_INT),
    FIELD(snug_core_kind, max_hz, FIELD_NUMBER),
};

static const struct field device_fields[] = {
    FIELD(snug_device, name, FIELD_TEXT),         FIELD(snug_device, description, FIELD_TEXT),
    FIELD(snug_device, kind, FIELD_TEXT),         FIELD(snug_device, bytes_free, FIELD_BYTES),
    FIELD(snug_device, bytes_total, FIELD_BYTES),
};

static const struct field speed_fields[] = {
    FIELD(snug_machine_speed, fingerprint, FIELD_TEXT),
    FIELD(snug_machine_speed, build, FIELD_TEXT),
    FIELD(snug_machine_speed, n_threads, FIELD_INT),
    FIELD(snug_machine_speed, disk_bps, FIELD_FACT),
    FIELD(snug_machine_speed, wall_s, FIELD_NUMBER),
};

static const struct field point_fields[] = {
    FIELD(snug_speed_point, n_threads, FIELD_INT),
    FIELD(snug_speed_point, bandwidth_bps, FIELD_INTERVAL),
};

static const struct field mul_mat_fields[] = {
    FIELD(snug_mul_mat_speed, type, FIELD_TEXT),
    FIELD(snug_mul_mat_speed, buffer, FIELD_TEXT),
    FIELD(snug_mul_mat_speed, prefill_device, FIELD_TEXT),
    FIELD(snug_mul_mat_speed, decode_bps, FIELD_INTERVAL),
    FIELD(snug_mul_mat_speed, decode_flops, FIELD_INTERVAL),
    FIELD(snug_mul_mat_speed, prefill_flops, FIELD_INTERVAL),
};

#define BUDGET(member) FIELD(snug_budget, member, FIELD_FACT)

static const struct field budget_fields[] = {
    BUDGET(memory_available_bytes),
    BUDGET(memory_reserve_bytes),
    BUDGET(memory_usable_bytes),
    BUDGET(memory_own_bytes),
    BUDGET(cpus_allowed),
    BUDGET(cpus_own),
    BUDGET(cpus_others),
    BUDGET(cpus_free),
    BUDGET(pressure_cpu_frac),
    BUDGET(pressure_memory_frac),
    BUDGET(pressure_io_frac),
    BUDGET(device_usable_bytes),
};

/* An array member with its count beside it. */
struct list {
    const char *key;
    size_t offset, size, offset_n;
    int cap;
    const struct field *fields;
    size_t n_fields;
};

#define LIST(type, member, n_member, cap, table)                                                   \
    {                                                                                              \
#member, offsetof(struct type, member), sizeof(((struct type *)0)->member[0]),             \
            offsetof(struct type, n_member), cap, table, N_FIELDS(table)                           \
    }

static const struct list machine_lists[] = {
    LIST(snug_machine, caches, n_caches, SNUG_CACHES_MAX, cache_fields),
    LIST(snug_machine, kinds, n_kinds, SNUG_CORE_KINDS_MAX, kind_fields),
    LIST(snug_machine, devices, n_devices, SNUG_DEVICES_MAX, device_fields),
};

static const struct list speed_lists[] = {
    LIST(snug_machine_speed, bandwidth, n_bandwidth, SNUG_PROBE_THREADS_MAX, point_fields),
    LIST(snug_machine_speed, mul_mat, n_mul_mat, SNUG_PROBE_TYPES_MAX, mul_mat_fields),
};

static void put_fact(struct snug_json_writer *w, const char *key, const struct snug_fact *fact)
{
    snug_json_begin_object(w, key);
    if (fact->is_known)
        snug_json_put_number(w, "value", fact->value);
    else
        snug_json_put_string(w, "value", NULL);
    snug_json_put_string(w, "source", fact->source);
    snug_json_end(w);
}

static void put_interval(struct snug_json_writer *w, const char *key,
                         const struct snug_interval *interval)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "lo", interval->lo);
    snug_json_put_number(w, "mid", interval->mid);
    snug_json_put_number(w, "hi", interval->hi);
    snug_json_end(w);
}

static void put_field(struct snug_json_writer *w, const struct field *field, const void *object)
{
    const char *at = (const char *)object + field->offset;
    uint64_t bytes = 0;
    int whole = 0;
    double number = 0;
    switch (field->kind) {
    case FIELD_TEXT:
        snug_json_put_string(w, field->key, at);
        break;
    case FIELD_INT:
        memcpy(&whole, at, sizeof whole);
        snug_json_put_int(w, field->key, whole);
        break;
    case FIELD_BYTES:
        memcpy(&bytes, at, sizeof bytes);
        snug_json_put_int(w, field->key, bytes < INT64_MAX ? (int64_t)bytes : INT64_MAX);
        break;
    case FIELD_NUMBER:
        memcpy(&number, at, sizeof number);
        snug_json_put_number(w, field->key, number);
        break;
    case FIELD_FACT:
        put_fact(w, field->key, (const struct snug_fact *)(const void *)at);
        break;
    case FIELD_INTERVAL:
        put_interval(w, field->key, (const struct snug_interval *)(const void *)at);
        break;
    }
}

static void put_fields(struct snug_json_writer *w, const struct field *fields, size_t n,
                       const void *object)
{
    for (size_t i = 0; i < n; i++)
        put_field(w, &fields[i], object);
}

static void put_list(struct snug_json_writer *w, const struct list *list, const void *object)
{
    int n = 0;
    memcpy(&n, (const char *)object + list->offset_n, sizeof n);
    snug_json_begin_array(w, list->key);
    for (int i = 0; i < n && i < list->cap; i++) {
        snug_json_begin_object(w, NULL);
        put_fields(w, list->fields, list->n_fields,
                   (const char *)object + list->offset + (size_t)i * list->size);
        snug_json_end(w);
    }
    snug_json_end(w);
}

void snug_machine_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_machine *machine)
{
    snug_json_begin_object(w, key);
    put_fields(w, machine_fields, N_FIELDS(machine_fields), machine);
    for (size_t i = 0; i < N_FIELDS(machine_lists); i++)
        put_list(w, &machine_lists[i], machine);
    snug_json_end(w);
}

void snug_machine_speed_to_json(struct snug_json_writer *w, const char *key,
                                const struct snug_machine_speed *speed)
{
    snug_json_begin_object(w, key);
    put_fields(w, speed_fields, N_FIELDS(speed_fields), speed);
    for (size_t i = 0; i < N_FIELDS(speed_lists); i++)
        put_list(w, &speed_lists[i], speed);
    snug_json_end(w);
}

void snug_budget_to_json(struct snug_json_writer *w, const char *key,
                         const struct snug_budget *budget)
{
    snug_json_begin_object(w, key);
    put_fields(w, budget_fields, N_FIELDS(budget_fields), budget);
    snug_json_end(w);
}

static bool take_fact(const struct snug_json_node *node, struct snug_fact *out)
{
    const struct snug_json_node *value = snug_json_get(node, "value");
    const char *source = snug_json_get_string(node, "source", "not recorded");
    if (node && !snug_json_is_object(node))
        return false;
    if (snug_json_is_number(value))
        snug__fact_set(out, snug_json_number(value, 0), source);
    else
        snug__fact_unknown(out, "%s", source);
    return true;
}

static bool take_interval(const struct snug_json_node *node, struct snug_interval *out)
{
    out->lo = snug_json_get_number(node, "lo", 0);
    out->mid = snug_json_get_number(node, "mid", 0);
    out->hi = snug_json_get_number(node, "hi", 0);
    return !node || (snug_json_is_object(node) && out->lo <= out->mid && out->mid <= out->hi);
}

/* A whole number within 0..max; yyjson's integers above 2^63 come through as numbers. */
static bool take_whole(const struct snug_json_node *node, double max, uint64_t *out)
{
    double value = snug_json_number(node, -1);
    if (!(value >= 0 && value <= max))
        return false;
    *out = (uint64_t)snug_json_int(node, 0);
    return true;
}

/* Absent keys leave the zero state. false: present, but not what the field holds. */
static bool take_field(const struct field *field, const struct snug_json_node *object, void *out)
{
    const struct snug_json_node *node = snug_json_get(object, field->key);
    char *at = (char *)out + field->offset;
    uint64_t whole = 0;
    if (field->kind == FIELD_FACT)
        return take_fact(node, (struct snug_fact *)(void *)at);
    if (!node)
        return true;
    switch (field->kind) {
    case FIELD_TEXT: {
        const char *text = snug_json_string(node, NULL);
        if (text)
            snug__copy_text(at, field->size, text, strlen(text));
        return text && strlen(text) < field->size;
    }
    case FIELD_INT:
        if (!take_whole(node, INT_MAX, &whole))
            return false;
        memcpy(at, &(int){(int)whole}, sizeof(int));
        return true;
    case FIELD_BYTES:
        if (!take_whole(node, 0x1p62, &whole))
            return false;
        memcpy(at, &whole, sizeof whole);
        return true;
    case FIELD_NUMBER: {
        double value = snug_json_number(node, -1);
        memcpy(at, &value, sizeof value);
        return value >= 0 && value <= DBL_MAX;
    }
    default:
        return take_interval(node, (struct snug_interval *)(void *)at);
    }
}

static const char *field_wants(const struct field *field)
{
    static const char *const wants[] = {
        [FIELD_TEXT] = "a text that fits its field",
        [FIELD_INT] = "a whole number from 0 to 2147483647",
        [FIELD_BYTES] = "a whole number of bytes from 0 to 2^62",
        [FIELD_NUMBER] = "a number of at least 0",
        [FIELD_FACT] = "an object with value and source",
        [FIELD_INTERVAL] = "an object with lo <= mid <= hi",
    };
    return wants[field->kind];
}

static snug_status take_fields(const struct snug_json_node *node, const struct field *fields,
                               size_t n, void *out, struct snug_error *err)
{
    if (!snug_json_is_object(node))
        return snug_fail(err, SNUG_BAD_INPUT, "not an object; expected one with \"%s\" and others",
                         fields[0].key);
    for (size_t i = 0; i < n; i++)
        if (!take_field(&fields[i], node, out))
            return snug_fail(err, SNUG_BAD_INPUT, "\"%s\": expected %s", fields[i].key,
                             field_wants(&fields[i]));
    return SNUG_OK;
}

static snug_status take_list(const struct snug_json_node *node, const struct list *list, void *out,
                             struct snug_error *err)
{
    const struct snug_json_node *array = snug_json_get(node, list->key);
    size_t n = snug_json_count(array);
    if (array && !snug_json_is_array(array))
        return snug_fail(err, SNUG_BAD_INPUT, "\"%s\": expected an array", list->key);
    if (n > (size_t)list->cap)
        return snug_fail(err, SNUG_BAD_INPUT, "\"%s\": %zu entries; at most %d are accepted",
                         list->key, n, list->cap);
    for (size_t i = 0; i < n; i++) {
        snug_status status = take_fields(snug_json_at(array, i), list->fields, list->n_fields,
                                         (char *)out + list->offset + i * list->size, err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "\"%s\"[%zu]", list->key, i);
    }
    memcpy((char *)out + list->offset_n, &(int){(int)n}, sizeof(int));
    return SNUG_OK;
}

snug_status snug_machine_from_json(const struct snug_json_node *node, struct snug_machine *out,
                                   struct snug_error *err)
{
    struct snug_machine machine = {0};
    snug_status status = take_fields(node, machine_fields, N_FIELDS(machine_fields), &machine, err);
    for (size_t i = 0; status == SNUG_OK && i < N_FIELDS(machine_lists); i++)
        status = take_list(node, &machine_lists[i], &machine, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "machine");
    if (machine.n_threads_usable < 1 || machine.n_cores_usable < 1) /* others divide by them */
        return snug_fail(err, SNUG_BAD_INPUT,
                         "machine: \"n_threads_usable\" and \"n_cores_usable\" must be 1 or more");
    *out = machine;
    return SNUG_OK;
}

snug_status snug_machine_speed_from_json(const struct snug_json_node *node,
                                         struct snug_machine_speed *out, struct snug_error *err)
{
    struct snug_machine_speed speed = {0};
    snug_status status = take_fields(node, speed_fields, N_FIELDS(speed_fields), &speed, err);
    for (size_t i = 0; status == SNUG_OK && i < N_FIELDS(speed_lists); i++)
        status = take_list(node, &speed_lists[i], &speed, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "machine speed");
    *out = speed;
    return SNUG_OK;
}
