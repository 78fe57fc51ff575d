/* Compare tuners on recorded and generated tables; --help has the usage. A table of the past is for
 * the methods that say so. Words on stderr, JSON on stdout. Jobs of one table run on all threads;
 * figures do not depend on their order, CPU times are of each job's own thread. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "perf/tunebench/tunebench.h"

enum { THREADS_MAX = 64 };

struct arguments {
    const char *paths[TB_TABLES_MAX];
    int n_paths, n_generate, n_seeds, n_trials, n_threads;
    const char *methods, *trace, *past;
    long write_seed;                /* -1: none */
    double noise_frac, load_factor; /* set-up seconds of all trials times this */
    int n_inert;                    /* rows that change nothing, beside the table's own */
    enum snug_objective objective;
    struct snug_goal goal; /* n_axes 0: the objective and memory */
};

/* The jobs of one table, taken by whoever is free. */
struct work {
    const struct tb_result *result;
    pthread_mutex_t mutex;
    int next;
    bool is_failed;
    struct snug_error err; /* of the first that failed */
};

static void *do_jobs(void *data)
{
    struct work *work = data;
    const struct tb_result *r = work->result;
    const int n = r->n_methods * r->n_seeds;
    for (;;) {
        pthread_mutex_lock(&work->mutex);
        const int job = work->is_failed ? n : work->next++;
        pthread_mutex_unlock(&work->mutex);
        if (job >= n)
            return NULL;
        struct snug_error err = {0};
        const struct tb_run_options options = {.table = r->table,
                                               .method = r->methods[job / r->n_seeds],
                                               .seed = (uint64_t)(job % r->n_seeds),
                                               .n_trials = r->n_trials};
        const size_t heap_bytes = r->runs[job].heap_bytes;
        if (tb_run_once(&options, &r->runs[job], &err) != SNUG_OK) {
            pthread_mutex_lock(&work->mutex);
            work->is_failed = true;
            work->err = err;
            pthread_mutex_unlock(&work->mutex);
        }
        r->runs[job].heap_bytes = heap_bytes;
    }
}

/* Each method once, alone, for what it holds of the heap. */
static snug_status measure_heaps(const struct tb_result *r, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < r->n_methods; i++) {
        const struct tb_run_options options = {.table = r->table,
                                               .method = r->methods[i],
                                               .n_trials = r->n_trials,
                                               .wants_heap = true};
        status = tb_run_once(&options, &r->runs[i * r->n_seeds], err);
    }
    return status;
}

static snug_status run_jobs(const struct tb_result *r, int n_threads, struct snug_error *err)
{
    struct work work = {.result = r};
    pthread_t threads[THREADS_MAX];
    int n = 0;
    snug_status status = measure_heaps(r, err);
    if (status != SNUG_OK)
        return status;
    pthread_mutex_init(&work.mutex, NULL);
    while (n < n_threads - 1 && pthread_create(&threads[n], NULL, do_jobs, &work) == 0)
        n++;
    do_jobs(&work);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&work.mutex);
    return work.is_failed ? snug_fail(err, work.err.status, "%s", work.err.text) : SNUG_OK;
}

static snug_status bench_table(const struct tb_table *table, const struct arguments *a,
                               const struct tb_method *const *methods, int n_methods,
                               struct snug_json_writer *w, struct snug_error *err)
{
    const struct tb_result result = {
        .table = table,
        .methods = methods,
        .n_methods = n_methods,
        .n_seeds = a->n_seeds,
        .n_trials = a->n_trials,
        .runs = calloc((size_t)(n_methods * a->n_seeds), sizeof *result.runs)};
    if (!result.runs)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d runs", n_methods * a->n_seeds);
    const snug_status status = run_jobs(&result, a->n_threads, err);
    if (status == SNUG_OK)
        tb_report(&result, stderr, w);
    free(result.runs);
    return status;
}

