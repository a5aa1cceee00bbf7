/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_http_parser - the table of request heads, whole and cut everywhere, and
 * every byte value in every place.
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

static int mistakes; /* of the running test; all of them are printed */

static void mistake(const char *name, const char *what)
{
    print_error("%s: %s\n", name, what);
    mistakes++;
}

/* Parses a copy that is exactly as long, so that a sanitizer sees a read past
 * the end. `request` keeps offsets, which hold for every copy. */
static enum http_parse_result parse(const char *bytes, size_t len, const struct http_limits *limits,
                                    struct http_request *request, struct http_parse_error *error)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    enum http_parse_result result = http_parse_head(copy, len, limits, request, error);
    free(copy);
    return result;
}

/* ---- the table ---- */

static void test_table_is_sane(void **state)
{
    (void)state;
    int errors = 0;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        if (item->clause == NULL || item->head.len == 0 || !item->expect.given)
            fail_msg("%s: incomplete", item->name);
        for (int k = 0; k < i; k++) {
            if (strcmp(cases->item[k].name, item->name) == 0)
                fail_msg("%s: two of that name", item->name);
        }
        errors += item->expect.result == HTTP_PARSE_ERROR;
    }
    assert_true(cases->count >= 300);
    assert_true(errors >= 150);
}

static struct slice value_of(const struct http_case *item, const char *key, const char *otherwise)
{
    for (int i = 0; i < item->key_count; i++) {
        if (strcmp(item->key[i].key, key) == 0)
            return slice_from(item->key[i].value.ptr, item->key[i].value.len);
    }
    return slice_from_str(otherwise);
}

static void check_text(const struct http_case *item, const char *key, const char *otherwise,
                       struct slice have)
{
    struct slice want = value_of(item, key, otherwise);
    if (!slice_equal_str(want, "any") && !slice_equal(want, have)) {
        print_error("%s: %s is \"%.*s\"\n", item->name, key, (int)have.len, have.ptr);
        mistakes++;
    }
}

static void check_number(const struct http_case *item, const char *key, const char *otherwise,
                         int64_t have)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%lld", (long long)have);
    check_text(item, key, otherwise, slice_from_str(text));
}

static void check_request(const struct http_case *item, const struct http_request *request)
{
    const char *bytes = item->head.ptr;
    check_text(item, "method", "GET", slice_from_str(http_method_name(request->method)));
    check_text(item, "path", "/hello", http_slice(bytes, request->path));
    check_text(item, "query", "", http_slice(bytes, request->query));
    check_text(item, "host", "a", http_slice(bytes, request->host));
    check_number(item, "minor", "1", request->minor_version);
    check_number(item, "keep", "1", request->keep_alive);
    check_number(item, "chunked", "0", request->chunked);
    check_number(item, "length", "-1", request->content_length);
    check_number(item, "continue", "0", request->expect_continue);
    check_number(item, "upgrade", "0", request->upgrade);
    check_number(item, "root", "0", request->path_is_root);
    check_number(item, "fields", "any", request->header_count);

    struct slice method = http_slice(bytes, request->method_text);
    if (request->method != HTTP_METHOD_UNKNOWN &&
        !slice_equal_str(method, http_method_name(request->method)))
        mistake(item->name, "method_text");
    struct slice target = http_slice(bytes, request->target);
    if (target.ptr != method.ptr + method.len + 1 || target.ptr[target.len] != ' ')
        mistake(item->name, "target");
    if (request->has_host != (http_find_header(request, bytes, SLICE_LITERAL("host")) != NULL))
        mistake(item->name, "has_host");

    for (int i = 0; i < item->field_count; i++) {
        const struct http_case_pair *field = &item->field[i];
        const struct http_header *header =
            http_find_header(request, bytes, slice_from_str(field->key));
        struct slice want = slice_from(field->value.ptr, field->value.len);
        if (header == NULL || !slice_equal(http_slice(bytes, header->value), want))
            mistake(item->name, field->key);
    }
}

static void test_heads_whole(void **state)
{
    (void)state;
    mistakes = 0;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        struct http_request request;
        struct http_parse_error error;
        enum http_parse_result result =
            parse(item->head.ptr, item->head.len, &http_case_limits, &request, &error);
        if (result != item->expect.result) {
            mistake(item->name, error.status != 0 ? error.reason : "the result");
        } else if (result == HTTP_PARSE_ERROR) {
            if (error.status != item->expect.status || error.reason == NULL)
                mistake(item->name, "the status");
        } else if (result == HTTP_PARSE_DONE) {
            if (request.head_bytes != item->head.len)
                mistake(item->name, "head_bytes");
            check_request(item, &request);
        }
    }
    assert_int_equal(mistakes, 0);
}

