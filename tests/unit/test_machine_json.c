/* A machine and its speeds through JSON and the speed cache: round trips, caps, refusals. */
#include <sys/stat.h>

#include "test.h"

#include "base/file.h"
#include "machine/machine_json.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define USABLE "\"n_threads_usable\": 2, \"n_cores_usable\": 1"

static snug_status read_machine(const char *text, struct snug_machine *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("test", text, strlen(text), &doc, err);
    if (status == SNUG_OK)
        status = snug_machine_from_json(snug_json_root(doc), out, err);
    snug_json_free(doc);
    return status;
}

static snug_status read_speed(const char *text, struct snug_machine_speed *out,
                              struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("test", text, strlen(text), &doc, err);
    if (status == SNUG_OK)
        status = snug_machine_speed_from_json(snug_json_root(doc), out, err);
    snug_json_free(doc);
    return status;
}

/* {USABLE, "KEY": [{}, {}, ...]} with n entries */
static char *list_text(const char *key, int n)
{
    char *data = NULL;
    size_t n_data = 0;
    FILE *f = open_memstream(&data, &n_data);
    assert_non_null(f);
    fprintf(f, "{" USABLE ", \"%s\": [", key);
    for (int i = 0; i < n; i++)
        fputs(i ? ", {}" : "{}", f);
    fputs("]}", f);
    fclose(f);
    return data;
}

static void fill_speed(struct snug_machine_speed *speed)
{
    memset(speed, 0, sizeof *speed);
    memcpy(speed->fingerprint, FINGERPRINT, sizeof FINGERPRINT);
    snprintf(speed->build, sizeof speed->build, "ggml 0.0.0");
    speed->n_threads = 3;
    speed->wall_s = 4.5;
    speed->n_bandwidth = SNUG_PROBE_THREADS_MAX;
    for (int i = 0; i < speed->n_bandwidth; i++) {
        speed->bandwidth[i].n_threads = i + 1;
        speed->bandwidth[i].bandwidth_bps = (struct snug_interval){1e9 * i, 1.1e9 * i, 1.3e9 * i};
    }
    speed->n_mul_mat = SNUG_PROBE_TYPES_MAX;
    for (int i = 0; i < speed->n_mul_mat; i++) {
        struct snug_mul_mat_speed *row = &speed->mul_mat[i];
        snprintf(row->type, sizeof row->type, "t%d", i);
        snprintf(row->buffer, sizeof row->buffer, "CPU_REPACK");
        snprintf(row->prefill_device, sizeof row->prefill_device, "CPU");
        row->decode_bps = (struct snug_interval){1, 2, 3 + i};
        row->decode_flops = (struct snug_interval){4, 5, 6};
        row->prefill_flops = (struct snug_interval){7, 8, 9};
    }
    speed->disk_bps.is_known = true;
    speed->disk_bps.value = 1.5e9;
    snprintf(speed->disk_bps.source, sizeof speed->disk_bps.source, "sequential read");
}

/* Writing what was read gives the same text: no field is lost either way. */
static void machine_json_of_real_machine_round_trips(void **state)
{
    (void)state;
    struct snug_machine machine, back;
    struct snug_error err;
    struct snug_json_writer w = {0};
    assert_ok(snug_machine_probe("", &machine, &err));
    machine.n_devices = 1;
    machine.devices[0] = (struct snug_device){"CPU", "an \"odd\" name", "cpu", 1ull << 40, 7};
    snug_machine_to_json(&w, NULL, &machine);
    char *text = snug_json_finish(&w, false);
    assert_non_null(text);
    assert_ok(read_machine(text, &back, &err));
    snug_machine_to_json(&w, NULL, &back);
    char *again = snug_json_finish(&w, false);
    assert_string_equal(text, again);
    assert_string_equal(back.fingerprint, machine.fingerprint);
    assert_int_equal(back.devices[0].bytes_free, 1ull << 40);
    assert_true(back.available_bytes.value == machine.available_bytes.value);
    assert_int_equal(back.clock_max_hz.is_known, machine.clock_max_hz.is_known);
    free(text);
    free(again);
}

static void machine_json_lists_are_read_up_to_their_caps(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int cap;
        bool is_speed;
    } rows[] = {
        {"caches", SNUG_CACHES_MAX, false},      {"kinds", SNUG_CORE_KINDS_MAX, false},
        {"devices", SNUG_DEVICES_MAX, false},    {"bandwidth", SNUG_PROBE_THREADS_MAX, true},
        {"mul_mat", SNUG_PROBE_TYPES_MAX, true},
    };
    static struct snug_machine machine;
    static struct snug_machine_speed speed;
    struct snug_error err;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *at_cap = list_text(rows[i].key, rows[i].cap);
        char *above = list_text(rows[i].key, rows[i].cap + 1);
        if (rows[i].is_speed) {
            assert_ok(read_speed(at_cap, &speed, &err));
            assert_fails(SNUG_BAD_INPUT, read_speed(above, &speed, &err));
        } else {
            assert_ok(read_machine(at_cap, &machine, &err));
            assert_fails(SNUG_BAD_INPUT, read_machine(above, &machine, &err));
        }
        assert_contains(err.text, rows[i].key);
        free(at_cap);
        free(above);
    }
}