static snug_status print_trace(const struct tb_table *table, const struct arguments *a,
                               struct snug_error *err)
{
    struct snug_buffer trace = {0};
    static struct tb_run run;
    const struct tb_run_options options = {.table = table,
                                           .method = tb_method_find(a->trace),
                                           .n_trials = a->n_trials,
                                           .trace = &trace};
    const snug_status status = tb_run_once(&options, &run, err);
    if (status == SNUG_OK)
        printf("%s%s  %s\n", snug_buffer_text(&trace), run.sha256, table->table->name);
    snug_buffer_clear(&trace);
    return status;
}

static bool read_number(const char *text, long lo, long hi, long *out)
{
    char *end;
    *out = strtol(text, &end, 10);
    return end != text && !*end && *out >= lo && *out <= hi;
}

/* ---- tables ---- */

static snug_status generate(const struct arguments *a, uint64_t seed, struct tb_table *out,
                            struct snug_error *err)
{
    const struct tb_offload_options options = {.seed = seed, .noise_frac = a->noise_frac};
    struct snug__table *table = NULL;
    size_t n = 0;
    char *text = tb_offload_text(&options, &n);
    const snug_status status = text ? snug__table_parse("generated", text, n, &table, err)
                                    : snug_fail(err, SNUG_NO_MEMORY, "no memory for a table");
    free(text);
    return status == SNUG_OK ? tb_table_init(out, table, a->objective, err) : status;
}

/* "offload-5": the generated table of that seed; else a file. */
static snug_status open_named(const struct arguments *a, const char *name, struct tb_table *out,
                              struct snug_error *err)
{
    static const char GENERATED[] = "offload-";
    long seed = 0;
    if (strncmp(name, GENERATED, strlen(GENERATED)) == 0 &&
        read_number(name + strlen(GENERATED), 0, INT32_MAX, &seed))
        return generate(a, (uint64_t)seed, out, err);
    struct snug__table *table = NULL;
    const snug_status status = snug__table_read(name, &table, err);
    return status == SNUG_OK ? tb_table_init(out, table, a->objective, err) : status;
}

static snug_status open_table(const struct arguments *a, int i, struct tb_table *out,
                              struct snug_error *err)
{
    snug_status status = i < a->n_paths ? open_named(a, a->paths[i], out, err)
                                        : generate(a, (uint64_t)(i - a->n_paths), out, err);
    for (size_t k = 0; status == SNUG_OK && k < out->table->n_reps; k++)
        out->table->reps[k].setup_s *= a->load_factor;
    out->n_inert = a->n_inert;
    if (status == SNUG_OK && !snug_goal_is_plain(&a->goal)) {
        status = tb_table_set_goal(out, &a->goal, err);
        if (status != SNUG_OK)
            tb_table_clear(out);
    }
    return status;
}

/* All of the list "A,B", and what was tuned on them. */
static snug_status open_pasts(const struct arguments *a, struct tb_table *out,
                              struct snug_error *err)
{
    snug_status status = SNUG_OK;
    const char *at = a->past;
    int n = 0;
    for (; status == SNUG_OK && at && n < SNUG_PASTS_MAX; n++) {
        char name[4096];
        const size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        status = open_named(a, name, &out[n], err);
        at = at[length] ? at + length + 1 : NULL;
    }
    if (status == SNUG_OK && at)
        status =
            snug_fail(err, SNUG_BAD_INPUT, "--past %s: at most %d tables", a->past, SNUG_PASTS_MAX);
    return status == SNUG_OK && n > 0 ? tb_sessions_open(out, n, a->n_seeds, err) : status;
}

/* Does the list "A,B" hold a name of n characters? */
static bool is_listed(const char *list, const char *name, size_t n)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, n) == 0 && (at[n] == '\0' || at[n] == ','))
            return true;
    }
    return false;
}

/* Those listed, in the order of the table; else all but the ways of snug that are not its own
 * default: ranking knobs again and again would take longer than all the others together. */