/* The result for the first `len` bytes must agree with that for all. */
static void check_prefix(const struct http_case *item, size_t len,
                         const struct http_parse_error *whole)
{
    struct http_request request;
    struct http_parse_error error;
    enum http_parse_result result = parse(item->head.ptr, len, &http_case_limits, &request, &error);
    if (result == HTTP_PARSE_DONE)
        mistake(item->name, "done before its end");
    if (result == HTTP_PARSE_ERROR &&
        (item->expect.result != HTTP_PARSE_ERROR || error.status != whole->status ||
         strcmp(error.reason, whole->reason) != 0))
        mistake(item->name, "another error when cut");
}

static void test_heads_cut_everywhere(void **state)
{
    (void)state;
    mistakes = 0;
    uint32_t random = 20240607;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        struct http_request request;
        struct http_parse_error whole;
        (void)parse(item->head.ptr, item->head.len, &http_case_limits, &request, &whole);
        /* Long heads are cut where limits are and at random. */
        for (size_t len = 0; len < item->head.len;) {
            check_prefix(item, len, &whole);
            bool dense = item->head.len < 1500 || len < 64 || item->head.len - len < 64 ||
                         (len >= 8180 && len < 8210) || (len >= 16374 && len < 16394);
            len += dense ? 1 : 1 + http_case_random(&random) % 64;
        }
    }
    assert_int_equal(mistakes, 0);
}

static void test_bytes_behind_the_head_do_not_matter(void **state)
{
    (void)state;
    static const char next[] = "\r\n\x00GET / HTTP/1.1\nX";
    mistakes = 0;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        if (item->expect.result == HTTP_PARSE_INCOMPLETE)
            continue;
        struct http_request request;
        struct http_parse_error whole;
        struct http_parse_error error;
        (void)parse(item->head.ptr, item->head.len, &http_case_limits, &request, &whole);
        size_t len = item->head.len + sizeof(next);
        char *longer = malloc(len);
        assert_non_null(longer);
        memcpy(longer, item->head.ptr, item->head.len);
        memcpy(longer + item->head.len, next, sizeof(next));
        enum http_parse_result result =
            http_parse_head(longer, len, &http_case_limits, &request, &error);
        if (result != item->expect.result || error.status != whole.status)
            mistake(item->name, "changed by what follows");
        if (result == HTTP_PARSE_DONE && request.head_bytes != item->head.len)
            mistake(item->name, "head_bytes");
        free(longer);
    }
    assert_int_equal(mistakes, 0);
}

/* As a connection does it: parse again only when that may help. */
static void test_heads_trickle_in(void **state)
{
    (void)state;
    mistakes = 0;
    for (int i = 0; i < cases->count; i++) {
        const struct http_case *item = &cases->item[i];
        struct http_request request;
        struct http_parse_error error;
        enum http_parse_result result = HTTP_PARSE_INCOMPLETE;
        size_t seen = 0;
        size_t parses = 0;
        for (size_t len = 1; len <= item->head.len && result == HTTP_PARSE_INCOMPLETE; len++) {
            if (!http_parse_worth_retry(item->head.ptr, seen, len, &http_case_limits))
                continue;
            result = http_parse_head(item->head.ptr, len, &http_case_limits, &request, &error);
            seen = len;
            parses++;
        }
        /* An error in the middle of a line may wait for its end. */
        if (result == HTTP_PARSE_INCOMPLETE && item->expect.result == HTTP_PARSE_ERROR &&
            memchr(item->head.ptr, '\n', item->head.len) == NULL && item->head.len < 8192)
            continue;
        if (result != item->expect.result ||
            (result == HTTP_PARSE_ERROR && error.status != item->expect.status))
            mistake(item->name, "another result when it trickles in");
        if (parses > 130)
            mistake(item->name, "parsed too often");
    }
    assert_int_equal(mistakes, 0);
}

/* ---- every byte value in every place ---- */

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

struct place {
    const char *name;
    const char *before;
    const char *after;
    const char *allowed; /* what may stand there and nowhere changes the meaning */
    bool high;           /* 0x80..0xff as well */
};

