/* Matrix product speed per weight type, on the CPU backend and in the buffer type libllama would
 * choose: the first extra one (AMX, CPU_REPACK) that supports the product, else the plain one.
 *
 * Decode (batch 1) multiplies many matrices in turn, more than the caches hold: it is bound by
 * memory. Prefill (batch 512) multiplies one: it is bound by arithmetic; there an accelerator
 * device such as BLAS takes over where it supports the product, as ggml's scheduler has it.
 * ggml's order of dimensions: ne[0] is the row length (n_in), ne[1] the number of rows. */
#include "machine/measure.h"

#include <stdlib.h>
#include <string.h>

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "machine/probe.h"

#define N_IN 2048
#define N_OUT 2048
#define N_BATCH 512
#define TILE_ROWS 32 /* quantised once and repeated: values do not change the speed */
#define WEIGHTS_MAX_BYTES (512ull << 20)
#define MATRICES_MAX 512

static const enum ggml_type type_table[] = {
    GGML_TYPE_F16,  GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,   GGML_TYPE_Q4_K,
    GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL,
};
#define N_TYPES (sizeof type_table / sizeof type_table[0])
_Static_assert(N_TYPES <= SNUG_PROBE_TYPES_MAX, "room for all types");

/* Types each extra buffer type can hold at all. A type it cannot repack crashes ggml 0.27 when set
 * there, so a buffer type that is not listed is not used, whatever supports_op says. */
static const struct {
    const char *buffer;
    enum ggml_type types[8]; /* ended by F32 = 0, which none of them takes */
} extra_table[] = {
    {"AMX",
     {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
      GGML_TYPE_Q6_K}},
    {"CPU_REPACK",
     {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,
      GGML_TYPE_Q8_0}},
    {"CPU_KLEIDIAI", {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0}},
};

/* Backends for the whole measurement. */
struct bench {
    ggml_backend_dev_t cpu;
    ggml_backend_t cpu_backend;
    ggml_backend_dev_t accel; /* NULL: none */
    ggml_backend_t accel_backend;
    uint64_t cold_bytes;
    struct snug__timing timing;
};

/* One type's tensors: weights in their buffer, inputs and outputs in plain memory. */
struct product {
    struct ggml_context *weights_ctx, *io_ctx;
    ggml_backend_buffer_t weights_buffer, io_buffer;
    ggml_backend_buffer_type_t buft;
    struct ggml_tensor *weights[MATRICES_MAX]; /* [n_out][n_in] */
    int n_weights;
    struct ggml_cgraph *decode, *prefill;
    struct ggml_tensor *prefill_out; /* [n_batch][n_out] */
};

/* A graph and where it runs. */
struct run {
    ggml_backend_t backend;
    struct ggml_cgraph *graph;
};

static bool is_listed(const char *buffer, enum ggml_type type)
{
    for (size_t i = 0; i < sizeof extra_table / sizeof extra_table[0]; i++)
        for (int k = 0; strcmp(extra_table[i].buffer, buffer) == 0 && extra_table[i].types[k]; k++)
            if (extra_table[i].types[k] == type)
                return true;
    return false;
}

static void set_threads(ggml_backend_dev_t device, ggml_backend_t backend, int n_threads)
{
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
    void *address = ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
    ggml_backend_set_n_threads_t set = NULL;
    memcpy(&set, &address, sizeof set); /* ISO C has no cast from object to function pointer */
    if (set)
        set(backend, n_threads);
}

static snug_status open_bench(const struct snug_machine *machine, struct bench *bench,
                              struct snug_error *err)
{
    bench->cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    bench->cpu_backend = bench->cpu ? ggml_backend_dev_init(bench->cpu, NULL) : NULL;
    if (!bench->cpu_backend)
        return snug_fail(err, SNUG_UNSUPPORTED, "matrix speed: ggml offers no CPU device");
    set_threads(bench->cpu, bench->cpu_backend, machine->n_threads_usable);
    bench->accel = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_ACCEL);
    bench->accel_backend = bench->accel ? ggml_backend_dev_init(bench->accel, NULL) : NULL;
    if (bench->accel_backend)
        set_threads(bench->accel, bench->accel_backend, machine->n_threads_usable);
    return SNUG_OK;
}

static void close_bench(struct bench *bench)
{
    ggml_backend_free(bench->accel_backend);
    ggml_backend_free(bench->cpu_backend);
}

