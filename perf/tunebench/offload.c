/* A made-up machine with a GPU that holds part of a model: LaTune's own setting, for any machine.
 *
 * Two tiers, each a roofline. Decode reads the weights of the layers on the device at the device's
 * bandwidth and the others at the host's, which threads fill up to a limit and crowd past the
 * cores; the cache is read where it lies. Prefill computes: host layers copy their weights to the
 * device for every micro batch, as llama.cpp does, so that large micro batches pay off there; but
 * they need a larger compute buffer on the device. Hidden from what is stated: the driver's own
 * bytes, so that a band of configs near the limit ends in OOM (at the load when weights alone are
 * too much, else at the first batch), and one combination of knobs that crashes at its start.
 * Quantised values without fused attention are refused, as libllama refuses them.
 * Machine, model and details are drawn from the seed; ranges are those of desktop GPUs of 6 to 24
 * GB and of models of 7 to 32 B parameters at about 4.5 bits, from vendors' data sheets. */
#include "perf/tunebench/tunebench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trial/trial_json.h"

enum { N_PROMPT = 512, N_GEN = 128, N_CTX = 4096, N_BLOCKS = 3, N_REPS = 4 };
enum row { LAYERS, THREADS, UBATCH, KV_OFFLOAD, FLASH, CACHE, N_ROWS };

#define GIB 1073741824.0
#define MIB 1048576.0
#define GUESS_SD 0.3
#define START_S 0.8 /* a process and its device context */

struct machine {
    double device_bytes, device_bps, device_flops, link_bps, hidden_bytes;
    double host_bps, n_cores, threads_half, roll_off;
    double disk_bps;
    int n_layer;
    double layer_bytes, head_bytes, layer_params; /* of one layer; of the output matrix */
    double cache_row_bytes;                       /* per token and layer, f16 */
    double n_heads, flash_gain, ubatch_half, sync_s;
    bool has_crash;
    int crash_layers; /* from so many layers on, with the cache on the host and fused attention */
};

struct outcome {
    enum snug_outcome outcome;
    double prefill_tps, decode_tps, ttft_s, wall_s, setup_s;
    struct snug_bytes bytes;
};

static double draw(struct snug_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * snug_rng_double(rng);
}

static void draw_machine(struct machine *m, struct snug_rng *rng)
{
    *m = (struct machine){
        .n_layer = 28 + 4 * (int)snug_rng_below(rng, 6),
        .device_bps = draw(rng, 250e9, 900e9),
        .device_flops = draw(rng, 8e12, 40e12),
        .link_bps = draw(rng, 6e9, 22e9),
        .host_bps = draw(rng, 25e9, 75e9),
        .n_cores = 4 + 2 * (double)snug_rng_below(rng, 5),
        .threads_half = draw(rng, 1.0, 3.0),
        .roll_off = draw(rng, 0.03, 0.15),
        .disk_bps = draw(rng, 1.5e9, 4e9),
        .flash_gain = draw(rng, 0.05, 0.35),
        .ubatch_half = draw(rng, 60, 250),
        .sync_s = draw(rng, 1e-4, 6e-4),
        .has_crash = snug_rng_below(rng, 2) == 0,
    };
    const double params = draw(rng, 7e9, 32e9);
    m->layer_params = params * 0.95 / m->n_layer;
    m->layer_bytes = m->layer_params * 4.5 / 8;
    m->head_bytes = params * 0.05 * 6.6 / 8;
    m->cache_row_bytes = 4096.0 * (1 + (double)snug_rng_below(rng, 2));
    m->n_heads = 32 + 8 * (double)snug_rng_below(rng, 3);
    /* a device that holds 40 to 110 % of the weights */
    m->device_bytes =
        (m->layer_bytes * m->n_layer + m->head_bytes) * draw(rng, 0.4, 1.1) + 0.5 * GIB;
    m->hidden_bytes = draw(rng, 0.02, 0.08) * m->device_bytes;
    m->crash_layers = m->n_layer / 3 + (int)snug_rng_below(rng, (uint64_t)m->n_layer / 3);
}

