/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_loading - loading configurations in tests, and what was said about them.
 */
#ifndef MUSTER_TESTS_CONFIG_LOADING_H
#define MUSTER_TESTS_CONFIG_LOADING_H

#include "common/config_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* The mistakes of the last load, as a string. */
static char mistakes[1 << 20];
static int mistake_count;

static inline void keep_mistakes(struct config_errors *errors)
{
    struct slice text = buf_slice(&errors->text);
    assert_true(text.len < sizeof(mistakes));
    if (text.len != 0)
        memcpy(mistakes, text.ptr, text.len);
    mistakes[text.len] = '\0';
    mistake_count = errors->count;
    config_errors_fini(errors);
}

static inline struct config *load_text(const char *text, const char *const *environment)
{
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config =
        config_load_text("test.conf", slice_from_str(text), (char *const *)environment, &errors);
    keep_mistakes(&errors);
    assert_true((config == NULL) == (mistake_count > 0));
    return config;
}

static inline struct config *load_good(const char *text, const char *const *environment)
{
    struct config *config = load_text(text, environment);
    if (config == NULL)
        fail_msg("%s\n%s", text, mistakes);
    return config;
}

/* Exactly one mistake, which has `expected` in it. */
static inline void expect_mistake(const char *text, const char *const *environment,
                                  const char *expected)
{
    struct config *config = load_text(text, environment);
    if (config != NULL)
        fail_msg("no mistake in: %s", text);
    if (mistake_count != 1 || strstr(mistakes, expected) == NULL)
        fail_msg("%s\nexpected: %s\ngot %d: %s", text, expected, mistake_count, mistakes);
}

static inline struct config *load_file(const char *path)
{
    struct config_errors errors;
    config_errors_init(&errors);
    struct config *config = config_load(path, NULL, &errors);
    keep_mistakes(&errors);
    return config;
}

#endif
