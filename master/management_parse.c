/* SPDX-License-Identifier: BSD-2-Clause
 *
 * management_parse - what clients of the management server send, read and
 * judged: the Host field, media types, the bodies of changes. Pure.
 */
#include "common/units.h"
#include "master/management_private.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* ---- Host ---- */

/* The host without port, brackets and trailing dot; empty when malformed. */
static struct slice host_name(struct slice host)
{
    const struct slice none = {"", 0};
    if (host.len > 0 && host.ptr[0] == '[') {
        const char *end = memchr(host.ptr, ']', host.len);
        if (end == NULL)
            return none;
        size_t len = (size_t)(end - host.ptr) + 1;
        if (len < host.len && host.ptr[len] != ':')
            return none;
        return slice_from(host.ptr + 1, len - 2);
    }
    const char *colon = memchr(host.ptr, ':', host.len);
    if (colon != NULL)
        host.len = (size_t)(colon - host.ptr);
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    return host;
}

static bool is_numeric(struct slice name)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (name.len == 0 || name.len >= sizeof(text))
        return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool in_list(struct slice name, const char *list)
{
    while (*list != '\0') {
        list += strspn(list, ", \t");
        size_t len = strcspn(list, ", \t");
        if (len > 0 && slice_equal_nocase(name, slice_from(list, len)))
            return true;
        list += len;
    }
    return false;
}

bool management_host_allowed(struct slice host, const char *allowed)
{
    struct slice name = host_name(host);
    if (name.len == 0)
        return false;
    return is_numeric(name) || slice_equal_nocase(name, SLICE_LITERAL("localhost")) ||
           in_list(name, allowed);
}

/* ---- media types ---- */

/* Whether `text` starts with this media type and it ends there. */
static bool is_media_type(const char *text, const char *media_type)
{
    size_t len = strlen(media_type);
    return strncasecmp(text, media_type, len) == 0 && strchr(" \t;,", text[len]) != NULL;
}

bool management_is_json_type(const char *content_type)
{
    return content_type != NULL && is_media_type(content_type, "application/json");
}

/* q=0, q=0.0, … (RFC 9110 section 12.4.2): not this one. */
static bool has_zero_weight(const char *parameters, size_t len)
{
    for (size_t i = 0; i + 2 < len; i++) {
        if (strncasecmp(parameters + i, "q=", 2) != 0 ||
            (i > 0 && strchr("; \t", parameters[i - 1]) == NULL))
            continue;
        size_t zeros = strspn(parameters + i + 2, "0.");
        size_t end = i + 2 + zeros;
        return zeros > 0 && (end >= len || strchr("; \t", parameters[end]) != NULL);
    }
    return false;
}

bool management_accepts(const char *accept, const char *media_type)
{
    while (accept != NULL && *accept != '\0') {
        accept += strspn(accept, ", \t");
        size_t len = strcspn(accept, ",");
        if (is_media_type(accept, media_type) && !has_zero_weight(accept, len))
            return true;
        accept += len;
    }
    return false;
}

/* ---- bodies ---- */

struct body_reader {
    const struct cluster *cluster;
    struct command *command;
    bool has_instances;
    char *message;
    size_t size;
};

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static bool read_instances(struct body_reader *reader, const json_t *value)
{
    int least = reader->cluster->min_workers;
    int most = reader->cluster->max_workers;
    if (!json_is_integer(value)) {
        snprintf(reader->message, reader->size,
                 "instances is %s; it must be a whole number from %d to %d", type_name(value),
                 least, most);
        return false;
    }
    json_int_t number = json_integer_value(value);
    if (number < least || number > most) {
        snprintf(reader->message, reader->size,
                 "instances is %" JSON_INTEGER_FORMAT
                 "; it must be from %d (min_workers) to %d (max_workers)",
                 number, least, most);
        return false;
    }
    reader->command->instances = (int)number;
    reader->has_instances = true;
    return true;
}

