/* From answers to what is learned: requests of a steady stretch, put into the units of the trials.
 *
 * A change of load is seen up to a quarter of a second late, so that an observation waits for the
 * look that follows it. */
#include <math.h>
#include <string.h>

#include "serve/serve_internal.h"

static const double SAME_LOAD_FRAC = 0.2; /* of the CPUs: more is another load */
/* Fewer tokens tell more of what a call costs than of its speed. */
static const double PROMPT_LEAST = 16, PROMPT_LEAST_FRAC = 0.25, GEN_LEAST = 4;

void snug__serve_observe(const struct snug__observation *observation, void *data)
{
    struct snug__serve *s = data;
    pthread_mutex_lock(&s->lock);
    if (s->n_observed < SNUG__OBSERVATIONS_MAX)
        s->observed[s->n_observed++] = *observation;
    pthread_mutex_unlock(&s->lock);
}

static struct snug_adapt_sample sample_of(const struct snug_serve_options *options,
                                          const struct snug__observation *o)
{
    const struct snug__timings *t = &o->timings;
    struct snug_adapt_sample sample = {.member = o->member};
    /* Requests beyond the slots wait inside the server, which its timings leave out. */
    const double n_at_once = fmax(1, fmin(o->n_at_once, options->n_parallel));
    if (t->n_prompt >= fmax(PROMPT_LEAST, PROMPT_LEAST_FRAC * options->n_prompt)) {
        sample.prefill_tps = t->n_prompt / t->prompt_s * n_at_once;
        sample.prefill_s = t->prompt_s / n_at_once;
    }
    if (t->n_gen >= GEN_LEAST) {
        sample.decode_tps = t->n_gen / t->gen_s * n_at_once;
        sample.decode_s = t->gen_s / n_at_once;
    }
    return sample;
}

/* A new epoch where others have another share of the CPUs than when this one began. */
static void follow_load(struct snug__serve *s)
{
    const struct snug_adapt_view *view = &s->view;
    const double busy_frac = view->knows_cpus ? 1 - view->cpus_free / view->cpus_all : 0;
    if (fabs(busy_frac - s->busy_frac) <= SAME_LOAD_FRAC)
        return;
    s->busy_frac = busy_frac;
    snug__backends_disturb(&s->backends);
}

void snug__serve_learn(struct snug__serve *s, double now_s)
{
    const struct snug_serve_options *options = s->options;
    struct snug_adapt_outlook outlooks[SNUG_ADAPT_MEMBERS_MAX];
    struct snug__observation observed[SNUG__OBSERVATIONS_MAX];
    follow_load(s);
    const int epoch = snug__backends_epoch(&s->backends);
    pthread_mutex_lock(&s->lock);
    const int n = s->n_observed;
    memcpy(observed, s->observed, (size_t)n * sizeof *observed);
    s->n_observed = 0;
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < n && !s->is_capped; i++) {
        const struct snug_adapt_sample sample = sample_of(options, &observed[i]);
        if (observed[i].epoch == epoch)
            snug_adapt_observe(&s->state, options->members, &s->view, &sample, now_s);
    }
    snug_adapt_look_ahead(&s->state, options->members, options->n_members, &s->view, now_s,
                          outlooks);
    pthread_mutex_lock(&s->lock);
    memcpy(s->outlooks, outlooks, (size_t)options->n_members * sizeof *outlooks);
    pthread_mutex_unlock(&s->lock);
}
