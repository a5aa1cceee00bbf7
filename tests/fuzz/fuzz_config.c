/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_config - configuration files from nowhere: nothing crashes, libConfuse
 * accepts whatever the scanner lets through, every refusal has a reason, and
 * what is accepted survives being printed and read.
 */
#include "common/config_private.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "fuzz:<line>: libConfuse: …" and "fuzz: no memory" must not happen. */
static void check_line(struct slice line)
{
    size_t at = strcspn(line.ptr, ":\n");
    if (line.ptr[at] == ':' && line.ptr[at + 1] >= '0' && line.ptr[at + 1] <= '9')
        at += 1 + strspn(line.ptr + at + 1, "0123456789");
    struct slice rest = slice_from(line.ptr + at, line.len - at);
    CHECK(!slice_starts_with(rest, SLICE_LITERAL(": libConfuse")));
    CHECK(!slice_starts_with(rest, SLICE_LITERAL(": no memory")));
}

static void check_errors(const struct config *config, struct config_errors *errors)
{
    CHECK((config == NULL) == (errors->count > 0));
    CHECK((config == NULL) == (errors->text.len > 0));
    if (errors->text.len == 0)
        return;
    CHECK(errors->text.ptr[errors->text.len - 1] == '\n');
    const char *end = errors->text.ptr + errors->text.len;
    for (const char *line = errors->text.ptr; line < end; line++) {
        check_line(slice_from(line, (size_t)(end - line)));
        line = memchr(line, '\n', (size_t)(end - line));
    }
}

static void on_change(void *context, const char *key, const char *before, const char *after,
                      bool live)
{
    (void)context;
    (void)key;
    (void)before;
    (void)after;
    (void)live;
    abort();
}

static void check_round_trip(const struct config *config)
{
    struct config_errors errors;
    struct buf wire, people, again;

    buf_init(&wire, 0);
    buf_init(&people, 0);
    buf_init(&again, 0);
    config_print(config, CONFIG_PRINT_WIRE, &wire);
    config_print(config, CONFIG_PRINT_PEOPLE, &people);
    CHECK(!buf_failed(&wire) && !buf_failed(&people));
    config_errors_init(&errors);
    struct config *back = config_parse_text(buf_slice(&wire), &errors);
    CHECK(back != NULL);
    CHECK(config_compare(config, back, on_change, NULL) == 0);
    config_print(back, CONFIG_PRINT_WIRE, &again);
    CHECK(slice_equal(buf_slice(&wire), buf_slice(&again)));
    config_free(&back);
    back = config_parse_text(buf_slice(&people), &errors);
    CHECK(back != NULL && errors.count == 0);
    config_free(&back);
    config_errors_fini(&errors);
    buf_fini(&wire);
    buf_fini(&people);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_from((const char *)data, size);
    struct config_errors errors;

    config_errors_init(&errors);
    struct config *config = config_load_text("fuzz", text, NULL, &errors);
    check_errors(config, &errors);
    config_errors_fini(&errors);
    if (config != NULL)
        check_round_trip(config);
    config_free(&config);

    config_errors_init(&errors);
    config = config_parse_text(text, &errors);
    check_errors(config, &errors);
    config_errors_fini(&errors);
    if (config != NULL)
        check_round_trip(config);
    config_free(&config);
    return 0;
}
