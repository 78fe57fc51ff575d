/* ggml's backends and devices. Backends are shared objects in a folder, chosen by ggml for the CPU
 * at hand when they are loaded; a device is what a backend offers to compute on. */
#include "snug/machine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ggml-backend.h>

#include "machine/probe.h"

/* The build writes SNUG_BACKEND_FOLDER; "" lets ggml look where it was built to look. */
#if !defined(SNUG_BACKEND_FOLDER) && __has_include("snug_config.h")
#include "snug_config.h"
#endif
#ifndef SNUG_BACKEND_FOLDER
#define SNUG_BACKEND_FOLDER ""
#endif

/* Seen from libggml's folder. An installation with libraries of its own keeps them in
 * PREFIX/lib/snug; beside a system's libggml there is no such folder. */
#define INSTALLED_FOLDER "../snug/ggml"

/* ggml sends pieces of lines; each becomes one debug line without its end. */
static void forward_log(enum ggml_log_level level, const char *text, void *data)
{
    char line[256];
    (void)level;
    (void)data;
    snug__copy_text(line, sizeof line, text, strlen(text));
    if (line[0])
        snug_log(SNUG_LOG_DEBUG, "event=ggml text=\"%s\"", line);
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool find_installed(char *out, size_t cap)
{
    Dl_info info;
    const void *function = dlsym(RTLD_DEFAULT, "ggml_backend_load_all_from_path");
    if (!function || !dladdr(function, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/');
    return slash &&
           snug__format(out, cap, "%.*s/" INSTALLED_FOLDER, (int)(slash - info.dli_fname),
                        info.dli_fname) &&
           is_folder(out);
}

snug_status snug_machine_load_backends(struct snug_error *err)
{
    char folder[SNUG__PROBE_PATH_MAX] = SNUG_BACKEND_FOLDER;
    const char *asked = getenv("SNUG_BACKENDS");
    if (ggml_backend_dev_count() > 0)
        return SNUG_OK;
    if (asked && *asked) {
        if (!is_folder(asked) || !snug__format(folder, sizeof folder, "%s", asked))
            return snug_fail(err, SNUG_NOT_FOUND,
                             "SNUG_BACKENDS=%s: not a folder; expected one with libggml-cpu*.so",
                             asked);
    } else {
        char installed[SNUG__PROBE_PATH_MAX];
        if (find_installed(installed, sizeof installed))
            memcpy(folder, installed, sizeof folder);
    }
    ggml_log_set(forward_log, NULL);
    if (is_folder(folder)) /* a build folder may be gone where the program was moved to */
        ggml_backend_load_all_from_path(folder);
    else
        ggml_backend_load_all();
    if (ggml_backend_dev_count() == 0)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "no ggml backend in %s; set SNUG_BACKENDS to the folder with "
                         "libggml-cpu*.so",
                         folder[0] ? folder : "ggml's own folder");
    return SNUG_OK;
}

static const char *kind_name(enum ggml_backend_dev_type type)
{
    switch (type) {
    case GGML_BACKEND_DEVICE_TYPE_CPU:
        return "cpu";
    case GGML_BACKEND_DEVICE_TYPE_GPU:
        return "gpu";
    case GGML_BACKEND_DEVICE_TYPE_IGPU:
        return "igpu";
    default:
        return "accel";
    }
}

void snug_machine_devices(struct snug_machine *machine)
{
    size_t n = ggml_backend_dev_count();
    machine->n_devices = 0;
    for (size_t i = 0; i < n && i < SNUG_DEVICES_MAX; i++) {
        struct snug_device *out = &machine->devices[machine->n_devices++];
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        size_t bytes_free = 0, bytes_total = 0;
        const char *name = ggml_backend_dev_name(device);
        const char *description = ggml_backend_dev_description(device);
        memset(out, 0, sizeof *out);
        ggml_backend_dev_memory(device, &bytes_free, &bytes_total);
        snug__copy_text(out->name, sizeof out->name, name, strlen(name));
        snug__copy_text(out->description, sizeof out->description, description,
                        strlen(description));
        snug__format(out->kind, sizeof out->kind, "%s", kind_name(ggml_backend_dev_type(device)));
        out->bytes_free = bytes_free;
        out->bytes_total = bytes_total;
    }
}