static void make_space(const struct machine *m, struct snug_space *space)
{
    const int64_t n = m->n_layer + 1;
    *space =
        (struct snug_space){.n = N_ROWS,
                            .knobs = {
                                [LAYERS] = {"n_gpu_layers", SNUG_KNOB_INT, SNUG_KNOB_LOAD, 0, n, 2,
                                            n, .is_tuned = true},
                                [THREADS] = {"n_threads", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 2, 16,
                                             2, (int64_t)m->n_cores, .is_tuned = true},
                                [UBATCH] = {"n_ubatch", SNUG_KNOB_LOG2, SNUG_KNOB_CONTEXT, 64, 1024,
                                            1, 512, .is_tuned = true},
                                [KV_OFFLOAD] = {"kv_offload", SNUG_KNOB_BOOL, SNUG_KNOB_CONTEXT, 0,
                                                1, 1, 1, .is_tuned = true},
                                [FLASH] = {"flash_attn", SNUG_KNOB_BOOL, SNUG_KNOB_CONTEXT, 0, 1, 1,
                                           1, .is_tuned = true},
                                [CACHE] = {"cache_type", SNUG_KNOB_ENUM, SNUG_KNOB_CONTEXT, 0, 1, 1,
                                           0, .values = {"f16", "q8_0"}, .n_values = 2,
                                           .is_quality = true, .is_tuned = true},
                            }};
    for (int r = 0; r < N_ROWS; r++)
        space->knobs[r].flag = space->knobs[r].help = "";
}

/* ---- bytes ---- */

static double layers_on_device(const struct machine *m, const int64_t *v)
{
    return fmin((double)v[LAYERS], m->n_layer);
}

static bool has_head(const struct machine *m, const int64_t *v)
{
    return v[LAYERS] > m->n_layer;
}

static double cache_bytes(const struct machine *m, const int64_t *v, double n_layers)
{
    return n_layers * N_CTX * m->cache_row_bytes * (v[CACHE] ? 8.5 / 16 : 1);
}

/* Of one graph on the device: activations, and without fused attention the scores. */
static double compute_bytes(const struct machine *m, const int64_t *v)
{
    const double n = (double)v[UBATCH];
    return 60 * MIB + n * 0.35 * MIB + (v[FLASH] ? 0 : n * N_CTX * m->n_heads * 4);
}

static void state_bytes(const struct machine *m, const int64_t *v, struct snug_bytes *out)
{
    const double n = layers_on_device(m, v), compute = compute_bytes(m, v);
    const double weights = m->layer_bytes * m->n_layer + m->head_bytes;
    const double cache = cache_bytes(m, v, m->n_layer);
    double device = m->layer_bytes * n + (has_head(m, v) ? m->head_bytes : 0);
    device += v[KV_OFFLOAD] ? cache_bytes(m, v, n) : 0;
    device += compute; /* also without layers: prompts are computed there */
    *out = (struct snug_bytes){.weights = (uint64_t)weights,
                               .cache = (uint64_t)cache,
                               .compute = (uint64_t)compute,
                               .device = (uint64_t)device};
}

/* ---- speed ---- */

/* What threads make of the host: more fill it, too many crowd it. */
static double host_share(const struct machine *m, const int64_t *v)
{
    const double n = (double)v[THREADS], used = fmin(n, m->n_cores);
    return used / (used + m->threads_half) / (1 + m->roll_off * fmax(n - m->n_cores, 0));
}

static double decode_s(const struct machine *m, const int64_t *v)
{
    const double n = layers_on_device(m, v), rest = m->n_layer - n, share = host_share(m, v);
    const double cache = cache_bytes(m, v, 1) * (N_PROMPT + N_GEN) / N_CTX;
    const double host =
        (rest * m->layer_bytes + (has_head(m, v) ? 0 : m->head_bytes)) / (m->host_bps * share);
    const double device =
        (n * m->layer_bytes + (has_head(m, v) ? m->head_bytes : 0)) / m->device_bps;
    double attention = rest * cache / (m->host_bps * share);
    if (v[KV_OFFLOAD])
        attention += n * cache / m->device_bps;
    else /* queries and results cross the link, layer by layer */
        attention += n * (cache / (m->host_bps * share) + 2 * m->sync_s / 8);
    /* fused attention on the host is slower with quantised values, which it must unpack */
    if (v[CACHE] && (rest > 0 || !v[KV_OFFLOAD]))
        attention *= 1.5;
    if (!v[FLASH])
        attention *= 1 + m->flash_gain;
    return host + device + attention + (n > 0 && rest > 0 ? m->sync_s : 0) + n * 1e-5;
}

