/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_router - exact paths before prefixes, the longest prefix, and what may not be added.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/router.h"

#include <errno.h>
#include <stdio.h>

static void handler(struct conn *conn, const struct http_request *request, const char *bytes,
                    void *context)
{
    (void)conn;
    (void)request;
    (void)bytes;
    (void)context;
}

static int add(struct router *router, const char *path)
{
    return router_add(router, slice_from_str(path), ROUTE_READ, 0, handler, NULL);
}

static void test_finding(void **state)
{
    (void)state;
    static const char *const routes[] = {"/", "/hello", "/files/", "/files/deep/", "/files/exact",
                                         "/a"};
    static const struct {
        const char *path;
        const char *route; /* NULL: none */
    } cases[] = {
        {"/", "/"},
        {"/hello", "/hello"},
        {"/hello/", NULL},
        {"/hell", NULL},
        {"/Hello", NULL},
        {"/files", NULL},
        {"/files/", "/files/"},
        {"/files/x", "/files/"},
        {"/files/x/y", "/files/"},
        {"/files/deep/", "/files/deep/"},
        {"/files/deep/x", "/files/deep/"},
        {"/files/deeper", "/files/"},
        {"/files/exact", "/files/exact"},
        {"/files/exact/", "/files/"},
        {"/a", "/a"},
        {"/b", NULL},
        {"", NULL},
        {"*", NULL},
    };
    struct router *router = router_new();
    assert_non_null(router);
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++)
        assert_int_equal(add(router, routes[i]), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct route *route = router_find(router, slice_from_str(cases[i].path));
        if (cases[i].route == NULL)
            assert_null(route);
        else
            assert_true(route != NULL && slice_equal_str(route->path, cases[i].route));
    }
    router_free(&router);
    assert_null(router);
    router_free(&router);
}

/* "/" for all that has no route of its own. */
static void test_root_as_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *route; /* NULL: none */
    } cases[] = {
        {"/", "/"},
        {"/f.txt", "/"},
        {"/sub/x", "/"},
        {"/health", "/health"},
        {"/health/none", "/"},
        {"/files/x", "/files/"},
        {"", NULL},
        {"*", NULL},
    };
    struct router *router = router_new();
    assert_non_null(router);
    assert_int_equal(router_add(router, SLICE_LITERAL("/"), ROUTE_READ, ROUTE_BELOW, handler, NULL),
                     0);
    assert_int_equal(router_add(router, SLICE_LITERAL("/"), ROUTE_READ, ROUTE_BELOW, handler, NULL),
                     -EEXIST);
    assert_int_equal(add(router, "/files/"), 0);
    assert_int_equal(add(router, "/health"), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct route *route = router_find(router, slice_from_str(cases[i].path));
        if (cases[i].route == NULL)
            assert_null(route);
        else
            assert_true(route != NULL && slice_equal_str(route->path, cases[i].route));
    }
    router_free(&router);
}

static void test_refusing(void **state)
{
    (void)state;
    struct router *router = router_new();
    assert_non_null(router);
    assert_int_equal(add(router, ""), -EINVAL);
    assert_int_equal(add(router, "hello"), -EINVAL);
    static const char *const twice[] = {"/", "/x", "/longer/prefix/", "/p/"};
    for (size_t i = 0; i < ARRAY_COUNT(twice); i++)
        assert_int_equal(add(router, twice[i]), 0);
    for (size_t i = 0; i < ARRAY_COUNT(twice); i++)
        assert_int_equal(add(router, twice[i]), -EEXIST);
    router_free(&router);
}

static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    char path[32];
    struct router *router = router_new();
    assert_non_null(router);
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "/%d%s", i, i % 7 == 0 ? "/" : "");
        assert_int_equal(add(router, path), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "/%d%s", i, i % 7 == 0 ? "/below" : "");
        assert_non_null(router_find(router, slice_from_str(path)));
        snprintf(path, sizeof(path), "/%dx", i);
        assert_null(router_find(router, slice_from_str(path)));
    }
    router_free(&router);
}

static void test_allow(void **state)
{
    (void)state;
    char text[80];
    router_format_allow(ROUTE_READ, text, sizeof(text));
    assert_string_equal(text, "Allow: GET, HEAD, OPTIONS\r\n");
    router_format_allow(ROUTE_METHOD(HTTP_POST), text, sizeof(text));
    assert_string_equal(text, "Allow: POST, OPTIONS\r\n");
    router_format_allow(ROUTE_READ | ROUTE_METHOD(HTTP_PUT) | ROUTE_METHOD(HTTP_DELETE) |
                            ROUTE_METHOD(HTTP_POST) | ROUTE_METHOD(HTTP_PATCH),
                        text, sizeof(text));
    assert_string_equal(text, "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n");
    router_format_allow(0, text, sizeof(text));
    assert_string_equal(text, "Allow: OPTIONS\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finding),  cmocka_unit_test(test_root_as_prefix),
        cmocka_unit_test(test_refusing), cmocka_unit_test(test_many),
        cmocka_unit_test(test_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
