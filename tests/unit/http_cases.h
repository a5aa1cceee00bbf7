/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_cases - reads tests/conformance/http_cases.txt, where the format is
 * described. All in this header, as every test program is one file. Whatever
 * is wrong with the file ends the program.
 */
#ifndef MUSTER_TESTS_HTTP_CASES_H
#define MUSTER_TESTS_HTTP_CASES_H

#include "common/slice.h"
#include "worker/http_parser.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const struct http_limits http_case_limits = {16384, 8192, 100};
enum { HTTP_CASE_MAX_BODY = 1048576 };

enum { HTTP_CASE_MAX = 1000, HTTP_CASE_MAX_KEYS = 12, HTTP_CASE_MAX_FIELDS = 4 };

struct http_case_bytes {
    char *ptr; /* exactly `len` bytes, so that reading past them is found out */
    size_t len;
};

/* "ok", "error" or "incomplete"; no_verdict when the case has no such line. */
struct http_case_verdict {
    bool given;
    enum http_parse_result result;
    int status;
};

struct http_case_pair {
    char *key;
    struct http_case_bytes value;
};

struct http_case {
    char *name;
    char *clause;
    struct http_case_bytes head;
    struct http_case_bytes body;

    struct http_case_verdict expect;
    int key_count;
    struct http_case_pair key[HTTP_CASE_MAX_KEYS];
    int field_count;
    struct http_case_pair field[HTTP_CASE_MAX_FIELDS];

    struct http_case_verdict content;
    struct http_case_bytes decoded; /* "any": not compared */
};

struct http_cases {
    int count;
    struct http_case item[HTTP_CASE_MAX];
};

_Noreturn static void http_case_fail(const char *what, const char *line)
{
    (void)fprintf(stderr, "http_cases.txt: %s: %s\n", what, line);
    abort();
}

static int http_case_hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* Appends `count` times what the escaped text stands for. */
static void http_case_append(struct http_case_bytes *bytes, const char *text, long count)
{
    size_t len = 0;
    char *plain = malloc(strlen(text) + 1);
    if (plain == NULL)
        abort();
    for (const char *at = text; *at != '\0'; at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at;
            if (c == 'x' && http_case_hex(at[1]) >= 0 && http_case_hex(at[2]) >= 0) {
                c = (char)(http_case_hex(at[1]) * 16 + http_case_hex(at[2]));
                at += 2;
            } else if (c == 'r' || c == 'n' || c == 't') {
                c = c == 'r' ? '\r' : c == 'n' ? '\n' : '\t';
            } else if (c != '\\') {
                http_case_fail("unknown escape", text);
            }
        }
        plain[len++] = c;
    }
    char *grown = realloc(bytes->ptr, bytes->len + len * (size_t)count + 1);
    if (grown == NULL)
        abort();
    bytes->ptr = grown;
    for (long i = 0; i < count; i++) {
        memcpy(bytes->ptr + bytes->len, plain, len);
        bytes->len += len;
    }
    free(plain);
}

/* "head BYTES" or "head* COUNT BYTES"; `text` starts behind the keyword. */
static void http_case_append_line(struct http_case_bytes *bytes, bool repeated, const char *text)
{
    long count = 1;
    if (repeated) {
        char *rest;
        count = strtol(text, &rest, 10);
        if (count < 1 || *rest != ' ')
            http_case_fail("bad count", text);
        text = rest + 1;
    }
    http_case_append(bytes, text, count);
}

/* Parses "ok ...", "error STATUS" or "incomplete"; returns what is behind. */
static char *http_case_verdict_parse(struct http_case_verdict *verdict, char *text)
{
    char *rest = strchr(text, ' ');
    if (rest != NULL)
        *rest++ = '\0';
    else
        rest = text + strlen(text);
    verdict->given = true;
    if (strcmp(text, "ok") == 0) {
        verdict->result = HTTP_PARSE_DONE;
    } else if (strcmp(text, "incomplete") == 0) {
        verdict->result = HTTP_PARSE_INCOMPLETE;
    } else if (strcmp(text, "error") == 0) {
        verdict->result = HTTP_PARSE_ERROR;
        verdict->status = (int)strtol(rest, NULL, 10);
    } else {
        http_case_fail("unknown verdict", text);
    }
    return rest;
}