static void close_product(struct product *p)
{
    ggml_backend_buffer_free(p->io_buffer);
    ggml_backend_buffer_free(p->weights_buffer);
    ggml_free(p->io_ctx);
    ggml_free(p->weights_ctx);
    memset(p, 0, sizeof *p);
}

/* Lay n matrices of the type into buft; false leaves p to close_product. */
static bool place_weights(struct product *p, enum ggml_type type, int n,
                          ggml_backend_buffer_type_t buft)
{
    struct ggml_init_params params = {
        .mem_size = ggml_tensor_overhead() * (size_t)(n + 1),
        .no_alloc = true,
    };
    p->weights_ctx = ggml_init(params);
    if (!p->weights_ctx)
        return false;
    for (p->n_weights = 0; p->n_weights < n; p->n_weights++)
        p->weights[p->n_weights] = ggml_new_tensor_2d(p->weights_ctx, type, N_IN, N_OUT);
    p->buft = buft;
    p->weights_buffer = ggml_backend_alloc_ctx_tensors_from_buft(p->weights_ctx, buft);
    if (p->weights_buffer)
        ggml_backend_buffer_set_usage(p->weights_buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    return p->weights_buffer != NULL;
}

/* Inputs, outputs and the two graphs over the weights placed before. */
static bool build_graphs(struct product *p)
{
    size_t n_nodes = (size_t)p->n_weights + 8;
    struct ggml_init_params params = {
        .mem_size = ggml_tensor_overhead() * (n_nodes + 8) +
                    2 * ggml_graph_overhead_custom(2 * n_nodes, false),
        .no_alloc = true,
    };
    p->io_ctx = ggml_init(params);
    if (!p->io_ctx)
        return false;
    struct ggml_tensor *x = ggml_new_tensor_2d(p->io_ctx, GGML_TYPE_F32, N_IN, 1);
    struct ggml_tensor *x_batch = ggml_new_tensor_2d(p->io_ctx, GGML_TYPE_F32, N_IN, N_BATCH);
    p->decode = ggml_new_graph_custom(p->io_ctx, 2 * n_nodes, false);
    p->prefill = ggml_new_graph_custom(p->io_ctx, 2 * n_nodes, false);
    for (int i = 0; i < p->n_weights; i++)
        ggml_build_forward_expand(p->decode, ggml_mul_mat(p->io_ctx, p->weights[i], x));
    p->prefill_out = ggml_mul_mat(p->io_ctx, p->weights[0], x_batch);
    ggml_build_forward_expand(p->prefill, p->prefill_out);
    p->io_buffer =
        ggml_backend_alloc_ctx_tensors_from_buft(p->io_ctx, ggml_backend_cpu_buffer_type());
    if (!p->io_buffer)
        return false;
    /* All values are 0x3c3c3c3c = 0.0115: finite, and not the denormals of a zeroed buffer. */
    ggml_backend_buffer_clear(p->io_buffer, 0x3c);
    return true;
}

static bool open_product(struct product *p, enum ggml_type type, int n,
                         ggml_backend_buffer_type_t buft, ggml_backend_dev_t cpu)
{
    if (place_weights(p, type, n, buft) && build_graphs(p) &&
        ggml_backend_dev_supports_op(cpu, p->prefill_out) &&
        ggml_backend_dev_supports_op(cpu, ggml_graph_node(p->decode, 0)))
        return true;
    close_product(p);
    return false;
}

/* The extra buffer types of the CPU in its own order of preference, then the plain one. */
static bool choose_product(const struct bench *bench, struct product *p, enum ggml_type type, int n)
{
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(bench->cpu);
    void *address = ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
    ggml_backend_dev_get_extra_bufts_t get_extra = NULL;
    memcpy(&get_extra, &address, sizeof get_extra);
    ggml_backend_buffer_type_t *extra = get_extra ? get_extra(bench->cpu) : NULL;
    for (; extra && *extra; extra++)
        if (is_listed(ggml_backend_buft_name(*extra), type) &&
            open_product(p, type, n, *extra, bench->cpu))
            return true;
    return open_product(p, type, n, ggml_backend_cpu_buffer_type(), bench->cpu);
}

/* Every matrix gets the same quantised rows. Buffers that repack take whole tensors only. */
static bool fill_weights(struct product *p, enum ggml_type type)
{
    size_t row_bytes = ggml_row_size(type, N_IN), tile_bytes = row_bytes * TILE_ROWS;
    float *values = malloc(sizeof *values * N_IN * TILE_ROWS);
    char *matrix = malloc(row_bytes * N_OUT);
    struct snug_rng rng;
    bool is_filled = values && matrix;
    snug_rng_init(&rng, 1);
    for (size_t i = 0; values && i < (size_t)N_IN * TILE_ROWS; i++)
        values[i] = (float)(snug_rng_double(&rng) - 0.5) * 0.1f;
    if (is_filled) {
        ggml_quantize_chunk(type, values, matrix, 0, TILE_ROWS, N_IN, NULL);
        for (size_t at = tile_bytes; at < row_bytes * N_OUT; at += tile_bytes)
            memcpy(matrix + at, matrix, tile_bytes);
        for (int i = 0; i < p->n_weights; i++)
            ggml_backend_tensor_set(p->weights[i], matrix, 0, row_bytes * N_OUT);
    }
    free(matrix);
    free(values);
    return is_filled;
}

static bool compute(void *data)
{
    struct run *run = data;
    return ggml_backend_graph_compute(run->backend, run->graph) == GGML_STATUS_SUCCESS;
}

static bool time_product(const struct bench *bench, struct product *p,
                         struct snug_mul_mat_speed *out)
{
    double seconds[SNUG__SAMPLES_MAX];
    const double flops = 2.0 * N_IN * N_OUT; /* per matrix and column of the batch */
    double bytes = (double)ggml_nbytes(p->weights[0]) * p->n_weights;
    struct run decode = {bench->cpu_backend, p->decode};
    struct run prefill = {bench->cpu_backend, p->prefill};
    ggml_backend_dev_t device = bench->cpu;
    if (bench->accel_backend && ggml_backend_dev_supports_buft(bench->accel, p->buft) &&
        ggml_backend_dev_supports_op(bench->accel, p->prefill_out)) {
        prefill.backend = bench->accel_backend;
        device = bench->accel;
    }
    int n = snug__time_passes(&bench->timing, compute, &decode, seconds);
    if (n == 0)
        return false;
    out->decode_bps = snug__rate(bytes, seconds, n);
    out->decode_flops = snug__rate(flops * p->n_weights, seconds, n);
    n = snug__time_passes(&bench->timing, compute, &prefill, seconds);
    if (n == 0)
        return false;
    out->prefill_flops = snug__rate(flops * N_BATCH, seconds, n);
    snug__format(out->buffer, sizeof out->buffer, "%s", ggml_backend_buft_name(p->buft));
    snug__format(out->prefill_device, sizeof out->prefill_device, "%s",
                 ggml_backend_dev_name(device));
    return true;
}

static snug_status measure_type(const struct bench *bench, enum ggml_type type,
                                struct snug_mul_mat_speed *out, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    struct product *p = calloc(1, sizeof *p);
    uint64_t n = bench->cold_bytes / (ggml_row_size(type, N_IN) * N_OUT) + 1;
    if (!p)
        return snug_fail(err, SNUG_NO_MEMORY, "matrix speed of %s", ggml_type_name(type));
    if (!choose_product(bench, p, type, n < MATRICES_MAX ? (int)n : MATRICES_MAX) ||
        !fill_weights(p, type))
        status = snug_fail(err, SNUG_NO_MEMORY, "matrix speed of %s: %llu bytes of weights",
                           ggml_type_name(type), (unsigned long long)bench->cold_bytes);
    else if (!time_product(bench, p, out))
        status = snug_fail(err, SNUG_UNSUPPORTED, "matrix speed of %s: ggml refused to compute",
                           ggml_type_name(type));
    snug__format(out->type, sizeof out->type, "%s", ggml_type_name(type));
    close_product(p);
    free(p);
    return status;
}

snug_status snug__measure_mul_mat(const struct snug_machine *machine, double budget_s,
                                  struct snug_machine_speed *speed, struct snug_error *err)
{
    /* A third of the budget goes into laying out and repacking weights. */
    struct bench bench = {
        .cold_bytes = snug__cold_bytes(machine, WEIGHTS_MAX_BYTES),
        .timing = {.n_best = 1, .n_min = 5, .budget_s = budget_s / (3 * N_TYPES)},
    };
    if (bench.cold_bytes == 0)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "matrix speed: less than 128 MiB of memory is available");
    snug_status status = open_bench(machine, &bench, err);
    speed->n_mul_mat = 0;
    for (size_t i = 0; status == SNUG_OK && i < N_TYPES; i++) {
        status = measure_type(&bench, type_table[i], &speed->mul_mat[speed->n_mul_mat], err);
        speed->n_mul_mat += status == SNUG_OK;
    }
    close_bench(&bench);
    return status;
}
