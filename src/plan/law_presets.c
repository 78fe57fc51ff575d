/* Laws without a measurement: machines by name from data sheets, machines described by hand, and
 * saved probes of another machine.
 *
 * Bandwidth is the vendor's; how much of it decode reaches lies between EFFICIENCY_LO and _HI in
 * published runs of llama.cpp on these machines, whatever the type, so that is the interval. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/json.h"
#include "base/near.h"
#include "machine/machine_json.h"
#include "plan/law_fit.h"
#include "snug/budget.h"

#define GIB (1024.0 * 1024.0 * 1024.0)
#define GB_S 1e9
#define TFLOP_S 1e12

static const double EFFICIENCY_LO = 0.26, EFFICIENCY_MID = 0.60, EFFICIENCY_HI = 0.87;
/* Prefill reaches less of its peak, and less evenly. */
static const double COMPUTE_LO = 0.10, COMPUTE_MID = 0.35, COMPUTE_HI = 0.75;
/* A saved probe times kernels alone: the rest of a step is not in its figures. */
static const double PROBE_LO = 0.60, PROBE_HI = 1.20, PROBE_PREFILL_LO = 0.50;
/* Launches of about ten kernels, or barriers of as many operations. */
static const double LAYER_S = 2e-5, STEP_S = 1e-4, HOP_S = 3e-5;
/* Norms, residuals and activations of one layer move about so many bytes per element and token. */
static const double ELEMENT_BYTES = 160.0;
/* Of a unified memory, what the GPU may take (macOS: about three quarters) and what is left. */
static const double UNIFIED_DEVICE_FRAC = 0.75, UNIFIED_HOST_FRAC = 0.15;
#define DISK_BYTES ((uint64_t)(256.0 * GIB))

struct sheet {
    const char *name;
    const char *device;                   /* NULL: none */
    double vram_gib, gpu_gbs, gpu_tflops; /* fp16 with fp32 sums, dense */
    double ram_gib, ram_gbs, cpu_tflops;
    double disk_gbs;
    int n_threads;
    bool is_unified; /* device and host share ram_gib */
};

/* Graphics cards, bandwidth and tensor throughput: NVIDIA's Ampere (GA102) and Ada white papers,
 * product pages of RTX 3060, 3050 Laptop and 4060, A100 data sheet (40 GB: 1555 GB/s, 80 GB SXM:
 * 2039). Apple: newsroom pages of M2 Max (400 GB/s) and M3 Pro (150). Hosts of cards and of the
 * CPU rows are assumed: two channels of DDR5-5600 are 89.6 GB/s, of DDR4-3200 51.2; eight of
 * DDR4-3200 204.8. Boards: Raspberry Pi 5 (LPDDR4X-4267, 32 bits: 17), Orange Pi 5 (RK3588,
 * LPDDR4X-4224, 64 bits: 33.8), Jetson Orin Nano data sheet (68, 20 TFLOP/s sparse int8 / 4), Steam
 * Deck (LPDDR5-5500, 128 bits: 88), iPhone 15 Pro (LPDDR5-6400, 64 bits: 51.2). FLOP/s of CPUs:
 * cores x clock x FMA lanes. */
/* clang-format off */
static const struct sheet SHEETS[] = {
    {"rtx4090", "RTX 4090", 24, 1008, 165, 64, 89.6, 1.2, 5.0, 8, false},
    {"rtx3090", "RTX 3090", 24, 936, 71, 64, 51.2, 0.8, 3.5, 8, false},
    {"rtx3060-12g", "RTX 3060", 12, 360, 25.6, 32, 51.2, 0.6, 3.5, 6, false},
    {"rtx4060-8g", "RTX 4060", 8, 272, 30, 32, 89.6, 0.8, 3.5, 6, false},
    {"rtx3050-4g", "RTX 3050 Laptop", 4, 192, 14, 16, 51.2, 0.5, 3.5, 4, false},
    {"a100-40g", "A100 40GB", 40, 1555, 312, 256, 204.8, 2.0, 3.5, 32, false},
    {"a100-80g", "A100 80GB", 80, 2039, 312, 256, 204.8, 2.0, 3.5, 32, false},
    {"m2-max", "M2 Max", 0, 400, 13.6, 64, 400, 1.0, 5.0, 8, true},
    {"m3-pro", "M3 Pro", 0, 150, 7.4, 36, 150, 0.8, 5.0, 6, true},
    {"cpu-64g", NULL, 0, 0, 0, 64, 89.6, 1.2, 3.5, 8, false},
    {"cpu-32g", NULL, 0, 0, 0, 32, 51.2, 0.6, 3.5, 6, false},
    {"raspberry-pi-5-8g", NULL, 0, 0, 0, 8, 17.1, 0.077, 0.09, 4, false},
    {"orange-pi-5-16g", NULL, 0, 0, 0, 16, 33.8, 0.10, 0.4, 4, false},
    {"jetson-orin-nano-8g", "Orin Nano", 0, 68, 5, 8, 68, 0.07, 1.0, 6, true},
    {"steam-deck", NULL, 0, 0, 0, 16, 88, 0.35, 2.5, 4, false},
    {"iphone-15-pro", "A17 Pro", 0, 51.2, 2.1, 8, 51.2, 0.2, 1.5, 2, true},
};
/* clang-format on */
enum { N_SHEETS = sizeof SHEETS / sizeof *SHEETS };

