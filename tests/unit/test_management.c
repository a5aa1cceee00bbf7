/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_management - what the management server makes of what clients send.
 */
#include "master/management_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Host ---- */

static void hosts_are_numeric_or_known(void **state)
{
    static const struct {
        const char *host;
        bool allowed;
    } cases[] = {
        {"localhost", true},
        {"localhost:9001", true},
        {"LOCALHOST.:9001", true},
        {"127.0.0.1", true},
        {"127.0.0.1:9001", true},
        {"10.1.2.3:80", true},
        {"[::1]", true},
        {"[::1]:9001", true},
        {"[2001:db8::1]:9001", true},
        {"ops.example.com", true},
        {"OPS.example.com:9001", true},
        {"node2", true},
        {"", false},
        {":9001", false},
        {"evil.example.com", false},
        {"localhost.evil.com", false},
        {"127.0.0.1.evil.com", false},
        {"ops.example.com.evil.com", false},
        {"example.com", false},
        {"ops", false},
        {"[::1", false},
        {"[::1]x", false},
        {"[localhost.evil]", false},
        {"::1", false}, /* without brackets: the text before the first colon is empty */
        {"127.1", false},
        {"0x7f000001", false},
        {"2130706433", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        bool allowed =
            management_host_allowed(slice_from_str(cases[i].host), " ops.example.com,, node2 ,");
        if (allowed != cases[i].allowed)
            fail_msg("\"%s\": %d", cases[i].host, allowed);
    }
    assert_false(management_host_allowed(SLICE_LITERAL("node2"), ""));
}

/* ---- media types ---- */

static void only_json_is_json(void **state)
{
    static const struct {
        const char *type;
        bool json;
    } cases[] = {
        {"application/json", true},
        {"Application/JSON", true},
        {"application/json; charset=utf-8", true},
        {"application/json;charset=utf-8", true},
        {"application/jsonp", false},
        {"application/json-patch+json", false},
        {"text/plain", false},
        {"text/plain; application/json", false},
        {"application/x-www-form-urlencoded", false},
        {"", false},
        {NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        if (management_is_json_type(cases[i].type) != cases[i].json)
            fail_msg("\"%s\"", cases[i].type);
}

static void accept_is_read_with_weights(void **state)
{
    static const struct {
        const char *accept;
        bool accepted;
    } cases[] = {
        {"application/openmetrics-text", true},
        {"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1", true},
        {"text/plain, application/openmetrics-text; q=0.001", true},
        {"text/plain, Application/OpenMetrics-Text", true},
        {"application/openmetrics-text;q=0", false},
        {"application/openmetrics-text; q=0.000", false},
        {"application/openmetrics-text;q=0, application/openmetrics-text;version=1.0.0", true},
        {"application/openmetrics-text2", false},
        {"text/plain", false},
        {"*/*", false},
        {"", false},
        {NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        if (management_accepts(cases[i].accept, "application/openmetrics-text") !=
            cases[i].accepted)
            fail_msg("\"%s\"", cases[i].accept);
}

static void limits_are_understood(void **state)
{
    static const struct {
        const char *text;
        int limit;
    } cases[] = {
        {NULL, 500},
        {"1", 1},
        {"20", 20},
        {"500", 500},
        {"007", 7},
        {"501", -1},
        {"0", -1},
        {"", -1},
        {"-1", -1},
        {"1.5", -1},
        {"1 ", -1},
        {"twenty", -1},
        {"99999999999999999999", -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(management_parse_limit(cases[i].text, 500), cases[i].limit);
}

/* ---- bodies ---- */

static const struct cluster limits = {.min_workers = 2, .max_workers = 8};

static void good_bodies_are_understood(void **state)
{
    static const struct {
        enum command_kind kind;
        int instances;
        const char *body;
        int64_t for_ms;
        const char *reason;
    } cases[] = {
        {COMMAND_SCALE, 6, "{\"instances\":6,\"reason\":\"High CPU load\",\"for\":\"30m\"}",
         30 * 60 * 1000, "High CPU load"},
        {COMMAND_SCALE, 2, " {\"instances\" : 2} ", 0, ""},
        {COMMAND_SCALE, 8, "{\"for\":\"90s\",\"instances\":8}", 90 * 1000, ""},
        {COMMAND_SCALE, 3, "{\"instances\":3,\"reason\":\"gr\\u00fcn\"}", 0, "gr\xc3\xbcn"},
        {COMMAND_SCALE_AUTO, 0, "", 0, ""},
        {COMMAND_RELOAD, 0, "{}", 0, ""},
        {COMMAND_DRAIN, 0, "{\"reason\":\"kernel update\"}", 0, "kernel update"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct command command = {.kind = cases[i].kind};
        char message[256] = "";
        if (!management_parse_body(slice_from_str(cases[i].body), &limits, &command, message,
                                   sizeof(message)))
            fail_msg("%s: %s", cases[i].body, message);
        assert_int_equal(command.instances, cases[i].instances);
        assert_int_equal(command.for_ms, cases[i].for_ms);
        assert_string_equal(command.reason, cases[i].reason);
    }
}

static void bad_bodies_are_explained(void **state)
{
    static const struct {
        enum command_kind kind;
        const char *body;
        const char *says; /* each of these, separated by '|' */
    } cases[] = {
        {COMMAND_SCALE, "", "\"instances\" is missing|from 2 to 8"},
        {COMMAND_SCALE, "{}", "\"instances\" is missing"},
        {COMMAND_SCALE, "{\"instances\":1}", "instances is 1|from 2 (min_workers)"},
        {COMMAND_SCALE, "{\"instances\":9}", "instances is 9|to 8 (max_workers)"},
        {COMMAND_SCALE, "{\"instances\":-99999999999}", "instances is -99999999999"},
        {COMMAND_SCALE, "{\"instances\":\"6\"}", "instances is a string|whole number"},
        {COMMAND_SCALE, "{\"instances\":6.5}", "instances is a number with a fraction"},
        {COMMAND_SCALE, "{\"instances\":null}", "instances is null"},
        {COMMAND_SCALE, "{\"instances\":6,\"instances\":7}", "not JSON|duplicate"},
        {COMMAND_SCALE, "{\"instance\":6}",
         "unknown key \"instance\"|known here: instances, reason, for"},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":30}", "for is a number|\"30m\""},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":\"30\"}", "\"30\" has no unit"},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":\"-5m\"}", "must not be negative"},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":\"0s\"}", "is no time at all"},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":\"4000d\"}", "longer than a year"},
        {COMMAND_SCALE, "{\"instances\":6,\"for\":\"99999999999999999999h\"}", "too large"},
        {COMMAND_SCALE, "{\"instances\":6,\"reason\":7}", "reason is a number"},
        {COMMAND_SCALE, "{\"instances\":6,\"reason\":\"a\\u0000b\"}", "not JSON"},
        {COMMAND_SCALE, "[6]", "the body is an array|{\"instances\": 2}"},
        {COMMAND_SCALE, "6", "not JSON|'[' or '{' expected"},
        {COMMAND_SCALE, "{\"instances\":6", "not JSON: line 1, column 14"},
        {COMMAND_SCALE, "{\"instances\":6} x", "not JSON"},
        {COMMAND_SCALE, "{\"instances\":6,\"reason\":\"\xff\"}", "not JSON"},
        {COMMAND_RELOAD, "{\"instances\":6}", "unknown key \"instances\"|known here: reason"},
        {COMMAND_RESTART, "{\"for\":\"5m\"}", "unknown key \"for\"|known here: reason"},
        {COMMAND_DRAIN, "true", "not JSON"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct command command = {.kind = cases[i].kind};
        char message[256] = "";
        if (management_parse_body(slice_from_str(cases[i].body), &limits, &command, message,
                                  sizeof(message)))
            fail_msg("%s was taken", cases[i].body);
        for (const char *says = cases[i].says; *says != '\0';) {
            char part[128];
            size_t len = strcspn(says, "|");
            (void)snprintf(part, sizeof(part), "%.*s", (int)len, says);
            if (strstr(message, part) == NULL)
                fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].body, message, part);
            says += len + (says[len] == '|');
        }
    }
}

static void a_long_reason_is_refused(void **state)
{
    struct command command = {.kind = COMMAND_DRAIN};
    char body[400], message[256];
    char text[sizeof(command.reason) + 1];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)snprintf(body, sizeof(body), "{\"reason\":\"%s\"}", text);
    assert_false(
        management_parse_body(slice_from_str(body), &limits, &command, message, sizeof(message)));
    assert_non_null(strstr(message, "255 at most"));
    text[sizeof(text) - 2] = '\0'; /* just fits */
    (void)snprintf(body, sizeof(body), "{\"reason\":\"%s\"}", text);
    assert_true(
        management_parse_body(slice_from_str(body), &limits, &command, message, sizeof(message)));
    assert_string_equal(command.reason, text);
}

/* A cut body must be refused at every length, and read no byte behind it. */
static void cut_bodies_are_refused(void **state)
{
    static const char body[] = "{\"instances\":6,\"reason\":\"x\",\"for\":\"30m\"}";
    (void)state;
    for (size_t len = 1; len < sizeof(body) - 1; len++) {
        struct command command = {.kind = COMMAND_SCALE};
        char message[256];
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, body, len);
        assert_false(management_parse_body(slice_from(copy, len), &limits, &command, message,
                                           sizeof(message)));
        free(copy);
    }
}

