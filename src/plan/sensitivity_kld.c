/* Measured sensitivity: a group of tensors at a time is quantised by libllama into a temporary
 * file, and the KL divergence of that file from the model is taken over a text.
 *
 * For a group g and a measured type a, scale(g, a) = divergence / sum of the losses that the error
 * of the weights foretells. A tensor's loss in any type is the foretold one times the scale of its
 * group: at a measured type that spreads the divergence over the group's tensors, and between two
 * of them the logarithm of the scale is taken linear in that of the foretold loss. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/sensitivity.h"
#include "plan/divergence.h"
#include "plan/sensitivity.h"
#include "snug/store.h"

enum { ANCHORS_MAX = SNUG_PLAN_TYPES_MAX, IMATRIX_BYTES_MAX = 1 << 30 };
static const double SURE = 2.0; /* a divergence under so many standard errors tells nothing */

/* What is measured when nothing is said. Two are enough: a group's scale moves by a tenth or so
 * from Q2_K to Q5_0 (sensitivity_loss.c). The second list is for rows that are not whole blocks of
 * 256. */
static const int ANCHORS[] = {GGML_TYPE_Q2_K, GGML_TYPE_Q4_K};
static const int PLAIN_ANCHORS[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q5_0};
enum {
    N_ANCHORS = sizeof ANCHORS / sizeof *ANCHORS,
    N_PLAIN_ANCHORS = sizeof PLAIN_ANCHORS / sizeof *PLAIN_ANCHORS
};

struct measuring {
    const struct snug_sensitivity_kld_options *o;
    const struct snug_model *model;
    struct snug_sensitivity s; /* by weights; scaled at the end */
    struct snug__tensor_groups groups;
    int anchors[ANCHORS_MAX]; /* indices of s.types, ascending */
    int n_anchors;
    struct snug_estimate *kld; /* [groups.n][n_anchors]; value NAN: not to be measured */
    char text_hash[SNUG_SHA256_HEX_MAX], imatrix_hash[SNUG_SHA256_HEX_MAX];
    struct snug__divergence divergence;
    int *mixed; /* [n_tensors] types: a group's changed, the others as they are */
    int n_total, n_done;
};

/* ---- what to measure ---- */

static float foretold(const struct measuring *m, int i_tensor, int k)
{
    return m->s.loss[i_tensor * m->s.n_types + k].value;
}

static bool may_change(const struct measuring *m, int i_tensor, int k)
{
    return isfinite(foretold(m, i_tensor, k)) && m->s.types[k] != m->model->tensors[i_tensor].type;
}

/* Sum of the losses foretold for the tensors of a group that can have a type; 0: none can. */
static double group_loss(const struct measuring *m, const struct snug__tensor_group *g, int k)
{
    double sum = 0.0;
    for (int i = 0; i < g->n; i++) {
        if (may_change(m, g->tensors[i], k))
            sum += (double)foretold(m, g->tensors[i], k);
    }
    return sum;
}

static int find_type(const struct snug_sensitivity *s, int type)
{
    for (int k = 0; k < s->n_types; k++) {
        if (s->types[k] == type)
            return k;
    }
    return -1;
}

static snug_status add_anchor(struct measuring *m, int type, bool is_wanted, struct snug_error *err)
{
    const int k = find_type(&m->s, type);
    if (k >= 0 && m->n_anchors < ANCHORS_MAX) {
        int at = m->n_anchors;
        for (int i = 0; i < m->n_anchors; i++) {
            if (m->anchors[i] == k)
                return SNUG_OK;
        }
        m->n_anchors++;
        for (; at > 0 && m->anchors[at - 1] > k; at--)
            m->anchors[at] = m->anchors[at - 1];
        m->anchors[at] = k;
        return SNUG_OK;
    }
    if (!is_wanted)
        return SNUG_OK;
    return snug_fail(err, SNUG_BAD_INPUT, "%s: no tensor can be %s: its rows are no whole blocks%s",
                     m->model->path, snug_model_type_name(type),
                     snug__type_needs_imatrix(type) ? ", or --imatrix is missing" : "");
}

