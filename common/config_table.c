/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_table - the table of keys, and finding what somebody meant in it.
 */
#include "common/config_private.h"

#include "common/units.h"
#include "common/weights.h"

#include <inttypes.h>

#define LIVE true
#define FIXED false
#define FIELD_TYPE(object, field)                                                                  \
    _Generic(((object *)0)->field,                                                                 \
        bool: 'b',                                                                                 \
        int: 'i',                                                                                  \
        int64_t: 'l',                                                                              \
        char *: 's',                                                                               \
        default: 'e')
#define ENTRY(object, id, section_, name_, field, kind_, standard_, min_, max_, changes, env_,     \
              choices_, help_)                                                                     \
    [KEY_##id] = {.section = (section_),                                                           \
                  .name = (name_),                                                                 \
                  .standard = (standard_),                                                         \
                  .env = (env_),                                                                   \
                  .choices = (choices_),                                                           \
                  .help = (help_),                                                                 \
                  .min = (min_),                                                                   \
                  .max = (max_),                                                                   \
                  .offset = offsetof(object, field),                                               \
                  .kind = KIND_##kind_,                                                            \
                  .type = FIELD_TYPE(object, field),                                               \
                  .live = (changes)},
#define PLAIN_ENTRY(...) ENTRY(struct config, __VA_ARGS__)
#define LISTEN_ENTRY(...) ENTRY(struct config_listen, __VA_ARGS__)
#define ROUTE_ENTRY(...) ENTRY(struct config_route, __VA_ARGS__)

const struct config_key config_keys[CONFIG_KEY_COUNT] = {
    CONFIG_KEYS(PLAIN_ENTRY) CONFIG_LISTEN_KEYS(LISTEN_ENTRY) CONFIG_ROUTE_KEYS(ROUTE_ENTRY)};

#define SECTION_NAME(id, name, help) [SECTION_##id] = (name),
#define SECTION_HELP(id, name, help) [SECTION_##id] = (help),
const char *const config_section_names[CONFIG_SECTION_COUNT] = {CONFIG_SECTIONS(SECTION_NAME)};
const char *const config_section_help[CONFIG_SECTION_COUNT] = {CONFIG_SECTIONS(SECTION_HELP)};

enum { NAME_MAX_LENGTH = 32 }; /* longer than every name there is */

static bool is_in(const struct config_key *key, enum config_section section)
{
    return strcmp(key->section, config_section_names[section]) == 0;
}

int config_find_key(enum config_section section, struct slice name)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (slice_equal_str(name, config_keys[i].name) && is_in(&config_keys[i], section))
            return i;
    }
    return -1;
}

int config_find_section(struct slice name)
{
    for (int i = SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
        if (slice_equal_str(name, config_section_names[i]))
            return i;
    }
    return -1;
}

static int smallest(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* How many letters must be added, removed, replaced or swapped with their
 * neighbour to get from one to the other (optimal string alignment). */
static int distance(struct slice a, struct slice b)
{
    int rows[3][NAME_MAX_LENGTH + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];

    if (a.len > NAME_MAX_LENGTH || b.len > NAME_MAX_LENGTH)
        return NAME_MAX_LENGTH;
    for (size_t j = 0; j <= b.len; j++)
        before[j] = last[j] = (int)j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= b.len; j++) {
            int replace = a.ptr[i - 1] == b.ptr[j - 1] ? 0 : 1;
            now[j] = smallest(last[j] + 1, now[j - 1] + 1, last[j - 1] + replace);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        int *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b.len];
}

/* Names this far away are more likely something else. */
static int tolerance(struct slice name)
{
    return name.len <= 4 ? 1 : name.len <= 8 ? 2 : 3;
}

/* Whether the name is "http_header_timeout" or "http.header_timeout". */
static bool is_full_name(const struct config_key *key, struct slice name)
{
    size_t prefix = strlen(key->section);
    struct slice section = slice_from_str(key->section);

    return prefix != 0 && name.len > prefix + 1 && slice_starts_with(name, section) &&
           (name.ptr[prefix] == '_' || name.ptr[prefix] == '.') &&
           slice_equal_str(slice_from(name.ptr + prefix + 1, name.len - prefix - 1), key->name);
}

static void describe_place(const struct config_key *key, struct buf *out)
{
    if (key->section[0] == '\0')
        buf_append_str(out, "outside of all sections");
    else
        buf_printf(out, "in section %s", key->section);
}