static double prefill_s(const struct machine *m, const int64_t *v)
{
    const double n = layers_on_device(m, v), rest = m->n_layer - n, ubatch = (double)v[UBATCH];
    const double n_batches = ceil(N_PROMPT / ubatch), tokens = fmin(ubatch, N_PROMPT);
    const double rate = m->device_flops * tokens / (tokens + m->ubatch_half);
    const double work = 2 * m->layer_params * tokens;
    const double by_device = fmax(work / rate, m->layer_bytes / m->device_bps);
    /* llama.cpp copies a host layer's weights to the device for a batch this large */
    const double by_link = m->layer_bytes / m->link_bps + work / rate;
    double attention = 0.02 * by_device * m->n_layer * (v[FLASH] ? 1 : 1 + 4 * m->flash_gain);
    if (!v[KV_OFFLOAD])
        attention += n * tokens * m->cache_row_bytes * 4 / m->link_bps;
    return n_batches * (n * by_device + rest * by_link + attention);
}

/* What a calibrated but coarse cost model would say: bandwidths and rates off by what the seed
 * draws, threads that never crowd, no cost of the cache, of attention or of crossing over. */
struct guess {
    double device_bps, host_bps, device_flops, link_bps;
};

static void draw_guess(const struct machine *m, struct snug_rng *rng, struct guess *g)
{
    g->device_bps = m->device_bps * exp(GUESS_SD * snug_rng_normal(rng));
    g->host_bps = m->host_bps * exp(GUESS_SD * snug_rng_normal(rng));
    g->device_flops = m->device_flops * exp(GUESS_SD * snug_rng_normal(rng));
    g->link_bps = m->link_bps * exp(GUESS_SD * snug_rng_normal(rng));
}

static double guess_decode_s(const struct machine *m, const struct guess *g, const int64_t *v)
{
    const double n = layers_on_device(m, v), rest = m->n_layer - n;
    const double threads = fmin((double)v[THREADS], m->n_cores) / m->n_cores;
    const double head = has_head(m, v) ? m->head_bytes : 0;
    return (n * m->layer_bytes + head) / g->device_bps +
           (rest * m->layer_bytes + m->head_bytes - head) / (g->host_bps * sqrt(threads));
}

static double guess_prefill_s(const struct machine *m, const struct guess *g, const int64_t *v)
{
    const double n = layers_on_device(m, v), rest = m->n_layer - n;
    const double n_batches = ceil(N_PROMPT / (double)v[UBATCH]);
    const double work = 2 * m->layer_params * N_PROMPT / g->device_flops;
    return m->n_layer * work + n_batches * (rest * m->layer_bytes / g->link_bps + n * 1e-5);
}

/* ---- trials ---- */

static void run(const struct machine *m, const int64_t *v, struct outcome *out)
{
    const double share = layers_on_device(m, v) / m->n_layer;
    *out = (struct outcome){.outcome = SNUG_TRIAL_OK};
    state_bytes(m, v, &out->bytes);
    const double weights = (double)out->bytes.weights;
    out->setup_s = START_S + weights / m->disk_bps + share * weights / m->link_bps;
    const double prefill = prefill_s(m, v), decode = decode_s(m, v);
    const double block = prefill + decode * N_GEN, limit = m->device_bytes - m->hidden_bytes;
    out->prefill_tps = N_PROMPT / prefill;
    out->decode_tps = 1 / decode;
    out->ttft_s = prefill + decode;
    out->wall_s = (N_BLOCKS + 1) * block + 0.1; /* one block warms up */
    if (v[CACHE] && !v[FLASH]) {
        *out = (struct outcome){.outcome = SNUG_TRIAL_REFUSED, .wall_s = START_S};
    } else if ((double)out->bytes.device > limit) {
        const bool at_load = share * weights > limit;
        out->outcome = SNUG_TRIAL_OOM;
        out->setup_s *= at_load ? 0.7 : 1;
        out->wall_s = at_load ? 0 : block;
    } else if (m->has_crash && !v[KV_OFFLOAD] && v[FLASH] && v[LAYERS] >= m->crash_layers) {
        out->outcome = SNUG_TRIAL_CRASH;
        out->wall_s = 0.3;
    }
}

