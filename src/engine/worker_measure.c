/* Timing inside the worker. Same calls as llama-bench times (llama_decode and llama_synchronize,
 * random tokens, no sampler), in blocks, so that spread is known and slow starts stay apart.
 *
 * A block of prefill is n_prompt tokens of every sequence at depth n_depth; a block of decode is
 * n_gen single tokens of every sequence. Warm-up blocks come first, until their spread and slope
 * have settled, and are kept apart. Beside it all a thread samples the machine (snug/meters.h). */
#include "engine/worker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "engine/worker_batch.h"
#include "engine/worker_session.h"
#include "engine/worker_tokens.h"
#include "snug/meters.h"
#include "snug/stats.h"

/* Settled: the last two blocks within the first, or the last three with a spread within the second
 * and a slope per block within the third; all relative. */
static const double SETTLED_PAIR_FRAC = 0.03, SETTLED_SPREAD_FRAC = 0.06, SETTLED_SLOPE_FRAC = 0.02;
/* A block of decode that takes longer than this many phase times is cut after a whole token: the
 * rate of what was done counts. Threads that spin on a CPU someone else uses can slow a token from
 * 20 ms to seconds, and one such config must not eat the budget of the others. */
static const double BLOCK_CUT_PHASES = 2.0;
#define BLOCK_CUT_TOKENS_MIN 2
#define BLOCK_TEXTS_MAX 8
static const size_t GAPS_MAX = 65536;

struct bench {
    struct snug__worker *w;
    const struct snug_workload *workload;
    const struct snug_effort *effort;
    struct snug_measurement *m;
    struct snug__tokens tokens;
    struct llama_batch batch; /* room for the larger of n_batch and n_parallel */
    int64_t n_vocab;
    int64_t n_cached; /* tokens of every sequence that are in the cache */
    double ttft_s[SNUG_BLOCKS_MAX], first_sample_s[SNUG_BLOCKS_MAX];
    double block_ttft_s, block_first_sample_s;
    size_t gaps_cap;
    bool is_cut; /* the last block was cut short */
    struct snug_meters *meters;
    /* Of a block of sessions: what decode_block_tps, turn_s and reused_frac are made of. */
    double block_decode_tps, block_turn_s, block_reused_frac;
    double turn_s[SNUG_BLOCKS_MAX];
};

/* Feed n tokens to every sequence after n_cached, in batches of n_batch; only the last token of
 * each sequence has logits. Tokens are those of the block's prompt, or any where it is filling. */
static snug_status feed(struct bench *b, int64_t n, bool is_prompt, const char *what,
                        struct snug_error *err)
{
    const int64_t n_batch = b->w->settings.n_batch;
    for (int64_t seq = 0; seq < b->workload->n_parallel; seq++) {
        for (int64_t done = 0; done < n;) {
            b->batch.n_tokens = 0;
            while (done < n && b->batch.n_tokens < n_batch) {
                const llama_token token = is_prompt ? snug__tokens_prompt(&b->tokens, done)
                                                    : snug__tokens_step(&b->tokens);
                snug__batch_add(&b->batch, token, b->n_cached + done, seq, done + 1 == n);
                done++;
            }
            const snug_status status = snug__worker_decode(b->w, b->batch, what, err);
            if (status != SNUG_OK)
                return status;
        }
    }
    llama_synchronize(b->w->context);
    b->n_cached += n;
    return SNUG_OK;
}

/* Forget everything behind the depth; a memory that cannot be cut is cleared and filled again. */
static snug_status rewind_to_depth(struct bench *b, struct snug_error *err)
{
    const int64_t depth = b->workload->n_depth;
    llama_memory_t memory = llama_get_memory(b->w->context);
    if (b->n_cached == depth)
        return SNUG_OK;
    if (depth > 0 && b->n_cached > depth && llama_memory_seq_rm(memory, -1, (llama_pos)depth, -1)) {
        b->n_cached = depth;
        return SNUG_OK;
    }
    llama_memory_clear(memory, false);
    b->n_cached = 0;
    return depth > 0 ? feed(b, depth, false, "filling the depth", err) : SNUG_OK;
}

