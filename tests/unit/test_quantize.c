/* Making files: sizes told before, types as planned, and nothing left behind when it does not work
 * out. */
#include "engine.h"
#include "peer.h"

#include <fcntl.h>
#include <ggml.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "engine/quantize.h"
#include "snug/plan.h"

struct room {
    char *folder;
    char llama[512]; /* smollm2-135m, f16, two layers */
};
static struct room room;

static int room_open(void **state)
{
    struct snug_error err = {0};
    const struct snug_synth_options synth = {.type = "f16", .seed = 1, .n_layer = 2};
    void *folder = NULL;
    if (test_folder_open(&folder) != 0)
        return -1;
    room.folder = folder;
    snprintf(room.llama, sizeof room.llama, "%s/llama.gguf", room.folder);
    *state = &room;
    if (snug_model_synth("smollm2-135m", &synth, room.llama, NULL, NULL, &err) == SNUG_OK)
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static int room_close(void **state)
{
    *state = room.folder;
    return test_folder_close(state);
}

static const char *in_room(const char *name)
{
    static char paths[4][600];
    static unsigned n;
    char *path = paths[n++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", room.folder, name);
    return path;
}

static int n_left(const char *part)
{
    int n = 0;
    DIR *folder = opendir(room.folder);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        n += strstr(entry->d_name, part) != NULL;
    closedir(folder);
    return n;
}

/* ---- a plan by rule ---- */

struct mix {
    const char *embedding, *attention, *ffn, *down;
};

static int type_of(const char *name)
{
    const int type = snug_model_type_from_name(name);
    if (type < 0)
        fail_msg("no type '%s'", name);
    return type;
}

/* Types of a model by mix: what has one dimension keeps its own. */
static int *mixed(const struct snug_model *m, const struct mix *mix)
{
    int *types = malloc(((size_t)m->n_tensors + 1) * sizeof *types);
    assert_non_null(types);
    for (int i = 0; i < m->n_tensors; i++) {
        const struct snug_tensor *t = &m->tensors[i];
        const char *type = mix->attention;
        if (strstr(t->name, "ffn_down"))
            type = mix->down;
        else if (strstr(t->name, "ffn_"))
            type = mix->ffn;
        else if (strncmp(t->name, "blk.", 4) != 0)
            type = mix->embedding;
        types[i] = t->n_dims < 2 ? t->type : type_of(type);
    }
    return types;
}

static const char **names_of(const struct snug_model *m)
{
    const char **names = malloc(((size_t)m->n_tensors + 1) * sizeof *names);
    assert_non_null(names);
    for (int i = 0; i < m->n_tensors; i++)
        names[i] = m->tensors[i].name;
    return names;
}

static void check_made(const struct snug_model *from, const char *path, const int *types,
                       uint64_t bytes)
{
    struct snug_error err;
    struct snug_model made = {0};
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal((uint64_t)info.st_size, bytes);
    assert_ok(snug_model_open(path, &made, &err));
    assert_int_equal(made.n_tensors, from->n_tensors);
    assert_string_equal(made.name, from->name);
    for (int i = 0; i < from->n_tensors; i++) {
        int k = 0;
        while (k < made.n_tensors && strcmp(made.tensors[k].name, from->tensors[i].name) != 0)
            k++;
        if (k == made.n_tensors || made.tensors[k].type != types[i])
            fail_msg("%s is %s, not %s", from->tensors[i].name,
                     k < made.n_tensors ? snug_model_type_name(made.tensors[k].type) : "missing",
                     snug_model_type_name(types[i]));
    }
    snug_model_clear(&made);
}

static void make_mix(const char *path, const struct mix *mix)
{
    struct snug_error err;
    struct snug_model model = {0};
    struct snug_quantize_result result;
    assert_ok(snug_model_open(path, &model, &err));
    int *types = mixed(&model, mix);
    const char **names = names_of(&model);
    const uint64_t bytes = snug_engine_file_bytes(&model, types);
    const struct snug_quantize_options options = {.model_path = path,
                                                  .names = names,
                                                  .types = types,
                                                  .n_tensors = model.n_tensors,
                                                  .file_bytes = bytes,
                                                  .n_threads = 2,
                                                  .deadline_s = PATIENCE_S,
                                                  .out_path = in_room("mix.gguf")};
    assert_ok(snug_engine_quantize_plan(&options, &result, &err));
    assert_int_equal(result.bytes, bytes);
    check_made(&model, options.out_path, types, bytes);
    assert_int_equal(n_left(".part"), 0);
    engine_test_no_children();
    free(types);
    free(names);
    snug_model_clear(&model);
}

static void plan_is_made_with_its_types_and_its_size_to_the_byte(void **state)
{
    (void)state;
    /* smollm2's rows of 576 are no multiple of 256, its 1536 are. */
    static const struct mix MIXES[] = {
        {"q8_0", "q4_0", "q5_1", "q4_K"},
        {"f16", "iq4_nl", "q8_0", "q6_K"},
        {"q5_0", "f32", "q4_1", "bf16"},
        {"f16", "f16", "f16", "f16"},
    };
    static const struct mix TALES[] = {
        {"q6_K", "q4_K", "q3_K", "q5_K"},
        {"q8_0", "iq4_xs", "iq3_s", "q2_K"},
        {"q4_0", "tq2_0", "q4_0", "f16"},
    };
    for (size_t i = 0; i < COUNT(MIXES); i++)
        make_mix(room.llama, &MIXES[i]);
    const char *tales = peer_data(PEER_TALES);
    for (size_t i = 0; i < COUNT(TALES) && tales; i++)
        make_mix(tales, &TALES[i]);
}

static void size_holds_for_other_architectures(void **state)
{
    (void)state;
    static const struct mix MIX = {"q4_0", "q4_0", "q8_0", "q5_0"};
    static const char *const PRESETS[] = {"qwen3-0.6b", "phi3-mini"}; /* the small ones */
    for (size_t i = 0; i < COUNT(PRESETS); i++) {
        struct snug_error err;
        /* Weights of zeros: a hole is read fast. */
        const struct snug_synth_options synth = {
            .type = "f16", .is_shape_only = true, .n_layer = 2};
        assert_ok(snug_model_synth(PRESETS[i], &synth, in_room("hole.gguf"), NULL, NULL, &err));
        make_mix(in_room("hole.gguf"), &MIX);
        assert_int_equal(unlink(in_room("hole.gguf")), 0);
    }
}

static void file_type_is_that_of_most_weights(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model made = {0};
    make_mix(room.llama, &(const struct mix){"f16", "q8_0", "q5_1", "q5_1"});
    assert_ok(snug_model_open(in_room("mix.gguf"), &made, &err));
    assert_contains(made.file_type, "Q5_1"); /* of the quantised ones, most of the blocks */
    snug_model_clear(&made);
}

/* ---- refusals ---- */

struct asked {
    struct snug_model model;
    const char **names;
    int *types;
    struct snug_quantize_options options;
};

static void ask_open(struct asked *a, const char *path)
{
    struct snug_error err;
    *a = (struct asked){.names = NULL};
    assert_ok(snug_model_open(path, &a->model, &err));
    a->names = names_of(&a->model);
    a->types = mixed(&a->model, &(const struct mix){"q8_0", "q8_0", "q8_0", "q8_0"});
    a->options = (struct snug_quantize_options){.model_path = path,
                                                .names = a->names,
                                                .types = a->types,
                                                .n_tensors = a->model.n_tensors,
                                                .n_threads = 1,
                                                .deadline_s = PATIENCE_S,
                                                .out_path = in_room("refused.gguf")};
}

static void ask_close(struct asked *a)
{
    free(a->names);
    free(a->types);
    snug_model_clear(&a->model);
}

static void refused(const struct asked *a, snug_status status, const char *want)
{
    struct snug_error err;
    assert_fails(status, snug_engine_quantize_plan(&a->options, NULL, &err));
    assert_contains(err.text, want);
    assert_int_equal(n_left("refused"), 0);
    assert_int_equal(n_left(".part"), 0);
    engine_test_no_children();
}

static int find_tensor(const struct asked *a, const char *name)
{
    int i = 0;
    while (i < a->model.n_tensors && strcmp(a->names[i], name) != 0)
        i++;
    assert_true(i < a->model.n_tensors);
    return i;
}

static void what_does_not_fit_is_refused_before_anything_is_written(void **state)
{
    (void)state;
    struct asked a;
    ask_open(&a, room.llama);
    const int q = find_tensor(&a, "blk.0.attn_q.weight");
    a.types[q] = GGML_TYPE_Q4_K;
    refused(&a, SNUG_BAD_INPUT,
            "blk.0.attn_q.weight has rows of 576; q4_K needs a multiple of 256");
    a.types[q] = GGML_TYPE_Q8_K;
    refused(&a, SNUG_BAD_INPUT, "cannot be quantised to q8_K");
    a.types[q] = 4711;
    refused(&a, SNUG_BAD_INPUT, "cannot be quantised to ?");
    a.types[q] = GGML_TYPE_Q8_0;
    const int norm = find_tensor(&a, "blk.0.attn_norm.weight");
    a.types[norm] = GGML_TYPE_Q8_0;
    refused(&a, SNUG_BAD_INPUT, "blk.0.attn_norm.weight: the plan says q8_0, libllama would make");
    a.types[norm] = GGML_TYPE_F32;
    const int down = find_tensor(&a, "blk.1.ffn_down.weight");
    a.types[down] = GGML_TYPE_IQ2_XXS;
    refused(&a, SNUG_BAD_INPUT, "needs an importance matrix");
    a.types[down] = GGML_TYPE_Q8_0;
    a.options.file_bytes = 12345;
    refused(&a, SNUG_BAD_INPUT, "the plan says 12345");
    a.options.file_bytes = 0;
    a.options.n_tensors--;
    refused(&a, SNUG_BAD_INPUT, "it is for another model");
    a.options.n_tensors++;
    a.names[q] = "blk.0.attn_x.weight";
    refused(&a, SNUG_BAD_INPUT, "blk.0.attn_q.weight has no type in the plan");
    a.names[q] = "blk.0.attn_k.weight";
    refused(&a, SNUG_BAD_INPUT, "blk.0.attn_q.weight has no type in the plan");
    ask_close(&a);
}

static void place_that_cannot_be_written_is_refused(void **state)
{
    (void)state;
    struct asked a;
    ask_open(&a, room.llama);
    a.options.out_path = in_room("no/refused.gguf");
    refused(&a, SNUG_IO, "there is no folder");
    a.options.out_path = room.folder;
    refused(&a, SNUG_BAD_INPUT, "is a folder or a device");
    a.options.out_path = room.llama;
    refused(&a, SNUG_BAD_INPUT, "is the model itself");
    ask_close(&a);
}

static void data_of_another_alignment_has_no_size_and_is_refused(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model = {0};
    char path[4096];
    const char *root = getenv("SNUG_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/fuzz/corpus/gguf/valid-align-64.gguf", root ? root : ".");
    assert_ok(snug_model_open(path, &model, &err));
    assert_int_equal(snug_engine_file_bytes(&model, NULL), 0);
    snug_model_clear(&model);
}

static void plan_file_is_made_by_the_program(void **state)
{
    (void)state;
    const char *bin = getenv("SNUG_BIN");
    struct snug_error err;
    struct asked a;
    struct snug_plan plan = {.n_batch = 512};
    struct snug_buffer talk = {0};
    if (!bin) {
        print_message("# SNUG_BIN names no program\n");
        skip();
    }
    ask_open(&a, room.llama);
    snprintf(plan.model_hash, sizeof plan.model_hash, "%s", a.model.hash);
    plan.n_tensors = a.model.n_tensors;
    plan.names = a.names;
    plan.types = a.types;
    plan.file_bytes = snug_engine_file_bytes(&a.model, a.types);
    assert_ok(snug_plan_write(&plan, in_room("plan.json"), &err));
    char command[4096];
    snprintf(command, sizeof command, "exec '%s' quantize '%s' --plan '%s' -o '%s' 2>&1", bin,
             room.llama, in_room("plan.json"), in_room("planned.gguf"));
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    peer_run(argv, &talk);
    assert_contains(snug_buffer_text(&talk), "tensors changed");
    snug_buffer_clear(&talk);
    check_made(&a.model, in_room("planned.gguf"), a.types, plan.file_bytes);
    ask_close(&a);
}

static void disk_without_room_is_told_before(void **state)
{
    (void)state;
    struct snug_error err;
    struct statvfs fs;
    const struct snug_synth_options synth = {.type = "f32", .is_shape_only = true};
    assert_int_equal(statvfs(room.folder, &fs), 0);
    if ((double)fs.f_bavail * (double)fs.f_frsize > 2.8e11) {
        print_message("# more room here than the largest preset takes\n");
        skip();
    }
    assert_ok(snug_model_synth("llama3-70b", &synth, in_room("big.gguf"), NULL, NULL, &err));
    const struct snug_quantize_options options = {.model_path = in_room("big.gguf"),
                                                  .recipe = "f32",
                                                  .deadline_s = PATIENCE_S,
                                                  .out_path = in_room("refused.gguf")};
    assert_fails(SNUG_IO, snug_engine_quantize_plan(&options, NULL, &err));
    assert_contains(err.text, "make room");
    assert_int_equal(n_left("refused"), 0);
    engine_test_no_children();
    assert_int_equal(unlink(in_room("big.gguf")), 0);
}

static void quantised_source_is_refused_unless_it_is_allowed(void **state)
{
    (void)state;
    struct asked a;
    struct snug_error err;
    make_mix(room.llama, &(const struct mix){"q8_0", "q8_0", "q8_0", "q8_0"});
    ask_open(&a, in_room("mix.gguf"));
    a.types[find_tensor(&a, "blk.0.attn_q.weight")] = GGML_TYPE_Q4_0;
    refused(&a, SNUG_BAD_INPUT, "blk.0.attn_q.weight is q8_0 already");
    a.options.allow_requantize = true;
    a.options.out_path = in_room("again.gguf");
    assert_ok(snug_engine_quantize_plan(&a.options, NULL, &err));
    check_made(&a.model, a.options.out_path, a.types, snug_engine_file_bytes(&a.model, a.types));
    ask_close(&a);
}

/* ---- interrupted ---- */

static volatile int stop;
static int n_phases;

static void stop_at_the_fifth_tensor(const char *phase, void *data)
{
    (void)data;
    int i = 0, n = 0;
    if (sscanf(phase, "%d of %d tensors", &i, &n) != 2)
        return;
    assert_true(i >= 1 && i <= n);
    n_phases++;
    stop = i >= 5;
}

static void interrupted_quantise_leaves_nothing(void **state)
{
    (void)state;
    struct asked a;
    struct snug_error err;
    ask_open(&a, room.llama);
    stop = n_phases = 0;
    a.options.stop = &stop;
    a.options.progress = stop_at_the_fifth_tensor;
    const snug_status status = snug_engine_quantize_plan(&a.options, NULL, &err);
    /* Either it was stopped, or all the rest was written before the watchdog looked. */
    assert_true(n_phases >= 5);
    if (status == SNUG_OK)
        print_message("# too fast to be stopped\n");
    else
        assert_int_equal(status, SNUG_INTERRUPTED);
    assert_int_equal(n_left(".part"), 0);
    assert_int_equal(n_left("refused"), status == SNUG_OK);
    unlink(a.options.out_path);
    engine_test_no_children();
    ask_close(&a);
}

static void leftovers_go_and_what_is_being_written_stays(void **state)
{
    (void)state;
    struct asked a;
    struct snug_error err;
    char left[600], written[600], other[600];
    ask_open(&a, room.llama);
    a.options.out_path = in_room("left.gguf");
    snprintf(left, sizeof left, "%s.part7", a.options.out_path);
    snprintf(written, sizeof written, "%s.part8", a.options.out_path);
    snprintf(other, sizeof other, "%s.part7x", a.options.out_path);
    assert_ok(snug_file_write(left, "x", 1, &err));
    assert_ok(snug_file_write(written, "x", 1, &err));
    assert_ok(snug_file_write(other, "x", 1, &err));
    const int fd = open(written, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_ok(snug_engine_quantize_plan(&a.options, NULL, &err));
    assert_int_not_equal(access(left, F_OK), 0);
    assert_int_equal(unlink(written), 0);
    assert_int_equal(unlink(other), 0);
    close(fd);
    ask_close(&a);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_made_with_its_types_and_its_size_to_the_byte),
        cmocka_unit_test(size_holds_for_other_architectures),
        cmocka_unit_test(file_type_is_that_of_most_weights),
        cmocka_unit_test(what_does_not_fit_is_refused_before_anything_is_written),
        cmocka_unit_test(place_that_cannot_be_written_is_refused),
        cmocka_unit_test(data_of_another_alignment_has_no_size_and_is_refused),
        cmocka_unit_test(plan_file_is_made_by_the_program),
        cmocka_unit_test(disk_without_room_is_told_before),
        cmocka_unit_test(quantised_source_is_refused_unless_it_is_allowed),
        cmocka_unit_test(interrupted_quantise_leaves_nothing),
        cmocka_unit_test(leftovers_go_and_what_is_being_written_stays),
    };
    return cmocka_run_group_tests(tests, room_open, room_close);
}
