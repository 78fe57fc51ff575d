/* Laws by name, by hand, from saved probes, and calibrations on disk. */
#include "test.h"

#include <math.h>

#include <ggml.h>

#include "base/file.h"
#include "machine/machine_json.h"
#include "plan/law_fit.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BUILD "libllama 1, ggml 2"

static snug_status open_named(const char *name, struct snug_law *law, struct snug_error *err)
{
    const struct snug_law_request request = {.machine = name};
    return snug_law_open(&request, law, err);
}

static struct snug_prediction tinyllama_on(const struct snug_law *law, int tier)
{
    struct snug_model model;
    struct snug_law_load load;
    struct snug_error err;
    assert_ok(snug_model_open("tinyllama-1.1b:q4_0", &model, &err));
    snug_law_load_init(&model, NULL, tier, GGML_TYPE_F16, GGML_TYPE_F16, 512, &load);
    snug_model_clear(&model);
    const struct snug_prediction prefill = snug_law_prefill_tps(law, &load, 512, 0);
    assert_true(isfinite(prefill.value) && prefill.lo > 0.0 && prefill.lo < prefill.value &&
                prefill.value < prefill.hi);
    return snug_law_decode_tps(law, &load, 0);
}

/* ---- data sheets ---- */

/* 0.6 GB a token: no machine reads faster than its bandwidth, none needs a minute. */
static void presets_predict_a_small_model_within_reason(void **state)
{
    (void)state;
    struct snug_law law;
    struct snug_error err;
    for (const char *const *name = snug_law_presets(); *name; name++) {
        assert_ok(open_named(*name, &law, &err));
        assert_string_equal(law.machine, *name);
        assert_string_equal(law.source, "data sheet");
        assert_true(law.n_tiers >= 2 && law.tiers[law.n_tiers - 1].kind == SNUG_TIER_DISK);
        double slower = INFINITY;
        for (int t = 0; t < law.n_tiers; t++) {
            const struct snug_prediction p = tinyllama_on(&law, t);
            if (!(p.value > 0.02 && p.value < 2039e9 / 0.6e9 && p.lo < p.value && p.hi > p.value))
                fail_msg("%s, tier %d: %g", *name, t, p.value);
            assert_true(p.value <= slower); /* fastest first */
            slower = p.value;
            assert_true(law.tiers[t].bytes > 0 && law.tiers[t].name[0]);
        }
    }
}

static void preset_bytes_keep_a_reserve_and_a_limit(void **state)
{
    (void)state;
    struct snug_law law;
    struct snug_error err;
    assert_ok(open_named("rtx4090", &law, &err));
    const uint64_t gib = 1u << 30;
    assert_true(law.tiers[0].bytes < 24 * gib && law.tiers[0].bytes > 22 * gib);
    const struct snug_law_request request = {
        .machine = "rtx4090", .vram_bytes = gib, .memory_bytes = 2 * gib, .disk_bytes = 3 * gib};
    assert_ok(snug_law_open(&request, &law, &err));
    assert_true(law.tiers[0].bytes == gib && law.tiers[1].bytes == 2 * gib &&
                law.tiers[2].bytes == 3 * gib);
}

static void unknown_name_gets_a_near_one_or_the_list(void **state)
{
    (void)state;
    struct snug_law law = {.n_tiers = 7};
    struct snug_error err;
    assert_fails(SNUG_NOT_FOUND, open_named("rtx409", &law, &err));
    assert_contains(err.text, "did you mean 'rtx4090'?");
    assert_fails(SNUG_NOT_FOUND, open_named("quantum-abacus", &law, &err));
    assert_contains(err.text, "cpu-64g");
    assert_contains(err.text, "snug probe");
    assert_int_equal(law.n_tiers, 7);
}

/* ---- by hand ---- */

static void custom_machine_takes_what_is_given(void **state)
{
    (void)state;
    struct snug_law slow, fast;
    struct snug_error err;
    struct snug_law_request request = {.machine = "custom"};
    assert_fails(SNUG_BAD_INPUT, snug_law_open(&request, &slow, &err));
    assert_contains(err.text, "--ram");
    request.memory_bytes = 32ull << 30;
    request.ram_bps = 40e9;
    assert_ok(snug_law_open(&request, &slow, &err));
    assert_int_equal(slow.tiers[0].kind, SNUG_TIER_HOST);
    request.ram_bps = 80e9;
    assert_ok(snug_law_open(&request, &fast, &err));
    assert_true(tinyllama_on(&fast, 0).value > tinyllama_on(&slow, 0).value);
    request.vram_bytes = 8ull << 30;
    request.gpu_bps = 300e9;
    assert_ok(snug_law_open(&request, &fast, &err));
    assert_int_equal(fast.tiers[0].kind, SNUG_TIER_DEVICE);
    assert_true(tinyllama_on(&fast, 0).value > tinyllama_on(&fast, 1).value);
}

/* ---- saved probes ---- */