/* Greedy choice over the logits of the last output: what a first token costs after prefill. */
static void sample_first(struct bench *b)
{
    const float *logits = llama_get_logits_ith(b->w->context, -1);
    int64_t best = 0;
    for (int64_t i = 1; logits && i < b->n_vocab; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    volatile int64_t keep = best;
    (void)keep;
}

/* Tokens of the first sequence that the cache really holds: counted by libllama, not by us. */
static int64_t n_in_cache(const struct bench *b)
{
    return (int64_t)llama_memory_seq_pos_max(llama_get_memory(b->w->context), 0) + 1;
}

/* One prompt behind the depth, timed up to the first choice of a token. */
static snug_status prefill_prompt(struct bench *b, double *out_s, int64_t *out_n,
                                  struct snug_error *err)
{
    snug_status status = rewind_to_depth(b, err);
    if (status != SNUG_OK)
        return status;
    const int64_t n_hits = n_in_cache(b) - b->workload->n_depth;
    if (n_hits > b->m->n_cached_hits)
        b->m->n_cached_hits = n_hits;
    *out_n = snug__tokens_next_block(&b->tokens);
    const double start = snug_clock_s();
    status = feed(b, *out_n, true, "prefill", err);
    const double end = snug_clock_s();
    sample_first(b);
    *out_s = end - start;
    b->block_first_sample_s += snug_clock_s() - end;
    return status;
}

/* A block is one prompt of random tokens, or some texts of a workload one after the other: blocks
 * of few texts are alike, each text in each. Times of first tokens are means over the block. */
static snug_status prefill_block(struct bench *b, double *out_tps, struct snug_error *err)
{
    const int n_texts = b->tokens.n_prompts;
    const int n_prompts = n_texts < 1 ? 1 : n_texts < BLOCK_TEXTS_MAX ? n_texts : BLOCK_TEXTS_MAX;
    double total_s = 0.0;
    int64_t n_total = 0;
    b->block_first_sample_s = 0.0;
    for (int i = 0; i < n_prompts; i++) {
        double s = 0.0;
        int64_t n = 0;
        const snug_status status = prefill_prompt(b, &s, &n, err);
        if (status != SNUG_OK)
            return status;
        total_s += s;
        n_total += n;
    }
    b->block_first_sample_s /= n_prompts;
    b->block_ttft_s = total_s / n_prompts + b->block_first_sample_s;
    /* One decode call cannot be cut; but a block this long counts at once and is the last. */
    b->is_cut = b->effort->may_cut && total_s > BLOCK_CUT_PHASES * b->effort->phase_s;
    *out_tps = (double)(n_total * b->workload->n_parallel) / total_s;
    return SNUG_OK;
}

static void keep_gap(struct bench *b, double gap_s)
{
    struct snug_measurement *m = b->m;
    if ((size_t)m->n_gaps >= GAPS_MAX)
        return;
    if ((size_t)m->n_gaps == b->gaps_cap) {
        const size_t cap = b->gaps_cap ? b->gaps_cap * 2 : 256;
        double *grown = realloc(m->gaps_s, cap * sizeof *grown);
        if (!grown)
            return; /* gaps are a by-product: speeds do not need them */
        m->gaps_s = grown;
        b->gaps_cap = cap;
    }
    m->gaps_s[m->n_gaps++] = gap_s;
}

static snug_status decode_block(struct bench *b, double *out_tps, struct snug_error *err)
{
    snug_status status = rewind_to_depth(b, err);
    if (status != SNUG_OK)
        return status;
    const double start = snug_clock_s();
    const double cut_s = BLOCK_CUT_PHASES * b->effort->phase_s;
    double last = start;
    int64_t n_done = 0, n_gen = b->workload->n_gen;
    if (b->effort->n_gen_max > 0 && b->effort->n_gen_max < n_gen)
        n_gen = b->effort->n_gen_max;
    while (n_done < n_gen &&
           (!b->effort->may_cut || n_done < BLOCK_CUT_TOKENS_MIN || last - start < cut_s)) {
        b->batch.n_tokens = 0;
        for (int64_t seq = 0; seq < b->workload->n_parallel; seq++)
            snug__batch_add(&b->batch, snug__tokens_step(&b->tokens), b->n_cached, seq, true);
        status = snug__worker_decode(b->w, b->batch, "decode", err);
        if (status != SNUG_OK)
            return status;
        llama_synchronize(b->w->context);
        b->n_cached++;
        n_done++;
        const double now = snug_clock_s();
        keep_gap(b, now - last);
        last = now;
    }
    b->is_cut = n_done < n_gen;
    /* Before the first token there was the depth; a cut block is short on purpose. */
    const bool is_short = b->is_cut || n_gen < b->workload->n_gen;
    const int64_t n_output = is_short ? -1 : n_in_cache(b) - b->workload->n_depth;
    if (b->m->n_output < 0 || n_output < b->m->n_output)
        b->m->n_output = n_output;
    *out_tps = (double)(n_done * b->workload->n_parallel) / (last - start);
    return SNUG_OK;
}

/* Every session of the workload once (of many, some), each from an empty cache to its last turn. */
static snug_status session_block(struct bench *b, double *out_tps, struct snug_error *err)
{
    struct snug__session_turn total = {0};
    const int n_sessions =
        b->tokens.n_sessions < BLOCK_TEXTS_MAX ? b->tokens.n_sessions : BLOCK_TEXTS_MAX;
    int n_turns = 0;
    for (int i = 0; i < n_sessions; i++) {
        const int n = b->tokens.sessions[i].n_turns;
        struct snug__session_turn *turns = calloc((size_t)n, sizeof *turns);
        if (!turns)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d turns", n);
        b->n_cached = -1; /* whatever a session leaves */
        snug_status status = rewind_to_depth(b, err);
        if (status == SNUG_OK)
            status = snug__worker_session(b->w, &b->tokens, i, b->n_cached, turns, err);
        for (int k = 0; k < n && status == SNUG_OK; k++) {
            total.n_new += turns[k].n_new;
            total.n_reused += turns[k].n_reused - b->workload->n_depth;
            total.n_gen += turns[k].n_gen;
            total.prefill_s += turns[k].prefill_s;
            total.decode_s += turns[k].decode_s;
            total.turn_s += turns[k].turn_s;
        }
        free(turns);
        if (status != SNUG_OK)
            return status;
        n_turns += n;
    }
    b->n_cached = -1;
    b->block_first_sample_s = 0.0;
    b->block_ttft_s = total.prefill_s / n_turns;
    b->block_turn_s = total.turn_s / n_turns;
    b->block_decode_tps = (double)total.n_gen / total.decode_s;
    b->block_reused_frac = (double)total.n_reused / (double)(total.n_reused + total.n_new);
    b->is_cut = b->effort->may_cut && total.turn_s > BLOCK_CUT_PHASES * b->effort->phase_s;
    *out_tps = (double)total.n_new / total.prefill_s;
    return SNUG_OK;
}

typedef snug_status (*block_fn)(struct bench *b, double *out_tps, struct snug_error *err);

struct phase {
    const char *name, *warm_name;
    enum snug_meters_phase meters_phase;
    block_fn block;
    double *block_tps;
    int *n_blocks;
    double *warmup_block_tps;
    int *n_warmup_blocks;
    double *warmup_tps;
};

static bool is_settled(const double *tps, int n)
{
    if (n < 2)
        return false;
    const double a = tps[n - 2], b = tps[n - 1];
    if (fabs(b - a) <= SETTLED_PAIR_FRAC * fmin(a, b))
        return true;
    if (n < 3)
        return false;
    const double first = tps[n - 3], middle = snug_stats_median(tps + n - 3, 3);
    const double spread = fmax(fmax(first, a), b) - fmin(fmin(first, a), b);
    return spread <= SETTLED_SPREAD_FRAC * middle &&
           fabs(b - first) / 2.0 <= SETTLED_SLOPE_FRAC * middle;
}

/* Blocks until they settle or the cap is reached. A block that was cut is the only one, and counts:
 * such a config is not warmed up again and again. *out_counts then, with its speed in *out_tps. */
static snug_status warm_up(struct bench *b, const struct phase *p, double *out_tps,
                           bool *out_counts, struct snug_error *err)
{
    const int n_most = b->effort->warmup_max < SNUG_WARMUP_BLOCKS_MAX ? b->effort->warmup_max
                                                                      : SNUG_WARMUP_BLOCKS_MAX;
    double spent_s = 0.0;
    int n = 0;
    *out_counts = false;
    b->is_cut = false;
    while (n < n_most && !is_settled(p->warmup_block_tps, n) &&
           !(n >= 2 && spent_s > b->effort->phase_s)) {
        double tps = 0.0;
        snug__worker_phase(b->w, p->warm_name, n + 1);
        const int n_gaps = b->m->n_gaps;
        const double start = snug_clock_s();
        const snug_status status = p->block(b, &tps, err);
        if (status != SNUG_OK)
            return status;
        spent_s += snug_clock_s() - start;
        if (b->is_cut) {
            b->m->warnings |= SNUG_WARN(UNSETTLED);
            *out_tps = tps;
            *out_counts = true;
            return SNUG_OK;
        }
        b->m->n_gaps = n_gaps;
        p->warmup_block_tps[n++] = tps;
        *p->n_warmup_blocks = n;
        *p->warmup_tps = tps;
    }
    if (!is_settled(p->warmup_block_tps, n))
        b->m->warnings |= SNUG_WARN(UNSETTLED);
    b->m->n_output = -1; /* of timed blocks alone */
    return SNUG_OK;
}

static bool is_enough(const struct bench *b, const struct phase *p, double timed_s)
{
    const int n = *p->n_blocks;
    if (n >= b->effort->blocks_max || n >= SNUG_BLOCKS_MAX || b->is_cut)
        return true;
    if (n < b->effort->blocks_min)
        return false;
    const double spread =
        snug_stats_mad(p->block_tps, (size_t)n) / snug_stats_median(p->block_tps, (size_t)n);
    /* At least three blocks before a small spread means anything. */
    return timed_s >= b->effort->phase_s || (n >= 3 && spread <= b->effort->spread_frac);
}

static void keep_block(struct bench *b, const struct phase *p, double tps)
{
    if (p->block != decode_block) {
        b->ttft_s[*p->n_blocks] = b->block_ttft_s;
        b->first_sample_s[*p->n_blocks] = b->block_first_sample_s;
    }
    if (p->block == session_block) {
        b->turn_s[*p->n_blocks] = b->block_turn_s;
        b->m->decode_block_tps[b->m->n_decode_blocks++] = b->block_decode_tps;
        b->m->reused_frac = b->block_reused_frac;
    }
    p->block_tps[(*p->n_blocks)++] = tps;
}

static snug_status run_phase(struct bench *b, const struct phase *p, struct snug_error *err)
{
    double tps = 0.0;
    bool counts = false;
    snug_status status = warm_up(b, p, &tps, &counts, err);
    if (status != SNUG_OK)
        return status;
    if (counts)
        keep_block(b, p, tps);
    snug_meters_phase(b->meters, p->meters_phase);
    const double start = snug_clock_s();
    while (!is_enough(b, p, snug_clock_s() - start)) {
        snug__worker_phase(b->w, p->name, *p->n_blocks + 1);
        status = p->block(b, &tps, err);
        if (status != SNUG_OK)
            break;
        keep_block(b, p, tps);
    }
    snug_meters_phase(b->meters, SNUG_METERS_NONE);
    return status;
}

static void summarise(struct bench *b)
{
    struct snug_measurement *m = b->m;
    if (m->n_prefill_blocks > 0) {
        const size_t n = (size_t)m->n_prefill_blocks;
        m->prefill_tps = snug_stats_median(m->prefill_block_tps, n);
        m->ttft_s = snug_stats_median(b->ttft_s, n);
        m->first_sample_s = snug_stats_median(b->first_sample_s, n);
        if (b->tokens.n_sessions > 0)
            m->turn_s = snug_stats_median(b->turn_s, n);
    }
    if (m->n_decode_blocks > 0)
        m->decode_tps = snug_stats_median(m->decode_block_tps, (size_t)m->n_decode_blocks);
    if (m->n_gaps > 0) {
        const bool has_enough = m->n_gaps >= snug_stats_quantile_needs(0.95);
        m->tpot_p50_s = snug_stats_quantile(m->gaps_s, (size_t)m->n_gaps, 0.5);
        m->tpot_p95_s = snug_stats_quantile(m->gaps_s, (size_t)m->n_gaps, has_enough ? 0.95 : 1.0);
    }
}

/* Totals and samples of the run into the measurement. */
static void take_conditions(struct bench *b)
{
    struct snug_measurement *m = b->m;
    struct snug_conditions *c = &m->conditions;
    snug_meters_stop(b->meters, c, &m->samples, &m->n_samples);
    b->meters = NULL;
    c->resident_before_frac = b->w->resident_before_frac;
    m->throttled_s = c->throttled_s > 0.0 ? c->throttled_s : 0.0;
    m->other_load_frac = c->other_load_frac > 0.0 ? c->other_load_frac : 0.0;
    m->load_average = c->load_average > 0.0 ? c->load_average : 0.0;
}

snug_status snug__worker_measure(struct snug__worker *w, const struct snug_workload *workload,
                                 const struct snug_effort *effort, struct snug_measurement *out,
                                 struct snug_error *err)
{
    struct bench b = {.w = w, .workload = workload, .effort = effort, .m = out};
    const int64_t parallel = workload->n_parallel;
    const int64_t room = w->settings.n_batch > parallel ? w->settings.n_batch : parallel;
    const struct llama_vocab *vocab = llama_model_get_vocab(w->model);
    snug_status status = snug__tokens_init(&b.tokens, vocab, workload, 1, err);
    if (status != SNUG_OK)
        return status;
    b.batch = llama_batch_init((int32_t)room, 0, 1);
    b.n_vocab = llama_vocab_n_tokens(vocab);
    out->n_output = -1;
    const struct snug_meters_options meters = {.root = "",
                                               .model_path = w->model_path,
                                               .idle_w = w->idle_w,
                                               .is_sampling_off = effort->is_sampling_off};
    if (snug_meters_start(&meters, &b.meters, NULL) != SNUG_OK)
        b.meters = NULL; /* speeds do not need it; its figures stay unknown */
    llama_memory_clear(llama_get_memory(w->context), false);
    const struct phase prefill = {"prefill",
                                  "warm-up prefill",
                                  SNUG_METERS_PREFILL,
                                  prefill_block,
                                  out->prefill_block_tps,
                                  &out->n_prefill_blocks,
                                  out->warmup_prefill_block_tps,
                                  &out->n_warmup_prefill_blocks,
                                  &out->warmup_prefill_tps};
    const struct phase decode = {"decode",
                                 "warm-up decode",
                                 SNUG_METERS_DECODE,
                                 decode_block,
                                 out->decode_block_tps,
                                 &out->n_decode_blocks,
                                 out->warmup_decode_block_tps,
                                 &out->n_warmup_decode_blocks,
                                 &out->warmup_decode_tps};
    struct phase session = prefill;
    session.name = "session";
    session.warm_name = "warm-up session";
    session.block = session_block;
    if (b.tokens.n_sessions > 0)
        status = run_phase(&b, &session, err);
    else if (effort->want_prefill && workload->n_prompt > 0)
        status = run_phase(&b, &prefill, err);
    if (status == SNUG_OK && effort->want_decode && workload->n_gen > 0 && b.tokens.n_sessions == 0)
        status = run_phase(&b, &decode, err);
    take_conditions(&b);
    if (status == SNUG_OK)
        summarise(&b);
    llama_batch_free(b.batch);
    snug__tokens_clear(&b.tokens);
    return status;
}
