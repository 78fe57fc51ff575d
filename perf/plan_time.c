/* How long the exact solve takes: one type of twenty for each matrix of a preset.
 *
 *   plan_time [PRESET] [COPIES] [SOLVES] [DUMP]     default: llama3-70b 1 64
 *
 * Prints JSON: tensors, options, seconds of making ready and of each solve over SOLVES budgets from
 * the smallest types to the largest (the menu), and the choice at the middle one, which a plain
 * dynamic program can be held against. COPIES repeats the tensors: the work should grow with them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <ggml.h>

#include "plan/knapsack.h"
#include "snug/model.h"
#include "snug/stats.h"

static const int types[] = {
    GGML_TYPE_IQ1_S, GGML_TYPE_IQ1_M,   GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS, GGML_TYPE_IQ2_S,
    GGML_TYPE_Q2_K,  GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S,   GGML_TYPE_Q3_K,   GGML_TYPE_IQ4_XS,
    GGML_TYPE_Q4_0,  GGML_TYPE_IQ4_NL,  GGML_TYPE_Q4_K,    GGML_TYPE_Q4_1,   GGML_TYPE_Q5_0,
    GGML_TYPE_Q5_K,  GGML_TYPE_Q5_1,    GGML_TYPE_Q6_K,    GGML_TYPE_Q8_0,   GGML_TYPE_F16,
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Losses of no particular model: falling by about 4 per bit, with seeded noise of tensor and type.
 */
static void fill(struct snug__knapsack_option *out, const struct snug_tensor *t,
                 struct snug_rng *rng)
{
    const double weight = exp(snug_rng_normal(rng)) * (double)t->n_elements / 1e8;
    for (int k = 0; k < N_TYPES; k++) {
        const uint64_t bytes = ggml_row_size((enum ggml_type)types[k], t->ne[0]) *
                               (t->n_elements / (uint64_t)t->ne[0]);
        const double bits = 8.0 * (double)bytes / (double)t->n_elements;
        out[k].bytes = bytes;
        out[k].cost = weight * pow(4.0, -bits) * exp(0.3 * snug_rng_normal(rng));
    }
}

static int dump(const char *path, const struct snug__knapsack_option *options, int n)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return 1;
    for (int i = 0; i < n * N_TYPES; i++)
        fprintf(file, "%llu %.17g%c", (unsigned long long)options[i].bytes, options[i].cost,
                i % N_TYPES == N_TYPES - 1 ? '\n' : ' ');
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    struct snug_model model;
    struct snug_error err = {0};
    struct snug_rng rng;
    const int copies = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1,
              n_solves = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 64;
    if (snug_model_open(argc > 1 ? argv[1] : "llama3-70b", &model, &err) != SNUG_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    snug_rng_init(&rng, 1);
    const size_t n_most = (size_t)model.n_tensors * (size_t)copies;
    struct snug__knapsack_item *items = calloc(n_most, sizeof *items);
    struct snug__knapsack_option *options = calloc(n_most * N_TYPES, sizeof *options);
    int *choice = calloc(n_most, sizeof *choice), n = 0;
    double *seconds = calloc((size_t)n_solves, sizeof *seconds);
    if (!items || !options || !choice || !seconds)
        return 1;
    for (int c = 0; c < copies; c++) {
        for (int t = 0; t < model.n_tensors; t++) {
            if (model.tensors[t].n_dims < 2)
                continue;
            fill(options + (size_t)n * N_TYPES, &model.tensors[t], &rng);
            items[n] = (struct snug__knapsack_item){options + (size_t)n * N_TYPES, N_TYPES};
            n++;
        }
    }
    if (argc > 4 && dump(argv[4], options, n) != 0)
        return 1;
    struct snug__knapsack k;
    struct snug__knapsack_answer answer = {0};
    double begin = now_s();
    if (snug__knapsack_init(&k, items, n, &err) != SNUG_OK)
        return 1;
    const double init_s = now_s() - begin;
    int n_proved = 0, n_states = 0;
    for (int i = 0; i < n_solves; i++) {
        const double share = ((double)i + 0.5) / (double)n_solves;
        const uint64_t budget =
            k.bytes_min + (uint64_t)(share * (double)(k.bytes_max - k.bytes_min));
        begin = now_s();
        if (snug__knapsack_solve(&k, budget, choice, &answer, &err) != SNUG_OK)
            return 1;
        seconds[i] = now_s() - begin;
        n_proved += answer.is_proved;
        n_states = answer.n_states > n_states ? answer.n_states : n_states;
        if (i == n_solves / 2)
            printf("{\"mid\": {\"budget\": %llu, \"bytes\": %llu, \"cost\": %.17g},\n",
                   (unsigned long long)budget, (unsigned long long)answer.bytes, answer.cost);
    }
    double sum = 0.0;
    for (int i = 0; i < n_solves; i++)
        sum += seconds[i];
    qsort(seconds, (size_t)n_solves, sizeof *seconds, compare_doubles);
    printf("\"tensors\": %d, \"types\": %d, \"init_s\": %.6f, \"solve_median_s\": %.6f, "
           "\"solve_max_s\": %.6f, \"menu_s\": %.6f, \"points\": %d, \"proved\": %d, "
           "\"states_max\": %d}\n",
           n, N_TYPES, init_s, seconds[n_solves / 2], seconds[n_solves - 1], init_s + sum, n_solves,
           n_proved, n_states);
    snug__knapsack_clear(&k);
    snug_model_clear(&model);
    free(items);
    free(options);
    free(choice);
    free(seconds);
    return 0;
}
