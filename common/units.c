/* SPDX-License-Identifier: BSD-2-Clause
 *
 * units - reading and writing numbers, durations and sizes.
 */
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Smallest first: formatting looks for the largest that divides the value. */
static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
};
static const struct unit sizes[] = {
    {"", 1},
    {"k", INT64_C(1) << 10},
    {"m", INT64_C(1) << 20},
    {"g", INT64_C(1) << 30},
};

static int fail(int error, const char *reason, const char **why)
{
    if (why != NULL)
        *why = reason;
    return error;
}

/* Reads the digits that the text begins with; the rest goes to `unit`. */
static int parse_digits(struct slice text, int64_t *out, struct slice *unit, const char **why)
{
    int64_t value = 0;
    size_t i = 0;

    if (text.len == 0)
        return fail(-EINVAL, "is empty", why);
    if (text.ptr[0] == '-')
        return fail(-EINVAL, "must not be negative", why);
    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text.ptr[i] - '0', &value))
            return fail(-ERANGE, "is too large", why);
    }
    if (i == 0)
        return fail(-EINVAL, "is not a number", why);
    if (i < text.len && (text.ptr[i] == '.' || text.ptr[i] == ','))
        return fail(-EINVAL, "has a fraction; use a smaller unit", why);
    *out = value;
    *unit = slice_from(text.ptr + i, text.len - i);
    return 0;
}

static int scale(int64_t value, struct slice name, const struct unit *units, size_t count,
                 const char *unknown, int64_t *out, const char **why)
{
    for (size_t i = 0; i < count; i++) {
        if (!slice_equal_str(name, units[i].name))
            continue;
        if (__builtin_mul_overflow(value, units[i].factor, &value))
            return fail(-ERANGE, "is too large", why);
        *out = value;
        return 0;
    }
    return fail(-EINVAL, unknown, why);
}

int units_parse_number(struct slice text, int64_t *out, const char **why)
{
    struct slice rest;
    int64_t value;
    int error = parse_digits(text, &value, &rest, why);

    if (error != 0)
        return error;
    if (rest.len != 0)
        return fail(-EINVAL, "is not a number", why);
    *out = value;
    return 0;
}

int units_parse_duration(struct slice text, int64_t *out_ms, const char **why)
{
    struct slice unit;
    int64_t value;
    int error = parse_digits(text, &value, &unit, why);

    if (error == -EINVAL && text.len != 0 && (text.ptr[0] < '-' || text.ptr[0] > '9'))
        return fail(-EINVAL, "is not a duration", why);
    if (error != 0)
        return error;
    if (unit.len == 0) {
        if (value != 0)
            return fail(-EINVAL, "has no unit (ms, s, m, h or d)", why);
        *out_ms = 0;
        return 0;
    }
    return scale(value, unit, durations, ARRAY_COUNT(durations),
                 "has an unknown unit (known are ms, s, m, h and d)", out_ms, why);
}

int units_parse_size(struct slice text, int64_t *out_bytes, const char **why)
{
    struct slice unit;
    int64_t value;
    int error = parse_digits(text, &value, &unit, why);

    if (error == -EINVAL && text.len != 0 && (text.ptr[0] < '-' || text.ptr[0] > '9'))
        return fail(-EINVAL, "is not a size", why);
    if (error != 0)
        return error;
    char lower = '\0';
    if (unit.len == 1) {
        lower = unit.ptr[0];
        if (lower >= 'A' && lower <= 'Z')
            lower = (char)(lower - 'A' + 'a');
        unit.ptr = &lower;
    }
    return scale(value, unit, sizes, ARRAY_COUNT(sizes),
                 "has an unknown unit (known are k, m and g, for 1024 and its powers)", out_bytes,
                 why);
}

static void format(int64_t value, const struct unit *units, size_t count, char *out)
{
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        if (value % units[i].factor == 0)
            best = i;
    }
    (void)snprintf(out, UNITS_TEXT_SIZE, "%" PRId64 "%s", value / units[best].factor,
                   units[best].name);
}

void units_format_duration(int64_t ms, char out[UNITS_TEXT_SIZE])
{
    CHECK(ms >= 0);
    if (ms == 0)
        (void)snprintf(out, UNITS_TEXT_SIZE, "0");
    else
        format(ms, durations, ARRAY_COUNT(durations), out);
}

void units_format_size(int64_t bytes, char out[UNITS_TEXT_SIZE])
{
    CHECK(bytes >= 0);
    if (bytes == 0)
        (void)snprintf(out, UNITS_TEXT_SIZE, "0");
    else
        format(bytes, sizes, ARRAY_COUNT(sizes), out);
}
