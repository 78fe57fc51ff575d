/* snug/law.h: how fast a machine is, as a law that is linear in bytes and FLOPs.
 *
 * A decode step costs, summed over tiers: the weight bytes read, by type; a fixed time per layer;
 * the cache bytes read by attention; a fixed time per step. Prefill costs FLOPs by type, a fixed
 * time per layer and per ubatch, and attention. The coefficients are fitted to measurements of the
 * engine on this machine, or come from data sheets with a wide interval. */
#ifndef SNUG_LAW_H
#define SNUG_LAW_H

#include "snug/machine.h"
#include "snug/model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_TIERS_MAX 3

enum snug_tier_kind { SNUG_TIER_DEVICE, SNUG_TIER_HOST, SNUG_TIER_DISK };

/* Arrays by type are indexed by ggml_type; every type that weights can be quantised to has a figure
 * (interpolated where it was not measured; interpolated is told by is_measured). */
struct snug_law_tier {
    enum snug_tier_kind kind;
    char name[64];  /* ggml's device name, "CPU", "disk" */
    uint64_t bytes; /* memory of the tier that may be used, reserve already subtracted */
    bool is_measured[SNUG_MODEL_TYPES_MAX];
    double decode_s_per_byte[SNUG_MODEL_TYPES_MAX];    /* weights, one token at a time */
    double prefill_s_per_flop[SNUG_MODEL_TYPES_MAX];   /* 2 * elements * tokens */
    double cache_s_per_byte[SNUG_MODEL_TYPES_MAX];     /* K and V read by one decode step */
    double attention_s_per_flop[SNUG_MODEL_TYPES_MAX]; /* prefill, by the type of K and V */
    /* Decode: query heads share what is read of the cache, but not what is computed with it. */
    double attention_step_s_per_flop[SNUG_MODEL_TYPES_MAX];
    double layer_s;         /* per layer and decode step, and per layer and ubatch of prefill */
    double layer_token_s;   /* per layer and token of prefill */
    double token_element_s; /* per layer, token and element of its width, prefill */
    double hop_s;           /* per step when the activations pass to the next tier */
};

struct snug_law {
    char machine[SNUG_NAME_MAX];  /* "this machine", "rtx4090" */
    char build[64];               /* of libllama and ggml, "" for a data sheet */
    char source[SNUG_SOURCE_MAX]; /* "calibrated in 24 s on 2026-11-27", "data sheet" */
    struct snug_law_tier tiers[SNUG_TIERS_MAX]; /* fastest first; kinds in the order of the enum */
    int n_tiers;
    int n_threads; /* that the host's figures hold for */
    /* Speeds times these; of stored trials (snug_law_correct). 0 counts as 1. */
    double decode_correction, prefill_correction;
    double step_s;   /* per decode step, outside layers */
    double ubatch_s; /* per ubatch of prefill */
    /* Truth lies between prediction * lo and prediction * hi in 90 of 100 (tokens per second). */
    double decode_lo_frac, decode_hi_frac, prefill_lo_frac, prefill_hi_frac;
};

/* What one sequence of decode reads and one prompt computes, by tier. The weights that are looked
 * up by row (the token embedding, unless it is also the output) are not counted; of the experts of
 * a mixture, those of one token. */
struct snug_law_load {
    uint64_t weight_bytes[SNUG_TIERS_MAX][SNUG_MODEL_TYPES_MAX];
    uint64_t weight_elements[SNUG_TIERS_MAX][SNUG_MODEL_TYPES_MAX];
    /* Part of the bytes and elements that a prompt meets with its last token alone, whose logits
     * are the only ones: the output head, and what follows attention in the last layer. */
    uint64_t once_bytes[SNUG_TIERS_MAX][SNUG_MODEL_TYPES_MAX];
    uint64_t once_elements[SNUG_TIERS_MAX][SNUG_MODEL_TYPES_MAX];
    int64_t n_layer[SNUG_TIERS_MAX];
    uint64_t cache_bytes_per_token[SNUG_TIERS_MAX]; /* K and V of one position, all layers there */
    int type_k, type_v;
    int64_t n_head, n_embd_head; /* of attention, for its FLOPs */
    int64_t n_embd;              /* width of a layer */
    int64_t n_swa;               /* sliding window, 0 for none */
    double swa_frac;             /* share of the layers that have it */
    int64_t n_ubatch;
    int64_t n_parallel; /* sequences that decode together; 0 counts as 1 */
    int n_hops;         /* changes of tier along the layers */
};

/* The load of a model that lies on one tier whole. types: one ggml_type per tensor in the model's
 * order, or NULL for those it has; K and V as ggml_type. */
void snug_law_load_init(const struct snug_model *model, const int *types, int tier, int type_k,
                        int type_v, int64_t n_ubatch, struct snug_law_load *out);
/* Add one tensor of a model, as a type and on a tier; nothing for one that is looked up by row.
 * What a placement of its own is built from, together with n_layer and cache_bytes_per_token. */
void snug_law_load_add(struct snug_law_load *load, const struct snug_model *model, int tensor,
                       int type, int tier);

struct snug_prediction {
    double value, lo, hi; /* a 90 % interval */
};

/* Tokens per second of each sequence with `depth` tokens in its cache. Several share the reading of
 * weights until their arithmetic takes longer than that. Cost: some microseconds. */
struct snug_prediction snug_law_decode_tps(const struct snug_law *law,
                                           const struct snug_law_load *load, int64_t depth);
/* Tokens per second over a prompt of n_prompt tokens behind `depth`. */
struct snug_prediction snug_law_prefill_tps(const struct snug_law *law,
                                            const struct snug_law_load *load, int64_t n_prompt,
                                            int64_t depth);

/* ---- what stored trials say of a law ---- */

struct snug_law_residual {
    bool is_prefill;
    bool is_same_model;         /* by hash; else another one on this machine */
    double predicted, measured; /* tokens per second; others than positive ones do not count */
};
/* Set the law's corrections from trials of this machine and build (the caller picks those that are
 * VALID or NOTE). Per phase the median ratio of the same model's, drawn to that of all, drawn to 1:
 * with few trials it moves little. Ratios beyond SNUG_LAW_CORRECTION_MAX count as that. Pure. */
#define SNUG_LAW_CORRECTION_MAX 4.0
void snug_law_correct(struct snug_law *law, const struct snug_law_residual *residuals, int n);

/* Names of machine presets, NULL at the end: "rtx4090". */
const char *const *snug_law_presets(void);
/* What `snug plan --machine` names. Zero: not given. */
struct snug_law_request {
    const char
        *machine; /* "this", a preset, "custom", or the file of a saved `snug probe --json` */
    uint64_t memory_bytes, vram_bytes, disk_bytes; /* limits; of custom: what is there */
    double gpu_bps, ram_bps, disk_bps;             /* of custom */
    int n_threads;   /* of the host; 0: all usable. Between those measured it is interpolated */
    const char *rpc; /* of "this": an ggml RPC server "HOST:PORT" as its device; vram_bytes
                        says how much of its memory may be used; NULL: none */
    const char *cache_folder; /* where calibrations are kept; NULL: the user's */
    bool is_fresh;            /* calibrate again */
    const volatile int *stop;
    void (*progress)(const char *phase, void *data);
    void *progress_data;
};
/* The law of a machine; "this" is calibrated once (30 s at most) and kept by fingerprint and build.
 * Errors  SNUG_NOT_FOUND: names near ones; SNUG_BAD_INPUT: a file of another version, says so. */
snug_status snug_law_open(const struct snug_law_request *request, struct snug_law *out,
                          struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
