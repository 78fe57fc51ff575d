/* Any bytes as what a worker or a history file says of a trial: config, workload, measurement; and
 * as one knob's value. What is read lies in its bounds and comes back from its own text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "trial/trial_json.h"

static const struct snug_space SPACE = {
    .knobs =
        {{.name = "n_threads", .kind = SNUG_KNOB_INT, .min = 1, .max = 12, .step = 4, .def = 4},
         {.name = "n_gpu_layers", .min = -1, .max = INT64_MAX, .step = 1},
         {.name = "n_ubatch", .kind = SNUG_KNOB_LOG2, .min = 32, .max = 1000, .def = 512},
         {.name = "type_k",
          .kind = SNUG_KNOB_ENUM,
          .max = 2,
          .values = {"f16", "q8_0", "q4_0"},
          .n_values = 3},
         {.name = "flash_attn", .kind = SNUG_KNOB_BOOL, .max = 1, .def = 1}},
    .n = 5};

static void check_within(const struct snug_knob *knob, int64_t value)
{
    int64_t again = value - 1;
    char text[32];
    const int index = snug_knob_index(knob, value);
    check(value >= knob->min && value <= knob->max);
    check(index >= 0 && index < snug_knob_n_levels(knob));
    check(snug_knob_parse(knob, snug_knob_text(knob, value, text), &again, NULL) == SNUG_OK);
    check(again == value);
}

static void try_knobs(const char *text)
{
    for (int i = 0; i < SPACE.n; i++) {
        struct snug_error err = {0};
        int64_t value = 77;
        if (snug_knob_parse(&SPACE.knobs[i], text, &value, &err) == SNUG_OK)
            check_within(&SPACE.knobs[i], value);
        else
            check(value == 77 && strstr(err.text, SPACE.knobs[i].name));
    }
}

/* Strict refuses what lenient skips; neither lets a value out of its bounds. */
static void try_config(const struct snug_json_node *node)
{
    struct snug_error err = {0};
    struct snug_config strict, lenient, first;
    char text[64];
    snug_space_default(&SPACE, &first);
    first.value[1] = 3;
    strict = lenient = first;
    if (snug_config_from_json(node, &SPACE, false, &lenient, &err) == SNUG_OK) {
        for (int i = 0; i < SPACE.n; i++)
            check_within(&SPACE.knobs[i], lenient.value[i]);
    }
    if (snug_config_from_json(node, &SPACE, true, &strict, &err) == SNUG_OK)
        check(snug_config_equal(&SPACE, &strict, &lenient));
    else
        check(err.text[0] && snug_config_equal(&SPACE, &strict, &first));
    snug_config_text(&SPACE, &lenient, false, text, sizeof text);
}

static void check_blocks(const struct snug_measurement *m)
{
    const struct snug_workload workload = {.n_prompt = 512, .n_gen = 32, .n_parallel = 2};
    double speeds[SNUG_BLOCKS_MAX];
    check(m->n_prefill_blocks >= 0 && m->n_prefill_blocks <= SNUG_BLOCKS_MAX);
    check(m->n_decode_blocks >= 0 && m->n_decode_blocks <= SNUG_BLOCKS_MAX);
    for (int o = 0; o < SNUG_N_OBJECTIVES; o++) {
        snug_measurement_speed(m, &workload, (enum snug_objective)o);
        check(snug_measurement_block_speeds(m, &workload, (enum snug_objective)o, speeds) <=
              SNUG_BLOCKS_MAX);
    }
}

static char *text_of(const struct snug_measurement *m)
{
    struct snug_json_writer w = {0};
    snug_measurement_to_json(&w, NULL, m);
    return snug_json_finish(&w, false);
}

/* The second text equals the first: reading loses nothing that was written. */
static void try_measurement(const struct snug_json_node *node)
{
    static struct snug_measurement m, back;
    struct snug_json *doc = NULL;
    snug_measurement_from_json(node, &m);
    check(m.outcome < SNUG_N_OUTCOMES && !m.gaps_s);
    check(memchr(m.reason, 0, sizeof m.reason) && memchr(m.build, 0, sizeof m.build));
    check(m.warnings >> SNUG_N_WARNINGS == 0);
    check_blocks(&m);
    char *text = text_of(&m), *again = NULL;
    if (text && snug_json_parse("again", text, strlen(text), &doc, NULL) == SNUG_OK) {
        snug_measurement_from_json(snug_json_root(doc), &back);
        again = text_of(&back);
        check(!again || strcmp(text, again) == 0);
        snug_measurement_clear(&back);
    }
    snug_json_free(doc);
    snug_measurement_clear(&m);
    free(text);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_workload workload = {0};
    struct snug_json *doc = NULL;
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    try_knobs(text);
    if (snug_json_parse("fuzz", text, n, &doc, NULL) == SNUG_OK) {
        const struct snug_json_node *root = snug_json_root(doc);
        const struct snug_json_node *config = snug_json_get(root, "config");
        const struct snug_json_node *measurement = snug_json_get(root, "measurement");
        try_config(config ? config : root);
        try_measurement(measurement ? measurement : root);
        snug_workload_from_json(snug_json_get(root, "workload"), &workload);
        snug_json_free(doc);
    }
    free(text);
    return 0;
}
