/* Timing inside the worker. Same calls as llama-bench times (llama_decode and llama_synchronize,
 * random tokens, no sampler), in blocks, so that spread is known and slow starts stay apart.
 *
 * A block of prefill is n_prompt tokens of every sequence at depth n_depth; a block of decode is
 * n_gen single tokens of every sequence. The first blocks are warm-up until two in a row agree. */
#include "engine/worker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "base/process.h"
#include "snug/stats.h"

#define WARMUP_BLOCKS_MAX 4
static const double SETTLED_FRAC = 0.05;    /* two blocks in a row this close: settled */
static const double NOISY_FRAC = 0.05;      /* MAD / median of timed blocks */
static const double SLOW_FIRST_FRAC = 0.10; /* first timed block slower than the rest by this */
static const double OTHER_LOAD_FRAC = 0.10; /* share of all CPU time taken by others */
/* A block of decode that takes longer than this many phase times is cut after a whole token: the
 * rate of what was done counts. Threads that spin on a CPU someone else uses can slow a token from
 * 20 ms to seconds, and one such config must not eat the budget of the others. */
static const double BLOCK_CUT_PHASES = 2.0;
#define BLOCK_CUT_TOKENS_MIN 2
static const size_t GAPS_MAX = 65536;

struct bench {
    struct snug__worker *w;
    const struct snug_workload *workload;
    const struct snug_effort *effort;
    struct snug_measurement *m;
    struct snug_rng rng;
    struct llama_batch batch; /* room for the larger of n_batch and n_parallel */
    int64_t n_vocab;
    int64_t n_cached; /* tokens of every sequence that are in the cache */
    double ttft_s[SNUG_BLOCKS_MAX];
    double block_ttft_s;
    size_t gaps_cap;
    bool is_cut; /* the last block was cut short */
};

/* -2 is libllama's word for an allocation that failed. */
static snug_status decode_failed(struct bench *b, int rc, const char *what, struct snug_error *err)
{
    b->w->outcome = rc == -2 ? SNUG_TRIAL_OOM : SNUG_TRIAL_REFUSED;
    return snug_fail(err, SNUG_UNSUPPORTED, "llama_decode returned %d during %s: %s", rc, what,
                     snug__llama_log.last_error[0] ? snug__llama_log.last_error
                     : rc == 1                     ? "the cache is full"
                                                   : "no reason given");
}

static void add_token(struct bench *b, int64_t seq, int64_t pos, bool is_output)
{
    struct llama_batch *batch = &b->batch;
    const int32_t i = batch->n_tokens++;
    batch->token[i] = (llama_token)snug_rng_below(&b->rng, (uint64_t)b->n_vocab);
    batch->pos[i] = (llama_pos)pos;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = (llama_seq_id)seq;
    batch->logits[i] = is_output;
}

/* Feed n tokens to every sequence after n_cached, in batches of n_batch; only the last token of
 * each sequence has logits. */
