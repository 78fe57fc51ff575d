/* The option table: within one command every name and every letter stands once. */
#include "test.h"

#include <string.h>

#include "cli/options.h"

static void no_command_has_a_name_or_letter_twice(void **state)
{
    (void)state;
    for (int i = 0; i < cli_n_options; i++) {
        for (int k = i + 1; k < cli_n_options; k++) {
            const struct cli_option *a = &cli_options[i], *b = &cli_options[k];
            if (!(a->commands & b->commands))
                continue;
            if (strcmp(a->name, b->name) == 0 || (a->letter && a->letter == b->letter))
                fail_msg("--%s stands twice for commands %x", b->name, a->commands & b->commands);
        }
    }
}

static void every_option_belongs_to_a_command_and_says_what_it_is(void **state)
{
    (void)state;
    for (int i = 0; i < cli_n_options; i++) {
        const struct cli_option *o = &cli_options[i];
        assert_true(o->commands != 0 && !(o->commands & ~(unsigned)ALL));
        assert_true(o->help && o->help[0]);
        assert_true((o->kind == FLAG) == (o->value == NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_has_a_name_or_letter_twice),
        cmocka_unit_test(every_option_belongs_to_a_command_and_says_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