/* ---- routes ---- */

static void routes_are_found(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        enum route_match match;
        enum route_kind kind;
        int slot;            /* of {slot} routes */
        const char *methods; /* of ROUTE_NO_METHOD */
    } cases[] = {
        {"GET", "/", ROUTE_FOUND, ROUTE_INDEX, 0, NULL},
        {"GET", "/cluster/status", ROUTE_FOUND, ROUTE_STATUS, 0, NULL},
        {"HEAD", "/cluster/status", ROUTE_FOUND, ROUTE_STATUS, 0, NULL},
        {"GET", "/cluster/workers/0", ROUTE_FOUND, ROUTE_WORKER, 0, NULL},
        {"GET", "/cluster/workers/1023", ROUTE_FOUND, ROUTE_WORKER, 1023, NULL},
        {"GET", "/cluster/workers/abc", ROUTE_FOUND, ROUTE_WORKER, -1, NULL},
        {"GET", "/cluster/workers/-1", ROUTE_FOUND, ROUTE_WORKER, -1, NULL},
        {"GET", "/cluster/workers/99999999999999999999", ROUTE_FOUND, ROUTE_WORKER, -1, NULL},
        {"POST", "/cluster/workers/3/restart", ROUTE_FOUND, ROUTE_CHANGE, 3, NULL},
        {"GET", "/scaling/status", ROUTE_FOUND, ROUTE_SCALING, 0, NULL},
        {"GET", "/events", ROUTE_FOUND, ROUTE_EVENTS, 0, NULL},
        {"POST", "/scaling/manual", ROUTE_FOUND, ROUTE_CHANGE, 0, NULL},
        {"DELETE", "/scaling/manual", ROUTE_FOUND, ROUTE_CHANGE, 0, NULL},
        {"GET", "/health", ROUTE_FOUND, ROUTE_VIEW, 0, NULL},
        {"GET", "/metrics", ROUTE_FOUND, ROUTE_VIEW, 0, NULL},
        {"GET", "/cluster/workers/", ROUTE_NO_PATH, 0, 0, NULL},
        {"GET", "/cluster/workers/1/", ROUTE_NO_PATH, 0, 0, NULL},
        {"POST", "/cluster/workers//restart", ROUTE_NO_PATH, 0, 0, NULL},
        {"POST", "/cluster/workers/1/2/restart", ROUTE_NO_PATH, 0, 0, NULL},
        {"GET", "/metrics/", ROUTE_NO_PATH, 0, 0, NULL},
        {"GET", "/health/liv", ROUTE_NO_PATH, 0, 0, NULL},
        {"GET", "", ROUTE_NO_PATH, 0, 0, NULL},
        {"POST", "/health", ROUTE_NO_METHOD, 0, 0, "GET, HEAD"},
        {"GET", "/cluster/reload", ROUTE_NO_METHOD, 0, 0, "POST"},
        {"HEAD", "/cluster/drain", ROUTE_NO_METHOD, 0, 0, "POST"},
        {"GET", "/scaling/manual", ROUTE_NO_METHOD, 0, 0, "POST, DELETE"},
        {"OPTIONS", "/scaling/manual", ROUTE_NO_METHOD, 0, 0, "POST, DELETE"},
        {"get", "/metrics", ROUTE_NO_METHOD, 0, 0, "GET, HEAD"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct route *route = NULL;
        int slot = 0;
        char methods[64];
        enum route_match match = management_find_route(cases[i].method, cases[i].path, &route,
                                                       &slot, methods, sizeof(methods));
        if (match != cases[i].match)
            fail_msg("%s %s: %d", cases[i].method, cases[i].path, (int)match);
        if (match == ROUTE_FOUND) {
            assert_int_equal(route->kind, cases[i].kind);
            assert_int_equal(slot, cases[i].slot);
        }
        if (match == ROUTE_NO_METHOD)
            assert_string_equal(methods, cases[i].methods);
    }
}