static int choose_methods(const char *list, const struct tb_method **out)
{
    int n = 0;
    for (const struct tb_method *m = tb_methods(); m->name; m++)
        if (list ? is_listed(list, m->name, strlen(m->name))
                 : !m->drops_inert && !m->has_ladder && (m->past == TB_PAST_NONE || tb_n_pasts > 0))
            out[n++] = m;
    return n;
}

/* Is every name of the list a method's? */
static bool are_methods(const char *list)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        char name[32];
        at += *at == ',';
        const size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : 0), at);
        if (!tb_method_find(name))
            return false;
    }
    return true;
}

static snug_status bench(const struct arguments *a, struct snug_json_writer *w,
                         struct snug_error *err)
{
    const struct tb_method *methods[TB_METHODS_MAX];
    struct tb_table pasts[SNUG_PASTS_MAX] = {0};
    snug_status status = open_pasts(a, pasts, err);
    const int n_methods = choose_methods(a->methods, methods);
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "benchmark", "tunebench");
    snug_json_put_string(w, "past", a->past);
    snug_json_begin_array(w, "tables");
    for (int i = 0; status == SNUG_OK && i < a->n_paths + a->n_generate; i++) {
        struct tb_table table;
        status = open_table(a, i, &table, err);
        if (status != SNUG_OK)
            break;
        status = a->trace ? print_trace(&table, a, err)
                          : bench_table(&table, a, methods, n_methods, w, err);
        tb_table_clear(&table);
    }
    snug_json_end(w);
    snug_json_end(w);
    tb_sessions_close();
    for (int i = 0; i < SNUG_PASTS_MAX; i++)
        tb_table_clear(&pasts[i]);
    return status;
}

/* ---- arguments ---- */

static bool read_share(const char *text, double hi, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= 0 && *out <= hi;
}

/* Tables have neither energy nor qualities. */
static bool read_goal(const char *value, struct snug_goal *out)
{
    return snug_goal_parse(value, out, NULL) == SNUG_OK && !snug_goal_needs_kld(out) &&
           !snug_goal_has(out, SNUG_AXIS_ENERGY);
}

static bool read_option(const char *name, const char *value, struct arguments *a)
{
    long n = 0;
    double share = 0;
    if (strcmp(name, "--generate") == 0 && read_number(value, 0, TB_TABLES_MAX, &n))
        a->n_generate = (int)n;
    else if (strcmp(name, "--seeds") == 0 && read_number(value, 1, TB_SEEDS_MAX, &n))
        a->n_seeds = (int)n;
    else if (strcmp(name, "--trials") == 0 && read_number(value, 1, TB_TRIALS_MAX, &n))
        a->n_trials = (int)n;
    else if (strcmp(name, "--threads") == 0 && read_number(value, 1, THREADS_MAX, &n))
        a->n_threads = (int)n;
    else if (strcmp(name, "--write") == 0 && read_number(value, 0, INT32_MAX, &n))
        a->write_seed = n;
    else if (strcmp(name, "--past") == 0)
        a->past = value;
    else if (strcmp(name, "--methods") == 0 && are_methods(value))
        a->methods = value;
    else if (strcmp(name, "--trace") == 0 && tb_method_find(value))
        a->trace = value;
    else if (strcmp(name, "--objective") == 0 && snug_objective_from_name(value) >= 0)
        a->objective = (enum snug_objective)snug_objective_from_name(value);
    else if (strcmp(name, "--objectives") == 0 && read_goal(value, &a->goal))
        a->objective = snug_goal_lead(&a->goal);
    else if (strcmp(name, "--inert") == 0 && read_number(value, 0, TB_INERT_MAX, &n))
        a->n_inert = (int)n;
    else if (strcmp(name, "--loads") == 0 && read_share(value, 1e3, &share))
        a->load_factor = share;
    else if (strcmp(name, "--noise") != 0 || !read_share(value, 0.5, &a->noise_frac))
        return false;
    return true;
}