static snug_status feed(struct bench *b, int64_t n, const char *what, struct snug_error *err)
{
    const int64_t n_batch = b->w->settings.n_batch;
    for (int64_t seq = 0; seq < b->workload->n_parallel; seq++) {
        for (int64_t done = 0; done < n;) {
            b->batch.n_tokens = 0;
            while (done < n && b->batch.n_tokens < n_batch) {
                add_token(b, seq, b->n_cached + done, done + 1 == n);
                done++;
            }
            const int rc = llama_decode(b->w->context, b->batch);
            if (rc != 0)
                return decode_failed(b, rc, what, err);
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
    return depth > 0 ? feed(b, depth, "filling the depth", err) : SNUG_OK;
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

static snug_status prefill_block(struct bench *b, double *out_tps, struct snug_error *err)
{
    snug_status status = rewind_to_depth(b, err);
    if (status != SNUG_OK)
        return status;
    const double start = snug_clock_s();
    status = feed(b, b->workload->n_prompt, "prefill", err);
    const double end = snug_clock_s();
    sample_first(b);
    b->block_ttft_s = snug_clock_s() - start;
    /* One decode call cannot be cut; but a block this long counts at once and is the last. */
    b->is_cut = b->effort->may_cut && end - start > BLOCK_CUT_PHASES * b->effort->phase_s;
    *out_tps = (double)(b->workload->n_prompt * b->workload->n_parallel) / (end - start);
    return status;
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
    int64_t n_done = 0;
    while (n_done < b->workload->n_gen &&
           (!b->effort->may_cut || n_done < BLOCK_CUT_TOKENS_MIN || last - start < cut_s)) {
        b->batch.n_tokens = 0;
        for (int64_t seq = 0; seq < b->workload->n_parallel; seq++)
            add_token(b, seq, b->n_cached, true);
        const int rc = llama_decode(b->w->context, b->batch);
        if (rc != 0)
            return decode_failed(b, rc, "decode", err);
        llama_synchronize(b->w->context);
        b->n_cached++;
        n_done++;
        const double now = snug_clock_s();
        keep_gap(b, now - last);
        last = now;
    }
    b->is_cut = n_done < b->workload->n_gen;
    *out_tps = (double)(n_done * b->workload->n_parallel) / (last - start);
    return SNUG_OK;
}

typedef snug_status (*block_fn)(struct bench *b, double *out_tps, struct snug_error *err);

struct phase {
    const char *name, *warm_name;
    block_fn block;
    double *block_tps;
    int *n_blocks;
    double *warmup_tps;
};

/* Blocks until two in a row agree; the second of them is the first that counts. A block that was
 * cut counts at once: such a config is not warmed up again and again. */
static snug_status warm_up(struct bench *b, const struct phase *p, double *out_first_tps,
                           struct snug_error *err)
{
    double previous = 0.0, spent_s = 0.0;
    for (int i = 0; i < WARMUP_BLOCKS_MAX; i++) {
        double tps = 0.0;
        snug__worker_phase(b->w, p->warm_name, i + 1);
        const bool is_last = i + 1 == WARMUP_BLOCKS_MAX || spent_s > b->effort->phase_s;
        b->is_cut = false;
        const int n_gaps = b->m->n_gaps;
        const double start = snug_clock_s();
        const snug_status status = p->block(b, &tps, err);
        if (status != SNUG_OK)
            return status;
        spent_s += snug_clock_s() - start;
        *out_first_tps = tps;
        const bool is_settled = i > 0 && fabs(tps - previous) <= SETTLED_FRAC * previous;
        if ((is_last && !is_settled && i > 0) || b->is_cut)
            b->m->warnings |= SNUG_WARN(UNSETTLED);
        if (is_settled || b->is_cut || (is_last && i > 0))
            return SNUG_OK;
        b->m->n_gaps = n_gaps;
        *p->warmup_tps = tps;
        previous = tps;
    }
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

static snug_status run_phase(struct bench *b, const struct phase *p, struct snug_error *err)
{
    double tps = 0.0;
    snug_status status = warm_up(b, p, &tps, err);
    if (status != SNUG_OK)
        return status;
    const double start = snug_clock_s();
    for (;;) {
        if (p->block == prefill_block)
            b->ttft_s[*p->n_blocks] = b->block_ttft_s;
        p->block_tps[(*p->n_blocks)++] = tps;
        if (is_enough(b, p, snug_clock_s() - start))
            return SNUG_OK;
        snug__worker_phase(b->w, p->name, *p->n_blocks + 1);
        status = p->block(b, &tps, err);
        if (status != SNUG_OK)
            return status;
    }
}

static void judge(struct snug_measurement *m, const double *tps, int n)
{
    if (n < 2)
        return;
    const double median = snug_stats_median(tps, (size_t)n);
    if (n >= 3 && snug_stats_mad(tps, (size_t)n) > NOISY_FRAC * median)
        m->warnings |= SNUG_WARN(NOISY);
    if (tps[0] < (1.0 - SLOW_FIRST_FRAC) * snug_stats_median(tps + 1, (size_t)n - 1))
        m->warnings |= SNUG_WARN(SLOW_FIRST);
}

static double own_cpu_s(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0.0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void judge_conditions(struct snug_measurement *m, const struct snug_machine_load *before,
                             double own_before_s)
{
    struct snug_machine_load after;
    snug_machine_load_read("", &after);
    const double total = after.total_s - before->total_s;
    const double others = (after.busy_s - before->busy_s) - (own_cpu_s() - own_before_s);
    m->load_average = before->load_average;
    m->throttled_s = after.throttled_s - before->throttled_s;
    m->other_load_frac = total > 0.0 && others > 0.0 ? others / total : 0.0;
    if (m->throttled_s > 0.0)
        m->warnings |= SNUG_WARN(THROTTLED);
    if (m->other_load_frac > OTHER_LOAD_FRAC)
        m->warnings |= SNUG_WARN(OTHER_LOAD);
}

static void summarise(struct bench *b)
{
    struct snug_measurement *m = b->m;
    if (m->n_prefill_blocks > 0) {
        const size_t n = (size_t)m->n_prefill_blocks;
        m->prefill_tps = snug_stats_median(m->prefill_block_tps, n);
        m->ttft_s = snug_stats_median(b->ttft_s, n);
        judge(m, m->prefill_block_tps, m->n_prefill_blocks);
    }
    if (m->n_decode_blocks > 0) {
        m->decode_tps = snug_stats_median(m->decode_block_tps, (size_t)m->n_decode_blocks);
        judge(m, m->decode_block_tps, m->n_decode_blocks);
    }
    if (m->n_gaps > 0) {
        m->tpot_p50_s = snug_stats_quantile(m->gaps_s, (size_t)m->n_gaps, 0.5);
        m->tpot_p95_s = snug_stats_quantile(m->gaps_s, (size_t)m->n_gaps, 0.95);
    }
}

snug_status snug__worker_measure(struct snug__worker *w, const struct snug_workload *workload,
                                 const struct snug_effort *effort, struct snug_measurement *out,
                                 struct snug_error *err)
{
    struct bench b = {.w = w, .workload = workload, .effort = effort, .m = out};
    const int64_t parallel = workload->n_parallel;
    const int64_t room = w->settings.n_batch > parallel ? w->settings.n_batch : parallel;
    b.batch = llama_batch_init((int32_t)room, 0, 1);
    b.n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(w->model));
    snug_rng_init(&b.rng, 1);
    struct snug_machine_load before;
    snug_machine_load_read("", &before);
    const double own_before_s = own_cpu_s();
    llama_memory_clear(llama_get_memory(w->context), false);
    const struct phase prefill = {"prefill",
                                  "warm-up prefill",
                                  prefill_block,
                                  out->prefill_block_tps,
                                  &out->n_prefill_blocks,
                                  &out->warmup_prefill_tps};
    const struct phase decode = {"decode",
                                 "warm-up decode",
                                 decode_block,
                                 out->decode_block_tps,
                                 &out->n_decode_blocks,
                                 &out->warmup_decode_tps};
    snug_status status = SNUG_OK;
    if (effort->want_prefill && workload->n_prompt > 0)
        status = run_phase(&b, &prefill, err);
    if (status == SNUG_OK && effort->want_decode && workload->n_gen > 0)
        status = run_phase(&b, &decode, err);
    if (status == SNUG_OK) {
        summarise(&b);
        judge_conditions(out, &before, own_before_s);
    }
    llama_batch_free(b.batch);
    return status;
}
