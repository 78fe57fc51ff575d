/* The load's process: reads what is asked, drives the generator, reports. */
#include "machine/load_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "machine/budget_internal.h"
#include "machine/load_internal.h"
#include "machine/machine_json.h"

/* JSON may write a byte of the folder's path as six. */
#define HEADER_BYTES_MAX (6 * SNUG__LOAD_FOLDER_BYTES_MAX + 1024)
/* A trace printed with all digits is longer than the file that it was read from. */
#define INPUT_BYTES_MAX (16 * (size_t)SNUG_LOAD_TRACE_BYTES_MAX)
#define READ_BYTES 65536

struct order {
    struct snug__load_gen_options gen;
    struct snug_load_trace trace;
    char folder[SNUG__LOAD_FOLDER_BYTES_MAX + 1];
    size_t n_bytes; /* of the trace */
};

/* ---- talking ---- */

/* One line, all or nothing: lines are shorter than PIPE_BUF. Waits for room where is_last. */
static void send_line(char *text, bool is_last)
{
    char line[4096];
    const int n = snprintf(line, sizeof line, "%s\n", text ? text : "");
    free(text);
    if (n < 2 || (size_t)n >= sizeof line)
        return;
    while (write(STDOUT_FILENO, line, (size_t)n) < 0 && (errno == EINTR || errno == EAGAIN)) {
        struct pollfd room = {.fd = STDOUT_FILENO, .events = POLLOUT};
        if (!is_last)
            return;
        (void)poll(&room, 1, -1); /* a parent that died raises POLLERR, or kills us */
    }
}

static void send_refusal(const struct snug_error *err)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "event", "refused");
    snug_json_put_int(&w, "status", err->status);
    snug_json_put_string(&w, "reason", err->text);
    snug_json_end(&w);
    send_line(snug_json_finish(&w, false), true);
}

static void send_ready(void)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "event", "ready");
    snug_json_end(&w);
    send_line(snug_json_finish(&w, false), true);
}

static void send_report(const struct snug_load_report *report)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "event", "report");
    snug_load_report_to_json(&w, "report", report);
    snug_json_end(&w);
    send_line(snug_json_finish(&w, false), report->is_over);
}

/* ---- the order ---- */

