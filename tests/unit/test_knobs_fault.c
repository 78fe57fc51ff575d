/* Ranking of knobs when memory runs out at any allocation: a clean failure each time. */
#include "fault.h"
#include "test.h"

#include "snug/knobs.h"

static void every_allocation_that_fails_is_told(void **state)
{
    (void)state;
    static const struct snug_knobs_knob knobs[] = {{false, 4}, {true, 2}};
    int levels[16];
    double y[8];
    for (int i = 0; i < 8; i++) {
        levels[2 * i] = i % 4;
        levels[2 * i + 1] = i / 4;
        y[i] = i % 4;
    }
    const struct snug_knobs_problem problem = {.knobs = knobs,
                                               .n_knobs = 2,
                                               .levels = levels,
                                               .y = y,
                                               .n_rows = 8,
                                               .negligible = 0.01,
                                               .seed = 1};
    long n = 0;
    for (bool is_hit = true; is_hit; n++) {
        struct snug_error err = {0};
        struct snug_knobs_ranking ranking = {.n_knobs = -1};
        fault_begin(n);
        const snug_status status = snug_knobs_rank(&problem, &ranking, &err);
        is_hit = fault_end();
        if (status != SNUG_OK) {
            assert_true(is_hit && status == SNUG_NO_MEMORY && ranking.n_knobs == -1);
            continue;
        }
        /* A pair without an interval is no pair, and an undecided knob is open. */
        assert_true(ranking.rank[0].effect.lo >= 0 && ranking.rank[0].effect.hi > 0);
        assert_int_not_equal(ranking.rank[0].decision, SNUG_KNOBS_DROP);
        snug_knobs_ranking_clear(&ranking);
    }
    assert_true(n > 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_that_fails_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