static const struct place places[] = {
    {"method", "G", "T / HTTP/1.1\r\nHost: a\r\n\r\n", ALPHANUMERIC "!#$%&'*+-.^_`|~", false},
    {"path", "GET /", " HTTP/1.1\r\nHost: a\r\n\r\n",
     ALPHANUMERIC "-._~!$&'()*+,;=:@/"
                  "[]|^"
                  "?",
     false},
    {"query", "GET /?", " HTTP/1.1\r\nHost: a\r\n\r\n",
     ALPHANUMERIC "-._~!$&'()*+,;=:@/?"
                  "[]|^"
                  "%`{}\\",
     false},
    {"name", "GET / HTTP/1.1\r\nHost: a\r\nX", "Y: z\r\n\r\n",
     ALPHANUMERIC "!#$%&'*+-.^_`|~:", false},
    {"value", "GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n",
     ALPHANUMERIC " \t!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true},
    {"host", "GET / HTTP/1.1\r\nHost: a", "b\r\n\r\n", ALPHANUMERIC "-._~!$&'()*+,;=", false},
    {"port", "GET / HTTP/1.1\r\nHost: a:8", "0\r\n\r\n", "0123456789", false},
    {"length", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1", "0\r\n\r\n", "0123456789", false},
    {"space before the target", "GET", "/ HTTP/1.1\r\nHost: a\r\n\r\n", " ", false},
    {"space before the version", "GET /", "HTTP/1.1\r\nHost: a\r\n\r\n", " ", false},
    {"minor version", "GET / HTTP/1.", "\r\nHost: a\r\n\r\n", "0123456789", false},
    {"CR", "GET / HTTP/1.1", "\nHost: a\r\n\r\n", "\r", false},
    {"LF", "GET / HTTP/1.1\r", "Host: a\r\n\r\n", "\n", false},
    {"CR of a field", "GET / HTTP/1.1\r\nHost: a\r\nX: y\t", "\n\r\n", "\r", false},
    {"LF of a field", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r", "\r\n", "\n", false},
    {"colon", "GET / HTTP/1.1\r\nHost: a\r\nX", " y\r\n\r\n", ":", false},
    {"last LF", "GET / HTTP/1.1\r\nHost: a\r\n\r", "", "\n", false},
};

static void test_every_byte_in_every_place(void **state)
{
    (void)state;
    mistakes = 0;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        const struct place *place = &places[i];
        for (int byte = 0; byte < 256; byte++) {
            char text[256];
            size_t len = strlen(place->before);
            memcpy(text, place->before, len);
            text[len++] = (char)byte;
            memcpy(text + len, place->after, strlen(place->after) + 1);
            len += strlen(place->after);
            struct http_request request;
            struct http_parse_error error;
            enum http_parse_result result = parse(text, len, &http_case_limits, &request, &error);
            bool allowed =
                byte >= 0x80 ? place->high : byte != 0 && strchr(place->allowed, byte) != NULL;
            if ((result == HTTP_PARSE_DONE) != allowed) {
                print_error("%s: 0x%02x\n", place->name, (unsigned)byte);
                mistakes++;
            }
        }
    }
    assert_int_equal(mistakes, 0);
}

/* Values are looked at eight bytes at a time: every offset must be equal. */
static void test_every_offset_in_a_value(void **state)
{
    (void)state;
    static const char bad[] = {'\0', '\x01', '\x08', '\n', '\x1f', '\x7f'};
    mistakes = 0;
    for (size_t len = 1; len < 40; len++) {
        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof(bad); i++) {
                char text[128] = "GET / HTTP/1.1\r\nHost: a\r\nX:";
                size_t start = strlen(text);
                memset(text + start, '\xff', len);
                text[start + at] = bad[i];
                memcpy(text + start + len, "\r\n\r\n", 5);
                struct http_request request;
                struct http_parse_error error;
                if (parse(text, start + len + 4, &http_case_limits, &request, &error) !=
                        HTTP_PARSE_ERROR ||
                    error.status != 400)
                    mistake("value", "a control was let through");
                text[start + at] = '\t';
                if (parse(text, start + len + 4, &http_case_limits, &request, &error) !=
                    HTTP_PARSE_DONE)
                    mistake("value", "a tab was refused");
            }
        }
    }
    assert_int_equal(mistakes, 0);
}

/* ---- the rest ---- */