static bool is_in(const int *types, size_t n, int type)
{
    for (size_t i = 0; i < n; i++) {
        if (types[i] == type)
            return true;
    }
    return false;
}

/* The types asked for; where none was, or the group can have none of them, the usual ones, and the
 * plain ones only where rows are no blocks of 256. Every group is measured in something, so that
 * all losses are of one level. */
static bool is_measured(const struct measuring *m, const struct snug__tensor_group *g, int k)
{
    const struct snug_sensitivity_options *base = &m->o->base;
    const size_t n_asked = base->types ? (size_t)base->n_types : 0;
    bool has_asked = false, has_usual = false;
    if (group_loss(m, g, k) <= 0.0)
        return false;
    for (int a = 0; a < m->n_anchors; a++) {
        const int type = m->s.types[m->anchors[a]];
        const bool can = group_loss(m, g, m->anchors[a]) > 0.0;
        has_asked = has_asked || (can && is_in(base->types, n_asked, type));
        has_usual = has_usual || (can && is_in(ANCHORS, N_ANCHORS, type));
    }
    if (has_asked)
        return is_in(base->types, n_asked, m->s.types[k]);
    return !has_usual || is_in(ANCHORS, N_ANCHORS, m->s.types[k]);
}

static snug_status choose(struct measuring *m, struct snug_error *err)
{
    const struct snug_sensitivity_options *base = &m->o->base;
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && base->types && i < base->n_types; i++)
        status = add_anchor(m, base->types[i], true, err);
    for (int i = 0; status == SNUG_OK && i < N_ANCHORS; i++)
        status = add_anchor(m, ANCHORS[i], false, err);
    for (int i = 0; status == SNUG_OK && i < N_PLAIN_ANCHORS; i++)
        status = add_anchor(m, PLAIN_ANCHORS[i], false, err);
    if (status == SNUG_OK)
        status = snug__tensor_groups(m->model, m->o->is_per_tensor, &m->groups, err);
    if (status != SNUG_OK)
        return status;
    const size_t n = (size_t)m->groups.n * (size_t)m->n_anchors;
    m->kld = calloc(n + 1, sizeof *m->kld);
    m->mixed = calloc((size_t)m->model->n_tensors, sizeof *m->mixed);
    if (!m->kld || !m->mixed)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d groups", m->groups.n);
    for (size_t i = 0; i < n; i++) {
        const struct snug__tensor_group *g = &m->groups.groups[i / (size_t)m->n_anchors];
        const int k = m->anchors[i % (size_t)m->n_anchors];
        m->kld[i].value = is_measured(m, g, k) ? 0.0 : (double)NAN;
        m->n_total += is_measured(m, g, k);
    }
    if (m->n_total == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: has no tensors to quantise", m->model->path);
    return SNUG_OK;
}

/* ---- one measurement ---- */

static void tell(const struct measuring *m, const char *what)
{
    if (m->o->base.progress)
        m->o->base.progress(what, m->o->base.progress_data);
}

static snug_status measure(struct measuring *m, const struct snug__tensor_group *g, int k,
                           const char *what, struct snug_estimate *out, struct snug_error *err)
{
    if (m->divergence.n_chunks == 0)
        tell(m, "the model as it is");
    snug_status status = snug__divergence_reference(&m->divergence, err);
    if (status != SNUG_OK)
        return status;
    for (int i = 0; i < m->model->n_tensors; i++)
        m->mixed[i] = m->model->tensors[i].type;
    for (int i = 0; i < g->n; i++) {
        if (may_change(m, g->tensors[i], k))
            m->mixed[g->tensors[i]] = m->s.types[k];
    }
    tell(m, what);
    return snug__divergence_of(&m->divergence, m->mixed, out, NULL, err);
}

