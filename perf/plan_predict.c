/* What the law of this machine says of models, for perf/plan_speed.py and perf/plan_memory.py.
 *
 * Usage  plan_predict CACHE_FOLDER < REQUESTS     calibrates on first use
 * Each line of REQUESTS is "MODEL N_THREADS DEPTH N_PROMPT N_GEN N_UBATCH"; each line of the answer
 * is one JSON object. The model lies whole on the fastest tier. Decode is the mean over the N_GEN
 * tokens behind DEPTH.
 *
 * Usage  plan_predict < REQUESTS     memory alone; nothing is calibrated
 * Each line is "MODEL N_CTX N_PARALLEL N_UBATCH TYPE_K TYPE_V MMAP": N_CTX of each sequence, MMAP 0
 * or 1. The answer is the plan of these types and this shape: bytes, and the peak of the process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/json.h"
#include "engine/probe_worker.h"
#include "engine/worker.h"
#include "snug/plan.h"

static void say(enum snug_log_level level, const char *line, void *data)
{
    (void)data;
    if (level <= SNUG_LOG_INFO)
        fprintf(stderr, "%s\n", line);
}

static void put_prediction(struct snug_json_writer *w, const char *key,
                           const struct snug_prediction *p)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "value", p->value);
    snug_json_put_number(w, "lo", p->lo);
    snug_json_put_number(w, "hi", p->hi);
    snug_json_end(w);
}

#define THREADS_MAX 64

/* The law of n threads, opened once: a calibration that was disturbed is not kept on disk. */
static const struct snug_law *law_of(const char *folder, long long n_threads,
                                     struct snug_error *err)
{
    static struct snug_law laws[THREADS_MAX + 1];
    if (n_threads < 1 || n_threads > THREADS_MAX) {
        snug_fail(err, SNUG_BAD_INPUT, "%lld threads: expected 1 to %d", n_threads, THREADS_MAX);
        return NULL;
    }
    struct snug_law *law = &laws[n_threads];
    const struct snug_law_request request = {
        .machine = "this", .cache_folder = folder, .n_threads = (int)n_threads};
    if (law->n_tiers == 0 && snug_law_open(&request, law, err) != SNUG_OK)
        return NULL;
    return law;
}

static int answer(const char *folder, const char *line)
{
    char path[1024];
    long long n_threads, depth, n_prompt, n_gen, n_ubatch;
    struct snug_error err = {0};
    struct snug_law_load load;
    struct snug_model model;
    if (sscanf(line, "%1023s %lld %lld %lld %lld %lld", path, &n_threads, &depth, &n_prompt, &n_gen,
               &n_ubatch) != 6) {
        fprintf(stderr, "not a request: %s", line);
        return 1;
    }
    const struct snug_law *law = law_of(folder, n_threads, &err);
    if (!law || snug_model_open(path, &model, &err) != SNUG_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    snug_law_load_init(&model, NULL, 0, GGML_TYPE_F16, GGML_TYPE_F16, n_ubatch, &load);
    const struct snug_prediction decode = snug_law_decode_tps(law, &load, depth + n_gen / 2);
    const struct snug_prediction prefill = snug_law_prefill_tps(law, &load, n_prompt, depth);
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "model", path);
    snug_json_put_int(&w, "n_threads", n_threads);
    snug_json_put_int(&w, "depth", depth);
    snug_json_put_string(&w, "source", law->source);
    put_prediction(&w, "decode_tps", &decode);
    put_prediction(&w, "prefill_tps", &prefill);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    puts(text ? text : "");
    free(text);
    snug_model_clear(&model);
    return text ? 0 : 1;
}

/* ---- memory ---- */

struct memory {
    struct snug_model model;
    struct snug_machine machine;
    struct snug_law law;
    struct snug_sensitivity sensitivity;
    struct snug_plan_oracle *oracle;
    struct snug_plan plan;
};

static snug_status evaluate(struct memory *m, const char *path, struct snug_plan_shape *shape,
                            struct snug_error *err)
{
    const struct snug_law_request machine = {.machine = "cpu-64g"};
    struct snug_plan_request request;
    snug_plan_request_init(&request);
    request.model = &m->model;
    request.law = &m->law;
    request.sensitivity = &m->sensitivity;
    request.bytes = snug_plan_oracle_bytes;
    request.n_parallel = shape->n_parallel;
    request.n_ctx = shape->n_ctx / shape->n_parallel;
    snug_status status = snug_machine_probe("/", &m->machine, err);
    if (status == SNUG_OK)
        status = snug_law_open(&machine, &m->law, err);
    if (status == SNUG_OK)
        status = snug_model_open(path, &m->model, err);
    if (status == SNUG_OK)
        status = snug_sensitivity_position(&m->model, &m->sensitivity, err);
    if (status == SNUG_OK)
        status = snug_plan_oracle_open(&m->model, path, &m->machine, NULL, &m->oracle, err);
    request.bytes_data = m->oracle;
    return status == SNUG_OK ? snug_plan_evaluate(&request, NULL, shape, &m->plan, err) : status;
}

static int answer_memory(const char *line)
{
    char path[1024], type_k[32], type_v[32];
    long long n_ctx, n_parallel, n_ubatch;
    int mmap;
    struct snug_error err = {0};
    if (sscanf(line, "%1023s %lld %lld %lld %31s %31s %d", path, &n_ctx, &n_parallel, &n_ubatch,
               type_k, type_v, &mmap) != 7 ||
        n_parallel < 1) {
        fprintf(stderr, "not a request: %s", line);
        return 1;
    }
    struct snug_plan_shape shape = {.n_ctx = n_ctx * n_parallel,
                                    .n_parallel = n_parallel,
                                    .n_batch = 2048,
                                    .n_ubatch = n_ubatch,
                                    .type_k = snug_model_type_from_name(type_k),
                                    .type_v = snug_model_type_from_name(type_v),
                                    .flash_attn = true,
                                    .use_mmap = mmap != 0};
    struct memory *m = calloc(1, sizeof *m);
    char *text = NULL;
    if (m && evaluate(m, path, &shape, &err) == SNUG_OK)
        text = snug_plan_to_json(&m->plan);
    if (text)
        puts(text);
    else
        fprintf(stderr, "%s\n", err.text);
    const int status = text ? 0 : 1;
    free(text);
    if (m) {
        snug_plan_clear(&m->plan);
        snug_plan_oracle_close(m->oracle);
        snug_sensitivity_clear(&m->sensitivity);
        snug_model_clear(&m->model);
    }
    free(m);
    return status;
}

int main(int argc, char **argv)
{
    char line[2048];
    int status = 0;
    /* Calibration starts this program again as its worker. */
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        return snug__worker_main();
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        return snug__probe_main();
    if (argc > 2) {
        fputs("usage: plan_predict [CACHE_FOLDER] < REQUESTS\n", stderr);
        return 2;
    }
    snug_log_set(say, NULL);
    while (status == 0 && fgets(line, sizeof line, stdin))
        status = argc == 2 ? answer(argv[1], line) : answer_memory(line);
    return status;
}
