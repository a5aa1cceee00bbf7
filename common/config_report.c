/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config_report - collecting mistakes, and how keys and values look in them.
 */
#include "common/config_private.h"

#include "common/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SHOWN_BYTES = 200,         /* of a value in a message */
    ERRORS_BYTES = 512 * 1024, /* of all messages together */
};

void config_errors_init(struct config_errors *errors)
{
    buf_init(&errors->text, ERRORS_BYTES);
    errors->count = 0;
}

void config_errors_fini(struct config_errors *errors)
{
    buf_fini(&errors->text);
    errors->count = 0;
}

void config_errors_add(struct config_errors *errors, const char *format, ...)
{
    char *line = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&line, format, args);
    va_end(args);
    errors->count++;
    if (len < 0) {
        buf_append_str(&errors->text, "no memory to say what is wrong\n");
        return;
    }
    buf_append(&errors->text, line, (size_t)len);
    buf_append_str(&errors->text, "\n");
    free(line);
}

void config_show(struct slice text, struct buf *out)
{
    size_t i = 0;

    if (text.len == 0)
        buf_append_str(out, "\"\"");
    while (i < text.len && i < SHOWN_BYTES) {
        size_t len = utf8_length(text.ptr + i, text.len - i);
        unsigned char c = (unsigned char)text.ptr[i];
        /* The two-byte characters below U+00A0 are control characters. */
        bool control = c < 0x20 || c == 0x7f ||
                       (len == 2 && c == 0xc2 && (unsigned char)text.ptr[i + 1] < 0xa0);
        if (len != 0 && !control) {
            buf_append(out, text.ptr + i, len);
            i += len;
        } else {
            buf_printf(out, "\\x%02x", c);
            i++;
        }
    }
    if (i < text.len)
        buf_append_str(out, "...");
}

void config_quote(struct slice text, struct buf *out)
{
    buf_append_str(out, "\"");
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\' || c == '$')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_append_str(out, "\\n");
        else if (c == '\t')
            buf_append_str(out, "\\t");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_append(out, text.ptr + i, 1);
    }
    buf_append_str(out, "\"");
}

static void add_mistake(struct config_loader *loader, int line, char *text)
{
    int count = loader->mistake_count++;

    if (count >= CONFIG_MAX_MISTAKES || text == NULL) {
        loader->no_memory = loader->no_memory || text == NULL;
        free(text);
        return;
    }
    loader->mistakes[count] =
        (struct config_mistake){.line = line, .sequence = count, .text = text};
}

static void take_mistake(struct config_loader *loader, int line, struct buf *text)
{
    buf_append(text, "", 1);
    add_mistake(loader, line, buf_failed(text) ? NULL : strdup(text->ptr));
    buf_fini(text);
}

/* Takes the reason over; NULL: there was no memory for it. */
static void append_reason(struct buf *out, char *reason)
{
    buf_append_str(out, reason == NULL ? "no memory to say what is wrong" : reason);
    free(reason);
}

static void append_position(const struct config_loader *loader, int line, struct buf *out)
{
    config_show(slice_from_str(loader->label), out);
    if (line > 0)
        buf_printf(out, ":%d", line);
    buf_append_str(out, ": ");
}

void config_report(struct config_loader *loader, int line, const char *format, ...)
{
    struct buf text;
    char *reason = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&reason, format, args);
    va_end(args);
    buf_init(&text, 0);
    append_position(loader, line, &text);
    append_reason(&text, len < 0 ? NULL : reason);
    take_mistake(loader, line, &text);
}

void config_report_environment(struct config_loader *loader, const char *format, ...)
{
    struct buf text;
    char *reason = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&reason, format, args);
    va_end(args);
    buf_init(&text, 0);
    buf_append_str(&text, "environment: ");
    append_reason(&text, len < 0 ? NULL : reason);
    take_mistake(loader, INT_MAX, &text);
}

void config_report_value(struct config_loader *loader, struct config_place place, int origin,
                         const char *given, const char *format, ...)
{
    const struct config_key *key = &config_keys[place.key];
    struct buf text, value;
    char *reason = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&reason, format, args);
    va_end(args);
    buf_init(&text, 0);
    buf_init(&value, 0);
    if (given != NULL)
        buf_append_str(&value, given);
    else
        config_value_text(key, config_place_object(loader->config, place), &value);

    if (origin == ORIGIN_ENVIRONMENT) {
        buf_printf(&text, "environment: %s=", key->env);
    } else {
        append_position(loader, origin, &text);
        config_place_name(loader->config, place, &text);
        buf_append_str(&text, " = ");
    }
    if (key->kind == KIND_SECRET)
        buf_append_str(&text, "(not shown)");
    else
        config_show(buf_slice(&value), &text);
    buf_append_str(&text, ": ");
    append_reason(&text, len < 0 ? NULL : reason);
    take_mistake(loader, origin == ORIGIN_ENVIRONMENT ? INT_MAX : origin, &text);
    buf_fini(&value);
}

static int compare_mistakes(const void *a, const void *b)
{
    const struct config_mistake *left = a, *right = b;

    if (left->line != right->line)
        return left->line < right->line ? -1 : 1;
    return left->sequence < right->sequence ? -1 : left->sequence > right->sequence;
}

int config_report_flush(struct config_loader *loader, struct config_errors *errors)
{
    int total = loader->mistake_count;
    int kept = total < CONFIG_MAX_MISTAKES ? total : CONFIG_MAX_MISTAKES;

    qsort(loader->mistakes, (size_t)kept, sizeof(loader->mistakes[0]), compare_mistakes);
    for (int i = 0; i < kept; i++) {
        if (loader->mistakes[i].text != NULL)
            config_errors_add(errors, "%s", loader->mistakes[i].text);
        free(loader->mistakes[i].text);
    }
    if (total > kept) {
        config_errors_add(errors, "%s: %d more mistakes", loader->label, total - kept);
        errors->count += total - kept - 1;
    }
    if (loader->no_memory) {
        config_errors_add(errors, "%s: no memory", loader->label);
        total++;
    }
    loader->mistake_count = 0;
    loader->no_memory = false;
    return total;
}

void config_place_name(const struct config *config, struct config_place place, struct buf *out)
{
    const struct config_key *key = &config_keys[place.key];

    if (key->section[0] != '\0')
        buf_printf(out, "%s.", key->section);
    if (place.key >= KEY_ROUTE_TEXT) {
        config_show(slice_from_str(config->routes[place.instance].path), out);
        buf_append_str(out, ".");
    } else if (place.key >= KEY_LISTEN_ADDRESS) {
        config_show(slice_from_str(config->listens[place.instance].name), out);
        buf_append_str(out, ".");
    }
    buf_append_str(out, key->name);
}

void *config_place_object(struct config *config, struct config_place place)
{
    if (place.key >= KEY_ROUTE_TEXT)
        return &config->routes[place.instance];
    if (place.key >= KEY_LISTEN_ADDRESS)
        return &config->listens[place.instance];
    return config;
}

int *config_place_origin(struct config_loader *loader, struct config_place place)
{
    if (place.key >= KEY_ROUTE_TEXT)
        return &loader->origins->route[place.instance].key[place.key - KEY_ROUTE_TEXT];
    if (place.key >= KEY_LISTEN_ADDRESS)
        return &loader->origins->listen[place.instance].key[place.key - KEY_LISTEN_ADDRESS];
    return &loader->origins->key[place.key];
}