static snug_status measure_or_recall(struct measuring *m, int i_group, int i_anchor,
                                     struct snug_error *err)
{
    const struct snug__tensor_group *g = &m->groups.groups[i_group];
    struct snug_estimate *out = &m->kld[i_group * m->n_anchors + i_anchor];
    const int k = m->anchors[i_anchor];
    const struct snug_store_sensitivity_place place = {.model_hash = m->model->hash,
                                                       .text_hash = m->text_hash,
                                                       .imatrix_hash = m->imatrix_hash,
                                                       .build = m->o->build,
                                                       .n_ctx = m->o->n_ctx,
                                                       .n_chunks = m->o->n_chunks,
                                                       .tensors = g->name,
                                                       .type = snug_model_type_name(m->s.types[k])};
    if (isnan(out->value))
        return SNUG_OK;
    m->n_done++;
    if (m->o->store) {
        const snug_status status = snug_store_sensitivity_find(m->o->store, &place, out, err);
        if (status != SNUG_NOT_FOUND)
            return status;
    }
    char what[200];
    snprintf(what, sizeof what, "%s to %s, %d of %d", g->name, place.type, m->n_done, m->n_total);
    snug_status status = measure(m, g, k, what, out, err);
    if (status == SNUG_INTERRUPTED)
        return snug_fail(err, status, "stopped; %d of %d measurements are %s", m->n_done - 1,
                         m->n_total,
                         m->o->store ? "kept, and the same command goes on there" : "lost");
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "%s to %s", g->name, place.type);
    return m->o->store ? snug_store_sensitivity_add(m->o->store, &place, *out, err) : SNUG_OK;
}

/* ---- from groups to tensors ---- */

struct scale {
    double value, relative_se;
};

/* Points of (log foretold loss, log scale) of a group, coarse types first. */
struct curve {
    double x[ANCHORS_MAX], y[ANCHORS_MAX], relative_se[ANCHORS_MAX];
    int n;
};

static void curve_of(const struct measuring *m, int i_group, struct curve *out)
{
    const struct snug__tensor_group *g = &m->groups.groups[i_group];
    double largest = 0.0;
    struct snug_estimate coarse = {0.0, 0.0};
    out->n = 0;
    for (int a = 0; a < m->n_anchors; a++) {
        const struct snug_estimate kld = m->kld[i_group * m->n_anchors + a];
        const double b = group_loss(m, g, m->anchors[a]);
        if (isnan(kld.value) || b <= 0.0)
            continue;
        if (b > largest) {
            largest = b;
            coarse = kld;
        }
        if (kld.value <= SURE * kld.se || kld.value <= 0.0)
            continue;
        out->x[out->n] = log(b);
        out->y[out->n] = log(kld.value / b);
        out->relative_se[out->n++] = kld.se / kld.value;
    }
    if (out->n > 0 || largest <= 0.0)
        return;
    /* None is sure: no more than the coarsest type's divergence and its error. */
    const double most = fmax(coarse.value, 0.0) + fmax(coarse.se, 1e-9);
    out->x[0] = log(largest);
    out->y[0] = log(most / largest);
    out->relative_se[out->n++] = 1.0;
}

/* Beyond the ends the scale stays what it is there. */
static struct scale curve_at(const struct curve *c, double x)
{
    int left = -1, right = -1; /* nearest points on either side */
    for (int i = 0; i < c->n; i++) {
        if (c->x[i] <= x && (left < 0 || c->x[i] > c->x[left]))
            left = i;
        if (c->x[i] >= x && (right < 0 || c->x[i] < c->x[right]))
            right = i;
    }
    if (left < 0 || right < 0 || c->x[left] >= c->x[right]) {
        const int i = left < 0 ? right : left;
        return (struct scale){exp(c->y[i]), c->relative_se[i]};
    }
    const double t = (x - c->x[left]) / (c->x[right] - c->x[left]);
    return (struct scale){exp((1.0 - t) * c->y[left] + t * c->y[right]),
                          (1.0 - t) * c->relative_se[left] + t * c->relative_se[right]};
}

