/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files - paths, ranges, tags and types of served files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/accept.h"
#include "worker/files.h"

#include <errno.h>
#include <string.h>

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        int result;
        const char *path;
    } cases[] = {
        {"", 0, "."},
        {"/", 0, "."},
        {"a", 0, "a"},
        {"a/b/c.txt", 0, "a/b/c.txt"},
        {"a//b", 0, "a/b"},
        {"a/", 0, "a"},
        {"./a/./b", 0, "a/b"},
        {"a/../b", 0, "b"},
        {"a/b/..", 0, "a"},
        {"a/b/../..", 0, "."},
        {"a%20b", 0, "a b"},
        {"%61%2eb", 0, "a.b"},
        {"caf%c3%a9", 0, "caf\xc3\xa9"},
        {"..a", -EACCES, NULL},
        {"a..", 0, "a.."},
        {"...", -EACCES, NULL},
        {"..", -EINVAL, NULL},
        {"../a", -EINVAL, NULL},
        {"a/../../b", -EINVAL, NULL},
        {"%2e%2e/etc/passwd", -EINVAL, NULL},
        {".%2e/a", -EINVAL, NULL},
        {"a%2fb", -EINVAL, NULL},
        {"..%2f..%2fetc", -EINVAL, NULL},
        {"a%00b", -EINVAL, NULL},
        {"a%0", -EINVAL, NULL},
        {"a%", -EINVAL, NULL},
        {"%zz", -EINVAL, NULL},
        {".git/config", -EACCES, NULL},
        {"a/.htpasswd", -EACCES, NULL},
        {"%2egit", -EACCES, NULL},
        {".well-known/acme-challenge/x", 0, ".well-known/acme-challenge/x"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char path[FILES_MAX_PATH];
        int result = files_decode_path(slice_from_str(cases[i].raw), path);
        assert_int_equal(result, cases[i].result);
        if (result == 0)
            assert_string_equal(path, cases[i].path);
    }
}

static void test_long_paths(void **state)
{
    (void)state;
    static char raw[3 * FILES_MAX_PATH];
    char path[FILES_MAX_PATH];
    memset(raw, 'a', sizeof(raw));
    assert_int_equal(files_decode_path(slice_from(raw, FILES_MAX_PATH - 1), path), 0);
    assert_int_equal(strlen(path), FILES_MAX_PATH - 1);
    assert_int_equal(files_decode_path(slice_from(raw, FILES_MAX_PATH), path), -ENAMETOOLONG);
    memset(raw, '/', sizeof(raw));
    assert_int_equal(files_decode_path(slice_from(raw, sizeof(raw)), path), -ENAMETOOLONG);
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int64_t length;
        int result;
        int64_t first, last;
    } cases[] = {
        {"bytes=0-499", 10000, 1, 0, 499}, /* RFC 9110 14.1.2 */
        {"bytes=500-999", 10000, 1, 500, 999},
        {"bytes=-500", 10000, 1, 9500, 9999},
        {"bytes=9500-", 10000, 1, 9500, 9999},
        {"BYTES=0-0", 10000, 1, 0, 0},
        {"bytes=0-99999", 10000, 1, 0, 9999},
        {"bytes=-99999", 10000, 1, 0, 9999},
        {"bytes=9999-", 10000, 1, 9999, 9999},
        {"bytes=10000-", 10000, -ERANGE, 0, 0},
        {"bytes=99999-99999999999999999999999999", 10000, -ERANGE, 0, 0},
        {"bytes=0-99999999999999999999999999", 10000, 1, 0, 9999},
        {"bytes=-0", 10000, -ERANGE, 0, 0},
        {"bytes=0-", 0, -ERANGE, 0, 0},
        {"bytes=-5", 0, -ERANGE, 0, 0},
        {"bytes=5-4", 10000, 0, 0, 0},
        {"bytes=-", 10000, 0, 0, 0},
        {"bytes=", 10000, 0, 0, 0},
        {"bytes=1", 10000, 0, 0, 0},
        {"bytes=0-0,-1", 10000, 0, 0, 0},
        {"bytes=0-x", 10000, 0, 0, 0},
        {"items=0-1", 10000, 0, 0, 0},
        {"", 10000, 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t first = 0, last = 0;
        int result =
            files_parse_range(slice_from_str(cases[i].value), cases[i].length, &first, &last);
        assert_int_equal(result, cases[i].result);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(last, cases[i].last);
    }
}

static void test_etags(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool matches;
    } cases[] = {
        {"*", true},
        {"\"x\"", true},
        {"W/\"x\"", true}, /* weak comparison, RFC 9110 13.1.2 */
        {"\"a\", \"x\"", true},
        {"\"a\",W/\"b\" ,\t\"x\"", true},
        {"\"a,x\", \"b\"", false},
        {"\"y\"", false},
        {"x", false},
        {"\"x", false},
        {"W/", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(files_etag_matches(slice_from_str(cases[i].list), SLICE_LITERAL("\"x\"")),
                         cases[i].matches);
}

static void test_types(void **state)
{
    (void)state;
    assert_string_equal(files_content_type("a/index.html"), "text/html; charset=utf-8");
    assert_string_equal(files_content_type("STYLE.CSS"), "text/css; charset=utf-8");
    assert_string_equal(files_content_type("a.tar.gz"), "application/gzip");
    assert_string_equal(files_content_type("a"), "application/octet-stream");
    assert_string_equal(files_content_type("dir.html/a"), "application/octet-stream");
    assert_string_equal(files_content_type("a."), "application/octet-stream");
}

static void test_accept(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        int weight;
    } cases[] = {
        {"application/health+json", 1000},
        {"text/html, application/health+json;q=0.5", 500},
        {"APPLICATION/HEALTH+JSON ; q=0.25", 250},
        {"application/health+json;version=1.0.0,application/health+json;q=0.1", 1000},
        {"application/health+json;q=0", 0},
        {"application/health+json;q=0.000", 0},
        {"application/health+json;q=1.000", 1000},
        {"application/health+json;q=0.1234", 123},
        {"*/*", ACCEPT_NOT_NAMED},
        {"application/*", ACCEPT_NOT_NAMED},
        {"application/health+jsonx", ACCEPT_NOT_NAMED},
        {",,;,", ACCEPT_NOT_NAMED},
        {"", ACCEPT_NOT_NAMED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(accept_weight(slice_from_str(cases[i].accept),
                                       SLICE_LITERAL("application/health+json")),
                         cases[i].weight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),  cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_ranges), cmocka_unit_test(test_etags),
        cmocka_unit_test(test_types),  cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
