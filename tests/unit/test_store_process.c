/* The history among several processes: this program starts itself as writers that run at once, are
 * killed, or run out of room. */
#include "store.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/process.h"
#include "snug/stats.h"

#define N_KILLS 20
#define N_WRITERS 3
#define N_EACH 40
#define ACKNOWLEDGED_MAX 4096

static char self[4096];

/* ---- children ---- */

static int complain(const struct snug_error *err)
{
    printf("error %s: %s\n", snug_status_name(err->status), err->text);
    fflush(stdout);
    return 1;
}

/* Stand at the line until the parent says go, so that children really run at once. */
static void wait_for_go(void)
{
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        _exit(3);
}

/* n < 0: until something goes wrong. A trial is acknowledged by its id on stdout. */
static int child_add(const char *path, long n)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    const struct snug_measurement m = store_measurement();
    int64_t task = 0, id = 0;
    snug_status status = snug_store_open(path, &store, &err);
    if (status == SNUG_OK)
        status = store_task(store, &task, &err);
    for (long i = 0; status == SNUG_OK && i != n; i++) {
        status = store_add(store, task, 0, &m, &id, &err);
        if (status == SNUG_OK && (printf("%lld\n", (long long)id) < 0 || fflush(stdout) != 0))
            _exit(4);
    }
    snug_store_close(store);
    return status == SNUG_OK ? 0 : complain(&err);
}

/* Files may not grow past so many bytes: like a full disk, but needs no root. */
static int child_fill(const char *path, long limit_bytes)
{
    const struct rlimit limit = {(rlim_t)limit_bytes, (rlim_t)limit_bytes};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(5);
    return child_add(path, -1);
}

/* Open a session and work on it until stdin ends. */
static int child_hold(const char *path)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    char line[16];
    int64_t task = 0, id = 0;
    snug_status status = snug_store_open(path, &store, &err);
    if (status == SNUG_OK)
        status = store_task(store, &task, &err);
    if (status == SNUG_OK)
        status = snug_store_session(store, task, "tune", "{}", &id, &err);
    if (status != SNUG_OK)
        return complain(&err);
    printf("%lld\n", (long long)id);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        ;
    _exit(0); /* as if killed: the session stays unfinished */
}

static int child(char **argv)
{
    const long n = argv[3] ? strtol(argv[3], NULL, 10) : 0;
    snug_process_die_with_parent(SIGKILL);
    if (strcmp(argv[1], "add") == 0) {
        wait_for_go();
        return child_add(argv[2], n);
    }
    if (strcmp(argv[1], "fill") == 0)
        return child_fill(argv[2], n);
    return strcmp(argv[1], "hold") == 0 ? child_hold(argv[2]) : 9;
}

/* ---- the parent ---- */

static void start(struct snug_process *p, const char *mode, const char *path, long n)
{
    struct snug_error err = {0};
    char text[32];
    snprintf(text, sizeof text, "%ld", n);
    const char *const argv[] = {self, mode, path, text, NULL};
    assert_ok(snug_process_start(p, argv, NULL, &err));
}

static void expect_line(struct snug_process *p, const char *want)
{
    struct snug_error err = {0};
    const char *line = NULL;
    assert_ok(snug_process_read_line(p, PATIENCE_S, NULL, &line, &err));
    assert_string_equal(line, want);
}

static void say_go(struct snug_process *p)
{
    struct snug_error err = {0};
    assert_ok(snug_process_write(p, "go\n", 3, PATIENCE_S, &err));
}

struct ids {
    int64_t id[ACKNOWLEDGED_MAX];
    int n;
    char last[512]; /* a line that is no id */
};

/* One line into ids; false at the end of the stream. */
static bool read_id(struct snug_process *p, struct ids *ids)
{
    struct snug_error err = {0};
    const char *line = NULL;
    snug_status status = snug_process_read_line(p, PATIENCE_S, NULL, &line, &err);
    if (status == SNUG_CRASHED)
        return false;
    assert_int_equal(status, SNUG_OK);
    if (line[0] < '0' || line[0] > '9') {
        snprintf(ids->last, sizeof ids->last, "%s", line);
        return true;
    }
    assert_true(ids->n < ACKNOWLEDGED_MAX);
    ids->id[ids->n++] = strtoll(line, NULL, 10);
    return true;
}

static bool see_id(const struct snug_trial_view *view, void *data)
{
    struct ids *ids = data;
    const struct snug_measurement *m = view->measurement;
    assert_true(ids->n < ACKNOWLEDGED_MAX);
    assert_int_equal(m->n_prefill_blocks + m->n_decode_blocks, 5); /* none is half there */
    assert_int_equal(m->n_gaps, 4);
    assert_true(m->throttled_s > 110);
    ids->id[ids->n++] = view->id;
    return true;
}

static void assert_all_there(const char *path, const struct ids *acknowledged)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    static struct ids stored;
    const struct snug_trial_filter filter = {.with_gaps = true};
    stored.n = 0;
    assert_store_whole(path);
    assert_ok(snug_store_open(path, &store, &err));
    assert_ok(snug_store_trials(store, &filter, see_id, &stored, &err));
    snug_store_close(store);
    int at = 0;
    for (int i = 0; i < acknowledged->n; i++) {
        while (at < stored.n && stored.id[at] != acknowledged->id[i])
            at++;
        if (at == stored.n)
            fail_msg("trial %lld was acknowledged and is lost", (long long)acknowledged->id[i]);
    }
}