static void near_routes_are_those_that_look_alike(void **state)
{
    static const struct {
        const char *path;
        const char *first;
        int count;
    } cases[] = {
        {"/cluster/statu", "/cluster/status", 1},
        {"/cluster/worker/1", "/cluster/workers/{slot}", 2},
        {"/scaling", "/scaling/status", 3},
        {"/heath", "/health", 4},
        {"/metric", "/metrics", 1},
    };
    int all = 0;
    (void)state;
    while (management_route(all) != NULL)
        all++;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int count = 0;
        assert_string_equal(management_near_route(cases[i].path, 0)->path, cases[i].first);
        while (management_near_route(cases[i].path, count) != NULL)
            count++;
        assert_int_equal(count, cases[i].count);
    }
    /* Nothing alike: all of them. */
    assert_non_null(management_near_route("/nothing", all - 1));
    assert_null(management_near_route("/nothing", all));
}

static void every_command_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(command_kind_name(COMMAND_SCALE), "scale");
    assert_string_equal(command_kind_name(COMMAND_SCALE_AUTO), "scale-auto");
    assert_string_equal(command_kind_name(COMMAND_RESTART), "restart");
    assert_string_equal(command_kind_name(COMMAND_RELOAD), "reload");
    assert_string_equal(command_kind_name(COMMAND_DRAIN), "drain");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_numeric_or_known),
        cmocka_unit_test(only_json_is_json),
        cmocka_unit_test(accept_is_read_with_weights),
        cmocka_unit_test(limits_are_understood),
        cmocka_unit_test(good_bodies_are_understood),
        cmocka_unit_test(bad_bodies_are_explained),
        cmocka_unit_test(a_long_reason_is_refused),
        cmocka_unit_test(cut_bodies_are_refused),
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(near_routes_are_those_that_look_alike),
        cmocka_unit_test(every_command_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
