/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_secret - which tokens are accepted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/secret.h"

static void test_equal(void **state)
{
    (void)state;
    static const struct {
        struct slice given, secret;
        bool equal;
    } cases[] = {
        {SLICE_LITERAL("abc"), SLICE_LITERAL("abc"), true},
        {SLICE_LITERAL("abd"), SLICE_LITERAL("abc"), false},
        {SLICE_LITERAL("xbc"), SLICE_LITERAL("abc"), false},
        {SLICE_LITERAL("Abc"), SLICE_LITERAL("abc"), false},
        {SLICE_LITERAL("ab"), SLICE_LITERAL("abc"), false},
        {SLICE_LITERAL("abcd"), SLICE_LITERAL("abc"), false},
        {SLICE_LITERAL("a\0c"), SLICE_LITERAL("a\0c"), true},
        {SLICE_LITERAL("a\0c"), SLICE_LITERAL("a\0d"), false},
        {SLICE_LITERAL("\xff"), SLICE_LITERAL("\x7f"), false},
        {SLICE_LITERAL(""), SLICE_LITERAL(""), false},
        {SLICE_LITERAL("a"), SLICE_LITERAL(""), false},
        {SLICE_LITERAL(""), SLICE_LITERAL("a"), false},
        {{NULL, 0}, {NULL, 0}, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(secret_equal(cases[i].given, cases[i].secret), cases[i].equal);
}

/* One wrong bit anywhere is enough. */
static void test_every_bit_counts(void **state)
{
    (void)state;
    const struct slice secret = SLICE_LITERAL("correct horse battery staple");
    char given[64];
    for (size_t at = 0; at < secret.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(given, secret.ptr, secret.len);
            given[at] = (char)(given[at] ^ (1 << bit));
            assert_false(secret_equal(slice_from(given, secret.len), secret));
        }
    }
    memcpy(given, secret.ptr, secret.len);
    assert_true(secret_equal(slice_from(given, secret.len), secret));
}

static void test_bearer(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        bool ok;
    } cases[] = {
        {"Bearer s3cret", true},         {"bearer s3cret", true},   {"BEARER   s3cret", true},
        {"Bearer s3cre", false},         {"Bearer s3cret ", false}, {"Bearer s3crets", false},
        {"Bearers3cret", false},         {"Bearer", false},         {"Bearer ", false},
        {"Basic s3cret", false},         {"s3cret", false},         {"", false},
        {"Bearer\ts3cret", false},       {" Bearer s3cret", false}, {"Bearer  ", false},
        {"Bearer Bearer s3cret", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct slice header = slice_from_str(cases[i].header);
        assert_int_equal(secret_check_bearer(header, SLICE_LITERAL("s3cret")), cases[i].ok);
        assert_false(secret_check_bearer(header, SLICE_LITERAL("")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_bearer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
