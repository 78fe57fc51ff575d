/* Any bytes as the JSON of a machine and of its speeds: refused with a text, or read into a struct
 * that survives being written and read again. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "machine/machine_json.h"

/* What was accepted once is accepted again from its own text. */
static void write_and_read_again(const struct snug_machine *machine)
{
    static struct snug_machine back;
    struct snug_json *doc = NULL;
    struct snug_json_writer w = {0};
    snug_machine_to_json(&w, NULL, machine);
    char *text = snug_json_finish(&w, false);
    if (text && snug_json_parse("again", text, strlen(text), &doc, NULL) == SNUG_OK)
        check(snug_machine_from_json(snug_json_root(doc), &back, NULL) == SNUG_OK &&
              back.n_threads_usable == machine->n_threads_usable &&
              back.n_caches == machine->n_caches && back.ram_bytes == machine->ram_bytes);
    snug_json_free(doc);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct snug_machine machine;
    static struct snug_machine_speed speed;
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    if (snug_json_parse("fuzz", (const char *)data, n, &doc, &err) != SNUG_OK)
        return 0;
    if (snug_machine_from_json(snug_json_root(doc), &machine, &err) == SNUG_OK)
        write_and_read_again(&machine);
    else
        check(err.text[0] != '\0');
    if (snug_machine_speed_from_json(snug_json_root(doc), &speed, &err) == SNUG_OK)
        check(speed.n_bandwidth <= SNUG_PROBE_THREADS_MAX &&
              speed.n_mul_mat <= SNUG_PROBE_TYPES_MAX);
    snug_json_free(doc);
    return 0;
}