/* Noise in log speed of one repetition: of the whole, of its blocks by phase. */
struct noise {
    double whole, block[2][N_BLOCKS];
};

/* Repetitions come in mirrored pairs, so that their median is the true speed however large the
 * noise is; else the luckiest of thousands of cells would be taken for the truth. */
static void draw_noise(struct noise *noise, double frac, bool is_mirror, struct snug_rng *rng)
{
    noise->whole = is_mirror ? -noise->whole : frac * snug_rng_normal(rng);
    for (int phase = 0; phase < 2; phase++)
        for (int i = 0; i < N_BLOCKS; i++) {
            double *z = &noise->block[phase][i];
            *z = is_mirror ? -*z : 0.5 * frac * snug_rng_normal(rng);
        }
}

static void put_blocks(struct snug_json_writer *w, const char *key, double tps, const double *noise)
{
    snug_json_begin_array(w, key);
    for (int i = 0; i < N_BLOCKS; i++) /* four digits and more: what a recorder keeps */
        snug_json_put_number(w, NULL, round(tps * exp(noise[i]) * 1e4) / 1e4);
    snug_json_end(w);
}

static void put_bytes(struct snug_json_writer *w, const struct snug_bytes *bytes)
{
    snug_json_begin_object(w, "bytes");
    snug_json_put_int(w, "weights", (int64_t)bytes->weights);
    snug_json_put_int(w, "cache", (int64_t)bytes->cache);
    snug_json_put_int(w, "compute", (int64_t)bytes->compute);
    snug_json_put_int(w, "device", (int64_t)bytes->device);
    snug_json_end(w);
}

/* One generated table on its way into text. */
struct task {
    struct machine machine;
    struct guess guess;
    struct snug_space space;
    struct snug_rng rng;
    double noise_frac;
    struct noise noise; /* of the last repetition */
    struct snug_buffer body;
    size_t n_lines;
};

static void put_rep(struct task *t, const struct snug_config *config, const struct outcome *o,
                    int rep)
{
    struct snug_json_writer w = {0};
    draw_noise(&t->noise, t->noise_frac, rep % 2 == 1, &t->rng);
    const double factor = exp(t->noise.whole);
    snug_json_begin_object(&w, NULL);
    snug_config_to_json(&w, "config", &t->space, config);
    snug_json_put_int(&w, "fidelity", 0);
    snug_json_put_int(&w, "rep", rep);
    snug_json_put_string(&w, "outcome", snug_outcome_name(o->outcome));
    if (o->outcome == SNUG_TRIAL_OK) {
        put_blocks(&w, "prefill_block_tps", o->prefill_tps * factor, t->noise.block[0]);
        put_blocks(&w, "decode_block_tps", o->decode_tps * factor, t->noise.block[1]);
        snug_json_put_number(&w, "ttft_s", o->ttft_s / factor);
    }
    if (o->outcome != SNUG_TRIAL_REFUSED)
        put_bytes(&w, &o->bytes);
    snug_json_begin_object(&w, "predicted");
    snug_json_put_number(&w, "prefill_tps",
                         N_PROMPT / guess_prefill_s(&t->machine, &t->guess, config->value));
    snug_json_put_number(&w, "decode_tps",
                         1 / guess_decode_s(&t->machine, &t->guess, config->value));
    snug_json_end(&w);
    snug_json_put_number(&w, "wall_s", round(o->wall_s / factor * 1e4) / 1e4);
    snug_json_put_number(&w, "setup_s", round(o->setup_s * 1e4) / 1e4);
    snug_json_end(&w);
    char *line = snug_json_finish(&w, false);
    snug_buffer_puts(&t->body, line ? line : "");
    snug_buffer_puts(&t->body, "\n");
    t->body.is_failed |= !line;
    t->n_lines++;
    free(line);
}

