/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_http_chunked - the chunked bodies of the table, whole and cut in every
 * way, and the promises about what is consumed.
 */
#include "http_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first. */
#include <cmocka.h>

#include "common/check.h"

static struct http_cases *cases;

static int load_cases(void **state)
{
    (void)state;
    cases = http_cases_load();
    return 0;
}

static int free_cases(void **state)
{
    (void)state;
    http_cases_free(cases);
    return 0;
}

/* What came out of decoding a whole body. */
struct decoded {
    enum http_parse_result result;
    struct http_parse_error error;
    size_t consumed;
    char *bytes;
    size_t len;
};

/* Decodes `body` in pieces: of `piece` bytes, or of random sizes if 0. */
static void decode(const struct http_case_bytes *body, size_t piece, uint32_t *random,
                   struct decoded *out)
{
    struct http_chunked chunked;
    http_chunked_init(&chunked);
    *out = (struct decoded){.result = HTTP_PARSE_INCOMPLETE};
    out->bytes = malloc(body->len + 1);
    assert_non_null(out->bytes);

    while (out->result == HTTP_PARSE_INCOMPLETE && out->consumed < body->len) {
        size_t len = piece > 0 ? piece : 1 + http_case_random(random) % 20;
        if (len > body->len - out->consumed)
            len = body->len - out->consumed;
        /* A copy of its own, so that a sanitizer sees a read past the end. */
        char *copy = malloc(len > 0 ? len : 1);
        assert_non_null(copy);
        memcpy(copy, body->ptr + out->consumed, len);
        size_t consumed = SIZE_MAX;
        struct slice data = {NULL, SIZE_MAX};
        out->result = http_chunked_decode(&chunked, copy, len, HTTP_CASE_MAX_BODY, &consumed, &data,
                                          &out->error);
        assert_true(consumed <= len);
        assert_true(consumed > 0 || out->result == HTTP_PARSE_ERROR);
        assert_true(data.len == 0 || (data.ptr >= copy && data.ptr + data.len <= copy + len));
        if (data.len > 0)
            memcpy(out->bytes + out->len, data.ptr, data.len);
        out->len += data.len;
        out->consumed += consumed;
        assert_int_equal(chunked.body_bytes, out->len);
        free(copy);
    }
}

static void check_against_table(const struct http_case *item, const struct decoded *have)
{
    if (have->result != item->content.result)
        fail_msg("%s: the result is %d (%s)", item->name, (int)have->result,
                 have->error.reason != NULL ? have->error.reason : "-");
    if (have->result == HTTP_PARSE_ERROR) {
        if (have->error.status != item->content.status)
            fail_msg("%s: the status is %d", item->name, have->error.status);
        return;
    }
    if (have->consumed != item->body.len)
        fail_msg("%s: %zu bytes were consumed", item->name, have->consumed);
    struct slice want = slice_from(item->decoded.ptr, item->decoded.len);
    if (have->result == HTTP_PARSE_DONE && !slice_equal_str(want, "any") &&
        !slice_equal(want, slice_from(have->bytes, have->len)))
        fail_msg("%s: decoded to \"%.*s\"", item->name, (int)have->len, have->bytes);
}

static void check_same(const char *name, const struct decoded *one, const struct decoded *other)
{
    if (one->result != other->result || one->consumed != other->consumed ||
        one->len != other->len || memcmp(one->bytes, other->bytes, one->len) != 0)
        fail_msg("%s: another result when cut", name);
    if (one->result == HTTP_PARSE_ERROR && (one->error.status != other->error.status ||
                                            strcmp(one->error.reason, other->error.reason) != 0))
        fail_msg("%s: another error when cut", name);
}

static void test_bodies(void **state)
{
    (void)state;
    uint32_t random = 20240608;
    int count = 0;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        if (!item->content.given)
            continue;
        count++;
        struct decoded whole;
        decode(&item->body, SIZE_MAX, &random, &whole);
        check_against_table(item, &whole);
        for (int round = 0; round < 21; round++) {
            if (item->body.len > 100000 && round > 1)
                break;
            struct decoded cut;
            decode(&item->body, round == 0 ? 1 : 0, &random, &cut);
            check_same(item->name, &whole, &cut);
            free(cut.bytes);
        }
        free(whole.bytes);
    }
    assert_true(count >= 60);
}

/* What a proxy in front would send next must stay where it is. */
static void test_stops_at_the_end(void **state)
{
    (void)state;
    static const char text[] = "3\r\nabc\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\n";
    struct http_chunked chunked;
    http_chunked_init(&chunked);
    size_t consumed;
    struct slice data;
    struct http_parse_error error;
    assert_int_equal(
        http_chunked_decode(&chunked, text, sizeof(text) - 1, 100, &consumed, &data, &error),
        HTTP_PARSE_INCOMPLETE);
    assert_int_equal(consumed, 6);
    assert_true(slice_equal_str(data, "abc"));
    assert_int_equal(
        http_chunked_decode(&chunked, text + 6, sizeof(text) - 7, 100, &consumed, &data, &error),
        HTTP_PARSE_DONE);
    assert_int_equal(consumed, 13);
    assert_int_equal(data.len, 0);
    assert_int_equal(
        http_chunked_decode(&chunked, text + 19, sizeof(text) - 20, 100, &consumed, &data, &error),
        HTTP_PARSE_DONE);
    assert_int_equal(consumed, 0);
}

static void test_body_limit(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t max;
        int status; /* 0: done */
    } rows[] = {
        {"5\r\nhello\r\n0\r\n\r\n", 5, 0},
        {"5\r\nhello\r\n0\r\n\r\n", 4, 413},
        {"0\r\n\r\n", 0, 0},
        {"1\r\nx\r\n0\r\n\r\n", 0, 413},
        {"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 6, 0},
        {"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 5, 413},
        {"5\r\nhello\r\n0\r\n\r\n", UINT64_MAX, 0},
        {"1\r\nx\r\nffffffffffffffff\r\n", UINT64_MAX, 413},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct http_chunked chunked;
        http_chunked_init(&chunked);
        struct slice rest = slice_from_str(rows[i].body);
        struct http_parse_error error = {0};
        enum http_parse_result result = HTTP_PARSE_INCOMPLETE;
        while (result == HTTP_PARSE_INCOMPLETE && rest.len > 0) {
            size_t consumed;
            struct slice data;
            result = http_chunked_decode(&chunked, rest.ptr, rest.len, rows[i].max, &consumed,
                                         &data, &error);
            rest = slice_from(rest.ptr + consumed, rest.len - consumed);
        }
        assert_int_equal(result, rows[i].status == 0 ? HTTP_PARSE_DONE : HTTP_PARSE_ERROR);
        assert_int_equal(error.status, rows[i].status);
    }
}

/* The same bytes again after an error give the same error. */
static void test_error_stays(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello!\r\n";
    struct http_chunked chunked;
    http_chunked_init(&chunked);
    size_t consumed;
    struct slice data;
    struct http_parse_error error;
    (void)http_chunked_decode(&chunked, text, sizeof(text) - 1, 100, &consumed, &data, &error);
    assert_int_equal(consumed, 8);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_chunked_decode(&chunked, text + 8, 3, 100, &consumed, &data, &error),
                         HTTP_PARSE_ERROR);
        assert_int_equal(consumed, 0);
        assert_int_equal(error.status, 400);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_stops_at_the_end),
        cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_error_stays),
    };
    return cmocka_run_group_tests(tests, load_cases, free_cases);
}