static void kill_at_any_moment_loses_nothing_acknowledged(void **state)
{
    const char *path = test_path(state, "h.db");
    const uint64_t seed = 20260101;
    struct snug_rng rng;
    static struct ids ids;
    ids.n = 0;
    snug_rng_init(&rng, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < N_KILLS; round++) {
        struct snug_process p = SNUG_PROCESS_INIT;
        start(&p, "add", path, -1);
        expect_line(&p, "ready");
        say_go(&p);
        /* Some rounds die while the file is opened, others after some trials. */
        const int n_before = ids.n + (int)snug_rng_below(&rng, 12);
        while (ids.n < n_before)
            assert_true(read_id(&p, &ids));
        snug_sleep_s(0.004 * snug_rng_double(&rng));
        snug_process_signal(&p, SIGKILL);
        while (read_id(&p, &ids))
            ;
        snug_process_clear(&p);
        if (ids.n > 0)
            assert_all_there(path, &ids);
    }
    assert_true(ids.n > N_KILLS);
}

static void run_writers(const char *path, int n_writers, long n_each)
{
    struct snug_process p[N_WRITERS] = {SNUG_PROCESS_INIT, SNUG_PROCESS_INIT, SNUG_PROCESS_INIT};
    struct snug_process_exit end = {0};
    static struct ids ids;
    for (int i = 0; i < n_writers; i++)
        start(&p[i], "add", path, n_each);
    for (int i = 0; i < n_writers; i++)
        expect_line(&p[i], "ready");
    for (int i = 0; i < n_writers; i++)
        say_go(&p[i]);
    for (int i = 0; i < n_writers; i++) {
        ids.n = 0;
        ids.last[0] = '\0';
        while (read_id(&p[i], &ids))
            ;
        assert_string_equal(ids.last, "");
        assert_int_equal(ids.n, n_each);
        assert_int_equal(snug_process_wait(&p[i], PATIENCE_S, &end), SNUG_OK);
        assert_int_equal(end.code, 0);
        snug_process_clear(&p[i]);
    }
}

static void writers_at_once_all_get_through(void **state)
{
    const char *path = test_path(state, "h.db");
    run_writers(path, N_WRITERS, N_EACH);
    assert_store_whole(path);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM trials"), N_WRITERS * N_EACH);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM samples"), N_WRITERS * N_EACH * 5);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM tasks"), 1);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM machines"), 1);
}

/* Several processes find no store and make one: its tables must be made once. */
static void first_open_at_once_makes_one_store(void **state)
{
    for (int round = 0; round < 8; round++) {
        char name[16];
        snprintf(name, sizeof name, "%d.db", round);
        const char *path = test_path(state, name);
        run_writers(path, N_WRITERS, 1);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM trials"), N_WRITERS);
        assert_int_equal(store_ask(path, "PRAGMA user_version"), STORE_VERSION);
    }
}

/* How far the file gets before each limit; small limits already stop the opening. */
static void no_room_is_one_clear_line_and_loses_nothing(void **state)
{
    static const long limits[] = {0, 1000, 5000, 20000, 60000, 120000, 250000, 400000, 800000};
    int n_added = 0;
    for (size_t i = 0; i < COUNT(limits); i++) {
        char name[32];
        struct snug_process p = SNUG_PROCESS_INIT;
        struct snug_process_exit end = {0};
        static struct ids ids;
        snprintf(name, sizeof name, "%ld.db", limits[i]);
        const char *path = test_path(state, name);
        ids.n = 0;
        ids.last[0] = '\0';
        start(&p, "fill", path, limits[i]);
        while (read_id(&p, &ids))
            ;
        assert_int_equal(snug_process_wait(&p, PATIENCE_S, &end), SNUG_OK);
        snug_process_clear(&p);
        assert_int_equal(end.code, 1);
        assert_contains(ids.last, "error io: ");
        assert_contains(ids.last, path);
        assert_contains(ids.last, "the file size limit (ulimit -f) is reached");
        assert_contains(ids.last, "--store");
        /* What could be written is whole, and with room again it goes on. */
        assert_all_there(path, &ids);
        n_added += ids.n;
        run_writers(path, 1, 1);
        assert_true(store_ask(path, "SELECT count(*) FROM trials") >= ids.n + 1);
    }
    assert_true(n_added > 10);
}

static void session_of_a_living_process_is_not_resumed(void **state)
{
    const char *path = test_path(state, "h.db");
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    int64_t id = 0;
    char *options = NULL, pid[32];
    start(&p, "hold", path, 0);
    expect_line(&p, "1");
    assert_ok(snug_store_open(path, &store, &err));
    assert_fails(SNUG_NOT_FOUND,
                 snug_store_session_unfinished(store, 1, "tune", &id, &options, &err));
    snprintf(pid, sizeof pid, "process %d", (int)p.pid);
    assert_contains(err.text, pid);
    snug_process_clear(&p); /* killed and reaped: now it is free */
    assert_ok(snug_store_session_unfinished(store, 1, "tune", &id, &options, &err));
    assert_int_equal(id, 1);
    free(options);
    snug_store_close(store);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(kill_at_any_moment_loses_nothing_acknowledged),
        IN_FOLDER(writers_at_once_all_get_through),
        IN_FOLDER(first_open_at_once_makes_one_store),
        IN_FOLDER(no_room_is_one_clear_line_and_loses_nothing),
        IN_FOLDER(session_of_a_living_process_is_not_resumed),
    };
    struct snug_error err = {0};
    if (argc > 2)
        return child(argv);
    if (snug_process_self(self, sizeof self, &err) != SNUG_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