/* llama.cpp's --fit: as many layers as leave 1 GiB of what is free, nothing else changed. */
static void fit(const struct machine *m, const struct snug_space *space, struct snug_config *out)
{
    snug_space_default(space, out);
    const struct snug_knob *layers = &space->knobs[LAYERS];
    for (int i = snug_knob_n_levels(layers) - 1; i >= 0; i--) {
        struct snug_bytes bytes;
        out->value[LAYERS] = snug_knob_level(layers, i);
        state_bytes(m, out->value, &bytes);
        if ((double)bytes.device + GIB <= m->device_bytes)
            return;
    }
}

static char *header(const struct task *t, uint64_t seed)
{
    struct snug_json_writer w = {0};
    struct snug_config config;
    char name[SNUG_WORKLOAD_NAME_MAX], hash[SNUG_SHA256_HEX_MAX];
    snprintf(name, sizeof name, "offload-%llu", (unsigned long long)seed);
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "snug_table", SNUG__TABLE_VERSION);
    snug_json_put_string(&w, "name", name);
    snug_space_to_json(&w, "space", &t->space);
    snug_json_begin_array(&w, "workloads");
    const struct snug_workload workload = {N_PROMPT, N_GEN, 0, 1, N_CTX, "", "", ""};
    snug_workload_to_json(&w, NULL, &workload);
    snug_json_end(&w);
    snug_json_put_string(&w, "memory", "device");
    snug_json_put_int(&w, "limit_bytes", (int64_t)t->machine.device_bytes);
    snug_json_put_number(&w, "estimate_s", 0.01);
    fit(&t->machine, &t->space, &config);
    snug_config_to_json(&w, "fit", &t->space, &config);
    snug_json_begin_object(&w, "made");
    snug_json_put_string(&w, "by", "tunebench, a made-up offload machine");
    snug_json_put_int(&w, "seed", (int64_t)seed);
    snug_json_put_number(&w, "noise_frac", t->noise_frac);
    snug_json_end(&w);
    snug_json_put_int(&w, "n_lines", (int64_t)t->n_lines);
    snug_json_put_string(&w, "sha256", snug_sha256_hex(t->body.data, t->body.len, hash));
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

static void put_lines(struct task *t)
{
    struct snug__lattice lattice;
    snug__lattice_init(&lattice, &t->space, &(struct snug_config){0});
    for (uint64_t i = 0; i < (uint64_t)lattice.n_configs; i++) {
        struct snug_config config;
        struct outcome o;
        snug__lattice_at(&lattice, i, &config);
        run(&t->machine, config.value, &o);
        for (int rep = 0; rep < N_REPS; rep++)
            put_rep(t, &config, &o, rep);
    }
}

char *tb_offload_text(const struct tb_offload_options *options, size_t *out_n)
{
    struct task t = {.noise_frac = options->noise_frac};
    struct snug_buffer text = {0};
    snug_rng_init(&t.rng, options->seed + UINT64_C(0x6f66666c6f6164)); /* "offload" */
    draw_machine(&t.machine, &t.rng);
    draw_guess(&t.machine, &t.rng, &t.guess);
    make_space(&t.machine, &t.space);
    put_lines(&t);
    char *first = t.body.is_failed ? NULL : header(&t, options->seed);
    snug_buffer_puts(&text, first ? first : "");
    snug_buffer_puts(&text, "\n");
    if (t.body.len)
        snug_buffer_append(&text, t.body.data, t.body.len);
    text.is_failed |= !first;
    free(first);
    snug_buffer_clear(&t.body);
    *out_n = text.len;
    return snug_buffer_take(&text);
}
