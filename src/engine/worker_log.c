/* What libllama says only in its log: buffer sizes by kind, what flash attention "auto" became, and
 * the reason of a refusal. Its C API has no other way to learn them. */
#include "engine/worker.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct snug__llama_log snug__llama_log;

static const double BYTES_PER_MIB = 1024.0 * 1024.0;

/* Number before " MiB" that follows `key`; false when the line has no such pair. */
static bool find_mib(const char *line, const char *key, uint64_t *out_bytes)
{
    const char *at = strstr(line, key);
    if (!at)
        return false;
    at += strlen(key);
    at += strspn(at, " =");
    char *end = NULL;
    const double mib = strtod(at, &end);
    if (end == at || strncmp(end, " MiB", 4) != 0 || !(mib >= 0.0) || mib > 1e9)
        return false;
    *out_bytes = (uint64_t)(mib * BYTES_PER_MIB + 0.5);
    return true;
}

/* "load_tensors:   CUDA0 model buffer size" names a device that is not the host. Host buffers are
 * called CPU, CPU_Mapped, CPU_REPACK, AMX, or end in _Host. */
static bool is_host_buffer(const char *line)
{
    const char *name = strchr(line, ':');
    name = name ? name + 1 + strspn(name + 1, " ") : line;
    const size_t n = strcspn(name, " ");
    return strncmp(name, "CPU", 3) == 0 || strncmp(name, "AMX", 3) == 0 ||
           (n > 5 && strncmp(name + n - 5, "_Host", 5) == 0);
}

static void keep_error(const char *line)
{
    char *out = snug__llama_log.last_error;
    /* The first error is the cause; what follows only repeats that something failed. */
    if (out[0])
        return;
    snprintf(out, sizeof snug__llama_log.last_error, "%s", line);
    out[strcspn(out, "\n")] = '\0';
}

static void note_sizes(const char *line)
{
    struct snug_bytes *b = &snug__llama_log.bytes;
    uint64_t bytes = 0;
    uint64_t *kind = NULL;
    if (find_mib(line, " model buffer size", &bytes)) {
        kind = &b->weights;
    } else if (strncmp(line, "llama_kv_cache: size", 20) == 0 ||
               strncmp(line, "llama_memory_recurrent: size", 28) == 0) {
        /* The totals are right even in a dry run, where the "KV buffer size" lines say 0. */
        if (find_mib(line, ": size", &bytes))
            b->cache += bytes;
        return;
    } else if (strncmp(line, "sched_reserve:", 14) == 0 &&
               find_mib(line, " compute buffer size", &bytes)) {
        kind = &b->compute;
    } else if (find_mib(line, " output buffer size", &bytes)) {
        kind = &b->compute;
    } else if (find_mib(line, " KV buffer size", &bytes)) {
        if (!is_host_buffer(line))
            b->device += bytes;
        return;
    }
    if (!kind)
        return;
    *kind += bytes;
    if (!is_host_buffer(line))
        b->device += bytes;
}

static void on_log(enum ggml_log_level level, const char *line, void *data)
{
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) {
        if (level == GGML_LOG_LEVEL_ERROR)
            keep_error(line);
        fputs(line, stderr);
    }
    if (snug__llama_log.on_line)
        snug__llama_log.on_line(line, snug__llama_log.on_line_data);
    if (strstr(line, " MiB"))
        note_sizes(line);
    /* "auto" stays on unless a line takes it back. */
    else if ((strstr(line, "Flash Attention") || strstr(line, "flash_attn")) &&
             (strstr(line, "disabled") || strstr(line, "forcing off")))
        snug__llama_log.is_flash_attn_on = false;
}

void snug__llama_log_install(void)
{
    llama_log_set(on_log, NULL);
    ggml_log_set(on_log, NULL);
}

void snug__llama_log_reset_model(void)
{
    snug__llama_log.bytes.weights = 0;
    snug__llama_log.bytes.device = 0;
    snug__llama_log.last_error[0] = '\0';
}

void snug__llama_log_reset_context(void)
{
    snug__llama_log.bytes.cache = 0;
    snug__llama_log.bytes.compute = 0;
    snug__llama_log.bytes.device = snug__llama_log.device_model;
    snug__llama_log.last_error[0] = '\0';
}