const char *const *snug_law_presets(void)
{
    static const char *names[N_SHEETS + 1];
    for (int i = 0; i < N_SHEETS; i++)
        names[i] = SHEETS[i].name;
    return names;
}

/* ---- from bandwidth and FLOP/s ---- */

static void fill_tier(struct snug_law_tier *tier, enum snug_tier_kind kind, const char *name,
                      double bytes, double bps, double flops)
{
    *tier = (struct snug_law_tier){
        .kind = kind, .bytes = snug_budget_usable_bytes((uint64_t)bytes), .hop_s = HOP_S};
    snprintf(tier->name, sizeof tier->name, "%s", name);
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        if (!snug__law_is_type(y))
            continue;
        tier->decode_s_per_byte[y] = tier->cache_s_per_byte[y] = 1.0 / (bps * EFFICIENCY_MID);
        tier->prefill_s_per_flop[y] = tier->attention_s_per_flop[y] = 1.0 / (flops * COMPUTE_MID);
    }
    tier->layer_s = LAYER_S;
    tier->token_element_s = ELEMENT_BYTES / (bps * EFFICIENCY_MID);
}

/* Weights on a disk are read through the page cache and computed by the host. */
static void add_disk(struct snug_law *law, double bps, uint64_t bytes)
{
    const struct snug_law_tier *host = &law->tiers[law->n_tiers - 1];
    struct snug_law_tier *disk = &law->tiers[law->n_tiers++];
    *disk = *host;
    disk->kind = SNUG_TIER_DISK;
    disk->bytes = bytes;
    disk->hop_s = 0.0;
    snprintf(disk->name, sizeof disk->name, "disk");
    memset(disk->is_measured, 0, sizeof disk->is_measured);
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++)
        if (snug__law_is_type(y))
            disk->decode_s_per_byte[y] += 1.0 / bps;
}

void snug__law_add_disk(struct snug_law *law, double bps, uint64_t bytes)
{
    if (law->n_tiers > 0 && law->n_tiers < SNUG_TIERS_MAX && bps > 0.0)
        add_disk(law, bps, bytes);
}

static void set_band(struct snug_law *law)
{
    law->decode_lo_frac = EFFICIENCY_LO / EFFICIENCY_MID;
    law->decode_hi_frac = EFFICIENCY_HI / EFFICIENCY_MID;
    law->prefill_lo_frac = COMPUTE_LO / COMPUTE_MID;
    law->prefill_hi_frac = COMPUTE_HI / COMPUTE_MID;
    law->step_s = STEP_S;
    law->ubatch_s = STEP_S;
}

static void law_of_sheet(const struct sheet *s, struct snug_law *law)
{
    const double vram = s->is_unified ? UNIFIED_DEVICE_FRAC * s->ram_gib : s->vram_gib;
    const double ram = s->is_unified ? UNIFIED_HOST_FRAC * s->ram_gib : s->ram_gib;
    if (s->device)
        fill_tier(&law->tiers[law->n_tiers++], SNUG_TIER_DEVICE, s->device, vram * GIB,
                  s->gpu_gbs * GB_S, s->gpu_tflops * TFLOP_S);
    fill_tier(&law->tiers[law->n_tiers++], SNUG_TIER_HOST, "CPU", ram * GIB, s->ram_gbs * GB_S,
              s->cpu_tflops * TFLOP_S);
    add_disk(law, s->disk_gbs * GB_S, DISK_BYTES);
    set_band(law);
    law->n_threads = s->n_threads;
}

