/* Bytes of plans against libllama's own and the packaged programs', for every architecture that a
 * folder can have: recipes, caches. */
#include "engine.h"
#include "peer.h"

#include <math.h>
#include <stdlib.h>

#include "hf_build.h"
#include "hf_models.h"
#include "snug/plan.h"

static const double MIB = 1048576.0;

static void open_model(void **state, const struct hf_model *m, struct snug_model *model,
                       char path[1024])
{
    struct snug_error err;
    const char *folder = test_path(state, "model");
    hf_folder(folder, m->config, m->tensors, m->dtype);
    assert_ok(snug_model_open(folder, model, &err));
    assert_ok(snug_model_shape_file(model, test_path(state, "shapes"), path, 1024, &err));
}

/* ---- recipes ---- */

/* "quant size  = 4685.30 MiB" of the packaged program's dry run. */
static double tool_mib(const char *tool, const char *path, const char *type)
{
    struct snug_buffer talk = {0};
    char command[9000];
    double mib = 0.0;
    snprintf(command, sizeof command, "exec '%s' --dry-run '%s' %s 2>&1", tool, path, type);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    peer_run(argv, &talk);
    const char *total = strstr(snug_buffer_text(&talk), "quant size  = ");
    assert_non_null(total);
    assert_int_equal(sscanf(total, "quant size  = %lf MiB", &mib), 1);
    snug_buffer_clear(&talk);
    return mib;
}

static void recipes_of_all_architectures_have_llama_quantizes_bytes(void **state)
{
    static const char *const recipes[] = {"q8_0", "q6_k", "q4_k_m", "q4_0", "iq4_xs", "q2_k"};
    char tool[4096];
    if (!peer_find("llama-quantize", tool))
        skip();
    for (size_t i = 0; i < COUNT(hf_models); i++) {
        struct snug_error err;
        struct snug_model model = {0}, shape = {0};
        char path[1024];
        open_model(state, &hf_models[i], &model, path);
        assert_ok(snug_model_open(path, &shape, &err));
        const size_t n = (size_t)shape.n_tensors;
        int *types = malloc(COUNT(recipes) * n * sizeof *types);
        assert_non_null(types);
        assert_ok(snug_engine_recipes(&shape, recipes, COUNT(recipes), false, types, NULL, &err));
        for (size_t r = 0; r < COUNT(recipes); r++) {
            const double theirs = tool_mib(tool, path, recipes[r]);
            uint64_t sum = 0;
            for (size_t t = 0; t < n; t++)
                sum += (uint64_t)(snug_model_type_bits(types[r * n + t]) / 8.0 *
                                      (double)shape.tensors[t].n_elements +
                                  0.5);
            if (fabs((double)sum / MIB - theirs) > 0.0051)
                fail_msg("%s as %s: %.3f MiB here, %.2f there", hf_models[i].name, recipes[r],
                         (double)sum / MIB, theirs);
        }
        free(types);
        snug_model_clear(&shape);
        snug_model_clear(&model);
    }
}

/* ---- caches ---- */

/* "Host 2357 68 274": model, context and compute in MiB, rounded. */
static bool tool_context(const char *tool, const char *path, int64_t n_ctx, const char *type,
                         double *out_mib)
{
    struct snug_buffer talk = {0};
    struct snug_error err;
    char context[24];
    double model = 0.0, compute = 0.0;
    snprintf(context, sizeof context, "%lld", (long long)n_ctx);
    const char *const argv[] = {tool,   "-m", path,   "-c", context, "-fa", "on",
                                "-ctk", type, "-ctv", type, "-fitp", "on",  NULL};
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    const bool is_run = snug_process_run(argv, env, PATIENCE_S, 1u << 20, &talk, &err) == SNUG_OK;
    const char *line = strstr(snug_buffer_text(&talk), "Host ");
    const bool is_told =
        is_run && line && sscanf(line, "Host %lf %lf %lf", &model, out_mib, &compute) == 3;
    snug_buffer_clear(&talk);
    return is_told;
}

static void check_cache(const char *tool, const char *path, struct snug_model *model,
                        struct snug_plan_oracle *oracle, const struct snug_plan_shape *shape)
{
    struct snug_error err;
    struct snug_plan_bytes stated, formula;
    const char *type = snug_model_type_name(shape->type_k);
    double theirs = 0.0;
    if (snug_plan_oracle_bytes(shape, &stated, oracle, &err) != SNUG_OK) {
        assert_int_equal(err.status, SNUG_INFEASIBLE); /* rows of a head are no whole blocks */
        assert_int_not_equal(shape->type_k, 1);
        return;
    }
    if (!tool_context(tool, path, shape->n_ctx, type, &theirs))
        fail_msg("%s: llama-fit-params says nothing of %s at %lld", model->arch, type,
                 (long long)shape->n_ctx);
    /* Two decimals of each cache are told us, none there. */
    if (fabs((double)stated.cache / MIB - theirs) > 1.02)
        fail_msg("%s %s at %lld: %.2f MiB here, %.0f by llama-fit-params", model->arch, type,
                 (long long)shape->n_ctx, (double)stated.cache / MIB, theirs);
    if (strcmp(model->arch, "mamba") == 0)
        return; /* a state, no cache: only libllama knows */
    assert_ok(snug_plan_bytes_formula(shape, &formula, model, &err));
    if (fabs((double)stated.cache - (double)formula.cache) > 0.0101 * MIB)
        fail_msg("%s %s at %lld: libllama says %.2f MiB, the formula %.2f", model->arch, type,
                 (long long)shape->n_ctx, (double)stated.cache / MIB, (double)formula.cache / MIB);
}

static void caches_of_all_architectures_are_libllamas(void **state)
{
    static const int types[] = {1, 8, 2, 30}; /* f16, q8_0, q4_0, bf16 */
    static const int64_t contexts[] = {512, 4096, 8192, 32768};
    const struct snug_machine machine = {
        .n_cores = 1, .n_threads = 1, .n_numa = 1, .n_cores_usable = 1, .n_threads_usable = 1};
    char tool[4096];
    if (!peer_find("llama-fit-params", tool))
        skip();
    for (size_t i = 0; i < COUNT(hf_models); i++) {
        struct snug_error err;
        struct snug_model model = {0};
        struct snug_plan_oracle *oracle = NULL;
        char path[1024];
        open_model(state, &hf_models[i], &model, path);
        assert_ok(snug_plan_oracle_open(&model, path, &machine, NULL, &oracle, &err));
        for (size_t c = 0; c < COUNT(contexts); c++) {
            for (size_t k = 0; k < COUNT(types); k++) {
                const struct snug_plan_shape shape = {.n_ctx = contexts[c],
                                                      .n_parallel = 1,
                                                      .n_batch = 2048,
                                                      .n_ubatch = 512,
                                                      .type_k = types[k],
                                                      .type_v = types[k],
                                                      .flash_attn = true};
                check_cache(tool, path, &model, oracle, &shape);
            }
        }
        snug_plan_oracle_close(oracle);
        snug_model_clear(&model);
    }
    engine_test_no_children();
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(recipes_of_all_architectures_have_llama_quantizes_bytes),
        IN_FOLDER(caches_of_all_architectures_are_libllamas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
