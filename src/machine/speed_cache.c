/* Measured speeds on disk: one JSON file per machine, "speed-FINGERPRINT.json" in the cache folder.
 * A file of another ggml build, or a damaged one, counts as not there: measuring again is the cure.
 */
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/file.h"
#include "machine/machine_json.h"
#include "machine/measure.h"
#include "machine/probe.h"

#define SPEED_FILE_MAX (1u << 20)
#define FINGERPRINT_DIGITS 64

void snug__speed_build(char *out, size_t cap)
{
    snug__format(out, cap, "ggml %s", ggml_version());
}

/* The fingerprint becomes part of a file name, so nothing but digits may be in it. */
static snug_status name_file(const char *folder, const char *fingerprint, char *out, size_t cap,
                             struct snug_error *err)
{
    if (strlen(fingerprint) != FINGERPRINT_DIGITS ||
        strspn(fingerprint, "0123456789abcdef") != FINGERPRINT_DIGITS)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "fingerprint \"%.80s\": expected 64 lower-case hexadecimal digits",
                         fingerprint);
    if (!snug__format(out, cap, "%s/speed-%s.json", folder, fingerprint))
        return snug_fail(err, SNUG_BAD_INPUT, "cache folder: path longer than %zu bytes", cap);
    return SNUG_OK;
}

static snug_status parse_speed(const char *path, const char *text, size_t n,
                               struct snug_machine_speed *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse(path, text, n, &doc, err);
    if (status == SNUG_OK) {
        status = snug_machine_speed_from_json(snug_json_root(doc), out, err);
        if (status != SNUG_OK)
            snug_fail_prefix(err, status, "%s", path);
    }
    snug_json_free(doc);
    return status;
}

snug_status snug_machine_speed_load(const char *folder, const char *fingerprint,
                                    struct snug_machine_speed *out, struct snug_error *err)
{
    char path[SNUG__PROBE_PATH_MAX], build[sizeof out->build];
    struct snug_machine_speed speed;
    struct snug_error why = {0};
    char *text = NULL;
    size_t n = 0;
    snug_status status = name_file(folder, fingerprint, path, sizeof path, err);
    if (status != SNUG_OK)
        return status;
    status = snug_file_read(path, SPEED_FILE_MAX, &text, &n, &why);
    if (status == SNUG_OK)
        status = parse_speed(path, text, n, &speed, &why);
    free(text);
    if (status == SNUG_NO_MEMORY)
        return snug_fail(err, status, "%s", why.text);
    if (status != SNUG_OK)
        return snug_fail(err, SNUG_NOT_FOUND, "no usable cached speeds: %s", why.text);
    snug__speed_build(build, sizeof build);
    if (strcmp(speed.fingerprint, fingerprint) != 0 || strcmp(speed.build, build) != 0)
        return snug_fail(err, SNUG_NOT_FOUND,
                         "no usable cached speeds: %s is of build \"%s\"; this is \"%s\"", path,
                         speed.build, build);
    *out = speed;
    return SNUG_OK;
}

snug_status snug_machine_speed_save(const char *folder, const struct snug_machine_speed *speed,
                                    struct snug_error *err)
{
    char path[SNUG__PROBE_PATH_MAX];
    struct snug_json_writer w = {0};
    snug_status status = name_file(folder, speed->fingerprint, path, sizeof path, err);
    if (status != SNUG_OK)
        return status;
    status = snug_file_make_folder(folder, err);
    if (status != SNUG_OK)
        return status;
    snug_machine_speed_to_json(&w, NULL, speed);
    char *text = snug_json_finish(&w, true);
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: JSON text", path);
    status = snug_file_write(path, text, strlen(text), err);
    free(text);
    return status;
}
