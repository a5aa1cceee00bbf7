/* SPDX-License-Identifier: BSD-2-Clause
 *
 * accept - reading an Accept header.
 */
#include "worker/accept.h"

static struct slice trim(struct slice text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Cuts off what stands before `separator`; `rest` keeps what is behind it. */
static struct slice take_until(struct slice *rest, char separator)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    struct slice piece = slice_from(rest->ptr, len);
    size_t skip = end != NULL ? len + 1 : len;
    rest->ptr += skip;
    rest->len -= skip;
    return trim(piece);
}

/* "1", "0.5", "0.123" as thousandths; what is malformed counts as 1. */
static int parse_weight(struct slice text)
{
    if (text.len == 0 || text.ptr[0] != '0')
        return 1000;
    int weight = 0, scale = 100;
    for (size_t i = 2; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        weight += scale * (text.ptr[i] - '0');
        scale /= 10;
    }
    return weight;
}

static int weight_of(struct slice parameters)
{
    while (parameters.len > 0) {
        struct slice value = take_until(&parameters, ';');
        struct slice name = take_until(&value, '=');
        if (slice_equal_nocase(name, SLICE_LITERAL("q")))
            return parse_weight(value);
    }
    return 1000;
}

int accept_weight(struct slice accept, struct slice type)
{
    int best = ACCEPT_NOT_NAMED;
    while (accept.len > 0) {
        struct slice parameters = take_until(&accept, ',');
        struct slice name = take_until(&parameters, ';');
        if (!slice_equal_nocase(name, type))
            continue;
        int weight = weight_of(parameters);
        if (weight > best)
            best = weight;
    }
    return best;
}
