/* Which machine is meant, and its law. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/hash.h"
#include "plan/law_fit.h"
#include "snug/budget.h"
#include "snug/engine.h"

#define PROBE_FILE_MAX (1u << 20)
static uint64_t least(uint64_t bytes, uint64_t limit)
{
    return limit > 0 && limit < bytes ? limit : bytes;
}

/* Limits of the request on a law that states what is there. */
static void limit_tiers(struct snug_law *law, const struct snug_law_request *request)
{
    for (int t = 0; t < law->n_tiers; t++) {
        struct snug_law_tier *tier = &law->tiers[t];
        const uint64_t limits[] = {request->vram_bytes, request->memory_bytes, request->disk_bytes};
        tier->bytes = least(tier->bytes, limits[tier->kind]);
    }
}

static uint64_t free_of_folder(const char *folder)
{
    struct statvfs s;
    return statvfs(folder, &s) == 0 ? (uint64_t)s.f_bavail * (uint64_t)s.f_frsize : 0;
}

/* What is free now, in this machine's tiers. */
static void fill_bytes(const struct snug_law_request *request, const struct snug_machine *machine,
                       const char *folder, struct snug_law *law)
{
    for (int t = 0; t < law->n_tiers; t++) {
        struct snug_law_tier *tier = &law->tiers[t];
        if (tier->kind == SNUG_TIER_HOST)
            tier->bytes = snug_budget_usable_bytes(machine->available_bytes.is_known
                                                       ? (uint64_t)machine->available_bytes.value
                                                       : machine->ram_bytes);
        if (tier->kind == SNUG_TIER_DISK)
            tier->bytes = free_of_folder(folder);
        for (int i = 0; i < machine->n_devices && tier->kind == SNUG_TIER_DEVICE; i++)
            if (strcmp(machine->devices[i].name, tier->name) == 0)
                tier->bytes = request->rpc
                                  ? machine->devices[i].bytes_free
                                  : snug_budget_usable_bytes(machine->devices[i].bytes_free);
    }
}

/* The device of an RPC server in place of any other; a machine with it is another machine. */
static snug_status add_remote(const struct snug_law_request *request, struct snug_machine *machine,
                              struct snug_error *err)
{
    char text[512];
    if (request->vram_bytes == 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--rpc needs --vram: how much of that server's memory may be used");
    machine->n_devices = 1;
    machine->devices[0] = (struct snug_device){
        .kind = "gpu", .bytes_free = request->vram_bytes, .bytes_total = request->vram_bytes};
    snprintf(machine->devices[0].name, sizeof machine->devices[0].name, "RPC %s", request->rpc);
    snprintf(text, sizeof text, "%s %s", machine->fingerprint, request->rpc);
    snug_sha256_hex(text, strlen(text), machine->fingerprint);
    return SNUG_OK;
}

static snug_status open_this(const struct snug_law_request *request, struct snug_law *out,
                             struct snug_error *err)
{
    char folder[4096], build[64];
    struct snug_machine *machine = calloc(1, sizeof *machine);
    struct snug__calibration *c = calloc(1, sizeof *c);
    snug_status status = SNUG_OK;
    if (!machine || !c)
        status = snug_fail(err, SNUG_NO_MEMORY, "law of this machine");
    if (status == SNUG_OK && request->cache_folder)
        snprintf(folder, sizeof folder, "%s", request->cache_folder);
    else if (status == SNUG_OK)
        status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status == SNUG_OK)
        status = snug_machine_probe("", machine, err);
    if (status == SNUG_OK)
        status = snug_engine_probe(machine, NULL, request->stop, err);
    if (status != SNUG_OK)
        goto done;
    if (request->rpc)
        status = add_remote(request, machine, err);
    if (status != SNUG_OK)
        goto done;
    snug_engine_build_here(build, sizeof build);
    status = request->is_fresh
                 ? SNUG_NOT_FOUND
                 : snug__calibration_load(folder, machine->fingerprint, build, c, err);
    if (status == SNUG_NOT_FOUND) {
        status = snug__law_calibrate(machine, folder, SNUG__CALIBRATE_BUDGET_S, request, c, err);
        if (status == SNUG_OK && !c->is_disturbed)
            status = snug__calibration_save(folder, c, err);
    }
    if (status != SNUG_OK)
        goto done;
    snug__calibration_at(c, request->n_threads, out);
    fill_bytes(request, machine, folder, out);
    limit_tiers(out, request);
done:
    free(machine);
    free(c);
    return status;
}

static snug_status open_file(const struct snug_law_request *request, struct snug_law *out,
                             struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(request->machine, PROBE_FILE_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug__law_from_probe(request->machine, text, n, request, out, err);
    free(text);
    if (status == SNUG_OK)
        limit_tiers(out, request);
    return status;
}

/* A path has a slash or ends like one; everything else is a name. */
static bool is_path(const char *text)
{
    const size_t n = strlen(text);
    return strchr(text, '/') || (n > 5 && strcmp(text + n - 5, ".json") == 0);
}

snug_status snug_law_open(const struct snug_law_request *request, struct snug_law *out,
                          struct snug_error *err)
{
    const char *name = request->machine ? request->machine : "this";
    struct snug_law law = {.n_tiers = 0};
    snug_status status;
    if (strcmp(name, "this") == 0)
        status = open_this(request, &law, err);
    else if (strcmp(name, "custom") == 0)
        status = snug__law_custom(request, &law, err);
    else if (is_path(name))
        status = open_file(request, &law, err);
    else {
        status = snug__law_preset(name, request, &law, err);
        if (status == SNUG_OK)
            limit_tiers(&law, request);
    }
    if (status == SNUG_OK)
        *out = law;
    return status;
}