snug_status snug__law_preset(const char *name, const struct snug_law_request *request,
                             struct snug_law *out, struct snug_error *err)
{
    const char *words[N_SHEETS + 2] = {"this", "custom"};
    char list[512] = "";
    size_t n = 0;
    for (int i = 0; i < N_SHEETS; i++) {
        words[i + 2] = SHEETS[i].name;
        if (strcmp(SHEETS[i].name, name) == 0) {
            struct snug_law law = {.n_tiers = 0};
            law_of_sheet(&SHEETS[i], &law);
            snprintf(law.machine, sizeof law.machine, "%s", name);
            snprintf(law.source, sizeof law.source, "data sheet");
            if (request->n_threads > 0)
                law.n_threads = request->n_threads;
            *out = law;
            return SNUG_OK;
        }
        if (n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, " %s", SHEETS[i].name);
    }
    const char *near = snug__near_word(name, words, N_SHEETS + 2);
    if (near)
        return snug_fail(err, SNUG_NOT_FOUND, "no machine '%.60s'; did you mean '%s'?", name, near);
    return snug_fail(err, SNUG_NOT_FOUND,
                     "no machine '%.60s'; there are: this, custom, the path of a saved `snug probe "
                     "--json`, and%s",
                     name, list);
}

/* What is not given: two channels of slower memory, a small SSD (AHMP's defaults of custom). */
static const double CUSTOM_GPU_BPS = 200e9, CUSTOM_RAM_BPS = 50e9, CUSTOM_DISK_BPS = 3.5e9;
/* FLOP/s per byte/s, about what the cards and CPUs of the table have (40 to 165, 10 to 13). */
static const double GPU_FLOPS_PER_BYTE = 80.0, CPU_FLOPS_PER_BYTE = 11.0;

snug_status snug__law_custom(const struct snug_law_request *request, struct snug_law *out,
                             struct snug_error *err)
{
    struct snug_law law = {.n_tiers = 0};
    const double gpu_bps = request->gpu_bps > 0.0 ? request->gpu_bps : CUSTOM_GPU_BPS;
    const double ram_bps = request->ram_bps > 0.0 ? request->ram_bps : CUSTOM_RAM_BPS;
    const double disk_bps = request->disk_bps > 0.0 ? request->disk_bps : CUSTOM_DISK_BPS;
    if (request->vram_bytes == 0 && request->memory_bytes == 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "machine custom: give what it has, as in --vram 24G --ram 64G "
                         "[--gpu-bw 1000G --ram-bw 80G --disk-bw 3.5G]");
    if (request->vram_bytes > 0)
        fill_tier(&law.tiers[law.n_tiers++], SNUG_TIER_DEVICE, "GPU", (double)request->vram_bytes,
                  gpu_bps, gpu_bps * GPU_FLOPS_PER_BYTE);
    fill_tier(&law.tiers[law.n_tiers++], SNUG_TIER_HOST, "CPU", (double)request->memory_bytes,
              ram_bps, ram_bps * CPU_FLOPS_PER_BYTE);
    add_disk(&law, disk_bps, request->disk_bytes > 0 ? request->disk_bytes : DISK_BYTES);
    set_band(&law);
    law.n_threads = request->n_threads > 0 ? request->n_threads : 8;
    snprintf(law.machine, sizeof law.machine, "custom");
    snprintf(law.source, sizeof law.source, "as given%s",
             request->ram_bps > 0.0 && (request->vram_bytes == 0 || request->gpu_bps > 0.0)
                 ? ""
                 : ", bandwidths assumed");
    *out = law;
    return SNUG_OK;
}

/* ---- saved probes ---- */

/* The host's tier, with the measured figures in place of the general ones. */
static void take_speeds(const struct snug_machine_speed *speed, struct snug_law_tier *tier)
{
    memset(tier->decode_s_per_byte, 0, sizeof tier->decode_s_per_byte);
    memset(tier->prefill_s_per_flop, 0, sizeof tier->prefill_s_per_flop);
    for (int i = 0; i < speed->n_mul_mat; i++) {
        const struct snug_mul_mat_speed *m = &speed->mul_mat[i];
        const int y = snug__law_type_from_name(m->type);
        if (y < 0 || !(m->decode_bps.mid > 0.0) || !(m->prefill_flops.mid > 0.0))
            continue;
        tier->decode_s_per_byte[y] = 1.0 / m->decode_bps.mid;
        tier->prefill_s_per_flop[y] = 1.0 / m->prefill_flops.mid;
        tier->is_measured[y] = true;
    }
    snug__law_fill_types(tier);
}

static double best_bandwidth(const struct snug_machine_speed *speed)
{
    double most = 0.0;
    for (int i = 0; i < speed->n_bandwidth; i++)
        if (speed->bandwidth[i].bandwidth_bps.mid > most)
            most = speed->bandwidth[i].bandwidth_bps.mid;
    return most;
}