static void spread(struct measuring *m)
{
    for (int i_group = 0; i_group < m->groups.n; i_group++) {
        const struct snug__tensor_group *g = &m->groups.groups[i_group];
        struct curve curve;
        struct scale
            scales[SNUG_PLAN_TYPES_MAX]; /* before a loss is scaled: the sums are of them */
        curve_of(m, i_group, &curve);
        for (int k = 0; curve.n > 0 && k < m->s.n_types; k++) {
            const double b = group_loss(m, g, k);
            scales[k] = b > 0.0 ? curve_at(&curve, log(b)) : (struct scale){1.0, 0.0};
        }
        for (int i = 0; curve.n > 0 && i < g->n; i++) {
            for (int k = 0; k < m->s.n_types; k++) {
                struct snug_loss *loss = &m->s.loss[g->tensors[i] * m->s.n_types + k];
                if (!may_change(m, g->tensors[i], k))
                    continue;
                loss->value *= (float)scales[k].value;
                loss->se = loss->value * (float)scales[k].relative_se;
            }
        }
    }
}

/* ---- all of it ---- */

static snug_status hash_file(const char *path, size_t cap, char out[SNUG_SHA256_HEX_MAX],
                             struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    const snug_status status = snug_file_read(path, cap, &text, &n, err);
    if (status == SNUG_OK)
        snug_sha256_hex(text, n, out);
    free(text);
    return status;
}

static snug_status prepare(struct measuring *m, struct snug_error *err)
{
    const struct snug_sensitivity_kld_options *o = m->o;
    struct snug_sensitivity_options base = o->base;
    base.types = NULL; /* every type has its foretold loss; those named are measured */
    base.n_types = 0;
    snug_status status = snug__sensitivity_check(m->model, err);
    if (status == SNUG_OK)
        status = hash_file(o->text_path, SNUG_EVAL_TEXT_MAX, m->text_hash, err);
    if (status == SNUG_OK && base.imatrix_path)
        status = hash_file(base.imatrix_path, IMATRIX_BYTES_MAX, m->imatrix_hash, err);
    if (status == SNUG_OK)
        status = snug_sensitivity_weights(&base, &m->s, err);
    if (status == SNUG_OK)
        status = choose(m, err);
    m->divergence = (struct snug__divergence){.model = m->model,
                                              .imatrix_path = base.imatrix_path,
                                              .space = o->space,
                                              .config = o->config,
                                              .config_reference = o->config,
                                              .text_path = o->text_path,
                                              .n_ctx = o->n_ctx,
                                              .n_chunks_max = o->n_chunks,
                                              .folder = o->folder,
                                              .stop = base.stop};
    return status;
}

snug_status snug_sensitivity_kld(const struct snug_sensitivity_kld_options *o,
                                 struct snug_sensitivity *out, struct snug_error *err)
{
    struct measuring *m = calloc(1, sizeof *m);
    if (!m)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a sensitivity");
    m->o = o;
    m->model = o->base.model;
    snug_status status =
        o->n_chunks >= 1
            ? prepare(m, err)
            : snug_fail(err, SNUG_BAD_INPUT, "at least one chunk of text is to be evaluated");
    for (int g = 0; status == SNUG_OK && g < m->groups.n; g++) {
        for (int a = 0; status == SNUG_OK && a < m->n_anchors; a++)
            status = measure_or_recall(m, g, a, err);
    }
    snug__divergence_close(&m->divergence);
    if (status == SNUG_OK) {
        spread(m);
        m->s.method = SNUG_SENSITIVITY_KLD;
        snug__loss_interval(m->s.method, &m->s.lo_frac, &m->s.hi_frac);
        snprintf(m->s.text_hash, sizeof m->s.text_hash, "%s", m->text_hash);
        snprintf(m->s.build, sizeof m->s.build, "%s", o->build);
        *out = m->s;
        m->s.loss = NULL; /* the caller owns it now */
    }
    snug_sensitivity_clear(&m->s);
    snug__tensor_groups_clear(&m->groups);
    free(m->kld);
    free(m->mixed);
    free(m);
    return status;
}
