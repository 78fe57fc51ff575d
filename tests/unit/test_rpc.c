/* The packaged RPC server on loopback as a second device: bytes on it, runs on it, its death. */
#include "engine.h"
#include "loopback.h"
#include "peer.h"

#include <time.h>

#include "base/process.h"

static struct snug_process server = SNUG_PROCESS_INIT;
static char endpoint[64];

static bool is_listening(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)},
                                  .sin_port = htons((uint16_t)port)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    const bool is_up = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return is_up;
}

/* False where the program is not there. */
static bool start_server(void)
{
    char tool[4096], port[16];
    struct snug_error err;
    const int number = loopback_port();
    if (!peer_find("ggml-rpc-server", tool))
        return false;
    snprintf(port, sizeof port, "%d", number);
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", number);
    const char *const argv[] = {tool, "-H", "127.0.0.1", "-p", port, "-t", "1", NULL};
    const struct snug_process fresh = SNUG_PROCESS_INIT;
    server = fresh;
    assert_ok(snug_process_start(&server, argv, NULL, &err));
    const double until_s = snug_clock_s() + PATIENCE_S;
    while (!is_listening(number)) {
        const struct timespec pause = {.tv_nsec = 20000000};
        if (snug_clock_s() > until_s)
            fail_msg("the RPC server does not listen on %s", endpoint);
        nanosleep(&pause, NULL);
    }
    return true;
}

static void set_layers(struct snug_engine *engine, struct snug_config *config, int64_t n)
{
    const struct snug_space *space = snug_engine_space(engine);
    const int row = snug_space_find(space, "n_gpu_layers");
    snug_space_default(space, config);
    assert_true(row >= 0 && space->knobs[row].is_tuned);
    config->value[row] = n;
}

static void layers_lie_and_run_on_the_server(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    struct snug_error err;
    struct snug_config config;
    struct snug_bytes none, all;
    struct snug_measurement m;
    if (!start_server())
        skip();
    options.rpc = endpoint;
    struct snug_engine *engine = engine_test_start(&options);
    set_layers(engine, &config, 0);
    assert_ok(snug_engine_estimate(engine, &config, &none, &err));
    set_layers(engine, &config, t->model.n_layer + 1);
    assert_ok(snug_engine_estimate(engine, &config, &all, &err));
    assert_int_equal(none.device, 0);
    /* The context's own buffers lie there; weights are told when they are loaded. */
    assert_true(all.device > 0);
    assert_ok(snug_engine_run(engine, &config, &t->effort, &m, &err));
    assert_int_equal(m.outcome, SNUG_TRIAL_OK);
    assert_true(m.decode_tps > 0.0 && m.prefill_tps > 0.0);
    assert_true(m.bytes.device > all.device);
    snug_measurement_clear(&m);
    /* The output goes first, and a tied embedding with it: rows are still looked up here. */
    const int64_t layers[] = {1, t->model.n_layer + 1};
    for (int i = 0; i < 2; i++) {
        set_layers(engine, &config, layers[i]);
        assert_ok(snug_engine_estimate(engine, &config, &all, &err));
        assert_ok(snug_engine_run(engine, &config, &t->effort, &m, &err));
        assert_int_equal(m.outcome, SNUG_TRIAL_OK);
        assert_true(t->model.is_tied && all.weights > t->model.bytes_tensors);
        const double off = (double)m.bytes.weights - (double)all.weights;
        assert_true(off < 65536.0 && off > -65536.0); /* its log has two decimals of a MiB */
        snug_measurement_clear(&m);
    }
    set_layers(engine, &config, t->model.n_layer + 1);
    /* The server goes away: the worker dies of it, the trial says so, and nothing else happens. */
    snug_process_signal(&server, SIGKILL);
    snug_process_clear(&server);
    assert_ok(snug_engine_run(engine, &config, &t->effort, &m, &err));
    assert_int_equal(m.outcome, SNUG_TRIAL_CRASH);
    snug_measurement_clear(&m);
    snug_engine_close(engine);
    engine_test_running = NULL;
}

static void server_that_is_not_there_is_named(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = NULL;
    struct snug_error err;
    char nobody[64];
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", loopback_port());
    options.rpc = nobody;
    assert_int_not_equal(snug_engine_open("llama", &options, &engine, &err), SNUG_OK);
    assert_contains(err.text, nobody);
    options.rpc = "nonsense";
    assert_int_not_equal(snug_engine_open("llama", &options, &engine, &err), SNUG_OK);
    assert_contains(err.text, "HOST:PORT");
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_lie_and_run_on_the_server),
        cmocka_unit_test(server_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