static snug_status parse_header(const char *line, size_t n, struct order *out,
                                struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("load", line, n, &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    const int64_t n_bytes = snug_json_get_int(root, "n_bytes", -1);
    const int64_t reserve = snug_json_get_int(root, "reserve_bytes", -1);
    const int64_t stream = snug_json_get_int(root, "stream_bytes", -1);
    const int64_t n_threads = snug_json_get_int(root, "n_threads", -1);
    const char *folder = snug_json_get_string(root, "folder", NULL);
    if (n_bytes < 0 || n_bytes > (int64_t)INPUT_BYTES_MAX || reserve < 0 || stream < 0 ||
        stream > (int64_t)SNUG__LOAD_STREAM_BYTES_MAX || n_threads < 1 ||
        n_threads > SNUG_LOAD_CPUS_MAX || (folder && strlen(folder) >= sizeof out->folder)) {
        status = snug_fail(err, SNUG_BAD_INPUT, "load: a header that is none");
    } else {
        out->n_bytes = (size_t)n_bytes;
        out->gen.reserve_bytes = (uint64_t)reserve;
        out->gen.stream_bytes = (uint64_t)stream;
        out->gen.n_threads = (int)n_threads;
        snprintf(out->folder, sizeof out->folder, "%s", folder ? folder : "");
        out->gen.folder = folder ? out->folder : NULL;
    }
    snug_json_free(doc);
    return status;
}

/* Read until the header's line and the trace behind it are there. */
static snug_status read_order(struct order *out, struct snug_error *err)
{
    struct snug_buffer in = {0};
    size_t n_header = 0;
    snug_status status = SNUG_OK;
    while (status == SNUG_OK && (n_header == 0 || in.len < n_header + out->n_bytes)) {
        char bytes[READ_BYTES];
        const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            snug_buffer_append(&in, bytes, (size_t)n);
        const char *end = in.len > 0 && n_header == 0 ? memchr(in.data, '\n', in.len) : NULL;
        if (end) {
            n_header = (size_t)(end - in.data) + 1;
            status = parse_header(in.data, n_header, out, err);
        }
        if (n <= 0 || in.is_failed || (n_header == 0 && in.len > HEADER_BYTES_MAX))
            status = snug_fail(err, SNUG_BAD_INPUT, "load: the order ended early");
    }
    if (status == SNUG_OK)
        status = snug_load_trace_parse("trace", in.data + n_header, out->n_bytes, &out->trace, err);
    snug_buffer_clear(&in);
    if (status == SNUG_OK)
        snug_load_trace_peak(&out->trace, &out->gen.peak);
    return status;
}

/* ---- the run ---- */

struct run {
    struct snug__load_gen *gen;
    double begin_s;
    struct snug_load_level asked;
    struct snug__load_counters asked_sum; /* what counters would be if all asked for were reached */
    double asked_t_s;
    struct snug__load_counters begin, last; /* at the start, at the last report */
    double last_t_s;
};

static double per(double amount, double s)
{
    return s > 0 ? fmax(amount, 0) / s : 0;
}

static void fill_level(const struct snug__load_counters *from, const struct snug__load_counters *to,
                       double s, struct snug_load_level *out)
{
    out->cpu = per(to->cpu_s - from->cpu_s, s);
    out->memory_bytes = (uint64_t)(per(to->held_byte_s - from->held_byte_s, s) + 0.5);
    out->bandwidth_bps = per(to->streamed_bytes - from->streamed_bytes, s);
    out->disk_frac = fmin(per(to->disk_s - from->disk_s, s), 1);
}

/* What was asked until now goes into the sums, before the level changes. */
static void sum_asked(struct run *run, double t_s)
{
    const double dt = t_s - run->asked_t_s;
    run->asked_sum.cpu_s += run->asked.cpu * dt;
    run->asked_sum.held_byte_s += (double)run->asked.memory_bytes * dt;
    run->asked_sum.streamed_bytes += run->asked.bandwidth_bps * dt;
    run->asked_sum.disk_s += run->asked.disk_frac * dt;
    run->asked_t_s = t_s;
}

static void make_report(struct run *run, double t_s, bool is_over, struct snug_load_report *out)
{
    const struct snug__load_counters none = {0};
    struct snug__load_counters now;
    snug__load_gen_counters(run->gen, &now);
    const double dt = t_s - run->last_t_s;
    struct snug_load_report report = {
        .t_s = t_s,
        .asked = run->asked,
        .disk_bps = per(now.disk_bytes - run->last.disk_bytes, dt),
        .disk_bps_mean = per(now.disk_bytes, t_s),
        .memory_bytes_peak = now.held_bytes_peak,
        .given_back_bytes = now.given_back_bytes,
        .is_settled = now.is_settled,
        .is_over = is_over,
    };
    fill_level(&run->last, &now, dt, &report.reached);
    report.reached.memory_bytes = now.held_bytes;
    fill_level(&run->begin, &now, t_s, &report.reached_mean);
    fill_level(&none, &run->asked_sum, t_s, &report.asked_mean);
    if (now.disk_errno)
        snprintf(report.note, sizeof report.note, "disk: %s", strerror(now.disk_errno));
    run->last = now;
    run->last_t_s = t_s;
    *out = report;
}

static double available_now(void)
{
    struct snug_fact system = {0}, group = {0};
    snug__memory_now("", &system, &group);
    const double a = system.is_known ? system.value : INFINITY;
    const double b = group.is_known ? group.value : INFINITY;
    const double least = fmin(a, b);
    return isfinite(least) ? least : 0; /* unknown: hold nothing */
}

/* Wait for the next tick; false when the parent wants an end. */
static bool wait_tick(double s)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, (int)(s * 1e3)) <= 0)
        return true;
    char byte;
    const ssize_t n = read(STDIN_FILENO, &byte, 1);
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static void drive(const struct order *order, struct snug__load_gen *gen)
{
    struct run run = {.gen = gen, .begin_s = snug_clock_s()};
    struct snug_load_report report;
    double t_s = 0;
    snug__load_gen_counters(gen, &run.begin);
    run.last = run.begin;
    bool is_on = snug_load_trace_at(&order->trace, t_s, &run.asked);
    while (is_on) {
        const bool is_held = run.asked.memory_bytes > 0 || run.last.held_bytes_peak > 0;
        snug__load_gen_tick(gen, &run.asked, is_held ? available_now() : 0);
        if (t_s - run.last_t_s >= SNUG__LOAD_REPORT_S) {
            make_report(&run, t_s, false, &report);
            send_report(&report);
        }
        is_on = wait_tick(snug__load_gen_is_filling(gen) ? 0 : SNUG__LOAD_TICK_S);
        t_s = snug_clock_s() - run.begin_s;
        sum_asked(&run, t_s);
        if (is_on)
            is_on = snug_load_trace_at(&order->trace, t_s, &run.asked);
    }
    make_report(&run, t_s, true, &report);
    snug__load_gen_stop(gen); /* first, so that a parent that reads the end finds nothing running */
    send_report(&report);
}

/* When memory runs out after all, the kernel shall take this process before any other. */
static void offer_to_the_kernel(void)
{
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!write(fd, "1000", 4);
    close(fd);
}

int snug__load_main(void)
{
    struct snug_error err = {.status = SNUG_OK};
    struct order order = {.n_bytes = 0};
    struct snug__load_gen *gen = NULL;
    snug_process_die_with_parent(SIGKILL);
    signal(SIGINT, SIG_IGN); /* the parent hears it, and ends us in order */
    offer_to_the_kernel();
    snug_status status = read_order(&order, &err);
    if (status == SNUG_OK)
        status = snug__load_gen_start(&order.gen, &gen, &err);
    if (status != SNUG_OK) {
        send_refusal(&err);
        snug_load_trace_clear(&order.trace);
        return 1;
    }
    send_ready();
    (void)fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
    drive(&order, gen);
    snug_load_trace_clear(&order.trace);
    return 0;
}