static bool read_arguments(int argc, char **argv, struct arguments *a)
{
    const long n_online = sysconf(_SC_NPROCESSORS_ONLN);
    *a = (struct arguments){.n_seeds = 30,
                            .n_trials = 40,
                            .write_seed = -1,
                            .noise_frac = 0.03,
                            .load_factor = 1,
                            .objective = SNUG_OBJECTIVE_REQUEST,
                            .n_threads = n_online < 1             ? 1
                                         : n_online < THREADS_MAX ? (int)n_online
                                                                  : THREADS_MAX};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && a->n_paths < TB_TABLES_MAX)
            a->paths[a->n_paths++] = argv[i];
        else if (i + 1 < argc && read_option(argv[i], argv[i + 1], a))
            i++;
        else {
            fprintf(stderr, "tunebench: %s %s: not known, or not in its range\n", argv[i],
                    i + 1 < argc ? argv[i + 1] : "(no value)");
            return false;
        }
    }
    const int n = a->n_paths + a->n_generate;
    const bool is_good = a->write_seed >= 0 || (n > 0 && n <= TB_TABLES_MAX);
    if (!is_good)
        fprintf(stderr, "tunebench: 1 to %d tables, not %d\n", TB_TABLES_MAX, n);
    return is_good;
}

static int usage(FILE *out)
{
    fprintf(out,
            "usage: tunebench [TABLE ...] [--generate 0..%d] [--seeds 1..%d] "
            "[--trials 1..%d]\n"
            "         [--objective decode|prefill|request] [--methods A,B] [--noise 0..0.5]\n"
            "         [--objectives A,B[,C]]    of decode, prefill, request, memory, instead\n"
            "         [--inert 0..%d]     beside the table's, so many knobs that change nothing\n"
            "         [--loads 0..1000]   loading takes so many times the recorded seconds\n"
            "         [--threads 1..%d] [--past TABLE,...]\n"
            "       a table is a file, or offload-SEED, a generated one; of those of --past, "
            "snug-past knows\n"
            "       what a tuning saw that started cold, restune-like so many random configs of "
            "the first\n"
            "       tunebench --write SEED              a generated table, on stdout\n"
            "       tunebench --trace METHOD TABLE ...  the trace of seed 0, on stdout\nmethods:\n",
            TB_TABLES_MAX, TB_SEEDS_MAX, TB_TRIALS_MAX, TB_INERT_MAX, THREADS_MAX);
    for (const struct tb_method *m = tb_methods(); m->name; m++)
        fprintf(out, "  %-18s %s\n", m->name, m->help);
    return fflush(out) == 0 && out == stdout ? 0 : 2;
}

/* All that was put on stdout is on its way; a full disk shows here. */
static bool is_written(void)
{
    const bool is_good = fflush(stdout) == 0 && !ferror(stdout);
    if (!is_good)
        fprintf(stderr, "tunebench: stdout cannot be written to\n");
    return is_good;
}

static int write_table(const struct arguments *a)
{
    const struct tb_offload_options options = {.seed = (uint64_t)a->write_seed,
                                               .noise_frac = a->noise_frac};
    size_t n = 0;
    char *text = tb_offload_text(&options, &n);
    if (text)
        fwrite(text, 1, n, stdout);
    else
        fprintf(stderr, "tunebench: no memory for a table\n");
    const bool is_made = text != NULL;
    free(text);
    return is_made && is_written() ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct arguments a;
    struct snug_json_writer w = {0};
    struct snug_error err = {0};
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (!read_arguments(argc, argv, &a))
        return usage(stderr);
    if (a.write_seed >= 0)
        return write_table(&a);
    const snug_status status = bench(&a, &w, &err);
    char *text = status == SNUG_OK ? snug_json_finish(&w, true) : NULL;
    snug_json_writer_clear(&w);
    if (text && !a.trace)
        puts(text);
    const bool is_made = text != NULL;
    if (!is_made)
        fprintf(stderr, "tunebench: %s\n", status == SNUG_OK ? "no memory for JSON" : err.text);
    free(text);
    return is_made && is_written() ? 0 : 1;
}
