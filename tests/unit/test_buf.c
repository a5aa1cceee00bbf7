/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_buf - growth, limits and the n-th allocation that fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* The module is compiled into the test so that its allocations can be refused. */
static int allocations_left;

static void *refusing_realloc(void *ptr, size_t size)
{
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    return realloc(ptr, size);
}

#define realloc refusing_realloc
#include "common/buf.c" /* NOLINT(bugprone-suspicious-include) */
#undef realloc

static int allow_allocations(void **state)
{
    (void)state;
    allocations_left = -1;
    return 0;
}

static void assert_text(const struct buf *buf, const char *text)
{
    assert_false(buf_failed(buf));
    assert_int_equal(buf->len, strlen(text));
    assert_memory_equal(buf->ptr, text, buf->len);
}

static void test_append(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 0);
    buf_append(&buf, NULL, 0);
    assert_int_equal(buf_slice(&buf).len, 0);
    buf_append(&buf, "ab\0c", 4);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.ptr, "ab\0c", 4);
    buf_reset(&buf);
    buf_append_str(&buf, "hello");
    buf_append_str(&buf, "");
    buf_printf(&buf, " %s %d", "world", 42);
    buf_printf(&buf, "%s", "");
    assert_text(&buf, "hello world 42");
    buf_fini(&buf);
    assert_null(buf.ptr);
    buf_append_str(&buf, "again");
    assert_text(&buf, "again");
    buf_fini(&buf);
}

/* Text built in every mixture of calls and sizes is the text that was asked for. */
static void test_growth(void **state)
{
    (void)state;
    struct buf buf;
    static char expected[200000];
    size_t len = 0;

    buf_init(&buf, sizeof(expected));
    for (unsigned i = 0; len < 100000; i++) {
        char piece[700] = {0};
        size_t piece_len = (i * 37) % sizeof(piece);
        for (size_t k = 0; k < piece_len; k++)
            piece[k] = (char)('a' + (i + k) % 26);
        memcpy(expected + len, piece, piece_len);
        len += piece_len;
        switch (i % 3) {
        case 0:
            buf_append(&buf, piece, piece_len);
            break;
        case 1:
            buf_printf(&buf, "%.*s", (int)piece_len, piece);
            break;
        default: {
            char *room = buf_reserve(&buf, piece_len + 5);
            assert_non_null(room);
            memcpy(room, piece, piece_len);
            buf.len += piece_len;
        }
        }
    }
    assert_int_equal(buf.len, len);
    assert_memory_equal(buf.ptr, expected, len);
    buf_fini(&buf);
}

static void fill(struct buf *buf, size_t limit, int how, size_t len)
{
    char text[64];
    memset(text, 'x', sizeof(text));
    buf_init(buf, limit);
    if (how == 0) {
        buf_append(buf, text, len);
    } else if (how == 1) {
        buf_printf(buf, "%.*s", (int)len, text);
    } else {
        char *room = buf_reserve(buf, len);
        if (room != NULL) {
            memcpy(room, text, len);
            buf->len += len;
        }
    }
}

/* Every way to append reaches the limit exactly and not one byte more. */
static void test_limit(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        for (size_t limit = 1; limit < 40; limit++) {
            struct buf buf;
            fill(&buf, limit, how, limit);
            assert_false(buf_failed(&buf));
            assert_int_equal(buf.len, limit);
            buf_append(&buf, "", 0);
            buf_printf(&buf, "%s", "");
            assert_false(buf_failed(&buf));
            buf_printf(&buf, "y");
            assert_true(buf_failed(&buf));
            assert_int_equal(buf.len, limit);
            buf_fini(&buf);

            fill(&buf, limit, how, limit + 1);
            assert_true(buf_failed(&buf));
            assert_int_equal(buf.len, 0);
            buf_fini(&buf);
        }
    }
}

/* The memory that is kept by buf_reset() must not stretch the limit. */
static void test_failed_is_sticky_until_reset(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    buf_append_str(&buf, "12345");
    buf_append_str(&buf, "678901");
    assert_true(buf_failed(&buf));
    buf_append_str(&buf, "6");
    buf_printf(&buf, "%d", 6);
    assert_null(buf_reserve(&buf, 0));
    assert_int_equal(buf.len, 5);
    buf_reset(&buf);
    assert_false(buf_failed(&buf));
    buf_append_str(&buf, "1234567890");
    assert_text(&buf, "1234567890");
    buf_fini(&buf);
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, (size_t)1 << 62};
    for (size_t i = 0; i < 2 * ARRAY_COUNT(sizes); i++) {
        struct buf buf;
        buf_init(&buf, i % 2 == 0 ? 0 : SIZE_MAX);
        buf_append_str(&buf, "abc");
        assert_null(buf_reserve(&buf, sizes[i / 2]));
        assert_true(buf_failed(&buf));
        assert_int_equal(buf.len, 3);
        buf_fini(&buf);
    }
}

static void build_document(struct buf *buf)
{
    for (int i = 0; i < 2000; i++) {
        buf_append_str(buf, "key ");
        buf_printf(buf, "value-%d", i);
        char *room = buf_reserve(buf, 1);
        if (room != NULL) {
            *room = '\n';
            buf->len++;
        }
    }
}

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    struct buf whole;
    buf_init(&whole, 0);
    build_document(&whole);
    assert_false(buf_failed(&whole));

    int refused = 0;
    for (int n = 0;; n++) {
        struct buf buf;
        buf_init(&buf, 0);
        allocations_left = n;
        build_document(&buf);
        allocations_left = -1;
        if (!buf_failed(&buf)) {
            assert_int_equal(buf.len, whole.len);
            buf_fini(&buf);
            break;
        }
        refused++;
        /* What is there is a true beginning of the document. */
        assert_true(buf.len < whole.len);
        if (buf.len > 0)
            assert_memory_equal(buf.ptr, whole.ptr, buf.len);
        buf_reset(&buf);
        build_document(&buf);
        assert_false(buf_failed(&buf));
        assert_memory_equal(buf.ptr, whole.ptr, whole.len);
        buf_fini(&buf);
    }
    assert_true(refused >= 5);
    buf_fini(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_failed_is_sticky_until_reset),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test_setup_teardown(test_every_allocation_can_fail, allow_allocations,
                                        allow_allocations),
    };
    return cmocka_run_group_tests(tests, allow_allocations, NULL);
}
