/* The packaged llama.cpp programs: where they are, and what --fit would choose. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/process.h"
#include "engine/shell.h"
#include "snug/engine.h"
#include "snug_config.h"

static const double FIT_LIMIT_S = 60.0;
static const size_t FIT_OUTPUT_MAX = 65536;

static bool try_folder(const char *folder, size_t n, const char *name, char *out, size_t cap)
{
    const int len = snprintf(out, cap, "%.*s/%s", (int)n, folder, name);
    return n > 0 && len > 0 && (size_t)len < cap && access(out, X_OK) == 0;
}

snug_status snug_engine_tool(const char *name, char *out, size_t cap, struct snug_error *err)
{
    char self[4096];
    const char *given = getenv("SNUG_TOOLS");
    if (given && try_folder(given, strlen(given), name, out, cap))
        return SNUG_OK;
    if (snug_process_self(self, sizeof self, NULL) == SNUG_OK) {
        char *slash = strrchr(self, '/');
        static const char beside[] = "/../lib/snug/bin";
        if (slash && (size_t)(slash - self) + sizeof beside < sizeof self) {
            memcpy(slash, beside, sizeof beside);
            if (try_folder(self, strlen(self), name, out, cap))
                return SNUG_OK;
        }
    }
    if (try_folder(SNUG_TOOLS_FOLDER, strlen(SNUG_TOOLS_FOLDER), name, out, cap))
        return SNUG_OK;
    for (const char *path = getenv("PATH"); path && *path;) {
        const size_t n = strcspn(path, ":");
        if (try_folder(path, n, name, out, cap))
            return SNUG_OK;
        path += n + (path[n] == ':');
    }
    return snug_fail(err, SNUG_NOT_FOUND,
                     "%s is not on this machine: install llama.cpp, or set SNUG_TOOLS to the "
                     "folder it is in",
                     name);
}

/* "-c 4096 -ngl 28": the layers are the one choice that is a knob here; context is ours. */
static void read_fit(const char *line, const struct snug_space *space, struct snug_config *config)
{
    const char *at = strstr(line, "-ngl ");
    const int row = snug_space_find(space, "n_gpu_layers");
    if (!at || row < 0)
        return;
    const struct snug_knob *knob = &space->knobs[row];
    const long layers = strtol(at + 5, NULL, 10);
    if (layers >= 0 && knob->is_tuned)
        config->value[row] = layers > knob->max ? knob->max : layers;
}

snug_status snug_engine_fit(const struct snug_space *space, const struct snug_workload *workload,
                            const char *model_path, struct snug_config *out_config,
                            struct snug_error *err)
{
    char tool[4096], context[32];
    snug_status status = snug_engine_tool("llama-fit-params", tool, sizeof tool, err);
    if (status != SNUG_OK)
        return status;
    snprintf(context, sizeof context, "%lld", (long long)(workload->n_ctx * workload->n_parallel));
    const char *const argv[] = {tool, "-m", model_path, "-c", context, NULL};
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    struct snug_buffer out = {0};
    status = snug_process_run(argv, env, FIT_LIMIT_S, FIT_OUTPUT_MAX, &out, err);
    if (status == SNUG_OK &&
        (strstr(snug_buffer_text(&out), "-ot ") || strstr(snug_buffer_text(&out), "-ts "))) {
        /* Part of its choice would be dropped, and the rest must not go by its name. */
        status = snug_fail(err, SNUG_UNSUPPORTED,
                           "it places single tensors, which is not a knob here yet: %.150s",
                           snug_buffer_text(&out));
    } else if (status == SNUG_OK) {
        snug_space_default(space, out_config);
        read_fit(snug_buffer_text(&out), space, out_config);
    }
    snug_buffer_clear(&out);
    return status;
}

/* ---- command lines ---- */

static bool needs_quotes(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=+,@%";
    return word[0] == '\0' || word[strspn(word, plain)] != '\0';
}

void snug__shell_put(struct snug_buffer *out, const char *word)
{
    if (out->len > 0 && out->data[out->len - 1] != '\n')
        snug_buffer_puts(out, " ");
    if (!needs_quotes(word)) {
        snug_buffer_puts(out, word);
        return;
    }
    snug_buffer_puts(out, "'");
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            snug_buffer_puts(out, "'\\''");
        else
            snug_buffer_append(out, p, 1);
    }
    snug_buffer_puts(out, "'");
}

char *snug_engine_command_line(const char *tool, const char *model_path, char *const *words)
{
    struct snug_buffer out = {0};
    snug__shell_put(&out, tool);
    snug__shell_put(&out, "--model");
    snug__shell_put(&out, model_path);
    for (char *const *w = words; w && *w; w++)
        snug__shell_put(&out, *w);
    return snug_buffer_take(&out);
}
