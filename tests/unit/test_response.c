/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_response - dates, heads and prepared pages, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/response.h"

#include <errno.h>
#include <stdio.h>

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        int64_t wall_s;
        const char *text;
    } cases[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* RFC 9110 5.6.7 */
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
        {INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char text[RESPONSE_DATE_LEN + 1];
        response_format_date(cases[i].wall_s, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(response_parse_date(slice_from_str(text)), cases[i].wall_s);
    }
    /* What cannot be a date still gives one of the right length. */
    char text[RESPONSE_DATE_LEN + 1];
    response_format_date(INT64_MAX, text);
    assert_int_equal(strlen(text), RESPONSE_DATE_LEN);
}

static void test_parsing_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wall_s;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"", -1},
        {"yesterday", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT and more", -1},
        {"Sun, 06 Nov 1994 08:49:37 CET", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT, and so much more that it cannot be a date at all", -1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(response_parse_date(slice_from_str(cases[i].text)), cases[i].wall_s);
}

static void init_common(struct response_common *common, const char *server)
{
    response_common_init(common, server);
    common->date.second = 784111777;
    response_format_date(784111777, common->date.text);
}

static void check_head(struct response_common *common, const struct response_head *head,
                       const char *expected)
{
    char out[RESPONSE_HEAD_ROOM + 256];
    size_t len = response_render_head(out, common, head);
    out[len] = '\0';
    assert_string_equal(out, expected);
}

static void test_heads(void **state)
{
    (void)state;
    struct response_common with_server, without;
    init_common(&with_server, "muster");
    init_common(&without, "");
    const struct response_head plain = {
        .status = 200, .type = SLICE_LITERAL("text/plain"), .length = 13};
    check_head(&with_server, &plain,
               "HTTP/1.1 200 OK\r\nServer: muster\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n");
    check_head(&without, &plain,
               "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n");
    const struct response_head bare = {.status = 204,
                                       .length = RESPONSE_NO_LENGTH,
                                       .headers = SLICE_LITERAL("Allow: GET\r\n"),
                                       .connection = RESPONSE_CLOSE};
    check_head(&without, &bare,
               "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Allow: GET\r\nConnection: close\r\n\r\n");
    const struct response_head empty = {.status = 404, .connection = RESPONSE_KEEP_ALIVE};
    check_head(&without, &empty,
               "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    const struct response_head large = {.status = 206, .length = INT64_MAX};
    check_head(&without, &large,
               "HTTP/1.1 206 Partial Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Content-Length: 9223372036854775807\r\n\r\n");
}

static void test_longest_server(void **state)
{
    (void)state;
    char name[400];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct response_common common;
    response_common_init(&common, name);
    assert_true(common.server_len < sizeof(common.server));
    assert_memory_equal(common.server + common.server_len - 2, "\r\n", 2);
}

static void test_pages(void **state)
{
    (void)state;
    struct response_common common;
    struct response_page page;
    init_common(&common, "muster");
    assert_int_equal(response_page_init(&page, &common, 200, SLICE_LITERAL("text/plain"),
                                        SLICE_LITERAL("X: y\r\n"), SLICE_LITERAL("hi\n")),
                     0);
    static const char expected[] =
        "HTTP/1.1 200 OK\r\nServer: muster\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: 3\r\nX: y\r\n\r\nhi\n";
    assert_int_equal(page.len, sizeof(expected) - 1);
    assert_memory_equal(page.bytes, expected, page.len);
    assert_int_equal(page.head_len, page.len - 3);

    /* The date changes in place, and only when the second does. */
    response_format_date(0, common.date.text);
    response_page_refresh(&page, &common.date);
    assert_memory_equal(page.bytes, expected, page.len);
    common.date.second = 0;
    response_page_refresh(&page, &common.date);
    assert_memory_equal(page.bytes + page.date_at, "Thu, 01 Jan 1970 00:00:00 GMT",
                        RESPONSE_DATE_LEN);

    char head[256];
    size_t len = response_page_head(&page, RESPONSE_CLOSE, head);
    assert_true(len < sizeof(head));
    head[len] = '\0';
    assert_non_null(strstr(head, "X: y\r\nConnection: close\r\n\r\n"));
    len = response_page_head(&page, RESPONSE_STAYS, head);
    assert_int_equal(len, page.head_len);
    response_page_fini(&page);
}

static void test_pages_without_body(void **state)
{
    (void)state;
    struct response_common common;
    struct response_page page;
    init_common(&common, "");
    assert_int_equal(response_page_init(&page, &common, 204, SLICE_LITERAL("text/plain"),
                                        SLICE_LITERAL(""), SLICE_LITERAL("ignored")),
                     0);
    assert_int_equal(page.len, page.head_len);
    assert_null(memmem(page.bytes, page.len, "Content-Length", 14));
    response_page_fini(&page);

    static char long_headers[RESPONSE_PAGE_HEADERS + 1];
    memset(long_headers, 'x', sizeof(long_headers));
    assert_int_equal(response_page_init(&page, &common, 200, SLICE_LITERAL("text/plain"),
                                        slice_from(long_headers, sizeof(long_headers)),
                                        SLICE_LITERAL("")),
                     -EINVAL);
}

static void test_date_is_cached(void **state)
{
    (void)state;
    struct response_date date = {.second = -1};
    response_date_refresh(&date, 0);
    assert_int_equal(strlen(date.text), RESPONSE_DATE_LEN);
    assert_true(date.next_ns > 0 && date.next_ns <= 1000000000);
    date.text[0] = 'X';
    response_date_refresh(&date, date.next_ns - 1); /* not looked at again */
    assert_int_equal(date.text[0], 'X');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),          cmocka_unit_test(test_parsing_dates),
        cmocka_unit_test(test_heads),          cmocka_unit_test(test_longest_server),
        cmocka_unit_test(test_pages),          cmocka_unit_test(test_pages_without_body),
        cmocka_unit_test(test_date_is_cached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
