/* What the tests of engine and tune share: a tiny model of real shape, a machine of one CPU, an
 * engine on both, and a look at the children of this process.
 *
 * The engine starts /proc/self/exe again as its worker: a test's main calls engine_test_worker
 * first. One CPU, because two spinning threads on a busy machine need seconds for a token. */
#ifndef SNUG_TEST_ENGINE_H
#define SNUG_TEST_ENGINE_H

#include "test.h"

#include <dirent.h>
#include <signal.h>

#include "base/file.h"
#include "engine/probe_worker.h"
#include "engine/worker.h"
#include "snug/engine.h"
#include "snug/model.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN true
#else
#define HAS_ASAN false
#endif

/* Ends the process when it was started as a worker. */
static inline void engine_test_worker(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        exit(snug__worker_main());
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        exit(snug__probe_main());
}

struct engine_test {
    char *folder;
    char path[512];
    struct snug_machine machine;
    struct snug_model model;
    struct snug_workload workload;
    struct snug_effort effort;
};

/* Two blocks of each phase and no wish to settle. */
static inline void engine_test_quick(struct snug_effort *out)
{
    snug_effort_default(out);
    out->blocks_min = 2;
    out->blocks_max = 2;
    out->may_cut = false; /* every block whole, however busy the machine is */
    out->phase_s = 0.05;
}

/* So much work that nothing which a test does to a trial comes too late. */
static inline void engine_test_long(struct snug_effort *out)
{
    snug_effort_default(out);
    out->blocks_min = out->blocks_max = SNUG_BLOCKS_MAX;
    out->phase_s = 1e6;
    out->deadline_s = PATIENCE_S;
}

/* Group fixture: the model is written once. smollm2-135m cut to one layer, 33 MB, some 50 ms. */
static inline int engine_test_open(void **state)
{
    static struct engine_test t;
    struct snug_error err = {0};
    const struct snug_synth_options synth = {.type = "q4_0", .seed = 1, .n_layer = 1};
    void *folder = NULL;
    if (test_folder_open(&folder) != 0)
        return -1;
    t = (struct engine_test){
        .folder = folder,
        .workload = {.n_prompt = 16, .n_gen = 4, .n_depth = 0, .n_parallel = 1, .n_ctx = 64}};
    snprintf(t.path, sizeof t.path, "%s/m.gguf", t.folder);
    t.machine.n_cores = t.machine.n_threads = t.machine.n_numa = 1;
    t.machine.n_cores_usable = t.machine.n_threads_usable = 1;
    engine_test_quick(&t.effort);
    *state = &t;
    if (snug_model_synth("smollm2-135m", &synth, t.path, NULL, NULL, &err) == SNUG_OK &&
        snug_model_open(t.path, &t.model, &err) == SNUG_OK)
        return 0;
    print_error("%s\n", err.text);
    return -1;
}

static inline int engine_test_close(void **state)
{
    struct engine_test *t = *state;
    snug_model_clear(&t->model);
    *state = t->folder;
    return test_folder_close(state);
}

static inline struct snug_engine_options engine_test_options(const struct engine_test *t)
{
    return (struct snug_engine_options){
        .model_path = t->path, .machine = &t->machine, .model = &t->model, .workload = t->workload};
}

static struct snug_engine *engine_test_running;

static inline struct snug_engine *engine_test_start(const struct snug_engine_options *options)
{
    struct snug_error err;
    assert_ok(snug_engine_open("llama", options, &engine_test_running, &err));
    return engine_test_running;
}

static inline void engine_test_stop(void)
{
    snug_engine_close(engine_test_running);
    engine_test_running = NULL;
}

/* Teardown of a test: one that failed leaves no worker to the next. */
static inline int engine_test_teardown(void **state)
{
    (void)state;
    engine_test_stop();
    return 0;
}

/* The config that was asked for is the one in effect. */
static inline void engine_test_effective(const struct snug_space *space,
                                         const struct snug_config *asked,
                                         const struct snug_config *effective)
{
    char a[512], b[512];
    if (!snug_config_equal(space, asked, effective))
        fail_msg("asked %s, got %s", snug_config_text(space, asked, false, a, sizeof a),
                 snug_config_text(space, effective, false, b, sizeof b));
}

/* A knob in its own notation. */
static inline void engine_test_set(const struct snug_space *space, struct snug_config *config,
                                   const char *name, const char *text)
{
    struct snug_error err;
    const int row = snug_space_find(space, name);
    assert_true(row >= 0);
    assert_ok(snug_knob_parse(&space->knobs[row], text, &config->value[row], &err));
}

/* One trial that must end so. */
static inline struct snug_measurement engine_test_run(struct snug_engine *engine,
                                                      const struct snug_config *config,
                                                      const struct snug_effort *effort,
                                                      enum snug_outcome want)
{
    struct snug_error err;
    struct snug_measurement m = {0};
    assert_ok(snug_engine_run(engine, config, effort, &m, &err));
    if (m.outcome != want)
        fail_msg("the trial is %s, not %s: %s", snug_outcome_name(m.outcome),
                 snug_outcome_name(want), m.reason);
    return m;
}

/* A copy of the model in which the n bytes `skip` after the first `key` are others. */
static inline void engine_test_change(const struct engine_test *t, const char *path,
                                      const char *key, size_t skip, const void *bytes, size_t n)
{
    struct snug_error err;
    char *file = NULL;
    size_t n_file = 0;
    assert_ok(snug_file_read(t->path, 64u << 20, &file, &n_file, &err));
    char *at = memmem(file, n_file, key, strlen(key));
    assert_non_null(at);
    memcpy(at + skip, bytes, n);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(file, 1, n_file, f), n_file);
    assert_int_equal(fclose(f), 0);
    free(file);
}

/* Loads, is stated, and aborts in the first norm that is computed: ggml asserts eps >= 0. */
static inline void engine_test_aborting(const struct engine_test *t, const char *path)
{
    static const char key[] = "llama.attention.layer_norm_rms_epsilon";
    const float epsilon = -1.0f; /* after the key: its type in 4 bytes, then the number */
    engine_test_change(t, path, key, sizeof key - 1 + 4, &epsilon, sizeof epsilon);
}

/* Living or unreaped children of this process, at most cap of them. */
static inline int engine_test_children(pid_t *out, int cap)
{
    int n = 0;
    DIR *folder = opendir("/proc");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[300], text[512] = "";
        long parent = 0;
        const long pid = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%ld/stat", pid);
        FILE *f = pid > 0 ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        const size_t got = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[got] = '\0';
        const char *after = strrchr(text, ')'); /* "PID (NAME) S PPID ..." */
        if (after && sscanf(after, ") %*c %ld", &parent) == 1 && parent == getpid() && n < cap)
            out[n++] = (pid_t)pid;
    }
    closedir(folder);
    return n;
}

static inline void engine_test_no_children(void)
{
    pid_t pids[8];
    const int n = engine_test_children(pids, 8);
    if (n > 0)
        fail_msg("%d children are left, the first is %ld", n, (long)pids[0]);
}

#endif
