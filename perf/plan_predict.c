/* What the law of this machine says of models, for perf/plan_speed.py.
 *
 * Usage  plan_predict CACHE_FOLDER < REQUESTS     calibrates on first use
 * Each line of REQUESTS is "MODEL N_THREADS DEPTH N_PROMPT N_GEN N_UBATCH"; each line of the answer
 * is one JSON object. The model lies whole on the fastest tier. Decode is the mean over the N_GEN
 * tokens behind DEPTH. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/json.h"
#include "engine/probe_worker.h"
#include "engine/worker.h"
#include "snug/law.h"

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

int main(int argc, char **argv)
{
    char line[2048];
    int status = 0;
    /* Calibration starts this program again as its worker. */
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        return snug__worker_main();
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        return snug__probe_main();
    if (argc != 2) {
        fputs("usage: plan_predict CACHE_FOLDER < REQUESTS\n", stderr);
        return 2;
    }
    snug_log_set(say, NULL);
    while (status == 0 && fgets(line, sizeof line, stdin))
        status = answer(argv[1], line);
    return status;
}
