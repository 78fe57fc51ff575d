/* A systemd unit for llama-server. Memory is bounded by what the plan counts on the host and a
 * margin; CPUs are left alone; of the hardening options those are taken that leave memory mapping,
 * GPU devices and their drivers' code generation working (so neither PrivateDevices nor
 * MemoryDenyWriteExecute). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "plan/emit.h"

/* The process beside the model (code, vocabulary, HTTP, slots), and what the prediction may miss.
 */
#define MARGIN_BYTES (UINT64_C(512) << 20)
static const double MARGIN_FRAC = 0.1;

static const char HARDENING[] = "NoNewPrivileges=yes\n"
                                "ProtectSystem=strict\n"
                                "ProtectHome=read-only\n"
                                "ProtectKernelTunables=yes\n"
                                "ProtectKernelModules=yes\n"
                                "ProtectControlGroups=yes\n"
                                "RestrictSUIDSGID=yes\n"
                                "LockPersonality=yes\n"
                                "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n";

/* A word of ExecStart: quoted as systemd reads it, with nothing that it would replace. */
static void put_word(struct snug_buffer *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=+,@";
    if (word[0] && !word[strspn(word, plain)]) {
        snug_buffer_puts(out, word);
        return;
    }
    snug_buffer_puts(out, "\"");
    for (const char *p = word; *p;) {
        const size_t n = snug_utf8_length((const unsigned char *)p);
        const unsigned char ch = (unsigned char)*p;
        if (n == 0 || ch < 0x20 || ch == 0x7f)
            snug_buffer_printf(out, "\\x%02x", ch); /* a unit is UTF-8 */
        else if (ch == '"' || ch == '\\')
            snug_buffer_printf(out, "\\%c", ch);
        else if (ch == '%' || ch == '$')
            snug_buffer_printf(out, "%c%c", ch, ch);
        else
            snug_buffer_append(out, p, n);
        p += n ? n : 1;
    }
    snug_buffer_puts(out, "\"");
}

/* A unit has no current folder: make "./m.gguf" absolute. */
static snug_status absolute(const char *path, struct snug_buffer *out, struct snug_error *err)
{
    if (path[0] != '/') {
        char *folder = getcwd(NULL, 0);
        if (!folder)
            return snug_fail(err, errno == ENOMEM ? SNUG_NO_MEMORY : SNUG_IO,
                             "%.80s: the current folder has no name that a unit could use: give "
                             "an absolute path",
                             path);
        snug_buffer_puts(out, folder);
        if (strcmp(folder, "/") != 0)
            snug_buffer_puts(out, "/");
        free(folder);
        path += strncmp(path, "./", 2) == 0 ? 2 : 0;
    }
    snug_buffer_puts(out, path);
    if (out->is_failed)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a path");
    if (strpbrk(snug_buffer_text(out), "\r\n"))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "path of the GGUF file: a line break in the name of a folder cannot stand "
                         "in a unit");
    return SNUG_OK;
}

/* Bytes of the host's memory that the unit may take: planned, prompt cache, margin. */
static uint64_t memory_max(const struct snug_plan *plan)
{
    uint64_t planned = 0;
    bool has_host = false;
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &plan->tiers[i];
        if (!snug__tier_is_host(t))
            continue;
        planned += t->weights + t->cache + t->compute + t->reserve;
        has_host = true;
    }
    if (!has_host)
        planned = plan->total_bytes;
    const uint64_t share = (uint64_t)((double)planned * MARGIN_FRAC);
    return planned + (share > MARGIN_BYTES ? share : MARGIN_BYTES) +
           ((uint64_t)snug__prompt_cache_mib(plan) << 20);
}

static bool is_below(const char *path, const char *folder)
{
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* Whom it runs as, and the folders that this user sees. */
static void put_user(const struct snug_plan *plan, const char *path, struct snug_buffer *out)
{
    if (is_below(path, "/home/") || is_below(path, "/root/"))
        snug_buffer_puts(out, "# The model lies in somebody's home: set User= to its owner.\n");
    else
        snug_buffer_puts(out, "DynamicUser=yes\n");
    if (plan->n_gpu_layers > 0)
        snug_buffer_puts(out, "# Who may open the GPU's devices; leave out a group that is not on "
                              "this machine.\n"
                              "SupplementaryGroups=video render\n");
    /* A private /tmp would hide a model that lies in the real one. */
    if (!is_below(path, "/tmp/") && !is_below(path, "/var/tmp/"))
        snug_buffer_puts(out, "PrivateTmp=yes\n");
    snug_buffer_puts(out, "# Compiled kernels of GPU drivers are kept here.\n"
                          "CacheDirectory=llama-server\n"
                          "Environment=HOME=%C/llama-server\n");
}

static void put_unit(const struct snug_command *c, const char *tool, const char *path,
                     char *const *words, struct snug_buffer *out)
{
    struct snug_buffer name = {0};
    snug__put_clean(&name, c->name[0] ? c->name : "model");
    snug_buffer_puts(out, "[Unit]\nDescription=llama-server with ");
    for (const char *p = snug_buffer_text(&name); *p; p++)
        snug_buffer_append(out, *p == '%' ? "%%" : p, *p == '%' ? 2 : 1);
    snug_buffer_puts(out, ", as planned by snug\nAfter=network.target\n\n[Service]\nType=exec\n"
                          "ExecStart=");
    put_word(out, tool);
    snug_buffer_puts(out, " --model ");
    put_word(out, path);
    for (char *const *w = words; *w; w++) {
        snug_buffer_puts(out, " ");
        put_word(out, *w);
    }
    snug_buffer_puts(out, "\nRestart=on-failure\nRestartSec=5\n");
    snug_buffer_printf(out,
                       "# Planned for the host, %lld MiB of prompt cache, and a margin. Pages of a "
                       "mapped file count too; the kernel drops them first.\n"
                       "MemoryMax=%llu\n",
                       (long long)snug__prompt_cache_mib(c->plan),
                       (unsigned long long)memory_max(c->plan));
    put_user(c->plan, path, out);
    snug_buffer_puts(out, HARDENING);
    snug_buffer_puts(out, "\n[Install]\nWantedBy=multi-user.target\n");
    out->is_failed = out->is_failed || name.is_failed;
    snug_buffer_clear(&name);
}

snug_status snug__emit_systemd(const struct snug_command *c, char **out_text,
                               struct snug_error *err)
{
    struct snug_buffer out = {0}, path = {0};
    char tool[4096], **words = NULL;
    /* Where it is not installed here, the unit may be for a machine that has it. */
    if (snug_engine_tool("llama-server", tool, sizeof tool, NULL) != SNUG_OK)
        snprintf(tool, sizeof tool, "/usr/bin/llama-server");
    snug_status status = absolute(c->gguf_path, &path, err);
    if (status == SNUG_OK)
        status = snug__server_words(c, &words, err);
    if (status == SNUG_OK) {
        put_unit(c, tool, snug_buffer_text(&path), words, &out);
        status = snug__emit_end(&out, out_text, err);
    }
    snug_engine_flags_free(words);
    snug_buffer_clear(&path);
    snug_buffer_clear(&out);
    return status;
}