static void machine_json_bad_field_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *named;
    } rows[] = {
        {"[]", "object"},
        {"{}", "n_threads_usable"},
        {"{\"n_threads_usable\": 0, \"n_cores_usable\": 1}", "n_threads_usable"},
        {"{" USABLE ", \"n_cores\": -1}", "n_cores"},
        {"{" USABLE ", \"n_cores\": 1e12}", "n_cores"},
        {"{" USABLE ", \"n_cores\": \"4\"}", "n_cores"},
        {"{" USABLE ", \"ram_bytes\": 1e300}", "ram_bytes"},
        {"{" USABLE ", \"quota_cpus\": 1.5}", "quota_cpus"},
        {"{" USABLE ", \"arch\": \"0123456789012345678901234567890123\"}", "arch"},
        {"{" USABLE ", \"caches\": {}}", "caches"},
        {"{" USABLE ", \"caches\": [{}, 5]}", "\"caches\"[1]"},
        {"{" USABLE ", \"kinds\": [{\"max_hz\": -5}]}", "max_hz"},
    };
    struct snug_machine machine = {.n_cores = 77};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_fails(SNUG_BAD_INPUT, read_machine(rows[i].text, &machine, &err));
        assert_contains(err.text, rows[i].named);
        assert_int_equal(machine.n_cores, 77);
    }
}

static void speed_json_interval_out_of_order_is_refused(void **state)
{
    (void)state;
    static struct snug_machine_speed speed;
    struct snug_error err;
    assert_fails(SNUG_BAD_INPUT,
                 read_speed("{\"bandwidth\": [{\"bandwidth_bps\": {\"lo\": 2, \"mid\": 1}}]}",
                            &speed, &err));
    assert_contains(err.text, "bandwidth_bps");
}

/* The cache wants the build it runs with; learn that from a saved file's refusal. */
static void current_build(const char *folder, char *out, size_t cap)
{
    static struct snug_machine_speed speed;
    struct snug_error err;
    fill_speed(&speed);
    assert_ok(snug_machine_speed_save(folder, &speed, &err));
    assert_fails(SNUG_NOT_FOUND, snug_machine_speed_load(folder, FINGERPRINT, &speed, &err));
    const char *quoted = strstr(err.text, "this is \"");
    assert_non_null(quoted);
    snprintf(out, cap, "%s", quoted + strlen("this is \""));
    out[strcspn(out, "\"")] = '\0';
    assert_contains(out, "ggml ");
}

static void speed_cache_gives_back_what_was_saved(void **state)
{
    static struct snug_machine_speed speed, back;
    struct snug_error err;
    struct snug_json_writer w = {0};
    const char *folder = test_path(state, "new/cache");
    char build[64];
    current_build(folder, build, sizeof build);
    fill_speed(&speed);
    memcpy(speed.build, build, sizeof build);
    assert_ok(snug_machine_speed_save(folder, &speed, &err));
    assert_ok(snug_machine_speed_load(folder, FINGERPRINT, &back, &err));
    snug_machine_speed_to_json(&w, NULL, &speed);
    char *want = snug_json_finish(&w, false);
    snug_machine_speed_to_json(&w, NULL, &back);
    char *have = snug_json_finish(&w, false);
    assert_string_equal(want, have);
    free(want);
    free(have);
}

static void speed_cache_damaged_or_missing_file_is_not_found(void **state)
{
    static struct snug_machine_speed speed;
    static const char *const texts[] = {"", "{", "[]", "\xff\xfe", "{\"n_threads\": -4}", "{}"};
    struct snug_error err;
    assert_fails(SNUG_NOT_FOUND, snug_machine_speed_load(*state, FINGERPRINT, &speed, &err));
    for (size_t i = 0; i < COUNT(texts); i++) {
        const char *path = test_path(state, "speed-" FINGERPRINT ".json");
        assert_ok(snug_file_write(path, texts[i], strlen(texts[i]), &err));
        assert_fails(SNUG_NOT_FOUND, snug_machine_speed_load(*state, FINGERPRINT, &speed, &err));
    }
}

static void speed_cache_odd_fingerprint_is_bad_input(void **state)
{
    static struct snug_machine_speed speed;
    static const char *const names[] = {
        "", "../../etc/passwd", "0123",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "../3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_fails(SNUG_BAD_INPUT, snug_machine_speed_load(*state, names[i], &speed, &err));
        fill_speed(&speed);
        snprintf(speed.fingerprint, sizeof speed.fingerprint, "%s", names[i]);
        assert_fails(SNUG_BAD_INPUT, snug_machine_speed_save(*state, &speed, &err));
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_json_of_real_machine_round_trips),
        cmocka_unit_test(machine_json_lists_are_read_up_to_their_caps),
        cmocka_unit_test(machine_json_bad_field_is_named_and_changes_nothing),
        cmocka_unit_test(speed_json_interval_out_of_order_is_refused),
        IN_FOLDER(speed_cache_gives_back_what_was_saved),
        IN_FOLDER(speed_cache_damaged_or_missing_file_is_not_found),
        IN_FOLDER(speed_cache_odd_fingerprint_is_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