static void http_case_add_pair(struct http_case_pair *pairs, int *count, int max, char *text,
                               char separator)
{
    char *value = strchr(text, separator);
    if (*count == max)
        http_case_fail("too many of these", text);
    if (value != NULL)
        *value++ = '\0';
    else if (separator == '=')
        http_case_fail("no value", text);
    else
        value = text + strlen(text);
    struct http_case_pair *pair = &pairs[(*count)++];
    pair->key = strdup(text);
    http_case_append(&pair->value, value, 1);
}

static void http_case_parse_expect(struct http_case *item, char *text)
{
    char *rest = http_case_verdict_parse(&item->expect, text);
    if (item->expect.result != HTTP_PARSE_DONE)
        return;
    char *state = NULL;
    for (char *pair = strtok_r(rest, " ", &state); pair; pair = strtok_r(NULL, " ", &state))
        http_case_add_pair(item->key, &item->key_count, HTTP_CASE_MAX_KEYS, pair, '=');
}

static void http_case_parse_line(struct http_case *item, char *line)
{
    char *text = strchr(line, ' ');
    if (text == NULL)
        http_case_fail("no value", line);
    *text++ = '\0';
    if (strcmp(line, "clause") == 0) {
        item->clause = strdup(text);
    } else if (strcmp(line, "head") == 0 || strcmp(line, "head*") == 0) {
        http_case_append_line(&item->head, line[4] == '*', text);
    } else if (strcmp(line, "body") == 0 || strcmp(line, "body*") == 0) {
        http_case_append_line(&item->body, line[4] == '*', text);
    } else if (strcmp(line, "expect") == 0) {
        http_case_parse_expect(item, text);
    } else if (strcmp(line, "field") == 0) {
        http_case_add_pair(item->field, &item->field_count, HTTP_CASE_MAX_FIELDS, text, ' ');
    } else if (strcmp(line, "content") == 0) {
        http_case_append(&item->decoded, http_case_verdict_parse(&item->content, text), 1);
    } else if (strcmp(line, "live") != 0) { /* that is for the other test */
        http_case_fail("unknown keyword", line);
    }
}

static struct http_cases *http_cases_load(void)
{
    const char *path = MUSTER_TESTS_DIR "/conformance/http_cases.txt";
    struct http_cases *loaded = calloc(1, sizeof(*loaded));
    FILE *file = fopen(path, "re");
    if (loaded == NULL || file == NULL)
        http_case_fail("cannot read", path);
    char line[4096];
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        if (strncmp(line, "case ", 5) == 0) {
            if (loaded->count == HTTP_CASE_MAX)
                http_case_fail("too many cases", line);
            loaded->item[loaded->count++].name = strdup(line + 5);
        } else if (loaded->count == 0) {
            http_case_fail("nothing has started", line);
        } else {
            http_case_parse_line(&loaded->item[loaded->count - 1], line);
        }
    }
    (void)fclose(file);
    return loaded;
}

static void http_case_pairs_free(struct http_case_pair *pairs, int count)
{
    for (int i = 0; i < count; i++) {
        free(pairs[i].key);
        free(pairs[i].value.ptr);
    }
}

static void http_cases_free(struct http_cases *loaded)
{
    for (int i = 0; i < loaded->count; i++) {
        struct http_case *item = &loaded->item[i];
        http_case_pairs_free(item->key, item->key_count);
        http_case_pairs_free(item->field, item->field_count);
        free(item->name);
        free(item->clause);
        free(item->head.ptr);
        free(item->body.ptr);
        free(item->decoded.ptr);
    }
    free(loaded);
}

/* The same numbers on every machine, for cutting at random. */
static uint32_t http_case_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

#endif
