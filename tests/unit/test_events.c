/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_events - the ring of the last events.
 */
#include "master/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_newest_comes_first(void **state)
{
    struct events *events = calloc(1, sizeof(*events));
    (void)state;
    assert_non_null(events);
    assert_null(events_at(events, 0));
    events_add(events, 1000, EVENT_SUSPECT, 3, 42, "no beat for %d ms", 310);
    events_add(events, 2000, EVENT_SCALE, EVENT_NO_SLOT, 0, "from 2 to 3");
    const struct event_record *newest = events_at(events, 0);
    const struct event_record *oldest = events_at(events, 1);
    assert_string_equal(newest->text, "from 2 to 3");
    assert_int_equal(newest->slot, EVENT_NO_SLOT);
    assert_int_equal(newest->id, 2);
    assert_string_equal(oldest->text, "no beat for 310 ms");
    assert_string_equal(event_kind_name(oldest->kind), "suspect");
    assert_int_equal(oldest->slot, 3);
    assert_int_equal(oldest->pid, 42);
    assert_int_equal(oldest->wall_ms, 1000);
    assert_null(events_at(events, 2));
    free(events);
}

static void the_oldest_makes_room(void **state)
{
    struct events *events = calloc(1, sizeof(*events));
    (void)state;
    assert_non_null(events);
    for (int i = 1; i <= EVENTS_KEPT + 7; i++)
        events_add(events, i, EVENT_DEATH, i, i, "number %d", i);
    assert_int_equal(events_at(events, 0)->id, EVENTS_KEPT + 7);
    assert_int_equal(events_at(events, EVENTS_KEPT - 1)->id, 8);
    assert_string_equal(events_at(events, EVENTS_KEPT - 1)->text, "number 8");
    assert_null(events_at(events, EVENTS_KEPT));
    assert_null(events_at(events, SIZE_MAX));
    free(events);
}

static void what_is_too_long_is_cut(void **state)
{
    struct events *events = calloc(1, sizeof(*events));
    char text[4 * EVENT_TEXT_SIZE];
    (void)state;
    assert_non_null(events);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    events_add(events, 1, EVENT_RELOAD, EVENT_NO_SLOT, 0, "%s", text);
    assert_int_equal(strlen(events_at(events, 0)->text), EVENT_TEXT_SIZE - 1);
    free(events);
}

static void without_a_ring_nothing_is_kept(void **state)
{
    (void)state;
    events_add(NULL, 1, EVENT_RELOAD, EVENT_NO_SLOT, 0, "nobody hears this");
    assert_null(events_at(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_comes_first),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(without_a_ring_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