static uint64_t device_bytes(const struct snug_machine *machine, const char **out_name)
{
    for (int i = 0; i < machine->n_devices; i++)
        if (strcmp(machine->devices[i].kind, "gpu") == 0) {
            *out_name = machine->devices[i].name;
            return machine->devices[i].bytes_total;
        }
    return 0;
}

static snug_status law_of_probe(const char *name, const struct snug_machine *machine,
                                const struct snug_machine_speed *speed,
                                const struct snug_law_request *request, struct snug_law *out,
                                struct snug_error *err)
{
    struct snug_law law = {.n_tiers = 0};
    const char *device = "";
    const uint64_t vram = device_bytes(machine, &device);
    const double measured = best_bandwidth(speed);
    const double bps = request->ram_bps > 0.0 ? request->ram_bps : measured;
    const bool has_types = speed->n_mul_mat > 0;
    if (!(bps > 0.0))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: no measured speeds in it; make it with `snug probe --measure --json` "
                         "there, or give --ram-bw",
                         name);
    if (vram > 0 && request->gpu_bps > 0.0)
        fill_tier(&law.tiers[law.n_tiers++], SNUG_TIER_DEVICE, device, (double)vram,
                  request->gpu_bps, request->gpu_bps * GPU_FLOPS_PER_BYTE);
    struct snug_law_tier *host = &law.tiers[law.n_tiers++];
    fill_tier(host, SNUG_TIER_HOST, "CPU", (double)machine->ram_bytes, bps,
              bps * CPU_FLOPS_PER_BYTE);
    if (machine->memory_limit_bytes.is_known &&
        machine->memory_limit_bytes.value < (double)machine->ram_bytes)
        host->bytes = snug_budget_usable_bytes((uint64_t)machine->memory_limit_bytes.value);
    set_band(&law);
    if (has_types) {
        take_speeds(speed, host);
        law.decode_lo_frac = PROBE_LO;
        law.decode_hi_frac = law.prefill_hi_frac = PROBE_HI;
        law.prefill_lo_frac = PROBE_PREFILL_LO;
    }
    snug__law_add_disk(&law,
                       request->disk_bps > 0.0    ? request->disk_bps
                       : speed->disk_bps.is_known ? speed->disk_bps.value
                                                  : CUSTOM_DISK_BPS,
                       DISK_BYTES);
    law.n_threads =
        has_types && speed->n_threads > 0 ? speed->n_threads : machine->n_threads_usable;
    snprintf(law.machine, sizeof law.machine, "%.120s", machine->cpu_name);
    snprintf(law.source, sizeof law.source, "%s%s",
             has_types ? "kernels measured there" : "memory bandwidth alone",
             vram > 0 && request->gpu_bps <= 0.0 ? "; its GPU left out: give --gpu-bw" : "");
    *out = law;
    return SNUG_OK;
}

/* "0.1" of "0.1.0": what files of one and the same format have in common. */
static bool is_same_version(const char *a, const char *b)
{
    const size_t n = strcspn(b, ".");
    const size_t m = b[n] ? n + 1 + strcspn(b + n + 1, ".") : n;
    return strncmp(a, b, m) == 0 && (a[m] == '.' || a[m] == '\0');
}

snug_status snug__law_from_probe(const char *name, const char *text, size_t n,
                                 const struct snug_law_request *request, struct snug_law *out,
                                 struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_machine *machine = calloc(1, sizeof *machine);
    struct snug_machine_speed *speed = calloc(1, sizeof *speed);
    snug_status status = machine && speed ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "%s", name);
    if (status == SNUG_OK)
        status = snug_json_parse(name, text, n, &doc, err);
    if (status != SNUG_OK)
        goto done;
    const struct snug_json_node *root = snug_json_root(doc);
    const char *version = snug_json_get_string(root, "snug", NULL);
    if (!version)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: not a saved probe (no \"snug\" version in it); make one with `snug "
                           "probe --measure --json`",
                           name);
    else if (!is_same_version(version, snug_version()))
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: written by snug %.20s, this is %s: save it again there with `snug "
                           "probe --measure --json` of this version",
                           name, version, snug_version());
    if (status == SNUG_OK) {
        status = snug_machine_from_json(snug_json_get(root, "machine"), machine, err);
        if (status == SNUG_OK && snug_json_get(root, "speed"))
            status = snug_machine_speed_from_json(snug_json_get(root, "speed"), speed, err);
        if (status != SNUG_OK)
            snug_fail_prefix(err, status, "%s", name);
    }
    if (status == SNUG_OK)
        status = law_of_probe(name, machine, speed, request, out, err);
done:
    snug_json_free(doc);
    free(machine);
    free(speed);
    return status;
}