void config_suggest_key(enum config_section section, struct slice name, struct buf *out)
{
    const struct config_key *nearest = NULL;
    int best = tolerance(name) + 1;

    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        int away = distance(name, slice_from_str(key->name));
        if (is_in(key, section) && away < best) {
            nearest = key;
            best = away;
        }
    }
    if (nearest != NULL) {
        buf_printf(out, "; did you mean %s?", nearest->name);
        return;
    }
    bool found = false;
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        if (!slice_equal_str(name, key->name) && !is_full_name(key, name))
            continue;
        buf_printf(out, found ? " or " : "; %s belongs ", key->name);
        describe_place(key, out);
        found = true;
    }
    if (!found)
        buf_append_str(out, "; muster.conf(5) lists the keys");
}

void config_suggest_section(struct slice name, struct buf *out)
{
    int nearest = -1, best = tolerance(name) + 1;

    for (int i = SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
        int away = distance(name, slice_from_str(config_section_names[i]));
        if (away < best) {
            nearest = i;
            best = away;
        }
    }
    if (nearest >= 0)
        buf_printf(out, "; did you mean %s?", config_section_names[nearest]);
    else
        buf_append_str(out, "; sections are restart, http, log, management, health, metrics, "
                            "listen and route");
}

static void describe_range(const struct config_key *key, const char *what,
                           void (*format)(int64_t value, char *out), const char *such_as,
                           struct buf *out)
{
    char min[UNITS_TEXT_SIZE], max[UNITS_TEXT_SIZE];

    format(key->min, min);
    format(key->max, max);
    buf_printf(out, "%s from %s to %s%s", what, min, max, such_as);
}

/* "debug, info or error" */
static void describe_choices(const char *choices, struct buf *out)
{
    for (const char *p = choices; *p != '\0'; p++) {
        if (*p != ' ')
            buf_append(out, p, 1);
        else
            buf_append_str(out, strchr(p + 1, ' ') != NULL ? ", " : " or ");
    }
}

void config_describe(const struct config_key *key, struct buf *out)
{
    const char *or_empty = key->min == 0 ? ", or empty" : "";

    switch (key->kind) {
    case KIND_BOOL:
        buf_append_str(out, "true or false (also yes, no, on, off, 1, 0)");
        break;
    case KIND_NUMBER:
        buf_printf(out, "a number from %" PRId64 " to %" PRId64, key->min, key->max);
        break;
    case KIND_AUTO:
        buf_printf(out, "auto, or a number from %" PRId64 " to %" PRId64, key->min, key->max);
        break;
    case KIND_DURATION:
        describe_range(key, "a duration", units_format_duration, ", such as 500ms, 30s or 5m", out);
        break;
    case KIND_SIZE:
        describe_range(key, "a size", units_format_size, ", such as 8k or 1m", out);
        break;
    case KIND_CHOICE:
        describe_choices(key->choices, out);
        break;
    case KIND_MODE:
        buf_printf(out, "permissions in octal, from 0 to %04" PRIo64 ", such as 0660", key->max);
        break;
    case KIND_TEXT:
        buf_printf(out, "text of at most %" PRId64 " bytes", key->max);
        break;
    case KIND_HEADER:
        buf_printf(out, "at most %" PRId64 " printable ASCII characters%s", key->max, or_empty);
        break;
    case KIND_MEDIA_TYPE:
        buf_append_str(out, "a media type such as text/html; charset=utf-8");
        break;
    case KIND_PATH:
        buf_printf(out, "an absolute path of at most %" PRId64 " bytes%s", key->max, or_empty);
        break;
    case KIND_ADDRESS:
        buf_printf(out, "a numeric IPv4 or IPv6 address, localhost or *%s", or_empty);
        break;
    case KIND_HOSTS:
        buf_append_str(out, "host names separated by commas, or empty");
        break;
    case KIND_WEIGHTS:
        buf_printf(out, "up to %d numbers from 1 to %d with spaces between them, or empty",
                   CONTRACT_MAX_SLOTS, WEIGHT_MAX);
        break;
    case KIND_SECRET:
        buf_printf(out,
                   "%" PRId64 " to %" PRId64 " printable ASCII characters without spaces, or empty",
                   key->min, key->max);
        break;
    case KIND_USER:
        buf_append_str(out, "the name of an account of this machine, or empty");
        break;
    case KIND_GROUP:
        buf_append_str(out, "the name of a group of this machine, or empty");
        break;
    }
}

void config_describe_facts(const struct config_key *key, struct buf *out)
{
    buf_append_str(out, "Default: ");
    if (key->standard[0] == '\0')
        buf_append_str(out, "empty");
    else if (config_key_is_string(key))
        config_quote(slice_from_str(key->standard), out);
    else
        buf_append_str(out, key->standard);
    buf_append_str(out, ". Accepts ");
    config_describe(key, out);
    buf_append_str(out, ".");
    if (key->env[0] != '\0')
        buf_printf(out, " Environment: %s.", key->env);
    buf_append_str(out, key->live ? " Changes with a reload." : " Changes with a restart.");
}