static bool read_reason(struct body_reader *reader, const json_t *value)
{
    size_t most = sizeof(reader->command->reason) - 1;
    if (!json_is_string(value)) {
        snprintf(reader->message, reader->size, "reason is %s; it must be a string",
                 type_name(value));
        return false;
    }
    if (json_string_length(value) > most) {
        snprintf(reader->message, reader->size, "reason has %zu bytes; it may have %zu at most",
                 json_string_length(value), most);
        return false;
    }
    snprintf(reader->command->reason, sizeof(reader->command->reason), "%s",
             json_string_value(value));
    return true;
}

#define MOST_MS (INT64_C(366) * 24 * 3600 * 1000)

static bool read_for(struct body_reader *reader, const json_t *value)
{
    static const char right[] = "it must be a duration such as \"90s\", \"30m\" or \"2h\"";
    const char *why = "";
    if (!json_is_string(value)) {
        snprintf(reader->message, reader->size, "for is %s; %s", type_name(value), right);
        return false;
    }
    const char *text = json_string_value(value);
    int error = units_parse_duration(slice_from(text, json_string_length(value)),
                                     &reader->command->for_ms, &why);
    if (error == 0 && reader->command->for_ms <= 0)
        why = "is no time at all";
    else if (error == 0 && reader->command->for_ms > MOST_MS)
        why = "is longer than a year";
    else if (error == 0)
        return true;
    snprintf(reader->message, reader->size, "for: \"%.32s\" %s; %s", text, why, right);
    return false;
}

/* X(key, commands that take it, how it is read) */
#define EVERY_COMMAND (~0U)
#define BODY_KEYS(X)                                                                               \
    X("instances", 1U << COMMAND_SCALE, read_instances)                                            \
    X("reason", EVERY_COMMAND, read_reason)                                                        \
    X("for", 1U << COMMAND_SCALE, read_for)

static bool read_key(struct body_reader *reader, const char *key, const json_t *value)
{
    unsigned command = 1U << reader->command->kind;
    char known[96] = "";
    size_t len = 0;
#define KEY_READ(name, commands, read)                                                             \
    if (((commands)&command) != 0) {                                                               \
        if (strcmp(key, name) == 0)                                                                \
            return read(reader, value);                                                            \
        len +=                                                                                     \
            (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len > 0 ? ", " : "", name); \
    }
    BODY_KEYS(KEY_READ)
#undef KEY_READ
    snprintf(reader->message, reader->size, "unknown key \"%.32s\"; known here: %s", key, known);
    return false;
}

bool management_parse_body(struct slice body, const struct cluster *cluster,
                           struct command *command, char *message, size_t size)
{
    struct body_reader reader = {
        .cluster = cluster, .command = command, .message = message, .size = size};
    json_t *root = NULL;
    bool ok = true;
    if (body.len > 0) {
        json_error_t error;
        root = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
        if (root == NULL) {
            snprintf(message, size, "the body is not JSON: line %d, column %d: %s", error.line,
                     error.column, error.text);
            return false;
        }
        if (!json_is_object(root)) {
            snprintf(
                message, size, "the body is %s; it must be an object such as %s", type_name(root),
                command->kind == COMMAND_SCALE ? "{\"instances\": 2}" : "{\"reason\": \"text\"}");
            ok = false;
        }
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) ok = ok && read_key(&reader, key, value);
    if (ok && command->kind == COMMAND_SCALE && !reader.has_instances) {
        snprintf(message, size,
                 "the key \"instances\" is missing: the number of workers wanted, from %d to %d",
                 cluster->min_workers, cluster->max_workers);
        ok = false;
    }
    json_decref(root);
    return ok;
}

int management_parse_limit(const char *text, int max)
{
    int limit = 0;
    if (text == NULL)
        return max;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || limit > max)
            return -1;
        limit = limit * 10 + (*c - '0');
    }
    return limit >= 1 && limit <= max ? limit : -1;
}
