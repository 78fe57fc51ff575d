/* Devices and measured speeds, asked of a worker process: ggml may abort or hang, OpenMP threads
 * must not live in a program that spawns, and a driver's memory stays out of the parent. */
#include "engine/probe_worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "machine/machine_json.h"
#include "snug/engine.h"

static const double LIMIT_S = 120.0;

/* ---- in the worker ---- */

static snug_status work(bool want_speed, struct snug_json_writer *w, struct snug_error *err)
{
    struct snug_machine machine = {0};
    struct snug_machine_speed speed = {0};
    snug_status status = snug_machine_probe("", &machine, err);
    if (status == SNUG_OK)
        status = snug_machine_load_backends(err);
    if (status == SNUG_OK)
        snug_machine_devices(&machine);
    if (status == SNUG_OK && want_speed)
        status = snug_machine_measure(&machine, &speed, err);
    if (status != SNUG_OK)
        return status;
    snug_machine_to_json(w, "machine", &machine);
    if (want_speed)
        snug_machine_speed_to_json(w, "speed", &speed);
    return SNUG_OK;
}

int snug__probe_main(void)
{
    snug_process_die_with_parent(SIGKILL);
    signal(SIGINT, SIG_IGN);
    char what[16] = "";
    const int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || !fgets(what, sizeof what, stdin))
        return 1;
    struct snug_error err = {0};
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    if (work(strncmp(what, "measure", 7) == 0, &w, &err) != SNUG_OK)
        snug_json_put_string(&w, "error", err.text);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    const bool is_sent = text && dprintf(fd, "%s\n", text) > 0;
    free(text);
    return is_sent ? 0 : 1;
}

/* ---- in the parent ---- */

static snug_status take_answer(const char *line, struct snug_machine *machine,
                               struct snug_machine_speed *speed, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("probe worker", line, strlen(line), &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    const char *error = snug_json_get_string(root, "error", NULL);
    struct snug_machine found = {0};
    struct snug_machine_speed measured = {0};
    if (error)
        status = snug_fail(err, SNUG_UNSUPPORTED, "%s", error);
    if (status == SNUG_OK)
        status = snug_machine_from_json(snug_json_get(root, "machine"), &found, err);
    if (status == SNUG_OK && speed)
        status = snug_machine_speed_from_json(snug_json_get(root, "speed"), &measured, err);
    if (status == SNUG_OK) {
        memcpy(machine->devices, found.devices, sizeof found.devices);
        machine->n_devices = found.n_devices;
        if (speed)
            *speed = measured;
    }
    snug_json_free(doc);
    return status;
}

snug_status snug_engine_probe(struct snug_machine *machine, struct snug_machine_speed *speed,
                              const volatile int *stop, struct snug_error *err)
{
    char self[4096];
    snug_status status = snug_process_self(self, sizeof self, err);
    if (status != SNUG_OK)
        return status;
    const char *const argv[] = {self, "__probe", NULL};
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    struct snug_process process = SNUG_PROCESS_INIT;
    const char *what = speed ? "measure\n" : "devices\n", *line = NULL;
    status = snug_process_start(&process, argv, env, err);
    if (status == SNUG_OK)
        status = snug_process_write(&process, what, strlen(what), 5.0, err);
    if (status == SNUG_OK)
        status = snug_process_read_line(&process, LIMIT_S, stop, &line, err);
    if (status == SNUG_OK)
        status = take_answer(line, machine, speed, err);
    snug_process_clear(&process);
    return status;
}