static void test_limits(void **state)
{
    (void)state;
    static const char head[] = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    static const struct {
        struct http_limits limits;
        int status; /* 0: done */
    } rows[] = {
        {{35, 14, 2}, 0},
        {{34, 14, 2}, 431},
        {{35, 13, 2}, 414},
        {{35, 14, 1}, 431},
        {{10, 14, 2}, 414},
        {{1, 14, 2}, 431},
        {{0, 14, 2}, 414},
        {{35, 0, 2}, 414},
        {{35, 14, 0}, 431},
        {{18, 14, 2}, 431},
        {{UINT32_MAX, UINT32_MAX, HTTP_MAX_HEADERS}, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct http_request request;
        struct http_parse_error error;
        enum http_parse_result result =
            parse(head, sizeof(head) - 1, &rows[i].limits, &request, &error);
        assert_int_equal(error.status, rows[i].status);
        assert_int_equal(result, rows[i].status == 0 ? HTTP_PARSE_DONE : HTTP_PARSE_ERROR);
    }
}

/* At a limit, a head that is not complete has become an error. */
static void test_limits_do_not_wait(void **state)
{
    (void)state;
    static const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r";
    struct http_request request;
    struct http_parse_error error;
    const struct http_limits limits = {sizeof(head) - 1, 14, 100};
    assert_int_equal(parse(head, sizeof(head) - 2, &limits, &request, &error),
                     HTTP_PARSE_INCOMPLETE);
    assert_int_equal(parse(head, sizeof(head) - 1, &limits, &request, &error), HTTP_PARSE_ERROR);
    assert_int_equal(error.status, 431);
    const struct http_limits short_line = {1000, 12, 100};
    assert_int_equal(parse(head, 13, &short_line, &request, &error), HTTP_PARSE_INCOMPLETE);
    assert_int_equal(parse(head, 14, &short_line, &request, &error), HTTP_PARSE_ERROR);
    assert_int_equal(error.status, 414);
}

static void test_worth_retry(void **state)
{
    (void)state;
    static const char text[] = "GET /aaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaaaaa";
    const struct http_limits limits = {30, 8, 100};
    static const struct {
        size_t seen;
        size_t len;
        bool worth;
    } rows[] = {
        {0, 1, true},                                     /* nothing was looked at yet */
        {1, 9, false},                                    /* no line has ended */
        {1, 10, true},                                    /* the line is as long as it may be */
        {9, 11, true},   {17, 18, true},                  /* it may start behind empty lines */
        {18, 19, false}, {18, 20, true},                  /* a line ends */
        {20, 21, false}, {20, 29, false}, {29, 30, true}, /* the head is as long as it may be */
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_int_equal(http_parse_worth_retry(text, rows[i].seen, rows[i].len, &limits),
                         rows[i].worth);
}

static void test_most_headers(void **state)
{
    (void)state;
    const struct http_limits limits = {65536, 8192, HTTP_MAX_HEADERS};
    char text[8192] = "GET / HTTP/1.1\r\nHost: a\r\n";
    size_t len = strlen(text);
    for (int i = 1; i < HTTP_MAX_HEADERS; i++)
        len += (size_t)sprintf(text + len, "X%d: %d\r\n", i, i);
    memcpy(text + len, "\r\n", 3);
    struct http_request request;
    struct http_parse_error error;
    assert_int_equal(parse(text, len + 2, &limits, &request, &error), HTTP_PARSE_DONE);
    assert_int_equal(request.header_count, HTTP_MAX_HEADERS);
    const struct http_header *last = http_find_header(&request, text, SLICE_LITERAL("x255"));
    assert_non_null(last);
    assert_true(slice_equal_str(http_slice(text, last->value), "255"));
    assert_null(http_find_header(&request, text, SLICE_LITERAL("x256")));
    memcpy(text + len, "Y: z\r\n\r\n", 9);
    assert_int_equal(parse(text, len + 8, &limits, &request, &error), HTTP_PARSE_ERROR);
    assert_int_equal(error.status, 431);
}

static void test_nothing_is_incomplete(void **state)
{
    (void)state;
    struct http_request request;
    struct http_parse_error error;
    assert_int_equal(http_parse_head(NULL, 0, &http_case_limits, &request, &error),
                     HTTP_PARSE_INCOMPLETE);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(http_method_name(HTTP_CONNECT), "CONNECT");
    assert_string_equal(http_method_name(HTTP_METHOD_UNKNOWN), "?");
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_text(599), "");
    assert_string_equal(http_status_text(-1), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sane),
        cmocka_unit_test(test_heads_whole),
        cmocka_unit_test(test_heads_cut_everywhere),
        cmocka_unit_test(test_bytes_behind_the_head_do_not_matter),
        cmocka_unit_test(test_heads_trickle_in),
        cmocka_unit_test(test_every_byte_in_every_place),
        cmocka_unit_test(test_every_offset_in_a_value),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limits_do_not_wait),
        cmocka_unit_test(test_worth_retry),
        cmocka_unit_test(test_most_headers),
        cmocka_unit_test(test_nothing_is_incomplete),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, load_cases, free_cases);
}
