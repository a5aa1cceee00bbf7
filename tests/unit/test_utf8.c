/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_utf8 - every code point, every truncation, every two-byte beginning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/utf8.h"

/* RFC 3629 section 3, without its exceptions. */
static size_t encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(0xF00 >> length | code);
    return length;
}

static void test_every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x200000; code++) {
        char text[4];
        size_t length = encode(code, text);
        int allowed = code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        if (utf8_length(text, length) != (allowed ? length : 0))
            fail_msg("U+%X", code);
        for (size_t cut = 0; cut < length; cut++) {
            if (utf8_length(text, cut) != 0)
                fail_msg("U+%X cut to %zu", code, cut);
        }
    }
}

/* A code point in more bytes than it needs (RFC 3629 section 3). */
static void test_overlong(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {"\xC0\x80", 2},
        {"\xC1\xBF", 2},
        {"\xE0\x80\x80", 3},
        {"\xE0\x9F\xBF", 3},
        {"\xF0\x80\x80\x80", 4},
        {"\xF0\x8F\xBF\xBF", 4},
        {"\x80", 1},
        {"\xBF", 1},
        {"\xFE", 1},
        {"\xFF", 1},
        {"\xF8\x88\x80\x80\x80", 5},
        {"\xC2"
         "a",
         2},
        {"\xE2\x82"
         "a",
         3},
        {"\xE2"
         "a\x82",
         3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(utf8_length(cases[i].text, cases[i].len), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_overlong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
