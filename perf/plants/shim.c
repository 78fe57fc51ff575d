/* A shim between snug and libllama that goes behind the engine's back, for perf/plants.py and
 * perf/honesty.py (LD_PRELOAD). SNUG_PLANT names what it does:
 *   config      contexts are made with one thread and a small ubatch, whatever was asked
 *   short       steps beyond the eighth generated token are skipped, as a stop token would
 *   slow-first  the first decode call takes a second more
 *   cost        contexts with n_ubatch 448 are busy SNUG_PLANT_COST (0.05) of the time of each
 * decode call longer, the others nothing; threads that wait meanwhile go to sleep, and waking them
 * costs as much again on some machines */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llama.h>

static bool is_plant(const char *name)
{
    const char *plant = getenv("SNUG_PLANT");
    return plant && strcmp(plant, name) == 0;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cost_frac(void)
{
    const char *text = getenv("SNUG_PLANT_COST");
    return text ? strtod(text, NULL) : 0.05;
}

/* Busy, as slower work would be. */
static void lose(double s)
{
    for (const double end = now_s() + s; now_s() < end;)
        ;
}

struct llama_context *llama_init_from_model(struct llama_model *model,
                                            struct llama_context_params params)
{
    static struct llama_context *(*real)(struct llama_model *, struct llama_context_params);
    if (!real)
        real = (struct llama_context * (*)(struct llama_model *, struct llama_context_params))
            dlsym(RTLD_NEXT, "llama_init_from_model");
    if (is_plant("config")) {
        params.n_threads = params.n_threads_batch = 1;
        params.n_ubatch = 64;
    }
    return real(model, params);
}

int32_t llama_decode(struct llama_context *context, struct llama_batch batch)
{
    static int32_t (*real)(struct llama_context *, struct llama_batch);
    static bool has_slept;
    static int n_single;
    if (!real)
        real = (int32_t(*)(struct llama_context *, struct llama_batch))dlsym(RTLD_NEXT,
                                                                             "llama_decode");
    if (is_plant("slow-first") && !has_slept) {
        has_slept = true;
        lose(1.0);
    }
    n_single = batch.n_tokens == 1 ? batch.pos[0] + 1 : 0;
    if (is_plant("short") && n_single > 8)
        return 0;
    const double start = now_s();
    const int32_t rc = real(context, batch);
    if (is_plant("cost") && llama_n_ubatch(context) == 448) {
        llama_synchronize(context);
        lose((now_s() - start) * cost_frac());
    }
    return rc;
}