static char *probe_text(const char *version, bool has_speed)
{
    static struct snug_machine machine;
    static struct snug_machine_speed speed;
    struct snug_json_writer w = {0};
    machine = (struct snug_machine){.n_threads_usable = 4, .n_cores_usable = 4};
    snprintf(machine.cpu_name, sizeof machine.cpu_name, "Test CPU");
    machine.ram_bytes = 16ull << 30;
    speed = (struct snug_machine_speed){.n_threads = 4, .n_bandwidth = 1, .n_mul_mat = 1};
    speed.bandwidth[0].n_threads = 4;
    speed.bandwidth[0].bandwidth_bps = (struct snug_interval){29e9, 30e9, 31e9};
    snprintf(speed.mul_mat[0].type, sizeof speed.mul_mat[0].type, "q4_0");
    speed.mul_mat[0].decode_bps = (struct snug_interval){19e9, 20e9, 21e9};
    speed.mul_mat[0].prefill_flops = (struct snug_interval){1e11, 2e11, 3e11};
    snug_json_begin_object(&w, NULL);
    if (version)
        snug_json_put_string(&w, "snug", version);
    snug_machine_to_json(&w, "machine", &machine);
    if (has_speed)
        snug_machine_speed_to_json(&w, "speed", &speed);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

static snug_status open_probe(void **state, const char *version, bool has_speed, double ram_bps,
                              struct snug_law *law, struct snug_error *err)
{
    char *text = probe_text(version, has_speed);
    const char *path = test_path(state, "probe.json");
    const struct snug_law_request request = {.machine = path, .ram_bps = ram_bps};
    assert_non_null(text);
    snug_status status = snug_file_write(path, text, strlen(text), err);
    free(text);
    return status == SNUG_OK ? snug_law_open(&request, law, err) : status;
}

static void saved_probe_gives_its_measured_speeds(void **state)
{
    struct snug_law law;
    struct snug_error err;
    assert_ok(open_probe(state, snug_version(), true, 0, &law, &err));
    assert_string_equal(law.machine, "Test CPU");
    assert_true(fabs(law.tiers[0].decode_s_per_byte[GGML_TYPE_Q4_0] * 20e9 - 1.0) < 1e-9);
    assert_true(fabs(law.tiers[0].prefill_s_per_flop[GGML_TYPE_Q4_0] * 2e11 - 1.0) < 1e-9);
    assert_true(law.tiers[0].is_measured[GGML_TYPE_Q4_0]);
    assert_false(law.tiers[0].is_measured[GGML_TYPE_Q8_0]);
    assert_true(law.tiers[0].decode_s_per_byte[GGML_TYPE_Q8_0] > 0.0);
    assert_true(law.tiers[0].bytes > 15ull << 30 && law.tiers[0].bytes < 16ull << 30);
    assert_int_equal(law.n_threads, 4);
}

static void saved_probe_that_will_not_do_says_why(void **state)
{
    struct snug_law law;
    struct snug_error err;
    assert_fails(SNUG_BAD_INPUT, open_probe(state, "9.0.0", true, 0, &law, &err));
    assert_contains(err.text, "written by snug 9.0.0");
    assert_contains(err.text, "probe.json");
    assert_fails(SNUG_BAD_INPUT, open_probe(state, NULL, true, 0, &law, &err));
    assert_contains(err.text, "not a saved probe");
    assert_fails(SNUG_BAD_INPUT, open_probe(state, snug_version(), false, 0, &law, &err));
    assert_contains(err.text, "--ram-bw");
    assert_ok(open_probe(state, snug_version(), false, 30e9, &law, &err));
    assert_true(tinyllama_on(&law, 0).value > 1.0);
    assert_fails(SNUG_NOT_FOUND, open_named("./no-such-probe.json", &law, &err));
}

/* ---- calibrations on disk ---- */

static void make_calibration(struct snug__calibration *c)
{
    memset(c, 0, sizeof *c);
    snprintf(c->fingerprint, sizeof c->fingerprint, FINGERPRINT);
    snprintf(c->build, sizeof c->build, BUILD);
    c->n_laws = 2;
    for (int i = 0; i < 2; i++) {
        struct snug_law *law = &c->laws[i];
        struct snug_law_tier *tier = &law->tiers[0];
        const double slower = i ? 3.0 : 1.0;
        law->n_tiers = 1;
        law->n_threads = i ? 1 : 4;
        law->decode_lo_frac = law->prefill_lo_frac = 0.9;
        law->decode_hi_frac = law->prefill_hi_frac = 1.1;
        law->step_s = 1e-4;
        snprintf(law->machine, sizeof law->machine, "this machine");
        snprintf(law->build, sizeof law->build, BUILD);
        snprintf(law->source, sizeof law->source, "calibrated in 3 s");
        tier->kind = SNUG_TIER_HOST;
        snprintf(tier->name, sizeof tier->name, "CPU");
        tier->decode_s_per_byte[GGML_TYPE_Q4_0] = slower / 40e9;
        tier->prefill_s_per_flop[GGML_TYPE_Q4_0] = slower / 3e11;
        tier->cache_s_per_byte[GGML_TYPE_F16] = slower / 20e9;
        tier->is_measured[GGML_TYPE_Q4_0] = true;
        tier->layer_s = slower * 1e-5;
        snug__law_fill_types(tier);
    }
}

static void calibration_on_disk_comes_back_whole(void **state)
{
    static struct snug__calibration saved, loaded;
    struct snug_error err;
    make_calibration(&saved);
    assert_fails(SNUG_NOT_FOUND, snug__calibration_load(*state, FINGERPRINT, BUILD, &loaded, &err));
    assert_ok(snug__calibration_save(*state, &saved, &err));
    assert_ok(snug__calibration_load(*state, FINGERPRINT, BUILD, &loaded, &err));
    assert_int_equal(loaded.n_laws, 2);
    for (int i = 0; i < 2; i++) {
        const struct snug_law *a = &saved.laws[i], *b = &loaded.laws[i];
        assert_int_equal(a->n_threads, b->n_threads);
        assert_string_equal(a->source, b->source);
        assert_string_equal(a->build, b->build);
        assert_memory_equal(a->tiers[0].decode_s_per_byte, b->tiers[0].decode_s_per_byte,
                            sizeof a->tiers[0].decode_s_per_byte);
        assert_memory_equal(a->tiers[0].is_measured, b->tiers[0].is_measured,
                            sizeof a->tiers[0].is_measured);
        assert_true(a->step_s == b->step_s && a->tiers[0].layer_s == b->tiers[0].layer_s);
    }
    assert_fails(SNUG_NOT_FOUND,
                 snug__calibration_load(*state, FINGERPRINT, "libllama 9", &loaded, &err));
    assert_contains(err.text, "libllama 9");
    assert_fails(SNUG_BAD_INPUT, snug__calibration_load(*state, "../x", BUILD, &loaded, &err));
}

static void calibration_damaged_anywhere_counts_as_none(void **state)
{
    static struct snug__calibration c;
    struct snug_error err;
    char *text = NULL;
    size_t n = 0;
    const char *path = test_path(state, "law-" FINGERPRINT ".json");
    make_calibration(&c);
    assert_ok(snug__calibration_save(*state, &c, &err));
    assert_ok(snug_file_read(path, 1u << 20, &text, &n, &err));
    for (size_t cut = 0; cut < n; cut += 101) {
        assert_ok(snug_file_write(path, text, cut, &err));
        assert_fails(SNUG_NOT_FOUND, snug__calibration_load(*state, FINGERPRINT, BUILD, &c, &err));
    }
    static const char *const changes[][3] = {
        {"\"version\": 2", "\"version\": 1", "version"},
        {"\"n_threads\": 4", "\"n_threads\": 0", "n_threads"},
        {"\"n_threads\": 4", "\"n_threads\": 1", "fewer threads"},
        {"\"host\"", "\"moon\"", "kind"},
        {"\"type\": \"q4_0\"", "\"type\": \"q9_0\"", "type"},
        {"\"layer_s\": ", "\"layer_s\": -", "layer_s"},
    };
    for (size_t i = 0; i < COUNT(changes); i++) {
        const char *at = strstr(text, changes[i][0]);
        char *changed = NULL;
        assert_non_null(at);
        const int n_changed = asprintf(&changed, "%.*s%s%s", (int)(at - text), text, changes[i][1],
                                       at + strlen(changes[i][0]));
        assert_true(n_changed > 0);
        assert_fails(SNUG_BAD_INPUT,
                     snug__calibration_parse("f", changed, (size_t)n_changed, &c, &err));
        assert_contains(err.text, changes[i][2]);
        free(changed);
    }
    free(text);
}

static void threads_between_those_measured_lie_between(void **state)
{
    (void)state;
    static struct snug__calibration c;
    struct snug_law law;
    double faster = INFINITY;
    make_calibration(&c);
    for (int n = 4; n >= 1; n--) {
        snug__calibration_at(&c, n, &law);
        assert_int_equal(law.n_threads, n);
        const double tps = tinyllama_on(&law, 0).value;
        assert_true(tps < faster);
        faster = tps;
    }
    /* 3 at one thread and 1 at four: 1/3 + (8/3) / n, so 5/3 at two */
    snug__calibration_at(&c, 2, &law);
    assert_true(fabs(law.tiers[0].layer_s / 1e-5 - 5.0 / 3.0) < 1e-9);
    snug__calibration_at(&c, 0, &law);
    assert_int_equal(law.n_threads, 4);
    snug__calibration_at(&c, 9, &law);
    assert_int_equal(law.n_threads, 4);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_predict_a_small_model_within_reason),
        cmocka_unit_test(preset_bytes_keep_a_reserve_and_a_limit),
        cmocka_unit_test(unknown_name_gets_a_near_one_or_the_list),
        cmocka_unit_test(custom_machine_takes_what_is_given),
        IN_FOLDER(saved_probe_gives_its_measured_speeds),
        IN_FOLDER(saved_probe_that_will_not_do_says_why),
        IN_FOLDER(calibration_on_disk_comes_back_whole),
        IN_FOLDER(calibration_damaged_anywhere_counts_as_none),
        cmocka_unit_test(threads_between_those_measured_lie_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
